#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Checks whether this machine is an SEV-SNP host, runs sev_snp_launch_test on it, and prints a text to mail. The machine
# needs only this file, the test's binary, a POSIX shell and small tools (busybox has all of them), but no compiler and
# no network.
#
# usage: hw.sh --check | --binary FILE [--brief] [--force] [--timeout SEC] [--expect FILE] [--json FILE] [-- ARGUMENT...]
#
#   --check         only check the prerequisites
#   --binary FILE   the test: sev_snp_launch_test, statically linked
#   --brief         print only the prerequisites that are not as expected
#   --force         run the test even if a prerequisite is missing: a pass then counts as SKIP
#   --timeout SEC   time limit of the whole test (default 600)
#   --expect FILE   the list of known failures on this kernel: series/*/expect
#   --json FILE     write the verdict as JSON
#   -- ARGUMENT...  arguments for the test
#
# Writes only to a folder below TMPDIR, which it removes, and to FILE of --json.
# Exit status: 0 pass (--check: nothing is missing), 1 the test failed or the kernel reported something, 2 usage,
# 4 skipped: a prerequisite is missing, or the test skipped itself or all of its cases, 124 timed out.
set -u
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
export PATH
# For tests of this script: a folder with another /proc, /sys, /dev, /boot and kernel log (kernel.log).
root=${SNPLAB_HW_ROOT:-}

check='' binary='' brief='' force='' expect='' limit=600 json=''
usage() { sed -n '/^# usage:/,/^[^#]/s/^# \{0,1\}//p' "$0"; }
usage_error() {
	printf 'snplab: %s\n        hint: %s\n' "$1" "${2:-$0 --help}" >&2
	exit 2
}
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help) usage; exit ;;
	--check) check=1; shift; continue ;;
	--brief) brief=1; shift; continue ;;
	--force) force=1; shift; continue ;;
	--) shift; break ;;
	--binary | --timeout | --expect | --json) [ $# -ge 2 ] || usage_error "$1 wants a value" ;;
	*) usage_error "hw has no option $1" ;;
	esac
	case $1 in
	--binary) binary=$2 ;;
	--json) json=$2 ;;
	--expect)
		[ -r "$2" ] || usage_error "--expect: cannot read $2"
		expect=$2 ;;
	--timeout)
		case $2 in '' | 0* | *[!0-9]*) usage_error "--timeout wants seconds, found '$2'" ;; esac
		limit=$2 ;;
	esac
	shift 2
done
[ -n "$check$binary" ] || usage_error 'expected --binary FILE or --check, found neither'
if [ -n "$binary" ]; then
	[ -f "$binary" ] || usage_error "--binary: no such file: $binary"
	[ -x "$binary" ] || usage_error "--binary: $binary cannot be executed" "chmod +x $binary; is it on a file system mounted noexec?"
	case $binary in */*) ;; *) binary=./$binary ;; esac
fi
# In a subshell: if a redirection of ":" fails, a POSIX shell ends.
if [ -n "$json" ] && ! (: >>"$json") 2>/dev/null; then
	usage_error "--json: cannot write $json" 'name a file in a folder that is there'
fi

tmp=$(mktemp -d "${TMPDIR:-/tmp}/snplab-hw.XXXXXX") || { echo 'snplab: expected a TMPDIR that can be written' >&2; exit 3; }
job=''
leave() {
	trap - EXIT INT TERM HUP
	[ -z "$job" ] || kill_tree "$job" KILL
	rm -rf "$tmp"
	exit "$1"
}
trap 'leave $?' EXIT
trap 'leave 129' HUP
trap 'leave 130' INT
trap 'leave 143' TERM

# --- Results -----------------------------------------------------------------------------------

missing=0 unknown=0 first_missing='' checks=''

# A JSON string: no control characters, quotes and backslashes escaped.
string() {
	case $1 in
	*[!A-Za-z0-9\ ./_:,=\(\)-]*) printf '"%s"' "$(printf '%s' "$1" | tr '\t\n' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g')" ;;
	*) printf '"%s"' "$1" ;;
	esac
}

# result RESULT NAME EXPECTED FOUND [HINT]
result() {
	[ -z "$json" ] || checks="$checks${checks:+, }{\"check\": $(string "$2"), \"result\": \"$1\", \"expected\": $(string "$3"), \"found\": $(string "$4"), \"hint\": $(string "${5:-}")}"
	case $1 in
	ok) [ -n "$brief" ] || printf '%-8s %s: %s\n' ok "$2" "$4" ;;
	*)
		printf '%-8s %s: expected %s, found %s\n' "$1" "$2" "$3" "$4"
		[ -z "${5:-}" ] || printf '         hint: %s\n' "$5"
		;;
	esac
}
ok() { result ok "$1" "$2" "$3"; }
missing() {
	missing=$((missing + 1))
	[ -n "$first_missing" ] || first_missing=$1
	result missing "$@"
}
# A prerequisite that could not be checked. The test is run nevertheless.
unknown() {
	unknown=$((unknown + 1))
	result unknown "$@"
}
# Information that is no prerequisite.
note() { printf 'note     %s: %s\n' "$1" "$2"; }

# --- Reading the machine's state ---------------------------------------------------------------

field() { sed -n "s/^$1[[:space:]]*: *//p" "$root/proc/cpuinfo" 2>/dev/null | head -n 1; }
has_flag() { case " $flags " in *" $1 "*) ;; *) return 1 ;; esac; }
has_bit() { [ $((0x$1 >> $2 & 1)) -eq 1 ]; }
hex() { printf '0x%x' $((0x$1)); }

