# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For the tests of the emulated host that boot a kernel on it: builds with the lab's own functions, boots
# any number of times, reads what a boot left. Sourced, with $top set.
#
# A prepared folder has: bzImage; snp.gz, an initrd with our tests, the launch test and every SEV test of the KVM
# selftests of 7.x (sev.list: the names of the last); all.gz, an initrd with every x86 KVM selftest of 7.x (all.list:
# their names, which are in it as /tests/list); qemu, the path of the emulated host.

host_kvm=${top:?}/host/tests/kvm

# In a shell of its own, with all of the lab: a failure ends it, and a lock ends with it. Not a subshell, in
# which a caller's "if" or "||" would switch set -e off.
host_lab() {
	bash -c 'set -euo pipefail; top=$1 verb=check out=1; shift
		dry_run="" linux_dir="" qemu_dir="" extra_patches=() emulated=1 with_shell=""
		for f in lib deps fetch overlay build selftests qemu boot run; do . "$top/lab/$f.sh"; done
		. "$top/host/tests/lib.sh"
		stage_log=${stage_log:-/dev/null}
		arm_traps
		"$@"' host_lab "$top" "$@"
}

# host_prepare DIR TREE [PATCH]: fills DIR; with one more patch on the kernel. What it said is DIR/log.
host_prepare() {
	mkdir -p "$1"
	if stage_log=$1/log host_lab host_build "$@" </dev/null >"$1/log" 2>&1; then return; fi
	tail -n 20 "$1/log"
	return 1
}

# The rest of the file is for host_lab's shell, but for host_results and below.

host_build() {
	local dir=$1 tree=$2 extra_patches=("${@:3}") work p programs all sev
	install_missing fetch overlay build boot
	host_qemu "$dir"

	# Upstream's tests. The launch test, which is ours, is there as well, and in no list: run has it.
	(fetch_base mainline)
	base=$(base_of mainline)
	mapfile -t all < <(cd "$base/tools/testing/selftests/kvm/x86" && printf '%s\n' *.c | sed 's/\.c$//')
	mapfile -t sev < <(cd "$base/tools/testing/selftests/kvm/x86" && grep -li sev -- *.c | sed 's/\.c$//')
	programs=$dir/programs
	rm -rf "$programs"
	mkdir "$programs"
	# From here on the selftests' folder is locked: our own programs are linked with what is in it.
	build_tests "$base" "$programs/all" "${all[@]}" sev_snp_launch_test
	work=$(selftests_work "$base")
	run make -C "$host_kvm" -j"$jobs" CC="$(command -v ccache >/dev/null && echo ccache) gcc" LINUX="$work/src" \
		HEADERS="$work/src/obj/usr/include" LIB="$work/kselftest" OUT="$programs/own"
	mkdir "$programs/snp"
	cp "${sev[@]/#/$programs/all/}" "$programs"/own/*_{test,bench,walk} "$programs/snp/"
	mv "$programs/all/sev_snp_launch_test" "$programs/snp/"
	printf '%s\n' "${all[@]}" | tee "$programs/all/list" >"$dir/all.list"
	printf '%s\n' "${sev[@]}" >"$dir/sev.list"

	work=$(work_dir "$tree")
	host_source "$tree" "$work"
	build_kernel "$work"
	cp "$work/src/obj/arch/x86/boot/bzImage" "$dir/bzImage"
	kernel_version "$work/src" >"$dir/version"
	for p in snp all; do (build_initrd "$work/src/obj" "$dir/$p.gz" "$programs/$p"/*); done
	rm -rf "$programs"
}

# host_source TREE WORK: fetched, patched (extra_patches come last), and locked until work_lock is closed.
host_source() {
	local source patches
	(fetch_base "$1")
	source=$(base_of "$1")
	set_patches "$1" "$source"
	mkdir -p "$2"
	lock_work "$2"
	(overlay "$source" "$2" "${patches[@]}")
}

# host_qemu DIR: the emulated host, in DIR/qemu.
host_qemu() {
	plan_host
	if [ -n "${SNPLAB_QEMU:-}" ]; then
		command -v "$SNPLAB_QEMU" >"$1/qemu"
		return
	fi
	install_missing "${host_purposes[@]}"
	(fetch_qemu)
	rm -rf "$1/host"
	(build_host "$(qemu_source)" "$(qemu_work)" "$1/host")
	printf '%s\n' "$1/host/bin/qemu-system-x86_64" >"$1/qemu"
}

# host_boot DIR INITRD TESTS LOGS LIMIT [STOCK]: boots DIR/bzImage with DIR/INITRD on the emulated host; with
# STOCK, on that QEMU, without a host of ours. Leaves in LOGS what boot_tests leaves. TESTS may be followed
# by a space and more of the kernel's command line.
host_boot() {
	local logs=$4
	mkdir -p "$logs"
	: >"$logs/ktap.log"
	host_lab host_boot_now "$@" </dev/null >/dev/null 2>"$logs/boot.err" && return
	echo "setup: $(tail -n 3 "$logs/boot.err" | paste -sd' ')" >"$logs/not-booted"
}
host_boot_now() {
	qemu=$(cat "$1/qemu")
	if [ -n "${6:-}" ]; then qemu=$6 emulated=''; fi
	boot_tests "$1/bzImage" "$1/$2" "$3" "$4" "$5"
}

# host_results LOGS: what the boot says of itself, one thing a line, fields by tabs: "test NAME RESULT REASON",
# "report LINE", "panic LINE", "errors N" with "error KIND N" for each kind, "end yes|no|SECONDS".
host_results() { python3 "$top/host/tests/results.py" "$1"; }

# result FILE NAME: the result of one test in what host_results said: pass, skip, fail, timeout, none.
host_result() { awk -F'\t' -v n="$2" '$1 == "test" && $2 == n { r = $3 } END { print r == "" ? "none" : r }' "$1"; }

# host_own_tests: the names in tests.list. host_upstream_tests DIR: every SEV test of 7.x's KVM selftests.
host_own_tests() { sed 's/[[:space:]].*//; /^#/d; /^$/d' "$host_kvm/tests.list"; }
host_upstream_tests() { cat "$1/sev.list"; }

# host_provoked NAME...: a line "KIND N" for what these provoke, added up.
host_provoked() {
	awk -v names=" $* " '!/^#/ && index(names, " " $1 " ") && sub(/^errors=/, "", $2) {
			k = split($2, e, ",")
			for (i = 1; i <= k; i++) { split(e[i], f, ":"); n[f[1]] += f[2] }
		}
		END { for (i in n) print i, n[i] }' "$host_kvm/tests.list" | sort
}

