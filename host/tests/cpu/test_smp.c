// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Several CPUs at once: guests in parallel, pages in use, changes of the RMP
 * that a running guest must notice before they are complete, and changes of
 * the memory map.
 */
#include "lib.h"

static volatile u64 exit_of[MAX_CPUS], bad_regs[MAX_CPUS], stop;

/* VMRUN until the guest has carried out its order, or exits for another reason. */
static void run_order(void *p)
{
	struct vcpu *v = p;
	u32 id = this_cpu()->id;
	u64 beat = get64(v->sh, SH_BEAT), e;

	do {
		e = vcpu_run(v);
		for (u32 i = 1; i < 16; i++)
			bad_regs[id] += i != 4 && v->r.out[i] != v->r.in[i];
	} while (e == EXIT_VMGEXIT && get64(v->sh, SH_BEAT) == beat &&
		 get64(v->sh, SH_VEC) == NO_FAULT);
	exit_of[id] = e;
}

static void churn(void)
{
	u64 p = (u64)page_alloc();

	rmp_assign(p, 0x9000, 3, false, false);
	rmp_shared(p, false);
	page_free((void *)p);
}

static void parallel(void)
{
	struct vm *a = vm_ready(1, 2), *b = vm_ready(2, 1);
	struct vcpu *v[3] = { &a->vcpu[0], &a->vcpu[1], &b->vcpu[0] };
	const u64 rounds = 3000;

	for (u32 i = 0; i < 3; i++) {
		bad_regs[i + 1] = 0;
		v[i]->exits = 0;
		vcpu_order(v[i], OP_REGS, 0x1111111100000000 * (i + 1), rounds,
			   0);
		on_cpu_start(i + 1, run_order, v[i]);
	}
	for (u32 i = 0; i < 3; i++) {
		while (__atomic_load_n(&cpus[i + 1].busy, __ATOMIC_ACQUIRE))
			churn();
	}
	for (u32 i = 0; i < 3; i++) {
		is(exit_of[i + 1], EXIT_VMGEXIT, "vCPU %u of 3 in parallel", i);
		is(v[i]->exits, rounds + 1,
		   "vCPU %u: %lu exits, RMPUPDATE going on",
		   i, rounds);
		is(get64(v[i]->sh, SH_R1), 0,
		   "vCPU %u: no register of the guest changed over an exit", i);
		is(get64(v[i]->sh, SH_R0),
		   0x1111111100000000 * (i + 1) + rounds * 0x10001,
		   "vCPU %u: its own state and no other's", i);
		is(bad_regs[i + 1], 0,
		   "vCPU %u: no register of the host changed", i);
	}
	/* one vCPU, run by each CPU in turn */
	vcpu_do(v[0], OP_SETXMM, 0x123456789, 0x42, 0);
	for (u32 i = 1; i < ncpus; i++) {
		vcpu_order(v[0], OP_GETXMM, 0, 0, 0);
		on_cpu(i, run_order, v[0]);
		is(get64(v[0]->sh, SH_R0), 0x123456789,
		   "a vCPU goes on, on CPU %u", i);
		is(get64(v[0]->sh, SH_R1), 0x42, "with all of its XMM0");
	}
	vm_destroy(b);
	vm_destroy(a);
}

static void spin_until_running(struct vcpu *v)
{
	u64 n;

	put64(v->sh, SH_GO, 0);
	vcpu_order(v, OP_SPIN, 0, 0, 0);
	n = get64(v->sh, SH_SPINS);
	on_cpu_start(1, run_order, v);
	while (get64(v->sh, SH_SPINS) == n)
		pause();
}

/* VMRUN on CPU 0 of the VMSA that CPU 1 runs. */
static u64 enter_twice(struct vcpu *v)
{
	struct vcpu twin = *v;
	u64 e;

	twin.vmcb = page_alloc();
	memcpy(twin.vmcb, v->vmcb, PAGE);
	put64(twin.vmcb, VMCB_EXIT, 0x1234);
	e = vcpu_run(&twin);
	page_free(twin.vmcb);
	return e;
}

