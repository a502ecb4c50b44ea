# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on boots with an SNP guest: made-up logs with one fault each.

`guest` passes only if L2 was launched, ran, found SEV-SNP active and all its CPUs, and showed a report that the platform
signed, that answers this boot's request and has the measurement of the files launched. Each of these is wrong in one case
here. The verdict explains a hang by lockdep's report, and names no culprit without one. A guest can print anything: its
lines must not decide the verdict.
"""
from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.judge.guest import GuestVerdict, judge_guest
from lab.judge.verdict import BootQuestion
from tests.attest import make
from tests.support.forked import run_forked
from tests.support.front import expect
from tests.support.judge import SNP_ENABLED, assert_line, assert_no_line, edit, without
from tests.support.judge_guest import (APPEND, CASES, ELSEWHERE, LINUX, NONCE, QUIET, Files, hanging_ktap, ktap,
                                       lockdep, write_boot)

ABOUT = "the verdict on boots with an SNP guest: each case, its report, a hang, the host"
LANE = "fast"
NEEDS = ("guest", "attest")
TAKES = 12

Judge = Callable[..., GuestVerdict]


@pytest.fixture(name="files", scope="module")
def fixture_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """L2's files, and keys."""
    return Files.make(tmp_path_factory.mktemp("files"))


@pytest.fixture(name="good", scope="module")
def fixture_good(files: Files) -> list[str]:
    """The KTAP of a boot without a fault."""
    return ktap(files.report())


@pytest.fixture(name="judge")
def fixture_judge(files: Files, tmp_path: Path) -> Judge:
    """judge(lines, launch={...}, kernel=..., host=..., times=...): the verdict."""
    def judge(lines: Sequence[str], launch: dict[str, Any] | None = None, **logs: Any) -> GuestVerdict:
        folder = write_boot(tmp_path / "logs", lines, **logs)
        asked = BootQuestion(folder, "t", "1.2.3", "10", ["snp_guest"], emulated=True, snp=True, shown_logs="LOGS")
        return judge_guest(asked, files.launch(**(launch or {})))
    return judge


def check(given: GuestVerdict, status: int, *patterns: str) -> None:
    """Fails unless the verdict has that exit status and a line for each pattern; "!" before a pattern: no such line."""
    lines = given.lines()
    assert int(given.status.exit) == status, "\n".join(lines)
    assert given.to_json()["exit"] == status
    for pattern in patterns:
        if pattern.startswith("!"):
            assert_no_line(lines, pattern[1:])
        else:
            assert_line(lines, pattern)


# --- The boot that is right -----------------------------------------------------------------------------------------


def test_whole_boot(judge: Judge, good: list[str], files: Files, tmp_path: Path) -> None:
    """Pass, with the times; the JSON has the same, and the files that were booted."""
    given = judge(good)
    check(given, 0,
          r"^PASS: t on linux 1\.2\.3: a shell in an SNP guest of 2 CPUs after 33\.2 s; its report is signed, and has "
          r"the measurement computed here; no report in the kernel's log, no error on the emulated host; logs: LOGS$",
          r"^ +2\.9 s  L1's firmware and kernel$", r"^ +8\.3 s  the guest's kernel, to a shell$",
          r"^ +4\.3 s  power-off  \(at 40\.3 s\)$")
    given.write()
    data = json.loads((tmp_path / "logs/verdict.json").read_text(encoding="utf-8"))
    assert next(iter(data)) == "version"
    assert (data["verb"], data["verdict"], data["exit"], data["tree"]) == ("guest", "pass", 0, "t")
    assert data["problems"] == []
    results = [(case["name"], case["result"]) for case in data["tests"][0]["cases"]]
    assert results == [(f"guest.{case}", "pass") for case in CASES]
    assert len(data["times"]) == 9 and data["times"][-1]["until"] == 40.3 and data["shell_seconds"] == 33.2
    assert abs(sum(row["seconds"] for row in data["times"]) - 40.3) < .1
    attestation = data["attestation"]
    assert attestation["measurement"] == attestation["digest"] == files.digest
    assert [check.split(":")[0] for check in attestation["checks"]] == ["ok"] * 6
    for name, file in (("firmware", "fw"), ("kernel", "kernel"), ("initrd", "initrd")):
        assert attestation[name] == str(files.folder / file)
    assert attestation["append"] == APPEND
    # The run keeps the report beside the logs.
    assert (tmp_path / "logs/report.bin").stat().st_size == 1184
    assert attestation["report"] == str(tmp_path / "logs/report.bin")