# read_at FILE OFFSET BYTES UNIT: prints hexadecimal numbers of UNIT bytes each; nothing if FILE cannot be read.
read_at() { dd if="$1" bs="$3" count=1 skip="$2" iflag=skip_bytes 2>/dev/null | od -An -v -tx"$4"; }
# msr NUMBER: prints 16 digits. The module msr provides the file.
msr() { read_at "$root/dev/cpu/0/msr" $(($1)) 8 8 | tr -d ' \n'; }
# cpuid LEAF: prints EAX EBX ECX EDX; nothing if there is no such leaf, for which the CPU would return another leaf's
# values. The module cpuid provides the file.
cpuid() {
	# shellcheck disable=SC2046  # four words
	set -- "$1" $(read_at "$root/dev/cpu/0/cpuid" $((0x80000000)) 16 4)
	[ $# -eq 5 ] && [ $((0x$2)) -ge $(($1)) ] || return 0
	read_at "$root/dev/cpu/0/cpuid" $(($1)) 16 4
}

# kernel_log FILE: writes the kernel's log to FILE. False if the log cannot be read.
kernel_log() {
	if [ -n "$root" ]; then
		cat "$root/kernel.log" >"$1" 2>/dev/null
	else
		dmesg >"$1" 2>/dev/null
	fi || { : >"$1"; return 1; }
}
# boot_log: gets the log since the boot. If the ring buffer has lost its beginning, journalctl may still have it.
boot_log() {
	kernel_log "$tmp/boot" && grep -q 'Linux version' "$tmp/boot" && return
	[ -z "$root" ] && command -v journalctl >/dev/null && journalctl -q -k -b -o cat >"$tmp/journal" 2>/dev/null &&
		grep -q 'Linux version' "$tmp/journal" && mv "$tmp/journal" "$tmp/boot"
}
# said PATTERN: prints the last line of the boot's log that matches, without its time.
said() { grep -E -- "$1" "$tmp/boot" | tail -n 1 | sed 's/^\(\[[^]]*\] *\)*//'; }

version_at_least() { # FOUND MAJOR MINOR
	v_major=${1%%.*} v_minor=${1#*.}
	v_minor=${v_minor%%[!0-9]*}
	case $v_major$v_minor in *[!0-9]* | '') return 1 ;; esac
	[ "$v_major" -gt "$2" ] || { [ "$v_major" -eq "$2" ] && [ "${v_minor:-0}" -ge "$3" ]; }
}

# firmware_says: prints the last line in which a kernel says that the firmware did not start SEV or SNP. The words change:
# 6.1 says "SEV: failed to INIT", 6.12 "SEV-SNP: failed to INIT rc", 7.3 "SEV-SNP: SNP_INIT_EX failed rc".
firmware_says() {
	said 'SEV(-SNP)?: failed to INIT|SEV(-SNP)?: (SNP_INIT|SNP_INIT_EX|SNP_DF_FLUSH|INIT|INIT_EX|DF_FLUSH) failed|SNP init failed: not all CPUs online|SEV firmware .*(failed|timed out)|sev command .* timed out'
}

# firmware_hint LINE: what to do about a line of firmware_says; the statuses are those of include/uapi/linux/psp-sev.h.
firmware_hint() {
	all_cpus='SNP is switched on for all CPUs at once: boot without nosmt and maxcpus=, put every CPU online, load ccp and kvm_amd again'
	error=$(printf '%s\n' "$1" | sed -n -e 's/.*error:* *\(0x[0-9a-fA-F]*\).*/\1/p' -e 's/.* failed \(0x[0-9a-fA-F]*\).*/\1/p' | head -n 1)
	case $1 in *'not all CPUs online'*) error=cpus ;; esac
	case $error in
	cpus) echo "$all_cpus" ;;
	0x1) echo 'INVALID_PLATFORM_STATE (0x1): the firmware is initialised already, perhaps by the kernel before a kexec: a cold reset' ;;
	0x3) echo "INVALID_CONFIG (0x3): SNP is not on on every CPU, or the BIOS has set it up differently on some. $all_cpus; then the BIOS settings (docs/hardware.md)" ;;
	0xe) echo 'WBINVD_REQUIRED (0xe): caches of an earlier use were not written back on every CPU: put every CPU online, load ccp and kvm_amd again; then a cold reset' ;;
	0xf) echo 'DFFLUSH_REQUIRED (0xf): the firmware was shut down and not flushed since: load ccp and kvm_amd again; then a cold reset' ;;
	0x17) echo 'RESOURCE_LIMIT (0x17): the firmware has no room: a cold reset, then an update of the BIOS' ;;
	0x20 | 0x26) echo "the firmware cannot initialise the RMP ($error): see rmp above; a cold reset, then an update of the BIOS" ;;
	*) echo 'the firmware refused: a cold reset, then an update of the firmware or the BIOS; psp_init_on_probe=1 is the ccp default' ;;
	esac
}

# --- Prerequisites -----------------------------------------------------------------------------

in_log="in the kernel's log:"
bios_hint='in the BIOS setup (names differ, docs/hardware.md):'

