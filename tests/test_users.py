# SPDX-License-Identifier: GPL-2.0-only
"""The pages for each kind of user (docs/users): the commands that they name exist, and begin the page.

A reader types the first line. If it names a verb or an option that is gone, or the README does not lead to the page, the
page is worse than none.
"""
from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.front import TOP, run_command

ABOUT = "docs/users: each page begins with a command, its commands exist, and README links it"
LANE = "fast"
NEEDS = ()
TAKES = 5

PAGES = sorted((TOP / "docs/users").glob("*.md"))
COMMAND = re.compile(r"(?:^ {4}|`|/path/to/)(?:\./)?snplab ([a-z]+(?:-[a-z]+)*)((?: +[^\s`#]+)*)", re.M)


@cache
def help_of(verb: str) -> str:
    """The help text of a verb; "" if there is no such verb."""
    done = run_command(TOP / "snplab", verb, "--help")
    return done.output if done.status == 0 else ""


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """The commands of snplab on a page: the verb, and its words."""
    return [(verb, words.split()) for verb, words in COMMAND.findall(page.read_text(encoding="utf-8"))]


def test_there_are_pages() -> None:
    assert len(PAGES) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_it_begins_with_a_command(page: Path) -> None:
    assert re.match(r"# For [^\n]+\n\n    \./snplab [a-z]+ ", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_its_commands_exist(page: Path) -> None:
    """Each verb has help, and the help has each option. Words after a command in a sentence do not matter."""
    found = commands(page)
    assert len(found) >= 2
    for verb, words in found:
        assert help_of(verb), f"no verb {verb}"
        lost = [word for word in words if word.startswith("--") and not re.search(rf"{word}\b", help_of(verb))]
        assert lost == [], f"{verb} has no {lost}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_readme_links_it(page: Path) -> None:
    assert f"]({page.relative_to(TOP)})" in (TOP / "README.md").read_text(encoding="utf-8")
