# SPDX-License-Identifier: GPL-2.0-only
"""From a trace to one LAUNCH_FINISH: who held and who waited for each lock, when each vCPU was in KVM_RUN, and when the
firmware encrypted a VMSA."""
from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lab.judge.trace_log import Event, TraceLog

KVM_LOCK, VCPU_MUTEX = "&kvm->lock", "&vcpu->mutex"
# enum sev_cmd_id in arch/x86/include/uapi/asm/kvm.h; enum sev_cmd in include/linux/psp-sev.h.
LAUNCH_FINISH = 102
PSP_UPDATE, PSP_FINISH = 0xa1, 0xa2
PSP_NAMES = {PSP_UPDATE: "SNP_LAUNCH_UPDATE", PSP_FINISH: "SNP_LAUNCH_FINISH"}
KVM_RUN = "KVM_RUN"
# The vCPU calls that the launch test makes, by their ioctl's number (its last byte).
VCPU_CALLS = {0x80: KVM_RUN, 0x81: "KVM_GET_REGS", 0x82: "KVM_SET_REGS", 0x83: "KVM_GET_SREGS", 0x84: "KVM_SET_SREGS",
              0x90: "KVM_SET_CPUID2", 0x98: "KVM_GET_MP_STATE", 0x99: "KVM_SET_MP_STATE", 0x9b: "KVM_SET_GUEST_DEBUG"}


class Kind(enum.Enum):
    """What a bar is."""

    FINISH = "finish"
    RUN = "run"
    OTHER = "other"
    FIRMWARE = "firmware"
    GUEST = "guest"
    WAIT = "wait"


@dataclass
class Bar:
    """A stretch of time: a call, a wait, a lock that is held."""

    start: int
    # None: it did not end before the trace did.
    end: int | None
    kind: Kind
    label: str
    # The value that a call returned.
    returned: int | None = None
    # A wait that ended without the lock, or did not end.
    in_vain: bool = False

    def until(self, end: int) -> int:
        """The bar's end; `end` if it has none."""
        return end if self.end is None else self.end

    def overlaps(self, other: Bar, end: int) -> bool:
        """Do they share some time?"""
        return self.start < other.until(end) and other.start < self.until(end)


@dataclass
class Row:
    """A row of the drawing: a lock, or the calls of one vCPU."""

    name: str
    bars: list[Bar] = field(default_factory=list)


@dataclass
class Launch:
    """One LAUNCH_FINISH."""

    finish: Bar
    kvm_lock: Row
    firmware: Row
    # For each vCPU, the row of its mutex and the row of its calls.
    mutexes: dict[int, Row]
    calls: dict[int, Row]
    # What LAUNCH_FINISH waited for.
    waits: list[Bar] = field(default_factory=list)
    # The stretch of time that is shown.
    begin: int = 0
    end: int = 0

    @property
    def rows(self) -> list[Row]:
        """From top to bottom."""
        first = Row("LAUNCH_FINISH", [self.finish, *self.waits])
        return [first, self.firmware, self.kvm_lock,
                *(row for vcpu in sorted(self.mutexes) for row in (self.mutexes[vcpu], self.calls[vcpu]))]


def launches(trace: TraceLog) -> list[Launch]:
    """The first LAUNCH_FINISH of each process."""
    first: dict[int, Event] = {}
    for event in trace.events:
        if event.name == "vm_call" and event.number == LAUNCH_FINISH:
            first.setdefault(event.process, event)
    return [_Reader(trace.events, call).launch() for call in first.values()]


