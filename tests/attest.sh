#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The launch digest that the lab computes is the one that others compute for the same files, and changes with
# everything that it must; what cannot be launched has none. A report passes with its digest, its request and its
# key, and with nothing else.
# shellcheck disable=SC2317  # functions that check calls
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$tmp" || exit
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$top/lab

make() { python3 "$top/tests/attest/make.py" "$@"; }
digest() { python3 "$top/lab/launch_digest.py" "$@"; }
python() { python3 -c "$@"; }

# --- The digest: pages -----------------------------------------------------------------------------

# The emulated host's firmware is held to the same numbers (host/qemu/tests/qtest).
one_page() { python "import launch_digest as L, sys; d = L.Digest(); d.page($1, $2, $3); sys.exit(d.value.hex() != '$4')"; }
check 'a zero page' one_page L.ZERO 0 None \
	70c0ecaab9608f14ebf8ac6f0f07bcd8728f4e2ab30382b539b4de4de904ca9f8ebdf4b2cd3cd84dd996bd55dd794676
check 'a normal page' one_page L.NORMAL 0x1000 'b"\xaa" * 4096' \
	83f2b12dec4ffc7a903475c06f60c3a229e45e61ad87e4f775f0cc95cea53ade2911f84e1205ddfa14df9bf20bf3f0c3
check 'a VMSA' one_page L.VMSA L.VMSA_GPA 'bytes(4096)' \
	f4577da9b848673216afc3909e5ea7aa80150dda441526874cd2b0282894709b46484c13a07221aefbedfff667199259

# --- The digest: whole launches --------------------------------------------------------------------

make firmware fw
make kernel kernel
printf initrd >initrd
with=(--kernel kernel --initrd initrd --append 'console=hvc0 a b')
milan=(--firmware fw --cpu-model EPYC-Milan)
# What virtee's sev-snp-measure 0.0.13 (--mode snp) says of these files.
expect '1 vCPU' 0 ^30d111eae16c6a8f996b240396a085647aa2588ab49889b0769d2ca527d6fa67ed9f08e341cc6da6a087f8abf3420edb$ \
	digest "${milan[@]}" --vcpus 1
expect '3 vCPUs' 0 ^5e88f11897a10867795c15008fe0b615a52611b8f09a2305d2ccaf77cc1c70270fd806a86fa8460bd2a753b1b6be477f$ \
	digest "${milan[@]}" --vcpus 3
expect '1 vCPU, with hashes' 0 ^ecbcda907e1f395849443964d5967fb9abdbaf55461b14de91cc0502cb45a574198de200d5c6dd05130ebda304a9e64a$ \
	digest "${milan[@]}" --vcpus 1 "${with[@]}"
expect '3 vCPUs, with hashes' 0 ^a3e00a8d65b3f663cd8f88ad75bbac9b5b2a9ec23f4eeb6785bf1339e23e12f38d393679902005e62266aa34082cf4ae$ \
	digest --firmware fw --vcpu-sig 0xa00f11 --vcpus 3 "${with[@]}"
expect 'another CPU, other features, a kernel alone' 0 \
	^be9fd5edc2d0d7ad02d61a958135a9b630f5fd18c23f5b54fcb60c6faef1a9bb5b5dd04b0f79fc32354d5a85cc4b6537$ \
	digest --firmware fw --cpu-model EPYC-Genoa-v2,+x2apic --vcpus 2 --guest-features 0x21 --kernel kernel

