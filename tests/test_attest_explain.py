# SPDX-License-Identifier: GPL-2.0-only
"""Which change of a launch explains a measurement? Each kind of change is made here, and has to be found and named.

The measurements are computed by lab/attest/launch_digest.py as a program would, not by the search; those of other
hypervisors by another implementation. A search that names the wrong change, or one change where two were made, would send
its user the wrong way.
"""
from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace

import pytest

from lab.attest import explain as explained
from lab.attest import launch_digest
from lab.attest.explain import Claim, explain
from lab.attest.launch_digest import Hashes, Kernel, LaunchInput, named_signature, parse_firmware
from tests.attest import make

ABOUT = "attest: the change of a launch that explains a measurement is found and named, or the two that do"
LANE = "fast"
NEEDS = ()
TAKES = 4

LINE = b"console=hvc0 a b"
FIRMWARE = parse_firmware(make.firmware(make.Firmware()), "fw")
OTHER = parse_firmware(make.firmware(make.Firmware(pages=5)), "other")
# It has no place for hashes: QEMU would not launch it with kernel-hashes=on.
PLAIN = parse_firmware(make.firmware(make.Firmware(without="hashes")), "plain")
KERNEL = Kernel(make.kernel(make.Kernel()), b"initrd", LINE)
MILAN = named_signature("EPYC-Milan")
MADE = LaunchInput(FIRMWARE, 2, MILAN, KERNEL)
SAID = Claim(FIRMWARE, 2, "EPYC-Milan-v2", MILAN, KERNEL, spare=(PLAIN, OTHER),
             spare_kernels=(("kernel2", hashlib.sha256(b"kernel2").digest()),),
             spare_initrds=(("initrd2", hashlib.sha256(b"initrd2").digest()),), processor=(0x19, 0x11, 2))


def line(text: bytes) -> LaunchInput:
    """A launch with another command line."""
    return replace(MADE, kernel=replace(KERNEL, cmdline=text))


# What was launched, the kind of the change, and the words for it. MADE is what the user says.
CHANGES: dict[str, tuple[LaunchInput, str, str]] = {
    **{f"{n} CPUs": (replace(MADE, vcpus=n), "CPUs", f"that of {f'{n} CPUs' if n > 1 else '1 CPU'}; you said 2")
       for n in (1, 3, 4, 63, 64, 128, 4096)},
    **{name: (replace(MADE, signature=named_signature(name)), "CPU type",
              f"that of -cpu {name} (family {words}); you said EPYC-Milan-v2 (family 19h model 01h stepping 1, ")
       for name, words in (("EPYC", "17h model 01h stepping 2, EAX 0x800f12"),
                           ("EPYC-Rome", "17h model 31h stepping 0, EAX 0x830f10"),
                           ("EPYC-Genoa", "19h model 11h stepping 0, EAX 0xa10f10"),
                           ("EPYC-Turin", "1ah model 00h stepping 0, EAX 0xb00f00"))},
    "the default CPU": (replace(MADE, signature=0x060fb1), "CPU type",
                        "that of -cpu qemu64 (family 0fh model 6bh stepping 1, EAX 0x60fb1)"),
    "the host's CPU": (replace(MADE, signature=0xa10f12), "CPU type",
                       "that of -cpu host on the chip that signed the report (family 19h model 11h stepping 2, "),
    "any chip's CPU": (replace(MADE, signature=0xb20f21), "another chip's CPU",
                       "that of a CPU of family 1ah model 22h stepping 1, EAX 0xb20f21, such as -cpu host on such a chip"),
    "debug swap": (replace(MADE, features=0x21), "guest features",
                   "that of guest features 0x21 (SNP, debug swap); you said 0x1 (SNP)"),
    "vTOM": (replace(MADE, features=3), "guest features", "that of guest features 0x3 (SNP, vTOM)"),
    "three features": (replace(MADE, features=0x229), "guest features",
                       "that of guest features 0x229 (SNP, restricted injection, debug swap, secure TSC)"),
    "a newline": (line(LINE + b"\n"), "command line",
                  "that of the same command line with a newline at its end; you said 'console=hvc0 a b'"),
    "a blank": (line(LINE + b" "), "command line", "that of the same command line with a blank at its end"),
    "a zero byte": (line(LINE + b"\0"), "command line", "that of the same command line with a zero byte more"),
    "a carriage return": (line(LINE + b"\r\n"), "command line", r"that of the same command line with \r\n at its end"),
    "a blank before it": (line(b" " + LINE), "command line", "that of the same command line with a blank before it"),
    "no command line": (line(b""), "command line", "that of no command line; you said"),
    "the firmware's word after it": (line(LINE + b" initrd=initrd"), "command line",
                                     'that of the same command line with "initrd=initrd" at its end'),
    "the firmware's word before it": (line(b"initrd=initrd " + LINE), "command line",
                                      'that of the same command line with "initrd=initrd" before it'),
    "no initrd": (replace(MADE, kernel=replace(KERNEL, initrd=b"")), "initrd", "that of no initrd; you said another one"),
    "another initrd": (replace(MADE, kernel=replace(KERNEL, initrd=b"initrd2")), "initrd", "that of the initrd initrd2;"),
    "another kernel": (replace(MADE, kernel=replace(KERNEL, kernel=b"kernel2")), "kernel", "that of the kernel kernel2;"),
    "no hashes": (replace(MADE, kernel=None), "kernel hashes", "that of kernel-hashes=off, where neither"),
    "another firmware": (replace(MADE, firmware=OTHER), "firmware", "that of the firmware other; you said fw"),
    "a host without MCE": (replace(MADE, host_mce=False), "CR4.MCE of the host",
                           "that of a host kernel without CONFIG_X86_MCE (CR4.MCE is clear); you said --host-mce on")}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found(name: str) -> None:
    launch, kind, words = CHANGES[name]
    measurement = launch_digest.launch_digest(launch)
    expected, found = explain(SAID, measurement)
    assert expected == launch_digest.launch_digest(MADE) != measurement
    assert found is not None and [change.kind for change in found.changes] == [kind], found
    assert found.text.startswith(f"the report's measurement is {words}"), found.text


