// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test the part of an SEV-ES vCPU's state that KVM has to keep by itself: that
 * it follows the vCPU to another VM in an intra-host migration, and that
 * userspace can't bring it out of step with the VMSA.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/psp-sev.h>
#include <sys/ioctl.h>

#include "kselftest_harness.h"
#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"
#include "sev.h"

/* GHCB MSR protocol: the versions that the host supports. */
#define GHCB_MSR_SEV_INFO_REQ	0x002
#define GHCB_MSR_SEV_INFO_MAX	48

/* Termination requests of the guest: the reason set, with the version as code. */
#define TERM_REQUEST(set, version) \
	(GHCB_MSR_TERM_REQ | ((u64)(set) << 12) | ((u64)(version) << 16))
#define FPU_STATE_KEPT		0xa
#define FPU_STATE_LOST		0xb

#define FPU_PATTERN		0x0123456789abcdefULL
#define GUEST_PORT		0x80

static u32 vm_types;

/* Ask for the supported versions, and tell the host, with each KVM_RUN. */
static void guest_es_code(void)
{
	u64 pattern, version;

	asm volatile("movq %0, %%xmm15" :: "r"(FPU_PATTERN));

	for (;;) {
		wrmsr(MSR_AMD64_SEV_ES_GHCB, GHCB_MSR_SEV_INFO_REQ);
		vmgexit();
		version = rdmsr(MSR_AMD64_SEV_ES_GHCB) >> GHCB_MSR_SEV_INFO_MAX;

		asm volatile("movq %%xmm15, %0" : "=r"(pattern));
		wrmsr(MSR_AMD64_SEV_ES_GHCB,
		      TERM_REQUEST(pattern == FPU_PATTERN ? FPU_STATE_KEPT : FPU_STATE_LOST,
				   version));
		vmgexit();
	}
}

static void guest_sev_code(void)
{
	for (;;)
		asm volatile("outb %b0, %w1" :: "a"(0), "Nd"(GUEST_PORT));
}

/*
 * The destination of a migration has the memory and the vCPU of the source,
 * but isn't an SEV VM yet.
 */
static struct kvm_vcpu *create_destination(struct kvm_vcpu *src_vcpu)
{
	struct kvm_vm *src = src_vcpu->vm, *dst = vm_create_barebones_type(src->type);
	struct kvm_mp_state mp_state = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct userspace_mem_region *region;
	struct kvm_vcpu *vcpu;
	int ctr;

	vm_create_irqchip(dst);
	hash_for_each(src->regions.slot_hash, ctr, region, slot_node)
		vm_set_user_memory_region(dst, region->region.slot, 0,
					  region->region.guest_phys_addr,
					  region->region.memory_size,
					  (void *)region->region.userspace_addr);

	vcpu = __vm_vcpu_add(dst, src_vcpu->id);
	vcpu_init_cpuid(vcpu, kvm_get_supported_cpuid());
	vcpu_mp_state_set(vcpu, &mp_state);

	return vcpu;
}

static void migrate(struct kvm_vcpu *dst, struct kvm_vcpu *src)
{
	vm_enable_cap(dst->vm, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, src->vm->fd);
}

/* Run an SEV-ES guest until it has made its request. */
static void run_until_request(struct __test_metadata *_metadata, struct kvm_vcpu *vcpu,
			      u64 *request)
{
	struct kvm_run *run = vcpu->run;

	ASSERT_EQ(0, _vcpu_run(vcpu)) {
		TH_LOG("KVM_RUN: %s", strerror(errno));
	}
	ASSERT_EQ(KVM_EXIT_SYSTEM_EVENT, run->exit_reason) {
		TH_LOG("KVM_RUN: exit %s", exit_reason_str(run->exit_reason));
	}
	ASSERT_EQ(KVM_SYSTEM_EVENT_SEV_TERM, run->system_event.type);
	*request = run->system_event.data[0];
}

FIXTURE(migration) {
	struct kvm_vcpu *src, *dst;
};

FIXTURE_SETUP(migration)
{
	struct kvm_vm *vm;

	if (!(vm_types & BIT(KVM_X86_SEV_ES_VM)))
		SKIP(return, "KVM has no SEV-ES VMs");

	vm = vm_sev_create_with_one_vcpu(KVM_X86_SEV_ES_VM, guest_es_code, &self->src);
	vm_sev_launch(vm, SEV_POLICY_ES, NULL);
	self->dst = create_destination(self->src);
}

FIXTURE_TEARDOWN(migration)
{
	kvm_vm_free(self->dst->vm);
	kvm_vm_free(self->src->vm);
}

/* The destination must be able to run the vCPU. */
TEST_F(migration, vcpu_runs)
{
	u64 request;

	migrate(self->dst, self->src);
	run_until_request(_metadata, self->dst, &request);
}