same() { # DESCRIPTION ARGUMENT...: as the launch below
	local text=$1 found
	shift
	found=$(digest "$@" 2>&1)
	if [ "$found" = "$reference" ]; then ok "the same digest: $text"; else not_ok "the same digest: $text" "expected $reference" "found $found"; fi
}
declare -A seen=()
differs() { # DESCRIPTION ARGUMENT...: from all others
	local text=$1 found
	shift
	found=$(digest "$@" 2>&1)
	if [[ ! $found =~ ^[0-9a-f]{96}$ ]]; then
		not_ok "another digest: $text" "expected 96 hex digits, found $found"
	elif [ -n "${seen[$found]:-}" ]; then
		not_ok "another digest: $text" "expected one of its own, found that of ${seen[$found]}"
	else
		ok "another digest: $text"
		seen[$found]=$text
	fi
}
launch=("${milan[@]}" --vcpus 2 "${with[@]}")
reference=$(digest "${launch[@]}")
differs 'the launch itself' "${launch[@]}"
same 'the same command' "${launch[@]}"
cp initrd initrd2
same 'a file of another name' "${launch[@]}" --initrd initrd2
same 'a version of the CPU model' "${launch[@]}" --cpu-model EPYC-Milan-v2
for at in 0 0x1f0 0x800 -1; do
	make flip kernel flipped $at
	differs "the kernel's byte $at" "${launch[@]}" --kernel flipped
done
make flip initrd flipped 5
differs 'a byte of the initrd' "${launch[@]}" --initrd flipped
differs 'no initrd' "${milan[@]}" --vcpus 2 --kernel kernel --append 'console=hvc0 a b'
differs 'a character of the command line' "${launch[@]}" --append 'console=hvc0 a c'
differs 'a blank more' "${launch[@]}" --append 'console=hvc0 a b '
differs 'no command line' "${milan[@]}" --vcpus 2 --kernel kernel --initrd initrd
differs 'no hashes' "${milan[@]}" --vcpus 2
for at in 0 0x1fff 0x2000 -1; do
	make flip fw flipped $at
	differs "the firmware's byte $at" "${launch[@]}" --firmware flipped
done
make firmware other pages=5
differs 'a larger firmware' "${launch[@]}" --firmware other
for n in 1 3 64; do differs "$n vCPUs" "${launch[@]}" --vcpus $n; done
differs 'another CPU' "${launch[@]}" --cpu-model EPYC-Rome
differs 'another feature' "${launch[@]}" --guest-features 3
differs 'a host without MCE' "${launch[@]}" --host-mce off

# What each step measures, and in which order: that of the metadata, not of the addresses.
steps=$(digest "${launch[@]}" --steps 2>&1 >/dev/null | sed 's/ *[0-9a-f]\{96\}$//; s/  */ /g')
wanted='0x0000ffffc000 0x4000 normal firmware
0x000000800000 0x9000 zero section 0x1
0x00000080d000 0x1000 secrets section 0x2
0x00000080e000 0x1000 CPUID section 0x3
0x00000080f000 0x1000 zero section 0x4
0x000000811000 0x3000 zero section 0x1
0x000000810000 0x1000 normal kernel hashes
0xfffffffff000 0x1000 VMSA vCPU 0
0xfffffffff000 0x1000 VMSA vCPU 1'
if [ "$steps" = "$wanted" ]; then ok 'the steps'; else not_ok 'the steps' "$(diff <(echo "$wanted") <(echo "$steps"))"; fi
last=$(digest "${launch[@]}" --steps 2>&1 >/dev/null | sed -n '$s/.* //p')
if [ "$last" = "$reference" ]; then ok 'the last step is the digest'; else not_ok 'the last step is the digest' "$last"; fi
make firmware other second-reset=0xffff1234
check 'of two reset addresses the one that QEMU finds first' \
	python 'import launch_digest as L, sys; sys.exit(L.Firmware(L.read("other")).reset != 0xffffb004)'

# --- The digest: what cannot be launched -----------------------------------------------------------

