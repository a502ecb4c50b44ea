/*
 * AMD SEV-ES and SEV-SNP on an emulated host: VMRUN and #VMEXIT of guests
 * whose register state is in a VMSA
 *
 * The VMSA and the save area of a VMCB have the same layout as far as the
 * latter goes, so the common code of svm_helper.c loads and saves that part
 * from either (vm_save); the rest is here. APM (24593) volume 2, 15.35, 15.36,
 * appendix B, tables B-3 and B-4.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/units.h"
#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/cputlb.h"
#include "exec/helper-proto.h"
#include "tcg/helper-tcg.h"
#include "sev_helper.h"
#include "snp_tlb.h"

/* Offsets in the VMSA, and in the host save area from 0x400 */
#define VMSA_VMPL           0x0ca
#define VMSA_XSS            0x140
#define VMSA_PKRU           0x2e8
#define VMSA_GPRS           0x308
#define VMSA_EXIT_INFO_1    0x390
#define VMSA_EXIT_INFO_2    0x398
#define VMSA_EXIT_INT_INFO  0x3a0
#define VMSA_NRIP           0x3a8
#define VMSA_SEV_FEATURES   0x3b0
#define VMSA_EXIT_CODE      0x3c0
#define VMSA_PCPU_ID        0x3d8
#define VMSA_XCR0           0x3e8
#define VMSA_X87            0x400
#define VMSA_X87_DP         0x400
#define VMSA_MXCSR          0x408
#define VMSA_X87_FTW        0x40c
#define VMSA_X87_FSW        0x40e
#define VMSA_X87_FCW        0x410
#define VMSA_X87_FOP        0x412
#define VMSA_X87_IP         0x418
#define VMSA_X87_MANTISSA   0x420   /* eight quadwords */
#define VMSA_X87_EXPONENT   0x460   /* eight words */
#define VMSA_XMM            0x470   /* sixteen times 16 bytes */
#define VMSA_YMM_HI         0x570
#define VMSA_SIZE           0x670

#define VMSA_FEATURE_SNP    BIT_ULL(0)
/* CPUID advertises no other: DebugSwap, vTOM, restricted injection ... */
#define VMSA_FEATURES_KNOWN VMSA_FEATURE_SNP

#define VMRUN_MAX_DELAY_US  1000000

#define SVM_NESTED_CTL_SEV      BIT_ULL(1)
#define SVM_NESTED_CTL_SEV_ES   BIT_ULL(2)

/*
 * The register of each of the fifteen quadwords from VMSA_GPRS on. RAX and RSP
 * are in the part that a VMCB has too; -1 is the place of RSP.
 */
static const int8_t gpr_at[15] = {
    R_ECX, R_EDX, R_EBX, -1, R_EBP, R_ESI, R_EDI,
    8, 9, 10, 11, 12, 13, 14, 15
};

/* ---- VMRUN: checks; one that fails is VMEXIT_INVALID if not said ---- */

static void G_GNUC_PRINTF(2, 3) refuse(CPUX86State *env, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    amd_snp_host_error(env_archcpu(env)->amd_snp, AMD_SNP_ERR_VMRUN,
                       "VMRUN on CPU %d: %s", env_cpu(env)->cpu_index, text);
}

void sev_vmrun_refused(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);
    hwaddr save = env->vm_save + offsetof(struct vmcb, save);

    /* A guest without SEV, or prepare has said why */
    if (!env->sev_asid) {
        return;
    }
    refuse(env, "state or event of the guest with ASID %u that no processor "
           "takes: CR0 0x%" PRIx64 ", CR3 0x%" PRIx64 ", CR4 0x%" PRIx64
           ", EFER 0x%" PRIx64 ", DR6 0x%" PRIx64 ", DR7 0x%" PRIx64
           ", nCR3 0x%" PRIx64 ", EVENTINJ 0x%" PRIx32, env->sev_asid,
           x86_ldq_phys(cs, save + offsetof(struct vmcb_save_area, cr0)),
           x86_ldq_phys(cs, save + offsetof(struct vmcb_save_area, cr3)),
           x86_ldq_phys(cs, save + offsetof(struct vmcb_save_area, cr4)),
           x86_ldq_phys(cs, save + offsetof(struct vmcb_save_area, efer)),
           x86_ldq_phys(cs, save + offsetof(struct vmcb_save_area, dr6)),
           x86_ldq_phys(cs, save + offsetof(struct vmcb_save_area, dr7)),
           x86_ldq_phys(cs, env->vm_vmcb +
                        offsetof(struct vmcb, control.nested_cr3)),
           x86_ldl_phys(cs, env->vm_vmcb +
                        offsetof(struct vmcb, control.event_inj)));
}

