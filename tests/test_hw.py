# SPDX-License-Identifier: GPL-2.0-only
"""lab/hw.sh on made-up machines: /proc, /sys, /dev and a kernel log below SNPLAB_HW_ROOT.

A tester with real hardware runs this script once, far away, and mails its output. If it overlooks a prerequisite, the test
fails for a reason other than the kernel. If it takes a new failure for a known one, or overlooks a report in the kernel's
log, the mail says "Tested-by" of a broken kernel. So each prerequisite is missing in one test and must be named with a
hint, and a test's output must lead to the verdict of the lab's own judge. tests/test_hw_boot.py runs the same script in L1;
tests/test_hw_rules.py compares its rules with the lab's.
"""
from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.core.errors import Stop
from lab.core.places import SERIES
from lab.judge.expect import read_known
from lab.judge.ktap import Result, parse_ktap
from lab.verbs.hw import expect_list
from tests.support.front import TOP, Done, expect, run_command

ABOUT = "lab/hw.sh names each missing prerequisite, and judges the output of the test and the kernel"
LANE = "boot"
NEEDS = ("check",)
TAKES = 40

HW = TOP / "lab" / "hw.sh"
PASSES = ("TAP version 13", "1..2", "ok 1 one", "ok 2 two # SKIP no reason")
CPUINFO = {"processor": "0", "vendor_id": "AuthenticAMD", "cpu family": "25", "model": "1",
           "model name": "AMD EPYC 7763 64-Core Processor", "stepping": "1", "microcode": "0xa0011d5",
           "flags": "fpu svm sme sev sev_es sev_snp npt"}
CONFIG = ("KVM_AMD", "KVM_AMD_SEV", "AMD_MEM_ENCRYPT", "CRYPTO_DEV_SP_PSP", "AMD_IOMMU", "PROVE_LOCKING")
KERNEL_LOG = """\
[    0.000000] Linux version 6.17.3 (someone@somewhere) (gcc)
[    0.100000] SEV-SNP: RMP table physical range [0x0000000020000000 - 0x00000000207fffff]
[    0.200000] AMD-Vi: IOMMU SNP support enabled.
[    0.250000] Spectre V2 : WARNING: an old one
[    0.251000] WARNING: CPU: 1 PID: 1 before the test
[    5.000000] ccp 0000:22:00.1: sev enabled
[    5.100000] ccp 0000:22:00.1: SEV-SNP API:1.55 build:21
[    5.200000] ccp 0000:22:00.1: SEV API:1.55 build:21
[    6.000000] kvm_amd: SEV enabled (ASIDs 100 - 510)
[    6.100000] kvm_amd: SEV-ES enabled (ASIDs 1 - 99)
[    6.200000] kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)
"""
FILES = {
    "proc/cpuinfo": "".join(f"{name}\t: {value}\n" for name, value in CPUINFO.items()),
    "proc/sys/kernel/osrelease": "6.17.3\n",
    "proc/sys/kernel/version": "#1 SMP PREEMPT_DYNAMIC Fri Oct 17 2025\n",
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n",
    "proc/meminfo": "MemAvailable:   1000000 kB\n",
    "proc/self/limits": "Max open files            1024                 1048576              files     \n",
    "boot/config-6.17.3": "".join(f"CONFIG_{name}=y\n" for name in CONFIG),
    "sys/module/kvm_amd/parameters/sev": "Y\n",
    "sys/module/kvm_amd/parameters/sev_es": "Y\n",
    "sys/module/kvm_amd/parameters/sev_snp": "Y\n",
    "sys/fs/cgroup/misc.capacity": "sev 410\nsev_es 99\n",
    "sys/fs/cgroup/misc.current": "sev 0\nsev_es 3\n",
    "sys/class/dmi/id/sys_vendor": "Some Vendor\n",
    "sys/class/dmi/id/product_name": "A Server\n",
    "sys/class/dmi/id/product_serial": "SERIAL-1234\n",
    "kernel.log": KERNEL_LOG,
}
FOLDERS = ("etc/modprobe.d", "dev/cpu/0", "sys/module/ccp", "sys/class/misc/sev", "sys/class/iommu/ivhd0",
           "sys/kernel/debug/kvm")
# What kernels say if the firmware does not start, as their versions word it, and what to do then.
FIRMWARE_SAYS = (
    ("SEV-SNP: failed to INIT rc -5, error 0x3", "INVALID_CONFIG.*on on every CPU.*nosmt and maxcpus="),      # 6.11 to 6.14
    ("SEV-SNP: SNP_INIT failed rc -5, error 0x3", "INVALID_CONFIG"),
    ("SEV-SNP: SNP_DF_FLUSH failed rc -5, error 0xe", "WBINVD_REQUIRED.*load ccp and kvm_amd again"),
    ("SEV: failed to INIT error 0xe, rc -5", "WBINVD_REQUIRED"),                                            # 6.1
    ("SEV: failed to INIT error 0xe", "WBINVD_REQUIRED"),
    ("SEV: INIT_EX failed 0x1, rc -5", "INVALID_PLATFORM_STATE.*cold reset"),                               # 7.x
    ("SEV-SNP: SNP_INIT_EX failed rc -5, error 0x26", "see rmp above"),
)
MSR, CPUID = "dev/cpu/0/msr", "dev/cpu/0/cpuid"
SYSCFG, RMP_BASE, RMP_END = 0xc0010010, 0xc0010132, 0xc0010133
LEAF_MAX, LEAF_SEV = 0x80000000, 0x8000001f
# Little-endian, as the files of the modules msr and cpuid have them.
REGISTERS = ((MSR, SYSCFG, "00008003"),                                     # SMEE, SNP_EN, VMPL_EN
             (MSR, RMP_BASE, "0000002000000000"), (MSR, RMP_END, "ffff7f2000000000"),
             (CPUID, LEAF_MAX, "2800008041757468444d416363414d44"),
             (CPUID, LEAF_SEV, "3e0c0000b3000000fe01000064000000"))
