/*
 * qtest for the AMD Secure Processor: PCI function and mailbox
 *
 * The registers are those that Linux's drivers/crypto/ccp/sp-pci.c names; the
 * mailbox protocol is in the SEV API and in the SNP ABI. Tested: identity,
 * values after a reset, one command at a time, the interrupt, the properties
 * with which a test makes commands slow or has them fail, and that the machine
 * goes on while a command takes long.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"

#define VENDOR_AMD          0x1022
#define DEVICE_PSP          0x14ca
#define CLASS_CRYPT_OTHER   0x1080
#define BAR_MEM32           0
#define BAR_SIZE            0x100000
#define FEATURE_SEV         1
#define INT_OTHER           1
#define REG_NONE            0   /* no register there */
/* What the MSI-X vector of the test writes */
#define MSIX_DATA           0xc0ffee
#define DELAY_US_MAX        600000000

static void test_pci(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    uint64_t size = 0;

    g_assert_cmphex(qpci_config_readw(p->dev, PCI_VENDOR_ID), ==, VENDOR_AMD);
    g_assert_cmphex(qpci_config_readw(p->dev, PCI_DEVICE_ID), ==, DEVICE_PSP);
    g_assert_cmphex(qpci_config_readw(p->dev, PCI_CLASS_DEVICE), ==,
                    CLASS_CRYPT_OTHER);
    g_assert_cmphex(qpci_config_readl(p->dev, PCI_BASE_ADDRESS_2) &
                    ~PCI_BASE_ADDRESS_MEM_MASK, ==, BAR_MEM32);
    qpci_iomap(p->dev, PSP_BAR, &size);
    g_assert_cmphex(size, ==, BAR_SIZE);
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
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_FEATURE), ==,
                    FEATURE_SEV);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_BOOTLOADER), !=, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_NONE), ==, 0);
    qpci_io_writel(p->dev, p->bar, REG_NONE, 0xffffffff);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_NONE), ==, 0);
}

static void test_reset(void)
{
    Psp *p = psp_start(SYSCFG_SNP, ",delay-us=1000");

    check_reset_values(p);

    /* A command that is pending never happens */
    qtest_memwrite(p->qts, PSP_CMD_BUF, BUF(0), PSP_CMD_BUF_LEN);
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

    fill(p, PSP_CMD_BUF, 0xee, PSP_CMD_BUF_LEN);
    psp_issue(p, PLATFORM_STATUS, PSP_CMD_BUF);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    CMDRESP(PLATFORM_STATUS));
    qtest_clock_step(p->qts, 999000);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    CMDRESP(PLATFORM_STATUS));

    /* Another one while it is pending is ignored, and recorded */
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP, CMDRESP(SNP_INIT));
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    CMDRESP(PLATFORM_STATUS));
    g_assert_cmpuint(psp_host_get(p, "errors-firmware"), ==, errors + 1);
    /* The address was taken when the command was */
    qpci_io_writel(p->dev, p->bar, REG_BUF_LO, OUT);
    fill(p, OUT, 0xee, ID_LEN);
    qtest_clock_step(p->qts, 1000);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    CMDRESP_DONE | CMDRESP(PLATFORM_STATUS));
    g_assert_cmphex(result32(p, PLATFORM_STATUS_WORD), ==,
                    STATUS_WORD(UNINIT, 0));
    g_assert_cmphex(result32(p, PLATFORM_STATUS_LEN), ==, 0xeeeeeeee);
    g_assert_true(filled(p, OUT, 0xee, ID_LEN));

    /* So was the content: what changes later has no effect */
    qtest_memwrite(p->qts, PSP_CMD_BUF, BUF(OUT, ID_LEN), 16);
    psp_issue(p, GET_ID, PSP_CMD_BUF);
    qtest_writeq(p->qts, PSP_CMD_BUF, NO_RAM);
    qtest_clock_step(p->qts, 1000000);
    g_assert_cmphex(psp_wait(p), ==, OK);
    g_assert_false(filled(p, OUT, 0xee, ID_LEN));

    /* The response bit is not for writing */
    errors = psp_host_get(p, "errors-firmware");
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP, CMDRESP_DONE | CMDRESP(INIT));
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    CMDRESP_DONE | CMDRESP(GET_ID));
    g_assert_cmpuint(psp_host_get(p, "errors-firmware"), ==, errors + 1);
    psp_stop(p);
}

