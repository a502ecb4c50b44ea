#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The launch digest that an SNP guest must have: what QEMU and KVM have measured, computed without either.

usage: launch_digest.py --firmware FILE --vcpus N (--cpu-model NAME | --vcpu-sig NUMBER)
                        [--kernel FILE [--initrd FILE] [--append STRING]] [--guest-features N]
                        [--host-mce on|off] [--steps]

For QEMU from 10.0 on, with -object sev-snp-guest, firmware from one file (-bios, or pflash unit 0) and no IGVM
file. --kernel stands for kernel-hashes=on, no --kernel for kernel-hashes=off. --vcpu-sig is CPUID leaf 1's EAX, for
a CPU model that is not known here. Prints 96 hex digits; --steps shows on standard error what each update
made of the digest: two launches that differ do so from one of these on.

Where the rules are from:
- The digest. It starts as 48 zero bytes; each page of 4 KB replaces it by the SHA-384 of a PAGE_INFO, in which it is
  itself (SNP ABI, 56860, SNP_LAUNCH_UPDATE). Only NORMAL and VMSA pages go in with their contents; the CPUID and the
  secrets page, which the host and the chip fill in, with type and address alone.
- The order. QEMU queues the firmware when it loads it (x86_firmware_configure()) and the sections of its metadata
  when the VM starts (sev_snp_launch_finish() in target/i386/sev.c), and then goes through the queue. KVM cuts
  each range into pages of 4 KB, in ascending order (sev_gmem_post_populate()).
- The firmware. It ends at 4 GB. 32 bytes before its end is the foot of a table that is read backwards: data, length of
  the whole entry, GUID (hw/i386/pc_sysfw_ovmf.c; edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm).
- The metadata. "ASEV", length, version, number of sections; each has address, length, type (edk2,
  OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm). QEMU takes types that it does not know for memory to be zeroed.
- The kernel hashes. SHA-256 of the command line with its zero byte, of the initrd, or of nothing, and of the kernel's
  file as it is: of an SEV guest, x86_load_linux() in hw/i386/x86-common.c leaves the header alone. They are in a page
  that is otherwise zero, at the offset within a page that the firmware's table names.
- The vCPUs. The reset state that QEMU sets (x86_cpu_reset_hold() in target/i386/cpu.c; for all but the first with
  CS:RIP from the firmware, sev_es_set_reset_vector()), as sev_es_sync_vmsa() in arch/x86/kvm/svm/sev.c makes it into a
  VMSA, when LAUNCH_FINISH goes through the vCPUs. KVM adds EFER.SVME, the SNP bit of SEV_FEATURES, and CR4.MCE where
  the host itself runs with it (svm_set_cr4()): a host kernel without CONFIG_X86_MCE does not (--host-mce off). It
  clears CD and NW of CR0 (svm_set_cr0()). The layout is of the APM (24593), table B-4.