/* The guest must find its FPU state and the same GHCB protocol before and after. */
TEST_F(migration, guest_sees_no_difference)
{
	u64 before, after;

	run_until_request(_metadata, self->src, &before);
	ASSERT_EQ(TERM_REQUEST(FPU_STATE_KEPT, 2), before);
	migrate(self->dst, self->src);
	run_until_request(_metadata, self->dst, &after);
	EXPECT_EQ(before, after);
}

/* The guest's FPU state is in the VMSA.  KVM must not hand out what isn't. */
TEST_F(migration, fpu_state_is_confidential)
{
	struct kvm_xsave xsave = { 0 };
	struct kvm_fpu fpu;

	migrate(self->dst, self->src);
	EXPECT_EQ(-1, __vcpu_ioctl(self->dst, KVM_GET_XSAVE, &xsave));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, __vcpu_ioctl(self->dst, KVM_SET_XSAVE, &xsave));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, __vcpu_ioctl(self->dst, KVM_GET_FPU, &fpu));
	EXPECT_EQ(EINVAL, errno);
}

/* An SEV VM's state isn't encrypted, i.e. userspace has to move it. */
TEST(sev_vcpu_runs_after_migration)
{
	struct kvm_vcpu *src, *dst;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_vm *vm;

	if (!(vm_types & BIT(KVM_X86_SEV_VM)))
		SKIP(return, "KVM has no SEV VMs");

	vm = vm_sev_create_with_one_vcpu(KVM_X86_SEV_VM, guest_sev_code, &src);
	vm_sev_launch(vm, 0, NULL);
	vcpu_regs_get(src, &regs);
	vcpu_sregs_get(src, &sregs);
	dst = create_destination(src);
	migrate(dst, src);
	vcpu_sregs_set(dst, &sregs);
	vcpu_regs_set(dst, &regs);

	ASSERT_EQ(0, _vcpu_run(dst)) {
		TH_LOG("KVM_RUN: %s", strerror(errno));
	}
	EXPECT_EQ(KVM_EXIT_IO, dst->run->exit_reason);
	EXPECT_EQ(GUEST_PORT, dst->run->io.port);
}

FIXTURE(debugctl) {
	struct kvm_vcpu *vcpu;
};

FIXTURE_VARIANT(debugctl) {
	u32 type;
};

FIXTURE_VARIANT_ADD(debugctl, sev_es) {
	.type = KVM_X86_SEV_ES_VM,
};

FIXTURE_VARIANT_ADD(debugctl, snp) {
	.type = KVM_X86_SNP_VM,
};

FIXTURE_SETUP(debugctl)
{
	if (!(vm_types & BIT(variant->type)))
		SKIP(return, "KVM has no such VMs");

	vm_sev_create_with_one_vcpu(variant->type, guest_es_code, &self->vcpu);
}

FIXTURE_TEARDOWN(debugctl)
{
	kvm_vm_free(self->vcpu->vm);
}

/*
 * KVM enables the virtualization of branch records with DEBUGCTL.LBR.  It has
 * to be on for the guest, whatever userspace does before launch.
 */
TEST_F(debugctl, can_be_cleared_before_launch)
{
	struct kvm_mp_state mp_state;
	u64 request;

	ASSERT_EQ(1, _vcpu_set_msr(self->vcpu, MSR_IA32_DEBUGCTLMSR, DEBUGCTLMSR_LBR));
	EXPECT_EQ(1, _vcpu_set_msr(self->vcpu, MSR_IA32_DEBUGCTLMSR, 0));
	/* Once KVM has declared a VM to be broken, every ioctl fails with EIO. */
	ASSERT_EQ(0, __vcpu_ioctl(self->vcpu, KVM_GET_MP_STATE, &mp_state)) {
		TH_LOG("KVM_GET_MP_STATE: %s", strerror(errno));
	}

	vm_sev_launch(self->vcpu->vm, variant->type == KVM_X86_SNP_VM ?
		      snp_default_policy() : SEV_POLICY_ES, NULL);
	run_until_request(_metadata, self->vcpu, &request);
	EXPECT_EQ(TERM_REQUEST(FPU_STATE_KEPT, 2), request);
}

int main(int argc, char **argv)
{
	vm_types = kvm_has_cap(KVM_CAP_VM_TYPES) ? kvm_check_cap(KVM_CAP_VM_TYPES) : 0;

	if (!(vm_types & (BIT(KVM_X86_SEV_VM) | BIT(KVM_X86_SEV_ES_VM)))) {
		ksft_print_header();
		ksft_exit_skip("KVM has neither SEV nor SEV-ES VMs\n");
	}

	return test_harness_run(argc, argv);
}
