// SPDX-License-Identifier: GPL-2.0-only
/*
 * An SNP guest that stays: its vCPUs run until the time is over, or until the process or the whole
 * kernel is gone. For tests of what a host does around a living guest: CPUs go offline, the kernel
 * panics or starts another one.
 *
 * Fails if a vCPU stands still, or if private memory loses data.
 */
#include <getopt.h>
#include <time.h>

#include "snp_guest.h"

#define MAX_VCPUS	64
/* A vCPU that has not counted for so many seconds stands still. A busy machine needs a few. */
#define STILL_SECONDS	60

/* A shared page for each vCPU. */
struct stay_area {
	struct snp_report report;
	u64 count;
	u64 end;
	u64 *private;
};

static struct stay_area *area_of(const struct snp_vcpu *v)
{
	return (struct stay_area *)v->report;
}

static void guest_code(struct stay_area *area)
{
	u64 i, count = 0;

	snp_guest_init(&area->report);
	snp_step("private memory");
	while (!READ_ONCE(area->end)) {
		for (i = 0; i < PAGE_SIZE / sizeof(u64); i++)
			WRITE_ONCE(area->private[i], count + i);
		for (i = 0; i < PAGE_SIZE / sizeof(u64); i++)
			snp_expect("private memory", READ_ONCE(area->private[i]), count + i);
		WRITE_ONCE(area->count, ++count);
	}
	ghcb_terminate(SNP_TERM_PASSED, area->report.id);
}

/* Waits until each vCPU counts on. Returns false, and says which, if one stands still or has ended. */
static bool all_count(struct snp_vcpu *v, int nr)
{
	time_t end = time(NULL) + STILL_SECONDS;
	u64 before[MAX_VCPUS];
	int i;

	for (i = 0; i < nr; i++)
		before[i] = READ_ONCE(area_of(&v[i])->count);
	for (i = 0; i < nr; i++) {
		while (READ_ONCE(area_of(&v[i])->count) == before[i]) {
			if (READ_ONCE(v[i].ended))
				return false;
			if (time(NULL) > end) {
				ksft_print_msg("vCPU %d has stood still for %d s\n",
					       i, STILL_SECONDS);
				return false;
			}
			usleep(10000);
		}
	}
	return true;
}

static struct kvm_vm *launch(struct snp_vcpu *v, int nr)
{
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct kvm_vm *vm;
	gva_t area;
	int i;

	vm = snp_create_vm(KVM_X86_SNP_VM, nr, guest_code, vcpus, NULL);
	for (i = 0; i < nr; i++) {
		v[i].vcpu = vcpus[i];
		v[i].report = snp_alloc_report(vm, i, &area);
		area_of(&v[i])->private = (u64 *)vm_alloc(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR);
		vcpu_args_set(vcpus[i], 1, area);
	}
	vm_sev_launch(vm, snp_default_policy(), NULL);
	for (i = 0; i < nr; i++)
		snp_start(&v[i]);
	return vm;
}

int main(int argc, char *argv[])
{
	static struct snp_vcpu v[MAX_VCPUS];
	int i, opt, nr = 2, seconds = 2;
	struct kvm_vm *vm;
	bool counts;
	time_t end;

	while ((opt = getopt(argc, argv, "v:t:h")) != -1) {
		switch (opt) {
		case 'v':
			nr = atoi_positive("vCPUs", optarg);
			break;
		case 't':
			seconds = atoi_positive("seconds", optarg);
			break;
		default:
			printf("usage: %s [-v VCPUS] [-t SECONDS]\n", argv[0]);
			return opt == 'h' ? 0 : KSFT_FAIL;
		}
	}
	TEST_ASSERT(nr <= MAX_VCPUS, "at most %d vCPUs", MAX_VCPUS);
	snp_require_vms();

	ksft_print_header();
	ksft_set_plan(nr);
	vm = launch(v, nr);
	counts = all_count(v, nr);
	/* Whoever started this program waits for the line. */
	if (counts)
		ksft_print_msg("all vCPUs run\n");
	for (end = time(NULL) + seconds; counts && time(NULL) < end; usleep(100000))
		counts = all_count(v, nr);
	for (i = 0; i < nr; i++)
		WRITE_ONCE(area_of(&v[i])->end, 1);
	snp_wait_all(v, nr, STILL_SECONDS);
	for (i = 0; i < nr; i++) {
		if (v[i].failed)
			ksft_print_msg("vCPU %d: %s\n", i, v[i].why);
		ksft_test_result(counts && !v[i].failed, "vCPU %d of %d stays\n", i, nr);
	}
	/* A VM must not be destroyed under a running vCPU: leave that to the process's end. */
	for (i = 0; i < nr && v[i].ended; i++)
		;
	if (i == nr)
		kvm_vm_free(vm);
	ksft_finished();
}
