/*
 * Emulated AMD SEV-SNP host platform
 *
 * See include/hw/i386/amd-snp-host.h for the model and the references.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "block/aio.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/cputlb.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "hw/i386/amd-snp-host.h"
#include "hw/i386/x86-iommu.h"
#include "hw/qdev-properties.h"
#include "hw/resettable.h"
#include "migration/blocker.h"
#include "system/qtest.h"
#include "system/reset.h"
#include "system/tcg.h"
#include "trace.h"
#include "amd_iommu.h"

/* Physical address of the page of noise: between TPM and IOMMU */
#define CIPHERTEXT_ADDR     0xfed70000

/*
 * The RMP goes here, or to the middle of smaller memory; rmp-offset, which is a
 * multiple of RMP_ALIGN, comes on top. Not at 512 MB: Linux maps memory from
 * the top down, in steps that are multiples of this, and removes the mapping of
 * what the RMP leaves of 2 MB there, with a warning.
 */
#define RMP_BASE_MAX        (256 * MiB)
#define RMP_RAM_MIN         (256 * MiB)
#define RMP_ALIGN           (1 * MiB)

/* Pages that are looked at, and that become noise, in a few milliseconds */
#define KEY_PIECE_PAGES     (1024 * 1024)
#define KEY_PIECE_REWRITTEN 1024

/* At most this many errors of each kind have a line in the log */
#define ERRORS_LOGGED       1000

static const char *const error_names[AMD_SNP_ERR__MAX] = {
    [AMD_SNP_ERR_HOST_ACCESS] = "host-access",
    [AMD_SNP_ERR_HOST_INSN] = "host-insn",
    [AMD_SNP_ERR_VMRUN] = "vmrun",
    [AMD_SNP_ERR_DMA] = "dma",
    [AMD_SNP_ERR_IOMMU] = "iommu",
    [AMD_SNP_ERR_FIRMWARE] = "firmware",
    [AMD_SNP_ERR_GUEST_INSN] = "guest-insn",
    [AMD_SNP_ERR_GUEST_ACCESS] = "guest-access",
};

static const char *const stat_names[AMD_SNP_STAT__MAX] = {
    [AMD_SNP_STAT_RMPUPDATE] = "rmpupdate",
    [AMD_SNP_STAT_PSMASH] = "psmash",
    [AMD_SNP_STAT_PVALIDATE] = "pvalidate",
    [AMD_SNP_STAT_RMPADJUST] = "rmpadjust",
    [AMD_SNP_STAT_GUEST_INSN_FAILED] = "guest-insn-failed",
    [AMD_SNP_STAT_VMRUN_SEV] = "vmrun-sev",
    [AMD_SNP_STAT_NPF_RMP] = "npf-rmp",
    [AMD_SNP_STAT_VC_NOT_VALID] = "vc-not-validated",
    [AMD_SNP_STAT_COMMANDS] = "commands",
    [AMD_SNP_STAT_FLUSHES] = "flushes",
};

AmdSnpHost *amd_snp_host_of_machine(void)
{
    Object *obj = object_resolve_path_component(qdev_get_machine(),
                                                AMD_SNP_HOST_CHILD);

    return obj ? AMD_SNP_HOST(obj) : NULL;
}

void amd_snp_host_set_memory(AmdSnpHost *h, MemoryRegion *ram,
                             hwaddr below_4g_size, hwaddr above_4g_start,
                             hwaddr above_4g_size)
{
    h->ram = ram;
    h->below_4g_size = below_4g_size;
    h->above_4g_start = above_4g_start;
    h->above_4g_size = above_4g_size;
}

void amd_snp_host_error(AmdSnpHost *h, AmdSnpError kind, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    uint64_t n;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    n = qatomic_fetch_inc(&h->errors[kind]);
    qatomic_inc(&h->errors_total);
    trace_amd_snp_error(error_names[kind], text);
    /* A guest that tries again and again does not fill the disk */
    if (n < ERRORS_LOGGED) {
        qemu_log_mask(LOG_GUEST_ERROR, "amd-snp: %s: %s\n", error_names[kind],
                      text);
    } else if (n == ERRORS_LOGGED) {
        qemu_log_mask(LOG_GUEST_ERROR, "amd-snp: %s: further ones are counted "
                      "and not logged\n", error_names[kind]);
    }
}

