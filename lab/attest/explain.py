# SPDX-License-Identifier: GPL-2.0-only
"""Finds the change of a launch that explains a report's measurement.

A measurement says nothing about what was measured: one wrong CPU count gives 48 other bytes. So each plausible change of the
launch that the user describes is tried, one at a time, until its digest is the report's. Files are hashed once, and digests
continue from the longest part that two launches share, so that thousands of changes take less than a second. If no single
change explains it, pairs of the likely ones are tried.
"""
from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lab.attest import launch_digest
from lab.attest.launch_digest import (
    CPU_MODELS, DIGEST_LEN, FEATURE_SNP, MAX_VCPUS, QEMU, VMSA_GPA, Firmware, Hashes, Kernel, Monitor, PageType, Unusable,
    cpu_signature)

# Names of SEV_FEATURES' bits (APM, 24593, table B-4).
FEATURES = {0: "SNP", 1: "vTOM", 2: "reflect #VC", 3: "restricted injection", 4: "alternate injection", 5: "debug swap",
            6: "prevent host IBS", 7: "BTB isolation", 8: "VMPL SSS", 9: "secure TSC", 10: "VMGEXIT parameter", 12: "IBS",
            14: "VMSA register protection", 15: "SMT protection", 16: "secure AVIC"}
# These bits are tried, at most so many of them different at once.
FEATURE_BITS, MOST_FEATURES = range(1, 18), 3
# Other hypervisors, by what virtee's sev-snp-measure 0.0.13 knows of them, and other states of QEMU's and KVM's.
MONITORS = (
    (Monitor(mxcsr=0, fcw=0), "a launch by a KVM that leaves the FPU's state out of the VMSA (MXCSR and FCW are zero)"),
    (Monitor(own_reset=True), "a launch in which all CPUs start at the reset vector, fffffff0h"),
    (Monitor(first_cs=0x9a, ss=0x92, tr=0x83, rdx=0x600, mxcsr=0, fcw=0, cpuid_last=True), "a launch by Amazon EC2"),
    (Monitor(pat=0x00070106, rdx=0x600, mxcsr=0, fcw=0, memory=PageType.UNMEASURED), "a launch by Google Compute Engine"),
    (Monitor(rdx=0), "a launch with RDX zero at reset, as hypervisors other than QEMU have it"),
    (Monitor(rdx=0x600), "a launch with RDX 600h at reset, as hypervisors other than QEMU have it"))
# CPU models without SNP that QEMU takes with -cpu: family, model, stepping.
OTHER_MODELS = {"qemu64": (15, 107, 1), "kvm64": (15, 6, 1)}
# Families of processors with SNP, and the steppings that are tried of each model: `-cpu host` gives the chip's own.
FAMILIES, STEPPINGS = (0x19, 0x1a), range(4)
# Pairs are tried of the first changes of each kind but these, and with up to so many CPUs.
UNLIKELY, MOST_LIKELY, MOST_PAIRED = ("another chip's CPU",), 20, 64
# OVMF adds this, after the command line or (newer ones) before it: /proc/cmdline has it, and it is not measured.
ADDED = "initrd=initrd"


@dataclass(frozen=True)
class Claim:
    """The launch as the user describes it. kernel: the files, also if hashes_on is false; spare, spare_kernels and
    spare_initrds: other files that may have been used instead, the latter by name and SHA-256; processor: family, model and
    stepping that the report names, if it does."""

    firmware: Firmware
    vcpus: int
    cpu: str
    signature: int
    kernel: Kernel | None = None
    hashes_on: bool = True
    features: int = FEATURE_SNP
    host_mce: bool = True
    spare: Iterable[Firmware] = ()
    spare_kernels: Sequence[tuple[str, bytes]] = ()
    spare_initrds: Sequence[tuple[str, bytes]] = ()
    processor: tuple[int, int, int] | None = None


class Launch(NamedTuple):
    """All that a digest depends on."""

    firmware: Firmware
    hashes: Hashes | None
    vcpus: int
    signature: int
    features: int
    host_mce: bool
    monitor: Monitor = QEMU


class Change(NamedTuple):
    """One change of a claim: its kind, what was launched then, what the user said, and the launch."""

    kind: str
    text: str
    said: str
    launch: Launch


