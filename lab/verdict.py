#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Reads what a boot left (ktap.log, kernel.log, host.json, host.log) and says pass or fail, in a line and as JSON.

usage: verdict.py LOGS --tree NAME --linux VERSION --tests a,b,c [--stage 'SECONDS TEXT']... [--json FILE]
                  [--expect FILE [--may-pass]] [--emulated [--provoked KIND[:AT-MOST],...] [--snp]]

Exit status: 0 pass, 1 a test failed or the kernel reported something, 4 everything was skipped,
124 timed out, 255 the kernel panicked. A lockdep, KASAN, WARN or hung-task report is a failure even
when every test passed; on the emulated host (--emulated) so is anything that the architecture forbids and
that no test provokes on purpose, and (--snp) a kernel that did not come up as an SNP host, a test's case
that was skipped, and an RMP entry that is still a guest's at the end.

FILE lists what is known to fail on this tree: "TEST[ CASE]: known failure: REASON", and on the next
line, indented, "says: REGULAR EXPRESSION", a line that the test must then print for the case. Such a failure
is none; one that passes instead is, but with --may-pass, which is for trees that may be ahead of the list.
"""
import argparse
import json
import os
import re
import sys
import tempfile

# What the kernel prints when it finds something wrong with itself.
REPORT = re.compile(
    # A boot banner may say "mitigation: WARNING: see ..." in its middle: not a report.
    r"^(\[[^]]*\]\s*)?WARNING: |cut here|\bBUG[: ]|kernel BUG at|KASAN|KCSAN|UBSAN|general protection fault|"
    r"Oops: |\[#\d+\]|unable to handle|INFO: task .* blocked|INFO: possible|INFO: suspicious RCU|"
    r"INFO: trying to register|INFO: lockdep is turned off|suspicious RCU usage|DEBUG_LOCKS_WARN_ON|DEAD LOCK|"
    r"bad unlock balance|detected .*stalls|self-detected stall|soft lockup|hard LOCKUP|refcount_t: |"
    r"list_(add|del) corruption|Nested lock was not taken|held lock freed|lock held when returning|"
    r"RMP fault|RMP violation|sleeping function called|Leaking PFN range|Leaked pages|"
    r"SEV: failed to .*(reclaim|release)|Failed to reclaim")
PANIC = re.compile(r"Kernel panic - not syncing: ?(.*)")
# What kvm_amd says when guests can be launched: the range of ASIDs has one in it.
LAUNCH_TEST = "sev_snp_launch_test"
# What the emulated host counts at the end, when the drivers' shutdown has given back what was theirs: RMP entries that
# are a guest's, and those that are the firmware's.
RMP_LEFT = ("rmp-assigned", "rmp-firmware")
SNP_ENABLED = re.compile(r"SEV-SNP enabled \(ASIDs \d+ - \d+\)")
RESULT = re.compile(r"^(not )?ok (\d+) (\S+)(?: # ?(SKIP|TIMEOUT)? ?(.*))?$")
# A KUnit case: below its suite, above its parameters.
SUBRESULT = re.compile(r"^ {8}(not )?ok \d+ (.*)$")
# A case of a test program: the guest's init puts "# " before what the program prints.
CASE = re.compile(r"^# (not )?ok (\d+) (\S+)(?: +#? ?(SKIP)? ?(.*))?$")
CASE_PLAN = re.compile(r"^# 1\.\.(\d+)$")
# What no known failure is: something hangs, or was not looked at. lab/hw.sh has the same.
NEVER_KNOWN = re.compile(r"did not (return|end|die)|left behind|cannot be killed|thread is gone|not run:|"
                         r"expected it to block|stopped waiting")
RUN = re.compile(r"^# # +RUN  ")
# What the selftests' harness says of every case, and where in the source a message comes from.
CHATTER = re.compile(r"^#? *(RUN|OK|FAIL|SKIP) |: Test (failed|terminated)")
WHERE = re.compile(r"^# *(?:\S+\.c:\d+:\w+:)?")
EXPECTED = re.compile(r"^(\S+)(?: (\S+))?: known failure: (.+)$")


def read(path):
    try:
        # What a guest prints may have other ends of lines in it: what comes after them is no line of its own.
        with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
            return [line.rstrip("\r\n") for line in f]
    except OSError:
        return []


def parse_ktap(lines):
    """The top level's results, each with those below it; the failed KUnit cases after the last; was there an end?"""
    plan, tests, below, ended = None, [], [], False
    cases, cases_planned, said = [], None, []
    for line in lines:
        if line.startswith("# Subtest: "):
            cases, cases_planned, said = [], None, []
        m = CASE_PLAN.match(line)
        if m:
            cases_planned = int(m.group(1))
        m = CASE.match(line)
        if m:
            cases.append({"name": m.group(3), "reason": m.group(5) or "", "said": said,
                          "result": "skip" if m.group(4) else "fail" if m.group(1) else "pass"})
            said = []
        elif RUN.match(line):
            said = []
        elif line.startswith("# "):
            said.append(line[2:])
        m = re.match(r"^1\.\.(\d+)$", line)
        if m:
            plan = int(m.group(1))
        m = SUBRESULT.match(line)
        if m and m.group(1):
            below.append(m.group(2).strip())
        m = RESULT.match(line)
        if m:
            result = {"SKIP": "skip", "TIMEOUT": "timeout"}.get(m.group(4)) or ("fail" if m.group(1) else "pass")
            tests.append({"name": m.group(3), "result": result, "reason": m.group(5) or "",
                          "failed": below if result == "fail" else [],
                          "cases": cases, "cases_planned": cases_planned, "said": said})
            below, cases, cases_planned = [], [], None
        if line.startswith("snplab: end of tests"):
            ended = True
    return plan, tests, below, ended


