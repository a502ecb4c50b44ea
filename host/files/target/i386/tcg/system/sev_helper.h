/*
 * AMD SEV, SEV-ES and SEV-SNP on an emulated host: the CPU's side
 *
 * sev_helper.c: exits, #VC, write traps, MSRs. sev_vmsa.c: VMRUN and #VMEXIT
 * of guests with encrypted state. snp_rmp.c: the RMP checks and the keys of
 * every translation. snp_insn.c: the instructions that read or change the RMP.
 * snp_tlb.c: which pages each TLB may have.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TARGET_I386_TCG_SEV_HELPER_H
#define TARGET_I386_TCG_SEV_HELPER_H

#include "cpu.h"
#include "hw/i386/amd-snp-host.h"

/* SEV_STATUS (MSR C001_0131): from bit 2 up, SEV_FEATURES of the VMSA */
#define SEV_STATUS_SEV              BIT_ULL(0)
#define SEV_STATUS_SEV_ES           BIT_ULL(1)
#define SEV_STATUS_SNP              BIT_ULL(2)
#define SEV_STATUS_FEATURES_SHIFT   2

/* EXITINFO1 of #NPF, APM 15.36.10 */
#define NPF_RMP                     BIT_ULL(31)
#define NPF_ENC                     BIT_ULL(34)
#define NPF_SIZEM                   BIT_ULL(35)
#define NPF_VMPL                    BIT_ULL(36)
/* sev_npf_info only: error code of the #VC to raise in place of #NPF */
#define NPF_VC_SHIFT                48
/* Bit 31 of the error code of #PF */
#define PG_ERROR_RMP_MASK           BIT(31)

/* Exit code: BUSY is set in the VMSA, APM table C-1 */
#define SVM_EXIT_BUSY               (-2ULL)
/* Error code of #VC, APM 15.36.10: the page is not validated */
#define SVM_VC_NOT_VALIDATED        0x404

static inline bool sev_es_active(CPUX86State *env)
{
    return env->sev_status & SEV_STATUS_SEV_ES;
}

static inline bool snp_active(CPUX86State *env)
{
    return env->sev_status & SEV_STATUS_SNP;
}

/* SYSCFG.MemEncryptionModEn: there is a C-bit, and addresses are narrower */
static inline bool mem_encrypt_enabled(CPUX86State *env)
{
    return env->syscfg & AMD_SYSCFG_MEM_ENCRYPT;
}

/* The C-bit of the host: in its tables, VMCB pointers and the like; or 0 */
static inline uint64_t host_cbit(CPUX86State *env)
{
    return mem_encrypt_enabled(env) ? AMD_SNP_CBIT : 0;
}

/* The C-bit in addresses of the page tables in use, or 0 */
static inline uint64_t sev_cr3_cbit(CPUX86State *env)
{
    /* Without nested paging, tables of a guest are the host's */
    return env->hflags2 & HF2_NPT_MASK ? env->sev_cbit : host_cbit(env);
}

static inline bool snp_host_enabled(CPUX86State *env)
{
    return env->syscfg & AMD_SYSCFG_SNP_EN;
}

/* snp_in_use: the pages of a CPU that runs a guest, APM 15.36.12 */
enum {
    SNP_IN_USE_VMCB,
    SNP_IN_USE_HSAVE,
    SNP_IN_USE_VMSA,
};

/* ---- snp_rmp.c ---- */

/* An access, and the translation that is about to go into the TLB for it */
typedef struct SnpAccess {
    MMUAccessType type;
    bool user;
    /* The C-bit of the host's or the nested tables: SME's key */
    bool encrypted;
    /* Bytes that the last entry of the walk maps, in this stage's tables */
    hwaddr page_size;
    /* Changed by the check: physical address, PAGE_* permissions */
    hwaddr paddr;
    int prot;
} SnpAccess;

/**
 * snp_check_host: RMP check and key of an access that is not a SEV guest's
 *
 * Returns false if it must fault (#PF with PG_ERROR_RMP_MASK). Otherwise @a
 * loses the permissions with which an access would fault.
 */
bool snp_check_host(CPUX86State *env, SnpAccess *a);

