/*
 * AMD Secure Processor: commands on SNP guests, but for their launch
 *
 * SNP_GCTX_CREATE, SNP_DECOMMISSION, SNP_ACTIVATE, SNP_GUEST_STATUS,
 * SNP_DBG_DECRYPT, SNP_DBG_ENCRYPT.
 *
 * References: SNP ABI, chapter 8, the sections of these commands.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "qemu/guest-random.h"

/*
 * End a guest: its ASID is free, its Context page is a Firmware page again. The
 * caller removes it from the list of guests.
 */
static void drop_context(PspCall *c, PspGuest *g)
{
    bool large;
    AmdRmpEntry e = psp_rmp_get(c->h, g->gctx, &large);

    psp_asid_release(c, g);
    if (psp_page_state(e) == PAGE_CONTEXT && !large) {
        e.lo &= ~AMD_RMP_VMSA;
        amd_rmp_set(c->h, g->gctx, e);
    }
    amd_snp_key_rewrite(c->h, g->gctx, AMD_SNP_KEY_NONE);
    c->flush = true;
}

static gboolean drop_one(gpointer key, gpointer value, gpointer opaque)
{
    drop_context(opaque, value);
    return true;
}

void psp_snp_drop_guests(PspCall *c)
{
    g_hash_table_foreach_remove(c->s->contexts, drop_one, c);
}

/* SNP_GCTX_CREATE */
PspStatus psp_snp_gctx_create(PspCall *c)
{
    AmdPspState *s = c->s;
    uint64_t pa = psp_addr(PSP_BUF(c, SnpCmdGctx)->gctx_paddr);
    PspStatus status;
    AmdRmpEntry e;
    PspGuest *g;

    /* ABI: address, page state, page size */
    status = psp_check_page(c, pa, PAGE_FIRMWARE, false, &e);
    if (status) {
        return status;
    }
    /* Model: resources for one more guest */
    if (psp_guests_full(s)) {
        return psp_refuse(c, PSP_RESOURCE_LIMIT, "%u guests exist",
                          PSP_MAX_GUESTS);
    }
    g = psp_guest_new(s, true);
    g->gctx = pa;
    g->state = SNP_GUEST_INIT;
    g->launch_tcb = PSP_TCB;
    qemu_guest_getrandom_nofail(g->vmpck, sizeof(g->vmpck));
    qemu_guest_getrandom_nofail(g->report_id, sizeof(g->report_id));
    memset(g->report_id_ma, 0xff, sizeof(g->report_id_ma));
    g_hash_table_replace(s->contexts, &g->gctx, g);

    e.lo |= AMD_RMP_VMSA;
    amd_rmp_set(c->h, pa, e);
    amd_snp_key_rewrite(c->h, pa, PSP_KEY_FIRMWARE);
    c->flush = true;
    return PSP_SUCCESS;
}

/* SNP_DECOMMISSION */
PspStatus psp_snp_decommission(PspCall *c)
{
    const SnpCmdGctx *cmd = PSP_BUF(c, SnpCmdGctx);
    PspGuest *g;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    if (!status) {
        drop_context(c, g);
        g_hash_table_remove(c->s->contexts, &g->gctx);
    }
    return status;
}

/* SNP_ACTIVATE */
PspStatus psp_snp_activate(PspCall *c)
{
    const SnpCmdActivate *cmd = PSP_BUF(c, SnpCmdActivate);
    PspGuest *g;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    if (status) {
        return status;
    }
    /* ABI: guest state */
    if (g->state == SNP_GUEST_INIT) {
        return psp_refuse(c, PSP_INVALID_GUEST_STATE,
                          "the guest is not being launched");
    }
    /* ABI: the ASID; SNP guests have those of SEV-ES */
    return psp_asid_bind(c, g, le32_to_cpu(cmd->asid), 1,
                         amd_snp_host_max_es_asid(c->h));
}

/* SNP_GUEST_STATUS */
PspStatus psp_snp_guest_status(PspCall *c)
{
    const SnpCmdGuestStatus *cmd = PSP_BUF(c, SnpCmdGuestStatus);
    SnpGuestStatus out = { 0 };
    PspGuest *g;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    if (status) {
        return status;
    }
    out.policy = cpu_to_le64(g->policy);
    out.asid = cpu_to_le32(g->asid);
    out.state = g->state;
    return psp_write_status(c, cmd->address, &out, sizeof(out));
}

/* ---- Debugging ---- */

/* SNP_DBG_DECRYPT and SNP_DBG_ENCRYPT */
static PspStatus debug(PspCall *c, bool decrypt)
{
    const SnpCmdDbg *cmd = PSP_BUF(c, SnpCmdDbg);
    uint64_t src = psp_addr(cmd->src_addr), dst = psp_addr(cmd->dst_addr);
    uint64_t guest = decrypt ? src : dst, host = decrypt ? dst : src;
    unsigned key = psp_key(decrypt ? cmd->dst_addr : cmd->src_addr);
    uint8_t page[PSP_PAGE];
    PspPageState state;
    AmdRmpEntry e;
    PspGuest *g;
    bool large;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    /* ABI: guest state */
    if (!status && g->state == SNP_GUEST_INIT) {
        status = psp_refuse(c, PSP_INVALID_GUEST_STATE,
                            "the guest is not being launched");
    }
    /* ABI: the guest is active */
    if (!status) {
        status = psp_snp_is_active(c, g);
    }
    if (status) {
        return status;
    }
    /* ABI: the guest's policy */
    if (!(g->policy & SNP_POLICY_DEBUG)) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%" PRIx64 " forbids debugging", g->policy);
    }
    /* ABI: addresses */
    if (guest % PSP_PAGE || host % PSP_PAGE ||
        !psp_is_ram(c->h, guest, PSP_PAGE) ||
        !psp_is_ram(c->h, host, PSP_PAGE)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " or 0x%" PRIx64 " is no page of memory",
                          src, dst);
    }
    e = psp_rmp_get(c->h, guest, &large);
    state = psp_page_state(e);
    /* ABI: state of the guest's page */
    if (state != PAGE_GUEST_VALID && state != PAGE_GUEST_INVALID &&
        state != PAGE_PRE_GUEST) {
        return psp_refuse(c, PSP_INVALID_PAGE_STATE,
                          "page 0x%" PRIx64 " is %s, expected a guest's", guest,
                          psp_page_state_name(state));
    }
    /* ABI: the page is this guest's */
    if (amd_rmp_asid(e.lo) != g->asid) {
        return psp_refuse(c, PSP_INVALID_PAGE_OWNER,
                          "page 0x%" PRIx64 " has ASID %u, the guest has %u",
                          guest, amd_rmp_asid(e.lo), g->asid);
    }
    /* ABI: state of the page that is written for the host */
    if (decrypt) {
        status = psp_check_output_page(c, "the destination", dst);
        if (status) {
            return status;
        }
    }
    psp_read(c, src, decrypt ? g->asid : key, page, PSP_PAGE);
    psp_write(c, dst, decrypt ? key : g->asid, page, PSP_PAGE);
    return PSP_SUCCESS;
}

PspStatus psp_snp_dbg_decrypt(PspCall *c)
{
    return debug(c, true);
}

PspStatus psp_snp_dbg_encrypt(PspCall *c)
{
    return debug(c, false);
}
