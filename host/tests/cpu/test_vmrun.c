// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VMRUN and #VMEXIT of SNP guests (APM 2, 15.35 and 15.36.12): VMSAs that VMRUN
 * refuses, state saved and restored, automatic exits.
 */
#include "lib.h"

#define PATTERN 0x5afe5afe5afe5afeull

static void paint(u8 *vmcb)
{
	for (u32 i = VMCB_SAVE; i < PAGE; i += 8)
		put64(vmcb, i, PATTERN);
}

static u64 painted(const u8 *vmcb)
{
	u64 bad = 0;

	for (u32 i = VMCB_SAVE; i < PAGE; i += 8)
		bad += get64(vmcb, i) != PATTERN;
	return bad;
}

/* VMRUN with the VMSA at pa must be refused and write nothing. */
static void refused(struct vcpu *v, u64 pa, const char *why)
{
	static u8 before[PAGE];
	u64 e, bad = 0, spare = rmp(pa);

	memcpy(before, (void *)(pa & ~0xfffull), PAGE);
	put64(v->vmcb, VMCB_VMSA, pa);
	put64(v->vmcb, VMCB_EXIT, 0x1234);
	paint(v->vmcb);
	v->lost = 0;
	e = vcpu_run(v);
	is(e, EXIT_INVALID, "VMRUN of %s: VMEXIT_INVALID", why);
	for (u32 i = 1; i < 16; i++)
		bad += i != 4 && v->r.out[i] != v->r.in[i];
	is(bad + v->lost, 0, "VMRUN of %s: the host has its registers", why);
	is(painted(v->vmcb), 0, "VMRUN of %s: save area untouched", why);
	is(memcmp(before, (void *)(pa & ~0xfffull), PAGE), 0,
	   "VMRUN of %s: the page is untouched", why);
	is(rmp(pa), spare, "VMRUN of %s: the entry is untouched", why);
	put64(v->vmcb, VMCB_VMSA, (u64)v->vmsa);
}

/* What VMRUN asks of an SEV-ES guest whose VMSA is right. */
static void controls(struct vcpu *v)
{
	put64(v->vmcb, VMCB_LBR, 0);
	refused(v, (u64)v->vmsa,
		"an SEV-ES guest without LBR virtualization (15.35.2)");
	put64(v->vmcb, VMCB_LBR, 1);
	put64(v->vmcb, VMCB_EXIT, 0x1234);
	paint(v->vmcb);
	compat_vmrun((u64)v->vmcb);
	is(get64(v->vmcb, VMCB_EXIT), EXIT_INVALID,
	   "VMRUN of an SEV guest in 32-bit code: VMEXIT_INVALID (15.34.3)");
}

/* Bits of the VMSA's entry that no RMPUPDATE sets beside VMSA. */
static void entry_bits(struct vcpu *v)
{
	u64 pa = (u64)v->vmsa, e = rmp(pa);

	rmp_poke(pa, 0, RMP_ASSIGNED | RMP_IMMUTABLE);
	is(rmp(pa), e | RMP_IMMUTABLE, "a VMSA's entry, made immutable");
	refused(v, pa, "an immutable VMSA (15.36.12, Mutable)");
	rmp_poke(pa, 0, RMP_ASSIGNED);
	rmp_poke(pa, 7, RMP_VMSA >> 56);
	is(rmp(pa), e & ~RMP_VALIDATED, "a VMSA's entry, made not validated");
	put64(v->vmcb, VMCB_VMSA, pa);
	is(vcpu_run(v), EXIT_VMGEXIT,
	   "VMRUN of it: runs, Validated is no check of VMRUN (15.36.12)");
	rmp_poke(pa, 7, (RMP_VMSA | RMP_VALIDATED) >> 56);
	is(rmp(pa), e, "a VMSA's entry, as it was");
}

