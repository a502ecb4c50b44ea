# SPDX-License-Identifier: GPL-2.0-only
"""Do the numbers in cover letters, README and docs still hold?

A mutant or a case is added, and a cover letter tells a maintainer of fewer; a patch is renamed, and the letter introduces
one that is not there. Each number here is counted anew from the repository. A rule whose sentence no longer exists
fails as well: a sentence that was reworded must not leave its number unwatched.
"""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.core.errors import Exit
from lab.core.places import TOP
from lab.history.corpus import corpus
from lab.judge.expect import read_known
from lab.judge.mutants import Header
from lab.patches.cover import read_cover_letter
from lab.patches.patchfile import PatchFile
from lab.patches.series import list_series
from tests.support.front import expect, run_snplab

ABOUT = "numbers in cover letters, README and docs are those of the repository"
LANE = "fast"
NEEDS = ("mail",)
TAKES = 2

STABLE, MAINLINE = "linux-6.12.y", "mainline"
TREES = (STABLE, MAINLINE)
BACKLOG = "linux-6.12.y-backlog"
LAUNCH_TEST = "sev_snp_launch_test"
LAUNCH_SOURCE = TOP / f"series/mainline/files/tools/testing/selftests/kvm/x86/{LAUNCH_TEST}.c"
KUNIT_SOURCE = TOP / "series/mainline/files/arch/x86/kvm/svm/tests/sev_kunit.c"
FIRST_OF_PLATFORM = "target-i386-cpu-features-and-state-of-an-emulated-sev-snp.patch"


def headers(tree: str) -> list[Header]:
    """Those of a tree's mutants."""
    return [Header.read(path) for path in sorted((TOP / "tests/mutants" / tree).glob("*.patch"))]


def caught(tree: str) -> tuple[int, int, int]:
    """How many of the tree's mutants KUnit, the launch test and lockdep catch."""
    counts = Counter(layer for header in headers(tree) for layer in {catcher.layer for catcher in header.named})
    return counts["kunit"], counts[LAUNCH_TEST], counts["lockdep"]


def launch_cases() -> int:
    """The cases of the launch test: each test of a fixture, once for each variant of it."""
    source = LAUNCH_SOURCE.read_text(encoding="utf-8")
    tests = Counter(re.findall(r"^(?:SNP_)?TEST_F\((\w+), \w+\)", source, re.M))
    variants = Counter(re.findall(r"^FIXTURE_VARIANT_ADD\((\w+),", source, re.M))
    return sum(count * max(1, variants[fixture]) for fixture, count in tests.items())


def known(tree: str) -> int:
    """The launch test's cases that are known to fail on a tree."""
    path = TOP / "series" / tree / "expect"
    return len(read_known(path if path.is_file() else None).cases_of(LAUNCH_TEST))


def passing(tree: str) -> int:
    """The launch test's cases that have to pass on a tree."""
    return launch_cases() - known(tree)


def documents() -> list[Path]:
    """All that a number may stand in."""
    pages = [TOP / "README.md", TOP / "CONTRIBUTING.md", *TOP.glob("docs/**/*.md"), *TOP.glob("host/**/*.md"),
             *TOP.glob("series/*.md")]
    return [*pages, *(TOP / "series" / tree / "cover-letter" for tree in TREES), TOP / "host/cover-letter"]


def text_of(path: Path) -> str:
    """Its text, each run of white space as one space."""
    return " ".join(path.read_text(encoding="utf-8").split())


def check_sentences(pattern: str, wanted: Sequence[int], paths: Sequence[Path]) -> None:
    """Fails unless one of the files has the sentence, and each that has it has the right numbers."""
    found = {str(path.relative_to(TOP)): [int(number.replace(",", "")) for number in match.groups()]
             for path in paths for match in re.finditer(pattern, text_of(path))}
    assert found, f"no document has a sentence like \"{pattern}\" any more: mend the rule, or drop it"
    wrong = {name: numbers for name, numbers in found.items() if numbers != list(wanted)}
    assert not wrong, f"\"{pattern}\": expected {list(wanted)}, found {wrong}"


