/*
 * AMD Secure Processor: PCI function and mailbox
 *
 * One command at a time is written to the mailbox, with the address of its
 * buffer. The buffer is read at once; the command takes effect and completes
 * after delay-us, with a status in the mailbox and, if asked for, an interrupt.
 * One that takes long is done in pieces, with the main loop running in between.
 * A command written while one is pending is ignored.
 *
 * Linux: drivers/crypto/ccp/sp-pci.c (register layout "pspv2").
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "hw/misc/amd-psp.h"
#include "hw/pci/msix.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/bitops.h"
#include "qemu/log.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "system/cpu-timers.h"
#include "trace.h"

#define PSP_DEVICE_ID       0x14ca
#define PSP_BAR             2
#define PSP_BAR_SIZE        (1 * MiB)
#define PSP_MSIX_BAR        5
#define PSP_MSIX_VECTORS    2
#define PSP_VECTOR          0

#define REG_INTEN           0x10690
#define REG_INTSTS          0x10694
#define REG_CMDRESP         0x10980
#define REG_BUF_LO          0x109e0
#define REG_BUF_HI          0x109e4
#define REG_BOOTLOADER      0x109ec
#define REG_FEATURE         0x109fc

#define CMDRESP_IOC         BIT(0)
#define CMDRESP_ID_SHIFT    16
#define CMDRESP_ID_LEN      11
#define CMDRESP_DONE        BIT(31)

#define INT_COMMAND         BIT(1)

/* SEV, and no trusted execution environment */
#define FEATURE_SEV         BIT(0)
#define BOOTLOADER_VERSION  0x00360000

/* Between two pieces of a command */
#define PSP_PAUSE_NS        SCALE_MS

/* With a longer delay, a driver takes the device for dead */
#define PSP_MAX_DELAY_US    (600 * 1000 * 1000)

static void psp_interrupt(AmdPspState *s)
{
    if (s->intsts & s->inten) {
        msix_notify(&s->parent_obj, PSP_VECTOR);
    }
}

static void psp_complete(AmdPspState *s, PspCall *call, unsigned status)
{
    bool ioc = s->cmdresp & CMDRESP_IOC;

    trace_amd_psp_done(psp_fw_name(call), status);
    s->cmdresp = deposit32(s->cmdresp & ~CMDRESP_IOC, 0, 16, status) |
                 CMDRESP_DONE;
    s->call = NULL;
    psp_fw_free(call);
    if (ioc) {
        s->intsts |= INT_COMMAND;
        psp_interrupt(s);
    }
}

/* A command whose TLB flush is under way; a reset may come before its end */
typedef struct PspFlush {
    AmdPspState *s;
    PspCall *call;
    unsigned status;
} PspFlush;

static void psp_flushed(void *opaque)
{
    g_autofree PspFlush *f = opaque;

    if (f->s->call == f->call) {
        psp_complete(f->s, f->call, f->status);
    } else {
        psp_fw_free(f->call);
    }
    object_unref(OBJECT(f->s));
}

/*
 * After delay-us, and after each pause. In a pause, other threads get the BQL:
 * a command may take seconds. With -icount there is none, since the guest's
 * time does not pass meanwhile.
 */
static void psp_run(void *opaque)
{
    AmdPspState *s = opaque;
    PspCall *call = s->call;
    bool flush = false;
    unsigned status;

    while (!psp_fw_run(call, &status, &flush)) {
        if (!icount_enabled()) {
            timer_mod(s->pause, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                                PSP_PAUSE_NS);
            return;
        }
    }
    if (flush) {
        PspFlush *f = g_new0(PspFlush, 1);

        f->s = s;
        f->call = call;
        f->status = status;
        object_ref(OBJECT(s));
        amd_snp_host_flush_tlbs(s->host, psp_flushed, f);
    } else {
        psp_complete(s, call, status);
    }
}

static void psp_command(AmdPspState *s, uint32_t val)
{
    unsigned id = extract32(val, CMDRESP_ID_SHIFT, CMDRESP_ID_LEN);

    if (s->call) {
        amd_snp_host_error(s->host, AMD_SNP_ERR_FIRMWARE,
                           "amd-psp: command 0x%x written while %s is pending",
                           id, psp_fw_name(s->call));
        return;
    }
    if (val & CMDRESP_DONE) {
        /* Only the device sets that bit, in its answer */
        amd_snp_host_error(s->host, AMD_SNP_ERR_FIRMWARE,
                           "amd-psp: command 0x%x written with the response "
                           "bit set", id);
        return;
    }
    s->cmdresp = (id << CMDRESP_ID_SHIFT) | (val & CMDRESP_IOC);
    s->call = psp_fw_fetch(s, id, deposit64(s->buf_lo, 32, 32, s->buf_hi));
    trace_amd_psp_command(psp_fw_name(s->call), id,
                          deposit64(s->buf_lo, 32, 32, s->buf_hi));
    timer_mod(s->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                        (int64_t)s->delay_us * SCALE_US);
}

