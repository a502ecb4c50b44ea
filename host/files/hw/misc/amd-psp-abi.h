/*
 * AMD Secure Processor: command buffers and structures of the firmware's ABI
 *
 * The layout in memory of everything that the firmware exchanges with the host
 * and with guests. All numbers are little endian: read and write a field with
 * le32_to_cpu() and the like.
 *
 * SevCmd* and SnpCmd* are the command buffers. SevCmdInit is the buffer of INIT
 * in the SEV API (55766) and struct sev_data_init of Linux; SnpCmdLaunchUpdate
 * is CMDBUF_SNP_LAUNCH_UPDATE of the SNP ABI (56860) and struct
 * sev_data_snp_launch_update of Linux. Fields have the names that Linux gives
 * them in include/linux/psp-sev.h and include/uapi/linux/{psp-sev,sev-guest}.h.
 * An *_address or *_paddr is a system physical address, a *_len or length is in
 * bytes, "rsvd" must be zero.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_MISC_AMD_PSP_ABI_H
#define HW_MISC_AMD_PSP_ABI_H

#include "qemu/bitops.h"
#include "qemu/compiler.h"

/* R and S of a signature, or Qx and Qy of a key, little endian */
#define PSP_ECC_HALF    72
#define PSP_ECC_LEN     (2 * PSP_ECC_HALF)

/* ---- SEV API, chapter 5: platform commands ---- */

/* Flags of INIT and INIT_EX */
#define SEV_INIT_FLAG_ES            BIT(0)

typedef struct QEMU_PACKED SevCmdInit {
    uint32_t flags;
    uint32_t rsvd;
    uint64_t tmr_address;
    uint32_t tmr_len;
} SevCmdInit;
QEMU_BUILD_BUG_ON(sizeof(SevCmdInit) != 20);

typedef struct QEMU_PACKED SevCmdInitEx {
    uint32_t length;            /* of this structure */
    uint32_t flags;
    uint64_t tmr_address;
    uint32_t tmr_len;
    uint32_t rsvd;
    uint64_t nv_address;
    uint32_t nv_len;
} SevCmdInitEx;
QEMU_BUILD_BUG_ON(sizeof(SevCmdInitEx) != 36);

#define SEV_STATUS_FLAG_OWNED       BIT(0)  /* by another than the platform */
#define SEV_STATUS_FLAG_ES          BIT(8)  /* INIT was with SEV-ES */

/* All of it is output */
typedef struct QEMU_PACKED SevCmdPlatformStatus {
    uint8_t api_major;
    uint8_t api_minor;
    uint8_t state;
    uint32_t flags;
    uint8_t build;
    uint32_t guest_count;
} SevCmdPlatformStatus;
QEMU_BUILD_BUG_ON(sizeof(SevCmdPlatformStatus) != 12);

/* @len: in, what there is room for; out, what is needed */
typedef struct QEMU_PACKED SevCmdPekCsr {
    uint64_t address;
    uint32_t len;
} SevCmdPekCsr;
QEMU_BUILD_BUG_ON(sizeof(SevCmdPekCsr) != 12);

typedef struct QEMU_PACKED SevCmdPekCertImport {
    uint64_t pek_cert_address;
    uint32_t pek_cert_len;
    uint32_t rsvd;
    uint64_t oca_cert_address;
    uint32_t oca_cert_len;
} SevCmdPekCertImport;
QEMU_BUILD_BUG_ON(sizeof(SevCmdPekCertImport) != 28);

/* Lengths: in, what there is room for; out, what is needed */
typedef struct QEMU_PACKED SevCmdPdhCertExport {
    uint64_t pdh_cert_address;
    uint32_t pdh_cert_len;
    uint32_t rsvd;
    uint64_t cert_chain_address;
    uint32_t cert_chain_len;
} SevCmdPdhCertExport;
QEMU_BUILD_BUG_ON(sizeof(SevCmdPdhCertExport) != 28);

typedef struct QEMU_PACKED SevCmdDownloadFirmware {
    uint64_t address;
    uint32_t len;
} SevCmdDownloadFirmware;
QEMU_BUILD_BUG_ON(sizeof(SevCmdDownloadFirmware) != 12);

