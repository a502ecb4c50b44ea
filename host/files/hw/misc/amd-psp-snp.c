/*
 * AMD Secure Processor: SEV-SNP commands of the firmware
 *
 * Not modelled, and answered with UNSUPPORTED: SNP_ACTIVATE_EX, swapping,
 * moving and metadata of pages, SNP_PAGE_SET_STATE, SNP_HV_REPORT_REQ,
 * incoming migration images. An image or a VLEK that only AMD could have made
 * is refused as one whose signature is wrong.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "hw/boards.h"
#include "qemu/guest-random.h"
#include "qemu/units.h"
#include "trace.h"

#define VMPL0_PERMISSIONS       AMD_RMP_PERM_ALL

/* Fields of a VMSA that the firmware fills in: not measured */
#define VMSA_TSC_OFFSET         0x2f0
#define VMSA_TSC_LEN            16

#define SECRETS_VERSION         3

#define RANGE_MAX               255
#define IOMMU_PAGES_MAX         1024

/* ---- Checks that several commands share ---- */

/* @le: the length that the command buffer says of itself, as it is there */
static PspStatus check_length(PspCall *c, uint32_t le)
{
    if (le32_to_cpu(le) != c->cmd->len) {
        return psp_refuse(c, PSP_INVALID_LEN, "length %u, expected %u",
                          le32_to_cpu(le), c->cmd->len);
    }
    return PSP_SUCCESS;
}

static PspStatus check_page_size(PspCall *c, uint64_t pa, bool large,
                                 bool want_large)
{
    if (large != want_large) {
        return psp_refuse(c, PSP_INVALID_PAGE_SIZE,
                          "page 0x%" PRIx64 " is one of %s, expected %s", pa,
                          large ? "2 MB" : "4 KB", want_large ? "2 MB"
                                                              : "4 KB");
    }
    return PSP_SUCCESS;
}

/* A page of memory, in this state and of this size; @e is its RMP entry */
static PspStatus check_page(PspCall *c, uint64_t pa, PspPageState want,
                            bool want_large, AmdRmpEntry *e)
{
    uint64_t size = want_large ? 2 * MiB : PSP_PAGE;
    PspPageState state;
    bool large;

    if (pa % size || !psp_is_ram(c->h, pa, size)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no page of memory", pa);
    }
    *e = psp_rmp_get(c->h, pa, &large);
    state = psp_page_state(*e);
    if (state != want) {
        return psp_refuse(c, PSP_INVALID_PAGE_STATE,
                          "page 0x%" PRIx64 " is %s, expected %s", pa,
                          psp_page_state_name(state),
                          psp_page_state_name(want));
    }
    return check_page_size(c, pa, large, want_large);
}

/* ---- Guests ---- */

PspStatus psp_guest_by_gctx(PspCall *c, uint64_t pa, PspGuest **g)
{
    PspPageState state;
    bool large;

    if (pa % PSP_PAGE || !psp_is_ram(c->h, pa, PSP_PAGE)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "guest context at 0x%" PRIx64 " is no page of memory",
                          pa);
    }
    state = psp_page_state(psp_rmp_get(c->h, pa, &large));
    *g = g_hash_table_lookup(c->s->contexts, &pa);
    if (state != PAGE_CONTEXT || !*g) {
        return psp_refuse(c, PSP_INVALID_GUEST,
                          "page 0x%" PRIx64 " is %s, expected the Context page "
                          "of a guest", pa, psp_page_state_name(state));
    }
    return PSP_SUCCESS;
}

static PspStatus in_state(PspCall *c, PspGuest *g, unsigned state)
{
    if (g->state != state) {
        return psp_refuse(c, PSP_INVALID_GUEST_STATE,
                          "the guest is in state %u, expected %u", g->state,
                          state);
    }
    return PSP_SUCCESS;
}

static PspStatus is_active(PspCall *c, PspGuest *g)
{
    if (!g->asid) {
        return psp_refuse(c, PSP_INACTIVE, "the guest has no ASID");
    }
    return PSP_SUCCESS;
}

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

/* ---- Platform ---- */

static void mark_firmware(AmdSnpHost *h, hwaddr pa)
{
    if (amd_rmp_covers(h, pa)) {
        amd_rmp_set(h, pa, (AmdRmpEntry) {
            .lo = AMD_RMP_ASSIGNED | AMD_RMP_IMMUTABLE,
        });
    }
}

/* Make a list of ranges HV-Fixed; check all of it before anything changes */
static PspStatus hv_fixed(PspCall *c, uint64_t list, bool apply)
{
    SnpRangeList hdr;
    SnpRange range;
    uint32_t n;

    if (list % 8 || !psp_read(c, list, AMD_SNP_KEY_NONE, &hdr, sizeof(hdr))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "no range list at 0x%" PRIx64, list);
    }
    n = le32_to_cpu(hdr.num_elements);
    if (n > RANGE_MAX || hdr.rsvd) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "range list with %u elements, expected up to %u, and "
                          "0 in the reserved field", n, RANGE_MAX);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t base, pages;

        if (!psp_read(c, list + sizeof(hdr) + i * sizeof(range),
                      AMD_SNP_KEY_NONE, &range, sizeof(range))) {
            return psp_refuse(c, PSP_INVALID_ADDRESS,
                              "the range list leaves memory");
        }
        base = psp_addr(range.base);
        pages = le32_to_cpu(range.page_count);
        if (base % PSP_PAGE || base >> 52 || range.rsvd) {
            return psp_refuse(c, PSP_INVALID_PARAM,
                              "range %u, 0x%" PRIx64 " with %" PRIu64 " pages, "
                              "is malformed", i, base, pages);
        }
        while (apply && pages-- && amd_rmp_covers(c->h, base)) {
            AmdRmpEntry e = amd_rmp_get(c->h, base);

            /* Those that are Firmware pages stay so */
            if (psp_page_state(e) == PAGE_HYPERVISOR) {
                e.lo |= AMD_RMP_IMMUTABLE;
                amd_rmp_set(c->h, base, e);
            }
            base += PSP_PAGE;
        }
    }
    return PSP_SUCCESS;
}

