# SPDX-License-Identifier: GPL-2.0-only
"""The one parser of the kernel's trace, as L1's init has it written: tracefs's own text, in trace.log.

    # entries-in-buffer/entries-written: 120/120   #P:4
    sev_snp_launch_-123 (  120) [001] d..1.  12.345678: lock_acquire: 00000000f2a1b3c4 &vcpu->mutex
    sev_snp_launch_-123 (  120) [001] .....  12.345700: vm_call: (sev_mem_enc_ioctl+0x0/0x5a0 [kvm_amd]) id=102
    # refused: events/kvm/kvm_entry/enable: 1: No such file or directory
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

REFUSED = "# refused: "
ENTRIES = "# entries-in-buffer/entries-written:"
COUNTS = re.compile(r" (\d{1,19})/(\d{1,19})(?= |$)", re.ASCII)
# Lines of L1 may have anything: the lengths are bounded, as int() refuses numbers of thousands of digits.
LINE = re.compile(r"^ *(?P<task>.+)-(?P<pid>\d{1,10}) +\( *(?P<tgid>\d{1,10}|-+)\) \[\d+\] \S+ +"
                  r"(?P<seconds>\d{1,9})\.(?P<micros>\d{6}): (?P<event>\w+): (?P<rest>.*)$", re.ASCII)
OVERRUN = re.compile(r"^CPU:\d+ \[LOST (?:(\d{1,19}) )?EVENTS\]", re.ASCII)
NUMBER = r"(?P<number>-?(?:0x[0-9a-f]{1,16}|0|[1-9][0-9]{0,18}))"
# An event's form, behind its name.
FORMS = {name: re.compile(form, re.ASCII) for name, form in {
    "lock_acquire": r"(?P<lock>[0-9a-f]+) (?P<tried>try )?(?:read )?(?P<name>\S.*)$",
    "lock_acquired": r"(?P<lock>[0-9a-f]+) (?P<name>\S.*)$",
    "lock_release": r"(?P<lock>[0-9a-f]+) (?P<name>\S.*)$",
    "kvm_entry": rf"vcpu {NUMBER}(?=[, ]|$)", "kvm_exit": rf".*\bvcpu {NUMBER}(?=[, ]|$)",
    "vm_call": rf"\(.*\) id={NUMBER}$", "vm_return": rf"\(.*\) ret={NUMBER}$",
    "vcpu_call": rf"\(.*\) cmd={NUMBER}$", "vcpu_return": rf"\(.*\) ret={NUMBER}$",
    "psp_call": rf"\(.*\) cmd={NUMBER}$", "psp_return": rf"\(.*\) ret={NUMBER}$",
    "tracing_mark_write": r"end of the trace"}.items()}


@dataclass(frozen=True)
class Event:
    """One event. Times are microseconds since L1's boot."""

    time: int
    thread: int
    # The process, 0 if the kernel does not know it any more.
    process: int
    name: str
    # A lock's address and name; the number of a command, a vCPU, or a return value.
    lock: str = ""
    lock_name: str = ""
    number: int = 0
    # A trylock that succeeded: no lock_acquired follows.
    tried: bool = False


@dataclass
class TraceLog:
    """A trace, in the order of time."""

    events: list[Event] = field(default_factory=list)
    # The settings that the kernel did not take.
    refused: list[str] = field(default_factory=list)
    # Lines that could not be read.
    unread: list[str] = field(default_factory=list)
    # Entries that the buffer lost; a trace with a hole shows locks held for ever that were released.
    lost: int = 0

    @property
    def problems(self) -> list[str]:
        """Why the trace is not whole."""
        found = [f"the kernel refused {line}" for line in self.refused]
        if self.unread:
            found.append(f"{len(self.unread)} lines could not be read, the first of them: {self.unread[0]}")
        if self.lost:
            found.append(f"{self.lost} entries were lost: the buffer was too small")
        return found


def parse_trace(lines: Iterable[str]) -> TraceLog:
    """Reads tracefs's text."""
    found = TraceLog()
    for line in lines:
        if line.startswith(REFUSED):
            found.refused.append(line.removeprefix(REFUSED))
        elif line.startswith(ENTRIES):
            counts = COUNTS.match(line.removeprefix(ENTRIES))
            # More entries than were written: the line is damaged.
            if counts and int(counts[1]) <= int(counts[2]):
                found.lost += int(counts[2]) - int(counts[1])
            else:
                found.unread.append(line)
        elif lost := OVERRUN.match(line):
            # The kernel may not know how many.
            found.lost += int(lost[1] or 1)
        elif line.strip() and not line.startswith("#"):
            event = _event(line)
            if event is None:
                found.unread.append(line)
            else:
                found.events.append(event)
    found.events.sort(key=lambda event: event.time)
    return found


def _event(line: str) -> Event | None:
    """One line's event; None if it has another form."""
    m = LINE.match(line)
    form = FORMS.get(m["event"]) if m else None
    found = form.match(m["rest"]) if m and form else None
    if not m or not found:
        return None
    parts = found.groupdict()
    return Event(int(m["seconds"]) * 1_000_000 + int(m["micros"]), int(m["pid"]),
                 int(m["tgid"]) if m["tgid"].isdigit() else 0, m["event"], parts.get("lock") or "", parts.get("name") or "",
                 int(parts.get("number") or "0", 0), bool(parts.get("tried")))
