# SPDX-License-Identifier: GPL-2.0-only
"""The verdict follows from the logs: made-up logs for every way that L1 can end, and the verdict on each.

A lenient judge would hide the faults that the lab is for, so most cases are negative: logs that would pass but for one
fault must not pass. A judge could misread a result, apply one rule before another that should win (a panic is a panic,
whatever passed), or take a new failure for a known one.
"""
from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lab.core.errors import Stop
from lab.judge.files import write_json
from lab.judge.verdict import ADDING, DECIDING, RULES, BootQuestion, Verdict, judge
from tests.support.judge import (KTAP, LAUNCH, LINUX, SNP_ENABLED, assert_line, assert_no_line, counted, edit, without,
                                 write_logs)

ABOUT = "the verdict on made-up logs of every way that a boot can end"
LANE = "fast"
NEEDS = ()
TAKES = 2

BOTH = ("kunit", "state_test")
LAUNCH_TEST = ("sev_snp_launch_test",)
ALL_PASS = edit(edit(LAUNCH, "^# not ok", "# ok"), "^not ok 1 (.*) # .*", r"ok 1 \1")
WITHOUT_CASES = without(LAUNCH, r"^# ok|^# not ok|^# 1\.\.")
SNP_HOST = (LINUX, SNP_ENABLED)


@dataclass(frozen=True)
class Ask:
    """What the judge gets."""

    ktap: Sequence[str] = KTAP
    kernel: Sequence[str] = (LINUX,)
    wanted: Sequence[str] = BOTH
    host: str | None = None
    host_log: Sequence[str] | None = None
    timed_out: str | None = None
    expect: Sequence[str] = ()
    settings: tuple[tuple[str, Any], ...] = ()


def asked(**settings: Any) -> tuple[tuple[str, Any], ...]:
    """The question, with these fields changed."""
    return tuple(settings.items())


@pytest.fixture(name="verdict")
def fixture_verdict(tmp_path: Path) -> Callable[[Ask], Verdict]:
    """Runs the judge on a question."""
    def verdict(ask: Ask) -> Verdict:
        marks = {} if ask.timed_out is None else {"timed_out": ask.timed_out}
        logs = write_logs(tmp_path / "logs", ask.ktap, ask.kernel, host=ask.host, host_log=ask.host_log, **marks)
        expect = None
        if ask.expect:
            expect = tmp_path / "expect"
            expect.write_text("\n".join(ask.expect) + "\n", encoding="utf-8")
        return judge(BootQuestion(logs, "t", "1.2.3", "10", ask.wanted, expect=expect, **dict(ask.settings)))
    return verdict


def check(given: Verdict, status: int, pattern: str) -> None:
    """Fails unless the verdict has that exit status and a line that matches."""
    assert_line(given.lines(), pattern)
    assert int(given.status.exit) == status, "\n".join(given.lines())
    # The JSON and the lines agree.
    data = json.loads(json.dumps(given.to_json()))
    assert data["exit"] == status
    assert data["verdict"] == given.last_line().split(":")[0].lower()


