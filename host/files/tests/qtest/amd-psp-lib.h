/*
 * qtest helpers for the AMD Secure Processor
 *
 * Names and layouts here are the test's own reading of the specifications.
 * They are not shared with the device: what one side misread shows as a
 * difference. References: SEV API (55766), SNP Firmware ABI (56860).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_AMD_PSP_LIB_H
#define TESTS_AMD_PSP_LIB_H

#include "libqtest.h"
#include "libqos/pci-pc.h"

#define PSP_PAGE            0x1000
#define PSP_2M              0x200000

#define PSP_BAR             2
#define REG_INTEN           0x10690
#define REG_INTSTS          0x10694
#define REG_CMDRESP         0x10980
#define REG_BUF_LO          0x109e0
#define REG_BUF_HI          0x109e4
#define REG_BOOTLOADER      0x109ec
#define REG_FEATURE         0x109fc
#define CMDRESP_DONE        0x80000000u

/* CMDRESP: command from bit 16 on, and whether it ends with an interrupt */
#define CMDRESP(id)         ((uint32_t)(id) << 16)
#define CMDRESP_IOC         1
#define CMDRESP_STATUS      0xffffu
/* INTEN and INTSTS: a command has ended */
#define INT_COMMAND         2

/* Commands of the SEV API, then of the SNP ABI */
enum {
    INIT = 0x01, SHUTDOWN, FACTORY_RESET, PLATFORM_STATUS, PEK_GEN, PEK_CSR,
    PEK_CERT_IMPORT, PDH_CERT_EXPORT, PDH_GEN, DF_FLUSH, DOWNLOAD_FIRMWARE,
    GET_ID, INIT_EX,
    DECOMMISSION = 0x20, ACTIVATE, DEACTIVATE, GUEST_STATUS, COPY,
    LAUNCH_START = 0x30, LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA,
    LAUNCH_MEASURE, LAUNCH_UPDATE_SECRET, LAUNCH_FINISH, ATTESTATION_REPORT,
    SEND_START = 0x40, SEND_UPDATE_DATA, SEND_UPDATE_VMSA, SEND_FINISH,
    SEND_CANCEL,
    RECEIVE_START = 0x50, RECEIVE_UPDATE_DATA, RECEIVE_UPDATE_VMSA,
    RECEIVE_FINISH,
    DBG_DECRYPT = 0x60, DBG_ENCRYPT,
    SNP_INIT = 0x81, SNP_SHUTDOWN, SNP_PLATFORM_STATUS, SNP_DF_FLUSH,
    SNP_INIT_EX, SNP_SHUTDOWN_EX,
    SNP_DECOMMISSION = 0x90, SNP_ACTIVATE, SNP_GUEST_STATUS, SNP_GCTX_CREATE,
    SNP_GUEST_REQUEST, SNP_ACTIVATE_EX,
    SNP_LAUNCH_START = 0xa0, SNP_LAUNCH_UPDATE, SNP_LAUNCH_FINISH,
    SNP_DBG_DECRYPT = 0xb0, SNP_DBG_ENCRYPT, SNP_VERIFY_MITIGATION,
    SNP_PAGE_SWAP_OUT = 0xc0, SNP_PAGE_SWAP_IN, SNP_PAGE_MOVE,
    SNP_PAGE_MD_INIT, SNP_PAGE_SET_STATE = 0xc6,
    SNP_PAGE_RECLAIM = 0xc7, SNP_PAGE_UNSMASH, SNP_CONFIG,
    SNP_DOWNLOAD_FIRMWARE_EX, SNP_COMMIT, SNP_VLEK_LOAD = 0xcd,
    SNP_FEATURE_INFO, SNP_HV_REPORT_REQ,
};

/* Command numbers have 11 bits; none is this one */
#define N_COMMANDS          0x800
#define NO_COMMAND          0x7ff

