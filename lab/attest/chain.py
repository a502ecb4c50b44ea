# SPDX-License-Identifier: GPL-2.0-only
"""Checks the certificates behind a report: who signed which, when they are valid, and whether the VCEK is this report's.

AMD's chain (57230): the ARK signs itself and the ASK, the ASK signs the VCEK (or, as ASVK, the VLEK), each with RSA-PSS and
SHA-384. A VCEK is made of the chip's secret and of a TCB: its certificate names both, and the report has to name the same.
"""
from __future__ import annotations

import datetime
import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from lab.attest.attestation import Check, Report, decode, key_problem, signature_problem
from lab.attest.certificates import CSP_ID, PRODUCT, Certificate, common_name
from lab.attest.certificates import signature_problem as certificate_problem
from lab.attest.fields import SHORT_CHIP_ID, Chip, chip_id, chip_of, reported_tcb

ALGORITHM = "rsassaPss sha384"
VCEK, VLEK = 0, 1
# SHA-256 of the public key (SubjectPublicKeyInfo, DER) of each ARK of AMD's that has SNP.
ARKS = {"9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9": "Milan",
        "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831": "Genoa",
        "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08": "Turin"}
KEY_SERVER = "https://kdsintf.amd.com"
CHAIN_HINT = f"{KEY_SERVER}/vcek/v1/NAME/cert_chain has ASK and ARK (NAME: Milan, Genoa, Turin); give it with --chain"
MOST_LINKS = 10


@dataclass
class Chain:
    """The results: checks, and notes for the user."""

    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # From the leaf to the root, as far as it could be followed.
    path: list[Certificate] = field(default_factory=list)


def choose_leaf(certificates: list[Certificate], report: Report) -> Certificate | None:
    """The VCEK or VLEK; of several the one for this report's TCB and chip, or the first."""
    leaves = [one for one in certificates if one.is_leaf]
    fitting = [one for one in leaves if all(check.ok for check in leaf_checks(one, report))]
    return next(iter(fitting or leaves), None)


def check_chain(leaf: Certificate, others: list[Certificate], now: datetime.datetime) -> Chain:
    """Follows the chain from a VCEK or VLEK to the self-signed ARK. others: further certificates, in any order."""
    chain = Chain()
    one = leaf
    while len(chain.path) < MOST_LINKS:
        chain.path.append(one)
        issuers = [other for other in others if other.subject == one.issuer] if not one.is_root else [one]
        if not issuers:
            chain.checks.append(Check(f"{one.name} is signed", "expected the certificate of "
                                      f"{common_name(one.issuer)} among those given, found none", "", CHAIN_HINT))
            break
        problems = [(certificate_problem(one, issuer), issuer) for issuer in issuers]
        problem, issuer = next((found for found in problems if found[0] is None), problems[0])
        chain.checks += [signed_check(one, issuer, problem), validity_check(one, now)]
        if one.is_root:
            root_note(chain, one)
            break
        one = issuer
    return chain


def signed_check(one: Certificate, issuer: Certificate, problem: str | None) -> Check:
    """Did the issuer sign it, as AMD does?"""
    name = f"{one.name} is signed"
    if problem is not None:
        return Check(name, f"expected a signature by {issuer.name} ({issuer.source}), found another: openssl says {problem}",
                     "", "fetch both certificates again, for the same kind of chip")
    if one.algorithm != ALGORITHM:
        return Check(name, f"expected a signature with RSA-PSS and SHA-384, found {one.algorithm}", "",
                     f"AMD's certificates have no other: fetch it from {KEY_SERVER}")
    return Check(name, None, f"by {'itself' if one is issuer else issuer.name}, RSA-PSS, SHA-384")


def validity_check(one: Certificate, now: datetime.datetime) -> Check:
    """Is it valid today?"""
    span = f"{one.begins:%Y-%m-%d} to {one.ends:%Y-%m-%d}"
    if one.begins <= now <= one.ends:
        return Check(f"{one.name} is valid", None, span)
    return Check(f"{one.name} is valid", f"expected today, {now:%Y-%m-%d}, to be in its time, found {span}", "",
                 "fetch a newer certificate, or correct this machine's clock")


def root_note(chain: Chain, root: Certificate) -> None:
    """Says whose ARK it is. Anybody can make a self-signed certificate with AMD's name in it."""
    der = decode("".join(root.key.splitlines()[1:-1])) or b""
    known = ARKS.get(hashlib.sha256(der).hexdigest())
    if known is not None:
        chain.notes.append(f"{root.name} has the key of AMD's ARK for {known}")
    else:
        chain.notes.append(f"{root.name} ({root.source}) has none of the keys of AMD's ARKs ({', '.join(ARKS.values())}): "
                           "the chain proves only that the maker of this certificate signed")


# --- The VCEK and the report -------------------------------------------------------------------------