SNP = "sys/module/kvm_amd/parameters/sev_snp"


# --- A machine that is made up -------------------------------------------------------------------

class Machine:
    """A machine on which nothing is missing, until a test takes something away."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in FOLDERS:
            (root / name).mkdir(parents=True)
        for name, text in FILES.items():
            self.write(name, text)
        for name in ("kvm", "sev"):
            (root / "dev" / name).symlink_to("/dev/null")
        for name, offset, digits in REGISTERS:
            self.register(name, offset, digits)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def register(self, name: str, offset: int, digits: str) -> None:
        """Writes bytes at an offset of a sparse file."""
        with open(self.root / name, "r+b" if (self.root / name).exists() else "wb") as f:
            f.seek(offset)
            f.write(bytes.fromhex(digits))

    def replace(self, name: str, pattern: str, by: str = "") -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        changed = re.sub(pattern, by, text)
        assert changed != text, f"{name} has no {pattern}"
        self.write(name, changed)

    def without_line(self, name: str, part: str) -> None:
        self.replace(name, rf"(?m)^.*{re.escape(part)}.*\n")

    def log(self, line: str, instead_of: str | None = None) -> None:
        """Appends a message to the kernel's log, after removing the messages that contain the other words."""
        if instead_of is not None:
            self.without_line("kernel.log", instead_of)
        with open(self.root / "kernel.log", "a", encoding="utf-8") as f:
            f.write(f"[    9.0] {line}\n")

    def remove(self, name: str) -> None:
        path = self.root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


# Lines of code for the made-up test program.
CRASHES = "\nos.kill(os.getpid(), signal.SIGSEGV)"


def shows(*lines: str) -> str:
    """Python code that prints these lines."""
    return f"\nprint({chr(10).join(lines)!r}, flush=True)" if lines else ""


def adds(log: Path, line: str) -> str:
    """Python code that appends a line to a file."""
    return f"\nprint({line!r}, file=open({str(log)!r}, 'a'), flush=True)"


@dataclass
class Hw:
    """hw.sh on such a machine, with a program in place of the launch test."""

    folder: Path
    machine: Machine
    shell: str = "sh"

    @property
    def program(self) -> Path:
        return self.folder / "program"

    def command(self, *words: str | Path) -> list[str | Path]:
        return [self.shell, HW, "--json", self.folder / "json", *words]

    def env(self, **more: str) -> dict[str, str | None]:
        return {"SNPLAB_HW_ROOT": str(self.machine.root), "TMPDIR": str(self.folder / "tmp"), **more}

    def __call__(self, *words: str | Path, **env: str) -> Done:
        return run_command(*self.command(*words), env=self.env(**env))

    def script(self, text: str) -> None:
        """Makes the test program this Python code."""
        self.program.write_text(f"#!/usr/bin/python3\nimport os, signal, subprocess, sys\n{text}\n", encoding="utf-8")
        self.program.chmod(0o755)

    def prints(self, *lines: str, status: int = 0) -> None:
        """Makes the test program print these lines and end with that status."""
        self.script(f"{shows(*lines)}\nsys.exit({status})")

    def run(self, *words: str | Path, **env: str) -> Done:
        """Runs hw.sh with the test program."""
        return self("--brief", "--binary", self.program, *words, **env)

    @property
    def json(self) -> Any:
        return json.loads((self.folder / "json").read_text(encoding="utf-8"))


@pytest.fixture
def hw(tmp_path: Path) -> Iterator[Hw]:
    (tmp_path / "tmp").mkdir()
    made = Hw(tmp_path, Machine(tmp_path / "root"))
    made.prints(*PASSES)
    yield made
    assert not list((tmp_path / "tmp").iterdir()), "hw.sh has left something in TMPDIR"


# --- Prerequisites -------------------------------------------------------------------------------

@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_passes(hw: Hw, shell: str) -> None:
    hw.shell = shell
    expect(hw("--binary", hw.program), 0, "^PASS: 1 passed, 0 failed, 1 skipped$")


def test_json_of_a_pass(hw: Hw) -> None:
    hw("--binary", hw.program)
    data = hw.json
    assert list(data)[0] == "version" and data["version"] == 1
    assert (data["exit"], data["verdict"], data["passed"], data["skipped"], data["reports"]) == (0, "pass", 1, 1, [])
    assert len(data["checks"]) > 20 and all(check["result"] == "ok" for check in data["checks"])


def block_of(done: Done) -> str:
    """The part of the output that is to be pasted into a mail."""
    found = re.search(r"^--- to be pasted.*^--- end ---$", done.output, re.M | re.S)
    assert found, done.output
    return found[0]


@pytest.mark.parametrize("line", [
    "result     1 passed, 0 failed, 1 skipped", "kernel log no report; lockdep on", "kernel     6.17.3 (#1 SMP",
    "microcode 0xa0011d5", "cpu        AMD EPYC 7763 64-Core Processor, family 25 model 1 stepping 1",
    "firmware   SNP API 1.55 build:21", "machine    Some Vendor A Server", "Tested-by: "])
