#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that an SNP attestation report belongs to a launch and a request, and is signed with a key.

usage: attestation.py --digest HEX --report-data HEX --key PEM [--json FILE] REPORT

REPORT is a file with the firmware's 1184 bytes, or its response of 1216 or 4000 bytes that has them: binary, or in hex or
base64, or in a log between the lines "-----BEGIN SNP REPORT-----" and "-----END SNP REPORT-----". If a prefix, such as a
console's, precedes the first of these lines, it is also removed from the lines between them. --digest is the launch digest
(launch_digest.py).
--report-data is the data that the guest put into its request, filled up with zeros to 64 bytes. PEM is a file with a
public key: the emulated host's property vcek-pem, or the output of `openssl x509 -pubkey -noout` for a chip's
certificate.

The output is a line for each check, then the verdict. The checks, by the table ATTESTATION_REPORT of the SNP ABI
(56860):
  format       version 2 or later; signed, with ECDSA P-384 and SHA-384; VMPL 0 to 3. From version 3 on it names the
               processor, from version 5 on it has two vectors of mitigations
  measurement  at 0x90, 48 bytes
  report data  at 0x50, 64 bytes: the report answers this request, not an older one
  signature    at 0x2a0: R and S, 72 bytes each, little-endian; zero from there to the end of the report. The
               signature covers everything before it; openssl verifies it.

Exit status: 0 all checks passed, 1 one has failed, 2 usage, 3 a file cannot be read, or there is no openssl.
"""
from __future__ import annotations

import argparse
import base64
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

EX_FAIL, EX_USAGE, EX_SETUP = 1, 2, 3
JSON_VERSION = 1

REPORT_LEN = 1184
SIGNED_LEN = 0x2a0
RESPONSE_HEADER = 32
RESPONSE_LENS = (RESPONSE_HEADER + REPORT_LEN, 4000)
RESPONSE_STATUS = {0x16: " (invalid parameters)", 0x27: " (invalid key selection)"}
REPORT_DATA, MEASUREMENT = slice(0x50, 0x90), slice(0x90, 0xc0)
MEASUREMENT_LEN, REPORT_DATA_LEN = 48, 64
NUMBER_LEN, P384_BYTES = 72, 48
ALGO_ECDSA_P384_SHA384 = 1
PROCESSOR = 0x188           # family, model, stepping: a byte each
MIT_VECTORS = (("launch-mit-vector", 0x1f8), ("current-mit-vector", 0x200))
SIGNING_KEYS = {0: "VCEK", 1: "VLEK", 7: "none"}
BEGIN, END = "-----BEGIN SNP REPORT-----", "-----END SNP REPORT-----"


class Usage(Exception):
    """The arguments are wrong."""


class Unusable(Exception):
    """Nothing can be checked. The message says what was expected and found, the hint what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True)
class Check:
    """One check: its problem, or None if it has passed; and the value in the report."""
    name: str
    problem: str | None
    found: str
    # What to do about the problem.
    hint: str = ""

    @property
    def ok(self) -> bool:
        return self.problem is None

    @property
    def text(self) -> str:
        return self.found if self.problem is None else self.problem

    def shown(self) -> str:
        hint = f"; to do: {self.hint}" if self.hint and not self.ok else ""
        return f"{'ok' if self.ok else 'not ok'}: {self.name}: {self.text}{hint}"


