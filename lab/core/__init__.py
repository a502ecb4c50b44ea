# SPDX-License-Identifier: GPL-2.0-only
"""The modules that every verb uses: places, processes, steps, the terminal."""
