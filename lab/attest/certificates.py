# SPDX-License-Identifier: GPL-2.0-only
"""Reads certificates: PEM, DER, or the table that a guest's extended request returns. openssl does the work.

The extensions of a VCEK or VLEK are those of AMD's "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface
Specification" (57230). The table of certificates is that of the GHCB specification (56421), SNP Extended Guest Request.
"""
from __future__ import annotations

import base64
import datetime
import re
import struct
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab.attest.attestation import Unusable, openssl, read
from lab.attest.fields import Tcb

AMD = "1.3.6.1.4.1.3704.1"
PRODUCT, HWID, CSP_ID = f"{AMD}.2", f"{AMD}.4", f"{AMD}.5"
BOOT_LOADER, TEE, SNP, MICROCODE, FMC = (f"{AMD}.3.{n}" for n in (1, 2, 3, 8, 9))
PEM = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.*?)-----END (?:TRUSTED |X509 )?CERTIFICATE-----", re.S)
PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----"
# An entry of the table: GUID, offset, length. An entry of zeros ends it.
TABLE_ENTRY = struct.Struct("<16sII")
TABLE_KINDS = {uuid.UUID(guid) for guid in (
    "c0b406a4-a803-4952-9743-3fb6014cd0ae", "4ab7b379-bbac-4fe4-a02f-05aef327c782", "63da758d-e664-4564-adc5-f4b93be8accd",
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1")}     # ARK, ASK, VCEK, VLEK
OCTETS_OF = re.compile(r"OBJECT +:([\d.]+)\n(?:[^\n]*BOOLEAN[^\n]*\n)?[^\n]*OCTET STRING +\[HEX DUMP\]:([0-9A-F]*)")
TIME = "%Y-%m-%d %H:%M:%SZ"
INTEGER, STRINGS, OCTETS = 2, (12, 19, 22), 4


@dataclass(frozen=True)
class Certificate:
    """A certificate. source: the file it came from, for messages; algorithm: that of its signature, as text; key: its public
    key in PEM; extensions: the contents of those under AMD's number, by their number."""

    source: str
    der: bytes
    subject: str
    issuer: str
    begins: datetime.datetime
    ends: datetime.datetime
    algorithm: str
    key: str
    extensions: dict[str, bytes]

    @property
    def name(self) -> str:
        """The subject's common name."""
        return common_name(self.subject)

    @property
    def is_root(self) -> bool:
        """Does it name itself as its issuer?"""
        return self.subject == self.issuer

    @property
    def is_leaf(self) -> bool:
        """Is it a VCEK or a VLEK?"""
        return bool(self.extensions)

    def number(self, extension: str) -> int | None:
        """An extension's number, or None."""
        data = self.extensions.get(extension, b"")
        return int.from_bytes(data[2:], "big") if len(data) > 2 and data[0] == INTEGER else None

    def text(self, extension: str) -> str | None:
        """An extension's text, or None."""
        data = self.extensions.get(extension, b"")
        return data[2:].decode("utf-8", "replace") if len(data) > 2 and data[0] in STRINGS else None

    @property
    def hwid(self) -> bytes | None:
        """The chip's ID: 64 bytes, or 8 of Turin; None in a VLEK."""
        data = self.extensions.get(HWID)
        # As AMD's key server makes them, these bytes are in no further ASN.1 value; take them from one, too.
        return data[2:] if data is not None and data[:2] in (b"\x04\x40", b"\x04\x08") and len(data) == data[1] + 2 else data

    def tcb(self) -> Tcb | None:
        """The TCB that the key is for; None if a part is missing."""
        parts = [self.number(part) for part in (BOOT_LOADER, TEE, SNP, MICROCODE)]
        numbers = [part for part in parts if part is not None]
        return Tcb(self.number(FMC), *numbers) if len(numbers) == len(parts) else None


def common_name(subject: str) -> str:
    """CN of a name as RFC 2253 writes it, or all of the name."""
    found = re.search(r"(?:^|,)CN=((?:[^,\\]|\\.)*)", subject)
    return found[1] if found else subject


def certificates_in(path: Path) -> list[Certificate]:
    """All certificates of a file. Raises Unusable if it has none, or one that openssl cannot read."""
    data = read(path)
    found = ders(data)
    if not found:
        what = "a public key, for --vcek" if PUBLIC_KEY in data else f"{len(data)} bytes"
        raise Unusable(f"{path}: expected certificates in PEM or DER, or a table of certificates, found {what}",
                       "AMD's key server has them: https://kdsintf.amd.com")
    return [parse(der, f"{path}" if len(found) == 1 else f"{path}, certificate {i}") for i, der in enumerate(found, 1)]


def ders(data: bytes) -> list[bytes]:
    """The certificates in DER."""
    blocks = PEM.findall(data)
    if blocks:
        return [from_base64(block) for block in blocks]
    if data[:1] == b"\x30":
        return [data]
    return in_table(data)


def from_base64(block: bytes) -> bytes:
    """The bytes of a PEM block; none if it is no base64: then openssl says that it is no certificate."""
    try:
        return base64.b64decode(block)
    except ValueError:
        return b""


def in_table(data: bytes) -> list[bytes]:
    """The certificates of a table; none if it is no table."""
    found: list[bytes] = []
    for at in range(0, len(data) - TABLE_ENTRY.size + 1, TABLE_ENTRY.size):
        guid, offset, length = TABLE_ENTRY.unpack_from(data, at)
        if not any(guid):
            return found
        if not length or offset + length > len(data):
            return []
        if {uuid.UUID(bytes=guid), uuid.UUID(bytes_le=guid)} & TABLE_KINDS:
            found += ders(data[offset:offset + length]) if data[offset:offset + 1] in (b"-", b"\x30") else []
    return []


def parse(der: bytes, source: str) -> Certificate:
    """Reads one certificate. Raises Unusable if openssl cannot."""
    with tempfile.TemporaryDirectory(prefix="snplab-certificate.") as tmp:
        file = Path(tmp, "der")
        file.write_bytes(der)
        status, said = openssl("x509", "-inform", "der", "-in", file, "-noout", "-subject", "-issuer", "-nameopt", "RFC2253",
                               "-startdate", "-enddate", "-dateopt", "iso_8601", "-pubkey", "-text")
        _, asn1 = openssl("asn1parse", "-inform", "der", "-in", file)
    lines = dict(line.split("=", 1) for line in said.splitlines() if re.match(r"(subject|issuer|notBefore|notAfter)=", line))
    key = re.search(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\n?", said, re.S)
    algorithm = re.search(r"Signature Algorithm: (\S+)(?:\s+Hash Algorithm: (\S+))?", said)
    begins, ends = (time_of(lines.get(name, "")) for name in ("notBefore", "notAfter"))
    if status or len(lines) != 4 or key is None or algorithm is None or begins is None or ends is None:
        raise Unusable(f"{source}: expected an X.509 certificate, found {len(der)} bytes that openssl cannot read",
                       "the file may be cut off, or of another kind: fetch it again")
    extensions = {number: bytes.fromhex(octets) for number, octets in OCTETS_OF.findall(asn1)
                  if number.startswith(f"{AMD}.")}
    return Certificate(source, der, lines["subject"], lines["issuer"], begins, ends,
                       " ".join(part for part in algorithm.groups() if part), key[0].rstrip() + "\n", extensions)


def time_of(text: str) -> datetime.datetime | None:
    """The time that openssl prints; None if it says that there is none."""
    try:
        return datetime.datetime.strptime(text, TIME).replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None


def signature_problem(certificate: Certificate, issuer: Certificate) -> str | None:
    """What openssl says against `issuer` having signed `certificate`, whatever the date; None if it has."""
    with tempfile.TemporaryDirectory(prefix="snplab-certificate.") as tmp:
        files = []
        for name, one in (("issuer", issuer), ("certificate", certificate)):
            file = Path(tmp, name)
            text = base64.encodebytes(one.der).decode()
            file.write_text(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n", encoding="ascii")
            files.append(file)
        # Without this option, openssl does not look at a self-signed certificate's signature. With it, it does so even if
        # the certificate is only another one's issuer.
        own = ["-check_ss_sig"] if certificate is issuer else []
        status, said = openssl("verify", "-no_check_time", *own, "-partial_chain", "-trusted", *files)
    if status == 0:
        return None
    found = re.search(r"error \d+ at \d+ depth lookup: (.*)", said)
    return found[1] if found else said.splitlines()[-1] if said else f"status {status}"
