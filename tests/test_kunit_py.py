# SPDX-License-Identifier: GPL-2.0-only
"""kunit.py runs the mainline series' KUnit suite as a kernel developer runs it: in the patched tree, everything built in,
on any CPU of kunit.py's QEMU; and on the emulated host, as docs/using-the-host.md describes.
"""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.build.kernel import ccache_env, jobs
from tests.support.front import Done, expect, run_command, run_snplab
from tests.support.patched import Patched, patched_tree

ABOUT = "kunit.py runs the mainline series' suite on its own QEMU and on the emulated host"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "check")
TAKES = 500

KUNIT = "tools/testing/kunit/kunit.py"
FAKES = Path(__file__).resolve().parent / "kunit_py"
ALL_PASSED = r"Testing complete\. Ran [1-9][0-9]* tests: passed: [0-9]+(, skipped: [0-9]+)?$"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patched]:
    """The patched tree."""
    with patched_tree(tmp_path_factory.mktemp("kunit"), "mainline", "kunit-py") as patched:
        patched.apply()
        yield patched


def kunit(tree: Patched, verb: str, first_on_path: Path, *words: str | Path) -> Done:
    """Runs kunit.py VERB in the patched tree."""
    environment: dict[str, str | None] = {**ccache_env(tree.session.cache), "PATH": f"{first_on_path}:{os.environ['PATH']}"}
    return run_command("/usr/bin/python3", "-B", tree.src / KUNIT, verb, "--arch", "x86_64", "--build_dir", tree.src / "obj",
                       *words, env=environment, cwd=tree.src, timeout=1200)


@pytest.fixture(scope="module")
def first(tree: Patched) -> Done:
    """The suite, built and run on kunit.py's own QEMU."""
    return kunit(tree, "run", FAKES, "--kunitconfig", "arch/x86/kvm/svm/tests", "--make_options", "CC=ccache gcc",
                 "--jobs", str(jobs()), "--kernel_args", "no_timer_check")


def test_it_runs_the_suite(first: Done) -> None:
    expect(first, 0, "kvm_sev_snp_launch_finish")


def test_all_of_it_passes(first: Done) -> None:
    expect(first, 0, ALL_PASSED)


def test_the_same_kernel_on_the_emulated_host(first: Done, tree: Patched, tmp_path: Path) -> None:
    expect(first, 0)
    config = run_snplab("host", "--print", "kunit", timeout=1800)
    binary = run_snplab("host", "--print", "binary")
    expect(config, 0)
    (tmp_path / "host.py").write_text(config.stdout, encoding="utf-8")
    done = kunit(tree, "exec", Path(binary.stdout.strip()).parent, "--qemu_config", tmp_path / "host.py")
    expect(done, 0, ALL_PASSED)
    assert re.search("-machine q35,amd-snp-host=on", done.output), "expected QEMU with amd-snp-host=on, found another"
