/*
 * AMD Secure Processor: guests and ASIDs
 *
 * Guests of every kind: SEV and SEV-ES ones, which have a handle, and SNP ones,
 * which have a Context page; and which guest has which ASID.
 *
 * References: SEV API 6.1 (guest states); SNP ABI, "Guest Management".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"

PspGuest *psp_guest_new(AmdPspState *s, bool snp)
{
    PspGuest *g = g_new0(PspGuest, 1);

    g->snp = snp;
    if (!snp) {
        g->digest = g_checksum_new(G_CHECKSUM_SHA256);
    }
    return g;
}

void psp_guest_free(PspGuest *g)
{
    if (g->digest) {
        g_checksum_free(g->digest);
    }
    g_free(g);
}

bool psp_guests_full(AmdPspState *s)
{
    return g_hash_table_size(s->guests) + g_hash_table_size(s->contexts) >=
           PSP_MAX_GUESTS;
}

/* ---- Finding a guest, and its state ---- */

PspStatus psp_guest_by_handle(PspCall *c, PspGuest **g)
{
    uint32_t handle = le32_to_cpu(PSP_BUF(c, SevCmdHandle)->handle);

    *g = g_hash_table_lookup(c->s->guests, GUINT_TO_POINTER(handle));
    /* SEV API: the handle is that of a guest */
    if (!*g) {
        return psp_refuse(c, PSP_INVALID_GUEST, "no guest has handle %u",
                          handle);
    }
    return PSP_SUCCESS;
}

PspStatus psp_guest_in_state(PspCall *c, PspGuest **g, unsigned states,
                             bool active)
{
    PspStatus status = psp_guest_by_handle(c, g);

    if (status) {
        return status;
    }
    /* SEV API 6.1.1: guest state */
    if (!(states & BIT((*g)->state))) {
        return psp_refuse(c, PSP_INVALID_GUEST_STATE,
                          "guest %u is in state %u, expected one of mask 0x%x",
                          (*g)->handle, (*g)->state, states);
    }
    /* SEV API: the guest is active */
    if (active && !(*g)->asid) {
        return psp_refuse(c, PSP_INACTIVE, "guest %u has no ASID",
                          (*g)->handle);
    }
    return PSP_SUCCESS;
}

PspStatus psp_guest_by_gctx(PspCall *c, uint64_t pa, PspGuest **g)
{
    PspPageState state;
    bool large;

    /* ABI: address of the guest context */
    if (pa % PSP_PAGE || !psp_is_ram(c->h, pa, PSP_PAGE)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "guest context at 0x%" PRIx64 " is no page of memory",
                          pa);
    }
    state = psp_page_state(psp_rmp_get(c->h, pa, &large));
    *g = g_hash_table_lookup(c->s->contexts, &pa);
    /* ABI: it is a Context page. Model: of a guest that is known, too */
    if (state != PAGE_CONTEXT || !*g) {
        return psp_refuse(c, PSP_INVALID_GUEST,
                          "page 0x%" PRIx64 " is %s, expected the Context page "
                          "of a guest", pa, psp_page_state_name(state));
    }
    return PSP_SUCCESS;
}

PspStatus psp_snp_in_state(PspCall *c, PspGuest *g, unsigned state)
{
    /* ABI: guest state */
    if (g->state != state) {
        return psp_refuse(c, PSP_INVALID_GUEST_STATE,
                          "the guest is in state %u, expected %u", g->state,
                          state);
    }
    return PSP_SUCCESS;
}

PspStatus psp_snp_is_active(PspCall *c, PspGuest *g)
{
    /* ABI: the guest is active */
    if (!g->asid) {
        return psp_refuse(c, PSP_INACTIVE, "the guest has no ASID");
    }
    return PSP_SUCCESS;
}

/* ---- ASIDs ---- */

PspStatus psp_asid_bind(PspCall *c, PspGuest *g, uint32_t asid, unsigned first,
                        unsigned last)
{
    AmdPspState *s = c->s;

    /* SEV API, ABI: the ASID is one for a guest of this kind */
    if (asid < first || asid > last) {
        return psp_refuse(c, PSP_INVALID_ASID, "ASID %u, expected %u to %u",
                          asid, first, last);
    }
    /* SEV API, ABI: no guest has the ASID */
    if (s->asid_owner[asid]) {
        return psp_refuse(c, PSP_ASID_OWNED, "ASID %u has a guest", asid);
    }
    /* SEV API, ABI: the guest has no ASID */
    if (g->asid) {
        return psp_refuse(c, PSP_ACTIVE, "the guest is active with ASID %u",
                          g->asid);
    }
    /* SEV API, ABI: WBINVD and DF_FLUSH since the ASID's last use */
    if (s->asid_dirty[asid]) {
        return psp_refuse(c, PSP_DFFLUSH_REQUIRED,
                          "ASID %u was used before: WBINVD and DF_FLUSH first",
                          asid);
    }
    g->asid = asid;
    s->asid_owner[asid] = g;
    return PSP_SUCCESS;
}

void psp_asid_release(PspCall *c, PspGuest *g)
{
    AmdPspState *s = c->s;

    if (!g->asid) {
        return;
    }
    c->destroy = true;
    set_bit(g->asid, c->asids);
    s->asid_owner[g->asid] = NULL;
    s->asid_dirty[g->asid] = true;
    g->asid = 0;
    amd_snp_host_want_wbinvd(c->h);
    c->flush = true;
}

void psp_asids_dirty(PspCall *c)
{
    for (int i = 0; i <= AMD_SNP_MAX_ASID; i++) {
        c->s->asid_dirty[i] = !c->s->asid_owner[i];
    }
    amd_snp_host_want_wbinvd(c->h);
}

/* DF_FLUSH and SNP_DF_FLUSH */
PspStatus psp_df_flush(PspCall *c)
{
    /* SEV API, ABI: WBINVD on every CPU since an ASID was taken away */
    if (!amd_snp_host_wbinvd_done(c->h)) {
        return psp_refuse(c, PSP_WBINVD_REQUIRED,
                          "not every CPU has done WBINVD since the platform "
                          "was initialised or an ASID was taken away");
    }
    memset(c->s->asid_dirty, 0, sizeof(c->s->asid_dirty));
    return PSP_SUCCESS;
}
