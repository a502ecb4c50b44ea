// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random orders from all CPUs at once: mailbox commands, RMP instructions and
 * host accesses, VMRUN with random VMCBs, an SNP guest with random instructions
 * and nested tables. The platform must survive all of them: run --fuzz checks
 * that QEMU ends well, this file checks the rest.
 */
#include "lib.h"

static u64 area4k, area2m, deadline;
#define AREA (4 * MB)

static u64 state[MAX_CPUS], counts[MAX_CPUS], done_ok[MAX_CPUS];

static u64 rnd(void)
{
	u64 *s = &state[this_cpu()->id];

	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1d;
}

static u64 below(u64 n)
{
	return (rnd() >> 33) % n;
}

/* A random address, mostly in the fuzzed areas; never in the test kernel. */
static u64 addr(void)
{
	u64 base = below(2) ? area4k : area2m;

	switch (below(20)) {
	case 0:
		return rmp_base + below(rmp_end - rmp_base);
	case 1:
		return RAM_END - PAGE + below(4) * PAGE;
	case 2:
		return rnd() | BIT(40);
	case 3:
		return base + below(AREA);
	case 4:
		return 0x1000;
	case 5:
		return (base + below(AREA)) | cbit;
	case 6 ... 8:
		return base + below(2) * 2 * MB;
	default:
		return base + below(AREA / PAGE) * PAGE;
	}
}

static bool time_is_up(void)
{
	return rdtsc() > deadline;
}

static void mailbox(void *platform)
{
	static const u16 known[] = {
		0x001, 0x002, 0x003, 0x004, 0x005, 0x00a, 0x00c, 0x00d,
		0x020, 0x021, 0x022, 0x023, 0x030, 0x031, 0x032, 0x033, 0x034,
		0x035, 0x036, 0x060, 0x061, 0x083, 0x084, 0x090, 0x091, 0x092,
		0x093, 0x094, 0x0a0, 0x0a1, 0x0a2, 0x0b0, 0x0b1, 0x0c7, 0x0c9,
		0x0cb, 0x0cd, 0x0ce,
	};
	static u64 b[512] __aligned(4096);
	u32 id = this_cpu()->id;

	while (!time_is_up()) {
		u32 cmd = known[below(ARRAY_SIZE(known))];
		u64 at = (u64)b;

		if (!below(10))
			cmd = below(0x800);
		if (platform && !below(4))
			cmd = 0x081 + below(6);
		/* a shutdown would end the other CPUs' guests */
		if (!platform && (cmd == CMD_SNP_SHUTDOWN_EX || cmd == 0x082))
			continue;
		for (u32 i = 0; i < 64; i++) {
			switch (below(8)) {
			case 0 ... 3:
				b[i] = addr();
				break;
			case 4:
				b[i] = below(16) | below(600) << 32;
				break;
			case 5:
				b[i] = rnd();
				break;
			case 6:
				b[i] = POLICY_DEBUG;
				break;
			default:
				b[i] = below(8);
			}
		}
		if (!below(5))
			at = addr();
		/* often a page that may be a guest's context */
		if (!below(2))
			b[0] = area4k + below(8) * PAGE;
		if (!below(3) && cmd >= 0x090)
			rmp_firmware(b[0] & ~0xfffull);
		psp(cmd, (void *)at);
		if (platform && !below(8))
			snp_init();
		counts[id]++;
	}
	done_ok[id] = 1;
}

static void instructions(void *unused)
{
	u32 id = this_cpu()->id;

	(void)unused;
	while (!time_is_up()) {
		struct rmp_state st = {
			.gpa = below(4) ? below(64) * PAGE : rnd(),
			.assigned = below(4) ? below(2) : rnd(),
			.pagesize = below(3) ? 0 : rnd(),
			.immutable = below(16) ? 0 : rnd(),
			.rsvd = below(16) ? 0 : rnd(),
			.asid = below(4) ? below(4) : rnd(),
		};
		u64 a = addr();

		switch (below(8)) {
		case 0 ... 3:
			try(t_rmpupdate, a, (u64)&st, 0);
			break;
		case 4:
			try(t_psmash, a, 0, 0);
			break;
		case 5:
			try(t_write, area4k + below(AREA), rnd(), 0);
			break;
		case 6:
			try(t_read, area2m + below(AREA), 0, 0);
			break;
		default:
			try(t_xadd, area2m + below(AREA), 1, 0);
		}
		counts[id]++;
	}
	done_ok[id] = 1;
}

static void vmruns(void *p)
{
	struct vm *vm = p;
	struct vcpu *v = &vm->vcpu[0], w;
	u8 *good = v->vmcb;
	u32 id = this_cpu()->id;

	w = *v;
	w.vmcb = page_alloc();
	while (!time_is_up()) {
		memcpy(w.vmcb, good, PAGE);
		for (u32 n = below(4); n; n--) {
			switch (below(9)) {
			case 0:
				put64(w.vmcb, VMCB_VMSA, addr());
				break;
			case 1:
				put32(w.vmcb, VMCB_ASID, below(2) ? below(4)
								  : rnd());
				break;
			case 2:
				put64(w.vmcb, VMCB_MISC, rnd() | 7);
				break;
			case 3:
				put32(w.vmcb, VMCB_INJ, rnd() | BIT(31));
				break;
			case 4:
				put32(w.vmcb, VMCB_INT_CTL, rnd());
				break;
			case 5:
				put8(w.vmcb, VMCB_TLB, rnd());
				break;
			case 6:
				put64(w.vmcb, VMCB_MSRPM, addr());
				break;
			case 7:
				put64(w.vmcb, VMCB_IOPM, addr());
				break;
			default:
				put64(w.vmcb, VMCB_INT_STATE, rnd());
			}
		}
		vcpu_order(&w, OP_NOP, 0, 0, 0);
		vcpu_run(&w);
		counts[id]++;
	}
	done_ok[id] = 1;
}

