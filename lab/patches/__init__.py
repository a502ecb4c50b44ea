# SPDX-License-Identifier: GPL-2.0-only
"""The series: patch files, git work trees made from them, and mails."""
