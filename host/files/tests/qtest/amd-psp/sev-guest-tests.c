/*
 * qtest for the AMD Secure Processor: SEV and SEV-ES guests
 *
 * SEV API, "Guest Management" and "Debugging": LAUNCH_START to LAUNCH_FINISH,
 * ACTIVATE, DEACTIVATE, DECOMMISSION, GUEST_STATUS, DBG_DECRYPT, DBG_ENCRYPT.
 * Tested: each step of a launch with its refusals, the measurement and the
 * secret as a guest owner computes them, and that content is lost with the key.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"
#include "qemu/bswap.h"

/* Guest states */
enum { GUEST_UNINIT, GUEST_LUPDATE, GUEST_LSECRET, GUEST_RUNNING };

/* Without a session, TIK and TEK are zero */
#define KEY_LEN             16
#define SESSION_LEN         128

/* What the MAC of LAUNCH_MEASURE is over */
enum {
    MEASURE_CONTEXT = 0, MEASURE_API = 1, MEASURE_BUILD = 3,
    MEASURE_POLICY = 4, MEASURE_DIGEST = 8, MEASURE_NONCE = 40,
    MEASURE_IN_LEN = 56,
};
#define CONTEXT_MEASURE     4

/* What the MAC of LAUNCH_UPDATE_SECRET is over; data of SECRET_LEN bytes */
enum {
    SECRET_CONTEXT = 0, SECRET_FLAGS = 1, SECRET_IV = 5,
    SECRET_GUEST_LEN = 21, SECRET_TRANS_LEN = 25, SECRET_DATA = 29,
};
#define CONTEXT_SECRET      1
#define SECRET_LEN          32
#define SECRET_IN_LEN       (SECRET_DATA + SECRET_LEN + MAC_LEN)

/* Header of LAUNCH_UPDATE_SECRET: flags, IV, MAC */
enum { SECRET_HDR_FLAGS = 0, SECRET_HDR_MAC = 20, SECRET_HDR_LEN = 52 };
#define SECRET_COMPRESSED   1

/* What guest 1 of test_sev_launch() has at PAGES, and where its secret goes */
#define CONTENT             0x11
#define CONTENT_LEN         0x3000
#define SECRET_PAGE         (PAGES + PSP_PAGE)

#define POLICY_1_55         SEV_POLICY_API(1, 55)

static void hmac_sha256(const uint8_t *key, const void *data, size_t len,
                        uint8_t *mac)
{
    GHmac *h = g_hmac_new(G_CHECKSUM_SHA256, key, KEY_LEN);
    gsize n = MAC_LEN;

    g_hmac_update(h, data, len);
    g_hmac_get_digest(h, mac, &n);
    g_hmac_unref(h);
}

/* The measurement at OUT, as the owner of @content computes it */
static void check_measure(Psp *p, uint32_t policy, const uint8_t *content,
                          size_t len)
{
    static const uint8_t tik[KEY_LEN];
    uint8_t in[MEASURE_IN_LEN] = {
        [MEASURE_CONTEXT] = CONTEXT_MEASURE, [MEASURE_API] = 1, 55,
        [MEASURE_BUILD] = BUILD,
    };
    uint8_t want[MAC_LEN], got[MEASURE_LEN];
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize n = MAC_LEN;

    qtest_memread(p->qts, OUT, got, sizeof(got));
    stl_le_p(in + MEASURE_POLICY, policy);
    g_checksum_update(sum, content, len);
    g_checksum_get_digest(sum, in + MEASURE_DIGEST, &n);
    g_checksum_free(sum);
    memcpy(in + MEASURE_NONCE, got + MAC_LEN, NONCE_LEN);
    hmac_sha256(tik, in, sizeof(in), want);
    g_assert_cmpmem(got, MAC_LEN, want, MAC_LEN);
}

