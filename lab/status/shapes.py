# SPDX-License-Identifier: GPL-2.0-only
"""The rules that turn the marks of spatch into a verdict.

A rule returns a verdict, or None if it does not apply. The first rule of a list that applies decides. Rules for unknown
shapes of code come before rules that would mistake such code for a known shape.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from lab.status.find import Launch
from lab.status.report import CVE, Finding, Verdict, Word
from lab.status.spatch import Marks


@dataclass(frozen=True)
class Facts:
    """The facts that the rules judge; the classes below add more."""

    launch: Launch

    def at(self, word: Word, lines: Iterable[int], message: str, quoted: Marks = Marks()) -> Verdict | None:
        """A verdict based on some lines of the file; None if there are no lines. The message ends with the line's text if
        the line is among the marks `quoted`."""
        findings = tuple(Finding(self.launch.source, line, message + quoted.text_at(line)) for line in lines)
        return Verdict(word, findings) if findings else None

    def unknown(self, line: int, message: str, quoted: Marks = Marks()) -> Verdict | None:
        """The verdict UNKNOWN because of one line."""
        return self.at(Word.UNKNOWN, [line], message, quoted)


F = TypeVar("F", bound=Facts)


def first_verdict(rules: Iterable[Callable[[F], Verdict | None]], facts: F) -> Verdict | None:
    """The verdict of the first rule that has one."""
    return next((verdict for rule in rules if (verdict := rule(facts)) is not None), None)


# ---- where is the lock?


@dataclass(frozen=True)
class Around(Facts):
    """The locks in the function's helper and callers."""

    site: Marks
    caller_locks: dict[str, Marks]
    helper_lock: Marks
    helper_unlock: Marks
    # Functions that the helper calls to encrypt.
    helper_helper: Marks

    @property
    def locked_above(self) -> str:
        """The caller that locks; "" if none does."""
        return next((caller for caller in reversed(self.launch.callers) if self.caller_locks[caller]), "")


def defined_twice(facts: Around) -> Verdict | None:
    """The function is defined twice, for two configurations: spatch sees both, a kernel has one."""
    launch = facts.launch
    if len(launch.code.launch.defining(launch.function)) <= 1:
        return None
    return facts.unknown(launch.line, f"{launch.function}() is defined here and again further down, for another "
                         "configuration: check by hand")


def no_site(facts: Around) -> Verdict | None:
    """The function has the right name, but encrypts nothing."""
    if facts.site:
        return None
    return facts.unknown(facts.launch.line, f"{facts.launch.function}() is here, but not where it encrypts a VMSA "
                         "(sev_es_sync_vmsa(), SEV_CMD_SNP_LAUNCH_UPDATE): this shape is not known here, check by hand")


def helper_locks(facts: Around) -> Verdict | None:
    """The helper, which is called for one vCPU, locks all of them."""
    for marks in (facts.helper_lock, facts.helper_unlock):
        if marks:
            return facts.unknown(marks.first, f"{facts.launch.helper}(), called for one vCPU, locks or unlocks all of "
                                 "them: this shape is not known here, check by hand")
    return None


def helper_has_helper(facts: Around) -> Verdict | None:
    """The encryption is more than one call away, where the rules do not look."""
    if not facts.helper_helper:
        return None
    return facts.unknown(facts.helper_helper.first, f"{facts.launch.helper}() leaves the encryption to yet another "
                         "function: this shape is not known here, check by hand")


def locked_twice(facts: Around) -> Verdict | None:
    """A caller locks, but the function locks too or has another caller. A caller that locks is judged instead of the
    function, which is right only if all calls come from there."""
    launch, above = facts.launch, facts.locked_above
    if not above or not (launch.lock or len(launch.callers) > 1):
        return None
    return facts.unknown(facts.caller_locks[above].first, f"{above}() locks the vCPUs and calls {launch.function}(), "
                         "which is locked or called elsewhere too: check by hand")


def strange_below_lock(facts: Around) -> Verdict | None:
    """A caller locks, but the function itself locks something as well: it is not just a step of its caller."""
    launch = facts.launch
    if not facts.locked_above or not launch.foreign:
        return None
    return facts.unknown(launch.foreign.first, f"{launch.function}() locks or unlocks in a way that is not known "
                         "here: ", launch.foreign)


AROUND = (defined_twice, no_site, helper_locks, helper_has_helper, locked_twice, strange_below_lock)


# ---- no kvm_lock_all_vcpus(): open, unless something else locks


@dataclass(frozen=True)
class WithoutLock(Facts):
    """Neither the function nor a caller calls kvm_lock_all_vcpus()."""

    site: Marks
    # Other locks, in the function, its helper, its callers and their callers.
    foreign: Marks
    # Locks of one vCPU's mutex.
    one_vcpu: Marks


def another_lock(facts: WithoutLock) -> Verdict | None:
    """The code locks or unlocks something else."""
    return facts.at(Word.UNKNOWN, facts.foreign.without(facts.one_vcpu), f"{facts.launch.function}() is not locked "
                    "with kvm_lock_all_vcpus(), but something is locked or unlocked here that is not known here, check "
                    "by hand: ", facts.foreign)


