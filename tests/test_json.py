# SPDX-License-Identifier: GPL-2.0-only
"""The JSON outputs have the fields that docs/json.md documents.

A program that reads them breaks when a field goes, or changes its name or type, and nobody else notices. The outputs here
are the judges' verdicts on the other tests' made-up logs, so that each way a boot can end is among them. Each must match
its schema, which allows no undocumented field.
"""
from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lab.attest import attestation
from lab.attest.answer import Question, answer
from lab.attest.explain import Claim
from lab.attest.launch_digest import measured_kernel, named_signature, read_firmware
from lab.check import report as checked
from lab.check.report import OUTCOMES, File
from lab.check.results import Result
from lab.core.places import LAB
from lab.core.session import Session
from lab.core.shard import Shard
from lab.history.corpus import Entry
from lab.history.presence import Answer
from lab.judge import bisection
from lab.judge.bench import BenchQuestion, judge_bench
from lab.judge.boots import Boots
from lab.judge.files import read_json, versioned
from lab.judge.guest import judge_guest
from lab.judge.history import Fate
from lab.judge.part import Part, nothing_to_do
from lab.judge.schema import DOCUMENT, Schema, schemas, violations
from lab.judge.verdict import BootQuestion, judge
from lab.status.report import Report
from tests import test_bench_judge, test_history_judge, test_history_status, test_mutants_judge, test_verdict
from tests.attest import certs
from tests.support.judge import write_logs
from tests.support.judge_guest import NONCE, Files, hanging_ktap, ktap, write_boot

ABOUT = "every JSON output has the fields that docs/json.md documents, and no others"
LANE = "fast"
NEEDS = ("check", "guest", "attest")
TAKES = 6

Json = dict[str, Any]


SCHEMAS = schemas()
OUTPUTS = [name for name in SCHEMAS if name != "shared"]


def hold(name: str, data: Json) -> None:
    """Fails unless the output in a file matches its schema."""
    data = json.loads(json.dumps(data))
    assert violations(name, data) == []
    if "version" in SCHEMAS[name]["properties"]:
        assert next(iter(data)) == "version"


# --- The document ---------------------------------------------------------------------------------------------------


def objects(schema: Any) -> Iterator[Schema]:
    """The schemas of all objects with named fields."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema(name: str) -> None:
    """Each is a valid JSON Schema whose references exist."""
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    for reference in re.findall(r'"\$ref": "([^"]*)"', json.dumps(SCHEMAS[name])):
        target, _, path = reference.partition("#")
        part: Any = SCHEMAS[target or name]
        for step in path.split("/")[1:]:
            part = part[step]


# Optional fields, whose descriptions say when they are there; and host.json, which QEMU writes.
SOMETIMES = {"known", "caught", "not as named", "survived", "not judged", "ended", "guest-errors", "errors",
             "statistics", "missing", "boots", "shard"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_always_there(name: str) -> None:
    """A schema requires all documented fields but a few, and forbids others."""
    for part in objects(SCHEMAS[name]):
        assert set(part["properties"]) - set(part.get("required", ())) <= SOMETIMES
        assert part.get("additionalProperties") is False or "guest-errors" in part["properties"]


def test_the_table_names_all() -> None:
    """The table at the top has a row for each output, and its links lead to sections."""
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| \[`([\w-]+)`\]", text, re.M))
    assert rows == set(OUTPUTS) - {"mutant"}
    sections = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.*)$", text, re.M)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= sections


# --- The outputs ----------------------------------------------------------------------------------------------------

# The host.json of a QEMU that does not answer.
UNCOUNTED: Json = {"object": "/machine/amd-snp", "ended": None, "reason": None, "guest-errors": None,
                   "errors": {}, "statistics": {}, "missing": "no answer to qom-list within 5 s"}
BOOTS: dict[str, test_verdict.Ask] = {
    "a host that does not count": test_verdict.emulated(json.dumps(UNCOUNTED)),
    **{name: row[0] for name, row in test_verdict.RESULTS.items()},
    **{name: row[0] for name, row in test_verdict.HOST.items()},
    **{name: test_verdict.Ask(row[0], wanted=test_verdict.LAUNCH_TEST, expect=row[1])
       for name, row in test_verdict.CASES.items()}}


def run_output(ask: test_verdict.Ask, tmp_path: Path) -> Json:
    """The JSON that `run` writes on such a boot."""
    marks = {} if ask.timed_out is None else {"timed_out": ask.timed_out}
    logs = write_logs(tmp_path / "logs", ask.ktap, ask.kernel, host=ask.host, host_log=ask.host_log, **marks)
    (tmp_path / "expect").write_text("\n".join(ask.expect) + "\n", encoding="utf-8")
    return judge(BootQuestion(logs, "t", "1.2.3", "10", ask.wanted, expect=tmp_path / "expect",
                              stages=[(3, "build"), (4, "boot")], **dict(ask.settings))).to_json()


@pytest.mark.parametrize("name", BOOTS)
def test_run(name: str, tmp_path: Path) -> None:
    """`run`: each way that a boot can end."""
    hold("run", run_output(BOOTS[name], tmp_path))


GUESTS: dict[str, tuple[bool | None, dict[str, Any], dict[str, Any]]] = {
    "good": (True, {}, {}), "hang": (False, {}, {}), "another kernel": (True, {"kernel": "kernel2"}, {}),
    "no firmware": (True, {"firmware": "kernel"}, {}), "no report": (None, {}, {}),
    "a time-out": (True, {}, {"timed_out": "9"}), "no times": (True, {}, {"times": ""})}


@pytest.mark.parametrize("name", GUESTS)
def test_guest(name: str, tmp_path: Path) -> None:
    """`guest`: with a report, without one, with a wrong one, and without a guest."""
    booted, launch, logs = GUESTS[name]
    files = Files.make(tmp_path)
    lines = hanging_ktap() if booted is False else ktap(files.report() if booted else b"")
    folder = write_boot(tmp_path / "logs", lines, **logs)
    asked = BootQuestion(folder, "t", "1.2.3", "10", ["snp_guest"], emulated=True, snp=True)
    given = judge_guest(asked, files.launch(**launch))
    given.write()
    hold("guest", read_json(folder / "verdict.json"))
    boots = Boots(Part(names=("1", "2")), "logs")
    boots.add(1, given)
    hold("guest", boots.to_json())
    assert bool(given.to_json()["attestation"]) == (given.boot.status.exit == 0)


def test_mutants(tmp_path: Path) -> None:
    """`mutants`: each kind of result, and each mutant's own file."""
    made = test_mutants_judge
    tree = made.Tree(tmp_path)
    tree.mutant("caught", made.BY_KUNIT, made.KUNIT)
    tree.mutant("survived", made.BY_KUNIT)
    tree.mutant("not-as-named", ("Caught-by: sync_regs_test", "Not-run: kunit: why", *made.BY_KUNIT), made.LAUNCH)
    tree.mutant("not-judged", made.BY_KUNIT, made.HALF, made.PANIC)
    tree.lists(tree.tmp / "not-run.patch")
    data = tree.judged().to_json()
    hold("mutants", data)
    assert set(data["counts"]) == {"mutants", "caught", "not as named", "survived", "not judged"}
    for name in ("caught", "survived", "not-as-named", "not-judged"):
        result = read_json(tree.folder / name / "result.json")
        assert result.pop("version") == 1
        hold("mutant", result)


