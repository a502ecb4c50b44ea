# SPDX-License-Identifier: GPL-2.0-only
"""Boots SNP hosts to which an administrator does things (tests/host/in-l1.sh), and judges what their kernels say.

A boot may have several kernels: kexec, or a panic into a crash kernel, starts the next one. What each must print is data,
with the reason; a line that looks like trouble and is not expected is a fault, as is an expected line that is missing."""
from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.boot.boot import Boot
from lab.build import image
from lab.build.kernel import KEXEC, flavour
from lab.build.prepare import Preparation
from lab.build.target import Target
from lab.core.places import LAB
from lab.core.session import Session
from lab.core.steps import Job, Plan
from lab.judge.kernel_log import PANIC, REPORT
from lab.judge.logs import BootLogs
from tests.support.front import TOP
from tests.support.l1 import SHOWN, boot_to_end, initrd_part, lab_session, run_plan, why_no_end

SCRIPT = "steps"
PROGRAMS = ("snp_smp_test", "snp_stay")
# Limits in seconds for the steps of a kernel, and for a boot. On a busy machine everything takes ten times as long.
EACH, LIMIT = 1200, 1300
# And for a boot whose last kernel dies: it may hang then.
DIES_LIMIT = 400
# KUnit runs its suites whenever kvm_amd is loaded: other tests do that. A CPU that a busy machine does not run for 20 s has
# not stalled.
QUIET = "kunit.enable=0 rcupdate.rcu_cpu_stall_timeout=300"
# A kernel's lines that must be expected, or are a fault. The second part: the words of drivers, whose errors are no reports.
DRIVERS = re.compile(r"timed out|(AMD-Vi|ccp|kvm(_amd)?|SEV|SEV-SNP|SNP|IOMMU|psp|RMP)\b.*"
                     r"([Ff]ail|[Ee]rror|not (supported|enabled)|disabled|invalid|WARN)")
# No trouble: the kernel's command line, a clock on a busy machine, and what kvm_amd says of a machine that lacks a feature.
USUAL = re.compile(r"ommand line: |clocksource: Watchdog|"
                   r"kvm_amd: (Virtual (GIF|NMI|VMLOAD VMSAVE) disabled|PMU virtualization is disabled)")


@dataclass(frozen=True)
class Line:
    """A line that a kernel prints, as a pattern, and the reason."""

    pattern: str
    reason: str

    def found_in(self, lines: Sequence[str]) -> bool:
        """Has a line the pattern in it?"""
        return any(re.search(self.pattern, line) for line in lines)


@dataclass(frozen=True)
class Expected:
    """What one kernel does: the steps that end, with their statuses, and what it says."""

    steps: Mapping[str, int]
    says: Sequence[Line] = ()
    # Trouble that it may report, or not.
    may_say: Sequence[Line] = ()
    # It does not say this.
    never: Sequence[Line] = ()


@dataclass(frozen=True)
class Situation:
    """A boot: words for the kernel's command line, the steps of the first kernel and of the next, what each kernel does."""

    steps: str
    kernels: Sequence[Expected]
    append: str = ""
    next: str = ""
    # The errors that the emulated host counts, by kind.
    errors: Mapping[str, int] = field(default_factory=dict)
    # Why the last kernel dies; "": it does not. Where it dies may differ from boot to boot: `kernels` need not have it.
    dies: str = ""
    # Kinds of errors that may be counted more often: a kernel that dies of one may meet it again and again, without end.
    at_least: Sequence[str] = ()
    # Why RMP entries are a guest's or the firmware's at the end; "": none is.
    leaves: str = ""


@dataclass(frozen=True)
class Tree:
    """The boots of a tree."""

    situations: Mapping[str, Situation]
    logs: Mapping[str, BootLogs]


@dataclass(frozen=True)
class OneKernel:
    """What one of a boot's kernels has printed, on both ports."""

    log: Sequence[str]
    said: Sequence[str]

    def step(self, name: str) -> list[str]:
        """The lines of a step, and the one with its status, if it ended."""
        begin, end = f"== {name}", f"== {name}: "
        of_it = list(self.said[self.said.index(begin) + 1:]) if begin in self.said else []
        return of_it[:next((i + 1 for i, line in enumerate(of_it) if line.startswith(end)), len(of_it))]

    def statuses(self) -> dict[str, int]:
        """The status of each step that has ended."""
        found = (re.fullmatch(r"== (\S+): (\d+)", line) for line in self.said)
        return {m[1]: int(m[2]) for m in found if m}


def kernels_of(log: Sequence[str], said: Sequence[str]) -> list[OneKernel]:
    """Divides a boot's lines among its kernels. One that never reached its init has printed no KTAP."""
    logs = divided(log, r"(^|\] )Linux version ")
    # A new kernel's first line may follow a line that the old one did not end.
    kernels = [[line.removeprefix("# ") for line in lines] for lines in divided(said, "KTAP version 1$")]
    return [OneKernel(lines, kernels[i] if i < len(kernels) else []) for i, lines in enumerate(logs)]


def divided(lines: Sequence[str], begin: str) -> list[Sequence[str]]:
    """Parts that each begin with a line that has the pattern in it. What comes before the first is the boot loader's."""
    starts = [i for i, line in enumerate(lines) if re.search(begin, line)]
    return [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)])]


def is_trouble(line: str) -> bool:
    """Does the line tell of trouble?"""
    return bool(REPORT.search(line) or PANIC.search(line) or DRIVERS.search(line)) and not USUAL.search(line)


