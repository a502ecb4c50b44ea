# SPDX-License-Identifier: GPL-2.0-only
"""One module for each verb, with its --help, its options and its plan."""
