# SPDX-License-Identifier: GPL-2.0-only
"""What every verb stands on: places, processes, steps, the terminal."""
