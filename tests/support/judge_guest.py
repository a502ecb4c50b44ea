# SPDX-License-Identifier: GPL-2.0-only
"""Makes up boots with an SNP guest, L2: its files, its report, the logs of a good boot and of a hang."""
from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.attest import launch_digest
from lab.core.places import LAB
from lab.judge.guest import Launch
from tests.attest import make
from tests.support.judge import SNP_ENABLED, write_logs

# The program that L1 runs.
L1_SCRIPT = next(path for path in (LAB / "l1/snp_guest", LAB / "guest/snp_guest") if path.exists())
NONCE = "0123456789abcdef" * 4
APPEND = "console=hvc0 quiet panic=-1"
CASES = ("is_launched", "runs", "has_a_shell", "snp_is_active", "has_all_cpus", "attests", "powers_off")
LINUX = "Linux version 1.2.3"
QUIET = ('{"ended": "shutdown", "guest-errors": 0, "errors": {"vmrun": 0}, "statistics": {"rmp-assigned": 0, '
         '"rmp-firmware": 0}}')
TIMES = {"init": 2.9, "modules": 3.6, "begin": 3.8, "launch": 4.4, "finish": 5.4, "kernel": 24.9, "shell": 33.2,
         "checked": 36.0, "end": 40.3}


def new_key(folder: Path, name: str) -> Path:
    """Makes a private key, and the public one in NAME.pem."""
    private = folder / f"{name}.priv"
    subprocess.run(["openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", folder / f"{name}.pem"], check=True)
    return private


@dataclass
class Files:
    """The files that L2 is booted from, and the platform's keys."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Files:
        """Makes all files, and a second kernel and initrd."""
        kernel = make.kernel(make.Kernel())
        contents = {"fw": make.firmware(make.Firmware()), "kernel": kernel, "kernel2": make.flip(kernel, 0x800),
                    "initrd": b"initrd", "initrd2": b"another"}
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        for name in ("vcek", "stranger"):
            new_key(folder, name)
        return cls(folder)

    def launch(self, *, smp: int = 2, append: str = APPEND, firmware: str = "fw", kernel: str = "kernel",
               initrd: str = "initrd", key: str = "vcek.pem", own: bool = False, until: str = "") -> Launch:
        """A launch of these files."""
        return Launch(smp, NONCE, self.folder / key, self.folder / firmware, self.folder / kernel, self.folder / initrd,
                      append, own=own, until=until)

    @property
    def digest(self) -> str:
        """The measurement of launch()'s defaults."""
        launch = self.launch()
        return launch_digest.launch_digest(launch_digest.LaunchInput(
            launch_digest.read_firmware(launch.firmware), launch.smp, launch_digest.named_signature("EPYC-Milan"),
            launch_digest.measured_kernel(launch.kernel, launch.initrd, launch.append))).hex()

    def report(self, key: str = "vcek", nonce: str = NONCE) -> bytes:
        """A report on launch()'s defaults, signed by one of the keys."""
        return make.report(make.Report(measurement=self.digest, report_data=nonce.encode().hex()),
                           self.folder / f"{key}.priv")


def base64_lines(data: bytes) -> list[str]:
    """As `base64 -w 76` prints them."""
    text = base64.b64encode(data).decode()
    return [text[i:i + 76] for i in range(0, len(text), 76)]


def ktap(report: bytes) -> list[str]:
    """The KTAP of a boot without a fault, as init and snp_guest print it in L1."""
    return ["KTAP version 1", "# linux 1.2.3, 4 CPUs, init after 2.1 s", "# modules after 2.8 s", "1..1",
            "# Subtest: snp_guest", "# event begin 3.04", "# 1..7",
            "# | [3.10] qemu-system-x86_64: warning: host doesn't support requested feature: CPUID.01H:EDX.vme [bit 1]",
            "# | [3.56] kvm_sev_snp_launch_start policy 0x30000 gosvw (null)", "# event launch 3.56",
            "# | [4.61] kvm_sev_snp_launch_finish id_block (null) id_auth (null) host_data (null)",
            "# event finish 4.61", "# ok 1 guest.is_launched",
            "# | [32.38] snplab: shell after 8.22 s, linux 1.2.3-guest", "# event shell 32.38",
            "# ok 2 guest.runs", "# ok 3 guest.has_a_shell", f"# | [32.89] check {NONCE}", "# | [32.90] ",
            f"# | [33.53] guest# check {NONCE}",
            "# | [33.78] snplab: log: [    1.605949] smp: Brought up 1 node, 2 CPUs",
            "# | [33.98] snplab: memory encryption: AMD SEV SEV-ES SEV-SNP", "# ok 4 guest.snp_is_active",
            "# | [34.12] snplab: cpus 2", "# ok 5 guest.has_all_cpus", "# | [34.30] snplab: report: provider sev_guest",
            *(f"# | [34.36] snplab: report: | {line}" for line in base64_lines(report)),
            "# | [35.17] snplab: report: end", "# ok 6 guest.attests", "# | [35.22] snplab: checked",
            "# event checked 35.22", "# | [35.28] guest# exit", "# qemu: ended with status 0", "# event end 39.48",
            "# ok 7 guest.powers_off", "# snp_guest took 36.6 s", "ok 1 snp_guest", "snplab: end of tests"]