/* A packet at REQ and RSP for the guest whose measurement is at OUT */
static void put_secret(Psp *p, uint8_t spoil)
{
    static const uint8_t tik[KEY_LEN];
    uint8_t in[SECRET_IN_LEN] = { [SECRET_CONTEXT] = CONTEXT_SECRET };
    uint8_t hdr[SECRET_HDR_LEN] = { 0 };

    /* Flags and IV are zero; data is what AES-CTR with a zero key leaves */
    memset(in + SECRET_DATA, 0x5a, SECRET_LEN);
    stl_le_p(in + SECRET_GUEST_LEN, SECRET_LEN);
    stl_le_p(in + SECRET_TRANS_LEN, SECRET_LEN);
    qtest_memread(p->qts, OUT, in + SECRET_DATA + SECRET_LEN, MAC_LEN);
    hmac_sha256(tik, in, sizeof(in), hdr + SECRET_HDR_MAC);
    hdr[SECRET_HDR_MAC] ^= spoil;
    qtest_memwrite(p->qts, REQ, hdr, sizeof(hdr));
    qtest_memwrite(p->qts, RSP, in + SECRET_DATA, SECRET_LEN);
}

/* Two guests, 1 and 2; guest 1 gets ASID 100 */
static void check_start(Psp *p)
{
    EXPECT(p, UNSUPPORTED, LAUNCH_START, 1);
    EXPECT(p, UNSUPPORTED, LAUNCH_START, 0, OUT, CERT_LEN);
    EXPECT(p, UNSUPPORTED, LAUNCH_START, 0, 0, 0, OUT, SESSION_LEN);
    EXPECT(p, BAD_POLICY, LAUNCH_START, DW(0, SEV_POLICY_RESERVED));
    EXPECT(p, BAD_POLICY, LAUNCH_START, DW(0, SEV_POLICY_API(1, 56)));
    EXPECT(p, BAD_POLICY, LAUNCH_START, DW(0, SEV_POLICY_API(2, 0)));
    EXPECT(p, BAD_POLICY, LAUNCH_START, DW(0, SEV_POLICY_ES));  /* no TMR */
    EXPECT(p, OK, LAUNCH_START, DW(0, POLICY_1_55));
    g_assert_cmpuint(result32(p, LAUNCH_START_HANDLE), ==, 1);
    EXPECT(p, OK, LAUNCH_START, 0);
    g_assert_cmpuint(result32(p, LAUNCH_START_HANDLE), ==, 2);

    EXPECT(p, BAD_GUEST, GUEST_STATUS, 0);
    EXPECT(p, BAD_GUEST, GUEST_STATUS, 3);
    EXPECT(p, OK, GUEST_STATUS, 1);
    g_assert_cmphex(result32(p, GUEST_STATUS_POLICY), ==, POLICY_1_55);
    g_assert_cmphex(result32(p, GUEST_STATUS_ASID), ==, 0);
    g_assert_cmphex(result32(p, GUEST_STATUS_STATE) & 0xff, ==, GUEST_LUPDATE);

    EXPECT(p, INACTIVE, LAUNCH_UPDATE_DATA, 1, PAGES, PSP_PAGE);
    EXPECT(p, INACTIVE, DEACTIVATE, 1);
    EXPECT(p, BAD_GUEST, ACTIVATE, DW(9, ASID_MIN_SEV));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, 0));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, ASID_MAX_ES));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, ASID_MAX + 1));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, 0xffffffff));
    EXPECT(p, OK, ACTIVATE, DW(1, ASID_MIN_SEV));
    EXPECT(p, ASID_OWNED, ACTIVATE, DW(2, ASID_MIN_SEV));
    EXPECT(p, ASID_OWNED, ACTIVATE, DW(1, ASID_MIN_SEV));
    EXPECT(p, ACTIVE, ACTIVATE, DW(1, ASID_MIN_SEV + 1));
    EXPECT(p, ACTIVE, DECOMMISSION, 1);
}

