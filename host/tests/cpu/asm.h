/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Constants for both assembly and C. */
#ifndef ASM_H
#define ASM_H

#define CR0_PE		0x1
#define CR0_MP		0x2
#define CR0_NE		0x20
#define CR0_WP		0x10000
#define CR0_PG		0x80000000
#define CR4_PAE		0x20
#define CR4_OSFXSR	0x200
#define CR4_OSXMM	0x400
#define CR4_OSXSAVE	0x40000
#define MSR_EFER	0xc0000080
#define EFER_SCE	0x1
#define EFER_LME	0x100
#define EFER_LMA	0x400
#define EFER_NXE	0x800
#define EFER_SVME	0x1000

#define TRAMPOLINE	0x8000

/* struct cpu */
#define CPU_TRY		0x08
#define CPU_VEC		0x10
#define CPU_ERR		0x18
#define CPU_RIP		0x20
#define CPU_CR2		0x28
#define CPU_USTACK	0x30
#define CPU_IRQS	0x38

/* struct vmrun */
#define VR_IN		0x08
#define VR_OUT		0x88
#define VR_XMM0		0x108

/* the page shared between the host and the guest's agent (guest.S) */
#define SH_OP		0x00
#define SH_A		0x08
#define SH_B		0x10
#define SH_C		0x18
#define SH_R0		0x20
#define SH_R1		0x28
#define SH_R2		0x30
#define SH_R3		0x38
#define SH_VEC		0x40
#define SH_ERR		0x48
#define SH_CR2		0x50
#define SH_RIP		0x58
#define SH_EXCS		0x60
#define SH_BEAT		0x68
#define SH_INTS		0x70
#define SH_INTVEC	0x78
#define SH_GO		0x80
#define SH_SPINS	0x88

/* the agent's orders */
#define OP_NOP		0
#define OP_READ		1
#define OP_WRITE	2
#define OP_XADD		3
#define OP_PVALIDATE	4
#define OP_RMPADJUST	5
#define OP_RMPQUERY	6
#define OP_RMPUPDATE	7
#define OP_PSMASH	8
#define OP_CPUID	9
#define OP_RDMSR	10
#define OP_WRMSR	11
#define OP_IN		12
#define OP_OUT		13
#define OP_RDTSC	14
#define OP_WBINVD	15
#define OP_INVLPG	16
#define OP_HLT		17
#define OP_PAUSE	18
#define OP_WRCR0	19
#define OP_WRCR4	20
#define OP_WRCR8	21
#define OP_RDCRS	22
#define OP_CALL		23
#define OP_VMMCALL	24
#define OP_STI_READ	25
#define OP_SETXMM	26
#define OP_GETXMM	27
#define OP_STI		28
#define OP_CLI		29
#define OP_REGS		30
#define OP_SPIN		31
#define OP_BENCH	32
#define OP_RDTSCP	33
#define OP_INVD		34
#define OP_RDPMC	35
#define OP_MONITOR	36
#define OP_MWAIT	37
#define OP_XSETBV	38
#define OP_WRDR7	39
#define OP_RDDR7	40
#define OP_UD2		41
#define OP_INVLPGA	42
#define OP_RDGPRS	43
#define OP_USER		44
#define OP_SETFPU	45
#define OP_GETFPU	46
#define OP_PVLOOP	47
#define OP_CLTS		48
#define OP_LMSW		49
#define OP_INS		50
#define OP_OUTS		51
#define OP_VMSAVE	52
#define OP_MAX		53

#define G_STACKS	0x6000		/* one page for all stacks */
#define G_RSP0		(G_STACKS + 0xf00)
#define G_USTACK	(G_STACKS + 0xd00)

#endif