/* Apply to the list what was checked: read again, it may have changed */
static void init_rmp(PspCall *c, const uint64_t *list)
{
    g_autofree hwaddr *pages = g_new(hwaddr, IOMMU_PAGES_MAX);
    AmdSnpHost *h = c->h;
    unsigned n;

    amd_rmp_clear(h);
    for (hwaddr pa = h->rmp_base; pa < h->rmp_end; pa += PSP_PAGE) {
        mark_firmware(h, pa);
    }
    n = amd_snp_host_iommu_pages(h, pages, IOMMU_PAGES_MAX);
    for (unsigned i = 0; i < n; i++) {
        mark_firmware(h, pages[i]);
    }
    if (list) {
        hv_fixed(c, *list, true);
    }
    h->rmp_initialized = true;
    c->flush = true;
}

static PspStatus snp_init(PspCall *c, bool rmp, const uint64_t *list)
{
    AmdPspState *s = c->s;
    const char *why;
    PspStatus status;

    if (s->sev_state != SEV_UNINIT) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE,
                          "SEV is initialised: SNP comes first");
    }
    if (!amd_snp_host_cpus_ready(c->h, &why)) {
        return psp_refuse(c, PSP_INVALID_CONFIG, "%s", why);
    }
    if (!rmp && !c->h->rmp_initialized) {
        return psp_refuse(c, PSP_RMP_INIT_REQUIRED,
                          "the RMP was never initialised");
    }
    if (list) {
        status = hv_fixed(c, *list, false);
        if (status) {
            return status;
        }
    }
    if (rmp) {
        init_rmp(c, list);
    }
    s->snp_init = true;
    psp_asids_dirty(c);
    return PSP_SUCCESS;
}

static PspStatus cmd_snp_init(PspCall *c)
{
    return snp_init(c, true, NULL);
}

static PspStatus cmd_snp_init_ex(PspCall *c)
{
    const SnpCmdInitEx *cmd = PSP_BUF(c, SnpCmdInitEx);
    uint32_t flags = le32_to_cpu(cmd->flags);
    uint64_t list = psp_addr(cmd->list_paddr);

    if ((flags & SNP_INIT_LIST_PADDR_EN) && !(flags & SNP_INIT_RMP)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "a range list without initialising the RMP");
    }
    return snp_init(c, flags & SNP_INIT_RMP,
                    flags & SNP_INIT_LIST_PADDR_EN ? &list : NULL);
}

static PspStatus snp_shutdown(PspCall *c, bool iommu)
{
    AmdPspState *s = c->s;
    AmdSnpHost *h = c->h;

    if (s->sev_state != SEV_UNINIT) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE,
                          "SEV is initialised: SHUTDOWN first");
    }
    for (int i = 0; i <= AMD_SNP_MAX_ASID; i++) {
        if (s->asid_dirty[i]) {
            /* A driver tries, and flushes if told to: that is no mistake */
            c->query = true;
            return psp_refuse(c, PSP_DFFLUSH_REQUIRED,
                              "ASID %d was used: WBINVD and SNP_DF_FLUSH first",
                              i);
        }
    }
    /* Guests that are left go, as with a kernel that crashed */
    psp_snp_drop_guests(c);
    if (iommu) {
        g_autofree hwaddr *pages = g_new(hwaddr, IOMMU_PAGES_MAX);
        unsigned n = amd_snp_host_iommu_pages(h, pages, IOMMU_PAGES_MAX);

        for (unsigned i = 0; i < n; i++) {
            AmdRmpEntry e = amd_rmp_get(h, pages[i]);

            if (amd_rmp_covers(h, pages[i]) &&
                psp_page_state(e) == PAGE_FIRMWARE) {
                e.lo &= ~AMD_RMP_IMMUTABLE;
                amd_rmp_set(h, pages[i], e);
            }
        }
    }
    s->snp_init = false;
    return PSP_SUCCESS;
}

static PspStatus cmd_snp_shutdown(PspCall *c)
{
    return snp_shutdown(c, false);
}

static PspStatus cmd_snp_shutdown_ex(PspCall *c)
{
    const SnpCmdShutdownEx *cmd = PSP_BUF(c, SnpCmdShutdownEx);
    PspStatus status = check_length(c, cmd->length);

    if (status) {
        return status;
    }
    return snp_shutdown(c, le32_to_cpu(cmd->flags) & SNP_SHUTDOWN_IOMMU);
}

/* A page of status: while SNP is initialised, a Firmware page, then Reclaim */
static PspStatus status_page(PspCall *c, uint64_t pa, const void *buf,
                             size_t len)
{
    PspStatus status;
    AmdRmpEntry e;
    bool large;

    if (c->s->snp_init) {
        status = psp_check_output_page(c, "the status page", pa);
    } else {
        status = psp_check_output(c, "the status", pa, len);
    }
    if (status) {
        return status;
    }
    e = psp_rmp_get(c->h, pa, &large);
    if (c->s->snp_init && large) {
        return psp_refuse(c, PSP_INVALID_PAGE_SIZE,
                          "the status page is part of a 2 MB page");
    }
    psp_write(c, pa, AMD_SNP_KEY_NONE, buf, len);
    if (c->s->snp_init) {
        e.lo &= ~AMD_RMP_IMMUTABLE;
        amd_rmp_set(c->h, pa, e);
    }
    return PSP_SUCCESS;
}

