// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own trace events, set up through tracefs.
 *
 * The lock events have the address of each lock: it tells one vCPU's mutex from another's, where the name is the same.
 * kvm_entry says which vCPU a thread runs.  For the calls there is no event that has a SEV command's number, which is
 * in the caller's memory: probes on KVM's functions read it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "l1.h"

#define TRACEFS		"/sys/kernel/tracing"
#define OUR_LOCKS	"name == \"&kvm->lock\" || name == \"&vcpu->mutex\""

static const struct {
	const char *file, *text;
} settings[] = {
	{ "buffer_size_kb", "8192" },
	/* Seconds that all CPUs agree on. */
	{ "trace_clock", "global" },
	/* Addresses as they are: a hashed one may not be ready yet. */
	{ "options/hash-ptr", "0" },
	/* Record the process, so that threads of other processes can be left out. */
	{ "options/record-tgid", "1" },
	{ "options/event-fork", "1" },
	{ "events/lock/lock_acquire/filter", OUR_LOCKS },
	{ "events/lock/lock_acquired/filter", OUR_LOCKS },
	{ "events/lock/lock_release/filter", OUR_LOCKS },
	{ "kprobe_events", "p:snplab/vm_call kvm_amd:sev_mem_enc_ioctl id=+u0($arg2):u32" },
	{ "kprobe_events", "r:snplab/vm_return kvm_amd:sev_mem_enc_ioctl ret=$retval:s32" },
	{ "kprobe_events", "p:snplab/vcpu_call kvm:kvm_vcpu_ioctl cmd=$arg2:x32" },
	{ "kprobe_events", "r:snplab/vcpu_return kvm:kvm_vcpu_ioctl ret=$retval:s64" },
	{ "kprobe_events", "p:snplab/psp_call ccp:sev_issue_cmd_external_user cmd=$arg2:x32" },
	{ "kprobe_events", "r:snplab/psp_return ccp:sev_issue_cmd_external_user ret=$retval:s32" },
	{ "events/lock/lock_acquire/enable", "1" },
	{ "events/lock/lock_acquired/enable", "1" },
	{ "events/lock/lock_release/enable", "1" },
	{ "events/kvm/kvm_entry/enable", "1" },
	{ "events/kvm/kvm_exit/enable", "1" },
	{ "events/snplab/enable", "1" },
};

static void set(FILE *report, const char *name, const char *text)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), TRACEFS "/%s", name);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(report, "# trace: # refused: %s: %s: %s\n", name, text, strerror(errno));
	if (fd >= 0)
		close(fd);
}

void locktrace_start(FILE *report)
{
	char pid[16];
	size_t i;

	if (mount("tracefs", TRACEFS, "tracefs", 0, NULL) && errno != EBUSY)
		fprintf(report, "# trace: # refused: mount " TRACEFS ": %s\n", strerror(errno));
	snprintf(pid, sizeof(pid), "%d", getpid());
	set(report, "set_event_pid", pid);
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		set(report, settings[i].file, settings[i].text);
}

void locktrace_stop(FILE *report)
{
	char line[1024];
	FILE *f;

	/* A call that does not return lasts to here at least. */
	set(report, "trace_marker", "end of the trace");
	set(report, "tracing_on", "0");
	f = fopen(TRACEFS "/trace", "r");
	if (!f) {
		fprintf(report, "# trace: # refused: %s/trace: %s\n", TRACEFS, strerror(errno));
		return;
	}
	while (fgets(line, sizeof(line), f))
		fprintf(report, "# trace: %s", line);
	fclose(f);
	fflush(report);
}