/*
 * Lock held. With the erratum, TLBs may have entries of 2 MB for writes that
 * must fault from now on: see amd_snp_host_in_use_2m().
 */
static void set_in_use(CPUX86State *env, unsigned what, hwaddr pa)
{
    qatomic_set(&env->snp_in_use[what], pa + 1);
    if (QEMU_IS_ALIGNED(pa, 2 * MiB) &&
        env_archcpu(env)->amd_snp->erratum_2m == ON_OFF_AUTO_ON) {
        snp_tlb_flush_soon(env);
    }
}

/* Lock held */
static bool vmsa_is_busy(CPUX86State *env, hwaddr vmsa)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        CPUX86State *other = cpu_env(cs);

        if (other != env && other->snp_in_use[SNP_IN_USE_VMSA] == vmsa + 1) {
            return true;
        }
    }
    return false;
}

/*
 * APM 15.36.12, table "VMRUN Page Checks", the page of the VMSA of an
 * SNP-active guest: RMP-Covered, Guest-Owned, Mutable, VMSA. Reverse-Map is
 * left out: nothing in VMCB or VMSA tells which guest address to compare. That
 * the page is of 4 KB is checked, too, as no other can get VMSA set.
 */
static bool check_vmsa_entry(CPUX86State *env, hwaddr vmsa, uint32_t asid)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    AmdRmpEntry e = amd_rmp_get(h, vmsa);

    if (!(e.lo & AMD_RMP_ASSIGNED) || !(e.lo & AMD_RMP_VMSA) ||
        (e.lo & AMD_RMP_IMMUTABLE) || amd_rmp_asid(e.lo) != asid ||
        amd_rmp_is_2m(h, vmsa)) {
        refuse(env, "VMSA 0x%" HWADDR_PRIx " for ASID %u: RMP entry is not "
               "that of a mutable 4 KB VMSA page of that ASID (0x%" PRIx64
               ")", vmsa, asid, e.lo);
        return false;
    }
    return true;
}

/* The part of the VMSA up to SEV_FEATURES; other state is checked later */
static bool check_vmsa_state(CPUX86State *env, const uint8_t *b)
{
    uint64_t pat = ldq_le_p(b + offsetof(struct vmcb, save.g_pat) -
                            offsetof(struct vmcb, save));
    uint64_t xss = ldq_le_p(b + VMSA_XSS);
    uint64_t known = ((uint64_t)env->features[FEAT_XSAVE_XSS_HI] << 32) |
                     env->features[FEAT_XSAVE_XSS_LO];

    /* APM 15.25.4 */
    if (!svm_pat_valid(pat)) {
        refuse(env, "PAT 0x%" PRIx64 " in the VMSA has a type that does not "
               "exist", pat);
        return false;
    }
    /* Not in the APM: WRMSR would be #GP, so that the state is illegal */
    if ((xss & ~known) && env_archcpu(env)->amd_snp->vmsa_checks_xss) {
        refuse(env, "XSS 0x%" PRIx64 " in the VMSA: only 0x%" PRIx64
               " is there", xss, known);
        return false;
    }
    return true;
}

/*
 * For tests of what hypervisors do while another CPU is about to enter a guest:
 * makes that last. Interrupts wait meanwhile, as for the rest of VMRUN.
 */
static void delay_vmrun(CPUX86State *env, AmdSnpHost *h)
{
    uint64_t us = qatomic_read(&h->vmrun_delay_us);

    if (us && env_cpu(env)->cpu_index == qatomic_read(&h->vmrun_delay_cpu)) {
        g_usleep(MIN(us, VMRUN_MAX_DELAY_US));
    }
}

