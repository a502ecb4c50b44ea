// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An SNP guest and its memory (APM 2, 15.36.6 to 15.36.10; APM 3): PVALIDATE,
 * RMPADJUST, RMPQUERY, and accesses to pages that are not the guest's, not
 * validated, of another size, or without permission for the VMPL.
 */
#include "lib.h"

/* mov $0xc0de, %eax; ret: harmless if a missing check lets the guest run it */
#define FUNC 0x00c30000c0deb8ull

static struct vm *vm, *other;
static struct vcpu *v0, *v1;	/* VMPL 0, VMPL 1 */

/* Gives the guest a page after its launch. */
static u64 give(u64 gpa)
{
	u64 p = (u64)page_alloc();

	for (u32 i = 0; i < PAGE; i += 8)
		put64((void *)p, i, 0xabcd000000000000 + gpa + i);
	vm_keep(vm, (void *)p);
	if (rmp_assign(p, gpa, vm->asid, false, false))
		bail("RMPUPDATE to Guest-Invalid");
	npt_map(vm, gpa, p, NPT_RWX);
	return p;
}

#define MASK (PF_W | PF_I | PF_RMP | NPF_FINAL | NPF_TABLE | NPF_ENC | \
	      NPF_SIZEM | NPF_VMPL | PF_P)

/* The last order must have ended in #NPF with these bits; aborts the order. */
static void is_npf(struct vcpu *v, u64 e, u64 gpa, u64 bits, const char *what)
{
	u64 i1 = get64(v->vmcb, VMCB_INFO1), i2 = get64(v->vmcb, VMCB_INFO2);

	if (e != EXIT_NPF) {
		ok(false, "%s: #NPF", what);
		say("# expected exit 0x400, found %#lx (the guest saw vector %ld error %#lx, result %#lx)\n",
		    e, get64(v->sh, SH_VEC), get64(v->sh, SH_ERR),
		    get64(v->sh, SH_R0));
		return;
	}
	is(i1 & MASK, bits, "%s: #NPF, EXITINFO1", what);
	is(i2 & ~0xfffull, gpa, "%s: EXITINFO2", what);
	vcpu_abort(v);
}

static void is_vc(struct vcpu *v, u64 e, u64 code, const char *what)
{
	is(e, EXIT_VMGEXIT, "%s: no exit", what);
	is(get64(v->sh, SH_VEC), VEC_VC, "%s: #VC", what);
	is(get64(v->sh, SH_ERR), code, "%s: #VC's error code", what);
	if (e == EXIT_NPF)
		vcpu_abort(v);
}

static void done(struct vcpu *v, u64 e, u64 r0, const char *what)
{
	is(e, EXIT_VMGEXIT, "%s: no exit", what);
	is(get64(v->sh, SH_VEC), NO_FAULT, "%s: no exception", what);
	is(get64(v->sh, SH_R0), r0, "%s: result", what);
	if (e == EXIT_NPF)
		vcpu_abort(v);
}

