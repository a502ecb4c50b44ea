/*
 * qtest for the AMD Secure Processor: SNP launch
 *
 * SNP ABI, SNP_LAUNCH_UPDATE ("Launch Digest") and the digest that
 * SNP_LAUNCH_FINISH compares with an ID block. Tested: the refusals in the
 * order of the checks, each type of page with what becomes of it, and launch
 * digests that host/tests/launch-digest.py computes by code of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"
#include "qemu/bswap.h"

/* CPUID page: a count, then entries; the number of them that fits */
enum { CPUID_COUNT = 0, CPUID_ENTRIES = 16, CPUID_ENTRY_LEN = 48 };
enum {
    ENTRY_LEAF = 0, ENTRY_SUBLEAF = 4, ENTRY_XCR0 = 8,
    ENTRY_EAX = 24, ENTRY_ECX = 32,
};
#define CPUID_MAX           64
#define LEAF_EXT            0x80000000
/* ECX of leaf 1: SSE3, OSXSAVE, x2APIC, hypervisor; SMX, which AMD has not */
#define LEAF1_SUPPORTED     (1u | 1u << 21 | 1u << 27 | 1u << 31)
#define LEAF1_SMX           (1u << 6)
/* ECX of leaf 7: SGX_LC */
#define LEAF7_SGX_LC        (1u << 30)

/* XSAVE: components x87, SSE, AVX; sizes with the first, and with AVX */
#define XCR0_X87            1
#define XCR0_AVX            7
#define XSAVE_X87           0x240
#define XSAVE_AVX           0x340

/* Family and model, as CPUID has them */
#define EXT_FAMILY(fms)     ((fms) >> 20)
#define EXT_FAMILY_19H      0xa

/* VMSA: GUEST_TSC_SCALE and GUEST_TSC_OFFSET, which the firmware fills in */
#define VMSA_TSC            0x2f0
#define VMSA_TSC_LEN        16

#define PAGE(n)             (PAGES + (n) * PSP_PAGE)

/* Permissions: a byte for each VMPL in a command, VMPL0 too in the RMP */
#define PERMS(vmpl3, vmpl2, vmpl1) \
    DW((uint32_t)(vmpl3) << 24 | (vmpl2) << 16 | (vmpl1) << 8, 0)
#define RMP_PERMS(vmpl3, vmpl2, vmpl1) \
    ((uint32_t)(vmpl3) << 24 | (vmpl2) << 16 | (vmpl1) << 8 | 0xf)

static void put_cpuid(Psp *p, uint64_t page, int i, uint32_t leaf,
                      uint32_t subleaf, uint32_t ecx)
{
    uint8_t e[CPUID_ENTRY_LEN] = { 0 };

    stl_le_p(e + ENTRY_LEAF, leaf);
    stl_le_p(e + ENTRY_SUBLEAF, subleaf);
    stl_le_p(e + ENTRY_ECX, ecx);
    qtest_memwrite(p->qts, page + CPUID_ENTRIES + i * CPUID_ENTRY_LEN, e,
                   sizeof(e));
    qtest_writel(p->qts, page + CPUID_COUNT, i + 1);
}

static uint32_t cpuid_ecx(Psp *p, uint64_t page, int i)
{
    return qtest_readl(p->qts, page + CPUID_ENTRIES + i * CPUID_ENTRY_LEN +
                       ENTRY_ECX);
}

/* In the order of the checks: each command has all that comes later wrong */
static void check_order(Psp *p)
{
    const uint64_t pa = PAGE(0);

    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x1000));
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_UPDATE, OUT, 0, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_UPDATE, GCTX, 0, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_UPDATE, GCTX, 0, pa + 16);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_UPDATE, GCTX, UPDATE_2M, pa + PSP_PAGE);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_UPDATE, GCTX, 0, p->rmp_base);
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE_2M, LARGE);
    psp_rmp_write(p, pa, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_rmp_write(p, pa, RMP_GUEST(1, 0x1000));
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_rmp_write(p, pa, RMP_GUEST(1, 0x1000) | RMP_IMMUTABLE);
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(2, 0x1000));
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX, UPDATE_2M, pa);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, 0, pa);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID + 1), pa);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL) | UPDATE_IMI,
           pa);
    EXPECT(p, BAD_PAGE_OWNER, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_rmp_write(p, GCTX2, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX2);
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_UPDATE, GCTX2, UPDATE(NORMAL), pa);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX2, POLICY);
    EXPECT(p, INACTIVE, SNP_LAUNCH_UPDATE, GCTX2, UPDATE(NORMAL), pa);
}

