/*
 * AMD SEV-SNP: the reverse map table, its instructions and its checks
 *
 * APM (24593) volume 2, 15.36; volume 3 for RMPUPDATE, PSMASH, RMPREAD,
 * PVALIDATE, RMPADJUST, RMPQUERY.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/units.h"
#include "cpu.h"
#include "exec/cpu_ldst.h"
#include "exec/cputlb.h"
#include "exec/helper-proto.h"
#include "exec/page-protection.h"
#include "tcg/helper-tcg.h"
#include "sev_helper.h"

/* What the instructions leave in RAX */
enum {
    SUCCESS = 0,
    FAIL_INPUT = 1,
    FAIL_PERMISSION = 2,
    FAIL_INUSE = 3,
    FAIL_OVERLAP = 4,
    FAIL_SIZEMISMATCH = 6,
    FAIL_BADADDR = 7,
};

/* ---- What TLBs may have ---- */

/*
 * A change of an RMP entry is complete when no TLB has what was there before.
 * To stop all CPUs for it would be most of what an emulated host does, as the
 * hypervisor changes each page of a guest when it first touches it. So each CPU
 * keeps for each page whether its TLB may have it: not if it was last seen in
 * an epoch that is over, as an epoch ends with a flush of everything.
 *
 * Who fills a TLB says so before it looks at the RMP entry; who changes an
 * entry looks for those who have said so after the change. One of the two sees
 * the other, also in the middle of a walk.
 *
 * Entries for memory that is mapped by 2 MB depend on the whole region. They
 * are not known by page: a region that gets its first assigned page, RMPUPDATE
 * and PVALIDATE of 2 MB and PSMASH have everything flushed.
 */
typedef struct SnpSeen {
    /* Any CPU may read this one, the others are the own CPU's */
    uint32_t epoch;
    /* Where it is in the TLB: MMU indexes plus 1 with their addresses, ... */
    uint8_t linear_idx[2];
    /* ... and these; or it may be anywhere */
    bool nested;
    bool phys;
    bool anywhere;
    /* What is linear may be executed */
    bool code;
    uint64_t linear[2];
    uint64_t gpa;
} SnpSeen;

/* Own CPU: the page at @pa, or NULL where there is no RMP entry */
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

/* Own CPU: the entry of the page is about to be looked at, to fill the TLB */
static void say_seen(CPUX86State *env, hwaddr pa)
{
    SnpSeen *s = seen_page(env, pa);

    if (s && s->epoch != env->snp_epoch) {
        memset(s->linear_idx, 0, sizeof(s->linear_idx));
        s->nested = s->phys = s->anywhere = s->code = false;
        qatomic_set(&s->epoch, env->snp_epoch);
        /* Pairs with that in forget_page() */
        smp_mb();
    }
}

/* Own CPU: a TLB entry that leads elsewhere depends on the page */
static void say_anywhere(CPUX86State *env, hwaddr pa)
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

    /* Not checked: noise, or the own VMSA; removed by itself: sev_insn */
    if (!s || s->epoch != env->snp_epoch ||
        (env->sev_insn != SNP_INSN_NONE && !env->sev_walk)) {
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

void snp_tlb_forget_insn(CPUX86State *env, vaddr addr)
{
    tlb_flush_entry_by_mmuidx(env_cpu(env), addr, MMU_GUEST_LINEAR_IDXMAP,
                              false);
    tlb_flush_entry_by_mmuidx(env_cpu(env), env->sev_gpa, 1 << MMU_NESTED_IDX,
                              false);
}

/* Own CPU; not in a walk */
static void flush_own(CPUX86State *env)
{
    tlb_flush(env_cpu(env));
    qatomic_set(&env->snp_epoch, env->snp_epoch + 1);
}

static void flush_work(CPUState *cs, run_on_cpu_data data)
{
    flush_own(cpu_env(cs));
}

static void no_work(CPUState *cs, run_on_cpu_data data)
{
}

/*
 * CPUs that have got flush_work() go on after it, and this one with its next
 * instruction when all have stopped what they were at.
 */
static void wait_for_others(CPUX86State *env)
{
    amd_snp_host_count(env_archcpu(env)->amd_snp, AMD_SNP_STAT_FLUSHES);
    async_safe_run_on_cpu(env_cpu(env), no_work, RUN_ON_CPU_NULL);
}

/* The TLBs of all CPUs are flushed before the next instruction of this one */
static void flush_all(CPUX86State *env)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        if (cs != env_cpu(env)) {
            async_run_on_cpu(cs, flush_work, RUN_ON_CPU_NULL);
        }
    }
    flush_own(env);
    wait_for_others(env);
}

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

