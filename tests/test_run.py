# SPDX-License-Identifier: GPL-2.0-only
"""The main job on both trees: all programs but those that take minutes, in one boot for each tree.

A wrong verdict is worse than none. So the test checks the pass in the text, in the JSON and in the exit status. The kernel
must be an SNP host and print exactly the messages of one. Every program must have run and have the result expected of it,
and a known failure must have the reason given. The emulated host must have counted exactly the errors that the programs
provoke.
"""
from __future__ import annotations

import json
import re
import resource
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.judge.cases import KUNIT, LAUNCH_TEST
from lab.judge.expect import KnownFailures, read_known
from lab.judge.ktap import Result, TestResult
from lab.judge.logs import BootLogs
from lab.judge.programs import CasesBy, Origin, When, all_programs, pick, provoked_by
from lab.patches.series import series_dir
from tests.support.front import Done, expect, run_snplab
from tests.support.l1 import BUILD_LIMIT, said_by, shown, why_no_end

ABOUT = "run --test '*' on both trees: verdict, each program's result, messages of kernel and emulated host"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
# With an empty cache it takes 600: it builds a kernel for each tree.
TAKES = 120

TREES = ("6.12.y", "mainline")
PICKED = pick("*")
NAMES = [picked.program.name for picked in PICKED]
# These have cases that can be picked, and so be known to fail.
WITH_CASES = [picked.program.name for picked in PICKED if picked.program.cases_by is CasesBy.HARNESS]
# A kernel prints every one of these lines on SEV, SNP, the RMP and the PSP before it runs a program …
MUST_SAY = (
    r"SEV-SNP: RMP table physical range \[0x[0-9a-f]{16} - 0x[0-9a-f]{16}\]",
    r"SEV-SNP: Reserving start/end of RMP table on a 2MB boundary \[0x[0-9a-f]{16}\]",
    r"AMD-Vi: IOMMU SNP support enabled\.",
    r"AMD-Vi: Extended features .* SNP",
    r"ccp [0-9a-f:.]+: sev enabled",
    r"ccp [0-9a-f:.]+: psp enabled",
    r"ccp [0-9a-f:.]+: SEV API:1\.[0-9]+ build:[0-9]+",
    r"ccp [0-9a-f:.]+: SEV-SNP API:1\.[0-9]+ build:[0-9]+",
    r"kvm_amd: SEV enabled \(ASIDs 100 - 509\)",
    r"kvm_amd: SEV-ES enabled \(ASIDs 1 - 99\)",
    r"kvm_amd: SEV-SNP enabled \(ASIDs 1 - 99\)",
)
# … and may print these: lines on the end of the programs' guests and on their malformed requests, and lines that are not
# about SNP.
MAY_SAY = (
    r"kvm_amd: SEV-ES guest requested termination: 0x[0-9a-f]+:0x[0-9a-f]+",
    r"kvm_amd: (kvm \[[0-9]+\]: vcpu[0-9]+, guest rIP: 0x[0-9a-f]+ )?vmgexit: .*",
    r"kvm_amd: set kvm_amd\.dump_invalid_vmcb=1 to dump internal KVM state\.",
    # The dump that sev_snp_ghcb_test asks for. 6.12.y does not say "snapshot".
    r"kvm_amd: GHCB \(GPA=[0-9a-f]{16}\)( snapshot)?:",
    r"kvm_amd: sw_(exit_code|exit_info_[12]|scratch) +[0-9a-f]{16} is_valid: [01]",
    r"kvm_amd: valid_bitmap +[0-9a-f]{8}(,[0-9a-f]{8})*",
    r"kvm_amd: (Nested Virtualization enabled|Nested Paging (en|dis)abled|TSC scaling supported|"
    r"LBR virtualization supported|Virtual (GIF|VMLOAD VMSAVE|NMI) (en|dis)abled|PMU virtualization is disabled)",
    r"(Linux version|Command line:|Kernel command line:) .*",
    r" *#.*", r" *(not )?ok [0-9].*",
)
ABOUT_SNP = re.compile("SEV|SNP|RMP|PSP|psp|ccp|kvm_amd")
# On two idle cores the quick programs take 14 s once everything is built, and L1's init starts within 3 s. Processor time
# is the same on a busy machine.
QUICK_LIMIT, INIT_LIMIT = 90, 20
VCPUS = (1, 2, 8, 64)


