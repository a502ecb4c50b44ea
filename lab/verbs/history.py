# SPDX-License-Identifier: GPL-2.0-only
"""The verb history: boots the newest kernels with each bug that SNP's host code had, and says which test catches it."""
from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.build.deps import install_step
from lab.build.kernel import CONFIGS
from lab.build.prepare import Preparation
from lab.build.sources import scratch_folder
from lab.build.target import Target, linux_of
from lab.core import shard
from lab.core.errors import Exit, setup_error, usage_error
from lab.core.options import Given, Option
from lab.core.places import tilde
from lab.core.process import command
from lab.core.session import Session
from lab.core.steps import Job, Plan
from lab.history.bug import FORM, Bug
from lab.history.corpus import bugs_of
from lab.history.presence import Trial, diff_of
from lab.judge.files import versioned, write_json
from lab.judge.headers import refuse_wrong_headers
from lab.judge.history import BugResult, History, booted, history_of, without_boot
from lab.judge.mutants import Boot, Header, MutantResult, Word, judge_mutant
from lab.judge.part import Part, nothing_to_do
from lab.judge.programs import TIMEOUT, CasesBy, all_programs, program_named
from lab.patches.series import need_series, trees
from lab.verbs import common
from lab.verbs.mutants import TreeRun, Waits, fragments_of, is_named
from lab.view.elements import html_text
from lab.view.history_page import history_page

OPTIONS = tuple(Option(name, value) for name, value in (
    ("--tree", "TREE"), ("--sanitize", None), ("--json", "FILE"), ("--html", "FILE"), ("--linux", "DIR"),
    ("--qemu", "DIR"), ("--selftests", "DIR"))) + (Option("--rebase"), shard.SHARD)
USAGE = f"""\
usage: ./snplab history [--tree TREE] [--sanitize] [--shard I/N] [--json FILE] [--html FILE] [--rebase]
                        [--linux DIR] [--selftests DIR] [--qemu DIR] [--dry-run] [GLOB...]

Puts each bug of tests/history back into its kernel, boots it on the emulated SNP host, runs the tests that the bug's
header names, and prints who caught it. A boot without the bug is the control. Every layer that a header names must catch
the bug. The last line counts: all bugs, and recall, the share caught of the bugs that software on an emulated host can
show. A bug whose patch does not apply any more is stale: it is listed, and does not count.

  GLOB            only the bugs whose names match, as NAME or TREE/NAME
  --tree TREE     only the bugs of one tree: {', '.join(trees())}
{common.OPTION_SANITIZE}
{shard.USAGE}
  --rebase        print the hunks of stale patches that do not apply, and boot nothing
  --json FILE     write the result as JSON
  --html FILE     write the result as a page
{common.OPTIONS_QEMU}
{common.OPTIONS_SELFTESTS}
{common.OPTIONS}
"""


class HistoryRun(TreeRun):
    """The bugs of one tree that show with one configuration."""

    verb, noun, places = "history", "bug", None

    def __init__(self, session: Session, given: Given, tree: str, bugs: Sequence[Bug], folder: Path, *config: str) -> None:
        super().__init__(session, given, tree, [bug.patch for bug in bugs], folder, *config)
        self.bugs = {bug.patch: bug for bug in bugs}
        self.failing = failing_cases(tree)
        # The control runs all programs; on a busy machine one of them may take minutes.
        self.waits = Waits(80 * self.flavour.slower)

    @property
    def pace(self) -> int:
        """A bug's boot runs few programs, often one case."""
        return int(self.took / 3)

    def tests_of(self, header: Header) -> list[str]:
        """The programs that the header names, and no others: those that catch the bug, with these cases only if they can be
        picked, and those with "Not-seen-by:", which may provoke what another layer sees."""
        return [self.word(name, header) for name in named_programs(header)]

    def word(self, name: str, header: Header) -> str:
        """The program's word for L1's init."""
        cases = [catcher.what for catcher in header.named if catcher.layer == name]
        program = program_named(name)
        if program is None or program.cases_by is not CasesBy.HARNESS or not cases or {name, TIMEOUT} & set(cases):
            return self.whole(name)
        # -r takes a case's full name, -t its last part.
        picks = [word for case in cases for word in ("-r" if "." in case else "-t", case)]
        return ":".join([self.base_word(name), *picks])

    def base_word(self, name: str) -> str:
        """The program's word with all its cases; the launch test's has arguments."""
        return next((test for test in self.waits.tests if test.split(":")[0] == name), name)

    def control_tests(self) -> list[str]:
        """All programs that a header names, in the order of lab/l1/programs, but for the cases of bugs that the tree has."""
        named = {name for header in self.headers for name in named_programs(header)}
        return [self.whole(program.name) for program in all_programs() if program.name in named]

    def whole(self, name: str) -> str:
        """The word for a program with all cases that have to pass on this tree: "Present: yes" names those that fail."""
        fail = sorted(case for layer, case in self.failing if layer == name)
        program = program_named(name)
        if program is None or program.cases_by is not CasesBy.HARNESS:
            return self.base_word(name)
        return ":".join([self.base_word(name), *(word for case in fail for word in ("-T", case.rpartition(".")[2]))])

    def append_of(self, logs: Path) -> str:
        """The words that the bug's header asks for."""
        named = {patch.stem: bug.fields.get("Append", "") for patch, bug in self.bugs.items()}
        return named.get(logs.name, "") or named.get(logs.parent.name, "")

    def boot_patched(self, job: Job, patch: Path, logs: Path, modules: Path) -> None:
        """Boots the tree with the patch. If the patch is the fix, boots the tree without it, too."""
        if not self.bugs[patch].present:
            super().boot_patched(job, patch, logs, modules)
            return
        super().boot_patched(job, patch, logs / "fixed", modules)
        self.boot(logs, self.prepared.initrd, self.tests_of(self.bugs[patch].header))

    def judge_patch(self, patch: Path, logs: Path, took: float) -> MutantResult:
        """Judges the boot with the bug, compared to the one without it."""
        tests = self.tests_of(self.bugs[patch].header)
        if not self.bugs[patch].present:
            return judge_mutant(self.tree, patch, logs, self.control, tests, took)
        result = judge_mutant(self.tree, patch, logs, logs / "fixed", tests, took)
        trouble = why_no_control(Boot(logs / "fixed"), tests)
        if trouble is not None and result.word is not Word.NOT_JUDGED:
            result = replace(result, word=Word.NOT_JUDGED, problems=[f"the boot with the fix does not pass: {trouble}"])
            write_json(logs / "result.json", versioned(result.to_json()))
        return result


