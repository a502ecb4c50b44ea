# SPDX-License-Identifier: GPL-2.0-only
"""The verb attest: says what an attestation report means, who signed it, and which launch it is of."""
from __future__ import annotations

import hashlib
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.attest import attestation, launch_digest
from lab.attest.answer import Question, answer
from lab.attest.explain import FEATURES, Claim
from lab.attest.launch_digest import CPU_MODELS, FEATURE_SNP, MAX_VCPUS, Firmware, Kernel
from lab.build import deps
from lab.core.errors import setup_error, usage_error
from lab.core.options import Given, Option
from lab.core.places import Cache, tilde
from lab.core.session import Session
from lab.core.steps import Plan
from lab.core.terminal import Terminal
from lab.judge.files import versioned, write_json

# Where distributions put firmware; the cache has the one that `guest` boots.
FIRMWARE_PLACES = ("/usr/share/ovmf", "/usr/share/OVMF", "/usr/share/edk2", "/usr/share/qemu")
CACHED_FIRMWARE = "base/ovmf*/usr/share/*/*.fd"
LAUNCH_OPTIONS = ("--kernel", "--initrd", "--append", "--kernel-hashes", "--smp", "--cpu", "--guest-features", "--host-mce")
# The search takes longer than 5 seconds.
MANY_CPUS = 512
OPTIONS = tuple(Option(name, value) for name, value in (
    ("--vcek", "FILE"), ("--chain", "FILE"), ("--report-data", "HEX"), ("--measurement", "HEX"), ("--firmware", "FILE"),
    ("--smp", "N"), ("--cpu", "NAME"), ("--kernel", "FILE"), ("--initrd", "FILE"), ("--append", "STRING"),
    ("--kernel-hashes", "on|off"), ("--guest-features", "NUMBER"), ("--host-mce", "on|off"), ("--json", "FILE")))
USAGE = f"""\
usage: ./snplab attest REPORT [--vcek FILE] [--chain FILE]... [--report-data HEX] [--measurement HEX] [--json FILE]
                       [--firmware FILE... --smp N --cpu NAME [--kernel FILE... [--initrd FILE...] [--append STRING]]
                       [--kernel-hashes on|off] [--guest-features NUMBER] [--host-mce on|off]]

Says in words what an attestation report contains, and checks what the options give. Uses no network. REPORT is a file with
the report's 1184 bytes (outblob of Linux's configfs-tsm), or the firmware's response to a guest's request; binary, hex or
base64, or in a console's log between lines BEGIN SNP REPORT and END SNP REPORT.

Who signed it:
  --vcek FILE     the certificate (PEM or DER) of the VCEK or VLEK, or its public key in PEM
  --chain FILE    certificates, in any order: ARK and ASK (or ASVK), and the VCEK or VLEK if --vcek does not give it. PEM
                  with one or more, DER, or the table of certificates (auxblob). May be given several times

What it answers:
  --report-data HEX
                  the data in the guest's request, filled up with zeros to 64 bytes
  --measurement HEX
                  the measurement that you expect, 48 bytes

What was launched: with these the launch digest is computed and compared with the report's measurement. If it differs, the
command looks for the one change of the launch that explains it.
  --firmware FILE the file of QEMU's -bios. If given several times, the first is the launch's, and the others are tried; so
                  are those of this machine's packages and of the cache
  --smp N         the number of CPUs, 1 to {MAX_VCPUS}
  --cpu NAME      the CPU model of QEMU's -cpu: {', '.join(CPU_MODELS)},
                  with or without a version and features; or EAX of CPUID leaf 1, such as 0xa00f11
  --kernel FILE, --initrd FILE
                  the files of QEMU's options of these names; if given several times, as with --firmware
  --append STRING the kernel's command line
  --kernel-hashes on|off
                  QEMU's kernel-hashes (default on with --kernel, otherwise off)
  --guest-features NUMBER
                  SEV_FEATURES (default {FEATURE_SNP:#x}, SNP alone; {FEATURE_SNP | 0x20:#x} with {FEATURES[5]})
  --host-mce on|off
                  does the host's kernel have CONFIG_X86_MCE? (default on)

  --json FILE     also write the answer to FILE, as JSON
  -h, --help      this text

Exit status: 0 all that was asked for holds; 1 something does not; 2 usage; 3 a file cannot be used. Needs openssl for --vcek
and --chain; on Debian, as root, it is installed if it is missing.
"""
# No --dry-run: the verb changes nothing.
DRY_RUN = False
# The answer is on standard output; the installation of openssl is shown on standard error.
ANSWERS = True
# For a file whose name begins with a dash.
TAKES_REST = True


def main(session: Session, given: Given) -> int:
    """Answers, and returns the exit status."""
    report = the_report(given.arguments + given.rest)
    vcek, chain = given.file("--vcek"), given.every_file("--chain")
    report_data = hex_option(given.value("--report-data"), "--report-data", 1, attestation.REPORT_DATA_LEN)
    measurement = hex_option(given.value("--measurement"), "--measurement", attestation.MEASUREMENT_LEN,
                             attestation.MEASUREMENT_LEN)
    check_launch_options(given)
    try:
        data = attestation.read_report(report)
        claim = claim_of(session.cache, given, attestation.parse_report(data))
        if (vcek or chain) and deps.missing(["attest"]):
            plan = Plan(session)
            deps.install_step(plan, "attest")
            plan.run()
        if claim is not None and claim.vcpus > MANY_CPUS:
            session.terminal.note(f"computing digests with {claim.vcpus} CPUs: up to a minute if the measurement differs")
        found = answer(Question(report, Path(given.value("--vcek") or "") if vcek else None, chain, report_data, measurement,
                                claim))
    except (attestation.Unusable, launch_digest.Unusable) as e:
        raise setup_error(e.message, e.hint) from e
    say = Terminal(sys.stdout).say
    for line in found.lines():
        say(line)
    if session.json is not None:
        session.json_done = True
        write_json(session.json, versioned(found.to_json()))
    return found.exit


