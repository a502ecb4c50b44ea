# SPDX-License-Identifier: GPL-2.0-only
"""A tree and a configuration of the user's: --config FILE, --selftests tree, and a tree that cannot be an SNP host.

A mistyped symbol must not be ignored, or the verdict is on another kernel than the user thinks. A tree that cannot be tested
must say so before the build, which takes minutes.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.build import selftests as kvm_selftests
from lab.build.fitness import PARTS, SNP_HOST
from lab.build.fragment import Refused, not_taken, parse_fragment
from lab.build.kernel import PLAIN, Flavour, Kernel, flavour, with_config
from lab.build.overlay import Tree
from lab.build.selftests import KVM, carries, selftest_patches, selftests_for
from lab.core.errors import Stop
from lab.core.session import Session
from lab.core.steps import Job
from lab.patches.newfiles import brought_names
from tests.support.forked import run_forked
from tests.support.front import expect
from tests.test_errors import make_kernel

ABOUT = "--config FILE, --selftests tree, and what a tree of the user's must have"
LANE = "fast"
NEEDS = ("overlay", "build")
TAKES = 6

# The Makefile of a made-up tree: Kconfig has the symbol B, and its dependencies are not met.
MAKEFILE = "allnoconfig:\n\tcp $(KCONFIG_ALLCONFIG) obj/.config\n\tsed -i -e /CONFIG_B=/d -e /CONFIG_ZZ=/d obj/.config\n"


@pytest.fixture(name="session")
def fixture_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield Session("test")


def make_host(folder: Path, snp: bool = True, without: Sequence[str] = ()) -> Path:
    """A kernel tree with the Kconfig symbols of a SEV host, but for some, and with or without the code of an SNP host."""
    make_kernel(folder)
    for part in PARTS:
        (folder / part.folder).mkdir(parents=True, exist_ok=True)
        with open(folder / part.folder / "Kconfig", "a", encoding="utf-8") as kconfig:
            kconfig.write("" if part.symbol in without else f"config {part.symbol}\n\ttristate \"x\"\n")
    if snp:
        (folder / SNP_HOST).parent.mkdir(parents=True)
        (folder / SNP_HOST).touch()
    return folder


# --- The fragment ------------------------------------------------------------------------------------------------------

GOOD = """\
# A comment.