/* Status codes */
enum {
    OK, BAD_PLATFORM_STATE, BAD_GUEST_STATE, BAD_CONFIG, BAD_LEN, ALREADY_OWNED,
    BAD_CERTIFICATE, BAD_POLICY, INACTIVE, BAD_ADDRESS, BAD_SIGNATURE,
    BAD_MEASUREMENT, ASID_OWNED, BAD_ASID, WBINVD_REQUIRED, DFFLUSH_REQUIRED,
    BAD_GUEST, BAD_COMMAND, ACTIVE,
    UNSUPPORTED = 0x15, BAD_PARAM, RESOURCE_LIMIT,
    BAD_PAGE_SIZE = 0x19, BAD_PAGE_STATE, BAD_PAGE_OWNER = 0x1c,
    RMP_INIT_REQUIRED = 0x20, BAD_KEY = 0x27,
};

/* Platform states */
enum { UNINIT, READY, WORKING };

/*
 * First doubleword of PLATFORM_STATUS and SNP_PLATFORM_STATUS: API 1.55, the
 * platform's state, and whether it has an owner or its RMP is initialised
 */
#define API_VERSION         (1 | 55 << 8)
#define STATUS_WORD(state, flag) \
    (API_VERSION | (uint32_t)(state) << 16 | (uint32_t)(flag) << 24)
/* The same of SNP_PLATFORM_STATUS: memory was checked for aliases */
#define STATUS_ALIAS_CHECK  2
#define SNP_STATUS_WORD(state, rmp) \
    STATUS_WORD(state, (rmp) | STATUS_ALIAS_CHECK)
#define STATUS_STATE(word)  ((word) >> 16 & 0xff)
#define STATUS_FLAG(word)   ((word) >> 24)

/* Fields of command buffers that the firmware answers in, by their offset */
enum {
    PLATFORM_STATUS_WORD = 0, PLATFORM_STATUS_FLAGS = 4,
    PLATFORM_STATUS_GUESTS = 8, PLATFORM_STATUS_LEN = 12,
    GET_ID_LEN = 8,
    PEK_CSR_LEN = 8,
    PDH_CERT_EXPORT_PDH_LEN = 8, PDH_CERT_EXPORT_CHAIN_LEN = 24,
    LAUNCH_START_HANDLE = 0,
    GUEST_STATUS_POLICY = 4, GUEST_STATUS_ASID = 8, GUEST_STATUS_STATE = 12,
    LAUNCH_MEASURE_LEN = 16,
    ATTESTATION_REPORT_LEN = 32,
};

/* PLATFORM_STATUS: build of the firmware, and whether SEV-ES is on */
#define FLAGS_ES            1
#define FLAGS_BUILD(n)      ((uint32_t)(n) << 24)
/* The build by default */
#define BUILD               45

#define ID_LEN              64      /* GET_ID */
#define IMAGE_LEN           64      /* of a firmware that nobody signed */
#define INIT_ES             1
#define INIT_EX_LEN         36
#define NV_LEN              0x8000

/* Page types of SNP_LAUNCH_UPDATE */
enum { NORMAL = 1, VMSA, ZERO, UNMEASURED, SECRETS, CPUID };

/* Second quadword of SNP_LAUNCH_UPDATE */
#define UPDATE(type)        DW((type) << 1, 0)
#define UPDATE_2M           1
#define UPDATE_IMI          0x10

/* Flags of other commands */
#define SNP_INIT_RMP        1
#define SNP_INIT_LIST       2
#define SHUTDOWN_LEN        8
#define SHUTDOWN_IOMMU      1
#define FINISH_ID_BLOCK     1
#define FINISH_AUTHOR_KEY   2
#define FINISH_NO_VCEK      4
#define CONFIG_MASK_CHIP_ID     1
#define CONFIG_MASK_CHIP_KEY    2
#define RECLAIM_2M          1

/* ASIDs: 1 to 99 for SEV-ES and SNP, 100 to 509 for SEV */
#define ASID_MAX_ES         99
#define ASID_MIN_SEV        100
#define ASID_MAX            509