static void in_use(void)
{
	static const struct {
		const char *name;
		u64 op, arg;
	} change[] = {
		{ "PVALIDATE of a running vCPU's VMSA", OP_PVALIDATE, 0 },
		{ "RMPADJUST that leaves it one", OP_RMPADJUST, 1 | BIT(16) },
		{ "RMPADJUST that makes it none", OP_RMPADJUST, 1 },
	};
	const u32 last = sizeof(change) / sizeof(*change) - 1;
	const u64 MASK = PF_P | PF_RMP | NPF_FINAL | NPF_ENC | NPF_SIZEM |
			 NPF_VMPL;
	struct vm *vm = vm_ready(1, 2);
	struct vcpu *v = &vm->vcpu[0], *w = &vm->vcpu[1];
	u64 e, entry = rmp((u64)v->vmsa);

	spin_until_running(v);
	is(rmp_shared((u64)v->vmsa, false), 3,
	   "RMPUPDATE of a running vCPU's VMSA: 3 FAIL_INUSE");
	is(rmp_assign((u64)v->vmsa, G_VMSA, 1, false, false), 3,
	   "RMPUPDATE of it to the state it has: 3");
	is(rmp_assign((u64)v->vmcb, 0, 5, false, false), 3,
	   "RMPUPDATE of the VMCB that is running: 3");
	for (u32 i = 0; i <= last; i++) {
		e = vcpu_do(w, change[i].op, G_VMSA, 0, change[i].arg);
		is(e, EXIT_NPF, "%s: #NPF", change[i].name);
		is(get64(w->vmcb, VMCB_INFO1) & MASK,
		   PF_P | PF_RMP | NPF_FINAL | NPF_ENC, "%s: EXITINFO1",
		   change[i].name);
		is(get64(w->vmcb, VMCB_INFO2) & ~0xfffull, G_VMSA,
		   "%s: EXITINFO2", change[i].name);
		if (e == EXIT_NPF && i != last)
			vcpu_abort(w);
	}
	is(vcpu_run(w), EXIT_NPF, "the same again: #NPF, as long as it runs");
	is(rmp((u64)v->vmsa) & ~7ull, entry & ~7ull, "its entry is as it was");
	is(enter_twice(v), EXIT_INVALID,
	   "VMRUN of a VMSA that another CPU runs: VMEXIT_INVALID (15.36.10)");
	put64(v->sh, SH_GO, 1);
	on_cpu_wait(1);
	is(exit_of[1], EXIT_VMGEXIT, "the running vCPU is not disturbed");
	is(get64(v->sh, SH_R0), 0x431, "and finishes its order");
	e = vcpu_run(w);
	is(e, EXIT_VMGEXIT, "RMPADJUST of the VMSA after its exit: done");
	is(get64(w->sh, SH_R0), 0, "with 0 SUCCESS");
	is(rmp((u64)v->vmsa), entry & ~RMP_VMSA, "and the entry is no VMSA's");
	is(vcpu_run(v), EXIT_INVALID, "which no VMRUN takes");
	is(rmp_shared((u64)v->vmsa, false), 0,
	   "RMPUPDATE of the VMSA after its exit");
	vm_destroy(vm);
}

/* The host has vmsa-in-use-busy=on. */
void t_busy(void)
{
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];

	section("a VMSA in use is VMEXIT_BUSY");
	spin_until_running(v);
	is(enter_twice(v), EXIT_BUSY,
	   "VMRUN of a VMSA that another CPU runs: VMEXIT_BUSY");
	put64(v->sh, SH_GO, 1);
	on_cpu_wait(1);
	is(exit_of[1], EXIT_VMGEXIT, "the running vCPU is not disturbed");
	vm_destroy(vm);
}

static void read_there(struct vcpu *v, u32 cpu, u64 va)
{
	vcpu_order(v, OP_READ, va, 0, 0);
	on_cpu(cpu, run_order, v);
}

/*
 * The guest maps another page at an address. A CPU that has the old translation
 * must not use it for a VMSA that comes from another CPU, or whose PCPU_ID is 0.
 */
