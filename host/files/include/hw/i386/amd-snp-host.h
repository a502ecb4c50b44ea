/*
 * Emulated AMD SEV-SNP host platform
 *
 * State that the CPUs, the secure processor and the IOMMU of one machine share:
 * the place of the reverse map table (RMP), the key under which each page of
 * memory was last written, and counts of what the architecture forbids.
 *
 * References: AMD64 Architecture Programmer's Manual volume 2 (24593), 15.34
 * to 15.36, called APM below; SEV Secure Nested Paging Firmware ABI (56860).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_I386_AMD_SNP_HOST_H
#define HW_I386_AMD_SNP_HOST_H

#include "exec/hwaddr.h"
#include "exec/memory.h"
#include "qapi/qapi-types-common.h"
#include "hw/qdev-core.h"
#include "qemu/bitops.h"
#include "qemu/seqlock.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "qom/object.h"

/* The object's name in the machine: /machine/amd-snp */
#define AMD_SNP_HOST_CHILD "amd-snp"

#define TYPE_AMD_SNP_HOST "amd-snp-host"
OBJECT_DECLARE_SIMPLE_TYPE(AmdSnpHost, AMD_SNP_HOST)

/* CPUID 8000_001F: C-bit, physical address bits that it costs, ASIDs */
#define AMD_SNP_CBIT_POS            51
#define AMD_SNP_CBIT                BIT_ULL(AMD_SNP_CBIT_POS)
#define AMD_SNP_PHYS_REDUCTION      1
#define AMD_SNP_MAX_ASID            509
/* ASIDs below this one are for SEV-ES and SNP guests */
#define AMD_SNP_MIN_SEV_ASID        100
#define AMD_SNP_VMPLS               4

/* APM 15.36.4: bookkeeping of the processor, then 16 bytes for each 4 KB */
#define AMD_RMP_BOOKKEEPING         0x4000
#define AMD_RMP_ENTRY_SIZE          16

/* Low quadword of an RMP entry, as struct rmpentry of Linux has it */
#define AMD_RMP_ASSIGNED            BIT_ULL(0)
#define AMD_RMP_PAGESIZE_2M         BIT_ULL(1)
#define AMD_RMP_IMMUTABLE           BIT_ULL(2)
#define AMD_RMP_GPA_MASK            MAKE_64BIT_MASK(12, 39)
#define AMD_RMP_ASID_SHIFT          51
#define AMD_RMP_ASID_MASK           MAKE_64BIT_MASK(51, 10)
#define AMD_RMP_VMSA                BIT_ULL(61)
#define AMD_RMP_VALIDATED           BIT_ULL(62)
/* High quadword: a byte for each VMPL, VMPL0 lowest (APM 15.36.7) */
#define AMD_RMP_PERM_READ           BIT(0)
#define AMD_RMP_PERM_WRITE          BIT(1)
#define AMD_RMP_PERM_EXEC_USER      BIT(2)
#define AMD_RMP_PERM_EXEC_SUPER     BIT(3)
#define AMD_RMP_PERM_ALL            0xf

/*
 * Key tags. The content of memory is not enciphered; instead each 4 KB page
 * has a tag, the key under which it was last written: none, that of SME, which
 * the host has for itself (APM 7.10), or that of an ASID. Reading it through
 * another key gives bytes that tell nothing of the content.
 */
#define AMD_SNP_KEY_NONE            0
#define AMD_SNP_KEY_SME             0xfffd

/*
 * SYSCFG (MSR C001_0010). The value at reset is what a BIOS leaves and public
 * dumps of Milan hosts have: MtrrFixDramEn, MtrrVarDramEn, MtrrTom2En,
 * Tom2ForceMemTypeWB, MemEncryptionModEn.
 */
#define AMD_SYSCFG_RESET            0xf40000
#define AMD_SYSCFG_MFDM             BIT_ULL(19)
#define AMD_SYSCFG_MEM_ENCRYPT      BIT_ULL(23)
#define AMD_SYSCFG_SNP_EN           BIT_ULL(24)
#define AMD_SYSCFG_VMPL_EN          BIT_ULL(25)

/*
 * HWCR (MSR C001_0015). INVDWBINVD and TscFreqSel are set at reset; a BIOS sets
 * SmmLock, which stays set and SEV needs (APM 15.34.3).
 */
