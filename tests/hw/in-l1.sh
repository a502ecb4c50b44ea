#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# Runs lab/hw.sh in L1, with busybox alone, in one situation after another. tests/test_hw_boot.py reads the output:
# "== NAME", the lines of hw.sh, "== NAME ended with STATUS".
#
# usage: hw-in-l1 BINARY once|all
/bin/busybox --install -s /bin
PATH=/bin
export PATH
binary=/tests/$1

hw() { # NAME ARGUMENT...
	echo "== $1"
	name=$1
	shift
	sh /tests/hw.sh "$@"
	echo "== $name ended with $?"
}

hw everything --binary "$binary"
[ "$2" = all ] || exit 0

mkdir -p /etc
echo 'nobody:x:65534:65534::/:/bin/sh' >/etc/passwd
echo '== no rights'
su nobody -s /bin/sh -c "sh /tests/hw.sh --binary $binary"
echo "== no rights ended with $?"

for device in sev kvm; do
	number=$(tr : ' ' </sys/class/misc/$device/dev)
	rm /dev/$device
	hw "no node $device" --binary "$binary"
	# shellcheck disable=SC2086  # two numbers
	mknod /dev/$device c $number
done

rmmod kvm_amd
hw 'no kvm_amd' --binary "$binary"
for parameter in sev sev_es sev_snp; do
	insmod /lib/modules/kvm-amd.ko $parameter=0
	hw "$parameter=0" --binary "$binary"
	rmmod kvm_amd
done
insmod /lib/modules/kvm-amd.ko
hw 'mended' --check --brief

printf '#!/bin/sh\necho 1..1\necho "WARNING: made up by a test" >/dev/kmsg\necho ok 1 one\n' >/tmp/reports
chmod +x /tmp/reports
hw 'a report' --brief --binary /tmp/reports
