# SPDX-License-Identifier: GPL-2.0-only
"""./snplab attest: each field of a report in words, the exit status, the last line, and what it says about bad input.

A bit of the policy in the wrong words, or a PASS although something that was asked for does not hold, would make its user
trust a guest that they should not.
"""
from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lab.attest import attestation, launch_digest
from lab.attest.attestation import parse_report
from lab.attest.fields import POLICY, Field, fields_of, policy_words
from lab.build import deps
from lab.core.places import LAYOUT
from tests.attest import make
from tests.support.forked import run_forked
from tests.support.front import Done, expect
from tests.support.judge_guest import new_key

ABOUT = "attest: fields in words, exit status, verdict, JSON, and messages about bad input"
LANE = "fast"
NEEDS = ("attest",)
TAKES = 6

TCB = "03000000000014d1"
REQUEST = "22" * 64


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("vcek", "stranger"):
        new_key(folder, name)
    return folder


@pytest.fixture
def place(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of a launch, its report, and the VCEK."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fw").write_bytes(make.firmware(make.Firmware()))
    (tmp_path / "kernel").write_bytes(make.kernel(make.Kernel()))
    (tmp_path / "initrd").write_bytes(b"initrd")
    kernel = launch_digest.measured_kernel(tmp_path / "kernel", tmp_path / "initrd", "console=hvc0")
    digest = launch_digest.launch_digest(launch_digest.LaunchInput(
        launch_digest.read_firmware(tmp_path / "fw"), 4, launch_digest.named_signature("EPYC-Milan"), kernel))
    shape = make.Report(measurement=digest.hex(), tcb=TCB)
    (tmp_path / "report").write_bytes(make.report(shape, keys / "vcek.priv"))
    for name in ("vcek", "stranger"):
        (tmp_path / f"{name}.pem").write_bytes((keys / f"{name}.pem").read_bytes())
    return tmp_path


LAUNCH = ("--firmware", "fw", "--kernel", "kernel", "--initrd", "initrd", "--append", "console=hvc0",
          "--cpu", "EPYC-Milan-v2")
WHOLE = ("report", "--vcek", "vcek.pem", "--report-data", REQUEST, *LAUNCH, "--smp", "4")


def attest(*words: str) -> Done:
    """Runs the verb, with an empty cache."""
    return run_forked("attest", *words, env={"XDG_CACHE_HOME": str(Path.cwd() / "cache")})


def last(done: Done) -> str:
    """The verdict."""
    return done.stdout.splitlines()[-1]


# --- Fields --------------------------------------------------------------------------------------------


def fields(shape: make.Report, keys: Path, **at: int) -> dict[str, Field]:
    """The fields of a report, by name. at: single bytes as x1e8=45."""
    data = bytearray(make.report(replace(shape, unsigned=1), keys / "vcek.priv"))
    for offset, value in at.items():
        data[int(offset, 16)] = value
    return {one.name: one for one in fields_of(parse_report(bytes(data)))}


@pytest.mark.parametrize("bit", POLICY)
def test_each_bit_of_the_policy(bit: int) -> None:
    """Set or clear, it has its own words, and the other bits keep theirs."""
    base = [words[1] for other, words in POLICY.items() if other != bit]
    for value, words in ((0, POLICY[bit][1]), (1 << bit, POLICY[bit][0])):
        found = policy_words(1 << 17 | value, 5).split("; ")
        assert found[0] == "ABI 0.0 or later" and len(found) == len(POLICY) + 1
        assert words in found and set(base) <= set(found)


@pytest.mark.parametrize("policy, words", [
    (0x30000, "SMT allowed; no migration agent; no debugging; on any number of sockets"),
    (0xb0000, "DEBUGGING ALLOWED: the host can read and write the guest's memory"),
    (0x3011f, "ABI 1.31 or later"), (0x10000, "RESERVED BIT 17 CLEAR"), (0x4030000, "RESERVED BIT 26 SET"),
    (1 << 63 | 1 << 40 | 0x30000, "RESERVED BITS 40, 63 SET")])
def test_policy(policy: int, words: str, keys: Path) -> None:
    assert words in fields(make.Report(policy=policy), keys)["policy"].words


@pytest.mark.parametrize("version, names", [
    (2, []), (3, ["processor"]), (5, ["processor", "launch mitigations", "current mitigations"])])