#define CERT_LEN            0x824   /* of the SEV API */
#define SEV_REPORT_LEN      208     /* ATTESTATION_REPORT */

/* Policies of SEV guests */
#define SEV_POLICY_NODBG    0x01
#define SEV_POLICY_NOKS     0x02
#define SEV_POLICY_ES       0x04
#define SEV_POLICY_RESERVED 0x40
#define SEV_POLICY_API(major, minor) ((major) << 16 | (uint32_t)(minor) << 24)

/* LAUNCH_MEASURE: a MAC and a nonce */
#define MAC_LEN             32
#define NONCE_LEN           16
#define MEASURE_LEN         (MAC_LEN + NONCE_LEN)

/* Policies of SNP guests: bit 17 must be set, SMT is on in the machine */
#define POLICY_ABI_MINOR    0xffULL
#define POLICY_SMT          0x10000ULL
#define POLICY_MUST_BE_1    0x20000ULL
#define POLICY_MIGRATE_MA   0x40000ULL
#define POLICY_DEBUG        0x80000ULL
#define POLICY_RESERVED_BIT 21
#define POLICY              (POLICY_SMT | POLICY_MUST_BE_1)

/* ID block, in the order of its fields; and the launch digest in it */
enum {
    ID_DIGEST = 0, ID_FAMILY = 0x30, ID_IMAGE = 0x40, ID_VERSION = 0x50,
    ID_GUEST_SVN = 0x54, ID_POLICY = 0x58, ID_BLOCK_LEN = 0x60,
};
#define DIGEST_LEN          48

/* Secrets page: a key for each VMPL */
enum {
    SECRETS_VERSION = 0, SECRETS_FLAGS = 4, SECRETS_FMS = 8,
    SECRETS_VMPCK = 0x20, SECRETS_VMPCK_END = 0xa0,
};
#define VMPLS               4
#define VMPCK_LEN           32

/* TCB version: SVN of the SNP firmware */
#define TCB_SNP(tcb)        ((tcb) >> 48 & 0xff)

/* The address of every VMSA, as it is measured */
#define VMSA_GPA            0xfffffffff000ULL

#define C_BIT               (1ULL << 51)

/* Low quadword of RMP entries, by page state */
#define RMP_ASSIGNED        1ULL
#define RMP_2M              2ULL
#define RMP_IMMUTABLE       4ULL
#define RMP_ASID(asid)      ((uint64_t)(asid) << 51)
#define RMP_ASID_MASK       RMP_ASID(0x3ff)
#define RMP_VMSA            (1ULL << 61)
#define RMP_VALIDATED       (1ULL << 62)
#define RMP_HYPERVISOR      0ULL
#define RMP_HV_FIXED        RMP_IMMUTABLE
#define RMP_RECLAIM         RMP_ASSIGNED
#define RMP_FIRMWARE        (RMP_ASSIGNED | RMP_IMMUTABLE)
#define RMP_CONTEXT         (RMP_FIRMWARE | RMP_VMSA)
#define RMP_PRE_GUEST(asid, gpa) (RMP_FIRMWARE | RMP_ASID(asid) | (gpa))
#define RMP_GUEST(asid, gpa) \
    (RMP_ASSIGNED | RMP_VALIDATED | RMP_ASID(asid) | (gpa))

/* The machine's memory, and pages that tests use */
#define RAM_END             0x20000000ULL
#define PSP_CMD_BUF         0x100000    /* command buffer of psp_cmd() */
#define PSP_CMD_BUF_LEN     64
#define LIST                0x110000
#define OUT                 0x120000
#define OUT2                0x130000
#define BLOCK               0x140000    /* ID block */
#define AUTH                0x141000    /* its authentication */
#define REQ                 0x150000
#define RSP                 0x151000
#define GCTX                0x200000    /* Context pages */
#define GCTX2               0x201000
#define PAGES               0x400000
#define TMR                 0x800000    /* for SEV-ES, 2 MB aligned */
#define LARGE               0x1000000   /* 2 MB aligned */
/* No memory there */
#define NO_RAM              0x7fff0000000ULL

