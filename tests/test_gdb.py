# SPDX-License-Identifier: GPL-2.0-only
"""`run --gdb` prints a gdb command line with which gdb stops at a breakpoint in KVM's module, with source and arguments.

The modules' addresses are known only once L1 has loaded them. With wrong addresses a breakpoint is never hit, or lands in
the middle of an instruction. If L1 does not wait, its tests are over before anybody can type.
"""
from __future__ import annotations

import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from lab.core.places import TOP

ABOUT = "run --gdb: gdb stops at breakpoints in sev_mem_enc_ioctl() and snp_launch_update_vmsa()"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "boot", "host", "hostsource", "gdb")
TAKES = 900
CASE = "sev_snp_launch_test:snp_launch_smp.2_vcpus.finish_then_run"


def wait_for_line(log: Path, run: subprocess.Popen[bytes], limit: float) -> str:
    """Waits for the command line for gdb in the run's output."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = re.search(r"^gdb .*target remote .*$", log.read_text(errors="replace"), re.M)
        if found:
            return found[0]
        assert run.poll() is None, log.read_text()[-3000:]
        time.sleep(0.5)
    raise AssertionError(f"no line for gdb within {limit} s: {log.read_text()[-3000:]}")


@pytest.mark.parametrize("tree,function", [("6.12.y", "sev_mem_enc_ioctl"), ("mainline", "snp_launch_update_vmsa")])
def test_a_breakpoint_in_the_module_is_hit(tmp_path: Path, tree: str, function: str) -> None:
    log = tmp_path / "run"
    with open(log, "wb") as out:
        run = subprocess.Popen([str(TOP / "snplab"), "run", "--tree", tree, "--gdb", "--test", CASE, "--timeout", "1800"],
                               stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        line = wait_for_line(log, run, 3000)
        script = tmp_path / "gdb"
        script.write_text(f"break {function}\ncontinue\nbacktrace 4\ninfo args\ndelete\ndetach\n")
        # Split the line as a shell does.
        words = [*shlex.split(line), "-batch", "-nx", "-x", str(script)]
        gdb = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL)
        said = gdb.stdout + gdb.stderr
        print(said)
        assert re.search(rf"^(Thread \d+ hit )?Breakpoint 1, {function} \(", gdb.stdout, re.M), said
        assert re.search(rf"^#0 +{function} \(.*\) at .*sev\.c:\d+", gdb.stdout, re.M), said
        assert "kvm_vm_ioctl" in gdb.stdout or "kvm_arch_vm_ioctl" in gdb.stdout, said
        # After gdb's end the run goes on to its verdict.
        assert run.wait(1200) == 0, log.read_text()[-3000:]
        assert "\nPASS: " in log.read_text()
    finally:
        if run.poll() is None:
            run.terminate()
            run.wait(60)
