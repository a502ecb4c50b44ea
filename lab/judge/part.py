# SPDX-License-Identifier: GPL-2.0-only
"""The part of a run that a JSON file is about: `merge` can tell whether files are parts of one run, and all of it."""
from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.core.options import Given
from lab.core.places import TOP
from lab.core.session import Session
from lab.core.shard import Shard, request_of
from lab.judge.files import versioned, write_json
from lab.patches.git import answer, git_own


def commit_of(folder: Path = TOP) -> str | None:
    """The commit of this repository, with "-dirty" if a file differs from it; None if it is not known."""
    found = answer(git_own(folder, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"))
    # A container of GitLab's or GitHub's may lack git at first.
    return found or os.environ.get("CI_COMMIT_SHA") or os.environ.get("GITHUB_SHA") or None


@dataclass(frozen=True)
class Part:
    """One shard of a run, or the whole."""

    shard: Shard = Shard()
    # All that the run is about, in all its shards; each in the order of the report.
    names: tuple[str, ...] = ()
    # The words of the command line that the result depends on.
    request: tuple[str, ...] = ()
    commit: str | None = None

    @classmethod
    def of(cls, given: Given, shard: Shard, names: Iterable[str]) -> Part:
        """The part that a command line asks for."""
        return cls(shard, tuple(names), request_of(given), commit_of())

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Part:
        """The reverse of to_json()."""
        return cls(Shard(data["number"], data["total"]), tuple(data["names"]), tuple(data["request"]), data["commit"])

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"number": self.shard.number, "total": self.shard.total, "names": list(self.names),
                "request": list(self.request), "commit": self.commit}


def joined_logs(places: Iterable[str]) -> str:
    """Where the logs of several shards are, for a report's last line."""
    return ", ".join(dict.fromkeys(places))


def nothing_to_do(session: Session, part: Part) -> int:
    """Ends a run whose shard is empty: says so, and writes it as JSON. Returns the exit status, a pass."""
    session.terminal.say(f"PASS: shard {part.shard} has nothing to do: {len(part.names)} in all")
    if session.json is not None and not session.dry_run:
        write_json(session.json, versioned({"verb": session.verb, "verdict": "pass", "exit": 0, "shard": part.to_json()}))
        session.json_done = True
    return 0
