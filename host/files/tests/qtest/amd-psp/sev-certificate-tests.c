/*
 * qtest for the AMD Secure Processor: certificates of SEV
 *
 * SEV API, "Platform Management" (PEK_GEN, PEK_CSR, PEK_CERT_IMPORT, PDH_GEN,
 * PDH_CERT_EXPORT) and ATTESTATION_REPORT. Tested: that each certificate of the
 * chain is signed by the next, that an owner can sign the PEK and nobody else
 * can, and that the PEK signs the report.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"
#include "amd-psp/crypto.h"
#include "qemu/bswap.h"

/* Certificate: what the signatures are over, then two of them */
enum {
    CERT_USAGE = 8, CERT_PUBKEY = 0x14, CERT_BODY_LEN = 0x414,
    CERT_SIG1 = 0x414, CERT_SIG2 = 0x61c,
};
#define CERT_HEAD_LEN       CERT_PUBKEY
/* Signature: usage of the key that signed, algorithm, R and S */
enum { SIG_USAGE = 0, SIG_ALGO = 4, SIG_RS = 8 };
#define ALGO_ECDSA_SHA384   0x102
#define USAGE_NONE          0x1000
#define USAGE_OCA           0x1001
#define USAGE_PEK           0x1002
#define USAGE_PDH           0x1003
#define USAGE_CEK           0x1004
/* PDH_CERT_EXPORT: PEK, OCA and CEK */
#define CHAIN_LEN           (3 * CERT_LEN)

/* Attestation report: what the signature is over, and where it is */
enum {
    REPORT_NONCE = 0, REPORT_DIGEST = 16, REPORT_POLICY = 48,
    REPORT_BODY_LEN = 52, REPORT_SIG = 64,
};

static uint32_t cert32(const uint8_t *cert, unsigned offset)
{
    return ldl_le_p(cert + offset);
}

/* @cert's signature in @slot is by the key of @by */
static bool cert_by(const uint8_t *cert, unsigned slot, const uint8_t *by)
{
    gnutls_pubkey_t key = pubkey_of(by + CERT_PUBKEY);
    bool ok = cert32(cert, slot + SIG_USAGE) == cert32(by, CERT_USAGE) &&
              cert32(cert, slot + SIG_ALGO) == ALGO_ECDSA_SHA384 &&
              verify(key, cert, CERT_BODY_LEN, cert + slot + SIG_RS);

    gnutls_pubkey_deinit(key);
    return ok;
}

static void get_chain(Psp *p, uint8_t *certs)
{
    EXPECT(p, OK, PDH_CERT_EXPORT, OUT, CERT_LEN, OUT2, CHAIN_LEN);
    qtest_memread(p->qts, OUT, certs, CERT_LEN);
    qtest_memread(p->qts, OUT2, certs + CERT_LEN, CHAIN_LEN);
}

static void check_chain(const uint8_t *pdh)
{
    const uint8_t *pek = pdh + CERT_LEN, *oca = pek + CERT_LEN;
    const uint8_t *cek = oca + CERT_LEN;

    g_assert_cmphex(cert32(pdh, CERT_USAGE), ==, USAGE_PDH);
    g_assert_cmphex(cert32(pek, CERT_USAGE), ==, USAGE_PEK);
    g_assert_cmphex(cert32(oca, CERT_USAGE), ==, USAGE_OCA);
    g_assert_cmphex(cert32(cek, CERT_USAGE), ==, USAGE_CEK);
    g_assert_true(cert_by(pdh, CERT_SIG1, pek));
    g_assert_true(cert_by(pek, CERT_SIG1, oca));
    g_assert_true(cert_by(pek, CERT_SIG2, cek));
    g_assert_true(cert_by(oca, CERT_SIG1, oca));
}

static void import(Psp *p, unsigned status, const uint8_t *pek,
                   const uint8_t *oca)
{
    qtest_memwrite(p->qts, REQ, pek, CERT_LEN);
    qtest_memwrite(p->qts, BLOCK, oca, CERT_LEN);
    EXPECT(p, status, PEK_CERT_IMPORT, REQ, CERT_LEN, BLOCK, CERT_LEN);
}

