// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest that gets nearly all of the host's free memory.
 *
 * Fails if the kernel has memory in its allocator that it cannot give to an SNP guest, such as the
 * rest of the 2 MB in which the RMP begins and ends: SNP_INIT makes it the hypervisor's for good.
 */
#include <linux/sizes.h>

#include "snp_guest.h"

#define SLOT		10
#define GPA		BIT_ULL(32)
/* What the kernel keeps, to go on running: a sixteenth, or so many bytes if that is more. */
#define LEAST_KEPT	((u64)48 * SZ_1M)
#define AT_ONCE		((u64)4 * SZ_1M)
#define SECONDS		600

static void guest_code(void)
{
}

static u64 available_memory(void)
{
	unsigned long long kilobytes = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	TEST_ASSERT(f, "open /proc/meminfo: %s", strerror(errno));
	while (!kilobytes && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) != 1)
			kilobytes = 0;
	}
	fclose(f);
	TEST_ASSERT(kilobytes, "expected MemAvailable in /proc/meminfo, found none");
	return kilobytes * SZ_1K;
}

/* Gives the guest the pages. Returns how many bytes it did not get. */
static u64 give(struct kvm_vcpu *vcpu, u64 bytes)
{
	struct kvm_pre_fault_memory range = { .gpa = GPA };
	u64 left = bytes;

	while (left) {
		range.size = min(left, AT_ONCE);
		left -= range.size;
		while (range.size) {
			if (!__vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range) || errno == EINTR ||
			    errno == EAGAIN)
				continue;
			ksft_print_msg("expected memory for GPA 0x%llx, found: %s\n", range.gpa,
				       strerror(errno));
			return left + range.size;
		}
	}
	return 0;
}

int main(void)
{
	u64 available, bytes, left;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	snp_require_vms();
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY));
	ksft_print_header();
	ksft_set_plan(1);
	snp_limit(SECONDS, "a guest with nearly all memory");
	vm = snp_create_vm(KVM_X86_SNP_VM, 1, guest_code, &vcpu, NULL);
	available = available_memory();
	bytes = (available - max(available / 16, LEAST_KEPT)) / AT_ONCE * AT_ONCE;
	vm_mem_add(vm, VM_MEM_SRC_ANONYMOUS, GPA, SLOT, bytes / PAGE_SIZE, KVM_MEM_GUEST_MEMFD, -1,
		   0);
	vm_mem_set_private(vm, GPA, bytes);
	vm_sev_launch(vm, snp_default_policy(), NULL);
	left = give(vcpu, bytes);
	ksft_print_msg("the guest got %lu of %lu MB\n", (bytes - left) / SZ_1M, bytes / SZ_1M);
	ksft_test_result(!left, "a guest gets nearly all free memory\n");
	kvm_vm_free(vm);
	ksft_finished();
}
