/*
 * AMD Secure Processor: guest messages (SNP_GUEST_REQUEST)
 *
 * A guest asks for attestation reports and derived keys in messages that are
 * sealed with a key from its secrets page, a VMPCK, of which each VMPL has one.
 *
 * The VCEK is a key that is made with the device; no certificates of AMD lead
 * to it. There is no VLEK. Messages for CPUID, migration agents and TSC are
 * refused.
 *
 * References: SNP ABI, "Guest Messages"; Linux: arch/x86/coco/sev/core.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"

/* A message is one page: its header, and the payload behind it */
#define MSG_MAX             (PSP_PAGE - sizeof(SnpMsgHdr))
/* The part of the header that the tag authenticates, with the payload */
#define AAD_LEN             (sizeof(SnpMsgHdr) - offsetof(SnpMsgHdr, algo))

/* What a derived key is made from; the layout is this emulation's own */
typedef struct QEMU_PACKED PspKeyInput {
    uint64_t guest_field_select;
    uint32_t vmpl;
    uint32_t guest_svn;
    uint64_t policy;
    uint8_t image_id[16];
    uint8_t family_id[16];
    uint8_t measurement[48];
    uint64_t tcb_version;
    uint8_t id_key_digest[48];
    uint8_t author_key_digest[48];
    uint8_t pad[48];
} PspKeyInput;
QEMU_BUILD_BUG_ON(sizeof(PspKeyInput) != 0x100);

static bool all_zero(const uint8_t *p, size_t n)
{
    while (n--) {
        if (*p++) {
            return false;
        }
    }
    return true;
}

/*
 * What builds report. Version 4 is not public (virtee/sev, pull request 312);
 * the builds that have it are said to differ from 3 in nothing that is read.
 */
static unsigned report_version(AmdPspState *s)
{
    return s->build >= PSP_BUILD_REPORT_V5 ? 5 :
           s->build >= PSP_BUILD_ALIAS_CHECK ? 3 : 2;
}

/*
 * ABI, ATTESTATION_REPORT: family, model and stepping of the processor, with
 * their extensions. Model: there are no mitigations, so that the two vectors of
 * version 5 are zero.
 */
static void put_processor(AmdPspState *s, SnpReport *r)
{
    uint32_t regs[4];

    amd_snp_host_cpuid(s->host, 1, 0, regs);
    r->cpuid_fam_id = extract32(regs[0], 8, 4) + extract32(regs[0], 20, 8);
    r->cpuid_mod_id = extract32(regs[0], 4, 4) |
                      extract32(regs[0], 16, 4) << 4;
    r->cpuid_step = extract32(regs[0], 0, 4);
}

/*
 * MSG_REPORT_REQ. @vmpck: number of the VMPCK that sealed the request. The
 * status goes into the response, which only the guest can read: not a refusal
 * of the command.
 */
