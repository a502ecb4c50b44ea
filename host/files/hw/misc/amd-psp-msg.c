/*
 * AMD Secure Processor: guest messages (SNP_GUEST_REQUEST)
 *
 * A guest asks for attestation reports and derived keys in messages that are
 * sealed with a key from its secrets page. References: SNP ABI, "Guest
 * Messages"; Linux: arch/x86/coco/sev/core.c.
 *
 * The chip's root of trust is one key that is made when the device is, and
 * takes the place of both VCEK and the chain that AMD certifies it with. There
 * is no VLEK. Messages for CPUID, migration agents and TSC are refused.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"

/* Message header */
#define HDR_TAG             0x00
#define HDR_SEQNO           0x20
#define HDR_AAD             0x30    /* authenticated from here on */
#define HDR_ALGO            0x30
#define HDR_VERSION         0x31
#define HDR_SIZE            0x32
#define HDR_TYPE            0x34
#define HDR_MSG_VERSION     0x35
#define HDR_MSG_SIZE        0x36
#define HDR_VMPCK           0x3c
#define HDR_LEN             0x60
#define HDR_RESERVED        0x3d

#define ALGO_AES_256_GCM    1
#define TAG_LEN             16
#define MSG_MAX             (PSP_PAGE - HDR_LEN)

enum {
    MSG_KEY_REQ = 3, MSG_KEY_RSP, MSG_REPORT_REQ, MSG_REPORT_RSP,
};

#define KEY_REQ_LEN         0x20
#define KEY_RSP_LEN         0x40
#define REPORT_REQ_LEN      0x60
#define REPORT_RSP_HDR      0x20
#define REPORT_LEN          0x4a0
#define REPORT_SIGNED_LEN   0x2a0

/* Which key signs: KEY_SEL of the requests, SIGNING_KEY of the report */
#define KEY_SEL_VLEK        2
#define KEY_SEL_RESERVED    3
#define SIGNING_KEY_NONE    7

/* GUEST_FIELD_SELECT of MSG_KEY_REQ */
#define FIELD_POLICY        BIT(0)
#define FIELD_IMAGE_ID      BIT(1)
#define FIELD_FAMILY_ID     BIT(2)
#define FIELD_MEASUREMENT   BIT(3)
#define FIELD_GUEST_SVN     BIT(4)
#define FIELD_TCB           BIT(5)
#define FIELD_KNOWN         MAKE_64BIT_MASK(0, 6)

static bool all_zero(const uint8_t *p, size_t n)
{
    while (n--) {
        if (*p++) {
            return false;
        }
    }
    return true;
}

static void store_version(uint8_t *p)
{
    p[0] = PSP_BUILD;
    p[1] = PSP_API_MINOR;
    p[2] = PSP_API_MAJOR;
}

/* Status within the response, which goes to the guest alone */
static PspStatus make_report(AmdPspState *s, PspGuest *g, const uint8_t *req,
                             unsigned vmpck, uint8_t *r)
{
    uint32_t vmpl = ldl_le_p(req + 0x40);
    uint32_t sel = ldl_le_p(req + 0x44);
    bool sign = !s->mask_chip_key;

    if (vmpl >= AMD_SNP_VMPLS || vmpl < vmpck || sel >= KEY_SEL_RESERVED ||
        !all_zero(req + 0x48, REPORT_REQ_LEN - 0x48)) {
        return PSP_INVALID_PARAM;
    }
    if (sel == KEY_SEL_VLEK || g->vcek_disabled) {
        return PSP_INVALID_KEY;
    }
    memset(r, 0, REPORT_LEN);
    stl_le_p(r + 0x000, 2);
    stl_le_p(r + 0x004, g->guest_svn);
    stq_le_p(r + 0x008, g->policy);
    memcpy(r + 0x010, g->family_id, sizeof(g->family_id));
    memcpy(r + 0x020, g->image_id, sizeof(g->image_id));
    stl_le_p(r + 0x030, vmpl);
    stl_le_p(r + 0x034, 1);                 /* ECDSA P-384 with SHA-384 */
    psp_tcb_store(r + 0x038, PSP_TCB);
    stq_le_p(r + 0x040, psp_smt(s));        /* platform information */
    stl_le_p(r + 0x048, g->author_key_en | s->mask_chip_key << 1 |
                        (sign ? 0 : SIGNING_KEY_NONE) << 2);
    memcpy(r + 0x050, req, 64);
    memcpy(r + 0x090, g->ld, sizeof(g->ld));
    memcpy(r + 0x0c0, g->host_data, sizeof(g->host_data));
    memcpy(r + 0x0e0, g->id_key_digest, sizeof(g->id_key_digest));
    memcpy(r + 0x110, g->author_key_digest, sizeof(g->author_key_digest));
    memcpy(r + 0x140, g->report_id, sizeof(g->report_id));
    memcpy(r + 0x160, g->report_id_ma, sizeof(g->report_id_ma));
    psp_tcb_store(r + 0x180, s->reported_tcb);
    if (!s->mask_chip_id) {
        memcpy(r + 0x1a0, s->chip_id, sizeof(s->chip_id));
    }
    psp_tcb_store(r + 0x1e0, PSP_TCB);      /* committed */
    store_version(r + 0x1e8);
    store_version(r + 0x1ec);
    psp_tcb_store(r + 0x1f0, g->launch_tcb);
    if (sign && !psp_sign(s->vcek, r, REPORT_SIGNED_LEN,
                          r + REPORT_SIGNED_LEN)) {
        return PSP_HWERROR_PLATFORM;
    }
    return PSP_SUCCESS;
}

