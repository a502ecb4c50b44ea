/*
 * qtest for the AMD Secure Processor: mailbox, SEV and SNP firmware
 *
 * No CPU runs: what RMPUPDATE would do is written to the RMP's memory, and
 * WBINVD is a property of the platform. Memory is read as it is in the
 * machine, without the keys that a CPU would read it through.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "hw/pci/pci_regs.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#ifdef CONFIG_GNUTLS
#include <gnutls/gnutls.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#endif

enum {
    INIT = 0x01, SHUTDOWN, FACTORY_RESET, PLATFORM_STATUS, PEK_GEN, PEK_CSR,
    PEK_CERT_IMPORT, PDH_CERT_EXPORT, PDH_GEN, DF_FLUSH, DOWNLOAD_FIRMWARE,
    GET_ID, INIT_EX,
    DECOMMISSION = 0x20, ACTIVATE, DEACTIVATE, GUEST_STATUS, COPY,
    LAUNCH_START = 0x30, LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA,
    LAUNCH_MEASURE, LAUNCH_UPDATE_SECRET, LAUNCH_FINISH, ATTESTATION_REPORT,
    SEND_START = 0x40, RECEIVE_START = 0x50,
    DBG_DECRYPT = 0x60, DBG_ENCRYPT,
    SNP_INIT = 0x81, SNP_SHUTDOWN, SNP_PLATFORM_STATUS, SNP_DF_FLUSH,
    SNP_INIT_EX, SNP_SHUTDOWN_EX,
    SNP_DECOMMISSION = 0x90, SNP_ACTIVATE, SNP_GUEST_STATUS, SNP_GCTX_CREATE,
    SNP_GUEST_REQUEST, SNP_ACTIVATE_EX,
    SNP_LAUNCH_START = 0xa0, SNP_LAUNCH_UPDATE, SNP_LAUNCH_FINISH,
    SNP_DBG_DECRYPT = 0xb0, SNP_DBG_ENCRYPT,
    SNP_PAGE_RECLAIM = 0xc7, SNP_PAGE_UNSMASH, SNP_CONFIG,
    SNP_DOWNLOAD_FIRMWARE_EX, SNP_COMMIT, SNP_VLEK_LOAD = 0xcd,
    SNP_FEATURE_INFO,
};

enum {
    OK, BAD_PLATFORM_STATE, BAD_GUEST_STATE, BAD_CONFIG, BAD_LEN, ALREADY_OWNED,
    BAD_CERTIFICATE, BAD_POLICY, INACTIVE, BAD_ADDRESS, BAD_SIGNATURE,
    BAD_MEASUREMENT, ASID_OWNED, BAD_ASID, WBINVD_REQUIRED, DFFLUSH_REQUIRED,
    BAD_GUEST, BAD_COMMAND, ACTIVE,
    UNSUPPORTED = 0x15, BAD_PARAM, RESOURCE_LIMIT,
    BAD_PAGE_SIZE = 0x19, BAD_PAGE_STATE, BAD_PAGE_OWNER = 0x1c,
    RMP_INIT_REQUIRED = 0x20, BAD_KEY = 0x27,
};

enum { NORMAL = 1, VMSA, ZERO, UNMEASURED, SECRETS, CPUID };

#define TMR             0x800000
#define LIST            0x110000
#define OUT             0x120000
#define OUT2            0x130000
#define BLOCK           0x140000
#define AUTH            0x141000
#define REQ             0x150000
#define RSP             0x151000
#define GCTX            0x200000
#define GCTX2           0x201000
#define PAGES           0x400000
#define LARGE           0x1000000
#define NO_RAM          0x7fff0000000ULL

#define POLICY          0x30000ULL
#define POLICY_DEBUG    0x80000ULL
#define VMSA_GPA        0xfffffffff000ULL

/* A command buffer under construction */
typedef struct Buf {
    uint8_t b[64];
} Buf;

#define BUF(...)        make_buf((const uint64_t[]) { __VA_ARGS__ }, \
                            sizeof((const uint64_t[]) { __VA_ARGS__ }) / 8)

/* From quadwords; what is not given is zero */
static const void *make_buf(const uint64_t *q, size_t n)
{
    static Buf buf;

    memset(&buf, 0, sizeof(buf));
    for (size_t i = 0; i < n; i++) {
        stq_le_p(buf.b + i * 8, q[i]);
    }
    return &buf;
}

/* Two doublewords */
#define DW(lo, hi)      ((uint64_t)(uint32_t)(lo) | (uint64_t)(hi) << 32)

/*
 * A command must have this status. A refusal is counted as an error, and
 * nothing else is.
 */
#define EXPECT(p, status, id, ...) \
    expect(p, __LINE__, status, id, BUF(__VA_ARGS__), true)
/* The status is an answer rather than a refusal */
#define EXPECT_QUERY(p, status, id, ...) \
    expect(p, __LINE__, status, id, BUF(__VA_ARGS__), false)

static void expect(Psp *p, int line, unsigned status, unsigned id,
                   const void *buf, bool counted)
{
    uint64_t before = psp_host_get(p, "errors-firmware");
    unsigned got = psp_cmd(p, id, buf, sizeof(Buf));
    uint64_t errors = psp_host_get(p, "errors-firmware") - before;

    if (got != status || errors != (status && counted)) {
        g_error("line %d: command 0x%x: status 0x%x and %" PRIu64 " errors, "
                "expected 0x%x and %d", line, id, got, errors, status,
                status && counted);
    }
}

/* The command buffer as the firmware left it */
static uint32_t result32(Psp *p, unsigned offset)
{
    return qtest_readl(p->qts, PSP_CMD_BUF + offset);
}

static void fill(Psp *p, uint64_t pa, uint8_t pattern, size_t len)
{
    qtest_memset(p->qts, pa, pattern, len);
}

static bool filled(Psp *p, uint64_t pa, uint8_t pattern, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    qtest_memread(p->qts, pa, buf, len);
    for (size_t i = 0; i < len; i++) {
        if (buf[i] != pattern) {
            return false;
        }
    }
    return true;
}

static void sev_init(Psp *p, bool es)
{
    if (es) {
        EXPECT(p, OK, INIT, 1, TMR, 0x200000);
    } else {
        EXPECT(p, OK, INIT, 0);
    }
    psp_wbinvd(p);
    EXPECT(p, OK, DF_FLUSH, 0);
}

static void snp_init(Psp *p)
{
    EXPECT(p, OK, SNP_INIT_EX, 1);
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
}

static Psp *start_snp(const char *device)
{
    Psp *p = psp_start(SYSCFG_SNP, device);

    snp_init(p);
    return p;
}

static void snp_guest(Psp *p, uint64_t gctx, uint64_t policy, unsigned asid)
{
    psp_rmp_write(p, gctx, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, gctx);
    EXPECT(p, OK, SNP_LAUNCH_START, gctx, policy);
    EXPECT(p, OK, SNP_ACTIVATE, gctx, asid);
}

#define UPDATE(type)    DW((type) << 1, 0)

static void snp_page(Psp *p, uint64_t gctx, unsigned asid, unsigned type,
                     uint64_t pa, uint64_t gpa)
{
    psp_rmp_write(p, pa, RMP_PRE_GUEST(asid, gpa));
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, gctx, UPDATE(type), pa);
}

/* ---- Device ---- */

static void test_pci(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    uint64_t size = 0;

    g_assert_cmphex(qpci_config_readw(p->dev, PCI_VENDOR_ID), ==, 0x1022);
    g_assert_cmphex(qpci_config_readw(p->dev, PCI_DEVICE_ID), ==, 0x14ca);
    g_assert_cmphex(qpci_config_readw(p->dev, PCI_CLASS_DEVICE), ==, 0x1080);
    g_assert_cmphex(qpci_config_readl(p->dev, PCI_BASE_ADDRESS_2) & 0xf, ==, 0);
    qpci_iomap(p->dev, 2, &size);
    g_assert_cmphex(size, ==, 0x100000);
    g_assert_cmpuint(qpci_find_capability(p->dev, PCI_CAP_ID_MSIX, 0), !=, 0);
    qpci_msix_enable(p->dev);
    g_assert_cmpuint(qpci_msix_table_size(p->dev), ==, 2);
    qpci_msix_disable(p->dev);
    psp_stop(p);
}

static void check_reset_values(Psp *p)
{
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_BUF_LO), ==, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_BUF_HI), ==, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTEN), ==, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_FEATURE), ==, 1);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_BOOTLOADER), !=, 0);
    /* No register, no harm */
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, 0), ==, 0);
    qpci_io_writel(p->dev, p->bar, 0, 0xffffffff);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, 0), ==, 0);
}

static void reset_machine(Psp *p)
{
    qtest_system_reset(p->qts);
    psp_setup_pci(p);
}

static void test_reset(void)
{
    Psp *p = psp_start(SYSCFG_SNP, ",delay-us=1000");

    check_reset_values(p);

    /* A command that is pending never happens */
    qtest_memwrite(p->qts, PSP_CMD_BUF, BUF(0), sizeof(Buf));
    psp_issue(p, INIT, PSP_CMD_BUF);
    reset_machine(p);
    check_reset_values(p);
    qtest_clock_step(p->qts, 2000000);
    check_reset_values(p);

    /* Nor does anything of the firmware survive */
    qtest_qom_set_bool(p->qts, "/machine/amd-snp", "x-wbinvd-done", true);
    psp_issue(p, SNP_INIT, 0);
    qtest_clock_step(p->qts, 1000000);
    g_assert_cmphex(psp_wait(p), ==, OK);
    reset_machine(p);
    psp_issue(p, SNP_DF_FLUSH, 0);
    qtest_clock_step(p->qts, 1000000);
    g_assert_cmphex(psp_wait(p), ==, BAD_PLATFORM_STATE);
    psp_stop(p);
}

static void test_mailbox(void)
{
    Psp *p = psp_start(SYSCFG_SNP, ",delay-us=1000");
    uint64_t errors = psp_host_get(p, "errors-firmware");

    fill(p, PSP_CMD_BUF, 0xee, 64);
    psp_issue(p, PLATFORM_STATUS, PSP_CMD_BUF);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    PLATFORM_STATUS << 16);
    qtest_clock_step(p->qts, 999000);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    PLATFORM_STATUS << 16);

    /* Another one while it is pending is ignored, and recorded */
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP, SNP_INIT << 16);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    PLATFORM_STATUS << 16);
    g_assert_cmpuint(psp_host_get(p, "errors-firmware"), ==, errors + 1);
    /* The address was taken when the command was */
    qpci_io_writel(p->dev, p->bar, REG_BUF_LO, OUT);
    fill(p, OUT, 0xee, 64);
    qtest_clock_step(p->qts, 1000);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    CMDRESP_DONE | PLATFORM_STATUS << 16);
    g_assert_cmphex(result32(p, 0), ==, 0x00003701);
    g_assert_cmphex(result32(p, 12), ==, 0xeeeeeeee);
    g_assert_true(filled(p, OUT, 0xee, 64));

    /* So was the content: what changes later has no effect */
    qtest_memwrite(p->qts, PSP_CMD_BUF, BUF(OUT, 64), 16);
    psp_issue(p, GET_ID, PSP_CMD_BUF);
    qtest_writeq(p->qts, PSP_CMD_BUF, NO_RAM);
    qtest_clock_step(p->qts, 1000000);
    g_assert_cmphex(psp_wait(p), ==, OK);
    g_assert_false(filled(p, OUT, 0xee, 64));

    /* The response bit is not for writing */
    errors = psp_host_get(p, "errors-firmware");
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP, CMDRESP_DONE | INIT << 16);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    CMDRESP_DONE | GET_ID << 16);
    g_assert_cmpuint(psp_host_get(p, "errors-firmware"), ==, errors + 1);
    psp_stop(p);
}

static void test_interrupt(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    uint64_t off;

    qpci_msix_enable(p->dev);
    off = p->dev->msix_table_off;
    qpci_io_writel(p->dev, p->dev->msix_table_bar, off, OUT);
    qpci_io_writel(p->dev, p->dev->msix_table_bar, off + 4, 0);
    qpci_io_writel(p->dev, p->dev->msix_table_bar, off + 8, 0xc0ffee);
    qpci_io_writel(p->dev, p->dev->msix_table_bar, off + 12, 0);
    qtest_writel(p->qts, OUT, 0);

    /* None without being asked for */
    qpci_io_writel(p->dev, p->bar, REG_INTEN, 0xffffffff);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==, 0);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0);

    /* Nor when it is not enabled, but the status is there */
    qpci_io_writel(p->dev, p->bar, REG_INTEN, 0);
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP, PLATFORM_STATUS << 16 | 1);
    psp_wait(p);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==, 2);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0);
    qpci_io_writel(p->dev, p->bar, REG_INTSTS, 1);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==, 2);

    /* It comes when that changes */
    qpci_io_writel(p->dev, p->bar, REG_INTEN, 0xffffffff);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0xc0ffee);
    qpci_io_writel(p->dev, p->bar, REG_INTSTS, 2);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==, 0);

    /* And for a command, of failure too */
    qtest_writel(p->qts, OUT, 0);
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP, 0x7ff << 16 | 1);
    g_assert_cmphex(psp_wait(p), ==, BAD_COMMAND);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0xc0ffee);
    psp_stop(p);
}

static bool set_property(Psp *p, const char *property, const char *value)
{
    QDict *rsp = qtest_qmp(p->qts, "{ 'execute': 'qom-set', 'arguments': "
                           "{ 'path': '/machine/peripheral/psp', "
                           "'property': %s, 'value': %s } }", property, value);
    bool ok = qdict_haskey(rsp, "return");

    qobject_unref(rsp);
    return ok;
}

