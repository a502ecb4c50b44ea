# SPDX-License-Identifier: GPL-2.0-only
"""Does the verdict on a mutant follow from the logs of its boot? Made-up logs: which layer catches it, which does not, and
what counts as no catch.

Two kinds of error are possible. A wrong catch hides that the tests are blind: a case that fails without the mutant as well,
an unrelated report, a hang that the machine caused. A missed catch makes a good test look bad.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.core.errors import Stop
from lab.judge import mutants
from lab.judge.matrix import Matrix, matrix
from lab.judge.mutants import Header, MutantResult, check_header_ends, judge_mutant
from lab.judge.programs import all_programs
from tests.support.judge import assert_line, edit, write_logs

ABOUT = "a mutant counts as caught only if the logs of its boot show that the layers in its header caught it"
LANE = "fast"
NEEDS = ()
TAKES = 3

GOOD = """KTAP version 1
1..2
# Subtest: kunit
    KTAP version 1
        ok 1 nothing_is_held
        ok 2 all_are_waited_for # a remark
    ok 1 suite
ok 1 kunit
# Subtest: sev_snp_launch_test:-w:3
# TAP version 13
# 1..3
# ok 1 snp_launch_smp.2_vcpus.finish_then_run
# ok 2 snp_launch.finish_releases_vcpus
# not ok 3 snp_launch.known_to_fail
ok 2 sev_snp_launch_test:-w:3
snplab: end of tests""".split("\n")
LINUX = "Linux version 7.3.4"
COUNTED = ('{"ended": "shutdown", "guest-errors": 0, "errors": {"vmrun": 0}, "statistics": {"rmp-assigned": 0, '
           '"rmp-firmware": 0}}')
KUNIT = edit(edit(edit(GOOD, "^        ok 1", "        not ok 1"), "^    ok", "    not ok"), "^ok 1", "not ok 1")
LAUNCH = edit(edit(GOOD, "^# ok 1", "# not ok 1"), "^ok 2", "not ok 2")
BOTH = edit(edit(KUNIT, "^# ok 1", "# not ok 1"), "^ok 2", "not ok 2")
TESTS = ("kunit", "sev_snp_launch_test:-w:3")
NOT_KUNIT, NOT_LAUNCH = "Not-seen-by: kunit: why", "Not-seen-by: sev_snp_launch_test: why"
NEITHER = (NOT_KUNIT, NOT_LAUNCH)
BY_KUNIT = ("Caught-by: kunit:nothing_is_held", NOT_LAUNCH)


class Tree:
    """A tree "t" with mutants, and the boot of its series without one."""

    def __init__(self, tmp_path: Path, exit_status: int = 0, control: Sequence[str] = GOOD) -> None:
        self.tmp, self.folder = tmp_path, tmp_path / "t"
        write_logs(self.folder / "control", control, [LINUX, ""], host=COUNTED)
        verdict = {"exit": exit_status, "verdict": "fail" if exit_status else "pass", "tests": []}
        (self.folder / "control/verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
        (self.folder / "mutants").write_text("", encoding="utf-8")

    def patch(self, name: str, header: Sequence[str]) -> Path:
        """The path of a mutant's patch."""
        path = self.tmp / f"{name}.patch"
        path.write_text("\n".join(["It is wrong.", "", *header, "---", ""]), encoding="utf-8")
        return path

    def lists(self, patch: Path) -> None:
        """Adds a mutant to those that are to be judged."""
        with open(self.folder / "mutants", "a", encoding="utf-8") as f:
            f.write(f"{patch}\n")

    def mutant(self, name: str, header: Sequence[str], ktap: Sequence[str] = GOOD, kernel: Sequence[str] = (), *,
               host: str = COUNTED, tests: Sequence[str] = TESTS, **marks: str) -> MutantResult:
        """Judges one more mutant."""
        patch = self.patch(name, header)
        write_logs(self.folder / name, ktap, [LINUX, *kernel], host=host, **marks)
        self.lists(patch)
        return judge_mutant("t", patch, self.folder / name, self.folder / "control", tests)

    def judged(self) -> Matrix:
        """Judges all mutants."""
        return matrix([self.folder], json=self.tmp / "json")


