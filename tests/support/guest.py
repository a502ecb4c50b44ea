# SPDX-License-Identifier: GPL-2.0-only
"""Runs `snplab guest --check` as a user does, and reads its JSON on the guest, L2."""
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.core.places import TOP
from lab.patches.series import series_name
from tests.support.front import Done, expect, run_snplab
from tests.support.l1 import BUILD_LIMIT

# The mutant that is the first posting of the fix: it leaves every vCPU's mutex locked. The verdict must have these lines.
FIRST_POSTING = "leak-on-success"
HANG = (
    # The guest was launched, but never ran.
    r"not ok: guest\.runs: the guest hangs: vCPU threads are blocked on vcpu->mutex",
    # The verdict names the vCPUs' threads and where they wait.
    r"blocked in kvm_vcpu_ioctl\(\), where vcpu->mutex is taken: CPU 0/KVM in KVM_KVMCLOCK_CTRL",
    # It shows a thread's stack.
    r"thread CPU 0/KVM: stack: .*kvm_vcpu_ioctl",
    # lockdep names the function that took the mutex, and the one that returned with it.
    r"lockdep: &vcpu->mutex, taken by kvm_lock_all_vcpus\(\), was still held when sev_mem_enc_ioctl\(\) "
    r"released &kvm->lock",
)


@dataclass(frozen=True)
class GuestBoot:
    """One run of the verb."""

    done: Done
    data: dict[str, Any]

    @property
    def attestation(self) -> dict[str, Any]:
        """The JSON's part about the report."""
        found: dict[str, Any] = self.data["attestation"]
        return found

    def case(self, name: str) -> list[str]:
        """The results of a case."""
        cases = [case for test in self.data["tests"] for case in test["cases"]]
        return [case["result"] for case in cases if case["name"] == f"guest.{name}"]


def boot_guest(folder: Path, *words: str | Path) -> GuestBoot:
    """Runs `guest --check` to its verdict."""
    result = folder / "json"
    done = run_snplab("guest", "--check", "--json", result, *words, timeout=BUILD_LIMIT)
    data = json.loads(result.read_text(encoding="utf-8"))
    assert "tests" in data, f"no verdict:\n{done.output[-4000:]}"
    return GuestBoot(done, data)


def check_hang(tree: str, folder: Path) -> None:
    """Boots the guest of the fix's first posting: it hangs after its launch, and the verdict must report why."""
    patch = TOP / "tests/mutants" / series_name(tree) / f"{FIRST_POSTING}.patch"
    found = boot_guest(folder, "--tree", tree, "--patch", patch)
    expect(found.done, 1)
    for pattern in HANG:
        expect(found.done, 1, pattern)
    # The guest printed nothing.
    assert not re.search(r"\| .*(Linux version|snplab:)", found.done.output), found.done.output[-4000:]
