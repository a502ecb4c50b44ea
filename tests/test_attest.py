# SPDX-License-Identifier: GPL-2.0-only
"""The launch digest and the attestation report, computed and checked on made-up files.

A digest that leaves out an input would accept another kernel, and a wrong digest would accept nothing. So the digests of
some launches are compared with those that another implementation computed for the same files, a change of any input must
change the digest, and firmware that QEMU or KVM would refuse must be refused here. A report must pass only with its own
digest, its own request and its own key.
"""
from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lab.attest import attestation, launch_digest
from lab.attest.launch_digest import PageType
from tests.attest import certs, make, real

ABOUT = "launch digests equal another implementation's; a report passes only with its own digest, request and key"
LANE = "fast"
NEEDS = ("guest",)
TAKES = 8

TOP = Path(__file__).resolve().parent.parent
MILAN = ("--firmware", "fw", "--cpu-model", "EPYC-Milan")
APPEND = "console=hvc0 a b"
WITH = ("--kernel", "kernel", "--initrd", "initrd", "--append", APPEND)
LAUNCH = (*MILAN, "--vcpus", "2", *WITH)
REQUEST = "22" * 64
HINT = re.compile(r"^        hint: .", re.M)


@dataclass(frozen=True)
class Done:
    """What a tool printed, and its status."""
    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def expect(self, status: int, pattern: str) -> None:
        """Fails unless the tool ended with that status and printed a line that matches."""
        assert self.status == status, self.output
        assert re.search(pattern, self.output, re.M), f"expected a line like {pattern}, found:\n{self.output}"

    def hinted(self, pattern: str) -> None:
        """Fails unless the tool refused a file for that reason and gave a hint."""
        self.expect(3, pattern)
        assert HINT.search(self.output), self.output


def call(main: Callable[[list[str]], int], *words: str) -> Done:
    """Runs the tool in this process; returns what a process would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(list(words))
        except SystemExit as e:
            status = e.code if isinstance(e.code, int) else 1
    return Done(status, out.getvalue(), err.getvalue())


def program(name: str, *words: str) -> Done:
    """Runs the tool as a program of its own, without the lab."""
    done = subprocess.run([sys.executable, "-I", "-B", TOP / "lab/attest" / name, *words], capture_output=True,
                          text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def digest(*words: str) -> Done:
    return call(launch_digest.main, *words)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys: private ones in NAME.priv, public ones in NAME.pem."""
    folder = tmp_path_factory.mktemp("keys")
    for name, words in (("vcek", ("EC", "ec_paramgen_curve:P-384")), ("stranger", ("EC", "ec_paramgen_curve:P-384")),
                        ("p256", ("EC", "ec_paramgen_curve:P-256")), ("rsa", ("RSA", "rsa_keygen_bits:2048"))):
        private = folder / f"{name}.priv"
        subprocess.run(["openssl", "genpkey", "-algorithm", words[0], "-pkeyopt", words[1], "-out", private],
                       check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", folder / f"{name}.pem"], check=True)
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with firmware, a kernel and an initrd."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fw").write_bytes(make.firmware(make.Firmware()))
    (tmp_path / "kernel").write_bytes(make.kernel(make.Kernel()))
    (tmp_path / "initrd").write_bytes(b"initrd")
    return tmp_path


# --- The digest: pages -----------------------------------------------------------------------------

# host/tests/launch-digest.py computes the same numbers for the emulated firmware.
@pytest.mark.parametrize("page_type, gpa, contents, wanted", [
    pytest.param(PageType.ZERO, 0, None,
                 "70c0ecaab9608f14ebf8ac6f0f07bcd8728f4e2ab30382b539b4de4de904ca9f8ebdf4b2cd3cd84dd996bd55dd794676",
                 id="a zero page"),
    pytest.param(PageType.NORMAL, 0x1000, b"\xaa" * 4096,
                 "83f2b12dec4ffc7a903475c06f60c3a229e45e61ad87e4f775f0cc95cea53ade2911f84e1205ddfa14df9bf20bf3f0c3",
                 id="a normal page"),
    pytest.param(PageType.VMSA, launch_digest.VMSA_GPA, bytes(4096),
                 "f4577da9b848673216afc3909e5ea7aa80150dda441526874cd2b0282894709b46484c13a07221aefbedfff667199259",
                 id="a VMSA")])
def test_page(page_type: PageType, gpa: int, contents: bytes | None, wanted: str) -> None:
    assert launch_digest.extend(bytes(48), page_type, gpa, contents).hex() == wanted


# --- The digest: whole launches --------------------------------------------------------------------