def test_mutants_without_a_control(tmp_path: Path) -> None:
    """`mutants`: the boot of the series itself left no logs."""
    tree = test_mutants_judge.Tree(tmp_path)
    (tree.folder / "control/verdict.json").unlink()
    hold("mutants", tree.judged().to_json())


@pytest.mark.parametrize("limit", [None, 10])
def test_bench(limit: int | None, tmp_path: Path) -> None:
    """`bench`: good counts and bad ones, with a line of the locks and without."""
    paths = []
    for i, each in enumerate((1000, 1001, 900, 900)):
        paths.append(tmp_path / str(i))
        paths[-1].write_text("\n".join(test_bench_judge.counts(500, each)) + "\n", encoding="utf-8")
    for boots, lines in ((paths[:2], 1), (paths[2:], 0)):
        data = judge_bench(BenchQuestion("T", "1.2.3", 8, 3, boots, paths[2:], limit)).to_json()
        hold("bench", data)
        assert len(data["lock-lines"]) == lines


PROGRAMS = {"passes": ("ok 1 a", 0), "fails": ("not ok 1 a", 1), "says odd things": ('ok 1 a # SKIP "no\\" \t', 4)}


@pytest.mark.parametrize("name", ["--check", *PROGRAMS])
def test_hw(name: str, tmp_path: Path) -> None:
    """lab/hw.sh, which writes JSON by itself, on a machine that lacks everything."""
    (tmp_path / "root").mkdir()
    program = tmp_path / "program"
    result, status = PROGRAMS.get(name, ("", 0))
    program.write_text(f"#!/usr/bin/python3\nprint('1..1')\nprint({result!r})\nraise SystemExit({status})\n",
                       encoding="utf-8")
    program.chmod(0o755)
    words = ["--check"] if name == "--check" else ["--force", "--binary", str(program)]
    subprocess.run(["sh", LAB / "hw.sh", "--json", tmp_path / "json", *words], stdin=subprocess.DEVNULL,
                   env={"SNPLAB_HW_ROOT": str(tmp_path / "root")}, capture_output=True, check=False, timeout=60)
    data = read_json(tmp_path / "json")
    hold("hw", data)
    assert data["missing"] > 0 and len(data["checks"]) > 5


@pytest.mark.parametrize("word", bisection.Word)
def test_bisect_step(word: bisection.Word) -> None:
    """`bisect-step`: each answer."""
    step = bisection.Step("~/linux", "6.12.9", bisection.Commit("abc", "x: Do"), bisection.Answer(word, "why"), 7, "~/logs")
    hold("bisect-step", step.to_json())