/* @len: in, what there is room for; out, what is needed */
typedef struct QEMU_PACKED SevCmdGetId {
    uint64_t address;
    uint32_t len;
} SevCmdGetId;
QEMU_BUILD_BUG_ON(sizeof(SevCmdGetId) != 12);

/* ---- SEV API, appendix C: certificates ---- */

typedef struct QEMU_PACKED SevCertSig {
    uint32_t usage;             /* of the key that signed */
    uint32_t algo;
    uint8_t sig[512];           /* R and S first */
} SevCertSig;

typedef struct QEMU_PACKED SevCert {
    uint32_t version;
    uint8_t api_major;
    uint8_t api_minor;
    uint16_t rsvd;
    uint32_t pubkey_usage;
    uint32_t pubkey_algo;
    struct QEMU_PACKED {
        uint32_t curve;
        uint8_t q[PSP_ECC_LEN];
        uint8_t rsvd[880];
    } pubkey;
    /* Signatures cover what is above */
    SevCertSig sig1;
    SevCertSig sig2;
} SevCert;
#define SEV_CERT_SIGNED_LEN         offsetof(SevCert, sig1)
QEMU_BUILD_BUG_ON(SEV_CERT_SIGNED_LEN != 0x414);
QEMU_BUILD_BUG_ON(sizeof(SevCert) != 0x824);

#define SEV_CERT_VERSION            1
#define SEV_CERT_CURVE_P384         2

#define SEV_CERT_USAGE_INVALID      0x1000
#define SEV_CERT_USAGE_OCA          0x1001
#define SEV_CERT_USAGE_PEK          0x1002
#define SEV_CERT_USAGE_PDH          0x1003
#define SEV_CERT_USAGE_CEK          0x1004

#define SEV_CERT_ALGO_ECDSA_SHA384  0x102
#define SEV_CERT_ALGO_ECDH_SHA384   0x103

/* What PDH_CERT_EXPORT writes at cert_chain_address */
typedef struct QEMU_PACKED SevCertChain {
    SevCert pek;
    SevCert oca;
    SevCert cek;
} SevCertChain;

/* ---- SEV API, chapter 6: guest commands ---- */

/* Guest policy (SEV API, chapter 3) */
#define SEV_POLICY_NODBG            BIT(0)
#define SEV_POLICY_ES               BIT(2)
#define SEV_POLICY_RESERVED         MAKE_64BIT_MASK(6, 10)
#define SEV_POLICY_API_MAJOR(p)     extract32(p, 16, 8)
#define SEV_POLICY_API_MINOR(p)     extract32(p, 24, 8)

/* DECOMMISSION, DEACTIVATE, LAUNCH_FINISH: nothing but the handle */
typedef struct QEMU_PACKED SevCmdHandle {
    uint32_t handle;
} SevCmdHandle;
QEMU_BUILD_BUG_ON(sizeof(SevCmdHandle) != 4);

typedef struct QEMU_PACKED SevCmdActivate {
    uint32_t handle;
    uint32_t asid;
} SevCmdActivate;
QEMU_BUILD_BUG_ON(sizeof(SevCmdActivate) != 8);

/* Output but for the handle */
typedef struct QEMU_PACKED SevCmdGuestStatus {
    uint32_t handle;
    uint32_t policy;
    uint32_t asid;
    uint8_t state;
} SevCmdGuestStatus;
QEMU_BUILD_BUG_ON(sizeof(SevCmdGuestStatus) != 13);

/* @handle: in, the guest to share a key with, or 0; out, the new guest */
typedef struct QEMU_PACKED SevCmdLaunchStart {
    uint32_t handle;
    uint32_t policy;
    uint64_t dh_cert_address;
    uint32_t dh_cert_len;
    uint32_t rsvd;
    uint64_t session_address;
    uint32_t session_len;
} SevCmdLaunchStart;
QEMU_BUILD_BUG_ON(sizeof(SevCmdLaunchStart) != 36);

