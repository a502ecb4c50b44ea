# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Debian's binary packages, unpacked in the cache and never installed: what a user of SEV-SNP boots a guest with. By
# the same private apt configuration as the sources, and with the same rules: the newest that can be had.

# fetch_guest: QEMU with the libraries it needs, the firmware for SNP guests, and the kernel that the guest runs, which
# is an unmodified L1 kernel as well. A stage.
fetch_guest() {
	if [ -n "$dry_run" ]; then
		run apt-get install --download-only 'qemu-system-x86  # of trixie, with all that it depends on'
		run apt-get download 'ovmf-amdsev linux-image-6.12.*-amd64  # the newest, by a private apt configuration'
		return
	fi
	fetch_package guest-qemu closure 500 'qemu-system-x86, 10.0 or later' qemu_packages
	fetch_package guest-firmware firmware 20 'ovmf-amdsev' candidates '^ovmf-amdsev$'
	fetch_package guest-kernel image 500 'linux-image-6.12.*-amd64' candidates '^linux-image-6\.12\.[0-9]+\+deb1[23]-amd64$'
}

# fetch_package NAME KIND MIB WHAT COMMAND...: fetch_newest, of the lines that COMMAND prints.
fetch_package() {
	# refresh_lists'. No option stands for them.
	# shellcheck disable=SC2034  # fetch.sh's
	local fetched_what="a guest's QEMU, firmware and kernel" fetched_else
	fetched_else="copy $(tilde "$cache/base") from a machine that has them"
	lock "base-$1"
	if looked_up_lately "$1"; then return; fi
	lists_or_base "$1" || return 0
	fetch_newest "$1" "$2" "$3" < <("${@:5}")
	named_base "$1" || setup_error "expected a Debian package $4 that can be downloaded, found none" \
		"looked in $suites $security_suites"
}

# package_dir NAME: where it is.
package_dir() {
	if [ -n "$dry_run" ] && [ ! -s "$cache/base/$1.newest" ]; then printf '%s/base/%s…\n' "$cache" "$1"; return; fi
	printf '%s/base/%s\n' "$cache" "$(cat "$cache/base/$1.newest")"
}

# Of the release whose packages have what it depends on in the lists: a backport has not.
qemu_packages() {
	apt_private apt-cache madison qemu-system-x86 | awk '$3 ~ /^[0-9]+:[1-9][0-9]+\./ && $3 !~ /~bpo/ && $6 ~ /^trixie/ { print $1, $3 }' | uniq
}

# As if nothing were installed: everything that the package needs comes with it, from its own release.
get_closure() {
	mkdir -p archives/partial
	: >status
	apt_private apt-get -o Dir::State::status="$PWD/status" -o Debug::NoLocking=1 -o Dir::Cache::archives="$PWD/archives" \
		-o 'APT::Default-Release=/^trixie(-security)?$/' --no-install-recommends -y --download-only install "$1=$2"
}
unpack_closure() {
	local deb
	# What base-files has.
	mkdir -p src/usr/{bin,lib,lib64}
	ln -s usr/bin usr/lib usr/lib64 src/
	for deb in archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C src --no-same-owner --exclude='./usr/share/doc' --exclude='./usr/share/man' \
			--exclude='./usr/share/locale' || return
	done
}
closure_version() { "$1/usr/lib64/ld-linux-x86-64.so.2" --library-path "$(library_path "$1")" "$1/usr/bin/qemu-system-x86_64" --version | sed -n '1s/^QEMU emulator version \([0-9.]*\).*/\1/p'; }
library_path() { printf '%s/usr/lib/x86_64-linux-gnu' "$1"; }

get_firmware() { get_kernel "$@"; }
unpack_firmware() { mkdir src && dpkg-deb -x ./*.deb src; }
firmware_version() { find "$1" -name 'OVMF.amdsev.fd' -printf '%f\n'; }

get_image() { get_kernel "$@"; }
# The kernel and what is asked for of its modules: the package has 4,000 of them.
unpack_image() {
	mkdir src && dpkg-deb --fsys-tarfile ./*.deb | tar -x -C src --no-same-owner --wildcards './boot/vmlinuz-*' \
		'*/kernel/arch/x86/kvm/*' '*/kernel/virt/lib/*' '*/kernel/drivers/crypto/ccp/*' '*/kernel/drivers/virt/coco/*' \
		'*/kernel/fs/configfs/*' '*/kernel/crypto/*' '*/kernel/lib/crypto/*'
}
image_version() { find "$1/boot" -name 'vmlinuz-*' -printf '%f\n' | sed -n 's/^vmlinuz-//p'; }