@pytest.fixture(name="tree")
def fixture_tree(tmp_path: Path) -> Tree:
    """A tree whose series passes, without a mutant so far."""
    return Tree(tmp_path)


def check(tree: Tree, status: int, pattern: str) -> None:
    """Fails unless the verdict on the tree has that status and a line that matches."""
    found = tree.judged()
    assert_line(found.lines(), pattern)
    assert found.status == status, "\n".join(found.lines())


LATE = [line for line in edit(GOOD, "^ok 2.*", "not ok 2 sev_snp_launch_test:-w:3 # TIMEOUT no end within 60 s")
        if not line.startswith("# ok 2")]
SKIPPED = edit(GOOD, "^# ok 2 .*", r"\g<0> # SKIP not run: the processes of 3 cases are stuck in the kernel already")
RELEASES = "Caught-by: sev_snp_launch_test:finish_releases_vcpus"
SURVIVES = "m: survived: not caught by sev_snp_launch_test:"
WAS_SKIPPED = SURVIVES + "finish_releases_vcpus, which its header names: it was skipped$"


def left_out(*more: str) -> list[str]:
    """The lines with which an older launch test reports a skipped case, and more output of that case."""
    source = "# # x86/sev_snp_launch_test.c"
    said = ["# #  RUN           snp_launch.finish_releases_vcpus ...",
            f"{source}:697:finish_releases_vcpus:Expected MAX_LEFT_BEHIND (3) > READ_ONCE(shared->nr_left_behind) (3)",
            f"{source}:698:finish_releases_vcpus:not run: the processes of 3 cases are stuck in the kernel already",
            *(f"{source}:700:finish_releases_vcpus:{line}" for line in more),
            "# # finish_releases_vcpus: Test terminated by assertion",
            "# #          FAIL  snp_launch.finish_releases_vcpus",
            "# not ok 2 "]
    return edit(edit(GOOD, "^# ok 2 ", "\n".join(said)), "^ok 2", "not ok 2")