def test_fields_of_a_version(version: int, names: list[str], keys: Path) -> None:
    found = fields(make.Report(version=version, launch_vector=5, current_vector=0), keys)
    newer = ["processor", "launch mitigations", "current mitigations"]
    assert [name for name in newer if name in found] == names
    assert ("aliases" in found["platform"].words, "SEV-TIO" in found["platform"].words) == (version >= 3, version >= 5) or (
        struct.unpack_from("<Q", make.noise(1184, "report"), 0x40)[0] & 0xa0)
    if version == 5:
        assert found["launch mitigations"].words == "bits 0, 2, when the guest was launched"
        assert found["current mitigations"].words == "none, when the report was made"


def test_every_byte_is_in_a_field(keys: Path) -> None:
    """A change of any byte of the table that is not reserved shows in a field."""
    data = bytearray(make.report(make.Report(version=5), keys / "vcek.priv"))
    before = fields_of(parse_report(bytes(data)))
    silent = []
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x81
        if fields_of(parse_report(bytes(changed))) == before:
            silent.append(at)
    # Reserved: after the key bits, the processor, both versions and the vectors; and R and S end after 48 of 72 bytes.
    wanted = [*range(0x4c, 0x50), *range(0x18b, 0x1a0), 0x1eb, 0x1ef, *range(0x208, 0x2a0), *range(0x2d0, 0x2e8),
              *range(0x318, 0x4a0)]
    assert silent == wanted


@pytest.mark.parametrize("processor, kind, tcb", [
    ("190101", "Milan", "boot loader 3, TEE 1, SNP 20, microcode 209"),
    ("191101", "Genoa", "boot loader 3, TEE 1, SNP 20, microcode 209"),
    ("19a002", "Genoa", "boot loader 3, TEE 1, SNP 20, microcode 209"),
    ("1a0201", "Turin", "FMC 3, boot loader 1, TEE 0, SNP 7, microcode 209"),
    ("1a1100", "Turin", "FMC 3, boot loader 1, TEE 0, SNP 7, microcode 209"),
    ("1a5000", "no kind that is known here", "FMC 3, boot loader 1, TEE 0, SNP 7, microcode 209"),
    ("195000", "no kind that is known here", "boot loader 3, TEE 1, SNP 20, microcode 209")])
def test_the_layout_of_a_tcb(processor: str, kind: str, tcb: str, keys: Path) -> None:
    found = fields(make.Report(processor=processor, tcb="03010007000014d1"), keys)
    assert found["processor"].words.endswith(f": {kind}")
    assert found["reported TCB"].words == f"{tcb}; of which the signing key is made"


@pytest.mark.parametrize("chip_id, fmc", [("c1" * 64, False), ("c1" * 8 + "00" * 56, True), ("00" * 64, False)])
def test_the_layout_in_version_2(chip_id: str, fmc: bool, keys: Path) -> None:
    """Its chip's ID speaks for Turin or against it."""
    found = fields(make.Report(version=2, tcb="03010007000014d1", chip_id=chip_id), keys)
    assert found["reported TCB"].words.startswith("FMC") == fmc
    assert (found["chip ID"].words == "the host hides it") == (chip_id == "00" * 64)


@pytest.mark.parametrize("signing_key, bits, words", [
    (0, 0, "signed with VCEK; no author key; the chip's key is not masked"), (1, 0, "signed with VLEK"),
    (7, 0, "signed with none"), (3, 0, "signed with key 3, which is reserved"),
    (0, 1, "the ID key is signed by an author key"), (0, 2, "the host masks the chip's key: THE REPORT IS NOT SIGNED"),
    (0, 32, "RESERVED BIT 5 SET")])
def test_keys(signing_key: int, bits: int, words: str, keys: Path) -> None:
    assert words in fields(make.Report(signing_key=signing_key, key_bits=bits), keys)["keys"].words


@pytest.mark.parametrize("bits, words", [
    (0, "SMT off; TSME off; no ECC memory; RAPL enabled; ciphertext hiding off; memory not checked for aliases; "
        "SEV-TIO off"),
    (0xbf, "SMT on; TSME on; ECC memory; RAPL disabled; ciphertext hiding on; memory checked for aliases; SEV-TIO on"),
    (0x40, "SEV-TIO off; RESERVED BIT 6 SET")])
def test_platform(bits: int, words: str, keys: Path) -> None:
    zeros = {f"{at:x}": 0 for at in range(0x41, 0x48)}
    assert fields(make.Report(version=5), keys, **zeros, **{"40": bits})["platform"].words.endswith(words)


