/*
 * qtest for the AMD Secure Processor: SNP platform
 *
 * SNP ABI, "Platform Management": SNP_INIT, SNP_INIT_EX, SNP_SHUTDOWN_EX,
 * SNP_PLATFORM_STATUS, SNP_DF_FLUSH, SNP_CONFIG, SNP_COMMIT, SNP_FEATURE_INFO,
 * SNP_VLEK_LOAD, SNP_DOWNLOAD_FIRMWARE_EX. Tested: what SNP_INIT wants of the
 * CPUs, how it leaves the RMP and the IOMMU's own pages, what a shutdown gives
 * back, and each command's refusals.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"

/* SNP_INIT_EX: a list of ranges that become HV-Fixed, 255 at most */
enum { LIST_COUNT = 0, LIST_RESERVED = 4, LIST_RANGES = 8 };
enum { RANGE_BASE = 0, RANGE_PAGES = 8, RANGE_RESERVED = 12, RANGE_LEN = 16 };
#define LIST_MAX            255
/* A page before the RMP was initialised; two pages for a range; no memory */
#define LEFT_OVER           0x5000
#define BELOW_1M            0x9f000
#define PCI_HOLE            0xb0000000
#define WITH_LIST           (SNP_INIT_RMP | SNP_INIT_LIST)

/* SNP_PLATFORM_STATUS */
enum {
    STATUS_BUILD = 4, STATUS_FLAGS = 8, STATUS_TCB = 16,
    STATUS_REPORTED_TCB = 24,
};
#define STATUS_MASKS        3
#define STATUS_FEATURE_INFO 8

/* SVN of the SNP firmware from which on Linux has no SEV-ES beside SNP */
#define TCB_SNP_NO_ES       0x1b

#define FEATURE_INFO_LEN    16
#define COMMIT_LEN          4
#define VLEK_LOAD_LEN       16

/* IOMMU: base registers, with the logs' size (a power of two) in bits 59:56 */
#define IOMMU_ADDR          0xfed80000
#define IOMMU_EVENT_LOG     0x10
#define IOMMU_COMPLETION    0x20
#define IOMMU_PPR_LOG       0x38
#define IOMMU_LOG_SIZE(n)   ((uint64_t)(n) << 56)

static void test_snp_config(void)
{
    /* Each bit of SYSCFG that SNP_INIT wants, missing */
    static const uint32_t missing[] = {
        SYSCFG_MFDM, SYSCFG_MEM_ENCRYPT, SYSCFG_SNP_EN, SYSCFG_VMPL_EN,
    };

    for (int i = 0; i < ARRAY_SIZE(missing); i++) {
        Psp *p = psp_start(SYSCFG_SNP & ~missing[i], NULL);

        EXPECT(p, BAD_CONFIG, SNP_INIT, 0);
        EXPECT(p, BAD_CONFIG, SNP_INIT_EX, SNP_INIT_RMP);
        EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
        g_assert_cmphex(qtest_readl(p->qts, OUT), ==,
                        SNP_STATUS_WORD(UNINIT, 0));
        psp_stop(p);
    }
}

static void put_range(Psp *p, int i, uint64_t base, uint32_t pages)
{
    uint64_t pa = LIST + LIST_RANGES + i * RANGE_LEN;

    qtest_writeq(p->qts, pa + RANGE_BASE, base);
    qtest_writeq(p->qts, pa + RANGE_PAGES, pages);
}

static void check_range_list(Psp *p)
{
    EXPECT(p, RMP_INIT_REQUIRED, SNP_INIT_EX, 0);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, SNP_INIT_LIST, LIST);
    EXPECT(p, BAD_ADDRESS, SNP_INIT_EX, WITH_LIST, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_INIT_EX, WITH_LIST, LIST + 4);
    qtest_writeq(p->qts, LIST + LIST_COUNT, LIST_MAX + 1);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, WITH_LIST, LIST);
    qtest_writeq(p->qts, LIST + LIST_COUNT, DW(1, 1));
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, WITH_LIST, LIST);
    qtest_writeq(p->qts, LIST + LIST_COUNT, 1);
    put_range(p, 0, BELOW_1M + PSP_PAGE / 2, 1);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, WITH_LIST, LIST);
    put_range(p, 0, 0xfffffffffffff000ULL & ~C_BIT, 0xffffffff);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, WITH_LIST, LIST);
    put_range(p, 0, 0, 1);
    qtest_writel(p->qts, LIST + LIST_RANGES + RANGE_RESERVED, 1);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, WITH_LIST, LIST);
}

