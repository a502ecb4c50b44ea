# SPDX-License-Identifier: GPL-2.0-only
"""snp_guest, the program that launches L2 in L1, runs here with a script in place of QEMU that behaves in many ways.

Whatever QEMU and L2 do, snp_guest must print seven results in order, end, and have the right exit status. If it waited for
a line that never comes, each boot would last until its time-out; if it took the guest's output for its own, a guest could
fake a pass. It must tell vCPUs that hang on vcpu->mutex from vCPUs that only sleep.
"""
from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.judge.guest import judge_guest
from lab.judge.verdict import BootQuestion
from tests.support import l1_qemu
from tests.support.judge import SNP_ENABLED, assert_line, assert_no_line
from tests.support.judge_guest import (APPEND, CASES, L1_SCRIPT, LINUX, NONCE, Files, hanging_ktap, lockdep, write_boot)

ABOUT = "snp_guest in L1, with a script as QEMU: seven results and an end, whatever happens"
LANE = "fast"
NEEDS = ("check", "guest")
TAKES = 25


@dataclass(frozen=True)
class Run:
    """The end of one way in which QEMU and L2 can behave (tests/support/l1_qemu.py): the results, "." for ok and "x" for
    not ok, and the exit status."""

    results: str
    status: int = 1
    settings: list[str] = field(default_factory=list)
    # The guest's console is a terminal's.
    tty: bool = False

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases of which there are results."""
        if len(self.results) == len(CASES):
            return CASES
        return ("is_launched", "runs", "says" if any("awaited" in line for line in self.settings) else "powers_off")


# Limits must be long enough that the launch comes before them even on a busy machine.
LIMIT = 12
SOON, SLOW = ["stuck=2"], [f"limit={LIMIT}", "stuck=2"]
OWN = ["own=1"]
RUNS = {
    "good": Run(".......", 0),
    "error": Run("xxxxxxx"),
    # There is no such program.
    "nothing": Run("xxxxxxx"),
    "killed": Run(".xxxxxx"),
    "silent": Run("xxxxxxx", settings=[f"limit={LIMIT}"]),
    "unended": Run(".xxxxxx"),
    "dangling": Run(".xxxxxx", settings=[f"limit={LIMIT}"]),
    "odd": Run(".......", 0),
    "returns": Run(".......", 0),
    "twice": Run(".......", 0),
    "fewer": Run("....x.."),
    "more": Run("....x.."),
    "noreport": Run(".....x."),
    "quiet": Run(".....x."),
    "plain": Run("...x..."),
    "early": Run("...xxxx"),
    "late": Run("......x"),
    "untold": Run("x......"),
    "halves": Run(".......", 0),
    "liar": Run(".......", 0),
    "stuck": Run(".xxxxxx", settings=SOON),
    "halted": Run(".xxxxxx", settings=SLOW),
    "elsewhere": Run(".xxxxxx", settings=SLOW),
    "clock": Run(".xxxxxx", settings=SOON),
    "third": Run(".xxxxxx", settings=SOON),
    "faulting": Run(".xxxxxx", settings=SLOW),
    "running": Run(".xxxxxx", settings=SLOW),
    "console": Run("", 3, tty=True),
    "refuses": Run("xxxxxxx"),
    "unbooted": Run(".xxxxxx"),
    "lingers": Run(".xxxxxx"),
    # With an initrd of the user's.
    "ends": Run("...", 0, settings=[*OWN, "model=EPYC-Genoa", "snp=kernel-hashes=off,policy=0xb0000,host-data=AQ=="]),
    "mute": Run(".xx", settings=OWN),
    "prompts": Run("...", 0, settings=[*OWN, "awaited='one login:'"]),
    "waits": Run("..x", settings=[*OWN, "awaited='two login:'", f"limit={LIMIT}"]),
}
assert set(RUNS) - {"nothing"} == set(l1_qemu.BEHAVIOURS)


def moved(folder: Path) -> str:
    """The program, changed to use paths in a folder of the test."""
    lines = []
    for line in L1_SCRIPT.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            line = re.sub(r'(^|[ <>=:"])/(guest|tmp)/', rf"\1{folder}/\2/", line)
        line = line.replace('/proc/"$(cat', f'{folder}/proc/"$(cat')
        line = re.sub("^/bin/busybox --install -s /bin", f"busybox --install -s {folder}/bin", line)
        lines.append(re.sub("^PATH=.*", f"PATH={folder}/bin", line))
    return "\n".join(lines) + "\n"


def foreign(script: str, folder: Path) -> list[str]:
    """Lines of the program that still use a path of this machine."""
    allowed = (f"{folder}/", "</proc/uptime", ">/dev/null", ')"/task')
    found = []
    for line in script.splitlines():
        for text in allowed:
            line = line.replace(text, "")
        if not line.startswith("#") and re.search(r'(^|[ <>="])/[a-z]', line):
            found.append(line)
    return found


class Started:
    """One of them, running."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.run = folder, RUNS[name]
        for sub in ("bin", "guest", "tmp"):
            (folder / sub).mkdir(parents=True)
        settings = ["smp=2", "memory=512", f"nonce={NONCE}", "limit=40", "stuck=30", *self.run.settings]
        (folder / "guest/settings").write_text("\n".join(settings) + "\n", encoding="utf-8")
        if name == "ends":
            (folder / "guest/arguments").write_text("-device\none two*,three\n", encoding="utf-8")
        (folder / "guest/append").write_text(APPEND, encoding="utf-8")
        if name != "nothing":
            qemu = folder / "bin/qemu-system-x86_64"
            shutil.copy(l1_qemu.__file__, qemu)
            qemu.chmod(0o755)
        self.script = moved(folder)
        assert foreign(self.script, folder) == []
        (folder / "snp_guest").write_text(self.script, encoding="utf-8")
        self.tty = folder / "tty"
        self.tty.touch()
        words = ["timeout", "-k", "1", "60", "busybox", "sh", str(folder / "snp_guest"),
                 *([str(self.tty)] if self.run.tty else [])]
        with open(folder / "tap", "wb") as out, open(folder / "err", "wb") as err:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def tap(self) -> list[str]:
        """The lines that the program printed; waits for its end."""
        self.process.wait(65)
        return (self.folder / "tap").read_text(encoding="utf-8").splitlines()


