// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a plain nested guest gains from each repair of host/series that does
 * without the platform: a group of cases for each patch, named after it. They
 * need SVM and nothing of SEV, so any QEMU can run them. Some make a QEMU
 * without the patch lose the machine, so they are groups of their own, or last.
 */
#include "lib.h"

#define EXIT_CR_READ(n)		(0x00u + (n))
#define EXIT_DR_READ(n)		(0x20u + (n))
#define EXIT_DR_WRITE(n)	(0x30u + (n))
#define EXIT_EXCP(n)		(0x40u + (n))
#define EXIT_RDTSC		0x6e
#define EXIT_SWINT		0x75
#define EXIT_INVLPG		0x79
#define EXIT_VMLOAD		0x82
#define EXIT_VMSAVE		0x83
#define EXIT_RDTSCP		0x87
#define INJECT(type, vec)	(BIT(31) | (type) << 8 | (vec))
#define INJECT_ERR		BIT(11)
#define INJ_INTR		0u
#define INJ_EXCP		3u
#define VMCB_VIRT_EXT		0x0b8
#define SA_DBGCTL		0x270
#define SVM_LBRV		BIT(1)
#define SVM_NRIPS		BIT(3)
#define SVM_FLUSHBYASID		BIT(6)
#define SVM_ASSISTS		BIT(7)
#define MSR_DEBUGCTL		0x1d9
#define MSR_BR_FROM		0x1db
#define MSR_BR_TO		0x1dc

/* the IOMMU's registers, where QEMU has them */
#define IOMMU			((u8 *)0xfed80000ul)
#define CMD_BASE		0x08
#define EVT_BASE		0x10
#define CONTROL			0x18
#define EXCL_BASE		0x20
#define CMD_TAIL		0x2008
#define EVT_HEAD		0x2010
#define EVT_TAIL		0x2018
#define STATUS			0x2020
#define IOMMU_EN		BIT(0)
#define EVT_EN			BIT(2)
#define CMD_EN			BIT(12)
#define ENTRIES_256		(8ull << 56)
#define EVT_OVERFLOW		BIT(0)
#define EVT_INT			BIT(1)
#define WAIT_INT		BIT(2)
#define CMD_WAIT		1ull
#define CMD_NONE		15ull	/* no command */
#define EVT_ILLEGAL_CMD		5u

static struct vm *vm;
static struct vcpu *v;
static u8 *code;		/* the page at G_TEST, mapped for code of a test */

static u32 asid(void)
{
	/* the platform has ASIDs of SEV guests, which no plain one can have */
	return rmp_base ? 900 : 5;
}

static void start(void)
{
	vm = vm_new_plain(asid());
	vm_memory(vm);
	v = vm_vcpu(vm, 0);
	code = vm_page(vm, G_TEST, NULL, TYPE_NORMAL, PERM_ALL);
	if (vcpu_run(v) != EXIT_VMGEXIT)
		bail("a new plain guest's first exit: %#lx",
		     get64(v->vmcb, VMCB_EXIT));
}

/*
 * A guest without nested paging: it has the host's page tables, so that all
 * its addresses are physical ones. It cannot have an exception.
 */
static void start_without_npt(void)
{
	u8 *s;

	vm = vm_new_plain(asid());
	v = vm_vcpu(vm, 0);
	code = page_alloc();
	vm_keep(vm, code);
	s = v->vmcb + VMCB_SAVE;
	put64(v->vmcb, VMCB_MISC, 0);
	put64(s, SA_CR3, boot_cr3);
	put64(s, SA_RIP, (u64)guest_image);
	put64(s, SA_RSP, (u64)code + PAGE);
	put32(s, SA_IDTR + 4, 0);
	v->r.in[14] = (u64)code + PAGE;
	v->r.in[15] = (u64)v->sh;
	if (vcpu_run(v) != EXIT_VMGEXIT)
		bail("the first exit of a guest without nested paging: %#lx",
		     get64(v->vmcb, VMCB_EXIT));
}

