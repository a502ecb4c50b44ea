# SPDX-License-Identifier: GPL-2.0-only
"""Who signed a report: certificates made like AMD's, right and wrong in one thing each.

A chain that passes although one link, one date, one patch level or one byte of the chip's ID is wrong would vouch for a
report that somebody else made. Each failure has to name what was expected and found, and what to do.
"""
from __future__ import annotations

import datetime
import hashlib
import json
import random
import struct
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.attest import chain
from lab.attest.answer import Answer, Question, answer
from lab.attest.attestation import Unusable
from tests.attest import certs, make
from tests.attest.certs import CHIP_ID, REPORTED, Leaf
from tests.support.judge_guest import new_key

ABOUT = "attest: a chain of certificates passes only if each link, date, patch level and the chip's ID is right"
LANE = "fast"
NEEDS = ("attest",)
TAKES = 14

REPORT = make.Report(tcb=REPORTED, chip_id=CHIP_ID)
TODAY = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two chains, some leaves, keys, and a report."""
    folder = tmp_path_factory.mktemp("certs")
    for name in ("vcek", "stranger"):
        new_key(folder, name)
    certs.new_root(folder, "ARK-Milan")
    certs.new_ask(folder, "SEV-Milan", "ARK-Milan")
    key = folder / "vcek.priv"
    certs.new_leaf(folder, key, Leaf())
    for name, leaf in LEAVES.items():
        certs.new_leaf(folder, key, leaf, f"{name}.crt")
    certs.new_leaf(folder, folder / "stranger.priv", Leaf(), "stranger.crt")
    certs.new_leaf(folder, key, Leaf(), "pkcs1.crt", pss=("-sha384",))
    certs.new_leaf(folder, key, Leaf(), "sha256.crt", pss=("-sha256", *certs.PSS[1:]))
    # Another ARK and ASK with the same names.
    other = folder / "other"
    other.mkdir()
    certs.new_root(other, "ARK-Milan")
    certs.new_ask(other, "SEV-Milan", "ARK-Milan")
    (folder / "report").write_bytes(make.report(REPORT, key))
    return folder


LEAVES = {"wrapped": Leaf(wrapped=True), "older": Leaf(tcb=(3, 0, 19, 209)), "microcode": Leaf(tcb=(3, 0, 20, 208)),
          "loader": Leaf(tcb=(2, 0, 20, 209)), "tee": Leaf(tcb=(3, 1, 20, 209)), "half": Leaf(tcb=(3, 0, 20)),
          "chip": Leaf(hwid="c1" * 63 + "c2"), "genoa": Leaf(product="Genoa"),
          "vlek": Leaf(name="SEV-VLEK", hwid="", csp_id="a-provider"), "neither": Leaf(hwid=""),
          "turin": Leaf(product="Turin", fmc=1, tcb=(2, 3, 4, 80), hwid="0102030405060708")}


def ask(folder: Path, vcek: str | None, *names: str, report: make.Report | None = None, key: str = "vcek.priv",
        now: datetime.datetime | None = None) -> Answer:
    """The answer to a report, with one --vcek and several --chain."""
    path = folder / "report"
    if report is not None:
        path = folder / "another-report"
        path.write_bytes(make.report(report, folder / key))
    return answer(Question(path, folder / vcek if vcek else None, [folder / name for name in names]), now)


def failures(found: Answer) -> list[str]:
    """The names of the checks that failed. Each says what was expected, what was found, and what to do."""
    for check in found.failed:
        assert "expected " in check.text and "found " in check.text and "to do: " in check.shown(), check.shown()
    return [check.name for check in found.failed]


CHAIN = ("ARK-Milan.crt", "SEV-Milan.crt")


@pytest.mark.parametrize("vcek, names", [
    pytest.param("vcek.crt", CHAIN, id="VCEK, ARK, ASK"), pytest.param("vcek.crt", CHAIN[::-1], id="VCEK, ASK, ARK"),
    pytest.param(None, (CHAIN[1], "vcek.crt", CHAIN[0]), id="all in --chain"),
    pytest.param("wrapped.crt", CHAIN, id="the chip's ID in an OCTET STRING")])
def test_a_good_chain(made: Path, vcek: str | None, names: tuple[str, ...]) -> None:
    found = ask(made, vcek, *names)
    assert failures(found) == []
    assert [check.name for check in found.checks] == [
        "format", "signature", "kind of key", "kind of chip", "TCB", "chip ID", "SEV-VCEK is signed", "SEV-VCEK is valid",
        "SEV-Milan is signed", "SEV-Milan is valid", "ARK-Milan is signed", "ARK-Milan is valid"]


def pem_of(made: Path, *names: str) -> bytes:
    return b"".join((made / name).read_bytes() for name in names)


def der_of(path: Path) -> bytes:
    return subprocess.run(["openssl", "x509", "-in", path, "-outform", "der"], check=True, capture_output=True).stdout


# The table's GUIDs are stored as AMD's documents print them, or with the first three parts little-endian.
GUIDS = {"ARK-Milan.crt": "c0b406a4-a803-4952-9743-3fb6014cd0ae", "SEV-Milan.crt": "4ab7b379-bbac-4fe4-a02f-05aef327c782",
         "vcek.crt": "63da758d-e664-4564-adc5-f4b93be8accd"}


def table_of(made: Path, little: bool) -> bytes:
    """A table of certificates, as the extended guest request returns it."""
    head, data = b"", b""
    for name, guid in GUIDS.items():
        der, number = der_of(made / name), uuid.UUID(guid)
        at = 24 * (len(GUIDS) + 1) + len(data)
        head += struct.pack("<16sII", number.bytes_le if little else number.bytes, at, len(der))
        data += der
    return head + bytes(24) + data + bytes(100)


@pytest.mark.parametrize("write", [
    pytest.param(lambda made: pem_of(made, "SEV-Milan.crt", "ARK-Milan.crt", "vcek.crt"), id="PEM with several"),
    pytest.param(lambda made: b"text before\n" + pem_of(made, "vcek.crt", *CHAIN) + b"and after", id="PEM with text"),
    pytest.param(lambda made: table_of(made, False), id="a table"),
    pytest.param(lambda made: table_of(made, True), id="a table, little-endian")])
def test_one_file_with_all(made: Path, write: Callable[[Path], bytes], tmp_path: Path) -> None:
    (tmp_path / "all").write_bytes(write(made))
    found = answer(Question(made / "report", None, [tmp_path / "all"]))
    assert failures(found) == [] and len(found.checks) == 12


def test_der(made: Path, tmp_path: Path) -> None:
    for name in ("vcek.crt", *CHAIN):
        (tmp_path / name).write_bytes(der_of(made / name))
    found = answer(Question(made / "report", tmp_path / "vcek.crt", [tmp_path / name for name in CHAIN]))
    assert failures(found) == [] and len(found.checks) == 12


# --- The leaf and the report -------------------------------------------------------------------------


@pytest.mark.parametrize("leaf, check, words", [
    pytest.param("older", "TCB", "expected boot loader 3, TEE 0, SNP 20, microcode 209, the report's reported TCB, "
                 "found boot loader 3, TEE 0, SNP 19, microcode 209 in", id="SNP"),
    pytest.param("microcode", "TCB", "found boot loader 3, TEE 0, SNP 20, microcode 208 in", id="microcode"),
    pytest.param("loader", "TCB", "found boot loader 2, TEE 0, SNP 20, microcode 209 in", id="boot loader"),
    pytest.param("tee", "TCB", "found boot loader 3, TEE 1, SNP 20, microcode 209 in", id="TEE"),
    pytest.param("half", "TCB", "found none in the certificate", id="a part is missing"),
    pytest.param("chip", "chip ID", f"expected {CHIP_ID}, the report's, found {'c1' * 63}c2 in", id="another chip"),
    pytest.param("genoa", "kind of chip", "expected Milan, as in the report, found Genoa in", id="another kind of chip")])
def test_a_leaf_of_something_else(made: Path, leaf: str, check: str, words: str) -> None:
    found = ask(made, f"{leaf}.crt", *CHAIN)
    assert failures(found) == [check]
    assert words in found.failed[0].text
    # The very address of the right one.
    assert found.failed[0].hint == (f"the report's VCEK is at https://kdsintf.amd.com/vcek/v1/Milan/{CHIP_ID}"
                                    "?blSPL=03&teeSPL=00&snpSPL=20&ucodeSPL=209")


def test_anothers_key(made: Path) -> None:
    """Its certificate has the right TCB and chip ID, and has not signed this report."""
    found = ask(made, "stranger.crt", *CHAIN)
    assert failures(found) == ["signature"] and "openssl says Verification failure" in found.failed[0].text


def test_of_several_leaves_the_reports_counts(made: Path) -> None:
    assert failures(ask(made, None, "older.crt", "chip.crt", "vcek.crt", *CHAIN)) == []


@pytest.mark.parametrize("leaf, signing_key, found_words", [
    pytest.param("vcek", 1, "expected a VLEK, .* found VCEK: SEV-VCEK", id="a VCEK for a VLEK"),
    pytest.param("vlek", 0, "expected a VCEK, .* found VLEK: SEV-VLEK", id="a VLEK for a VCEK")])
def test_another_kind_of_key(made: Path, leaf: str, signing_key: int, found_words: str) -> None:
    found = ask(made, f"{leaf}.crt", *CHAIN, report=replace(REPORT, signing_key=signing_key))
    names = failures(found)
    assert names[0] == "kind of key" and set(names) <= {"kind of key", "chip ID"}
    expected, _, end = found_words.partition(".*")
    assert expected in found.failed[0].text and end in found.failed[0].text


def test_neither_kind(made: Path) -> None:
    assert failures(ask(made, "neither.crt", *CHAIN)) == ["kind of key", "chip ID"]


def test_a_vlek(made: Path) -> None:
    """It has no chip's ID."""
    found = ask(made, "vlek.crt", *CHAIN, report=replace(REPORT, signing_key=1))
    assert failures(found) == []
    assert any(check.name == "kind of key" and check.text.endswith(", of the provider a-provider") for check in found.checks)
    assert "chip ID" not in [check.name for check in found.checks]


