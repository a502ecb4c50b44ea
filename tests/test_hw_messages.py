# SPDX-License-Identifier: GPL-2.0-only
"""lab/hw.sh explains what the kernel says on the way to SNP: each message, with the hint that is right for it.

A tester with real hardware and no SNP has one line of log that says why, worded differently by each kernel. If hw.sh does
not know it, or takes it for another, the tester changes the wrong BIOS setting. So each entry of the script's table has a
line of log here, and the newest kernel's own sources are searched for messages that the table lacks.
"""
from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from lab.build.sources import newest_path
from lab.core.places import LAB, TOP, Cache, cache_root
from tests.support.kernel_messages import messages, sample

ABOUT = "lab/hw.sh explains each message of ccp, kvm_amd, the RMP and the IOMMU, and the newest kernel has no other"
LANE = "fast"
NEEDS = ()
TAKES = 3

HW = LAB / "hw.sh"
# Words in the place of a table's area: what stands below are not messages, but texts for {words} in hints.
TEXTS = "{words}"

# What the statuses of the firmware are called (SEV-SNP Firmware ABI, "Status Codes"), and words of the hint for each.
STATUSES = {
    "0x1": "INVALID_PLATFORM_STATE.*a cold reset", "0x2": "INVALID_GUEST_STATE.*the VMM",
    "0x3": "INVALID_CONFIG.*nosmt and maxcpus=.*BIOS settings", "0x4": "INVALID_LEN.*newer kernel",
    "0x5": "ALREADY_OWNED.*sevctl reset", "0x6": "INVALID_CERTIFICATE.*fetch it again", "0x7": "POLICY_FAILURE.*policy",
    "0x8": "INACTIVE.*no ASID", "0x9": "INVALID_ADDRESS.*RMP coverage", "0xa": "BAD_SIGNATURE.*linux-firmware",
    "0xb": "BAD_MEASUREMENT.*measurement", "0xc": "ASID_OWNED.*end all SEV guests", "0xd": "INVALID_ASID.*Space Limit",
    "0xe": "WBINVD_REQUIRED.*put every CPU online", "0xf": "DFFLUSH_REQUIRED.*kexec.*cold reset",
    "0x10": "INVALID_GUEST.*no such guest", "0x11": "INVALID_COMMAND.*update the firmware", "0x12": "ACTIVE.*end all",
    "0x13": "HWERROR_PLATFORM.*power off", "0x14": "HWERROR_UNSAFE.*power off", "0x15": "UNSUPPORTED.*update the firmware",
    "0x16": "INVALID_PARAM.*newer kernel", "0x17": "RESOURCE_LIMIT.*cold reset", "0x18": "SECURE_DATA_INVALID.*init_ex_path",
    "0x19": "INVALID_PAGE_SIZE.*kexec", "0x1a": "INVALID_PAGE_STATE.*kexec", "0x1b": "INVALID_MDATA_ENTRY.*swapped",
    "0x1c": "INVALID_PAGE_OWNER.*another guest", "0x1d": "AEAD_OFLOW.*anew", "0x1f": "EXIT_RING_BUFFER.*load ccp again",
    "0x20": "RMP_INIT_REQUIRED.*see rmp above", "0x21": "BAD_SVN.*update the firmware",
    "0x22": "BAD_VERSION.*update the firmware", "0x23": "SHUTDOWN_REQUIRED.*unload", "0x24": "UPDATE_FAILED.*cold reset",
    "0x25": "RESTORE_REQUIRED.*cold reset", "0x26": "RMP_INITIALIZATION_FAILED.*see rmp above",
    "0x27": "INVALID_KEY.*fetch it again", "0x28": "SHUTDOWN_INCOMPLETE.*end all SEV guests",
}
# Linux calls some of them otherwise.
LINUX_CALLS = {"INAVLID_CONFIG": "INVALID_CONFIG", "HWSEV_RET_PLATFORM": "HWERROR_PLATFORM",
               "HWSEV_RET_UNSAFE": "HWERROR_UNSAFE"}