@pytest.fixture(name="started", scope="module")
def fixture_started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Started]]:
    """Starts all behaviours at once: most of their time is waiting."""
    top = tmp_path_factory.mktemp("l1")
    # Start those with a limit first: the limit counts from the start.
    started = {name: Started(top / name, name) for name in sorted(RUNS, key=lambda name: not RUNS[name].settings)}
    yield started
    for one in started.values():
        one.process.kill()
        one.process.wait()


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if not run.tty])
def test_results(name: str, started: dict[str, Started]) -> None:
    """The program prints the plan and the results in order, has the right exit status, and an empty standard error."""
    one = started[name]
    tap = one.tap()
    found = [re.sub(" # .*", "", line) for line in tap if re.match(r"(not )?ok |[0-9]+\.\.", line)]
    assert found == [f"1..{len(one.run.results)}", *(
        f"{'' if result == '.' else 'not '}ok {n} guest.{case}"
        for n, (result, case) in enumerate(zip(one.run.results, one.run.cases), 1))], "\n".join(tap)
    assert one.process.returncode == one.run.status
    assert (one.folder / "err").read_text(encoding="utf-8") == ""


NO_END = f"^not ok 2 guest.runs # no end within {LIMIT} s$"
SAYS = [
    ("good", "the console, stamped", r"^\| \[[0-9]+\.[0-9]+\] snplab: report: \| abc$"),
    ("error", "QEMU's error is shown", r"^\| \[[0-9.]+\] qemu-system-x86_64: -object sev-snp-guest: no such thing$"),
    ("error", "the first case says why",
     "^not ok 1 guest.is_launched # QEMU ended with status 1: -object sev-snp-guest: no such thing$"),
    ("refuses", "QEMU's first error, and no warning", "^not ok 1 guest.is_launched # QEMU ended with status 1: "
     "sev_snp_launch_start: SNP_LAUNCH_START ret=-22 fw_error=0 ''$"),
    ("unbooted", "why", "^not ok 2 guest.runs # the guest's firmware booted no kernel: it found no bootable option$"),
    ("mute", "why", "^not ok 2 guest.runs # QEMU ended with status 0$"),
    ("prompts", "the prompt has become a line", r"^\| \[[0-9.]+\] one login: $"),
    ("prompts", "when", r"^event said [0-9.]+$"),
    ("waits", "the reason", f"^not ok 3 guest.says # no end within {LIMIT} s$"),
    ("error", "the others say which it was", "^not ok 7 guest.powers_off # not reached: see is_launched$"),
    ("nothing", "no such program", "^not ok 1 guest.is_launched # QEMU ended with status 127$"),
    ("killed", "the status", "# QEMU ended with status 137$"),
    ("silent", "the reason", f"^not ok 1 guest.is_launched # no end within {LIMIT} s$"),
    ("unended", "the last line, without its end", r"^\| \[[0-9.]+\] guest# $"),
    ("unended", "the end is seen", "^qemu: ended with status 0$"),
    ("unended", "the serial port", "^serial: on the screen$"),
    ("dangling", "the reason", f"# no end within {LIMIT} s$"),
    ("dangling", "half a line is shown", r"^\| \[[0-9.]+\] guest# $"),
    ("odd", "a line that echo could take for an option", r"^\| \[[0-9.]+\] -e a\\tb$"),
    ("fewer", "how many", "# expected work done on 2 CPUs, found 1$"),
    ("more", "how many", "# expected work done on 2 CPUs, found 3$"),
    ("noreport", "why", "^not ok 6 guest.attests # no report: sev-guest: error -5$"),
    ("quiet", "neither", "^not ok 6 guest.attests # expected a report or a reason for none, found neither$"),
    ("plain", "what is active", "# expected SEV-SNP among the active features, found: AMD SEV SEV-ES$"),
    ("early", "that it has ended", "^not ok 4 guest.snp_is_active # QEMU ended with status 0$"),
    ("late", "its status", "^not ok 7 guest.powers_off # QEMU ended with status 7$"),
    ("untold", "what was not seen", "^not ok 1 guest.is_launched # not seen before runs$"),
    ("stuck", "the reason",
     "^not ok 2 guest.runs # the guest hangs: vCPU threads are blocked on vcpu->mutex, for 2 s$"),
    *(("stuck", f"thread {i}",
       f"^thread CPU {i}/KVM: state D, wchan kvm_vcpu_ioctl, in KVM_RUN, waits for vcpu->mutex$") for i in range(2)),
    *(("stuck", f"the stack of thread {i}", rf"^thread CPU {i}/KVM: stack: \[<0>\] kvm_vcpu_ioctl\+0x9a/0x6c0 \[kvm\]$")
      for i in range(2)),
    *((name, "no hang on the mutex", NO_END) for name in ("halted", "elsewhere", "faulting", "running")),
    ("elsewhere", "where the threads are",
     "^thread CPU 1/KVM: state D, wchan kvm_vcpu_ioctl, system call 202 0xd 0xae80 0x0$"),
    *((name, "the reason", "# the guest hangs: ") for name in ("clock", "third")),
    ("clock", "the ioctl that QEMU begins with",
     "^thread CPU 0/KVM: state D, wchan kvm_vcpu_ioctl, in KVM_KVMCLOCK_CTRL, waits for vcpu->mutex$"),
    ("third", "another ioctl", ", in vCPU ioctl 0xae9a, waits for vcpu->mutex$"),
    ("console", "what QEMU said is in the log", "^kvm_sev_snp_launch_start|QEMU ended with status 3"),
]