# name: header, KTAP, exit status, pattern
BY_CASES = {
    "caught by the layer in its header: pass": (BY_KUNIT, KUNIT, 0, "^PASS: 1 mutants: 1 caught, 0 survived"),
    "the matrix has a cell for each layer": (BY_KUNIT, KUNIT, 0, "^ *m +caught +- +- +-$"),
    "a case is named by its last part":
        (("Caught-by: sev_snp_launch_test:finish_then_run", NOT_KUNIT), LAUNCH, 0, "^PASS"),
    "a case is named by its whole name":
        (("Caught-by: sev_snp_launch_test:snp_launch_smp.2_vcpus.finish_then_run", NOT_KUNIT), LAUNCH, 0, "^PASS"),
    "a case is not named by a part of its last part":
        (("Caught-by: sev_snp_launch_test:then_run", NOT_KUNIT), LAUNCH, 1, "has no such case"),
    "a survivor: fail": (("Caught-by: kunit:nothing_is_held",), GOOD, 1, "^FAIL: 1 mutants: 0 caught, 1 survived"),
    "a survivor is named":
        (("Caught-by: kunit:nothing_is_held",), GOOD, 1, "m: survived: not caught by kunit:nothing_is_held"),
    "caught by no layer in its header: fail":
        (("Caught-by: kunit:all_are_waited_for", NOT_LAUNCH), KUNIT, 1,
         "m: not as named: caught by no layer that its header names"),
    "caught by one of two layers in its header: fail":
        (("Caught-by: kunit:all_are_waited_for", *BY_KUNIT), KUNIT, 1,
         "m: not as named: not caught by kunit:all_are_waited_for"),
    "a case that also fails without the mutant catches nothing":
        (("Caught-by: sev_snp_launch_test:known_to_fail",), GOOD, 1, SURVIVES + "known_to_fail"),
    "a layer that sees nothing and is not in the header: fail":
        (("Caught-by: kunit:nothing_is_held",), KUNIT, 1, 'has no "Not-seen-by: sev_snp_launch_test: why"'),
    "also caught by a layer not in its header: shown":
        (("Caught-by: kunit:nothing_is_held",), BOTH, 0, r"^ *m +caught +\(caught\) +- +-$"),
    "caught by another case than the one in its header: shown":
        (("Caught-by: kunit:nothing_is_held", RELEASES), BOTH, 1, r"^ *m +caught +\(caught\) +- +- +NOT AS NAMED$"),
    "no layer in its header: fail": ((NOT_LAUNCH,), KUNIT, 1, "its header names no layer"),
    "an unknown layer in its header: fail": (("Caught-by: luck it", *BY_KUNIT), KUNIT, 1, 'found "Caught-by: luck it'),
    "a missing program in its header: fail":
        (("Caught-by: no_such_test:case", *BY_KUNIT), KUNIT, 1, 'found "Caught-by: no_such_test:case"'),
    "the older form of Caught-by: fail":
        (("Caught-by: kunit nothing_is_held", *BY_KUNIT), KUNIT, 1, 'found "Caught-by: kunit nothing_is_held"'),
    "a missing program in a Not-seen-by line: fail":
        (("Not-seen-by: kselftest: why", *BY_KUNIT), KUNIT, 1, 'found "Not-seen-by: kselftest: why"'),
    "a program that did not run catches nothing":
        (("Caught-by: sev_snp_launch_test:finish_then_run", "Caught-by: kunit:nothing_is_held",
          "Not-run: sev_snp_launch_test: why"), KUNIT, 1,
         "sev_snp_launch_test:finish_then_run: that program was not run"),
    "a time-out in its header: caught": (("Caught-by: sev_snp_launch_test:timeout", NOT_KUNIT), LATE, 0, "^PASS"),
    "a case that was not reached catches nothing, and the message says so":
        ((RELEASES, NOT_KUNIT), LATE, 1, "not caught by sev_snp_launch_test:finish_releases_vcpus, which its header "
         "names: it has no result in this boot$"),
    "a skipped case catches nothing, and the message says so":
        ((RELEASES, NOT_KUNIT), SKIPPED, 1, WAS_SKIPPED),
    "a skipped case that an older launch test reports as failed catches nothing":
        ((RELEASES, NOT_KUNIT), left_out(), 1, WAS_SKIPPED),
    "a case that ran and passed: the message gives no reason":
        ((RELEASES, NOT_KUNIT), GOOD, 1, SURVIVES + "finish_releases_vcpus, which its header names$"),
    "one of two variants was skipped: the message says so":
        (("Caught-by: sev_snp_launch_test:finish_then_run", NOT_KUNIT),
         edit(GOOD, "^# ok 1 .*", "\\g<0>\n# ok 9 snp_launch_smp.64_vcpus.finish_then_run # SKIP not run"), 1,
         "not caught by sev_snp_launch_test:finish_then_run, which its header names: 1 of 2 were skipped$"),
    "a failed case with another message than a skip's: caught":
        ((RELEASES, NOT_KUNIT), left_out("Expected 0 (0) == ret (-1)"), 0, "^PASS"),
}


@pytest.mark.parametrize("name", BY_CASES)
def test_by_cases(name: str, tree: Tree) -> None:
    """Cases of KUnit and of the launch test catch a mutant."""
    header, ktap, status, pattern = BY_CASES[name]
    tree.mutant("m", header, ktap)
    check(tree, status, pattern)


def test_json(tree: Tree) -> None:
    """The JSON says which layer caught the mutant, and how."""
    tree.mutant("m", BY_KUNIT, KUNIT)
    tree.judged()
    data = json.loads((tree.tmp / "json").read_text(encoding="utf-8"))
    mutant = data["trees"]["t"]["mutants"][0]
    assert next(iter(data)) == "version" and data["exit"] == 0
    assert mutant["layers"]["kunit"] == {"result": "caught", "by": ["nothing_is_held"]}
    assert mutant["layers"]["sev_snp_launch_test"]["result"] == "not seen"
    assert data["trees"]["t"]["cases_that_caught_nothing"]["kunit"] == ["all_are_waited_for"]


