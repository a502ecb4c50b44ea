#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Computes the launch digest of an SNP guest from its files, without QEMU and without KVM.

usage: launch_digest.py --firmware FILE --vcpus N (--cpu-model NAME | --vcpu-sig NUMBER)
                        [--kernel FILE [--initrd FILE] [--append STRING]] [--guest-features N]
                        [--host-mce on|off] [--steps]

The guest is one that QEMU 10.0 or later launches with -object sev-snp-guest, with the firmware in one file by -bios (from
pflash, SNP launches fail with EINVAL) and without an IGVM file. --kernel means kernel-hashes=on; without it,
kernel-hashes=off. --vcpu-sig is EAX of CPUID leaf 1, for a CPU model that --cpu-model does not know. The output is 96 hex
digits. --steps also prints the digest after each step on standard error: the first different step shows where two launches
differ.

The sources of the rules:
- The digest starts as 48 zero bytes. Each page of 4 KB replaces it by the SHA-384 of a PAGE_INFO, which contains the
  digest before it (SNP ABI, 56860, SNP_LAUNCH_UPDATE). Only NORMAL and VMSA pages are measured with their contents; the
  host and the chip fill in the CPUID page and the secrets page, which are measured by type and address alone.
- The order: QEMU queues the firmware when it loads the file (x86_firmware_configure()), and the sections of the
  firmware's metadata when the VM starts (sev_snp_launch_finish() in target/i386/sev.c). Then it works through the queue.
  KVM splits each range into pages of 4 KB, in ascending order (sev_gmem_post_populate()).
- The firmware ends at 4 GB. A table ends 32 bytes before that, and is read backwards: data, length of the whole entry,
  GUID (hw/i386/pc_sysfw_ovmf.c; edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm).
- The metadata: "ASEV", length, version, number of sections; each section has an address, a length and a type (edk2,
  OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm). QEMU treats a section of an unknown type as memory to be zeroed.
- The kernel hashes: SHA-256 of the command line with its zero byte, of the initrd (or of an empty file), and of the
  unmodified kernel file, since x86_load_linux() in hw/i386/x86-common.c does not change the header for an SEV guest.
  The firmware's table has their offset in a page; the rest of the page is zero.
- The vCPUs: QEMU sets the reset state (x86_cpu_reset_hold() in target/i386/cpu.c); CS:RIP of all vCPUs but the first
  come from the firmware (sev_es_set_reset_vector()). sev_es_sync_vmsa() in arch/x86/kvm/svm/sev.c copies the state into a
  VMSA during LAUNCH_FINISH. KVM sets EFER.SVME, the SNP bit of SEV_FEATURES, and CR4.MCE if the host runs with that bit
  (svm_set_cr4()), which a host kernel without CONFIG_X86_MCE does not (--host-mce off). KVM clears CD and NW of CR0
  (svm_set_cr0()). The layout is in the APM (24593), table B-4.

Exit status: 0 success, 2 usage, 3 if QEMU could not launch such a guest from these files.
"""
from __future__ import annotations

import argparse
import hashlib
import os
import re
import struct
import sys
import uuid
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Iterator, NamedTuple

EX_USAGE, EX_SETUP = 2, 3

PAGE = 4096
DIGEST_LEN = 48
END_OF_FIRMWARE = 1 << 32
MAX_VCPUS = 4096            # KVM_MAX_NR_VCPUS at most


class PageType(IntEnum):
    """PAGE_TYPE of the SNP ABI."""
    NORMAL = 1
    VMSA = 2
    ZERO = 3
    UNMEASURED = 4
    SECRETS = 5
    CPUID = 6

    @property
    def shown(self) -> str:
        return self.name if self in (PageType.VMSA, PageType.CPUID) else self.name.lower()


PAGE_INFO_LEN = 0x70
VMSA_GPA = 0xfffffffff000

# Types of metadata sections.
SECTION_MEMORY, SECTION_SECRETS, SECTION_CPUID, SECTION_KERNEL_HASHES = 1, 2, 3, 0x10
SECTION_PAGES = {SECTION_SECRETS: PageType.SECRETS, SECTION_CPUID: PageType.CPUID}

TABLE_FOOTER = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
RESET_BLOCK = uuid.UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
METADATA = uuid.UUID("dc886566-984a-4798-a75e-5585a7bf67cc")
HASH_TABLE_AREA = uuid.UUID("7255371f-3a3b-4b04-927b-1da6efa8d454")
HASH_TABLE = uuid.UUID("9438d606-4f22-4cc9-b479-a793d411fd21")
HASH_CMDLINE = uuid.UUID("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")
HASH_INITRD = uuid.UUID("44baf731-3a2f-4bd7-9af1-41e29169781d")
HASH_KERNEL = uuid.UUID("4de79437-abd2-427f-b835-d5b172d2045b")
AFTER_TABLE = 32
ENTRY_FOOT = 2 + 16         # an entry's length and GUID, after its data
METADATA_HEADER, METADATA_SECTION = 16, 12

# Family, model and stepping of QEMU's models (target/i386/cpu.c). All versions of a model (-v2) have the same.
CPU_MODELS = {"EPYC": (23, 1, 2), "EPYC-IBPB": (23, 1, 2), "EPYC-Rome": (23, 49, 0), "EPYC-Milan": (25, 1, 1),
              "EPYC-Genoa": (25, 17, 0), "EPYC-Turin": (26, 0, 0)}

# QEMU's name for the CPU that it runs on.
HOST_MODEL = "host"

FEATURE_SNP = 1
CR4_MCE = 0x40
BSP_RESET = 0xfffffff0


class Usage(Exception):
    """The arguments are wrong."""


class Unusable(Exception):
    """QEMU could not launch a guest from a file. The message says what was expected and found, the hint what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class Section(NamedTuple):
    """A section of the firmware's metadata."""
    gpa: int
    length: int
    kind: int


