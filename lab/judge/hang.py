# SPDX-License-Identifier: GPL-2.0-only
"""Finds out why L2 hangs: the vCPUs that wait for vcpu->mutex, and the function of L1's kernel that left it locked."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lab.judge.kernel_log import Kind, KernelLog, Report
from lab.judge.show import EVENT

THREAD = re.compile(r"^# thread (CPU \d+/KVM): (.*)$")
WAITS = re.compile(r"state \w, wchan \w+, in (.*), waits for vcpu->mutex$")
# lockdep's report of a vCPU's mutex that is still held after kvm->lock was released.
NESTED = "Nested lock was not taken"
# printk may put these before a line: the time, and the task that printed it.
PRINTK = re.compile(r"^(?:\[[^]]*\])* ?")
FRAME = re.compile(r"^ *(\w+)\S*\+0x[0-9a-f]+/0x[0-9a-f]+")
# The emulated host's message when it refuses VMRUN for a page that is no VMSA; it has the page's RMP entry.
NO_VMSA = re.compile(r"VMRUN on (CPU \d+): VMSA (0x[0-9a-f]+) .*: RMP entry is not that of .*\((0x[0-9a-f]+)\)")
RMP_ASSIGNED, RMP_VMSA, RMP_VALIDATED = 1 << 0, 1 << 61, 1 << 62


@dataclass(frozen=True)
class NestedLock:
    """The parts of lockdep's report that say which function left a mutex locked."""

    task: str
    mutex: str
    taken_by: str
    outer: str
    released_by: str


def hang(ktap: Sequence[str], kernel: KernelLog) -> list[str]:
    """Explains vCPUs that never ran, from their threads' stacks and lockdep's report."""
    threads = [(m[1], WAITS.match(m[2])) for m in map(THREAD.match, ktap) if m]
    stuck = [f"{name} in {where[1]}" for name, where in threads if where]
    if not stuck:
        return []
    return [f"blocked in kvm_vcpu_ioctl(), where vcpu->mutex is taken: {', '.join(stuck)}", holder(ktap, kernel)]


def holder(ktap: Sequence[str], kernel: KernelLog) -> str:
    """Names the function that left the mutex locked, from lockdep's report."""
    reports = kernel.of_kind(Kind.LOCKDEP)
    first = reports[0].head if reports else kernel.lockdep_off
    if first is None:
        return "the holder is not known: lockdep has reported nothing, or is not in this kernel"
    report = next((report for report in reports if NESTED in report.head), None)
    if report is None:
        return f"the holder is not known: lockdep has reported something else: {first}"
    lock = nested_lock(report)
    if lock is None:
        return "lockdep's report does not have the expected form: see the kernel's log"
    last = next((event[1] for event in map(EVENT.match, reversed(ktap)) if event), "?")
    return (f"lockdep: {lock.mutex}, taken by {lock.taken_by}(), was still held when {lock.released_by}() released "
            f"{lock.outer} (task {lock.task}, after the event \"{last}\"): the caller of {lock.taken_by}() did not "
            "unlock it")


def nested_lock(report: Report) -> NestedLock | None:
    """Parses lockdep's report of a nested lock; None if it has another form."""
    lines = [PRINTK.sub("", line) for line in report.lines]
    block = "\n".join(lines)
    task = re.search(r"^(.+)/\d+ is trying to lock:", block, re.M)
    taken = re.search(r"\((&vcpu->mutex)\S*, at: (\w+)", block)
    outer = re.search(r"not holding:\n(\S+)", block)
    released = _released_by(lines)
    if not (task and taken and outer and released):
        return None
    return NestedLock(task[1], taken[1], taken[2], outer[1], released)


def _released_by(lines: Sequence[str]) -> str | None:
    """The caller of mutex_unlock() in a stack trace. Entries with a question mark are left-overs on the stack: skip them."""
    frames = [m[1] for m in map(FRAME.match, lines) if m]
    for inner, outer in zip(frames, frames[1:]):
        if "mutex_unlock" in inner and "mutex_unlock" not in outer:
            return outer
    return None


def destroyed_vmsa(host_log: Sequence[str]) -> list[str]:
    """Explains refused VMRUNs: had the guest destroyed the VMSA before KVM stopped using it?"""
    said = []
    for m in filter(None, map(NO_VMSA.search, host_log)):
        if int(m[3], 16) & (RMP_ASSIGNED | RMP_VALIDATED | RMP_VMSA) == RMP_ASSIGNED | RMP_VALIDATED:
            said.append(f"{m[1]} of L1: KVM ran a vCPU with page {m[2]}, which the guest no longer uses as a VMSA. This "
                        "looks like the race that Linux 6.16 fixed with 309d28576f0a (\"KVM: SVM: Fix SNP AP destroy "
                        "race with VMRUN\"), docs/guest.md")
    return said