static void vmsa_checks(void)
{
	struct vm *vm = vm_new(1, POLICY_DEBUG), *other = vm_new(2, POLICY);
	struct vcpu *v, *w, *bad;
	u8 *img = page_alloc(), *p, *raw;
	u64 e;

	vm_memory(vm);
	vm_memory(other);
	v = vm_vcpu(vm, 0);
	w = vm_vcpu(other, 0);
	/* a guest page with a VMSA's content that is not marked as VMSA */
	vm_vmsa_image(v, img);
	p = vm_page(vm, G_TEST, img, TYPE_NORMAL, 0);
	/* assigned, immutable, plaintext: LAUNCH_UPDATE was left out */
	raw = page_alloc();
	vm_keep(vm, raw);
	memcpy(raw, img, PAGE);

	refused(v, (u64)raw, "a hypervisor page");
	rmp_assign((u64)raw, G_TEST + PAGE, 1, false, true);
	refused(v, (u64)raw, "a Pre-Guest page, LAUNCH_UPDATE left out");
	fw_reclaim((u64)raw, false);
	refused(v, (u64)raw, "a Guest-Invalid page with plain content");
	refused(v, (u64)p, "a guest's page that is no VMSA");
	refused(v, (u64)w->vmsa, "another guest's VMSA");
	refused(v, (u64)vm->gctx, "a context page");
	refused(v, rmp_base, "a page of the RMP");
	put32(v->vmcb, VMCB_ASID, 2);
	refused(v, (u64)v->vmsa, "the right VMSA under another ASID");
	put32(v->vmcb, VMCB_ASID, 1);
	put64(v->vmcb, VMCB_MISC, 6);
	refused(v, (u64)v->vmsa, "an SEV-ES guest without nested paging");
	put64(v->vmcb, VMCB_MISC, 7);
	put32(v->vmcb, VMCB_ASID, cpuid(0x8000001f, 0).d);
	refused(v, (u64)v->vmsa, "an SEV-ES guest with plain SEV's ASID");
	put32(v->vmcb, VMCB_ASID, 0);
	refused(v, (u64)v->vmsa, "ASID 0");
	put32(v->vmcb, VMCB_ASID, 1);
	put64(v->vmcb, VMCB_VMSA, (u64)v->vmsa + 0x10);
	e = vcpu_run(v);
	is(e, EXIT_INVALID, "VMRUN: a VMSA address not page aligned");
	put64(v->vmcb, VMCB_VMSA, BIT(50));
	e = vcpu_run(v);
	is(e, EXIT_INVALID, "VMRUN: a VMSA address beyond memory");
	put64(v->vmcb, VMCB_VMSA, (u64)v->vmsa);

	/* a VMSA whose content VMRUN must refuse */
	bad = vm_vcpu_bare(vm);
	vm_vmsa_image(bad, img);
	put64(img, SA_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	bad->vmsa = vm_page(vm, G_TEST + 2 * PAGE, img, TYPE_VMSA, 0);
	refused(bad, (u64)bad->vmsa, "a VMSA with EFER.SVME clear");
	vm_vmsa_image(bad, img);
	put64(img, SA_CR0, (get64(img, SA_CR0) | BIT(29)) & ~BIT(30));
	bad->vmsa = vm_page(vm, G_TEST + 3 * PAGE, img, TYPE_VMSA, 0);
	refused(bad, (u64)bad->vmsa, "a VMSA with CR0.NW and not CD");
	vm_vmsa_image(bad, img);
	put8(img, SA_PAT, 2);
	bad->vmsa = vm_page(vm, G_TEST + 4 * PAGE, img, TYPE_VMSA, 0);
	refused(bad, (u64)bad->vmsa,
		"a VMSA with a memory type in PAT that is none (15.25.4)");
	vm_vmsa_image(bad, img);
	put64(img, SA_XSS, BIT(1));
	bad->vmsa = vm_page(vm, G_TEST + 5 * PAGE, img, TYPE_VMSA, 0);
	if (other_readings) {
		put64(bad->vmcb, VMCB_VMSA, (u64)bad->vmsa);
		is(vcpu_run(bad), EXIT_VMGEXIT,
		   "VMRUN of a VMSA with a reserved bit in XSS: runs");
	} else {
		refused(bad, (u64)bad->vmsa,
			"a VMSA with a reserved bit in XSS");
	}

	vm_finish(vm);
	controls(v);
	entry_bits(v);
	paint(v->vmcb);
	put64(v->vmcb, VMCB_VMSA, (u64)v->vmsa);
	put64(v->vmcb, VMCB_TLB, 1);
	e = vcpu_run(v);
	is(e, EXIT_VMGEXIT, "VMRUN of the right VMSA: the guest runs");
	is(painted(v->vmcb), 0,
	   "the VMCB's save area stays untouched (15.35.2)");

	/* take the page and give it back: its content has no key then */
	rmp_shared((u64)v->vmsa, false);
	refused(v, (u64)v->vmsa, "a VMSA that was taken away");
	rmp_assign((u64)v->vmsa, G_VMSA, 1, false, false);
	refused(v, (u64)v->vmsa, "a VMSA taken away and assigned again");
	page_free(img);
	vm_destroy(other);
	vm_destroy(vm);
}

/* ---- state ------------------------------------------------------------- */

static void host_state(void)
{
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	static const u32 msr[] = {
		MSR_FS_BASE, MSR_GS_BASE, MSR_KGS_BASE, MSR_STAR, MSR_LSTAR,
		0xc0000083, 0xc0000084, 0x174, 0x175, 0x176, MSR_PAT, MSR_EFER,
	};
	u64 was[ARRAY_SIZE(msr)], bad = 0, cr[4], now[4], x, lo, hi;
	u8 gdtr[10], gdtr2[10], idtr[10], idtr2[10];
	u8 *sa;

	wrmsr(MSR_KGS_BASE, 0x1111000);
	wrmsr(MSR_FS_BASE, 0x2222000);
	wrmsr(MSR_LSTAR, 0x3333000);
	wrmsr(0x176, 0x4444000);
	svm_cpu_init(NULL);
	for (u32 i = 0; i < ARRAY_SIZE(msr); i++)
		was[i] = rdmsr(msr[i]);
	asm volatile("sgdt %0; sidt %1" : "=m"(gdtr), "=m"(idtr));
	asm volatile("mov %%cr0, %0; mov %%cr3, %1; mov %%cr4, %2; mov %%cr8, %3"
		     : "=r"(cr[0]), "=r"(cr[1]), "=r"(cr[2]), "=r"(cr[3]));
	put64(v->sh, SH_VEC, 0x5555);
	vcpu_do(v, OP_SETXMM, 0xaaaabbbbccccdddd, 0x1111222233334444, 0);
	for (u32 i = 0; i < 16; i++)
		bad += i != 0 && i != 4 && v->r.out[i] != v->r.in[i];
	is(bad, 0, "exit: every GPR is the host save area's (type B)");
	is(v->r.out[0], (u64)v->vmcb, "exit: RAX is VMRUN's (type A)");
	bad = 0;
	for (u32 i = 0; i < ARRAY_SIZE(msr); i++) {
		x = rdmsr(msr[i]);
		if (x != was[i]) {
			say("# MSR %#x: expected %#lx, found %#lx\n", msr[i],
			    was[i], x);
			bad++;
		}
	}
	is(bad, 0,
	   "exit: FS, GS, KernelGS, STAR, LSTAR, SYSENTER, PAT, EFER are the host's");
	asm volatile("sgdt %0; sidt %1" : "=m"(gdtr2), "=m"(idtr2));
	ok(!memcmp(gdtr, gdtr2, 10) && !memcmp(idtr, idtr2, 10),
	   "exit: GDTR and IDTR are the host's");
	asm volatile("mov %%cr0, %0; mov %%cr3, %1; mov %%cr4, %2; mov %%cr8, %3"
		     : "=r"(now[0]), "=r"(now[1]), "=r"(now[2]), "=r"(now[3]));
	is(memcmp(cr, now, sizeof(cr)), 0, "exit: CR0, CR3, CR4, CR8");
	asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	is((u32)lo, 7, "exit: XCR0 is the host save area's (type B)");
	ok(v->r.xmm0[0] != 0xaaaabbbbccccdddd,
	   "exit: the guest's XMM0 is not in the host's (type C)");
	sa = vmsa_read(v);
	is(get64(sa, SA_XMM), 0xaaaabbbbccccdddd, "exit: XMM0 is in the VMSA");
	is(get64(sa, SA_XMM + 8), 0x1111222233334444, "exit: all of XMM0");
	vcpu_do(v, OP_GETXMM, 0, 0, 0);
	is(get64(v->sh, SH_R0), 0xaaaabbbbccccdddd,
	   "entry: the guest has its XMM0 again");
	is(get64(v->sh, SH_R1), 0x1111222233334444, "entry: all of it");

	is(vcpu_do(v, OP_SETFPU, 0x0123456789abcdef, 0, 0), EXIT_VMGEXIT,
	   "guest: YMM0 and the x87 stack in use");
	sa = vmsa_read(v);
	is(get64(sa, SA_YMM_HI), 0x0123456789abcdef,
	   "exit: YMM0's upper half is in the VMSA");
	is(get64(sa, SA_X87), 0xc90fdaa22168c235, "exit: ST0's mantissa is");
	is(get32(sa, SA_X87_EXP) & 0xffff, 0x4000, "exit: and its exponent");
	vcpu_do(v, OP_GETFPU, 0, 0, 0);
	is(get64(v->sh, SH_R0), 0x0123456789abcdef,
	   "entry: the guest has YMM0's upper half again");
	is(get64(v->sh, SH_R1), 0xc90fdaa22168c235, "entry: and ST0");
	is(get64(v->sh, SH_R2), 0x4000, "entry: all of it");

	is(vcpu_do(v, OP_RDGPRS, 0x600d0000, 0, 0), EXIT_VMGEXIT,
	   "guest: an exit with all registers known");
	sa = vmsa_read(v);
	bad = get64(sa, SA_RAX) != 0x600d0000;
	for (u32 i = 1; i < 14; i++) {
		if (i != 4)
			bad += get64(sa, SA_GPR + 8 * i) != 0x600d0000 + i;
	}
	is(bad, 0, "exit: RAX and the other GPRs are in the VMSA");
	is(get64(sa, SA_CR3), G_PML4 | cbit, "exit: CR3 in the VMSA");
	is(get64(sa, SA_FS + 8), 0xf5000, "exit: FS base in the VMSA");
	is(get64(sa, SA_KGS), 0x55000, "exit: KernelGSBase in the VMSA");
	is(get64(sa, SA_LSTAR), 0x15000, "exit: LSTAR in the VMSA");
	is(get64(sa, SA_GDTR + 8), G_TABLES, "exit: GDTR in the VMSA");
	is(get64(sa, SA_RIP) >= G_CODE && get64(sa, SA_RIP) < G_CODE + 0x4000,
	   1, "exit: RIP in the VMSA");
	vcpu_run(v);

	vcpu_do(v, OP_RDMSR, MSR_FS_BASE, 0, 0);
	is(get64(v->sh, SH_R0), 0xf5000, "entry: FS base from the VMSA");
	vcpu_do(v, OP_RDMSR, MSR_KGS_BASE, 0, 0);
	is(get64(v->sh, SH_R0), 0x55000, "entry: KernelGSBase from the VMSA");
	vcpu_do(v, OP_RDMSR, MSR_LSTAR, 0, 0);
	is(get64(v->sh, SH_R0), 0x15000, "entry: LSTAR from the VMSA");
	vcpu_do(v, OP_RDMSR, MSR_SEV_STATUS, 0, 0);
	is(get64(v->sh, SH_R0) & 7, 7,
	   "guest: SEV_STATUS: SEV, SEV-ES, SNP active (15.34.10)");
	vcpu_do(v, OP_RDCRS, 0, 0, 0);
	is(get64(v->sh, SH_R3), G_PML4 | cbit, "guest: CR3 holds the C-bit");
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_KGS_BASE, 0);
	wrmsr(MSR_LSTAR, 0);
	wrmsr(0x176, 0);
	svm_cpu_init(NULL);
	vm_destroy(vm);
}