# Printed by virtee's sev-snp-measure 0.0.13 (--mode snp) for these files.
PUBLISHED = [
    pytest.param("30d111eae16c6a8f996b240396a085647aa2588ab49889b0769d2ca527d6fa67ed9f08e341cc6da6a087f8abf3420edb",
                 (*MILAN, "--vcpus", "1"), id="1 vCPU"),
    pytest.param("5e88f11897a10867795c15008fe0b615a52611b8f09a2305d2ccaf77cc1c70270fd806a86fa8460bd2a753b1b6be477f",
                 (*MILAN, "--vcpus", "3"), id="3 vCPUs"),
    pytest.param("ecbcda907e1f395849443964d5967fb9abdbaf55461b14de91cc0502cb45a574198de200d5c6dd05130ebda304a9e64a",
                 (*MILAN, "--vcpus", "1", *WITH), id="1 vCPU, with hashes"),
    pytest.param("a3e00a8d65b3f663cd8f88ad75bbac9b5b2a9ec23f4eeb6785bf1339e23e12f38d393679902005e62266aa34082cf4ae",
                 ("--firmware", "fw", "--vcpu-sig", "0xa00f11", "--vcpus", "3", *WITH), id="3 vCPUs, with hashes"),
    pytest.param("be9fd5edc2d0d7ad02d61a958135a9b630f5fd18c23f5b54fcb60c6faef1a9bb5b5dd04b0f79fc32354d5a85cc4b6537",
                 ("--firmware", "fw", "--cpu-model", "EPYC-Genoa-v2,+x2apic", "--vcpus", "2",
                  "--guest-features", "0x21", "--kernel", "kernel"), id="another CPU, other features, a kernel alone")]


@pytest.mark.parametrize("wanted, words", PUBLISHED)
def test_published(wanted: str, words: tuple[str, ...]) -> None:
    assert digest(*words) == Done(0, wanted + "\n", "")


def test_program() -> None:
    """The file runs alone, as a program."""
    assert program("launch_digest.py", *LAUNCH) == digest(*LAUNCH)


def test_function(place: Path) -> None:
    """The judge of a guest's boot calls the tool as a function."""
    kernel = launch_digest.measured_kernel(place / "kernel", place / "initrd", APPEND)
    launch = launch_digest.LaunchInput(launch_digest.read_firmware(place / "fw"), 2,
                                       launch_digest.named_signature("EPYC-Milan"), kernel)
    assert launch_digest.launch_digest(launch).hex() + "\n" == digest(*LAUNCH).stdout


@pytest.mark.parametrize("words", [
    pytest.param((), id="the same command"),
    pytest.param(("--initrd", "initrd2"), id="a file of another name"),
    pytest.param(("--cpu-model", "EPYC-Milan-v2"), id="a version of the CPU model")])
def test_same_digest(words: tuple[str, ...]) -> None:
    shutil.copy("initrd", "initrd2")
    assert digest(*LAUNCH, *words) == digest(*LAUNCH)