static bool set_delay(Psp *p, uint32_t us)
{
    QDict *rsp = qtest_qmp(p->qts, "{ 'execute': 'qom-set', 'arguments': "
                           "{ 'path': '/machine/peripheral/psp', "
                           "'property': 'delay-us', 'value': %u } }", us);
    bool ok = qdict_haskey(rsp, "return");

    qobject_unref(rsp);
    return ok;
}

static void test_properties(void)
{
    static const char *const malformed[] = {
        "SNP_INIT", "SNP_INIT:1", "SNP_INIT:1:2:3", "NO_SUCH:1:2",
        "SNP_INIT:0:1", "SNP_INIT:-1:1", "SNP_INIT:x:1", "SNP_INIT:1:0",
        "SNP_INIT:1:0x10000", "SNP_INIT:1:", ":1:1", ",",
        "SNP_INIT:1:1,", "SNP_INIT:4294967296:1", "snp_init:1:1",
    };
    Psp *p = psp_start(SYSCFG_SNP,
                       ",fail=PLATFORM_STATUS:2:0x16,,GET_ID:1:0x99");
    g_autofree char *left = psp_get_str(p, "fail");
    g_autofree char *counters = NULL;

    g_assert_cmpstr(left, ==, "PLATFORM_STATUS:2:0x16,GET_ID:1:0x99");
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, 0), ==, 0x00003701);
    /* An injected failure has no effect and is no error of the host */
    EXPECT_QUERY(p, 0x16, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, 0), ==, 0);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    EXPECT_QUERY(p, 0x99, GET_ID, OUT, 64);
    EXPECT(p, OK, GET_ID, OUT, 64);

    for (int i = 0; i < ARRAY_SIZE(malformed); i++) {
        g_assert_false(set_property(p, "fail", malformed[i]));
    }
    g_assert_true(set_property(p, "fail", "SNP_INIT:1:0xb,SNP_INIT:2:0xc"));
    EXPECT_QUERY(p, 0xb, SNP_INIT, 0);
    EXPECT_QUERY(p, 0xc, SNP_INIT, 0);
    EXPECT(p, OK, SNP_INIT, 0);
    g_assert_true(set_property(p, "fail", "SNP_INIT:1:0xb"));
    g_assert_true(set_property(p, "fail", ""));
    EXPECT(p, BAD_PLATFORM_STATE, SNP_INIT, 0);

    counters = psp_get_str(p, "commands");
    g_assert_cmpstr(counters, ==, "PLATFORM_STATUS:3:0:1,GET_ID:2:0:1,"
                                  "SNP_INIT:4:1:2");

    g_assert_false(set_delay(p, 600000001));
    g_assert_true(set_delay(p, 10));
    psp_issue(p, 0x7ff, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==, 0x7ff0000);
    qtest_clock_step(p->qts, 10000);
    g_assert_cmphex(psp_wait(p), ==, BAD_COMMAND);
    g_assert_true(set_delay(p, 0));
    psp_stop(p);
}

/* ---- Command buffers and states ---- */

static void test_buffers(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    const uint64_t bad[] = {
        NO_RAM,                     /* no memory there */
        0x20000000 - 4,             /* leaves it */
        0xfee00000,                 /* a device */
        p->rmp_base,                /* the RMP */
        p->rmp_end - 3,
        UINT64_MAX - 3 - (1ULL << 51), UINT64_MAX,
    };

    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t errors = psp_host_get(p, "errors-firmware");

        psp_issue(p, PLATFORM_STATUS, bad[i]);
        g_assert_cmphex(psp_wait(p), ==, BAD_ADDRESS);
        g_assert_cmpuint(psp_host_get(p, "errors-firmware"), ==, errors + 1);
    }
    /* The C-bit does not count */
    psp_issue(p, PLATFORM_STATUS, PSP_CMD_BUF | 1ULL << 51);
    g_assert_cmphex(psp_wait(p), ==, OK);

    for (unsigned id = 0; id < 0x800; id++) {
        if (id == 0 || id == 0xe || id == 0x25 || id == 0x62 || id == 0x80 ||
            id == 0xd0 || id >= 0x7f0) {
            EXPECT(p, BAD_COMMAND, id, 0);
        }
    }

    /* Reserved bits come before the state of the platform */
    EXPECT(p, BAD_PARAM, INIT, 2);
    EXPECT(p, BAD_PARAM, INIT, DW(0, 1));
    EXPECT(p, BAD_PARAM, INIT_EX, DW(36, 2));
    EXPECT(p, BAD_PARAM, LAUNCH_START, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, LAUNCH_UPDATE_DATA, DW(1, 1));
    EXPECT(p, BAD_PARAM, LAUNCH_UPDATE_VMSA, DW(1, 1));
    EXPECT(p, BAD_PARAM, LAUNCH_MEASURE, DW(1, 1));
    EXPECT(p, BAD_PARAM, LAUNCH_UPDATE_SECRET, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, ATTESTATION_REPORT, DW(1, 1));
    EXPECT(p, BAD_PARAM, DBG_DECRYPT, DW(1, 1));
    EXPECT(p, BAD_PARAM, DBG_ENCRYPT, DW(1, 1));
    EXPECT(p, BAD_PARAM, PEK_CERT_IMPORT, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, PDH_CERT_EXPORT, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 4);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, DW(1, 1));
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 1, 0, 1);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 1, 0, 0, 0, 0, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_SHUTDOWN_EX, DW(8, 2));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_START, 0, 0, 0, 4);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, 0x20);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, 0, 0, 1);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, 0, 0, DW(0x10000000, 0));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, 0, 0, 0, 8);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, 0, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_CONFIG, 0, 4);
    EXPECT(p, BAD_PARAM, SNP_VLEK_LOAD, DW(16, 1));
    psp_stop(p);
}

static void test_states(void)
{
    static const uint8_t need_init[] = {
        PEK_GEN, PEK_CSR, PEK_CERT_IMPORT, PDH_CERT_EXPORT, PDH_GEN, DF_FLUSH,
        DECOMMISSION, ACTIVATE, DEACTIVATE, GUEST_STATUS, COPY, LAUNCH_START,
        LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA, LAUNCH_MEASURE,
        LAUNCH_UPDATE_SECRET, LAUNCH_FINISH, ATTESTATION_REPORT, SEND_START,
        0x41, 0x42, 0x43, 0x44, RECEIVE_START, 0x51, 0x52, 0x53, DBG_DECRYPT,
        DBG_ENCRYPT, SNP_SHUTDOWN, SNP_DF_FLUSH, SNP_SHUTDOWN_EX,
        SNP_DECOMMISSION, SNP_ACTIVATE, SNP_GUEST_STATUS, SNP_GCTX_CREATE,
        SNP_GUEST_REQUEST, SNP_ACTIVATE_EX, SNP_LAUNCH_START,
        SNP_LAUNCH_UPDATE, SNP_LAUNCH_FINISH, SNP_DBG_DECRYPT,
        SNP_DBG_ENCRYPT, 0xc0, 0xc1, 0xc2, 0xc3, 0xc6, SNP_PAGE_RECLAIM,
        SNP_PAGE_UNSMASH, SNP_CONFIG, SNP_VLEK_LOAD, 0xcf,
    };
    static const uint8_t absent[] = {
        COPY, SEND_START, 0x41, 0x42, 0x43, 0x44, RECEIVE_START, 0x51, 0x52,
        0x53, SNP_ACTIVATE_EX, 0xb2, 0xc0, 0xc1, 0xc2, 0xc3, 0xc6, 0xcf,
    };
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    for (int i = 0; i < ARRAY_SIZE(need_init); i++) {
        EXPECT(p, BAD_PLATFORM_STATE, need_init[i], 0);
    }
    snp_init(p);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_INIT, 0);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_INIT_EX, 1);
    EXPECT(p, BAD_PLATFORM_STATE, DOWNLOAD_FIRMWARE, OUT, 64);
    sev_init(p, false);
    EXPECT(p, BAD_PLATFORM_STATE, INIT, 0);
    EXPECT(p, BAD_PLATFORM_STATE, INIT_EX, 36, 0, 0, OUT, 0x8000);
    EXPECT(p, BAD_PLATFORM_STATE, FACTORY_RESET, 0);
    for (int i = 0; i < ARRAY_SIZE(absent); i++) {
        EXPECT(p, UNSUPPORTED, absent[i], 0);
    }
    /* SNP goes down after SEV, and comes up before it */
    EXPECT(p, BAD_PLATFORM_STATE, SNP_SHUTDOWN, 0);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_SHUTDOWN_EX, 8);
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, SNP_SHUTDOWN, 0);
    EXPECT(p, OK, INIT, 0);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_INIT, 0);

    /* With a guest the platform is WORKING */
    EXPECT(p, OK, LAUNCH_START, 0);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, 0) >> 16 & 0xff, ==, 2);
    g_assert_cmphex(result32(p, 8), ==, 1);
    EXPECT(p, BAD_PLATFORM_STATE, PEK_GEN, 0);
    EXPECT(p, BAD_PLATFORM_STATE, PEK_CERT_IMPORT, 0);
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, 0) >> 16 & 0xff, ==, 0);
    psp_stop(p);
}

/* ---- SEV platform ---- */

static void test_sev_init(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    EXPECT(p, BAD_LEN, INIT, 1, TMR, 0xff000);
    EXPECT(p, BAD_ADDRESS, INIT, 1, TMR + 0x1000, 0x100000);
    EXPECT(p, BAD_ADDRESS, INIT, 1, NO_RAM, 0x100000);
    EXPECT(p, BAD_ADDRESS, INIT, 1, p->rmp_base, 0x100000);
    EXPECT(p, OK, INIT, 1, TMR + 0x100000, 0x100000);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, 0), ==, 0x00013701);
    g_assert_cmphex(result32(p, 4), ==, 0x15000001);

    /* What was not flushed may not be activated */
    EXPECT(p, OK, LAUNCH_START, 0);
    EXPECT(p, DFFLUSH_REQUIRED, ACTIVATE, DW(1, 100));
    EXPECT(p, WBINVD_REQUIRED, DF_FLUSH, 0);
    psp_wbinvd(p);
    EXPECT(p, DFFLUSH_REQUIRED, ACTIVATE, DW(1, 100));
    EXPECT(p, OK, DF_FLUSH, 0);
    EXPECT(p, OK, ACTIVATE, DW(1, 100));
    EXPECT(p, OK, SHUTDOWN, 0);

    EXPECT(p, BAD_LEN, INIT_EX, 35, 0, 0, OUT, 0x8000);
    EXPECT(p, BAD_LEN, INIT_EX, 36, 0, 0, OUT, 0x7000);
    EXPECT(p, BAD_ADDRESS, INIT_EX, 36, 0, 0, OUT + 8, 0x8000);
    EXPECT(p, BAD_ADDRESS, INIT_EX, 36, 0, 0, NO_RAM, 0x8000);
    EXPECT(p, BAD_LEN, INIT_EX, DW(36, 1), TMR, 0, OUT, 0x8000);
    EXPECT(p, OK, INIT_EX, DW(36, 1), TMR, 0x100000, OUT, 0x8000);
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, FACTORY_RESET, 0);

    EXPECT(p, BAD_ADDRESS, DOWNLOAD_FIRMWARE, NO_RAM, 64);
    EXPECT(p, BAD_ADDRESS, DOWNLOAD_FIRMWARE, OUT, 0);
    EXPECT(p, BAD_SIGNATURE, DOWNLOAD_FIRMWARE, OUT, 64);

    EXPECT_QUERY(p, BAD_LEN, GET_ID, 0, 0);
    g_assert_cmpuint(result32(p, 8), ==, 64);
    EXPECT_QUERY(p, BAD_LEN, GET_ID, OUT, 63);
    /* Below the end of memory, and a BIOS */
    EXPECT(p, BAD_ADDRESS, GET_ID, 0xf0000, 64);
    EXPECT(p, BAD_ADDRESS, GET_ID, NO_RAM, 64);
    EXPECT(p, BAD_ADDRESS, GET_ID, UINT64_MAX - 10, 64);
    fill(p, OUT, 0, 128);
    EXPECT(p, OK, GET_ID, OUT, 128);
    g_assert_cmpuint(result32(p, 8), ==, 64);
    g_assert_false(filled(p, OUT, 0, 64));
    g_assert_true(filled(p, OUT + 64, 0, 64));
    psp_stop(p);
}

/* While SNP is initialised, what the firmware writes to are Firmware pages */
static void test_sev_under_snp(void)
{
    Psp *p = start_snp(NULL);
    uint64_t pa;

    EXPECT(p, BAD_PAGE_STATE, PLATFORM_STATUS, 0);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT, 64);
    psp_rmp_write(p, PSP_CMD_BUF, RMP_FIRMWARE);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT, 64);
    psp_rmp_write(p, OUT, RMP_RECLAIM);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT, 64);
    psp_rmp_write(p, OUT, RMP_CONTEXT);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT, 64);
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, OK, GET_ID, OUT, 64);
    /* Each page that is written counts */
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT + 0xff0, 64);
    EXPECT(p, BAD_PAGE_STATE, GET_ID, OUT - 0x10, 64);

    /* The TMR is larger, too */
    EXPECT(p, BAD_LEN, INIT, 1, TMR, 0x100000);
    EXPECT(p, BAD_ADDRESS, INIT, 1, TMR + 0x100000, 0x200000);
    EXPECT(p, BAD_PAGE_STATE, INIT, 1, TMR, 0x200000);
    for (pa = TMR; pa < TMR + 0x200000; pa += PSP_PAGE) {
        psp_rmp_write(p, pa, RMP_FIRMWARE);
    }
    psp_rmp_write(p, TMR + 0x1ff000, 0);
    EXPECT(p, BAD_PAGE_STATE, INIT, 1, TMR, 0x200000);
    psp_rmp_write(p, TMR + 0x1ff000, RMP_FIRMWARE);
    sev_init(p, true);

    EXPECT(p, OK, LAUNCH_START, DW(0, 4));
    EXPECT(p, OK, ACTIVATE, DW(1, 5));
    EXPECT(p, BAD_PAGE_STATE, LAUNCH_UPDATE_DATA, 1, PAGES, 0x1000);
    EXPECT(p, BAD_PAGE_STATE, LAUNCH_UPDATE_VMSA, 1, PAGES, 0x1000);
    psp_rmp_write(p, PAGES, RMP_FIRMWARE);
    EXPECT(p, OK, LAUNCH_UPDATE_DATA, 1, PAGES, 0x1000);
    EXPECT(p, OK, LAUNCH_UPDATE_VMSA, 1, PAGES, 0x1000);
    EXPECT(p, BAD_PAGE_STATE, LAUNCH_MEASURE, 1, OUT2, 48);
    EXPECT(p, OK, LAUNCH_MEASURE, 1, OUT, 48);
    EXPECT(p, BAD_PAGE_STATE, DBG_DECRYPT, 1, PAGES, OUT2, 16);
    EXPECT(p, OK, DBG_DECRYPT, 1, PAGES, OUT, 16);
    EXPECT(p, OK, DEACTIVATE, 1);
    EXPECT(p, OK, DECOMMISSION, 1);
    psp_stop(p);
}

