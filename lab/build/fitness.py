# SPDX-License-Identifier: GPL-2.0-only
"""Looks at the user's kernel tree before anything is built: can it be an SNP host at all?"""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.build.fragment import kconfig_entry
from lab.build.target import Target
from lab.core.errors import tree_error
from lab.core.places import tilde
from lab.core.session import Session

# The code of an SNP host: Linux has it since 6.11.
SNP_HOST = "arch/x86/virt/svm/sev.c"


@dataclass(frozen=True)
class Part:
    """A symbol of Kconfig that every SEV host needs, and the folder with its Kconfig file."""

    symbol: str
    folder: str


PARTS = (Part("KVM_AMD", "arch/x86/kvm"), Part("KVM_AMD_SEV", "arch/x86/kvm"),
         Part("CRYPTO_DEV_CCP_DD", "drivers/crypto/ccp"), Part("CRYPTO_DEV_SP_PSP", "drivers/crypto/ccp"))


def lacking(folder: Path) -> list[str]:
    """The parts of a SEV host that the kernel tree lacks, in words."""
    found = []
    for part in PARTS:
        pattern = re.compile(kconfig_entry(part.symbol), re.M)
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (folder / part.folder).glob("Kconfig*")
                 if path.is_file()]
        if not any(pattern.search(text) for text in texts):
            found.append(f"{part.symbol} in {part.folder}/Kconfig")
    return found


def check_tree(session: Session, target: Target) -> None:
    """Says what the user's tree lacks, in one line with a hint. It raises if the tree cannot be a SEV host. A tree that can
    be one without SNP is tested, as far as it goes."""
    folder = target.folder or target.linux
    if folder is None:
        return
    found = lacking(folder)
    if found:
        raise tree_error(f"{tilde(folder)}: expected the code of a SEV host, found no {', no '.join(found)}",
                         "name the top of a whole Linux source tree, with KVM for AMD and the ccp driver")
    if not (folder / SNP_HOST).exists():
        session.terminal.note(f"this tree has no {SNP_HOST}, which Linux has since 6.11: it cannot be an SNP host, so tests "
                              "that need one are skipped; merge or backport that code to run them")
