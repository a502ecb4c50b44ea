#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Says whether an SNP attestation report is what it must be: of this launch, for this request, signed with this key.

usage: attestation.py --digest HEX --report-data HEX --key PEM [--json FILE] REPORT

REPORT has the 1184 bytes that firmware gives: as they are, or in hex or base64, or in a log between the lines
"-----BEGIN SNP REPORT-----" and "-----END SNP REPORT-----"; what is before the first of them, such as a console's
prefix, may be before each line between them. HEX is the launch digest (lab/launch_digest.py) and the data that the
guest has asked with: of 64 bytes, those that are not given are zero. PEM is a public key: the emulated host's
property vcek-pem; of a chip's certificate, what `openssl x509 -pubkey -noout` prints.

A line for each check, then the verdict. What is checked, by the table ATTESTATION_REPORT of the SNP ABI (56860):
  format       version 2 or later; signed, with ECDSA P-384 and SHA-384; VMPL 0 to 3
  measurement  at 0x90, 48 bytes
  report data  at 0x50, 64 bytes: it is the answer to this request, and no older one
  signature    at 0x2a0: R and S, 72 bytes each, little-endian; the rest, to the end of the report, is zero. It is
               over all that comes before it. openssl verifies it.

Exit status: 0 all checks passed, 1 one has failed, 2 usage, 3 what was given cannot be read, or there is no openssl.
"""
import argparse
import base64
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

EX_FAIL, EX_USAGE, EX_SETUP = 1, 2, 3

REPORT_LEN = 1184
SIGNED_LEN = 0x2a0
REPORT_DATA, MEASUREMENT = slice(0x50, 0x90), slice(0x90, 0xc0)
NUMBER_LEN, P384_BYTES = 72, 48
ALGO_ECDSA_P384_SHA384 = 1
SIGNING_KEYS = {0: "VCEK", 1: "VLEK", 7: "none"}
BEGIN, END = "-----BEGIN SNP REPORT-----", "-----END SNP REPORT-----"


class Usage(Exception):
    """Arguments that make no sense."""


class Unusable(Exception):
    """Nothing can be said: what was expected and found; what to do."""


def decode(text):
    """The bytes that hex or base64 stands for; None if it is neither."""
    text = "".join(text.split())
    if re.fullmatch(r"([0-9A-Fa-f]{2})*", text):
        return bytes.fromhex(text)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def armoured(text, name):
    """What is between the two lines, without the prefix that the first has."""
    lines = text.splitlines()
    begins = [i for i, line in enumerate(lines) if BEGIN in line]
    if len(begins) != 1:
        raise Unusable(f"{name}: expected one report, found {len(begins)} lines with {BEGIN}",
                       "cut out the one that is meant")
    prefix = lines[begins[0]].split(BEGIN)[0]
    body = []
    for line in lines[begins[0] + 1:]:
        if END in line:
            return "\n".join(body)
        body.append(line[len(prefix):] if line.startswith(prefix) else line)
    raise Unusable(f"{name}: expected {END} after {BEGIN}, found the end of the file",
                   "the log was cut short: ask for the report again")


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}", "expected a file that can be read") from e


def read_report(path):
    data = read(path)
    found = f"{len(data)} bytes"
    if len(data) != REPORT_LEN:
        text = data.decode("utf-8", errors="replace")
        data = decode(armoured(text, path) if BEGIN in text else text)
        found += ", which are neither hex nor base64" if data is None else f", for {len(data)} bytes"
    if data is None or len(data) != REPORT_LEN:
        raise Unusable(f"{path}: expected a report of {REPORT_LEN} bytes, or hex or base64 for as many, found {found}",
                       "of a log, that is what is between its BEGIN and END lines: other messages may be among them")
    return data


class Report:
    """A report's fields, as far as they are of interest to somebody who reads what was found."""

    def __init__(self, data):
        self.data = data
        self.version, self.guest_svn, self.policy = struct.unpack_from("<IIQ", data, 0)
        self.vmpl, self.algorithm = struct.unpack_from("<II", data, 0x30)
        self.signing_key = struct.unpack_from("<I", data, 0x48)[0] >> 2 & 7
        self.report_data, self.measurement = data[REPORT_DATA], data[MEASUREMENT]
        self.signed, self.signature = data[:SIGNED_LEN], data[SIGNED_LEN:]

    def fields(self):
        d = self.data
        return {"version": self.version, "guest-svn": self.guest_svn, "policy": f"{self.policy:#x}", "vmpl": self.vmpl,
                "signature-algorithm": self.algorithm,
                "signing-key": SIGNING_KEYS.get(self.signing_key, self.signing_key),
                "family-id": d[0x10:0x20].hex(), "image-id": d[0x20:0x30].hex(),
                "current-tcb": d[0x38:0x40].hex(), "platform-info": d[0x40:0x48].hex(),
                "report-data": self.report_data.hex(), "measurement": self.measurement.hex(),
                "host-data": d[0xc0:0xe0].hex(), "id-key-digest": d[0xe0:0x110].hex(),
                "author-key-digest": d[0x110:0x140].hex(), "report-id": d[0x140:0x160].hex(),
                "reported-tcb": d[0x180:0x188].hex(), "chip-id": d[0x1a0:0x1e0].hex()}


