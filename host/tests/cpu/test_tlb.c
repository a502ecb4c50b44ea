// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TLB entries for a page whose RMP entry changes: the page is mapped at several
 * addresses, used as a table, part of 2 MB, or a CPU is in the middle of a walk
 * to it.
 */
#include "lib.h"

#define RMP_W (PF_P | PF_W | PF_RMP)

/*
 * 2 MB regions in which one page stays assigned: the first assignment in a
 * region flushes all TLBs, which would hide a missing flush.
 */
static u64 region;

static u64 page_of_region(u32 n)
{
	memset((void *)(region + n * PAGE), 0, PAGE);
	return region + n * PAGE;
}

/* A page mapped at N addresses, with a TLB entry for each. */
static void aliases(void)
{
	u64 *pt = page_alloc(), p = page_of_region(0), was;

	for (u32 i = 0; i < 5; i++)
		pt[i] = p | 0x67;
	was = view_put(pt);
	for (u32 n = 1; n <= 5; n++) {
		u64 faults = 0, read = 0;

		for (u32 i = 0; i < n; i++)
			faults += try(t_write, VIEW + i * PAGE, n, 0).vec !=
				  NO_FAULT;
		/* every other time use the identity mapping as well */
		if (n & 1)
			faults += try(t_write, p, n, 0).vec != NO_FAULT;
		is(faults, 0, "a page at %u addresses: all writable", n);
		rmp_assign(p, 0x1000, 5, false, false);
		for (u32 i = 0; i < n; i++) {
			struct fault f = try(t_write, VIEW + i * PAGE, 7, 0);

			faults += f.vec == VEC_PF && f.err == RMP_W &&
				  f.cr2 == VIEW + i * PAGE;
			read += get64((void *)(VIEW + i * PAGE), 0) == n;
		}
		is(faults, n, "a page at %u addresses, assigned: none is", n);
		is(read, n, "a page at %u addresses, assigned: all readable",
		   n);
		is(try(t_write, p, 7, 0).vec, VEC_PF, "nor is its own");
		rmp_shared(p, false);
	}
	view_restore(was);
	page_free(pt);
}

/* A page table in which the last walk has set A and D */
static void walked_table(void)
{
	u64 *pt = (u64 *)page_of_region(1), p = (u64)page_alloc(), was;
	struct fault f;

	for (u32 i = 0; i < 3; i++)
		pt[i] = p | 7;
	was = view_put(pt);
	is_fault(try(t_write, VIEW, 1, 0), NO_FAULT, 0, 0,
		 "a table in use: A and D are set");
	rmp_assign((u64)pt, 0x1000, 5, false, false);
	f = try(t_read, VIEW + PAGE, 0, 0);
	ok(f.vec == VEC_PF && (f.err & PF_RMP) && f.cr2 == VIEW + PAGE,
	   "a table in use is assigned: no walk sets A there");
	f = try(t_write, VIEW + 2 * PAGE, 0, 0);
	ok(f.vec == VEC_PF && (f.err & PF_RMP) && f.cr2 == VIEW + 2 * PAGE,
	   "nor D");
	is((pt[1] | pt[2]) & 0x60, 0, "and neither is set");
	rmp_shared((u64)pt, false);
	view_restore(was);
	page_free((void *)p);
}

/*
 * A store from a device's page into a page under another key: all translations
 * of the page go while the CPU has that of the device's page in hand.
 */
static void straddled_device(void)
{
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	u64 *pt = page_alloc(), p = (u64)page_alloc(), was, bad = 0;

	npt_map(vm, G_DATA, p, NPT_RWX);
	was = view_straddle(pt, p);
	for (u64 i = 0; i < 60; i++) {
		rmp_assign(p, G_DATA, 1, false, false);
		bad += vcpu_do(v, OP_PVALIDATE, G_DATA, 0, 1) != EXIT_VMGEXIT;
		bad += vcpu_do(v, OP_WRITE, G_DATA, ~i, 0) != EXIT_VMGEXIT;
		rmp_shared(p, false);
		use_pages(i * 7919 % 3000);
		put64((void *)VIEW, PAGE - 4, i << 32 | 0x5a5a);
		bad += get32((void *)p, 0) != i;
	}
	is(bad, 0,
	   "a store from a device's page into one under a guest's key: its second half is stored");
	view_restore(was);
	page_free(pt);
	page_free((void *)p);
	vm_destroy(vm);
}