/* SYSCFG as SNP_INIT wants it */
#define SYSCFG_MFDM         (1 << 19)
#define SYSCFG_MEM_ENCRYPT  (1 << 23)
#define SYSCFG_SNP_EN       (1 << 24)
#define SYSCFG_VMPL_EN      (1 << 25)
#define SYSCFG_SNP          0x3fc0000

typedef struct Psp {
    QTestState *qts;
    QPCIBus *bus;
    QPCIDevice *dev;
    QPCIBar bar;
    uint64_t rmp_base;
    uint64_t rmp_end;
} Psp;

/* Start a machine; @device: more properties for amd-psp, from a comma on */
Psp *psp_start(uint32_t syscfg, const char *device);
void psp_stop(Psp *p);
/* After a reset: BAR and command register are set up anew */
void psp_setup_pci(Psp *p);

void psp_rmp_write(Psp *p, uint64_t pa, uint64_t lo);
uint64_t psp_rmp_read(Psp *p, uint64_t pa);
uint64_t psp_rmp_read_hi(Psp *p, uint64_t pa);

/* Write a command to the mailbox; psp_wait() returns its status */
void psp_issue(Psp *p, unsigned id, uint64_t addr);
unsigned psp_wait(Psp *p);
/* Both, for a command with @len bytes of @buf, at PSP_CMD_BUF */
unsigned psp_cmd(Psp *p, unsigned id, const void *buf, size_t len);

uint64_t psp_host_get(Psp *p, const char *property);
/* As if every CPU had executed WBINVD */
void psp_wbinvd(Psp *p);
char *psp_get_str(Psp *p, const char *property);

/* ---- Commands with their status ---- */

/* Two doublewords */
#define DW(lo, hi)      ((uint64_t)(uint32_t)(lo) | (uint64_t)(hi) << 32)

/* A command buffer from quadwords; what is not given is zero */
#define BUF(...)        psp_make_buf((const uint64_t[]) { __VA_ARGS__ }, \
                            sizeof((const uint64_t[]) { __VA_ARGS__ }) / 8)

const void *psp_make_buf(const uint64_t *q, size_t n);

/*
 * A command must have this status. A refusal is counted as an error, and
 * nothing else is.
 */
#define EXPECT(p, status, id, ...) \
    psp_expect(p, __FILE__, __LINE__, status, id, BUF(__VA_ARGS__), true)
/* The status is an answer rather than a refusal */
#define EXPECT_QUERY(p, status, id, ...) \
    psp_expect(p, __FILE__, __LINE__, status, id, BUF(__VA_ARGS__), false)

void psp_expect(Psp *p, const char *file, int line, unsigned status,
                unsigned id, const void *buf, bool counted);
/* The command buffer as the firmware left it */
uint32_t result32(Psp *p, unsigned offset);

void fill(Psp *p, uint64_t pa, uint8_t pattern, size_t len);
bool filled(Psp *p, uint64_t pa, uint8_t pattern, size_t len);

/* ---- Steps that many tests begin with ---- */

void reset_machine(Psp *p);
/* INIT, with a TMR for SEV-ES if @es, WBINVD and DF_FLUSH */
void sev_init(Psp *p, bool es);
/* SNP_INIT_EX, WBINVD and SNP_DF_FLUSH */
void snp_init(Psp *p);
/* A machine with SNP initialised */
Psp *start_snp(const char *device);
/* An SNP guest that can be launched, with an ASID */
void snp_guest(Psp *p, uint64_t gctx, uint64_t policy, unsigned asid);
/* Add a page to the launch */
void snp_page(Psp *p, uint64_t gctx, unsigned asid, unsigned type, uint64_t pa,
              uint64_t gpa);
/* RMP entries of a 2 MB page; @lo is that of its first 4 KB */
void large_page(Psp *p, uint64_t pa, uint64_t lo);

#endif