static void sign_cert(gnutls_privkey_t key, uint8_t *cert)
{
    stl_le_p(cert + CERT_SIG1 + SIG_USAGE, USAGE_OCA);
    stl_le_p(cert + CERT_SIG1 + SIG_ALGO, ALGO_ECDSA_SHA384);
    sign(key, cert, CERT_BODY_LEN, cert + CERT_SIG1 + SIG_RS);
}

static void check_export(Psp *p)
{
    EXPECT_QUERY(p, BAD_LEN, PDH_CERT_EXPORT, 0);
    g_assert_cmphex(result32(p, PDH_CERT_EXPORT_PDH_LEN), ==, CERT_LEN);
    g_assert_cmphex(result32(p, PDH_CERT_EXPORT_CHAIN_LEN), ==, CHAIN_LEN);
    EXPECT_QUERY(p, BAD_LEN, PDH_CERT_EXPORT, OUT, CERT_LEN, OUT2,
                 CHAIN_LEN - 1);
    EXPECT(p, BAD_ADDRESS, PDH_CERT_EXPORT, NO_RAM, CERT_LEN, OUT2, CHAIN_LEN);
    EXPECT(p, BAD_ADDRESS, PDH_CERT_EXPORT, OUT, CERT_LEN, NO_RAM, CHAIN_LEN);
    EXPECT(p, BAD_ADDRESS, PDH_CERT_EXPORT, OUT, CERT_LEN, OUT + CERT_LEN - 1,
           CHAIN_LEN);
    EXPECT(p, BAD_ADDRESS, PDH_CERT_EXPORT, OUT + CHAIN_LEN - 1, CERT_LEN, OUT,
           CHAIN_LEN);
}

/* Which keys are new after which command; the chain is left in @a */
static void check_new_keys(Psp *p, uint8_t *a, uint8_t *b)
{
    get_chain(p, a);
    check_chain(a);
    EXPECT(p, OK, PDH_GEN, 0);
    get_chain(p, b);
    check_chain(b);
    g_assert_cmpint(memcmp(a, b, CERT_BODY_LEN), !=, 0);
    g_assert_cmpint(memcmp(a + CERT_LEN, b + CERT_LEN, CERT_BODY_LEN), ==, 0);
    EXPECT(p, OK, PEK_GEN, 0);
    get_chain(p, a);
    check_chain(a);
    g_assert_cmpint(memcmp(a + CERT_LEN, b + CERT_LEN, CERT_BODY_LEN), !=, 0);
}

/* The owner signs the PEK of @chain, and itself */
static void check_import(Psp *p, gnutls_privkey_t owner, const uint8_t *chain,
                         uint8_t *pek, uint8_t *oca)
{
    g_autofree uint8_t *owned = g_malloc(4 * CERT_LEN);

    EXPECT_QUERY(p, BAD_LEN, PEK_CSR, 0);
    g_assert_cmphex(result32(p, PEK_CSR_LEN), ==, CERT_LEN);
    EXPECT(p, BAD_ADDRESS, PEK_CSR, NO_RAM, CERT_LEN);
    EXPECT(p, OK, PEK_CSR, OUT, CERT_LEN);
    qtest_memread(p->qts, OUT, pek, CERT_LEN);
    g_assert_cmpmem(pek, CERT_BODY_LEN, chain + CERT_LEN, CERT_BODY_LEN);
    g_assert_cmphex(cert32(pek, CERT_SIG1 + SIG_USAGE), ==, USAGE_NONE);
    memcpy(oca, pek, CERT_HEAD_LEN);
    stl_le_p(oca + CERT_USAGE, USAGE_OCA);
    public_key(owner, oca + CERT_PUBKEY);
    import(p, BAD_CERTIFICATE, pek, oca);
    sign_cert(owner, pek);
    sign_cert(owner, oca);
    pek[CERT_SIG1 + SIG_RS + ECC_LEN + 0x54] ^= 1;
    import(p, OK, pek, oca);            /* behind the signature's end */
    EXPECT(p, ALREADY_OWNED, PEK_CERT_IMPORT, REQ, CERT_LEN, BLOCK, CERT_LEN);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(STATUS_FLAG(result32(p, PLATFORM_STATUS_WORD)), ==, 1);
    get_chain(p, owned);
    check_chain(owned);
    g_assert_cmpmem(owned + 2 * CERT_LEN, CERT_LEN, oca, CERT_LEN);
}

