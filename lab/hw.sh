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

# --- What the kernel says ----------------------------------------------------------------------

# messages: prints the messages of Linux 5.14 to 7.3 on the way to SNP (ccp, kvm_amd, the RMP, the AMD IOMMU), causes
# before their consequences. "== AREA" names the prerequisite that quotes the messages below it ("log": none does). A
# message begins a line with its wording; % is any word, * any text, @ a status of the firmware. The next indented line
# is the hint for the wordings above it; {words} stand for the texts at the end.
# tests/test_hw_messages.py has a line of log for each, and compares with the newest kernel's sources.
messages() {
	cat <<'END'
== log
SVM disabled (by BIOS) in MSR_VM_CR
kvm: support for 'kvm_amd' disabled by bios
kvm: disabled by bios
	{bios} SVM Mode: Enabled
kvm_amd: SVM not supported by CPU %
kvm: no hardware support for 'kvm_amd'
has_svm: *
	see cpu and svm above; {bios} SVM Mode: Enabled
kvm_amd: CPU % isn't AMD or Hygon
	SNP needs an AMD EPYC 7003 or later
kvm_amd: KVM is unsupported when running as an SEV guest
	this machine is itself an SEV guest: SNP guests are launched by the kernel of the bare machine
kvm_amd: NX (Execute Disable) not supported
	KVM needs NX: take noexec=off off the kernel command line; {bios} NX Mode: Enabled
kvm_amd: Nested Paging disabled
SVM: kvm: Nested Paging disabled
	SEV needs nested paging: take kvm_amd.npt=0 off the kernel command line and out of modprobe.d
LBRV must be present for SEV-ES support
	SEV-ES, and so SNP, needs LBR virtualisation, which this CPU or the hypervisor below does not offer: a BIOS update
SEV command-line option '%' was not recognized
SEV: SEV command-line option '%' was not recognized
	the word sev= on the kernel command line is misspelt: debug and nosnp are known; take it off
CPU% failed to report alive state
	SNP is switched on for all CPUs at once, and this one does not start: a cold reset, then a BIOS update
x2apic: IRQ remapping doesn't support X2APIC mode
	CPUs with an APIC ID above 254 stay off, and SNP wants all: {bios} IOMMU: Enabled; no intremap=off or amd_iommu=off
== psp
ccp %: missing driver data
ccp %: sev: missing driver data
ccp %: tee: missing driver data
	the driver does not know this secure processor: a kernel that is newer than this CPU
ccp %: pcim_enable_device failed (%)
ccp %: pcim_iomap_regions failed (%)
ccp %: pcim_iomap_table failed
ccp %: ioremap failed
	the secure processor's registers cannot be reached: another driver has them (vfio-pci?), or the BIOS: a BIOS update
ccp %: dma_set_mask_and_coherent failed (%)
	the secure processor cannot reach memory: no iommu=off on the kernel command line; then a BIOS update
ccp %: could not enable MSI (%)
ccp %: unable to get IRQ (%)
ccp %: psp: unable to allocate an IRQ
	the secure processor has no interrupt: take pci=nomsi off the kernel command line; then a BIOS update
ccp %: psp: unable to access the device: you might be running a broken BIOS.
	the BIOS hides the secure processor (PSP, ASP): a cold reset; {bios} nothing that disables the PSP; then a BIOS update
ccp %: SEV: memory encryption not enabled by BIOS
	{bios} SMEE (Secure Memory Encryption): Enabled
ccp %: tee: ring init command timed out
ccp %: tee: ring init command failed (%)
ccp %: tee: ring allocation failed %
ccp %: tee: failed to init ring buffer
ccp %: tee: command timed out, disabling PSP
ccp %: tee: command % timed out, disabling PSP
ccp %: tee initialization failed
	the secure processor's TEE failed, which takes SEV with it if both are one device: a cold reset, then a BIOS update
ccp %: sev initialization failed
	see smee above; out of memory, or a secure processor that does not answer: a cold reset, then a BIOS update
ccp %: psp initialization failed
ccp %: initialization failed
	the line before it says why; if there is none: a cold reset, then a BIOS update
== rmp
SEV-SNP: Memory for the RMP table has not been reserved by BIOS
SEV-SNP: RMP configuration not valid: base=%, end=%
SEV-SNP: Memory reserved for the RMP table does not cover full system RAM (expected % got %)
SEV-SNP: Segmented RMP does not cover full system RAM (expected % got %)
	{bios} SNP Memory (RMP Table) Coverage: Enabled, for all of the memory
SEV-SNP: RMP segment size (%) is not within advertised bounds (min=%, max=%)
Segmented RMP enabled but RMP_END MSR is non-zero
SEV-SNP: Invalid RMP size % for configured segment size %
SEV-SNP: Invalid RMP segment base address % for configured segment size %
SEV-SNP: RMP segment descriptor already exists at index %
	the BIOS has set up a segmented RMP that contradicts itself: a BIOS update; {bios} Split RMP Table: Disabled
SEV-SNP: Failed to map RMP table
SEV-SNP: Failed to map RMP segment table addr %
SEV-SNP: Failed to map RMP segment addr % size %
SEV-SNP: Failed to map RMP bookkeeping area
	the kernel cannot map the RMP where the BIOS put it: take mem= and memmap= off the command line; then a BIOS update
== firmware
SEV-SNP: SNP init failed: not all CPUs online. (% online <-> % present masks).
	{cpus}
== iommu
AMD-Vi: IVRS table error: *
AMD-Vi: [Firmware Bug]: IVRS invalid checksum
AMD-Vi: [Firmware Bug]: Invalid IVHD device type %
AMD-Vi: Unsupported IVHD type %
AMD-Vi: Can not reserve memory region %-% for mmio
AMD-Vi: This is a BIOS bug. Please contact your hardware vendor
AMD-Vi: IOMMU%: Failed to initialize IOMMU Hardware (error=%)!
	the BIOS describes the IOMMU wrongly (ACPI table IVRS), and Linux leaves it off: a BIOS update
AMD-Vi: Failed to initialize. The CMPXCHG16B feature is required.
	the CPU hides CMPXCHG16B (cx16): take clearcpuid= off the kernel command line
AMD-Vi: IOMMU not currently supported when SME is active
	take mem_encrypt=on off the kernel command line: SNP does not need it
AMD-Vi: SNP: IOMMU disabled, SNP cannot be supported.
	take amd_iommu=off or iommu=off off the kernel command line; {bios} IOMMU: Enabled
AMD-Vi: SNP: IOMMU disabled or configured in passthrough mode, SNP cannot be supported.
AMD-Vi: SNP: IOMMU is disabled or configured in passthrough mode, SNP cannot be supported
AMD-Vi: SEV-SNP: IOMMU is either disabled or configured in passthrough mode.
AMD-Vi: SNP: IOMMU configured in passthrough mode, SNP cannot be supported.
	take iommu=pt or iommu.passthrough=1 off the kernel command line, or add iommu=nopt; {bios} IOMMU: Enabled
AMD-Vi: SNP: IOMMU is configured with V2 page table mode, SNP cannot be supported.
	take amd_iommu=pgtbl_v2 off the kernel command line
AMD-Vi: SNP: IOMMU SNP feature not enabled, SNP cannot be supported.
AMD-Vi: SNP: IOMMU does not support SNP feature, SNP cannot be supported.
	{bios} SEV-SNP Support: Enabled, not Auto (beside the IOMMU, in NBIO Common Options)
AMD-Vi: SNP: Too late to enable SNP for IOMMU.
	a kernel before 6.9 with SNP patches: take 6.11 or later
AMD-Vi: SNP: RMP initialization failed, SNP cannot be supported.
	see rmp above, and firmware below if a CPU is offline; {bios} SNP Memory (RMP Table) Coverage: Enabled
== log
AMD-Vi: [Firmware Warn]: EFR mismatch. *
AMD-Vi: [Firmware Bug]: Found inconsistent EFR/EFR2 *
	the BIOS and the IOMMUs do not agree on features, of which SNP is one: a BIOS update
AMD-Vi: [Firmware Bug]: : IOAPIC[%] not in IVRS table
AMD-Vi: [Firmware Bug]: : No southbridge IOAPIC found
AMD-Vi: Disabling interrupt remapping
	no interrupts are remapped, and CPUs with an APIC ID above 254 may stay off, which SNP does not allow: a BIOS update
System has more IOMMUs than supported by this driver
	SNP needs every IOMMU on: a newer kernel
AMD-Vi: Translation is already enabled - trying to % translation structures
AMD-Vi: Translation was enabled for IOMMU:% but we are not in kdump mode
AMD-Vi: Failed to % DEV table from previous kernel.
AMD-Vi: The device table size of IOMMU:% is not expected!
AMD-Vi: The address of old device table is above 4G, not trustworthy!
AMD-Vi: Failed to allocate memory for copying old device table!
AMD-Vi: Failed to remap memory for reusing old device table!
AMD-Vi: Wrong old irq remapping flag: %
	kexec or kdump started this kernel, and the IOMMU is as the kernel before left it: boot through the BIOS
AMD-Vi: Completion-Wait loop timed out
AMD-Vi: IOMMU %: Completion-Wait loop timed out
	in a crash kernel: SNP has locked the IOMMU's registers, and 6.18 or later can cope; elsewhere: a BIOS update
== firmware
ccp %: Direct firmware load for amd/% failed with error %
ccp %: SEV-SNP support requires firmware version >= %
	the firmware stays as old as the BIOS has it: {fw}
ccp %: Failed to update SEV firmware: @
	the firmware stays as old as the BIOS has it: {code}
ccp %: sev command % timed out, disabling PSP
	the secure processor does not answer and is not asked again: power off and on; then a BIOS update; {fw}
ccp %: SNP PLATFORM_STATUS command failed, ret = %, error = @
ccp %: SNP FEATURE_INFO command failed, ret = %, error = @
ccp %: SEV: failed to get status. Error: @
	{code}
ccp %: SEV: SNP_INIT_EX range list memory allocation failed
ccp %: SEV: SNP_INIT_EX walk_iomem_res_desc failed rc = %
	no memory for the list of reserved ranges, or more than it holds: load ccp at boot; no memmap= on the command line
ccp %: SEV-SNP: % failed rc %, error @
ccp %: SEV-SNP: failed to INIT rc %, error @
ccp %: SEV-SNP: failed to INIT error @
	{code}
ccp %: SEV-SNP: failed to INIT, continue SEV INIT
	the line before it says why
ccp %: SEV: % failed @, rc %
ccp %: SEV: failed to INIT error @
	{code}; if SNP failed before it, mend that first
ccp %: SEV: retrying INIT command because of SECURE_DATA_INVALID error.
	the firmware's stored keys were damaged, and Linux had them made anew: if a line on INIT follows, see there
ccp %: SEV: INIT_EX NV memory allocation failed
ccp %: SEV: INIT_EX NV memory page state change failed.
	no memory for the file of init_ex_path=: load ccp at boot, or take init_ex_path= out of modprobe.d
ccp %: SEV: could not open % for read, error %
ccp %: SEV: could not read % bytes to non volatile memory area, ret %
ccp %: SEV: could not open file for write, error %
ccp %: SEV: failed to write % bytes to non volatile memory area, ret %
	the file that init_ex_path= of ccp names: it must be on a file system that is mounted and writable when ccp is loaded
== log
ccp %: SEV: % does not exist and will be created later.
	the file that init_ex_path= of ccp names is new: nothing to do, if ccp says no more about it
ccp %: SEV: TMR allocation failed, SEV-ES support unavailable
	no MiB of contiguous memory for the firmware: load ccp at boot, before memory is scattered; SNP may work all the same
ccp %: Additional HV_Fixed pages cannot be accommodated, omitting
	more memory than the list of SNP_INIT_EX holds: a newer kernel
ccp %: SEV-TIO as incompatible with psp_init_on_probe=0
	take psp_init_on_probe=0 out of modprobe.d, or leave SEV-TIO off
Failed to enable SEV-TIO: *
SEV-TIO STATUS failed with %
	SEV-TIO (devices for guests) is off, SNP is not: {fw}
ccp %: SNP_VERIFY_MITIGATION command failed, ret = %, error = @
	no obstacle to SNP: {code}
ccp %: Verify Mitigation - failure status: %
	no obstacle to SNP: a mitigation of the firmware could not be verified: {fw}
ccp %: psp: Both TSME and SME are active, SME is unnecessary when TSME is active.
	no obstacle to SNP, but memory is encrypted twice: take mem_encrypt=on off the kernel command line
ccp %: Failed to alloc host map (disabling legacy SEV)
Failed to allocate bounce buffer for SEV legacy command.
Error moving pages to firmware-owned state for SEV legacy command.
Failed to reclaim firmware-owned pages while issuing SEV legacy command.
ccp %: SEV: too many firmware commands in progress, no command buffers available.
ccp %: SEV: failed to prepare buffer for legacy command %. Error: %
ccp %: SEV: failed to reclaim buffer for legacy command %. Error: %
	with SNP on, a command of plain SEV borrows pages, and this one failed: free memory, try again; a page may be lost
ccp %: SEV: failed to SHUTDOWN error @, rc %
ccp %: SEV-SNP DF_FLUSH failed, ret = %, error = @
ccp %: SEV-SNP firmware shutdown failed, rc %, error @
	end all SEV guests before ccp is unloaded or kexec is used, or the next kernel finds no SNP: {code}
ccp %: SNP IOMMU shutdown failed
AMD-Vi: IOMMU PFN % RMP lookup failed, ret %
AMD-Vi: IOMMU PFN % not assigned in RMP table
AMD-Vi: PSMASH failed for IOMMU PFN % huge RMP entry, ret: %, level: %
	the IOMMU's pages did not come back from the firmware: no kexec now, boot through the BIOS; {fw}
kvm_amd: SEV: DF_FLUSH failed, ret=%, error=@
kvm_amd: SEV-SNP: DF_FLUSH failed, ret=%, error=@
	ASIDs that guests have left cannot be used again: {code}
kvm_amd: SEV: SNP_PLATFORM_STATUS failed ret=%, fw_error=@
	kvm_amd cannot tell whether SNP is on: {code}
kvm_amd: SEV-ES disabled (ASIDs % - %)
kvm_amd: SEV disabled (ASIDs % - %)
	SNP needs it: see asids above, firmware below; no kvm_amd.sev=0, sev_es=0, npt=0, lbrv=0, or kvm.mmio_caching=0
kvm_amd: SEV-ES unusable (ASIDs % - %)
kvm_amd: SEV unusable (ASIDs % - %)
	it has no ASID left, or the firmware does not support it: SNP may have them all; see asids above
== kvm
kvm_amd: SEV-SNP unusable (ASIDs % - %)
	the firmware or the ASIDs do not allow it: see asids above and firmware below
kvm_amd: SEV-SNP disabled (ASIDs % - %)
	mend what is missing above, and load kvm_amd again; no kvm_amd.sev_snp=0
== log
kvm_amd: Failed to create SEV-SNP context, rc % fw_error @
	a guest could not be launched: {code}
Failed to release guest context, ret %
	a guest's context page stays with the firmware: a kernel error, or a firmware that hangs; reboot
kvm_amd: SEV: SNP_DBG_DECRYPT failed ret=%, fw_error=@
kvm_amd: SEV: SEV_CMD_DBG_DECRYPT failed ret=%, fw_error=@
	only the dump of a guest's registers failed (its policy must allow debugging): {code}
kvm_amd: SEV: % total pages would exceed the lock limit of %.
kvm_amd: SEV: % locked pages exceed the lock limit of %.
	plain SEV guests lock their memory: ulimit -l unlimited
kvm_amd: SEV: Failure locking % pages.
	not enough free memory for a plain SEV guest
kvm_amd: SEV: Unexpected RMP fault*
kvm_amd: Unexpected RMP fault*
kvm_amd: Unable to split RMP entries for GPA % PFN % ret %
kvm_amd: SEV: Unable to split RMP entry for GPA % PFN % ret %
kvm_amd: SEV: Failed to retrieve RMP entry: *
kvm_amd: SEV: Failed to look up RMP entry: *
kvm_amd: SEV: Failed to update RMP entry: *
SEV: Failed to PSMASH RMP entry for PFN % error %
SEV: Failed to update RMP entry for PFN % error %
	the RMP and KVM do not agree on a page of a guest: an error in KVM or in the VMM; report it with the lines around it
SEV-SNP: RMPUPDATE failed for PFN %
RMPUPDATE failed for PFN %
SEV-SNP: RMPUPDATE failed after % attempts
	the CPU refused a page's new owner: ret 1 a wrong input, 2 no right, 3 in use, 4 overlaps a 2 MB entry; report it
SEV-SNP: Leaking PFN range %-%
	pages that the firmware did not give back are lost until a reboot: the line before it says why
SEV-SNP: Failed to split direct map for PFN %, ret: %
SEV-SNP: Failed to read RMP entry for PFN %, error %
SEV-SNP: Failed to read RMP contents for PFN %, error %
SEV-SNP: Error % reading RMP % for PFN %
SEV-SNP: Can't dump RMP entry for HVA %: no PTE/PFN found
	the kernel cannot look at a page's RMP entry: memory that the RMP does not cover? See rmp above; report it
#PF: error_code(%) - RMP violation
	the host wrote to a page of a guest or of the firmware: an error in the kernel; report the oops that follows
AMD-Vi: Event logged [RMP_*
% %: AMD-Vi: Event logged [RMP_*
	a device wrote to a page of a guest or of the firmware: an error in its driver or in the kernel; report it
== {words}
bios in the BIOS setup (names differ, docs/hardware.md):
fw update the firmware: amd/amd_sev_fam*.sbin of linux-firmware, in the initrd if ccp is there; or a BIOS update
settings the BIOS settings (docs/hardware.md)
again put every CPU online, load ccp and kvm_amd again
cold a cold reset, then an update of the BIOS
cpus SNP is switched on for all CPUs at once: boot without nosmt and maxcpus=, {again}
rc -12 no memory, -16 busy, -19 no secure processor or one that was given up, -110 no answer in time
none of an unknown meaning: the firmware refused: a cold reset, then an update of the firmware or the BIOS
0x0 SUCCESS (0x0): the firmware did not refuse: rc says why: {rc}
0xffffffff NO_FW_CALL (-1): the command did not reach the firmware: rc says why: {rc}
0x1 INVALID_PLATFORM_STATE (0x1): the firmware is initialised already, perhaps by the kernel before a kexec: a cold reset
0x2 INVALID_GUEST_STATE (0x2): the guest is not in the state that the command needs: an error in the VMM or in KVM
0x3 INVALID_CONFIG (0x3): SNP is not on on every CPU, or not set up alike. {cpus}; then {settings}; old firmware says this, too: {fw}
0x4 INVALID_LEN (0x4): kernel and firmware disagree on the length of a command: {fw}; then a newer kernel
0x5 ALREADY_OWNED (0x5): the platform has an owner: reset its certificates (sevctl reset)
0x6 INVALID_CERTIFICATE (0x6): a certificate is damaged or of another machine: fetch it again
0x7 POLICY_FAILURE (0x7): the guest's policy forbids it here (SMT, debugging, the firmware's version, one socket)
0x8 INACTIVE (0x8): the guest has no ASID yet: an error in the VMM or in KVM
0x9 INVALID_ADDRESS (0x9): a page is not where the firmware allows it: see rmp above; {bios} RMP coverage of all memory
0xa BAD_SIGNATURE (0xa): the file is damaged or for another CPU: install linux-firmware again, rebuild the initrd
0xb BAD_MEASUREMENT (0xb): the guest's measurement is not the expected one
0xc ASID_OWNED (0xc): the ASID is still in use: end all SEV guests; then a reboot
0xd INVALID_ASID (0xd): the firmware allows no such ASID: see asids above; {bios} SEV-ES ASID Space Limit
0xe WBINVD_REQUIRED (0xe): a CPU has not written back its caches: {again}; then a cold reset
0xf DFFLUSH_REQUIRED (0xf): not flushed since ASIDs were used, as after a kexec or a crash: end SEV guests; {again}; then a cold reset
0x10 INVALID_GUEST (0x10): no such guest: an error in the VMM or in KVM
0x11 INVALID_COMMAND (0x11): the firmware does not know the command: {fw}
0x12 ACTIVE (0x12): guests are running: end all SEV guests, and try again
0x13 HWERROR_PLATFORM (0x13): the firmware refused because of its hardware: power off and on; {fw}
0x14 HWERROR_UNSAFE (0x14): the hardware failed, and memory may be damaged: power off and on; then a BIOS update
0x15 UNSUPPORTED (0x15): the CPU or its firmware cannot do it: {fw}
0x16 INVALID_PARAM (0x16): the firmware does not take a value of the command: {fw}; then a newer kernel
0x17 RESOURCE_LIMIT (0x17): the firmware has no room: {cold}
0x18 SECURE_DATA_INVALID (0x18): stored keys are damaged: load ccp again; remove the file of init_ex_path=, if there is one
0x19 INVALID_PAGE_SIZE (0x19): the RMP has the page in another size: boot through the BIOS, not by kexec; a newer kernel
0x1a INVALID_PAGE_STATE (0x1a): the page has another owner in the RMP: boot through the BIOS, not by kexec; a newer kernel
0x1b INVALID_MDATA_ENTRY (0x1b): the metadata of a swapped page are wrong: an error in the VMM or in KVM
0x1c INVALID_PAGE_OWNER (0x1c): the page belongs to another guest: an error in the VMM or in KVM
0x1d AEAD_OFLOW (0x1d): a counter of the guest has run out: start the guest anew
0x1f EXIT_RING_BUFFER (0x1f): the firmware has left its ring buffer: load ccp again
0x20 RMP_INIT_REQUIRED (0x20): the firmware cannot initialise the RMP: see rmp above; {cold}
0x21 BAD_SVN (0x21): the firmware is older than one that was committed here: {fw}
0x22 BAD_VERSION (0x22): the firmware is older than one that was committed here: {fw}
0x23 SHUTDOWN_REQUIRED (0x23): the firmware is in use: end all SEV guests, unload kvm_amd and ccp; then a cold reset
0x24 UPDATE_FAILED (0x24): the firmware's update failed: a cold reset; then {fw}
0x25 RESTORE_REQUIRED (0x25): the firmware wants its old version back: a cold reset; then {fw}
0x26 RMP_INITIALIZATION_FAILED (0x26): the firmware cannot initialise the RMP: see rmp above; {cold}
0x27 INVALID_KEY (0x27): the key is not for this CPU or its version: fetch it again
0x28 SHUTDOWN_INCOMPLETE (0x28): the firmware has pages yet: end all SEV guests, and try again; then a cold reset
END
}

# explain: reads the boot's log; prints "ENTRY LINE-NUMBER AREA LINE HINT", with tabs between, for each line that messages
# knows, causes first. Lines that differ in nothing but numbers are one, unless their statuses of the firmware differ.
explain() {
	messages >"$tmp/messages"
	awk '
		# expand TEXT CODE: the text with its {words}; {code} are the words of that status.
		function expand(text, code,    m, name) {
			while (match(text, /\{[a-z]+\}/)) {
				name = substr(text, RSTART + 1, RLENGTH - 2)
				m = name == "code" ? (code in words ? words[code] : "status " code " " words["none"]) : words[name]
				text = substr(text, 1, RSTART - 1) m substr(text, RSTART + RLENGTH)
			}
			return text
		}
		# pattern WORDING: the wording as an extended regular expression.
		function pattern(text) {
			gsub(/[.+?(){}|$[]/, "[&]", text)
			gsub(/%/, "[^ ]+", text)
			gsub(/[*]/, ".*", text)
			return text
		}
		# kind LINE: its words without the numbers.
		function kind(line,    word, n, i, text) {
			n = split(line, word, /[^A-Za-z0-9_]+/)
			for (i = 1; i <= n; i++) {
				if (word[i] ~ /^(0x)?[0-9a-f]+$/) continue
				gsub(/[0-9]/, "", word[i])
				text = text " " word[i]
			}
			return text
		}
		# status TEXT: the number at its beginning as 0x3; "" if there is none.
		function status(text) {
			if (match(text, /^-?0x[0-9a-fA-F]+/)) {
				text = tolower(substr(text, 3, RLENGTH - 2))
				sub(/^0+/, "", text)
				return "0x" (text == "" ? "0" : text)
			}
			if (!match(text, /^-?[0-9]+/)) return ""
			return text + 0 < 0 ? "0xffffffff" : sprintf("0x%x", substr(text, 1, RLENGTH) + 0)
		}
		FNR == NR && /^== / { area = $2; next }
		FNR == NR && area == "{words}" { words[$1] = substr($0, length($1) + 2); next }
		FNR == NR && /^\t/ { hint[++entry] = substr($0, 2); next }
		FNR == NR {
			n++
			of[n] = entry + 1
			in_area[n] = area
			at = index($0, "@")
			begins[n] = "^" pattern(at ? substr($0, 1, at - 1) : $0)
			ends[n] = at ? "^-?[0-9a-fA-Fx]+" pattern(substr($0, at + 1)) : ""
			# Only messages with the same first word are compared with a line, and those whose first word varies.
			first = $1 ~ /[%*@]/ ? "" : $1
			which[first] = which[first] " " n
			next
		}
		{
			sub(/^(<[0-9]+>)?(\[ *[TC]?[0-9.]+\] *)*/, "")
			line = $0
			gsub(/[\t ]+/, " ", line)
			$0 = line
			many = split(which[$1] which[""], candidates, " ")
			for (k = 1; k <= many; k++) {
				i = candidates[k]
				if (!match(line, begins[i])) continue
				code = ""
				if (ends[i] != "") {
					rest = substr(line, RLENGTH + 1)
					if (rest !~ ends[i]) continue
					code = status(rest)
				}
				found[i SUBSEP kind(line) SUBSEP code] = of[i] "\t" FNR "\t" in_area[i] "\t" line "\t" expand(hint[of[i]], code)
				break
			}
		}
		END { for (one in found) print found[one] }' "$tmp/messages" "$tmp/boot" | sort -t '	' -k 1,1n -k 2,2nr
}

# why AREA: sets why_line and why_hint to the first of the prerequisite's messages; empty if there is none.
why() {
	while IFS='	' read -r _ _ why_area why_line why_hint; do
		[ "$why_area" != "$1" ] || return 0
	done <"$tmp/said"
	why_line='' why_hint=''
}
# missing_for NAME EXPECTED [FOUND]: the prerequisite is missing, for the reason that why has found.
missing_for() {
	missing "$1" "$2" "${3:+$3; }$in_log $why_line" "$why_hint"
	printf '%s\n' "$why_line" >>"$tmp/quoted"
}

# say_others: prints the messages that no prerequisite has quoted; sets messages to all of them, as JSON.
say_others() {
	messages=''
	while IFS='	' read -r _ _ why_area why_line why_hint; do
		[ -z "$json" ] || messages="$messages${messages:+, }{\"line\": $(string "$why_line"), \"hint\": $(string "$why_hint")}"
		[ -z "$brief" ] || [ $missing -gt 0 ] || continue
		! grep -qxF -e "$why_line" "$tmp/quoted" || continue
		printf '%-8s %s\n         hint: %s\n' says "$why_line" "$why_hint"
	done <"$tmp/said"
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
	why rmp
	if [ -n "$why_line" ]; then missing_for rmp "$want"; return; fi
	line=$(said 'SEV-SNP: (Segmented )?RMP (base )?table physical (range|address)')
	if [ -n "$line" ]; then ok rmp "$want" "$line"; return; fi
	base=$(msr 0xc0010132) end=$(msr 0xc0010133)
	if [ -z "$base$end" ]; then
		unknown rmp "$want" "no word in the kernel's log, and the MSR RMP_BASE cannot be read" 'as root: modprobe msr'
	elif [ $((0x$base & 0xfffffffffe000)) -eq 0 ]; then
		missing rmp "$want" "RMP_BASE is $(hex "$base")" "$bios_hint SNP Memory (RMP Table) Coverage: Enabled, for all of the memory"
	else
		ok rmp "$want" "RMP_BASE $(hex "$base"), RMP_END $(hex "${end:-0}")"
	fi
}

check_iommu() {
	want='an AMD IOMMU with SNP support, enabled and translating'
	line=$(said 'AMD-Vi: IOMMU SNP support enabled')
	if [ -n "$line" ]; then ok iommu "$want" "$line"; return; fi
	why iommu
	if [ -n "$why_line" ]; then missing_for iommu "$want"; return; fi
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
		why psp
		if [ -n "$why_line" ]; then missing_for psp "$want" 'no /sys/class/misc/sev'; else
			missing psp "$want" 'no /sys/class/misc/sev' \
				"is ccp loaded (above)? If it is, it found no secure processor that offers SEV: look for ccp in the kernel's log; $bios_hint SMEE: Enabled, and the PSP not hidden; then a BIOS update"
		fi
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
	*) why kvm; why_line=$snp_says; missing_for 'kvm_amd says' "$want" ;;
	esac
}

check_firmware() {
	want='SNP firmware, API 1.51 or later'
	api=$(said 'SEV(-SNP)? API:[0-9]+\.[0-9]+' | sed -n 's/.* API:\([0-9.]*\) *\(build:[0-9]*\).*/\1 \2/p')
	if [ -n "$api" ] && ! version_at_least "$api" 1 51; then
		missing firmware "$want" "API $api" \
			'update it: the linux-firmware package has amd/amd_sev_fam*.sbin, which ccp loads at boot (rebuild the initrd); or a BIOS update'
	elif [ -n "$firmware_line" ] && [ "$(cat "$root/sys/module/kvm_amd/parameters/sev_snp" 2>/dev/null)" != Y ]; then
		why firmware; missing_for firmware "$want"
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

: >"$tmp/quoted"
explain >"$tmp/said"
why firmware
firmware_line=$why_line

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
say_others
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
			printf '],\n "checks": [%s],\n "messages": [%s]}\n' "$checks" "$messages"
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