static void check_update(Psp *p)
{
    fill(p, PAGES, CONTENT, CONTENT_LEN);
    EXPECT(p, BAD_GUEST, LAUNCH_UPDATE_DATA, 7, PAGES, PSP_PAGE);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_DATA, 1, PAGES, 0);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_DATA, 1, PAGES, 8);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_DATA, 1, PAGES + 8, 16);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_DATA, 1, NO_RAM, 16);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_DATA, 1, PAGES, 0xfffffff0);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_DATA, 1, p->rmp_base - 16, 32);
    EXPECT(p, BAD_POLICY, LAUNCH_UPDATE_VMSA, 1, PAGES, PSP_PAGE);
    /* Over the border of a page, then the rest */
    EXPECT(p, OK, LAUNCH_UPDATE_DATA, 1, PAGES, 0x1810);
    EXPECT(p, OK, LAUNCH_UPDATE_DATA, 1, PAGES + 0x1810, CONTENT_LEN - 0x1810);
    g_assert_true(filled(p, PAGES, CONTENT, CONTENT_LEN));
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_FINISH, 1);
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_UPDATE_SECRET, 1);
    EXPECT(p, BAD_GUEST_STATE, ATTESTATION_REPORT, 1, OUT, 0, 0,
           SEV_REPORT_LEN);
}

static void check_launch_measure(Psp *p)
{
    g_autofree uint8_t *content = g_malloc(CONTENT_LEN);

    EXPECT_QUERY(p, BAD_LEN, LAUNCH_MEASURE, 1, 0, 0);
    g_assert_cmpuint(result32(p, LAUNCH_MEASURE_LEN), ==, MEASURE_LEN);
    EXPECT_QUERY(p, BAD_LEN, LAUNCH_MEASURE, 1, OUT, MEASURE_LEN - 1);
    EXPECT(p, BAD_ADDRESS, LAUNCH_MEASURE, 1, NO_RAM, MEASURE_LEN);
    EXPECT(p, OK, LAUNCH_MEASURE, 1, OUT, 64);
    g_assert_cmpuint(result32(p, LAUNCH_MEASURE_LEN), ==, MEASURE_LEN);
    memset(content, CONTENT, CONTENT_LEN);
    check_measure(p, POLICY_1_55, content, CONTENT_LEN);
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_MEASURE, 1, OUT, MEASURE_LEN);
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_UPDATE_DATA, 1, PAGES, 16);
}

static void check_secret(Psp *p)
{
    /* AES-128 with key 0 of counters 0 and 1 */
    static const uint8_t stream[SECRET_LEN] = {
        0x66, 0xe9, 0x4b, 0xd4, 0xef, 0x8a, 0x2c, 0x3b,
        0x88, 0x4c, 0xfa, 0x59, 0xca, 0x34, 0x2b, 0x2e,
        0x58, 0xe2, 0xfc, 0xce, 0xfa, 0x7e, 0x30, 0x61,
        0x36, 0x7f, 0x1d, 0x57, 0xa4, 0xe7, 0x45, 0x5a,
    };
    static const struct {
        unsigned status;
        uint64_t hdr, hdr_len, guest, guest_len, data, data_len;
    } bad[] = {
        { BAD_LEN, REQ, SECRET_HDR_LEN - 1, SECRET_PAGE, 32, RSP, 32 },
        { BAD_LEN, REQ, SECRET_HDR_LEN, SECRET_PAGE, 0, RSP, 0 },
        { BAD_LEN, REQ, SECRET_HDR_LEN, SECRET_PAGE, 24, RSP, 24 },
        { BAD_LEN, REQ, SECRET_HDR_LEN, SECRET_PAGE, 32, RSP, 16 },
        { BAD_LEN, REQ, SECRET_HDR_LEN, SECRET_PAGE, 0x4010, RSP, 0x4010 },
        { BAD_ADDRESS, REQ, SECRET_HDR_LEN, PAGES + 8, 32, RSP, 32 },
        { BAD_ADDRESS, REQ, SECRET_HDR_LEN, NO_RAM, 32, RSP, 32 },
        { BAD_ADDRESS, NO_RAM, SECRET_HDR_LEN, PAGES, 32, RSP, 32 },
        { BAD_ADDRESS, REQ, SECRET_HDR_LEN, PAGES, 32, NO_RAM, 32 },
    };
    uint8_t secret[SECRET_LEN];

    put_secret(p, 0);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        EXPECT(p, bad[i].status, LAUNCH_UPDATE_SECRET, 1, bad[i].hdr,
               bad[i].hdr_len, bad[i].guest, bad[i].guest_len, bad[i].data,
               bad[i].data_len);
    }
    put_secret(p, 1);
    EXPECT(p, BAD_MEASUREMENT, LAUNCH_UPDATE_SECRET, 1, REQ, SECRET_HDR_LEN,
           SECRET_PAGE, SECRET_LEN, RSP, SECRET_LEN);
    qtest_writel(p->qts, REQ + SECRET_HDR_FLAGS, SECRET_COMPRESSED);
    EXPECT(p, UNSUPPORTED, LAUNCH_UPDATE_SECRET, 1, REQ, SECRET_HDR_LEN,
           SECRET_PAGE, SECRET_LEN, RSP, SECRET_LEN);
    put_secret(p, 0);
    EXPECT(p, OK, LAUNCH_UPDATE_SECRET, 1, REQ, SECRET_HDR_LEN, SECRET_PAGE,
           SECRET_LEN, RSP, SECRET_LEN);
    qtest_memread(p->qts, SECRET_PAGE, secret, sizeof(secret));
    for (int i = 0; i < sizeof(secret); i++) {
        g_assert_cmphex(secret[i], ==, stream[i] ^ 0x5a);
    }
    g_assert_true(filled(p, SECRET_PAGE + SECRET_LEN, CONTENT,
                         PSP_PAGE - SECRET_LEN));
}