void amd_rmp_clear(AmdSnpHost *h, uint64_t page, uint64_t n)
{
    seqlock_write_begin(&h->rmp_seq);
    memset(h->rmp + page * 2, 0, n * AMD_RMP_ENTRY_SIZE);
    seqlock_write_end(&h->rmp_seq);
    bitmap_clear(h->assigned_pages, page, n);
    memset(h->assigned + (page >> 9), 0, (n >> 9) * sizeof(*h->assigned));
}

bool amd_rmp_region_written(AmdSnpHost *h, hwaddr pa)
{
    const uint64_t *p = h->rmp + (pa >> 21) * 512 * 2;
    uint64_t any = 0;

    for (int i = 0; i < 512; i++) {
        any |= p[i * 2];
    }
    return le64_to_cpu(any) & AMD_RMP_ASSIGNED;
}

/* ---- Key tags ---- */

/*
 * Noise (splitmix64) that depends on the address only: it tells nothing of the
 * content, and is the same in each run.
 */
static void fill_noise(hwaddr pa, uint64_t *buf, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t z = (pa / 8 + i + 1) * 0x9e3779b97f4a7c15ULL;

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        buf[i] = z ^ (z >> 31);
    }
}

bool amd_snp_host_is_ram(AmdSnpHost *h, hwaddr pa, hwaddr len)
{
    RCU_READ_LOCK_GUARD();

    if (pa + len < pa) {
        return false;
    }
    while (len) {
        hwaddr xlat, l = len;
        MemoryRegion *mr = address_space_translate(&address_space_memory, pa,
                                                   &xlat, &l, true,
                                                   MEMTXATTRS_UNSPECIFIED);

        if (!memory_access_is_direct(mr, true, MEMTXATTRS_UNSPECIFIED) || !l) {
            return false;
        }
        pa += l;
        len -= l;
    }
    return true;
}

static void write_noise(hwaddr pa)
{
    uint64_t buf[512];

    fill_noise(pa, buf, ARRAY_SIZE(buf));
    address_space_write(&address_space_memory, pa, MEMTXATTRS_UNSPECIFIED,
                        buf, sizeof(buf));
}

void amd_snp_key_set(AmdSnpHost *h, hwaddr pa, hwaddr size, unsigned key)
{
    for (hwaddr o = 0; o < size; o += 4 * KiB) {
        if (amd_rmp_covers(h, pa + o)) {
            qatomic_set(&h->key[(pa + o) >> 12], key);
        }
    }
}

bool amd_snp_key_rewrite(AmdSnpHost *h, hwaddr pa, unsigned key)
{
    pa &= ~MAKE_64BIT_MASK(0, 12);
    if (!amd_rmp_covers(h, pa) || h->key[pa >> 12] == key ||
        !amd_snp_host_is_ram(h, pa, 4 * KiB)) {
        return false;
    }
    write_noise(pa);
    qatomic_set(&h->key[pa >> 12], key);
    return true;
}

bool amd_snp_key_destroy(AmdSnpHost *h, const unsigned long *asids,
                         uint64_t *page)
{
    uint64_t end = MIN(*page + KEY_PIECE_PAGES, h->rmp_pages);
    unsigned rewritten = 0;

    while (*page < end && rewritten < KEY_PIECE_REWRITTEN) {
        unsigned key = h->key[*page];

        if (key != AMD_SNP_KEY_NONE && key <= AMD_SNP_MAX_ASID &&
            test_bit(key, asids)) {
            write_noise(*page << 12);
            qatomic_set(&h->key[*page], AMD_SNP_KEY_NONE);
            rewritten++;
        }
        ++*page;
    }
    return *page == h->rmp_pages;
}

