# SPDX-License-Identifier: GPL-2.0-only
"""A tree of a series in a work folder of the test, for tests that build it in another way than `run` does."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.build import overlay
from lab.build.deps import install_step
from lab.build.target import Target
from lab.core.session import Session
from lab.core.steps import Job, Plan
from tests.support.l1 import lab_session, run_plan


class Patched:
    """The newest base of a tree, in a folder of the cache; apply() adds its patches."""

    def __init__(self, session: Session, folder: Path, tree: str, name: str) -> None:
        self.session = session
        self.target = Target(tree)
        self.source = self.target.source(session)
        plan = Plan(session, logs=folder / "fetch")
        self.source.add_fetch(plan, f"fetch linux for {tree}", (install_step(plan, "fetch", "overlay"),))
        run_plan(plan)
        self.work = session.cache.folder(f"work/{name}")
        self.job = Job(session, folder / "patched.log")

    @property
    def src(self) -> Path:
        """The tree's source."""
        return self.work / "src"

    def apply(self, patches: Sequence[Path] | None = None) -> None:
        """Makes the source the base plus these patches; by default those of the series."""
        chosen = self.target.series() if patches is None else patches
        overlay.apply(self.job, overlay.Tree(self.source.path, self.work, chosen, True, name=f"linux {self.source.version}"))


@contextmanager
def patched_tree(folder: Path, tree: str, name: str) -> Iterator[Patched]:
    """Makes such a tree, in its own session, under the lock of its name. Deletes it at the end."""
    with lab_session(folder) as session:
        patched = Patched(session, folder, tree, name)
        with session.lock(f"work-{name}"):
            try:
                yield patched
            finally:
                # A kill must not leave half of a tree whose state says that it is whole.
                overlay.put_away(patched.work)
