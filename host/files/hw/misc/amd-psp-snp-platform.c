/*
 * AMD Secure Processor: platform commands of SEV-SNP
 *
 * SNP_INIT, SNP_INIT_EX, SNP_SHUTDOWN, SNP_SHUTDOWN_EX, SNP_PLATFORM_STATUS,
 * SNP_FEATURE_INFO, SNP_CONFIG, SNP_COMMIT, SNP_VLEK_LOAD,
 * SNP_DOWNLOAD_FIRMWARE_EX.
 *
 * An image or a VLEK that only AMD could have made is refused as one whose
 * signature is wrong.
 *
 * References: SNP ABI, chapter 8, the sections of these commands.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "qemu/units.h"

#define RANGE_MAX               255
#define IOMMU_PAGES_MAX         1024
/* Pages whose entries are cleared, or made HV-Fixed, in some milliseconds */
#define CLEAR_PIECE             (1024 * 1024)
#define FIX_PIECE               (256 * 1024)

/* ---- Initialisation and shutdown ---- */

/* Make a page a Firmware page */
static void mark_firmware(AmdSnpHost *h, hwaddr pa)
{
    if (amd_rmp_covers(h, pa)) {
        amd_rmp_set(h, pa, (AmdRmpEntry) {
            .lo = AMD_RMP_ASSIGNED | AMD_RMP_IMMUTABLE,
        });
    }
}

/* What SNP_INIT does to the RMP; the ranges as they were when it began */
typedef struct RmpInit {
    uint64_t cleared;           /* pages */
    uint32_t n;
    uint32_t range;             /* the next, and how far it has come */
    uint64_t page;
    SnpRange ranges[RANGE_MAX];
} RmpInit;

/* Read and check the list of ranges that are to be HV-Fixed */
static PspStatus read_ranges(PspCall *c, uint64_t le, RmpInit *r)
{
    uint64_t list = psp_addr(le);
    unsigned key = psp_key(le);
    SnpRangeList hdr;

    /* ABI: address of the list */
    if (list % 8 || !psp_read_at(c, le, &hdr, sizeof(hdr))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "no range list at 0x%" PRIx64, list);
    }
    r->n = le32_to_cpu(hdr.num_elements);
    /* ABI: number of ranges, reserved bits */
    if (r->n > RANGE_MAX || hdr.rsvd) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "range list with %u elements, expected up to %u, and "
                          "0 in the reserved field", r->n, RANGE_MAX);
    }
    for (uint32_t i = 0; i < r->n; i++) {
        SnpRange *range = &r->ranges[i];
        uint64_t base;

        /* ABI: address of the list */
        if (!psp_read(c, list + sizeof(hdr) + i * sizeof(*range),
                      key, range, sizeof(*range))) {
            return psp_refuse(c, PSP_INVALID_ADDRESS,
                              "the range list leaves memory");
        }
        base = psp_addr(range->base);
        /* ABI: a range is of pages; reserved bits */
        if (base % PSP_PAGE || base >> 52 || range->rsvd) {
            return psp_refuse(c, PSP_INVALID_PARAM,
                              "range %u, 0x%" PRIx64 " with %u pages, is "
                              "malformed", i, base,
                              le32_to_cpu(range->page_count));
        }
    }
    return PSP_SUCCESS;
}

/*
 * Clear a piece of the RMP. Its own pages are Firmware pages at once: between
 * two pieces a CPU could write to them.
 */
static void clear_piece(AmdSnpHost *h, RmpInit *r)
{
    uint64_t n = MIN(h->rmp_pages - r->cleared, CLEAR_PIECE);
    hwaddr first = r->cleared * PSP_PAGE, end = first + n * PSP_PAGE;

    amd_rmp_clear(h, r->cleared, n);
    for (hwaddr pa = MAX(first, h->rmp_base); pa < MIN(end, h->rmp_end);
         pa += PSP_PAGE) {
        mark_firmware(h, pa);
    }
    r->cleared += n;
}

/*
 * Make a piece of the ranges HV-Fixed, of them the pages that are Hypervisor
 * pages: the RMP's own pages and the IOMMU's stay Firmware pages
 */