/* Types of which the firmware takes the content as it is, or makes it zero */
static void check_types(Psp *p)
{
    uint64_t pa = PAGE(0);

    fill(p, pa, 0xaa, PSP_PAGE);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x1000));
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa, PERMS(1, 2, 3));
    g_assert_cmphex(psp_rmp_read(p, pa), ==, RMP_GUEST(1, 0x1000));
    g_assert_cmphex(psp_rmp_read_hi(p, pa), ==, RMP_PERMS(1, 2, 3));
    g_assert_true(filled(p, pa, 0xaa, PSP_PAGE));
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    pa = PAGE(1);
    fill(p, pa, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 1, ZERO, pa, 0x2000);
    g_assert_true(filled(p, pa, 0, PSP_PAGE));
    pa = PAGE(2);
    fill(p, pa, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 1, UNMEASURED, pa, 0x3000);
    g_assert_true(filled(p, pa, 0xaa, PSP_PAGE));
    pa = PAGE(3);
    fill(p, pa, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 1, VMSA, pa, VMSA_GPA);
    g_assert_cmphex(psp_rmp_read(p, pa), ==, RMP_GUEST(1, VMSA_GPA) | RMP_VMSA);
    g_assert_true(filled(p, pa, 0xaa, PSP_PAGE));
}

static void check_secrets(Psp *p)
{
    const uint64_t pa = PAGE(4);
    uint8_t page[PSP_PAGE];

    fill(p, pa, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 1, SECRETS, pa, 0x4000);
    qtest_memread(p->qts, pa, page, PSP_PAGE);
    g_assert_cmphex(ldl_le_p(page + SECRETS_VERSION), ==, 3);
    g_assert_cmphex(ldl_le_p(page + SECRETS_FLAGS), ==, 0);
    g_assert_cmphex(EXT_FAMILY(ldl_le_p(page + SECRETS_FMS)), ==,
                    EXT_FAMILY_19H);
    for (int i = 0; i < VMPLS; i++) {
        unsigned vmpck = SECRETS_VMPCK + i * VMPCK_LEN;

        g_assert_false(filled(p, pa + vmpck, 0, VMPCK_LEN));
        g_assert_cmpint(memcmp(page + SECRETS_VMPCK, page + vmpck,
                               VMPCK_LEN) == 0, ==, i == 0);
    }
    g_assert_true(filled(p, pa + SECRETS_VMPCK_END, 0,
                         PSP_PAGE - SECRETS_VMPCK_END));
}

/* Features are the processor's at most; the firmware leaves what would do */
static void check_cpuid(Psp *p)
{
    uint64_t pa = PAGE(5);

    fill(p, pa, 0, PSP_PAGE);
    put_cpuid(p, pa, 0, LEAF_EXT, 0, 0xffffffff);
    put_cpuid(p, pa, 1, 1, 0, LEAF1_SUPPORTED | LEAF1_SMX);
    put_cpuid(p, pa, 2, 7, 0, LEAF7_SGX_LC);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x5000));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
    g_assert_cmphex(psp_rmp_read(p, pa), ==, RMP_PRE_GUEST(1, 0x5000));
    g_assert_cmphex(cpuid_ecx(p, pa, 1), ==, LEAF1_SUPPORTED);
    g_assert_cmphex(cpuid_ecx(p, pa, 2), ==, 0);
    g_assert_cmphex(cpuid_ecx(p, pa, 0), ==, 0xffffffff);
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
    pa = PAGE(6);
    fill(p, pa, 0, PSP_PAGE);
    qtest_writel(p->qts, pa + CPUID_COUNT, CPUID_MAX + 1);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x6000));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
    qtest_writel(p->qts, pa + CPUID_COUNT, 0xffffffff);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
    qtest_writel(p->qts, pa + CPUID_COUNT, CPUID_MAX);
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
}

typedef struct CpuidCase {
    uint32_t leaf;
    uint32_t subleaf;
    uint32_t xcr0;
    /* What the page has, and what it has afterwards */
    uint32_t have[4];
    uint32_t want[4];
} CpuidCase;

