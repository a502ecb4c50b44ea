# SPDX-License-Identifier: GPL-2.0-only
"""Judges a boot in which L1 launches an SNP guest, L2.

The rules of lab.judge.verdict apply to L1. L2's attestation report must be signed with the emulated platform's key, must
contain this boot's nonce, and must have the measurement that is computed here from L2's files.
"""
from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.attest import attestation, launch_digest
from lab.core.process import quote
from lab.judge.files import write_json
from lab.judge.hang import destroyed_vmsa, hang
from lab.judge.refusal import refusal
from lab.judge.show import CONSOLE, read_times
from lab.judge.snp_object import SnpObject
from lab.judge.verdict import BootQuestion, Status, Verdict, judge

CASES = [f"guest.{name}" for name in
         ("is_launched", "runs", "has_a_shell", "snp_is_active", "has_all_cpus", "attests", "powers_off")]
# The cases of a guest with an initrd of the user's, which nobody asks for a report.
OWN_CASES = ["guest.is_launched", "guest.runs"]
REPORT_LINE = re.compile(r"^snplab: report: \| (\S+)$")
# The CPU that lab/l1/snp_guest gives L2 by default.
CPU_MODEL = "EPYC-Milan-v2"
# L1's CPU (lab/boot/line.py), which L2 has with -cpu host.
L1_MODEL = "EPYC-Milan"
# Each event in LOGS/times, with the phase that it ends.
STEPS = (("init", "L1's firmware and kernel"), ("modules", "L1's modules: the RMP, SNP's initialization"),
         ("begin", "the rest of L1's start"), ("launch", "QEMU's start"),
         ("finish", "the launch: pages measured and encrypted"),
         ("kernel", "the guest's firmware: memory accepted, kernel loaded"),
         ("shell", "the guest's kernel, to a shell"),
         ("said", "the guest's firmware and system, to the text of --until"),
         ("checked", "CPUs checked, attestation report fetched"), ("end", "power-off"))


@dataclass(frozen=True)
class Launch:
    """The files that L2 was launched from, and how its report is checked."""

    smp: int
    nonce: str
    # The public key of the emulated platform.
    key: Path
    firmware: Path
    kernel: Path
    initrd: Path
    append: str
    model: str = CPU_MODEL
    snp: SnpObject = SnpObject()
    # The initrd is the user's.
    own: bool = False
    # The text that the user's system has to print; "": it powers off.
    until: str = ""

    @property
    def cases(self) -> list[str]:
        """The cases that lab/l1/snp_guest reports of this launch."""
        return [*OWN_CASES, "guest.says" if self.until else "guest.powers_off"] if self.own else CASES

    def digest(self) -> bytes:
        """The measurement that L2's report must have. Raises launch_digest.Unusable."""
        kernel = launch_digest.measured_kernel(self.kernel, self.initrd, self.append) if self.snp.kernel_hashes else None
        signature = launch_digest.named_signature(self.measured_model)
        return launch_digest.launch_digest(launch_digest.LaunchInput(
            launch_digest.read_firmware(self.firmware), self.smp, signature, kernel))

    @property
    def measured_model(self) -> str:
        """The CPU model, with the name of L1's in place of "host"."""
        name, *features = self.model.split(",")
        return ",".join([L1_MODEL if name == launch_digest.HOST_MODEL else name, *features])

    def attest_command(self, report: Path) -> str:
        """The command that looks at L2's report, as a line for a shell."""
        return quote(["./snplab", "attest", str(report), "--vcek", str(self.key), "--report-data", self.nonce.encode().hex(),
                      "--firmware", str(self.firmware), "--kernel", str(self.kernel), "--initrd", str(self.initrd),
                      f"--append={self.append}", *([] if self.snp.kernel_hashes else ["--kernel-hashes", "off"]),
                      "--smp", str(self.smp), "--cpu", self.measured_model.split(",")[0]])


@dataclass
class Attested:
    """The attestation report and the results of its checks."""

    launch: Launch
    digest: str | None = None
    measurement: str | None = None
    report: Path | None = None
    command: str | None = None
    checks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"digest": self.digest, "measurement": self.measurement,
                "report": str(self.report) if self.report else None, "command": self.command,
                "checks": self.checks, "firmware": str(self.launch.firmware), "kernel": str(self.launch.kernel),
                "initrd": str(self.launch.initrd), "append": self.launch.append, "cpu": self.launch.model,
                "policy": self.launch.snp.policy, "kernel_hashes": self.launch.snp.kernel_hashes}


@dataclass(frozen=True)
class Row:
    """A phase of the boot in the table of times."""

    what: str
    took: float
    until: float


def table(times: dict[str, float]) -> list[Row]:
    """The phases that this boot completed, with their times."""
    rows: list[Row] = []
    last = 0.0
    for name, what in STEPS:
        if name in times:
            rows.append(Row(what, times[name] - last, times[name]))
            last = times[name]
    return rows