static void moved(void)
{
	const u64 a = 0x600000, b = 0x800000, va = SHARED_VIEW + a;
	const u64 pde = G_PDS + a / (2 * MB) * 8;
	struct vm *vm = vm_ready(1, 2);
	struct vcpu *v = &vm->vcpu[0], *w = &vm->vcpu[1];
	u64 *pa = page_alloc(), *pb = page_alloc();

	*pa = 0xaa;
	*pb = 0xbb;
	vm_keep(vm, pa);
	vm_keep(vm, pb);
	npt_map(vm, a, (u64)pa, NPT_RWX);
	npt_map(vm, b, (u64)pb, NPT_RWX);
	vcpu_do(w, OP_NOP, 0, 0, 0);
	read_there(v, 0, va);
	is(get64(v->sh, SH_R0), 0xaa, "a page, read on CPU 0");
	ok(get64(vmsa_read(v), SA_PCPU_ID), "PCPU_ID is set (15.36.15)");
	read_there(v, 1, va);
	vcpu_order(v, OP_WRITE, pde, b | 0xe7, 0);
	on_cpu(1, run_order, v);
	vcpu_order(v, OP_INVLPG, va, 0, 0);
	on_cpu(1, run_order, v);
	read_there(v, 1, va);
	is(get64(v->sh, SH_R0), 0xbb, "mapped anew, flushed, read on CPU 1");
	read_there(v, 0, va);
	is(get64(v->sh, SH_R0), 0xbb,
	   "the VMSA moves to CPU 0: the CPU flushes its TLB (15.36.15)");

	vcpu_do(w, OP_WRITE, pde, a | 0xe7, 0);
	vcpu_do(w, OP_WRITE, G_VMSA + SA_PCPU_ID, 0, 0);
	is(get64(vmsa_read(v), SA_PCPU_ID), 0, "PCPU_ID, cleared by the guest");
	read_there(v, 0, va);
	is(get64(v->sh, SH_R0), 0xaa,
	   "VMRUN of a VMSA with PCPU_ID 0: the CPU flushes its TLB");
	ok(get64(vmsa_read(v), SA_PCPU_ID), "and sets PCPU_ID");
	vm_destroy(vm);
}

/* CPU 1 runs a guest that keeps writing to a page; CPU 0 changes its RMP entry. */
static void noticed(void)
{
	const u64 a = G_DATA, MASK = PF_RMP | NPF_ENC | NPF_VMPL;
	struct vm *vm = vm_new(1, POLICY_DEBUG);
	struct vcpu *v0, *v1;
	/* some ten seconds, unless a fault ends it */
	const u64 long_enough = 300000000, ms = 3000000;
	u64 i1, lost = 0, left = 0, p;

	vm_memory(vm);
	v0 = vm_vcpu(vm, 0);
	v1 = vm_vcpu(vm, 1);
	p = (u64)vm_page(vm, a, NULL, TYPE_ZERO, PERM_ALL);
	vm_finish(vm);
	vcpu_run(v0);
	vcpu_run(v1);

	for (u32 round = 0; round < 20 && left == round; round++) {
		vcpu_order(v1, OP_BENCH, long_enough, a, PAGE);
		on_cpu_start(1, run_order, v1);
		delay(2 * ms);
		lost += rmp_shared(p, false) != 0;
		/* RMPUPDATE has returned: the guest may not write any more */
		for (u32 i = 0; i < PAGE; i += 8)
			put64((void *)p, i, ~(u64)i);
		delay(ms);
		for (u32 i = 0; i < PAGE; i += 8)
			lost += get64((void *)p, i) != ~(u64)i;
		on_cpu_wait(1);
		i1 = get64(v1->vmcb, VMCB_INFO1);
		left += exit_of[1] == EXIT_NPF &&
			(i1 & MASK) == (PF_RMP | NPF_ENC) &&
			get64(v1->vmcb, VMCB_INFO2) / PAGE == a / PAGE;
		if (exit_of[1] == EXIT_NPF)
			vcpu_abort(v1);
		rmp_assign(p, a, 1, false, false);
		vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
		vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | PERM_ALL << 8);
	}
	is(left, 20, "RMPUPDATE while a guest writes: it leaves by #NPF");
	is(lost, 0, "RMPUPDATE while a guest writes: nothing is written after");

	vcpu_order(v1, OP_BENCH, long_enough, a, PAGE);
	on_cpu_start(1, run_order, v1);
	delay(2 * ms);
	vcpu_do(v0, OP_PVALIDATE, a, 0, 0);
	on_cpu_wait(1);
	is(exit_of[1], EXIT_VMGEXIT, "PVALIDATE on another vCPU: no exit,");
	is(get64(v1->sh, SH_VEC), VEC_VC, "but #VC");
	is(get64(v1->sh, SH_ERR), VC_NOT_VALID, "as for a page not validated");
	if (exit_of[1] == EXIT_NPF)
		vcpu_abort(v1);
	vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
	vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | PERM_ALL << 8);

	put64(v1->sh, SH_GO, 0);
	vcpu_order(v1, OP_BENCH, long_enough, a, PAGE);
	on_cpu_start(1, run_order, v1);
	delay(2 * ms);
	vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | PERM_R << 8);
	on_cpu_wait(1);
	is(exit_of[1], EXIT_NPF, "RMPADJUST on another vCPU: VMPL 1 leaves");
	is(get64(v1->vmcb, VMCB_INFO1) & MASK, PF_RMP | NPF_ENC | NPF_VMPL,
	   "by #NPF with RMP, ENC and VMPL");
	vm_destroy(vm);
}

