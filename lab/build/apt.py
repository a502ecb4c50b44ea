# SPDX-License-Identifier: GPL-2.0-only
"""Downloads Debian's packages with a private apt configuration: own sources list, package lists and archive folder. It uses
the machine's mirror, and leaves the machine's own apt alone."""
from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from pathlib import Path

from lab.build.deps import is_debian
from lab.core.errors import Stop, setup_error
from lab.core.places import need_space, out_of_space, tilde
from lab.core.process import Command, CommandFailed, command
from lab.core.steps import Job

# The suites to look for packages in; the newest version of all of them wins.
SUITES = ("trixie", "trixie-backports", "testing", "unstable", "bookworm-backports")
SECURITY_SUITES = ("trixie-security", "bookworm-security")
# The suites for source packages: QEMU's source is of this release.
SOURCE_SUITES = ("trixie", "trixie-security")
# After this many seconds the package lists are read again, and searched for newer versions.
LISTS_AGE = 720 * 60
DEBIAN_SUITE = re.compile(r"(bookworm|trixie|forky|duke|sid|stable|oldstable|testing|unstable)(-updates|-backports)?")
WHAT = "the sources of kernels and QEMU"
# The options that give source trees instead of these packages.
OWN_TREES = "./snplab run --linux DIR --selftests DIR --qemu DIR"


def is_fresh(path: Path) -> bool:
    """Is the file younger than LISTS_AGE?"""
    try:
        return time.time() - path.stat().st_mtime < LISTS_AGE
    except OSError:
        return False


class Apt:
    """The lab's own apt, in the cache's folder apt."""

    def __init__(self, job: Job, what: str = WHAT, own_trees: str = OWN_TREES) -> None:
        self.job = job
        self.folder = job.session.cache.folder("apt")
        # For messages: the packages' purpose (a plural), and the user's alternative to fetching them.
        self.what = what
        # Several steps fetch in parallel and any may fail first: each message begins with the hint that helps them all.
        self.instead = f"copy {tilde(job.session.cache.root / 'base')} from a machine that has them"
        if own_trees:
            self.instead += f", or give source trees: {own_trees}"

    def tool(self, tool: str, *words: str, cwd: Path | None = None) -> Command:
        """A command line of apt-get or apt-cache with the private configuration."""
        d = self.folder
        options = [f"Dir::Etc::sourcelist={d}/sources.list", "Dir::Etc::sourceparts=-", f"Dir::State::lists={d}/lists",
                   f"Dir::Cache={d}/cache", "Acquire::Languages=none",
                   "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
                   "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "Acquire::Retries=2",
                   "Acquire::http::Timeout=30", "Acquire::https::Timeout=30", "APT::Architecture=amd64",
                   "APT::Sandbox::User=root",
                   # Accept the expired lists of a mirror that lags: their signatures are still checked.
                   "Acquire::Check-Valid-Until=false"]
        return command(tool, *(word for option in options for word in ("-o", option)), *words, cwd=cwd)

    def madison(self, *packages: str) -> list[list[str]]:
        """The rows of apt-cache madison, newest first: package, version, source."""
        text = self.job.output(self.tool("apt-cache", "madison", *packages))
        return [[part.strip() for part in line.split("|")] for line in text.splitlines()]

    def candidates(self, pattern: str) -> list[tuple[str, str]]:
        """(package, version) of all packages whose name matches, newest first."""
        text = self.job.output(self.tool("apt-cache", "search", "--names-only", pattern))
        names = sort_versions({line.split()[0] for line in text.splitlines() if line.strip()})
        # One call for all names: each call of apt-cache reads the package lists for seconds.
        rows = self.madison(*names) if names else []
        return list(dict.fromkeys((name, row[1]) for name in names for row in rows if row[0] == name))

    def refresh(self) -> None:
        """Updates the package lists if they are old. A failure is an error only if there are no lists at all."""
        # Fetches of other packages update the same lists.
        with self.job.lock("apt"):
            sources = self.folder / "sources.list"
            if is_fresh(self.folder / "fresh") and sources.exists() and "\ndeb-src " in sources.read_text(encoding="utf-8"):
                return
            if not is_debian() or shutil.which("apt-get") is None:
                raise setup_error(f"{self.what} come from Debian packages, and this machine is no Debian", self.instead)
            archive, security = mirrors(self.job, self.instead)
            # apt does not fail on a full disk, it hangs.
            need_space(self.folder, 300, "reading the package lists")
            for name in ("lists/partial", "cache/archives/partial"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            sources.write_text(sources_list(archive, security), encoding="utf-8")
            if self.job.status(self.tool("apt-get", "-o", "APT::Update::Error-Mode=any", "update")) == 0:
                (self.folder / "fresh").touch()
                return
            if not any((self.folder / "lists").glob("*_Packages*")):
                out_of_space(self.folder)
                raise setup_error("no package lists could be read: the network or the mirror does not answer",
                                  "check the network and apt's sources; apt's messages are in the log",
                                  f"without a network: {self.instead}")
            self.job.tell("not every package list could be updated: going on with the lists in the cache")

    def refresh_or(self, there: str | None) -> bool:
        """Updates the lists. If that fails, returns False if the cache has a package to use instead: `there`, its name."""
        try:
            self.refresh()
            return True
        except (Stop, CommandFailed):
            if there is None:
                raise
        self.job.tell(f"no network: going on with {there}")
        return False


def sources_list(archive: str, security: str | None) -> str:
    """The private sources.list."""
    lines = [f"deb {archive} {suite} main" for suite in SUITES]
    if security:
        lines += [f"deb {security} {suite} main" for suite in SECURITY_SUITES]
    for suite in SOURCE_SUITES:
        place = security if suite.endswith("-security") else archive
        if place:
            lines.append(f"deb-src {place} {suite} main")
    return "\n".join(lines) + "\n"


def mirrors(job: Job, instead: str) -> tuple[str, str | None]:
    """The address of the archive, then of the security archive. apt itself lists them, so that a commented-out line or a
    disabled entry is not taken for a mirror."""
    text = job.output(command("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
                              "Created-By: Packages"))
    count: Counter[str] = Counter()
    security = None
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3 or words[2] != "main":
            continue
        if DEBIAN_SUITE.fullmatch(words[1]):
            count[words[0]] += 1
        elif words[1].endswith("-security") and security is None:
            security = words[0]
    if not count:
        raise setup_error("expected an enabled Debian archive in this machine's apt sources, found none",
                          f"add one; or {instead}")
    # A third party's archive may have a suite bookworm too, but Debian's has the most suites. On a tie the first one wins.
    archive = count.most_common(1)[0][0]
    if security is None and archive.endswith("/debian/"):
        security = archive.removesuffix("debian/") + "debian-security/"
    return archive, security


def version_key(text: str) -> list[tuple[int, int | str]]:
    """The key that sorts names with numbers as sort -V does, such as Debian's kernel packages."""
    return [(1, int(part)) if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text) if part]


def sort_versions(names: set[str]) -> list[str]:
    """Sorts names by version, newest first."""
    return sorted(names, key=version_key, reverse=True)