def openssl(*arguments):
    """Its status and what it printed. A configuration of somebody's has no say in this."""
    try:
        p = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, env={**os.environ, "OPENSSL_CONF": os.devnull}, check=False)
    except OSError as e:
        raise Unusable(f"openssl: {e.strerror}", "install it: Debian's package is openssl") from e
    return p.returncode, p.stdout.decode("utf-8", errors="replace").strip()


def check_key(path):
    """That there is a key which could have signed: anything else would look like a wrong signature."""
    read(path)
    status, text = openssl("pkey", "-pubin", "-in", path, "-noout", "-text")
    if status or "secp384r1" not in text:
        found = re.search(r"ASN1 OID: *(\S+)", text) or re.search(r"(Public-Key: .*)", text)
        raise Unusable(f"{path}: expected a public key on P-384 (secp384r1), in PEM, found "
                       f"{'none' if status else found[1] if found else 'another'}",
                       "of a certificate, `openssl x509 -pubkey -noout -in FILE` prints it")


def der(*numbers):
    """A SEQUENCE of two INTEGERs (X.690) of at most 48 bytes: every length fits into one byte."""
    body = b""
    for n in numbers:
        # A leading zero where the highest bit would make it negative.
        data = n.to_bytes(n.bit_length() // 8 + 1, "big")
        body += bytes([2, len(data)]) + data
    return bytes([0x30, len(body)]) + body


def signature_problem(report, key):
    """What is wrong with the signature; nothing if it is right."""
    check_key(key)
    numbers = [report.signature[i * NUMBER_LEN:(i + 1) * NUMBER_LEN] for i in range(2)]
    if any(report.signature[2 * NUMBER_LEN:]) or any(any(n[P384_BYTES:]) for n in numbers):
        return f"expected zeros after the {P384_BYTES} bytes of R and of S, found others"
    if not all(any(n) for n in numbers):
        return "expected R and S, found zeros: the report is not signed"
    encoded = der(*(int.from_bytes(n, "little") for n in numbers))
    with tempfile.TemporaryDirectory(prefix="snplab-report.") as tmp:
        signed, signature = os.path.join(tmp, "signed"), os.path.join(tmp, "signature")
        for path, data in ((signed, report.signed), (signature, encoded)):
            with open(path, "wb") as f:
                f.write(data)
        status, text = openssl("dgst", "-sha384", "-verify", key, "-signature", signature, signed)
    if status == 0 and text == "Verified OK":
        return None
    said = text.splitlines()[0] if text else f"nothing, and has status {status}"
    return f"expected one by the key in {key}, found another: openssl says {said}"


def format_problem(report):
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


def check(report, digest, report_data, key):
    """[(what, what is wrong or None, what is right)]"""
    def differs(expected, found):
        return None if expected == found else f"expected {expected.hex()}, found {found.hex()}"
    about = f"version {report.version}, VMPL {report.vmpl}, policy {report.policy:#x}, " \
            f"guest SVN {report.guest_svn}, {SIGNING_KEYS.get(report.signing_key)}"
    return [("format", format_problem(report), about),
            ("measurement", differs(digest, report.measurement), report.measurement.hex()),
            ("report data", differs(report_data, report.report_data), report.report_data.hex()),
            ("signature", signature_problem(report, key), f"ECDSA P-384, SHA-384, by the key in {key}")]


def hex_argument(name, text, least, most):
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = None
    if data is None or not least <= len(data) <= most:
        raise Usage(f"{name}: expected {2 * most} hex digits{', or fewer' if least < most else ''}, found '{text}'")
    return data


def arguments():
    p = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0], add_help=False)
    p.add_argument("--help", action="store_true")
    p.add_argument("--digest")
    p.add_argument("--report-data")
    p.add_argument("--key")
    p.add_argument("--json")
    p.add_argument("report", nargs="?")
    args = p.parse_args()
    if args.help:
        print(__doc__.strip())
        sys.exit(0)
    # A check that nobody asked for would pass, and say nothing.
    if None in (args.digest, args.report_data, args.key, args.report):
        raise Usage("expected --digest HEX, --report-data HEX, --key PEM and REPORT")
    args.digest = hex_argument("--digest", args.digest, 48, 48)
    args.report_data = hex_argument("--report-data", args.report_data, 1, 64).ljust(64, b"\0")
    return args


def main():
    try:
        args = arguments()
        report = Report(read_report(args.report))
        checks = check(report, args.digest, args.report_data, args.key)
        failed = sum(problem is not None for _, problem, _ in checks)
        status = EX_FAIL if failed else 0
        if args.json:
            data = {"verb": "attestation", "verdict": "fail" if failed else "pass", "exit": status,
                    "report": report.fields(),
                    "checks": [{"name": what, "ok": problem is None, "text": problem or right}
                               for what, problem, right in checks]}
            try:
                with open(args.json, "w", encoding="utf-8") as f:
                    json.dump(data, f, indent=1)
                    f.write("\n")
            except OSError as e:
                raise Unusable(f"{args.json}: {e.strerror}", "expected a file that can be written") from e
    except Usage as e:
        print(f"attestation: {e}", file=sys.stderr)
        return EX_USAGE
    except Unusable as e:
        print(f"attestation: {e.args[0]}\n        hint: {e.args[1]}", file=sys.stderr)
        return EX_SETUP
    for what, problem, right in checks:
        print(f"{'not ok' if problem else 'ok'}: {what}: {problem or right}")
    print(f"{'FAIL' if failed else 'PASS'}: attestation report: {len(checks) - failed} passed, {failed} failed")
    return status


if __name__ == "__main__":
    sys.exit(main())