static void pvalidate(void)
{
	const u64 a = G_TEST;
	u64 p = give(a), e;

	is_vc(v0, vcpu_do(v0, OP_READ, a, 0, 0), VC_NOT_VALID,
	      "read of a page not validated");
	is_vc(v0, vcpu_do(v0, OP_WRITE, a, 1, 0), VC_NOT_VALID,
	      "write to a page not validated");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 2, 1), 1,
	     "PVALIDATE: page size 2: 1 FAIL_INPUT");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 1, 1), 6,
	     "PVALIDATE: 2 MB of a 4 KB page: 6 FAIL_SIZEMISMATCH");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a + PAGE, 1, 1), 1,
	     "PVALIDATE: 2 MB at an address not aligned: 1 FAIL_INPUT");
	is(rmp(p) & RMP_VALIDATED, 0, "PVALIDATE: refused, nothing validated");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 1), 0, "PVALIDATE");
	is(get64(v0->sh, SH_R1), 0, "PVALIDATE: CF clear, it was changed");
	is(rmp(p), RMP_ASSIGNED | a | RMP_ASID(1) | RMP_VALIDATED,
	   "PVALIDATE: the entry: Guest-Valid");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 1), 0, "PVALIDATE again");
	is(get64(v0->sh, SH_R1), 1, "PVALIDATE again: CF set, no change");
	vcpu_do(v0, OP_READ, a + 8, 0, 0);
	ok(get64(v0->sh, SH_VEC) == NO_FAULT &&
	   get64(v0->sh, SH_R0) != 0xabcd000000000008 + a,
	   "a new page: the guest does not read what the host wrote");
	vcpu_do(v0, OP_WRITE, a, 0x1234, 0);
	is(get64(v0->sh, SH_VEC), NO_FAULT, "write to a validated page");
	done(v0, vcpu_do(v0, OP_READ, a, 0, 0), 0x1234, "and read back");
	ok(get64((void *)p, 0) != 0x1234,
	   "the host does not read what the guest wrote");
	done(v0, vcpu_do(v0, OP_XADD, a, 1, 0), 0x1234, "locked add");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 0), 0, "PVALIDATE: rescind");
	is(get64(v0->sh, SH_R1), 0, "PVALIDATE: rescind: CF clear");
	is(rmp(p), RMP_ASSIGNED | a | RMP_ASID(1),
	   "PVALIDATE: rescind: Guest-Invalid");
	is_vc(v0, vcpu_do(v0, OP_READ, a, 0, 0), VC_NOT_VALID,
	      "read after rescinding");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 0), 0, "rescind again");
	is(get64(v0->sh, SH_R1), 1, "rescind again: CF set");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 1), 0,
	     "validate it once more");
	done(v0, vcpu_do(v0, OP_READ, a, 0, 0), 0x1235,
	     "the content is still the guest's");

	/* a write that ends in a page not validated writes nothing */
	give(a + PAGE);
	vcpu_do(v0, OP_WRITE, a + 0xff8, 0x1111, 0);
	is_vc(v0, vcpu_do(v0, OP_WRITE, a + 0xffc, 0x2222222222222222, 0),
	      VC_NOT_VALID, "write across the end of the validated page");
	done(v0, vcpu_do(v0, OP_READ, a + 0xff8, 0, 0), 0x1111,
	     "and its first half is not written");

	/* RMPUPDATE clears Validated: so the guest notices any remapping */
	rmp_shared(p, false);
	is_npf(v0, vcpu_do(v0, OP_READ, a, 0, 0), a,
	       PF_P | PF_RMP | NPF_FINAL | NPF_ENC,
	       "private read of a page taken away");
	rmp_assign(p, a, 1, false, false);
	is_vc(v0, vcpu_do(v0, OP_READ, a, 0, 0), VC_NOT_VALID,
	      "page taken away and given back");
	/* PVALIDATE of an unmapped gpa exits by #NPF, as any access does */
	npt_map(vm, a, 0, 0);
	e = vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
	is(e, EXIT_NPF, "PVALIDATE: page not in the nested table: #NPF");
	npt_map(vm, a, p, NPT_RWX);
	e = vcpu_run(v0);
	done(v0, e, 0, "PVALIDATE: carried out when it is mapped");
	e = vcpu_do(v1, OP_PVALIDATE, a, 0, 0);
	ok(e == EXIT_VMGEXIT &&
	   (get64(v1->sh, SH_VEC) == VEC_GP || get64(v1->sh, SH_R0) != 0),
	   "PVALIDATE: refused at VMPL 1");
	ok(rmp(p) & RMP_VALIDATED, "PVALIDATE: at VMPL 1 changes nothing");
	if (e == EXIT_NPF)
		vcpu_abort(v1);
	done(v0, vcpu_do(v0, OP_RMPUPDATE, p, SHARED_VIEW + G_SHARED, 0), 2,
	     "RMPUPDATE in a guest: 2 FAIL_PERMISSION");
	done(v0, vcpu_do(v0, OP_PSMASH, p & ~(2 * MB - 1), 0, 0), 2,
	     "PSMASH in a guest: 2 FAIL_PERMISSION");
}

static void large_by_4k(u64 gpa, u64 spa)
{
	npt_map_large(vm, gpa, 0, 0);
	for (u32 i = 0; i < 512; i++)
		npt_map(vm, gpa + i * PAGE, spa + i * PAGE, NPT_RWX);
}

/*
 * PVALIDATE and RMPADJUST of a size that the RMP or the nested tables do not
 * have. Of the RMP: 15.36.11, table 15-40, and 15.36.10 for SIZEM. Of nested
 * tables: 15.36.6.
 */
enum { NPT_NPF, NPT_SIZEM, SIZEMISMATCH };

static void sizes(u64 a, u64 size, u32 want, const char *what)
{
	static const u32 op[] = { OP_PVALIDATE, OP_RMPADJUST };
	const u64 c[] = { 0, 1 | PERM_R << 8 };

	for (u32 i = 0; i < ARRAY_SIZE(op); i++) {
		u64 e;

		/* the nested tables have changed */
		put8(v0->vmcb, VMCB_TLB, 1);
		e = vcpu_do(v0, op[i], a, size, c[i]);
		if (want == SIZEMISMATCH)
			done(v0, e, 6, what);
		else
			is_npf(v0, e, a, PF_P | PF_RMP | NPF_FINAL | NPF_ENC |
			       (want == NPT_SIZEM ? NPF_SIZEM : 0), what);
	}
}

