# SPDX-License-Identifier: GPL-2.0-only
"""The verb `mail`: writes a series as files for git send-email."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lab.build.deps import install_step, is_debian, missing
from lab.build.sources import Source
from lab.core.errors import Exit, setup_error, usage_error
from lab.core.options import Given, Option
from lab.core.places import absolute, tilde
from lab.core.process import Command, command, quote
from lab.core.session import Session
from lab.core.steps import Job, Plan
from lab.patches import git
from lab.patches.cover import need_cover_letter
from lab.patches.mail import mail_name, need_unsigned, write_mails
from lab.patches.maintainers import QUIET, SCRIPT, Recipients
from lab.patches.outgoing import mails_in, need_free
from lab.patches.queues import GROUP_OPTION, LINUX_OPTION, QEMU_OPTION, Queue, need_queue, queues
from lab.patches.sender import Sender, find_sender
from lab.patches.series import groups, patch_name, series_dir

USAGE = f"""\
usage: ./snplab mail TREE [--group NAME] [--output DIR] [--linux DIR | --qemu DIR] [--dry-run]

Writes the series and its cover letter as files for git send-email, with To and Cc from the project's
get_maintainer.pl, and your Signed-off-by from git config user.name and user.email. Sends nothing.
TREE: {", ".join(queues())}
--group: only the patches of series/TREE/series.NAME, behind cover-letter.NAME. They apply without the others:
{"; ".join(f"{name}: {', '.join(found)}" for name in queues() if (found := groups(series_dir(name))))}
"""
OPTIONS = (GROUP_OPTION, Option("--output", "DIR"), LINUX_OPTION, QEMU_OPTION)
ANSWERS = False
UNKNOWN = Sender("<user.name>", "<user.email>")


def main(session: Session, given: Given) -> int:
    """Writes the mails."""
    words = given.arguments
    queue = need_queue(words[0] if words else None, given)
    if len(words) > 1:
        raise usage_error(f"mail takes one tree, found another argument: '{words[1]}'",
                          "the folder is named with --output DIR")
    folder = absolute(given.value("--output") or str(queue.outgoing))
    source = queue.source(session, given)
    # Look up the sender before anything is fetched; if git is still to be installed, after that.
    sender = sender_now(session)
    need_free(folder)
    patches = queue.patches
    if not patches:
        raise setup_error(f"{patch_name(queue.series)} names no patch: nothing to write")
    need_cover_letter(queue.cover_letter)
    need_unsigned(patches)
    done: list[tuple[Sender, Recipients]] = []

    def body(job: Job) -> None:
        who = sender or find_sender()
        done.append((who, write_mails(job, queue, source, who, folder)))

    plan = Plan(session)
    before = [install_step(plan, "fetch", "overlay", "mail")]
    fetch = source.add_fetch(plan, queue.fetch_title)
    if fetch is not None:
        before.append(fetch)
    plan.add(f"write and check {len(patches) + 1} mails", body,
             lambda: commands(source, patches, sender or UNKNOWN, folder), after=tuple(before))
    plan.run()
    for who, to in done:
        summarize(session, queue, source.path, folder, who, to)
    return Exit.PASS


def sender_now(session: Session) -> Sender | None:
    """The sender; None if git is not installed yet, or in a dry run if git has no identity."""
    if not git.is_here():
        return None
    if session.dry_run and None in (git.answer(command("git", "config", "--get", f"user.{w}")) for w in ("name", "email")):
        return None
    return find_sender()


def commands(source: Source, patches: list[Path], sender: Sender, folder: Path) -> Iterator[Command | str]:
    """The commands for --dry-run."""
    for number, patch in enumerate(patches, 1):
        mail = folder / mail_name(number, patch)
        yield command(SCRIPT, *QUIET, patch, cwd=source.path)
        yield command("git", "interpret-trailers", "--trailer", sender.sign_off, patch, note=f"> {mail}")
        yield command("scripts/checkpatch.pl", "--strict", mail, cwd=source.path)
    yield f"git send-email --no-thread --confirm=always {quote([str(folder)])}/*.patch  # you run this"


def summarize(session: Session, queue: Queue, source: Path, folder: Path, sender: Sender, to: Recipients) -> None:
    """Tells the user which files were written, and how to send them."""
    say, note = session.terminal.say, session.terminal.note
    say(f"mails in {tilde(folder)}:")
    for line in [*mails_in(folder), *(f"To: {address}" for address in to.to), *(f"Cc: {address}" for address in to.cc)]:
        note(line)
    say(f"each has your {sender.sign_off}. With it you certify the Developer's Certificate of Origin:")
    say(f"see {queue.rules}, and read the mails.")
    documents = about_assistance(source)
    if documents:
        say(f'this kernel may ask you to name tools that helped ("Assisted-by:"): see {" and ".join(documents)}')
    # git send-email needs both packages, but Debian's git-email can be installed without the second.
    send_email = Path(git.answer(command("git", "--exec-path")) or "/nonexistent") / "git-send-email"
    if not send_email.exists() or (is_debian() and missing(["sendmail"])):
        say("git send-email does not work on this machine yet: Debian's packages are git-email and libmailtools-perl")
    say("nothing was sent. To send the mails, which already have their threading headers:")
    say(f"git send-email --no-thread --confirm=always {quote([str(folder)])}/*.patch")


def about_assistance(source: Path) -> list[str]:
    """The kernel's documents that mention "Assisted-by"."""
    files = (path for path in (source / "Documentation" / "process").rglob("*") if path.is_file())
    return sorted(str(path.relative_to(source)) for path in files if b"Assisted-by" in path.read_bytes())
