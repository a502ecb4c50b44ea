# SPDX-License-Identifier: GPL-2.0-only
"""Does `merge` make of the shards' files what one run of all would have written, and does it refuse anything else?

A lost shard must not look like a pass, and a survivor in any shard must fail the whole. The results are made up, and the
verbs' own judges judge them: once all together, once in shards.
"""
from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.check import report as checked
from lab.check.report import File
from lab.check.results import Result
from lab.core.errors import Stop
from lab.core.options import Given
from lab.core.session import Session
from lab.core.shard import Shard
from lab.history.bug import Bug
from lab.judge.boots import Boots
from lab.judge.guest import GuestVerdict, judge_guest
from lab.judge.history import Fate, History, history_of
from lab.judge.merge import merged
from lab.judge.mutants import judge_mutant
from lab.judge.part import Part
from lab.judge.schema import violations
from lab.judge.verdict import BootQuestion
from lab.verbs import history as history_verb
from lab.verbs import mutants as mutants_verb
from lab.verbs.history import Selection
from lab.view.elements import html_text
from lab.view.history_page import history_page
from tests import test_history_judge, test_mutants_judge
from tests.support.front import expect, run_snplab
from tests.support.judge import write_logs
from tests.support.judge_guest import Files, hanging_ktap, ktap, write_boot

ABOUT = "merge makes of the shards' files the report of one run, and refuses files that are not all shards of one run"
LANE = "fast"
NEEDS = ("check", "guest")
TAKES = 8

Json = dict[str, Any]


def part(number: int, total: int, names: Sequence[str]) -> Part:
    """A shard of a made-up run."""
    return Part(Shard(number, total), tuple(names), ("--tree=t",), "0123abcd")


def write(folder: Path, *outputs: Json) -> list[Path]:
    """Writes outputs into files, of which the order does not matter."""
    paths = []
    for number, data in enumerate(outputs):
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(data), encoding="utf-8")
    return paths[::-1]


def check_same(folder: Path, whole: Any, shards: Sequence[Any]) -> None:
    """Fails unless the shards' files give the whole's text, JSON and status. Times and logs are those of the shards."""
    verb, found = merged(write(folder, *(shard.to_json() for shard in shards)))
    differs = ("seconds", "logs")
    assert {**found.to_json(), **{name: None for name in differs}} == {**whole.to_json(), **{name: None for name in differs}}
    assert violations(verb, found.to_json()) == []
    assert found.status == whole.status
    assert found.lines()[:-1] == whole.lines()[:-1]
    assert found.lines()[-1].partition(";")[0] == whole.lines()[-1].partition(";")[0]


# --- mutants --------------------------------------------------------------------------------------------------------

SURVIVOR = (test_mutants_judge.BY_KUNIT, test_mutants_judge.GOOD)
BY_KUNIT = (test_mutants_judge.BY_KUNIT, test_mutants_judge.KUNIT)
BY_LAUNCH = (("Caught-by: sev_snp_launch_test:finish_then_run", test_mutants_judge.NOT_KUNIT), test_mutants_judge.LAUNCH)
MUTANTS = {"a": BY_KUNIT, "b": BY_LAUNCH, "c-d": BY_KUNIT, "c": BY_LAUNCH}


def mutants_of(folder: Path, which: Part, made: dict[str, Any], names: Sequence[str], exit_status: int = 0) -> Any:
    """Judges some mutants in a folder of their own."""
    folder.mkdir(parents=True)
    tree = test_mutants_judge.Tree(folder, exit_status)
    for name in names:
        tree.mutant(name, *made[name])
    found = tree.judged()
    found.part = which
    return found


@pytest.mark.parametrize("made", [MUTANTS, {**MUTANTS, "b": SURVIVOR}], ids=["all caught", "a survivor"])
@pytest.mark.parametrize("split", [("a c", "b c-d"), ("a", "b c c-d", ""), ("a b c c-d",), ("a", "b", "c", "c-d")])
def test_mutants(split: tuple[str, ...], made: dict[str, Any], tmp_path: Path) -> None:
    """The matrix, the cases that caught nothing in any shard, and the survivors. An empty shard is one, too."""
    names = [f"t/{name}" for name in MUTANTS]
    whole = mutants_of(tmp_path / "whole", part(1, 1, names), made, list(MUTANTS))
    shards = [mutants_of(tmp_path / str(number), part(number, len(split), names), made, words.split()) if words else
              Empty(part(number, len(split), names)) for number, words in enumerate(split, 1)]
    check_same(tmp_path, whole, shards)
    assert whole.status == (made["b"] is SURVIVOR)