static uint64_t psp_mmio_read(void *opaque, hwaddr addr, unsigned size)
{
    AmdPspState *s = opaque;

    switch (addr) {
    case REG_INTEN:
        return s->inten;
    case REG_INTSTS:
        return s->intsts;
    case REG_CMDRESP:
        return s->cmdresp;
    case REG_BUF_LO:
        return s->buf_lo;
    case REG_BUF_HI:
        return s->buf_hi;
    case REG_BOOTLOADER:
        return BOOTLOADER_VERSION;
    case REG_FEATURE:
        return FEATURE_SEV;
    default:
        qemu_log_mask(LOG_UNIMP, "amd-psp: read of register 0x%" HWADDR_PRIx
                      "\n", addr);
        return 0;
    }
}

static void psp_mmio_write(void *opaque, hwaddr addr, uint64_t val,
                           unsigned size)
{
    AmdPspState *s = opaque;

    switch (addr) {
    case REG_INTEN:
        s->inten = val;
        psp_interrupt(s);
        break;
    case REG_INTSTS:
        s->intsts &= ~val;
        break;
    case REG_CMDRESP:
        psp_command(s, val);
        break;
    case REG_BUF_LO:
        s->buf_lo = val;
        break;
    case REG_BUF_HI:
        s->buf_hi = val;
        break;
    default:
        qemu_log_mask(LOG_UNIMP, "amd-psp: write of register 0x%" HWADDR_PRIx
                      "\n", addr);
        break;
    }
}

static const MemoryRegionOps psp_mmio_ops = {
    .read = psp_mmio_read,
    .write = psp_mmio_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 4 },
    .impl = { .min_access_size = 4, .max_access_size = 4 },
};

/* Drop the pending command: it takes no effect if it has not run yet */
static void psp_abandon(AmdPspState *s)
{
    PspCall *call = s->call;

    s->call = NULL;
    /* A command that waits for its TLB flush is freed by psp_flushed() */
    if (call && (timer_pending(s->timer) || timer_pending(s->pause))) {
        psp_fw_free(call);
    }
    timer_del(s->timer);
    timer_del(s->pause);
}

static void psp_reset(DeviceState *dev)
{
    AmdPspState *s = AMD_PSP(dev);

    psp_abandon(s);
    s->cmdresp = 0;
    s->buf_lo = 0;
    s->buf_hi = 0;
    s->inten = 0;
    s->intsts = 0;
    psp_fw_reset(s);
}

static void psp_realize(PCIDevice *pdev, Error **errp)
{
    AmdPspState *s = AMD_PSP(pdev);
    bool ambiguous = false;

    s->host = amd_snp_host_of_machine();
    if (!s->host) {
        error_setg(errp, "amd-psp: the machine is not an SNP host; "
                   "add amd-snp-host=on to -machine");
        return;
    }
    if (object_resolve_path_type("", TYPE_AMD_PSP, &ambiguous) == NULL &&
        ambiguous) {
        error_setg(errp, "amd-psp: there is one already, and one RMP");
        return;
    }
    if (!psp_fw_init(s, errp)) {
        return;
    }
    memory_region_init_io(&s->mmio, OBJECT(s), &psp_mmio_ops, s, "amd-psp",
                          PSP_BAR_SIZE);
    pci_register_bar(pdev, PSP_BAR, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
    if (msix_init_exclusive_bar(pdev, PSP_MSIX_VECTORS, PSP_MSIX_BAR, errp)) {
        psp_fw_cleanup(s);
        return;
    }
    for (int i = 0; i < PSP_MSIX_VECTORS; i++) {
        msix_vector_use(pdev, i);
    }
    s->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, psp_run, s);
    s->pause = timer_new_ns(QEMU_CLOCK_REALTIME, psp_run, s);
}

static void psp_exit(PCIDevice *pdev)
{
    AmdPspState *s = AMD_PSP(pdev);

    psp_abandon(s);
    timer_free(s->timer);
    timer_free(s->pause);
    msix_uninit_exclusive_bar(pdev);
    psp_fw_cleanup(s);
}