/*
 * The RMP entry of the 4 KB at @pa has changed, or its key: no TLB has what it
 * was before the next instruction of this CPU.
 */
static void forget_page(CPUX86State *env, hwaddr pa)
{
    bool others = false;
    CPUState *cs;

    /* Pairs with that in say_seen() */
    smp_mb();
    CPU_FOREACH(cs) {
        CPUX86State *other = cpu_env(cs);
        SnpSeen *seen = qatomic_load_acquire(&other->snp_seen);
        /* In this order: an epoch that begins now sees the change */
        uint32_t epoch = qatomic_load_acquire(&other->snp_epoch);

        if (other != env && seen &&
            qatomic_read(&seen[pa >> 12].epoch) == epoch) {
            async_run_on_cpu(cs, flush_work, RUN_ON_CPU_NULL);
            others = true;
        }
    }
    forget_own(env, pa);
    if (others) {
        wait_for_others(env);
    }
}

/* ---- Checks on translations ---- */

static void flush_other(CPUState *cs, run_on_cpu_data data)
{
    tlb_flush(cs);
}

void snp_flush_soon(CPUX86State *env)
{
    CPUState *cs;

    tlb_flush(env_cpu(env));
    CPU_FOREACH(cs) {
        if (cs != env_cpu(env)) {
            async_run_on_cpu(cs, flush_other, RUN_ON_CPU_NULL);
        }
    }
}

/*
 * The page is accessed through @key. Reading what is under another key gives
 * noise; writing destroys it, and the page is under the new key from then on.
 */
static void apply_key(CPUX86State *env, unsigned key, SnpAccess *a)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    bool changed;

    if (likely(amd_snp_key(h, a->paddr) == key)) {
        return;
    }
    if (a->type != MMU_DATA_STORE || env->sev_walk) {
        /*
         * A walk asks for a table that can be written, and mostly does not
         * write it. If it does, that is lost: the noise is read-only memory.
         */
        say_anywhere(env, a->paddr);
        a->paddr = amd_snp_host_ciphertext_page(h) | (a->paddr & 0xfff);
        if (!env->sev_walk) {
            a->prot &= ~PAGE_WRITE;
        }
        return;
    }
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        changed = amd_snp_key_rewrite(h, a->paddr, key);
    }
    /*
     * Translations of the page to noise are stale. Nothing may wait here; a
     * CPU that reads noise for a little longer has read it before the write.
     */
    if (changed) {
        snp_flush_soon(env);
    }
}

/* An assigned page in what the mapping covers, as the RMP has it */
static bool touches_assigned(AmdSnpHost *h, hwaddr pa, hwaddr page_size)
{
    if (page_size >= 2 * MiB) {
        return amd_rmp_region_assigned(h, pa);
    }
    return amd_rmp_get(h, pa).lo & AMD_RMP_ASSIGNED;
}

/*
 * Whoever has no right to assigned pages cannot write here: false if that is
 * what is about to happen. A TLB entry made by a read is to ask again.
 */
static bool check_unassigned(AmdSnpHost *h, SnpAccess *a)
{
    if ((a->prot & PAGE_WRITE) &&
        touches_assigned(h, a->paddr, a->page_size)) {
        if (a->type == MMU_DATA_STORE) {
            return false;
        }
        a->prot &= ~PAGE_WRITE;
    }
    return true;
}

/* The CPU's own access to the VMSA that it runs */
static bool is_own_vmsa(CPUX86State *env, hwaddr pa)
{
    return env->snp_in_use[SNP_IN_USE_VMSA] == (pa & ~0xfffULL) + 1;
}

