# SPDX-License-Identifier: GPL-2.0-only
"""Has a kernel tree the fix of a bug? The patches of tests/history tell: one that puts the bug back applies to a tree with
the fix, and applies in reverse to a tree without it.

A patch is made for one version of a file. Elsewhere git may have to look for its place, and to do with less context. So an
answer counts only if the place is in the function that the hunk is about, if the lines that the patch would insert are not
there already, and, for lines that it takes away with one line of context, if they are there once. If the patches of a bug
for several trees do not agree, those count that found lines to take away, not only a place to insert some."""
from __future__ import annotations

import enum
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.core.errors import Exit
from lab.history.bug import Bug
from lab.history.corpus import Entry
from lab.history.diff import Hunk, definition_in, hunks_of, moved_hunks, single_hunks, takes_lines
from lab.judge.mutants import END
from lab.patches.git import applies
from lab.patches.patchfile import read, to_bytes, to_lines, to_text

JSON_VERSION = 1
# How many lines of context must match, the strictest first. The last is for patches that take lines away, which must match.
CONTEXTS = (3, 2, 1)
# Folders whose files tell which names a tree knows.
CODE = ("arch/x86/kvm", "virt/kvm", "arch/x86/include", "arch/x86/virt", "arch/x86/kernel", "drivers/crypto/ccp",
        "drivers/iommu/amd", "include/linux", "include/uapi/linux", "kernel/locking", "tools/testing/selftests/kvm")
# Parts of a complete tree, beside those that `status` looks for.
PARTS = ("arch/x86/kvm/svm", "virt/kvm", "drivers", "include/linux")
NAME = re.compile(r"[A-Za-z_]\w{3,}")
TRIVIAL = re.compile(r"[{}();\s]*|(return 0|break|else|return);?|/\*.*|\*.*")
NOT_APPLIED = "its patch applies neither as it is nor in reverse"


class Answer(enum.Enum):
    """Whether a tree has a bug's fix, in the words of `status`."""

    FIXED = "fixed"
    OPEN = "open"
    NO_SUCH_CODE = "not affected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Presence:
    """The answer for one bug."""

    entry: Entry
    answer: Answer
    # FILE:LINE where the patch applies; without such a place, the reason for the answer.
    where: str

    def line(self) -> str:
        """The line for the user."""
        return f"{self.answer.value}: {self.entry.slug}: {self.where}: {self.entry.any.fix}"

    def to_json(self) -> dict[str, str | None]:
        """As docs/json.md has it."""
        bug = self.entry.any
        return {"bug": self.entry.slug, "answer": self.answer.value, "where": self.where, "fix": bug.commit,
                "subject": bug.subject, "component": bug.component, "story": bug.story}


@dataclass(frozen=True)
class Place:
    """Where a diff applies: FILE:LINE of its first change, with how much context."""

    where: str
    context: int


