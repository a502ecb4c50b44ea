// SPDX-License-Identifier: GPL-2.0-only
/*
 * A Xen hypercall of an SNP guest: its registers are in the GHCB, and KVM hands all 64 bits of them to userspace
 * ("VMMCALL" of the GHCB specification, 56421; KVM_EXIT_XEN of Documentation/virt/kvm/api.rst).
 *
 * KVM can't see in which mode a protected guest is. A KVM that looks nevertheless warns, and finds no 64-bit mode for a
 * vCPU that the guest itself has created: KVM never knew that vCPU's registers.
 *
 * Not in the mainline series: 6.12.y warns, which is announced in the kernel's log.
 */
#include "kselftest_harness.h"
#include "announce.h"
#include "created_vcpu.h"
#include "sev_guest.h"

#define CASE_SECONDS	60

/* The number of a hypercall that needs 64 bits, Xen's MSR, which nobody uses here, and the hypercall's result. */
#define HYPERCALL	0x100000022ull
#define XEN_MSR		0x40000200
#define RESULT		0x1122334455667788ull

FIXTURE(xen_hypercall) {
	struct ghcb_vm g;
	/* The vCPU that the guest creates. */
	struct kvm_vcpu *created;
};

/* Both vCPUs use one GHCB: the second one registers it, and makes the request in it. */
static void created_code(gpa_t *ghcb)
{
	ghcb_msr_call(*ghcb | GHCB_MSR_REG_GPA_REQ);
	wrmsr(MSR_AMD64_SEV_ES_GHCB, *ghcb);
	vmgexit();
	for (;;)
		ghcb_msr_call(GHCB_VM_READY);
}

FIXTURE_SETUP(xen_hypercall)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
		.msr = XEN_MSR,
	};
	struct ghcb_vm *g = &self->g;

	if (!(kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL))
		SKIP(return, "expected KVM to have Xen hypercalls (CONFIG_KVM_XEN), found none");
	ghcb_vm_create(g, KVM_X86_SNP_VM, 2);
	vm_ioctl(g->vm, KVM_XEN_HVM_CONFIG, &config);
	self->created = g->vcpus[1];
	*(gpa_t *)g->other = g->ghcb_gpa;
	g->box->rip = (u64)created_code;
	g->box->rsp = g->spare + GHCB_VM_NR_SPARE * PAGE_SIZE - 8;
	g->box->arg = g->other_gva;
}

FIXTURE_TEARDOWN(xen_hypercall)
{
	if (self->g.vm)
		kvm_vm_free(self->g.vm);
}

#define ASSERT_RETURNS(expected)							\
do {											\
	int found__ = ghcb_vcpu_run(self->created);					\
											\
	ASSERT_EQ(expected, found__)							\
		TH_LOG("KVM_RUN of vCPU 1: expected %s, found %s", #expected,		\
		       ghcb_exit_str(found__));						\
} while (0)

TEST_F_TIMEOUT(xen_hypercall, has_64_bits, CASE_SECONDS)
{
	struct kvm_run *run = self->created->run;
	struct ghcb_vm *g = &self->g;

	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, vmsa_page(g)));
	request_ap(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, ghcb_vm_spare_gpa(g, vmsa_page(g)));
	GHCB_ASSERT_OK(g);

	ghcb_page_request(g->ghcb, SVM_EXIT_VMMCALL, 0, 0);
	ghcb_set(g, GHCB_RAX, HYPERCALL);
	g->ghcb[GHCB_CPL] = 0;
	ghcb_page_set_valid(g->ghcb, GHCB_CPL);
	announce("cut here");
	announce("kvm_xen_hypercall+");
	ASSERT_RETURNS(KVM_EXIT_XEN);
	EXPECT_EQ(KVM_EXIT_XEN_HCALL, run->xen.type);
	EXPECT_EQ(1, run->xen.u.hcall.longmode);
	EXPECT_EQ(0, run->xen.u.hcall.cpl);
	EXPECT_EQ(HYPERCALL, run->xen.u.hcall.input);

	run->xen.u.hcall.result = RESULT;
	ASSERT_RETURNS(GHCB_VM_ANSWERED);
	EXPECT_EQ(RESULT, ghcb_get(g, GHCB_RAX));
}

int main(int argc, char **argv)
{
	snp_require_vms();
	return test_harness_run(argc, argv);
}
