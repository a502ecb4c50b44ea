# SPDX-License-Identifier: GPL-2.0-only
"""Bad input, no network, a missing program: snplab says what it expected and found, gives a hint and the right exit status,
and leaves nothing half-made. Each case is a mistyped command line, or a machine that lacks something.
"""
from __future__ import annotations

import importlib
import inspect
import json
import os
import pty
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from lab import cli
from lab.build import deps, packages
from lab.core.options import Option
from lab.core.places import LAYOUT
from lab.history.presence import PARTS
from tests.support.forked import run_forked
from tests.support.front import TOP, changed_environment, copy_repository, expect, run_command, run_snplab
from tests.support.status_trees import make_tree

ABOUT = "bad input and incomplete machines: exit status, message, hint, nothing half-made"
LANE = "fast"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "shell", "guest")
TAKES = 12

S = "./snplab"
HW = "lab/hw.sh"
NO_LOCK = TOP / "tests/mutants/linux-6.12.y/no-lock.patch"


@dataclass(frozen=True)
class Case:
    """A command line, how it is to end, and a line that it is to print. {tmp} is the test's folder."""

    words: str | Sequence[str]
    status: int
    pattern: str = ""
    env: Mapping[str, str | None] | None = None


CASES = {
    "no verb: usage": Case("", 2, r"^usage: ./snplab VERB"),
    "--help": Case("--help", 0, r"^usage: ./snplab VERB"),
    "an unknown verb": Case("frobnicate", 2, r"no such verb: 'frobnicate'"),
    **{f"{verb} --help": Case(f"{verb} --help", 0, rf"^usage: ./snplab {verb}") for verb in cli.VERBS},
    "run: an unknown option": Case("run --frob x", 2, r"run has no option --frob"),
    "run: an option without its value": Case("run --tree", 2, r"--tree wants a value"),
    "run: an unknown tree names the known ones": Case(
        "run --tree 5.4.y", 2, r"expected 6\.12\.y, 6\.12\.y-backlog, mainline or a directory, found '5\.4\.y'"),
    "run: a directory that is no kernel": Case("run --tree {tmp}", 3, "is no kernel source tree: expected a Makefile"),
    "run: --linux that is no kernel": Case("run --linux {tmp}", 3, "is no kernel source tree"),
    "run: --linux that is not there": Case("run --linux {tmp}/no", 2, "no such directory"),
    "run: --linux with a directory": Case("run --tree {tmp}/k --linux {tmp}/k", 2, "does not go with --tree DIR"),
    "run: --qemu that is not there": Case("run --qemu {tmp}/no", 2, "--qemu: no such directory"),
    "run: --qemu that is no QEMU": Case("run --qemu {tmp}", 3, "is no QEMU source tree: expected a VERSION"),
    "run: --selftests that is not there": Case("run --selftests {tmp}/no", 2, "--selftests: no such directory"),
    "run: --selftests without KVM's": Case("run --selftests {tmp}/k", 3, "expected the KVM selftests of a 7.x kernel"),
    "host: what it can print": Case("host --print x", 2, "--print wants line, binary, args or kunit, found 'x'"),
    "host: an argument": Case("host x", 2, "host takes no argument: 'x'"),
    "host --dry-run prints the build and the line": Case("host --dry-run", 0, r"ninja .*qemu-system-x86_64$"),
    "a QEMU that is not there": Case(
        "run --dry-run", 3, "SNPLAB_QEMU: expected a QEMU that can be executed, found /nope", {"SNPLAB_QEMU": "/nope"}),
    "two of them": Case("host --qemu {tmp}/q", 2, "give one of them", {"SNPLAB_QEMU": "/bin/true"}),
    "host: a QEMU that is no SNP host": Case("host", 3, "expected .*/true to be an SNP host, found no ",
                                             {"SNPLAB_QEMU": "/bin/true"}),
    "run: a glob that matches no test names the tests": Case("run --test zz*", 2, "there are: kunit sev_snp_launch_test"),
    "run: a time-out that is no number": Case("run --timeout soon", 2, "--timeout wants seconds, found 'soon'"),
    "run: a patch that is not there": Case("run --patch no.patch", 2, "--patch: no such file"),
    "run: a JSON file that cannot be written": Case("run --json no/such/file", 2, "--json: cannot write"),
    "run: a page in a folder that is not there": Case("run --html no/such/file", 2, "--html: cannot write no/such/file"),
    "run: a page whose name is a folder's": Case("run --html {tmp}", 2, "--html: cannot write"),
    "mutants: a page in a folder that is not there": Case("mutants --html no/such/file", 2, "--html: cannot write"),
    "run: a page with the JSON's name, in a dry run": Case(
        "run --json {tmp}/x --html={tmp}/x --dry-run", 2, "--json and --html name one file: .*x$"),
    "run: a page with gdb": Case("run --gdb --html {tmp}/page", 2, "--gdb does not go with --html"),
    "run: KASAN with gdb": Case("run --sanitize --gdb", 2, "--gdb does not go with --sanitize"),
    "run: an argument": Case("run mainline", 2, "run takes no argument: 'mainline'"),
    "run: an option is no value": Case("run --json --dry-run", 2, "--json wants a value"),
    "HOME and XDG_CACHE_HOME unset": Case(
        "run", 3, r"the cache cannot be in '/\.cache/snplab", {"HOME": None, "XDG_CACHE_HOME": None}),
    "a cache folder with a space": Case("run", 3, "without spaces", {"XDG_CACHE_HOME": "{tmp}/a b"}),
    "hw: an argument": Case("hw x", 2, "hw takes no argument: 'x'"),
    "hw: a binary that is not there": Case("hw --binary /nope", 2, "--binary: no such file: /nope"),
    "hw: a time-out that is no number": Case("hw --timeout soon", 2, "--timeout wants seconds, found 'soon'"),
    "run: an option of hw": Case("run --force", 2, "run has no option --force"),
    "hw --dry-run prints the checks, the build and the run": Case(
        "hw --dry-run", 0, "lab/hw.sh .*--brief --binary .*/sev_snp_launch_test.?$"),
    "check: a second glob": Case("check a b", 2, "found a second: 'b'"),
    "check: a glob that matches nothing": Case("check zz", 2, "no test matches 'zz'"),
    "status: no directory given": Case("status", 2, "."),
    "status: a directory that is not there": Case("status {tmp}/no", 2, "."),
    "status: a directory that is no kernel": Case("status {tmp}", 3, "."),
    "mutants: a name that no mutant has": Case(["mutants", "leak-*", "no-such"], 2, "no mutant matches 'no-such'"),
    "mutants: an unknown tree": Case("mutants --tree 5.4.y", 2,
                                     r"no such tree: expected 6\.12\.y, mainline, found '5\.4\.y'"),
    "mutants: --linux is for one tree": Case("mutants --linux {tmp}/k", 2, "it goes with --tree"),
    "mutants --dry-run prints a patch for each": Case(
        "mutants --dry-run leak-on-success", 0, r"patch .*/linux-6\.12\.y/leak-on-success\.patch$"),
    "mutants --dry-run prints the QEMU line": Case(
        "mutants --dry-run --tree mainline leak-on-success", 0, r"snplab\.tests=kunit,sev_snp_launch_test"),
    "guest --dry-run prints the packages": Case("guest --dry-run", 0, "apt-get download ovmf-amdsev "),
    "guest --dry-run prints the QEMU line": Case(
        "guest --tree debian --dry-run", 0, r"-machine q35,amd-snp-host=on .*snplab\.tests=snp_guest"),
    "tree: a kernel is no base of the host's patches": Case(
        "tree host {tmp}/new --linux {tmp}", 2, "--linux does not go with host: its base is named with --qemu DIR"),
    "tree: QEMU is no base of a kernel's": Case(
        "tree mainline {tmp}/new --qemu {tmp}", 2, "--qemu does not go with mainline: its base is named with --linux DIR"),
    "mail: a kernel is no base of the host's patches": Case(
        "mail host --linux {tmp}", 2, "--linux does not go with host"),
    "tree: no tree given": Case("tree", 2, r"which tree\? expected 6\.12\.y, 6\.12\.y-backlog, mainline"),
    "refresh: an unknown tree": Case("refresh 5.4.y", 2, "no such tree"),
    "mail: an unknown tree": Case("mail 5.4.y", 2, "no such tree"),
    "shell without a terminal": Case("shell", 2, "shell wants a terminal"),
    "run --dry-run prints the QEMU build": Case("run --dry-run", 0, "^ *env -C .* ninja .*qemu-system-x86_64$"),
    "run --dry-run prints the QEMU line": Case("run --dry-run", 0,
                                               "/bin/qemu-system-x86_64.* -machine q35,amd-snp-host=on .*-append "),
    "run: a note if QEMU is no SNP host": Case(
        "run --dry-run", 0, "/bin/true has no emulated SNP host: tests that need one will be skipped",
        {"SNPLAB_QEMU": "/bin/true"}),
    "cache: an argument": Case("cache x", 2, "cache takes no argument: 'x'"),
}
# Wrong options of guest are refused, with a hint, before anything is fetched or built.
GUEST = {
    **{f"--smp '{n}'": Case(["--smp", n], 2, f"--smp wants a number from 1 to 16, found '{n}'$")
       for n in ("0", "17", "x", "", "-1", "2.5", "1000000")},
    **{f"--memory {n}": Case(["--memory", n], 2, f"--memory wants a number from 256 to 2048, found '{n}'$")
       for n in ("255", "2049", "512M")},
    **{f"--boots {n}": Case(["--boots", n], 2, f"--boots wants a number from 1 to 10000, found '{n}'$")
       for n in ("0", "10001", "many")},
    **{f"--timeout {n}": Case(["--timeout", n], 2, f"--timeout wants seconds, found '{n}'$") for n in ("0", "soon")},
    "a time-out in which nothing boots": Case("--timeout 29", 2, "--timeout wants 30 seconds at least, found '29'$"),
    "a kernel that is not there": Case("--kernel no/kernel", 2, "--kernel: no such file: no/kernel$"),
    "a kernel that is none": Case(["--kernel", str(TOP / "README.md")], 2,
                                  "--kernel: expected a bzImage that can be read, found none in .*/README.md$"),
    "an initrd that is not there": Case("--initrd no/initrd", 2, "--initrd: no such file: no/initrd$"),
    "an initrd that is empty": Case("--initrd {tmp}/q/include/qemu/osdep.h", 2,
                                    "--initrd: expected an initrd, found an empty file: .*/osdep.h$"),
    "a text without an initrd": Case("--until login:", 2, "--until is for an initrd of yours"),
    "firmware that is not there": Case("--firmware no/fd", 2, "--firmware: no such file: no/fd$"),
    "firmware that is none": Case(["--firmware", str(TOP / "README.md")], 2,
                                  "--firmware: .*/README.md: expected a firmware image, a multiple of 4096 bytes, found"),
    "a command line of two lines": Case(["--append", "a\nb"], 2, "--append: expected one line, found several$"),
    "no value": Case("--append", 2, "--append wants a value$"),
    "an unknown tree": Case("--tree nonsense", 2,
                            r"no such tree: expected 6\.12\.y, 6\.12\.y-backlog, mainline, debian or a "
                            "directory, found 'nonsense'$"),
    "an argument": Case("mainline", 2, "guest takes no argument: 'mainline'$"),
    "an option of another verb": Case("--selftests {tmp}", 2, "guest has no option --selftests$"),
    "a package and a patch": Case(["--tree", "debian", "--patch", str(NO_LOCK)], 2,
                                  "--tree debian is an unmodified package: it goes with neither --patch nor --linux"),
    "a package and a source": Case("--tree debian --linux {tmp}/k", 2, "it goes with neither --patch nor --linux"),
    "a package, and lockdep": Case("--tree debian --without-lockdep", 2, "it does not go with --without-lockdep$"),
    "on a QEMU that is no SNP host": Case("--check", 4, "/bin/true has no emulated SNP host: nothing can be launched$",
                                          {"SNPLAB_QEMU": "/bin/true"}),
}
HW_CASES = {
    "without anything": Case("", 2, r"expected --binary FILE or --check, found neither"),
    "an unknown option": Case("--frob", 2, "hw has no option --frob"),
    "an option without its value": Case("--binary", 2, "--binary wants a value"),
}


