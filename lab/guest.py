#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What `./snplab guest` shows of a boot while it runs, and says of it afterwards.

usage: guest.py show LOGS: from standard input to LOGS/ktap.log, and to the user what the SNP guest says; when what
       happened is in LOGS/times, in seconds since this was started.
       guest.py judge LOGS --smp N --nonce TEXT --key FILE --firmware FILE --kernel FILE --initrd FILE --append TEXT
       [verdict.py's options]

Judged are what verdict.py judges (reports in the host's kernel log, errors on the emulated host, each case), and the
attestation report: signed by the key in FILE, with the nonce in it, and with the measurement that is computed here.
Exit status: verdict.py's.
"""
import base64
import os
import re
import subprocess
import sys
import time

import verdict

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = [f"guest.{name}" for name in
         ("is_launched", "runs", "has_a_shell", "snp_is_active", "has_all_cpus", "attests", "powers_off")]
CONSOLE = re.compile(r"^# \| \[([\d.]+)\] ?(.*)$")
EVENT = re.compile(r"^# event (\w+) ([\d.]+)$")
STARTED = re.compile(r"^# linux \S+, \d+ CPUs, init after ([\d.]+) s$")
MODULES = re.compile(r"^# modules after ([\d.]+) s$")
SHELL = re.compile(r"snplab: shell after (\d+\.?\d*) s, linux (\S+)")
THREAD = re.compile(r"^# thread (CPU \d+/KVM): (.*)$")
WAITS = re.compile(r"state \w, wchan \w+, in (.*), waits for vcpu->mutex$")
# A terminal would obey: ECMA-48's control sequences and strings, the shorter sequences, and single characters.
ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|"
                    r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# In ktap.log only: what is decoded afterwards, and what QEMU says of a CPU model of which TCG has not everything.
UNSHOWN = re.compile(r"snplab: report: \| |qemu-system-x86_64: warning: host doesn't support requested feature: ")
# What the emulated host says of a VMSA that is none any more, and its RMP entry.
NO_VMSA = re.compile(r"VMRUN on (CPU \d+): VMSA (0x[0-9a-f]+) .*: RMP entry is not that of .*\((0x[0-9a-f]+)\)")
RMP_ASSIGNED, RMP_VMSA, RMP_VALIDATED = 1 << 0, 1 << 61, 1 << 62
REPORT_LINE = re.compile(r"^snplab: report: \| (\S+)$")
REPORT_LEN = 1184
# What lockdep says of locks; "Nested lock was not taken" is what a vCPU's mutex that outlives kvm->lock looks like.
NESTED = "Nested lock was not taken"
LOCKDEP = re.compile(r"possible (circular|recursive) locking|lock held when returning|still holding|bad unlock balance|"
                     r"held lock freed|locks? still held|inconsistent lock state|lockdep is turned off|" + NESTED)
# What printk may put before a line: the time, and who printed it.
PRINTK = re.compile(r"^(?:\[[^]]*\])* ?")
FRAME = re.compile(r"^ *(\w+)\S*\+0x[0-9a-f]+/0x[0-9a-f]+")
TIME = re.compile(r"^(\w+) (\d+\.\d)$")
# From one to the next, what the time went into.
STEPS = (("init", "the host's firmware and kernel"), ("modules", "its modules: the RMP, SNP's initialization"),
         ("begin", "its other start"), ("launch", "QEMU's start"), ("finish", "the launch: pages measured and encrypted"),
         ("kernel", "the guest's firmware: its memory accepted, its kernel loaded"), ("shell", "the guest's kernel, to a shell"),
         ("checked", "CPUs looked at, an attestation report"), ("end", "power-off"))


def tell(text):
    """To the user. Who reads along may go away, or have no space: the log is written all the same."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(logs):
    """Copies, stamps and shows, line by line."""
    begin, times = time.monotonic(), {}
    sys.stdout.reconfigure(errors="replace")
    with open(f"{logs}/ktap.log", "w", encoding="utf-8") as log:
        for raw in sys.stdin.buffer:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            now = time.monotonic() - begin
            log.write(line + "\n")
            log.flush()
            m = EVENT.match(line)
            name = m.group(1) if m else "init" if STARTED.match(line) else "modules" if MODULES.match(line) else None
            if name:
                times.setdefault(name, now)
            m = CONSOLE.match(line)
            text = ESCAPE.sub("", m.group(2)).rstrip() if m else ""
            if text and not UNSHOWN.match(text):
                tell(f"      {now:5.1f} s  | {text}")
                up = SHELL.search(text)
                if up:
                    # The guest's clock starts with its kernel.
                    times.setdefault("kernel", now - float(up.group(1)))
            elif verdict.CASE.match(line) or line.startswith("# thread "):
                tell(f"      {now:5.1f} s  {ESCAPE.sub('', line[2:])}")
    with open(f"{logs}/times", "w", encoding="utf-8") as f:
        f.writelines(f"{name} {t:.1f}\n" for name, t in times.items())


def read_times(logs):
    """{event: seconds}; of a boot that was ended by force the last line may not be whole."""
    return {m.group(1): float(m.group(2)) for m in map(TIME.match, verdict.read(f"{logs}/times")) if m}


def table(times):
    """Lines, and the same as data: where the time went."""
    rows, last = [], 0.0
    for name, what in STEPS:
        if name in times:
            rows.append((what, times[name] - last, times[name]))
            last = times[name]
    return rows


def find_report(ktap):
    """The attestation report that the guest has printed, or why there is none."""
    lines = [m.group(1) for m in (REPORT_LINE.match(c.group(2)) for c in map(CONSOLE.match, ktap) if c) if m]
    if not lines:
        return None, "the guest has printed none"
    try:
        report = base64.b64decode("".join(lines), validate=True)
    except ValueError as e:
        return None, f"what the guest has printed in {len(lines)} lines is not base64: {e}"
    if len(report) != REPORT_LEN:
        return None, f"what the guest has printed in {len(lines)} lines has {len(report)} bytes, a report has {REPORT_LEN}"
    return report, None


def released_by(lines):
    """Of a stack trace, who called mutex_unlock(). Entries with a question mark are what happened to be on the stack."""
    frames = [m.group(1) for m in map(FRAME.match, lines) if m]
    for inner, outer in zip(frames, frames[1:]):
        if "mutex_unlock" in inner and "mutex_unlock" not in outer:
            return outer
    return None


def lockdep(ktap, kernel):
    """What lockdep says of who has left the mutex locked."""
    reports = [i for i, line in enumerate(kernel) if LOCKDEP.search(line)]
    if not reports:
        return "who holds it is not known: lockdep has reported nothing, or is not in this kernel"
    begin = next((i for i in reports if NESTED in kernel[i]), None)
    if begin is None:
        return f"who holds it is not known: lockdep has reported another thing: {kernel[reports[0]].strip()}"
    lines = [PRINTK.sub("", line) for line in kernel[begin:begin + 60]]
    block = "\n".join(lines)
    who = re.search(r"^(.+)/\d+ is trying to lock:", block, re.M)
    taken = re.search(r"\((&vcpu->mutex)\S*, at: (\w+)", block)
    after = re.search(r"not holding:\n(\S+)", block)
    left = released_by(lines)
    if not (who and taken and after and left):
        return "lockdep's report has another form than expected: see the kernel's log"
    last = next((e.group(1) for line in reversed(ktap) if (e := EVENT.match(line))), "?")
    return (f"lockdep: {taken.group(1)}, taken by {taken.group(2)}(), was still held when {left}() released "
            f"{after.group(1)} (task {who.group(1)}, after the event \"{last}\"): whoever called "
            f"{taken.group(2)}() there has not unlocked")


def hang(ktap, kernel):
    """What there is to say of vCPUs that never ran: from their threads, and from lockdep."""
    threads = [(m.group(1), WAITS.match(m.group(2))) for m in map(THREAD.match, ktap) if m]
    stuck = [f"{name} in {where.group(1)}" for name, where in threads if where]
    if not stuck:
        return []
    return [f"blocked in kvm_vcpu_ioctl(), where vcpu->mutex is taken: {', '.join(stuck)}", lockdep(ktap, kernel)]


def destroyed(host):
    """Of a VMRUN that was refused: was the guest done with the VMSA before KVM was?"""
    said = []
    for m in filter(None, map(NO_VMSA.search, host)):
        if int(m.group(3), 16) & (RMP_ASSIGNED | RMP_VALIDATED | RMP_VMSA) == RMP_ASSIGNED | RMP_VALIDATED:
            said.append(f"{m.group(1)} of the host: KVM entered VMSA {m.group(2)}, which is the guest's and no VMSA any more: it "
                        "matches the race that Linux 6.16 closed with 309d28576f0a (\"KVM: SVM: Fix SNP AP destroy race with "
                        "VMRUN\"), docs/guest.md")
    return said


def run_tool(*command):
    """Status and output of one of the lab's own programs."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def attest(args, ktap):
    """What the report is worth: (data for the JSON, what is wrong with it)."""
    data, wrong = {"digest": None, "measurement": None, "report": None, "checks": [], "firmware": args.firmware,
                   "kernel": args.kernel, "initrd": args.initrd, "append": args.append}, []
    status, out, err = run_tool(f"{HERE}/launch_digest.py", "--firmware", args.firmware, "--vcpus", str(args.smp),
                                "--cpu-model", "EPYC-Milan", "--kernel", args.kernel, "--initrd", args.initrd,
                                "--append", args.append)
    if status:
        return data, [f"the launch digest could not be computed: {err.strip()}"]
    data["digest"] = out.strip()
    report, why = find_report(ktap)
    if report is None:
        return data, [f"expected an attestation report, found none: {why}"]
    path = f"{args.logs}/report.bin"
    with open(path, "wb") as f:
        f.write(report)
    data["report"] = path
    status, out, err = run_tool(f"{HERE}/attestation.py", path, "--digest", data["digest"], "--key", args.key,
                                "--report-data", args.nonce.encode().hex())
    data["checks"] = out.splitlines()
    data["measurement"] = report[0x90:0xc0].hex()
    if status:
        wrong = [line for line in (out + err).splitlines() if not line.startswith("ok")] or [f"attestation.py ended with {status}"]
    return data, wrong


def judge():
    p = verdict.parser()
    p.add_argument("--smp", type=int, required=True)
    for name in ("nonce", "key", "firmware", "kernel", "initrd", "append"):
        p.add_argument(f"--{name}", required=True)
    args = p.parse_args(sys.argv[2:])
    status, data = verdict.judge(args)
    ktap, kernel = verdict.read(f"{args.logs}/ktap.log"), verdict.read(f"{args.logs}/kernel.log")
    data["verb"] = "guest"
    for line in hang(ktap, kernel) + destroyed(verdict.read(f"{args.logs}/host.log")):
        data["problems"].append(line)
    data["attestation"], wrong = {}, []
    if status == 0:
        data["attestation"], wrong = attest(args, ktap)
        found = [case["name"] for test in data["tests"] for case in test["cases"]]
        if found != CASES:
            wrong.append(f"expected the cases {', '.join(CASES)}, found {', '.join(found) or 'none'}")
    if wrong:
        status, data["verdict"] = 1, "fail"
        data["problems"] += wrong
    data["exit"] = status
    times = read_times(args.logs)
    rows = table(times)
    data["times"] = [{"what": what, "seconds": round(took, 1), "until": round(at, 1)} for what, took, at in rows]
    data["shell_seconds"] = times.get("shell")
    if args.json:
        verdict.write_json(args.json, data)
    verdict.write_json(f"{args.logs}/verdict.json", data)
    for what, took, at in rows:
        tell(f"      {took:6.1f} s  {what}" + (f"  (at {at:.1f} s)" if what == rows[-1][0] else ""))
    for line in data["problems"]:
        tell(f"      {line}")
    how = "no shell in the guest" if "shell" not in times else f"a shell in an SNP guest of {args.smp} CPUs after {times['shell']:.1f} s"
    if status == 0:
        how += "; its report is signed, and its measurement the one computed here"
    tell(f"{data['verdict'].upper()}: {data['tree']} on linux {data['linux']}: {how}; {verdict.summary(args, data)}; "
         f"logs: {args.shown_logs or args.logs}")
    return status


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "show":
        return show(sys.argv[2])
    if len(sys.argv) > 3 and sys.argv[1] == "judge":
        return judge()
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
