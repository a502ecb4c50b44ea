/*
 * qtest for the AMD Secure Processor: guest messages
 *
 * SNP ABI, "Guest Messages" (MSG_REPORT_REQ, MSG_KEY_REQ) and
 * SNP_GUEST_REQUEST. Tested: the header's fields, the seal, the sequence
 * numbers of each VMPCK; an attestation report field by field, and that it is
 * signed; the fields that a derived key depends on; refusals within a message.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp/chapters.h"
#include "amd-psp/id-block.h"
#include "qemu/bswap.h"
#include <gnutls/crypto.h>
#include <gnutls/x509.h>

/* Message: tag, header from MSG_AAD on, payload */
enum {
    MSG_TAG = 0, MSG_SEQNO = 0x20, MSG_RESERVED = 0x28,
    MSG_AAD = 0x30, MSG_ALGO = 0x30, MSG_HDR_VERSION = 0x31,
    MSG_HDR_SIZE = 0x32, MSG_TYPE = 0x34, MSG_VERSION = 0x35, MSG_SIZE = 0x36,
    MSG_RESERVED2 = 0x38, MSG_VMPCK = 0x3c, MSG_RESERVED3 = 0x3d,
    MSG_PAYLOAD = 0x60,
};
#define MSG_AAD_LEN         (MSG_PAYLOAD - MSG_AAD)
#define MSG_PAYLOAD_MAX     (PSP_PAGE - MSG_PAYLOAD)
#define MSG_IV_LEN          12
#define ALGO_AES_256_GCM    1

/* Types; each response has the number after that of its request */
enum { TYPE_NONE = 0, TYPE_KEY_REQ = 3, TYPE_REPORT_REQ = 5, TYPE_END = 20 };

/* MSG_REPORT_REQ and MSG_REPORT_RSP */
enum {
    REPORT_REQ_DATA = 0, REPORT_REQ_VMPL = 0x40, REPORT_REQ_KEY_SEL = 0x44,
    REPORT_REQ_LEN = 0x60,
};
enum {
    RSP_STATUS = 0, RSP_REPORT_SIZE = 4, RSP_REPORT = 0x20, RSP_LEN = 0x4c0,
};
#define RSP_ERROR_LEN       0x20
/* KEY_SEL: the VLEK if there is one, VCEK, VLEK; then those that are none */
enum { KEY_SEL_ANY, KEY_SEL_VCEK, KEY_SEL_VLEK, KEY_SEL_NONE };

/* Attestation report: what is signed, then the signature */
enum {
    R_VERSION = 0, R_GUEST_SVN = 4, R_POLICY = 8, R_FAMILY_ID = 0x10,
    R_VMPL = 0x30, R_ALGO = 0x34, R_CURRENT_TCB = 0x38,
    R_PLATFORM_INFO = 0x40, R_KEY_INFO = 0x48, R_DATA = 0x50,
    R_MEASUREMENT = 0x90, R_HOST_DATA = 0xc0, R_ID_KEY_DIGEST = 0xe0,
    R_AUTHOR_KEY_DIGEST = 0x110, R_REPORT_ID_MA = 0x160,
    R_REPORTED_TCB = 0x180, R_FAMILY = 0x188, R_MODEL = 0x189,
    R_STEPPING = 0x18a, R_RESERVED1 = 0x18b, R_CHIP_ID = 0x1a0,
    R_COMMITTED_TCB = 0x1e0,
    R_CURRENT_VERSION = 0x1e8, R_COMMITTED_VERSION = 0x1ec,
    R_LAUNCH_TCB = 0x1f0, R_VECTORS = 0x1f8, R_SIGNATURE = 0x2a0, R_LEN = 0x4a0,
};
#define R_DATA_LEN          64
#define R_HOST_DATA_LEN     32
#define R_REPORT_ID_LEN     32
#define PLATFORM_INFO_SMT   1
#define PLATFORM_INFO_ECC   4
#define PLATFORM_INFO_ALIAS_CHECK   0x20
#define FAMILY_MILAN        0x19
#define MODEL_MILAN         1
#define STEPPING_MILAN      1
#define KEY_INFO_AUTHOR     1
#define KEY_INFO_MASKED     2
#define KEY_INFO_KEY(n)     ((n) << 2)
#define SIGNED_BY_VCEK      0
#define SIGNED_BY_NONE      7
/* Build of API 1.55; security version (SVN) of the SNP firmware */
#define VERSION             (BUILD | 55 << 8 | 1 << 16)
#define SNP_SVN             0x14