def test_block(hw: Hw, line: str) -> None:
    assert line in block_of(hw("--binary", hw.program))


def test_block_tells_nothing_private(hw: Hw) -> None:
    """The block has no name and no number that identifies the machine."""
    block = block_of(hw("--binary", hw.program))
    for word in ("somewhere", "SERIAL", os.uname().nodename):
        assert word not in block


def test_tested_by_is_who_git_says(hw: Hw) -> None:
    done = hw("--binary", hw.program, GIT_CONFIG_COUNT="2", GIT_CONFIG_KEY_0="user.name", GIT_CONFIG_VALUE_0="A Tester",
              GIT_CONFIG_KEY_1="user.email", GIT_CONFIG_VALUE_1="tester@example.org")
    expect(done, 0, "^Tested-by: A Tester <tester@example.org>$")


def test_check_runs_nothing(hw: Hw) -> None:
    expect(hw("--check"), 0, "^the prerequisites: 0 missing, 0 unknown$")


def test_brief(hw: Hw) -> None:
    """--brief names only prerequisites that are missing."""
    done = hw("--check", "--brief")
    assert (done.status, done.output) == (0, "the prerequisites: 0 missing, 0 unknown\n")


def snp_off(machine: Machine, line: str, instead_of: str | None = None) -> None:
    """kvm_amd without SNP, with the kernel's message on why."""
    machine.write(SNP, "N\n")
    machine.log(line, instead_of)


def parameter_off(name: str) -> Callable[[Machine], None]:
    return lambda machine: machine.write(f"sys/module/kvm_amd/parameters/{name}", "N\n")


def modprobe_d(machine: Machine) -> None:
    machine.write(SNP, "N\n")
    machine.write("etc/modprobe.d/my.conf", "options kvm_amd nested=0 sev_snp=0\n")


def on_the_command_line(machine: Machine) -> None:
    machine.write(SNP, "N\n")
    machine.write("proc/cmdline", "kvm-amd.sev_snp=n\n")


def no_psp(machine: Machine) -> None:
    machine.remove("sys/class/misc/sev")
    machine.log("ccp 0000:22:00.1: psp initialization failed")


def no_rmp_by_msr(machine: Machine) -> None:
    machine.without_line("kernel.log", "RMP table phys")
    machine.register(MSR, RMP_BASE, "0000000000000000")


def no_iommu(machine: Machine) -> None:
    machine.without_line("kernel.log", "AMD-Vi")
    machine.remove("sys/class/iommu/ivhd0")


def iommu_says(text: str) -> Callable[[Machine], None]:
    return lambda machine: machine.log(f"AMD-Vi: SNP: {text}, SNP cannot be supported.", instead_of="AMD-Vi")


def old_kernel(machine: Machine) -> None:
    machine.write("proc/sys/kernel/osrelease", "6.10.14\n")
    (machine.root / "boot/config-6.17.3").rename(machine.root / "boot/config-6.10.14")


def config_gz(machine: Machine) -> None:
    machine.without_line("boot/config-6.17.3", "SP_PSP")
    (machine.root / "proc/config.gz").write_bytes(gzip.compress((machine.root / "boot/config-6.17.3").read_bytes()))


@dataclass(frozen=True)
class Lack:
    """One thing that is taken away: the prerequisite that is missing then, and words of its two lines."""

    text: str
    name: str
    pattern: str
    edit: Callable[[Machine], None]


