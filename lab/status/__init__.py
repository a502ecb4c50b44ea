# SPDX-License-Identifier: GPL-2.0-only
"""Is a kernel tree fixed, open, leaking or not affected with regard to CVE-2026-31591?

snp_launch_update_vmsa() must hold every vcpu->mutex while it encrypts the VMSAs, and release all of them on every way
out. The questions are asked in SmPL, one *.cocci file each, so that the control flow answers and not a line of text.
The modules choose the functions to ask about and turn the answers into a verdict. A shape that the rules cannot follow
is "unknown", never a guess.
"""