/**
 * snp_check_guest: RMP check and key of an access by a SEV guest
 * @gpa: guest physical address, without C-bit
 * @priv: the effective C-bit
 *
 * Returns false if it must fault: sev_npf_info then says how (#NPF, #VC).
 */
bool snp_check_guest(CPUX86State *env, hwaddr gpa, bool priv, SnpAccess *a);

/* A fault of these checks is about to be raised: count it */
void snp_host_fault(CPUX86State *env, vaddr addr, uint32_t error_code);
void snp_guest_fault(CPUX86State *env, hwaddr gpa, uint32_t error_code);

/* ---- sev_vmsa.c ---- */

typedef enum SevVmrun {
    SEV_VMRUN_OK,
    SEV_VMRUN_INVALID,
    SEV_VMRUN_BUSY,
} SevVmrun;

/**
 * sev_vmrun_prepare: the checks of VMRUN before any guest state is loaded
 *
 * On success sev_status, sev_cbit, sev_asid, vm_save say what runs, and the
 * VMSA is in use. A refusal is recorded.
 */
SevVmrun sev_vmrun_prepare(CPUX86State *env, uint64_t nested_ctl,
                           uint32_t asid);
/* VMRUN ends with VMEXIT_INVALID: record it, if it has passed prepare */
void sev_vmrun_refused(CPUX86State *env);
/* VMRUN: VMCB and host save area are hypervisor-owned; if not, #GP(0) */
bool sev_vmrun_check_pages(CPUX86State *env, hwaddr vmcb);
/*
 * VMRUN of an SNP-active guest, APM 15.36.15: a VMSA that another CPU has run,
 * or whose PCPU_ID software has cleared, finds no TLB entry of the guest.
 */
void sev_vmrun_track_cpu(CPUX86State *env);
/* EVENTINJ of VMRUN may be injected into a guest with SEV-ES */
bool sev_es_event_allowed(uint32_t event_inj);
/* State that is in a VMSA and not in the save area of a VMCB */
void sev_es_load_guest(CPUX86State *env);
void sev_es_save_guest(CPUX86State *env);
/* #VMEXIT: the host's state of swap types B and C (APM appendix B) */
void sev_es_load_host(CPUX86State *env);
/* #VMEXIT, or VMRUN refused: no guest runs, and no page is in use */
void sev_vmexit_done(CPUX86State *env);

/* ---- sev_helper.c ---- */

/* An intercept has hit: #VMEXIT, or #VC in a guest with SEV-ES */
G_NORETURN void sev_exit_or_vc(CPUX86State *env, uint64_t exit_code,
                               uint64_t param, uintptr_t ra);
/*
 * Called after a write to a control register or EFER. Does not return if the
 * write is trapped: #VMEXIT with RIP at the next instruction.
 */
void sev_write_trap(CPUX86State *env, uint32_t exit_code, uint64_t value,
                    uintptr_t ra);
/* CLTS and LMSW raise the write trap of CR0, too */
bool sev_traps_clts_lmsw(CPUX86State *env);
/* The guest's event is intercepted whatever VMCB and permission maps have */
bool sev_always_intercepted(CPUX86State *env, uint32_t exit_code);
/* VMSAVE of the host to the page at @addr: #GP(0) if it is assigned */
void sev_check_vmsave(CPUX86State *env, hwaddr addr, uintptr_t ra);
/* The exit leaves RIP of a guest with SEV-ES at the next instruction */
bool sev_es_exit_skips_insn(CPUX86State *env, uint64_t exit_code);
/* Return false for an MSR that is not SEV's; #GP where the APM has it */
bool sev_rdmsr(CPUX86State *env, uint32_t msr, uint64_t *value, uintptr_t ra);
bool sev_wrmsr(CPUX86State *env, uint32_t msr, uint64_t value, uintptr_t ra);
/* The access is never intercepted, whatever the MSR permission map has */
bool sev_msr_not_intercepted(CPUX86State *env, uint32_t msr, bool write);

/* ---- svm_helper.c ---- */

void svm_load_seg(CPUX86State *env, int mmu_idx, hwaddr addr, SegmentCache *sc);
void svm_load_seg_cache(CPUX86State *env, int mmu_idx, hwaddr addr,
                        int seg_reg);
void svm_save_seg(CPUX86State *env, int mmu_idx, hwaddr addr,
                  const SegmentCache *sc);

#endif