/* The guest calls these bytes with SH_B in RSI; RET ends them. */
static u64 call(u64 at, const u8 *bytes, u32 n, u64 rsi)
{
	memcpy(code, bytes, n);
	return vcpu_do(v, OP_CALL, at, rsi, 0);
}

/* the host's view of the guest's memory */
static void *mem(u64 gpa)
{
	u64 *t = vm->npt;

	for (u32 s = 39; s > 12; s -= 9)
		t = (u64 *)(t[gpa >> s & 511] & 0x000ffffffffff000ull);
	return (u8 *)(t[gpa >> 12 & 511] & 0x000ffffffffff000ull) + gpa % PAGE;
}

static u64 inject(u64 event, u32 err)
{
	vcpu_order(v, OP_NOP, 0, 0, 0);
	put32(v->vmcb, VMCB_INJ_ERR, err);
	put32(v->vmcb, VMCB_INJ, event);
	return vcpu_run(v);
}

static u64 intercepted(u32 exit, u32 op, u64 a)
{
	u64 e;

	intercept(v, exit, true);
	e = vcpu_do(v, op, a, 0, 0);
	intercept(v, exit, false);
	return e;
}

static void svm_feature(u32 bit, const char *name)
{
	ok(cpuid(0x8000000a, 0).d & bit, "CPUID 8000000A EDX: %s", name);
}

/* ---- the groups, in the order of host/series ---------------------------- */

static volatile bool stop;

static void load_fpu(void *unused)
{
	static u8 image[MAX_CPUS][512] __aligned(16);
	u8 *i = image[this_cpu()->id];

	(void)unused;
	asm volatile("fxsave (%0)" :: "r"(i) : "memory");
	while (!stop)
		asm volatile("fxrstor (%0)" :: "r"(i) : "memory");
}

static void ignne(void)
{
	u32 i;

	start();
	stop = false;
	for (i = 1; i < ncpus; i++)
		on_cpu_start(i, load_fpu, NULL);
	for (i = 0; i < 20000; i++) {
		if (vcpu_do(v, OP_NOP, 0, 0, 0) != EXIT_VMGEXIT)
			break;
	}
	stop = true;
	for (u32 j = 1; j < ncpus; j++)
		on_cpu_wait(j);
	is(i, 20000, "a guest runs while other CPUs load their FPUs");
}

static void virq(void)
{
	start();
	/* V_IRQ, highest priority, V_INTR_MASKING; vector 40h */
	put64(v->vmcb, VMCB_INT_CTL,
	      BIT(8) | BIT(24) | 0xfull << 16 | 0x40ull << 32);
	is(vcpu_do(v, OP_WRCR8, 1, 0, 0), EXIT_VMGEXIT,
	   "MOV to CR8 while a virtual interrupt is pending (15.21.4)");
	vcpu_do(v, OP_STI, 0, 0, 0);
	is(get64(v->sh, SH_INTVEC), 0x40,
	   "STI: the virtual interrupt is delivered");
}

static void vmrun_fails(void)
{
	start();
	vcpu_refused(v);
	is(vcpu_run(v), EXIT_VMGEXIT, "it runs with the field corrected");
}

static void vc_error_code(void)
{
	start();
	is(inject(INJECT(INJ_EXCP, VEC_VC) | INJECT_ERR, 0x72), EXIT_VMGEXIT,
	   "EVENTINJ of #VC (15.20)");
	is(get64(v->sh, SH_VEC), VEC_VC, "it is delivered");
	is(get64(v->sh, SH_ERR), 0x72, "with its error code");
}

static void error_code_width(void)
{
	start();
	inject(INJECT(INJ_EXCP, VEC_PF) | INJECT_ERR, PF_RMP | PF_W);
	is(get64(v->sh, SH_ERR), PF_RMP | PF_W,
	   "EVENTINJ of #PF with bit 31 (RMP): bits 63:32 are zero");
}

