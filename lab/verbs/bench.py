# SPDX-License-Identifier: GPL-2.0-only
"""The verb bench: the cost of LAUNCH_FINISH in instructions, with the locks of the series and without.

Times would prove nothing: the machine is emulated, and shared. QEMU counts instructions (-icount), and every boot executes
the same instructions; two boots of each kernel check that."""
from __future__ import annotations

import shutil
from pathlib import Path

from lab.boot.line import Machine
from lab.build import image, overlay
from lab.build.deps import install_step
from lab.build.kernel import PLAIN, Kernel, flavour, kmake
from lab.build.prepare import Preparation
from lab.build.target import DEFAULT_TREE, Target, linux_of, qemu_of
from lab.core.errors import Exit, Stop, setup_error
from lab.core.options import Given, Option
from lab.core.places import LAB, TOP, tilde
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Job, Plan, Step
from lab.judge.bench import WITH, WITHOUT, BenchQuestion, judge_bench
from lab.patches.series import need_series, series_name, trees
from lab.verbs import common

TURNS, MOST, QUICK_MOST, LOCK_LIMIT = 4, 512, 16, 600
# The time limit of a boot, in seconds.
BOOT_LIMIT = 1800
FINISH = LAB / "l1/finish.c"
OPTIONS = tuple(Option(name, value) for name, value in (
    ("--tree", "TREE"), ("--quick", None), ("--json", "FILE"), ("--linux", "DIR"), ("--qemu", "DIR")))
USAGE = f"""\
usage: ./snplab bench [--tree TREE] [--quick] [--json FILE] [--qemu DIR] [--linux DIR] [--dry-run]

Counts the instructions of KVM_SEV_SNP_LAUNCH_FINISH for 1, 2, 4, … {MOST} vCPUs, with the locks of the series and
without them (the mutant no-lock), in kernels without lockdep, each booted twice. Fails unless both boots have the same
counts, what the locks add grows in a straight line, with one step after 64 vCPUs, and the locks cost at most
{LOCK_LIMIT} instructions for each vCPU.
docs/benchmark.md has the numbers and their limits.

  --tree TREE     {', '.join(trees())} (default {DEFAULT_TREE})
  --quick         up to {QUICK_MOST} vCPUs, with run's kernel, which has lockdep; the cost of the locks has no limit
                  then, but must not be zero
  --json FILE     the numbers and the verdict, machine-readable
{common.OPTIONS_QEMU}
{common.OPTIONS}
"""