/* ---- SEV guests ---- */

static void hmac_sha256(const uint8_t *key, const void *data, size_t len,
                        uint8_t *mac)
{
    GHmac *h = g_hmac_new(G_CHECKSUM_SHA256, key, 16);
    gsize n = 32;

    g_hmac_update(h, data, len);
    g_hmac_get_digest(h, mac, &n);
    g_hmac_unref(h);
}

/* The measurement, by who has the content; TIK is zero without a session */
static void check_measure(Psp *p, uint32_t policy, const uint8_t *content,
                          size_t len)
{
    static const uint8_t tik[16];
    uint8_t in[56] = { 4, 1, 55, 21 }, want[32], got[48];
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize n = 32;

    qtest_memread(p->qts, OUT, got, sizeof(got));
    stl_le_p(in + 4, policy);
    g_checksum_update(sum, content, len);
    g_checksum_get_digest(sum, in + 8, &n);
    g_checksum_free(sum);
    memcpy(in + 40, got + 32, 16);
    hmac_sha256(tik, in, sizeof(in), want);
    g_assert_cmpmem(got, 32, want, 32);
}

static void put_secret(Psp *p, uint8_t spoil)
{
    static const uint8_t tik[16];
    uint8_t in[61 + 32] = { 1 }, hdr[52] = { 0 };

    /* Flags and IV are zero; data is what AES-CTR with a zero key leaves */
    memset(in + 29, 0x5a, 32);
    stl_le_p(in + 21, 32);
    stl_le_p(in + 25, 32);
    qtest_memread(p->qts, OUT, in + 61, 32);
    hmac_sha256(tik, in, sizeof(in), hdr + 20);
    hdr[20] ^= spoil;
    qtest_memwrite(p->qts, REQ, hdr, sizeof(hdr));
    qtest_memwrite(p->qts, RSP, in + 29, 32);
}

static void test_sev_launch(void)
{
    /* AES-128 with key 0 of counters 0 and 1 */
    static const uint8_t stream[32] = {
        0x66, 0xe9, 0x4b, 0xd4, 0xef, 0x8a, 0x2c, 0x3b,
        0x88, 0x4c, 0xfa, 0x59, 0xca, 0x34, 0x2b, 0x2e,
        0x58, 0xe2, 0xfc, 0xce, 0xfa, 0x7e, 0x30, 0x61,
        0x36, 0x7f, 0x1d, 0x57, 0xa4, 0xe7, 0x45, 0x5a,
    };
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    g_autofree uint8_t *content = g_malloc(0x3000);
    uint8_t secret[32];

    sev_init(p, false);
    EXPECT(p, UNSUPPORTED, LAUNCH_START, 1);
    EXPECT(p, UNSUPPORTED, LAUNCH_START, 0, OUT, 0x824);
    EXPECT(p, UNSUPPORTED, LAUNCH_START, 0, 0, 0, OUT, 128);
    EXPECT(p, BAD_POLICY, LAUNCH_START, DW(0, 0x40));
    EXPECT(p, BAD_POLICY, LAUNCH_START, DW(0, 0x38010000));
    EXPECT(p, BAD_POLICY, LAUNCH_START, DW(0, 0x00020000));
    EXPECT(p, BAD_POLICY, LAUNCH_START, DW(0, 4));      /* ES, no TMR */
    EXPECT(p, OK, LAUNCH_START, DW(0, 0x37010000));
    g_assert_cmpuint(result32(p, 0), ==, 1);
    EXPECT(p, OK, LAUNCH_START, 0);
    g_assert_cmpuint(result32(p, 0), ==, 2);

    EXPECT(p, BAD_GUEST, GUEST_STATUS, 0);
    EXPECT(p, BAD_GUEST, GUEST_STATUS, 3);
    EXPECT(p, OK, GUEST_STATUS, 1);
    g_assert_cmphex(result32(p, 4), ==, 0x37010000);
    g_assert_cmphex(result32(p, 8), ==, 0);
    g_assert_cmphex(result32(p, 12) & 0xff, ==, 1);

    EXPECT(p, INACTIVE, LAUNCH_UPDATE_DATA, 1, PAGES, 0x1000);
    EXPECT(p, INACTIVE, DEACTIVATE, 1);
    EXPECT(p, BAD_GUEST, ACTIVATE, DW(9, 100));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, 0));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, 99));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, 510));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, 0xffffffff));
    EXPECT(p, OK, ACTIVATE, DW(1, 100));
    EXPECT(p, ASID_OWNED, ACTIVATE, DW(2, 100));
    EXPECT(p, ASID_OWNED, ACTIVATE, DW(1, 100));
    EXPECT(p, ACTIVE, ACTIVATE, DW(1, 101));
    EXPECT(p, ACTIVE, DECOMMISSION, 1);

    fill(p, PAGES, 0x11, 0x3000);
    memset(content, 0x11, 0x3000);
    EXPECT(p, BAD_GUEST, LAUNCH_UPDATE_DATA, 7, PAGES, 0x1000);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_DATA, 1, PAGES, 0);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_DATA, 1, PAGES, 8);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_DATA, 1, PAGES + 8, 16);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_DATA, 1, NO_RAM, 16);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_DATA, 1, PAGES, 0xfffffff0);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_DATA, 1, p->rmp_base - 16, 32);
    EXPECT(p, BAD_POLICY, LAUNCH_UPDATE_VMSA, 1, PAGES, 0x1000);
    /* Over the border of a page, then the rest */
    EXPECT(p, OK, LAUNCH_UPDATE_DATA, 1, PAGES, 0x1810);
    EXPECT(p, OK, LAUNCH_UPDATE_DATA, 1, PAGES + 0x1810, 0x17f0);
    g_assert_true(filled(p, PAGES, 0x11, 0x3000));
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_FINISH, 1);
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_UPDATE_SECRET, 1);
    EXPECT(p, BAD_GUEST_STATE, ATTESTATION_REPORT, 1, OUT, 0, 0, 208);

    EXPECT_QUERY(p, BAD_LEN, LAUNCH_MEASURE, 1, 0, 0);
    g_assert_cmpuint(result32(p, 16), ==, 48);
    EXPECT_QUERY(p, BAD_LEN, LAUNCH_MEASURE, 1, OUT, 47);
    EXPECT(p, BAD_ADDRESS, LAUNCH_MEASURE, 1, NO_RAM, 48);
    EXPECT(p, OK, LAUNCH_MEASURE, 1, OUT, 64);
    g_assert_cmpuint(result32(p, 16), ==, 48);
    check_measure(p, 0x37010000, content, 0x3000);
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_MEASURE, 1, OUT, 48);
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_UPDATE_DATA, 1, PAGES, 16);

    /* A secret */
    put_secret(p, 0);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_SECRET, 1, REQ, 51, PAGES + 0x1000, 32,
           RSP, 32);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_SECRET, 1, REQ, 52, PAGES + 0x1000, 0,
           RSP, 0);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_SECRET, 1, REQ, 52, PAGES + 0x1000, 24,
           RSP, 24);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_SECRET, 1, REQ, 52, PAGES + 0x1000, 32,
           RSP, 16);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_SECRET, 1, REQ, 52, PAGES + 0x1000,
           0x4010, RSP, 0x4010);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_SECRET, 1, REQ, 52, PAGES + 8, 32,
           RSP, 32);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_SECRET, 1, REQ, 52, NO_RAM, 32, RSP,
           32);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_SECRET, 1, NO_RAM, 52, PAGES, 32,
           RSP, 32);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_SECRET, 1, REQ, 52, PAGES, 32, NO_RAM,
           32);
    put_secret(p, 1);
    EXPECT(p, BAD_MEASUREMENT, LAUNCH_UPDATE_SECRET, 1, REQ, 52,
           PAGES + 0x1000, 32, RSP, 32);
    qtest_writel(p->qts, REQ, 1);
    EXPECT(p, UNSUPPORTED, LAUNCH_UPDATE_SECRET, 1, REQ, 52, PAGES + 0x1000,
           32, RSP, 32);
    put_secret(p, 0);
    EXPECT(p, OK, LAUNCH_UPDATE_SECRET, 1, REQ, 52, PAGES + 0x1000, 32, RSP,
           32);
    qtest_memread(p->qts, PAGES + 0x1000, secret, sizeof(secret));
    for (int i = 0; i < sizeof(secret); i++) {
        g_assert_cmphex(secret[i], ==, stream[i] ^ 0x5a);
    }
    g_assert_true(filled(p, PAGES + 0x1020, 0x11, 0xfe0));

    EXPECT(p, OK, LAUNCH_FINISH, 1);
    EXPECT(p, BAD_GUEST_STATE, LAUNCH_FINISH, 1);
    EXPECT(p, OK, GUEST_STATUS, 1);
    g_assert_cmphex(result32(p, 8), ==, 100);
    g_assert_cmphex(result32(p, 12) & 0xff, ==, 3);

    /* Debugging */
    fill(p, OUT, 0, 0x2000);
    EXPECT(p, BAD_LEN, DBG_DECRYPT, 1, PAGES, OUT, 0);
    EXPECT(p, BAD_LEN, DBG_DECRYPT, 1, PAGES, OUT, 8);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, PAGES + 1, OUT, 16);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, PAGES, OUT + 4, 16);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, NO_RAM, OUT, 16);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, PAGES, NO_RAM, 16);
    EXPECT(p, BAD_ADDRESS, DBG_DECRYPT, 1, PAGES, PAGES + 16, 32);
    EXPECT(p, BAD_ADDRESS, DBG_ENCRYPT, 1, OUT, OUT, 16);
    EXPECT(p, BAD_ADDRESS, DBG_ENCRYPT, 1, OUT, PAGES, 0xfffffff0);
    EXPECT(p, BAD_GUEST, DBG_ENCRYPT, 5, OUT, PAGES, 16);
    EXPECT(p, OK, DBG_DECRYPT, 1, PAGES + 0xff0, OUT + 0x10, 0x10);
    g_assert_true(filled(p, OUT, 0, 0x10));
    g_assert_true(filled(p, OUT + 0x10, 0x11, 0x10));
    fill(p, OUT2, 0x77, 0x1000);
    EXPECT(p, OK, DBG_ENCRYPT, 1, OUT2, PAGES + 0xff0, 0x20);
    g_assert_true(filled(p, PAGES + 0xff0, 0x77, 0x20));
    g_assert_true(filled(p, PAGES, 0x11, 0xff0));
    /* What has no key of the guest decrypts to noise */
    EXPECT(p, OK, DBG_DECRYPT, 1, OUT2, OUT, 0x10);
    g_assert_false(filled(p, OUT, 0x77, 0x10));
    /* And what has is noise to encrypt */
    EXPECT(p, OK, DBG_ENCRYPT, 1, PAGES, PAGES + 0x2000, 0x10);
    g_assert_false(filled(p, PAGES + 0x2000, 0x11, 0x10));

    /* The key goes with the ASID */
    EXPECT(p, OK, DEACTIVATE, 1);
    g_assert_false(filled(p, PAGES, 0x11, 16));
    EXPECT(p, INACTIVE, DBG_DECRYPT, 1, PAGES, OUT, 16);
    EXPECT(p, DFFLUSH_REQUIRED, ACTIVATE, DW(2, 100));
    EXPECT(p, OK, ACTIVATE, DW(2, 101));
    EXPECT(p, WBINVD_REQUIRED, DF_FLUSH, 0);
    EXPECT(p, OK, DECOMMISSION, 1);
    EXPECT(p, BAD_GUEST, DECOMMISSION, 1);

    /* A policy against debugging */
    EXPECT(p, OK, LAUNCH_START, DW(0, 1));
    EXPECT(p, INACTIVE, DBG_DECRYPT, 3, PAGES, OUT, 16);
    EXPECT(p, OK, ACTIVATE, DW(3, 102));
    EXPECT(p, BAD_POLICY, DBG_DECRYPT, 3, PAGES, OUT, 16);
    EXPECT(p, BAD_POLICY, DBG_ENCRYPT, 3, PAGES, OUT, 16);
    psp_stop(p);
}

