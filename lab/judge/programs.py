# SPDX-License-Identifier: GPL-2.0-only
"""Reads the list of programs for L1 (lab/l1/programs), and picks programs and cases from it."""
from __future__ import annotations

import enum
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from lab.core.errors import Stop, setup_error, usage_error
from lab.core.places import LAB
from lab.judge.files import read_lines

LIST = LAB / "l1" / "programs"
WILDCARDS = "*?["
# Every program has this case in addition: it fails if L1's init gives up waiting. Only a mutant's header may name it.
TIMEOUT = "timeout"


class Origin(enum.Enum):
    """The origin of a program."""

    KUNIT = "kunit"
    UPSTREAM = "upstream"
    OURS = "ours"


class When(enum.Enum):
    """When `run` runs a program: always, if a pattern matches it, or only if it is named."""

    QUICK = "quick"
    ASKED = "asked"
    NAMED = "named"


class CasesBy(enum.Enum):
    """The way to pick a case of a program: KUnit's filter, or the selftests' harness."""

    KUNIT = "kunit"
    HARNESS = "harness"


@dataclass(frozen=True)
class Program:
    """One line of the list."""

    name: str
    origin: Origin
    when: When
    cases_by: CasesBy | None = None
    # The errors that it may provoke on the emulated host: (kind, most).
    errors: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Picked:
    """A program to run, and the case of it to run; None: all cases."""

    program: Program
    case: str | None = None
    arguments: tuple[str, ...] = field(default=())

    @property
    def word(self) -> str:
        """The program's word for L1's init, in snplab.tests=. It is also the program's name in KTAP."""
        picks: tuple[str, ...] = ()
        if self.case is not None and self.program.cases_by is CasesBy.HARNESS:
            # -r takes a case's full name, -t its last part.
            picks = ("-r" if "." in self.case else "-t", self.case)
        return ":".join((self.program.name, *self.arguments, *picks))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The words that L1's kernel needs on its command line."""
        if self.case is None or self.program.cases_by is not CasesBy.KUNIT:
            return ()
        return (f"kunit.filter_glob={self.case if '.' in self.case else '*.' + self.case}",)


def read_programs(path: Path = LIST) -> tuple[Program, ...]:
    """Reads the list, in order."""
    programs = [_program(line.split(), f"{path}:{i}") for i, line in enumerate(read_lines(path), 1)
                if line.strip() and not line.startswith("#")]
    twice = [name for name, n in Counter(program.name for program in programs).items() if n > 1]
    if twice or not programs:
        raise setup_error(f"{path}: expected programs, each once, found {', '.join(twice) or 'none'}"
                          + (" twice" if twice else ""), "the head of the file explains its form")
    return tuple(programs)


@functools.cache
def all_programs() -> tuple[Program, ...]:
    """The repository's list."""
    return read_programs()


def _program(words: Sequence[str], where: str) -> Program:
    try:
        name, origin, when, *settings = words
        values = dict(setting.split("=", 1) for setting in settings)
        cases, errors = values.pop("cases", None), values.pop("errors", "")
        if values:
            raise ValueError(values)
        kinds = [error.split(":") for error in errors.split(",") if error]
        return Program(name, Origin(origin), When(when), CasesBy(cases) if cases else None,
                       tuple((kind, int(most)) for kind, most in kinds))
    except ValueError as e:
        raise setup_error(f"{where}: expected NAME ORIGIN WHEN [cases=HOW] [errors=KIND:AT-MOST,...], "
                          f"found: {' '.join(words)}", "the head of the file explains its form") from e


def pick(glob: str | None, programs: Sequence[Program] | None = None) -> tuple[Picked, ...]:
    """The programs that match GLOB or PROGRAM:CASE; without a glob, the quick ones. A program that takes long must be named
    without wildcards."""
    programs = all_programs() if programs is None else programs
    if glob is None:
        return tuple(Picked(program) for program in programs if program.when is When.QUICK)
    name, colon, case = glob.partition(":")
    wild = any(c in name for c in WILDCARDS)
    found = [program for program in programs
             if fnmatchcase(program.name, name) and not (wild and program.when is When.NAMED)]
    if not found:
        raise _no_match(glob, programs)
    if not colon:
        return tuple(Picked(program) for program in found)
    for program in found:
        if program.cases_by is None:
            raise usage_error(f"{program.name} has no cases that can be picked: expected PROGRAM:CASE, found '{glob}'",
                              "these have: " + " ".join(p.name for p in programs if p.cases_by))
    # These characters have a meaning for L1's init or on the kernel's command line.
    if not case or any(c in case for c in ":, \t\""):
        raise usage_error(f"expected a case after the colon, found '{glob}'",
                          "for example: sev_snp_launch_test:finish_then_run")
    return tuple(Picked(program, case) for program in found)


def _no_match(glob: str, programs: Sequence[Program]) -> Stop:
    return usage_error(f"no test matches '{glob}'", f"there are: {' '.join(program.name for program in programs)}")


def program_named(name: str, programs: Sequence[Program] | None = None) -> Program | None:
    """The program of that name; arguments after a colon are ignored."""
    name = name.split(":")[0]
    return next((p for p in (all_programs() if programs is None else programs) if p.name == name), None)


def need_program(name: str) -> Program:
    """The program of that name, which must be in the list."""
    program = program_named(name)
    if program is None:
        raise setup_error(f"{LIST}: expected {name} in it", "the lab names this program itself")
    return program


def provoked_by(names: Iterable[str], programs: Sequence[Program] | None = None) -> dict[str, int]:
    """The sum of the errors that these programs may provoke on the emulated host; arguments are ignored."""
    programs = all_programs() if programs is None else programs
    provoked: Counter[str] = Counter()
    for name in names:
        program = program_named(name, programs)
        for kind, most in program.errors if program else ():
            provoked[kind] += most
    return dict(provoked)
