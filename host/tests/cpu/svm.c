// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A small hypervisor. Each VM runs one program, the agent in guest.S: as an
 * SNP, SEV-ES or SEV guest launched by the firmware, or as a plain VM.
 */
#include "lib.h"

u64 cbit;
/* permission maps: msrpm and iopm intercept nothing, the _all ones everything */
u8 msrpm[2 * PAGE] __aligned(4096);
u8 iopm[3 * PAGE] __aligned(4096);
u8 msrpm_all[2 * PAGE] __aligned(4096);
u8 iopm_all[3 * PAGE] __aligned(4096);

static struct vm vms[4];

#define G_TSS	(64 + 240 * 16)

void svm_cpu_init(void *unused)
{
	u8 *h = this_cpu()->hsave;

	(void)unused;
	memset(msrpm_all, 0xff, 2 * PAGE);
	memset(iopm_all, 0xff, 3 * PAGE);
	/* swap type B: VMRUN of an ES guest restores these but does not save them */
	asm volatile("vmsave" :: "a"(h) : "memory");
	put64(h + VMCB_SAVE, SA_XCR0, 7);
	put64(h + VMCB_SAVE, SA_XSS, 0);
	put32(h + VMCB_SAVE, SA_PKRU, 0);
	wrmsr(MSR_HSAVE, (u64)h);
}

/* ---- nested tables ----------------------------------------------------- */

static u64 *npt_down(struct vm *vm, u64 *t, u32 i)
{
	if (!(t[i] & 1)) {
		u64 *n = page_alloc();

		vm_keep(vm, n);
		t[i] = (u64)n | 7;
	}
	return (u64 *)(t[i] & 0x000ffffffffff000ull);
}

void npt_map(struct vm *vm, u64 gpa, u64 spa, u64 flags)
{
	u64 *t = npt_down(vm, vm->npt, gpa >> 39 & 511);

	t = npt_down(vm, t, gpa >> 30 & 511);
	if (t[gpa >> 21 & 511] & 0x80)
		t[gpa >> 21 & 511] = 0;
	t = npt_down(vm, t, gpa >> 21 & 511);
	t[gpa >> 12 & 511] = flags ? spa | flags : 0;
	for (u32 i = 0; i < vm->nvcpu; i++)
		put8(vm->vcpu[i].vmcb, VMCB_TLB, 1);
}

void npt_map_large(struct vm *vm, u64 gpa, u64 spa, u64 flags)
{
	u64 *t = npt_down(vm, vm->npt, gpa >> 39 & 511);

	t = npt_down(vm, t, gpa >> 30 & 511);
	t[gpa >> 21 & 511] = flags ? spa | flags | 0x80 : 0;
	for (u32 i = 0; i < vm->nvcpu; i++)
		put8(vm->vcpu[i].vmcb, VMCB_TLB, 1);
}

/* ---- life of a VM ------------------------------------------------------ */

void vm_keep(struct vm *vm, void *p)
{
	if (vm->npages == VM_PAGES)
		bail("expected a VM of at most %u pages, found more", VM_PAGES);
	vm->pages[vm->npages++] = (u64)p;
}

static struct vm *vm_alloc(u32 asid)
{
	for (u32 i = 0; i < ARRAY_SIZE(vms); i++) {
		struct vm *vm = &vms[i];

		if (vm->npt)
			continue;
		memset(vm, 0, sizeof(*vm));
		vm->asid = asid;
		vm->npt = page_alloc();
		vm_keep(vm, vm->npt);
		return vm;
	}
	bail("expected a free slot for a VM, found all in use");
}

struct vm *vm_new(u32 asid, u64 policy)
{
	struct vm *vm = vm_alloc(asid);
	u32 rc;

	vm->sev = true;
	vm->es = true;
	vm->snp = true;
	vm->gctx = page_alloc();
	if (rmp_firmware((u64)vm->gctx))
		bail("RMPUPDATE of the context to firmware failed");
	rc = fw_gctx_create(vm->gctx);
	if (rc)
		bail("GCTX_CREATE: status %#x", rc);
	rc = fw_launch_start(vm->gctx, policy);
	if (rc)
		bail("LAUNCH_START: status %#x", rc);
	rc = fw_activate(vm->gctx, asid);
	if (rc)
		bail("ACTIVATE of ASID %u: status %#x", asid, rc);
	return vm;
}

