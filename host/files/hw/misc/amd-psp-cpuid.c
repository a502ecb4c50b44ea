/*
 * AMD Secure Processor: the CPUID page of an SNP guest
 *
 * SNP_LAUNCH_UPDATE takes a page of type CPUID only if it promises a guest
 * nothing that the processor does not hold. What is compared, and how, is in
 * the processor's PPR (55898 for Milan, 2.1.5.3 "CPUID Policy Enforcement"),
 * which was not at hand. The rules below are those that public texts tell of;
 * registers without one are not compared. The texts:
 *
 *   unlisted    M. Roth on qemu-devel, July 2024, who quotes the PPR: functions
 *               0 to FFFFh and 8000_0000h to 8000_FFFFh that its table does not
 *               list must be 0, others are not checked; and QEMU's
 *               x-vendor-cpuid-only, for the functions 2 and 4. Model: listed
 *               are the functions that APM volume 3, appendix E, has
 *   FEATURES    "bits set in the GuestVal must also be set in HostVal": D. A.
 *               Gilbert on LKML, October 2021, who quotes the PPR on
 *               8000_0021h; QEMU's sev_snp_mask_cpuid_features()
 *   KNOWN       QEMU's EPYC-v4, which has bit 2 of EDX of 8000_001Dh clear as
 *               it is reserved, and "Fix CPUID encoding of Fn8000001E_ECX"
 *   XSAVE size  QEMU's sev_snp_cpuid_info_fill(): that of the XCR0 in the entry
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"

#define LEAF_XSAVE          0xd
#define LEAF_EXT            0x80000000u
/* Functions that are checked: from 0 and from LEAF_EXT on */
#define LEAVES_CHECKED      0x10000
#define ANY_SUBLEAF         UINT32_MAX

/*
 * 8000_0021h EAX of Milan, which the emulated CPU model lacks: NoNestedDataBp,
 * LFENCE always serialising, null selectors that clear the base
 */
#define MILAN_EXT2_EAX      0x45

/* The legacy region and the header of an XSAVE area */
#define XSAVE_BASE          0x240
#define XSAVE_ALIGNED       BIT(1)

enum { EAX, EBX, ECX, EDX };

typedef enum CpuidRule {
    FEATURES,   /* no bit that the processor has not, but for those of @mask */
    KNOWN,      /* no bit but those of @mask */
} CpuidRule;

static const struct {
    uint32_t leaf;
    uint32_t subleaf;
    uint8_t reg;
    CpuidRule rule;
    uint32_t mask;
} rules[] = {
    /*
     * Free bits are those that follow a control register (OSXSAVE, OSPKE), and
     * what the hypervisor chooses: x2APIC, the hypervisor bit, the topology
     * (HTT, CmpLegacy, TOPOEXT)
     */
    { 1, ANY_SUBLEAF, ECX, FEATURES, BIT(31) | BIT(27) | BIT(21) },
    { 1, ANY_SUBLEAF, EDX, FEATURES, BIT(28) },
    { 7, 0, EBX, FEATURES, 0 },
    { 7, 0, ECX, FEATURES, BIT(4) },
    { 7, 0, EDX, FEATURES, 0 },
    { LEAF_XSAVE, 0, EAX, FEATURES, 0 },
    { LEAF_XSAVE, 0, EDX, FEATURES, 0 },
    { LEAF_XSAVE, 1, EAX, FEATURES, 0 },
    { LEAF_XSAVE, 1, ECX, FEATURES, 0 },
    { LEAF_XSAVE, 1, EDX, FEATURES, 0 },
    { 0x80000001, ANY_SUBLEAF, ECX, FEATURES, BIT(22) | BIT(1) },
    { 0x80000001, ANY_SUBLEAF, EDX, FEATURES, 0 },
    { 0x80000008, ANY_SUBLEAF, EBX, FEATURES, 0 },
    { 0x80000021, ANY_SUBLEAF, EAX, FEATURES, MILAN_EXT2_EAX },
    /* Cache properties: WBINVD's reach, inclusive */
    { 0x8000001d, ANY_SUBLEAF, EDX, KNOWN, BIT(1) | BIT(0) },
    /* Core: threads, number; node: nodes, number */
    { 0x8000001e, ANY_SUBLEAF, EBX, KNOWN, 0xffff },
    { 0x8000001e, ANY_SUBLEAF, ECX, KNOWN, 0x7ff },
    { 0x8000001e, ANY_SUBLEAF, EDX, KNOWN, 0 },
};

/* CPUID of the processor; zero for functions above its highest */
static void host_cpuid(AmdSnpHost *h, uint32_t leaf, uint32_t subleaf,
                       uint32_t regs[4])
{
    uint32_t max[4];

    amd_snp_host_cpuid(h, leaf & LEAF_EXT, 0, max);
    if (leaf > max[EAX]) {
        memset(regs, 0, 4 * sizeof(*regs));
        return;
    }
    amd_snp_host_cpuid(h, leaf, subleaf, regs);
}

