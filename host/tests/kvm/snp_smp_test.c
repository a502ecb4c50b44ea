// SPDX-License-Identifier: GPL-2.0-only
/*
 * An SNP guest with several vCPUs, all running at the same time.
 *
 * Fails if a vCPU's state is saved or restored in the wrong place (registers differ after an exit, or
 * are another vCPU's), if a translation outlives a change of the RMP (stale private or shared data,
 * no #VC for a page that is not validated), if private memory loses data, or if a vCPU never exits.
 *
 * In each round each vCPU fills private memory with its own numbers and reads them back; sets all
 * registers, exits and compares them; gives a page to the host and takes it back, checking each step
 * against the architecture. It ends with a termination request that has its number. The host computes
 * the sums that each vCPU must have found.
 */
#include <getopt.h>
#include <time.h>

#include "snp_guest.h"

#define WORK_PAGES	4
#define MAX_ROUNDS	64
#define MAX_VCPUS	64
#define SLOW_SECONDS	15

/* A shared page for each vCPU: the host's orders, and the vCPU's answers. */
struct smp_area {
	struct snp_report report;
	/* A counter on a page that all vCPUs share: how many of them have arrived. */
	u64 *arrived;
	u64 nr_vcpus;
	u64 rounds;
	u64 wait_tsc;		/* how long to wait for the others */
	u64 *work;
	/* The page that changes hands: its private address, its shared address, and its GPA. */
	u64 *private;
	u64 *shared;
	u64 gpa;
	/* Set while the vCPU expects a #VC for a page that is not validated. */
	u64 vc_due;
	u64 sum[MAX_ROUNDS];
};

static u64 next(u64 x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ (x << 17);
}

/* The start of a vCPU's numbers in a round; no other vCPU or round has the same numbers. */
static u64 seed(u64 id, u64 round, u64 purpose)
{
	return next(0x9e3779b97f4a7c15ull * (id * 1000003 + round * 257 + purpose + 1));
}

static u64 expected_sum(u64 id, u64 round)
{
	u64 i, x = seed(id, round, 0), sum = 0;

	for (i = 0; i < WORK_PAGES * PAGE_SIZE / sizeof(u64); i++) {
		x = next(x);
		sum += x * (i + 1);
	}
	return sum;
}

/* --- In the guest ------------------------------------------------------------------------------ */

static struct smp_area *this_area(void)
{
	return (struct smp_area *)snp_this_report();
}

static void handle_vc(struct ex_regs *regs)
{
	struct smp_area *area = this_area();

	snp_expect("#VC error code", regs->error_code, SNP_VC_NOT_VALIDATED);
	snp_expect("#VC for a page that is not validated, due", area->vc_due, 1);
	area->vc_due = 0;
	area->report.nr_vc_not_validated++;
	snp_expect("PVALIDATE after #VC", snp_pvalidate((u64)area->private, true), 0);
}

static void arrive_and_wait(u64 goal)
{
	struct smp_area *area = this_area();
	u64 end = rdtsc() + area->wait_tsc;

	__atomic_add_fetch(area->arrived, 1, __ATOMIC_SEQ_CST);
	while (READ_ONCE(*area->arrived) < goal) {
		cpu_relax();
		if (rdtsc() > end)
			snp_fail("number of vCPUs that arrived in time",
				 READ_ONCE(*area->arrived), goal);
	}
}

static void work(u64 round)
{
	struct smp_area *area = this_area();
	u64 i, x = seed(area->report.id, round, 0), sum = 0;

	for (i = 0; i < WORK_PAGES * PAGE_SIZE / sizeof(u64); i++) {
		x = next(x);
		WRITE_ONCE(area->work[i], x);
	}
	for (i = 0; i < WORK_PAGES * PAGE_SIZE / sizeof(u64); i++)
		sum += READ_ONCE(area->work[i]) * (i + 1);
	area->sum[round] = sum;
}

struct registers {
	u64 gpr[15];
	u64 flags;
	u8 xmm[16][16];
};

