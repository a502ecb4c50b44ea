# SPDX-License-Identifier: GPL-2.0-only
"""A C file as text: the part of it that spatch is to read, and the lines that depend on the configuration."""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

CONDITIONAL = re.compile(r"[ \t]*#[ \t]*(if|el|endif)")
OPENS = re.compile(r"[ \t]*#[ \t]*if")
CLOSES = re.compile(r"[ \t]*#[ \t]*endif")


def items(lines: Iterable[str]) -> Iterator[list[str]]:
    """The top-level items of a C file.

    An item ends with a "}" in the first column, outside comments. One that ends in an unusual way is kept together with
    its neighbour, which costs time and nothing else.
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
    """The text with every top-level item blanked that has none of the words, so that spatch has a tenth to read.

    The numbers of the lines stay, and so do #if and its kin: code that they take out must stay out.
    """
    wanted = re.compile("|".join(words))
    lines = []
    for item in items(text.removesuffix("\n").split("\n")):
        keep = wanted.search("\n".join(item)) is not None
        lines += [line if keep or CONDITIONAL.match(line) else "" for line in item]
    return "".join(line + "\n" for line in lines)


def conditional_lines(text: str, starts: Iterable[int]) -> set[int]:
    """The lines that only some configurations have, within the functions that start at the given lines.

    SmPL sees both sides of an #if as if they were always there. A lock that only some configurations have is no lock.
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