static void test_interrupt(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    uint64_t off;

    qpci_msix_enable(p->dev);
    off = p->dev->msix_table_off;
    qpci_io_writel(p->dev, p->dev->msix_table_bar,
                   off + PCI_MSIX_ENTRY_LOWER_ADDR, OUT);
    qpci_io_writel(p->dev, p->dev->msix_table_bar,
                   off + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    qpci_io_writel(p->dev, p->dev->msix_table_bar,
                   off + PCI_MSIX_ENTRY_DATA, MSIX_DATA);
    qpci_io_writel(p->dev, p->dev->msix_table_bar,
                   off + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
    qtest_writel(p->qts, OUT, 0);

    /* None without being asked for */
    qpci_io_writel(p->dev, p->bar, REG_INTEN, 0xffffffff);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==, 0);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0);

    /* Nor when it is not enabled, but the status is there */
    qpci_io_writel(p->dev, p->bar, REG_INTEN, 0);
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP,
                   CMDRESP(PLATFORM_STATUS) | CMDRESP_IOC);
    psp_wait(p);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==,
                    INT_COMMAND);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, 0);
    qpci_io_writel(p->dev, p->bar, REG_INTSTS, INT_OTHER);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==,
                    INT_COMMAND);

    /* It comes when that changes */
    qpci_io_writel(p->dev, p->bar, REG_INTEN, 0xffffffff);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, MSIX_DATA);
    qpci_io_writel(p->dev, p->bar, REG_INTSTS, INT_COMMAND);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_INTSTS), ==, 0);

    /* And for a command, of failure too */
    qtest_writel(p->qts, OUT, 0);
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP,
                   CMDRESP(NO_COMMAND) | CMDRESP_IOC);
    g_assert_cmphex(psp_wait(p), ==, BAD_COMMAND);
    g_assert_cmphex(qtest_readl(p->qts, OUT), ==, MSIX_DATA);
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
    g_assert_cmphex(result32(p, PLATFORM_STATUS_WORD), ==,
                    STATUS_WORD(UNINIT, 0));
    /* An injected failure has no effect and is no error of the host */
    EXPECT_QUERY(p, 0x16, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, PLATFORM_STATUS_WORD), ==, 0);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    EXPECT_QUERY(p, 0x99, GET_ID, OUT, ID_LEN);
    EXPECT(p, OK, GET_ID, OUT, ID_LEN);

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

    g_assert_false(set_delay(p, DELAY_US_MAX + 1));
    g_assert_true(set_delay(p, 10));
    psp_issue(p, NO_COMMAND, 0);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==,
                    CMDRESP(NO_COMMAND));
    qtest_clock_step(p->qts, 10000);
    g_assert_cmphex(psp_wait(p), ==, BAD_COMMAND);
    g_assert_true(set_delay(p, 0));
    psp_stop(p);
}

/* What the commands below move, and where to */
#define LONG_LEN            (96ULL << 20)
#define LONG_COPY           0x8000000
/*
 * A command of 96 pieces is seen pending in nearly each pause, several times;
 * one that is done at once is seen pending once at most.
 */
#define LONG_SEEN           16

/* Returns how often the main loop answered while the command was pending */
static unsigned times_pending(Psp *p, unsigned id, const void *buf)
{
    gint64 longest = 0, start = g_get_monotonic_time(), before = start;
    unsigned n = 0;

    qtest_memwrite(p->qts, PSP_CMD_BUF, buf, PSP_CMD_BUF_LEN);
    psp_issue(p, id, PSP_CMD_BUF);
    while (!(qpci_io_readl(p->dev, p->bar, REG_CMDRESP) & CMDRESP_DONE)) {
        gint64 now = g_get_monotonic_time();

        longest = MAX(longest, now - before);
        before = now;
        n++;
    }
    g_test_message("command 0x%x: %u answers while it was pending, in %u ms, "
                   "the slowest after %u ms", id, n,
                   (unsigned)((g_get_monotonic_time() - start) / 1000),
                   (unsigned)(longest / 1000));
    g_assert_cmphex(psp_wait(p), ==, OK);
    return n;
}