/*
 * A key that depends on the chip and on what of the guest is selected. That of
 * the firmware is derived in another way, which is not public.
 */
static PspStatus derive_key(AmdPspState *s, PspGuest *g, const uint8_t *req,
                            unsigned vmpck, uint8_t key[32])
{
    uint32_t root = ldl_le_p(req);
    uint64_t fields = ldq_le_p(req + 0x08);
    uint32_t vmpl = ldl_le_p(req + 0x10);
    uint32_t svn = ldl_le_p(req + 0x14);
    uint64_t tcb = ldq_le_p(req + 0x18);
    uint8_t in[0x100] = { 0 };

    /* Bit 0 of the root selects a migration agent's key: no guest has one */
    if (root & ~6u || ldl_le_p(req + 4) || fields & ~FIELD_KNOWN ||
        vmpl >= AMD_SNP_VMPLS || vmpl < vmpck || root >> 1 == 3) {
        return PSP_INVALID_PARAM;
    }
    if (root >> 1 == KEY_SEL_VLEK || g->vcek_disabled) {
        return PSP_INVALID_KEY;
    }
    if ((fields & FIELD_GUEST_SVN) && svn > g->guest_svn) {
        return PSP_INVALID_PARAM;
    }
    for (int i = 0; (fields & FIELD_TCB) && i < 64; i += 8) {
        if (extract64(tcb, i, 8) > extract64(PSP_TCB, i, 8)) {
            return PSP_INVALID_PARAM;
        }
    }
    stq_le_p(in, fields);
    stl_le_p(in + 0x08, vmpl);
    if (fields & FIELD_POLICY) {
        stq_le_p(in + 0x10, g->policy);
    }
    if (fields & FIELD_IMAGE_ID) {
        memcpy(in + 0x18, g->image_id, 16);
    }
    if (fields & FIELD_FAMILY_ID) {
        memcpy(in + 0x28, g->family_id, 16);
    }
    if (fields & FIELD_MEASUREMENT) {
        memcpy(in + 0x38, g->ld, 48);
    }
    if (fields & FIELD_GUEST_SVN) {
        stl_le_p(in + 0x0c, svn);
    }
    if (fields & FIELD_TCB) {
        stq_le_p(in + 0x68, tcb);
    }
    /* Author and ID key always count: other owners get other keys */
    memcpy(in + 0x70, g->id_key_digest, sizeof(g->id_key_digest));
    memcpy(in + 0xa0, g->author_key_digest, sizeof(g->author_key_digest));
    psp_hmac_sha256(s->chip_secret, sizeof(s->chip_secret), in, sizeof(in),
                    key);
    return PSP_SUCCESS;
}

/* The answer to a request that was authentic; false if there is none */
static bool answer(PspCall *c, PspGuest *g, unsigned type, unsigned vmpck,
                   const uint8_t *in, size_t len, uint8_t *out, size_t *out_len)
{
    PspStatus status;

    if (type == MSG_REPORT_REQ && len == REPORT_REQ_LEN) {
        memset(out, 0, REPORT_RSP_HDR + REPORT_LEN);
        status = make_report(c->s, g, in, vmpck, out + REPORT_RSP_HDR);
        stl_le_p(out, status);
        stl_le_p(out + 4, status ? 0 : REPORT_LEN);
        *out_len = REPORT_RSP_HDR + (status ? 0 : REPORT_LEN);
        return true;
    }
    if (type == MSG_KEY_REQ && len == KEY_REQ_LEN) {
        memset(out, 0, KEY_RSP_LEN);
        status = derive_key(c->s, g, in, vmpck, out + 0x20);
        stl_le_p(out, status);
        *out_len = KEY_RSP_LEN;
        return true;
    }
    return false;
}

