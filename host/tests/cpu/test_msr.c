// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * MSRs of the host: what a BIOS leaves in them, what SNP_EN locks, addresses
 * that they refuse; VMSAVE, which obeys the same rule as VM_HSAVE_PA.
 */
#include "lib.h"

#define MSR_FIX64K	0x250
#define MSR_FIX4K_F8000	0x26f
#define MSR_IORR_BASE0	0xc0010016
#define MSR_IORR_MASK1	0xc0010019
#define MSR_TOP_MEM	0xc001001a
#define MSR_TOP_MEM2	0xc001001d
#define MSR_SMM_KEY	0xc0010119
#define MSR_PAGE_FLUSH	0xc001011e

#define HWCR_RESET	(BIT(0) | BIT(4) | BIT(24))
#define CR4_SMAP	BIT(21)
#define RFLAGS_AC	BIT(18)

/* APM 2, 15.36.2: #GP(0) once SNP is on. SMM_KEY cannot be read. */
static const struct {
	u32 msr;
	bool read;
	const char *name;
} locked[] = {
	{ MSR_FIX64K, true, "MTRRfix64K_00000" },
	{ 0x258, true, "MTRRfix16K_80000" },
	{ 0x259, true, "MTRRfix16K_A0000" },
	{ 0x268, true, "MTRRfix4K_C0000" },
	{ MSR_FIX4K_F8000, true, "MTRRfix4K_F8000" },
	{ MSR_IORR_BASE0, true, "IORRBase0" },
	{ MSR_IORR_MASK1, true, "IORRMask1" },
	{ MSR_TOP_MEM, true, "TOP_MEM" },
	{ MSR_TOP_MEM2, true, "TOP_MEM2" },
	{ MSR_SMM_KEY, false, "SMM_KEY" },
};

/* Writes another value, and the old one if that was taken. */
static struct fault change(u32 msr, u64 *found)
{
	u64 was = rdmsr(msr), other = was ^ 0x06000000;
	struct fault f = try(t_wrmsr, msr, other, 0);

	*found = rdmsr(msr) ^ was;
	if (*found)
		wrmsr(msr, was);
	return f;
}

static void hwcr(void)
{
	u64 v = rdmsr(MSR_HWCR);

	is(v & HWCR_RESET, HWCR_RESET,
	   "HWCR: SmmLock (15.34.3), INVDWBINVD, TscFreqSel (PPR: read only, 1)");
	try(t_wrmsr, MSR_HWCR, v & ~BIT(24), 0);
	is(rdmsr(MSR_HWCR), v, "HWCR: TscFreqSel cannot be cleared (PPR)");
	is_fault(try(t_wrmsr, MSR_HWCR, v & ~BIT(4), 0), VEC_GP, 0, 0,
		 "HWCR: INVDWBINVD cannot be cleared: #GP (PPR)");
	is_fault(try(t_wrmsr, MSR_HWCR, v | BIT(30), 0), NO_FAULT, 0, 0,
		 "HWCR: a write of IRPerfEn");
	is(rdmsr(MSR_HWCR), v | BIT(30), "HWCR: IRPerfEn is set");
	wrmsr(MSR_HWCR, v);
}

static void ghcb(void)
{
	is_fault(try(t_rdmsr, MSR_GHCB, 0, 0), VEC_GP, 0, 0,
		 "GHCB MSR on the host: read #GP (15.35.7)");
	is_fault(try(t_wrmsr, MSR_GHCB, 0x1000, 0), VEC_GP, 0, 0,
		 "GHCB MSR on the host: write #GP");
}

static void page_flush(void)
{
	u64 va = (u64)page_alloc(), *pte = host_pte(va), was = *pte, cr4;
	struct fault f;

	ok(cpuid(0x8000001f, 0).a & BIT(2),
	   "CPUID 8000001F EAX[2]: VMPAGE_FLUSH is there");
	is_fault(try(t_rdmsr, MSR_PAGE_FLUSH, 0, 0), VEC_GP, 0, 0,
		 "VMPAGE_FLUSH: write only (15.34.9)");
	is_fault(try(t_wrmsr, MSR_PAGE_FLUSH, va | 5, 0), NO_FAULT, 0, 0,
		 "VMPAGE_FLUSH of a mapped page, ASID 5");
	is_fault(try(t_wrmsr, MSR_PAGE_FLUSH, va, 0), VEC_GP, 0, 0,
		 "VMPAGE_FLUSH with ASID 0: #GP");
	*pte = 0;
	invlpg(va);
	is_fault(try(t_wrmsr, MSR_PAGE_FLUSH, va | 5, 0), VEC_GP, 0, 0,
		 "VMPAGE_FLUSH of an unmapped page: #GP");
	*pte = was;
	is_fault(try(t_wrmsr, MSR_PAGE_FLUSH, BIT(62) | 5, 0), VEC_GP, 0, 0,
		 "VMPAGE_FLUSH of an address that is not canonical: #GP");

	/* all pages here are user pages: SMAP needs RFLAGS.AC for any access */
	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	asm volatile("pushfq; orq %1, (%%rsp); popfq; mov %0, %%cr4"
		     :: "r"(cr4 | CR4_SMAP), "i"(RFLAGS_AC) : "memory", "cc");
	f = try(t_wrmsr, MSR_PAGE_FLUSH, va | 5, 0);
	asm volatile("mov %0, %%cr4; pushfq; andq %1, (%%rsp); popfq"
		     :: "r"(cr4), "i"((int)~RFLAGS_AC) : "memory", "cc");
	is_fault(f, VEC_GP, 0, 0,
		 "VMPAGE_FLUSH of a user page under SMAP: #GP, whatever AC");
	page_free((void *)va);
}