class Trial:
    """Tries patches on copies of a tree's files; the tree itself is only read."""

    def __init__(self, top: Path, scratch: Path, version: str = "") -> None:
        """`version`: the tree's, as in its Makefile; empty if it does not matter."""
        self.top = top
        self.version = release(version)
        self.scratch = scratch
        self._names: set[str] | None = None

    def place(self, files: Sequence[str]) -> str | None:
        """Copies the files. A reason if one of them cannot be used."""
        for name in files:
            source, target = self.top / name, self.scratch / name
            if target.exists() or not (source.exists() or source.is_symlink()):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy(source, target)
            except OSError as e:
                return f"cannot read {name}: {e.strerror}"
            if b"\r\n" in target.read_bytes():
                return f"{name} has CRLF line ends"
        return None

    def has(self, name: str) -> bool:
        """Has the tree this file?"""
        return (self.scratch / name).exists()

    @property
    def names(self) -> set[str]:
        """All names in the tree's code that the patches may be about."""
        if self._names is None:
            self._names = set()
            for folder in CODE:
                for path in (self.top / folder).rglob("*.[chS]"):
                    try:
                        self._names.update(NAME.findall(path.read_text(encoding="utf-8", errors="replace")))
                    except OSError:
                        continue
        return self._names

    def where(self, diff: Sequence[str], reverse: bool) -> Place | None:
        """The place where the diff applies, in reverse if wanted; None if it does not."""
        for context in CONTEXTS if takes_lines(diff, reverse) else CONTEXTS[:-1]:
            said = self._applies(diff, context, reverse)
            if said is not None:
                where = self._check(diff, said, context, reverse)
                return Place(where, context) if where is not None else None
        return None

    def rejected(self, diff: Sequence[str]) -> list[list[str]]:
        """The hunks, each with its file's header, that do not apply with all their context."""
        self.place(files_of(diff))
        return [part for part in single_hunks(diff) if self._applies(part, CONTEXTS[0], False) is None]

    def take_out(self, diff: Sequence[str]) -> str | None:
        """Applies the diff in reverse to the copies of the files, with all of its context: the first hunk's place. None if
        it does not apply, or takes no line away and so could have been anywhere."""
        hunks = hunks_of(diff)
        if self.place(files_of(diff)) is not None or not any(hunk.inserted for hunk in hunks):
            return None
        said = self._applies(diff, CONTEXTS[0], True, check=False)
        if said is None:
            return None
        start, _ = moved_hunks(said).get((hunks[0].file, hunks[0].number), (hunks[0].after, None))
        return f"{hunks[0].file}:{start + hunks[0].leading}"

    def _applies(self, diff: Sequence[str], context: int, reverse: bool, check: bool = True) -> str | None:
        """What git said about where it found the hunks; None if the diff does not apply with that many lines of context."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        patch = self.scratch / "patch"
        patch.write_bytes(to_bytes(to_text(list(diff))))
        return applies(self.scratch, patch, context, reverse, check)

    def _check(self, diff: Sequence[str], said: str, context: int, reverse: bool) -> str | None:
        """The first hunk's place; None if a hunk's place proves nothing."""
        moved, first, shift = moved_hunks(said), "", Counter[str]()
        surely = context == CONTEXTS[0] and takes_lines(diff, reverse)
        hunks = hunks_of(diff)
        # Lines that the patch only moves are there anyway.
        old = {text.strip() for hunk in hunks for block in (hunk.inserted if reverse else hunk.taken) for text in block}
        for hunk in hunks:
            start, matched = moved.get((hunk.file, hunk.number), (hunk.after if reverse else hunk.before, None))
            leading = hunk.leading if matched is None else matched
            if (hunk.file, hunk.number) in moved:
                # git counts in the file as the hunks before this one have left it.
                start -= shift[hunk.file]
            shift[hunk.file] += -hunk.grows if reverse else hunk.grows
            lines = to_lines(read(self.scratch / hunk.file)) if self.has(hunk.file) else []
            if not is_about(lines, start + leading, hunk) or \
                    not (surely or is_new(function_around(lines, start + leading), hunk, old, context, reverse)):
                return None
            first = first or f"{hunk.file}:{start + leading}"
        return first


def is_about(lines: Sequence[str], line: int, hunk: Hunk) -> bool:
    """Is a line, counted from 1, in the function that a hunk is about, or in one whose first line the hunk changes?"""
    return not hunk.function or definition_in(lines[:line - 1]) in {hunk.function, *hunk.defines}


def is_new(body: Sequence[str], hunk: Hunk, old: set[str], context: int, reverse: bool) -> bool:
    """Can the hunk not have been applied in that function before, by what the function has? `old`: all lines that the patch
    takes away."""
    taken, inserted = (hunk.inserted, hunk.taken) if reverse else (hunk.taken, hunk.inserted)
    new = [block for block in inserted if telling(block) and not {text.strip() for text in block} <= old]
    if any(occurrences(body, block) for block in new):
        return False
    return context > CONTEXTS[-1] or all(occurrences(body, block) == 1 for block in taken)


def function_around(lines: Sequence[str], line: int) -> list[str]:
    """The lines of the definition that a line, counted from 1, is in; the whole file if it is in none."""
    begins = [i for i, text in enumerate(lines) if definition_in([text])]
    start = max((i for i in begins if i < line), default=0)
    # A definition's first lines may be several: its end is the next line that is only a closing brace.
    end = next((i for i in range(max(start, line - 1), len(lines)) if lines[i].startswith("}")), len(lines) - 1)
    return list(lines[start:end + 1])


def telling(block: Sequence[str]) -> bool:
    """Has a block of lines anything that would not be found everywhere?"""
    return any(not TRIVIAL.fullmatch(line.strip()) for line in block)


def occurrences(lines: Sequence[str], block: Sequence[str]) -> int:
    """How often a block of lines is among the lines, whatever their indentation."""
    texts, wanted = [line.strip() for line in lines], [line.strip() for line in block]
    return sum(texts[i:i + len(wanted)] == wanted for i in range(len(texts) - len(wanted) + 1))


def release(version: str) -> tuple[int, ...]:
    """The numbers of a release, to compare: 8.0-rc1 counts as 8.0."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version.partition("-")[0]))


