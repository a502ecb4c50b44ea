/* SPDX-License-Identifier: GPL-2.0-only */
/* The VMSA that a guest builds for another vCPU. */
#ifndef SNP_VMSA_H
#define SNP_VMSA_H

#include "snp_guest.h"

/* Offsets in the VMSA (APM volume 2, appendix B). */
#define VMSA_SEGMENT(n)		((n) * 16)
#define VMSA_EFER		0x0d0
#define VMSA_CR4		0x148
#define VMSA_CR3		0x150
#define VMSA_CR0		0x158
#define VMSA_DR7		0x160
#define VMSA_DR6		0x168
#define VMSA_RFLAGS		0x170
#define VMSA_RIP		0x178
#define VMSA_RSP		0x1d8
#define VMSA_RAX		0x1f8
#define VMSA_KERNEL_GS_BASE	0x220
#define VMSA_PAT		0x268
#define VMSA_RCX		0x308
#define VMSA_RDX		0x310
#define VMSA_RBX		0x318
#define VMSA_RBP		0x328
#define VMSA_RSI		0x330
#define VMSA_RDI		0x338
#define VMSA_R8			0x340
#define VMSA_SEV_FEATURES	0x3b0
#define VMSA_XCR0		0x3e8
#define VMSA_MXCSR		0x408
#define VMSA_FCW		0x410
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_GDTR, SEG_LDTR, SEG_IDTR, SEG_TR };

/* SEV_FEATURES of an SNP guest without any optional feature. */
#define SNP_FEATURES		BIT_ULL(0)

#define VMSA_FIELD(vmsa, offset)	(*(volatile u64 *)((vmsa) + (offset)))

static inline void snp_set_segment(u8 *vmsa, int n, u16 selector, u16 attributes,
				   u32 limit, u64 base)
{
	VMSA_FIELD(vmsa, VMSA_SEGMENT(n)) = selector | (u64)attributes << 16 | (u64)limit << 32;
	VMSA_FIELD(vmsa, VMSA_SEGMENT(n) + 8) = base;
}

/* In the guest: fills a page with the state of a vCPU like the caller, at another address. */
static inline void snp_build_vmsa(u8 *vmsa, u64 rip, u64 rsp)
{
	struct desc_ptr gdt = get_gdt(), idt = get_idt();
	int i;

	for (i = 0; i < PAGE_SIZE; i += 8)
		VMSA_FIELD(vmsa, i) = 0;
	for (i = SEG_ES; i <= SEG_GS; i++)
		snp_set_segment(vmsa, i, i == SEG_CS ? get_cs() : get_ds(),
				i == SEG_CS ? 0xa9b : 0xc93, ~0u, 0);
	snp_set_segment(vmsa, SEG_GDTR, 0, 0, gdt.size, gdt.address);
	snp_set_segment(vmsa, SEG_IDTR, 0, 0, idt.size, idt.address);
	snp_set_segment(vmsa, SEG_LDTR, 0, 0x082, 0, 0);
	snp_set_segment(vmsa, SEG_TR, 0, 0x08b, 0xffff, 0);
	VMSA_FIELD(vmsa, VMSA_EFER) = rdmsr(MSR_EFER) | EFER_SVME;
	VMSA_FIELD(vmsa, VMSA_CR4) = get_cr4();
	VMSA_FIELD(vmsa, VMSA_CR3) = get_cr3();
	VMSA_FIELD(vmsa, VMSA_CR0) = get_cr0();
	VMSA_FIELD(vmsa, VMSA_DR7) = 0x400;
	VMSA_FIELD(vmsa, VMSA_DR6) = 0xffff0ff0;
	VMSA_FIELD(vmsa, VMSA_RFLAGS) = X86_EFLAGS_FIXED;
	VMSA_FIELD(vmsa, VMSA_RIP) = rip;
	VMSA_FIELD(vmsa, VMSA_RSP) = rsp;
	VMSA_FIELD(vmsa, VMSA_PAT) = 0x0007040600070406ull;
	VMSA_FIELD(vmsa, VMSA_SEV_FEATURES) = SNP_FEATURES;
	VMSA_FIELD(vmsa, VMSA_XCR0) = XFEATURE_MASK_FP;
	VMSA_FIELD(vmsa, VMSA_MXCSR) = 0x1f80;
	VMSA_FIELD(vmsa, VMSA_FCW) = 0x37f;
}

#endif /* SNP_VMSA_H */