static void int3(void)
{
	static const u8 b[] = { 0xcc, 0xc3 };

	start();
	intercept(v, EXIT_SWINT, true);
	is(call(G_TEST, b, sizeof(b), 0), EXIT_VMGEXIT,
	   "INT3 is no INTn: its intercept does not see it (15.9)");
	is(get64(v->sh, SH_VEC), 3, "it is #BP");
	intercept(v, EXIT_SWINT, false);
	intercept(v, EXIT_EXCP(3), true);
	is(call(G_TEST, b, sizeof(b), 0), EXIT_EXCP(3),
	   "but the intercept of #BP does (15.12.4)");
	is(get64(v->vmcb + VMCB_SAVE, SA_RIP), G_TEST,
	   "rIP: that of the instruction");
}

static void nrips(void)
{
	start();
	svm_feature(SVM_NRIPS, "NRIPS");
	is(intercepted(EXIT_CPUID, OP_CPUID, 0), EXIT_CPUID, "CPUID exits");
	is(get64(v->vmcb, VMCB_NRIP) - get64(v->vmcb + VMCB_SAVE, SA_RIP), 2,
	   "nRIP is the next instruction (15.7.1)");
}

static void read_crn(void)
{
	start();
	is(intercepted(EXIT_CR_READ(4), OP_RDCRS, 0), EXIT_CR_READ(4),
	   "MOV from CR4, intercepted: its exit (15.8.1)");
	vcpu_run(v);
	is(intercepted(EXIT_CR_READ(3), OP_RDCRS, 0), EXIT_CR_READ(3),
	   "MOV from CR3, intercepted: its exit");
}

static void assists(void)
{
	u8 *b;

	start();
	svm_feature(SVM_ASSISTS, "DecodeAssists");
	is(intercepted(EXIT_CR_READ(0), OP_RDCRS, 0), EXIT_CR_READ(0),
	   "MOV from CR0, intercepted: its exit");
	is(get64(v->vmcb, VMCB_INFO1), BIT(63),
	   "EXITINFO1: bit 63, and RAX (15.8.1)");
	vcpu_run(v);
	is(intercepted(EXIT_DR_WRITE(7), OP_WRDR7, 0x400), EXIT_DR_WRITE(7),
	   "MOV to DR7, intercepted: its exit");
	is(get64(v->vmcb, VMCB_INFO1) & 0xf, 7, "EXITINFO1: RDI (15.8.1)");
	vcpu_run(v);
	is(intercepted(EXIT_INVLPG, OP_INVLPG, 0x5123), EXIT_INVLPG,
	   "INVLPG, intercepted: its exit");
	is(get64(v->vmcb, VMCB_INFO1), 0x5123,
	   "EXITINFO1: its address (15.8.3)");
	vcpu_run(v);
	is(vcpu_do(v, OP_READ, G_DATA, 0, 0), EXIT_NPF, "a read: #NPF");
	b = v->vmcb + 0xd0;
	ok(b[0] >= 3 && b[0] <= 15 && b[1] == 0x48 && b[2] == 0x8b && b[3] == 7,
	   "#NPF: the bytes of the instruction (15.8.4)");
}

static void flushbyasid(void)
{
	svm_feature(SVM_FLUSHBYASID, "FlushByAsid");
}

static u64 t_xsavec(u64 area, u64 b, u64 c)
{
	(void)b;
	(void)c;
	/* xsavec (%rdi) */
	asm volatile(".byte 0x0f, 0xc7, 0x27"
		     :: "D"(area), "a"(7), "d"(0) : "memory");
	return 0;
}

static void xsavec(void)
{
	static u8 a[PAGE] __aligned(64);
	u64 got;

	ok(cpuid(0xd, 1).a & BIT(1), "CPUID 0000000D_1 EAX: XSAVEC");
	asm volatile("movq %0, %%xmm0" :: "r"(0x5a5a77ull));
	is_fault(try(t_xsavec, (u64)a, 0, 0), NO_FAULT, 0, 0, "XSAVEC runs");
	is(get64(a, 520), BIT(63) | 7, "XCOMP_BV: compacted, what was asked for");
	asm volatile("pxor %xmm0, %xmm0");
	asm volatile("xrstor (%0)" :: "r"(a), "a"(7), "d"(0) : "memory");
	asm volatile("movq %%xmm0, %0" : "=r"(got));
	is(got, 0x5a5a77, "XRSTOR restores from the compacted form");
}

