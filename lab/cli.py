# SPDX-License-Identifier: GPL-2.0-only
"""The front door: finds the verb, reads its options, and ends with the exit status that README lists."""
from __future__ import annotations

import importlib
import os
import platform
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from lab.core.errors import Cancelled, Exit, Interrupted, Stop, setup_error, usage_error
from lab.core.options import DRY_RUN, HELP, Given, Option, parse
from lab.core.process import set_environment
from lab.core.session import Session

USAGE = """\
usage: ./snplab VERB [OPTION]...

  run [--tree 6.12.y|mainline|DIR] [--test GLOB]
                      fetch a kernel, apply the series, build, boot, test, print a verdict
  check [GLOB]        the tests of this repository, in lanes
  status DIR [--all]  is this kernel tree fixed, open, leaking, or not affected? which known bugs has it?
  guest [--tree ...]  a Linux SNP guest on that kernel, with Debian's own QEMU, firmware and guest
  attest REPORT       an attestation report: its fields in words, who signed it, which launch it is of
  mutants [GLOB...]   wrong versions of the series, and the layers that catch each
  history [GLOB...]   bugs that SNP's host code had, and the tests that catch each
  shell [--tree ...]  a shell in L1, the kernel under test on the emulated host
  bench [--tree ...]  the cost of the locks, in instructions
  bisect-step         for `git bisect run`: is the commit that is checked out good or bad?
  host                the emulated SNP host for other tools: QEMU's path and command line
  hw                  the launch test on this machine; if it is no SEV-SNP host, the reasons
  tree TREE [DIR]     the series as commits in a git work tree
  refresh TREE [DIR]  the commits back as patches
  mail TREE           outgoing mail files
  merge FILE...       one report of the shards of mutants, history, check or guest
  cache [--prune]     the size of the cache; --prune removes files that the newest versions do not use

Each verb has its own --help. Exit status: 0 pass, 1 a test failed, 2 usage, 3 set-up failed,
4 skipped, 124 timed out, 255 the kernel under test panicked.
"""
VERBS = ("run", "check", "status", "guest", "attest", "mutants", "history", "shell", "bench", "bisect-step", "host", "hw",
         "tree", "refresh", "mail", "merge", "cache")

# The options that name a file for the verdict.
CLAIMS = {"--json": Session.claim_json, "--html": Session.claim_html}


class Verb(Protocol):
    """A module in lab/verbs."""

    USAGE: str
    OPTIONS: Sequence[Option]

    def main(self, session: Session, given: Given) -> int:
        """Runs the verb; returns the exit status."""


def main(argv: Sequence[str]) -> int:
    """The whole program: returns the exit status."""
    open_streams()
    set_environment()
    if not argv:
        sys.stderr.write(USAGE)
        return Exit.USAGE
    if argv[0] in (*HELP, "help"):
        return tell(USAGE)
    name, words = argv[0], list(argv[1:])
    if name not in VERBS:
        print(Stop(Exit.USAGE, f"no such verb: '{name}'", "./snplab --help names them").text(), file=sys.stderr)
        return Exit.USAGE
    verb: Verb = importlib.import_module(module_of(name))
    if any(word in HELP for word in words[:words.index("--") if "--" in words else None]):
        return tell(verb.USAGE)
    return run(name, verb, words)


def module_of(name: str) -> str:
    """The module of a verb."""
    return f"lab.verbs.{name.replace('-', '_')}"


def open_streams() -> None:
    """Opens /dev/null for a standard stream that the caller has closed: the next file opened would get its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))


def tell(text: str) -> int:
    """Prints to standard output. A reader that goes away is no error."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.PASS


