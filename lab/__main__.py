# SPDX-License-Identifier: GPL-2.0-only
"""Started by ./snplab as `python3 -I -B lab`: the repository's top takes the place of lab/ on the module path."""
import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from lab.cli import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
