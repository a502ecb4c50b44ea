# SPDX-License-Identifier: GPL-2.0-only
"""What --html writes: a verdict and a launch as a page to look at."""