CONFIG_A=y
CONFIG_B=m
CONFIG_C=n
# CONFIG_D is not set
CONFIG_E=42
CONFIG_F=-0x
"""


def test_a_fragment_is_read() -> None:
    text = GOOD.replace("CONFIG_F=-0x", "CONFIG_F=0xAb\nCONFIG_G=\"a \\\" b\"\nCONFIG_A=m  ")
    assert parse_fragment(text) == {"CONFIG_A": "m", "CONFIG_B": "m", "CONFIG_C": "n", "CONFIG_D": "n", "CONFIG_E": "42",
                                    "CONFIG_F": "0xAb", "CONFIG_G": "\"a \\\" b\""}


@pytest.mark.parametrize("line", ("CONFIG_F=-0x", "A=y", "CONFIG_A = y", " CONFIG_A=y", "CONFIG_A", "CONFIG_A=yes",
                                  "CONFIG_A=\"x", "# CONFIG_A is not st", "config A", "CONFIG_=", "\0"))
def test_a_line_that_is_none_is_refused(line: str, tmp_path: Path) -> None:
    """With its number, before anything is done."""
    (tmp_path / "f").write_text(f"# First.\nCONFIG_OK=y\n{line}\n", encoding="utf-8")
    make_host(tmp_path / "k")
    for verb in ("run", "guest"):
        done = run_forked(verb, "--tree", tmp_path / "k", "--config", tmp_path / "f", "--dry-run", cwd=tmp_path)
        expect(done, 2, r"f: line 3: expected CONFIG_SYMBOL=value or \"# CONFIG_SYMBOL is not set\", found '")


@pytest.mark.parametrize("content, pattern", ((b"", "expected a line such as CONFIG_SYMBOL=y, found none"),
                                              (b"# only this\n", "expected a line such as"), (b"\xff\xfe", "no UTF-8")))
def test_a_file_that_is_none_is_refused(content: bytes, pattern: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    expect(run_forked("run", "--config", tmp_path / "f", "--dry-run"), 2, pattern)
    expect(run_forked("run", "--config", tmp_path / "none", "--dry-run"), 2, "--config: no such file")


def test_the_package_has_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("CONFIG_A=y\n", encoding="utf-8")
    expect(run_forked("guest", "--tree", "debian", "--config", tmp_path / "f"), 2, "it does not go with --config")


def test_what_kconfig_has_not_taken() -> None:
    wanted = {"CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_C": "n", "CONFIG_D": "n", "CONFIG_E": "0xAB", "CONFIG_F": "5",
              "CONFIG_G": "\"x\"", "CONFIG_H": "y"}
    config = ("CONFIG_A=y\nCONFIG_B=y\n# CONFIG_D is not set\nCONFIG_E=0xab\nCONFIG_F=7\nCONFIG_G=\"x\"\n"
              "# CONFIG_H is not set\n")
    assert not_taken(wanted, config) == [Refused("CONFIG_B", "m", "y"), Refused("CONFIG_F", "5", "7"),
                                         Refused("CONFIG_H", "y", "n")]
    assert not_taken({"CONFIG_X": "y"}, config) == [Refused("CONFIG_X", "y", None)]


def test_each_fragment_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Also if two have one name, and with each flavour. Without a fragment nothing changes."""
    found: list[Flavour] = [with_config(one, path) for one in (flavour(), flavour("gdb"), PLAIN)
                            for path in (None, tmp_path / "a.config", tmp_path / "b/a.config", tmp_path / "a b")]
    assert len({one.suffix for one in found}) == len(found)
    assert with_config(PLAIN, None) == PLAIN and " " not in found[3].suffix


