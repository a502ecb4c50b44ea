/*
 * AMD Secure Processor: memory, RMP entries and page states
 *
 * How the firmware reads and writes memory, and the checks on pages that
 * several commands have in common.
 *
 * References: SNP ABI, chapter 5 "Page Management" (page states).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "qemu/units.h"

/* ---- Page states ---- */

static const char *const page_state_names[] = {
    [PAGE_HYPERVISOR] = "Hypervisor",
    [PAGE_HV_FIXED] = "HV-Fixed",
    [PAGE_FIRMWARE] = "Firmware",
    [PAGE_CONTEXT] = "Context",
    [PAGE_METADATA] = "Metadata",
    [PAGE_RECLAIM] = "Reclaim",
    [PAGE_PRE_GUEST] = "Pre-Guest",
    [PAGE_PRE_SWAP] = "Pre-Swap",
    [PAGE_GUEST_INVALID] = "Guest-Invalid",
    [PAGE_GUEST_VALID] = "Guest-Valid",
};

const char *psp_page_state_name(PspPageState state)
{
    return page_state_names[state];
}

/* SNP ABI, chapter 5: the table of page states */
PspPageState psp_page_state(AmdRmpEntry e)
{
    bool immutable = e.lo & AMD_RMP_IMMUTABLE;
    bool validated = e.lo & AMD_RMP_VALIDATED;

    if (!(e.lo & AMD_RMP_ASSIGNED)) {
        return immutable ? PAGE_HV_FIXED : PAGE_HYPERVISOR;
    }
    if (!amd_rmp_asid(e.lo)) {
        if (!immutable) {
            return PAGE_RECLAIM;
        }
        if (e.lo & AMD_RMP_VMSA) {
            return PAGE_CONTEXT;
        }
        return validated ? PAGE_METADATA : PAGE_FIRMWARE;
    }
    if (immutable) {
        return validated ? PAGE_PRE_SWAP : PAGE_PRE_GUEST;
    }
    return validated ? PAGE_GUEST_VALID : PAGE_GUEST_INVALID;
}

AmdRmpEntry psp_rmp_get(AmdSnpHost *h, hwaddr pa, bool *large)
{
    hwaddr base = QEMU_ALIGN_DOWN(pa, 2 * MiB);
    AmdRmpEntry e;

    *large = amd_rmp_is_2m(h, pa);
    if (!*large) {
        return amd_rmp_get(h, pa);
    }
    e = amd_rmp_get(h, base);
    e.lo += QEMU_ALIGN_DOWN(pa - base, PSP_PAGE);
    return e;
}

void psp_rmp_set(AmdSnpHost *h, hwaddr pa, bool large, AmdRmpEntry e)
{
    if (!large) {
        amd_rmp_set(h, pa, e);
        return;
    }
    pa = QEMU_ALIGN_DOWN(pa, 2 * MiB);
    for (int i = 0; i < 512; i++) {
        amd_rmp_set(h, pa + i * PSP_PAGE, e);
        e.lo += PSP_PAGE;
    }
}

/* ---- Access ---- */

bool psp_is_ram(AmdSnpHost *h, uint64_t pa, uint64_t len)
{
    uint64_t last = pa + len - 1;

    if (!len || last < pa) {
        return false;
    }
    /* The RMP is no memory to commands */
    if (pa <= h->rmp_end && last >= h->rmp_base) {
        return false;
    }
    /* Outside of both blocks of RAM, that below 4 GB and that above */
    if (last >= h->below_4g_size &&
        (pa < h->above_4g_start ||
         last >= h->above_4g_start + h->above_4g_size)) {
        return false;
    }
    return amd_snp_host_is_ram(h, pa, len);
}

bool psp_read(PspCall *c, uint64_t pa, unsigned key, void *buf, size_t len)
{
    return psp_is_ram(c->h, pa, len) && amd_snp_read(c->h, pa, key, buf, len);
}

bool psp_write(PspCall *c, uint64_t pa, unsigned key, const void *buf,
               size_t len)
{
    if (!psp_is_ram(c->h, pa, len)) {
        return false;
    }
    /* A page under another key reads differently: TLBs have to be flushed */
    for (uint64_t p = QEMU_ALIGN_DOWN(pa, PSP_PAGE); p < pa + len;
         p += PSP_PAGE) {
        c->flush |= amd_snp_key(c->h, p) != key;
    }
    return amd_snp_write(c->h, pa, key, buf, len);
}