/* ---- exits ------------------------------------------------------------- */

/* An automatic exit leaves in the VMSA what it leaves in the VMCB (15.36.9). */
static void exit_in_vmsa(struct vcpu *v, const char *name)
{
	const u8 *sa = vmsa_read(v);

	is(get64(sa, SA_EXIT_CODE), get64(v->vmcb, VMCB_EXIT),
	   "%s: GUEST_EXITCODE in the VMSA (15.36.9)", name);
	is(get64(sa, SA_EXIT_INFO1), get64(v->vmcb, VMCB_INFO1),
	   "%s: GUEST_EXITINFO1", name);
	is(get64(sa, SA_EXIT_INFO2), get64(v->vmcb, VMCB_INFO2),
	   "%s: GUEST_EXITINFO2", name);
	is(get64(sa, SA_EXIT_INTINFO), get64(v->vmcb, VMCB_INTINFO),
	   "%s: GUEST_EXITINTINFO", name);
	is(get64(sa, SA_NRIP), get64(v->vmcb, VMCB_NRIP), "%s: GUEST_NRIP",
	   name);
}

static void automatic_exits(struct vcpu *v)
{
	u64 e, cr0, cr4;

	vcpu_do(v, OP_WRMSR, MSR_GHCB, 0x123000, 0);
	is(get64(v->sh, SH_VEC), NO_FAULT,
	   "GHCB MSR: the guest writes it, no intercept set (15.35.6)");
	is(get64(v->vmcb, VMCB_GHCB), 0x123000,
	   "VMGEXIT: exit 403h leaves the GHCB MSR in the VMCB");
	vcpu_do(v, OP_RDMSR, MSR_GHCB, 0, 0);
	is(get64(v->sh, SH_R0), 0x123000, "GHCB MSR: the guest reads it back");
	put64(v->vmcb, VMCB_GHCB, 0x456001);
	vcpu_do(v, OP_RDMSR, MSR_GHCB, 0, 0);
	is(get64(v->sh, SH_R0), 0x456001,
	   "GHCB MSR: VMRUN loads what the host left in the VMCB");
	is(get64(v->vmcb, VMCB_INFO1), 0, "VMGEXIT: EXITINFO1 is zero");
	is(get64(v->vmcb, VMCB_INFO2), 0, "VMGEXIT: EXITINFO2 is zero");

	e = vcpu_do(v, OP_HLT, 0, 0, 0);
	is(e, EXIT_HLT, "HLT, intercepted: exit 78h, automatic (15.35.4)");
	exit_in_vmsa(v, "HLT");
	vcpu_run(v);
	is(get64(v->sh, SH_R0), 0x417, "HLT: the guest goes on after it");
	intercept(v, EXIT_PAUSE, true);
	e = vcpu_do(v, OP_PAUSE, 0, 0, 0);
	is(e, EXIT_PAUSE, "PAUSE, intercepted: exit 77h, automatic");
	vcpu_run(v);
	is(get64(v->sh, SH_R0), 0x418, "PAUSE: the guest goes on after it");
	intercept(v, EXIT_PAUSE, false);
	e = vcpu_do(v, OP_PAUSE, 0, 0, 0);
	is(e, EXIT_VMGEXIT, "PAUSE, not intercepted: no exit");

	vcpu_do(v, OP_RDCRS, 0, 0, 0);
	cr0 = get64(v->sh, SH_R0);
	cr4 = get64(v->sh, SH_R1);
	intercept(v, EXIT_CR0_TRAP, true);
	e = vcpu_do(v, OP_WRCR0, cr0 ^ 0x8, 0, 0);
	is(e, EXIT_CR0_TRAP, "CR0 write trap: exit 90h (15.35.8)");
	is(get64(v->vmcb, VMCB_INFO1), cr0 ^ 0x8,
	   "CR0 write trap: EXITINFO1 is the new value");
	is(get64(vmsa_read(v), SA_CR0), cr0 ^ 0x8,
	   "CR0 write trap: after the write");
	vcpu_run(v);
	is(get64(v->sh, SH_R0), cr0 ^ 0x8,
	   "CR0 write trap: the guest is past the write");
	vcpu_do(v, OP_WRCR0, cr0, 0, 0);
	vcpu_run(v);
	intercept(v, EXIT_CR0_TRAP, false);
	is(vcpu_do(v, OP_WRCR0, cr0, 0, 0), EXIT_VMGEXIT,
	   "CR0 write, no trap set: no exit");
	intercept(v, EXIT_CR0_TRAP + 4, true);
	e = vcpu_do(v, OP_WRCR4, cr4 | BIT(7), 0, 0);
	is(e, EXIT_CR0_TRAP + 4, "CR4 write trap: exit 94h");
	is(get64(v->vmcb, VMCB_INFO1), cr4 | BIT(7), "CR4 write trap: value");
	vcpu_run(v);
	is(get64(v->sh, SH_R0), cr4 | BIT(7), "CR4 write trap: past it");
	intercept(v, EXIT_CR0_TRAP + 4, false);
	intercept(v, EXIT_CR0_TRAP + 8, true);
	e = vcpu_do(v, OP_WRCR8, 5, 0, 0);
	is(e, EXIT_CR0_TRAP + 8, "CR8 write trap: exit 98h");
	is(get64(v->vmcb, VMCB_INFO1), 5, "CR8 write trap: value");
	vcpu_run(v);
	is(get64(v->sh, SH_R0), 5, "CR8 write trap: past it");
	intercept(v, EXIT_CR0_TRAP + 8, false);
	put32(v->vmcb, VMCB_INT_CTL, BIT(24));
	vcpu_do(v, OP_WRCR8, 6, 0, 0);
	is(get32(v->vmcb, VMCB_INT_CTL) & 0xff, 6,
	   "CR8 under V_INTR_MASKING: V_TPR in the VMCB follows");
	vcpu_do(v, OP_WRCR8, 0, 0, 0);
	put32(v->vmcb, VMCB_INT_CTL, 0);
	intercept(v, EXIT_EFER_TRAP, true);
	e = vcpu_do(v, OP_WRMSR, MSR_EFER,
		    EFER_SVME | EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE, 0);
	is(e, EXIT_EFER_TRAP, "EFER write trap: exit 8Fh");
	ok(get64(v->vmcb, VMCB_INFO1) & EFER_SCE,
	   "EFER write trap: EXITINFO1 is the new value");
	ok(get64(vmsa_read(v), SA_EFER) & EFER_SCE,
	   "EFER write trap: after the write");
	is(vcpu_run(v), EXIT_VMGEXIT, "EFER write trap: past it");
	is(get64(v->sh, SH_VEC), NO_FAULT, "EFER write trap: no exception");
	intercept(v, EXIT_EFER_TRAP, false);
}