static PspStatus cmd_snp_platform_status(PspCall *c)
{
    AmdPspState *s = c->s;
    uint32_t flags = (s->mask_chip_id ? SNP_STATUS_MASK_CHIP_ID : 0) |
                     (s->mask_chip_key ? SNP_STATUS_MASK_CHIP_KEY : 0) |
                     (s->feature_info ? SNP_STATUS_FEATURE_INFO : 0);
    SnpPlatformStatus out = {
        .api_major = PSP_API_MAJOR,
        .api_minor = PSP_API_MINOR,
        .state = s->snp_init,
        .is_rmp_initialized = c->h->rmp_initialized,
        .build_id = cpu_to_le32(PSP_BUILD),
        .flags = cpu_to_le32(flags),
        .guest_count = cpu_to_le32(g_hash_table_size(s->contexts)),
        .current_tcb_version = cpu_to_le64(PSP_TCB),
        .reported_tcb_version = cpu_to_le64(s->reported_tcb),
    };

    return status_page(c,
                       psp_addr(PSP_BUF(c, SnpCmdPlatformStatus)->status_paddr),
                       &out, sizeof(out));
}

static PspStatus cmd_snp_feature_info(PspCall *c)
{
    const SnpCmdFeatureInfo *cmd = PSP_BUF(c, SnpCmdFeatureInfo);
    uint64_t pa = psp_addr(cmd->feature_info_paddr);
    SnpFeatureInfo out = { 0 };
    PspStatus status;

    if (!c->s->feature_info) {
        return psp_refuse(c, PSP_INVALID_COMMAND,
                          "the device was made without it");
    }
    status = check_length(c, cmd->length);
    if (status) {
        return status;
    }
    /* Subfunction 0: none of the optional features. There are no others */
    if (cmd->ecx_in) {
        return psp_refuse(c, PSP_INVALID_PARAM, "subfunction %u, expected 0",
                          le32_to_cpu(cmd->ecx_in));
    }
    if (pa % 8 || pa % PSP_PAGE > PSP_PAGE - sizeof(out)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no multiple of 8 within a page",
                          pa);
    }
    status = psp_check_output(c, "the features", pa, sizeof(out));
    if (!status) {
        psp_write(c, pa, AMD_SNP_KEY_NONE, &out, sizeof(out));
    }
    return status;
}

static bool tcb_at_most(uint64_t tcb, uint64_t limit)
{
    for (int shift = 0; shift < 64; shift += 8) {
        if (extract64(tcb, shift, 8) > extract64(limit, shift, 8)) {
            return false;
        }
    }
    return true;
}

static PspStatus cmd_snp_config(PspCall *c)
{
    const SnpCmdConfig *cmd = PSP_BUF(c, SnpCmdConfig);
    uint64_t tcb = le64_to_cpu(cmd->reported_tcb);
    uint32_t flags = le32_to_cpu(cmd->flags);

    if (!tcb_at_most(tcb, PSP_TCB)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "TCB 0x%" PRIx64 " is above the committed one, 0x%"
                          PRIx64, tcb, PSP_TCB);
    }
    /* 0 is the current one */
    c->s->reported_tcb = tcb ? tcb : PSP_TCB;
    c->s->mask_chip_id = flags & SNP_CONFIG_MASK_CHIP_ID;
    c->s->mask_chip_key = flags & SNP_CONFIG_MASK_CHIP_KEY;
    return PSP_SUCCESS;
}

static PspStatus cmd_snp_commit(PspCall *c)
{
    /* What runs is what was committed: nothing changes */
    return check_length(c, PSP_BUF(c, SnpCmdCommit)->length);
}

static PspStatus cmd_snp_vlek_load(PspCall *c)
{
    const SnpCmdVlekLoad *cmd = PSP_BUF(c, SnpCmdVlekLoad);
    PspStatus status = check_length(c, cmd->length);

    if (status) {
        return status;
    }
    if (!psp_is_ram(c->h, psp_addr(cmd->vlek_wrapped_address),
                    SNP_VLEK_HASHSTICK_LEN)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS, "no hashstick in memory");
    }
    /* It is wrapped for one chip by AMD, who have never heard of this one */
    return psp_refuse(c, PSP_BAD_MEASUREMENT,
                      "the hashstick was not wrapped for this chip");
}

static PspStatus cmd_snp_download_firmware(PspCall *c)
{
    const SnpCmdDownloadFirmwareEx *cmd = PSP_BUF(c, SnpCmdDownloadFirmwareEx);

    if (!psp_is_ram(c->h, psp_addr(cmd->fw_paddr), le32_to_cpu(cmd->fw_len))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS, "no image in memory");
    }
    return psp_refuse(c, PSP_BAD_SIGNATURE, "no image is signed for this part");
}

/* ---- Guest life ---- */

static PspStatus cmd_snp_gctx_create(PspCall *c)
{
    AmdPspState *s = c->s;
    uint64_t pa = psp_addr(PSP_BUF(c, SnpCmdGctx)->gctx_paddr);
    PspStatus status;
    AmdRmpEntry e;
    PspGuest *g;

    status = check_page(c, pa, PAGE_FIRMWARE, false, &e);
    if (status) {
        return status;
    }
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

static PspStatus cmd_snp_decommission(PspCall *c)
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

static PspStatus cmd_snp_activate(PspCall *c)
{
    const SnpCmdActivate *cmd = PSP_BUF(c, SnpCmdActivate);
    PspGuest *g;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    if (status) {
        return status;
    }
    if (g->state == SNP_GUEST_INIT) {
        return psp_refuse(c, PSP_INVALID_GUEST_STATE,
                          "the guest is not being launched");
    }
    return psp_asid_bind(c, g, le32_to_cpu(cmd->asid), 1,
                         AMD_SNP_MIN_SEV_ASID - 1);
}

static PspStatus cmd_snp_guest_status(PspCall *c)
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
    return status_page(c, psp_addr(cmd->address), &out, sizeof(out));
}