static void large(void)
{
	const u64 a = 0x800000;
	u64 h = (u64)huge_alloc();

	if (rmp_assign(h, a, 1, true, false))
		bail("RMPUPDATE: 2 MB");
	npt_map_large(vm, a, h, NPT_RWX);
	is_vc(v0, vcpu_do(v0, OP_READ, a + 5 * PAGE, 0, 0), VC_NOT_VALID,
	      "2 MB page not validated");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 1, 1), 0, "PVALIDATE of 2 MB");
	is(get64(v0->sh, SH_R1), 0, "PVALIDATE of 2 MB: CF clear");
	is(rmp(h), RMP_ASSIGNED | RMP_2MB | a | RMP_ASID(1) | RMP_VALIDATED,
	   "PVALIDATE of 2 MB: the entry");
	vcpu_do(v0, OP_WRITE, a + 511 * PAGE, 0x2323, 0);
	done(v0, vcpu_do(v0, OP_READ, a + 511 * PAGE, 0, 0), 0x2323,
	     "2 MB page: write and read its last 4 KB");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 1, 1), 0, "2 MB again");
	is(get64(v0->sh, SH_R1), 1, "PVALIDATE of 2 MB again: CF set");

	is_npf(v0, vcpu_do(v0, OP_PVALIDATE, a + 3 * PAGE, 0, 0), a + 3 * PAGE,
	       PF_P | PF_RMP | NPF_FINAL | NPF_ENC | NPF_SIZEM,
	       "PVALIDATE of 4 KB in a 2 MB entry");
	is_npf(v0, vcpu_do(v0, OP_RMPADJUST, a + 3 * PAGE, 0, 1 | 0x100),
	       a + 3 * PAGE, PF_P | PF_RMP | NPF_FINAL | NPF_ENC | NPF_SIZEM,
	       "RMPADJUST of 4 KB in a 2 MB entry");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 1, 1 | 0x300), 0,
	     "RMPADJUST of 2 MB");
	done(v1, vcpu_do(v1, OP_READ, a + 511 * PAGE, 0, 0), 0x2323,
	     "RMPADJUST of 2 MB: VMPL 1 reads its last 4 KB");

	/* the nested mapping is smaller than the entry */
	large_by_4k(a, h);
	sizes(a, 0, NPT_SIZEM, "nested tables 4 KB, RMP 2 MB, request 4 KB");
	sizes(a, 1, SIZEMISMATCH, "nested tables 4 KB, RMP 2 MB, request 2 MB");
	is_npf(v0, vcpu_do(v0, OP_READ, a + 3 * PAGE, 0, 0), a + 3 * PAGE,
	       PF_P | PF_RMP | NPF_FINAL | NPF_ENC,
	       "read through 4 KB of a 2 MB entry");
	is(psmash(h), 0, "PSMASH of a guest's validated 2 MB");
	npt_map_large(vm, a, h, NPT_RWX);
	sizes(a, 0, NPT_NPF, "nested tables 2 MB, RMP 4 KB, request 4 KB");
	sizes(a, 1, SIZEMISMATCH, "nested tables 2 MB, RMP 4 KB, request 2 MB");
	large_by_4k(a, h);
	sizes(a, 1, SIZEMISMATCH, "nested tables 4 KB, RMP 4 KB, request 2 MB");
	is(rmp(h + 3 * PAGE), RMP_ASSIGNED | (a + 3 * PAGE) | RMP_ASID(1) |
	   RMP_VALIDATED, "PSMASH keeps Validated");
	done(v0, vcpu_do(v0, OP_READ, a + 511 * PAGE, 0, 0), 0x2323,
	     "read through 4 KB after PSMASH");
	done(v1, vcpu_do(v1, OP_READ, a + 511 * PAGE, 0, 0), 0x2323,
	     "PSMASH keeps VMPL 1's permission");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a + 3 * PAGE, 0, 0), 0,
	     "PVALIDATE of 4 KB after PSMASH");
	is(get64(v0->sh, SH_R1), 0, "PVALIDATE of 4 KB after PSMASH: CF clear");
	is_vc(v0, vcpu_do(v0, OP_READ, a + 3 * PAGE, 0, 0), VC_NOT_VALID,
	      "one 4 KB page of it rescinded");
	done(v0, vcpu_do(v0, OP_READ, a + 511 * PAGE, 0, 0), 0x2323,
	     "the others are not");
	for (u32 i = 0; i < 512; i++) {
		npt_map(vm, a + i * PAGE, 0, 0);
		rmp_shared(h + i * PAGE, false);
	}
}

/*
 * An operand mapped without the C-bit is not private, whatever the RMP says of
 * its address.
 */
static void shared_operand(u64 gpa, u64 spa, const char *what)
{
	static const struct {
		const char *name;
		u32 op;
		u64 c;
	} t[] = {
		{ "PVALIDATE", OP_PVALIDATE, 1 },
		{ "PVALIDATE (rescind)", OP_PVALIDATE, 0 },
		{ "RMPADJUST", OP_RMPADJUST, 1 | PERM_ALL << 8 },
		{ "RMPADJUST (VMSA)", OP_RMPADJUST, 1 | BIT(16) },
		{ "RMPQUERY", OP_RMPQUERY, 1 },
	};
	bool covered = spa < RAM_END;
	u64 lo = covered ? rmp(spa) : 0, hi = covered ? rmp_hi(spa) : 0;
	char name[96];

	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		u32 n = 0;
		u64 e;

		if (t[i].op == OP_RMPQUERY && !(cpuid(0x8000001f, 0).a & BIT(6)))
			continue;
		for (const char *s = t[i].name; *s;)
			name[n++] = *s++;
		for (const char *s = " through C=0 of "; *s;)
			name[n++] = *s++;
		for (const char *s = what; *s && n < sizeof(name) - 1;)
			name[n++] = *s++;
		name[n] = 0;
		e = vcpu_do(v0, t[i].op, SHARED_VIEW + gpa, 0, t[i].c);
		is_npf(v0, e, gpa, PF_P | PF_RMP | NPF_FINAL, name);
		if (!covered)
			continue;
		is(rmp(spa), lo, "%s: the entry is unchanged", name);
		is(rmp_hi(spa), hi, "%s: and its permissions", name);
	}
}