static PspStatus make_report(AmdPspState *s, PspGuest *g,
                             const SnpReportReq *req, unsigned vmpck,
                             SnpReport *r)
{
    SnpFwVersion version = {
        .build = s->build, .minor = PSP_API_MINOR, .major = PSP_API_MAJOR,
    };
    uint64_t info = (psp_smt(s) ? SNP_REPORT_INFO_SMT_EN : 0) |
                    (s->ecc ? SNP_REPORT_INFO_ECC_EN : 0) |
                    (psp_alias_check(s) ? SNP_REPORT_INFO_ALIAS_CHECK : 0);
    uint32_t vmpl = le32_to_cpu(req->vmpl);
    uint32_t sel = le32_to_cpu(req->key_sel);
    bool sign = !s->mask_chip_key;
    uint32_t flags = (g->author_key_en ? SNP_REPORT_AUTHOR_KEY_EN : 0) |
                     (s->mask_chip_key ? SNP_REPORT_MASK_CHIP_KEY : 0) |
                     SNP_REPORT_SIGNING_KEY(sign ? 0 : SNP_SIGNING_KEY_NONE);

    /* ABI: VMPL not above the key's, key selection, reserved bits */
    if (vmpl >= AMD_SNP_VMPLS || vmpl < vmpck || sel >= SNP_KEY_SEL_RESERVED ||
        !all_zero(req->rsvd, sizeof(req->rsvd))) {
        return PSP_INVALID_PARAM;
    }
    /* ABI: the key exists. Model: there is no VLEK */
    if (sel == SNP_KEY_SEL_VLEK || g->vcek_disabled) {
        return PSP_INVALID_KEY;
    }
    memset(r, 0, sizeof(*r));
    r->version = cpu_to_le32(report_version(s));
    r->guest_svn = cpu_to_le32(g->guest_svn);
    r->policy = cpu_to_le64(g->policy);
    memcpy(r->family_id, g->family_id, sizeof(r->family_id));
    memcpy(r->image_id, g->image_id, sizeof(r->image_id));
    r->vmpl = cpu_to_le32(vmpl);
    r->signature_algo = cpu_to_le32(SNP_REPORT_ALGO_ECDSA_P384);
    r->current_tcb = cpu_to_le64(PSP_TCB);
    r->platform_info = cpu_to_le64(info);
    r->flags = cpu_to_le32(flags);
    memcpy(r->report_data, req->user_data, sizeof(r->report_data));
    memcpy(r->measurement, g->ld, sizeof(r->measurement));
    memcpy(r->host_data, g->host_data, sizeof(r->host_data));
    memcpy(r->id_key_digest, g->id_key_digest, sizeof(r->id_key_digest));
    memcpy(r->author_key_digest, g->author_key_digest,
           sizeof(r->author_key_digest));
    memcpy(r->report_id, g->report_id, sizeof(r->report_id));
    memcpy(r->report_id_ma, g->report_id_ma, sizeof(r->report_id_ma));
    r->reported_tcb = cpu_to_le64(s->reported_tcb);
    if (report_version(s) >= 3) {
        put_processor(s, r);
    }
    if (!s->mask_chip_id) {
        memcpy(r->chip_id, s->chip_id, sizeof(r->chip_id));
    }
    r->committed_tcb = cpu_to_le64(PSP_TCB);
    r->current = version;
    r->committed = version;
    r->launch_tcb = cpu_to_le64(g->launch_tcb);
    if (sign && !psp_sign(s->vcek, r, SNP_REPORT_SIGNED_LEN, r->signature)) {
        return PSP_HWERROR_PLATFORM;
    }
    return PSP_SUCCESS;
}

/*
 * MSG_KEY_REQ, status as for a report: a key that depends on the chip and on
 * the selected fields of the guest. Model: hardware derives another one, in a
 * way that is not public.
 */
