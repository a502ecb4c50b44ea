# SPDX-License-Identifier: GPL-2.0-only
"""The verb mutants: builds and boots each wrong version in tests/mutants. All layers that its header names must catch it."""
from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from lab.boot.boot import Boot, KtapLog
from lab.build import image
from lab.build.kernel import SANITIZE, TARGETS, flavour, kmake
from lab.build.mutants import KERNEL, PLACES, Store
from lab.build.prepare import Preparation
from lab.build.sources import scratch_folder
from lab.build.target import Target, linux_of, qemu_of, selftests_of
from lab.core import shard
from lab.core.errors import Exit, usage_error
from lab.core.locks import wait_until
from lab.core.options import Given, Option
from lab.core.places import TOP, tilde
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Job, Plan, last_lines, side_by_side
from lab.judge.headers import refuse_wrong_headers
from lab.judge.matrix import Matrix, matrix
from lab.judge.mutants import Header, MutantResult, check_header_ends, judge_mutant, tests_for, tests_for_control
from lab.judge.part import Part, nothing_to_do
from lab.judge.programs import Origin, program_named, provoked_by
from lab.judge.verdict import BootQuestion, judge
from lab.patches.series import need_series, series_name, trees
from lab.verbs import common
from lab.view.elements import html_text
from lab.view.mutants_page import mutants_page

# The number of boots in parallel: for most of the time a boot keeps only one of its four CPUs busy.
LANES = 3
LAUNCH_TEST = "sev_snp_launch_test"
TENTHS = "tenths"
OPTIONS = tuple(Option(name, value) for name, value in (
    ("--tree", "TREE"), ("--sanitize", None), ("--json", "FILE"), ("--html", "FILE"), ("--linux", "DIR"),
    ("--qemu", "DIR"), ("--selftests", "DIR"))) + (shard.SHARD,)
USAGE = f"""\
usage: ./snplab mutants [--tree TREE] [--sanitize] [--shard I/N] [--json FILE] [--html FILE] [--linux DIR]
                        [--selftests DIR] [--qemu DIR] [--dry-run] [GLOB...]

Builds every wrong version of the series (tests/mutants), boots it on the emulated SNP host, runs KUnit, the launch
test and the other programs that its header names, and prints which layers caught it. Every layer that the header
names must catch the mutant. The series itself is run first, and must pass.

A header may name PROGRAM:CASE as in `run --test`, texts of lockdep, oops, stall and panic reports, and kinds of host
errors: see lab/judge/mutants.py.

  GLOB            only the mutants whose names match, as NAME or TREE/NAME
  --tree TREE     only the mutants of one tree: {', '.join(trees())}
{common.OPTION_SANITIZE}
{shard.USAGE}
  --json FILE     write the matrix as JSON
  --html FILE     write the matrix as a page, with each layer's findings
{common.OPTIONS_QEMU}
{common.OPTIONS_SELFTESTS}
{common.OPTIONS}
"""


def is_named(tree: str, name: str, globs: Sequence[str]) -> bool:
    """Does the command line name this one of that tree, as NAME or TREE/NAME? Without a glob, it names all."""
    return not globs or any(fnmatchcase(name, g) or fnmatchcase(f"{tree}/{name}", g) for g in globs)


def fragments_of(given: Given, *named: str) -> tuple[str, ...]:
    """The fragments of lab/config for a kernel: those that are named, and that of --sanitize, each once."""
    return tuple(dict.fromkeys([*named, *([SANITIZE] if given.flag("--sanitize") else [])]))


def mutants_of(tree: str, globs: Sequence[str]) -> list[Path]:
    """The patches whose names match."""
    patches = sorted((TOP / "tests/mutants" / series_name(tree)).glob("*.patch"))
    return [p for p in patches if is_named(tree, p.stem, globs)]