def test_any_program_of_the_list(tmp_path: Path) -> None:
    """A header may name a program that a mutant's boot does not run by default: it then runs with and without the mutant."""
    named = ("Caught-by: sev_smoke_test", "Caught-by: sync_regs_test:bad", *NEITHER)
    header = Header.read(Tree(tmp_path).patch("m", named))
    assert mutants.tests_for(header, TESTS) == [*TESTS, "sev_smoke_test", "sync_regs_test"]
    assert mutants.tests_for_control([header, header], TESTS) == [*TESTS, "sev_smoke_test", "sync_regs_test"]
    more = ["# Subtest: sev_smoke_test", "ok 3 sev_smoke_test", "# Subtest: sync_regs_test", "# 1..1", "# ok 1 one.bad",
            "ok 4 sync_regs_test"]
    control = [*GOOD[:-1], *more, GOOD[-1]]
    tree = Tree(tmp_path, control=control)
    ktap = edit(edit(control, "^ok ([34])", r"not ok \1"), "^# ok 1 one.bad", "# not ok 1 one.bad")
    tree.mutant("m", named, ktap)
    check(tree, 0, "^PASS")
    assert_line(tree.judged().lines(),
                "t +kunit +sev_snp_launch_test +sev_smoke_test +sync_regs_test +kernel log +other")
    tree.mutant("m", named, control)
    check(tree, 1, "m: survived: not caught by sev_smoke_test, which its header names")


def test_whole_program_that_fails_without_the_mutant(tmp_path: Path) -> None:
    """A program that also fails without the mutant catches nothing."""
    control = [*GOOD[:-1], "# Subtest: sev_smoke_test", "not ok 3 sev_smoke_test # exit status 1", GOOD[-1]]
    tree = Tree(tmp_path, control=control)
    tree.mutant("m", ("Caught-by: sev_smoke_test", *NEITHER), control)
    check(tree, 1, "m: survived: not caught by sev_smoke_test")


def test_what_is_left_out_is_not_run(tree: Tree) -> None:
    """The mutant's boot leaves out the program, the control's boot runs it."""
    header = Header.read(tree.patch("m", ("Caught-by: kunit:nothing_is_held", "Not-run: sev_snp_launch_test: why")))
    assert mutants.tests_for(header, TESTS) == ["kunit"]
    assert mutants.tests_for_control([header], TESTS) == list(TESTS)


def test_every_header_of_the_list_is_read(tree: Tree) -> None:
    """All three kinds of header lines can name every program of lab/l1/programs."""
    for program in all_programs():
        header = Header.read(tree.patch("m", (f"Caught-by: {program.name}:case", f"Not-seen-by: {program.name}: why",
                                              f"Not-run: {program.name}: why")))
        assert header.errors == []


def test_skipped_without_the_mutant(tmp_path: Path) -> None:
    """A case that is skipped without the mutant has never passed, so its failure catches nothing."""
    tree = Tree(tmp_path, control=edit(GOOD, "^# ok 1 .*", r"\g<0> # SKIP no"))
    tree.mutant("m", ("Caught-by: sev_snp_launch_test:finish_then_run", NOT_KUNIT), LAUNCH)
    check(tree, 1, SURVIVES + "finish_then_run")


def test_time_out_without_the_mutant(tmp_path: Path) -> None:
    """A program that also times out without the mutant catches nothing by a time-out."""
    tree = Tree(tmp_path, control=LATE)
    tree.mutant("m", ("Caught-by: sev_snp_launch_test:timeout", NOT_KUNIT), LATE)
    check(tree, 1, SURVIVES + "timeout")


# --- Reports --------------------------------------------------------------------------------------------------------

REPORT = ["[ 1.0] WARNING: Nested lock was not taken", "[ 1.0] test/1 is trying to lock:",
          "[ 1.0] (&vcpu->mutex) at: kvm_lock_all_vcpus"]
