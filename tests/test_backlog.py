# SPDX-License-Identifier: GPL-2.0-only
"""Is series/linux-6.12.y-backlog all that 6.12.y lacks, and in the form that stable wants?

Somebody who reads the cover letter relies on it: each bug of tests/history that 6.12.y has is either fixed by a patch or
named there, with the reason. tests/test_series.py applies the patches, tests/test_series_builds.py compiles them.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.core.errors import Stop
from lab.history.bug import Bug
from lab.history.corpus import bugs_of, corpus
from lab.history.presence import Answer, Stack, Trial, presence_of
from lab.history.stacked import diff_of_patch, stack_of, upstream_commit
from lab.judge.expect import read_known
from lab.patches.combined import needs_lower
from lab.patches.cover import read_cover_letter
from lab.patches.patchfile import PatchFile
from lab.patches.series import all_trees, base_tree, list_series, need_series, series_dir, trees, whole_series

ABOUT = "the backlog of 6.12.y: each bug there is fixed by a patch of stable's form, or named in the cover letter"
LANE = "fast"
NEEDS = ("overlay",)
TAKES = 3

BELOW, TREE = "6.12.y", "6.12.y-backlog"
FOLDER = series_dir(TREE)
PATCHES = list_series(FOLDER)
# Patches with more lines than stable's rules allow. The cover letter tells so.
LONG = ("kvm-sev-reload-zapped-vmsa.patch",)
# A fix that is several commits is none for stable; one that mainline lacks is not yet.
PRESENT = [bug for bug in bugs_of(BELOW) if bug.present]
PREREQUISITE = re.compile(r'Stable-dep-of: ([0-9a-f]{12}) \("')


def commit_of(patch: Path) -> str:
    """The id of the upstream commit."""
    return upstream_commit(PatchFile.read(patch))


def letter() -> str:
    """The cover letter's text."""
    return read_cover_letter(FOLDER / "cover-letter").text


def is_taken(bug: Bug) -> bool:
    """Has the series the bug's fix?"""
    return bug.commit is not None and any(commit_of(patch).startswith(bug.commit) for patch in PATCHES)


# --- Each bug, each patch ---------------------------------------------------------------------------


@pytest.mark.parametrize("bug", PRESENT, ids=[bug.slug for bug in PRESENT])
def test_each_bug_is_fixed_or_named(bug: Bug) -> None:
    text = letter()
    named = bug.slug in text or (bug.commit is not None and f" {bug.commit} " in text.partition("\nWhat was not taken")[2])
    assert is_taken(bug) != named, "expected a patch that fixes it, or else its commit or name in the cover letter"


@pytest.mark.parametrize("patch", PATCHES, ids=[patch.stem for patch in PATCHES])
def test_each_patch_is_a_fix_of_the_corpus(patch: Path) -> None:
    """Or what such a fix needs, which stable says by "Stable-dep-of"."""
    text = PatchFile.read(patch)
    wanted = [found[1] for line in text.message if (found := PREREQUISITE.match(line))] or [commit_of(patch)[:12]]
    entry = next((entry for entry in corpus() if entry.any.commit == wanted[0]), None)
    assert entry is not None, f"no bug of tests/history has the fix {wanted[0]}"
    assert BELOW in entry.bugs and entry.bugs[BELOW].present, "the bug is not one that 6.12.y has"
    if wanted[0] == commit_of(patch)[:12]:
        assert text.subject == entry.any.subject


@pytest.mark.parametrize("patch", PATCHES, ids=[patch.stem for patch in PATCHES])
def test_each_patch_follows_the_stable_rules(patch: Path) -> None:
    text = PatchFile.read(patch)
    assert re.fullmatch(r"[0-9a-f]{40}", commit_of(patch))
    assert (len(diff_of_patch(text)) <= 100) != (patch.name in LONG)
    assert not [line for line in text.message if len(line) > 75 and not re.match(r"(Fixes|Stable-dep-of): ", line)]


def test_the_letter_introduces_each_patch() -> None:
    lines = re.findall(r"^ ([ 0-9]\d) (\S.*)\n    ([0-9a-f]{12})", letter(), re.M)
    assert lines == [(f"{number:2d}", PatchFile.read(patch).subject, commit_of(patch)[:12])
                     for number, patch in enumerate(PATCHES, 1)]


