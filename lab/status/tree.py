# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree: checks that it is complete, and finds its version and the files that may have SNP's launch code."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lab.status.report import CannotSay

KVM = "arch/x86/kvm"
SEV = f"{KVM}/svm/sev.c"
AMD_FILES = (SEV, f"{KVM}/svm/svm.c", f"{KVM}/svm.c")
TARGET = "snp_launch_update_vmsa"
# Launch code contains at least one of these words. A file with one of them may have launch code: the rules find out.
WORDS = ("SNP_PAGE_TYPE_VMSA", TARGET, "SEV_CMD_SNP_LAUNCH_UPDATE")
PARTS = ("Makefile with VERSION and PATCHLEVEL", "Kbuild", KVM)


def read_text(path: Path) -> str:
    """A file's text, with every byte preserved."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def makefile_variable(makefile: str, name: str) -> str:
    """The first value of a variable, without a comment; "" if there is none."""
    found = re.search(rf"^{name}[ \t\r\f\v]*=[ \t\r\f\v]*([^\s#]*)", makefile, re.M)
    return found[1] if found else ""


@dataclass(frozen=True)
class Tree:
    """The top folder of a kernel source tree, as the user named it, and its version."""

    name: str
    top: Path
    major: str
    minor: str
    version: str

    def since(self, major: int, minor: int) -> bool:
        """Is the tree of this version or a newer one? False if its version is not numeric."""
        if not (re.fullmatch("[0-9]+", self.major) and re.fullmatch("[0-9]+", self.minor)):
            return False
        return (int(self.major), int(self.minor)) >= (major, minor)

    def has(self, file: str) -> bool:
        """Can the file be read?"""
        return os.access(self.top / file, os.R_OK)

    def text(self, file: str) -> str:
        """The text of a file; CannotSay if it cannot be read."""
        try:
            return read_text(self.top / file)
        except OSError as e:
            raise CannotSay(f"cannot read {self.name}/{file}", "to do: check its permissions") from e

    def candidates(self) -> list[str]:
        """The files of KVM that contain one of WORDS, sorted by name. Links are not followed."""
        words = [word.encode() for word in WORDS]
        found = []
        for folder, _, names in os.walk(self.top / KVM):
            for path in (Path(folder, name) for name in names if name.endswith(".c")):
                if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
                    continue
                content = path.read_bytes()
                if any(word in content for word in words):
                    found.append(str(path.relative_to(self.top)))
        return sorted(found, key=os.fsencode)


def has_makefile(folder: Path) -> bool:
    """Has the folder a kernel's Makefile?"""
    try:
        text = read_text(folder / "Makefile")
    except OSError:
        return False
    return all(re.search(rf"^{name}[ \t\r\f\v]*=", text, re.M) for name in ("VERSION", "PATCHLEVEL"))


def read_tree(name: str) -> Tree:
    """The tree in a folder; CannotSay if it is no complete kernel tree."""
    top = Path(name)
    there = (has_makefile(top), (top / "Kbuild").exists(), (top / KVM).is_dir())
    if not all(there):
        have = [part for part, is_there in zip(PARTS, there) if is_there]
        lack = [part for part, is_there in zip(PARTS, there) if not is_there]
        raise CannotSay(
            f"{name} is not a complete Linux kernel tree",
            f"looked for: {', '.join(PARTS)}",
            f"found: {', '.join(have) or 'none of them'}",
            f"missing: {', '.join(lack)}",
            f"to do: {hint(top)}")
    makefile = read_text(top / "Makefile")
    major, minor, sub = (makefile_variable(makefile, name) for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))
    version = f"{major}.{minor}" + (f".{sub}" if sub else "") + makefile_variable(makefile, "EXTRAVERSION")
    return Tree(name, top, major, minor, version)


def hint(top: Path) -> str:
    """The hint for a folder that is no complete kernel tree."""
    if has_makefile(top) and not (top / KVM).is_dir():
        return ("it is a kernel tree without KVM for x86: complete the checkout (git sparse-checkout disable), "
                "or unpack the whole source")
    try:
        below = sorted((d for d in top.iterdir() if not d.name.startswith(".")), key=os.fsencode)
    except OSError:
        below = []
    above = Path(os.path.abspath(top)).parents
    for folder in (*below, *above):
        if has_makefile(folder) and (folder / KVM).is_dir():
            return f"did you mean {folder} ?"
    return "give the top folder of an unpacked kernel source tree"
