# SPDX-License-Identifier: GPL-2.0-only
"""Do the pipelines of docs/ci split a run and join it again, and are their files as GitLab and GitHub want them?

Nobody sees a mistake in such a file before a pipeline has run for an hour. Their commands run here on a copy of the
repository with made-up tests, with two shards and one cache, and must give the report of one run. tests/test_ci_boots.py
boots.
"""
from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.core.places import LAYOUT, TOP
from tests.support.front import Done, copy_repository, expect, run_command, run_snplab
from tests.support.pipeline import GITHUB, GITLAB, REPORT, SHARD, Pipeline, read

ABOUT = "docs/ci: the pipelines' commands give the report of one run, and their keys are documented ones"
LANE = "fast"
NEEDS = ("check", "docs")
TAKES = 15

HEAD = 'import pytest\nABOUT = "made up"\nLANE = "fast"\nNEEDS = ()\nTAKES = {}\n'
# The made-up test files, with the seconds that each declares.
TESTS = {"one": (5, "def test_a(): pass\ndef test_b(): pass\n"), "two": (4, "def test_c(): pytest.skip('no moon')\n"),
         "three": (3, "def test_d(): pass\n")}
BAD = "def test_e(): assert 1 == 2\n"
# The keys that https://docs.gitlab.com/ci/yaml/ documents, as far as the file may want them.
GITLAB_KEYS = {
    "": {"variables", "default", "stages", "include", "workflow"},
    "default": {"image", "cache", "tags", "timeout", "retry", "interruptible"},
    "job": {"stage", "parallel", "timeout", "cache", "script", "after_script", "before_script", "artifacts", "needs", "when",
            "image", "rules", "variables", "tags"},
    "cache": {"key", "paths", "when", "policy"}, "artifacts": {"when", "paths", "expire_in", "name"},
    "needs": {"job", "artifacts", "optional"}}
# Those of https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax
GITHUB_KEYS = {
    "": {"name", "on", "permissions", "jobs", "env", "defaults", "concurrency", "run-name"},
    "job": {"name", "runs-on", "container", "timeout-minutes", "strategy", "env", "steps", "needs", "if", "permissions"},
    "strategy": {"fail-fast", "matrix", "max-parallel"}, "step": {"name", "run", "uses", "with", "if", "env", "shell", "id"}}
# The inputs of the actions.
ACTIONS: dict[str, set[str]] = {
    "actions/checkout@v4": set(), "actions/cache@v4": {"path", "key", "restore-keys"},
    "actions/upload-artifact@v4": {"name", "path"}, "actions/download-artifact@v4": {"pattern", "path", "merge-multiple"}}


@pytest.fixture(scope="module", name="original")
def fixture_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with made-up tests."""
    copy = copy_repository(tmp_path_factory.mktemp("ci") / "copy", "host", "series")
    for path in (copy / "tests").glob("test_*"):
        path.unlink()
    for name, (takes, source) in TESTS.items():
        (copy / f"tests/test_{name}.py").write_text(HEAD.format(takes) + source, encoding="utf-8")
    return copy


@pytest.fixture(name="top")
def fixture_top(original: Path, tmp_path: Path) -> Path:
    """Another copy of it."""
    return Path(shutil.copytree(original, tmp_path / "copy", symlinks=True))


def counted(done: Done) -> list[str]:
    """What a report says besides times and places: each file's counts, and the lines below them."""
    files = sorted(re.findall(r"tests: (\S+ … .*), \d+ s$", done.stdout, re.M))
    return files + [line for line in done.stdout.splitlines() if re.match(r"skipped: |failed: |\d+ passed", line)]


@pytest.mark.parametrize("name,fails", [(GITLAB, False), (GITLAB, True), (GITHUB, True)])
def test_two_shards_give_the_report_of_one_run(name: str, fails: bool, top: Path) -> None:
    """The same counts, lines and status, and the logs; a failure in one shard does not hide the other."""
    if fails:
        (top / "tests/test_bad.py").write_text(HEAD.format(1) + BAD, encoding="utf-8")
    cache = {"XDG_CACHE_HOME": str(top.parent / "cache"), "TMPDIR": str(top.parent)}
    pipeline = Pipeline(name, top, "check --lane fast", "")
    shards = pipeline.shards(cache)
    one = run_snplab("check", "--lane", "fast", top=top, env=cache)
    assert sorted(shard.status for shard in shards) == [0, int(fails)], [shard.output for shard in shards]
    # The logs have left the cache, but for those of the run without shards.
    assert len(list((top / "logs").iterdir())) == 2
    assert len(list((top.parent / "cache/snplab" / LAYOUT / "runs").iterdir())) == 1
    report = pipeline.do(REPORT, 0, cache)
    assert (report.status, report.stderr) == (int(fails), "")
    assert counted(report) == counted(one) and len(counted(one)) == (7 if fails else 5)
    assert json.loads((top / "report.json").read_text(encoding="utf-8"))["counts"]["passed"] == 3


def test_a_lost_shard_is_no_pass(top: Path) -> None:
    """A job that was killed leaves no file, or an empty one."""
    cache = {"XDG_CACHE_HOME": str(top.parent / "cache"), "TMPDIR": str(top.parent)}
    pipeline = Pipeline(GITLAB, top, "check --lane fast", "")
    assert pipeline.do(SHARD, 2, cache).status == 0
    expect(pipeline.do(REPORT, 0, cache), 3, "^snplab: expected all 2 shards, found that 1/2 is missing$")


