# SPDX-License-Identifier: GPL-2.0-only
"""Reads the messages that a kernel's C file can print, as lines of its log."""
from __future__ import annotations

import re
from collections.abc import Iterator

# Debugging messages (pr_debug, dev_dbg) are not in a log unless somebody asks for them.
PRINTS = re.compile(r"\b(?:(?P<kind>pr|dev|pci)_(?:emerg|alert|crit|err|warn|notice|info)(?:_once|_ratelimited)?"
                    r"|WARN(?:_ONCE|_RATELIMIT)?|vcpu_unimpl|panic|printk(?:_once)?)\s*\(")
COMMENT = re.compile(r"/\*.*?\*/", re.S)
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
# Between the parts of one string constant: white space, or a macro such as FW_BUG.
MACRO = re.compile(r"FW_(BUG|WARN|INFO)\s*$")
MACROS = {"FW_BUG": "[Firmware Bug]: ", "FW_WARN": "[Firmware Warn]: ", "FW_INFO": "[Firmware Info]: "}
CONVERSION = re.compile(r"%[-+ #0]*[0-9*]*(?:\.[0-9*]+)?(?:hh|h|ll|l|z)?(?:p[A-Za-z0-9]*|\*?pbl?|[diuxXscp])")


def messages(text: str) -> Iterator[tuple[str, str]]:
    """Each call in C code that prints, with the text of its format: ("pr", "SNP init failed: …").

    The first word is pr, dev or pci; "" for functions that put no prefix before the text, such as WARN.
    """
    text = COMMENT.sub(lambda found: " " * len(found[0]), text)
    for call in PRINTS.finditer(text):
        rest = text[call.end():]
        first = STRING.search(rest)
        end = re.search(r"\)\s*;|\)\)", STRING.sub(lambda found: '"' + "x" * (len(found[0]) - 2) + '"', rest))
        if first is None or end is not None and end.start() < first.start():
            continue
        macro = MACRO.search(rest[:first.start()])
        said, at = MACROS[macro[0].strip()] if macro else "", first.start()
        while found := re.compile(r"\s*" + STRING.pattern).match(rest, at):
            said, at = said + found[1], found.end()
        yield call["kind"] or "", said.removesuffix("\\n")


def sample(form: str) -> str:
    """A line that this format can print: each number and each word is 1; a string that ends a word is empty."""
    return CONVERSION.sub("1", re.sub(r"(?<=\w)%s", "", form)).replace("%%", "%").replace('\\"', '"')
