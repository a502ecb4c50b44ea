# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# From a source tree to a kernel, its modules, its KVM selftests and the guest's init.

jobs=$(nproc)
# The fragments in lab/config that a kernel is configured from.
kernel_config=(base kvm debug kunit)

# The objects are in a folder of the copied source: kbuild then writes no absolute path into any command,
# and what ccache has from one copy serves the next.

# kmake WORK ARGUMENT...: make for WORK/src with its objects in WORK/src/obj. A fixed time and builder
# make an unchanged source an unchanged binary, and let ccache find what another tree compiled.
kmake() {
	local work=$1 cc=gcc
	shift
	command -v ccache >/dev/null && cc='ccache gcc'
	CCACHE_DIR=$cache/ccache CCACHE_BASEDIR=$cache CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=time_macros \
		CCACHE_MAXSIZE=4G run make -C "$work/src" O=obj -j"$jobs" CC="$cc" HOSTCC="$cc" \
		KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_USER=snplab \
		KBUILD_BUILD_HOST=lab KBUILD_BUILD_VERSION=1 "$@"
}

# configure WORK FRAGMENT...: allnoconfig plus the fragments, made again when one of them changes.
configure() {
	local work=$1 line missing=''
	shift
	[ -n "$dry_run" ] || mkdir -p "$work/src/obj"
	if [ -z "$dry_run" ]; then
		cat "$@" >"$work/all.config.new"
		if cmp -s "$work/all.config.new" "$work/all.config" && [ -s "$work/src/obj/.config" ] &&
			[ ! "$work/src/obj/.config" -ot "$work/src/arch/x86/kvm/Kconfig" ]; then
			rm "$work/all.config.new"
			return
		fi
	fi
	kmake "$work" -s KCONFIG_ALLCONFIG="$work/all.config.new" allnoconfig
	[ -z "$dry_run" ] || return 0
	while read -r line; do
		grep -qxF "$line" "$work/src/obj/.config" || missing+=" ${line%%=*}"
	done < <(grep ^CONFIG_ "$work/all.config.new")
	for line in $missing; do
		# Not every tree has every symbol: only one that it has, and did not take, is an error.
		if grep -rqsE --include='Kconfig*' "^(menu)?config ${line#CONFIG_}\$" "$work/src"; then
			setup_error "the kernel's configuration lacks $line" \
				'expected allnoconfig to take every line of lab/config: a dependency is missing'
		fi
		echo "this tree has no $line"
	done
	touch "$work/src/obj/.config"
	mv "$work/all.config.new" "$work/all.config"
}

# build_kernel WORK [TARGET...]: bzImage and modules, or these. A stage.
build_kernel() {
	local work=$1
	shift
	[ $# -gt 0 ] || set -- bzImage modules
	# A build that was killed may have left a truncated object that looks new: those are made again.
	if [ -e "$work/building" ] && [ -d "$work/src/obj" ]; then
		find "$work/src/obj" -newer "$work/building" \( -name '*.o' -o -name '*.a' -o -name '*.ko' -o -name 'vmlinux*' -o -name bzImage \) -delete
	fi
	local fragments=("${kernel_config[@]/#/$lab/config/}")
	configure "$work" "${fragments[@]/%/.config}"
	[ -n "$dry_run" ] || touch "$work/building"
	if ! kmake "$work" "$@"; then
		rm -f "$work/building"
		out_of_space "$work"
		setup_error 'the kernel does not build' 'the compiler said why, in the log'
	fi
	rm -f "$work/building"
}

# build_selftests WORK NAME...: KVM selftests of WORK/src, 7.x or later, static, into WORK/tests.
build_selftests() {
	local work=$1 targets
	shift
	targets=("${@/#/$work/kselftest/x86/}")
	[ -n "$dry_run" ] || mkdir -p "$work/kselftest"
	kmake "$work" -s headers
	local cc=gcc
	command -v ccache >/dev/null && cc='ccache gcc'
	CCACHE_DIR=$cache/ccache CCACHE_BASEDIR=$cache run make -s -C "$work/src/tools/testing/selftests/kvm" -j"$jobs" \
		CC="$cc" OUTPUT="$work/kselftest" KHDR_INCLUDES="-isystem $work/src/obj/usr/include" LDFLAGS=-static "${targets[@]}" ||
		setup_error 'the KVM selftests do not build' 'the compiler said why, in the log'
	[ -n "$dry_run" ] || { rm -rf "$work/tests" && mkdir "$work/tests" && cp "${targets[@]}" "$work/tests/"; }
}

# modules_with_needs DIR NAME...: these modules' files below DIR, those a module needs before it.
modules_with_needs() {
	local dir=$1 name file dep deps
	shift
	for name; do
		file=$(find "$dir" -regextype posix-extended -regex ".*/(${name}|${name//-/_}|${name//_/-})\.ko(\.xz)?" -print -quit)
		# Built in, or not in this configuration: what needs it says so when it is loaded.
		[ -n "$file" ] || continue
		deps=$(modinfo -F depends "$file")
		for dep in ${deps//,/ }; do modules_with_needs "$dir" "$dep"; done
		printf '%s\n' "$file"
	done | awk '!seen[$0]++'
}

# copy_modules DIR OUT NAME...: them and what they need, uncompressed, and their names in OUT/order: init loads them so.
copy_modules() {
	local dir=$1 out_dir=$2 file name
	shift 2
	modules_with_needs "$dir" "$@" | while read -r file; do
		name=$(basename "${file%.xz}")
		case $file in *.xz) xz -dc "$file" >"$out_dir/$name" ;; *) cp "$file" "$out_dir/" ;; esac
		printf '%s\n' "${name%.ko}"
	done >"$out_dir/order"
}

# archive DIR: as one more part of an initrd. The kernel takes several, and a later file for an earlier one.
archive() { (cd "$1" && find . -print0 | sort -z | cpio -0 -o -H newc -R 0:0 --reproducible --quiet) | gzip -1n; }

# copy_busybox FILE: Debian's package without -static has the same name, and cannot start in a guest without libraries.
copy_busybox() {
	is_static busybox || setup_error "expected a static busybox, found $(command -v busybox || echo none), which wants libraries" \
		"Debian's package is busybox-static"
	cp "$(command -v busybox)" "$1"
}

# build_initrd MODULES OUT [TEST...]: init, the modules below that folder in loading order, these programs. Small: no
# compression worth a stage.
build_initrd() {
	local modules=$1 out_file=$2 root
	shift 2
	if [ -n "$dry_run" ]; then
		run gcc -static -O2 -o init "$lab/init/init.c"
		run cpio -o -H newc
		return
	fi
	root=$(mktemp -d "$(dirname "$out_file")/.root.XXXXXX")
	scratch=$root
	trap 'rm -rf "$scratch"' EXIT
	mkdir -p "$root"/{dev,proc,sys,tmp,lib/modules,tests,bin}
	run gcc -static -O2 -Wall -Wextra -Werror -o "$root/init" "$lab/init/init.c"
	copy_modules "$modules" "$root/lib/modules" kvm-amd
	[ -s "$root/lib/modules/order" ] || setup_error 'expected a kvm-amd module to load, found none' \
		'lab/config/kvm.config makes KVM modules; is CONFIG_KVM_AMD=m still possible in this tree?'
	[ $# -eq 0 ] || cp "$@" "$root/tests/"
	[ -z "${with_shell:-}" ] || copy_busybox "$root/bin/busybox"
	strip --strip-debug "$root"/lib/modules/*.ko "$root"/tests/* 2>/dev/null || true
	# Reproducible: the same content is the same file.
	archive "$root" >"$out_file"
}
