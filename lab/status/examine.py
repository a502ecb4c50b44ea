# SPDX-License-Identifier: GPL-2.0-only
"""Examines a kernel tree: asks the questions about its functions; the rules of shapes.py judge the answers."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lab.core.process import Processes
from lab.status import shapes
from lab.status.find import Launch, look_around, no_launch_code, pick, read_candidates
from lab.status.report import CannotSay, Decided, Report, Verdict
from lab.status.source import conditional_lines, narrow
from lab.status.spatch import Marks, Question, Spatch, installed
from lab.status.tree import Tree, read_tree

RULES = Path(__file__).parent
MAIN = "virt/kvm/kvm_main.c"
LOCK_ALL = "kvm_lock_all_vcpus"


def nothing() -> None:
    """The default for `install`."""


def examine(name: str, processes: Processes, install: Callable[[], None] = nothing, rules: Path = RULES) -> Report:
    """Examines the kernel tree in the folder NAME. Calls `install` before it needs coccinelle."""
    report = Report(name)
    try:
        tree = read_tree(name)
        report.linux = tree.version
        files = tree.candidates()
        if not files:
            report.verdict = no_launch_code(tree)
            return report
        install()
        if not installed():
            raise CannotSay("spatch is missing: the control flow is checked with coccinelle",
                            "to do: apt-get install coccinelle")
        with Spatch(rules, processes) as spatch:
            report.verdict = Examination(tree, spatch, report).verdict(files)
    except Decided as e:
        report.verdict = e.verdict
    except CannotSay as e:
        report.complaint = [e.message, *e.details]
    return report


class Examination:
    """The examination of a tree that has launch code."""

    def __init__(self, tree: Tree, spatch: Spatch, report: Report) -> None:
        self.tree = tree
        self.spatch = spatch
        self.report = report

    def verdict(self, files: list[str]) -> Verdict:
        """The verdict on the launch code in these files."""
        code, function = pick(self.tree, read_candidates(self.tree, files, self.spatch))
        self.report.function = function
        launch = look_around(code, function, self.spatch)
        around = self.around(launch)
        verdict = shapes.first_verdict(shapes.AROUND, around)
        if verdict is not None:
            return verdict
        if around.locked_above or launch.lock:
            verdict = shapes.first_verdict(shapes.WITH_LOCK, self.with_lock(launch, around))
        else:
            verdict = shapes.first_verdict(shapes.WITHOUT_LOCK, self.without_lock(launch, around))
        assert verdict is not None, "the last rule of a list always has a verdict"
        return verdict

    def ask(self, launch: Launch, questions: dict[str, Question]) -> dict[str, Marks]:
        """Asks all questions; returns the answers by the questions' names."""
        return dict(zip(questions, self.spatch.ask_all(questions.values(), launch.source)))

    def around(self, launch: Launch) -> shapes.Around:
        """Asks whether the callers or the helper lock."""
        ask, helper = launch.question, launch.helper
        questions = {"site": ask("site", launch.function, helper)}
        questions |= {f"lock.{caller}": ask("lock", caller) for caller in launch.callers}
        if helper:
            questions |= {f"helper.{rule}": ask(rule, helper) for rule in ("lock", "unlock", "helper")}
        marks = self.ask(launch, questions)
        return shapes.Around(
            launch, marks["site"], {caller: marks[f"lock.{caller}"] for caller in launch.callers},
            *(marks.get(f"helper.{rule}", Marks()) for rule in ("lock", "unlock", "helper")))

    def without_lock(self, launch: Launch, around: shapes.Around) -> shapes.WithoutLock:
        """For code without kvm_lock_all_vcpus(): asks whether anything else locks, here or up to two callers above."""
        ask, helper = launch.question, launch.helper
        questions = {"foreign": ask("foreign", launch.function, virtual="nolock"),
                     "onevcpu": ask("onevcpu", launch.function, helper)}
        if helper:
            questions["foreign.helper"] = ask("foreign", helper, virtual="nolock")
            questions["onevcpu.helper"] = ask("onevcpu", helper)
        for caller in launch.callers:
            questions |= {f"foreign.{caller}": ask("foreign", caller), f"caller.{caller}": ask("caller", caller)}
        marks = self.ask(launch, questions)
        above = [function for caller in launch.callers for function in marks[f"caller.{caller}"].functions()]
        locks = self.spatch.ask_all([ask("lock", function) for function in above], launch.source)
        foreign = [marks.get(name, Marks()) for name in ("foreign", "foreign.helper")]
        foreign += [marks[f"foreign.{caller}"] for caller in launch.callers] + locks
        return shapes.WithoutLock(launch, around.site, sum(foreign, Marks()),
                                  marks["onevcpu"] + marks.get("onevcpu.helper", Marks()))

    def with_lock(self, launch: Launch, around: shapes.Around) -> shapes.WithLock:
        """For code with kvm_lock_all_vcpus(): asks about the control flow of the function that calls it."""
        function = around.locked_above or launch.function
        step = launch.function if around.locked_above else launch.helper
        ask = launch.question
        rules = ["notheld", "understood", "leak", "conditional", "creation", "unlock"]
        # look_around() has asked "foreign" about the function that encrypts.
        rules += ["foreign"] if around.locked_above else []
        questions = {rule: ask(rule, function) for rule in rules}
        questions["unlocked"] = ask("unlocked", function, step)
        if launch.helper:
            questions["foreign.helper"] = ask("foreign", launch.helper)
        main = self.main_with_lock()
        if main:
            self.spatch.write("main.c", narrow(main, [LOCK_ALL]))
            questions["creation.main"] = Question("creation", "main.c", LOCK_ALL)
        marks = self.ask(launch, questions)
        self.note_creation(function, bool(main), bool(marks["creation"] or marks.get("creation.main")))
        starts = (launch.code.launch + launch.caller_marks).defining(function)
        lock = around.caller_locks[function] if around.locked_above else launch.lock
        return shapes.WithLock(
            launch, function, lock=lock, unlock=marks["unlock"], unlocked=marks["unlocked"],
            understood=marks["understood"], leak=marks["leak"], not_held=marks["notheld"],
            conditional=marks["conditional"],
            foreign=marks.get("foreign", launch.foreign) + marks.get("foreign.helper", Marks()),
            if_lines=conditional_lines(launch.code.text, starts))

    def main_with_lock(self) -> str:
        """The text of the file that defines kvm_lock_all_vcpus(); "" if it does not define it."""
        if not self.tree.has(MAIN):
            return ""
        text = self.tree.text(MAIN)
        return text if LOCK_ALL in text else ""

    def note_creation(self, function: str, has_lock: bool, refused: bool) -> None:
        """Adds notes for the user that do not change the verdict."""
        if not has_lock:
            self.report.notes.append(f"{LOCK_ALL}() is called, but {MAIN} does not have it: this tree may not build")
        elif not refused:
            self.report.notes.append(f"a vCPU whose creation is in progress is refused neither by {function}() nor by "
                                     f"{LOCK_ALL}(): no lock holds it (kvm_is_vcpu_creation_in_progress())")
