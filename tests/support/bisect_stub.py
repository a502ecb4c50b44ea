# SPDX-License-Identifier: GPL-2.0-only
"""`snplab bisect-step` with a stub for the build and the boot, which take minutes: the file "outcome" of the tree says how
the test of its commit ends. The stub appends the outcome to the file that SNPLAB_STUB_LOG names.

usage: bisect_stub.py WORD...
"""
from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lab import cli  # noqa: E402
from lab.core.errors import Exit, Stop, setup_error, tree_error  # noqa: E402
from lab.judge.bisection import Answer, Word  # noqa: E402
from lab.verbs.bisect_step import StepRun  # noqa: E402

# The outcomes that are errors.
ERRORS = {"build": tree_error("the kernel does not build: sev.c:7:1: error: x", "see the log"),
          "skip": Stop(Exit.SKIP, "nothing is left to run"), "setup": setup_error("no space left", "free some")}


def outcome(run: StepRun) -> Answer:
    """The outcome of the commit that is checked out."""
    word = (run.asked.folder / "outcome").read_text(encoding="utf-8").strip()
    with open(os.environ["SNPLAB_STUB_LOG"], "a", encoding="utf-8") as log:
        log.write(word + "\n")
    if word in ERRORS:
        raise ERRORS[word]
    return Answer(Word(word), "1 passed" if word == "good" else "not ok: a.b")


if __name__ == "__main__":
    setattr(StepRun, "test", outcome)
    sys.exit(cli.main(["bisect-step", *sys.argv[1:]]))
