# SPDX-License-Identifier: GPL-2.0-only
"""The tests of this repository: ./snplab check --list names them."""
