# SPDX-License-Identifier: GPL-2.0-only
"""Do the header of a bug, its result and the count of all bugs follow from the files?

A header that a program reads wrongly makes a bug count as caught that nobody tried, or hides one that survived. Headers and
results are made up here; tests/test_history_corpus.py reads the real ones.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.core.errors import Exit
from lab.core.options import Given
from lab.history.bug import Bug, Shows
from lab.history.corpus import Entry
from lab.history.presence import Trial
from lab.judge.files import versioned
from lab.judge.history import BugResult, Fate, History, booted, history_of, without_boot
from lab.judge.mutants import Catcher, Header, MutantResult, Word
from lab.verbs.history import HistoryRun, by_kernel, failing_cases
from lab.verbs.mutants import Waits
from lab.view.elements import html_text
from lab.view.history_page import history_page
from tests.support.judge import assert_line, assert_no_line

ABOUT = "the headers of bugs, each bug's result, and how many of those that software can show were caught"
LANE = "fast"
NEEDS = ()
TAKES = 2

STORY = ["A vCPU is used", "without a check."]
GOOD: dict[str, str | None] = {
    "Fix": "0123456789ab", "Subject": "KVM: SEV: Check: the vCPU", "Since": "unknown", "Fixed-in": "7.1, 6.12.83",
    "Component": "kvm-sev", "Class": "D", "Caught-by": "sev_smoke_test"}


def write(folder: Path, fields: dict[str, str | None], slug: str = "bug", story: Sequence[str] = STORY) -> Bug:
    """Writes the patch of a bug whose header has GOOD's lines, changed as `fields` says; None drops a line."""
    lines = [f"{name}: {value}" for name, value in {**GOOD, **fields}.items() if value is not None]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug}.patch"
    path.write_text("\n".join([*story, "", *lines, "---", "diff --git a/x b/x", ""]), encoding="utf-8")
    return Bug.read(folder.name, path)


# --- The header -----------------------------------------------------------------------------------------------------


def test_a_good_header(tmp_path: Path) -> None:
    bug = write(tmp_path / "mainline", {"Class": "K (it shows under KASAN)", "Config": "kasan"})
    assert not bug.errors
    assert (bug.tree, bug.slug, bug.commit, bug.subject, bug.component, bug.shows, bug.present, bug.must_be_caught) == (
        "mainline", "bug", "0123456789ab", "KVM: SEV: Check: the vCPU", "kvm-sev", Shows.CHECKED, False, True)
    assert bug.story == "A vCPU is used without a check."
    assert bug.fix == '0123456789ab ("KVM: SEV: Check: the vCPU")'
    assert [str(catcher) for catcher in bug.header.named] == ["sev_smoke_test"]


def test_a_fix_without_an_id(tmp_path: Path) -> None:
    bug = write(tmp_path / "t", {"Fix": 'unknown; "KVM: SEV: Check it", in 6.12.95', "Subject": None})
    assert not bug.errors and (bug.commit, bug.subject, bug.fix) == (None, "KVM: SEV: Check it", '"KVM: SEV: Check it"')


@pytest.mark.parametrize("fields", [
    {"Caught-by": None, "Waits-for": "sev_snp_ghcb_test: a length of 0"}, {"Caught-by": None, "Waits-for": "lab: a reload"},
    {"Caught-by": None, "Class": "N", "Needs": "an AVIC"}, {"Class": "R"}, {"Class": "R", "Needs": "luck"},
    {"Present": "yes"}, {"Fixed-in": "nowhere"}])
def test_other_good_headers(fields: dict[str, str | None], tmp_path: Path) -> None:
    assert write(tmp_path / "t", fields).errors == []