/* Every entry is made anew: what was left over is gone */
static void check_rmp(Psp *p)
{
    uint64_t pa;

    psp_rmp_write(p, LEFT_OVER, RMP_GUEST(3, 0x7000));
    qtest_writeq(p->qts, LIST + LIST_COUNT, 4);
    put_range(p, 0, BELOW_1M, 2);
    put_range(p, 1, p->rmp_base, 1);
    put_range(p, 2, PCI_HOLE, 0x100);
    put_range(p, 3, RAM_END - PSP_PAGE, 0xffffffff);
    EXPECT(p, OK, SNP_INIT_EX, WITH_LIST, LIST);
    g_assert_cmphex(psp_rmp_read(p, LEFT_OVER), ==, RMP_HYPERVISOR);
    g_assert_cmphex(psp_rmp_read(p, BELOW_1M - PSP_PAGE), ==, RMP_HYPERVISOR);
    g_assert_cmphex(psp_rmp_read(p, BELOW_1M), ==, RMP_HV_FIXED);
    g_assert_cmphex(psp_rmp_read(p, BELOW_1M + PSP_PAGE), ==, RMP_HV_FIXED);
    g_assert_cmphex(psp_rmp_read(p, BELOW_1M + 2 * PSP_PAGE), ==,
                    RMP_HYPERVISOR);
    g_assert_cmphex(psp_rmp_read(p, RAM_END - PSP_PAGE), ==, RMP_HV_FIXED);
    for (pa = p->rmp_base; pa < p->rmp_end; pa += PSP_PAGE) {
        g_assert_cmphex(psp_rmp_read(p, pa), ==, RMP_FIRMWARE);
    }
}

/* No ASID may be used before WBINVD and a flush */
static void check_flush(Psp *p)
{
    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY);
    EXPECT(p, DFFLUSH_REQUIRED, SNP_ACTIVATE, GCTX, 1);
    EXPECT_QUERY(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN_EX, SHUTDOWN_LEN);
    EXPECT(p, WBINVD_REQUIRED, SNP_DF_FLUSH, 0);
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
    EXPECT(p, OK, SNP_ACTIVATE, GCTX, 1);
}

/*
 * Not while a guest has an ASID, flushed or not: the panic of a host with a
 * guest alive. A context without an ASID goes, and is a Firmware page
 */
static void check_shutdown(Psp *p)
{
    EXPECT(p, BAD_LEN, SNP_SHUTDOWN_EX, SHUTDOWN_LEN + 4);
    EXPECT(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN_EX,
           DW(SHUTDOWN_LEN, SHUTDOWN_IOMMU));
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
    EXPECT(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN_EX,
           DW(SHUTDOWN_LEN, SHUTDOWN_IOMMU));
    EXPECT(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN, 0);
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_CONTEXT);

    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);
    EXPECT_QUERY(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN_EX, SHUTDOWN_LEN);
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, DW(SHUTDOWN_LEN, SHUTDOWN_IOMMU));
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_FIRMWARE);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_DECOMMISSION, GCTX);
    /* The RMP stays initialised, so it need not be again */
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, SNP_STATUS_WORD(UNINIT, 1));
    EXPECT(p, OK, SNP_INIT_EX, 0);
    EXPECT(p, BAD_GUEST, SNP_DECOMMISSION, GCTX);
}

static void test_snp_init(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    check_range_list(p);
    check_rmp(p);
    check_flush(p);
    check_shutdown(p);
    psp_stop(p);
}

