# SPDX-License-Identifier: GPL-2.0-only
"""The sender of the mails, who signs them off."""
from __future__ import annotations

import re
from dataclasses import dataclass

from lab.core.errors import setup_error
from lab.core.process import command
from lab.patches.git import IDENTITY, answer


@dataclass(frozen=True)
class Sender:
    """A name and an address."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"

    @property
    def sign_off(self) -> str:
        """The Signed-off-by line."""
        return f"Signed-off-by: {self}"


def find_sender() -> Sender:
    """Reads the sender from git's configuration. A sign-off is a signature: without configuration, fail, don't guess."""
    name, email = (answer(command("git", "config", "--get", f"user.{what}")) or "" for what in ("name", "email"))
    if not name or not email:
        raise setup_error(
            "the mails carry your Signed-off-by: expected git's user.name and user.email, found "
            f"{name or 'no name'} <{email or 'no address'}>",
            "git config --global user.name 'Your Name'; git config --global user.email you@example.org")
    if email == IDENTITY[1] or not re.fullmatch(r"[^\s<>@]+@[^\s<>@]+", email) or re.search(r"[\n<>]", name):
        raise setup_error(
            f"the mails carry your Signed-off-by: expected your own name and address, found {name} <{email}>",
            "git config user.name 'Your Name'; git config user.email you@example.org")
    return Sender(name, email)
