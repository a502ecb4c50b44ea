# SPDX-License-Identifier: GPL-2.0-only
"""Can the mails that `mail` writes be sent as they are?

A mail to the wrong people, outside its thread, without a sign-off or with two, or that git am refuses, is on a public list
before anybody notices. A folder of mails that the user has edited must not be overwritten. The cases use a series of three
patches and a kernel of a few files with stand-ins for its scripts; test_bases.py tests the real series. No test uses a mail
server.
"""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.patches.addresses import addresses, encode, sort_addresses, subject_header
from lab.patches.mail import sign_off
from tests.support.front import TOP, Done, expect, listing
from tests.support.patches import NAMES, TREE, Lab, make_sources, replace, write_identity
from tests.support.patches_mail import CHECKS, COVER, Mails, can_send, header, lines_of, recipients, send_email

ABOUT = "mail: the right people, one thread, one sign-off, and git am rebuilds the series"
LANE = "boot"
NEEDS = ("overlay", "mail", "sendmail")
TAKES = 20

COVER_LETTER = """\
Subject: kernel: Count and multiply
In-Reply-To: <2026042000-busybody-palpitate-c3f7@gregkh>
To: stable@vger.kernel.org
Cc: Someone Else <else@example.org>, "Comma, With" <comma@example.org>
Cc: First Maintainer <FIRST@example.org>

This counts.

And it multiplies.
"""
SENDMAIL = "git send-email is not installed, or lacks Mail::Address"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Made once; each test gets a copy."""
    lab = make_sources(tmp_path_factory.mktemp("pristine"))
    for name in ("get_maintainer.pl", "checkpatch.pl"):
        shutil.copy(TOP / "tests" / "patches" / name, lab.kernel / "scripts" / name)
    (lab.kernel / "MAINTAINERS").write_text("a list\n", encoding="utf-8")
    process = lab.kernel / "Documentation" / "process"
    process.mkdir(parents=True)
    (process / "tools.rst").write_text("Assisted-by: a tool\n", encoding="utf-8")
    (lab.series / "cover-letter").write_text(COVER_LETTER, encoding="utf-8")
    return lab


@pytest.fixture
def lab(pristine: Lab, tmp_path: Path) -> Lab:
    """A copy of the pristine one, for one test."""
    return pristine.copy(tmp_path)


def mail(lab: Lab, *words: str | Path) -> Done:
    """Runs ./snplab mail into the folder "out"."""
    return lab.snplab("mail", TREE, "--output", lab.folder / "out", "--linux", lab.kernel, *words)


def mails_of(lab: Lab) -> Mails:
    """The mails in the folder "out"."""
    return Mails(lab.folder / "out", lab.series, TREE, lab.kernel, lab.env)


@pytest.fixture(scope="module")
def sent(pristine: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Done]:
    """Mails for tests that do not change them."""
    lab = pristine.copy(tmp_path_factory.mktemp("sent"))
    done = mail(lab)
    assert done.status == 0, done.output
    return lab, done


# --- The mails -----------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS)
def test_mails(sent: tuple[Lab, Done], check: str) -> None:
    CHECKS[check](mails_of(sent[0]))


@pytest.mark.skipif(not can_send(), reason=SENDMAIL)
@pytest.mark.parametrize("words", [("--no-thread",), ()], ids=["as the hint says", "and threads them the same by itself"])
def test_git_send_email_takes_them(sent: tuple[Lab, Done], words: tuple[str, ...]) -> None:
    send_email(mails_of(sent[0]), *words)


def test_what_is_said(sent: tuple[Lab, Done]) -> None:
    lab, done = sent
    hint = 'this kernel may ask you to name tools that helped ("Assisted-by:"): see Documentation/process/tools.rst'
    for line in ("mails in ~/out:", "      To: stable@vger.kernel.org", "      Cc: Someone Else <else@example.org>",
                 "      git am applies all 3 mails, with the same result as the series",
                 "      checkpatch --strict: clean: 0002-multiply.patch",
                 hint, f"git send-email --no-thread --confirm=always {lab.folder}/out/*.patch"):
        assert line in done.stdout.splitlines(), f"expected: {line}\nfound: {done.stdout}"
    assert done.steps()[-1] == "write and check 4 mails"


def test_recipients_in_their_order(sent: tuple[Lab, Done]) -> None:
    """People before lists, the patch's before the cover letter's, nobody twice, and not the sender."""
    first, second = (path for _, path, _ in list(mails_of(sent[0]).each())[:2])
    assert header(first, "To") == "stable@vger.kernel.org"
    assert recipients(first) == ["stable@vger.kernel.org", "first@example.org", "re@example.org", "else@example.org",
                                 "comma@example.org", "kvm@vger.kernel.org", "linux-kernel@vger.kernel.org"]
    assert header(second, "Cc").startswith("=?UTF-8?Q?J=C3=BCrgen_Gro=C3=9F?= <second@example.org>, ")
    assert '"Comma, With" <comma@example.org>' in header(second, "Cc")


def test_written_again_replaced_other_ids(lab: Lab) -> None:
    expect(mail(lab), 0)
    before = header(lab.folder / "out" / COVER, "Message-ID")
    expect(mail(lab), 0)
    assert header(lab.folder / "out" / COVER, "Message-ID") not in ("", before)
    CHECKS["all there"](mails_of(lab))


def test_checkpatch_is_heard(lab: Lab) -> None:
    """mail shows checkpatch's findings, except on the line that the stable rules require."""
    sha = "0123456789abcdef0123456789abcdef01234567"
    replace(lab.series / "count.patch", "So that it is more.", f"[ Upstream commit {sha} ]\n\nAs commit {sha} says.")
    done = mail(lab)
    number = lines_of(lab.folder / "out" / "0001-count.patch").index(f"As commit {sha} says.") + 1
    found = [line.strip() for line in done.stdout.splitlines() if "GIT_COMMIT_ID" in line]
    assert found == [f"line {number}: ERROR:GIT_COMMIT_ID: Please use git commit description style"]


# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Jürgen Groß", "J. R. Tester, Jr.", "山田 太郎"])
def test_odd_name(lab: Lab, name: str) -> None:
    write_identity(lab.folder, name)
    expect(mail(lab), 0)
    first = lab.folder / "out" / "0001-count.patch"
    with open(first, "rb") as f:
        info = lab.git("mailinfo", lab.folder / "message", "/dev/null", cwd=lab.folder, stdin=f.read())
    assert f"Author: {name}" in info.split("\n")
    assert f"Signed-off-by: {name} <tester@example.org>" in lines_of(lab.folder / "message")
    lines = lines_of(first)
    assert all(line.isascii() for line in lines[:lines.index("")])


@pytest.mark.parametrize("headers, wanted", [
    (["To: a@b"], ["a@b"]), (["To: A <a@b>, c@d"], ["A <a@b>", "c@d"]), (["TO: a@b", "To: c@d"], ["a@b", "c@d"]),
    (['To: "X, Y" <x@y>,', "\tz@z"], ['"X, Y" <x@y>', "z@z"]), (['To: "a\\"b, c" <x@y>'], ['"a\\"b, c" <x@y>']),
    (["Cc: a@b"], []), (["To: a@b,,"], ["a@b"])], ids=str)
def test_addresses(headers: list[str], wanted: list[str]) -> None:
    assert addresses(headers, "To") == wanted


def test_sorted_addresses() -> None:
    found = ["list@x (open list)", "One <one@x>", "ME@x", "Uno <ONE@X>", " two@x ", "Three <three@x>", "gone@x"]
    assert sort_addresses(found, "me@x", ["Gone <gone@x>"]) == ["One <one@x>", "Three <three@x>", "list@x", "two@x"]


def test_long_subjects_are_folded() -> None:
    text = "[PATCH 01/12] " + "word " * 30
    folded = subject_header(text.strip())
    assert max(map(len, folded.split("\n"))) <= 78
    assert " ".join(folded.split()) == f"Subject: {text.strip()}"
    coded = subject_header("größer " * 20)
    assert "\r" not in coded and max(map(len, coded.split("\n"))) <= 78 and coded.isascii()
    assert encode("Größe") == "=?UTF-8?Q?Gr=C3=B6=C3=9Fe?="


@pytest.mark.parametrize("message, wanted", [
    ("", "S\n"), ("Text.", "Text.\n\nS\n"), ("Text.\n\nFixes: 1 (x)\n", "Text.\n\nFixes: 1 (x)\nS\n"),
    ("Text.\n\nAcked-by: A <a@b>\n[ remark ]\nCc: c@d", "Text.\n\nAcked-by: A <a@b>\n[ remark ]\nCc: c@d\nS\n"),
    ("Text.\n\nFixes: 1\nis what it does.", "Text.\n\nFixes: 1\nis what it does.\n\nS\n"),
    ("Fixes: 1\n\nText.", "Fixes: 1\n\nText.\n\nS\n"), ("a: Note: b", "a: Note: b\n\nS\n")], ids=repr)