def read_expectations(path):
    """{(test, case): {"reason": ..., "says": ...}} of a list of known failures."""
    expected, last = {}, None
    for line in read(path) if path else []:
        m = EXPECTED.match(line)
        if m:
            last = expected.setdefault((m.group(1), m.group(2)), {"reason": m.group(3), "says": None})
        elif last and line[:1].isspace():
            key, _, value = line.strip().partition(": ")
            if key == "says":
                last["says"] = value
        elif line.strip() and not line.startswith("#"):
            sys.exit(f"{path}: expected \"TEST[ CASE]: known failure: REASON\" or an indented \"says: ...\", found: {line}")
    return expected


def complaint(case):
    """Why a case failed, or what it said first that is its own."""
    return case["reason"] or next((WHERE.sub("", line) for line in case["said"] if not CHATTER.search(line)), "failed, and said nothing")


def judge_cases(test, expected, may_pass, may_skip):
    """Takes known failures off a test and its cases, whose results it changes. Returns what is wrong, in words."""
    wrong, known = [], []
    program = test["name"].split(":")[0]
    whole = {"name": test["name"], "result": test["result"], "said": test["said"], "reason": test["reason"]}
    for case in test["cases"] or [whole]:
        entry = expected.get((program, None if case is whole else case["name"]))
        never = next((line for line in case["said"] if NEVER_KNOWN.search(line)), None)
        if case["result"] == "skip" and not may_skip and test["name"] != "kunit":
            wrong.append(f"{case['name']}: skipped, on a host that has what it needs: {case['reason']}")
        elif case["result"] == "fail" and entry:
            if never:
                wrong.append(f"{case['name']}: known to fail, but not so: {WHERE.sub('', never)}")
            elif entry["says"] and not any(re.search(entry["says"], line) for line in case["said"]):
                wrong.append(f"{case['name']}: known to fail, but to say \"{entry['says']}\": {complaint(case)}")
            else:
                case["result"], case["known"] = "known-failure", entry["reason"]
                known.append({"name": case["name"], "known": entry["reason"]})
        elif case["result"] == "fail" and case is not whole:
            wrong.append(f"{case['name']}: {complaint(case)}")
        elif case["result"] == "pass" and entry and not may_pass:
            wrong.append(f"{case['name']}: passes, and is known to fail ({entry['reason']}): take it out of the list")
    gone = {c for t, c in expected if t == test["name"] and c} - {c["name"] for c in test["cases"]}
    if gone and test["cases"] and not may_pass and test["result"] in ("pass", "fail"):
        wrong.append(f"known to fail, and no case of this test: {', '.join(sorted(gone))}")
    if test["name"] == LAUNCH_TEST and not test["cases"] and test["result"] == "pass":
        wrong.append("expected cases of the launch test, found none")
    if test["cases"] and test["result"] in ("pass", "fail") and test["cases_planned"] != len(test["cases"]):
        wrong.append(f"expected results of {test['cases_planned']} cases, found {len(test['cases'])}")
    if wrong and test["result"] in ("pass", "skip"):
        test["result"] = "fail"
    # What the program's exit status says is then accounted for, case by case. Not a signal, or the program's end
    # before its plan's.
    elif known and not wrong and test["result"] == "fail" and test["reason"].startswith("exit status "):
        test["result"], test["reason"] = "pass", ""
    return wrong, known


