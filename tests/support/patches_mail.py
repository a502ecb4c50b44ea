# SPDX-License-Identifier: GPL-2.0-only
"""Checks a folder of mails: they can be sent as they are, to the right people, in one thread, signed off once, and git am
makes the series from them."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.header import decode_header, make_header
from pathlib import Path

from lab.patches.newfiles import whole_text
from lab.patches.series import base_tree, is_stable
from tests.support.front import changed_environment, run_command
from tests.support.patches import patch

SENDER = "A Tester <tester@example.org>"
SIGN_OFF = f"Signed-off-by: {SENDER}"
COVER = "0000-cover-letter.patch"
FAILED_MAIL = "<2026042000-busybody-palpitate-c3f7@gregkh>"
ADDRESS = re.compile(r"[^ <>,]*@[^ <>,]*")


def lines_of(path: Path) -> list[str]:
    """A file's lines, without the newlines."""
    return path.read_bytes().decode("utf-8", "surrogateescape").split("\n")


def headers_of(path: Path, name: str) -> list[str]:
    """The values of all headers with that name, unfolded."""
    values: list[str] = []
    on = False
    lines = lines_of(path)
    for line in lines[:lines.index("")]:
        if line[:1] in (" ", "\t"):
            if on:
                values[-1] += " " + line.strip()
            continue
        on = line.lower().startswith(f"{name.lower()}:")
        if on:
            values.append(line.partition(":")[2].strip())
    return values


def header(path: Path, name: str) -> str:
    """The value of a header; "" if it is missing. Fails if there are several."""
    values = headers_of(path, name)
    assert len(values) <= 1, f"{path.name}: {name} is there {len(values)} times"
    return values[0] if values else ""


@dataclass(frozen=True)
class Mails:
    """A folder that `mail` wrote, and its input."""

    folder: Path
    series: Path
    tree: str
    linux: Path
    env: dict[str, str | None]
    # The end of the names of the group's files, such as ".selftests".
    group: str = ""

    @property
    def patches(self) -> list[Path]:
        """The files of the series, or of the group."""
        lines = lines_of(self.series / f"series{self.group}")
        return [self.series / line.split()[0] for line in lines if line.strip() and not line.startswith("#")]

    @property
    def cover(self) -> Path:
        """The mail of the cover letter."""
        return self.folder / COVER

    @property
    def prefix(self) -> str:
        """The text in the subject's brackets, before the number."""
        return f"PATCH {base_tree(self.tree)}" if is_stable(self.tree) else "PATCH"

    def number(self, number: int) -> str:
        """A mail's number, such as 1/3 or 01/12."""
        count = str(len(self.patches))
        return f"{str(number).rjust(len(count), '0')}/{count}"

    def each(self) -> Iterator[tuple[int, Path, Path]]:
        """For each patch: its number, its mail, its file."""
        for number, file in enumerate(self.patches, 1):
            yield number, self.folder / f"{number:04d}-{file.name}", file

    def git(self, *words: str | Path, cwd: Path) -> str:
        """git as the user calls it."""
        done = run_command("git", *words, env=self.env, cwd=cwd)
        assert done.status == 0, done.output
        return done.stdout


def recipients(mail: Path) -> list[str]:
    """The bare addresses in To and Cc, in lower case."""
    return [found.lower() for found in ADDRESS.findall(f"{header(mail, 'To')},{header(mail, 'Cc')}")]


def all_there(mails: Mails) -> None:
    names = [COVER, *(mail.name for _, mail, _ in mails.each())]
    assert sorted(path.name for path in mails.folder.glob("[!.]*")) == names


def subjects(mails: Mails) -> None:
    for number, mail, file in mails.each():
        title = re.sub(r"^\[PATCH[^]]*\] ", "", header(file, "Subject"))
        found = str(make_header(decode_header(header(mail, "Subject"))))
        assert found == f"[{mails.prefix} {mails.number(number)}] {title}"


def cover_subject(mails: Mails) -> None:
    assert f"[{mails.prefix} {mails.number(0)}] " in header(mails.cover, "Subject")
    text = "\n".join(lines_of(mails.cover))
    assert "SUBJECT HERE" not in text and "BLURB" not in text


def from_the_sender(mails: Mails) -> None:
    for _, mail, _ in mails.each():
        assert header(mail, "From") == SENDER


def signed_off_once_last(mails: Mails) -> None:
    for _, mail, _ in mails.each():
        lines = lines_of(mail)
        end = lines.index("---")
        assert [line for line in lines if line.startswith("Signed-off-by: ")] == [SIGN_OFF]
        assert lines[end - 1] == SIGN_OFF
        # The sign-off follows other trailers without a blank line.
        assert not (lines[end - 2] == "" and re.match("(Fixes|Cc|Link): ", lines[end - 3])), mail.name


def nothing_else_changed(mails: Mails) -> None:
    for _, mail, file in mails.each():
        found, wanted = lines_of(mail), whole_text(file).split("\n")
        found = found[found.index("") + 1:]
        wanted = wanted[wanted.index("") + 1:]
        found.remove(SIGN_OFF)
        # If the sign-off is the only trailer, a blank line comes before it.
        end = wanted.index("---")
        if found[:end] + found[end + 1:] == wanted:
            assert found[end] == ""
            continue
        assert found == wanted, mail.name