/* The CPU model is EPYC-Milan in TCG: AVX, no AVX-512, no TSC deadline */
static const CpuidCase cpuid_cases[] = {
    /* Not AMD's: all zero (QEMU's x-vendor-cpuid-only) */
    { 2, 0, 0, { 1, 0, 0x4d, 0x2c307d }, { 0 } },
    { 4, 0, 0, { 0x121, 0x1c0003f, 0x3f, 1 }, { 0 } },
    { 0x1f, 0, 0, { 1, 2, 3, 4 }, { 0 } },
    { 0x80000009, 0, 0, { 0, 0, 1, 0 }, { 0 } },
    { 0x8000ffff, 0, 0, { 1 }, { 0 } },
    /* Neither standard nor extended: anything */
    { 0x40000000, 0, 0, { 1, 2, 3, 4 }, { 1, 2, 3, 4 } },
    { 0x10000, 0, 0, { 1, 2, 3, 4 }, { 1, 2, 3, 4 } },
    { 0x80010000, 0, 0, { 1, 2, 3, 4 }, { 1, 2, 3, 4 } },
    { 0xc0000000, 0, 0, { 1, 2, 3, 4 }, { 1, 2, 3, 4 } },
    /* Features: TSC deadline, TSC_ADJUST, SPEC_CTRL, VIRT_SSBD */
    { 1, 0, 0, { 0, 0, 1u << 24 | 1, 1 }, { 0, 0, 1, 1 } },
    { 7, 0, 0, { 0, 2 | 1 }, { 0, 1 } },
    { 7, 0, 0, { 0, 0, 0, 1u << 26 }, { 0 } },
    { 0x80000001, 0, 0, { 0, 0, 1u << 27, 1 }, { 0, 0, 0, 1 } },
    { 0x80000008, 0, 0, { 0x3030, 1u << 25 }, { 0x3030, 0 } },
    /* NO_SMM_CTL_MSR, on a Milan (qemu-devel, 6 August 2024) */
    { 0x80000021, 0, 0, { 0x245 }, { 0x45 } },
    /*
     * The size of an XSAVE area, and of the largest. With -accel qtest no
     * component has an offset, so that both are the least one; compacted ones
     * need none.
     */
    { 0xd, 0, XCR0_X87, { 7, XSAVE_X87, XSAVE_X87 }, { 7, XSAVE_X87,
                                                       XSAVE_X87 } },
    { 0xd, 0, XCR0_X87, { 7, XSAVE_AVX, XSAVE_X87 }, { 7, XSAVE_X87,
                                                       XSAVE_X87 } },
    { 0xd, 0, XCR0_X87, { 7, XSAVE_X87, XSAVE_AVX }, { 7, XSAVE_X87,
                                                       XSAVE_X87 } },
    { 0xd, 0, XCR0_X87, { 0xe7, XSAVE_X87 }, { 7, XSAVE_X87 } },
    { 0xd, 1, XCR0_AVX, { 0, XSAVE_X87 }, { 0, XSAVE_AVX } },
    { 0xd, 1, XCR0_X87, { 0x10, XSAVE_X87 }, { 0, XSAVE_X87 } },
    { 0xd, 2, 0, { 0x100 }, { 0x100 } },
    { 0xd, 2, 0, { 0x80 }, { 0x100 } },
    { 0xd, 2, 0, { 0 }, { 0 } },
    { 0xd, 5, 0, { 0x40, 0x440 }, { 0 } },
    /* Cache with complex indexing, as -cpu EPYC has it (NVIDIA/nvtrust 91) */
    { 0x8000001d, 3, 0, { 0xbc163, 0x3c0003f, 0x7fff, 6 },
      { 0xbc163, 0x3c0003f, 0x7fff, 2 } },
    { 0x8000001d, 0, 0, { 0x4121, 0x1c0003f, 0x3f, 1 },
      { 0x4121, 0x1c0003f, 0x3f, 1 } },
    /* 12 nodes ("Fix CPUID encoding of Fn8000001E_ECX") */
    { 0x8000001e, 0, 0, { 0, 0x100, 0xb00 }, { 0, 0x100, 0x300 } },
    { 0x8000001e, 0, 0, { 5, 0x10102, 0x301, 1 }, { 5, 0x102, 0x301, 0 } },
};