static PspStatus derive_key(AmdPspState *s, PspGuest *g, const SnpKeyReq *req,
                            unsigned vmpck, uint8_t key[32])
{
    uint32_t root = le32_to_cpu(req->root_key_select);
    uint64_t fields = le64_to_cpu(req->guest_field_select);
    uint32_t vmpl = le32_to_cpu(req->vmpl);
    uint32_t svn = le32_to_cpu(req->guest_svn);
    uint64_t tcb = le64_to_cpu(req->tcb_version);
    uint32_t sel = SNP_KEY_REQ_ROOT_SEL(root);
    PspKeyInput in = { 0 };

    /*
     * ABI: fields, reserved bits, VMPL not above the key's. Model: no guest has
     * the root key of a migration agent (SNP_KEY_REQ_ROOT_VMRK).
     */
    if (root & ~SNP_KEY_REQ_ROOT_SEL_MASK || req->rsvd ||
        fields & ~SNP_KEY_REQ_KNOWN || vmpl >= AMD_SNP_VMPLS || vmpl < vmpck ||
        sel == SNP_KEY_SEL_RESERVED) {
        return PSP_INVALID_PARAM;
    }
    /* ABI: the key exists. Model: there is no VLEK */
    if (sel == SNP_KEY_SEL_VLEK || g->vcek_disabled) {
        return PSP_INVALID_KEY;
    }
    /* ABI: SVN at most the guest's */
    if ((fields & SNP_KEY_REQ_GUEST_SVN) && svn > g->guest_svn) {
        return PSP_INVALID_PARAM;
    }
    /* ABI: no component of the TCB above the current one's */
    for (int i = 0; (fields & SNP_KEY_REQ_TCB) && i < 64; i += 8) {
        if (extract64(tcb, i, 8) > extract64(PSP_TCB, i, 8)) {
            return PSP_INVALID_PARAM;
        }
    }
    in.guest_field_select = cpu_to_le64(fields);
    in.vmpl = cpu_to_le32(vmpl);
    if (fields & SNP_KEY_REQ_POLICY) {
        in.policy = cpu_to_le64(g->policy);
    }
    if (fields & SNP_KEY_REQ_IMAGE_ID) {
        memcpy(in.image_id, g->image_id, sizeof(in.image_id));
    }
    if (fields & SNP_KEY_REQ_FAMILY_ID) {
        memcpy(in.family_id, g->family_id, sizeof(in.family_id));
    }
    if (fields & SNP_KEY_REQ_MEASUREMENT) {
        memcpy(in.measurement, g->ld, sizeof(in.measurement));
    }
    if (fields & SNP_KEY_REQ_GUEST_SVN) {
        in.guest_svn = cpu_to_le32(svn);
    }
    if (fields & SNP_KEY_REQ_TCB) {
        in.tcb_version = cpu_to_le64(tcb);
    }
    /* Never selected but always in: another owner's guest gets another key */
    memcpy(in.id_key_digest, g->id_key_digest, sizeof(in.id_key_digest));
    memcpy(in.author_key_digest, g->author_key_digest,
           sizeof(in.author_key_digest));
    psp_hmac_sha256(s->chip_secret, sizeof(s->chip_secret), &in, sizeof(in),
                    key);
    return PSP_SUCCESS;
}

/* The answer to a request that was authentic; false if there is none */
static bool answer(PspCall *c, PspGuest *g, unsigned type, unsigned vmpck,
                   const void *in, size_t len, void *out, size_t *out_len)
{
    PspStatus status;

    if (type == SNP_MSG_REPORT_REQ && len == sizeof(SnpReportReq)) {
        SnpReportRsp *rsp = out;

        memset(rsp, 0, sizeof(*rsp));
        status = make_report(c->s, g, in, vmpck, &rsp->report);
        rsp->status = cpu_to_le32(status);
        rsp->report_size = cpu_to_le32(status ? 0 : sizeof(rsp->report));
        *out_len = status ? offsetof(SnpReportRsp, report) : sizeof(*rsp);
        return true;
    }
    if (type == SNP_MSG_KEY_REQ && len == sizeof(SnpKeyReq)) {
        SnpKeyRsp *rsp = out;

        memset(rsp, 0, sizeof(*rsp));
        status = derive_key(c->s, g, in, vmpck, rsp->derived_key);
        rsp->status = cpu_to_le32(status);
        *out_len = sizeof(*rsp);
        return true;
    }
    return false;
}