@dataclass(frozen=True)
class Run:
    """One run, and what it has left."""

    tree: str
    done: Done
    data: dict[str, Any]
    logs: BootLogs
    known: KnownFailures

    def test(self, name: str) -> dict[str, Any]:
        """A program's part of the JSON."""
        found: dict[str, Any] = next((test for test in self.data["tests"] if test["name"] == name), {})
        return found

    def raw(self, name: str) -> TestResult:
        """A program's result as it reported it: a known failure is a failure here."""
        found = self.logs.test(name)
        assert found is not None, f"{name} has no result: {why_no_end(self.logs)}"
        return found

    def said(self) -> list[str]:
        """The kernel's lines on SEV, SNP, the RMP and the PSP, without time stamps."""
        return [re.sub(r"^\[[^]]*\] *", "", line) for line in self.logs.kernel.lines if ABOUT_SNP.search(line)]


@pytest.fixture(scope="module", name="run", params=TREES)
def fixture_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run on both trees: one boot each, with all programs."""
    tree = str(request.param)
    result = tmp_path_factory.mktemp(tree) / "json"
    done = run_snplab("run", "--tree", tree, "--test", "*", "--json", result, timeout=BUILD_LIMIT)
    assert result.stat().st_size, f"no JSON:\n{done.output[-4000:]}"
    data = json.loads(result.read_text(encoding="utf-8"))
    assert "logs" in data, f"no verdict:\n{done.output[-4000:]}"
    return Run(tree, done, data, BootLogs.read(Path(data["logs"])), read_known(series_dir(tree) / "expect"))


# --- What the user sees --------------------------------------------------------------------------


def test_exit_status(run: Run) -> None:
    """The exit status is that of a pass."""
    expect(run.done, 0)


def test_last_line_is_the_verdict(run: Run) -> None:
    """The last line has the verdict and the logs' folder."""
    last = run.done.output.splitlines()[-1]
    assert re.search(rf"^PASS: {re.escape(run.tree)} on linux [0-9.]+: .*logs: ", last), last


def test_first_line_comes_before_any_work(run: Run) -> None:
    """A line appears before any work, so that no user waits in silence."""
    assert run.done.output.startswith("snplab run: ")


def test_steps_have_their_times(run: Run) -> None:
    """Each step's line ends with seconds."""
    assert re.search(r"^\[[0-9]+/[0-9]+\] build linux [0-9.]+ … [0-9]+ s$", run.done.output, re.M)


def test_ktap_is_shown(run: Run) -> None:
    """Each result is shown when it comes."""
    assert re.search("^ok 1 kunit", run.done.output, re.M)


def test_json_verdict(run: Run) -> None:
    """The JSON has the same verdict, QEMU's version, and no kernel report."""
    assert (run.data["version"], run.data["verdict"], run.data["exit"]) == (1, "pass", 0)
    assert run.data["qemu"].startswith("10.0.")
    assert run.data["reports"] == []


# --- Programs and their cases --------------------------------------------------------------------


def test_end(run: Run) -> None:
    """L1 ran each chosen program in the list's order, and came to its end."""
    assert why_no_end(run.logs) == ""
    assert [test.name for test in run.logs.ktap.tests] == NAMES
    assert {program.name for program in all_programs()
            if program.origin is Origin.UPSTREAM and program.when is not When.NAMED} < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_program(name: str, run: Run) -> None:
    """Each program passes, or fails as known with the words in the list."""
    print(*(line for line in said_by(run.logs, name) if "median ratio" in line), sep="\n")
    assert run.test(name).get("result") == "pass", shown(run.logs, name)
    if run.known.cases_of(name):
        # Another test checks its cases.
        return
    known = run.known.of(name, None)
    if known is None:
        assert run.raw(name).result is Result.PASS, shown(run.logs, name)
        return
    # If a known failure passes, the kernel may be fixed: then remove it from the list.
    assert run.raw(name).result is Result.FAIL, f"{known.reason}: expected it to fail as known"
    assert known.says is not None
    assert [line for line in said_by(run.logs, name) if re.search(f"^# .*{known.says}", line)], shown(run.logs, name)


def test_nothing_is_skipped(run: Run) -> None:
    """No program and no case is skipped: the host has what each needs."""
    tests = run.data["tests"]
    assert [test["name"] for test in tests if test["result"] == "skip"] == []
    assert [case["name"] for test in tests for case in test["cases"] if case["result"] == "skip"] == []


@pytest.mark.parametrize("name", WITH_CASES)
def test_cases(name: str, run: Run) -> None:
    """Each case passes or is a known failure, and the list has as many known failures."""
    cases = Counter(case["result"] for case in run.test(name)["cases"])
    assert cases.keys() <= {"pass", "known-failure"}
    assert cases["pass"] > 0
    assert cases["known-failure"] == len(run.known.cases_of(name))


