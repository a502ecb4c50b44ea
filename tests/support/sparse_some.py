# SPDX-License-Identifier: GPL-2.0-only
"""kbuild's CHECK=: sparse for the files that $SPARSE_FILES names, a colon between them. $SPARSE_CALLS gets a line for each.

A header's change recompiles all of KVM. Linux 7.3 wants a sparse that knows __typeof_unqual__; to Debian 12's, the plain
operator says as much.
"""
from __future__ import annotations

import os
import sys


def main(words: list[str]) -> None:
    """Becomes sparse, or nothing."""
    files = os.environ["SPARSE_FILES"].split(":")
    if any(word.endswith(f"/{name}") or word == name for word in words for name in files):
        with open(os.environ["SPARSE_CALLS"], "a", encoding="utf-8") as f:
            f.write(words[-1] + "\n")
        os.execvp("sparse", ["sparse", "-D__typeof_unqual__=__typeof__", *words])


main(sys.argv[1:])