#define AMD_HWCR_SMM_LOCK           BIT_ULL(0)
#define AMD_HWCR_INVD_WBINVD        BIT_ULL(4)
#define AMD_HWCR_TSC_FREQ_SEL       BIT_ULL(24)
#define AMD_HWCR_RESET              (AMD_HWCR_SMM_LOCK | \
                                     AMD_HWCR_INVD_WBINVD | \
                                     AMD_HWCR_TSC_FREQ_SEL)

/* Acts that the architecture forbids; one counter each */
typedef enum AmdSnpError {
    AMD_SNP_ERR_HOST_ACCESS,    /* host write to an assigned page */
    AMD_SNP_ERR_HOST_INSN,      /* RMPUPDATE, PSMASH refused */
    AMD_SNP_ERR_VMRUN,          /* VMRUN refused: VMSA, ASID, controls */
    AMD_SNP_ERR_DMA,            /* a device's write to an assigned page */
    AMD_SNP_ERR_IOMMU,          /* a register or store that the IOMMU locks */
    AMD_SNP_ERR_FIRMWARE,       /* a firmware command refused */
    AMD_SNP_ERR_GUEST_INSN,     /* PVALIDATE and the like: wrong operands */
    AMD_SNP_ERR_GUEST_ACCESS,   /* access against VMPL permissions */
    AMD_SNP_ERR__MAX,
} AmdSnpError;

/* Ordinary events; counted for tests and benchmarks */
typedef enum AmdSnpStat {
    AMD_SNP_STAT_RMPUPDATE,
    AMD_SNP_STAT_PSMASH,
    AMD_SNP_STAT_PVALIDATE,
    AMD_SNP_STAT_RMPADJUST,
    AMD_SNP_STAT_GUEST_INSN_FAILED, /* of these, but for wrong operands */
    AMD_SNP_STAT_VMRUN_SEV,
    AMD_SNP_STAT_NPF_RMP,       /* #NPF with the RMP bit: page state changes */
    AMD_SNP_STAT_VC_NOT_VALID,  /* #VC 0x404 */
    AMD_SNP_STAT_COMMANDS,      /* firmware commands */
    AMD_SNP_STAT_FLUSHES,       /* TLB flushes of all CPUs */
    AMD_SNP_STAT__MAX,
} AmdSnpStat;

typedef struct AmdRmpEntry {
    uint64_t lo;
    uint64_t hi;
} AmdRmpEntry;

struct AmdSnpHost {
    DeviceState parent_obj;

    /* Properties; see amd_snp_host_properties[] */
    uint64_t rmp_offset;
    OnOffAuto erratum_2m;

    /* Values of MSR C001_0132 and C001_0133; the end is inclusive */
    hwaddr rmp_base;
    hwaddr rmp_end;
    /* Pages of memory that the RMP covers, from physical address 0 */
    uint64_t rmp_pages;
    /* The RMP's entries in guest memory */
    uint64_t *rmp;
    /* For those who read an entry without the lock: see amd_rmp_get() */
    QemuSeqLock rmp_seq;
    /*
     * Which pages the platform has assigned, and how many in each 2 MB region.
     * Not by the entries in guest memory: software can write those by itself
     * until SNP_INIT, and a device that goes around the IOMMU always.
     */
    unsigned long *assigned_pages;
    uint16_t *assigned;
    /* The key tag of each page */
    uint16_t *key;
    /* A page of memory that looks like ciphertext, mapped read-only */
    MemoryRegion ciphertext;
    MemoryRegion *ram;
    hwaddr below_4g_size;
    hwaddr above_4g_start;
    hwaddr above_4g_size;

