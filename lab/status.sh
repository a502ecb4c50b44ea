#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Is a kernel tree fixed, open, leaking or not affected with regard to
# CVE-2026-31591? snp_launch_update_vmsa() must hold every vcpu->mutex while it
# encrypts the VMSAs, and let go of all of them on every way out.
#
# The questions are asked in SmPL, one file each in status/, so that it is the
# control flow that answers and not a line of text. This script chooses the
# functions to ask about and turns the answers into a verdict. What the rules
# cannot follow is "unknown", never a guess.
set -euo pipefail
export LC_ALL=C

me='snplab status'
cve='CVE-2026-31591'
target=snp_launch_update_vmsa

usage() {
	cat <<-'USAGE'
	usage: ./snplab status DIR [--json FILE]

	Says whether the Linux kernel tree in DIR is fixed with regard to
	CVE-2026-31591 (SNP launch finish must lock all vCPUs). The last lines of
	the output are the verdict, one line for each place it rests on:

	  fixed: FILE:LINE: ...      all vCPUs locked, unlocked on every path
	  open: FILE:LINE: ...       VMSAs are encrypted with vCPUs unlocked
	  leaking: FILE:LINE: ...    returns here with every vcpu->mutex held
	  broken: FILE:LINE: ...     unlocks here what is not locked
	  not affected: ...          there is no SNP launch code
	  unknown: ...               cannot be decided, and why

	Lines that begin with "note:" come before it.

	  --json FILE   also write the verdict to FILE, as JSON
	  -h, --help    this text

	Exit status: 0 fixed or not affected; 1 open, leaking or broken; 2 usage;
	3 cannot be decided, or not set up (the message says what to do).
	Needs coccinelle (spatch).
	USAGE
}

dir='' json='' work='' version='' verdict='' func=''
notes=() findings=()

# shellcheck disable=SC2317 # reached through trap
cleanup() {
	local pids
	pids=$(jobs -p)
	# shellcheck disable=SC2086 # one word per process id
	[[ -z $pids ]] || kill $pids 2>/dev/null || true
	wait 2>/dev/null || true
	[[ -z $work ]] || rm -rf -- "$work"
}

