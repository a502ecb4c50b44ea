/*
 * AMD SEV-SNP on an emulated host: which pages the TLB of each CPU may have
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TARGET_I386_TCG_SNP_TLB_H
#define TARGET_I386_TCG_SNP_TLB_H

#include "cpu.h"

/* ---- The CPU that translates tells what its TLB gets ---- */

/* Called before the walk reads the RMP entry or the key of the page at @pa */
void snp_tlb_note_page(CPUX86State *env, hwaddr pa);

/*
 * The page at @pa is translated to another page, the one that reads as noise:
 * the TLB entry cannot be found by @pa.
 */
void snp_tlb_note_elsewhere(CPUX86State *env, hwaddr pa);

/*
 * An entry for @pa is now in this CPU's TLB, at @addr in the TLB of @mmu_idx:
 * after the RMP check, or from an entry of the nested TLB that has passed it.
 */
void snp_tlb_filled(CPUX86State *env, hwaddr pa, vaddr addr, int prot,
                    int mmu_idx);

/* ---- Flushes ---- */

/* Drop what the walk of an instruction with sev_insn has put into the TLB */
void snp_tlb_forget_insn(CPUX86State *env, vaddr addr);

/*
 * The RMP entry or the key of the 4 KB at @pa has changed: no TLB has the old
 * translation when this CPU executes its next instruction.
 */
void snp_tlb_forget_page(CPUX86State *env, hwaddr pa);

/* The TLBs of all CPUs are flushed before this CPU's next instruction */
void snp_tlb_flush_all(CPUX86State *env);

/*
 * Flush the TLBs of all CPUs: this one now, the others when they next leave
 * the code that they run. For callers that cannot wait for the others.
 */
void snp_tlb_flush_soon(CPUX86State *env);

#endif