def failing_cases(tree: str) -> set[tuple[str, str]]:
    """The cases, as (program, case), that a tree's present bugs make fail."""
    return {(catcher.layer, catcher.what) for bug in bugs_of(tree) if bug.present for catcher in bug.header.named
            if catcher.what not in (catcher.layer, TIMEOUT)}


def why_no_control(boot: Boot, tests: Sequence[str]) -> str | None:
    """Why a boot with the fix proves nothing: it must have run each program, with no failure and no report."""
    if boot.unclean is not None or boot.hung:
        return boot.unclean or boot.logs.why_late
    for name in (test.split(":")[0] for test in tests):
        if name not in boot.tests or boot.failed(name):
            return f"{name}: {', '.join(boot.failed(name)) or 'it has no result'}"
    reports = [report.head for report in boot.logs.kernel.reports]
    return reports[0] if reports else None


def named_programs(header: Header) -> list[str]:
    """The programs that a header names, in any line but "Not-run:"."""
    return list(dict.fromkeys([*header.programs(), *(name for name in header.unseen if name not in header.left_out)]))


@dataclass
class Selection:
    """The bugs of one tree that the command line names, and the hunks that do not apply, by bug."""

    tree: str
    bugs: list[Bug]
    rejected: dict[str, list[list[str]]] = field(default_factory=dict)
    # The kernel's version.
    linux: str | None = None

    @property
    def names(self) -> list[str]:
        """The bugs as TREE/NAME."""
        return [f"{self.tree}/{bug.slug}" for bug in self.bugs]

    def boots(self, given: Given) -> list[tuple[tuple[str, ...], Bug]]:
        """The bugs that are booted if their patches apply, by kernel: the tree and its fragments of lab/config."""
        booted_ones = [bug for bug in self.bugs if without_boot(bug, stale=False) is None]
        return [((self.tree, *fragments), bug) for fragments, bugs in by_kernel(given, booted_ones).items() for bug in bugs]

    def find_stale(self, session: Session, given: Given) -> None:
        """Puts the tree together, and tries each patch on it."""
        prepared = Preparation(session, Target(self.tree, linux=linux_of(given)), folder=session.run_dir / self.tree)
        plan = Plan(session)
        install = install_step(plan, "overlay")
        fetch = prepared.source.add_fetch(plan, f"fetch linux for {self.tree}", (install,))
        apply = plan.add(prepared.apply_title, prepared.apply, prepared.apply_commands, (fetch or install,))

        def try_all(job: Job) -> None:
            with scratch_folder(".history.", session.cache.folder("work")) as scratch:
                trial = Trial(prepared.work / "src", scratch)
                for bug in self.bugs:
                    hunks = trial.rejected(diff_of(bug))
                    if hunks:
                        self.rejected[bug.slug] = hunks
            self.linux = prepared.version
            prepared.release()
            job.tell(f"{len(self.bugs) - len(self.rejected)} apply, {len(self.rejected)} are stale")
        src = prepared.work / "src"
        plan.add(f"try the patches of {len(self.bugs)} bug(s)", try_all,
                 lambda: [command("git", "apply", "--check", bug.patch, cwd=src) for bug in self.bugs], (apply,))
        plan.run()

    def run(self, session: Session, given: Given) -> tuple[list[BugResult], list[str]]:
        """The results of all its bugs, and the problems of the controls."""
        results = [without_boot(bug, bug.slug in self.rejected) for bug in self.bugs]
        found = [result for result in results if result is not None]
        left = [bug for bug, result in zip(self.bugs, results) if result is None]
        problems = []
        for fragments, bugs in by_kernel(given, left).items():
            folder = session.run_dir / "-".join([self.tree, *fragments])
            run = HistoryRun(session, given, self.tree, bugs, folder, *fragments)
            run.run()
            if session.dry_run:
                continue
            if not run.passed:
                problems.append(f"{folder.name}: the boot without a bug does not pass: no bug was judged, as each one "
                                f"would seem caught; see {tilde(run.control)}")
            found += [booted(bug, folder / bug.slug) for bug in bugs]
        return found, problems


