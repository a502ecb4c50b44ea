# SPDX-License-Identifier: GPL-2.0-only
"""The source tree that is built: the lab's own copy of a base or of the user's tree, with patches on top.

Nothing is ever written into the user's tree, and only files whose content changes get a new time stamp, so that one edited
line is one rebuilt object."""
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
from lab.core.errors import Stop, setup_error
from lab.core.places import kernel_version
from lab.core.process import Command, CommandFailed, command
from lab.core.steps import Job
from lab.patches.newfiles import FOLDER, brought_names, whole_text, write_whole
from lab.patches.patchfile import to_bytes
from lab.patches.series import patch_name

RENAMES = re.compile(r"^rename (?:from|to) (.+)$", re.M)
# kbuild refuses a build outside the tree if it finds the files of one inside it.
PRUNED = {".git", "obj", "build", "include/config", "include/generated"}
ARCH_GENERATED = re.compile(r"arch/[^/]+/include/generated")
BUILT = (".o", ".ko", ".a", ".cmd")


@dataclass
class Tree:
    """A tree to be put together from a source and patches, with the files that they bring, in a work folder's `src`."""

    source: Path
    work: Path
    patches: Sequence[Path]
    # A base of the cache, which nobody edits.
    is_base: bool
    # The source's name in messages.
    name: str = ""
    # The patches are a series of ours, which can be rebased.
    is_kernel: bool = True
    # Folders of the work folder that belong to another source once `source` changes.
    built: Sequence[str] = (
        "src", "src.tmp", "patched", "building", "built", "modules", "overlay.state", "kselftest", "tests")
    # Set by apply(): whether a file of src has changed, ...
    changed: bool = field(default=False, init=False)
    # ... the changed files, ...
    names: set[str] = field(default_factory=set, init=False)
    # ... and the content of the file `built` before the change. Empty if the last build did not end, or src is new.
    was_built: str = field(default="", init=False)

    def change(self, *names: str) -> None:
        """Call it before changing these files, or all if none is named: a run that is killed afterwards must not leave a
        build that looks up to date."""
        if not self.changed:
            self.was_built = read(self.work / "built")
            (self.work / "built").unlink(missing_ok=True)
            self.changed = True
        if not names:
            self.was_built = ""
        if any(name.rpartition("/")[2].startswith("Kconfig") for name in names):
            # Configure again: make alone would give new symbols their defaults, and not "n" as allnoconfig does.
            (self.work / "all.config").unlink(missing_ok=True)
        self.names.update(names)

    def shown(self) -> list[Command]:
        """The commands that do the same."""
        src = self.work / "src"
        cmds = [command("mkdir", "-p", self.work)]
        if self.is_base:
            # cp would copy into an src that exists.
            cmds += [command("rm", "-rf", src), command("cp", "-al", self.source, src)]
        else:
            cmds.append(command("rsync", "-a", "--delete", f"{self.source}/", f"{src}/"))
        for patch in self.patches:
            cmds.append(command("patch", "-d", src, "-p1", "-F0", "-i", patch))
            # patch has made them, empty.
            cmds += [command("cp", patch.parent / FOLDER / name, src / name) for name in brought_names(patch)]
        return cmds

    def state(self) -> str:
        """A digest of all that the tree follows from; of a base only, for others can be edited at any time."""
        digest = hashlib.sha256(str(self.source).encode())
        for patch in self.patches:
            digest.update(b"\0" + patch.name.encode() + b"\0" + to_bytes(whole_text(patch)))
        return digest.hexdigest()


def touched(job: Job, patches: Sequence[Path]) -> set[str]:
    """The files that the patches change, a renamed file's old name among them."""
    if not patches:
        return set()
    # Run outside of any git repository: inside one, git apply leaves out files that are not in it.
    root = job.session.cache.root
    text = job.output(command("git", "apply", "--numstat", *patches, cwd=root,
                              env={"GIT_CEILING_DIRECTORIES": str(root.parent)}))
    files = {line.split("\t", 2)[2] for line in text.splitlines()}
    for patch in patches:
        files.update(RENAMES.findall(patch.read_text(encoding="utf-8", errors="replace")))
    return {f for f in files if " => " not in f}


