# SPDX-License-Identifier: GPL-2.0-only
"""Helpers for several test files."""