/* Pages that the IOMMU writes by itself are Firmware pages while SNP is on */
static void test_snp_iommu(void)
{
    const uint64_t events = PAGES, ppr = PAGES + 4 * PSP_PAGE;
    const uint64_t completion = PAGES + 8 * PSP_PAGE;
    const uint64_t pages[] = { events, events + PSP_PAGE, ppr, completion };
    Psp *p = psp_start(SYSCFG_SNP, " -device amd-iommu");

    /* Event log of 512 entries (two pages), PPR log of 256, completion store */
    qtest_writeq(p->qts, IOMMU_ADDR + IOMMU_EVENT_LOG,
                 events | IOMMU_LOG_SIZE(9));
    qtest_writeq(p->qts, IOMMU_ADDR + IOMMU_PPR_LOG, ppr | IOMMU_LOG_SIZE(8));
    qtest_writeq(p->qts, IOMMU_ADDR + IOMMU_COMPLETION, completion);
    snp_init(p);
    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        g_assert_cmphex(psp_rmp_read(p, pages[i]), ==, RMP_FIRMWARE);
    }
    g_assert_cmphex(psp_rmp_read(p, events + 2 * PSP_PAGE), ==, RMP_HYPERVISOR);
    g_assert_cmphex(psp_rmp_read(p, ppr + PSP_PAGE), ==, RMP_HYPERVISOR);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, SHUTDOWN_LEN);
    g_assert_cmphex(psp_rmp_read(p, events), ==, RMP_FIRMWARE);
    snp_init(p);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, DW(SHUTDOWN_LEN, SHUTDOWN_IOMMU));
    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        g_assert_cmphex(psp_rmp_read(p, pages[i]), ==, RMP_RECLAIM);
    }
    psp_stop(p);
}

/* Before SNP_INIT the status goes to any memory. Returns the TCB version */
static uint64_t check_status(Psp *p)
{
    uint64_t tcb;

    EXPECT(p, BAD_ADDRESS, SNP_PLATFORM_STATUS, NO_RAM);
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT + 8);
    g_assert_cmphex(qtest_readl(p->qts, OUT + 8), ==,
                    SNP_STATUS_WORD(UNINIT, 0));
    tcb = qtest_readq(p->qts, OUT + 8 + STATUS_TCB);
    g_assert_cmpuint(TCB_SNP(tcb), <, TCB_SNP_NO_ES);
    g_assert_cmphex(qtest_readq(p->qts, OUT + 8 + STATUS_REPORTED_TCB), ==,
                    tcb);
    g_assert_true(qtest_readl(p->qts, OUT + 8 + STATUS_FLAGS) &
                  STATUS_FEATURE_INFO);
    return tcb;
}

static void check_feature_info(Psp *p)
{
    fill(p, OUT, 0xff, 2 * FEATURE_INFO_LEN);
    EXPECT(p, OK, SNP_FEATURE_INFO, FEATURE_INFO_LEN, OUT);
    g_assert_true(filled(p, OUT, 0, FEATURE_INFO_LEN));
    EXPECT(p, BAD_LEN, SNP_FEATURE_INFO, FEATURE_INFO_LEN - 1, OUT);
    EXPECT(p, BAD_PARAM, SNP_FEATURE_INFO, DW(FEATURE_INFO_LEN, 1), OUT);
    EXPECT(p, BAD_ADDRESS, SNP_FEATURE_INFO, FEATURE_INFO_LEN, OUT + 4);
    EXPECT(p, BAD_ADDRESS, SNP_FEATURE_INFO, FEATURE_INFO_LEN,
           OUT + PSP_PAGE - 8);
    EXPECT(p, BAD_ADDRESS, SNP_FEATURE_INFO, FEATURE_INFO_LEN, NO_RAM);
}

