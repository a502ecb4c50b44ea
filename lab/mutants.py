#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Who caught which wrong version? Reads the boots' logs, with verdict.py's eyes.

usage: mutants.py tests PATCH --tests a,b,c
       mutants.py judge TREE PATCH LOGS CONTROL --tests a,b,c [--seconds TENTHS]
       mutants.py matrix [--json FILE] [--seconds N] [--shown-logs TEXT] FOLDER...

tests prints those that are to be run with that patch. judge writes LOGS/result.json and prints a line. CONTROL is the boot of the same kernel without the patch:
what fails there as well catches nothing. matrix reads what judge wrote in each FOLDER, one for a tree, with
the names in FOLDER/mutants; exit status 0 if every mutant was caught by all whom its header names, 1 if not.

A patch's header, above its "---", says what is wrong, and
  Caught-by: kunit CASE         that case fails (kselftest: the same of the launch test's cases)
  Caught-by: lockdep "TEXT"     in a report of lockdep's in the kernel's log; of an assertion, which looks like any
                                other WARN_ON(), the line that says where
  Caught-by: oops "TEXT"        in a report of another kind
  Caught-by: stall "TEXT"       in a report of something that takes too long, which may be the machine's fault: where no
                                header names it, it is no catch
  Caught-by: panic "TEXT"       the kernel panicked with these words
  Caught-by: host KIND          the emulated host counted an error of that kind, or (rmp-assigned) leaked pages
  Caught-by: boot timeout       the boot has no end
A case called "timeout" is the guest's init's, which gave up waiting for the program.
  Not-seen-by: LAYER: why       for each program that did not see it: an omission is no explanation
  Not-run: LAYER: why           the program is left out of the boot, as what it would see is not twice the same
"""
import argparse
import os
import re
import sys

from verdict import CHATTER, PANIC, REPORT, RMP_LEFT, SUBRESULT, WHERE, parse_ktap, read, read_json, write_json

# The layers that are programs in the guest, and what they are called there.
PROGRAMS = {"kunit": "kunit", "kselftest": "sev_snp_launch_test"}
IN_LOG = ("lockdep", "oops", "stall")
KINDS = (*PROGRAMS, *IN_LOG, "panic", "host", "boot")
COLUMNS = {"kunit": ("kunit",), "kselftest": ("kselftest",),
           "kernel log": (*IN_LOG, "panic"), "other": ("host", "boot")}
# How much of the kernel's log belongs to a report: lockdep lists locks, and the way to them.
REPORT_LINES = 80
# The first lines of those of lockdep's, in kernel/locking/lockdep.c and include/linux/debug_locks.h.
LOCKDEP = re.compile(
    r"WARNING: (possible .*(lock|dependency)|inconsistent lock state|.*-safe -> .*-unsafe lock order|chain_key collision|"
    r"Nested lock was not taken|bad (unlock balance|contention) detected|held lock freed|.* still has locks held|"
    r"lock held when returning|suspicious RCU usage)|\[ BUG: Invalid wait context|INFO: possible |INFO: suspicious RCU|"
    r"INFO: trying to register non-static key|BUG: key .* has not been registered|"
    r"BUG: MAX_(LOCK|STACK_TRACE)\w* too low|DEBUG_LOCKS_WARN_ON")
STALL = re.compile(r"detected .*stalls|self-detected stall|soft lockup|hard LOCKUP|workqueue lockup|INFO: task .* blocked")
# WARN() has said what is wrong on the line before, WARN_ON() has not, and lockdep_assert_held() is one.
WARNED = re.compile(r"WARNING: (CPU: \d+ PID: \d+ )?at \S+")
CUT = "[ cut here ]"
# In reports of others, below their first line.
LOCKDEP_OFF = "INFO: lockdep is turned off"
NOT_RUN = "not run:"


class Header:
    def __init__(self, path):
        lines = read(path)
        lines = lines[:lines.index("---")] if "---" in lines else []
        self.story = " ".join(line for line in lines if not re.match(r"([A-Z][a-z-]+-by|Not-run): ", line)).strip()
        self.named, self.unseen, self.left_out, self.errors = [], {}, [], []
        if not self.story:
            self.errors.append("its header does not say what is wrong")
        for line in lines:
            m = re.match(r"Caught-by: (\S+) (.+)$", line)
            if m and m.group(1) in KINDS:
                self.named.append((m.group(1), m.group(2).strip().strip('"')))
                continue
            m = re.match(r"Not-(seen-by|run): (\S+): (.+)$", line)
            if m and m.group(2) in PROGRAMS:
                self.unseen[m.group(2)] = m.group(3)
                if m.group(1) == "run":
                    self.left_out.append(m.group(2))
            elif re.match(r"(Caught|Not-seen)-by|Not-run", line):
                self.errors.append("expected \"Caught-by: LAYER WHAT\", \"Not-seen-by: LAYER: why\" or \"Not-run: LAYER: why\", "
                                   f"found \"{line}\"")
        if not self.named:
            self.errors.append("its header names nobody who catches it")


class Report:
    def __init__(self, kind, *lines):
        self.kind, self.lines, self.head = kind, list(lines), lines[-1].strip()


def read_reports(kernel):
    """The reports in the kernel's log, each with what follows until the next one."""
    reports, now, before = [], None, ""
    for line in kernel:
        if CUT in line or PANIC.search(line):
            now = None
        elif WARNED.search(line):
            bare = CUT in before
            kind = "lockdep" if bare or LOCKDEP.search(before) else "oops"
            now = Report(kind, *([] if bare else [before]), line)
            reports.append(now)
            # What led to an assertion is no more lockdep's than what led to any other WARN_ON().
            if bare:
                now = None
        elif REPORT.search(line) and LOCKDEP_OFF not in line:
            now = Report("stall" if STALL.search(line) else "lockdep" if LOCKDEP.search(line) else "oops", line)
            reports.append(now)
        elif now and len(now.lines) < REPORT_LINES:
            now.lines.append(line)
        before = line
    return reports


def not_run(case):
    """A launch test of before says of a case that it left out that it failed, and why: as the one thing that it says."""
    said = [WHERE.sub("", line) for line in case["said"] if not CHATTER.search(line)]
    said = [line for line in said if not line.startswith("Expected MAX_LEFT_BEHIND ")]
    return bool(said) and all(line.startswith(NOT_RUN) for line in said)


class Boot:
    """What one boot left."""

    def __init__(self, logs):
        ktap = read(f"{logs}/ktap.log")
        begun = [line.split(": ", 1)[1] for line in ktap if line.startswith("# Subtest: ")]
        _, tests, _, self.ended = parse_ktap(ktap)
        if len(begun) > len(tests):
            # What a test said that never got to its own result counts as well.
            _, tests, _, _ = parse_ktap(ktap + [f"not ok {len(begun)} {begun[-1]} # no result"])
        self.tests = {t["name"].split(":")[0]: t for t in tests}
        self.cases = {name: {c["name"]: "skip" if not_run(c) else c["result"] for c in t["cases"]}
                      for name, t in self.tests.items()}
        if "kunit" in self.cases:
            found = [m for m in map(SUBRESULT.match, ktap) if m]
            self.cases["kunit"] = {m.group(2).split(" #")[0].strip(): "fail" if m.group(1) else "skip" if "# SKIP" in m.group(2)
                                   else "pass" for m in found}
        kernel = read(f"{logs}/kernel.log")
        self.reports = read_reports(kernel)
        self.panic = next((m.group(1) for m in map(PANIC.search, kernel) if m), None)
        host = read_json(f"{logs}/host.json")
        left = {k: host.get("statistics", {}).get(k) for k in RMP_LEFT}
        self.host = {k: n for k, n in [*host.get("errors", {}).items(), *left.items()] if isinstance(n, int)}
        self.hung = os.path.exists(f"{logs}/timed-out")
        self.unclean = None
        if os.path.exists(f"{logs}/not-built"):
            self.unclean = "it was not built: " + " ".join(read(f"{logs}/not-built"))
        elif os.path.exists(f"{logs}/not-booted"):
            self.unclean = " ".join(read(f"{logs}/not-booted"))
        elif self.panic is not None:
            self.unclean = f"the kernel panicked: {self.panic}"
        elif self.hung:
            self.unclean = f"no end within {read(logs + '/timed-out')[0]} s"
        elif not self.ended:
            self.unclean = "the guest ended before its tests did"
        if self.unclean and not os.path.exists(f"{logs}/not-built"):
            self.unclean += f", after {sum(t['reason'] != 'no result' for t in tests)} of the tests"

    def failed(self, layer):
        late = self.tests.get(PROGRAMS[layer], {}).get("result") == "timeout"
        return [c for c, r in self.cases.get(PROGRAMS[layer], {}).items() if r == "fail"] + ["timeout"] * late


def same_case(named, case):
    """FIXTURE.VARIANT.CASE may be named by its last part."""
    return case == named or case.endswith("." + named)


def new_reports(kind, boot, control):
    known = {r.head for r in control.reports}
    return [r for r in boot.reports if r.kind == kind and r.head not in known]


def seen_by(header, boot, control):
    """What each layer has of the mutant that it has not of the control."""
    seen = {layer: [c for c in boot.failed(layer) if (control.cases.get(program, {}).get(c) == "pass" or c == "timeout")
                    and c not in control.failed(layer)]
            for layer, program in PROGRAMS.items()}
    for kind in IN_LOG:
        named = kind != "stall" or any(kind == k for k, _ in header.named)
        seen[kind] = [r.head for r in new_reports(kind, boot, control)] if named else []
    seen["panic"] = [boot.panic] if boot.panic is not None else []
    seen["host"] = [k for k, n in boot.host.items() if n > control.host.get(k, 0)]
    seen["boot"] = ["timeout"] if boot.hung else []
    return seen


def is_caught(kind, what, seen, boot, control):
    if kind in PROGRAMS:
        return any(same_case(what, c) for c in seen[kind])
    if kind in IN_LOG:
        return any(what in line for r in new_reports(kind, boot, control) for line in r.lines)
    if kind == "panic":
        return any(what in p for p in seen["panic"])
    return what in seen[kind]


def not_run_either(kind, what, boot):
    """A case that was skipped, or that the program did not get to, has missed nothing."""
    if kind not in PROGRAMS or PROGRAMS[kind] not in boot.cases or what == "timeout":
        return ""
    results = [r for c, r in boot.cases[PROGRAMS[kind]].items() if same_case(what, c)]
    if not results:
        return ": it has no result in this boot"
    skipped = results.count("skip")
    return "" if not skipped else ": it was skipped" if skipped == len(results) else f": {skipped} of {len(results)} were skipped"


def judge(header, boot, control, tests):
    """(word, problems, what each layer saw, which of the named catchers did)."""
    ran = [layer for layer, program in PROGRAMS.items() if program in tests and layer not in header.left_out]
    seen = seen_by(header, boot, control)
    named, problems = [], list(header.errors)
    for kind, what in header.named:
        named.append({"layer": kind, "what": what, "caught": is_caught(kind, what, seen, boot, control)})
        if kind in PROGRAMS and kind not in ran:
            problems.append(f"{kind} {what}: that layer was not run")
        elif kind in PROGRAMS and what != "timeout" and not any(same_case(what, c) for c in control.cases.get(PROGRAMS[kind], {})):
            problems.append(f"{kind} {what}: the series without the mutant has no such case")
        elif not named[-1]["caught"]:
            problems.append(f"not caught by {kind} {what}, which its header names" + not_run_either(kind, what, boot))
    if boot.unclean and not any(n["caught"] for n in named if n["layer"] in ("panic", "boot")):
        return "not judged", [boot.unclean], seen, named
    if not any(seen.values()):
        return "survived", problems, seen, named
    for layer in ran:
        if not seen[layer] and layer not in header.unseen:
            problems.append(f"not seen by {layer}, and its header has no \"Not-seen-by: {layer}: why\"")
    if header.named and not any(n["caught"] for n in named):
        problems.insert(0, "caught by nobody whom its header names")
    return ("caught" if not problems else "not as named"), problems, seen, named


def some(what):
    return what[0] + (f" and {len(what) - 1} more" if len(what) > 1 else "")


def verb_judge(args):
    boot, control, header = Boot(args.logs), Boot(args.control), Header(args.patch)
    tests = [t.split(":")[0] for t in args.tests.split(",")]
    word, problems, seen, named = judge(header, boot, control, tests)
    name = os.path.basename(args.patch)[:-len(".patch")]
    write_json(f"{args.logs}/result.json", {
        "tree": args.tree, "name": name, "story": header.story, "result": word, "seconds": args.seconds / 10,
        "named": named, "not_seen_by": header.unseen, "problems": problems,
        "layers": {layer: {"result": "not run" if layer in PROGRAMS and (PROGRAMS[layer] not in boot.cases)
                           else "caught" if what else "not seen", "by": what} for layer, what in seen.items()}})
    by = "; ".join(f"{layer}: {some(what)}" for layer, what in seen.items() if what)
    print(f"{word if word == 'caught' else word.upper():<12} {name:<28} {args.seconds / 10:4.1f} s  {by[:150]}")
    for problem in problems:
        print(f"             {problem}")


def cell(result, layers):
    """What a column says of a mutant."""
    words = [result["layers"][layer]["result"] for layer in layers if layer in result["layers"]]
    if "caught" in words:
        return "caught" if any(n["layer"] in layers and n["caught"] for n in result["named"]) else "(caught)"
    return "-" if "not seen" in words else "not run"


def show_matrix(rows, indent="      "):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(indent + "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def read_tree(folder, problems):
    """One tree's results, and its control's."""
    tree = os.path.basename(folder.rstrip("/"))
    control = read_json(f"{folder}/control/verdict.json")
    results = []
    if control.get("exit") != 0:
        problems.append(f"{tree}: the series without a mutant does not pass: none was judged, as each would look caught")
    for path in read(f"{folder}/mutants"):
        name = os.path.basename(path)[:-len(".patch")]
        result = read_json(f"{folder}/{name}/result.json")
        if result.get("name") != name:
            result = {"tree": tree, "name": name, "result": "not judged", "layers": {}, "named": [], "not_seen_by": {},
                      "problems": ["it was not run"], "seconds": 0}
        if control.get("exit") == 0 or not result["problems"]:
            problems.extend(f"{tree}/{name}: {result['result']}: {p}" for p in result["problems"] or
                            (["nobody saw a difference"] if result["result"] == "survived" else []))
        results.append(result)
    if not results:
        problems.append(f"{tree}: expected mutants, found none")
    return tree, control, results


def verb_matrix(args):
    problems, trees, total = [], {}, {}
    for folder in args.folders:
        tree, control, results = read_tree(folder, problems)
        idle = {}
        for layer, program in PROGRAMS.items():
            caught = {c for r in results for c in r["layers"].get(layer, {}).get("by", [])}
            idle[layer] = [c for c, r in Boot(f"{folder}/control").cases.get(program, {}).items()
                           if r == "pass" and c not in caught]
        trees[tree] = {"control": control.get("verdict"), "linux": control.get("linux"), "mutants": results,
                       "cases_that_caught_nothing": idle}
        rows = [(f"{tree}", *COLUMNS, "")]
        for r in results:
            total[r["result"]] = total.get(r["result"], 0) + 1
            rows.append((r["name"], *(cell(r, layers) for layers in COLUMNS.values()),
                         "" if r["result"] == "caught" else r["result"].upper()))
        show_matrix(rows)
        for layer, cases in idle.items():
            if cases:
                print(f"      {tree}: no mutant failed {layer} {', '.join(cases)}")
    for problem in problems:
        print(f"      {problem}")
    n, caught = sum(total.values()), total.get("caught", 0)
    status = 0 if n and caught == n and not problems else 1
    rest = ", ".join(f"{total[word]} {word}" for word in ("survived", "not as named", "not judged") if total.get(word))
    print(f"{'FAIL' if status else 'PASS'}: {n} mutants: {caught} caught, {rest or '0 survived'}; {args.seconds} s; "
          f"logs: {args.shown_logs or ' '.join(args.folders)}")
    if args.json:
        write_json(args.json, {"verb": "mutants", "verdict": "fail" if status else "pass", "exit": status,
                               "seconds": args.seconds, "counts": {"mutants": n, **total}, "problems": problems,
                               "trees": trees, "logs": args.shown_logs})
    return status


def main():
    p = argparse.ArgumentParser(add_help=False)
    verbs = p.add_subparsers(dest="verb", required=True)
    j = verbs.add_parser("judge", add_help=False)
    for name in ("tree", "patch", "logs", "control"):
        j.add_argument(name)
    j.add_argument("--tests", required=True)
    j.add_argument("--seconds", type=int, default=0)
    m = verbs.add_parser("matrix", add_help=False)
    m.add_argument("--json")
    m.add_argument("--seconds", type=int, default=0)
    m.add_argument("--shown-logs")
    m.add_argument("folders", nargs="+")
    t = verbs.add_parser("tests", add_help=False)
    t.add_argument("patch")
    t.add_argument("--tests", required=True)
    args = p.parse_args()
    if args.verb == "tests":
        left_out = {PROGRAMS[layer] for layer in Header(args.patch).left_out}
        print(",".join(t for t in args.tests.split(",") if t.split(":")[0] not in left_out))
        return 0
    if args.verb == "judge":
        return verb_judge(args)
    return verb_matrix(args)


if __name__ == "__main__":
    sys.exit(main())
