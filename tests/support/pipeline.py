# SPDX-License-Identifier: GPL-2.0-only
"""Runs the commands of docs/ci's pipelines as GitLab and GitHub do: each in a shell that ends at the first failure."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.core.places import TOP
from tests.support.front import Done, run_command

GITLAB, GITHUB = "gitlab-ci.yml", "workflow.yml"
SHARD, REPORT = "shard", "report"
# The command lines that a test runs: those that install packages for the actions of GitHub's are not ours.
OURS = re.compile(r"\./snplab|/snplab/")
EXPRESSION = re.compile(r"\$\{\{ *([a-z_.-]+) *\}\}")


def read(name: str) -> dict[str, Any]:
    """A pipeline's file. YAML 1.1, which python3-yaml reads, takes the key "on" for a truth value."""
    found: dict[Any, Any] = yaml.safe_load((TOP / "docs/ci" / name).read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in found.items()}


@dataclass(frozen=True)
class Pipeline:
    """One of the two files, and a checkout in which its jobs run."""

    name: str
    top: Path
    # The run, and the options of merge.
    run: str
    merge: str
    total: int = 2

    def environment(self, number: int) -> dict[str, str]:
        """The variables of the shard's job, as the file and the system set them."""
        if self.name == GITLAB:
            return {**read(GITLAB)["variables"], "SNPLAB_RUN": self.run, "SNPLAB_MERGE": self.merge,
                    "CI_NODE_INDEX": str(number), "CI_NODE_TOTAL": str(self.total)}
        values = {"matrix.shard": str(number), "strategy.job-total": str(self.total), "inputs.run": self.run,
                  "inputs.merge": self.merge}
        jobs = read(GITHUB)["jobs"]
        wanted = {**jobs[SHARD]["env"], **jobs[REPORT]["env"]}
        return {name: EXPRESSION.sub(lambda found: values[found[1]], text) for name, text in wanted.items()}

    def scripts(self, job: str) -> list[str]:
        """The job's commands: the main ones, then those that run even after a failure."""
        if self.name == GITLAB:
            found = read(GITLAB)[job]
            return ["\n".join(found[part]) for part in ("script", "after_script") if part in found]
        return [step["run"] for step in read(GITHUB)["jobs"][job]["steps"] if OURS.search(step.get("run", ""))]

    def do(self, job: str, number: int, env: Mapping[str, str | None], timeout: float = 600, after: bool = True) -> Done:
        """Runs a job. Returns how its main commands ended. Those that come after, which must not fail, move the logs out of
        the cache and prune it: leave them out where the cache is the user's."""
        done: list[Done] = []
        for script in self.scripts(job)[:None if after else 1]:
            path = self.top.parent / "script"
            path.write_text(script + "\n", encoding="utf-8")
            done.append(run_command("sh", "-e", path, cwd=self.top, timeout=timeout,
                                    env={**self.environment(number), **env}))
        assert [later.status for later in done[1:]] == [0] * (len(done) - 1), done[-1].output
        return done[0]

    def shards(self, *env: Mapping[str, str | None], timeout: float = 600, after: bool = True) -> list[Done]:
        """Runs all shards, one after the other; with an environment for all, or one for each."""
        each = env * self.total if len(env) == 1 else env
        return [self.do(SHARD, number, each[number - 1], timeout, after) for number in range(1, self.total + 1)]
