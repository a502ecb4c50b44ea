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

# The release that the patches in host/ are made for.
RELEASE = "10.0"
# QEMU's own build system, at least; Debian 12's is older.
MESON_LEAST = (1, 5)
BIOSES = (Path("/usr/share/seabios/bios-256k.bin"), Path("/usr/share/qemu/bios-256k.bin"))
NINJA_LINE = re.compile(r"^\[(\d+)/(\d+)\] ")
OPTION_ROMS = "TOPSRC_DIR=../../..\nCC=gcc\nOBJCOPY=objcopy\nPYTHON=python3\n"
# The kernel under test is built first: a patch that does not compile fails before minutes go into QEMU.
NICE = ("nice", "-n", "10")


def qemu_source_version(source: Path) -> str | None:
    """The version of a QEMU source tree, or None if it is none."""
    version = read(source / "VERSION").strip()
    return version if re.fullmatch(r"\d+\.\d+\.\d+", version) and (source / "include/qemu/osdep.h").exists() else None


def host_patches() -> list[Path]:
    """The patches to QEMU, in order."""
    return list_series(series_dir(HOST))


def has_files_of(patches: Sequence[Path], source: Path) -> bool:
    """Does a source tree have every file that the patches bring?"""
    return all((source / name).exists() for patch in patches for name in brought_names(patch))


def _candidates(apt: Apt) -> list[tuple[str, str]]:
    text = apt.job.output(apt.tool("apt-cache", "showsrc", "--only-source", "qemu"))
    wanted = re.compile(rf"^Version: ((?:\d+:)?{re.escape(RELEASE)}\.\d\S*)$", re.M)
    return [("qemu", version) for version in sort_versions(set(wanted.findall(text)))]


def _get(apt: Apt, package: str, version: str, folder: Path) -> None:
    apt.job.run(apt.tool("apt-get", "source", "--download-only", f"{package}={version}", cwd=folder))


def _unpack(job: Job, package: str, folder: Path) -> None:
    job.run(command("dpkg-source", "--no-check", "--no-copy", "-x", next(folder.glob("*.dsc")).name, "src", cwd=folder))
    # quilt's copies, for undoing Debian's patches.
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
    """Is this meson at least the one that QEMU's build wants?"""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found.group(1)), int(found.group(2))) >= MESON_LEAST


def meson_version(job: Job) -> str:
    """The machine's own meson's, or nothing."""
    return job.output(command("meson", "--version")).strip() if shutil.which("meson") else ""


def own_meson(cache: Cache) -> Path:
    """The folder in which Debian's package is unpacked, where the machine's own meson is too old."""
    return cache.root / "base" / f"meson-{MESON_LEAST[0]}.{MESON_LEAST[1]}"