BARE = (*MILAN, "--vcpus", "2")
# Launches that differ from LAUNCH in one thing each.
OTHERS: dict[str, tuple[str, ...]] = {
    "the launch itself": LAUNCH,
    "the kernel's byte 0": (*LAUNCH, "--kernel", "kernel@0"),
    "the kernel's byte 0x1f0": (*LAUNCH, "--kernel", "kernel@0x1f0"),
    "the kernel's byte 0x800": (*LAUNCH, "--kernel", "kernel@0x800"),
    "the kernel's last byte": (*LAUNCH, "--kernel", "kernel@-1"),
    "a byte of the initrd": (*LAUNCH, "--initrd", "initrd@5"),
    "no initrd": (*BARE, "--kernel", "kernel", "--append", APPEND),
    "a character of the command line": (*LAUNCH, "--append", "console=hvc0 a c"),
    "a blank more": (*LAUNCH, "--append", APPEND + " "),
    "no command line": (*BARE, "--kernel", "kernel", "--initrd", "initrd"),
    "no hashes": BARE,
    "the firmware's byte 0": (*LAUNCH, "--firmware", "fw@0"),
    "the firmware's byte 0x1fff": (*LAUNCH, "--firmware", "fw@0x1fff"),
    "the firmware's byte 0x2000": (*LAUNCH, "--firmware", "fw@0x2000"),
    "the firmware's last byte": (*LAUNCH, "--firmware", "fw@-1"),
    "a larger firmware": (*LAUNCH, "--firmware", "larger"),
    "1 vCPU": (*LAUNCH, "--vcpus", "1"),
    "3 vCPUs": (*LAUNCH, "--vcpus", "3"),
    "64 vCPUs": (*LAUNCH, "--vcpus", "64"),
    "another CPU": (*LAUNCH, "--cpu-model", "EPYC-Rome"),
    "another feature": (*LAUNCH, "--guest-features", "3"),
    "a host without MCE": (*LAUNCH, "--host-mce", "off")}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digest of each launch in OTHERS."""
    folder = tmp_path_factory.mktemp("others")
    before = os.getcwd()
    os.chdir(folder)
    try:
        files = {"fw": make.firmware(make.Firmware()), "kernel": make.kernel(make.Kernel()), "initrd": b"initrd",
                 "larger": make.firmware(make.Firmware(pages=5))}
        for name, data in files.items():
            Path(name).write_bytes(data)
        for name in {word for words in OTHERS.values() for word in words if "@" in word}:
            whole, offset = name.split("@")
            Path(name).write_bytes(make.flip(files[whole], int(offset, 0)))
        return {text: digest(*words).output for text, words in OTHERS.items()}
    finally:
        os.chdir(before)


@pytest.mark.parametrize("text", OTHERS)
def test_another_digest(text: str, others: dict[str, str]) -> None:
    assert re.fullmatch(r"[0-9a-f]{96}\n", others[text])
    assert [other for other, found in others.items() if found == others[text]] == [text]


def test_steps() -> None:
    """--steps lists the measurements in the order of the metadata, not of the addresses."""
    done = digest(*LAUNCH, "--steps")
    found = [re.sub(r" +", " ", re.sub(r" *[0-9a-f]{96}$", "", line)) for line in done.stderr.splitlines()]
    assert found == ["0x0000ffffc000 0x4000 normal firmware",
                     "0x000000800000 0x9000 zero section 0x1",
                     "0x00000080d000 0x1000 secrets section 0x2",
                     "0x00000080e000 0x1000 CPUID section 0x3",
                     "0x00000080f000 0x1000 zero section 0x4",
                     "0x000000811000 0x3000 zero section 0x1",
                     "0x000000810000 0x1000 normal kernel hashes",
                     "0xfffffffff000 0x1000 VMSA vCPU 0",
                     "0xfffffffff000 0x1000 VMSA vCPU 1"]


def test_last_step() -> None:
    done = digest(*LAUNCH, "--steps")
    assert done.stderr.splitlines()[-1].endswith(" " + done.stdout.strip())
    assert done.stdout == digest(*LAUNCH).stdout


def test_first_reset_address() -> None:
    """If there are two reset addresses, the one that QEMU finds first counts."""
    firmware = launch_digest.parse_firmware(make.firmware(make.Firmware(second_reset=0xffff1234)))
    assert firmware.reset == 0xffffb004


# --- The digest: what cannot be launched -----------------------------------------------------------

@pytest.mark.parametrize("data, pattern", [
    pytest.param(None, "bad: No such file", id="no such firmware"),
    pytest.param(b"", "bad: expected a firmware image, .* found 0 bytes", id="an empty firmware"),
    pytest.param(make.firmware(make.Firmware())[:16000], "bad: expected .* a multiple of 4096 bytes, found 16000 bytes",
                 id="a firmware that was cut off"),
    pytest.param(make.firmware(make.Firmware())[:12288], "bad: expected the foot of a GUID table .* found",
                 id="a firmware whose end is missing")])
def test_firmware_file_refused(data: bytes | None, pattern: str) -> None:
    if data is not None:
        Path("bad").write_bytes(data)
    digest(*MILAN, "--vcpus", "2", "--firmware", "bad").hinted(f"^launch_digest: {pattern}")


SECRETS_AND = "2:80d000:1000,"
WRONG: dict[str, tuple[str, make.Firmware]] = {
    "no table": ("expected the foot of a GUID table", make.Firmware(without="footer")),
    "a table larger than the firmware": ("expected a GUID table of 18 to 16352 bytes, found a length of 16353",
                                         make.Firmware(footer_length=16353)),
    "a table smaller than its foot": ("expected a GUID table of 18 to 16352 bytes, found a length of 17",
                                      make.Firmware(footer_length=17)),
    "an entry without a length": ("expected an entry of 18 to 70 bytes in its GUID table, found a length of 0",
                                  make.Firmware(entry_length=0)),
    "an entry larger than the table": ("expected an entry .* found a length of 71", make.Firmware(entry_length=71)),
    "no metadata": ("expected SEV metadata in its GUID table .* found none", make.Firmware(without="metadata")),
    "metadata before the firmware": ("expected its SEV metadata within its 16384 bytes, found an offset of 16385",
                                     make.Firmware(metadata_offset=16385)),
    "metadata after the firmware": ("expected its SEV metadata within", make.Firmware(metadata_offset=15)),
    "no metadata at its offset": ("expected SEV metadata of version 1, with the signature b'ASEV', found",
                                  make.Firmware(metadata_offset=0x800)),
    "another signature": (".* found version 1 and b'TDVF'", make.Firmware(metadata_signature="TDVF")),
    "another version": (".* found version 2", make.Firmware(metadata_version=2)),
    "more sections than metadata": ("expected 7 sections .* found a length of 88 bytes",
                                    make.Firmware(metadata_count=7)),
    "more metadata than firmware": ("expected 6 sections in its SEV metadata, within 1024 bytes, "
                                    "found a length of 1025", make.Firmware(metadata_length=1025)),
    "a section of half a page": ("expected metadata sections of whole pages .* found type 0x3 at 0x80e000, 0x800 bytes",
                                 make.Firmware(sections=SECRETS_AND + "3:80e000:800")),
    "a section of nothing": ("expected metadata sections .* 0x0 bytes",
                             make.Firmware(sections=SECRETS_AND + "3:80e000:0")),
    "a section between pages": ("expected metadata sections .* at 0x80e010",
                                make.Firmware(sections=SECRETS_AND + "3:80e010:1000")),
    "a section in the firmware": (r"expected metadata sections .* below the firmware \(0xffffc000\)",
                                  make.Firmware(sections=SECRETS_AND + "3:ffffb000:2000")),
    "no CPUID page": ("expected a CPUID page", make.Firmware(sections="1:800000:9000,2:80d000:1000")),
    "no secrets page": ("expected a secrets page", make.Firmware(sections="1:800000:9000,3:80e000:1000")),
    "no reset address": ("expected the SEV-ES reset address in its GUID table .* found none",
                         make.Firmware(without="reset")),
    "half a reset address": ("expected 4 bytes for the SEV-ES reset address .* found 2", make.Firmware(reset_size=2)),
    "a reset address of zero": ("expected an SEV-ES reset address, found zero", make.Firmware(reset=0))}


@pytest.mark.parametrize("text", WRONG)
def test_firmware_refused(text: str) -> None:
    pattern, shape = WRONG[text]
    Path("bad").write_bytes(make.firmware(shape))
    digest(*MILAN, "--vcpus", "2", "--firmware", "bad").hinted(f"^launch_digest: bad: {pattern}")


# Without hashes, each of these can be launched.
PAIR = "2:80d000:1000,3:80e000:1000"
UNHASHED: dict[str, tuple[str, make.Firmware]] = {
    "hashes, but no place for them": ("expected a table for kernel hashes in its GUID table .* found none",
                                      make.Firmware(without="hashes")),
    "hashes, but no page for them": ("expected one page for kernel hashes .* found 0: the hashes would not be measured",
                                     make.Firmware(sections=PAIR)),
    "hashes, but two pages for them": ("expected one page for kernel hashes .* found 2",
                                       make.Firmware(sections=PAIR + ",10:810000:1000,10:811000:1000")),
    "hashes in another page": ("expected a table of at least 176 bytes .* at 0x810000, found 1024 bytes at 0x811c00",
                               make.Firmware(hashes_base=0x811c00)),
    "hashes across the end of their page": ("expected a table .* at 0x810f60", make.Firmware(hashes_base=0x810f60)),
    "too little place for hashes": ("expected a table of at least 176 bytes .* found 175 bytes",
                                    make.Firmware(hashes_size=175))}


@pytest.mark.parametrize("text", UNHASHED)
def test_hashes_refused(text: str) -> None:
    pattern, shape = UNHASHED[text]
    Path("bad").write_bytes(make.firmware(shape))
    digest(*MILAN, "--vcpus", "2", "--firmware", "bad", "--kernel", "kernel").hinted(f"^launch_digest: bad: {pattern}")


@pytest.mark.parametrize("text", UNHASHED)
def test_launched_without_hashes(text: str) -> None:
    Path("bad").write_bytes(make.firmware(UNHASHED[text][1]))
    digest(*MILAN, "--vcpus", "2", "--firmware", "bad").expect(0, "^[0-9a-f]{96}$")


def test_just_enough_place_for_hashes() -> None:
    Path("other").write_bytes(make.firmware(make.Firmware(hashes_base=0x810f50, hashes_size=176)))
    digest(*LAUNCH, "--firmware", "other").expect(0, "^[0-9a-f]{96}$")


@pytest.mark.parametrize("words, shape, pattern", [
    pytest.param(("--kernel", "nowhere"), None, "nowhere: No such file", id="no such kernel"),
    pytest.param(("--kernel", "kernel", "--initrd", "nowhere"), None, "nowhere: No such file", id="no such initrd"),
    pytest.param(("--kernel", "bad"), make.Kernel(magic="ELFX"),
                 "bad: expected a bzImage, with HdrS at 0x202, found b'ELFX'", id="no bzImage"),
    pytest.param(("--kernel", "bad"), make.Kernel(size=2047),
                 "bad: expected at least the 2048 bytes of its setup code, found 2047", id="a kernel that was cut off"),
    pytest.param(("--kernel", "bad"), make.Kernel(size=2559, setup=0), "bad: expected at least the 2560 bytes",
                 id="a kernel that was cut off, of the default size")])
def test_kernel_refused(words: tuple[str, ...], shape: make.Kernel | None, pattern: str) -> None:
    if shape is not None:
        Path("bad").write_bytes(make.kernel(shape))
    digest(*MILAN, "--vcpus", "2", *words).hinted(f"^launch_digest: {pattern}")


@pytest.mark.parametrize("pattern, words", [
    pytest.param("expected --firmware FILE and --vcpus N", ("--vcpus", "1", "--cpu-model", "EPYC"), id="no firmware"),
    pytest.param("expected --firmware FILE and --vcpus N", MILAN, id="no number of vCPUs"),
    pytest.param("expected 1 to 4096, found 0", (*MILAN, "--vcpus", "0"), id="no vCPU"),
    pytest.param("expected 1 to 4096, found 4097", (*MILAN, "--vcpus", "4097"), id="too many vCPUs"),
    pytest.param("expected one of --cpu-model NAME and --vcpu-sig NUMBER", ("--firmware", "fw", "--vcpus", "1"),
                 id="no CPU"),
    pytest.param("expected one of --cpu-model", (*MILAN, "--vcpus", "1", "--vcpu-sig", "1"), id="two CPUs"),
    pytest.param("expected one of EPYC .* found host", ("--firmware", "fw", "--vcpus", "1", "--cpu-model", "host"),
                 id="an unknown CPU"),
    pytest.param("expected 32 bits, found 0x100000000",
                 ("--firmware", "fw", "--vcpus", "1", "--vcpu-sig", "0x100000000"), id="a signature that is too long"),
    pytest.param("expected 64 bits with bit 0, SNP, set, found 0x20",
                 (*MILAN, "--vcpus", "1", "--guest-features", "0x20"), id="features without SNP"),
    pytest.param("--initrd and --append need --kernel", (*MILAN, "--vcpus", "1", "--initrd", "initrd"),
                 id="an initrd without a kernel"),
    pytest.param("--initrd and --append need --kernel", (*MILAN, "--vcpus", "1", "--append", ""),
                 id="a command line without a kernel"),
    pytest.param("unrecognized arguments: --wrong", (*MILAN, "--vcpus", "1", "--wrong"), id="an unknown option")])
def test_usage(pattern: str, words: tuple[str, ...]) -> None:
    digest(*words).expect(2, pattern)


@pytest.mark.parametrize("name", ["launch_digest.py", "attestation.py"])
def test_help(name: str) -> None:
    program(name, "--help").expect(0, f"^usage: {name}")


# --- The report ------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Judge:
    """A good report in the file "good", and the arguments with which it passes."""
    keys: Path
    measurement: str

    def make(self, name: str, shape: make.Report | None = None) -> None:
        shape = replace(shape or make.Report(), measurement=self.measurement)
        Path(name).write_bytes(make.report(shape, self.keys / "vcek.priv"))

    def words(self, *words: str) -> tuple[str, ...]:
        """The arguments, then these: an option given again replaces the first."""
        return ("--digest", self.measurement, "--report-data", REQUEST, "--key", str(self.keys / "vcek.pem"),
                "--json", "json", *words)

    def __call__(self, *words: str) -> Done:
        return call(attestation.main, *self.words(*words))

    @staticmethod
    def json() -> Any:
        return json.loads(Path("json").read_text(encoding="utf-8"))

    def fails(self, name: str, pattern: str, *words: str) -> None:
        """Fails unless exactly this one of the four checks failed, with a message."""
        self(*words).expect(1, f"^not ok: {name}: {pattern}")
        data = self.json()
        assert [c["name"] for c in data["checks"] if not c["ok"]] == [name]
        assert (data["verdict"], data["exit"]) == ("fail", 1)


@pytest.fixture
def judge(keys: Path) -> Judge:
    made = Judge(keys, digest(*LAUNCH).stdout.strip())
    made.make("good")
    return made


def test_report_passes(judge: Judge) -> None:
    judge("good").expect(0, "^PASS: attestation report: 4 passed, 0 failed$")


def test_report_program(judge: Judge) -> None:
    """The file runs alone, as a program."""
    assert program("attestation.py", *judge.words("good")) == judge("good")


def test_report_function(judge: Judge) -> None:
    """The judge of a guest's boot calls the tool as a function."""
    checks = attestation.check_report(Path("good").read_bytes(), bytes.fromhex(judge.measurement),
                                      bytes.fromhex(REQUEST), judge.keys / "vcek.pem")
    assert [c.shown() for c in checks] == judge("good").stdout.splitlines()[:-1]


