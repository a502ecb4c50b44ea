// SPDX-License-Identifier: GPL-2.0-or-later
/* CPUID, MSRs and the firmware's status, before SNP and while it is enabled. */
#include "lib.h"

static u64 garbage_page;

void t_platform(void)
{
	struct rmp_state st = { 0 };
	static u64 buf[512] __aligned(4096);
	struct cpuid c;
	struct fault f;
	u64 v;

	section("platform");
	is(ncpus, MAX_CPUS, "INIT-SIPI starts all CPUs (APM 2, 14.1)");
	c = cpuid(1, 0);
	is(c.c >> 31, 0, "CPUID 1: no hypervisor bit: a host's view");
	c = cpuid(0x80000000, 0);
	ok(c.a >= 0x8000001f, "CPUID 80000000: leaf 8000001F exists");
	c = cpuid(0x8000000a, 0);
	ok((c.d & 0xcb) == 0xcb,
	   "CPUID 8000000A EDX: NP, LBRV, NRIPS, FlushByAsid, DecodeAssists (found %#x)",
	   c.d);
	c = cpuid(0x8000001f, 0);
	ok((c.a & 0x3b) == 0x3b,
	   "CPUID 8000001F EAX: SME, SEV, SEV-ES, SEV-SNP, VMPL (found %#x)",
	   c.a);
	v = c.b & 0x3f;
	cbit = BIT(v);
	ok(v >= 40 && v < 52,
	   "CPUID 8000001F EBX[5:0]: C-bit position inside a PTE's address (found %lu)",
	   v);
	ok((c.b >> 6 & 0x3f) >= 1,
	   "CPUID 8000001F EBX[11:6]: address bits are lost to the key");
	is(c.b >> 12 & 0xf, 4, "CPUID 8000001F EBX[15:12]: four VMPLs");
	ok(c.d > 1 && c.d <= c.c + 1,
	   "CPUID 8000001F ECX, EDX: ES/SNP ASIDs below plain SEV's (%u, %u)",
	   c.c, c.d);

	v = rdmsr(MSR_SYSCFG);
	ok(v & SYSCFG_MEMENC,
	   "SYSCFG: MemEncryptionModEn set by firmware (APM 2, 15.34.3)");
	ok(!(v & SYSCFG_SNP_EN), "SYSCFG: SNP_EN clear at reset (15.36.2)");
	ok(rdmsr(MSR_HWCR) & 1, "HWCR: SmmLock set, INIT needs it");
	f = try(t_wrmsr, MSR_HWCR, rdmsr(MSR_HWCR) & ~1ull, 0);
	ok(rdmsr(MSR_HWCR) & 1, "HWCR: SmmLock cannot be cleared");
	is(rdmsr(MSR_SEV_STATUS), 0,
	   "SEV_STATUS: zero outside a guest (15.34.10)");
	is_fault(try(t_wrmsr, MSR_SEV_STATUS, 7, 0), VEC_GP, 0, 0,
		 "SEV_STATUS: read only");
	rmp_base = rdmsr(MSR_RMP_BASE);
	rmp_end = rdmsr(MSR_RMP_END);
	ok(rmp_base && !(rmp_base & 0x1fff) && !((rmp_end + 1) & 0x1fff) &&
	   rmp_end > rmp_base,
	   "RMP_BASE, RMP_END: 8 KB aligned, inclusive end (15.36.3): %#lx, %#lx",
	   rmp_base, rmp_end);
	ok(rmp_end + 1 - rmp_base >= 0x4000 + (RAM_END >> 12) * 16,
	   "the RMP has an entry for every page of memory");
	/* a BIOS may have locked it: #GP is right too, but not an ignored write */
	f = try(t_wrmsr, MSR_RMP_END, rmp_end - 0x2000, 0);
	v = rdmsr(MSR_RMP_END);
	ok((f.vec == NO_FAULT && v == rmp_end - 0x2000) ||
	   (f.vec == VEC_GP && v == rmp_end),
	   "RMP_END before SNP: a write takes, or #GP as it is locked (15.36.4)");
	wrmsr(MSR_RMP_END, rmp_end);

	is_fault(try(t_rmpupdate, POOL4K, (u64)&st, 0), VEC_UD, 0, 0,
		 "RMPUPDATE: #UD while SNP_EN is clear (APM 3)");
	is_fault(try(t_psmash, POOL4K, 0, 0), VEC_UD, 0, 0,
		 "PSMASH: #UD while SNP_EN is clear (APM 3)");

	section("firmware before INIT");
	v = psp_find();
	ok(v != 0, "PCI 1022:14ca is there, BAR 2 at %#lx", v);
	is(fw_gctx_create(buf), ST_PLATFORM_STATE,
	   "GCTX_CREATE before INIT (SNP ABI)");
	is(fw_launch_start(buf, POLICY), ST_PLATFORM_STATE,
	   "LAUNCH_START before INIT (SNP ABI)");
	is(fw_activate(buf, 1), ST_PLATFORM_STATE,
	   "ACTIVATE before INIT (SNP ABI)");
	is(fw_launch_update(buf, POOL4K, TYPE_NORMAL, false, 0),
	   ST_PLATFORM_STATE,
	   "LAUNCH_UPDATE before INIT (SNP ABI 8.17)");
	is(fw_launch_finish(buf), ST_PLATFORM_STATE,
	   "LAUNCH_FINISH before INIT (SNP ABI)");
	is(fw_addr(CMD_SNP_DECOMMISSION, buf), ST_PLATFORM_STATE,
	   "DECOMMISSION before INIT (SNP ABI)");
	is(psp(0x7fe, buf), ST_COMMAND, "an unknown command");
	is(snp_init(), ST_CONFIG,
	   "SNP_INIT_EX while SNP_EN is clear (SNP ABI)");

	/* an old entry, which INIT_RMP must clear */
	garbage_page = (u64)page_alloc();
	put64((void *)(rmp_base + 0x4000 + (garbage_page >> 12) * 16), 0,
	      RMP_VALIDATED | RMP_ASID(77) | 0x123000);
}

