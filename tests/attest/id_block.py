#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Makes an ID block and its authentication information for SNP_LAUNCH_FINISH, with keys of its own.

usage: id_block.py FOLDER DIGEST [POLICY]     writes FOLDER/id-block and FOLDER/id-auth; DIGEST is the launch digest in hex
"""
from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# SNP ABI (56860), SNP_LAUNCH_FINISH: offsets in the ID authentication information.
BLOCK_SIGNATURE, ID_KEY, ID_KEY_SIGNATURE, AUTHOR_KEY, AUTH_LEN = 0x40, 0x240, 0x680, 0x880, 4096
KEY_LEN, NUMBER_LEN, P384_BYTES = 0x404, 72, 48
ALGO_ECDSA_P384_SHA384, CURVE_P384 = 1, 2
FAMILY, IMAGE, SVN = b"family".ljust(16), b"image".ljust(16), 7


@dataclass(frozen=True)
class Identity:
    """The two parts, 96 and 4096 bytes."""

    block: bytes
    auth: bytes


def new_key(path: Path) -> bytes:
    """Makes a private key. Returns the public one as the firmware takes it."""
    subprocess.run(["openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", path], check=True)
    point = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], stdout=subprocess.PIPE,
                           check=True).stdout[-2 * P384_BYTES:]
    numbers = (point[at:at + P384_BYTES][::-1].ljust(NUMBER_LEN, b"\0") for at in (0, P384_BYTES))
    return (struct.pack("<I", CURVE_P384) + b"".join(numbers)).ljust(KEY_LEN, b"\0")


def sign(key: Path, data: bytes) -> bytes:
    """The signature: R and S, little-endian, from openssl's SEQUENCE of two INTEGERs."""
    rest = subprocess.run(["openssl", "dgst", "-sha384", "-sign", key], input=data, stdout=subprocess.PIPE,
                          check=True).stdout[2:]
    out = b""
    for _ in range(2):
        number, rest = rest[2:2 + rest[1]], rest[2 + rest[1]:]
        out += int.from_bytes(number, "big").to_bytes(NUMBER_LEN, "little")
    return out


def make_identity(folder: Path, digest: bytes, policy: int = 0x30000) -> Identity:
    """An ID block for a launch with that digest and policy, signed by an ID key, and this by an author key."""
    id_key, author_key = new_key(folder / "id.priv"), new_key(folder / "author.priv")
    block = struct.pack("<48s16s16sIIQ", digest, FAMILY, IMAGE, 1, SVN, policy)
    auth = bytearray(AUTH_LEN)
    struct.pack_into("<II", auth, 0, ALGO_ECDSA_P384_SHA384, ALGO_ECDSA_P384_SHA384)
    for at, part in ((BLOCK_SIGNATURE, sign(folder / "id.priv", block)), (ID_KEY, id_key),
                     (ID_KEY_SIGNATURE, sign(folder / "author.priv", id_key)), (AUTHOR_KEY, author_key)):
        auth[at:at + len(part)] = part
    return Identity(block, bytes(auth))


def main() -> None:
    """The program."""
    folder, digest, *policy = sys.argv[1:]
    made = make_identity(Path(folder), bytes.fromhex(digest), int((policy or ["0x30000"])[0], 0))
    Path(folder, "id-block").write_bytes(made.block)
    Path(folder, "id-auth").write_bytes(made.auth)


if __name__ == "__main__":
    main()
