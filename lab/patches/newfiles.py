# SPDX-License-Identifier: GPL-2.0-only
"""Keeps new files outside of their patch: in the folder "files" beside the queue's patches, by their path in the kernel or
in QEMU.

Of the diff of such a file, the patch keeps only the lines "diff --git" and "new file mode". All code outside of the queue's
folder works with whole patches, which have the full diff. This module converts one form to the other, byte for byte.

A new file stays inside its patch if it is empty, if its name needs quotes, if its patch deletes a file (the new file may be
a renamed file of the kernel or of QEMU, which must not be copied into this repository), or if an earlier patch of the queue
added a file of that name."""
from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import setup_error
from lab.patches.patchfile import PatchFile, read, to_bytes, to_lines, to_text, write

FOLDER = "files"
DIFF_LINE = re.compile(r'diff --git a/([^" ]+) b/\1')
MODE_LINE = re.compile(r"new file mode (100644|100755)")
NO_NEWLINE = "\\ No newline at end of file"
# The number of digits in a blob's name, the same as in the rest of a patch (writepatch.DIFF).
ABBREVIATED = 12


@dataclass(frozen=True)
class NewFile:
    """A file that a patch adds: its path in the kernel or in QEMU, its mode as git writes it, its content."""

    name: str
    mode: str
    text: str

    @property
    def head(self) -> list[str]:
        """The two lines that the patch keeps in the queue."""
        return [f"diff --git a/{self.name} b/{self.name}", f"new file mode {self.mode}"]

    @property
    def diff(self) -> list[str]:
        """The file's full diff, as git writes it."""
        content = to_bytes(self.text)
        blob = hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()
        lines = to_lines(self.text)
        count = "1" if len(lines) == 1 else f"1,{len(lines)}"
        return [*self.head, f"index {0:0{ABBREVIATED}d}..{blob[:ABBREVIATED]}", "--- /dev/null", f"+++ b/{self.name}",
                f"@@ -0,0 +{count} @@", *(f"+{line}" for line in lines),
                *([] if self.text.endswith("\n") else [NO_NEWLINE])]


def sections(lines: Sequence[str]) -> Iterator[list[str]]:
    """Splits a patch into the text before the diffs, and each file's diff. No line of a hunk begins with "diff --git"."""
    part: list[str] = []
    for line in lines:
        if line.startswith("diff --git "):
            yield part
            part = []
        part.append(line)
    yield part


def named_file(section: Sequence[str]) -> tuple[str, str] | None:
    """The name and mode of a file that is kept outside of its patch; None if this is a full diff."""
    return new_name(section) if len(section) == 2 else None


def new_name(section: Sequence[str]) -> tuple[str, str] | None:
    """The name and mode of the file that a diff adds. None if it adds none, or one outside of the tree: git refuses that."""
    if len(section) < 2:
        return None
    name, mode = DIFF_LINE.fullmatch(section[0]), MODE_LINE.fullmatch(section[1])
    return (name[1], mode[1]) if name and mode and not {"", ".", ".."} & set(name[1].split("/")) else None


def brought_names(patch: Path) -> list[str]:
    """The files that a patch keeps in the folder "files", in the patch's order, by their path in the kernel or in QEMU."""
    return [found[0] for section in sections(to_lines(read(patch))) if (found := named_file(section)) is not None]


def whole_text(patch: Path) -> str:
    """The text of a whole patch: with the full diffs of the files in "files"."""
    parts: list[str] = []
    for section in sections(to_lines(read(patch))):
        found = named_file(section)
        if found is None:
            parts += section
            continue
        path = patch.parent / FOLDER / found[0]
        if not path.is_file():
            raise setup_error(f"{patch.name} adds {found[0]}: expected it in {patch.parent.name}/{FOLDER}, "
                              "found no such file", f"restore it, or remove its two lines from {patch.name}")
        parts += NewFile(*found, read(path)).diff
    return to_text(parts)


def read_whole(patch: Path) -> PatchFile:
    """The parts of a whole patch."""
    return PatchFile(whole_text(patch))


def write_whole(patches: Sequence[Path], folder: Path) -> list[Path]:
    """Writes whole patches into the folder, for programs that read them there. A patch that keeps no file outside is whole
    already: its own path is returned."""
    found = []
    for number, patch in enumerate(patches):
        if brought_names(patch):
            target = folder / str(number) / patch.name
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, whole_text(patch))
            patch = target
        found.append(patch)
    return found


def take_apart(text: str, taken: set[str]) -> tuple[str, list[NewFile]]:
    """Splits a whole patch into the patch as the queue keeps it, and its new files. `taken`: the names of files that
    earlier patches keep in "files"; this adds the new ones."""
    parts = list(sections(to_lines(text)))
    if any(line.startswith("deleted file mode ") for section in parts[1:] for line in section[:2]):
        return text, []
    lines, files = list(parts[0]), []
    for section in parts[1:]:
        new = new_file(section)
        if new is None or new.name in taken or new.diff != section:
            lines += section
            continue
        taken.add(new.name)
        files.append(new)
        lines += new.head
    return to_text(lines), files


def new_file(section: Sequence[str]) -> NewFile | None:
    """The file that a full diff adds; None if the diff changes a file, or adds an empty one."""
    found = new_name(section)
    if found is None or len(section) < 7 or section[3] != "--- /dev/null":
        return None
    lines = section[6:]
    ended = lines[-1] != NO_NEWLINE
    text = "\n".join(line[1:] for line in (lines if ended else lines[:-1])) + ("\n" if ended else "")
    return NewFile(*found, text)


def place(files: Sequence[NewFile], folder: Path) -> None:
    """Writes files below a folder, with their modes."""
    for file in files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, file.text)
        path.chmod(int(file.mode[3:], 8))


def files_below(folder: Path) -> list[str]:
    """The names of all files below a queue's folder "files", sorted."""
    top = folder / FOLDER
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir())


def drop(folder: Path, names: Sequence[str]) -> None:
    """Removes files below a queue's folder "files", and the folders that become empty."""
    for name in names:
        path = folder / FOLDER / name
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder or os.listdir(parent):
                break
            parent.rmdir()