static void test_sev_es_launch(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    g_autofree uint8_t *vmsa = g_malloc(0x1000);

    sev_init(p, true);
    EXPECT(p, OK, LAUNCH_START, DW(0, 4));
    EXPECT(p, BAD_ASID, ACTIVATE, DW(1, 100));
    EXPECT(p, OK, ACTIVATE, DW(1, 99));
    memset(vmsa, 0x42, 0x1000);
    fill(p, PAGES, 0x42, 0x1000);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_VMSA, 1, PAGES, 0x800);
    EXPECT(p, BAD_LEN, LAUNCH_UPDATE_VMSA, 1, PAGES, 0x2000);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_VMSA, 1, PAGES + 0x10, 0x1000);
    EXPECT(p, BAD_ADDRESS, LAUNCH_UPDATE_VMSA, 1, NO_RAM, 0x1000);
    EXPECT(p, OK, LAUNCH_UPDATE_VMSA, 1, PAGES, 0x1000);
    EXPECT(p, OK, LAUNCH_MEASURE, 1, OUT, 48);
    check_measure(p, 4, vmsa, 0x1000);
    EXPECT(p, OK, LAUNCH_FINISH, 1);
    psp_stop(p);
}

static void test_many_guests(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    sev_init(p, false);
    for (int i = 0; i < 1024; i++) {
        EXPECT(p, OK, LAUNCH_START, 0);
    }
    EXPECT(p, RESOURCE_LIMIT, LAUNCH_START, 0);
    EXPECT(p, OK, DECOMMISSION, 17);
    EXPECT(p, OK, LAUNCH_START, 0);
    g_assert_cmpuint(result32(p, 0), ==, 1025);
    psp_stop(p);
}

/* ---- SNP platform ---- */

static void test_snp_config(void)
{
    /* Each bit of SYSCFG that SNP_INIT wants, missing */
    static const uint32_t missing[] = { 1 << 19, 1 << 23, 1 << 24, 1 << 25 };

    for (int i = 0; i < ARRAY_SIZE(missing); i++) {
        Psp *p = psp_start(SYSCFG_SNP & ~missing[i], NULL);

        EXPECT(p, BAD_CONFIG, SNP_INIT, 0);
        EXPECT(p, BAD_CONFIG, SNP_INIT_EX, 1);
        EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
        g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0x00003701);
        psp_stop(p);
    }
}

static void range(Psp *p, int i, uint64_t base, uint32_t pages)
{
    qtest_writeq(p->qts, LIST + 8 + i * 16, base);
    qtest_writeq(p->qts, LIST + 16 + i * 16, pages);
}

static void test_snp_init(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    uint64_t pa;

    EXPECT(p, RMP_INIT_REQUIRED, SNP_INIT_EX, 0);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 2, LIST);
    EXPECT(p, BAD_ADDRESS, SNP_INIT_EX, 3, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_INIT_EX, 3, LIST + 4);
    qtest_writeq(p->qts, LIST, 256);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 3, LIST);
    qtest_writeq(p->qts, LIST, DW(1, 1));
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 3, LIST);
    qtest_writeq(p->qts, LIST, 1);
    range(p, 0, 0x9f800, 1);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 3, LIST);
    range(p, 0, 0xfffffffffffff000ULL & ~(1ULL << 51), 0xffffffff);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 3, LIST);
    range(p, 0, 0, 1);
    qtest_writel(p->qts, LIST + 20, 1);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 3, LIST);

    /* Something left over that must not stay */
    psp_rmp_write(p, 0x5000, RMP_GUEST(3, 0x7000));
    qtest_writeq(p->qts, LIST, 4);
    range(p, 0, 0x9f000, 2);
    range(p, 1, p->rmp_base, 1);
    range(p, 2, 0xb0000000, 0x100);
    range(p, 3, 0x1ffff000, 0xffffffff);
    EXPECT(p, OK, SNP_INIT_EX, 3, LIST);
    g_assert_cmphex(psp_rmp_read(p, 0x5000), ==, RMP_HYPERVISOR);
    g_assert_cmphex(psp_rmp_read(p, 0x9e000), ==, RMP_HYPERVISOR);
    g_assert_cmphex(psp_rmp_read(p, 0x9f000), ==, RMP_HV_FIXED);
    g_assert_cmphex(psp_rmp_read(p, 0xa0000), ==, RMP_HV_FIXED);
    g_assert_cmphex(psp_rmp_read(p, 0xa1000), ==, RMP_HYPERVISOR);
    g_assert_cmphex(psp_rmp_read(p, 0x1ffff000), ==, RMP_HV_FIXED);
    for (pa = p->rmp_base; pa < p->rmp_end; pa += PSP_PAGE) {
        g_assert_cmphex(psp_rmp_read(p, pa), ==, RMP_FIRMWARE);
    }

    /* No activation before WBINVD and a flush */
    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY);
    EXPECT(p, DFFLUSH_REQUIRED, SNP_ACTIVATE, GCTX, 1);
    EXPECT_QUERY(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN_EX, 8);
    EXPECT(p, WBINVD_REQUIRED, SNP_DF_FLUSH, 0);
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
    EXPECT(p, OK, SNP_ACTIVATE, GCTX, 1);

    /* Down: with it go the guests, and the context is a Firmware page */
    EXPECT(p, BAD_LEN, SNP_SHUTDOWN_EX, 12);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, DW(8, 1));
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_FIRMWARE);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_DECOMMISSION, GCTX);
    /* The RMP stays initialised, so it need not be again */
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0x01003701);
    EXPECT(p, OK, SNP_INIT_EX, 0);
    EXPECT(p, BAD_GUEST, SNP_DECOMMISSION, GCTX);
    psp_stop(p);
}

/* What the IOMMU writes by itself is the firmware's while SNP is on */
static void test_snp_iommu(void)
{
    const uint64_t iommu = 0xfed80000;
    const uint64_t pages[] = { PAGES, PAGES + 0x1000, PAGES + 0x4000,
                               PAGES + 0x8000 };
    Psp *p = psp_start(SYSCFG_SNP, " -device amd-iommu");

    /* Event log of 512 entries, PPR log of 256, completion store */
    qtest_writeq(p->qts, iommu + 0x10, PAGES | 9ULL << 56);
    qtest_writeq(p->qts, iommu + 0x38, (PAGES + 0x4000) | 8ULL << 56);
    qtest_writeq(p->qts, iommu + 0x20, PAGES + 0x8000);
    snp_init(p);
    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        g_assert_cmphex(psp_rmp_read(p, pages[i]), ==, RMP_FIRMWARE);
    }
    g_assert_cmphex(psp_rmp_read(p, PAGES + 0x2000), ==, 0);
    g_assert_cmphex(psp_rmp_read(p, PAGES + 0x5000), ==, 0);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, 8);
    g_assert_cmphex(psp_rmp_read(p, PAGES), ==, RMP_FIRMWARE);
    snp_init(p);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, DW(8, 1));
    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        g_assert_cmphex(psp_rmp_read(p, pages[i]), ==, RMP_RECLAIM);
    }
    psp_stop(p);
}

static void test_snp_platform(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    uint64_t tcb;

    EXPECT(p, BAD_ADDRESS, SNP_PLATFORM_STATUS, NO_RAM);
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT + 8);
    g_assert_cmphex(qtest_readl(p->qts, OUT + 8), ==, 0x00003701);
    tcb = qtest_readq(p->qts, OUT + 8 + 16);
    g_assert_cmpuint(tcb >> 48 & 0xff, <, 0x1b);
    g_assert_cmphex(qtest_readq(p->qts, OUT + 8 + 24), ==, tcb);

    g_assert_cmphex(qtest_readl(p->qts, OUT + 16) & 8, ==, 8);
    fill(p, OUT, 0xff, 32);
    EXPECT(p, OK, SNP_FEATURE_INFO, 16, OUT);
    g_assert_true(filled(p, OUT, 0, 16));
    EXPECT(p, BAD_LEN, SNP_FEATURE_INFO, 15, OUT);
    EXPECT(p, BAD_PARAM, SNP_FEATURE_INFO, DW(16, 1), OUT);
    EXPECT(p, BAD_ADDRESS, SNP_FEATURE_INFO, 16, OUT + 4);
    EXPECT(p, BAD_ADDRESS, SNP_FEATURE_INFO, 16, OUT + 0xff8);
    EXPECT(p, BAD_ADDRESS, SNP_FEATURE_INFO, 16, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_DOWNLOAD_FIRMWARE_EX, 0, NO_RAM, 64);
    EXPECT(p, BAD_SIGNATURE, SNP_DOWNLOAD_FIRMWARE_EX, 0, OUT, 64);

    snp_init(p);
    EXPECT(p, BAD_PAGE_STATE, SNP_FEATURE_INFO, 16, OUT);
    EXPECT(p, BAD_PAGE_STATE, SNP_PLATFORM_STATUS, OUT);
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_FEATURE_INFO, 16, OUT);
    EXPECT(p, BAD_ADDRESS, SNP_PLATFORM_STATUS, OUT + 8);
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0x01013701);
    g_assert_cmphex(psp_rmp_read(p, OUT), ==, RMP_RECLAIM);

    EXPECT(p, OK, SNP_COMMIT, 4);
    EXPECT(p, BAD_LEN, SNP_COMMIT, 8);
    EXPECT(p, BAD_PARAM, SNP_CONFIG, tcb + 1);
    EXPECT(p, OK, SNP_CONFIG, tcb - 1, 1);
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
    g_assert_cmphex(qtest_readl(p->qts, OUT + 8) & 3, ==, 1);
    g_assert_cmphex(qtest_readq(p->qts, OUT + 16), ==, tcb);
    g_assert_cmphex(qtest_readq(p->qts, OUT + 24), ==, tcb - 1);
    EXPECT(p, OK, SNP_CONFIG, 0);

    EXPECT(p, BAD_LEN, SNP_VLEK_LOAD, 8, REQ);
    EXPECT(p, BAD_ADDRESS, SNP_VLEK_LOAD, 16, NO_RAM);
    EXPECT(p, BAD_MEASUREMENT, SNP_VLEK_LOAD, 16, REQ);
    psp_stop(p);

    p = psp_start(SYSCFG_SNP, ",feature-info=off");
    EXPECT(p, OK, SNP_PLATFORM_STATUS, OUT);
    g_assert_cmphex(qtest_readl(p->qts, OUT + 8), ==, 0);
    EXPECT(p, BAD_COMMAND, SNP_FEATURE_INFO, 16, OUT);
    psp_stop(p);
}

/* ---- Pages ---- */

static void large_page(Psp *p, uint64_t pa, uint64_t lo)
{
    for (int i = 0; i < 512; i++) {
        psp_rmp_write(p, pa + i * PSP_PAGE,
                      (lo | RMP_2M) + (lo >> 51 & 0x3ff ? i * PSP_PAGE : 0));
    }
}

static void test_snp_reclaim(void)
{
    static const struct {
        uint64_t before;
        unsigned status;
        uint64_t after;
    } pages[] = {
        { RMP_HYPERVISOR, OK, RMP_HYPERVISOR },
        { RMP_RECLAIM, OK, RMP_RECLAIM },
        { RMP_FIRMWARE, OK, RMP_RECLAIM },
        { RMP_HV_FIXED, BAD_PAGE_STATE, RMP_HV_FIXED },
        { RMP_CONTEXT, BAD_PAGE_STATE, RMP_CONTEXT },
        { RMP_PRE_GUEST(7, 0x5000), OK,
          RMP_ASSIGNED | RMP_ASID(7) | 0x5000 },
        { RMP_GUEST(7, 0x5000), OK, RMP_GUEST(7, 0x5000) },
        { RMP_GUEST(7, 0x5000) | RMP_IMMUTABLE, OK, RMP_GUEST(7, 0x5000) },
        { RMP_FIRMWARE | RMP_VALIDATED, OK, RMP_RECLAIM | RMP_VALIDATED },
    };
    Psp *p = start_snp(NULL);

    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        psp_rmp_write(p, PAGES, pages[i].before);
        EXPECT(p, pages[i].status, SNP_PAGE_RECLAIM, PAGES);
        g_assert_cmphex(psp_rmp_read(p, PAGES), ==, pages[i].after);
    }
    EXPECT(p, BAD_PARAM, SNP_PAGE_RECLAIM, PAGES + 2);
    EXPECT(p, BAD_PARAM, SNP_PAGE_RECLAIM, PAGES + 0x800);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_RECLAIM, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_RECLAIM, p->rmp_base);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_RECLAIM, LARGE + 0x1000 + 1);

    psp_rmp_write(p, LARGE, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_PAGE_RECLAIM, LARGE + 1);
    large_page(p, LARGE, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_PAGE_RECLAIM, LARGE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_PAGE_RECLAIM, LARGE + 0x1000);
    EXPECT(p, OK, SNP_PAGE_RECLAIM, LARGE + 1);
    for (int i = 0; i < 512; i += 73) {
        g_assert_cmphex(psp_rmp_read(p, LARGE + i * PSP_PAGE) & ~0xfffULL,
                        ==, i * PSP_PAGE);
        g_assert_cmphex(psp_rmp_read(p, LARGE + i * PSP_PAGE) & 0xfff, ==,
                        RMP_RECLAIM | RMP_2M);
    }
    psp_stop(p);
}

static void expect_owned(Psp *p, unsigned guests, unsigned firmware)
{
    g_assert_cmpuint(psp_host_get(p, "stat-rmp-assigned"), ==, guests);
    g_assert_cmpuint(psp_host_get(p, "stat-rmp-firmware"), ==, firmware);
}

