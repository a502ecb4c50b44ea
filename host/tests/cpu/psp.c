// SPDX-License-Identifier: GPL-2.0-or-later
/* The firmware's commands (ABI 56860) through the PSP's mailbox, without interrupts. */
#include "lib.h"

#define PSP_ID		0x14ca1022
#define PCI_DEVFNS	0x10000
#define REG_CMD		0x10980
#define REG_LO		0x109e0
#define REG_HI		0x109e4

static volatile u8 *mmio;

static u32 pci_read(u32 devfn, u32 off)
{
	outl(0xcf8, 0x80000000u | devfn << 8 | off);
	return inl(0xcfc);
}

static void pci_write(u32 devfn, u32 off, u32 v)
{
	outl(0xcf8, 0x80000000u | devfn << 8 | off);
	outl(0xcfc, v);
}

/* bus, device and function; PCI_DEVFNS if there is no such device */
static u32 pci_devfn(u32 id)
{
	u32 d = 0;

	while (d < PCI_DEVFNS && pci_read(d, 0) != id)
		d++;
	return d;
}

u64 pci_find(u32 id, u32 bar_at)
{
	u32 d = pci_devfn(id);
	u64 bar;

	if (d == PCI_DEVFNS)
		return 0;
	bar = pci_read(d, bar_at);
	if ((bar & 6) == 4)
		bar |= (u64)pci_read(d, bar_at + 4) << 32;
	pci_write(d, 4, pci_read(d, 4) | 6);
	return bar & ~0xfull;
}

/* Puts the PSP's BARs into the memory map, or takes them out. */
void psp_decode(bool on)
{
	static u32 d = PCI_DEVFNS;

	if (d == PCI_DEVFNS)
		d = pci_devfn(PSP_ID);
	pci_write(d, 4, on ? 6 : 4);
}

u64 psp_find(void)
{
	u64 bar = pci_find(PSP_ID, 0x18);

	if (!bar)
		bail("expected PCI device 1022:14ca, found none: run with -device amd-psp");
	mmio = (volatile u8 *)bar;
	return bar;
}

u32 psp(u32 cmd, void *buf)
{
	u64 t = rdtsc();
	u32 v;

	*(volatile u32 *)(mmio + REG_LO) = (u64)buf;
	*(volatile u32 *)(mmio + REG_HI) = (u64)buf >> 32;
	*(volatile u32 *)(mmio + REG_CMD) = cmd << 16;
	for (;;) {
		v = *(volatile u32 *)(mmio + REG_CMD);
		if (v & BIT(31))
			return v & 0xffff;
		if (rdtsc() - t > 20000000000ull)
			bail("PSP: command %#x: no answer in time", cmd);
		pause();
	}
}

/* one page for all command buffers; stays the hypervisor's in the RMP */
static u64 buf[512] __aligned(4096);

static void clear(void)
{
	memset(buf, 0, sizeof(buf));
}

u32 snp_init(void)
{
	static struct {
		u32 n, rsvd;
		struct {
			u64 base;
			u32 pages, rsvd;
		} r[1];
	} list __aligned(4096);

	/* one HV-fixed page, so that the tests can check its state */
	list.n = 1;
	list.r[0].base = 0x1000;
	list.r[0].pages = 1;
	clear();
	buf[0] = 3;			/* INIT_RMP, LIST_PADDR_EN */
	buf[1] = (u64)&list;
	return psp(CMD_SNP_INIT_EX, buf);
}

u32 fw_addr(u32 cmd, void *page)
{
	clear();
	buf[0] = (u64)page;
	return psp(cmd, buf);
}

u32 fw_gctx_create(void *page)
{
	return fw_addr(CMD_SNP_GCTX_CREATE, page);
}

u32 fw_activate(void *gctx, u32 asid)
{
	clear();
	buf[0] = (u64)gctx;
	buf[1] = asid;
	return psp(CMD_SNP_ACTIVATE, buf);
}

u32 fw_launch_start(void *gctx, u64 policy)
{
	clear();
	buf[0] = (u64)gctx;
	buf[1] = policy;
	return psp(CMD_SNP_LAUNCH_START, buf);
}

u32 fw_launch_update(void *gctx, u64 pa, u32 type, bool large, u32 perms)
{
	clear();
	buf[0] = (u64)gctx;
	buf[1] = (large ? 1 : 0) | type << 1;
	buf[2] = pa;
	put8(buf, 25, perms);		/* VMPL1 */
	put8(buf, 26, perms);
	put8(buf, 27, perms);
	return psp(CMD_SNP_LAUNCH_UPDATE, buf);
}

u32 fw_launch_finish(void *gctx)
{
	clear();
	buf[0] = (u64)gctx;
	return psp(CMD_SNP_LAUNCH_FINISH, buf);
}

u32 fw_reclaim(u64 pa, bool large)
{
	clear();
	buf[0] = pa | large;
	return psp(CMD_SNP_PAGE_RECLAIM, buf);
}

/* The firmware writes only to firmware pages: decrypt into one, then copy. */
u32 fw_dbg_decrypt(void *gctx, u64 pa, void *to)
{
	static u8 *page;
	u32 rc;

	if (!page)
		page = page_alloc();
	if (rmp_firmware((u64)page))
		bail("dbg_decrypt: RMPUPDATE to firmware failed");
	clear();
	buf[0] = (u64)gctx;
	buf[1] = pa;
	buf[2] = (u64)page;
	rc = psp(CMD_SNP_DBG_DECRYPT, buf);
	if (fw_reclaim((u64)page, false) || rmp_shared((u64)page, false))
		bail("dbg_decrypt: the firmware page cannot be reclaimed");
	memcpy(to, page, PAGE);
	return rc;
}

/*
 * A command of the older SEV interface. While SNP is on, the firmware writes
 * only to firmware pages: the command buffer and the page must become such.
 */
u32 fw_legacy(u32 cmd, u64 *words, u32 n, u64 page)
{
	static u64 *b;
	u32 rc;

	if (!b)
		b = page_alloc();
	memcpy(b, words, n * 8);
	if (rmp_firmware((u64)b) || (page && rmp_firmware(page)))
		bail("command %#x: RMPUPDATE to firmware failed", cmd);
	rc = psp(cmd, b);
	if (fw_reclaim((u64)b, false) || rmp_shared((u64)b, false))
		bail("command %#x: the buffer cannot be reclaimed", cmd);
	if (page && (fw_reclaim(page, false) || rmp_shared(page, false)))
		bail("command %#x: the page cannot be reclaimed", cmd);
	memcpy(words, b, n * 8);
	return rc;
}

static void wbinvd(void *unused)
{
	(void)unused;
	asm volatile("wbinvd" ::: "memory");
}

/* before an ASID is used again: WBINVD on all CPUs, then DF_FLUSH */
void flush_asids(u32 cmd)
{
	u32 rc;

	on_all(wbinvd, NULL);
	rc = psp(cmd, NULL);
	if (rc)
		bail("DF_FLUSH, command %#x: status %#x", cmd, rc);
}