static PspStatus check_policy(PspCall *c, uint64_t policy)
{
    const char *why = NULL;

    if (policy & ~SNP_POLICY_KNOWN) {
        why = "has reserved bits set";
    } else if (!(policy & SNP_POLICY_RSVD_MBO)) {
        why = "lacks bit 17, which must be one";
    } else if ((policy & SNP_POLICY_ABI) >
               (PSP_API_MAJOR << 8 | PSP_API_MINOR)) {
        why = "asks for a newer ABI than this";
    } else if (!(policy & SNP_POLICY_SMT) && psp_smt(c->s)) {
        why = "forbids SMT, which is on";
    } else if ((policy & SNP_POLICY_SINGLE_SOCKET) &&
               current_machine->smp.sockets > 1) {
        why = "wants a single socket, and the guest could be activated on all";
    }
    if (why) {
        return psp_refuse(c, PSP_POLICY_FAILURE, "policy 0x%" PRIx64 " %s",
                          policy, why);
    }
    return PSP_SUCCESS;
}

static PspStatus cmd_snp_launch_start(PspCall *c)
{
    const SnpCmdLaunchStart *cmd = PSP_BUF(c, SnpCmdLaunchStart);
    uint64_t policy = le64_to_cpu(cmd->policy);
    uint32_t flags = le32_to_cpu(cmd->flags);
    PspGuest *g, *ma = NULL;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    if (!status) {
        status = in_state(c, g, SNP_GUEST_INIT);
    }
    if (!status) {
        status = check_policy(c, policy);
    }
    if (!status && (flags & SNP_LAUNCH_START_MA_EN)) {
        if (!(policy & SNP_POLICY_MIGRATE_MA)) {
            return psp_refuse(c, PSP_POLICY_FAILURE,
                              "policy 0x%" PRIx64 " allows no migration agent",
                              policy);
        }
        status = psp_guest_by_gctx(c, psp_addr(cmd->ma_gctx_paddr), &ma);
        if (!status && (ma == g || ma->state != SNP_GUEST_RUNNING)) {
            return psp_refuse(c, PSP_INVALID_GUEST,
                              "the migration agent is not a running guest");
        }
    }
    if (status) {
        return status;
    }
    if (flags & SNP_LAUNCH_START_IMI_EN) {
        return psp_refuse(c, PSP_UNSUPPORTED,
                          "incoming migration images are not modelled");
    }
    g->policy = policy;
    g->state = SNP_GUEST_LAUNCH;
    memcpy(g->gosvw, cmd->gosvw, sizeof(g->gosvw));
    if (ma) {
        memcpy(g->report_id_ma, ma->report_id, sizeof(g->report_id_ma));
    }
    return PSP_SUCCESS;
}

/* ---- SNP_LAUNCH_UPDATE ---- */

static void measure(PspGuest *g, unsigned type, uint32_t perms, uint64_t gpa,
                    const uint8_t *page)
{
    SnpPageInfo info = { 0 };

    memcpy(info.digest_cur, g->ld, sizeof(info.digest_cur));
    if (type == SNP_PAGE_TYPE_VMSA) {
        uint8_t vmsa[PSP_PAGE];

        memcpy(vmsa, page, PSP_PAGE);
        memset(vmsa + VMSA_TSC_OFFSET, 0, VMSA_TSC_LEN);
        psp_sha384(vmsa, PSP_PAGE, info.contents);
    } else if (type == SNP_PAGE_TYPE_NORMAL) {
        psp_sha384(page, PSP_PAGE, info.contents);
    }
    info.length = cpu_to_le16(sizeof(info));
    info.page_type = type;
    /* VMPL3 comes first here, and VMPL1 in the command */
    info.vmpl3_perms = SNP_LAUNCH_UPDATE_PERMS(perms, 3);
    info.vmpl2_perms = SNP_LAUNCH_UPDATE_PERMS(perms, 2);
    info.vmpl1_perms = SNP_LAUNCH_UPDATE_PERMS(perms, 1);
    info.gpa = cpu_to_le64(gpa);
    psp_sha384(&info, sizeof(info), g->ld);
}

static void make_secrets(PspCall *c, PspGuest *g, uint8_t *page)
{
    SnpSecretsPage *secrets = (SnpSecretsPage *)page;
    uint32_t regs[4];

    memset(page, 0, PSP_PAGE);
    amd_snp_host_cpuid(c->h, 1, 0, regs);
    secrets->version = cpu_to_le32(SECRETS_VERSION);
    secrets->fms = cpu_to_le32(regs[0]);
    memcpy(secrets->gosvw, g->gosvw, sizeof(secrets->gosvw));
    memcpy(secrets->vmpck, g->vmpck, sizeof(secrets->vmpck));
}

/*
 * Of these registers every bit is a feature, and the guest may not be told of
 * one that the processor lacks. Left out are bits that follow a control
 * register (OSXSAVE, OSPKE), the topology that the hypervisor makes up (HTT,
 * CmpLegacy), its interrupt controller (x2APIC) and its own bit. What else
 * CPUID says is not checked.
 */
