/*
 * qtest helpers for the AMD Secure Processor
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "qobject/qdict.h"
#include "qobject/qnum.h"
#include "qemu/bswap.h"

#define PSP_DEVFN       QPCI_DEVFN(5, 0)
#define RMP_BOOKKEEPING 0x4000
#define HOST_PATH       "/machine/amd-snp"
#define PSP_PATH        "/machine/peripheral/psp"
/* A command without a delay is done at the main loop's next turn */
#define WAIT_US         (20 * 1000 * 1000)

static uint64_t get_u64(QTestState *qts, const char *path, const char *property)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': "
                                "{ 'path': %s, 'property': %s } }",
                           path, property);
    uint64_t val;

    g_assert(qdict_haskey(rsp, "return"));
    val = qnum_get_uint(qobject_to(QNum, qdict_get(rsp, "return")));
    qobject_unref(rsp);
    return val;
}

uint64_t psp_host_get(Psp *p, const char *property)
{
    return get_u64(p->qts, HOST_PATH, property);
}

void psp_wbinvd(Psp *p)
{
    qtest_qom_set_bool(p->qts, HOST_PATH, "x-wbinvd-done", true);
}

char *psp_get_str(Psp *p, const char *property)
{
    QDict *rsp = qtest_qmp(p->qts, "{ 'execute': 'qom-get', 'arguments': "
                                   "{ 'path': %s, 'property': %s } }",
                           PSP_PATH, property);
    char *val;

    g_assert(qdict_haskey(rsp, "return"));
    val = g_strdup(qdict_get_str(rsp, "return"));
    qobject_unref(rsp);
    return val;
}

void psp_setup_pci(Psp *p)
{
    if (p->bus) {
        qpci_free_pc(p->bus);
    }
    g_free(p->dev);
    p->bus = qpci_new_pc(p->qts, NULL);
    p->dev = qpci_device_find(p->bus, PSP_DEVFN);
    g_assert_nonnull(p->dev);
    qpci_device_enable(p->dev);
    p->bar = qpci_iomap(p->dev, PSP_BAR, NULL);
}

Psp *psp_start(uint32_t syscfg, const char *device)
{
    Psp *p = g_new0(Psp, 1);

    p->qts = qtest_initf("-nodefaults -machine q35,amd-snp-host=on -m 512M "
                         "-smp 2,sockets=1,cores=1,threads=2 "
                         "-cpu EPYC-Milan,-hypervisor,x-syscfg=0x%x "
                         "-device amd-psp,id=psp,addr=5%s",
                         syscfg, device ? device : "");
    p->rmp_base = psp_host_get(p, "rmp-base");
    p->rmp_end = psp_host_get(p, "rmp-end");
    psp_setup_pci(p);
    return p;
}

void psp_stop(Psp *p)
{
    g_free(p->dev);
    qpci_free_pc(p->bus);
    qtest_quit(p->qts);
    g_free(p);
}

static uint64_t rmp_entry(Psp *p, uint64_t pa)
{
    return p->rmp_base + RMP_BOOKKEEPING + pa / PSP_PAGE * 16;
}

void psp_rmp_write(Psp *p, uint64_t pa, uint64_t lo)
{
    uint64_t e[2] = { cpu_to_le64(lo), 0 };

    qtest_memwrite(p->qts, rmp_entry(p, pa), e, sizeof(e));
}

uint64_t psp_rmp_read(Psp *p, uint64_t pa)
{
    return qtest_readq(p->qts, rmp_entry(p, pa));
}

uint64_t psp_rmp_read_hi(Psp *p, uint64_t pa)
{
    return qtest_readq(p->qts, rmp_entry(p, pa) + 8);
}

void psp_issue(Psp *p, unsigned id, uint64_t addr)
{
    qpci_io_writel(p->dev, p->bar, REG_BUF_LO, addr);
    qpci_io_writel(p->dev, p->bar, REG_BUF_HI, addr >> 32);
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP, CMDRESP(id));
}

