// SPDX-License-Identifier: GPL-2.0-or-later
/* 2 MB of addresses that a test maps by a table of its own, on all CPUs. */
#include "lib.h"

u64 view_put(u64 *pt)
{
	u64 *e = host_pde(VIEW), was = *e;

	*e = (u64)pt | 0x67;
	invlpg(VIEW);
	return was;
}

void view_restore(u64 was)
{
	*host_pde(VIEW) = was;
	invlpg(VIEW);
}

/*
 * For a store to VIEW + 0xffc: 4 bytes that a device ignores, then the first 4
 * of a page. While the CPU translates the second page, it has the translation
 * of the first.
 */
u64 view_straddle(u64 *pt, u64 page)
{
	pt[0] = IOAPIC_PAGE | 0x67;
	pt[1] = page | 0x67;
	return view_put(pt);
}

/*
 * The emulator makes its table of translations larger or smaller when it is
 * next flushed, by how many there are.
 */
void use_pages(u64 n)
{
	for (u64 i = 0; i < n; i++)
		get64((void *)(POOL4K + i * PAGE), 0);
}