/* How many pages are not the hypervisor's, counted in the table when asked */
static void test_snp_owned(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    expect_owned(p, 0, 0);
    /* The RMP's own pages are not among them, nor HV-Fixed ones */
    snp_init(p);
    g_assert_cmphex(psp_rmp_read(p, p->rmp_base), ==, RMP_FIRMWARE);
    g_assert_cmphex(psp_rmp_read(p, p->rmp_end & ~0xfffULL), ==, RMP_FIRMWARE);
    psp_rmp_write(p, OUT, RMP_HV_FIXED);
    expect_owned(p, 0, 0);
    /* Those beside them are: the first and the last page of memory */
    psp_rmp_write(p, p->rmp_base - PSP_PAGE, RMP_FIRMWARE);
    psp_rmp_write(p, p->rmp_end + 1, RMP_FIRMWARE);
    psp_rmp_write(p, 0, RMP_GUEST(1, 0x7000));
    psp_rmp_write(p, 0x1ffff000, RMP_GUEST(99, 0x8000));
    expect_owned(p, 2, 2);
    psp_rmp_write(p, p->rmp_base - PSP_PAGE, RMP_HYPERVISOR);
    psp_rmp_write(p, p->rmp_end + 1, RMP_HYPERVISOR);
    psp_rmp_write(p, 0, RMP_HYPERVISOR);
    psp_rmp_write(p, 0x1ffff000, RMP_HYPERVISOR);
    expect_owned(p, 0, 0);

    /* A guest's: from Pre-Guest to the end, whether its ASID is bound or not */
    snp_guest(p, GCTX, POLICY, 1);
    expect_owned(p, 0, 1);
    psp_rmp_write(p, PAGES, RMP_PRE_GUEST(1, 0x5000));
    expect_owned(p, 1, 1);
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), PAGES);
    expect_owned(p, 1, 1);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);
    expect_owned(p, 1, 1);
    EXPECT(p, OK, SNP_PAGE_RECLAIM, PAGES);
    /* A page to be reclaimed is not back yet: RMPUPDATE has to follow */
    EXPECT(p, OK, SNP_PAGE_RECLAIM, GCTX);
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_RECLAIM);
    expect_owned(p, 1, 1);
    psp_rmp_write(p, PAGES, RMP_HYPERVISOR);
    expect_owned(p, 0, 1);
    psp_rmp_write(p, GCTX, RMP_HYPERVISOR);
    expect_owned(p, 0, 0);

    /* A 2 MB page is 512 pages */
    large_page(p, LARGE, RMP_FIRMWARE);
    expect_owned(p, 0, 512);
    large_page(p, LARGE, RMP_GUEST(3, 0x800000));
    expect_owned(p, 512, 0);

    /* Shutting down gives nothing back by itself; a reset does */
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, DW(8, 1));
    expect_owned(p, 512, 0);
    reset_machine(p);
    expect_owned(p, 0, 0);
    psp_stop(p);
}

static void test_snp_unsmash(void)
{
    Psp *p = start_snp(NULL);

    EXPECT(p, BAD_ADDRESS, SNP_PAGE_UNSMASH, LARGE + 0x1000);
    EXPECT(p, BAD_ADDRESS, SNP_PAGE_UNSMASH, NO_RAM & ~0x1fffffULL);
    EXPECT(p, BAD_PAGE_STATE, SNP_PAGE_UNSMASH, LARGE);
    for (int i = 0; i < 512; i++) {
        psp_rmp_write(p, LARGE + i * PSP_PAGE,
                      RMP_GUEST(3, 0x800000ULL + i * PSP_PAGE));
    }
    psp_rmp_write(p, LARGE + 511 * PSP_PAGE, RMP_GUEST(3, 0x800000));
    EXPECT(p, BAD_PAGE_STATE, SNP_PAGE_UNSMASH, LARGE);
    psp_rmp_write(p, LARGE + 511 * PSP_PAGE, RMP_GUEST(4, 0x9ff000));
    EXPECT(p, BAD_PAGE_STATE, SNP_PAGE_UNSMASH, LARGE);
    psp_rmp_write(p, LARGE + 511 * PSP_PAGE, RMP_GUEST(3, 0x9ff000));
    EXPECT(p, OK, SNP_PAGE_UNSMASH, LARGE);
    g_assert_cmphex(psp_rmp_read(p, LARGE), ==,
                    RMP_GUEST(3, 0x800000) | RMP_2M);
    EXPECT(p, BAD_PAGE_SIZE, SNP_PAGE_UNSMASH, LARGE);
    psp_stop(p);
}

/* ---- SNP guests ---- */

static void test_snp_guest(void)
{
    Psp *p = start_snp(NULL);

    EXPECT(p, BAD_ADDRESS, SNP_GCTX_CREATE, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_GCTX_CREATE, GCTX + 8);
    EXPECT(p, BAD_ADDRESS, SNP_GCTX_CREATE, p->rmp_base);
    EXPECT(p, BAD_PAGE_STATE, SNP_GCTX_CREATE, GCTX);
    large_page(p, LARGE, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_GCTX_CREATE, LARGE + 0x1000);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX, POLICY);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_START, GCTX + 1, POLICY);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_START, NO_RAM, POLICY);
    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    fill(p, GCTX, 0x33, PSP_PAGE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX | 1ULL << 51);
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_CONTEXT);
    g_assert_false(filled(p, GCTX, 0x33, PSP_PAGE));
    EXPECT(p, BAD_PAGE_STATE, SNP_GCTX_CREATE, GCTX);
    /* A page that looks like a context is none */
    psp_rmp_write(p, GCTX2, RMP_CONTEXT);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX2, POLICY);

    EXPECT(p, BAD_GUEST_STATE, SNP_ACTIVATE, GCTX, 1);
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY);
    EXPECT(p, INACTIVE, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, OK, SNP_ACTIVATE, GCTX, 1);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, GCTX, 0, 0, 2);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_FINISH, GCTX);
    psp_stop(p);
}

static void test_snp_policy(void)
{
    Psp *p = start_snp(NULL);

    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    psp_rmp_write(p, GCTX2, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX2);
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, 0x10000);
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, 0x20000);     /* no SMT */
    for (int bit = 21; bit < 64; bit++) {
        EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY | 1ULL << bit);
    }
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY | 0x138);
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY | 0x200);
    EXPECT(p, BAD_POLICY, SNP_LAUNCH_START, GCTX, POLICY, GCTX2, 1);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX, POLICY | 1 << 18, GCTX2, 1);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX, POLICY | 1 << 18, OUT, 1);
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_START, GCTX, POLICY | 1 << 18, GCTX, 1);
    EXPECT(p, UNSUPPORTED, SNP_LAUNCH_START, GCTX, POLICY, 0, 2);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY | 0x1f0137);
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_START, GCTX, POLICY);

    /* A migration agent is a guest that runs */
    EXPECT(p, OK, SNP_ACTIVATE, GCTX, 1);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX2, POLICY | 1 << 18, GCTX, 1);
    psp_stop(p);

    p = start_snp(",smt=off");
    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, 0x20000);
    psp_stop(p);
}

static void test_snp_asid(void)
{
    Psp *p = start_snp(NULL);

    psp_rmp_write(p, GCTX, RMP_FIRMWARE);
    psp_rmp_write(p, GCTX2, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX2);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX, POLICY);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX2, POLICY);
    EXPECT(p, BAD_GUEST, SNP_ACTIVATE, OUT, 1);
    EXPECT(p, BAD_ASID, SNP_ACTIVATE, GCTX, 0);
    EXPECT(p, BAD_ASID, SNP_ACTIVATE, GCTX, 100);
    EXPECT(p, BAD_ASID, SNP_ACTIVATE, GCTX, 0x10000);
    EXPECT(p, OK, SNP_ACTIVATE, GCTX, 99);
    EXPECT(p, ASID_OWNED, SNP_ACTIVATE, GCTX2, 99);
    EXPECT(p, ACTIVE, SNP_ACTIVATE, GCTX, 1);

    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_STATE, SNP_GUEST_STATUS, GCTX, OUT2);
    EXPECT(p, OK, SNP_GUEST_STATUS, GCTX, OUT);
    g_assert_cmphex(qtest_readq(p->qts, OUT), ==, POLICY);
    g_assert_cmphex(qtest_readq(p->qts, OUT + 8), ==, DW(99, 1));
    g_assert_cmphex(psp_rmp_read(p, OUT), ==, RMP_RECLAIM);

    /* What the guest had is noise once it is gone, and its ASID dirty */
    fill(p, PAGES, 0x21, PSP_PAGE);
    snp_page(p, GCTX, 99, NORMAL, PAGES, 0x1000);
    g_assert_true(filled(p, PAGES, 0x21, PSP_PAGE));
    EXPECT(p, BAD_GUEST, SNP_DECOMMISSION, OUT);
    EXPECT(p, BAD_ADDRESS, SNP_DECOMMISSION, NO_RAM);
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);
    g_assert_cmphex(psp_rmp_read(p, GCTX), ==, RMP_FIRMWARE);
    g_assert_false(filled(p, PAGES, 0x21, 16));
    EXPECT(p, BAD_GUEST, SNP_DECOMMISSION, GCTX);
    EXPECT(p, DFFLUSH_REQUIRED, SNP_ACTIVATE, GCTX2, 99);
    EXPECT_QUERY(p, DFFLUSH_REQUIRED, SNP_SHUTDOWN_EX, 8);
    EXPECT(p, WBINVD_REQUIRED, SNP_DF_FLUSH, 0);
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
    EXPECT(p, OK, SNP_ACTIVATE, GCTX2, 99);
    EXPECT(p, OK, SNP_SHUTDOWN_EX, 8);
    psp_stop(p);
}

static void cpuid_entry(Psp *p, uint64_t page, int i, uint32_t leaf,
                        uint32_t subleaf, uint32_t ecx)
{
    uint8_t e[48] = { 0 };

    stl_le_p(e, leaf);
    stl_le_p(e + 4, subleaf);
    stl_le_p(e + 32, ecx);
    qtest_memwrite(p->qts, page + 16 + i * 48, e, sizeof(e));
    qtest_writel(p->qts, page, i + 1);
}

static void test_snp_launch_update(void)
{
    Psp *p = start_snp(NULL);
    uint8_t page[PSP_PAGE];
    uint64_t pa = PAGES;

    snp_guest(p, GCTX, POLICY, 1);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x1000));

    /* In the order of the checks: each has all that comes later wrong too */
    EXPECT(p, BAD_GUEST, SNP_LAUNCH_UPDATE, OUT, 0, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_UPDATE, GCTX, 0, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_UPDATE, GCTX, 0, pa + 0x10);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_UPDATE, GCTX, 1, pa + 0x1000);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_UPDATE, GCTX, 0, p->rmp_base);
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, 1, LARGE);
    psp_rmp_write(p, pa, RMP_FIRMWARE);
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_rmp_write(p, pa, RMP_GUEST(1, 0x1000));
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_rmp_write(p, pa, RMP_GUEST(1, 0x1000) | RMP_IMMUTABLE);
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(2, 0x1000));
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX, 1, pa);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, 0, pa);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(7), pa);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL) | 0x10, pa);
    EXPECT(p, BAD_PAGE_OWNER, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_rmp_write(p, GCTX2, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, GCTX2);
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_UPDATE, GCTX2, UPDATE(NORMAL), pa);
    EXPECT(p, OK, SNP_LAUNCH_START, GCTX2, POLICY);
    EXPECT(p, INACTIVE, SNP_LAUNCH_UPDATE, GCTX2, UPDATE(NORMAL), pa);

    /* Each type, and what becomes of the page */
    fill(p, pa, 0xaa, PSP_PAGE);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x1000));
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa,
           DW(0x01020300, 0));
    g_assert_cmphex(psp_rmp_read(p, pa), ==, RMP_GUEST(1, 0x1000));
    g_assert_cmphex(psp_rmp_read_hi(p, pa), ==, 0x0102030f);
    g_assert_true(filled(p, pa, 0xaa, PSP_PAGE));
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    pa += PSP_PAGE;
    fill(p, pa, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 1, ZERO, pa, 0x2000);
    g_assert_true(filled(p, pa, 0, PSP_PAGE));
    pa += PSP_PAGE;
    fill(p, pa, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 1, UNMEASURED, pa, 0x3000);
    g_assert_true(filled(p, pa, 0xaa, PSP_PAGE));
    pa += PSP_PAGE;
    fill(p, pa, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 1, VMSA, pa, VMSA_GPA);
    g_assert_cmphex(psp_rmp_read(p, pa), ==,
                    RMP_GUEST(1, VMSA_GPA) | RMP_VMSA);
    g_assert_true(filled(p, pa, 0xaa, PSP_PAGE));

    pa += PSP_PAGE;
    fill(p, pa, 0xaa, PSP_PAGE);
    snp_page(p, GCTX, 1, SECRETS, pa, 0x4000);
    qtest_memread(p->qts, pa, page, PSP_PAGE);
    g_assert_cmphex(ldl_le_p(page), ==, 3);
    g_assert_cmphex(ldl_le_p(page + 4), ==, 0);
    g_assert_cmphex(ldl_le_p(page + 8) >> 20, ==, 0xa);     /* family 19h */
    for (int i = 0; i < 4; i++) {
        g_assert_false(filled(p, pa + 0x20 + 32 * i, 0, 32));
        g_assert_cmpint(memcmp(page + 0x20, page + 0x20 + 32 * i, 32) == 0, ==,
                        i == 0);
    }
    g_assert_true(filled(p, pa + 0xa0, 0, PSP_PAGE - 0xa0));

    /* CPUID: features are the processor's at most */
    pa += PSP_PAGE;
    fill(p, pa, 0, PSP_PAGE);
    cpuid_entry(p, pa, 0, 0x80000000, 0, 0xffffffff);
    cpuid_entry(p, pa, 1, 1, 0, 1 | 1u << 31 | 1 << 27 | 1 << 21 | 1 << 6);
    cpuid_entry(p, pa, 2, 7, 0, 1u << 30);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x5000));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
    g_assert_cmphex(psp_rmp_read(p, pa), ==, RMP_PRE_GUEST(1, 0x5000));
    g_assert_cmphex(qtest_readl(p->qts, pa + 16 + 48 + 32), ==,
                    1 | 1u << 31 | 1 << 27 | 1 << 21);
    g_assert_cmphex(qtest_readl(p->qts, pa + 16 + 96 + 32), ==, 0);
    g_assert_cmphex(qtest_readl(p->qts, pa + 16 + 32), ==, 0xffffffff);
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
    pa += PSP_PAGE;
    fill(p, pa, 0, PSP_PAGE);
    qtest_writel(p->qts, pa, 65);
    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x6000));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
    qtest_writel(p->qts, pa, 0xffffffff);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);
    qtest_writel(p->qts, pa, 64);
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID), pa);

    /* 2 MB, of types that may have it */
    large_page(p, LARGE, RMP_PRE_GUEST(1, 0x800000));
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), LARGE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(VMSA) | 1, LARGE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(SECRETS) | 1,
           LARGE);
    EXPECT(p, BAD_PAGE_SIZE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(CPUID) | 1, LARGE);
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(ZERO) | 1, LARGE);
    g_assert_cmphex(psp_rmp_read(p, LARGE), ==,
                    RMP_GUEST(1, 0x800000) | RMP_2M);
    EXPECT(p, BAD_PAGE_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(ZERO),
           LARGE + 0x1000);

    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX);
    pa += PSP_PAGE;
    psp_rmp_write(p, pa, RMP_PRE_GUEST(1, 0x7000));
    EXPECT(p, BAD_GUEST_STATE, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL), pa);
    psp_stop(p);
}

