# SPDX-License-Identifier: GPL-2.0-only
"""The lock timeline, on made-up traces: who held which lock for how long, who waited, and what never ended.

A timeline misleads if it shows a lock as held that was released, gives a mutex to another vCPU, or is silent about a hole in
the trace. So each trace here has one thing different, and the drawing's own words must say it.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree

import pytest

from lab.boot.boot import Boot, KtapLog
from lab.boot.qmp import Ended
from lab.build.prepare import Preparation
from lab.core.session import Session
from lab.core.steps import Plan
from lab.judge.programs import Picked, pick
from lab.judge.trace_log import TraceLog, parse_trace
from lab.judge.verdict import BootQuestion, judge
from lab.patches.series import series_dir
from lab.verbs.run import TRACED_CASES, append_of, run_boot, traced
from lab.view.elements import svg_text
from lab.view.launch import Kind, Launch, describe, launches
from lab.view.run_page import run_page
from lab.view.timeline import WIDTH, timeline, titled
from tests.support.traces import MUTEX, Trace, fixed, hung, unfixed
from tests.test_html import read

ABOUT = "the trace's parser, and the timeline of KVM's locks that is drawn from it, on made-up traces"
LANE = "fast"
NEEDS = ()
TAKES = 2

HUGE = "1" * 5000
NAMESPACE = "{http://www.w3.org/2000/svg}"


def only(lines: Sequence[str]) -> Launch:
    """The one launch of a whole trace."""
    trace = parse_trace(lines)
    assert not trace.problems, trace.problems
    [launch] = launches(trace)
    return launch


def kinds(launch: Launch, vcpu: int) -> list[Kind]:
    """Who held a vCPU's mutex, in the order of time."""
    return [bar.kind for bar in launch.mutexes[vcpu].bars]


# --- The parser ---------------------------------------------------------------------------------------------------------


def test_an_event_has_its_parts() -> None:
    trace = parse_trace([" a task (x)-12  (  7) [003] d..1.    3.000250: lock_acquire: 00000000f2a1b3c4 try &vcpu->mutex"])
    [event] = trace.events
    assert (event.time, event.thread, event.process, event.name) == (3000250, 12, 7, "lock_acquire")
    assert (event.lock, event.lock_name, event.tried) == ("00000000f2a1b3c4", "&vcpu->mutex", True)


@pytest.mark.parametrize("text, number", (
    ("vm_call: (sev_mem_enc_ioctl+0x0/0x5a0 [kvm_amd]) id=102", 102),
    ("vm_return: (kvm_vm_ioctl+0x3c3/0x1320 [kvm] <- sev_mem_enc_ioctl) ret=-22", -22),
    ("vcpu_call: (kvm_vcpu_ioctl+0x0/0x7c0 [kvm]) cmd=0xae80", 0xae80),
    ("kvm_entry: vcpu 3, rip 0xfff0", 3),
    ("kvm_entry: vcpu 3, rip 0xfff0 intr_info 0x00000000 error_code 0x00000000", 3),
    ("kvm_exit: vcpu 2 reason EXIT_VMGEXIT rip 0x0 info1 0x0 info2 0x0", 2)))
def test_a_number_is_read(text: str, number: int) -> None:
    trace = parse_trace([f" t-1 (-------) [000] ..... 1.000000: {text}"])
    assert [event.number for event in trace.events] == [number] and not trace.problems