check_cpu() {
	vendor=$(field vendor_id) family=$(field 'cpu family') model=$(field model) stepping=$(field stepping)
	model_name=$(field 'model name') microcode=$(field microcode) flags=$(field flags)
	want='an EPYC 7003 or later (AuthenticAMD, family 25 or more)'
	found="${model_name:-no model name}, ${vendor:-no vendor}, family ${family:-not known}"
	if [ "$vendor" = AuthenticAMD ] && [ "${family:-0}" -ge 25 ]; then ok cpu "$want" "$found"; else
		missing cpu "$want" "$found" 'SEV-SNP needs an AMD EPYC of the third generation (Milan) or later'
	fi
	if has_flag hypervisor; then
		missing 'bare machine' 'no hypervisor below' 'the CPU flag hypervisor: this is a virtual machine' \
			'SNP guests are launched by the kernel of the bare machine: run this there'
	else
		ok 'bare machine' 'no hypervisor below' 'no CPU flag hypervisor'
	fi
	if has_flag svm; then ok svm 'the CPU flag svm' svm; else
		missing svm 'the CPU flag svm' 'none' "$bios_hint SVM Mode: Enabled"
	fi
}

check_features() {
	want='SEV, SEV-ES and SEV-SNP in leaf 8000001F'
	# shellcheck disable=SC2046  # four words
	set -- $(cpuid 0x8000001f)
	cpuid_snp=''
	if [ $# -ne 4 ]; then
		if [ ! -r "$root/dev/cpu/0/cpuid" ]; then
			unknown cpuid "$want" '/dev/cpu/0/cpuid cannot be read' 'as root: modprobe cpuid'
		else
			missing cpuid "$want" 'no such leaf' 'this CPU has no SEV: SNP needs an AMD EPYC 7003 or later'
		fi
	else
		lacks=''
		has_bit "$1" 1 || lacks="$lacks SEV"
		has_bit "$1" 3 || lacks="$lacks SEV-ES"
		has_bit "$1" 4 || lacks="$lacks SEV-SNP"
		if [ -z "$lacks" ]; then
			cpuid_snp=1
			ok cpuid "$want" "EAX $(hex "$1")"
		else
			missing cpuid "$want" "no$lacks (EAX $(hex "$1"))" \
				'this CPU cannot do it, or its firmware has fused it off: SNP needs an AMD EPYC 7003 or later'
		fi
	fi

	want='SMEE, bit 23 of SYSCFG' syscfg=$(msr 0xc0010010)
	if [ -z "$syscfg" ]; then
		unknown smee "$want" '/dev/cpu/0/msr cannot be read' 'as root: modprobe msr'
	elif has_bit "$syscfg" 23; then
		ok smee "$want" "SYSCFG $(hex "$syscfg")"
	else
		missing smee "$want" "it is clear (SYSCFG $(hex "$syscfg"))" "$bios_hint SMEE (Secure Memory Encryption): Enabled"
	fi

	want='sev, sev_es and sev_snp in /proc/cpuinfo' lacks=''
	for flag in sev sev_es sev_snp; do has_flag $flag || lacks="$lacks $flag"; done
	if [ -z "$lacks" ]; then ok flags "$want" 'all three'; else
		case $lacks in
		' sev_snp')
			hint="the kernel hides it where the BIOS has reserved no RMP, or with sev=nosnp on its command line: see rmp and cmdline below"
			[ -n "$cpuid_snp" ] || hint="this CPU cannot do it, or the kernel hides it: see cpuid above, rmp and cmdline below" ;;
		*) hint="the kernel hides them where the BIOS has not enabled SMEE or has not locked SMM: $bios_hint SMEE: Enabled, SMM Lock: Enabled" ;;
		esac
		missing flags "$want" "no$lacks" "$hint"
	fi

	want='ASIDs for SEV-ES and SNP (the lowest SEV ASID is 2 or more)'
	snp_says=$(said 'kvm_amd: SEV-SNP (en|dis)abled|kvm_amd: SEV-SNP unusable')
	if [ $# -ne 4 ]; then
		case $snp_says in
		*' - 0)'* | '') unknown asids "$want" 'leaf 8000001F cannot be read' 'as root: modprobe cpuid' ;;
		*) ok asids "$want" "$snp_says" ;;
		esac
	elif [ $((0x$4)) -gt 1 ] && [ $((0x$3)) -gt 0 ]; then
		ok asids "$want" "1 - $((0x$4 - 1))"
	else
		missing asids "$want" "$((0x$3)) ASIDs, the lowest for SEV is $((0x$4))" \
			"$bios_hint SEV-ES ASID Space Limit Control: Manual, SEV-ES ASID Space Limit: 100 (Minimum SEV non-ES ASID)"
	fi
}

check_rmp() {
	want='memory for the RMP, reserved by the BIOS'
	rmp_hint="$bios_hint SNP Memory (RMP Table) Coverage: Enabled, for all of the memory"
	line=$(said 'SEV-SNP: (Memory for the RMP table has not been|Memory reserved for the RMP table does not|RMP configuration not valid|RMP segment size .* is not within|Segmented RMP does not cover|Invalid RMP|Failed to map RMP)')
	if [ -n "$line" ]; then
		missing rmp "$want" "$in_log $line" "$rmp_hint"
		return
	fi
	line=$(said 'SEV-SNP: (Segmented )?RMP (base )?table physical range')
	if [ -n "$line" ]; then ok rmp "$want" "$line"; return; fi
	base=$(msr 0xc0010132) end=$(msr 0xc0010133)
	if [ -z "$base$end" ]; then
		unknown rmp "$want" "no word in the kernel's log, and the MSR RMP_BASE cannot be read" 'as root: modprobe msr'
	elif [ $((0x$base & 0xfffffffffe000)) -eq 0 ]; then
		missing rmp "$want" "RMP_BASE is $(hex "$base")" "$rmp_hint"
	else
		ok rmp "$want" "RMP_BASE $(hex "$base"), RMP_END $(hex "${end:-0}")"
	fi
}