def everybody_nobody_twice(mails: Mails) -> None:
    """Each person and list that get_maintainer.pl names is a recipient, and nobody is one twice."""
    for _, mail, file in mails.each():
        found = recipients(mail)
        if is_stable(mails.tree):
            assert found[0] == "stable@vger.kernel.org"
        done = run_command("perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback", "--no-rolestats", file,
                           env={"HOME": "/nonexistent"}, cwd=mails.linux)
        named = [re.sub(r" \(.*", "", re.sub(r".*<(.*)>.*", r"\1", line)) for line in done.stdout.splitlines()]
        assert named, done.output
        sender = SENDER.partition("<")[2].rstrip(">")
        assert {a.lower() for a in named} - {sender} <= set(found), mail.name
        assert len(found) == len(set(found)), mail.name


def cover_letter_to_all(mails: Mails) -> None:
    for _, mail, _ in mails.each():
        assert set(recipients(mail)) <= set(recipients(mails.cover)), mail.name


def kvm_list(mails: Mails) -> None:
    assert "kvm@vger.kernel.org" in recipients(mails.cover)


def answers_to_the_cover_letter(mails: Mails) -> None:
    for _, mail, _ in mails.each():
        assert header(mail, "In-Reply-To") == header(mails.cover, "Message-ID")
        assert header(mails.cover, "Message-ID") in header(mail, "References")


def cover_letter_answers(mails: Mails) -> None:
    assert header(mails.cover, "In-Reply-To") == header(mails.series / f"cover-letter{mails.group}", "In-Reply-To")
    if mails.tree == "6.12.y":
        assert header(mails.cover, "In-Reply-To") == FAILED_MAIL, "expected a reply to stable's mail FAILED: patch"


def ids_of_their_own(mails: Mails) -> None:
    ids = {header(path, "Message-ID") for path in mails.folder.glob("*.patch")}
    assert len(ids) == len(mails.patches) + 1
    assert all(re.fullmatch("<[^<>@ ]*@[^<>@ ]*>", one) for one in ids), ids


def no_placeholder(mails: Mails) -> None:
    for path in mails.folder.glob("*.patch"):
        assert "snplab@localhost" not in "\n".join(lines_of(path)), path.name


def base_and_count(mails: Mails) -> None:
    lines = lines_of(mails.cover)
    assert any(re.match(r"(base-commit: [0-9a-f]{40}$|Base: v[0-9]+\.[0-9]+(\.[0-9]+)?[ ,])", line) for line in lines)
    assert f"A Tester ({len(mails.patches)}):" in lines


def touched(file: Path) -> set[str]:
    """The files that a patch changes."""
    return {line[6:] for line in lines_of(file) if line.startswith(("--- a/", "+++ b/"))}


def git_am_makes_the_series(mails: Mails) -> None:
    """git am of the mails gives the tree that patch(1) gives with the series."""
    am, by_hand = mails.folder.parent / "am", mails.folder.parent / "by-hand"
    for folder in (am, by_hand):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in set().union(*(touched(file) for file in mails.patches)):
            if (mails.linux / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(mails.linux / name, folder / name)
    for words in (["init", "-q", "."], ["add", "-A", "-f"], ["commit", "-qm", "base"],
                  ["am", "-q", *(str(mail) for _, mail, _ in mails.each())]):
        mails.git(*words, cwd=am)
    authors = mails.git("log", "--format=%an <%ae>", "-n", str(len(mails.patches)), cwd=am).splitlines()
    assert set(authors) == {SENDER}
    for file in mails.patches:
        patch(by_hand, file)
    found = subprocess.run(["diff", "-r", "-x", ".git", str(am), str(by_hand)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def can_send() -> bool:
    """Does git send-email work here? Debian's fails when run if Mail::Address is missing."""
    where = run_command("git", "--exec-path").stdout.strip()
    return os.path.exists(f"{where}/git-send-email") and run_command("perl", "-MMail::Address", "-e1").status == 0


def send_email(mails: Mails, *words: str) -> None:
    """git send-email accepts the mails in a dry run, and keeps their own threading."""
    files = sorted(mails.folder.glob("*.patch"))
    done = subprocess.run(["git", "send-email", *words, "--dry-run", "--confirm=never", "--smtp-server=/bin/false",
                           *map(str, files)], env=changed_environment(mails.env), cwd=mails.folder,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([line for line in said if line.lower().startswith("message-id: ")]) == len(mails.patches) + 1
    answers = [line for line in said if line.startswith("In-Reply-To: ")]
    assert len(answers) == len(mails.patches) + bool(header(mails.cover, "In-Reply-To"))
    assert answers[-1] == f"In-Reply-To: {header(mails.cover, 'Message-ID')}"


CHECKS: dict[str, Callable[[Mails], None]] = {check.__name__.replace("_", " "): check for check in (
    all_there, subjects, cover_subject, from_the_sender, signed_off_once_last, nothing_else_changed, everybody_nobody_twice,
    cover_letter_to_all, kvm_list, answers_to_the_cover_letter, cover_letter_answers, ids_of_their_own, no_placeholder,
    base_and_count, git_am_makes_the_series)}
