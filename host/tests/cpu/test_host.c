// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Accesses by the host (APM 2, 15.36.10), on one CPU and on several: a write,
 * or an access that counts as one, needs a hypervisor page; a read does not.
 */
#include "lib.h"

#define RMP_W (PF_P | PF_W | PF_RMP)

static void accesses(void)
{
	u64 *p = page_alloc(), a = (u64)p;
	struct fault f;

	p[0] = 0x1122334455667788;
	is_fault(try(t_write, a, 0x42, 0), NO_FAULT, 0, 0,
		 "write to a hypervisor page");
	rmp_assign(a, 0x1000, 5, false, false);
	is_fault(try(t_write, a, 1, 0), VEC_PF, RMP_W, a,
		 "write to an assigned page: #PF, P, W, RMP");
	is_fault(try(t_write, a + 0xff8, 1, 0), VEC_PF, RMP_W, a + 0xff8,
		 "CR2 is the address written to");
	f = try(call_user, (u64)t_write, a, 1);
	is_fault(f, VEC_PF, RMP_W | PF_U, a, "user write: U as well");
	f = try(t_xadd, a, 1, 0);
	is_fault(f, VEC_PF, RMP_W, a, "locked read-modify-write");
	f = try(t_cmpxchg, a, 0x9999, 1);
	is_fault(f, VEC_PF, RMP_W, a, "CMPXCHG that would not change it");
	f = try(t_read, a, 0, 0);
	is_fault(f, NO_FAULT, 0, 0, "read of an assigned page is allowed");
	is(f.ret, 0x42, "RMPUPDATE alone does not change what is read");
	f = try(call_user, (u64)t_read, a, 0);
	is_fault(f, NO_FAULT, 0, 0, "user read too");
	is(rmp(a), RMP_ASSIGNED | 0x1000 | RMP_ASID(5), "the entry is kept");
	is(p[0], 0x42, "refused writes wrote nothing");
	is(rmp_shared(a, false), 0, "RMPUPDATE: back to the hypervisor");
	is_fault(try(t_write, a, 7, 0), NO_FAULT, 0, 0, "and writable again");

	rmp_firmware(a);
	is_fault(try(t_write, a, 1, 0), VEC_PF, RMP_W, a,
		 "write to a firmware page");
	fw_reclaim(a, false);
	is_fault(try(t_write, a, 1, 0), VEC_PF, RMP_W, a,
		 "write to a page in state Reclaim: still assigned");
	rmp_shared(a, false);
	is_fault(try(t_write, rmp_base, 0, 0), VEC_PF, RMP_W, rmp_base,
		 "write to the RMP");
	is_fault(try(t_write, rmp_base + 0x4000, 0, 0), VEC_PF, RMP_W,
		 rmp_base + 0x4000, "write to an entry of the RMP");
	is_fault(try(t_write, rmp_end - 7, 0, 0), VEC_PF, RMP_W, rmp_end - 7,
		 "write to the RMP's end");
	page_free(p);
}

static void straddle(void)
{
	u64 a = (u64)huge_alloc();
	struct fault f;

	put64((void *)a, 0xff8, 0x1111);
	rmp_assign(a + PAGE, 0x1000, 5, false, false);
	f = try(t_write, a + 0xffc, 0x2222222222222222, 0);
	is_fault(f, VEC_PF, RMP_W, a + PAGE,
		 "write that ends in an assigned page");
	is(get64((void *)a, 0xff8), 0x1111, "its first half is not written");
	rmp_shared(a + PAGE, false);
	rmp_assign(a, 0x200000, 5, true, false);
	f = try(t_write, a + 5 * PAGE, 1, 0);
	is_fault(f, VEC_PF, RMP_W, a + 5 * PAGE,
		 "write through 4 KB into a 2 MB entry");
	f = try(t_write, a + 511 * PAGE, 1, 0);
	is_fault(f, VEC_PF, RMP_W, a + 511 * PAGE, "and into its last page");
	rmp_shared(a, true);
	is_fault(try(t_write, a + 511 * PAGE, 1, 0), NO_FAULT, 0, 0,
		 "which is writable when the 2 MB are back");
}

