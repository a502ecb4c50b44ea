# SPDX-License-Identifier: GPL-2.0-only
"""The fields of an attestation report in words (SNP ABI, 56860, table ATTESTATION_REPORT, versions 2, 3 and 5)."""
from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from lab.attest.attestation import ALGO_ECDSA_P384_SHA384, NUMBER_LEN, P384_BYTES, SIGNING_KEYS, Report

DEBUG_BIT = 19
# Each bit of the policy: its words if it is set, and if it is clear (table GUEST_POLICY).
POLICY = {
    16: ("SMT allowed", "SMT not allowed"),
    18: ("a migration agent allowed", "no migration agent"),
    DEBUG_BIT: ("DEBUGGING ALLOWED: the host can read and write the guest's memory", "no debugging"),
    20: ("on one socket only", "on any number of sockets"),
    21: ("CXL devices and memory allowed", "no CXL"),
    22: ("AES-256-XTS required", "AES-128-XEX or AES-256-XTS"),
    23: ("RAPL must be disabled", "RAPL allowed"),
    24: ("ciphertext hiding required", "ciphertext hiding not required"),
    25: ("page move and page swap disabled", "page move and page swap allowed")}
POLICY_ONE, POLICY_RESERVED = 17, range(26, 64)
# Each bit of PLATFORM_INFO.
PLATFORM = {0: ("SMT on", "SMT off"), 1: ("TSME on", "TSME off"), 2: ("ECC memory", "no ECC memory"),
            3: ("RAPL disabled", "RAPL enabled"), 4: ("ciphertext hiding on", "ciphertext hiding off"),
            5: ("memory checked for aliases", "memory not checked for aliases"), 7: ("SEV-TIO on", "SEV-TIO off")}
PLATFORM_RESERVED = (6, *range(8, 64))
# The report's version that first has a bit: in an older one, a bit that is clear says nothing.
POLICY_SINCE, PLATFORM_SINCE = {25: 5}, {5: 3, 7: 5}
AUTHOR_KEY_EN, MASK_CHIP_KEY = 1, 2
AGENT = "migration agent's report ID"
CHIP_ID = slice(0x1a0, 0x1e0)
# Bytes of CHIP_ID that Turin and later use; the others are zero.
SHORT_CHIP_ID = 8


class Chip(NamedTuple):
    """A kind of chip: AMD's name, by which its key server knows it, and whether its TCB_VERSION has the FMC's byte."""

    name: str
    has_fmc: bool


MILAN, GENOA, TURIN = Chip("Milan", False), Chip("Genoa", False), Chip("Turin", True)


@dataclass(frozen=True)
class Tcb:
    """A TCB_VERSION: the security patch level of each part. fmc: None for Milan and Genoa."""

    fmc: int | None
    boot_loader: int
    tee: int
    snp: int
    microcode: int

    @property
    def words(self) -> str:
        """One line."""
        fmc = "" if self.fmc is None else f"FMC {self.fmc}, "
        return f"{fmc}boot loader {self.boot_loader}, TEE {self.tee}, SNP {self.snp}, microcode {self.microcode}"


def tcb_of(data: bytes, has_fmc: bool) -> Tcb:
    """Reads the 8 bytes of a TCB_VERSION; Turin moved all parts but the microcode by one byte to make room for the FMC's."""
    if has_fmc:
        return Tcb(data[0], data[1], data[2], data[3], data[7])
    return Tcb(None, data[0], data[1], data[6], data[7])


class Field(NamedTuple):
    """A field: its name, its value as text, and its meaning, or an empty string."""

    name: str
    value: str
    words: str = ""


def chip_of(report: Report) -> Chip | None:
    """The kind of chip. A report of version 2 does not name it: then a chip ID of 8 bytes speaks for Turin, a longer one for
    Milan or Genoa, which have the same layout. None: a chip that is not known here, or no sign of any."""
    if report.version >= 3:
        family, model = report.data[0x188], report.data[0x189]
        if family == 0x19 and model <= 0x0f:
            return MILAN
        if family == 0x19 and (0x10 <= model <= 0x1f or 0xa0 <= model <= 0xaf):
            return GENOA
        return TURIN if family == 0x1a and model <= 0x11 else None
    if any(report.data[CHIP_ID][SHORT_CHIP_ID:]):
        return Chip("Milan or Genoa", False)
    return TURIN if any(report.data[CHIP_ID]) else None


def has_fmc(report: Report) -> bool:
    """Which layout do the report's TCB_VERSIONs have? Family 1Ah and later: Turin's."""
    chip = chip_of(report)
    return chip.has_fmc if chip else report.version >= 3 and report.data[0x188] >= 0x1a


def reported_tcb(report: Report) -> Tcb:
    """The TCB of which the signing key is made."""
    return tcb_of(report.data[0x180:0x188], has_fmc(report))


def chip_id(report: Report) -> bytes:
    """64 bytes; zeros if the host hides it."""
    return report.data[CHIP_ID]


def bits_of(value: int, table: dict[int, tuple[str, str]], since: dict[int, int], version: int) -> list[str]:
    """The words for each bit of a table that a report of this version has."""
    return [words[0] if value >> bit & 1 else words[1] for bit, words in table.items()
            if value >> bit & 1 or version >= since.get(bit, 0)]


def reserved(value: int, bits: range | tuple[int, ...]) -> list[str]:
    """The reserved bits that are set."""
    found = [str(bit) for bit in bits if value >> bit & 1]
    return [f"RESERVED {'BIT' if len(found) == 1 else 'BITS'} {', '.join(found)} SET"] if found else []