def test_report_json(judge: Judge) -> None:
    judge("good")
    data = judge.json()
    assert list(data)[0] == "version" and data["version"] == 1
    assert (data["verdict"], data["exit"], [c["ok"] for c in data["checks"]]) == ("pass", 0, [True] * 4)


def test_report_fields(judge: Judge) -> None:
    judge("good")
    report = judge.json()["report"]
    assert (report["measurement"], report["report-data"]) == (judge.measurement, REQUEST)
    assert (report["version"], report["signing-key"], report["policy"]) == (3, "VCEK", "0x30000")


@pytest.mark.parametrize("version, names", [
    pytest.param(2, [], id="2"), pytest.param(3, ["processor"], id="3"),
    pytest.param(5, ["processor", "launch-mit-vector", "current-mit-vector"], id="5")])
def test_fields_of_a_version(version: int, names: list[str], judge: Judge) -> None:
    """Reserved bytes of an older version are shown neither in the JSON nor on the line."""
    newer = {"processor": "family 19h model 01h stepping 1", "launch-mit-vector": "0x5", "current-mit-vector": "0x7"}
    judge.make("other", make.Report(version=version, processor="190101", launch_vector=5, current_vector=7))
    judge("other").expect(0, f"^ok: format: version {version}, .*VCEK{', family 19h.*' if names else ''}$")
    report = judge.json()["report"]
    assert {name: report[name] for name in newer if name in report} == {name: newer[name] for name in names}