LACKS = [
    Lack("another vendor", "cpu", "needs an AMD EPYC",
         lambda m: m.replace("proc/cpuinfo", "AuthenticAMD", "GenuineIntel")),
    Lack("an older EPYC", "cpu", "family 23.*third generation",
         lambda m: m.replace("proc/cpuinfo", r"(family\t: )25", r"\g<1>23")),
    Lack("a virtual machine", "bare machine", "run this there",
         lambda m: m.replace("proc/cpuinfo", " svm", " hypervisor svm")),
    Lack("SVM is off", "svm", "SVM Mode: Enabled", lambda m: m.replace("proc/cpuinfo", " svm")),
    Lack("a CPU without SNP", "cpuid", r"no SEV-SNP \(EAX 0xc2e\)", lambda m: m.register(CPUID, LEAF_SEV, "2e0c0000")),
    Lack("a CPU without the leaf", "cpuid", "no such leaf", lambda m: m.register(CPUID, LEAF_MAX, "1e000080")),
    Lack("SMEE is off", "smee", r"SMEE \(Secure Memory Encryption\): Enabled",
         lambda m: m.register(MSR, SYSCFG, "00000000")),
    Lack("no SEV flags", "flags", "SMM Lock: Enabled", lambda m: m.replace("proc/cpuinfo", " sev sev_es sev_snp")),
    Lack("no SNP flag", "flags", "reserved no RMP, or with sev=nosnp", lambda m: m.replace("proc/cpuinfo", " sev_snp")),
    Lack("no ASIDs for SEV-ES", "asids", "SEV-ES ASID Space Limit: 100",
         lambda m: m.register(CPUID, LEAF_SEV, "3e0c0000b3000000fe01000001000000")),
    Lack("no RMP: the kernel says so", "rmp", r"RMP Table\) Coverage: Enabled",
         lambda m: m.log("SEV-SNP: Memory for the RMP table has not been reserved by BIOS",
                         instead_of="RMP table phys")),
    Lack("an RMP for a part of the memory", "rmp", "does not cover full.*for all of the memory",
         lambda m: m.log("SEV-SNP: Memory reserved for the RMP table does not cover full system RAM "
                         "(expected 0x2 got 0x1)")),
    Lack("no RMP: the MSR says so", "rmp", "Coverage: Enabled", no_rmp_by_msr),
    Lack("no IOMMU", "iommu", "IOMMU: Enabled, SEV-SNP Support: Enabled", no_iommu),
    Lack("the IOMMU passes through", "iommu", "take iommu=pt",
         iommu_says("IOMMU disabled or configured in passthrough mode")),
    Lack("the IOMMU is off", "iommu", "take amd_iommu=off", iommu_says("IOMMU disabled")),
    Lack("the IOMMU has V2 tables", "iommu", "take amd_iommu=pgtbl_v2",
         iommu_says("IOMMU is configured with V2 page table mode")),
    Lack("the IOMMU has no SNP", "iommu", "SEV-SNP Support: Enabled", iommu_says("IOMMU SNP feature not enabled")),
    Lack("the RMP could not be set up", "iommu", "see rmp above", iommu_says("RMP initialization failed")),
    Lack("an old kernel", "kernel", "since 6.11", old_kernel),
    Lack("a kernel without SEV", "config", "build the kernel with these",
         lambda m: m.without_line("boot/config-6.17.3", "KVM_AMD_SEV")),
    Lack("a kernel without the PSP, by config.gz", "config", "no CONFIG_CRYPTO_DEV_SP_PSP in /proc/config.gz",
         config_gz),
    Lack("sev=nosnp", "cmdline", "take it off the kernel command line",
         lambda m: m.write("proc/cmdline", "ro sev=debug,nosnp\n")),
    Lack("kvm_amd.sev_es=0", "cmdline", "kvm_amd.sev_es=0", lambda m: m.write("proc/cmdline", "ro kvm_amd.sev_es=0\n")),
    Lack("no ccp", "ccp", "modprobe ccp", lambda m: m.remove("sys/module/ccp")),
    Lack("no kvm_amd", "kvm_amd", "modprobe kvm_amd", lambda m: m.remove("sys/module/kvm_amd")),
    Lack("no secure processor", "psp", "in the kernel.s log: .*psp initialization failed.*BIOS update", no_psp),
    *(Lack(f"{name} is off", f"kvm_amd {name}", f"loaded with {name}=0", parameter_off(name))
      for name in ("sev", "sev_es", "sev_snp")),
    Lack("sev_snp is off by the command line", "kvm_amd sev_snp",
         r"the kernel command line \(kvm-amd.sev_snp=n\) turns it off", on_the_command_line),
    Lack("sev_snp is off by modprobe.d", "kvm_amd sev_snp", "/etc/modprobe.d/my.conf turns it off", modprobe_d),
    Lack("kvm_amd calls SNP unusable", "kvm_amd says", "the firmware or the ASIDs",
         lambda m: m.log("kvm_amd: SEV-SNP unusable (ASIDs 1 - 99)", instead_of="SEV-SNP enabled")),
    Lack("old firmware", "firmware", "amd_sev_fam", lambda m: m.replace("kernel.log", "API:1.55", "API:1.49")),
    Lack("the firmware does not start", "firmware", "the firmware refused",
         lambda m: snp_off(m, "ccp 0000:22:00.1: SEV-SNP: SNP_INIT_EX failed rc -5, error 0x13")),
    *(Lack(f"the firmware does not start: {line}", "firmware", f"{re.escape(line)}.*{hint}",
           lambda m, line=line: snp_off(m, f"ccp 0000:22:00.1: {line}", "API:"))  # type: ignore[misc]
      for line, hint in FIRMWARE_SAYS),
    Lack("the firmware's word is where kvm_amd points", "kvm_amd sev_snp", "error 0x3.*mend what firmware says below",
         lambda m: snp_off(m, "ccp 0000:22:00.1: SEV-SNP: failed to INIT rc -5, error 0x3")),
    Lack("a CPU is offline", "firmware", "put every CPU online",
         lambda m: snp_off(m, "SEV-SNP: SNP init failed: not all CPUs online. (0-2 online <-> 0-3 present masks).")),
    Lack("no /dev/kvm", "/dev/kvm", "mknod /dev/kvm", lambda m: m.remove("dev/kvm")),
    Lack("no /dev/sev", "/dev/sev", "the node has been removed", lambda m: m.remove("dev/sev")),
    Lack("little memory", "memory", "stop something", lambda m: m.write("proc/meminfo", "MemAvailable: 100000 kB\n")),
    Lack("few open files", "limits", "ulimit -n 1024", lambda m: m.replace("proc/self/limits", "1024 ", "128 ")),
    Lack("no ASID is free", "free asids", "stop a guest",
         lambda m: m.write("sys/fs/cgroup/misc.current", "sev_es 99\n")),
]


