# SPDX-License-Identifier: GPL-2.0-only
"""Shows standard input as `./snplab guest` shows a boot: python3 -m tests.support.judge_show LOGS."""
from __future__ import annotations

import sys
from pathlib import Path

from lab.core.terminal import Terminal
from lab.judge.show import Show

if __name__ == "__main__":
    with Show(Path(sys.argv[1]), Terminal(sys.stdout).say) as show:
        show.copy(sys.stdin.buffer)