# hinted PATTERN COMMAND...: set-up failed, for that reason, and what to do is said.
hinted() {
	local pattern=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	printf '%s\n' "status $status, expected 3 and a line like $pattern" "$output"
	[ "$status" -eq 3 ] && grep -qE -- "$pattern" <<<"$output" && grep -q '^        hint: .' <<<"$output"
}
refused() { check "$1" hinted "^launch_digest: $2" digest "${milan[@]}" --vcpus 2 "${@:3}"; } # DESCRIPTION PATTERN ARGUMENT...
# A firmware that is wrong in NAME=VALUE..., for every launch; or for those with hashes.
wrong() { # DESCRIPTION PATTERN NAME=VALUE...
	make firmware bad "${@:3}" || { not_ok "$1" 'make.py failed'; return; }
	refused "$1" "bad: $2" --firmware bad
}
unhashed() {
	make firmware bad "${@:3}" || { not_ok "$1" 'make.py failed'; return; }
	refused "$1" "bad: $2" --firmware bad --kernel kernel
	expect "$1: without hashes it can be launched" 0 '^[0-9a-f]{96}$' digest "${milan[@]}" --vcpus 2 --firmware bad
}
refused 'no such firmware' 'nowhere: No such file' --firmware nowhere
: >empty
refused 'an empty firmware' 'empty: expected a firmware image, .* found 0 bytes' --firmware empty
head -c 16000 fw >short
refused 'a firmware that was cut off' 'short: expected .* a multiple of 4096 bytes, found 16000 bytes' --firmware short
head -c 12288 fw >short
refused 'a firmware whose end is missing' 'short: expected the foot of a GUID table .* found' --firmware short
wrong 'no table' 'expected the foot of a GUID table' without=footer
wrong 'a table larger than the firmware' 'expected a GUID table of 18 to 16352 bytes, found a length of 16353' footer-length=16353
wrong 'a table smaller than its foot' 'expected a GUID table of 18 to 16352 bytes, found a length of 17' footer-length=17
wrong 'an entry without a length' 'expected an entry of 18 to 70 bytes in its GUID table, found a length of 0' entry-length=0
wrong 'an entry larger than the table' 'expected an entry .* found a length of 71' entry-length=71
wrong 'no metadata' 'expected SEV metadata in its GUID table .* found none' without=metadata
wrong 'metadata before the firmware' 'expected its SEV metadata within its 16384 bytes, found an offset of 16385' metadata-offset=16385
wrong 'metadata after the firmware' 'expected its SEV metadata within' metadata-offset=15
wrong 'no metadata where it should be' "expected SEV metadata of version 1, with the signature b'ASEV', found" metadata-offset=0x800
wrong 'another signature' ".* found version 1 and b'TDVF'" metadata-signature=TDVF
wrong 'another version' '.* found version 2' metadata-version=2
wrong 'more sections than metadata' 'expected 7 sections .* found a length of 88 bytes' metadata-count=7
wrong 'more metadata than firmware' 'expected 6 sections in its SEV metadata, within 1024 bytes, found a length of 1025' metadata-length=1025
wrong 'a section of half a page' 'expected metadata sections of whole pages .* found type 0x3 at 0x80e000, 0x800 bytes' sections=2:80d000:1000,3:80e000:800
wrong 'a section of nothing' 'expected metadata sections .* 0x0 bytes' sections=2:80d000:1000,3:80e000:0
wrong 'a section between pages' 'expected metadata sections .* at 0x80e010' sections=2:80d000:1000,3:80e010:1000
wrong 'a section in the firmware' 'expected metadata sections .* below the firmware \(0xffffc000\)' sections=2:80d000:1000,3:ffffb000:2000
wrong 'no CPUID page' 'expected a CPUID page' sections=1:800000:9000,2:80d000:1000
wrong 'no secrets page' 'expected a secrets page' sections=1:800000:9000,3:80e000:1000
wrong 'no reset address' 'expected the SEV-ES reset address in its GUID table .* found none' without=reset
wrong 'half a reset address' 'expected 4 bytes for the SEV-ES reset address .* found 2' reset-size=2
wrong 'a reset address of zero' 'expected an SEV-ES reset address, found zero' reset=0
unhashed 'hashes, and no place for them' 'expected a table for kernel hashes in its GUID table .* found none' without=hashes
unhashed 'hashes, and no page for them' 'expected one page for kernel hashes .* found 0: the hashes would not be measured' sections=2:80d000:1000,3:80e000:1000
unhashed 'hashes, and two pages for them' 'expected one page for kernel hashes .* found 2' sections=2:80d000:1000,3:80e000:1000,10:810000:1000,10:811000:1000
unhashed 'hashes in another page' 'expected a table of at least 176 bytes .* at 0x810000, found 1024 bytes at 0x811c00' hashes-base=0x811c00
unhashed 'hashes across the end of their page' 'expected a table .* at 0x810f60' hashes-base=0x810f60
unhashed 'too little place for hashes' 'expected a table of at least 176 bytes .* found 175 bytes' hashes-size=175
make firmware other hashes-base=0x810f50 hashes-size=176
expect 'just enough place for hashes' 0 '^[0-9a-f]{96}$' digest "${launch[@]}" --firmware other
refused 'no such kernel' 'nowhere: No such file' --kernel nowhere
refused 'no such initrd' 'nowhere: No such file' --kernel kernel --initrd nowhere
make kernel bad magic=ELFX
refused 'a kernel that is no bzImage' "bad: expected a bzImage, with HdrS at 0x202, found b'ELFX'" --kernel bad
make kernel bad size=2047
refused 'a kernel that was cut off' 'bad: expected at least the 2048 bytes of its setup code, found 2047' --kernel bad
make kernel bad size=2559 setup=0
refused 'a kernel that was cut off, of the default size' 'bad: expected at least the 2560 bytes' --kernel bad

