# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's command line for L1: the one place where the parts of the emulated host have their names."""
from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MACHINE, PROPERTY, PSP, OBJECT = "q35", "amd-snp-host", "amd-psp", "/machine/amd-snp"
# SEV takes one of the address bits. A guest's firmware places devices below the 40 that its QEMU gives it by default.
CPU = ("EPYC-Milan,-hypervisor,+svm,+npt,+nrip-save,+decodeassists,+flushbyasid,+lbrv,+sev,+sev-es,+sev-snp,phys-bits=41"
       # TCG lacks these. Turned off by name, they cost no warning of QEMU's for each of them and each CPU.
       ",-pcid,-invpcid,-fxsr-opt,-misalignsse,-osvw,-topoext,-perfctr-core,-clzero,-ibpb,-ibrs,-amd-stibp,-amd-ssbd,-xsaves"
       # TCG has these, but a kernel is faster without: REP STOSB clears a page byte by byte.
       ",-erms,-fsrm")
# An SMT topology: 6.12 refuses every launch policy without the SMT bit, later tests set it only with SMT.
SMP = "4,sockets=1,cores=2,threads=2"


def _ask(qemu: str, *words: str) -> str:
    """QEMU's output; nothing if it cannot be started."""
    try:
        return subprocess.run([qemu, *words], capture_output=True, text=True, errors="replace", check=False,
                              stdin=subprocess.DEVNULL).stdout
    except OSError:
        return ""


def is_snp_host(qemu: str) -> bool:
    """Has this binary the parts of the emulated host?"""
    return (re.search(rf"^ *{PROPERTY}=", _ask(qemu, "-machine", f"{MACHINE},help"), re.M) is not None
            and f'"{PSP}"' in _ask(qemu, "-device", "help"))


def qemu_version(qemu: str) -> str:
    """Its version, or nothing."""
    found = re.match(r"QEMU emulator version ([0-9.]*)", _ask(qemu, "--version"))
    return found.group(1) if found else ""


@dataclass
class Machine:
    """A machine that boots L1."""

    qemu: str
    # Is it the emulated SNP host?
    emulated: bool
    memory: str = "1G"
    # More of the PSP device's properties.
    psp: str = ""
    # One CPU whose time is made of instructions, so that the same boot executes the same ones again.
    repeats: bool = False
    # The user's own arguments, last.
    more: Sequence[str] = field(default_factory=tuple)

    def arguments(self) -> list[str]:
        """The arguments that make QEMU an SNP host, if it has the parts. L1's kernel sees no hypervisor bit, as on the bare
        machine: a kernel that runs under a hypervisor sets up no RMP."""
        if not self.emulated:
            # max: Debian 12's and 13's QEMU name their SVM features differently, and it has all of them.
            return ["-machine", MACHINE, "-cpu", "max", "-smp", "2", "-m", self.memory]
        return ["-machine", f"{MACHINE},{PROPERTY}=on", "-cpu", CPU, "-smp", "1" if self.repeats else SMP, "-m", self.memory,
                "-device", "amd-iommu", "-device", PSP + self.psp]

    def line(self, kernel: Path, initrd: Path, append: str, *serial: str) -> list[str]:
        """The whole line. No devices but those that are named. panic=-1 and -no-reboot: a panic ends QEMU. no_timer_check:
        TCG on a busy L0 can be too slow for the IO-APIC's timer test."""
        repeats = ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"] if self.repeats else []
        return [self.qemu, "-accel", f"tcg,thread={'single' if self.repeats else 'multi'}", *self.arguments(),
                "-nodefaults", "-display", "none", "-no-reboot", "-no-user-config", "-kernel", str(kernel),
                "-initrd", str(initrd), "-append", f"console=ttyS0 panic=-1 no_timer_check {append}".rstrip(),
                *serial, *repeats, *self.more]


def quoted_property(path: Path) -> str:
    """A path as a value of a device's property: QEMU splits at commas."""
    return str(path).replace(",", ",,")