def test_a_shard_with_nothing_to_do(top: Path) -> None:
    """More shards than test files: the rest pass."""
    cache = {"XDG_CACHE_HOME": str(top.parent / "cache"), "TMPDIR": str(top.parent)}
    pipeline = Pipeline(GITHUB, top, "check --lane fast one", "")
    expect(pipeline.do(SHARD, 2, cache), 0, "^PASS: shard 2/2 has nothing to do: 1 in all$")
    assert pipeline.do(SHARD, 1, cache).status == 0
    expect(pipeline.do(REPORT, 0, cache), 0, "^2 passed, 0 failed$")


def test_the_cache_is_in_the_checkout_unless_the_image_says_otherwise(top: Path) -> None:
    """GitLab and GitHub keep folders of the checkout only."""
    for name in (GITLAB, GITHUB):
        assert Pipeline(name, top, "check --lane fast one", "", 1).do(
            SHARD, 1, {"XDG_CACHE_HOME": None, "TMPDIR": str(top.parent)}).status == 0
        assert (top / ".cache/snplab" / LAYOUT).is_dir()
        shutil.rmtree(top / ".cache")


# --- The files ------------------------------------------------------------------------------------------------------


def test_gitlabs_keys() -> None:
    whole = read(GITLAB)
    jobs = {name: job for name, job in whole.items() if name in (SHARD, REPORT)}
    assert len(jobs) == 2 and set(whole) - set(jobs) <= GITLAB_KEYS[""]
    assert set(whole["default"]) <= GITLAB_KEYS["default"]
    for job in jobs.values():
        assert set(job) <= GITLAB_KEYS["job"] and job["stage"] in whole["stages"]
        assert set(job.get("cache", {})) <= GITLAB_KEYS["cache"] and set(job["artifacts"]) <= GITLAB_KEYS["artifacts"]
        assert all(set(need) <= GITLAB_KEYS["needs"] and need["job"] in jobs for need in job.get("needs", []))
        assert all(isinstance(line, str) for part in ("script", "after_script") for line in job.get(part, []))
        # A path of an artifact or a cache is one of the checkout.
        assert not [path for part in ("cache", "artifacts") for path in job.get(part, {}).get("paths", ())
                    if path[0] in "/~"]
    # GitLab: from 1 to 200.
    assert 1 <= jobs[SHARD]["parallel"] <= 200
    assert jobs[REPORT]["when"] == jobs[SHARD]["artifacts"]["when"] == "always"


def test_githubs_keys() -> None:
    whole = read(GITHUB)
    assert set(whole) <= GITHUB_KEYS[""] and set(whole["jobs"]) == {SHARD, REPORT}
    for job in whole["jobs"].values():
        assert set(job) <= GITHUB_KEYS["job"] and set(job.get("strategy", {})) <= GITHUB_KEYS["strategy"]
        for step in job["steps"]:
            assert set(step) <= GITHUB_KEYS["step"] and ("run" in step) != ("uses" in step), step
            assert set(step.get("with", {})) <= ACTIONS[step["uses"]] if "uses" in step else True, step
    shard, report = whole["jobs"][SHARD], whole["jobs"][REPORT]
    assert shard["strategy"]["matrix"]["shard"] == list(range(1, len(shard["strategy"]["matrix"]["shard"]) + 1))
    assert shard["strategy"]["fail-fast"] is False and report["needs"] == SHARD and report["if"] == "${{ !cancelled() }}"


def values(part: Any) -> list[str]:
    """All texts of a file."""
    if isinstance(part, dict):
        return [text for value in part.values() for text in values(value)]
    return [text for value in part for text in values(value)] if isinstance(part, list) else [str(part)]


@pytest.mark.parametrize("name", (GITLAB, GITHUB))
def test_the_image_is_debian_12_and_no_path_is_absolute(name: str) -> None:
    whole = read(name)
    images = [whole["default"]["image"]] if name == GITLAB else [job["container"] for job in whole["jobs"].values()]
    assert set(images) == {"debian:12"}
    assert not [text for text in values(whole) if re.search(r"(^|[\s=:])/[a-z]", text)]


def test_the_page_has_the_pipelines_commands() -> None:
    page = (TOP / "docs/ci/README.md").read_text(encoding="utf-8")
    assert page.splitlines()[2].startswith("    ./snplab mutants --shard ")
    assert all(name in page for name in (GITLAB, GITHUB, "image.sh", "merge"))


# --- The image ------------------------------------------------------------------------------------------------------


def test_install_is_of_all_purposes(tmp_path: Path) -> None:
    """host --install installs what another verb lacks, and host alone does not."""
    copy = copy_repository(tmp_path / "copy", "tests", "docs")
    with open(copy / "lab/build/needs.list", "a", encoding="utf-8") as f:
        f.write("status\tno-such-program\tno-such-package\n")
    shown = r"^ +apt-get .* install --no-install-recommends .*no-such-package"
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    expect(run_snplab("host", "--install", "--dry-run", top=copy, env=env), 0, shown)
    assert not re.search(shown, run_snplab("host", "--dry-run", top=copy, env=env).output, re.M)


@pytest.mark.parametrize("words,message", [
    ((), "usage: image.sh TARGET"), (("a", "b", "c"), "usage: image.sh TARGET"), (("{tmp}",), "expected a new folder")])
def test_image_refuses(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Before anything is fetched."""
    (tmp_path / "debootstrap").symlink_to("/bin/false")
    (tmp_path / "id").write_text("#!/usr/bin/python3\nprint(0)\n", encoding="utf-8")
    (tmp_path / "id").chmod(0o755)
    done = run_command(TOP / "docs/ci/image.sh", *(word.format(tmp=tmp_path) for word in words),
                       env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    expect(done, 2, message)
