# SPDX-License-Identifier: GPL-2.0-only
"""lab/hw.sh in L1, with busybox alone: the script and the binary that a tester copies to real hardware.

tests/test_hw.py makes up a kernel's messages; here a real kernel prints them. If a kernel words a message differently, if a
file in /sys has moved, or if the shell lacks a builtin, the script would name the wrong cause, or none, on the one machine
that counts. Each part of the emulated host is missing in one boot, and then each part of L1.
"""
from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.boot.boot import Boot
from lab.boot.line import PSP, Machine
from lab.build.prepare import Preparation
from lab.build.target import Target
from lab.core.places import LAB
from lab.core.session import Session
from lab.core.steps import Plan
from lab.judge.logs import BootLogs
from tests.support.front import TOP
from tests.support.l1 import boot_to_end, initrd_part, lab_session, run_plan, why_no_end

ABOUT = "lab/hw.sh in L1 names each missing part of the emulated host and of L1"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "boot", "shell", "host", "hostsource")
TAKES = 150

TREE, LAUNCH_TEST, SCRIPT = "mainline", "sev_snp_launch_test", "hw-in-l1"
MADE_UP = "made up by a test"
# Limits in seconds: for all situations of a boot, and for the boot.
EACH, LIMIT = 500, 560


# --- The boots -----------------------------------------------------------------------------------

def without_device(name: str) -> Callable[[Sequence[str]], list[str]]:
    """QEMU's arguments without "-device NAME"."""
    def edit(words: Sequence[str]) -> list[str]:
        at = words.index(name)
        assert words[at - 1] == "-device"
        return [*words[:at - 1], *words[at + 1:]]
    return edit


def without_snp(words: Sequence[str]) -> list[str]:
    """QEMU's arguments with a CPU that has no SNP."""
    edited = [word.replace("+sev-snp", "-sev-snp") for word in words]
    assert edited != list(words)
    return edited


@dataclass
class Edited(Machine):
    """A machine that lacks a part."""

    edit: Callable[[Sequence[str]], list[str]] = field(default=list)

    def arguments(self) -> list[str]:
        return self.edit(super().arguments())


@dataclass(frozen=True)
class Situation:
    """A boot: the machine's difference, and how much is tried in L1."""

    edit: Callable[[Sequence[str]], list[str]] = list
    psp: str = ""
    append: str = ""
    tries: str = "once"


SITUATIONS = {
    "all": Situation(tries="all"),
    "no-flag": Situation(without_snp),
    "no-iommu": Situation(without_device("amd-iommu")),
    "no-psp": Situation(without_device(PSP)),
    "refuses": Situation(psp=",fail=SNP_INIT_EX:1:3"),
    "option": Situation(append=" kvm_amd.sev_snp=0"),
}


def prepare(session: Session, folder: Path) -> Preparation:
    """Builds a kernel, the launch test, busybox, hw.sh with its caller, and an emulated host."""
    prepared = Preparation(session, Target(TREE), programs=[LAUNCH_TEST], purposes=("boot", "shell"), shell=True,
                           folder=folder)
    plan = Plan(session, logs=folder / "steps")
    prepared.add_steps(plan)
    run_plan(plan)
    assert prepared.emulated
    with initrd_part(session, folder, prepared.initrd) as root:
        (root / "tests").mkdir()
        shutil.copy2(LAB / "hw.sh", root / "tests/hw.sh")
        shutil.copy2(TOP / "tests/hw/in-l1.sh", root / "tests" / SCRIPT)
    return prepared


def boot(session: Session, prepared: Preparation, name: str) -> BootLogs:
    """Boots L1 in a situation, and waits for its end."""
    it = SITUATIONS[name]
    machine = Edited(prepared.host.binary, True, psp=it.psp, edit=it.edit)
    one = Boot(machine, prepared.kernel, prepared.initrd,
               f"snplab.tests={SCRIPT}:{LAUNCH_TEST}:{it.tries} snplab.timeout={EACH}{it.append}", prepared.out / name,
               prepared.flavour.slower)
    return boot_to_end(session, one, LIMIT)


@pytest.fixture(scope="module")
def boots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, BootLogs]]:
    """The logs of each situation, two boots at a time: the one that tries everything takes as long as all others."""
    folder = tmp_path_factory.mktemp("hw")
    with lab_session(folder) as session:
        (folder / "l1").mkdir()
        prepared = prepare(session, folder / "l1")
        with ThreadPoolExecutor(2) as two:
            logs = dict(zip(SITUATIONS, two.map(lambda name: boot(session, prepared, name), SITUATIONS)))
        prepared.drop()
        yield logs


