# SPDX-License-Identifier: GPL-2.0-only
"""Judges a mutant, a wrong version of the series, by the logs of its boot: does every layer that its header names catch it?

The header of a mutant's patch, above its "---", explains the mistake, and has lines of these forms:

  Caught-by: PROGRAM:CASE       the case fails. The last part of a fixture's case is enough. "kunit:CASE" is a KUnit case.
                                The case "timeout" means that L1's init gave up waiting for the program.
  Caught-by: PROGRAM            the program fails as a whole
  Caught-by: lockdep "TEXT"     TEXT is in a lockdep report of the kernel's log. A lockdep assertion looks like any other
                                WARN_ON(): of its report, only the line that names the place counts
  Caught-by: oops "TEXT"        TEXT is in a report of another kind
  Caught-by: stall "TEXT"       TEXT is in a report that something takes too long. A slow machine may cause such a report:
                                it counts only if the header names it
  Caught-by: panic "TEXT"       the kernel panicked, and TEXT is in the panic's message
  Caught-by: host KIND          the emulated host counted an error of that kind, or (rmp-assigned) leaked pages
  Caught-by: boot timeout       the boot does not end
  Not-seen-by: PROGRAM: why     the program does not catch it, for this reason; required for each such program
  Not-run: PROGRAM: why         the boot leaves the program out, because its result varies from boot to boot

PROGRAM is one of lab/l1/programs, as in `run --test PROGRAM:CASE`.
"""
from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.core.errors import setup_error
from lab.judge.cases import KUNIT
from lab.judge.files import read_lines, versioned, write_json
from lab.judge.kernel_log import Kind, Report
from lab.judge.ktap import NO_RESULT, WHERE, Case, Result, TestResult
from lab.judge.logs import BootLogs
from lab.judge.programs import TIMEOUT, program_named

NOT_RUN = "not run:"
# The layers that are not programs of L1.
IN_LOG = tuple(kind.value for kind in Kind)
PANIC, HOST, BOOT = "panic", "host", "boot"
LAYERS = (*IN_LOG, PANIC, HOST, BOOT)
END = "---"
FORMS = ("\"Caught-by: PROGRAM:CASE\", \"Caught-by: LAYER WHAT\", \"Not-seen-by: PROGRAM: why\" or "
         "\"Not-run: PROGRAM: why\"")


class Word(enum.Enum):
    """The result of a mutant."""

    CAUGHT = "caught"
    NOT_AS_NAMED = "not as named"
    SURVIVED = "survived"
    NOT_JUDGED = "not judged"


# --- The header -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Catcher:
    """One "Caught-by:" line."""

    # A program of L1, or one of LAYERS.
    layer: str
    what: str

    @property
    def is_program(self) -> bool:
        """Is the layer a program of L1?"""
        return self.layer not in LAYERS

    def __str__(self) -> str:
        if not self.is_program:
            return f"{self.layer} {self.what}"
        return self.layer if self.what == self.layer else f"{self.layer}:{self.what}"


@dataclass
class Header:
    """The header of a mutant's patch."""

    name: str
    story: str = ""
    named: list[Catcher] = field(default_factory=list)
    # The programs that do not catch the mutant, with the reason.
    unseen: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, patch: Path) -> Header:
        """The header of a patch file."""
        lines = read_lines(patch)
        lines = lines[:lines.index(END)] if END in lines else []
        found = cls(patch.stem)
        found.story = " ".join(line for line in lines if not re.match(r"([A-Z][a-z-]+-by|Not-run): ", line)).strip()
        if not found.story:
            found.errors.append("its header does not explain the mistake")
        for line in lines:
            found._read_line(line)
        if not found.named:
            found.errors.append("its header names no layer that catches it")
        return found

    def _read_line(self, line: str) -> None:
        caught = re.match(r"Caught-by: (\S.*)$", line)
        catcher = _catcher(caught[1].strip()) if caught else None
        m = re.match(r"Not-(seen-by|run): (\S+): (.+)$", line)
        if catcher:
            self.named.append(catcher)
        elif m and program_named(m[2]):
            self.unseen[m[2]] = m[3]
            if m[1] == "run":
                self.left_out.append(m[2])
        elif re.match(r"(Caught|Not-seen)-by|Not-run", line):
            self.errors.append(f"expected {FORMS}, found \"{line}\"")

    def programs(self) -> list[str]:
        """The programs that its "Caught-by:" lines name, each once."""
        return list(dict.fromkeys(catcher.layer for catcher in self.named if catcher.is_program))