static void lbr(void)
{
	u64 on;

	start();
	svm_feature(SVM_LBRV, "LBRV");
	wrmsr(MSR_DEBUGCTL, 1);
	on = rdmsr(MSR_DEBUGCTL);
	asm volatile("jmp 1f; nop; 1:");
	wrmsr(MSR_DEBUGCTL, 0);
	is(on & 1, 1, "DebugCtl.LBR can be set");
	ok(rdmsr(MSR_BR_FROM) && rdmsr(MSR_BR_TO) > rdmsr(MSR_BR_FROM),
	   "a branch that is taken is recorded");
	put64(v->vmcb, VMCB_VIRT_EXT, 1);
	put64(v->vmcb + VMCB_SAVE, SA_DBGCTL, 1);
	vcpu_do(v, OP_RDMSR, MSR_DEBUGCTL, 0, 0);
	is(get64(v->sh, SH_R0), 1,
	   "LBR virtualization: the guest has its own DebugCtl (15.23)");
	is(rdmsr(MSR_DEBUGCTL), 0, "and the host its own");
}

static void double_fault(void)
{
	u64 *gate;

	/* #GP in its delivery: gate 13 is not present, which is #NP */
	start();
	gate = mem(G_TABLES + 64 + VEC_GP * 16);
	*gate &= ~BIT(47);
	is(inject(INJECT(INJ_EXCP, VEC_GP) | INJECT_ERR, 0), EXIT_VMGEXIT,
	   "EVENTINJ of #GP whose gate is not present");
	is(get64(v->sh, SH_VEC), 8, "#GP, then #NP: #DF");
	*gate |= BIT(47);

	put32(v->vmcb + VMCB_SAVE, SA_IDTR + 4, 0);
	intercept(v, EXIT_EXCP(8), true);
	is(vcpu_do(v, OP_UD2, 0, 0, 0), EXIT_EXCP(8),
	   "#DF, intercepted: its exit (15.12.9)");
}

static void general_detect(void)
{
	start();
	put64(v->vmcb + VMCB_SAVE, SA_DR7, 0x2400);
	is(intercepted(EXIT_DR_READ(7), OP_RDDR7, 0), EXIT_VMGEXIT,
	   "DR7.GD: MOV from DR7 does not reach its intercept");
	is(get64(v->sh, SH_VEC), VEC_DB, "it is #DB");
}

static void poke(void *arg)
{
	volatile u64 *sh = arg, spins = sh[SH_SPINS / 8];
	static u8 line[128] __aligned(64);

	/* QEMU stops all other CPUs for a locked access that is not aligned */
	for (u32 i = 0; i < 5; i++) {
		while (sh[SH_SPINS / 8] == spins && !sh[SH_GO / 8])
			pause();
		spins = sh[SH_SPINS / 8];
		t_xadd((u64)line + 61, 1, 0);
	}
	sh[SH_GO / 8] = 1;
}

static void injected_once(void)
{
	u64 n, e = EXIT_VMGEXIT;

	start();
	n = get64(v->sh, SH_INTS);
	for (u32 i = 0; i < 50 && e == EXIT_VMGEXIT; i++) {
		vcpu_order(v, OP_SPIN, 0, 0, 0);
		put64(v->sh, SH_GO, 0);
		on_cpu_start(1, poke, v->sh);
		put32(v->vmcb, VMCB_INJ, INJECT(INJ_INTR, 0x40));
		e = vcpu_run(v);
		put64(v->sh, SH_GO, 1);
		on_cpu_wait(1);
	}
	is(e, EXIT_VMGEXIT, "EVENTINJ of an interrupt (15.20)");
	is(get64(v->sh, SH_INTS) - n, 50, "50 are injected, and 50 delivered");
}

