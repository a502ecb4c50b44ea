# SPDX-License-Identifier: GPL-2.0-only
"""Configures and builds a kernel and its modules."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.build.fragment import kconfig_entry, not_as_asked, not_taken, parse_fragment
from lab.build.overlay import Tree, read, write
from lab.core.errors import tree_error
from lab.core.places import LAB, Cache, out_of_space, short_digest, slug
from lab.core.process import Command, CommandFailed, command, quote
from lab.core.steps import Job

CONFIGS = LAB / "config"
# The configuration fragments of the kernel that `run` tests.
TESTED = ("base", "kvm", "debug", "kunit")
# With KASAN and fault injection each program takes longer, and needs more memory.
SANITIZE = "sanitize"
SLOWER = 3
TARGETS = ("bzImage", "modules")
# About how many objects a first build makes, and a build after an edit. The cache keeps the last build's numbers.
OBJECTS = 1500
EDITED = 5
# A line of a configuration that sets a symbol.
SYMBOL = re.compile(r"(CONFIG_\w+)=|# (CONFIG_\w+) is not set$")
OBJECT_LINE = re.compile(r"^  (CC|AS|LD|AR|HOSTCC|HOSTLD|CC \[M\]|AS \[M\]|LD \[M\])\s")
COMPILER_ERROR = re.compile(r"\S+:\d+(:\d+)?: (fatal )?error: ")
# Files that are compiled into modules only. Headers are not among them: other code may include them.
MODULE_CODE = re.compile(r"((arch/x86|virt)/kvm|drivers/crypto/ccp)/[\w/-]+\.c")
TRUNCATED = (".o", ".a", ".ko", "vmlinux", "bzImage")


def jobs() -> int:
    """How many compilers to run at once."""
    return len(os.sched_getaffinity(0))


def compiler() -> str:
    """gcc, through ccache if it is installed."""
    return "ccache gcc" if shutil.which("ccache") else "gcc"


def ccache_env(cache: Cache) -> dict[str, str]:
    """ccache's settings. Paths are relative to our cache, so that an object compiled in one folder serves another. Depend
    mode uses the compiler's own list of headers, which saves a run of the preprocessor for each file."""
    return {"CCACHE_DIR": str(cache.root / "ccache"), "CCACHE_BASEDIR": str(cache.root), "CCACHE_NOHASHDIR": "1",
            "CCACHE_DEPEND": "1", "CCACHE_SLOPPINESS": "time_macros", "CCACHE_MAXSIZE": "4G"}


def kmake(cache: Cache, work: Path, *words: str | Path) -> Command:
    """The make command for WORK/src. The objects go to WORK/src/obj: if they are below the source, kbuild's commands have no
    absolute paths. With a fixed build time and builder the same source gives the same binary."""
    cc = compiler()
    return command("make", "-C", work / "src", "O=obj", f"-j{jobs()}", f"CC={cc}", f"HOSTCC={cc}",
                   "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_USER=snplab",
                   "KBUILD_BUILD_HOST=lab", "KBUILD_BUILD_VERSION=1", *words, env=ccache_env(cache))


@dataclass(frozen=True)
class Flavour:
    """A kernel's configuration, the suffix of the folder that it is built in, and what its boot takes."""

    fragments: Sequence[str] = TESTED
    suffix: str = ""
    # L1's memory, as QEMU has it.
    memory: str = "1G"
    # How many times as long a test may take.
    slower: int = 1
    # --config FILE: the user's fragment, which comes last.
    config: Path | None = None


def flavour(*more: str) -> Flavour:
    """The kernel that `run` tests, with further fragments; without any, the one that all verbs share."""
    sanitized = SANITIZE in more
    return Flavour((*TESTED, *more), "".join(f"-{name}" for name in more), "2G" if sanitized else "1G",
                   SLOWER if sanitized else 1)


def with_config(built: Flavour, config: Path | None) -> Flavour:
    """The kernel with the user's fragment, if there is one. Each file has a work folder of its own; an edit of the file
    configures and builds again there."""
    if config is None:
        return built
    return replace(built, config=config, suffix=f"{built.suffix}-{slug(config.stem)}-{short_digest(str(config))}")


