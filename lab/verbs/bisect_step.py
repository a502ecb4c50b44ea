# SPDX-License-Identifier: GPL-2.0-only
"""The verb bisect-step: builds and tests the commit that is checked out, and answers `git bisect run`."""
from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lab.boot.boot import Boot
from lab.build.fitness import check_tree
from lab.build.fragment import config_of
from lab.build.kernel import SANITIZE, SLOWER, flavour, with_config
from lab.build.prepare import Preparation
from lab.build.sources import not_a_kernel
from lab.build.target import Target, qemu_of, selftests_of
from lab.core.errors import Exit, Stop, usage_error
from lab.core.options import Given, Option
from lab.core.places import kernel_version, tilde
from lab.core.session import Session
from lab.core.steps import Plan, StepFailed
from lab.core.terminal import OneLine
from lab.judge.bisection import STOP, Answer, Commit, Step, Word, answer_of
from lab.judge.files import write_json
from lab.judge.programs import Origin, Picked, pick
from lab.judge.verdict import judge
from lab.patches.git import answer, git_own, is_here, is_top_of_repository
from lab.verbs import common
from lab.verbs.run import LIMIT, append_of, question_of, run_boot

TAKES_REST = True
# git bisect run would take 2 and 3 for "bad".
STATUSES = {Exit.USAGE: STOP, Exit.SETUP: STOP}
BROKEN_BOOT = (Word.SKIP, Word.BAD)
OPTIONS = tuple(Option(name, value) for name, value in (
    ("--test", "GLOB"), ("--tree", "DIR"), ("--broken-boot", "WORD"), ("--patch", "FILE"), ("--timeout", "SEC"),
    ("--append", "WORDS"), ("--config", "FILE"), ("--sanitize", None), ("--json", "FILE"), ("--qemu", "DIR"),
    ("--selftests", "DIR")))
USAGE = f"""\
usage: ./snplab bisect-step [--test GLOB]... [--tree DIR] [--broken-boot bad|skip] [--patch FILE] [--timeout SEC]
                            [--append WORDS] [--config FILE] [--sanitize] [--qemu DIR] [--selftests DIR]
                            [--json FILE] [--dry-run] [-- QEMU ARGS]

For `git bisect run PATH/snplab bisect-step --test PROGRAM:CASE` (docs/bisect.md). Builds the kernel that is checked out,
boots it on the emulated SNP host, runs the tests, and prints one line: the commit, its subject, and the answer. No file is
written into the tree, and the build is incremental.

Exit status: 0 good; 1 bad: a test failed, hung or made the kernel panic or print a report; 125 skip: the commit does not
build or boot, is no SNP host although it has the code for one, or its tests were skipped. 128 or more end the bisection:
128 a wrong command line or a fault of the machine, 130 Ctrl-C.

  --test GLOB     a program or a case, as of `run`; may be given more than once (default: as `run`)
  --tree DIR      the git work tree of the kernel (default: the one of the current folder)
  --broken-boot bad
                  a commit that does not boot, or is no SNP host, is bad: to find the commit that broke this
  --patch FILE    a patch on top of each commit; a commit that it does not apply to is skipped
  --timeout SEC   time limit of the boot (default {LIMIT}; with --sanitize {SLOWER * LIMIT})
  --append WORDS  more words for the command line of L1's kernel
{common.OPTION_CONFIG}
{common.OPTION_SANITIZE}
  --json FILE     the answer, machine-readable
  -- QEMU ARGS    more arguments of L1's QEMU
{common.OPTIONS_QEMU}
{common.OPTIONS_SELFTESTS}
{common.OPTION_OWN_SELFTESTS}
  --dry-run       print what would be done, as commands
  --help          this text
"""


@dataclass
class Asked:
    """The checked command line."""

    folder: Path
    picked: tuple[Picked, ...]
    broken: Word
    limit: int | None
    append: str | None
    patch: Path | None
    config: Path | None
    sanitize: bool
    # QEMU's arguments.
    rest: list[str]


def check_usage(given: Given) -> Asked:
    """Checks the command line before the build."""
    given.no_arguments("bisect-step", "the tree is named with --tree")
    return Asked(work_tree(given), picked_of(given), broken_boot_of(given), given.seconds("--timeout"),
                 given.line("--append"), given.file("--patch"), config_of(given), given.flag("--sanitize"), given.rest)


