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
#include "cpu.h"
#include "exec/cputlb.h"
#include "exec/page-protection.h"
#include "tcg/helper-tcg.h"
#include "sev_helper.h"
#include "snp_tlb.h"

/* One CPU's record of one page */
typedef struct SnpSeen {
    /* Any CPU may read this field; the others are the own CPU's */
    uint32_t epoch;
    /* MMU indexes plus 1 of the linear addresses below; 0: unused */
    uint8_t linear_idx[2];
    /* In the TLB of nested translations, at gpa */
    bool nested;
    /* In the TLB of physical addresses */
    bool phys;
    /* At more addresses than this record can hold */
    bool anywhere;
    /* Code may have been executed at the linear addresses */
    bool code;
    uint64_t linear[2];
    uint64_t gpa;
} SnpSeen;

/* Own CPU: its record of the page at @pa, or NULL if the RMP has no entry */
static SnpSeen *seen_page(CPUX86State *env, hwaddr pa)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;

    if (!amd_rmp_covers(h, pa)) {
        return NULL;
    }
    if (unlikely(!env->snp_seen)) {
        env->snp_epoch = 1;
        qatomic_store_release(&env->snp_seen,
                              g_new0(SnpSeen, h->rmp_pages));
    }
    return &env->snp_seen[pa >> 12];
}

/* ---- What the TLB gets ---- */

void snp_tlb_note_page(CPUX86State *env, hwaddr pa)
{
    SnpSeen *s = seen_page(env, pa);

    if (s && s->epoch != env->snp_epoch) {
        memset(s->linear_idx, 0, sizeof(s->linear_idx));
        s->nested = s->phys = s->anywhere = s->code = false;
        qatomic_set(&s->epoch, env->snp_epoch);
        /* Pairs with the barrier in snp_tlb_forget_page() */
        smp_mb();
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

    /*
     * No check noted the page in this epoch: it is noise, which changes for
     * nobody, or the VMSA that this CPU runs, which sev_vmsa.c drops.
     */
    if (!s || s->epoch != env->snp_epoch) {
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
            if (!s->linear_idx[i]) {
                s->linear_idx[i] = mmu_idx + 1;
                s->linear[i] = addr;
                return;
            }
            if (s->linear_idx[i] == mmu_idx + 1 && s->linear[i] == addr) {
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
    for (int i = 0; i < ARRAY_SIZE(s->linear); i++) {
        if (s->linear_idx[i]) {
            tlb_flush_entry_by_mmuidx(cs, s->linear[i],
                                      1 << (s->linear_idx[i] - 1), s->code);
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
        SnpSeen *seen = qatomic_load_acquire(&other->snp_seen);
        /*
         * Read after snp_seen: if the other CPU begins an epoch after this, the
         * walks of that epoch see the changed entry.
         */
        uint32_t epoch = qatomic_load_acquire(&other->snp_epoch);

        if (other != env && seen &&
            qatomic_read(&seen[pa >> 12].epoch) == epoch) {
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