/* A guest has a TLB entry for each 4 KB page of 2 MB. */
static void guest_2m(void)
{
	const u64 a = 0x800000, at[] = { 0, 5 * PAGE, 511 * PAGE };
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	u64 h = (u64)huge_alloc(), bad = 0, e;

	rmp_assign(h, a, 1, true, false);
	npt_map_large(vm, a, h, NPT_RWX);
	vcpu_do(v, OP_PVALIDATE, a, 1, 1);
	for (u32 i = 0; i < ARRAY_SIZE(at); i++)
		bad += vcpu_do(v, OP_WRITE, a + at[i], i, 0) != EXIT_VMGEXIT;
	is(bad, 0, "a guest uses 2 MB");
	is(rmp_assign(h, a + 2 * MB, 1, true, false), 0,
	   "RMPUPDATE of the 2 MB to another address of the guest's");
	for (u32 i = 0; i < ARRAY_SIZE(at); i++) {
		e = vcpu_do(v, OP_READ, a + at[i], 0, 0);
		is(e, EXIT_NPF, "it leaves, at 2 MB + %#lx", at[i]);
		ok(get64(v->vmcb, VMCB_INFO1) & PF_RMP, "by #NPF with RMP");
		if (e == EXIT_NPF)
			vcpu_abort(v);
	}
	rmp_shared(h, true);
	vm_destroy(vm);
}

/* Two guests take turns on a CPU; each must see its own page at the same gpa. */
static void asids(void)
{
	const u64 a = G_DATA;
	struct vm *vm[2] = { vm_ready(1, 1), vm_ready(2, 1) };
	u64 bad = 0, page[2];

	for (u32 i = 0; i < 2; i++) {
		page[i] = (u64)page_alloc();
		vm_keep(vm[i], (void *)page[i]);
		npt_map(vm[i], a, page[i], NPT_RWX);
		rmp_assign(page[i], a, i + 1, false, false);
		vcpu_do(&vm[i]->vcpu[0], OP_PVALIDATE, a, 0, 1);
		vcpu_do(&vm[i]->vcpu[0], OP_WRITE, a, 0x1111 * (i + 1), 0);
	}
	for (u32 i = 0; i < 100; i++) {
		struct vcpu *v = &vm[i & 1]->vcpu[0];

		bad += vcpu_do(v, OP_READ, a, 0, 0) != EXIT_VMGEXIT ||
		       get64(v->sh, SH_R0) != 0x1111 * ((i & 1) + 1);
	}
	is(bad, 0, "two ASIDs on one CPU: no guest sees the other's page");
	for (u32 i = 0; i < 2; i++)
		vm_destroy(vm[i]);
}

/* After an SEV-ES guest the host's PKRU comes from the host save area. */
static void host_pkru(void)
{
	struct vm *vm = vm_ready(1, 1);
	u64 *pt = page_alloc(), p = (u64)page_alloc(), was, cr4;
	u8 *save = this_cpu()->hsave + VMCB_SAVE;
	struct fault f;

	if (!(cpuid(7, 0).c & BIT(3))) {
		ok(true, "PKRU after a guest # SKIP no protection keys");
		goto out;
	}
	pt[0] = p | 0x67 | 1ull << 59;
	was = view_put(pt);
	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	asm volatile("mov %0, %%cr4" :: "r"(cr4 | BIT(22)));
	asm volatile("wrpkru" :: "a"(0), "c"(0), "d"(0));
	is_fault(try(t_read, VIEW, 0, 0), NO_FAULT, 0, 0,
		 "protection key 1: the page can be read");
	put32(save, SA_PKRU, 0xc);
	vcpu_do(&vm->vcpu[0], OP_NOP, 0, 0, 0);
	f = try(t_read, VIEW, 0, 0);
	ok(f.vec == VEC_PF && f.err & BIT(5),
	   "PKRU in the host save area forbids it: #PF after the guest");
	put32(save, SA_PKRU, 0);
	vcpu_do(&vm->vcpu[0], OP_NOP, 0, 0, 0);
	is_fault(try(t_read, VIEW, 0, 0), NO_FAULT, 0, 0,
		 "PKRU in the host save area allows it again");
	asm volatile("mov %0, %%cr4" :: "r"(cr4));
	view_restore(was);
 out:
	page_free(pt);
	page_free((void *)p);
	vm_destroy(vm);
}

/*
 * Only the CPU may access the VMSA while the guest runs. Between runs, a host
 * walk that uses the VMSA as a page table must find noise and write nothing.
 */
static void vmsa_as_table(void)
{
	struct vm *vm = vm_ready(1, 1);
	struct vcpu *v = &vm->vcpu[0];
	u64 p = (u64)page_alloc(), was, bad = 0, n = SA_XMM / 8;
	struct fault f;

	put64((void *)p, 0, 0x5ec2e7);
	/* XMM0 in the VMSA has the value of a table entry for p */
	vcpu_do(v, OP_SETXMM, p | 7, p | 7, 0);
	for (u32 i = 0; i < 20; i++) {
		was = view_put((u64 *)v->vmsa);
		for (u32 k = 0; k < 2; k++) {
			f = try(t_read, VIEW + (n + k) * PAGE, 0, 0);
			bad += f.vec == NO_FAULT && f.ret == 0x5ec2e7;
		}
		view_restore(was);
		vcpu_do(v, OP_GETXMM, 0, 0, 0);
		bad += get64(v->sh, SH_R0) != (p | 7);
		bad += get64(v->sh, SH_R1) != (p | 7);
	}
	is(bad, 0, "a VMSA as a table: not seen by a walk, nor changed");
	page_free((void *)p);
	vm_destroy(vm);
}