#define CR0_TS 0x8
#define CR0_ET 0x10

/* Under the write trap of CR0, with TS set. */
static void clts_lmsw(struct vcpu *v, u64 cr0)
{
	u64 e = vcpu_do(v, OP_CLTS, 0, 0, 0);

	if (other_readings) {
		is(e, EXIT_VMGEXIT, "CLTS raises no write trap (trap-clts-lmsw=off)");
		is(vcpu_do(v, OP_LMSW, (cr0 | CR0_TS) & 0xf, 0, 0), EXIT_VMGEXIT,
		   "LMSW raises no write trap (trap-clts-lmsw=off)");
		return;
	}
	is(e, EXIT_CR0_TRAP, "CLTS raises the CR0 write trap (trap-clts-lmsw)");
	is(get64(v->vmcb, VMCB_INFO1), cr0, "CLTS: EXITINFO1 is the new CR0");
	is(vcpu_run(v), EXIT_VMGEXIT, "CLTS: the guest is past it");
	is(get64(v->sh, SH_R0), cr0, "CLTS: TS is clear");
	e = vcpu_do(v, OP_LMSW, (cr0 | CR0_TS) & 0xf, 0, 0);
	is(e, EXIT_CR0_TRAP, "LMSW raises the CR0 write trap (trap-clts-lmsw)");
	is(get64(v->vmcb, VMCB_INFO1), cr0 | CR0_TS,
	   "LMSW: EXITINFO1 is the new CR0");
	is(vcpu_run(v), EXIT_VMGEXIT, "LMSW: the guest is past it");
}

/* EXITINFO1 is the new value, which need not be the one that was written. */
static void trapped_values(struct vcpu *v)
{
	const u64 efer = EFER_LMA | EFER_LME | EFER_NXE;
	u64 cr0, e;

	is(vcpu_do(v, OP_WRMSR, MSR_EFER, efer | EFER_SCE, 0), EXIT_VMGEXIT,
	   "EFER: a write without SVME: the guest's next exit is VMGEXIT");
	vcpu_do(v, OP_RDMSR, MSR_EFER, 0, 0);
	is(get64(v->sh, SH_R0), efer | EFER_SCE | EFER_SVME,
	   "EFER: SVME is not the guest's to change (15.35.10)");
	intercept(v, EXIT_EFER_TRAP, true);
	e = vcpu_do(v, OP_WRMSR, MSR_EFER, efer, 0);
	is(e, EXIT_EFER_TRAP, "EFER write trap, SVME not written");
	is(get64(v->vmcb, VMCB_INFO1), efer | EFER_SVME,
	   "EFER write trap: EXITINFO1 is the new value, with SVME");
	vcpu_run(v);
	intercept(v, EXIT_EFER_TRAP, false);

	vcpu_do(v, OP_RDCRS, 0, 0, 0);
	cr0 = get64(v->sh, SH_R0);
	intercept(v, EXIT_CR0_TRAP, true);
	e = vcpu_do(v, OP_WRCR0, (cr0 | CR0_TS) & ~CR0_ET, 0, 0);
	is(e, EXIT_CR0_TRAP, "CR0 write trap, ET written as 0");
	is(get64(v->vmcb, VMCB_INFO1), cr0 | CR0_TS,
	   "CR0 write trap: EXITINFO1 is the new value, with ET (15.35.10)");
	vcpu_run(v);
	clts_lmsw(v, cr0);
	intercept(v, EXIT_CR0_TRAP, false);
	is(vcpu_do(v, OP_CLTS, 0, 0, 0), EXIT_VMGEXIT,
	   "CLTS, no trap set: no exit");
}

/* Events that a hypervisor cannot leave to the guest. */
static void always_intercepted(struct vcpu *v)
{
	static const struct {
		const char *name;
		u32 op, code;
		u64 a;
	} t[] = {
		{ "CPUID", OP_CPUID, EXIT_CPUID, 0x8000001f },
		{ "IN", OP_IN, EXIT_IOIO, 0x80 },
		{ "OUT", OP_OUT, EXIT_IOIO, 0x80 },
		{ "INS", OP_INS, EXIT_IOIO, 0x80 },
		{ "OUTS", OP_OUTS, EXIT_IOIO, 0x80 },
	};
	bool always = v->vm->snp || other_readings;
	u64 e;

	/* a bit for IOIO, and none in the IOPM: as if it were not set */
	for (u32 i = 0; i < 2 * ARRAY_SIZE(t); i++) {
		u32 op = t[i / 2].op, code = t[i / 2].code;
		const char *name = t[i / 2].name;

		if (i % 2 && code != EXIT_IOIO)
			continue;
		intercept(v, code, i % 2);
		is(vcpu_do(v, op, t[i / 2].a, 0, 0), EXIT_VMGEXIT,
		   "%s, not intercepted%s: not an exit", name,
		   i % 2 ? " by the IOPM" : "");
		is(get64(v->sh, SH_VEC), always ? VEC_VC : NO_FAULT,
		   always ? "%s: #VC all the same (15.36.12, 15.36.23)" :
		   "%s: no #VC with SEV-ES only (es-always-intercepts=off)",
		   name);
		if (always)
			is(get64(v->sh, SH_ERR), code, "%s: its error code",
			   name);
		intercept(v, code, false);
	}
	e = vcpu_do(v, OP_VMSAVE, 0x5000, 0, 0);
	if (other_readings) {
		is(e, EXIT_VMGEXIT, "VMSAVE: no exit (es-vmsave-exits=off)");
		is(get64(v->sh, SH_VEC), VEC_VC, "VMSAVE: #VC (15.35.4)");
		is(get64(v->sh, SH_ERR), EXIT_VMSAVE, "VMSAVE: its error code");
	} else {
		is(e, EXIT_VMSAVE, "VMSAVE, not intercepted: exit 83h (15.36.12)");
		vcpu_abort(v);
	}
}

