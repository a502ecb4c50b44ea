# SPDX-License-Identifier: GPL-2.0-only
"""The emulated host, built with UBSan and ASan, which stop it at undefined behaviour and bad accesses.

A kernel or a guest must not be able to crash QEMU: an access beyond a buffer of the emulated firmware would show as a crash
of L1 that nobody can explain, or not at all. The qtest, the CPU test and a kernel's SEV tests run as on the normal build;
then random firmware commands and instructions run for SNPLAB_FUZZ seconds each (default 30).
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.build.qemu import Host
from tests.support.front import TOP, expect, run_snplab
from tests.support.host_build import build_host_tests
from tests.support.l1 import lab_session
from tests.support.recorder import Tap

ABOUT = "the emulated host with ASan and UBSan: the normal build's tests, then random commands and instructions"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "boot", "host", "hostsource")
TAKES = 900

CPU_TEST = TOP / "host" / "tests" / "cpu" / "run"
FUZZ = int(os.environ.get("SNPLAB_FUZZ") or 30)
# QEMU frees nothing at its exit: don't look for leaks.
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with lab_session(folder) as session:
        yield build_host_tests(session, folder, sanitize=True)


def qtest(host: Host, name: str) -> Path:
    return host.build_folder / "tests/qtest" / name


def with_qemu(host: Host, **more: str) -> dict[str, str]:
    return {**SANITIZERS, "QTEST_QEMU_BINARY": str(host.binary), **more}


def test_built(host: Host) -> None:
    """The binary is built with the sanitizers."""
    assert b"__asan_init" in host.binary.read_bytes()


def test_qtest(tap: Tap, host: Host) -> None:
    tap.program("amd-psp-test ends well", qtest(host, "amd-psp-test"), timeout=400, env=with_qemu(host))


def test_cpu(tap: Tap, host: Host) -> None:
    tap.program("the test kernel ran to its end", CPU_TEST, host.binary, timeout=500,
                env={**SANITIZERS, "SNP_SECONDS": "400"})


def test_kernel(host: Host) -> None:
    """A kernel boots, and its SEV tests run."""
    done = run_snplab("run", "--tree", "mainline", "--test", "sev_*", "--timeout", "400",
                      env={**SANITIZERS, "SNPLAB_QEMU": str(host.binary)}, timeout=3600)
    expect(done, 0, "^PASS: ")


def test_arbitrary_commands(tap: Tap, host: Host) -> None:
    tap.program(f"arbitrary firmware commands for {FUZZ} s", qtest(host, "amd-psp-fuzz"), timeout=FUZZ + 200,
                env=with_qemu(host, AMD_PSP_FUZZ_SECONDS=str(FUZZ)))


def test_arbitrary_instructions(tap: Tap, host: Host) -> None:
    tap.program(f"arbitrary instructions on all CPUs for {FUZZ} s", CPU_TEST, "--fuzz", str(FUZZ), host.binary,
                timeout=2 * FUZZ + 120, env=SANITIZERS)