Exit status: 0, 2 usage, 3 if a file is not what such a guest can be launched from.
"""
import argparse
import hashlib
import os
import re
import struct
import sys
import uuid

EX_USAGE, EX_SETUP = 2, 3

PAGE = 4096
END_OF_FIRMWARE = 1 << 32
MAX_VCPUS = 4096            # KVM_MAX_NR_VCPUS at most

# Types of pages (SNP ABI, PAGE_TYPE).
NORMAL, VMSA, ZERO, SECRETS, CPUID = 1, 2, 3, 5, 6
TYPE_NAMES = {NORMAL: "normal", VMSA: "VMSA", ZERO: "zero", SECRETS: "secrets", CPUID: "CPUID"}
VMSA_GPA = 0xfffffffff000

# Types of metadata sections.
SECTION_SECRETS, SECTION_CPUID, SECTION_KERNEL_HASHES = 2, 3, 0x10
SECTION_PAGES = {SECTION_SECRETS: SECRETS, SECTION_CPUID: CPUID}

TABLE_FOOTER = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
RESET_BLOCK = uuid.UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
METADATA = uuid.UUID("dc886566-984a-4798-a75e-5585a7bf67cc")
HASH_TABLE_AREA = uuid.UUID("7255371f-3a3b-4b04-927b-1da6efa8d454")
HASH_TABLE = uuid.UUID("9438d606-4f22-4cc9-b479-a793d411fd21")
HASH_CMDLINE = uuid.UUID("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")
HASH_INITRD = uuid.UUID("44baf731-3a2f-4bd7-9af1-41e29169781d")
HASH_KERNEL = uuid.UUID("4de79437-abd2-427f-b835-d5b172d2045b")
AFTER_TABLE = 32
GUID_LEN = 16
ENTRY_FOOT = 2 + GUID_LEN
METADATA_HEADER, METADATA_SECTION = 16, 12

# Family, model and stepping of QEMU's models (target/i386/cpu.c); their versions (-v2) differ in other things.
CPU_MODELS = {"EPYC": (23, 1, 2), "EPYC-IBPB": (23, 1, 2), "EPYC-Rome": (23, 49, 0), "EPYC-Milan": (25, 1, 1),
              "EPYC-Genoa": (25, 17, 0), "EPYC-Turin": (26, 0, 0)}

FEATURE_SNP = 1
CR4_MCE = 0x40
BSP_RESET = 0xfffffff0


class Usage(Exception):
    """Arguments that QEMU would not take."""


class Unusable(Exception):
    """A file that no such guest can be launched from: what was expected and found; what to do."""


class Digest:
    """The launch digest, page by page; where it came to after each step, for somebody who asks."""

    def __init__(self, steps=False):
        self.value = bytes(48)
        self.steps = steps

    def page(self, kind, gpa, contents=None):
        """One page: its contents are measured if they are given."""
        hashed = bytes(48) if contents is None else hashlib.sha384(contents).digest()
        # Of what follows the type, IMI and the permissions of VMPL 1 to 3 are zero: neither QEMU nor KVM sets them.
        info = self.value + hashed + struct.pack("<HB5xQ", 0x70, kind, gpa)
        assert len(info) == 0x70 and (contents is None or len(contents) == PAGE)
        self.value = hashlib.sha384(info).digest()

    def update(self, what, kind, gpa, length, contents=None):
        """A range, as QEMU hands it to KVM."""
        for at in range(0, length, PAGE):
            self.page(kind, gpa + at, contents and contents[at:at + PAGE])
        if self.steps:
            print(f"{gpa:#014x} {length:#9x} {TYPE_NAMES[kind]:7} {what:13} {self.value.hex()}", file=sys.stderr)


class Firmware:
    """A firmware's image: its table, its metadata, and where its other vCPUs start."""

    def __init__(self, data, name="the firmware"):
        self.data, self.name = data, name
        if not data or len(data) % PAGE or len(data) >= END_OF_FIRMWARE:
            raise Unusable(f"{name}: expected a firmware image, a multiple of {PAGE} bytes, found {len(data)} bytes",
                           "a part of the file may be missing: copy it again")
        self.gpa = END_OF_FIRMWARE - len(data)
        self.table = self.read_table()
        self.sections = self.read_metadata()
        self.reset = self.words(RESET_BLOCK, 1, "the SEV-ES reset address")[0]
        if not self.reset:
            raise self.unusable("expected an SEV-ES reset address, found zero, which QEMU refuses")

    def unusable(self, text):
        return Unusable(f"{self.name}: {text}",
                        "use firmware that is built for SNP: Debian's is OVMF.amdsev.fd of ovmf-amdsev")

    def read_table(self):
        """{GUID: data}; of two with the same GUID the one nearer to the foot, as QEMU finds it first."""
        end = len(self.data) - AFTER_TABLE
        length, guid = struct.unpack_from("<H16s", self.data, end - ENTRY_FOOT)
        if uuid.UUID(bytes_le=guid) != TABLE_FOOTER:
            raise self.unusable(f"expected the foot of a GUID table 48 bytes before its end, found {guid.hex()}")
        if not ENTRY_FOOT <= length <= end:
            raise self.unusable(f"expected a GUID table of {ENTRY_FOOT} to {end} bytes, found a length of {length}")
        table, start, end = {}, end - length, end - ENTRY_FOOT
        while end - start >= ENTRY_FOOT:
            length, guid = struct.unpack_from("<H16s", self.data, end - ENTRY_FOOT)
            if not ENTRY_FOOT <= length <= end - start:
                raise self.unusable(f"expected an entry of {ENTRY_FOOT} to {end - start} bytes in its GUID table, "
                                    f"found a length of {length}")
            table.setdefault(uuid.UUID(bytes_le=guid), self.data[end - length:end - ENTRY_FOOT])
            end -= length
        return table

    def words(self, guid, n, what):
        """The n numbers of 32 bits that an entry begins with."""
        if guid not in self.table:
            raise self.unusable(f"expected {what} in its GUID table ({guid}), found none")
        data = self.table[guid]
        if len(data) < 4 * n:
            raise self.unusable(f"expected {4 * n} bytes for {what} in its GUID table ({guid}), found {len(data)}")
        return struct.unpack_from(f"<{n}I", data)

    def read_metadata(self):
        """[(address, length, type)]"""
        offset, = self.words(METADATA, 1, "SEV metadata")
        start = len(self.data) - offset
        if not 0 <= start <= len(self.data) - METADATA_HEADER:
            raise self.unusable(f"expected its SEV metadata within its {len(self.data)} bytes, "
                                f"found an offset of {offset} from the end")
        signature, length, version, count = struct.unpack_from("<4s3I", self.data, start)
        if signature != b"ASEV" or version != 1:
            raise self.unusable("expected SEV metadata of version 1, with the signature b'ASEV', "
                                f"found version {version} and {signature}")
        if length > offset or METADATA_HEADER + count * METADATA_SECTION > length:
            raise self.unusable(f"expected {count} sections in its SEV metadata, within {offset} bytes, "
                                f"found a length of {length} bytes")
        start += METADATA_HEADER
        sections = [struct.unpack_from("<3I", self.data, start + i * METADATA_SECTION) for i in range(count)]
        for gpa, size, kind in sections:
            if gpa % PAGE or size % PAGE or not size or gpa + size > self.gpa:
                raise self.unusable(f"expected metadata sections of whole pages below the firmware ({self.gpa:#x}), "
                                    f"found type {kind:#x} at {gpa:#x}, {size:#x} bytes")
        for kind, what in ((SECTION_CPUID, "CPUID"), (SECTION_SECRETS, "secrets")):
            if not any(s[2] == kind for s in sections):
                raise self.unusable(f"expected a {what} page in its SEV metadata, found none")
        return sections

    def hashes_offset(self):
        """Where in its page the table of hashes is to be."""
        base, size = self.words(HASH_TABLE_AREA, 2, "a table for kernel hashes")
        pages = [s for s in self.sections if s[2] == SECTION_KERNEL_HASHES]
        if len(pages) != 1:
            raise self.unusable("expected one page for kernel hashes in its SEV metadata, of type "
                                f"{SECTION_KERNEL_HASHES:#x}, found {len(pages)}: the hashes would not be measured")
        gpa, length, _ = pages[0]
        needed = len(hash_table(b"", b"", b""))
        if size < needed or base - base % PAGE != gpa or base % PAGE + needed > length:
            raise self.unusable(f"expected a table of at least {needed} bytes for kernel hashes, "
                                f"in the page for them at {gpa:#x}, found {size} bytes at {base:#x}")
        return base % PAGE


