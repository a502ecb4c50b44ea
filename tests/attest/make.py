#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Makes firmware, kernels and attestation reports for the tests: right, or wrong in one thing.

The bytes are the same each time, but for a report's signature.

usage: make.py firmware FILE [NAME=VALUE]...     the names are the fields of Firmware, with - for _
       make.py kernel FILE [NAME=VALUE]...       those of Kernel
       make.py report FILE KEY [NAME=VALUE]...   those of Report; KEY is the private key that signs it
       make.py flip FROM TO OFFSET               a copy with one bit changed; a negative OFFSET counts from the end
"""
from __future__ import annotations

import dataclasses
import hashlib
import struct
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

PAGE = 4096
AFTER_TABLE = 32
ENTRY_FOOT = 18
METADATA_OFFSET = 0x400         # from the end
REPORT_LEN, SIGNED_LEN, NUMBER_LEN = 1184, 0x2a0, 72
GUIDS = {"footer": "96b582de-1fb2-45f7-baea-a366c55a082d", "reset": "00f771de-1a7e-4fcb-890e-68c77e2fb44e",
         "metadata": "dc886566-984a-4798-a75e-5585a7bf67cc", "hashes": "7255371f-3a3b-4b04-927b-1da6efa8d454"}


@dataclass(frozen=True)
class Firmware:
    """An image with noise, SEV metadata and a GUID table."""
    pages: int = 4
    # TYPE:ADDRESS:LENGTH as in AmdSev's OVMF, not sorted by address.
    sections: str = "1:800000:9000,2:80d000:1000,3:80e000:1000,4:80f000:1000,1:811000:3000,10:810000:1000"
    without: str = ""           # entries that the table lacks, or "footer"
    footer_length: int | None = None
    entry_length: int | None = None
    reset: int = 0xffffb004
    reset_size: int = 4
    hashes_base: int = 0x810c00
    hashes_size: int = 0x400
    metadata_offset: int | None = None
    metadata_signature: str = "ASEV"
    metadata_length: int | None = None
    metadata_version: int = 1
    metadata_count: int | None = None
    # A second entry with the reset block's GUID, further from the footer.
    second_reset: int | None = None


@dataclass(frozen=True)
class Kernel:
    """A bzImage, as far as QEMU looks at it."""
    setup: int = 3
    magic: str = "HdrS"
    size: int = 10000


@dataclass(frozen=True)
class Report:
    """An attestation report."""
    version: int = 3
    policy: int = 0x30000
    vmpl: int = 0
    algorithm: int = 1
    signing_key: int = 0
    measurement: str = "11" * 48
    report_data: str = "22" * 64
    # Family, model, stepping, from version 3 on; the vectors of mitigations, from version 5 on.
    processor: str = "190101"
    launch_vector: int = 0
    current_vector: int = 0
    # The reported TCB and the chip's ID; "": noise.
    tcb: str = ""
    chip_id: str = ""
    # Author key and masked chip key, bits 0 and 1 beside the signing key.
    key_bits: int = 0
    unsigned: int = 0
    host_data: str = "00" * 32


Shape = TypeVar("Shape", Firmware, Kernel, Report)


def noise(size: int, seed: str) -> bytes:
    return b"".join(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range((size + 31) // 32))[:size]


def either(given: int | None, default: int) -> int:
    return default if given is None else given


def entry(name: str, data: bytes, length: int | None = None) -> bytes:
    return data + struct.pack("<H", either(length, len(data) + ENTRY_FOOT)) + uuid.UUID(GUIDS[name]).bytes_le


def metadata(f: Firmware) -> bytes:
    sections = [[int(n, 16) for n in s.split(":")] for s in f.sections.split(",") if s]
    head = struct.pack("<3I", either(f.metadata_length, 16 + 12 * len(sections)), f.metadata_version,
                       either(f.metadata_count, len(sections)))
    return f.metadata_signature.encode() + head + b"".join(struct.pack("<3I", gpa, size, kind)
                                                           for kind, gpa, size in sections)


def firmware(f: Firmware) -> bytes:
    image = bytearray(noise(f.pages * PAGE, "firmware"))
    data = metadata(f)
    image[-METADATA_OFFSET:len(image) - METADATA_OFFSET + len(data)] = data
    without = f.without.split(",")
    entries = {"hashes": struct.pack("<II", f.hashes_base, f.hashes_size),
               "metadata": struct.pack("<I", either(f.metadata_offset, METADATA_OFFSET)),
               "reset": struct.pack("<I", f.reset)[:f.reset_size]}
    table = b"" if f.second_reset is None else entry("reset", struct.pack("<I", f.second_reset))
    for name, content in entries.items():
        if name not in without:
            table += entry(name, content, f.entry_length if name == "reset" else None)
    table += entry("footer", b"", either(f.footer_length, len(table) + ENTRY_FOOT))
    if "footer" not in without:
        image[-AFTER_TABLE - len(table):-AFTER_TABLE] = table
    return bytes(image)


def kernel(k: Kernel) -> bytes:
    image = bytearray(noise(k.size, "kernel"))
    image[0x1f1] = k.setup
    image[0x202:0x206] = k.magic.encode()
    return bytes(image)


def report(r: Report, key: Path) -> bytes:
    data = bytearray(noise(REPORT_LEN, "report"))
    struct.pack_into("<I4xQ", data, 0, r.version, r.policy)
    struct.pack_into("<II", data, 0x30, r.vmpl, r.algorithm)
    struct.pack_into("<I", data, 0x48, r.signing_key << 2 | r.key_bits)
    data[0x50:0x90] = bytes.fromhex(r.report_data)
    data[0x90:0xc0] = bytes.fromhex(r.measurement)
    data[0xc0:0xe0] = bytes.fromhex(r.host_data)
    data[0x188:0x18b] = bytes.fromhex(r.processor)
    struct.pack_into("<QQ", data, 0x1f8, r.launch_vector, r.current_vector)
    for at, field in ((0x180, r.tcb), (0x1a0, r.chip_id)):
        data[at:at + len(field) // 2] = bytes.fromhex(field)
    data[SIGNED_LEN:] = bytes(512)
    if not r.unsigned:
        # A SEQUENCE of two INTEGERs, which are big-endian.
        rest = subprocess.run(["openssl", "dgst", "-sha384", "-sign", key], input=data[:SIGNED_LEN],
                              stdout=subprocess.PIPE, check=True).stdout[2:]
        for at in (SIGNED_LEN, SIGNED_LEN + NUMBER_LEN):
            number, rest = rest[2:2 + rest[1]], rest[2 + rest[1]:]
            data[at:at + NUMBER_LEN] = int.from_bytes(number, "big").to_bytes(NUMBER_LEN, "little")
    return bytes(data)


def flip(data: bytes, offset: int) -> bytes:
    """A copy with one bit changed; a negative offset counts from the end."""
    copy = bytearray(data)
    copy[offset] ^= 1
    return bytes(copy)


def shaped(shape: Shape, words: list[str]) -> Shape:
    """shape, with NAME=VALUE in place of its defaults."""
    types = {f.name.replace("_", "-"): str(f.type) for f in dataclasses.fields(shape)}
    changes: dict[str, str | int] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in types:
            raise SystemExit(f"make.py: expected one of {' '.join(types)}, found {name}")
        changes[name.replace("-", "_")] = value if types[name] == "str" else int(value, 0)
    return dataclasses.replace(shape, **changes)


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit((__doc__ or "").split("\n\n")[2])
    what, path, *rest = sys.argv[1:]
    if what == "flip":
        Path(rest[0]).write_bytes(flip(Path(path).read_bytes(), int(rest[1], 0)))
    elif what == "firmware":
        Path(path).write_bytes(firmware(shaped(Firmware(), rest)))
    elif what == "kernel":
        Path(path).write_bytes(kernel(shaped(Kernel(), rest)))
    else:
        Path(path).write_bytes(report(shaped(Report(), rest[1:]), Path(rest[0])))


if __name__ == "__main__":
    main()