WRONG: list[tuple[dict[str, str | None], str]] = [
    ({"Since": None}, 'expected a line "Since:", found none'),
    ({"Fixed-in": None}, 'expected a line "Fixed-in:", found none'),
    ({"Component": None}, 'expected a line "Component:", found none'),
    ({"Class": None}, 'expected a line "Class:", found none'),
    ({"Fix": "0123456789a"}, 'expected "Fix:" with 12 digits, or: unknown; "SUBJECT", in VERSION, found "0123456789a"'),
    ({"Fix": "unknown"}, 'expected "Fix:" with 12 digits, or: unknown; "SUBJECT", in VERSION, found "unknown"'),
    ({"Component": "mm"}, 'expected "Component:" with one of kvm-sev, kvm-svm'),
    ({"Class": "X"}, 'expected "Class:" with one of D, K, I, R and N'),
    ({"Present": "no"}, 'expected "Present:" with yes, found "no"'),
    ({"Subject": None}, 'expected a line "Subject:" beside a commit\'s id, found none'),
    ({"Fix": 'unknown; "A", in 6.12.1'}, 'expected the subject in the line "Fix: unknown", found a line "Subject:", too'),
    ({"Waits-for": "sev_snp_ghcb_test: a case"}, 'expected "Waits-for:" only where nothing catches the bug'),
    ({"Caught-by": None}, 'expected "Caught-by:" or "Waits-for:" for a bug that software can show, found neither'),
    ({"Caught-by": None, "Needs": "luck"}, 'expected "Caught-by:" or "Waits-for:" for a bug that software can show'),
    ({"Caught-by": 'lockdep "x"'}, 'expected a program to run, in "Caught-by:" or "Not-seen-by:", found none'),
    ({"present": "yes"}, 'expected the story, an empty line, then one field a line; found "present: yes"'),
    ({"Caught-By": "kunit:x"}, 'expected the story, an empty line, then one field a line; found "Caught-By: kunit:x"'),
    ({"Caught-by": "no_such_test"}, 'found "Caught-by: no_such_test"'),
    ({"Caught-by": None, "Class": "R", "Waits-for": "lab: x"}, 'expected a line "Needs:" in class R'),
]


@pytest.mark.parametrize("fields,message", WRONG, ids=[message[:60] for _, message in WRONG])
def test_a_wrong_header_is_named(fields: dict[str, str | None], message: str, tmp_path: Path) -> None:
    bug = write(tmp_path / "t", fields)
    assert any(message in error for error in bug.errors), bug.errors
    found = without_boot(bug, stale=False)
    assert found is not None and found.fate is Fate.BAD_HEADER


def test_no_story_and_no_end(tmp_path: Path) -> None:
    path = tmp_path / "bug.patch"
    path.write_text("".join(f"{name}: {value}\n" for name, value in GOOD.items()), encoding="utf-8")
    errors = Bug.read("t", path).errors
    assert 'expected a line "---" between the header and the diff, found none' in errors
    assert "its header does not explain the bug" in write(tmp_path / "t", {}, story=[]).errors


def test_trees_agree(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", {}), write(tmp_path / "b", {"Since": "ba9876543210"})
    assert Entry("bug", {"a": one, "b": write(tmp_path / "c", {"Class": "R"})}).differences() == []
    assert Entry("bug", {"a": one, "b": other}).differences() == [
        'bug: expected the same "Since:" in all trees, found ba9876543210 and unknown']


# --- The results ----------------------------------------------------------------------------------------------------


def boot(bug: Bug, folder: Path, word: Word, problems: Sequence[str] = ()) -> BugResult:
    """The result of a boot whose judge said that word."""
    named = [(Catcher("sev_smoke_test", "sev_smoke_test"), word is Word.CAUGHT)]
    result = MutantResult(bug.tree, bug.slug, bug.story, word, 1.5, list(problems), named=named)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(versioned(result.to_json())), encoding="utf-8")
    return booted(bug, folder)


@pytest.mark.parametrize("flags, expected", [
    ((), {(): ["plain"], ("built-in",): ["in"], ("sanitize",): ["checked"]}),
    (("--sanitize",), {("built-in", "sanitize"): ["in"], ("sanitize",): ["plain", "checked"]})])
def test_each_kernel_is_built_once(
        tmp_path: Path, flags: tuple[str, ...], expected: dict[tuple[str, ...], list[str]]) -> None:
    """With --sanitize, a bug that shows on that kernel only is booted with the others: its folder is theirs."""
    configs = {"plain": None, "in": "built-in", "checked": "sanitize"}
    bugs = [write(tmp_path, {"Config": config}, slug) for slug, config in configs.items()]
    found = by_kernel(Given(flags=set(flags)), bugs)
    assert {fragments: [bug.slug for bug in group] for fragments, group in found.items()} == expected


