# SPDX-License-Identifier: GPL-2.0-only
"""./snplab starts this as `python3 -I -B lab`. It replaces lab/ on the module path by the repository's top."""
import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from lab.cli import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