# What the user says, when it is not MADE, and the words for what was launched, which is MADE.
WRONG: dict[str, tuple[Claim, str]] = {
    "a blank at the end": (replace(SAID, kernel=replace(KERNEL, cmdline=LINE + b" ")), "without white space around it"),
    "a newline at the end": (replace(SAID, kernel=replace(KERNEL, cmdline=LINE + b"\n")), "without white space around it"),
    "two blanks": (replace(SAID, kernel=replace(KERNEL, cmdline=b"console=hvc0  a b")),
                   "with single blanks between its words"),
    "quotes": (replace(SAID, kernel=replace(KERNEL, cmdline=b'"' + LINE + b'"')), "without the quotes around it"),
    "/proc/cmdline": (replace(SAID, kernel=replace(KERNEL, cmdline=LINE + b" initrd=initrd")), 'without "initrd=initrd"'),
    "/proc/cmdline, newer": (replace(SAID, kernel=replace(KERNEL, cmdline=b"initrd=initrd " + LINE)),
                             'without "initrd=initrd"'),
    "hashes off": (replace(SAID, hashes_on=False), "that of kernel-hashes=on; you said off"),
    "no MCE": (replace(SAID, host_mce=False), "a host kernel with CONFIG_X86_MCE"),
    "debug swap": (replace(SAID, features=0x21), "that of guest features 0x1 (SNP); you said 0x21 (SNP, debug swap)"),
    "a CPU by number": (replace(SAID, cpu="0x123", signature=0x123), "that of -cpu EPYC-Milan (family 19h")}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_word_is_found(name: str) -> None:
    claim, words = WRONG[name]
    _, found = explain(claim, launch_digest.launch_digest(MADE))
    assert found is not None and len(found.changes) == 1 and words in found.text, found and found.text


def test_without_the_zero_byte() -> None:
    """Some tools hash the command line without it."""
    hashes = KERNEL.hashes()._replace(cmdline=hashlib.sha256(LINE).digest())
    _, found = explain(SAID, measured(hashes))
    assert found is not None and "without the zero byte at its end" in found.text


def measured(hashes: Hashes) -> bytes:
    """The digest of MADE with other hashes."""
    digest = launch_digest.extend_range(bytes(48), launch_digest.firmware_range(FIRMWARE))
    for part in launch_digest.section_ranges(FIRMWARE, hashes):
        digest = launch_digest.extend_range(digest, part)
    for page in launch_digest.first_and_other_vmsa(FIRMWARE, MILAN, 1, True):
        digest = launch_digest.extend(digest, launch_digest.PageType.VMSA, launch_digest.VMSA_GPA, page)
    return digest


# Printed by virtee's sev-snp-measure 0.0.13 for MADE's files, with --vmm-type.
@pytest.mark.parametrize("measurement, words", [
    pytest.param("108beb0daf6aa769a1b7691176fd31966661a247784d542d1f5751a159820c6c941326052062af548bc40bad13087467",
                 "a launch by Amazon EC2", id="EC2"),
    pytest.param("ded596b9f9145d5ee4dd61e4e2131e6b1119c02a10327ab4e5c8db7dc784792f51dc91b41ec722a76d5f2844d29f9492",
                 "a launch by Google Compute Engine", id="GCE")])
def test_another_hypervisor(measurement: str, words: str) -> None:
    _, found = explain(SAID, bytes.fromhex(measurement))
    assert found is not None and f"that of {words}; you said QEMU" in found.text


@pytest.mark.parametrize("index", range(len(explained.MONITORS)))
def test_each_hypervisor_is_told_apart(index: int) -> None:
    """Each of them has a digest of its own."""
    monitor, words = explained.MONITORS[index]
    said = explained.Changes(SAID).said
    _, found = explain(SAID, explained.Digests().digest(said._replace(monitor=monitor)))
    assert found is not None and [(change.kind, change.text) for change in found.changes] == [("hypervisor", words)]