check_iommu() {
	want='an AMD IOMMU with SNP support, enabled and translating'
	line=$(said 'AMD-Vi: SNP: |AMD-Vi: IOMMU SNP support enabled')
	case $line in
	*'support enabled'*) ok iommu "$want" "$line"; return ;;
	*passthrough*) hint='take iommu=pt or iommu.passthrough=1 off the kernel command line, or boot a kernel that is configured for translation; or the IOMMU is off in the BIOS: IOMMU: Enabled' ;;
	*'IOMMU disabled'*) hint="take amd_iommu=off or iommu=off off the kernel command line; $bios_hint IOMMU: Enabled" ;;
	*'V2 page table'*) hint='take amd_iommu=pgtbl_v2 off the kernel command line' ;;
	*'feature not enabled'*) hint="$bios_hint SEV-SNP Support: Enabled (beside the IOMMU, in NBIO Common Options)" ;;
	*'RMP initialization failed'*) hint="see rmp above; $bios_hint SNP Memory (RMP Table) Coverage: Enabled" ;;
	esac
	if [ -n "$line" ]; then missing iommu "$want" "$in_log $line" "$hint"; return; fi
	for ivhd in "$root"/sys/class/iommu/ivhd*; do
		[ -e "$ivhd" ] || continue
		unknown iommu "$want" "an IOMMU, and no word in the kernel's log whether with SNP" "read the kernel's log as root: dmesg | grep AMD-Vi"
		return
	done
	missing iommu "$want" "no ivhd in /sys/class/iommu" \
		"$bios_hint IOMMU: Enabled, SEV-SNP Support: Enabled; no amd_iommu=off or iommu=off on the kernel command line"
}

check_kernel() {
	if [ -n "$root" ]; then
		release=$(cat "$root/proc/sys/kernel/osrelease" 2>/dev/null)
		kernel_build=$(cat "$root/proc/sys/kernel/version" 2>/dev/null)
	else
		release=$(uname -r) kernel_build=$(uname -v)
	fi
	if version_at_least "$release" 6 11; then ok kernel '6.11 or later' "$release"; else
		missing kernel '6.11 or later' "${release:-no version}" \
			'KVM launches SNP guests since 6.11: install a newer kernel, such as the one to be tested'
	fi

	want='KVM_AMD, KVM_AMD_SEV, AMD_MEM_ENCRYPT, CRYPTO_DEV_SP_PSP, AMD_IOMMU' config=''
	for f in proc/config.gz "boot/config-$release" "lib/modules/$release/config" "lib/modules/$release/build/.config"; do
		[ -r "$root/$f" ] || continue
		case $f in
		*.gz) gzip -dc "$root/$f" >"$tmp/config" 2>/dev/null || continue ;;
		*) cat "$root/$f" >"$tmp/config" 2>/dev/null || continue ;;
		esac
		config=/$f
		break
	done
	lockdep='not known'
	if [ -z "$config" ]; then
		unknown config "$want" "no /proc/config.gz and no /boot/config-$release that can be read" ''
	else
		lacks=''
		for symbol in KVM_AMD KVM_AMD_SEV AMD_MEM_ENCRYPT CRYPTO_DEV_SP_PSP AMD_IOMMU; do
			grep -qE "^CONFIG_$symbol=[ym]$" "$tmp/config" || lacks="$lacks CONFIG_$symbol"
		done
		if [ -z "$lacks" ]; then ok config "$want" "all of them, in $config"; else
			missing config "$want" "no$lacks in $config" 'build the kernel with these'
		fi
		lockdep=off
		! grep -qx CONFIG_PROVE_LOCKING=y "$tmp/config" || lockdep=on
	fi

	want='nothing that turns SNP off' cmdline=$(cat "$root/proc/cmdline" 2>/dev/null) bad=''
	for word in $cmdline; do
		case $word in
		sev=nosnp | sev=*,nosnp | sev=nosnp,* | amd_iommu=off | iommu=off | amd_iommu=pgtbl_v2) bad="$bad $word" ;;
		kvm[_-]amd.sev=[0nN]* | kvm[_-]amd.sev_es=[0nN]* | kvm[_-]amd.sev_snp=[0nN]* | kvm[_-]amd.npt=[0nN]*) bad="$bad $word" ;;
		iommu=pt | iommu.passthrough=1)
			[ -n "$(said 'IOMMU SNP support enabled')" ] || note cmdline "$word: most kernels refuse SNP with an IOMMU that passes through" ;;
		esac
	done
	if [ -n "$bad" ]; then missing cmdline "$want" "${bad# }" 'take it off the kernel command line and reboot'; else
		ok cmdline "$want" 'nothing that does'
	fi
}