def test_turin(made: Path) -> None:
    """Its TCB begins with the FMC, and its chip ID has 8 bytes."""
    report = replace(REPORT, version=5, processor="1a0201", tcb="0102030400000050", chip_id="0102030405060708" + "00" * 56)
    assert failures(ask(made, "turin.crt", *CHAIN, report=report)) == []
    found = ask(made, "turin.crt", *CHAIN, report=replace(report, tcb="0002030400000050"))
    assert failures(found) == ["TCB"]
    assert found.failed[0].hint.endswith(
        "/vcek/v1/Turin/0102030405060708?fmcSPL=00&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=80")


def test_version_2_does_not_name_the_chip(made: Path) -> None:
    """The certificate does."""
    report = replace(REPORT, version=2)
    assert failures(ask(made, "vcek.crt", *CHAIN, report=report)) == []
    assert "/v1/Genoa/" in ask(made, "genoa.crt", report=replace(report, tcb="04" + REPORTED[2:])).failed[0].hint
    assert failures(ask(made, "turin.crt", report=report))[0] == "kind of chip"


def test_a_hidden_chip_id(made: Path) -> None:
    found = ask(made, "vcek.crt", *CHAIN, report=replace(REPORT, chip_id="00" * 64))
    assert failures(found) == []
    assert any(check.name == "chip ID" and "the host hides it" in check.text for check in found.checks)


