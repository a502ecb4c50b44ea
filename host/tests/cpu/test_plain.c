// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A VM without SEV on an SNP host: its accesses to other guests' pages, and the
 * parts of SVM that the platform advertises (NRIPS, decode assists, flush by
 * ASID; APM 2, 15.7 to 15.20).
 */
#include "lib.h"

static struct vm *vm;
static struct vcpu *v;

/* The VM's writes count as the host's: to hypervisor pages only. */
static void rmp_and_plain(void)
{
	u64 a = G_TEST, p, e;

	p = (u64)page_alloc();
	vm_keep(vm, (void *)p);
	put64((void *)p, 0, 0x77);
	npt_map(vm, a, p, NPT_RWX);
	vcpu_do(v, OP_WRITE, a + 8, 0x88, 0);
	is(get64((void *)p, 8), 0x88, "it writes to a hypervisor page");
	rmp_assign(p, a, 1, false, false);
	e = vcpu_do(v, OP_WRITE, a, 1, 0);
	is(e, EXIT_NPF, "its write to an assigned page: #NPF (15.36.10)");
	is(get64(v->vmcb, VMCB_INFO1) & (PF_RMP | PF_W | NPF_ENC | NPF_FINAL),
	   PF_RMP | PF_W | NPF_FINAL, "EXITINFO1: RMP, W, and not ENC");
	is(get64(v->vmcb, VMCB_INFO2), a, "EXITINFO2: the gpa");
	rmp_shared(p, false);
	is(vcpu_run(v), EXIT_VMGEXIT, "it goes on when the page is given back");
	is(get64((void *)p, 0), 1, "and its write is done");
	rmp_assign(p, a, 1, false, false);
	is(vcpu_do(v, OP_READ, a + 8, 0, 0), EXIT_VMGEXIT,
	   "its read of an assigned page is allowed");
	vcpu_do(v, OP_RDMSR, MSR_SEV_STATUS, 0, 0);
	ok(get64(v->sh, SH_VEC) != NO_FAULT || get64(v->sh, SH_R0) == 0,
	   "SEV_STATUS: nothing in a plain VM");
	vcpu_do(v, OP_PVALIDATE, a, 0, 1);
	is(get64(v->sh, SH_VEC), VEC_UD, "PVALIDATE in a plain VM: #UD");
	vcpu_do(v, OP_RMPADJUST, a, 0, 1);
	is(get64(v->sh, SH_VEC), VEC_UD, "RMPADJUST in a plain VM: #UD");
	npt_map(vm, a, 0, 0);
}

/* An intercepted instruction: check the exit, then skip it without its effect. */
static u64 leave(u32 code, u32 op, u64 a, const char *name, u32 len)
{
	u64 e, rip;

	intercept(v, code, true);
	e = vcpu_do(v, op, a, 0, 0);
	intercept(v, code, false);
	is(e, code, "%s, intercepted: its exit", name);
	rip = get64(v->vmcb + VMCB_SAVE, SA_RIP);
	is(get64(v->vmcb, VMCB_NRIP) - rip, len,
	   "%s: nRIP is the next instruction", name);
	return get64(v->vmcb, VMCB_INFO1);
}

static void finish(void)
{
	is(vcpu_run(v), EXIT_VMGEXIT, "which then runs");
}

