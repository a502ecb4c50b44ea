// SPDX-License-Identifier: GPL-2.0-only
/*
 * ASIDs of SNP VMs: each VM has one of its own for as long as it lives, and all of them can be had again
 * once their VMs are gone.
 *
 * The firmware binds an ASID to one guest, and says so if it has another ("SEV Secure Nested Paging
 * Firmware ABI Specification", 56860, SNP_ACTIVATE); the APM, volume 2, 15.36, has an ASID stand for a
 * guest's key. KVM hands out ASIDs that were used before only after a flush, of all of them at once: so
 * these cases use up all ASIDs, again and again.
 */
#include <stdint.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "sev.h"
#include "sev_guest.h"

#define CASE_SECONDS	120
#define ASID_TEST_F(name)	TEST_F_TIMEOUT(snp_asid, name, CASE_SECONDS)

/* Files of a VM, and VMs at most: CPUID says how many ASIDs there are. */
#define FILES_PER_VM	8
#define MAX_VMS		1100
/* VMs that stay while all others come and go. */
#define NR_KEPT		3

FIXTURE(snp_asid) {
	/* The number of ASIDs. */
	int n;
	struct kvm_vm **vms;
};

/* Makes a VM, which gets an ASID. Returns NULL, with the error, if KVM has none. */
static struct kvm_vm *create_vm(int *error)
{
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = KVM_X86_SNP_VM };
	struct kvm_vm *vm = ____vm_create(shape);
	struct kvm_sev_init init = { 0 };

	*error = 0;
	if (!__vm_sev_op(vm, KVM_SEV_INIT2, &init, NULL))
		return vm;
	*error = errno;
	kvm_vm_free(vm);
	return NULL;
}

/* Begins the launch, which binds the ASID. Returns 0 or the error. */
static int launch(struct kvm_vm *vm, u32 *fw_error)
{
	struct kvm_sev_snp_launch_start start = { .policy = snp_default_policy() };

	return __vm_sev_op(vm, KVM_SEV_SNP_LAUNCH_START, &start, fw_error) ? errno : 0;
}

#define ASSERT_LAUNCHED(vm_)							\
do {										\
	u32 fw_error__ = 0;							\
	int ret__ = launch(vm_, &fw_error__);					\
										\
	ASSERT_EQ(0, ret__)							\
		TH_LOG("LAUNCH_START: %s, firmware error 0x%x",			\
		       strerror(ret__), fw_error__);				\
} while (0)

/* Makes a VM and launches it. */
#define ASSERT_RUNS(what, i)							\
({										\
	int error__;								\
	struct kvm_vm *vm__ = create_vm(&error__);				\
										\
	ASSERT_NE(NULL, vm__)							\
		TH_LOG("%s %d: %s", what, i, strerror(error__));		\
	ASSERT_LAUNCHED(vm__);							\
	vm__;									\
})

FIXTURE_SETUP(snp_asid)
{
	u32 eax, ebx, ecx, edx;

	/* EDX has the first ASID that is for SEV only. */
	cpuid(0x8000001f, &eax, &ebx, &ecx, &edx);
	self->n = edx - 1;
	if (self->n > MAX_VMS)
		SKIP(return, "%d ASIDs are too many to use up", self->n);
	ASSERT_LT(NR_KEPT, self->n);
	kvm_set_files_rlimit(self->n * FILES_PER_VM);
	self->vms = calloc(self->n, sizeof(*self->vms));
	ASSERT_NE(NULL, self->vms);
}

FIXTURE_TEARDOWN(snp_asid)
{
	free(self->vms);
}

/* As many VMs at a time as there are ASIDs, twice; the ones of the second time get ASIDs that were used. */
ASID_TEST_F(each_vm_has_its_own)
{
	int round, i, n, error;

	for (round = 0; round < 2; round++) {
		for (n = 0; n < self->n; n++) {
			self->vms[n] = create_vm(&error);
			if (!self->vms[n])
				break;
			ASSERT_LAUNCHED(self->vms[n]);
		}
		/* kvm_amd may be told to leave out some, but not from one time to the next. */
		if (!round && n < self->n) {
			ASSERT_EQ(EBUSY, error);
			self->n = n;
		}
		ASSERT_EQ(self->n, n);
		EXPECT_EQ(NULL, create_vm(&error));
		EXPECT_EQ(EBUSY, error);
		for (i = 0; i < n; i++)
			kvm_vm_free(self->vms[i]);
	}
}

/* VMs that live have their ASIDs, however often those of the others are used again. */
ASID_TEST_F(kept_by_vm_that_lives)
{
	struct kvm_vm *kept[NR_KEPT];
	int i, k;

	for (k = 0; k < NR_KEPT; k++) {
		for (i = 0; i < self->n - k; i++)
			kvm_vm_free(ASSERT_RUNS("VM", i));
		kept[k] = ASSERT_RUNS("kept VM", k);
	}
	for (i = 0; i < self->n; i++)
		kvm_vm_free(ASSERT_RUNS("last VM", i));
	for (k = 0; k < NR_KEPT; k++)
		kvm_vm_free(kept[k]);
}

int main(int argc, char **argv)
{
	snp_require_vms();
	return test_harness_run(argc, argv);
}
