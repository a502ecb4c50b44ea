# SPDX-License-Identifier: GPL-2.0-only
"""The verb guest: boots a Linux SNP guest on the emulated host with the software of a user of SEV-SNP: Debian's QEMU,
Debian's firmware for SNP guests, and Debian's kernel. L0 is this machine, L1 the emulated host, L2 the guest."""
from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.boot.boot import Boot, fail_if_qemu_did, on_terminal
from lab.boot.debug import APPEND, Debugger
from lab.boot.line import exported_key, is_snp_host
from lab.build import chosen, devices, image
from lab.build.chosen import Guest, guest_of
from lab.build.deps import install_step
from lab.build.fitness import check_tree
from lab.build.fragment import config_of
from lab.build.guest import GuestImage
from lab.build.kernel import PLAIN, flavour, with_config
from lab.build.packages import GuestPackages
from lab.build.prepare import Preparation
from lab.build.target import Target, linux_of, qemu_of, target_of
from lab.core import shard
from lab.core.errors import Exit, Stop, usage_error
from lab.core.options import Given, Option
from lab.core.places import tilde
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Job, Plan, show
from lab.judge.boots import Boots
from lab.judge.files import read_lines, write_json
from lab.judge.guest import CPU_MODEL, Launch, judge_guest
from lab.judge.part import Part, nothing_to_do
from lab.judge.show import Show
from lab.judge.snp_object import POLICY
from lab.judge.verdict import BootQuestion
from lab.patches.series import all_trees
from lab.verbs import common

LIMIT = 600
DEBIAN = "debian"
# The time limit, in seconds, for a user at the guest's console: practically none.
NO_LIMIT = 1000000
TAKES_REST = True
OPTIONS = (*chosen.OPTIONS, *(Option(name, value) for name, value in (
    ("--tree", "TREE"), ("--without-lockdep", None), ("--patch", "FILE"), ("--config", "FILE"), ("--check", None),
    ("--boots", "N"), ("--gdb", None), ("--timeout", "SEC"), ("--json", "FILE"), ("--linux", "DIR"), ("--qemu", "DIR"))),
    shard.SHARD)
USAGE = f"""\
usage: ./snplab guest [--tree TREE] [--smp N] [--memory MIB] [--append STRING] [--kernel FILE] [--initrd FILE]
                      [--until TEXT] [--firmware FILE] [--cpu MODEL] [--policy NUMBER] [--kernel-hashes on|off]
                      [--host-data DATA] [--id-block DATA --id-auth DATA [--author-key]] [--disk IMAGE]
                      [--net user|none] [--share DIR] [--guest-args ARGS] [--without-lockdep] [--patch FILE]
                      [--config FILE] [--check] [--boots N] [--shard I/N] [--gdb] [--timeout SEC] [--json FILE]
                      [--linux DIR] [--qemu DIR] [--dry-run] [-- QEMU ARGS]

Boots a Linux SNP guest (L2) on the emulated host (L1), with unmodified Debian software on top of the kernel that is
tested: qemu-system-x86, ovmf-amdsev and a 6.12 kernel. On a terminal its console is yours, and "exit" powers off.
Otherwise the lab uses the console to judge the guest: it must launch, run, give a shell, and find SEV-SNP active and all
its CPUs. It must also get an attestation report that is signed with the emulated platform's key, and whose measurement
equals the one that the lab computes from firmware, kernel, initrd and command line.

  --tree TREE     L1's kernel: {', '.join(all_trees())}, debian (the unmodified package), or a directory with a kernel
                  source tree (default 6.12.y)
  --smp N         the guest's CPUs, 1 to 16 (default {Guest.smp})
  --memory MIB    the guest's memory, 256 to 2048 (default {Guest.memory})
  --append STRING more words for the guest's command line
  --kernel FILE   the guest's kernel, instead of Debian's. The modules are still Debian's: a kernel of another release
                  needs virtio, configfs and sev-guest built in
  --initrd FILE   the guest's initrd, instead of the lab's. Nobody asks your system for a report; it must launch, print
                  something on hvc0, and power off
  --until TEXT    with --initrd: your system must print TEXT instead, such as login:, and is ended then. Enter is pressed
                  every second, so that a prompt becomes a line
  --firmware FILE the guest's firmware, instead of Debian's: one file, as QEMU takes it with -bios
  --cpu MODEL     the guest's CPU, as QEMU's -cpu takes it (default {CPU_MODEL})
  --policy NUMBER the guest policy (default {POLICY:#x}: SMT is allowed)
  --kernel-hashes on|off
                  measure kernel, initrd and command line (default on)
  --host-data DATA
                  32 bytes for the report. DATA is a file, or hex or base64
  --id-block DATA --id-auth DATA [--author-key]
                  the ID block, 96 bytes, and its authentication information, 4096 bytes, for the end of the launch;
                  --author-key: the latter has an author's key, too
  --guest-args ARGS
                  more arguments of the QEMU that launches the guest, in one word of the shell, such as
                  --guest-args='-device virtio-rng-pci,iommu_platform=on,disable-legacy=on'
{devices.USAGE}
  --without-lockdep
                  L1's kernel without the debug options of `run`: boots twice as fast
  --patch FILE    a patch for L1's kernel, on top of the others, such as one of tests/mutants/
{common.OPTION_CONFIG}
  --check         judge the guest, even on a terminal; so do --boots, --shard and --json
  --boots N       boot N times (default 1)
{shard.USAGE}
  --gdb           build L1's kernel with debug information, stop L1 once its modules are loaded, before the launch, and
                  print the command line for gdb (docs/debugging.md)
  --timeout SEC   time limit of each boot, at least 30 (default {LIMIT}; with the guest's console on your terminal: none)
  --json FILE     the verdict of the first boot that fails, or else of the last boot, and a list of all boots, as JSON
  -- QEMU ARGS    more arguments of L1's QEMU, the emulated host's
{common.OPTIONS_QEMU}
{common.OPTIONS}
"""