@dataclass(frozen=True)
class Report:
    """The parsed fields of a report."""
    data: bytes
    version: int
    guest_svn: int
    policy: int
    vmpl: int
    algorithm: int
    signing_key: int

    @property
    def report_data(self) -> bytes:
        return self.data[REPORT_DATA]

    @property
    def measurement(self) -> bytes:
        return self.data[MEASUREMENT]

    @property
    def processor(self) -> str:
        """Of a report of version 3 or later. Families are shown as in AMD's documents."""
        family, model, stepping = self.data[PROCESSOR:PROCESSOR + 3]
        return f"family {family:02x}h model {model:02x}h stepping {stepping}"

    @property
    def signed(self) -> bytes:
        return self.data[:SIGNED_LEN]

    @property
    def signature(self) -> bytes:
        return self.data[SIGNED_LEN:]

    def fields(self) -> dict[str, int | str]:
        """The fields for the JSON."""
        d = self.data
        newer: dict[str, int | str] = {"processor": self.processor} if self.version >= 3 else {}
        if self.version >= 5:
            newer |= {name: f"{struct.unpack_from('<Q', d, at)[0]:#x}" for name, at in MIT_VECTORS}
        return {"version": self.version, "guest-svn": self.guest_svn, "policy": f"{self.policy:#x}", "vmpl": self.vmpl,
                "signature-algorithm": self.algorithm,
                "signing-key": SIGNING_KEYS.get(self.signing_key, self.signing_key),
                "family-id": d[0x10:0x20].hex(), "image-id": d[0x20:0x30].hex(),
                "current-tcb": d[0x38:0x40].hex(), "platform-info": d[0x40:0x48].hex(),
                "report-data": self.report_data.hex(), "measurement": self.measurement.hex(),
                "host-data": d[0xc0:0xe0].hex(), "id-key-digest": d[0xe0:0x110].hex(),
                "author-key-digest": d[0x110:0x140].hex(), "report-id": d[0x140:0x160].hex(),
                "reported-tcb": d[0x180:0x188].hex(), "chip-id": d[0x1a0:0x1e0].hex(), **newer}


def parse_report(data: bytes) -> Report:
    """Parses a report of REPORT_LEN bytes."""
    version, guest_svn, policy = struct.unpack_from("<IIQ", data, 0)
    vmpl, algorithm = struct.unpack_from("<II", data, 0x30)
    signing_key = struct.unpack_from("<I", data, 0x48)[0] >> 2 & 7
    return Report(data, version, guest_svn, policy, vmpl, algorithm, signing_key)


# --- Reading -----------------------------------------------------------------------------------------

def decode(text: str) -> bytes | None:
    """Decodes hex or base64; None if the text is neither."""
    text = "".join(text.split())
    if re.fullmatch(r"([0-9A-Fa-f]{2})*", text):
        return bytes.fromhex(text)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def armoured(text: str, name: str) -> str:
    """The text between the BEGIN and END lines, without the prefix of the BEGIN line."""
    lines = text.splitlines()
    begins = [i for i, line in enumerate(lines) if BEGIN in line]
    if len(begins) != 1:
        raise Unusable(f"{name}: expected one report, found {len(begins)} lines with {BEGIN}",
                       "keep only the report to check")
    prefix = lines[begins[0]].split(BEGIN)[0]
    body: list[str] = []
    for line in lines[begins[0] + 1:]:
        if END in line:
            return "\n".join(body)
        body.append(line.removeprefix(prefix))
    raise Unusable(f"{name}: expected {END} after {BEGIN}, found the end of the file",
                   "the log was cut short: ask for the report again")


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}", "expected a file that can be read") from e


def in_response(data: bytes, name: str) -> bytes:
    """The report in a MSG_REPORT_RSP (SNP ABI): status, size and 24 reserved bytes precede it. Linux's SNP_GET_REPORT and
    SNP_GET_EXT_REPORT return that in 4000 bytes. Other data is returned as it is."""
    if len(data) not in RESPONSE_LENS:
        return data
    status, size = struct.unpack_from("<II", data, 0)
    if status:
        raise Unusable(f"{name}: expected a response with a report, found one with status {status:#x}"
                       f"{RESPONSE_STATUS.get(status, '')}", "ask for the report again, as the SNP ABI wants it")
    return data[RESPONSE_HEADER:RESPONSE_HEADER + REPORT_LEN] if size == REPORT_LEN else data


