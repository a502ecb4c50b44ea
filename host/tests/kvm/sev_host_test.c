// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's own set-up for SNP, before any guest: the RMP, the IOMMU, the CPUs.
 *
 * For the lab only: it reads the emulated host's registers and counters.
 */
#include <fcntl.h>
#include <stdint.h>

#include "kselftest_harness.h"
#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "snp_host.h"

#define CASE_SECONDS	60
#define HOST_TEST_F(name)	TEST_F_TIMEOUT(sev_host, name, CASE_SECONDS)

#define ALIGN_2M	(2ull << 20)

FIXTURE(sev_host) {
};

FIXTURE_SETUP(sev_host)
{
	char why[512];

	if (!snp_host_reach(why, sizeof(why)))
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(sev_host)
{
}

/* Reads so much of a file at an offset. Returns false if it is not there. */
static bool read_at(const char *path, void *data, size_t size, u64 offset)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = pread(fd, data, size, offset);
	close(fd);
	return n == (ssize_t)size;
}

static void read_first_line(const char *path, char *line, int size)
{
	FILE *f = fopen(path, "r");

	TEST_ASSERT(f && fgets(line, size, f), "expected a line in %s, found: %s", path,
		    strerror(errno));
	line[strcspn(line, "\n")] = '\0';
	fclose(f);
}

/* --- The CPUs ----------------------------------------------------------------------------------- */

/*
 * SNP_INIT_EX needs each CPU of the machine to have SNP enabled ("SEV Secure Nested Paging Firmware
 * ABI", 56860, SNP_INIT_EX): it is not worth a try while one of them has not been started.
 */
HOST_TEST_F(snp_needs_all_cpus)
{
	char present[64] = "", online[64] = "";
	struct snp_host_command commands[SNP_HOST_COMMANDS];
	int i, nr = snp_host_commands(commands);

	read_first_line("/sys/devices/system/cpu/present", present, sizeof(present));
	read_first_line("/sys/devices/system/cpu/online", online, sizeof(online));
	/* With maxcpus=1 on the kernel's command line they differ. */
	for (i = 0; i < nr; i++)
		EXPECT_TRUE(!strcmp(present, online) || strcmp("SNP_INIT_EX", commands[i].name))
			TH_LOG("SNP_INIT_EX with CPUs %s online, %s present", online, present);
}

/*
 * The CPU has SNP, and the firmware of the machine has set it up: with all CPUs there are SNP VMs
 * (KVM_CAP_VM_TYPES of Documentation/virt/kvm/api.rst), and without one of them there are none.
 */
HOST_TEST_F(snp_vms_if_all_cpus_are_online)
{
	char present[64] = "", online[64] = "";

	read_first_line("/sys/devices/system/cpu/present", present, sizeof(present));
	read_first_line("/sys/devices/system/cpu/online", online, sizeof(online));
	EXPECT_EQ(!strcmp(present, online),
		  !!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SNP_VM)));
}

/* --- The RMP ------------------------------------------------------------------------------------ */

#define MSR_RMP_BASE	0xc0010132
#define MSR_RMP_END	0xc0010133

/* Documentation/admin-guide/mm/pagemap.rst */
#define KPF_NOPAGE	BIT_ULL(20)
#define KPF_RESERVED	BIT_ULL(32)

/*
 * SNP_INIT_EX gives the firmware the 2 MB pages in which the RMP begins and ends (56860, SNP_INIT_EX):
 * no page of these may be a guest's, so that the page allocator must not have it.
 */
HOST_TEST_F(rmp_shares_no_2m_page)
{
	u64 base, end, address, flags;

	if (!read_at("/dev/cpu/0/msr", &base, 8, MSR_RMP_BASE) ||
	    !read_at("/dev/cpu/0/msr", &end, 8, MSR_RMP_END) || !end)
		SKIP(return, "no RMP, or no /dev/cpu/0/msr (CONFIG_X86_MSR)");

	for (address = base & ~(ALIGN_2M - 1); address < ((end + ALIGN_2M) & ~(ALIGN_2M - 1));
	     address += PAGE_SIZE) {
		if (!read_at("/proc/kpageflags", &flags, 8, address / PAGE_SIZE * 8))
			SKIP(return, "no /proc/kpageflags (CONFIG_PROC_PAGE_MONITOR)");
		ASSERT_TRUE(flags & (KPF_RESERVED | KPF_NOPAGE))
			TH_LOG("RMP 0x%lx-0x%lx: expected page 0x%lx to be reserved, found flags 0x%lx",
			       base, end, address, flags);
	}
}

/* --- The IOMMU ---------------------------------------------------------------------------------- */

#define IVRS		"/sys/firmware/acpi/tables/IVRS"
/* The first IOMMU's description in the table, and its base address ("AMD I/O Virtualization", 48882). */
#define IVRS_FIRST	48
#define IVHD_BASE	8
#define IOMMU_EVENT_LOG	0x10
#define EVENT_LOG_SIZE(base)	(((base) >> 56) & 15)
#define EVENT_LOG_MAX	15

/*
 * On family 19h, an event log shorter than the longest is written beyond its end, without a check of
 * the RMP (CVE-2023-20585).
 */
HOST_TEST_F(iommu_event_log_is_longest)
{
	u64 base, log;

	if (this_cpu_family() != 0x19)
		SKIP(return, "the CPU is not of family 19h");
	if (!read_at(IVRS, &base, 8, IVRS_FIRST + IVHD_BASE))
		SKIP(return, "no " IVRS);

	log = snp_host_read(base + IOMMU_EVENT_LOG);
	/* No log at all would be another failure. */
	ASSERT_NE(0, log & GENMASK_ULL(51, 12));
	EXPECT_EQ(EVENT_LOG_MAX, EVENT_LOG_SIZE(log));
}

int main(int argc, char **argv)
{
	return test_harness_run(argc, argv);
}
