# SPDX-License-Identifier: GPL-2.0-only
"""Makes certificates like AMD's for the tests: an ARK, an ASK, and a VCEK or VLEK, right or wrong in one thing."""
from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

AMD = "1.3.6.1.4.1.3704.1"
PSS = ("-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:48")
CHIP_ID = "c1" * 64
# The same in a report's field, of Milan and Genoa.
TCB, REPORTED = (3, 0, 20, 209), "03000000000014d1"


@dataclass(frozen=True)
class Leaf:
    """A VCEK's certificate. tcb: boot loader, TEE, SNP, microcode; hwid, csp_id: "" for none."""

    name: str = "SEV-VCEK"
    product: str = "Milan-B0"
    tcb: tuple[int, ...] = TCB
    fmc: int | None = None
    hwid: str = CHIP_ID
    csp_id: str = ""
    # The hwid in an OCTET STRING of its own.
    wrapped: bool = False

    def extensions(self) -> str:
        """The lines for openssl."""
        values = {f"{AMD}.1": number(1), f"{AMD}.2": text(self.product)}
        for part, level in zip((1, 2, 3, 8), self.tcb):
            values[f"{AMD}.3.{part}"] = number(level)
        if self.fmc is not None:
            values[f"{AMD}.3.9"] = number(self.fmc)
        if self.hwid:
            data = bytes.fromhex(self.hwid)
            values[f"{AMD}.4"] = bytes([4, len(data)]) + data if self.wrapped else data
        if self.csp_id:
            values[f"{AMD}.5"] = text(self.csp_id)
        return "".join(f"{name}=DER:{data.hex(':')}\n" for name, data in values.items())


def number(value: int) -> bytes:
    """A small INTEGER in DER."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(data)]) + data


def text(value: str) -> bytes:
    """An IA5String in DER."""
    return bytes([22, len(value)]) + value.encode()


def openssl(*words: str | Path) -> None:
    """Runs openssl, which must succeed."""
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def new_root(folder: Path, name: str, pss: Sequence[str] = PSS) -> Path:
    """Makes NAME.key and the self-signed NAME.crt."""
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / f"{name}.key",
            "-subj", f"/O=Test/CN={name}", "-days", "3650", *pss, "-out", folder / f"{name}.crt")
    return folder / f"{name}.crt"


def sign(folder: Path, key: Path, subject: str, issuer: str, extensions: str, out: str, pss: Sequence[str] = PSS) -> Path:
    """Makes a certificate for a private key, signed by ISSUER.key."""
    (folder / "extensions").write_text(extensions, encoding="ascii")
    openssl("req", "-new", "-key", key, "-subj", f"/O=Test/CN={subject}", "-out", folder / "request")
    openssl("x509", "-req", "-in", folder / "request", "-CA", folder / f"{issuer}.crt", "-CAkey", folder / f"{issuer}.key",
            "-set_serial", "1", "-days", "3000", *pss, "-extfile", folder / "extensions", "-out", folder / out)
    return folder / out


def new_ask(folder: Path, name: str, issuer: str) -> Path:
    """Makes NAME.key and NAME.crt."""
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / f"{name}.key")
    return sign(folder, folder / f"{name}.key", name, issuer, "basicConstraints=critical,CA:true\n", f"{name}.crt")


def new_leaf(folder: Path, key: Path, leaf: Leaf, out: str = "vcek.crt", issuer: str = "SEV-Milan",
             pss: Sequence[str] = PSS) -> Path:
    """Makes the certificate of a VCEK or VLEK for a private key on P-384."""
    return sign(folder, key, leaf.name, issuer, leaf.extensions(), out, pss)