bool amd_snp_read(AmdSnpHost *h, hwaddr pa, unsigned key, void *buf,
                  size_t len)
{
    uint8_t *p = buf;

    if (!amd_snp_host_is_ram(h, pa, len)) {
        return false;
    }
    while (len) {
        hwaddr offset = pa & 0xfff;
        size_t l = MIN(len, 4 * KiB - offset);

        if (amd_snp_key(h, pa) == key) {
            address_space_read(&address_space_memory, pa,
                               MEMTXATTRS_UNSPECIFIED, p, l);
        } else {
            uint64_t noise[512];

            fill_noise(pa - offset, noise, ARRAY_SIZE(noise));
            memcpy(p, (uint8_t *)noise + offset, l);
        }
        pa += l;
        p += l;
        len -= l;
    }
    return true;
}

bool amd_snp_write(AmdSnpHost *h, hwaddr pa, unsigned key, const void *buf,
                   size_t len)
{
    const uint8_t *p = buf;

    if (!amd_snp_host_is_ram(h, pa, len)) {
        return false;
    }
    while (len) {
        size_t l = MIN(len, 4 * KiB - (pa & 0xfff));

        if (l == 4 * KiB) {
            amd_snp_key_set(h, pa, l, key);
        } else {
            amd_snp_key_rewrite(h, pa, key);
        }
        address_space_write(&address_space_memory, pa, MEMTXATTRS_UNSPECIFIED,
                            p, l);
        pa += l;
        p += l;
        len -= l;
    }
    return true;
}

hwaddr amd_snp_host_ciphertext_page(AmdSnpHost *h)
{
    return CIPHERTEXT_ADDR;
}

/* ---- TLBs ---- */

typedef struct FlushJob {
    int cpus;
    void (*done)(void *opaque);
    void *opaque;
} FlushJob;

static void flush_done_bh(void *opaque)
{
    FlushJob *job = opaque;

    job->done(job->opaque);
    g_free(job);
}

static void flush_cpu(CPUState *cs, run_on_cpu_data data)
{
    FlushJob *job = data.host_ptr;

    tlb_flush(cs);
    if (qatomic_fetch_dec(&job->cpus) > 1) {
        return;
    }
    if (job->done) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), flush_done_bh, job);
    } else {
        g_free(job);
    }
}

/*
 * True with -icount: one thread runs all CPUs, and the timers between two
 * instructions.
 */
static bool on_thread_of_all_cpus(void)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        if (!qemu_cpu_is_self(cs) || cs->running) {
            return false;
        }
    }
    return true;
}

void amd_snp_host_flush_tlbs(AmdSnpHost *h, void (*done)(void *opaque),
                             void *opaque)
{
    CPUState *cs;
    FlushJob *job;

    assert(!done || bql_locked());
    amd_snp_host_count(h, AMD_SNP_STAT_FLUSHES);
    if (!tcg_enabled()) {
        /* qtest: no CPU runs */
        if (done) {
            done(opaque);
        }
        return;
    }
    RCU_READ_LOCK_GUARD();
    if (on_thread_of_all_cpus()) {
        /*
         * Now, not from the main loop: the time until it runs is not the
         * guest's, so that the instructions counted would differ in each run.
         */
        CPU_FOREACH(cs) {
            tlb_flush(cs);
        }
        if (done) {
            done(opaque);
        }
        return;
    }
    job = g_new0(FlushJob, 1);
    job->done = done;
    job->opaque = opaque;
    CPU_FOREACH(cs) {
        job->cpus++;
    }
    CPU_FOREACH(cs) {
        async_run_on_cpu(cs, flush_cpu, RUN_ON_CPU_HOST_PTR(job));
    }
}

/* ---- CPUs ---- */

