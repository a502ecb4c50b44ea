/*
 * qtest for the AMD Secure Processor: SNP guests
 *
 * SNP ABI, "Guest Management" and "Debugging": SNP_GCTX_CREATE, SNP_ACTIVATE,
 * SNP_DECOMMISSION, SNP_GUEST_STATUS, the guest policy, SNP_DBG_DECRYPT and
 * SNP_DBG_ENCRYPT. Tested: the guest's states, contexts, ASIDs and keys, each
 * bit of a policy, and which pages the host may debug.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"

#define POLICY_API(major, minor) ((major) << 8 | (minor))
/* SMT, the bit that must be 1, migration agent, debugging, single socket */
#define POLICY_ALL          0x1f0000ULL

/* SNP_LAUNCH_START: has a migration agent; is an incoming image */
#define START_MA            1
#define START_IMI           2

/* SNP_GUEST_STATUS: policy, then ASID and state */
enum { STATUS_POLICY = 0, STATUS_ASID = 8 };
#define STATE_LAUNCH        1

static void test_snp_guest(void)
{
    Psp *p = start_snp(NULL);

    EXPECT(p, BAD_ADDRESS, SNP_GCTX_CREATE, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_GCTX_CREATE, GCTX + 8);
    EXPECT(p, BAD_ADDRESS, SNP_GCTX_CREATE, p->rmp_base);
    EXPECT(p, BAD_PAGE_STATE, SNP_GCTX_CREATE, GCTX);
    large_page(p, LARGE, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_GCTX_CREATE, LARGE + PSP_PAGE);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX, POLICY);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_START, GCTX + 1, POLICY);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_START, NO_RAM, POLICY);
    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    fill(p, GCTX, 0x33, PSP_PAGE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX | C_BIT);
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_CONTEXT);
    g_assert_false(filled(p, GCTX, 0x33, PSP_PAGE));
    EXPECT(p, BAD_PAGE_STATE, SNP_GCTX_CREATE, GCTX);
    /* A page that looks like a context is none */
    psp_rmp_write(p, GCTX2, RMP_CONTEXT);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX2, POLICY);

    EXPECT(p, BAD_GUEST_STATE, SNP_ACTIVATE, GCTX, 1);
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY);
    EXPECT(p, INACTIVE, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, OK, SNP_ACTIVATE, GCTX, 1);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, GCTX, 0, 0,
           FINISH_AUTHOR_KEY);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_FINISH, GCTX);
    psp_stop(p);
}

static void test_snp_policy(void)
{
    Psp *p = start_snp(NULL);

    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    psp_rmp_write(p, GCTX2, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX2);
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY & ~POLICY_MUST_BE_1);
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY & ~POLICY_SMT);
    for (int bit = POLICY_RESERVED_BIT; bit < 64; bit++) {
        EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY | 1ULL << bit);
    }
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY | POLICY_API(1, 56));
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY | POLICY_API(2, 0));
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY, GCTX2, START_MA);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX, POLICY | POLICY_MIGRATE_MA,
           GCTX2, START_MA);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX, POLICY | POLICY_MIGRATE_MA,
           OUT, START_MA);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX, POLICY | POLICY_MIGRATE_MA,
           GCTX, START_MA);
    EXPECT(p, UNSUPPORTED, SNP_LAUNCH_START, GCTX, POLICY, 0, START_IMI);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY_ALL | POLICY_API(1, 55));
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_START, GCTX, POLICY);

    /* A migration agent is a guest that runs */
    EXPECT(p, OK, SNP_ACTIVATE, GCTX, 1);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX2, POLICY | POLICY_MIGRATE_MA,
           GCTX, START_MA);
    psp_stop(p);

    p = start_snp(",smt=off");
    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY & ~POLICY_SMT);
    psp_stop(p);
}

