#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Launch digests of the launches that tests/qtest/amd-psp-test.c makes.

The algorithm is that of the SNP firmware ABI (SNP_LAUNCH_UPDATE, "Launch
Digest"), in a few lines of its own: nothing is shared with the emulated
firmware, so that a mistake would have to be made twice. Prints C macros; with
a path, checks that the file has each of them.
"""
import hashlib
import struct
import sys

NORMAL, VMSA, ZERO, UNMEASURED, SECRETS, CPUID = range(1, 7)
VMSA_GPA = 0xFFFFFFFFF000


def extend(digest, kind, gpa, content=None, permissions=(0, 0, 0)):
    """The digest after one more page of 4 KB; permissions of VMPL3, 2 and 1."""
    if kind == VMSA:
        content = content[:0x2F0] + bytes(16) + content[0x300:]
    measured = hashlib.sha384(content).digest() if content else bytes(48)
    info = digest + measured + struct.pack("<HBB3BBQ", 0x70, kind, 0, *permissions, 0, gpa)
    assert len(info) == 0x70
    return hashlib.sha384(info).digest()


def launch(*pages):
    digest = bytes(48)
    for page in pages:
        digest = extend(digest, *page)
    return digest.hex()


def whole(vmsas):
    return launch(
        (NORMAL, 0xFFC00000, b"\x5a" * 4096),
        (ZERO, 0x800000),
        (SECRETS, 0x80D000),
        (CPUID, 0x80E000),
        *((VMSA, VMSA_GPA, bytes([0xC0 + i]) * 4096) for i in range(vmsas)),
    )


VECTORS = {
    "DIGEST_ZERO": launch((ZERO, 0)),
    "DIGEST_NORMAL": launch((NORMAL, 0x1000, b"\xaa" * 4096)),
    "DIGEST_VMSA": launch((VMSA, VMSA_GPA, bytes(4096))),
    "DIGEST_WHOLE_2": whole(2),
    "DIGEST_WHOLE_1": whole(1),
    "DIGEST_LARGE": launch(
        *((NORMAL, 0x200000 + i * 4096, b"\x3c" * 4096, (15, 7, 3)) for i in range(512))
    ),
}


def main():
    if len(sys.argv) == 1:
        for name, digest in VECTORS.items():
            print(f'#define {name} \\\n    "{digest[:48]}" \\\n    "{digest[48:]}"')
        return 0
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    missing = [n for n, d in VECTORS.items() if d[:48] not in text or d[48:] not in text]
    for name in missing:
        print(f"{sys.argv[1]}: {name} is not {VECTORS[name]}", file=sys.stderr)
    print(f"{len(VECTORS) - len(missing)} of {len(VECTORS)} launch digests agree")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
