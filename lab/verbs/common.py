# SPDX-License-Identifier: GPL-2.0-only
"""Parts that several verbs share: lines of --help, the boot in a dry run, the note about an older cache, pages."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.boot.boot import Boot
from lab.build.contents import shown_size
from lab.core.errors import setup_error
from lab.core.places import cache_top, older_parts, tilde
from lab.core.process import Command, quote
from lab.core.session import Session
from lab.judge.files import write_whole

# The seconds for counting the size of an old cache.
SECONDS = 1.0

OPTIONS = """\
  --linux DIR     take this kernel source tree as the base, instead of Debian's package
  --dry-run       print what would be done, as commands
  --help          this text"""
OPTIONS_QEMU = "  --qemu DIR      take this QEMU source tree for the emulated host, instead of Debian's package"
OPTION_SANITIZE = """\
  --sanitize      a kernel with KASAN and fault injection, in a work folder of its own: slower"""
OPTION_CONFIG = """\
  --config FILE   a fragment for the kernel's configuration, on top of the lab's: lines CONFIG_SYMBOL=value; the kernel
                  has a work folder of its own"""
OPTIONS_SELFTESTS = """\
  --selftests DIR take the KVM selftests of this 7.x kernel source tree, instead of Debian's package"""
OPTION_OWN_SELFTESTS = """\
  --selftests tree
                  take those of --tree DIR"""


def boot_command(boot: Boot) -> Command:
    """QEMU's command line, for --dry-run."""
    return Command(tuple(boot.line()))


def say_result(session: Session, lines: Sequence[str], page: Callable[[], str]) -> None:
    """Prints a result, then writes its page if --html asks for it."""
    for line in lines:
        session.terminal.say(line)
    if session.html is not None:
        write_page(session.html, page())


def write_page(path: Path, text: str) -> None:
    """Writes a file of --html. Called after the verdict is printed, so that a full disk does not cost the verdict."""
    try:
        write_whole(path, text)
    except OSError as e:
        raise setup_error(f"--html: cannot write {tilde(path)}: expected a file that can be written, found: {e.strerror}",
                          "the verdict above holds; is the disk full, or was the folder removed?") from e


def say_old_cache(session: Session) -> None:
    """Tells the user about the cache of an older snplab, which is no longer used."""
    parts = older_parts()
    if not parts or session.dry_run:
        return
    count, whole = size_within(parts, SECONDS)
    session.terminal.note(f"{tilde(cache_top())} has {'' if whole else 'more than '}{shown_size(count)} of an older snplab, "
                          "which this version does not use. To remove it:")
    session.terminal.note(quote(["rm", "-rf", *map(str, parts)]))


def size_within(parts: Sequence[Path], seconds: float) -> tuple[int, bool]:
    """The bytes on the disk that can be counted in that time, and whether all were counted."""
    end, total, seen = time.monotonic() + seconds, 0, set[tuple[int, int]]()
    stack = list(map(str, parts))
    while stack:
        if time.monotonic() > end:
            return total, False
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    stat = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    elif stat.st_nlink == 1 or (stat.st_dev, stat.st_ino) not in seen:
                        seen.add((stat.st_dev, stat.st_ino))
                        total += stat.st_blocks * 512
        except OSError:
            continue
    return total, True