# --- The links -----------------------------------------------------------------------------------------


def test_the_ark_is_not_amds(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A self-signed certificate with AMD's name is nothing; the note says whose key it is."""
    found = ask(made, "vcek.crt", *CHAIN)
    assert "has none of the keys of AMD's ARKs (Milan, Genoa, Turin)" in found.notes[0]
    monkeypatch.setattr(chain, "ARKS", {key_digest(made / CHAIN[0]): "Milan"})
    assert ask(made, "vcek.crt", *CHAIN).notes == ["ARK-Milan has the key of AMD's ARK for Milan"]


def key_digest(certificate: Path) -> str:
    """SHA-256 of a certificate's public key in DER."""
    words = ["openssl", "x509", "-in", str(certificate), "-noout", "-pubkey"]
    pem = subprocess.run(words, check=True, capture_output=True).stdout
    done = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=pem, check=True, capture_output=True)
    return hashlib.sha256(done.stdout).hexdigest()


@pytest.mark.parametrize("names, check, words", [
    pytest.param(("ARK-Milan.crt",), "SEV-VCEK is signed",
                 "expected the certificate of SEV-Milan among those given, found none", id="no ASK"),
    pytest.param(("SEV-Milan.crt",), "SEV-Milan is signed",
                 "expected the certificate of ARK-Milan among those given, found none", id="no ARK"),
    pytest.param(("other/SEV-Milan.crt", "ARK-Milan.crt"), "SEV-VCEK is signed", "expected a signature by SEV-Milan",
                 id="another ASK of the same name"),
    pytest.param(("SEV-Milan.crt", "other/ARK-Milan.crt"), "SEV-Milan is signed", "expected a signature by ARK-Milan",
                 id="another ARK of the same name")])