@dataclass(frozen=True)
class Waits:
    """How long the launch test waits for events that should happen at once, and the time limits that follow from that.

    A hanging mutant makes the test wait in most of its cases, so the waits must be short; on a busy machine everything is
    slow, so they must not be too short. They follow from the pace: the seconds that the boot without a mutant took."""

    pace: int

    @property
    def wait(self) -> int:
        """The seconds that the launch test waits for an event."""
        return min(max(self.pace // 4, 2), 15)

    @property
    def test_limit(self) -> int:
        """The time limit of each program."""
        return 20 * self.wait + self.pace

    @property
    def limit(self) -> int:
        """The time limit of the whole boot. KUnit's waits are constants in the kernel: three cases that wait in vain take a
        minute."""
        return self.test_limit + 3 * self.pace + 30 + 120

    @property
    def tests(self) -> list[str]:
        """The programs of each boot. The launch test's case of 64 vCPUs is left out: it tests size only, and is slow."""
        return ["kunit", f"{LAUNCH_TEST}:-w:{self.wait}:-V:64_vcpus"]


class TreeRun:
    """The mutants of one tree."""

    # The name of the verb, and what it calls a tree with such a patch.
    verb, noun = "mutants", "mutant"
    # The files that a patch may change; None: any.
    places: Sequence[str] | None = PLACES

    def __init__(self, session: Session, given: Given, tree: str, patches: Sequence[Path], folder: Path,
                 *more: str) -> None:
        """`more`: fragments of the kernel's configuration besides those of `run`."""
        self.session = session
        self.flavour = flavour(*more)
        self.tree = tree
        self.patches = patches
        self.folder = folder
        self.headers = [Header.read(patch) for patch in patches]
        self.prepared = Preparation(
            session, Target(tree, linux=linux_of(given)), qemu_of(given), selftests_of(given),
            programs=programs_of(self.headers), keep_lock=True, folder=folder, flavour=self.flavour)
        self.plan = Plan(session, logs=folder)
        self.store: Store | None = None
        self.waits = Waits(40 * self.flavour.slower)
        self.took = 0.0
        self.passed = False
        self._begun: set[str] = set()
        self._lock = threading.Lock()
        self._building = threading.Event()

    @property
    def pace(self) -> int:
        """The seconds that a boot takes, by the control's."""
        return int(self.took)

    @property
    def control(self) -> Path:
        """The logs of the boot without a mutant."""
        return self.folder / "control"

    def run(self) -> None:
        """Builds, boots and judges all mutants, and leaves the results in the folder."""
        session = self.session
        session.terminal.say(f"snplab {self.verb}: {self.tree}, {len(self.patches)} of them")
        if not session.dry_run:
            self.folder.mkdir()
        self.prepared.add_steps(self.plan)
        self.plan.add(lambda: f"boot linux {self.prepared.version} without a {self.noun}", self.boot_control,
                      lambda: [self.boot_command(self.control, self.control_tests())], tuple(self.plan.steps))
        self.plan.add(f"build and boot {len(self.patches)} {self.noun}s, {LANES} at once", self.judge_all, self.all_commands)
        self.plan.run()
        if not session.dry_run:
            self.prepared.release()
            shutil.rmtree(self.folder / "plain", ignore_errors=True)

    def tests_of(self, header: Header) -> list[str]:
        """The programs of the boot with one patch."""
        return tests_for(header, self.waits.tests)

    def control_tests(self) -> list[str]:
        """The programs of the boot without any patch."""
        return tests_for_control(self.headers, self.waits.tests)

    def boot_of(self, logs: Path, initrd: Path, tests: Sequence[str], kernel: Path | None = None) -> Boot:
        """The boot that runs these tests, on another kernel than the tree's if one is given."""
        return Boot(self.prepared.machine(), kernel or self.prepared.kernel, initrd,
                    f"snplab.tests={','.join(tests)} snplab.timeout={self.waits.test_limit} {self.append_of(logs)}".strip(),
                    logs, self.flavour.slower)

    def append_of(self, logs: Path) -> str:
        """Further words for the command line of the boot with these logs."""
        return ""

    def boot_command(self, logs: Path, tests: Sequence[str]) -> Command:
        """QEMU's command line, for --dry-run."""
        return common.boot_command(self.boot_of(logs, self.prepared.initrd, tests))

    def all_commands(self) -> list[Command]:
        """The commands that build and boot all mutants, for --dry-run."""
        src = self.prepared.work / "src"
        found = []
        for patch, header in zip(self.patches, self.headers):
            found += [command("patch", "-d", src, "-p1", "-F0", "-i", patch),
                      kmake(self.session.cache, self.prepared.work, *TARGETS),
                      command("patch", "-d", src, "-p1", "-F0", "-R", "-i", patch),
                      self.boot_command(self.folder / patch.stem, self.tests_of(header))]
        return found

    def boot_control(self, job: Job) -> None:
        """Boots the series without a mutant, and judges it."""
        self.store = Store(self.session, self.prepared, self.folder, self.places)
        self.session.at_exit(self.store.drop_half_built)
        self.store.take_plain(job)
        begin = time.monotonic()
        tests = self.control_tests()
        self.boot(self.control, self.prepared.initrd, tests)
        self.took = time.monotonic() - begin
        for line in self.judge_control(tests):
            job.tell(line.strip())

    def boot(self, logs: Path, initrd: Path, tests: Sequence[str], kernel: Path | None = None) -> None:
        """Boots once. Notes a QEMU that ended by itself in the logs, for the judge."""
        boot = self.boot_of(logs, initrd, tests, kernel)
        with KtapLog(logs) as log:
            ended = boot.run(self.session, self.waits.limit, log.line)
        if ended.status not in (0, Exit.TIMEOUT):
            said = last_lines(logs / "qemu.err", 1)
            (logs / "not-booted").write_text(f"QEMU ended with status {ended.status}: {''.join(said)}\n", encoding="utf-8")

    def judge_control(self, tests: Sequence[str]) -> list[str]:
        """Judges the series without a mutant. If that fails, no mutant's failure proves anything."""
        prepared = self.prepared
        expect, may_pass = prepared.target.expect(prepared.version)
        verdict = judge(BootQuestion(
            self.control, self.tree, prepared.version, prepared.qemu_version, tests, expect, may_pass, prepared.emulated,
            provoked_by(tests) if prepared.emulated else {}, prepared.emulated and prepared.can_be_snp_host(),
            shown_logs=tilde(self.control)))
        verdict.write()
        self.passed = verdict.status.exit == Exit.PASS
        return verdict.lines()

    def judge_all(self, job: Job) -> None:
        """Builds the modules that the cache lacks, and boots mutants in parallel."""
        assert self.store is not None
        store = self.store
        (self.folder / "mutants").write_text("".join(f"{patch}\n" for patch in self.patches), encoding="utf-8")
        if not self.passed:
            return
        self.waits = Waits(self.pace)
        for patch in self.patches:
            (self.folder / patch.stem).mkdir()
        lanes = [lambda: self.boot_lane(job)] * LANES
        if store.has_all(self.patches):
            # Nothing is left to build: unlock the tree for other runs.
            self.prepared.release()
            side_by_side(*lanes)
            return
        self._building.set()
        side_by_side(lambda: self.build_lane(job), *lanes)

    def build_lane(self, job: Job) -> None:
        """Builds all modules, then unlocks the tree: the boots do not need it."""
        assert self.store is not None
        try:
            self.store.build_all(job, self.patches)
        finally:
            self._building.clear()
            self.prepared.release()

    def slow_first(self) -> list[Path]:
        """The mutants in order of their last boot's time, the slowest first, so that all lanes end about together."""
        assert self.store is not None
        store = self.store

        def tenths(patch: Path) -> int:
            try:
                return int((store.path(patch) / TENTHS).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return 0
        return sorted(self.patches, key=lambda patch: -tenths(patch))

    def boot_lane(self, job: Job) -> None:
        """Boots the mutants that no other lane has begun, each as soon as it is built."""
        for patch in self.slow_first():
            with self._lock:
                if patch.stem in self._begun:
                    continue
                self._begun.add(patch.stem)
            self.boot_mutant(job, patch)

    def boot_mutant(self, job: Job, patch: Path) -> None:
        """Waits for the modules of the tree with this patch, boots it, and judges it."""
        assert self.store is not None
        logs, modules = self.folder / patch.stem, self.store.path(patch)
        not_built = logs / "not-built"
        wait_until(lambda: modules.is_dir() or not_built.exists() or not self._building.is_set(), self.session.processes)
        begin = time.monotonic()
        if modules.is_dir():
            self.boot_patched(job, patch, logs, modules)
        elif not not_built.exists():
            not_built.write_text("the build was stopped\n", encoding="utf-8")
        took = time.monotonic() - begin
        if modules.is_dir():
            (modules / TENTHS).write_text(f"{took * 10:.0f}\n", encoding="utf-8")
        for line in self.judge_patch(patch, logs, round(took, 1)).lines():
            job.tell(line)

    def boot_patched(self, job: Job, patch: Path, logs: Path, modules: Path) -> None:
        """Boots the tree with a patch: the files in `modules` replace those of the kernel without it."""
        kernel = modules / KERNEL
        initrd = logs / "initrd"
        logs.mkdir(parents=True, exist_ok=True)
        with scratch_folder(".root.", self.folder) as root:
            (root / "lib/modules").mkdir(parents=True)
            for module in modules.glob("*.ko"):
                shutil.copy(module, root / "lib/modules")
            initrd.write_bytes(self.prepared.initrd.read_bytes() + image.archive(job, root, compressed=False))
        try:
            self.boot(logs, initrd, self.tests_of(Header.read(patch)), kernel if kernel.exists() else None)
        finally:
            initrd.unlink()

    def judge_patch(self, patch: Path, logs: Path, took: float) -> MutantResult:
        """Judges the boot with a patch."""
        return judge_mutant(self.tree, patch, logs, self.control, self.waits.tests, took)


def programs_of(headers: Sequence[Header]) -> list[str]:
    """The programs for L1: the launch test, and those that headers name."""
    names = [LAUNCH_TEST, *(name for header in headers for name in [*header.programs(), *header.unseen])]
    wanted = [p.name for p in map(program_named, names) if p is not None and p.origin is not Origin.KUNIT]
    return list(dict.fromkeys(wanted))


def main(session: Session, given: Given) -> int:
    """Runs the mutants of all trees, one tree after the other."""
    named = given.value("--tree")
    if named is None and given.value("--linux"):
        raise usage_error("--linux is the base of one series: it goes with --tree TREE")
    wanted = [need_series(named)] if named is not None else trees()
    # A misspelt name must not pass as "no mutant failed".
    for glob in given.arguments or ["*"]:
        if not any(mutants_of(tree, [glob]) for tree in wanted):
            raise usage_error(f"no mutant matches '{glob}'", "their names are those of the files in tests/mutants")
    mutants = [(tree, patch) for tree in wanted for patch in mutants_of(tree, given.arguments)]
    for _, patch in mutants:
        check_header_ends(patch)
    refuse_wrong_headers(((patch, Header.read(patch).errors) for _, patch in mutants), "lab/judge/mutants.py")
    part = Part.of(given, shard.shard_of(given), [f"{tree}/{patch.stem}" for tree, patch in mutants])
    mine = part.shard.of(mutants, shard.by_kernel([tree for tree, _ in mutants], part.shard.total))
    if not mine:
        return nothing_to_do(session, part)
    begin, folders = time.monotonic(), []
    for tree in dict.fromkeys(tree for tree, _ in mine):
        folders.append(session.run_dir / tree)
        patches = [patch for of, patch in mine if of == tree]
        TreeRun(session, given, tree, patches, session.run_dir / tree, *fragments_of(given)).run()
    if session.dry_run:
        return Exit.PASS
    found = matrix(folders, seconds=int(time.monotonic() - begin), shown_logs=tilde(session.run_dir), json=session.json,
                   part=part)
    session.json_done = True
    return say_matrix(session, found)


def say_matrix(session: Session, found: Matrix) -> int:
    """Prints the matrix, then writes its page."""
    common.say_result(session, found.lines(), lambda: html_text(mutants_page(found)))
    return found.status