def test_counting_works() -> None:
    """A count of nothing would agree with a document that says nothing."""
    assert launch_cases() > 10 and 0 < known(STABLE) < launch_cases() and known(MAINLINE) == 0
    for tree in TREES:
        assert len(headers(tree)) > 20 and min(caught(tree)) > 0


def test_wrong_versions() -> None:
    stable, mainline = (len(headers(tree)) for tree in TREES)
    check_sentences(r"(\d+) wrong versions \((\d+) on 6\.12\.y, (\d+) on mainline\)", (stable + mainline, stable, mainline),
                    documents())
    check_sentences(r"(\d+) wrong versions of the patches", (stable + mainline,), documents())


def test_bugs_of_the_history() -> None:
    """All of tests/history, those that have to be caught, and recall."""
    entries = corpus()
    must = [entry for entry in entries if any(bug.must_be_caught for bug in entry.bugs.values())]
    shown = [entry for entry in entries if entry.any.shows.in_software]
    pages = documents()
    check_sentences(r"(\d+) bugs that SNP's host code had", (len(entries),), pages)
    check_sentences(r"which test catches each: (\d+) are caught", (len(must),), pages)
    check_sentences(r"PASS: (\d+) bugs: (\d+) caught", (len(entries), len(must)), pages)
    check_sentences(r"recall: (\d+) of (\d+) that software can show",
                    (sum(entry in must for entry in shown), len(shown)), pages)


@pytest.mark.parametrize("tree", TREES)
def test_cover_letter_counts_wrong_versions(tree: str) -> None:
    letter = [TOP / "series" / tree / "cover-letter"]
    check_sentences(r"(\d+) wrong versions", (len(headers(tree)),), letter)
    check_sentences(r"KUnit (\d+), the selftest (\d+), lockdep (\d+)\.", caught(tree), letter)


def test_cases_of_the_launch_test() -> None:
    check_sentences(rf"`{LAUNCH_TEST}` has (\d+) cases", (launch_cases(),), documents())
    check_sentences(r"Of the launch test's (\d+) cases", (launch_cases(),), [TOP / "README.md"])
    check_sentences(r"(\d+) of its (\d+) cases pass", (passing(STABLE), launch_cases()),
                    [TOP / f"series/{STABLE}/cover-letter"])
    check_sentences(r"all of its (\d+) cases pass", (launch_cases(),), [TOP / "series/mainline/cover-letter"])


def test_verdict_in_the_documents() -> None:
    """The sample of README's, and others."""
    check_sentences(r"PASS: 6\.12\.y on [^(]* \(the launch test: (\d+) of (\d+) cases passed, (\d+) known to fail\)",
                    (passing(STABLE), launch_cases(), known(STABLE)), documents())


def test_steps_of_a_run() -> None:
    done = run_snplab("run", "--dry-run", timeout=60)
    expect(done, 0)
    steps = re.findall(r"^\[(\d+)/(\d+)\]", done.stdout, re.M)
    assert steps
    check_sentences(r"\[(\d+)/(\d+)\] boot linux 6\.12\.N on the emulated host", (len(steps), int(steps[-1][1])),
                    [TOP / "README.md"])


def test_sizes_that_kunit_tests() -> None:
    source = KUNIT_SOURCE.read_text(encoding="utf-8")
    sizes = re.search(r"snp_finish_nr_vcpus\[\] = \{ ([^}]+) \};", source)
    most = re.search(r"^#define SNP_FINISH_MAX_VCPUS\s+(\d+)", source, re.M)
    assert sizes and most, "sev_kunit.c: expected SNP_FINISH_MAX_VCPUS and an array snp_finish_nr_vcpus, found not both"
    numbers = [int(size.replace("SNP_FINISH_MAX_VCPUS", most[1])) for size in sizes[1].split(", ")]
    check_sentences(r"with (\d+), (\d+), (\d+) and (\d+) vCPUs", numbers, [TOP / f"series/{STABLE}/cover-letter"])


# --- Lists of patches ---------------------------------------------------------------------------------


