#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Boots and launches of an SNP guest with 8 vCPUs, without a flake, on both kernels: a few here. With
# SNPLAB_SOAK=200, that many boots, and as many launches in one boot; host/tests/soak does it by itself.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"

n=${SNPLAB_SOAK:-5}
for tree in 6.12.y mainline; do
	expect "$tree: $n boots and $((2 * n)) launches of 8 vCPUs without a flake" 0 \
		"^$tree: $((n + 1)) boots, $((2 * n)) of $((2 * n)) launches of 8 vCPUs, 0 flakes, " "$top/host/tests/soak" -n "$n" --tree "$tree"
done
finish