static void check_finish(Psp *p)
{
    EXPECT(p, OK, LAUNCH_FINISH, 1);
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_FINISH, 1);
    EXPECT(p, OK, GUEST_STATUS, 1);
    g_assert_cmphex(result32(p, GUEST_STATUS_ASID), ==, ASID_MIN_SEV);
    g_assert_cmphex(result32(p, GUEST_STATUS_STATE) & 0xff, ==, GUEST_RUNNING);
}

static void check_debug(Psp *p)
{
    const uint64_t end = PAGES + PSP_PAGE - 16;

    fill(p, OUT, 0, 2 * PSP_PAGE);
    EXPECT(p, BAD_LEN, DBG_DECRYPT, 1, PAGES, OUT, 0);
    EXPECT(p, BAD_LEN, DBG_DECRYPT, 1, PAGES, OUT, 8);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, PAGES + 1, OUT, 16);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, PAGES, OUT + 4, 16);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, NO_RAM, OUT, 16);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, PAGES, NO_RAM, 16);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, PAGES, PAGES + 16, 32);
    EXPECT(p, BAD_ADDRESS, DBG_ENCRYPT, 1, OUT, OUT, 16);
    EXPECT(p, BAD_ADDRESS, DBG_ENCRYPT, 1, OUT, PAGES, 0xfffffff0);
    EXPECT(p, BAD_GUEST, DBG_ENCRYPT, 5, OUT, PAGES, 16);
    EXPECT(p, OK, DBG_DECRYPT, 1, end, OUT + 16, 16);
    g_assert_true(filled(p, OUT, 0, 16));
    g_assert_true(filled(p, OUT + 16, CONTENT, 16));
    fill(p, OUT2, 0x77, PSP_PAGE);
    EXPECT(p, OK, DBG_ENCRYPT, 1, OUT2, end, 32);
    g_assert_true(filled(p, end, 0x77, 32));
    g_assert_true(filled(p, PAGES, CONTENT, PSP_PAGE - 16));
    /* A page without the guest's key decrypts to noise */
    EXPECT(p, OK, DBG_DECRYPT, 1, OUT2, OUT, 16);
    g_assert_false(filled(p, OUT, 0x77, 16));
    /* A page with it is read as noise to be encrypted */
    EXPECT(p, OK, DBG_ENCRYPT, 1, PAGES, PAGES + 2 * PSP_PAGE, 16);
    g_assert_false(filled(p, PAGES + 2 * PSP_PAGE, CONTENT, 16));
}

