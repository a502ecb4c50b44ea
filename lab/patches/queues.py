# SPDX-License-Identifier: GPL-2.0-only
"""The queues of patches for `tree`, `refresh` and `mail`: one for each kernel tree, and one for the emulated host."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.build.qemu import KIND, RELEASE, qemu_source_version
from lab.build.sources import Source, kernel_source
from lab.build.target import linux_of, qemu_of
from lab.core.errors import usage_error
from lab.core.options import Given, Option
from lab.core.places import TOP, kernel_version
from lab.core.session import Session
from lab.patches.series import (HOST, all_trees, base_tree, groups, is_stable, list_series, lower_series, patch_name,
                                series_dir, with_group)

LINUX_OPTION = Option("--linux", "DIR")
QEMU_OPTION = Option("--qemu", "DIR")
GROUP_OPTION = Option("--group", "NAME")


@dataclass(frozen=True)
class Queue:
    """A queue of patches, by its name on the command line; or a group of these patches, for `mail`."""

    name: str
    group: str = ""

    @property
    def is_host(self) -> bool:
        """Are its patches for QEMU?"""
        return self.name == HOST

    @property
    def folder(self) -> Path:
        """The folder of its patches."""
        return series_dir(self.name)

    @property
    def series(self) -> Path:
        """The file that lists its patches."""
        return self.folder / with_group("series", self.group)

    @property
    def cover_letter(self) -> Path:
        """The mail in front of its patches."""
        return self.folder / with_group("cover-letter", self.group)

    @property
    def patches(self) -> list[Path]:
        """Its patches, in order."""
        return list_series(self.folder, self.group)

    @property
    def outgoing(self) -> Path:
        """The default folder of its mails."""
        return TOP / "outgoing" / (f"{self.name}-{self.group}" if self.group else self.name)

    @property
    def shown(self) -> str:
        """The folder for messages: by its path in this repository."""
        return patch_name(self.folder)

    @property
    def lower(self) -> list[Path]:
        """The patches that it is on top of."""
        return [] if self.is_host else lower_series(self.name)

    @property
    def project(self) -> str:
        """The project that the patches change, for messages and commits."""
        return "QEMU" if self.is_host else "linux"

    @property
    def stable(self) -> str:
        """The name of the stable tree, whose rules apply to it; else nothing."""
        return base_tree(self.name) if is_stable(self.name) else ""

    @property
    def option(self) -> str:
        """The option that names a base."""
        return QEMU_OPTION.name if self.is_host else LINUX_OPTION.name

    @property
    def work_tree(self) -> Path:
        """The default folder of its work tree."""
        return TOP / "trees" / self.name

    @property
    def fetch_title(self) -> str:
        """The title of the step that fetches its base."""
        return f"fetch QEMU {RELEASE}" if self.is_host else f"fetch linux for {self.name}"

    @property
    def rules(self) -> str:
        """The project's document on sending patches, which explains what a sign-off certifies."""
        return "docs/devel/submitting-a-patch.rst" if self.is_host else "Documentation/process/submitting-patches.rst"

    def version(self, folder: Path) -> str | None:
        """The version of a source tree; None if the folder is no source tree of the project."""
        return qemu_source_version(folder) if self.is_host else kernel_version(folder)

    def source(self, session: Session, given: Given) -> Source:
        """Its base: the user's source tree, or the newest one."""
        if self.is_host:
            return Source(session, KIND, qemu_of(given))
        return kernel_source(session, base_tree(self.name), linux_of(given))


def queues() -> list[str]:
    """The names of all queues."""
    return [*all_trees(), HOST]


def need_queue(name: str | None, given: Given) -> Queue:
    """The queue that a verb's first argument names. Raises if the option for the other project's base was given."""
    if not name:
        raise usage_error(f"which tree? expected {', '.join(queues())}")
    if name not in queues():
        raise usage_error(f"no such tree: expected {', '.join(queues())}, found '{name}'")
    group = given.value("--group")
    queue = Queue(name, group or "")
    if group is not None and group not in groups(queue.folder):
        raise usage_error(f"{name} has no such group of patches: expected {', '.join(groups(queue.folder)) or 'none'}, "
                          f"found '{queue.group}'")
    for option in (LINUX_OPTION, QEMU_OPTION):
        if given.value(option.name) is not None and option.name != queue.option:
            raise usage_error(f"{option.name} does not go with {name}: its base is named with {queue.option} DIR")
    return queue