/* Each leaf that is checked, alone in a page */
static void check_cpuid_leaves(Psp *p)
{
    for (int i = 0; i < ARRAY_SIZE(cpuid_cases); i++) {
        const CpuidCase *c = &cpuid_cases[i];
        const uint64_t pa = PAGE(8 + i), entry = pa + CPUID_ENTRIES;
        bool good = !memcmp(c->have, c->want, sizeof(c->have));

        fill(p, pa, 0, PSP_PAGE);
        qtest_writel(p->qts, pa + CPUID_COUNT, 1);
        qtest_writel(p->qts, entry + ENTRY_LEAF, c->leaf);
        qtest_writel(p->qts, entry + ENTRY_SUBLEAF, c->subleaf);
        qtest_writel(p->qts, entry + ENTRY_XCR0, c->xcr0);
        for (int r = 0; r < 4; r++) {
            qtest_writel(p->qts, entry + ENTRY_EAX + 4 * r, c->have[r]);
        }
        psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x7000));
        g_test_message("CPUID 0x%x.%u, case %d", c->leaf, c->subleaf, i);
        EXPECT(p, good ? OK : BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX,
               UPDATE(CPUID), pa);
        for (int r = 0; r < 4; r++) {
            g_assert_cmphex(qtest_readl(p->qts, entry + ENTRY_EAX + 4 * r), ==,
                            c->want[r]);
        }
        if (!good) {
            EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
        }
    }
}

/* 2 MB, of types that may have it */
static void check_2m(Psp *p)
{
    const uint64_t gpa = 0x800000;

    large_page(p, LARGE, RMP_PRE_GUEST(1, gpa));
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), LARGE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX,
           UPDATE(VMSA) | UPDATE_2M, LARGE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX,
           UPDATE(SECRETS) | UPDATE_2M, LARGE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX,
           UPDATE(CPUID) | UPDATE_2M, LARGE);
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(ZERO) | UPDATE_2M, LARGE);
    g_assert_cmphex(psp_rmp_read(p, LARGE), ==, RMP_GUEST(1, gpa) | RMP_2M);
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(ZERO),
           LARGE + PSP_PAGE);
}

static void test_snp_launch_update(void)
{
    Psp *p = start_snp(NULL);

    snp_guest(p, GCTX, POLICY, 1);
    check_order(p);
    check_types(p);
    check_secrets(p);
    check_cpuid(p);
    check_cpuid_leaves(p);
    check_2m(p);

    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX);
    psp_rmp_write(p, PAGE(7), RMP_PRE_GUEST(1, 0x7000));
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL),
           PAGE(7));
    psp_stop(p);
}

static void from_hex(const char *hex, uint8_t *out, size_t n)
{
    g_assert_cmpuint(strlen(hex), ==, 2 * n);
    for (size_t i = 0; i < n; i++) {
        out[i] = g_ascii_xdigit_value(hex[2 * i]) << 4 |
                 g_ascii_xdigit_value(hex[2 * i + 1]);
    }
}

/*
 * With an ID block that has the digest, the next check fails instead: that of
 * the algorithm, for there is none.
 */
static void check_digest(Psp *p, uint64_t gctx, uint64_t policy,
                         const char *hex)
{
    uint8_t block[ID_BLOCK_LEN] = { 0 };

    fill(p, AUTH, 0, PSP_PAGE);
    from_hex(hex, block + ID_DIGEST, DIGEST_LEN);
    stl_le_p(block + ID_VERSION, 1);
    stq_le_p(block + ID_POLICY, policy);
    for (int i = 0; i < DIGEST_LEN; i++) {
        block[i] ^= 0x80;
        qtest_memwrite(p->qts, BLOCK, block, sizeof(block));
        EXPECT(p, BAD_MEASUREMENT, SNP_LAUNCH_FINISH, gctx, BLOCK, AUTH,
               FINISH_ID_BLOCK);
        block[i] ^= 0x80;
    }
    qtest_memwrite(p->qts, BLOCK, block, sizeof(block));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, gctx, BLOCK, AUTH,
           FINISH_ID_BLOCK);
}