@pytest.mark.parametrize("line", (
    "no event at all", " t-1 [000] ..... 1.000000: kvm_entry: vcpu 3, rip 0", " t-1 (1) [000] ..... 1.0: kvm_entry: vcpu 3",
    " t-1 (1) [000] ..... 1.000000: kvm_entry: vcpu x", " t-1 (1) [000] ..... 1.000000: vm_call: (f) id=(fault)",
    " t-1 (1) [000] ..... 1.000000: sched_switch: a", " t-1 (1) [000] ..... 1.000000: lock_acquire: &kvm->lock",
    " t-1 (1) [000] ..... 1.000000: lock_release:", "\ufffd\x00",
    # Numbers that int() refuses, and digits that are not the kernel's.
    " t-1 (1) [000] ..... 1.000000: vm_call: (f) id=007", " t-1 (1) [000] ..... 1.000000: vm_call: (f) id=0x" + "f" * 17,
    f" t-1 (1) [000] ..... 1.000000: vm_call: (f) id={HUGE}", f" t-1 (1) [000] ..... {HUGE}.000000: kvm_entry: vcpu 3",
    f" t-{HUGE} (1) [000] ..... 1.000000: kvm_entry: vcpu 3", f" t-1 ({HUGE}) [000] ..... 1.000000: kvm_entry: vcpu 3",
    " t-1 (1) [000] ..... \u0661.000000: kvm_entry: vcpu 3", " t-1 (1) [000] ..... 1.000000: vm_call: (f) id=\u0663",
    " t-1 (1) [000] ..... 1.000000: kvm_entry: vcpu 3\u0663, rip 0", f"CPU:2 [LOST {HUGE} EVENTS]",
    f"# entries-in-buffer/entries-written: {HUGE}/{HUGE}   #P:4",
    "# entries-in-buffer/entries-written: 5/3   #P:4", "# entries-in-buffer/entries-written: x"))
def test_a_malformed_line_is_a_problem_and_no_event(line: str) -> None:
    trace = parse_trace([*fixed().lines, line])
    assert trace.unread == [line] and len(trace.problems) == 1
    assert describe(launches(trace)[0]) == describe(only(fixed().lines))


@pytest.mark.parametrize("line, words", (
    ("# entries-in-buffer/entries-written: 90/120   #P:4", "30 entries were lost"),
    ("CPU:2 [LOST 7 EVENTS]", "7 entries were lost"), ("CPU:2 [LOST EVENTS]", "1 entries were lost"),
    ("# refused: events/kvm/kvm_entry/enable: 1: No such file or directory", "the kernel refused events/kvm/kvm_entry")))
def test_a_hole_is_a_problem(line: str, words: str) -> None:
    assert [problem for problem in parse_trace([*fixed().lines, line]).problems if words in problem]


def test_no_line_is_no_launch() -> None:
    trace = parse_trace([])
    assert not trace.events and not launches(trace) and not titled(trace, "t")


def test_l1s_trace_is_in_a_file_of_its_own(tmp_path: Path) -> None:
    seen: list[str] = []
    with KtapLog(tmp_path, seen.append, traced=True) as log:
        for raw in (b"# Subtest: x\n", b"# trace: # tracer: nop\r\n", b"# trace:  a-1\n", b"ok 1 x\n"):
            log.line(raw)
    assert seen == ["# Subtest: x", "ok 1 x"]
    assert (tmp_path / "ktap.log").read_text(encoding="utf-8") == "# Subtest: x\nok 1 x\n"
    assert (tmp_path / "trace.log").read_text(encoding="utf-8") == "# tracer: nop\n a-1\n"


def test_without_a_trace_no_line_is_taken_for_one(tmp_path: Path) -> None:
    seen: list[str] = []
    with KtapLog(tmp_path, seen.append) as log:
        log.line(b"# trace: said a test\n")
    assert seen == ["# trace: said a test"]
    assert (tmp_path / "ktap.log").read_text(encoding="utf-8") == "# trace: said a test\n"
    assert not (tmp_path / "trace.log").exists()


