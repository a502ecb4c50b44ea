# SPDX-License-Identifier: GPL-2.0-only
"""Wrong headers of patches end a verb before it fetches or builds anything: its verdict would be a failure anyway."""
from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.core.errors import Exit, Stop
from lab.core.places import TOP


def refuse_wrong_headers(errors: Iterable[tuple[Path, Sequence[str]]], form: str) -> None:
    """Raises, with the status of a failed test, if a patch's header has mistakes. `form`: the file that says how a header
    looks."""
    lines = [f"{os.path.relpath(patch, TOP)}: {error}" for patch, found in errors for error in found]
    if not lines:
        return
    stop = Stop(Exit.FAIL, f"expected no mistake in the patches' headers, found {len(lines)}: see above",
                f"correct them: {form} has the form of a header. Nothing was fetched, built or tried")
    stop.before = "".join(f"{line}\n" for line in lines)
    raise stop