/* Lock held: @vmsa is read before, as the VMCB may be in MMIO */
static SevVmrun prepare_es(CPUX86State *env, uint32_t asid, hwaddr vmsa)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    uint8_t b[VMSA_SEV_FEATURES + 8];
    uint64_t features;
    uint8_t vmpl;

    /* What firmware setups say of "SEV-ES ASID Space Limit"; not in the APM */
    if (asid > amd_snp_host_max_es_asid(h)) {
        refuse(env, "ASID %u is not one for SEV-ES guests (1 to %u)", asid,
               amd_snp_host_max_es_asid(h));
        return SEV_VMRUN_INVALID;
    }
    vmsa &= ~AMD_SNP_CBIT;
    /* APM 15.35.8: the VMSA pointer is the physical address of a page */
    if ((vmsa & 0xfff) || !amd_rmp_covers(h, vmsa)) {
        refuse(env, "VMSA pointer 0x%" HWADDR_PRIx " is not the address of a "
               "page of memory", vmsa);
        return SEV_VMRUN_INVALID;
    }
    /*
     * APM 15.35.8: the VMSA is read with the guest's key and has a checksum,
     * which does not match in a page that was written under another key
     */
    if (amd_snp_key(h, vmsa) != asid) {
        refuse(env, "VMSA 0x%" HWADDR_PRIx " was never encrypted for ASID %u "
               "(key tag %u)", vmsa, asid, amd_snp_key(h, vmsa));
        return SEV_VMRUN_INVALID;
    }
    if (!amd_snp_read(h, vmsa, asid, b, sizeof(b))) {
        refuse(env, "VMSA 0x%" HWADDR_PRIx " is not in memory", vmsa);
        return SEV_VMRUN_INVALID;
    }
    features = ldq_le_p(b + VMSA_SEV_FEATURES);
    vmpl = b[VMSA_VMPL];
    /* No guest has a feature that CPUID does not advertise */
    if (features & ~VMSA_FEATURES_KNOWN) {
        refuse(env, "SEV_FEATURES 0x%" PRIx64 ": only 0x%" PRIx64 " is there",
               features, (uint64_t)VMSA_FEATURES_KNOWN);
        return SEV_VMRUN_INVALID;
    }
    if (features & VMSA_FEATURE_SNP) {
        /* APM 15.36.12: SNP-active needs SNP-enabled */
        if (!snp_host_enabled(env)) {
            refuse(env, "SNP guest, but SYSCFG.SecureNestedPagingEn is clear");
            return SEV_VMRUN_INVALID;
        }
        if (!check_vmsa_entry(env, vmsa, asid)) {
            return SEV_VMRUN_INVALID;
        }
        /* APM 15.36.7: CPUID says how many VMPLs there are */
        if (vmpl >= AMD_SNP_VMPLS) {
            refuse(env, "VMPL %u in the VMSA", vmpl);
            return SEV_VMRUN_INVALID;
        }
    } else if (snp_host_enabled(env) &&
               (amd_rmp_get(h, vmsa).lo & AMD_RMP_ASSIGNED)) {
        /* APM 15.36.12: the VMSA of other guests is Hypervisor-Owned */
        refuse(env, "VMSA 0x%" HWADDR_PRIx " of a guest without SNP is an "
               "assigned page", vmsa);
        return SEV_VMRUN_INVALID;
    }
    if (!check_vmsa_state(env, b)) {
        return SEV_VMRUN_INVALID;
    }
    /*
     * A VMSA runs on one CPU at a time. Its entry is in use then, with which
     * any RMP check may fail (APM 15.36.10), and a check of the VMSA that fails
     * is VMEXIT_INVALID. No document says so of this case.
     */
    if (vmsa_is_busy(env, vmsa)) {
        refuse(env, "VMSA 0x%" HWADDR_PRIx " is in use by another CPU", vmsa);
        return h->vmsa_in_use_busy ? SEV_VMRUN_BUSY : SEV_VMRUN_INVALID;
    }

    env->sev_status = SEV_STATUS_SEV | SEV_STATUS_SEV_ES |
                      features << SEV_STATUS_FEATURES_SHIFT;
    env->sev_vmpl = features & VMSA_FEATURE_SNP ? vmpl : 0;
    env->vm_save = vmsa - offsetof(struct vmcb, save);
    set_in_use(env, SNP_IN_USE_VMSA, vmsa);
    return SEV_VMRUN_OK;
}

