# SPDX-License-Identifier: GPL-2.0-only
"""The emulated SEV-SNP host: Debian's QEMU source with host/ on top, built with only what the lab needs."""
from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.build import overlay
from lab.build.apt import SOURCE_SUITES, SUITES, Apt, sort_versions
from lab.build.kernel import compiler_version, jobs
from lab.build.overlay import Tree, read, write
from lab.build.selftests import link_tree
from lab.build.sources import Kind, Source, scratch_folder
from lab.core.errors import Stop, setup_error, usage_error
from lab.core.places import Cache, out_of_space, short_digest, slug
from lab.core.process import SYSTEM_PATH, Command, CommandFailed, command, quote
from lab.core.session import Session
from lab.core.steps import Job, Plan, Step
from lab.patches.newfiles import brought_names
from lab.patches.series import HOST, list_series, series_dir

# The release of QEMU that the patches in host/ are for.
RELEASE = "10.0"
# The oldest meson that can build QEMU. Debian 12 has an older one.
MESON_LEAST = (1, 5)
BIOSES = (Path("/usr/share/seabios/bios-256k.bin"), Path("/usr/share/qemu/bios-256k.bin"))
NINJA_LINE = re.compile(r"^\[(\d+)/(\d+)\] ")
OPTION_ROMS = "TOPSRC_DIR=../../..\nCC=gcc\nOBJCOPY=objcopy\nPYTHON=python3\n"
# The kernel is built at the same time and gets more of the CPU: a patch that does not compile is found early.
NICE = ("nice", "-n", "10")


def qemu_source_version(source: Path) -> str | None:
    """The version of a QEMU source tree; None if the folder is no QEMU source tree."""
    version = read(source / "VERSION").strip()
    return version if re.fullmatch(r"\d+\.\d+\.\d+", version) and (source / "include/qemu/osdep.h").exists() else None


def host_patches() -> list[Path]:
    """The patches to QEMU, in order."""
    return list_series(series_dir(HOST))


def has_files_of(patches: Sequence[Path], source: Path) -> bool:
    """Does a source tree have every new file that the patches add?"""
    return all((source / name).exists() for patch in patches for name in brought_names(patch))


def _candidates(apt: Apt) -> list[tuple[str, str]]:
    text = apt.job.output(apt.tool("apt-cache", "showsrc", "--only-source", "qemu"))
    wanted = re.compile(rf"^Version: ((?:\d+:)?{re.escape(RELEASE)}\.\d\S*)$", re.M)
    return [("qemu", version) for version in sort_versions(set(wanted.findall(text)))]


def _get(apt: Apt, package: str, version: str, folder: Path) -> None:
    apt.job.run(apt.tool("apt-get", "source", "--download-only", f"{package}={version}", cwd=folder))


def _unpack(job: Job, package: str, folder: Path) -> None:
    job.run(command("dpkg-source", "--no-check", "--no-copy", "-x", next(folder.glob("*.dsc")).name, "src", cwd=folder))
    # quilt's copies of the unpatched files.
    shutil.rmtree(folder / "src/.pc", ignore_errors=True)


def _shown(cache: Cache) -> Iterable[Command | str]:
    yield command("apt-get", "source", "--download-only", f"qemu={RELEASE}.*",
                  note="the newest, by a private apt configuration")
    yield command("dpkg-source", "--no-check", "-x", f"qemu_<newest {RELEASE}>.dsc",
                  cache.root / "base" / f"qemu_<newest {RELEASE}>")


KIND = Kind("qemu", RELEASE, f"the source of QEMU {RELEASE} in Debian's archive", 2500, _candidates, _get, _unpack,
            qemu_source_version, SOURCE_SUITES, "give a source tree of your own: --qemu DIR", shown=_shown)


# --- meson ---------------------------------------------------------------------------------------


def new_enough(version: str) -> bool:
    """Can this version of meson build QEMU?"""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found.group(1)), int(found.group(2))) >= MESON_LEAST