typedef struct QEMU_PACKED SevCmdLaunchUpdateData {
    uint32_t handle;
    uint32_t rsvd;
    uint64_t address;
    uint32_t len;
} SevCmdLaunchUpdateData;
QEMU_BUILD_BUG_ON(sizeof(SevCmdLaunchUpdateData) != 20);

typedef struct QEMU_PACKED SevCmdLaunchUpdateVmsa {
    uint32_t handle;
    uint32_t rsvd;
    uint64_t address;
    uint32_t len;
} SevCmdLaunchUpdateVmsa;
QEMU_BUILD_BUG_ON(sizeof(SevCmdLaunchUpdateVmsa) != 20);

/* @len: in, what there is room for; out, what is needed */
typedef struct QEMU_PACKED SevCmdLaunchMeasure {
    uint32_t handle;
    uint32_t rsvd;
    uint64_t address;
    uint32_t len;
} SevCmdLaunchMeasure;
QEMU_BUILD_BUG_ON(sizeof(SevCmdLaunchMeasure) != 20);

/* What LAUNCH_MEASURE writes at its address */
typedef struct QEMU_PACKED SevMeasurement {
    uint8_t measure[32];
    uint8_t mnonce[16];
} SevMeasurement;
QEMU_BUILD_BUG_ON(sizeof(SevMeasurement) != 48);

/* The measurement is the HMAC of this under the TIK (SEV API 6.5.2) */
typedef struct QEMU_PACKED SevMeasurementInput {
    uint8_t context;
    uint8_t api_major;
    uint8_t api_minor;
    uint8_t build;
    uint32_t policy;
    uint8_t launch_digest[32];
    uint8_t mnonce[16];
} SevMeasurementInput;
QEMU_BUILD_BUG_ON(sizeof(SevMeasurementInput) != 56);
#define SEV_MEASUREMENT_CONTEXT     0x04

typedef struct QEMU_PACKED SevCmdLaunchSecret {
    uint32_t handle;
    uint32_t rsvd1;
    uint64_t hdr_address;
    uint32_t hdr_len;
    uint32_t rsvd2;
    uint64_t guest_address;     /* where the secret goes, in the clear */
    uint32_t guest_len;
    uint32_t rsvd3;
    uint64_t trans_address;     /* where it comes from, under the TEK */
    uint32_t trans_len;
} SevCmdLaunchSecret;
QEMU_BUILD_BUG_ON(sizeof(SevCmdLaunchSecret) != 52);

/* What is at hdr_address */
typedef struct QEMU_PACKED SevSecretHdr {
    uint32_t flags;
    uint8_t iv[16];
    uint8_t hmac[32];
} SevSecretHdr;
QEMU_BUILD_BUG_ON(sizeof(SevSecretHdr) != 52);

/*
 * The header's HMAC is that of this under the TIK, followed by the encrypted
 * secret and by the guest's measurement.
 */
typedef struct QEMU_PACKED SevSecretInput {
    uint8_t context;
    uint32_t flags;
    uint8_t iv[16];
    uint32_t guest_len;
    uint32_t trans_len;
} SevSecretInput;
QEMU_BUILD_BUG_ON(sizeof(SevSecretInput) != 29);
#define SEV_SECRET_CONTEXT          0x01

/* @len: in, what there is room for; out, what is needed */
typedef struct QEMU_PACKED SevCmdAttestationReport {
    uint32_t handle;
    uint32_t rsvd;
    uint64_t address;
    uint8_t mnonce[16];
    uint32_t len;
} SevCmdAttestationReport;
QEMU_BUILD_BUG_ON(sizeof(SevCmdAttestationReport) != 36);

/* What ATTESTATION_REPORT writes at its address */
typedef struct QEMU_PACKED SevAttestationReport {
    uint8_t mnonce[16];
    uint8_t launch_digest[32];
    uint32_t policy;
    /* The signature covers what is above */
    uint32_t sig_usage;
    uint32_t sig_algo;
    uint32_t rsvd;
    uint8_t sig1[PSP_ECC_LEN];
} SevAttestationReport;
#define SEV_REPORT_SIGNED_LEN       offsetof(SevAttestationReport, sig_usage)
QEMU_BUILD_BUG_ON(SEV_REPORT_SIGNED_LEN != 52);
QEMU_BUILD_BUG_ON(sizeof(SevAttestationReport) != 208);