struct vm *vm_new_plain(u32 asid)
{
	return vm_alloc(asid);
}

struct vm *vm_new_sev(u32 asid, bool es)
{
	struct vm *vm = vm_alloc(asid);
	u64 w[5] = { 0, 0, 0, 0, 0 };
	u32 rc;

	vm->sev = true;
	vm->es = es;
	w[0] = (es ? 4ull : 0) << 32;		/* handle 0, policy */
	rc = fw_legacy(CMD_LAUNCH_START, w, 5, 0);
	if (rc)
		bail("LAUNCH_START (SEV): status %#x", rc);
	vm->handle = w[0];
	w[0] = vm->handle | (u64)asid << 32;
	rc = fw_legacy(CMD_ACTIVATE, w, 1, 0);
	if (rc)
		bail("ACTIVATE (SEV): status %#x", rc);
	return vm;
}

u32 vm_sev_encrypt(struct vm *vm, u32 cmd, void *page)
{
	u64 w[3] = { vm->handle, (u64)page, PAGE };

	return fw_legacy(cmd, w, 3, (u64)page);
}

/* Gives the guest a page. SEV: encrypts it. SNP: assigns it, LAUNCH_UPDATE. */
void *vm_page(struct vm *vm, u64 gpa, const void *from, u32 type, u32 perms)
{
	void *p = page_alloc();
	u32 rc;

	if (from)
		memcpy(p, from, PAGE);
	vm_keep(vm, p);
	npt_map(vm, gpa, (u64)p, NPT_RWX);
	if (vm->sev && !vm->snp) {
		rc = type == TYPE_VMSA ? CMD_LAUNCH_UPDATE_VMSA :
					 CMD_LAUNCH_UPDATE_DATA;
		rc = vm_sev_encrypt(vm, rc, p);
		if (rc)
			bail("LAUNCH_UPDATE (SEV) type %u: %#x", type, rc);
	}
	if (!vm->snp)
		return p;
	rc = rmp_assign((u64)p, gpa, vm->asid, false, true);
	if (rc)
		bail("RMPUPDATE to pre-guest: %u", rc);
	rc = fw_launch_update(vm->gctx, (u64)p, type, false, perms);
	if (rc)
		bail("LAUNCH_UPDATE type %u: status %#x", type, rc);
	return p;
}

void vm_memory(struct vm *vm)
{
	static u64 t[512] __aligned(4096);
	const u64 f = 0x67, c = vm->sev ? cbit : 0;
	u64 i;

	memset(t, 0, PAGE);
	t[0] = G_PDPT | f | c;
	vm_page(vm, G_PML4, t, TYPE_NORMAL, PERM_ALL);
	t[0] = G_PD | f | c;
	t[1] = G_PDS | f | c;
	vm_page(vm, G_PDPT, t, TYPE_NORMAL, PERM_ALL);
	for (i = 0; i < 512; i++)
		t[i] = i * 2 * MB | f | 0x80 | c;
	vm_page(vm, G_PD, t, TYPE_NORMAL, PERM_ALL);
	for (i = 0; i < 512; i++)
		t[i] = i * 2 * MB | f | 0x80;
	vm_page(vm, G_PDS, t, TYPE_NORMAL, PERM_ALL);
	/* GDT in the first 64 bytes, an IDT of 240 vectors, a TSS */
	memset(t, 0, PAGE);
	t[1] = 0x00af9b000000ffff;
	t[2] = 0x00cf93000000ffff;
	for (i = 0; i < 240; i++) {
		u64 a = G_CODE + (guest_stubs - guest_image) + i * 16;

		t[8 + i * 2] = (a & 0xffff) | 0x08ull << 16 | 0x8e00ull << 32 |
			       (a >> 16) << 48;
	}
	t[3] = 0x00cff3000000ffff;
	t[4] = 0x00affb000000ffff;
	put64(t, G_TSS + 4, G_RSP0);
	vm_page(vm, G_TABLES, t, TYPE_NORMAL, PERM_ALL);
	vm_page(vm, G_STACKS, NULL, TYPE_NORMAL, PERM_ALL);
	for (i = 0; guest_image + i < guest_image_end; i += PAGE)
		vm_page(vm, G_CODE + i, guest_image + i, TYPE_NORMAL, PERM_ALL);
}