/*
 * The CPU that runs a VMSA bypasses the RMP check for it: drop the TLB entry
 * that was made before VMRUN, or through the bypass.
 */
static void forget_vmsa(CPUX86State *env)
{
    hwaddr used = env->snp_in_use[SNP_IN_USE_VMSA];

    if (used) {
        tlb_flush_entry_by_mmuidx(env_cpu(env), used - 1, 1 << MMU_PHYS_IDX,
                                  false);
    }
}

/*
 * Lock held. Sets @stale if a page got another key, so that TLBs may have a
 * translation to noise for it.
 */
static bool check_pages(CPUX86State *env, AmdSnpHost *h, hwaddr vmcb,
                        bool *stale)
{
    /* APM 7.10: both pointers may have the C-bit */
    unsigned vmcb_key = amd_snp_host_key(vmcb & host_cbit(env));
    unsigned hsave_key = amd_snp_host_key(env->vm_hsave & host_cbit(env));
    hwaddr hsave = env->vm_hsave & ~host_cbit(env);

    vmcb &= ~host_cbit(env);
    /* APM 15.36.12, "Other checks": #GP(0) */
    if (snp_host_enabled(env) && !hsave) {
        refuse(env, "VM_HSAVE_PA is 0");
        return false;
    }
    /*
     * APM 15.36.12: both are Hypervisor-Owned, else #GP(0). For the host save
     * area, hardware checks this when VM_HSAVE_PA is written.
     */
    if (snp_host_enabled(env) &&
        ((amd_rmp_get(h, vmcb).lo & AMD_RMP_ASSIGNED) ||
         (amd_rmp_get(h, hsave).lo & AMD_RMP_ASSIGNED))) {
        refuse(env, "VMCB 0x%" HWADDR_PRIx " (RMP 0x%" PRIx64 ") or host save "
               "area 0x%" PRIx64 " (RMP 0x%" PRIx64 ") is an assigned page",
               vmcb, amd_rmp_get(h, vmcb).lo, hsave,
               amd_rmp_get(h, hsave).lo);
        return false;
    }
    /* The CPU writes both, in parts, through these keys */
    *stale = amd_snp_key_rewrite(h, vmcb, vmcb_key);
    *stale |= amd_snp_key_rewrite(h, hsave, hsave_key);
    set_in_use(env, SNP_IN_USE_VMCB, vmcb);
    set_in_use(env, SNP_IN_USE_HSAVE, hsave);
    return true;
}

bool sev_vmrun_check_pages(CPUX86State *env, hwaddr vmcb)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    bool ok, stale = false;

    if (!h) {
        return true;
    }
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        ok = check_pages(env, h, vmcb, &stale);
    }
    if (stale) {
        snp_tlb_flush_soon(env);
    }
    return ok;
}

/* The bits of SEV among the control bits that the CPU does not ignore */
static uint64_t sev_controls(CPUX86State *env, uint64_t nested_ctl)
{
    uint32_t cpuid = env->features[FEAT_8000_001F_EAX];

    /* APM 15.34.3; a machine without the platform has no SEV */
    if (!env_archcpu(env)->amd_snp || !mem_encrypt_enabled(env)) {
        return 0;
    }
    return nested_ctl &
           ((cpuid & CPUID_8000_001F_EAX_SEV ? SVM_NESTED_CTL_SEV : 0) |
            (cpuid & CPUID_8000_001F_EAX_SEV_ES ? SVM_NESTED_CTL_SEV_ES : 0));
}