def diff_of(bug: Bug) -> list[str]:
    """The diff of a bug's patch."""
    lines = to_lines(read(bug.patch))
    return lines[lines.index(END) + 1:] if END in lines else []


def files_of(diff: Sequence[str]) -> list[str]:
    """The files that a diff changes."""
    return list(dict.fromkeys(hunk.file for hunk in hunks_of(diff)))


# --- The answers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """The answer of one patch."""

    answer: Answer
    # Where it applies, or why it gives no answer.
    where: str
    # The patch takes lines of the tree away: it has seen them. One that only inserts lines has seen their surroundings.
    seen: bool = False


def no_such_code(trial: Trial, diff: Sequence[str]) -> str | None:
    """The reason if the tree lacks the code that a diff is about: none of its files, or none of its functions anywhere."""
    hunks, files = hunks_of(diff), files_of(diff)
    if not any(trial.has(name) for name in files):
        return f"no {' or '.join(files)}"
    functions = [hunk.function for hunk in hunks]
    if not all(re.fullmatch(r"\w+", name) for name in functions) or any(name in trial.names for name in functions):
        return None
    return f"no {' or '.join(f'{name}()' for name in dict.fromkeys(functions))}"


def strange_name(trial: Trial, diff: Sequence[str], reverse: bool) -> str | None:
    """A name that the lines to insert use and the tree does not know: the code must be another one there."""
    blocks = [block for hunk in hunks_of(diff) for block in (hunk.taken if reverse else hunk.inserted)]
    text = "\n".join(line for block in blocks for line in block if not re.match(r"\s*(/\*|\*|//)", line))
    used = Counter(NAME.findall(re.sub(r'"(\\.|[^"\\])*"|/\*.*?\*/', "", text, flags=re.S)))
    # What the patch defines itself is used at least twice.
    return next((name for name, count in used.items() if count == 1 and name not in trial.names), None)


def answer_of(trial: Trial, bug: Bug) -> Given:
    """One patch's answer."""
    diff = diff_of(bug)
    trouble = trial.place(files_of(diff))
    if trouble is not None:
        return Given(Answer.UNKNOWN, trouble)
    lacking = no_such_code(trial, diff)
    if lacking is not None:
        return Given(Answer.NO_SUCH_CODE, lacking)
    forward, backward = trial.where(diff, False), trial.where(diff, True)
    if forward is not None and backward is not None:
        if forward.context == backward.context:
            return Given(Answer.UNKNOWN, "its patch applies both as it is and in reverse")
        forward, backward = (forward, None) if forward.context > backward.context else (None, backward)
    place = forward or backward
    if place is None:
        return Given(Answer.UNKNOWN, NOT_APPLIED)
    seen = takes_lines(diff, forward is None)
    # A patch that is the fix applies to a tree without it.
    if (forward is not None) != bug.present:
        return Given(Answer.FIXED, place.where, seen)
    since = bug.not_needed
    if since is not None and trial.version >= release(since[0]):
        return Given(Answer.NO_SUCH_CODE, f"not needed since {since[0]}: {since[1]}")
    strange = None if seen else strange_name(trial, diff, forward is None)
    if strange is not None:
        return Given(Answer.UNKNOWN, f"its fix uses {strange}, which this tree does not have")
    return Given(Answer.OPEN, place.where, seen)