@pytest.mark.parametrize("lack", LACKS, ids=[lack.text for lack in LACKS])
def test_missing(hw: Hw, lack: Lack) -> None:
    """The script ends with status 4, names the missing prerequisite with a hint, and runs no test."""
    lack.edit(hw.machine)
    hw.script('open(sys.argv[0] + ".was-run", "w").close()')
    done = hw("--binary", hw.program)
    expect(done, 4, f"^missing  {lack.name}: expected ")
    lines = re.search(rf"^missing  {lack.name}: expected .*\n.*", done.output, re.M)
    assert lines and re.search(lack.pattern, lines[0], re.S), done.output
    assert not Path(f"{hw.program}.was-run").exists()
    data = hw.json
    assert (data["exit"], data["verdict"]) == (4, "skip")
    check, = [check for check in data["checks"] if check["check"] == lack.name]
    assert check["result"] == "missing" and check["hint"]


@pytest.fixture
def blind(hw: Hw) -> Hw:
    """A machine on which the script can read little."""
    for name in ("dev/cpu", "boot/config-6.17.3"):
        hw.machine.remove(name)
    hw.machine.write("kernel.log", "")
    return hw


def test_unknown_stops_nothing(blind: Hw) -> None:
    """A prerequisite that cannot be checked is unknown, not missing: the test runs."""
    expect(blind("--binary", blind.program), 0, "^PASS: ")
    assert blind.json["unknown"] >= 7 and blind.json["missing"] == 0


def test_block_without_the_log(blind: Hw) -> None:
    expect(blind("--binary", blind.program), 0,
           "^kernel log not readable: reports are not known; lockdep not known$")


def test_other_guests(hw: Hw) -> None:
    (hw.machine.root / "sys/kernel/debug/kvm/123-4").mkdir()
    expect(hw("--check"), 0, "^note     guests: 1 of KVM are running")


def test_harmless_passthrough(hw: Hw) -> None:
    """iommu=pt is not mentioned if the IOMMU supports SNP all the same."""
    hw.machine.write("proc/cmdline", "ro iommu=pt\n")
    expect(hw("--check"), 0, "^ok       cmdline: nothing that does$")
    assert "iommu=pt" not in hw("--check").output


def test_passthrough(hw: Hw) -> None:
    hw.machine.write("proc/cmdline", "ro iommu=pt\n")
    hw.machine.without_line("kernel.log", "AMD-Vi")
    expect(hw("--check"), 0, "^note     cmdline: iommu=pt: most kernels refuse")


@pytest.fixture
def old(hw: Hw) -> Hw:
    """A machine that lacks only one prerequisite, a newer kernel."""
    hw.machine.write("proc/sys/kernel/osrelease", "6.10.0\n")
    return hw


def test_forced_pass_is_none(old: Hw) -> None:
    expect(old("--force", "--binary", old.program), 4,
           r"^SKIP: 1 passed, 0 failed, 1 skipped; 1 prerequisite\(s\) missing, the first: kernel: that is no pass$")
    data = old.json
    assert (data["exit"], data["verdict"], data["passed"], data["missing"]) == (4, "skip", 1, 1)


def test_forced_block(old: Hw) -> None:
    """The block names the missing prerequisite, and why it has no Tested-by."""
    block = block_of(old("--force", "--binary", old.program))
    assert "\nmissing    1 prerequisite(s), the first: kernel; run with --force\n" in block
    assert "\nno Tested-by: with a prerequisite missing" in block and "\nTested-by" not in block


def test_forced_program_without_a_result(old: Hw) -> None:
    old.script("sys.exit(0)")
    expect(old("--force", "--binary", old.program), 1, "^FAIL: exit status 0; expected a TAP plan, found none$")


def test_forced_failure_counts(old: Hw) -> None:
    old.prints("1..1", "not ok 1 a", status=1)
    expect(old("--force", "--binary", old.program), 1, "^FAIL: 0 passed, 1 failed")


# --- What the kernel has said --------------------------------------------------------------------

INIT = "ccp 0000:22:00.1: SEV-SNP: SNP_INIT_EX failed rc -5, error 0x3"
LEGACY = "ccp 0000:22:00.1: SEV: INIT failed 0x1, rc -5"
TMR = "ccp 0000:22:00.1: SEV: TMR allocation failed, SEV-ES support unavailable"
EVERY_LINE = [line for line in (TOP / "tests/hw/messages.txt").read_text(encoding="utf-8").splitlines()
              if not line.startswith(("\t", "# "))]


def test_a_healthy_log_says_nothing(hw: Hw) -> None:
    done = hw("--check")
    assert "\nsays " not in done.output and hw.json["messages"] == []


def test_each_message_has_a_line(hw: Hw) -> None:
    """A prerequisite quotes the message that explains it; the others follow, causes first, each with its hint."""
    snp_off(hw.machine, INIT, instead_of="API:")
    for line in (TMR, LEGACY):
        hw.machine.log(line)
    done = hw("--check")
    expect(done, 4, rf"^missing  firmware: .*{INIT}\n         hint: INVALID_CONFIG")
    says = re.findall(r"^says     (.*)\n         hint: (\w+)", done.output, re.M)
    assert says == [(LEGACY, "INVALID_PLATFORM_STATE"), (TMR, "no")]
    assert [message["line"] for message in hw.json["messages"]] == [INIT, LEGACY, TMR]
    assert all(message["hint"] for message in hw.json["messages"])


def test_a_message_of_an_earlier_attempt_stops_nothing(hw: Hw) -> None:
    """kvm_amd has SNP: the message is shown, but nothing is missing, and --brief leaves it out."""
    hw.machine.log(INIT)
    expect(hw("--check"), 0, rf"^says     {INIT}\n         hint: INVALID_CONFIG")
    assert "says" not in hw("--check", "--brief").output
    assert [message["line"] for message in hw.json["messages"]] == [INIT]


