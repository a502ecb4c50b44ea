# SPDX-License-Identifier: GPL-2.0-only
"""The pages of --html, on made-up logs: they have everything that the verdict has, hold any text that L1 may print, and load
nothing.

A page can mislead in two ways: by what it leaves out, and by text of the kernel under test that a browser takes for markup.
"""
from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lab.judge.trace_log import TraceLog
from lab.judge.verdict import BootQuestion, Verdict, judge
from lab.view.elements import Element, element, html_text, svg_text
from lab.view.mutants_page import mutants_page
from lab.view.run_page import run_page
from tests.support.judge import LAUNCH, LINUX, counted, edit, write_logs
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
    reader = read(run_page(verdict, TraceLog(), "6.12.y + wrong"))
    wanted = [verdict.last_line(), *verdict.problems, "a.first", "a.second", "vCPU 1: said why",
              REPORT, "&vcpu->mutex", "firmware", "build linux", "41 s", "~/logs", "6.12.y + wrong",
              "No timeline: L1 wrote no trace.", "10.0.2"]
    assert not [text for text in wanted if text not in reader.text], reader.text


def test_a_case_that_passed_needs_no_words(tmp_path: Path) -> None:
    ktap = edit(edit(LAUNCH, "^# not ok", "# ok"), "^not ok 1 (.*) # .*", r"ok 1 \1")
    reader = read(run_page(verdict_of(tmp_path / "logs", ktap, [LINUX]), TraceLog(), "t"))
    assert "vCPU 1: said why" not in reader.text and "a.second" in reader.text
    assert ("open", "open") not in reader.attributes


def test_a_program_that_failed_is_open(tmp_path: Path) -> None:
    reader = read(run_page(verdict_of(tmp_path / "logs", list(LAUNCH), [LINUX]), TraceLog(), "t"))
    assert ("open", "open") in reader.attributes


def test_what_l1_printed_is_no_markup(tmp_path: Path) -> None:
    ktap = edit(LAUNCH, "said why", EVIL.replace("\\", r"\\"))
    reader = read(run_page(verdict_of(tmp_path / "logs", ktap, [LINUX, f"{REPORT} {EVIL}"]), TraceLog(), "t"))
    assert reader.text.count("</pre><script>alert(1)</script> & \"'\ufffd\ufffd[31m") >= 2


def test_a_boot_without_any_log_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    verdict = judge(BootQuestion(tmp_path / "logs", "6.12.y", "6.12.7", "10", ["kunit"], emulated=True))
    assert "FAIL: " in read(run_page(verdict, TraceLog(), "t")).text


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


@pytest.mark.parametrize("write", (html_text, svg_text))
def test_every_text_and_attribute_is_escaped(write: object) -> None:
    assert callable(write)
    text = write(element("p", EVIL, element("b", EVIL), EVIL, title=f"{EVIL} <"))
    assert "<script" not in text.replace(re.findall(r'title="[^"]*"', text)[0], "")
    assert "\x00" not in text and "\x1b" not in text and text.count("&lt;script") >= 3


def test_no_child_and_no_attribute_for_none() -> None:
    assert svg_text(element("g", "a", None, element("b"), "c", "d", class_="x", stroke_width=1, id=None)) == (
        '<g class="x" stroke-width="1">a<b />cd</g>\n')