/* Neither of a VMSA nor of an ASID */
static bool check_controls(CPUX86State *env, uint64_t nested_ctl)
{
    uint64_t lbr_ctl = x86_ldq_phys(env_cpu(env), env->vm_vmcb +
                                    offsetof(struct vmcb, control.lbr_ctl));

    /* APM 15.35.2, 15.34.3: SEV-ES needs SEV, which needs nested paging */
    if (!(nested_ctl & SVM_NESTED_CTL_SEV) || !(nested_ctl & SVM_NPT_ENABLED)) {
        refuse(env, "SEV control bits 0x%" PRIx64 " need bits 0 (NPT) and 1 "
               "(SEV)", nested_ctl);
        return false;
    }
    /* APM 15.35.2: SEV-ES needs LBR virtualization */
    if ((nested_ctl & SVM_NESTED_CTL_SEV_ES) &&
        !(lbr_ctl & SVM_LBR_VIRT_ENABLED)) {
        refuse(env, "SEV-ES guest without LBR virtualization (0x%" PRIx64 ")",
               lbr_ctl);
        return false;
    }
    /* APM 15.34.3: on a CPU with 64BitHost, as this one is */
    if (!(env->hflags & HF_CS64_MASK)) {
        refuse(env, "SEV guest, but the hypervisor is not in 64-bit mode");
        return false;
    }
    return true;
}

SevVmrun sev_vmrun_prepare(CPUX86State *env, uint64_t nested_ctl,
                           uint32_t asid)
{
    CPUState *cs = env_cpu(env);
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    SevVmrun result = SEV_VMRUN_OK;
    uint64_t sev = sev_controls(env, nested_ctl);

    if (!sev) {
        return SEV_VMRUN_OK;
    }
    nested_ctl = sev | (nested_ctl & SVM_NPT_ENABLED);
    if (!check_controls(env, nested_ctl)) {
        return SEV_VMRUN_INVALID;
    }
    /* APM 15.35.2: the highest ASID of SEV guests, as CPUID has it */
    if (asid > AMD_SNP_MAX_ASID) {
        refuse(env, "ASID %u is above the highest of SEV, %d", asid,
               AMD_SNP_MAX_ASID);
        return SEV_VMRUN_INVALID;
    }
    env->sev_status = SEV_STATUS_SEV;
    env->sev_vmpl = 0;
    if (nested_ctl & SVM_NESTED_CTL_SEV_ES) {
        hwaddr vmsa = x86_ldq_phys(cs, env->vm_vmcb +
                                   offsetof(struct vmcb, control.vmsa_pa));
        uint64_t ghcb = x86_ldq_phys(cs, env->vm_vmcb +
                                     offsetof(struct vmcb, control.ghcb_gpa));

        delay_vmrun(env, h);
        /* Locked: RMPUPDATE cannot change the page between check and use */
        WITH_QEMU_LOCK_GUARD(&h->lock) {
            result = prepare_es(env, asid, vmsa);
        }
        forget_vmsa(env);
        env->ghcb_msr = ghcb;
    } else if (asid < AMD_SNP_MIN_SEV_ASID &&
               (env->features[FEAT_8000_001F_EAX] &
                CPUID_8000_001F_EAX_SEV_ES)) {
        /* APM 15.35.2: CPUID says from which ASID on SEV-ES may be off */
        refuse(env, "ASID %u is for guests with SEV-ES, this one has SEV only",
               asid);
        result = SEV_VMRUN_INVALID;
    }
    if (result != SEV_VMRUN_OK) {
        env->sev_status = 0;
        return result;
    }
    env->sev_cbit = AMD_SNP_CBIT;
    env->sev_asid = asid;
    amd_snp_host_count(h, AMD_SNP_STAT_VMRUN_SEV);
    return SEV_VMRUN_OK;
}

void sev_vmrun_track_cpu(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);
    hwaddr at = env->vm_save + offsetof(struct vmcb, save) + VMSA_PCPU_ID;
    uint64_t id = cs->cpu_index + 1;

    if (snp_active(env) && x86_ldq_phys(cs, at) != id) {
        tlb_flush_by_mmuidx(cs, MMU_GUEST_IDXMAP);
        x86_stq_phys(cs, at, id);
    }
}

