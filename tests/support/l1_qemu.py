#!/usr/bin/python3 -IB
# SPDX-License-Identifier: GPL-2.0-only
"""Stands in for QEMU and L2 in tests/test_guest_l1.py. The name of its folder says how it behaves.

The test copies it to FOLDER/bin. It writes the orders that it gets to FOLDER/asked, and its made-up threads to FOLDER/proc.
"""
from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
SHELL = "snplab: shell after 8.22 s, linux 1.2.3-guest"
ACTIVE, CPUS = "snplab: memory encryption: AMD SEV SEV-ES SEV-SNP", "snplab: cpus 2"
REPORT, REPORT_END = "snplab: report: | abc", "snplab: report: end"
CHECKED = "snplab: checked"
# Characters that a shell, printf or TAP could interpret.
ODD = r"""\n \\ 'x' "y" * ? [a] ~ $HOME $(date) `date` %s & | ; -n # SKIP"""
BLOCKED, RUN = "kvm_vcpu_ioctl", "16 0xd 0xae80 0x0"


def say(*lines: str, end: str = "\n") -> None:
    """Prints on L2's console at once."""
    for line in lines:
        sys.stdout.write(line + end)
    sys.stdout.flush()


def launch(*, finish: bool = True) -> None:
    """Prints QEMU's trace points of a launch."""
    say("kvm_sev_snp_launch_start policy 0x30000")
    if finish:
        say("kvm_sev_snp_launch_finish id_block")


def listen() -> None:
    """Reads a line that snp_guest sends to L2's shell, and records it."""
    asked = sys.stdin.readline()
    with open(FOLDER / "asked", "a", encoding="utf-8") as f:
        f.write(asked)


def guest(active: str = ACTIVE, cpus: str = CPUS, report_end: str = REPORT_END, end: str = "\n") -> None:
    """L2 from its shell to its end; the arguments replace single lines."""
    say(SHELL, end=end)
    listen()
    say(active, cpus, REPORT, *([report_end] if report_end else []), CHECKED, end=end)
    listen()


def whole() -> None:
    """A launch and a guest without a fault."""
    launch()
    guest()


def threads(state: str, wchan: str, syscall: str) -> None:
    """Makes up /proc entries for two vCPU threads and for QEMU's main thread."""
    tasks = FOLDER / "proc" / str(os.getpid()) / "task"
    for i in range(2):
        files = {"comm": f"CPU {i}/KVM\n", "stat": f"10{i} (CPU {i}/KVM) {state} 1 1 0\n", "wchan": wchan,
                 "syscall": f"{syscall}\n",
                 "stack": f"[<0>] {wchan}+0x9a/0x6c0 [kvm]\n[<0>] __x64_sys_ioctl+0x4d3/0xa80\n"}
        make_task(tasks / f"10{i}", files)
    main = {"comm": "qemu-system-x86\n", "stat": f"{os.getpid()} (qemu-system-x86) D 1 1 0\n", "wchan": BLOCKED,
            "syscall": f"{RUN}\n"}
    make_task(tasks / str(os.getpid()), main)


def make_task(folder: Path, files: dict[str, str]) -> None:
    """Makes a thread's folder under /proc. The folder gets its name last, so that a thread never lacks a file."""
    made = folder.parent.parent / f"made-{folder.name}"
    made.mkdir(parents=True)
    for name, text in files.items():
        (made / name).write_text(text, encoding="utf-8")
    folder.parent.mkdir(exist_ok=True)
    made.rename(folder)


def hang(state: str, wchan: str, syscall: str) -> None:
    """A guest that says nothing after its launch, with vCPU threads in this state."""
    launch()
    threads(state, wchan, syscall)
    time.sleep(50)


def error() -> None:
    """QEMU does not start."""
    sys.exit("qemu-system-x86_64: -object sev-snp-guest: no such thing")


def killed() -> None:
    """QEMU is killed after the launch."""
    launch()
    os.kill(os.getpid(), signal.SIGKILL)


def silent() -> None:
    """QEMU says nothing and does not end."""
    time.sleep(50)


def unended() -> None:
    """QEMU ends in the middle of a line."""
    launch()
    (FOLDER / "tmp/serial").write_text("on the screen", encoding="utf-8")
    say("guest# ", end="")


def dangling() -> None:
    """QEMU stops in the middle of a line, and does not end."""
    launch()
    say("guest# ", end="")
    time.sleep(50)


def odd() -> None:
    """L2 prints lines that a shell could interpret, before its shell is up and after."""
    launch()
    say(ODD, "-n", r"-e a\tb", SHELL)
    listen()
    say(ODD, ACTIVE, CPUS, REPORT, REPORT_END, CHECKED)
    listen()


def returns() -> None:
    """Lines end with a carriage return, as on a terminal."""
    launch()
    guest(end="\r\n")


def twice() -> None:
    """The shell's first message appears again and again."""
    launch()
    say(SHELL, "snplab: shell after 9 s, linux 2")
    listen()
    say(ACTIVE, CPUS, REPORT, REPORT_END, CHECKED, "snplab: shell after 9 s, linux 2")
    listen()