def _catcher(text: str) -> Catcher | None:
    """Parses the text after "Caught-by:"; None if it has another form, or names an unknown program."""
    layer, _, what = text.partition(" ")
    if layer in LAYERS:
        return Catcher(layer, what.strip().strip('"')) if what.strip() else None
    program, colon, case = text.partition(":")
    if " " in text or not program_named(program) or (colon and not case):
        return None
    return Catcher(program, case or program)


def check_header_ends(patch: Path) -> None:
    """Raises if a mutant's header has no end: its key in the cache is a digest of the patch below the header."""
    for line in read_lines(patch):
        if line == END:
            return
        if re.match(r"diff |--- ", line):
            break
    raise setup_error(f"{patch.name}: expected a line \"---\" between its header and its diff, found none",
                      "add it: the lines above it explain the mistake, and name the layers that catch it")


def tests_for(header: Header, tests: Sequence[str]) -> list[str]:
    """The programs for a mutant's boot: `tests`, less the programs of "Not-run:", plus the programs of "Caught-by:"."""
    kept = [test for test in tests if _program_of(test) not in header.left_out]
    ran = {_program_of(test) for test in tests}
    return kept + [program for program in header.programs() if program not in ran and program not in header.left_out]


def tests_for_control(headers: Iterable[Header], tests: Sequence[str]) -> list[str]:
    """The programs for the control's boot: every program of any mutant's boot."""
    wanted = list(tests)
    for header in headers:
        wanted += [test for test in tests_for(header, tests) if test not in wanted]
    return wanted


def _program_of(test: str) -> str:
    return test.split(":")[0]


# --- The boots ------------------------------------------------------------------------------------------------------


def _was_left_out(case: Case) -> bool:
    """Older launch tests report a skipped case as failed, with the reason as its only message."""
    said = [WHERE.sub("", line) for line in case.own_words()]
    said = [line for line in said if not line.startswith("Expected MAX_LEFT_BEHIND ")]
    return bool(said) and all(line.startswith(NOT_RUN) for line in said)


class Boot:
    """The outcome of one boot."""

    def __init__(self, logs: Path) -> None:
        self.logs = BootLogs.read(logs, unfinished=True)
        self.tests: dict[str, TestResult] = {test.program: test for test in self.logs.ktap.tests}
        self.cases = {name: self._cases(test) for name, test in self.tests.items()}
        if KUNIT in self.cases:
            self.cases[KUNIT] = {case.name: case.result for case in self.logs.ktap.kunit_cases}
        left = self.logs.host.rmp_left()
        self.host = {kind: n for kind, n in [*self.logs.host.kinds.items(), *left.items()] if isinstance(n, int)}
        self.hung = self.logs.timed_out is not None
        self.panic = self.logs.kernel.panic
        self.unclean = self._why_unclean()

    @staticmethod
    def _cases(test: TestResult) -> dict[str, Result]:
        return {case.name: Result.SKIP if _was_left_out(case) else case.result for case in test.cases}

    def _why_unclean(self) -> str | None:
        """Why the boot ended badly, so that it cannot be judged unless the header names a panic or timeout; or None. A
        kernel that does not power off after its tests is not among these: all of them have a result."""
        logs = self.logs
        if logs.not_built is not None:
            return f"it was not built: {logs.not_built}"
        if logs.not_booted is not None:
            why = logs.not_booted
        elif self.panic is not None:
            why = f"the kernel panicked: {self.panic}"
        elif logs.why_late is not None and not logs.ktap.ended:
            why = logs.why_late
        elif not logs.ktap.ended:
            why = "L1 ended before its tests did"
        else:
            return None
        return f"{why}, after {sum(test.reason != NO_RESULT for test in logs.ktap.tests)} of the tests"

    def failed(self, program: str) -> list[str]:
        """The failed cases of a program; the program's own name, if it failed and has no cases."""
        test = self.tests.get(program)
        cases = [case for case, result in self.cases.get(program, {}).items() if result is Result.FAIL]
        if test and test.result is Result.TIMEOUT:
            cases.append(TIMEOUT)
        elif test and test.result is Result.FAIL and not self.cases.get(program) and test.reason != NO_RESULT:
            cases.append(program)
        return cases

    def passed(self, program: str, case: str) -> bool:
        """Did this case pass? If `case` is the program's name: did the program pass?"""
        test = self.tests.get(program)
        if case == program and case not in self.cases.get(program, {}):
            return test is not None and test.result is Result.PASS
        return self.cases.get(program, {}).get(case) is Result.PASS

    def has(self, program: str, case: str) -> bool:
        """Does the program have such a case?"""
        if case in (TIMEOUT, program):
            return program in self.tests
        return any(_same_case(case, name) for name in self.cases.get(program, {}))


