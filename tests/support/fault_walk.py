# SPDX-License-Identifier: GPL-2.0-only
"""The boots of snp_fault_walk in L1, and the results that each must have."""
from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.core.steps import side_by_side
from lab.judge.ktap import Result
from lab.judge.logs import BootLogs
from tests.support.l1 import L1, cases_of, prepared_l1, reports_of, said_by, shown, why_no_end
from tests.support.recorder import Tap

PROGRAM = "snp_fault_walk"


@dataclass(frozen=True)
class Walk:
    """One boot: the program's argument, the errors on the emulated host, and the kernel's reports."""

    argument: str
    errors: int
    reports: tuple[str, ...]

    @property
    def word(self) -> str:
        """The program with its argument, as L1's init reads it."""
        return PROGRAM + self.argument


ALL, WARNED, VMSA, PAGE = "all", "warned", "vmsa", "page"
NAMES = (ALL, WARNED, VMSA, PAGE)


def walks_of(tree: str) -> dict[str, Walk]:
    """The boots of a tree, and what each must leave. Mainline has the series' fixes of the double failures."""
    fixed = tree == "mainline"
    return {
        ALL: Walk("", 0, ()),
        # The guest's context cannot be released: the kernel warns once per boot, and leaks the pages. The guest keeps its
        # ASID, so that the firmware refuses SNP_SHUTDOWN_EX when L1 powers off.
        WARNED: Walk(":-w", 1, ("snp_decommission_context", "leak", "leak")),
        # A known fault of 6.12.y: the VMSA's page gets on the list of leaked pages, and again when the vCPU is freed.
        VMSA: Walk(":-d:vmsa_0", 0 if fixed else 1, ("not-reclaimed", "__snp_page_reclaim", "leak") if fixed else (
            "not-reclaimed", "snp_page_reclaim", "leak", "leak", "__list_add_valid_or_report")),
        # A known fault of 6.12.y: the guest's page gets on the list of leaked pages, but is freed all the same.
        PAGE: Walk(":-d:page_0", 1, ("not-reclaimed", "__snp_page_reclaim", "sev_gmem_make_shared") if fixed else (
            "not-reclaimed", "snp_page_reclaim", "leak", "sev_gmem_invalidate")),
    }


@dataclass(frozen=True)
class Walked:
    """What one boot has left."""

    walk: Walk
    logs: BootLogs

    @property
    def reports(self) -> list[str]:
        """The kernel's reports."""
        return reports_of(self.logs.kernel)

    def next_owner_met_the_page(self) -> bool:
        """Did a new owner of the freed page take an RMP fault? The firmware still owns that page, so a fault may end the
        boot early; no other report may follow the known ones."""
        own, more = self.reports[:len(self.walk.reports)], self.reports[len(self.walk.reports):]
        return (tuple(own) == self.walk.reports and bool(more)
                and more[0].startswith("BUG: unable to handle page fault for address: ")
                and any(re.search(r"^#PF: error_code\(.*\) - RMP violation", line) for line in more))

    def check_cases(self, tap: Tap) -> None:
        """Records each case of the program as a result."""
        test = self.logs.test(self.walk.word)
        assert test is not None and test.cases, why_no_end(self.logs)
        for name, ok, text in cases_of(test):
            tap.case(name, ok, text)

    def check(self) -> None:
        """Fails unless L1 ran to its end, the program passed, and host and kernel reported exactly what is expected."""
        assert why_no_end(self.logs) == ""
        # The program exits with an error if its plan is not met.
        assert self.logs.result(self.walk.word) is Result.PASS, shown(self.logs, self.walk.word)
        assert said_by(self.logs, self.walk.word)
        assert self.logs.host.total == self.walk.errors, "\n".join([self.logs.host.missing, *self.logs.host.log[:10]])
        assert tuple(self.reports) == self.walk.reports, "\n".join(self.logs.kernel.matches)


@contextmanager
def walked(tree: str, folder: Path) -> Iterator[dict[str, Walked]]:
    """Boots a tree's walks, two at once."""
    walks, found = walks_of(tree), dict[str, Walked]()

    def boot(l1: L1, *names: str) -> None:
        for name in names:
            # The next owner of the page that is freed may take an RMP fault: end then, and do not hang until the limit.
            found[name] = Walked(walks[name], l1.boot(name, walks[name].word, append="oops=panic" if name == PAGE else ""))
    with prepared_l1(folder, tree, [PROGRAM]) as l1:
        # The first walk takes as long as all others together.
        side_by_side(lambda: boot(l1, ALL), lambda: boot(l1, WARNED, VMSA, PAGE))
        yield found