unsigned psp_wait(Psp *p)
{
    gint64 end = g_get_monotonic_time() + WAIT_US;
    uint32_t val;

    do {
        val = qpci_io_readl(p->dev, p->bar, REG_CMDRESP);
        g_assert(g_get_monotonic_time() < end);
    } while (!(val & CMDRESP_DONE));
    return val & CMDRESP_STATUS;
}

unsigned psp_cmd(Psp *p, unsigned id, const void *buf, size_t len)
{
    if (len) {
        qtest_memwrite(p->qts, PSP_CMD_BUF, buf, len);
    }
    psp_issue(p, id, PSP_CMD_BUF);
    return psp_wait(p);
}

const void *psp_make_buf(const uint64_t *q, size_t n)
{
    static uint8_t buf[PSP_CMD_BUF_LEN];

    g_assert_cmpuint(n * 8, <=, sizeof(buf));
    memset(buf, 0, sizeof(buf));
    for (size_t i = 0; i < n; i++) {
        stq_le_p(buf + i * 8, q[i]);
    }
    return buf;
}

void psp_expect(Psp *p, const char *file, int line, unsigned status,
                unsigned id, const void *buf, bool counted)
{
    uint64_t before = psp_host_get(p, "errors-firmware");
    unsigned got = psp_cmd(p, id, buf, PSP_CMD_BUF_LEN);
    uint64_t errors = psp_host_get(p, "errors-firmware") - before;

    if (got != status || errors != (status && counted)) {
        g_error("%s:%d: command 0x%x: status 0x%x and %" PRIu64 " errors, "
                "expected 0x%x and %d", file, line, id, got, errors, status,
                status && counted);
    }
}

uint32_t result32(Psp *p, unsigned offset)
{
    return qtest_readl(p->qts, PSP_CMD_BUF + offset);
}

void fill(Psp *p, uint64_t pa, uint8_t pattern, size_t len)
{
    qtest_memset(p->qts, pa, pattern, len);
}

bool filled(Psp *p, uint64_t pa, uint8_t pattern, size_t len)
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

void reset_machine(Psp *p)
{
    qtest_system_reset(p->qts);
    psp_setup_pci(p);
}

void sev_init(Psp *p, bool es)
{
    if (es) {
        EXPECT(p, OK, INIT, INIT_ES, TMR, PSP_2M);
    } else {
        EXPECT(p, OK, INIT, 0);
    }
    psp_wbinvd(p);
    EXPECT(p, OK, DF_FLUSH, 0);
}

void snp_init(Psp *p)
{
    EXPECT(p, OK, SNP_INIT_EX, SNP_INIT_RMP);
    psp_wbinvd(p);
    EXPECT(p, OK, SNP_DF_FLUSH, 0);
}

Psp *start_snp(const char *device)
{
    Psp *p = psp_start(SYSCFG_SNP, device);

    snp_init(p);
    return p;
}

void snp_guest(Psp *p, uint64_t gctx, uint64_t policy, unsigned asid)
{
    psp_rmp_write(p, gctx, RMP_FIRMWARE);
    EXPECT(p, OK, SNP_GCTX_CREATE, gctx);
    EXPECT(p, OK, SNP_LAUNCH_START, gctx, policy);
    EXPECT(p, OK, SNP_ACTIVATE, gctx, asid);
}

void snp_page(Psp *p, uint64_t gctx, unsigned asid, unsigned type,
              uint64_t pa, uint64_t gpa)
{
    psp_rmp_write(p, pa, RMP_PRE_GUEST(asid, gpa));
    EXPECT(p, OK, SNP_LAUNCH_UPDATE, gctx, UPDATE(type), pa);
}

void large_page(Psp *p, uint64_t pa, uint64_t lo)
{
    for (int i = 0; i < PSP_2M / PSP_PAGE; i++) {
        psp_rmp_write(p, pa + i * PSP_PAGE,
                      (lo | RMP_2M) + (lo & RMP_ASID_MASK ? i * PSP_PAGE : 0));
    }
}
