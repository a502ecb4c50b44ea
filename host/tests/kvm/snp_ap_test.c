// SPDX-License-Identifier: GPL-2.0-only
/*
 * The GHCB page, and vCPUs that a guest starts itself.
 *
 * Fails if #VC or the GHCB page protocol loses a request or its answer (CPUID, port I/O, MSRs, page
 * state changes of several pages); if RMPADJUST grants a permission that its caller lacks, or makes
 * no VMSA; if VMRUN loads other registers than the guest wrote into the VMSA, runs a page that is no
 * VMSA, or keeps a VMSA in use that no vCPU runs any more.
 *
 * vCPU 0 takes the steps below in order and ends at the first that fails. It creates vCPU 1, destroys
 * it and creates it again, as an operating system does to take a CPU offline and online.
 */
#include "snp_guest.h"

#define CPUID_LEAF	0x8000001f
#define TEST_PORT	0x5a
#define PSC_PAGES	3
#define FEATURES	(GHCB_HV_FT_SNP | GHCB_HV_FT_SNP_AP_CREATION)

static const char * const steps[] = {
	"the hypervisor has SNP and AP creation",
	"a GHCB is registered",
	"#VC for CPUID, answered by the GHCB MSR protocol",
	"CPUID by the GHCB page",
	"#VC for port I/O; OUT and IN by the GHCB page",
	"an MSR by the GHCB page",
	"page state changes by the GHCB page",
	"RMPADJUST makes a VMSA",
	"AP creation: the vCPU runs with the VMSA's registers",
	"AP destruction: the vCPU stops",
	"a VMSA that no vCPU runs is taken back",
	"AP creation again, with another VMSA",
	"RMPADJUST refuses what it must",
};

#define NR_STEPS	((int)ARRAY_SIZE(steps))

/* A shared page for each vCPU. */
struct ap_area {
	struct snp_report report;
	u64 done;			/* vCPU 0: number of steps done */
	u32 cpuid[4];			/* vCPU 0: CPUID's answer */
	u64 out_value, in_value;	/* host: values received and sent on TEST_PORT */
	u64 runs;			/* vCPU 1: how often it was created */
	u64 beats;			/* vCPU 1: counts up while it runs */
	u64 stop;			/* vCPU 0 tells vCPU 1 to end */
};

/* Addresses for the guest. The host writes them before the launch, so they are measured. */
static struct {
	struct ap_area *area[2];
	u8 *ghcb;
	u64 ghcb_gpa;
	u8 *vmsa[2];
	u64 vmsa_gpa[2];
	u64 stack;
	u8 *private[PSC_PAGES], *shared[PSC_PAGES];
	u64 gpa[PSC_PAGES];
	u64 tsc_per_second;
} guest;

/* How many #VCs of each kind vCPU 0's handler has seen; in its private memory. */
static u64 nr_vc_cpuid, nr_vc_ioio;

#define GET(page, offset)	(*(volatile u64 *)((page) + (offset)))

/* --- In the guest ------------------------------------------------------------------------------ */

static u64 ghcb_answer(int field)
{
	snp_expect("GHCB field is valid after the exit",
		   ghcb_page_is_valid(guest.ghcb, field), 1);
	return ghcb_page_get(guest.ghcb, field);
}

/* Makes the request that is in the GHCB page, which must succeed. */
static void ghcb_exit(void)
{
	snp_expect("GHCB exit's result (low half of SW_EXITINFO1)",
		   (u32)ghcb_page_call(guest.ghcb, guest.ghcb_gpa), 0);
}

static void handle_vc(struct ex_regs *regs)
{
	u64 r[4], i;

	switch (regs->error_code) {
	case SVM_EXIT_CPUID:
		nr_vc_cpuid++;
		for (i = 0; i < 4; i++) {
			r[i] = ghcb_msr_call((u64)(u32)regs->rax << 32 | i << 30 |
					       GHCB_MSR_CPUID_REQ);
			snp_expect("CPUID by the GHCB MSR", GHCB_MSR_INFO(r[i]),
				   GHCB_MSR_CPUID_RESP);
		}
		regs->rax = r[0] >> 32;
		regs->rbx = r[1] >> 32;
		regs->rcx = r[2] >> 32;
		regs->rdx = r[3] >> 32;
		regs->rip += 2;
		break;
	case SVM_EXIT_IOIO:
		/* Skip the instruction: OUT with an immediate port has two bytes. */
		nr_vc_ioio++;
		regs->rip += 2;
		break;
	default:
		snp_fail("unexpected #VC, error code", regs->error_code, 0);
	}
}

