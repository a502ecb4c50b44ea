# SPDX-License-Identifier: GPL-2.0-only
"""The verb host: builds the emulated SNP host for other tools, which add the kernel, its console and its disks."""
from __future__ import annotations

from lab.boot.line import PROPERTY, PSP, Machine, is_snp_host
from lab.build.deps import install_step, read_needs
from lab.build.qemu import HostPlan
from lab.build.target import qemu_of
from lab.core.errors import Exit, setup_error, usage_error
from lab.core.options import Given, Option
from lab.core.places import tilde
from lab.core.process import quote
from lab.core.session import Session
from lab.core.steps import Plan
from lab.verbs import common

ANSWERS = True
KINDS = ("line", "binary", "args", "kunit")
OPTIONS = (Option("--print", "KIND"), Option("--install"), Option("--qemu", "DIR"))
USAGE = f"""\
usage: ./snplab host [--print line|binary|args|kunit] [--install] [--qemu DIR] [--dry-run]

Builds the emulated SNP host and prints, on standard output, the command line that starts it. Another tool adds the
kernel, its console and its disks (docs/using-the-host.md).

  --print line    the binary and its arguments, quoted for a shell (the default)
          binary  only the binary
          args    only the arguments, without the accelerator
          kunit   a file for kunit.py --qemu_config
  --install       install what any verb needs, too, not only what this one does: for an image of a machine
{common.OPTIONS_QEMU}
  --dry-run       print what would be done, as commands
  --help          this text
"""


def main(session: Session, given: Given) -> int:
    """Builds the host and prints the command line."""
    given.no_arguments("host")
    what = given.value("--print") or "line"
    if what not in KINDS:
        raise usage_error(f"--print wants line, binary, args or kunit, found '{what}'")
    host = HostPlan(session, qemu_of(given))
    plan = Plan(session)
    purposes = sorted({need.purpose for need in read_needs()}) if given.flag("--install") else ["overlay", "boot"]
    install = install_step(plan, *dict.fromkeys([*purposes, *host.purposes]))
    host.add_steps(plan, None, (install,))
    plan.run()
    if not session.dry_run and not is_snp_host(host.binary):
        raise setup_error(f"expected {tilde(host.binary)} to be an SNP host, found no {PROPERTY} or no {PSP} in it",
                          "unset SNPLAB_QEMU" if host.named else "the patches in host/ add both to QEMU")
    arguments = Machine(host.binary, True).arguments()
    if what == "line":
        print(quote([host.binary, "-accel", "tcg,thread=multi", *arguments]))
    elif what == "binary":
        print(host.binary)
    elif what == "args":
        print(quote(arguments))
    else:
        print(kunit_config(arguments))
    return Exit.PASS


def kunit_config(arguments: list[str]) -> str:
    """A file for kunit.py --qemu_config. kunit.py looks for qemu-system-x86_64 in $PATH."""
    indent = " " * 27
    head = ["from ..qemu_config import QemuArchParams", "", "QEMU_ARCH = QemuArchParams(linux_arch='x86_64',",
            f"{indent}kconfig='CONFIG_SERIAL_8250=y\\nCONFIG_SERIAL_8250_CONSOLE=y',",
            f"{indent}qemu_arch='x86_64',", f"{indent}kernel_path='arch/x86/boot/bzImage',",
            f"{indent}kernel_command_line='console=ttyS0 no_timer_check',", f"{indent}extra_qemu_params=["]
    return "\n".join([*head, *(f"{indent}    '{a}'," for a in arguments), f"{indent}])"])
