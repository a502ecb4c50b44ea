/*
 * qtest for the AMD Secure Processor: SEV platform
 *
 * SEV API, "Platform Management": INIT, INIT_EX, SHUTDOWN, FACTORY_RESET,
 * PLATFORM_STATUS, DF_FLUSH, DOWNLOAD_FIRMWARE, GET_ID. Tested: each command's
 * success and refusals, and what the SNP ABI changes for all SEV commands while
 * SNP is initialised: what they write to are Firmware pages.
 * PEK_* and PDH_* are in sev-certificate-tests.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"

#define TMR_LEN         0x100000
#define TMR_LEN_SNP     PSP_2M
#define BIOS            0xf0000

static void check_get_id(Psp *p)
{
    EXPECT_QUERY(p, BAD_LEN, GET_ID, 0, 0);
    g_assert_cmpuint(result32(p, GET_ID_LEN), ==, ID_LEN);
    EXPECT_QUERY(p, BAD_LEN, GET_ID, OUT, ID_LEN - 1);
    /* Below the end of memory, but not RAM */
    EXPECT(p, BAD_ADDRESS, GET_ID, BIOS, ID_LEN);
    EXPECT(p, BAD_ADDRESS, GET_ID, NO_RAM, ID_LEN);
    EXPECT(p, BAD_ADDRESS, GET_ID, UINT64_MAX - 10, ID_LEN);
    fill(p, OUT, 0, 2 * ID_LEN);
    EXPECT(p, OK, GET_ID, OUT, 2 * ID_LEN);
    g_assert_cmpuint(result32(p, GET_ID_LEN), ==, ID_LEN);
    g_assert_false(filled(p, OUT, 0, ID_LEN));
    g_assert_true(filled(p, OUT + ID_LEN, 0, ID_LEN));
}

static void test_sev_init(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    EXPECT(p, BAD_LEN, INIT, INIT_ES, TMR, TMR_LEN - PSP_PAGE);
    EXPECT(p, BAD_ADDRESS, INIT, INIT_ES, TMR + PSP_PAGE, TMR_LEN);
    EXPECT(p, BAD_ADDRESS, INIT, INIT_ES, NO_RAM, TMR_LEN);
    EXPECT(p, BAD_ADDRESS, INIT, INIT_ES, p->rmp_base, TMR_LEN);
    EXPECT(p, OK, INIT, INIT_ES, TMR + TMR_LEN, TMR_LEN);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, PLATFORM_STATUS_WORD), ==,
                    STATUS_WORD(READY, 0));
    g_assert_cmphex(result32(p, PLATFORM_STATUS_FLAGS), ==,
                    FLAGS_BUILD(BUILD) | FLAGS_ES);

    /* No ASID may be used before DF_FLUSH, nor this before WBINVD */
    EXPECT(p, OK, LAUNCH_START, 0);
    EXPECT(p, DFFLUSH_REQUIRED, ACTIVATE, DW(1, ASID_MIN_SEV));
    EXPECT(p, WBINVD_REQUIRED, DF_FLUSH, 0);
    psp_wbinvd(p);
    EXPECT(p, DFFLUSH_REQUIRED, ACTIVATE, DW(1, ASID_MIN_SEV));
    EXPECT(p, OK, DF_FLUSH, 0);
    EXPECT(p, OK, ACTIVATE, DW(1, ASID_MIN_SEV));
    EXPECT(p, OK, SHUTDOWN, 0);

    EXPECT(p, BAD_LEN, INIT_EX, INIT_EX_LEN - 1, 0, 0, OUT, NV_LEN);
    EXPECT(p, BAD_LEN, INIT_EX, INIT_EX_LEN, 0, 0, OUT, NV_LEN - PSP_PAGE);
    EXPECT(p, BAD_ADDRESS, INIT_EX, INIT_EX_LEN, 0, 0, OUT + 8, NV_LEN);
    EXPECT(p, BAD_ADDRESS, INIT_EX, INIT_EX_LEN, 0, 0, NO_RAM, NV_LEN);
    EXPECT(p, BAD_LEN, INIT_EX, DW(INIT_EX_LEN, INIT_ES), TMR, 0, OUT, NV_LEN);
    EXPECT(p, OK, INIT_EX, DW(INIT_EX_LEN, INIT_ES), TMR, TMR_LEN, OUT, NV_LEN);
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, FACTORY_RESET, 0);

    EXPECT(p, BAD_ADDRESS, DOWNLOAD_FIRMWARE, NO_RAM, IMAGE_LEN);
    EXPECT(p, BAD_ADDRESS, DOWNLOAD_FIRMWARE, OUT, 0);
    EXPECT(p, BAD_SIGNATURE, DOWNLOAD_FIRMWARE, OUT, IMAGE_LEN);

    check_get_id(p);
    psp_stop(p);
}