/* MSG_KEY_REQ and MSG_KEY_RSP */
enum {
    KEY_REQ_ROOT = 0, KEY_REQ_FIELDS = 8, KEY_REQ_VMPL = 0x10,
    KEY_REQ_SVN = 0x14, KEY_REQ_TCB = 0x18, KEY_REQ_LEN = 0x20,
};
enum { KEY_RSP_KEY = 0x20, KEY_RSP_LEN = 0x40 };
#define FIELDS_SVN          0x10
#define FIELDS_TCB          0x20
#define N_FIELDS            6
enum { ROOT_VCEK = 0, ROOT_VMRK = 2, ROOT_VLEK = 4, N_ROOTS = 8 };

/* What is measured of a page (SNP_LAUNCH_UPDATE) */
enum {
    INFO_LEN = 0x60, INFO_TYPE = 0x62, INFO_GPA = 0x68, PAGE_INFO_LEN = 0x70,
};
#define SECRETS_GPA         0x5000

/* HOST_DATA of running_guest(): a quadword of each of these */
#define HOST_DATA(n)        ((n) * 0x1111111111111111ULL)

typedef struct Guest {
    uint8_t vmpck[VMPLS][VMPCK_LEN];
    uint8_t digest[DIGEST_LEN];
    uint64_t seqno;
    unsigned vmpl;
    /* The last message, for a test to spoil */
    uint8_t msg[PSP_PAGE];
    uint8_t rsp[PSP_PAGE];
} Guest;

static void gcm(bool encrypt, const uint8_t *key, uint64_t seqno, uint8_t *msg,
                uint8_t *payload, size_t len)
{
    gnutls_datum_t k = { (void *)key, GCM_KEY_LEN };
    gnutls_aead_cipher_hd_t hd;
    uint8_t iv[MSG_IV_LEN] = { 0 }, both[PSP_PAGE + GCM_TAG_LEN];
    size_t n = encrypt ? len + GCM_TAG_LEN : len;

    stq_le_p(iv, seqno);
    gnutls_ok(gnutls_aead_cipher_init(&hd, GNUTLS_CIPHER_AES_256_GCM, &k));
    if (encrypt) {
        gnutls_ok(gnutls_aead_cipher_encrypt(hd, iv, sizeof(iv), msg + MSG_AAD,
                                             MSG_AAD_LEN, GCM_TAG_LEN, payload,
                                             len, both, &n));
        memcpy(msg + MSG_PAYLOAD, both, len);
        memcpy(msg + MSG_TAG, both + len, GCM_TAG_LEN);
    } else {
        memcpy(both, msg + MSG_PAYLOAD, len);
        memcpy(both + len, msg + MSG_TAG, GCM_TAG_LEN);
        gnutls_ok(gnutls_aead_cipher_decrypt(hd, iv, sizeof(iv), msg + MSG_AAD,
                                             MSG_AAD_LEN, GCM_TAG_LEN, both,
                                             len + GCM_TAG_LEN, payload, &n));
    }
    gnutls_aead_cipher_deinit(hd);
}

static void seal(Guest *g, unsigned type, const void *payload, size_t len)
{
    uint8_t copy[PSP_PAGE];

    memset(g->msg, 0, PSP_PAGE);
    stq_le_p(g->msg + MSG_SEQNO, g->seqno);
    g->msg[MSG_ALGO] = ALGO_AES_256_GCM;
    g->msg[MSG_HDR_VERSION] = 1;
    stw_le_p(g->msg + MSG_HDR_SIZE, MSG_PAYLOAD);
    g->msg[MSG_TYPE] = type;
    g->msg[MSG_VERSION] = 1;
    stw_le_p(g->msg + MSG_SIZE, len);
    g->msg[MSG_VMPCK] = g->vmpl;
    memcpy(copy, payload, len);
    gcm(true, g->vmpck[g->vmpl], g->seqno, g->msg, copy, len);
}