bool sev_es_event_allowed(uint32_t event_inj)
{
    uint8_t vector = event_inj & SVM_EVTINJ_VEC_MASK;

    /* APM 15.35.8: neither software interrupts nor #BP and #OF */
    switch (event_inj & SVM_EVTINJ_TYPE_MASK) {
    case SVM_EVTINJ_TYPE_SOFT:
        return false;
    case SVM_EVTINJ_TYPE_EXEPT:
        return vector != EXCP03_INT3 && vector != EXCP04_INTO;
    default:
        return true;
    }
}

void sev_vmexit_done(CPUX86State *env)
{
    forget_vmsa(env);
    env->sev_status = 0;
    env->sev_cbit = 0;
    env->sev_asid = 0;
    env->sev_vmpl = 0;
    env->ghcb_msr = 0;
    for (int i = 0; i < ARRAY_SIZE(env->snp_in_use); i++) {
        qatomic_set(&env->snp_in_use[i], 0);
    }
}

/* ---- State ---- */

/* APM 15.35.8, 15.35.9: the registers of VMLOAD and VMSAVE */
static void load_vmload_state(CPUX86State *env, hwaddr base)
{
    CPUState *cs = env_cpu(env);

    svm_load_seg_cache(env, MMU_PHYS_IDX,
                       base + offsetof(struct vmcb, save.fs), R_FS);
    svm_load_seg_cache(env, MMU_PHYS_IDX,
                       base + offsetof(struct vmcb, save.gs), R_GS);
    svm_load_seg(env, MMU_PHYS_IDX,
                 base + offsetof(struct vmcb, save.tr), &env->tr);
    svm_load_seg(env, MMU_PHYS_IDX,
                 base + offsetof(struct vmcb, save.ldtr), &env->ldt);
#define LOAD(field, at) \
    (env->field = x86_ldq_phys(cs, base + offsetof(struct vmcb, save.at)))
    LOAD(kernelgsbase, kernel_gs_base);
    LOAD(lstar, lstar);
    LOAD(cstar, cstar);
    LOAD(fmask, sfmask);
    LOAD(star, star);
    LOAD(sysenter_cs, sysenter_cs);
    LOAD(sysenter_esp, sysenter_esp);
    LOAD(sysenter_eip, sysenter_eip);
#undef LOAD
}

static void save_vmload_state(CPUX86State *env, hwaddr base)
{
    CPUState *cs = env_cpu(env);

    svm_save_seg(env, MMU_PHYS_IDX,
                 base + offsetof(struct vmcb, save.fs), &env->segs[R_FS]);
    svm_save_seg(env, MMU_PHYS_IDX,
                 base + offsetof(struct vmcb, save.gs), &env->segs[R_GS]);
    svm_save_seg(env, MMU_PHYS_IDX,
                 base + offsetof(struct vmcb, save.tr), &env->tr);
    svm_save_seg(env, MMU_PHYS_IDX,
                 base + offsetof(struct vmcb, save.ldtr), &env->ldt);
#define SAVE(field, at) \
    x86_stq_phys(cs, base + offsetof(struct vmcb, save.at), env->field)
    SAVE(kernelgsbase, kernel_gs_base);
    SAVE(lstar, lstar);
    SAVE(cstar, cstar);
    SAVE(fmask, sfmask);
    SAVE(star, star);
    SAVE(sysenter_cs, sysenter_cs);
    SAVE(sysenter_esp, sysenter_esp);
    SAVE(sysenter_eip, sysenter_eip);
#undef SAVE
}

/* Components that XSETBV would refuse are left out; x87 is always on */
static void set_xcr0(CPUX86State *env, uint64_t xcr0)
{
    uint64_t known = ((uint64_t)env->features[FEAT_XSAVE_XCR0_HI] << 32) |
                     env->features[FEAT_XSAVE_XCR0_LO];

    xcr0 &= known;
    if (!(xcr0 & XSTATE_SSE_MASK)) {
        xcr0 &= ~(uint64_t)XSTATE_YMM_MASK;
    }
    env->xcr0 = xcr0 | XSTATE_FP_MASK;
    cpu_sync_bndcs_hflags(env);
    cpu_sync_avx_hflag(env);
}