def find_report(ktap: Sequence[str]) -> tuple[bytes | None, str]:
    """The attestation report that L2 printed; if there is none, None and the reason."""
    console = [m[2] for m in map(CONSOLE.match, ktap) if m]
    lines = [m[1] for m in map(REPORT_LINE.match, console) if m]
    if not lines:
        return None, "the guest printed none"
    try:
        report = base64.b64decode("".join(lines), validate=True)
    except ValueError as e:
        return None, f"the {len(lines)} lines that the guest printed are not base64: {e}"
    if len(report) != attestation.REPORT_LEN:
        return None, (f"the {len(lines)} lines that the guest printed have {len(report)} bytes, a report has "
                      f"{attestation.REPORT_LEN}")
    return report, ""


def attest(launch: Launch, logs: Path, ktap: Sequence[str]) -> Attested:
    """Checks L2's report, and keeps it as LOGS/report.bin."""
    found = Attested(launch)
    try:
        digest = launch.digest()
    except launch_digest.Unusable as e:
        found.wrong = [f"the launch digest could not be computed: {e.message}", f"  hint: {e.hint}"]
        return found
    found.digest = digest.hex()
    if launch.own:
        return found
    report, why = find_report(ktap)
    if report is None:
        found.wrong = [f"expected an attestation report, found none: {why}"]
        return found
    found.report = logs / "report.bin"
    found.report.write_bytes(report)
    found.command = launch.attest_command(found.report)
    found.measurement = attestation.parse_report(report).measurement.hex()
    try:
        # L2 puts the nonce's digits as text into its request.
        checks = [*attestation.check_report(report, digest, launch.nonce.encode(), launch.key),
                  *launch.snp.checks(attestation.parse_report(report))]
    except attestation.Unusable as e:
        found.wrong = [f"the attestation report could not be checked: {e.message}", f"  hint: {e.hint}"]
        return found
    found.checks = [check.shown() for check in checks]
    found.wrong = [check.shown() for check in checks if not check.ok]
    if found.wrong:
        found.wrong.append(f"  to do: look for the reason with {found.command}")
    return found


@dataclass
class GuestVerdict:
    """The verdict on a boot with L2 in it."""

    boot: Verdict
    launch: Launch
    status: Status
    problems: list[str]
    attested: Attested | None
    times: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {**self.boot.to_json(), "verb": "guest", "verdict": self.status.value, "exit": int(self.status.exit),
                "problems": self.problems, "attestation": self.attested.to_json() if self.attested else {},
                "times": [{"what": row.what, "seconds": round(row.took, 1), "until": round(row.until, 1)}
                          for row in table(self.times)],
                "shell_seconds": self.times.get("shell")}

    def last_line(self) -> str:
        """The verdict in one line."""
        if self.launch.own:
            how = f"an SNP guest of {self.launch.smp} CPUs with an initrd of yours, which was not asked for a report"
            if self.attested is not None and self.attested.digest is not None:
                how += f"; it must have the measurement {self.attested.digest}"
        elif "shell" in self.times:
            how = f"a shell in an SNP guest of {self.launch.smp} CPUs after {self.times['shell']:.1f} s"
        else:
            how = "no shell in the guest"
        if self.status is Status.PASS and not self.launch.own:
            how += "; its report is signed, and has the measurement computed here"
        asked = self.boot.asked
        return (f"{self.status.value.upper()}: {asked.tree} on linux {asked.linux}: {how}; {self.boot.summary()}; "
                f"logs: {asked.shown_logs or asked.logs}")

    def lines(self) -> list[str]:
        """The text for the user: table of times, problems, verdict."""
        rows = table(self.times)
        said = [f"      {row.took:6.1f} s  {row.what}" + (f"  (at {row.until:.1f} s)" if row is rows[-1] else "")
                for row in rows]
        return [*said, *(f"      {problem}" for problem in self.problems), self.last_line()]

    def write(self) -> None:
        """Writes the JSON beside the logs."""
        write_json(self.boot.asked.logs / "verdict.json", self.to_json())


def judge_guest(asked: BootQuestion, launch: Launch) -> GuestVerdict:
    """Judges L1, and, if that passes, L2's report and cases."""
    boot = judge(asked)
    logs = boot.seen.logs
    problems = [*boot.problems, *refusal(logs.ktap_lines), *hang(logs.ktap_lines, logs.kernel),
                *destroyed_vmsa(logs.host.log)]
    status, attested = boot.status, None
    if status is Status.PASS:
        attested = attest(launch, asked.logs, logs.ktap_lines)
        wrong = list(attested.wrong)
        found = [case.name for test in boot.seen.tests for case in test.cases]
        if found != launch.cases:
            wrong.append(f"expected the cases {', '.join(launch.cases)}, found {', '.join(found) or 'none'}")
        if wrong:
            status = Status.FAIL
        problems += wrong
    return GuestVerdict(boot, launch, status, problems, attested, read_times(asked.logs))
