/*
 * AMD SEV-SNP on an emulated host: RMP checks and keys at the end of each walk
 *
 * APM (24593) volume 2, 15.36.10, "RMP and VMPL Access Checks": the checks have
 * the manual's names, and are in the order of its table "RMP Memory Access
 * Checks", which is that of their priority. They come after all checks of page
 * tables and nested page tables.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/units.h"
#include "cpu.h"
#include "exec/page-protection.h"
#include "tcg/helper-tcg.h"
#include "sev_helper.h"
#include "snp_tlb.h"

/* ---- Keys ---- */

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
    /* Registers of devices are under no key */
    if (!amd_rmp_covers(h, a->paddr)) {
        return;
    }
    if (a->type != MMU_DATA_STORE || env->sev_walk) {
        /*
         * A walk asks for a table that can be written, and mostly does not
         * write it. If it does, the write is lost: the noise is read-only.
         */
        snp_tlb_note_elsewhere(env, a->paddr);
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
        snp_tlb_flush_soon(env);
    }
}

/* APM 7.10: the C-bit of the host's tables and of nested tables */
static unsigned host_key(const SnpAccess *a)
{
    return a->encrypted ? AMD_SNP_KEY_SME : AMD_SNP_KEY_NONE;
}

/* ---- Hypervisor-Owned: the host, other guests, shared memory ---- */

/*
 * Assigned is 0 in the entry of the page, and if the page is mapped by 2 MB, in
 * those of all its 4 KB. Memory that the RMP does not cover passes.
 */
static bool is_hypervisor_owned(AmdSnpHost *h, hwaddr pa, hwaddr page_size)
{
    if (page_size >= 2 * MiB) {
        return !amd_rmp_region_assigned(h, pa);
    }
    return !(amd_rmp_get(h, pa).lo & AMD_RMP_ASSIGNED);
}

/*
 * Only writes have to pass. A read takes write permission out of the TLB entry
 * that it makes, so that the first write gets here too.
 */
static bool check_hypervisor_owned(AmdSnpHost *h, SnpAccess *a)
{
    if ((a->prot & PAGE_WRITE) &&
        !is_hypervisor_owned(h, a->paddr, a->page_size)) {
        if (a->type == MMU_DATA_STORE) {
            return false;
        }
        a->prot &= ~PAGE_WRITE;
    }
    return true;
}

/*
 * With the erratum, the first page of 2 MB that is in use by a vCPU makes a
 * write through a mapping of 2 MB or more fail anywhere in them (Linux,
 * 75253db41a46).
 */
static bool check_in_use_2m(AmdSnpHost *h, SnpAccess *a)
{
    if ((a->prot & PAGE_WRITE) && a->page_size >= 2 * MiB &&
        amd_snp_host_in_use_2m(h, a->paddr)) {
        if (a->type == MMU_DATA_STORE) {
            return false;
        }
        a->prot &= ~PAGE_WRITE;
    }
    return true;
}

/* VMRUN and #VMEXIT access the VMSA in use whatever its RMP entry says */
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
    snp_tlb_note_page(env, a->paddr);
    /* Hypervisor-Owned: else #PF, or #NPF if a guest without SEV runs */
    if (snp_host_enabled(env) &&
        (!check_hypervisor_owned(h, a) || !check_in_use_2m(h, a))) {
        return false;
    }
    apply_key(env, host_key(a), a);
    return true;
}

/* ---- Private memory of an SNP-active guest ---- */

/* PAGE_* that the VMPL has by its permission mask; VMPL0 has all (15.36.7) */
static int vmpl_prot(AmdRmpEntry e, unsigned vmpl, bool user)
{
    unsigned perm = vmpl ? amd_rmp_perm(e, vmpl) : AMD_RMP_PERM_ALL;

    /* 15.36.7: no data access where a mask has write and not read */
    if (!(perm & AMD_RMP_PERM_READ)) {
        perm &= ~AMD_RMP_PERM_WRITE;
    }
    return (perm & AMD_RMP_PERM_READ ? PAGE_READ : 0) |
           (perm & AMD_RMP_PERM_WRITE ? PAGE_WRITE : 0) |
           (perm & (user ? AMD_RMP_PERM_EXEC_USER
                         : AMD_RMP_PERM_EXEC_SUPER) ? PAGE_EXEC : 0);
}

/*
 * @gpa is accessed with an effective C-bit of 1. On failure sev_npf_info has
 * what to report: #NPF, or #VC in its place.
 */
static bool check_private(CPUX86State *env, hwaddr gpa, SnpAccess *a)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    AmdRmpEntry e = amd_rmp_get(h, a->paddr);
    int prot;

    /* RMP-Covered; memory outside the RMP reads as an entry of zeros */
    if (!(e.lo & AMD_RMP_ASSIGNED)) {
        goto rmp_fault;
    }
    /* Guest-Owned: the entry has the ASID of this guest */
    if (amd_rmp_asid(e.lo) != env->sev_asid) {
        goto rmp_fault;
    }
    /* Reverse-Map: the entry has the address that was translated */
    if ((e.lo & AMD_RMP_GPA_MASK) != (gpa & AMD_RMP_GPA_MASK)) {
        goto rmp_fault;
    }
    /* Mutable: Immutable is clear; the page is not in the firmware's hands */
    if (e.lo & AMD_RMP_IMMUTABLE) {
        goto rmp_fault;
    }
    /* Page-Size: RMP and nested tables both say 2 MB (or more), or both 4 KB */
    if (amd_rmp_is_2m(h, a->paddr) != (a->page_size >= 2 * MiB)) {
        goto rmp_fault;
    }
    /* Validated: else #VC, with an error code of its own (15.36.6) */
    if (!(e.lo & AMD_RMP_VALIDATED)) {
        env->sev_npf_info |= (uint64_t)SVM_VC_NOT_VALIDATED << NPF_VC_SHIFT;
        return false;
    }
    /* VMPL: the permission mask allows this access (15.36.7) */
    prot = vmpl_prot(e, env->sev_vmpl, a->user);
    if (!(prot & (1 << a->type))) {
        env->sev_npf_info |= NPF_VMPL;
        goto rmp_fault;
    }
    a->prot &= prot;
    return true;

 rmp_fault:
    env->sev_npf_info |= NPF_RMP;
    return false;
}

bool snp_check_guest(CPUX86State *env, hwaddr gpa, bool priv, SnpAccess *a)
{
    AmdSnpHost *h = env_archcpu(env)->amd_snp;
    /* APM 15.34.6: shared memory is as the nested tables say */
    unsigned key = priv ? env->sev_asid : host_key(a);

    snp_tlb_note_page(env, a->paddr);
    /*
     * PVALIDATE and the like check their page by rules of their own, and do not
     * access its content; the page tables on the way to it are checked here.
     */
    if (env->sev_insn && !env->sev_walk) {
        return true;
    }
    if (snp_active(env) && priv) {
        if (!check_private(env, gpa, a)) {
            return false;
        }
    } else if (snp_active(env) || snp_host_enabled(env)) {
        /*
         * Hypervisor-Owned: shared memory of an SNP-active guest, and all
         * memory of a guest that is not SNP-active
         */
        if (!check_hypervisor_owned(h, a)) {
            env->sev_npf_info |= NPF_RMP;
            return false;
        }
    }
    apply_key(env, key, a);
    return true;
}

/* ---- Faults, as the platform counts them ---- */

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