static void enable_mfdm(void *unused)
{
	(void)unused;
	wrmsr(MSR_SYSCFG, rdmsr(MSR_SYSCFG) | SYSCFG_MFDM);
}

static void enable_snp(void *unused)
{
	(void)unused;
	wrmsr(MSR_SYSCFG, rdmsr(MSR_SYSCFG) | SYSCFG_SNP_EN | SYSCFG_VMPL_EN);
}

static void set_hsave(void *v)
{
	wrmsr(MSR_HSAVE, (u64)v);
}

void snp_enable(void)
{
	u32 rc;

	cbit = BIT(cpuid(0x8000001f, 0).b & 0x3f);
	rmp_base = rdmsr(MSR_RMP_BASE);
	rmp_end = rdmsr(MSR_RMP_END);
	psp_find();
	on_all(enable_mfdm, NULL);
	on_all(enable_snp, NULL);
	rc = snp_init();
	if (rc)
		bail("SNP_INIT_EX: status %#x", rc);
	flush_asids(CMD_SNP_DF_FLUSH);
	on_all(svm_cpu_init, NULL);
}

void t_enable(void)
{
	static u64 buf[512] __aligned(4096);
	struct fault f;
	u64 *st, v, n, i;

	section("enabling");
	on_all(enable_mfdm, NULL);
	enable_snp(NULL);
	ok(rdmsr(MSR_SYSCFG) & SYSCFG_SNP_EN, "SYSCFG: SNP_EN can be set");
	is(snp_init(), ST_CONFIG,
	   "SNP_INIT_EX with SNP_EN on one CPU only (SNP ABI)");
	on_all(enable_snp, NULL);
	on_cpu(1, set_hsave, cpus[1].hsave);
	is(snp_init(), ST_CONFIG,
	   "SNP_INIT_EX with VM_HSAVE_PA set on a CPU (SNP ABI)");
	on_cpu(1, set_hsave, 0);

	v = rdmsr(MSR_SYSCFG);
	try(t_wrmsr, MSR_SYSCFG, v & ~SYSCFG_SNP_EN, 0);
	ok(rdmsr(MSR_SYSCFG) & SYSCFG_SNP_EN,
	   "SYSCFG: SNP_EN stays set until reset (APM 2, 15.36.2)");
	try(t_wrmsr, MSR_SYSCFG, v & ~SYSCFG_MEMENC, 0);
	ok(rdmsr(MSR_SYSCFG) & SYSCFG_MEMENC,
	   "SYSCFG: MemEncryptionModEn stays set while SNP is on");
	f = try(t_wrmsr, MSR_RMP_BASE, rmp_base + 0x2000, 0);
	is_fault(f, VEC_GP, 0, 0,
		 "RMP_BASE: write #GP once SNP is on (15.36.4)");
	f = try(t_wrmsr, MSR_RMP_END, rmp_end - 0x2000, 0);
	is_fault(f, VEC_GP, 0, 0, "RMP_END: write #GP once SNP is on");
	is(rdmsr(MSR_RMP_BASE), rmp_base, "RMP_BASE keeps its value");
	t_rmp_by_hand();

	is(snp_init(), ST_OK, "SNP_INIT_EX (SNP ABI)");
	is(snp_init(), ST_PLATFORM_STATE, "SNP_INIT_EX again");
	is(rmp(garbage_page), 0, "INIT_RMP clears the RMP");
	page_free((void *)garbage_page);
	is(rmp(0x1000), RMP_IMMUTABLE,
	   "an HV-fixed page of the list: immutable, not assigned (SNP ABI)");
	for (n = 0, i = rmp_base; i < rmp_end; i += PAGE)
		n += rmp(i) != (RMP_ASSIGNED | RMP_IMMUTABLE);
	is(n, 0,
	   "every page of the RMP is a firmware page after INIT (SNP ABI)");

	st = page_alloc();
	memset(buf, 0, sizeof(buf));
	buf[0] = (u64)st;
	is(psp(CMD_SNP_PLATFORM_STATUS, buf), ST_PAGE_STATE,
	   "PLATFORM_STATUS into a hypervisor page (SNP ABI)");
	is(rmp_firmware((u64)st), 0,
	   "RMPUPDATE: a hypervisor page becomes a firmware page");
	is(psp(CMD_SNP_PLATFORM_STATUS, buf), ST_OK,
	   "PLATFORM_STATUS into a firmware page");
	is(st[0] >> 16 & 0xff, 1, "PLATFORM_STATUS: state INIT");
	/* needless if the firmware left the page in state Reclaim */
	fw_reclaim((u64)st, false);
	rmp_shared((u64)st, false);
	rmp_firmware((u64)st);
	is(fw_reclaim((u64)st, false), ST_OK,
	   "PAGE_RECLAIM of a firmware page (SNP ABI)");
	is(rmp((u64)st), RMP_ASSIGNED,
	   "PAGE_RECLAIM: state Reclaim: assigned, asid 0, not immutable");
	is(fw_reclaim((u64)st, false), ST_OK,
	   "PAGE_RECLAIM of a page that is not immutable: nothing to do");
	is(rmp_shared((u64)st, false), 0,
	   "RMPUPDATE: a reclaimed page becomes the hypervisor's");
	is(rmp((u64)st), 0, "its entry is clear");
	page_free(st);

	/* the first launch needs a DF_FLUSH too */
	flush_asids(CMD_SNP_DF_FLUSH);
	on_all(svm_cpu_init, NULL);
}

