// SPDX-License-Identifier: GPL-2.0-or-later
/* RMPUPDATE and PSMASH (APM 3), RMPREAD: results, entries, faults. */
#include "lib.h"

static u8 *pg, *huge;

static void forms(void)
{
	static const struct {
		const char *name;
		struct rmp_state st;
		u64 entry;
	} form[] = {
		{ "guest page (Guest-Invalid)",
		  { .gpa = 0x12345000, .assigned = 1, .asid = 5 },
		  RMP_ASSIGNED | 0x12345000 | RMP_ASID(5) },
		{ "the highest gpa an entry holds",
		  { .gpa = 0x7fffff000, .assigned = 1, .asid = 5 },
		  RMP_ASSIGNED | 0x7fffff000 | RMP_ASID(5) },
		{ "hypervisor page", { 0 }, 0 },
		{ "Reclaim", { .assigned = 1 }, RMP_ASSIGNED },
		{ "guest page at gpa 0", { .assigned = 1, .asid = 1 },
		  RMP_ASSIGNED | RMP_ASID(1) },
		{ "hypervisor page again", { 0 }, 0 },
		{ "immutable guest page (Pre-Guest)",
		  { .gpa = 0x7000, .assigned = 1, .immutable = 1, .asid = 9 },
		  RMP_ASSIGNED | RMP_IMMUTABLE | 0x7000 | RMP_ASID(9) },
	};

	for (u32 i = 0; i < ARRAY_SIZE(form); i++) {
		struct rmp_state st = form[i].st;

		is(rmpupdate((u64)pg, &st), 0, "RMPUPDATE: %s", form[i].name);
		is(rmp((u64)pg), form[i].entry, "RMPUPDATE: the entry of: %s",
		   form[i].name);
	}
	is(rmp_shared((u64)pg, false), 2,
	   "RMPUPDATE of an immutable page: 2 FAIL_PERMISSION");
	is(rmp((u64)pg), RMP_ASSIGNED | RMP_IMMUTABLE | 0x7000 | RMP_ASID(9),
	   "RMPUPDATE: a refused change changes nothing");
	is(fw_reclaim((u64)pg, false), ST_OK, "PAGE_RECLAIM of Pre-Guest");
	is(rmp((u64)pg), RMP_ASSIGNED | 0x7000 | RMP_ASID(9),
	   "PAGE_RECLAIM: Pre-Guest becomes Guest-Invalid (SNP ABI)");
	is(rmp_shared((u64)pg, false), 0, "RMPUPDATE: no longer immutable");
	is(rmp_shared(0x1000, false), 2, "RMPUPDATE of an HV-fixed page: 2");
	is(rmp_shared(rmp_base, false), 2, "RMPUPDATE of the RMP itself: 2");
	is(rmp_shared(rmp_end & ~0xfffull, false), 2,
	   "RMPUPDATE of the RMP's last page: 2");
}

static void inputs(void)
{
	struct rmp_state st = { .assigned = 1, .asid = 5, .gpa = 0x3000 };
	struct rmp_state big = { .assigned = 1, .asid = 5, .pagesize = 1 };
	u64 covered = (rmp_end + 1 - rmp_base - 0x4000) / 16 * PAGE;

	is(rmpupdate((u64)pg + 8, &st), 1,
	   "RMPUPDATE: 1 FAIL_INPUT for an address inside a page");
	is(rmpupdate((u64)huge + PAGE, &big), 1,
	   "RMPUPDATE: 1 for 2 MB at a 4 KB address");
	is(rmpupdate(covered, &st), 1,
	   "RMPUPDATE: 1 for the first page beyond the RMP");
	is(rmpupdate(BIT(50), &st), 1, "RMPUPDATE: 1 far beyond the RMP");
	big.gpa = 0x3000;
	is(rmpupdate((u64)huge, &big), 1,
	   "RMPUPDATE: 1 for 2 MB with a gpa that is not 2 MB aligned");
	st.asid = 0x10000;
	is(rmpupdate((u64)pg, &st), 1,
	   "RMPUPDATE: 1 for an ASID the platform does not have");
	is(rmp((u64)pg), 0, "RMPUPDATE: a refused input changes nothing");
	rmp_shared((u64)pg, false);
	rmp_shared((u64)huge, true);
}

