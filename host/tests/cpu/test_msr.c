// SPDX-License-Identifier: GPL-2.0-or-later
/* MSRs of the host: what a BIOS leaves in them, and what SNP_EN locks. */
#include "lib.h"

#define MSR_FIX64K	0x250
#define MSR_FIX4K_F8000	0x26f
#define MSR_IORR_BASE0	0xc0010016
#define MSR_IORR_MASK1	0xc0010019
#define MSR_TOP_MEM	0xc001001a
#define MSR_TOP_MEM2	0xc001001d
#define MSR_SMM_KEY	0xc0010119

#define HWCR_RESET	(BIT(0) | BIT(4) | BIT(24))

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

void t_msr(void)
{
	u64 found;

	section("MSRs before SNP");
	is(rdmsr(MSR_SYSCFG), 0xf40000,
	   "SYSCFG: as a BIOS leaves it: bits 18, 20, 21, 22, 23");
	is(rdmsr(MSR_TOP_MEM), RAM_END, "TOP_MEM: the end of memory below 4 GB");
	is(rdmsr(MSR_TOP_MEM2), 0, "TOP_MEM2: no memory above 4 GB");
	hwcr();
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
	u64 v = rdmsr(MSR_SYSCFG), found;

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
}
