# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's command line for L1. Only this module names the devices and properties of the emulated host."""
from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MACHINE, PROPERTY, PSP, OBJECT = "q35", "amd-snp-host", "amd-psp", "/machine/amd-snp"
# phys-bits: SEV uses up one address bit, and L2's firmware uses the 40 bits that L2's QEMU gives it by default.
CPU = ("EPYC-Milan,-hypervisor,+svm,+npt,+nrip-save,+decodeassists,+flushbyasid,+lbrv,+sev,+sev-es,+sev-snp,phys-bits=41"
       # TCG lacks these features. Without these words QEMU would warn about each of them, for each CPU.
       ",-pcid,-invpcid,-fxsr-opt,-misalignsse,-osvw,-topoext,-perfctr-core,-clzero,-ibpb,-ibrs,-amd-stibp,-amd-ssbd,-xsaves"
       # TCG has these, but the kernel is faster without them: TCG's REP STOSB clears a page byte by byte.
       ",-erms,-fsrm")
# With SMT: 6.12 refuses any launch policy without the SMT bit, and newer tests set the bit only on a machine with SMT.
SMP = "4,sockets=1,cores=2,threads=2"


def _ask(qemu: str, *words: str) -> str:
    """QEMU's output; empty if QEMU cannot be started."""
    try:
        return subprocess.run([qemu, *words], capture_output=True, text=True, errors="replace", check=False,
                              stdin=subprocess.DEVNULL).stdout
    except OSError:
        return ""


def is_snp_host(qemu: str) -> bool:
    """Has this QEMU the emulated host?"""
    return (re.search(rf"^ *{PROPERTY}=", _ask(qemu, "-machine", f"{MACHINE},help"), re.M) is not None
            and f'"{PSP}"' in _ask(qemu, "-device", "help"))


def qemu_version(qemu: str) -> str:
    """The QEMU's version; empty if it cannot be found out."""
    found = re.match(r"QEMU emulator version ([0-9.]*)", _ask(qemu, "--version"))
    return found.group(1) if found else ""


@dataclass
class Machine:
    """A virtual machine that boots L1."""

    qemu: str
    # The machine is the emulated SNP host.
    emulated: bool
    memory: str = "1G"
    # Further properties of the PSP device.
    psp: str = ""
    # One CPU whose clock counts instructions, so that every boot executes the same instructions.
    repeats: bool = False
    # Further arguments of QEMU, at the end.
    more: Sequence[str] = field(default_factory=tuple)

    def arguments(self) -> list[str]:
        """The arguments that make QEMU an SNP host, if it can be one. They hide the hypervisor bit from L1's kernel: under a
        hypervisor, a kernel does not set up the RMP."""
        if not self.emulated:
            # max has all SVM features, whose names differ between the QEMUs of Debian 12 and 13.
            return ["-machine", MACHINE, "-cpu", "max", "-smp", "2", "-m", self.memory]
        return ["-machine", f"{MACHINE},{PROPERTY}=on", "-cpu", CPU, "-smp", "1" if self.repeats else SMP, "-m", self.memory,
                "-device", "amd-iommu", "-device", PSP + self.psp]

    def line(self, kernel: Path, initrd: Path, append: str, *serial: str) -> list[str]:
        """QEMU's command line. -nodefaults: only the devices named here. panic=-1 and -no-reboot: a panic ends QEMU.
        no_timer_check: TCG on a busy L0 can be too slow for the IO-APIC's timer test."""
        repeats = ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"] if self.repeats else []
        return [self.qemu, "-accel", f"tcg,thread={'single' if self.repeats else 'multi'}", *self.arguments(),
                "-nodefaults", "-display", "none", "-no-reboot", "-no-user-config", "-kernel", str(kernel),
                "-initrd", str(initrd), "-append", f"console=ttyS0 panic=-1 no_timer_check {append}".rstrip(),
                *serial, *repeats, *self.more]


def exported_key(path: Path) -> str:
    """The property of the PSP device by which the platform writes its public key to that file. QEMU wants commas doubled."""
    doubled = str(path).replace(",", ",,")
    return f",vcek-file={doubled}"