TRACE = [" Call Trace:", "  sev_mem_enc_ioctl+0xa9/0x1030 [kvm_amd]"]
ASSERTION = ["------------[ cut here ]------------", "WARNING: CPU: 1 PID: 9 at sev_es_sync_vmsa+0x31b/0x360 [kvm_amd]"]
NEW_ASSERTION = [ASSERTION[0], "WARNING: at sev_es_sync_vmsa+0x31b/0x360 [kvm_amd], CPU#2: test/380"]
ODD = [ASSERTION[0], "it is odd", ASSERTION[1]]
DEPTH = [ASSERTION[0], "DEBUG_LOCKS_WARN_ON(depth <= 0)", ASSERTION[1], *TRACE]
OOPS = ["BUG: unable to handle page fault for address: 1", *TRACE]
OFF = ["BUG: unable to handle page fault for address: 1", "INFO: lockdep is turned off.", *TRACE]
IOCTL, SYNC = "sev_mem_enc_ioctl", "sev_es_sync_vmsa"
STALLS = ["rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "rcu: INFO: rcu_preempt self-detected stall on CPU",
          "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [test:9]",
          "INFO: task test:9 blocked for more than 120 seconds."]
FIRST_LINES = ["WARNING: possible recursive locking detected", "WARNING: possible circular locking dependency detected",
               "WARNING: bad unlock balance detected!", "WARNING: lock held when returning to user space!",
               "WARNING: held lock freed!", "WARNING: test/9 still has locks held!",
               "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected", "WARNING: suspicious RCU usage",
               "BUG: MAX_LOCK_DEPTH too low!", "[ BUG: Invalid wait context ]"]
PASS = "^PASS"
# name: pattern, kind, words, kernel's log
BY_REPORTS = {
    "the report has other words": ("not caught by lockdep bad unlock balance", "lockdep", "bad unlock balance", REPORT),
    "words that are in no report's lines": ("m: survived", "lockdep", "is trying to lock", REPORT[1:2]),
    "words below the first line of lockdep's report": (PASS, "lockdep", IOCTL, REPORT + TRACE),
    "words in a report after lockdep's":
        ("not caught by lockdep sev_mem_enc_ioctl", "lockdep", IOCTL, [*REPORT, STALLS[1], *TRACE]),
    "words in an oops are not lockdep's": ("m: not as named: .*not caught by|caught by no layer", "lockdep", IOCTL, OOPS),
    "an oops that mentions lockdep is an oops": (PASS, "oops", IOCTL, OFF),
    '"lockdep is turned off" is no report': ("m: survived", "lockdep", "turned off", ["INFO: lockdep is turned off."]),
    "words at the place of a lockdep assertion": (PASS, "lockdep", SYNC, ASSERTION + TRACE),
    "a lockdep assertion in mainline's words": (PASS, "lockdep", SYNC, NEW_ASSERTION),
    'the line "cut here" is no report of its own': ("not caught by oops cut here", "oops", "cut here", ASSERTION),
    "the call trace of an assertion does not count":
        ("not caught by lockdep sev_mem_enc_ioctl", "lockdep", IOCTL, ASSERTION + TRACE),
    "a WARN() with a message is no lockdep assertion": ("not caught by lockdep sev_es_sync_vmsa", "lockdep", SYNC, ODD),
    "a WARN() with a message is an oops": (PASS, "oops", "it is odd", ODD),
    "a WARN() with lockdep's message is lockdep's": (PASS, "lockdep", IOCTL, DEPTH),
    "a WARN() after lockdep's report is no part of it":
        ("not caught by lockdep it is odd", "lockdep", "it is odd", REPORT + ODD),
    **{f"no report of lockdep's: {line}":
       ("m: survived: not caught by lockdep sev_mem_enc_ioctl", "lockdep", IOCTL, [line, *TRACE]) for line in STALLS},
    **{f"no oops: {line}": ("m: survived: not caught by oops sev_mem_enc_ioctl", "oops", IOCTL, [line, *TRACE])
       for line in STALLS},
    **{f"a stall: {line}": (PASS, "stall", IOCTL, [line, *TRACE]) for line in STALLS},
    **{f"lockdep's: {line}": (PASS, "lockdep", IOCTL, [line, *TRACE]) for line in FIRST_LINES},
}


