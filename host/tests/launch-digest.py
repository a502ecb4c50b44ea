#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Computes the digests of the launches in tests/qtest/amd-psp/snp-launch-tests.c.

This is a second implementation of the SNP firmware ABI's algorithm (SNP_LAUNCH_UPDATE, "Launch Digest"). It shares no code
with the emulated firmware, so that a mistake in one of them shows. Prints C macros; with a path, checks that the file has
each of them.
"""
from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NORMAL, VMSA, ZERO, UNMEASURED, SECRETS, CPUID = range(1, 7)
VMSA_GPA = 0xFFFFFFFFF000
# GUEST_TSC_SCALE and GUEST_TSC_OFFSET: the firmware fills them in, and does not measure them.
NOT_MEASURED = slice(0x2F0, 0x300)
HALF = 48


@dataclass(frozen=True)
class Page:
    """A 4 KB page, with the permissions of VMPL3, VMPL2 and VMPL1."""

    kind: int
    gpa: int
    content: bytes | None = None
    permissions: tuple[int, int, int] = (0, 0, 0)

    def measured(self) -> bytes:
        """The digest of the page's content; zero if its content is not measured."""
        if self.content is None:
            return bytes(48)
        content = bytearray(self.content)
        if self.kind == VMSA:
            content[NOT_MEASURED] = bytes(16)
        return hashlib.sha384(content).digest()


def extend(digest: bytes, page: Page) -> bytes:
    """The digest after one more page."""
    info = digest + page.measured() + struct.pack("<HBB3BBQ", 0x70, page.kind, 0, *page.permissions, 0, page.gpa)
    assert len(info) == 0x70
    return hashlib.sha384(info).digest()


def launch(pages: Sequence[Page]) -> str:
    digest = bytes(48)
    for page in pages:
        digest = extend(digest, page)
    return digest.hex()


def whole(vmsas: int) -> str:
    """A launch with this many VMSAs."""
    return launch([Page(NORMAL, 0xFFC00000, b"\x5a" * 4096), Page(ZERO, 0x800000), Page(SECRETS, 0x80D000),
                   Page(CPUID, 0x80E000), *(Page(VMSA, VMSA_GPA, bytes([0xC0 + i]) * 4096) for i in range(vmsas))])


def vectors() -> dict[str, str]:
    """The macros' names and values."""
    return {
        "DIGEST_ZERO": launch([Page(ZERO, 0)]),
        "DIGEST_NORMAL": launch([Page(NORMAL, 0x1000, b"\xaa" * 4096)]),
        "DIGEST_VMSA": launch([Page(VMSA, VMSA_GPA, bytes(4096))]),
        "DIGEST_WHOLE_2": whole(2),
        "DIGEST_WHOLE_1": whole(1),
        "DIGEST_LARGE": launch([Page(NORMAL, 0x200000 + i * 4096, b"\x3c" * 4096, (15, 7, 3)) for i in range(512)]),
    }


def missing(text: str) -> list[str]:
    """The names of the digests that the C file lacks. The file has each as two strings, so both halves are searched."""
    return [name for name, digest in vectors().items() if digest[:HALF] not in text or digest[HALF:] not in text]


def main() -> int:
    if len(sys.argv) == 1:
        for name, digest in vectors().items():
            print(f'#define {name} \\\n    "{digest[:HALF]}" \\\n    "{digest[HALF:]}"')
        return 0
    wrong = missing(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name in wrong:
        print(f"{sys.argv[1]}: {name} is not {vectors()[name]}", file=sys.stderr)
    print(f"{len(vectors()) - len(wrong)} of {len(vectors())} launch digests agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