/* As KVM splits 2 MB: PSMASH of the entry, then 4 KB nested mappings. */
static void smashed(void)
{
	const u64 a = 0x800000;
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	u64 h = (u64)huge_alloc();

	rmp_assign(h, a, 1, true, false);
	npt_map_large(vm, a, h, NPT_RWX);
	vcpu_do(v, OP_PVALIDATE, a, 1, 1);
	vcpu_order(v, OP_BENCH, 300000000, a, 2 * MB);
	on_cpu_start(1, run_order, v);
	delay(6000000);
	is(psmash(h), 0, "PSMASH of 2 MB that a guest is using");
	on_cpu_wait(1);
	is(exit_of[1], EXIT_NPF, "the guest leaves: its mapping is 2 MB");
	is(get64(v->vmcb, VMCB_INFO1) & (PF_RMP | NPF_ENC | NPF_VMPL),
	   PF_RMP | NPF_ENC, "by #NPF with RMP and ENC");
	npt_map_large(vm, a, 0, 0);
	for (u32 i = 0; i < 512; i++)
		npt_map(vm, a + i * PAGE, h + i * PAGE, NPT_RWX);
	on_cpu_start(1, run_order, v);
	delay(6000000);
	rmp_shared(h + 7 * PAGE, false);
	on_cpu_wait(1);
	is(exit_of[1], EXIT_NPF, "it goes on through 4 KB until one is taken");
	is(get64(v->vmcb, VMCB_INFO2) & ~0xfffull, a + 7 * PAGE,
	   "and leaves on that one");
	for (u32 i = 0; i < 512; i++)
		rmp_shared(h + i * PAGE, false);
	vm_destroy(vm);
}

static void churn_until_stopped(void *unused)
{
	(void)unused;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
		churn();
}