/* DBG_DECRYPT and DBG_ENCRYPT */
typedef struct QEMU_PACKED SevCmdDbg {
    uint32_t handle;
    uint32_t rsvd;
    uint64_t src_addr;
    uint64_t dst_addr;
    uint32_t len;
} SevCmdDbg;
QEMU_BUILD_BUG_ON(sizeof(SevCmdDbg) != 28);

/* ---- SNP ABI: platform commands ---- */

#define SNP_INIT_RMP                BIT(0)
#define SNP_INIT_LIST_PADDR_EN      BIT(1)

typedef struct QEMU_PACKED SnpCmdInitEx {
    uint32_t flags;             /* SNP_INIT_* */
    uint32_t rsvd1;
    uint64_t list_paddr;
    uint16_t max_snp_asid;
    uint8_t rsvd2[46];
} SnpCmdInitEx;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdInitEx) != 64);

/* The list at list_paddr: this header, then num_elements ranges */
typedef struct QEMU_PACKED SnpRangeList {
    uint32_t num_elements;
    uint32_t rsvd;
} SnpRangeList;

typedef struct QEMU_PACKED SnpRange {
    uint64_t base;
    uint32_t page_count;        /* 4 KB pages */
    uint32_t rsvd;
} SnpRange;
QEMU_BUILD_BUG_ON(sizeof(SnpRange) != 16);

#define SNP_SHUTDOWN_IOMMU          BIT(0)

typedef struct QEMU_PACKED SnpCmdShutdownEx {
    uint32_t length;            /* of this structure */
    uint32_t flags;             /* SNP_SHUTDOWN_* */
} SnpCmdShutdownEx;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdShutdownEx) != 8);

typedef struct QEMU_PACKED SnpCmdPlatformStatus {
    uint64_t status_paddr;
} SnpCmdPlatformStatus;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdPlatformStatus) != 8);

#define SNP_STATUS_MASK_CHIP_ID     BIT(0)
#define SNP_STATUS_MASK_CHIP_KEY    BIT(1)
#define SNP_STATUS_FEATURE_INFO     BIT(3)

/* Bits of is_rmp_initialized */
#define SNP_STATUS_RMP_INITIALIZED  BIT(0)
#define SNP_STATUS_ALIAS_CHECK      BIT(1)

/* What SNP_PLATFORM_STATUS writes at its address */
typedef struct QEMU_PACKED SnpPlatformStatus {
    uint8_t api_major;
    uint8_t api_minor;
    uint8_t state;
    uint8_t is_rmp_initialized;
    uint32_t build_id;
    uint32_t flags;             /* SNP_STATUS_* */
    uint32_t guest_count;
    uint64_t current_tcb_version;
    uint64_t reported_tcb_version;
} SnpPlatformStatus;
QEMU_BUILD_BUG_ON(sizeof(SnpPlatformStatus) != 32);

typedef struct QEMU_PACKED SnpCmdFeatureInfo {
    uint32_t length;            /* of this structure */
    uint32_t ecx_in;            /* subfunction */
    uint64_t feature_info_paddr;
} SnpCmdFeatureInfo;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdFeatureInfo) != 16);

/* What SNP_FEATURE_INFO writes at its address */
typedef struct QEMU_PACKED SnpFeatureInfo {
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx;
} SnpFeatureInfo;

#define SNP_CONFIG_MASK_CHIP_ID     BIT(0)
#define SNP_CONFIG_MASK_CHIP_KEY    BIT(1)

typedef struct QEMU_PACKED SnpCmdConfig {
    uint64_t reported_tcb;
    uint32_t flags;             /* SNP_CONFIG_* */
    uint8_t rsvd[52];
} SnpCmdConfig;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdConfig) != 64);

typedef struct QEMU_PACKED SnpCmdCommit {
    uint32_t length;            /* of this structure */
} SnpCmdCommit;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdCommit) != 4);

