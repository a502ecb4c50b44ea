# SPDX-License-Identifier: GPL-2.0-only
"""What several verbs' --help and dry runs share."""
from __future__ import annotations

from lab.boot.boot import Boot
from lab.core.process import Command
from lab.core.session import Session

OPTIONS = """\
  --linux DIR     take this kernel source tree as the base, instead of Debian's package
  --dry-run       print what would be done, as commands
  --help          this text"""
OPTIONS_QEMU = "  --qemu DIR      take this QEMU source tree for the emulated host, instead of Debian's package"
OPTIONS_SELFTESTS = """\
  --selftests DIR take the KVM selftests of this 7.x kernel source tree, instead of Debian's package"""


def boot_command(boot: Boot) -> Command:
    """QEMU's line as a dry run shows it."""
    return Command(tuple(boot.line()))


def say_old_cache(session: Session) -> None:
    """A word about what an older snplab left in the cache and nobody reads any more."""
    del session