class Bench:
    """One run of the verb."""

    def __init__(self, session: Session, given: Given) -> None:
        self.session = session
        self.tree = need_series(given.value("--tree") or DEFAULT_TREE)
        self.quick = given.flag("--quick")
        # Not with lockdep, which users do not have and which costs more than the locks.
        self.prepared = Preparation(session, Target(self.tree, linux=linux_of(given)), qemu_of(given),
                                    flavour=flavour() if self.quick else PLAIN)
        self.without = TOP / "tests/mutants" / series_name(self.tree) / "no-lock.patch"
        self.plan = Plan(session)

    @property
    def most(self) -> int:
        """The largest number of vCPUs."""
        return QUICK_MOST if self.quick else MOST

    def patches(self, kind: str) -> list[Path]:
        """All patches of the kernel with the locks, or without."""
        return self.prepared.target.patches(self.prepared.source, [self.without] if kind == WITHOUT else [])

    def overlay_tree(self, kind: str) -> overlay.Tree:
        """The tree of the kernel with the locks, or without."""
        prepared = self.prepared
        return prepared.target.tree(prepared.source, self.session.cache, [self.without] if kind == WITHOUT else [],
                                    prepared.flavour.suffix)

    def add_steps(self) -> None:
        """Fills the plan."""
        plan, prepared = self.plan, self.prepared
        install = install_step(plan, "overlay", "build", *prepared.purposes, *prepared.host.purposes)
        last: Step = prepared.source.add_fetch(plan, f"fetch linux for {self.tree}", (install,)) or install
        # Build the series last, so that the folder has it for other runs.
        for kind in (WITHOUT, WITH):
            last = self.add_kernel(kind, last)
        host = prepared.host.add_steps(plan, prepared.out / "host", (install,))
        for kind in (WITH, WITHOUT):
            for turn in (1, 2):
                last = self.add_boot(kind, turn, (last, *host[-1:]))

    def add_boot(self, kind: str, turn: int, after: tuple[Step, ...]) -> Step:
        """Adds one boot."""
        return self.plan.add(lambda: f"boot linux {self.prepared.version}, {kind} the locks, turn {turn}",
                             lambda job: self.boot(job, kind, turn), lambda: [self.boot_command(kind, turn)], after)

    def add_kernel(self, kind: str, after: Step) -> Step:
        """Adds the steps that build the kernel with the locks, or without."""
        prepared, plan = self.prepared, self.plan
        trees_of: dict[str, overlay.Tree] = {}

        def apply(job: Job) -> None:
            if kind == WITHOUT:
                prepared.apply_lock(job)
            trees_of[kind] = self.overlay_tree(kind)
            overlay.apply(job, trees_of[kind])
        step = plan.add(lambda: f"apply {len(self.patches(kind))} patches to linux {prepared.version}, {kind} the locks",
                        apply, lambda: self.overlay_tree(kind).shown(), (after,))
        step = plan.add(lambda: f"build linux {prepared.version}, {kind} the locks",
                        lambda job: self.kernel(trees_of[kind]).build(job),
                        lambda: self.kernel(self.overlay_tree(kind)).commands(), (step,))
        return plan.add(f"build L1's image, {kind} the locks", lambda job: self.build_image(job, kind, trees_of[kind]),
                        lambda: self.image_commands(kind), (step,))

    def kernel(self, tree: overlay.Tree) -> Kernel:
        """The build of a kernel."""
        return Kernel(tree, self.session.cache, self.prepared.flavour.fragments)

    def headers_command(self) -> Command:
        """The command that exports the kernel's headers, for the program that counts."""
        return kmake(self.session.cache, self.prepared.work, "-s", "headers")

    def image_commands(self, kind: str) -> list[Command]:
        """The commands that make an image."""
        headers = self.prepared.work / "src/obj/usr/include"
        return [self.headers_command(), image.compile_command([FINISH], Path("finish"), "-isystem", str(headers)),
                *image.shown(self.prepared.out / f"{kind}.initrd")]

    def build_image(self, job: Job, kind: str, tree: overlay.Tree) -> None:
        """Puts the kernel and its initrd into this run's folder, named after `kind`."""
        kernel, out = self.kernel(tree), self.prepared.out
        job.run(self.headers_command())
        finish = out / "finish"
        job.run(image.compile_command([FINISH], finish, "-isystem", str(kernel.obj / "usr/include")))
        image.build_initrd(job, kernel.obj, out / f"{kind}.initrd", [finish])
        shutil.copy(kernel.image, out / f"{kind}.bzImage")
        if kind == WITH:
            self.prepared.release()

    def boot_command(self, kind: str, turn: int) -> Command:
        """QEMU's command line for a repeatable boot. L1 has one CPU: the counter would count a second one's instructions
        too."""
        out = self.prepared.out
        base = out / f"{kind}.{turn}"
        machine = Machine(self.prepared.host.binary, True, repeats=True)
        return command("timeout", "-k", "5", str(BOOT_LIMIT), *machine.line(
            out / f"{kind}.bzImage", out / f"{kind}.initrd",
            f"nokaslr norandmaps snplab.report=/dev/ttyS1 snplab.tests=finish:{TURNS}:{self.most} snplab.timeout=100000",
            "-serial", f"file:{base}.log", "-serial", f"file:{base}.ktap"))

    def boot(self, job: Job, kind: str, turn: int) -> None:
        """Boots; the logs are KIND.TURN.ktap and KIND.TURN.log."""
        if not self.prepared.emulated:
            raise Stop(Exit.SKIP, f"{self.prepared.host.binary} has no emulated SNP host: nothing can be launched")
        if job.status(self.boot_command(kind, turn)):
            raise setup_error(f"the boot has not ended within {BOOT_LIMIT} s, or QEMU has failed", "its log says which")

    def drop(self) -> None:
        """Removes the images."""
        for kind in (WITH, WITHOUT):
            for suffix in ("initrd", "bzImage"):
                (self.prepared.out / f"{kind}.{suffix}").unlink(missing_ok=True)
        (self.prepared.out / "finish").unlink(missing_ok=True)
        shutil.rmtree(self.prepared.out / "host", ignore_errors=True)


def main(session: Session, given: Given) -> int:
    """Builds both kernels, boots each twice, and judges the counts."""
    given.no_arguments("bench", "a tree is named with --tree")
    bench = Bench(session, given)
    session.terminal.say(f"snplab bench: {bench.tree}")
    bench.add_steps()
    if not session.dry_run:
        session.at_exit(bench.drop)
    bench.plan.run()
    if session.dry_run:
        return Exit.PASS
    logs = {kind: [session.run_dir / f"{kind}.{turn}.ktap" for turn in (1, 2)] for kind in (WITH, WITHOUT)}
    verdict = judge_bench(BenchQuestion(bench.tree, bench.prepared.version, bench.most, TURNS, logs[WITH], logs[WITHOUT],
                                        None if bench.quick else LOCK_LIMIT))
    session.json_done = True
    if session.json is not None:
        verdict.write(session.json)
    for line in verdict.lines():
        session.terminal.say(line)
    session.terminal.say(f"logs: {tilde(session.run_dir)}")
    return verdict.status
