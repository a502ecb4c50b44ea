# SPDX-License-Identifier: GPL-2.0-only
"""Records results besides a test's own, such as the cases of a C program that prints TAP."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.check.plugin import TAP_CASE
from tests.support.tap import TapRun, run_tap


class Tap:
    """The cases of one test. The last line of `check` counts them."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._failed: list[str] = []
        self.count = 0

    def case(self, name: str, ok: bool, diagnostics: str = "", skip: str | None = None) -> None:
        """Records a result. `skip` is the reason if the case was skipped."""
        self.count += 1
        outcome = "failed" if not ok else "passed" if skip is None else "skipped"
        if not ok:
            self._failed.append(f"{name}\n{diagnostics}".strip())
        self._item.user_properties.append(
            (TAP_CASE, {"case": name, "outcome": outcome, "reason": skip or "", "text": diagnostics}))

    def program(self, text: str, *command: str | Path, timeout: float = 300,
                env: Mapping[str, str] | None = None) -> TapRun:
        """Runs a program that prints TAP. Records a result for each of its cases, and one, `text`, for the whole program:
        that fails unless the program ends with status 0 and with as many results as planned, and at least one."""
        run = run_tap(command, timeout=timeout, env=env)
        for case in run.cases:
            self.case(case.name, case.ok, case.text, case.skip)
        problem = run.problem
        self.case(text, problem is None, f"{problem}\n{run.tail()}" if problem else "")
        return run

    def settle(self) -> None:
        """Fails the test once if any case has failed."""
        failed, self._failed = self._failed, []
        if failed:
            pytest.fail(f"{len(failed)} of {self.count} cases failed:\n" + "\n".join(failed), pytrace=False)