/* Commands on much memory leave the main loop to others in between */
static void test_pieces(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    const void *update;
    uint32_t handle;

    sev_init(p, false);
    EXPECT(p, OK, LAUNCH_START, 0);
    handle = result32(p, LAUNCH_START_HANDLE);
    EXPECT(p, OK, ACTIVATE, DW(handle, ASID_MIN_SEV));
    fill(p, LARGE, 0x5a, LONG_LEN);
    update = BUF(handle, LARGE, LONG_LEN);
    g_assert_cmpuint(times_pending(p, LAUNCH_UPDATE_DATA, update), >,
                     LONG_SEEN);
    g_assert_cmpuint(times_pending(p, DBG_DECRYPT,
                                   BUF(handle, LARGE, LONG_COPY, LONG_LEN)),
                     >, LONG_SEEN);
    g_assert_true(filled(p, LONG_COPY, 0x5a, PSP_PAGE));
    g_assert_true(filled(p, LONG_COPY + LONG_LEN - PSP_PAGE, 0x5a, PSP_PAGE));
    g_assert_cmpuint(times_pending(p, DEACTIVATE, BUF(handle)), >,
                     LONG_SEEN / 4);
    g_assert_false(filled(p, LARGE, 0x5a, PSP_PAGE));
    g_assert_false(filled(p, LARGE + LONG_LEN - PSP_PAGE, 0x5a, PSP_PAGE));

    /* A reset in between ends the command */
    psp_wbinvd(p);
    EXPECT(p, OK, DF_FLUSH, 0);
    EXPECT(p, OK, ACTIVATE, DW(handle, ASID_MIN_SEV));
    qtest_memwrite(p->qts, PSP_CMD_BUF, BUF(handle, LARGE, LONG_LEN),
                   PSP_CMD_BUF_LEN);
    psp_issue(p, LAUNCH_UPDATE_DATA, PSP_CMD_BUF);
    qpci_io_readl(p->dev, p->bar, REG_CMDRESP);
    reset_machine(p);
    g_assert_cmphex(qpci_io_readl(p->dev, p->bar, REG_CMDRESP), ==, 0);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(result32(p, PLATFORM_STATUS_WORD), ==,
                    STATUS_WORD(UNINIT, 0));
    psp_stop(p);
}

/* The list of SNP_INIT_EX has 255 ranges, each all of memory */
static void test_init_pieces(void)
{
    enum { RANGES = 255 };
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    qtest_writeq(p->qts, LIST, RANGES);
    for (int i = 0; i < RANGES; i++) {
        qtest_writeq(p->qts, LIST + 8 + i * 16, 0);
        qtest_writeq(p->qts, LIST + 16 + i * 16, 0xffffffff);
    }
    g_assert_cmpuint(times_pending(p, SNP_INIT_EX,
                                   BUF(SNP_INIT_RMP | SNP_INIT_LIST, LIST)),
                     >, LONG_SEEN);
    g_assert_cmphex(psp_rmp_read(p, 0), ==, RMP_HV_FIXED);
    g_assert_cmphex(psp_rmp_read(p, RAM_END - PSP_PAGE), ==, RMP_HV_FIXED);
    g_assert_cmphex(psp_rmp_read(p, p->rmp_base), ==, RMP_FIRMWARE);
    psp_stop(p);
}

void add_device_tests(void)
{
    qtest_add_func("amd-psp/pci", test_pci);
    qtest_add_func("amd-psp/reset", test_reset);
    qtest_add_func("amd-psp/mailbox", test_mailbox);
    qtest_add_func("amd-psp/interrupt", test_interrupt);
    qtest_add_func("amd-psp/properties", test_properties);
    qtest_add_func("amd-psp/pieces", test_pieces);
    qtest_add_func("amd-psp/init-pieces", test_init_pieces);
}