# host_wrong_errors FILE NAME...: what host_results said in FILE of errors on the host, if it is not exactly what
# the tests provoke.
host_wrong_errors() {
	local file=$1 wanted found
	shift
	wanted=$(host_provoked "$@")
	found=$(awk -F'\t' '$1 == "error" { print $2, $3 }' "$file" | sort)
	if grep -q $'^errors\tunknown' "$file"; then
		grep $'^errors\t' "$file"
	elif [ "$wanted" != "$found" ]; then
		echo "expected: ${wanted:-none}; found: ${found:-none}" | paste -sd' '
	elif [ "$(awk -F'\t' '$1 == "errors" { print $2 }' "$file")" != "$(awk '{ n += $2 } END { print n + 0 }' <<<"$wanted")" ]; then
		echo "the kinds' sum is not the total: $(paste -sd' ' <(grep ^error "$file"))"
	fi
}

# host_expect TREE: the list of what is known to fail there.
host_expect() { printf '%s/series/%s/expect\n' "$top" "$([ "$1" = mainline ] && echo mainline || echo "linux-$1")"; }
# host_expectation TREE NAME FIELD: of that list: the "reason", what the test "says", the "evidence"; or nothing.
host_expectation() {
	awk -v name="$2" -v field="$3" '
		/^#/ { next }
		/^[^\t ]/ {
			here = index($0, name ": known failure: ") == 1
			if (here && field == "reason") print substr($0, length(name ": known failure: ") + 1)
			next
		}
		here && index($1, field ":") == 1 { sub(/^[ \t]*[a-z]+: */, ""); print }' "$(host_expect "$1")"
}
# Those that fail as a whole; the launch test's cases are run's to judge.
host_expected_names() { sed -n 's/^\([^#\t ][^: ]*\): known failure: .*/\1/p' "$(host_expect "$1")"; }
