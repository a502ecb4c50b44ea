// SPDX-License-Identifier: GPL-2.0-only
#include "kselftest.h"
#include "sev_guest.h"

/* --- In the guest ---------------------------------------------------------------- */

void snp_vmsa_set(u8 *vmsa, unsigned int field, u64 value)
{
	WRITE_ONCE(*(u64 *)(vmsa + field), value);
}

void snp_vmsa_set_segment(u8 *vmsa, enum vmsa_segment segment, u16 selector,
			  u16 attributes, u32 limit, u64 base)
{
	snp_vmsa_set(vmsa, VMSA_SEGMENT(segment),
		     selector | (u64)attributes << 16 | (u64)limit << 32);
	snp_vmsa_set(vmsa, VMSA_SEGMENT(segment) + 8, base);
}

/* Fills a page with the state of a vCPU like the caller, at another address. */
void snp_vmsa_init(u8 *vmsa, u64 rip, u64 rsp)
{
	struct desc_ptr gdt = get_gdt(), idt = get_idt();
	enum vmsa_segment i;

	memset(vmsa, 0, PAGE_SIZE);
	for (i = VMSA_ES; i <= VMSA_GS; i++)
		snp_vmsa_set_segment(vmsa, i, i == VMSA_CS ? get_cs() : get_ds(),
				     i == VMSA_CS ? 0xa9b : 0xc93, ~0u, 0);
	snp_vmsa_set_segment(vmsa, VMSA_GDTR, 0, 0, gdt.size, gdt.address);
	snp_vmsa_set_segment(vmsa, VMSA_IDTR, 0, 0, idt.size, idt.address);
	snp_vmsa_set_segment(vmsa, VMSA_LDTR, 0, 0x082, 0, 0);
	snp_vmsa_set_segment(vmsa, VMSA_TR, 0, 0x08b, 0xffff, 0);
	snp_vmsa_set(vmsa, VMSA_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	snp_vmsa_set(vmsa, VMSA_CR4, get_cr4());
	snp_vmsa_set(vmsa, VMSA_CR3, get_cr3());
	snp_vmsa_set(vmsa, VMSA_CR0, get_cr0());
	snp_vmsa_set(vmsa, VMSA_DR7, 0x400);
	snp_vmsa_set(vmsa, VMSA_DR6, 0xffff0ff0);
	snp_vmsa_set(vmsa, VMSA_RFLAGS, X86_EFLAGS_FIXED);
	snp_vmsa_set(vmsa, VMSA_RIP, rip);
	snp_vmsa_set(vmsa, VMSA_RSP, rsp);
	snp_vmsa_set(vmsa, VMSA_PAT, 0x0007040600070406ull);
	snp_vmsa_set(vmsa, VMSA_SEV_FEATURES, SNP_SEV_FEATURES);
	snp_vmsa_set(vmsa, VMSA_XCR0, XFEATURE_MASK_FP);
	snp_vmsa_set(vmsa, VMSA_MXCSR, 0x1f80);
	snp_vmsa_set(vmsa, VMSA_FCW, 0x37f);
}

/* Makes the request that is in a GHCB page.  Returns SW_EXITINFO1. */
u64 ghcb_page_call(u8 *page, gpa_t gpa)
{
	wrmsr(MSR_AMD64_SEV_ES_GHCB, gpa);
	vmgexit();
	return ghcb_page_get(page, GHCB_SW_EXITINFO1);
}

static void guest_code(struct ghcb_mailbox *box)
{
	for (;;) {
		switch (READ_ONCE(box->what)) {
		case GHCB_TASK_PAGE:
			wrmsr(MSR_AMD64_SEV_ES_GHCB, READ_ONCE(box->msr));
			vmgexit();
			break;
		case GHCB_TASK_MSR:
			WRITE_ONCE(box->answer, ghcb_msr_call(READ_ONCE(box->msr)));
			break;
		case GHCB_TASK_MAKE_VMSA:
			snp_vmsa_init((u8 *)box->gva, box->rip, box->rsp);
			snp_vmsa_set((u8 *)box->gva, VMSA_RDI, box->arg);
			/* VMPL 0 can adjust permissions of lower levels only: name VMPL 1. */
			WRITE_ONCE(box->answer, snp_rmpadjust(box->gva, SNP_RMPADJUST_VMSA | 1));
			break;
		case GHCB_TASK_END_VMSA:
			WRITE_ONCE(box->answer, snp_rmpadjust(box->gva, 1));
			break;
		case GHCB_TASK_VALIDATE:
			WRITE_ONCE(box->answer, snp_pvalidate(box->gva, true));
			break;
		}
		wrmsr(MSR_AMD64_SEV_ES_GHCB, GHCB_VM_READY);
		vmgexit();
	}
}

/* --- In the guest or on the host --------------------------------------------------- */

u64 ghcb_page_get(const u8 *page, unsigned int field)
{
	return READ_ONCE(*(const u64 *)(page + field));
}

bool ghcb_page_is_valid(const u8 *page, unsigned int field)
{
	return READ_ONCE(page[GHCB_VALID_BITMAP + field / 64]) & BIT(field / 8 % 8);
}

void ghcb_page_set_valid(u8 *page, unsigned int field)
{
	page[GHCB_VALID_BITMAP + field / 64] |= BIT(field / 8 % 8);
}

void ghcb_page_set(u8 *page, unsigned int field, u64 value)
{
	WRITE_ONCE(*(u64 *)(page + field), value);
	ghcb_page_set_valid(page, field);
}

/* Writes a request into a page.  What's in the shared buffer stays. */
void ghcb_page_request(u8 *page, u64 code, u64 info1, u64 info2)
{
	memset(page, 0, GHCB_SHARED_BUFFER);
	*(u16 *)(page + GHCB_PROTOCOL_VERSION) = 2;
	*(u32 *)(page + GHCB_USAGE) = 0;
	ghcb_page_set(page, GHCB_SW_EXITCODE, code);
	ghcb_page_set(page, GHCB_SW_EXITINFO1, info1);
	ghcb_page_set(page, GHCB_SW_EXITINFO2, info2);
}

/* --- On the host --------------------------------------------------------------------- */

void snp_require_vms(void)
{
	if (sev_is_vm_type_supported(KVM_X86_SNP_VM))
		return;

	ksft_print_header();
	ksft_exit_skip("KVM has no SNP VMs: see CPU, firmware setup and kvm_amd.sev_snp\n");
}

/*
 * Runs a vCPU until it exits to userspace.  Returns the exit's reason, a negative
 * error of KVM_RUN, or GHCB_VM_ANSWERED.
 */
int ghcb_vcpu_run(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int ret;

	do {
		ret = __vcpu_run(vcpu);
	} while (ret < 0 && (errno == EINTR || errno == EAGAIN));

	if (ret < 0)
		return -errno;
	if (run->exit_reason == KVM_EXIT_SYSTEM_EVENT &&
	    run->system_event.type == KVM_SYSTEM_EVENT_SEV_TERM &&
	    run->system_event.data[0] == GHCB_VM_READY)
		return GHCB_VM_ANSWERED;
	return run->exit_reason;
}

int ghcb_vm_run(struct ghcb_vm *g)
{
	return ghcb_vcpu_run(g->vcpu);
}

const char *ghcb_exit_str(int reason)
{
	static char error[64];

	if (reason == GHCB_VM_ANSWERED)
		return "an answer to the guest";
	if (reason >= 0)
		return exit_reason_str(reason);
	snprintf(error, sizeof(error), "KVM_RUN: %s", strerror(-reason));
	return error;
}

/* The next run makes the guest make that request by the GHCB page. */
void ghcb_vm_request(struct ghcb_vm *g, u64 code, u64 info1, u64 info2)
{
	ghcb_page_request(g->ghcb, code, info1, info2);
	g->box->what = GHCB_TASK_PAGE;
	g->box->msr = g->ghcb_gpa;
}

/* The same, with a scratch area at an offset in the GHCB page. */
void ghcb_vm_request_scratch(struct ghcb_vm *g, u64 code, u64 info1, u64 info2,
			     unsigned int offset)
{
	ghcb_vm_request(g, code, info1, info2);
	ghcb_set(g, GHCB_SW_SCRATCH, g->ghcb_gpa + offset);
}

/* The next run makes the guest make that request by the GHCB MSR. */
void ghcb_vm_request_msr(struct ghcb_vm *g, u64 value)
{
	g->box->what = GHCB_TASK_MSR;
	g->box->msr = value;
	g->box->answer = 0;
}

/* Writes a list of page state changes at an offset of the GHCB page. */
void ghcb_vm_put_psc(struct ghcb_vm *g, unsigned int offset, u16 first, u16 last,
		     int nr, const u64 *entries)
{
	u16 *header = (u16 *)(g->ghcb + offset);
	u64 *list = (u64 *)(g->ghcb + offset + GHCB_PSC_HEADER_SIZE);
	int i;

	memset(header, 0, GHCB_PSC_HEADER_SIZE);
	header[0] = first;
	header[1] = last;
	for (i = 0; i < nr; i++)
		list[i] = entries[i];
}

static void *alloc_shared_page(struct kvm_vm *vm, gva_t *gva, gpa_t *gpa)
{
	*gva = vm_alloc_shared(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR, MEM_REGION_TEST_DATA);
	if (gpa)
		*gpa = sev_gva2gpa(vm, *gva);
	return addr_gva2hva(vm, *gva);
}

/*
 * Makes and launches a VM of that type, whose first vCPU waits for tasks.  IDs of vCPUs
 * are 0, 1, ... unless others are given; prepare(), if any, is called before there are vCPUs.
 */
void __ghcb_vm_create(struct ghcb_vm *g, u32 type, int nr_vcpus, const u32 *ids,
		      void (*prepare)(struct kvm_vm *vm))
{
	struct kvm_mp_state halted = { .mp_state = KVM_MP_STATE_HALTED };
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = type };
	gva_t box, gva;
	int i, ret;

	TEST_ASSERT(nr_vcpus <= GHCB_VM_MAX_VCPUS, "Expected at most %d vCPUs",
		    GHCB_VM_MAX_VCPUS);
	g->vm = __vm_create(shape, nr_vcpus, 0);
	if (prepare)
		prepare(g->vm);
	for (i = 0; i < nr_vcpus; i++)
		g->vcpus[i] = vm_vcpu_add(g->vm, ids ? ids[i] : i, guest_code);
	kvm_arch_vm_finalize_vcpus(g->vm);
	g->vcpu = g->vcpus[0];
	for (i = 1; i < nr_vcpus; i++)
		vcpu_mp_state_set(g->vcpus[i], &halted);
	g->box = alloc_shared_page(g->vm, &box, NULL);
	g->ghcb = alloc_shared_page(g->vm, &gva, &g->ghcb_gpa);
	g->other = alloc_shared_page(g->vm, &g->other_gva, &g->other_gpa);
	/* The pages are adjacent in guest physical memory, too: none is in use yet. */
	g->spare = vm_alloc_pages(g->vm, GHCB_VM_NR_SPARE);
	g->spare_gpa = sev_gva2gpa(g->vm, g->spare);
	for (i = 0; i < nr_vcpus; i++)
		vcpu_args_set(g->vcpus[i], 1, box);
	vm_sev_launch(g->vm, type == KVM_X86_SNP_VM ? snp_default_policy() : SEV_POLICY_ES, NULL);
	memset(g->box, 0, PAGE_SIZE);
	memset(g->ghcb, 0, PAGE_SIZE);
	memset(g->other, 0, PAGE_SIZE);

	ret = ghcb_vm_run(g);
	TEST_ASSERT(ret == GHCB_VM_ANSWERED, "Expected the guest to wait for tasks, found %s",
		    ghcb_exit_str(ret));
	if (type == KVM_X86_SNP_VM)
		ghcb_vm_register(g);
}