def every_result(tmp_path: Path) -> History:
    """A history with a bug of each result."""
    folder, logs = tmp_path / "mainline", tmp_path / "logs"
    results = [boot(write(folder, {}, word.name.lower().replace("_", "-")), logs / word.name, word)
               for word in Word]
    waits = write(folder, {"Caught-by": None, "Waits-for": "sev_dev_test: a length of 0", "Component": "ccp"}, "waiting")
    needs = write(folder, {"Caught-by": None, "Class": "N", "Needs": "an AVIC", "Gap": "AVIC"}, "not-modelled")
    for bug, stale in ((waits, False), (needs, False), (write(folder, {"Class": None}, "wrong"), False),
                       (write(folder, {}, "old"), True)):
        found = without_boot(bug, stale)
        assert found is not None
        results.append(found)
    return history_of(results, [], 7, "logs")


def test_every_result_is_counted(tmp_path: Path) -> None:
    found = every_result(tmp_path)
    assert [found.counts[fate] for fate in Fate] == [1] * len(Fate)
    # One is caught; out of the count: the stale one, the one with a wrong header, the one that is not modelled.
    assert found.recall == (1, 5) and found.gaps == 1
    assert found.components() == {"kvm-sev": (1, 4, 7), "ccp": (0, 1, 1)}
    lines = found.lines()
    assert_line(lines, "^kvm-sev: 1 caught of 4 that software can show; 7 bugs$")
    assert_line(lines, r"^      survived +D  mainline +SURVIVED$")
    assert_line(lines, r"^      caught +D  mainline +caught +sev_smoke_test$")
    assert_line(lines, r"^      waiting +D  mainline +waits for a test +sev_dev_test: a length of 0$")
    assert_line(lines, "^      mainline/survived: survived: no layer saw a difference$")
    assert_line(lines, '^      mainline/wrong: bad header: expected a line "Class:", found none$')
    assert_line(lines, r"^FAIL: 8 bugs: 1 caught, 1 bad header, .*1 not shown here \(1 for a gap that host/README.md names\)"
                       ".*; recall: 1 of 5 that software can show; 7 s; logs: logs$")
    page = html_text(history_page(found))
    assert all(slug in page for slug in ("survived", "waiting", "not-modelled", "old"))


@pytest.mark.parametrize("fate", Fate)
def test_what_fails(fate: Fate, tmp_path: Path) -> None:
    """A survivor fails; a bug that nothing can catch yet, or whose patch is stale, does not. Without a boot, a skip."""
    bad = fate in (Fate.SURVIVED, Fate.NOT_AS_NAMED, Fate.NOT_JUDGED, Fate.BAD_HEADER)
    alone = BugResult(write(tmp_path / "t", {}), fate)
    caught = BugResult(write(tmp_path / "t", {}, "other"), Fate.CAUGHT)
    assert history_of([caught, alone], [], 1, "logs").status == (Exit.FAIL if bad else Exit.PASS)
    without = Exit.FAIL if bad else Exit.PASS if fate is Fate.CAUGHT else Exit.SKIP
    assert history_of([alone], [], 1, "logs").status == without


def test_a_failing_control_fails(tmp_path: Path) -> None:
    found = history_of([BugResult(write(tmp_path / "t", {}), Fate.CAUGHT)], ["t: the series does not pass"], 1, "logs")
    assert found.status == Exit.FAIL
    assert_line(found.lines(), "^      t: the series does not pass$")