@pytest.mark.parametrize(("name", "what", "pattern"), SAYS, ids=[f"{name}-{what}" for name, what, _ in SAYS])
def test_says(name: str, what: str, pattern: str, started: dict[str, Started]) -> None:
    """The program prints this line as well."""
    assert what
    assert_line(started[name].tap(), pattern)


NOT_BLOCKED = ("halted", "elsewhere", "faulting", "running")
SILENT = [("returns", "no carriage return is left", "\r"), ("stuck", "no other thread", "thread qemu"),
          *((name, "no thread waits for it", "waits for vcpu->mutex") for name in NOT_BLOCKED)]


@pytest.mark.parametrize(("name", "what", "pattern"), SILENT, ids=[f"{name}-{what}" for name, what, _ in SILENT])
def test_does_not_say(name: str, what: str, pattern: str, started: dict[str, Started]) -> None:
    """The program does not print such a line."""
    assert what
    assert_no_line(started[name].tap(), pattern)


@pytest.mark.parametrize("name", ["good", "twice"])
def test_shell_is_asked_once(name: str, started: dict[str, Started]) -> None:
    """The program gives the shell one order, then tells it to end."""
    started[name].tap()
    assert (started[name].folder / "asked").read_text(encoding="utf-8") == f"check {NONCE}\nexit\n"


