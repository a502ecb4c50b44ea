# SPDX-License-Identifier: GPL-2.0-only
"""Makes kernel trees from the fixtures in tests/status/, just large enough for `status`.

tests/status/README.md explains the markers in the fixtures.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "status"
SEV = "arch/x86/kvm/svm/sev.c"
MARK = "/* HERE */"
VERSION = "6.12.99"


@dataclass(frozen=True)
class Fixture:
    """One file of tests/status/."""

    name: str

    @property
    def own(self) -> str:
        """The file's text."""
        return (FOLDER / f"{self.name}.c").read_text(encoding="utf-8")

    def field(self, key: str) -> str:
        """The value of a line in the fixture's head; "" if there is none."""
        found = re.search(rf"^// {key}: (.*)$", self.own, re.M)
        return found[1] if found else ""

    @property
    def source(self) -> str:
        """The fixture's whole sev.c."""
        own = self.own
        if re.search("^// alone$", own, re.M):
            return own
        text = (FOLDER / "head.inc").read_text(encoding="utf-8") + own
        # A fixture with its own caller does not need tail.inc.
        if not re.search(r"^static int snp_launch_finish\(", own, re.M):
            text += (FOLDER / "tail.inc").read_text(encoding="utf-8")
        return text

    @property
    def marked(self) -> list[int]:
        """The lines of the whole sev.c that the verdict must name."""
        return [number for number, line in enumerate(self.source.split("\n"), 1) if MARK in line]


def fixture_names() -> list[str]:
    """The names of all fixtures."""
    return sorted(path.stem for path in FOLDER.glob("*.c"))


def make_tree(top: Path, source: str | None = None, version: str = VERSION, file: str = SEV) -> Path:
    """Makes the smallest folder that passes for a kernel tree, with `source` as its sev.c. Returns it."""
    (top / SEV).parent.mkdir(parents=True, exist_ok=True)
    major, minor, sub = version.split(".")
    (top / "Makefile").write_text(f"# SPDX-License-Identifier: GPL-2.0\nVERSION = {major}\nPATCHLEVEL = {minor}\n"
                                  f"SUBLEVEL = {sub}\nEXTRAVERSION =\n", encoding="utf-8")
    (top / "Kbuild").write_text("# SPDX-License-Identifier: GPL-2.0\n", encoding="utf-8")
    if source is not None:
        (top / file).write_text(source, encoding="utf-8")
    return top


def tree_of(top: Path, name: str) -> Path:
    """Makes the tree of a fixture."""
    fixture = Fixture(name)
    return make_tree(top, fixture.source, fixture.field("linux") or VERSION)