@pytest.mark.parametrize("name", BY_REPORTS)
def test_by_reports(name: str, tree: Tree) -> None:
    """The kernel's reports catch a mutant: the kind of each, and the lines that belong to it."""
    pattern, kind, words, kernel = BY_REPORTS[name]
    tree.mutant("m", (f'Caught-by: {kind} "{words}"', *NEITHER), GOOD, kernel)
    check(tree, 0 if pattern == PASS else 1, pattern)


def test_two_places_in_a_report(tree: Tree) -> None:
    """The header names one report by two of its lines."""
    named = ('Caught-by: lockdep "Nested lock was not taken"', 'Caught-by: lockdep "(&vcpu->mutex)"', *NEITHER)
    tree.mutant("m", named, GOOD, REPORT)
    check(tree, 0, PASS)


def test_report_of_the_control(tmp_path: Path) -> None:
    """A report that also appears without the mutant catches nothing."""
    tree = Tree(tmp_path)
    write_logs(tree.folder / "control", GOOD, [LINUX, *REPORT], host=COUNTED)
    (tree.folder / "control/verdict.json").write_text('{"exit": 0, "verdict": "pass"}', encoding="utf-8")
    tree.mutant("m", ('Caught-by: lockdep "Nested lock was not taken"', *NEITHER), GOOD, REPORT)
    check(tree, 1, "m: survived: not caught by lockdep Nested lock")


# --- Ends, and the host ---------------------------------------------------------------------------------------------

PANIC = ["[ 2.0] Kernel panic - not syncing: stack is corrupt"]
HALF = KUNIT[:KUNIT.index("not ok 1 kunit") + 1]


def test_panic_is_no_catch(tree: Tree) -> None:
    """A panic that the header does not name may have another cause."""
    tree.mutant("m", BY_KUNIT, HALF, PANIC)
    check(tree, 1, "m: not judged: the kernel panicked: stack is corrupt, after 1 of the tests")


def test_panic_that_is_named(tree: Tree) -> None:
    """A panic that the header names catches the mutant."""
    tree.mutant("m", ('Caught-by: panic "stack is corrupt"', *BY_KUNIT), HALF, PANIC)
    check(tree, 0, PASS)


def test_early_end_is_no_catch(tree: Tree) -> None:
    """L1 ended before its tests did: no catch."""
    tree.mutant("m", ("Caught-by: kunit:nothing_is_held",), ["KTAP version 1"])
    check(tree, 1, "m: not judged: L1 ended before its tests did, after 0")


def test_test_that_was_cut_short(tree: Tree) -> None:
    """A program without a result does not count as run."""
    tree.mutant("m", BY_KUNIT, GOOD[:-2])
    check(tree, 1, "m: not judged: L1 ended before its tests did, after 1 of the tests")


def test_time_out_is_no_catch(tree: Tree) -> None:
    """A boot without an end is no catch."""
    tree.mutant("m", BY_KUNIT, HALF, timed_out="9")
    check(tree, 1, "m: not judged: no end within 9 s, after 1")


def test_no_power_off(tree: Tree) -> None:
    """A kernel that does not power off after its tests is judged by them."""
    tree.mutant("m", BY_KUNIT, KUNIT, timed_out="60")
    check(tree, 0, PASS)
    tree.mutant("m", BY_KUNIT, GOOD, timed_out="60")
    check(tree, 1, "m: not as named: not caught by kunit")


def test_time_out_that_is_named(tree: Tree) -> None:
    """A time-out that the header names catches the mutant."""
    tree.mutant("m", ("Caught-by: boot timeout", *NEITHER), GOOD, timed_out="9")
    check(tree, 0, PASS)