/* An RMPUPDATE on another CPU interrupts this CPU for a moment, at any place. */
static void injected(void)
{
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	const u64 times = 400;
	u64 ints, excs, other = 0;

	vcpu_do(v, OP_STI, 0, 0, 0);
	ints = get64(v->sh, SH_INTS);
	excs = get64(v->sh, SH_EXCS);
	stop = 0;
	on_cpu_start(1, churn_until_stopped, NULL);
	for (u64 i = 0; i < times; i++) {
		put32(v->vmcb, VMCB_INJ, BIT(31) | 0x45);
		other += vcpu_do(v, OP_BENCH, 20000, G_STACKS + 0xf80, 64) !=
			 EXIT_VMGEXIT;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	on_cpu_wait(1);
	is(get64(v->sh, SH_INTS) - ints, times,
	   "an injected interrupt is delivered once, whatever others do");
	is(get64(v->sh, SH_EXCS) - excs + other, 0, "and nothing else is");
	vm_destroy(vm);
}

/* VMRUN again and again, without handling the guest's exits. */
static volatile u64 npfs;

static void run_through(void *p)
{
	struct vcpu *v = p;
	u64 e;

	do {
		e = vcpu_run(v);
		npfs += e == EXIT_NPF;
	} while (e == EXIT_NPF);
	exit_of[this_cpu()->id] = e;
}

/* Watches an entry for a while; counts the times it is not as the host set it. */
static u64 differs(u64 p, u64 lo)
{
	u64 bad = 0;

	for (u32 i = 0; i < 100; i++) {
		bad += rmp(p) != lo;
		pause();
	}
	return bad;
}

/* CPU 1 runs a guest that validates and rescinds; CPU 0 gives and takes the page. */
static void pvalidate_race(void)
{
	const u64 a = G_DATA, mine = RMP_ASSIGNED | a;
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	u64 p = (u64)page_alloc(), torn = 0, perms = 0, wrong = 0, fixed = 0;
	u64 lost = 0, rc = 0, n, rounds = 0, seen = 0, start = rdtsc();
	/* a loaded machine runs only one CPU for milliseconds */
	const u64 wait = 60000000, most = 800 * wait;

	vm_keep(vm, (void *)p);
	npt_map(vm, a, p, NPT_RWX);
	put64(v->sh, SH_GO, 0);
	n = get64(v->sh, SH_SPINS);
	npfs = 0;
	vcpu_order(v, OP_PVLOOP, a, 0, 0);
	on_cpu_start(1, run_through, v);
	/* at least so many rounds, and until the guest has had its turns */
	for (; rounds < 1000 || (seen < 200 && rdtsc() - start < most);
	     rounds++) {
		u64 t = rdtsc();

		rc += rmp_assign(p, a, 1, false, false) != 0;
		/* take the page at once, or during the first PVALIDATEs, or later */
		while (rounds % 3 && rdtsc() - t < wait) {
			if (rmp(p) & RMP_VALIDATED) {
				seen++;
				break;
			}
			pause();
		}
		delay(rounds % 3 == 1 ? 0 : rounds * 7919 % 256 * 500);
		switch (rounds % 16) {
		case 1:
		case 5:
		case 11:
			/* give it to another guest, at the same gpa */
			rc += rmp_assign(p, a, 2, false, false) != 0;
			wrong += differs(p, mine | RMP_ASID(2));
			break;
		case 3:
		case 7:
		case 9:
		case 15:
			/* give it to the firmware, then reclaim it */
			rc += rmp_assign(p, a, 1, false, true) != 0;
			fixed += differs(p, mine | RMP_IMMUTABLE | RMP_ASID(1));
			rc += fw_reclaim(p, false) != ST_OK;
			break;
		}
		rc += rmp_shared(p, false) != 0;
		for (u32 i = 0; i < PAGE; i += 512)
			put64((void *)p, i, rounds + i);
		torn += differs(p, 0);
		perms += rmp_hi(p) != 0;
		for (u32 i = 0; i < PAGE; i += 512)
			lost += get64((void *)p, i) != rounds + i;
	}
	rmp_assign(p, a, 1, false, false);
	put64(v->sh, SH_GO, 1);
	on_cpu_wait(1);
	say("# %lu rounds, %lu found it validated, %lu #NPF, %lu PVALIDATEs\n",
	    rounds, seen, npfs, get64(v->sh, SH_SPINS) - n);
	ok(seen >= 50 && npfs,
	   "PVALIDATE against RMPUPDATE: both had their turns");
	is(rc, 0, "PVALIDATE against RMPUPDATE: every RMPUPDATE succeeds");
	is(torn, 0,
	   "PVALIDATE against RMPUPDATE: never validated and not assigned");
	is(perms, 0, "PVALIDATE against RMPUPDATE: nor with permissions");
	is(wrong, 0,
	   "PVALIDATE against RMPUPDATE: never another guest's page");
	is(fixed, 0, "PVALIDATE against RMPUPDATE: never an immutable page");
	is(lost, 0,
	   "PVALIDATE against RMPUPDATE: the hypervisor's page keeps its content");
	is(exit_of[1], EXIT_VMGEXIT, "PVALIDATE against RMPUPDATE: the guest ends");
	is(get64(v->sh, SH_R0), 0x447, "and has done its order");
	vm_destroy(vm);
}

static volatile u64 readings, leaked;

static void read_until_stopped(void *p)
{
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		leaked += get64(p, 0) >> 16 == 0x5ec2e7;
		readings++;
	}
}

/*
 * The host has read an assigned page, so its TLB entry for it has no key. Then
 * the guest accepts the page and writes to it: the host must see no plaintext.
 */
