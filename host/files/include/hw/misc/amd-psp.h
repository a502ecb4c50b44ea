/*
 * AMD Secure Processor: mailbox device and SEV/SNP firmware
 *
 * References: SEV API (55766), called SEV API below; SEV Secure Nested Paging
 * Firmware ABI (56860), called SNP ABI below.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_MISC_AMD_PSP_H
#define HW_MISC_AMD_PSP_H

#include "hw/i386/amd-snp-host.h"
#include "hw/pci/pci_device.h"
#include "qapi/qapi-types-common.h"
#include "qemu/timer.h"

#define TYPE_AMD_PSP "amd-psp"
OBJECT_DECLARE_SIMPLE_TYPE(AmdPspState, AMD_PSP)

/* What the firmware reports about itself */
#define PSP_API_MAJOR       1
#define PSP_API_MINOR       55
#define PSP_BUILD           45

/*
 * What builds of API 1.55 for Milan brought: the check for aliases of memory,
 * with version 3 of the attestation report, and its version 5
 */
#define PSP_BUILD_ALIAS_CHECK   22
#define PSP_BUILD_REPORT_V5     45

/*
 * TCB: boot loader, TEE, SNP and microcode SVN. The SNP SVN stays below 0x1b,
 * from which on Linux has no SEV-ES guests beside SNP ones.
 */
#define PSP_TCB_BOOT        0x03
#define PSP_TCB_TEE         0x00
#define PSP_TCB_SNP         0x14
#define PSP_TCB_MICROCODE   0xd1
#define PSP_TCB             ((uint64_t)PSP_TCB_BOOT | \
                             (uint64_t)PSP_TCB_TEE << 8 | \
                             (uint64_t)PSP_TCB_SNP << 48 | \
                             (uint64_t)PSP_TCB_MICROCODE << 56)

/*
 * Key tag of guest contexts, which the firmware keeps in memory for itself. It
 * is no ASID: neither the host nor any guest can read or forge such a page.
 */
#define PSP_KEY_FIRMWARE    0xfffe

/* Status of a command (SNP ABI, "Status Codes") */
typedef enum PspStatus {
    PSP_SUCCESS                 = 0x00,
    PSP_INVALID_PLATFORM_STATE  = 0x01,
    PSP_INVALID_GUEST_STATE     = 0x02,
    PSP_INVALID_CONFIG          = 0x03,
    PSP_INVALID_LEN             = 0x04,
    PSP_ALREADY_OWNED           = 0x05,
    PSP_INVALID_CERTIFICATE     = 0x06,
    PSP_POLICY_FAILURE          = 0x07,
    PSP_INACTIVE                = 0x08,
    PSP_INVALID_ADDRESS         = 0x09,
    PSP_BAD_SIGNATURE           = 0x0a,
    PSP_BAD_MEASUREMENT         = 0x0b,
    PSP_ASID_OWNED              = 0x0c,
    PSP_INVALID_ASID            = 0x0d,
    PSP_WBINVD_REQUIRED         = 0x0e,
    PSP_DFFLUSH_REQUIRED        = 0x0f,
    PSP_INVALID_GUEST           = 0x10,
    PSP_INVALID_COMMAND         = 0x11,
    PSP_ACTIVE                  = 0x12,
    PSP_HWERROR_PLATFORM        = 0x13,
    PSP_UNSUPPORTED             = 0x15,
    PSP_INVALID_PARAM           = 0x16,
    PSP_RESOURCE_LIMIT          = 0x17,
    PSP_INVALID_PAGE_SIZE       = 0x19,
    PSP_INVALID_PAGE_STATE      = 0x1a,
    PSP_INVALID_PAGE_OWNER      = 0x1c,
    PSP_AEAD_OFLOW              = 0x1d,
    PSP_RMP_INIT_REQUIRED       = 0x20,
    PSP_INVALID_KEY             = 0x27,
    /* No status: a piece of the command is done, and another one is to do */
    PSP_MORE                    = 0x10000,
} PspStatus;

/* States of the SEV platform (SEV API 5.1.2) */
enum {
    SEV_UNINIT, SEV_INIT, SEV_WORKING,
};

/* States of an SEV or SEV-ES guest (SEV API 6.1.1) */
enum {
    SEV_GUEST_UNINIT, SEV_GUEST_LUPDATE, SEV_GUEST_LSECRET, SEV_GUEST_RUNNING,
};

/* States of an SNP guest: before SNP_LAUNCH_START, until _FINISH, after it */
enum {
    SNP_GUEST_INIT, SNP_GUEST_LAUNCH, SNP_GUEST_RUNNING,
};

typedef struct PspGuest {
    bool snp;
    unsigned state;
    uint64_t policy;
    /* 0 if the guest is not active */
    unsigned asid;

    /* SEV and SEV-ES */
    uint32_t handle;
    GChecksum *digest;      /* SHA-256 of what was launched */
    uint8_t measure[32];    /* what LAUNCH_MEASURE answered */
    uint8_t tik[16];        /* transport integrity key */
    uint8_t tek[16];        /* transport encryption key */

    /* SNP */
    hwaddr gctx;            /* its Context page */
    uint8_t ld[48];         /* launch digest */
    uint8_t gosvw[16];
    uint8_t vmpck[AMD_SNP_VMPLS][32];
    /* Sequence number of the last message, request or response, by VMPCK */
    uint64_t msg_count[AMD_SNP_VMPLS];
    uint8_t report_id[32];
    uint8_t report_id_ma[32];
    uint8_t host_data[32];
    uint8_t family_id[16];
    uint8_t image_id[16];
    uint32_t guest_svn;
    uint8_t id_key_digest[48];
    uint8_t author_key_digest[48];
    bool author_key_en;
    bool vcek_disabled;
    uint64_t launch_tcb;
} PspGuest;