@dataclass(frozen=True)
class Explained:
    """The change that explains a measurement, or two that do together, or none. tried: the number of single changes that
    were tried; kinds: theirs; pairs: the number of pairs that were tried."""

    changes: tuple[Change, ...]
    tried: int
    kinds: tuple[str, ...]
    pairs: int = 0

    @property
    def text(self) -> str:
        """One line."""
        if len(self.changes) == 1:
            return f"the report's measurement is that of {self.changes[0].text}; you said {self.changes[0].said}"
        single = f"no single change explains it: {self.tried} were tried ({', '.join(self.kinds)})"
        if not self.changes:
            return f"{single}; nor do two, of {self.pairs} pairs"
        words = " and ".join(f"{change.text} (you said {change.said})" for change in self.changes)
        return f"{single}; two together do: the report's measurement is that of {words}"


@dataclass
class Digests:
    """Computes digests of launches that have parts in common."""

    # With each firmware itself: an id() is the object's only as long as it lives.
    _firmware: dict[int, tuple[Firmware, bytes]] = field(default_factory=dict)
    _memory: dict[tuple[int, Hashes | None, PageType, bool], bytes] = field(default_factory=dict)

    def memory(self, launch: Launch) -> bytes:
        """The digest before the first vCPU. Raises Unusable if the firmware has no place for the hashes."""
        firmware, monitor = launch.firmware, launch.monitor
        key = (id(firmware), launch.hashes, monitor.memory, monitor.cpuid_last)
        if key not in self._memory:
            sections = list(launch_digest.section_ranges(firmware, launch.hashes, monitor))
            if id(firmware) not in self._firmware:
                digest = launch_digest.extend_range(bytes(DIGEST_LEN), launch_digest.firmware_range(firmware))
                self._firmware[id(firmware)] = firmware, digest
            digest = self._firmware[id(firmware)][1]
            for measured in sections:
                digest = launch_digest.extend_range(digest, measured)
            self._memory[key] = digest
        return self._memory[key]

    def by_vcpus(self, launch: Launch, most: int) -> Iterator[bytes]:
        """The digests with 1, 2, … most vCPUs."""
        digest = self.memory(launch)
        pages = launch_digest.first_and_other_vmsa(launch.firmware, launch.signature, launch.features, launch.host_mce,
                                                   launch.monitor)
        first, other = (hashlib.sha384(page).digest() for page in pages)
        for i in range(most):
            digest = launch_digest.extend_hashed(digest, PageType.VMSA, VMSA_GPA, other if i else first)
            yield digest

    def digest(self, launch: Launch) -> bytes:
        """The launch digest: 48 bytes."""
        *_, last = self.by_vcpus(launch, launch.vcpus)
        return last


# --- The changes -------------------------------------------------------------------------------------


def signature_text(signature: int) -> str:
    """As CPUID says it."""
    family = (signature >> 8 & 15) + (signature >> 20 & 255)
    model = (signature >> 12 & 0xf0) | (signature >> 4 & 15)
    return f"family {family:02x}h model {model:02x}h stepping {signature & 15}, EAX {signature:#x}"


def features_text(features: int) -> str:
    """The number, and the names of its bits."""
    names = [FEATURES.get(bit, f"bit {bit}") for bit in range(64) if features >> bit & 1]
    return f"{features:#x} ({', '.join(names)})"


