# SPDX-License-Identifier: GPL-2.0-only
"""How this repository's own tests are found, run and counted."""
