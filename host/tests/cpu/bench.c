// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The speed of an SNP guest, compared with the same code in a plain nested VM
 * on the same QEMU: integer work, branches, and a walk over memory, without
 * exits. The two take turns; the medians count.
 */
#include "lib.h"

#define RUNS	9
#define ROUNDS	40000000ull
#define SIZE	(1 * MB)

static struct vm *build(bool snp)
{
	struct vm *vm = snp ? vm_new(1, POLICY) : vm_new_plain(900);
	struct vcpu *v;

	vm_memory(vm);
	for (u64 a = 0; a < SIZE; a += PAGE)
		vm_page(vm, G_DATA + a, NULL, TYPE_ZERO, PERM_ALL);
	v = vm_vcpu(vm, 0);
	if (snp)
		vm_finish(vm);
	if (vcpu_run(v) != EXIT_VMGEXIT)
		bail("first exit %#lx", get64(v->vmcb, VMCB_EXIT));
	return vm;
}

static u64 measure(struct vm *vm, u64 *sum)
{
	struct vcpu *v = &vm->vcpu[0];
	u64 t = rdtsc(), e;

	e = vcpu_do(v, OP_BENCH, ROUNDS, G_DATA, SIZE);
	t = rdtsc() - t;
	if (e != EXIT_VMGEXIT || get64(v->sh, SH_VEC) != NO_FAULT)
		bail("exit %#lx, the guest saw vector %ld", e,
		     get64(v->sh, SH_VEC));
	*sum = get64(v->sh, SH_R0);
	return t;
}

static u64 median(u64 *t)
{
	for (u32 i = 0; i < RUNS; i++) {
		for (u32 j = i + 1; j < RUNS; j++) {
			if (t[j] < t[i]) {
				u64 x = t[i];

				t[i] = t[j];
				t[j] = x;
			}
		}
	}
	return t[RUNS / 2];
}

/* TSC ticks in a millisecond, measured with the PIT */
u64 tsc_khz(void)
{
	u64 t;

	outb(0x61, (inb(0x61) & ~2) | 1);
	outb(0x43, 0xb0);
	outb(0x42, 59659 & 0xff);		/* 50 ms */
	outb(0x42, 59659 >> 8);
	t = rdtsc();
	while (!(inb(0x61) & 0x20))
		pause();
	return (rdtsc() - t) / 50;
}

void bench(void)
{
	struct vm *snp, *plain;
	u64 s[RUNS], p[RUNS], a, b, khz, ratio;

	section("benchmark");
	khz = tsc_khz();
	snp_enable();
	snp = build(true);
	plain = build(false);
	measure(snp, &a);
	measure(plain, &b);
	for (u32 i = 0; i < RUNS; i++) {
		s[i] = measure(snp, &a);
		p[i] = measure(plain, &b);
		if (a != b)
			bail("expected equal sums, found %#lx (SNP) and %#lx (plain)",
			     a, b);
		say("# run %u: SNP guest %lu ms, plain nested VM %lu ms\n",
		    i + 1, s[i] / khz, p[i] / khz);
	}
	ratio = median(p) * 1000 / median(s);
	say("# median: SNP guest %lu ms, plain nested VM %lu ms\n",
	    median(s) / khz, median(p) / khz);
	say("# ratio %lu.%03lu (speed under SNP, 1 is that of the plain VM)\n",
	    ratio / 1000, ratio % 1000);
}