@pytest.mark.parametrize("name", ["format", "measurement", "report data", "signature"])
def test_line_for_each_check(name: str, judge: Judge) -> None:
    judge("good").expect(0, f"^ok: {name}: ")


def dumped(data: bytes) -> str:
    """Hex as od prints it: 16 bytes a line, each after a blank."""
    return "".join("".join(f" {b:02x}" for b in data[i:i + 16]) + "\n" for i in range(0, len(data), 16))


@pytest.mark.parametrize("encode", [
    pytest.param(dumped, id="hex"),
    pytest.param(lambda data: data.hex().upper(), id="hex, one line"),
    pytest.param(lambda data: base64.encodebytes(data).decode(), id="base64"),
    pytest.param(lambda data: base64.b64encode(data).decode(), id="base64, one line")])
def test_encoded(encode: Callable[[bytes], str], judge: Judge) -> None:
    Path("encoded").write_text(encode(Path("good").read_bytes()), encoding="utf-8")
    judge("encoded").expect(0, "^PASS")


END = "-----END SNP REPORT-----"


def log(prefix: str = "", end: str = END) -> list[str]:
    """A console's log with the report in it, line by line."""
    data = Path("good").read_bytes()
    lines = [base64.b64encode(data[i:i + 57]).decode() for i in range(0, len(data), 57)]
    return [prefix + line for line in ("[    1.0] Linux version", "-----BEGIN SNP REPORT-----", *lines, end,
                                       "reboot: Power down")]