def test_a_bug_of_two_trees_is_one(tmp_path: Path) -> None:
    """It counts once, with its worse result; a tree where it is present has a mark."""
    caught = BugResult(write(tmp_path / "mainline", {}), Fate.CAUGHT, ["sev_smoke_test"])
    present = write(tmp_path / "6.12.y", {"Present": "yes"})
    both = history_of([caught, BugResult(present, Fate.CAUGHT, ["sev_smoke_test"])], [], 1, "logs")
    assert both.recall == (1, 1) and both.status == Exit.PASS
    assert_line(both.lines(), r"^      bug  D  mainline 6\.12\.y\*  caught  sev_smoke_test$")
    assert_line(both.lines(), r"^      \*: the tree still has the bug; ")
    assert_no_line(history_of([caught], [], 1, "logs").lines(), r"^      \*: ")
    worse = history_of([caught, BugResult(present, Fate.SURVIVED)], [], 1, "logs")
    assert worse.recall == (0, 1) and worse.status == Exit.FAIL


def test_a_boot_without_a_result(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    found = booted(write(tmp_path / "t", {}), tmp_path / "logs")
    assert (found.fate, found.problems) == (Fate.NOT_JUDGED, ["it was not run"])


# --- The boots ------------------------------------------------------------------------------------------------------


def words(folder: Path, *lines: str) -> list[str]:
    """The programs of a bug's boot, as L1's init gets them."""
    path = folder / "bug.patch"
    path.write_text("\n".join([*STORY, "", *lines, "---", ""]), encoding="utf-8")
    run = HistoryRun.__new__(HistoryRun)
    run.waits, run.failing = Waits(8), set()
    return run.tests_of(Header.read(path))


def test_only_what_the_header_names_is_run(tmp_path: Path) -> None:
    """A case if the program can pick it; the whole program otherwise, or if it is to see nothing."""
    assert words(tmp_path, "Caught-by: sev_dev_test:vlek_load", "Caught-by: sev_dev_test:sev_dev.get_id_length") == [
        "sev_dev_test:-t:vlek_load:-r:sev_dev.get_id_length"]
    assert words(tmp_path, "Caught-by: sev_snp_launch_test:finish_then_run", "Caught-by: kunit:x") == [
        "sev_snp_launch_test:-w:2:-V:64_vcpus:-t:finish_then_run", "kunit"]
    assert words(tmp_path, "Caught-by: sev_dev_test:vlek_load", "Caught-by: sev_dev_test") == ["sev_dev_test"]
    assert words(tmp_path, 'Caught-by: lockdep "x"', "Not-seen-by: sev_dev_test: why") == ["sev_dev_test"]
    assert words(tmp_path, "Caught-by: sev_dbg_test", "Not-run: kunit: why") == ["sev_dbg_test"]


def test_cases_of_bugs_that_the_tree_has_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control must pass, and these cases fail there. A bug of their own is judged with the case."""
    bugs = [write(tmp_path / "t", {"Caught-by": "sev_dev_test:sev_dev.vlek_load", "Present": "yes"}, "a"),
            write(tmp_path / "t", {"Caught-by": "sev_dev_test:get_id_length"}, "b")]
    monkeypatch.setattr("lab.verbs.history.bugs_of", lambda tree: bugs)
    run = HistoryRun.__new__(HistoryRun)
    run.waits, run.failing, run.headers = Waits(8), failing_cases("t"), [bug.header for bug in bugs]
    assert run.control_tests() == ["sev_dev_test:-T:vlek_load"]
    assert run.tests_of(bugs[0].header) == ["sev_dev_test:-r:sev_dev.vlek_load"]


def test_stale_is_said_by_hunk(tmp_path: Path) -> None:
    """Only the hunks that do not apply with all their context."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/x").write_text("".join(f"{i}\n" for i in range(1, 31)), encoding="utf-8")
    hunk = ["@@ -{0},7 +{0},6 @@", " {1}", " {2}", " {3}", "-{4}", " {5}", " {6}", " {7}"]
    header = ["diff --git a/x b/x", "--- a/x", "+++ b/x"]
    good, bad = ([line.format(first, *range(first, first + 7)) for line in hunk] for first in (2, 20))
    bad[-1] = " other"
    (tmp_path / "scratch").mkdir()
    trial = Trial(tmp_path / "tree", tmp_path / "scratch")
    assert trial.rejected([*header, *good, *bad]) == [[*header, *bad]]
    assert trial.rejected([*header, *good]) == []