def fetch_meson(job: Job) -> None:
    """Debian's package, unpacked and not installed. The oldest that will do, as this QEMU was made with it."""
    target, base = own_meson(job.session.cache), job.session.cache.folder("base")
    found = meson_version(job)
    if new_enough(found) or target.is_dir():
        return
    with job.lock("base-meson"):
        # Another run may have fetched it meanwhile.
        if target.is_dir():
            return
        apt = Apt(job, "meson, which builds QEMU,", "")
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
    # Built to stop at undefined behaviour and bad accesses.
    sanitize: bool = False

    @property
    def work(self) -> Path:
        """A source tree of the user's has a folder of its own, and so has a build of another kind."""
        work = self.session.cache.root / "work"
        if self.source.given is not None:
            path = self.source.given
            return work / f"qemu-{slug(path.name)}-{short_digest(str(path))}{'-sanitize' if self.sanitize else ''}"
        return work / ("qemu-sanitize" if self.sanitize else "qemu")

    @property
    def binary(self) -> Path:
        """The program; it finds share/qemu beside itself wherever it is."""
        return self.work / "host/bin/qemu-system-x86_64"

    @property
    def build_folder(self) -> Path:
        """Where ninja works."""
        return self.work / "src/build"

    def tree(self) -> Tree:
        """QEMU's source with our patches. A tree of the user's that has all their new files, as `./snplab tree host` makes
        it, is taken as it is."""
        patches = host_patches()
        if self.source.given is not None and has_files_of(patches, self.source.given):
            patches = []
        return Tree(self.source.path, self.work, patches, self.source.given is None or self.source.is_base,
                    name=f"QEMU {self.source.version}", is_kernel=False)

    def flags(self) -> list[str]:
        """configure's."""
        # The prefix is where Debian has it.
        flags = ["--python=/usr/bin/python3", "--prefix=/usr", "--target-list=x86_64-softmmu", "--enable-system",
                 "--enable-tcg", "--without-default-features", "--without-default-devices", "--with-devices-x86_64=snplab",
                 "--enable-gnutls", "--enable-attr", "--enable-virtfs", "--disable-fdt", "--disable-docs",
                 "--disable-install-blobs", "--disable-download", "--disable-debug-info", "--cc=gcc"]
        # The level of what the patch "meson: precompile headers, and optimise by library" gives none of its own. With -g1 a
        # sanitizer's reports have line numbers.
        return flags + (["--enable-asan", "--enable-ubsan", "--extra-cflags=-O1 -g1"] if self.sanitize
                        else ["-Doptimization=1"])

    def in_build(self, *words: str | Path, own_meson_needed: bool = True) -> Command:
        """A command in the build folder, with the meson that is meant. There is no compiler cache: it costs the first build
        3 %, and would serve only a second one from nothing."""
        env: dict[str, str] = {}
        meson = own_meson(self.session.cache)
        if own_meson_needed and meson.is_dir():
            env["PATH"] = f"{meson}/usr/bin:{SYSTEM_PATH}"
            env["PYTHONPATH"] = f"{meson}/usr/lib/python3/dist-packages"
        return command(*words, cwd=self.build_folder, env=env)

    def ninja(self, *targets: str) -> Command:
        """A build of these targets."""
        return self.in_build(*NICE, "ninja", f"-j{jobs()}", *targets)

    def configure_command(self) -> Command:
        """QEMU's configure."""
        return self.in_build(*NICE, "../configure", *self.flags())

    def roms_command(self) -> Command:
        """The few option ROMs that a -kernel boot needs."""
        return self.in_build("make", "-C", "pc-bios/optionrom")

    def shown(self) -> list[Command | str]:
        """The commands that do the same."""
        roms = self.build_folder / "pc-bios/optionrom"
        return [*self.tree().shown(), command("mkdir", "-p", self.build_folder), self.configure_command(),
                command("mkdir", "-p", roms), f"printf %s {quote([OPTION_ROMS])} >{quote([str(roms / 'config.mak')])}",
                self.ninja("qemu-system-x86_64"), self.roms_command()]

    def build(self, job: Job, copy: Path | None = None) -> None:
        """Builds it into WORK/host. `copy` gets links to all of it: what another clone builds meanwhile is not judged by our
        run's name."""
        with job.lock(f"work-{self.work.name}"):
            # Under the lock: cache --prune may just have removed it.
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
        """Configures, if the flags, the compiler or Python are others than the last time."""
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
            raise setup_error("QEMU cannot be configured", "what its configure said is in the log") from e
        # configure writes this only where gcc can link for 32 bits, which these few lines do not need.
        (self.build_folder / "pc-bios/optionrom").mkdir(parents=True, exist_ok=True)
        write(self.build_folder / "pc-bios/optionrom/config.mak", OPTION_ROMS)
        write(configured, state)

    def compile(self, job: Job, *targets: str) -> None:
        """Compiles and links."""
        job.meter = ninja_meter
        try:
            job.run(self.ninja(*(targets or ("qemu-system-x86_64",))))
            if not targets:
                job.run(self.roms_command())
        except CommandFailed as e:
            out_of_space(self.work)
            raise setup_error("the emulated host does not build", "the compiler said why, in the log") from e

    def build_tests(self, job: Job) -> None:
        """The qtests of host/, in the build folder of a host that is built already."""
        with job.lock(f"work-{self.work.name}"):
            self.compile(job, "tests/qtest/amd-psp-test", "tests/qtest/amd-psp-fuzz")

    def install(self, job: Job) -> None:
        """Replaces WORK/host whole: who boots from a link to the old one goes on with it. What another run or another
        tool was told of stays where it is while nothing has changed."""
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
    """ninja counts by itself."""
    found = [m for m in map(NINJA_LINE.match, lines) if m]
    return (int(found[-1].group(1)), int(found[-1].group(2))) if found else None


# --- Which QEMU ----------------------------------------------------------------------------------


class HostPlan:
    """Which QEMU boots L1: one that is built, or SNPLAB_QEMU; and the steps for it."""

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
        """Its purposes in needs.list."""
        if self.named is not None:
            return ()
        return ("host",) if self.host.source.given is not None else ("host", "hostsource")

    @property
    def binary(self) -> str:
        """The QEMU that is started."""
        if self.named is not None:
            return shutil.which(self.named) or self.named
        return str(self.copy / "bin/qemu-system-x86_64") if self.copy is not None else str(self.host.binary)

    def add_steps(self, plan: Plan, copy: Path | None, after: tuple[Step, ...] | None = None) -> list[Step]:
        """Adds the steps that fetch and build it, with links to it in the folder `copy`."""
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
    """A --qemu DIR that is none."""
    return setup_error(f"{shown} is no QEMU source tree: expected a VERSION of three numbers and include/qemu/osdep.h",
                       f"name the top of a source tree of QEMU {RELEASE}")
