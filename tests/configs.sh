#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# DEBUG_LOCK_ALLOC on and off, PREEMPT_RT on and off: in all four, what the series touches compiles,
# and every lock function that KVM's modules call is one that the kernel exports. (Upstream's
# mutex_lock_killable_nest_lock() did not link in one of the four; an object alone does not show it.)
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"

fragment() { # LOCKDEP RT
	if [ "$1" = on ]; then
		cat "$lab/config/debug.config"
	else
		echo 'CONFIG_DEBUG_KERNEL=y'
	fi
	[ "$2" = off ] || echo 'CONFIG_PREEMPT_RT=y'
}

# Undefined in the modules, a locking function by its name, and exported by no locking object.
not_exported() {
	local d=$1/src/obj
	# KVM without any mutex is KVM that nm could not read.
	# (Not grep -q: it would end nm by SIGPIPE, and pipefail would take that for "not found".)
	nm -u "$d"/arch/x86/kvm/{kvm,kvm-amd}.o | grep ' U mutex_unlock$' >/dev/null || echo 'no mutex_unlock in kvm.o: nothing was looked at'
	comm -23 \
		<(nm -u "$d"/arch/x86/kvm/{kvm,kvm-amd}.o | awk '$1 == "U" { print $2 }' |
			grep -E '^_?_?(rt_)?(mutex|rwsem|down|up)_' | sort -u) \
		<(nm "$d"/kernel/locking/*.o | sed -n 's/.* __export_symbol_//p' | sort -u)
}

for tree in 6.12.y mainline; do
	base=$(lab_base "$tree") || { not_ok "$tree: a base" "$base"; continue; }
	mapfile -t patches < <(list_series "$top/series/$(series_dir "$tree")")
	for lockdep in on off; do for rt in off on; do
		text="$tree with DEBUG_LOCK_ALLOC $lockdep, PREEMPT_RT $rt"
		# One folder for all four, and for series.sh: kbuild's own tools are made once.
		work=$cache/work/series-$tree
		mkdir -p "$work"
		fragment $lockdep $rt >"$work/extra.config"
		preempt=$lab/config/base.config
		if [ $rt = on ]; then
			# What PREEMPT_RT excludes: the other preemption models, huge pages, DEBUG_MUTEXES.
			sed -i '/^CONFIG_DEBUG_MUTEXES=/d' "$work/extra.config"
			preempt=$work/base.config
			grep -vxE 'CONFIG_(PREEMPT|TRANSPARENT_HUGEPAGE)=y' "$lab/config/base.config" >"$preempt"
		fi
		if {
			lab_quietly overlay "$base" "$work" "${patches[@]}" &&
			lab_quietly configure "$work" "$preempt" "$lab/config/kvm.config" "$work/extra.config" &&
			lab_quietly kmake "$work" kernel/locking/ arch/x86/kvm/
		} >"$tmp/log" 2>&1
		then
			ok "$text: compiles"
		else
			not_ok "$text: compiles" "$(tail -n 20 "$tmp/log")"
			continue
		fi
		want=$([ $lockdep = on ] && echo y || echo n) want_rt=$([ $rt = on ] && echo y || echo n)
		have=$(grep -qx CONFIG_DEBUG_LOCK_ALLOC=y "$work/src/obj/.config" && echo y || echo n)
		have_rt=$(grep -qx CONFIG_PREEMPT_RT=y "$work/src/obj/.config" && echo y || echo n)
		if [ "$want $want_rt" = "$have $have_rt" ]; then ok "$text: is what was configured"; else
			not_ok "$text: is what was configured" "expected $want $want_rt, found $have $have_rt"; fi
		lost=$(not_exported "$work")
		if [ -z "$lost" ]; then ok "$text: exports what KVM calls"; else not_ok "$text: exports what KVM calls" "$lost"; fi
	done; done
done
finish