@dataclass
class Asked:
    """The checked command line."""

    target: Target
    guest: Guest
    part: Part
    # This shard's boots.
    boots: list[int]
    limit: int | None
    interactive: bool
    gdb: bool

    @property
    def is_debian(self) -> bool:
        """Is L1's kernel the unmodified package?"""
        return self.target.name == DEBIAN


def check_usage(session: Session, given: Given) -> Asked:
    """Checks the command line before the build, which takes minutes."""
    given.no_arguments("guest", "a tree is named with --tree")
    guest, linux = guest_of(given), linux_of(given)
    boots, limit = range(1, given.number("--boots", 1, 10000, 1) + 1), given.seconds("--timeout")
    part = Part.of(given, shard.shard_of(given), map(str, boots))
    # L1's own boot and power-off need some of this time.
    if limit is not None and limit < 30:
        raise usage_error(f"guest: --timeout wants 30 seconds at least, found '{limit}'")
    if given.value("--tree") == DEBIAN:
        if given.value("--patch") or linux is not None or given.flag("--gdb"):
            raise usage_error("--tree debian is an unmodified package: it goes with neither --patch nor --linux nor --gdb")
        if given.value("--config"):
            raise usage_error("--tree debian is an unmodified package: it does not go with --config")
        if given.flag("--without-lockdep"):
            raise usage_error("--tree debian has no lockdep: it does not go with --without-lockdep")
        target = Target(DEBIAN)
    else:
        target = target_of(given, DEBIAN)
    qemu = os.environ.get("SNPLAB_QEMU")
    if qemu and shutil.which(qemu) and not is_snp_host(qemu):
        raise Stop(Exit.SKIP, f"{qemu} has no emulated SNP host: nothing can be launched", "unset SNPLAB_QEMU")
    interactive = not (given.flag("--check") or given.value("--json") or len(boots) > 1 or given.value("--shard")
                       or not sys.stdin.isatty() or not sys.stdout.isatty())
    mine = part.shard.of(boots, shard.by_cost([1] * len(boots), part.shard.total))
    return Asked(target, guest, part, mine, limit, interactive, given.flag("--gdb"))