static uint32_t cpuid_feature_bits(uint32_t leaf, uint32_t subleaf, int reg)
{
    enum { EAX, EBX, ECX, EDX };

    switch (leaf) {
    case 1:
        return reg == ECX ? ~(BIT(31) | BIT(27) | BIT(21)) :
               reg == EDX ? ~BIT(28) : 0;
    case 7:
        return subleaf || reg == EAX ? 0 : reg == ECX ? ~BIT(4) : ~0u;
    case 0xd:
        return subleaf == 0 && (reg == EAX || reg == EDX) ? ~0u :
               subleaf == 1 && reg == EAX ? ~0u : 0;
    case 0x80000001:
        /* CmpLegacy, TOPOEXT: the topology is what the hypervisor makes it */
        return reg == ECX ? ~(BIT(22) | BIT(1)) : reg == EDX ? ~0u : 0;
    case 0x80000008:
        return reg == EBX ? ~0u : 0;
    default:
        return 0;
    }
}

/* True if @page is fit for a guest; otherwise it is made so */
static bool check_cpuid(PspCall *c, uint8_t *page)
{
    SnpCpuidPage *cpuid = (SnpCpuidPage *)page;
    uint32_t n = le32_to_cpu(cpuid->count);
    bool ok = true;

    if (n > SNP_CPUID_COUNT_MAX) {
        psp_refuse(c, PSP_INVALID_PARAM, "CPUID page has %u entries, expected "
                   "up to %u", n, SNP_CPUID_COUNT_MAX);
        cpuid->count = cpu_to_le32(SNP_CPUID_COUNT_MAX);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        SnpCpuidEntry *e = &cpuid->fn[i];
        uint32_t leaf = le32_to_cpu(e->eax_in);
        uint32_t subleaf = le32_to_cpu(e->ecx_in), regs[4];

        amd_snp_host_cpuid(c->h, leaf, subleaf, regs);
        for (int r = 0; r < 4; r++) {
            uint32_t have = le32_to_cpu(e->regs[r]);
            uint32_t extra = have & ~regs[r] &
                             cpuid_feature_bits(leaf, subleaf, r);

            if (extra) {
                psp_refuse(c, PSP_INVALID_PARAM, "CPUID 0x%x.%u register %d: "
                           "features 0x%x are not the processor's", leaf,
                           subleaf, r, extra);
                e->regs[r] = cpu_to_le32(have & ~extra);
                ok = false;
            }
        }
    }
    return ok;
}

static PspStatus cmd_snp_launch_update(PspCall *c)
{
    const SnpCmdLaunchUpdate *cmd = PSP_BUF(c, SnpCmdLaunchUpdate);
    uint32_t flags = le32_to_cpu(cmd->flags);
    uint32_t perms = le32_to_cpu(cmd->vmpl_perms);
    uint64_t pa = psp_addr(cmd->address);
    bool large = flags & SNP_LAUNCH_UPDATE_PAGE_SIZE;
    unsigned type = SNP_LAUNCH_UPDATE_PAGE_TYPE(flags);
    uint64_t size = large ? 2 * MiB : PSP_PAGE;
    uint8_t page[PSP_PAGE];
    PspStatus status;
    AmdRmpEntry e;
    PspGuest *g;

    status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);
    if (!status) {
        status = check_page(c, pa, PAGE_PRE_GUEST, large, &e);
    }
    if (status) {
        return status;
    }
    if (type < SNP_PAGE_TYPE_NORMAL || type > SNP_PAGE_TYPE_CPUID) {
        return psp_refuse(c, PSP_INVALID_PARAM, "page type %u, expected 1 to 6",
                          type);
    }
    if (large && (type == SNP_PAGE_TYPE_VMSA ||
                  type >= SNP_PAGE_TYPE_SECRETS)) {
        return psp_refuse(c, PSP_INVALID_PAGE_SIZE,
                          "a page of type %u has 4 KB", type);
    }
    if (flags & SNP_LAUNCH_UPDATE_IMI_PAGE) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "a page of an incoming migration image, in a launch "
                          "without one");
    }
    status = in_state(c, g, SNP_GUEST_LAUNCH);
    if (!status) {
        status = is_active(c, g);
    }
    if (status) {
        return status;
    }
    if (amd_rmp_asid(e.lo) != g->asid) {
        return psp_refuse(c, PSP_INVALID_PAGE_OWNER,
                          "page 0x%" PRIx64 " has ASID %u, the guest has %u",
                          pa, amd_rmp_asid(e.lo), g->asid);
    }

    for (uint64_t o = 0; o < size; o += PSP_PAGE) {
        if (type == SNP_PAGE_TYPE_SECRETS) {
            make_secrets(c, g, page);
        } else if (type == SNP_PAGE_TYPE_ZERO) {
            memset(page, 0, PSP_PAGE);
        } else {
            psp_read(c, pa + o, AMD_SNP_KEY_NONE, page, PSP_PAGE);
        }
        if (type == SNP_PAGE_TYPE_CPUID && !check_cpuid(c, page)) {
            /* Left for the host to see what would have been right */
            psp_write(c, pa, AMD_SNP_KEY_NONE, page, PSP_PAGE);
            return PSP_INVALID_PARAM;
        }
        measure(g, type, perms, (e.lo & AMD_RMP_GPA_MASK) + o, page);
        psp_write(c, pa + o, g->asid, page, PSP_PAGE);
    }
    e.lo &= ~AMD_RMP_IMMUTABLE;
    e.lo |= AMD_RMP_VALIDATED |
            (type == SNP_PAGE_TYPE_VMSA ? AMD_RMP_VMSA : 0);
    /* Permissions of VMPL1 to VMPL3 are where the command has them */
    e.hi = deposit64(e.hi, 0, 32, perms | VMPL0_PERMISSIONS);
    psp_rmp_set(c->h, pa, large, e);
    c->flush = true;
    return PSP_SUCCESS;
}

/* ---- SNP_LAUNCH_FINISH ---- */