static void seg(u8 *sa, u32 off, u16 sel, u16 attr, u32 limit, u64 base)
{
	put16(sa, off, sel);
	put16(sa, off + 2, attr);
	put32(sa, off + 4, limit);
	put64(sa, off + 8, base);
}

static void save_area(struct vcpu *v, u8 *sa)
{
	seg(sa, SA_CS, 0x08, 0xa9b, 0xffffffff, 0);
	seg(sa, SA_ES, 0x10, 0xc93, 0xffffffff, 0);
	seg(sa, SA_SS, 0x10, 0xc93, 0xffffffff, 0);
	seg(sa, SA_DS, 0x10, 0xc93, 0xffffffff, 0);
	seg(sa, SA_FS, 0x10, 0xc93, 0xffffffff, 0xf5000);
	seg(sa, SA_GS, 0x10, 0xc93, 0xffffffff, 0x65000);
	seg(sa, SA_LDTR, 0, 0x82, 0xffff, 0);
	seg(sa, SA_TR, 0x28, 0x8b, 103, G_TABLES + G_TSS);
	seg(sa, SA_GDTR, 0, 0, 63, G_TABLES);
	seg(sa, SA_IDTR, 0, 0, 240 * 16 - 1, G_TABLES + 64);
	put64(sa, SA_EFER, EFER_SVME | EFER_LMA | EFER_LME | EFER_NXE);
	put64(sa, SA_CR0, CR0_PG | CR0_PE | CR0_MP | CR0_NE | CR0_WP | 0x10);
	put64(sa, SA_CR3, G_PML4 | (v->vm->sev ? cbit : 0));
	put64(sa, SA_CR4, CR4_PAE | CR4_OSFXSR | CR4_OSXMM | CR4_OSXSAVE);
	put64(sa, SA_DR6, 0xffff0ff0);
	put64(sa, SA_DR7, 0x400);
	put64(sa, SA_RFLAGS, 2);
	put64(sa, SA_RIP, G_CODE);
	put64(sa, SA_RSP, G_STACKS + 0x400 * (v->n + 1));
	put64(sa, SA_PAT, 0x0007040600070406ull);
	put64(sa, SA_KGS, 0x55000);
	put64(sa, SA_STAR, 0x5a5a000000000000ull);
	put64(sa, SA_LSTAR, 0x15000);
}

void vm_vmsa_image(struct vcpu *v, u8 *p)
{
	memset(p, 0, PAGE);
	save_area(v, p);
	put64(p, SA_GPR + 8 * 15, SHARED_VIEW + G_SHARED + v->n * PAGE);
	put64(p, SA_GPR + 8 * 14, get64(p, SA_RSP));
	put64(p, SA_XCR0, 7);
	put32(p, SA_MXCSR, 0x1f80);
	put16(p, SA_FCW, 0x37f);
	put64(p, SA_FEATURES, v->vm->snp);	/* bit 0: SNP active */
}

void intercept(struct vcpu *v, u32 code, bool on)
{
	u32 w = get32(v->vmcb, VMCB_ICPT + code / 32 * 4);

	w = on ? w | BIT(code % 32) : w & ~BIT(code % 32);
	put32(v->vmcb, VMCB_ICPT + code / 32 * 4, w);
}

struct vcpu *vm_vcpu_bare(struct vm *vm)
{
	struct vcpu *v = &vm->vcpu[vm->nvcpu];

