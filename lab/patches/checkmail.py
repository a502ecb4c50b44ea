# SPDX-License-Identifier: GPL-2.0-only
"""Checks the mails before they are sent: git must read the right author and sign-off, the mails must apply to the same
result as the series, and checkpatch reads each mail, which has a sign-off now."""
from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lab.core.errors import setup_error
from lab.core.process import CommandFailed, command
from lab.core.steps import Job
from lab.patches.combined import SmallRepository
from lab.patches.git import git_own
from lab.patches.patchfile import read, to_lines
from lab.patches.queues import Queue
from lab.patches.sender import Sender

FINDING = re.compile(r".*\.patch:([0-9]+): ?(.*)")
# Lines that stable's maintainers want like this. checkpatch complains about their form.
STABLE = re.compile(r'\[ Upstream commit [0-9a-f]{40} \]|Stable-dep-of: [0-9a-f]{12} \(".*"\)')
FORM = ("GIT_COMMIT_ID:", "COMMIT_LOG_LONG_LINE:")


def check_mails(job: Job, queue: Queue, source: Path, sender: Sender, cover: Path, mails: Sequence[Path],
                repository: SmallRepository, wanted: str) -> None:
    """Raises if git reads a mail wrong; tells checkpatch's findings. `wanted` is the id of the tree after the series."""
    for mail in [*mails, cover]:
        check_as_git_reads(job, sender, mail, mail != cover)
    try:
        found = repository.tree_of(mails)
    except CommandFailed as e:
        raise setup_error("the mails do not apply, although the series does", "git's messages are in the log") from e
    if found != wanted:
        raise setup_error("the mails and the series result in different trees", "git's messages are in the log")
    job.tell(f"git am applies all {len(mails)} mails, with the same result as the series")
    for mail in mails:
        findings = checkpatch(job, queue, source, mail)
        if not findings:
            job.tell(f"checkpatch --strict: clean: {mail.name}")
            continue
        job.tell(f"checkpatch --strict: {mail.name}:")
        for finding in findings:
            job.tell(f"  line {finding}")


def check_as_git_reads(job: Job, sender: Sender, mail: Path, signed: bool) -> None:
    """Raises unless git finds the sender as the mail's author and, if `signed`, one sign-off."""
    message = mail.parent.parent / "message"
    try:
        info = job.bytes_of(git_own(None, "mailinfo", "--encoding=UTF-8", "-b", "--no-scissors", message, "/dev/null"),
                            stdin=mail.read_bytes()).decode("utf-8", "surrogateescape")
    except CommandFailed as e:
        raise setup_error(f"{mail.name}: git mailinfo cannot read it") from e
    if not {f"Author: {sender.name}", f"Email: {sender.email}"} <= set(to_lines(info)):
        raise setup_error(f"{mail.name}: expected git to read the author {sender}, found {' '.join(to_lines(info)[:2])}")
    if signed and to_lines(read(message)).count(sender.sign_off) != 1:
        raise setup_error(f"{mail.name}: expected your sign-off exactly once", f"look at its patch, {mail.name[5:]}")


def checkpatch(job: Job, queue: Queue, source: Path, mail: Path) -> list[str]:
    """checkpatch's findings, each as "LINE: TEXT"; empty if the mail is clean."""
    # Without a git history, checkpatch reports every commit as unknown.
    known = () if (source / ".git").exists() else ("--ignore", "UNKNOWN_COMMIT_ID")
    options = () if queue.is_host else ("--show-types", *known)
    try:
        said = job.output(command("perl", "scripts/checkpatch.pl", "--no-tree", "--strict", "--terse",
                                  "--no-summary", "--color=never", *options, mail, cwd=source), ok=(0, 1))
    except CommandFailed as e:
        return [f"0: checkpatch.pl ended with status {e.status}: its messages are in the log"]
    lines, findings = to_lines(read(mail)), []
    for line in said.splitlines():
        found = FINDING.fullmatch(line)
        if found is None:
            findings.append(line)
        elif not any(kind in found[2] for kind in FORM) or not STABLE.fullmatch(lines[int(found[1]) - 1]):
            findings.append(f"{found[1]}: {found[2]}")
    return findings