def words_of(case: Case, tmp: Path) -> list[str]:
    """The case's command line."""
    words = case.words.split() if isinstance(case.words, str) else case.words
    return [word.replace("{tmp}", str(tmp)) for word in words]


def env_of(case: Case, tmp: Path) -> dict[str, str | None]:
    """The case's environment."""
    return {name: value and value.replace("{tmp}", str(tmp)) for name, value in (case.env or {}).items()}


def make_kernel(folder: Path, sublevel: int = 1) -> Path:
    """The smallest folder that passes for a kernel source tree."""
    folder.mkdir(parents=True)
    (folder / "Makefile").write_text(f"VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = {sublevel}\n", encoding="utf-8")
    (folder / "Kbuild").touch()
    return folder


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    """A folder with a made-up kernel tree k and QEMU tree q."""
    make_kernel(tmp_path / "k")
    (tmp_path / "q" / "include" / "qemu").mkdir(parents=True)
    (tmp_path / "q" / "VERSION").write_text("10.0.99\n", encoding="utf-8")
    (tmp_path / "q" / "include" / "qemu" / "osdep.h").touch()
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_it_says_so(tmp: Path, name: str) -> None:
    case = CASES[name]
    before = sorted(tmp.rglob("*"))
    expect(run_forked(*words_of(case, tmp), env=env_of(case, tmp), cwd=tmp), case.status, case.pattern)
    # Neither a file named --dry-run nor a half-written JSON.
    assert sorted(tmp.rglob("*")) == before