static void shared_operands(void)
{
	static u8 copy[PAGE] __aligned(4096);
	const u64 a = G_TEST + 0x40000, out = 0x7000000000;
	struct vm *third = vm_new(3, POLICY_DEBUG);
	u64 p = give(a), q = (u64)page_alloc(), r, s;
	u8 *from = page_alloc();

	put64(from, 0, 0x7468697264);
	r = (u64)vm_page(third, a + 2 * PAGE, from, TYPE_NORMAL, 0);
	vm_finish(third);
	page_free(from);
	vm_keep(vm, (void *)q);
	put64((void *)q, 0, 0x686f7374);
	npt_map(vm, a + PAGE, q, NPT_RWX);
	npt_map(vm, a + 2 * PAGE, r, NPT_RWX);
	npt_map(vm, a + 3 * PAGE, out, NPT_RWX);
	s = give(a + 4 * PAGE);

	shared_operand(a, p, "an own page not validated");
	vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
	vcpu_do(v0, OP_WRITE, a, 0x6f776e, 0);
	shared_operand(a, p, "an own private page");
	done(v0, vcpu_do(v0, OP_READ, a, 0, 0), 0x6f776e,
	     "C=0 operand: the own page has its content");
	shared_operand(a + PAGE, q, "a hypervisor page");
	is(get64((void *)q, 0), 0x686f7374,
	   "C=0 operand: the hypervisor's page has its content");
	shared_operand(a + 2 * PAGE, r, "another guest's page");
	is(fw_dbg_decrypt(third->gctx, r, copy), ST_OK,
	   "C=0 operand: the other guest's page is readable to its owner");
	is(get64(copy, 0), 0x7468697264, "and has its content");
	shared_operand(a + 3 * PAGE, out, "what is no memory");
	/* through the private mapping the same orders succeed */
	done(v0, vcpu_do(v0, OP_PVALIDATE, a + 4 * PAGE, 0, 1), 0,
	     "and through C=1 the guest validates its page");
	is(rmp(s), RMP_ASSIGNED | (a + 4 * PAGE) | RMP_ASID(1) | RMP_VALIDATED,
	   "which is Guest-Valid");
	npt_map(vm, a + 2 * PAGE, 0, 0);
	npt_map(vm, a + 3 * PAGE, 0, 0);
	vm_destroy(third);
}

/* The CPU ignores bits 11:0 of RAX: software passes unaligned addresses. */
static void unaligned(void)
{
	const u64 a = G_TEST + 0x50000;
	const u64 off[] = { 1, 0xcd4, 0xfff };
	u64 p = give(a), e;

	for (u32 i = 0; i < ARRAY_SIZE(off); i++) {
		e = RMP_ASSIGNED | a | RMP_ASID(1);
		done(v0, vcpu_do(v0, OP_PVALIDATE, a + off[i], 0, 1), 0,
		     "PVALIDATE of 4 KB, bits 11:0 of RAX set");
		is(get64(v0->sh, SH_R1), 0, "it has changed the page");
		is(rmp(p), e | RMP_VALIDATED, "which is Guest-Valid");
		done(v0, vcpu_do(v0, OP_RMPADJUST, a + off[i], 0,
				 1 | PERM_R << 8), 0,
		     "RMPADJUST of 4 KB, bits 11:0 of RAX set");
		is(rmp_hi(p) >> 8 & 0xff, PERM_R, "VMPL 1 has what it gave");
		done(v0, vcpu_do(v0, OP_RMPADJUST, a + off[i], 0, 1), 0,
		     "RMPADJUST: and takes it");
		is(rmp_hi(p) >> 8 & 0xff, 0, "VMPL 1 has nothing");
		done(v0, vcpu_do(v0, OP_PVALIDATE, a + off[i], 0, 0), 0,
		     "PVALIDATE: rescind, bits 11:0 of RAX set");
		is(rmp(p), e, "the page is Guest-Invalid");
	}
	/* for 2 MB, none of bits 20:12 may be set */
	for (u32 b = 12; b <= 20; b++) {
		vcpu_do(v0, OP_PVALIDATE, G_TEST + BIT(b), 1, 1);
		is(get64(v0->sh, SH_R0), 1,
		   "PVALIDATE of 2 MB, bit %u of RAX set: 1 FAIL_INPUT", b);
		vcpu_do(v0, OP_RMPADJUST, G_TEST + BIT(b), 1, 1);
		is(get64(v0->sh, SH_R0), 1,
		   "RMPADJUST of 2 MB, bit %u of RAX set: 1 FAIL_INPUT", b);
	}
}

