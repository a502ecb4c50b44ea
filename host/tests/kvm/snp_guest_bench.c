// SPDX-License-Identifier: GPL-2.0-only
/*
 * How fast is a guest under SNP, compared with a plain nested guest on the same machine?
 *
 * An SNP VM and a plain VM run the same loop over several pages of memory, so that address
 * translation counts. They take turns, so that other load on the machine slows both. Fails if the
 * SNP guest's speed is below MIN_RATIO of the plain guest's, by the median of the turns' ratios. A
 * busy machine can spoil a series of turns, but cannot make a slow guest look fast each time: a
 * series that fails is measured again, at most twice.
 */
#include <getopt.h>
#include <time.h>

#include "snp_guest.h"

#define MEMORY_PAGES	64
#define WORDS		(MEMORY_PAGES * PAGE_SIZE / sizeof(u64))
#define MAX_TURNS	31
#define MIN_RATIO	0.9
#define MAX_SERIES	3

struct bench_area {
	struct snp_report report;
	u64 *memory;
	u64 passes;
	u64 snp;
	u64 tsc;
	u64 sum;
};

/* --- In the guest ------------------------------------------------------------------------------ */

static noinline u64 loop(volatile u64 *memory, u64 passes)
{
	u64 pass, i, x = 0x2545f4914f6cdd1dull;

	for (pass = 0; pass < passes; pass++) {
		for (i = 0; i < WORDS; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memory[(x >> 20) % WORDS] += x;
			x += memory[i];
		}
	}
	return x;
}

static void guest_code(struct bench_area *area)
{
	u64 start;

	snp_guest_init(&area->report);
	for (;;) {
		start = rdtsc();
		area->sum = loop(area->memory, area->passes);
		area->tsc = rdtsc() - start;
		/* Exit to the host by whichever way this guest has: the loop takes far longer. */
		if (area->snp)
			ghcb_msr_call(GHCB_MSR_TERM(SNP_TERM_PASSED, 0));
		else
			GUEST_SYNC(0);
	}
}

/* --- On the host ------------------------------------------------------------------------------- */

struct guest {
	const char *name;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct bench_area *area;
};

static void create(struct guest *g, u32 type)
{
	gva_t area;

	g->vm = snp_create_vm(type, 1, guest_code, &g->vcpu, NULL);
	g->area = (struct bench_area *)snp_alloc_report(g->vm, 0, &area);
	g->area->memory = (u64 *)vm_alloc(g->vm, MEMORY_PAGES * PAGE_SIZE, KVM_UTIL_MIN_VADDR);
	g->area->snp = type == KVM_X86_SNP_VM;
	vcpu_args_set(g->vcpu, 1, area);
	if (type == KVM_X86_SNP_VM)
		vm_sev_launch(g->vm, snp_default_policy(), NULL);
}

static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static u64 run(struct guest *g, u64 passes, u64 *tsc)
{
	u64 start, ns;
	u32 wanted;

	g->area->passes = passes;
	start = now();
	vcpu_run(g->vcpu);
	ns = now() - start;
	wanted = g->area->snp ? KVM_EXIT_SYSTEM_EVENT : KVM_EXIT_IO;
	TEST_ASSERT(g->vcpu->run->exit_reason == wanted, "%s guest: expected exit %s, found %s",
		    g->name, exit_reason_str(wanted),
		    exit_reason_str(g->vcpu->run->exit_reason));
	TEST_ASSERT(!g->area->report.failed, "%s guest: %s 0x%lx", g->name, g->area->report.failed,
		    g->area->report.found);
	*tsc = g->area->tsc;
	return ns;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *values, int n)
{
	double sorted[MAX_TURNS];

	memcpy(sorted, values, n * sizeof(*values));
	qsort(sorted, n, sizeof(*sorted), by_value);
	return sorted[n / 2];
}

/* Returns the SNP guest's speed divided by the plain guest's: the median over all turns. */
static double measure(struct guest *plain, struct guest *snp, int turns, u64 passes)
{
	double ratio[MAX_TURNS], tsc_ratio[MAX_TURNS];
	u64 ns[2], tsc[2];
	int i;

	for (i = 0; i < turns; i++) {
		ns[0] = run(plain, passes, &tsc[0]);
		ns[1] = run(snp, passes, &tsc[1]);
		ratio[i] = (double)ns[0] / ns[1];
		tsc_ratio[i] = (double)tsc[0] / tsc[1];
		ksft_print_msg("turn %d: plain %lu ns, TSC %lu; SNP %lu ns, TSC %lu; ratio %.3f, by TSC %.3f\n",
			       i, ns[0], tsc[0], ns[1], tsc[1], ratio[i], tsc_ratio[i]);
	}
	ksft_print_msg("median ratio of %d turns, %lu passes: %.3f (by TSC %.3f), at least %.1f wanted\n",
		       turns, passes, median(ratio, turns), median(tsc_ratio, turns), MIN_RATIO);
	return median(ratio, turns);
}

int main(int argc, char *argv[])
{
	struct guest plain = { .name = "plain" }, snp = { .name = "SNP" };
	int opt, series, turns = 5;
	u64 passes = 4, ns, tsc;
	double m = 0;

	while ((opt = getopt(argc, argv, "n:h")) != -1) {
		if (opt != 'n') {
			printf("usage: %s [-n TURNS]\n", argv[0]);
			return opt == 'h' ? 0 : KSFT_FAIL;
		}
		turns = atoi_positive("turns", optarg);
	}
	TEST_ASSERT(turns <= MAX_TURNS, "at most %d turns", MAX_TURNS);
	snp_require_vms();
	ksft_print_header();
	ksft_set_plan(2);
	snp_limit(100, "measuring");
	create(&plain, KVM_X86_DEFAULT_VM);
	create(&snp, KVM_X86_SNP_VM);

	/*
	 * The first run maps pages and translates code: don't count it. Then double the passes until
	 * a turn takes long enough to be measured.
	 */
	run(&snp, passes, &tsc);
	run(&plain, passes, &tsc);
	do {
		passes *= 2;
		ns = run(&plain, passes, &tsc);
	} while (ns < 200000000);

	for (series = 0; m < MIN_RATIO && series < MAX_SERIES; series++)
		m = measure(&plain, &snp, turns, passes);
	ksft_test_result(m >= MIN_RATIO,
			 "the SNP guest runs at %.1f or more of the plain guest's speed\n",
			 MIN_RATIO);
	/* The sum depends on all earlier passes, of which the plain guest made more: use new guests. */
	kvm_vm_free(plain.vm);
	kvm_vm_free(snp.vm);
	create(&plain, KVM_X86_DEFAULT_VM);
	create(&snp, KVM_X86_SNP_VM);
	run(&plain, 1, &tsc);
	run(&snp, 1, &tsc);
	ksft_test_result(plain.area->sum && plain.area->sum == snp.area->sum,
			 "both compute the same\n");
	kvm_vm_free(plain.vm);
	kvm_vm_free(snp.vm);
	ksft_finished();
}