static void rdtscp(void)
{
	start();
	is(intercepted(EXIT_RDTSC, OP_RDTSCP, 0), EXIT_VMGEXIT,
	   "the intercept of RDTSC does not see RDTSCP");
	intercept(v, EXIT_RDTSC, false);
	is(intercepted(EXIT_RDTSCP, OP_RDTSCP, 0), EXIT_RDTSCP,
	   "RDTSCP, intercepted: its exit (15.9)");
}

static void exclusion_base(void)
{
	u64 old = get64(IOMMU, EXCL_BASE);

	put64(IOMMU, EXCL_BASE, 0x12345000);
	is(get64(IOMMU, EXCL_BASE), 0x12345000,
	   "the IOMMU's exclusion base reads as written (48882, MMIO 0020h)");
	put64(IOMMU, EXCL_BASE, old);
}

static u64 *cmds, *events;

static void iommu_start(void)
{
	cmds = page_alloc();
	events = page_alloc();
	put64(IOMMU, CMD_BASE, (u64)cmds | ENTRIES_256);
	put64(IOMMU, EVT_BASE, (u64)events | ENTRIES_256);
	put64(IOMMU, CONTROL, IOMMU_EN | EVT_EN | CMD_EN);
}

static void iommu_stop(void)
{
	put64(IOMMU, CONTROL, 0);
	put64(IOMMU, CMD_BASE, 0);
	put64(IOMMU, EVT_BASE, 0);
	put64(IOMMU, STATUS, EVT_OVERFLOW | EVT_INT | WAIT_INT);
	page_free(cmds);
	page_free(events);
}

/* The n-th command, of this code. */
static void command(u32 n, u64 code, u64 low)
{
	cmds[2 * n] = code << 60 | low;
	cmds[2 * n + 1] = 0;
	put64(IOMMU, CMD_TAIL, 16 * (n + 1));
}

static void event_address(void)
{
	iommu_start();
	command(0, CMD_WAIT, 0);
	command(1, CMD_NONE, 0);
	is(events[1], &cmds[2],
	   "an illegal command's event has the command's address (48882, 2.5)");
	iommu_stop();
}

static void status_bits(void)
{
	iommu_start();
	command(0, CMD_WAIT, BIT(1));
	is(get64(IOMMU, STATUS) & WAIT_INT, WAIT_INT,
	   "a completion wait with I sets ComWaitInt (48882, MMIO 2020h)");
	put32(IOMMU, STATUS, EVT_INT);
	is(get64(IOMMU, STATUS) & WAIT_INT, WAIT_INT,
	   "a write of 0 leaves it, in 32 bits");
	put64(IOMMU, STATUS, EVT_INT);
	is(get64(IOMMU, STATUS) & WAIT_INT, WAIT_INT, "in 64 bits");
	put64(IOMMU, STATUS, WAIT_INT);
	is(get64(IOMMU, STATUS) & WAIT_INT, 0, "a write of 1 clears it");
	iommu_stop();
}

static void log_events(void)
{
	iommu_start();
	is(get64(IOMMU, STATUS) & EVT_INT, 0, "no event, no EventLogInt");
	command(0, CMD_NONE, 0);
	is(events[0] >> 60, EVT_ILLEGAL_CMD,
	   "an illegal command is an event of the log (48882, 2.5)");
	is(get64(IOMMU, EVT_TAIL), 16, "the tail is behind it");
	is(get64(IOMMU, STATUS) & (EVT_INT | WAIT_INT), EVT_INT,
	   "EventLogInt is set, and ComWaitInt is not");
	for (u32 i = 1; i < 255; i++)
		command(i, CMD_NONE, 0);
	is(get64(IOMMU, EVT_TAIL), 255 * 16, "255 events: the log is full");
	is(get64(IOMMU, STATUS) & EVT_OVERFLOW, 0, "without overflow");
	put64(IOMMU, EVT_HEAD, 16);
	put64(IOMMU, CMD_TAIL, 0);
	is(get64(IOMMU, EVT_TAIL), 0, "one is read: the next one wraps");
	command(0, CMD_NONE, 0);
	is(get64(IOMMU, STATUS) & EVT_OVERFLOW, EVT_OVERFLOW,
	   "one more: EventOverflow");
	is(get64(IOMMU, EVT_TAIL), 0, "it is not logged");
	put64(IOMMU, EVT_BASE, (u64)events | ENTRIES_256);
	is(get64(IOMMU, EVT_HEAD) | get64(IOMMU, EVT_TAIL), 0,
	   "a write of the log's base clears head and tail");
	iommu_stop();
}

