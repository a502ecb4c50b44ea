// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The firmware's launch flow (ABI 56860): a step skipped, out of order, or on a
 * page in the wrong state gets the status that the ABI names.
 */
#include "lib.h"

static u64 page_for(u64 gpa, u32 asid)
{
	u64 p = (u64)page_alloc();

	if (rmp_assign(p, gpa, asid, false, true))
		bail("RMPUPDATE to Pre-Guest");
	return p;
}

static void give_back(u64 p)
{
	if (rmp(p) & RMP_IMMUTABLE)
		fw_reclaim(p, false);
	if (rmp(p) && rmp_shared(p, false))
		bail("RMPUPDATE to shared of %#lx, entry %#lx", p, rmp(p));
	page_free((void *)p);
}

static void contexts(void)
{
	u8 *g = page_alloc();

	is(fw_gctx_create(g), ST_PAGE_STATE,
	   "GCTX_CREATE on a hypervisor page (SNP ABI)");
	rmp_assign((u64)g, 0x1000, 1, false, true);
	is(fw_gctx_create(g), ST_PAGE_STATE, "GCTX_CREATE on a guest's page");
	fw_reclaim((u64)g, false);
	rmp_shared((u64)g, false);
	rmp_firmware((u64)g);
	is(fw_launch_start(g, POLICY), ST_GUEST,
	   "LAUNCH_START on a firmware page that is no context (SNP ABI)");
	is(fw_activate(g, 1), ST_GUEST, "ACTIVATE on no context (SNP ABI)");
	is(fw_addr(CMD_SNP_DECOMMISSION, g), ST_GUEST,
	   "DECOMMISSION on no context (SNP ABI)");
	is(fw_gctx_create(g), ST_OK, "GCTX_CREATE on a firmware page");
	is(rmp((u64)g), RMP_ASSIGNED | RMP_IMMUTABLE | RMP_VMSA,
	   "GCTX_CREATE: state Context: firmware, vmsa (SNP ABI)");
	is(fw_gctx_create(g), ST_PAGE_STATE, "GCTX_CREATE on a context");
	is(rmp_shared((u64)g, false), 2, "RMPUPDATE of a context: 2");
	is(fw_reclaim((u64)g, false), ST_PAGE_STATE,
	   "PAGE_RECLAIM of a context (SNP ABI)");
	is(fw_addr(CMD_SNP_DECOMMISSION, g), ST_OK, "DECOMMISSION");
	is(rmp((u64)g), RMP_ASSIGNED | RMP_IMMUTABLE,
	   "DECOMMISSION: the context is a firmware page again");
	is(fw_addr(CMD_SNP_DECOMMISSION, g), ST_GUEST, "DECOMMISSION twice");
	give_back((u64)g);
}

