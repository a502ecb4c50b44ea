# SPDX-License-Identifier: GPL-2.0-only
"""What the pages of `run --html` and `mutants --html` share: frame, style, verdict, tables, lists of lines.

A page is one file that loads nothing: it can be mailed, or kept beside a log. It has no script, and follows the reader's
choice of a light or a dark screen."""
from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab.view.elements import Element, append, element

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c2128; --quiet: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --good: #116329; --bad: #a40e26; --known: #7d4e00; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --text: #e6edf3; --quiet: #9da7b3; --line: #3d444d;
  --panel: #161b22; --good: #56d364; --bad: #ff8a82; --known: #e3b341; } }
body { background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; max-width: 72rem;
  margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; }
.verdict { border-left: .4rem solid; background: var(--panel); padding: .6rem 1rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; vertical-align: top; }
th { background: var(--panel); } td.word { white-space: nowrap; font-weight: 600; }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem; }
pre { background: var(--panel); border: 1px solid var(--line); padding: .6rem; overflow-x: auto; margin: .4rem 0; }
.quiet { color: var(--quiet); } .good { color: var(--good); } .bad { color: var(--bad); } .known { color: var(--known); }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
figcaption { color: var(--quiet); max-width: 60rem; } summary { cursor: pointer; }
"""
# Colour adds nothing: the word beside it says the same.
COLOURS = {"pass": "good", "caught": "good", "fail": "bad", "timeout": "bad", "panic": "bad", "survived": "bad",
           "not as named": "bad", "not judged": "bad", "known-failure": "known", "(caught)": "good"}


def page(title: str, *children: Element | None) -> Element:
    """The whole page."""
    return element("html", element(
        "head", element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title), element("style", STYLE)), element("body", element("h1", title), *children), lang="en")


def colour(word: str) -> str:
    """The class of a result's colour."""
    return COLOURS.get(word, "quiet")


def word_cell(word: str) -> Element:
    """A cell with a result."""
    return element("td", word, class_=f"word {colour(word)}")


def verdict(word: str, line: str) -> Element:
    """The verdict's line."""
    return element("p", line, class_=f"verdict {colour(word)}")


def section(title: str, *children: Element | str | None) -> Element:
    """A section with a heading."""
    return element("section", element("h2", title), *children)


def table(head: Sequence[str], rows: Iterable[Sequence[Element | str]]) -> Element:
    """A table, in a box that scrolls by itself on a narrow screen."""
    body = element("tbody", *(element("tr", *(cell if isinstance(cell, Element) else element("td", cell) for cell in row))
                              for row in rows))
    top = element("thead", element("tr", *(element("th", name, scope="col") for name in head)))
    return element("div", element("table", top, body), class_="scroll")


def lines(texts: Sequence[str]) -> Element | None:
    """Preformatted lines; None if there are none."""
    return element("pre", "\n".join(texts)) if texts else None


def folded(title: str, *children: Element | None, is_open: bool = False) -> Element:
    """A part that the reader can fold."""
    made = element("details", element("summary", title), open="open" if is_open else None)
    append(made, children)
    return made