static const char * const gpr_names[15] = {
	"RAX after an exit", "RBX after an exit", "RCX after an exit", "RDX after an exit",
	"RSI after an exit", "RDI after an exit", "RBP after an exit", "R8 after an exit",
	"R9 after an exit", "R10 after an exit", "R11 after an exit", "R12 after an exit",
	"R13 after an exit", "R14 after an exit", "R15 after an exit",
};

/*
 * Loads all registers but RSP, exits, and stores them. The GHCB MSR holds the request, so the exit
 * uses no register and none may change. RSP is left out: "after" is found through the stack.
 */
void exit_with_registers(const struct registers *before, struct registers *after);
asm(".pushsection .text\n"
	"exit_with_registers:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n"
	"	push %r13\n	push %r14\n	push %r15\n"
	"	push %rsi\n"
	"	mov %rdi, %rax\n"
	"	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
	"	movdqu 128 + 16 * \\n(%rax), %xmm\\n\n"
	"	.endr\n"
	"	pushq 120(%rax)\n	popfq\n"
	"	mov 8(%rax), %rbx\n	mov 16(%rax), %rcx\n	mov 24(%rax), %rdx\n"
	"	mov 32(%rax), %rsi\n	mov 40(%rax), %rdi\n	mov 48(%rax), %rbp\n"
	"	mov 56(%rax), %r8\n	mov 64(%rax), %r9\n	mov 72(%rax), %r10\n"
	"	mov 80(%rax), %r11\n	mov 88(%rax), %r12\n	mov 96(%rax), %r13\n"
	"	mov 104(%rax), %r14\n	mov 112(%rax), %r15\n	mov (%rax), %rax\n"
	"	rep; vmmcall\n"
	"	pushfq\n"
	"	push %rax\n"
	"	mov 16(%rsp), %rax\n"
	"	mov %rbx, 8(%rax)\n	mov %rcx, 16(%rax)\n	mov %rdx, 24(%rax)\n"
	"	mov %rsi, 32(%rax)\n	mov %rdi, 40(%rax)\n	mov %rbp, 48(%rax)\n"
	"	mov %r8, 56(%rax)\n	mov %r9, 64(%rax)\n	mov %r10, 72(%rax)\n"
	"	mov %r11, 80(%rax)\n	mov %r12, 88(%rax)\n	mov %r13, 96(%rax)\n"
	"	mov %r14, 104(%rax)\n	mov %r15, 112(%rax)\n"
	"	popq (%rax)\n	popq 120(%rax)\n"
	"	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
	"	movdqu %xmm\\n, 128 + 16 * \\n(%rax)\n"
	"	.endr\n"
	"	add $8, %rsp\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n"
	"	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	cld\n"
	"	ret\n"
	".popsection\n");