static void fix_piece(AmdSnpHost *h, RmpInit *r)
{
    for (unsigned n = 0; r->range < r->n && n < FIX_PIECE; n++) {
        SnpRange *range = &r->ranges[r->range];
        hwaddr pa = psp_addr(range->base) + r->page * PSP_PAGE;
        AmdRmpEntry e;

        if (r->page == le32_to_cpu(range->page_count) ||
            !amd_rmp_covers(h, pa)) {
            r->range++;
            r->page = 0;
            continue;
        }
        e = amd_rmp_get(h, pa);
        if (psp_page_state(e) == PAGE_HYPERVISOR) {
            e.lo |= AMD_RMP_IMMUTABLE;
            amd_rmp_set(h, pa, e);
        }
        r->page++;
    }
}

/* A piece of the RMP's initialisation; true if it was the last */
static bool init_piece(PspCall *c, RmpInit *r)
{
    AmdSnpHost *h = c->h;

    if (r->cleared < h->rmp_pages) {
        clear_piece(h, r);
        if (r->cleared == h->rmp_pages) {
            g_autofree hwaddr *pages = g_new(hwaddr, IOMMU_PAGES_MAX);
            unsigned n = amd_snp_host_iommu_pages(h, pages, IOMMU_PAGES_MAX);

            for (unsigned i = 0; i < n; i++) {
                mark_firmware(h, pages[i]);
            }
        }
    } else {
        fix_piece(h, r);
    }
    c->flush = true;
    return r->cleared == h->rmp_pages && r->range == r->n;
}

/* The checks of SNP_INIT and SNP_INIT_EX; arguments as of snp_init() */
static PspStatus check_init(PspCall *c, bool rmp, const uint64_t *list)
{
    const char *why;

    /* ABI: the SEV platform's state */
    if (c->s->sev_state != SEV_UNINIT) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE,
                          "SEV is initialised: SNP comes first");
    }
    /* ABI: SYSCFG and VM_HSAVE_PA of every CPU */
    if (!amd_snp_host_cpus_ready(c->h, &why)) {
        return psp_refuse(c, PSP_INVALID_CONFIG, "%s", why);
    }
    /* ABI: the RMP is initialised, now or before */
    if (!rmp && !c->h->rmp_initialized) {
        return psp_refuse(c, PSP_RMP_INIT_REQUIRED,
                          "the RMP was never initialised");
    }
    c->work = g_new0(RmpInit, 1);
    /* ABI: the list of ranges */
    return list ? read_ranges(c, *list, c->work) : PSP_SUCCESS;
}

/*
 * SNP_INIT and SNP_INIT_EX. @rmp: initialise the RMP; @list: address of the
 * list of ranges to be HV-Fixed (little endian), NULL if there is none
 */
static PspStatus snp_init(PspCall *c, bool rmp, const uint64_t *list)
{
    AmdPspState *s = c->s;

    if (!c->work) {
        PspStatus status = check_init(c, rmp, list);

        if (status) {
            return status;
        }
    }
    if (rmp) {
        if (!init_piece(c, c->work)) {
            return PSP_MORE;
        }
        c->h->rmp_initialized = true;
    }
    s->snp_init = true;
    qatomic_set(&c->h->iommu_enforces, true);
    psp_asids_dirty(c);
    return PSP_SUCCESS;
}

/* SNP_INIT */
PspStatus psp_snp_init(PspCall *c)
{
    return snp_init(c, true, NULL);
}

/* SNP_INIT_EX */
PspStatus psp_snp_init_ex(PspCall *c)
{
    const SnpCmdInitEx *cmd = PSP_BUF(c, SnpCmdInitEx);
    uint32_t flags = le32_to_cpu(cmd->flags);
    uint64_t list = cmd->list_paddr;

    /* ABI: a list of ranges only with INIT_RMP */
    if ((flags & SNP_INIT_LIST_PADDR_EN) && !(flags & SNP_INIT_RMP)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "a range list without initialising the RMP");
    }
    return snp_init(c, flags & SNP_INIT_RMP,
                    flags & SNP_INIT_LIST_PADDR_EN ? &list : NULL);
}