# The kernel as users run it (bench, guest --without-lockdep), and the one for tests that start another kernel. That one is
# without lockdep, which reports hundreds of times what ccp does in a panic.
PLAIN = Flavour(("base", "kvm", "bench"), "-bench")
KEXEC = Flavour(("base", "kvm", "kexec"), "-kexec")


class Kernel:
    """The build of a kernel in the work folder of a Tree."""

    def __init__(self, tree: Tree, cache: Cache, fragments: Sequence[str] = TESTED, user: Path | None = None) -> None:
        self.tree = tree
        self.cache = cache
        # --config FILE.
        self.user = user
        self.fragments = [*(CONFIGS / f"{name}.config" for name in fragments), *([user] if user else [])]
        self.obj = tree.work / "src" / "obj"
        self.config = tree.work / "all.config"
        self.modules = tree.work / "modules"

    @property
    def image(self) -> Path:
        """The bootable kernel."""
        return self.obj / "arch/x86/boot/bzImage"

    def commands(self, targets: Sequence[str] = TARGETS) -> list[Command | str]:
        """The commands of a build from scratch."""
        # Of two lines for a symbol the later one holds, as in configure().
        fragments = f"cat {quote(map(str, self.fragments))} >{quote([f'{self.config}.new'])}"
        return [command("mkdir", "-p", self.obj), fragments, self.configure_command(),
                kmake(self.cache, self.tree.work, *targets)]

    def configure_command(self) -> Command:
        """The command that makes .config: allnoconfig plus the fragments."""
        return kmake(self.cache, self.tree.work, "-s", f"KCONFIG_ALLCONFIG={self.config}.new", "allnoconfig")

    def configure(self, job: Job) -> bool:
        """Configures the kernel if a fragment has changed, or Tree.change() has removed all.config. True if it did so."""
        self.obj.mkdir(parents=True, exist_ok=True)
        text = merged([path.read_text(encoding="utf-8").rstrip("\n") + "\n" for path in self.fragments])
        made = self.obj / ".config"
        if read(self.config) == text and made.exists() and made.stat().st_size:
            return False
        new = self.config.with_name("all.config.new")
        new.write_text(text, encoding="utf-8")
        # make is about to replace .config. If this run fails or is killed, the next run must configure again.
        self.config.unlink(missing_ok=True)
        (self.tree.work / "built").unlink(missing_ok=True)
        try:
            job.run(self.configure_command())
        except CommandFailed as e:
            out_of_space(self.tree.work)
            raise tree_error("the kernel cannot be configured", "make's messages are in the log") from e
        self.check_taken(job, text, made.read_text(encoding="utf-8"))
        new.replace(self.config)
        return True

    def check_taken(self, job: Job, text: str, made: str) -> None:
        """Raises if Kconfig has not taken the lines of `text` into the configuration `made`, the user's lines first."""
        wanted = parse_fragment(self.user.read_text(encoding="utf-8")) if self.user else {}
        lost = not_taken(wanted, made)
        if self.user is not None and lost:
            raise not_as_asked(self.user, lost, {item.symbol for item in lost if not self.has_symbol(job, item.symbol)})
        taken = set(made.splitlines())
        for line in text.splitlines():
            if line.startswith("CONFIG_") and line not in taken and line.partition("=")[0] not in wanted:
                self.refused(job, line.partition("=")[0])

    def has_symbol(self, job: Job, symbol: str) -> bool:
        """Has a Kconfig file of the tree this symbol?"""
        pattern = kconfig_entry(symbol.removeprefix("CONFIG_"))
        return job.status(command("grep", "-rqsE", "--include=Kconfig*", pattern, self.tree.work / "src")) == 0

    def refused(self, job: Job, symbol: str) -> None:
        """Raises if the tree has the symbol but did not take our value. A symbol that the tree does not have is no error."""
        if self.has_symbol(job, symbol):
            raise tree_error(f"the kernel's configuration lacks {symbol}",
                             "expected allnoconfig to take every line of lab/config: a dependency is missing",
                             *(["--config may have taken it away: try without it"] if self.user else []))
        job.write(f"this tree has no {symbol}")

    def state(self, targets: Sequence[str]) -> str:
        """A digest of everything that the objects depend on, except the files of the tree."""
        words = [compiler_version(), *targets, str(self.tree.source)]
        return hashlib.sha256("\0".join(words).encode()).hexdigest()

    def modules_alone(self, targets: Sequence[str]) -> list[str]:
        """The modules as make's targets if nothing else has changed; otherwise an empty list. With these targets make
        does not check the rest of the kernel, which takes longer than compiling one file."""
        tree = self.tree
        if tree.was_built != self.state(targets) or not all(MODULE_CODE.fullmatch(name) for name in tree.names):
            return []
        modules = read(self.modules).splitlines()
        return modules if "arch/x86/kvm/kvm.ko" in modules else []

    def keep_modules(self) -> None:
        """Keeps a copy of modules.order, which make removes when it builds single modules."""
        order = read(self.obj / "modules.order")
        if order:
            write(self.modules, re.sub(r"\.o$", ".ko", order, flags=re.M))

    def build(self, job: Job, targets: Sequence[str] = TARGETS) -> None:
        """Builds the kernel, unless nothing has changed since the last complete build. The caller holds the tree's lock."""
        work, building, built = self.tree.work, self.tree.work / "building", self.tree.work / "built"
        if building.exists():
            drop_truncated(self.obj, building)
        configured = self.configure(job)
        if not configured and not self.tree.changed and not building.exists() and read(built) == self.state(targets):
            job.write("nothing has changed since the last build")
            return
        made = targets if configured or building.exists() else self.modules_alone(targets) or targets
        built.unlink(missing_ok=True)
        building.touch()
        kind, guess = ("kernel", EDITED) if self.image.exists() else ("kernel-cold", OBJECTS)
        count = ObjectMeter(self.cache, kind, guess)
        job.meter = count
        try:
            job.run(kmake(self.cache, work, *made))
        except CommandFailed as e:
            building.unlink(missing_ok=True)
            out_of_space(work)
            raise tree_error(f"the kernel does not build{first_error(job.log_path)}",
                             "the compiler's messages are in the log") from e
        building.unlink(missing_ok=True)
        self.keep_modules()
        write(built, self.state(targets))
        count.keep(job.log_path)