static void vc_exits(struct vcpu *v)
{
	static const struct {
		const char *name;
		u32 op, code;
		u64 a, b;
	} t[] = {
		{ "CPUID", OP_CPUID, EXIT_CPUID, 0, 0 },
		{ "RDMSR", OP_RDMSR, EXIT_MSR, 0x10, 0 },
		{ "WRMSR", OP_WRMSR, EXIT_MSR, MSR_STAR, 0 },
		{ "IN", OP_IN, EXIT_IOIO, 0x80, 0 },
		{ "OUT", OP_OUT, EXIT_IOIO, 0x80, 0 },
		{ "RDTSC", OP_RDTSC, 0x6e, 0, 0 },
		{ "RDTSCP", OP_RDTSCP, 0x87, 0, 0 },
		{ "RDPMC", OP_RDPMC, 0x6f, 0, 0 },
		{ "INVD", OP_INVD, 0x76, 0, 0 },
		{ "WBINVD", OP_WBINVD, 0x89, 0, 0 },
		{ "INVLPG", OP_INVLPG, 0x79, 0x5000, 0 },
		{ "INVLPGA", OP_INVLPGA, 0x7a, 0x5000, 0 },
		{ "VMMCALL", OP_VMMCALL, 0x81, 0, 0 },
		{ "MONITOR", OP_MONITOR, 0x8a, 0, 0 },
		{ "MWAIT", OP_MWAIT, 0x8b, 0, 0 },
		{ "XSETBV", OP_XSETBV, 0x8d, 0, 0 },
		{ "DR7 write", OP_WRDR7, 0x37, 0x400, 0 },
		{ "DR7 read", OP_RDDR7, 0x27, 0, 0 },
	};

	put64(v->vmcb, VMCB_MSRPM, (u64)msrpm_all);
	put64(v->vmcb, VMCB_IOPM, (u64)iopm_all);
	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		u64 e, n = get64(v->sh, SH_EXCS), rip;

		intercept(v, t[i].code, true);
		e = vcpu_do(v, t[i].op, t[i].a, t[i].b, 0);
		is(e, EXIT_VMGEXIT, "%s, intercepted: not an exit", t[i].name);
		is(get64(v->sh, SH_VEC), VEC_VC,
		   "%s: #VC in the guest (15.35.5)",
		   t[i].name);
		is(get64(v->sh, SH_ERR), t[i].code, "%s: #VC's error code",
		   t[i].name);
		is(get64(v->sh, SH_EXCS), n + 1, "%s: one #VC", t[i].name);
		rip = get64(v->sh, SH_RIP);
		ok(rip > G_CODE && rip < G_CODE + 0x2000,
		   "%s: #VC's RIP is in the guest's code", t[i].name);
		intercept(v, t[i].code, false);
	}
	intercept(v, EXIT_MSR, true);
	vcpu_do(v, OP_RDMSR, MSR_SEV_STATUS, 0, 0);
	is(get64(v->sh, SH_VEC), NO_FAULT,
	   "SEV_STATUS: read is never intercepted (15.34.10)");
	intercept(v, EXIT_MSR, false);
	put64(v->vmcb, VMCB_MSRPM, (u64)msrpm);
	put64(v->vmcb, VMCB_IOPM, (u64)iopm);
	vcpu_do(v, OP_VMMCALL, 0, 0, 0);
	is(get64(v->sh, SH_VEC), VEC_UD, "VMMCALL, not intercepted: #UD");
	vcpu_do(v, OP_RDTSC, 0, 0, 0);
	is(get64(v->sh, SH_VEC), NO_FAULT, "RDTSC, not intercepted: no #VC");
	vcpu_do(v, OP_UD2, 0, 0, 0);
	is(get64(v->sh, SH_VEC), VEC_UD, "the guest's own #UD is its own");
}

/*
 * An intercept of #VC in an SEV-ES guest has no effect: its exit would itself
 * raise a #VC.
 */
static void vc_intercepted(struct vcpu *v)
{
	u64 e, n;

	intercept(v, 0x40 + VEC_VC, true);
	intercept(v, EXIT_CPUID, true);
	for (u32 i = 0; i < 3; i++) {
		n = get64(v->sh, SH_EXCS);
		e = vcpu_do(v, OP_CPUID, 0, 0, 0);
		is(e, EXIT_VMGEXIT,
		   "#VC intercepted, CPUID: no exit, and none of 5Dh");
		is(get64(v->sh, SH_VEC), VEC_VC,
		   "#VC intercepted, CPUID: #VC in the guest");
		is(get64(v->sh, SH_ERR), EXIT_CPUID,
		   "#VC intercepted, CPUID: its error code");
		is(get64(v->sh, SH_EXCS), n + 1,
		   "#VC intercepted, CPUID: one #VC");
	}
	intercept(v, EXIT_CPUID, false);
	n = get64(v->sh, SH_EXCS);
	e = vcpu_do(v, OP_RDTSC, 0, 0, 0);
	is(e, EXIT_VMGEXIT, "#VC intercepted: RDTSC without its intercept");
	is(get64(v->sh, SH_EXCS), n, "#VC intercepted: has no #VC");
	intercept(v, 0x40 + VEC_VC, false);
}

