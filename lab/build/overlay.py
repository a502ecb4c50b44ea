# SPDX-License-Identifier: GPL-2.0-only
"""Puts together the tree that is built: the lab's own copy of a base or of the user's tree, with patches on top.

It never writes into the user's tree. Only files whose content changes get a new time stamp, so that after an edit make
compiles only that file again."""
from __future__ import annotations

import filecmp
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.build.sources import scratch_folder
from lab.core.errors import Stop, setup_error, tree_error
from lab.core.places import kernel_version
from lab.core.process import Command, CommandFailed, command
from lab.core.steps import Job
from lab.patches.newfiles import FOLDER, brought_names, whole_text, write_whole
from lab.patches.patchfile import to_bytes
from lab.patches.series import patch_name

RENAMES = re.compile(r"^rename (?:from|to) (.+)$", re.M)
# Not copied: kbuild refuses to build in another folder if the source has files of a build in it.
PRUNED = {".git", "obj", "build", "include/config", "include/generated"}
ARCH_GENERATED = re.compile(r"arch/[^/]+/include/generated")
BUILT = (".o", ".ko", ".a", ".cmd")


@dataclass
class Tree:
    """A tree to be put together in WORK/src from a source, patches, and the new files kept beside the patches."""

    source: Path
    work: Path
    patches: Sequence[Path]
    # The source is one of the cache's, which nobody edits.
    is_base: bool
    # The source's name in messages.
    name: str = ""
    # The source is a kernel: a message may suggest to rebase the series.
    is_kernel: bool = True
    # Files and folders of the work folder to remove once `source` is another one.
    built: Sequence[str] = (
        "src", "src.tmp", "patched", "building", "built", "modules", "overlay.state", "kselftest", "tests")
    # Set by apply(): has a file of src changed, ...
    changed: bool = field(default=False, init=False)
    # ... which files, ...
    names: set[str] = field(default_factory=set, init=False)
    # ... and the text of the file `built` before the change: empty if the last build did not end, or if src is new.
    was_built: str = field(default="", init=False)

    def change(self, *names: str) -> None:
        """Marks the build as out of date. Call it before changing these files (all, if none is named), so that a run that
        is killed afterwards leaves no build that looks up to date."""
        if not self.changed:
            self.was_built = read(self.work / "built")
            (self.work / "built").unlink(missing_ok=True)
            self.changed = True
        if not names:
            self.was_built = ""
        if any(name.rpartition("/")[2].startswith("Kconfig") for name in names):
            # Configure again: make alone would give new symbols their defaults; allnoconfig sets them to "n".
            (self.work / "all.config").unlink(missing_ok=True)
        self.names.update(names)

    def shown(self) -> list[Command]:
        """The commands for --dry-run."""
        src = self.work / "src"
        cmds = [command("mkdir", "-p", self.work)]
        if self.is_base:
            # If src existed, cp would copy into it.
            cmds += [command("rm", "-rf", src), command("cp", "-al", self.source, src)]
        else:
            cmds.append(command("rsync", "-a", "--delete", f"{self.source}/", f"{src}/"))
        for patch in self.patches:
            cmds.append(command("patch", "-d", src, "-p1", "-F0", "-i", patch))
            # patch creates the new files empty.
            cmds += [command("cp", patch.parent / FOLDER / name, src / name) for name in brought_names(patch)]
        return cmds

    def state(self) -> str:
        """A digest of the source's path and the patches. It identifies the tree only if nobody edits the source (a base)."""
        digest = hashlib.sha256(str(self.source).encode())
        for patch in self.patches:
            digest.update(b"\0" + patch.name.encode() + b"\0" + to_bytes(whole_text(patch)))
        return digest.hexdigest()


def touched(job: Job, patches: Sequence[Path]) -> set[str]:
    """The files that the patches change, with the old names of renamed files."""
    if not patches:
        return set()
    # Run outside of any git repository: inside one, git apply skips files that are not tracked.
    root = job.session.cache.root
    text = job.output(command("git", "apply", "--numstat", *patches, cwd=root,
                              env={"GIT_CEILING_DIRECTORIES": str(root.parent)}))
    files = {line.split("\t", 2)[2] for line in text.splitlines()}
    for patch in patches:
        files.update(RENAMES.findall(patch.read_text(encoding="utf-8", errors="replace")))
    return {f for f in files if " => " not in f}


def apply(job: Job, tree: Tree) -> None:
    """Makes WORK/src the source plus the new files and the patches."""
    state_file, state = tree.work / "overlay.state", tree.state()
    if tree.is_base and (tree.work / "src").is_dir() and read(state_file) == state:
        return
    state_file.unlink(missing_ok=True)
    with scratch_folder(".patches.", tree.work) as folder:
        apply_whole(job, tree, write_whole(tree.patches, folder))
    write(state_file, state)


def apply_whole(job: Job, tree: Tree, patches: Sequence[Path]) -> None:
    """apply(), with `patches`: the tree's patches with their new files in them."""
    files = touched(job, patches)
    for patch in tree.patches:
        for name in brought_names(patch):
            if (tree.source / name).exists():
                raise tree_error(f"{patch_name(patch.parent / FOLDER / name)} is in {tree.name} already",
                                 "expected new files only: put changes to an existing file into a patch")
    # Patch copies of the files first, so that a patch that does not apply leaves src unchanged.
    with scratch_folder(".new.", tree.work) as new:
        make_patched(job, tree, patches, files, new)
        copy_source(job, tree, files)
        place_patched(tree, files, new)
    write(tree.work / "patched", "".join(f"{name}\n" for name in sorted(files)))