bool snp_check_host(CPUX86State *env, SnpAccess *a)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;

    if (is_own_vmsa(env, a->paddr)) {
        return true;
    }
    say_seen(env, a->paddr);
    if (snp_host_enabled(env) && !check_unassigned(h, a)) {
        return false;
    }
    apply_key(env, AMD_SNP_KEY_NONE, a);
    return true;
}

void snp_host_fault(CPUX86State *env, vaddr addr, uint32_t error_code)
{
    amd_snp_host_error(env_archcpu(env)->amd_snp, AMD_SNP_ERR_HOST_ACCESS,
                       "CPU %d: RMP fault at 0x%" VADDR_PRIx ", error code "
                       "0x%x%s", env_cpu(env)->cpu_index, addr, error_code,
                       env->hflags & HF_GUEST_MASK ? ", in a guest" : "");
}

void snp_guest_fault(CPUX86State *env, hwaddr gpa, uint32_t error_code)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;

    if (env->sev_npf_info >> NPF_VC_SHIFT) {
        amd_snp_host_count(h, AMD_SNP_STAT_VC_NOT_VALID);
    } else if (env->sev_npf_info & NPF_VMPL) {
        amd_snp_host_error(h, AMD_SNP_ERR_GUEST_ACCESS, "ASID %u, VMPL%u: "
                           "access to gpa 0x%" HWADDR_PRIx " without the "
                           "permission, error code 0x%x", env->sev_asid,
                           env->sev_vmpl, gpa, error_code);
    } else if (env->sev_npf_info & NPF_RMP) {
        amd_snp_host_count(h, AMD_SNP_STAT_NPF_RMP);
    }
}

/* PAGE_* that the VMPL has */
static int vmpl_prot(AmdRmpEntry e, unsigned vmpl, bool user)
{
    unsigned perm = vmpl ? extract64(e.hi, vmpl * 8, 8) : AMD_RMP_PERM_ALL;

    return (perm & AMD_RMP_PERM_READ ? PAGE_READ : 0) |
           (perm & AMD_RMP_PERM_WRITE ? PAGE_WRITE : 0) |
           (perm & (user ? AMD_RMP_PERM_EXEC_USER
                         : AMD_RMP_PERM_EXEC_SUPER) ? PAGE_EXEC : 0);
}

bool snp_check_guest(CPUX86State *env, hwaddr gpa, bool priv, SnpAccess *a)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    /* Tables are looked at by instructions as by any other access */
    unsigned insn = env->sev_walk ? SNP_INSN_NONE : env->sev_insn;
    AmdRmpEntry e;
    int prot;

    say_seen(env, a->paddr);
    if (!snp_active(env)) {
        /*
         * A guest with SEV or SEV-ES has no private pages in the RMP: on a host
         * with SNP it writes as the host would, and leaves as the host would.
         */
        if (snp_host_enabled(env) && !check_unassigned(h, a)) {
            goto rmp_fault;
        }
        if (priv) {
            apply_key(env, env->sev_asid, a);
        } else {
            apply_key(env, AMD_SNP_KEY_NONE, a);
        }
        return true;
    }

    if (!priv) {
        if (!check_unassigned(h, a)) {
            goto rmp_fault;
        }
        if (insn == SNP_INSN_NONE) {
            apply_key(env, AMD_SNP_KEY_NONE, a);
        }
        return true;
    }

    e = amd_rmp_get(h, a->paddr);
    if (!(e.lo & AMD_RMP_ASSIGNED) || amd_rmp_asid(e.lo) != env->sev_asid ||
        (e.lo & AMD_RMP_GPA_MASK) != (gpa & AMD_RMP_GPA_MASK)) {
        goto rmp_fault;
    }
    /* Both say 2 MB or both say 4 KB */
    if (amd_rmp_is_2m(h, a->paddr) != (a->page_size >= 2 * MiB)) {
        goto rmp_fault;
    }
    if (!(e.lo & AMD_RMP_VALIDATED) && insn != SNP_INSN_PVALIDATE) {
        env->sev_npf_info |= (uint64_t)SVM_VC_NOT_VALIDATED << NPF_VC_SHIFT;
        return false;
    }
    prot = vmpl_prot(e, env->sev_vmpl, a->user);
    if (!(prot & (1 << a->type)) && insn != SNP_INSN_PVALIDATE) {
        env->sev_npf_info |= NPF_VMPL;
        goto rmp_fault;
    }
    a->prot &= prot | (1 << a->type);
    if (insn == SNP_INSN_NONE) {
        apply_key(env, env->sev_asid, a);
    }
    return true;

 rmp_fault:
    env->sev_npf_info |= NPF_RMP;
    return false;
}