BLOCKED = ("state D, wchan kvm_vcpu_ioctl, in KVM_RUN, waits for vcpu->mutex",
           "stack: [<0>] kvm_vcpu_ioctl+0x9a/0x6c0 [kvm]", "stack: [<0>] __x64_sys_ioctl+0x4d3/0xa80")
ELSEWHERE = ("state S, wchan kvm_vcpu_block, system call 16 0xd 0xae80 0x0",
             "stack: [<0>] kvm_vcpu_block+0x9a/0x6c0 [kvm]")


def hanging_ktap(thread: Sequence[str] = BLOCKED) -> list[str]:
    """The KTAP of a boot whose vCPUs hang before L2's first message; `thread` is printed for each vCPU's thread."""
    whole = ktap(b"")
    threads = [f"# thread CPU {cpu}/KVM: {line}" for cpu in range(2) for line in thread]
    return [*whole[:whole.index("# ok 1 guest.is_launched") + 1], *threads,
            "# not ok 2 guest.runs # the guest hangs: vCPU threads are blocked on vcpu->mutex, for 10 s",
            *(f"# not ok {n} guest.{case} # not reached: see runs" for n, case in enumerate(CASES[2:], 3)),
            "# snp_guest took 20.0 s", "not ok 1 snp_guest # exit status 1", "snplab: end of tests"]


TAKEN = {"6.12.y": "ffff888000f900b0 (&vcpu->mutex){+.+.}-{3:3}, at: kvm_lock_all_vcpus+0xa3/0x150 [kvm]",
         "mainline": "ffff88800350d5c8 (&vcpu->mutex){+.+.}-{4:4}, at: kvm_lock_all_vcpus+0x11e/0x1b0 [kvm]"}
RELEASED = {
    "6.12.y": [" ? sev_mem_enc_ioctl+0xa9/0x1030 [kvm_amd]", " lock_release+0x11a/0x260", " ? __might_fault+0x2f/0x70",
               " __mutex_unlock_slowpath+0x25/0x270", " sev_mem_enc_ioctl+0xa9/0x1030 [kvm_amd]",
               " kvm_arch_vm_ioctl+0x7b9/0xeb0 [kvm]", " kvm_vm_ioctl+0xdd7/0x1e60 [kvm]"],
    # With a function between the two, and a stale entry of the stack ("?").
    "mainline": [" lock_release+0x11d/0x250", " __mutex_unlock_slowpath+0x1a/0x420", " ? __fget_files+0xbb/0x180",
                 " mutex_unlock+0x1a/0x20", " ? kvm_vm_ioctl+0xbf7/0x1ee0 [kvm]",
                 " sev_mem_enc_ioctl+0x13a/0x10a0 [kvm_amd]", " kvm_vm_ioctl+0xbf7/0x1ee0 [kvm]"]}


def lockdep(tree: str) -> list[str]:
    """lockdep's report on the first posting, as the tree's kernel prints it."""
    return ["", "==================================", "WARNING: Nested lock was not taken", "6.12.117 #1 Not tainted",
            "----------------------------------", "qemu-system-x86/416 is trying to lock:", TAKEN[tree], "",
            "but this task is not holding:", "&kvm->lock", "", "stack backtrace:",
            "CPU: 0 UID: 0 PID: 416 Comm: qemu-system-x86 Not tainted 6.12.117 #1 ", "Call Trace:", " <TASK>",
            " dump_stack_lvl+0x62/0x90", " __lock_acquire+0x94c/0x2710", " ? __lock_acquire+0x1679/0x2710",
            " reacquire_held_locks+0xcd/0x1f0", " ? kvm_lock_all_vcpus+0xa3/0x150 [kvm]", " ? lock_acquire+0xa5/0x290",
            " ? mutex_unlock+0x12/0x20", " ? __might_fault+0x2f/0x70", *RELEASED[tree], " ? lock_acquire+0xa5/0x290",
            " __x64_sys_ioctl+0x4d3/0xa80", " do_syscall_64+0x54/0xf0", " </TASK>", ""]


def write_boot(folder: Path, lines: Iterable[str], *, kernel: Sequence[str] = (LINUX, SNP_ENABLED),
               host: str | None = QUIET, host_log: Sequence[str] = (), times: dict[str, float] | str | None = None,
               **marks: str) -> Path:
    """Writes the folder that a boot leaves. A text in `times` becomes the file as it is."""
    write_logs(folder, list(lines), kernel, host=host, host_log=host_log, **marks)
    if times is None:
        times = TIMES
    text = times if isinstance(times, str) else "".join(f"{name} {t:.1f}\n" for name, t in times.items())
    (folder / "times").write_text(text, encoding="utf-8")
    return folder