static void launch(void)
{
	u32 max = cpuid(0x8000001f, 0).d;
	u8 *g = page_alloc(), *h = page_alloc();
	u64 p, q, big;

	rmp_firmware((u64)g);
	rmp_firmware((u64)h);
	fw_gctx_create(g);
	fw_gctx_create(h);

	p = page_for(0x3000, 1);
	is(fw_launch_update(g, p, TYPE_NORMAL, false, 0), ST_GUEST_STATE,
	   "LAUNCH_UPDATE before LAUNCH_START (SNP ABI 8.17)");
	is(fw_launch_finish(g), ST_GUEST_STATE,
	   "LAUNCH_FINISH before LAUNCH_START (SNP ABI)");
	is(fw_launch_start(g, BIT(16)), ST_POLICY,
	   "LAUNCH_START: policy without its reserved bit 17 (SNP ABI)");
	is(fw_launch_start(g, POLICY | 0xff00), ST_POLICY,
	   "LAUNCH_START: policy wants a newer ABI");
	is(fw_launch_start(g, POLICY_DEBUG), ST_OK, "LAUNCH_START");
	is(fw_launch_start(g, POLICY_DEBUG), ST_GUEST_STATE,
	   "LAUNCH_START twice");
	is(fw_launch_update(g, p, TYPE_NORMAL, false, 0), ST_INACTIVE,
	   "LAUNCH_UPDATE before ACTIVATE");
	is(fw_launch_finish(g), ST_INACTIVE, "LAUNCH_FINISH before ACTIVATE");

	is(fw_activate(g, 0), ST_ASID, "ACTIVATE: ASID 0 (SNP ABI)");
	is(fw_activate(g, max), ST_ASID,
	   "ACTIVATE: the first ASID that is plain SEV's");
	is(fw_activate(g, 0x10000), ST_ASID, "ACTIVATE: far too large");
	is(fw_activate(g, 1), ST_OK, "ACTIVATE: ASID 1");
	is(fw_activate(g, 2), ST_ACTIVE, "ACTIVATE: of an active guest");
	fw_launch_start(h, POLICY);
	is(fw_activate(h, 1), ST_ASID_OWNED, "ACTIVATE: ASID of another");

	is(fw_launch_update(g, p, 0, false, 0), ST_PARAM,
	   "LAUNCH_UPDATE: page type 0");
	is(fw_launch_update(g, p, 7, false, 0), ST_PARAM,
	   "LAUNCH_UPDATE: page type 7");
	q = (u64)page_alloc();
	is(fw_launch_update(g, q, TYPE_NORMAL, false, 0), ST_PAGE_STATE,
	   "LAUNCH_UPDATE: a hypervisor page");
	rmp_firmware(q);
	is(fw_launch_update(g, q, TYPE_NORMAL, false, 0), ST_PAGE_STATE,
	   "LAUNCH_UPDATE: a firmware page");
	give_back(q);
	q = (u64)page_alloc();
	rmp_assign(q, 0x4000, 1, false, false);
	is(fw_launch_update(g, q, TYPE_NORMAL, false, 0), ST_PAGE_STATE,
	   "LAUNCH_UPDATE: Guest-Invalid, not Pre-Guest");
	give_back(q);
	q = page_for(0x4000, 2);
	is(fw_launch_update(g, q, TYPE_NORMAL, false, 0), ST_PAGE_OWNER,
	   "LAUNCH_UPDATE: another ASID's page");
	give_back(q);
	big = (u64)huge_alloc();
	rmp_assign(big, 0x40000000, 1, false, true);
	is(fw_launch_update(g, big, TYPE_NORMAL, true, 0), ST_PAGE_SIZE,
	   "LAUNCH_UPDATE: 2 MB of a 4 KB page");
	fw_reclaim(big, false);
	rmp_shared(big, false);
	rmp_assign(big, 0x40000000, 1, true, true);
	is(fw_launch_update(g, big, TYPE_NORMAL, false, 0), ST_PAGE_SIZE,
	   "LAUNCH_UPDATE: 4 KB of a 2 MB page");
	is(fw_launch_update(g, big, TYPE_VMSA, true, 0), ST_PAGE_SIZE,
	   "LAUNCH_UPDATE: a 2 MB VMSA");
	is(fw_launch_update(g, big, TYPE_ZERO, true, 0), ST_OK,
	   "LAUNCH_UPDATE: 2 MB of zeros");
	is(rmp(big), RMP_ASSIGNED | RMP_2MB | 0x40000000 | RMP_ASID(1) |
	   RMP_VALIDATED, "LAUNCH_UPDATE: the 2 MB are Guest-Valid");
	rmp_shared(big, true);

	is(fw_launch_update(g, p, TYPE_NORMAL, false, 0), ST_OK,
	   "LAUNCH_UPDATE: a page");
	is(rmp(p), RMP_ASSIGNED | 0x3000 | RMP_ASID(1) | RMP_VALIDATED,
	   "LAUNCH_UPDATE: Pre-Guest becomes Guest-Valid");
	is(fw_launch_update(g, p, TYPE_NORMAL, false, 0), ST_PAGE_STATE,
	   "LAUNCH_UPDATE: the same page twice");
	q = page_for(0x5000, 1);
	is(fw_launch_update(g, q, TYPE_VMSA, false, 0), ST_OK,
	   "LAUNCH_UPDATE: a VMSA");
	is(rmp(q), RMP_ASSIGNED | 0x5000 | RMP_ASID(1) | RMP_VALIDATED |
	   RMP_VMSA, "LAUNCH_UPDATE: its entry is a VMSA's");
	give_back(q);

	is(fw_launch_finish(g), ST_OK, "LAUNCH_FINISH");
	is(fw_launch_finish(g), ST_GUEST_STATE, "LAUNCH_FINISH twice");
	q = page_for(0x6000, 1);
	is(fw_launch_update(g, q, TYPE_NORMAL, false, 0), ST_GUEST_STATE,
	   "LAUNCH_UPDATE after LAUNCH_FINISH");
	is(rmp(q), RMP_ASSIGNED | RMP_IMMUTABLE | 0x6000 | RMP_ASID(1),
	   "a refused LAUNCH_UPDATE leaves the page as it was");
	give_back(q);
	give_back(p);

	fw_addr(CMD_SNP_DECOMMISSION, g);
	is(fw_activate(h, 1), ST_DFFLUSH,
	   "ACTIVATE: an ASID used before, no DF_FLUSH since (SNP ABI)");
	is(psp(CMD_SNP_DF_FLUSH, NULL), ST_WBINVD,
	   "DF_FLUSH: no WBINVD on all CPUs since (SNP ABI)");
	flush_asids(CMD_SNP_DF_FLUSH);
	is(fw_activate(h, 1), ST_OK, "ACTIVATE: after WBINVD and DF_FLUSH");
	fw_addr(CMD_SNP_DECOMMISSION, h);
	flush_asids(CMD_SNP_DF_FLUSH);
	give_back((u64)g);
	give_back((u64)h);
}