/*
 * SNP_SHUTDOWN and SNP_SHUTDOWN_EX. @iommu: the IOMMU checks no more, and the
 * pages that it writes by itself become Reclaim pages (as Linux says of
 * IOMMU_SNP_SHUTDOWN, in drivers/crypto/ccp/sev-dev.c). Without it, devices
 * are checked although SNP is shut down.
 */
static PspStatus snp_shutdown(PspCall *c, bool iommu)
{
    AmdPspState *s = c->s;
    AmdSnpHost *h = c->h;

    /* ABI: the SEV platform's state */
    if (s->sev_state != SEV_UNINIT) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE,
                          "SEV is initialised: SHUTDOWN first");
    }
    /*
     * ABI: no ASID is in use by a guest, and WBINVD and SNP_DF_FLUSH were done
     * since one was used. The first is what a kernel that panics with a guest
     * alive meets (Linux, the series "iommu/amd: Fix host kdump support for
     * SNP"); that series does not name the status, so the second one's is given
     */
    for (int i = 0; i <= AMD_SNP_MAX_ASID; i++) {
        if (s->asid_owner[i]) {
            return psp_refuse(c, PSP_DFFLUSH_REQUIRED,
                              "ASID %d is in use: SNP_DECOMMISSION first", i);
        }
        if (s->asid_dirty[i]) {
            /* Linux tries, and flushes when told to: not a driver's mistake */
            c->query = true;
            return psp_refuse(c, PSP_DFFLUSH_REQUIRED,
                              "ASID %d was used: WBINVD and SNP_DF_FLUSH first",
                              i);
        }
    }
    /* Contexts without an ASID that a kernel left behind */
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
        qatomic_set(&h->iommu_enforces, false);
    }
    s->snp_init = false;
    return PSP_SUCCESS;
}

/* SNP_SHUTDOWN */
PspStatus psp_snp_shutdown(PspCall *c)
{
    return snp_shutdown(c, false);
}

/* SNP_SHUTDOWN_EX */
PspStatus psp_snp_shutdown_ex(PspCall *c)
{
    const SnpCmdShutdownEx *cmd = PSP_BUF(c, SnpCmdShutdownEx);
    PspStatus status = psp_check_length(c, cmd->length);

    if (status) {
        return status;
    }
    return snp_shutdown(c, le32_to_cpu(cmd->flags) & SNP_SHUTDOWN_IOMMU);
}

/* ---- Status and configuration ---- */

/* SNP_PLATFORM_STATUS */
PspStatus psp_snp_platform_status(PspCall *c)
{
    const SnpCmdPlatformStatus *cmd = PSP_BUF(c, SnpCmdPlatformStatus);
    AmdPspState *s = c->s;
    uint32_t flags = (s->mask_chip_id ? SNP_STATUS_MASK_CHIP_ID : 0) |
                     (s->mask_chip_key ? SNP_STATUS_MASK_CHIP_KEY : 0) |
                     (s->feature_info ? SNP_STATUS_FEATURE_INFO : 0);
    SnpPlatformStatus out = {
        .api_major = PSP_API_MAJOR,
        .api_minor = PSP_API_MINOR,
        .state = s->snp_init,
        .is_rmp_initialized =
            (c->h->rmp_initialized ? SNP_STATUS_RMP_INITIALIZED : 0) |
            (psp_alias_check(s) ? SNP_STATUS_ALIAS_CHECK : 0),
        .build_id = cpu_to_le32(s->build),
        .flags = cpu_to_le32(flags),
        .guest_count = cpu_to_le32(g_hash_table_size(s->contexts)),
        .current_tcb_version = cpu_to_le64(PSP_TCB),
        .reported_tcb_version = cpu_to_le64(s->reported_tcb),
    };

    return psp_write_status(c, cmd->status_paddr, &out, sizeof(out));
}