def meson_version(job: Job) -> str:
    """The version of the machine's meson; empty if there is none."""
    return job.output(command("meson", "--version")).strip() if shutil.which("meson") else ""


def own_meson(cache: Cache) -> Path:
    """The folder for an unpacked meson from Debian, for a machine whose own is too old."""
    return cache.root / "base" / f"meson-{MESON_LEAST[0]}.{MESON_LEAST[1]}"


def fetch_meson(job: Job) -> None:
    """Unpacks Debian's meson if the machine's is too old. It takes the oldest that can build this QEMU, of the same time."""
    target, base = own_meson(job.session.cache), job.session.cache.folder("base")
    found = meson_version(job)
    if new_enough(found) or target.is_dir():
        return
    with job.lock("base-meson"):
        # Another run may have fetched it while we waited for the lock.
        if target.is_dir():
            return
        apt = Apt(job, "QEMU's build tools (meson)", "")
        apt.refresh()
        for version in reversed(sort_versions({row[1] for row in apt.madison("meson")})):
            if not new_enough(version):
                continue
            with scratch_folder(".meson.", base) as folder:
                if job.status(apt.tool("apt-get", "download", f"meson={version}", cwd=folder)) == 0:
                    job.run(command("dpkg-deb", "-x", next(folder.glob("meson_*.deb")), folder / "meson"))
                    os.rename(folder / "meson", target)
                    return
    raise setup_error(f"QEMU's build needs meson {MESON_LEAST[0]}.{MESON_LEAST[1]} or newer, found {found or 'none'}",
                      f"looked in {' '.join(SUITES)}", "install a newer meson")


# --- The build -----------------------------------------------------------------------------------


