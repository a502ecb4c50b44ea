# SPDX-License-Identifier: GPL-2.0-only
"""Finds the function of a kernel tree that encrypts the VMSAs, its helper (if it calls one for that), and its callers."""
from __future__ import annotations

from dataclasses import dataclass

from lab.status.report import Decided, Finding, Verdict, Word, unknown
from lab.status.source import narrow
from lab.status.spatch import SYNC, Marks, Question, Spatch
from lab.status.tree import AMD_FILES, KVM, TARGET, WORDS, Tree

# KVM has had SNP's launch code since this version: if a newer tree has none, it was moved or removed.
SINCE = (6, 11)


@dataclass
class Code:
    """One file of the tree with launch code, and its copy for spatch."""

    source: str
    file: str
    text: str
    # The copy has only those items of the file that contain one of these words.
    words: list[str]
    launch: Marks = Marks()

    def keep_also(self, spatch: Spatch, *words: str) -> None:
        """Writes the copy again, with the items that contain these words added."""
        self.words += words
        spatch.write(self.file, narrow(self.text, self.words))


@dataclass(frozen=True)
class Launch:
    """The function that encrypts the VMSAs, and its neighbours."""

    code: Code
    function: str
    line: int
    # The helper, which encrypts one VMSA for the function; "" if there is none.
    helper: str
    callers: tuple[str, ...]
    caller_marks: Marks
    lock: Marks
    foreign: Marks

    @property
    def source(self) -> str:
        """The file's path in the tree."""
        return self.code.source

    def question(self, rule: str, function: str, helper: str = "", virtual: str = "") -> Question:
        """A rule about a function of this file."""
        return Question(rule, self.code.file, function, helper or SYNC, virtual)


def no_launch_code(tree: Tree) -> Verdict:
    """The verdict on a tree in which no file of KVM mentions SNP's launch."""
    amd = next((file for file in AMD_FILES if tree.has(file)), None)
    if amd is None:
        return Verdict(Word.UNKNOWN, message=(
            f"{KVM} has no SNP launch code, but no AMD code at all either: looked for {AMD_FILES[0]}, {AMD_FILES[1]} "
            f"and {AMD_FILES[2]}; complete the tree, or look where they went"))
    if tree.since(*SINCE):
        return Verdict(Word.UNKNOWN, message=(
            f"no SNP launch code in {KVM}, which has had it since 6.11: it was removed or moved "
            "(git grep -n SNP_PAGE_TYPE_VMSA)"))
    return Verdict(Word.NOT_AFFECTED, message=(
        f"no SNP launch code: {amd} and its neighbours have no {TARGET}() and issue no SNP launch command"))


def unreadable(source: str, line: int, code: str) -> Finding:
    """A line that coccinelle cannot read."""
    return Finding(source, line, f"coccinelle cannot read this, and {code} is here or near: see spatch --parse-c, "
                   "check by hand")


def read_candidates(tree: Tree, files: list[str], spatch: Spatch) -> list[Code]:
    """The files that may have launch code, with the functions that seem to encrypt VMSAs."""
    codes, launches, parses = [], [], []
    for number, source in enumerate(files):
        code = Code(source, f"{number}.c", tree.text(source), [*WORDS, SYNC])
        code.keep_also(spatch)
        codes.append(code)
        launches.append(spatch.ask(Question("launch", code.file, TARGET), source))
        parses.append(spatch.unreadable(code.file))
    for code, launch in zip(codes, launches):
        code.launch = launch.result()
    lines = [(code.source, parse.result()) for code, parse in zip(codes, parses)]
    findings = tuple(unreadable(source, line, "SNP launch code") for source, line in lines if line is not None)
    if findings:
        raise unknown(*findings)
    return codes


def pick(tree: Tree, codes: list[Code]) -> tuple[Code, str]:
    """The function to judge: the one with the known name; if there is none, the only one that seems to encrypt VMSAs."""
    functions = [(code, function) for code in codes for function in code.launch.functions()]
    named = [(code, function) for code, function in functions if function == TARGET]
    like = [(code, function) for code, function in functions if function != TARGET]
    if len(named) == 1:
        return named[0]
    if not named and len(like) == 1:
        return like[0]
    if not functions and tree.since(*SINCE):
        raise Decided(Verdict(Word.UNKNOWN, message=(
            f"{codes[0].source} mentions SNP launch, but no function encrypts VMSAs in a way known here: "
            "check by hand")))
    if not functions:
        raise Decided(Verdict(Word.NOT_AFFECTED, message=f"no SNP launch code: {codes[0].source} only mentions it"))
    raise unknown(
        *(Finding(code.source, code.launch.first, f"{function}() encrypts VMSAs, and it is not the only one: this "
                  "arrangement is not known here, check by hand") for code, function in like),
        *(Finding(code.source, code.launch.first, f"{TARGET}() is defined here, and not only here: check by hand")
          for code, _ in named))


def look_around(code: Code, function: str, spatch: Spatch) -> Launch:
    """Finds the function's helper and callers, and adds them to the copy for spatch."""
    # The callers contain the function's name, which may be another one than the known name.
    code.keep_also(spatch, function)
    helper, caller, lock, foreign = spatch.ask_all(
        [Question(rule, code.file, function) for rule in ("helper", "caller", "lock", "foreign")], code.source)
    helpers, callers = helper.functions(), caller.functions()
    if len(helpers) > 1:
        raise unknown(Finding(code.source, helper.first, f"{function}() leaves the encryption to more than one "
                              f"function ({' '.join(helpers)}): check by hand"))
    code.keep_also(spatch, *callers)
    line = spatch.unreadable(code.file).result()
    if line is not None:
        raise unknown(unreadable(code.source, line, f"a caller of {function}()"))
    return Launch(code, function, code.launch.defining(function)[0], helpers[0] if helpers else "", tuple(callers),
                  caller, lock, foreign)
