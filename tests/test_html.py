# SPDX-License-Identifier: GPL-2.0-only
"""The pages of --html, on made-up logs: they have everything that the verdict has, hold any text that L1 may print, and load
nothing.

A page can mislead in two ways: by what it leaves out, and by text of the kernel under test that a browser takes for markup.
"""
from __future__ import annotations

import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from lab.build.prepare import Preparation
from lab.core.errors import Exit, Stop
from lab.core.session import Session
from lab.core.terminal import Terminal
from lab.judge.trace_log import TraceLog
from lab.judge.verdict import BootQuestion, Verdict, judge
from lab.verbs import mutants, run
from lab.view.elements import Element, element, html_text, svg_text
from lab.view.mutants_page import mutants_page
from lab.view.run_page import run_page
from tests.support.judge import LAUNCH, LINUX, counted, edit, write_logs
from tests.support.traces import fixed
from tests.test_mutants_judge import BY_KUNIT, KUNIT, Tree

ABOUT = "run --html and mutants --html: whole pages that escape every text and load nothing"
LANE = "fast"
NEEDS = ()
TAKES = 2

VOID = {"meta", "br"}
EVIL = "</pre><script>alert(1)</script> & \"'\x00\x1b[31m"
REPORT = "[    3.1] WARNING: Nested lock was not taken"


class Reader(HTMLParser):
    """Reads a page, with every element closed in its order; keeps the text and the attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def read(page: Element) -> Reader:
    """A page as a browser sees it. It loads nothing, and runs nothing."""
    text = html_text(page)
    reader = Reader(text)
    assert text.startswith("<!DOCTYPE html>\n<html")
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert not {"src", "href", "srcset", "onload"} & {name for name, _ in reader.attributes}
    assert "url(" not in text.replace("url(#", "") and "@import" not in text
    assert "prefers-color-scheme: dark" in text
    return reader


def verdict_of(logs: Path, ktap: list[str], kernel: list[str]) -> Verdict:
    """A verdict on a made-up boot of the launch test."""
    write_logs(logs, ktap, kernel, host=counted(2, firmware=2))
    return judge(BootQuestion(logs, "6.12.y", "6.12.7", "10.0.2", ["sev_snp_launch_test"], emulated=True,
                              provoked={"firmware": 3}, stages=[(41, "build linux"), (9, "boot")], shown_logs="~/logs"))


def test_the_page_has_everything_that_the_verdict_has(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path / "logs", list(LAUNCH), [LINUX, REPORT, "[    3.2] lock: &vcpu->mutex"])
    reader = read(run_page(verdict, TraceLog(), [], "6.12.y + wrong"))
    wanted = [verdict.last_line(), *verdict.problems, "a.first", "a.second", "vCPU 1: said why",
              REPORT, "&vcpu->mutex", "firmware", "build linux", "41 s", "~/logs", "6.12.y + wrong",
              "No timeline: L1 wrote no trace.", "10.0.2"]
    assert not [text for text in wanted if text not in reader.text], reader.text


def test_a_case_that_passed_needs_no_words(tmp_path: Path) -> None:
    ktap = edit(edit(LAUNCH, "^# not ok", "# ok"), "^not ok 1 (.*) # .*", r"ok 1 \1")
    reader = read(run_page(verdict_of(tmp_path / "logs", ktap, [LINUX]), TraceLog(), [], "t"))
    assert "vCPU 1: said why" not in reader.text and "a.second" in reader.text
    assert ("open", "open") not in reader.attributes


def test_a_program_that_failed_is_open(tmp_path: Path) -> None:
    reader = read(run_page(verdict_of(tmp_path / "logs", list(LAUNCH), [LINUX]), TraceLog(), [], "t"))
    assert ("open", "open") in reader.attributes


def test_what_l1_printed_is_no_markup(tmp_path: Path) -> None:
    ktap = edit(LAUNCH, "said why", EVIL.replace("\\", r"\\"))
    reader = read(run_page(verdict_of(tmp_path / "logs", ktap, [LINUX, f"{REPORT} {EVIL}"]), TraceLog(), [], "t"))
    assert reader.text.count("</pre><script>alert(1)</script> & \"'\ufffd\ufffd[31m") >= 2


def test_a_boot_without_any_log_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    verdict = judge(BootQuestion(tmp_path / "logs", "6.12.y", "6.12.7", "10", ["kunit"], emulated=True))
    assert "FAIL: " in read(run_page(verdict, TraceLog(), [], "t")).text


def test_the_mutants_page_has_the_matrix(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.mutant("wrong-one", BY_KUNIT, KUNIT)
    tree.mutant("survivor", ("Caught-by: kunit:nothing_is_held",))
    found = tree.judged()
    reader = read(mutants_page(found))
    wanted = [found.lines()[-1], *found.problems, "wrong-one", "survivor", "It is wrong.", "nothing_is_held",
              "all_are_waited_for", "kernel log"]
    assert not [text for text in wanted if text not in reader.text], reader.text
    assert reader.text.count("survived") >= 2


class Ending:
    """The end of a verb, after its boots: an empty cache of its own, and what it said."""

    def __init__(self, tmp_path: Path) -> None:
        self.said = io.StringIO()
        self.session = Session("test")
        self.session.terminal = Terminal(self.said)
        self.page = self.session.html = tmp_path / "page"

    def run(self, monkeypatch: pytest.MonkeyPatch, more: str | None = None) -> int:
        """`run`, whose boot left a trace. `more`: a folder among its logs."""
        logs = self.session.run_dir
        verdict = verdict_of(logs, list(LAUNCH), [LINUX])
        (logs / "trace.log").write_text("\n".join(fixed().lines), encoding="utf-8")
        if more is not None:
            (logs / more).mkdir()
        monkeypatch.setattr(run, "question_of", lambda *_: verdict.asked)
        prepared = cast(Preparation, SimpleNamespace(target=SimpleNamespace(name="t"), extra=[]))
        return run.say_verdict(self.session, prepared, [], None, [])

    def mutants(self, _: pytest.MonkeyPatch) -> int:
        """`mutants`, which found a survivor."""
        tree = Tree(self.session.run_dir)
        tree.mutant("survivor", ("Caught-by: kunit:nothing_is_held",))
        return mutants.say_matrix(self.session, tree.judged())

    @property
    def last(self) -> str:
        """The last line on the terminal."""
        return self.said.getvalue().splitlines()[-1]


ENDS = pytest.mark.parametrize("end", (Ending.run, Ending.mutants))


@pytest.fixture(name="ending")
def fixture_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    """A verb that writes a page."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Ending(tmp_path)


