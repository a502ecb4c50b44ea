#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What boots of the benchmark have counted, as a table, a line through it, and a verdict.

usage: bench.py --tree TREE --linux VERSION --most N --turns N --with LOG... --without LOG... [--limit N] [--json FILE]

LOG has lines "bench: vcpus=N turn=N ticks=N" for 1, 2, 4, ... vCPUs up to --most. All LOGs of a kind must have the
same numbers: a count that does not repeat is none. Of a number of vCPUs the turn with the fewest instructions
counts: the others have been interrupted by a tick, or by work that the turns before had left. The locks may cost
--limit instructions for each vCPU. Their share of the whole is said and not judged: the emulated firmware encrypts
in no instructions at all, so that the whole is KVM's part alone. How long the firmware must take for each vCPU, for
the share to be SHARE, is said as well.

Exit status: 0, or 1 if a claim does not hold; 3 if the logs are not what they should be.
"""
import argparse
import json
import re
import sys

EX_FAIL, EX_SETUP = 1, 3
LINE = re.compile(r"bench: vcpus=(\d+) turn=(\d+) ticks=(\d+)")
# Largest distance from the line, in percent of what was counted; least R². Not less: from 65 vCPUs on, each look-up
# of a vCPU goes through one more level of KVM's xarray.
MAX_RESIDUAL, MIN_R2 = 2.0, 0.999
SHARE = 1.0


class Unusable(Exception):
    """A log that nothing can be said of."""


def read(path, most, turns):
    """{vCPUs: [ticks of turn 0, 1, ...]}"""
    counted = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            for m in map(LINE.search, f):
                if m:
                    counted.setdefault(int(m[1]), []).append(int(m[3]))
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}") from e
    wanted = [1 << i for i in range(most.bit_length())]
    if sorted(counted) != wanted or any(len(t) != turns + 1 for t in counted.values()):
        raise Unusable(f"{path}: expected {turns + 1} launches for each of {wanted} vCPUs, found "
                       f"{ {n: len(t) for n, t in counted.items()} }")
    return counted


def fit(points):
    """The line through [(x, y)]: intercept, slope, R², and the distances from it in percent of y.

    These are what is made small, by weights of 1 / y²: the few vCPUs are to lie on the line as well.
    """
    weights = [1 / (y * y) for _, y in points]
    total = sum(weights)
    mx = sum(w * x for w, (x, _) in zip(weights, points)) / total
    my = sum(w * y for w, (_, y) in zip(weights, points)) / total
    slope = sum(w * (x - mx) * (y - my) for w, (x, y) in zip(weights, points)) / \
        sum(w * (x - mx) ** 2 for w, (x, _) in zip(weights, points))
    intercept = my - slope * mx
    rest = [y - intercept - slope * x for x, y in points]
    spread = sum((y - sum(y for _, y in points) / len(points)) ** 2 for _, y in points)
    r2 = 1 - sum(r * r for r in rest) / spread if spread else 0.0
    return intercept, slope, r2, [100 * r / y for r, (_, y) in zip(rest, points)]


def judge(boots, limit):
    """The rows of the table, the line, and what is wrong."""
    problems = []
    repeats = {kind: all(b == logs[0] for b in logs) for kind, logs in boots.items()}
    for kind, same in repeats.items():
        if not same:
            n = next(n for b in boots[kind] for n in b if b[n] != boots[kind][0][n])
            problems.append(f"{kind} the locks, the boots differ, first at {n} vCPUs: "
                            + " and ".join(str(b[n]) for b in boots[kind]))
    rows = []
    for n in boots["with"][0]:
        a, b = (min(min(log[n][1:]) for log in boots[kind]) for kind in ("with", "without"))
        rows.append({"vcpus": n, "with": a, "without": b, "lock": a - b, "each": (a - b) / n,
                     "share": 100 * (a - b) / a, "firmware": max(0, (100 / SHARE * (a - b) - a) / n)})
    intercept, slope, r2, residuals = fit([(r["vcpus"], r["with"]) for r in rows])
    worst = max(residuals, key=abs)
    line = {"intercept": intercept, "slope": slope, "r2": r2, "residual": worst,
            "residual-vcpus": rows[residuals.index(worst)]["vcpus"]}
    if r2 < MIN_R2:
        problems.append(f"not a straight line: R² is {r2:.6f}, expected at least {MIN_R2}")
    if abs(worst) > MAX_RESIDUAL:
        problems.append(f"not a straight line: {worst:+.2f} % off it at {line['residual-vcpus']} vCPUs, "
                        f"expected at most {MAX_RESIDUAL} %")
    for r in rows:
        if r["lock"] <= 0:
            problems.append(f"{r['vcpus']} vCPUs: the locks cost {r['lock']} instructions: are they in both kernels, or in none?")
        elif limit is not None and r["each"] > limit:
            problems.append(f"{r['vcpus']} vCPUs: the locks cost {r['each']:.0f} instructions each, expected at most {limit}")
    return rows, line, repeats, problems


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tree", required=True)
    p.add_argument("--linux", required=True)
    p.add_argument("--most", type=int, required=True)
    p.add_argument("--turns", type=int, required=True)
    p.add_argument("--with", dest="with_locks", action="append", required=True)
    p.add_argument("--without", action="append", required=True)
    p.add_argument("--limit", type=int)
    p.add_argument("--json")
    args = p.parse_args()
    try:
        boots = {"with": [read(f, args.most, args.turns) for f in args.with_locks],
                 "without": [read(f, args.most, args.turns) for f in args.without]}
    except Unusable as e:
        print(f"snplab: {e}", file=sys.stderr)
        return EX_SETUP
    rows, line, repeats, problems = judge(boots, args.limit)
    print("| vCPUs | instructions | without the locks | the locks | for each vCPU | share |")
    print("|--:|--:|--:|--:|--:|--:|")
    for r in rows:
        print(f"| {r['vcpus']} | {r['with']:,} | {r['without']:,} | {r['lock']:,} | {r['each']:.0f} | {r['share']:.2f} % |")
    print(f"line: {line['intercept']:,.0f} + {line['slope']:,.1f} × vCPUs, R² {line['r2']:.7f}, "
          f"at most {abs(line['residual']):.2f} % off it (at {line['residual-vcpus']} vCPUs)")
    print("repeats: " + ", ".join(f"{kind} the locks {len(logs)} boots, "
                                  + ("equal to the digit" if repeats[kind] else "not equal")
                                  for kind, logs in boots.items()))
    share, each, firmware = (max(r[key] for r in rows) for key in ("share", "each", "firmware"))
    print(f"firmware: the locks are {SHARE:g} % of LAUNCH_FINISH where it takes the time of {firmware:,.0f} instructions "
          "for each vCPU; here it takes none")
    for problem in problems:
        print(f"  {problem}")
    print(f"{'FAIL' if problems else 'PASS'}: bench of {args.tree} on linux {args.linux}: the locks cost at most "
          f"{each:.0f} instructions for each vCPU, {share:.2f} % of KVM's own in LAUNCH_FINISH")
    status = EX_FAIL if problems else 0
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"verb": "bench", "verdict": "fail" if problems else "pass", "exit": status, "tree": args.tree,
                       "linux": args.linux, "limit": args.limit, "rows": rows, "line": line, "repeats": repeats,
                       "problems": problems}, f, indent=1)
            f.write("\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