    /*
     * Readings of the APM where it leaves room; properties of the same names.
     * es-always-intercepts: CPUID and port I/O of guests with SEV-ES only are
     * intercepted whatever the VMCB has, as those of SNP guests are.
     */
    bool es_always_intercepts;
    /* es-vmsave-exits: VMSAVE in a guest with SEV-ES is #VMEXIT, not #VC */
    bool es_vmsave_exits;
    /* trap-clts-lmsw: CLTS and LMSW raise the write trap of CR0, as MOV does */
    bool trap_clts_lmsw;
    /* vmsa-checks-xss: VMRUN refuses a VMSA whose XSS WRMSR would refuse */
    bool vmsa_checks_xss;
    /* vmsa-in-use-busy: VMRUN of a VMSA in use ends with VMEXIT_BUSY */
    bool vmsa_in_use_busy;
    /* es-any-asid: guests with SEV-ES may have the ASIDs of plain SEV, too */
    bool es_any_asid;
    /* At most this many records of TLB contents for each CPU; 0: as fit */
    uint64_t tlb_records;
    /* VMRUN with a VMSA waits on this CPU before it looks at the VMSA */
    uint64_t vmrun_delay_cpu;
    uint64_t vmrun_delay_us;

    /* RMP initialised by the firmware */
    bool rmp_initialized;
    /*
     * Device writes are checked, and registers of the IOMMU are locked: from
     * SNP_INIT until a SNP_SHUTDOWN_EX that ends it, or a reset. Set with the
     * lock held, read without.
     */
    bool iommu_enforces;

    /*
     * Serialises changes of RMP entries and key tags. Taken with or without
     * the BQL held; under it, only locks of TCG are taken: those of pages, in
     * changing the content of memory, and those of TLBs and of work queued for
     * a CPU, in flushing.
     */
    QemuMutex lock;

    uint64_t errors[AMD_SNP_ERR__MAX];
    uint64_t errors_total;
    uint64_t stats[AMD_SNP_STAT__MAX];
};

static inline unsigned amd_rmp_asid(uint64_t lo)
{
    return extract64(lo, AMD_RMP_ASID_SHIFT, 10);
}

/* The permission mask of @vmpl: AMD_RMP_PERM_* */
static inline unsigned amd_rmp_perm(AmdRmpEntry e, unsigned vmpl)
{
    return extract64(e.hi, vmpl * 8, 8);
}

static inline void amd_rmp_set_perm(AmdRmpEntry *e, unsigned vmpl,
                                    unsigned perm)
{
    e->hi = deposit64(e->hi, vmpl * 8, 8, perm);
}

/* TOP_MEM and TOP_MEM2 as a BIOS sets them: multiples of 8 MB (APM 7.9.4) */
static inline uint64_t amd_snp_top_mem(AmdSnpHost *h)
{
    return ROUND_UP(h->below_4g_size, 8 * MiB);
}

static inline uint64_t amd_snp_top_mem2(AmdSnpHost *h)
{
    return h->above_4g_size ?
           ROUND_UP(h->above_4g_start + h->above_4g_size, 8 * MiB) : 0;
}

/* True for pages that the RMP has an entry for */
static inline bool amd_rmp_covers(AmdSnpHost *h, hwaddr pa)
{
    return (pa >> 12) < h->rmp_pages;
}

/*
 * Reads the entry of the page at @pa; all zero (hypervisor) if not covered. The
 * lock need not be held. Both quadwords come from the same amd_rmp_set(), on
 * hosts that reorder memory accesses too: a reader that has seen a part of a
 * change sees an odd or another sequence number, and reads again.
 */
static inline AmdRmpEntry amd_rmp_get(AmdSnpHost *h, hwaddr pa)
{
    AmdRmpEntry e = { 0, 0 };

    if (amd_rmp_covers(h, pa)) {
        uint64_t *p = h->rmp + (pa >> 12) * 2;
        unsigned seq;

        do {
            seq = seqlock_read_begin(&h->rmp_seq);
            e.lo = le64_to_cpu(qatomic_read(p));
            e.hi = le64_to_cpu(qatomic_read(p + 1));
        } while (seqlock_read_retry(&h->rmp_seq, seq));
    }
    return e;
}

/* Writes the entry of the page at @pa, which is covered. Lock held. */
static inline void amd_rmp_set(AmdSnpHost *h, hwaddr pa, AmdRmpEntry e)
{
    uint64_t *p = h->rmp + (pa >> 12) * 2;
    bool assigned = e.lo & AMD_RMP_ASSIGNED;

    if (test_bit(pa >> 12, h->assigned_pages) != assigned) {
        change_bit(pa >> 12, h->assigned_pages);
        qatomic_set(&h->assigned[pa >> 21],
                    h->assigned[pa >> 21] + (assigned ? 1 : -1));
    }
    seqlock_write_begin(&h->rmp_seq);
    qatomic_set(p, cpu_to_le64(e.lo));
    qatomic_set(p + 1, cpu_to_le64(e.hi));
    seqlock_write_end(&h->rmp_seq);
}