def hash_table(cmdline, initrd, kernel):
    """QEMU's table of the three, padded to 16 bytes."""
    entries = b"".join(guid.bytes_le + struct.pack("<H", ENTRY_FOOT + 32) + hashlib.sha256(data).digest()
                       for guid, data in ((HASH_CMDLINE, cmdline), (HASH_INITRD, initrd), (HASH_KERNEL, kernel)))
    table = HASH_TABLE.bytes_le + struct.pack("<H", ENTRY_FOOT + len(entries)) + entries
    return table + bytes(-len(table) % 16)


def vmsa(reset, signature, features, cr4):
    """A vCPU's VMSA, as LAUNCH_FINISH encrypts it."""
    page = bytearray(PAGE)

    def segment(offset, selector, attributes, base=0):
        struct.pack_into("<HHIQ", page, offset, selector, attributes, 0xffff, base)

    for offset in (0x000, 0x020, 0x030, 0x040, 0x050):      # ES, SS, DS, FS, GS: data, writable, accessed
        segment(offset, 0, 0x93)
    segment(0x010, 0xf000, 0x9b, reset & 0xffff0000)        # CS: code, readable, accessed
    segment(0x060, 0, 0)                                    # GDTR
    segment(0x070, 0, 0x82)                                 # LDTR
    segment(0x080, 0, 0)                                    # IDTR
    segment(0x090, 0, 0x8b)                                 # TR: busy
    for offset, value in (
            (0x0d0, 1 << 12),               # EFER: SVME
            (0x148, cr4),
            (0x158, 0x10),                  # CR0: ET
            (0x160, 0x400),                 # DR7
            (0x168, 0xffff0ff0),            # DR6
            (0x170, 0x2),                   # RFLAGS
            (0x178, reset & 0xffff),        # RIP
            (0x268, 0x0007040600070406),    # PAT
            (0x310, signature),             # RDX
            (0x3b0, features),              # SEV_FEATURES
            (0x3e8, 1)):                    # XCR0: x87
        struct.pack_into("<Q", page, offset, value)
    struct.pack_into("<I", page, 0x408, 0x1f80)             # MXCSR
    struct.pack_into("<H", page, 0x410, 0x37f)              # x87 FCW
    return bytes(page)