static void load_gprs(CPUX86State *env, const uint8_t *gprs)
{
    for (int i = 0; i < ARRAY_SIZE(gpr_at); i++) {
        if (gpr_at[i] >= 0) {
            env->regs[gpr_at[i]] = ldq_le_p(gprs + i * 8);
        }
    }
}

void sev_es_load_guest(CPUX86State *env)
{
    hwaddr vmsa = env->vm_save + offsetof(struct vmcb, save);
    uint8_t b[VMSA_SIZE];
    uint16_t fsw;

    address_space_read(env_cpu(env)->as, vmsa, MEMTXATTRS_UNSPECIFIED, b,
                       sizeof(b));
    load_vmload_state(env, env->vm_save);
    load_gprs(env, b + VMSA_GPRS);
    set_xcr0(env, ldq_le_p(b + VMSA_XCR0));
    env->xss = ldq_le_p(b + VMSA_XSS);
    env->pkru = ldl_le_p(b + VMSA_PKRU);

    cpu_set_mxcsr(env, ldl_le_p(b + VMSA_MXCSR));
    fsw = lduw_le_p(b + VMSA_X87_FSW);
    env->fpstt = extract32(fsw, 11, 3);
    env->fpus = deposit32(fsw, 11, 3, 0);
    cpu_set_fpuc(env, lduw_le_p(b + VMSA_X87_FCW));
    env->fpop = lduw_le_p(b + VMSA_X87_FOP);
    env->fpdp = ldq_le_p(b + VMSA_X87_DP);
    env->fpip = ldq_le_p(b + VMSA_X87_IP);
    for (int i = 0; i < 8; i++) {
        FPReg *r = &env->fpregs[(env->fpstt + i) & 7];

        /* As FXSAVE has the tags: 1 is a register that is not empty */
        env->fptags[i] = !extract32(lduw_le_p(b + VMSA_X87_FTW), i, 1);
        r->d.low = ldq_le_p(b + VMSA_X87_MANTISSA + i * 8);
        r->d.high = lduw_le_p(b + VMSA_X87_EXPONENT + i * 2);
    }
    for (int i = 0; i < 16; i++) {
        env->xmm_regs[i].ZMM_Q(0) = ldq_le_p(b + VMSA_XMM + i * 16);
        env->xmm_regs[i].ZMM_Q(1) = ldq_le_p(b + VMSA_XMM + i * 16 + 8);
        env->xmm_regs[i].ZMM_Q(2) = ldq_le_p(b + VMSA_YMM_HI + i * 16);
        env->xmm_regs[i].ZMM_Q(3) = ldq_le_p(b + VMSA_YMM_HI + i * 16 + 8);
    }
}

/*
 * APM 15.36.9: an automatic exit leaves in the VMSA what it leaves in the VMCB.
 * The VMCB's EXITINTINFO is set after this, to its EVENTINJ.
 */
static void save_exit(CPUX86State *env, uint8_t *vmsa)
{
    uint8_t c[offsetof(struct vmcb, control.next_rip) + 8];

    address_space_read(env_cpu(env)->as, env->vm_vmcb & ~host_cbit(env),
                       MEMTXATTRS_UNSPECIFIED, c, sizeof(c));
#define COPY(at, field) \
    memcpy(vmsa + (at), c + offsetof(struct vmcb, control.field), 8)
    COPY(VMSA_EXIT_CODE, exit_code);
    COPY(VMSA_EXIT_INFO_1, exit_info_1);
    COPY(VMSA_EXIT_INFO_2, exit_info_2);
    COPY(VMSA_EXIT_INT_INFO, event_inj);
    COPY(VMSA_NRIP, next_rip);
#undef COPY
}

