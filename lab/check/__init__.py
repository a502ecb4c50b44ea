# SPDX-License-Identifier: GPL-2.0-only
"""Finds, runs and counts this repository's own tests."""
