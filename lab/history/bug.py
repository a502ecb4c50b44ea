# SPDX-License-Identifier: GPL-2.0-only
"""A bug that Linux had: the header of a patch in tests/history/TREE.

The patch puts the bug back into TREE: it takes the fix out. If TREE still has the bug, the patch is the fix, and the header
has "Present: yes". Above its "---" the header says in a paragraph what went wrong, then has lines of these forms:

  Fix: 0123456789ab             the fix's commit, as a public source has it; its subject is in "Subject:"
  Fix: unknown; "SUBJECT", in VERSION
                                the fix is known by its subject and by a release that has it
  Subject: SUBJECT              with a commit only
  Since: 0123456789ab           the commit that brought the bug, or "unknown"
  Fixed-in: VERSION[, VERSION]...
                                the releases that had the fix first
  Component: NAME               one of COMPONENTS
  Class: D|K|I|R|N [(REASON)]   how the bug shows: see Shows
  Present: yes                  TREE has the bug; the patch is the fix
  Not-needed-since: VERSION; WHY
                                from that release on, other code does what the fix did
  Append: WORDS                 the boots with the bug have these words on the command line of L1's kernel
  Config: FRAGMENT              the bug shows with this fragment of lab/config only
  Needs: TEXT                   what it would take to see it; for the classes R and N
  Gap: ROW                      the row of host/README.md, "What is modelled, simplified, absent", that says it is absent
  Waits-for: TEXT               nothing catches it yet; the test that would
  Caught-by:, Not-seen-by:, Not-run:
                                as in the header of a mutant, see lab/judge/mutants.py
"""
from __future__ import annotations

import enum
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

from lab.judge.files import read_lines
from lab.judge.mutants import END, Header

COMPONENTS = ("kvm-sev", "kvm-svm", "kvm", "guest_memfd", "ccp", "rmp", "iommu", "selftests")
ID = r"[0-9a-f]{12}"
VERSION = r"[0-9]+\.[0-9]+(\.[0-9]+)?"
SERIES = "series/mainline"
# The file that says how a header looks.
FORM = "lab/history/bug.py"
# Each name, the form of its value, and that form in words.
FIELDS = {
    "Fix": (rf'({ID})|unknown; "([^"]+)", in ({VERSION}|{SERIES})', '12 digits, or: unknown; "SUBJECT", in VERSION'),
    "Subject": (r"\S.*", "the fix's subject"),
    "Since": (rf"{ID}|unknown", "12 digits, or: unknown"),
    "Fixed-in": (rf"(?:{VERSION}|{SERIES})(?:, {VERSION})*|nowhere", "releases, as in: 7.1, 6.12.83"),
    "Component": ("|".join(COMPONENTS), f"one of {', '.join(COMPONENTS)}"),
    "Class": (r"([DKIRN])(?: \((.+)\))?", "one of D, K, I, R and N, perhaps with a reason in brackets"),
    "Present": ("yes", "yes"),
    "Not-needed-since": (rf"({VERSION}); (\S.*)", "VERSION; WHY"),
    "Config": (r"[a-z][a-z0-9-]*", "a fragment of lab/config"),
    "Append": (r"\S.*", "words for the command line of L1's kernel"),
    "Needs": (r"\S.*", "what it would take to see the bug"),
    "Gap": (r"\S.*", "a row of host/README.md"),
    "Waits-for": (r"\S.*", "the test that would catch it"),
}
REQUIRED = ("Fix", "Since", "Fixed-in", "Component", "Class")
AS_A_MUTANTS = re.compile(r"(Caught-by|Not-seen-by|Not-run): \S")
FIELD = re.compile(rf"({'|'.join(FIELDS)}):\s*(.*)$")


class Shows(enum.Enum):
    """How a bug shows."""

    DETERMINISTIC = "D"
    # With KASAN, HARDENED_USERCOPY or DEBUG_LIST.
    CHECKED = "K"
    # With a failure of the firmware, which the emulated host can inject.
    INJECTED = "I"
    # A race.
    RACE = "R"
    # It needs something that the emulated host does not model.
    NOT_MODELLED = "N"

    @property
    def in_software(self) -> bool:
        """Can software on an emulated host show it? These bugs are what recall is measured on."""
        return self in (Shows.DETERMINISTIC, Shows.CHECKED, Shows.INJECTED)


