# SPDX-License-Identifier: GPL-2.0-only
"""Debian's software for an SNP guest as a part of a test's L1, whose boots launch the guest among other programs."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.boot.line import exported_key
from lab.build.chosen import Guest
from lab.build.deps import install_step
from lab.build.guest import GuestImage
from lab.build.packages import GuestPackages
from lab.core.session import Session
from lab.core.steps import Job, Plan
from lab.judge.guest import Attested, Launch, attest
from lab.judge.logs import BootLogs
from tests.support.l1 import EACH, L1, run_plan

# lab/l1/snp_guest, which launches the guest.
PROGRAM = "snp_guest"
MEMORY, CPUS = 256, 4
NONCE = "5c" * 32


@dataclass(frozen=True)
class GuestInL1:
    """A guest that an L1 can launch."""

    l1: L1
    image: GuestImage

    def boot(self, name: str, programs: str, append: str = "", each: int = EACH) -> BootLogs:
        """Boots L1 with memory for the guest, and with a platform that exports its key."""
        return self.l1.boot(name, programs, each=each, append=append, memory=self.image.guest.l1_memory,
                            psp=exported_key(self.key(name)))

    def key(self, name: str) -> Path:
        """The public key of the platform in that boot."""
        return self.l1.folder / name / "vcek.pem"

    def attested(self, name: str, logs: BootLogs) -> Attested:
        """The checks of the report that the guest got in that boot."""
        image, guest = self.image, self.image.guest
        launch = Launch(guest.smp, NONCE, self.key(name), image.packages.firmware, image.vmlinuz, image.initrd, guest.line,
                        guest.model)
        return attest(launch, self.l1.folder / name, logs.ktap_lines)


def fetched_packages(session: Session, folder: Path) -> GuestPackages:
    """The packages, in the cache."""
    packages, plan = GuestPackages(session), Plan(session, logs=folder / "packages")
    packages.add_fetch(plan, (install_step(plan, "fetch"),))
    run_plan(plan)
    return packages


def add_guest(l1: L1, model: str) -> GuestInL1:
    """Puts the guest in front of what is in L1's initrd."""
    guest, job = Guest(CPUS, MEMORY, model=model), Job(l1.session, l1.folder / "guest.log")
    image = GuestImage(l1.session, fetched_packages(l1.session, l1.folder), guest)
    image.build(job)
    initrd = l1.prepared.initrd
    whole = initrd.with_name("initrd.all")
    image.add_settings(job, initrd, whole, guest.settings(NONCE, EACH))
    whole.replace(initrd)
    image.path.unlink()
    return GuestInL1(l1, image)