class Empty:
    """A shard with nothing to do."""

    def __init__(self, which: Part) -> None:
        self.part = which

    def to_json(self) -> Json:
        """As nothing_to_do() writes it."""
        return {"version": 1, "verb": "mutants", "verdict": "pass", "exit": 0, "shard": self.part.to_json()}


def test_one_shards_control_fails(tmp_path: Path) -> None:
    """The whole fails, and says so; the problems of the other shard's mutants are told, too."""
    names = ["t/a", "t/b"]
    made = {"a": SURVIVOR, "b": SURVIVOR}
    _, found = merged(write(tmp_path, mutants_of(tmp_path / "1", part(1, 2, names), made, ["a"]).to_json(),
                            mutants_of(tmp_path / "2", part(2, 2, names), made, ["b"], exit_status=1).to_json()))
    said = "\n".join(found.lines())
    assert found.status == 1 and "t: the series without a mutant does not pass" in said and "t/a: survived" in said
    assert "t/b: survived" not in said and found.to_json()["trees"]["t"]["control"] == "fail"


# --- history --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", (1, 2, 3))
def test_history(total: int, tmp_path: Path) -> None:
    """Each kind of result, the gaps and the recall; and the problem of a control."""
    every = test_history_judge.every_result(tmp_path / "made")
    names, kernels = every.done, {"mainline": "7.3.4"}
    whole = history_of(every.results, ["the control fails"], 7, "logs", kernels, part(1, 1, names))
    shards = [history_of(every.results[number::total], ["the control fails"] if number == 0 else [], 7, "logs", kernels,
                         part(number + 1, total, names)) for number in range(total)]
    check_same(tmp_path, whole, shards)
    _, found = merged([tmp_path / f"{number}.json" for number in range(total)])
    assert isinstance(found, History)
    pages = [html_text(history_page(each)).replace(each.lines()[-1], "") for each in (whole, found)]
    assert pages[0] == pages[1]
    assert whole.gaps == 1 and {row.fate for row in whole.rows} == set(Fate)


def test_history_of_nothing_that_is_booted(tmp_path: Path) -> None:
    """Such a shard passes, as another may boot bugs; all shards together are skipped as one run is."""
    every = test_history_judge.every_result(tmp_path / "made")
    waits = [result for result in every.results if result.fate in (Fate.WAITS, Fate.NEEDS)]
    names = [f"mainline/{result.bug.slug}" for result in waits]
    shards = [history_of([result], [], 1, "logs", {}, part(number, 2, names)) for number, result in enumerate(waits, 1)]
    assert [shard.status for shard in shards] == [0, 0]
    check_same(tmp_path, history_of(waits, [], 2, "logs", {}, part(1, 1, names)), shards)
    assert merged(write(tmp_path, *(shard.to_json() for shard in shards)))[1].status == 4


# --- check ----------------------------------------------------------------------------------------------------------

FILES = [File("a", "fast", 2, [Result("tests/test_a.py::test_x", "passed", 0.5)]),
         File("b", "boot", 3, [Result("tests/test_b.py::test_y", "skipped", 0, "no moon"),
                               Result("tests/test_b.py::test_z", "failed", 1, "", "assert\n1 == 2")]),
         File("c", "long", 4, [])]


def files_of(number: int, total: int, files: Sequence[File], expression: str | None = None) -> checked.Report:
    """The report of check on some of FILES."""
    return checked.Report(part(number, total, [file.name for file in FILES]), expression, 9, "logs", files)


def test_check(tmp_path: Path) -> None:
    """Files, counts, failures and reasons, in the order of the table."""
    check_same(tmp_path, files_of(1, 1, FILES), [files_of(1, 2, FILES[1:]), files_of(2, 2, FILES[:1])])


