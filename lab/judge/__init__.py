# SPDX-License-Identifier: GPL-2.0-only
"""The judges: they read the logs of a boot and give a verdict, as text and as JSON. They do not depend on how it was run."""