@dataclass
class Host:
    """A build of the emulated host."""

    session: Session
    source: Source
    # Build with sanitizers: QEMU stops at undefined behaviour and bad memory accesses.
    sanitize: bool = False

    @property
    def work(self) -> Path:
        """The work folder. Each source tree of the user's has its own, and so has a build with sanitizers."""
        work = self.session.cache.root / "work"
        if self.source.given is not None:
            path = self.source.given
            return work / f"qemu-{slug(path.name)}-{short_digest(str(path))}{'-sanitize' if self.sanitize else ''}"
        return work / ("qemu-sanitize" if self.sanitize else "qemu")

    @property
    def binary(self) -> Path:
        """The built QEMU. It finds its files in ../share/qemu, wherever it is copied to."""
        return self.work / "host/bin/qemu-system-x86_64"

    @property
    def build_folder(self) -> Path:
        """The folder that ninja builds in."""
        return self.work / "src/build"

    def tree(self) -> Tree:
        """QEMU's source with our patches. A tree of the user's that has all the patches' new files, such as a work tree of
        `./snplab tree host`, is built as it is."""
        patches = host_patches()
        if self.source.given is not None and has_files_of(patches, self.source.given):
            patches = []
        return Tree(self.source.path, self.work, patches, self.source.given is None or self.source.is_base,
                    name=f"QEMU {self.source.version}", is_kernel=False)

    def flags(self) -> list[str]:
        """The options of QEMU's configure."""
        flags = ["--python=/usr/bin/python3", "--prefix=/usr", "--target-list=x86_64-softmmu", "--enable-system",
                 "--enable-tcg", "--without-default-features", "--without-default-devices", "--with-devices-x86_64=snplab",
                 "--enable-gnutls", "--enable-attr", "--enable-virtfs", "--disable-fdt", "--disable-docs",
                 "--disable-install-blobs", "--disable-download", "--disable-debug-info", "--cc=gcc"]
        # -Doptimization is for the parts to which the patch "meson: precompile headers, and optimise by library" gives no
        # level of their own. With -g1 a sanitizer's reports have line numbers.
        return flags + (["--enable-asan", "--enable-ubsan", "--extra-cflags=-O1 -g1"] if self.sanitize
                        else ["-Doptimization=1"])

    def in_build(self, *words: str | Path, own_meson_needed: bool = True) -> Command:
        """A command in the build folder, with the unpacked meson if there is one. There is no ccache: it would slow down the
        first build, and save time only if all of QEMU is built again."""
        env: dict[str, str] = {}
        meson = own_meson(self.session.cache)
        if own_meson_needed and meson.is_dir():
            env["PATH"] = f"{meson}/usr/bin:{SYSTEM_PATH}"
            env["PYTHONPATH"] = f"{meson}/usr/lib/python3/dist-packages"
        return command(*words, cwd=self.build_folder, env=env)

    def ninja(self, *targets: str) -> Command:
        """The command that builds these targets."""
        return self.in_build(*NICE, "ninja", f"-j{jobs()}", *targets)

    def configure_command(self) -> Command:
        """The command that configures QEMU."""
        return self.in_build(*NICE, "../configure", *self.flags())

    def roms_command(self) -> Command:
        """The command that builds the option ROMs, which -kernel needs."""
        return self.in_build("make", "-C", "pc-bios/optionrom")

    def shown(self) -> list[Command | str]:
        """The commands for --dry-run."""
        roms = self.build_folder / "pc-bios/optionrom"
        return [*self.tree().shown(), command("mkdir", "-p", self.build_folder), self.configure_command(),
                command("mkdir", "-p", roms), f"printf %s {quote([OPTION_ROMS])} >{quote([str(roms / 'config.mak')])}",
                self.ninja("qemu-system-x86_64"), self.roms_command()]

    def build(self, job: Job, copy: Path | None = None) -> None:
        """Builds QEMU into WORK/host, and links all files to `copy`: this run boots from there, even if another clone
        builds its own QEMU meanwhile."""
        with job.lock(f"work-{self.work.name}"):
            # Only under the lock: cache --prune may have removed the folder before.
            self.work.mkdir(parents=True, exist_ok=True)
            tree = self.tree()
            overlay.apply(job, tree)
            self.configure(job)
            built = self.work / "built"
            if tree.changed or not read(built) or not self.binary.exists():
                self.compile(job)
                self.install(job)
                write(built, "yes\n")
            if copy is not None:
                link_tree(self.work / "host", copy)

    def configure(self, job: Job) -> None:
        """Configures QEMU if the options, the compiler or Python have changed since the last time."""
        configured = self.build_folder / "configured"
        python = job.output(command("/usr/bin/python3", "-V"))
        state = f"{quote(self.flags())}\n{compiler_version()}\n{python}"
        if read(configured) == state:
            return
        (self.work / "built").unlink(missing_ok=True)
        shutil.rmtree(self.build_folder, ignore_errors=True)
        self.build_folder.mkdir(parents=True)
        try:
            job.run(self.configure_command())
        except CommandFailed as e:
            out_of_space(self.work)
            raise setup_error("QEMU cannot be configured", "the messages of its configure are in the log") from e
        # configure writes this file only if gcc can link 32-bit programs, which the ROMs do not need.
        (self.build_folder / "pc-bios/optionrom").mkdir(parents=True, exist_ok=True)
        write(self.build_folder / "pc-bios/optionrom/config.mak", OPTION_ROMS)
        write(configured, state)

    def compile(self, job: Job, *targets: str) -> None:
        """Builds these targets; without any, QEMU and its option ROMs."""
        job.meter = ninja_meter
        try:
            job.run(self.ninja(*(targets or ("qemu-system-x86_64",))))
            if not targets:
                job.run(self.roms_command())
        except CommandFailed as e:
            out_of_space(self.work)
            raise setup_error("the emulated host does not build", "the compiler's messages are in the log") from e

    def build_tests(self, job: Job) -> None:
        """Builds the qtests of host/. The host must be built already."""
        with job.lock(f"work-{self.work.name}"):
            self.compile(job, "tests/qtest/amd-psp-test", "tests/qtest/amd-psp-fuzz")

    def install(self, job: Job) -> None:
        """Replaces WORK/host as a whole; runs that boot from links to the old files keep those. If no file has changed, the
        old folder stays: another tool may be using the path that `./snplab host` gave it."""
        new, host = self.work / "host.tmp", self.work / "host"
        shutil.rmtree(new, ignore_errors=True)
        (new / "bin").mkdir(parents=True)
        (new / "share/qemu").mkdir(parents=True)
        (new / "bin/qemu-system-x86_64").hardlink_to(self.build_folder / "qemu-system-x86_64")
        roms = sorted((self.build_folder / "pc-bios/optionrom").glob("*.bin"))
        bios = next((path for path in BIOSES if path.exists()), BIOSES[-1])
        for path in [*roms, bios]:
            shutil.copy(path, new / "share/qemu")
        if host.is_dir() and same_files(new, host):
            shutil.rmtree(new)
            return
        old = self.work / "host.old"
        shutil.rmtree(old, ignore_errors=True)
        if host.is_dir():
            host.rename(old)
        new.rename(host)
        shutil.rmtree(old, ignore_errors=True)