bool amd_snp_host_cpus_ready(AmdSnpHost *h, const char **why)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        CPUX86State *env = cpu_env(cs);
        uint64_t syscfg = qatomic_read(&env->syscfg);

        if (!(syscfg & AMD_SYSCFG_MEM_ENCRYPT)) {
            *why = "SYSCFG.MemEncryptionModEn is not set on every CPU";
        } else if (!(syscfg & AMD_SYSCFG_SNP_EN)) {
            *why = "SYSCFG.SecureNestedPagingEn is not set on every CPU";
        } else if (!(syscfg & AMD_SYSCFG_VMPL_EN)) {
            *why = "SYSCFG.VMPLEn is not set on every CPU";
        } else if (!(syscfg & AMD_SYSCFG_MFDM)) {
            *why = "SYSCFG.MtrrFixDramModEn is not set on every CPU";
        } else if (env->vm_hsave) {
            *why = "VM_HSAVE_PA is not 0 on every CPU";
        } else {
            continue;
        }
        return false;
    }
    return true;
}

void amd_snp_host_cpuid(AmdSnpHost *h, uint32_t leaf, uint32_t subleaf,
                        uint32_t regs[4])
{
    cpu_x86_cpuid(cpu_env(first_cpu), leaf, subleaf, &regs[0], &regs[1],
                  &regs[2], &regs[3]);
}

void amd_snp_host_want_wbinvd(AmdSnpHost *h)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        qatomic_set(&cpu_env(cs)->wbinvd_done, false);
    }
}

bool amd_snp_host_wbinvd_done(AmdSnpHost *h)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        if (!qatomic_read(&cpu_env(cs)->wbinvd_done)) {
            return false;
        }
    }
    return true;
}

/*
 * Under qtest no CPU executes WBINVD, so the test says that all have done so.
 * With any other accelerator the CPUs execute it, and the property is refused.
 */
static bool amd_snp_host_get_wbinvd(Object *obj, Error **errp)
{
    return amd_snp_host_wbinvd_done(AMD_SNP_HOST(obj));
}

static void amd_snp_host_set_wbinvd(Object *obj, bool value, Error **errp)
{
    CPUState *cs;

    if (!qtest_enabled()) {
        error_setg(errp, "x-wbinvd-done can be set with -accel qtest only");
        return;
    }
    CPU_FOREACH(cs) {
        qatomic_set(&cpu_env(cs)->wbinvd_done, value);
    }
}

bool amd_snp_host_in_use(AmdSnpHost *h, hwaddr pa, hwaddr size)
{
    CPUState *cs;

    RCU_READ_LOCK_GUARD();
    CPU_FOREACH(cs) {
        CPUX86State *env = cpu_env(cs);

        for (int i = 0; i < ARRAY_SIZE(env->snp_in_use); i++) {
            hwaddr used = qatomic_read(&env->snp_in_use[i]);

            if (used && used - 1 >= pa && used - 1 < pa + size) {
                return true;
            }
        }
    }
    return false;
}

bool amd_snp_host_in_use_2m(AmdSnpHost *h, hwaddr pa)
{
    return h->erratum_2m == ON_OFF_AUTO_ON &&
           amd_snp_host_in_use(h, QEMU_ALIGN_DOWN(pa, 2 * MiB), 4 * KiB);
}

unsigned amd_snp_host_max_es_asid(AmdSnpHost *h)
{
    return h->es_any_asid ? AMD_SNP_MAX_ASID : AMD_SNP_MIN_SEV_ASID - 1;
}

/* ---- IOMMU ---- */

unsigned amd_snp_host_iommu_pages(AmdSnpHost *h, hwaddr *pages, unsigned n)
{
    /* MMIO offsets of event log, PPR log and completion store base */
    static const uint16_t regs[] = { 0x10, 0x38, 0x20 };
    X86IOMMUState *iommu = x86_iommu_get_default();
    unsigned found = 0;
    AMDVIState *s;

    if (!iommu || !object_dynamic_cast(OBJECT(iommu), TYPE_AMD_IOMMU_DEVICE)) {
        return 0;
    }
    s = AMD_IOMMU_DEVICE(iommu);
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        uint64_t reg = ldq_le_p(&s->mmior[regs[i]]);
        hwaddr base = reg & MAKE_64BIT_MASK(12, 40) & ~AMD_SNP_CBIT;
        /* Logs: 16-byte entries, their number a power of two */
        hwaddr size = regs[i] == 0x20 ? 4 * KiB
                                      : 16ULL << extract64(reg, 56, 4);

        for (hwaddr o = 0; base && o < size && found < n; o += 4 * KiB) {
            pages[found++] = base + o;
        }
    }
    return found;
}

