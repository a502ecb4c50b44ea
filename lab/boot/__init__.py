# SPDX-License-Identifier: GPL-2.0-only
"""Boots L1 on the emulated host, and reads the host's counts from QEMU."""