static void events(struct vcpu *v)
{
	u64 e, n, spa, addr = G_TEST + 8 * PAGE;

	/* exception with error code */
	put32(v->vmcb, VMCB_INJ_ERR, 0x88);
	put32(v->vmcb, VMCB_INJ, BIT(31) | BIT(11) | 3 << 8 | VEC_GP);
	e = vcpu_do(v, OP_NOP, 0, 0, 0);
	is(e, EXIT_VMGEXIT, "EVENTINJ: #GP into the guest");
	is(get64(v->sh, SH_VEC), VEC_GP, "EVENTINJ: the guest sees the vector");
	is(get64(v->sh, SH_ERR), 0x88, "EVENTINJ: and the error code");

	vcpu_do(v, OP_CLI, 0, 0, 0);
	is(get32(v->vmcb, VMCB_INT_STATE) & 2, 0,
	   "exit: int_state bit 1 clear: the guest's IF is");
	vcpu_do(v, OP_STI, 0, 0, 0);
	is(get32(v->vmcb, VMCB_INT_STATE) & 2, 2,
	   "exit: int_state bit 1 set: the guest's IF is (15.35.2)");
	n = get64(v->sh, SH_INTS);
	put32(v->vmcb, VMCB_INJ, BIT(31) | 0 << 8 | 0x41);
	vcpu_do(v, OP_NOP, 0, 0, 0);
	is(get64(v->sh, SH_INTS), n + 1, "EVENTINJ: an interrupt, taken once");
	is(get64(v->sh, SH_INTVEC), 0x41, "EVENTINJ: its vector");
	vcpu_do(v, OP_NOP, 0, 0, 0);
	is(get64(v->sh, SH_INTS), n + 1, "EVENTINJ: and not again");

	/* virtual interrupts */
	vcpu_do(v, OP_CLI, 0, 0, 0);
	n = get64(v->sh, SH_INTS);
	put32(v->vmcb, VMCB_INT_CTL, BIT(8) | 0xf << 16 | BIT(20) | BIT(24));
	put32(v->vmcb, VMCB_INT_CTL + 4, 0x42);
	vcpu_do(v, OP_NOP, 0, 0, 0);
	is(get64(v->sh, SH_INTS), n, "V_IRQ: waits while IF is clear");
	vcpu_do(v, OP_STI, 0, 0, 0);
	is(get64(v->sh, SH_INTS), n + 1, "V_IRQ: taken when IF is set");
	is(get64(v->sh, SH_INTVEC), 0x42, "V_IRQ: its vector");
	is(get32(v->vmcb, VMCB_INT_CTL) & BIT(8), 0, "V_IRQ: cleared");
	put32(v->vmcb, VMCB_INT_CTL, 0);
	vcpu_do(v, OP_CLI, 0, 0, 0);

	/* an exit between STI and the next instruction */
	npt_map(v->vm, addr, 0, 0);
	e = vcpu_do(v, OP_STI_READ, SHARED_VIEW + addr, 0, 0);
	is(e, EXIT_NPF, "shadow: #NPF in the shadow of STI");
	is(get32(v->vmcb, VMCB_INT_STATE) & 3, 3,
	   "shadow: int_state has the shadow, and IF");
	n = get64(v->sh, SH_INTS);
	spa = (u64)page_alloc();
	vm_keep(v->vm, (void *)spa);
	put64((void *)spa, 0, 0x7e57);
	npt_map(v->vm, addr, spa, NPT_RWX);
	put32(v->vmcb, VMCB_INT_CTL, BIT(8) | 0xf << 16 | BIT(20) | BIT(24));
	put32(v->vmcb, VMCB_INT_CTL + 4, 0x43);
	e = vcpu_run(v);
	is(e, EXIT_VMGEXIT, "shadow: the guest goes on");
	is(get64(v->sh, SH_R0), 0x7e57, "shadow: the read is done");
	is(get64(v->sh, SH_INTS), n + 1, "shadow: then the interrupt is taken");
	put32(v->vmcb, VMCB_INT_CTL, 0);
	put32(v->vmcb, VMCB_INT_STATE, 0);
}

/* A fault while an event is delivered: EXITINTINFO names the event. */
static void interrupted_delivery(struct vcpu *v)
{
	u64 *pt = v->vm->npt, stack, e, n;

	for (u32 i = 0; i < 3; i++)
		pt = (u64 *)(pt[0] & ~0xfffull);
	stack = pt[G_STACKS / PAGE] & ~0xfffull;
	vcpu_do(v, OP_STI, 0, 0, 0);
	n = get64(v->sh, SH_INTS);
	npt_map(v->vm, G_STACKS, 0, 0);
	put32(v->vmcb, VMCB_INJ, BIT(31) | 0x44);
	e = vcpu_do(v, OP_NOP, 0, 0, 0);
	is(e, EXIT_NPF, "delivery: #NPF on the guest's stack");
	is(get32(v->vmcb, VMCB_INTINFO), BIT(31) | 0x44,
	   "delivery: EXITINTINFO is the event (15.20)");
	exit_in_vmsa(v, "#NPF in a delivery");
	is(get64(v->sh, SH_INTS), n, "delivery: the guest has not seen it");
	npt_map(v->vm, G_STACKS, stack, NPT_RWX);
	put32(v->vmcb, VMCB_INJ, get32(v->vmcb, VMCB_INTINFO));
	e = vcpu_run(v);
	is(e, EXIT_VMGEXIT, "delivery: injected again");
	is(get64(v->sh, SH_INTS), n + 1, "delivery: seen once");
	is(get64(v->sh, SH_INTVEC), 0x44, "delivery: with its vector");
	is(get32(v->vmcb, VMCB_INTINFO) & BIT(31), 0,
	   "delivery: EXITINTINFO is clear on an exit without an event");
	vcpu_do(v, OP_CLI, 0, 0, 0);
}

/* A host interrupt arrives while the guest runs. */
static void physical(struct vcpu *v)
{
	volatile u32 *apic = (volatile u32 *)0xfee00000ul;
	u64 irqs = this_cpu()->irqs, runs = 0, wrong = 0, e;

	intercept(v, 0x60, true);
	put32(v->vmcb, VMCB_INT_CTL, BIT(24));	/* V_INTR_MASKING */
	put64(v->sh, SH_GO, 0);
	vcpu_order(v, OP_SPIN, 0, 0, 0);
	apic[0x3e0 / 4] = 0xb;
	apic[0x320 / 4] = 0xf1;
	/* on a loaded machine the timer may fire before VMRUN: try again */
	do {
		apic[0x380 / 4] = 10000000;
		/* RFLAGS.IF of the host decides under V_INTR_MASKING */
		asm volatile("clgi; sti");
		e = vcpu_run(v);
		asm volatile("stgi; nop; cli" ::: "memory");
		runs++;
		wrong += e != 0x60;
	} while (!wrong && get64(v->sh, SH_SPINS) == 0 && runs < 50);
	is(wrong, 0, "INTR: the host's timer: exit 60h, automatic");
	ok(get64(v->sh, SH_SPINS) > 0, "INTR: the guest ran until then");
	is(this_cpu()->irqs, irqs + runs, "INTR: the host takes it after STGI");
	put64(v->sh, SH_GO, 1);
	e = vcpu_run(v);
	is(e, EXIT_VMGEXIT, "INTR: the guest goes on");
	is(get64(v->sh, SH_R0), 0x431, "INTR: where it was");
	put32(v->vmcb, VMCB_INT_CTL, 0);
	intercept(v, 0x60, false);
}

static void bad_event(void)
{
	static const struct {
		u32 event;
		const char *name;
	} bad[] = {
		{ 3 << 8 | 0xf5, "an exception with vector 0xf5" },
		{ 3 << 8 | VEC_BP, "#BP (15.35.8)" },
		{ 3 << 8 | VEC_OF, "#OF (15.35.8)" },
		{ 4 << 8 | 0x80, "a software interrupt (15.35.8)" },
		{ 1 << 8 | 0x80, "an event of type 1" },
	};
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	u64 e;

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		put32(v->vmcb, VMCB_INJ, BIT(31) | bad[i].event);
		e = vcpu_do(v, OP_NOP, 0, 0, 0);
		is(e, EXIT_INVALID, "EVENTINJ: %s: refused", bad[i].name);
	}
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_VMGEXIT,
	   "a refused VMRUN leaves the VMSA as it was: the guest runs");
	vm_destroy(vm);
}