class Hashes(NamedTuple):
    """The SHA-256 of each part of the kernel hashes. cmdline: of the command line with its zero byte."""
    cmdline: bytes
    initrd: bytes
    kernel: bytes


class Monitor(NamedTuple):
    """The points in which a hypervisor's launch can differ from QEMU's and KVM's, whose values are the defaults."""
    first_cs: int = 0x9b            # attributes of the first vCPU's CS
    ss: int = 0x93
    tr: int = 0x8b
    rdx: int | None = None          # None: the CPU's signature
    pat: int = 0x0007040600070406
    mxcsr: int = 0x1f80
    fcw: int = 0x37f
    own_reset: bool = False         # all vCPUs start where the first one does
    memory: PageType = PageType.ZERO
    cpuid_last: bool = False        # the CPUID page is measured after all other sections


QEMU = Monitor()


class Range(NamedTuple):
    """A range that QEMU gives to KVM to measure, with its contents if they are measured."""
    what: str
    page_type: PageType
    gpa: int
    length: int
    contents: bytes | None


class Step(NamedTuple):
    """A range that QEMU gives to KVM to measure, and the digest after that."""
    what: str
    page_type: PageType
    gpa: int
    length: int
    digest: bytes

    def shown(self) -> str:
        return f"{self.gpa:#014x} {self.length:#9x} {self.page_type.shown:7} {self.what:13} {self.digest.hex()}"


@dataclass(frozen=True)
class Firmware:
    """A firmware's image, its table and metadata, and the reset address of all vCPUs but the first."""
    name: str
    data: bytes
    table: dict[uuid.UUID, bytes]
    sections: tuple[Section, ...]
    reset: int

    @property
    def gpa(self) -> int:
        return END_OF_FIRMWARE - len(self.data)


@dataclass(frozen=True)
class Kernel:
    """The input for kernel-hashes=on: kernel file, initrd, and command line without its zero byte."""
    kernel: bytes
    initrd: bytes = b""
    cmdline: bytes = b""

    def hashes(self) -> Hashes:
        """The hashes that the measured table has."""
        return Hashes(*(hashlib.sha256(data).digest() for data in (self.cmdline + b"\0", self.initrd, self.kernel)))


@dataclass(frozen=True)
class LaunchInput:
    """All that the digest depends on. signature: cpu_signature() or named_signature(); kernel: None for
    kernel-hashes=off."""
    firmware: Firmware
    vcpus: int
    signature: int
    kernel: Kernel | None = None
    features: int = FEATURE_SNP
    host_mce: bool = True


# --- The firmware ------------------------------------------------------------------------------------

def unusable(name: str, text: str) -> Unusable:
    return Unusable(f"{name}: {text}", "use firmware that is built for SNP: Debian's is OVMF.amdsev.fd of ovmf-amdsev")


