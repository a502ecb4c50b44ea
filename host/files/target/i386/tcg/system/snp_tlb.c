/*
 * AMD SEV-SNP on an emulated host: which pages the TLB of each CPU may have
 *
 * A CPU does not complete an instruction that changes an RMP entry before all
 * TLBs have dropped translations that were checked against the old entry.
 * Stopping all CPUs for each change would be most of what an emulated host
 * does, as the hypervisor changes each page of a guest when the guest first
 * touches it. So each CPU records for each page whether its TLB may have it,
 * and only CPUs whose TLB may have the page are stopped.
 *
 * A record is valid in one epoch of its CPU. Flushing everything ends the
 * epoch, and with it all records of that CPU.
 *
 * The records of all CPUs together have at most RECORDS_SIZE bytes. If memory
 * has more pages than a CPU has records, pages share records: more is flushed
 * then, and never less.
 *
 * Two CPUs may meet here: one fills its TLB while the other changes the entry.
 * The first writes its record and then reads the RMP entry; the second changes
 * the entry and then reads the records. At least one of them sees the other's
 * write, also in the middle of a walk.
 *
 * Entries for memory that is mapped by 2 MB depend on the RMP entries of the
 * whole region, and the records do not cover that. Whoever changes what holds
 * for a region calls snp_tlb_flush_all(): RMPUPDATE that gives a region its
 * first assigned page, RMPUPDATE, PVALIDATE and RMPADJUST of 2 MB, and PSMASH.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "cpu.h"
#include "exec/cputlb.h"
#include "exec/page-protection.h"
#include "hw/boards.h"
#include "tcg/helper-tcg.h"
#include "sev_helper.h"
#include "snp_tlb.h"

/* Memory for the records of all CPUs: 8 GB of exact records with 4 CPUs */
#define RECORDS_SIZE (512 * MiB)

/* One CPU's record of the page that it noted first, of those that share it */
typedef struct SnpSeen {
    /*
     * Any CPU may read this field; the others are the own CPU's. It does not
     * wrap: 64 bits of flushes take longer than any machine runs.
     */
    uint64_t epoch;
    uint32_t page;
    /* In the TLB of nested translations, at gpa */
    bool nested;
    /* In the TLB of physical addresses */
    bool phys;
    /* At more addresses than this record can hold, or several pages */
    bool anywhere;
    /* Code may have been executed at the linear addresses */
    bool code;
    /* In the low bits the MMU index plus 1; 0: unused */
    uint64_t linear[2];
    uint64_t gpa;
} SnpSeen;

QEMU_BUILD_BUG_ON(sizeof(SnpSeen) != 40);

/* One CPU's records, their number a power of two */
typedef struct SnpTlb {
    struct rcu_head rcu;
    uint64_t mask;
    SnpSeen seen[];
} SnpTlb;

static SnpTlb *new_records(AmdSnpHost *h)
{
    uint64_t n = RECORDS_SIZE / sizeof(SnpSeen) / current_machine->smp.max_cpus;
    SnpTlb *t = NULL;

    n = MIN(pow2floor(n), pow2ceil(h->rmp_pages));
    if (h->tlb_records) {
        n = MIN(n, pow2ceil(h->tlb_records));
    }
    /* Any number of records will do, from 1 on */
    while (n > 1 && !(t = g_try_malloc0(sizeof(*t) + n * sizeof(*t->seen)))) {
        n /= 2;
    }
    if (!t) {
        n = 1;
        t = g_malloc0(sizeof(*t) + sizeof(*t->seen));
    }
    t->mask = n - 1;
    return t;
}

static SnpSeen *record_of(SnpTlb *t, hwaddr pa)
{
    return &t->seen[(pa >> 12) & t->mask];
}

/* Own CPU: its record of the page at @pa, or NULL if the RMP has no entry */
static SnpSeen *seen_page(CPUX86State *env, hwaddr pa)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;

    if (!amd_rmp_covers(h, pa)) {
        return NULL;
    }
    if (unlikely(!env->snp_tlb)) {
        env->snp_epoch = 1;
        qatomic_store_release(&env->snp_tlb, new_records(h));
    }
    return record_of(env->snp_tlb, pa);
}

void snp_tlb_free(CPUX86State *env)
{
    SnpTlb *t = env->snp_tlb;

    if (t) {
        qatomic_set(&env->snp_tlb, NULL);
        /* Another CPU may be looking for a page in it */
        g_free_rcu(t, rcu);
    }
}

/* ---- What the TLB gets ---- */

void snp_tlb_note_page(CPUX86State *env, hwaddr pa)
{
    SnpSeen *s = seen_page(env, pa);

    if (!s) {
        return;
    }
    if (s->epoch != env->snp_epoch) {
        s->page = pa >> 12;
        memset(s->linear, 0, sizeof(s->linear));
        s->nested = s->phys = s->anywhere = s->code = false;
        qatomic_set(&s->epoch, env->snp_epoch);
        /* Pairs with the barrier in snp_tlb_forget_page() */
        smp_mb();
    } else if (s->page != pa >> 12) {
        s->anywhere = true;
    }
}

void snp_tlb_note_elsewhere(CPUX86State *env, hwaddr pa)
{
    SnpSeen *s = seen_page(env, pa);

    if (s) {
        s->anywhere = true;
    }
}

