# SPDX-License-Identifier: GPL-2.0-only
"""Finds out whether a kernel tree is fixed, open, leaking or not affected with regard to CVE-2026-31591.

snp_launch_update_vmsa() must hold every vcpu->mutex while it encrypts the VMSAs, and must release all of them on every
path. Each *.cocci file is a question in SmPL about the control flow of a function; searching the text would not do. The
modules choose the functions to ask about, and turn the answers into a verdict. Code of a shape that the rules cannot
follow is "unknown": there are no guesses.
"""