typedef struct QEMU_PACKED SnpCmdVlekLoad {
    uint32_t length;            /* of this structure */
    uint8_t vlek_wrapped_version;
    uint8_t rsvd[3];
    uint64_t vlek_wrapped_address;
} SnpCmdVlekLoad;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdVlekLoad) != 16);

/* Bytes at vlek_wrapped_address */
#define SNP_VLEK_HASHSTICK_LEN      432

typedef struct QEMU_PACKED SnpCmdDownloadFirmwareEx {
    uint32_t length;            /* of this structure */
    uint32_t rsvd;
    uint64_t fw_paddr;
    uint32_t fw_len;
    uint32_t flags;
} SnpCmdDownloadFirmwareEx;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdDownloadFirmwareEx) != 24);

/* ---- SNP ABI: guest commands ---- */

/* SNP_GCTX_CREATE and SNP_DECOMMISSION */
typedef struct QEMU_PACKED SnpCmdGctx {
    uint64_t gctx_paddr;
} SnpCmdGctx;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdGctx) != 8);

typedef struct QEMU_PACKED SnpCmdActivate {
    uint64_t gctx_paddr;
    uint32_t asid;
} SnpCmdActivate;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdActivate) != 12);

typedef struct QEMU_PACKED SnpCmdGuestStatus {
    uint64_t gctx_paddr;
    uint64_t address;
} SnpCmdGuestStatus;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdGuestStatus) != 16);

/* What SNP_GUEST_STATUS writes at its address */
typedef struct QEMU_PACKED SnpGuestStatus {
    uint64_t policy;
    uint32_t asid;
    uint8_t state;
    uint8_t rsvd[19];
} SnpGuestStatus;
QEMU_BUILD_BUG_ON(sizeof(SnpGuestStatus) != 32);

/* SNP_DBG_DECRYPT and SNP_DBG_ENCRYPT: a page */
typedef struct QEMU_PACKED SnpCmdDbg {
    uint64_t gctx_paddr;
    uint64_t src_addr;
    uint64_t dst_addr;
} SnpCmdDbg;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdDbg) != 24);

/* ---- SNP ABI: launch commands ---- */

/* Guest policy (SNP ABI, "Guest Policy") */
#define SNP_POLICY_ABI              MAKE_64BIT_MASK(0, 16)  /* major, minor */
#define SNP_POLICY_SMT              BIT_ULL(16)
#define SNP_POLICY_RSVD_MBO         BIT_ULL(17)             /* must be one */
#define SNP_POLICY_MIGRATE_MA       BIT_ULL(18)
#define SNP_POLICY_DEBUG            BIT_ULL(19)
#define SNP_POLICY_SINGLE_SOCKET    BIT_ULL(20)
#define SNP_POLICY_KNOWN            MAKE_64BIT_MASK(0, 21)

#define SNP_LAUNCH_START_MA_EN      BIT(0)
#define SNP_LAUNCH_START_IMI_EN     BIT(1)

typedef struct QEMU_PACKED SnpCmdLaunchStart {
    uint64_t gctx_paddr;
    uint64_t policy;
    uint64_t ma_gctx_paddr;     /* context of the migration agent */
    uint32_t flags;             /* SNP_LAUNCH_START_* */
    uint32_t desired_tsc_khz;
    uint8_t gosvw[16];
} SnpCmdLaunchStart;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdLaunchStart) != 48);

#define SNP_LAUNCH_UPDATE_PAGE_SIZE     BIT(0)  /* 2 MB, not 4 KB */
#define SNP_LAUNCH_UPDATE_PAGE_TYPE(f)  extract32(f, 1, 3)
#define SNP_LAUNCH_UPDATE_IMI_PAGE      BIT(4)
#define SNP_LAUNCH_UPDATE_FLAGS         MAKE_64BIT_MASK(0, 5)
/* Permissions of VMPL1 to VMPL3, where the RMP entry has them as well */
#define SNP_LAUNCH_UPDATE_PERMS(p, vmpl) extract32(p, 8 * (vmpl), 8)
#define SNP_LAUNCH_UPDATE_PERMS_KNOWN   0x0f0f0f00