/* A write through a 2 MB mapping in which a page is assigned. */
static void large_mapping(void)
{
	u64 big = POOL2M, in = big + 3 * PAGE, other = big + 9 * PAGE;
	struct fault f;

	is_fault(try(t_write, other, 1, 0), NO_FAULT, 0, 0,
		 "2 MB mapping: write while no page is assigned");
	rmp_assign(in, 0x1000, 5, false, false);
	is_fault(try(t_write, in, 1, 0), VEC_PF, RMP_W, in,
		 "2 MB mapping: write to the assigned page");
	f = try(t_write, other, 1, 0);
	is_fault(f, VEC_PF, RMP_W, other,
		 "2 MB mapping: write beside an assigned page");
	f = try(t_read, in, 0, 0);
	is_fault(f, NO_FAULT, 0, 0, "2 MB mapping: read");
	f = try(t_write, big + 2 * MB, 1, 0);
	is_fault(f, NO_FAULT, 0, 0, "2 MB mapping: the next 2 MB are free");
	rmp_shared(in, false);
	is_fault(try(t_write, other, 1, 0), NO_FAULT, 0, 0,
		 "2 MB mapping: writable when nothing is assigned");
	rmp_assign(big, 0x200000, 5, true, false);
	is_fault(try(t_write, other, 1, 0), VEC_PF, RMP_W, other,
		 "2 MB mapping: write into a 2 MB entry");
	rmp_shared(big, true);
}

/* The page walk writes too: it sets accessed and dirty bits. */
static void page_walk(void)
{
	u64 *pt = page_alloc(), va = POOL2M + 4 * MB;
	u64 *target = page_alloc(), *pde = host_pde(va), keep = *pde;
	struct fault f;

	pt[0] = (u64)target | 0x7;
	*pde = (u64)pt | 0x67;
	invlpg(va);
	rmp_assign((u64)pt, 0x1000, 5, false, false);
	f = try(t_read, va, 0, 0);
	ok(f.vec == VEC_PF && (f.err & PF_RMP) && f.cr2 == va,
	   "page walk: setting A in an assigned table: #PF with RMP");
	is(pt[0] & 0x20, 0, "page walk: A is not set");
	rmp_shared((u64)pt, false);
	pt[0] |= 0x20;
	rmp_assign((u64)pt, 0x1000, 5, false, false);
	invlpg(va);
	/* the APM counts table accesses as writes: a fault is also right */
	f = try(t_read, va, 0, 0);
	ok(f.vec == NO_FAULT || (f.vec == VEC_PF && (f.err & PF_RMP)),
	   "page walk: A is set, an assigned table is read, or #PF with RMP");
	f = try(t_write, va, 1, 0);
	ok(f.vec == VEC_PF && (f.err & PF_RMP) && f.cr2 == va,
	   "page walk: setting D in an assigned table: #PF with RMP");
	is(*target, 0, "page walk: and the write is not done");
	rmp_shared((u64)pt, false);
	is_fault(try(t_write, va, 1, 0), NO_FAULT, 0, 0,
		 "page walk: the table is the hypervisor's again");
	*pde = keep;
	invlpg(va);
	page_free(pt);
	page_free(target);
}

/* ---- several CPUs ------------------------------------------------------ */

static struct {
	u64 page;
	volatile u64 go, stop;
	volatile u64 faulted[MAX_CPUS], late[MAX_CPUS], writes[MAX_CPUS];
	volatile u64 other[MAX_CPUS];
} race;

static void write_once(void *unused)
{
	struct fault f = try(t_write, race.page, 0x77, 0);
	u32 id = this_cpu()->id;

	(void)unused;
	race.faulted[id] = f.vec == VEC_PF && f.err == RMP_W;
	race.other[id] = f.vec != NO_FAULT && !race.faulted[id];
}

static void write_loop(void *unused)
{
	u32 id = this_cpu()->id;
	struct fault f;
	u64 after;

	(void)unused;
	do {
		after = __atomic_load_n(&race.stop, __ATOMIC_SEQ_CST);
		f = try(t_write, race.page + 8 * id, race.writes[id], 0);
		if (f.vec == NO_FAULT) {
			race.writes[id]++;
			race.late[id] += after;
		}
	} while (f.vec == NO_FAULT && !after);
	if (f.vec == NO_FAULT) {
		f = try(t_write, race.page + 8 * id, 0, 0);
		race.late[id] += f.vec == NO_FAULT;
	}
	race.faulted[id] = f.vec == VEC_PF && f.err == RMP_W;
}