def test_sign_off_joins_the_trailers(message: str, wanted: str) -> None:
    assert sign_off(message, "S") == wanted


# --- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, email, text", [
    ("", "", "user.name"), ("A Tester", "", "user.email"), ("", "tester@example.org", "user.name"),
    ("snplab", "snplab@localhost", "your own name"), ("A Tester", "no address", "your own name")],
    ids=["no identity", "no address", "no name", "the placeholder", "an address that is none"])
def test_refused_identity(lab: Lab, name: str, email: str, text: str) -> None:
    write_identity(lab.folder, name, email)
    expect(mail(lab), 3, text)
    assert not list(lab.folder.glob("out*")) and not list(lab.folder.glob(".out*"))


def test_refused_a_folder_of_something_else(lab: Lab) -> None:
    (lab.folder / "out").mkdir()
    (lab.folder / "out" / "file").write_text("precious\n", encoding="utf-8")
    expect(mail(lab), 3, "left untouched")
    assert [path.name for path in (lab.folder / "out").iterdir()] == ["file"]


def test_refused_a_file(lab: Lab) -> None:
    (lab.folder / "out").write_text("precious\n", encoding="utf-8")
    expect(mail(lab), 3, "is no folder")
    assert (lab.folder / "out").read_text(encoding="utf-8") == "precious\n"


@pytest.mark.parametrize("name", [COVER, "notes"], ids=["edited mails", "a file beside the mails"])
def test_refused_what_somebody_wrote(lab: Lab, name: str) -> None:
    expect(mail(lab), 0)
    with open(lab.folder / "out" / name, "a", encoding="utf-8") as f:
        f.write("by hand\n")
    before = listing(lab.folder / "out")
    expect(mail(lab), 3, "was changed since")
    assert listing(lab.folder / "out") == before


def signed_already(lab: Lab) -> None:
    replace(lab.series / "count.patch", "\n---\n", "\nSigned-off-by: Else <else@example.org>\n---\n")


def does_not_apply(lab: Lab) -> None:
    replace(lab.series / "multiply.patch", " \ty *= 7;", " \ty *= 7; x")


def no_patch(lab: Lab) -> None:
    (lab.series / "series").write_text("# none\n", encoding="utf-8")


def nobody(lab: Lab) -> None:
    replace(lab.kernel / "scripts/get_maintainer.pl", "for my $rule (@rules) {", "for my $rule (()) {")


def cut_on_the_way(lab: Lab) -> None:
    """A changelog that ends early for git am: the mail's code would differ."""
    replace(lab.series / "count.patch", "So that it is more.", "So that:\n\nFrom: Somebody <else@example.org>\n\nmore")
    replace(lab.series / "count.patch", "So that:\n\n", "")