typedef struct PspCommand PspCommand;
typedef struct PspCall PspCall;
typedef struct PspKey PspKey;
typedef struct SevCert SevCert;

/* A failure to be injected: @nth counts down at each command of the kind */
typedef struct PspFail {
    const PspCommand *cmd;
    uint32_t nth;
    uint16_t status;
} PspFail;

typedef struct PspCounter {
    uint64_t done;          /* in all, with those below */
    uint64_t refused;
    uint64_t injected;      /* failed by injection */
} PspCounter;

#define PSP_N_COMMANDS  0x100
/* Guest contexts that fit; more than there are ASIDs */
#define PSP_MAX_GUESTS  1024

struct AmdPspState {
    PCIDevice parent_obj;

    /* Mailbox */
    MemoryRegion mmio;
    QEMUTimer *timer;
    /* Runs out between two pieces of a command that takes long */
    QEMUTimer *pause;
    uint32_t cmdresp;
    uint32_t buf_lo;
    uint32_t buf_hi;
    uint32_t inten;
    uint32_t intsts;
    /* The command that is pending, or NULL */
    PspCall *call;

    /* Properties */
    uint32_t delay_us;
    OnOffAuto smt;
    bool feature_info;
    uint8_t build;
    bool ecc;
    bool state_first;
    char *vcek_file;
    GArray *fail;
    PspCounter counter[PSP_N_COMMANDS];

    /* Firmware */
    AmdSnpHost *host;       /* RMP, key tags, CPUs */
    unsigned sev_state;
    bool sev_es;
    bool snp_init;
    GHashTable *guests;     /* PspGuest, by handle */
    GHashTable *contexts;   /* PspGuest, by address of the Context page */
    uint32_t next_handle;
    PspGuest *asid_owner[AMD_SNP_MAX_ASID + 1];
    /* ASIDs that need a DF_FLUSH before they may be activated */
    bool asid_dirty[AMD_SNP_MAX_ASID + 1];
    uint64_t reported_tcb;
    bool mask_chip_id;
    bool mask_chip_key;
    uint8_t chip_id[64];
    uint8_t chip_secret[32];
    PspKey *vcek;
    PspKey *cek;
    PspKey *oca;
    PspKey *pek;
    PspKey *pdh;
    /* The owner's certificates once imported, of PEK and OCA; else NULL */
    SevCert *owner_certs;
};

/* ---- Firmware, for the mailbox; all with the BQL held ---- */

/**
 * psp_fw_init: make the chip's keys, and no guest
 *
 * Returns false with @errp set on failure; then psp_fw_cleanup() was done.
 */
bool psp_fw_init(AmdPspState *s, Error **errp);
void psp_fw_cleanup(AmdPspState *s);

/**
 * psp_fw_reset: uninitialised, without guests; keys and certificates stay
 */
void psp_fw_reset(AmdPspState *s);

/**
 * psp_fw_fetch: take a command out of the mailbox
 * @id: number of the command
 * @addr: system physical address of the command buffer, with or without C-bit
 *
 * Reads the buffer from memory, once: what changes there afterwards has no
 * effect on the command. Takes the platform's lock. Never NULL; to be freed
 * with psp_fw_free().
 */
PspCall *psp_fw_fetch(AmdPspState *s, unsigned id, uint64_t addr);

/**
 * psp_fw_run: do the command, or a piece of it that takes milliseconds
 * @status: set when the command is done, 16 bits: a PspStatus or what was
 *          injected
 * @flush: set to true if the TLBs of all CPUs have to be flushed before the
 *         command may complete
 *
 * Takes the platform's lock. Returns false if it is to be called again, for the
 * next piece. Memory may change between them, as it may under hardware's
 * firmware.
 */
bool psp_fw_run(PspCall *call, unsigned *status, bool *flush);
void psp_fw_free(PspCall *call);

/**
 * psp_fw_name: the command's name, "unknown" if there is no such command
 */
const char *psp_fw_name(PspCall *call);

/**
 * psp_fw_set_fail: replace the list of failures to be injected
 * @spec: "COMMAND:N:STATUS,...", where N is 1 for the next COMMAND; "" for none
 *
 * Returns false with @errp set, and the list as it was, if @spec is malformed.
 */
bool psp_fw_set_fail(AmdPspState *s, const char *spec, Error **errp);

/**
 * psp_fw_get_fail: the failures that are left, in the form of psp_fw_set_fail()
 * psp_fw_counters: "COMMAND:done:refused:injected,..." for each one issued
 * psp_fw_vcek_pem: the public key that signs attestation reports; NULL if none
 *
 * Text to be freed.
 */
char *psp_fw_get_fail(AmdPspState *s);
char *psp_fw_counters(AmdPspState *s);
char *psp_fw_vcek_pem(AmdPspState *s);

#endif
