#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# image.sh TARGET [MIRROR]: makes the new folder TARGET the root of a Debian 12 that has all packages snplab needs, and the
# emulated host's QEMU built. A CI job in it begins with the kernel. As root; needs debootstrap. About 2 GB.
#
# MIRROR is debootstrap's: the address of a Debian archive. In a Dockerfile none of this is needed: see docs/ci/README.md.
set -eu

# Where a run in the image looks for what is built here; the image must set XDG_CACHE_HOME to it.
cache=/var/cache
# Where this repository is while the image is made.
place=/usr/src/snplab

stop() {
	printf 'image.sh: %s\n' "$1" >&2
	exit "${2:-3}"
}

case $# in
1 | 2) ;;
*) stop 'usage: image.sh TARGET [MIRROR]' 2 ;;
esac
[ "$(id -u)" -eq 0 ] || stop 'expected root: debootstrap and chroot need it'
command -v debootstrap >/dev/null || stop 'debootstrap is missing: apt-get install debootstrap'
[ ! -e "$1" ] || stop "expected a new folder, found $1: remove it, or name another" 2
# In a mount namespace of our own, so that nothing stays mounted, however this ends.
[ "${SNPLAB_IMAGE:-}" = inside ] || exec env SNPLAB_IMAGE=inside unshare --mount --propagation private "$0" "$@"

trap '[ $? -eq 0 ] || echo "image.sh: $1 is incomplete: remove it" >&2' EXIT
top=$(cd "$(dirname "$0")/../.." && pwd)
debootstrap --variant=minbase --include=ca-certificates,git,python3 bookworm "$@"
target=$(cd "$1" && pwd)
cp -L /etc/resolv.conf "$target/etc/resolv.conf"
mkdir -p "$target$place"
tar -C "$top" --exclude=./.git --exclude=./trees --exclude=./outgoing -c . | tar -C "$target$place" -x
mount -t proc proc "$target/proc"
XDG_CACHE_HOME=$cache HOME=/root LC_ALL=C.UTF-8 chroot "$target" "$place/snplab" host --install --print binary
chroot "$target" apt-get clean
rm -rf "${target:?}$place" "$target$cache"/snplab/*/runs
printf 'XDG_CACHE_HOME=%s\n' "$cache" >>"$target/etc/environment"
umount "$target/proc"
echo "$target is ready. For Docker:"
echo "tar -C $target -c . | docker import --change 'ENV XDG_CACHE_HOME=$cache' - snplab"