unusual() { expect "$1" 2 "$2" digest "${@:3}"; }
unusual 'no firmware' 'expected --firmware FILE and --vcpus N' --vcpus 1 --cpu-model EPYC
unusual 'no number of vCPUs' 'expected --firmware FILE and --vcpus N' "${milan[@]}"
unusual 'no vCPU' 'expected 1 to 4096, found 0' "${milan[@]}" --vcpus 0
unusual 'too many vCPUs' 'expected 1 to 4096, found 4097' "${milan[@]}" --vcpus 4097
unusual 'no CPU' 'expected one of --cpu-model NAME and --vcpu-sig NUMBER' --firmware fw --vcpus 1
unusual 'two CPUs' 'expected one of --cpu-model' "${milan[@]}" --vcpus 1 --vcpu-sig 1
unusual 'a CPU that is not known' 'expected one of EPYC .* found host' --firmware fw --vcpus 1 --cpu-model host
unusual 'a signature that is too long' 'expected 32 bits, found 0x100000000' --firmware fw --vcpus 1 --vcpu-sig 0x100000000
unusual 'features without SNP' 'expected 64 bits with bit 0, SNP, set, found 0x20' "${milan[@]}" --vcpus 1 --guest-features 0x20
unusual 'an initrd without a kernel' '--initrd and --append need --kernel' "${milan[@]}" --vcpus 1 --initrd initrd
unusual 'a command line without a kernel' '--initrd and --append need --kernel' "${milan[@]}" --vcpus 1 --append ''
unusual 'an unknown option' 'unrecognized arguments: --wrong' "${milan[@]}" --vcpus 1 --wrong
expect '--help' 0 '^usage: launch_digest.py' digest --help

# --- The report ------------------------------------------------------------------------------------