static const u32 kept_msrs[] = {
	MSR_FS_BASE, MSR_KERNEL_GS_BASE, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
	MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

static const char * const msr_names[ARRAY_SIZE(kept_msrs)] = {
	"FS base after an exit", "KERNEL_GS_BASE after an exit", "STAR after an exit",
	"LSTAR after an exit", "CSTAR after an exit", "SFMASK after an exit",
	"SYSENTER_ESP after an exit", "SYSENTER_EIP after an exit",
};

/* A value that every MSR in kept_msrs takes: a canonical address, and within SFMASK's 32 bits. */
static u64 msr_value(u64 id, u64 round, int i)
{
	return seed(id, round, 100 + i) & 0x7fffffff;
}

static void compare_registers(u64 round, u64 request, u64 response)
{
	/* Arithmetic flags, and the direction flag. */
	const u64 flags = 0x8d5 | X86_EFLAGS_DF;
	u64 i, x, id = this_area()->report.id, cr0 = get_cr0(), cr3 = get_cr3(), cr4 = get_cr4();
	struct registers before, after;
	u64 efer = rdmsr(MSR_EFER), dr6;

	x = seed(id, round, 1);
	for (i = 0; i < sizeof(before) / sizeof(u64); i++)
		((u64 *)&before)[i] = x = next(x);
	before.flags = (before.flags & flags) | X86_EFLAGS_FIXED;
	for (i = 0; i < ARRAY_SIZE(kept_msrs); i++)
		wrmsr(kept_msrs[i], msr_value(id, round, i));

	wrmsr(MSR_AMD64_SEV_ES_GHCB, request);
	exit_with_registers(&before, &after);
	snp_expect("GHCB MSR's answer", GHCB_MSR_INFO(rdmsr(MSR_AMD64_SEV_ES_GHCB)), response);

	for (i = 0; i < ARRAY_SIZE(gpr_names); i++)
		snp_expect(gpr_names[i], after.gpr[i], before.gpr[i]);
	snp_expect("flags after an exit", after.flags & flags, before.flags & flags);
	for (i = 0; i < sizeof(before.xmm) / sizeof(u64); i++)
		snp_expect("XMM0 to XMM15 after an exit",
			   ((u64 *)after.xmm)[i], ((u64 *)before.xmm)[i]);
	for (i = 0; i < ARRAY_SIZE(kept_msrs); i++)
		snp_expect(msr_names[i], rdmsr(kept_msrs[i]), msr_value(id, round, i));
	snp_expect("CR0 after an exit", get_cr0(), cr0);
	snp_expect("CR3 after an exit", get_cr3(), cr3);
	snp_expect("CR4 after an exit", get_cr4(), cr4);
	snp_expect("EFER after an exit", rdmsr(MSR_EFER), efer);
	asm volatile("mov %%dr6, %0" : "=r"(dr6));
	snp_expect("DR6 after an exit", dr6 & 0xf, 0);
}

static void fill(u64 *page, u64 x)
{
	u64 i;

	for (i = 0; i < PAGE_SIZE / sizeof(u64); i++)
		WRITE_ONCE(page[i], x = next(x));
}

static void expect_filled(const char *what, const u64 *page, u64 x)
{
	u64 i;

	for (i = 0; i < PAGE_SIZE / sizeof(u64); i++)
		snp_expect(what, READ_ONCE(page[i]), x = next(x));
}

static void change_hands(u64 round)
{
	struct smp_area *area = this_area();
	u64 private = (u64)area->private, id = area->report.id;

	snp_step("private page, validated");
	fill(area->private, seed(id, round, 2));
	expect_filled("private page's content", area->private, seed(id, round, 2));
	snp_expect("PVALIDATE of a validated page", snp_pvalidate(private, true), SNP_NO_CHANGE);
	snp_expect("PVALIDATE that rescinds", snp_pvalidate(private, false), 0);
	snp_expect("PVALIDATE that rescinds again", snp_pvalidate(private, false), SNP_NO_CHANGE);

	snp_step("page to the host");
	snp_psc(area->gpa, SNP_PAGE_STATE_SHARED);
	/* The host checks these numbers when the guest asks for the page back. */
	fill(area->shared, seed(id, round, 3));
	expect_filled("shared page's content", area->shared, seed(id, round, 3));

	snp_step("page back from the host");
	snp_psc(area->gpa, SNP_PAGE_STATE_PRIVATE);
	area->vc_due = 1;
	fill(area->private, seed(id, round, 4));
	snp_expect("#VC for a page that was not validated", area->vc_due, 0);
	snp_expect("PVALIDATE of the page that #VC validated",
		   snp_pvalidate(private, true), SNP_NO_CHANGE);
	expect_filled("private page's content, new", area->private, seed(id, round, 4));
}

static void guest_code(struct smp_area *area)
{
	const u64 snp = MSR_AMD64_SEV_ENABLED | MSR_AMD64_SEV_ES_ENABLED |
			MSR_AMD64_SEV_SNP_ENABLED;
	u64 round;

	snp_guest_init(&area->report);
	snp_step("all vCPUs at once");
	snp_expect("SEV_STATUS", rdmsr(MSR_AMD64_SEV) & snp, snp);
	arrive_and_wait(area->nr_vcpus);
	for (round = 0; round < area->rounds; round++) {
		area->report.round = round;
		snp_step("private memory");
		work(round);
		snp_step("registers across an exit to the kernel");
		compare_registers(round, GHCB_MSR_SEV_INFO_REQ, GHCB_MSR_SEV_INFO_RESP);
		change_hands(round);
		snp_step("registers across an exit to user space");
		/* The page is private already: the request goes to user space but changes nothing. */
		compare_registers(round, GHCB_MSR_PSC_REQ |
				  GHCB_PSC_ENTRY(area->gpa >> PAGE_SHIFT, SNP_PAGE_STATE_PRIVATE),
				  GHCB_MSR_PSC_RESP);
	}
	snp_step("all vCPUs done");
	arrive_and_wait(2 * area->nr_vcpus);
	ghcb_terminate(SNP_TERM_PASSED, area->report.id);
}

/* --- On the host ------------------------------------------------------------------------------- */

struct smp_host {
	struct smp_area *area;
	u64 *page;
	u64 conversions;
};

static bool smp_exit(struct snp_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;
	struct smp_host *host = v->private;
	bool to_private;
	u64 i, x, id = host->area->report.id;

	if (run->exit_reason != KVM_EXIT_HYPERCALL)
		return snp_default_exit(v);
	to_private = run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED;
	if (run->hypercall.args[0] != host->area->gpa || run->hypercall.args[1] != 1) {
		v->failed = true;
		snprintf(v->why, sizeof(v->why),
			 "expected a page state change of 0x%lx, 1 page, found 0x%llx, %llu pages",
			 host->area->gpa, run->hypercall.args[0], run->hypercall.args[1]);
		return false;
	}
	/* Skip a round's second request to private: by then the page is the guest's already. */
	if (to_private && host->conversions++ % 2 == 0) {
		x = seed(id, host->area->report.round, 3);
		for (i = 0; i < PAGE_SIZE / sizeof(u64); i++) {
			x = next(x);
			if (READ_ONCE(host->page[i]) == x)
				continue;
			v->failed = true;
			snprintf(v->why, sizeof(v->why),
				 "round %lu: at %lu of the shared page: expected 0x%lx, found 0x%lx",
				 host->area->report.round, i * 8, x, host->page[i]);
			return false;
		}
	}
	/* In every other round, free the private page's memory as well. */
	if (!to_private && host->area->report.round % 2)
		vm_guest_mem_punch_hole(v->vcpu->vm, host->area->gpa, PAGE_SIZE);
	return snp_default_exit(v);
}

static void check_results(struct snp_vcpu *v)
{
	struct smp_area *area = ((struct smp_host *)v->private)->area;
	u64 round;

	for (round = 0; !v->failed && round < area->rounds; round++) {
		if (area->sum[round] == expected_sum(area->report.id, round))
			continue;
		v->failed = true;
		snprintf(v->why, sizeof(v->why),
			 "round %lu: sum of private memory: expected 0x%lx, found 0x%lx",
			 round, expected_sum(area->report.id, round), area->sum[round]);
	}
	if (!v->failed && area->report.nr_vc_not_validated != area->rounds) {
		v->failed = true;
		snprintf(v->why, sizeof(v->why),
			 "#VCs for pages that were not validated: expected %lu, found %lu",
			 area->rounds, area->report.nr_vc_not_validated);
	}
}

static int nr_vcpus = 8, rounds = 8, seconds = 60;

/* Launches, runs and destroys a VM. Returns how many of the vCPUs in v failed. */
static int launch(struct snp_vcpu *v)
{
	static struct smp_host host[MAX_VCPUS];
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	gva_t area, counter, private;
	int i, failed = 0, stuck = 0;
	time_t start = time(NULL);
	struct kvm_vm *vm;

	memset(v, 0, nr_vcpus * sizeof(*v));
	memset(host, 0, sizeof(host));
	snp_limit(seconds, "creating and launching the VM");
	vm = snp_create_vm(KVM_X86_SNP_VM, nr_vcpus, guest_code, vcpus, handle_vc);
	counter = vm_alloc_shared(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR, MEM_REGION_TEST_DATA);
	for (i = 0; i < nr_vcpus; i++) {
		v[i].vcpu = vcpus[i];
		v[i].report = snp_alloc_report(vm, i, &area);
		v[i].private = &host[i];
		v[i].on_exit = smp_exit;
		host[i].area = (struct smp_area *)v[i].report;
		host[i].area->arrived = (u64 *)counter;
		host[i].area->nr_vcpus = nr_vcpus;
		host[i].area->rounds = rounds;
		/* End before the host's limit: only the guest knows how many vCPUs are missing. */
		host[i].area->wait_tsc = guest_tsc_khz * 1000 * seconds * 3 / 4;
		host[i].area->work = (u64 *)vm_alloc(vm, WORK_PAGES * PAGE_SIZE,
						     KVM_UTIL_MIN_VADDR);
		private = vm_alloc(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR);
		host[i].area->private = (u64 *)private;
		host[i].area->shared = (u64 *)snp_map_shared_alias(vm, private);
		host[i].area->gpa = sev_gva2gpa(vm, private);
		host[i].page = addr_gpa2hva(vm, host[i].area->gpa);
		vcpu_args_set(vcpus[i], 1, area);
	}
	vm_sev_launch(vm, snp_default_policy(), NULL);
	/* snp_wait_all() has its own limit; this one also covers the VM's destruction. */
	snp_limit(2 * seconds, "running the vCPUs, or destroying the VM");
	for (i = 0; i < nr_vcpus; i++)
		snp_start(&v[i]);
	snp_wait_all(v, nr_vcpus, seconds);
	for (i = 0; i < nr_vcpus; i++) {
		check_results(&v[i]);
		failed += v[i].failed;
		stuck += !v[i].ended;
	}
	/* A VM must not be destroyed under a running vCPU: leave that to the process's end. */
	if (!stuck)
		kvm_vm_free(vm);
	snp_limit(0, "");
	/* A busy machine may be slow, so don't fail; but say so, for a vCPU may have been stuck a while. */
	if (time(NULL) - start > SLOW_SECONDS)
		ksft_print_msg("slow: %ld s for one launch\n", (long)(time(NULL) - start));
	return failed;
}

static void say_failures(const struct snp_vcpu *v)
{
	int i;

	for (i = 0; i < nr_vcpus; i++)
		if (v[i].failed)
			ksft_print_msg("vCPU %d: %s\n", i, v[i].why);
}

int main(int argc, char *argv[])
{
	static struct snp_vcpu v[MAX_VCPUS];
	int i, opt, n = 1, failed, stuck;

	while ((opt = getopt(argc, argv, "n:v:r:t:h")) != -1) {
		switch (opt) {
		case 'n':
			n = atoi_positive("launches", optarg);
			break;
		case 'v':
			nr_vcpus = atoi_positive("vCPUs", optarg);
			break;
		case 'r':
			rounds = atoi_positive("rounds", optarg);
			break;
		case 't':
			seconds = atoi_positive("seconds", optarg);
			break;
		default:
			printf("usage: %s [-n LAUNCHES] [-v VCPUS] [-r ROUNDS] [-t SECONDS]\n",
			       argv[0]);
			return opt == 'h' ? 0 : KSFT_FAIL;
		}
	}
	TEST_ASSERT(nr_vcpus <= MAX_VCPUS && rounds <= MAX_ROUNDS,
		    "at most %d vCPUs and %d rounds", MAX_VCPUS, MAX_ROUNDS);
	snp_require_vms();

	ksft_print_header();
	if (n == 1) {
		ksft_set_plan(nr_vcpus);
		launch(v);
		for (i = 0; i < nr_vcpus; i++) {
			if (v[i].failed)
				ksft_print_msg("vCPU %d: %s\n", i, v[i].why);
			ksft_test_result(!v[i].failed, "vCPU %d of %d: %d rounds\n",
					 i, nr_vcpus, rounds);
		}
		ksft_finished();
	}

	ksft_set_plan(n);
	while (n--) {
		failed = launch(v);
		say_failures(v);
		ksft_test_result(!failed, "%d vCPUs launched, run, destroyed\n", nr_vcpus);
		for (i = stuck = 0; i < nr_vcpus; i++)
			stuck += !v[i].ended;
		if (stuck)
			ksft_exit_fail_msg("%d vCPUs cannot be ended: no further launch\n", stuck);
	}
	ksft_finished();
}
