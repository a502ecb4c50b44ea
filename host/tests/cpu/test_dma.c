// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Accesses by devices (QEMU's edu, a disk): the IOMMU checks writes against the RMP,
 * and reads no plaintext of encrypted pages (APM 2, 15.36.10). The IOMMU itself:
 * registers and stores that SNP locks (48882, 2.12.2).
 */
#include "lib.h"

#define EDU_ID		0x11e81234
#define EDU_SRC		0x80
#define EDU_DST		0x88
#define EDU_COUNT	0x90
#define EDU_CMD		0x98
#define EDU_BUFFER	0x40000
#define EDU_RUN		1
#define EDU_TO_MEMORY	2

static u8 *edu;

static void transfer(u64 src, u64 dst, u64 cmd)
{
	u64 t = rdtsc();

	put64(edu, EDU_SRC, src);
	put64(edu, EDU_DST, dst);
	put64(edu, EDU_COUNT, 64);
	put64(edu, EDU_CMD, cmd | EDU_RUN);
	while (get64(edu, EDU_CMD) & EDU_RUN) {
		if (rdtsc() - t > 20000000000ull)
			bail("edu: expected the transfer to end, found it busy");
		pause();
	}
}

static void dma_write(void *page)
{
	transfer(EDU_BUFFER, (u64)page, EDU_TO_MEMORY);
}

static void dma_read(void *page)
{
	transfer((u64)page, EDU_BUFFER, 0);
}

static void fill(u64 *page, u64 v)
{
	for (u32 i = 0; i < 512; i++)
		page[i] = v;
}

static void no_hsave(void *unused)
{
	(void)unused;
	wrmsr(MSR_HSAVE, 0);
}

static u32 shutdown_ex(u32 flags)
{
	static u64 buf[512] __aligned(4096);

	buf[0] = 8 | (u64)flags << 32;
	return psp(CMD_SNP_SHUTDOWN_EX, buf);
}

/* SNP up again, after a shutdown: the RMP is made anew */
static void init_again(void)
{
	on_all(no_hsave, NULL);
	is(snp_init(), ST_OK, "SNP_INIT_EX after it");
	flush_asids(CMD_SNP_DF_FLUSH);
	on_all(svm_cpu_init, NULL);
}

/*
 * IOMMU_SNP_SHUTDOWN ends the IOMMU's checks; a shutdown without it does not
 * (Linux, drivers/crypto/ccp/sev-dev.c, __sev_snp_shutdown_locked())
 */
static void after_shutdown(u64 *in, u64 *page)
{
	fill(in, 0x4444);
	dma_read(in);
	fill(page, 0x3333);
	rmp_assign((u64)page, 0x4000, 5, false, false);
	is(shutdown_ex(0), ST_OK, "SNP_SHUTDOWN_EX without IOMMU_SNP_SHUTDOWN");
	dma_write(page);
	is(page[0], 0x3333,
	   "write to a page that is still assigned: refused, SNP is shut down");
	init_again();
	dma_write(page);
	is(page[0], 0x4444, "write when the new RMP has the page as shared");

	fill(page, 0x3333);
	rmp_assign((u64)page, 0x4000, 5, false, false);
	is(shutdown_ex(1), ST_OK, "SNP_SHUTDOWN_EX with IOMMU_SNP_SHUTDOWN");
	dma_write(page);
	rmp_shared((u64)page, false);
	is(page[0], 0x4444,
	   "write to a page that is still assigned: done, the IOMMU checks no more");
	init_again();
	fill(page, 0x3333);
	rmp_assign((u64)page, 0x4000, 5, false, false);
	dma_write(page);
	rmp_shared((u64)page, false);
	is(page[0], 0x3333, "the IOMMU checks again after SNP_INIT_EX");
}

