# SPDX-License-Identifier: GPL-2.0-only
"""The bugs that SNP's host code had: each a patch in tests/history, with a header for programs."""
