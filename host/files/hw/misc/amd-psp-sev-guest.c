/*
 * AMD Secure Processor: commands on SEV and SEV-ES guests, but for their launch
 *
 * DECOMMISSION, ACTIVATE, DEACTIVATE, GUEST_STATUS, DBG_DECRYPT, DBG_ENCRYPT.
 *
 * References: SEV API, chapter 6 "Guest Management API" and the chapter
 * "Debugging API".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"

/* DECOMMISSION */
PspStatus psp_sev_decommission(PspCall *c)
{
    PspGuest *g;
    PspStatus status = psp_guest_by_handle(c, &g);

    if (status) {
        return status;
    }
    /* SEV API: the guest has no ASID any more */
    if (g->asid) {
        return psp_refuse(c, PSP_ACTIVE, "guest %u has ASID %u: DEACTIVATE "
                          "first", g->handle, g->asid);
    }
    g_hash_table_remove(c->s->guests, GUINT_TO_POINTER(g->handle));
    return PSP_SUCCESS;
}

/* ACTIVATE */
PspStatus psp_sev_activate(PspCall *c)
{
    PspGuest *g;
    PspStatus status = psp_guest_by_handle(c, &g);
    bool es;

    if (status) {
        return status;
    }
    /* SEV API: SEV-ES guests have the ASIDs below the first one of SEV */
    es = g->policy & SEV_POLICY_ES;
    return psp_asid_bind(c, g, le32_to_cpu(PSP_BUF(c, SevCmdActivate)->asid),
                         es ? 1 : AMD_SNP_MIN_SEV_ASID,
                         es ? amd_snp_host_max_es_asid(c->h)
                            : AMD_SNP_MAX_ASID);
}

/* DEACTIVATE */
PspStatus psp_sev_deactivate(PspCall *c)
{
    PspGuest *g;
    PspStatus status = psp_guest_by_handle(c, &g);

    if (status) {
        return status;
    }
    /* SEV API: the guest has an ASID */
    if (!g->asid) {
        return psp_refuse(c, PSP_INACTIVE, "guest %u has no ASID", g->handle);
    }
    psp_asid_release(c, g);
    return PSP_SUCCESS;
}

/* GUEST_STATUS */
PspStatus psp_sev_guest_status(PspCall *c)
{
    SevCmdGuestStatus *cmd = PSP_BUF(c, SevCmdGuestStatus);
    PspGuest *g;
    PspStatus status = psp_guest_by_handle(c, &g);

    if (status) {
        return status;
    }
    cmd->policy = cpu_to_le32(g->policy);
    cmd->asid = cpu_to_le32(g->asid);
    cmd->state = g->state;
    psp_write_buf(c, 0, c->cmd->len);
    return PSP_SUCCESS;
}

/* ---- Debugging ---- */

/* What is left of DBG_DECRYPT and DBG_ENCRYPT, or a piece of it */
static PspStatus debug_piece(PspCall *c, PspGuest *g, bool decrypt)
{
    const SevCmdDbg *cmd = PSP_BUF(c, SevCmdDbg);
    uint64_t src = psp_addr(cmd->src_addr) + c->done;
    uint64_t dst = psp_addr(cmd->dst_addr) + c->done;
    unsigned key = psp_key(decrypt ? cmd->dst_addr : cmd->src_addr);
    uint64_t left = le32_to_cpu(cmd->len) - c->done;
    uint64_t piece = MIN(left, PSP_PIECE);
    uint8_t page[PSP_PAGE];
    /* ABI: pages may have changed state since the last piece */
    PspStatus status = psp_check_output(c, "the destination", dst, piece);

    for (uint64_t o = 0; !status && o < piece; o += PSP_PAGE) {
        uint32_t l = MIN(piece - o, PSP_PAGE);

        psp_read(c, src + o, decrypt ? g->asid : key, page, l);
        psp_write(c, dst + o, decrypt ? key : g->asid, page, l);
    }
    c->done += piece;
    return status ? status : piece < left ? PSP_MORE : PSP_SUCCESS;
}

/* DBG_DECRYPT and DBG_ENCRYPT, in a guest of any state that has an ASID */
static PspStatus debug(PspCall *c, bool decrypt)
{
    const SevCmdDbg *cmd = PSP_BUF(c, SevCmdDbg);
    uint64_t src = psp_addr(cmd->src_addr), dst = psp_addr(cmd->dst_addr);
    uint32_t len = le32_to_cpu(cmd->len);
    PspGuest *g;
    PspStatus status = psp_guest_in_state(c, &g, ~0u, true);

    if (status) {
        return status;
    }
    if (c->done) {
        return debug_piece(c, g, decrypt);
    }
    /* SEV API: the guest's policy */
    if (g->policy & SEV_POLICY_NODBG) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "the policy of guest %u forbids debugging",
                          g->handle);
    }
    /* SEV API: length */
    if (!len || len % 16) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "0x%x bytes, expected a multiple of 16", len);
    }
    /* SEV API: alignment of the addresses */
    if (src % 16 || dst % 16) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " or 0x%" PRIx64 " is no multiple of 16",
                          src, dst);
    }
    /* SEV API: the source's address */
    if (!psp_is_ram(c->h, src, len)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "source 0x%" PRIx64 " is not in memory", src);
    }
    /* SEV API, ABI: the destination's address */
    status = psp_check_output(c, "the destination", dst, len);
    if (status) {
        return status;
    }
    /* SEV API: they do not overlap */
    if (src < dst + len && dst < src + len) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "source and destination overlap");
    }
    return debug_piece(c, g, decrypt);
}

PspStatus psp_sev_dbg_decrypt(PspCall *c)
{
    return debug(c, true);
}

PspStatus psp_sev_dbg_encrypt(PspCall *c)
{
    return debug(c, false);
}