def parse_firmware(data: bytes, name: str = "the firmware") -> Firmware:
    """Parses a firmware image. Raises Unusable if QEMU could not launch an SNP guest with it."""
    if not data or len(data) % PAGE or len(data) >= END_OF_FIRMWARE:
        raise Unusable(f"{name}: expected a firmware image, a multiple of {PAGE} bytes, found {len(data)} bytes",
                       "a part of the file may be missing: copy it again")
    table = parse_table(data, name)
    sections = parse_metadata(data, table, name)
    reset, = table_words(table, RESET_BLOCK, 1, "the SEV-ES reset address", name)
    if not reset:
        raise unusable(name, "expected an SEV-ES reset address, found zero, which QEMU refuses")
    return Firmware(name, data, table, sections, reset)


def parse_table(data: bytes, name: str) -> dict[uuid.UUID, bytes]:
    """Parses the table as {GUID: data}. Of two entries with the same GUID, the one nearer to the end counts, as in QEMU."""
    end = len(data) - AFTER_TABLE
    length, guid = struct.unpack_from("<H16s", data, end - ENTRY_FOOT)
    if uuid.UUID(bytes_le=guid) != TABLE_FOOTER:
        raise unusable(name, f"expected the foot of a GUID table 48 bytes before its end, found {guid.hex()}")
    if not ENTRY_FOOT <= length <= end:
        raise unusable(name, f"expected a GUID table of {ENTRY_FOOT} to {end} bytes, found a length of {length}")
    table: dict[uuid.UUID, bytes] = {}
    start, end = end - length, end - ENTRY_FOOT
    while end - start >= ENTRY_FOOT:
        length, guid = struct.unpack_from("<H16s", data, end - ENTRY_FOOT)
        if not ENTRY_FOOT <= length <= end - start:
            raise unusable(name, f"expected an entry of {ENTRY_FOOT} to {end - start} bytes in its GUID table, "
                                 f"found a length of {length}")
        table.setdefault(uuid.UUID(bytes_le=guid), data[end - length:end - ENTRY_FOOT])
        end -= length
    return table


def table_words(table: dict[uuid.UUID, bytes], guid: uuid.UUID, n: int, what: str, name: str) -> tuple[int, ...]:
    """The first n 32-bit numbers of an entry."""
    if guid not in table:
        raise unusable(name, f"expected {what} in its GUID table ({guid}), found none")
    data = table[guid]
    if len(data) < 4 * n:
        raise unusable(name, f"expected {4 * n} bytes for {what} in its GUID table ({guid}), found {len(data)}")
    return struct.unpack_from(f"<{n}I", data)


def parse_metadata(data: bytes, table: dict[uuid.UUID, bytes], name: str) -> tuple[Section, ...]:
    offset, = table_words(table, METADATA, 1, "SEV metadata", name)
    start = len(data) - offset
    if not 0 <= start <= len(data) - METADATA_HEADER:
        raise unusable(name, f"expected its SEV metadata within its {len(data)} bytes, "
                             f"found an offset of {offset} from the end")
    signature, length, version, count = struct.unpack_from("<4s3I", data, start)
    if signature != b"ASEV" or version != 1:
        raise unusable(name, "expected SEV metadata of version 1, with the signature b'ASEV', "
                             f"found version {version} and {signature}")
    if length > offset or METADATA_HEADER + count * METADATA_SECTION > length:
        raise unusable(name, f"expected {count} sections in its SEV metadata, within {offset} bytes, "
                             f"found a length of {length} bytes")
    start += METADATA_HEADER
    sections = tuple(Section(*struct.unpack_from("<3I", data, start + i * METADATA_SECTION)) for i in range(count))
    check_sections(sections, END_OF_FIRMWARE - len(data), name)
    return sections


def check_sections(sections: tuple[Section, ...], firmware_gpa: int, name: str) -> None:
    for s in sections:
        if s.gpa % PAGE or s.length % PAGE or not s.length or s.gpa + s.length > firmware_gpa:
            raise unusable(name, f"expected metadata sections of whole pages below the firmware ({firmware_gpa:#x}), "
                                 f"found type {s.kind:#x} at {s.gpa:#x}, {s.length:#x} bytes")
    for kind, what in ((SECTION_CPUID, "CPUID"), (SECTION_SECRETS, "secrets")):
        if not any(s.kind == kind for s in sections):
            raise unusable(name, f"expected a {what} page in its SEV metadata, found none")