def run(name: str, verb: Verb, words: list[str]) -> int:
    """Runs a verb. However it ends, its processes end with it, and the exit status says why it ended."""
    dry_run = DRY_RUN if getattr(verb, "DRY_RUN", True) else None
    options = [*verb.OPTIONS, *([dry_run] if dry_run else [])]
    session = Session(name, dry_run=dry_run is not None and DRY_RUN.name in words, answers=getattr(verb, "ANSWERS", False))
    status: int = Exit.SETUP
    statuses: Mapping[int, int] = getattr(verb, "STATUSES", {})
    try:
        catch_signals()
        # Before the command line is parsed: a refused one must not leave an old verdict in the file.
        claims = {option.name: last_value(words, option.name) for option in verb.OPTIONS if option.name in CLAIMS}
        if getattr(verb, "READS_ARGUMENTS", False):
            refuse_input(claims, words)
        for option, path in claims.items():
            claim(session, option, path)
        refuse_one_file(claims)
        given = parse(name, options, words, getattr(verb, "TAKES_REST", False))
        session.dry_run = given.flag(DRY_RUN.name)
        if platform.machine() != "x86_64":
            raise setup_error(f"expected an x86-64 machine, found {platform.machine()}",
                              "the kernels are built with the native compiler")
        status = verb.main(session, given)
    except Stop as e:
        status = e.status
        if e.status == Exit.USAGE and not e.hints:
            e.hints = (f"./snplab {name} --help",)
        complain(e.text())
    except Interrupted as e:
        status = 128 + e.number
        complain("\nsnplab: interrupted: stopping all processes; the cache stays usable")
    except Cancelled:
        status = Exit.SETUP
    except OSError as e:
        complain(setup_error(f"{e}", "is the disk full, or a file or folder not writable?").text())
    except Exception:  # a bug in snplab: print the whole trace for a report
        complain(traceback.format_exc())
        complain(setup_error("a bug in snplab itself: please report it, with the lines above").text())
    finally:
        ignore_signals()
        session.processes.stop_all(session.grace)
        session.clean_up()
        session.json_of_failure(status, statuses.get(status, status))
    return statuses.get(status, status)


def last_value(words: Sequence[str], option: str) -> str | None:
    """The last file that an option names. The command line is not parsed yet and may have errors elsewhere."""
    found = None
    for word, after in zip(words, [*words[1:], "--"]):
        if word == "--":
            break
        if word.startswith(f"{option}="):
            found = word.partition("=")[2]
        elif word == option and not after.startswith("--"):
            found = after
    return found


def complain(text: str) -> None:
    """Prints to standard error. A reader that has gone away does not change the exit status."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass


def claim(session: Session, option: str, path: str | None) -> None:
    """Removes or empties an older file of that name. Raises a usage error if none can be written there."""
    if path is None or session.dry_run:
        return
    try:
        CLAIMS[option](session, Path(path).absolute())
    except OSError as e:
        raise usage_error(f"{option}: cannot write {path}", "name a file in a folder that is there") from e


def refuse_input(claims: Mapping[str, str | None], words: Sequence[str]) -> None:
    """Raises a usage error if an option names a file that is to be read: claiming it would empty it."""
    read = [word for before, word in zip(["", *words], words) if not word.startswith("--") and before not in claims]
    for option, path in claims.items():
        if path is not None and os.path.realpath(path) in [os.path.realpath(word) for word in read]:
            raise usage_error(f"{option}: {path} is one of the files to read", "name another file for the result")


def refuse_one_file(claims: Mapping[str, str | None]) -> None:
    """Raises a usage error if two options name one file: the second would replace what the first has written."""
    seen: dict[str, str] = {}
    for option, path in claims.items():
        if path is not None:
            first = seen.setdefault(os.path.realpath(path), option)
            if first != option:
                raise usage_error(f"{first} and {option} name one file: {path}", "name two files")


def catch_signals() -> None:
    """Makes the first signal end the run; later ones do not interrupt the clean-up."""
    def handler(number: int, _: FrameType | None) -> None:
        ignore_signals()
        raise Interrupted(number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignores signals from now on: a second Ctrl-C must not interrupt the clean-up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