class Changes:
    """The changes of a claim, by kind, the most frequent mistakes first."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.hashes = None if claim.kernel is None else claim.kernel.hashes()
        self.said = Launch(claim.firmware, self.hashes if claim.hashes_on else None, claim.vcpus, claim.signature,
                           claim.features, claim.host_mce)
        self.kinds: dict[str, Callable[[], Iterator[Change]]] = {
            "CPU type": self.named_cpus, "guest features": self.features, "command line": self.command_lines,
            "initrd": self.initrds, "kernel": self.other_kernels, "kernel hashes": self.kernel_hashes,
            "firmware": self.firmware, "CR4.MCE of the host": self.mce, "hypervisor": self.monitors,
            "another chip's CPU": self.chips}

    def command_lines(self) -> Iterator[Change]:
        """Other ends of the command line, and the words that firmware adds."""
        kernel, hashes = self.claim.kernel, self.said.hashes
        if kernel is None or hashes is None:
            return
        line, zero = kernel.cmdline, b"\0"
        added = ADDED.encode()
        stripped = line.strip()
        others = [
            ("the same command line with a newline at its end", line + b"\n" + zero),
            ("the same command line with a blank at its end", line + b" " + zero),
            ("the same command line with a zero byte more", line + zero + zero),
            ("the same command line with \\r\\n at its end", line + b"\r\n" + zero),
            ("the same command line without the zero byte at its end", line),
            ("the same command line with a blank before it", b" " + line + zero),
            ("the same command line without white space around it", stripped + zero),
            ("the same command line with single blanks between its words", b" ".join(line.split()) + zero),
            ("the same command line without the quotes around it", stripped.strip(b"\"'") + zero),
            (f"the same command line without \"{ADDED}\", which firmware adds",
             line.removeprefix(added + b" ").removesuffix(b" " + added) + zero),
            (f"the same command line with \"{ADDED}\" at its end", line + b" " + added + zero),
            (f"the same command line with \"{ADDED}\" before it", added + b" " + line + zero),
            ("no command line", zero), ("no command line, and no zero byte", b"")]
        for text, data in others:
            if data != line + zero:
                yield Change("command line", text, f"{line.decode('utf-8', 'replace')!r}", self.said._replace(
                    hashes=hashes._replace(cmdline=hashlib.sha256(data).digest())))

    def initrds(self) -> Iterator[Change]:
        """No initrd, or another one."""
        if self.claim.kernel is None or self.said.hashes is None:
            return
        others = [(f"the initrd {name}", digest) for name, digest in self.claim.spare_initrds]
        said = "another one with --initrd" if self.claim.kernel.initrd else "none"
        for text, digest in [("no initrd", hashlib.sha256(b"").digest()), *others]:
            if digest != self.said.hashes.initrd:
                yield Change("initrd", text, said, self.said._replace(hashes=self.said.hashes._replace(initrd=digest)))

    def other_kernels(self) -> Iterator[Change]:
        """Other kernels."""
        hashes = self.said.hashes
        if hashes is not None:
            for name, digest in self.claim.spare_kernels:
                yield Change("kernel", f"the kernel {name}", "another one with --kernel",
                             self.said._replace(hashes=hashes._replace(kernel=digest)))

    def kernel_hashes(self) -> Iterator[Change]:
        """On instead of off, and off instead of on."""
        if self.said.hashes is not None:
            yield Change("kernel hashes", "kernel-hashes=off, where neither kernel nor initrd nor command line is measured",
                         "on", self.said._replace(hashes=None))
        elif self.hashes is not None:
            yield Change("kernel hashes", "kernel-hashes=on", "off", self.said._replace(hashes=self.hashes))

    def named_cpus(self) -> Iterator[Change]:
        """QEMU's CPU models with another signature, and the chip that the report names."""
        models = {**CPU_MODELS, **OTHER_MODELS}
        seen = {self.said.signature}
        if self.claim.processor is not None:
            models["host"] = self.claim.processor
        for name, cpu in models.items():
            signature = cpu_signature(*cpu)
            if signature not in seen:
                seen.add(signature)
                text = f"-cpu {name}" if name != "host" else "-cpu host on the chip that signed the report"
                yield self.other_cpu("CPU type", f"{text} ({signature_text(signature)})", signature)

    def chips(self) -> Iterator[Change]:
        """All models of the families that have SNP."""
        for family, model, stepping in itertools.product(FAMILIES, range(256), STEPPINGS):
            signature = cpu_signature(family, model, stepping)
            yield self.other_cpu("another chip's CPU",
                                 f"a CPU of {signature_text(signature)}, such as -cpu host on such a chip", signature)

    def other_cpu(self, kind: str, text: str, signature: int) -> Change:
        """The change to another signature."""
        return Change(kind, text, f"{self.claim.cpu} ({signature_text(self.said.signature)})",
                      self.said._replace(signature=signature))

    def features(self) -> Iterator[Change]:
        """One to three other bits."""
        for count in range(1, MOST_FEATURES + 1):
            for bits in itertools.combinations(FEATURE_BITS, count):
                value = self.said.features ^ sum(1 << bit for bit in bits)
                yield Change("guest features", f"guest features {features_text(value)}", features_text(self.said.features),
                             self.said._replace(features=value))

    def firmware(self) -> Iterator[Change]:
        """Other files."""
        for firmware in self.claim.spare:
            yield Change("firmware", f"the firmware {firmware.name}", self.said.firmware.name,
                         self.said._replace(firmware=firmware))

    def mce(self) -> Iterator[Change]:
        """A host kernel with or without CONFIG_X86_MCE."""
        without = "a host kernel without CONFIG_X86_MCE (CR4.MCE is clear)"
        with_it = "a host kernel with CONFIG_X86_MCE (CR4.MCE is set)"
        text, said = (without, "--host-mce on") if self.said.host_mce else (with_it, "--host-mce off")
        yield Change("CR4.MCE of the host", text, said, self.said._replace(host_mce=not self.said.host_mce))

    def monitors(self) -> Iterator[Change]:
        """Other hypervisors."""
        for monitor, text in MONITORS:
            yield Change("hypervisor", text, "QEMU", self.said._replace(monitor=monitor))