def test_status() -> None:
    """`status`: a tree that it could not examine; the same function writes the other verdicts."""
    hold("status", json.loads(Report("somewhere").json()))


def test_status_all(tmp_path: Path) -> None:
    """`status --all`: each answer."""
    world = test_history_status.World(tmp_path)
    entry = Entry("unchecked-vcpu", {"mainline": world.bug(test_history_status.removal("launch"))})
    hold("status-all", json.loads(test_history_status.report(Answer, entry).json()))


def test_history(tmp_path: Path) -> None:
    """`history`: each result."""
    found = test_history_judge.every_result(tmp_path)
    assert {row.fate for row in found.rows} == set(Fate)
    hold("history", found.to_json())


def test_check() -> None:
    """`check`: each result."""
    results = [Result("tests/test_a.py::test_b", outcome, 0.5, "no moon", "why") for outcome in OUTCOMES]
    found = checked.Report(Part(names=("a",)), None, 3, "logs", [File("a", "fast", 2, results)])
    hold("check", found.to_json())


def test_nothing_to_do(tmp_path: Path) -> None:
    """A shard for which nothing is left."""
    session = Session("check")
    session.json = tmp_path / "json"
    assert nothing_to_do(session, Part(Shard(2, 2), ("a",), ("--lane=fast", "a"))) == 0
    hold("empty-shard", read_json(tmp_path / "json"))


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cache`: a cache with an unused folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = Session("cache").cache.folder("work")
    (root / "old").mkdir()
    (root / "old/file").write_text("x" * 10000)
    subprocess.run([sys.executable, "-I", "-B", LAB, "cache", "--json", tmp_path / "json"], check=True,
                   capture_output=True, timeout=60)
    hold("cache", read_json(tmp_path / "json"))


def test_attest(tmp_path: Path) -> None:
    """`attest`: nothing asked, a launch as it was, one with one change, one with several; and certificates."""
    files = Files.make(tmp_path)
    (tmp_path / "report").write_bytes(files.report())
    hold("attest", versioned(answer(Question(tmp_path / "report")).to_json()))
    launch = files.launch()
    claim = Claim(read_firmware(launch.firmware), 2, "EPYC-Milan", named_signature("EPYC-Milan"),
                  measured_kernel(launch.kernel, launch.initrd, launch.append))
    for said, found in ((claim, []), (replace(claim, vcpus=3), [{"kind": "CPUs", "measured": "2 CPUs", "said": "3"}]),
                        (replace(claim, vcpus=3, features=0x21, host_mce=False), [])):
        data = answer(Question(tmp_path / "report", tmp_path / "stranger.pem", claim=said)).to_json()
        hold("attest", versioned(data))
        assert data["measurement"]["changes"] == found
    chain = [certs.new_root(tmp_path, "ARK"), certs.new_leaf(tmp_path, tmp_path / "vcek.priv", certs.Leaf(), issuer="ARK")]
    data = answer(Question(tmp_path / "report", chain=chain)).to_json()
    hold("attest", versioned(data))
    assert len(data["certificates"]) == 2


def test_attestation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The checker of reports, run as a program."""
    files = Files.make(tmp_path)
    for key in ("vcek", "stranger"):
        (tmp_path / "report").write_bytes(files.report(key))
        attestation.main(["--digest", files.digest, "--report-data", NONCE.encode().hex(),
                          "--json", str(tmp_path / "json"), "--key", str(tmp_path / "vcek.pem"),
                          str(tmp_path / "report")])
        hold("attestation", read_json(tmp_path / "json"))
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "word"), [
    (1, "fail"), (2, "usage"), (3, "setup-failed"), (4, "skip"), (130, "interrupted")])
def test_failure(status: int, word: str, tmp_path: Path) -> None:
    """A verb that ends without a verdict."""
    session = Session("run")
    session.json = tmp_path / "json"
    session.json_of_failure(status)
    data = read_json(tmp_path / "json")
    hold("failure", data)
    assert (data["verdict"], data["exit"]) == (word, status)


# --- What would be found --------------------------------------------------------------------------------------------

WRONG: dict[str, Callable[[Json], object]] = {
    "a field is missing": lambda data: data.pop("known_failures"),
    "the version is missing": lambda data: data.pop("version"),
    "another version": lambda data: data.update(version=2),
    "a field that is not documented": lambda data: data.update(more=1),
    "another type": lambda data: data.update(passed="2"),
    "another word": lambda data: data.update(verdict="good"),
    "a field below that is not documented": lambda data: data["tests"][0].update(more=1),
    "a field below is missing": lambda data: data["tests"][0].pop("reason"),
    "another word below": lambda data: data["tests"][0].update(result="good"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_change_is_found(name: str, tmp_path: Path) -> None:
    """An output with one wrong field fails its schema."""
    data = run_output(test_verdict.Ask(), tmp_path)
    changed = copy.deepcopy(data)
    WRONG[name](changed)
    assert violations("run", data) == [] and len(violations("run", changed)) == 1