static void send_msg(Psp *p, unsigned status, Guest *g)
{
    qtest_memwrite(p->qts, REQ, g->msg, PSP_PAGE);
    EXPECT(p, status, SNP_GUEST_REQUEST, GCTX, REQ, RSP);
}

/* Send and open the answer, which must have @type and @want bytes */
static void ask(Psp *p, Guest *g, unsigned type, const void *payload,
                size_t len, uint8_t *answer, size_t want)
{
    seal(g, type, payload, len);
    send_msg(p, OK, g);
    qtest_memread(p->qts, RSP, g->rsp, PSP_PAGE);
    g_assert_cmphex(ldq_le_p(g->rsp + MSG_SEQNO), ==, g->seqno + 1);
    g_assert_cmphex(g->rsp[MSG_TYPE], ==, type + 1);
    g_assert_cmphex(lduw_le_p(g->rsp + MSG_SIZE), ==, want);
    gcm(false, g->vmpck[g->vmpl], g->seqno + 1, g->rsp, answer, want);
    g->seqno += 2;
}

/* A guest that runs, with a secrets page alone; with an ID block if @id */
static Guest *running_guest(Psp *p, Id **id, bool vcek_disabled)
{
    Guest *g = g_new0(Guest, 1);
    uint8_t info[PAGE_INFO_LEN] = { 0 };

    snp_guest(p, GCTX, POLICY | POLICY_DEBUG, 1);
    snp_page(p, GCTX, 1, SECRETS, PAGES, SECRETS_GPA);
    qtest_memread(p->qts, PAGES + SECRETS_VMPCK, g->vmpck, sizeof(g->vmpck));
    stw_le_p(info + INFO_LEN, PAGE_INFO_LEN);
    info[INFO_TYPE] = SECRETS;
    stq_le_p(info + INFO_GPA, SECRETS_GPA);
    sha384(info, sizeof(info), g->digest);
    g->seqno = 1;
    if (id) {
        *id = id_new(POLICY | POLICY_DEBUG, g->digest);
        id_put(p, *id);
    }
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH,
           (id ? FINISH_ID_BLOCK | FINISH_AUTHOR_KEY : 0) |
           (vcek_disabled ? FINISH_NO_VCEK : 0),
           HOST_DATA(1), HOST_DATA(2), HOST_DATA(3), HOST_DATA(4));
    psp_rmp_write(p, RSP, RMP_FIRMWARE);
    return g;
}

static gnutls_pubkey_t vcek(Psp *p)
{
    g_autofree char *pem = psp_get_str(p, "vcek-pem");
    gnutls_datum_t in = { (void *)pem, strlen(pem) };
    gnutls_pubkey_t key;

    gnutls_ok(gnutls_pubkey_init(&key));
    gnutls_ok(gnutls_pubkey_import(key, &in, GNUTLS_X509_FMT_PEM));
    return key;
}

static void ask_report(Psp *p, Guest *g, const uint8_t *req, uint8_t *rsp)
{
    ask(p, g, TYPE_REPORT_REQ, req, REPORT_REQ_LEN, rsp, RSP_LEN);
}

/* A request that is refused within the message */
static void refuse_report(Psp *p, Guest *g, const uint8_t *req, uint32_t status)
{
    uint8_t rsp[RSP_ERROR_LEN];

    ask(p, g, TYPE_REPORT_REQ, req, REPORT_REQ_LEN, rsp, sizeof(rsp));
    g_assert_cmphex(ldl_le_p(rsp + RSP_STATUS), ==, status);
}

static bool signed_by(gnutls_pubkey_t key, const uint8_t *r)
{
    return verify(key, r, R_SIGNATURE, r + R_SIGNATURE);
}