static void begin(int step)
{
	struct ap_area *area = guest.area[0];

	area->done = step;
	area->report.round = step;
	WRITE_ONCE(area->report.step, steps[step]);
}

static void wait_until(const char *what, volatile u64 *value, u64 least)
{
	u64 end = rdtsc() + 10 * guest.tsc_per_second;

	while (*value < least) {
		cpu_relax();
		if (rdtsc() > end)
			snp_fail(what, *value, least);
	}
}

static void pause_for(u64 milliseconds)
{
	u64 end = rdtsc() + milliseconds * guest.tsc_per_second / 1000;

	while (rdtsc() < end)
		cpu_relax();
}

static void test_cpuid(void)
{
	u32 *found = guest.area[0]->cpuid;
	u32 eax = CPUID_LEAF, ebx, ecx = 0, edx;

	begin(2);
	asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	snp_expect("#VCs for CPUID", nr_vc_cpuid, 1);
	found[0] = eax;
	found[1] = ebx;
	found[2] = ecx;
	found[3] = edx;

	begin(3);
	ghcb_page_request(guest.ghcb, SVM_EXIT_CPUID, 0, 0);
	ghcb_page_set(guest.ghcb, GHCB_RAX, CPUID_LEAF);
	ghcb_page_set(guest.ghcb, GHCB_RCX, 0);
	ghcb_exit();
	snp_expect("CPUID's EAX by the page", (u32)ghcb_answer(GHCB_RAX), eax);
	snp_expect("CPUID's EBX by the page", (u32)ghcb_answer(GHCB_RBX), ebx);
	snp_expect("CPUID's ECX by the page", (u32)ghcb_answer(GHCB_RCX), ecx);
	snp_expect("CPUID's EDX by the page", (u32)ghcb_answer(GHCB_RDX), edx);
}

static void test_io(void)
{
	const u64 byte = GHCB_IOIO_PORT(TEST_PORT) | GHCB_IOIO_BYTES(1);

	begin(4);
	asm volatile("outb %%al, $0x80" :: "a"(0));
	snp_expect("#VCs for port I/O", nr_vc_ioio, 1);
	ghcb_page_request(guest.ghcb, SVM_EXIT_IOIO, byte, 0);
	ghcb_page_set(guest.ghcb, GHCB_RAX, 0xa7);
	ghcb_exit();
	ghcb_page_request(guest.ghcb, SVM_EXIT_IOIO, byte | GHCB_IOIO_IN, 0);
	ghcb_page_set(guest.ghcb, GHCB_RAX, 0);
	ghcb_exit();
	snp_expect("IN by the page", (u8)ghcb_answer(GHCB_RAX), 0x3c);
}

static void test_msr(void)
{
	begin(5);
	ghcb_page_request(guest.ghcb, SVM_EXIT_MSR, 0, 0);
	ghcb_page_set(guest.ghcb, GHCB_RCX, MSR_IA32_APICBASE);
	ghcb_exit();
	snp_expect("APIC_BASE by the page, without its flags", (u32)ghcb_answer(GHCB_RAX) & ~0xfff,
		   0xfee00000);
	snp_expect("APIC_BASE's BSP flag", !!(ghcb_answer(GHCB_RAX) & MSR_IA32_APICBASE_BSP), 1);
}

static void change_pages(u64 operation)
{
	u64 *list = (u64 *)(guest.ghcb + GHCB_SHARED_BUFFER);
	int i;

	ghcb_page_request(guest.ghcb, SVM_VMGEXIT_PSC, 0, 0);
	/* Header: current entry 15:0, last entry 31:16. */
	WRITE_ONCE(list[0], (u64)(PSC_PAGES - 1) << 16);
	for (i = 0; i < PSC_PAGES; i++)
		WRITE_ONCE(list[1 + i], GHCB_PSC_ENTRY(guest.gpa[i] >> PAGE_SHIFT, operation));
	ghcb_page_set(guest.ghcb, GHCB_SW_SCRATCH, guest.ghcb_gpa + GHCB_SHARED_BUFFER);
	ghcb_exit();
	snp_expect("error of the page state change",
		   ghcb_page_get(guest.ghcb, GHCB_SW_EXITINFO2), 0);
	snp_expect("next entry of the page state change", (u16)READ_ONCE(list[0]), PSC_PAGES);
}