check_modules() {
	for module in ccp kvm_amd; do
		if [ -d "$root/sys/module/$module" ]; then ok "$module" 'loaded, or built in' 'it is there'; else
			missing "$module" 'the module, loaded' "no /sys/module/$module" "as root: modprobe $module; what it says is in the kernel's log"
		fi
	done

	want='the secure processor (PSP), with SEV'
	if [ -e "$root/sys/class/misc/sev" ]; then ok psp "$want" "the ccp driver has registered /dev/sev"; else
		line=$(said 'ccp .*(psp: unable to access|initialization failed|not enabled by BIOS|unable to allocate an IRQ)|SEV: memory encryption not enabled by BIOS')
		missing psp "$want" "no /sys/class/misc/sev${line:+; $in_log $line}" \
			"is ccp loaded (above)? If it is, it found no secure processor that offers SEV: look for ccp in the kernel's log; $bios_hint SMEE: Enabled, and the PSP not hidden; then a BIOS update"
	fi

	for parameter in sev sev_es sev_snp; do
		want="Y in /sys/module/kvm_amd/parameters/$parameter"
		value=$(cat "$root/sys/module/kvm_amd/parameters/$parameter" 2>/dev/null)
		case $value in [Yy1]) ok "kvm_amd $parameter" "$want" "$value"; continue ;; esac
		set_by=''
		for word in $cmdline; do
			case $word in kvm[_-]amd.$parameter=[0nN]*) set_by="the kernel command line ($word)" ;; esac
		done
		[ -n "$set_by" ] || set_by=$(grep -lE "^[[:space:]]*options[[:space:]]+kvm[_-]amd[[:space:]](.*[[:space:]])?$parameter=[0nN]" \
			"$root"/etc/modprobe.d/*.conf "$root"/usr/lib/modprobe.d/*.conf 2>/dev/null | sed "s,^$root,," | head -n 1)
		line=$(said 'kvm_amd: SEV-SNP (disabled|unusable)')
		[ -n "$line" ] || line=$firmware_line
		if [ -n "$set_by" ]; then
			hint="$set_by turns it off: take that away, and load kvm_amd again"
		elif [ ! -d "$root/sys/module/kvm_amd" ]; then
			hint='load kvm_amd first'
		elif [ -n "$firmware_line" ]; then
			hint='mend what firmware says below, and load kvm_amd again'
		else
			hint="kvm_amd found something missing when it was loaded, or was loaded with $parameter=0: mend what is missing above, and load kvm_amd again"
		fi
		missing "kvm_amd $parameter" "$want" "${value:-no such file}${line:+; $in_log $line}" "$hint"
	done

	[ -d "$root/sys/module/kvm_amd" ] || return
	want='SNP guests, of kvm_amd'
	case $snp_says in
	*enabled*) ok 'kvm_amd says' "$want" "$snp_says" ;;
	'') unknown 'kvm_amd says' "$want" "no word in the kernel's log" '' ;;
	*unusable*) missing 'kvm_amd says' "$want" "$snp_says" 'the firmware or the ASIDs do not allow it: see asids above and firmware below' ;;
	*) missing 'kvm_amd says' "$want" "$snp_says" 'mend what is missing above, and load kvm_amd again' ;;
	esac
}

check_firmware() {
	want='SNP firmware, API 1.51 or later'
	api=$(said 'SEV(-SNP)? API:[0-9]+\.[0-9]+' | sed -n 's/.* API:\([0-9.]*\) *\(build:[0-9]*\).*/\1 \2/p')
	if [ -n "$api" ] && ! version_at_least "$api" 1 51; then
		missing firmware "$want" "API $api" \
			'update it: the linux-firmware package has amd/amd_sev_fam*.sbin, which ccp loads at boot (rebuild the initrd); or a BIOS update'
	elif [ -n "$firmware_line" ] && [ "$(cat "$root/sys/module/kvm_amd/parameters/sev_snp" 2>/dev/null)" != Y ]; then
		missing firmware "$want" "$in_log $firmware_line" "$(firmware_hint "$firmware_line")"
	elif [ -n "$api" ]; then
		ok firmware "$want" "API $api"
	elif [ "$(cat "$root/sys/module/kvm_amd/parameters/sev_snp" 2>/dev/null)" = Y ]; then
		# ccp does not initialise older SNP firmware.
		ok firmware "$want" "no version in the kernel's log, but kvm_amd has initialised it"
	else
		unknown firmware "$want" "no version in the kernel's log" 'as root: dmesg | grep "API:"'
	fi
}

# check_device PATH MODE HINT-IF-ABSENT: opens the device, as mode bits alone do not decide who may.
check_device() {
	file=$root$1 want="$1, to be opened for $2"
	if [ ! -c "$file" ]; then missing "$1" "$want" 'no such device' "$3"; return; fi
	case $2 in
	reading) (: <"$file") 2>/dev/null ;;
	*) (: <>"$file") 2>/dev/null ;;
	esac && { ok "$1" "$want" 'it opens'; return; }
	if [ "$(id -u)" -eq 0 ]; then
		missing "$1" "$want" 'it does not open, for root' 'in a container, it has to be let in; or the driver has gone'
	else
		# shellcheck disable=SC2012  # the file's name is known
		missing "$1" "$want" "no right to ($(ls -ln "$file" | awk '{ print $1 ", owner " $3 ", group " $4 }'), and this is user $(id -u))" \
			"run as root; or join the group that owns it (often kvm, sev), or let an udev rule give it one"
	fi
}