def same_files(one: Path, other: Path) -> bool:
    """Do two folders have the same files with the same content?"""
    def files(folder: Path) -> list[Path]:
        return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return files(one) == files(other) and all(filecmp.cmp(one / p, other / p, shallow=False) for p in files(one))


def ninja_meter(lines: list[str]) -> tuple[int, int] | None:
    """Reads the number of done steps and of all steps from ninja's output."""
    found = [m for m in map(NINJA_LINE.match, lines) if m]
    return (int(found[-1].group(1)), int(found[-1].group(2))) if found else None


# --- Which QEMU ----------------------------------------------------------------------------------


class HostPlan:
    """The QEMU that boots L1: the one built here, or SNPLAB_QEMU; and the steps that make it."""

    def __init__(self, session: Session, qemu_dir: Path | None, sanitize: bool = False) -> None:
        self.session = session
        self.named = os.environ.get("SNPLAB_QEMU") or None
        self.host = Host(session, Source(session, KIND, qemu_dir), sanitize)
        self.copy: Path | None = None
        if self.named is None:
            return
        if qemu_dir is not None:
            raise usage_error("--qemu DIR builds an emulated host, SNPLAB_QEMU names one: give one of them")
        if shutil.which(self.named) is None:
            raise setup_error(f"SNPLAB_QEMU: expected a QEMU that can be executed, found {self.named}",
                              "unset it to use the emulated host")

    @property
    def purposes(self) -> Sequence[str]:
        """The purposes in needs.list of building QEMU."""
        if self.named is not None:
            return ()
        return ("host",) if self.host.source.given is not None else ("host", "hostsource")

    @property
    def binary(self) -> str:
        """The path of the QEMU to start."""
        if self.named is not None:
            return shutil.which(self.named) or self.named
        return str(self.copy / "bin/qemu-system-x86_64") if self.copy is not None else str(self.host.binary)

    def add_steps(self, plan: Plan, copy: Path | None, after: tuple[Step, ...] | None = None) -> list[Step]:
        """Adds the steps that fetch and build QEMU, and link it to the folder `copy`."""
        self.copy = copy
        if self.named is not None:
            return []
        steps = []
        if self.host.source.given is None:
            steps.append(plan.add(f"fetch QEMU {RELEASE}", self._fetch, lambda: KIND.shown(self.session.cache), after))
        else:
            steps.append(plan.add("fetch meson, if this machine's is too old", fetch_meson, after=after))
        steps.append(plan.add(lambda: f"build the emulated host: QEMU {self.host.source.version}",
                              lambda job: self.host.build(job, copy), self.host.shown, (steps[0],)))
        return steps

    def _fetch(self, job: Job) -> None:
        fetch_meson(job)
        self.host.source.fetch(job)


def no_qemu(shown: str) -> Stop:
    """The error for a --qemu DIR that is no QEMU source tree."""
    return setup_error(f"{shown} is no QEMU source tree: expected a VERSION of three numbers and include/qemu/osdep.h",
                       f"name the top of a source tree of QEMU {RELEASE}")