@pytest.mark.parametrize("name", GUEST)
def test_guest_says_so_before_anything_is_built(tmp: Path, name: str) -> None:
    case = GUEST[name]
    done = run_forked("guest", *words_of(case, tmp), cwd=tmp,
                      env={"XDG_CACHE_HOME": str(tmp / "guest-cache"), **env_of(case, tmp)})
    expect(done, case.status, f"^snplab: .*{case.pattern}")
    lines = done.output.splitlines()
    assert len(lines) == 2 and lines[1].startswith("        hint: "), done.output
    assert not (tmp / "guest-cache").exists()


@pytest.mark.parametrize("name", HW_CASES)
def test_hw_sh_says_so(name: str) -> None:
    case = HW_CASES[name]
    expect(run_command("sh", TOP / "lab" / "hw.sh", *words_of(case, Path())), case.status, case.pattern)


def test_a_reader_that_goes_away_ends_no_run() -> None:
    with subprocess.Popen([str(TOP / "snplab"), "run", "--dry-run", "--tree", "6.12.y"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("words", ("run", "guest --tree debian", "mutants", "bench", "host", "hw"))
def test_a_dry_run_says_nothing_else_and_leaves_no_cache(tmp: Path, words: str) -> None:
    done = run_snplab(*words.split(), "--dry-run", env={"XDG_CACHE_HOME": str(tmp / "none")}, cwd=tmp)
    assert done.status == 0, done.output
    steps = done.stderr if words == "host" else done.stdout
    assert steps.count("\n") >= 5 and (words == "host" or done.stderr == ""), done.output
    assert not (tmp / "none").exists()


def test_shell_on_a_terminal_is_not_refused(tmp: Path) -> None:
    """On a terminal `shell` gets to its first step: so "shell without a terminal" is refused for that reason alone."""
    leader, follower = pty.openpty()
    # The run ends early because its cache cannot be made.
    with subprocess.Popen([str(TOP / "snplab"), "shell"], stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env=changed_environment({"XDG_CACHE_HOME": "/dev/null/no"})) as process:
        assert process.stdout is not None
        output = process.stdout.read()
    for descriptor in (leader, follower):
        os.close(descriptor)
    assert process.returncode == 3 and "cannot create /dev/null/no" in output, output


# --- Without a network ---------------------------------------------------------------------------


@pytest.fixture
def offline(tmp: Path) -> dict[str, str | None]:
    """An environment without a network: a proxy at port 9 of the loopback, which is closed. Set in the environment, and in
    apt's configuration for a machine whose apt has a proxy of its own."""
    nobody = "http://127.0.0.1:9"
    conf = tmp / "apt.conf"
    conf.write_text("".join(f'Acquire::{kind}::Proxy "{nobody}";\n' for kind in ("http", "https")), encoding="utf-8")
    return {"http_proxy": nobody, "https_proxy": nobody, "APT_CONFIG": str(conf), "XDG_CACHE_HOME": str(tmp / "cache")}


def bases(tmp: Path) -> list[Path]:
    """The names in the cache's folder of sources."""
    folder = tmp / "cache" / "snplab" / LAYOUT / "base"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_no_network_and_nothing_cached(tmp: Path, offline: dict[str, str | None]) -> None:
    done = run_snplab("run", "--json", tmp / "verdict.json", env=offline)
    expect(done, 3, "no package lists could be read: the network or the mirror")
    found = json.loads((tmp / "verdict.json").read_text(encoding="utf-8"))
    assert found == {"version": 1, "verb": "run", "verdict": "setup-failed", "exit": 3}
    assert list(found)[0] == "version"
    assert not bases(tmp)


def test_no_network_no_option_stands_for_a_guests_packages(tmp: Path, offline: dict[str, str | None]) -> None:
    # The parallel fetch of QEMU's source may be the first to fail.
    expect(run_snplab("guest", "--tree", "debian", env=offline), 3,
           "hint: without a network: copy .*/base from a machine that has them")
    assert [kind.own_trees for kind in packages.kinds()] == ["", "", ""]
    assert not bases(tmp)


def test_no_network_but_a_cached_kernel(tmp: Path, offline: dict[str, str | None]) -> None:
    """The run uses the cached source. The series is for another tree, so the run names the patch that does not apply."""
    base = tmp / "cache" / "snplab" / LAYOUT / "base"
    kernel = make_kernel(base / "linux-source-6.12_6.12.999", 999)
    (kernel / "kernel" / "locking").mkdir(parents=True)
    (kernel / "include" / "linux").mkdir(parents=True)
    (kernel / "include" / "linux" / "mutex.h").touch()
    newest = base / "6.12.y.newest"
    newest.write_text("linux-source-6.12_6.12.999\n", encoding="utf-8")
    days_ago = newest.stat().st_mtime - 3 * 86400
    os.utime(newest, (days_ago, days_ago))
    # Fetch only the kernel: of several fetches, the first to fail ends the run.
    done = run_snplab("run", "--test", "kunit", env=offline | {"SNPLAB_QEMU": "/bin/true"})
    expect(done, 3, "no network: going on with linux-source-6.12_6.12.999")
    expect(done, 3, r"series/linux-6.12.y/.*\.patch does not apply to linux 6\.12\.999")
    assert not (tmp / "cache" / "snplab" / LAYOUT / "work" / "6.12.y" / "src").exists()


@pytest.mark.parametrize("words, patch, wrong", [
    ("history", "history/mainline/get-id-copied-after-failure", 'expected a line "Class:", found none'),
    ("history --rebase get-id-*", "history/mainline/get-id-copied-after-failure", 'expected a line "Class:", found none'),
    ("history --dry-run", "history/mainline/get-id-copied-after-failure", 'expected a line "Class:", found none'),
    ("status {tmp}/tree --all", "history/mainline/get-id-copied-after-failure", 'expected a line "Class:", found none'),
    ("mutants", "mutants/mainline/trylock", 'expected "Caught-by: PROGRAM:CASE", .*, found "Caught-by: nobody"')])
def test_a_wrong_header_ends_a_verb_before_it_fetches(
        tmp: Path, offline: dict[str, str | None], words: str, patch: str, wrong: str) -> None:
    """Without a network, a fetch would be another error. `status --all` must not answer by a patch that it misreads."""
    copy = copy_repository(tmp / "copy")
    path = copy / "tests" / f"{patch}.patch"
    before = path.read_text(encoding="utf-8")
    path.write_text(re.sub("^Class: .*\n", "", before, flags=re.M) if words.startswith(("history", "status"))
                    else f"Caught-by: nobody\n{before}", encoding="utf-8")
    tree = make_tree(tmp / "tree")
    for part in PARTS:
        (tree / part).mkdir(parents=True, exist_ok=True)
    json_words = [] if "--rebase" in words else ["--json", str(tmp / "json")]
    done = run_snplab(*words.replace("{tmp}", str(tmp)).split(), *json_words, top=copy, env=offline)
    expect(done, 1, f"^tests/{patch}.patch: {wrong}$")
    expect(done, 1, "^snplab: expected no mistake in the patches' headers, found 1: see above$")
    expect(done, 1, r"^        hint: correct them: lab/(history/bug|judge/mutants)\.py has the form of a header\. ")
    if json_words and "--dry-run" not in words:
        assert json.loads((tmp / "json").read_text(encoding="utf-8")) == {
            "version": 1, "verb": words.split()[0], "verdict": "fail", "exit": 1}
    assert not bases(tmp)


# --- What is missing -------------------------------------------------------------------------------


def test_a_program_that_cannot_be_installed_is_named(tmp: Path, offline: dict[str, str | None]) -> None:
    """In a copy of the repository whose list needs a program that no package has."""
    copy = copy_repository(tmp / "copy")
    with open(copy / "lab" / "build" / "needs.list", "a", encoding="utf-8") as f:
        f.write("build\tno-such-program\tno-such-package-at-all\n")
    expect(run_snplab("run", top=copy, env=offline), 3, "no-such-p(rogram|ackage)")


def test_a_program_with_libraries_is_none_without(tmp: Path) -> None:
    """An initrd needs a static program: Debian's busybox is not enough, busybox-static is."""
    needs = tmp / "list"
    needs.write_text("".join(f"x\t{what}\tpackage-of-{what[7:]}\n" for what in (
        "static:ls", "static:busybox", "static:no-such")), encoding="utf-8")
    assert [m.what for m in deps.missing(["x"], needs)] == ["static:ls", "static:no-such"]
    assert [m.package for m in deps.missing(["x"], needs)] == ["package-of-ls", "package-of-no-such"]


# --- Options ---------------------------------------------------------------------------------------


def module_of(verb: str) -> ModuleType:
    """The verb's module."""
    return importlib.import_module(cli.module_of(verb))


def options_of(verb: str) -> Sequence[Option]:
    """The options that the verb's module declares."""
    found: Sequence[Option] = module_of(verb).OPTIONS
    return found


@pytest.mark.parametrize("verb", cli.VERBS)
def test_options_are_in_the_help(verb: str) -> None:
    """Each option is in the verb's --help, and --help names no other."""
    usage = run_forked(verb, "--help").stdout
    in_help = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", usage.partition("\n\n")[0]))
    in_table = {option.name for option in options_of(verb)}
    described = set(re.findall(r"^  (--?[a-z][a-z-]*)", usage, re.M))
    assert in_table <= in_help | described, f"not in the help: {in_table - in_help - described}"
    assert in_help | described <= in_table | {"--dry-run", "--help", "-h"}, f"not taken: {(in_help | described) - in_table}"


@pytest.mark.parametrize("verb", [verb for verb in cli.VERBS if options_of(verb)])
def test_options_are_used(verb: str) -> None:
    """lab/ reads each option that a verb takes: none is ignored."""
    sources = "".join(path.read_text(encoding="utf-8") for folder in ("verbs", "build", "patches", "check", "status")
                      for path in (TOP / "lab" / folder).glob("*.py")) + inspect.getsource(cli)
    for option in options_of(verb):
        ask = "(flag" if option.value is None else "(value|line|file|folder|number|seconds|every"
        asked = re.search(rf'{ask})\((given, )?"{option.name}"', sources)
        looped = re.search(rf'for flag in \([^()]*"{option.name}"[^()]*\) if given\.flag', sources)
        assert asked or looped, f"expected code in lab/ that reads {option.name}, found none"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_flag_with_a_value_is_no_unknown_option(verb: str) -> None:
    """The message says that the option takes none; without it, users look for another spelling of the option."""
    flags = [option.name for option in options_of(verb) if option.value is None]
    status = getattr(module_of(verb), "STATUSES", {}).get(2, 2)
    for flag in [*flags, "--help", *(["--dry-run"] if getattr(module_of(verb), "DRY_RUN", True) else [])]:
        done = run_forked(verb, f"{flag}=yes")
        expect(done, status, f"^snplab: {flag} takes no value, found 'yes'$")
        expect(done, status, f"^        hint: write {flag} alone$")


def test_every_verb_is_in_the_help() -> None:
    done = run_forked("--help")
    for verb in cli.VERBS:
        assert re.search(rf"^  {verb}( |$)", done.stdout, re.M), verb


@pytest.mark.parametrize("verb", ["run", "shell", "guest"])
def test_command_line_of_two_lines(verb: str, tmp_path: Path) -> None:
    """The kernel's command line is refused before anything is fetched or built."""
    done = run_snplab(verb, "--append", "a\nb", env={"XDG_CACHE_HOME": str(tmp_path)})
    assert done.status == 2 and "--append: expected one line, found several" in done.stderr, done.output
    assert not list(tmp_path.iterdir())


def test_a_refused_command_line_leaves_no_old_verdict(tmp_path: Path) -> None:
    """The file of --json must not keep the verdict of an earlier run."""
    (tmp_path / "json").write_text('{"verdict": "pass"}', encoding="utf-8")
    done = run_snplab("run", "--nosuch", "--json", tmp_path / "json")
    assert done.status == 2
    assert json.loads((tmp_path / "json").read_text(encoding="utf-8"))["verdict"] == "usage"


@pytest.mark.parametrize("verb", ("run", "mutants"))
@pytest.mark.parametrize("page", ("file", "../{}/file", "link"))
def test_a_page_with_the_jsons_name(page: str, verb: str, tmp_path: Path) -> None:
    """The file says that the command line was refused."""
    (tmp_path / "link").symlink_to("file")
    done = run_snplab(verb, "--html", tmp_path / page.format(tmp_path.name), "--json", tmp_path / "file")
    expect(done, 2, "--json and --html name one file: ")
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8"))["verdict"] == "usage"


def test_a_refused_command_line_leaves_no_old_page(tmp_path: Path) -> None:
    """A page is written whole or not at all: there is none of a run without a verdict."""
    (tmp_path / "page").write_text("PASS", encoding="utf-8")
    done = run_snplab("run", "--nosuch", "--html", tmp_path / "page")
    assert done.status == 2
    assert not list(tmp_path.iterdir())