check_room() {
	kib=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' "$root/proc/meminfo" 2>/dev/null)
	want='512 MiB of memory to spare'
	if [ -z "$kib" ]; then unknown memory "$want" 'no MemAvailable in /proc/meminfo' ''
	elif [ "$kib" -ge 524288 ]; then ok memory "$want" "$((kib / 1024)) MiB"
	else missing memory "$want" "$((kib / 1024)) MiB" 'stop something, and run again'
	fi

	files=$(sed -n 's/^Max open files *\([^ ]*\) .*/\1/p' "$root/proc/self/limits" 2>/dev/null)
	want='256 open files for the test'
	case $files in
	'') unknown limits "$want" 'no /proc/self/limits' '' ;;
	*[!0-9]*) ok limits "$want" "$files" ;;
	*)
		if [ "$files" -ge 256 ]; then ok limits "$want" "$files"; else
			missing limits "$want" "$files" 'ulimit -n 1024'
		fi ;;
	esac

	want='an ASID that no guest has'
	capacity=$(sed -n 's/^sev_es //p' "$root/sys/fs/cgroup/misc.capacity" 2>/dev/null)
	used=$(sed -n 's/^sev_es //p' "$root/sys/fs/cgroup/misc.current" 2>/dev/null)
	# Most kernels and containers do not have these files; then the test itself skips or fails.
	if [ -n "$capacity" ] && [ -n "$used" ]; then
		if [ "$capacity" -gt "$used" ]; then ok 'free asids' "$want" "$((capacity - used)) of $capacity"; else
			missing 'free asids' "$want" "$used of $capacity are in use" 'stop a guest with SEV-ES or SEV-SNP'
		fi
	fi

	guests=0
	for f in "$root"/sys/kernel/debug/kvm/[0-9]*-[0-9]*; do [ ! -d "$f" ] || guests=$((guests + 1)); done
	[ "$guests" -eq 0 ] ||
		note guests "$guests of KVM are running here: on a kernel without the fix, the test can hang or crash the machine with them (docs/hardware.md)"
}

log_readable=1
boot_log || true
[ -s "$tmp/boot" ] || log_readable=''

firmware_line=$(firmware_says)

check_cpu
check_features
check_rmp
check_iommu
check_kernel
check_modules
check_firmware
check_device /dev/kvm 'reading and writing' 'see kvm_amd above; in a container it has to be let in; without udev: mknod /dev/kvm c 10 232'
check_device /dev/sev reading 'see psp above: where that is there, the node has been removed or this is a container that it has to be let into'
check_room
if [ -n "$log_readable" ]; then ok "kernel's log" 'one that can be read' 'it can'; else
	unknown "kernel's log" 'one that can be read' 'dmesg says nothing, or may not be read by this user' \
		'run as root: without it, nobody sees what the kernel reports while the test runs'
fi

# --- The test ----------------------------------------------------------------------------------

# The same list as in lab/judge/kernel_log.py; tests/test_hw_rules.py compares the two.
report='^(\[[^]]*\][[:space:]]*)?WARNING: |cut here|(^|[^A-Za-z0-9_])BUG[: ]|kernel BUG at|KASAN|KCSAN|UBSAN|general protection fault|'\
'Oops: |\[#[0-9]+\]|unable to handle|INFO: task .* blocked|INFO: possible|INFO: suspicious RCU|'\
'INFO: trying to register|INFO: lockdep is turned off|suspicious RCU usage|DEBUG_LOCKS_WARN_ON|DEAD LOCK|'\
'bad unlock balance|detected .*stalls|self-detected stall|soft lockup|hard LOCKUP|refcount_t: |'\
'list_(add|del) corruption|Nested lock was not taken|held lock freed|lock held when returning|'\
'RMP fault|RMP violation|sleeping function called|Leaking PFN range|Leaked pages|'\
'SEV: failed to .*(reclaim|release)|Failed to reclaim'

# since BEFORE AFTER: prints the new lines of AFTER. It counts lines; if the ring buffer has dropped old ones, it looks
# for the last line of BEFORE.
since() {
	if [ "$(head -n 1 "$1")" = "$(head -n 1 "$2")" ]; then
		tail -n +$(($(wc -l <"$1") + 1)) "$2"
		return
	fi
	last=$(tail -n 1 "$1")
	awk -v last="$last" '{ line[NR] = $0; if ($0 == last) from = NR } END { for (i = from + 1; i <= NR; i++) print line[i] }' "$2"
}

children() { # PID: prints its children, their children, and so on
	# A process may end while its file is read, which leaves a part of a line, or none.
	cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\([0-9][0-9]*\) (.*) [A-Za-z] \([0-9][0-9]*\) .*/\1 \2/p' |
		awk -v top="$1" '{ parent[$1] = $2 }
			END { for (p in parent) for (q = p; q > 1 && q in parent; q = parent[q]) if (parent[q] == top) { print p; break } }'
}
kill_tree() { # PID SIGNAL
	for pid in $(children "$1") "$1"; do kill -"$2" "$pid" 2>/dev/null; done
	:
}
# stacks PID: prints the stack of each thread of a test that does not end. A thread that waits for a leaked lock shows.
stacks() {
	for pid in $(children "$1"); do
		for task in /proc/"$pid"/task/*; do
			printf '      thread %s (%s):\n' "${task##*/}" "$(cat "$task/comm" 2>/dev/null)"
			head -n 12 "$task/stack" 2>/dev/null | sed 's/^/        /'
		done
	done
}

nap() { sleep 0.2 2>/dev/null || sleep 1; }

# run_test ARGUMENT...: sets test_status, or timed_out.
run_test() {
	mkfifo "$tmp/pipe" || leave 3
	{ tee "$tmp/out" <"$tmp/pipe"; : >"$tmp/shown"; } &
	shown=$!
	{ "$binary" "$@" </dev/null; echo $? >"$tmp/status"; } >"$tmp/pipe" 2>&1 &
	job=$! timed_out='' started=$(seconds)
	until [ -s "$tmp/status" ]; do
		nap
		[ $(($(seconds) - started)) -ge "$limit" ] || continue
		timed_out=1
		printf '\nno end within %s s; where its threads are:\n' "$limit"
		stacks "$job"
		kill_tree "$job" KILL
		sleep 1
		[ -z "$(children "$job")" ] || echo 'a process does not even die of SIGKILL: it is stuck in the kernel'
		break
	done
	test_status=$(cat "$tmp/status" 2>/dev/null)
	# Processes that the test has left may keep the pipe open: wait only for a short time.
	i=0
	while [ ! -e "$tmp/shown" ] && [ $i -lt 10 ]; do nap; i=$((i + 1)); done
	[ -e "$tmp/shown" ] || kill_tree "$shown" KILL
	job=''
}
seconds() { sed 's/\..*//' /proc/uptime; }