def test_events(started: dict[str, Started]) -> None:
    """Each event has one line."""
    events = [m[1] for m in map(re.compile(r"^event ([a-z]*) [0-9.]*$").match, started["good"].tap()) if m]
    assert events == ["begin", "launch", "finish", "shell", "checked", "end"]
    assert sum(line.startswith("event shell") for line in started["twice"].tap()) == 1


def test_line_of_qemu(started: dict[str, Started]) -> None:
    """QEMU gets these arguments."""
    started["good"].tap()
    assert_line((started["good"].folder / "tmp/line").read_text(encoding="utf-8").splitlines(),
                "-smp 2 -m 512M .*sev-snp-guest.*reduced-phys-bits=1,kernel-hashes=on,policy=0x30000 .*"
                "-append console=hvc0 quiet panic=-1 ")


def test_chosen_properties(started: dict[str, Started]) -> None:
    """QEMU gets the CPU model and the properties of sev-snp-guest that the settings name, and further arguments as they
    are."""
    started["ends"].tap()
    assert_line((started["ends"].folder / "tmp/line").read_text(encoding="utf-8").splitlines(),
                r"-cpu EPYC-Genoa .*reduced-phys-bits=1,kernel-hashes=off,policy=0xb0000,host-data=AQ== "
                r".* -device one two\*,three$")


def test_every_character(started: dict[str, Started]) -> None:
    """A guest's line is passed on whole, and no character is interpreted."""
    assert sum(line.endswith(f"] {l1_qemu.ODD}") for line in started["odd"].tap()) == 2


def test_slow_lines(started: dict[str, Started]) -> None:
    """A line that comes slowly loses nothing."""
    assert sum(bool(re.search(r"\] snplab: slow [1-8]$", line)) for line in started["halves"].tap()) == 8


def test_console(started: dict[str, Started]) -> None:
    """On a terminal, the exit status is QEMU's, and the guest has the terminal."""
    one = started["console"]
    one.tap()
    assert one.process.returncode == 3
    assert "a shell for you" in one.tty.read_text(encoding="utf-8").splitlines()


def test_hang_is_judged_as_one(started: dict[str, Started], tmp_path: Path) -> None:
    """The judge understands the program's output on a hang, with lockdep's report."""
    made_up = hanging_ktap()
    lines = [*made_up[:made_up.index("# event begin 3.04")], *(f"# {line}" for line in started["stuck"].tap()),
             "not ok 1 snp_guest # exit status 1", "snplab: end of tests"]
    logs = write_boot(tmp_path / "logs", lines, kernel=[LINUX, SNP_ENABLED, *lockdep("6.12.y")], times="")
    launch = Files(tmp_path).launch()
    given = judge_guest(BootQuestion(logs, "t", "1.2.3", "10", ["snp_guest"], emulated=True, snp=True), launch)
    assert given.status.exit == 1
    assert_line(given.lines(), r"^ +blocked in kvm_vcpu_ioctl\(\).*: CPU 0/KVM in KVM_RUN, CPU 1/KVM in KVM_RUN$")
    assert_line(given.lines(), r"^ +lockdep: &vcpu->mutex, .* was still held when sev_mem_enc_ioctl\(\) released &kvm")


def test_killed_qemu_is_waited_for(started: dict[str, Started]) -> None:
    """The program ends after QEMU: L1 powers off then, and KVM must have taken the guest's pages back."""
    started["lingers"].tap()
    assert (started["lingers"].folder / "tmp/ended").read_text(encoding="utf-8") == "1\n"


def test_no_qemu_is_left_behind(started: dict[str, Started]) -> None:
    """The program's QEMU has ended in each case."""
    for one in started.values():
        one.tap()
    top = next(iter(started.values())).folder.parent
    left = subprocess.run(["pgrep", "-af", f"{top}/.*/qemu-system-x86_64"], capture_output=True, text=True, check=False)
    assert (left.returncode, left.stdout) == (1, "")
