# SPDX-License-Identifier: GPL-2.0-only
"""Works on a C file as text: cuts out the part for spatch, and finds the lines under an #if."""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

CONDITIONAL = re.compile(r"[ \t]*#[ \t]*(if|el|endif)")
OPENS = re.compile(r"[ \t]*#[ \t]*if")
CLOSES = re.compile(r"[ \t]*#[ \t]*endif")


def items(lines: Iterable[str]) -> Iterator[list[str]]:
    """The top-level items of a C file.

    An item ends with a "}" in the first column, outside comments. If it ends otherwise, it becomes one item with the next,
    which only costs time.
    """
    item: list[str] = []
    comment = False
    for line in lines:
        item.append(line)
        at = line.find("*/" if comment else "/*")
        while at >= 0:
            comment = not comment
            at = line.find("*/" if comment else "/*", at + 2)
        if not comment and line.startswith("}"):
            yield item
            item = []
    if item:
        yield item


def narrow(text: str, words: Iterable[str]) -> str:
    """Blanks every top-level item that contains none of the words, so that spatch has to read only a tenth.

    Line numbers stay the same. #if and related lines also stay, so that code under #if 0 remains disabled.
    """
    wanted = re.compile("|".join(words))
    lines = []
    for item in items(text.removesuffix("\n").split("\n")):
        keep = wanted.search("\n".join(item)) is not None
        lines += [line if keep or CONDITIONAL.match(line) else "" for line in item]
    return "".join(line + "\n" for line in lines)


def conditional_lines(text: str, starts: Iterable[int]) -> set[int]:
    """The lines under an #if, within the functions that start at the given lines.

    SmPL takes both branches of an #if for code that is always compiled, but a lock under an #if does not always lock.
    """
    begin, found = set(starts), set()
    inside, depth = False, 0
    for number, line in enumerate(text.split("\n"), 1):
        if number in begin:
            inside, depth = True, 0
        if not inside:
            continue
        depth += bool(OPENS.match(line)) - bool(CLOSES.match(line))
        if depth > 0:
            found.add(number)
        inside = not line.startswith("}")
    return found