HEALTHY = """\
Linux version 6.17.3 (someone@somewhere) (gcc)
SEV-SNP: RMP table physical range [0x0000000020000000 - 0x00000000207fffff]
SEV-SNP: Segmented RMP base table physical range [0x0000000020000000 - 0x00000000207fffff]
SEV-SNP: Segmented RMP using 64GB segments
SEV-SNP: RMP segment 1 mapped size (0x2000000000) reduced to 0x1000000000
SEV-SNP: Reserving start/end of RMP table on a 2MB boundary [0x0000000011400000]
AMD-Vi: Using global IVHD EFR:0x841f77e022094ace, EFR2:0x0
AMD-Vi: IOMMU SNP support enabled.
AMD-Vi: Extended features (0x841f77e022094ace, 0x0): PPR X2APIC NX IA GA PC SNP
AMD-Vi: Interrupt remapping enabled
AMD-Vi: X2APIC enabled
AMD-Vi: Force to disable Virtual APIC due to SNP
AMD-Vi: Force to using AMD IOMMU v1 page table due to SNP
AMD-Vi: SNP enabled
AMD-Vi: Copied DEV table from previous kernel.
SEV-SNP: RMP table physical address [0x000000601ff00000 - 0x00000060e07fffff]
kvm_amd: SEV-ES and SEV-SNP supported: 99 ASIDs
SEV supported: 410 ASIDs
pci 0000:c0:00.2: AMD-Vi: IOMMU performance counters supported
ccp 0000:22:00.1: enabling device (0000 -> 0002)
ccp 0000:22:00.1: no command queues available
ccp 0000:22:00.1: ccp: unable to access the device: you might be running a broken BIOS.
ccp 0000:22:00.1: could not enable MSI-X (-28), trying MSI
ccp 0000:22:00.1: ccp initialization failed
ccp 0000:22:00.1: sev enabled
ccp 0000:22:00.1: psp enabled
ccp 0000:22:00.1: tee enabled
ccp 0000:22:00.1: psp: TSME enabled
ccp 0000:22:00.1: SFS support is available
ccp 0000:22:00.1: SEV firmware update successful
ccp 0000:22:00.1: SEV firmware updated from 1.55.21 to 1.55.54
ccp 0000:22:00.1: SEV-SNP API:1.55 build:21
ccp 0000:22:00.1: SEV API:1.55 build:21
kvm_amd: TSC scaling supported
kvm_amd: Nested Virtualization enabled
kvm_amd: Nested Paging enabled
kvm_amd: SEV-SNP ciphertext hiding enabled
kvm_amd: SEV enabled (ASIDs 100 - 510)
kvm_amd: SEV-ES enabled (ASIDs 1 - 99)
kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)
Memory Encryption Features active: AMD SME
"""
# Other devices and other programs, with the same words.
OTHERS = """\
nvme 0000:22:00.1: initialization failed
xccp 0000:22:00.1: psp initialization failed
mlx5_core 0000:22:00.1: SEV-SNP: SNP_INIT_EX failed rc -5, error 0x3
amd_pmf AMDI0102:00: ccp 0000:22:00.1: SEV: failed to INIT error 0x1, rc -5
kvm: no hardware support for 'kvm_intel'
kvm_intel: VMX not supported by CPU 3
DMAR: IVRS table error: AE_BAD_CHECKSUM
DMAR: Disabling interrupt remapping
ACPI: IOMMU disabled, SNP cannot be supported.
audit: kvm_amd: SEV-SNP disabled (ASIDs 0 - 0)
snphost[812]: SEV-SNP: Memory for the RMP table has not been reserved by BIOS
nfs: CPU17 failed to report alive state
#PF: error_code(0x0002) - not-present page
i2c-AMDI0010: sev command 0x85 timed out, disabling PSP
pcieport 0000:00:01.1: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0014 address=0x0 flags=0x0000]
"""

# The files with messages on the way to SNP, and what precedes their messages: pr, dev and pci.
CCP, KVM, IOMMU = {"dev": "ccp 0000:22:00.1: "}, {"pr": "kvm_amd: "}, {"pr": "AMD-Vi: ", "pci": "pci 0000:00:00.2: AMD-Vi: "}
FILES: dict[str, dict[str, str]] = {
    **{f"drivers/crypto/ccp/{name}.c": CCP for name in ("sev-dev", "psp-dev", "sp-pci", "hsti", "tee-dev", "sev-dev-tsm")},
    "arch/x86/virt/svm/sev.c": {"pr": "SEV-SNP: "}, "arch/x86/virt/svm/cmdline.c": {},
    "arch/x86/kvm/svm/sev.c": KVM, "arch/x86/kvm/svm/svm.c": KVM, "drivers/iommu/amd/init.c": IOMMU,
    "arch/x86/kernel/cpu/amd.c": {},
}
# Of files with little on SNP, only messages with these words.
ONLY = {"arch/x86/kvm/svm/svm.c": "SVM|SEV|SNP|Paging|NX|AMD or", "arch/x86/kernel/cpu/amd.c": "SVM|SEV|SNP|RMP"}
# Messages whose first words are in a variable.
FROM_A_VARIABLE = {f"%s: {text}": f"[Firmware Bug]: : {text}"
                   for text in ("IOAPIC[%d] not in IVRS table", "No southbridge IOAPIC found")}
