# SPDX-License-Identifier: GPL-2.0-only
"""The emulated secure processor alone: its qtest, on the lab's build of QEMU.

A kernel sends few firmware commands, all well formed. The qtest sends each command, right and wrong: malformed buffers,
commands out of order, failures on demand. Firmware and qtest could have the same wrong launch digests, so other code
computes them again.
"""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.build.qemu import Host
from tests.support.front import TOP, expect, run_command
from tests.support.host_build import build_host_tests
from tests.support.l1 import lab_session
from tests.support.recorder import Tap

ABOUT = "the emulated secure processor: each command, each refusal, launch digests, signatures"
LANE = "boot"
NEEDS = ("fetch", "overlay", "boot", "host", "hostsource")
TAKES = 40


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with lab_session(folder) as session:
        yield build_host_tests(session, folder)


def test_qtest(tap: Tap, host: Host) -> None:
    """The cases with cryptography must run as well: a QEMU built without GnuTLS would leave them out."""
    run = tap.program("amd-psp-test ends well", host.build_folder / "tests/qtest/amd-psp-test", timeout=300,
                      env={"QTEST_QEMU_BINARY": str(host.binary)})
    tap.case("it is built with GnuTLS", any(case.ok and "/amd-psp/snp/id-block" in case.name for case in run.cases))


def test_launch_digests() -> None:
    """The qtest expects the digests that Python computes."""
    done = run_command("/usr/bin/python3", "-IB", TOP / "host/tests/launch-digest.py",
                       TOP / "host/files/tests/qtest/amd-psp/snp-launch-tests.c")
    expect(done, 0, "^6 of 6 launch digests agree$")