/**
 * amd_rmp_clear: make entries zero (hypervisor-owned), as SNP_INIT does
 * @page: number of the first page, multiple of 512
 * @n: how many, multiple of 512
 *
 * Lock held.
 */
void amd_rmp_clear(AmdSnpHost *h, uint64_t page, uint64_t n);

/*
 * True if an entry of the 2 MB region of @pa has Assigned set, whoever has
 * written it: before SNP_INIT, software can write entries by itself.
 */
bool amd_rmp_region_written(AmdSnpHost *h, hwaddr pa);

/* True if any page of the 2 MB region of @pa is assigned */
static inline bool amd_rmp_region_assigned(AmdSnpHost *h, hwaddr pa)
{
    return amd_rmp_covers(h, pa) &&
           (qatomic_read(&h->assigned[pa >> 21]) ||
            (unlikely(!qatomic_read(&h->rmp_initialized)) &&
             amd_rmp_region_written(h, pa)));
}

/*
 * True if the 2 MB region of @pa has one 2 MB entry: the entry of the region's
 * first page says so for all of them.
 */
static inline bool amd_rmp_is_2m(AmdSnpHost *h, hwaddr pa)
{
    AmdRmpEntry e = amd_rmp_get(h, pa & ~MAKE_64BIT_MASK(0, 21));

    return (e.lo & AMD_RMP_ASSIGNED) && (e.lo & AMD_RMP_PAGESIZE_2M);
}

/* The key tag of the page at @pa; AMD_SNP_KEY_NONE where memory is not RAM */
static inline unsigned amd_snp_key(AmdSnpHost *h, hwaddr pa)
{
    return amd_rmp_covers(h, pa) ? qatomic_read(&h->key[pa >> 12]) : 0;
}

/**
 * amd_snp_host_of_machine: the platform object of the machine
 *
 * Returns NULL if the machine has none (no amd-snp-host=on).
 */
AmdSnpHost *amd_snp_host_of_machine(void);

/**
 * amd_snp_host_set_memory: tell where guest memory is, before realize
 * @ram: region that holds all of guest memory
 *
 * Sizes and addresses in bytes.
 */
void amd_snp_host_set_memory(AmdSnpHost *h, MemoryRegion *ram,
                             hwaddr below_4g_size, hwaddr above_4g_start,
                             hwaddr above_4g_size);

/**
 * amd_snp_host_error: count and log (LOG_GUEST_ERROR) what was refused
 */
void G_GNUC_PRINTF(3, 4) amd_snp_host_error(AmdSnpHost *h, AmdSnpError kind,
                                            const char *fmt, ...);

static inline void amd_snp_host_count(AmdSnpHost *h, AmdSnpStat stat)
{
    qatomic_inc(&h->stats[stat]);
}

/**
 * amd_snp_key_set: tag pages; their content stays as it is
 * @pa: physical address, multiple of 4 KB
 * @size: bytes, multiple of 4 KB
 *
 * For the firmware's commands that encrypt or decrypt in place. Lock held. The
 * caller has all TLBs flushed before it reports that the command has completed.
 */
void amd_snp_key_set(AmdSnpHost *h, hwaddr pa, hwaddr size, unsigned key);

/**
 * amd_snp_key_rewrite: a page is about to be written under another key
 *
 * What it held under the old key becomes noise, and the tag changes. No effect
 * if the tag is @key already. Lock held; true if the page changed.
 */
bool amd_snp_key_rewrite(AmdSnpHost *h, hwaddr pa, unsigned key);

/**
 * amd_snp_key_destroy: keys of ASIDs are gone, and all content under them
 * @asids: bitmap of AMD_SNP_MAX_ASID + 1 bits
 * @page: number of the page to go on with; 0 at first
 *
 * Every page under them becomes noise and gets no key. Does a piece that takes
 * milliseconds, so that whoever waits for the lock or the BQL gets it. Lock
 * held. Returns true if that was the last piece.
 */