@pytest.fixture(name="kernel")
def fixture_kernel(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel with a fragment of the lab's, CONFIG_A=y, and one of the user's."""
    source = tmp_path / "work/src"
    source.mkdir(parents=True)
    session.cache.folder("work")
    (source / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    (source / "Kconfig").write_text("config B\nconfig A\n", encoding="utf-8")
    monkeypatch.setattr("lab.build.kernel.CONFIGS", tmp_path)
    (tmp_path / "lab.config").write_text("CONFIG_A=y\n", encoding="utf-8")
    return Kernel(Tree(source, tmp_path / "work", [], False), session.cache, ["lab"], tmp_path / "user")


@pytest.mark.parametrize("text, pattern", (
    ("CONFIG_B=y\n", "CONFIG_B: expected y, found nothing: its dependencies are not met$"),
    ("CONFIG_ZZ=y", "CONFIG_ZZ: expected y, found no such symbol in this tree$"),
    ("CONFIG_B=y\nCONFIG_ZZ=m\n", "CONFIG_B: expected y, .*; CONFIG_ZZ: expected m, found no such symbol")))
def test_a_symbol_that_is_not_taken_is_named(
        kernel: Kernel, session: Session, tmp_path: Path, text: str, pattern: str) -> None:
    """And once the fragment is mended, the kernel is configured again."""
    job = Job(session, tmp_path / "log")
    (tmp_path / "user").write_text(text, encoding="utf-8")
    with pytest.raises(Stop, match=pattern) as raised:
        kernel.configure(job)
    assert raised.value.of_tree and raised.value.status == 3 and raised.value.hints
    (tmp_path / "user").write_text("CONFIG_C=y", encoding="utf-8")
    assert kernel.configure(job)


def test_the_users_line_is_the_last(kernel: Kernel, session: Session, tmp_path: Path) -> None:
    """It replaces the lab's line for the symbol; an edit configures again, no edit does not."""
    job = Job(session, tmp_path / "log")
    for text, taken in (("CONFIG_C=y\n", "CONFIG_A=y\nCONFIG_C=y\n"), ("CONFIG_A=n\n", "CONFIG_A=n\n")):
        (tmp_path / "user").write_text(text, encoding="utf-8")
        assert kernel.configure(job)
        assert not kernel.configure(job)
        assert (kernel.obj / ".config").read_text(encoding="utf-8") == taken


# --- The tree ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", (["run"], ["guest", "--check"]))
@pytest.mark.parametrize("symbol", [part.symbol for part in PARTS])
def test_a_tree_that_is_no_host_is_refused(tmp_path: Path, verb: list[str], symbol: str) -> None:
    """In one line, with a hint, before anything is built."""
    folder = make_host(tmp_path / "k", without=(symbol,))
    done = run_forked(*verb, "--tree", folder, "--dry-run", env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    expect(done, 3, rf"k: expected the code of a SEV host, found no {symbol} in \S+/Kconfig$")
    assert "hint: name the top of a whole Linux source tree" in done.stderr and "[1/" not in done.stdout


def test_a_tree_without_snp_is_tested_and_told(tmp_path: Path) -> None:
    old, new = make_host(tmp_path / "old", snp=False), make_host(tmp_path / "new")
    env: dict[str, str | None] = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    expect(run_forked("run", "--tree", old, "--dry-run", env=env), 0, f"this tree has no {SNP_HOST}, .*6.11: .*skipped")
    assert "this tree has no" not in run_forked("run", "--tree", new, "--dry-run", env=env).output


# --- The tree's selftests --------------------------------------------------------------------------------------------------


def test_selftests_of_the_tree(tmp_path: Path) -> None:
    """--selftests tree is --selftests DIR with the folder of --tree DIR."""
    env: dict[str, str | None] = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    folder = make_host(tmp_path / "k")
    expect(run_forked("run", "--selftests", "tree", env=env), 2, "--selftests tree takes the selftests of --tree DIR")
    words = ("run", "--tree", folder, "--dry-run", "--selftests")
    expect(run_forked(*words, "tree", env=env), 3, f"k: expected the KVM selftests of a 7.x kernel, found no {KVM}/x86$")
    (folder / KVM / "x86").mkdir(parents=True)
    one, other = run_forked(*words, "tree", env=env), run_forked(*words, folder, env=env)
    expect(one, 0, rf"rsync -a --delete {folder}/ \S+/selftests-k-\w+/src/$")
    assert one.stdout == other.stdout


def test_patches_that_the_tree_has_are_left_out(tmp_path: Path, session: Session) -> None:
    """A work tree of the mainline series has the selftests already: these are tested, and not replaced."""
    patches = selftest_patches()
    brings = next(patch for patch in patches if brought_names(patch))
    folder = make_kernel(tmp_path / "k")
    found = selftests_for(session, "mainline", None, folder, folder)
    assert found.of_tree and found.patches() == patches
    for name in brought_names(brings):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert found.patches() == [patch for patch in patches if patch != brings]


def test_a_patch_without_new_files_is_known_by_its_lines(tmp_path: Path) -> None:
    patch = tmp_path / "a.patch"
    patch.write_text("--- a/f\n+++ b/f\n@@ -2,2 +2,3 @@\n one\n+new\n two\n", encoding="utf-8")
    (tmp_path / "f").write_text("zero\none\ntwo\nthree\n", encoding="utf-8")
    assert not carries(tmp_path, patch)
    (tmp_path / "f").write_text("zero\none\nnew\ntwo\nthree\n", encoding="utf-8")
    assert carries(tmp_path, patch)


def test_the_tree_is_at_fault_for_its_selftests(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """bisect-step skips such a commit; for selftests of another tree it stops."""
    def fail(*_: object) -> None:
        raise Stop(3, "the KVM selftests do not build")
    monkeypatch.setattr(kvm_selftests.Selftests, "build_programs", fail)
    folder = make_kernel(tmp_path / "k")
    for tested, of_tree in ((folder, True), (tmp_path, False), (None, False)):
        with pytest.raises(Stop) as raised:
            selftests_for(session, "x", None, folder, tested).build(Job(session, tmp_path / "log"), [], tmp_path)
        assert raised.value.of_tree is of_tree
