# SPDX-License-Identifier: GPL-2.0-only
"""The page of `mutants --html`: which layer caught which wrong version, and what each layer saw."""
from __future__ import annotations

from collections.abc import Sequence

from lab.core.errors import Exit
from lab.judge.matrix import OTHER_COLUMNS, Matrix, TreeResults, cell
from lab.judge.mutants import MutantResult
from lab.judge.programs import all_programs
from lab.view import document
from lab.view.elements import Element, element


def mutants_page(found: Matrix) -> Element:
    """The whole page."""
    problems = document.lines(found.problems)
    return document.page(
        "snplab mutants: " + ", ".join(tree.tree for tree in found.trees),
        document.verdict("pass" if found.status == Exit.PASS else "fail", found.lines()[-1]),
        document.section("Problems", problems) if problems is not None else None,
        *(_tree(tree) for tree in found.trees))


def _tree(tree: TreeResults) -> Element:
    """A tree's matrix, and below it what each layer saw."""
    programs = [p.name for p in all_programs() if any(p.name in result.layers for result in tree.results)]
    columns: dict[str, Sequence[str]] = {**{program: (program,) for program in programs}, **OTHER_COLUMNS}
    rows = [[element("td", element("code", result.name)), document.word_cell(result.word.value),
             *(document.word_cell(cell(result, layers)) for layers in columns.values())] for result in tree.results]
    idle = [f"{program}: {case}" for program, cases in tree.idle.items() for case in cases]
    return document.section(
        f"{tree.tree} on linux {tree.linux}",
        element("p", "Each row is a wrong version of the series, each column a layer of the tests. In brackets: caught, "
                "though the mutant's header does not name that layer."),
        document.table(("mutant", "result", *columns), rows),
        element("h3", "What each layer saw"), *(_mutant(result) for result in tree.results),
        document.folded("cases that no mutant failed", document.lines(idle)) if idle else None)


def _mutant(result: MutantResult) -> Element:
    """A mutant: what is wrong with it, and who noticed."""
    rows: list[list[Element | str]] = [
            [layer, document.word_cell(word), element("td", element("code", "; ".join(by)))]
            for layer, (word, by) in result.layers.items() if by or word == "not run"]
    named = ", ".join(f"{catcher}{'' if caught else ' (did not)'}" for catcher, caught in result.named)
    return document.folded(
        f"{result.name}: {result.word.value}", element("p", result.story),
        element("p", f"Must be caught by: {named}") if named else None, document.lines(result.problems),
        document.table(("layer", "result", "by"), rows) if rows else None, is_open=bool(result.problems))