def test_a_broken_link(made: Path, names: tuple[str, ...], check: str, words: str) -> None:
    found = ask(made, "vcek.crt", *names)
    assert check in failures(found) and words in next(one.text for one in found.failed if one.name == check)


def test_the_right_one_of_two_with_the_same_name_counts(made: Path) -> None:
    assert failures(ask(made, "vcek.crt", "other/SEV-Milan.crt", "other/ARK-Milan.crt", *CHAIN)) == []


@pytest.mark.parametrize("leaf, found_words", [("pkcs1", "sha384WithRSAEncryption"), ("sha256", "rsassaPss sha256")])
def test_another_algorithm(made: Path, leaf: str, found_words: str) -> None:
    found = ask(made, f"{leaf}.crt", *CHAIN)
    assert failures(found) == ["SEV-VCEK is signed"]
    assert f"expected a signature with RSA-PSS and SHA-384, found {found_words}" in found.failed[0].text


@pytest.mark.parametrize("years, names", [(9, ["SEV-VCEK", "SEV-Milan"]), (11, ["SEV-VCEK", "SEV-Milan", "ARK-Milan"]),
                                          (-1, ["SEV-VCEK", "SEV-Milan", "ARK-Milan"])])
def test_out_of_date(made: Path, years: int, names: list[str]) -> None:
    """The ARK here lasts ten years, the others some eight."""
    now = TODAY + datetime.timedelta(days=366 * years)
    found = ask(made, "vcek.crt", *CHAIN, now=now)
    assert failures(found) == [f"{name} is valid" for name in names]
    assert f"expected today, {now:%Y-%m-%d}, to be in its time" in found.failed[0].text


def test_a_changed_root(made: Path, tmp_path: Path) -> None:
    """One bit of the ARK's own signature."""
    (tmp_path / "ark").write_bytes(make.flip(der_of(made / "ARK-Milan.crt"), -1))
    found = answer(Question(made / "report", made / "vcek.crt", [made / "SEV-Milan.crt", tmp_path / "ark"]))
    assert failures(found) == ["ARK-Milan is signed"]


def test_a_changed_leaf(made: Path, tmp_path: Path) -> None:
    (tmp_path / "vcek").write_bytes(make.flip(der_of(made / "vcek.crt"), -1))
    found = answer(Question(made / "report", tmp_path / "vcek", [made / name for name in CHAIN]))
    assert failures(found) == ["SEV-VCEK is signed"]


