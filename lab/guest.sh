# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The verb `guest`: a Linux SNP guest on the emulated host, with what a user of SEV-SNP has: Debian's QEMU, Debian's
# firmware for SNP guests and Debian's kernel as the guest. L0 is this machine, L1 the emulated host, L2 the guest.

guest_smp=2 guest_memory=512 guest_append='' guest_kernel='' guest_boots=1

usage_guest() {
	cat <<USAGE
usage: ./snplab guest [--tree TREE] [--smp N] [--memory MIB] [--append STRING] [--kernel FILE] [--without-lockdep]
                      [--patch FILE] [--check] [--boots N] [--timeout SEC] [--json FILE] [--linux DIR] [--qemu DIR]
                      [--dry-run]

Boots a Linux SNP guest on the emulated host, with unmodified Debian software on top of the kernel that is tested:
qemu-system-x86, ovmf-amdsev and a 6.12 kernel. On a terminal its console is yours, and "exit" powers off. Otherwise
what it says is shown, and judged: it is to be launched, to run, to give a shell, to find SEV-SNP active and all of
its CPUs, to get an attestation report that the key of the emulated platform has signed, and whose measurement is
what is computed here from firmware, kernel, initrd and command line.

  --tree TREE     the host's kernel: $(trees), debian (the unmodified package), or a directory with a kernel
                  source tree (default 6.12.y)
  --smp N         the guest's CPUs, 1 to 16 (default $guest_smp)
  --memory MIB    the guest's memory, 256 to 2048 (default $guest_memory)
  --append STRING more of the guest's command line
  --kernel FILE   the guest's kernel, instead of Debian's, whose modules it gets: of another release it needs virtio,
                  configfs and sev-guest built in
  --without-lockdep
                  a host's kernel as it is used, not as it is tested: boots twice as fast
  --patch FILE    one more patch on top of the host's kernel, such as one of tests/mutants/
  --check         judge, even on a terminal; so do --boots and --json
  --boots N       so often (default 1)
  --timeout SEC   for each boot, 30 at least (default 600; with the guest's console on your terminal: none)
  --json FILE     the verdict of the first boot that fails, else of the last, machine-readable
$options_qemu
$options_common
USAGE
}

verb_guest() {
	# shellcheck disable=SC2034  # prepare's
	local guest_tests=() more_stages=2 fetch_more=fetch_guest_stage with_shell=1 host_memory interactive='' limit_each=${limit:-600} passed=0 n status=0 worst=0 nonce
	guest_usage
	! given --check && [ -z "$json" ] && [ "$guest_boots" -eq 1 ] && [ -t 0 ] && [ -t 1 ] && interactive=1
	host_memory=$((guest_memory + 1024))M
	at_exit drop_images
	say "snplab guest: $tree_name"
	if [ "$tree" = debian ]; then
		prepare_debian
	else
		if given --without-lockdep; then
			# As bench has it.
			# shellcheck disable=SC2034  # build_kernel's
			kernel_config=(base kvm bench)
			work_suffix=-bench
		fi
		prepare "$tree" boot shell fetch guest
	fi
	guest_vmlinuz
	stage "build the image: QEMU $(closure_version "$(package_dir guest-qemu)" 2>/dev/null || echo 10), guest $(image_version "$(package_dir guest-kernel)" 2>/dev/null || echo 6.12)" build_guest_image
	for ((n = 1; n <= guest_boots; n++)); do
		if [ -n "$interactive" ]; then
			guest_console
			return
		fi
		nonce=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
		status=0
		boot_guest_once $n || status=$?
		[ -z "$dry_run" ] || return 0
		if [ $status -eq 0 ]; then passed=$((passed + 1)); elif [ $worst -eq 0 ]; then worst=$status; fi
	done
	[ "$guest_boots" -eq 1 ] || say "$([ $passed -eq "$guest_boots" ] && echo PASS || echo FAIL): $passed of $guest_boots boots; logs: $(tilde "$run_dir")"
	exit $worst
}

# drop_images: what was made to be booted, hundreds of MB: however the run ends, its folder keeps the logs and the guest's initrd.
drop_images() {
	[ -z "$run_dir" ] || [ -n "$dry_run" ] ||
		rm -rf "$run_dir"/{bzImage,initrd.gz,image.cpio,initrd.all,guest,host} "$run_dir"/*/initrd.all "$run_dir"/.root.*
}

# guest_usage: what can be said before minutes go into a build.
guest_usage() {
	if [ "$tree" = debian ]; then
		[ -z "${extra_patches[*]}$linux_dir" ] || usage_error '--tree debian is a package as it is: it goes with neither --patch nor --linux'
		! given --without-lockdep || usage_error "--tree debian is a package as it is, without lockdep: it does not go with --without-lockdep"
	fi
	# The host itself boots and powers off in it.
	[ -z "$limit" ] || [ "$limit" -ge 30 ] || usage_error "guest: --timeout wants 30 seconds at least, found '$limit'"
	# What lab/launch_digest.py would refuse in the end.
	[ -z "$guest_kernel" ] || [ "$(dd if="$guest_kernel" bs=1 skip=$((0x202)) count=4 status=none | tr -d '\0')" = HdrS ] ||
		usage_error "--kernel: expected a bzImage that can be read, found none in $(tilde "$guest_kernel")" \
			'name the file that QEMU takes with -kernel: arch/x86/boot/bzImage, or /boot/vmlinuz-*'
	# QEMU gets it as it is, but for newlines at its end.
	[[ $guest_append != *$'\n'* ]] || usage_error '--append: expected one line, found several'
	[ -z "${SNPLAB_QEMU:-}" ] || ! command -v "$qemu" >/dev/null || is_snp_host ||
		die $EX_SKIP "$qemu has no emulated SNP host: nothing can be launched" 'unset SNPLAB_QEMU'
}

fetch_guest_stage() { stage "fetch Debian's QEMU, firmware and kernel for a guest" fetch_guest; }

# prepare_debian: what prepare does, with the kernel that Debian ships.
prepare_debian() {
	plan_host
	stage_all=$((5 + host_stages))
	open_run_dir
	# shellcheck disable=SC2034  # stage's
	stage_grace=30
	stage 'install what is missing' install_missing fetch build boot shell guest "${host_purposes[@]}"
	stage_grace=3
	fetch_guest_stage
	version=$(image_version "$(package_dir guest-kernel)" 2>/dev/null) || version='(version not known yet)'
	stage "take linux $version: init, modules" take_debian_kernel
	kernel=$run_dir/bzImage initrd=$run_dir/initrd.gz
	prepare_host "$run_dir/host"
	# None is built.
	work=''
}

# take_debian_kernel: as build_guest leaves it. A stage.
take_debian_kernel() {
	local d
	d=$(package_dir guest-kernel)
	build_initrd "$d/usr/lib/modules/$version" "$run_dir/initrd.gz"
	run cp "$d/boot/vmlinuz-$version" "$run_dir/bzImage"
}

# guest_vmlinuz: sets vmlinuz, the guest's.
guest_vmlinuz() {
	local d
	d=$(package_dir guest-kernel)
	vmlinuz=${guest_kernel:-$d/boot/vmlinuz-$(image_version "$d" 2>/dev/null || echo '…')}
	firmware=$(package_dir guest-firmware)/usr/share/ovmf/OVMF.amdsev.fd
	# quiet: each 16 characters are an exit to the host. What the kernel said is asked of it afterwards.
	append="console=hvc0 quiet panic=-1${guest_append:+ $guest_append}"
}

# build_guest_image: what the host (L1) has besides its init and modules, as a part of its initrd: QEMU with its
# libraries, and the guest. Uncompressed: its kernel would take seconds to inflate it. A stage.
build_guest_image() {
	local root=$run_dir/guest q f libraries
	if [ -n "$dry_run" ]; then
		run cpio -o -H newc
		return
	fi
	# The tree, its archive, and each boot's copy of that.
	need_space "$run_dir" 400 'the image of a guest'
	q=$(package_dir guest-qemu)
	mkdir -p "$root"/{guest,usr/bin,usr/share/qemu,usr/lib64,usr/lib/x86_64-linux-gnu,tests}
	ln -s usr/lib64 "$root/lib64"
	cp "$q/usr/bin/qemu-system-x86_64" "$root/usr/bin/"
	cp -L "$q/usr/lib64/ld-linux-x86-64.so.2" "$root/usr/lib64/"
	# What the loader itself says that the program needs. It fails if one is not there.
	libraries=$("$q/usr/lib64/ld-linux-x86-64.so.2" --library-path "$(library_path "$q")" --list "$q/usr/bin/qemu-system-x86_64" 2>&1) ||
		setup_error "expected QEMU's libraries in $(tilde "$q"), found not all of them: $(tail -n 1 <<<"$libraries")" \
			"delete it, and it is fetched again"
	while read -r f; do cp -L "$f" "$root/usr/lib/x86_64-linux-gnu/"; done < <(sed -n 's/.* => \(\/.*\) (0x.*/\1/p' <<<"$libraries")
	cp "$q"/usr/share/qemu/{kvmvapic.bin,linuxboot_dma.bin} "$root/usr/share/qemu/"
	cp "$lab/guest/snp_guest" "$root/tests/"
	cp "$firmware" "$root/guest/firmware"
	cp "$vmlinuz" "$root/guest/vmlinuz"
	guest_initrd "$root/guest/initrd"
	# For the digest, after the image is gone.
	cp "$root/guest/initrd" "$run_dir/guest.initrd"
	printf '%s' "$append" >"$root/guest/append"
	(cd "$root" && find . -print0 | sort -z | cpio -0 -o -H newc -R 0:0 --reproducible --quiet) >"$run_dir/image.cpio"
}

# guest_initrd OUT: the guest's own.
guest_initrd() {
	local root d
	d=$(package_dir guest-kernel)
	root=$(mktemp -d "$run_dir/.root.XXXXXX")
	mkdir -p "$root"/{bin,dev,proc,sys,modules}
	copy_busybox "$root/bin/busybox"
	cp "$lab/guest/init" "$root/init"
	cp "$lab/guest/check" "$root/bin/check"
	# gcm: messages to the firmware are enciphered. The driver asks for it by its name, and modprobe would find it.
	copy_modules "$d/usr/lib/modules/$(image_version "$d")" "$root/modules" ghash-generic gcm sev-guest
	archive "$root" >"$1"
	rm -rf "$root"
}

# guest_line LOGS TESTS SERIAL...: fills qemu_args. The settings are the last part of the initrd, in LOGS.
guest_line() {
	local logs=$1 tests=$2 root
	shift 2
	if [ -z "$dry_run" ]; then
		# In a boot of --boots a failure ends nothing by itself, and what is not whole would be judged as a kernel that panics.
		root=$(mktemp -d "$run_dir/.root.XXXXXX") || setup_error "cannot write into $(tilde "$run_dir")" 'is the disk full?'
		mkdir "$root/guest"
		printf '%s\n' "smp=$guest_smp" "memory=$guest_memory" "nonce=${nonce:-}" "limit=$((limit_each - 20))" stuck=10 >"$root/guest/settings"
		# The compressed parts last: the kernel wants those that are not at their place.
		{ cat "$run_dir/image.cpio" "$initrd" && archive "$root"; } >"$logs/initrd.all" || {
			out_of_space "$run_dir"
			setup_error "cannot write $(tilde "$logs/initrd.all")" 'what was said is above'
		}
		rm -rf "$root"
	fi
	# Without KUnit: its tests have been run by others, and take longer than the guest.
	qemu_line "$kernel" "$logs/initrd.all" \
		"kunit.enable=0 snplab.report=/dev/ttyS1 snplab.tests=$tests snplab.timeout=$limit_each" "$@"
}

# boot_guest_once N: and judges it. Not the exit that verdicts end with: there may be another boot.
boot_guest_once() {
	local logs=$run_dir/$1 status=0 args json_args s key
	[ -n "$dry_run" ] || mkdir "$logs"
	key=$logs/vcek.pem args=()
	# Until this one has its verdict, there is none: not that of the boot before.
	json_done=''
	guest_line "$logs" snp_guest -serial "file:$logs/kernel.log" -serial stdio -d guest_errors -D "$logs/host.log"
	qemu_args=("${qemu_args[@]/#"$host_psp"/"$host_psp,vcek-file=${key//,/,,}"}")
	stage_now=$((stage_now + ($1 == 1)))
	# In a dry run there is none to ask.
	qemu_is=$(qemu_version) || qemu_is=
	say "[$stage_now/$stage_all] boot linux $version on the emulated host, QEMU ${qemu_is:-$qemu_release} (TCG), and on it a guest with $guest_smp CPUs$([ "$guest_boots" -eq 1 ] || echo ", boot $1 of $guest_boots") …"
	if [ -n "$dry_run" ]; then run "${qemu_args[@]}"; return; fi
	set -m
	(
		trap - INT TERM HUP EXIT
		set -o pipefail
		boot_line "$logs" "$limit_each" | python3 "$lab/guest.py" show "$logs"
	) >&"$out" &
	stage_job=$!
	set +m
	wait "$stage_job" || status=$?
	kill -KILL -- "-$stage_job" 2>/dev/null || true
	stage_job=
	rm -f "$logs/initrd.all"
	boot_ended $status "$logs" "$limit_each"
	verdict_args "$tree" snp_guest
	if [ "$tree" = debian ]; then args+=(--snp); fi
	for s in "${stage_times[@]}"; do args+=(--stage "$s"); done
	# Of a boot that passes after one that has failed the JSON says nothing: it would belie the exit status.
	json_args=()
	[ -z "$json" ] || [ "$worst" -ne 0 ] || json_args=(--json "$json")
	json_done=1 status=0
	python3 "$lab/guest.py" judge "$logs" --tree "$tree_name" --linux "$version" --qemu "$qemu_is" --tests snp_guest \
		--shown-logs "$(tilde "$logs")" "${json_args[@]}" --nonce "$nonce" --smp "$guest_smp" --key "$key" \
		--firmware "$firmware" --kernel "$vmlinuz" --initrd "$run_dir/guest.initrd" --append "$append" "${args[@]}" >&"$out" || status=$?
	return $status
}

# guest_console: the user's terminal is the guest's console.
guest_console() {
	# Who sits there takes the time it takes, but for a limit of his own: ten minutes are a test's.
	limit_each=${limit:-1000000}
	stage_now=$((stage_now + 1))
	say "[$stage_now/$stage_all] boot linux $version, and on it a guest with $guest_smp CPUs; \"exit\" powers off, Ctrl-A X ends QEMU"
	guest_line "$run_dir" snp_guest:/dev/ttyS2 -serial "file:$run_dir/kernel.log" -serial "file:$run_dir/ktap.log" -serial mon:stdio
	if [ -n "$dry_run" ]; then run "${qemu_args[@]}"; return; fi
	# Whatever its status is: what it comes to is said below.
	"${qemu_args[@]}" || true
	grep -qs '^ok 1 snp_guest' "$run_dir/ktap.log" ||
		die $EX_FAIL "the guest did not end by itself, or QEMU failed: $(grep -as '^# ' "$run_dir/ktap.log" | tail -n 2 | head -n 1 | cut -c3-); logs: $(tilde "$run_dir")"
}
