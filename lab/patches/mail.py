# SPDX-License-Identifier: GPL-2.0-only
"""Writes a series as files for git send-email. Nothing is sent. Only this module adds the sender's sign-off: the patches in
this repository have none."""
from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path

from lab.build.sources import Source
from lab.core.errors import setup_error
from lab.core.places import tilde
from lab.core.steps import Job
from lab.patches.addresses import address_header, subject_header
from lab.patches.beside import folder_beside
from lab.patches.checkmail import check_mails
from lab.patches.combined import SmallRepository, base_lines
from lab.patches.cover import CoverLetter, read_cover_letter
from lab.patches.maintainers import SCRIPT, Recipients, of_all, recipients
from lab.patches.newfiles import read_whole, write_whole
from lab.patches.outgoing import write_sums
from lab.patches.patchfile import PatchFile, to_text, write
from lab.patches.sender import Sender
from lab.patches.queues import Queue
from lab.patches.series import patch_name, patch_subject

COVER = "0000-cover-letter.patch"
SIGNED = re.compile(r"Signed-off-by:", re.I)
TAG = re.compile(r"(?:Fixes|Cc|Link|Closes|Message-I[Dd]|Depends-on|[A-Z][A-Za-z]*(?:-[a-z]+)*-(?:by|from|of)): ")
# Lines allowed among the trailers: the remarks in brackets of stable backports, and continued lines.
BETWEEN_TAGS = re.compile(r"\[.*\]?$|\s")


def mail_name(number: int, patch: Path) -> str:
    """The file name of a patch's mail."""
    return f"{number:04d}-{patch.name}"


def need_unsigned(patches: list[Path]) -> None:
    """Raises if a patch has a sign-off already."""
    for patch in patches:
        parts = PatchFile.read(patch)
        if any(SIGNED.match(line) for line in [*parts.headers, *parts.message]):
            raise setup_error(f"{patch_name(patch)} has a Signed-off-by: patches in this repository have none",
                              "remove it; mail adds yours")


def sign_off(message: str, line: str) -> str:
    """Adds the sign-off to the message: to its trailers, or as the first trailer."""
    message = message.rstrip()
    last = message.rpartition("\n\n")[2].split("\n")
    tags = any(TAG.match(text) for text in last)
    others = any(not TAG.match(text) and not BETWEEN_TAGS.match(text) for text in last)
    if message:
        message += "\n" if tags and not others else "\n\n"
    return f"{message}{line}\n"


@dataclass
class Mailing:
    """The mails of one series."""

    queue: Queue
    sender: Sender
    cover: CoverLetter
    patches: list[Path]
    # Part of each Message-ID, and different in each run: servers drop a mail whose id they have seen.
    stamp: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y%m%d%H%M%S}.{secrets.token_hex(4)}")

    def mail_id(self, number: int) -> str:
        """The Message-ID of a mail; the cover letter is number 0."""
        return f"<{self.stamp}-{number}-{re.sub(r'[^A-Za-z0-9.@_+-]', '_', self.sender.email)}>"

    def subject(self, number: int, text: str) -> str:
        """A mail's subject, numbered as in git format-patch: 01/12, but 1/3."""
        words = [word for word in ("PATCH", self.queue.stable, self.cover.version) if word]
        count = str(len(self.patches))
        return f"[{' '.join(words)} {number:0{len(count)}d}/{count}] {text}"

    def head(self, number: int, title: str, to: Recipients, in_reply_to: str, references: str, text: str) -> str:
        """The headers of a mail. `text` decides whether they have to name a charset."""
        head = [f"From {0:040d} Mon Sep 17 00:00:00 2001\n", f"Message-ID: {self.mail_id(number)}\n"]
        head += [f"In-Reply-To: {in_reply_to}\n"] if in_reply_to else []
        head += [f"References: {references}\n"] if references else []
        head += [address_header("From", [str(self.sender)]), f"Date: {format_datetime(datetime.now().astimezone())}\n",
                 subject_header(self.subject(number, title)), address_header("To", to.to)]
        head += [address_header("Cc", to.cc)] if to.cc else []
        if re.search(r"[^ -~\s]", self.sender.name + text, re.A):
            head.append("MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n")
        return "".join(head)

    def patch_mail(self, number: int, patch: Path, to: Recipients) -> str:
        """The mail of a patch: a reply to the cover letter."""
        parts = read_whole(patch)
        references = " ".join(part for part in (self.cover.in_reply_to, self.mail_id(0)) if part)
        head = self.head(number, parts.subject, to, self.mail_id(0), references, parts.text)
        return "\n".join([head, sign_off(to_text(parts.message), self.sender.sign_off) + to_text(parts.from_rule)])

    def cover_mail(self, to: Recipients, diffstat: str, base: str) -> str:
        """The cover letter's mail."""
        subjects = "".join(f"  {patch_subject(patch)}\n" for patch in self.patches)
        text = f"{self.cover.text}\n{self.sender.name} ({len(self.patches)}):\n{subjects}\n{diffstat}\n{base}"
        reply = self.cover.in_reply_to
        return f"{self.head(0, self.cover.subject, to, reply, reply, text)}\n{text}"


def need_scripts(queue: Queue, source: Path) -> None:
    """Raises if the source tree lacks a file that mail needs."""
    if not (source / SCRIPT).exists() or not (source / "MAINTAINERS").exists():
        raise setup_error(f"{tilde(source)}: expected {SCRIPT} and MAINTAINERS, one or both are missing",
                          f"give a complete {queue.project} tree: {queue.option} DIR")


def write_mails(job: Job, queue: Queue, source: Source, sender: Sender, folder: Path) -> Recipients:
    """Writes the mails, checks them, and then moves them to `folder`. Returns the recipients of the cover letter."""
    need_scripts(queue, source.path)
    temporary = folder_beside(job.session, folder, "name a folder that can be written: --output DIR")
    new = temporary / "new"
    new.mkdir()
    mailing = Mailing(queue, sender, read_cover_letter(queue.cover_letter), queue.patches)
    wholes = write_whole(mailing.patches, temporary / "whole")
    each: list[Recipients] = []
    for number, (patch, whole) in enumerate(zip(mailing.patches, wholes), 1):
        job.write(mail_name(number, patch))
        each.append(recipients(job, source.path, queue, whole, mailing.cover, sender.email))
        write(new / mail_name(number, patch), mailing.patch_mail(number, patch, each[-1]))
    everybody = of_all(each, sender.email)
    repository = SmallRepository(job, queue, source, temporary / "apply", wholes)
    wanted = repository.series_tree()
    write(new / COVER, mailing.cover_mail(everybody, repository.diffstat(), base_lines(queue, source)))
    mails = [new / mail_name(number, patch) for number, patch in enumerate(mailing.patches, 1)]
    check_mails(job, queue, source.path, sender, new / COVER, mails, repository, wanted)
    write_sums(new)
    with job.whole():
        if folder.exists():
            os.rename(folder, temporary / "old")
        os.rename(new, folder)
    return everybody