static void check_id_fields(const uint8_t *r, Id *id)
{
    uint8_t digest[DIGEST_LEN];

    g_assert_cmphex(ldl_le_p(r + R_GUEST_SVN), ==, ID_SVN);
    g_assert_cmpmem(r + R_FAMILY_ID, ID_VERSION - ID_FAMILY,
                    id->block + ID_FAMILY, ID_VERSION - ID_FAMILY);
    g_assert_cmphex(ldl_le_p(r + R_KEY_INFO), ==,
                    KEY_INFO_AUTHOR | KEY_INFO_KEY(SIGNED_BY_VCEK));
    sha384(id->auth + AUTH_ID_KEY, ID_KEY_LEN, digest);
    g_assert_cmpmem(r + R_ID_KEY_DIGEST, DIGEST_LEN, digest, DIGEST_LEN);
    sha384(id->auth + AUTH_AUTHOR_KEY, ID_KEY_LEN, digest);
    g_assert_cmpmem(r + R_AUTHOR_KEY_DIGEST, DIGEST_LEN, digest, DIGEST_LEN);
}

static void check_platform_fields(Psp *p, const uint8_t *r, uint64_t tcb)
{
    uint8_t chip_id[ID_LEN];

    g_assert_cmphex(TCB_SNP(tcb), ==, SNP_SVN);
    g_assert_cmphex(ldq_le_p(r + R_PLATFORM_INFO), ==, PLATFORM_INFO_SMT |
                    PLATFORM_INFO_ECC | PLATFORM_INFO_ALIAS_CHECK);
    g_assert_cmphex(r[R_FAMILY], ==, FAMILY_MILAN);
    g_assert_cmphex(r[R_MODEL], ==, MODEL_MILAN);
    g_assert_cmphex(r[R_STEPPING], ==, STEPPING_MILAN);
    for (int i = R_RESERVED1; i < R_CHIP_ID; i++) {
        g_assert_cmphex(r[i], ==, 0);
    }
    for (int i = R_VECTORS; i < R_SIGNATURE; i++) {
        g_assert_cmphex(r[i], ==, 0);   /* no mitigations */
    }
    g_assert_cmphex(ldq_le_p(r + R_REPORTED_TCB), ==, tcb);
    g_assert_cmphex(ldq_le_p(r + R_COMMITTED_TCB), ==, tcb);
    g_assert_cmphex(ldl_le_p(r + R_CURRENT_VERSION), ==, VERSION);
    g_assert_cmphex(ldl_le_p(r + R_COMMITTED_VERSION), ==, VERSION);
    g_assert_cmphex(ldq_le_p(r + R_LAUNCH_TCB), ==, tcb);
    /* The chip is the one that GET_ID names */
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    psp_rmp_write(p, PSP_CMD_BUF, RMP_FIRMWARE);
    EXPECT(p, OK, GET_ID, OUT, ID_LEN);
    qtest_memread(p->qts, OUT, chip_id, sizeof(chip_id));
    g_assert_cmpmem(r + R_CHIP_ID, ID_LEN, chip_id, ID_LEN);
}