static void large(void)
{
	const u64 gpa = 0x40000000;
	u64 n, e;

	is(rmp_assign((u64)huge, gpa, 7, true, false), 0, "RMPUPDATE: 2 MB");
	is(rmp((u64)huge), RMP_ASSIGNED | RMP_2MB | gpa | RMP_ASID(7),
	   "RMPUPDATE: the 2 MB entry");
	is(rmp_assign((u64)huge + 5 * PAGE, gpa, 7, false, false), 4,
	   "RMPUPDATE: 4 FAIL_OVERLAP for 4 KB inside a 2 MB entry");
	is(rmp_shared((u64)huge + 5 * PAGE, false), 4,
	   "RMPUPDATE: 4 too when 4 KB of it is to be given back");
	is(psmash((u64)huge + PAGE), 1,
	   "PSMASH: 1 FAIL_INPUT for an address not 2 MB aligned");
	is(psmash(BIT(50)), 1, "PSMASH: 1 beyond the RMP");
	is(psmash((u64)huge), 0, "PSMASH: a 2 MB entry");
	for (n = 0, e = 0; n < 512; n++) {
		e += rmp((u64)huge + n * PAGE) !=
		     (RMP_ASSIGNED | (gpa + n * PAGE) | RMP_ASID(7));
	}
	is(e, 0, "PSMASH: 512 entries, 4 KB, each with its gpa and the ASID");
	is(psmash((u64)huge), 7, "PSMASH: 7 for an entry that is 4 KB");
	is(rmp_assign((u64)huge, gpa, 7, true, false), 4,
	   "RMPUPDATE: 4 FAIL_OVERLAP for 2 MB over assigned 4 KB entries");
	for (n = 0; n < 512; n++)
		rmp_shared((u64)huge + n * PAGE, false);
	is(psmash((u64)huge), 7, "PSMASH: 7 for a page that is not assigned");
	is(rmp_assign((u64)huge, 0, 0, true, true), 0,
	   "RMPUPDATE: a 2 MB firmware page");
	ok(psmash((u64)huge) != 0, "PSMASH: an immutable entry is refused");
	is(rmp_assign((u64)huge + PAGE, 0x1000, 7, false, false) != 0, 1,
	   "RMPUPDATE: 4 KB of an immutable 2 MB entry is refused");
	is(fw_reclaim((u64)huge, true), ST_OK, "PAGE_RECLAIM of 2 MB");
	is(rmp((u64)huge), RMP_ASSIGNED | RMP_2MB,
	   "PAGE_RECLAIM: 2 MB in state Reclaim");
	is(rmp_shared((u64)huge, true), 0, "RMPUPDATE: 2 MB back");
	for (n = 0, e = 0; n < 512; n++)
		e += (rmp((u64)huge + n * PAGE) & RMP_ASSIGNED) != 0;
	is(e, 0, "RMPUPDATE: none of the 512 pages is assigned any more");
	is(rmp_assign((u64)huge + PAGE, 0x1000, 7, false, false), 0,
	   "RMPUPDATE: its 4 KB pages are free again");
	rmp_shared((u64)huge + PAGE, false);
}

static void faults(void)
{
	static struct rmp_state st = { 0 };
	u64 *hole = page_alloc();
	u64 *pte = host_pte((u64)hole), keep = *pte;
	struct fault f;

	f = try(call_user, (u64)t_rmpupdate, (u64)pg, (u64)&st);
	is_fault(f, VEC_GP, 0, 0, "RMPUPDATE: #GP outside CPL 0");
	f = try(call_user, (u64)t_psmash, (u64)huge, 0);
	is_fault(f, VEC_GP, 0, 0, "PSMASH: #GP outside CPL 0");
	f = try(compat_rmpupdate, (u64)pg, (u64)&st, 0);
	is_fault(f, VEC_UD, 0, 0, "RMPUPDATE: #UD in 32-bit code");
	*pte = 0;
	invlpg((u64)hole);
	f = try(t_rmpupdate, (u64)pg, (u64)hole, 0);
	is_fault(f, VEC_PF, 0, (u64)hole,
		 "RMPUPDATE: #PF where its operand is not mapped");
	*pte = keep;
	page_free(hole);
	f = try(t_rmpupdate, (u64)pg, 1ull << 60, 0);
	is_fault(f, VEC_GP, 0, 0, "RMPUPDATE: #GP for a non-canonical operand");
	is_fault(try(t_pvalidate, (u64)pg, 0, 1), VEC_UD, 0, 0,
		 "PVALIDATE: #UD outside an SNP guest");
	is_fault(try(t_rmpadjust, (u64)pg, 0, 1), VEC_UD, 0, 0,
		 "RMPADJUST: #UD outside an SNP guest");
	is_fault(try(t_rmpquery, (u64)pg, 0, 1), VEC_UD, 0, 0,
		 "RMPQUERY: #UD outside an SNP guest");
	if (cpuid(0x8000001f, 0).a & BIT(21)) {
		static u64 out[2];

		rmp_assign((u64)pg, 0x12345000, 5, false, false);
		is(t_rmpread((u64)pg, (u64)out, 0), 0, "RMPREAD: result");
		is(out[0], 0x12345000, "RMPREAD: gpa");
		is(out[1], 1 | 5ull << 32, "RMPREAD: assigned, 4 KB, ASID 5");
		rmp_shared((u64)pg, false);
	} else {
		is_fault(try(t_rmpread, (u64)pg, (u64)pg, 0), VEC_UD, 0, 0,
			 "RMPREAD: #UD, 8000001F EAX[21] does not offer it");
	}
}

/*
 * Until SNP_INIT, software can write the RMP by itself. RMPUPDATE of such an
 * entry must leave the 2 MB around it writable (15.36.10, Hypervisor-Owned).
 */
void t_rmp_by_hand(void)
{
	const u64 a = POOL2M + 3 * PAGE;
	struct fault f;

	put64((void *)(rmp_base + 0x4000), (a >> 12) * 16, RMP_ASSIGNED);
	is_fault(try(t_write, a, 1, 0), VEC_PF, PF_P | PF_W | PF_RMP, a,
		 "an entry written by hand: the page is assigned");
	is(rmp_shared(a, false), 0,
	   "RMPUPDATE of an entry written by hand: to the hypervisor");
	f = try(t_write, POOL2M + 9 * PAGE, 1, 0);
	is_fault(f, NO_FAULT, 0, 0, "and its 2 MB can be written");
	rmp_assign(a, 0x1000, 5, false, false);
	f = try(t_write, POOL2M + 9 * PAGE, 1, 0);
	is_fault(f, VEC_PF, PF_P | PF_W | PF_RMP, POOL2M + 9 * PAGE,
		 "until a page of them is assigned");
	rmp_shared(a, false);
}

void t_rmp(void)
{
	section("RMP instructions");
	pg = page_alloc();
	huge = huge_alloc();
	forms();
	inputs();
	large();
	faults();
	page_free(pg);
}