new_key() { openssl ecparam -name "$2" -genkey -noout -out "$1.priv" && openssl pkey -in "$1.priv" -pubout -out "$1.pem"; }
check 'keys' eval 'new_key vcek secp384r1 && new_key stranger secp384r1 && new_key p256 prime256v1'
data=$(printf '22%.0s' {1..64})
judge() { python3 "$top/lab/attestation.py" --digest "$reference" --report-data "$data" --key vcek.pem --json json "$@"; }
said() { python 'import json, sys; d = json.load(open("json")); sys.exit(not eval(sys.argv[1], {"d": d}))' "$1"; }
report() { make report "$1" vcek.priv measurement="$reference" "${@:2}"; }
# fails DESCRIPTION CHECK PATTERN ARGUMENT...: of four checks this one fails, and says so.
fails() {
	expect "$1" 1 "^not ok: $2: $3" judge "${@:4}"
	check "$1: nothing else" said "[c['name'] for c in d['checks'] if not c['ok']] == ['$2'] and (d['verdict'], d['exit']) == ('fail', 1)"
}
report good
expect 'a report: PASS' 0 '^PASS: attestation report: 4 passed, 0 failed$' judge good
check 'the JSON' said 'd["verdict"] == "pass" and d["exit"] == 0 and [c["ok"] for c in d["checks"]] == [True] * 4'
check 'the fields' said "d['report']['measurement'] == '$reference' and d['report']['report-data'] == '$data' and d['report']['version'] == 3 and d['report']['signing-key'] == 'VCEK' and d['report']['policy'] == '0x30000'"
for c in format measurement 'report data' signature; do expect "a line: $c" 0 "^ok: $c: " judge good; done

od -An -v -tx1 good >hex
expect 'in hex' 0 ^PASS judge hex
od -An -v -tx1 good | tr -d ' \n' | tr a-f A-F >hex
expect 'in hex, one line' 0 ^PASS judge hex
base64 good >lines
expect 'in base64' 0 ^PASS judge lines
base64 -w 0 good >lines
expect 'in base64, one line' 0 ^PASS judge lines
log() { # PREFIX END
	printf '%s\r\n' "$1[    1.0] Linux version" "$1-----BEGIN SNP REPORT-----"
	base64 good | sed "s/^/$1/; s/\$/\r/"
	printf '%s\r\n' "$1$2" "$1reboot: Power down"
}
log '' '-----END SNP REPORT-----' >serial
expect 'in a log' 0 ^PASS judge serial
log '# guest: ' '-----END SNP REPORT-----' >serial
expect 'in a log with a prefix' 0 ^PASS judge serial
cat serial serial >twice
no_report() { check "$1" hinted "^attestation: $2" judge "${@:3}"; }
no_report 'twice in a log' 'twice: expected one report, found 2 lines' twice
log '' '' >serial
no_report 'in a log that was cut off' 'serial: expected -----END SNP REPORT----- after' serial
log '' '-----END SNP REPORT-----' | sed '5s/.*/[    2.0] a message!/' >serial
no_report 'in a log, with a message in it' 'serial: expected a report .* neither hex nor base64' serial
log '' '-----END SNP REPORT-----' | sed '5i ----' >serial
no_report 'in a log, with a line in it that base64 has no digits for' 'serial: expected a report .* neither hex nor base64' serial
log '' '-----END SNP REPORT-----' | sed 5d >serial
no_report 'in a log, without a line of it' 'serial: expected a report of 1184 bytes, .* for 1127 bytes' serial
no_report 'no such report' 'nowhere: No such file' nowhere
no_report 'an empty report' 'empty: expected a report of 1184 bytes' empty
head -c 1183 good >short
no_report 'a report that was cut off' 'short: expected a report of 1184 bytes' short

