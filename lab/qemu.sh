# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The emulated SEV-SNP host: Debian's QEMU source with host/ on top, built with only what the lab needs.

# The release that host/patches are made for.
qemu_release=10.0
# QEMU's own build system, at least; Debian 12's is older.
meson_least=1.5

# With --qemu DIR the source is a tree of the user's. With host_sanitize=1 (tests/host-sanitize.sh) the build is
# another one, that stops at undefined behaviour and bad accesses.
qemu_work() {
	if [ -n "${qemu_dir:-}" ]; then
		printf '%s/work/qemu-%s-%s\n' "$cache" "$(slug "$(basename "$qemu_dir")")" "$(printf %s "$qemu_dir" | sha256sum | cut -c1-8)"
	else
		printf '%s/work/qemu%s\n' "$cache" "${host_sanitize:+-sanitize}"
	fi
}

qemu_source() {
	if [ -n "${qemu_dir:-}" ]; then printf '%s\n' "$qemu_dir"; return; fi
	if [ -n "$dry_run" ] && [ ! -s "$cache/base/qemu.newest" ]; then printf '%s/base/qemu_…\n' "$cache"; return; fi
	printf '%s/base/%s\n' "$cache" "$(cat "$cache/base/qemu.newest")"
}

# The version of a QEMU source tree, or nothing.
qemu_source_version() {
	local v
	v=$(cat "$1/VERSION" 2>/dev/null)
	[[ $v =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] && [ -e "$1/include/qemu/osdep.h" ] && printf '%s\n' "$v"
}

get_qemu_source() { apt_private apt-get source --download-only "$1=$2"; }
unpack_qemu_source() {
	# .pc is what quilt leaves for undoing Debian's patches.
	dpkg-source --no-check --no-copy -x ./*.dsc src && rm -rf src/.pc
}
qemu_versions() {
	apt_private apt-cache showsrc --only-source qemu | sed -n 's/^Version: //p' |
		grep -E "^([0-9]+:)?${qemu_release//./\\.}\.[0-9]" | sort -urV | sed 's/^/qemu /'
}

# fetch_qemu: Debian's newest source of the release, with Debian's patches, and a meson, where the machine's own
# is too old. A stage.
fetch_qemu() {
	local base
	base=$(cache_dir base)
	if [ -n "$dry_run" ]; then
		run apt-get source --download-only "qemu=$qemu_release.*  # the newest, by a private apt configuration"
		run dpkg-source --no-check -x 'qemu_*.dsc' "$base/qemu_…"
		return
	fi
	lock base-qemu
	if meson_is_there; then
		if looked_up_lately qemu; then return; fi
		lists_or_base qemu || return 0
	else
		(refresh_lists) 2>&1
		fetch_meson "$base"
	fi
	fetch_newest qemu qemu_source 2500 < <(qemu_versions)
	named_base qemu ||
		setup_error "expected the source of QEMU $qemu_release in Debian's archive, and to download it; found none" \
			"looked in $source_suites" 'give a source tree of your own: --qemu DIR'
}

meson_new_enough() { # VERSION
	[[ ${1:-} =~ ^[0-9]+\.[0-9]+ ]] && [ "$(printf '%s\n' "$meson_least" "$1" | sort -V | head -n 1)" = "$meson_least" ]
}
meson_is_there() {
	meson_new_enough "$(meson --version 2>/dev/null)" || [ -d "$cache/base/meson-$meson_least" ]
}

# fetch_meson BASE: Debian's package, unpacked and not installed. The oldest that will do: what QEMU's
# release was made with.
fetch_meson() {
	local base=$1 version d
	if meson_is_there; then return; fi
	rm -rf "$base"/.meson.??????
	d=$(mktemp -d "$base/.meson.XXXXXX")
	scratch=$d
	trap 'rm -rf "$scratch"' EXIT
	while read -r version; do
		meson_new_enough "$version" || continue
		(cd "$d" && apt_private apt-get download "meson=$version") || continue
		dpkg-deb -x "$d"/meson_*.deb "$d/meson"
		mv -T "$d/meson" "$base/meson-$meson_least"
		break
	done < <(apt_private apt-cache madison meson | awk '{ print $3 }' | sort -uV)
	rm -rf "$d"
	trap - EXIT
	[ -d "$base/meson-$meson_least" ] || setup_error "QEMU's build needs meson $meson_least or newer, found $(meson --version 2>/dev/null || echo none)" \
		"looked in $suites" "install a newer meson"
}

# in_qemu_build WORK COMMAND...: in the build folder, with the compiler cache and the meson that are meant.
in_qemu_build() {
	local work=$1 settings=()
	shift
	if ! meson_new_enough "$(meson --version 2>/dev/null)"; then
		settings=(PATH="$cache/base/meson-$meson_least/usr/bin:$PATH" PYTHONPATH="$cache/base/meson-$meson_least/usr/lib/python3/dist-packages")
	fi
	# Depend mode: what a cold cache costs is then little, and most files of QEMU are small.
	run env -C "$work/src/build" "${settings[@]}" CCACHE_DIR="$cache/ccache" CCACHE_BASEDIR="$cache" \
		CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1 CCACHE_MAXSIZE=4G "$@"
}

# Their numbers are their order.
host_patches() { find "$top/host/patches" -name '[0-9]*.patch' 2>/dev/null | sort; }

# build_host SOURCE WORK [COPY]: QEMU with host/ on top, into WORK/host: bin/qemu-system-x86_64 and, where
# that looks for it, share/qemu. COPY gets links to all of it. A stage.
build_host() {
	local source=$1 work=$2 copy=${3:-} version patches cc=gcc flags configured
	if [ -n "$dry_run" ]; then version='(version not known yet)'; fi
	version=$(qemu_source_version "$source") || [ -n "$dry_run" ]
	mapfile -t patches < <(host_patches)
	[ -n "$dry_run" ] || lock "work-$(basename "$work")"
	overlay_new=$top/host/qemu overlay_what="QEMU $version" overlay "$source" "$work" "${patches[@]}"
	command -v ccache >/dev/null && cc='ccache gcc'
	# The prefix is where Debian has it; the binary finds share/qemu beside itself wherever it is.
	flags=(--python=/usr/bin/python3 --prefix=/usr --target-list=x86_64-softmmu --enable-system --enable-tcg
		--without-default-features --without-default-devices --with-devices-x86_64=snplab
		--enable-gnutls --enable-attr --enable-virtfs
		--disable-fdt --disable-docs --disable-install-blobs --disable-download "--cc=$cc")
	if [ -n "${host_sanitize:-}" ]; then
		# What it reports has line numbers with -g1, and it is built in half the time.
		flags+=(--enable-asan --enable-ubsan --disable-debug-info '--extra-cflags=-O1 -g1')
	else
		flags+=(--extra-cflags=-O2)
	fi
	# configure writes this only where gcc can link for 32 bits, which these few lines do not need.
	local option_roms=(sh -c "printf '%s\n' TOPSRC_DIR=../../.. CC=gcc OBJCOPY=objcopy PYTHON=python3 >pc-bios/optionrom/config.mak")
	if [ -n "$dry_run" ]; then
		in_qemu_build "$work" ../configure "${flags[@]}"
		in_qemu_build "$work" "${option_roms[@]}"
		in_qemu_build "$work" ninja -j"$jobs" qemu-system-x86_64
		in_qemu_build "$work" make -C pc-bios/optionrom
		return
	fi
	# With another compiler or Python, all that configure has found out is of no use.
	configured=$(printf '%s\n' "${flags[*]}" "$(gcc -dumpfullversion)" "$(/usr/bin/python3 -V)")
	if [ "$(cat "$work/src/build/configured" 2>/dev/null)" != "$configured" ]; then
		rm -rf "$work/src/build"
		mkdir "$work/src/build"
		if ! in_qemu_build "$work" ../configure "${flags[@]}"; then
			out_of_space "$work"
			setup_error 'QEMU cannot be configured' 'what its configure said is in the log'
		fi
		in_qemu_build "$work" "${option_roms[@]}"
		printf '%s\n' "$configured" >"$work/src/build/configured"
	fi
	if ! in_qemu_build "$work" ninja -j"$jobs" qemu-system-x86_64 || ! in_qemu_build "$work" make -C pc-bios/optionrom; then
		out_of_space "$work"
		setup_error 'the emulated host does not build' 'the compiler said why, in the log'
	fi
	install_host "$work"
	# Links, or copies where the folder is on another disk.
	[ -z "$copy" ] || cp -al "$work/host" "$copy" 2>/dev/null || { rm -rf "$copy" && cp -a "$work/host" "$copy"; }
}

# build_host_tests: the qtests of what is in host/, in the build folder of a host that is built already. A stage.
build_host_tests() {
	local work
	work=$(qemu_work)
	lock "work-$(basename "$work")"
	in_qemu_build "$work" ninja -j"$jobs" tests/qtest/amd-psp-test tests/qtest/amd-psp-fuzz
}

# install_host WORK: the folder is replaced whole: who boots from a link to the old one goes on with it.
install_host() {
	local work=$1 bios
	rm -rf "$work/host.tmp"
	mkdir -p "$work/host.tmp/bin" "$work/host.tmp/share/qemu"
	ln "$work/src/build/qemu-system-x86_64" "$work/host.tmp/bin/"
	cp "$work"/src/build/pc-bios/optionrom/*.bin "$work/host.tmp/share/qemu/"
	for bios in /usr/share/seabios/bios-256k.bin /usr/share/qemu/bios-256k.bin; do
		[ ! -e "$bios" ] || break
	done
	cp "$bios" "$work/host.tmp/share/qemu/"
	# What another run or another tool was told of stays where it is while nothing has changed.
	if [ -d "$work/host" ] && diff -rq "$work/host.tmp" "$work/host" >/dev/null; then
		rm -rf "$work/host.tmp"
		return
	fi
	rm -rf "$work/host.old"
	[ ! -d "$work/host" ] || mv -T "$work/host" "$work/host.old"
	mv -T "$work/host.tmp" "$work/host"
	rm -rf "$work/host.old"
}