/* ---- RMPUPDATE, PSMASH, RMPREAD: the hypervisor's instructions ---- */

/* The new state of a page, as RMPUPDATE reads it from memory (16 bytes) */
typedef struct RmpState {
    uint64_t gpa;
    uint8_t assigned;
    uint8_t pagesize;
    uint8_t immutable;
    uint32_t asid;
} RmpState;

/* Lock held */
static int do_rmpupdate(AmdSnpHost *h, hwaddr pa, const RmpState *st)
{
    bool large = st->pagesize & 1, assigned = st->assigned & 1;
    hwaddr size = large ? 2 * MiB : 4 * KiB;

    if ((pa & (size - 1)) || (st->gpa & (size - 1)) ||
        st->gpa & ~AMD_RMP_GPA_MASK || st->asid > AMD_SNP_MAX_ASID ||
        !amd_rmp_covers(h, pa) || !amd_rmp_covers(h, pa + size - 1)) {
        return FAIL_INPUT;
    }
    for (hwaddr o = 0; o < size; o += 4 * KiB) {
        if (amd_rmp_get(h, pa + o).lo & AMD_RMP_IMMUTABLE) {
            return FAIL_PERMISSION;
        }
    }
    if (amd_snp_host_in_use(h, pa, size)) {
        return FAIL_INUSE;
    }
    if (large ? !amd_rmp_is_2m(h, pa) && amd_rmp_region_assigned(h, pa)
              : amd_rmp_is_2m(h, pa)) {
        return FAIL_OVERLAP;
    }
    for (hwaddr o = 0; o < size; o += 4 * KiB) {
        AmdRmpEntry e = { 0, 0 };

        if (assigned) {
            e.lo = AMD_RMP_ASSIGNED | ((st->gpa + o) & AMD_RMP_GPA_MASK) |
                   (uint64_t)st->asid << AMD_RMP_ASID_SHIFT;
            /* VMPL0 may do everything, the others nothing */
            e.hi = st->asid ? AMD_RMP_PERM_ALL : 0;
            if (large && !o) {
                e.lo |= AMD_RMP_PAGESIZE_2M;
            }
        }
        if (st->immutable & 1) {
            e.lo |= AMD_RMP_IMMUTABLE;
            if (!assigned) {
                e.lo |= (uint64_t)st->asid << AMD_RMP_ASID_SHIFT;
            }
        }
        amd_rmp_set(h, pa + o, e);
    }
    return SUCCESS;
}

/* Lock held */
static int do_psmash(AmdSnpHost *h, hwaddr pa)
{
    AmdRmpEntry head;

    if ((pa & (2 * MiB - 1)) || !amd_rmp_covers(h, pa)) {
        return FAIL_INPUT;
    }
    head = amd_rmp_get(h, pa);
    if (!(head.lo & AMD_RMP_ASSIGNED) || !(head.lo & AMD_RMP_PAGESIZE_2M) ||
        (head.lo & AMD_RMP_IMMUTABLE)) {
        return FAIL_BADADDR;
    }
    if (amd_snp_host_in_use(h, pa, 2 * MiB)) {
        return FAIL_INUSE;
    }
    head.lo &= ~AMD_RMP_PAGESIZE_2M;
    for (hwaddr o = 0; o < 2 * MiB; o += 4 * KiB) {
        AmdRmpEntry e = head;

        e.lo += o;
        amd_rmp_set(h, pa + o, e);
    }
    return SUCCESS;
}