bool amd_snp_key_destroy(AmdSnpHost *h, const unsigned long *asids,
                         uint64_t *page);

/**
 * amd_snp_read, amd_snp_write: access physical memory through a key
 * @pa: physical address, any alignment, without C-bit
 * @key: AMD_SNP_KEY_NONE, AMD_SNP_KEY_SME or an ASID
 *
 * Pages under another key read as noise; writing re-keys the pages that it
 * touches. No RMP check is made: the firmware has checks of its own. Lock held.
 *
 * Returns false if a part of the range is not RAM; nothing is written then.
 */
bool amd_snp_read(AmdSnpHost *h, hwaddr pa, unsigned key, void *buf,
                  size_t len);
bool amd_snp_write(AmdSnpHost *h, hwaddr pa, unsigned key, const void *buf,
                   size_t len);

/**
 * amd_snp_host_flush_tlbs: have the TLBs of all CPUs flushed
 * @done: called when the last CPU has flushed, with the BQL held, from the main
 *        loop or before this function returns; may be NULL
 *
 * If there is @done, the caller holds the BQL: it completes a firmware command.
 */
void amd_snp_host_flush_tlbs(AmdSnpHost *h, void (*done)(void *opaque),
                             void *opaque);

/* ---- The firmware's questions about the CPUs; BQL held ---- */

/**
 * amd_snp_host_cpus_ready: the conditions that SNP_INIT puts on every CPU
 *
 * SYSCFG has MFDM, MemEncryptionEn, SNP_EN and VMPL_EN set, VM_HSAVE_PA is 0
 * (SNP ABI, SNP_INIT). Returns false with @why set to static text if not.
 */
bool amd_snp_host_cpus_ready(AmdSnpHost *h, const char **why);

/**
 * amd_snp_host_cpuid: CPUID of CPU 0
 * @regs: EAX, EBX, ECX, EDX
 */
void amd_snp_host_cpuid(AmdSnpHost *h, uint32_t leaf, uint32_t subleaf,
                        uint32_t regs[4]);

/*
 * Ask for WBINVD on all CPUs, after an ASID was taken from a guest; and tell
 * whether all of them have executed it since.
 */
void amd_snp_host_want_wbinvd(AmdSnpHost *h);
bool amd_snp_host_wbinvd_done(AmdSnpHost *h);

/* A CPU runs with a page of the range as VMSA, VMCB or host save area */
bool amd_snp_host_in_use(AmdSnpHost *h, hwaddr pa, hwaddr size);

/* The highest ASID that a guest with SEV-ES may have */
unsigned amd_snp_host_max_es_asid(AmdSnpHost *h);

/*
 * The CPU takes all of the 2 MB of @pa for in use: it has the erratum, and the
 * first page of them is in use. Any thread.
 */
bool amd_snp_host_in_use_2m(AmdSnpHost *h, hwaddr pa);

/**
 * amd_snp_host_iommu_pages: pages that the IOMMU writes by itself
 * @n: at most this many
 *
 * Event log, PPR log, completion wait: physical addresses of their 4 KB pages.
 * Returns how many there are.
 */
unsigned amd_snp_host_iommu_pages(AmdSnpHost *h, hwaddr *pages, unsigned n);

/* The host's key for an access to @pa, which has the C-bit or has not */
static inline unsigned amd_snp_host_key(hwaddr pa)
{
    return pa & AMD_SNP_CBIT ? AMD_SNP_KEY_SME : AMD_SNP_KEY_NONE;
}

/**
 * amd_snp_host_dma: a device's access to the page at @pa, in and out
 *
 * Called by the IOMMU for every translation. @pa may have the C-bit, and loses
 * it. Writes to assigned pages are refused and counted, other writes leave the
 * page under SME's key or under none, as the C-bit says; reads of a page that
 * is under another key go to noise. Any thread, with or without the BQL.
 */
bool amd_snp_host_dma(AmdSnpHost *h, hwaddr *pa, bool is_write);

/* Physical address of the page that reads as noise */
hwaddr amd_snp_host_ciphertext_page(AmdSnpHost *h);

/* The whole range is memory that can be read and written, and no device */
bool amd_snp_host_is_ram(AmdSnpHost *h, hwaddr pa, hwaddr len);

#endif
