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

static void fw_cfg_dma(u32 control, u32 len, u64 to)
{
	static struct {
		u32 control, len;
		u64 address;
	} __packed __aligned(16) dma;

	dma.len = __builtin_bswap32(len);
	dma.address = __builtin_bswap64(to);
	dma.control = __builtin_bswap32(control);
	barrier();
	outl(0x514, __builtin_bswap32((u64)&dma >> 32));
	outl(0x518, __builtin_bswap32((u64)&dma));
	barrier();
	if (*(volatile u32 *)&dma.control)
		bail("fw_cfg: DMA failed");
}

/*
 * No instruction and no firmware command of this host makes an immutable VMSA,
 * as PAGE_SWAP_OUT does. fw_cfg's DMA goes around the IOMMU: it copies the byte
 * from a file that "run" gives, which holds 0 to 255.
 */
void rmp_poke(u64 pa, u32 n, u8 value)
{
	const u32 SKIP = BIT(2) | BIT(3), READ = BIT(1);
	u32 len = 0, sel = fw_cfg_find("opt/snp-cpu/bytes", &len);

	if (!sel || len != 256)
		bail("expected fw_cfg file opt/snp-cpu/bytes of 256 bytes, found %u",
		     len);
	fw_cfg_dma(sel << 16 | SKIP, value, 0);
	fw_cfg_dma(READ, 1, (u64)entry(pa) + n);
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