/* A device's address has a C-bit as well (APM 2, 7.10). */
static void with_cbit(u64 *page, u64 *out)
{
	u64 *pte = host_pte((u64)page), keep = *pte;

	*pte |= cbit;
	invlpg((u64)page);
	fill(page, 0x3333);
	dma_read((u8 *)page + cbit);
	dma_write(out);
	is(out[0], 0x3333, "read with C-bit of what was written with it");
	dma_read(page);
	dma_write(out);
	ok(out[0] != 0x3333, "read without the C-bit: noise");
	fill(out, 0x4444);
	dma_read(out);
	dma_write((u8 *)page + cbit);
	is(page[0], 0x4444, "write with C-bit: read with it");
	is(page[8], 0x3333, "beside it, the page keeps its content");
	rmp_assign((u64)page, 0x4000, 5, false, false);
	fill(out, 0x5555);
	dma_read(out);
	dma_write((u8 *)page + cbit);
	is(page[0], 0x4444, "write with C-bit to an assigned page is refused");
	rmp_shared((u64)page, false);
	*pte = keep;
	invlpg((u64)page);
	ok(page[0] != 0x4444, "without the C-bit in the host's tables: noise");
}

/* a disk behind AHCI that takes its time: QEMU's throttle in front of zeros */
#define AHCI_ID		0x29228086
#define GHC		0x004
#define PORT_CLB	0x100
#define PORT_FB		0x108
#define PORT_CMD	0x118
#define PORT_CI		0x138
#define AHCI_EN		BIT(31)
#define PORT_ST		BIT(0)
#define PORT_FRE	BIT(4)
#define READ_DMA_EXT	0x25

static struct {
	u8 *regs, *list, *fis, *table;
} ahci;

static bool ahci_busy(void)
{
	return get32(ahci.regs, PORT_CI) & 1;
}

static void ahci_wait(void)
{
	u64 t = rdtsc();

	while (ahci_busy()) {
		if (rdtsc() - t > 20000000000ull)
			bail("AHCI: expected the read to end, found it busy");
		pause();
	}
}

static void ahci_start(void)
{
	ahci.list = page_alloc();
	ahci.fis = page_alloc();
	ahci.table = page_alloc();
	put32(ahci.regs, GHC, AHCI_EN);
	put32(ahci.regs, PORT_CMD, 0);
	put32(ahci.regs, PORT_CLB, (u64)ahci.list);
	put32(ahci.regs, PORT_CLB + 4, 0);
	put32(ahci.regs, PORT_FB, (u64)ahci.fis);
	put32(ahci.regs, PORT_FB + 4, 0);
	put32(ahci.regs, PORT_CMD, PORT_FRE);
	put32(ahci.regs, PORT_CMD, PORT_FRE | PORT_ST);
}

static void ahci_stop(void)
{
	put32(ahci.regs, PORT_CMD, 0);
	page_free(ahci.list);
	page_free(ahci.fis);
	page_free(ahci.table);
}

/* Starts a read of 8 sectors into the page. */
static void ahci_read(void *page)
{
	put32(ahci.list, 0, 5 | 1 << 16);	/* 5 words of FIS, one buffer */
	put32(ahci.list, 4, 0);
	put64(ahci.list, 8, (u64)ahci.table);
	put32(ahci.table, 0, 0x8027 | READ_DMA_EXT << 16);
	put32(ahci.table, 4, 0x40u << 24);	/* LBA 0 */
	put32(ahci.table, 8, 0);
	put32(ahci.table, 12, 8);
	put64(ahci.table, 0x80, (u64)page);
	put32(ahci.table, 0x88, 0);
	put32(ahci.table, 0x8c, PAGE - 1);
	put32(ahci.regs, PORT_CI, 1);
}

/*
 * QEMU maps the buffer of a request under way: it is the RMP of the time of the
 * write that counts, and not that of the time of the request.
 */
