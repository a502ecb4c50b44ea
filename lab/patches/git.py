# SPDX-License-Identifier: GPL-2.0-only
"""Runs git without the user's and the machine's configuration, so that results depend on the commits only."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab.core.process import Command

# The Date of new patches; existing patches keep theirs.
PATCH_DATE = "Mon, 17 Sep 2001 00:00:00 +0000"
IDENTITY = ("snplab", "snplab@localhost")
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1",
    # git's messages are read here, and LANGUAGE would translate them whatever LC_ALL says.
    "LC_ALL": "C.UTF-8", "LANGUAGE": "",
    # Commands that only read, such as "git status", must not even refresh the index.
    "GIT_OPTIONAL_LOCKS": "0",
    **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
       for what, value in zip(("NAME", "EMAIL", "DATE"), (*IDENTITY, PATCH_DATE))}}
SETTINGS = ("core.hooksPath=/dev/null", "core.attributesFile=/dev/null", "core.fsmonitor=false", "core.autocrlf=false",
            "core.quotePath=true", "commit.gpgSign=false", "gc.auto=0", "maintenance.auto=false", "safe.directory=*")
# git am must apply a patch unchanged, or fail.
AM = ("am", "-q", "--keep-non-patch", "--no-3way", "--no-scissors", "--no-message-id", "--keep-cr",
      "--no-ignore-whitespace", "--whitespace=nowarn", "--no-gpg-sign", "--committer-date-is-author-date")


def git_own(folder: Path | None, *words: str | Path, index: Path | None = None) -> Command:
    """The git command in that folder, without the configuration, hooks, attributes, identity and variables of the user and
    the machine. The repository's own configuration still counts. `index` replaces the repository's index."""
    foreign = [word for name in sorted(os.environ) if name.startswith("GIT_") for word in ("-u", name)]
    ours = dict(ENVIRONMENT, **({"GIT_INDEX_FILE": str(index)} if index else {}))
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    place = ["-C", str(folder)] if folder is not None else []
    return Command(("env", *foreign, *(f"{name}={value}" for name, value in ours.items()),
                    "git", *settings, *place, *(str(word) for word in words)))


def applies(folder: Path, patch: Path, context: int, reverse: bool, check: bool = True) -> str | None:
    """Tries a patch on the files below a folder, with that many lines of context. What git says about the hunks' places, or
    None if the patch does not apply. Nothing is changed, unless `check` is false."""
    words = ["apply", *(["--check"] if check else []), "--verbose", "--whitespace=nowarn", f"-C{context}",
             *(["-R"] if reverse else [])]
    # The empty repository of /dev/null is none: inside of a repository, git would skip files that are not tracked.
    cmd = git_own(folder, "--git-dir=/dev/null", "--work-tree=.", *words, patch)
    done = subprocess.run(cmd.argv, env=cmd.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, check=False)
    said = done.stderr.decode("utf-8", "replace")
    return said if done.returncode == 0 and "Checking patch " in said else None


def is_here() -> bool:
    """Is git installed?"""
    return shutil.which("git") is not None


def answer(cmd: Command) -> str | None:
    """The output of a short command outside of any step, without the last newline; None if the command fails."""
    try:
        done = subprocess.run(cmd.argv, cwd=cmd.cwd, env=cmd.environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return None
    return done.stdout.decode("utf-8", "replace").rstrip("\n") if done.returncode == 0 else None


def is_top_of_repository(folder: Path) -> bool:
    """Is the folder the top of a git work tree? A folder inside of one does not count."""
    return answer(git_own(folder, "rev-parse", "--show-toplevel")) == str(folder)