/* SNP_FEATURE_INFO */
PspStatus psp_snp_feature_info(PspCall *c)
{
    const SnpCmdFeatureInfo *cmd = PSP_BUF(c, SnpCmdFeatureInfo);
    uint64_t pa = psp_addr(cmd->feature_info_paddr);
    SnpFeatureInfo out = { 0 };
    PspStatus status;

    /* Model: the device's property feature-info is off, as in older firmware */
    if (!c->s->feature_info) {
        return psp_refuse(c, PSP_INVALID_COMMAND,
                          "the device was made without it");
    }
    /* ABI: length of the command buffer */
    status = psp_check_length(c, cmd->length);
    if (status) {
        return status;
    }
    /* ABI: subfunction. Model: there is only the first, with no feature set */
    if (cmd->ecx_in) {
        return psp_refuse(c, PSP_INVALID_PARAM, "subfunction %u, expected 0",
                          le32_to_cpu(cmd->ecx_in));
    }
    /* ABI: alignment, and within a page */
    if (pa % 8 || pa % PSP_PAGE > PSP_PAGE - sizeof(out)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no multiple of 8 within a page",
                          pa);
    }
    /* ABI: address, page state */
    status = psp_check_output(c, "the features", pa, sizeof(out));
    if (!status) {
        psp_write_at(c, cmd->feature_info_paddr, &out, sizeof(out));
    }
    return status;
}

/* No component of @tcb is newer than in @limit */
static bool tcb_at_most(uint64_t tcb, uint64_t limit)
{
    for (int shift = 0; shift < 64; shift += 8) {
        if (extract64(tcb, shift, 8) > extract64(limit, shift, 8)) {
            return false;
        }
    }
    return true;
}

/* SNP_CONFIG */
PspStatus psp_snp_config(PspCall *c)
{
    const SnpCmdConfig *cmd = PSP_BUF(c, SnpCmdConfig);
    uint64_t tcb = le64_to_cpu(cmd->reported_tcb);
    uint32_t flags = le32_to_cpu(cmd->flags);

    /* ABI: at most the committed TCB is reported */
    if (!tcb_at_most(tcb, PSP_TCB)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "TCB 0x%" PRIx64 " is above the committed one, 0x%"
                          PRIx64, tcb, PSP_TCB);
    }
    /* ABI: 0 stands for the current TCB */
    c->s->reported_tcb = tcb ? tcb : PSP_TCB;
    c->s->mask_chip_id = flags & SNP_CONFIG_MASK_CHIP_ID;
    c->s->mask_chip_key = flags & SNP_CONFIG_MASK_CHIP_KEY;
    return PSP_SUCCESS;
}

/* SNP_COMMIT */
PspStatus psp_snp_commit(PspCall *c)
{
    /* ABI: length. Model: the firmware that runs is always committed */
    return psp_check_length(c, PSP_BUF(c, SnpCmdCommit)->length);
}

/* SNP_VLEK_LOAD */
PspStatus psp_snp_vlek_load(PspCall *c)
{
    const SnpCmdVlekLoad *cmd = PSP_BUF(c, SnpCmdVlekLoad);
    PspStatus status = psp_check_length(c, cmd->length);

    if (status) {
        return status;
    }
    /* ABI: address of the hashstick */
    if (!psp_is_ram(c->h, psp_addr(cmd->vlek_wrapped_address),
                    SNP_VLEK_HASHSTICK_LEN)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS, "no hashstick in memory");
    }
    /* ABI: authenticity. Model: AMD wraps none for an emulated chip */
    return psp_refuse(c, PSP_BAD_MEASUREMENT,
                      "the hashstick was not wrapped for this chip");
}

/* SNP_DOWNLOAD_FIRMWARE_EX */
PspStatus psp_snp_download_firmware(PspCall *c)
{
    const SnpCmdDownloadFirmwareEx *cmd = PSP_BUF(c, SnpCmdDownloadFirmwareEx);

    /* ABI: the image's address */
    if (!psp_is_ram(c->h, psp_addr(cmd->fw_paddr), le32_to_cpu(cmd->fw_len))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS, "no image in memory");
    }
    /* ABI: signature. Model: all are wrong, there is nobody to sign one */
    return psp_refuse(c, PSP_BAD_SIGNATURE, "no image is signed for this part");
}
