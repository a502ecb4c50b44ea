# SPDX-License-Identifier: GPL-2.0-only
"""An SNP host's administrator takes CPUs offline, reloads the modules, and gives the kernel the words that turn SNP off.

Real kernels print certain lines then on hardware. If one of them is missing here or another is there, the emulated host does
not behave like a host: SNP stays on where it cannot be, or gets lost where it must stay.
"""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.host_steps import Expected, Line, Situation, Tree, host_of, kernels_of, problems

ABOUT = "CPUs offline and online, modules reloaded, nosmt, maxcpus=, iommu=pt, amd_iommu=off: lines as on hardware"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "boot", "shell", "host", "hostsource")
TAKES = 50

TREES = ("6.12.y", "mainline")
NAMES = ("changes", "nosmt", "maxcpus", "pt", "off")
# The status of snp_smp_test without SNP: kselftest's "skipped".
SKIPPED = 4

UP = Line(r"kvm_amd: SEV-SNP enabled \(ASIDs 1 - 99\)", "all that SNP needs is there")
DOWN = Line("SEV-SNP enabled", "SNP is off")
OFF = Line(r"kvm_amd: SEV-SNP disabled \(ASIDs 1 - 99\)", "SNP is off")
# 6.12.y gives up SEV and SEV-ES, too, if SNP_INIT fails.
MAY_BE_OFF = Line(r"kvm_amd: SEV(-ES)? disabled \(ASIDs", "SNP_INIT failed")

# SNP is enabled on a CPU when the CPU comes online, and on each CPU before SNP_INIT. 6.12.y tries it with the CPUs that it
# has; the firmware finds one without SNP: INVALID_CONFIG. 7.x looks first.
NOT_ALL_CPUS = {
    "6.12.y": (Line(r"ccp .*: SEV-SNP: SNP_INIT_EX failed rc -5, error 0x3$", "the firmware finds a CPU without SNP"),
               Line(r"ccp .*: SEV-SNP: failed to INIT rc -5, error 0x3$", "the same, as the caller says it")),
    "mainline": (Line(r"SEV-SNP: SNP init failed: not all CPUs online\. \(0,2 online <-> 0-3 present masks\)",
                      "7.x does not ask the firmware"),)}


# The IOMMU's driver says why it cannot serve SNP, if it is told to use no page tables. If it is off, it says nothing.
PASSTHROUGH = {
    "6.12.y": Line(r"SNP: IOMMU disabled or configured in passthrough mode, SNP cannot be supported", "iommu=pt"),
    "mainline": Line(r"SNP: IOMMU configured in passthrough mode, SNP cannot be supported", "iommu=pt")}


def situations(tree: str) -> dict[str, Situation]:
    """The boots of a tree."""
    few = Expected({"cpus": 0, "launch": SKIPPED}, [OFF, *NOT_ALL_CPUS[tree]], [MAY_BE_OFF], [DOWN])
    refused = {"firmware": 1} if tree == "6.12.y" else {}
    return {
        "changes": Situation("guest:offline:guest-runs:reload=2:cpus", [Expected(
            {"guest": 0, "offline": 0, "guest-runs": 0, "reload=2": 0, "cpus": 0}, [UP])]),
        "nosmt": Situation("cpus:launch", [few], "nosmt", errors=refused),
        "maxcpus": Situation("cpus:launch", [few], "maxcpus=2", errors=refused),
        "pt": Situation("launch", [Expected({"launch": SKIPPED}, [OFF, PASSTHROUGH[tree]], never=[DOWN])], "iommu=pt"),
        "off": Situation("launch", [Expected({"launch": SKIPPED}, [OFF], never=[DOWN])], "amd_iommu=off")}


@pytest.fixture(scope="module", name="tree", params=TREES)
def fixture_tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """Each situation of a tree, booted."""
    name, them = str(request.param), situations(str(request.param))
    with host_of(tmp_path_factory.mktemp(name), name) as host:
        yield Tree(them, host.boot_all(them))


@pytest.mark.parametrize("name", NAMES)
def test_host(tree: Tree, name: str) -> None:
    """Each step ends as expected, kernel and emulated host say what is expected and report nothing else."""
    assert problems(tree.logs[name], tree.situations[name]) == []


@pytest.mark.parametrize("name, online", [("changes", ["0-3"]), ("nosmt", ["0,2"]), ("maxcpus", ["0,2"])])
def test_cpus(tree: Tree, name: str, online: list[str]) -> None:
    """The CPUs that are online at the end are those that the kernel was to use."""
    logs = tree.logs[name]
    kernel, = kernels_of(logs.kernel.lines, logs.ktap_lines)
    assert kernel.step("cpus")[:-1] == online