REFUSED = {
    "a patch that is signed off already": (signed_already, "count.patch has a Signed-off-by"),
    "no cover letter": (lambda lab: (lab.series / "cover-letter").unlink(), "expected a cover letter in .*, found none"),
    "a cover letter without a text": (
        lambda lab: (lab.series / "cover-letter").write_text("Subject: x\n", encoding="utf-8"),
        "expected a Subject: and a text"),
    "a series that does not apply": (does_not_apply, "does not apply to linux 6.12.999"),
    "a series without a patch": (no_patch, "names no patch"),
    "a patch that is not there": (
        lambda lab: (lab.series / "count.patch").unlink(), "names count.patch, which does not exist"),
    "a patch without a recipient": (nobody, "get_maintainer.pl names nobody for .*count.patch"),
    "a script that fails": (
        lambda lab: replace(lab.kernel / "scripts/get_maintainer.pl", "use strict;", "die;"), "get_maintainer.pl failed on"),
    "another author in a changelog": (cut_on_the_way, "expected git to read the author A Tester"),
    "a tree without its scripts": (lambda lab: (lab.kernel / "MAINTAINERS").unlink(), "give a complete linux tree"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(lab: Lab, case: str) -> None:
    break_it, text = REFUSED[case]
    break_it(lab)
    expect(mail(lab), 3, text)
    assert not list(lab.folder.glob("out*")) and not list(lab.folder.glob(".out*"))


@pytest.mark.parametrize("words, text", [
    ((), "which tree. expected 6.12.y"), (("5.4.y",), "no such tree: expected 6.12.y, host, found '5.4.y'"),
    ((TREE, "two"), "mail takes one tree, found another argument: 'two'"), ((TREE, "--frob"), "mail has no option --frob"),
    ((TREE, "--output", "--linux"), "--output wants a value"),
    ((TREE, "--group", "some"), "6.12.y has no such group of patches: expected none, found 'some'"),
    ((TREE, "--group", ""), "6.12.y has no such group of patches: expected none, found ''")], ids=str)
def test_wrong_words(lab: Lab, words: tuple[str, ...], text: str) -> None:
    expect(lab.snplab("mail", *words), 2, text)


# --- Cover letters -------------------------------------------------------------------------------


def test_cover_letter_whose_first_line_is_the_subject(lab: Lab) -> None:
    (lab.series / "cover-letter").write_text("KVM: A plain first line\n\nAnd a text.\n", encoding="utf-8")
    expect(mail(lab), 0)
    cover = lab.folder / "out" / COVER
    assert header(cover, "Subject") == f"[PATCH {TREE} 0/3] KVM: A plain first line"
    assert "And a text." in lines_of(cover)


def test_second_version_asked_for_in_the_cover_letter(lab: Lab) -> None:
    replace(lab.series / "cover-letter", "Subject: ", "Subject: [PATCH v2] ")
    expect(mail(lab), 0)
    assert header(lab.folder / "out" / "0001-count.patch", "Subject").startswith(f"[PATCH {TREE} v2 1/3] kernel: a: ")
    assert header(lab.folder / "out" / COVER, "Subject") == f"[PATCH {TREE} v2 0/3] kernel: Count and multiply"


def test_cc_of_the_cover_letter_a_comma_in_a_name(lab: Lab) -> None:
    more = '"Else, Somebody" <new@example.org>, Third <third@example.org>'
    replace(lab.series / "cover-letter", "Subject:", f"Cc: {more}\nSubject:")
    expect(mail(lab), 0)
    assert more in header(lab.folder / "out" / "0003-add-new.patch", "Cc")


# --- Groups --------------------------------------------------------------------------------------


def test_group(lab: Lab) -> None:
    """Only the group's patches, behind its own cover letter."""
    (lab.series / "series.some").write_text("# Some.\nmultiply.patch\n", encoding="utf-8")
    letter = "Subject: kernel: Multiply\nTo: stable@vger.kernel.org\n\nAlone.\n"
    (lab.series / "cover-letter.some").write_text(letter, encoding="utf-8")
    expect(mail(lab, "--group", "some"), 0)
    mails = Mails(lab.folder / "out", lab.series, TREE, lab.kernel, lab.env, ".some")
    assert [path.name for path in mails.patches] == ["multiply.patch"]
    for name in ("all there", "subjects", "git am makes the series", "base and count"):
        CHECKS[name](mails)
    assert header(mails.cover, "Subject") == f"[PATCH {TREE} 0/1] kernel: Multiply"


def test_group_without_a_cover_letter(lab: Lab) -> None:
    (lab.series / "series.some").write_text("multiply.patch\n", encoding="utf-8")
    expect(mail(lab, "--group", "some"), 3, "expected a cover letter in .*/cover-letter.some, found none")


# --- Dry runs ------------------------------------------------------------------------------------


def test_dry_run_lists_the_runs_steps_and_touches_nothing(lab: Lab) -> None:
    before = listing(lab.folder)
    dry = mail(lab, "--dry-run")
    expect(dry, 0, f"env -C {lab.kernel} scripts/get_maintainer.pl .*{NAMES[0]}$")
    assert listing(lab.folder) == before
    assert list(dict.fromkeys(mail(lab).steps())) == dry.steps()


def test_dry_run_with_an_empty_cache_and_without_an_identity(lab: Lab) -> None:
    write_identity(lab.folder, "", "")
    before = listing(lab.folder)
    done = lab.snplab("mail", TREE, "--dry-run")
    expect(done, 0, "Signed-off-by: <user.name> <<user.email>>")
    assert "<newest 6.12>" in done.output and listing(lab.folder) == before