static void other_cpus(void)
{
	u64 late = 0, faulted = 0, writes = 0;
	u32 i, round;

	race.page = (u64)page_alloc();
	on_all(write_once, NULL);
	for (i = 0, faulted = 0; i < ncpus; i++)
		faulted += race.faulted[i] + race.other[i];
	is(faulted, 0, "all CPUs: the page is writable, and in their TLBs");
	rmp_assign(race.page, 0x1000, 5, false, false);
	on_all(write_once, NULL);
	for (i = 0, faulted = 0; i < ncpus; i++)
		faulted += race.faulted[i];
	is(faulted, ncpus, "all CPUs: RMPUPDATE invalidates every TLB");
	rmp_shared(race.page, false);
	on_all(write_once, NULL);
	for (i = 0, faulted = 0; i < ncpus; i++)
		faulted += race.faulted[i];
	is(faulted, 0, "all CPUs: and the page is writable again");

	faulted = 0;
	for (round = 0; round < 50; round++) {
		u64 was = 0;

		race.stop = 0;
		for (i = 1; i < ncpus; i++) {
			race.late[i] = 0;
			race.writes[i] = 0;
			race.faulted[i] = 0;
			on_cpu_start(i, write_loop, NULL);
		}
		while (!was) {
			was = 1;
			for (i = 1; i < ncpus; i++)
				was &= race.writes[i] > 10;
			pause();
		}
		rmp_assign(race.page, 0x1000, 5, false, false);
		/* RMPUPDATE has returned: from here on no CPU may write */
		__atomic_store_n(&race.stop, 1, __ATOMIC_SEQ_CST);
		for (i = 1; i < ncpus; i++) {
			on_cpu_wait(i);
			late += race.late[i];
			faulted += race.faulted[i];
			writes += race.writes[i];
		}
		rmp_shared(race.page, false);
	}
	is(late, 0,
	   "CPUs that write while RMPUPDATE runs: none after it (of %lu)",
	   writes);
	is(faulted, 50ull * (ncpus - 1), "each of them got the fault");
	page_free((void *)race.page);
}

/* RMPUPDATE by all CPUs at once, on pages of their own and on a common page. */
static u64 shared_pages[16], storm_bad;

static void storm(void *unused)
{
	u32 id = this_cpu()->id;
	u64 p = (u64)page_alloc(), bad = 0;

	(void)unused;
	for (u32 i = 0; i < 300; i++) {
		u64 s = shared_pages[(i + id) % 16], rc;

		bad += rmp_assign(p, i * PAGE, id + 1, false, false) != 0;
		bad += rmp(p) != (RMP_ASSIGNED | i * PAGE | RMP_ASID(id + 1));
		bad += rmp_shared(p, false) != 0;
		bad += try(t_write, p, i, 0).vec != NO_FAULT;
		rc = rmp_assign(s, 0x5000, id + 1, false, false);
		bad += rc != 0 && rc != 3;
		rc = rmp_shared(s, false);
		bad += rc != 0 && rc != 3;
	}
	__atomic_fetch_add(&storm_bad, bad, __ATOMIC_SEQ_CST);
	page_free((void *)p);
}

static void parallel(void)
{
	u64 left = 0;
	u32 i;

	for (i = 0; i < 16; i++)
		shared_pages[i] = (u64)page_alloc();
	for (i = 1; i < ncpus; i++)
		on_cpu_start(i, storm, NULL);
	storm(NULL);
	for (i = 1; i < ncpus; i++)
		on_cpu_wait(i);
	is(storm_bad, 0, "RMPUPDATE on all CPUs at once: every result right");
	for (i = 0; i < 16; i++) {
		rmp_shared(shared_pages[i], false);
		left += rmp(shared_pages[i]) != 0;
		page_free((void *)shared_pages[i]);
	}
	is(left, 0, "RMPUPDATE on all CPUs at once: no entry is torn");
}

void t_host(void)
{
	section("host accesses");
	accesses();
	straddle();
	large_mapping();
	page_walk();
	other_cpus();
	parallel();
}