static void assists(void)
{
	u64 e, p, q, cr0;
	u8 *b = v->vmcb + 0xd1;

	leave(EXIT_CPUID, OP_CPUID, 0, "CPUID", 2);
	finish();
	leave(0x6e, OP_RDTSC, 0, "RDTSC", 2);
	finish();
	leave(EXIT_HLT, OP_HLT, 0, "HLT", 1);
	put64(v->vmcb + VMCB_SAVE, SA_RIP, get64(v->vmcb, VMCB_NRIP));
	finish();
	intercept(v, EXIT_HLT, true);
	vcpu_do(v, OP_RDCRS, 0, 0, 0);
	cr0 = get64(v->sh, SH_R0);
	is(leave(0x10, OP_WRCR0, cr0, "MOV to CR0", 3), BIT(63) | 7,
	   "MOV to CR0: EXITINFO1: bit 63, and RDI");
	finish();
	is(leave(0x04, OP_RDCRS, 0, "MOV from CR4", 3), BIT(63) | 3,
	   "MOV from CR4: EXITINFO1: bit 63, and RBX");
	finish();
	is(leave(0x37, OP_WRDR7, 0x400, "MOV to DR7", 3) & 0xf, 7,
	   "MOV to DR7: EXITINFO1[3:0]: RDI");
	finish();
	is(leave(0x79, OP_INVLPG, 0x5123, "INVLPG", 3), 0x5123,
	   "INVLPG: EXITINFO1: the address");
	finish();

	/* #NPF: bytes of the instruction, and no nRIP */
	e = vcpu_do(v, OP_READ, G_TEST, 0, 0);
	is(e, EXIT_NPF, "#NPF of a read");
	is(get64(v->vmcb, VMCB_NRIP), 0, "#NPF: nRIP is zero");
	ok(b[-1] >= 3 && b[-1] <= 15, "#NPF: instruction bytes: %u", b[-1]);
	ok(b[0] == 0x48 && b[1] == 0x8b && b[2] == 0x07,
	   "#NPF: they are those of MOV (%%rdi), %%rax: %02x %02x %02x", b[0],
	   b[1], b[2]);

	/* TLB_CONTROL: the same gpa is mapped to another page */
	p = (u64)page_alloc();
	q = (u64)page_alloc();
	vm_keep(vm, (void *)p);
	vm_keep(vm, (void *)q);
	put64((void *)p, 0, 0xaa);
	put64((void *)q, 0, 0xbb);
	npt_map(vm, G_TEST, p, NPT_RWX);
	is(vcpu_run(v), EXIT_VMGEXIT, "the read is done when it is mapped");
	is(get64(v->sh, SH_R0), 0xaa, "and is right");
	for (u32 i = 0; i < 3; i++) {
		const u8 how[] = { 1, 3, 7 };

		npt_map(vm, G_TEST, i & 1 ? p : q, NPT_RWX);
		put8(v->vmcb, VMCB_TLB, how[i]);
		vcpu_do(v, OP_READ, G_TEST, 0, 0);
		is(get64(v->sh, SH_R0), i & 1 ? 0xaa : 0xbb,
		   "TLB_CONTROL %u: the new mapping is used", how[i]);
	}
}

static u64 t_vmrun_asm(u64 a, u64 b, u64 c)
{
	(void)a;
	(void)b;
	(void)c;
	vmrun_asm(&v->r);
	return 0;
}

static void refused(void)
{
	static u8 before[PAGE];
	struct fault f;

	vcpu_refused(v);
	is(vcpu_run(v), EXIT_VMGEXIT, "the guest runs");

	/* the VMCB must be a hypervisor page */
	memcpy(before, v->vmcb, PAGE);
	rmp_assign((u64)v->vmcb, 0x1000, 5, false, false);
	f = try(t_vmrun_asm, 0, 0, 0);
	asm volatile("stgi");
	is_fault(f, VEC_GP, 0, 0,
		 "VMRUN with its VMCB in an assigned page: #GP(0) (15.36.12)");
	is(memcmp(before, v->vmcb, PAGE), 0, "and the page is not written");
	rmp_shared((u64)v->vmcb, false);
}

/* SNP_INIT asks for VM_HSAVE_PA 0 on all CPUs, which KVM may not notice. */
static void no_host_save_area(void)
{
	static u8 before[PAGE];
	static void *volatile zero;
	u64 hsave = rdmsr(MSR_HSAVE);
	struct fault f;

	memcpy(before, zero, PAGE);
	vcpu_order(v, OP_NOP, 0, 0, 0);
	put64(v->vmcb, VMCB_EXIT, 0x1234);
	wrmsr(MSR_HSAVE, 0);
	f = try(t_vmrun_asm, 0, 0, 0);
	asm volatile("stgi");
	wrmsr(MSR_HSAVE, hsave);
	is_fault(f, VEC_GP, 0, 0,
		 "VMRUN with VM_HSAVE_PA 0, SNP on: #GP(0) (15.36.12)");
	is(memcmp(before, zero, PAGE), 0,
	   "VMRUN with VM_HSAVE_PA 0: page 0 is not written");
	is(get64(v->vmcb, VMCB_EXIT), 0x1234,
	   "VMRUN with VM_HSAVE_PA 0: no #VMEXIT");
	is(vcpu_run(v), EXIT_VMGEXIT, "with its host save area it runs");
}

void t_plain(void)
{
	section("plain VM");
	vm = vm_new_plain(900);
	vm_memory(vm);
	v = vm_vcpu(vm, 0);
	is(vcpu_run(v), EXIT_VMGEXIT, "a plain VM runs");
	rmp_and_plain();
	assists();
	refused();
	no_host_save_area();
	vm_destroy(vm);
}