static void read_while_accepted(void)
{
	const u64 a = G_DATA, rounds = 600;
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	u64 p = (u64)page_alloc(), bad = 0, n;

	vm_keep(vm, (void *)p);
	npt_map(vm, a, p, NPT_RWX);
	leaked = 0;
	readings = 0;
	stop = 0;
	on_cpu_start(1, read_until_stopped, (void *)p);
	for (u64 i = 0; i < rounds; i++) {
		/* with RMPUPDATEs by other CPUs going on, and without */
		if (i == rounds / 2)
			on_cpu_start(2, churn_until_stopped, NULL);
		put64((void *)p, 0, i);
		bad += rmp_assign(p, a, 1, false, false) != 0;
		n = readings;
		for (u32 k = 0; k < 100000 && readings == n; k++)
			pause();
		bad += vcpu_do(v, OP_PVALIDATE, a, 0, 1) != EXIT_VMGEXIT;
		bad += get64(v->sh, SH_R0) != 0 || get64(v->sh, SH_R1) != 0;
		bad += vcpu_do(v, OP_WRITE, a, 0x5ec2e70000 + i, 0) !=
		       EXIT_VMGEXIT;
		n = readings;
		for (u32 k = 0; k < 100000 && readings == n; k++)
			pause();
		vcpu_do(v, OP_READ, a, 0, 0);
		bad += get64(v->sh, SH_R0) != 0x5ec2e70000 + i;
		bad += rmp_shared(p, false) != 0;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	on_cpu_wait(1);
	on_cpu_wait(2);
	ok(readings > rounds, "host reads while a guest accepts a page: often");
	is(bad, 0, "host reads while a guest accepts a page: the guest is right");
	is(leaked, 0,
	   "host reads while a guest accepts a page: never what the guest wrote");
	vm_destroy(vm);
}

static struct update {
	struct rmp_state st;
	u64 pa;
} up;
static u64 syscfg_there;
static struct fault fault_there;

static void read_syscfg(void *unused)
{
	(void)unused;
	syscfg_there = rdmsr(MSR_SYSCFG);
}

static void rmpupdate_there(void *arg)
{
	struct update *u = arg;

	fault_there = try(t_rmpupdate, u->pa, (u64)&u->st, 0);
}

static void write_there(void *p)
{
	fault_there = try(t_write, (u64)p, 1, 0);
}

/* INIT and SIPI while SNP is on, as Linux takes a CPU offline and online. */
static void sipi(void)
{
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	u32 id = ncpus - 1;
	u64 was, p = (u64)page_alloc();

	on_cpu(id, read_syscfg, NULL);
	was = syscfg_there;
	ok(was & SYSCFG_SNP_EN, "INIT: SNP_EN is set before it");
	cpu_restart(id);
	on_cpu(id, read_syscfg, NULL);
	ok(syscfg_there & SYSCFG_SNP_EN, "INIT, SIPI: SNP_EN is still set");
	is(syscfg_there, was, "INIT, SIPI: SYSCFG is as it was");
	up.pa = p;
	up.st.gpa = 0x1000;
	up.st.assigned = 1;
	up.st.asid = 5;
	on_cpu(id, rmpupdate_there, &up);
	is_fault(fault_there, NO_FAULT, 0, 0, "INIT, SIPI: RMPUPDATE is there");
	is(fault_there.ret, 0, "INIT, SIPI: and succeeds");
	is(rmp(p), RMP_ASSIGNED | 0x1000 | RMP_ASID(5),
	   "INIT, SIPI: its entry");
	on_cpu(id, write_there, (void *)p);
	is_fault(fault_there, VEC_PF, PF_P | PF_W | PF_RMP, p,
		 "INIT, SIPI: its writes are checked");
	rmp_shared(p, false);
	on_cpu(id, write_there, (void *)p);
	is_fault(fault_there, NO_FAULT, 0, 0,
		 "INIT, SIPI: it writes to a hypervisor page");
	on_cpu(id, svm_cpu_init, NULL);
	vcpu_order(v, OP_NOP, 0, 0, 0);
	on_cpu(id, run_order, v);
	is(exit_of[id], EXIT_VMGEXIT, "INIT, SIPI: it runs an SNP guest");
	page_free((void *)p);
	vm_destroy(vm);
}

#define LVT_ERROR	0x370
#define LVT_MASKED	BIT(16)

static volatile u64 astray[MAX_CPUS];

static void use_apic(void *unused)
{
	u32 id = this_cpu()->id;

	(void)unused;
	/* vectors below 32 are reserved */
	for (u32 v = 0; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); v++) {
		u32 lvt = LVT_MASKED | (32 + v % 224);

		APIC(LVT_ERROR) = lvt;
		astray[id] += APIC(LVT_ERROR) != lvt;
	}
	APIC(LVT_ERROR) = LVT_MASKED;
}

/*
 * A device leaves the memory map and comes back, as when a kernel sizes BARs,
 * while other CPUs use a device above it. Their TLB entries must not lead to
 * another device meanwhile.
 */
static void memory_map_changes(void)
{
	stop = 0;
	for (u32 i = 1; i < ncpus; i++)
		on_cpu_start(i, use_apic, NULL);
	for (u32 i = 0; i < 500; i++)
		psp_decode(i & 1);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (u32 i = 1; i < ncpus; i++) {
		on_cpu_wait(i);
		is(astray[i], 0,
		   "CPU %u's APIC, while BARs come and go: no access goes astray",
		   i);
	}
}

void t_smp(void)
{
	section("several CPUs");
	memory_map_changes();
	parallel();
	in_use();
	moved();
	noticed();
	smashed();
	injected();
	pvalidate_race();
	read_while_accepted();
	sipi();
}