void sev_es_save_guest(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);
    hwaddr vmsa = env->vm_save + offsetof(struct vmcb, save);
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    uint8_t b[VMSA_SIZE];
    uint16_t ftw = 0;
    bool stale;

    /* Writes of the host while the guest ran have changed the page's key */
    WITH_QEMU_LOCK_GUARD(&h->lock) {
        stale = amd_snp_key_rewrite(h, vmsa, env->sev_asid);
    }
    if (stale) {
        snp_tlb_flush_soon(env);
    }
    save_vmload_state(env, env->vm_save);
    x86_stq_phys(cs, vmsa + VMSA_XSS, env->xss);
    x86_stl_phys(cs, vmsa + VMSA_PKRU, env->pkru);
    x86_stq_phys(cs, env->vm_vmcb + offsetof(struct vmcb, control.ghcb_gpa),
                 env->ghcb_msr);

    address_space_read(cs->as, vmsa + VMSA_GPRS, MEMTXATTRS_UNSPECIFIED,
                       b + VMSA_GPRS, VMSA_SIZE - VMSA_GPRS);
    for (int i = 0; i < ARRAY_SIZE(gpr_at); i++) {
        if (gpr_at[i] >= 0) {
            stq_le_p(b + VMSA_GPRS + i * 8, env->regs[gpr_at[i]]);
        }
    }
    if (snp_active(env)) {
        save_exit(env, b);
    }
    stq_le_p(b + VMSA_XCR0, env->xcr0);
    update_mxcsr_from_sse_status(env);
    stl_le_p(b + VMSA_MXCSR, env->mxcsr);
    for (int i = 0; i < 8; i++) {
        FPReg *r = &env->fpregs[(env->fpstt + i) & 7];

        ftw |= !env->fptags[i] << i;
        stq_le_p(b + VMSA_X87_MANTISSA + i * 8, r->d.low);
        stw_le_p(b + VMSA_X87_EXPONENT + i * 2, r->d.high);
    }
    stw_le_p(b + VMSA_X87_FTW, ftw);
    stw_le_p(b + VMSA_X87_FSW, deposit32(env->fpus, 11, 3, env->fpstt));
    stw_le_p(b + VMSA_X87_FCW, env->fpuc);
    stw_le_p(b + VMSA_X87_FOP, env->fpop);
    stq_le_p(b + VMSA_X87_DP, env->fpdp);
    stq_le_p(b + VMSA_X87_IP, env->fpip);
    for (int i = 0; i < 16; i++) {
        stq_le_p(b + VMSA_XMM + i * 16, env->xmm_regs[i].ZMM_Q(0));
        stq_le_p(b + VMSA_XMM + i * 16 + 8, env->xmm_regs[i].ZMM_Q(1));
        stq_le_p(b + VMSA_YMM_HI + i * 16, env->xmm_regs[i].ZMM_Q(2));
        stq_le_p(b + VMSA_YMM_HI + i * 16 + 8, env->xmm_regs[i].ZMM_Q(3));
    }
    address_space_write(cs->as, vmsa + VMSA_GPRS, MEMTXATTRS_UNSPECIFIED,
                        b + VMSA_GPRS, VMSA_SIZE - VMSA_GPRS);
}

void sev_es_load_host(CPUX86State *env)
{
    /* Without the C-bit, which x86_ldq_phys() takes off by itself */
    hwaddr save = (env->vm_hsave & ~host_cbit(env)) +
                  offsetof(struct vmcb, save);
    uint8_t b[VMSA_X87];

    /* Type B: the hypervisor saved them itself before VMRUN (APM 15.35.8) */
    address_space_read(env_cpu(env)->as, save, MEMTXATTRS_UNSPECIFIED, b,
                       sizeof(b));
    load_vmload_state(env, env->vm_hsave);
    load_gprs(env, b + VMSA_GPRS);
    set_xcr0(env, ldq_le_p(b + VMSA_XCR0));
    env->xss = ldq_le_p(b + VMSA_XSS);
    env->pkru = ldl_le_p(b + VMSA_PKRU);

    /* Type C: reset values (APM 15.35.9) */
    env->fpstt = 0;
    env->fpus = 0;
    cpu_set_fpuc(env, 0x40);
    env->fpop = 0;
    env->fpip = 0;
    env->fpdp = 0;
    memset(env->fptags, 0, sizeof(env->fptags));
    memset(env->fpregs, 0, sizeof(env->fpregs));
    cpu_set_mxcsr(env, 0x1f80);
    memset(env->xmm_regs, 0, sizeof(env->xmm_regs[0]) * 16);
}
