# SPDX-License-Identifier: GPL-2.0-only
"""The options by which `guest` launches an SNP guest with properties and files of the user's.

Each option must reach QEMU's command line in L1, and its part of the measurement or of the report: a boot that passes with
another value than the one asked for would prove nothing. A refusal of KVM's or of the firmware's must be told in words.
"""
from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from lab.attest import attestation, launch_digest
from lab.boot.line import CPU
from lab.build import image
from lab.build.chosen import OPTIONS, Guest, guest_of
from lab.core.errors import Stop
from lab.core.options import parse
from lab.core.session import Session
from lab.core.steps import Job
from lab.judge.guest import L1_MODEL
from lab.judge.refusal import refusal
from lab.judge.snp_object import SnpObject
from tests.attest import make
from tests.attest.id_block import FAMILY, IMAGE, SVN, Identity, make_identity
from tests.support.judge_guest import Files

ABOUT = "the options of guest: QEMU's line in L1, the measurement, the report, refusals in words"
LANE = "fast"
NEEDS = ("guest", "build")
TAKES = 5

DIGEST = bytes(range(48))


def chosen(*words: str | Path) -> Guest:
    """The guest that these options ask for."""
    return guest_of(parse("guest", OPTIONS, [str(word) for word in words]))


def setting(guest: Guest, name: str) -> str:
    """A setting for lab/l1/snp_guest; "" if there is none."""
    return next((line.removeprefix(f"{name}=").strip("'") for line in guest.settings("00", 600)
                 if line.startswith(f"{name}=")), "")


@pytest.fixture(name="files", scope="module")
def fixture_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """L2's files, and keys."""
    return Files.make(tmp_path_factory.mktemp("files"))


@pytest.fixture(name="identity", scope="module")
def fixture_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """An ID block and its authentication information."""
    return make_identity(tmp_path_factory.mktemp("identity"), DIGEST)


# --- The settings of L1's program -----------------------------------------------------------------------------------


def test_nothing_is_asked_for() -> None:
    """Without options, QEMU's object is the one in docs/guest.md."""
    assert setting(chosen(), "snp") == "kernel-hashes=on,policy=0x30000"
    assert [setting(chosen(), name) for name in ("model", "own", "awaited")] == ["", "", ""]


@pytest.mark.parametrize(("words", "name", "value"), [
    (("--policy", "0xb0000"), "snp", "kernel-hashes=on,policy=0xb0000"),
    (("--policy", "196608"), "snp", "kernel-hashes=on,policy=0x30000"),
    (("--kernel-hashes", "off"), "snp", "kernel-hashes=off,policy=0x30000"),
    (("--host-data", "01" * 32), "snp",
     f"kernel-hashes=on,policy=0x30000,host-data={base64.b64encode(bytes([1] * 32)).decode()}"),
    (("--cpu", "EPYC-Genoa-v2,-avx512f"), "model", "EPYC-Genoa-v2,-avx512f"),
    (("--cpu", "host"), "model", "host"),
    (("--smp", "3"), "smp", "3"),
    (("--memory", "1024"), "memory", "1024"),
])
def test_setting(words: tuple[str, ...], name: str, value: str) -> None:
    """The option becomes this setting."""
    assert setting(chosen(*words), name) == value


def test_own_initrd(tmp_path: Path) -> None:
    """An initrd and its text; the text can have any character of a shell's."""
    (tmp_path / "initrd").write_bytes(b"initrd")
    guest = chosen("--initrd", tmp_path / "initrd", "--until", "it's $(up)")
    assert (setting(guest, "own"), guest.initrd) == ("1", tmp_path / "initrd")
    assert "awaited='it'\"'\"'s $(up)'" in guest.settings("00", 600)


def test_memory_of_the_host(tmp_path: Path) -> None:
    """L1 has room for the user's files twice, beside L2's memory and its own."""
    (tmp_path / "initrd").write_bytes(bytes((5 << 20) + 1))
    assert chosen("--initrd", tmp_path / "initrd").l1_memory == chosen().l1_memory + 12


@pytest.mark.parametrize("form", ["file", "file of base64", "file of hex", "base64", "hex"])
def test_forms_of_data(form: str, identity: Identity, tmp_path: Path) -> None:
    """The ID block and its authentication can be given in each form, and are the same."""
    def given(data: bytes, name: str) -> str:
        text = base64.b64encode(data).decode() if "base64" in form else data.hex()
        if not form.startswith("file"):
            return text
        path = tmp_path / name
        path.write_bytes(data if form == "file" else f"{text}\n".encode())
        return str(path)
    guest = chosen("--id-block", given(identity.block, "block"), "--id-auth", given(identity.auth, "auth"), "--author-key")
    assert (guest.snp.id_block, guest.snp.id_auth, guest.snp.author_key) == (identity.block, identity.auth, True)
    assert setting(guest, "snp") == ",".join([
        "kernel-hashes=on,policy=0x30000", f"id-block={base64.b64encode(identity.block).decode()}",
        f"id-auth={base64.b64encode(identity.auth).decode()}", "author-key-enabled=on"])


