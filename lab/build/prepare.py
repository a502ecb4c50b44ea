# SPDX-License-Identifier: GPL-2.0-only
"""Plans all steps that a boot of L1 needs: a kernel and an initrd in this run's folder, and an emulated host.

This run locks the tree from the first patch to the finished kernel. Otherwise another run could put its own patches into the
tree, and this run would boot and judge that kernel. Kernel and initrd are copied, so that the boot needs no lock."""
from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.boot.line import PROPERTY, PSP, Machine, is_snp_host, qemu_version
from lab.build import image, overlay
from lab.build.deps import install_step
from lab.build.kernel import Flavour, Kernel
from lab.build.overlay import Tree
from lab.build.qemu import RELEASE, HostPlan
from lab.build.selftests import selftests_for
from lab.build.sources import Source
from lab.build.target import KUNIT, Target
from lab.core.errors import setup_error
from lab.core.locks import Lock
from lab.core.places import need_space, tilde
from lab.core.process import Command
from lab.core.session import Session
from lab.core.steps import Job, Plan, Step


@dataclass
class Preparation:
    """Everything that a boot of L1 needs. add_steps() fills a plan; once the plan has run, `kernel` and `initrd` exist."""

    session: Session
    target: Target
    qemu_dir: Path | None = None
    selftests_dir: Path | None = None
    # Patches to apply after all others.
    extra: Sequence[Path] = ()
    # The test programs that go into L1's initrd.
    programs: Sequence[str] = ()
    # The verb's purposes in needs.list.
    purposes: Sequence[str] = ("boot",)
    flavour: Flavour = Flavour()
    shell: bool = False
    # Modules keep their debug information.
    debug: bool = False
    # Keep the tree locked after the image is made, for a verb that builds more in it.
    keep_lock: bool = False
    # The folder for kernel, initrd and host; None: this run's.
    folder: Path | None = None
    # Build the emulated host with sanitizers.
    sanitize: bool = False
    # Called with the objects' folder while the tree is still locked: --gdb copies the symbols.
    keep_symbols: Callable[[Path], None] | None = None
    work_lock: Lock | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.source: Source = self.target.source(self.session)
        self.host = HostPlan(self.session, self.qemu_dir, self.sanitize)
        self.out = self.folder or self.session.run_dir
        self.kernel = self.out / "bzImage"
        self.initrd = self.out / "initrd"
        self._tree: Tree | None = None
        self._emulated: bool | None = None
        self._qemu_version: str | None = None

    @property
    def tree(self) -> Tree:
        """The tree that is built. Always the same object: apply() records in it which files have changed, for build()."""
        if self._tree is None:
            self._tree = self.target.tree(self.source, self.session.cache, self.extra, self.flavour.suffix)
        return self._tree

    @property
    def work(self) -> Path:
        """The folder that the kernel is built in."""
        return self.target.work(self.session.cache, self.flavour.suffix)

    @property
    def version(self) -> str:
        """The kernel's version."""
        return self.source.version

    def add_steps(self, plan: Plan) -> None:
        """Adds all steps, in the order in which they appear."""
        if not self.session.dry_run:
            self.session.at_exit(self.drop)
        install = install_step(plan, "overlay", "build", *self.purposes, *self.host.purposes)
        build = self.add_kernel(plan, install)
        tests: list[Step] = []
        if self.programs:
            selftests = selftests_for(self.session, self.target.name, self.target.linux, self.selftests_dir,
                                      self.target.folder)
            tests = selftests.add_steps(plan, self.programs, self.out / "tests", (install,))
        plan.add("build L1's image: init, modules, tests", self.build_image, self.image_commands, (build, *tests[-1:]))
        # Last, so that a patch that does not apply or compile is reported without waiting for QEMU.
        self.host.add_steps(plan, self.out / "host", (install,))

    def add_kernel(self, plan: Plan, install: Step) -> Step:
        """Adds the steps from the source to the built kernel."""
        fetch = self.source.add_fetch(plan, f"fetch linux for {self.target.name}", (install,))
        return self.add_build(plan, fetch or install)

    def add_build(self, plan: Plan, after: Step) -> Step:
        """Adds the steps from the fetched source to the built kernel."""
        apply = plan.add(self.apply_title, self.apply, self.apply_commands, (after,))
        return plan.add(lambda: f"build linux {self.version}", self.build, lambda: self.kernel_build().commands(), (apply,))

    def kernel_build(self, tree: Tree | None = None) -> Kernel:
        """The kernel build of this tree, or of another one in the same folder."""
        return Kernel(tree or self.tree, self.session.cache, self.flavour.fragments, self.flavour.config)

    def apply_title(self) -> str:
        """The title of the step that applies the patches."""
        return f"apply {len(self.target.patches(self.source, self.extra))} patches to linux {self.version}"

    def apply_commands(self) -> list[Command]:
        """The commands that put the tree together."""
        return self.target.tree(self.source, self.session.cache, self.extra, self.flavour.suffix).shown()

    def apply(self, job: Job) -> None:
        """Locks the tree, and applies the patches."""
        self.apply_lock(job)
        overlay.apply(job, self.tree)

    def apply_lock(self, job: Job) -> None:
        """Locks the tree until release()."""
        work = self.work
        self.work_lock = job.lock(f"work-{work.name}")
        try:
            # Only under the lock: cache --prune may have removed the folder before.
            work.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise setup_error(f"cannot create {tilde(work)}", "set XDG_CACHE_HOME to a folder that can be written") from e
        if not (work / "all.config").exists():
            need_space(work, 3000, "building a kernel")

    def build(self, job: Job) -> None:
        """Builds the kernel and its modules."""
        self.kernel_build().build(job)

    def image_commands(self) -> list[Command]:
        """The commands that make the image."""
        return image.shown(self.initrd)

    def build_image(self, job: Job) -> None:
        """Makes the initrd and copies the kernel to this run's folder, so that the boot needs no lock on the tree."""
        kernel = self.kernel_build()
        programs = [self.out / "tests" / name for name in self.programs]
        image.build_initrd(job, kernel.obj, self.initrd, programs, self.shell, self.debug)
        shutil.copy(kernel.image, self.kernel)
        shutil.rmtree(self.out / "tests", ignore_errors=True)
        if self.keep_symbols is not None:
            self.keep_symbols(kernel.obj)
        if not self.keep_lock:
            self.release()

    def release(self) -> None:
        """Unlocks the tree."""
        if self.work_lock is not None:
            self.work_lock.release()

    @property
    def emulated(self) -> bool:
        """Is the QEMU an emulated SNP host?"""
        if self._emulated is None:
            self._emulated = find_out(self.session, self.host)
        return self._emulated

    @property
    def qemu_version(self) -> str:
        """QEMU's version. In a dry run without a built QEMU it is the source's. Kept, since the binary is removed before the
        verdict names the version."""
        if self._qemu_version is None:
            built_later = self.session.dry_run and self.host.named is None
            self._qemu_version = self.host.host.source.version if built_later else qemu_version(self.host.binary) or RELEASE
        return self._qemu_version

    def machine(self, memory: str | None = None, more: Sequence[str] = ()) -> Machine:
        """The virtual machine that boots L1."""
        return Machine(self.host.binary, self.emulated, memory or self.flavour.memory, more=more)

    def has_kunit(self) -> bool:
        """Has the patched tree our KUnit test?"""
        return self.session.dry_run or (self.work / "src" / KUNIT).exists()

    def can_be_snp_host(self) -> bool:
        """Has the kernel code for an SNP host? Linux has it since 6.11; with it, L1 must become an SNP host."""
        return (self.work / "src/arch/x86/virt/svm/sev.c").exists()

    def drop(self) -> None:
        """Removes the images; this run's folder keeps only the logs."""
        for path in (self.kernel, self.initrd):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.out / "host", ignore_errors=True)


def find_out(session: Session, host: HostPlan) -> bool:
    """Is the QEMU an emulated SNP host? It is an error if ours is not; a dry run assumes that ours is."""
    if host.named is None:
        if not session.dry_run and not is_snp_host(host.binary):
            raise setup_error(f"expected {tilde(host.binary)} to be an SNP host, found no {PROPERTY} or no {PSP} in it",
                              "the patches in host/ add both to QEMU")
        return True
    if is_snp_host(host.named):
        return True
    session.terminal.note(f"{host.named} has no emulated SNP host: tests that need one will be skipped")
    return False