static u64 key_page, straddles, lost;

/*
 * A store from a device's page into a page that is under the guest's key, as no
 * CPU but this one uses the page.
 */
static void straddle(struct vcpu *v)
{
	u32 x = rnd();

	rmp_assign(key_page, G_DATA, v->vm->asid, false, false);
	vcpu_do(v, OP_PVALIDATE, G_DATA, 0, 1);
	rmp_shared(key_page, false);
	use_pages(below(3000));
	put64((void *)VIEW, PAGE - 4, (u64)x << 32 | 0x5a5a);
	lost += get32((void *)key_page, 0) != x;
	straddles++;
}

#define SMALL	0x800000ul	/* 2 MB, mapped by 4 KB nested pages */
#define BIG	0xa00000ul	/* 2 MB, mapped by one nested page */

static u64 gva(void)
{
	u64 a = (below(4) ? SMALL : BIG) + below(8) * PAGE + below(2) * below(64);

	return below(4) ? a : a + SHARED_VIEW;
}

static void guest(void *p)
{
	static const u8 ops[] = {
		OP_PVALIDATE, OP_PVALIDATE, OP_RMPADJUST, OP_RMPADJUST,
		OP_RMPQUERY, OP_RMPUPDATE, OP_PSMASH, OP_READ, OP_WRITE,
		OP_XADD, OP_CPUID, OP_RDMSR, OP_INVLPG, OP_WBINVD, OP_OUT,
		OP_STI_READ, OP_SETXMM, OP_PAUSE, OP_VMMCALL, OP_RDGPRS,
	};
	struct vm *vm = p;
	struct vcpu *v = &vm->vcpu[0];
	u32 id = this_cpu()->id;
	u64 e;

	while (!time_is_up()) {
		u64 gpa = SMALL + below(8) * PAGE, spa = addr() & 0x3ffff000;
		u8 op = ops[below(ARRAY_SIZE(ops))];

		if (spa < POOL4K)
			spa = area4k;
		if (!below(16))
			straddle(v);
		switch (below(6)) {
		case 0:
			npt_map(vm, gpa, spa, below(8));
			break;
		case 1:
			npt_map_large(vm, BIG, area2m + below(2) * 2 * MB,
				      below(8));
			break;
		case 2:
			/* a page that is the guest's at this gpa */
			spa = area4k + below(8) * PAGE;
			rmp_assign(spa, gpa, vm->asid, false, false);
			npt_map(vm, gpa, spa, NPT_RWX);
		}
		e = vcpu_do(v, op, op == OP_CPUID ? rnd() :
			    op == OP_RDMSR ? 0xc0010000 + below(0x200) :
			    op == OP_OUT ? 0x80 : gva(),
			    below(4) ? below(2) : rnd(),
			    below(4) ? below(4) | below(16) << 8 |
			    (below(8) ? 0 : BIT(16)) : rnd());
		for (u32 i = 0; e != EXIT_VMGEXIT && i < 4; i++) {
			put32(v->vmcb, VMCB_INJ,
			      BIT(31) | BIT(11) | 3 << 8 | VEC_GP);
			e = vcpu_run(v);
		}
		if (e != EXIT_VMGEXIT)
			bail("expected VMGEXIT after order %u, found exit %#lx",
			     op, e);
		counts[id]++;
	}
	done_ok[id] = 1;
}

void fuzz(u64 seed, u64 seconds)
{
	struct vm *a, *b;
	u64 khz = tsc_khz();

	section("fuzzing");
	snp_enable();
	area4k = (u64)huge_alloc();
	area4k = (u64)huge_alloc();
	area2m = POOL2M + 8 * MB;
	for (u32 i = 0; i < MAX_CPUS; i++)
		state[i] = (seed + 1) * 0x9e3779b97f4a7c15 + i;
	a = vm_ready(1, 1);
	b = vm_ready(2, 1);
	key_page = (u64)page_alloc();
	npt_map(b, G_DATA, key_page, NPT_RWX);
	view_straddle(page_alloc(), key_page);
	say("# seed %lu, %lu seconds\n", seed, seconds);
	deadline = rdtsc() + khz * 1000 * seconds;
	on_cpu_start(1, instructions, NULL);
	on_cpu_start(2, vmruns, a);
	on_cpu_start(3, guest, b);
	mailbox(NULL);
	for (u32 i = 1; i < MAX_CPUS; i++)
		on_cpu_wait(i);
	for (u32 i = 0; i < MAX_CPUS; i++)
		ok(done_ok[i], "CPU %u came to its end after %lu orders", i,
		   counts[i]);
	is(lost, 0, "stores from a device's page: none of %lu is lost",
	   straddles);
	is(vcpu_do(&b->vcpu[0], OP_NOP, 0, 0, 0), EXIT_VMGEXIT,
	   "a guest that was left alone by the host runs on");
	/* then shutdown and initialization of the platform itself */
	deadline = rdtsc() + khz * 250 * seconds;
	counts[0] = 0;
	mailbox((void *)1);
	ok(counts[0] > 0, "platform commands: %lu orders", counts[0]);
	is(psp(0x7fe, NULL), ST_COMMAND, "the mailbox still answers");
}
