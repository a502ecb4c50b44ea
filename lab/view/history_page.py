# SPDX-License-Identifier: GPL-2.0-only
"""The page of `history --html`: which test caught which bug that SNP's host code had."""
from __future__ import annotations

from lab.core.errors import Exit
from lab.judge.history import History, Row
from lab.view import document
from lab.view.elements import Element, element


def history_page(found: History) -> Element:
    """The whole page."""
    problems = document.lines(found.all_problems)
    return document.page(
        "snplab history", document.verdict("pass" if found.status == Exit.PASS else "fail", found.lines()[-1]),
        document.section("Problems", problems) if problems is not None else None,
        *(_component(found, name, counts) for name, counts in found.components().items()))


def _component(found: History, name: str, counts: tuple[int, int, int]) -> Element:
    """A component's bugs, and below them each bug's story."""
    rows = [row for row in found.rows if row.bug.component == name]
    caught, shown, _ = counts
    cells: list[list[Element | str]] = [
        [element("td", element("code", row.slug)), row.cells()[1], row.cells()[2], document.word_cell(row.fate.value),
         element("td", row.cells()[4])] for row in rows]
    return document.section(
        name, element("p", f"{caught} caught of {shown} that software on an emulated host can show."),
        document.table(("bug", "class", "trees", "result", "by"), cells), *(_bug(row) for row in rows))


def _bug(row: Row) -> Element:
    """A bug: what was wrong, its fix, and who caught it."""
    rows: list[list[Element | str]] = [[result.bug.tree, document.word_cell(result.fate.value), "; ".join(result.by)]
                                       for result in row.results]
    return document.folded(
        f"{row.slug}: {row.fate.value}", element("p", row.bug.story), element("p", f"Fixed by {row.bug.fix}"),
        document.lines([problem for result in row.results for problem in result.problems]),
        document.table(("tree", "result", "by"), rows), is_open=row.fate.fails)
