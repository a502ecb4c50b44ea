# SPDX-License-Identifier: GPL-2.0-only
"""The properties of QEMU's object sev-snp-guest that the user chooses, and how an attestation report must show them.

SNP ABI (56860): the guest policy, the ID block and the ID authentication information of SNP_LAUNCH_FINISH, and the table
ATTESTATION_REPORT.
"""
from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

from lab.attest.attestation import Check, Report

# SMT is allowed, and bit 17, which must be one.
POLICY = 0x30000
HOST_DATA_LEN, ID_BLOCK_LEN, ID_AUTH_LEN = 32, 96, 4096
# The ID block: launch digest, family, image, version, guest SVN, policy.
ID_BLOCK = struct.Struct("<48s16s16sIIQ")
# The keys in the ID authentication information: a curve and a point. The firmware measures these bytes.
KEY_LEN, ID_KEY, AUTHOR_KEY = 0x404, 0x240, 0x880
FAMILY_ID, IMAGE_ID, HOST_DATA = slice(0x10, 0x20), slice(0x20, 0x30), slice(0xc0, 0xe0)
ID_KEY_DIGEST, AUTHOR_KEY_DIGEST = slice(0xe0, 0x110), slice(0x110, 0x140)


@dataclass(frozen=True)
class SnpObject:
    """The chosen properties. host_data has HOST_DATA_LEN bytes, id_block ID_BLOCK_LEN, id_auth ID_AUTH_LEN, or none."""

    policy: int = POLICY
    kernel_hashes: bool = True
    host_data: bytes = b""
    id_block: bytes = b""
    id_auth: bytes = b""
    author_key: bool = False

    @property
    def line(self) -> str:
        """The properties, as QEMU's -object takes them after the object's name."""
        parts = [f"kernel-hashes={'on' if self.kernel_hashes else 'off'}", f"policy={self.policy:#x}"]
        parts += [f"{name}={base64.b64encode(data).decode()}" for name, data in
                  (("host-data", self.host_data), ("id-block", self.id_block), ("id-auth", self.id_auth)) if data]
        return ",".join([*parts, *(["author-key-enabled=on"] if self.author_key else [])])

    def checks(self, report: Report) -> list[Check]:
        """Does the report show them? The policy and the host's data always; the fields of the ID block, and the digests of
        the keys, if there is an ID block."""
        checks = [check("policy", self.policy.to_bytes(8, "big"), report.policy.to_bytes(8, "big")),
                  check("host data", self.host_data or bytes(HOST_DATA_LEN), report.data[HOST_DATA])]
        if self.id_block:
            _, family, image, _, svn, _ = ID_BLOCK.unpack(self.id_block)
            author = self.key_digest(AUTHOR_KEY) if self.author_key else bytes(48)
            checks += [check("family ID", family, report.data[FAMILY_ID]), check("image ID", image, report.data[IMAGE_ID]),
                       check("guest SVN", svn.to_bytes(4, "big"), report.guest_svn.to_bytes(4, "big")),
                       check("ID key's digest", self.key_digest(ID_KEY), report.data[ID_KEY_DIGEST]),
                       check("author key's digest", author, report.data[AUTHOR_KEY_DIGEST])]
        return checks

    def key_digest(self, where: int) -> bytes:
        """SHA-384 of a key in the ID authentication information."""
        return hashlib.sha384(self.id_auth[where:where + KEY_LEN]).digest()


def check(name: str, expected: bytes, found: bytes) -> Check:
    """One field of the report."""
    return Check(name, None if expected == found else f"expected {expected.hex()}, found {found.hex()}", found.hex())