RESULTS = {
    "all passed: pass": (Ask(), 0, "^PASS: t on linux 1.2.3: 2 passed, 0 failed, 0 skipped"),
    "one not ok: fail": (Ask(edit(KTAP, "ok 2", "not ok 2")), 1, "^FAIL: .* 1 passed, 1 failed"),
    "a failing case below its program is named":
        (Ask(edit(edit(KTAP, " ok 1 one", " not ok 1 one"), "^ok 1", "not ok 1")), 1, "not ok: one"),
    "a failing case of a program without a result is named":
        (Ask([line for line in edit(KTAP, " ok 1 one", " not ok 1 one") if not line.startswith(("ok", "snplab"))]), 1,
         "^ +not ok: one$"),
    "one skipped: pass": (Ask(edit(KTAP, "^ok 2.*", r"\g<0> # SKIP no SEV")), 0, "1 passed, 0 failed, 1 skipped"),
    "all skipped: skip": (Ask(edit(KTAP, "^ok .*", r"\g<0> # SKIP no SEV")), 4, "^SKIP: "),
    "a test timed out":
        (Ask(edit(KTAP, "^ok 2.*", "not ok 2 state_test # TIMEOUT no end within 9 s")), 124, "^TIMEOUT: "),
    "the boot timed out": (Ask(KTAP[:-1], timed_out="9"), 124, "no end within 9 s"),
    "L1 ran all tests, but does not power off":
        (Ask(timed_out="9"), 124, "L1 did not power off within 9 s after its tests"),
    "L1 ended early: fail, though nothing failed": (Ask(KTAP[:-1]), 1, "L1 ended before its tests did"),
    "no result at all: fail": (Ask([""]), 1, "expected results of 2 tests, found 0"),
    "a test is missing: fail":
        (Ask(wanted=(*BOTH, "sync_regs_test")), 1, "expected results of 3 tests, found 2"),
    "another test than the chosen one: fail": (Ask(wanted=("kunit", "sync_regs_test")), 1, "^FAIL"),
    "another plan than the chosen tests: fail": (Ask(edit(KTAP, r"^1\.\.2", "1..3")), 1, "^FAIL"),
    "a panic stays a panic, whatever passed":
        (Ask(kernel=["[ 1.0] Kernel panic - not syncing: Attempted to kill init!"]), 255,
         "the kernel panicked: Attempted to kill init"),
    "no kernel log: fail": (Ask(kernel=[""]), 1, "the kernel's log is missing"),
    "a test that prints the end marker does not end the tests":
        (Ask(edit(KTAP, "^snplab: end", r"# \g<0>")), 1, "L1 ended before"),
    "KUnit skipped: no pass":
        (Ask(edit(KTAP, "^ok 1.*", r"\g<0> # SKIP not this tree")), 4, "nothing here tested snp_launch_update_vmsa"),
    "KUnit left out: no pass": (Ask(["1..1", "ok 1 state_test", "snplab: end of tests"], wanted=("state_test",),
                                    settings=asked(untested="this kernel has none")), 4,
                                r"nothing here tested snp_launch_update_vmsa\(\): this kernel has none"),
    "KUnit skipped, the launch test passed: pass":
        (Ask(edit(edit(ALL_PASS, r"^1\.\.1$", "1..2"), "^snplab: end", "ok 2 kunit # SKIP none\n\\g<0>"),
             wanted=(*LAUNCH_TEST, "kunit")), 0, "^PASS"),
    "a banner with a warning in its middle is no report":
        (Ask(kernel=(LINUX, "[    0.1] Spectre V2 : WARNING: see the documentation")), 0, "^PASS"),
    "a driver's line with a warning in its middle is no report":
        (Ask(kernel=(LINUX, "[ 0.1] random: debug warning: not a report")), 0, "^PASS"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results(name: str, verdict: Callable[[Ask], Verdict]) -> None:
    """Each state in which L1 can leave its results."""
    ask, status, pattern = RESULTS[name]
    check(verdict(ask), status, pattern)


@pytest.mark.parametrize("line", [
    "WARNING: possible circular locking dependency detected",
    "WARNING: Nested lock was not taken",
    "WARNING: CPU: 0 PID: 1 at virt/kvm/kvm_main.c:1399 kvm_lock_all_vcpus+0x1/0x2",
    "WARNING: bad unlock balance detected!",
    "BUG: KASAN: slab-use-after-free in sev_es_sync_vmsa+0x1/0x2",
    "BUG: unable to handle page fault for address: ffff888000000000",
    "BUG kmalloc-64 (Not tainted): Redzone overwritten",
    "invalid opcode: 0000 [#1] PREEMPT SMP",
    "INFO: suspicious RCU usage",
    "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks",
    "INFO: task sev_snp_launch:12 blocked for more than 120 seconds.",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "DEBUG_LOCKS_WARN_ON(1)",
    "Oops: Oops: 0003 [#1] PREEMPT SMP",
    "SEV-SNP: Leaking PFN range 0x1234-0x1235",
])
def test_report(line: str, verdict: Callable[[Ask], Verdict]) -> None:
    """A report in the log is a failure although all tests passed, and is shown."""
    given = verdict(Ask(kernel=(LINUX, f"[    1.0] {line}")))
    check(given, 1, r"1 report\(s\) in the kernel")
    assert given.to_json()["reports"] == [f"[    1.0] {line}"]
    assert f"        [    1.0] {line}" in given.lines()


def test_json_is_whole(verdict: Callable[[Ask], Verdict], tmp_path: Path) -> None:
    """The JSON beside the logs equals that of --json, and begins with the version."""
    verdict(Ask()).write(tmp_path / "json")
    data = json.loads((tmp_path / "json").read_text(encoding="utf-8"))
    assert next(iter(data)) == "version"
    assert data["exit"] == 0 and [t["name"] for t in data["tests"]] == list(BOTH)
    assert data == json.loads((tmp_path / "logs/verdict.json").read_text(encoding="utf-8"))


# --- Known failures -------------------------------------------------------------------------------------------------

SECOND = "sev_snp_launch_test a.second: known failure: not backported"
SAYS = "\tsays: vCPU [0-9]+: said"
LISTED = ("# a list", SECOND, SAYS)
WHOLE = "sev_snp_launch_test: known failure: all of it"
# A second program, with a case that fails.
OTHER = edit(ALL_PASS, "^snplab: end", "# Subtest: dev_test\n# TAP version 13\n# 1..1\n# # vCPU 1: said why\n"
             "# not ok 1 b.first\nnot ok 2 dev_test # exit status 1\n\\g<0>")
TWO = edit(OTHER, r"^1\.\.1$", "1..2")
BELOW = "dev_test b.first: known failure: not backported"
CASES = {
    "all cases pass: pass, and counted": (ALL_PASS, (), 0, r"^PASS: .*the launch test: 3 of 3 cases passed\)"),
    "a case fails: fail, with what it said": (LAUNCH, (), 1, "^ *not ok: a.second: vCPU 1: said why"),
    "a case that is known to fail: pass, and shown":
        (LAUNCH, LISTED, 0, "^PASS: .*2 of 3 cases passed, 1 known to fail"),
    "a known failure is shown with its reason": (LAUNCH, LISTED, 0, "^ *known failure: a.second: not backported"),
    "a case that is known to fail passes: fail": (ALL_PASS, LISTED, 1, "a.second: passes, but is listed as known to fail"),
    "a known failure and another one: fail": (edit(LAUNCH, "^# ok 3", "# not ok 3"), LISTED, 1, "not ok: a.third"),
    "a known failure for another reason: fail":
        (edit(LAUNCH, "said why", "did other things"), LISTED, 1, "but not in this way: expected"),
    "a known failure's words come before the case begins: fail":
        (edit(LAUNCH, "^# not ok 2", r"# #  RUN  a.second\n\g<0>"), LISTED, 1, "but not in this way: expected"),
    "a known failure whose entry has no words: fail, as in lab/hw.sh":
        (LAUNCH, (SECOND,), 1, "known to fail, but the list has no \"says:\" for it: vCPU 1: said why"),
    "a known failure, then the program is killed: fail":
        (edit(LAUNCH, "# exit status 1", "# killed by signal 9"), LISTED, 1, "killed by signal"),
    "a known failure, and a time-out: a time-out":
        (edit(LAUNCH, "# exit status 1", "# TIMEOUT no end"), LISTED, 124, "^TIMEOUT"),
    "a case is missing: fail": (without(ALL_PASS, "a.third"), (), 1, "expected results of 3 cases, found 2"),
    "a case too few, with a known failure: fail":
        (without(LAUNCH, "a.third"), LISTED, 1, "expected results of 3 cases, found 2"),
    "a whole test that is known to fail prints other words: fail":
        (WITHOUT_CASES, (WHOLE, "\tsays: no such"), 1, "known to fail, but not in this way: expected"),
    "a whole test that is known to fail: pass": (WITHOUT_CASES, (WHOLE, "\tsays: said why"), 0, "^PASS: .* 1 passed"),
    "a case that is known to fail is missing: fail":
        (LAUNCH, (SECOND, SAYS, "sev_snp_launch_test a.fourth: known failure: renamed", "\tsays: x"), 1,
         "has no such case: a.fourth"),
    "a launch test without a case: fail":
        (without(ALL_PASS, r"^# ok|^# not ok|^# 1\.\."), (), 1, "expected cases of the launch test, found none"),
}


COUNTS = {
    "of the other program": (TWO, (BELOW, SAYS), "the launch test: 3 of 3 cases passed; other programs: 1 known to fail", 1),
    "of both": (edit(edit(TWO, "^# ok 2 (.*)", r"# # vCPU 0: said\n# not ok 2 \1"), "^ok 1 (.*)",
                     r"not ok 1 \1 # exit status 1"),
                (SECOND, SAYS, BELOW, SAYS),
                "the launch test: 2 of 3 cases passed, 1 known to fail; other programs: 1 known to fail", 2),
}


@pytest.mark.parametrize("name", COUNTS)
def test_known_failures_are_counted_where_they_belong(name: str, verdict: Callable[[Ask], Verdict]) -> None:
    """The launch test's beside its cases, those of other programs by themselves; the JSON has all of them."""
    ktap, listed, said, known = COUNTS[name]
    given = verdict(Ask(ktap, wanted=(*LAUNCH_TEST, "dev_test"), expect=listed))
    check(given, 0, rf"^PASS: t on linux 1\.2\.3: 2 passed, 0 failed, 0 skipped \({re.escape(said)}\); ")
    assert given.to_json()["known_failures"] == known


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str, verdict: Callable[[Ask], Verdict]) -> None:
    """The cases of a program, with some known failures."""
    ktap, expect, status, pattern = CASES[name]
    check(verdict(Ask(ktap, wanted=LAUNCH_TEST, expect=expect)), status, pattern)


def test_tree_ahead_of_the_list(verdict: Callable[[Ask], Verdict]) -> None:
    """A known failure passes on a tree that may be newer than the list: pass."""
    check(verdict(Ask(ALL_PASS, wanted=LAUNCH_TEST, expect=LISTED, settings=asked(may_pass=True))), 0, "^PASS")


@pytest.mark.parametrize("line", ["KVM_RUN did not return within 9 s: stuck",
                                  "process 7 cannot be killed, and is left behind:",
                                  "not run: 3 are stuck", "its thread is gone, see the kernel's log",
                                  "expected it to block, but it returned", "stopped waiting after 9 s"])
def test_never_known(line: str, verdict: Callable[[Ask], Verdict]) -> None:
    """A known failure that also hangs counts as a failure."""
    ktap = edit(LAUNCH, "^# # vCPU 1: said why", rf"\g<0>\n# # vCPU 1: {line}")
    check(verdict(Ask(ktap, wanted=LAUNCH_TEST, expect=LISTED)), 1, "not ok: a.second: known to fail, but not in this way")


def test_list_that_is_none(verdict: Callable[[Ask], Verdict]) -> None:
    """A list of known failures with a malformed line is refused as a whole."""
    with pytest.raises(Stop, match=r'expected "TEST\[ CASE\]: known failure: REASON"'):
        verdict(Ask(LAUNCH, wanted=LAUNCH_TEST, expect=("no such form",)))


@pytest.mark.parametrize("line, found", [
    ("says: (open", "expected an extended regular expression after \"says:\", found \\(open: missing"),
    (r"says: \d+ errors", "found .*: Python and grep -E read it differently"),
    ("says: (?:a|b)", "Python and grep -E read it differently"),
    ("says: [[:digit:]]", "Python and grep -E read it differently"),
    ("says: ", "it is empty"), ("say: x", "expected \"says: …\" or")])
def test_list_with_what_is_no_expression(line: str, found: str, verdict: Callable[[Ask], Verdict]) -> None:
    """An invalid expression is refused: Python and lab/hw.sh's grep -E both read the list."""
    with pytest.raises(Stop, match=found):
        verdict(Ask(LAUNCH, wanted=LAUNCH_TEST, expect=(SECOND, f"\t{line}")))


@pytest.mark.parametrize("picked", ["-t:nothing", "-r:a.nothing"])
def test_no_such_case(picked: str, verdict: Callable[[Ask], Verdict]) -> None:
    """The harness passes if no case has the picked name: the verdict must not."""
    name = f"sync_regs_test:{picked}"
    ktap = ["1..1", f"# Subtest: {name}", "# 1..0", f"ok 1 {name}", "snplab: end of tests"]
    check(verdict(Ask(ktap, wanted=(name,))), 1, "expected the case that --test names, found no case")


def test_one_case_of_the_launch_test(verdict: Callable[[Ask], Verdict]) -> None:
    """With a case picked, other cases in the list may be missing."""
    name = "sev_snp_launch_test:-t:first"
    ktap = ["1..1", f"# Subtest: {name}", "# 1..1", "# ok 1 a.first", f"ok 1 {name}", "snplab: end of tests"]
    check(verdict(Ask(ktap, wanted=(name,), expect=LISTED)), 0, r"^PASS: .*\(the launch test: 1 of 1 cases passed\)")


# --- The emulated host ----------------------------------------------------------------------------------------------

NO_ERROR = counted(0, vmrun=0)
UNUSABLE = "[ 2.4] kvm_amd: SEV-SNP unusable (ASIDs 0 - 0)"
LEFT = NO_ERROR.replace('"rmp-assigned": 0', '"rmp-assigned": 3')
UNCOUNTED = NO_ERROR.replace('"rmp-assigned": 0, ', "")
CONTEXT = NO_ERROR.replace('"rmp-firmware": 0', '"rmp-firmware": 1')
SKIPPED_CASE = edit(ALL_PASS, "^# ok 2 a.second", r"\g<0> # SKIP no SNP")
SKIPPED_ALONE = edit(without(ALL_PASS, r"^# ok|^# not ok|^# 1\.\."), "^ok 1.*", r"\g<0> # SKIP KVM has no SNP VMs")
SKIPPED_TEST = edit(edit(SKIPPED_ALONE, r"^1\.\.1$", "1..2"), "^snplab: end", "ok 2 state_test\n\\g<0>")
HOST_LOG = ("hpet: not this", "amd-snp: firmware: nor this", "amd-snp: vmrun: page 0x1234 is no VMSA")


def emulated(host: str | None, *, provoked: dict[str, int | None] | None = None, **more: Any) -> Ask:
    """A question on a boot of the emulated host, with a kernel that must be an SNP host."""
    settings = more.pop("settings", asked(emulated=True, snp=True, provoked=provoked or {}))
    return replace(Ask(kernel=SNP_HOST, host=host, settings=settings), **more)


HOST = {
    "no error on the emulated host: pass":
        (emulated(counted(0, firmware=0, vmrun=0)), 0, "^PASS: .*no error on the emulated host"),
    "an unexpected error: fail, though all passed":
        (emulated(counted(2, firmware=2, vmrun=0)), 1, r"^ *2 error\(s\) on the emulated host"),
    "an unexpected error is shown with its kind": (emulated(counted(2, firmware=2, vmrun=0)), 1, "^ *firmware: 2$"),
    "an unexpected error is shown with the log's line":
        (emulated(counted(3, vmrun=1, firmware=2), provoked={"firmware": None}, host_log=HOST_LOG), 1,
         r"host\.log:3: amd-snp: vmrun: page 0x1234 is no VMSA$"),
    "an error that a test provokes: pass, and shown":
        (emulated(counted(2, firmware=2, vmrun=0), provoked={"firmware": None}), 0,
         "^PASS: .*2 error.s. on the emulated host, all provoked"),
    "as many errors as a test provokes: pass":
        (emulated(counted(2, firmware=2), provoked={"firmware": 2}), 0, "2 error.s. on the emulated host, all prov"),
    "more errors than a test provokes: fail":
        (emulated(counted(2, firmware=2), provoked={"vmrun": None, "firmware": 1}), 1,
         "firmware: 2, expected at most 1"),
    "another kind of error than a test provokes: fail":
        (emulated(counted(2, firmware=1, vmrun=1), provoked={"firmware": None}), 1, "^ *vmrun: 1$"),
    "an error of no kind: fail":
        (emulated(counted(3, firmware=1), provoked={"firmware": None}), 1, "guest-errors says 3, its kinds say 1"),
    "the kinds' sum exceeds the total: fail":
        (emulated(counted(1, firmware=2), provoked={"firmware": 2}), 1, "guest-errors says 1, its kinds say 2"),
    "no count of errors: fail": (emulated(None), 1, "expected the emulated host's count of errors, found none"),
    "no count of errors: the reason is shown":
        (emulated('{"ended": "shutdown", "missing": "qom-list: no such object"}'), 1,
         "found none: qom-list: no such object"),
    "an incomplete host.json: fail": (emulated('{"guest-errors": 0'), 1, "host.json is missing or incomplete"),
    "a kernel that is no SNP host: fail": (emulated(NO_ERROR, kernel=(LINUX,)), 1, 'expected "SEV-SNP enabled"'),
    "SNP without an ASID is not enabled":
        (emulated(NO_ERROR, kernel=(LINUX, UNUSABLE)), 1, 'expected "SEV-SNP enabled"'),
    "of a kernel that is no SNP host, the lines on SNP are shown":
        (emulated(NO_ERROR, kernel=(LINUX, UNUSABLE)), 1, r"^ +\[ 2.4\] kvm_amd: SEV"),
    "a kernel without SNP need not be an SNP host":
        (emulated(NO_ERROR, kernel=(LINUX,), settings=asked(emulated=True)), 0, "^PASS"),
    "an RMP entry that stays a guest's: fail": (emulated(LEFT), 1, "found rmp-assigned 3, rmp-firmware 0"),
    "RMP entries were not counted: fail": (emulated(UNCOUNTED), 1, "found rmp-assigned None"),
    "a context page that stays: fail": (emulated(CONTEXT), 1, "rmp-firmware 1$"),
    "a case is skipped on a host that has all it needs: fail":
        (emulated(NO_ERROR, ktap=SKIPPED_CASE, wanted=LAUNCH_TEST), 1, "a.second: skipped, although this host can run it"),
    "a case is skipped that the tree's kernel cannot run, as the list says: pass, and shown":
        (emulated(NO_ERROR, ktap=SKIPPED_CASE, wanted=LAUNCH_TEST, expect=(SECOND, "\tsays: no SNP")), 0,
         "^ *known failure: a.second: not backported"),
    "a case is skipped for another reason than the list says: fail":
        (emulated(NO_ERROR, ktap=SKIPPED_CASE, wanted=LAUNCH_TEST, expect=LISTED), 1,
         "a.second: skipped, although this host can run it: no SNP"),
    "the launch test is skipped on a host that has all it needs: fail":
        (emulated(NO_ERROR, ktap=SKIPPED_TEST, wanted=(*LAUNCH_TEST, "state_test")), 1, "skipped, although this host can"),
    "a case may be skipped on another host": (Ask(SKIPPED_CASE, wanted=LAUNCH_TEST), 0, "^PASS"),
    "a panic stays a panic, counted or not":
        (emulated(None, kernel=["[ 1.0] Kernel panic - not syncing: no"]), 255, "errors on the emulated host not known"),
    "a time-out stays a time-out, and the errors are shown":
        (emulated(counted(1, vmrun=1), timed_out="9"), 124, "^ *vmrun: 1$"),
}


@pytest.mark.parametrize("name", HOST)
def test_host(name: str, verdict: Callable[[Ask], Verdict]) -> None:
    """The emulated host's counts, and whether L1 is an SNP host."""
    ask, status, pattern = HOST[name]
    check(verdict(ask), status, pattern)


def test_host_json(verdict: Callable[[Ask], Verdict]) -> None:
    """The JSON has the host's counts unchanged."""
    data = verdict(emulated(counted(0, firmware=0, vmrun=0))).to_json()
    assert data["snp"] is True and data["host_errors"] == 0 and data["host_errors_unasked"] == 0
    assert data["host"]["statistics"]["rmpupdate"] == 12


def test_host_log_of_no_other_kind(verdict: Callable[[Ask], Verdict]) -> None:
    """The verdict shows only lines of unexpected kinds: none that was provoked, no other message of QEMU."""
    given = verdict(emulated(counted(3, vmrun=1, firmware=2), provoked={"firmware": None}, host_log=HOST_LOG))
    assert_no_line(given.lines(), "this")


def test_host_log_is_cut(verdict: Callable[[Ask], Verdict]) -> None:
    """Of many lines the verdict shows some, and the number of the others."""
    given = verdict(emulated(counted(20, vmrun=20), host_log=["amd-snp: vmrun: no"] * 20))
    assert_line(given.lines(), "and 12 more lines of vmrun in host.log")


# --- Rules and files ------------------------------------------------------------------------------------------------


def test_rules_are_a_list() -> None:
    """Every rule is listed once, and has a docstring that says when it applies."""
    assert RULES == (*DECIDING, *ADDING)
    assert len(set(RULES)) == len(RULES)
    assert [rule.__name__ for rule in RULES if not (rule.__doc__ or "").startswith(("Applies", "Names", "Shows"))] == []


def test_json_to_what_a_link_names(tmp_path: Path) -> None:
    """The JSON goes to the link's target, and the link stays a link."""
    (tmp_path / "link").symlink_to("json")
    (tmp_path / "json").write_text("old")
    write_json(tmp_path / "link", {"a": 1})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "json").read_text(encoding="utf-8")) == {"a": 1}
    assert stat.S_IMODE((tmp_path / "json").stat().st_mode) == 0o644


def test_json_to_a_device_leaves_it_one() -> None:
    """/dev/null stays a device."""
    write_json(Path(os.devnull), {"a": 1})
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