/* ---- several CPUs ------------------------------------------------------ */

static struct {
	u64 page;
	volatile u64 go, stop, late[MAX_CPUS], writes[MAX_CPUS];
} race;

/* INVLPG before each write makes each write a walk. */
static void walk_and_write(void *unused)
{
	u32 id = this_cpu()->id;
	u64 after;

	(void)unused;
	for (;;) {
		after = __atomic_load_n(&race.stop, __ATOMIC_SEQ_CST);
		invlpg(race.page);
		if (try(t_write, race.page + 8 * id, 1, 0).vec != NO_FAULT)
			break;
		race.writes[id]++;
		race.late[id] += after;
		if (after)
			break;
	}
}

static void amid_a_walk(void)
{
	const u32 rounds = 400;
	u64 late = 0, writes = 0;

	race.page = page_of_region(2);
	for (u32 r = 0; r < rounds; r++) {
		race.stop = 0;
		for (u32 i = 1; i < ncpus; i++) {
			race.writes[i] = 0;
			race.late[i] = 0;
			on_cpu_start(i, walk_and_write, NULL);
		}
		while (!race.writes[1] || !race.writes[ncpus - 1])
			pause();
		delay(r * 7919 % 64 * 100);
		rmp_assign(race.page, 0x1000, 5, false, false);
		/* RMPUPDATE has returned: from here on no CPU may write */
		__atomic_store_n(&race.stop, 1, __ATOMIC_SEQ_CST);
		for (u32 i = 1; i < ncpus; i++) {
			on_cpu_wait(i);
			late += race.late[i];
			writes += race.writes[i];
		}
		rmp_shared(race.page, false);
	}
	is(late, 0,
	   "CPUs amid walks to a page while RMPUPDATE assigns it: none writes after it (of %lu)",
	   writes);
}

/* A CPU's first access to a page races with the page's assignment. */
static void first_write(void *p)
{
	u32 id = this_cpu()->id;
	u64 after = 0, n = 0;

	while (!__atomic_load_n(&race.go, __ATOMIC_ACQUIRE))
		pause();
	delay((u64)p * id * 7919 % 97 * 30);
	while (try(t_write, race.page + 8 * id, 1, 0).vec == NO_FAULT) {
		race.writes[id]++;
		race.late[id] += after;
		if (after && n++ == 3)
			break;
		after = __atomic_load_n(&race.stop, __ATOMIC_SEQ_CST);
	}
}

static void amid_a_first_walk(void)
{
	const u32 rounds = 3000;
	u64 late = 0, writes = 0;

	race.page = page_of_region(3);
	for (u64 r = 0; r < rounds; r++) {
		race.go = 0;
		race.stop = 0;
		for (u32 i = 1; i < ncpus; i++) {
			race.writes[i] = 0;
			race.late[i] = 0;
			on_cpu_start(i, first_write, (void *)r);
		}
		__atomic_store_n(&race.go, 1, __ATOMIC_RELEASE);
		delay(r * 7907 % 89 * 60);
		rmp_assign(race.page, 0x1000, 5, false, false);
		__atomic_store_n(&race.stop, 1, __ATOMIC_SEQ_CST);
		for (u32 i = 1; i < ncpus; i++) {
			on_cpu_wait(i);
			late += race.late[i];
			writes += race.writes[i];
		}
		rmp_shared(race.page, false);
	}
	is(late, 0,
	   "CPUs amid their first walk to a page: none writes after it is assigned (of %lu)",
	   writes);
}

/* CPUs write to 2 MB while a page of it that none has used is assigned. */
static void region_race(void)
{
	const u32 rounds = 200;
	u64 late = 0, writes = 0, other = POOL2M + 2 * MB + 9 * PAGE;

	race.page = POOL2M + 2 * MB + 5 * PAGE;
	for (u32 r = 0; r < rounds; r++) {
		race.stop = 0;
		for (u32 i = 1; i < ncpus; i++) {
			race.writes[i] = 0;
			race.late[i] = 0;
			on_cpu_start(i, walk_and_write, NULL);
		}
		while (!race.writes[1] || !race.writes[ncpus - 1])
			pause();
		rmp_assign(other, 0x1000, 5, false, false);
		__atomic_store_n(&race.stop, 1, __ATOMIC_SEQ_CST);
		for (u32 i = 1; i < ncpus; i++) {
			on_cpu_wait(i);
			late += race.late[i];
			writes += race.writes[i];
		}
		rmp_shared(other, false);
	}
	is(late, 0,
	   "CPUs that write to 2 MB while the first page of it is assigned: none writes after it (of %lu)",
	   writes);
}

void t_tlb(void)
{
	section("what is in TLBs");
	region = (u64)huge_alloc();
	rmp_assign(region + 511 * PAGE, 0x1000, 5, false, false);
	aliases();
	walked_table();
	straddled_device();
	guest_2m();
	asids();
	host_pkru();
	vmsa_as_table();
	amid_a_walk();
	amid_a_first_walk();
	region_race();
	rmp_shared(region + 511 * PAGE, false);
}
