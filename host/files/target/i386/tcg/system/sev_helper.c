/*
 * AMD SEV-ES and SEV-SNP on an emulated host: exits, #VC, write traps, MSRs
 *
 * APM (24593) volume 2, 15.34 to 15.36.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "cpu.h"
#include "exec/cputlb.h"
#include "exec/helper-proto.h"
#include "tcg/helper-tcg.h"
#include "sev_helper.h"

/*
 * APM 15.35.4: an automatic exit leaves a guest with SEV-ES without its help;
 * all others are for its #VC handler. #NPF is automatic unless a reserved bit
 * is set in the nested tables, which raise_stage2() sees.
 */
static bool is_automatic_exit(CPUX86State *env, uint64_t code)
{
    switch (code) {
    case SVM_EXIT_EXCP_BASE + EXCP12_MCHK:
    case SVM_EXIT_INTR:
    case SVM_EXIT_NMI:
    case SVM_EXIT_SMI:
    case SVM_EXIT_INIT:
    case SVM_EXIT_VINTR:
    case SVM_EXIT_PAUSE:
    case SVM_EXIT_HLT:
    case SVM_EXIT_SHUTDOWN:
    case SVM_EXIT_EFER_WRITE_TRAP:
    case SVM_EXIT_CR0_WRITE_TRAP ... SVM_EXIT_CR0_WRITE_TRAP + 15:
    case SVM_EXIT_NPF:
    case SVM_EXIT_VMGEXIT:
        return true;
    case SVM_EXIT_VMSAVE:
        /*
         * APM 15.36.12: #VMEXIT(VMSAVE), though 15.35.4 does not have it among
         * the automatic exits
         */
        return env_archcpu(env)->amd_snp->es_vmsave_exits;
    default:
        return false;
    }
}

bool sev_always_intercepted(CPUX86State *env, uint32_t exit_code)
{
    if (!sev_es_active(env)) {
        return false;
    }
    switch (exit_code) {
    case SVM_EXIT_CPUID:
    case SVM_EXIT_IOIO:
        /* APM 15.36.12: of SNP guests; 15.36.23: and of those with SEV-ES */
        return snp_active(env) ||
               env_archcpu(env)->amd_snp->es_always_intercepts;
    case SVM_EXIT_VMSAVE:
        /* APM 15.36.12: on processors with SEV-SNP */
        return env->features[FEAT_8000_001F_EAX] & CPUID_8000_001F_EAX_SEV_SNP;
    default:
        return false;
    }
}

void sev_exit_or_vc(CPUX86State *env, uint64_t exit_code, uint64_t param,
                    uintptr_t ra)
{
    /* APM 15.35.5: the error code is that of the exit */
    if (sev_es_active(env) && !is_automatic_exit(env, exit_code)) {
        raise_exception_err_ra(env, EXCP1D_VC, exit_code, ra);
    }
    cpu_vmexit(env, exit_code, param, ra);
}

bool sev_es_exit_skips_insn(CPUX86State *env, uint64_t exit_code)
{
    /* APM 15.35.4: the hypervisor cannot move RIP on */
    return sev_es_active(env) &&
           (exit_code == SVM_EXIT_HLT || exit_code == SVM_EXIT_PAUSE);
}

/* The instruction has completed: the guest goes on with the next one */
static void skip_insn(CPUX86State *env, uintptr_t ra)
{
    cpu_restore_state(env_cpu(env), ra);
    env->eip += env->insn_len;
    env->hflags &= ~HF_INHIBIT_IRQ_MASK;
}

void sev_write_trap(CPUX86State *env, uint32_t exit_code, uint64_t value,
                    uintptr_t ra)
{
    /* APM 15.35.10: EXITINFO1 is the new value of the register */
    if (!sev_es_active(env) || !cpu_svm_has_intercept(env, exit_code)) {
        return;
    }
    skip_insn(env, ra);
    cpu_vmexit(env, exit_code, value, 0);
}

/*
 * The APM names no instruction of the write traps. CLTS and LMSW are writes of
 * CR0 to the intercept that comes before the instruction.
 */
bool sev_traps_clts_lmsw(CPUX86State *env)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;

    return h && h->trap_clts_lmsw;
}

void helper_clts_trap(CPUX86State *env)
{
    if (sev_traps_clts_lmsw(env)) {
        sev_write_trap(env, SVM_EXIT_CR0_WRITE_TRAP, env->cr[0], GETPC());
    }
}

static G_NORETURN void raise_gp(CPUX86State *env, uintptr_t ra)
{
    raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
}

