#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Does lab/status.sh tell a fixed tree from an open one? Each file in status/ is
# the SNP part of a sev.c, small, with what is expected of it in its head:
#
#   // expect: WORD      the verdict
#   // says: TEXT        (optional) what its lines must contain
#   // linux: VERSION    (optional) the tree's version, 6.12.99 otherwise
#   // alone             (optional) without head.inc and tail.inc around it
#
# and with /* HERE */ on every line that the verdict must name, and on no other.
# Prints TAP. Exit status: 0 all passed, 1 a case failed, 4 skipped (no spatch).
#
# usage: tests/status.sh [GLOB]   cases whose name matches GLOB (default: all)
# STATUS_SH=FILE tries another status.sh, to see this test fail.
set -euo pipefail
export LC_ALL=C

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
status=${STATUS_SH:-$here/../lab/status.sh}
glob=${1:-*}

if ! command -v spatch >/dev/null; then
	echo '1..0 # SKIP spatch is missing: apt-get install coccinelle'
	exit 4
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/snplab-test-status.XXXXXX")
trap 'chmod -R u+w -- "$work"; rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# Whatever status.sh leaves behind is to be seen.
mkdir "$work/tmp"
export TMPDIR=$work/tmp

count=0 failures=0 rc=0

# tree DIR VERSION: the least that is a kernel tree
tree() {
	local v
	IFS=. read -r -a v <<<"$2"
	mkdir -p "$1/arch/x86/kvm/svm"
	printf '# SPDX-License-Identifier: GPL-2.0\nVERSION = %s\nPATCHLEVEL = %s\nSUBLEVEL = %s\nEXTRAVERSION =\n' \
		"${v[0]}" "${v[1]}" "${v[2]}" >"$1/Makefile"
	echo '# SPDX-License-Identifier: GPL-2.0' >"$1/Kbuild"
}

# source_of CASE: the fixture as a whole file
source_of() {
	local f=$here/status/$1.c
	if grep -q '^// alone$' "$f"; then
		cat "$f"
		return
	fi
	cat "$here/status/head.inc" "$f"
	# A fixture with a caller of its own brings its own end.
	grep -q '^static int snp_launch_finish(' "$f" || cat "$here/status/tail.inc"
}

field() { sed -n "s|^// $2: ||p" "$here/status/$1.c"; }

# run ARG...: status.sh, its output in $work/out and $work/err, its status in $rc
run() {
	rc=0
	"$status" "$@" >"$work/out" 2>"$work/err" || rc=$?
}