class GuestRun:
    """One run of the verb."""

    def __init__(self, session: Session, given: Given, asked: Asked) -> None:
        self.session = session
        self.asked = asked
        self.rest = given.rest
        plain = given.flag("--without-lockdep")
        patch = given.file("--patch")
        # The same folder and configuration as bench's.
        built = with_config(flavour("gdb") if asked.gdb else PLAIN if plain else flavour(), config_of(given))
        self.prepared = Preparation(session, asked.target, qemu_of(given), None, [patch] if patch else [],
                                    purposes=("boot", "shell", "guest"), flavour=built, shell=True, debug=asked.gdb)
        self.packages = GuestPackages(session)
        self.image = GuestImage(session, self.packages, asked.guest)
        self.plan = Plan(session, more=1)
        self.debugger = Debugger(session) if asked.gdb else None
        self.prepared.keep_symbols = self.debugger.keep_symbols if self.debugger else None
        self.begin = time.monotonic()

    @property
    def name(self) -> str:
        """L1's kernel, for messages."""
        return "Debian's kernel" if self.asked.is_debian else self.asked.target.name

    @property
    def version(self) -> str:
        """The version of L1's kernel."""
        return self.packages.kernel.version if self.asked.is_debian else self.prepared.version

    def add_steps(self) -> None:
        """Fills the plan. All fetches come first, so that one that fails does so before the build, which takes minutes."""
        prepared, plan = self.prepared, self.plan
        install = install_step(plan, "fetch", "overlay", "build", *prepared.purposes, *prepared.host.purposes)
        if self.asked.is_debian:
            fetch = self.packages.add_fetch(plan, (install,))
            base = plan.add(lambda: f"take linux {self.version}: init, modules", self.take_debian_kernel,
                            lambda: [*image.shown(prepared.initrd), command("cp", self.packages.vmlinuz, prepared.kernel)],
                            (fetch,))
        else:
            linux = prepared.source.add_fetch(plan, f"fetch linux for {self.asked.target.name}", (install,))
            fetch = self.packages.add_fetch(plan, (install,))
            build = prepared.add_build(plan, linux or install)
            base = plan.add("build L1's image: init, modules", prepared.build_image, prepared.image_commands, (build,))
        host = prepared.host.add_steps(plan, prepared.out / "host", (install,))
        plan.add(self.image.title, self.image.build, self.image.shown, (fetch, base, *host[-1:]))

    def take_debian_kernel(self, job: Job) -> None:
        """Makes L1's initrd with the modules of Debian's kernel, and copies the kernel."""
        image.build_initrd(job, self.packages.modules, self.prepared.initrd, shell=True)
        shutil.copy(self.packages.vmlinuz, self.prepared.kernel)

    def boot_of(self, logs: Path, tests: str, limit: int) -> Boot:
        """A boot of L1 that launches L2. KUnit is off: `run` has its tests, which take longer than the guest."""
        machine = self.prepared.machine(f"{self.asked.guest.l1_memory}M",
                                        [*(self.debugger.arguments() if self.debugger else ()), *self.rest])
        machine.psp = exported_key(logs / "vcek.pem")
        words = ["kunit.enable=0", f"snplab.tests={tests}", f"snplab.timeout={limit}", *([APPEND] if self.debugger else [])]
        return Boot(machine, self.prepared.kernel, logs / "initrd.all", " ".join(words), logs,
                    self.prepared.flavour.slower, self.debugger.on_start if self.debugger else None)

    def head(self, text: str) -> str:
        """The start of the last step's line."""
        return self.plan.head(len(self.plan.steps) + 1, text)

    def make_initrd(self, logs: Path, nonce: str, limit: int) -> None:
        """Makes the initrd of one boot."""
        self.image.add_settings(Job(self.session, logs / "image.log"), self.prepared.initrd, logs / "initrd.all",
                                self.asked.guest.settings(nonce, limit))

    def boot_once(self, number: int, found: Boots) -> None:
        """Boots and judges once."""
        session, asked = self.session, self.asked
        logs, nonce = session.run_dir / str(number), os.urandom(32).hex()
        limit = asked.limit or (NO_LIMIT if self.debugger else LIMIT)
        boot = self.boot_of(logs, "snp_guest", limit)
        count = len(asked.part.names)
        of = f", boot {number} of {count}" if count > 1 else ""
        session.terminal.say(self.head(
            f"boot linux {self.version} on the emulated host, QEMU {self.prepared.qemu_version} (TCG), and on it a guest "
            f"with {asked.guest.smp} CPUs{of}"))
        if session.dry_run:
            show(session, [common.boot_command(boot)])
            return
        logs.mkdir()
        # If this boot ends without a verdict, an earlier boot's verdict must not stand for it.
        session.json_done = False
        self.make_initrd(logs, nonce, limit)
        with Show(logs, session.terminal.say) as shown:
            ended = boot.run(session, None if self.debugger else limit, self.on_line(shown))
        (logs / "initrd.all").unlink(missing_ok=True)
        fail_if_qemu_did(boot, ended)
        verdict = judge_guest(self.question(logs), Launch(
            asked.guest.smp, nonce, logs / "vcek.pem", self.image.firmware, self.image.vmlinuz, self.image.initrd,
            asked.guest.line, asked.guest.model or CPU_MODEL, asked.guest.snp, asked.guest.initrd is not None,
            asked.guest.until))
        verdict.write()
        found.add(number, verdict)
        if session.json is not None:
            write_json(session.json, found.to_json())
        session.json_done = True
        for line in verdict.lines():
            session.terminal.say(line)

    def on_line(self, shown: Show) -> Callable[[bytes], None]:
        """The function that takes each line of L1's report."""
        if self.debugger is None:
            return shown.line
        watch = self.debugger.watch(lambda line: shown.line(line.encode()))
        return lambda raw: watch(raw.decode("utf-8", "replace").rstrip("\r\n"))

    def question(self, logs: Path) -> BootQuestion:
        """The judge's question about L1."""
        debian = self.asked.is_debian
        expect, may_pass = (None, False) if debian else self.asked.target.expect(self.version)
        return BootQuestion(logs, self.name, self.version, self.prepared.qemu_version, ["snp_guest"], expect, may_pass,
                            self.prepared.emulated, {}, debian or self.prepared.can_be_snp_host(), None,
                            self.plan.times(), tilde(logs))

    def console(self) -> int:
        """Boots with the user's terminal as L2's console. Returns the exit status."""
        session, logs = self.session, self.session.run_dir
        limit = self.asked.limit or NO_LIMIT
        boot = self.boot_of(logs, "snp_guest:/dev/ttyS2", limit)
        session.terminal.say(self.head(f"boot linux {self.version}, and on it a guest with {self.asked.guest.smp} CPUs; "
                                       "\"exit\" powers off, Ctrl-A X ends QEMU"))
        line = boot.machine.line(boot.kernel, boot.initrd, f"snplab.report=/dev/ttyS1 {boot.append}",
                                 "-serial", f"file:{logs}/kernel.log", "-serial", f"file:{logs}/ktap.log",
                                 "-serial", "mon:stdio")
        if session.dry_run:
            show(session, [Command(tuple(line))])
            return Exit.PASS
        self.make_initrd(logs, "", limit)
        if self.debugger is not None:
            session.terminal.note("in another terminal (for the modules, see the gdb lines in ktap.log, beside vmlinux):")
            session.terminal.say(self.debugger.line())
        # L1's report says how the guest ended; QEMU's exit status does not.
        on_terminal(line)
        ktap = read_lines(logs / "ktap.log")
        if any(text.startswith("ok 1 snp_guest") for text in ktap):
            return Exit.PASS
        said = [text[2:] for text in ktap if text.startswith("# ")][-2:-1]
        raise Stop(Exit.FAIL, f"the guest did not end by itself, or QEMU failed: {''.join(said)}; logs: {tilde(logs)}")

    def drop_images(self) -> None:
        """Removes the images, hundreds of MB; this run's folder keeps the logs and L2's initrd."""
        if not self.session.has_run_dir:
            return
        run_dir = self.session.run_dir
        # The steps are not those of Preparation.add_steps(), which registers this.
        self.prepared.drop()
        for path in [self.image.path, run_dir / "guest", *run_dir.glob("**/initrd.all"), *run_dir.glob(".root.*")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def main(session: Session, given: Given) -> int:
    """Boots as often as --boots says, or with a console."""
    asked = check_usage(session, given)
    if not asked.boots:
        return nothing_to_do(session, asked.part)
    run = GuestRun(session, given, asked)
    session.at_exit(run.drop_images)
    session.terminal.say(f"snplab guest: {run.name}")
    check_tree(session, asked.target)
    run.add_steps()
    run.plan.run()
    if asked.interactive:
        return run.console()
    found = Boots(asked.part, tilde(session.run_dir))
    for number in asked.boots:
        run.boot_once(number, found)
        if session.dry_run:
            return Exit.PASS
    for line in found.last_lines():
        session.terminal.say(line)
    return found.status