def key_server_path(report: Report, chip: Chip | None) -> str:
    """Where AMD's key server has the VCEK of a report; empty if the report does not say enough."""
    if chip is None or chip.name not in ARKS.values() or not any(chip_id(report)):
        return ""
    tcb = reported_tcb(report)
    hwid = chip_id(report)[:SHORT_CHIP_ID] if chip.has_fmc else chip_id(report)
    fmc = "" if tcb.fmc is None else f"fmcSPL={tcb.fmc:02}&"
    return (f"{KEY_SERVER}/vcek/v1/{chip.name}/{hwid.hex()}?{fmc}blSPL={tcb.boot_loader:02}&teeSPL={tcb.tee:02}"
            f"&snpSPL={tcb.snp:02}&ucodeSPL={tcb.microcode:02}")


def named_chip(leaf: Certificate, report: Report) -> Chip | None:
    """The report's kind of chip; if it may be of two, and the certificate names one of them, that one."""
    chip, product = chip_of(report), (leaf.text(PRODUCT) or "").split("-")[0]
    return chip._replace(name=product) if chip is not None and product in chip.name.split(" or ") else chip


def leaf_checks(leaf: Certificate, report: Report) -> list[Check]:
    """Is this VCEK or VLEK the one that the report names?"""
    where = key_server_path(report, named_chip(leaf, report))
    hint = f"the report's VCEK is at {where}" if where else "fetch the certificate for the report's chip and reported TCB"
    return [kind_check(leaf, report), product_check(leaf, report, hint), tcb_check(leaf, report, hint),
            *([chip_check(leaf, report, hint)] if report.signing_key == VCEK else [])]


def kind_check(leaf: Certificate, report: Report) -> Check:
    """A VCEK has a chip's ID, a VLEK that of a provider."""
    kinds = [name for name, there in (("VCEK", leaf.hwid is not None), ("VLEK", CSP_ID in leaf.extensions)) if there]
    found = f"{' and '.join(kinds) or 'neither VCEK nor VLEK'}: {leaf.name} ({leaf.source})"
    wanted = {VCEK: "VCEK", VLEK: "VLEK"}.get(report.signing_key)
    if wanted is not None and kinds == [wanted]:
        provider = leaf.text(CSP_ID)
        return Check("kind of key", None, found + (f", of the provider {provider}" if provider else ""))
    return Check("kind of key", f"expected a {wanted or 'VCEK or VLEK'}, with which the report says that it is signed, "
                 f"found {found}", "", f"a VCEK's certificate is from {KEY_SERVER}, a VLEK's from the machine's provider")


def product_check(leaf: Certificate, report: Report, hint: str) -> Check:
    """The kind of chip. The certificate's name may have a stepping: Milan-B0."""
    chip, product = chip_of(report), leaf.text(PRODUCT)
    if product is None:
        return Check("kind of chip", "expected the certificate to name one, found none", "", hint)
    if chip is not None and not any(product.split("-")[0] == name for name in chip.name.split(" or ")):
        return Check("kind of chip", f"expected {chip.name}, as in the report, found {product} in the certificate", "", hint)
    return Check("kind of chip", None, product)


def tcb_check(leaf: Certificate, report: Report, hint: str) -> Check:
    """The reported TCB, of which the key is made."""
    wanted, found = reported_tcb(report), leaf.tcb()
    if found == wanted:
        return Check("TCB", None, found.words)
    return Check("TCB", f"expected {wanted.words}, the report's reported TCB, found "
                 f"{found.words if found else 'none'} in the certificate", "", hint)


def chip_check(leaf: Certificate, report: Report, hint: str) -> Check:
    """The chip's ID."""
    wanted, found = chip_id(report), leaf.hwid or b""
    if not any(wanted):
        return Check("chip ID", None, "the host hides it in the report: not compared")
    if found == wanted or (len(found) == SHORT_CHIP_ID and found.ljust(len(wanted), b"\0") == wanted):
        return Check("chip ID", None, f"{found[:SHORT_CHIP_ID].hex()}…")
    return Check("chip ID", f"expected {wanted.hex()}, the report's, found {found.hex() or 'none'} in the certificate", "",
                 hint)


# --- The report's signature --------------------------------------------------------------------------


def report_check(report: Report, key: str, name: str) -> Check:
    """Did this key, in PEM, sign the report? name: the key's, for messages."""
    with tempfile.TemporaryDirectory(prefix="snplab-key.") as tmp:
        file = Path(tmp, "key.pem")
        file.write_text(key, encoding="ascii", errors="replace")
        problem = key_problem(file)
        if problem is not None:
            return Check("signature", f"{name}: {problem}", "", "give the certificate or the public key of a VCEK or VLEK")
        problem = signature_problem(report, file, name)
    return Check("signature", problem, f"ECDSA P-384, SHA-384, by {name}",
                 "if the report was not changed, another key signed it: give the VCEK of the report's chip and reported TCB")