typedef struct QEMU_PACKED SnpCmdLaunchUpdate {
    uint64_t gctx_paddr;
    uint32_t flags;             /* SNP_LAUNCH_UPDATE_* */
    uint32_t rsvd2;
    uint64_t address;
    uint32_t vmpl_perms;        /* a byte for each VMPL, that of VMPL0 unused */
    uint32_t rsvd4;
} SnpCmdLaunchUpdate;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdLaunchUpdate) != 32);

enum {
    SNP_PAGE_TYPE_NORMAL = 1, SNP_PAGE_TYPE_VMSA, SNP_PAGE_TYPE_ZERO,
    SNP_PAGE_TYPE_UNMEASURED, SNP_PAGE_TYPE_SECRETS, SNP_PAGE_TYPE_CPUID,
};

/* PAGE_INFO, which each step of the launch digest hashes (SNP ABI 8.17.2) */
typedef struct QEMU_PACKED SnpPageInfo {
    uint8_t digest_cur[48];
    uint8_t contents[48];
    uint16_t length;            /* of this structure */
    uint8_t page_type;
    uint8_t imi_page;
    uint8_t vmpl3_perms;
    uint8_t vmpl2_perms;
    uint8_t vmpl1_perms;
    uint8_t rsvd;
    uint64_t gpa;
} SnpPageInfo;
QEMU_BUILD_BUG_ON(sizeof(SnpPageInfo) != 0x70);

/* A page of type SECRETS begins with this (SNP ABI 8.17.2.5) */
typedef struct QEMU_PACKED SnpSecretsPage {
    uint32_t version;
    uint32_t imi_en;
    uint32_t fms;               /* family, model, stepping */
    uint32_t rsvd2;
    uint8_t gosvw[16];
    uint8_t vmpck[4][32];
} SnpSecretsPage;
QEMU_BUILD_BUG_ON(sizeof(SnpSecretsPage) != 0xa0);

/* A page of type CPUID (SNP ABI 8.17.2.6) */
typedef struct QEMU_PACKED SnpCpuidEntry {
    uint32_t eax_in;
    uint32_t ecx_in;
    uint64_t xcr0_in;
    uint64_t xss_in;
    uint32_t regs[4];           /* EAX, EBX, ECX, EDX */
    uint64_t rsvd;
} SnpCpuidEntry;
QEMU_BUILD_BUG_ON(sizeof(SnpCpuidEntry) != 48);

#define SNP_CPUID_COUNT_MAX         64

typedef struct QEMU_PACKED SnpCpuidPage {
    uint32_t count;
    uint32_t rsvd1;
    uint64_t rsvd2;
    SnpCpuidEntry fn[SNP_CPUID_COUNT_MAX];
} SnpCpuidPage;
QEMU_BUILD_BUG_ON(offsetof(SnpCpuidPage, fn) != 16);

#define SNP_LAUNCH_FINISH_ID_BLOCK_EN   BIT(0)
#define SNP_LAUNCH_FINISH_AUTH_KEY_EN   BIT(1)
#define SNP_LAUNCH_FINISH_VCEK_DISABLED BIT(2)
#define SNP_LAUNCH_FINISH_FLAGS         MAKE_64BIT_MASK(0, 3)

typedef struct QEMU_PACKED SnpCmdLaunchFinish {
    uint64_t gctx_paddr;
    uint64_t id_block_paddr;
    uint64_t id_auth_paddr;
    uint32_t flags;             /* SNP_LAUNCH_FINISH_* */
    uint32_t rsvd;
    uint8_t host_data[32];
} SnpCmdLaunchFinish;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdLaunchFinish) != 64);

/* What is at id_block_paddr */
typedef struct QEMU_PACKED SnpIdBlock {
    uint8_t ld[48];
    uint8_t family_id[16];
    uint8_t image_id[16];
    uint32_t version;
    uint32_t guest_svn;
    uint64_t policy;
} SnpIdBlock;
QEMU_BUILD_BUG_ON(sizeof(SnpIdBlock) != 0x60);
#define SNP_ID_BLOCK_VERSION        1