static void test_psc(void)
{
	int i;

	begin(6);
	for (i = 0; i < PSC_PAGES; i++)
		snp_expect("PVALIDATE that rescinds",
			   snp_pvalidate((u64)guest.private[i], false), 0);
	change_pages(SNP_PAGE_STATE_SHARED);
	for (i = 0; i < PSC_PAGES; i++)
		GET(guest.shared[i], 0x10) = 0x1234 + i;
	for (i = 0; i < PSC_PAGES; i++)
		snp_expect("shared page", GET(guest.shared[i], 0x10), 0x1234 + i);
	change_pages(SNP_PAGE_STATE_PRIVATE);
	for (i = 0; i < PSC_PAGES; i++) {
		snp_expect("PVALIDATE", snp_pvalidate((u64)guest.private[i], true), 0);
		GET(guest.private[i], 0x20) = 0x5678 + i;
	}
	for (i = 0; i < PSC_PAGES; i++)
		snp_expect("private page", GET(guest.private[i], 0x20), 0x5678 + i);
}

static void test_rmpadjust(void)
{
	u64 page = (u64)guest.private[0];

	begin(12);
	snp_expect("RMPADJUST for VMPL 0, the caller's own",
		   snp_rmpadjust(page, SNP_RMPADJUST_READ), SNP_RMPADJUST_FAIL_PERMISSION);
	snp_expect("RMPADJUST for VMPL 4, which does not exist",
		   snp_rmpadjust(page, SNP_RMPADJUST_READ | 4), SNP_RMPADJUST_FAIL_INPUT);
	snp_expect("RMPADJUST for VMPL 1", snp_rmpadjust(page, SNP_RMPADJUST_READ | 1), 0);
}

#define AP_VALUE(run, n)	(0x1111000000000000ull * (run) + 0x0101010101010101ull * (n))
#define AP_FS_BASE(run)		(0x7000 + 0x1000 * (run))

/* Entry of vCPU 1: stores all registers before compiled code uses them. */
extern char ap_entry[];
/* Not static: else the compiler sees that no C code writes the array, and takes it for zeros. */
extern u64 ap_registers[18];
u64 ap_registers[18];
asm(".pushsection .text\n"
	"ap_entry:\n"
	"	mov %rax, ap_registers\n	mov %rcx, ap_registers+8\n"
	"	mov %rdx, ap_registers+16\n	mov %rbx, ap_registers+24\n"
	"	mov %rsp, ap_registers+32\n	mov %rbp, ap_registers+40\n"
	"	mov %rsi, ap_registers+48\n	mov %rdi, ap_registers+56\n"
	"	mov %r8, ap_registers+64\n	mov %r9, ap_registers+72\n"
	"	mov %r10, ap_registers+80\n	mov %r11, ap_registers+88\n"
	"	mov %r12, ap_registers+96\n	mov %r13, ap_registers+104\n"
	"	mov %r14, ap_registers+112\n	mov %r15, ap_registers+120\n"
	"	pushfq\n	popq ap_registers+128\n"
	"	stmxcsr ap_registers+136\n"
	"	cld\n"
	"	call ap_code\n"
	"	ud2\n"
	".popsection\n");

static const int vmsa_gpr[16] = {
	VMSA_RAX, VMSA_RCX, VMSA_RDX, VMSA_RBX, VMSA_RSP, VMSA_RBP, VMSA_RSI, VMSA_RDI,
	VMSA_R8, VMSA_R8 + 8, VMSA_R8 + 16, VMSA_R8 + 24,
	VMSA_R8 + 32, VMSA_R8 + 40, VMSA_R8 + 48, VMSA_R8 + 56,
};

static void build_vmsa(u8 *vmsa, u64 run)
{
	int i;

	snp_vmsa_init(vmsa, (u64)ap_entry, guest.stack);
	snp_vmsa_set_segment(vmsa, VMSA_FS, 0, 0xc93, ~0u, AP_FS_BASE(run));
	snp_vmsa_set_segment(vmsa, VMSA_GS, 0, 0xc93, ~0u, (u64)guest.area[1]);
	snp_vmsa_set(vmsa, VMSA_RFLAGS, X86_EFLAGS_FIXED | X86_EFLAGS_CF | X86_EFLAGS_DF);
	for (i = 0; i < ARRAY_SIZE(vmsa_gpr); i++)
		snp_vmsa_set(vmsa, vmsa_gpr[i], AP_VALUE(run, i));
	snp_vmsa_set(vmsa, VMSA_RSP, guest.stack);
	snp_vmsa_set(vmsa, VMSA_KERNEL_GS_BASE, 0xfeed000 + run);
	/* A different rounding in each run. */
	snp_vmsa_set(vmsa, VMSA_MXCSR, 0x1f80 | (run << 13));
}

