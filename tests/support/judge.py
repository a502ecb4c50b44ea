# SPDX-License-Identifier: GPL-2.0-only
"""Makes up the logs of a boot for the tests of the judges."""
from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

LINUX = "Linux version 6.12.0"
SNP_ENABLED = "[    2.4] kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)"
# Two programs that pass, the first of them KUnit.
KTAP = ("KTAP version 1", "1..2", "# Subtest: kunit", "    KTAP version 1", "        ok 1 one", "    ok 1 suite",
        "ok 1 kunit", "# x", "ok 2 state_test", "snplab: end of tests")
# A launch test with a case that fails with a message.
LAUNCH = ("KTAP version 1", "1..1", "# Subtest: sev_snp_launch_test", "# TAP version 13", "# 1..3", "# #  RUN  a.first",
          "# ok 1 a.first", "# # vCPU 1: said why", "# not ok 2 a.second", "# ok 3 a.third",
          "# # Totals: pass:2 fail:1", "not ok 1 sev_snp_launch_test # exit status 1", "snplab: end of tests")


def edit(lines: Iterable[str], pattern: str, replacement: str) -> list[str]:
    """Applies s/pattern/replacement/ to each line; a replacement may split a line. Fails if nothing changes."""
    before = list(lines)
    after = [re.sub(pattern, replacement, line) for line in before]
    assert after != before, f"no line is changed by {pattern}"
    return [part for line in after for part in line.split("\n")]


def without(lines: Iterable[str], pattern: str) -> list[str]:
    """Removes the lines that match. Fails if none does."""
    before = list(lines)
    after = [line for line in before if not re.search(pattern, line)]
    assert after != before, f"no line matches {pattern}"
    return after


def counted(total: int, **kinds: int) -> str:
    """The host.json of a host that counted these errors and has no RMP entry left."""
    return json.dumps({"ended": "shutdown", "guest-errors": total,
                       "statistics": {"rmpupdate": 12, "rmp-assigned": 0, "rmp-firmware": 0},
                       "errors": {kind.replace("_", "-"): n for kind, n in kinds.items()}})


def write_logs(folder: Path, ktap: Sequence[str], kernel: Sequence[str], *, host: str | None = None,
               host_log: Sequence[str] | None = None, **marks: str) -> Path:
    """Writes a boot's folder anew. marks: files that exist only if something happened, such as timed_out="9"."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = {"ktap.log": ktap, "kernel.log": kernel}
    if host_log is not None:
        lines["host.log"] = host_log
    for name, text in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    if host is not None:
        (folder / "host.json").write_text(host + "\n", encoding="utf-8")
    for mark, text in marks.items():
        (folder / mark.replace("_", "-")).write_text(text + "\n", encoding="utf-8")
    return folder


def has_line(lines: Iterable[str], pattern: str) -> bool:
    """Does any line match?"""
    return any(re.search(pattern, line) for line in lines)


def assert_line(lines: Sequence[str], pattern: str) -> None:
    """Fails unless a line matches."""
    assert has_line(lines, pattern), "expected a line like: " + pattern + "\nfound:\n" + "\n".join(lines)


def assert_no_line(lines: Sequence[str], pattern: str) -> None:
    """Fails if a line matches."""
    assert not has_line(lines, pattern), "expected no line like: " + pattern + "\nfound:\n" + "\n".join(lines)