/* A report field by field; returns the TCB version in it */
static uint64_t check_report(Psp *p, Guest *g, Id *id, gnutls_pubkey_t key)
{
    uint8_t req[REPORT_REQ_LEN] = { 0 }, rsp[RSP_LEN], *r = rsp + RSP_REPORT;
    uint64_t tcb;

    for (int i = 0; i < R_DATA_LEN; i++) {
        req[REPORT_REQ_DATA + i] = i;
    }
    stl_le_p(req + REPORT_REQ_VMPL, 2);
    ask_report(p, g, req, rsp);
    g_assert_cmphex(ldl_le_p(rsp + RSP_STATUS), ==, 0);
    g_assert_cmphex(ldl_le_p(rsp + RSP_REPORT_SIZE), ==, R_LEN);
    g_assert_true(signed_by(key, r));
    g_assert_cmphex(ldl_le_p(r + R_VERSION), ==, 5);
    g_assert_cmphex(ldq_le_p(r + R_POLICY), ==, POLICY | POLICY_DEBUG);
    g_assert_cmphex(ldl_le_p(r + R_VMPL), ==, 2);
    g_assert_cmphex(ldl_le_p(r + R_ALGO), ==, ALGO_ECDSA_P384);
    g_assert_cmpmem(r + R_DATA, R_DATA_LEN, req + REPORT_REQ_DATA, R_DATA_LEN);
    g_assert_cmpmem(r + R_MEASUREMENT, DIGEST_LEN, g->digest, DIGEST_LEN);
    g_assert_cmphex(ldq_le_p(r + R_HOST_DATA), ==, HOST_DATA(1));
    g_assert_cmphex(ldq_le_p(r + R_HOST_DATA + R_HOST_DATA_LEN - 8), ==,
                    HOST_DATA(4));
    for (int i = 0; i < R_REPORT_ID_LEN; i++) {
        g_assert_cmphex(r[R_REPORT_ID_MA + i], ==, 0xff);   /* no agent */
    }
    tcb = ldq_le_p(r + R_CURRENT_TCB);
    check_id_fields(r, id);
    check_platform_fields(p, r, tcb);

    /* Nothing of it can be changed */
    for (int i = 0; i < R_SIGNATURE; i++) {
        r[i] ^= 4;
        g_assert_false(signed_by(key, r));
        r[i] ^= 4;
    }
    return tcb;
}

static void check_report_refusals(Psp *p, Guest *g, gnutls_pubkey_t key)
{
    uint8_t req[REPORT_REQ_LEN] = { 0 }, rsp[RSP_LEN];

    stl_le_p(req + REPORT_REQ_VMPL, VMPLS);
    refuse_report(p, g, req, BAD_PARAM);
    stl_le_p(req + REPORT_REQ_VMPL, 0);
    stl_le_p(req + REPORT_REQ_KEY_SEL, KEY_SEL_VLEK);
    refuse_report(p, g, req, BAD_KEY);
    stl_le_p(req + REPORT_REQ_KEY_SEL, KEY_SEL_NONE);
    refuse_report(p, g, req, BAD_PARAM);
    stl_le_p(req + REPORT_REQ_KEY_SEL, KEY_SEL_VCEK);
    req[REPORT_REQ_LEN - 1] = 1;
    refuse_report(p, g, req, BAD_PARAM);
    req[REPORT_REQ_LEN - 1] = 0;
    ask_report(p, g, req, rsp);
    g_assert_true(signed_by(key, rsp + RSP_REPORT));
}

/* With the key of VMPL2, no report of a more privileged level */
static void check_report_vmpl(Psp *p, Guest *g, uint8_t *req)
{
    uint8_t rsp[RSP_LEN];

    g->vmpl = 2;
    g->seqno = 1;
    stl_le_p(req + REPORT_REQ_VMPL, 1);
    refuse_report(p, g, req, BAD_PARAM);
    stl_le_p(req + REPORT_REQ_VMPL, 3);
    ask_report(p, g, req, rsp);
}

/* SNP_CONFIG masks the chip's number and key, and sets the TCB to report */
static void check_report_config(Psp *p, Guest *g, const uint8_t *req,
                                uint64_t tcb)
{
    uint8_t rsp[RSP_LEN], *r = rsp + RSP_REPORT;

    EXPECT(p, OK, SNP_CONFIG, tcb - 1,
           CONFIG_MASK_CHIP_ID | CONFIG_MASK_CHIP_KEY);
    ask_report(p, g, req, rsp);
    g_assert_cmphex(ldl_le_p(r + R_KEY_INFO), ==, KEY_INFO_AUTHOR |
                    KEY_INFO_MASKED | KEY_INFO_KEY(SIGNED_BY_NONE));
    g_assert_cmphex(ldq_le_p(r + R_REPORTED_TCB), ==, tcb - 1);
    g_assert_cmphex(ldq_le_p(r + R_CURRENT_TCB), ==, tcb);
    for (int i = 0; i < ID_LEN; i++) {
        g_assert_cmphex(r[R_CHIP_ID + i], ==, 0);
    }
    for (int i = R_SIGNATURE; i < R_LEN; i++) {
        g_assert_cmphex(r[i], ==, 0);
    }
}