	v->vm = vm;
	v->n = vm->nvcpu;
	v->vmcb = page_alloc();
	v->sh = page_alloc();
	vm_keep(vm, v->vmcb);
	vm_keep(vm, v->sh);
	vm->nvcpu++;
	npt_map(vm, G_SHARED + v->n * PAGE, (u64)v->sh, NPT_RWX);
	put64(v->vmcb, VMCB_IOPM, (u64)iopm);
	put64(v->vmcb, VMCB_MSRPM, (u64)msrpm);
	put32(v->vmcb, VMCB_ASID, vm->asid);
	put64(v->vmcb, VMCB_NCR3, (u64)vm->npt);
	put8(v->vmcb, VMCB_TLB, 1);
	intercept(v, 0x80, true);	/* VMRUN: required by the architecture */
	intercept(v, EXIT_SHUTDOWN, true);
	intercept(v, EXIT_HLT, true);
	if (vm->es) {
		put64(v->vmcb, VMCB_MISC, 7);	/* NP, SEV, SEV-ES */
		put64(v->vmcb, VMCB_LBR, 1);	/* SEV-ES needs it */
		put64(v->vmcb, VMCB_GHCB, 0);
	} else {
		put64(v->vmcb, VMCB_MISC, vm->sev ? 3 : 1);
		save_area(v, v->vmcb + VMCB_SAVE);
		intercept(v, 0x81, true);	/* VMMCALL in place of VMGEXIT */
		v->r.in[15] = SHARED_VIEW + G_SHARED + v->n * PAGE;
		v->r.in[14] = get64(v->vmcb + VMCB_SAVE, SA_RSP);
	}
	return v;
}

struct vcpu *vm_vcpu(struct vm *vm, u32 vmpl)
{
	struct vcpu *v = vm_vcpu_bare(vm);
	u8 *img;

	if (!vm->es)
		return v;
	img = page_alloc();
	vm_vmsa_image(v, img);
	put8(img, SA_VMPL, vmpl);
	v->vmsa = vm_page(vm, G_VMSA + v->n * PAGE, img, TYPE_VMSA, 0);
	page_free(img);
	put64(v->vmcb, VMCB_VMSA, (u64)v->vmsa);
	return v;
}

void vm_finish(struct vm *vm)
{
	u32 rc = fw_launch_finish(vm->gctx);

	if (rc)
		bail("LAUNCH_FINISH: status %#x", rc);
}

struct vm *vm_ready(u32 asid, u32 nvcpu)
{
	struct vm *vm = vm_new(asid, POLICY_DEBUG);

	vm_memory(vm);
	for (u32 i = 0; i < nvcpu; i++)
		vm_vcpu(vm, 0);
	vm_finish(vm);
	for (u32 i = 0; i < nvcpu; i++) {
		u64 e = vcpu_run(&vm->vcpu[i]);

		if (e != EXIT_VMGEXIT)
			bail("a new guest's first exit: %#lx info1 %#lx info2 %#lx",
			     e, get64(vm->vcpu[i].vmcb, VMCB_INFO1),
			     get64(vm->vcpu[i].vmcb, VMCB_INFO2));
	}
	return vm;
}

void vm_destroy(struct vm *vm)
{
	u32 rc;

	if (vm->gctx) {
		rc = fw_addr(CMD_SNP_DECOMMISSION, vm->gctx);
		if (rc)
			bail("DECOMMISSION: status %#x", rc);
		vm_keep(vm, vm->gctx);
	}
	if (vm->handle) {
		u64 w = vm->handle;

		rc = fw_legacy(CMD_DEACTIVATE, &w, 1, 0);
		if (!rc)
			rc = fw_legacy(CMD_DECOMMISSION, &w, 1, 0);
		if (rc)
			bail("DEACTIVATE, DECOMMISSION (SEV): %#x", rc);
	}
	for (u32 i = 0; i < vm->npages; i++) {
		u64 pa = vm->pages[i] & ~0xfffull;
		bool large = vm->pages[i] & 1;
		u64 e = rmp_base ? rmp(pa) : 0;

		if (e & RMP_IMMUTABLE) {
			rc = fw_reclaim(pa, e & RMP_2MB);
			if (rc)
				bail("PAGE_RECLAIM: status %#x", rc);
		}
		if (e & RMP_ASSIGNED) {
			rc = rmp_shared(pa, e & RMP_2MB);
			if (rc)
				bail("RMPUPDATE to shared: %u, entry %#lx", rc,
				     e);
		}
		if (!large)
			page_free((void *)pa);
	}
	if (vm->sev)
		flush_asids(vm->snp ? CMD_SNP_DF_FLUSH : CMD_DF_FLUSH);
	vm->npt = NULL;
}