static PspStatus check_id_block(PspCall *c, PspGuest *g)
{
    const SnpCmdLaunchFinish *cmd = PSP_BUF(c, SnpCmdLaunchFinish);
    g_autofree SnpIdAuth *auth = g_new(SnpIdAuth, 1);
    SnpIdBlock block;
    bool author = le32_to_cpu(cmd->flags) & SNP_LAUNCH_FINISH_AUTH_KEY_EN;

    if (!psp_read(c, psp_addr(cmd->id_block_paddr), AMD_SNP_KEY_NONE, &block,
                  sizeof(block)) ||
        !psp_read(c, psp_addr(cmd->id_auth_paddr), AMD_SNP_KEY_NONE, auth,
                  sizeof(*auth))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "ID block or its authentication is not in memory");
    }
    if (memcmp(block.ld, g->ld, sizeof(g->ld))) {
        return psp_refuse(c, PSP_BAD_MEASUREMENT,
                          "launch digest and ID block differ");
    }
    if (le64_to_cpu(block.policy) != g->policy) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%" PRIx64 ", the ID block has 0x%" PRIx64,
                          g->policy, le64_to_cpu(block.policy));
    }
    if (le32_to_cpu(block.version) != SNP_ID_BLOCK_VERSION) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "ID block version %u, expected %u",
                          le32_to_cpu(block.version), SNP_ID_BLOCK_VERSION);
    }
    if (le32_to_cpu(auth->id_key_algo) != SNP_ID_ALGO_ECDSA_P384 ||
        (author &&
         le32_to_cpu(auth->auth_key_algo) != SNP_ID_ALGO_ECDSA_P384) ||
        le32_to_cpu(auth->id_key.curve) != SNP_ID_CURVE_P384 ||
        (author && le32_to_cpu(auth->author_key.curve) != SNP_ID_CURVE_P384)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "algorithm or curve of a key is not ECDSA P-384");
    }
    if (!psp_crypto_available()) {
        return psp_refuse(c, PSP_UNSUPPORTED, "QEMU is built without GnuTLS, "
                          "which it takes to verify an ID block");
    }
    if (!psp_verify(auth->id_key.q, &block, sizeof(block),
                    auth->id_block_sig)) {
        return psp_refuse(c, PSP_BAD_SIGNATURE,
                          "the ID key has not signed the ID block");
    }
    if (author && !psp_verify(auth->author_key.q, &auth->id_key,
                              sizeof(auth->id_key), auth->id_key_sig)) {
        return psp_refuse(c, PSP_BAD_SIGNATURE,
                          "the author key has not signed the ID key");
    }
    memcpy(g->family_id, block.family_id, sizeof(g->family_id));
    memcpy(g->image_id, block.image_id, sizeof(g->image_id));
    g->guest_svn = le32_to_cpu(block.guest_svn);
    psp_sha384(&auth->id_key, sizeof(auth->id_key), g->id_key_digest);
    if (author) {
        psp_sha384(&auth->author_key, sizeof(auth->author_key),
                   g->author_key_digest);
        g->author_key_en = true;
    }
    return PSP_SUCCESS;
}

static PspStatus cmd_snp_launch_finish(PspCall *c)
{
    const SnpCmdLaunchFinish *cmd = PSP_BUF(c, SnpCmdLaunchFinish);
    uint32_t flags = le32_to_cpu(cmd->flags);
    g_autoptr(GString) hex = NULL;
    PspGuest *g;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    if (!status) {
        status = in_state(c, g, SNP_GUEST_LAUNCH);
    }
    if (!status) {
        status = is_active(c, g);
    }
    if (!status && (flags & SNP_LAUNCH_FINISH_AUTH_KEY_EN) &&
        !(flags & SNP_LAUNCH_FINISH_ID_BLOCK_EN)) {
        status = psp_refuse(c, PSP_INVALID_PARAM,
                            "an author key without an ID block");
    }
    if (!status && (flags & SNP_LAUNCH_FINISH_ID_BLOCK_EN)) {
        status = check_id_block(c, g);
    }
    if (status) {
        return status;
    }
    memcpy(g->host_data, cmd->host_data, sizeof(g->host_data));
    g->vcek_disabled = flags & SNP_LAUNCH_FINISH_VCEK_DISABLED;
    g->state = SNP_GUEST_RUNNING;
    hex = g_string_new(NULL);
    for (int i = 0; i < sizeof(g->ld); i++) {
        g_string_append_printf(hex, "%02x", g->ld[i]);
    }
    trace_amd_psp_launch_digest(g->asid, hex->str);
    return PSP_SUCCESS;
}

/* ---- Debugging ---- */

static PspStatus debug(PspCall *c, bool decrypt)
{
    const SnpCmdDbg *cmd = PSP_BUF(c, SnpCmdDbg);
    uint64_t src = psp_addr(cmd->src_addr), dst = psp_addr(cmd->dst_addr);
    uint64_t guest = decrypt ? src : dst, host = decrypt ? dst : src;
    uint8_t page[PSP_PAGE];
    PspPageState state;
    AmdRmpEntry e;
    PspGuest *g;
    bool large;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    if (!status && g->state == SNP_GUEST_INIT) {
        status = psp_refuse(c, PSP_INVALID_GUEST_STATE,
                            "the guest is not being launched");
    }
    if (!status) {
        status = is_active(c, g);
    }
    if (status) {
        return status;
    }
    if (!(g->policy & SNP_POLICY_DEBUG)) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%" PRIx64 " forbids debugging", g->policy);
    }
    if (guest % PSP_PAGE || host % PSP_PAGE ||
        !psp_is_ram(c->h, guest, PSP_PAGE) ||
        !psp_is_ram(c->h, host, PSP_PAGE)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " or 0x%" PRIx64 " is no page of memory",
                          src, dst);
    }
    e = psp_rmp_get(c->h, guest, &large);
    state = psp_page_state(e);
    if (state != PAGE_GUEST_VALID && state != PAGE_GUEST_INVALID &&
        state != PAGE_PRE_GUEST) {
        return psp_refuse(c, PSP_INVALID_PAGE_STATE,
                          "page 0x%" PRIx64 " is %s, expected a guest's", guest,
                          psp_page_state_name(state));
    }
    if (amd_rmp_asid(e.lo) != g->asid) {
        return psp_refuse(c, PSP_INVALID_PAGE_OWNER,
                          "page 0x%" PRIx64 " has ASID %u, the guest has %u",
                          guest, amd_rmp_asid(e.lo), g->asid);
    }
    if (decrypt) {
        status = psp_check_output_page(c, "the destination", dst);
        if (status) {
            return status;
        }
    }
    psp_read(c, src, decrypt ? g->asid : AMD_SNP_KEY_NONE, page, PSP_PAGE);
    psp_write(c, dst, decrypt ? AMD_SNP_KEY_NONE : g->asid, page, PSP_PAGE);
    return PSP_SUCCESS;
}