bool amd_snp_host_dma(AmdSnpHost *h, hwaddr *pa, bool is_write)
{
    unsigned key = amd_snp_host_key(*pa);
    AmdRmpEntry e;
    bool changed;

    *pa &= ~AMD_SNP_CBIT;
    if (!amd_rmp_covers(h, *pa)) {
        return true;
    }
    if (!is_write) {
        if (amd_snp_key(h, *pa) != key) {
            *pa = CIPHERTEXT_ADDR | (*pa & 0xfff);
        }
        return true;
    }
    e = amd_rmp_get(h, *pa);
    if (qatomic_read(&h->iommu_enforces) && (e.lo & AMD_RMP_ASSIGNED)) {
        amd_snp_host_error(h, AMD_SNP_ERR_DMA, "device write to 0x%" HWADDR_PRIx
                           ", whose RMP entry is assigned (0x%" PRIx64 ")",
                           *pa, e.lo);
        return false;
    }
    if (amd_snp_key(h, *pa) != key) {
        WITH_QEMU_LOCK_GUARD(&h->lock) {
            changed = amd_snp_key_rewrite(h, *pa, key);
        }
        if (changed) {
            amd_snp_host_flush_tlbs(h, NULL, NULL);
        }
    }
    return true;
}

/* ---- The object ---- */

/*
 * How many pages of the 2 MB from @page on are assigned, to guests or not. The
 * RMP's own pages are left out, as they are the firmware's until the next reset
 * in any case.
 */
static unsigned count_assigned(AmdSnpHost *h, uint64_t page, bool of_guests)
{
    const uint64_t *p = h->rmp + page * 2;
    unsigned n = 0;

    /* So of most memory, and several times as fast as entry by entry */
    if (buffer_is_zero(p, 512 * AMD_RMP_ENTRY_SIZE)) {
        return 0;
    }
    for (int i = 0; i < 512; i++) {
        uint64_t lo = le64_to_cpu(p[i * 2]);
        hwaddr pa = (page + i) << 12;

        if ((lo & AMD_RMP_ASSIGNED) && !!amd_rmp_asid(lo) == of_guests &&
            (pa < h->rmp_base || pa > h->rmp_end)) {
            n++;
        }
    }
    return n;
}

/*
 * Counts the pages that are assigned now, in the RMP itself: a counter kept
 * beside it could not show what a run has left behind.
 */
static void amd_snp_host_get_rmp(Object *obj, Visitor *v, const char *name,
                                 void *opaque, Error **errp)
{
    AmdSnpHost *h = AMD_SNP_HOST(obj);
    bool of_guests = opaque;
    uint64_t n = 0;

    WITH_QEMU_LOCK_GUARD(&h->lock) {
        for (uint64_t page = 0; page < h->rmp_pages; page += 512) {
            n += count_assigned(h, page, of_guests);
        }
    }
    visit_type_uint64(v, name, &n, errp);
}

static void amd_snp_host_reset_hold(Object *obj, ResetType type)
{
    AmdSnpHost *h = AMD_SNP_HOST(obj);

    QEMU_LOCK_GUARD(&h->lock);
    h->rmp_initialized = false;
    qatomic_set(&h->iommu_enforces, false);
    amd_rmp_clear(h, 0, h->rmp_pages);
    memset(h->key, 0, h->rmp_pages * sizeof(*h->key));
}

/*
 * "Early SNP hardware" has the erratum (Linux, 75253db41a46): taken for Zen 3,
 * family 19h, models 00h to 0Fh, the first with SNP.
 */