# A case that prints this is no known failure: it hangs, or the kernel is stuck or has lost a thread.
# lab/judge/expect.py has the same pattern; tests/test_hw_rules.py compares the two.
never_known='did not (return|end|die)|left behind|cannot be killed|thread is gone|not run:|expected it to block|stopped waiting'

# listed CASE: prints the list's reason for a known failure, and on the next line its "says:", an extended regular
# expression that the case's output must match.
listed() {
	[ -z "$expect" ] || start="$(basename "$binary") $1: known failure: " awk '
		index($0, ENVIRON["start"]) == 1 { reason = substr($0, length(ENVIRON["start"]) + 1); mine = 1; next }
		/^[^ \t#]/ { mine = 0 }
		mine && sub(/^[ \t]+says: /, "") { says = $0 }
		END { print reason; print says }' "$expect"
}

# own_lines: writes the lines between a case's "#  RUN  " and its result, for the Nth "not ok", to $tmp/own.N.
own_lines() {
	awk -v start="$tmp/own." '
		/^# +RUN  / { running = 1; own = ""; next }
		/^not ok / { n++; file = start n; printf "%s", own >file; close(file) }
		/^(not )?ok / { running = 0; own = "" }
		running { own = own $0 "\n" }' "$tmp/out"
}

# known_failures: counts known failures in known, not in failed. The other failures go to $tmp/failed; a listed one with
# the reason why it is not the known failure. A listed case may pass: this kernel may be newer than the list.
known_failures() {
	known=0 n=0
	: >"$tmp/known"
	: >"$tmp/failed"
	own_lines
	grep -E '^not ok ' "$tmp/out" >"$tmp/all-failed"
	while read -r line; do
		# "not ok 3 NAME # why": the list has "TEST NAME: known failure: REASON".
		n=$((n + 1)) name=${line#not ok }
		name=${name#[0-9]* }
		name=${name%% *}
		listed "$name" >"$tmp/listed"
		{ read -r reason; read -r says; } <"$tmp/listed"
		if [ -z "$reason" ]; then printf '%s\n' "$line" >>"$tmp/failed"; continue; fi
		worse=$(grep -aE -m 1 -e "$never_known" "$tmp/own.$n")
		if [ -n "$worse" ]; then
			:
		elif [ -z "$says" ]; then
			worse='the list has no "says:" for it'
		elif ! grep -aqE -e "$says" "$tmp/own.$n"; then
			worse="expected \"$says\" in its output, found none"
		fi
		if [ -n "$worse" ]; then
			printf '%s\n    known to fail (%s), but not in this way: %s\n' "$line" "$reason" "$worse" >>"$tmp/failed"
			continue
		fi
		known=$((known + 1)) failed=$((failed - 1))
		printf '%s: %s\n' "$name" "$reason" >>"$tmp/known"
	done <"$tmp/all-failed"
}

# judge: sets verdict, status and why from the test's output and exit status and the kernel's log.
judge() {
	# A case's result is at the beginning of a line; results of its parts are indented.
	passed=$(grep -E '^ok ' "$tmp/out" | grep -cvE '# *SKIP')
	skipped=$(grep -cE '^ok .*# *SKIP' "$tmp/out")
	failed=$(grep -cE '^not ok ' "$tmp/out")
	known_failures
	plan=$(sed -n 's/^1\.\.\([0-9][0-9]*\).*/\1/p' "$tmp/out" | tail -n 1)
	n_results=$((passed + skipped + failed + known))
	# A test that ended with status 1 only because of known failures counts as ended with 0.
	[ "$known" -eq 0 ] || [ "$failed" -gt 0 ] || [ "$test_status" != 1 ] || test_status=0
	n_reports=$(wc -l <"$tmp/reports" | tr -d ' ')
	if [ -n "$timed_out" ]; then
		verdict=timeout status=124 why="no end within $limit s"
	elif [ "$test_status" -eq 4 ] && [ "$failed" -eq 0 ] && [ "$passed" -eq 0 ]; then
		verdict=skip status=4 why="the test skipped itself: $(sed -n 's/.*# *SKIP[ -]*//p' "$tmp/out" | head -n 1)"
	elif [ "$test_status" -gt 128 ]; then
		verdict=fail status=1 why="the test was killed by signal $((test_status - 128))"
	elif [ "$test_status" -ne 0 ] || [ "$failed" -gt 0 ]; then
		verdict=fail status=1 why="the test ended with status $test_status"
	elif [ -z "$plan" ]; then
		# Status 0 alone proves nothing: a wrong program, or one that only lists its cases, also ends with 0.
		verdict=fail status=1 why='expected a TAP plan, found none'
	elif [ "$plan" -ne "$n_results" ]; then
		verdict=fail status=1 why="expected $plan results, found $n_results"
	elif [ "$passed" -eq 0 ]; then
		verdict=skip status=4 why='no case passed'
		[ "$known" -gt 0 ] || why='every case was skipped'
		[ "$plan" -gt 0 ] || why='the plan has no case'
	elif [ "$missing" -gt 0 ]; then
		verdict=skip status=4 why="$missing prerequisite(s) missing, the first: $first_missing: that is no pass"
	else
		verdict=pass status=0 why=''
	fi
	if [ "$n_reports" -gt 0 ]; then
		why="${why:+$why; }$n_reports report(s) in the kernel's log"
		case $status in 0 | 4) verdict=fail status=1 ;; esac
	fi
	if [ -n "$plan" ]; then counted="$passed passed, $failed failed, $skipped skipped$([ "$known" -eq 0 ] || echo ", $known failed as known")"; else counted="exit status ${test_status:-none}"; fi
}

# tester: prints git's name and address, or placeholders.
tester() {
	name=$(git config user.name 2>/dev/null) address=$(git config user.email 2>/dev/null)
	printf '%s <%s>\n' "${name:-YOUR NAME}" "${address:-YOUR ADDRESS}"
}
dmi() { cat "$root/sys/class/dmi/id/$1" 2>/dev/null; }

# block: prints a text for a mail: the test, its result, the kernel and the machine, without the machine's name and
# serial numbers.
block() {
	machine="$(dmi sys_vendor) $(dmi product_name)"
	printf '\n--- to be pasted into a mail ---\n'
	printf 'test       %s, sha256 %s\n' "$(basename "$binary")${arguments:+ $arguments}" "$(sha256sum "$binary" | cut -c1-16)"
	printf 'result     %s\n' "$counted${why:+ ($why)}"
	if [ -n "$log_readable" ]; then
		printf "kernel log %s; lockdep %s\n" "$([ "$n_reports" -eq 0 ] && echo 'no report' || echo "$n_reports report(s)")" "$lockdep"
	else
		printf 'kernel log not readable: reports are not known; lockdep %s\n' "$lockdep"
	fi
	printf 'kernel     %s (%s)\n' "$release" "$kernel_build"
	printf 'cpu        %s, family %s model %s stepping %s, microcode %s\n' "$model_name" "$family" "$model" "$stepping" "${microcode:-not known}"
	printf 'firmware   SNP API %s\n' "${api:-not known}"
	[ "$machine" = ' ' ] || printf 'machine    %s, BIOS %s\n' "$machine" "$(dmi bios_version)"
	[ "$missing" -eq 0 ] || printf 'missing    %s prerequisite(s), the first: %s; run with --force\n' "$missing" "$first_missing"
	[ ! -s "$tmp/reports" ] || { echo "reports"; head -n 20 "$tmp/reports" | sed 's/^/    /'; }
	[ "$failed" -eq 0 ] || { echo 'failed'; head -n 20 "$tmp/failed" | sed 's/^/    /'; }
	[ "$known" -eq 0 ] || { echo 'failed as known on this kernel'; sed 's/^/    /' "$tmp/known"; }
	[ "$skipped" -eq 0 ] || { echo 'skipped'; grep -E '^ok .*# *SKIP' "$tmp/out" | head -n 20 | sed 's/^/    /'; }
	# No Tested-by for a failure: the tag means that the patch works.
	if [ "$status" -eq 0 ]; then
		printf '\nTested-by: %s\n' "$(tester)"
	elif [ "$missing" -gt 0 ]; then
		printf '\nno Tested-by: with a prerequisite missing, this may not be the host that the test is for\n'
	fi
	printf -- '--- end ---\n'
}

# finish VERDICT STATUS LINE: writes the JSON, prints the last line, and exits.
finish() {
	if [ -n "$json" ]; then
		{
			printf '{"version": 1, "verb": "hw", "verdict": "%s", "exit": %d, "missing": %d, "unknown": %d, "first_missing": %s,\n' \
				"$1" "$2" $missing $unknown "$(string "$first_missing")"
			printf ' "kernel": %s, "cpu": %s, "family": %s, "model": %s, "stepping": %s, "microcode": %s, "firmware": %s,\n' \
				"$(string "$release")" "$(string "$model_name")" "$(string "$family")" "$(string "$model")" \
				"$(string "$stepping")" "$(string "$microcode")" "$(string "$api")"
			printf ' "passed": %d, "failed": %d, "skipped": %d, "known_failures": %d, "reports": [' "${passed:-0}" "${failed:-0}" "${skipped:-0}" "${known:-0}"
			separator=''
			[ ! -s "$tmp/reports" ] || while IFS= read -r line; do
				printf '%s%s' "$separator" "$(string "$line")"
				separator=', '
			done <"$tmp/reports"
			printf '],\n "checks": [%s]}\n' "$checks"
		} >"$tmp/json"
		cat "$tmp/json" >"$json" || echo "snplab: --json: cannot write $json" >&2
	fi
	printf '%s\n' "$3"
	leave "$2"
}

if [ $missing -gt 0 ] && [ -z "$force" ]; then
	finish skip 4 "SKIP: $missing prerequisite(s) missing, the first: $first_missing; $unknown unknown; nothing was run"
fi
if [ -n "$check" ]; then
	finish pass 0 "the prerequisites: $missing missing, $unknown unknown"
fi

arguments=$*
kernel_log "$tmp/before" || true
printf 'running %s; docs/hardware.md says what can go wrong on a kernel without the fix\n\n' "$(basename "$binary")${arguments:+ $arguments}"
run_test "$@"
kernel_log "$tmp/after" || true
since "$tmp/before" "$tmp/after" | grep -E -- "$report" >"$tmp/reports"
judge
block
finish "$verdict" "$status" "$(echo "$verdict" | tr '[:lower:]' '[:upper:]'): $counted${why:+; $why}"