json_string() {
	local s=$1 i c out=''
	for ((i = 0; i < ${#s}; i++)); do
		c=${s:i:1}
		case $c in
		\" | \\) out+="\\$c" ;;
		[[:cntrl:]]) printf -v c '\\u%04x' "'$c"; out+=$c ;;
		*) out+=$c ;;
		esac
	done
	printf '"%s"' "$out"
}

# write_json STATUS MESSAGE
write_json() {
	[[ -n $json ]] || return 0
	local f file line text sep=''
	{
		printf '{\n  "verdict": %s,\n' "$(json_string "$verdict")"
		printf '  "exit": %d,\n' "$1"
		printf '  "cve": "%s",\n' "$cve"
		printf '  "tree": %s,\n' "$(json_string "$dir")"
		printf '  "linux": %s,\n' "$(json_string "$version")"
		printf '  "function": %s,\n' "$(json_string "$func")"
		printf '  "message": %s,\n' "$(json_string "$2")"
		printf '  "findings": ['
		for f in "${findings[@]}"; do
			IFS=$'\t' read -r file line text <<<"$f"
			printf '%s\n    {"file": %s, "line": %d, "message": %s}' "$sep" \
				"$(json_string "$file")" "$line" "$(json_string "$text")"
			sep=,
		done
		sep=''
		printf '],\n  "notes": ['
		for f in "${notes[@]}"; do
			printf '%s\n    %s' "$sep" "$(json_string "$f")"
			sep=,
		done
		printf ']\n}\n'
	} >"$json" || {
		printf '%s: cannot write %s: check that it is writable and the disk is not full\n' "$me" "$json" >&2
		exit 3
	}
}

bad_usage() {
	printf '%s: %s\n' "$me" "$1" >&2
	printf "Try 'snplab status --help'.\n" >&2
	exit 2
}

# cannot MESSAGE...: nothing can be said about this tree, or on this machine.
cannot() {
	verdict=error
	printf '%s: %s\n' "$me" "$1" >&2
	shift
	[[ $# -eq 0 ]] || printf '  %s\n' "$@" >&2
	write_json 3 'not set up, see the messages'
	exit 3
}

note() { notes+=("$1"); }
# found FILE LINE MESSAGE
found() { findings+=("$1"$'\t'"$2"$'\t'"$3"); }

# conclude WORD STATUS [MESSAGE]: prints the verdict and ends. MESSAGE is for
# verdicts that rest on no line of the tree.
conclude() {
	verdict=$1
	local f file line text
	for f in "${notes[@]}"; do printf 'note: %s\n' "$f"; done
	for f in "${findings[@]}"; do
		IFS=$'\t' read -r file line text <<<"$f"
		printf '%s: %s:%s: %s (linux %s)\n' "$verdict" "$file" "$line" "$text" "$version"
	done
	[[ $# -lt 3 ]] || printf '%s: %s (linux %s)\n' "$verdict" "$3" "$version"
	write_json "$2" "${3:-}"
	exit "$2"
}

# ask NAME RULE FILE [FUNCTION [HELPER [VIRTUAL]]]: runs one rule file and leaves
# the lines it marks in $work/NAME, as "number<TAB>text".
#
# "*" in SmPL marks what matched, and spatch shows it as a diff in which the
# marked lines are removed. That needs no Python or OCaml on the machine. It runs
# in our own folder, on a copy: a tree's or home's .cocciconfig must not have a
# say, and neither spaces in DIR nor a read-only DIR matter. --no-includes: the
# functions are judged by what they call, not by types.
ask() {
	local name=$1 rule=$2 file=$3
	local opts=(-D "func=${4:-$target}" -D "helper=${5:-sev_es_sync_vmsa}")
	[[ -z ${6:-} ]] || opts+=(-D "$6")
	(
		cd "$work"
		# cleanup() ends this shell; without the trap spatch would outlive it.
		trap 'kill "$pid" 2>/dev/null || true; exit 1' TERM
		HOME=. TMPDIR=. spatch --very-quiet --no-includes -U 0 --timeout 60 \
			--macro-file macros.h \
			"${opts[@]}" --sp-file "$rule.cocci" "$file" \
			>"$name.diff" 2>"$name.err" </dev/null &
		pid=$!
		wait "$pid" || {
			touch "$name.failed"
			exit 0
		}
		# "@@ -12,2 +11,0 @@" announces two lines, from number 12 on.
		awk '/^@@ -[0-9]/ { n = split($2, a, ","); line = -a[1]
				    left = n > 1 ? a[2] : 1; next }
		     left > 0 && /^-/ { print line++ "\t" substr($0, 2); left-- }' \
			"$name.diff" >"$name"
	) &
	asked+=("$name")
	# Two at a time keep two cores busy without taking over a bigger machine.
	while (($(jobs -pr | wc -l) >= 2)); do wait -n || true; done
}

# narrow WORDS IN OUT: copies a file with every top-level item that has none of
# WORDS blanked, so that spatch has a tenth to read. The numbers of the lines stay,
# and so do #if and its kin: what they take out must stay out. An item ends with
# a "}" in the first column, outside comments; one that ends in an unusual way is
# kept together with its neighbour, which costs time and nothing else.
narrow() {
	awk -v words="$1" '
		function flush(	i, keep) {
			keep = text ~ words
			for (i = 1; i <= n; i++)
				print keep || l[i] ~ /^[ \t]*#[ \t]*(if|el|endif)/ ? l[i] : ""
			n = 0; text = ""
		}
		{
			l[++n] = $0; text = text "\n" $0; s = $0
			while ((i = index(s, comment ? "*/" : "/*"))) {
				s = substr(s, i + 2); comment = !comment
			}
			if (!comment && /^}/) flush()
		}
		END { flush() }' "$work/$2" >"$work/$3"
}

# answers: waits for everything asked; a rule that did not run is no "no".
answers() {
	wait
	local name
	for name in "${asked[@]}"; do
		[[ ! -e $work/$name.failed && -e $work/$name ]] ||
			cannot "spatch failed on question '$name' about $src" \
				"it said: $(tail -n 3 "$work/$name.err" | tr '\n' ' ')" \
				"expected: spatch 1.1.1 or newer; found: $(spatch --version 2>&1 | head -n 1)"
	done
	asked=()
}

lines() { cut -f 1 "$work/$1" | sort -nu; }
yes() { [[ -s $work/$1 ]]; }
first() { lines "$1" | head -n 1; }
# unreadable FILE: the line of FILE where spatch gives up, if it does. What it
# cannot read it leaves out, and no rule would find anything wrong there.
unreadable() {
	(cd "$work" && HOME=. TMPDIR=. spatch --macro-file macros.h --parse-c "$1" >parse 2>&1 </dev/null) || true
	if ! grep -q 'nb bad = 0 ' "$work/parse"; then
		sed -nE 's/^ *= File "[^"]*", line ([0-9]+),.*/\1/p' "$work/parse" | grep -m 1 . || echo 1
	fi
}
# minus A B: the lines of A that are not in B
minus() { comm -23 <(lines "$1" | sort) <(lines "$2" | sort) | sort -n; }
text_at() { awk -F '\t' -v n="$2" '$1 == n { sub(/^[^\t]*\t[ \t]*/, ""); print; exit }' "$work/$1"; }
# names A: the function names on marked lines that begin a definition
names() { cut -f 2- "$work/$1" | sed -nE 's/^[^(]*\<([A-Za-z_][A-Za-z0-9_]*)[ \t]*(\(.*)?$/\1/p' | sort -u; }

# ---- what was asked for

while [[ $# -gt 0 ]]; do
	case $1 in
	-h | --help) usage; exit 0 ;;
	--json)
		[[ $# -ge 2 && -n $2 ]] || bad_usage '--json: expected a file name after it, found nothing'
		json=$2
		shift
		;;
	--json=?*) json=${1#--json=} ;;
	--)
		shift
		break
		;;
	-*) bad_usage "unknown option: $1" ;;
	*)
		[[ -z $dir ]] || bad_usage "expected one DIR, found '$dir' and '$1'"
		dir=$1
		;;
	esac
	shift
done
for arg in "$@"; do
	[[ -z $dir ]] || bad_usage "expected one DIR, found '$dir' and '$arg'"
	dir=$arg
done
[[ -n $dir ]] || bad_usage 'expected the top folder of a Linux kernel tree, found no DIR'
[[ -e $dir ]] || bad_usage "no such folder: $dir"
[[ -d $dir ]] || bad_usage "not a folder: $dir: give the top folder of a Linux kernel tree"
if [[ -n $json ]]; then
	[[ ! -d $json ]] || bad_usage "--json: $json is a folder: give the name of a file"
	[[ -d $(dirname -- "$json") ]] || bad_usage "--json: no such folder: $(dirname -- "$json")"
fi

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# A name that begins with a dash would be taken for an option further down.
case $dir in /*) top=$dir ;; *) top=./$dir ;; esac

# ---- is it a kernel tree?

kernel_parts() {
	grep -qsE '^VERSION[[:space:]]*=' "$1/Makefile" && grep -qsE '^PATCHLEVEL[[:space:]]*=' "$1/Makefile"
}

if ! { kernel_parts "$top" && [[ -e $top/Kbuild && -d $top/arch/x86/kvm ]]; }; then
	have=() miss=()
	if kernel_parts "$top"; then have+=('Makefile with VERSION and PATCHLEVEL'); else miss+=('Makefile with VERSION and PATCHLEVEL'); fi
	if [[ -e $top/Kbuild ]]; then have+=(Kbuild); else miss+=(Kbuild); fi
	if [[ -d $top/arch/x86/kvm ]]; then have+=(arch/x86/kvm); else miss+=(arch/x86/kvm); fi
	join() { local out; printf -v out '%s, ' "$@"; printf '%s' "${out%, }"; }
	hint='give the top folder of an unpacked kernel source tree'
	up=$(cd -- "$top" && pwd)
	while [[ $up != / && -n $up ]]; do
		up=$(dirname -- "$up")
		if kernel_parts "$up" && [[ -d $up/arch/x86/kvm ]]; then
			hint="did you mean $up ?"
			break
		fi
	done
	for sub in "$top"/*/; do
		if kernel_parts "$sub" && [[ -d ${sub}arch/x86/kvm ]]; then
			hint="did you mean ${sub%/} ?"
			break
		fi
	done
	if kernel_parts "$top" && [[ ! -d $top/arch/x86/kvm ]]; then
		hint='it is a kernel tree without KVM for x86: complete the checkout (git sparse-checkout disable), or unpack the whole source'
	fi
	cannot "$dir is not a complete Linux kernel tree" \
		'looked for: Makefile with VERSION and PATCHLEVEL, Kbuild, arch/x86/kvm' \
		"found: $( ((${#have[@]})) && join "${have[@]}" || printf 'none of them')" \
		"missing: $(join "${miss[@]}")" \
		"to do: $hint"
fi

makevar() { sed -nE "s/^$1[[:space:]]*=[[:space:]]*([^[:space:]#]*).*/\1/p" "$top/Makefile" | head -n 1; }
major=$(makevar VERSION) minor=$(makevar PATCHLEVEL)
version=$major.$minor
sub=$(makevar SUBLEVEL)
[[ -z $sub ]] || version+=.$sub
version+=$(makevar EXTRAVERSION)

# ---- which file has SNP's launch code?

# Text is good enough to say that there is none: code cannot be without the words.
# That there is some is for the rules to say.
words='SNP_PAGE_TYPE_VMSA|snp_launch_update_vmsa|SEV_CMD_SNP_LAUNCH_UPDATE'
mapfile -t candidates < <(cd -- "$top" && { grep -rlE --include='*.c' "$words" arch/x86/kvm || true; } 2>/dev/null | sort)

src=arch/x86/kvm/svm/sev.c
if [[ ${#candidates[@]} -eq 0 ]]; then
	amd=''
	for f in "$src" arch/x86/kvm/svm/svm.c arch/x86/kvm/svm.c; do
		if [[ -r $top/$f ]]; then
			amd=$f
			break
		fi
	done
	if [[ -z $amd ]]; then
		conclude unknown 3 "arch/x86/kvm has no SNP launch code, but no AMD code at all either: looked for $src, arch/x86/kvm/svm/svm.c and arch/x86/kvm/svm.c; complete the tree, or look where they went"
	fi
	if [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] && ((major > 6 || (major == 6 && minor >= 11))); then
		conclude unknown 3 "no SNP launch code in arch/x86/kvm, which has had it since 6.11: it was taken out or moved (git grep -n SNP_PAGE_TYPE_VMSA)"
	fi
	conclude 'not affected' 0 "no SNP launch code: $amd and its neighbours have no $target() and issue no SNP launch command"
fi

command -v spatch >/dev/null ||
	cannot 'spatch is missing: the control flow is checked with coccinelle' \
		'to do: apt-get install coccinelle'

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
work=$(mktemp -d "${TMPDIR:-/tmp}/snplab-status.XXXXXX")
cp -- "$here"/status/*.cocci "$here"/status/macros.h "$work"/
asked=()

keep="$words|sev_es_sync_vmsa"
for i in "${!candidates[@]}"; do
	src=${candidates[i]}
	cat -- "$top/$src" >"$work/$i.full.c" ||
		cannot "cannot read $dir/$src" 'to do: check its permissions'
	narrow "$keep" "$i.full.c" "$i.c"
	ask "launch.$i" launch "$i.c"
	n=$(unreadable "$i.c")
	[[ -z $n ]] || found "$src" "$n" "coccinelle cannot read this, and SNP launch code is here or near: see spatch --parse-c, check by hand"
done
answers
[[ ${#findings[@]} -eq 0 ]] || conclude unknown 3

# The function's own name decides; contents only where no file has the name.
named=() like=()
for i in "${!candidates[@]}"; do
	mapfile -t fs < <(names "launch.$i")
	for f in "${fs[@]}"; do
		if [[ $f == "$target" ]]; then named+=("$i"); else like+=("$i $f"); fi
	done
done
if [[ ${#named[@]} -eq 1 ]]; then
	pick=${named[0]} func=$target
elif [[ ${#named[@]} -eq 0 && ${#like[@]} -eq 1 ]]; then
	read -r pick func <<<"${like[0]}"
elif [[ ${#named[@]} -eq 0 && ${#like[@]} -eq 0 ]]; then
	if [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] && ((major > 6 || (major == 6 && minor >= 11))); then
		conclude unknown 3 "${candidates[0]} mentions SNP launch, but no function encrypts VMSAs in a way known here: check by hand"
	fi
	conclude 'not affected' 0 "no SNP launch code: ${candidates[0]} only mentions it"
else
	for f in "${like[@]}"; do
		read -r i f <<<"$f"
		found "${candidates[i]}" "$(first "launch.$i")" "$f() encrypts VMSAs, and it is not the only one: this arrangement is not known here, check by hand"
	done
	for i in "${named[@]}"; do
		found "${candidates[i]}" "$(first "launch.$i")" "$target() is defined here, and not only here: check by hand"
	done
	conclude unknown 3
fi
src=${candidates[pick]}
file=$pick.c
# Its callers are wanted too, whatever it is called.
keep+="|$func"
narrow "$keep" "$pick.full.c" "$file"
defline=$(awk -F '\t' -v f="$func" '$2 ~ "(^|[^A-Za-z0-9_])" f "[ \t]*([(]|$)" { print $1; exit }' "$work/launch.$pick")

# ---- who does the work, who calls it, who locks?

ask helper helper "$file" "$func"
ask caller caller "$file" "$func"
ask lock lock "$file" "$func"
ask foreign foreign "$file" "$func"
answers

helper=''
mapfile -t helpers < <(names helper)
if [[ ${#helpers[@]} -gt 1 ]]; then
	found "$src" "$(first helper)" "$func() leaves the encryption to more than one function (${helpers[*]}): check by hand"
	conclude unknown 3
fi
[[ ${#helpers[@]} -eq 0 ]] || helper=${helpers[0]}

mapfile -t callers < <(names caller)
for f in "${callers[@]}"; do keep+="|$f"; done
narrow "$keep" "$pick.full.c" "$file"
n=$(unreadable "$file")
if [[ -n $n ]]; then
	found "$src" "$n" "coccinelle cannot read this, and a caller of $func() is here or near: see spatch --parse-c, check by hand"
	conclude unknown 3
fi
ask site site "$file" "$func" "$helper"
for f in "${callers[@]}"; do
	ask "lock.$f" lock "$file" "$f"
	ask "foreign.$f" foreign "$file" "$f"
	ask "caller.$f" caller "$file" "$f"
done
if [[ -n $helper ]]; then
	ask lock.helper lock "$file" "$helper"
	ask unlock.helper unlock "$file" "$helper"
	ask helper.helper helper "$file" "$helper"
fi
answers

if [[ $(grep -cE "(^|[^A-Za-z0-9_])${func}[[:space:]]*([(]|\$)" "$work/launch.$pick") -gt 1 ]]; then
	found "$src" "$defline" "$func() is defined here and again further down, for another configuration: check by hand"
	conclude unknown 3
fi
if ! yes site; then
	found "$src" "$defline" "$func() is here, but not where it encrypts a VMSA (sev_es_sync_vmsa(), SEV_CMD_SNP_LAUNCH_UPDATE): this shape is not known here, check by hand"
	conclude unknown 3
fi
if [[ -n $helper ]]; then
	for q in lock.helper unlock.helper; do
		if yes $q; then
			found "$src" "$(first $q)" "$helper(), called for one vCPU, locks or unlocks all of them: this shape is not known here, check by hand"
			conclude unknown 3
		fi
	done
	if yes helper.helper; then
		found "$src" "$(first helper.helper)" "$helper() leaves the encryption to yet another function: this shape is not known here, check by hand"
		conclude unknown 3
	fi
fi

# The function with the lock is the one to judge. One level up will do, if all
# its callers are that one function.
site_func=$func
locked_above=''
for f in "${callers[@]}"; do
	! yes "lock.$f" || locked_above=$f
done
if [[ -n $locked_above ]]; then
	if yes lock || [[ ${#callers[@]} -gt 1 ]]; then
		found "$src" "$(first "lock.$locked_above")" "$locked_above() locks the vCPUs and calls $func(), which is locked or called elsewhere too: check by hand"
		conclude unknown 3
	fi
	# What is below the lock is one step now, provided that it does not lock.
	if yes foreign; then
		n=$(first foreign)
		found "$src" "$n" "$func() locks or unlocks in a way that is not known here: $(text_at foreign "$n")"
		conclude unknown 3
	fi
	site_func=$locked_above
	step=$func
	cp "$work/lock.$site_func" "$work/lock"
else
	step=$helper
fi

# ---- no lock: open, unless something else does the locking

if ! yes lock; then
	ask foreign foreign "$file" "$func" "$step" nolock
	ask onevcpu onevcpu "$file" "$func" "$step"
	if [[ -n $helper ]]; then
		ask foreign.helper foreign "$file" "$helper" '' nolock
		ask onevcpu.helper onevcpu "$file" "$helper"
	else
		: >"$work/foreign.helper"
		: >"$work/onevcpu.helper"
	fi
	up=()
	for f in "${callers[@]}"; do
		mapfile -t fs < <(names "caller.$f")
		for g in "${fs[@]}"; do
			ask "up.$g" lock "$file" "$g"
			up+=("$g")
		done
	done
	answers
	cat "$work/foreign" "$work/foreign.helper" >"$work/foreign.all"
	cat "$work/onevcpu" "$work/onevcpu.helper" >"$work/onevcpu.all"
	for f in "${callers[@]}"; do cat "$work/foreign.$f" >>"$work/foreign.all"; done
	for f in "${up[@]}"; do cat "$work/up.$f" >>"$work/foreign.all"; done
	mapfile -t strange < <(minus foreign.all onevcpu.all)
	if [[ ${#strange[@]} -gt 0 ]]; then
		for n in "${strange[@]}"; do
			found "$src" "$n" "$func() is not locked with kvm_lock_all_vcpus(), but something is locked or unlocked here that is not known here, check by hand: $(text_at foreign.all "$n")"
		done
		conclude unknown 3
	fi
	if yes onevcpu.all; then
		mapfile -t one < <(lines onevcpu.all)
		for n in "${one[@]}"; do
			found "$src" "$n" "only one vCPU is locked here: $func() encrypts VMSAs while the others are unlocked, $cve"
		done
		conclude open 1
	fi
	# Nobody calls it here, so the lock could be with a caller elsewhere.
	if [[ ${#callers[@]} -eq 0 ]]; then
		found "$src" "$defline" "$func() does not lock the vCPUs, and no caller of it is in this file that could: check by hand"
		conclude unknown 3
	fi
	found "$src" "$defline" "$func() encrypts VMSAs without the vCPUs locked (first at line $(first site)), $cve"
	conclude open 1
fi

# ---- a lock: does it cover the encryption, and is it released?

ask unlocked unlocked "$file" "$site_func" "$step"
ask understood understood "$file" "$site_func"
ask leak leak "$file" "$site_func"
ask notheld notheld "$file" "$site_func"
ask conditional conditional "$file" "$site_func"
ask creation creation "$file" "$site_func"
ask unlock unlock "$file" "$site_func"
ask foreign foreign "$file" "$site_func"
if [[ -n $helper ]]; then
	ask foreign.helper foreign "$file" "$helper"
else
	: >"$work/foreign.helper"
fi
main=virt/kvm/kvm_main.c
if [[ -r $top/$main ]] && grep -q kvm_lock_all_vcpus "$top/$main"; then
	cat -- "$top/$main" >"$work/main.full.c"
	narrow kvm_lock_all_vcpus main.full.c main.c
	ask creation.main creation main.c kvm_lock_all_vcpus
	answers
	if ! yes creation && ! yes creation.main; then
		note "a vCPU whose creation is in progress is refused neither by $site_func() nor by kvm_lock_all_vcpus(): no lock holds it (kvm_is_vcpu_creation_in_progress())"
	fi
else
	answers
	note "kvm_lock_all_vcpus() is called, but $main does not have it: this tree may not build"
fi

# SmPL sees both sides of an #if as if they were always there. A lock that only
# some configurations have is no lock, so look which lines are conditional.
cat "$work/launch.$pick" "$work/caller" | awk -F '\t' -v f="$site_func" \
	'$2 ~ "(^|[^A-Za-z0-9_])" f "[ \t]*([(]|$)" { print $1 }' >"$work/start"
awk 'NR == FNR { start[$1]; next }
     FNR in start { inside = 1; depth = 0 }
     inside && /^[ \t]*#[ \t]*if/ { depth++ }
     inside && /^[ \t]*#[ \t]*endif/ { depth-- }
     inside && depth > 0 { print FNR "\t" $0 }
     /^}/ { inside = 0 }' "$work/start" "$work/$file" >"$work/conditionally"
mapfile -t at < <(cat "$work/lock" "$work/unlock" | cut -f 1 | grep -xFf <(lines conditionally) | sort -nu || true)
if [[ ${#at[@]} -gt 0 ]]; then
	for n in "${at[@]}"; do
		found "$src" "$n" "$site_func() locks or unlocks under an #if: what it does depends on the configuration, check by hand"
	done
	conclude unknown 3
fi

mapfile -t at < <(lines unlocked)
if [[ ${#at[@]} -gt 0 ]]; then
	for n in "${at[@]}"; do
		found "$src" "$n" "$site_func() gets here, where a VMSA is encrypted, with the vCPUs unlocked on at least one path, $cve"
	done
	conclude open 1
fi

cat "$work/foreign" "$work/foreign.helper" >"$work/foreign.all"
mapfile -t at < <(lines foreign.all)
if [[ ${#at[@]} -gt 0 ]]; then
	for n in "${at[@]}"; do
		found "$src" "$n" "locks or unlocks something beside kvm_lock_all_vcpus(), which is not known here, check by hand: $(text_at foreign.all "$n")"
	done
	conclude unknown 3
fi

mapfile -t at < <(minus lock understood)
if [[ ${#at[@]} -gt 0 ]]; then
	for n in "${at[@]}"; do
		found "$src" "$n" "kvm_lock_all_vcpus() is called in a shape that is not known here (expected: on this function's kvm, result tested at once, failure returns), check by hand"
	done
	conclude unknown 3
fi

mapfile -t at < <(lines conditional)
if [[ ${#at[@]} -gt 0 ]]; then
	for n in "${at[@]}"; do
		found "$src" "$n" "unlocks under a condition that cannot be followed from here: check by hand that it holds exactly when the vCPUs are locked"
	done
	conclude unknown 3
fi

mapfile -t at < <(lines notheld)
if [[ ${#at[@]} -gt 0 ]]; then
	for n in "${at[@]}"; do
		found "$src" "$n" "$site_func() gets here, where it unlocks the vCPUs, with the vCPUs not locked on at least one path"
	done
	conclude broken 1
fi

mapfile -t at < <(lines leak)
if [[ ${#at[@]} -gt 0 ]]; then
	why='on at least one path'
	yes unlock || why='and never unlocks them'
	for n in "${at[@]}"; do
		found "$src" "$n" "$site_func() returns here with every vcpu->mutex held $why (locked at line $(first lock))"
	done
	conclude leaking 1
fi

# Nothing wrong found is not yet "right": locked without an unlock anywhere would
# be a leak that no rule saw.
if ! yes unlock; then
	found "$src" "$(first lock)" "$site_func() locks all vCPUs, but neither an unlock nor a return without it was found: check by hand"
	conclude unknown 3
fi
above=''
[[ $site_func == "$func" ]] || above=" around $func()"
found "$src" "$(first lock)" "$site_func() locks all vCPUs$above and unlocks them on every path"
conclude fixed 0
