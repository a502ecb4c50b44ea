# SPDX-License-Identifier: GPL-2.0-only
"""Fetches packages and source trees; builds kernels, the emulated host, and the images that they boot."""
