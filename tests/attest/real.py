#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Verifies two attestation reports that hardware made, with lab/attest.

usage: python3 -m tests.attest.real FOLDER...

Every other report in the tests is made and signed by this project's own code, which could be wrong in the same way as what
checks it. These two are of Milan chips, and the certificates of VCEK, ASK and ARK are AMD's. They are not in this
repository: they are files of other projects under the Apache License 2.0, known here by where they are and by SHA-256. Each
FOLDER is a clone of one:

    git clone https://github.com/virtee/sev
    git clone https://github.com/google/go-sev-guest
    python3 -m tests.attest.real sev go-sev-guest

Exit status: 0 both verify, and neither does with a flipped bit; 1 otherwise; 2 usage; 3 a file is missing or another.
"""
from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.attest import attestation
from lab.attest.answer import Question, answer
from lab.attest.attestation import Unusable

EX_FAIL, EX_USAGE, EX_SETUP = 1, 2, 3


@dataclass(frozen=True)
class Sample:
    """A report with its VCEK. files: the paths in the project, and their SHA-256."""
    project: str
    commit: str
    report: tuple[str, str]
    vcek: tuple[str, str]
    # ASK and ARK; None: not looked at.
    chain: tuple[str, str] | None
    # In the report, so that a report which the parser reads wrongly does not pass.
    version: int
    policy: int
    build: str
    measurement: str


SAMPLES = (
    Sample("virtee/sev", "9cf2adbffa209cc5becf7ff89ffdf624e7278ced",
           ("tests/certs_data/report_milan.hex", "3d956e9104969a038031a6b63dd6c4b60000619d37702065994f7da76f88ae7d"),
           ("tests/certs_data/vcek_milan.der", "3bbfb6ee259f75a95d13168cfdf2e034181bb93c7c016825731cbe8ea16c95e1"),
           ("tests/certs_data/cert_chain_milan", "22e62f8d2c21a156470145fc75f7b5a377cb053ced3e97f0bd3f8d8ca5941ce6"),
           2, 0x30000, "1.52.4",
           "7a1e5c266c0108dbc9bb94fa926951320940915d0aafb42464bd88b579ea158d3e1a0dc39b2c60bd95b9c480cd81841f"),
    Sample("google/go-sev-guest", "af1c107a648f47253da23a9de7a7c82ec073cfdb",
           ("verify/testdata/attestation.bin", "377e6241d3b373ab1df80c0f96978594e7e21f4797dd6ea95e2957e1c1e26060"),
           ("verify/testdata/vcek.testcer", "0d057f9b6e29a69eda9c0154b259567d291c1c08d73a11e9d31ace07c435b6d8"),
           ("verify/testdata/milan.testcer", "22e62f8d2c21a156470145fc75f7b5a377cb053ced3e97f0bd3f8d8ca5941ce6"),
           2, 0xb0000, "1.49.3",
           "b07af9620f3b839b47996422ddec6058338951d984e312115131ea82705eaf5b6bdf8a9ece31a5a608eb0cf2e4872b01"))


def find(sample: Sample, file: tuple[str, str], folders: list[Path]) -> Path:
    """The file in one of the clones; Unusable if none has it as it is known."""
    name, digest = file
    found = [path for folder in folders if (path := folder / name).is_file()]
    for path in found:
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
    what = f"found {found[0]}, which has another SHA-256 than {digest}" if found else "found none"
    raise Unusable(f"{sample.project}: expected {name} in one of the folders, {what}",
                   f"it is as known in commit {sample.commit} of https://github.com/{sample.project}")


def public_key(vcek: Path, out: Path) -> None:
    """Writes the certificate's key in PEM."""
    done = subprocess.run(["openssl", "x509", "-inform", "der", "-in", vcek, "-pubkey", "-noout"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Unusable(f"{vcek}: expected a certificate in DER, openssl says {done.stderr.decode()!r}", "clone it again")
    out.write_bytes(done.stdout)


def problems(sample: Sample, data: bytes, key: Path) -> list[str]:
    """What is wrong with the report, or with the tool that checks it."""
    report = attestation.parse_report(data)
    checks = attestation.check_report(data, bytes.fromhex(sample.measurement), report.report_data, key)
    wrong = [c.shown() for c in checks if not c.ok]
    build = ".".join(str(data[i]) for i in (0x1ea, 0x1e9, 0x1e8))
    for name, known, found in (("version", sample.version, report.version), ("policy", sample.policy, report.policy),
                               ("firmware", sample.build, build)):
        if known != found:
            wrong.append(f"{name}: expected {known}, found {found}")
    for at in range(0, len(data) - 368, 97):
        spoiled = bytearray(data)
        spoiled[at] ^= 1 << at % 8
        if attestation.signature_problem(attestation.parse_report(bytes(spoiled)), key) is None:
            wrong.append(f"signature: expected a refusal with a bit of byte {at:#x} flipped, found none")
    return wrong


def chain_problems(sample: Sample, folders: list[Path]) -> list[str]:
    """What is wrong with the certificates, or with their reader."""
    if sample.chain is None:
        return []
    report, vcek, chain = (find(sample, file, folders) for file in (sample.report, sample.vcek, sample.chain))
    found = answer(Question(report, vcek, [chain]))
    wrong = [check.shown() for check in found.failed]
    if found.notes != ["ARK-Milan has the key of AMD's ARK for Milan"]:
        wrong.append(f"expected the key of AMD's ARK for Milan, found {found.notes}")
    return wrong


def verify(folders: list[Path]) -> int:
    status = 0
    with tempfile.TemporaryDirectory(prefix="snplab-real.") as tmp:
        for sample in SAMPLES:
            data = attestation.read_report(find(sample, sample.report, folders))
            key = Path(tmp, "vcek.pem")
            public_key(find(sample, sample.vcek, folders), key)
            wrong = [*problems(sample, data, key), *chain_problems(sample, folders)]
            print("\n".join(wrong) or f"ok: {sample.project}: {sample.report[0]} verifies, and does not with a flipped bit")
            status = EX_FAIL if wrong else status
    return status


def main(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)
        return EX_USAGE
    try:
        return verify([Path(word) for word in words])
    except Unusable as e:
        print(f"real: {e.message}\n        hint: {e.hint}", file=sys.stderr)
        return EX_SETUP


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