PspStatus psp_snp_guest_request(PspCall *c)
{
    uint64_t req_pa = psp_arg_addr(c, 8), rsp_pa = psp_arg_addr(c, 16);
    g_autofree uint8_t *buf = g_malloc0(4 * PSP_PAGE);
    uint8_t *req = buf, *rsp = buf + PSP_PAGE;
    uint8_t *in = buf + 2 * PSP_PAGE, *out = buf + 3 * PSP_PAGE;
    uint8_t iv[12] = { 0 };
    unsigned type, vmpck;
    size_t len, out_len = 0;
    uint64_t seqno;
    PspGuest *g;
    PspStatus status = psp_guest_by_gctx(c, 0, &g);

    if (status) {
        return status;
    }
    if (g->state != SNP_GUEST_RUNNING) {
        return psp_refuse(c, PSP_INVALID_GUEST_STATE,
                          "the guest is in state %u, expected %u", g->state,
                          SNP_GUEST_RUNNING);
    }
    if (!psp_crypto_available()) {
        return psp_refuse(c, PSP_UNSUPPORTED, "QEMU is built without GnuTLS, "
                          "which it takes to open a guest's message");
    }
    if (req_pa % PSP_PAGE ||
        !psp_read(c, req_pa, AMD_SNP_KEY_NONE, req, PSP_PAGE)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "request 0x%" PRIx64 " is no page of memory", req_pa);
    }
    status = psp_check_output_page(c, "the response page", rsp_pa);
    if (status) {
        return status;
    }
    type = req[HDR_TYPE];
    vmpck = req[HDR_VMPCK];
    len = lduw_le_p(req + HDR_MSG_SIZE);
    seqno = ldq_le_p(req + HDR_SEQNO);
    if (req[HDR_ALGO] != ALGO_AES_256_GCM || req[HDR_VERSION] != 1 ||
        lduw_le_p(req + HDR_SIZE) != HDR_LEN || req[HDR_MSG_VERSION] != 1 ||
        len > MSG_MAX || vmpck >= AMD_SNP_VMPLS ||
        !all_zero(req + HDR_SEQNO + 8, 8) || ldl_le_p(req + 0x38) ||
        !all_zero(req + HDR_RESERVED, HDR_LEN - HDR_RESERVED)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "message header: algorithm %u, version %u, size "
                          "0x%x, type %u version %u size 0x%zx, VMPCK %u",
                          req[HDR_ALGO], req[HDR_VERSION],
                          lduw_le_p(req + HDR_SIZE), type,
                          req[HDR_MSG_VERSION], len, vmpck);
    }
    if (g->msg_count[vmpck] >= UINT64_MAX - 2) {
        return psp_refuse(c, PSP_AEAD_OFLOW,
                          "the sequence numbers of VMPCK %u are used up",
                          vmpck);
    }
    if (seqno != g->msg_count[vmpck] + 1) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "sequence number %" PRIu64 ", expected %" PRIu64,
                          seqno, g->msg_count[vmpck] + 1);
    }
    stq_le_p(iv, seqno);
    if (!psp_gcm(false, g->vmpck[vmpck], iv, req + HDR_AAD, HDR_LEN - HDR_AAD,
                 req + HDR_LEN, len, in, req + HDR_TAG)) {
        return psp_refuse(c, PSP_BAD_MEASUREMENT,
                          "the message is not sealed with VMPCK %u", vmpck);
    }
    if (!answer(c, g, type, vmpck, in, len, out, &out_len)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "message of type %u with 0x%zx bytes, expected %u "
                          "with 0x%x or %u with 0x%x", type, len,
                          MSG_KEY_REQ, KEY_REQ_LEN, MSG_REPORT_REQ,
                          REPORT_REQ_LEN);
    }

    memcpy(rsp + HDR_AAD, req + HDR_AAD, HDR_LEN - HDR_AAD);
    rsp[HDR_TYPE] = type + 1;
    stw_le_p(rsp + HDR_MSG_SIZE, out_len);
    stq_le_p(rsp + HDR_SEQNO, seqno + 1);
    stq_le_p(iv, seqno + 1);
    if (!psp_gcm(true, g->vmpck[vmpck], iv, rsp + HDR_AAD, HDR_LEN - HDR_AAD,
                 out, out_len, rsp + HDR_LEN, rsp + HDR_TAG)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "sealing failed");
    }
    g->msg_count[vmpck] += 2;
    psp_write(c, rsp_pa, AMD_SNP_KEY_NONE, rsp, PSP_PAGE);
    return PSP_SUCCESS;
}