# Messages of those files that the table leaves out, and why. A new kernel's new message is in neither: decide.
IGNORED = {
    "it says that all is well":
        "(sev|psp|tee|SNP support|remapping|X2APIC|Virtual APIC|hiding) enabled|API:1|TSME enabled|firmware updated|"
        "performance counters|LBR virt|V2 page table enabled|Nested Paging 1$",
    "the RMP as it should be":
        "RMP table physical|RMP base table|Segmented RMP using|mapped size|segment 1 physical|Reserving",
    "the words are enabled, unusable or disabled, and the table has the last two": r"SEV(-ES|-SNP)? 1 \(ASIDs",
    "harmless":
        "trying MSI$|Unknown option|Re-using|Reused|Using strict|Using global|Applying|IRT cache|Restricting|due to SNP|"
        "Extended features|busy status, retrying|log restarting|1, add hid|Fallback to v1|fullflush|Stoney Ridge",
    "it concerns no SNP": "SEV_GET_ID command|Nested Virtualization|Host Address Translation|host address translation",
    "the IOMMU's options on the command line":
        "Command-line override|Invalid command line|ivrs_|map overflow|Invalid (HID|UID)",
    "a dump: the line before it is in the table":
        r"RMP entry: \[|dumping non-zero|^SEV-SNP: PFN: |is_valid|snapshot:|dump_inval|^kvm_amd: 11$|SEV-TIO status: EN",
    "it tells of a guest, or of the VMM":
        "vmgexit|requested termination|KVM_SET_GUEST_DEBUG|Erratum 1096|Unsupported VM",
    "the secure processor's TEE, at the end or later": "tee: ring (destroy|buffer full)",
    "devices for guests (SEV-TIO)": "Forcing CFG/TEE|Stream for class|CMA DOE",
}


@dataclass(frozen=True)
class Wording:
    """A message of the table: the number of its entry, its text, and the lines that it answers for."""

    entry: int
    text: str
    pattern: re.Pattern[str]


@dataclass(frozen=True)
class Answer:
    """What hw.sh has to say on a line of the log."""

    entry: int
    area: str
    line: str
    hint: str


def part(pattern: str) -> str:
    """Cuts a part out of hw.sh, unchanged."""
    found = re.search(pattern, HW.read_text(encoding="utf-8"), re.M | re.S)
    assert found, f"lab/hw.sh has no {pattern}"
    return found[0]


def explain(folder: Path, lines: Iterable[str], form: str = "[    9.123456] {}") -> list[Answer]:
    """Runs the part of hw.sh that reads the log, on these messages, each in a line of that form."""
    (folder / "part").write_text("\n".join(part(rf"^{name}[(][)] [{{]$.*?^[}}]$") for name in ("messages", "explain")))
    (folder / "boot").write_text("".join(form.format(line) + "\n" for line in lines), encoding="utf-8")
    said = subprocess.run(["sh", "-eu", TOP / "tests/hw/part.sh", folder / "part", "explain", folder], check=True,
                          capture_output=True, text=True)
    assert said.stderr == ""
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    return [Answer(int(entry), area, line, hint) for entry, _, area, line, hint in rows]


@cache
def wordings() -> list[Wording]:
    """The table's wordings, turned into regular expressions here once more."""
    found, entry, area = [], 1, ""
    for line in part(r"(?<=<<'END'\n)== log$.*?(?=^END$)").splitlines():
        if line.startswith("== "):
            area = line[3:]
        elif line.startswith("\t"):
            entry += 1
        elif area != TEXTS:
            pattern = re.escape(line).replace("%", r"\S+").replace(r"\*", ".*").replace("@", "-?[0-9a-fx]+")
            found.append(Wording(entry, line, re.compile(pattern)))
    return found


def read_lines() -> dict[str, str]:
    """Each line of tests/hw/messages.txt, and the words of its hint."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in (TOP / "tests/hw/messages.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("\t"):
            found.update((said, line[1:]) for said in above)
            above = []
        elif not line.startswith("# "):
            above.append(line)
    assert not above
    return found


LINES = read_lines()


# --- The table -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What hw.sh says on a log of all the lines, by line."""
    said = explain(tmp_path_factory.mktemp("explain"), LINES)
    assert len({answer.line for answer in said}) == len(said)
    return {answer.line: answer for answer in said}