/* A machine or CPU without SNP: nothing is advertised, and nothing works. */
void t_off(void)
{
	static struct rmp_state st = { 0 };
	struct vm *vm;

	section("without SNP");
	is(ncpus, MAX_CPUS, "INIT-SIPI starts all CPUs");
	ok(cpuid(0x80000000, 0).a < 0x8000001f ||
	   !(cpuid(0x8000001f, 0).a & 0x3a),
	   "CPUID 8000001F: no SEV, SEV-ES, SEV-SNP, VMPL");
	try(t_wrmsr, MSR_SYSCFG, SYSCFG_MFDM | SYSCFG_SNP_EN, 0);
	ok(!(rdmsr(MSR_SYSCFG) & SYSCFG_SNP_EN), "SYSCFG: SNP_EN stays clear");
	is_fault(try(t_rmpupdate, POOL4K, (u64)&st, 0), VEC_UD, 0, 0,
		 "RMPUPDATE: #UD");
	is_fault(try(t_psmash, POOL4K, 0, 0), VEC_UD, 0, 0, "PSMASH: #UD");
	is_fault(try(t_pvalidate, POOL4K, 0, 1), VEC_UD, 0, 0,
		 "PVALIDATE: #UD");
	is_fault(try(t_rmpadjust, POOL4K, 0, 1), VEC_UD, 0, 0,
		 "RMPADJUST: #UD");
	is_fault(try(t_rmpquery, POOL4K, 0, 1), VEC_UD, 0, 0, "RMPQUERY: #UD");
	is_fault(try(t_rmpread, POOL4K, POOL4K, 0), VEC_UD, 0, 0,
		 "RMPREAD: #UD");
	is_fault(try(t_vmgexit, 0, 0, 0), VEC_UD, 0, 0,
		 "VMGEXIT: #UD on the host, as VMMCALL");
	on_all(svm_cpu_init, NULL);
	vm = vm_new_plain(2);
	vm_memory(vm);
	is(vcpu_run(vm_vcpu(vm, 0)), EXIT_VMGEXIT, "a plain VM runs");
	vcpu_do(&vm->vcpu[0], OP_PVALIDATE, G_CODE, 0, 1);
	is(get64(vm->vcpu[0].sh, SH_VEC), VEC_UD, "PVALIDATE in it: #UD");
	vcpu_do(&vm->vcpu[0], OP_REGS, 0x77, 1, 0);
	while (get64(vm->vcpu[0].sh, SH_R0) == 0xdead)
		vcpu_run(&vm->vcpu[0]);
	is(get64(vm->vcpu[0].sh, SH_R1), 0, "its registers are kept");
	for (u64 bits = 2; bits <= 6; bits += 2) {
		put64(vm->vcpu[0].vmcb, VMCB_MISC, 1 | bits);
		is(vcpu_do(&vm->vcpu[0], OP_NOP, 0, 0, 0), EXIT_VMGEXIT,
		   "VMCB 90h: SEV bits %#lx are ignored, it runs (15.34.3)",
		   bits);
	}
}
