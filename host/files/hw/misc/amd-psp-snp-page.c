/*
 * AMD Secure Processor: SNP commands that change the state of pages
 *
 * SNP_PAGE_RECLAIM, SNP_PAGE_UNSMASH.
 *
 * References: SNP ABI, chapter 8, the sections of these commands.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "qemu/units.h"

/*
 * SNP_PAGE_RECLAIM: Firmware becomes Reclaim, Pre-Guest becomes Guest-Invalid,
 * Metadata becomes Reclaim, Pre-Swap becomes Guest-Valid; a page that is not
 * immutable stays as it is.
 */
PspStatus psp_snp_page_reclaim(PspCall *c)
{
    uint64_t arg = psp_addr(PSP_BUF(c, SnpCmdPageReclaim)->paddr);
    uint64_t pa = QEMU_ALIGN_DOWN(arg, PSP_PAGE);
    bool want_large = arg & SNP_PAGE_RECLAIM_PAGE_SIZE, large;
    PspPageState state;
    PspStatus status;
    AmdRmpEntry e;

    /* ABI: reserved bits */
    if (arg & (PSP_PAGE - 1) & ~SNP_PAGE_RECLAIM_PAGE_SIZE) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "0x%" PRIx64 " has reserved bits set", arg);
    }
    /* ABI: address; the RMP itself is none */
    if ((want_large && pa % (2 * MiB)) || !amd_rmp_covers(c->h, pa) ||
        (pa >= c->h->rmp_base && pa <= c->h->rmp_end)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no page that can be reclaimed", pa);
    }
    e = psp_rmp_get(c->h, pa, &large);
    /* ABI: nothing to do */
    if (!(e.lo & AMD_RMP_IMMUTABLE)) {
        return PSP_SUCCESS;
    }
    /* ABI: page size */
    status = psp_check_page_size(c, pa, large, want_large);
    if (status) {
        return status;
    }
    state = psp_page_state(e);
    /* ABI: page state */
    if (state == PAGE_CONTEXT || state == PAGE_HV_FIXED) {
        return psp_refuse(c, PSP_INVALID_PAGE_STATE, "page 0x%" PRIx64 " is %s",
                          pa, psp_page_state_name(state));
    }
    /*
     * No flush: a page that is mutable again allows more than before, and no
     * TLB has what was refused
     */
    e.lo &= ~AMD_RMP_IMMUTABLE;
    psp_rmp_set(c->h, pa, large, e);
    return PSP_SUCCESS;
}

/* SNP_PAGE_UNSMASH: 512 pages with consecutive gpas become one of 2 MB */
PspStatus psp_snp_page_unsmash(PspCall *c)
{
    /* Bit 0 is the page size, of which there is but one (Linux, psp-sev.h) */
    uint64_t pa = psp_addr(PSP_BUF(c, SnpCmdPageUnsmash)->paddr) & ~1ULL;
    AmdRmpEntry e;

    /* ABI: address */
    if (pa % (2 * MiB) || !psp_is_ram(c->h, pa, 2 * MiB)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no 2 MB of memory", pa);
    }
    /* ABI: page size */
    if (amd_rmp_is_2m(c->h, pa)) {
        return psp_refuse(c, PSP_INVALID_PAGE_SIZE,
                          "0x%" PRIx64 " is one of 2 MB already", pa);
    }
    e = amd_rmp_get(c->h, pa);
    /* ABI: page state */
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

        /* ABI: consecutive gpas, and all else the same */
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