/* Called by ap_entry only. */
void ap_code(void);
void ap_code(void)
{
	struct ap_area *area = guest.area[1];
	u64 i, run = area->runs + 1;

	WRITE_ONCE(area->report.step, "registers of a VMSA that the guest built");
	area->report.round = run;
	for (i = 0; i < ARRAY_SIZE(vmsa_gpr); i++)
		if (i != 4)
			snp_expect("a general register, of the new vCPU",
				   ap_registers[i], AP_VALUE(run, i));
	snp_expect("RSP of the new vCPU", ap_registers[4], guest.stack);
	snp_expect("RFLAGS of the new vCPU", ap_registers[16] & 0xfff,
		   X86_EFLAGS_FIXED | X86_EFLAGS_CF | X86_EFLAGS_DF);
	snp_expect("MXCSR of the new vCPU", (u32)ap_registers[17], 0x1f80 | (run << 13));
	snp_expect("FS base of the new vCPU", rdmsr(MSR_FS_BASE), AP_FS_BASE(run));
	snp_expect("KERNEL_GS_BASE of the new vCPU", rdmsr(MSR_KERNEL_GS_BASE), 0xfeed000 + run);
	WRITE_ONCE(area->report.step, "running");
	WRITE_ONCE(area->runs, run);
	while (!READ_ONCE(area->stop))
		WRITE_ONCE(area->beats, area->beats + 1);
	ghcb_terminate(SNP_TERM_PASSED, area->report.id);
}

static void make_vmsa(int n)
{
	build_vmsa(guest.vmsa[n], n + 1);
	/* RMPADJUST grants permissions only to a lower level, so name VMPL 1; the VMSA runs at VMPL 0. */
	snp_expect("RMPADJUST that makes a VMSA",
		   snp_rmpadjust((u64)guest.vmsa[n], SNP_RMPADJUST_VMSA | 1), 0);
}

static void ap_request(u64 request, u64 vmsa_gpa)
{
	ghcb_page_request(guest.ghcb, SVM_VMGEXIT_AP_CREATION, GHCB_AP_REQUEST(request, 1),
			  vmsa_gpa);
	ghcb_page_set(guest.ghcb, GHCB_RAX, SNP_SEV_FEATURES);
	ghcb_exit();
}

static void test_aps(void)
{
	struct ap_area *ap = guest.area[1];
	u64 beats;

	begin(7);
	make_vmsa(0);
	begin(8);
	ap_request(SVM_VMGEXIT_AP_CREATE, guest.vmsa_gpa[0]);
	wait_until("runs of vCPU 1", &ap->runs, 1);
	wait_until("signs of life of vCPU 1", &ap->beats, 1000);

	begin(9);
	ap_request(SVM_VMGEXIT_AP_DESTROY, 0);
	pause_for(200);
	beats = READ_ONCE(ap->beats);
	pause_for(200);
	snp_expect("signs of life of a destroyed vCPU", READ_ONCE(ap->beats), beats);

	begin(10);
	snp_expect("RMPADJUST that takes a VMSA back", snp_rmpadjust((u64)guest.vmsa[0], 1), 0);
	memset(guest.vmsa[0], 0, PAGE_SIZE);

	begin(11);
	make_vmsa(1);
	ap_request(SVM_VMGEXIT_AP_CREATE, guest.vmsa_gpa[1]);
	wait_until("runs of vCPU 1", &ap->runs, 2);
	wait_until("signs of life of vCPU 1, again", &ap->beats, beats + 1000);
	WRITE_ONCE(ap->stop, 1);
}

static void guest_code(void)
{
	u64 r;

	snp_guest_init(&guest.area[0]->report);
	begin(0);
	r = ghcb_msr_call(GHCB_MSR_HV_FT_REQ);
	snp_expect("answer to the request for features", GHCB_MSR_INFO(r), GHCB_MSR_HV_FT_RESP);
	snp_expect("features SNP and AP creation", r >> 12 & FEATURES, FEATURES);
	begin(1);
	snp_expect("answer to the GHCB's registration",
		   ghcb_msr_call(guest.ghcb_gpa | GHCB_MSR_REG_GPA_REQ),
		   guest.ghcb_gpa | GHCB_MSR_REG_GPA_RESP);
	test_cpuid();
	test_io();
	test_msr();
	test_psc();
	test_aps();
	test_rmpadjust();
	guest.area[0]->done = NR_STEPS;
	ghcb_terminate(SNP_TERM_PASSED, 0);
}