/* ---- Launch digest ---- */

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
    uint8_t block[0x60] = { 0 };

    fill(p, AUTH, 0, PSP_PAGE);
    from_hex(hex, block, 48);
    stl_le_p(block + 0x50, 1);
    stq_le_p(block + 0x58, policy);
    for (int i = 0; i < 48; i++) {
        block[i] ^= 0x80;
        qtest_memwrite(p->qts, BLOCK, block, sizeof(block));
        EXPECT(p, BAD_MEASUREMENT, SNP_LAUNCH_FINISH, gctx, BLOCK, AUTH, 1);
        block[i] ^= 0x80;
    }
    qtest_memwrite(p->qts, BLOCK, block, sizeof(block));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, gctx, BLOCK, AUTH, 1);
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
    /* Not measured: the firmware's fields of a VMSA */
    fill(p, PAGES + 0x2f0, 0xff, 16);
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
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, GCTX, UPDATE(NORMAL) | 1, LARGE,
           DW(0x0f070300, 0));
    check_digest(p, GCTX, POLICY, DIGEST_LARGE);
    psp_stop(p);
}

/* ---- SNP_DBG_* ---- */

static void test_snp_debug(void)
{
    Psp *p = start_snp(NULL);

    snp_guest(p, GCTX, POLICY | POLICY_DEBUG, 1);
    snp_guest(p, GCTX2, POLICY, 2);
    fill(p, PAGES, 0x18, PSP_PAGE);
    snp_page(p, GCTX, 1, NORMAL, PAGES, 0x1000);
    snp_page(p, GCTX2, 2, NORMAL, PAGES + PSP_PAGE, 0x1000);

    EXPECT(p, BAD_GUEST, SNP_DBG_DECRYPT, OUT, PAGES, OUT);
    EXPECT(p, BAD_POLICY, SNP_DBG_DECRYPT, GCTX2, PAGES + PSP_PAGE, OUT);
    EXPECT(p, BAD_POLICY, SNP_DBG_ENCRYPT, GCTX2, OUT, PAGES + PSP_PAGE);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_DECRYPT, GCTX, PAGES + 16, OUT);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_DECRYPT, GCTX, PAGES, OUT + 16);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_DECRYPT, GCTX, NO_RAM, OUT);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_DECRYPT, GCTX, PAGES, NO_RAM);
    EXPECT(p, BAD_ADDRESS, SNP_DBG_ENCRYPT, GCTX, p->rmp_base, PAGES);
    EXPECT(p, BAD_PAGE_STATE, SNP_DBG_DECRYPT, GCTX, REQ, OUT);
    EXPECT(p, BAD_PAGE_OWNER, SNP_DBG_DECRYPT, GCTX, PAGES + PSP_PAGE, OUT);
    EXPECT(p, BAD_PAGE_STATE, SNP_DBG_DECRYPT, GCTX, PAGES, OUT);
    /* Onto itself: a page of the guest is no Firmware page */
    EXPECT(p, BAD_PAGE_STATE, SNP_DBG_DECRYPT, GCTX, PAGES, PAGES);
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_DBG_DECRYPT, GCTX, PAGES, OUT);
    g_assert_true(filled(p, OUT, 0x18, PSP_PAGE));
    fill(p, REQ, 0x19, PSP_PAGE);
    EXPECT(p, BAD_PAGE_OWNER, SNP_DBG_ENCRYPT, GCTX, REQ, PAGES + PSP_PAGE);
    EXPECT(p, OK, SNP_DBG_ENCRYPT, GCTX, REQ, PAGES);
    EXPECT(p, OK, SNP_DBG_DECRYPT, GCTX, PAGES, OUT);
    g_assert_true(filled(p, OUT, 0x19, PSP_PAGE));

    /* What the guest never wrote, and the firmware never encrypted */
    fill(p, PAGES + 0x3000, 0x1a, PSP_PAGE);
    psp_rmp_write(p, PAGES + 0x3000, RMP_GUEST(1, 0x4000));
    EXPECT(p, OK, SNP_DBG_DECRYPT, GCTX, PAGES + 0x3000, OUT);
    g_assert_false(filled(p, OUT, 0x1a, 16));
    /* The content of a context is nobody's */
    psp_rmp_write(p, GCTX2, RMP_GUEST(1, 0x5000));
    fill(p, GCTX2, 0x1b, PSP_PAGE);
    EXPECT(p, OK, SNP_DBG_DECRYPT, GCTX, GCTX2, OUT);
    g_assert_false(filled(p, OUT, 0x1b, 16));
    psp_stop(p);
}

#ifdef CONFIG_GNUTLS

/* ---- Cryptography ---- */

static void gnutls_ok(int rc)
{
    if (rc < 0) {
        g_error("GnuTLS: %s", gnutls_strerror(rc));
    }
}

static gnutls_privkey_t new_key(void)
{
    gnutls_privkey_t key;

    gnutls_ok(gnutls_privkey_init(&key));
    gnutls_ok(gnutls_privkey_generate(key, GNUTLS_PK_ECDSA,
                  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), 0));
    return key;
}

/* Big-endian number of any length to little-endian in 72 bytes */
static void to_le(gnutls_datum_t *be, uint8_t *le)
{
    memset(le, 0, 72);
    for (unsigned i = 0; i < be->size && i < 72; i++) {
        le[i] = be->data[be->size - 1 - i];
    }
    gnutls_free(be->data);
}

static gnutls_datum_t from_le(const uint8_t *le, uint8_t *be)
{
    gnutls_datum_t d = { be, 48 };

    for (int i = 0; i < 48; i++) {
        be[47 - i] = le[i];
    }
    while (d.size > 1 && !d.data[0]) {
        d.data++;
        d.size--;
    }
    return d;
}

static void public_key(gnutls_privkey_t key, uint8_t *q)
{
    gnutls_datum_t x, y, k;
    gnutls_ecc_curve_t curve;

    gnutls_ok(gnutls_privkey_export_ecc_raw(key, &curve, &x, &y, &k));
    to_le(&x, q);
    to_le(&y, q + 72);
    gnutls_free(k.data);
}

static void sign(gnutls_privkey_t key, const void *data, size_t len,
                 uint8_t *sig)
{
    gnutls_datum_t in = { (void *)data, len }, der, r, s;

    gnutls_ok(gnutls_privkey_sign_data(key, GNUTLS_DIG_SHA384, 0, &in, &der));
    gnutls_ok(gnutls_decode_rs_value(&der, &r, &s));
    gnutls_free(der.data);
    to_le(&r, sig);
    to_le(&s, sig + 72);
}

static bool verify(gnutls_pubkey_t key, const void *data, size_t len,
                   const uint8_t *sig)
{
    gnutls_datum_t in = { (void *)data, len }, der, r, s;
    uint8_t rbuf[48], sbuf[48];
    int rc;

    r = from_le(sig, rbuf);
    s = from_le(sig + 72, sbuf);
    gnutls_ok(gnutls_encode_rs_value(&der, &r, &s));
    rc = gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_ECDSA_SHA384, 0, &in,
                                    &der);
    gnutls_free(der.data);
    return rc >= 0;
}

static gnutls_pubkey_t pubkey_of(const uint8_t *q)
{
    uint8_t xbuf[48], ybuf[48];
    gnutls_datum_t x = from_le(q, xbuf), y = from_le(q + 72, ybuf);
    gnutls_pubkey_t key;

    gnutls_ok(gnutls_pubkey_init(&key));
    gnutls_ok(gnutls_pubkey_import_ecc_raw(key, GNUTLS_ECC_CURVE_SECP384R1, &x,
                                           &y));
    return key;
}

static void sha384(const void *data, size_t len, uint8_t *digest)
{
    gnutls_ok(gnutls_hash_fast(GNUTLS_DIG_SHA384, data, len, digest));
}

/* ---- Certificates ---- */

#define CERT_LEN    0x824

static uint32_t cert32(const uint8_t *cert, unsigned offset)
{
    return ldl_le_p(cert + offset);
}

/* @cert's signature in @slot is by the key of @by */
static bool cert_by(const uint8_t *cert, unsigned slot, const uint8_t *by)
{
    gnutls_pubkey_t key = pubkey_of(by + 0x14);
    bool ok = cert32(cert, slot) == cert32(by, 8) &&
              cert32(cert, slot + 4) == 0x102 &&
              verify(key, cert, 0x414, cert + slot + 8);

    gnutls_pubkey_deinit(key);
    return ok;
}

static void get_chain(Psp *p, uint8_t *certs)
{
    EXPECT(p, OK, PDH_CERT_EXPORT, OUT, CERT_LEN, OUT2, 3 * CERT_LEN);
    qtest_memread(p->qts, OUT, certs, CERT_LEN);
    qtest_memread(p->qts, OUT2, certs + CERT_LEN, 3 * CERT_LEN);
}

static void check_chain(const uint8_t *pdh)
{
    const uint8_t *pek = pdh + CERT_LEN, *oca = pek + CERT_LEN;
    const uint8_t *cek = oca + CERT_LEN;

    g_assert_cmphex(cert32(pdh, 8), ==, 0x1003);
    g_assert_cmphex(cert32(pek, 8), ==, 0x1002);
    g_assert_cmphex(cert32(oca, 8), ==, 0x1001);
    g_assert_cmphex(cert32(cek, 8), ==, 0x1004);
    g_assert_true(cert_by(pdh, 0x414, pek));
    g_assert_true(cert_by(pek, 0x414, oca));
    g_assert_true(cert_by(pek, 0x61c, cek));
    g_assert_true(cert_by(oca, 0x414, oca));
}

static void import(Psp *p, unsigned status, const uint8_t *pek,
                   const uint8_t *oca)
{
    qtest_memwrite(p->qts, REQ, pek, CERT_LEN);
    qtest_memwrite(p->qts, BLOCK, oca, CERT_LEN);
    EXPECT(p, status, PEK_CERT_IMPORT, REQ, CERT_LEN, BLOCK, CERT_LEN);
}

static void sign_cert(gnutls_privkey_t key, uint8_t *cert)
{
    stl_le_p(cert + 0x414, 0x1001);
    stl_le_p(cert + 0x418, 0x102);
    sign(key, cert, 0x414, cert + 0x41c);
}