static void t_mapped(void)
{
	u64 *page = page_alloc();
	bool busy = false;

	section("a request under way");
	ahci.regs = (u8 *)pci_find(AHCI_ID, 0x24);
	if (!ok(ahci.regs, "an AHCI controller is there"))
		return;
	ahci_start();
	fill(page, 0x1111);
	ahci_read(page);
	ahci_wait();
	is(page[0], 0, "a disk's read into a hypervisor page");
	for (u32 i = 0; i < 10 && !busy; i++) {
		fill(page, 0x1111);
		ahci_read(page);
		rmp_assign((u64)page, 0x4000, 5, false, false);
		busy = ahci_busy();
		ahci_wait();
		is(page[0], busy ? 0x1111 : 0,
		   busy ? "the page is assigned meanwhile: it is not written" :
		   "the read was over before the page was assigned");
		rmp_shared((u64)page, false);
	}
	ok(busy, "a read was under way when its page was assigned");
	ahci_read(page);
	ahci_wait();
	is(page[0], 0, "and into the page when it is the hypervisor's again");
	ahci_stop();
	page_free(page);
}

/* the IOMMU's registers, where QEMU has them */
#define IOMMU		((u8 *)0xfed80000ul)
#define DEV_TABLE	0x00
#define CMD_BASE	0x08
#define EVT_BASE	0x10
#define CONTROL		0x18
#define STORE_BASE	0x20		/* the completion store's */
#define STORE_LIMIT	0x28
#define CMD_HEAD	0x2000
#define CMD_TAIL	0x2008
#define IOMMU_EN	BIT(0)
#define CMD_EN		BIT(12)
#define CMDS_256	(8ull << 56)
#define DONE		0x1234

static u8 dev_table[2 * PAGE] __aligned(4096);

static void cmd_restart(void)
{
	put64(IOMMU, CONTROL, IOMMU_EN);
	put64(IOMMU, CMD_HEAD, 0);
	put64(IOMMU, CMD_TAIL, 0);
	put64(IOMMU, CONTROL, IOMMU_EN | CMD_EN);
}

/* COMPLETION_WAIT that stores to @to, as the first command of @cmds */
static u64 completion_wait(u64 *cmds, u64 *to)
{
	cmd_restart();
	*to = 0;
	cmds[0] = (u64)to | 1 | 1ull << 60;
	cmds[1] = DONE;
	put64(IOMMU, CMD_TAIL, 16);
	return get64(to, 0);
}

static void keeps(u32 reg, u64 other, const char *name)
{
	u64 v = get64(IOMMU, reg);

	put64(IOMMU, reg, other);
	is(get64(IOMMU, reg), v, "%s is locked: a write of 64 bits", name);
	put32(IOMMU, reg, other);
	put32(IOMMU, reg + 4, other >> 32);
	is(get64(IOMMU, reg), v, "%s: two writes of 32 bits", name);
}

/*
 * No guest is alive: SNP is shut down, and initialised again with an IOMMU that
 * has its buffers, as a kernel's driver does.
 */
static void t_iommu(void)
{
	u64 *cmds = page_alloc(), *others = page_alloc();
	u64 *store = page_alloc(), *page = page_alloc();

	section("the IOMMU's registers");
	is(shutdown_ex(0), ST_OK, "SNP_SHUTDOWN_EX without the IOMMU");
	put64(IOMMU, CMD_BASE, (u64)cmds | CMDS_256);
	is(get64(IOMMU, CMD_BASE), 0, "registers stay locked");
	init_again();
	is(shutdown_ex(1), ST_OK, "SNP_SHUTDOWN_EX with the IOMMU");

	put64(IOMMU, DEV_TABLE, (u64)dev_table | 1);
	put64(IOMMU, CMD_BASE, (u64)cmds | CMDS_256);
	put64(IOMMU, STORE_BASE, (u64)store);
	put64(IOMMU, STORE_LIMIT, (u64)store);
	is(get64(IOMMU, CMD_BASE), (u64)cmds | CMDS_256,
	   "after it, registers can be written");
	is(completion_wait(cmds, others), DONE,
	   "and a completion wait stores anywhere");

	init_again();
	is(rmp((u64)store), RMP_ASSIGNED | RMP_IMMUTABLE,
	   "the completion store is a firmware page");
	keeps(DEV_TABLE, (u64)others, "Device Table Base (48882, 2.12.2.1)");
	keeps(CMD_BASE, (u64)others | CMDS_256, "Command Buffer Base");
	keeps(EVT_BASE, (u64)others | CMDS_256, "Event Log Base");
	keeps(STORE_BASE, (u64)others, "Completion Store Base");
	keeps(STORE_LIMIT, (u64)others, "Completion Store Limit");

	/* the CPU cannot clear a firmware page: the value tells */
	cmd_restart();
	cmds[0] = (u64)&store[1] | 1 | 1ull << 60;
	cmds[1] = 2 * DONE;
	put64(IOMMU, CMD_TAIL, 16);
	is(store[1], 2 * DONE,
	   "a completion wait stores in the completion store");
	is(get64(IOMMU, CMD_HEAD), 16, "head and enable bit are not locked");
	is(completion_wait(cmds, page), 0,
	   "and nowhere else (48882, 2.12.2.2)");
	cmds[0] = 0;
	is(completion_wait(others, &others[8]), 0,
	   "commands of another buffer are not fetched");

	is(shutdown_ex(1), ST_OK, "SNP_SHUTDOWN_EX with the IOMMU");
	is(rmp((u64)store), RMP_ASSIGNED,
	   "the completion store is a Reclaim page");
	rmp_shared((u64)store, false);
	put64(IOMMU, CONTROL, 0);
	put64(IOMMU, DEV_TABLE, 0);
	put64(IOMMU, CMD_BASE, 0);
	put64(IOMMU, STORE_BASE, 0);
	put64(IOMMU, STORE_LIMIT, 0);
	is(get64(IOMMU, STORE_BASE), 0, "registers are unlocked");
	init_again();
	page_free(cmds);
	page_free(others);
	page_free(store);
	page_free(page);
}

