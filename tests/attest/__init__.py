# SPDX-License-Identifier: GPL-2.0-only
"""Makes what the tests of attestation need."""
