# SPDX-License-Identifier: GPL-2.0-only
"""The list of programs for L1, and how `run --test` picks from it.

A misspelt program in the list would be skipped as one that the tree lacks, and a misspelt case in --test would pass as an
empty run: both must be refused or fail. A plain `run` must keep running the same programs.
"""
from __future__ import annotations

from pathlib import Path

import pytest

from lab.core.errors import Stop
from lab.core.places import LAB, TOP
from lab.judge.programs import Origin, Picked, all_programs, pick, program_named, provoked_by, read_programs

ABOUT = "the list of programs for L1, and how run --test picks programs and cases"
LANE = "fast"
NEEDS = ()
TAKES = 1

UPSTREAM = ["sev_smoke_test", "state_test", "svm_vmcall_test", "sev_init2_tests", "sev_migrate_tests", "sev_dbg_test",
            "sync_regs_test", "sev_snp_ghcb_test", "sev_snp_ap_test", "sev_dev_test"]


def words(picked: tuple[Picked, ...]) -> list[str]:
    """The programs' words for L1's init."""
    return [one.word for one in picked]


def test_quick_ones() -> None:
    """A `run` without --test."""
    assert words(pick(None)) == ["kunit", "sev_snp_launch_test"]


def test_all() -> None:
    """`run --test '*'`: upstream's programs and ours in order, without those that take long."""
    ours = ["snp_smp_test", "snp_ap_test", "snp_guest_bench"]
    assert words(pick("*")) == ["kunit", "sev_snp_launch_test", *UPSTREAM, *ours]


def test_long_one_by_its_name() -> None:
    """A long program is picked by its exact name only."""
    assert words(pick("snp_fault_walk")) == ["snp_fault_walk"]
    with pytest.raises(Stop, match=r"no test matches 'snp_fault_\*'"):
        pick("snp_fault_*")


def test_glob() -> None:
    """A pattern picks programs."""
    assert words(pick("sev_[id]*")) == ["sev_init2_tests", "sev_dbg_test", "sev_dev_test"]


def test_no_match() -> None:
    """The message for a misspelt name lists the names."""
    with pytest.raises(Stop, match="^no test matches 'no_such_test'$") as e:
        pick("no_such_test")
    assert e.value.status == 2 and e.value.hints[0].startswith("there are: kunit sev_snp_launch_test sev_smoke_test ")


PICKED = {
    "sev_snp_launch_test:finish_then_run": ("sev_snp_launch_test:-t:finish_then_run", ()),
    "sev_snp_launch_test:snp_launch_smp.2_vcpus.finish_then_run":
        ("sev_snp_launch_test:-r:snp_launch_smp.2_vcpus.finish_then_run", ()),
    "sync_*:req_and_verify_all_valid": ("sync_regs_test:-t:req_and_verify_all_valid", ()),
    "kunit:no_vcpu_is_no_error": ("kunit", ("kunit.filter_glob=*.no_vcpu_is_no_error",)),
    "kunit:suite.nothing_*": ("kunit", ("kunit.filter_glob=suite.nothing_*",)),
}


@pytest.mark.parametrize("glob", PICKED)
def test_case(glob: str) -> None:
    """PROGRAM:CASE picks a case."""
    one, = pick(glob)
    assert (one.word, one.parameters) == PICKED[glob]


@pytest.mark.parametrize(("glob", "message"), [
    ("sev_smoke_test:case", "sev_smoke_test has no cases that can be picked"),
    ("*:case", "has no cases that can be picked"),
    ("sev_snp_launch_test:", "expected a case after the colon"),
    ("sev_snp_launch_test:a:b", "expected a case after the colon"),
    ("sev_snp_launch_test:a b", "expected a case after the colon"),
    ("kunit:a,b", "expected a case after the colon"),
])
def test_no_case(glob: str, message: str) -> None:
    """A program whose cases cannot be picked: refused."""
    with pytest.raises(Stop, match=message) as e:
        pick(glob)
    assert e.value.status == 2


def test_ours_are_there() -> None:
    """Each of our programs has a source, and each source of a program is in the list."""
    names = {program.name for program in all_programs() if program.origin is Origin.OURS}
    folder = TOP / "host/tests/kvm"
    assert names == {path.stem for path in folder.glob("*.c") if "main(" in path.read_text(encoding="utf-8")}


def test_launch_test_provokes() -> None:
    """Three errors, by its invalid ID blocks. With a case picked, three is the most: the number is not known."""
    assert provoked_by(["sev_snp_launch_test"]) == {"firmware": 3}
    assert provoked_by(["sev_snp_launch_test:-t:x", "kunit", "no_such_test"]) == {"firmware": 3}


def test_program_named() -> None:
    """The program's name is found whatever its arguments are."""
    program = program_named("snp_ap_test:-x")
    assert program and program.name == "snp_ap_test"
    assert program_named("snp_") is None


@pytest.mark.parametrize("line", ["a", "a kunit", "a somewhere quick", "a ours often", "a ours quick cases=luck",
                                  "a ours quick errors=x", "a ours quick errors=x:many", "a ours quick more=1",
                                  "a ours quick b"])
def test_bad_line(line: str, tmp_path: Path) -> None:
    """A malformed line is refused, with its number."""
    (tmp_path / "programs").write_text(f"# a list\n{line}\n", encoding="utf-8")
    with pytest.raises(Stop, match="programs:2: expected NAME ORIGIN WHEN .*found: ") as e:
        read_programs(tmp_path / "programs")
    assert e.value.status == 3


@pytest.mark.parametrize(("text", "found"),
                         [("a ours quick\na ours asked\n", "found a twice"), ("# none\n", "found none")])
def test_bad_list(text: str, found: str, tmp_path: Path) -> None:
    """A list with a program twice, or with none, is refused."""
    (tmp_path / "programs").write_text(text, encoding="utf-8")
    with pytest.raises(Stop, match=found):
        read_programs(tmp_path / "programs")


def test_list_of_the_lab() -> None:
    """The list lies beside L1's other files."""
    assert read_programs(LAB / "l1/programs") == all_programs()