def test_more_arguments() -> None:
    """--guest-args is split as a shell does."""
    assert chosen("--guest-args", "-device 'x y',z=1 -S").arguments == ("-device", "x y,z=1", "-S")
    with pytest.raises(Stop, match="--guest-args: expected words as a shell takes them, found: No closing quotation"):
        chosen("--guest-args", "-device 'x")


def test_initrd_is_the_same_each_time(tmp_path: Path) -> None:
    """L2's initrd does not depend on when its files were made: an ID block for one boot fits the next one."""
    archives = []
    job = Job(Session("check"), tmp_path / "log")
    for time in (1, 2):
        root = tmp_path / str(time)
        (root / "bin").mkdir(parents=True)
        (root / "bin/sh").write_bytes(b"program")
        for path in (root / "bin/sh", root / "bin", root):
            os.utime(path, (time, time))
        archives.append(image.archive(job, root))
    assert archives[0] == archives[1]


# --- The measurement ------------------------------------------------------------------------------------------------


def test_each_part_of_the_measurement(files: Files) -> None:
    """Firmware, kernel, initrd, command line, hashes, CPUs and CPU model: each other value has another digest."""
    launch, path = files.launch(), files.folder
    (files.folder / "fw2").write_bytes(make.flip(make.firmware(make.Firmware()), 0x10))
    changes: list[dict[str, Any]] = [
        {"firmware": path / "fw2"}, {"kernel": path / "kernel2"}, {"initrd": path / "initrd2"}, {"append": "console=hvc0"},
        {"smp": 3}, {"model": "EPYC-Genoa-v2"}, {"model": "EPYC-Milan,stepping=0"}, {"snp": SnpObject(kernel_hashes=False)}]
    others = [launch, *(dataclasses.replace(launch, **change) for change in changes)]
    assert len({other.digest() for other in others}) == len(others)


def test_no_part_of_the_measurement(files: Files, identity: Identity) -> None:
    """Policy, host data, ID block, the model's version and its features are not measured."""
    launch = files.launch()
    changes: list[dict[str, Any]] = [
        {"snp": SnpObject(0xb0000, host_data=b"x" * 32, id_block=identity.block, id_auth=identity.auth)},
        {"model": "EPYC-Milan-v3,-avx2"}, {"model": "host"}]
    for change in changes:
        assert dataclasses.replace(launch, **change).digest() == launch.digest()


def test_without_hashes_the_files_are_not_measured(files: Files) -> None:
    """With kernel-hashes=off another kernel, initrd or command line has the same digest."""
    launch = dataclasses.replace(files.launch(), snp=SnpObject(kernel_hashes=False))
    other = dataclasses.replace(launch, kernel=files.folder / "kernel2", initrd=files.folder / "initrd2", append="x")
    assert other.digest() == launch.digest()


def test_attest_is_asked_about_the_same_launch(files: Files) -> None:
    """The command that explains a measurement names what differs from the default: it has no model "host"."""
    launch = dataclasses.replace(files.launch(), model="host,-avx2", snp=SnpObject(kernel_hashes=False))
    assert "--kernel-hashes off --smp 2 --cpu EPYC-Milan" in launch.attest_command(Path("report"))
    assert "--kernel-hashes" not in files.launch().attest_command(Path("report"))


def test_host_is_the_emulated_hosts_cpu() -> None:
    """-cpu host gives L2 the signature of L1's CPU."""
    assert CPU.startswith(f"{L1_MODEL},")
    assert launch_digest.named_signature(L1_MODEL) == launch_digest.named_signature("EPYC-Milan-v2")


# --- The report -----------------------------------------------------------------------------------------------------


def wrong(snp: SnpObject, report: bytes) -> list[str]:
    """The names of the fields that the report does not show as asked for."""
    return [check.name for check in snp.checks(attestation.parse_report(report)) if not check.ok]


def test_policy_and_host_data(files: Files) -> None:
    """The report must have both, and zeros for data that was not given."""
    key = files.folder / "vcek.priv"
    plain = make.report(make.Report(), key)
    assert wrong(SnpObject(), plain) == []
    assert wrong(SnpObject(policy=0xb0000), plain) == ["policy"]
    assert wrong(SnpObject(host_data=b"\1" * 32), plain) == ["host data"]
    assert wrong(SnpObject(), make.report(make.Report(host_data="01" * 32), key)) == ["host data"]
    assert wrong(SnpObject(host_data=b"\1" * 32), make.report(make.Report(host_data="01" * 32), key)) == []


FIELDS = {"family ID": 0x10, "image ID": 0x20, "guest SVN": 4, "ID key's digest": 0xe0, "author key's digest": 0x110}