static PspStatus cmd_snp_dbg_decrypt(PspCall *c)
{
    return debug(c, true);
}

static PspStatus cmd_snp_dbg_encrypt(PspCall *c)
{
    return debug(c, false);
}

/* ---- Pages ---- */

static PspStatus cmd_snp_page_reclaim(PspCall *c)
{
    uint64_t arg = psp_addr(PSP_BUF(c, SnpCmdPageReclaim)->paddr);
    uint64_t pa = QEMU_ALIGN_DOWN(arg, PSP_PAGE);
    bool want_large = arg & SNP_PAGE_RECLAIM_PAGE_SIZE, large;
    PspPageState state;
    PspStatus status;
    AmdRmpEntry e;

    if (arg & (PSP_PAGE - 1) & ~SNP_PAGE_RECLAIM_PAGE_SIZE) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "0x%" PRIx64 " has reserved bits set", arg);
    }
    if ((want_large && pa % (2 * MiB)) || !amd_rmp_covers(c->h, pa) ||
        (pa >= c->h->rmp_base && pa <= c->h->rmp_end)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no page that can be reclaimed", pa);
    }
    e = psp_rmp_get(c->h, pa, &large);
    if (!(e.lo & AMD_RMP_IMMUTABLE)) {
        return PSP_SUCCESS;
    }
    status = check_page_size(c, pa, large, want_large);
    if (status) {
        return status;
    }
    state = psp_page_state(e);
    if (state == PAGE_CONTEXT || state == PAGE_HV_FIXED) {
        return psp_refuse(c, PSP_INVALID_PAGE_STATE, "page 0x%" PRIx64 " is %s",
                          pa, psp_page_state_name(state));
    }
    /* No flush: whether a page is immutable is nothing that TLBs know */
    e.lo &= ~AMD_RMP_IMMUTABLE;
    psp_rmp_set(c->h, pa, large, e);
    return PSP_SUCCESS;
}

/* 512 pages that differ only in their consecutive gpa become one */
static PspStatus cmd_snp_page_unsmash(PspCall *c)
{
    uint64_t pa = psp_addr(PSP_BUF(c, SnpCmdPageUnsmash)->paddr);
    AmdRmpEntry e;

    if (pa % (2 * MiB) || !psp_is_ram(c->h, pa, 2 * MiB)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no 2 MB of memory", pa);
    }
    if (amd_rmp_is_2m(c->h, pa)) {
        return psp_refuse(c, PSP_INVALID_PAGE_SIZE,
                          "0x%" PRIx64 " is one of 2 MB already", pa);
    }
    e = amd_rmp_get(c->h, pa);
    if ((psp_page_state(e) != PAGE_GUEST_VALID &&
         psp_page_state(e) != PAGE_GUEST_INVALID) ||
        (e.lo & AMD_RMP_VMSA) || (e.lo & AMD_RMP_GPA_MASK) % (2 * MiB)) {
        return psp_refuse(c, PSP_INVALID_PAGE_STATE,
                          "page 0x%" PRIx64 " is %s, expected a guest's with a "
                          "gpa that is a multiple of 2 MB", pa,
                          psp_page_state_name(psp_page_state(e)));
    }
    for (int i = 1; i < 512; i++) {
        AmdRmpEntry o = amd_rmp_get(c->h, pa + i * PSP_PAGE);

        if (o.lo != e.lo + i * PSP_PAGE || o.hi != e.hi) {
            return psp_refuse(c, PSP_INVALID_PAGE_STATE,
                              "page %d of 512 differs from the first", i);
        }
    }
    e.lo |= AMD_RMP_PAGESIZE_2M;
    psp_rmp_set(c->h, pa, true, e);
    c->flush = true;
    return PSP_SUCCESS;
}

static PspStatus cmd_absent(PspCall *c)
{
    return psp_refuse(c, PSP_UNSUPPORTED, "not modelled");
}

#define SNP_ANY         (IN_UNINIT | IN_INIT)