static void test_snp_asid(void)
{
    Psp *p = start_snp(NULL);

    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    psp_rmp_write(p, GCTX2, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX2);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX2, POLICY);
    EXPECT(p, BAD_GUEST, SNP_ACTIVATE, OUT, 1);
    EXPECT(p, BAD_ASID, SNP_ACTIVATE, GCTX, 0);
    EXPECT(p, BAD_ASID, SNP_ACTIVATE, GCTX, ASID_MIN_SEV);
    EXPECT(p, BAD_ASID, SNP_ACTIVATE, GCTX, POLICY & ~POLICY_MUST_BE_1);
    EXPECT(p, OK, SNP_ACTIVATE, GCTX, ASID_MAX_ES);
    EXPECT(p, ASID_OWNED, SNP_ACTIVATE, GCTX2, ASID_MAX_ES);
    EXPECT(p, ACTIVE, SNP_ACTIVATE, GCTX, 1);

    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_STATE, SNP_GUEST_STATUS, GCTX, OUT2);
    EXPECT(p, OK, SNP_GUEST_STATUS, GCTX, OUT);
    g_assert_cmphex(qtest_readq(p->qts, OUT + STATUS_POLICY), ==, POLICY);
    g_assert_cmphex(qtest_readq(p->qts, OUT + STATUS_ASID), ==,
                    DW(ASID_MAX_ES, STATE_LAUNCH));
    g_assert_cmphex(psp_rmp_read(p, OUT), ==, RMP_RECLAIM);

    /* Once the guest is gone, its pages are noise and its ASID needs a flush */
    fill(p, PAGES, 0x21, PSP_PAGE);
    snp_page(p, GCTX, ASID_MAX_ES, NORMAL, PAGES, 0x1000);
    g_assert_true(filled(p, PAGES, 0x21, PSP_PAGE));
    EXPECT(p, BAD_GUEST, SNP_DECOMMISSION, OUT);
    EXPECT(p, BAD_ADDRESS, SNP_DECOMMISSION, NO_RAM);
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_FIRMWARE);
    g_assert_false(filled(p, PAGES, 0x21, 16));
    EXPECT(p, BAD_GUEST, SNP_DECOMMISSION, GCTX);
    EXPECT(p, DFFLUSH_REQUIRED, SNP_ACTIVATE, GCTX2, ASID_MAX_ES);
    EXPECT_QUERY(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN_EX, SHUTDOWN_LEN);
    EXPECT(p, WBINVD_REQUIRED, SNP_DF_FLUSH, 0);
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
    EXPECT(p, OK, SNP_ACTIVATE, GCTX2, ASID_MAX_ES);
    EXPECT(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN_EX, SHUTDOWN_LEN);
    psp_stop(p);
}

/* A page of another guest, and one that nobody has encrypted */
#define OTHERS              (PAGES + PSP_PAGE)
#define NEVER               (PAGES + 3 * PSP_PAGE)

static void test_snp_debug(void)
{
    Psp *p = start_snp(NULL);

    snp_guest(p, GCTX, POLICY | POLICY_DEBUG, 1);
    snp_guest(p, GCTX2, POLICY, 2);
    fill(p, PAGES, 0x18, PSP_PAGE);
    snp_page(p, GCTX, 1, NORMAL, PAGES, 0x1000);
    snp_page(p, GCTX2, 2, NORMAL, OTHERS, 0x1000);

    EXPECT(p, BAD_GUEST, SNP_DBG_DECRYPT, OUT, PAGES, OUT);
    EXPECT(p, BAD_POLICY, SNP_DBG_DECRYPT, GCTX2, OTHERS, OUT);
    EXPECT(p, BAD_POLICY, SNP_DBG_ENCRYPT, GCTX2, OUT, OTHERS);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_DECRYPT, GCTX, PAGES + 16, OUT);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_DECRYPT, GCTX, PAGES, OUT + 16);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_DECRYPT, GCTX, NO_RAM, OUT);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_DECRYPT, GCTX, PAGES, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_ENCRYPT, GCTX, p->rmp_base, PAGES);
    EXPECT(p, BAD_PAGE_STATE, SNP_DBG_DECRYPT, GCTX, REQ, OUT);
    EXPECT(p, BAD_PAGE_OWNER, SNP_DBG_DECRYPT, GCTX, OTHERS, OUT);
    EXPECT(p, BAD_PAGE_STATE, SNP_DBG_DECRYPT, GCTX, PAGES, OUT);
    /* Onto itself: a page of the guest is no Firmware page */
    EXPECT(p, BAD_PAGE_STATE, SNP_DBG_DECRYPT, GCTX, PAGES, PAGES);
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_DBG_DECRYPT, GCTX, PAGES, OUT);
    g_assert_true(filled(p, OUT, 0x18, PSP_PAGE));
    fill(p, REQ, 0x19, PSP_PAGE);
    EXPECT(p, BAD_PAGE_OWNER, SNP_DBG_ENCRYPT, GCTX, REQ, OTHERS);
    EXPECT(p, OK, SNP_DBG_ENCRYPT, GCTX, REQ, PAGES);
    EXPECT(p, OK, SNP_DBG_DECRYPT, GCTX, PAGES, OUT);
    g_assert_true(filled(p, OUT, 0x19, PSP_PAGE));

    /* A page that was never written under the key of the guest */
    fill(p, NEVER, 0x1a, PSP_PAGE);
    psp_rmp_write(p, NEVER, RMP_GUEST(1, 0x4000));
    EXPECT(p, OK, SNP_DBG_DECRYPT, GCTX, NEVER, OUT);
    g_assert_false(filled(p, OUT, 0x1a, 16));
    /* The content of a context has no key of a guest */
    psp_rmp_write(p, GCTX2, RMP_GUEST(1, 0x5000));
    fill(p, GCTX2, 0x1b, PSP_PAGE);
    EXPECT(p, OK, SNP_DBG_DECRYPT, GCTX, GCTX2, OUT);
    g_assert_false(filled(p, OUT, 0x1b, 16));
    psp_stop(p);
}

void add_snp_guest_tests(void)
{
    qtest_add_func("amd-psp/snp/guest", test_snp_guest);
    qtest_add_func("amd-psp/snp/policy", test_snp_policy);
    qtest_add_func("amd-psp/snp/asid", test_snp_asid);
    qtest_add_func("amd-psp/snp/debug", test_snp_debug);
}
