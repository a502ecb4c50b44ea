/*
 * qtest for the AMD Secure Processor: states of pages
 *
 * SNP ABI, "Page Management": SNP_PAGE_RECLAIM, SNP_PAGE_UNSMASH, and the
 * platform's counts of pages that are not the hypervisor's. Tested: what each
 * command makes of a page in each state, and that it leaves other pages alone.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"

#define PAGES_OF_2M     (PSP_2M / PSP_PAGE)
#define PAGE_MASK       (~(PSP_PAGE - 1ULL))
#define GPA             0x5000
/* Of the 2 MB page at LARGE: its gpa, its last 4 KB and their gpa */
#define GPA_2M          0x800000ULL
#define LAST            (LARGE + PSP_2M - PSP_PAGE)
#define LAST_GPA        (GPA_2M + PSP_2M - PSP_PAGE)
/* 2 GB of it below the hole that ends at 4 GB; no memory until it is touched */
#define MUCH_MEMORY     " -m 64G -machine memory-backend=much" \
                        " -object memory-backend-ram,id=much,size=64G," \
                        "reserve=off"
#define MUCH_END        (66ULL << 30)

static void check_reclaim_2m(Psp *p)
{
    psp_rmp_write(p, LARGE, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_PAGE_RECLAIM, LARGE | RECLAIM_2M);
    large_page(p, LARGE, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_PAGE_RECLAIM, LARGE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_PAGE_RECLAIM, LARGE + PSP_PAGE);
    EXPECT(p, OK, SNP_PAGE_RECLAIM, LARGE | RECLAIM_2M);
    for (int i = 0; i < PAGES_OF_2M; i += 73) {
        g_assert_cmphex(psp_rmp_read(p, LARGE + i * PSP_PAGE) & PAGE_MASK,
                        ==, i * PSP_PAGE);
        g_assert_cmphex(psp_rmp_read(p, LARGE + i * PSP_PAGE) & ~PAGE_MASK, ==,
                        RMP_RECLAIM | RMP_2M);
    }
}

static void test_snp_reclaim(void)
{
    static const struct {
        uint64_t before;
        unsigned status;
        uint64_t after;
    } pages[] = {
        { RMP_HYPERVISOR, OK, RMP_HYPERVISOR },
        { RMP_RECLAIM, OK, RMP_RECLAIM },
        { RMP_FIRMWARE, OK, RMP_RECLAIM },
        { RMP_HV_FIXED, BAD_PAGE_STATE, RMP_HV_FIXED },
        { RMP_CONTEXT, BAD_PAGE_STATE, RMP_CONTEXT },
        { RMP_PRE_GUEST(7, GPA), OK,
          RMP_ASSIGNED | RMP_ASID(7) | GPA },
        { RMP_GUEST(7, GPA), OK, RMP_GUEST(7, GPA) },
        { RMP_GUEST(7, GPA) | RMP_IMMUTABLE, OK, RMP_GUEST(7, GPA) },
        { RMP_FIRMWARE | RMP_VALIDATED, OK, RMP_RECLAIM | RMP_VALIDATED },
    };
    Psp *p = start_snp(NULL);

    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        psp_rmp_write(p, PAGES, pages[i].before);
        EXPECT(p, pages[i].status, SNP_PAGE_RECLAIM, PAGES);
        g_assert_cmphex(psp_rmp_read(p, PAGES), ==, pages[i].after);
    }
    EXPECT(p, BAD_PARAM, SNP_PAGE_RECLAIM, PAGES + 2);
    EXPECT(p, BAD_PARAM, SNP_PAGE_RECLAIM, PAGES + PSP_PAGE / 2);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_RECLAIM, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_RECLAIM, p->rmp_base);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_RECLAIM,
           (LARGE + PSP_PAGE) | RECLAIM_2M);

    check_reclaim_2m(p);
    psp_stop(p);
}

static void expect_owned(Psp *p, unsigned guests, unsigned firmware)
{
    g_assert_cmpuint(psp_host_get(p, "stat-rmp-assigned"), ==, guests);
    g_assert_cmpuint(psp_host_get(p, "stat-rmp-firmware"), ==, firmware);
}

/* Guests' pages count from Pre-Guest on, whether their ASID is bound or not */
static void check_guest_owned(Psp *p)
{
    snp_guest(p, GCTX, POLICY, 1);
    expect_owned(p, 0, 1);
    psp_rmp_write(p, PAGES, RMP_PRE_GUEST(1, GPA));
    expect_owned(p, 1, 1);
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), PAGES);
    expect_owned(p, 1, 1);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);
    expect_owned(p, 1, 1);
    EXPECT(p, OK, SNP_PAGE_RECLAIM, PAGES);
    /* A page to be reclaimed is not back yet: RMPUPDATE has to follow */
    EXPECT(p, OK, SNP_PAGE_RECLAIM, GCTX);
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_RECLAIM);
    expect_owned(p, 1, 1);
    psp_rmp_write(p, PAGES, RMP_HYPERVISOR);
    expect_owned(p, 0, 1);
    psp_rmp_write(p, GCTX, RMP_HYPERVISOR);
    expect_owned(p, 0, 0);
}

