# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The programs that the lab needs: looked for first; what is missing is installed where that is
# possible (Debian, root), named together with its package where it is not.

# missing PURPOSE...: a line "what<TAB>package" for each thing that is not here.
missing() {
	local purpose what package place found
	while IFS=$'\t' read -r purpose what package; do
		case $purpose in '' | '#'*) continue ;; esac
		[[ " $* " == *" $purpose "* ]] || continue
		found=
		for place in ${what//,/ }; do
			case $place in
			static:*) is_static "${place#static:}" && found=1 ;;
			/*) compgen -G "$place" >/dev/null && found=1 ;;
			*) command -v "$place" >/dev/null && found=1 ;;
			esac
		done
		[ -n "$found" ] || printf '%s\t%s\n' "$what" "$package"
	done <"${lab:?}/deps.list" | sort -u
}

# is_static PROGRAM: is it there, and names no loader of libraries in its first page?
is_static() {
	local file
	file=$(command -v "$1") && ! head -c 4096 "$file" | LC_ALL=C grep -aE '/lib(64)?/ld-[A-Za-z0-9._-]+\.so' >/dev/null
}

debian() { grep -qsx 'ID=debian' /etc/os-release; }

# install_missing PURPOSE...: a stage.
install_missing() {
	local lacking packages
	lacking=$(missing "$@")
	[ -n "$lacking" ] || return 0
	mapfile -t packages < <(cut -f2 <<<"$lacking" | sort -u)
	if ! debian || ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
		setup_error "not found: $(cut -f1 <<<"$lacking" | paste -sd' ')" \
			"install them; Debian's packages are: ${packages[*]}"
	fi
	tell "installing ${packages[*]}"
	lock apt-install
	export DEBIAN_FRONTEND=noninteractive
	local apt=(apt-get -o DPkg::Lock::Timeout=300 -o APT::Update::Error-Mode=any -y)
	# What an earlier, interrupted installation left half-configured.
	[ -n "$dry_run" ] || dpkg --configure -a
	# A machine's own lists may be empty or old: refreshed when they do not give the packages.
	if ! run "${apt[@]}" install --no-install-recommends "${packages[@]}"; then
		run "${apt[@]}" update ||
			setup_error 'apt-get update failed: the package lists could not be read' \
				'check the network and the apt sources; what apt said is in the log'
		run "${apt[@]}" install --no-install-recommends "${packages[@]}" ||
			setup_error "apt-get could not install ${packages[*]}" 'what apt said is in the log'
	fi
	[ -n "$dry_run" ] && return
	lacking=$(missing "$@")
	[ -z "$lacking" ] || setup_error "still not found after installing: $(cut -f1 <<<"$lacking" | paste -sd' ')" \
		"expected the packages ${packages[*]} to bring them"
}