/*
 * An immutable page is in the firmware's hands. Table 15-39 of 15.36.10: Mutable
 * comes before Validated, so that the hypervisor gets #NPF, and the guest no #VC.
 */
static void mutable_check(void)
{
	const u64 a = G_TEST + 0x60000;
	const u64 R = PF_P | PF_RMP | NPF_FINAL | NPF_ENC;
	u64 p = (u64)page_alloc(), e;

	put64((void *)p, 0, FUNC);
	vm_keep(vm, (void *)p);
	if (rmp_assign(p, a, vm->asid, false, true))
		bail("RMPUPDATE to Pre-Guest");
	npt_map(vm, a, p, NPT_RWX);
	e = rmp(p);
	is_npf(v0, vcpu_do(v0, OP_READ, a, 0, 0), a, R,
	       "private read of an immutable page (15.36.10, Mutable)");
	is_npf(v0, vcpu_do(v0, OP_WRITE, a, 1, 0), a, R | PF_W,
	       "private write to an immutable page");
	is_npf(v0, vcpu_do(v0, OP_CALL, a, 0, 0), a, R | PF_I,
	       "fetch from an immutable page");
	is_npf(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 1), a, R,
	       "PVALIDATE of an immutable page");
	is_npf(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1), a, R,
	       "RMPADJUST of an immutable page");
	is(rmp(p), e, "an immutable page: its entry is unchanged");
	is(fw_reclaim(p, false), ST_OK, "PAGE_RECLAIM of an immutable page");
	is_vc(v0, vcpu_do(v0, OP_READ, a, 0, 0), VC_NOT_VALID,
	      "mutable again: read of a page not validated");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 1), 0,
	     "mutable again: PVALIDATE");
	vcpu_do(v0, OP_WRITE, a, 0x6d75, 0);
	done(v0, vcpu_do(v0, OP_READ, a, 0, 0), 0x6d75,
	     "mutable again: the page is the guest's");
}

