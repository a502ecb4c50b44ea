# SPDX-License-Identifier: GPL-2.0-only
"""`snplab status` on a machine whose programs are those of one folder, as a user who cannot install any.

usage: status_fake.py FOLDER WORD...
"""
from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lab import cli  # noqa: E402
from lab.build import deps  # noqa: E402
from lab.core import process  # noqa: E402

if __name__ == "__main__":
    os.environ["PATH"] = ""
    process.SYSTEM_PATH = sys.argv[1]
    deps.can_install = lambda: False
    sys.exit(cli.main(["status", *sys.argv[2:]]))
