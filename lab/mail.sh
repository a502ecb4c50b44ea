# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The verb `mail`: a series as files that git send-email takes. Nothing is sent. The sender's sign-off
# is put in here and nowhere else: the patches of this repository carry none.

mail_output=${mail_output:-}

verb_mail() {
	local tree=$1 dir source name email patches
	[ $# -eq 1 ] || usage_error "mail takes one tree, found another argument: '$2'" 'the folder is named with --output DIR'
	dir=$(absolute "${mail_output:-$top/outgoing/$tree}")
	sender
	mail_folder_is_free "$dir"
	patches=$(list_series "$top/series/$(series_dir "$tree")")
	[ -n "$patches" ] || setup_error "series/$(series_dir "$tree")/series names no patch: nothing to write"
	[ -s "$top/series/$(series_dir "$tree")/cover-letter" ] ||
		setup_error "expected a cover letter in series/$(series_dir "$tree")/cover-letter, found none" \
			'write one: Subject:, In-Reply-To:, To:, Cc: first, a blank line, then the text'
	no_sign_off "$patches"
	stage_all=3
	[ -z "$linux_dir" ] || stage_all=2
	stage 'install what is missing' install_missing fetch overlay mail
	if [ -z "$linux_dir" ]; then
		stage "fetch linux for $tree" fetch_base "$tree"
	fi
	source=$(base_of "$tree")
	if [ -z "$dry_run" ]; then
		if [ ! -e "$source/scripts/get_maintainer.pl" ] || [ ! -e "$source/MAINTAINERS" ]; then
			setup_error "$(tilde "$source"): expected scripts/get_maintainer.pl and MAINTAINERS, found no such pair" \
				'give a whole kernel tree: --linux DIR'
		fi
		mkdir -p "$(dirname "$dir")" 2>/dev/null || setup_error "cannot create $(dirname "$dir")" 'name a folder that can be written: --output DIR'
		# Only whole mails get their final place.
		tree_tmp=$(mktemp -d "$(dirname "$dir")/.$(basename "$dir").XXXXXX") ||
			setup_error "cannot write into $(dirname "$dir")" 'name a folder that can be written: --output DIR'
		at_exit tree_cleanup
	fi
	stage "write and check $(($(wc -l <<<"$patches") + 1)) mails" write_mails "$tree" "$source" "$patches" "$dir"
	if [ -z "$dry_run" ]; then
		if [ -e "$dir" ]; then mv -T "$dir" "$tree_tmp/old"; fi
		mv -T "$tree_tmp/new" "$dir"
		mail_summary "$source" "$dir"
	fi
}

# sender: sets name and email, from what git uses for commits here. Never guessed: it is a signature.
sender() {
	name=$(git config --get user.name) || true
	email=$(git config --get user.email) || true
	if [ -z "$name" ] || [ -z "$email" ]; then
		setup_error "the mails carry your Signed-off-by: expected git's user.name and user.email, found ${name:-no name} <${email:-no address}>" \
			"git config --global user.name 'Your Name'; git config --global user.email you@example.org"
	fi
	if [ "$email" = snplab@localhost ] || [[ ! $email =~ ^[^[:space:]\<\>@]+@[^[:space:]\<\>@]+$ ]] || [[ $name == *[$'\n<>']* ]]; then
		setup_error "the mails carry your Signed-off-by: expected a name and an address of yours, found $name <$email>" \
			"git config user.name 'Your Name'; git config user.email you@example.org"
	fi
}

# The folder is replaced if it holds what this verb wrote, unchanged; nothing else is ever removed.
mail_folder_is_free() {
	local dir=$1 shown
	shown=$(tilde "$dir")
	if [ ! -e "$dir" ]; then return; fi
	[ -d "$dir" ] || setup_error "$shown is no folder" 'name another one: --output DIR'
	[ -n "$(ls -A "$dir")" ] || return 0
	[ -f "$dir/.snplab/sums" ] ||
		setup_error "$shown is not empty, and ./snplab mail did not write it: left untouched" \
			'name another one (--output DIR), or empty it'
	if ! (cd "$dir" && sha256sum --quiet --strict -c .snplab/sums) >/dev/null 2>&1 ||
		[ "$(mails_in "$dir")" != "$(cut -c67- "$dir/.snplab/sums")" ]; then
		setup_error "$shown was changed since ./snplab mail wrote it: left untouched" \
			'what should last belongs into series/; then remove that folder, or name another one: --output DIR'
	fi
}
mails_in() { (cd "$1" && find . -type f ! -path './.snplab/*' -printf '%P\n' | LC_ALL=C sort); }

no_sign_off() {
	local p
	while read -r p; do
		# Not grep -q: it would end sed by SIGPIPE, and pipefail would take that for "not found".
		if sed '/^---$/,$d' "$p" | grep -i '^Signed-off-by:' >/dev/null; then
			setup_error "$(patch_name "$p") has a Signed-off-by: patches in this repository carry none" \
				'take it out; mail adds yours'
		fi
	done <<<"$1"
}

# write_mails TREE SOURCE PATCHES DIR: a stage.
write_mails() {
	local tree=$1 source=$2 dir=$4 new=${tree_tmp:-$4}/new patches patch prefix stamp domain reply i=0 n file
	mapfile -t patches <<<"$3"
	n=${#patches[@]}
	if [ -n "$dry_run" ]; then
		for patch in "${patches[@]}"; do
			i=$((i + 1))
			(cd "$source" 2>/dev/null || true; run scripts/get_maintainer.pl --no-git --no-git-fallback --no-rolestats "$patch")
			run git interpret-trailers --trailer "Signed-off-by: $name <$email>" "$patch" "# > $(mail_name $i "$patch")"
			run scripts/checkpatch.pl --strict "$dir/$(mail_name $i "$patch")"
		done
		run git send-email --no-thread --confirm=always "$dir"/*.patch '# to be run by you'
		return
	fi
	mkdir -p "$new/.snplab" "$tree_tmp/to"
	cover_letter "$top/series/$(series_dir "$tree")/cover-letter"
	prefix=PATCH
	[[ $tree != *.y ]] || prefix+=" $tree"
	# A v2 is asked for where the series is described: "Subject: [PATCH v2] ..." in the cover letter.
	prefix+=${cover_version:+ $cover_version}
	# Another id each time: a mail whose id was seen before is dropped on the way.
	stamp=$(date -u +%Y%m%d%H%M%S).$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
	domain=${email//[^A-Za-z0-9.@_+-]/_}
	mail_id() { printf '<%s-%d-%s>' "$stamp" "$1" "$domain"; }
	reply=$(sed -n 's/^In-Reply-To: *//Ip' "$tree_tmp/cover.headers" | head -n 1)

	for patch in "${patches[@]}"; do
		i=$((i + 1))
		file=$new/$(mail_name $i "$patch")
		echo "${file##*/}"
		recipients "$source" "$tree" "$patch" "$tree_tmp/to/$i"
		{
			mail_head "$(mail_id $i)" "[$prefix $(number $i "$n")] $(patch_subject "$patch")" \
				"$tree_tmp/to/$i" "$(mail_id 0)" "${reply:+$reply }$(mail_id 0)" "$patch"
			printf '\n'
			message_of "$patch" | sign_off "Signed-off-by: $name <$email>"
			sed -n '/^---$/,$p' "$patch"
		} >"$file"
	done
	file=$new/0000-cover-letter.patch
	# The cover letter goes to everybody.
	cat "$tree_tmp"/to/*.to | sort_addresses >"$tree_tmp/to/0.to"
	cat "$tree_tmp"/to/*.cc | sort_addresses "$tree_tmp/to/0.to" >"$tree_tmp/to/0.cc"
	{
		cat "$tree_tmp/cover.body"
		printf '\n%s (%d):\n' "$name" "$n"
		for patch in "${patches[@]}"; do printf '  %s\n' "$(patch_subject "$patch")"; done
		printf '\n'
		combined_stat "$source" "${patches[@]}"
		printf '\n'
		base_line "$tree" "$source"
	} >"$tree_tmp/cover.text"
	{
		mail_head "$(mail_id 0)" "[$prefix $(number 0 "$n")] $cover_subject" "$tree_tmp/to/0" "$reply" "$reply" "$tree_tmp/cover.text"
		printf '\n'
		cat "$tree_tmp/cover.text"
	} >"$file"
	check_mails "$source" "$new" "${patches[@]}"
	(cd "$new" && mails_in . | tr '\n' '\0' | xargs -0 sha256sum -- >"$tree_tmp/sums" && mv "$tree_tmp/sums" .snplab/sums)
}

mail_name() { printf '%04d-%s' "$1" "$(basename "$2")"; }
# As git format-patch numbers: 01/12, but 1/3.
number() { printf '%0*d/%d' "${#2}" "$1" "$2"; }

# cover_letter FILE: sets cover_subject and cover_version; headers and text into files. A first line
# that is no header is the subject.
cover_letter() {
	local subject
	awk -v headers="$tree_tmp/cover.headers" -v body="$tree_tmp/cover.body" '
		BEGIN { printf "" >headers; printf "" >body }
		{ sub(/\r$/, "") }
		!state && /^From [0-9a-f]+ / { next }
		!state && tolower($0) !~ /^(subject|in-reply-to|references|to|cc|from|date|message-id|reply-to): / {
			# Also of a file that begins with a blank line.
			if ($0 != "") print "Subject: " $0 >headers
			if ($0 != "") state = 2
			next
		}
		!state { state = 1 }
		state == 1 {
			if ($0 == "") { state = 2; next }
			if ($0 ~ /^[ \t]/) { sub(/^[ \t]+/, " "); line = line $0; next }
			if (line != "") print line >headers
			line = $0
			next
		}
		state == 2 && !text && $0 == "" { next }
		{ text = 1; print >body }
		END { if (line != "") print line >headers }' "$1"
	subject=$(sed -n 's/^Subject: *//Ip' "$tree_tmp/cover.headers" | head -n 1)
	if [ -z "$subject" ] || [ ! -s "$tree_tmp/cover.body" ]; then
		setup_error "${1#"$top"/}: expected a Subject: and a text, found only one of them or neither" \
			'Subject:, In-Reply-To:, To:, Cc: first, a blank line, then the text'
	fi
	cover_version=$(sed -n 's/^\[[^]]*PATCH[^]]*\b\(v[0-9]\+\)\b[^]]*\].*/\1/p' <<<"$subject")
	cover_subject=$subject
	if [[ $subject =~ ^\[[^]]*PATCH[^]]*\]\ *(.*) ]]; then cover_subject=${BASH_REMATCH[1]}; fi
}