def work_tree(given: Given) -> Path:
    """The top of the git work tree: --tree DIR, or the current folder's."""
    if not is_here():
        raise usage_error("git is not installed", "Debian's package is git")
    folder = given.folder("--tree")
    if folder is None:
        top = answer(git_own(Path.cwd(), "rev-parse", "--show-toplevel"))
        if not top:
            raise usage_error(f"expected a git work tree, found none around {tilde(Path.cwd())}", "name it with --tree DIR")
        folder = Path(top)
    if not is_top_of_repository(folder):
        raise usage_error(f"--tree: expected the top of a git work tree, found none in {tilde(folder)}",
                          "bisect-step is for git bisect; ./snplab run --tree DIR tests any tree")
    if kernel_version(folder) is None:
        raise not_a_kernel(tilde(folder))
    return folder


def commit_of(folder: Path) -> Commit:
    """The commit that is checked out."""
    line = answer(git_own(folder, "log", "-1", "--format=%h%x09%s"))
    if not line:
        raise usage_error(f"expected a commit in {tilde(folder)}, found none")
    name, _, subject = line.partition("\t")
    return Commit(name, subject)


def picked_of(given: Given) -> tuple[Picked, ...]:
    """The programs and cases of all --test options, each once."""
    globs = given.every("--test")
    picked = tuple(dict.fromkeys(one for glob in globs for one in pick(glob))) if globs else pick(None)
    if len({one.parameters for one in picked if one.program.origin is Origin.KUNIT}) > 1:
        raise usage_error("expected one choice of KUnit's cases, found several", "a pattern picks several: kunit:*vcpu*")
    return picked


def broken_boot_of(given: Given) -> Word:
    """--broken-boot."""
    value = given.value("--broken-boot") or Word.SKIP.value
    if value not in [word.value for word in BROKEN_BOOT]:
        raise usage_error(f"--broken-boot wants bad or skip, found '{value}'")
    return Word(value)


class StepRun:
    """The test of one commit."""

    def __init__(self, session: Session, given: Given) -> None:
        self.session = session
        self.asked = asked = check_usage(given)
        self.commit = commit_of(asked.folder)
        built = with_config(flavour(SANITIZE) if asked.sanitize else flavour(), asked.config)
        kunit = [one for one in asked.picked if one.program.origin is Origin.KUNIT]
        # The lab's KUnit patch does not apply to each commit: only if it is asked for.
        target = Target(tilde(asked.folder), asked.folder, kunit=bool(kunit))
        programs = dict.fromkeys(one.program.name for one in asked.picked if one not in kunit)
        self.prepared = Preparation(session, target, qemu_of(given), selftests_of(given, target),
                                    [asked.patch] if asked.patch else [], list(programs), flavour=built)

    def test(self) -> Answer:
        """Builds, boots, and judges."""
        session, asked, prepared = self.session, self.asked, self.prepared
        check_tree(session, prepared.target)
        plan = Plan(session, more=1)
        prepared.add_steps(plan)
        plan.run()
        picked, untested = list(asked.picked), None
        if prepared.target.kunit and not prepared.has_kunit():
            untested = f"linux {prepared.version} has no KUnit test of ours"
            picked = [one for one in picked if one.program.origin is not Origin.KUNIT]
            if not picked:
                raise Stop(Exit.SKIP, untested)
        boot = Boot(prepared.machine(more=asked.rest), prepared.kernel, prepared.initrd,
                    append_of(picked, asked.append, None, prepared.flavour.slower), session.run_dir,
                    prepared.flavour.slower)
        took = run_boot(session, plan, prepared, boot, picked, asked.limit or LIMIT * prepared.flavour.slower, None)
        if session.dry_run:
            return Answer(Word.SKIP, "nothing was done")
        verdict = judge(question_of(session, prepared, picked, untested, [*plan.times(), (took, "boot")], session.run_dir))
        verdict.write()
        return answer_of(verdict, asked.broken)

    def answer(self) -> Step:
        """The answer, also for a commit that could not be tested. Raises if that is not the commit's fault."""
        begin = time.monotonic()
        try:
            found = self.test()
        except Stop as e:
            if not e.of_tree and e.status != Exit.SKIP:
                raise
            found = Answer(Word.SKIP, e.why if isinstance(e, StepFailed) else e.message)
        return Step(tilde(self.asked.folder), self.prepared.version, self.commit, found, int(time.monotonic() - begin),
                    tilde(self.session.run_dir))


def main(session: Session, given: Given) -> int:
    """Answers for the commit that is checked out."""
    run = StepRun(session, given)
    if session.dry_run:
        run.test()
        return Exit.PASS
    session.terminal = line = OneLine(session.terminal.stream)
    head = f"{run.commit.shown} …"
    line.first(head)
    try:
        step = run.answer()
    except BaseException:
        line.last(head, "stopped")
        raise
    if session.json is not None:
        write_json(session.json, step.to_json())
        session.json_done = True
    line.last(head, step.result())
    return step.answer.word.exit
