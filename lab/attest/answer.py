# SPDX-License-Identifier: GPL-2.0-only
"""Answers all questions about one attestation report: its fields in words, who signed it, and what was measured."""
from __future__ import annotations

import datetime
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.attest import attestation
from lab.attest.attestation import REPORT_DATA_LEN, Check, Report, difference, format_problem
from lab.attest.certificates import PUBLIC_KEY, Certificate, certificates_in
from lab.attest.chain import Chain, check_chain, choose_leaf, leaf_checks, report_check
from lab.attest.explain import Claim, Explained, explain
from lab.attest.fields import DEBUG_BIT, Field, fields_of

WIDTH, NAME_WIDTH = 120, 29
UNSIGNED_NOTE = "nothing is known about who signed it: --vcek FILE or --chain FILE checks that"


@dataclass(frozen=True)
class Question:
    """What the user wants to know. vcek: the certificate or public key of the VCEK or VLEK; chain: files with certificates;
    report_data: what the guest asked for, up to 64 bytes; measurement: 48 bytes; claim: the launch."""

    path: Path
    vcek: Path | None = None
    chain: Sequence[Path] = ()
    report_data: bytes | None = None
    measurement: bytes | None = None
    claim: Claim | None = None


@dataclass
class Answer:
    """The answer. expected, explained: only if a launch was described, and explained only if its digest is another one."""

    question: Question
    report: Report
    fields: list[Field]
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    expected: bytes | None = None
    explained: Explained | None = None

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if not check.ok]

    @property
    def exit(self) -> int:
        """0 if all that was asked for holds, else 1."""
        return 1 if self.failed else 0

    def lines(self) -> list[str]:
        """The text for the user."""
        return [*(line for one in self.fields for line in field_lines(one)), "", *(check.shown() for check in self.checks),
                *(f"note: {note}" for note in self.notes), self.last_line()]

    def last_line(self) -> str:
        """The verdict."""
        if self.failed:
            return f"FAIL: attestation report: {len(self.failed)} of {len(self.checks)} checks failed: " \
                   f"{', '.join(check.name for check in self.failed)}"
        names = [check.name for check in self.checks]
        said = [f"{len(names)} {'check' if len(names) == 1 else 'checks'} passed"]
        said += ["its signature was not checked"] if "signature" not in names else []
        said += ["its measurement was not compared"] if "measurement" not in names else []
        return f"PASS: attestation report: {', '.join(said)}"

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it, without the version."""
        changes = self.explained.changes if self.explained else ()
        measurement = None if self.expected is None else {
            "expected": self.expected.hex(), "tried": self.explained.tried if self.explained else 0,
            "pairs": self.explained.pairs if self.explained else 0,
            "changes": [{"kind": change.kind, "measured": change.text, "said": change.said} for change in changes]}
        return {"verb": "attest", "verdict": "fail" if self.failed else "pass", "exit": self.exit,
                "report": str(self.question.path),
                "fields": [{"name": one.name, "value": one.value, "words": one.words} for one in self.fields],
                "checks": [{"name": check.name, "ok": check.ok, "text": check.text, "hint": "" if check.ok else check.hint}
                           for check in self.checks],
                "measurement": measurement, "notes": self.notes,
                "certificates": [{"source": one.source, "subject": one.subject, "issuer": one.issuer,
                                  "begins": one.begins.isoformat(), "ends": one.ends.isoformat()}
                                 for one in self.certificates]}


def field_lines(one: Field) -> list[str]:
    """A field as lines. The value stays whole, so that it can be copied."""
    zero = set(one.value) in ({"0"}, {"f"}) and len(one.value) > 8 and one.words
    begin = f"{one.name:<{NAME_WIDTH}} "
    words = "" if zero or not one.words else f": {one.words}"
    text = one.words if zero else one.value + words
    if len(begin) + len(text) <= WIDTH or not one.words:
        return [begin + text]
    indent = " " * len(begin)
    return [begin + one.value, *textwrap.wrap(one.words, WIDTH, initial_indent=indent, subsequent_indent=indent)]


def answer(question: Question, now: datetime.datetime | None = None) -> Answer:
    """Answers. now: the time at which certificates must be valid; None: today. Raises attestation.Unusable or
    launch_digest.Unusable for a file that cannot be used."""
    report = attestation.parse_report(attestation.read_report(question.path))
    found = Answer(question, report, fields_of(report))
    found.checks.append(Check("format", format_problem(report), f"version {report.version}",
                              "ask for the report again, with the chip's key: SNP_GUEST_REQUEST's key selection"))
    if report.policy >> DEBUG_BIT & 1:
        found.notes.append("the policy allows debugging: whatever else holds, the host can read and write the guest")
    if question.report_data is not None:
        wanted = question.report_data.ljust(REPORT_DATA_LEN, b"\0")
        found.checks.append(Check("report data", difference(wanted, report.report_data), report.report_data.hex(),
                                  "the report answers another request: compare the nonce, and how the guest filled it up"))
    check_measurement(found)
    check_signer(found, now or datetime.datetime.now(datetime.timezone.utc))
    return found


def check_measurement(found: Answer) -> None:
    """Compares the measurement with a digest, and with a launch."""
    question, measured = found.question, found.report.measurement
    if question.measurement is not None:
        found.checks.append(Check("given measurement", difference(question.measurement, measured), measured.hex(),
                                  "describe the launch with --firmware, --smp and others, to see what was measured"))
    if question.claim is not None:
        found.expected, found.explained = explain(question.claim, measured)
        problem, hint = difference(found.expected, measured), "launch it as you said, or correct what you said"
        if problem is not None and found.explained is not None:
            problem = f"{found.explained.text}: {problem}"
            if not found.explained.changes:
                hint = "compare the files byte by byte with those that were launched, and each word of QEMU's command line"
        found.checks.append(Check("measurement", problem, measured.hex(), hint))


def check_signer(found: Answer, now: datetime.datetime) -> None:
    """Checks the signature, and the certificates behind it."""
    question, report = found.question, found.report
    if question.vcek is None and not question.chain:
        found.notes.append(UNSIGNED_NOTE)
        return
    others = [one for path in question.chain for one in certificates_in(path)]
    found.certificates = others
    key, leaf = None, choose_leaf(others, report)
    if question.vcek is not None:
        text = attestation.read(question.vcek)
        if PUBLIC_KEY in text:
            key = text.decode("ascii", "replace")
        else:
            given = certificates_in(question.vcek)
            leaf = choose_leaf(given, report) or given[0]
            others = found.certificates = [*given, *others]
    if key is not None:
        found.checks.append(report_check(report, key, f"the key in {question.vcek}"))
        if leaf is not None and leaf.key.split() != key.split():
            found.checks.append(Check("key of the chain", f"expected {leaf.name} ({leaf.source}) to have the key in "
                                      f"{question.vcek}, found another", "", "give those that belong together"))
    elif leaf is not None:
        found.checks += [report_check(report, leaf.key, f"{leaf.name} ({leaf.source})"), *leaf_checks(leaf, report)]
    if question.chain:
        follow(found, leaf, others, now)
    elif leaf is not None:
        found.notes.append(f"nothing is known about who signed {leaf.name}: --chain FILE, with ASK and ARK, checks that")
    else:
        found.notes.append("a public key says nothing about whose it is")


def follow(found: Answer, leaf: Certificate | None, others: list[Certificate], now: datetime.datetime) -> None:
    """Adds the checks of the chain."""
    if leaf is None:
        found.checks.append(Check("chain", f"expected the certificate of a VCEK or VLEK among those given, found "
                                  f"{', '.join(one.name for one in others)}", "", "give it with --vcek or --chain"))
        return
    chain: Chain = check_chain(leaf, others, now)
    found.checks += chain.checks
    found.notes += chain.notes