@dataclass(frozen=True)
class Stack:
    """The fixes of whole series that a tree has (lab/history/stacked.py)."""

    # The place of each fix, by upstream's id.
    fixes: Mapping[str, str]
    # The copies of the tree's files, with these fixes taken out.
    below: Trial


def presence_of(trial: Trial, entry: Entry, stack: Stack | None = None) -> Presence:
    """The answer for one bug: of all its patches that give one. If none does, because of a series, that of the series, or of
    the tree below the series."""
    found, commit = presence_by_patches(trial, entry), entry.any.commit
    if found.answer is not Answer.UNKNOWN or stack is None or not stack.fixes:
        return found
    where = next((place for full, place in stack.fixes.items() if commit and full.startswith(commit)), None)
    if where is not None:
        return Presence(entry, Answer.FIXED, where)
    below = presence_by_patches(stack.below, entry)
    # The lines have other numbers there.
    return Presence(entry, Answer.FIXED, below.where.rpartition(":")[0]) if below.answer is Answer.FIXED else found


def presence_by_patches(trial: Trial, entry: Entry) -> Presence:
    """The answer for one bug by its own patches."""
    given = [answer_of(trial, bug) for bug in entry.bugs.values()]
    decided = [one for one in given if one.answer in (Answer.FIXED, Answer.OPEN)]
    if len({one.answer for one in decided}) > 1:
        decided = [one for one in decided if one.seen]
    answers = {one.answer for one in decided}
    if len(answers) == 1:
        return Presence(entry, decided[0].answer, decided[0].where)
    if answers or any(one.answer in (Answer.FIXED, Answer.OPEN) for one in given):
        return Presence(entry, Answer.UNKNOWN, "its patches for different trees do not agree")
    if all(one.answer is Answer.NO_SUCH_CODE for one in given):
        return Presence(entry, Answer.NO_SUCH_CODE, given[0].where)
    reasons = [one.where for one in given if one.answer is Answer.UNKNOWN]
    return Presence(entry, Answer.UNKNOWN, next((why for why in reasons if why != NOT_APPLIED), NOT_APPLIED))


@dataclass
class AllReport:
    """The output of `status DIR --all`."""

    tree: str
    linux: str
    found: list[Presence] = field(default_factory=list)

    @property
    def counts(self) -> Counter[Answer]:
        """The number of bugs for each answer."""
        return Counter(presence.answer for presence in self.found)

    @property
    def exit(self) -> Exit:
        """1 if the tree has one of the bugs; 3 if it has none that is known, but not all answers are; else 0."""
        if self.counts[Answer.OPEN]:
            return Exit.FAIL
        return Exit.SETUP if self.counts[Answer.UNKNOWN] or not self.found else Exit.PASS

    def lines(self) -> list[str]:
        """The lines for the user: those that ask for an action last, then the counts."""
        order = (Answer.NO_SUCH_CODE, Answer.FIXED, Answer.UNKNOWN, Answer.OPEN)
        lines = [presence.line() for answer in order for presence in self.found if presence.answer is answer]
        counts = ", ".join(f"{self.counts[answer]} {answer.value}" for answer in reversed(order))
        return [*lines, f"{len(self.found)} bugs: {counts} (linux {self.linux})"]

    def json(self) -> str:
        """The report as JSON."""
        return json.dumps({
            "version": JSON_VERSION, "exit": int(self.exit), "tree": self.tree, "linux": self.linux,
            "counts": {answer.value: self.counts[answer] for answer in Answer},
            "bugs": [presence.to_json() for presence in self.found]}, indent=2) + "\n"
