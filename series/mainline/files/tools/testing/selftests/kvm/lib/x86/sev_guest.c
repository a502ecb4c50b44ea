// SPDX-License-Identifier: GPL-2.0-only
#include "ghcb_guest.h"

/* --- In the guest ------------------------------------------------------------------------------ */

static void guest_code(struct mailbox *box)
{
	for (;;) {
		switch (READ_ONCE(box->what)) {
		case DO_PAGE:
			wrmsr(MSR_AMD64_SEV_ES_GHCB, READ_ONCE(box->msr));
			snp_vmgexit();
			break;
		case DO_MSR:
			wrmsr(MSR_AMD64_SEV_ES_GHCB, READ_ONCE(box->msr));
			snp_vmgexit();
			WRITE_ONCE(box->answer, rdmsr(MSR_AMD64_SEV_ES_GHCB));
			break;
		case DO_MAKE_VMSA:
			snp_build_vmsa((u8 *)box->gva, box->rip, box->rsp);
			VMSA_FIELD((u8 *)box->gva, VMSA_RDI) = box->arg;
			/* VMPL 0 can adjust permissions of lower levels only: name VMPL 1. */
			WRITE_ONCE(box->answer, snp_rmpadjust(box->gva, SNP_RMPADJUST_VMSA | 1));
			break;
		case DO_END_VMSA:
			WRITE_ONCE(box->answer, snp_rmpadjust(box->gva, 1));
			break;
		}
		wrmsr(MSR_AMD64_SEV_ES_GHCB, READY);
		snp_vmgexit();
	}
}

/* --- On the host ------------------------------------------------------------------------------- */

int run_vcpu(struct kvm_vcpu *vcpu)
{
	struct kvm_run *kvm_run = vcpu->run;
	int ret;

	do {
		ret = __vcpu_run(vcpu);
	} while (ret < 0 && (errno == EINTR || errno == EAGAIN));

	if (ret < 0)
		return -errno;
	if (kvm_run->exit_reason == KVM_EXIT_SYSTEM_EVENT &&
	    kvm_run->system_event.type == KVM_SYSTEM_EVENT_SEV_TERM &&
	    kvm_run->system_event.data[0] == READY)
		return ANSWERED;
	return kvm_run->exit_reason;
}

int run(struct ghcb_vm *g)
{
	return run_vcpu(g->vcpu);
}

u64 ghcb_get(struct ghcb_vm *g, unsigned int field)
{
	return READ_ONCE(*(u64 *)(g->ghcb + field));
}

bool ghcb_is_valid(struct ghcb_vm *g, unsigned int field)
{
	return READ_ONCE(g->ghcb[GHCB_VALID_BITMAP + field / 64]) & BIT(field / 8 % 8);
}

void page_set_valid(u8 *page, unsigned int field)
{
	page[GHCB_VALID_BITMAP + field / 64] |= BIT(field / 8 % 8);
}

void page_set(u8 *page, unsigned int field, u64 value)
{
	*(u64 *)(page + field) = value;
	page_set_valid(page, field);
}

void ghcb_set(struct ghcb_vm *g, unsigned int field, u64 value)
{
	page_set(g->ghcb, field, value);
}

/* Writes a request into a page; what is in the shared buffer stays. */
void page_request(u8 *page, u64 code, u64 info1, u64 info2)
{
	memset(page, 0, GHCB_SHARED_BUFFER);
	*(u16 *)(page + GHCB_PROTOCOL_VERSION) = 2;
	*(u32 *)(page + GHCB_USAGE) = 0;
	page_set(page, GHCB_SW_EXITCODE, code);
	page_set(page, GHCB_SW_EXITINFO1, info1);
	page_set(page, GHCB_SW_EXITINFO2, info2);
}

/* The next run() makes the guest do that request by the GHCB page. */
void request(struct ghcb_vm *g, u64 code, u64 info1, u64 info2)
{
	page_request(g->ghcb, code, info1, info2);
	g->box->what = DO_PAGE;
	g->box->msr = g->ghcb_gpa;
}

