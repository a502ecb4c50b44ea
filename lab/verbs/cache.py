# SPDX-License-Identifier: GPL-2.0-only
"""The verb cache: lists the contents of the cache, and removes parts that are no longer used."""
from __future__ import annotations

from lab.build.contents import prune, removable, shown_size, size, sizes
from lab.core.errors import Exit
from lab.core.options import Given, Option
from lab.core.places import tilde
from lab.core.process import command
from lab.core.session import Session
from lab.core.steps import show
from lab.judge.files import versioned, write_json

OPTIONS = (Option("--prune"), Option("--json", "FILE"))
USAGE = """\
usage: ./snplab cache [--prune] [--json FILE] [--dry-run]

Lists the contents of the cache, by kind and size, and the folders that the newest versions do not use. All of the
cache can be deleted at any time: the next run fetches and builds again what it needs.

  --prune         remove the folders that the newest versions do not use, except those that another run uses
  --json FILE     the same as JSON
  --dry-run       with --prune: print what would be removed, as commands
  --help          this text
"""


def main(session: Session, given: Given) -> int:
    """Lists the cache; with --prune, removes unused folders."""
    given.no_arguments("cache")
    root, say = session.cache.root, session.terminal.say
    if session.dry_run and given.flag("--prune"):
        if root.is_dir():
            show(session, [command("rm", "-rf", item.path, note=item.why) for item in removable(session.cache)])
        return Exit.PASS
    if not root.is_dir():
        say(f"{tilde(root)}: the cache is empty")
        rows, items = [], []
    else:
        rows, items = sizes(session.cache), removable(session.cache)
        for folder, about, count in rows:
            say(f"{shown_size(count):>8}  {folder:<10} {about}")
        total = sum(count for _, _, count in rows)
        say(f"{shown_size(total):>8}  in {tilde(root)}; a file that is in several folders counts once")
    freed = busy = 0
    if given.flag("--prune"):
        freed, busy = prune(session, say) if root.is_dir() else (0, 0)
        say(f"removed {shown_size(freed)}")
    elif items:
        say(f"the newest versions do not use {len(items)} of its folders; ./snplab cache --prune removes them:")
        for item in items:
            say(f"      {item.path.relative_to(root)}: {item.why}")
    if session.json is not None:
        session.json_done = True
        write_json(session.json, versioned({
            "verb": "cache", "verdict": "pass", "exit": 0, "root": str(root), "freed": freed, "busy": busy,
            "kinds": [{"folder": folder, "about": about, "bytes": count} for folder, about, count in rows],
            "removable": [{"path": str(item.path), "why": item.why, "bytes": size(item.path) if item.path.exists() else 0}
                          for item in items]}))
    return Exit.PASS