/* The host reads no plaintext of encrypted pages, whatever its page table says. */
static void keys(void)
{
	struct vm *vm = vm_new(1, POLICY_DEBUG);
	struct vm *nodebug = vm_new(2, POLICY);
	static u8 plain[PAGE], copy[PAGE];
	u64 differ = 0;
	u8 *p, *q;

	for (u32 i = 0; i < PAGE; i++)
		plain[i] = i * 7 + (i >> 8);
	p = vm_page(vm, 0x3000, plain, TYPE_NORMAL, 0);
	q = vm_page(nodebug, 0x3000, plain, TYPE_NORMAL, 0);
	for (u32 i = 0; i < PAGE; i += 8)
		differ += get64(p, i) != get64(plain, i);
	ok(differ > 400,
	   "a launched page: the host reads no plaintext (15.34.1)");
	is(fw_dbg_decrypt(vm->gctx, (u64)p, copy), ST_OK, "DBG_DECRYPT");
	is(memcmp(copy, plain, PAGE), 0, "DBG_DECRYPT gives the plaintext");
	is(fw_dbg_decrypt(nodebug->gctx, (u64)q, copy), ST_POLICY,
	   "DBG_DECRYPT against the policy (SNP ABI)");
	rmp_shared((u64)p, false);
	differ = 0;
	for (u32 i = 0; i < PAGE; i += 8)
		differ += get64(p, i) != get64(plain, i);
	ok(differ > 400,
	   "a guest's page taken away: still no plaintext");
	put64(p, 0x800, 0x1234);
	differ = 0;
	for (u32 i = 0; i < PAGE; i += 8)
		differ += get64(p, i) != get64(plain, i);
	ok(differ > 400, "the host writes to it: nor is the rest plaintext");
	is(get64(p, 0x800), 0x1234, "what it wrote is there");
	vm_destroy(nodebug);
	vm_destroy(vm);
}

void t_fw(void)
{
	section("firmware");
	contexts();
	launch();
	keys();
}
