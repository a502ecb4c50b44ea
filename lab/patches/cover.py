# SPDX-License-Identifier: GPL-2.0-only
"""The file cover-letter of a series: headers, then a text."""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import setup_error
from lab.patches.patchfile import header_values, read, to_lines, to_text
from lab.patches.series import patch_name

HEADER = re.compile(r"(subject|in-reply-to|references|to|cc|from|date|message-id|reply-to): ", re.I)
VERSION = re.compile(r"\[[^]]*PATCH[^]]*\b(v[0-9]+)\b[^]]*\]")
PREFIX = re.compile(r"\[[^]]*PATCH[^]]*\] *")
FORM = "Subject:, In-Reply-To:, To:, Cc: first, a blank line, then the text"


@dataclass(frozen=True)
class CoverLetter:
    """A cover letter: its headers, such as recipients, and its text."""

    headers: list[str]
    text: str
    subject: str
    # "v2" if the Subject has it. The cover letter is where the author sets the version of the series.
    version: str

    @property
    def in_reply_to(self) -> str:
        """The id of the mail that the series replies to, or nothing."""
        return next(iter(header_values(self.headers, "In-Reply-To")), "")


def split(lines: list[str]) -> tuple[list[str], list[str]]:
    """Splits the file into headers and text. A first line that is no header is the subject."""
    if lines and re.match(r"From [0-9a-f]+ ", lines[0]):
        lines = lines[1:]
    start = next((i for i, line in enumerate(lines) if line), len(lines))
    lines = lines[start:]
    if lines and not HEADER.match(lines[0]):
        headers, text = [f"Subject: {lines[0]}"], lines[1:]
    else:
        end = lines.index("") if "" in lines else len(lines)
        headers, text = lines[:end], lines[end:]
    while text and not text[0]:
        text = text[1:]
    return headers, text


def read_cover_letter(path: Path) -> CoverLetter:
    """Reads a cover letter. Raises if it has no subject or no text."""
    headers, text = split([line.removesuffix("\r") for line in to_lines(read(path))])
    subject = next(iter(header_values(headers, "Subject")), "")
    if not subject or not text:
        raise setup_error(f"{patch_name(path)}: expected a Subject: and a text, found only one of them or neither", FORM)
    version = VERSION.match(subject)
    return CoverLetter(headers, to_text(text), PREFIX.sub("", subject, count=1) if PREFIX.match(subject) else subject,
                       version[1] if version else "")


def need_cover_letter(path: Path) -> None:
    """Raises if the file is missing or empty."""
    if not path.is_file() or not path.stat().st_size:
        raise setup_error(f"expected a cover letter in {patch_name(path)}, found none", f"write one: {FORM}")
