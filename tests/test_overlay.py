# SPDX-License-Identifier: GPL-2.0-only
"""The copy that is built follows its source, the patches and the new files; an update changes only files that differ, and
never the user's tree.

A wrong copy means a verdict on another kernel, or a full rebuild for one edited line. A run that is killed between the copy
and the build must not leave a build that looks up to date.
"""
from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.build import overlay
from lab.build.kernel import CONFIGS, KEXEC, PLAIN, SANITIZE, TARGETS, Kernel, drop_truncated, flavour, merged
from lab.build.overlay import Tree
from lab.core.errors import Stop
from lab.core.session import Session
from lab.core.steps import Job

ABOUT = "the copy that is built: patches, edits, renames, what is rebuilt"
LANE = "fast"
NEEDS = ("overlay",)
TAKES = 4

CHANGE = """\
--- a/sev.c
+++ b/sev.c
@@ -1,2 +1,2 @@
-one
+ONE
 two
"""
RENAME = """\
diff --git a/old.c b/new.c
similarity index 100%
rename from old.c
rename to new.c
"""
# The file lies beside the patch, in files/.
BRING = "diff --git a/{0} b/{0}\nnew file mode 100644\n"
WRONG = CHANGE.replace("-one", "-never").replace("+ONE", "+x")


class Bench:
    """A source, a work folder, and patches made up."""

    def __init__(self, root: Path, session: Session) -> None:
        self.root = root
        self.session = session
        self.source = root / "source"
        self.work = root / "cache/work"
        for folder in (self.source, self.work, session.cache.root):
            folder.mkdir(parents=True, exist_ok=True)
        (self.source / "sev.c").write_text("one\ntwo\n")
        (self.source / "old.c").write_text("old\n")
        (self.source / "other.c").write_text("other\n")

    def patch(self, name: str, text: str) -> Path:
        """A patch file."""
        path = self.root / f"{name}.patch"
        path.write_text(text)
        return path

    def apply(self, *patches: Path, is_base: bool = False) -> Tree:
        """Builds the copy from source and patches."""
        tree = Tree(self.source, self.work, patches, is_base, name="linux 6.12.999")
        overlay.apply(Job(self.session, self.root / "log"), tree)
        return tree

    def text(self, name: str) -> str:
        """A file of the copy."""
        return (self.work / "src" / name).read_text()

    def times(self) -> dict[str, int]:
        """The time of change of each file in the copy."""
        return {p.name: p.stat().st_mtime_ns for p in (self.work / "src").iterdir()}


@pytest.fixture(params=["tree of the user's", "base of the cache"])
def is_base(request: pytest.FixtureRequest) -> bool:
    """Is the source a base of the cache, or a user's folder? Both kinds are tested."""
    return bool(request.param == "base of the cache")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench in a folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield Bench(tmp_path, Session("test"))


def test_a_patch_is_applied_and_taken_away_again(bench: Bench, is_base: bool) -> None:
    patch = bench.patch("change", CHANGE)
    assert bench.apply(patch, is_base=is_base).changed
    assert bench.text("sev.c") == "ONE\ntwo\n"
    before = bench.times()
    time.sleep(0.02)
    assert bench.apply(is_base=is_base).changed
    assert bench.text("sev.c") == "one\ntwo\n"
    assert {name for name, t in bench.times().items() if t != before[name]} == {"sev.c"}
    assert (bench.source / "sev.c").read_text() == "one\ntwo\n"


def test_nothing_changes_the_second_time(bench: Bench, is_base: bool) -> None:
    patch = bench.patch("change", CHANGE)
    bench.apply(patch, is_base=is_base)
    before = bench.times()
    assert not bench.apply(patch, is_base=is_base).changed
    assert bench.times() == before


def test_a_rename_moves_the_file_and_comes_back(bench: Bench, is_base: bool) -> None:
    bench.apply(bench.patch("rename", RENAME), is_base=is_base)
    assert bench.text("new.c") == "old\n" and not (bench.work / "src/old.c").exists()
    bench.apply(is_base=is_base)
    assert bench.text("old.c") == "old\n" and not (bench.work / "src/new.c").exists()


def test_a_patch_that_does_not_apply_changes_nothing(bench: Bench, is_base: bool) -> None:
    bench.apply(bench.patch("change", CHANGE), is_base=is_base)
    before = bench.times()
    with pytest.raises(Stop, match="wrong.patch does not apply to linux 6.12.999"):
        bench.apply(bench.patch("wrong", WRONG), is_base=is_base)
    assert bench.text("sev.c") == "ONE\ntwo\n" and bench.times() == before
    assert not list(bench.work.glob(".new.*"))


