# SPDX-License-Identifier: GPL-2.0-only
"""Mail headers: their addresses, folding and encoding."""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.charset import QP, Charset
from email.header import Header

from lab.patches.patchfile import header_values

# One address: characters other than commas, and quoted strings, which may have commas.
ADDRESS = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*"|[^",])+)(?:,|$)')
NAMED = re.compile(r"(.*?)\s*(<[^>]*>)")
# Characters that need no quotes in a name.
PLAIN_NAME = re.compile(r"[A-Za-z0-9 !#$%&'*+/=?^_`{|}~-]*")
NOT_ASCII = re.compile(r"[^\x20-\x7e]")
WIDTH = 78


def addresses(headers: list[str], name: str) -> list[str]:
    """The addresses in all headers of that name, in order."""
    found = [match.strip() for value in header_values(headers, name) for match in ADDRESS.findall(value)]
    return [address for address in found if address]


def bare(address: str) -> str:
    """The address alone, in lower case."""
    in_brackets = re.search(r"<([^>]*)>\s*$", address)
    return re.sub(r"\s+\(.*\)$", "", in_brackets[1] if in_brackets else address).lower()


def sort_addresses(found: Iterable[str], sender: str, besides: Iterable[str] = ()) -> list[str]:
    """Sorts people before lists. Drops duplicates, the sender, and the addresses in `besides`."""
    seen = {sender.lower(), *(bare(address) for address in besides)}
    people, lists = [], []
    for address in (a.strip() for a in found):
        if not address or bare(address) in seen:
            continue
        seen.add(bare(address))
        if "<" in address:
            people.append(address)
        else:
            lists.append(re.sub(r"\s+\(.*\)$", "", address))
    return people + lists


def encode(text: str, header: str = "") -> str:
    """Encodes text that is not ASCII as RFC 2047 says; the first line leaves room for the header's name."""
    charset = Charset("utf-8")
    charset.header_encoding = QP
    return Header(text, charset, maxlinelen=WIDTH - 3, header_name=header).encode().replace("=?utf-8?q?", "=?UTF-8?Q?")


def subject_header(text: str) -> str:
    """The Subject header, folded."""
    if NOT_ASCII.search(text):
        return f"Subject: {encode(text, 'Subject')}\n"
    lines, line = [], "Subject:"
    for word in text.split(" "):
        if len(line) + 1 + len(word) > WIDTH and line != "Subject:":
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\n".join([*lines, line]) + "\n"


def address_header(name: str, found: Sequence[str]) -> str:
    """A From, To or Cc header, one address a line."""
    return f"{name}: " + ",\n\t".join(as_header(address) for address in found) + "\n"


def as_header(address: str) -> str:
    """An address for a header, with its name encoded or quoted if it has to be."""
    parts = NAMED.fullmatch(address)
    if parts is None:
        return address
    name, where = parts.groups()
    if NOT_ASCII.search(name):
        quoted = re.fullmatch(r'"(.*)"', name)
        name = encode(re.sub(r"\\(.)", r"\1", quoted[1] if quoted else name))
    elif not re.fullmatch(r'".*"', name) and not PLAIN_NAME.fullmatch(name):
        name = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    return f"{name} {where}"