/* What the firmware reads and encrypts in place, and what it answers with */
static void check_guest_pages(Psp *p)
{
    EXPECT(p, OK, LAUNCH_START, DW(0, SEV_POLICY_ES));
    EXPECT(p, OK, ACTIVATE, DW(1, 5));
    EXPECT(p, BAD_PAGE_STATE, LAUNCH_UPDATE_DATA, 1, PAGES, PSP_PAGE);
    EXPECT(p, BAD_PAGE_STATE, LAUNCH_UPDATE_VMSA, 1, PAGES, PSP_PAGE);
    psp_rmp_write(p, PAGES, RMP_FIRMWARE);
    EXPECT(p, OK, LAUNCH_UPDATE_DATA, 1, PAGES, PSP_PAGE);
    EXPECT(p, OK, LAUNCH_UPDATE_VMSA, 1, PAGES, PSP_PAGE);
    EXPECT(p, BAD_PAGE_STATE, LAUNCH_MEASURE, 1, OUT2, MEASURE_LEN);
    EXPECT(p, OK, LAUNCH_MEASURE, 1, OUT, MEASURE_LEN);
    EXPECT(p, BAD_PAGE_STATE, DBG_DECRYPT, 1, PAGES, OUT2, 16);
    EXPECT(p, OK, DBG_DECRYPT, 1, PAGES, OUT, 16);
    EXPECT(p, OK, DEACTIVATE, 1);
    EXPECT(p, OK, DECOMMISSION, 1);
}

static void test_sev_under_snp(void)
{
    Psp *p = start_snp(NULL);
    uint64_t pa;

    EXPECT(p, BAD_PAGE_STATE, PLATFORM_STATUS, 0);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT, ID_LEN);
    psp_rmp_write(p, PSP_CMD_BUF, RMP_FIRMWARE);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT, ID_LEN);
    psp_rmp_write(p, OUT, RMP_RECLAIM);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT, ID_LEN);
    psp_rmp_write(p, OUT, RMP_CONTEXT);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT, ID_LEN);
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, OK, GET_ID, OUT, ID_LEN);
    /* Each page that is written counts */
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT + PSP_PAGE - 16, ID_LEN);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT - 16, ID_LEN);

    /* The TMR is larger while SNP is initialised */
    EXPECT(p, BAD_LEN, INIT, INIT_ES, TMR, TMR_LEN);
    EXPECT(p, BAD_ADDRESS, INIT, INIT_ES, TMR + TMR_LEN, TMR_LEN_SNP);
    EXPECT(p, BAD_PAGE_STATE, INIT, INIT_ES, TMR, TMR_LEN_SNP);
    for (pa = TMR; pa < TMR + TMR_LEN_SNP; pa += PSP_PAGE) {
        psp_rmp_write(p, pa, RMP_FIRMWARE);
    }
    psp_rmp_write(p, TMR + TMR_LEN_SNP - PSP_PAGE, 0);
    EXPECT(p, BAD_PAGE_STATE, INIT, INIT_ES, TMR, TMR_LEN_SNP);
    psp_rmp_write(p, TMR + TMR_LEN_SNP - PSP_PAGE, RMP_FIRMWARE);
    sev_init(p, true);

    check_guest_pages(p);
    psp_stop(p);
}

void add_sev_platform_tests(void)
{
    qtest_add_func("amd-psp/sev/init", test_sev_init);
    qtest_add_func("amd-psp/sev/under-snp", test_sev_under_snp);
}