static void accesses(void)
{
	const u64 a = G_TEST + 0x10000, sh = SHARED_VIEW;
	const u64 F = NPF_FINAL, PR = PF_P | PF_RMP | NPF_FINAL | NPF_ENC;
	u64 p = give(a), q, r, e;
	u64 *pt;

	vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
	vcpu_do(v0, OP_WRITE, a, 0x5ec2e7, 0);

	q = (u64)page_alloc();
	vm_keep(vm, (void *)q);
	put64((void *)q, 0, FUNC);
	npt_map(vm, a + PAGE, q, NPT_RWX);
	is_npf(v0, vcpu_do(v0, OP_READ, a + PAGE, 0, 0), a + PAGE, PR,
	       "private read of a hypervisor page");
	is_npf(v0, vcpu_do(v0, OP_WRITE, a + PAGE, 1, 0), a + PAGE, PR | PF_W,
	       "private write to a hypervisor page");
	is_npf(v0, vcpu_do(v0, OP_CALL, a + PAGE, 0, 0), a + PAGE, PR | PF_I,
	       "fetch from a hypervisor page");
	is_npf(v0, vcpu_do(v0, OP_CALL, sh + a + PAGE, 0, 0), a + PAGE,
	       PR | PF_I, "fetch through C=0 is private all the same");
	done(v0, vcpu_do(v0, OP_READ, sh + a + PAGE, 0, 0), FUNC,
	     "shared read of a hypervisor page");
	vcpu_do(v0, OP_WRITE, sh + a + PAGE, 0xbeef, 0);
	is(get64((void *)q, 0), 0xbeef, "shared write: the host reads it");

	npt_map(vm, a + 2 * PAGE, p, NPT_RWX);
	is_npf(v0, vcpu_do(v0, OP_READ, a + 2 * PAGE, 0, 0), a + 2 * PAGE, PR,
	       "read of an own page at another gpa (remapping)");
	r = (u64)vm_page(other, 0x3000, NULL, TYPE_NORMAL, 0);
	npt_map(vm, 0x3f000, r, NPT_RWX);
	is_npf(v0, vcpu_do(v0, OP_READ, 0x3f000, 0, 0), 0x3f000, PR,
	       "read of another guest's page");
	is_npf(v0, vcpu_do(v0, OP_WRITE, 0x3f000, 1, 0), 0x3f000, PR | PF_W,
	       "write to another guest's page");
	is_npf(v0, vcpu_do(v0, OP_WRITE, sh + 0x3f000, 1, 0), 0x3f000,
	       PF_P | PF_RMP | F | PF_W,
	       "shared write to another guest's page");
	npt_map(vm, 0x3f000, 0, 0);

	is_npf(v0, vcpu_do(v0, OP_WRITE, sh + a, 1, 0), a,
	       PF_P | PF_RMP | F | PF_W,
	       "shared write to an own private page: ENC clear");
	e = vcpu_do(v0, OP_READ, sh + a, 0, 0);
	is(e, EXIT_VMGEXIT, "shared read of an own private page: no fault");
	ok(get64(v0->sh, SH_R0) != 0x5ec2e7,
	   "shared read of an own private page: not the plaintext");
	if (e == EXIT_NPF)
		vcpu_abort(v0);
	done(v0, vcpu_do(v0, OP_READ, a, 0, 0), 0x5ec2e7,
	     "the private page has its content still");
	is_npf(v0, vcpu_do(v0, OP_WRITE, sh, 1, 0), 0,
	       F | PF_W, "shared write, gpa 0 not mapped");
	npt_map(vm, a + 3 * PAGE, rmp_base, NPT_RWX);
	is_npf(v0, vcpu_do(v0, OP_WRITE, sh + a + 3 * PAGE, 1, 0), a + 3 * PAGE,
	       PF_P | PF_RMP | F | PF_W, "shared write to the RMP");
	npt_map(vm, a + 3 * PAGE, (u64)v0->vmsa, NPT_RWX);
	is_npf(v0, vcpu_do(v0, OP_WRITE, sh + a + 3 * PAGE, 1, 0), a + 3 * PAGE,
	       PF_P | PF_RMP | F | PF_W, "shared write to the own VMSA");
	npt_map(vm, a + 3 * PAGE, 0, 0);

	/* faults of the nested table, not of the RMP */
	is_npf(v0, vcpu_do(v0, OP_READ, a + 4 * PAGE, 0, 0), a + 4 * PAGE,
	       F | NPF_ENC, "private read, not mapped: P clear, ENC set");
	is_npf(v0, vcpu_do(v0, OP_READ, sh + a + 4 * PAGE, 0, 0),
	       a + 4 * PAGE, F, "shared read, not mapped: ENC clear");
	npt_map(vm, a, p, 5);
	is_npf(v0, vcpu_do(v0, OP_WRITE, a, 1, 0), a,
	       PF_P | PF_W | F | NPF_ENC,
	       "private write, mapped read-only: no RMP bit");
	npt_map(vm, a, p, NPT_RWX);
	npt_map(vm, a + 5 * PAGE, BIT(46), NPT_RWX);
	is_vc(v0, vcpu_do(v0, OP_READ, sh + a + 5 * PAGE, 0, 0), EXIT_NPF,
	      "MMIO: reserved bits in the nested table");
	is_vc(v0, vcpu_do(v0, OP_WRITE, sh + a + 5 * PAGE, 1, 0), EXIT_NPF,
	      "MMIO: write");
	npt_map(vm, a + 5 * PAGE, 0, 0);

	/* code through both views; guest_func is launched at a known place */
	done(v0, vcpu_do(v0, OP_CALL, G_DATA, 0, 0), 0xc0de,
	     "call through the private view");
	done(v0, vcpu_do(v0, OP_CALL, sh + G_DATA, 0, 0), 0xc0de,
	     "call through C=0: fetches are private (15.34.5)");

	/* walks of the guest's tables are always private, so RMP-checked */
	pt = vm->npt;
	for (u32 i = 0; i < 2; i++)
		pt = (u64 *)(pt[0] & ~0xfffull);
	pt = (u64 *)(pt[0] & ~0xfffull);
	q = pt[G_PD / PAGE] & ~0xfffull;
	rmp_shared(q, false);
	e = vcpu_do(v0, OP_READ, a, 0, 0);
	is(e, EXIT_NPF, "page walk: a table of the guest's was taken: #NPF");
	is(get64(v0->vmcb, VMCB_INFO1) & (PF_RMP | NPF_FINAL | NPF_TABLE |
	   NPF_ENC), PF_RMP | NPF_TABLE | NPF_ENC,
	   "page walk: EXITINFO1: RMP, ENC, bit 33: in the guest's table");
}

/* RMPQUERY of VMPL 1, if the platform offers it */
static void query(u64 a, u64 perm)
{
	u64 e = vcpu_do(v0, OP_RMPQUERY, a, 0, 1);

	if (!(cpuid(0x8000001f, 0).a & BIT(6))) {
		is(get64(v0->sh, SH_VEC), VEC_UD,
		   "RMPQUERY: #UD, 8000001F EAX[6] does not offer it");
		return;
	}
	done(v0, e, 0, "RMPQUERY");
	is(get64(v0->sh, SH_R3) >> 8 & 0xff, perm & 0xff,
	   "RMPQUERY: RDX[15:8]: VMPL 1's permissions");
	is(get64(v0->sh, SH_R3) >> 16 & 1, perm >> 16,
	   "RMPQUERY: RDX[16]: a VMSA or not");
	is(get64(v0->sh, SH_R2) & 1, 0, "RMPQUERY: RCX: 4 KB");
}