def write_log(name: str, lines: list[str]) -> None:
    Path(name).write_text("".join(line + "\r\n" for line in lines), encoding="utf-8", newline="")


@pytest.mark.parametrize("prefix", ["", "# guest: "], ids=["no prefix", "a prefix"])
def test_in_a_log(prefix: str, judge: Judge) -> None:
    write_log("serial", log(prefix))
    judge("serial").expect(0, "^PASS")


def with_a_message(lines: list[str]) -> list[str]:
    return [*lines[:4], "[    2.0] a message!", *lines[5:]]


@pytest.mark.parametrize("lines, pattern", [
    pytest.param(lambda: log() * 2, "expected one report, found 2 lines", id="twice"),
    pytest.param(lambda: log(end=""), "expected -----END SNP REPORT----- after", id="cut off"),
    pytest.param(lambda: with_a_message(log()), "expected a report .* neither hex nor base64", id="a message in it"),
    pytest.param(lambda: [*log()[:4], "----", *log()[4:]], "expected a report .* neither hex nor base64",
                 id="a line in it that base64 has no digits for"),
    pytest.param(lambda: [*log()[:4], *log()[5:]], "expected a report of 1184 bytes, .* for 1127 bytes",
                 id="a line of it is missing")])
def test_log_refused(lines: Callable[[], list[str]], pattern: str, judge: Judge) -> None:
    write_log("serial", lines())
    judge("serial").hinted(f"^attestation: serial: {pattern}")


@pytest.mark.parametrize("name, pattern", [
    pytest.param("nowhere", "No such file", id="no such report"),
    pytest.param("empty", "expected a report of 1184 bytes", id="an empty report"),
    pytest.param("short", "expected a report of 1184 bytes", id="a report that was cut off")])
