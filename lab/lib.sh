# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What every part of the lab shares: where things are, how a stage is shown, how an error is said,
# and how nothing is left behind. Sourced, never run.

# The programs that apt installs are the ones that are meant: a pyenv or conda python, first on
# somebody's PATH, has none of the packages that the kernel's scripts want.
PATH=/usr/bin:/usr/sbin:/bin:/sbin:$PATH
export PATH LC_ALL=C.UTF-8
# Build output must not depend on somebody's habits.
unset MAKEFLAGS MFLAGS CDPATH GREP_OPTIONS KBUILD_OUTPUT ARCH CROSS_COMPILE GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

lab=${top:?}/lab
export lab
# A relative XDG_CACHE_HOME is to be ignored, says the XDG specification.
case ${XDG_CACHE_HOME:-} in
/*) cache=$XDG_CACHE_HOME/snplab ;;
*) cache=${HOME:-}/.cache/snplab ;;
esac

# Exit statuses: README.md lists them.
EX_FAIL=1 EX_USAGE=2 EX_SETUP=3 EX_SKIP=4 EX_TIMEOUT=124 EX_PANIC=255
export EX_FAIL EX_USAGE EX_SETUP EX_SKIP EX_TIMEOUT EX_PANIC

dry_run=${dry_run:-}
stage_now=0 stage_all=0 stage_log='' stage_error=''
stage_times=()

# --- Saying things -----------------------------------------------------------------------------

# Stage lines and progress: standard output, unless the verb's own answer is (out=2 then).
out=${out:-1}
# Whoever reads along may go away: that ends no run.
say() { printf '%s\n' "$*" >&"$out" || true; }
note() { say "      $*"; }

# die STATUS MESSAGE [HINT]...: what was expected and found; then what to do about it.
# Inside a stage the text waits in a file until the stage's line is closed; on a full disk it cannot, and
# goes straight to the user.
die() {
	local status=$1 text="snplab: $2" hint
	shift 2
	for hint; do text+=$'\n'"        hint: $hint"; done
	if [ -z "${stage_error:-}" ]; then
		printf '%s\n' "$text" >&2
	elif ! printf '%s\n' "$text" 2>/dev/null >"$stage_error"; then
		printf '\n%s\n' "$text" >&"${stage_stderr:-2}"
	fi
	exit "$status"
}
setup_error() { die $EX_SETUP "$@"; }
usage_error() { die $EX_USAGE "$1" "${2:-./snplab ${verb:+$verb }--help}"; }

# --- Stages ------------------------------------------------------------------------------------

# stage TEXT COMMAND...: runs COMMAND (a function of the lab) in a process group of its own, its
# output in the log; shows a line with the time it took, and a progress line after 5 s. What fails
# in a stage is set-up: the run ends with EX_SETUP. COMMAND tells the user things with tell().
# Never call it behind || or if: bash would ignore set -e in all of COMMAND.
stage() {
	local text=$1 t0=$SECONDS status=0 shown='' took
	shift
	stage_now=$((stage_now + 1))
	local head="[$stage_now/$stage_all] $text …"
	if [ -n "$dry_run" ]; then
		say "$head"
		"$@"
		return
	fi
	open_run_dir
	stage_log=$run_dir/log
	printf '\n== %s\n' "$text" >>"$stage_log"
	printf '%s' "$head" >&"$out" || true
	local from; from=$(stat -c %s "$stage_log")
	set -m
	(
		trap - INT TERM HUP EXIT
		# shellcheck disable=SC2030  # this stage's alone
		stage_error=$stage_log.error stage_stderr=4
		"$@"
	) 4>&2 >>"$stage_log" 2>&1 </dev/null &
	stage_job=$!
	set +m
	while stage_wait 5; do
		took=$((SECONDS - t0))
		progress "$took"
	done
	flush_tell
	wait "$stage_job" || status=$?
	# Whatever the stage started in its process group ends with it.
	kill -KILL -- "-$stage_job" 2>/dev/null || true
	stage_job=
	took=$((SECONDS - t0))
	stage_times+=("$took $text")
	if [ -n "$shown" ]; then
		if [ -t "$out" ]; then printf '\r\033[K' >&"$out"; fi
		say "$head $([ $status -eq 0 ] && echo "$took s" || echo failed)"
	elif [ $status -eq 0 ]; then
		say " $took s"
	else
		say ' failed'
	fi
	[ $status -ne 0 ] || return 0
	if [ -s "$stage_log.error" ]; then
		cat "$stage_log.error" >&2
	else
		tail -c +$((from + 1)) "$stage_log" | tail -n 15 | sed 's/^/      | /' >&2
		printf 'snplab: %s: failed with status %d\n' "$text" $status >&2
	fi
	printf '        log: %s\n' "$(tilde "$stage_log")" >&2
	exit $EX_SETUP
}

# run COMMAND...: for what --dry-run shows instead of doing it.
run() {
	if [ -n "$dry_run" ]; then
		note "$(quote "$@")"
	else
		printf '+ %s\n' "$(quote "$@")"
		"$@"
	fi
}
# A command as it can be pasted into a shell.
quote() {
	local word text=''
	for word; do
		[[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=${word@Q}
		text+=" $word"
	done
	printf '%s' "${text# }"
}

# stage_wait SECONDS: true while the stage's job still runs after that long.
stage_wait() {
	local n=$(($1 * 10))
	while [ $n -gt 0 ]; do
		kill -0 "$stage_job" 2>/dev/null || return 1
		flush_tell
		sleep 0.1 & wait $! || true
		n=$((n - 1))
	done
	kill -0 "$stage_job" 2>/dev/null
}

# progress SECONDS: the last line of the log, on a line of its own; a terminal's is rewritten, elsewhere
# one appears every 30 s. $shown is stage's: that its own line has been ended.
progress() {
	local line
	line=$(tail -n 8 "$stage_log" 2>/dev/null | tr -d '\r' | grep -vE '^(\+ |== |make(\[[0-9]+\])?: |$)' | tail -n 1 | cut -c1-70) || true
	if [ -t "$out" ]; then
		end_line
		printf '\r\033[K      %3d s  %s' "$1" "$line" >&"$out"
	elif [ -z "$shown" ] || [ $(($1 % 30)) -lt 6 ]; then
		end_line
		note "$(printf '%3d s  %s' "$1" "$line")"
	fi
}

end_line() { [ -n "$shown" ] || say ''; shown=1; }

# tell MESSAGE: from within a stage, to the user. The stage's own shell shows it, between its lines. Several may tell at
# once: under a lock, so that nothing is written to what was taken away to be shown.
tell() {
	if [ -n "$dry_run" ]; then note "$*"; else { flock 9; printf '      %s\n' "$*" >>"$stage_log.tell"; } 9<"$stage_log"; fi
}
flush_tell() {
	[ -s "$stage_log.tell" ] || return 0
	{ flock 9; mv "$stage_log.tell" "$stage_log.told"; } 9<"$stage_log"
	end_line
	[ ! -t "$out" ] || printf '\r\033[K' >&"$out"
	cat "$stage_log.told" >&"$out" || true
}

# --- Leaving nothing behind ----------------------------------------------------------------------

stage_job='' stage_grace=3 cleanup=()
at_exit() { cleanup+=("$*"); }
on_exit() {
	local status=$? job=${stage_job:-} i
	# shellcheck disable=SC2034  # for what is in $cleanup
	exit_status=$status
	# A second Ctrl-C does not stop the cleaning up.
	trap - EXIT
	trap '' INT TERM HUP
	# A signal can come before the job's number is noted.
	[ -n "$job" ] || job=$(jobs -p | head -n 1)
	if [ -n "$job" ] && kill -TERM -- "-$job" 2>/dev/null; then
		# dpkg in the middle of unpacking is given its time.
		for ((i = 0; i < ${stage_grace:-3} * 10; i++)); do
			kill -0 -- "-$job" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL -- "-$job" 2>/dev/null || true
		wait "$job" 2>/dev/null || true
	fi
	for ((i = ${#cleanup[@]} - 1; i >= 0; i--)); do ${cleanup[i]} || true; done
	exit "$status"
}
on_signal() {
	trap '' INT TERM HUP
	printf '\nsnplab: interrupted: stopping what runs; the cache stays usable\n' >&2
	exit "$1"
}
arm_traps() {
	trap on_exit EXIT
	trap 'on_signal 130' INT
	trap 'on_signal 143' TERM
	trap 'on_signal 129' HUP
}

# --- Places --------------------------------------------------------------------------------------

# The cache's directory NAME, made if need be.
cache_dir() {
	# kbuild and make take neither spaces nor colons in a path.
	if [ "$cache" = /.cache/snplab ] || [[ $cache =~ [[:space:]:\'\"] ]]; then
		setup_error "the cache cannot be in '$cache': expected a folder without spaces, colons and quotes" \
			'set HOME, or XDG_CACHE_HOME to such a folder'
	fi
	[ -n "$dry_run" ] || mkdir -p "$cache/$1" 2>/dev/null ||
		setup_error "cannot create $(tilde "$cache/$1"): expected a cache folder that can be written" \
			'set XDG_CACHE_HOME to one that can'
	printf '%s/%s\n' "$cache" "$1"
}

# This run's own folder for logs, in $run_dir: made once, not in a subshell; the newest 20 are kept.
run_dir=''
open_run_dir() {
	local runs old
	[ -z "$run_dir" ] || return 0
	if [ -n "$dry_run" ]; then run_dir=$cache/runs/…; return; fi
	runs=$(cache_dir runs)
	while read -r old; do rm -rf "$old"; done < <(
		find "$runs" -mindepth 1 -maxdepth 1 -type d -mmin +60 | sort -r | tail -n +20)
	run_dir=$(mktemp -d "$runs/$(date +%Y%m%d-%H%M%S)-${verb:-run}-XXXX")
}

# A path as the user would write it.
tilde() { case $1 in "${HOME:-/nonexistent}"/*) printf '%s\n' "~${1#"$HOME"}" ;; *) printf '%s\n' "$1" ;; esac; }

# lock NAME [SAY]: holds the cache's lock NAME until this shell ends (a stage's own subshell, mostly) or closes
# the descriptor $lock. Outside of a stage, SAY is note.
lock() {
	local file
	file=$(cache_dir locks)/$1
	exec {lock}>"$file"
	if ! flock -n "$lock"; then
		"${2:-tell}" "waiting for another snplab that uses $1"
		flock "$lock"
	fi
}

# need_space DIR MIB WHAT: an early, plain refusal instead of a build that dies on a full disk.
need_space() {
	local have
	have=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge "$2" ] ||
		setup_error "$3 needs $2 MiB in $(tilde "$1"), $have MiB are free" \
			"free some (everything in $(tilde "$cache") can be deleted), or set XDG_CACHE_HOME to a larger disk"
}

# A name that can stand in a path and in a lock's name.
slug() { printf '%s' "$1" | tr -c 'A-Za-z0-9.+-' '_'; }

kernel_version() {
	local v
	v=$(sed -n 's/^\(VERSION\|PATCHLEVEL\|SUBLEVEL\) *= *//p' "$1/Makefile" 2>/dev/null | head -n 3 | paste -sd.)
	[[ $v =~ ^[0-9]+\.[0-9]+\.[0-9]*$ ]] && [ -e "$1/Kbuild" ] && printf '%s\n' "$v"
}

# list_series DIR: the patches of a series file, in order, as paths.
list_series() {
	local p
	while read -r p _; do
		case $p in '' | '#'*) continue ;; esac
		[ -f "$1/$p" ] || setup_error "$1/series names $p, which is not there" "add the file or remove the line"
		printf '%s\n' "$1/$p"
	done <"$1/series"
}