def test_fixed_bugs_are_no_known_failures() -> None:
    """What is still known to fail was so below, too, and names no fix that the series has."""
    below, here = (read_known(series_dir(tree) / "expect").entries for tree in (BELOW, TREE))
    assert here and set(here) < set(below)
    fixed = {commit_of(patch)[:12] for patch in PATCHES}
    assert not [known.reason for known in here.values() if fixed & set(re.findall(r"\b[0-9a-f]{12}\b", known.reason))]
    lost = [known.reason for key, known in below.items() if key not in here]
    ids = {one for reason in lost for one in re.findall(r"\b[0-9a-f]{12}\b", reason)}
    assert ids and ids <= fixed


# --- The lab ----------------------------------------------------------------------------------------


def test_the_tree_is_on_top_of_another() -> None:
    assert TREE in all_trees() and TREE not in trees() and base_tree(TREE) == BELOW and base_tree(BELOW) == BELOW
    assert whole_series(TREE) == [*list_series(series_dir(BELOW)), *PATCHES]
    assert needs_lower(TREE) == {"kvm-sev-es-lock-all-vcpus.patch"} and not needs_lower(BELOW)
    with pytest.raises(Stop, match="on top of another: expected 6.12.y, mainline"):
        need_series(TREE)


FILE = "arch/x86/kvm/svm/sev.c"
VERSIONS = ("old", "new", "newer")


def source(value: str) -> str:
    """A file with a function."""
    return f"static int launch(struct kvm_vcpu *vcpu)\n{{\n\tprepare(vcpu);\n\n\treturn use(vcpu, {value});\n}}\n"


def stable_patch(folder: Path, number: int) -> Path:
    """A patch of stable's form, from one of VERSIONS to the next."""
    before, after = (source(value).splitlines() for value in VERSIONS[number:number + 2])
    hunk = [f" {line}" if line == other else f"-{line}\n+{other}" for line, other in zip(before, after)]
    path = folder / f"{number}.patch"
    path.write_text("\n".join([
        "From 0", "Subject: [PATCH] Use another", "", f"[ Upstream commit {number:040x} ]", "", "Text.", "---",
        f"diff --git a/{FILE} b/{FILE}", f"--- a/{FILE}", f"+++ b/{FILE}", "@@ -1,6 +1,6 @@", *hunk, ""]), encoding="utf-8")
    return path


@pytest.mark.parametrize("there", range(len(VERSIONS)))
def test_a_fix_is_found_below_a_later_one(tmp_path: Path, there: int) -> None:
    """Both patches change the same line. The tree itself is only read."""
    series = [stable_patch(tmp_path, number) for number in range(len(VERSIONS) - 1)]
    path = tmp_path / "tree" / FILE
    path.parent.mkdir(parents=True)
    path.write_text(source(VERSIONS[there]), encoding="utf-8")
    stack = stack_of(Trial(tmp_path / "tree", tmp_path / "copy"), [series])
    assert stack.fixes == {f"{number:040x}": f"{FILE}:5" for number in range(there)}
    assert path.read_text(encoding="utf-8") == source(VERSIONS[there])
    assert (tmp_path / "copy" / FILE).read_text(encoding="utf-8") == source(VERSIONS[0])


def test_status_takes_the_series_word() -> None:
    """For a bug whose own patch gives no answer."""
    entry = next(entry for entry in corpus() if entry.slug == "xcr0-of-guest-unchecked")
    nothing = Path("/nonexistent")
    patch = next(patch for patch in PATCHES if commit_of(patch).startswith(str(entry.any.commit)))
    trial = Unsure(nothing, nothing)
    assert presence_of(trial, entry).answer is Answer.UNKNOWN
    assert presence_of(trial, entry, Stack({}, trial)).answer is Answer.UNKNOWN
    found = presence_of(trial, entry, Stack({commit_of(patch): "x.c:7"}, trial))
    assert (found.answer, found.where) == (Answer.FIXED, "x.c:7")


class Unsure(Trial):
    """A tree in which no patch applies."""

    def place(self, files: Sequence[str]) -> str | None:
        return "cannot read"
