# SPDX-License-Identifier: GPL-2.0-only
"""Runs coccinelle: applies a rule file to a source file, and returns the lines that the rule marks.

"*" in SmPL marks a matching line, and spatch prints a diff in which the marked lines are removed. Unlike scripts in SmPL,
this needs no Python or OCaml on the machine. spatch runs on copies in a temporary folder, so that .cocciconfig in the tree
or the user's home has no effect, and a read-only tree or one with spaces in its path does no harm. --no-includes: the rules
look at calls, not at types.
"""
from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lab.core.process import Processes, command
from lab.status.report import CannotSay, Decided

PROGRAM = "spatch"
TIME_LIMIT = 60
# How many spatch run in parallel: two keep a small machine busy, and leave a bigger one to its users.
AT_ONCE = 2
# The function that copies the registers into the VMSA; every kernel has it.
SYNC = "sev_es_sync_vmsa"
HUNK = re.compile(r"@@ -([0-9]+)(?:,([0-9]+))?")
PARSE_ERROR = re.compile(r'^ *= File "[^"]*", line ([0-9]+),', re.M)
# The name of a function on a line that begins its definition.
DEFINED = re.compile(r"[^(]*\b([A-Za-z_][A-Za-z0-9_]*)[ \t]*(?:\(.*)?", re.A)


def installed() -> bool:
    """Is coccinelle installed?"""
    return shutil.which(PROGRAM) is not None


@dataclass(frozen=True)
class Question:
    """A rule about a function of a file; `helper` is the function that encrypts one VMSA for it."""

    rule: str
    file: str
    function: str
    helper: str = SYNC
    # The name of a "virtual" of the rule to switch on.
    virtual: str = ""

    def options(self) -> list[str]:
        """spatch's arguments for the question."""
        words = ["-D", f"func={self.function}", "-D", f"helper={self.helper}"]
        return words + (["-D", self.virtual] if self.virtual else [])


@dataclass(frozen=True)
class Marks:
    """The lines that a rule has marked: their numbers and their text."""

    marked: tuple[tuple[int, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.marked)

    def __add__(self, other: Marks) -> Marks:
        return Marks(self.marked + other.marked)

    def lines(self) -> list[int]:
        """The numbers, ascending, each once."""
        return sorted({number for number, _ in self.marked})

    def without(self, other: Marks) -> list[int]:
        """The numbers that are not among the other marks, ascending."""
        return sorted({number for number, _ in self.marked} - set(other.lines()))

    @property
    def first(self) -> int:
        """The lowest number; 0 if no line is marked."""
        return min((number for number, _ in self.marked), default=0)

    def text_at(self, line: int) -> str:
        """The printable text of a line; "" if the line is not marked."""
        text = next((text for number, text in self.marked if number == line), "").lstrip(" \t")
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def functions(self) -> list[str]:
        """The names of the functions whose definitions begin on the marked lines, each once."""
        return sorted({found[1] for _, text in self.marked if (found := DEFINED.fullmatch(text))})

    def defining(self, function: str) -> list[int]:
        """The numbers of the lines that begin a definition of this function, in order."""
        begin = re.compile(rf"(?:^|[^A-Za-z0-9_]){re.escape(function)}\s*(?:\(|$)")
        return [number for number, text in self.marked if begin.search(text)]


def marks_of(diff: str) -> Marks:
    """The removed lines of a diff without context: "@@ -12,2 +11,0 @@" is followed by lines 12 and 13."""
    marked = []
    number = left = 0
    for line in diff.split("\n"):
        if hunk := HUNK.match(line):
            number, left = int(hunk[1]), int(hunk[2] or 1)
        elif left > 0 and line.startswith("-"):
            marked.append((number, line[1:]))
            number, left = number + 1, left - 1
    return Marks(tuple(marked))


class Spatch:
    """Runs coccinelle in a temporary folder, which is removed at the end."""

    def __init__(self, rules: Path, processes: Processes) -> None:
        self._processes = processes
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="snplab-status."))
        except OSError as e:
            raise no_room(tempfile.gettempdir(), e) from e
        self._pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for file in (*rules.glob("*.cocci"), rules / "macros.h"):
                self.write(file.name, file.read_bytes().decode("utf-8", "surrogateescape"))
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> Spatch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        # After a Ctrl-C, stop all spatch.
        if error is not None and not isinstance(error, (CannotSay, Decided)):
            self._processes.stop_all(3.0)
        self._remove()

    def _remove(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """Writes a file into the folder."""
        try:
            (self._folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        except OSError as e:
            raise no_room(str(self._folder.parent), e) from e

    def ask(self, question: Question, source: str) -> Future[Marks]:
        """Asks a question; `source` names the file in messages. If the rule cannot run, the future raises CannotSay, since
        no marks would mean "no"."""
        return self._pool.submit(self._answer, question, source)

    def ask_all(self, questions: Iterable[Question], source: str) -> list[Marks]:
        """Asks all questions, and waits for the answers."""
        return [answer.result() for answer in [self.ask(question, source) for question in questions]]

    def unreadable(self, file: str) -> Future[int | None]:
        """The line at which spatch cannot parse the file, or None.

        spatch skips code that it cannot parse, and the rules would find nothing there.
        """
        return self._pool.submit(self._parse, file)

    def _run(self, *words: str) -> tuple[int, str, str]:
        cmd = command(PROGRAM, *words, cwd=self._folder, env={"HOME": ".", "TMPDIR": "."})
        process = self._processes.start(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        status = self._processes.ended(process)
        return status, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "replace")

    def _answer(self, question: Question, source: str) -> Marks:
        status, out, err = self._run(
            "--very-quiet", "--no-includes", "-U", "0", "--timeout", str(TIME_LIMIT), "--macro-file", "macros.h",
            *question.options(), "--sp-file", f"{question.rule}.cocci", question.file)
        if status != 0:
            version = "".join(self._run("--version")[1:]).partition("\n")[0]
            raise CannotSay(f"spatch failed on question '{question.rule}' about {source}",
                            f"it said: {' '.join(err.splitlines()[-3:])}",
                            f"expected: spatch 1.1.1 or newer; found: {version}")
        return marks_of(out)

    def _parse(self, file: str) -> int | None:
        _, out, err = self._run("--macro-file", "macros.h", "--parse-c", file)
        said = out + err
        if "nb bad = 0 " in said:
            return None
        at = PARSE_ERROR.search(said)
        return int(at[1]) if at else 1


def no_room(folder: str, error: OSError) -> CannotSay:
    """The error for a temporary folder that cannot be used."""
    return CannotSay(f"cannot write in {folder}: {error.strerror}",
                     "to do: free space there, or set TMPDIR to a folder that can be written")