def test_brief_says_what_may_explain(hw: Hw) -> None:
    hw.machine.remove("dev/sev")
    hw.machine.log(LEGACY)
    expect(hw("--check", "--brief"), 4, f"^says     {LEGACY}$")


def test_every_message_with_busybox_alone(hw: Hw, applets: Path) -> None:
    """busybox's shell and awk say the same as the machine's, on a log of every message."""
    for line in EVERY_LINE:
        hw.machine.log(line)
    hw("--check")
    said = hw.json["messages"]
    assert {message["line"] for message in said} == set(EVERY_LINE)
    run_command(applets / "sh", HW, "--json", hw.folder / "json", "--check", env=hw.env(PATH=str(applets)))
    assert hw.json["messages"] == said


# --- What the test says --------------------------------------------------------------------------

@pytest.mark.parametrize("lines, status, ends_with, pattern", [
    pytest.param(("1..2", "ok 1 a", "not ok 2 b"), 1, 1,
                 "^FAIL: 1 passed, 1 failed, 0 skipped; the test ended with status 1$", id="a case fails"),
    pytest.param(("1..1", "not ok 1 a"), 0, 1, "^FAIL: 0 passed, 1 failed",
                 id="a case fails, and the status says pass"),
    pytest.param(("1..1", "ok 1 a"), 3, 1, "^FAIL: 1 passed, 0 failed, 0 skipped; the test ended with status 3$",
                 id="the status says fail, and no case does"),
    pytest.param(PASSES, 4, 1, "^FAIL: 1 passed, 0 failed, 1 skipped; the test ended with status 4$",
                 id="the status says skip, and a case passed"),
    pytest.param(("1..3", "ok 1 a"), 0, 1, "expected 3 results, found 1$", id="it ends early"),
    pytest.param(("1..0 # SKIP no SNP here",), 4, 4, "^SKIP: .*the test skipped itself: no SNP here$",
                 id="it skips itself"),
    pytest.param(("1..1", "ok 1 a # SKIP no"), 0, 4, "^SKIP: .*every case was skipped$", id="every case is skipped"),
    pytest.param(("1..1", "ok 1 a", "ok 2 b"), 0, 1, "expected 1 results, found 2$", id="more results than planned"),
    pytest.param(("ok 1 a",), 0, 1, "^FAIL: exit status 0; expected a TAP plan, found none$",
                 id="results without a plan"),
    pytest.param(("hello",), 0, 1, "^FAIL: exit status 0; expected a TAP plan, found none$", id="no TAP"),
    pytest.param(("1..0",), 0, 4, "^SKIP: 0 passed, 0 failed, 0 skipped; the plan has no case$",
                 id="a plan of nothing")])
def test_verdict(hw: Hw, lines: tuple[str, ...], status: int, ends_with: int, pattern: str) -> None:
    hw.prints(*lines, status=status)
    done = hw.run()
    expect(done, ends_with, pattern)
    # The block asks for no Tested-by.
    assert ("\nTested-by" in done.output) == (ends_with == 0)


def test_killed(hw: Hw) -> None:
    hw.script(shows("1..1") + CRASHES)
    expect(hw.run(), 1, "the test was killed by signal 11$")


def test_arguments(hw: Hw) -> None:
    hw.script('print("".join(f"[{word}]" for word in sys.argv[1:]), flush=True)' + shows("1..1", "ok 1 a"))
    expect(hw.run("--", "-t", "a b"), 0, r"^\[-t\]\[a b\]$")


def test_no_end(hw: Hw) -> None:
    """The script reports the time-out, and where each thread waits."""
    hw.script('subprocess.Popen(["sleep", "600"]).wait()')
    done = hw.run("--timeout", "2")
    expect(done, 124, "^TIMEOUT: .*no end within 2 s$")
    expect(done, 124, r"^      thread [0-9]+ \(sleep\):$")


def test_left_behind_is_not_waited_for(hw: Hw) -> None:
    hw.script('subprocess.Popen(["sleep", "20"])' + shows("1..1", "ok 1 a"))
    begin = time.monotonic()
    expect(hw.run(), 0, "^PASS")
    assert time.monotonic() - begin < 15