static void test_certificates(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    g_autofree uint8_t *a = g_malloc(4 * CERT_LEN);
    g_autofree uint8_t *b = g_malloc(4 * CERT_LEN);
    g_autofree uint8_t *pek = g_malloc0(CERT_LEN);
    g_autofree uint8_t *oca = g_malloc0(CERT_LEN);
    gnutls_privkey_t owner = new_key();

    EXPECT(p, OK, INIT, 0);
    EXPECT_QUERY(p, BAD_LEN, PDH_CERT_EXPORT, 0);
    g_assert_cmphex(result32(p, 8), ==, CERT_LEN);
    g_assert_cmphex(result32(p, 24), ==, 3 * CERT_LEN);
    EXPECT_QUERY(p, BAD_LEN, PDH_CERT_EXPORT, OUT, CERT_LEN, OUT2,
                 3 * CERT_LEN - 1);
    EXPECT(p, BAD_ADDRESS, PDH_CERT_EXPORT, NO_RAM, CERT_LEN, OUT2,
           3 * CERT_LEN);
    EXPECT(p, BAD_ADDRESS, PDH_CERT_EXPORT, OUT, CERT_LEN, NO_RAM,
           3 * CERT_LEN);
    EXPECT(p, BAD_ADDRESS, PDH_CERT_EXPORT, OUT, CERT_LEN, OUT + CERT_LEN - 1,
           3 * CERT_LEN);
    EXPECT(p, BAD_ADDRESS, PDH_CERT_EXPORT, OUT + 3 * CERT_LEN - 1, CERT_LEN,
           OUT, 3 * CERT_LEN);
    get_chain(p, a);
    check_chain(a);

    /* New keys, and which of them */
    EXPECT(p, OK, PDH_GEN, 0);
    get_chain(p, b);
    check_chain(b);
    g_assert_cmpint(memcmp(a, b, 0x414), !=, 0);
    g_assert_cmpint(memcmp(a + CERT_LEN, b + CERT_LEN, 0x414), ==, 0);
    EXPECT(p, OK, PEK_GEN, 0);
    get_chain(p, a);
    check_chain(a);
    g_assert_cmpint(memcmp(a + CERT_LEN, b + CERT_LEN, 0x414), !=, 0);

    /* An owner signs the PEK */
    EXPECT_QUERY(p, BAD_LEN, PEK_CSR, 0);
    g_assert_cmphex(result32(p, 8), ==, CERT_LEN);
    EXPECT(p, BAD_ADDRESS, PEK_CSR, NO_RAM, CERT_LEN);
    EXPECT(p, OK, PEK_CSR, OUT, CERT_LEN);
    qtest_memread(p->qts, OUT, pek, CERT_LEN);
    g_assert_cmpmem(pek, 0x414, a + CERT_LEN, 0x414);
    g_assert_cmphex(cert32(pek, 0x414), ==, 0x1000);
    memcpy(oca, pek, 0x14);
    stl_le_p(oca + 8, 0x1001);
    public_key(owner, oca + 0x14);
    import(p, BAD_CERTIFICATE, pek, oca);
    sign_cert(owner, pek);
    sign_cert(owner, oca);
    pek[0x500] ^= 1;
    import(p, OK, pek, oca);            /* behind the signature's end */
    EXPECT(p, ALREADY_OWNED, PEK_CERT_IMPORT, REQ, CERT_LEN, BLOCK, CERT_LEN);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, 0) >> 24, ==, 1);
    get_chain(p, b);
    check_chain(b);
    g_assert_cmpmem(b + 2 * CERT_LEN, CERT_LEN, oca, CERT_LEN);

    /* The platform can be its own owner again */
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, FACTORY_RESET, 0);
    EXPECT(p, OK, INIT, 0);
    EXPECT(p, BAD_LEN, PEK_CERT_IMPORT, REQ, CERT_LEN - 1, BLOCK, CERT_LEN);
    EXPECT(p, BAD_LEN, PEK_CERT_IMPORT, REQ, CERT_LEN, BLOCK, 0xffffffff);
    EXPECT(p, BAD_ADDRESS, PEK_CERT_IMPORT, NO_RAM, CERT_LEN, BLOCK, CERT_LEN);
    import(p, BAD_CERTIFICATE, pek, oca);       /* of the key before */
    EXPECT(p, OK, PEK_CSR, OUT, CERT_LEN);
    qtest_memread(p->qts, OUT, pek, CERT_LEN);
    sign_cert(owner, pek);
    pek[0x41c] ^= 1;
    import(p, BAD_SIGNATURE, pek, oca);
    pek[0x41c] ^= 1;
    oca[0x41c] ^= 1;
    import(p, BAD_SIGNATURE, pek, oca);
    gnutls_privkey_deinit(owner);
    psp_stop(p);
}

static void test_attestation_report(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    g_autofree uint8_t *certs = g_malloc(4 * CERT_LEN);
    gnutls_pubkey_t pek;
    uint8_t report[208];

    sev_init(p, false);
    get_chain(p, certs);
    pek = pubkey_of(certs + CERT_LEN + 0x14);
    EXPECT(p, OK, LAUNCH_START, DW(0, 2));
    EXPECT(p, OK, ACTIVATE, DW(1, 100));
    EXPECT(p, OK, LAUNCH_MEASURE, 1, OUT, 48);
    EXPECT_QUERY(p, BAD_LEN, ATTESTATION_REPORT, 1);
    g_assert_cmpuint(result32(p, 32), ==, 208);
    EXPECT(p, BAD_ADDRESS, ATTESTATION_REPORT, 1, NO_RAM, 0, 0, 208);
    EXPECT(p, OK, ATTESTATION_REPORT, 1, OUT, 0x1122334455667788, 0x99, 208);
    qtest_memread(p->qts, OUT, report, sizeof(report));
    g_assert_cmphex(ldq_le_p(report), ==, 0x1122334455667788);
    g_assert_cmphex(ldl_le_p(report + 48), ==, 2);
    g_assert_true(verify(pek, report, 52, report + 64));
    report[20] ^= 1;
    g_assert_false(verify(pek, report, 52, report + 64));
    gnutls_pubkey_deinit(pek);
    psp_stop(p);
}

/* ---- ID block ---- */

typedef struct Id {
    gnutls_privkey_t id_key;
    gnutls_privkey_t author_key;
    uint8_t block[0x60];
    uint8_t auth[PSP_PAGE];
} Id;

static void id_sign(Id *id)
{
    memset(id->auth, 0, sizeof(id->auth));
    stl_le_p(id->auth, 1);
    stl_le_p(id->auth + 4, 1);
    stl_le_p(id->auth + 0x240, 2);
    public_key(id->id_key, id->auth + 0x244);
    stl_le_p(id->auth + 0x880, 2);
    public_key(id->author_key, id->auth + 0x884);
    sign(id->id_key, id->block, sizeof(id->block), id->auth + 0x40);
    sign(id->author_key, id->auth + 0x240, 0x404, id->auth + 0x680);
}

static void id_put(Psp *p, Id *id)
{
    qtest_memwrite(p->qts, BLOCK, id->block, sizeof(id->block));
    qtest_memwrite(p->qts, AUTH, id->auth, sizeof(id->auth));
}

/* One byte of block or authentication wrong, and what comes of it */
static void id_spoil(Psp *p, Id *id, uint8_t *byte, unsigned status,
                     unsigned flags)
{
    *byte ^= 1;
    id_put(p, id);
    EXPECT(p, status, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH, flags);
    *byte ^= 1;
}

static Id *id_new(uint64_t policy, const uint8_t *digest)
{
    Id *id = g_new0(Id, 1);

    id->id_key = new_key();
    id->author_key = new_key();
    memcpy(id->block, digest, 48);
    memset(id->block + 0x30, 0xf1, 16);
    memset(id->block + 0x40, 0x1d, 16);
    stl_le_p(id->block + 0x50, 1);
    stl_le_p(id->block + 0x54, 7);
    stq_le_p(id->block + 0x58, policy);
    id_sign(id);
    return id;
}

static void id_free(Id *id)
{
    gnutls_privkey_deinit(id->id_key);
    gnutls_privkey_deinit(id->author_key);
    g_free(id);
}

static void test_snp_id_block(void)
{
    static const uint8_t zero[48];
    Psp *p = start_snp(NULL);
    Id *id = id_new(POLICY, zero);

    snp_guest(p, GCTX, POLICY, 1);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH, 2);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_FINISH, GCTX, NO_RAM, AUTH, 1);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_FINISH, GCTX, BLOCK, NO_RAM, 1);
    id_spoil(p, id, id->block + 5, BAD_MEASUREMENT, 1);
    id_spoil(p, id, id->block + 0x58, BAD_POLICY, 1);
    id_spoil(p, id, id->block + 0x50, BAD_PARAM, 1);
    id_spoil(p, id, id->auth, BAD_PARAM, 1);
    id_spoil(p, id, id->auth + 4, BAD_PARAM, 3);
    id_spoil(p, id, id->auth + 0x240, BAD_PARAM, 1);
    id_spoil(p, id, id->auth + 0x880, BAD_PARAM, 3);
    id_spoil(p, id, id->block + 0x30, BAD_SIGNATURE, 1);
    id_spoil(p, id, id->block + 0x54, BAD_SIGNATURE, 1);
    id_spoil(p, id, id->auth + 0x40, BAD_SIGNATURE, 1);
    id_spoil(p, id, id->auth + 0x88, BAD_SIGNATURE, 1);
    id_spoil(p, id, id->auth + 0x244, BAD_SIGNATURE, 1);
    id_spoil(p, id, id->auth + 0x680, BAD_SIGNATURE, 3);
    id_spoil(p, id, id->auth + 0x884, BAD_SIGNATURE, 3);
    /* R that has more than 384 bits */
    id_spoil(p, id, id->auth + 0x40 + 71, BAD_SIGNATURE, 1);
    /* Part of the key's digest, so the author signs for it too */
    id_spoil(p, id, id->auth + 0x240 + 0x403, BAD_SIGNATURE, 3);
    id_put(p, id);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH, 3);
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);

    /* Without an author key, what is there instead does not count */
    snp_guest(p, GCTX, POLICY, 2);
    memset(id->auth + 0x680, 0xff, PSP_PAGE - 0x680);
    id_put(p, id);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH, 1);
    id_free(id);
    psp_stop(p);
}

/* ---- Guest messages ---- */

typedef struct Guest {
    uint8_t vmpck[4][32];
    uint8_t digest[48];
    uint64_t seqno;
    unsigned vmpl;
    /* The last message, for a test to spoil */
    uint8_t msg[PSP_PAGE];
    uint8_t rsp[PSP_PAGE];
} Guest;

static void gcm(bool encrypt, const uint8_t *key, uint64_t seqno, uint8_t *msg,
                uint8_t *payload, size_t len)
{
    gnutls_datum_t k = { (void *)key, 32 };
    gnutls_aead_cipher_hd_t hd;
    uint8_t iv[12] = { 0 }, both[PSP_PAGE + 16];
    size_t n = encrypt ? len + 16 : len;

    stq_le_p(iv, seqno);
    gnutls_ok(gnutls_aead_cipher_init(&hd, GNUTLS_CIPHER_AES_256_GCM, &k));
    if (encrypt) {
        gnutls_ok(gnutls_aead_cipher_encrypt(hd, iv, 12, msg + 0x30, 0x30, 16,
                                             payload, len, both, &n));
        memcpy(msg + 0x60, both, len);
        memcpy(msg, both + len, 16);
    } else {
        memcpy(both, msg + 0x60, len);
        memcpy(both + len, msg, 16);
        gnutls_ok(gnutls_aead_cipher_decrypt(hd, iv, 12, msg + 0x30, 0x30, 16,
                                             both, len + 16, payload, &n));
    }
    gnutls_aead_cipher_deinit(hd);
}

static void seal(Guest *g, unsigned type, const void *payload, size_t len)
{
    uint8_t copy[PSP_PAGE];

    memset(g->msg, 0, PSP_PAGE);
    stq_le_p(g->msg + 0x20, g->seqno);
    g->msg[0x30] = 1;
    g->msg[0x31] = 1;
    stw_le_p(g->msg + 0x32, 0x60);
    g->msg[0x34] = type;
    g->msg[0x35] = 1;
    stw_le_p(g->msg + 0x36, len);
    g->msg[0x3c] = g->vmpl;
    memcpy(copy, payload, len);
    gcm(true, g->vmpck[g->vmpl], g->seqno, g->msg, copy, len);
}

static void send_msg(Psp *p, unsigned status, Guest *g)
{
    qtest_memwrite(p->qts, REQ, g->msg, PSP_PAGE);
    EXPECT(p, status, SNP_GUEST_REQUEST, GCTX, REQ, RSP);
}

/* Send and open the answer, which must have @type and @want bytes */
static void ask(Psp *p, Guest *g, unsigned type, const void *payload,
                size_t len, uint8_t *answer, size_t want)
{
    seal(g, type, payload, len);
    send_msg(p, OK, g);
    qtest_memread(p->qts, RSP, g->rsp, PSP_PAGE);
    g_assert_cmphex(ldq_le_p(g->rsp + 0x20), ==, g->seqno + 1);
    g_assert_cmphex(g->rsp[0x34], ==, type + 1);
    g_assert_cmphex(lduw_le_p(g->rsp + 0x36), ==, want);
    gcm(false, g->vmpck[g->vmpl], g->seqno + 1, g->rsp, answer, want);
    g->seqno += 2;
}

/* A guest with one page and its secrets; runs, with an ID block if @signed_ */
static Guest *running_guest(Psp *p, Id **id, uint8_t vcek_disabled)
{
    Guest *g = g_new0(Guest, 1);
    uint8_t info[0x70] = { 0 };

    snp_guest(p, GCTX, POLICY | POLICY_DEBUG, 1);
    snp_page(p, GCTX, 1, SECRETS, PAGES, 0x5000);
    qtest_memread(p->qts, PAGES + 0x20, g->vmpck, sizeof(g->vmpck));
    stw_le_p(info + 0x60, 0x70);
    info[0x62] = SECRETS;
    stq_le_p(info + 0x68, 0x5000);
    sha384(info, sizeof(info), g->digest);
    g->seqno = 1;
    if (id) {
        *id = id_new(POLICY | POLICY_DEBUG, g->digest);
        id_put(p, *id);
    }
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH,
           (id ? 3 : 0) | vcek_disabled << 2,
           0x1111111111111111, 0x2222222222222222, 0x3333333333333333,
           0x4444444444444444);
    psp_rmp_write(p, RSP, RMP_FIRMWARE);
    return g;
}

static gnutls_pubkey_t vcek(Psp *p)
{
    g_autofree char *pem = psp_get_str(p, "vcek-pem");
    gnutls_datum_t in = { (void *)pem, strlen(pem) };
    gnutls_pubkey_t key;

    gnutls_ok(gnutls_pubkey_init(&key));
    gnutls_ok(gnutls_pubkey_import(key, &in, GNUTLS_X509_FMT_PEM));
    return key;
}