@dataclass
class Bug:
    """One bug in one tree."""

    tree: str
    patch: Path
    header: Header
    # The description of the bug.
    story: str
    fields: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, tree: str, patch: Path) -> Bug:
        """Reads a patch's header. Nothing is raised: `errors` has a sentence for each mistake."""
        lines = read_lines(patch)
        story = " ".join(itertools.takewhile(lambda line: line and line != END, lines))
        bug = cls(tree, patch, Header.read(patch), story)
        bug._read_fields(lines[:lines.index(END)] if END in lines else [])
        if END not in lines:
            bug.errors.append(f'expected a line "{END}" between the header and the diff, found none')
        bug._check()
        return bug

    def _read_fields(self, lines: list[str]) -> None:
        # The story, an empty line, and nothing but fields.
        after = lines.index("") if "" in lines else 0
        for line in filter(None, lines[after:]):
            found = FIELD.match(line)
            if not found:
                if not AS_A_MUTANTS.match(line):
                    self.errors.append(f'expected the story, an empty line, then one field a line; found "{line}"')
                continue
            name, value = found[1], found[2].strip()
            form, words = FIELDS[name]
            if not re.fullmatch(form, value):
                self.errors.append(f'expected "{name}:" with {words}, found "{value}"')
            elif name in self.fields:
                self.errors.append(f'expected one line "{name}:", found two')
            else:
                self.fields[name] = value

    def _check(self) -> None:
        self.errors += [f'expected a line "{name}:", found none' for name in REQUIRED if name not in self.fields]
        no_layer = "its header names no layer that catches it"
        self.errors += [e for e in self.header.errors if self.must_be_caught or e != no_layer]
        if not self.story:
            self.errors.append("its header does not explain the bug")
        if self.commit and "Subject" not in self.fields:
            self.errors.append('expected a line "Subject:" beside a commit\'s id, found none')
        if not self.commit and "Subject" in self.fields:
            self.errors.append('expected the subject in the line "Fix: unknown", found a line "Subject:", too')
        waits = "Waits-for" in self.fields
        if not waits and not self.header.named and "Class" in self.fields and self.shows.in_software:
            self.errors.append('expected "Caught-by:" or "Waits-for:" for a bug that software can show, found neither')
        if self.header.named and not [*self.header.programs(), *self.header.unseen]:
            self.errors.append('expected a program to run, in "Caught-by:" or "Not-seen-by:", found none')
        if waits and self.header.named:
            self.errors.append('expected "Waits-for:" only where nothing catches the bug, found "Caught-by:", too')
        if "Class" in self.fields and not self.shows.in_software and not self.header.named and "Needs" not in self.fields:
            self.errors.append(f'expected a line "Needs:" in class {self.shows.value} if nothing catches it, found none')

    @property
    def slug(self) -> str:
        """The bug's name, the same for all trees."""
        return self.patch.stem

    def _parts(self, name: str) -> re.Match[str] | None:
        """The parts of a field's value; None without that field."""
        return re.fullmatch(FIELDS[name][0], self.fields.get(name, ""))

    @property
    def commit(self) -> str | None:
        """The fix's commit, 12 hexadecimal digits; None if it is not known."""
        found = self._parts("Fix")
        return found[1] if found else None

    @property
    def subject(self) -> str:
        """The fix's subject."""
        found = self._parts("Fix")
        return self.fields.get("Subject", "") or (found[2] if found and found[2] else "")

    @property
    def component(self) -> str:
        """The part of the kernel that had the bug."""
        return self.fields.get("Component", "")

    @property
    def shows(self) -> Shows:
        """How the bug shows."""
        return Shows(self.fields["Class"][0])

    @property
    def present(self) -> bool:
        """Does the tree still have the bug, so that the patch is the fix?"""
        return "Present" in self.fields

    @property
    def not_needed(self) -> tuple[str, str] | None:
        """The release that does without the fix, and why; None if each tree needs it."""
        found = self._parts("Not-needed-since")
        return (found[1], found[3]) if found else None

    @property
    def must_be_caught(self) -> bool:
        """Must a layer that the header names catch it? Not if none is named, as a test is missing or software cannot show
        the bug. KUnit can fake a state that otherwise takes luck."""
        return bool(self.header.named) or not ("Waits-for" in self.fields or "Needs" in self.fields)

    @property
    def fix(self) -> str:
        """The fix in words: its commit, if known, and its subject."""
        return f'{self.commit} ("{self.subject}")' if self.commit else f'"{self.subject}"'
