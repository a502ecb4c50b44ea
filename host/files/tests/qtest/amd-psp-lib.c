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
    p->bar = qpci_iomap(p->dev, 2, NULL);
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
    qpci_io_writel(p->dev, p->bar, REG_CMDRESP, id << 16);
}

unsigned psp_wait(Psp *p)
{
    gint64 end = g_get_monotonic_time() + WAIT_US;
    uint32_t val;

    do {
        val = qpci_io_readl(p->dev, p->bar, REG_CMDRESP);
        g_assert(g_get_monotonic_time() < end);
    } while (!(val & CMDRESP_DONE));
    return val & 0xffff;
}

unsigned psp_cmd(Psp *p, unsigned id, const void *buf, size_t len)
{
    if (len) {
        qtest_memwrite(p->qts, PSP_CMD_BUF, buf, len);
    }
    psp_issue(p, id, PSP_CMD_BUF);
    return psp_wait(p);
}
