/*
 * Fuzzer for the AMD Secure Processor's mailbox and firmware
 *
 * Commands with random, mutated and plausible buffers, on pages in random
 * states, for AMD_PSP_FUZZ_SECONDS (2 if not given) from AMD_PSP_FUZZ_SEED
 * (random; printed). QEMU must survive, every command must complete, and the
 * firmware must not write to a page that is the hypervisor's while SNP is
 * initialised, nor to the RMP other than entries.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"

/* Pages that commands are let loose on, and one that stays the hypervisor's */
#define POOL                0x200000
#define POOL_PAGES          32
#define CANARY              0x300000

static GRand *rnd;

static uint32_t below(uint32_t n)
{
    return g_rand_int(rnd) % n;
}

static uint64_t rand64(void)
{
    return (uint64_t)g_rand_int(rnd) << 32 | g_rand_int(rnd);
}

static uint64_t pool_page(void)
{
    return POOL + below(POOL_PAGES) * PSP_PAGE;
}

static uint64_t some_address(Psp *p)
{
    switch (below(12)) {
    case 0:
        return rand64();
    case 1:
        return p->rmp_base + below(0x10000);
    case 2:
        return 0xfed80000ULL + below(0x100000);
    case 3:
        return RAM_END - below(64);
    case 4:
        return UINT64_MAX - below(0x2000);
    case 5:
        return CANARY;
    case 6:
        return LARGE | below(2);
    case 7:
        return pool_page() + below(PSP_PAGE);
    default:
        return pool_page();
    }
}

static uint32_t some_number(void)
{
    static const uint32_t numbers[] = {
        0, 1, 2, 3, 4, 8, 12, 16, 36, 48, 52, 64, 208, 0x824, 0x186c, 0x1000,
        0x8000, 0x100000, 0x200000, 99, 100, 509, 510, 0x7fffffff, 0xffffffff,
    };

    return below(4) ? numbers[below(ARRAY_SIZE(numbers))] : g_rand_int(rnd);
}

/* A buffer with addresses where commands have them, more often than not */
static void some_buffer(Psp *p, uint8_t *buf, size_t len)
{
    memset(buf, 0, len);
    for (size_t i = 0; i < len; i += 8) {
        switch (below(6)) {
        case 0:
            break;
        case 1:
        case 2:
            stl_le_p(buf + i, some_number());
            stl_le_p(buf + i + 4, below(3) ? 0 : some_number());
            break;
        default:
            stq_le_p(buf + i, some_address(p));
            break;
        }
    }
    if (below(8) == 0) {
        buf[below(len)] ^= 1 << below(8);
    }
}

/* What is likely to get far into a launch */
static unsigned plausible(Psp *p, uint8_t *buf)
{
    uint64_t gctx = POOL + below(2) * PSP_PAGE, page = pool_page();
    unsigned asid = 1 + below(3);

    memset(buf, 0, PSP_CMD_BUF_LEN);
    stq_le_p(buf, gctx);
    switch (below(12)) {
    case 0:
        psp_rmp_write(p, gctx, RMP_FIRMWARE);
        return SNP_GCTX_CREATE;
    case 1:
        stq_le_p(buf + 8, POLICY | POLICY_DEBUG);
        return SNP_LAUNCH_START;
    case 2:
        stl_le_p(buf + 8, asid);
        return SNP_ACTIVATE;
    case 3:
    case 4:
    case 5:
        psp_rmp_write(p, page, RMP_PRE_GUEST(asid, page));
        stl_le_p(buf + 8, below(8) << 1);
        stq_le_p(buf + 16, page);
        return SNP_LAUNCH_UPDATE;
    case 6:
        stq_le_p(buf + 8, pool_page());
        stq_le_p(buf + 16, pool_page());
        stl_le_p(buf + 24, below(8));
        return SNP_LAUNCH_FINISH;
    case 7:
        psp_rmp_write(p, page, RMP_FIRMWARE);
        stq_le_p(buf + 8, pool_page());
        stq_le_p(buf + 16, page);
        return SNP_GUEST_REQUEST;
    case 8:
        psp_rmp_write(p, page, RMP_FIRMWARE);
        stq_le_p(buf + 8, pool_page());
        stq_le_p(buf + 16, page);
        return SNP_DBG_DECRYPT + below(2);
    case 9:
        stq_le_p(buf, page);
        return SNP_PAGE_RECLAIM;
    case 10:
        return below(16) ? SNP_DF_FLUSH : SNP_DECOMMISSION;
    default:
        psp_wbinvd(p);
        return SNP_DF_FLUSH;
    }
}