def hashes_offset(firmware: Firmware) -> int:
    """The offset of the table of hashes in its page."""
    base, size = table_words(firmware.table, HASH_TABLE_AREA, 2, "a table for kernel hashes", firmware.name)
    pages = [s for s in firmware.sections if s.kind == SECTION_KERNEL_HASHES]
    if len(pages) != 1:
        raise unusable(firmware.name, "expected one page for kernel hashes in its SEV metadata, of type "
                       f"{SECTION_KERNEL_HASHES:#x}, found {len(pages)}: the hashes would not be measured")
    needed = len(hash_table(Hashes(bytes(32), bytes(32), bytes(32))))
    if size < needed or base - base % PAGE != pages[0].gpa or base % PAGE + needed > pages[0].length:
        raise unusable(firmware.name, f"expected a table of at least {needed} bytes for kernel hashes, "
                       f"in the page for them at {pages[0].gpa:#x}, found {size} bytes at {base:#x}")
    return base % PAGE


# --- The measured contents ---------------------------------------------------------------------------

def hash_table(hashes: Hashes) -> bytes:
    """QEMU's table of the three hashes, padded to 16 bytes."""
    parts = zip((HASH_CMDLINE, HASH_INITRD, HASH_KERNEL), hashes)
    entries = b"".join(guid.bytes_le + struct.pack("<H", ENTRY_FOOT + 32) + digest for guid, digest in parts)
    table = HASH_TABLE.bytes_le + struct.pack("<H", ENTRY_FOOT + len(entries)) + entries
    return table + bytes(-len(table) % 16)


def vmsa(reset: int, signature: int, features: int, cr4: int, monitor: Monitor = QEMU) -> bytes:
    """A vCPU's VMSA before LAUNCH_FINISH encrypts it: PAGE bytes. reset: 32 bits; features: SEV_FEATURES, 64 bits."""
    page = bytearray(PAGE)

    def segment(offset: int, selector: int, attributes: int, base: int = 0) -> None:
        struct.pack_into("<HHIQ", page, offset, selector, attributes, 0xffff, base)

    for offset in (0x000, 0x030, 0x040, 0x050):             # ES, DS, FS, GS: data, writable, accessed
        segment(offset, 0, 0x93)
    segment(0x020, 0, monitor.ss)                           # SS: the same
    # CS: code, readable, accessed
    segment(0x010, 0xf000, monitor.first_cs if reset == BSP_RESET else 0x9b, reset & 0xffff0000)
    segment(0x060, 0, 0)                                    # GDTR
    segment(0x070, 0, 0x82)                                 # LDTR
    segment(0x080, 0, 0)                                    # IDTR
    segment(0x090, 0, monitor.tr)                           # TR: busy
    for offset, value in (
            (0x0d0, 1 << 12),               # EFER: SVME
            (0x148, cr4),
            (0x158, 0x10),                  # CR0: ET
            (0x160, 0x400),                 # DR7
            (0x168, 0xffff0ff0),            # DR6
            (0x170, 0x2),                   # RFLAGS
            (0x178, reset & 0xffff),        # RIP
            (0x268, monitor.pat),           # PAT
            (0x310, signature if monitor.rdx is None else monitor.rdx),
            (0x3b0, features),              # SEV_FEATURES
            (0x3e8, 1)):                    # XCR0: x87
        struct.pack_into("<Q", page, offset, value)
    struct.pack_into("<I", page, 0x408, monitor.mxcsr)
    struct.pack_into("<H", page, 0x410, monitor.fcw)        # x87 control word
    return bytes(page)


# --- The digest --------------------------------------------------------------------------------------

def extend_hashed(digest: bytes, page_type: PageType, gpa: int, measured: bytes) -> bytes:
    """The digest after one more page. measured: the SHA-384 of its contents, or zeros."""
    # After the type, IMI and the permissions of VMPL 1 to 3 are zero: neither QEMU nor KVM sets them.
    info = digest + measured + struct.pack("<HB5xQ", PAGE_INFO_LEN, page_type, gpa)
    assert len(info) == PAGE_INFO_LEN
    return hashlib.sha384(info).digest()


def extend(digest: bytes, page_type: PageType, gpa: int, contents: bytes | None = None) -> bytes:
    """The digest after one more page. Without contents, only the page's type and address are measured."""
    assert contents is None or len(contents) == PAGE
    measured = bytes(DIGEST_LEN) if contents is None else hashlib.sha384(contents).digest()
    return extend_hashed(digest, page_type, gpa, measured)


