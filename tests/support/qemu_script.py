#!/usr/bin/python3 -IB
# SPDX-License-Identifier: GPL-2.0-only
"""Stands in for QEMU in tests of how a boot ends. $SNPLAB_TURNS has a letter for each boot; each boot adds one to the file
$SNPLAB_BOOTED.

    e  ends at once with an error      p  powers off      s  sleeps
"""
from __future__ import annotations

import json
import os
import re
import socket
import sys
import time

SAID = " ".join(sys.argv[1:])
ANSWERS = {"-machine q35,help": "  amd-snp-host=<bool>", "-device help": 'name "amd-psp"',
           "--version": "QEMU emulator version 10.0.99"}


def power_off() -> None:
    """Answers QMP as a QEMU whose guest powers off at once."""
    found = re.search(r"id=snplab-qmp,fd=(\d+)", SAID)
    assert found
    monitor = socket.socket(fileno=int(found[1]))

    def say(message: dict[str, object]) -> None:
        monitor.sendall(json.dumps(message).encode() + b"\n")
    say({"QMP": {}})
    for line in monitor.makefile():
        command = json.loads(line)["execute"]
        say({"return": []})
        if command == "cont":
            say({"event": "SHUTDOWN", "data": {"reason": "guest-shutdown"}})
        if command == "quit":
            return


def main() -> None:
    """Answers a question of the lab's, or takes the next turn."""
    if SAID in ANSWERS:
        print(ANSWERS[SAID])
        return
    with open(os.environ["SNPLAB_BOOTED"], "a+", encoding="ascii") as booted:
        booted.write("x")
        number = booted.tell()
    turn = os.environ["SNPLAB_TURNS"][number - 1]
    if turn == "e":
        sys.exit("qemu: no such thing")
    if turn == "s":
        time.sleep(60)
    power_off()


if __name__ == "__main__":
    main()
