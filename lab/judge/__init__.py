# SPDX-License-Identifier: GPL-2.0-only
"""The judges: from the logs of a boot to a verdict, in words and as JSON. They read files and know nothing of a run."""
