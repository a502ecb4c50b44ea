# SPDX-License-Identifier: GPL-2.0-only
"""The options of a verb, and the parser of its command line."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.core.errors import usage_error


@dataclass(frozen=True)
class Option:
    """One option. `value` names the value that it takes ("FILE"); a flag has none."""

    name: str
    value: str | None = None


@dataclass
class Given:
    """A parsed command line."""

    arguments: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    # All values of each option, in order.
    all_values: dict[str, list[str]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    # The words after "--".
    rest: list[str] = field(default_factory=list)

    def flag(self, name: str) -> bool:
        """Was the flag given?"""
        return name in self.flags

    def value(self, name: str) -> str | None:
        """The last value of the option, or None."""
        return self.values.get(name)

    def every(self, name: str) -> list[str]:
        """All values of an option that may be given more than once, in order."""
        return self.all_values.get(name, [])

    def file(self, name: str) -> Path | None:
        """The file that an option names; a usage error if it does not exist."""
        value = self.value(name)
        if value is None:
            return None
        if not Path(value).is_file():
            raise usage_error(f"{name}: no such file: {value}")
        return Path(value).resolve()

    def every_file(self, name: str) -> list[Path]:
        """The files that an option names, which may be given several times; a usage error if one does not exist."""
        for value in self.every(name):
            if not Path(value).is_file():
                raise usage_error(f"{name}: no such file: {value}")
        return [Path(value) for value in self.every(name)]

    def folder(self, name: str) -> Path | None:
        """The folder that an option names; a usage error if it does not exist."""
        value = self.value(name)
        if value is None:
            return None
        if not Path(value).is_dir():
            raise usage_error(f"{name}: no such directory: {value}")
        return Path(value).resolve()

    def number(self, name: str, least: int, most: int, default: int) -> int:
        """An option's number; a usage error outside of the range."""
        value = self.value(name)
        if value is None:
            return default
        if not re.fullmatch(r"[1-9][0-9]{0,5}", value) or not least <= int(value) <= most:
            raise usage_error(f"{name} wants a number from {least} to {most}, found '{value}'")
        return int(value)

    def seconds(self, name: str) -> int | None:
        """An option's number of seconds."""
        value = self.value(name)
        if value is not None and not re.fullmatch(r"[1-9][0-9]{0,8}", value):
            raise usage_error(f"{name} wants seconds, found '{value}'")
        return None if value is None else int(value)

    def line(self, name: str) -> str | None:
        """An option's text; a usage error if it has more than one line."""
        value = self.value(name)
        if value is not None and "\n" in value:
            raise usage_error(f"{name}: expected one line, found several")
        return value

    def no_arguments(self, verb: str, *hints: str) -> None:
        """Refuses arguments that are not options."""
        if self.arguments:
            raise usage_error(f"{verb} takes no argument: '{self.arguments[0]}'", *hints)


HELP = ("-h", "--help")
DRY_RUN = Option("--dry-run")


def parse(verb: str, options: Sequence[Option], words: Sequence[str], takes_rest: bool = False) -> Given:
    """Parses a verb's command line. A value that begins with -- has to be written --OPTION=--VALUE."""
    table = {option.name: option for option in (*options, *map(Option, HELP))}
    given, left = Given(), list(words)
    while left:
        word = left.pop(0)
        if word == "--" and takes_rest:
            given.rest = left
            break
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-") or word == "-":
            given.arguments.append(word)
            continue
        option = table.get(name)
        if option is None:
            raise usage_error(f"{verb} has no option {name}")
        if equals and option.value is None:
            raise usage_error(f"{name} takes no value, found '{value}'", f"write {name} alone")
        if option.value is None:
            given.flags.add(name)
            continue
        if not equals:
            if not left or left[0].startswith("--"):
                raise usage_error(f"{name} wants a value")
            value = left.pop(0)
        given.values[name] = value
        given.all_values.setdefault(name, []).append(value)
    return given