def read_report(path: Path) -> bytes:
    """The report's bytes, from a file in any of the accepted forms."""
    data: bytes | None = read(path)
    assert data is not None
    found = f"{len(data)} bytes"
    if len(data) not in (REPORT_LEN, *RESPONSE_LENS):
        text = data.decode("utf-8", errors="replace")
        data = decode(armoured(text, str(path)) if BEGIN in text else text)
        found += ", which are neither hex nor base64" if data is None else f", for {len(data)} bytes"
    if data is not None:
        data = in_response(data, str(path))
    if data is None or len(data) != REPORT_LEN:
        raise Unusable(f"{path}: expected a report of {REPORT_LEN} bytes, or hex or base64 for as many, found {found}",
                       "in a log, remove other messages between the BEGIN and END lines")
    return data


# --- The signature -----------------------------------------------------------------------------------

def openssl(*words: str | Path) -> tuple[int, str]:
    """Runs openssl. Returns its exit status and output."""
    try:
        # The user's configuration must not influence the verification.
        p = subprocess.run(["openssl", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, env={**os.environ, "OPENSSL_CONF": os.devnull}, check=False)
    except OSError as e:
        raise Unusable(f"openssl: {e.strerror}", "install it: Debian's package is openssl") from e
    return p.returncode, p.stdout.decode("utf-8", errors="replace").strip()


def key_problem(path: Path) -> str | None:
    """The problem with the key in a file that can be read; None if it is a public one on P-384, in PEM."""
    status, text = openssl("pkey", "-pubin", "-in", path, "-noout", "-text")
    if not status and "secp384r1" in text:
        return None
    found = re.search(r"ASN1 OID: *(\S+)", text) or re.search(r"(Public-Key: .*)", text)
    return "expected a public key on P-384 (secp384r1), in PEM, found " \
           f"{'none' if status else found[1] if found else 'another'}"


def check_key(path: Path) -> None:
    """Raises Unusable if the file has no P-384 key: openssl would only report a wrong signature."""
    read(path)
    problem = key_problem(path)
    if problem is not None:
        raise Unusable(f"{path}: {problem}", "`openssl x509 -pubkey -noout -in FILE` prints the key of a certificate")


def der(*numbers: int) -> bytes:
    """Encodes two numbers of at most 48 bytes as a SEQUENCE of INTEGERs (X.690); each length fits into one byte."""
    body = b""
    for n in numbers:
        # Add a leading zero if the highest bit would make the number negative.
        data = n.to_bytes(n.bit_length() // 8 + 1, "big")
        body += bytes([2, len(data)]) + data
    return bytes([0x30, len(body)]) + body


def signature_problem(report: Report, key: Path, name: str | None = None) -> str | None:
    """The problem with the report's signature; None if the key verifies it. name: the key's, if it is not the file's."""
    check_key(key)
    numbers = [report.signature[i * NUMBER_LEN:(i + 1) * NUMBER_LEN] for i in range(2)]
    if any(report.signature[2 * NUMBER_LEN:]) or any(any(n[P384_BYTES:]) for n in numbers):
        return f"expected zeros after the {P384_BYTES} bytes of R and of S, found others"
    if not all(any(n) for n in numbers):
        return "expected R and S, found zeros: the report is not signed"
    with tempfile.TemporaryDirectory(prefix="snplab-report.") as tmp:
        signed, signature = Path(tmp, "signed"), Path(tmp, "signature")
        signed.write_bytes(report.signed)
        signature.write_bytes(der(*(int.from_bytes(n, "little") for n in numbers)))
        status, text = openssl("dgst", "-sha384", "-verify", key, "-signature", signature, signed)
    if status == 0 and text == "Verified OK":
        return None
    said = text.splitlines()[0] if text else f"nothing, and has status {status}"
    return f"expected one by {name or f'the key in {key}'}, found another: openssl says {said}"


# --- The checks --------------------------------------------------------------------------------------

def format_problem(report: Report) -> str | None:
    if report.version < 2:
        return f"expected version 2 or later, found {report.version}"
    if report.algorithm != ALGO_ECDSA_P384_SHA384:
        return f"expected signature algorithm {ALGO_ECDSA_P384_SHA384}, ECDSA P-384, found {report.algorithm}"
    if report.signing_key not in (0, 1):
        return f"expected to be signed with the VCEK or the VLEK, found key {report.signing_key}" \
               f"{' (none)' if report.signing_key == 7 else ''}"
    if report.vmpl > 3:
        return f"expected VMPL 0 to 3, found {report.vmpl}"
    return None


def difference(expected: bytes, found: bytes) -> str | None:
    return None if expected == found else f"expected {expected.hex()}, found {found.hex()}"


def check_report(data: bytes, digest: bytes, report_data: bytes, key: Path) -> list[Check]:
    """Runs all checks. data: REPORT_LEN bytes; digest: from launch_digest(); report_data: the data in the guest's request,
    up to 64 bytes; key: a file with a public key in PEM. Raises Unusable if the key is of a wrong kind, or without
    openssl."""
    report = parse_report(data)
    about = f"version {report.version}, VMPL {report.vmpl}, policy {report.policy:#x}, " \
            f"guest SVN {report.guest_svn}, {SIGNING_KEYS.get(report.signing_key)}" \
            f"{', ' + report.processor if report.version >= 3 else ''}"
    request = report_data.ljust(REPORT_DATA_LEN, b"\0")
    return [Check("format", format_problem(report), about),
            Check("measurement", difference(digest, report.measurement), report.measurement.hex()),
            Check("report data", difference(request, report.report_data), report.report_data.hex()),
            Check("signature", signature_problem(report, key), f"ECDSA P-384, SHA-384, by the key in {key}")]


# --- The program -------------------------------------------------------------------------------------

def hex_argument(name: str, text: str, least: int, most: int) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if not least <= len(data) <= most:
        raise Usage(f"{name}: expected {2 * most} hex digits{', or fewer' if least < most else ''}, found '{text}'")
    return data


def usage_text() -> str:
    return (__doc__ or "").split("usage: ")[1].split("\n\n", maxsplit=1)[0]


def arguments(words: list[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="attestation.py", usage=usage_text(), add_help=False)
    p.add_argument("--help", action="store_true")
    p.add_argument("--digest")
    p.add_argument("--report-data")
    p.add_argument("--key", type=Path)
    p.add_argument("--json", type=Path)
    p.add_argument("report", nargs="?", type=Path)
    args = p.parse_args(words)
    if args.help:
        return args
    # All are required: otherwise a check without its argument would pass unnoticed.
    if None in (args.digest, args.report_data, args.key, args.report):
        raise Usage("expected --digest HEX, --report-data HEX, --key PEM and REPORT")
    args.digest = hex_argument("--digest", args.digest, MEASUREMENT_LEN, MEASUREMENT_LEN)
    args.report_data = hex_argument("--report-data", args.report_data, 1, REPORT_DATA_LEN)
    return args


def write_json(path: Path, report: Report, checks: list[Check], status: int) -> None:
    data = {"version": JSON_VERSION, "verb": "attestation", "verdict": "fail" if status else "pass", "exit": status,
            "report": report.fields(),
            "checks": [{"name": c.name, "ok": c.ok, "text": c.text} for c in checks]}
    try:
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}", "expected a file that can be written") from e


def main(words: list[str] | None = None) -> int:
    try:
        args = arguments(words)
        if args.help:
            print((__doc__ or "").strip())
            return 0
        data = read_report(args.report)
        checks = check_report(data, args.digest, args.report_data, args.key)
        failed = sum(not c.ok for c in checks)
        status = EX_FAIL if failed else 0
        if args.json:
            write_json(args.json, parse_report(data), checks, status)
    except Usage as e:
        print(f"attestation: {e}", file=sys.stderr)
        return EX_USAGE
    except Unusable as e:
        print(f"attestation: {e.message}\n        hint: {e.hint}", file=sys.stderr)
        return EX_SETUP
    for c in checks:
        print(c.shown())
    print(f"{'FAIL' if failed else 'PASS'}: attestation report: {len(checks) - failed} passed, {failed} failed")
    return status


if __name__ == "__main__":
    sys.exit(main())