def the_report(names: Sequence[str]) -> Path:
    """The file that the command line names."""
    if not names or not names[0]:
        raise usage_error("expected the file of an attestation report, found no REPORT")
    if len(names) > 1:
        raise usage_error(f"expected one REPORT, found '{names[0]}' and '{names[1]}'", "name each file of certificates with "
                          "--chain, and each firmware with --firmware")
    if not Path(names[0]).is_file():
        raise usage_error(f"no such file: {names[0]}")
    return Path(names[0])


def hex_option(text: str | None, name: str, least: int, most: int) -> bytes | None:
    """The bytes of an option in hex, least to most of them."""
    if text is None:
        return None
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if not least <= len(data) <= most:
        raise usage_error(f"{name}: expected {2 * most} hex digits{', or fewer' if least < most else ''}, found '{text}'")
    return data


def switch(text: str | None, name: str, default: bool) -> bool:
    """An option that is on or off."""
    if text not in (None, "on", "off"):
        raise usage_error(f"{name} wants on or off, found '{text}'")
    return default if text is None else text == "on"


# --- The launch --------------------------------------------------------------------------------------


def check_launch_options(given: Given) -> None:
    """Refuses a launch that is not described whole."""
    if given.value("--firmware") is None:
        named = next((name for name in LAUNCH_OPTIONS if name in given.values), None)
        if named is not None:
            raise usage_error(f"{named} needs --firmware: the launch digest begins with the firmware",
                              "give the file of QEMU's -bios, such as OVMF.amdsev.fd of Debian's ovmf-amdsev")
        return
    if given.value("--smp") is None or given.value("--cpu") is None:
        raise usage_error("--firmware needs --smp N and --cpu NAME, as QEMU had them", "if you do not know one of them, "
                          "guess: --smp 1, --cpu EPYC-Milan. The measurement says what it was, if the rest is right")
    if given.value("--kernel") is None:
        for name in ("--initrd", "--append", "--kernel-hashes"):
            if name in given.values and given.values[name] != "off":
                raise usage_error(f"{name} needs --kernel")


def features_of(text: str | None) -> int:
    """SEV_FEATURES."""
    value = FEATURE_SNP if text is None else number(text)
    if value is None or not 0 < value < 1 << 64 or not value & FEATURE_SNP:
        raise usage_error(f"--guest-features: expected 64 bits with bit 0, SNP, set, found '{text}'")
    return value


def number(text: str) -> int | None:
    """A number, decimal or with 0x; None if it is none."""
    return int(text, 0) if re.fullmatch(r"0x[0-9A-Fa-f]{1,16}|0|[1-9][0-9]{0,18}", text) else None


def signature_of(cpu: str) -> int:
    """The signature of a CPU model, or the number."""
    value = number(cpu)
    if value is not None and value < 1 << 32:
        return value
    try:
        return launch_digest.named_signature(cpu)
    except launch_digest.Usage as e:
        raise usage_error(f"--cpu: expected one of {' '.join(CPU_MODELS)}, found '{cpu}'",
                          "for any other, give EAX of its CPUID leaf 1, such as 0xa00f11") from e


def claim_of(cache: Cache, given: Given, report: attestation.Report) -> Claim | None:
    """The launch that the options describe; None without --firmware. Raises Unusable for a file that QEMU would refuse."""
    paths = given.every_file("--firmware")
    smp, cpu, features = given.number("--smp", 1, MAX_VCPUS, 1), given.value("--cpu"), given.value("--guest-features")
    on = switch(given.value("--kernel-hashes"), "--kernel-hashes", True)
    host_mce = switch(given.value("--host-mce"), "--host-mce", True)
    if not paths or cpu is None:
        return None
    signature, features_value = signature_of(cpu), features_of(features)
    kernels, initrds = given.every_file("--kernel"), given.every_file("--initrd")
    kernel: Kernel | None = None
    if kernels:
        kernel = launch_digest.measured_kernel(kernels[0], initrds[0] if initrds else None, given.value("--append") or "")
    processor = report.data[attestation.PROCESSOR:attestation.PROCESSOR + 3] if report.version >= 3 else b""
    firmware = launch_digest.read_firmware(paths[0])
    others = [launch_digest.read_firmware(path) for path in paths[1:]]
    return Claim(firmware, smp, cpu, signature, kernel, on and kernel is not None, features_value, host_mce,
                 itertools.chain(others, installed(cache, {one.data for one in (firmware, *others)})),
                 [(str(path), hashlib.sha256(launch_digest.read_kernel(path)).digest()) for path in kernels[1:]],
                 [(str(path), hashlib.sha256(launch_digest.read(path)).digest()) for path in initrds[1:]],
                 (processor[0], processor[1], processor[2]) if processor else None)


def installed(cache: Cache, seen: set[bytes]) -> Iterator[Firmware]:
    """The firmware of this machine's packages and of the cache with which an SNP guest can be launched, each once."""
    paths = [path for place in FIRMWARE_PLACES for path in sorted(Path(place).glob("**/*.fd"))]
    for path in [*paths, *sorted(cache.root.glob(CACHED_FIRMWARE))]:
        try:
            firmware = launch_digest.read_firmware(path)
        except launch_digest.Unusable:
            continue
        if firmware.data not in seen:
            seen.add(firmware.data)
            yield Firmware(tilde(path), firmware.data, firmware.table, firmware.sections, firmware.reset)