def test_report_refused(name: str, pattern: str, judge: Judge) -> None:
    Path("empty").write_bytes(b"")
    Path("short").write_bytes(Path("good").read_bytes()[:-1])
    judge(name).hinted(f"^attestation: {name}: {pattern}")


def test_another_digest_fails(judge: Judge) -> None:
    other = make.flip(bytes.fromhex(judge.measurement), -1).hex()
    judge.fails("measurement", f"expected {other}, found {judge.measurement}", "good", "--digest", other)


def test_another_request_fails(judge: Judge) -> None:
    judge.fails("report data", "expected 22", "good", "--report-data", REQUEST[2:] + "23")


def test_shorter_request_fails(judge: Judge) -> None:
    """The bytes after a shorter request must be zero."""
    judge.fails("report data", f"expected 2222(00){{62}}, found {REQUEST}", "good", "--report-data", "2222")


def test_another_key_fails(judge: Judge) -> None:
    judge.fails("signature",
                "expected one by the key in .*stranger.pem, found another: openssl says Verification failure",
                "good", "--key", str(judge.keys / "stranger.pem"))


def test_short_request(judge: Judge) -> None:
    judge.make("other", make.Report(report_data="2222" + "00" * 62))
    judge("other", "--report-data", "2222").expect(0, "^PASS")


@pytest.mark.parametrize("check, pattern, shape", [
    pytest.param("format", "expected version 2 or later, found 1", make.Report(version=1), id="version 1"),
    pytest.param("format", "expected signature algorithm 1, .* found 0", make.Report(algorithm=0),
                 id="another algorithm"),
    pytest.param("format", r"expected to be signed with the VCEK or the VLEK, found key 7 \(none\)",
                 make.Report(signing_key=7), id="signed with no key"),
    pytest.param("format", "expected VMPL 0 to 3, found 4", make.Report(vmpl=4), id="no such VMPL"),
    pytest.param("signature", "expected R and S, found zeros: the report is not signed", make.Report(unsigned=1),
                 id="no signature")])
def test_wrong_report_fails(check: str, pattern: str, shape: make.Report, judge: Judge) -> None:
    judge.make("other", shape)
    judge.fails(check, pattern, "other")


def test_signed_with_the_vlek(judge: Judge) -> None:
    judge.make("other", make.Report(signing_key=1))
    judge("other").expect(0, "^PASS")


@pytest.mark.parametrize("offset", [0x2d0, 0x318, 0x330, -1])
def test_not_zero_fails(offset: int, judge: Judge) -> None:
    """The bytes after R, after S and after the signature must be zero."""
    Path("other").write_bytes(make.flip(Path("good").read_bytes(), offset))
    judge.fails("signature", "expected zeros after the 48 bytes of R and of S", "other")


def test_a_bit_anywhere(judge: Judge) -> None:
    """A flipped bit in the signed part or anywhere in the signature makes the report fail."""
    good, key = Path("good").read_bytes(), judge.keys / "vcek.pem"
    signed, whole = attestation.SIGNED_LEN, attestation.REPORT_LEN
    passed = []
    for offset in (*range(0, signed, 24), *range(signed - 1, whole)):
        data = bytearray(good)
        data[offset] ^= 1 << offset % 8
        if attestation.signature_problem(attestation.parse_report(bytes(data)), key) is None:
            passed.append(offset)
    assert passed == []
    assert attestation.signature_problem(attestation.parse_report(good), key) is None


# In one of 256 signatures R or S has a leading zero byte.
@pytest.mark.parametrize("r, s, wanted", [
    pytest.param(1, 0x7f, "300602010102017f", id="numbers of one byte"),
    pytest.param(0x80, 0xff00, "300902020080020300ff00", id="the highest bit is no sign"),
    pytest.param(2 ** 384 - 1, 1, "303602310" + "0" + "ff" * 48 + "020101", id="the largest")])
def test_der(r: int, s: int, wanted: str) -> None:
    assert attestation.der(r, s).hex() == wanted


@pytest.mark.parametrize("key, pattern", [
    pytest.param("nowhere", "No such file", id="no such key"),
    pytest.param("p256.pem", "expected a public key on P-384 .* found prime256v1", id="a key on another curve"),
    pytest.param("vcek.priv", "expected a public key on P-384 .* found none", id="a private key"),
    pytest.param("rsa.pem", "expected a public key on P-384 .* found Public-Key", id="an RSA key")])
def test_key_refused(key: str, pattern: str, judge: Judge) -> None:
    judge("good", "--key", str(judge.keys / key)).hinted(f"^attestation: .*{key}: {pattern}")


def test_no_place_for_the_json(judge: Judge) -> None:
    judge("good", "--json", "nowhere/json").hinted("^attestation: nowhere/json: No such file")


def test_no_openssl(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(judge.keys))
    judge("good").hinted("^attestation: openssl: No such file")


