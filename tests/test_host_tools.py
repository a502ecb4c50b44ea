# SPDX-License-Identifier: GPL-2.0-only
"""The programs in host/tests notice each kind of failure; this file tests them without a QEMU.

host/tests/cpu/run reads the TAP of a kernel that may crash at any line, and host/tests/soak counts flakes in hundreds of
boots that nobody watches: nobody would find an error that they overlook. tests/support/tap.py reads the TAP of C tests for
`check`, and tests/support/host_steps.py the lines of a boot with several kernels.
"""
from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from lab.judge.logs import BootLogs
from tests.support.front import TOP
from tests.support.host_steps import Expected, Line, faults, is_trouble, kernels_of
from tests.support.tap import TapCase, TapRun, run_tap

ABOUT = "host/tests/cpu/run, host/tests/soak and the readers of TAP and of kernels notice each kind of failure"
LANE = "fast"
NEEDS = ()
TAKES = 4


def program(name: str) -> ModuleType:
    """Loads a program of host/tests as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("/", "_"), str(TOP / "host/tests" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses looks its module up in sys.modules.
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


# --- host/tests/cpu/run --------------------------------------------------------------------------

CPU = program("cpu/run")
CLEAN = ("SNP_MACHINE", "SNP_CPU", "SNP_DEVICES", "SNP_SECONDS", "SNP_SEED")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CLEAN:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("lines, status, passed", [
    pytest.param(("TAP version 13", "ok 1 a", "ok 2 b", "1..2"), 0, True, id="all pass"),
    pytest.param(("ok 1 a", "not ok 2 b", "1..2"), 0, False, id="one fails"),
    pytest.param(("ok 1 a", "1..2"), 0, False, id="fewer than planned"),
    pytest.param(("ok 1 a", "ok 2 b", "1..1"), 0, False, id="more than planned"),
    pytest.param(("1..0",), 0, False, id="none planned"),
    pytest.param(("ok 1 a",), 0, False, id="no plan"),
    pytest.param(("ok 1 a", "1..1"), 1, False, id="QEMU fails"),
    pytest.param(("ok 1 a", "1..1"), 124, False, id="the time limit")])
def test_cpu_run_judges(lines: tuple[str, ...], status: int, passed: bool) -> None:
    assert CPU.judge(CPU.Mode.TEST, list(lines), status) is passed


@pytest.mark.parametrize("lines, status, passed", [
    (("# ratio 0.97",), 0, True), (("# ratio 0.97",), 1, False), ((), 0, False)],
    ids=["a ratio", "QEMU fails", "none"])
def test_cpu_run_judges_a_bench(lines: tuple[str, ...], status: int, passed: bool) -> None:
    assert CPU.judge(CPU.Mode.BENCH, list(lines), status) is passed


def test_cpu_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    CPU.judge(CPU.Mode.TEST, ["ok 1 a"], 124)
    assert capsys.readouterr().out == ("# QEMU: expected exit status 0, found 124 (time limit)\n"
                                       "# expected a TAP plan, found none: the test kernel stopped after 1 passes\n")


def line_of(*words: str) -> list[str]:
    return list(CPU.qemu_line(CPU.parse(list(words)), Path("kernel.elf")))


def test_cpu_run_with_snp() -> None:
    line = line_of("sh", "-d", "guest_errors")
    assert line[0] == "sh" and line[-4:] == ["-kernel", "kernel.elf", "-d", "guest_errors"]
    assert "q35,amd-snp-host=on" in line and "amd-psp" in line and "amd-iommu" in line
    assert line[line.index("-fw_cfg") + 1] == "name=opt/snp-cpu/bytes,file=bytes" and line.count("-fw_cfg") == 1
    assert "+sev-snp" in line[line.index("-cpu") + 1]


def test_cpu_run_without_snp() -> None:
    line = line_of("--off", "sh")
    assert "q35" in line and not {"amd-psp", "amd-iommu"} & set(line) and "sev" not in line[line.index("-cpu") + 1]
    assert line[line.index("-fw_cfg") + 1] == "name=opt/snp-cpu/off,string=1"


def test_cpu_run_fuzzes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNP_SEED", "7")
    line = line_of("--fuzz", "30", "sh")
    assert line[line.index("-fw_cfg") + 1] == "name=opt/snp-cpu/fuzz,string=7 30"
    assert CPU.parse(["--fuzz", "30", "sh"]).seconds == 120


def test_cpu_run_obeys_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(CLEAN, ("m", "c", "-device q", "9", "1")):
        monkeypatch.setenv(name, value)
    line = line_of("sh")
    assert line[line.index("-machine") + 1:line.index("-machine") + 4] == ["m", "-cpu", "c"]
    assert "q" in line and "amd-psp" not in line and CPU.parse(["sh"]).seconds == 9


@pytest.mark.parametrize("words, status", [
    ((), 2), (("--wrong", "sh"), 2), (("--off",), 2), (("--fuzz",), 2), (("--fuzz", "0", "sh"), 2),
    (("/nowhere/qemu",), 3)],
    ids=["nothing", "an unknown option", "no QEMU", "no seconds", "0 seconds", "no such QEMU"])
def test_cpu_run_usage(words: tuple[str, ...], status: int) -> None:
    with pytest.raises(CPU.Stop) as stop:
        CPU.parse(list(words))
    assert stop.value.status == status


# --- host/tests/soak -----------------------------------------------------------------------------

SOAK = program("soak")
PASSED = ("1..1", "# Subtest: snp_smp_test", "# ok 1 vCPU 6 of 8: 3 rounds", "# ok 2 vCPU 7 of 8: 3 rounds",
          "ok 1 snp_smp_test", "snplab: end of tests")
NO_ERROR = {"guest-errors": 0, "errors": {"rmp": 0, "firmware": 0}}


def logs_of(folder: Path, ktap: tuple[str, ...] = PASSED, kernel: str = "Linux version 6", host: object = NO_ERROR,
            timed_out: str = "") -> BootLogs:
    """Writes a boot's folder and reads it."""
    (folder / "ktap.log").write_text("".join(f"{line}\n" for line in ktap), encoding="utf-8")
    (folder / "kernel.log").write_text(kernel + "\n", encoding="utf-8")
    (folder / "host.json").write_text(json.dumps(host), encoding="utf-8")
    if timed_out:
        (folder / "timed-out").write_text(timed_out, encoding="utf-8")
    return BootLogs.read(folder)


