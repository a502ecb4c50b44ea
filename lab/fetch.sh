# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Kernel sources from Debian's linux-source-* packages, QEMU's from its source package, whatever suites the machine has enabled:
# a private apt configuration (own sources list, own lists, own archive folder) leaves the machine's
# alone. The mirror is the one that the machine's own apt uses.

# Where each is to be found; the newest version wins, wherever it is.
suites='trixie trixie-backports testing unstable bookworm-backports'
security_suites='trixie-security bookworm-security'
# Source packages: of the release whose QEMU it is.
source_suites='trixie trixie-security'
# The package lists are looked at again after this many minutes.
lists_age=720

# package_regex TREE: the source packages that a tree can be built on.
package_regex() {
	case $1 in
	6.12.y) echo '^linux-source-6\.12$' ;;
	mainline) echo '^linux-source-7\.[0-9]+$' ;;
	*) echo "^linux-source-${1//./\\.}\$" ;;
	esac
}

apt_private() {
	local tool=$1 d
	shift
	d=$(cache_dir apt)
	"$tool" -o Dir::Etc::sourcelist="$d/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::State::lists="$d/lists" -o Dir::Cache="$d/cache" \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
		-o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 \
		-o APT::Architecture=amd64 -o APT::Sandbox::User=root "$@"
}

# mirrors: the archive's address, then the security archive's (or nothing): from apt's own reading of
# its sources, so that a commented-out line or a disabled entry is not taken for a mirror.
mirrors() {
	# shellcheck disable=SC2016  # apt's variables, not the shell's
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
	awk '
		$3 != "main" { next }
		$2 ~ /^(bookworm|trixie|forky|duke|sid|stable|oldstable|testing|unstable)(-updates|-backports)?$/ {
			n[$1]++
			if (!($1 in at)) at[$1] = NR
		}
		$2 ~ /-security$/ && !sec { sec = $1 }
		END {
			# A third party may call its suite bookworm as well: Debian has the most of them.
			for (u in n) if (!best || n[u] > n[best] || (n[u] == n[best] && at[u] < at[best])) best = u
			if (!best) exit 1
			if (!sec && best ~ /\/debian\/$/) { sec = best; sub(/debian\/$/, "debian-security/", sec) }
			print best; print sec
		}'
}

