# SPDX-License-Identifier: GPL-2.0-only
"""run --tree DIR on each linux-source-7.x that the archive has, with its own selftests, and on a tree such as a vendor's.

The lab's configuration, its selftests and its copy of a tree fit the newest kernel, and may fail on another: a symbol that a
release lacks, a selftest library of another age, files of a build in the tree.
"""
from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.build.apt import Apt
from lab.build.sources import get_deb, package_pattern, unpack_kernel
from lab.core.session import Session
from lab.core.steps import Job
from tests.support.front import expect, run_snplab
from tests.support.l1 import BUILD_LIMIT, lab_session
from tests.support.patches_real import newest_base

ABOUT = "run --tree DIR on each 7.x kernel of the archive, and on a vendor-like tree with --config"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 1500

CASE = "sev_snp_launch_test:snp_launch_smp.2_vcpus.finish_then_run"
DRIVER = "drivers/acme"
KCONFIG = 'config ACME\n\ttristate "Acme"\n\thelp\n\t  A vendor\'s driver.\n'


@pytest.fixture(scope="module", name="session")
def fixture_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session of the lab."""
    with lab_session(tmp_path_factory.mktemp("session")) as session:
        yield session


def run_tree(folder: Path, result: Path, *words: str | Path) -> None:
    """Runs a case that passes on every kernel; it must have been run by an SNP host."""
    done = run_snplab("run", "--tree", folder, "--test", CASE, "--json", result, *words, timeout=BUILD_LIMIT)
    expect(done, 0, "^PASS: ")
    data = json.loads(result.read_text(encoding="utf-8"))
    assert data["passed"] == 1 and data["snp"], done.output[-3000:]


def test_each_kernel_of_the_archive(session: Session, tmp_path: Path) -> None:
    """With Debian's newest selftests, and with the tree's own."""
    job = Job(session, tmp_path / "log")
    apt = Apt(job)
    apt.refresh()
    newest = dict(reversed(apt.candidates(package_pattern("mainline"))))
    assert newest, "expected a package linux-source-7.x, found none"
    for package, version in newest.items():
        folder = tmp_path / package
        folder.mkdir()
        get_deb(apt, package, version, folder)
        unpack_kernel(job, package, folder)
        run_tree(folder / "src", tmp_path / f"{package}.json")
        run_tree(folder / "src", tmp_path / f"{package}-own.json", "--selftests", "tree")
        shutil.rmtree(folder)


def make_vendor(base: Path, folder: Path) -> Path:
    """A copy of 6.12.y as a vendor may have it: a version of its own, a driver, packaging, and files of an earlier build."""
    shutil.copytree(base, folder, symlinks=True)
    makefile = (folder / "Makefile").read_text(encoding="utf-8").replace("EXTRAVERSION =", "EXTRAVERSION = -acme.7", 1)
    driver = folder / DRIVER
    driver.mkdir()
    for name, text in {"Makefile": makefile, "localversion-acme": "-gold\n", f"{DRIVER}/Kconfig": KCONFIG,
                       f"{DRIVER}/Makefile": "obj-$(CONFIG_ACME) += acme.o\n", "packaging/rules": "all:\n",
                       f"{DRIVER}/acme.c": "// SPDX-License-Identifier: GPL-2.0\nint acme_of_a_vendor;\n",
                       ".config": "CONFIG_OLD=y\n", "include/config/auto.conf": "CONFIG_OLD=y\n",
                       "include/generated/autoconf.h": "#define CONFIG_OLD 1\n"}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, old, new in (("drivers/Kconfig", "endmenu", f'source "{DRIVER}/Kconfig"\n\nendmenu'),
                           ("drivers/Makefile", "", "obj-y += acme/\n")):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        at = text.rindex(old)
        path.write_text(text[:at] + new + text[at + len(old):], encoding="utf-8")
    return folder


def test_a_vendors_tree(session: Session, tmp_path: Path) -> None:
    """With the vendor's driver built in; a symbol that the tree lacks is named."""
    folder = make_vendor(newest_base(session, tmp_path, "6.12.y"), tmp_path / "vendor")
    before = sorted(folder.rglob("*"))
    (tmp_path / "acme.config").write_text("CONFIG_ACME=y\n", encoding="utf-8")
    run_tree(folder, tmp_path / "json", "--config", tmp_path / "acme.config")
    (tmp_path / "acme.config").write_text("CONFIG_ACME=y\nCONFIG_ACNE=y\n", encoding="utf-8")
    expect(run_snplab("run", "--tree", folder, "--test", CASE, "--config", tmp_path / "acme.config", timeout=BUILD_LIMIT), 3,
           "CONFIG_ACNE: expected y, found no such symbol in this tree")
    assert sorted(folder.rglob("*")) == before
