# SPDX-License-Identifier: GPL-2.0-only
"""The documentation of the mainline series builds without a warning that the base does not have, and has the new text."""
from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.process import command
from tests.support.patched import Patched, patched_tree

ABOUT = "the mainline series' documentation builds without a new warning"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "docs")
TAKES = 60

PAGE = "Documentation/output/virt/kvm/x86/amd-memory-encryption.html"


class Docs:
    """Documentation/virt of a tree, built before and after the series."""

    def __init__(self, patched: Patched) -> None:
        self.patched = patched
        self.out = patched.work / "docs"
        patched.apply([])
        self.before = self.build()
        patched.apply()
        self.after = self.build()

    def build(self) -> set[str]:
        """Builds the pages anew. Returns the warnings without line numbers."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        log = self.patched.job.log_path
        begin = log.stat().st_size
        self.patched.job.run(command("make", "-C", self.patched.src, f"O={self.out}", "SPHINXDIRS=virt", "htmldocs"))
        said = log.read_bytes()[begin:].decode("utf-8", "replace").splitlines()
        return {re.sub(r":[0-9]*:", ":", re.sub(r"^.*/Documentation/", "", line)) for line in said
                if re.search(r"WARNING|ERROR|warning:", line)}


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docs]:
    """The warnings of both builds."""
    with patched_tree(tmp_path_factory.mktemp("docs"), "mainline", "docs") as patched:
        yield Docs(patched)


def test_no_new_warning(docs: Docs) -> None:
    new = docs.after - docs.before
    assert not new, "\n".join(sorted(new))


def test_the_page_has_the_new_text(docs: Docs) -> None:
    page: Path = docs.out / PAGE
    assert "KVM_GET_REGS tells whether it is" in page.read_text(encoding="utf-8")