/* APM 15.36.12: the page that @insn names is Hypervisor-Owned, else #GP(0) */
static void check_insn_page(CPUX86State *env, const char *insn, hwaddr pa,
                            uintptr_t ra)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;

    pa &= ~host_cbit(env);
    if (snp_host_enabled(env) && (amd_rmp_get(h, pa).lo & AMD_RMP_ASSIGNED)) {
        amd_snp_host_error(h, AMD_SNP_ERR_HOST_INSN, "%s: 0x%" HWADDR_PRIx
                           " is an assigned page", insn, pa);
        raise_gp(env, ra);
    }
}

void sev_check_vmsave(CPUX86State *env, hwaddr addr, uintptr_t ra)
{
    if (env_archcpu(env)->amd_snp && !(env->hflags & HF_GUEST_MASK)) {
        check_insn_page(env, "VMSAVE", addr, ra);
    }
}

void helper_vmgexit(CPUX86State *env)
{
    if (!sev_es_active(env)) {
        /* APM 15.35.6: without SEV-ES the instruction is VMMCALL */
        cpu_svm_check_intercept_param(env, SVM_EXIT_VMMCALL, 0, GETPC());
        raise_exception_ra(env, EXCP06_ILLOP, GETPC());
    }
    skip_insn(env, GETPC());
    cpu_vmexit(env, SVM_EXIT_VMGEXIT, 0, 0);
}

void helper_wbinvd(CPUX86State *env)
{
    qatomic_set(&env->wbinvd_done, true);
}

/* ---- MSRs ---- */

bool sev_msr_not_intercepted(CPUX86State *env, uint32_t msr, bool write)
{
    /* APM 15.34.10; the GHCB MSR is the guest's own as well */
    return (msr == MSR_AMD64_SEV_STATUS && !write && env->sev_status) ||
           (msr == MSR_AMD64_SEV_ES_GHCB && sev_es_active(env));
}

/*
 * APM 15.35.7: host software cannot access the GHCB MSR. Here, neither can a
 * guest without SEV-ES, of which the APM says nothing.
 */
static void check_ghcb_msr(CPUX86State *env, uintptr_t ra)
{
    if (!sev_es_active(env)) {
        raise_gp(env, ra);
    }
}

bool sev_rdmsr(CPUX86State *env, uint32_t msr, uint64_t *value, uintptr_t ra)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;

    if (!h) {
        return false;
    }
    switch (msr) {
    case MSR_AMD64_SYSCFG:
        *value = env->syscfg;
        return true;
    case MSR_AMD64_IORR_BASE0 ... MSR_AMD64_IORR_MASK1:
        *value = env->iorr[msr - MSR_AMD64_IORR_BASE0];
        return true;
    case MSR_AMD64_TOP_MEM:
        *value = env->top_mem;
        return true;
    case MSR_AMD64_TOP_MEM2:
        *value = env->top_mem2;
        return true;
    case MSR_K7_HWCR:
        *value = env->msr_hwcr;
        return true;
    case MSR_AMD64_SEV_STATUS:
        *value = env->sev_status;
        return true;
    case MSR_AMD64_SEV_ES_GHCB:
        check_ghcb_msr(env, ra);
        *value = env->ghcb_msr;
        return true;
    case MSR_AMD64_RMP_BASE:
        *value = h->rmp_base;
        return true;
    case MSR_AMD64_RMP_END:
        *value = h->rmp_end;
        return true;
    case MSR_AMD64_VM_PAGE_FLUSH:
        /* APM 15.34.9: write only */
        raise_gp(env, ra);
    default:
        return false;
    }
}

static void write_syscfg(CPUX86State *env, uint64_t value)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    uint64_t locked = 0, old = env->syscfg;

    if (old & AMD_SYSCFG_MEM_ENCRYPT) {
        locked = AMD_SYSCFG_MEM_ENCRYPT;
    }
    /* APM 15.36.2: writes are ignored */
    if (old & AMD_SYSCFG_SNP_EN) {
        locked = UINT64_MAX;
    }
    if ((old ^ value) & locked) {
        amd_snp_host_error(h, AMD_SNP_ERR_HOST_INSN, "write of 0x%" PRIx64
                           " to SYSCFG, which is 0x%" PRIx64
                           ": bits 0x%" PRIx64 " are locked",
                           value, old, locked);
    }
    value = (value & ~locked) | (old & locked);
    if (!(env->features[FEAT_8000_001F_EAX] & CPUID_8000_001F_EAX_SEV_SNP)) {
        value &= ~(AMD_SYSCFG_SNP_EN | AMD_SYSCFG_VMPL_EN);
    }
    qatomic_set(&env->syscfg, value);
    if ((old ^ value) & (AMD_SYSCFG_SNP_EN | AMD_SYSCFG_MEM_ENCRYPT)) {
        tlb_flush(env_cpu(env));
    }
}