/* SNP_GUEST_REQUEST */
PspStatus psp_snp_guest_request(PspCall *c)
{
    const SnpCmdGuestRequest *cmd = PSP_BUF(c, SnpCmdGuestRequest);
    uint64_t req_pa = psp_addr(cmd->req_paddr);
    uint64_t rsp_pa = psp_addr(cmd->res_paddr);
    g_autofree uint8_t *buf = g_malloc0(4 * PSP_PAGE);
    SnpMsgHdr *req = (SnpMsgHdr *)buf;
    SnpMsgHdr *rsp = (SnpMsgHdr *)(buf + PSP_PAGE);
    uint8_t *in = buf + 2 * PSP_PAGE, *out = buf + 3 * PSP_PAGE;
    uint8_t iv[12] = { 0 };
    unsigned type, vmpck;
    size_t len, out_len = 0;
    uint64_t seqno;
    PspGuest *g;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    if (status) {
        return status;
    }
    /* ABI: guest state */
    if (g->state != SNP_GUEST_RUNNING) {
        return psp_refuse(c, PSP_INVALID_GUEST_STATE,
                          "the guest is in state %u, expected %u", g->state,
                          SNP_GUEST_RUNNING);
    }
    /* Model: QEMU is built with GnuTLS */
    if (!psp_crypto_available()) {
        return psp_refuse(c, PSP_UNSUPPORTED, "QEMU is built without GnuTLS, "
                          "which it takes to open a guest's message");
    }
    /* ABI: the request's address */
    if (req_pa % PSP_PAGE ||
        !psp_read_at(c, cmd->req_paddr, req, PSP_PAGE)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "request 0x%" PRIx64 " is no page of memory", req_pa);
    }
    /* ABI: the response's address and page state */
    status = psp_check_output_page(c, "the response page", rsp_pa);
    if (status) {
        return status;
    }
    type = req->msg_type;
    vmpck = req->msg_vmpck;
    len = le16_to_cpu(req->msg_sz);
    seqno = le64_to_cpu(req->msg_seqno);
    /* ABI: the header's fields */
    if (req->algo != SNP_MSG_ALGO_AES_256_GCM ||
        req->hdr_version != SNP_MSG_HDR_VERSION ||
        le16_to_cpu(req->hdr_sz) != sizeof(*req) ||
        req->msg_version != SNP_MSG_VERSION || len > MSG_MAX ||
        vmpck >= AMD_SNP_VMPLS || !all_zero(req->rsvd1, sizeof(req->rsvd1)) ||
        req->rsvd2 || !all_zero(req->rsvd3, sizeof(req->rsvd3))) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "message header: algorithm %u, version %u, size "
                          "0x%x, type %u version %u size 0x%zx, VMPCK %u",
                          req->algo, req->hdr_version,
                          le16_to_cpu(req->hdr_sz), type, req->msg_version,
                          len, vmpck);
    }
    /* ABI: sequence numbers are left */
    if (g->msg_count[vmpck] >= UINT64_MAX - 2) {
        return psp_refuse(c, PSP_AEAD_OFLOW,
                          "the sequence numbers of VMPCK %u are used up",
                          vmpck);
    }
    /* ABI: sequence number */
    if (seqno != g->msg_count[vmpck] + 1) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "sequence number %" PRIu64 ", expected %" PRIu64,
                          seqno, g->msg_count[vmpck] + 1);
    }
    stq_le_p(iv, seqno);
    /* ABI: authenticity */
    if (!psp_gcm(false, g->vmpck[vmpck], iv, &req->algo, AAD_LEN, req + 1, len,
                 in, req->authtag)) {
        return psp_refuse(c, PSP_BAD_MEASUREMENT,
                          "the message is not sealed with VMPCK %u", vmpck);
    }
    /* ABI: type and size of the message */
    if (!answer(c, g, type, vmpck, in, len, out, &out_len)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "message of type %u with 0x%zx bytes, expected %u "
                          "with 0x%zx or %u with 0x%zx", type, len,
                          SNP_MSG_KEY_REQ, sizeof(SnpKeyReq),
                          SNP_MSG_REPORT_REQ, sizeof(SnpReportReq));
    }

    memcpy(&rsp->algo, &req->algo, AAD_LEN);
    rsp->msg_type = type + 1;
    rsp->msg_sz = cpu_to_le16(out_len);
    rsp->msg_seqno = cpu_to_le64(seqno + 1);
    stq_le_p(iv, seqno + 1);
    if (!psp_gcm(true, g->vmpck[vmpck], iv, &rsp->algo, AAD_LEN, out, out_len,
                 rsp + 1, rsp->authtag)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "sealing failed");
    }
    g->msg_count[vmpck] += 2;
    psp_write_at(c, cmd->res_paddr, rsp, PSP_PAGE);
    return PSP_SUCCESS;
}