def extend_range(digest: bytes, measured: Range) -> bytes:
    """The digest after all pages of a range."""
    contents = measured.contents
    for at in range(0, measured.length, PAGE):
        digest = extend(digest, measured.page_type, measured.gpa + at, None if contents is None else contents[at:at + PAGE])
    return digest


def firmware_range(firmware: Firmware) -> Range:
    """The first range: the firmware itself."""
    return Range("firmware", PageType.NORMAL, firmware.gpa, len(firmware.data), firmware.data)


def section_ranges(firmware: Firmware, hashes: Hashes | None, monitor: Monitor = QEMU) -> Iterator[Range]:
    """The ranges between the firmware and the vCPUs, in order. hashes: None for kernel-hashes=off. Raises Unusable if the
    firmware has no place for the hashes."""
    table = None if hashes is None else bytes(hashes_offset(firmware)) + hash_table(hashes)
    sections = firmware.sections
    if monitor.cpuid_last:
        sections = tuple(sorted(sections, key=lambda s: s.kind == SECTION_CPUID))
    for gpa, length, kind in sections:
        if kind == SECTION_KERNEL_HASHES and table is not None:
            yield Range("kernel hashes", PageType.NORMAL, gpa, length, table.ljust(length, b"\0"))
        else:
            memory = monitor.memory if kind == SECTION_MEMORY else PageType.ZERO
            yield Range(f"section {kind:#x}", SECTION_PAGES.get(kind, memory), gpa, length, None)


def first_and_other_vmsa(firmware: Firmware, signature: int, features: int, host_mce: bool,
                         monitor: Monitor = QEMU) -> tuple[bytes, bytes]:
    """The VMSA of the first vCPU, and that of each other one."""
    cr4 = CR4_MCE if host_mce else 0
    other = BSP_RESET if monitor.own_reset else firmware.reset
    return vmsa(BSP_RESET, signature, features, cr4, monitor), vmsa(other, signature, features, cr4, monitor)


def ranges(launch: LaunchInput) -> Iterator[Range]:
    """The ranges that QEMU gives to KVM, in order."""
    # First, since it may find the firmware unusable.
    sections = list(section_ranges(launch.firmware, None if launch.kernel is None else launch.kernel.hashes()))
    yield firmware_range(launch.firmware)
    yield from sections
    first, other = first_and_other_vmsa(launch.firmware, launch.signature, launch.features, launch.host_mce)
    for i in range(launch.vcpus):
        yield Range(f"vCPU {i}", PageType.VMSA, VMSA_GPA, PAGE, other if i else first)


def launch_steps(launch: LaunchInput) -> Iterator[Step]:
    digest = bytes(DIGEST_LEN)
    for measured in ranges(launch):
        digest = extend_range(digest, measured)
        yield Step(measured.what, measured.page_type, measured.gpa, measured.length, digest)


def launch_digest(launch: LaunchInput) -> bytes:
    """The launch digest, 48 bytes. Raises Unusable if the firmware has no place for the kernel hashes."""
    *_, last = launch_steps(launch)
    return last.digest


# --- From files and names ----------------------------------------------------------------------------

def cpu_signature(family: int, model: int, stepping: int) -> int:
    """EAX of CPUID leaf 1 (AMD, 25481). A family above 15, and the upper half of the model, use extra fields."""
    return max(family - 15, 0) << 20 | model >> 4 << 16 | min(family, 15) << 8 | (model & 15) << 4 | stepping


def named_signature(text: str) -> int:
    """The signature of a model of QEMU's, which may have a version and features, as in EPYC-Milan-v2,stepping=2. Raises
    Usage for any other model."""
    name, *features = text.split(",")
    name = re.sub(r"-v\d+$", "", name)
    given = dict(feature.split("=", 1) for feature in features if re.match("(family|model|stepping)=", feature))
    if name not in CPU_MODELS:
        raise Usage(f"--cpu-model: expected one of {' '.join(CPU_MODELS)}, found {name}\n"
                    "        hint: for any other, --vcpu-sig takes EAX of its CPUID leaf 1")
    numbers = []
    for what, default, most in zip(("family", "model", "stepping"), CPU_MODELS[name], (0xff + 0xf, 0xff, 0xf)):
        text = given.get(what, str(default))
        if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or int(text) > most:
            raise Usage(f"--cpu-model: expected {what}=0 to {what}={most}, found {what}={text}")
        numbers.append(int(text))
    return cpu_signature(*numbers)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}", "expected a file that can be read") from e