# recipients SOURCE TREE PATCH NAME: NAME.to and NAME.cc, an address a line, nobody twice. What the
# cover letter and the patch ask for is heard; stable takes its patches by its list.
recipients() {
	local source=$1 tree=$2 patch=$3 to=$4.to cc=$4.cc
	local maintainers others
	maintainers=$(maintainer_script "$source" "$patch" --m --no-r --no-l)
	others=$(maintainer_script "$source" "$patch" --no-m --r --l)
	[ -n "$maintainers$others" ] ||
		setup_error "get_maintainer.pl names nobody for $(patch_name "$patch")" "expected at least a list, from $source/MAINTAINERS"
	{
		if [[ $tree == *.y ]]; then echo stable@vger.kernel.org; else printf '%s\n' "$maintainers"; fi
		addresses To "$tree_tmp/cover.headers"
		addresses To "$patch"
	} | sort_addresses >"$to"
	{
		printf '%s\n' "$maintainers" "$others"
		addresses Cc "$tree_tmp/cover.headers"
		addresses Cc "$patch"
	} | sort_addresses "$to" >"$cc"
}

# The user's own .get_maintainer.conf would have a say: no HOME for it.
maintainer_script() {
	local source=$1 patch=$2
	shift 2
	(cd "$source" && HOME=/nonexistent perl scripts/get_maintainer.pl --no-git --no-git-blame --no-git-fallback \
		--no-fixes --no-rolestats --no-roles --no-multiline --separator=$'\n' "$@" "$patch") ||
		setup_error "get_maintainer.pl failed on $(patch_name "$patch")" 'what it said is in the log'
}