def test_versions_and_texts(keys: Path) -> None:
    text = b"a nonce".hex().ljust(128, "0")
    found = fields(make.Report(report_data=text), keys, **{"1e8": 45, "1e9": 55, "1ea": 1, "1ec": 4, "1ed": 52, "1ee": 1})
    assert (found["current version"].value, found["committed version"].value) == ("1.55.45", "1.52.4")
    assert found["report data"].words == 'the text "a nonce"'
    assert fields(make.Report(report_data="00" * 64), keys)["report data"].words == "all zero"
    assert fields(make.Report(version=4), keys)["version"].words == "known here are versions 2, 3 and 5"


# --- The verdict -----------------------------------------------------------------------------------------


def test_all_holds(place: Path) -> None:
    done = attest(*WHOLE, "--json", "json")
    expect(done, 0, "^policy +0x30000")
    assert last(done) == "PASS: attestation report: 4 checks passed"
    data = json.loads(Path("json").read_text(encoding="utf-8"))
    assert (data["verdict"], data["exit"], data["measurement"]["changes"]) == ("pass", 0, [])
    assert [check["name"] for check in data["checks"]] == ["format", "report data", "measurement", "signature"]


def test_a_report_alone(place: Path) -> None:
    """The verdict says what was not looked at."""
    done = attest("report")
    expect(done, 0, "^note: nothing is known about who signed it")
    assert last(done) == ("PASS: attestation report: 1 check passed, its signature was not checked, "
                          "its measurement was not compared")


def test_the_measurement_is_explained(place: Path) -> None:
    done = attest(*WHOLE, "--smp", "2", "--json", "json")
    expect(done, 1, "^not ok: measurement: the report's measurement is that of 4 CPUs; you said 2: "
                    "expected [0-9a-f]{96}, found [0-9a-f]{96}; to do: ")
    assert last(done) == "FAIL: attestation report: 1 of 4 checks failed: measurement"
    data = json.loads(Path("json").read_text(encoding="utf-8"))
    assert data["measurement"]["changes"] == [{"kind": "CPUs", "measured": "4 CPUs", "said": "2"}]


def test_two_changes_are_two(place: Path) -> None:
    expect(attest(*WHOLE, "--smp", "2", "--host-mce", "off"), 1,
           "^not ok: measurement: no single change explains it: .*; two together do: .* 4 CPUs .you said 2. and a host ")


def test_many_changes_are_not_explained(place: Path) -> None:
    expect(attest(*WHOLE, "--smp", "2", "--cpu", "EPYC-Genoa", "--host-mce", "off"), 1,
           r"^not ok: measurement: no single change explains it: \d+ were tried \(1 to 4096 CPUs, .*\); nor do two, of \d+ "
           "pairs: expected .*, found .*; to do: compare the files byte by byte")


@pytest.mark.parametrize("words, name", [
    (("--vcek", "stranger.pem"), "signature"), (("--report-data", "23"), "report data"),
    (("--measurement", "23" * 48), "given measurement"), (("--host-mce", "off"), "measurement"),
    (("--guest-features", "0x21"), "measurement"), (("--kernel-hashes", "off"), "measurement"),
    (("--cpu", "0x800f12"), "measurement"), (("--append", "console=hvc0\n"), "measurement")])
def test_each_failure_fails_it(words: Sequence[str], name: str, place: Path) -> None:
    done = attest(*WHOLE, *words)
    expect(done, 1, f"^not ok: {name}: .*expected .*found .*; to do: ")
    assert last(done).endswith(f" checks failed: {name}")


def test_a_guest_that_can_be_debugged(place: Path, keys: Path) -> None:
    """Nothing that was asked for fails, but nobody should overlook it."""
    Path("debug").write_bytes(make.report(make.Report(policy=0xb0000), keys / "vcek.priv"))
    expect(attest("debug", "--vcek", "vcek.pem"), 0, "^note: the policy allows debugging: ")
    assert "note: the policy" not in attest(*WHOLE).output


def test_an_unsigned_report_fails(place: Path, keys: Path) -> None:
    Path("unsigned").write_bytes(make.report(make.Report(unsigned=1, signing_key=7), keys / "vcek.priv"))
    done = attest("unsigned", "--vcek", "vcek.pem")
    expect(done, 1, r"^not ok: format: expected to be signed with the VCEK or the VLEK, found key 7 \(none\)")
    expect(done, 1, "^not ok: signature: expected R and S, found zeros: the report is not signed")


