# SPDX-License-Identifier: GPL-2.0-only
"""The option --gdb: QEMU listens for gdb on a socket in the run's folder, L1 stops once its modules are loaded, and the
user gets the command line for gdb. docs/debugging.md shows a session."""
from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.boot.qmp import Qemu
from lab.core.process import quote
from lab.core.session import Session

# nokaslr: the kernel runs at the addresses in vmlinux. snplab.gdb: L1's init prints the modules' addresses.
APPEND = "nokaslr snplab.gdb"
READY = "# gdb: ready"
SYMBOLS = "# gdb: add-symbol-file "
# The time limit, in seconds, for a test that the user steps through: practically none.
PATIENCE = 100000


class Debugger:
    """Everything that --gdb adds to a boot."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.folder = session.run_dir
        self.qemu: Qemu | None = None
        self._symbols: list[str] = []

    @property
    def socket(self) -> Path:
        """The socket on which QEMU listens for gdb. The name is short: a socket's path may have 107 bytes."""
        return self.folder / "gdb.socket"

    def arguments(self) -> list[str]:
        """QEMU's arguments."""
        return ["-gdb", f"unix:{self.socket},server=on,wait=off"]

    def keep_symbols(self, obj: Path) -> None:
        """Links vmlinux and the modules, with their symbols, into this run's folder."""
        files = [obj / "vmlinux", *sorted(obj.rglob("*.ko"))]
        for path in files:
            target = self.folder / path.name
            target.unlink(missing_ok=True)
            try:
                target.hardlink_to(path)
            except OSError:
                shutil.copy2(path, target)

    def line(self) -> str:
        """The command line that starts gdb."""
        return quote(["gdb", str(self.folder / "vmlinux"), "-ex", f"cd {self.folder}",
                      *(word for symbol in self._symbols for word in ("-ex", symbol)),
                      "-ex", f"target remote {self.socket}"])

    def on_start(self, qemu: Qemu) -> None:
        """Keeps the QEMU, to stop it later."""
        self.qemu = qemu

    def watch(self, then: Callable[[str], None]) -> Callable[[str], None]:
        """Wraps a function that gets L1's lines: once the modules are loaded, stops L1 and prints the line for gdb."""
        def on_line(line: str) -> None:
            if line.startswith(SYMBOLS):
                self._symbols.append(line.removeprefix("# gdb: "))
            elif line == READY and self.qemu is not None:
                self.qemu.stop_now()
                self.tell()
            then(line)
        return on_line

    def tell(self) -> None:
        """Tells the user how to start gdb."""
        terminal = self.session.terminal
        terminal.note("L1 is stopped: its modules are loaded, no test has begun. In another terminal:")
        terminal.say(self.line())
        terminal.note("set breakpoints there, then \"continue\": the run goes on, without a time limit")

    def drop(self) -> None:
        """Removes the socket's file."""
        if os.path.exists(self.socket):
            os.unlink(self.socket)