def test_check_of_no_test(tmp_path: Path) -> None:
    """-k that picks a test of no shard fails as in one run; that it picks none of one shard is no failure."""
    none = [replace(file, results=[]) for file in FILES]
    shards = [files_of(1, 2, none[1:], "zz"), files_of(2, 2, none[:1], "zz")]
    assert [shard.status for shard in shards] == [0, 0]
    check_same(tmp_path, files_of(1, 1, none, "zz"), shards)
    assert merged(write(tmp_path, *(shard.to_json() for shard in shards)))[1].status == 1


# --- guest ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="verdicts")
def fixture_verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GuestVerdict]:
    """A boot that passes, and one that hangs."""
    files = Files.make(tmp_path_factory.mktemp("files"))
    found = {}
    for name, lines in (("good", ktap(files.report())), ("hang", hanging_ktap())):
        logs = write_boot(files.folder / name, lines)
        found[name] = judge_guest(BootQuestion(logs, "t", "1.2.3", "10", ["snp_guest"], emulated=True, snp=True),
                                  files.launch())
    return found


@pytest.mark.parametrize("kinds", ["good good good good", "good good hang good", "good hang hang good",
                                   "hang hang hang hang"])
@pytest.mark.parametrize("total", (1, 2, 3))
def test_guest(total: int, kinds: str, verdicts: dict[str, GuestVerdict], tmp_path: Path) -> None:
    """The boots in their order, and the verdict of the first that failed."""
    names = [str(number) for number in range(1, 5)]

    def boots(which: Part, mine: Sequence[int]) -> Boots:
        found = Boots(which, "logs")
        for number in mine:
            found.add(number, verdicts[kinds.split()[number - 1]])
        return found
    shards = [boots(part(shard, total, names), range(shard, 5, total)) for shard in range(1, total + 1)]
    whole = boots(part(1, 1, names), range(1, 5))
    check_same(tmp_path, whole, shards)
    assert whole.lines()[-1].startswith(f"{'FAIL' if 'hang' in kinds else 'PASS'}: {kinds.count('good')} of 4 boots; ")


# --- The verbs, with recorded boots ---------------------------------------------------------------------------------


class Recorded:
    """Stands in for the boots of one tree's mutants or bugs: half of them fail a case of KUnit, half one of the launch test.
    The judges get the real headers."""

    passed = True

    def __init__(self, _session: Session, _given: Given, tree: str, patches: Sequence[Path | Bug], folder: Path,
                 *_fragments: str) -> None:
        self.tree, self.folder = tree, folder
        self.patches = [patch.patch if isinstance(patch, Bug) else patch for patch in patches]

    def run(self) -> None:
        """Writes the logs of all boots, and judges them."""
        made, control = test_mutants_judge, self.folder / "control"
        write_logs(control, made.GOOD, [made.LINUX, ""], host=made.COUNTED)
        (control / "verdict.json").write_text('{"exit": 0, "verdict": "pass", "linux": "1.2.3"}', encoding="utf-8")
        (self.folder / "mutants").write_text("".join(f"{patch}\n" for patch in self.patches), encoding="utf-8")
        for patch in self.patches:
            ktap = (made.KUNIT, made.LAUNCH)[len(patch.stem) % 2]
            write_logs(self.folder / patch.stem, ktap, [made.LINUX], host=made.COUNTED)
            judge_mutant(self.tree, patch, self.folder / patch.stem, control, made.TESTS)


