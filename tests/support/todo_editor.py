# SPDX-License-Identifier: GPL-2.0-only
"""For GIT_SEQUENCE_EDITOR: `todo_editor.py 2 1 edit:3 FILE` keeps these commits of `git rebase -i`, in this order."""
from __future__ import annotations

import sys
from pathlib import Path


def main(words: list[str], todo: Path) -> None:
    """Rewrites the to-do list."""
    picks = [line for line in todo.read_text(encoding="utf-8").splitlines() if line.startswith("pick ")]
    lines = []
    for word in words:
        command, _, number = word.rpartition(":")
        lines.append(picks[int(number) - 1].replace("pick", command or "pick", 1))
    todo.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


main(sys.argv[1:-1], Path(sys.argv[-1]))