/* Flags follow the result; CF is given */
static void set_result(CPUX86State *env, int result, bool cf)
{
    env->regs[R_EAX] = result;
    CC_SRC = (cf ? CC_C : 0) | (result ? 0 : CC_Z) |
             (ctpop8(result) & 1 ? 0 : CC_P);
    CC_OP = CC_OP_EFLAGS;
}

static AmdSnpHost *host_insn_start(CPUX86State *env, uintptr_t ra)
{
    if (!snp_host_enabled(env)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    if (env->hflags & HF_CPL_MASK) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    return env_archcpu(env)->amd_snp;
}

void helper_rmpupdate(CPUX86State *env)
{
    uintptr_t ra = GETPC();
    AmdSnpHost *h = host_insn_start(env, ra);
    hwaddr pa = env->regs[R_EAX];
    uint64_t w;
    RmpState st;
    bool region;
    int result;

    if (env->hflags & HF_GUEST_MASK) {
        amd_snp_host_error(h, AMD_SNP_ERR_HOST_INSN, "RMPUPDATE in a guest");
        set_result(env, FAIL_PERMISSION, false);
        return;
    }
    st.gpa = cpu_ldq_data_ra(env, env->regs[R_ECX], ra);
    w = cpu_ldq_data_ra(env, env->regs[R_ECX] + 8, ra);
    st.assigned = extract64(w, 0, 8);
    st.pagesize = extract64(w, 8, 8);
    st.immutable = extract64(w, 16, 8);
    st.asid = extract64(w, 32, 32);

    WITH_QEMU_LOCK_GUARD(&h->lock) {
        region = amd_rmp_region_assigned(h, pa);
        result = do_rmpupdate(h, pa, &st);
        /* The first assigned page of a region: for whoever maps 2 MB */
        region = !region && amd_rmp_region_assigned(h, pa);
    }
    amd_snp_host_count(h, AMD_SNP_STAT_RMPUPDATE);
    if (result) {
        amd_snp_host_error(h, AMD_SNP_ERR_HOST_INSN, "RMPUPDATE of 0x%"
                           HWADDR_PRIx " (gpa 0x%" PRIx64 ", assigned %d, "
                           "pagesize %d, immutable %d, asid %u) returns %d",
                           pa, st.gpa, st.assigned, st.pagesize, st.immutable,
                           st.asid, result);
    } else if (region || (st.pagesize & 1)) {
        flush_all(env);
    } else {
        forget_page(env, pa);
    }
    set_result(env, result, false);
}

void helper_psmash(CPUX86State *env)
{
    AmdSnpHost *h = host_insn_start(env, GETPC());
    hwaddr pa = env->regs[R_EAX];
    int result = FAIL_PERMISSION;

    if (!(env->hflags & HF_GUEST_MASK)) {
        WITH_QEMU_LOCK_GUARD(&h->lock) {
            result = do_psmash(h, pa);
        }
    }
    amd_snp_host_count(h, AMD_SNP_STAT_PSMASH);
    if (result) {
        amd_snp_host_error(h, AMD_SNP_ERR_HOST_INSN, "PSMASH of 0x%"
                           HWADDR_PRIx " returns %d", pa, result);
    } else {
        flush_all(env);
    }
    set_result(env, result, false);
}

void helper_rmpread(CPUX86State *env)
{
    uintptr_t ra = GETPC();
    AmdSnpHost *h;
    AmdRmpEntry e;
    hwaddr pa = env->regs[R_EAX];
    target_ulong to = env->regs[R_ECX];
    bool large, region;

    if (!(env->features[FEAT_8000_001F_EAX] & CPUID_8000_001F_EAX_RMPREAD)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    h = host_insn_start(env, ra);
    if (env->hflags & HF_GUEST_MASK) {
        set_result(env, FAIL_PERMISSION, false);
        return;
    }
    if ((pa & 0xfff) || !amd_rmp_covers(h, pa)) {
        set_result(env, FAIL_INPUT, false);
        return;
    }
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        e = amd_rmp_get(h, pa);
        large = amd_rmp_is_2m(h, pa);
        region = !(pa & (2 * MiB - 1)) && amd_rmp_region_assigned(h, pa);
    }
    cpu_stq_data_ra(env, to, e.lo & AMD_RMP_GPA_MASK, ra);
    cpu_stq_data_ra(env, to + 8,
                    (e.lo & AMD_RMP_ASSIGNED ? 1 : 0) |
                    (large ? 1 << 8 : 0) | (region ? 1 << 9 : 0) |
                    (e.lo & AMD_RMP_IMMUTABLE ? 1 << 16 : 0) |
                    (uint64_t)amd_rmp_asid(e.lo) << 32, ra);
    set_result(env, SUCCESS, false);
}

/* ---- PVALIDATE, RMPADJUST, RMPQUERY: the guest's instructions ---- */

static AmdSnpHost *guest_insn_start(CPUX86State *env, uintptr_t ra)
{
    if (!(env->hflags & HF_GUEST_MASK) || !snp_active(env)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    if (env->hflags & HF_CPL_MASK) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    return env_archcpu(env)->amd_snp;
}

/* The page that an instruction is about */
typedef struct InsnPage {
    hwaddr pa;
    /* With C-bit, if the guest's mapping has it */
    uint64_t gpa;
} InsnPage;

/*
 * The page at guest virtual address @va as the guest's own tables and the
 * nested tables have it. Raises what an access would raise, but @insn says
 * what of the RMP entry does not matter.
 */
static InsnPage translate(CPUX86State *env, target_ulong va, unsigned insn,
                          uintptr_t ra)
{
    CPUState *cs = env_cpu(env);
    CPUTLBEntryFull *full;
    InsnPage page;
    void *host;

    /* What is in the TLB was let in by other rules, and so is this */
    tlb_flush_entry_by_mmuidx(cs, va, MMU_GUEST_LINEAR_IDXMAP, false);
    env->sev_insn = insn;
    probe_access_full(env, va, 0, MMU_DATA_LOAD, cpu_mmu_index(cs, false),
                      false, &host, &full, ra);
    page.pa = full->phys_addr & TARGET_PAGE_MASK;
    page.gpa = env->sev_gpa;
    env->sev_insn = SNP_INSN_NONE;
    snp_tlb_forget_insn(env, va);
    return page;
}

typedef enum PageCheck {
    PAGE_OK,
    PAGE_NPF,           /* not this guest's, immutable, or a running VMSA */
    PAGE_NPF_SIZEM,     /* 4 KB of a 2 MB entry: for the hypervisor (PSMASH) */
    PAGE_SIZEMISMATCH,  /* 2 MB of 4 KB entries: for the guest */
} PageCheck;

/*
 * The RMP entry is that of a private page of this guest and of the operand's
 * size. Lock held, until the entry is changed: it may no longer be what the
 * walk has seen.
 */
static PageCheck check_page(CPUX86State *env, AmdSnpHost *h, InsnPage *page,
                            bool large)
{
    AmdRmpEntry e = amd_rmp_get(h, page->pa);

    if (!(page->gpa & env->sev_cbit) || !(e.lo & AMD_RMP_ASSIGNED) ||
        (e.lo & AMD_RMP_IMMUTABLE) || amd_rmp_asid(e.lo) != env->sev_asid ||
        (e.lo & AMD_RMP_GPA_MASK) !=
        (page->gpa & ~env->sev_cbit & AMD_RMP_GPA_MASK) ||
        amd_snp_host_in_use(h, page->pa, 4 * KiB)) {
        return PAGE_NPF;
    }
    if (amd_rmp_is_2m(h, page->pa)) {
        if (!large) {
            return PAGE_NPF_SIZEM;
        }
        page->pa &= ~MAKE_64BIT_MASK(0, 21);
    } else if (large) {
        return PAGE_SIZEMISMATCH;
    }
    return PAGE_OK;
}

/* #NPF from an instruction that found the RMP in its way */
static G_NORETURN void raise_npf(CPUX86State *env, const InsnPage *page,
                                 PageCheck why, uintptr_t ra)
{
    amd_snp_host_count(env_archcpu(env)->amd_snp, AMD_SNP_STAT_NPF_RMP);
    x86_stq_phys(env_cpu(env), env->vm_vmcb +
                 offsetof(struct vmcb, control.exit_info_2),
                 page->gpa & ~env->sev_cbit);
    cpu_vmexit(env, SVM_EXIT_NPF, SVM_NPTEXIT_GPA | NPF_RMP |
               (page->gpa & env->sev_cbit ? NPF_ENC : 0) |
               (why == PAGE_NPF_SIZEM ? NPF_SIZEM : 0) |
               PG_ERROR_P_MASK | PG_ERROR_U_MASK, ra);
}

static void guest_refused(CPUX86State *env, const char *insn, target_ulong va,
                          int result)
{
    if (result != FAIL_INPUT) {
        /* How a guest finds out the size of a page, and its own VMPL */
        amd_snp_host_count(env_archcpu(env)->amd_snp,
                           AMD_SNP_STAT_GUEST_INSN_FAILED);
        return;
    }
    amd_snp_host_error(env_archcpu(env)->amd_snp, AMD_SNP_ERR_GUEST_INSN,
                       "%s of gva 0x" TARGET_FMT_lx ", RCX 0x" TARGET_FMT_lx
                       ", RDX 0x" TARGET_FMT_lx ", ASID %u, VMPL%u returns %d",
                       insn, va, env->regs[R_ECX], env->regs[R_EDX],
                       env->sev_asid, env->sev_vmpl, result);
}

void helper_pvalidate(CPUX86State *env)
{
    uintptr_t ra = GETPC();
    AmdSnpHost *h = guest_insn_start(env, ra);
    /* The page that this is in: bits 11 to 0 are not looked at */
    target_ulong va = env->regs[R_EAX] & TARGET_PAGE_MASK;
    bool large = env->regs[R_ECX] & 1, validate = env->regs[R_EDX] & 1;
    hwaddr size = large ? 2 * MiB : 4 * KiB;
    int result = SUCCESS;
    bool same = false;
    PageCheck why;
    InsnPage page;

    if (env->sev_vmpl) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    if (!(env->hflags & HF_CS64_MASK)) {
        va = (uint32_t)va;
    }
    amd_snp_host_count(h, AMD_SNP_STAT_PVALIDATE);
    if ((va & (size - 1)) || (env->regs[R_ECX] & 0xfffffffe)) {
        result = FAIL_INPUT;
        goto out;
    }
    page = translate(env, va, SNP_INSN_PVALIDATE, ra);
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        why = check_page(env, h, &page, large);
        same = !!(amd_rmp_get(h, page.pa).lo & AMD_RMP_VALIDATED) == validate;
        for (hwaddr o = 0; why == PAGE_OK && !same && o < size; o += 4 * KiB) {
            AmdRmpEntry e = amd_rmp_get(h, page.pa + o);

            e.lo = validate ? e.lo | AMD_RMP_VALIDATED
                            : e.lo & ~(AMD_RMP_VALIDATED | AMD_RMP_VMSA);
            e.hi = AMD_RMP_PERM_ALL;
            amd_rmp_set(h, page.pa + o, e);
            if (validate) {
                /* Never under the guest's key, or not since the host wrote */
                amd_snp_key_rewrite(h, page.pa + o, env->sev_asid);
            }
        }
    }
    if (why == PAGE_NPF || why == PAGE_NPF_SIZEM) {
        raise_npf(env, &page, why, ra);
    }
    if (why == PAGE_SIZEMISMATCH) {
        result = FAIL_SIZEMISMATCH;
        goto out;
    }
    if (!same) {
        /*
         * No TLB has a private page that is not validated, but one may have it
         * without a key
         */
        if (large) {
            flush_all(env);
        } else {
            forget_page(env, page.pa);
        }
    }
 out:
    if (result) {
        guest_refused(env, "PVALIDATE", va, result);
    }
    set_result(env, result, same && !result);
}

void helper_rmpadjust(CPUX86State *env)
{
    uintptr_t ra = GETPC();
    AmdSnpHost *h = guest_insn_start(env, ra);
    /* The page that this is in: bits 11 to 0 are not looked at */
    target_ulong va = env->regs[R_EAX] & TARGET_PAGE_MASK;
    bool large = env->regs[R_ECX] & 1;
    hwaddr size = large ? 2 * MiB : 4 * KiB;
    unsigned target = extract64(env->regs[R_EDX], 0, 8);
    unsigned perm = extract64(env->regs[R_EDX], 8, 8);
    bool vmsa = extract64(env->regs[R_EDX], 16, 1);
    unsigned own;
    int result = SUCCESS;
    PageCheck why;
    InsnPage page;

    amd_snp_host_count(h, AMD_SNP_STAT_RMPADJUST);
    if ((va & (size - 1)) || (env->regs[R_ECX] & ~1ULL) ||
        target >= AMD_SNP_VMPLS || (perm & ~AMD_RMP_PERM_ALL) ||
        (env->regs[R_EDX] >> 17) || (large && vmsa)) {
        result = FAIL_INPUT;
        goto out;
    }
    if (target <= env->sev_vmpl) {
        result = FAIL_PERMISSION;
        goto out;
    }
    page = translate(env, va, SNP_INSN_OTHER, ra);
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        why = check_page(env, h, &page, large);
        own = env->sev_vmpl
              ? extract64(amd_rmp_get(h, page.pa).hi, env->sev_vmpl * 8, 8)
              : AMD_RMP_PERM_ALL;
        if (why == PAGE_SIZEMISMATCH) {
            result = FAIL_SIZEMISMATCH;
        } else if (perm & ~own) {
            result = FAIL_PERMISSION;
        }
        for (hwaddr o = 0; why == PAGE_OK && !result && o < size;
             o += 4 * KiB) {
            AmdRmpEntry e = amd_rmp_get(h, page.pa + o);

            e.hi = deposit64(e.hi, target * 8, 8, perm);
            if (!env->sev_vmpl) {
                /* Ignored from any other VMPL */
                e.lo = vmsa ? e.lo | AMD_RMP_VMSA : e.lo & ~AMD_RMP_VMSA;
            }
            amd_rmp_set(h, page.pa + o, e);
        }
    }
    if (why == PAGE_NPF || why == PAGE_NPF_SIZEM) {
        raise_npf(env, &page, why, ra);
    }
    if (!result && large) {
        flush_all(env);
    } else if (!result) {
        forget_page(env, page.pa);
    }
 out:
    if (result) {
        guest_refused(env, "RMPADJUST", va, result);
    }
    set_result(env, result, false);
}