def cpus(number: int) -> str:
    """The words for a number of CPUs."""
    return "1 CPU" if number == 1 else f"{number} CPUs"


def both(said: Launch, one: Launch, other: Launch) -> Launch | None:
    """The launch with two changes; None if both change the same thing."""
    merged = said
    for name in Launch._fields:
        before, first, second = (getattr(launch, name) for launch in (said, one, other))
        if first == before or second == before:
            value = second if first == before else first
        elif name == "hashes" and None not in (before, first, second):
            parts = zip(before, first, second)
            if any(part not in (a, b) for part, a, b in parts):
                return None
            value = Hashes(*(b if a == part else a for part, a, b in zip(before, first, second)))
        else:
            return None
        merged = merged._replace(**{name: value})
    return merged


class Search:
    """The search for the change that explains a measurement."""

    def __init__(self, claim: Claim, measurement: bytes) -> None:
        self.changes, self.measurement, self.digests = Changes(claim), measurement, Digests()
        self.tried = self.pairs = 0
        self.kinds: list[str] = []
        # The changes that are also tried in pairs.
        self.likely: list[Change] = []

    def expected(self) -> bytes:
        """The digest of the claim. Raises Unusable if QEMU could not launch it."""
        return self.digests.digest(self.changes.said)

    def run(self) -> Explained:
        """Tries each change, then pairs."""
        found = self.vcpus()
        for kind, changes in self.changes.kinds.items():
            if found is not None:
                return Explained((found,), self.tried, tuple(self.kinds))
            found = self.first(kind, changes())
        two = (found,) if found is not None else self.pair()
        return Explained(two, self.tried, tuple(self.kinds), self.pairs)

    def pair(self) -> tuple[Change, ...]:
        """Two of the likely changes that explain it together, or none. Also tries up to MOST_PAIRED CPUs with each one."""
        for at, one in enumerate(self.likely):
            if (number := self.with_cpus(one)) is not None:
                said = self.changes.said
                return Change("CPUs", cpus(number), str(said.vcpus), said._replace(vcpus=number)), one
            for other in self.likely[:at]:
                launch = both(self.changes.said, one.launch, other.launch)
                if one.kind != other.kind and launch is not None and self.is_it(launch):
                    return other, one
        return ()

    def with_cpus(self, change: Change) -> int | None:
        """The number of CPUs that explains the measurement together with a change."""
        for number, digest in enumerate(self.digests.by_vcpus(change.launch, MOST_PAIRED), 1):
            self.pairs += 1
            if digest == self.measurement:
                return number
        return None

    def is_it(self, launch: Launch) -> bool:
        """Does it have the measurement?"""
        self.pairs += 1
        try:
            return self.digests.digest(launch) == self.measurement
        except Unusable:
            return False

    def vcpus(self) -> Change | None:
        """Another number of CPUs."""
        said = self.changes.said
        self.kinds.append(f"1 to {MAX_VCPUS} CPUs")
        for number, digest in enumerate(self.digests.by_vcpus(said, MAX_VCPUS), 1):
            self.tried += number != said.vcpus
            if digest == self.measurement and number != said.vcpus:
                return Change("CPUs", cpus(number), str(said.vcpus), said._replace(vcpus=number))
        return None

    def first(self, kind: str, changes: Iterator[Change]) -> Change | None:
        """The first change whose digest is the measurement."""
        before = self.tried
        for change in changes:
            try:
                digest = self.digests.digest(change.launch)
            except Unusable:
                # QEMU would not launch it either.
                continue
            self.tried += 1
            if digest == self.measurement:
                return change
            if kind not in UNLIKELY and self.tried - before <= MOST_LIKELY:
                self.likely.append(change)
        if self.tried > before:
            self.kinds.append(kind)
        return None


def explain(claim: Claim, measurement: bytes) -> tuple[bytes, Explained | None]:
    """The digest of a claim, 48 bytes, and, if the measurement is another, what explains it. Raises Unusable if QEMU could
    not launch the claim."""
    search = Search(claim, measurement)
    expected = search.expected()
    return expected, None if expected == measurement else search.run()