def test_other_files_are_tried(place: Path) -> None:
    """The second --firmware, --kernel and --initrd."""
    for name, option in (("fw", "--firmware"), ("kernel", "--kernel"), ("initrd", "--initrd")):
        data = Path(name).read_bytes()
        Path("other").write_bytes(make.flip(data, 0x800) if len(data) > 0x800 else b"another")
        words = list(WHOLE)
        words[words.index(option):words.index(option) + 2] = [option, "other", option, name]
        what = "firmware" if name == "fw" else name
        expect(attest(*words), 1, f"the report's measurement is that of the {what} {name}; ")


def test_the_firmware_in_the_cache_is_tried(place: Path) -> None:
    folder = place / "cache" / "snplab" / LAYOUT / "base" / "ovmf-amdsev_1" / "usr/share/ovmf"
    folder.mkdir(parents=True)
    Path("fw").rename(folder / "OVMF.fd")
    (folder / "OVMF_VARS.fd").write_bytes(bytes(4096))
    Path("fw").write_bytes(make.firmware(make.Firmware(pages=5)))
    expect(attest(*WHOLE), 1, "that of the firmware .*/ovmf-amdsev_1/usr/share/ovmf/OVMF.fd; you "
                              "said fw")


# --- The report's forms, and bad input ---------------------------------------------------------------------


def response(data: bytes, size: int, status: int = 0) -> bytes:
    """MSG_REPORT_RSP."""
    return (struct.pack("<II24x", status, 0 if status else len(data)) + data).ljust(size, b"\0")


@pytest.mark.parametrize("encode", [
    pytest.param(lambda data: data.hex().encode(), id="hex"), pytest.param(base64.encodebytes, id="base64"),
    pytest.param(lambda data: response(data, 1216), id="the firmware's response"),
    pytest.param(lambda data: response(data, 4000), id="as Linux returns it"),
    pytest.param(lambda data: response(data, 4000).hex().encode(), id="that in hex")])
def test_forms(encode: Callable[[bytes], bytes], place: Path) -> None:
    Path("form").write_bytes(encode(Path("report").read_bytes()))
    expect(attest("form", *WHOLE[1:]), 0, "^PASS: attestation report: 4 checks passed$")


SETUP: dict[str, tuple[Sequence[str], str]] = {
    "an empty report": (("empty",), "empty: expected a report of 1184 bytes"),
    "no report": (("vcek.pem",), "vcek.pem: expected a report of 1184 bytes, .* neither hex nor base64"),
    "a refusal": (("refused",), r"refused: expected a response with a report, found one with status 0x27 \(invalid key sel"),
    "firmware that is none": (("report", "--firmware", "kernel", "--smp", "1", "--cpu", "EPYC"),
                              "kernel: expected a firmware image"),
    "a kernel that is none": (("report", "--firmware", "fw", "--smp", "1", "--cpu", "EPYC", "--kernel", "initrd"),
                              "initrd: expected a bzImage"),
    "another kernel that is none": (("report", *LAUNCH, "--smp", "1", "--kernel", "initrd"), "initrd: expected a bzImage"),
    "certificates that are none": (("report", "--chain", "initrd"), "initrd: expected certificates in PEM or DER"),
    "a VCEK that is none": (("report", "--vcek", "initrd"), "initrd: expected certificates in PEM or DER")}


@pytest.mark.parametrize("name", SETUP)
def test_a_file_that_cannot_be_used(name: str, place: Path) -> None:
    words, pattern = SETUP[name]
    Path("empty").touch()
    Path("refused").write_bytes(response(b"", 4000, 0x27))
    done = attest(*words, "--json", "json")
    expect(done, 3, f"^snplab: {pattern}")
    assert done.stderr.splitlines()[-1].startswith("        hint: ") and done.stdout == ""
    assert json.loads(Path("json").read_text(encoding="utf-8"))["verdict"] == "setup-failed"