def make_patched(job: Job, tree: Tree, patches: Sequence[Path], files: Iterable[str], new: Path) -> None:
    """Copies the files into the folder `new`, and patches them there. `patches` are the tree's, with their new files."""
    for name in files:
        if (tree.source / name).exists():
            copy_file(tree.source / name, new / name)
    for patch, whole in zip(tree.patches, patches):
        try:
            job.run(command("patch", "-d", new, "-p1", "-F0", "--no-backup-if-mismatch", "-i", whole))
        except CommandFailed as e:
            raise does_not_apply(patch, tree) from e


def place_patched(tree: Tree, files: set[str], new: Path) -> None:
    """Puts patched files into src, and restores the source's version of files that no patch changes any more."""
    for name in sorted(files | set(read(tree.work / "patched").splitlines())):
        target = tree.work / "src" / name
        if (new / name).exists():
            replace_if_changed(tree, new / name, name)
        elif (tree.source / name).exists() and name not in files:
            replace_if_changed(tree, tree.source / name, name)
        elif target.exists() or target.is_symlink():
            tree.change(name)
            target.unlink()


def does_not_apply(patch: Path, tree: Tree) -> Stop:
    """The error for a patch that does not apply, with a hint at how to rebase it."""
    hints = ["expected every hunk to apply with no fuzz; the log has the hunks that did not"]
    if tree.is_kernel:
        hints.append("to rebase it: ./snplab tree --linux with the version it was made for, git rebase, ./snplab refresh")
    error = tree_error if tree.is_kernel else setup_error
    return error(f"{patch_name(patch)} does not apply to {tree.name or 'linux ' + str(kernel_version(tree.source))}", *hints)


def read(path: Path) -> str:
    """A small file's text; empty if the file does not exist."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def write(path: Path, text: str) -> None:
    """Writes a file atomically: a reader never sees a part of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def copy_file(source: Path, target: Path) -> None:
    """Copies a file, with its times."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def replace_if_changed(tree: Tree, source: Path, name: str) -> None:
    """Makes the tree's file the same as source. It replaces the file, as writing to a hard link would change the base."""
    target = tree.work / "src" / name
    if target.exists() and filecmp.cmp(source, target, shallow=False):
        return
    tree.change(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copy(source, target)
    # make must find the file newer than its object, whatever the source's time is.
    os.utime(target)


def copy_source(job: Job, tree: Tree, files: set[str]) -> None:
    """Makes hard links to a base, or copies of files that somebody may edit. The caller places the patched files."""
    if not tree.is_base:
        copy_changed(job, tree, files)
        return
    if read(tree.work / "base").strip() == str(tree.source) and (tree.work / "src").is_dir():
        return
    tree.change()
    # "base" goes first: it says that src is whole.
    for name in ("base", *tree.built):
        remove(tree.work / name)
    job.run(command("cp", "-al", tree.source, tree.work / "src.tmp"))
    (tree.work / "src.tmp").rename(tree.work / "src")
    write(tree.work / "base", f"{tree.source}\n")


def remove(path: Path) -> None:
    """Removes a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def manifest(source: Path) -> dict[str, str]:
    """The files to copy, each with its size, time and link target."""
    found: dict[str, str] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(source / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if name not in PRUNED and not ARCH_GENERATED.fullmatch(name):
                        folders.append(name)
                elif not entry.name.endswith(BUILT) and name not in (".config", "vmlinux", ".git"):
                    stat = entry.stat(follow_symlinks=False)
                    link = os.readlink(entry.path) if entry.is_symlink() else ""
                    found[name] = f"{stat.st_size}\t{stat.st_mtime_ns}\t{link}"
    return found


def read_manifest(path: Path) -> dict[str, str]:
    """The manifest of the last copy."""
    return {name: rest for name, _, rest in (line.partition("\t") for line in read(path).splitlines())}


def copy_changed(job: Job, tree: Tree, files: set[str]) -> None:
    """Copies the files whose size or time has changed since the last copy. A copy gets the current time: if the user
    restores a file with its old time, make must still find it newer than its object."""
    now = manifest(tree.source)
    if not (tree.work / "manifest").exists():
        remove(tree.work / "src")
        remove(tree.work / "patched")
    before = read_manifest(tree.work / "manifest")
    (tree.work / "src").mkdir(exist_ok=True)
    ours = files | set(read(tree.work / "patched").splitlines())
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name) and name not in ours)
    if changed:
        tree.change(*changed)
        for name in changed:
            if name not in now:
                remove(tree.work / "src" / name)
        job.run(command("rsync", "-lpgoD", "--ignore-missing-args", "--files-from=-", f"{tree.source}/",
                        f"{tree.work / 'src'}/"), stdin="\n".join(changed).encode())
    if now != before:
        write(tree.work / "manifest", "".join(f"{name}\t{rest}\n" for name, rest in now.items()))


def put_away(path: Path) -> None:
    """Removes a file or folder. It is renamed first, so that an interrupted removal leaves nothing that looks whole."""
    gone = path.with_name(f".gone.{path.name.lstrip('.')}")
    remove(gone)
    path.rename(gone)
    remove(gone)