typedef struct QEMU_PACKED SnpIdKey {
    uint32_t curve;
    uint8_t q[PSP_ECC_LEN];
    uint8_t rsvd[880];
} SnpIdKey;
QEMU_BUILD_BUG_ON(sizeof(SnpIdKey) != 0x404);

/* What is at id_auth_paddr */
typedef struct QEMU_PACKED SnpIdAuth {
    uint32_t id_key_algo;
    uint32_t auth_key_algo;
    uint8_t rsvd1[56];
    uint8_t id_block_sig[512];  /* by the ID key, over the ID block */
    SnpIdKey id_key;
    uint8_t rsvd2[60];
    uint8_t id_key_sig[512];    /* by the author key, over the ID key */
    SnpIdKey author_key;
    uint8_t rsvd3[892];
} SnpIdAuth;
QEMU_BUILD_BUG_ON(sizeof(SnpIdAuth) != 0x1000);
#define SNP_ID_ALGO_ECDSA_P384      1
#define SNP_ID_CURVE_P384           2

/* ---- SNP ABI: page commands ---- */

#define SNP_PAGE_RECLAIM_PAGE_SIZE  BIT_ULL(0)  /* 2 MB, not 4 KB */

/* The address of the page, and flags in its low bits */
typedef struct QEMU_PACKED SnpCmdPageReclaim {
    uint64_t paddr;
} SnpCmdPageReclaim;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdPageReclaim) != 8);

typedef struct QEMU_PACKED SnpCmdPageUnsmash {
    uint64_t paddr;
} SnpCmdPageUnsmash;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdPageUnsmash) != 8);

/* ---- SNP ABI, "Guest Messages" ---- */

typedef struct QEMU_PACKED SnpCmdGuestRequest {
    uint64_t gctx_paddr;
    uint64_t req_paddr;
    uint64_t res_paddr;
} SnpCmdGuestRequest;
QEMU_BUILD_BUG_ON(sizeof(SnpCmdGuestRequest) != 24);

typedef struct QEMU_PACKED SnpMsgHdr {
    uint8_t authtag[32];
    uint64_t msg_seqno;
    uint8_t rsvd1[8];
    /* Authenticated from here on */
    uint8_t algo;
    uint8_t hdr_version;
    uint16_t hdr_sz;
    uint8_t msg_type;
    uint8_t msg_version;
    uint16_t msg_sz;
    uint32_t rsvd2;
    uint8_t msg_vmpck;
    uint8_t rsvd3[35];
} SnpMsgHdr;
QEMU_BUILD_BUG_ON(offsetof(SnpMsgHdr, algo) != 0x30);
QEMU_BUILD_BUG_ON(sizeof(SnpMsgHdr) != 0x60);

#define SNP_MSG_HDR_VERSION         1
#define SNP_MSG_VERSION             1
#define SNP_MSG_ALGO_AES_256_GCM    1

enum {
    SNP_MSG_KEY_REQ = 3, SNP_MSG_KEY_RSP, SNP_MSG_REPORT_REQ,
    SNP_MSG_REPORT_RSP,
};

/* Which key signs or derives: key_sel of requests, and in the report */
#define SNP_KEY_SEL_VLEK            2
#define SNP_KEY_SEL_RESERVED        3
#define SNP_SIGNING_KEY_NONE        7

typedef struct QEMU_PACKED SnpReportReq {
    uint8_t user_data[64];
    uint32_t vmpl;
    uint32_t key_sel;
    uint8_t rsvd[24];
} SnpReportReq;
QEMU_BUILD_BUG_ON(sizeof(SnpReportReq) != 0x60);

#define SNP_REPORT_ALGO_ECDSA_P384  1
#define SNP_REPORT_INFO_SMT_EN      BIT_ULL(0)
#define SNP_REPORT_INFO_ECC_EN      BIT_ULL(2)
#define SNP_REPORT_INFO_ALIAS_CHECK BIT_ULL(5)
#define SNP_REPORT_AUTHOR_KEY_EN    BIT(0)
#define SNP_REPORT_MASK_CHIP_KEY    BIT(1)
#define SNP_REPORT_SIGNING_KEY(k)   ((k) << 2)