@pytest.mark.parametrize("total", (1, 3))
@pytest.mark.parametrize("verb", (mutants_verb, history_verb), ids=("mutants", "history"))
def test_all_of_a_verb(verb: Any, total: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                       capsys: pytest.CaptureFixture[str]) -> None:
    """Shards of all real mutants and bugs, split by the verb itself, give the verb's own report on all of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mutants_verb, "TreeRun", Recorded)
    monkeypatch.setattr(history_verb, "HistoryRun", Recorded)
    monkeypatch.setattr(Selection, "find_stale", lambda selection, *_: setattr(selection, "linux", "1.2.3"))

    def run(which: Shard) -> tuple[int, Path]:
        session = Session(verb.__name__.rpartition(".")[2])
        session.json = tmp_path / f"{which.number}-{which.total}.json"
        status = verb.main(session, Given(values={"--shard": str(which)}))
        session.clean_up()
        return status, session.json
    whole = run(Shard())
    said = capsys.readouterr().out.splitlines()
    _, found = merged([run(Shard(number, total))[1] for number in range(1, total + 1)])
    one, joined = json.loads(whole[1].read_text(encoding="utf-8")), found.to_json()
    for data in (one, joined):
        data.update(logs="", seconds=0)
    assert joined == one and len(joined["shard"]["names"]) > 70
    assert found.status == whole[0]
    assert found.lines()[:-1] == said[:-1]


# --- What is refused ------------------------------------------------------------------------------------------------


def two() -> list[Json]:
    """The files of two shards."""
    return [files_of(1, 2, FILES[1:]).to_json(), files_of(2, 2, FILES[:1]).to_json()]


def shard(index: int, **fields: Any) -> Callable[[list[Json]], object]:
    """Changes fields of a file's shard."""
    return lambda files: files[index]["shard"].update(fields)