/* The same, with a scratch area at an offset in the GHCB page. */
void request_scratch(struct ghcb_vm *g, u64 code, u64 info1, u64 info2, unsigned int offset)
{
	request(g, code, info1, info2);
	ghcb_set(g, GHCB_SW_SCRATCH, g->ghcb_gpa + offset);
}

/* The next run() makes the guest do that request by the GHCB MSR. */
void request_msr(struct ghcb_vm *g, u64 value)
{
	g->box->what = DO_MSR;
	g->box->msr = value;
	g->box->answer = 0;
}

const char *exit_name(int reason)
{
	static char error[64];

	if (reason == ANSWERED)
		return "an answer to the guest";
	if (reason >= 0)
		return exit_reason_str(reason);
	snprintf(error, sizeof(error), "KVM_RUN: %s", strerror(-reason));
	return error;
}

bool has_type(u32 type)
{
	return kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(type);
}

static void *alloc_page(struct kvm_vm *vm, gva_t *gva, gpa_t *gpa)
{
	*gva = vm_alloc_shared(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR, MEM_REGION_TEST_DATA);
	if (gpa)
		*gpa = snp_gpa(vm, *gva);
	return addr_gva2hva(vm, *gva);
}

/* Makes a VM of that type, whose vCPU 0 waits for requests. */
void create(struct ghcb_vm *g, u32 type, int nr_vcpus)
{
	struct kvm_mp_state halted = { .mp_state = KVM_MP_STATE_HALTED };
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = type };
	gva_t box, gva;
	int i, ret;

	TEST_ASSERT(nr_vcpus <= MAX_VCPUS, "expected at most %d vCPUs", MAX_VCPUS);
	g->vm = __vm_create_with_vcpus(shape, nr_vcpus, 0, guest_code, g->vcpus);
	g->vcpu = g->vcpus[0];
	for (i = 1; i < nr_vcpus; i++)
		vcpu_mp_state_set(g->vcpus[i], &halted);
	g->box = alloc_page(g->vm, &box, NULL);
	g->ghcb = alloc_page(g->vm, &gva, &g->ghcb_gpa);
	g->other = alloc_page(g->vm, &g->other_gva, &g->other_gpa);
	/* The pages follow each other in guest physical memory, too. After the launch nobody can look. */
	g->spare = vm_alloc_pages(g->vm, NR_SPARE);
	g->spare_gpa = snp_gpa(g->vm, g->spare);
	for (i = 0; i < nr_vcpus; i++)
		vcpu_args_set(g->vcpus[i], 1, box);
	vm_sev_launch(g->vm, type == KVM_X86_SNP_VM ? snp_default_policy() : SEV_POLICY_ES, NULL);
	memset(g->box, 0, PAGE_SIZE);
	memset(g->ghcb, 0, PAGE_SIZE);
	memset(g->other, 0, PAGE_SIZE);

	ret = run(g);
	TEST_ASSERT(ret == ANSWERED, "expected the guest to wait for requests, found %s",
		    exit_name(ret));
	if (type == KVM_X86_SNP_VM)
		register_ghcb(g);
}

/* An SNP guest has to tell where its GHCB is before it uses it. */
void register_ghcb(struct ghcb_vm *g)
{
	int ret;

	request_msr(g, g->ghcb_gpa | SNP_MSR_REG_GPA_REQ);
	ret = run(g);
	TEST_ASSERT(ret == ANSWERED && g->box->answer == (g->ghcb_gpa | SNP_MSR_REG_GPA_RESP),
		    "expected the GHCB to be registered, found %s, answer 0x%lx",
		    exit_name(ret), g->box->answer);
}

/* The GPA of a spare page, without the C-bit. */
gpa_t private_gpa(struct ghcb_vm *g, gva_t gva)
{
	return g->spare_gpa + (gva - g->spare);
}

/* Has the guest do a task that needs no exit, on the page at GVA. Returns the task's result. */
u64 guest_does(struct ghcb_vm *g, u64 what, gva_t gva)
{
	int ret;

	g->box->what = what;
	g->box->gva = gva;
	ret = run(g);
	TEST_ASSERT(ret == ANSWERED, "expected the guest's result, found %s", exit_name(ret));
	return g->box->answer;
}