def only_one_vcpu(facts: WithoutLock) -> Verdict | None:
    """Each vCPU is locked only while its own VMSA is encrypted."""
    return facts.at(Word.OPEN, facts.one_vcpu.lines(), f"only one vCPU is locked here: {facts.launch.function}() "
                    f"encrypts VMSAs while the others are unlocked, {CVE}")


def no_caller(facts: WithoutLock) -> Verdict | None:
    """This file has no caller of the function: a caller elsewhere could lock."""
    if facts.launch.callers:
        return None
    return facts.unknown(facts.launch.line, f"{facts.launch.function}() does not lock the vCPUs, and no caller of it "
                         "is in this file that could: check by hand")


def is_open(facts: WithoutLock) -> Verdict | None:
    """Nothing locks the vCPUs."""
    return facts.at(Word.OPEN, [facts.launch.line], f"{facts.launch.function}() encrypts VMSAs without the vCPUs "
                    f"locked (first at line {facts.site.first}), {CVE}")


WITHOUT_LOCK = (another_lock, only_one_vcpu, no_caller, is_open)


# ---- with kvm_lock_all_vcpus(): does the lock cover the encryption, and is it released?


@dataclass(frozen=True)
class WithLock(Facts):
    """The marks in the function that locks, which is the one that encrypts or its only caller."""

    function: str
    lock: Marks
    unlock: Marks
    # Encryption that is reachable with the vCPUs unlocked.
    unlocked: Marks
    # Locks whose shape the rules can follow.
    understood: Marks
    # Returns that are reachable with the vCPUs locked.
    leak: Marks
    # Unlocks that are reachable with the vCPUs not locked.
    not_held: Marks
    # Unlocks under a condition that depends on data.
    conditional: Marks
    # Other locks, in this function and in the helper.
    foreign: Marks
    # Lines that are under an #if.
    if_lines: set[int]


def under_if(facts: WithLock) -> Verdict | None:
    """The lock or unlock is under an #if, so that some configurations lack it."""
    lines = [line for line in (facts.lock + facts.unlock).lines() if line in facts.if_lines]
    return facts.at(Word.UNKNOWN, lines, f"{facts.function}() locks or unlocks under an #if: what it does depends on "
                    "the configuration, check by hand")


def encrypts_unlocked(facts: WithLock) -> Verdict | None:
    """The lock does not cover all of the encryption."""
    return facts.at(Word.OPEN, facts.unlocked.lines(), f"{facts.function}() gets here, where a VMSA is encrypted, with "
                    f"the vCPUs unlocked on at least one path, {CVE}")


def other_locks(facts: WithLock) -> Verdict | None:
    """The code also locks or unlocks something else."""
    return facts.at(Word.UNKNOWN, facts.foreign.lines(), "locks or unlocks something beside kvm_lock_all_vcpus(), "
                    "which is not known here, check by hand: ", facts.foreign)


def lock_not_understood(facts: WithLock) -> Verdict | None:
    """The lock's shape is not known: the rules below take all code after the test of its result for locked, which is
    right for certain shapes only."""
    return facts.at(Word.UNKNOWN, facts.lock.without(facts.understood), "kvm_lock_all_vcpus() is called in a shape "
                    "that is not known here (expected: on this function's kvm, result tested at once, failure "
                    "returns), check by hand")


def unlocks_by_condition(facts: WithLock) -> Verdict | None:
    """An unlock depends on data, which the rules below cannot follow."""
    return facts.at(Word.UNKNOWN, facts.conditional.lines(), "unlocks under a condition that cannot be followed from "
                    "here: check by hand that it holds exactly when the vCPUs are locked")


def unlocks_unlocked(facts: WithLock) -> Verdict | None:
    """An unlock is reachable with the vCPUs not locked: it would release a mutex that another task holds."""
    return facts.at(Word.BROKEN, facts.not_held.lines(), f"{facts.function}() gets here, where it unlocks the vCPUs, "
                    "with the vCPUs not locked on at least one path")


def returns_locked(facts: WithLock) -> Verdict | None:
    """A return is reachable with the vCPUs locked."""
    why = "on at least one path" if facts.unlock else "and never unlocks them"
    return facts.at(Word.LEAKING, facts.leak.lines(), f"{facts.function}() returns here with every vcpu->mutex held "
                    f"{why} (locked at line {facts.lock.first})")


def never_unlocks(facts: WithLock) -> Verdict | None:
    """There is no unlock at all, yet no rule found the leak: the verdict must not be "fixed"."""
    if facts.unlock:
        return None
    return facts.unknown(facts.lock.first, f"{facts.function}() locks all vCPUs, but neither an unlock nor a return "
                         "without it was found: check by hand")


def is_fixed(facts: WithLock) -> Verdict | None:
    """The vCPUs are locked, and unlocked on every path."""
    around = "" if facts.function == facts.launch.function else f" around {facts.launch.function}()"
    return facts.at(Word.FIXED, [facts.lock.first], f"{facts.function}() locks all vCPUs{around} and unlocks them on "
                    "every path")


WITH_LOCK = (under_if, encrypts_unlocked, other_locks, lock_not_understood, unlocks_by_condition, unlocks_unlocked,
             returns_locked, never_unlocks, is_fixed)
