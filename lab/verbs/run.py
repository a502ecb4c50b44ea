# SPDX-License-Identifier: GPL-2.0-only
"""The verb run: builds and boots a kernel, runs the tests, and gives a verdict."""
from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from lab.boot.boot import Boot, KtapLog, fail_if_qemu_did
from lab.boot.debug import APPEND, PATIENCE, Debugger
from lab.build.fitness import check_tree
from lab.build.fragment import config_of
from lab.build.kernel import SANITIZE, SLOWER, flavour, with_config
from lab.build.prepare import Preparation
from lab.build.target import qemu_of, selftests_of, target_of
from lab.core.errors import Exit, Stop, usage_error
from lab.core.options import Given, Option
from lab.core.places import tilde
from lab.core.session import Session
from lab.core.steps import Plan, show
from lab.judge.cases import LAUNCH_TEST
from lab.judge.files import read_lines
from lab.judge.programs import Origin, Picked, all_programs, need_program, pick, provoked_by
from lab.judge.trace_log import parse_trace
from lab.judge.verdict import BootQuestion, Verdict, judge
from lab.patches.series import all_trees
from lab.verbs import common
from lab.view.elements import html_text, svg_text
from lab.view.run_page import run_page
from lab.view.timeline import timeline, titled

LIMIT = 600
TEST_LIMIT = 240
# The options that take a kernel of their own, and its fragment of lab/config.
KERNELS = {"--gdb": "gdb", "--html": "trace", "--sanitize": SANITIZE}
# The word by which L1's init is asked for a trace.
TRACE = "snplab.trace="
TRACED_CASES = ("snp_launch.arriving_signal_does_not_end_wait", "snp_launch_smp.2_vcpus.finish_then_run")
TAKES_REST = True
OPTIONS = tuple(Option(name, value) for name, value in (
    ("--tree", "TREE"), ("--test", "GLOB"), ("--patch", "FILE"), ("--append", "WORDS"), ("--config", "FILE"),
    ("--sanitize", None), ("--gdb", None), ("--timeout", "SEC"), ("--json", "FILE"), ("--html", "FILE"),
    ("--linux", "DIR"), ("--qemu", "DIR"), ("--selftests", "DIR")))
USAGE = f"""\
usage: ./snplab run [--tree TREE] [--test GLOB] [--patch FILE] [--timeout SEC] [--append WORDS]
                    [--config FILE] [--sanitize] [--gdb] [--linux DIR] [--qemu DIR] [--selftests DIR] [--dry-run]
                    [--json FILE] [--html FILE] [-- QEMU ARGS]

Fetches a kernel, applies the series, builds, boots it on the emulated SNP host (lockdep on), runs its
tests and prints one line that says pass or fail. Sources and builds stay in
${{XDG_CACHE_HOME:-~/.cache}}/snplab, which can be deleted at any time.

  --tree TREE     {', '.join(all_trees())} (default 6.12.y), or a directory with a kernel source tree, which
                  is built without the series, incrementally; no file is written into it
  --test GLOB     the programs that match, '*' for all that do not take minutes:
                  {' '.join(p.name for p in all_programs())}
                  (default: {' '.join(p.program.name for p in pick(None))}); PROGRAM:CASE for one case
  --patch FILE    a patch on top of the others, such as one of tests/mutants/
  --timeout SEC   time limit of the whole boot (default {LIMIT}; with --sanitize {SLOWER * LIMIT})
  --append WORDS  more words for the command line of L1's kernel
{common.OPTION_CONFIG}
{common.OPTION_SANITIZE}
  --gdb           a kernel with debug information; stops when its modules are loaded, and prints
                  the line for gdb (docs/debugging.md)
  --json FILE     the verdict, machine-readable
  --html FILE     the verdict and all cases as a page, and two launches as timelines of KVM's locks:
                  a kernel with trace events, in a work folder of its own (docs/lock-timeline.md)
  -- QEMU ARGS    more arguments of L1's QEMU
{common.OPTIONS_QEMU}
{common.OPTIONS_SELFTESTS}
{common.OPTION_OWN_SELFTESTS}
{common.OPTIONS}

SNPLAB_QEMU, in the environment, names another QEMU binary. If it is no emulated host, the tests that need
one are skipped.
"""


