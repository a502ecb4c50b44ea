# SPDX-License-Identifier: GPL-2.0-only
"""Are the series' selftests skipped, with a reason, where there is no SNP?

Everybody runs KVM's selftests, and hardly anybody has SNP. A test that fails there, or that passes without having tested
anything, would not be taken. Stock QEMU has a CPU without SEV, and no PSP: KVM is there, /dev/sev is not.
"""
from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest

from lab.build.selftests import selftest_patches
from lab.core.errors import setup_error
from lab.core.process import set_environment
from lab.judge.ktap import Result
from lab.judge.logs import BootLogs
from lab.patches.newfiles import brought_names
from tests.support.l1 import prepared_l1, said_by, shown, why_no_end

ABOUT = "the series' selftests are skipped, with a reason, where there is no SNP"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "check")
TAKES = 40

PROGRAMS = [name.removesuffix(".c").rpartition("/")[2] for patch in selftest_patches()
            for name in brought_names(patch) if "/kvm/x86/" in name]
# The harness was not started, or the plan has no test.
REASON = re.compile(r"^# 1\.\.0 # SKIP \S.{10,}")


@pytest.fixture(scope="module", name="logs")
def fixture_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootLogs]:
    """A boot of mainline on stock QEMU."""
    set_environment()
    stock = shutil.which("qemu-system-x86_64")
    if stock is None:
        raise setup_error("expected a stock qemu-system-x86_64, found none")
    with prepared_l1(tmp_path_factory.mktemp("skipped"), "mainline", PROGRAMS) as l1:
        yield l1.boot("logs", ",".join(PROGRAMS), stock=stock)


def test_there_are_programs() -> None:
    assert {"sev_snp_launch_test", "sev_dev_test"} < set(PROGRAMS)


def test_end(logs: BootLogs) -> None:
    assert why_no_end(logs) == ""
    assert (logs.kernel.matches, logs.kernel.panic) == ([], None)


@pytest.mark.parametrize("name", PROGRAMS)
def test_skipped_with_a_reason(logs: BootLogs, name: str) -> None:
    """The whole program, before it has done anything."""
    assert logs.result(name) is Result.SKIP, shown(logs, name)
    assert [line for line in said_by(logs, name) if REASON.match(line)], shown(logs, name)