/* The same for SEV, whose command buffers are answered in */
static unsigned plausible_sev(Psp *p, uint8_t *buf)
{
    uint64_t page = pool_page();
    unsigned handle = 1 + below(3);

    psp_rmp_write(p, PSP_CMD_BUF, RMP_FIRMWARE);
    psp_rmp_write(p, page, RMP_FIRMWARE);
    memset(buf, 0, PSP_CMD_BUF_LEN);
    stl_le_p(buf, handle);
    stq_le_p(buf + 8, page + below(256) * 16);
    stl_le_p(buf + 16, below(8) * 16);
    switch (below(10)) {
    case 0:
        memset(buf, 0, PSP_CMD_BUF_LEN);
        return INIT;
    case 1:
        memset(buf, 0, PSP_CMD_BUF_LEN);
        return LAUNCH_START;
    case 2:
        stl_le_p(buf + 4, ASID_MIN_SEV + below(4));
        return ACTIVATE;
    case 3:
    case 4:
        return LAUNCH_UPDATE_DATA + below(3);
    case 5:
        stq_le_p(buf + 16, page + below(256) * 16);
        stl_le_p(buf + 24, below(16) * 16);
        return DBG_DECRYPT + below(2);
    case 6:
        return LAUNCH_FINISH;
    case 7:
        return below(8) ? GUEST_STATUS : DEACTIVATE;
    case 8:
        return below(8) ? DF_FLUSH : DECOMMISSION;
    default:
        stl_le_p(buf + 16, 52);
        stq_le_p(buf + 24, page);
        stl_le_p(buf + 32, 16);
        stq_le_p(buf + 40, pool_page());
        stl_le_p(buf + 48, 16);
        return LAUNCH_UPDATE_SECRET;
    }
}

static void some_page_state(Psp *p)
{
    static const uint64_t states[] = {
        RMP_HYPERVISOR, RMP_HV_FIXED, RMP_RECLAIM, RMP_FIRMWARE, RMP_CONTEXT,
        RMP_PRE_GUEST(1, 0x1000), RMP_PRE_GUEST(2, 0x2000),
        RMP_GUEST(1, 0x3000), RMP_GUEST(2, 0x4000) | RMP_IMMUTABLE,
    };

    switch (below(8)) {
    case 0:
        psp_rmp_write(p, LARGE, RMP_PRE_GUEST(1, 0x600000) | RMP_2M);
        break;
    case 1:
        psp_rmp_write(p, LARGE, RMP_FIRMWARE | (below(2) ? RMP_2M : 0));
        break;
    case 2:
        psp_rmp_write(p, pool_page(), rand64());
        break;
    case 3:
        /* As the driver makes it, for commands that answer in their buffer */
        psp_rmp_write(p, PSP_CMD_BUF, below(4) ? RMP_FIRMWARE : 0);
        break;
    default:
        psp_rmp_write(p, pool_page(), states[below(ARRAY_SIZE(states))]);
        break;
    }
}

static void some_content(Psp *p)
{
    uint64_t page = pool_page();
    uint8_t buf[256];

    some_buffer(p, buf, sizeof(buf));
    qtest_memwrite(p->qts, page, buf, sizeof(buf));
}

static void snp_up(Psp *p)
{
    uint8_t buf[PSP_CMD_BUF_LEN] = { SNP_INIT_RMP };

    psp_rmp_write(p, CANARY, RMP_HYPERVISOR);
    psp_cmd(p, SNP_INIT_EX, buf, sizeof(buf));
    psp_wbinvd(p);
    psp_cmd(p, SNP_DF_FLUSH, NULL, 0);
    qtest_memset(p->qts, CANARY, 0x77, PSP_PAGE);
}

static void check(Psp *p)
{
    uint8_t page[PSP_PAGE];

    qtest_memread(p->qts, CANARY, page, PSP_PAGE);
    for (int i = 0; i < PSP_PAGE; i++) {
        g_assert_cmphex(page[i], ==, 0x77);
    }
    /* The processor's part of the RMP, which nothing here uses */
    qtest_memread(p->qts, p->rmp_base, page, PSP_PAGE);
    for (int i = 0; i < PSP_PAGE; i++) {
        g_assert_cmphex(page[i], ==, 0);
    }
    g_assert_cmphex(psp_rmp_read(p, CANARY), ==, RMP_HYPERVISOR);
}

/* Commands that end SNP's state are for the start of a round */
static bool ends_snp(unsigned id)
{
    return id == SNP_INIT || id == SNP_SHUTDOWN || id == SNP_INIT_EX ||
           id == SNP_SHUTDOWN_EX;
}