static void check_vcek_file(Psp *p, const char *file)
{
    g_autofree char *pem = psp_get_str(p, "vcek-pem");
    g_autofree char *saved = NULL;

    g_assert_true(g_file_get_contents(file, &saved, NULL, NULL));
    g_assert_cmpstr(saved, ==, pem);
    unlink(file);
}

static void test_snp_report(void)
{
    g_autofree char *file = g_strdup_printf("%s/amd-psp-vcek-%d.pem",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *args = g_strdup_printf(",vcek-file=%s", file);
    uint8_t req[REPORT_REQ_LEN] = { 0 };
    Psp *p = start_snp(args);
    gnutls_pubkey_t key = vcek(p);
    uint64_t tcb;
    Guest *g;
    Id *id;

    check_vcek_file(p, file);
    EXPECT(p, OK, SNP_CONFIG, 0);
    g = running_guest(p, &id, false);
    tcb = check_report(p, g, id, key);
    check_report_refusals(p, g, key);
    check_report_vmpl(p, g, req);
    check_report_config(p, g, req, tcb);
    gnutls_pubkey_deinit(key);
    id_free(id);
    g_free(g);
    psp_stop(p);

    p = start_snp(NULL);
    g = running_guest(p, NULL, true);
    memset(req, 0, sizeof(req));
    refuse_report(p, g, req, BAD_KEY);
    g_free(g);
    psp_stop(p);
}

/* What builds report: version 3 has the processor, 5 the mitigation vectors */
static void test_snp_report_version(void)
{
    static const struct {
        const char *device;
        uint32_t version;
        uint64_t info;
        uint8_t family;
    } builds[] = {
        { ",build=21,ecc=off", 2, PLATFORM_INFO_SMT, 0 },
        { ",build=22,ecc=off", 3, PLATFORM_INFO_SMT |
                                  PLATFORM_INFO_ALIAS_CHECK, FAMILY_MILAN },
        { ",build=44,smt=off", 3, PLATFORM_INFO_ECC |
                                  PLATFORM_INFO_ALIAS_CHECK, FAMILY_MILAN },
        { ",build=45", 5, PLATFORM_INFO_SMT | PLATFORM_INFO_ECC |
                          PLATFORM_INFO_ALIAS_CHECK, FAMILY_MILAN },
    };
    uint8_t req[REPORT_REQ_LEN] = { 0 }, rsp[RSP_LEN], *r = rsp + RSP_REPORT;

    for (int i = 0; i < ARRAY_SIZE(builds); i++) {
        Psp *p = start_snp(builds[i].device);
        gnutls_pubkey_t key = vcek(p);
        Guest *g = running_guest(p, NULL, false);

        ask_report(p, g, req, rsp);
        g_assert_true(signed_by(key, r));
        g_assert_cmpuint(ldl_le_p(r + R_VERSION), ==, builds[i].version);
        g_assert_cmphex(ldq_le_p(r + R_PLATFORM_INFO), ==, builds[i].info);
        g_assert_cmphex(r[R_FAMILY], ==, builds[i].family);
        gnutls_pubkey_deinit(key);
        g_free(g);
        psp_stop(p);
    }
}

/* One message, as it would be right, for a test to spoil */
static void seal_report_req(Guest *g, const uint8_t *req)
{
    seal(g, TYPE_REPORT_REQ, req, REPORT_REQ_LEN);
}

static void check_addresses(Psp *p)
{
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, GCTX, REQ + 16, RSP);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, GCTX, NO_RAM, RSP);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, GCTX, REQ, RSP + 16);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, GCTX, REQ, NO_RAM);
    EXPECT(p, BAD_PAGE_STATE, SNP_GUEST_REQUEST, GCTX, REQ, OUT);
}