USAGES: dict[str, tuple[Sequence[str], str]] = {
    "nothing": ((), "expected the file of an attestation report, found no REPORT"),
    "two": (("report", "vcek.pem"), "expected one REPORT, found 'report' and 'vcek.pem'"),
    "nowhere": (("no",), "no such file: no"),
    "a folder": (("cache",), "no such file: cache"),
    "no such VCEK": (("report", "--vcek", "no"), "--vcek: no such file: no"),
    "no such chain": (("report", "--chain", "vcek.pem", "--chain", "no"), "--chain: no such file: no"),
    "no such firmware": (("report", "--firmware", "no", "--smp", "1", "--cpu", "EPYC"), "--firmware: no such file: no"),
    "no such initrd": (("report", *LAUNCH, "--smp", "1", "--initrd", "no"), "--initrd: no such file: no"),
    "report data": (("report", "--report-data", "xy"), "--report-data: expected 128 hex digits, or fewer, found 'xy'"),
    "too much report data": (("report", "--report-data", "22" * 65), "--report-data: expected 128 hex digits, or fewer"),
    "a measurement": (("report", "--measurement", "22"), "--measurement: expected 96 hex digits, found '22'"),
    "CPUs without firmware": (("report", "--smp", "1"), "--smp needs --firmware: the launch digest begins with "),
    "a kernel without firmware": (("report", "--kernel", "kernel"), "--kernel needs --firmware"),
    "firmware without CPUs": (("report", "--firmware", "fw", "--cpu", "EPYC"), "--firmware needs --smp N and --cpu NAME"),
    "firmware without a CPU": (("report", "--firmware", "fw", "--smp", "1"), "--firmware needs --smp N and --cpu NAME"),
    "an initrd without a kernel": (("report", "--firmware", "fw", "--smp", "1", "--cpu", "EPYC", "--initrd", "initrd"),
                                   "--initrd needs --kernel"),
    "hashes without a kernel": (("report", "--firmware", "fw", "--smp", "1", "--cpu", "EPYC", "--kernel-hashes", "on"),
                                "--kernel-hashes needs --kernel"),
    "no CPUs": (("report", *LAUNCH, "--smp", "0"), "--smp wants a number from 1 to 4096, found '0'"),
    "many CPUs": (("report", *LAUNCH, "--smp", "4097"), "--smp wants a number from 1 to 4096, found '4097'"),
    "an unknown CPU": (("report", *LAUNCH, "--smp", "1", "--cpu", "host"), "--cpu: expected one of EPYC .*, found 'host'"),
    "a long number": (("report", *LAUNCH, "--smp", "1", "--cpu", "0x100000000"), "--cpu: expected one of EPYC"),
    "features": (("report", *LAUNCH, "--smp", "1", "--guest-features", "0x20"),
                 "--guest-features: expected 64 bits with bit 0, SNP, set, found '0x20'"),
    "no features": (("report", *LAUNCH, "--smp", "1", "--guest-features", "debug"), "--guest-features: expected 64 bits"),
    "no switch": (("report", *LAUNCH, "--smp", "1", "--host-mce", "maybe"), "--host-mce wants on or off, found 'maybe'")}


@pytest.mark.parametrize("name", USAGES)
def test_usage(name: str, place: Path) -> None:
    words, pattern = USAGES[name]
    (place / "cache").mkdir()
    done = attest(*words)
    expect(done, 2, f"^snplab: {pattern}")
    assert done.stdout == "" and done.stderr.splitlines()[-1].startswith("        hint: ")
    assert list((place / "cache").iterdir()) == []


def test_without_openssl(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named; without a signature to check, it is not needed."""
    monkeypatch.setattr(deps, "is_here", lambda what: what != "openssl")
    monkeypatch.setattr(deps, "can_install", lambda: False)
    expect(attest("report", *LAUNCH, "--smp", "4"), 0, "^PASS")
    expect(attest("report", "--vcek", "vcek.pem"), 3, "^snplab: not found: openssl")


def test_any_bytes(place: Path) -> None:
    """A report of nonsense ends in a verdict."""
    for number in range(20):
        Path("nonsense").write_bytes(make.noise(1184, f"nonsense {number}"))
        done = attest("nonsense", "--vcek", "vcek.pem", *LAUNCH, "--smp", "1")
        assert done.status == 1 and "Traceback" not in done.output, done.output


def test_the_old_program_says_the_same(place: Path) -> None:
    """lab/attest/attestation.py judges with the same functions."""
    found = attest(*WHOLE).stdout
    measured = parse_report(Path("report").read_bytes()).measurement
    checks = attestation.check_report(Path("report").read_bytes(), measured, bytes.fromhex(REQUEST), Path("vcek.pem"))
    assert all(check.ok for check in checks) and checks[1].shown() in found
