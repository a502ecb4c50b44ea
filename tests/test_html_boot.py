# SPDX-License-Identifier: GPL-2.0-only
"""run --html on real kernels: the page has the verdict and the cases, and its timeline shows what the kernel did with the
locks.

The events, the functions that are probed and the trace's text are the kernel's, and may change with it. A page without a
timeline, or one that shows the same for the series and for a wrong version of it, would tell nobody.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.core.places import TOP
from tests.support.front import run_snplab
from tests.support.l1 import BUILD_LIMIT
from tests.test_html import Reader

ABOUT = "run --html: a page with a timeline of the locks, for the series, the first posting, and 6.12 as shipped"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "boot", "host", "hostsource")
TAKES = 1200


@dataclass(frozen=True)
class Page:
    """A kernel, the verdict on it, and what its page says."""

    tree: str
    patch: str | None
    status: int
    says: tuple[str, ...]
    says_not: tuple[str, ...] = ()


RELEASED = ("LAUNCH_FINISH waits for vCPU 0's mutex", "LAUNCH_FINISH waits for vCPU 2's mutex",
            *(f"LAUNCH_FINISH held vCPU {vcpu}'s mutex for " for vcpu in (0, 1, 2)))
WRONG = ("nobody released it", "was in KVM_RUN while", "did not return", "did not take", "in vain")
PAGES = {
    "6.12.y": Page("6.12.y", None, 0, RELEASED, WRONG),
    "mainline": Page("mainline", None, 0, RELEASED, WRONG),
    "the first posting": Page("6.12.y", "leak-on-success", 1, ("LAUNCH_FINISH took vCPU 0's mutex, and nobody released it.",
                                                               "KVM_RUN of vCPU 0 waited ")),
    "6.12 as shipped": Page("6.12.y", "no-lock", 1, ("vCPU 0 was in KVM_RUN while LAUNCH_FINISH encrypted the VMSAs.",
                                                     "LAUNCH_FINISH did not take vCPU 0's mutex."), WRONG[:1]),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_shows_what_the_kernel_did(tmp_path: Path, name: str) -> None:
    page, file = PAGES[name], tmp_path / "page.html"
    patch = TOP / "tests/mutants" / f"linux-{page.tree}" / f"{page.patch}.patch"
    more: list[str | Path] = ["--patch", patch] if page.patch else []
    done = run_snplab("run", "--tree", page.tree, "--html", file, *more, timeout=2 * BUILD_LIMIT)
    assert done.status == page.status, done.output[-4000:]
    text = Reader(file.read_text(encoding="utf-8")).text
    assert f"{'FAIL' if page.status else 'PASS'}: {page.tree} on linux " in text
    assert "snp_launch.id_block_digest" in text and "finish_waits_for_running_vcpu" in text
    assert "the kernel refused" not in text and "No timeline" not in text and "entries were lost" not in text
    assert text.count("vCPU 1 mutex") == 2 and text.count("kvm->lock") >= 2
    assert not [words for words in page.says if words not in text], text[-6000:]
    assert not [words for words in page.says_not if words in text], text[-6000:]