def write_json(path, data):
    """All of it or nothing: a reader never sees half a file. A pipe or a device is written to as it is."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8") as f:
            json.dump(data, f, indent=1)
            f.write("\n")
        return
    path = os.path.realpath(path)
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as f:
        json.dump(data, f, indent=1)
        f.write("\n")
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)


def read_json(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def judge_host(args):
    """What the emulated host counted: (its data for the JSON, how many errors nobody asked for, what to say)."""
    host = read_json(f"{args.logs}/host.json")
    total, kinds = host.get("guest-errors"), host.get("errors", {})
    if not isinstance(total, int) or not all(isinstance(n, int) for n in kinds.values()):
        return host, 1, ["expected the emulated host's count of errors, found none: "
                         + host.get("missing", "host.json is not there, or not whole")]
    allowed = {}
    for word in args.provoked.split(","):
        if word:
            kind, _, most = word.partition(":")
            allowed[kind] = max(allowed.get(kind, 0), int(most) if most else total)
    unasked, said, bad = 0, [], []
    for kind, n in sorted(kinds.items()):
        if n > allowed.get(kind, 0):
            unasked += n - allowed.get(kind, 0)
            bad.append(kind)
            said.append(f"  {kind}: {n}" + (f", of which {allowed[kind]} may be" if kind in allowed else ""))
    if total != sum(kinds.values()):
        # A kind that is not told apart is asked for by nobody.
        unasked += abs(total - sum(kinds.values())) or 1
        said.append(f"  guest-errors says {total}, its kinds say {sum(kinds.values())}")
    if unasked:
        log = list(enumerate((line.strip() for line in read(f"{args.logs}/host.log")), 1))
        # "amd-snp: KIND: what happened"; what else QEMU says there of guests is not counted.
        lines = [entry for entry in log if entry[1].startswith(tuple(f"amd-snp: {kind}: " for kind in bad))]
        said.insert(0, f"{unasked} error(s) on the emulated host that no test asked for:")
        said.extend(f"  host.log:{i}: {line}" for i, line in lines[:8])
        if len(lines) > 8:
            said.append(f"  and {len(lines) - 8} more lines of {', '.join(bad)} in host.log")
    return host, unasked, said


def judge(args):
    plan, tests, below, ended = parse_ktap(read(f"{args.logs}/ktap.log"))
    kernel = read(f"{args.logs}/kernel.log")
    reports = [line.strip() for line in kernel if REPORT.search(line)]
    panic = next((m.group(1) for m in map(PANIC.search, kernel) if m), None)
    timed_out = os.path.exists(f"{args.logs}/timed-out")
    wanted = [t for t in args.tests.split(",") if t]
    expected = read_expectations(args.expect)
    wrong_cases, known = {}, []
    for t in tests:
        wrong_cases[t["name"]], k = judge_cases(t, expected, args.may_pass, not args.snp)
        known += k
    count = {r: sum(t["result"] == r for t in tests) for r in ("pass", "skip", "fail", "timeout")}
    problems = []
    if panic is not None:
        status, verdict = 255, "panic"
        problems.append(f"the kernel panicked: {panic}")
    elif timed_out or count["timeout"]:
        status, verdict = 124, "timeout"
        if timed_out:
            problems.append(f"no end within {read(args.logs + '/timed-out')[0]} s")
    elif not ended or [t["name"] for t in tests] != wanted or plan != len(wanted):
        status, verdict = 1, "fail"
        problems.append(f"expected results of {len(wanted)} tests, found {len(tests)}"
                        + ("" if ended else ": the guest ended before its tests did"))
    elif not any("Linux version" in line for line in kernel):
        status, verdict = 1, "fail"
        problems.append("the kernel's log is not there, or not whole: what it reported is not known")
    elif count["fail"] or reports:
        status, verdict = 1, "fail"
    elif not count["pass"]:
        status, verdict = 4, "skip"
    else:
        status, verdict = 0, "pass"
    kunit = [t["reason"] or "skipped" for t in tests if t["name"] == "kunit" and t["result"] == "skip"]
    if args.untested:
        kunit.append(args.untested)
    launched = any(t["name"].split(":")[0] == LAUNCH_TEST and t["result"] == "pass" for t in tests)
    if status == 0 and kunit and not launched:
        # Passing is said of the function that this is about, or not at all.
        status, verdict = 4, "skip"
        problems.append(f"nothing here tested snp_launch_update_vmsa(): {kunit[0]}")
    for t in tests:
        if t["result"] in ("fail", "timeout"):
            problems.append(f"{t['name']}: {t['reason'] or t['result']}")
            problems.extend(f"  not ok: {b}" for b in t["failed"][:12])
            problems.extend(f"  not ok: {w}" for w in wrong_cases[t["name"]][:20])
        # Of use to whoever reads the log; the verdict has what follows from it.
        del t["said"]
        for case in t["cases"]:
            case["said"] = [line for line in case["said"] if not CHATTER.search(line)][:8]
    problems.extend(f"known failure: {c['name']}: {c['known']}" for c in known)
    host, unasked, snp = {}, 0, None
    if args.emulated:
        host, unasked, said = judge_host(args)
        # What a panic or a time-out left uncounted is not known, and not the point.
        if unasked and status in (0, 1, 4):
            status, verdict = 1, "fail"
        if unasked and (status == 1 or "errors" in host):
            problems.extend(said)
        left = {k: host.get("statistics", {}).get(k) for k in RMP_LEFT}
        if args.snp and status in (0, 4) and set(left.values()) != {0}:
            status, verdict = 1, "fail"
            problems.append("expected every RMP entry back at the hypervisor after the last VM and the driver are gone, found "
                            + ", ".join(f"{k} {n}" for k, n in left.items()))
        snp = any(map(SNP_ENABLED.search, kernel))
        if args.snp and not snp and status in (0, 4):
            status, verdict = 1, "fail"
            problems.append("expected \"SEV-SNP enabled\" in the kernel's log, found none: what is there of SEV, SNP and ccp:")
            problems.extend(f"  {line.strip()}" for line in
                            [k for k in kernel if re.search(r"SEV|SNP|ccp|RMP", k)][:8])
    if below:
        problems.extend(f"  not ok: {b}" for b in below[:12])
    if reports:
        problems.append(f"{len(reports)} report(s) in the kernel's log:")
        problems.extend(f"  {r}" for r in reports[:8])
    return status, {
        "verb": "run", "tree": args.tree, "linux": args.linux, "qemu": args.qemu, "verdict": verdict,
        "exit": status, "passed": count["pass"], "failed": count["fail"] + count["timeout"],
        "skipped": count["skip"], "known_failures": len(known), "tests": tests, "reports": reports, "problems": problems,
        "snp": snp, "host": host, "host_errors": host.get("guest-errors"), "host_errors_unasked": unasked,
        "stages": [{"seconds": int(s.split(" ", 1)[0]), "stage": s.split(" ", 1)[1]} for s in args.stage],
        "logs": args.logs}


def parser():
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument("logs", nargs="?")
    p.add_argument("--tree", default="")
    p.add_argument("--linux", default="")
    p.add_argument("--qemu", default="")
    p.add_argument("--tests", default="")
    p.add_argument("--stage", action="append", default=[])
    p.add_argument("--json")
    p.add_argument("--shown-logs")
    p.add_argument("--untested")
    p.add_argument("--expect")
    p.add_argument("--may-pass", action="store_true")
    p.add_argument("--emulated", action="store_true")
    p.add_argument("--provoked", default="")
    p.add_argument("--snp", action="store_true")
    return p


def summary(args, data):
    """In how far kernel and host had nothing to say."""
    no_report = "no report in the kernel's log" if not data["reports"] else f"{len(data['reports'])} kernel reports"
    if args.emulated:
        total, unasked = data["host_errors"], data["host_errors_unasked"]
        if total is None:
            no_report += ", errors on the host not known"
        elif unasked:
            no_report += f", {total} on the host"
        else:
            no_report += ", no error on the host" if not total else f", {total} on the host, all asked for"
    return no_report


def main():
    args = parser().parse_args()
    status, data = judge(args)
    if args.json:
        write_json(args.json, data)
    write_json(f"{args.logs}/verdict.json", data)
    for line in data["problems"]:
        print(f"      {line}")
    launch = next((t["cases"] for t in data["tests"] if t["name"] == LAUNCH_TEST), [])
    cases = ""
    if launch:
        cases = f" (the launch test: {sum(c['result'] == 'pass' for c in launch)} of {len(launch)} cases passed"
        cases += f", {data['known_failures']} known to fail)" if data["known_failures"] else ")"
    print(f"{data['verdict'].upper()}: {data['tree']} on linux {data['linux']}: {data['passed']} passed, "
          f"{data['failed']} failed, {data['skipped']} skipped{cases}; {summary(args, data)}; logs: {args.shown_logs or args.logs}")
    return status


if __name__ == "__main__":
    sys.exit(main())