#define SECRET 0x5ec2e75ec2e70000ull

static void run_once(void *p)
{
	struct vcpu *v = p;

	v->r.out[0] = vcpu_run(v);
}

/* Counts the guest's register values that the host can read in the VMSA. */
static u64 secrets_in(const u8 *vmsa)
{
	u64 bad = 0;

	for (u32 i = 0; i < PAGE; i += 8) {
		u64 w = get64(vmsa, i);

		if ((w ^ SECRET) < PAGE || w == (G_PML4 | cbit)) {
			say("# VMSA %#x: the guest's %#lx\n", i, w);
			bad++;
		}
	}
	return bad;
}

/* A VMSA in use keeps its key when the host writes to it. */
static void es_written(struct vcpu *v)
{
	u64 n, cr3, at_once;

	is(vcpu_do(v, OP_SETXMM, SECRET + 4, SECRET + 5, 0), EXIT_VMGEXIT,
	   "SEV-ES: a guest with known registers");
	put64(v->sh, SH_GO, 0);
	vcpu_order(v, OP_SPIN, SECRET + 1, SECRET + 2, SECRET + 3);
	n = get64(v->sh, SH_SPINS);
	on_cpu_start(1, run_once, v);
	while (get64(v->sh, SH_SPINS) == n)
		pause();
	for (u32 i = 0x300; i < PAGE; i += 8)
		put64(v->vmsa, i, 0x686f7374);
	is(get64(v->vmsa, PAGE - 8), 0x686f7374,
	   "SEV-ES: the host writes to the VMSA of a running vCPU");
	put64(v->sh, SH_GO, 1);
	on_cpu_wait(1);
	at_once = secrets_in(v->vmsa);
	asm volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) :: "memory");
	is(secrets_in(v->vmsa), 0,
	   "SEV-ES: a VMSA written by the host: no register in it after #VMEXIT");
	is(at_once, 0,
	   "SEV-ES: and none through the TLB of the CPU that wrote there");
	is(v->r.out[0], EXIT_VMGEXIT, "SEV-ES: which was the guest's own exit");
	is(get64(v->sh, SH_R0), 0x431, "SEV-ES: after it has done its order");
}

/* Counts the words of a page that differ from what the guest wrote there. */
static u64 changed(struct vcpu *v, u64 gpa)
{
	u64 n = 0;

	for (u32 i = 0; i < PAGE; i += 8) {
		vcpu_do(v, OP_READ, gpa + i, 0, 0);
		n += get64(v->sh, SH_R0) != SECRET + i;
	}
	return n;
}

/* A walk reads a table under another key as noise, and does not write to it. */
static void foreign_tables(struct vcpu *v)
{
	const u64 t = G_TEST + PAGE, own = G_TEST + 2 * PAGE;
	const u64 nested = 0xa00000, walked = 0xc00000;
	u64 *pd = v->vm->npt, *pde, keep, cr3, e, bad = 0;
	u8 *table = page_alloc(), *p = page_alloc();
	const u32 idx[] = { 0, 1, 2, 77, 255, 256, 510, 511 };

	vm_keep(v->vm, table);
	vm_keep(v->vm, p);
	npt_map(v->vm, t, (u64)table, NPT_RWX);
	npt_map(v->vm, own, (u64)p, NPT_RWX);
	for (u32 i = 0; i < PAGE; i += 8) {
		vcpu_do(v, OP_WRITE, t + i, SECRET + i, 0);
		put64(p, i, (u64)p | 7);
	}
	for (u32 i = 0; i < 2; i++)
		pd = (u64 *)(pd[0] & ~0xfffull);

	/* the guest writes to a nested table under its key */
	for (u32 i = 0; i < ARRAY_SIZE(idx); i++) {
		pd[nested / (2 * MB)] = (u64)table | 7;
		put8(v->vmcb, VMCB_TLB, 1);
		e = vcpu_do(v, OP_READ, nested + idx[i] * PAGE, 0, 0);
		pd[nested / (2 * MB)] = 0;
		put8(v->vmcb, VMCB_TLB, 1);
		if (e == EXIT_NPF)
			vcpu_abort(v);
		bad += e != EXIT_NPF && e != EXIT_VMGEXIT;
	}
	is(bad, 0, "walk: nested table under a guest's key: the guest goes on");
	is(changed(v, t), 0,
	   "walk: nested table under a guest's key: nothing changes");

	/* likewise to a table of the host */
	cr3 = rdcr3();
	pde = host_pde(POOL2M + 6 * MB);
	keep = *pde;
	*pde = (u64)table | 0x67;
	bad = 0;
	for (u32 i = 0; i < ARRAY_SIZE(idx); i++) {
		invlpg(POOL2M + 6 * MB + idx[i] * PAGE);
		e = try(t_read, POOL2M + 6 * MB + idx[i] * PAGE, 0, 0).vec;
		bad += e != NO_FAULT && e != VEC_PF;
	}
	*pde = keep;
	asm volatile("mov %0, %%cr3" :: "r"(cr3) : "memory");
	is(bad, 0, "walk: host's table under a guest's key: no other fault");
	is(changed(v, t), 0,
	   "walk: host's table under a guest's key: nothing changes");

	/* and the host writes to a table of the guest without a key */
	vcpu_do(v, OP_READ, G_PD + walked / (2 * MB) * 8, 0, 0);
	keep = get64(v->sh, SH_R0);
	vcpu_do(v, OP_WRITE, G_PD + walked / (2 * MB) * 8, own | 0x67 | cbit, 0);
	bad = 0;
	for (u32 i = 0; i < ARRAY_SIZE(idx); i++) {
		vcpu_do(v, OP_INVLPG, walked + idx[i] * PAGE, 0, 0);
		e = vcpu_do(v, OP_READ, walked + idx[i] * PAGE, 0, 0);
		if (e == EXIT_NPF)
			vcpu_abort(v);
		bad += e != EXIT_NPF && e != EXIT_VMGEXIT;
	}
	vcpu_do(v, OP_WRITE, G_PD + walked / (2 * MB) * 8, keep, 0);
	is(bad, 0, "walk: guest's table under no key: the guest goes on");
	for (u32 i = bad = 0; i < PAGE; i += 8)
		bad += get64(p, i) != ((u64)p | 7);
	is(bad, 0, "walk: guest's table under no key: nothing changes");
}

