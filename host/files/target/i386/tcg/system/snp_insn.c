/*
 * AMD SEV-SNP on an emulated host: the instructions that read or change the RMP
 *
 * APM (24593) volume 3: RMPUPDATE, PSMASH, RMPREAD for the hypervisor;
 * PVALIDATE, RMPADJUST, RMPQUERY for SNP-active guests. "vol. 3" below is the
 * page of the instruction in which the comment stands; other references are
 * to volume 2.
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
#include "hw/registerfields.h"
#include "tcg/helper-tcg.h"
#include "sev_helper.h"
#include "snp_tlb.h"

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

/* RMPUPDATE: the quadword at RCX + 8, after that of the guest's address */
FIELD(RMPUPDATE, ASSIGNED, 0, 8)
FIELD(RMPUPDATE, PAGE_SIZE, 8, 8)
FIELD(RMPUPDATE, IMMUTABLE, 16, 8)
FIELD(RMPUPDATE, ASID, 32, 32)

/* RMPREAD: the quadword that it writes to RCX + 8 */
FIELD(RMPREAD, ASSIGNED, 0, 1)
FIELD(RMPREAD, PAGE_SIZE, 8, 1)
/* Any page of the 2 MB region is assigned */
FIELD(RMPREAD, REGION_ASSIGNED, 9, 1)
FIELD(RMPREAD, IMMUTABLE, 16, 1)
FIELD(RMPREAD, ASID, 32, 32)

/* PVALIDATE, RMPADJUST: RCX, and what RMPQUERY leaves there */
FIELD(GUEST_INSN_RCX, PAGE_SIZE, 0, 1)

/* PVALIDATE: RDX */
FIELD(PVALIDATE_RDX, VALIDATE, 0, 1)

/* RMPADJUST: RDX; RMPQUERY reads the first field and fills in the others */
FIELD(RMPADJUST_RDX, TARGET_VMPL, 0, 8)
FIELD(RMPADJUST_RDX, PERMISSIONS, 8, 8)
FIELD(RMPADJUST_RDX, VMSA, 16, 1)
FIELD(RMPADJUST_RDX, RESERVED, 17, 47)

/* RAX is the result. ZF, PF and the like follow it; CF is given. */
static void set_result(CPUX86State *env, int result, bool cf)
{
    env->regs[R_EAX] = result;
    CC_SRC = (cf ? CC_C : 0) | (result ? 0 : CC_Z) |
             (ctpop8(result) & 1 ? 0 : CC_P);
    CC_OP = CC_OP_EFLAGS;
}

/* ---- The hypervisor's instructions ---- */