void t_msr(void)
{
	u64 found;

	section("MSRs before SNP");
	is(rdmsr(MSR_SYSCFG), 0xf40000,
	   "SYSCFG: as a BIOS leaves it: bits 18, 20, 21, 22, 23");
	is(rdmsr(MSR_TOP_MEM), RAM_END, "TOP_MEM: the end of memory below 4 GB");
	is(rdmsr(MSR_TOP_MEM2), 0, "TOP_MEM2: no memory above 4 GB");
	hwcr();
	ghcb();
	page_flush();
	for (u32 i = 0; i < ARRAY_SIZE(locked); i++) {
		if (!locked[i].read)
			continue;
		is_fault(change(locked[i].msr, &found), NO_FAULT, 0, 0,
			 "%s: a write before SNP", locked[i].name);
		ok(found, "%s: takes", locked[i].name);
	}
	is_fault(try(t_wrmsr, MSR_SMM_KEY, 1, 0), NO_FAULT, 0, 0,
		 "SMM_KEY: a write before SNP");
}

void t_msr_snp(void)
{
	u64 v = rdmsr(MSR_SYSCFG), found, p = (u64)page_alloc();
	u64 was = rdmsr(MSR_HSAVE);

	section("MSRs under SNP");
	is(v, 0x3fc0000, "SYSCFG: the value of a Milan host with SNP");
	for (u32 i = 0; i < 64; i++) {
		try(t_wrmsr, MSR_SYSCFG, v ^ BIT(i), 0);
		found = rdmsr(MSR_SYSCFG) ^ v;
		if (found)
			break;
	}
	is(found, 0, "SYSCFG: writes are ignored, each bit alone (15.36.2)");
	is_fault(try(t_wrmsr, MSR_SYSCFG, v, 0), NO_FAULT, 0, 0,
		 "SYSCFG: and raise no fault");
	for (u32 i = 0; i < ARRAY_SIZE(locked); i++) {
		if (!locked[i].read)
			continue;
		is_fault(change(locked[i].msr, &found), VEC_GP, 0, 0,
			 "%s: a write is #GP (15.36.2)", locked[i].name);
		is(found, 0, "%s: is kept", locked[i].name);
		is_fault(try(t_wrmsr, locked[i].msr, rdmsr(locked[i].msr), 0),
			 VEC_GP, 0, 0, "%s: its own value, too", locked[i].name);
	}
	is_fault(try(t_wrmsr, MSR_SMM_KEY, 1, 0), VEC_GP, 0, 0,
		 "SMM_KEY: a write is #GP (15.36.2)");
	is_fault(try(t_wrmsr, 0x2ff, rdmsr(0x2ff), 0), NO_FAULT, 0, 0,
		 "MTRRdefType is not locked");

	rmp_assign(p, 0x1000, 5, false, false);
	is_fault(try(t_wrmsr, MSR_HSAVE, p, 0), VEC_GP, 0, 0,
		 "VM_HSAVE_PA: an assigned page is #GP (15.36.12)");
	is(rdmsr(MSR_HSAVE), was, "VM_HSAVE_PA: is kept");
	is_fault(try(t_vmsave, p, 0, 0), VEC_GP, 0, 0,
		 "VMSAVE to an assigned page: #GP, not #PF (15.36.12)");
	is_fault(try(t_vmsave, rmp_base, 0, 0), VEC_GP, 0, 0,
		 "VMSAVE to the RMP: #GP");
	for (u32 i = found = 0; i < PAGE; i += 8)
		found += get64((void *)p, i) != 0;
	is(found, 0, "VMSAVE: nothing is written");
	rmp_shared(p, false);
	is_fault(try(t_wrmsr, MSR_HSAVE, p, 0), NO_FAULT, 0, 0,
		 "VM_HSAVE_PA: a hypervisor page");
	wrmsr(MSR_HSAVE, was);
	is_fault(try(t_vmsave, p, 0, 0), NO_FAULT, 0, 0,
		 "VMSAVE to a hypervisor page");
	is(get64((void *)p, VMCB_SAVE + SA_LSTAR), rdmsr(MSR_LSTAR),
	   "VMSAVE: LSTAR is written");
	page_free((void *)p);
}