# refresh_lists: reads the package lists when they are older than lists_age; not being able to is an
# error only if there are no lists at all. Where it is not for sources: fetched_what says for what, fetched_else what
# there is to do instead.
refresh_lists() {
	local d all archive security suite
	d=$(cache_dir apt)
	# Another tree's fetch reads the same lists.
	lock apt
	# A cache from before the lab read source packages has no lists of them.
	if [ -z "$(find "$d/fresh" -mmin -$lists_age 2>/dev/null)" ] || ! grep -qs '^deb-src ' "$d/sources.list"; then
		if ! debian || ! command -v apt-get >/dev/null; then
			setup_error "${fetched_what:-the sources of kernels and QEMU} come from Debian packages, and this machine is no Debian" \
				"${fetched_else:-give source trees of your own: --linux DIR and --qemu DIR}"
		fi
		all=$(mirrors) || setup_error "expected an enabled Debian archive in this machine's apt sources, found none" \
			"add one; or ${fetched_else:-give source trees of your own: --linux DIR and --qemu DIR}"
		archive=$(sed -n 1p <<<"$all") security=$(sed -n 2p <<<"$all")
		# apt does not fail on a full disk, it hangs.
		need_space "$d" 300 'reading the package lists'
		mkdir -p "$d/lists/partial" "$d/cache/archives/partial"
		for suite in $suites; do echo "deb $archive $suite main"; done >"$d/sources.list"
		[ -z "$security" ] || for suite in $security_suites; do echo "deb $security $suite main"; done >>"$d/sources.list"
		for suite in $source_suites; do
			case $suite in
			*-security) [ -z "$security" ] || echo "deb-src $security $suite main" ;;
			*) echo "deb-src $archive $suite main" ;;
			esac
		done >>"$d/sources.list"
		if apt_private apt-get -o APT::Update::Error-Mode=any update; then
			touch "$d/fresh"
		elif ! ls "$d"/lists/*_Packages* >/dev/null 2>&1; then
			out_of_space "$d"
			setup_error 'no package lists could be read: the network or the mirror does not answer' \
				"check the network and apt's sources; what apt said is in the log" \
				"without a network: ${fetched_else:---linux DIR and --qemu DIR take source trees that are there}"
		else
			tell 'not every package list could be refreshed: going on with what is there'
		fi
	fi
}

out_of_space() {
	local free
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free" -gt 300 ] || setup_error "no space left in $(tilde "$1"): $free MiB are free" \
		"free some, or set XDG_CACHE_HOME to a larger disk"
}

# candidates REGEX: "package version" for all that the lists have, newest first.
candidates() {
	local p
	for p in $(apt_private apt-cache search --names-only "$1" | cut -d' ' -f1 | sort -rV); do
		apt_private apt-cache madison "$p" | awk -v p="$p" '{ print p, $3 }' | uniq
	done
}

# named_base NAME: cache/base/NAME.newest names what is there.
named_base() { [ -s "$cache/base/$1.newest" ] && [ -d "$cache/base/$(cat "$cache/base/$1.newest")" ]; }
# Asked once a day: a warm run does not wait for apt.
looked_up_lately() { named_base "$1" && [ -n "$(find "$cache/base/$1.newest" -mmin -$lists_age)" ]; }

# lists_or_base NAME: refreshed package lists; false where there is no network and what NAME.newest names will do.
lists_or_base() {
	if (refresh_lists) 2>&1; then return; fi
	named_base "$1" || exit "$EX_SETUP"
	# shellcheck disable=SC2031  # set by the stage that this runs in
	rm -f "$stage_error"
	tell "no network: going on with $(cat "$cache/base/$1.newest")"
	return 1
}

# fetch_newest NAME KIND MIB: of the "package version" lines that it reads, makes the first that can be downloaded
# cache/base/<package>_<version>, and lets cache/base/NAME.newest name it. Of KIND are get_KIND and unpack_KIND
# PACKAGE VERSION, in a folder of their own, the latter into src, and KIND_version.
fetch_newest() {
	local what=$1 kind=$2 space=$3 base package version name d
	base=$(cache_dir base)
	while read -r package version; do
		name=$(slug "${package}_${version#*:}")
		if [ ! -d "$base/$name" ]; then
			# Of a run that was killed: nobody else works here while the lock is held.
			rm -rf "$base/.${package}_"*.??????
			need_space "$base" "$space" "unpacking and building $package"
			d=$(mktemp -d "$base/.$name.XXXXXX")
			scratch=$d
			trap 'rm -rf "$scratch"' EXIT
			# apt checks the sums that the signed index gives.
			if ! (cd "$d" && "get_$kind" "$package" "$version"); then
				out_of_space "$d"
				# An index can list what is gone from the archive.
				tell "$package $version cannot be downloaded: trying the next older one"
				rm -rf "$d"
				continue
			fi
			if ! (cd "$d" && "unpack_$kind" "$package" "$version"); then
				out_of_space "$d"
				setup_error "$package $version could not be unpacked" 'what was said is in the log; run again'
			fi
			[ -n "$("${kind}_version" "$d/src")" ] ||
				setup_error "$package $version: expected a source tree in it, found none"
			# Only whole trees get their name.
			mv -T "$d/src" "$base/$name"
			rm -rf "$d"
			trap - EXIT
		fi
		printf '%s\n' "$name" >"$base/$what.newest.tmp"
		mv "$base/$what.newest.tmp" "$base/$what.newest"
		return
	done
}

get_kernel() { apt_private apt-get download "$1=$2"; }
unpack_kernel() {
	dpkg-deb --fsys-tarfile ./*.deb | tar -xO "./usr/src/$1.tar.xz" | xz -dc -T0 | tar -x --no-same-owner && mv "$1" src
}

# fetch_base TREE: the newest kernel source for it, unpacked. A stage.
fetch_base() {
	local tree=$1
	if [ -n "$dry_run" ]; then
		run apt-get download "$(package_regex "$tree")  # the newest, by a private apt configuration"
		run tar -C "$(cache_dir base)" -xf '…/usr/src/linux-source-*.tar.xz'
		return
	fi
	lock "base-$tree"
	if looked_up_lately "$tree"; then return; fi
	lists_or_base "$tree" || return 0
	fetch_newest "$tree" kernel 6000 < <(candidates "$(package_regex "$tree")")
	named_base "$tree" ||
		setup_error "expected a Debian package that matches $(package_regex "$tree") and can be downloaded, found none" \
			"looked in $suites $security_suites" 'give a kernel source tree of your own: --linux DIR'
}

# base_of TREE: the path of the unpacked source.
base_of() {
	if [ -n "${linux_dir:-}" ]; then printf '%s\n' "$linux_dir"; return; fi
	if [ -n "$dry_run" ] && [ ! -s "$cache/base/$1.newest" ]; then printf '%s/base/linux-source-…\n' "$cache"; return; fi
	printf '%s/base/%s\n' "$cache" "$(cat "$cache/base/$1.newest")"
}
