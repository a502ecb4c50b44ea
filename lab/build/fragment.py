# SPDX-License-Identifier: GPL-2.0-only
"""--config FILE: a fragment of the user's for the kernel's configuration.

The format is that of a .config (Documentation/kbuild/kconfig.rst): lines CONFIG_SYMBOL=value and "# CONFIG_SYMBOL is not
set", comments, and empty lines."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import Stop, tree_error, usage_error
from lab.core.options import Given
from lab.core.places import tilde

SET = re.compile(r"(CONFIG_\w+)=(y|m|n|-?\d+|0[xX][0-9A-Fa-f]+|\"(?:[^\"\\]|\\.)*\")")
NOT_SET = re.compile(r"# (CONFIG_\w+) is not set")
# "# CONFIG_X is not" and the like are misspelt lines that would be lost as comments.
COMMENT = re.compile(r"#(?! CONFIG_\w+ is\b).*")
NO = "n"
MOST_SHOWN = 8


def kconfig_entry(symbol: str) -> str:
    """The pattern of a line that begins the symbol's entry in a Kconfig file (kconfig-language.rst); the symbol is without
    CONFIG_. grep -E and Python's re understand it alike."""
    return rf"^\s*(menu)?config\s+{symbol}\s*$"


def parse_fragment(text: str) -> dict[str, str]:
    """The value of each symbol; "n" if it is not to be set. Of two lines for a symbol the later one holds. Raises ValueError
    with the number and text of a line that is none of a configuration."""
    wanted = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.rstrip()
        if found := SET.fullmatch(line):
            wanted[found[1]] = found[2]
        elif found := NOT_SET.fullmatch(line):
            wanted[found[1]] = NO
        elif line and not COMMENT.fullmatch(line):
            raise ValueError(f"line {number}: expected CONFIG_SYMBOL=value or \"# CONFIG_SYMBOL is not set\", "
                             f"found '{line[:80]}'")
    return wanted


def config_of(given: Given) -> Path | None:
    """--config FILE, after a look at each of its lines; a usage error for a line that is none of a configuration."""
    path = given.file("--config")
    if path is None:
        return None
    try:
        wanted = parse_fragment(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as e:
        raise usage_error(f"--config: {tilde(path)}: expected text, found a byte that is no UTF-8") from e
    except OSError as e:
        raise usage_error(f"--config: cannot read {tilde(path)}: {e.strerror}") from e
    except ValueError as e:
        raise usage_error(f"--config: {tilde(path)}: {e}",
                          "value is y, m, n, a number or \"text\", without spaces around =") from e
    if not wanted:
        raise usage_error(f"--config: {tilde(path)}: expected a line such as CONFIG_SYMBOL=y, found none")
    return path


@dataclass(frozen=True)
class Refused:
    """A symbol that Kconfig did not take as asked."""

    symbol: str
    wanted: str
    # None: the configuration does not have the symbol.
    found: str | None


def not_taken(wanted: Mapping[str, str], config: str) -> list[Refused]:
    """The symbols that the .config with the text `config` does not have as wanted. A symbol that it does not have is as good
    as one that is not set."""
    has = parse_known(config)
    return [Refused(symbol, value, has.get(symbol)) for symbol, value in wanted.items()
            if has.get(symbol, NO) != value and not same_number(has.get(symbol), value)]


def parse_known(config: str) -> dict[str, str]:
    """The values in a .config that Kconfig has written."""
    lines = config.splitlines()
    values = {found[1]: NO for line in lines if (found := NOT_SET.fullmatch(line))}
    return values | {name: value for line in lines if line.startswith("CONFIG_") for name, _, value in [line.partition("=")]}


def same_number(one: str | None, other: str) -> bool:
    """Are both the same number, of which one may be written as 0xAB and the other as 0xab?"""
    try:
        return one is not None and int(one, 0) == int(other, 0)
    except ValueError:
        return False


def not_as_asked(path: Path, lost: list[Refused], unknown: set[str]) -> Stop:
    """The error for symbols that were not taken. `unknown`: those that no Kconfig file of the tree has."""
    def found(item: Refused) -> str:
        if item.symbol in unknown:
            return "no such symbol in this tree"
        return item.found or "nothing: its dependencies are not met"
    shown = "; ".join(f"{item.symbol}: expected {item.wanted}, found {found(item)}" for item in lost[:MOST_SHOWN])
    more = f"; and {len(lost) - MOST_SHOWN} more" if len(lost) > MOST_SHOWN else ""
    return tree_error(f"--config {tilde(path)}: {shown}{more}",
                      "add the lines that the symbol depends on (its Kconfig entry names them), or remove this one")