static AmdSnpHost *host_insn_start(CPUX86State *env, uintptr_t ra)
{
    /* vol. 3: #UD unless SYSCFG.SecureNestedPagingEn is set */
    if (!snp_host_enabled(env)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    /* vol. 3: #GP(0) unless the CPL is 0 */
    if (env->hflags & HF_CPL_MASK) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    return env_archcpu(env)->amd_snp;
}

/* The new state of a page, as RMPUPDATE reads it from memory (16 bytes) */
typedef struct RmpState {
    uint64_t gpa;
    uint8_t assigned;
    uint8_t pagesize;
    uint8_t immutable;
    uint32_t asid;
} RmpState;

/* The entry that RMPUPDATE makes for the 4 KB page @offset bytes in */
static AmdRmpEntry rmpupdate_entry(const RmpState *st, hwaddr offset)
{
    bool large = st->pagesize & 1, assigned = st->assigned & 1;
    AmdRmpEntry e = { 0, 0 };

    if (assigned) {
        e.lo = AMD_RMP_ASSIGNED | ((st->gpa + offset) & AMD_RMP_GPA_MASK) |
               (uint64_t)st->asid << AMD_RMP_ASID_SHIFT;
        /* 15.36.7: a guest's VMPL0 may do everything, the others nothing */
        e.hi = st->asid ? AMD_RMP_PERM_ALL : 0;
        if (large && !offset) {
            e.lo |= AMD_RMP_PAGESIZE_2M;
        }
    }
    if (st->immutable & 1) {
        e.lo |= AMD_RMP_IMMUTABLE;
        if (!assigned) {
            e.lo |= (uint64_t)st->asid << AMD_RMP_ASID_SHIFT;
        }
    }
    return e;
}

/* Lock held */
static int do_rmpupdate(AmdSnpHost *h, hwaddr pa, const RmpState *st)
{
    bool large = st->pagesize & 1;
    hwaddr size = large ? 2 * MiB : 4 * KiB;

    /* vol. 3: both addresses are multiples of the page size */
    if ((pa & (size - 1)) || (st->gpa & (size - 1))) {
        return FAIL_INPUT;
    }
    /* vol. 3: the new state has no reserved bits, and an ASID that exists */
    if (st->gpa & ~AMD_RMP_GPA_MASK || st->asid > AMD_SNP_MAX_ASID) {
        return FAIL_INPUT;
    }
    /* vol. 3: the RMP covers the page */
    if (!amd_rmp_covers(h, pa) || !amd_rmp_covers(h, pa + size - 1)) {
        return FAIL_INPUT;
    }
    /* 15.36.5: only the firmware changes entries that are immutable */
    for (hwaddr o = 0; o < size; o += 4 * KiB) {
        if (amd_rmp_get(h, pa + o).lo & AMD_RMP_IMMUTABLE) {
            return FAIL_PERMISSION;
        }
    }
    /* 15.36.12: no CPU runs with it as VMCB, VMSA or host save area */
    if (amd_snp_host_in_use(h, pa, size)) {
        return FAIL_INUSE;
    }
    /* vol. 3: a 2 MB entry and assigned 4 KB entries do not overlap */
    if (large ? !amd_rmp_is_2m(h, pa) && amd_rmp_region_assigned(h, pa)
              : amd_rmp_is_2m(h, pa)) {
        return FAIL_OVERLAP;
    }
    for (hwaddr o = 0; o < size; o += 4 * KiB) {
        amd_rmp_set(h, pa + o, rmpupdate_entry(st, o));
    }
    return SUCCESS;
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

    /* vol. 3: not in a guest */
    if (env->hflags & HF_GUEST_MASK) {
        amd_snp_host_error(h, AMD_SNP_ERR_HOST_INSN, "RMPUPDATE in a guest");
        set_result(env, FAIL_PERMISSION, false);
        return;
    }
    st.gpa = cpu_ldq_data_ra(env, env->regs[R_ECX], ra);
    w = cpu_ldq_data_ra(env, env->regs[R_ECX] + 8, ra);
    st.assigned = FIELD_EX64(w, RMPUPDATE, ASSIGNED);
    st.pagesize = FIELD_EX64(w, RMPUPDATE, PAGE_SIZE);
    st.immutable = FIELD_EX64(w, RMPUPDATE, IMMUTABLE);
    st.asid = FIELD_EX64(w, RMPUPDATE, ASID);

    WITH_QEMU_LOCK_GUARD(&h->lock) {
        region = amd_rmp_region_assigned(h, pa);
        result = do_rmpupdate(h, pa, &st);
        /* Its first assigned page: TLB entries of 2 MB may not be written */
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
        snp_tlb_flush_all(env);
    } else {
        snp_tlb_forget_page(env, pa);
    }
    set_result(env, result, false);
}

/* Lock held */
static int do_psmash(AmdSnpHost *h, hwaddr pa)
{
    AmdRmpEntry head;

    /* vol. 3: the address of 2 MB that the RMP covers */
    if ((pa & (2 * MiB - 1)) || !amd_rmp_covers(h, pa)) {
        return FAIL_INPUT;
    }
    head = amd_rmp_get(h, pa);
    /* vol. 3: an assigned entry of 2 MB that software may change */
    if (!(head.lo & AMD_RMP_ASSIGNED) || !(head.lo & AMD_RMP_PAGESIZE_2M) ||
        (head.lo & AMD_RMP_IMMUTABLE)) {
        return FAIL_BADADDR;
    }
    /* 15.36.12: no CPU runs with a page of it, as for RMPUPDATE */
    if (amd_snp_host_in_use(h, pa, 2 * MiB)) {
        return FAIL_INUSE;
    }
    /* 15.36.11: copies with ascending guest addresses, validated as before */
    head.lo &= ~AMD_RMP_PAGESIZE_2M;
    for (hwaddr o = 0; o < 2 * MiB; o += 4 * KiB) {
        AmdRmpEntry e = head;

        e.lo += o;
        amd_rmp_set(h, pa + o, e);
    }
    return SUCCESS;
}

void helper_psmash(CPUX86State *env)
{
    AmdSnpHost *h = host_insn_start(env, GETPC());
    hwaddr pa = env->regs[R_EAX];
    int result = FAIL_PERMISSION;

    /* vol. 3: not in a guest */
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
        snp_tlb_flush_all(env);
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
    uint64_t w = 0;

    /* vol. 3: #UD unless CPUID has it */
    if (!(env->features[FEAT_8000_001F_EAX] & CPUID_8000_001F_EAX_RMPREAD)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    h = host_insn_start(env, ra);
    /* vol. 3: not in a guest */
    if (env->hflags & HF_GUEST_MASK) {
        set_result(env, FAIL_PERMISSION, false);
        return;
    }
    /* vol. 3: the address of 4 KB that the RMP covers */
    if ((pa & 0xfff) || !amd_rmp_covers(h, pa)) {
        set_result(env, FAIL_INPUT, false);
        return;
    }
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        e = amd_rmp_get(h, pa);
        large = amd_rmp_is_2m(h, pa);
        region = !(pa & (2 * MiB - 1)) && amd_rmp_region_assigned(h, pa);
    }
    w = FIELD_DP64(w, RMPREAD, ASSIGNED, !!(e.lo & AMD_RMP_ASSIGNED));
    w = FIELD_DP64(w, RMPREAD, PAGE_SIZE, large);
    w = FIELD_DP64(w, RMPREAD, REGION_ASSIGNED, region);
    w = FIELD_DP64(w, RMPREAD, IMMUTABLE, !!(e.lo & AMD_RMP_IMMUTABLE));
    w = FIELD_DP64(w, RMPREAD, ASID, amd_rmp_asid(e.lo));
    cpu_stq_data_ra(env, to, e.lo & AMD_RMP_GPA_MASK, ra);
    cpu_stq_data_ra(env, to + 8, w, ra);
    set_result(env, SUCCESS, false);
}

/* ---- The guest's instructions ---- */

static AmdSnpHost *guest_insn_start(CPUX86State *env, uintptr_t ra)
{
    /* vol. 3: #UD unless the guest is SNP-active */
    if (!(env->hflags & HF_GUEST_MASK) || !snp_active(env)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    /* vol. 3: #GP(0) unless the CPL is 0 */
    if (env->hflags & HF_CPL_MASK) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    return env_archcpu(env)->amd_snp;
}

/* vol. 3: RAX is the address of the page; bits 11 to 0 are ignored */
static target_ulong page_operand(CPUX86State *env)
{
    return env->regs[R_EAX] & TARGET_PAGE_MASK;
}

/* The page that an instruction is about */
typedef struct InsnPage {
    hwaddr pa;
    /* With C-bit, if the guest's mapping has it */
    uint64_t gpa;
    /* The nested tables map it by 2 MB or more */
    bool npt_large;
} InsnPage;

/*
 * Walk the guest's and the nested tables for the guest virtual address @va.
 * Raises what an access would raise, but for the checks of the page's RMP
 * entry: check_page() makes those.
 */
static InsnPage translate(CPUX86State *env, target_ulong va, uintptr_t ra)
{
    CPUState *cs = env_cpu(env);
    CPUTLBEntryFull *full;
    InsnPage page;
    void *host;

    /*
     * TLB entries of accesses were checked by other rules, and the entry made
     * here is checked by none: flush before the walk and after it.
     */
    tlb_flush_entry_by_mmuidx(cs, va, MMU_GUEST_LINEAR_IDXMAP, false);
    env->sev_insn = true;
    probe_access_full(env, va, 0, MMU_DATA_LOAD, cpu_mmu_index(cs, false),
                      false, &host, &full, ra);
    page.pa = full->phys_addr & TARGET_PAGE_MASK;
    page.gpa = env->sev_gpa;
    page.npt_large = env->sev_npt_size >= 2 * MiB;
    env->sev_insn = false;
    snp_tlb_forget_insn(env, va);
    return page;
}

typedef enum PageCheck {
    PAGE_OK,
    PAGE_NPF,           /* an RMP check has failed */
    PAGE_NPF_SIZEM,     /* 4 KB of a 2 MB entry: for the hypervisor (PSMASH) */
    PAGE_NPF_VMPL,      /* no permission */
    PAGE_NOT_VALIDATED, /* #VC */
    PAGE_SIZEMISMATCH,  /* 2 MB of 4 KB: for the guest */
} PageCheck;

/*
 * The checks of 15.36.10 on the page of an instruction. Lock held, until the
 * instruction has changed the entry.
 */
static PageCheck check_page(CPUX86State *env, AmdSnpHost *h, InsnPage *page,
                            bool large, bool pvalidate)
{
    AmdRmpEntry e = amd_rmp_get(h, page->pa);
    bool rmp_large = amd_rmp_is_2m(h, page->pa);

    /* vol. 3: the page is mapped as private */
    if (!(page->gpa & env->sev_cbit)) {
        return PAGE_NPF;
    }
    /* RMP-Covered, Guest-Owned */
    if (!(e.lo & AMD_RMP_ASSIGNED) || amd_rmp_asid(e.lo) != env->sev_asid) {
        return PAGE_NPF;
    }
    /* Reverse-Map */
    if ((e.lo & AMD_RMP_GPA_MASK) !=
        (page->gpa & ~env->sev_cbit & AMD_RMP_GPA_MASK)) {
        return PAGE_NPF;
    }
    /* Mutable */
    if (e.lo & AMD_RMP_IMMUTABLE) {
        return PAGE_NPF;
    }
    /* 15.36.12: no CPU runs on it, as its VMSA */
    if (amd_snp_host_in_use(h, page->pa, 4 * KiB)) {
        return PAGE_NPF;
    }
    /* 15.36.11: 4 KB of a 2 MB entry, whatever maps it */
    if (rmp_large && !large) {
        return PAGE_NPF_SIZEM;
    }
    /* 15.36.6: 4 KB that the nested tables map by 2 MB */
    if (page->npt_large && !large) {
        return PAGE_NPF;
    }
    if (!pvalidate) {
        /* Validated */
        if (!(e.lo & AMD_RMP_VALIDATED)) {
            return PAGE_NOT_VALIDATED;
        }
        /* VMPL: permission to read */
        if (env->sev_vmpl &&
            !(amd_rmp_perm(e, env->sev_vmpl) & AMD_RMP_PERM_READ)) {
            return PAGE_NPF_VMPL;
        }
    }
    /* 15.36.11: 2 MB of 4 KB entries; 15.36.6: that are mapped by 4 KB */
    if (large && !(rmp_large && page->npt_large)) {
        return PAGE_SIZEMISMATCH;
    }
    if (large) {
        page->pa &= ~MAKE_64BIT_MASK(0, 21);
    }
    return PAGE_OK;
}

/* #NPF with EXITINFO1 as 15.36.10 has it, or #VC, if an RMP check has failed */
static void raise_if_refused(CPUX86State *env, const InsnPage *page,
                             target_ulong va, PageCheck why, uintptr_t ra)
{
    const uint32_t error_code = PG_ERROR_P_MASK | PG_ERROR_U_MASK;

    switch (why) {
    case PAGE_OK:
    case PAGE_SIZEMISMATCH:
        return;
    case PAGE_NOT_VALIDATED:
        env->sev_npf_info = (uint64_t)SVM_VC_NOT_VALIDATED << NPF_VC_SHIFT;
        break;
    default:
        env->sev_npf_info = NPF_RMP |
                            (page->gpa & env->sev_cbit ? NPF_ENC : 0) |
                            (why == PAGE_NPF_SIZEM ? NPF_SIZEM : 0) |
                            (why == PAGE_NPF_VMPL ? NPF_VMPL : 0);
    }
    snp_guest_fault(env, page->gpa & ~env->sev_cbit, error_code);
    if (why == PAGE_NOT_VALIDATED) {
        env->cr[2] = va;
        raise_exception_err_ra(env, EXCP1D_VC, SVM_VC_NOT_VALIDATED, ra);
    }
    x86_stq_phys(env_cpu(env), env->vm_vmcb +
                 offsetof(struct vmcb, control.exit_info_2),
                 page->gpa & ~env->sev_cbit);
    cpu_vmexit(env, SVM_EXIT_NPF,
               env->sev_npf_info | SVM_NPTEXIT_GPA | error_code, ra);
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

/* No TLB has what it had of the page before the instruction */
static void forget_insn_page(CPUX86State *env, const InsnPage *page, bool large)
{
    if (large) {
        snp_tlb_flush_all(env);
    } else {
        snp_tlb_forget_page(env, page->pa);
    }
}

void helper_pvalidate(CPUX86State *env)
{
    uintptr_t ra = GETPC();
    AmdSnpHost *h = guest_insn_start(env, ra);
    target_ulong va = page_operand(env);
    bool large = FIELD_EX64(env->regs[R_ECX], GUEST_INSN_RCX, PAGE_SIZE);
    bool validate = FIELD_EX64(env->regs[R_EDX], PVALIDATE_RDX, VALIDATE);
    hwaddr size = large ? 2 * MiB : 4 * KiB;
    int result = SUCCESS;
    bool same = false;
    PageCheck why;
    InsnPage page;

    /* vol. 3: #GP(0) unless the VMPL is 0 */
    if (env->sev_vmpl) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    if (!(env->hflags & HF_CS64_MASK)) {
        va = (uint32_t)va;
    }
    amd_snp_host_count(h, AMD_SNP_STAT_PVALIDATE);
    /* vol. 3: the address is aligned to the size; no reserved bits in ECX */
    if ((va & (size - 1)) ||
        ((uint32_t)env->regs[R_ECX] & ~R_GUEST_INSN_RCX_PAGE_SIZE_MASK)) {
        result = FAIL_INPUT;
        goto out;
    }
    page = translate(env, va, ra);
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        why = check_page(env, h, &page, large, true);
        same = !!(amd_rmp_get(h, page.pa).lo & AMD_RMP_VALIDATED) == validate;
        for (hwaddr o = 0; why == PAGE_OK && !same && o < size; o += 4 * KiB) {
            AmdRmpEntry e = amd_rmp_get(h, page.pa + o);

            /* 15.36.3: nothing else of the entry is PVALIDATE's to change */
            e.lo = validate ? e.lo | AMD_RMP_VALIDATED
                            : e.lo & ~AMD_RMP_VALIDATED;
            amd_rmp_set(h, page.pa + o, e);
            if (validate) {
                /* Never under the guest's key, or not since the host wrote */
                amd_snp_key_rewrite(h, page.pa + o, env->sev_asid);
            }
        }
    }
    raise_if_refused(env, &page, va, why, ra);
    if (why == PAGE_SIZEMISMATCH) {
        result = FAIL_SIZEMISMATCH;
        goto out;
    }
    if (!same) {
        /*
         * No TLB has a private page that is not validated, but one may have it
         * without a key
         */
        forget_insn_page(env, &page, large);
    }
 out:
    if (result) {
        guest_refused(env, "PVALIDATE", va, result);
    }
    set_result(env, result, same && !result);
}

/* RMPADJUST's operands, without a look at the page */
static int check_rmpadjust(CPUX86State *env, target_ulong va, bool large)
{
    uint64_t rdx = env->regs[R_EDX];

    /* vol. 3: the address is aligned to the size; no reserved bits in RCX */
    if ((va & ((large ? 2 * MiB : 4 * KiB) - 1)) ||
        (env->regs[R_ECX] & ~(uint64_t)R_GUEST_INSN_RCX_PAGE_SIZE_MASK)) {
        return FAIL_INPUT;
    }
    /* vol. 3: a VMPL that exists, permissions that exist, no reserved bits */
    if (FIELD_EX64(rdx, RMPADJUST_RDX, TARGET_VMPL) >= AMD_SNP_VMPLS ||
        (FIELD_EX64(rdx, RMPADJUST_RDX, PERMISSIONS) & ~AMD_RMP_PERM_ALL) ||
        FIELD_EX64(rdx, RMPADJUST_RDX, RESERVED)) {
        return FAIL_INPUT;
    }
    /* vol. 3: a VMSA is a page of 4 KB */
    if (large && FIELD_EX64(rdx, RMPADJUST_RDX, VMSA)) {
        return FAIL_INPUT;
    }
    /* 15.36.7: only for VMPLs that are numerically higher than the own one */
    if (FIELD_EX64(rdx, RMPADJUST_RDX, TARGET_VMPL) <= env->sev_vmpl) {
        return FAIL_PERMISSION;
    }
    return SUCCESS;
}

void helper_rmpadjust(CPUX86State *env)
{
    uintptr_t ra = GETPC();
    AmdSnpHost *h = guest_insn_start(env, ra);
    target_ulong va = page_operand(env);
    bool large = FIELD_EX64(env->regs[R_ECX], GUEST_INSN_RCX, PAGE_SIZE);
    hwaddr size = large ? 2 * MiB : 4 * KiB;
    unsigned target = FIELD_EX64(env->regs[R_EDX], RMPADJUST_RDX, TARGET_VMPL);
    unsigned perm = FIELD_EX64(env->regs[R_EDX], RMPADJUST_RDX, PERMISSIONS);
    bool vmsa = FIELD_EX64(env->regs[R_EDX], RMPADJUST_RDX, VMSA);
    unsigned own;
    int result;
    PageCheck why;
    InsnPage page;

    amd_snp_host_count(h, AMD_SNP_STAT_RMPADJUST);
    result = check_rmpadjust(env, va, large);
    if (result) {
        goto out;
    }
    page = translate(env, va, ra);
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        why = check_page(env, h, &page, large, false);
        own = env->sev_vmpl
              ? amd_rmp_perm(amd_rmp_get(h, page.pa), env->sev_vmpl)
              : AMD_RMP_PERM_ALL;
        if (why == PAGE_SIZEMISMATCH) {
            result = FAIL_SIZEMISMATCH;
        } else if (perm & ~own) {
            /* 15.36.7: no permission that the own VMPL has not */
            result = FAIL_PERMISSION;
        }
        for (hwaddr o = 0; why == PAGE_OK && !result && o < size;
             o += 4 * KiB) {
            AmdRmpEntry e = amd_rmp_get(h, page.pa + o);

            amd_rmp_set_perm(&e, target, perm);
            if (!env->sev_vmpl) {
                /* 15.36.12: VMSA is for VMPL0 to set; ignored from others */
                e.lo = vmsa ? e.lo | AMD_RMP_VMSA : e.lo & ~AMD_RMP_VMSA;
            }
            amd_rmp_set(h, page.pa + o, e);
        }
    }
    raise_if_refused(env, &page, va, why, ra);
    if (!result) {
        forget_insn_page(env, &page, large);
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
    target_ulong va = page_operand(env);
    unsigned target = FIELD_EX64(env->regs[R_EDX], RMPADJUST_RDX, TARGET_VMPL);
    uint64_t rdx = 0;
    AmdSnpHost *h;
    AmdRmpEntry e;
    InsnPage page;
    PageCheck why;
    bool large;

    /* vol. 3: #UD unless CPUID has it */
    if (!(env->features[FEAT_8000_001F_EAX] & CPUID_8000_001F_EAX_RMPQUERY)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    h = guest_insn_start(env, ra);
    /* vol. 3: a VMPL that exists */
    if (target >= AMD_SNP_VMPLS) {
        guest_refused(env, "RMPQUERY", va, FAIL_INPUT);
        set_result(env, FAIL_INPUT, false);
        return;
    }
    /* vol. 3: the own VMPL, or one that is numerically higher */
    if (target < env->sev_vmpl) {
        guest_refused(env, "RMPQUERY", va, FAIL_PERMISSION);
        set_result(env, FAIL_PERMISSION, false);
        return;
    }
    page = translate(env, va, ra);
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        large = amd_rmp_is_2m(h, page.pa);
        /* With the size of the entry */
        why = check_page(env, h, &page, large, false);
        e = amd_rmp_get(h, page.pa);
    }
    /* Page-Size: nested tables and RMP differ */
    if (why == PAGE_SIZEMISMATCH) {
        why = PAGE_NPF;
    }
    raise_if_refused(env, &page, va, why, ra);
    rdx = FIELD_DP64(rdx, RMPADJUST_RDX, TARGET_VMPL, target);
    rdx = FIELD_DP64(rdx, RMPADJUST_RDX, PERMISSIONS, amd_rmp_perm(e, target));
    rdx = FIELD_DP64(rdx, RMPADJUST_RDX, VMSA, !!(e.lo & AMD_RMP_VMSA));
    env->regs[R_ECX] = FIELD_DP64(0, GUEST_INSN_RCX, PAGE_SIZE, large);
    env->regs[R_EDX] = rdx;
    set_result(env, SUCCESS, false);
}