/* The key goes with the ASID, which then needs a flush */
static void check_end(Psp *p)
{
    EXPECT(p, OK, DEACTIVATE, 1);
    g_assert_false(filled(p, PAGES, CONTENT, 16));
    EXPECT(p, INACTIVE, DBG_DECRYPT, 1, PAGES, OUT, 16);
    EXPECT(p, DFFLUSH_REQUIRED, ACTIVATE, DW(2, ASID_MIN_SEV));
    EXPECT(p, OK, ACTIVATE, DW(2, ASID_MIN_SEV + 1));
    EXPECT(p, WBINVD_REQUIRED, DF_FLUSH, 0);
    EXPECT(p, OK, DECOMMISSION, 1);
    EXPECT(p, BAD_GUEST, DECOMMISSION, 1);
}

static void check_debug_forbidden(Psp *p)
{
    EXPECT(p, OK, LAUNCH_START, DW(0, SEV_POLICY_NODBG));
    EXPECT(p, INACTIVE, DBG_DECRYPT, 3, PAGES, OUT, 16);
    EXPECT(p, OK, ACTIVATE, DW(3, ASID_MIN_SEV + 2));
    EXPECT(p, BAD_POLICY, DBG_DECRYPT, 3, PAGES, OUT, 16);
    EXPECT(p, BAD_POLICY, DBG_ENCRYPT, 3, PAGES, OUT, 16);
}

static void test_sev_launch(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    sev_init(p, false);
    check_start(p);
    check_update(p);
    check_launch_measure(p);
    check_secret(p);
    check_finish(p);
    check_debug(p);
    check_end(p);
    check_debug_forbidden(p);
    psp_stop(p);
}

static void test_sev_es_launch(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    g_autofree uint8_t *vmsa = g_malloc(PSP_PAGE);

    sev_init(p, true);
    EXPECT(p, OK, LAUNCH_START, DW(0, SEV_POLICY_ES));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, ASID_MIN_SEV));
    EXPECT(p, OK, ACTIVATE, DW(1, ASID_MAX_ES));
    memset(vmsa, 0x42, PSP_PAGE);
    fill(p, PAGES, 0x42, PSP_PAGE);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_VMSA, 1, PAGES, PSP_PAGE / 2);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_VMSA, 1, PAGES, 2 * PSP_PAGE);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_VMSA, 1, PAGES + 16, PSP_PAGE);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_VMSA, 1, NO_RAM, PSP_PAGE);
    EXPECT(p, OK, LAUNCH_UPDATE_VMSA, 1, PAGES, PSP_PAGE);
    EXPECT(p, OK, LAUNCH_MEASURE, 1, OUT, MEASURE_LEN);
    check_measure(p, SEV_POLICY_ES, vmsa, PSP_PAGE);
    EXPECT(p, OK, LAUNCH_FINISH, 1);
    psp_stop(p);
}

static void test_many_guests(void)
{
    const unsigned limit = 1024;
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    sev_init(p, false);
    for (unsigned i = 0; i < limit; i++) {
        EXPECT(p, OK, LAUNCH_START, 0);
    }
    EXPECT(p, RESOURCE_LIMIT, LAUNCH_START, 0);
    EXPECT(p, OK, DECOMMISSION, 17);
    EXPECT(p, OK, LAUNCH_START, 0);
    g_assert_cmpuint(result32(p, LAUNCH_START_HANDLE), ==, limit + 1);
    psp_stop(p);
}

void add_sev_guest_tests(void)
{
    qtest_add_func("amd-psp/sev/launch", test_sev_launch);
    qtest_add_func("amd-psp/sev/es-launch", test_sev_es_launch);
    qtest_add_func("amd-psp/sev/many-guests", test_many_guests);
}