@pytest.mark.parametrize("pattern, words", [
    pytest.param("expected --digest HEX, --report-data HEX, --key PEM and REPORT", (), id="no report"),
    pytest.param("--digest: expected 96 hex digits, found", ("good", "--digest", "22" * 47),
                 id="a digest that is too short"),
    pytest.param("--digest: expected 96 hex digits", ("good", "--digest", "22" * 47 + "2x"),
                 id="a digest that is not hex"),
    pytest.param("--report-data: expected 128 hex digits, or fewer", ("good", "--report-data", REQUEST + "22"),
                 id="report data that is too long"),
    pytest.param("--report-data: expected 128 hex digits, or fewer", ("good", "--report-data", ""),
                 id="no report data")])
def test_report_usage(pattern: str, words: tuple[str, ...], judge: Judge) -> None:
    judge(*words).expect(2, pattern)


@pytest.mark.parametrize("words", [
    pytest.param(("--report-data", "22", "--key", "vcek.pem", "good"), id="no digest"),
    pytest.param(("--report-data", "22", "--digest", "22" * 48, "good"), id="no key"),
    pytest.param(("--digest", "22" * 48, "--key", "vcek.pem", "good"), id="no request")])
def test_no_check_is_left_out(words: tuple[str, ...]) -> None:
    call(attestation.main, *words).expect(2, "expected --digest HEX")


# --- Reports that hardware made, which are not in this repository ------------------------------------

@pytest.fixture
def sample(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> real.Sample:
    """A report and a certificate of our own in the place of the real ones."""
    judge.make("report", make.Report(version=2))
    subprocess.run(["openssl", "req", "-new", "-x509", "-key", judge.keys / "vcek.priv", "-subj", "/CN=VCEK", "-outform",
                    "der", "-out", "vcek"], check=True, capture_output=True)
    data = Path("report").read_bytes()
    report, vcek = ((name, hashlib.sha256(Path(name).read_bytes()).hexdigest()) for name in ("report", "vcek"))
    build = ".".join(str(data[i]) for i in (0x1ea, 0x1e9, 0x1e8))
    made = real.Sample("some/project", "0" * 40, report, vcek, None, 2, 0x30000, build, judge.measurement)
    monkeypatch.setattr(real, "SAMPLES", (made,))
    return made


def test_real_report(sample: real.Sample) -> None:
    call(real.main, "elsewhere", ".").expect(0, f"^ok: {sample.project}: report verifies")


def test_real_report_missing(sample: real.Sample) -> None:
    call(real.main, "elsewhere").hinted(f"^real: {sample.project}: expected report in one of the folders, found none$")


def test_real_report_is_another(sample: real.Sample) -> None:
    Path("report").write_bytes(make.flip(Path("report").read_bytes(), 0x95))
    call(real.main, ".").hinted(f"^real: {sample.project}: expected report .* which has another SHA-256 than ")


@pytest.mark.parametrize("change, pattern", [
    pytest.param({"policy": 0xb0000}, "^policy: expected 720896, found 196608$", id="another policy"),
    pytest.param({"measurement": "11" * 48}, "^not ok: measurement: ", id="another measurement"),
    pytest.param({"build": "1.55.45"}, "^firmware: expected 1.55.45, found ", id="another firmware")])
def test_real_report_read_wrongly(change: dict[str, Any], pattern: str, sample: real.Sample,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "SAMPLES", (replace(sample, **change),))
    call(real.main, ".").expect(1, pattern)


def test_real_chain_is_not_amds(sample: real.Sample, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of our own: its links are right, its ARK is not AMD's, and its VCEK names neither chip nor TCB."""
    root = certs.new_root(Path.cwd(), "ARK-Milan")
    chain = (root.name, hashlib.sha256(root.read_bytes()).hexdigest())
    monkeypatch.setattr(real, "SAMPLES", (replace(sample, chain=chain),))
    done = call(real.main, ".")
    done.expect(1, "^expected the key of AMD's ARK for Milan, found ")
    done.expect(1, "^not ok: TCB: expected ")


def test_real_report_of_a_stranger(judge: Judge, sample: real.Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["openssl", "req", "-new", "-x509", "-key", judge.keys / "stranger.priv", "-subj", "/CN=VCEK", "-outform",
                    "der", "-out", "vcek"], check=True, capture_output=True)
    other = ("vcek", hashlib.sha256(Path("vcek").read_bytes()).hexdigest())
    monkeypatch.setattr(real, "SAMPLES", (replace(sample, vcek=other),))
    call(real.main, ".").expect(1, "^not ok: signature: ")


def test_real_report_usage() -> None:
    call(real.main).expect(2, "^usage: python3 -m tests.attest.real FOLDER")