/* Initialised: what the firmware writes are Firmware pages */
static void check_status_page(Psp *p)
{
    EXPECT(p, BAD_PAGE_STATE, SNP_FEATURE_INFO, FEATURE_INFO_LEN, OUT);
    EXPECT(p, BAD_PAGE_STATE, SNP_PLATFORM_STATUS, OUT);
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_FEATURE_INFO, FEATURE_INFO_LEN, OUT);
    EXPECT(p, BAD_ADDRESS, SNP_PLATFORM_STATUS, OUT + 8);
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, SNP_STATUS_WORD(READY, 1));
    g_assert_cmphex(psp_rmp_read(p, OUT), ==, RMP_RECLAIM);
}

static void check_config(Psp *p, uint64_t tcb)
{
    EXPECT(p, OK, SNP_COMMIT, COMMIT_LEN);
    EXPECT(p, BAD_LEN, SNP_COMMIT, COMMIT_LEN + 4);
    EXPECT(p, BAD_PARAM, SNP_CONFIG, tcb + 1);
    EXPECT(p, OK, SNP_CONFIG, tcb - 1, CONFIG_MASK_CHIP_ID);
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
    g_assert_cmphex(qtest_readl(p->qts, OUT + STATUS_FLAGS) & STATUS_MASKS,
                    ==, CONFIG_MASK_CHIP_ID);
    g_assert_cmphex(qtest_readq(p->qts, OUT + STATUS_TCB), ==, tcb);
    g_assert_cmphex(qtest_readq(p->qts, OUT + STATUS_REPORTED_TCB), ==,
                    tcb - 1);
    EXPECT(p, OK, SNP_CONFIG, 0);
}

static void test_snp_platform(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    uint64_t tcb;

    tcb = check_status(p);
    check_feature_info(p);
    EXPECT(p, BAD_ADDRESS, SNP_DOWNLOAD_FIRMWARE_EX, 0, NO_RAM, IMAGE_LEN);
    EXPECT(p, BAD_SIGNATURE, SNP_DOWNLOAD_FIRMWARE_EX, 0, OUT, IMAGE_LEN);

    snp_init(p);
    check_status_page(p);
    check_config(p, tcb);

    EXPECT(p, BAD_LEN, SNP_VLEK_LOAD, VLEK_LOAD_LEN - 8, REQ);
    EXPECT(p, BAD_ADDRESS, SNP_VLEK_LOAD, VLEK_LOAD_LEN, NO_RAM);
    EXPECT(p, BAD_MEASUREMENT, SNP_VLEK_LOAD, VLEK_LOAD_LEN, REQ);
    psp_stop(p);

    p = psp_start(SYSCFG_SNP, ",feature-info=off");
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
    g_assert_cmphex(qtest_readl(p->qts, OUT + STATUS_FLAGS), ==, 0);
    EXPECT(p, BAD_COMMAND, SNP_FEATURE_INFO, FEATURE_INFO_LEN, OUT);
    psp_stop(p);
}

/* Aliases are checked for since build 22 of Milan's firmware */
static void test_snp_build(void)
{
    static const struct {
        const char *device;
        uint32_t build;
        uint8_t flags;
    } builds[] = {
        { ",build=21", 21, 0 },
        { ",build=22", 22, STATUS_ALIAS_CHECK },
        { NULL, BUILD, STATUS_ALIAS_CHECK },
    };

    for (int i = 0; i < ARRAY_SIZE(builds); i++) {
        Psp *p = psp_start(SYSCFG_SNP, builds[i].device);

        EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
        g_assert_cmphex(qtest_readl(p->qts, OUT), ==,
                        STATUS_WORD(UNINIT, builds[i].flags));
        g_assert_cmpuint(qtest_readl(p->qts, OUT + STATUS_BUILD), ==,
                         builds[i].build);
        psp_stop(p);
    }
}

void add_snp_platform_tests(void)
{
    qtest_add_func("amd-psp/snp/config", test_snp_config);
    qtest_add_func("amd-psp/snp/init", test_snp_init);
    qtest_add_func("amd-psp/snp/iommu", test_snp_iommu);
    qtest_add_func("amd-psp/snp/platform", test_snp_platform);
    qtest_add_func("amd-psp/snp/build", test_snp_build);
}