static char *psp_get_fail(Object *obj, Error **errp)
{
    return psp_fw_get_fail(AMD_PSP(obj));
}

static void psp_set_fail(Object *obj, const char *value, Error **errp)
{
    psp_fw_set_fail(AMD_PSP(obj), value, errp);
}

static void psp_get_fail_left(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    uint32_t left = AMD_PSP(obj)->fail->len;

    visit_type_uint32(v, name, &left, errp);
}

static void psp_get_delay(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    visit_type_uint32(v, name, &AMD_PSP(obj)->delay_us, errp);
}

static void psp_set_delay(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    uint32_t delay;

    if (!visit_type_uint32(v, name, &delay, errp)) {
        return;
    }
    if (delay > PSP_MAX_DELAY_US) {
        error_setg(errp, "amd-psp: delay-us is %u, expected 0 to %u", delay,
                   PSP_MAX_DELAY_US);
        return;
    }
    AMD_PSP(obj)->delay_us = delay;
}

static char *psp_get_commands(Object *obj, Error **errp)
{
    return psp_fw_counters(AMD_PSP(obj));
}

static char *psp_get_vcek_pem(Object *obj, Error **errp)
{
    char *pem = psp_fw_vcek_pem(AMD_PSP(obj));

    if (!pem) {
        error_setg(errp, "amd-psp: there is no key for attestation reports: "
                   "the device is not realized, or QEMU is built without "
                   "GnuTLS");
    }
    return pem;
}

static void psp_instance_init(Object *obj)
{
    AMD_PSP(obj)->fail = g_array_new(false, false, sizeof(PspFail));
}

static void psp_instance_finalize(Object *obj)
{
    g_array_free(AMD_PSP(obj)->fail, true);
}

static const Property psp_properties[] = {
    DEFINE_PROP_ON_OFF_AUTO("smt", AmdPspState, smt, ON_OFF_AUTO_AUTO),
    DEFINE_PROP_BOOL("feature-info", AmdPspState, feature_info, true),
    DEFINE_PROP_UINT8("build", AmdPspState, build, PSP_BUILD),
    DEFINE_PROP_BOOL("ecc", AmdPspState, ecc, true),
    DEFINE_PROP_BOOL("state-first", AmdPspState, state_first, false),
    DEFINE_PROP_STRING("vcek-file", AmdPspState, vcek_file),
};

static const VMStateDescription vmstate_amd_psp = {
    .name = TYPE_AMD_PSP,
    .unmigratable = 1,
};

static void psp_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = psp_realize;
    k->exit = psp_exit;
    k->vendor_id = PCI_VENDOR_ID_AMD;
    k->device_id = PSP_DEVICE_ID;
    k->class_id = PCI_CLASS_CRYPT_OTHER;
    dc->desc = "AMD Secure Processor with SEV-SNP firmware";
    dc->hotpluggable = false;
    dc->vmsd = &vmstate_amd_psp;
    device_class_set_legacy_reset(dc, psp_reset);
    device_class_set_props(dc, psp_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);

    object_class_property_add(klass, "delay-us", "uint32", psp_get_delay,
                              psp_set_delay, NULL, NULL);
    object_class_property_set_description(klass, "delay-us",
        "time that every command takes, in microseconds");
    object_class_property_add_str(klass, "fail", psp_get_fail, psp_set_fail);
    object_class_property_set_description(klass, "fail",
        "commands that shall fail: COMMAND:N:STATUS,... (the N-th from now)");
    object_class_property_add(klass, "fail-left", "uint32", psp_get_fail_left,
                              NULL, NULL, NULL);
    object_class_property_set_description(klass, "fail-left",
        "failures that have not come to pass yet");
    object_class_property_add_str(klass, "commands", psp_get_commands, NULL);
    object_class_property_set_description(klass, "commands",
        "COMMAND:done:refused:injected for each command that was issued");
    object_class_property_add_str(klass, "vcek-pem", psp_get_vcek_pem, NULL);
    object_class_property_set_description(klass, "vcek-pem",
        "public key that attestation reports are verified with");
}

static const TypeInfo psp_info = {
    .name = TYPE_AMD_PSP,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(AmdPspState),
    .instance_init = psp_instance_init,
    .instance_finalize = psp_instance_finalize,
    .class_init = psp_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { },
    },
};

static void psp_register_types(void)
{
    type_register_static(&psp_info);
}

type_init(psp_register_types)