def policy_words(policy: int, version: int) -> str:
    """Each bit of the policy in a report of this version."""
    words = [f"ABI {policy >> 8 & 255}.{policy & 255} or later", *bits_of(policy, POLICY, POLICY_SINCE, version)]
    if not policy >> POLICY_ONE & 1:
        words.append(f"RESERVED BIT {POLICY_ONE} CLEAR, which must be set")
    return "; ".join(words + reserved(policy, POLICY_RESERVED))


def key_words(report: Report) -> str:
    """Who signed it, and the two bits beside that."""
    bits = struct.unpack_from("<I", report.data, 0x48)[0]
    return "; ".join([f"signed with {SIGNING_KEYS.get(report.signing_key, f'key {report.signing_key}, which is reserved')}",
                      "the ID key is signed by an author key" if bits & AUTHOR_KEY_EN else "no author key",
                      "the host masks the chip's key: THE REPORT IS NOT SIGNED" if bits & MASK_CHIP_KEY
                      else "the chip's key is not masked", *reserved(bits, range(5, 32))])


def printable(data: bytes) -> str:
    """The text in a field that guests often fill with text; or "all zero"."""
    text = data.rstrip(b"\0")
    if not text:
        return "all zero"
    return f"the text \"{text.decode('ascii')}\"" if all(32 <= byte < 127 for byte in text) else ""


def platform_words(platform: int, version: int) -> str:
    """Each bit of PLATFORM_INFO in a report of this version."""
    return "; ".join(bits_of(platform, PLATFORM, PLATFORM_SINCE, version) + reserved(platform, PLATFORM_RESERVED))


def hex_field(name: str, report: Report, start: int, length: int, zero: str = "all zero") -> Field:
    """A field of bytes; zero: what it means if it is zero."""
    data = report.data[start:start + length]
    words = "" if any(data) else zero
    return Field(name, data.hex(), "no migration agent" if name == AGENT and set(data) == {0xff} else words)


def version_text(report: Report, at: int) -> str:
    """A firmware's version: build, minor and major, a byte each."""
    build, minor, major = report.data[at:at + 3]
    return f"{major}.{minor}.{build}"


def tcb_field(name: str, report: Report, at: int, words: str) -> Field:
    """One of the four TCB_VERSIONs."""
    data = report.data[at:at + 8]
    return Field(name, data.hex(), f"{tcb_of(data, has_fmc(report)).words}; {words}")


def processor_fields(report: Report) -> list[Field]:
    """The processor, and the mitigation vectors of version 5."""
    if report.version < 3:
        return []
    chip = chip_of(report)
    fields = [Field("processor", report.data[0x188:0x18b].hex(),
                    f"{report.processor}: {chip.name if chip else 'no kind that is known here'}")]
    if report.version >= 5:
        for name, at, when in (("launch mitigations", 0x1f8, "when the guest was launched"),
                               ("current mitigations", 0x200, "when the report was made")):
            vector, = struct.unpack_from("<Q", report.data, at)
            bits = ", ".join(str(bit) for bit in range(64) if vector >> bit & 1)
            fields.append(Field(name, f"{vector:#x}", f"{f'bits {bits}' if bits else 'none'}, {when}"))
    return fields


def signature_fields(report: Report) -> list[Field]:
    """R and S as numbers, the most significant byte first."""
    numbers = [report.signature[at:at + P384_BYTES][::-1] for at in (0, NUMBER_LEN)]
    return [Field(f"signature, {name}", number.hex(), "" if any(number) else "zero: not signed")
            for name, number in zip("RS", numbers)]


def fields_of(report: Report) -> list[Field]:
    """All fields, in the report's order but for the processor, which is first because other fields depend on it."""
    data = report.data
    platform, = struct.unpack_from("<Q", data, 0x40)
    algorithm = "ECDSA P-384 with SHA-384" if report.algorithm == ALGO_ECDSA_P384_SHA384 else "unknown"
    known = "" if report.version in (2, 3, 5) else "known here are versions 2, 3 and 5"
    return [
        Field("version", str(report.version), known), *processor_fields(report),
        Field("guest SVN", str(report.guest_svn)),
        Field("policy", f"{report.policy:#x}", policy_words(report.policy, report.version)),
        hex_field("family ID", report, 0x10, 16), hex_field("image ID", report, 0x20, 16),
        Field("VMPL", str(report.vmpl), "of the software that asked"),
        Field("signature algorithm", str(report.algorithm), algorithm),
        tcb_field("current TCB", report, 0x38, "what runs"),
        Field("platform", f"{platform:#x}", platform_words(platform, report.version)),
        Field("keys", f"{struct.unpack_from('<I', data, 0x48)[0]:#x}", key_words(report)),
        Field("report data", report.report_data.hex(), printable(report.report_data)),
        Field("measurement", report.measurement.hex()),
        Field("host data", data[0xc0:0xe0].hex(), printable(data[0xc0:0xe0])),
        hex_field("ID key digest", report, 0xe0, 48, "no ID block"),
        hex_field("author key digest", report, 0x110, 48, "no author key"),
        hex_field("report ID", report, 0x140, 32),
        hex_field(AGENT, report, 0x160, 32),
        tcb_field("reported TCB", report, 0x180, "of which the signing key is made"),
        hex_field("chip ID", report, 0x1a0, 64, "the host hides it"),
        tcb_field("committed TCB", report, 0x1e0, "below which the host cannot go back"),
        Field("current version", version_text(report, 0x1e8), "the firmware that runs"),
        Field("committed version", version_text(report, 0x1ec), "below which the host cannot go back"),
        tcb_field("launch TCB", report, 0x1f0, "what ran when the guest was launched"),
        *signature_fields(report)]
