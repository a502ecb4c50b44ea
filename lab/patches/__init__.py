# SPDX-License-Identifier: GPL-2.0-only
"""The queues of patches: their files, the git work trees made from them, and the mails."""
