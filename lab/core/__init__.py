# SPDX-License-Identifier: GPL-2.0-only
"""The ground that every verb stands on: places, processes, steps, the terminal."""