def early() -> None:
    """QEMU ends after the first answer."""
    launch()
    say(SHELL)
    listen()


def late() -> None:
    """QEMU does all, then ends with an error."""
    whole()
    sys.exit(7)


def untold() -> None:
    """QEMU's trace point for the end of the launch is missing."""
    launch(finish=False)
    guest()


def halves() -> None:
    """The first half of each line comes at various moments within a second, the rest later."""
    launch()
    for i in range(1, 9):
        time.sleep(0.4)
        say("snpl", end="")
        time.sleep(0.3)
        say(f"ab: slow {i}")
    say("snplab: she", end="")
    time.sleep(2)
    say("ll after 8.22 s, linux 1.2.3-guest")
    listen()
    say(ACTIVE, CPUS, REPORT, REPORT_END, CHECKED)
    listen()


def liar() -> None:
    """L2 prints lines that only snp_guest may print."""
    launch()
    guest(active="\n".join(["qemu: ended with status 0", "snp_guest: look ()", "ok 4 guest.snp_is_active", "1..1",
                            "# event end 1.0", ACTIVE]))


def stuck() -> None:
    """The vCPUs hang while L2 is in the middle of a line."""
    launch()
    threads("D", BLOCKED, f"{RUN} 0x1")
    say("half a line", end="")
    time.sleep(50)


def console() -> None:
    """L2 on a terminal: it gets no orders."""
    launch()
    say("a shell for you")
    sys.exit(3)


def ends() -> None:
    """The user's own system: prints a line, and powers off."""
    launch()
    say("[    1.0] systemd[1]: hello")


def mute() -> None:
    """The user's own system prints nothing, and powers off."""
    launch()


def refuses() -> None:
    """QEMU says why KVM refuses the launch."""
    say("qemu-system-x86_64: warning: host doesn't support requested feature: CPUID.01H:EDX.vme [bit 1]",
        "qemu-system-x86_64: sev_snp_launch_start: SNP_LAUNCH_START ret=-22 fw_error=0 ''",
        "qemu-system-x86_64: failed to create encryption context")
    sys.exit(1)


def unbooted() -> None:
    """The firmware does not boot the kernel, and waits."""
    launch()
    (FOLDER / "tmp/serial").write_text("BdsDxe: No bootable option was found.\r\n", encoding="utf-8")
    time.sleep(50)


def lingers() -> None:
    """As unbooted(), and QEMU's end takes two seconds, in which KVM takes the guest's pages back."""
    launch()
    child = os.fork()
    if child == 0:
        time.sleep(50)
        sys.exit(0)
    (FOLDER / "tmp/pid").write_text(f"{child}\n", encoding="utf-8")
    (FOLDER / "tmp/serial").write_text("BdsDxe: No bootable option was found.\r\n", encoding="utf-8")
    os.waitpid(child, 0)
    time.sleep(2)
    sys.exit(1)


def prompts() -> None:
    """The user's own system waits at a prompt until somebody presses Enter; QEMU ends in order at SIGTERM."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    launch()
    say("one login: ", end="")
    sys.stdin.readline()
    say("")
    time.sleep(50)


def with_guest(**wrong: str) -> Callable[[], None]:
    """A behaviour: a launch, then a guest with these lines replaced."""
    def behave() -> None:
        launch()
        guest(**wrong)
    return behave


def hanging(state: str, wchan: str, syscall: str) -> Callable[[], None]:
    """A behaviour: hang() with these arguments."""
    return lambda: hang(state, wchan, syscall)


BEHAVIOURS: dict[str, Callable[[], None]] = {
    "good": whole, "error": error, "killed": killed, "silent": silent, "unended": unended, "dangling": dangling,
    "odd": odd, "returns": returns, "twice": twice, "early": early, "late": late, "untold": untold, "halves": halves,
    "liar": liar, "stuck": stuck, "console": console, "ends": ends, "mute": mute, "refuses": refuses, "prompts": prompts,
    "waits": prompts, "unbooted": unbooted, "lingers": lingers,
    "fewer": with_guest(cpus="snplab: cpus 1"), "more": with_guest(cpus="snplab: cpus 3"),
    "noreport": with_guest(report_end="snplab: no report: sev-guest: error -5"), "quiet": with_guest(report_end=""),
    "plain": with_guest(active=ACTIVE.replace(" SEV-SNP", "")),
    "halted": hanging("S", BLOCKED, RUN), "elsewhere": hanging("D", BLOCKED, "202 0xd 0xae80 0x0"),
    "clock": hanging("D", BLOCKED, "16 0xd 0xaead 0x0"), "third": hanging("D", BLOCKED, "16 0xd 0xae9a 0x0"),
    "faulting": hanging("D", "folio_wait_bit_common", RUN), "running": hanging("R", "0", "running"),
}

if __name__ == "__main__":
    BEHAVIOURS[FOLDER.name]()
