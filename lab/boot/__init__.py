# SPDX-License-Identifier: GPL-2.0-only
"""Starts L1 on the emulated host, and reads the emulated host's counts from QEMU."""
