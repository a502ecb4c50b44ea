# SPDX-License-Identifier: GPL-2.0-only
"""L1 for tests that boot it: the lab's classes build kernel, initrd and emulated host into a folder of the test. The test
boots them any number of times, with any programs, and lab.judge reads the logs of each boot."""
from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.boot.boot import Boot, KtapLog
from lab.boot.line import Machine
from lab.build import image
from lab.build.deps import install_step
from lab.build.prepare import Preparation
from lab.build.selftests import KVM
from lab.build.sources import kernel_source, scratch_folder
from lab.build.target import Target
from lab.core.errors import Exit, Stop
from lab.core.process import set_environment
from lab.core.session import Session
from lab.core.steps import Job, Plan, last_lines
from lab.core.terminal import Terminal
from lab.judge.kernel_log import PANIC, REPORT, KernelLog
from lab.judge.ktap import TestResult
from lab.judge.logs import BootLogs

# A build from an empty cache, on a busy machine; or a wait for another run that builds the same.
BUILD_LIMIT = 3600
# Limits in seconds for a boot, and for each program in it. On a busy machine everything takes ten times as long.
LIMIT, EACH = 900, 600
# Lines of a log that a failure shows.
SHOWN = 25


@contextmanager
def lab_session(folder: Path) -> Iterator[Session]:
    """A session of the lab. Its output goes to FOLDER/said; its processes end with it."""
    set_environment()
    with open(folder / "said", "a", encoding="utf-8") as said:
        session = Session("check")
        session.terminal = Terminal(said)
        try:
            yield session
        finally:
            session.processes.stop_all(session.grace)
            session.clean_up()


def run_plan(plan: Plan) -> None:
    """Runs a plan. If a step fails, the test fails with the end of the step's log."""
    try:
        plan.run()
    except Stop as e:
        failed = [step.job.log_path for step in plan.steps if step.error is not None and step.job is not None]
        pytest.fail("\n".join([e.text(), *(line for log in failed for line in last_lines(log, SHOWN))]), pytrace=False)


def upstream_selftests(session: Session, folder: Path) -> dict[str, str]:
    """The source of each x86 KVM selftest in Debian's newest 7.x kernel, by program name."""
    source, plan = kernel_source(session, "mainline", None), Plan(session, logs=folder / "fetch")
    source.add_fetch(plan, "fetch linux for the selftests", (install_step(plan, "fetch"),))
    run_plan(plan)
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((source.path / KVM / "x86").glob("*.c"))}


@contextmanager
def initrd_part(session: Session, folder: Path, initrd: Path) -> Iterator[Path]:
    """A folder whose content is added to an initrd at the end; paths below it are paths in L1."""
    with scratch_folder(".root.", folder) as scratch:
        # Its mode becomes that of L1's "/", and a scratch folder's mode admits only root.
        root = scratch / "root"
        root.mkdir()
        root.chmod(0o755)
        yield root
        part = image.archive(Job(session, folder / "files.log"), root)
    with open(initrd, "ab") as out:
        out.write(part)


def boot_to_end(session: Session, boot: Boot, limit: float) -> BootLogs:
    """Boots, and waits for the end of L1 or for the limit."""
    with KtapLog(boot.logs) as log:
        ended = boot.run(session, limit, log.line)
    if ended.status not in (0, Exit.TIMEOUT):
        said = " ".join(last_lines(boot.logs / "qemu.err", 3))
        (boot.logs / "not-booted").write_text(f"QEMU ended with status {ended.status}: {said}\n", encoding="utf-8")
    return BootLogs.read(boot.logs)


