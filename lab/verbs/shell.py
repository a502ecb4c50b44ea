# SPDX-License-Identifier: GPL-2.0-only
"""The verb shell: boots the same kernel and L1 as `run`, to a shell."""
from __future__ import annotations

import sys

from lab.boot.boot import on_terminal
from lab.boot.debug import APPEND, Debugger
from lab.build.fitness import check_tree
from lab.build.fragment import config_of
from lab.build.kernel import flavour, with_config
from lab.build.prepare import Preparation
from lab.build.target import qemu_of, selftests_of, target_of
from lab.core.errors import Exit, setup_error, usage_error
from lab.core.options import Given, Option
from lab.core.process import Command
from lab.core.session import Session
from lab.core.steps import Plan, show
from lab.judge.programs import Origin, all_programs
from lab.patches.series import all_trees
from lab.verbs import common

TAKES_REST = True
OPTIONS = tuple(Option(name, value) for name, value in (
    ("--tree", "TREE"), ("--patch", "FILE"), ("--append", "WORDS"), ("--config", "FILE"), ("--gdb", None),
    ("--linux", "DIR"), ("--qemu", "DIR"), ("--selftests", "DIR")))
USAGE = f"""\
usage: ./snplab shell [--tree TREE] [--patch FILE] [--append WORDS] [--config FILE] [--gdb] [--linux DIR]
                      [--qemu DIR] [--selftests DIR] [--dry-run] [-- QEMU ARGS]

Boots the same kernel and the same L1 as `run`, but to a shell instead of the tests.

  --tree TREE     {', '.join(all_trees())} (default 6.12.y), or a directory with a kernel source tree
  --patch FILE    a patch on top of the others
  --append WORDS  more words for the command line of L1's kernel
{common.OPTION_CONFIG}
  --gdb           build the kernel with debug information, and print the command line for gdb before the boot; L1
                  prints the addresses of its modules (docs/debugging.md)
  -- QEMU ARGS    more arguments for L1's QEMU
{common.OPTIONS_QEMU}
{common.OPTIONS_SELFTESTS}
{common.OPTION_OWN_SELFTESTS}
{common.OPTIONS}
"""


def main(session: Session, given: Given) -> int:
    """Boots to a prompt."""
    given.no_arguments("shell", "a tree is named with --tree")
    target, gdb, patch = target_of(given), given.flag("--gdb"), given.file("--patch")
    append = given.line("--append") or ""
    if not sys.stdin.isatty() and not session.dry_run:
        raise usage_error("shell wants a terminal", "./snplab run needs none")
    prepared = Preparation(
        session, target, qemu_of(given), selftests_of(given, target), [patch] if patch else [],
        [p.name for p in all_programs() if p.origin is not Origin.KUNIT], purposes=("boot", "shell"), shell=True,
        flavour=with_config(flavour("gdb") if gdb else flavour(), config_of(given)), debug=gdb)
    debugger = Debugger(session) if gdb else None
    prepared.keep_symbols = debugger.keep_symbols if debugger else None
    check_tree(session, target)
    plan = Plan(session, more=1)
    prepared.add_steps(plan)
    plan.run()
    machine = prepared.machine(more=[*(debugger.arguments() if debugger else ()), *given.rest])
    words = ["quiet snplab.shell", APPEND if gdb else "", append]
    line = machine.line(prepared.kernel, prepared.initrd, " ".join(filter(None, words)), "-serial", "mon:stdio")
    session.terminal.say(plan.head(len(plan.steps) + 1, f"boot linux {prepared.version}; \"exit\" powers off, "
                                   "Ctrl-A X ends QEMU"))
    if session.dry_run:
        show(session, [Command(tuple(line))])
        return Exit.PASS
    if debugger is not None:
        session.terminal.note("in another terminal (paste the \"add-symbol-file\" lines that L1 prints into gdb, too):")
        session.terminal.say(debugger.line())
    status = on_terminal(line)
    if status:
        raise setup_error(f"QEMU ended with status {status}", "its messages are above")
    return Exit.PASS