bool psp_read_at(PspCall *c, uint64_t le, void *buf, size_t len)
{
    return psp_read(c, psp_addr(le), psp_key(le), buf, len);
}

bool psp_write_at(PspCall *c, uint64_t le, const void *buf, size_t len)
{
    return psp_write(c, psp_addr(le), psp_key(le), buf, len);
}

void psp_write_buf(PspCall *c, unsigned offset, unsigned len)
{
    psp_write(c, c->addr + offset, c->key, c->buf + offset, len);
}

/* ---- Checks ---- */

PspStatus psp_check_output(PspCall *c, const char *what, uint64_t pa,
                           uint64_t len)
{
    /* SEV API, ABI: the address is one of memory */
    if (!psp_is_ram(c->h, pa, len)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "%s at 0x%" PRIx64 ", 0x%" PRIx64 " bytes, is not "
                          "in memory", what, pa, len);
    }
    for (uint64_t p = QEMU_ALIGN_DOWN(pa, PSP_PAGE);
         c->s->snp_init && p < pa + len; p += PSP_PAGE) {
        bool large;
        PspPageState state = psp_page_state(psp_rmp_get(c->h, p, &large));

        /* ABI: page state */
        if (state != PAGE_FIRMWARE) {
            return psp_refuse(c, PSP_INVALID_PAGE_STATE,
                              "%s: page 0x%" PRIx64 " is %s, expected Firmware",
                              what, p, psp_page_state_name(state));
        }
    }
    return PSP_SUCCESS;
}

PspStatus psp_check_output_page(PspCall *c, const char *what, uint64_t pa)
{
    /* ABI: alignment */
    if (pa % PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "%s at 0x%" PRIx64 " is not aligned to a page",
                          what, pa);
    }
    return psp_check_output(c, what, pa, PSP_PAGE);
}

PspStatus psp_check_page_size(PspCall *c, uint64_t pa, bool large,
                              bool want_large)
{
    /* ABI: page size */
    if (large != want_large) {
        return psp_refuse(c, PSP_INVALID_PAGE_SIZE,
                          "page 0x%" PRIx64 " is one of %s, expected %s", pa,
                          large ? "2 MB" : "4 KB", want_large ? "2 MB"
                                                              : "4 KB");
    }
    return PSP_SUCCESS;
}

PspStatus psp_check_page(PspCall *c, uint64_t pa, PspPageState want,
                         bool want_large, AmdRmpEntry *e)
{
    uint64_t size = want_large ? 2 * MiB : PSP_PAGE;
    PspPageState state;
    bool large;

    /* ABI: address */
    if (pa % size || !psp_is_ram(c->h, pa, size)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no page of memory", pa);
    }
    *e = psp_rmp_get(c->h, pa, &large);
    state = psp_page_state(*e);
    /* ABI: page state */
    if (state != want) {
        return psp_refuse(c, PSP_INVALID_PAGE_STATE,
                          "page 0x%" PRIx64 " is %s, expected %s", pa,
                          psp_page_state_name(state),
                          psp_page_state_name(want));
    }
    return psp_check_page_size(c, pa, large, want_large);
}

PspStatus psp_write_status(PspCall *c, uint64_t le, const void *buf,
                           size_t len)
{
    uint64_t pa = psp_addr(le);
    PspStatus status;
    AmdRmpEntry e;
    bool large;

    /* ABI: address, and page state while SNP is initialised */
    if (c->s->snp_init) {
        status = psp_check_output_page(c, "the status page", pa);
    } else {
        status = psp_check_output(c, "the status", pa, len);
    }
    if (status) {
        return status;
    }
    e = psp_rmp_get(c->h, pa, &large);
    /* ABI: page size */
    if (c->s->snp_init && large) {
        return psp_refuse(c, PSP_INVALID_PAGE_SIZE,
                          "the status page is part of a 2 MB page");
    }
    psp_write_at(c, le, buf, len);
    if (c->s->snp_init) {
        e.lo &= ~AMD_RMP_IMMUTABLE;
        amd_rmp_set(c->h, pa, e);
    }
    return PSP_SUCCESS;
}