def launch_digest(firmware, vcpus, signature, hashes=None, features=FEATURE_SNP, cr4=CR4_MCE, steps=False):
    """The digest; hashes: what hash_table() gave, or nothing for kernel-hashes=off."""
    digest = Digest(steps)
    offset = firmware.hashes_offset() if hashes else 0
    digest.update("firmware", NORMAL, firmware.gpa, len(firmware.data), firmware.data)
    for gpa, size, kind in firmware.sections:
        if kind == SECTION_KERNEL_HASHES and hashes:
            page = bytes(offset) + hashes
            digest.update("kernel hashes", NORMAL, gpa, size, page + bytes(size - len(page)))
        else:
            digest.update(f"section {kind:#x}", SECTION_PAGES.get(kind, ZERO), gpa, size)
    for i in range(vcpus):
        page = vmsa(firmware.reset if i else BSP_RESET, signature, features, cr4)
        digest.update(f"vCPU {i}", VMSA, VMSA_GPA, PAGE, page)
    return digest.value


def cpu_signature(family, model, stepping):
    """CPUID leaf 1's EAX (AMD, 25481): what of the family is above 15, and the model's upper half, are apart."""
    return max(family - 15, 0) << 20 | model >> 4 << 16 | min(family, 15) << 8 | (model & 15) << 4 | stepping


def named_signature(name):
    name = re.sub(r"-v\d+$", "", name.split(",")[0])
    if name not in CPU_MODELS:
        raise Usage(f"--cpu-model: expected one of {' '.join(CPU_MODELS)}, found {name}\n"
                    "        hint: for any other, --vcpu-sig takes EAX of its CPUID leaf 1")
    return cpu_signature(*CPU_MODELS[name])


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}", "expected a file that can be read") from e


def read_kernel(path):
    """A bzImage: of what QEMU loads in other ways, it makes no hashes, and ends in an assertion."""
    data = read(path)
    if data[0x202:0x206] != b"HdrS":
        raise Unusable(f"{path}: expected a bzImage, with HdrS at 0x202, found {data[0x202:0x206]}",
                       "give the file that QEMU gets with -kernel: arch/x86/boot/bzImage, or /boot/vmlinuz-*")
    setup = ((data[0x1f1] or 4) + 1) * 512
    if len(data) < setup:
        raise Unusable(f"{path}: expected at least the {setup} bytes of its setup code, found {len(data)}",
                       "a part of the file may be missing: copy it again")
    return data


def number(text):
    return int(text, 0)


def arguments():
    p = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0], add_help=False)
    p.add_argument("--help", action="store_true")
    p.add_argument("--firmware")
    p.add_argument("--vcpus", type=number)
    p.add_argument("--cpu-model")
    p.add_argument("--vcpu-sig", type=number)
    p.add_argument("--kernel")
    p.add_argument("--initrd")
    p.add_argument("--append")
    p.add_argument("--guest-features", type=number, default=FEATURE_SNP)
    p.add_argument("--host-mce", choices=("on", "off"), default="on")
    p.add_argument("--steps", action="store_true")
    args = p.parse_args()
    if args.help:
        print(__doc__.strip())
        sys.exit(0)
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
    return args


def main():
    try:
        args = arguments()
        signature = args.vcpu_sig if args.cpu_model is None else named_signature(args.cpu_model)
        firmware = Firmware(read(args.firmware), args.firmware)
        hashes = None
        if args.kernel is not None:
            initrd = b"" if args.initrd is None else read(args.initrd)
            hashes = hash_table(os.fsencode(args.append or "") + b"\0", initrd, read_kernel(args.kernel))
        digest = launch_digest(firmware, args.vcpus, signature, hashes, args.guest_features,
                               CR4_MCE if args.host_mce == "on" else 0, args.steps)
    except Usage as e:
        print(f"launch_digest: {e}", file=sys.stderr)
        return EX_USAGE
    except Unusable as e:
        print(f"launch_digest: {e.args[0]}\n        hint: {e.args[1]}", file=sys.stderr)
        return EX_SETUP
    print(digest.hex())
    return 0


if __name__ == "__main__":
    sys.exit(main())