/* ---- running ----------------------------------------------------------- */

void vcpu_refused(struct vcpu *v)
{
	static u8 before[PAGE];
	u8 *s = v->vmcb + VMCB_SAVE;
	u64 efer = get64(s, SA_EFER);

	put64(s, SA_EFER, efer & ~(u64)EFER_SVME);
	memcpy(before, s, PAGE - VMCB_SAVE);
	vcpu_order(v, OP_NOP, 0, 0, 0);
	/* no VMSAVE here: it would write to the VMCB itself */
	v->r.vmcb = (u64)v->vmcb;
	vmrun_asm(&v->r);
	is(get64(v->vmcb, VMCB_EXIT), EXIT_INVALID,
	   "VMRUN with EFER.SVME clear: VMEXIT_INVALID (15.5.1)");
	is(memcmp(before, s, PAGE - VMCB_SAVE), 0,
	   "a refused VMRUN leaves the save area as it was");
	memcpy(s, before, PAGE - VMCB_SAVE);
	put64(s, SA_EFER, efer);
}

u64 vcpu_run(struct vcpu *v)
{
	struct cpu *cpu = this_cpu();
	u8 *h = cpu->hsave;
	u64 e;

	v->r.vmcb = (u64)v->vmcb | v->c;
	if (v->vm->es) {
		/* type B: #VMEXIT loads these from the host save area */
		for (u32 i = 1; i < 16; i++) {
			if (i == 4)
				continue;
			v->r.in[i] = 0x4057000000000000ull + v->n * 256 + i;
			put64(h + VMCB_SAVE, SA_GPR + i * 8, v->r.in[i]);
		}
		vmrun_asm(&v->r);
		if (rdmsr(MSR_GS_BASE) != (u64)cpu) {
			/* count it; reporting it needs GS */
			wrmsr(MSR_GS_BASE, (u64)cpu);
			v->lost++;
		}
	} else {
		asm volatile("vmload" :: "a"(v->r.vmcb) : "memory");
		vmrun_asm(&v->r);
		asm volatile("vmsave" :: "a"(v->r.vmcb) : "memory");
		asm volatile("vmload" :: "a"(h) : "memory");
		memcpy(v->r.in, v->r.out, sizeof(v->r.in));
	}
	v->exits++;
	put32(v->vmcb, VMCB_INJ, 0);
	put8(v->vmcb, VMCB_TLB, 0);
	e = get64(v->vmcb, VMCB_EXIT);
	if (!v->vm->es && e == 0x81) {
		put64(v->vmcb + VMCB_SAVE, SA_RIP,
		      get64(v->vmcb + VMCB_SAVE, SA_RIP) + 4);
		e = EXIT_VMGEXIT;
	}
	return e;
}

void vcpu_order(struct vcpu *v, u32 op, u64 a, u64 b, u64 c)
{
	put64(v->sh, SH_OP, op);
	put64(v->sh, SH_A, a);
	put64(v->sh, SH_B, b);
	put64(v->sh, SH_C, c);
	put64(v->sh, SH_VEC, 0x5555);
	put64(v->sh, SH_R0, 0xdead);
}

u64 vcpu_do(struct vcpu *v, u32 op, u64 a, u64 b, u64 c)
{
	vcpu_order(v, op, a, b, c);
	return vcpu_run(v);
}

void vcpu_abort(struct vcpu *v)
{
	u64 e;

	put32(v->vmcb, VMCB_INJ_ERR, 0);
	put32(v->vmcb, VMCB_INJ, BIT(31) | BIT(11) | 3 << 8 | VEC_GP);
	e = vcpu_run(v);
	if (e != EXIT_VMGEXIT || get64(v->sh, SH_VEC) != VEC_GP)
		bail("injected #GP: exit %#lx, the guest saw vector %lu", e,
		     get64(v->sh, SH_VEC));
}

u8 *vmsa_read(struct vcpu *v)
{
	static u8 copy[PAGE] __aligned(4096);
	u32 rc = fw_dbg_decrypt(v->vm->gctx, (u64)v->vmsa, copy);

	if (rc)
		bail("DBG_DECRYPT of the VMSA: status %#x", rc);
	return copy;
}