@pytest.mark.parametrize("line", LINES)
def test_the_hint_is_right(answers: dict[str, Answer], line: str) -> None:
    assert line in answers, "hw.sh does not know this line"
    assert re.search(LINES[line], answers[line].hint), answers[line].hint
    assert not re.search(r"[{}]", answers[line].hint), "a word of the hint was not replaced"


@pytest.mark.parametrize("line", LINES)
def test_one_entry_answers(answers: dict[str, Answer], line: str) -> None:
    """No two wordings match a line, and hw.sh takes the entry of the one that does."""
    matching = [wording for wording in wordings() if wording.pattern.match(line)]
    assert len(matching) == 1, matching
    assert answers[line].entry == matching[0].entry


def test_each_wording_has_a_line() -> None:
    assert [wording.text for wording in wordings() if not any(wording.pattern.match(line) for line in LINES)] == []


def test_areas() -> None:
    """A message's area is a prerequisite that hw.sh asks for its messages; log is none."""
    areas = set(re.findall(r"^== (\S+)$", part(r"^messages[(][)] [{]$.*?^[}]$"), re.M)) - {TEXTS, "log"}
    assert areas == set(re.findall(r"(?:^\t+|[)] )why ([a-z]+)(?:;|$)", HW.read_text(encoding="utf-8"), re.M))


def test_the_number_in_the_documentation() -> None:
    said = re.search(r"`hw` knows (\d+) messages", (TOP / "docs/hardware.md").read_text(encoding="utf-8"))
    assert said and int(said[1]) == len(wordings())


# --- The firmware's statuses ---------------------------------------------------------------------

@pytest.mark.parametrize("form", ["ccp 0000:22:00.1: SEV-SNP: SNP_INIT_EX failed rc -5, error {}",
                                  "ccp 0000:22:00.1: SEV: INIT failed {}, rc -5"])
def test_statuses(tmp_path: Path, form: str) -> None:
    said = {answer.line: answer.hint for answer in explain(tmp_path, map(form.format, STATUSES))}
    for status, words in STATUSES.items():
        assert re.search(f"^{words}", said[form.format(status)].replace(f" ({status}):", ":")), said[form.format(status)]
        assert f"({status})" in said[form.format(status)]


@pytest.mark.parametrize("written, words", [
    ("0x03", r"INVALID_CONFIG \(0x3\)"), ("0x0000001A", r"PAGE_STATE \(0x1a\)"),
    ("26", r"PAGE_STATE \(0x1a\)"), ("0", r"SUCCESS .*rc says why: .*-110 no answer"), ("0x0", "SUCCESS"),
    ("0xffffffff", "NO_FW_CALL .*rc says why"), ("-1", "NO_FW_CALL"), ("0x9003", "status 0x9003 of an unknown meaning")])
def test_statuses_are_read_as_kernels_write_them(tmp_path: Path, written: str, words: str) -> None:
    """%#x, %#010x, %d, and statuses without a name: 0x9003 was seen on a cloud's machine."""
    said = explain(tmp_path, [f"kvm_amd: Failed to create SEV-SNP context, rc -5 fw_error {written}"])
    assert len(said) == 1 and re.search(words, said[0].hint), said


# --- The log -------------------------------------------------------------------------------------

@pytest.mark.parametrize("log", [HEALTHY, OTHERS], ids=["a healthy host", "other devices and programs"])
def test_nothing_to_say(tmp_path: Path, log: str) -> None:
    assert explain(tmp_path, log.splitlines()) == []


@pytest.mark.parametrize("form", ["<3>[    9.123456] {}", "[    9.123456][  T812] {}", "[    9.123456][    C3] {}", "{}",
                                  "[ 9812.123456]  {}"])
def test_how_a_log_begins_its_lines(tmp_path: Path, form: str) -> None:
    """The priority, the time, and the thread or CPU of CONFIG_PRINTK_CALLER."""
    line = "ccp 0000:22:00.1: SEV-SNP: failed to INIT error 0x3"
    assert [answer.line for answer in explain(tmp_path, [line], form)] == [line]


def test_causes_come_first(tmp_path: Path) -> None:
    """The order is the table's, in whatever order the log has the lines."""
    lines = list(LINES)
    random.Random(14).shuffle(lines)
    entries = [answer.entry for answer in explain(tmp_path, lines)]
    assert entries == sorted(entries) and len(entries) == len(LINES)


