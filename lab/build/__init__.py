# SPDX-License-Identifier: GPL-2.0-only
"""From packages and source trees to kernels, the emulated host and its images."""