static void test_snp_report(void)
{
    g_autofree char *file = g_strdup_printf("%s/amd-psp-vcek-%d.pem",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *args = g_strdup_printf(",vcek-file=%s", file);
    Psp *p = start_snp(args);
    g_autofree char *pem = psp_get_str(p, "vcek-pem");
    g_autofree char *saved = NULL;
    gnutls_pubkey_t key = vcek(p);
    uint8_t req[0x60] = { 0 }, rsp[0x4c0], digest[48], chip_id[64];
    uint8_t *r = rsp + 0x20;
    uint64_t tcb;
    Guest *g;
    Id *id;

    g_assert_true(g_file_get_contents(file, &saved, NULL, NULL));
    g_assert_cmpstr(saved, ==, pem);
    unlink(file);
    EXPECT(p, OK, SNP_CONFIG, 0);
    g = running_guest(p, &id, 0);

    for (int i = 0; i < 64; i++) {
        req[i] = i;
    }
    stl_le_p(req + 0x40, 2);
    ask(p, g, 5, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_cmphex(ldl_le_p(rsp), ==, 0);
    g_assert_cmphex(ldl_le_p(rsp + 4), ==, 0x4a0);
    g_assert_true(verify(key, r, 0x2a0, r + 0x2a0));
    g_assert_cmphex(ldl_le_p(r), ==, 2);
    g_assert_cmphex(ldl_le_p(r + 4), ==, 7);
    g_assert_cmphex(ldq_le_p(r + 8), ==, POLICY | POLICY_DEBUG);
    g_assert_cmpmem(r + 0x10, 32, id->block + 0x30, 32);
    g_assert_cmphex(ldl_le_p(r + 0x30), ==, 2);
    g_assert_cmphex(ldl_le_p(r + 0x34), ==, 1);
    tcb = ldq_le_p(r + 0x38);
    g_assert_cmphex(tcb >> 48 & 0xff, ==, 0x14);
    g_assert_cmphex(ldq_le_p(r + 0x40), ==, 1);     /* SMT */
    g_assert_cmphex(ldl_le_p(r + 0x48), ==, 1);     /* author key, VCEK */
    g_assert_cmpmem(r + 0x50, 64, req, 64);
    g_assert_cmpmem(r + 0x90, 48, g->digest, 48);
    g_assert_cmphex(ldq_le_p(r + 0xc0), ==, 0x1111111111111111);
    g_assert_cmphex(ldq_le_p(r + 0xd8), ==, 0x4444444444444444);
    sha384(id->auth + 0x240, 0x404, digest);
    g_assert_cmpmem(r + 0xe0, 48, digest, 48);
    sha384(id->auth + 0x880, 0x404, digest);
    g_assert_cmpmem(r + 0x110, 48, digest, 48);
    for (int i = 0; i < 32; i++) {
        g_assert_cmphex(r[0x160 + i], ==, 0xff);    /* no migration agent */
    }
    g_assert_cmphex(ldq_le_p(r + 0x180), ==, tcb);
    g_assert_cmphex(ldq_le_p(r + 0x1e0), ==, tcb);
    g_assert_cmphex(ldl_le_p(r + 0x1e8), ==, 0x013715);
    g_assert_cmphex(ldl_le_p(r + 0x1ec), ==, 0x013715);
    g_assert_cmphex(ldq_le_p(r + 0x1f0), ==, tcb);
    /* The chip is the one that GET_ID names */
    psp_rmp_write(p, OUT, RMP_FIRMWARE);
    psp_rmp_write(p, PSP_CMD_BUF, RMP_FIRMWARE);
    EXPECT(p, OK, GET_ID, OUT, 64);
    qtest_memread(p->qts, OUT, chip_id, sizeof(chip_id));
    g_assert_cmpmem(r + 0x1a0, 64, chip_id, 64);

    /* Nothing of it can be changed */
    for (int i = 0; i < 0x2a0; i++) {
        r[i] ^= 4;
        g_assert_false(verify(key, r, 0x2a0, r + 0x2a0));
        r[i] ^= 4;
    }

    /* Refused within the message */
    stl_le_p(req + 0x40, 4);
    ask(p, g, 5, req, sizeof(req), rsp, 0x20);
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_PARAM);
    stl_le_p(req + 0x40, 0);
    stl_le_p(req + 0x44, 2);                        /* VLEK */
    ask(p, g, 5, req, sizeof(req), rsp, 0x20);
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_KEY);
    stl_le_p(req + 0x44, 3);
    ask(p, g, 5, req, sizeof(req), rsp, 0x20);
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_PARAM);
    stl_le_p(req + 0x44, 1);
    req[0x5f] = 1;
    ask(p, g, 5, req, sizeof(req), rsp, 0x20);
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_PARAM);
    req[0x5f] = 0;
    ask(p, g, 5, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_true(verify(key, r, 0x2a0, r + 0x2a0));

    /* With the key of VMPL2, no report of a more privileged level */
    g->vmpl = 2;
    g->seqno = 1;
    stl_le_p(req + 0x40, 1);
    ask(p, g, 5, req, sizeof(req), rsp, 0x20);
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_PARAM);
    stl_le_p(req + 0x40, 3);
    ask(p, g, 5, req, sizeof(req), rsp, sizeof(rsp));

    /* What SNP_CONFIG masks; and the TCB to report */
    EXPECT(p, OK, SNP_CONFIG, tcb - 1, 3);
    ask(p, g, 5, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_cmphex(ldl_le_p(r + 0x48), ==, 1 | 2 | 7 << 2);
    g_assert_cmphex(ldq_le_p(r + 0x180), ==, tcb - 1);
    g_assert_cmphex(ldq_le_p(r + 0x38), ==, tcb);
    for (int i = 0; i < 64; i++) {
        g_assert_cmphex(r[0x1a0 + i], ==, 0);
    }
    for (int i = 0x2a0; i < 0x4a0; i++) {
        g_assert_cmphex(r[i], ==, 0);
    }
    gnutls_pubkey_deinit(key);
    id_free(id);
    g_free(g);
    psp_stop(p);

    p = start_snp(NULL);
    g = running_guest(p, NULL, 1);
    memset(req, 0, sizeof(req));
    ask(p, g, 5, req, sizeof(req), rsp, 0x20);
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_KEY);
    g_free(g);
    psp_stop(p);
}

static void test_snp_message(void)
{
    static const uint16_t header[] = {
        0x28, 0x30, 0x31, 0x32, 0x35, 0x38, 0x3d, 0x5f,
    };
    static const uint16_t sealed[] = { 0x00, 0x0f, 0x60, 0xbf };
    Psp *p = start_snp(NULL);
    Guest *g;
    uint8_t req[0x60] = { 0 }, rsp[0x4c0];

    snp_guest(p, GCTX2, POLICY, 2);
    EXPECT(p, BAD_GUEST_STATE, SNP_GUEST_REQUEST, GCTX2, REQ, RSP);
    EXPECT(p, BAD_GUEST, SNP_GUEST_REQUEST, OUT, REQ, RSP);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, OUT + 1, REQ, RSP);
    g = running_guest(p, NULL, 0);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, GCTX, REQ + 16, RSP);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, GCTX, NO_RAM, RSP);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, GCTX, REQ, RSP + 16);
    EXPECT(p, BAD_ADDRESS, SNP_GUEST_REQUEST, GCTX, REQ, NO_RAM);
    EXPECT(p, BAD_PAGE_STATE, SNP_GUEST_REQUEST, GCTX, REQ, OUT);

    /* The header, byte by byte */
    for (int i = 0; i < ARRAY_SIZE(header); i++) {
        seal(g, 5, req, sizeof(req));
        g->msg[header[i]] ^= 0x80;
        send_msg(p, BAD_PARAM, g);
    }
    seal(g, 5, req, sizeof(req));
    g->msg[0x3c] = 4;
    send_msg(p, BAD_PARAM, g);
    seal(g, 5, req, sizeof(req));
    stw_le_p(g->msg + 0x36, 0xfa1);
    send_msg(p, BAD_PARAM, g);
    stw_le_p(g->msg + 0x36, 0xffff);
    send_msg(p, BAD_PARAM, g);

    /* What the seal protects */
    for (int i = 0; i < ARRAY_SIZE(sealed); i++) {
        seal(g, 5, req, sizeof(req));
        g->msg[sealed[i]] ^= 1;
        send_msg(p, BAD_MEASUREMENT, g);
    }
    seal(g, 5, req, sizeof(req));
    g->msg[0x34] = 3;
    send_msg(p, BAD_MEASUREMENT, g);
    seal(g, 5, req, sizeof(req));
    g->msg[0x3c] = 1;                   /* another VMPCK */
    send_msg(p, BAD_MEASUREMENT, g);

    /* Sequence: none of this counted as a message */
    g->seqno = 0;
    seal(g, 5, req, sizeof(req));
    send_msg(p, BAD_PARAM, g);
    g->seqno = 2;
    seal(g, 5, req, sizeof(req));
    send_msg(p, BAD_PARAM, g);
    g->seqno = UINT64_MAX;
    seal(g, 5, req, sizeof(req));
    send_msg(p, BAD_PARAM, g);
    g->seqno = 1;
    ask(p, g, 5, req, sizeof(req), rsp, sizeof(rsp));
    /* Sent again, it is old */
    send_msg(p, BAD_PARAM, g);
    /* Each VMPCK has its own count */
    g->vmpl = 3;
    g->seqno = 3;
    stl_le_p(req + 0x40, 3);
    seal(g, 5, req, sizeof(req));
    send_msg(p, BAD_PARAM, g);
    g->seqno = 1;
    ask(p, g, 5, req, sizeof(req), rsp, sizeof(rsp));

    /* Types that are none, or have another size */
    for (int type = 0; type < 20; type++) {
        if (type != 3) {
            seal(g, type, req, type == 5 ? 0x5f : 0x60);
            send_msg(p, BAD_PARAM, g);
        }
    }
    seal(g, 3, req, 0x21);
    send_msg(p, BAD_PARAM, g);
    seal(g, 5, req, 0);
    send_msg(p, BAD_PARAM, g);
    g_free(g);
    psp_stop(p);
}

static void test_snp_derived_key(void)
{
    Psp *p = start_snp(NULL);
    uint8_t req[0x20] = { 0 }, first[0x40], rsp[0x40];
    Guest *g = running_guest(p, NULL, 0);

    ask(p, g, 3, req, sizeof(req), first, sizeof(first));
    g_assert_cmphex(ldl_le_p(first), ==, 0);
    ask(p, g, 3, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_cmpmem(rsp, sizeof(rsp), first, sizeof(first));
    /* Each field makes another key */
    for (int bit = 0; bit < 6; bit++) {
        stq_le_p(req + 8, 1 << bit);
        ask(p, g, 3, req, sizeof(req), rsp, sizeof(rsp));
        g_assert_cmphex(ldl_le_p(rsp), ==, 0);
        g_assert_cmpint(memcmp(rsp + 0x20, first + 0x20, 32), !=, 0);
    }
    stq_le_p(req + 8, 0);
    stl_le_p(req + 0x10, 1);
    ask(p, g, 3, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_cmpint(memcmp(rsp + 0x20, first + 0x20, 32), !=, 0);

    stl_le_p(req + 0x10, 4);
    ask(p, g, 3, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_PARAM);
    stl_le_p(req + 0x10, 0);
    stq_le_p(req + 8, 0x40);
    ask(p, g, 3, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_PARAM);
    stq_le_p(req + 8, 0x10);
    stl_le_p(req + 0x14, 1);            /* above the guest's SVN, 0 */
    ask(p, g, 3, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_PARAM);
    stl_le_p(req + 0x14, 0);
    stq_le_p(req + 8, 0x20);
    stq_le_p(req + 0x18, UINT64_MAX);
    ask(p, g, 3, req, sizeof(req), rsp, sizeof(rsp));
    g_assert_cmphex(ldl_le_p(rsp), ==, BAD_PARAM);
    stq_le_p(req + 0x18, 0);
    for (int root = 1; root < 8; root++) {
        stl_le_p(req, root);
        ask(p, g, 3, req, sizeof(req), rsp, sizeof(rsp));
        g_assert_cmphex(ldl_le_p(rsp), ==,
                        root == 2 ? 0 : root == 4 ? BAD_KEY : BAD_PARAM);
    }
    g_free(g);
    psp_stop(p);
}

#endif /* CONFIG_GNUTLS */

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("amd-psp/pci", test_pci);
    qtest_add_func("amd-psp/reset", test_reset);
    qtest_add_func("amd-psp/mailbox", test_mailbox);
    qtest_add_func("amd-psp/interrupt", test_interrupt);
    qtest_add_func("amd-psp/properties", test_properties);
    qtest_add_func("amd-psp/buffers", test_buffers);
    qtest_add_func("amd-psp/states", test_states);
    qtest_add_func("amd-psp/sev/init", test_sev_init);
    qtest_add_func("amd-psp/sev/under-snp", test_sev_under_snp);
    qtest_add_func("amd-psp/sev/launch", test_sev_launch);
    qtest_add_func("amd-psp/sev/es-launch", test_sev_es_launch);
    qtest_add_func("amd-psp/sev/many-guests", test_many_guests);
    qtest_add_func("amd-psp/snp/config", test_snp_config);
    qtest_add_func("amd-psp/snp/init", test_snp_init);
    qtest_add_func("amd-psp/snp/iommu", test_snp_iommu);
    qtest_add_func("amd-psp/snp/platform", test_snp_platform);
    qtest_add_func("amd-psp/snp/reclaim", test_snp_reclaim);
    qtest_add_func("amd-psp/snp/owned", test_snp_owned);
    qtest_add_func("amd-psp/snp/unsmash", test_snp_unsmash);
    qtest_add_func("amd-psp/snp/guest", test_snp_guest);
    qtest_add_func("amd-psp/snp/policy", test_snp_policy);
    qtest_add_func("amd-psp/snp/asid", test_snp_asid);
    qtest_add_func("amd-psp/snp/launch-update", test_snp_launch_update);
    qtest_add_func("amd-psp/snp/digest", test_snp_digest);
    qtest_add_func("amd-psp/snp/whole-launch", test_snp_whole_launch);
    qtest_add_func("amd-psp/snp/debug", test_snp_debug);
#ifdef CONFIG_GNUTLS
    qtest_add_func("amd-psp/sev/certificates", test_certificates);
    qtest_add_func("amd-psp/sev/attestation-report", test_attestation_report);
    qtest_add_func("amd-psp/snp/id-block", test_snp_id_block);
    qtest_add_func("amd-psp/snp/report", test_snp_report);
    qtest_add_func("amd-psp/snp/message", test_snp_message);
    qtest_add_func("amd-psp/snp/derived-key", test_snp_derived_key);
#endif
    return g_test_run();
}