/* After FACTORY_RESET the platform is its own owner again, with a new PEK */
static void check_refused_import(Psp *p, gnutls_privkey_t owner, uint8_t *pek,
                                 uint8_t *oca)
{
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, FACTORY_RESET, 0);
    EXPECT(p, OK, INIT, 0);
    EXPECT(p, BAD_LEN, PEK_CERT_IMPORT, REQ, CERT_LEN - 1, BLOCK, CERT_LEN);
    EXPECT(p, BAD_LEN, PEK_CERT_IMPORT, REQ, CERT_LEN, BLOCK, 0xffffffff);
    EXPECT(p, BAD_ADDRESS, PEK_CERT_IMPORT, NO_RAM, CERT_LEN, BLOCK, CERT_LEN);
    import(p, BAD_CERTIFICATE, pek, oca);       /* of the key before */
    EXPECT(p, OK, PEK_CSR, OUT, CERT_LEN);
    qtest_memread(p->qts, OUT, pek, CERT_LEN);
    sign_cert(owner, pek);
    pek[CERT_SIG1 + SIG_RS] ^= 1;
    import(p, BAD_SIGNATURE, pek, oca);
    pek[CERT_SIG1 + SIG_RS] ^= 1;
    oca[CERT_SIG1 + SIG_RS] ^= 1;
    import(p, BAD_SIGNATURE, pek, oca);
}

static void test_certificates(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    g_autofree uint8_t *a = g_malloc(4 * CERT_LEN);
    g_autofree uint8_t *b = g_malloc(4 * CERT_LEN);
    g_autofree uint8_t *pek = g_malloc0(CERT_LEN);
    g_autofree uint8_t *oca = g_malloc0(CERT_LEN);
    gnutls_privkey_t owner = new_key();

    EXPECT(p, OK, INIT, 0);
    check_export(p);
    check_new_keys(p, a, b);
    check_import(p, owner, a, pek, oca);
    check_refused_import(p, owner, pek, oca);
    gnutls_privkey_deinit(owner);
    psp_stop(p);
}

static void test_attestation_report(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    g_autofree uint8_t *certs = g_malloc(4 * CERT_LEN);
    const uint64_t nonce = 0x1122334455667788;
    gnutls_pubkey_t pek;
    uint8_t report[SEV_REPORT_LEN];

    sev_init(p, false);
    get_chain(p, certs);
    pek = pubkey_of(certs + CERT_LEN + CERT_PUBKEY);
    EXPECT(p, OK, LAUNCH_START, DW(0, SEV_POLICY_NOKS));
    EXPECT(p, OK, ACTIVATE, DW(1, ASID_MIN_SEV));
    EXPECT(p, OK, LAUNCH_MEASURE, 1, OUT, MEASURE_LEN);
    EXPECT_QUERY(p, BAD_LEN, ATTESTATION_REPORT, 1);
    g_assert_cmpuint(result32(p, ATTESTATION_REPORT_LEN), ==, SEV_REPORT_LEN);
    EXPECT(p, BAD_ADDRESS, ATTESTATION_REPORT, 1, NO_RAM, 0, 0,
           SEV_REPORT_LEN);
    EXPECT(p, OK, ATTESTATION_REPORT, 1, OUT, nonce, 0x99, SEV_REPORT_LEN);
    qtest_memread(p->qts, OUT, report, sizeof(report));
    g_assert_cmphex(ldq_le_p(report + REPORT_NONCE), ==, nonce);
    g_assert_cmphex(ldl_le_p(report + REPORT_POLICY), ==, SEV_POLICY_NOKS);
    g_assert_true(verify(pek, report, REPORT_BODY_LEN, report + REPORT_SIG));
    report[REPORT_DIGEST + 4] ^= 1;
    g_assert_false(verify(pek, report, REPORT_BODY_LEN, report + REPORT_SIG));
    gnutls_pubkey_deinit(pek);
    psp_stop(p);
}

void add_sev_certificate_tests(void)
{
    qtest_add_func("amd-psp/sev/certificates", test_certificates);
    qtest_add_func("amd-psp/sev/attestation-report", test_attestation_report);
}
