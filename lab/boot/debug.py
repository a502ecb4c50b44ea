# SPDX-License-Identifier: GPL-2.0-only
"""The debug path (--gdb): QEMU listens for gdb on a socket in the run's folder, L1 stops when its modules are loaded, and
the lines for gdb are printed. docs/debugging.md has a session."""
from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.boot.qmp import Qemu
from lab.core.process import quote
from lab.core.session import Session

# nokaslr: vmlinux's addresses are the kernel's. snplab.gdb: L1's init prints the modules' addresses.
APPEND = "nokaslr snplab.gdb"
READY = "# gdb: ready"
SYMBOLS = "# gdb: add-symbol-file "
# A test that somebody steps through takes as long as it takes.
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
        """Where QEMU's stub listens."""
        return self.folder / "gdb.socket"

    def arguments(self) -> list[str]:
        """QEMU's. A socket has a short name: the kernel takes 107 bytes."""
        return ["-gdb", f"unix:{self.socket},server=on,wait=off"]

    def keep_symbols(self, obj: Path) -> None:
        """vmlinux and the modules with their symbols, beside the logs."""
        files = [obj / "vmlinux", *sorted(obj.rglob("*.ko"))]
        for path in files:
            target = self.folder / path.name
            target.unlink(missing_ok=True)
            try:
                target.hardlink_to(path)
            except OSError:
                shutil.copy2(path, target)

    def line(self) -> str:
        """The line that starts gdb."""
        return quote(["gdb", str(self.folder / "vmlinux"), "-ex", f"cd {self.folder}",
                      *(word for symbol in self._symbols for word in ("-ex", symbol)),
                      "-ex", f"target remote {self.socket}"])

    def on_start(self, qemu: Qemu) -> None:
        """Remembers the QEMU to stop."""
        self.qemu = qemu

    def watch(self, then: Callable[[str], None]) -> Callable[[str], None]:
        """A filter of L1's lines: stops the machine and prints the line for gdb when the modules are loaded."""
        def on_line(line: str) -> None:
            if line.startswith(SYMBOLS):
                self._symbols.append(line.removeprefix("# gdb: "))
            elif line == READY and self.qemu is not None:
                self.qemu.stop_now()
                self.tell()
            then(line)
        return on_line

    def tell(self) -> None:
        """Prints the line for gdb."""
        terminal = self.session.terminal
        terminal.note("L1 is stopped: its modules are loaded, no test has begun. In another terminal:")
        terminal.say(self.line())
        terminal.note("set breakpoints there, and \"continue\"; the run goes on from there, with no time limit")

    def drop(self) -> None:
        """The socket's name, at the end."""
        if os.path.exists(self.socket):
            os.unlink(self.socket)