# addresses HEADER FILE: of the headers of a mail, an address a line. A comma inside quotes is none.
addresses() {
	perl -e '
		my ($want, $file) = @ARGV; my @h;
		open my $f, "<", $file or die "$file: $!\n";
		while (<$f>) { chomp; last if $_ eq ""; if (/^[ \t]/ && @h) { s/^\s+/ /; $h[-1] .= $_ } else { push @h, $_ } }
		for (@h) {
			next unless s/^\Q$want\E:\s*//i;
			push @a, $1 while /\G\s*((?:"(?:[^"\\]|\\.)*"|[^",])+)(?:,|$)/g;
		}
		for (@a) { s/^\s+|\s+$//g; print "$_\n" if $_ ne "" }' "$1" "$2"
}

# sort_addresses [FILE]: people first, then lists, in the order given; once each, and not the sender
# nor who is in FILE.
sort_addresses() {
	EMAIL=$email perl -e '
		my %seen; $seen{lc $ENV{EMAIL}} = 1;
		sub bare { my $a = shift; $a = $1 if $a =~ /<([^>]*)>\s*$/; $a =~ s/\s+\(.*\)$//; lc $a }
		if (@ARGV) { open my $f, "<", $ARGV[0] or die; while (<$f>) { chomp; $seen{bare($_)} = 1 } }
		my (@p, @l);
		while (<STDIN>) {
			chomp; s/^\s+|\s+$//g; next if $_ eq "" or $seen{bare($_)}++;
			if (/</) { push @p, $_ } else { s/\s+\(.*\)$//; push @l, $_ }
		}
		print "$_\n" for @p, @l' "$@"
}

# mail_head ID SUBJECT RECIPIENTS IN-REPLY-TO REFERENCES TEXT-FILE
mail_head() {
	local eight=
	! printf '%s' "$name" | LC_ALL=C cat - "$6" | LC_ALL=C grep -q '[^ -~[:space:]]' || eight=1
	# A fixed first line: it only marks a mail.
	printf 'From %040d Mon Sep 17 00:00:00 2001\n' 0
	printf 'Message-ID: %s\n' "$1"
	[ -z "$4" ] || printf 'In-Reply-To: %s\n' "$4"
	[ -z "$5" ] || printf 'References: %s\n' "$5"
	printf '%s <%s>\n' "$name" "$email" | header From
	printf 'Date: %s\n' "$(date -R)"
	printf '%s\n' "$2" | header Subject
	header To <"$3.to"
	[ ! -s "$3.cc" ] || header Cc <"$3.cc"
	if [ -n "$eight" ]; then
		printf 'MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n'
	fi
}

# header NAME: folded, and encoded as RFC 2047 says where it is not ASCII; reads the text, or an
# address a line.
header() {
	perl -CS -MEncode -e '
		my $h = shift; chomp(my @l = <STDIN>);
		if ($h eq "Subject") {
			my $s = $l[0];
			if ($s =~ /[^\x20-\x7e]/) { print "$h: ", encode("MIME-Q", $s), "\n"; exit }
			my ($line, @out) = ("$h:");
			for (split / /, $s) {
				if (length("$line $_") > 78 && $line ne "$h:") { push @out, $line; $line = "" }
				$line .= " $_";
			}
			print join("\n", @out, $line), "\n"; exit;
		}
		for (@l) {
			next unless /^(.*?)\s*(<[^>]*>)$/;
			my ($n, $a) = ($1, $2);
			if ($n =~ /[^\x20-\x7e]/) { $n =~ s/^"(.*)"$/$1/; $n =~ s/\\(.)/$1/g; $n = encode("MIME-Q", $n) }
			elsif ($n !~ /^".*"$/ && $n =~ /[^A-Za-z0-9 !#\$%&\x27*+\/=?^_`{|}~-]/) { $n =~ s/(["\\])/\\$1/g; $n = "\"$n\"" }
			$_ = "$n $a";
		}
		print "$h: ", join(",\n\t", @l), "\n"' "$1"
}

# The changelog of a patch, without its headers.
message_of() { awk 'on && $0 == "---" { exit } on { print } /^$/ { on = 1 }' "$1"; }

# sign_off LINE: reads a changelog; the line joins the trailers, or starts them.
sign_off() {
	perl -0777 -e '
		my $line = shift; my $m = <STDIN> // ""; $m =~ s/\s+$//;
		my ($last) = $m =~ /(?:^|\n\n)((?:(?!\n\n).)*)$/s;
		my $tag = qr/^(?:Fixes|Cc|Link|Closes|Message-I[Dd]|Depends-on|[A-Z][A-Za-z]*(?:-[a-z]+)*-(?:by|from|of)): /;
		my @l = split /\n/, $last // "";
		# Trailers, with remarks in brackets between them: as stable backports have.
		my $known = grep { /$tag/ } @l;
		my $other = grep { !/$tag/ && !/^\[.*\]?$/ && !/^\s/ } @l;
		print $m, $m eq "" ? "" : $known && !$other ? "\n" : "\n\n", "$line\n"' "$1"
}

# combined_stat SOURCE PATCH...: as git format-patch puts below a cover letter.
combined_stat() {
	local source=$1 d=$tree_tmp/apply f
	shift
	small_repository "$source" "$d" "$@"
	git_own -C "$d" am -q --keep-non-patch --no-3way --no-scissors --whitespace=nowarn --no-gpg-sign "$@" ||
		setup_error "the series does not apply to linux $(kernel_version "$source")" \
			'expected every hunk to apply with no fuzz; what git said is in the log' \
			'give the version it was made for with --linux DIR'
	git_own -C "$d" diff --stat=72 --summary --no-renames --no-color base HEAD
	git_own -C "$d" rev-parse 'HEAD^{tree}' >"$tree_tmp/series.tree"
	git_own -C "$d" reset -q --hard base
}

# small_repository SOURCE DIR PATCH...: only the files that the patches touch.
small_repository() {
	local source=$1 d=$2 f
	shift 2
	rm -rf "$d"
	mkdir -p "$d"
	git_own init -q --template= --object-format=sha1 "$d"
	# Asked at the top of this repository: git apply leaves out what is outside the one it is run in.
	git_own -C "$d" apply --numstat "$@" | cut -f3 | sort -u >"$d.files"
	while read -r f; do
		[ ! -e "$source/$f" ] || (cd "$source" && cp --parents "$f" "$d/")
	done <"$d.files"
	git_own -C "$d" add -A -f .
	git_own -C "$d" commit -q --allow-empty -m base
	git_own -C "$d" tag base
}

# base_line TREE SOURCE: what the series was made on, for people and, if there is one, as the commit
# that robots look for.
base_line() {
	local source=$2 version commit
	version=$(kernel_version "$source")
	if [ "$(git_own -C "$source" rev-parse --show-toplevel 2>/dev/null)" = "$source" ]; then
		commit=$(git_own -C "$source" rev-parse HEAD)
		# Only of a commit that others can have.
		if [ -n "$(git_own -C "$source" for-each-ref --count=1 --contains "$commit" refs/remotes 'refs/tags/v[0-9]*')" ] &&
			[ -z "$(git_own -C "$source" status --porcelain --untracked-files=no)" ]; then
			printf 'base-commit: %s\n' "$commit"
			return
		fi
	fi
	case $source in
	"$cache"/base/*)
		printf 'Base: v%s, as in Debian'\''s %s (a tarball: there is no base-commit to name)\n' \
			"$version" "$(basename "$source" | sed 's/_/ /; s/_/~/g')" ;;
	*) printf 'Base: v%s (no commit of it is known upstream: there is no base-commit to name)\n' "$version" ;;
	esac
}

# check_mails SOURCE NEW PATCH...: the mails give what the series gives; checkpatch, now with a
# sign-off, is asked as well.
check_mails() {
	local source=$1 new=$2 d=$tree_tmp/apply mail found
	shift 2
	local mails=("$new"/000[1-9]*.patch "$new"/00[1-9][0-9]*.patch)
	mapfile -t mails < <(printf '%s\n' "${mails[@]}" | grep -vF '*')
	[ ${#mails[@]} -eq $# ] || setup_error "expected $# mails, wrote ${#mails[@]}"
	for mail in "${mails[@]}" "$new/0000-cover-letter.patch"; do
		git_own mailinfo --encoding=UTF-8 -b --no-scissors "$tree_tmp/msg" /dev/null <"$mail" >"$tree_tmp/info" ||
			setup_error "$(basename "$mail"): git mailinfo cannot read it"
		if ! grep -qxF "Author: $name" "$tree_tmp/info" || ! grep -qxF "Email: $email" "$tree_tmp/info"; then
			setup_error "$(basename "$mail"): expected git to read the author $name <$email>, found $(head -n 2 "$tree_tmp/info" | paste -sd' ')"
		fi
		if [[ $mail != */0000-* ]] && [ "$(grep -cxF "Signed-off-by: $name <$email>" "$tree_tmp/msg")" != 1 ]; then
			setup_error "$(basename "$mail"): expected your sign-off in it once" "look at series/: $(basename "$mail" | cut -c6-)"
		fi
	done
	git_own -C "$d" am -q --keep-non-patch --no-3way --no-scissors --whitespace=nowarn --no-gpg-sign "${mails[@]}" ||
		setup_error 'the mails do not apply, although the series does' 'what git said is in the log'
	[ "$(git_own -C "$d" rev-parse 'HEAD^{tree}')" = "$(cat "$tree_tmp/series.tree")" ] ||
		setup_error 'the mails apply to something else than the series does' 'what git said is in the log'
	tell "git am takes all ${#mails[@]}, with the same result as the series"
	for mail in "${mails[@]}"; do
		found=$(checkpatch "$source" "$mail")
		if [ -z "$found" ]; then
			tell "checkpatch --strict: clean: ${mail##*/}"
		else
			tell "checkpatch --strict: ${mail##*/}:"
			while read -r found; do tell "  line $found"; done <<<"$found"
		fi
	done
}

# checkpatch SOURCE MAIL: a finding a line, "LINE: TEXT"; nothing if it is clean.
checkpatch() {
	local source=$1 mail=$2 options=() line text
	# Without the commits at hand, it takes every commit for one that does not exist.
	[ -e "$source/.git" ] || options=(--ignore UNKNOWN_COMMIT_ID)
	(cd "$source"; perl scripts/checkpatch.pl --no-tree --strict --terse --show-types --no-summary --color=never \
		"${options[@]}" "$mail" 2>&1 || true) | sed 's,^.*\.patch:\([0-9]*: \),\1,' |
		while IFS=: read -r line text; do
			# The stable rules ask for this line, as it is.
			[[ $text == *GIT_COMMIT_ID:* && $(sed -n "${line}p" "$mail") =~ ^\[\ Upstream\ commit\ [0-9a-f]{40}\ \]$ ]] ||
				printf '%s:%s\n' "$line" "$text"
		done
}

mail_summary() {
	local source=$1 dir=$2 shown docs
	shown=$(tilde "$dir")
	say "mails in $shown:"
	mails_in "$dir" | sed 's/^/      /' >&"$out"
	sed 's/^/      To: /' "$tree_tmp/to/0.to" >&"$out"
	sed 's/^/      Cc: /' "$tree_tmp/to/0.cc" >&"$out"
	say "each has your Signed-off-by: $name <$email>. It certifies what"
	say 'Documentation/process/submitting-patches.rst ("Developer'\''s Certificate of Origin") says: read it, and the mails.'
	docs=$(cd "$source" && grep -rl Assisted-by Documentation/process 2>/dev/null | LC_ALL=C sort | paste -sd' ' | sed 's/ / and /g') || true
	[ -z "$docs" ] || say "this kernel may want to be told of tools that helped (\"Assisted-by:\"): see $docs"
	# Debian's git-email does without the second only to fail when it is run.
	if [ ! -e "$(git --exec-path)/git-send-email" ] || { debian && ! perl -MMail::Address -e1 2>/dev/null; }; then
		say "git send-email does not work on this machine yet: Debian's packages are git-email and libmailtools-perl"
	fi
	say 'nothing was sent. The mails name their thread themselves; to send them:'
	say "git send-email --no-thread --confirm=always $(quote "$dir")/*.patch"
}