def _same_case(named: str, case: str) -> bool:
    """Does `named` name this case? The last part of FIXTURE.VARIANT.CASE is enough."""
    return case == named or case.endswith("." + named)


# --- The judgement --------------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """Compares a mutant's boot with the control, a boot of the same kernel without the mutant. A test that fails in both
    catches nothing."""

    header: Header
    boot: Boot
    control: Boot
    # The programs of the mutant's boot, in order.
    programs: Sequence[str]

    def new_reports(self, kind: Kind) -> list[Report]:
        """The kernel's reports that are not in the control."""
        known = {report.head for report in self.control.logs.kernel.reports}
        return [report for report in self.boot.logs.kernel.of_kind(kind) if report.head not in known]

    def seen(self) -> dict[str, list[str]]:
        """The differences from the control, by layer."""
        seen: dict[str, list[str]] = {}
        for program in self.programs:
            before = self.control.failed(program)
            seen[program] = [case for case in self.boot.failed(program) if case not in before
                             and (case == TIMEOUT or self.control.passed(program, case))]
        for kind in Kind:
            named = kind is not Kind.STALL or any(catcher.layer == kind.value for catcher in self.header.named)
            seen[kind.value] = [report.head for report in self.new_reports(kind)] if named else []
        seen[PANIC] = [self.boot.panic] if self.boot.panic is not None else []
        seen[HOST] = [kind for kind, n in self.boot.host.items() if n > self.control.host.get(kind, 0)]
        seen[BOOT] = [TIMEOUT] if self.boot.hung else []
        return seen

    def is_caught(self, catcher: Catcher, seen: dict[str, list[str]]) -> bool:
        """Did the layer catch the mutant as this "Caught-by:" says?"""
        if catcher.layer in IN_LOG:
            reports = self.new_reports(Kind(catcher.layer))
            return any(catcher.what in line for report in reports for line in report.lines)
        if catcher.layer == PANIC:
            return any(catcher.what in panic for panic in seen[PANIC])
        if not catcher.is_program:
            return catcher.what in seen[catcher.layer]
        if catcher.what == catcher.layer:
            return self._fails_as_a_whole(catcher.layer)
        return any(_same_case(catcher.what, case) for case in seen.get(catcher.layer, []))

    def _fails_as_a_whole(self, program: str) -> bool:
        test, before = self.boot.tests.get(program), self.control.tests.get(program)
        return bool(test and before and test.result is Result.FAIL and before.result is Result.PASS)

    def why_not(self, catcher: Catcher) -> str:
        """The end of the message about a case that caught nothing because it was skipped or did not run."""
        if not catcher.is_program or catcher.layer not in self.boot.cases or catcher.what in (TIMEOUT, catcher.layer):
            return ""
        results = [result for case, result in self.boot.cases[catcher.layer].items() if _same_case(catcher.what, case)]
        if not results:
            return ": it has no result in this boot"
        skipped = results.count(Result.SKIP)
        if not skipped:
            return ""
        return ": it was skipped" if skipped == len(results) else f": {skipped} of {len(results)} were skipped"

    def problem(self, catcher: Catcher, caught: bool) -> str | None:
        """The problem with one "Caught-by:" line, or None."""
        if catcher.is_program and catcher.layer not in self.programs:
            return f"{catcher}: that program was not run"
        if catcher.is_program and not self.control.has(catcher.layer, catcher.what):
            return f"{catcher}: the series without the mutant has no such case"
        if not caught:
            return f"not caught by {catcher}, which its header names{self.why_not(catcher)}"
        return None

    def judge(self) -> tuple[Word, list[str], dict[str, list[str]], list[tuple[Catcher, bool]]]:
        """The result, the problems, the differences by layer, and for each catcher whether it caught the mutant."""
        seen = self.seen()
        named = [(catcher, self.is_caught(catcher, seen)) for catcher in self.header.named]
        problems = list(self.header.errors)
        problems += [p for p in (self.problem(catcher, caught) for catcher, caught in named) if p is not None]
        if self.boot.unclean and not any(caught for catcher, caught in named if catcher.layer in (PANIC, BOOT)):
            return Word.NOT_JUDGED, [self.boot.unclean], seen, named
        if not any(seen.values()) and not any(caught for _, caught in named):
            return Word.SURVIVED, problems, seen, named
        problems += [f"not seen by {program}, and its header has no \"Not-seen-by: {program}: why\""
                     for program in self.programs if not seen[program] and program not in self.header.unseen]
        if named and not any(caught for _, caught in named):
            problems.insert(0, "caught by no layer that its header names")
        return (Word.NOT_AS_NAMED if problems else Word.CAUGHT), problems, seen, named