def apply(job: Job, tree: Tree) -> None:
    """Brings WORK/src to the source plus the new files and the patches."""
    state_file, state = tree.work / "overlay.state", tree.state()
    if tree.is_base and (tree.work / "src").is_dir() and read(state_file) == state:
        return
    state_file.unlink(missing_ok=True)
    with scratch_folder(".patches.", tree.work) as folder:
        apply_whole(job, tree, write_whole(tree.patches, folder))
    write(state_file, state)


def apply_whole(job: Job, tree: Tree, patches: Sequence[Path]) -> None:
    """apply(), with the tree's patches as whole ones."""
    files = touched(job, patches)
    for patch in tree.patches:
        for name in brought_names(patch):
            if (tree.source / name).exists():
                raise setup_error(f"{patch_name(patch.parent / FOLDER / name)} is in {tree.name} already",
                                  "expected new files only: what changes a file is a patch")
    # The patched files are made beside the tree first: a patch that does not apply changes nothing.
    with scratch_folder(".new.", tree.work) as new:
        make_patched(job, tree, patches, files, new)
        copy_source(job, tree, files)
        place_patched(tree, files, new)
    write(tree.work / "patched", "".join(f"{name}\n" for name in sorted(files)))


def make_patched(job: Job, tree: Tree, patches: Sequence[Path], files: Iterable[str], new: Path) -> None:
    """Copies the files into a folder of their own, and patches them there. `patches` are the tree's, whole."""
    for name in files:
        if (tree.source / name).exists():
            copy_file(tree.source / name, new / name)
    for patch, whole in zip(tree.patches, patches):
        try:
            job.run(command("patch", "-d", new, "-p1", "-F0", "--no-backup-if-mismatch", "-i", whole))
        except CommandFailed as e:
            raise does_not_apply(patch, tree) from e


def place_patched(tree: Tree, files: set[str], new: Path) -> None:
    """Puts patched files where they belong, and takes the source's version of files that no patch changes any more."""
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
    """Names the patch, and how to mend it."""
    hints = ["expected every hunk to apply with no fuzz; the log has the hunks that did not"]
    if tree.is_kernel:
        hints.append("to rebase it: ./snplab tree --linux with the version it was made for, git rebase, ./snplab refresh")
    return setup_error(f"{patch_name(patch)} does not apply to {tree.name or 'linux ' + str(kernel_version(tree.source))}",
                       *hints)


def read(path: Path) -> str:
    """A small file's text; nothing if it is not there."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def write(path: Path, text: str) -> None:
    """Writes it whole: a reader never sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def copy_file(source: Path, target: Path) -> None:
    """A copy of its own, with the times of the source."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def replace_if_changed(tree: Tree, source: Path, name: str) -> None:
    """Makes the tree's file the same as source; a hard link to the base is never written through: a changed file is a new
    one."""
    target = tree.work / "src" / name
    if target.exists() and filecmp.cmp(source, target, shallow=False):
        return
    tree.change(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copy(source, target)
    # Newer than any object, whatever time stamp the source had.
    os.utime(target)


def copy_source(job: Job, tree: Tree, files: set[str]) -> None:
    """Hard links to a base; a copy of a tree that somebody may edit. The patched files are left for the caller."""
    if not tree.is_base:
        copy_changed(job, tree, files)
        return
    if read(tree.work / "base").strip() == str(tree.source) and (tree.work / "src").is_dir():
        return
    tree.change()
    for name in tree.built:
        remove(tree.work / name)
    job.run(command("cp", "-al", tree.source, tree.work / "src.tmp"))
    (tree.work / "src.tmp").rename(tree.work / "src")
    write(tree.work / "base", f"{tree.source}\n")


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def manifest(source: Path) -> dict[str, str]:
    """Each file that counts, with its size, time and link."""
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
    """Copies the files whose size or time has changed since the last copy. A copy gets the time of copying: to make, a file
    that got its old content and time stamp back is as new as any other change."""
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