static void vmpl(void)
{
	const u64 a = G_TEST + 0x20000;
	const u64 V = PF_P | PF_RMP | NPF_FINAL | NPF_ENC | NPF_VMPL;
	u64 p = give(a);

	vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
	vcpu_do(v0, OP_WRITE, a, FUNC, 0);
	is_npf(v1, vcpu_do(v1, OP_READ, a, 0, 0), a, V,
	       "VMPL 1 read of a new page: no permission");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | PERM_R << 8), 0,
	     "RMPADJUST: VMPL 1 may read");
	done(v1, vcpu_do(v1, OP_READ, a, 0, 0), FUNC, "VMPL 1 reads");
	is_npf(v1, vcpu_do(v1, OP_WRITE, a, FUNC, 0), a, V | PF_W,
	       "VMPL 1 write without permission");
	is_npf(v1, vcpu_do(v1, OP_CALL, a, 0, 0), a, V | PF_I,
	       "VMPL 1 fetch without permission");
	query(a, PERM_R);
	done(v1, vcpu_do(v1, OP_RMPADJUST, a, 0, 2 | PERM_R << 8), 0,
	     "RMPADJUST at VMPL 1: gives VMPL 2 what it has");
	done(v1, vcpu_do(v1, OP_RMPADJUST, a, 0, 2 | (PERM_R | PERM_W) << 8), 2,
	     "RMPADJUST at VMPL 1: 2 for a permission it lacks");
	done(v1, vcpu_do(v1, OP_RMPADJUST, a, 0, 1 | PERM_ALL << 8), 2,
	     "RMPADJUST at VMPL 1 of VMPL 1: 2 FAIL_PERMISSION");
	done(v1, vcpu_do(v1, OP_RMPADJUST, a, 0, 0), 2,
	     "RMPADJUST at VMPL 1 of VMPL 0: 2");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, PERM_ALL << 8), 2,
	     "RMPADJUST at VMPL 0 of VMPL 0: 2");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 4), 1,
	     "RMPADJUST of VMPL 4: 1 FAIL_INPUT");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 2, 1), 1,
	     "RMPADJUST: page size 2: 1 FAIL_INPUT");
	done(v0, vcpu_do(v0, OP_RMPADJUST, G_TEST, 1, 1), 6,
	     "RMPADJUST: 2 MB of a 4 KB page: 6 FAIL_SIZEMISMATCH");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | (PERM_R | PERM_W) << 8), 0,
	     "RMPADJUST: VMPL 1 may write");
	vcpu_do(v1, OP_WRITE, a, 0xd4, 0);
	done(v0, vcpu_do(v0, OP_READ, a, 0, 0), 0xd4, "VMPL 1 wrote");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1), 0,
	     "RMPADJUST: VMPL 1 may nothing");
	is_npf(v1, vcpu_do(v1, OP_READ, a, 0, 0), a, V,
	       "VMPL 1 read after its permission is gone");
	is(rmp(p), RMP_ASSIGNED | a | RMP_ASID(1) | RMP_VALIDATED,
	   "RMPADJUST: the entry's low word is as it was");
	/* 15.36.7: such a mask is illegal, and a data access is #NPF */
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | PERM_W << 8), 0,
	     "RMPADJUST: VMPL 1 may write and not read");
	is_npf(v1, vcpu_do(v1, OP_WRITE, a, 0xd5, 0), a, V | PF_W,
	       "VMPL 1 write, permission to write and none to read (15.36.7)");
	is_npf(v1, vcpu_do(v1, OP_READ, a, 0, 0), a, V,
	       "VMPL 1 read, permission to write and none to read");
	done(v0, vcpu_do(v0, OP_READ, a, 0, 0), 0xd4,
	     "VMPL 1 write without permission to read: not done");
}

/* 15.36.3: of an RMP entry, PVALIDATE changes Validated and nothing else. */
static void pvalidate_only(void)
{
	const u64 a = G_TEST + 0x24000;
	u64 p = give(a), hi;

	vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
	vcpu_do(v0, OP_WRITE, a, 0xd6, 0);
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | PERM_R << 8), 0,
	     "RMPADJUST: VMPL 1 may read");
	hi = rmp_hi(p);
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 0), 0, "rescinded");
	is(rmp_hi(p), hi, "PVALIDATE (rescind): permissions stay (15.36.3)");
	done(v0, vcpu_do(v0, OP_PVALIDATE, a, 0, 1), 0, "validated again");
	is(rmp_hi(p), hi, "PVALIDATE: permissions stay (15.36.3)");
	done(v1, vcpu_do(v1, OP_READ, a, 0, 0), 0xd6, "VMPL 1 reads again");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | BIT(16)), 0,
	     "RMPADJUST: marks a VMSA");
	vcpu_do(v0, OP_PVALIDATE, a, 0, 0);
	is(rmp(p), RMP_ASSIGNED | a | RMP_ASID(1) | RMP_VMSA,
	   "PVALIDATE (rescind): the VMSA mark stays (15.36.3)");
	/* RMPUPDATE resets all of it */
	rmp_assign(p, a, 1, false, false);
	is(rmp(p), RMP_ASSIGNED | a | RMP_ASID(1),
	   "RMPUPDATE: takes the VMSA mark away");
	is(rmp_hi(p), PERM_ALL, "RMPUPDATE: VMPL 0 may all, VMPL 1 nothing");
}

