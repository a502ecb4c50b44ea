# SPDX-License-Identifier: GPL-2.0-only
"""Attestation of an SNP guest: the launch digest computed from files, and a report checked against it.

Both modules are programs as well, and know nothing of the lab.
"""