# check NAME PROBLEM...: one case; without a PROBLEM it passed
check() {
	local name=$1
	shift
	count=$((count + 1))
	if [[ $# -eq 0 ]]; then
		printf 'ok %d - %s\n' "$count" "$name"
		return
	fi
	failures=$((failures + 1))
	printf 'not ok %d - %s\n' "$count" "$name"
	printf '# %s\n' "$@"
	sed 's/^/#   stdout: /' "$work/out"
	sed 's/^/#   stderr: /' "$work/err"
}

# wanted NAME: is the case asked for?
wanted() {
	# shellcheck disable=SC2053 # a pattern is what it is
	[[ $1 == $glob ]]
}

sev=arch/x86/kvm/svm/sev.c

# ---- one case for each fixture

for f in "$here"/status/*.c; do
	name=$(basename "$f" .c)
	wanted "$name" || continue
	expect=$(field "$name" expect)
	says=$(field "$name" says)
	version=$(field "$name" linux)
	version=${version:-6.12.99}
	t=$work/$name
	tree "$t" "$version"
	source_of "$name" >"$t/$sev"
	run "$t"

	problems=()
	case $expect in
	fixed | 'not affected') want=0 ;;
	open | leaking | broken) want=1 ;;
	unknown) want=3 ;;
	*) want=-1 problems+=("the fixture expects '$expect', which is no verdict") ;;
	esac
	[[ $rc -eq $want ]] || problems+=("exit status: expected $want, found $rc")
	[[ ! -s $work/err ]] || problems+=('expected nothing on stderr')
	verdicts=$(grep -v '^note: ' "$work/out" || true)
	[[ -n $verdicts ]] || problems+=('no verdict at all')
	strangers=$(grep -v "^$expect: " <<<"$verdicts" || true)
	[[ -z $strangers ]] || problems+=("expected '$expect: ' only, found: $strangers")
	bad=$(grep -vF "(linux $version)" <<<"$verdicts" || true)
	[[ -z $bad ]] || problems+=("expected (linux $version) in: $bad")
	if [[ -n $says ]]; then
		bad=$(grep -vF -- "$says" <<<"$verdicts" || true)
		[[ -z $bad ]] || problems+=("expected '$says' in: $bad")
	fi
	here_lines=$(grep -nF '/* HERE */' "$t/$sev" | cut -d : -f 1 | tr '\n' ' ' || true)
	told=$(sed -nE "s|^$expect: $sev:([0-9]+): .*|\1|p" "$work/out" | sort -n | tr '\n' ' ')
	[[ $told == "$here_lines" ]] || problems+=("lines of $sev: expected '${here_lines% }', found '${told% }'")
	check "$name: $expect" "${problems[@]}"
done

# ---- trees

# simple NAME STATUS STDOUT-PATTERN STDERR-PATTERN ARG...: patterns are grep -E,
# an empty one means that nothing may be there
simple() {
	local name=$1 want=$2 out=$3 err=$4 problems=()
	shift 4
	run "$@"
	[[ $rc -eq $want ]] || problems+=("exit status: expected $want, found $rc")
	if [[ -n $out ]]; then
		grep -qE -- "$out" "$work/out" || problems+=("stdout: expected /$out/")
	elif [[ -s $work/out ]]; then
		problems+=('stdout: expected nothing')
	fi
	if [[ -n $err ]]; then
		grep -qE -- "$err" "$work/err" || problems+=("stderr: expected /$err/")
	elif [[ -s $work/err ]]; then
		problems+=('stderr: expected nothing')
	fi
	check "$name" "${problems[@]}"
}

# line CASE: the number of the (first) marked line of the whole file
line() { source_of "$1" | grep -nF '/* HERE */' | head -n 1 | cut -d : -f 1; }

spaced="$work/a tree (with) spaces & 'quotes'"
tree "$spaced" 6.12.99
source_of fixed >"$spaced/$sev"
fixed_line=$(line fixed)
good="^fixed: $sev:$fixed_line: "

if wanted odd-path; then
	simple 'odd-path: spaces, brackets and quotes in DIR' 0 "$good" '' "$spaced"
fi

if wanted relative; then
	cd "$spaced/arch"
	simple 'relative: DIR from below it' 0 "$good" '' ..
	cd "$work"
	simple 'relative: a name without a slash' 0 "$good" '' "${spaced##*/}"
	cp -r "$spaced" ./-dash
	simple 'relative: a name that begins with a dash, after --' 0 "$good" '' -- -dash
	cd "$here"
fi

if wanted read-only; then
	cp -r "$spaced" "$work/ro"
	chmod -R a-w "$work/ro"
	before=$(find "$work/ro" -printf '%p %s %T@\n' | sort)
	simple 'read-only: a tree that cannot be written' 0 "$good" '' "$work/ro"
	problems=()
	[[ $before == "$(find "$work/ro" -printf '%p %s %T@\n' | sort)" ]] || problems+=('the tree changed')
	check 'read-only: the tree is as before' "${problems[@]}"
fi

if wanted other-config; then
	# spatch reads .cocciconfig from where it runs; kernel trees have one.
	cp -r "$spaced" "$work/cocciconfig"
	printf '[spatch]\n\toptions = --no-such-option\n' >"$work/cocciconfig/.cocciconfig"
	cd "$work/cocciconfig"
	simple "other-config: the tree's .cocciconfig has no say" 0 "$good" '' .
	cd "$here"
fi

if wanted moved-file; then
	tree "$work/moved" 6.12.99
	source_of leaking-success >"$work/moved/arch/x86/kvm/svm/snp.c"
	echo 'int sev_something;' >"$work/moved/$sev"
	simple 'moved-file: the code is in another file of KVM' 1 \
		"^leaking: arch/x86/kvm/svm/snp.c:$(line leaking-success): " '' "$work/moved"
fi

if wanted twice; then
	tree "$work/twice" 6.12.99
	source_of fixed >"$work/twice/$sev"
	source_of open >"$work/twice/arch/x86/kvm/svm/snp.c"
	simple 'twice: two files define the function' 3 '^unknown: .*not only here' '' "$work/twice"
fi

if wanted taken-out; then
	tree "$work/taken" 6.12.99
	source_of not-affected >"$work/taken/$sev"
	simple 'taken-out: a new tree without SNP is not called unaffected' 3 '^unknown: .*since 6.11' '' "$work/taken"
fi

if wanted no-amd; then
	tree "$work/noamd" 6.1.99
	simple 'no-amd: arch/x86/kvm without AMD code' 3 '^unknown: .*no AMD code' '' "$work/noamd"
fi

if wanted creation; then
	cat >"$work/kvm_main.inc" <<-'C'
	int kvm_lock_all_vcpus(struct kvm *kvm)
	{
		return 0;
	}
	C
	tree "$work/creation" 6.12.99
	mkdir -p "$work/creation/virt/kvm"
	cp "$work/kvm_main.inc" "$work/creation/virt/kvm/kvm_main.c"
	source_of fixed >"$work/creation/$sev"
	simple 'creation: nobody refuses a vCPU being created' 0 '^note: .*creation is in progress' '' "$work/creation"
	source_of fixed-backport >"$work/creation/$sev"
	problems=()
	run "$work/creation"
	! grep -q '^note: ' "$work/out" || problems+=('expected no note')
	[[ $rc -eq 0 ]] || problems+=("exit status: expected 0, found $rc")
	check 'creation: the function does' "${problems[@]}"
	sed 's/return 0/return kvm_is_vcpu_creation_in_progress(kvm) ? -EBUSY : 0/' \
		"$work/kvm_main.inc" >"$work/creation/virt/kvm/kvm_main.c"
	source_of fixed >"$work/creation/$sev"
	problems=()
	run "$work/creation"
	! grep -q '^note: ' "$work/out" || problems+=('expected no note')
	check 'creation: the lock does' "${problems[@]}"
fi

# ---- no tree

if wanted no-kernel; then
	mkdir "$work/empty"
	simple 'no-kernel: an empty folder' 3 '' 'looked for: Makefile with VERSION' "$work/empty"
	simple 'no-kernel: what was found is said' 3 '' 'found: none of them' "$work/empty"
	mkdir "$work/other"
	printf 'all:\n\ttrue\n' >"$work/other/Makefile"
	simple 'no-kernel: some other project' 3 '' 'missing: Makefile with VERSION and PATCHLEVEL, Kbuild, arch/x86/kvm' "$work/other"
	simple 'no-kernel: a folder inside a tree' 3 '' 'did you mean .*quotes. \?' "$spaced/arch/x86"
	mkdir "$work/parent"
	cp -r "$spaced" "$work/parent/linux"
	simple 'no-kernel: the folder above a tree' 3 '' 'did you mean .*parent/linux \?' "$work/parent"
	cp -r "$spaced" "$work/sparse"
	rm -r "$work/sparse/arch"
	simple 'no-kernel: a tree without KVM' 3 '' 'without KVM for x86' "$work/sparse"
fi

if wanted usage; then
	simple 'usage: no DIR' 2 '' 'found no DIR'
	simple 'usage: DIR does not exist' 2 '' 'no such folder: .*nowhere' "$work/nowhere"
	simple 'usage: DIR is a file' 2 '' 'not a folder' "$spaced/Makefile"
	simple 'usage: two DIRs' 2 '' 'expected one DIR' "$spaced" "$spaced"
	simple 'usage: bad option' 2 '' 'unknown option: --frob' --frob "$spaced"
	simple 'usage: --json without FILE' 2 '' '--json: expected a file' "$spaced" --json
	simple 'usage: --json into nowhere' 2 '' 'no such folder' "$spaced" --json "$work/nowhere/x"
	simple 'usage: --help' 0 '^usage: ./snplab status DIR' '' --help
fi

if wanted no-spatch; then
	mkdir "$work/bin"
	for p in env bash awk cat comm cp cut dirname grep head mktemp rm sed sort tail tr wc; do
		ln -s "$(command -v "$p")" "$work/bin/$p"
	done
	path=$PATH
	PATH=$work/bin
	run "$spaced"
	PATH=$path
	problems=()
	[[ $rc -eq 3 ]] || problems+=("exit status: expected 3, found $rc")
	grep -q 'apt-get install coccinelle' "$work/err" || problems+=('expected the hint apt-get install coccinelle')
	check 'no-spatch: says how to get it' "${problems[@]}"

	printf '#!/bin/sh\necho "Fatal error: no" >&2\nexit 2\n' >"$work/bin/spatch"
	chmod +x "$work/bin/spatch"
	PATH=$work/bin
	run "$spaced"
	PATH=$path
	problems=()
	[[ $rc -eq 3 ]] || problems+=("exit status: expected 3, found $rc")
	grep -q 'it said: Fatal error: no' "$work/err" || problems+=('expected what spatch said')
	check 'no-spatch: one that fails is not taken for an answer' "${problems[@]}"
	rm "$work/bin/spatch"
fi

if wanted interrupted; then
	mkdir "$work/slow"
	printf '#!/bin/sh\necho $$ >>"%s"\nexec sleep 60\n' "$work/slow.pids" >"$work/slow/spatch"
	chmod +x "$work/slow/spatch"
	# As a terminal does it: to the whole group. A shell alone would first wait for spatch.
	PATH=$work/slow:$PATH setsid "$status" "$spaced" >"$work/out" 2>"$work/err" &
	pid=$!
	for ((i = 0; i < 100; i++)); do
		[[ ! -s $work/slow.pids ]] || break
		sleep 0.1
	done
	kill -TERM -- "-$pid" || true
	rc=0
	wait "$pid" || rc=$?
	problems=()
	[[ $rc -eq 143 ]] || problems+=("exit status: expected 143, found $rc")
	[[ -s $work/slow.pids ]] || problems+=('spatch was never started')
	while read -r p; do
		# It is told to end before status.sh ends, but may take a moment to; one
		# that only waits for its parent to look (Z) is gone.
		for ((i = 0; i < 50; i++)); do
			state=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$p/status" 2>/dev/null || true)
			[[ -n $state && $state != Z* ]] || break
			sleep 0.1
		done
		[[ -z $state || $state == Z* ]] || problems+=("spatch $p still runs")
	done < <(cat "$work/slow.pids" 2>/dev/null)
	check 'interrupted: nothing goes on' "${problems[@]}"
fi

# ---- JSON

if wanted json; then
	problems=()
	t=$work/json-tree
	tree "$t" 6.12.99
	source_of leaking-error >"$t/$sev"
	run "$t" --json "$work/result.json"
	[[ $rc -eq 1 ]] || problems+=("exit status: expected 1, found $rc")
	python3 - "$work/result.json" "$sev" "$t/$sev" <<-'PY' >"$work/py" 2>&1 || problems+=("$(tail -n 1 "$work/py")")
	import json, sys
	r = json.load(open(sys.argv[1]))
	want = [n for n, l in enumerate(open(sys.argv[3]), 1) if '/* HERE */' in l]
	assert r['verdict'] == 'leaking', r
	assert r['exit'] == 1, r
	assert r['linux'] == '6.12.99', r
	assert [f['line'] for f in r['findings']] == want, r
	assert {f['file'] for f in r['findings']} == {sys.argv[2]}, r
	PY
	check 'json: a leaking tree' "${problems[@]}"

	problems=()
	run "$spaced" "--json=$work/result.json"
	[[ $rc -eq 0 ]] || problems+=("exit status: expected 0, found $rc")
	python3 - "$work/result.json" "$spaced" <<-'PY' >"$work/py" 2>&1 || problems+=("$(tail -n 1 "$work/py")")
	import json, sys
	r = json.load(open(sys.argv[1]))
	assert r['verdict'] == 'fixed' and r['tree'] == sys.argv[2] and r['exit'] == 0, r
	PY
	check 'json: an odd name survives' "${problems[@]}"

	problems=()
	mkdir -p "$work/empty"
	run "$work/empty" --json "$work/result.json"
	[[ $rc -eq 3 ]] || problems+=("exit status: expected 3, found $rc")
	python3 - "$work/result.json" <<-'PY' >"$work/py" 2>&1 || problems+=("$(tail -n 1 "$work/py")")
	import json, sys
	r = json.load(open(sys.argv[1]))
	assert r['verdict'] == 'error' and r['exit'] == 3, r
	PY
	check 'json: no kernel tree' "${problems[@]}"
fi

# ---- and afterwards

if [[ $count -gt 0 ]]; then
	problems=()
	left=$(find "$TMPDIR" -mindepth 1)
	[[ -z $left ]] || problems+=("left behind: $left")
	check 'no temporary file is left' "${problems[@]}"
fi

printf '1..%d\n' "$count"
if [[ $count -eq 0 ]]; then
	printf '# no case matches %s\n' "$glob"
	exit 1
fi
[[ $failures -eq 0 ]] || {
	printf '# %d of %d failed\n' "$failures" "$count"
	exit 1
}