class L1:
    """A kernel, an initrd and an emulated host in a folder, ready to boot."""

    def __init__(self, session: Session, folder: Path, tree: str, programs: Sequence[str],
                 extra: Sequence[Path] = (), shell: bool = False) -> None:
        self.session = session
        self.folder = folder
        folder.mkdir()
        self.prepared = Preparation(session, Target(tree), extra=extra, programs=programs, folder=folder,
                                    shell=shell)
        plan = Plan(session, logs=folder / "steps")
        self.prepared.add_steps(plan)
        run_plan(plan)

    def add_files(self, files: Mapping[str, str]) -> None:
        """Adds files to L1's initrd; their keys are paths in L1."""
        with initrd_part(self.session, self.folder, self.prepared.initrd) as root:
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")

    def boot(self, name: str, programs: str, limit: float = LIMIT, *, each: int = EACH, stock: str | None = None,
             append: str = "", memory: int = 1024, psp: str = "") -> BootLogs:
        """Boots and runs the programs, each for at most `each` seconds, all for at most `limit`. With `stock`, boots that
        QEMU instead of the emulated host. `append`: more words for the kernel. `memory`: in MiB. `psp`: properties of the
        PSP device. The logs go to the folder NAME."""
        machine = self.prepared.machine(f"{memory}M") if stock is None else Machine(stock, False)
        machine.psp = psp
        return boot_to_end(self.session, Boot(machine, self.prepared.kernel, self.prepared.initrd,
                                              f"snplab.tests={programs} snplab.timeout={each} {append}".rstrip(),
                                              self.folder / name, self.prepared.flavour.slower), limit)

    def drop(self) -> None:
        """Deletes what was built for the boots, which is large. The logs stay."""
        self.prepared.release()
        self.prepared.drop()
        shutil.rmtree(self.folder / "tests", ignore_errors=True)


@contextmanager
def prepared_l1(folder: Path, tree: str, programs: Sequence[str], extra: Sequence[Path] = (),
                shell: bool = False) -> Iterator[L1]:
    """An L1 in a session of its own, with busybox if it is to run scripts. At the end it is deleted, except for its logs."""
    with lab_session(folder) as session:
        l1 = L1(session, folder / "l1", tree, programs, extra, shell)
        try:
            yield l1
        finally:
            l1.drop()


# --- A boot's results ----------------------------------------------------------------------------


def why_no_end(logs: BootLogs) -> str:
    """Why a boot did not come to its end; "" if it did."""
    if logs.ended and logs.not_booted is None:
        return ""
    why = logs.not_booted or logs.why_late or "L1 ended before its tests did"
    return "\n".join([why, *logs.ktap_lines[-SHOWN:], *logs.kernel.lines[-SHOWN:]])


def said_by(logs: BootLogs, program: str) -> list[str]:
    """A program's lines in the KTAP, from its begin to its result."""
    lines = logs.ktap_lines
    begin = f"# Subtest: {program}"
    if begin not in lines:
        return []
    of_it = lines[lines.index(begin):]
    result = re.compile(rf"(not )?ok \d+ {re.escape(program)}( |$)")
    end = next((i for i, line in enumerate(of_it) if result.match(line)), len(of_it))
    return of_it[:end + 1]


def shown(logs: BootLogs, program: str) -> str:
    """The last lines of a program, for a failure message."""
    return "\n".join(said_by(logs, program)[-SHOWN:])


def cases_of(test: TestResult) -> list[tuple[str, bool, str]]:
    """Each case of a program: its name, whether it passed, and its output."""
    return [(case.name, case.result.value == "pass", "\n".join([case.complaint(), *case.said])) for case in test.cases]


def reports_of(kernel: KernelLog) -> list[str]:
    """The kernel's reports, each in one word if possible: the function that a warning names, "leak" for leaked pages,
    "not-reclaimed" for a page that the firmware did not return; otherwise the line."""
    found = []
    for line in kernel.lines:
        if not (REPORT.search(line) or PANIC.search(line)) or "cut here" in line:
            continue
        warned = re.search(r"WARNING: .*\bat ([A-Za-z0-9_]+)\+", line)
        if warned:
            found.append(warned[1])
        elif "Leaking PFN range " in line:
            found.append("leak")
        elif "Failed to reclaim PFN " in line:
            found.append("not-reclaimed")
        else:
            found.append(line.strip())
    return found