/* --- On the host ------------------------------------------------------------------------------- */

static bool ap_exit(struct snp_vcpu *v)
{
	struct ap_area *area = (struct ap_area *)v->report;
	struct kvm_run *run = v->vcpu->run;
	u8 *data = (u8 *)run + run->io.data_offset;

	if (run->exit_reason != KVM_EXIT_IO || run->io.port != TEST_PORT || run->io.size != 1)
		return snp_default_exit(v);
	if (run->io.direction == KVM_EXIT_IO_OUT)
		area->out_value = *data;
	else
		*data = area->in_value;
	return true;
}

static u64 check_cpuid(struct snp_vcpu *v)
{
	const struct kvm_cpuid_entry2 *e = vcpu_get_cpuid_entry(v->vcpu, CPUID_LEAF);
	u32 *found = ((struct ap_area *)v->report)->cpuid;

	if (found[0] == e->eax && found[1] == e->ebx && found[2] == e->ecx && found[3] == e->edx)
		return true;
	ksft_print_msg("CPUID 0x%x: expected %x %x %x %x, found %x %x %x %x\n", CPUID_LEAF,
		       e->eax, e->ebx, e->ecx, e->edx, found[0], found[1], found[2], found[3]);
	return false;
}

int main(int argc, char *argv[])
{
	struct kvm_mp_state halted = { .mp_state = KVM_MP_STATE_HALTED };
	struct snp_vcpu v[2] = {};
	struct kvm_vcpu *vcpus[2];
	struct ap_area *area[2];
	struct kvm_vm *vm;
	gva_t gva;
	int i;

	snp_require_vms();
	ksft_print_header();
	ksft_set_plan(NR_STEPS + 3);
	snp_limit(60, "creating and launching the VM");
	vm = snp_create_vm(KVM_X86_SNP_VM, 2, guest_code, vcpus, handle_vc);
	for (i = 0; i < 2; i++) {
		v[i].vcpu = vcpus[i];
		v[i].on_exit = ap_exit;
		v[i].report = snp_alloc_report(vm, i, &gva);
		area[i] = (struct ap_area *)v[i].report;
		guest.area[i] = (struct ap_area *)gva;
		guest.vmsa[i] = (u8 *)vm_alloc(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR);
		guest.vmsa_gpa[i] = sev_gva2gpa(vm, (u64)guest.vmsa[i]);
	}
	guest.ghcb = (u8 *)vm_alloc_shared(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR, MEM_REGION_TEST_DATA);
	guest.ghcb_gpa = sev_gva2gpa(vm, (u64)guest.ghcb);
	/* 16-byte aligned before the stub's call, as the ABI wants. */
	guest.stack = vm_alloc(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR) + PAGE_SIZE;
	for (i = 0; i < PSC_PAGES; i++) {
		gva = vm_alloc(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR);
		guest.private[i] = (u8 *)gva;
		guest.shared[i] = (u8 *)snp_map_shared_alias(vm, gva);
		guest.gpa[i] = sev_gva2gpa(vm, gva);
	}
	guest.tsc_per_second = guest_tsc_khz * 1000;
	sync_global_to_guest(vm, guest);
	area[0]->in_value = 0x3c;
	/* vCPU 1 must not run the VMSA that KVM makes, but wait for vCPU 0's. */
	vcpu_mp_state_set(vcpus[1], &halted);
	vm_sev_launch(vm, snp_default_policy(), NULL);

	snp_limit(120, "running the vCPUs");
	snp_start(&v[1]);
	snp_start(&v[0]);
	/* If vCPU 0 fails, it never stops vCPU 1: don't wait long for that one then. */
	snp_wait_all(v, 1, 60);
	snp_wait_all(v + 1, 1, v[0].failed ? 1 : 10);

	for (i = 0; i < 2; i++)
		if (v[i].failed)
			ksft_print_msg("vCPU %d: %s\n", i, v[i].why);
	for (i = 0; i < NR_STEPS; i++)
		ksft_test_result(area[0]->done > i, "%s\n", steps[i]);
	ksft_test_result(check_cpuid(&v[0]), "CPUID is the vCPU's own\n");
	ksft_test_result(area[0]->out_value == 0xa7, "OUT reaches user space\n");
	ksft_test_result(!v[0].failed && !v[1].failed, "both vCPUs ended as they meant to\n");
	if (v[0].ended && v[1].ended)
		kvm_vm_free(vm);
	ksft_finished();
}