void ghcb_vm_create(struct ghcb_vm *g, u32 type, int nr_vcpus)
{
	__ghcb_vm_create(g, type, nr_vcpus, NULL, NULL);
}

/* An SNP guest has to tell where its GHCB is before it uses it. */
void ghcb_vm_register(struct ghcb_vm *g)
{
	int ret;

	ghcb_vm_request_msr(g, g->ghcb_gpa | GHCB_MSR_REG_GPA_REQ);
	ret = ghcb_vm_run(g);
	TEST_ASSERT(ret == GHCB_VM_ANSWERED &&
		    g->box->answer == (g->ghcb_gpa | GHCB_MSR_REG_GPA_RESP),
		    "Expected the GHCB to be registered, found %s, response 0x%lx",
		    ghcb_exit_str(ret), g->box->answer);
}

/* The GPA of a spare page.  Page tables can't be read any more after the launch. */
gpa_t ghcb_vm_spare_gpa(struct ghcb_vm *g, gva_t gva)
{
	return g->spare_gpa + (gva - g->spare);
}

/* Makes the guest do a task on the page at GVA.  Returns the task's result. */
u64 ghcb_vm_do(struct ghcb_vm *g, enum ghcb_task task, gva_t gva)
{
	int ret;

	g->box->what = task;
	g->box->gva = gva;
	ret = ghcb_vm_run(g);
	TEST_ASSERT(ret == GHCB_VM_ANSWERED, "Expected the guest's result, found %s",
		    ghcb_exit_str(ret));
	return g->box->answer;
}