def main(session: Session, given: Given) -> int:
    """Runs the tests."""
    given.no_arguments("run", "a tree is named with --tree")
    target, picked = target_of(given), pick(given.value("--test"))
    limit, gdb, html = given.seconds("--timeout"), given.flag("--gdb"), given.value("--html") is not None
    patch, append = given.file("--patch"), given.line("--append")
    kinds = [name for name in KERNELS if given.value(name) is not None or given.flag(name)]
    if len(kinds) > 1:
        raise usage_error(f"{kinds[0]} does not go with {kinds[1]}: each has a kernel of its own")
    flavoured = with_config(flavour(*(KERNELS[name] for name in kinds)), config_of(given))
    if html:
        picked = (*picked, traced())
    programs = dict.fromkeys(p.program.name for p in picked if p.program.origin is not Origin.KUNIT)
    prepared = Preparation(
        session, target, qemu_of(given), selftests_of(given, target), [patch] if patch else [], list(programs),
        flavour=flavoured, debug=gdb)
    debugger = Debugger(session) if gdb else None
    prepared.keep_symbols = debugger.keep_symbols if debugger else None
    session.terminal.say(f"snplab run: {target.name}")
    check_tree(session, target)
    common.say_old_cache(session)
    plan = Plan(session, more=1)
    prepared.add_steps(plan)
    plan.run()
    untested = None
    if not prepared.has_kunit():
        untested = f"linux {prepared.version} has no KUnit test of ours"
        session.terminal.note(f"{untested}, and lab/kunit has none for this release: KUnit is left out")
        picked = tuple(p for p in picked if p.program.origin is not Origin.KUNIT)
        if not picked:
            raise Stop(Exit.SKIP, "nothing is left to run")
    machine = prepared.machine(more=[*(debugger.arguments() if debugger else ()), *given.rest])
    words = append_of(picked, append, debugger, flavoured.slower)
    boot = Boot(machine, prepared.kernel, prepared.initrd, words, session.run_dir, flavoured.slower,
                debugger.on_start if debugger else None)
    took = run_boot(session, plan, prepared, boot, picked, limit or (None if gdb else LIMIT * flavoured.slower), debugger)
    if session.dry_run:
        return Exit.PASS
    return say_verdict(session, prepared, picked, untested, [*plan.times(), (took, "boot")])


def traced() -> Picked:
    """What is traced for the page's timelines: a launch while vCPUs are in KVM_RUN, and one while none is. They come last,
    in a run of their own: the trace of the whole launch test would have a hundred launches."""
    return Picked(need_program(LAUNCH_TEST), arguments=tuple(word for case in TRACED_CASES for word in ("-r", case)))


def append_of(picked: Sequence[Picked], append: str | None, debugger: Debugger | None,
              slower: int = 1) -> str:
    """The words for the command line of L1's kernel; L1's init reads some of them."""
    words = [f"snplab.tests={','.join(p.word for p in picked)}",
             f"snplab.timeout={PATIENCE if debugger else TEST_LIMIT * slower}"]
    words += [word for p in picked for word in p.parameters]
    words += [f"{TRACE}{p.word}" for p in picked if p == traced()]
    if debugger is not None:
        words.append(APPEND)
    return " ".join(words + ([append] if append else []))


def run_boot(session: Session, plan: Plan, prepared: Preparation, boot: Boot, picked: Sequence[Picked],
             limit: int | None, debugger: Debugger | None) -> int:
    """Boots, and shows L1's KTAP live. Returns the seconds that it took."""
    number = len(plan.steps) + 1
    words = " ".join(p.word for p in picked)
    where = "the emulated host, " if prepared.emulated else ""
    session.terminal.say(plan.head(
        number, f"boot linux {prepared.version} on {where}QEMU {prepared.qemu_version} (TCG): {words}"))
    if session.dry_run:
        show(session, [common.boot_command(boot)])
        return 0
    begin = time.monotonic()
    on_line = session.terminal.say
    with KtapLog(boot.logs, debugger.watch(on_line) if debugger else on_line, traced=TRACE in boot.append) as log:
        ended = boot.run(session, limit, log.line)
    if debugger is not None:
        debugger.drop()
    fail_if_qemu_did(boot, ended)
    took = int(time.monotonic() - begin)
    session.terminal.say(plan.head(number, "boot") + f" {took} s")
    return took


def say_verdict(session: Session, prepared: Preparation, picked: Sequence[Picked], untested: str | None,
                stages: Sequence[tuple[int, str]]) -> int:
    """Judges the boot; writes the verdict's JSON, prints the verdict, and writes its page."""
    question = question_of(session, prepared, picked, untested, stages, session.run_dir)
    verdict = judge(question)
    session.json_done = True
    verdict.write(session.json)
    for line in verdict.lines():
        session.terminal.say(line)
    if session.html is not None:
        write_pages(session.run_dir, session.html, verdict,
                    " + ".join([prepared.target.name, *(patch.stem for patch in prepared.extra)]))
    return verdict.status.exit


def write_pages(run_dir: Path, html: Path, verdict: Verdict, name: str) -> None:
    """Writes the timelines into the run's folder, and the page of --html. Prints nothing: the verdict is the last line."""
    trace = parse_trace(read_lines(run_dir / "trace.log"))
    drawn = titled(trace, f"{name}, linux {verdict.asked.linux}")
    for number, (title, launch) in enumerate(drawn, 1):
        common.write_page(run_dir / f"launch-{number}.svg", svg_text(timeline(launch, title)))
    common.write_page(html, html_text(run_page(verdict, trace, drawn, name)))


def question_of(session: Session, prepared: Preparation, picked: Sequence[Picked], untested: str | None,
                stages: Sequence[tuple[int, str]], logs: Path) -> BootQuestion:
    """The judge's question: the expected results of the boot, and the folder of its logs."""
    expect, may_pass = prepared.target.expect(prepared.version)
    emulated = prepared.emulated
    return BootQuestion(
        logs, prepared.target.name, prepared.version, prepared.qemu_version, [p.word for p in picked], expect, may_pass,
        emulated, provoked_by(p.program.name for p in picked if p != traced()) if emulated else {},
        emulated and prepared.can_be_snp_host(), untested, stages, tilde(logs))