@pytest.mark.parametrize("more", ((), (traced(),)))
def test_run_takes_a_trace_only_if_it_asked_for_one(
        more: tuple[Picked, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line of L1's kernel and the reader of L1's report agree."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    session, picked = Session("test"), (*pick(None), *more)
    prepared = SimpleNamespace(emulated=True, version="6.12.7", qemu_version="10")
    boot = SimpleNamespace(logs=tmp_path, append=append_of(picked, None, None),
                           run=lambda session, limit, on_line: [on_line(b"# trace: x\n"), Ended(0)][1])
    run_boot(session, Plan(session, more=1), cast(Preparation, prepared), cast(Boot, boot), picked, None, None)
    assert (tmp_path / "trace.log").exists() == bool(more)


def test_l1_traces_the_run_that_comes_last() -> None:
    """L1's init compares the whole word, and the cases are the launch test's."""
    words = append_of((*pick(None), traced()), None, None).split()
    tests = next(word for word in words if word.startswith("snplab.tests=")).partition("=")[2].split(",")
    assert [word.partition("=")[2] for word in words if word.startswith("snplab.trace=")] == [tests[-1]]
    assert "snplab.trace" not in append_of(pick(None), None, None)
    source = (series_dir("mainline") / "files/tools/testing/selftests/kvm/x86/sev_snp_launch_test.c").read_text("utf-8")
    for case in TRACED_CASES:
        fixture, *variant, name = case.split(".")
        assert f"SNP_TEST_F({fixture}, {name})" in source
        assert all(f"FIXTURE_VARIANT_ADD({fixture}, {word})" in source for word in variant)


# --- The launch ---------------------------------------------------------------------------------------------------------


def test_fixed_it_waits_holds_all_and_releases_all() -> None:
    launch = only(fixed().lines)
    assert kinds(launch, 0) == [Kind.RUN, Kind.FINISH, Kind.RUN]
    assert kinds(launch, 1) == [Kind.FINISH, Kind.RUN]
    assert [bar.kind for bar in launch.kvm_lock.bars] == [Kind.FINISH]
    said = describe(launch)
    assert said[0] == "LAUNCH_FINISH took 303.4 ms and returned 0."
    assert "LAUNCH_FINISH waits for vCPU 0's mutex, for 300.0 ms." in said
    assert "LAUNCH_FINISH held vCPU 1's mutex for 2.2 ms." in said
    assert not [line for line in said if any(word in line for word in ("while", "did not", "nobody", "in vain"))]
    assert [bar.label for bar in launch.firmware.bars] == ["SNP_LAUNCH_UPDATE"] * 2 + ["SNP_LAUNCH_FINISH"]


def test_first_posting_no_mutex_is_released_and_kvm_run_is_blocked() -> None:
    said = describe(only(hung().lines))
    for vcpu in (0, 1):
        assert f"LAUNCH_FINISH took vCPU {vcpu}'s mutex, and nobody released it." in said
        assert f"KVM_RUN of vCPU {vcpu} waited 1400.0 ms for the mutex, in vain." in said
        assert f"KVM_RUN of vCPU {vcpu} did not return." in said


def test_first_posting_a_call_that_is_killed_has_waited_in_vain() -> None:
    """The test's process is killed in the end: its calls return, and the mutexes are gone with the VM."""
    trace = hung()
    for vcpu, thread in ((0, 103), (1, 104)):
        trace.add(thread, 1_900_000, "lock_release", f"{MUTEX}{vcpu} &vcpu->mutex")
        trace.add(thread, 1_900_010, "vcpu_return", "(x <- y) ret=-4")
    said = describe(only(trace.lines))
    assert "KVM_RUN of vCPU 1 waited 1300.0 ms for the mutex, in vain." in said
    assert "LAUNCH_FINISH took vCPU 1's mutex, and nobody released it." in said
    assert not [line for line in said if "did not return" in line]


def test_unfixed_a_vcpu_runs_while_it_is_encrypted() -> None:
    launch = only(unfixed().lines)
    said = describe(launch)
    # To the end of what was going on.
    assert launch.finish.end is not None and launch.finish.end < 10_204_000 and launch.end == 10_500_010
    assert "vCPU 0 was in KVM_RUN while LAUNCH_FINISH encrypted the VMSAs." in said
    assert "LAUNCH_FINISH did not take vCPU 1's mutex." in said
    assert not [line for line in said if "vCPU 1 was in KVM_RUN" in line]


def test_a_wait_that_is_given_up_holds_nothing() -> None:
    trace = Trace()
    trace.use_mutexes(2)
    trace.run(0, 101, 100_000)
    trace.add(102, 200_000, "vm_call", "(f) id=102")
    trace.lock(102, 200_010, "bbb0", "&kvm->lock")
    trace.add(102, 200_020, "lock_acquire", f"{MUTEX}0 &vcpu->mutex")
    trace.add(102, 300_000, "lock_release", f"{MUTEX}0 &vcpu->mutex")
    trace.add(102, 300_010, "lock_release", "bbb0 &kvm->lock")
    trace.add(102, 300_020, "vm_return", "(f) ret=-4")
    launch = only(trace.lines)
    assert kinds(launch, 0) == [Kind.RUN] and launch.mutexes[0].bars[0].end is None
    assert "LAUNCH_FINISH did not take vCPU 0's mutex." in describe(launch)


def test_a_trylock_takes_at_once() -> None:
    lines = [line if "lock_acquire: aaa1" not in line or "-102 " not in line else line.replace("aaa1", "aaa1 try")
             for line in fixed().lines if not ("lock_acquired: aaa1" in line and "-102 " in line)]
    assert kinds(only(lines), 1) == [Kind.FINISH, Kind.RUN]


def test_kvm_entry_says_whose_mutex_it_is() -> None:
    """The order of first use is a guess that the kernel can correct."""
    swap = {"vcpu 0": "vcpu 1", "vcpu 1": "vcpu 0"}
    lines = [next((line.replace(a, b) for a, b in swap.items() if a in line), line) for line in fixed().lines]
    launch = only(lines)
    assert kinds(launch, 1) == [Kind.RUN, Kind.FINISH, Kind.RUN] and kinds(launch, 0) == [Kind.FINISH, Kind.RUN]


def test_other_processes_have_no_part_in_it() -> None:
    other = Trace(process=200, first_thread=100)
    other.use_mutexes(1, "ccc")
    launch = only([*fixed().lines, *other.lines])
    assert sorted(launch.mutexes) == [0, 1]


def test_each_process_has_its_launch() -> None:
    second = [line.replace("(  100)", "(  300)").replace("-10", "-30") for line in fixed().lines]
    trace = parse_trace([*fixed().lines, *second])
    assert [title for title, _ in titled(trace, "t")] == ["t: a launch with 2 vCPUs, 1 of them in KVM_RUN"] * 2


# --- The drawing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", (fixed, hung, unfixed))
def test_the_drawing_is_whole(make: object) -> None:
    assert callable(make)
    launch = only(make().lines)
    root = ElementTree.fromstring(svg_text(timeline(launch, "a <title> & more")))
    texts = [text.text for text in root.iter(f"{NAMESPACE}text")]
    assert {"LAUNCH_FINISH", "firmware", "kvm->lock", "vCPU 0 mutex", "vCPU 0 calls", "vCPU 1 mutex"} <= set(texts)
    title, words = root.find(f"{NAMESPACE}title"), root.find(f"{NAMESPACE}desc")
    assert title is not None and words is not None and title.text == "a <title> & more"
    assert words.text == " ".join(describe(launch))
    assert root.get("role") == "img"
    assert set((root.get("aria-labelledby") or "").split()) == {title.get("id"), words.get("id")}
    for rect in root.iter(f"{NAMESPACE}rect"):
        assert 0 <= float(rect.get("x", "0")) <= WIDTH and float(rect.get("width", "0")) > 0
        assert float(rect.get("x", "0")) + float(rect.get("width", "0")) <= WIDTH + 0.2
    bars = sum(len(row.bars) for row in launch.rows)
    assert len([t for t in root.iter(f"{NAMESPACE}title")]) == bars + 1


def test_a_drawing_follows_the_screen_and_loads_nothing() -> None:
    text = svg_text(timeline(only(fixed().lines), "t"))
    assert "prefers-color-scheme: dark" in text
    assert "href" not in text and "url(" not in text.replace("url(#", "") and text.count("http") == 1


def test_the_same_trace_is_the_same_drawing() -> None:
    assert svg_text(timeline(only(fixed().lines), "t")) == svg_text(timeline(only(fixed().lines), "t"))


def test_the_page_has_the_drawing_and_its_words(tmp_path_factory: pytest.TempPathFactory) -> None:
    verdict = judge(BootQuestion(tmp_path_factory.mktemp("logs"), "6.12.y", "6.12.7", "10", ["kunit"]))
    trace = parse_trace([*hung().lines, "# refused: nothing"])
    reader = read(run_page(verdict, trace, titled(trace, "t + wrong, linux 6.12.7"), "t + wrong"))
    assert "svg" in reader.tags and "nobody released it" in reader.text and "the kernel refused nothing" in reader.text


def test_the_page_says_why_there_is_no_drawing(tmp_path_factory: pytest.TempPathFactory) -> None:
    verdict = judge(BootQuestion(tmp_path_factory.mktemp("logs"), "6.12.y", "6.12.7", "10", ["kunit"]))
    before = parse_trace([line for line in fixed().lines if "vm_call" not in line])
    assert "no traced case came to LAUNCH_FINISH" in read(run_page(verdict, before, titled(before, "t"), "t")).text
    assert "L1 wrote no trace" in read(run_page(verdict, TraceLog(), [], "t")).text
