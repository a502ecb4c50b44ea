# SPDX-License-Identifier: GPL-2.0-only
"""Makes up traces of a launch with two vCPUs, of which vCPU 0 is in KVM_RUN when LAUNCH_FINISH begins."""
from __future__ import annotations

RETURNED = "(x+0x1/0x2 <- y)"
CALLED = "(y+0x0/0x2 [kvm])"
MUTEX = "aaa"


class Trace:
    """The lines of a trace. Times are microseconds after the first ten seconds."""

    def __init__(self, process: int = 100, first_thread: int | None = None) -> None:
        self.process = process
        self.first = first_thread or process
        self.lines: list[str] = []

    def add(self, thread: int, time: int, name: str, rest: str) -> None:
        """One event."""
        self.lines.append(f" sev_snp_launch_-{thread:<7} ({self.process:>5}) [001] d..1.    {10 + time // 1_000_000}."
                          f"{time % 1_000_000:06}: {name}: {rest}")

    def lock(self, thread: int, time: int, lock: str, name: str = "&vcpu->mutex", waited: int = 1) -> None:
        """A lock that is wanted, and taken."""
        self.add(thread, time, "lock_acquire", f"{lock} {name}")
        self.add(thread, time + waited, "lock_acquired", f"{lock} {name}")

    def use_mutexes(self, number: int, name: str = MUTEX) -> None:
        """Userspace sets each vCPU up."""
        for vcpu in range(number):
            self.add(self.first, 100 * vcpu, "vcpu_call", f"{CALLED} cmd=0x4090ae82")
            self.lock(self.first, 100 * vcpu + 10, f"{name}{vcpu}")
            self.add(self.first, 100 * vcpu + 20, "lock_release", f"{name}{vcpu} &vcpu->mutex")
            self.add(self.first, 100 * vcpu + 21, "vcpu_return", f"{RETURNED} ret=0")

    def run(self, vcpu: int, thread: int, time: int, end: int | None = None, guest: bool = False) -> None:
        """A vCPU is run, to this time or for ever."""
        self.add(thread, time, "vcpu_call", f"{CALLED} cmd=0xae80")
        self.lock(thread, time + 10, f"{MUTEX}{vcpu}")
        if guest:
            self.add(thread, time + 100, "kvm_entry", f"vcpu {vcpu}, rip 0x0")
        if end is None:
            return
        if guest:
            self.add(thread, end - 100, "kvm_exit", f"vcpu {vcpu} reason EXIT_VMGEXIT rip 0x0 info1 0x0")
        self.add(thread, end, "lock_release", f"{MUTEX}{vcpu} &vcpu->mutex")
        self.add(thread, end + 10, "vcpu_return", f"{RETURNED} ret=-4")

    def encrypt(self, time: int) -> None:
        """The firmware's commands of a LAUNCH_FINISH by thread 102."""
        for number, command in enumerate(("0xa1", "0xa1", "0xa2")):
            self.add(102, time + 1100 * number, "psp_call", f"{CALLED} cmd={command}")
            self.add(102, time + 1100 * number + 1000, "psp_return", f"{RETURNED} ret=0")

    def finish(self, *, locks: bool, releases: bool, waits: int) -> None:
        """LAUNCH_FINISH by thread 102, from 200 ms on."""
        self.add(102, 200_000, "vm_call", f"{CALLED} id=102")
        self.lock(102, 200_010, "bbb0", "&kvm->lock")
        begin = 200_020 + waits
        if locks:
            self.lock(102, 200_020, f"{MUTEX}0", waited=waits + 10)
            self.lock(102, begin + 20, f"{MUTEX}1")
        self.encrypt(begin + 80)
        if releases:
            self.add(102, begin + 2180, "lock_release", f"{MUTEX}1 &vcpu->mutex")
            self.add(102, begin + 2182, "lock_release", f"{MUTEX}0 &vcpu->mutex")
        self.add(102, begin + 3380, "lock_release", "bbb0 &kvm->lock")
        self.add(102, begin + 3390, "vm_return", f"{RETURNED} ret=0")

    def end(self, time: int) -> Trace:
        """The trace ends."""
        self.add(1, time, "tracing_mark_write", "end of the trace")
        return self


def launching(*, locks: bool, releases: bool, waits: int) -> Trace:
    """LAUNCH_FINISH of two vCPUs, while vCPU 0 is in KVM_RUN."""
    trace = Trace()
    trace.use_mutexes(2)
    trace.run(0, 101, 100_000, 500_000)
    trace.finish(locks=locks, releases=releases, waits=waits)
    return trace


def fixed() -> Trace:
    """LAUNCH_FINISH waits for vCPU 0, and both run afterwards."""
    trace = launching(locks=True, releases=True, waits=300_000)
    trace.run(0, 103, 600_000, 601_200, guest=True)
    trace.run(1, 104, 600_200, 601_400, guest=True)
    return trace.end(2_000_000)


def hung() -> Trace:
    """The first posting: the mutexes stay held, and both vCPUs wait for ever."""
    trace = launching(locks=True, releases=False, waits=300_000)
    for vcpu, thread in ((0, 103), (1, 104)):
        trace.add(thread, 600_000, "vcpu_call", f"{CALLED} cmd=0xae80")
        trace.add(thread, 600_010, "lock_acquire", f"{MUTEX}{vcpu} &vcpu->mutex")
    return trace.end(2_000_000)


def unfixed() -> Trace:
    """LAUNCH_FINISH takes no mutex: vCPU 0 is in KVM_RUN all the time."""
    trace = launching(locks=False, releases=False, waits=0)
    return trace.end(2_000_000)
