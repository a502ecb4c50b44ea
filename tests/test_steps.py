# SPDX-License-Identifier: GPL-2.0-only
"""A plan runs its steps in the right order, in parallel where possible, and shows them in the plan's order.

lab/core/steps.py alone decides what a user sees of a verb, and what a Ctrl-C or a failed step leaves running. No test of a
verb would notice that two steps run one after the other instead of in parallel, that a step starts before one that it needs
has ended, or that a process outlives the run.
"""
from __future__ import annotations

import io
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.errors import Cancelled, Stop, setup_error
from lab.core.process import command
from lab.core.session import Session
from lab.core.steps import Job, Plan, StepFailed
from lab.core.terminal import Terminal, bar

ABOUT = "steps: order, parallel steps, failures, output"
LANE = "fast"
NEEDS = ()
TAKES = 8


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session whose output is a string."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = Session("test")
    made.terminal = Terminal(io.StringIO())
    yield made
    made.processes.stop_all(1)


def said(session: Session) -> str:
    """The output that the user has seen."""
    stream = session.terminal.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def heads(session: Session) -> list[str]:
    """The titles of the lines [n/N], in order; a title repeated after a note counts once."""
    return list(dict.fromkeys(re.findall(r"^\[\d+/\d+\] (.*) …", said(session), re.M)))


def test_steps_without_after_run_one_after_the_other(session: Session) -> None:
    plan, order = Plan(session), []
    for name in "abc":
        plan.add(name, lambda job, n=name: order.append(n))  # type: ignore[misc]
    plan.run()
    assert order == ["a", "b", "c"]
    assert heads(session) == ["a", "b", "c"]
    assert re.search(r"^\[3/3\] c … 0 s$", said(session), re.M)


def test_independent_steps_run_side_by_side(session: Session) -> None:
    """Each step waits for the other: one after the other, they would never end."""
    plan, here, there = Plan(session), threading.Event(), threading.Event()

    def meet(mine: threading.Event, other: threading.Event) -> None:
        mine.set()
        assert other.wait(10), "the other step has not started"
    plan.add("here", lambda job: meet(here, there))
    plan.add("there", lambda job: meet(there, here), after=())
    plan.run()


def test_a_step_waits_for_all_that_it_needs(session: Session) -> None:
    plan, ended = Plan(session), []

    def slow(job: Job) -> None:
        time.sleep(0.4)
        ended.append("slow")
    first = plan.add("slow", slow)
    second = plan.add("quick", lambda job: ended.append("quick"), after=())
    plan.add("last", lambda job: ended.append("last"), after=(first, second))
    plan.run()
    assert ended == ["quick", "slow", "last"]


def test_lines_are_in_the_plans_order_whatever_ends_first(session: Session) -> None:
    plan = Plan(session)
    plan.add("slow", lambda job: time.sleep(0.4))
    plan.add("quick", lambda job: job.tell("a word"), after=())
    plan.run()
    assert heads(session) == ["slow", "quick"]
    assert said(session).index("a word") > said(session).index("quick")


def test_a_dry_run_shows_the_same_titles_and_runs_nothing(session: Session, tmp_path: Path) -> None:
    def plan_of(session: Session) -> Plan:
        plan = Plan(session, more=1)
        plan.add("one", lambda job: job.run(command("touch", tmp_path / "touched")),
                 lambda: [command("touch", tmp_path / "touched")])
        plan.add(lambda: "two", lambda job: None, lambda: ["a note"], after=())
        return plan
    session.dry_run = True
    plan_of(session).run()
    dry = heads(session)
    assert f"      touch {tmp_path}/touched\n" in said(session) and "      a note\n" in said(session)
    assert not (tmp_path / "touched").exists() and not (tmp_path / "snplab").exists()
    real = Session("test")
    real.terminal = Terminal(io.StringIO())
    plan_of(real).run()
    assert heads(real) == dry == ["one", "two"]
    assert (tmp_path / "touched").exists()


def test_a_failure_stops_what_runs_beside_it(session: Session) -> None:
    plan = Plan(session)
    plan.add("sleeps", lambda job: job.run(command("sleep", "60")))

    def fail(job: Job) -> None:
        time.sleep(0.3)
        raise setup_error("expected this, found that", "do so")
    plan.add("fails", fail, after=())
    plan.add("never", lambda job: pytest.fail("expected this step not to run: it needs a step that failed"))
    begin = time.monotonic()
    with pytest.raises(Stop) as e:
        plan.run()
    assert time.monotonic() - begin < 10
    assert e.value.status == 3
    assert "snplab: expected this, found that\n        hint: do so\n        log: " in e.value.text()
    assert "[1/3] sleeps … stopped" in said(session) and "[2/3] fails … failed" in said(session)
    assert [s.error.__class__ for s in plan.steps[:1]] == [Cancelled]


def test_a_command_that_fails_is_said_with_the_end_of_its_log(session: Session) -> None:
    plan = Plan(session)
    plan.add("break", lambda job: job.run(command("ls", "/no/such/file")))
    with pytest.raises(StepFailed) as e:
        plan.run()
    text = e.value.text()
    assert "      | ls: cannot access '/no/such/file'" in text
    assert "snplab: break: failed with status 2" in text and "step-01.log" in text


def test_what_a_step_starts_in_the_background_ends_with_its_command(session: Session, tmp_path: Path) -> None:
    script = tmp_path / "background"
    script.write_text("#!/usr/bin/python3\nimport subprocess\nprint(subprocess.Popen(['sleep', '60']).pid)\n")
    script.chmod(0o755)
    found: list[int] = []
    plan = Plan(session)
    plan.add("start", lambda job: found.append(run_to_file(job, script)))
    plan.run()
    time.sleep(0.2)
    assert not os.path.exists(f"/proc/{found[0]}") or "Z" in Path(f"/proc/{found[0]}/stat").read_text().split()[2]


def run_to_file(job: Job, script: Path) -> int:
    """Runs a script with its output in a file: a background process would keep a pipe open. Returns the number printed."""
    job.run(command(script))
    return int(job.log_path.read_text().split()[-1])


def test_whole_is_not_interrupted(session: Session) -> None:
    """A change marked as indivisible is completed while the run is being stopped."""
    begun, done = threading.Event(), []

    def body(job: Job) -> None:
        with job.whole():
            begun.set()
            time.sleep(0.5)
            done.append(True)
    plan = Plan(session)
    plan.add("change", body)

    def stop() -> None:
        begun.wait(5)
        session.processes.stop_all(1)
    stopper = threading.Thread(target=stop)
    stopper.start()
    plan.run()
    stopper.join()
    assert done == [True]


def test_a_bar_has_the_numbers_and_never_more_than_all() -> None:
    assert bar(0, 10) == "[........................] 0 of 10"
    assert bar(5, 10) == "[############............] 5 of 10"
    assert bar(12, 10) == "[########################] 12 of 12"