static u64 t_wrcr3(u64 a, u64 b, u64 c)
{
	(void)b;
	(void)c;
	asm volatile("mov %0, %%cr3" :: "r"(a) : "memory");
	return 0;
}

static u64 t_wrcr4(u64 a, u64 b, u64 c)
{
	(void)b;
	(void)c;
	asm volatile("mov %0, %%cr4" :: "r"(a) : "memory");
	return 0;
}

static void reserved_bits(void)
{
	/* mov %rsi, %cr3; ret */
	static const u8 b[] = { 0x0f, 0x22, 0xde, 0xc3 };
	u64 cr4;

	start();
	cr4 = get64(v->vmcb + VMCB_SAVE, SA_CR4);
	is(vcpu_do(v, OP_WRCR4, cr4 | BIT(31), 0, 0), EXIT_VMGEXIT,
	   "MOV to CR4 with a reserved bit in a guest: no #VMEXIT");
	is(get64(v->sh, SH_VEC), VEC_GP, "but #GP (APM 3, MOV CRn)");
	vm_destroy(vm);
	start();
	is(call(G_TEST, b, sizeof(b), G_PML4 | BIT(62)), EXIT_VMGEXIT,
	   "MOV to CR3 with a reserved bit in a guest: no #VMEXIT");
	is(get64(v->sh, SH_VEC), VEC_GP, "but #GP");
}

/*
 * Outside of a guest. A #VMEXIT out of nowhere must not go on behind the VMRUN
 * of an earlier case: the host save area is empty.
 */
static void no_guest(void)
{
	vm = vm_new_plain(asid());
	code = page_alloc();
	vm_keep(vm, code);
	wrmsr(MSR_HSAVE, (u64)code);
}

static void reserved_bits_of_cr3(void)
{
	no_guest();
	is_fault(try(t_wrcr3, boot_cr3 | BIT(62), 0, 0), VEC_GP, 0, 0,
		 "MOV to CR3 with a reserved bit: #GP");
}

static void reserved_bits_of_cr4(void)
{
	u64 cr4;

	no_guest();
	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	is_fault(try(t_wrcr4, cr4 | BIT(31), 0, 0), VEC_GP, 0, 0,
		 "MOV to CR4 with a reserved bit: #GP");
}

static void vmload_vmsave(void)
{
	/* mov %rsi, %rax; vmsave or vmload; ret */
	static const u8 save[] = { 0x48, 0x89, 0xf0, 0x0f, 0x01, 0xdb, 0xc3 };
	static const u8 load[] = { 0x48, 0x89, 0xf0, 0x0f, 0x01, 0xda, 0xc3 };
	u8 *p;

	start_without_npt();
	p = page_alloc();
	vm_keep(vm, p);
	is(call((u64)code, save, sizeof(save), (u64)p), EXIT_VMGEXIT,
	   "VMSAVE in a guest without nested paging, not intercepted: no exit (15.5.2)");
	is(get64(p + VMCB_SAVE, SA_FS + 8), 0xf5000, "it saves the state");
	vm_destroy(vm);
	start_without_npt();
	p = page_alloc();
	vm_keep(vm, p);
	memcpy(p, v->vmcb, PAGE);
	put64(p + VMCB_SAVE, SA_KGS, 0x77000);
	is(call((u64)code, load, sizeof(load), (u64)p), EXIT_VMGEXIT,
	   "VMLOAD there: no exit");
	is(get64(v->vmcb + VMCB_SAVE, SA_KGS), 0x77000, "it loads the state");
	intercept(v, EXIT_VMLOAD, true);
	is(call((u64)code, load, sizeof(load), (u64)p), EXIT_VMLOAD,
	   "VMLOAD there, intercepted: its exit");
}

