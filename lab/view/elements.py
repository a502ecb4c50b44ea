# SPDX-License-Identifier: GPL-2.0-only
"""Elements of a page or a drawing. The standard library's tree of elements escapes every text and attribute when it is
written, so that nothing that L1 printed becomes markup."""
from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

Element = ElementTree.Element
# What neither XML nor HTML can hold, however it is escaped.
NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(text: object) -> str:
    """A text without the characters that no page can hold."""
    return NOT_TEXT.sub("\ufffd", str(text))


def element(tag: str, *children: Element | str | None, **attributes: object) -> Element:
    """An element with its children, in their order. An attribute class_ is written as class, stroke_width as stroke-width;
    one that is None is left out, and so is a child that is None."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): clean(value)
                         for name, value in attributes.items() if value is not None})
    append(made, children)
    return made


def append(parent: Element, children: Iterable[Element | str | None]) -> None:
    """More children."""
    last = parent[-1] if len(parent) else None
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            parent.append(child)
            last = child
        elif last is None:
            parent.text = (parent.text or "") + clean(child)
        else:
            last.tail = (last.tail or "") + clean(child)


def svg_text(root: Element) -> str:
    """A drawing as a file of its own."""
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def html_text(root: Element) -> str:
    """A page as a file."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"