void t_dma(void)
{
	u64 *in = page_alloc(), *page = page_alloc(), *out = page_alloc();
	void *gctx = page_alloc();
	u32 asid = 77;

	section("device accesses");
	edu = (u8 *)pci_find(EDU_ID, 0x10);
	if (!ok(edu, "an edu device is there"))
		return;

	fill(in, 0xd3d3d3d3d3d3d3d3);
	dma_read(in);
	dma_write(page);
	is(page[0], 0xd3d3d3d3d3d3d3d3, "write to a hypervisor page");
	fill(page, 0x1111);
	rmp_assign((u64)page, 0x4000, 5, false, false);
	dma_write(page);
	is(page[0], 0x1111, "write to an assigned page is refused");
	dma_read(page);
	rmp_shared((u64)page, false);
	dma_write(out);
	is(out[0], 0x1111, "read of an assigned page is allowed");
	dma_write(page);
	is(page[0], 0x1111, "write when the page is the hypervisor's again");
	rmp_firmware((u64)page);
	dma_read(in);
	dma_write(page);
	fw_reclaim((u64)page, false);
	rmp_shared((u64)page, false);
	is(page[0], 0x1111, "write to a firmware page is refused");

	rmp_firmware((u64)gctx);
	is(fw_gctx_create(gctx), ST_OK, "a guest's context");
	is(fw_launch_start(gctx, POLICY), ST_OK, "its launch");
	is(fw_activate(gctx, asid), ST_OK, "its ASID");
	fill(page, 0x2222);
	rmp_assign((u64)page, 0x4000, asid, false, true);
	is(fw_launch_update(gctx, (u64)page, TYPE_NORMAL, false, 0), ST_OK,
	   "a page of it");
	dma_read(page);
	dma_write(out);
	ok(out[0] != 0x2222 && out[7] != 0x2222,
	   "read of a page under a guest's key does not get its content");
	fill(out, 0);
	dma_read(in);
	dma_write(page);
	is(fw_addr(CMD_SNP_DECOMMISSION, gctx), ST_OK, "the guest goes");
	fw_reclaim((u64)gctx, false);
	rmp_shared((u64)gctx, false);
	rmp_shared((u64)page, false);
	dma_write(page);
	is(page[0], 0xd3d3d3d3d3d3d3d3,
	   "write to what was the guest's page: seen as written");
	flush_asids(CMD_SNP_DF_FLUSH);
	after_shutdown(in, page);
	with_cbit(page, out);
	page_free(in);
	page_free(page);
	page_free(out);
	page_free(gctx);
	t_mapped();
	t_iommu();
}