static void cr3_of_vmrun(void)
{
	static const u8 vmmcall[] = { 0x0f, 0x01, 0xd9 };
	u8 *s;

	start();
	s = v->vmcb + VMCB_SAVE;
	put64(s, SA_CR3, G_PML4 | BIT(60));
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_INVALID,
	   "VMRUN, CR3 with a reserved bit in long mode: VMEXIT_INVALID (15.5.1)");
	vm_destroy(vm);
	/* protected mode without paging: flat 32-bit code */
	start();
	s = v->vmcb + VMCB_SAVE;
	memcpy(code, vmmcall, sizeof(vmmcall));
	put64(s, SA_RIP, G_TEST);
	put16(s, SA_CS + 2, 0xc9b);
	put64(s, SA_EFER, EFER_SVME);
	put64(s, SA_CR0, CR0_PE | CR0_NE | 0x10);
	put64(s, SA_CR4, 0);
	put64(s, SA_CR3, BIT(60));
	is(vcpu_run(v), EXIT_VMGEXIT,
	   "VMRUN, the same bit in a guest without long mode: it runs");
}

static void npt_checks(void)
{
	u8 *s;

	start();
	s = v->vmcb + VMCB_SAVE;
	put64(s, SA_PAT, 0x0007040600070402ull);
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_INVALID,
	   "VMRUN, a reserved type in G_PAT: VMEXIT_INVALID (15.25.4)");
	put64(s, SA_PAT, 0x0007040600070486ull);
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_INVALID,
	   "VMRUN, a reserved bit in G_PAT: VMEXIT_INVALID");
	put64(s, SA_PAT, 0x0007040600070406ull);
	put64(v->vmcb, VMCB_NCR3, (u64)vm->npt | BIT(60));
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_INVALID,
	   "VMRUN, a reserved bit in nCR3: VMEXIT_INVALID");
	put64(v->vmcb, VMCB_NCR3, (u64)vm->npt);
	vm_destroy(vm);
	start_without_npt();
	put64(v->vmcb + VMCB_SAVE, SA_PAT, 2);
	put64(v->vmcb, VMCB_NCR3, BIT(60));
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_VMGEXIT,
	   "without nested paging neither is looked at");
}

static void pat_types(void)
{
	static const u64 bad[] = {
		0x0007040600070402ull, 0x0307040600070406ull,
		0x0007040600080406ull,
	};
	u64 old = rdmsr(MSR_PAT);

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		is_fault(try(t_wrmsr, MSR_PAT, bad[i], 0), VEC_GP, 0, 0,
			 "WRMSR of PAT, %#lx: #GP (7.8.2)", bad[i]);
		is(rdmsr(MSR_PAT), old, "which leaves it as it was");
		wrmsr(MSR_PAT, old);
	}
	is_fault(try(t_wrmsr, MSR_PAT, 0x0001040500070406ull, 0), NO_FAULT, 0,
		 0, "WRMSR of PAT with types that it has: allowed");
	wrmsr(MSR_PAT, old);
}