void snp_tlb_filled(CPUX86State *env, hwaddr pa, vaddr addr, int prot,
                    int mmu_idx)
{
    SnpSeen *s = seen_page(env, pa);
    uint64_t linear = addr | (mmu_idx + 1);

    /*
     * No check noted the page in this epoch: it is noise, which changes for
     * nobody, or the VMSA that this CPU runs, which sev_vmsa.c drops. Or there
     * is no more to be known.
     */
    if (!s || s->epoch != env->snp_epoch || s->page != pa >> 12 ||
        s->anywhere) {
        return;
    }
    /* The instruction drops this entry itself: snp_tlb_forget_insn() */
    if (env->sev_insn && !env->sev_walk) {
        return;
    }
    if (mmu_idx == MMU_PHYS_IDX) {
        s->phys = true;
        s->anywhere |= addr != (pa & TARGET_PAGE_MASK);
    } else if (mmu_idx == MMU_NESTED_IDX) {
        s->anywhere |= s->nested && s->gpa != addr;
        s->nested = true;
        s->gpa = addr;
    } else {
        s->code |= prot & PAGE_EXEC;
        for (int i = 0; i < ARRAY_SIZE(s->linear); i++) {
            if (!s->linear[i]) {
                s->linear[i] = linear;
            }
            if (s->linear[i] == linear) {
                return;
            }
        }
        s->anywhere = true;
    }
}

/* ---- Flushes ---- */

void snp_tlb_forget_insn(CPUX86State *env, vaddr addr)
{
    tlb_flush_entry_by_mmuidx(env_cpu(env), addr, MMU_GUEST_LINEAR_IDXMAP,
                              false);
    tlb_flush_entry_by_mmuidx(env_cpu(env), env->sev_gpa, 1 << MMU_NESTED_IDX,
                              false);
}

/* Own CPU, outside a walk: everything, and a new epoch begins */
static void flush_own(CPUX86State *env)
{
    tlb_flush(env_cpu(env));
    qatomic_set(&env->snp_epoch, env->snp_epoch + 1);
}

static void flush_own_work(CPUState *cs, run_on_cpu_data data)
{
    flush_own(cpu_env(cs));
}

static void no_work(CPUState *cs, run_on_cpu_data data)
{
}

/*
 * This CPU executes its next instruction when all others have stopped, and so
 * have done the flush_own_work() that was queued for them.
 */
static void wait_for_others(CPUX86State *env)
{
    amd_snp_host_count(env_archcpu(env)->amd_snp, AMD_SNP_STAT_FLUSHES);
    async_safe_run_on_cpu(env_cpu(env), no_work, RUN_ON_CPU_NULL);
}

void snp_tlb_flush_all(CPUX86State *env)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        if (cs != env_cpu(env)) {
            async_run_on_cpu(cs, flush_own_work, RUN_ON_CPU_NULL);
        }
    }
    flush_own(env);
    wait_for_others(env);
}

/* The page at @pa leaves this CPU's TLB */
static void forget_own(CPUX86State *env, hwaddr pa)
{
    CPUState *cs = env_cpu(env);
    SnpSeen *s = seen_page(env, pa);

    if (!s || s->epoch != env->snp_epoch) {
        return;
    }
    if (s->anywhere) {
        flush_own(env);
        return;
    }
    /* It is another page's, with which this one would share it */
    if (s->page != pa >> 12) {
        return;
    }
    for (int i = 0; i < ARRAY_SIZE(s->linear); i++) {
        if (s->linear[i]) {
            unsigned mmu_idx = (s->linear[i] & ~TARGET_PAGE_MASK) - 1;

            tlb_flush_entry_by_mmuidx(cs, s->linear[i], 1 << mmu_idx, s->code);
        }
    }
    if (s->nested) {
        tlb_flush_entry_by_mmuidx(cs, s->gpa, 1 << MMU_NESTED_IDX, false);
    }
    if (s->phys) {
        tlb_flush_entry_by_mmuidx(cs, pa, 1 << MMU_PHYS_IDX, false);
    }
    qatomic_set(&s->epoch, 0);
}

void snp_tlb_forget_page(CPUX86State *env, hwaddr pa)
{
    bool others = false;
    CPUState *cs;

    /* Pairs with the barrier in snp_tlb_note_page() */
    smp_mb();
    CPU_FOREACH(cs) {
        CPUX86State *other = cpu_env(cs);
        SnpTlb *t = qatomic_load_acquire(&other->snp_tlb);
        /*
         * Read after snp_tlb: if the other CPU begins an epoch after this, the
         * walks of that epoch see the changed entry.
         */
        uint64_t epoch = qatomic_load_acquire(&other->snp_epoch);

        if (other != env && t &&
            qatomic_read(&record_of(t, pa)->epoch) == epoch) {
            async_run_on_cpu(cs, flush_own_work, RUN_ON_CPU_NULL);
            others = true;
        }
    }
    forget_own(env, pa);
    if (others) {
        wait_for_others(env);
    }
}

static void flush_work(CPUState *cs, run_on_cpu_data data)
{
    tlb_flush(cs);
}

void snp_tlb_flush_soon(CPUX86State *env)
{
    CPUState *cs;

    /*
     * No new epoch: this CPU may be in a walk, whose page is recorded and not
     * yet in the TLB. That walk may be for the second page of an access.
     */
    tlb_flush_in_fill(env_cpu(env));
    CPU_FOREACH(cs) {
        if (cs != env_cpu(env)) {
            async_run_on_cpu(cs, flush_work, RUN_ON_CPU_NULL);
        }
    }
}