class _Reader:
    """Goes through the events of one process."""

    def __init__(self, events: Sequence[Event], call: Event) -> None:
        self.call = call
        self.last = events[-1].time
        self.events = [e for e in events if e.process == call.process]
        self.holds: dict[str, list[Bar]] = {}
        self.names: dict[str, str] = {}
        self.waits: list[tuple[str, int, Bar]] = []
        self.vcpu_calls: list[tuple[int, Bar]] = []
        self.vm_calls: list[tuple[Event, Bar]] = []
        self.psp: list[Bar] = []
        self.guest: list[tuple[int, Bar]] = []
        # A thread's calls that have not returned, the innermost last.
        self.open: dict[int, list[Bar]] = {}
        self.waiting: dict[tuple[int, str], Bar] = {}
        # The lock that a call of a vCPU took or waits for: it says whose call it is.
        self.lock_of: dict[int, str] = {}
        self.numbers: dict[str, int] = {}
        for event in self.events:
            getattr(self, f"on_{event.name}", self.ignore)(event)

    def ignore(self, event: Event) -> None:
        """Skips an event that is not drawn."""

    def doing(self, thread: int) -> tuple[Kind, str]:
        """The kind and name of the call that a thread is in; a firmware command is part of another call."""
        for bar in reversed(self.open.get(thread, [])):
            if bar.kind is not Kind.FIRMWARE:
                return bar.kind, bar.label
        return Kind.OTHER, "another call"

    def begin(self, event: Event, bar: Bar) -> Bar:
        """Notes that a call begins."""
        self.open.setdefault(event.thread, []).append(bar)
        return bar

    def finish(self, event: Event) -> None:
        """Ends the innermost call of a thread."""
        if self.open.get(event.thread):
            bar = self.open[event.thread].pop()
            bar.end, bar.returned = event.time, event.number

    on_vm_return = on_vcpu_return = on_psp_return = finish

    def on_vm_call(self, event: Event) -> None:
        """A SEV command."""
        kind = Kind.FINISH if event.number == LAUNCH_FINISH else Kind.OTHER
        label = "LAUNCH_FINISH" if kind is Kind.FINISH else f"SEV command {event.number}"
        self.vm_calls.append((event, self.begin(event, Bar(event.time, None, kind, label))))

    def on_vcpu_call(self, event: Event) -> None:
        """A call of a vCPU."""
        label = VCPU_CALLS.get(event.number & 0xff, f"ioctl {event.number:#x}")
        bar = Bar(event.time, None, Kind.RUN if label == KVM_RUN else Kind.OTHER, label)
        self.vcpu_calls.append((event.thread, self.begin(event, bar)))

    def on_psp_call(self, event: Event) -> None:
        """A command of the firmware's."""
        self.psp.append(self.begin(event, Bar(event.time, None, Kind.FIRMWARE,
                                              PSP_NAMES.get(event.number, f"command {event.number:#x}"))))

    def on_lock_acquire(self, event: Event) -> None:
        """A thread asks for a lock; with a trylock it has it at once."""
        self.names.setdefault(event.lock, event.lock_name)
        self.holds.setdefault(event.lock, [])
        for bar in self.open.get(event.thread, []):
            if event.lock_name == VCPU_MUTEX:
                self.lock_of.setdefault(id(bar), event.lock)
        if event.tried:
            self.hold(event)
            return
        bar = Bar(event.time, None, Kind.WAIT, self.doing(event.thread)[1], in_vain=True)
        self.waiting[event.thread, event.lock] = bar
        held = self.holds[event.lock]
        if held and held[-1].end is None:
            self.waits.append((event.lock, event.thread, bar))

    def hold(self, event: Event) -> None:
        """Notes that a thread holds a lock from now on."""
        kind, label = self.doing(event.thread)
        self.holds.setdefault(event.lock, []).append(Bar(event.time, None, kind, label))

    def on_lock_acquired(self, event: Event) -> None:
        """A wait is over."""
        waited = self.waiting.pop((event.thread, event.lock), None)
        if waited is not None:
            waited.end, waited.in_vain = event.time, False
        self.hold(event)

    def on_lock_release(self, event: Event) -> None:
        """A thread releases a lock, or gives up waiting for it."""
        waited = self.waiting.pop((event.thread, event.lock), None)
        if waited is not None:
            waited.end = event.time
            return
        held = self.holds.get(event.lock, [])
        if held and held[-1].end is None:
            held[-1].end = event.time

    def on_kvm_entry(self, event: Event) -> None:
        """The vCPU begins to execute its guest's instructions."""
        for bar in self.open.get(event.thread, []):
            if id(bar) in self.lock_of:
                self.numbers[self.lock_of[id(bar)]] = event.number
        self.guest.append((event.number, Bar(event.time, None, Kind.GUEST, "in the guest")))

    def on_kvm_exit(self, event: Event) -> None:
        """The vCPU stops executing its guest's instructions."""
        for vcpu, bar in reversed(self.guest):
            if vcpu == event.number and bar.end is None:
                bar.end = event.time
                return

    def vcpus(self) -> dict[str, int]:
        """The vCPU of each mutex. kvm_entry names the vCPUs that executed. The others follow from the order: userspace first
        uses the mutexes in the order in which it creates the vCPUs."""
        found = {lock: n for lock, n in self.numbers.items() if self.names.get(lock) == VCPU_MUTEX}
        free = (n for n in range(len(self.names) + 1 + max(found.values(), default=0)) if n not in found.values())
        for lock, name in self.names.items():
            if name == VCPU_MUTEX and lock not in found:
                found[lock] = next(free)
        return found

    def launch(self) -> Launch:
        """The launch, with all of its rows."""
        finish = next(bar for event, bar in self.vm_calls if event is self.call)
        vcpus = self.vcpus()
        own = next((e.lock for e in self.events if e.name == "lock_acquire" and e.lock_name == KVM_LOCK
                    and e.thread == self.call.thread and e.time >= finish.start), None)
        mutexes = {n: Row(f"vCPU {n} mutex", self.holds[lock]) for lock, n in vcpus.items()}
        calls = {n: Row(f"vCPU {n} calls") for n in vcpus.values()}
        for _, bar in self.vcpu_calls:
            if id(bar) in self.lock_of:
                calls[vcpus[self.lock_of[id(bar)]]].bars.append(bar)
        for vcpu, bar in self.guest:
            if vcpu in calls:
                calls[vcpu].bars.append(bar)
        found = Launch(finish, Row("kvm->lock", self.holds[own] if own else []), Row("firmware", self.psp), mutexes, calls)
        self.add_waits(found, vcpus)
        self.cut(found)
        return found

    def add_waits(self, found: Launch, vcpus: dict[str, int]) -> None:
        """Puts each wait into the row of the call that waits, to be drawn over it."""
        for lock, thread, bar in self.waits:
            if thread == self.call.thread and found.finish.overlaps(bar, self.last):
                whose = f"vCPU {vcpus[lock]}'s mutex" if lock in vcpus else "kvm->lock"
                bar.label = f"LAUNCH_FINISH waits for {whose}"
                found.waits.append(bar)
            elif lock in vcpus:
                found.calls[vcpus[lock]].bars.append(bar)

    def cut(self, found: Launch) -> None:
        """Limits the drawing: it begins with the calls that were running when LAUNCH_FINISH began, and ends with the calls
        that followed."""
        finish, bars = found.finish, [bar for row in found.calls.values() for bar in row.bars]
        before = [bar.start for bar in bars if bar.start < finish.start < bar.until(self.last)]
        after = [bar.until(self.last) for bar in bars if bar.until(self.last) > finish.start]
        found.begin = min([finish.start, *before])
        found.end = max([finish.until(self.last), *after])
        for row in found.rows:
            row.bars[:] = sorted((bar for bar in row.bars if bar.start <= found.end and bar.until(self.last) > found.begin),
                                 key=lambda bar: bar.start)