static void pat(void)
{
	const u64 own = 0x0007040600070406ull, other = 0x0007040600070506ull;
	u64 old = rdmsr(MSR_PAT);
	u8 *s;

	start();
	s = v->vmcb + VMCB_SAVE;
	put64(s, SA_PAT, own);
	wrmsr(MSR_PAT, 0x0606060606060606ull);
	vcpu_do(v, OP_RDMSR, MSR_PAT, 0, 0);
	is(get64(v->sh, SH_R0), own,
	   "with nested paging, the guest's PAT is G_PAT (15.25.4)");
	vcpu_do(v, OP_WRMSR, MSR_PAT, other, 0);
	is(get64(s, SA_PAT), other, "what it writes is in G_PAT after #VMEXIT");
	is(rdmsr(MSR_PAT), 0x0606060606060606ull,
	   "and not in the hypervisor's PAT");
	vm_destroy(vm);
	start_without_npt();
	put64(v->vmcb + VMCB_SAVE, SA_PAT, own);
	vcpu_do(v, OP_RDMSR, MSR_PAT, 0, 0);
	is(get64(v->sh, SH_R0), 0x0606060606060606ull,
	   "without it, the guest has the hypervisor's");
	wrmsr(MSR_PAT, old);
}

static const struct {
	const char *name;
	void (*fn)(void);
} groups[] = {
	{ "target-i386-change-ignne-of-cpu-0-on-its-own-thread-only", ignne },
	{ "target-i386-take-the-bql-to-change-cpu-interrupt-virq", virq },
	{ "target-i386-do-not-save-host-state-as-the-guest-s-when-vmrun",
	  vmrun_fails },
	{ "target-i386-vc-has-an-error-code", vc_error_code },
	{ "target-i386-error-codes-have-32-bits", error_code_width },
	{ "target-i386-int3-and-into-are-not-intercepted-as-intn", int3 },
	{ "target-i386-implement-nrips-next-rip-save", nrips },
	{ "target-i386-fix-the-intercept-of-mov-from-crn", read_crn },
	{ "target-i386-implement-the-svm-decode-assists", assists },
	{ "target-i386-implement-the-tlb-control-values-of-flushbyasid",
	  flushbyasid },
	{ "target-i386-implement-xsavec-and-the-compacted-form-of", xsavec },
	{ "target-i386-debugctl-and-last-branch-msrs-of-amd-lbr", lbr },
	{ "target-i386-df-intercept-and-exceptions-while-one-is",
	  double_fault },
	{ "target-i386-general-detect-comes-before-the-drn-intercepts",
	  general_detect },
	{ "target-i386-an-interrupt-that-vmrun-injects-is-delivered",
	  injected_once },
	{ "target-i386-rdtscp-has-an-intercept-of-its-own", rdtscp },
	{ "hw-i386-amd-iommu-store-writes-to-the-exclusion-base",
	  exclusion_base },
	{ "hw-i386-amd-iommu-no-shift-by-64-for-an-event-s-address",
	  event_address },
	{ "hw-i386-amd-iommu-clear-a-status-bit-where-a-1-is-written",
	  status_bits },
	{ "hw-i386-amd-iommu-log-events", log_events },
	{ "target-i386-gp-for-reserved-bits-of-cr3-and-cr4", reserved_bits },
	{ "target-i386-gp-for-reserved-bits-of-cr3-and-cr4",
	  reserved_bits_of_cr3 },
	{ "target-i386-gp-for-reserved-bits-of-cr3-and-cr4",
	  reserved_bits_of_cr4 },
	{ "target-i386-vmload-and-vmsave-exit-only-if-asked-to",
	  vmload_vmsave },
	{ "target-i386-vmrun-checks-cr3-against-the-guest-s-mode",
	  cr3_of_vmrun },
	{ "target-i386-vmrun-checks-g-pat-and-ncr3", npt_checks },
	{ "target-i386-gp-for-a-memory-type-that-pat-cannot-have", pat_types },
	{ "target-i386-with-nested-paging-a-guest-has-a-pat-of-its-own", pat },
};

void t_svm(u64 first)
{
	for (u64 i = first; i < ARRAY_SIZE(groups); i++) {
		svm_cpu_init(NULL);
		say("# group %lu %s\n", i, groups[i].name);
		section(groups[i].name);
		vm = NULL;
		groups[i].fn();
		if (vm)
			vm_destroy(vm);
	}
	/* the firmware wants it to be zero before SNP */
	wrmsr(MSR_HSAVE, 0);
}