static void test_snp_digest(void)
{
    Psp *p = start_snp(NULL);

    snp_guest(p, GCTX, POLICY, 1);
    check_digest(p, GCTX, POLICY,
        "000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000");
    snp_page(p, GCTX, 1, ZERO, PAGES, 0);
    check_digest(p, GCTX, POLICY,
        "70c0ecaab9608f14ebf8ac6f0f07bcd8728f4e2ab30382b5"
        "39b4de4de904ca9f8ebdf4b2cd3cd84dd996bd55dd794676");
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);

    snp_guest(p, GCTX, POLICY, 2);
    fill(p, PAGES, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 2, NORMAL, PAGES, 0x1000);
    check_digest(p, GCTX, POLICY,
        "83f2b12dec4ffc7a903475c06f60c3a229e45e61ad87e4f7"
        "75f0cc95cea53ade2911f84e1205ddfa14df9bf20bf3f0c3");
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);

    snp_guest(p, GCTX, POLICY, 3);
    fill(p, PAGES, 0, PSP_PAGE);
    /* Fields of a VMSA that are not measured */
    fill(p, PAGES + VMSA_TSC, 0xff, VMSA_TSC_LEN);
    snp_page(p, GCTX, 3, VMSA, PAGES, VMSA_GPA);
    check_digest(p, GCTX, POLICY,
        "f4577da9b848673216afc3909e5ea7aa80150dda44152687"
        "4cd2b0282894709b46484c13a07221aefbedfff667199259");
    psp_stop(p);
}

/* Whole launches, as host/tests/launch-digest.py computes them by itself */
#define DIGEST_WHOLE_2 \
    "9c9b5ab673e804700cc5235c006876c6d40f5b802c34a4b7" \
    "e66fde9a10f25079872c9d29da2ae4ae0317f6e7ae35649b"
#define DIGEST_WHOLE_1 \
    "901f4b421fd2af1011e3cb746a2c1f70160ddcc0a4e291d9" \
    "7e2c2fb277b80eb893f4d68a2bebca423b0b63551624a514"
#define DIGEST_LARGE \
    "2eaa89550417355c113ec540b9ba73e5972b1cbdda8fd801" \
    "f503e3aeec4821b74ec8dc3228731cacf68d867524b63a95"

static void whole_launch(Psp *p, unsigned asid, int vmsas, const char *hex)
{
    uint64_t pa = PAGES;

    snp_guest(p, GCTX, POLICY, asid);
    fill(p, pa, 0x5a, PSP_PAGE);
    snp_page(p, GCTX, asid, NORMAL, pa, 0xffc00000);
    pa += PSP_PAGE;
    snp_page(p, GCTX, asid, ZERO, pa, 0x800000);
    pa += PSP_PAGE;
    snp_page(p, GCTX, asid, SECRETS, pa, 0x80d000);
    pa += PSP_PAGE;
    fill(p, pa, 0, PSP_PAGE);
    snp_page(p, GCTX, asid, CPUID, pa, 0x80e000);
    for (int i = 0; i < vmsas; i++) {
        pa += PSP_PAGE;
        fill(p, pa, 0xc0 + i, PSP_PAGE);
        snp_page(p, GCTX, asid, VMSA, pa, VMSA_GPA);
    }
    check_digest(p, GCTX, POLICY, hex);
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);
}

static void test_snp_whole_launch(void)
{
    Psp *p = start_snp(NULL);

    whole_launch(p, 1, 2, DIGEST_WHOLE_2);
    whole_launch(p, 2, 1, DIGEST_WHOLE_1);

    /* 2 MB counts as 512 pages, one after the other */
    snp_guest(p, GCTX, POLICY, 3);
    fill(p, LARGE, 0x3c, PSP_2M);
    large_page(p, LARGE, RMP_PRE_GUEST(3, 0x200000));
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL) | UPDATE_2M, LARGE,
           PERMS(0xf, 7, 3));
    check_digest(p, GCTX, POLICY, DIGEST_LARGE);
    psp_stop(p);
}

void add_snp_launch_tests(void)
{
    qtest_add_func("amd-psp/snp/launch-update", test_snp_launch_update);
    qtest_add_func("amd-psp/snp/digest", test_snp_digest);
    qtest_add_func("amd-psp/snp/whole-launch", test_snp_whole_launch);
}