@dataclass
class MutantResult:
    """The judgement on one mutant, as LOGS/result.json has it."""

    tree: str
    name: str
    story: str
    word: Word
    seconds: float
    problems: list[str]
    # For each layer "caught", "not seen" or "not run", and the differences that it saw.
    layers: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    named: list[tuple[Catcher, bool]] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"tree": self.tree, "name": self.name, "story": self.story, "result": self.word.value,
                "seconds": self.seconds,
                "named": [{"layer": c.layer, "what": c.what, "caught": caught} for c, caught in self.named],
                "not_seen_by": self.unseen, "problems": self.problems,
                "layers": {layer: {"result": result, "by": by} for layer, (result, by) in self.layers.items()}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MutantResult:
        """The reverse of to_json()."""
        return cls(data["tree"], data["name"], data["story"], Word(data["result"]), data["seconds"], data["problems"],
                   {layer: (found["result"], found["by"]) for layer, found in data["layers"].items()},
                   [(Catcher(n["layer"], n["what"]), n["caught"]) for n in data["named"]], data["not_seen_by"])

    def lines(self) -> list[str]:
        """The text for the user: a line, and the problems below it."""
        by = "; ".join(f"{layer}: {_some(what)}" for layer, (_, what) in self.layers.items() if what)
        word = self.word.value if self.word is Word.CAUGHT else self.word.value.upper()
        return [f"{word:<12} {self.name:<28} {self.seconds:4.1f} s  {by[:150]}",
                *(f"             {problem}" for problem in self.problems)]


def _some(what: Sequence[str]) -> str:
    return what[0] + (f" and {len(what) - 1} more" if len(what) > 1 else "")


def judge_mutant(tree: str, patch: Path, logs: Path, control: Path, tests: Sequence[str],
                 seconds: float = 0) -> MutantResult:
    """Judges one boot, and writes LOGS/result.json. `tests`: the programs to run, before the header changes them."""
    header, boot = Header.read(patch), Boot(logs)
    programs = list(dict.fromkeys(_program_of(test) for test in tests_for(header, tests)))
    word, problems, seen, named = Comparison(header, boot, Boot(control), programs).judge()
    # The matrix also has a cell for a program that the header leaves out.
    ordered = dict.fromkeys([_program_of(test) for test in tests] + list(seen))
    layers = {layer: (_cell_of(layer, seen, boot), seen.get(layer, [])) for layer in ordered}
    result = MutantResult(tree, header.name, header.story, word, seconds, problems, layers, named, header.unseen)
    write_json(logs / "result.json", versioned(result.to_json()))
    return result


def _cell_of(layer: str, seen: dict[str, list[str]], boot: Boot) -> str:
    if layer not in LAYERS and layer not in boot.cases:
        return "not run"
    return "caught" if seen.get(layer) else "not seen"
