# SPDX-License-Identifier: GPL-2.0-only
"""The emulated host for tests that need no L1: the binary, and the qtests in its build folder."""
from __future__ import annotations

from pathlib import Path

from lab.build.deps import install_step
from lab.build.qemu import Host, HostPlan
from lab.core.session import Session
from lab.core.steps import Plan
from tests.support.front import run_snplab
from tests.support.l1 import BUILD_LIMIT, run_plan


def emulated_host() -> Path:
    """The emulated host's binary; ./snplab host builds it if need be."""
    done = run_snplab("host", "--print", "binary", timeout=BUILD_LIMIT)
    assert done.status == 0, done.output
    return Path(done.stdout.strip())


def build_host_tests(session: Session, folder: Path, sanitize: bool = False) -> Host:
    """Builds the emulated host and its qtests in the cache. The steps' logs are in the folder."""
    chosen = HostPlan(session, None, sanitize)
    assert chosen.named is None, "expected to build an emulated host, found SNPLAB_QEMU: unset it"
    plan = Plan(session, logs=folder / "steps")
    install = install_step(plan, "fetch", "overlay", *chosen.purposes)
    chosen.add_steps(plan, None, (install,))
    plan.add("build the qtests", chosen.host.build_tests)
    run_plan(plan)
    return chosen.host