void helper_rmpquery(CPUX86State *env)
{
    uintptr_t ra = GETPC();
    /* The page that this is in: bits 11 to 0 are not looked at */
    target_ulong va = env->regs[R_EAX] & TARGET_PAGE_MASK;
    unsigned target = extract64(env->regs[R_EDX], 0, 8);
    AmdSnpHost *h;
    AmdRmpEntry e;
    InsnPage page;
    PageCheck why;
    bool large;

    if (!(env->features[FEAT_8000_001F_EAX] & CPUID_8000_001F_EAX_RMPQUERY)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    h = guest_insn_start(env, ra);
    if (target >= AMD_SNP_VMPLS) {
        guest_refused(env, "RMPQUERY", va, FAIL_INPUT);
        set_result(env, FAIL_INPUT, false);
        return;
    }
    if (target < env->sev_vmpl) {
        guest_refused(env, "RMPQUERY", va, FAIL_PERMISSION);
        set_result(env, FAIL_PERMISSION, false);
        return;
    }
    page = translate(env, va, SNP_INSN_OTHER, ra);
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        large = amd_rmp_is_2m(h, page.pa);
        why = check_page(env, h, &page, large);
        e = amd_rmp_get(h, page.pa);
    }
    if (why != PAGE_OK) {
        raise_npf(env, &page, why, ra);
    }
    env->regs[R_ECX] = large;
    env->regs[R_EDX] = target | extract64(e.hi, target * 8, 8) << 8 |
                       (e.lo & AMD_RMP_VMSA ? 1 << 16 : 0);
    set_result(env, SUCCESS, false);
}
