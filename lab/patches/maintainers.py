# SPDX-License-Identifier: GPL-2.0-only
"""Runs the kernel's own get_maintainer.pl for the recipients of a patch."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import setup_error
from lab.core.process import CommandFailed, command
from lab.core.steps import Job
from lab.patches.addresses import addresses, sort_addresses
from lab.patches.cover import CoverLetter
from lab.patches.patchfile import PatchFile

SCRIPT = "scripts/get_maintainer.pl"
STABLE = "stable@vger.kernel.org"
QUIET = ("--no-git", "--no-git-fallback", "--no-rolestats")


@dataclass(frozen=True)
class Recipients:
    """The addresses in To and in Cc; nobody twice."""

    to: list[str]
    cc: list[str]


def ask(job: Job, source: Path, patch: Path, *who: str) -> list[str]:
    """The script's answer, an address a line."""
    # The user's own .get_maintainer.conf would have a say: no HOME for it.
    try:
        text = job.output(command("perl", SCRIPT, *QUIET, "--no-git-blame", "--no-fixes", "--no-roles", "--no-multiline",
                                  "--separator=\n", *who, patch, cwd=source, env={"HOME": "/nonexistent"}))
    except CommandFailed as e:
        raise setup_error(f"get_maintainer.pl failed on {patch.name}", "what it said is in the log") from e
    return text.split("\n")


def is_stable(tree: str) -> bool:
    """Is the tree a stable one?"""
    return tree.endswith(".y")


def recipients(job: Job, source: Path, tree: str, patch: Path, cover: CoverLetter, sender: str) -> Recipients:
    """The recipients that the cover letter and the patch ask for are added; stable takes its patches by its list."""
    maintainers = [a for a in ask(job, source, patch, "--m", "--no-r", "--no-l") if a]
    others = [a for a in ask(job, source, patch, "--no-m", "--r", "--l") if a]
    if not maintainers and not others:
        raise setup_error(f"get_maintainer.pl names nobody for {patch.name}",
                          f"expected at least a list, from {source}/MAINTAINERS")
    headers = PatchFile.read(patch).headers
    first = [STABLE] if is_stable(tree) else maintainers
    to = sort_addresses([*first, *addresses(cover.headers, "To"), *addresses(headers, "To")], sender)
    cc = sort_addresses([*maintainers, *others, *addresses(cover.headers, "Cc"), *addresses(headers, "Cc")], sender, to)
    return Recipients(to, cc)


def of_all(each: list[Recipients], sender: str) -> Recipients:
    """The cover letter goes to everybody."""
    to = sort_addresses((a for one in each for a in one.to), sender)
    return Recipients(to, sort_addresses((a for one in each for a in one.cc), sender, to))