static void write_hwcr(CPUX86State *env, uint64_t value, uintptr_t ra)
{
    /* Processor Programming References: INVDWBINVD cannot be cleared */
    if (!(value & AMD_HWCR_INVD_WBINVD)) {
        raise_gp(env, ra);
    }
    /* SmmLock stays set until reset, TscFreqSel is read only */
    env->msr_hwcr = value | AMD_HWCR_SMM_LOCK | AMD_HWCR_TSC_FREQ_SEL;
}

static G_NORETURN void refuse_locked(CPUX86State *env, uint32_t msr,
                                     uint64_t value, uintptr_t ra)
{
    amd_snp_host_error(env_archcpu(env)->amd_snp, AMD_SNP_ERR_HOST_INSN,
                       "write of 0x%" PRIx64 " to MSR 0x%x, which is locked",
                       value, msr);
    raise_gp(env, ra);
}

/* APM 15.36.2: MSRs that raise #GP(0) when written under SNP */
static void check_snp_locked(CPUX86State *env, uint32_t msr, uint64_t value,
                             uintptr_t ra)
{
    if (snp_host_enabled(env)) {
        refuse_locked(env, msr, value, ra);
    }
}

/*
 * APM 15.34.9: writes a guest's page back to memory from all caches, of which
 * there are none here. @value is the page's linear address and an ASID.
 */
static void vm_page_flush(CPUX86State *env, uint64_t value, uintptr_t ra)
{
    int mmu_idx = cpu_mmu_index(env_cpu(env), false);
    void *host;

    /* Under SMAP, pages of user mode count as unmapped, whatever RFLAGS.AC */
    if ((env->hflags & HF_SMAP_MASK) && (env->eflags & AC_MASK)) {
        mmu_idx += MMU_KSMAP64_IDX - MMU_KNOSMAP64_IDX;
    }
    if (!(env->features[FEAT_8000_001F_EAX] & CPUID_8000_001F_EAX_PAGE_FLUSH) ||
        !(value & ~TARGET_PAGE_MASK) ||
        (probe_access_flags(env, value & TARGET_PAGE_MASK, 1, MMU_DATA_LOAD,
                            mmu_idx, true, &host, ra) & TLB_INVALID_MASK)) {
        raise_gp(env, ra);
    }
}

bool sev_wrmsr(CPUX86State *env, uint32_t msr, uint64_t value, uintptr_t ra)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;

    if (!h) {
        return false;
    }
    switch (msr) {
    case MSR_AMD64_SYSCFG:
        write_syscfg(env, value);
        return true;
    case MSR_MTRRfix64K_00000:
    case MSR_MTRRfix16K_80000:
    case MSR_MTRRfix16K_A0000:
    case MSR_MTRRfix4K_C0000 ... MSR_MTRRfix4K_F8000:
        check_snp_locked(env, msr, value, ra);
        return false;
    case MSR_AMD64_IORR_BASE0 ... MSR_AMD64_IORR_MASK1:
        check_snp_locked(env, msr, value, ra);
        env->iorr[msr - MSR_AMD64_IORR_BASE0] = value;
        return true;
    case MSR_AMD64_TOP_MEM:
        check_snp_locked(env, msr, value, ra);
        env->top_mem = value;
        return true;
    case MSR_AMD64_TOP_MEM2:
        check_snp_locked(env, msr, value, ra);
        env->top_mem2 = value;
        return true;
    case MSR_AMD64_SMM_KEY:
        check_snp_locked(env, msr, value, ra);
        return true;
    case MSR_K7_HWCR:
        write_hwcr(env, value, ra);
        return true;
    case MSR_VM_HSAVE_PA:
        check_insn_page(env, "WRMSR of VM_HSAVE_PA", value, ra);
        return false;
    case MSR_AMD64_VM_PAGE_FLUSH:
        vm_page_flush(env, value, ra);
        return true;
    case MSR_AMD64_SEV_ES_GHCB:
        check_ghcb_msr(env, ra);
        env->ghcb_msr = value;
        return true;
    case MSR_AMD64_RMP_BASE:
    case MSR_AMD64_RMP_END:
        /* The machine has set and locked them, in the place of a BIOS */
        if (value != (msr == MSR_AMD64_RMP_BASE ? h->rmp_base : h->rmp_end) ||
            snp_host_enabled(env)) {
            refuse_locked(env, msr, value, ra);
        }
        return true;
    case MSR_AMD64_SEV_STATUS:
        raise_gp(env, ra);
    default:
        return false;
    }
}