def test_no_leaf(made: Path) -> None:
    found = ask(made, None, *CHAIN)
    assert failures(found) == ["chain"] and "found ARK-Milan, SEV-Milan" in found.failed[0].text


def test_an_authority_is_no_leaf(made: Path) -> None:
    """An ASK's certificate with --vcek: nothing is verified with it."""
    found = ask(made, "SEV-Milan.crt")
    assert failures(found)[0] == "signature" and "expected a public key on P-384" in found.failed[0].text


# --- Only a key, only a leaf ---------------------------------------------------------------------------


def test_a_public_key(made: Path) -> None:
    """The emulated host exports one."""
    found = ask(made, "vcek.pem")
    assert failures(found) == [] and found.notes == ["a public key says nothing about whose it is"]
    assert failures(ask(made, "stranger.pem")) == ["signature"]


def test_a_public_key_and_a_chain(made: Path) -> None:
    assert failures(ask(made, "vcek.pem", "vcek.crt", *CHAIN)) == []
    assert failures(ask(made, "vcek.pem", "stranger.crt", *CHAIN)) == ["key of the chain"]


def test_a_leaf_alone(made: Path) -> None:
    """Who signed it is not known, and is said so."""
    found = ask(made, "vcek.crt")
    assert failures(found) == [] and found.notes[0].startswith("nothing is known about who signed SEV-VCEK")


def test_nothing(made: Path) -> None:
    found = ask(made, None)
    assert failures(found) == [] and found.notes[0].startswith("nothing is known about who signed it")
    assert found.last_line() == ("PASS: attestation report: 1 check passed, its signature was not checked, "
                                 "its measurement was not compared")


def test_a_date_that_is_none(made: Path, tmp_path: Path) -> None:
    """openssl prints such a certificate, without complaining."""
    der = der_of(made / "vcek.crt")
    digits = der.index(b"\x17\x0d") + 2
    (tmp_path / "vcek").write_bytes(der[:digits] + b"ZZ" + der[digits + 2:])
    with pytest.raises(Unusable, match="expected an X.509 certificate"):
        answer(Question(made / "report", tmp_path / "vcek"))


def test_any_certificate(made: Path, tmp_path: Path) -> None:
    """With changed bytes it is refused, or its check fails."""
    good = der_of(made / "vcek.crt")
    chance = random.Random(1)
    for _ in range(60):
        changed = bytearray(good)
        for _ in range(3):
            changed[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        (tmp_path / "vcek").write_bytes(bytes(changed))
        try:
            found = answer(Question(made / "report", tmp_path / "vcek", [made / name for name in CHAIN]))
        except Unusable:
            continue
        assert found.failed, changed.hex()
        json.dumps([found.lines(), found.to_json()])


# --- Files that cannot be used -------------------------------------------------------------------------


@pytest.mark.parametrize("data, words", [
    pytest.param(b"", "found 0 bytes", id="empty"), pytest.param(b"hello", "found 5 bytes", id="text"),
    pytest.param(b"\x30\x82\x01\x00" + bytes(50), "found 54 bytes that openssl cannot read", id="no certificate"),
    pytest.param(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "that openssl cannot read",
                 id="PEM of no certificate"),
    pytest.param(b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n", "that openssl cannot read",
                 id="PEM that is cut off"),
    pytest.param(b"-----BEGIN PUBLIC KEY-----\n", "found a public key, for --vcek", id="a public key"),
    pytest.param(struct.pack("<16sII", uuid.UUID(GUIDS["vcek.crt"]).bytes, 1 << 20, 10) + bytes(24), "found 48 bytes",
                 id="a table that leads out of the file")])
def test_a_file_without_certificates(made: Path, data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(Unusable, match=words) as raised:
        answer(Question(made / "report", None, [tmp_path / "bad"]))
    assert raised.value.hint