fails 'another digest' measurement "expected ${reference:0:94}.., found $reference" good --digest "${reference:0:94}$([ "${reference:94}" = 00 ] && echo 01 || echo 00)"
fails 'another request' 'report data' 'expected 22' good --report-data "${data:2}23"
fails 'a shorter request: the rest is zero' 'report data' "expected 2222(00){62}, found $data" good --report-data 2222
fails 'another key' signature 'expected one by the key in stranger.pem, found another: openssl says Verification failure' good --key stranger.pem
report other report-data="2222$(printf '00%.0s' {1..62})"
expect 'a short request' 0 ^PASS judge other --report-data 2222
report other version=1
fails 'version 1' format 'expected version 2 or later, found 1' other
report other algorithm=0
fails 'another algorithm' format 'expected signature algorithm 1, .* found 0' other
report other signing-key=7
fails 'signed with no key' format 'expected to be signed with the VCEK or the VLEK, found key 7 \(none\)' other
report other signing-key=1
expect 'signed with the VLEK' 0 ^PASS judge other
report other vmpl=4
fails 'no such VMPL' format 'expected VMPL 0 to 3, found 4' other
report other unsigned=1
fails 'no signature' signature 'expected R and S, found zeros: the report is not signed' other
for at in 0x2d0 0x318 0x330 -1; do
	make flip good other $at
	fails "not zero at $at" signature 'expected zeros after the 48 bytes of R and of S' other
done
# In one process: of what is signed some bytes, and all of the signature.
cat >flips.py <<'PY'
import sys
import attestation as A
good = A.read_report("good")
offsets = list(range(0, A.SIGNED_LEN, 24)) + list(range(A.SIGNED_LEN - 1, A.REPORT_LEN))
passed = []
for offset in offsets:
    data = bytearray(good)
    data[offset] ^= 1 << offset % 8
    if A.signature_problem(A.Report(bytes(data)), "vcek.pem") is None:
        passed.append(offset)
print(f"{len(offsets)} bytes flipped; verified all the same: {passed}")
sys.exit(bool(passed) or A.signature_problem(A.Report(good), "vcek.pem") is not None)
PY
check 'a bit anywhere: the signature is another' python3 flips.py
# R or S is short once in 256 signatures.
der() { python "import attestation as A, sys; sys.exit(A.der($1, $2).hex() != '$3')"; }
check 'DER: numbers of one byte' der 1 0x7f 300602010102017f
check 'DER: the highest bit is no sign' der 0x80 0xff00 300902020080020300ff00
check 'DER: the largest' der '2 ** 384 - 1' 1 "303602310""0$(printf 'ff%.0s' {1..48})020101"

no_report 'no such key' 'nowhere: No such file' good --key nowhere
no_report 'a key on another curve' 'p256.pem: expected a public key on P-384 .* found prime256v1' good --key p256.pem
no_report 'a private key' 'vcek.priv: expected a public key on P-384 .* found none' good --key vcek.priv
check 'an RSA key' eval 'openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.priv 2>/dev/null || openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.priv; openssl pkey -in rsa.priv -pubout -out rsa.pem'
no_report 'an RSA key' 'rsa.pem: expected a public key on P-384 .* found Public-Key' good --key rsa.pem
no_report 'no place for the JSON' 'nowhere/json: No such file' good --json nowhere/json
mkdir bin
ln -s "$(python 'import sys; print(sys.executable)')" bin/python3
no_openssl() { PATH=$tmp/bin judge good; }
check 'no openssl' hinted '^attestation: openssl: No such file' no_openssl
strange() { expect "$1" 2 "$2" judge "${@:3}"; }
strange 'no report' 'expected --digest HEX, --report-data HEX, --key PEM and REPORT'
strange 'a digest that is too short' '--digest: expected 96 hex digits, found' good --digest "${reference:2}"
strange 'a digest that is not hex' '--digest: expected 96 hex digits' good --digest "${reference:1}x"
strange 'report data that is too long' '--report-data: expected 128 hex digits, or fewer' good --report-data "${data}22"
strange 'no report data' '--report-data: expected 128 hex digits, or fewer' good --report-data ''
lacks() { python3 "$top/lab/attestation.py" "$@"; }
expect 'no digest' 2 'expected --digest HEX' lacks --report-data 22 --key vcek.pem good
expect 'no key' 2 'expected --digest HEX' lacks --report-data 22 --digest "$reference" good
expect 'no request' 2 'expected --digest HEX' lacks --digest "$reference" --key vcek.pem good
expect '--help of the other' 0 '^usage: attestation.py' lacks --help

finish