/* Functions that are defined for AMD's processors */
static bool is_listed(uint32_t leaf)
{
    return leaf <= 1 || (leaf >= 5 && leaf <= 7) || leaf == 0xb ||
           leaf == LEAF_XSAVE || leaf == 0xf || leaf == 0x10 ||
           (leaf >= LEAF_EXT && leaf <= LEAF_EXT + 8) || leaf == 0x8000000a ||
           (leaf >= 0x80000019 && leaf <= 0x80000022) || leaf == 0x80000026;
}

/* Bytes of an XSAVE area with the components @xcr0, or of a compacted one */
static uint32_t xsave_size(AmdSnpHost *h, uint64_t xcr0, bool compacted)
{
    uint32_t size = XSAVE_BASE;

    for (int i = 2; i < 63; i++) {
        uint32_t c[4];

        if (!(xcr0 & BIT_ULL(i))) {
            continue;
        }
        host_cpuid(h, LEAF_XSAVE, i, c);
        if (!compacted) {
            size = MAX(size, c[EBX] + c[EAX]);
            continue;
        }
        if (c[ECX] & XSAVE_ALIGNED) {
            size = ROUND_UP(size, 64);
        }
        size += c[EAX];
    }
    return size;
}

/* Sizes and places of an XSAVE area's components: what a guest reserves */
static void expect_xsave(AmdSnpHost *h, const SnpCpuidEntry *e,
                         const uint32_t have[4], const uint32_t host[4],
                         uint32_t want[4])
{
    static const uint32_t none[4];
    uint64_t xcr0 = le64_to_cpu(e->xcr0_in), xss = le64_to_cpu(e->xss_in);
    uint32_t subleaf = le32_to_cpu(e->ecx_in);

    if (subleaf == 0) {
        want[EBX] = xsave_size(h, xcr0, false);
        want[ECX] = MIN(have[ECX], host[ECX]);
    } else if (subleaf == 1) {
        want[EBX] = xsave_size(h, xcr0 | xss, true);
    } else if (memcmp(have, none, sizeof(none))) {
        memcpy(want, host, sizeof(none));
    }
}

/* What the firmware would have in an entry, @have being in it */
static void expect(AmdSnpHost *h, const SnpCpuidEntry *e,
                   const uint32_t have[4], uint32_t want[4])
{
    uint32_t leaf = le32_to_cpu(e->eax_in), subleaf = le32_to_cpu(e->ecx_in);
    uint32_t host[4];

    memcpy(want, have, sizeof(host));
    if ((leaf & ~LEAF_EXT) >= LEAVES_CHECKED) {
        return;
    }
    if (!is_listed(leaf)) {
        memset(want, 0, sizeof(host));
        return;
    }
    host_cpuid(h, leaf, subleaf, host);
    for (int i = 0; i < ARRAY_SIZE(rules); i++) {
        uint32_t allowed = rules[i].mask;

        if (rules[i].leaf != leaf || (rules[i].subleaf != ANY_SUBLEAF &&
                                      rules[i].subleaf != subleaf)) {
            continue;
        }
        if (rules[i].rule == FEATURES) {
            allowed |= host[rules[i].reg];
        }
        want[rules[i].reg] &= allowed;
    }
    if (leaf == LEAF_XSAVE) {
        expect_xsave(h, e, have, host, want);
    }
}

bool psp_cpuid_check(PspCall *c, uint8_t *page)
{
    SnpCpuidPage *cpuid = (SnpCpuidPage *)page;
    uint32_t n = le32_to_cpu(cpuid->count);
    bool ok = true;

    /* ABI 8.17.2.6: number of functions */
    if (n > SNP_CPUID_COUNT_MAX) {
        psp_refuse(c, PSP_INVALID_PARAM, "CPUID page has %u entries, expected "
                   "up to %u", n, SNP_CPUID_COUNT_MAX);
        cpuid->count = cpu_to_le32(SNP_CPUID_COUNT_MAX);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        SnpCpuidEntry *e = &cpuid->fn[i];
        uint32_t have[4], want[4];

        for (int r = 0; r < 4; r++) {
            have[r] = le32_to_cpu(e->regs[r]);
        }
        expect(c->h, e, have, want);
        for (int r = 0; r < 4; r++) {
            /* ABI 8.17.2.6: each value is one that the policy allows */
            if (want[r] != have[r]) {
                psp_refuse(c, PSP_INVALID_PARAM, "CPUID 0x%x.%u register %d is "
                           "0x%x, expected 0x%x", le32_to_cpu(e->eax_in),
                           le32_to_cpu(e->ecx_in), r, have[r], want[r]);
                e->regs[r] = cpu_to_le32(want[r]);
                ok = false;
            }
        }
    }
    return ok;
}