def test_an_edit_of_the_user_is_one_newer_file(bench: Bench) -> None:
    bench.apply()
    before = bench.times()
    time.sleep(0.02)
    (bench.source / "other.c").write_text("OTHER\n")
    # An old time stamp, as an editor's restored backup has.
    os.utime(bench.source / "other.c", (1, 1))
    assert bench.apply().changed
    assert bench.text("other.c") == "OTHER\n"
    after = bench.times()
    assert {name for name in after if after[name] != before[name]} == {"other.c"}
    assert after["other.c"] > before["other.c"]


def test_a_file_that_the_user_removed_goes(bench: Bench) -> None:
    bench.apply()
    (bench.source / "other.c").unlink()
    bench.apply()
    assert not (bench.work / "src/other.c").exists()


def test_what_a_build_inside_the_tree_left_stays_out(bench: Bench) -> None:
    for name in ("sev.o", "kvm.ko", ".sev.o.cmd", "include/config/auto.conf", "arch/x86/include/generated/a.h", ".config"):
        path = bench.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("built\n")
    bench.apply()
    assert sorted(p.name for p in (bench.work / "src").rglob("*") if p.is_file()) == ["old.c", "other.c", "sev.c"]


def test_a_base_is_never_written_through_its_links(bench: Bench) -> None:
    bench.apply(is_base=True)
    assert (bench.work / "src/other.c").stat().st_ino == (bench.source / "other.c").stat().st_ino
    bench.apply(bench.patch("change", CHANGE), is_base=True)
    assert (bench.source / "sev.c").read_text() == "one\ntwo\n"


def test_a_new_file_that_the_source_has_is_refused(bench: Bench) -> None:
    (bench.root / "files").mkdir()
    for name in ("mine.c", "sev.c"):
        (bench.root / "files" / name).write_text("mine\n")
    bench.apply(bench.patch("mine", BRING.format("mine.c")))
    assert bench.text("mine.c") == "mine\n"
    with pytest.raises(Stop, match="files/sev.c is in linux 6.12.999 already"):
        bench.apply(bench.patch("sev", BRING.format("sev.c")))


def test_an_edit_of_a_new_file_is_one_newer_file(bench: Bench, is_base: bool) -> None:
    (bench.root / "files").mkdir()
    mine, patch = bench.root / "files/mine.c", bench.patch("mine", BRING.format("mine.c"))
    mine.write_text("mine\n")
    bench.apply(patch, is_base=is_base)
    before = bench.times()
    time.sleep(0.02)
    mine.write_text("mine\nand more\n")
    assert bench.apply(patch, is_base=is_base).names == {"mine.c"}
    assert bench.text("mine.c") == "mine\nand more\n"
    assert {name for name, t in bench.times().items() if t != before[name]} == {"mine.c"}


def test_a_change_takes_the_build_that_looked_up_to_date(bench: Bench, is_base: bool) -> None:
    """As after a run that is killed between overlay and build: the next run must build."""
    bench.apply(is_base=is_base)
    (bench.work / "built").write_text("yes\n")
    bench.apply(is_base=is_base)
    assert (bench.work / "built").exists(), "expected the mark of a finished build to stay: nothing has changed"
    bench.apply(bench.patch("change", CHANGE), is_base=is_base)
    assert not (bench.work / "built").exists()


SEV = "arch/x86/kvm/svm/sev.c"
HEADER = "arch/x86/kvm/svm/svm.h"


@pytest.mark.parametrize("names, alone", [
    ((SEV,), True), ((SEV, "virt/kvm/kvm_main.c"), True), ((HEADER,), False), ((SEV, HEADER), False),
    (("arch/x86/kvm/Kconfig",), False), (("arch/x86/kernel/kvm.c",), False), ((), False)])
def test_kvms_code_is_built_without_the_rest(bench: Bench, names: tuple[str, ...], alone: bool) -> None:
    """After any other change, or an unfinished build, the whole kernel is built."""
    for name in (SEV, HEADER, "virt/kvm/kvm_main.c", "arch/x86/kvm/Kconfig", "arch/x86/kernel/kvm.c"):
        (bench.source / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.source / name).write_text("before\n")
    kernel = Kernel(bench.apply(), bench.session.cache)
    kernel.obj.mkdir()
    (kernel.obj / "modules.order").write_text("arch/x86/kvm/kvm.o\narch/x86/kvm/kvm-amd.ko\n")
    kernel.keep_modules()
    # make has built some of them.
    (kernel.obj / "modules.order").unlink()
    kernel.keep_modules()
    for whole in (True, False):
        (bench.work / "built").write_text(kernel.state(TARGETS))
        if not whole:
            (bench.work / "built").unlink()
        for name in names:
            (bench.source / name).write_text(f"after {whole}\n")
        if not names:
            overlay.remove(bench.work / "manifest")
        kernel.tree = bench.apply()
        assert kernel.tree.changed
        expected = ["arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-amd.ko"] if alone and whole else []
        assert kernel.modules_alone(TARGETS) == expected