typedef struct QEMU_PACKED SnpFwVersion {
    uint8_t build;
    uint8_t minor;
    uint8_t major;
    uint8_t rsvd;
} SnpFwVersion;

typedef struct QEMU_PACKED SnpReport {
    uint32_t version;
    uint32_t guest_svn;
    uint64_t policy;
    uint8_t family_id[16];
    uint8_t image_id[16];
    uint32_t vmpl;
    uint32_t signature_algo;
    uint64_t current_tcb;
    uint64_t platform_info;     /* SNP_REPORT_INFO_* */
    uint32_t flags;             /* SNP_REPORT_* */
    uint32_t rsvd0;
    uint8_t report_data[64];
    uint8_t measurement[48];
    uint8_t host_data[32];
    uint8_t id_key_digest[48];
    uint8_t author_key_digest[48];
    uint8_t report_id[32];
    uint8_t report_id_ma[32];
    uint64_t reported_tcb;
    /* From version 3 on */
    uint8_t cpuid_fam_id;
    uint8_t cpuid_mod_id;
    uint8_t cpuid_step;
    uint8_t rsvd1[21];
    uint8_t chip_id[64];
    uint64_t committed_tcb;
    SnpFwVersion current;
    SnpFwVersion committed;
    uint64_t launch_tcb;
    /* From version 5 on */
    uint64_t launch_mit_vector;
    uint64_t current_mit_vector;
    uint8_t rsvd2[152];
    /* The signature covers what is above */
    uint8_t signature[512];
} SnpReport;
#define SNP_REPORT_SIGNED_LEN       offsetof(SnpReport, signature)
QEMU_BUILD_BUG_ON(offsetof(SnpReport, cpuid_fam_id) != 0x188);
QEMU_BUILD_BUG_ON(offsetof(SnpReport, launch_mit_vector) != 0x1f8);
QEMU_BUILD_BUG_ON(SNP_REPORT_SIGNED_LEN != 0x2a0);
QEMU_BUILD_BUG_ON(sizeof(SnpReport) != 0x4a0);

/* The report follows, if the status is 0 */
typedef struct QEMU_PACKED SnpReportRsp {
    uint32_t status;
    uint32_t report_size;
    uint8_t rsvd[24];
    SnpReport report;
} SnpReportRsp;
QEMU_BUILD_BUG_ON(offsetof(SnpReportRsp, report) != 0x20);

/* root_key_select */
#define SNP_KEY_REQ_ROOT_VMRK       BIT(0)
#define SNP_KEY_REQ_ROOT_SEL(r)     ((r) >> 1)
#define SNP_KEY_REQ_ROOT_SEL_MASK   MAKE_64BIT_MASK(1, 2)
/* guest_field_select */
#define SNP_KEY_REQ_POLICY          BIT(0)
#define SNP_KEY_REQ_IMAGE_ID        BIT(1)
#define SNP_KEY_REQ_FAMILY_ID       BIT(2)
#define SNP_KEY_REQ_MEASUREMENT     BIT(3)
#define SNP_KEY_REQ_GUEST_SVN       BIT(4)
#define SNP_KEY_REQ_TCB             BIT(5)
#define SNP_KEY_REQ_KNOWN           MAKE_64BIT_MASK(0, 6)

typedef struct QEMU_PACKED SnpKeyReq {
    uint32_t root_key_select;
    uint32_t rsvd;
    uint64_t guest_field_select;
    uint32_t vmpl;
    uint32_t guest_svn;
    uint64_t tcb_version;
} SnpKeyReq;
QEMU_BUILD_BUG_ON(sizeof(SnpKeyReq) != 0x20);

typedef struct QEMU_PACKED SnpKeyRsp {
    uint32_t status;
    uint8_t rsvd[28];
    uint8_t derived_key[32];
} SnpKeyRsp;
QEMU_BUILD_BUG_ON(sizeof(SnpKeyRsp) != 0x40);

#endif
