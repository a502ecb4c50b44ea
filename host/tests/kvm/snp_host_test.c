// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a kernel makes of a machine with SEV-SNP before any VM exists: the types of VMs that KVM offers,
 * and the memory around the RMP.
 *
 * "SEV-SNP" of the APM, volume 2, 15.36.3 and 15.36.4; KVM_CAP_VM_TYPES of Documentation/virt/kvm/api.rst.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "kselftest_harness.h"
#include "test_util.h"
#include "kvm_util.h"
#include "sev.h"

#define CPUID_SEV		0x8000001f
#define HAS_SNP			BIT(4)
#define MSR_SYSCFG		0xc0010010
#define SYSCFG_SNP_EN		BIT_ULL(24)
#define MSR_RMP_BASE		0xc0010132
#define MSR_RMP_END		0xc0010133
#define LARGE			(2ull << 20)

static bool offers_snp(void)
{
	return kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SNP_VM);
}

/* The number of CPUs in a list as sysfs has it: "0-3,5". */
static int nr_cpus(const char *path)
{
	char text[256] = "", *p = text, *next;
	int fd = open(path, O_RDONLY | O_CLOEXEC), nr = 0;
	long first, last;

	TEST_ASSERT(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "%s: %s", path, strerror(errno));
	close(fd);
	while (*p && *p != '\n') {
		first = last = strtol(p, &next, 10);
		if (*next == '-')
			last = strtol(next + 1, &next, 10);
		nr += last - first + 1;
		p = *next == ',' ? next + 1 : next;
	}
	return nr;
}

static bool all_cpus_online(void)
{
	return nr_cpus("/sys/devices/system/cpu/online") == nr_cpus("/sys/devices/system/cpu/present");
}

static u64 read_msr(u32 msr)
{
	int fd = open_path_or_exit("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
	u64 value = 0;

	TEST_ASSERT(pread(fd, &value, sizeof(value), msr) == sizeof(value),
		    "MSR %x: %s", msr, strerror(errno));
	close(fd);
	return value;
}

/*
 * The machine has SNP. SNP_INIT wants SYSCFG.SNP_EN on each of its CPUs, and the kernel cannot set it on one
 * that is not online: with all CPUs there are SNP VMs, and without one of them there are none.
 */
TEST(snp_vms_if_all_cpus_are_online)
{
	EXPECT_EQ(all_cpus_online(), offers_snp());
}

/*
 * SNP_EN stays set until the next reset, and makes every write of memory slower. A kernel that gives SNP up must
 * not have set it.
 */
TEST(snp_en_is_set_if_snp_vms_are_offered)
{
	EXPECT_EQ(offers_snp(), !!(read_msr(MSR_SYSCFG) & SYSCFG_SNP_EN));
}

/*
 * Once SNP is on, the firmware converts the 2 MB pages with the ends of the RMP as a whole. No other memory
 * in them may be used: a guest's page there could not be made private.
 */
TEST(memory_around_the_rmp_is_reserved)
{
	u64 base = read_msr(MSR_RMP_BASE), end = read_msr(MSR_RMP_END) + 1;
	u64 first = base & ~(LARGE - 1), last = (end + LARGE - 1) & ~(LARGE - 1);
	unsigned long long from, to;
	char line[256], what[128];
	FILE *iomem;

	if (!base || !offers_snp())
		SKIP(return, "SNP is not on");
	if (first == base && last == end)
		SKIP(return, "both ends of the RMP are at multiples of 2 MB");
	iomem = fopen("/proc/iomem", "r");
	ASSERT_NE(NULL, iomem);
	while (fgets(line, sizeof(line), iomem)) {
		if (sscanf(line, "%llx-%llx : %127[^\n]", &from, &to, what) != 3 ||
		    strcmp(what, "System RAM"))
			continue;
		EXPECT_FALSE(from < last && to >= first)
			TH_LOG("RMP at 0x%llx to 0x%llx, System RAM at 0x%llx to 0x%llx",
			       (unsigned long long)base, (unsigned long long)end - 1, from, to);
	}
	fclose(iomem);
}

int main(int argc, char **argv)
{
	u32 eax, ebx, ecx, edx;

	cpuid(CPUID_SEV, &eax, &ebx, &ecx, &edx);
	if (!(eax & HAS_SNP) || access("/dev/cpu/0/msr", R_OK) || !read_msr(MSR_RMP_BASE)) {
		ksft_print_header();
		ksft_exit_skip("the machine has no SEV-SNP: see CPU, firmware setup and CONFIG_X86_MSR\n");
	}
	return test_harness_run(argc, argv);
}