static bool cpu_has_erratum_2m(void)
{
    uint32_t version = first_cpu ? cpu_env(first_cpu)->cpuid_version : 0;
    unsigned family = extract32(version, 8, 4) + extract32(version, 20, 8);

    return family == 0x19 && extract32(version, 16, 4) == 0;
}

static void amd_snp_host_realize(DeviceState *dev, Error **errp)
{
    AmdSnpHost *h = AMD_SNP_HOST(dev);
    hwaddr top = h->above_4g_size ? h->above_4g_start + h->above_4g_size
                                  : h->below_4g_size;
    Error *blocker = NULL;
    uint64_t *noise;
    hwaddr size;

    if (!tcg_enabled() && !qtest_enabled()) {
        error_setg(errp, "amd-snp-host=on is emulated by TCG only: use "
                   "-accel tcg");
        return;
    }
    if (!h->ram) {
        error_setg(errp, TYPE_AMD_SNP_HOST " belongs to a machine: use "
                   "-machine q35,amd-snp-host=on");
        return;
    }
    if (h->below_4g_size < RMP_RAM_MIN) {
        error_setg(errp, "amd-snp-host=on needs %d MB of memory or more, for "
                   "the RMP: found %" PRIu64 " MB, use -m",
                   (int)(RMP_RAM_MIN / MiB),
                   (uint64_t)(h->below_4g_size / MiB));
        return;
    }
    if (h->rmp_offset % RMP_ALIGN) {
        error_setg(errp, TYPE_AMD_SNP_HOST ".rmp-offset: expected a multiple of"
                   " %d MB, found 0x%" PRIx64, (int)(RMP_ALIGN / MiB),
                   h->rmp_offset);
        return;
    }
    if (h->erratum_2m == ON_OFF_AUTO_AUTO) {
        h->erratum_2m = cpu_has_erratum_2m() ? ON_OFF_AUTO_ON
                                             : ON_OFF_AUTO_OFF;
    }
    h->rmp_pages = ROUND_UP(top, 2 * MiB) >> 12;
    /* A multiple of 2 MB, so that offset 1 MB makes both ends unaligned */
    size = ROUND_UP(h->rmp_pages * AMD_RMP_ENTRY_SIZE + AMD_RMP_BOOKKEEPING,
                    2 * MiB);
    h->rmp_base = QEMU_ALIGN_DOWN(MIN(RMP_BASE_MAX, h->below_4g_size / 2),
                                  2 * MiB);
    if (h->rmp_offset > h->below_4g_size - h->rmp_base) {
        error_setg(errp, TYPE_AMD_SNP_HOST ".rmp-offset: expected at most 0x%"
                   PRIx64 ", found 0x%" PRIx64, h->below_4g_size - h->rmp_base,
                   h->rmp_offset);
        return;
    }
    h->rmp_base += h->rmp_offset;
    h->rmp_end = h->rmp_base + size - 1;
    if (h->rmp_end >= h->below_4g_size - 64 * MiB) {
        error_setg(errp, "amd-snp-host=on: the RMP for %" PRIu64 " MB of memory"
                   " does not fit below 4 GB", (uint64_t)(top / MiB));
        return;
    }
    error_setg(&blocker, TYPE_AMD_SNP_HOST " has no migration support");
    if (migrate_add_blocker(&blocker, errp) < 0) {
        return;
    }

    h->rmp = (uint64_t *)((char *)memory_region_get_ram_ptr(h->ram) +
                          h->rmp_base + AMD_RMP_BOOKKEEPING);
    h->assigned_pages = bitmap_new(h->rmp_pages);
    h->assigned = g_new0(uint16_t, h->rmp_pages >> 9);
    h->key = g_new0(uint16_t, h->rmp_pages);

    memory_region_init_ram(&h->ciphertext, OBJECT(h), "amd-snp-ciphertext",
                           4 * KiB, &error_abort);
    noise = memory_region_get_ram_ptr(&h->ciphertext);
    fill_noise(CIPHERTEXT_ADDR, noise, 512);
    memory_region_set_readonly(&h->ciphertext, true);
    memory_region_add_subregion_overlap(get_system_memory(), CIPHERTEXT_ADDR,
                                        &h->ciphertext, 1);
    qemu_register_resettable(OBJECT(h));
}