/* User code has an execute permission of its own, and no SNP instruction. */
static void user(void)
{
	const u64 a = G_TEST + 0x28000;
	const u64 V = PF_P | PF_RMP | NPF_FINAL | NPF_ENC | NPF_VMPL | PF_I;
	u64 p = give(a), e;

	vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
	vcpu_do(v0, OP_WRITE, a, 0x0b0f, 0);		/* UD2 */
	e = vcpu_do(v0, OP_USER, G_CODE + (user_pvalidate - guest_image), a, 0);
	ok(e == EXIT_VMGEXIT && get64(v0->sh, SH_VEC) == VEC_GP,
	   "PVALIDATE: #GP outside CPL 0");
	ok(rmp(p) & RMP_VALIDATED, "PVALIDATE: outside CPL 0 changes nothing");
	e = vcpu_do(v0, OP_USER, G_CODE + (user_rmpadjust - guest_image), a, 0);
	ok(e == EXIT_VMGEXIT && get64(v0->sh, SH_VEC) == VEC_GP,
	   "RMPADJUST: #GP outside CPL 0");
	e = vcpu_do(v0, OP_USER, a, 0, 0);
	ok(e == EXIT_VMGEXIT && get64(v0->sh, SH_VEC) == VEC_UD &&
	   get64(v0->sh, SH_RIP) == a, "VMPL 0: user code runs anywhere");

	vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | (PERM_R | PERM_XS) << 8);
	is_npf(v1, vcpu_do(v1, OP_USER, a, 0, 0), a, V,
	       "VMPL 1, execute for the supervisor only: user fetch");
	e = vcpu_do(v1, OP_CALL, a, 0, 0);
	ok(e == EXIT_VMGEXIT && get64(v1->sh, SH_VEC) == VEC_UD,
	   "VMPL 1, execute for the supervisor only: supervisor fetch");
	vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | (PERM_R | PERM_XU) << 8);
	is_npf(v1, vcpu_do(v1, OP_CALL, a, 0, 0), a, V,
	       "VMPL 1, execute for user code only: supervisor fetch");
	e = vcpu_do(v1, OP_USER, a, 0, 0);
	ok(e == EXIT_VMGEXIT && get64(v1->sh, SH_VEC) == VEC_UD,
	   "VMPL 1, execute for user code only: user fetch");
	if (e == EXIT_NPF)
		vcpu_abort(v1);
	/* a TLB entry made by a user fetch must not serve a supervisor fetch */
	e = vcpu_do(v1, OP_CALL, a, 0, 0);
	is(e, EXIT_NPF, "VMPL 1: supervisor fetch after a user fetch");
	vcpu_abort(v1);
}

/* The guest builds a VMSA, as it does to start another CPU. */
static void own_vmsa(void)
{
	const u64 a = G_TEST + 0x30000;
	u64 p = give(a), e;
	struct vcpu *v2 = vm_vcpu_bare(vm);
	u8 *img = page_alloc();

	vcpu_do(v0, OP_PVALIDATE, a, 0, 1);
	vm_vmsa_image(v2, img);
	for (u32 i = 0; i < PAGE; i += 8)
		vcpu_do(v0, OP_WRITE, a + i, get64(img, i), 0);
	v2->vmsa = (u8 *)p;
	put64(v2->vmcb, VMCB_VMSA, p);
	e = vcpu_run(v2);
	is(e, EXIT_INVALID, "a VMSA the guest wrote, not yet marked: refused");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1 | BIT(16)), 0,
	     "RMPADJUST: marks a VMSA");
	is(rmp(p), RMP_ASSIGNED | a | RMP_ASID(1) | RMP_VALIDATED | RMP_VMSA,
	   "RMPADJUST: the entry is a VMSA's");
	query(a, BIT(16));
	e = vcpu_run(v2);
	is(e, EXIT_VMGEXIT, "VMRUN of a VMSA built by the guest");
	e = vcpu_do(v2, OP_SETXMM, 5, 6, 0);
	is(e, EXIT_VMGEXIT, "and it goes on");
	is(get64(vmsa_read(v2), SA_XMM), 5, "its state is kept there");
	done(v0, vcpu_do(v0, OP_RMPADJUST, a, 0, 1), 0,
	     "RMPADJUST: takes the mark away");
	e = vcpu_run(v2);
	is(e, EXIT_INVALID, "VMRUN without the mark: refused");
	page_free(img);
}

void t_guest(void)
{
	section("guest memory");
	vm = vm_new(1, POLICY_DEBUG);
	other = vm_new(2, POLICY);
	vm_memory(vm);
	v0 = vm_vcpu(vm, 0);
	v1 = vm_vcpu(vm, 1);
	vm_page(vm, G_DATA, guest_func, TYPE_NORMAL, PERM_ALL);
	vm_finish(vm);
	is(vcpu_run(v0), EXIT_VMGEXIT, "the guest runs at VMPL 0");
	is(vcpu_run(v1), EXIT_VMGEXIT, "and at VMPL 1");
	pvalidate();
	large();
	section("operands");
	unaligned();
	shared_operands();
	section("VMPLs");
	vmpl();
	pvalidate_only();
	user();
	section("VMSA by the guest");
	own_vmsa();
	section("guest accesses");
	mutable_check();
	accesses();
	vm_destroy(other);
	vm_destroy(vm);
}