def subjects(folder: Path) -> list[str]:
    """The subjects of a queue's patches, in its order, without "[PATCH …]"."""
    return [PatchFile.read(patch).subject for patch in list_series(folder)]


def test_stable_letter_introduces_each_patch() -> None:
    text = read_cover_letter(TOP / f"series/{STABLE}/cover-letter").text
    introduced = re.findall(r"^ (\d+) (\S.*)$", text, re.M)
    assert introduced == [(str(number), subject) for number, subject in enumerate(subjects(TOP / "series" / STABLE), 1)]


def test_mainline_letter_quotes_subjects_that_are_there() -> None:
    quoted = re.findall(r"\"([^\"]+)\"", " ".join(
        line.strip() for line in read_cover_letter(TOP / "series/mainline/cover-letter").text.splitlines()))
    there = [subject.partition(": ")[2] for subject in subjects(TOP / "series/mainline")]
    named = [quote for quote in quoted if not quote.startswith("KVM: ")]
    assert named and not [quote for quote in named if not any(subject.endswith(quote) for subject in there)]


def test_the_table_of_series_has_each_patch_in_order() -> None:
    rows = re.findall(r"^\|[^|]*\|[^|]*\| ([\w-]+) \|", (TOP / "series/README.md").read_text(encoding="utf-8"), re.M)
    names = [patch.stem for tree in (STABLE, BACKLOG, MAINLINE) for patch in list_series(TOP / "series" / tree)]
    assert [row for row in rows if row != "patch"] == names


def test_pages_count_the_backlogs_fixes() -> None:
    """A patch that another one needs is no fix."""
    patches = [PatchFile.read(patch) for patch in list_series(TOP / "series" / BACKLOG)]
    fixes = [patch for patch in patches if not any(line.startswith("Stable-dep-of: ") for line in patch.message)]
    check_sentences(r"6\.12\.y with \[(\d+) further fixes\]", (len(fixes),), [TOP / "README.md"])


def test_host_letter_counts_the_repairs() -> None:
    """The patches before the platform are of use without it."""
    repairs = [patch.name for patch in list_series(TOP / "host")].index(FIRST_OF_PLATFORM)
    check_sentences(r"The first (\d+) patches repair existing emulation", (repairs,), [TOP / "host/cover-letter"])


# --- Others -------------------------------------------------------------------------------------------


def test_exit_statuses() -> None:
    words = {Exit.PASS: "pass", Exit.FAIL: "a test failed", Exit.USAGE: "usage", Exit.SETUP: "set-up failed",
             Exit.SKIP: "skipped", Exit.TIMEOUT: "timed out", Exit.PANIC: "the kernel under test panicked"}
    assert f"Exit status: {', '.join(f'{int(status)} {words[status]}' for status in Exit)}." in text_of(TOP / "README.md")


def benchmark_rows(title: str) -> list[list[float]]:
    """The numbers of a table of docs/benchmark.md, the one below a heading."""
    page = (TOP / "docs/benchmark.md").read_text(encoding="utf-8").partition(f"\n### {title}\n")[2].partition("\n#")[0]
    lines = [line for line in page.splitlines() if re.match(r"\| *\d", line)]
    return [[float(cell.strip(" %").replace(",", "")) for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("title", ("6.12.y", "mainline"))
def test_benchmark_table_adds_up(title: str) -> None:
    """Its last three columns follow from the first three."""
    rows = benchmark_rows(title)
    assert [row[0] for row in rows] == [2 ** power for power in range(10)]
    for vcpus, with_locks, without, lock, each, share in rows:
        assert lock == with_locks - without > 0, vcpus
        assert each == pytest.approx(lock / vcpus, abs=1), vcpus
        assert share == pytest.approx(100 * lock / with_locks, abs=0.01), vcpus


def test_stable_letter_has_the_benchmarks_numbers() -> None:
    rows = benchmark_rows("6.12.y")
    check_sentences(r"the locks cost (\d+) instructions for 1 vCPU and at most (\d+) for each of more",
                    (int(rows[0][4]), int(max(row[4] for row in rows[1:]))), [TOP / f"series/{STABLE}/cover-letter"])
