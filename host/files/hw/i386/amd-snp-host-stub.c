/*
 * Stubs for a QEMU that is built without the emulated AMD SEV-SNP host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "hw/i386/amd-snp-host.h"

AmdSnpHost *amd_snp_host_of_machine(void)
{
    return NULL;
}

/* Callers of all others have got a host before, and there is none */

void amd_snp_host_set_memory(AmdSnpHost *h, MemoryRegion *ram,
                             hwaddr below_4g_size, hwaddr above_4g_start,
                             hwaddr above_4g_size)
{
    g_assert_not_reached();
}

void amd_snp_host_error(AmdSnpHost *h, AmdSnpError kind, const char *fmt, ...)
{
    g_assert_not_reached();
}

bool amd_snp_key_rewrite(AmdSnpHost *h, hwaddr pa, unsigned key)
{
    g_assert_not_reached();
}

bool amd_snp_read(AmdSnpHost *h, hwaddr pa, unsigned key, void *buf,
                  size_t len)
{
    g_assert_not_reached();
}

hwaddr amd_snp_host_ciphertext_page(AmdSnpHost *h)
{
    g_assert_not_reached();
}

bool amd_snp_host_in_use(AmdSnpHost *h, hwaddr pa, hwaddr size)
{
    g_assert_not_reached();
}

bool amd_snp_host_in_use_2m(AmdSnpHost *h, hwaddr pa)
{
    g_assert_not_reached();
}

bool amd_snp_host_dma(AmdSnpHost *h, hwaddr *pa, bool is_write)
{
    g_assert_not_reached();
}

unsigned amd_snp_host_max_es_asid(AmdSnpHost *h)
{
    g_assert_not_reached();
}

bool amd_rmp_region_written(AmdSnpHost *h, hwaddr pa)
{
    g_assert_not_reached();
}