def test_not_built(tree: Tree) -> None:
    """A mutant that does not build is not judged, whatever the logs say."""
    tree.mutant("m", BY_KUNIT, KUNIT, not_built="9")
    check(tree, 1, "m: not judged: it was not built: 9")


def test_not_booted(tree: Tree) -> None:
    """A mutant whose QEMU failed is not judged."""
    tree.mutant("m", BY_KUNIT, KUNIT, not_booted="QEMU ended with status 1")
    check(tree, 1, "m: not judged: QEMU ended with status 1, after 2 of the tests")


def test_leaked_pages(tree: Tree) -> None:
    """Leaked pages that the header names catch the mutant."""
    tree.mutant("m", ("Caught-by: host rmp-assigned", *NEITHER), GOOD,
                host=COUNTED.replace('rmp-assigned": 0', 'rmp-assigned": 2'))
    check(tree, 0, PASS)


def test_error_on_the_host(tree: Tree) -> None:
    """An error on the host catches the mutant if the header names its kind, and not otherwise."""
    host = COUNTED.replace('vmrun": 0', 'vmrun": 3')
    tree.mutant("m", ("Caught-by: host vmrun", *NEITHER), GOOD, host=host)
    check(tree, 0, PASS)
    tree.mutant("n", ("Caught-by: host rmp-assigned", *NEITHER), GOOD, host=host)
    check(tree, 1, "t/n: not as named: caught by no layer")


# --- Several, and the series itself ---------------------------------------------------------------------------------


def test_one_survivor_of_two(tree: Tree) -> None:
    """One surviving mutant fails the run."""
    tree.mutant("a", BY_KUNIT, KUNIT)
    tree.mutant("b", ("Caught-by: kunit:nothing_is_held",))
    check(tree, 1, "^FAIL: 2 mutants: 1 caught, 1 survived")


def test_series_itself_fails(tmp_path: Path) -> None:
    """If the series itself fails, no catch counts."""
    tree = Tree(tmp_path, exit_status=1)
    tree.mutant("a", BY_KUNIT, KUNIT)
    check(tree, 1, "t: the series without a mutant does not pass")


def test_one_without_a_result(tree: Tree) -> None:
    """A mutant that was not judged does not count as caught."""
    tree.mutant("a", BY_KUNIT, KUNIT)
    tree.lists(tree.tmp / "c.patch")
    check(tree, 1, "t/c: not judged: it was not run")


def test_result_of_another(tree: Tree) -> None:
    """The result of another mutant does not count either."""
    tree.mutant("a", BY_KUNIT, KUNIT)
    (tree.folder / "a").rename(tree.folder / "c")
    tree.lists(tree.tmp / "c.patch")
    check(tree, 1, "t/c: not judged: it was not run")


def test_none_at_all(tree: Tree) -> None:
    """A run without a mutant does not pass."""
    check(tree, 1, "t: expected mutants, found none")


HEADERS: dict[str, list[str]] = {
    "no-end": ["It is wrong.", "", "Caught-by: kunit:nothing_is_held", ""],
    "late": ["It is wrong.", "diff --git a/x b/x", "--- a/x", "+++ b/x", "@@ -1 +1 @@", "---", "+x"],
    "only-a-diff": ["It is wrong.", "--- a/x", "+++ b/x", "@@ -1 +1 @@", "---", "+x"],
    "empty": [],
}


@pytest.mark.parametrize("name", HEADERS)
def test_header_without_an_end(name: str, tmp_path: Path) -> None:
    """A header without an end line is refused."""
    (tmp_path / f"{name}.patch").write_text("\n".join(HEADERS[name]) + "\n", encoding="utf-8")
    message = f'^{name}.patch: expected a line "---" between its header and its diff, found none'
    with pytest.raises(Stop, match=message) as e:
        check_header_ends(tmp_path / f"{name}.patch")
    assert e.value.status == 3


def test_header_with_an_end(tree: Tree) -> None:
    """A header with an end line is accepted."""
    check_header_ends(tree.patch("m", BY_KUNIT))