/* SEV without ES: its ASIDs begin where those of SEV-ES end. */
static void sev_guest(void)
{
	u32 min = cpuid(0x8000001f, 0).d;
	const u32 bad[] = { 0, 1, 5, min - 1 };
	struct vm *vm = vm_new_sev(min, false);
	struct vcpu *v;

	vm_memory(vm);
	v = vm_vcpu(vm, 0);
	is(vcpu_run(v), EXIT_VMGEXIT,
	   "SEV: VMRUN with the lowest ASID, 8000001F EDX: the guest runs");
	vcpu_do(v, OP_RDMSR, MSR_SEV_STATUS, 0, 0);
	is(get64(v->sh, SH_R0) & 7, 1, "SEV: SEV_STATUS: SEV only");
	vcpu_do(v, OP_RDMSR, MSR_GHCB, 0, 0);
	is(get64(v->sh, SH_VEC), VEC_GP, "SEV: GHCB MSR: read #GP");
	vcpu_do(v, OP_WRMSR, MSR_GHCB, 0x1000, 0);
	is(get64(v->sh, SH_VEC), VEC_GP, "SEV: GHCB MSR: write #GP");
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		put32(v->vmcb, VMCB_ASID, bad[i]);
		is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_INVALID,
		   "SEV: VMRUN with ASID %u, not one for SEV only: VMEXIT_INVALID",
		   bad[i]);
	}
	put32(v->vmcb, VMCB_ASID, min);
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_VMGEXIT,
	   "SEV: and with its own it goes on");
	vm_destroy(vm);
}

/* The host has es-any-asid=on. */
static void es_any_asid(void)
{
	u32 asid = cpuid(0x8000001f, 0).d + 2;
	struct vm *vm = vm_new_sev(asid, true);
	struct vcpu *v;

	vm_memory(vm);
	v = vm_vcpu(vm, 0);
	is(vcpu_run(v), EXIT_VMGEXIT,
	   "es-any-asid: VMRUN of SEV-ES with plain SEV's ASID: the guest runs");
	vm_destroy(vm);
}

/* An SEV-ES guest beside SNP: its VMSA is no RMP-checked page, but has a key. */
static void es_guest(void)
{
	u64 tmr = (u64)huge_alloc(), w[5] = { 1, tmr, 2 * MB, 0, 0 };
	struct vm *vm;
	struct vcpu *v;
	u8 *img, *p, copy[64];
	u64 e;

	/* the trusted memory region for ES: 2 MB of firmware pages while SNP is on */
	is(fw_legacy(CMD_INIT, w, 3, 0), ST_PAGE_STATE,
	   "SEV: INIT with ES, its TMR not the firmware's");
	rmp_assign(tmr, 0, 0, true, true);
	is(fw_legacy(CMD_INIT, w, 3, 0), ST_OK, "SEV: INIT with ES, SNP on");
	flush_asids(CMD_DF_FLUSH);
	vm = vm_new_sev(3, true);
	vm_memory(vm);
	v = vm_vcpu_bare(vm);
	img = page_alloc();
	vm_keep(vm, img);
	vm_vmsa_image(v, img);
	memcpy(copy, img + SA_CR0, 64);
	v->vmsa = img;
	put64(v->vmcb, VMCB_VMSA, (u64)img);
	paint(v->vmcb);
	e = vcpu_run(v);
	is(e, EXIT_INVALID,
	   "SEV-ES: VMRUN of a VMSA that was never encrypted: VMEXIT_INVALID");
	is(painted(v->vmcb), 0, "SEV-ES: the VMCB's save area is untouched");
	is(memcmp(copy, img + SA_CR0, 64), 0, "SEV-ES: and so is the page");
	is(vm_sev_encrypt(vm, CMD_LAUNCH_UPDATE_VMSA, img), ST_OK,
	   "SEV-ES: LAUNCH_UPDATE_VMSA");
	put8(v->vmcb, VMCB_TLB, 1);
	e = vcpu_run(v);
	is(e, EXIT_VMGEXIT, "SEV-ES: VMRUN after it: the guest runs");
	vcpu_do(v, OP_RDMSR, MSR_SEV_STATUS, 0, 0);
	is(get64(v->sh, SH_R0) & 7, 3, "SEV-ES: SEV_STATUS: SEV and ES only");
	vcpu_do(v, OP_PVALIDATE, G_CODE, 0, 1);
	is(get64(v->sh, SH_VEC), VEC_UD, "SEV-ES: PVALIDATE: #UD");
	p = page_alloc();
	vm_keep(vm, p);
	put64(p, 0, 0x706c61696e);
	npt_map(vm, G_TEST, (u64)p, NPT_RWX);
	vcpu_do(v, OP_READ, G_TEST, 0, 0);
	ok(get64(v->sh, SH_VEC) == NO_FAULT &&
	   get64(v->sh, SH_R0) != 0x706c61696e,
	   "SEV-ES: private read of what the host wrote: not the plaintext");
	vcpu_do(v, OP_READ, SHARED_VIEW + G_TEST, 0, 0);
	is(get64(v->sh, SH_R0), 0x706c61696e, "SEV-ES: shared read: as written");
	vcpu_do(v, OP_WRITE, G_TEST, 0x736563726574, 0);
	vcpu_do(v, OP_READ, G_TEST, 0, 0);
	is(get64(v->sh, SH_R0), 0x736563726574,
	   "SEV-ES: private write and read");
	ok(get64(p, 0) != 0x736563726574, "SEV-ES: the host cannot read it");
	intercept(v, EXIT_CPUID, true);
	vcpu_do(v, OP_CPUID, 0, 0, 0);
	is(get64(v->sh, SH_VEC), VEC_VC, "SEV-ES: CPUID, intercepted: #VC");
	vc_intercepted(v);
	always_intercepted(v);
	foreign_tables(v);
	es_written(v);
	rmp_assign((u64)v->vmsa, 0, 5, false, false);
	e = vcpu_do(v, OP_NOP, 0, 0, 0);
	ok((s64)e < 0,
	   "SEV-ES: VMRUN of a VMSA in an assigned page: refused (exit %#lx)",
	   e);
	rmp_shared((u64)v->vmsa, false);
	vm_destroy(vm);
	sev_guest();
	if (other_readings)
		es_any_asid();
	is(fw_legacy(CMD_SHUTDOWN, w, 1, 0), ST_OK, "SEV: SHUTDOWN");
	fw_reclaim(tmr, true);
	rmp_shared(tmr, true);
}

void t_vmrun(void)
{
	struct vm *vm;

	section("VMRUN");
	vmsa_checks();
	section("VMRUN state");
	host_state();
	section("exits");
	vm = vm_ready(1, 1);
	automatic_exits(&vm->vcpu[0]);
	trapped_values(&vm->vcpu[0]);
	always_intercepted(&vm->vcpu[0]);
	vc_exits(&vm->vcpu[0]);
	vc_intercepted(&vm->vcpu[0]);
	section("events");
	events(&vm->vcpu[0]);
	interrupted_delivery(&vm->vcpu[0]);
	physical(&vm->vcpu[0]);
	vm_destroy(vm);
	bad_event();
	section("SEV-ES guest");
	es_guest();
}
