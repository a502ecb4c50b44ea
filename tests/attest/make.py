#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Makes what tests/attest.sh needs: firmware, a kernel and reports, right or wrong in one thing.

usage: make.py firmware FILE [NAME=VALUE]...     the same bytes each time; the names are those of FIRMWARE
       make.py kernel FILE [NAME=VALUE]...       a bzImage, as far as QEMU looks at it
       make.py report FILE KEY [NAME=VALUE]...   signed with the private key; the names are those of REPORT
       make.py flip FROM TO OFFSET               a copy with one bit changed; a negative OFFSET counts from the end
"""
import hashlib
import struct
import subprocess
import sys
import uuid

FIRMWARE = {
    "pages": 4,
    # Types, addresses and lengths as AmdSev's OVMF has them, in an order that is not one of addresses.
    "sections": "1:800000:9000,2:80d000:1000,3:80e000:1000,4:80f000:1000,1:811000:3000,10:810000:1000",
    "without": "",                  # entries of the table, or "footer"
    "footer-length": None, "entry-length": None,
    "reset": 0xffffb004, "reset-size": 4,
    "hashes-base": 0x810c00, "hashes-size": 0x400,
    "metadata-offset": None, "metadata-signature": "ASEV", "metadata-length": None, "metadata-version": 1,
    "metadata-count": None,
    # A second entry with the reset block's GUID, further from the foot.
    "second-reset": None,
}
KERNEL = {"setup": 3, "magic": "HdrS", "size": 10000}
REPORT = {"version": 3, "policy": 0x30000, "vmpl": 0, "algorithm": 1, "signing-key": 0, "measurement": "11" * 48,
          "report-data": "22" * 64, "unsigned": 0}
GUIDS = {"footer": "96b582de-1fb2-45f7-baea-a366c55a082d", "reset": "00f771de-1a7e-4fcb-890e-68c77e2fb44e",
         "metadata": "dc886566-984a-4798-a75e-5585a7bf67cc", "hashes": "7255371f-3a3b-4b04-927b-1da6efa8d454"}


def noise(size, seed):
    return b"".join(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range((size + 31) // 32))[:size]


def entry(name, data, length=None):
    return data + struct.pack("<H", len(data) + 18 if length is None else length) + uuid.UUID(GUIDS[name]).bytes_le


def firmware(o):
    sections = [tuple(int(n, 16) for n in s.split(":")) for s in o["sections"].split(",") if s]
    count = len(sections) if o["metadata-count"] is None else o["metadata-count"]
    length = 16 + 12 * len(sections) if o["metadata-length"] is None else o["metadata-length"]
    metadata = o["metadata-signature"].encode() + struct.pack("<3I", length, o["metadata-version"], count)
    metadata += b"".join(struct.pack("<3I", gpa, size, kind) for kind, gpa, size in sections)
    image = bytearray(noise(o["pages"] * 4096, "firmware"))
    offset = 0x400
    image[-offset:len(image) - offset + len(metadata)] = metadata
    if o["metadata-offset"] is not None:
        offset = o["metadata-offset"]
    entries = {"hashes": struct.pack("<II", o["hashes-base"], o["hashes-size"]), "metadata": struct.pack("<I", offset),
               "reset": struct.pack("<I", o["reset"])[:o["reset-size"]]}
    table = b"" if o["second-reset"] is None else entry("reset", struct.pack("<I", o["second-reset"]))
    for name, data in entries.items():
        if name not in o["without"].split(","):
            table += entry(name, data, o["entry-length"] if name == "reset" else None)
    table += entry("footer", b"", len(table) + 18 if o["footer-length"] is None else o["footer-length"])
    if "footer" not in o["without"].split(","):
        image[-32 - len(table):-32] = table
    return image


def kernel(o):
    image = bytearray(noise(o["size"], "kernel"))
    image[0x1f1] = o["setup"]
    image[0x202:0x206] = o["magic"].encode()
    return image


def report(o, key):
    r = bytearray(noise(0x4a0, "report"))
    struct.pack_into("<I4xQ", r, 0, o["version"], o["policy"])
    struct.pack_into("<II", r, 0x30, o["vmpl"], o["algorithm"])
    struct.pack_into("<I", r, 0x48, o["signing-key"] << 2)
    r[0x50:0x90] = bytes.fromhex(o["report-data"])
    r[0x90:0xc0] = bytes.fromhex(o["measurement"])
    r[0x2a0:] = bytes(512)
    if not o["unsigned"]:
        # A SEQUENCE of two INTEGERs, which are big-endian.
        rest = subprocess.run(["openssl", "dgst", "-sha384", "-sign", key], input=r[:0x2a0], stdout=subprocess.PIPE,
                              check=True).stdout[2:]
        for at in (0x2a0, 0x2a0 + 72):
            number, rest = rest[2:2 + rest[1]], rest[2 + rest[1]:]
            r[at:at + 72] = int.from_bytes(number, "big").to_bytes(72, "little")
    return r


def options(known, given):
    o = dict(known)
    for text in given:
        name, value = text.split("=", 1)
        if name not in known:
            sys.exit(f"make.py: expected one of {' '.join(known)}, found {name}")
        o[name] = value if isinstance(known[name], str) else int(value, 0)
    return o


def main():
    what, path, *rest = sys.argv[1:]
    if what == "flip":
        with open(path, "rb") as f:
            data = bytearray(f.read())
        path, offset = rest
        data[int(offset, 0)] ^= 1
    elif what == "firmware":
        data = firmware(options(FIRMWARE, rest))
    elif what == "kernel":
        data = kernel(options(KERNEL, rest))
    else:
        data = report(options(REPORT, rest[1:]), rest[0])
    with open(path, "wb") as f:
        f.write(data)


if __name__ == "__main__":
    main()
