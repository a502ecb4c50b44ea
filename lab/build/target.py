# SPDX-License-Identifier: GPL-2.0-only
"""The kernel that --tree names: a series on its base, or the user's own kernel source tree."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.build.overlay import Tree
from lab.build.qemu import no_qemu, qemu_source_version
from lab.build.selftests import KVM, selftest_folder_error
from lab.build.sources import Source, kernel_kind, not_a_kernel
from lab.core.errors import tree_error, usage_error
from lab.core.options import Given
from lab.core.places import LAB, Cache, kernel_version, short_digest, slug, tilde
from lab.core.session import Session
from lab.patches.series import all_trees, base_tree, is_tree, list_series, series_dir, whole_series

DEFAULT_TREE = "6.12.y"
KUNIT = "arch/x86/kvm/svm/tests"
# --selftests has this word for those of --tree DIR.
OWN_SELFTESTS = "tree"


@dataclass(frozen=True)
class Target:
    """The kernel that is tested."""

    # The argument of --tree.
    name: str
    # --tree DIR: the user's tree, to which no series is applied.
    folder: Path | None = None
    # --linux DIR: the base of the series; None: Debian's package.
    linux: Path | None = None
    # A tree without our KUnit test gets the lab's.
    kunit: bool = True

    def source(self, session: Session) -> Source:
        """The source that is built."""
        return Source(session, kernel_kind(DEFAULT_TREE if self.folder else base_tree(self.name)), self.folder or self.linux)

    def work(self, cache: Cache, suffix: str = "") -> Path:
        """The folder that the kernel is built in. With another configuration than `run` uses, its name has a suffix."""
        if self.folder is not None:
            name = f"dir-{slug(self.folder.name)}-{short_digest(str(self.folder))}"
        elif self.linux is not None:
            name = f"{self.name}-on-{slug(self.linux.name)}-{short_digest(str(self.linux))}"
        else:
            name = self.name
        return cache.root / "work" / (name + suffix)

    def series(self) -> list[Path]:
        """The patches of the series, and of the one below it; none for a tree of the user's."""
        return [] if self.folder else whole_series(self.name)

    def patches(self, source: Source, extra: Sequence[Path] = ()) -> list[Path]:
        """All patches to apply to the source. A tree without our KUnit test gets the lab's, if there is one for its
        version."""
        kunit: list[Path] = []
        release = re.search(r"\d+\.\d+", source.version)
        if self.kunit and self.name != "mainline" and release and not (source.path / KUNIT).exists():
            folder = LAB / "kunit" / f"linux-{release.group()}.y"
            kunit = list_series(folder) if folder.is_dir() else []
        return [*self.series(), *kunit, *extra]

    def expect(self, version: str) -> tuple[Path | None, bool]:
        """The list of known failures, and whether a listed case may pass. A tree of the user's is judged by its release's
        list, but may have fixes that the release lacks."""
        if self.folder is None:
            path = series_dir(self.name) / "expect"
        else:
            path = series_dir(".".join(version.split(".")[:2]) + ".y") / "expect"
        return (path if path.is_file() else None), self.folder is not None

    def tree(self, source: Source, cache: Cache, extra: Sequence[Path] = (), suffix: str = "") -> Tree:
        """The tree to be put together and built."""
        return Tree(source.path, self.work(cache, suffix), self.patches(source, extra),
                    source.is_base or source.given is None, name=f"linux {source.version}")


def target_of(given: Given, more: str = "") -> Target:
    """The target that --tree and --linux name. `more`: a further name that the verb accepts, for the message."""
    name, linux = given.value("--tree") or DEFAULT_TREE, linux_of(given)
    if is_tree(name):
        return Target(name, linux=linux)
    if not name or not Path(name).is_dir():
        names = ", ".join([*all_trees(), more] if more else all_trees())
        raise usage_error(f"no such tree: expected {names} or a directory, found '{name}'")
    if linux is not None:
        raise usage_error("--linux is the base of a series: it does not go with --tree DIR")
    folder = Path(name).resolve()
    if kernel_version(folder) is None:
        raise not_a_kernel(tilde(folder))
    return Target(tilde(folder), folder)


def linux_of(given: Given) -> Path | None:
    """--linux DIR."""
    folder = given.folder("--linux")
    if folder is not None and kernel_version(folder) is None:
        raise not_a_kernel(given.values["--linux"])
    return folder


def qemu_of(given: Given) -> Path | None:
    """--qemu DIR."""
    folder = given.folder("--qemu")
    if folder is not None and qemu_source_version(folder) is None:
        raise no_qemu(given.values["--qemu"])
    return folder


def own_selftests(target: Target) -> Path:
    """The folder of --selftests tree: that of --tree DIR."""
    if target.folder is None:
        raise usage_error("--selftests tree takes the selftests of --tree DIR, found no directory in --tree",
                          "--selftests DIR names another kernel source tree")
    if not (target.folder / KVM / "x86").is_dir():
        raise tree_error(f"--selftests tree: {target.name}: expected the KVM selftests of a 7.x kernel, found no {KVM}/x86",
                         "leave --selftests out: the selftests of Debian's newest 7.x kernel run on every tree")
    return target.folder


def selftests_of(given: Given, target: Target | None = None) -> Path | None:
    """--selftests DIR, or --selftests tree for those of the target."""
    if target is not None and given.value("--selftests") == OWN_SELFTESTS:
        return own_selftests(target)
    folder = given.folder("--selftests")
    if folder is None:
        return None
    if kernel_version(folder) is None:
        raise not_a_kernel(given.values["--selftests"])
    if not (folder / KVM / "x86").is_dir():
        raise selftest_folder_error(given.values["--selftests"])
    return folder