@pytest.mark.parametrize("vcpus", VCPUS)
def test_guest_is_launched_and_run(vcpus: int, run: Run) -> None:
    """Exactly one case launches a guest with that many vCPUs."""
    name = re.compile(rf"[^0-9]{vcpus}(_vcpus?)?\.finish_then_run")
    assert [case["result"] for case in run.test(LAUNCH_TEST)["cases"] if name.search(case["name"])] == ["pass"]


def test_kunit_ran_the_suite_of_the_function(run: Run) -> None:
    """The output names the suite."""
    assert [line for line in said_by(run.logs, KUNIT) if "kvm_sev_snp_launch_finish" in line]


# --- The kernel under test -----------------------------------------------------------------------


@pytest.mark.parametrize("pattern", MUST_SAY)
def test_kernel_says(pattern: str, run: Run) -> None:
    """The kernel prints each of these lines as an SNP host."""
    assert [line for line in run.said() if re.fullmatch(pattern, line)], "\n".join(run.said()[:30])


def test_kernel_says_nothing_else(run: Run) -> None:
    """The kernel prints no other line on SEV, SNP, the RMP or the PSP."""
    known = re.compile("|".join(f"(?:{pattern})" for pattern in (*MUST_SAY, *MAY_SAY)))
    assert Counter(line for line in run.said() if not known.fullmatch(line)) == Counter()


def test_kernel_is_an_snp_host(run: Run) -> None:
    """The judge recognizes the SNP host in the kernel's log."""
    assert run.data["snp"] is True


def test_kernel_reports_nothing(run: Run) -> None:
    """The log has neither a report nor a panic, and lockdep was on."""
    assert (run.logs.kernel.matches, run.logs.kernel.panic) == ([], None)
    assert [line for line in run.logs.kernel.lines if "Lock dependency validator" in line]


# --- The emulated host ---------------------------------------------------------------------------


def test_host_errors(run: Run) -> None:
    """Exactly the errors that programs provoke: three invalid ID blocks of the launch test, sev_dev_test's key that is none,
    sev_snp_ghcb_test's requests for a report that are not encrypted, and snp_ap_test's RMPADJUST for a VMPL that does not
    exist. Only 6.12.y executes VMRUN without a VMSA; it lacks the exit before one of the requests."""
    wanted = provoked_by(NAMES)
    errors = {kind: n for kind, n in run.data["host"]["errors"].items() if n}
    vmruns, most = errors.pop("vmrun", 0), wanted.pop("vmrun")
    assert vmruns in (range(1, most + 1) if run.tree == "6.12.y" else (0,)), "\n".join(run.logs.host.log[:15])
    assert wanted == {"firmware": 17, "guest-insn": 1}
    wanted["firmware"] -= run.tree == "6.12.y"
    assert errors == wanted, "\n".join(run.logs.host.log[:15])


def test_no_rmp_entry_is_left(run: Run) -> None:
    """At the end no RMP entry is a guest's or the firmware's."""
    statistics = run.data["host"]["statistics"]
    assert (statistics["rmp-assigned"], statistics["rmp-firmware"]) == (0, 0)


def test_host_did_what_a_launch_takes(run: Run) -> None:
    """The host counted RMP updates, firmware commands and entries of SEV guests."""
    statistics = run.data["host"]["statistics"]
    assert min(statistics[name] for name in ("rmpupdate", "commands", "vmrun-sev")) > 0


# --- The quick programs --------------------------------------------------------------------------


def processor_time() -> float:
    """The processor time of this process's ended children and of their children, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_quick() -> None:
    """Without --test the quick programs run, in seconds once everything is built. A first run may have to build."""
    for _ in range(2):
        begin = processor_time()
        done = run_snplab("run", timeout=BUILD_LIMIT)
        took = processor_time() - begin
        expect(done, 0, "^PASS: 6.12.y on linux .*: [0-9]+ passed, 0 failed, 0 skipped .*; no report .*, "
                        "3 error.s. on the emulated host, all provoked by tests")
        if took <= QUICK_LIMIT:
            break
    print(f"{took:.0f} s of processor time")
    assert took <= QUICK_LIMIT, f"took {took:.0f} s of processor time, expected at most {QUICK_LIMIT}"
    started = re.search(r"^# linux .*, init after ([0-9.]+) s", done.output, re.M)
    assert started and float(started[1]) <= INIT_LIMIT, done.output[-2000:]