REFUSED: dict[str, tuple[Callable[[list[Json]], object], str]] = {
    "a shard is missing": (lambda files: files.pop(), "expected all 2 shards, found that 2/2 is missing"),
    "a shard is there twice": (lambda files: files.append(copy.deepcopy(files[0])),
                               "expected each shard once, found shard 1/2 in"),
    "another verb": (lambda files: files.append(Empty(part(2, 2, "abc")).to_json()), "found another verb: "),
    "another commit": (shard(0, commit="ffff-dirty"), "found another commit of snplab: "),
    "an unknown commit": (shard(0, commit=None), "found another commit of snplab: "),
    "another command line": (shard(1, request=["--lane=fast"]), "found another command line but for --shard: "),
    "another number of shards": (shard(0, total=3), "found another number of shards: "),
    "other names": (shard(1, names=["a", "b", "d"]), "split other things: c, d"),
    "a number beyond": (shard(1, number=3), "expected a shard I/N with I <= N, found 3/2"),
    "no shard": (lambda files: files[0].pop("shard"), "'shard' is a required property"),
    "a result is missing": (lambda files: files[0]["files"].pop(), "of the 3, found some without a result: c"),
    "a result is there twice": (lambda files: files[1]["files"].append(files[0]["files"][0]),
                                "found some with two results: b"),
    "another schema": (lambda files: files[0].update(more=1), "as docs/json.md has it, found: "),
    "another type": (lambda files: files[0].update(files=3), "as docs/json.md has it, found: files: 3 is not of type"),
    "another version": (lambda files: files[0].update(version=2),
                        "as docs/json.md has it, found: version: 1 was expected"),
    "a verb without shards": (lambda files: files[0].update(verb="run"),
                              "expected the JSON of mutants, history, check, guest, found run"),
    "no verb": (lambda files: files[0].clear(), "found no verb"),
    "a verb of another type": (lambda files: files[0].update(verb=["run"]), "found ['run']"),
    "a file that no shard has": (lambda files: files[0]["files"].append({**files[0]["files"][0], "name": "z"}),
                                 "found some that no shard was to have: z"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    files = two()
    change, message = REFUSED[name]
    change(files)
    with pytest.raises(Stop) as stop:
        merged(write(tmp_path, *files))
    assert stop.value.status == 3 and message in stop.value.message, stop.value.message


def test_another_kernel(tmp_path: Path) -> None:
    every = test_history_judge.every_result(tmp_path / "made")
    files = [history_of(every.results[number::2], [], 7, "logs", {"mainline": f"7.3.{number}"},
                        part(number + 1, 2, every.done)).to_json() for number in range(2)]
    with pytest.raises(Stop, match="mainline: expected the same kernel in all shards, found linux 7.3.0 in"):
        merged(write(tmp_path, *files))


def test_a_header_that_no_run_writes(tmp_path: Path) -> None:
    """The schema cannot know that a bug that was caught has a class."""
    every = test_history_judge.every_result(tmp_path / "made")
    every.part = part(1, 1, every.done)
    data = every.to_json()
    for bug in data["bugs"]:
        bug["header"].pop("Class", None)
    with pytest.raises(Stop, match="found a value that no run writes: 'Class'"):
        merged(write(tmp_path, data))


@pytest.mark.parametrize("verdict,status,expected", [
    ("setup-failed", 3, 3), ("interrupted", 130, 3), ("usage", 2, 2), ("skip", 4, 4), ("fail", 1, 1)])
def test_a_run_without_a_verdict(verdict: str, status: int, expected: int, tmp_path: Path) -> None:
    """A shard whose set-up failed: the whole has no verdict either."""
    failure = {"version": 1, "verb": "check", "verdict": verdict, "exit": status}
    with pytest.raises(Stop) as stop:
        merged(write(tmp_path, failure, two()[1]))
    assert f"0.json: expected a shard's verdict, found that its run ended without: {verdict}" in stop.value.message
    assert stop.value.status == expected


@pytest.mark.parametrize("text,message", [
    ("", "found an empty file"), ("{", "expected JSON, found: "), ("[]", "expected a JSON object"),
    ("[" * 100000, "expected JSON"), (None, "expected a JSON file that can be read"), ("\udcff", "it is no text")])
def test_no_json(text: str | None, message: str, tmp_path: Path) -> None:
    paths = write(tmp_path, *two())
    if text is None:
        paths[0].unlink()
    else:
        paths[0].write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(Stop) as stop:
        merged(paths)
    assert stop.value.status == 3 and message in stop.value.message


# --- The verb -------------------------------------------------------------------------------------------------------


def test_the_verb(tmp_path: Path) -> None:
    """It prints the report, writes the JSON, and exits as one run would; the JSON can be merged again."""
    out = tmp_path / "out"
    done = run_snplab("merge", *write(tmp_path, *two()), "--json", out)
    expect(done, 1, "^failed: b: test_z$")
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed, 1 skipped" and done.stderr == ""
    again = run_snplab("merge", out)
    assert (again.status, again.stdout) == (1, done.stdout)


def test_files_in_the_users_home(tmp_path: Path) -> None:
    """Their names are shown with a tilde."""
    done = run_snplab("merge", *write(tmp_path, *two()), env={"HOME": str(tmp_path)})
    expect(done, 1, "^1 passed, 1 failed, 1 skipped$")
    expect(run_snplab("merge", tmp_path / "0.json", tmp_path / "0.json", env={"HOME": str(tmp_path)}), 3,
           "found shard 1/2 in ~/0.json and in ~/0.json$")


def test_the_page(tmp_path: Path) -> None:
    names = ["t/a", "t/b"]
    files = write(tmp_path, *(mutants_of(tmp_path / name, part(number, 2, names), MUTANTS, [name]).to_json()
                              for number, name in enumerate("ab", 1)))
    expect(run_snplab("merge", *files, "--html", tmp_path / "page"), 0, "^PASS: 2 mutants: 2 caught, 0 survived; ")
    page = (tmp_path / "page").read_text(encoding="utf-8")
    assert page.count("<code>a</code>") == page.count("<code>b</code>") == 1


@pytest.mark.parametrize("words,message", [
    ((), "merge wants the files that the shards wrote with --json, found none"),
    (("{0}", "{1}", "--html", "{2}"), "--html goes with the files of mutants and history: check has no page"),
    (("{0}", "{1}", "--json", "{0}"), "0.json is one of the files to read"),
    (("--json={0}", "{0}", "{1}"), "0.json is one of the files to read"),
    (("{0}", "--frob"), "merge has no option --frob")])
def test_usage(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """The files stay as they are."""
    paths = write(tmp_path, *two())[::-1]
    before = [path.read_bytes() for path in paths]
    done = run_snplab("merge", *(word.format(*paths, tmp_path / "page") for word in words))
    expect(done, 2, message)
    assert [path.read_bytes() for path in paths] == before and not (tmp_path / "page").exists()


def test_a_refusal_is_written(tmp_path: Path) -> None:
    """The file of --json does not keep an old verdict."""
    done = run_snplab("merge", write(tmp_path, *two())[0], "--json", tmp_path / "out")
    expect(done, 3, "hint: run: ./snplab check --shard 1/2 --json FILE --tree=t$")
    assert json.loads((tmp_path / "out").read_text(encoding="utf-8")) == {
        "version": 1, "verb": "merge", "verdict": "setup-failed", "exit": 3}