def test_the_command_for_the_report(judge: Judge, good: list[str], tmp_path: Path) -> None:
    """It passes on a good boot's report."""
    command = shlex.split(judge(good).to_json()["attestation"]["command"])
    done = run_forked(*command[1:], env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    expect(done, 0, "^PASS: attestation report: 4 checks passed$")


def test_the_command_is_shown_if_the_report_is_wrong(judge: Judge, good: list[str], tmp_path: Path) -> None:
    """And it names the reason: L2 had one CPU more."""
    given = judge(good, {"smp": 3})
    check(given, 1, "^ +to do: look for the reason with ./snplab attest .*/report.bin --vcek .* --smp 3 --cpu ")
    command = shlex.split(given.to_json()["attestation"]["command"])
    done = run_forked(*command[1:], env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    expect(done, 1, "the report's measurement is that of 2 CPUs; you said 3")


# --- A case fails ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False], ids=["the program fails", "whatever its exit status says"])
@pytest.mark.parametrize("case", CASES)
def test_case_fails(case: str, whole: bool, judge: Judge, good: list[str]) -> None:
    """A failed case: fail, with its reason."""
    n = CASES.index(case) + 1
    lines = edit(good, rf"^# ok {n} guest\.{case}$", f"# not ok {n} guest.{case} # for a reason of its own")
    if whole:
        lines = edit(lines, "^ok 1 snp_guest", "not ok 1 snp_guest # exit status 1")
    check(judge(lines), 1, rf"^ +not ok: guest\.{case}: for a reason of its own$", "^FAIL: ", "!its report is signed")


@pytest.mark.parametrize("case", CASES)
def test_case_is_missing(case: str, judge: Judge, good: list[str]) -> None:
    """A missing case, planned or not: fail."""
    lines = without(good, rf"^# ok \d guest\.{case}$")
    check(judge(lines), 1, "expected results of 7 cases, found 6", "^FAIL: ")
    given = judge(edit(lines, r"^# 1\.\.7", "# 1..6"))
    check(given, 1, rf"expected the cases .*guest\.{case}.*, found guest\..*", "^FAIL: ")
    assert given.to_json()["verdict"] == "fail"


def test_no_case(judge: Judge, good: list[str]) -> None:
    """No case: fail."""
    check(judge(without(good, r"^# ok |^# 1\.\.")), 1, "expected the cases .*, found none$")


def test_case_is_skipped(judge: Judge, good: list[str]) -> None:
    """A skipped case: fail."""
    check(judge(edit(good, "^# ok 6 guest.attests", r"\g<0> # SKIP no driver")), 1,
          r"guest\.attests: skipped, although this host can run it: no driver")


def test_ended_in_the_middle(judge: Judge, good: list[str]) -> None:
    """snp_guest ended early: fail, and no shell."""
    cut = next(i for i, line in enumerate(good) if "shell" in line)
    check(judge(good[:cut], times=""), 1, "L1 ended before its tests did", "^FAIL: .*: no shell in the guest; ")


def test_times_are_not_whole(judge: Judge, good: list[str]) -> None:
    """Incomplete times are no error."""
    check(judge(good, times="init 2.9\nmodules 3.6\nbegin 3"), 0, r"^ +0\.7 s  L1's modules: .* \(at 3\.6 s\)$",
          "^PASS: .*: no shell in the guest")


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"], ids=ascii)
def test_line_within_a_line(end: str, judge: Judge, good: list[str]) -> None:
    """Other line ends in a line of the guest do not split it."""
    lines = edit(without(good, "^# ok 5"), "snplab: cpus 2", f"\\g<0>{end}# ok 5 guest.has_all_cpus")
    check(judge(lines), 1, "expected results of 7 cases, found 6")


def test_results_on_the_console(judge: Judge, good: list[str]) -> None:
    """A result that the guest prints does not count."""
    lines = edit(good, r"^# \| .*log: .*", "\\g<0>\n# | [33.80] ok 1 guest.runs\n# | [33.81] not ok 2 snp_guest\n"
                                           "# | [33.82] # event end 1.0")
    check(judge(lines), 0, "^PASS")


# --- An initrd of the user's ----------------------------------------------------------------------------------------


def own_ktap(last: str) -> list[str]:
    """The KTAP of a boot with an initrd of the user's, whose last case has this name."""
    whole = ktap(b"")
    return [*whole[:whole.index("# ok 1 guest.is_launched") + 1], "# | [12.10] systemd[1]: hello", "# ok 2 guest.runs",
            f"# ok 3 guest.{last}", "# qemu: ended with status 0", "# event end 13.02", "# snp_guest took 10.0 s",
            "ok 1 snp_guest", "snplab: end of tests"]


@pytest.mark.parametrize(("last", "until"), [("powers_off", ""), ("says", "login:")])
def test_own_initrd(last: str, until: str, judge: Judge, files: Files) -> None:
    """Its boot passes without a report, and the verdict says which measurement a report must have."""
    given = judge(edit(own_ktap(last), r"^# 1\.\.7", "# 1..3"), {"own": True, "until": until})
    check(given, 0, "^PASS: .*an SNP guest of 2 CPUs with an initrd of yours, which was not asked for a report; it must "
          f"have the measurement {files.digest}; ", "!its report is signed", "!no shell")
    assert given.to_json()["attestation"]["digest"] == files.digest
    assert given.to_json()["attestation"]["measurement"] is None


@pytest.mark.parametrize(("last", "until"), [("says", ""), ("powers_off", "login:")])
def test_own_initrd_with_another_case(last: str, until: str, judge: Judge) -> None:
    """Its last case is the one that was asked for: fail otherwise."""
    check(judge(edit(own_ktap(last), r"^# 1\.\.7", "# 1..3"), {"own": True, "until": until}), 1,
          rf"expected the cases .*, found guest\.is_launched, guest\.runs, guest\.{last}$", "^FAIL: ")


def test_own_initrd_is_not_the_labs(judge: Judge) -> None:
    """Without such an initrd, these three cases do not pass for the lab's seven: fail."""
    check(judge(edit(own_ktap("powers_off"), r"^# 1\.\.7", "# 1..3")), 1, "expected the cases .*guest.attests", "^FAIL: ")


# --- The report -----------------------------------------------------------------------------------------------------

OTHERS = {"kernel": {"kernel": "kernel2"}, "initrd": {"initrd": "initrd2"}, "command line": {"append": "console=hvc0"},
          "number of CPUs": {"smp": 3}}


@pytest.mark.parametrize("what", OTHERS)
def test_another_was_measured(what: str, judge: Judge, good: list[str], files: Files) -> None:
    """The report measures another kernel, initrd, …: fail."""
    given = judge(good, OTHERS[what])
    check(given, 1, f"^ +not ok: measurement: expected [0-9a-f]{{96}}, found {files.digest}$", "^FAIL: ",
          "!its report is signed", "!^ +ok: ")
    data = given.to_json()
    assert data["verdict"] == "fail"
    assert data["attestation"]["measurement"] == files.digest != data["attestation"]["digest"]


def test_another_nonce(judge: Judge, files: Files) -> None:
    """The report answers another request: only that check fails."""
    check(judge(ktap(files.report(nonce=NONCE.replace("0", "1", 1)))), 1,
          "^ +not ok: report data: expected 3031.*, found 3131", "^FAIL: ", "!not ok: (measurement|signature)")


def test_another_key(judge: Judge, files: Files) -> None:
    """Another key signed the report: only that check fails."""
    check(judge(ktap(files.report("stranger"))), 1,
          r"^ +not ok: signature: expected one by the key in .*vcek\.pem", "!not ok: (measurement|report data)")


def test_flipped_bit(judge: Judge, files: Files) -> None:
    """A flipped bit in the report: fail."""
    check(judge(ktap(make.flip(files.report(), 0x100))), 1, "^ +not ok: signature: ")


def report_lines(lines: Sequence[str]) -> list[int]:
    """The indexes of the report's lines."""
    return [i for i, line in enumerate(lines) if "report: | " in line]


def changed(lines: Sequence[str], pattern: str, replacement: str) -> list[str]:
    """The KTAP with another line in the middle of the report."""
    i = report_lines(lines)[8]
    return [*lines[:i], re.sub(pattern, replacement, lines[i]), *lines[i + 1:]]


def test_report_is_short(judge: Judge, files: Files) -> None:
    """The report lacks a byte: fail."""
    check(judge(ktap(files.report()[:1183])), 1,
          "expected an attestation report, found none: the 21 lines that the guest printed have 1183 bytes, a "
          "report has 1184", "^FAIL")


def test_first_line_of_the_report_is_missing(judge: Judge, good: list[str]) -> None:
    """The rest of a report must not pass for one: fail."""
    i = report_lines(good)[0]
    lines = without([*good[:i], *good[i + 1:]], "report: end")
    check(judge(lines), 1, "the 20 lines that the guest printed have 1127 bytes, a report has 1184")


def test_message_instead_of_a_line(judge: Judge, good: list[str]) -> None:
    """A message replaces a line of the report: fail."""
    check(judge(changed(good, r"\| [^|]*$", "| [34.4] random: crng init done")), 1,
          "the 20 lines that the guest printed have 1127 bytes")


@pytest.mark.parametrize("replacement", [r"\g<0>?", "\ufffd"], ids=["a character too many", "a character that is none"])
def test_not_base64(replacement: str, judge: Judge, good: list[str]) -> None:
    """The report has a character that is not base64: fail."""
    check(judge(changed(good, ".$", replacement)), 1,
          "the 21 lines that the guest printed are not base64: ")


def test_no_report(judge: Judge, good: list[str], files: Files) -> None:
    """No report: fail, and no measurement."""
    given = judge(without(good, r"snplab: report: \| "))
    check(given, 1, "expected an attestation report, found none: the guest printed none", "^FAIL")
    attestation = given.to_json()["attestation"]
    assert attestation["measurement"] is None and attestation["digest"] == files.digest


def test_no_key(judge: Judge, good: list[str]) -> None:
    """The platform exported no key: fail."""
    check(judge(good, {"key": "nowhere.pem"}), 1, r"nowhere\.pem: No such file", "^FAIL")


def test_no_digest(judge: Judge, good: list[str]) -> None:
    """The firmware's file is no firmware and has no digest: fail."""
    check(judge(good, {"firmware": "kernel"}), 1, "the launch digest could not be computed: ", "^FAIL")


# --- The hang -------------------------------------------------------------------------------------------------------

BLOCKED = (r"^ +blocked in kvm_vcpu_ioctl\(\), where vcpu->mutex is taken: CPU 0/KVM in KVM_RUN, CPU 1/KVM in KVM_RUN$")
NAMED = (r"^ +lockdep: &vcpu->mutex, taken by kvm_lock_all_vcpus\(\), was still held when sev_mem_enc_ioctl\(\) "
         r'released &kvm->lock \(task qemu-system-x86, after the event "finish"\): '
         r"the caller of kvm_lock_all_vcpus\(\) did not unlock it$")
UNKNOWN = "^ +the holder is not known: lockdep has reported nothing, or is not in this kernel$"
OTHER_FORM = "^ +lockdep's report does not have the expected form: see the kernel's log$"
STAMPS = {"as it is": "", "stamped": "[    9.312345] ", "stamped, by whom": "[    9.312345][  T416] "}


def stamped(lines: Sequence[str], stamp: str = STAMPS["stamped"]) -> list[str]:
    """These lines with the kernel's time stamps, at the end of its log."""
    return [LINUX, SNP_ENABLED, *(stamp + line for line in lines)]


@pytest.mark.parametrize("stamp", STAMPS)
@pytest.mark.parametrize("tree", ["6.12.y", "mainline"])
def test_hang(tree: str, stamp: str, judge: Judge) -> None:
    """A hang with lockdep's report: the verdict names the function that did not unlock."""
    given = judge(hanging_ktap(), kernel=stamped(lockdep(tree), STAMPS[stamp]), times="init 2.9\nfinish 5.4\n")
    check(given, 1, r"^ +not ok: guest\.runs: the guest hangs: vCPU threads are blocked", BLOCKED, NAMED,
          "WARNING: Nested lock was not taken", "^FAIL: .*: no shell in the guest; 1 kernel reports")
    assert any("was still held when sev_mem_enc_ioctl()" in problem for problem in given.to_json()["problems"])


def test_hang_without_lockdep(judge: Judge) -> None:
    """A hang without lockdep's report: the verdict names no holder."""
    check(judge(hanging_ktap()), 1, BLOCKED, UNKNOWN)


def test_hang_with_lockdep_off(judge: Judge) -> None:
    """lockdep turned itself off: the verdict says so."""
    check(judge(hanging_ktap(), kernel=stamped(["INFO: lockdep is turned off."])), 1, BLOCKED,
          "^ +the holder is not known: lockdep has reported something else: .*INFO: lockdep is turned off")


def test_hang_with_another_report(judge: Judge) -> None:
    """The verdict shows another report of lockdep's."""
    check(judge(hanging_ktap(), kernel=stamped(["WARNING: lock held when returning to user space!"])), 1, BLOCKED,
          "^ +the holder is not known: lockdep has reported something else: .*WARNING: lock held when returning to user "
          "space!$")


@pytest.mark.parametrize("part", ["is trying to lock", "&vcpu->mutex", "^&kvm->lock", "mutex_unlock"])
def test_hang_with_half_a_report(part: str, judge: Judge) -> None:
    """An incomplete report: the verdict names no holder."""
    check(judge(hanging_ktap(), kernel=stamped(without(lockdep("6.12.y"), part))), 1, BLOCKED, OTHER_FORM,
          "!was still held when")


def test_hang_with_another_mutex(judge: Judge) -> None:
    """A report on another mutex: the verdict names no holder."""
    check(judge(hanging_ktap(), kernel=stamped(edit(lockdep("6.12.y"), "&vcpu->mutex", "&other->lock"))), 1, BLOCKED,
          OTHER_FORM, "!was still held when")


def test_threads_elsewhere(judge: Judge) -> None:
    """Threads that wait elsewhere do not count as blocked on the mutex."""
    check(judge(hanging_ktap(ELSEWHERE), kernel=stamped(lockdep("6.12.y"))), 1, "^FAIL", "!blocked in kvm_vcpu_ioctl",
          "!was still held", "!the holder")


def test_one_thread_of_two(judge: Judge) -> None:
    """The verdict names only the blocked thread, with its ioctl."""
    lines = edit(hanging_ktap(), "(^# thread CPU 0.*)in KVM_RUN, waits for .*", r"\1system call 202 0x7f 0x80 0x0")
    lines = edit(lines, "(^# thread CPU 1.*)KVM_RUN", r"\1KVM_KVMCLOCK_CTRL")
    check(judge(lines), 1, "^ +blocked in .* is taken: CPU 1/KVM in KVM_KVMCLOCK_CTRL$")


def test_report_without_a_hang(judge: Judge, good: list[str]) -> None:
    """lockdep's report without a hang: fail, without a word on threads."""
    check(judge(good, kernel=stamped(lockdep("6.12.y"))), 1, r"1 report\(s\) in the kernel", "^FAIL",
          "!blocked in kvm_vcpu_ioctl")


# --- Kernel and host ------------------------------------------------------------------------------------------------


def test_report_of_the_kernel(judge: Judge, good: list[str]) -> None:
    """A report in the kernel's log: fail."""
    kernel = stamped(["BUG: KASAN: slab-use-after-free in sev_es_sync_vmsa+0x1/0x2"])
    check(judge(good, kernel=kernel), 1, r"^ +1 report\(s\) in the kernel's log:$", "^FAIL: .*1 kernel reports")


def refused(entry: str) -> list[str]:
    """A host.log after a refused VMRUN, with the RMP entry of its VMSA."""
    return ["amd-snp: vmrun: VMRUN on CPU 2: VMSA 0x27609000 for ASID 1: RMP entry is not that of a mutable 4 KB "
            f"VMSA page of that ASID ({entry})"]


def test_destroyed_vmsa(judge: Judge, good: list[str]) -> None:
    """VMRUN of a page that is a VMSA no more: the verdict names the known race."""
    check(judge(good, host_log=refused("0x400800001ef6d001")), 0,
          r"^ +CPU 2 of L1: KVM ran a vCPU with page 0x27609000, .* 309d28576f0a ")


@pytest.mark.parametrize("entry", ["0x0", "0x600800001ef6d001", "0x000800001ef6d001", "0x400800001ef6d000"])
def test_other_refusals(entry: str, judge: Judge, good: list[str]) -> None:
    """VMRUN with another entry does not match that race."""
    check(judge(good, host_log=refused(entry)), 0, "!309d28576f0a")


def test_no_snp_host(judge: Judge, good: list[str]) -> None:
    """L1 is no SNP host: fail."""
    check(judge(good, kernel=[LINUX]), 1, 'expected "SEV-SNP enabled" in the kernel')


def test_no_kernel_log(judge: Judge, good: list[str]) -> None:
    """No kernel's log: fail."""
    check(judge(good, kernel=[]), 1, "the kernel's log is missing")


def test_error_on_the_host(judge: Judge, good: list[str]) -> None:
    """An error on the emulated host: fail."""
    host = QUIET.replace('"guest-errors": 0', '"guest-errors": 1').replace('"vmrun": 0', '"vmrun": 1')
    check(judge(good, host=host, host_log=["amd-snp: vmrun: page 0x1234 is no VMSA"]), 1,
          r"1 error\(s\) on the emulated host", r"host\.log:1: amd-snp: vmrun: page 0x1234", "^FAIL: .*1 error.s. on the")


def test_uncounted(judge: Judge, good: list[str]) -> None:
    """The emulated host's counts are missing: fail."""
    check(judge(good, host=None), 1, "expected the emulated host's count of errors, found none")


@pytest.mark.parametrize("entry", ["rmp-assigned", "rmp-firmware"])
def test_rmp_entries_left(entry: str, judge: Judge, good: list[str]) -> None:
    """RMP entries are left at the end: fail."""
    check(judge(good, host=QUIET.replace(f'"{entry}": 0', f'"{entry}": 3')), 1,
          f"expected every RMP entry to belong to the hypervisor .*{entry} 3")


def test_panic(judge: Judge, good: list[str]) -> None:
    """The verdict is panic, and reports are not judged."""
    given = judge(good, kernel=stamped(["Kernel panic - not syncing: Fatal exception"]))
    check(given, 255, "the kernel panicked: Fatal exception", "^PANIC: ", "!its report is signed")
    data = given.to_json()
    assert (data["verdict"], data["exit"], data["attestation"]) == ("panic", 255, {})


def test_time_out(judge: Judge, good: list[str]) -> None:
    """The boot timed out: before the program's end, or after it."""
    check(judge(good[:-1], timed_out="600"), 124, "no end within 600 s", "^TIMEOUT: ")
    check(judge(good, timed_out="60"), 124, "L1 did not power off within 60 s after its tests", "^TIMEOUT: ")


def test_time_out_of_the_program(judge: Judge, good: list[str]) -> None:
    """The program timed out in L1."""
    check(judge(edit(good, "^ok 1 snp_guest", "not ok 1 snp_guest # TIMEOUT no end within 600 s")), 124, "^TIMEOUT: ")
