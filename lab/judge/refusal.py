# SPDX-License-Identifier: GPL-2.0-only
"""Says in words why KVM or the firmware refused a launch. QEMU prints both answers as numbers."""
from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable

# QEMU's messages on KVM_MEMORY_ENCRYPT_OP: the command, the ioctl's errno, the firmware's status.
REFUSED = re.compile(r"(\w+) ret=-(\d+) fw_error=(-?\d+)")
# Status codes of the SNP ABI (56860), by their number.
STATUS = dict(enumerate((
    "SUCCESS", "INVALID_PLATFORM_STATE", "INVALID_GUEST_STATE", "INVALID_CONFIG", "INVALID_LENGTH", "ALREADY_OWNED",
    "INVALID_CERTIFICATE", "POLICY_FAILURE", "INACTIVE", "INVALID_ADDRESS", "BAD_SIGNATURE", "BAD_MEASUREMENT", "ASID_OWNED",
    "INVALID_ASID", "WBINVD_REQUIRED", "DF_FLUSH_REQUIRED", "INVALID_GUEST", "INVALID_COMMAND", "ACTIVE", "HWERROR_PLATFORM",
    "HWERROR_UNSAFE", "UNSUPPORTED", "INVALID_PARAM", "RESOURCE_LIMIT", "SECURE_DATA_INVALID", "INVALID_PAGE_SIZE",
    "INVALID_PAGE_STATE", "INVALID_MDATA_ENTRY", "INVALID_PAGE_OWNER", "AEAD_OFLOW")))
MEANING = {
    ("SNP_LAUNCH_START", "POLICY_FAILURE"): "the platform does not offer what the policy demands",
    ("SNP_LAUNCH_FINISH", "POLICY_FAILURE"): "the policy in the ID block is not the guest's",
    ("SNP_LAUNCH_FINISH", "BAD_MEASUREMENT"): "the launch digest in the ID block is not that of the pages measured",
    ("SNP_LAUNCH_FINISH", "BAD_SIGNATURE"): "a signature in the ID authentication information does not verify",
}


def refusal(ktap: Iterable[str]) -> list[str]:
    """Explains the first refusal in L1's report, in one line; empty if there is none."""
    for line in ktap:
        found = REFUSED.search(line)
        if found and line.startswith("# not ok "):
            return [explain(found[1], int(found[2]), int(found[3]))]
    return []


def explain(command: str, error: int, status: int) -> str:
    """`command` was refused with an errno of KVM's and a status of the firmware's; status 0 or -1: the firmware was not
    called, or had no objection."""
    name = errno.errorcode.get(error, str(error))
    # -1: the firmware was not called.
    if status <= 0:
        return f"refused: KVM answered {command} with {name} ({os.strerror(error)}), not the firmware"
    word = STATUS.get(status, "a status that the lab does not know")
    meaning = MEANING.get((command, word))
    return f"refused: the firmware answered {command} with {status:#x}, {word}{f': {meaning}' if meaning else ''}"