def _ms(micros: int) -> str:
    return f"{micros / 1000:.1f} ms" if micros >= 100 else f"{micros} µs"


def describe(launch: Launch) -> list[str]:
    """The drawing in words: one sentence for each thing that can be seen in it."""
    finish, end = launch.finish, launch.end
    said = [f"LAUNCH_FINISH took {_ms(finish.until(end) - finish.start)} and returned {finish.returned}." if finish.end
            else "LAUNCH_FINISH did not return."]
    for wait in launch.waits:
        if wait.until(end) - wait.start >= 1000:
            said.append(f"{wait.label}, for {_ms(wait.until(end) - wait.start)}{', in vain' if wait.in_vain else ''}.")
    said += _of_mutexes(launch)
    encrypted = [bar for bar in launch.firmware.bars if bar.label == PSP_NAMES[PSP_UPDATE] and bar.overlaps(finish, end)]
    for vcpu, row in sorted(launch.mutexes.items()):
        running = [bar for bar in row.bars if bar.kind is Kind.RUN]
        if any(bar.overlaps(update, end) for bar in running for update in encrypted):
            said.append(f"vCPU {vcpu} was in KVM_RUN while LAUNCH_FINISH encrypted the VMSAs.")
    for vcpu, row in sorted(launch.calls.items()):
        said += [f"{bar.label} of vCPU {vcpu} waited {_ms(bar.until(end) - bar.start)} for the mutex, in vain."
                 for bar in row.bars if bar.kind is Kind.WAIT and bar.in_vain]
        said += [f"{bar.label} of vCPU {vcpu} did not return." for bar in row.bars
                 if bar.end is None and bar.kind in (Kind.RUN, Kind.OTHER)]
    return said


def _of_mutexes(launch: Launch) -> Iterable[str]:
    """How LAUNCH_FINISH held the vCPUs' mutexes."""
    for vcpu, row in sorted(launch.mutexes.items()):
        held = [bar for bar in row.bars if bar.kind is Kind.FINISH]
        if not held:
            yield f"LAUNCH_FINISH did not take vCPU {vcpu}'s mutex."
        elif held[-1].end is None:
            yield f"LAUNCH_FINISH took vCPU {vcpu}'s mutex, and nobody released it."
        else:
            yield f"LAUNCH_FINISH held vCPU {vcpu}'s mutex for {_ms(held[-1].end - held[-1].start)}."