@ENDS
def test_the_verdict_is_the_last_line(end: Callable[[Ending, pytest.MonkeyPatch], int], ending: Ending,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    assert end(ending, monkeypatch) == Exit.FAIL
    assert "FAIL: " in ending.page.read_text(encoding="utf-8") and ending.last.startswith("FAIL: ")


@ENDS
@pytest.mark.parametrize("name", ("gone/page", "folder"))
def test_a_page_that_cannot_be_written_costs_no_verdict(
        name: str, end: Callable[[Ending, pytest.MonkeyPatch], int], ending: Ending, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder was removed, or a folder has its name by now."""
    (tmp_path / "folder").mkdir()
    ending.session.html = tmp_path / name
    with pytest.raises(Stop, match=f"^--html: cannot write .*{name}: expected .*, found: ") as stopped:
        end(ending, monkeypatch)
    assert stopped.value.status == Exit.SETUP and ending.last.startswith("FAIL: ")


def test_a_timeline_that_cannot_be_written_costs_no_verdict(ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stop, match="^--html: cannot write .*launch-1.svg: expected ") as stopped:
        ending.run(monkeypatch, "launch-1.svg")
    assert stopped.value.status == Exit.SETUP and ending.last.startswith("FAIL: ")


@pytest.mark.parametrize("write", (html_text, svg_text))
def test_every_text_and_attribute_is_escaped(write: object) -> None:
    assert callable(write)
    text = write(element("p", EVIL, element("b", EVIL), EVIL, title=f"{EVIL} <"))
    assert "<script" not in text.replace(re.findall(r'title="[^"]*"', text)[0], "")
    assert "\x00" not in text and "\x1b" not in text and text.count("&lt;script") >= 3


def test_no_child_and_no_attribute_for_none() -> None:
    assert svg_text(element("g", "a", None, element("b"), "c", "d", class_="x", stroke_width=1, id=None)) == (
        '<g class="x" stroke-width="1">a<b />cd</g>\n')
