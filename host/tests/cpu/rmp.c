// SPDX-License-Identifier: GPL-2.0-or-later
/* The RMP: reading entries from its memory, and RMPUPDATE to each state. */
#include "lib.h"

u64 rmp_base, rmp_end;

static u64 *entry(u64 pa)
{
	/* the processor's own 16 KB, then 16 bytes per page */
	return (u64 *)(rmp_base + 0x4000 + (pa >> 12) * 16);
}

u64 rmp(u64 pa)
{
	return *(volatile u64 *)entry(pa);
}

u64 rmp_hi(u64 pa)
{
	return *(volatile u64 *)(entry(pa) + 1);
}

u64 rmpupdate(u64 pa, struct rmp_state *st)
{
	return t_rmpupdate(pa, (u64)st, 0);
}

u64 rmp_assign(u64 pa, u64 gpa, u32 asid, bool large, bool immutable)
{
	struct rmp_state st = {
		.gpa = gpa, .assigned = 1, .pagesize = large,
		.immutable = immutable, .asid = asid,
	};

	return rmpupdate(pa, &st);
}

u64 rmp_firmware(u64 pa)
{
	return rmp_assign(pa, 0, 0, false, true);
}

u64 rmp_shared(u64 pa, bool large)
{
	struct rmp_state st = { .pagesize = large };

	return rmpupdate(pa, &st);
}

u64 psmash(u64 pa)
{
	return t_psmash(pa, 0, 0);
}