def config_of(bug: Bug) -> str:
    """The fragment of lab/config that the bug needs; empty for none."""
    config = bug.fields.get("Config", "")
    if config and not (CONFIGS / f"{config}.config").exists():
        raise setup_error(f"{bug.patch.name}: expected a fragment of lab/config in \"Config:\", found {config}")
    return config


def by_kernel(given: Given, bugs: Sequence[Bug]) -> dict[tuple[str, ...], list[Bug]]:
    """The bugs by the fragments of lab/config that their kernel has besides those of `run`."""
    found: dict[tuple[str, ...], list[Bug]] = {}
    for bug in bugs:
        found.setdefault(fragments_of(given, *filter(None, [config_of(bug)])), []).append(bug)
    return dict(sorted(found.items()))


def selected(given: Given) -> list[Selection]:
    """The bugs that the command line names, by tree."""
    named = given.value("--tree")
    if named is None and given.value("--linux"):
        raise usage_error("--linux is the base of one series: it goes with --tree TREE")
    wanted = [need_series(named)] if named is not None else trees()
    found = [Selection(tree, bugs_of(tree)) for tree in wanted]
    # A misspelt name must not pass as "no bug survived".
    for glob in given.arguments or ["*"]:
        if not any(is_named(bug.tree, bug.slug, [glob]) for selection in found for bug in selection.bugs):
            raise usage_error(f"no bug matches '{glob}'", "their names are those of the files in tests/history")
    for selection in found:
        selection.bugs = [bug for bug in selection.bugs if is_named(bug.tree, bug.slug, given.arguments)]
    return [selection for selection in found if selection.bugs]


def take_shard(part: Part, given: Given, chosen: Sequence[Selection]) -> list[Selection]:
    """Leaves the bugs of one shard. Those that are not booted need no kernel, but their tree: the first shard that boots
    bugs of their tree has them, too."""
    boots = [boot for selection in chosen for boot in selection.boots(given)]
    numbers = shard.by_kernel([kernel for kernel, _ in boots], part.shard.total)
    owners = {bug.patch: number for (_, bug), number in zip(boots, numbers)}
    for selection in chosen:
        first = min((owners[bug.patch] for bug in selection.bugs if bug.patch in owners), default=1)
        selection.bugs = part.shard.of(selection.bugs, [owners.get(bug.patch, first) for bug in selection.bugs])
    return [selection for selection in chosen if selection.bugs]


def main(session: Session, given: Given) -> int:
    """Boots the bugs of all trees, one tree after the other."""
    if given.flag("--rebase") and any(given.value(name) for name in ("--json", "--html", "--shard")):
        raise usage_error("--rebase prints hunks, and has no result to write: it goes with neither --json nor --html nor "
                          "--shard")
    chosen = selected(given)
    part = Part.of(given, shard.shard_of(given), [name for selection in chosen for name in selection.names])
    # Before anything is fetched.
    refuse_wrong_headers(((bug.patch, bug.errors) for selection in chosen for bug in selection.bugs), FORM)
    for bug in (bug for selection in chosen for bug in selection.bugs if bug.must_be_caught):
        config_of(bug)
    chosen = take_shard(part, given, chosen)
    if not chosen:
        return nothing_to_do(session, part)
    begin = time.monotonic()
    for selection in chosen:
        selection.find_stale(session, given)
    if given.flag("--rebase"):
        return say_rejected(session, chosen)
    results: list[BugResult] = []
    problems: list[str] = []
    for selection in chosen:
        more, wrong = selection.run(session, given)
        results += more
        problems += wrong
    if session.dry_run:
        return Exit.PASS
    found = history_of(results, problems, int(time.monotonic() - begin), tilde(session.run_dir),
                       {selection.tree: selection.linux for selection in chosen}, part)
    if session.json is not None:
        write_json(session.json, found.to_json())
        session.json_done = True
    return say_history(session, found)


def say_history(session: Session, found: History) -> int:
    """Prints the result, then writes its page."""
    common.say_result(session, found.lines(), lambda: html_text(history_page(found)))
    return found.status


def say_rejected(session: Session, chosen: Sequence[Selection]) -> int:
    """Prints the hunks of stale patches that do not apply. A stale patch is no failure."""
    for selection in chosen:
        for slug, hunks in selection.rejected.items():
            session.terminal.say(f"{selection.tree}/{slug}: these hunks do not apply:")
            for line in (line for hunk in hunks for line in hunk):
                session.terminal.say(f"      {line}")
    if not session.dry_run:
        session.terminal.say(f"stale patches: {sum(len(selection.rejected) for selection in chosen)}")
    return Exit.PASS
