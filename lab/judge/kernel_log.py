# SPDX-License-Identifier: GPL-2.0-only
"""The only parser of L1's kernel log: finds the kernel's reports of its own faults, and the kind of each report."""
from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.judge.files import read_lines

# The kernel prints these when it finds a fault in itself. lab/hw.sh has the same list.
REPORT = re.compile(
    # Only at the start of a line: "mitigation: WARNING: see ..." in the boot messages is no report.
    r"^(\[[^]]*\]\s*)?WARNING: |cut here|\bBUG[: ]|kernel BUG at|KASAN|KCSAN|UBSAN|general protection fault|"
    r"Oops: |\[#\d+\]|unable to handle|INFO: task .* blocked|INFO: possible|INFO: suspicious RCU|"
    r"INFO: trying to register|INFO: lockdep is turned off|suspicious RCU usage|DEBUG_LOCKS_WARN_ON|DEAD LOCK|"
    r"bad unlock balance|detected .*stalls|self-detected stall|soft lockup|hard LOCKUP|refcount_t: |"
    r"list_(add|del) corruption|Nested lock was not taken|held lock freed|lock held when returning|"
    r"RMP fault|RMP violation|sleeping function called|Leaking PFN range|Leaked pages|"
    r"SEV: failed to .*(reclaim|release)|Failed to reclaim")
PANIC = re.compile(r"Kernel panic - not syncing: ?(.*)")
# kvm_amd prints this if SNP guests can be launched: if the range of ASIDs for them is not empty.
SNP_ENABLED = re.compile(r"SEV-SNP enabled \(ASIDs \d+ - \d+\)")
ABOUT_SNP = re.compile(r"SEV|SNP|ccp|RMP")
# The first lines of lockdep's reports, in kernel/locking/lockdep.c and include/linux/debug_locks.h.
LOCKDEP = re.compile(
    r"WARNING: (possible .*(lock|dependency)|inconsistent lock state|.*-safe -> .*-unsafe lock order|"
    r"chain_key collision|Nested lock was not taken|"
    r"bad (unlock balance|contention) detected|held lock freed|.* still has locks held|"
    r"lock held when returning|suspicious RCU usage)|\[ BUG: Invalid wait context|INFO: possible |INFO: suspicious RCU|"
    r"INFO: trying to register non-static key|BUG: key .* has not been registered|"
    r"BUG: MAX_(LOCK|STACK_TRACE)\w* too low|DEBUG_LOCKS_WARN_ON")
STALL = re.compile(r"detected .*stalls|self-detected stall|soft lockup|hard LOCKUP|workqueue lockup|"
                   r"INFO: task .* blocked")
# WARN() prints its message on the line before this one. WARN_ON(), and so lockdep_assert_held(), prints none.
WARNED = re.compile(r"WARNING: (CPU: \d+ PID: \d+ )?at \S+")
CUT = "[ cut here ]"
# This line may be in reports of any kind, below their first line.
LOCKDEP_OFF = "INFO: lockdep is turned off"
# A test that provokes a message writes this line to /dev/kmsg before, with words of the message. It stands for one message.
ANNOUNCED = re.compile(r"snplab: on purpose: (\S.*)$")
# The most lines of a report after its first: lockdep's have lists of locks and stack traces.
REPORT_LINES = 80


class Kind(enum.Enum):
    """The kind of a report. A stall may be the fault of a slow machine."""

    LOCKDEP = "lockdep"
    OOPS = "oops"
    STALL = "stall"


@dataclass
class Report:
    """A report, with the lines up to the next one."""

    kind: Kind
    lines: list[str]
    # The line that names the fault and its place.
    head: str


def report_pattern() -> str:
    """REPORT as an extended regular expression, as it must be in lab/hw.sh."""
    return (REPORT.pattern.replace(r"\s", "[[:space:]]").replace(r"\d", "[0-9]").replace(r"\b", "(^|[^A-Za-z0-9_])"))


@dataclass
class KernelLog:
    """The log of one boot."""

    lines: Sequence[str] = ()
    # Each line that matches REPORT.
    matches: list[str] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    panic: str | None = None

    @classmethod
    def read(cls, path: Path) -> KernelLog:
        """Parses a log file; a missing file is an empty log."""
        return cls.parse(read_lines(path))

    @classmethod
    def parse(cls, lines: Sequence[str]) -> KernelLog:
        """Parses the lines of a log."""
        lines = unannounced(lines)
        return cls(lines, [line.strip() for line in lines if REPORT.search(line)], _reports(lines),
                   next((m[1] for m in map(PANIC.search, lines) if m), None))

    @property
    def whole(self) -> bool:
        """Does the log have its beginning? Otherwise reports may be missing."""
        return any("Linux version" in line for line in self.lines)

    @property
    def snp_enabled(self) -> bool:
        """Is this kernel an SNP host?"""
        return any(map(SNP_ENABLED.search, self.lines))

    @property
    def lockdep_off(self) -> str | None:
        """lockdep's message that it is turned off, or None."""
        return next((line.strip() for line in self.lines if LOCKDEP_OFF in line), None)

    def about_snp(self) -> list[str]:
        """The lines about SEV, SNP, the RMP and the PSP's driver."""
        return [line.strip() for line in self.lines if ABOUT_SNP.search(line)]

    def of_kind(self, kind: Kind) -> list[Report]:
        """The reports of one kind."""
        return [report for report in self.reports if report.kind is kind]


def unannounced(lines: Sequence[str]) -> list[str]:
    """The lines, without the announcements, and the messages that they announce."""
    kept, awaited = list[str](), list[str]()
    for line in lines:
        words = next((words for words in awaited if words in line), None)
        if announced := ANNOUNCED.search(line):
            awaited.append(announced[1].strip())
        elif words is not None:
            awaited.remove(words)
        else:
            kept.append(line)
    return kept


def _reports(lines: Sequence[str]) -> list[Report]:
    """Finds the reports, each with the lines up to the next one."""
    found: list[Report] = []
    now: Report | None = None
    before = ""
    for line in lines:
        if CUT in line or PANIC.search(line):
            now = None
        elif WARNED.search(line):
            bare = CUT in before
            kind = Kind.LOCKDEP if bare or LOCKDEP.search(before) else Kind.OOPS
            now = Report(kind, [line] if bare else [before, line], line.strip())
            found.append(now)
            # Keep no more lines: the stack trace of a WARN_ON() that is no assertion must not match a "lockdep" catcher.
            if bare:
                now = None
        elif REPORT.search(line) and LOCKDEP_OFF not in line:
            kind = Kind.STALL if STALL.search(line) else Kind.LOCKDEP if LOCKDEP.search(line) else Kind.OOPS
            now = Report(kind, [line], line.strip())
            found.append(now)
        elif now and len(now.lines) < REPORT_LINES:
            now.lines.append(line)
        before = line
    return found
