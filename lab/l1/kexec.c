// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads a kernel for kexec, and starts it. The program of Debian's kexec-tools needs libraries, which L1's initrd does
 * not have, and busybox has no such applet.
 *
 * usage: kexec load|crash KERNEL INITRD COMMANDLINE	for the next reboot, or for a panic
 *        kexec now					starts the loaded kernel, after the devices are shut down
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(const char *what)
{
	printf("# kexec: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char *argv[])
{
	unsigned long flags;
	int kernel, initrd;

	if (argc == 2 && !strcmp(argv[1], "now")) {
		/* Returns only if there is no loaded kernel. */
		reboot(LINUX_REBOOT_CMD_KEXEC);
		return fail("reboot");
	}
	if (argc != 5 || (strcmp(argv[1], "load") && strcmp(argv[1], "crash"))) {
		errno = EINVAL;
		return fail("expected load|crash KERNEL INITRD COMMANDLINE, or now");
	}
	flags = strcmp(argv[1], "crash") ? 0 : KEXEC_FILE_ON_CRASH;
	kernel = open(argv[2], O_RDONLY);
	if (kernel < 0)
		return fail(argv[2]);
	initrd = open(argv[3], O_RDONLY);
	if (initrd < 0)
		return fail(argv[3]);
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[4]) + 1, argv[4], flags))
		return fail("kexec_file_load");
	return 0;
}