def identified(identity: Identity, author: bool, key: Path) -> bytearray:
    """A report of a guest with that ID block."""
    data = bytearray(make.report(make.Report(), key))
    data[4:8] = SVN.to_bytes(4, "little")
    data[0x10:0x30] = FAMILY + IMAGE
    data[0xe0:0x110] = hashlib.sha384(identity.auth[0x240:0x644]).digest()
    data[0x110:0x140] = hashlib.sha384(identity.auth[0x880:0xc84]).digest() if author else bytes(48)
    return data


@pytest.mark.parametrize("author", [True, False])
def test_id_block(author: bool, files: Files, identity: Identity) -> None:
    """The report must have each field of the ID block, and the digests of the keys."""
    snp = SnpObject(id_block=identity.block, id_auth=identity.auth, author_key=author)
    right = identified(identity, author, files.folder / "vcek.priv")
    assert wrong(snp, bytes(right)) == []
    for name, at in FIELDS.items():
        assert wrong(snp, make.flip(bytes(right), at)) == [name]


# --- Refusals in words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "expected"), [
    ("sev_snp_launch_start: SNP_LAUNCH_START ret=-22 fw_error=0 ''",
     "refused: KVM answered SNP_LAUNCH_START with EINVAL (Invalid argument), not the firmware"),
    ("SNP_LAUNCH_UPDATE ret=-28 fw_error=-1 ''",
     "refused: KVM answered SNP_LAUNCH_UPDATE with ENOSPC (No space left on device), not the firmware"),
    ("SNP_LAUNCH_FINISH ret=-5 fw_error=11 'Bad measurement'",
     "refused: the firmware answered SNP_LAUNCH_FINISH with 0xb, BAD_MEASUREMENT: the launch digest in the ID block is not "
     "that of the pages measured"),
    ("sev_snp_launch_start: SNP_LAUNCH_START ret=-5 fw_error=7 'Policy is not allowed'",
     "refused: the firmware answered SNP_LAUNCH_START with 0x7, POLICY_FAILURE: the platform does not offer what the policy "
     "demands"),
    ("SNP_LAUNCH_UPDATE ret=-5 fw_error=26 ''", "refused: the firmware answered SNP_LAUNCH_UPDATE with 0x1a, "
                                                "INVALID_PAGE_STATE"),
    ("SNP_LAUNCH_FINISH ret=-5 fw_error=99 'unknown error'",
     "refused: the firmware answered SNP_LAUNCH_FINISH with 0x63, a status that the lab does not know"),
])
def test_refusal(said: str, expected: str) -> None:
    """KVM's errno and the firmware's status, in words; a guest that prints the same is not believed."""
    assert refusal(["# | [1.00] " + said, f"# not ok 1 guest.is_launched # QEMU ended with status 1: {said}"]) == [expected]
    assert refusal(["# | [1.00] " + said]) == []


# --- Wrong values ---------------------------------------------------------------------------------------------------

REFUSED = {
    "a policy that is no number": (("--policy", "smt"), r"--policy: expected a number of 64 bits, .*, found 'smt'"),
    "a policy of 65 bits": (("--policy", "18446744073709551616"), "expected a number of 64 bits"),
    "hashes": (("--kernel-hashes", "yes"), "--kernel-hashes: expected on or off, found 'yes'"),
    "short host data": (("--host-data", "00" * 31), "--host-data: expected 32 bytes, .*, found 31 bytes"),
    "host data that is no data": (("--host-data", "?"), "--host-data: expected 32 bytes, .*, found neither"),
    "an unknown CPU": (("--cpu", "Opteron"), "--cpu: expected one of EPYC .*, found Opteron"),
    "a stepping of five bits": (("--cpu", "EPYC-Milan,stepping=16"), "--cpu: expected stepping=0 to stepping=15, found"),
    "a family in hex": (("--cpu", "EPYC,family=0x17"), "--cpu: expected family=0 to family=270, found family=0x17"),
    "an ID block alone": (("--id-block", "00" * 96), "--id-block: expected --id-block and --id-auth, found only one"),
    "an author's key alone": (("--author-key",), "--author-key: expected --id-block and --id-auth"),
    "an ID block of another size": (("--id-block", "00" * 95, "--id-auth", "00"), "--id-block: expected 96 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_the_boot(name: str) -> None:
    """Such a command line is a usage error."""
    words, pattern = REFUSED[name]
    with pytest.raises(Stop, match=pattern) as refused:
        chosen(*words)
    assert refused.value.status == 2


def test_firmware_without_a_place_for_hashes(tmp_path: Path) -> None:
    """Refused, unless no hashes are asked for."""
    path = tmp_path / "fd"
    path.write_bytes(make.firmware(make.Firmware(without="hashes")))
    with pytest.raises(Stop, match="--firmware: .*expected a table for kernel hashes"):
        chosen("--firmware", path)
    assert chosen("--firmware", path, "--kernel-hashes", "off").firmware == path