@pytest.mark.parametrize("name", SITUATIONS)
def test_l1_ran_to_its_end(boots: dict[str, BootLogs], name: str) -> None:
    assert why_no_end(boots[name]) == ""


# --- What hw.sh says -----------------------------------------------------------------------------

def said(logs: BootLogs, situation: str) -> tuple[str, int | None]:
    """The output and exit status of hw.sh in a situation."""
    text = "\n".join(line.removeprefix("# ") for line in logs.ktap_lines)
    found = re.search(rf"^== {situation}$\n(.*?)^== {situation} ended with (\d+)$", text, re.M | re.S)
    return (found[1], int(found[2])) if found else (text[-2000:], None)


@dataclass(frozen=True)
class Expected:
    """What hw.sh is to say in a situation."""

    text: str
    boot: str
    situation: str
    status: int
    lines: tuple[str, ...]


def off(parameter: str) -> Expected:
    """hw.sh's expected output if kvm_amd is loaded with this parameter off."""
    return Expected(f"kvm_amd {parameter}=0", "all", f"{parameter}=0", 4,
                    (f"^missing  kvm_amd {parameter}: .*found N; .*SEV-SNP disabled",
                     f"hint: .*loaded with {parameter}=0", f"^SKIP: .*the first: kvm_amd {parameter};"))


EXPECTED = [
    Expected("all is there: pass, and the block", "all", "everything", 0,
             ("^PASS: [1-9][0-9]* passed, 0 failed", r"^firmware   SNP API 1\.[0-9]+ build:[0-9]+$",
              "^cpu        AMD EPYC-Milan Processor, family 25 model 1 ", "^kernel log no report; ",
              "^Tested-by: YOUR NAME <YOUR ADDRESS>$")),
    Expected("no rights", "all", "no rights", 4,
             (r"^missing  /dev/kvm: .*no right to \(crw.* user 65534\)", "hint: run as root; or join the group")),
    Expected("no /dev/sev", "all", "no node sev", 4,
             ("^missing  /dev/sev: .*no such device$", "hint: .*the node has been removed",
              "^SKIP: 1 prereq.*: /dev/sev")),
    Expected("no /dev/kvm", "all", "no node kvm", 4,
             ("^missing  /dev/kvm: .*no such device$", "hint: .*mknod /dev/kvm", "^SKIP: 1 prereq.*: /dev/kvm")),
    Expected("no kvm_amd", "all", "no kvm_amd", 4,
             ("^missing  kvm_amd: ", "hint: as root: modprobe kvm_amd", "^SKIP: .*the first: kvm_amd;")),
    off("sev"), off("sev_es"), off("sev_snp"),
    Expected("kvm_amd loaded again: all is there", "all", "mended", 0, ("^the prerequisites: 0 missing",)),
    Expected("a report in the real log", "all", "a report", 1,
             (r"^FAIL: 1 passed, 0 failed, 0 skipped; 1 report\(s\) in the kernel's log", "^    .*WARNING: made up")),
    Expected("a CPU without SNP", "no-flag", "everything", 4,
             ("^missing  cpuid: .*no SEV-SNP", "hint: this CPU cannot do it", "^missing  flags: .*no sev_snp$",
              "^SKIP: .*the first: cpuid;")),
    Expected("no IOMMU", "no-iommu", "everything", 4,
             ("^missing  iommu: ", "hint: .*IOMMU: Enabled", "^SKIP: .*the first: iommu;")),
    Expected("no secure processor", "no-psp", "everything", 4,
             ("^missing  psp: ", "hint: .*it found no secure processor", "^SKIP: .*the first: psp;")),
    Expected("the firmware refuses", "refuses", "everything", 4,
             ("^missing  firmware: .*SNP_INIT_EX failed", r"hint: INVALID_CONFIG \(0x3\): SNP is not on on every CPU")),
    Expected("kvm_amd.sev_snp=0 on the command line", "option", "everything", 4,
             ("^missing  cmdline: .*kvm_amd.sev_snp=0",
              r"hint: the kernel command line \(kvm_amd.sev_snp=0\) turns it off")),
]


@pytest.mark.parametrize("expected", EXPECTED, ids=[expected.text for expected in EXPECTED])
def test_says(boots: dict[str, BootLogs], expected: Expected) -> None:
    """The script ends with that status and prints each of the lines."""
    text, status = said(boots[expected.boot], expected.situation)
    assert status == expected.status, text
    for pattern in expected.lines:
        assert re.search(pattern, text, re.M), f"expected a line like: {pattern}\nfound:\n{text}"


def test_no_other_report(boots: dict[str, BootLogs]) -> None:
    kernel = boots["all"].kernel
    assert [line for line in kernel.matches if MADE_UP not in line] == [] and kernel.panic is None
