#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a boot left in a folder, one thing a line, for shell scripts; lab/verdict.py reads the files.

usage: results.py LOGS

Fields by tabs: "test NAME RESULT REASON", "report LINE", "panic LINE", "errors N" (or "unknown WHY") and
"error KIND N", "end yes" (or "no", or the time-out's seconds).
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lab"))
sys.dont_write_bytecode = True
import verdict  # noqa: E402


def say(*fields):
    print("\t".join(str(f).replace("\t", " ") for f in fields))


def main():
    logs = sys.argv[1]
    _, tests, _, ended = verdict.parse_ktap(verdict.read(f"{logs}/ktap.log"))
    for t in tests:
        say("test", t["name"], t["result"], t["reason"])
    for line in verdict.read(f"{logs}/kernel.log"):
        if verdict.REPORT.search(line):
            say("report", line.strip())
        if verdict.PANIC.search(line):
            say("panic", line.strip())
    host = verdict.read_json(f"{logs}/host.json")
    if isinstance(host.get("guest-errors"), int):
        say("errors", host["guest-errors"])
        for kind, n in sorted(host.get("errors", {}).items()):
            if n:
                say("error", kind, n)
    else:
        say("errors", "unknown", host.get("missing", "host.json is not there, or not whole"))
    not_booted = verdict.read(f"{logs}/not-booted")
    timed_out = verdict.read(f"{logs}/timed-out")
    say("end", "yes" if ended and not timed_out else timed_out[0] if timed_out else "no", *not_booted[:1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