def merged(fragments: Sequence[str]) -> str:
    """The text of all fragments. Of two lines for a symbol the later one holds."""
    lines = "".join(fragments).splitlines()
    symbols = [found[1] or found[2] if (found := SYMBOL.match(line)) else "" for line in lines]
    last = {symbol: number for number, symbol in enumerate(symbols)}
    return "".join(f"{line}\n" for number, (line, symbol) in enumerate(zip(lines, symbols))
                   if not symbol or last[symbol] == number)


def first_error(log: Path) -> str:
    """": " and the compiler's first error; empty if it printed none."""
    with open(log, encoding="utf-8", errors="replace") as f:
        found = next((line for line in f if COMPILER_ERROR.match(line)), None)
    return f": {found.strip().removeprefix('../')[:160]}" if found else ""


def compiler_version() -> str:
    """Identifies the compiler by path, size and time: objects of another compiler have to be built again."""
    path = shutil.which("gcc")
    if path is None:
        return "none"
    stat = os.stat(os.path.realpath(path))
    return f"{os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns}"


def drop_truncated(obj: Path, building: Path) -> None:
    """Removes the objects that a killed build made: one may be truncated, and make would take it for up to date."""
    since = building.stat().st_mtime
    for folder, _, names in os.walk(obj):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(TRUNCATED) or name.startswith("vmlinux"):
                if not os.path.islink(path) and os.path.getmtime(path) >= since:
                    os.unlink(path)


class ObjectMeter:
    """Counts a build's objects. The total is the number of the last build of the same kind."""

    def __init__(self, cache: Cache, kind: str, guess: int) -> None:
        self.file = cache.root / "work" / f"objects-{kind}"
        self.done = 0
        kept = read(self.file).strip()
        self.total = int(kept) if kept.isdigit() else guess

    def __call__(self, lines: list[str]) -> tuple[int, int] | None:
        self.done += sum(bool(OBJECT_LINE.match(line)) for line in lines)
        return (self.done, max(self.total, self.done)) if self.done else None

    def keep(self, log: Path) -> None:
        """Keeps the number as the next build's total, except the small number of a first build that was interrupted and
        resumed."""
        with open(log, encoding="utf-8", errors="replace") as f:
            made = sum(bool(OBJECT_LINE.match(line)) for line in f)
        cold = self.file.name.endswith("-cold")
        if made and (not cold or made > self.total // 2 or not self.file.exists()):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write(self.file, f"{made}\n")
