# SPDX-License-Identifier: GPL-2.0-only
"""Attestation of an SNP guest: computes the launch digest from files, and checks a report against it.

Both modules can also be run as programs, and do not depend on the lab.
"""