def test_soak_good_boot(tmp_path: Path) -> None:
    assert SOAK.problems(logs_of(tmp_path)) == []


def test_soak_good_launches(tmp_path: Path) -> None:
    ktap = ("1..1", "# Subtest: snp_smp_test:-n:2", "# ok 1 8 vCPUs launched, run, destroyed",
            "# ok 2 8 vCPUs launched, run, destroyed", "ok 1 snp_smp_test:-n:2", "snplab: end of tests")
    assert SOAK.problems(logs_of(tmp_path, ktap)) == []


def test_soak_launch_fails(tmp_path: Path) -> None:
    ktap = tuple(line.replace("# ok 2", "# not ok 2").replace("ok 1 snp", "not ok 1 snp") for line in PASSED)
    assert SOAK.problems(logs_of(tmp_path, ktap)) == ["no launch", "snp_smp_test: fail"]


def test_soak_skipped(tmp_path: Path) -> None:
    ktap = ("1..1", "# Subtest: snp_smp_test", "ok 1 snp_smp_test # SKIP no SNP", "snplab: end of tests")
    assert SOAK.problems(logs_of(tmp_path, ktap)) == ["no launch", "snp_smp_test: skip no SNP"]


def test_soak_no_end(tmp_path: Path) -> None:
    assert SOAK.problems(logs_of(tmp_path, PASSED[:-1])) == ["L1 did not run to its end"]


def test_soak_timed_out(tmp_path: Path) -> None:
    assert SOAK.problems(logs_of(tmp_path, PASSED[:-1], timed_out="150")) == ["no end within 150 s"]


def test_soak_report(tmp_path: Path) -> None:
    assert SOAK.problems(logs_of(tmp_path, kernel="BUG: a report")) == ["BUG: a report"]


def test_soak_panic(tmp_path: Path) -> None:
    assert SOAK.problems(logs_of(tmp_path, kernel="Kernel panic - not syncing: x")) == ["panic: x"]


def test_soak_error_on_the_host(tmp_path: Path) -> None:
    found = SOAK.problems(logs_of(tmp_path, host={"guest-errors": 1, "errors": {"rmp": 1}}))
    assert found == ["expected: none; found: rmp 1"]


def test_soak_no_count(tmp_path: Path) -> None:
    """Missing error counts are not zero errors."""
    problem, = SOAK.problems(logs_of(tmp_path, host={}))
    assert "unknown" in problem


# --- TAP -----------------------------------------------------------------------------------------

def test_tap_cases() -> None:
    run = TapRun.parse("# random seed\n1..4\nok 1 - a b\nnot ok 2 /x/y\n# why\n"
                       "ok 3 c # SKIP no\n    ok 4 a part\nok 4\n", 0)
    assert run.cases == [TapCase("a b", True), TapCase("/x/y", False, "# why"),
                         TapCase("c", True, "    ok 4 a part", "no"), TapCase("", True)]
    assert (run.plan, run.problem, [case.name for case in run.failed]) == (4, None, ["/x/y"])


@pytest.mark.parametrize("output, status", [
    ("1..2\nok 1 a\n", 0), ("ok 1 a\n", 0), ("1..0\n", 0), ("", 0), ("1..1\nok 1 a\nok 2 b\n", 0),
    ("1..1\nok 1 a\n", 1)], ids=["fewer than planned", "no plan", "none planned", "nothing", "more than planned",
                                 "it fails"])
def test_tap_whole(output: str, status: int) -> None:
    """All cases pass, but the run as a whole fails."""
    run = TapRun.parse(output, status)
    assert run.failed == [] and run.problem is not None


PRELUDE = "import os, signal, subprocess, sys\nprint('1..1', flush=True)\n"


def one_case(code: str, timeout: float = 20) -> TapRun:
    """The command line of a Python program that plans one case."""
    return run_tap([sys.executable, "-c", PRELUDE + code], timeout=timeout)