static void amd_snp_host_init(Object *obj)
{
    AmdSnpHost *h = AMD_SNP_HOST(obj);

    qemu_mutex_init(&h->lock);
    seqlock_init(&h->rmp_seq);
    object_property_add_uint64_ptr(obj, "rmp-base", &h->rmp_base,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "rmp-end", &h->rmp_end,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "guest-errors", &h->errors_total,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "x-tlb-records", &h->tlb_records,
                                   OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint64_ptr(obj, "x-vmrun-delay-cpu",
                                   &h->vmrun_delay_cpu,
                                   OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint64_ptr(obj, "x-vmrun-delay-us", &h->vmrun_delay_us,
                                   OBJ_PROP_FLAG_READWRITE);
    object_property_add_bool(obj, "x-wbinvd-done", amd_snp_host_get_wbinvd,
                             amd_snp_host_set_wbinvd);
    for (int i = 0; i < AMD_SNP_ERR__MAX; i++) {
        g_autofree char *name = g_strdup_printf("errors-%s", error_names[i]);

        object_property_add_uint64_ptr(obj, name, &h->errors[i],
                                       OBJ_PROP_FLAG_READ);
    }
    for (int i = 0; i < AMD_SNP_STAT__MAX; i++) {
        g_autofree char *name = g_strdup_printf("stat-%s", stat_names[i]);

        object_property_add_uint64_ptr(obj, name, &h->stats[i],
                                       OBJ_PROP_FLAG_READ);
    }
    object_property_add(obj, "stat-rmp-assigned", "uint64",
                        amd_snp_host_get_rmp, NULL, NULL, (void *)true);
    object_property_add(obj, "stat-rmp-firmware", "uint64",
                        amd_snp_host_get_rmp, NULL, NULL, (void *)false);
}

static const Property amd_snp_host_properties[] = {
    DEFINE_PROP_BOOL("es-always-intercepts", AmdSnpHost, es_always_intercepts,
                     false),
    DEFINE_PROP_BOOL("es-vmsave-exits", AmdSnpHost, es_vmsave_exits, true),
    DEFINE_PROP_BOOL("trap-clts-lmsw", AmdSnpHost, trap_clts_lmsw, true),
    DEFINE_PROP_BOOL("vmsa-checks-xss", AmdSnpHost, vmsa_checks_xss, true),
    DEFINE_PROP_BOOL("vmsa-in-use-busy", AmdSnpHost, vmsa_in_use_busy, false),
    DEFINE_PROP_BOOL("es-any-asid", AmdSnpHost, es_any_asid, false),
    /* As on most machines, neither start nor end is a multiple of 2 MB */
    DEFINE_PROP_SIZE("rmp-offset", AmdSnpHost, rmp_offset, 1 * MiB),
    DEFINE_PROP_ON_OFF_AUTO("erratum-2m", AmdSnpHost, erratum_2m,
                            ON_OFF_AUTO_AUTO),
};

static void amd_snp_host_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    ResettableClass *rc = RESETTABLE_CLASS(oc);

    device_class_set_props(dc, amd_snp_host_properties);
    dc->realize = amd_snp_host_realize;
    dc->user_creatable = false;
    dc->desc = "AMD SEV-SNP host platform: RMP, key tags, error counters";
    rc->phases.hold = amd_snp_host_reset_hold;
}

static const TypeInfo amd_snp_host_info = {
    .name = TYPE_AMD_SNP_HOST,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(AmdSnpHost),
    .instance_init = amd_snp_host_init,
    .class_init = amd_snp_host_class_init,
};

static void amd_snp_host_register_types(void)
{
    type_register_static(&amd_snp_host_info);
}

type_init(amd_snp_host_register_types)
