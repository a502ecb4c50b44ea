# SPDX-License-Identifier: GPL-2.0-only
"""The page of `run --html`: the verdict on one boot, the launch as its kernel traced it, and every case."""
from __future__ import annotations

from collections.abc import Sequence

from lab.judge.cases import KUNIT
from lab.judge.ktap import WHERE, Case, Result, TestResult
from lab.judge.trace_log import TraceLog
from lab.judge.verdict import Verdict
from lab.view import document
from lab.view.elements import Element, element
from lab.view.launch import Launch
from lab.view.timeline import figure

GOOD = (Result.PASS, Result.KNOWN_FAILURE, Result.SKIP)


def run_page(verdict: Verdict, trace: TraceLog, drawn: Sequence[tuple[str, Launch]], name: str) -> Element:
    """The whole page. `drawn`: the launches in the trace, each with its title. `name`: the kernel's, with the patches on
    it."""
    asked, kernel = verdict.asked, verdict.seen.kernel
    problems = document.lines(verdict.problems)
    reports = document.lines([line for report in kernel.reports for line in (*report.lines, "")])
    return document.page(
        f"snplab run: {name} on linux {asked.linux}",
        document.verdict(verdict.status.value, verdict.last_line()),
        document.section("Problems, and known failures", problems) if problems is not None else None,
        document.section("The launch, as the kernel traced it", *_launches(trace, drawn)),
        document.section("The cases", *(_program(test, verdict) for test in verdict.seen.tests)),
        document.section("Reports in the kernel's log", reports if reports is not None else element("p", "none")),
        document.section("The emulated host", _host(verdict)),
        document.section("The run", _facts(verdict)))


def _launches(trace: TraceLog, drawn: Sequence[tuple[str, Launch]]) -> list[Element]:
    """The timelines, or the reason why there is none."""
    said = [element("p", problem, class_="bad") for problem in trace.problems]
    if not drawn:
        said.append(element("p", "No timeline: " + ("L1 wrote no trace." if not trace.events else
                                                    "no traced case came to LAUNCH_FINISH.")))
    return [*said, *(figure(launch, title, f"launch{i}") for i, (title, launch) in enumerate(drawn))]


def _program(test: TestResult, verdict: Verdict) -> Element:
    """A program and its cases; unfolded if one of them failed."""
    cases = verdict.seen.logs.ktap.kunit_cases if test.program == KUNIT else test.cases
    counts = ", ".join(f"{n} {result.value}" for result in Result if (n := sum(c.result is result for c in cases)))
    title = f"{test.name}: {test.result.value}" + (f" ({counts})" if counts else "")
    return document.folded(
        title, element("p", test.reason) if test.reason else None,
        document.table(("case", "result", "why"), [_case(case) for case in cases]) if cases else None,
        is_open=test.result not in GOOD or any(case.result not in GOOD for case in cases))


def _case(case: Case) -> list[Element | str]:
    """A row of the table. A case that passed gets no text."""
    why: list[str] = [case.known or case.reason]
    if case.result not in (Result.PASS, Result.SKIP):
        why += [WHERE.sub("", line).strip() for line in case.own_words()[:8]]
    return [element("td", element("code", case.name)), document.word_cell(case.result.value),
            element("td", *_joined([line for line in why if line]))]


def _joined(texts: Sequence[str]) -> list[Element | str]:
    """Lines of one cell."""
    made: list[Element | str] = []
    for text in texts:
        made += [element("br"), text] if made else [text]
    return made


def _host(verdict: Verdict) -> Element:
    """The counts of the emulated host."""
    data = verdict.seen.logs.host.data if verdict.asked.emulated else {}
    rows = [(name, str(n)) for kind in ("errors", "statistics") if isinstance(data.get(kind), dict)
            for name, n in data[kind].items()]
    if not rows:
        return element("p", "It left no counts." if verdict.asked.emulated else "This QEMU is no emulated SNP host.")
    return document.folded("what it counted", document.table(("count", "number"), rows))


def _facts(verdict: Verdict) -> Element:
    """Kernel, QEMU, times."""
    asked = verdict.asked
    rows = [("tree", asked.tree), ("linux", asked.linux), ("QEMU", asked.qemu),
            ("logs", asked.shown_logs or str(asked.logs)), *((stage, f"{seconds} s") for seconds, stage in asked.stages)]
    return document.table(("", ""), rows)