def test_tap_killed() -> None:
    assert one_case("print('ok 1 a', flush=True); os.kill(os.getpid(), signal.SIGSEGV)").status == 128 + 11


def alive(pid: str) -> bool:
    """Does a process run? (A zombie does not.)"""
    try:
        return "\nState:\tZ" not in Path("/proc", pid, "status").read_text(encoding="utf-8")
    except OSError:
        return False


def test_tap_time_out(tmp_path: Path) -> None:
    """The program ends, and each process that it started."""
    pid = tmp_path / "pid"
    begin = time.monotonic()
    code = f"child = subprocess.Popen(['sleep', '600']); print(child.pid, file=open({str(pid)!r}, 'w'), flush=True)\n"
    run = one_case(code + "print('ok 1 a', flush=True); child.wait()", timeout=1)
    assert run.status == 124 and run.problem and time.monotonic() - begin < 10
    # The process was killed, but may not be gone yet.
    while time.monotonic() - begin < 10 and alive(pid.read_text().strip()):
        time.sleep(0.05)
    assert not alive(pid.read_text().strip())


def test_tap_environment() -> None:
    words = [sys.executable, "-c", PRELUDE + "print('ok 1', os.environ['WORD'])"]
    assert run_tap(words, env={"WORD": "there"}).cases == [TapCase("there", True)]


# --- Boots with several kernels -------------------------------------------------------------------

LOG = ("SeaBIOS", "[    0.000000] Linux version 6.12.1", "[    1.0] SNP is up", "[    2.0] Starting new kernel",
       "[    0.000000] Linux version 6.12.1", "[    1.0] SNP is up again")
SAID = ("KTAP version 1", "# == launch", "# ok 1 vCPU", "# == launch: 0", "# == kexec", "KTAP version 1", "# == launch",
        "# == launch: 0")
UP = Line("SNP is up", "it is an SNP host")
BOTH = (Expected({"launch": 0}, [UP]), Expected({"launch": 0}, [UP]))


def judged(log: tuple[str, ...] = LOG, said: tuple[str, ...] = SAID, expected: tuple[Expected, ...] = BOTH) -> list[str]:
    """The faults, without the lines of the logs."""
    return [fault for fault in faults(kernels_of(log, said), expected) if "  | " not in fault]


def test_kernels_as_expected() -> None:
    first, second = kernels_of(LOG, SAID)
    assert judged() == [] and len(first.log) == 3 and first.said[-1] == "== kexec"
    assert second.step("launch") == ["== launch: 0"] and first.step("launch") == ["ok 1 vCPU", "== launch: 0"]


@pytest.mark.parametrize("said, fault", [
    (SAID[:-1], "kernel 2: expected of the steps {'launch': 0}, found {}"),
    ((*SAID[:-1], "# == launch: 1"), "kernel 2: expected of the steps {'launch': 0}, found {'launch': 1}"),
    ((*SAID, "# == cpus: 0"), "kernel 2: expected of the steps {'launch': 0}, found {'launch': 0, 'cpus': 0}"),
    (SAID[:5], "kernel 2: expected of the steps {'launch': 0}, found {}")],
    ids=["a step does not end", "a step fails", "a step too many", "the second kernel does not reach its init"])
def test_kernels_steps(said: tuple[str, ...], fault: str) -> None:
    assert judged(said=said) == [fault]


def test_kernels_number() -> None:
    assert judged(LOG[:4], SAID[:5]) == ["expected 2 kernels, found 1"]
    assert judged(expected=BOTH[:1]) == ["expected 1 kernels, found 2"]


def test_kernels_line_is_missing() -> None:
    fault, = judged((*LOG[:5], "[ 1.0] no"))
    assert fault.startswith("kernel 2: expected a line like 'SNP is up' (it is an SNP host)")


TROUBLE = ("[ 1.0] BUG: a report", "[    1.0] WARNING: CPU: 0 PID: 1 at f+0x1/0x2", "[ 1.0] Kernel panic - not syncing: x",
           "[ 1.0] AMD-Vi: Completion-Wait loop timed out", "[ 1.0] Oops: 0000 [#1]",
           "[ 1.0] kvm_amd: SEV-SNP disabled (ASIDs 0 - 0)",
           "[ 1.0] ccp 0000:00:02.0: SEV-SNP: failed to INIT rc -5, error 0x3",
           "[ 1.0] SEV-SNP: RMPUPDATE failed for PFN 1, pg_level: 1, ret: 2")


@pytest.mark.parametrize("line", TROUBLE)
def test_kernels_trouble(line: str) -> None:
    """A line that tells of trouble is a fault in the kernel that prints it, unless it is expected there."""
    log = (*LOG[:3], line, *LOG[3:])
    assert is_trouble(line) and judged(log) == [f"kernel 1: unexpected: {line}"]
    pattern = [Line(re.escape(line), "a test")]
    assert judged(log, expected=(Expected({"launch": 0}, may_say=pattern), BOTH[1])) == []
    assert judged(log, expected=(Expected({"launch": 0}, may_say=pattern, never=pattern), BOTH[1])) != []