def test_signal(hw: Hw) -> None:
    """A signal ends the script and its test, and the script leaves no folder."""
    hw.script('child = subprocess.Popen(["sleep", "600"])\n'
              'print(child.pid, file=open(sys.argv[0] + ".tmp", "w"), flush=True)\n'
              'os.rename(sys.argv[0] + ".tmp", sys.argv[0] + ".child")\nchild.wait()')
    child, env = Path(f"{hw.program}.child"), {**os.environ, **{k: v for k, v in hw.env().items() if v}}
    with subprocess.Popen(hw.command("--brief", "--binary", hw.program), env=env, stdout=subprocess.DEVNULL) as process:
        wait_for(child.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    status = Path("/proc") / child.read_text().strip() / "status"
    # The process was killed, but may still be a zombie.
    wait_for(lambda: not status.exists() or re.search(r"^State:\s*[ZX]", status.read_text(), re.M) is not None)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "expected the condition to become true in time, found it false"
        time.sleep(0.05)


# --- What the kernel says ------------------------------------------------------------------------

def test_report(hw: Hw) -> None:
    hw.script(shows("1..1", "ok 1 a") + adds(hw.machine.root / "kernel.log",
                                             "[   99.0] WARNING: CPU: 0 PID: 1 at arch/x86/kvm/svm/sev.c:1"))
    expect(hw.run(), 1, r"^FAIL: 1 passed, 0 failed, 0 skipped; 1 report\(s\) in the kernel's log$")
    report, = hw.json["reports"]
    assert hw.json["verdict"] == "fail" and "sev.c:1" in report


def test_report_in_a_log_without_its_beginning(hw: Hw) -> None:
    """The kernel's ring buffer has dropped its oldest lines."""
    log = hw.machine.root / "kernel.log"
    drops = f"\nlines = open({str(log)!r}).readlines()[6:]\nopen({str(log)!r}, 'w').writelines(lines)"
    hw.script(shows("1..1", "ok 1 a") + drops + adds(log, "[   99.0] BUG: a new one"))
    expect(hw.run(), 1, r"1 report\(s\) in the kernel's log$")


# --- Known failures ------------------------------------------------------------------------------

# A listed failure is known only if it prints the listed words and nothing worse. The name must match exactly.
KNOWN = """\
# a comment
program b.cd.e: known failure: of another
\tsays: .
program b.c: known failure: a reason
# a comment
\tsays: found E[A-Z]+ \\(14\\)$
\tevidence: a.patch
program silent: known failure: whatever it says
other b.c: known failure: of another program
\tsays: nothing
my-program b.c: known failure: of a program with a longer name
\tsays: nothing
"""
FOUND = "# a.c:1:b.c:vCPU 0: found EFAULT (14)"     # b.c prints this where it fails as known
A_PASSES = ("1..2", "#  RUN           a ...", "ok 1 a")


def begins(name: str) -> str:
    return f"#  RUN           {name} ..."


def ends(name: str) -> tuple[str, ...]:
    return f"#          FAIL  {name}", f"not ok 2 {name} # why"


def failing(name: str, *said: str) -> tuple[str, ...]:
    """One case passes; the other prints this and fails."""
    return (*A_PASSES, begins(name), *said, *ends(name))


def known_by_the_lab(lines: Sequence[str], path: Path) -> int:
    """The number of failures that the judge of L1's boots takes for known, from the same output and list."""
    ktap = parse_ktap(["1..1", "# Subtest: program", *(f"# {line}" for line in lines), "not ok 1 program"])
    known = read_known(path)
    entries = [(known.of("program", case.name), case) for case in ktap.tests[0].cases if case.result is Result.FAIL]
    return sum(entry is not None and entry.objection(case) is None for entry, case in entries)


@dataclass
class Listed:
    """hw.sh with a list of what is known to fail."""

    hw: Hw
    path: Path

    def __call__(self, lines: Sequence[str], status: int, pattern: str) -> Done:
        """Runs hw.sh on a program with this output; fails unless it agrees with the lab's own judge."""
        self.hw.prints(*lines, status=1)
        done = self.hw.run("--expect", self.path)
        expect(done, status, pattern)
        assert self.hw.json["known_failures"] == known_by_the_lab(lines, self.path)
        return done


@pytest.fixture
def listed(hw: Hw) -> Listed:
    path = hw.folder / "expect"
    path.write_text(KNOWN, encoding="utf-8")
    return Listed(hw, path)


def test_known(listed: Listed) -> None:
    done = listed(failing("b.c", FOUND), 0, "^PASS: 1 passed, 0 failed, 0 skipped, 1 failed as known$")
    assert "\n    b.c: a reason\n" in block_of(done)
    data = listed.hw.json
    assert (data["exit"], data["verdict"], data["failed"], data["known_failures"]) == (0, "pass", 0, 1)


def test_known_without_the_list(hw: Hw) -> None:
    hw.prints(*failing("b.c", FOUND), status=1)
    expect(hw.run(), 1, "^FAIL: 1 passed, 1 failed, 0 skipped; ")


NOT_SO = "but not in this way: expected"
STUCK = "KVM_RUN did not return within 10 s: stuck on vcpu->mutex"


@pytest.mark.parametrize("lines, pattern", [
    pytest.param(failing("b.c"), r'known to fail \(a reason\), but not in this way: expected "found E\[A-Z\]',
                 id="it says nothing"),
    pytest.param(failing("b.c", "# found Success (0)"), NOT_SO, id="it says something else"),
    pytest.param((begins("a"), FOUND, *failing("b.c")), NOT_SO, id="the words, in another case"),
    pytest.param((*A_PASSES, FOUND, begins("b.c"), *ends("b.c")), NOT_SO, id="the words, before its beginning"),
    pytest.param(failing("b.c", FOUND, f"# a.c:2:b.c:vCPU 1: {STUCK}"), f"but not in this way: .*{STUCK}$",
                 id="the words, and it hangs"),
    pytest.param(failing("silent", FOUND), 'but not in this way: the list has no "says:"', id="a list without says:")])
def test_not_known(listed: Listed, lines: tuple[str, ...], pattern: str) -> None:
    """The listed case fails in another way: it counts, the block says why, and there is no Tested-by."""
    done = listed(lines, 1, "^FAIL: 1 passed, 1 failed, 0 skipped; ")
    assert re.search(pattern, block_of(done), re.M), done.output
    assert "\nTested-by" not in done.output


def test_not_known_without_a_beginning(listed: Listed) -> None:
    """The listed words appear after another case. The lab's judge has no such rule: it reads other harnesses, too."""
    listed.hw.prints(*A_PASSES, FOUND, *ends("b.c"), status=1)
    done = listed.hw.run("--expect", listed.path)
    expect(done, 1, "^FAIL: 1 passed, 1 failed, 0 skipped; ")
    assert re.search(NOT_SO, block_of(done), re.M) and "\nTested-by" not in done.output


def test_known_by_no_regular_expression(listed: Listed) -> None:
    """An entry with an invalid expression excuses nothing in hw.sh; the lab refuses such a list."""
    with open(listed.path, "a", encoding="utf-8") as f:
        f.write("program bad: known failure: no regular expression\n\tsays: (\n")
    with pytest.raises(Stop, match="expected an extended regular expression"):
        read_known(listed.path)
    listed.hw.prints(*failing("bad", FOUND), status=1)
    done = listed.hw.run("--expect", listed.path)
    expect(done, 1, "^FAIL: 1 passed, 1 failed, 0 skipped; ")
    assert "but not in this way: " in block_of(done) and "\nTested-by" not in done.output


@pytest.mark.parametrize("worse", [
    "the test case's process did not end in time:", "process 7 did not die", "process 7 cannot be killed",
    "process 7 is left behind:", "its thread is gone, see the kernel's log",
    "not run: the processes of 2 cases are stuck", "expected it to block, but it returned",
    "LAUNCH_FINISH stopped waiting for vCPU 1"])
def test_never_known(listed: Listed, worse: str) -> None:
    listed(failing("b.c", FOUND, f"# {worse}"), 1, f"but not in this way: .*{worse}")


def test_another_case_hangs(listed: Listed) -> None:
    """The known failure stays known; the other case counts as failed."""
    lines = ("1..2", begins("a"), "# did not return", "not ok 1 a", begins("b.c"), FOUND, *ends("b.c"))
    listed(lines, 1, "^FAIL: 0 passed, 1 failed, 0 skipped, 1 failed as known;")


def test_another_case_fails(listed: Listed) -> None:
    lines = ("1..2", begins("a"), "not ok 1 b.cd", begins("b.c"), FOUND, *ends("b.c"))
    listed(lines, 1, "^FAIL: 0 passed, 1 failed, 0 skipped, 1 failed as known;")


def test_known_and_all_others_skipped(listed: Listed) -> None:
    lines = ("1..2", begins("a"), "ok 1 a # SKIP no", begins("b.c"), FOUND, *ends("b.c"))
    listed(lines, 4, "^SKIP: 0 passed, 0 failed, 1 skipped, 1 failed as known; no case passed$")


def test_known_and_the_test_crashes(listed: Listed) -> None:
    listed.hw.script(shows(*failing("b.c", FOUND)) + CRASHES)
    expect(listed.hw.run("--expect", listed.path), 1, "^FAIL: .*killed by signal 11$")


@pytest.fixture(scope="module")
def applets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with only busybox's programs."""
    busybox, folder = shutil.which("busybox"), tmp_path_factory.mktemp("applets")
    assert busybox is not None, "expected busybox, from the package busybox-static"
    subprocess.run([busybox, "--install", "-s", folder], check=True)
    return folder


@pytest.mark.parametrize("said, status, pattern", [
    pytest.param((FOUND,), 0, "^PASS: 1 passed, 0 failed, 0 skipped, 1 failed as known$", id="as known"),
    pytest.param((FOUND, "# it did not return"), 1, "but not in this way: # it did not return$", id="and hangs")])
def test_busybox_alone(listed: Listed, applets: Path, said: tuple[str, ...], status: int, pattern: str) -> None:
    hw = listed.hw
    hw.prints(*failing("b.c", *said), status=1)
    expect(run_command(applets / "sh", HW, "--binary", hw.program, "--expect", listed.path,
                       env=hw.env(PATH=str(applets))), status, pattern)


# --- The command line ----------------------------------------------------------------------------

@pytest.mark.parametrize("words, pattern", [
    pytest.param((), "expected --binary FILE or --check, found neither", id="nothing to do"),
    pytest.param(("--frob",), "hw has no option --frob", id="an unknown option"),
    pytest.param(("--binary",), "--binary wants a value", id="an option without its value"),
    pytest.param(("--binary", "/nope"), "--binary: no such file: /nope", id="no such binary"),
    pytest.param(("--check", "--timeout", "soon"), "--timeout wants seconds, found 'soon'",
                 id="a time-out that is no number"),
    pytest.param(("--check", "--expect", "/nope"), "--expect: cannot read /nope", id="no such list"),
    pytest.param(("--check", "--json", "/nope/json"), "--json: cannot write /nope/json", id="no place for the JSON")])
def test_usage(words: tuple[str, ...], pattern: str) -> None:
    done = run_command("sh", HW, *words)
    expect(done, 2, pattern)
    expect(done, 2, "^        hint: .")


@pytest.mark.parametrize("release, name", [("6.12.48+deb13-amd64", "linux-6.12.y"), ("6.12", "linux-6.12.y"),
                                           ("6.11.9", None), ("6.120.1", None), ("7.3.4", None), ("x", None)])
def test_list_of_the_running_kernel(release: str, name: str | None) -> None:
    """The verb hw uses the known failures of the running kernel's series, if there is one."""
    assert expect_list(release) == (SERIES / name / "expect" if name else None)


def test_help() -> None:
    expect(run_command("sh", HW, "--help"), 0, "^usage: hw.sh --check")