static void test_snp_owned(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    expect_owned(p, 0, 0);
    /* The RMP's own pages are not among them, nor HV-Fixed ones */
    snp_init(p);
    g_assert_cmphex(psp_rmp_read(p, p->rmp_base), ==, RMP_FIRMWARE);
    g_assert_cmphex(psp_rmp_read(p, p->rmp_end & PAGE_MASK), ==, RMP_FIRMWARE);
    psp_rmp_write(p, OUT, RMP_HV_FIXED);
    expect_owned(p, 0, 0);
    /* Those beside them are: the first and the last page of memory */
    psp_rmp_write(p, p->rmp_base - PSP_PAGE, RMP_FIRMWARE);
    psp_rmp_write(p, p->rmp_end + 1, RMP_FIRMWARE);
    psp_rmp_write(p, 0, RMP_GUEST(1, 0x7000));
    psp_rmp_write(p, RAM_END - PSP_PAGE, RMP_GUEST(99, 0x8000));
    expect_owned(p, 2, 2);
    psp_rmp_write(p, p->rmp_base - PSP_PAGE, RMP_HYPERVISOR);
    psp_rmp_write(p, p->rmp_end + 1, RMP_HYPERVISOR);
    psp_rmp_write(p, 0, RMP_HYPERVISOR);
    psp_rmp_write(p, RAM_END - PSP_PAGE, RMP_HYPERVISOR);
    expect_owned(p, 0, 0);

    check_guest_owned(p);

    /* A 2 MB page is 512 pages */
    large_page(p, LARGE, RMP_FIRMWARE);
    expect_owned(p, 0, PAGES_OF_2M);
    large_page(p, LARGE, RMP_GUEST(3, GPA_2M));
    expect_owned(p, PAGES_OF_2M, 0);

    /* Shutting down gives nothing back by itself; a reset does */
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, DW(SHUTDOWN_LEN, SHUTDOWN_IOMMU));
    expect_owned(p, PAGES_OF_2M, 0);
    reset_machine(p);
    expect_owned(p, 0, 0);
    psp_stop(p);
}

/* In microseconds */
static gint64 time_of_count(Psp *p, unsigned guests)
{
    gint64 least = G_MAXINT64;

    /* The least of some: another program may have had the processor */
    for (int i = 0; i < 5; i++) {
        gint64 begin = g_get_monotonic_time();

        g_assert_cmpuint(psp_host_get(p, "stat-rmp-assigned"), ==, guests);
        least = MIN(least, g_get_monotonic_time() - begin);
    }
    return least;
}

/* Much memory: the machine waits while its RMP is walked */
static void test_snp_owned_much(void)
{
    Psp *p = psp_start(SYSCFG_SNP, MUCH_MEMORY);

    psp_rmp_write(p, 0, RMP_GUEST(1, 0x7000));
    psp_rmp_write(p, MUCH_END - PSP_PAGE, RMP_GUEST(99, 0x8000));
    g_assert_cmpint(time_of_count(p, 2), <, 100 * 1000);
    psp_stop(p);
}

static void test_snp_unsmash(void)
{
    Psp *p = start_snp(NULL);

    EXPECT(p, BAD_ADDRESS, SNP_PAGE_UNSMASH, LARGE + PSP_PAGE);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_UNSMASH, NO_RAM & ~(PSP_2M - 1ULL));
    EXPECT(p, BAD_PAGE_STATE, SNP_PAGE_UNSMASH, LARGE);
    for (int i = 0; i < PAGES_OF_2M; i++) {
        psp_rmp_write(p, LARGE + i * PSP_PAGE,
                      RMP_GUEST(3, GPA_2M + i * PSP_PAGE));
    }
    psp_rmp_write(p, LAST, RMP_GUEST(3, GPA_2M));
    EXPECT(p, BAD_PAGE_STATE, SNP_PAGE_UNSMASH, LARGE);
    psp_rmp_write(p, LAST, RMP_GUEST(4, LAST_GPA));
    EXPECT(p, BAD_PAGE_STATE, SNP_PAGE_UNSMASH, LARGE);
    psp_rmp_write(p, LAST, RMP_GUEST(3, LAST_GPA));
    /* Bit 0 is the page size; the other low bits are none of an address */
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_UNSMASH, LARGE | 2);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_UNSMASH, LARGE | 3);
    g_assert_cmphex(psp_rmp_read(p, LARGE), ==, RMP_GUEST(3, GPA_2M));
    EXPECT(p, OK, SNP_PAGE_UNSMASH, LARGE | 1);
    g_assert_cmphex(psp_rmp_read(p, LARGE), ==,
                    RMP_GUEST(3, GPA_2M) | RMP_2M);
    EXPECT(p, BAD_PAGE_SIZE, SNP_PAGE_UNSMASH, LARGE);
    psp_stop(p);
}

void add_snp_page_tests(void)
{
    qtest_add_func("amd-psp/snp/reclaim", test_snp_reclaim);
    qtest_add_func("amd-psp/snp/owned", test_snp_owned);
    qtest_add_func("amd-psp/snp/owned-much", test_snp_owned_much);
    qtest_add_func("amd-psp/snp/unsmash", test_snp_unsmash);
}
