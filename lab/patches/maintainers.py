# SPDX-License-Identifier: GPL-2.0-only
"""Runs the project's own get_maintainer.pl for the recipients of a patch."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import setup_error
from lab.core.process import CommandFailed, command
from lab.core.steps import Job
from lab.patches.addresses import addresses, sort_addresses
from lab.patches.cover import CoverLetter
from lab.patches.patchfile import PatchFile
from lab.patches.queues import Queue

SCRIPT = "scripts/get_maintainer.pl"
STABLE = "stable@vger.kernel.org"
QUIET = ("--no-git", "--no-git-fallback", "--no-rolestats")


@dataclass(frozen=True)
class Recipients:
    """The addresses in To and in Cc; no address is in both."""

    to: list[str]
    cc: list[str]


def ask(job: Job, source: Path, queue: Queue, patch: Path, *who: str) -> list[str]:
    """Runs the script with the options `who`. Returns the addresses."""
    # QEMU's script is older, and has no such option.
    fixes = () if queue.is_host else ("--no-fixes",)
    # No HOME, so that the user's .get_maintainer.conf has no effect.
    try:
        text = job.output(command("perl", SCRIPT, *QUIET, "--no-git-blame", *fixes, "--no-roles", "--no-multiline",
                                  "--separator=\n", *who, patch, cwd=source, env={"HOME": "/nonexistent"}))
    except CommandFailed as e:
        raise setup_error(f"get_maintainer.pl failed on {patch.name}", "its messages are in the log") from e
    return text.split("\n")


def recipients(job: Job, source: Path, queue: Queue, patch: Path, cover: CoverLetter, sender: str) -> Recipients:
    """The recipients of a patch: those of the script, of the cover letter, and of the patch's own headers. Stable's
    patches go to its list; their maintainers get a copy."""
    maintainers = [a for a in ask(job, source, queue, patch, "--m", "--no-r", "--no-l") if a]
    others = [a for a in ask(job, source, queue, patch, "--no-m", "--r", "--l") if a]
    if not maintainers and not others:
        raise setup_error(f"get_maintainer.pl names nobody for {patch.name}",
                          f"expected at least a list, from {source}/MAINTAINERS")
    headers = PatchFile.read(patch).headers
    first = [STABLE] if queue.stable else maintainers
    to = sort_addresses([*first, *addresses(cover.headers, "To"), *addresses(headers, "To")], sender)
    cc = sort_addresses([*maintainers, *others, *addresses(cover.headers, "Cc"), *addresses(headers, "Cc")], sender, to)
    return Recipients(to, cc)


def of_all(each: list[Recipients], sender: str) -> Recipients:
    """The recipients of the cover letter: the recipients of all patches."""
    to = sort_addresses((a for one in each for a in one.to), sender)
    return Recipients(to, sort_addresses((a for one in each for a in one.cc), sender, to))