const PspCommand psp_snp_commands[] = {
    { 0x081, "SNP_INIT", 0, IN_UNINIT, true, .handler = cmd_snp_init },
    { 0x082, "SNP_SHUTDOWN", 0, IN_INIT, true, .handler = cmd_snp_shutdown },
    { 0x083, "SNP_PLATFORM_STATUS", sizeof(SnpCmdPlatformStatus), SNP_ANY, true,
      .handler = cmd_snp_platform_status },
    { 0x084, "SNP_DF_FLUSH", 0, IN_INIT, true, .handler = psp_df_flush },
    /* RAPL, ciphertext hiding and TIO are no features of this one */
    { 0x085, "SNP_INIT_EX", sizeof(SnpCmdInitEx), IN_UNINIT, true,
      .handler = cmd_snp_init_ex,
      RESERVED(RSVD_BUT(SnpCmdInitEx, flags,
                        SNP_INIT_RMP | SNP_INIT_LIST_PADDR_EN),
               RSVD(SnpCmdInitEx, rsvd1),
               RSVD_FROM(SnpCmdInitEx, max_snp_asid)) },
    { 0x086, "SNP_SHUTDOWN_EX", sizeof(SnpCmdShutdownEx), IN_INIT, true,
      .handler = cmd_snp_shutdown_ex,
      RESERVED(RSVD_BUT(SnpCmdShutdownEx, flags, SNP_SHUTDOWN_IOMMU)) },
    { 0x090, "SNP_DECOMMISSION", sizeof(SnpCmdGctx), IN_INIT, true,
      .handler = cmd_snp_decommission },
    { 0x091, "SNP_ACTIVATE", sizeof(SnpCmdActivate), IN_INIT, true,
      .handler = cmd_snp_activate },
    { 0x092, "SNP_GUEST_STATUS", sizeof(SnpCmdGuestStatus), IN_INIT, true,
      .handler = cmd_snp_guest_status },
    { 0x093, "SNP_GCTX_CREATE", sizeof(SnpCmdGctx), IN_INIT, true,
      .handler = cmd_snp_gctx_create },
    { 0x094, "SNP_GUEST_REQUEST", sizeof(SnpCmdGuestRequest), IN_INIT, true,
      .handler = psp_snp_guest_request },
    /* Not modelled: of the command buffer, only the length is known */
    { 0x095, "SNP_ACTIVATE_EX", 24, IN_INIT, true, .handler = cmd_absent },
    { 0x0a0, "SNP_LAUNCH_START", sizeof(SnpCmdLaunchStart), IN_INIT, true,
      .handler = cmd_snp_launch_start,
      RESERVED(RSVD_BUT(SnpCmdLaunchStart, flags,
                        SNP_LAUNCH_START_MA_EN | SNP_LAUNCH_START_IMI_EN)) },
    { 0x0a1, "SNP_LAUNCH_UPDATE", sizeof(SnpCmdLaunchUpdate), IN_INIT, true,
      .handler = cmd_snp_launch_update,
      RESERVED(RSVD_BUT(SnpCmdLaunchUpdate, flags, SNP_LAUNCH_UPDATE_FLAGS),
               RSVD(SnpCmdLaunchUpdate, rsvd2),
               RSVD_BUT(SnpCmdLaunchUpdate, vmpl_perms,
                        SNP_LAUNCH_UPDATE_PERMS_KNOWN),
               RSVD(SnpCmdLaunchUpdate, rsvd4)) },
    { 0x0a2, "SNP_LAUNCH_FINISH", sizeof(SnpCmdLaunchFinish), IN_INIT, true,
      .handler = cmd_snp_launch_finish,
      RESERVED(RSVD_BUT(SnpCmdLaunchFinish, flags, SNP_LAUNCH_FINISH_FLAGS),
               RSVD(SnpCmdLaunchFinish, rsvd)) },
    { 0x0b0, "SNP_DBG_DECRYPT", sizeof(SnpCmdDbg), IN_INIT, true,
      .handler = cmd_snp_dbg_decrypt },
    { 0x0b1, "SNP_DBG_ENCRYPT", sizeof(SnpCmdDbg), IN_INIT, true,
      .handler = cmd_snp_dbg_encrypt },
    /* Not modelled: of the command buffer, only the length is known */
    { 0x0b2, "SNP_VERIFY_MITIGATION", 64, SNP_ANY, true,
      .handler = cmd_absent },
    { 0x0c0, "SNP_PAGE_SWAP_OUT", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c1, "SNP_PAGE_SWAP_IN", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c2, "SNP_PAGE_MOVE", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c3, "SNP_PAGE_MD_INIT", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c6, "SNP_PAGE_SET_STATE", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c7, "SNP_PAGE_RECLAIM", sizeof(SnpCmdPageReclaim), IN_INIT, true,
      .handler = cmd_snp_page_reclaim },
    { 0x0c8, "SNP_PAGE_UNSMASH", sizeof(SnpCmdPageUnsmash), IN_INIT, true,
      .handler = cmd_snp_page_unsmash },
    { 0x0c9, "SNP_CONFIG", sizeof(SnpCmdConfig), IN_INIT, true,
      .handler = cmd_snp_config,
      RESERVED(RSVD_BUT(SnpCmdConfig, flags,
                        SNP_CONFIG_MASK_CHIP_ID | SNP_CONFIG_MASK_CHIP_KEY),
               RSVD(SnpCmdConfig, rsvd)) },
    { 0x0ca, "SNP_DOWNLOAD_FIRMWARE_EX", sizeof(SnpCmdDownloadFirmwareEx),
      SNP_ANY, true, .handler = cmd_snp_download_firmware },
    { 0x0cb, "SNP_COMMIT", sizeof(SnpCmdCommit), SNP_ANY, true,
      .handler = cmd_snp_commit },
    { 0x0cd, "SNP_VLEK_LOAD", sizeof(SnpCmdVlekLoad), IN_INIT, true,
      .handler = cmd_snp_vlek_load,
      /* The version and what is reserved behind it */
      RESERVED(RSVD_BUT(SnpCmdVlekLoad, vlek_wrapped_version, 0)) },
    { 0x0ce, "SNP_FEATURE_INFO", sizeof(SnpCmdFeatureInfo), SNP_ANY, true,
      .handler = cmd_snp_feature_info },
    { 0x0cf, "SNP_HV_REPORT_REQ", 0, IN_INIT, true, .handler = cmd_absent },
};

const unsigned psp_n_snp_commands = ARRAY_SIZE(psp_snp_commands);
