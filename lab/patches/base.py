# SPDX-License-Identifier: GPL-2.0-only
"""The base that the user gives a series, instead of Debian's package."""
from __future__ import annotations

from pathlib import Path

from lab.build.sources import not_a_kernel
from lab.core.options import Given
from lab.core.places import kernel_version


def base_option(given: Given) -> Path | None:
    """The kernel source tree that --linux names."""
    folder = given.folder("--linux")
    if folder is not None and kernel_version(folder) is None:
        raise not_a_kernel(given.values["--linux"])
    return folder