def read_firmware(path: Path) -> Firmware:
    return parse_firmware(read(path), str(path))


def read_kernel(path: Path) -> bytes:
    """Reads a bzImage; raises Unusable for other kernels. QEMU would load them without hashes, and fail an assertion."""
    data = read(path)
    if data[0x202:0x206] != b"HdrS":
        raise Unusable(f"{path}: expected a bzImage, with HdrS at 0x202, found {data[0x202:0x206]!r}",
                       "give the file that QEMU gets with -kernel: arch/x86/boot/bzImage, or /boot/vmlinuz-*")
    setup = ((data[0x1f1] or 4) + 1) * 512
    if len(data) < setup:
        raise Unusable(f"{path}: expected at least the {setup} bytes of its setup code, found {len(data)}",
                       "a part of the file may be missing: copy it again")
    return data


def measured_kernel(kernel: Path, initrd: Path | None = None, append: str = "") -> Kernel:
    """Reads the files of QEMU's -kernel and -initrd; `append` is QEMU's -append."""
    data = b"" if initrd is None else read(initrd)
    return Kernel(read_kernel(kernel), data, os.fsencode(append))


# --- The program -------------------------------------------------------------------------------------

def number(text: str) -> int:
    return int(text, 0)


def usage_text() -> str:
    return (__doc__ or "").split("usage: ")[1].split("\n\n", maxsplit=1)[0]


def arguments(words: list[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="launch_digest.py", usage=usage_text(), add_help=False)
    p.add_argument("--help", action="store_true")
    p.add_argument("--firmware", type=Path)
    p.add_argument("--vcpus", type=number)
    p.add_argument("--cpu-model")
    p.add_argument("--vcpu-sig", type=number)
    p.add_argument("--kernel", type=Path)
    p.add_argument("--initrd", type=Path)
    p.add_argument("--append")
    p.add_argument("--guest-features", type=number, default=FEATURE_SNP)
    p.add_argument("--host-mce", choices=("on", "off"), default="on")
    p.add_argument("--steps", action="store_true")
    args = p.parse_args(words)
    if not args.help:
        check_arguments(args)
    return args


def check_arguments(args: argparse.Namespace) -> None:
    if args.firmware is None or args.vcpus is None:
        raise Usage("expected --firmware FILE and --vcpus N")
    if not 1 <= args.vcpus <= MAX_VCPUS:
        raise Usage(f"--vcpus: expected 1 to {MAX_VCPUS}, found {args.vcpus}")
    if (args.cpu_model is None) == (args.vcpu_sig is None):
        raise Usage("expected one of --cpu-model NAME and --vcpu-sig NUMBER")
    if args.vcpu_sig is not None and not 0 <= args.vcpu_sig < 1 << 32:
        raise Usage(f"--vcpu-sig: expected 32 bits, found {args.vcpu_sig:#x}")
    if not args.guest_features & FEATURE_SNP or not 0 < args.guest_features < 1 << 64:
        raise Usage(f"--guest-features: expected 64 bits with bit 0, SNP, set, found {args.guest_features:#x}")
    if args.kernel is None and (args.initrd, args.append) != (None, None):
        raise Usage("--initrd and --append need --kernel")


def launch_of(args: argparse.Namespace) -> LaunchInput:
    signature = args.vcpu_sig if args.cpu_model is None else named_signature(args.cpu_model)
    firmware = read_firmware(args.firmware)
    kernel = None if args.kernel is None else measured_kernel(args.kernel, args.initrd, args.append or "")
    return LaunchInput(firmware, args.vcpus, signature, kernel, args.guest_features, args.host_mce == "on")


def main(words: list[str] | None = None) -> int:
    try:
        args = arguments(words)
        if args.help:
            print((__doc__ or "").strip())
            return 0
        steps = list(launch_steps(launch_of(args)))
    except Usage as e:
        print(f"launch_digest: {e}", file=sys.stderr)
        return EX_USAGE
    except Unusable as e:
        print(f"launch_digest: {e.message}\n        hint: {e.hint}", file=sys.stderr)
        return EX_SETUP
    if args.steps:
        for step in steps:
            print(step.shown(), file=sys.stderr)
    print(steps[-1].digest.hex())
    return 0


if __name__ == "__main__":
    sys.exit(main())