def faults_of(kernel: OneKernel, expected: Expected) -> list[str]:
    """The ways in which a kernel differs from what is expected of it."""
    faults = [f"expected a line like {line.pattern!r} ({line.reason}), found none"
              for line in expected.says if not line.found_in(kernel.log)]
    faults += [f"expected no line like {line.pattern!r} ({line.reason}), found one"
               for line in expected.never if line.found_in(kernel.log)]
    known = [re.compile(line.pattern) for line in (*expected.says, *expected.may_say)]
    faults += [f"unexpected: {line.strip()}" for line in kernel.log
               if is_trouble(line) and not any(pattern.search(line) for pattern in known)]
    if kernel.statuses() != dict(expected.steps):
        faults.append(f"expected of the steps {dict(expected.steps)}, found {kernel.statuses()}")
        faults += [f"  | {line}" for line in kernel.said[-SHOWN:]]
    return faults


def faults(kernels: Sequence[OneKernel], expected: Sequence[Expected]) -> list[str]:
    """The ways in which a boot differs from what is expected of it."""
    found = [f"kernel {i}: {fault}" for i, (kernel, of_it) in enumerate(zip(kernels, expected), 1)
             for fault in faults_of(kernel, of_it)]
    if len(kernels) != len(expected):
        found.append(f"expected {len(expected)} kernels, found {len(kernels)}")
    if found:
        found += [f"  | {line}" for kernel in kernels for line in kernel.log[-SHOWN:]]
    return found


def problems(logs: BootLogs, it: Situation) -> list[str]:
    """All that went wrong in a boot: its kernels, its end, what the emulated host counted and what is left in the RMP."""
    kernels = kernels_of(logs.kernel.lines, logs.ktap_lines)
    # One that dies may not have printed a line.
    found = faults(kernels[:len(it.kernels)] if it.dies else kernels, it.kernels)
    if it.dies and logs.ended:
        found.append(f"expected the last kernel to die ({it.dies}), found that it did not")
    if it.dies and logs.timed_out and not it.at_least:
        found.append(f"expected the last kernel to die ({it.dies}), found that it still runs after {logs.timed_out} s")
    wanted = {kind: max(n, logs.host.kinds.get(kind, 0)) if kind in it.at_least else n for kind, n in it.errors.items()}
    found += filter(None, ["" if it.dies else why_no_end(logs), logs.host.differs(wanted)])
    left = logs.host.rmp_left()
    if (set(left.values()) != {0}) != bool(it.leaves):
        found.append(f"expected of the RMP's entries {it.leaves or 'none left to a guest or to the firmware'}, found {left}")
    return found + [f"  | {line}" for line in logs.host.log[:SHOWN] if found]


# --- Boots ---------------------------------------------------------------------------------------


class Host:
    """A kernel, an initrd and an emulated host, ready to boot. With `next`, the kernel can start another one: the initrd has
    the same kernel, and itself."""

    def __init__(self, session: Session, folder: Path, tree: str, *, next: bool = False) -> None:
        self.session = session
        self.folder = folder
        folder.mkdir()
        self.prepared = Preparation(session, Target(tree), programs=PROGRAMS, purposes=("boot", "shell"), shell=True,
                                    flavour=KEXEC if next else flavour(), folder=folder)
        plan = Plan(session, logs=folder / "steps")
        self.prepared.add_steps(plan)
        run_plan(plan)
        assert self.prepared.emulated
        self.add_script()
        if next:
            self.add_next()

    def add(self, files: Mapping[str, Path]) -> None:
        """Adds files to the initrd; their keys are paths in L1."""
        with initrd_part(self.session, self.folder, self.prepared.initrd) as root:
            for name, path in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, root / name)

    def add_script(self) -> None:
        """Adds the script, and the program that starts a kernel."""
        program = self.folder / "kexec-program"
        image.compile_static(Job(self.session, self.folder / "files.log"), [LAB / "l1/kexec.c"], program)
        self.add({f"tests/{SCRIPT}": TOP / "tests/host/in-l1.sh", "tests/kexec": program})

    def add_next(self) -> None:
        """Adds the next kernel and its initrd."""
        inner = self.folder / "inner"
        shutil.copyfile(self.prepared.initrd, inner)
        self.add({"next/bzImage": self.prepared.kernel, "next/initrd": inner})
        inner.unlink()

    def boot(self, name: str, it: Situation) -> BootLogs:
        """Boots in a situation, and waits for the end of the last kernel."""
        then = f"snplab.next={SCRIPT}:{it.next} " if it.next else ""
        one = Boot(self.prepared.machine(), self.prepared.kernel, self.prepared.initrd,
                   f"snplab.tests={SCRIPT}:{it.steps} {then}snplab.timeout={EACH} {QUIET} {it.append}", self.folder / name,
                   self.prepared.flavour.slower)
        return boot_to_end(self.session, one, DIES_LIMIT if it.dies else LIMIT)

    def boot_all(self, them: Mapping[str, Situation]) -> dict[str, BootLogs]:
        """Boots in each situation, two at a time."""
        with ThreadPoolExecutor(2) as two:
            return dict(zip(them, two.map(lambda name: self.boot(name, them[name]), them)))

    def drop(self) -> None:
        """Deletes what was built for the boots. The logs stay."""
        self.prepared.release()
        self.prepared.drop()


@contextmanager
def host_of(folder: Path, tree: str, *, next: bool = False) -> Iterator[Host]:
    """A host in a session of its own."""
    with lab_session(folder) as session:
        host = Host(session, folder / "l1", tree, next=next)
        try:
            yield host
        finally:
            host.drop()
