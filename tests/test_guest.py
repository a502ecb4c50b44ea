# SPDX-License-Identifier: GPL-2.0-only
"""A Linux SNP guest boots with Debian's unchanged software, on both trees and on Debian's own kernel.

The first posting of the fix passed each launch, and then the guest hung: only a whole guest shows that. So each boot must
reach a shell, and L2's attestation report must hold the launch's measurement: another kernel, command line or number of
CPUs each give another measurement. The hang of the first posting must be reported with its cause.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.judge.guest import Launch
from tests.support.front import expect
from tests.support.guest import GuestBoot, boot_guest, check_hang

ABOUT = "an SNP guest with Debian's software on both trees and Debian's kernel; its report, /dev/mem; the first posting"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "shell", "guest")
TAKES = 200

CASES = ("is_launched", "runs", "has_a_shell", "snp_is_active", "has_all_cpus", "attests", "powers_off")
CPUS = {"6.12.y": 2, "mainline": 4, "debian": 2}
# In mainline's boot a program in the guest reads this address from /dev/mem: the firmware leaves the page unvalidated.
DEVMEM = "0xfe000"
MORE = f"snplab.devmem={DEVMEM}"
# The kernel's lines on hardware, from a public report (AMDESE/AMDSEV, issue 255). The program gets SIGBUS: 128 + 7.
DEVMEM_SAYS = (r"Wrong/unhandled opcode bytes: 0x[0-9a-f]+, exit_code: 0x404, rIP: 0x[0-9a-f]+",
               r"SEV: Unsupported exit-code 0x404 in #VC exception \(IP: 0x[0-9a-f]+\)",
               rf"snplab: devmem {DEVMEM}: status 135$")
# No boot loader reads this byte: with another value the kernel still boots, but has another measurement.
OFFSET, FLIPPED = 8, 0x5a

Boots = Callable[[str], GuestBoot]


def flip(kernel: Path, out: Path) -> Path:
    """A copy of the kernel with one byte changed."""
    data = bytearray(kernel.read_bytes())
    assert data[OFFSET] != FLIPPED
    data[OFFSET] = FLIPPED
    out.write_bytes(data)
    return out


@pytest.fixture(scope="module", name="boots")
def fixture_boots(tmp_path_factory: pytest.TempPathFactory) -> Boots:
    """boots(TREE): the boot of a guest on that tree, made once."""
    found: dict[str, GuestBoot] = {}

    def boots(tree: str) -> GuestBoot:
        if tree not in found:
            folder = tmp_path_factory.mktemp(tree)
            words: list[str | Path] = []
            if tree == "mainline":
                words = ["--smp", "4", "--append", MORE]
            elif tree == "debian":
                words = ["--kernel", flip(Path(boots("6.12.y").attestation["kernel"]), folder / "flipped")]
            found[tree] = boot_guest(folder, "--tree", tree, *words)
        return found[tree]
    return boots


def digest_of(boot: GuestBoot, cpus: int, append: str) -> str:
    """The launch digest of that boot's files, computed by this process."""
    files = boot.attestation
    return Launch(cpus, "", Path(), Path(files["firmware"]), Path(files["kernel"]), Path(files["initrd"]),
                  append).digest().hex()


@pytest.mark.parametrize("tree", CPUS)
def test_exit_status(tree: str, boots: Boots) -> None:
    """The exit status and the JSON say pass."""
    expect(boots(tree).done, 0, "^PASS: ")
    assert (boots(tree).data["verdict"], boots(tree).data["exit"]) == ("pass", 0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tree", CPUS)
def test_case(tree: str, case: str, boots: Boots) -> None:
    """Each case passes, from launch to power-off."""
    assert boots(tree).case(case) == ["pass"]


@pytest.mark.parametrize("tree", CPUS)
def test_host_is_quiet(tree: str, boots: Boots) -> None:
    """L1's log has no report, and the emulated host counted no error."""
    assert boots(tree).data["reports"] == []
    assert boots(tree).data["host_errors"] == 0


@pytest.mark.parametrize("tree", CPUS)
def test_measurement(tree: str, boots: Boots) -> None:
    """The report's measurement equals the digest computed here."""
    found = boots(tree).attestation
    assert re.fullmatch("[0-9a-f]{96}", found["digest"])
    assert found["measurement"] == found["digest"]


@pytest.mark.parametrize("tree", CPUS)
def test_kernel_of_the_guest_says(tree: str, boots: Boots) -> None:
    """L2's kernel says that all CPUs are up and SNP is active."""
    assert f"Brought up 1 node, {CPUS[tree]} CPUs" in boots(tree).done.output
    assert re.search("Memory Encryption Features active: .*SEV-SNP", boots(tree).done.output)


@pytest.mark.parametrize("tree", CPUS)
def test_times(tree: str, boots: Boots) -> None:
    """The table of times ends with the power-off."""
    assert re.search(r"^ +[0-9.]+ s  power-off  \(at [0-9.]+ s\)", boots(tree).done.output, re.M)


def test_command_line_that_was_measured(boots: Boots) -> None:
    """The launch measured the longer command line."""
    assert boots("mainline").attestation["append"].endswith(f" {MORE}")


def test_another_kernel_is_another_measurement(boots: Boots) -> None:
    """A kernel with one byte changed gives another measurement."""
    one, other = (boots(tree).attestation["measurement"] for tree in ("debian", "6.12.y"))
    assert len(one) == len(other) == 96
    assert one != other


def test_another_command_line_is_another_measurement(boots: Boots) -> None:
    """mainline's boot had 4 CPUs and another command line; the digest with 2 CPUs and ours is the one measured."""
    first = boots("6.12.y")
    append = first.attestation["append"]
    assert digest_of(first, 4, append) != boots("mainline").attestation["measurement"]
    assert digest_of(first, 2, append) == first.attestation["measurement"]


@pytest.mark.parametrize("pattern", DEVMEM_SAYS)
def test_unvalidated_page_of_dev_mem(pattern: str, boots: Boots) -> None:
    """The read ends the program, and not the guest: each case of this boot passes."""
    assert re.search(rf"\| .*{pattern}", boots("mainline").done.output, re.M), boots("mainline").done.output[-4000:]


def test_first_posting_hangs(tmp_path: Path) -> None:
    """On 6.12.y; tests/test_guest_mainline.py tests the other tree."""
    check_hang("6.12.y", tmp_path)