# Two changes at once, and the kinds that have to be named.
TWICE = {"CPUs and CPU type": (replace(MADE, vcpus=4, signature=named_signature("EPYC-Genoa")), ["CPUs", "CPU type"]),
         "CPUs and command line": (replace(line(LINE + b"\n"), vcpus=64), ["CPUs", "command line"]),
         "CPUs and features": (replace(MADE, vcpus=1, features=0x21), ["CPUs", "guest features"]),
         "hashes and features": (replace(MADE, kernel=None, features=0x21), ["guest features", "kernel hashes"]),
         "initrd and command line": (replace(MADE, kernel=replace(KERNEL, initrd=b"", cmdline=LINE + b" ")),
                                     ["command line", "initrd"]),
         "firmware and CPUs": (replace(MADE, firmware=OTHER, vcpus=3), ["CPUs", "firmware"]),
         "firmware and host": (replace(MADE, firmware=OTHER, host_mce=False), ["firmware", "CR4.MCE of the host"])}


@pytest.mark.parametrize("name", TWICE)
def test_two_changes_are_not_one(name: str) -> None:
    launch, kinds = TWICE[name]
    _, found = explain(SAID, launch_digest.launch_digest(launch))
    assert found is not None and [change.kind for change in found.changes] == kinds, found
    assert found.text.startswith(f"no single change explains it: {found.tried} were tried (")
    assert "; two together do: the report's measurement is that of " in found.text


# Three changes, or two of which one is unlikely.
THRICE = {"CPUs, CPU type, features": replace(MADE, vcpus=4, signature=named_signature("EPYC-Genoa"), features=0x21),
          "many CPUs and features": replace(MADE, vcpus=65, features=0x21),
          "initrd, command line, hypervisor": replace(MADE, kernel=replace(KERNEL, initrd=b"", cmdline=b""), host_mce=False)}


@pytest.mark.parametrize("name", THRICE)
def test_more_changes_are_not_explained(name: str) -> None:
    _, found = explain(SAID, launch_digest.launch_digest(THRICE[name]))
    assert found is not None and found.changes == () and found.pairs > 1000
    words = rf"no single change explains it: {found.tried} were tried \(.*\); nor do two, of {found.pairs} pairs"
    assert re.fullmatch(words, found.text)


def test_the_same_thing_is_not_changed_twice() -> None:
    """Two command lines are no pair; a command line and an initrd are."""
    changes = explained.Changes(SAID)
    one, other = list(changes.command_lines())[:2]
    initrd = next(changes.initrds())
    assert explained.both(changes.said, one.launch, other.launch) is None
    merged = explained.both(changes.said, one.launch, initrd.launch)
    assert merged is not None and merged.hashes is not None and one.launch.hashes and initrd.launch.hashes
    assert merged.hashes == (one.launch.hashes.cmdline, initrd.launch.hashes.initrd, KERNEL.hashes().kernel)


def test_all_kinds_are_named_if_none_explains_it() -> None:
    _, found = explain(SAID, os.urandom(48))
    assert found is not None and found.tried > 6000
    assert found.kinds == ("1 to 4096 CPUs", "CPU type", "guest features", "command line", "initrd", "kernel",
                           "kernel hashes", "firmware", "CR4.MCE of the host", "hypervisor", "another chip's CPU")


def test_without_a_kernel() -> None:
    """Nothing of a kernel is tried."""
    _, found = explain(replace(SAID, kernel=None, hashes_on=False), os.urandom(48))
    assert found is not None and not {"command line", "initrd", "kernel", "kernel hashes"} & set(found.kinds)


def test_the_launch_itself_needs_no_change() -> None:
    measurement = launch_digest.launch_digest(MADE)
    assert explain(SAID, measurement) == (measurement, None)


def test_firmware_that_cannot_be_launched_is_refused() -> None:
    with pytest.raises(launch_digest.Unusable, match="expected a table for kernel hashes"):
        explain(replace(SAID, firmware=PLAIN), os.urandom(48))


def test_files_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search takes seconds only because it does not hash 50 MB for each change."""
    sizes: list[int] = []
    real = hashlib.sha256

    def noted(data: bytes = b"") -> object:
        sizes.append(len(data))
        return real(data)
    monkeypatch.setattr(hashlib, "sha256", noted)
    explain(replace(SAID, kernel=replace(KERNEL, initrd=bytes(1 << 20))), os.urandom(48))
    assert sizes.count(1 << 20) == 1


def test_parts_that_launches_share_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of firmware costs ten times as much as a vCPU."""
    seen: list[str] = []
    real = launch_digest.extend_range

    def noted(digest: bytes, part: launch_digest.Range) -> bytes:
        seen.append(part.what)
        return real(digest, part)
    monkeypatch.setattr(launch_digest, "extend_range", noted)
    explain(SAID, os.urandom(48))
    # The launch's own and the spare one's.
    assert seen.count("firmware") == 2