static void check_header(Psp *p, Guest *g, const uint8_t *req)
{
    static const uint16_t header[] = {
        MSG_RESERVED, MSG_ALGO, MSG_HDR_VERSION, MSG_HDR_SIZE, MSG_VERSION,
        MSG_RESERVED2, MSG_RESERVED3, MSG_PAYLOAD - 1,
    };

    for (int i = 0; i < ARRAY_SIZE(header); i++) {
        seal_report_req(g, req);
        g->msg[header[i]] ^= 0x80;
        send_msg(p, BAD_PARAM, g);
    }
    seal_report_req(g, req);
    g->msg[MSG_VMPCK] = VMPLS;
    send_msg(p, BAD_PARAM, g);
    seal_report_req(g, req);
    stw_le_p(g->msg + MSG_SIZE, MSG_PAYLOAD_MAX + 1);
    send_msg(p, BAD_PARAM, g);
    stw_le_p(g->msg + MSG_SIZE, 0xffff);
    send_msg(p, BAD_PARAM, g);
}

/* What the tag protects: first and last byte of tag and payload; the header */
static void check_seal(Psp *p, Guest *g, const uint8_t *req)
{
    static const uint16_t sealed[] = {
        MSG_TAG, MSG_TAG + GCM_TAG_LEN - 1,
        MSG_PAYLOAD, MSG_PAYLOAD + REPORT_REQ_LEN - 1,
    };

    for (int i = 0; i < ARRAY_SIZE(sealed); i++) {
        seal_report_req(g, req);
        g->msg[sealed[i]] ^= 1;
        send_msg(p, BAD_MEASUREMENT, g);
    }
    seal_report_req(g, req);
    g->msg[MSG_TYPE] = TYPE_KEY_REQ;
    send_msg(p, BAD_MEASUREMENT, g);
    seal_report_req(g, req);
    g->msg[MSG_VMPCK] = 1;              /* another key */
    send_msg(p, BAD_MEASUREMENT, g);
}

/* The numbers that come next; messages that were refused do not count */
static void check_sequence(Psp *p, Guest *g, uint8_t *req)
{
    static const uint64_t wrong[] = { 0, 2, UINT64_MAX };
    uint8_t rsp[RSP_LEN];

    for (int i = 0; i < ARRAY_SIZE(wrong); i++) {
        g->seqno = wrong[i];
        seal_report_req(g, req);
        send_msg(p, BAD_PARAM, g);
    }
    g->seqno = 1;
    ask_report(p, g, req, rsp);
    /* Sent again, it is old */
    send_msg(p, BAD_PARAM, g);
    /* Each VMPCK has its own count */
    g->vmpl = 3;
    g->seqno = 3;
    stl_le_p(req + REPORT_REQ_VMPL, 3);
    seal_report_req(g, req);
    send_msg(p, BAD_PARAM, g);
    g->seqno = 1;
    ask_report(p, g, req, rsp);
}

/* Types that are none, and sizes that are not the type's */
static void check_types(Psp *p, Guest *g, const uint8_t *req)
{
    for (int type = TYPE_NONE; type < TYPE_END; type++) {
        if (type != TYPE_KEY_REQ) {
            seal(g, type, req, type == TYPE_REPORT_REQ ? REPORT_REQ_LEN - 1
                                                       : REPORT_REQ_LEN);
            send_msg(p, BAD_PARAM, g);
        }
    }
    seal(g, TYPE_KEY_REQ, req, KEY_REQ_LEN + 1);
    send_msg(p, BAD_PARAM, g);
    seal(g, TYPE_REPORT_REQ, req, 0);
    send_msg(p, BAD_PARAM, g);
}

static void test_snp_message(void)
{
    Psp *p = start_snp(NULL);
    uint8_t req[REPORT_REQ_LEN] = { 0 };
    Guest *g;

    snp_guest(p, GCTX2, POLICY, 2);
    EXPECT(p, BAD_GUEST_STATE, SNP_GUEST_REQUEST, GCTX2, REQ, RSP);
    EXPECT(p, BAD_GUEST, SNP_GUEST_REQUEST, OUT, REQ, RSP);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, OUT + 1, REQ, RSP);
    g = running_guest(p, NULL, false);
    check_addresses(p);
    check_header(p, g, req);
    check_seal(p, g, req);
    check_sequence(p, g, req);
    check_types(p, g, req);
    g_free(g);
    psp_stop(p);
}