@pytest.mark.parametrize("name, again", [("virt/kvm/Kconfig", True), ("lib/Kconfig.debug", True), (SEV, False)])
def test_a_change_of_any_kconfig_configures_again(bench: Bench, name: str, again: bool) -> None:
    (bench.source / name).parent.mkdir(parents=True)
    (bench.source / name).write_text("before\n")
    bench.apply()
    (bench.work / "all.config").touch()
    (bench.source / name).write_text("after\n")
    bench.apply()
    assert (bench.work / "all.config").exists() != again


def test_a_configuration_that_was_refused_is_not_taken_for_the_last(
        bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """obj/.config still has the refused fragment's symbols: once the fragment is corrected, the kernel must be configured
    again."""
    (bench.source / "Makefile").write_text("allnoconfig:\n\tcp $(KCONFIG_ALLCONFIG) obj/.config\n"
                                           "\tsed -i s/CONFIG_B=y// obj/.config\n")
    (bench.source / "Kconfig").write_text("config B\n")
    monkeypatch.setattr("lab.build.kernel.CONFIGS", tmp_path)
    fragment = tmp_path / "a.config"
    kernel = Kernel(bench.apply(), bench.session.cache, ["a"])
    job = Job(bench.session, tmp_path / "configure.log")
    fragment.write_text("CONFIG_A=y\n")
    assert kernel.configure(job) and not kernel.configure(job)
    (bench.work / "built").write_text("yes")
    fragment.write_text("CONFIG_A=y\nCONFIG_B=y\n")
    with pytest.raises(Stop, match="the kernel's configuration lacks CONFIG_B"):
        kernel.configure(job)
    fragment.write_text("CONFIG_A=y\n")
    assert not (bench.work / "built").exists()
    assert kernel.configure(job), "expected to be configured again"


def test_of_two_lines_for_a_symbol_the_later_one_holds() -> None:
    """A fragment can turn off, or build in, what the fragments before it have set."""
    first = "# Why.\nCONFIG_A=y\nCONFIG_AB=m\n# CONFIG_C is not set\n"
    assert merged([first, "CONFIG_AB=y\n", "# CONFIG_A is not set\nCONFIG_C=y\n"]) == \
        "# Why.\nCONFIG_AB=y\n# CONFIG_A is not set\nCONFIG_C=y\n"


def test_each_flavour_has_a_folder_of_its_own() -> None:
    """Two configurations in one folder would build the kernel again with each change from one to the other."""
    found = [flavour(), flavour("gdb"), flavour("trace"), flavour(SANITIZE), flavour("built-in", SANITIZE), PLAIN, KEXEC]
    assert len({one.suffix for one in found}) == len({one.fragments for one in found}) == len(found)
    assert flavour(SANITIZE).slower > 1 == flavour().slower
    assert all((CONFIGS / f"{name}.config").is_file() for one in found for name in one.fragments)


def test_objects_that_a_killed_build_may_have_truncated_go(tmp_path: Path) -> None:
    obj = tmp_path / "obj"
    obj.mkdir()
    for name in ("old.o", "old.ko"):
        (obj / name).touch()
        os.utime(obj / name, (1000, 1000))
    building = tmp_path / "building"
    building.touch()
    os.utime(building, (2000, 2000))
    for name in ("new.o", "new.ko", "new.a", "vmlinux.unstripped", "bzImage", "new.h", ".new.o.cmd"):
        (obj / name).touch()
    drop_truncated(obj, building)
    assert sorted(p.name for p in obj.iterdir()) == [".new.o.cmd", "new.h", "old.ko", "old.o"]


def test_a_change_of_base_that_is_killed_leaves_no_half_tree(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on another base is killed while it removes the old copy; the next run is on the old base again."""
    bench.apply(is_base=True)
    first, bench.source = bench.source, bench.root / "newer"
    shutil.copytree(first, bench.source)

    remove = overlay.remove

    def killed(path: Path) -> None:
        if path.name == "src":
            (path / "other.c").unlink()
            raise KeyboardInterrupt
        remove(path)

    with monkeypatch.context() as patched:
        patched.setattr(overlay, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.apply(is_base=True)
    bench.source = first
    bench.apply(is_base=True)
    assert bench.text("other.c") == "other\n"


def test_a_removal_that_is_killed_leaves_nothing_at_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    (folder / "src").mkdir(parents=True)

    remove = overlay.remove

    def killed(path: Path) -> None:
        if path.exists():
            raise KeyboardInterrupt
        remove(path)

    with monkeypatch.context() as patched:
        patched.setattr(overlay, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            overlay.put_away(folder)
    assert not folder.exists()
    folder.mkdir()
    overlay.put_away(folder)
    assert list(tmp_path.iterdir()) == []