@pytest.mark.parametrize("cause, consequence", [
    ("AMD-Vi: SNP: IOMMU disabled", "kvm_amd: SEV-SNP disabled"), ("SEV-SNP: Memory for the RMP", "AMD-Vi: SNP: RMP init"),
    ("SVM disabled", "ccp 0000:22:00.1: SEV: memory encryption"), ("SEV-SNP: SNP init failed", "AMD-Vi: SNP: RMP init"),
    ("ccp 0000:22:00.1: SEV-SNP: SNP_INIT_EX", "ccp 0000:22:00.1: SEV: INIT_EX failed"),
    ("ccp 0000:22:00.1: SEV-SNP support requires", "ccp 0000:22:00.1: SEV-SNP: SNP_INIT_EX"),
    ("ccp 0000:22:00.1: sev command 0x85 timed out", "ccp 0000:22:00.1: SEV-SNP: SNP_INIT_EX"),
    ("ccp 0000:22:00.1: psp: unable to access", "ccp 0000:22:00.1: psp initialization failed"),
    ("kvm_amd: SEV-ES disabled", "kvm_amd: SEV-SNP disabled")])
def test_the_cause_and_its_consequence(tmp_path: Path, cause: str, consequence: str) -> None:
    two = [next(line for line in LINES if line.startswith(part_of_line)) for part_of_line in (consequence, cause)]
    assert [answer.line for answer in explain(tmp_path, two)] == two[::-1]


def test_repeated_lines_are_one(tmp_path: Path) -> None:
    """Lines that differ in numbers alone: the newest. Other statuses of the firmware, and other commands, count."""
    ccp = "ccp 0000:22:00.1: SEV-SNP: "
    said = explain(tmp_path, [*(f"SEV-SNP: RMPUPDATE failed for PFN {pfn:x}, pg_level: 1, ret: 2" for pfn in range(100)),
                              f"{ccp}SNP_INIT_EX failed rc -5, error 0x3", f"{ccp}SNP_INIT failed rc -5, error 0x3",
                              f"{ccp}SNP_INIT failed rc -5, error 0x1"])
    assert [answer.line for answer in said] == [
        f"{ccp}SNP_INIT failed rc -5, error 0x1", f"{ccp}SNP_INIT failed rc -5, error 0x3",
        f"{ccp}SNP_INIT_EX failed rc -5, error 0x3", "SEV-SNP: RMPUPDATE failed for PFN 63, pg_level: 1, ret: 2"]


# --- The newest kernel ---------------------------------------------------------------------------

@pytest.fixture(scope="module")
def linux() -> Path:
    """The newest kernel in the cache."""
    path = newest_path(Cache(cache_root()), "mainline")
    if path is None:
        pytest.skip("the cache has no mainline kernel: ./snplab tree mainline fetches it")
    return path


def messages_of(linux: Path) -> list[str]:
    """A line of log for each message on the way to SNP."""
    lines = []
    for name, prefixes in FILES.items():
        found = list(messages((linux / name).read_text(encoding="utf-8")))
        assert found, f"{name}: expected messages, found none"
        lines += [sample(prefixes.get(kind, "") + FROM_A_VARIABLE.get(text, text)) for kind, text in found
                  if re.search(ONLY.get(name, ""), text)]
    return lines


def test_newest_kernel_says_nothing_else(linux: Path, tmp_path: Path) -> None:
    """hw.sh explains each message of the newest kernel, or IGNORED says why not."""
    lines = [line for line in messages_of(linux) if not any(re.search(words, line) for words in IGNORED.values())]
    assert len(lines) > 80
    # Here each number is 1, so that lines of the same words are one line.
    known = [wording.pattern for wording in wordings()]
    unknown = [line for line in lines if not any(pattern.match(line) for pattern in known)]
    assert unknown == [], f"give them an entry in lab/hw.sh and a line in tests/hw/messages.txt, or a reason in {__file__}"
    assert {answer.line for answer in explain(tmp_path, lines)} <= set(lines)


def test_nothing_known_is_ignored(answers: dict[str, Answer]) -> None:
    """No reason in IGNORED is so wide that it would hide a message of the table."""
    assert [(line, why) for line in answers for why, words in IGNORED.items() if re.search(words, line)] == []


def test_newest_kernel_has_no_other_status(linux: Path) -> None:
    """The statuses up to 0x28, by number and name; above them are those of SEV-TIO."""
    text = (linux / "include/uapi/linux/psp-sev.h").read_text(encoding="utf-8")
    found = {int(number, 16): LINUX_CALLS.get(name, name)
             for name, number in re.findall(r"\bSEV_RET_(\w+)\s*= (0x[0-9a-fA-F]+),", text)}
    assert {hex(n): name for n, name in found.items() if 0 < n < 0x30} \
        == {status: words.split(".*")[0] for status, words in STATUSES.items()}