/* Returns the status within the message */
static uint32_t ask_key(Psp *p, Guest *g, const uint8_t *req, uint8_t *rsp)
{
    ask(p, g, TYPE_KEY_REQ, req, KEY_REQ_LEN, rsp, KEY_RSP_LEN);
    return ldl_le_p(rsp + RSP_STATUS);
}

/* Each field, and the VMPL, makes another key than @first */
static void check_key_fields(Psp *p, Guest *g, uint8_t *req,
                             const uint8_t *first)
{
    uint8_t rsp[KEY_RSP_LEN];

    for (int bit = 0; bit < N_FIELDS; bit++) {
        stq_le_p(req + KEY_REQ_FIELDS, 1 << bit);
        g_assert_cmphex(ask_key(p, g, req, rsp), ==, 0);
        g_assert_cmpint(memcmp(rsp + KEY_RSP_KEY, first + KEY_RSP_KEY,
                               KEY_RSP_LEN - KEY_RSP_KEY), !=, 0);
    }
    stq_le_p(req + KEY_REQ_FIELDS, 0);
    stl_le_p(req + KEY_REQ_VMPL, 1);
    ask_key(p, g, req, rsp);
    g_assert_cmpint(memcmp(rsp + KEY_RSP_KEY, first + KEY_RSP_KEY,
                           KEY_RSP_LEN - KEY_RSP_KEY), !=, 0);
}

static void check_key_refusals(Psp *p, Guest *g, uint8_t *req)
{
    uint8_t rsp[KEY_RSP_LEN];

    stl_le_p(req + KEY_REQ_VMPL, VMPLS);
    g_assert_cmphex(ask_key(p, g, req, rsp), ==, BAD_PARAM);
    stl_le_p(req + KEY_REQ_VMPL, 0);
    stq_le_p(req + KEY_REQ_FIELDS, 1 << N_FIELDS);
    g_assert_cmphex(ask_key(p, g, req, rsp), ==, BAD_PARAM);
    stq_le_p(req + KEY_REQ_FIELDS, FIELDS_SVN);
    stl_le_p(req + KEY_REQ_SVN, 1);     /* above the guest's SVN, 0 */
    g_assert_cmphex(ask_key(p, g, req, rsp), ==, BAD_PARAM);
    stl_le_p(req + KEY_REQ_SVN, 0);
    stq_le_p(req + KEY_REQ_FIELDS, FIELDS_TCB);
    stq_le_p(req + KEY_REQ_TCB, UINT64_MAX);
    g_assert_cmphex(ask_key(p, g, req, rsp), ==, BAD_PARAM);
    stq_le_p(req + KEY_REQ_TCB, 0);
    for (int root = ROOT_VCEK + 1; root < N_ROOTS; root++) {
        stl_le_p(req + KEY_REQ_ROOT, root);
        g_assert_cmphex(ask_key(p, g, req, rsp), ==,
                        root == ROOT_VMRK ? 0 :
                        root == ROOT_VLEK ? BAD_KEY : BAD_PARAM);
    }
}

static void test_snp_derived_key(void)
{
    Psp *p = start_snp(NULL);
    uint8_t req[KEY_REQ_LEN] = { 0 }, first[KEY_RSP_LEN], rsp[KEY_RSP_LEN];
    Guest *g = running_guest(p, NULL, false);

    g_assert_cmphex(ask_key(p, g, req, first), ==, 0);
    ask_key(p, g, req, rsp);
    g_assert_cmpmem(rsp, sizeof(rsp), first, sizeof(first));
    check_key_fields(p, g, req, first);
    check_key_refusals(p, g, req);
    g_free(g);
    psp_stop(p);
}

void add_snp_message_tests(void)
{
    qtest_add_func("amd-psp/snp/report", test_snp_report);
    qtest_add_func("amd-psp/snp/report-version", test_snp_report_version);
    qtest_add_func("amd-psp/snp/message", test_snp_message);
    qtest_add_func("amd-psp/snp/derived-key", test_snp_derived_key);
}