static void step(Psp *p)
{
    static const uint8_t ids[] = {
        INIT, SHUTDOWN, FACTORY_RESET, PLATFORM_STATUS, PEK_GEN, PEK_CSR,
        PEK_CERT_IMPORT, PDH_CERT_EXPORT, PDH_GEN, DF_FLUSH,
        DOWNLOAD_FIRMWARE, GET_ID, INIT_EX,
        DECOMMISSION, ACTIVATE, DEACTIVATE, GUEST_STATUS,
        LAUNCH_START, LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA, LAUNCH_MEASURE,
        LAUNCH_UPDATE_SECRET, LAUNCH_FINISH, ATTESTATION_REPORT,
        SEND_START, RECEIVE_START, DBG_DECRYPT, DBG_ENCRYPT,
        SNP_PLATFORM_STATUS, SNP_DF_FLUSH,
        SNP_DECOMMISSION, SNP_ACTIVATE, SNP_GUEST_STATUS, SNP_GCTX_CREATE,
        SNP_GUEST_REQUEST, SNP_ACTIVATE_EX,
        SNP_LAUNCH_START, SNP_LAUNCH_UPDATE, SNP_LAUNCH_FINISH,
        SNP_DBG_DECRYPT, SNP_DBG_ENCRYPT, SNP_VERIFY_MITIGATION,
        SNP_PAGE_SET_STATE, SNP_PAGE_RECLAIM, SNP_PAGE_UNSMASH, SNP_CONFIG,
        SNP_DOWNLOAD_FIRMWARE_EX, SNP_COMMIT, SNP_VLEK_LOAD, SNP_FEATURE_INFO,
    };
    uint8_t buf[PSP_CMD_BUF_LEN];
    unsigned id;
    uint64_t addr = PSP_CMD_BUF;

    if (below(3) == 0) {
        some_page_state(p);
    }
    if (below(4) == 0) {
        some_content(p);
    }
    if (below(2)) {
        id = below(3) ? plausible(p, buf) : plausible_sev(p, buf);
    } else {
        id = below(16) ? ids[below(ARRAY_SIZE(ids))] : below(N_COMMANDS);
        some_buffer(p, buf, sizeof(buf));
        if (below(32) == 0) {
            addr = some_address(p);
        }
    }
    if (ends_snp(id)) {
        return;
    }
    qtest_memwrite(p->qts, PSP_CMD_BUF, buf, sizeof(buf));
    psp_issue(p, id, addr);
    if (below(8) == 0) {
        /* Registers while it is pending, or was until now */
        uint32_t reg = below(0x40000) * 4;

        if (reg != REG_CMDRESP) {
            qpci_io_writel(p->dev, p->bar, reg, g_rand_int(rnd));
        }
        id = below(N_COMMANDS);
        if (!ends_snp(id)) {
            qpci_io_writel(p->dev, p->bar, REG_CMDRESP, CMDRESP(id));
        }
    }
    psp_wait(p);
}

static uint32_t number_from_env(const char *name, uint32_t otherwise)
{
    const char *text = g_getenv(name);
    unsigned value;

    if (!text) {
        return otherwise;
    }
    if (qemu_strtoui(text, NULL, 0, &value) < 0) {
        g_error("%s is \"%s\", expected a number", name, text);
    }
    return value;
}

static void test_fuzz(void)
{
    uint32_t seed = number_from_env("AMD_PSP_FUZZ_SEED", g_random_int());
    gint64 end = g_get_monotonic_time() + G_USEC_PER_SEC *
                 (gint64)number_from_env("AMD_PSP_FUZZ_SECONDS", 2);
    uint64_t steps = 0;
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    rnd = g_rand_new_with_seed(seed);
    printf("# AMD_PSP_FUZZ_SEED=%u\n", seed);
    fflush(stdout);
    while (g_get_monotonic_time() < end) {
        snp_up(p);
        for (int i = 0; i < 256; i++, steps++) {
            step(p);
            if (i % 16 == 0) {
                check(p);
            }
        }
        check(p);
        if (below(2)) {
            qtest_system_reset(p->qts);
            psp_setup_pci(p);
        } else {
            uint8_t buf[PSP_CMD_BUF_LEN] = { SHUTDOWN_LEN };

            psp_wbinvd(p);
            psp_cmd(p, SHUTDOWN, NULL, 0);
            psp_cmd(p, SNP_DF_FLUSH, NULL, 0);
            psp_cmd(p, SNP_SHUTDOWN_EX, buf, sizeof(buf));
        }
    }
    printf("# %" PRIu64 " commands\n", steps);
    g_rand_free(rnd);
    psp_stop(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("amd-psp/fuzz", test_fuzz);
    return g_test_run();
}
