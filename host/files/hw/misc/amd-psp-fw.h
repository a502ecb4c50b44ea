/*
 * AMD Secure Processor: what the parts of the firmware share
 *
 * amd-psp.c           PCI function and mailbox
 * amd-psp-fw.c        dispatcher: takes, checks and answers a command
 * amd-psp-commands.c  table of commands
 * amd-psp-inject.c    failures to be injected, counters of commands
 * amd-psp-memory.c    memory, RMP entries, page states
 * amd-psp-guest.c     guests and ASIDs
 * amd-psp-sev-*.c     commands of SEV and SEV-ES
 * amd-psp-snp-*.c     commands of SEV-SNP
 * amd-psp-cpuid.c     the CPUID page of an SNP guest
 * amd-psp-msg.c       guest messages (SNP_GUEST_REQUEST)
 * amd-psp-crypto.c    cryptography
 *
 * Unless said otherwise: addresses are system physical addresses without the
 * C-bit; lengths are in bytes; a check returns PSP_SUCCESS, or a status whose
 * reason it has given to psp_refuse(), and changes nothing in memory. Functions
 * that take a PspCall run in a command, with the BQL and the platform's lock
 * held.
 *
 * Comments at the refusals: "SEV API:" and "ABI:" introduce a rule of the SEV
 * API (55766) or of the SNP firmware ABI (56860), which is to be found in the
 * section of the command that the head of the function names. Section numbers
 * of the ABI differ between its revisions; where one is given it is that of
 * revision 1.51, and of the SEV API that of revision 0.17. "Model:" introduces
 * a limit of this emulation.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_MISC_AMD_PSP_FW_H
#define HW_MISC_AMD_PSP_FW_H

#include "amd-psp-abi.h"
#include "hw/misc/amd-psp.h"
#include "qemu/bitmap.h"
#include "qemu/bswap.h"

#define PSP_PAGE        4096
/* Bytes of the longest command buffer */
#define PSP_BUF_MAX     64

/* ---- Commands: amd-psp-commands.c ---- */

/*
 * Bits of the command buffer that must be zero: those of @mask in each 32-bit
 * word from @offset on, for @len bytes. A @len of 0 ends a list.
 */
typedef struct PspReserved {
    uint8_t offset;
    uint8_t len;
    uint32_t mask;
} PspReserved;

/* A field that must be zero */
#define RSVD(type, field) \
    { offsetof(type, field), sizeof_field(type, field), ~0u }
/* A 32-bit field that may have no other bits than @known */
#define RSVD_BUT(type, field, known) \
    { offsetof(type, field), 4, (uint32_t)~(known) }
/* All fields from this one to the end must be zero */
#define RSVD_FROM(type, field) \
    { offsetof(type, field), sizeof(type) - offsetof(type, field), ~0u }
#define RESERVED(...) \
    .reserved = (const PspReserved[]) { __VA_ARGS__, { 0, 0, 0 } }

/*
 * Platform states in which a command is allowed: BIT(SEV_UNINIT) and so on. The
 * SNP firmware has only the first two.
 */
enum {
    IN_UNINIT = 1, IN_INIT = 2, IN_WORKING = 4,
    IN_ANY = IN_UNINIT | IN_INIT | IN_WORKING,
    IN_READY = IN_INIT | IN_WORKING,
};

/*
 * Does the command; the command buffer has been checked for reserved bits. What
 * would take longer than some milliseconds is done in pieces: PSP_MORE has the
 * handler called again, with what it left in the call.
 */
typedef PspStatus PspHandler(PspCall *c);

struct PspCommand {
    uint16_t id;
    const char *name;
    /* Bytes of the command buffer; 0 if there is none */
    uint8_t len;
    /* IN_* */
    uint8_t states;
    /* The SNP firmware's state counts, not that of the SEV platform */
    bool snp;
    /* The command buffer is output too */
    bool writes;
    PspHandler *handler;
    const PspReserved *reserved;
};

/**
 * psp_command_at: the command in row @i of the table, from 0 on
 *
 * Returns NULL if the table has fewer rows.
 */
const PspCommand *psp_command_at(unsigned i);

/* SEV API, chapter 5 "Platform Management API": amd-psp-sev-platform.c */
PspHandler psp_sev_init;
PspHandler psp_sev_init_ex;
PspHandler psp_sev_shutdown;
PspHandler psp_sev_platform_status;
PspHandler psp_sev_get_id;
PspHandler psp_sev_download_firmware;
/* the same: amd-psp-sev-cert.c */
PspHandler psp_sev_factory_reset;
PspHandler psp_sev_pek_gen;
PspHandler psp_sev_pek_csr;
PspHandler psp_sev_pek_cert_import;
PspHandler psp_sev_pdh_gen;
PspHandler psp_sev_pdh_cert_export;

/* SEV API, chapter 6 "Guest Management API": amd-psp-sev-guest.c */
PspHandler psp_sev_decommission;
PspHandler psp_sev_activate;
PspHandler psp_sev_deactivate;
PspHandler psp_sev_guest_status;
PspHandler psp_sev_dbg_decrypt;
PspHandler psp_sev_dbg_encrypt;
/* the same: amd-psp-sev-launch.c */
PspHandler psp_sev_launch_start;
PspHandler psp_sev_launch_update_data;
PspHandler psp_sev_launch_update_vmsa;
PspHandler psp_sev_launch_measure;
PspHandler psp_sev_launch_update_secret;
PspHandler psp_sev_launch_finish;
PspHandler psp_sev_attestation_report;

/* SNP ABI: amd-psp-snp-platform.c */
PspHandler psp_snp_init;
PspHandler psp_snp_init_ex;
PspHandler psp_snp_shutdown;
PspHandler psp_snp_shutdown_ex;
PspHandler psp_snp_platform_status;
PspHandler psp_snp_feature_info;
PspHandler psp_snp_config;
PspHandler psp_snp_commit;
PspHandler psp_snp_vlek_load;
PspHandler psp_snp_download_firmware;
/* the same: amd-psp-snp-guest.c */
PspHandler psp_snp_gctx_create;
PspHandler psp_snp_decommission;
PspHandler psp_snp_activate;
PspHandler psp_snp_guest_status;
PspHandler psp_snp_dbg_decrypt;
PspHandler psp_snp_dbg_encrypt;
/* the same: amd-psp-snp-launch.c */
PspHandler psp_snp_launch_start;
PspHandler psp_snp_launch_update;
PspHandler psp_snp_launch_finish;
/* the same: amd-psp-snp-page.c */
PspHandler psp_snp_page_reclaim;
PspHandler psp_snp_page_unsmash;
/* the same: amd-psp-msg.c */
PspHandler psp_snp_guest_request;
/* DF_FLUSH and SNP_DF_FLUSH: amd-psp-guest.c */
PspHandler psp_df_flush;

/* ---- A command that is being done: amd-psp-fw.c ---- */

struct PspCall {
    AmdPspState *s;
    AmdSnpHost *h;
    unsigned id;
    /* NULL if there is no command of this number */
    const PspCommand *cmd;
    /* Address of the command buffer, and the host's key for it */
    uint64_t addr;
    unsigned key;
    /* The command buffer is in memory; @buf has its content */
    bool readable;
    uint8_t buf[PSP_BUF_MAX];
    /* RMP entries or keys changed: TLBs must be flushed before it completes */
    bool flush;
    /* The status is an answer, as a length that was asked for, not a refusal */
    bool query;
    /* Reason of a refusal, for the log */
    char *why;

    /* The first piece was done */
    bool begun;
    PspStatus status;
    /* The handler's: how far it has come; and what it allocated, g_free()d */
    uint64_t done;
    void *work;
    /* Keys to be destroyed after the handler, and from which page on */
    bool destroy;
    DECLARE_BITMAP(asids, AMD_SNP_MAX_ASID + 1);
    uint64_t page;
};

/* Bytes of content in a piece; multiple of PSP_PAGE */
#define PSP_PIECE       (1024 * 1024)

/* The command buffer, as the structure that its command has */
#define PSP_BUF(c, type) ((type *)(c)->buf)

/* An address field of a structure, and the host's key by its C-bit */
static inline uint64_t psp_addr(uint64_t le)
{
    return le64_to_cpu(le) & ~AMD_SNP_CBIT;
}

static inline unsigned psp_key(uint64_t le)
{
    return amd_snp_host_key(le64_to_cpu(le));
}

/**
 * psp_refuse: refuse the command; keeps the reason for the log
 *
 * Returns @status.
 */
PspStatus G_GNUC_PRINTF(3, 4) psp_refuse(PspCall *c, PspStatus status,
                                         const char *fmt, ...);

/**
 * psp_no_crypto: refuse the command because QEMU is built without GnuTLS
 */
PspStatus psp_no_crypto(PspCall *c);

/**
 * psp_check_length: the command buffer's length field has the right value
 * @le: that field, as it is in the buffer (little endian)
 *
 * Errors: INVALID_LEN.
 */
PspStatus psp_check_length(PspCall *c, uint32_t le);

/**
 * psp_length_query: put the length that is needed into a length field
 * @offset: of the 32-bit field in the command buffer
 * @need: bytes
 *
 * Changes @c->buf, not memory. Returns true if the host has less room than
 * that.
 */
bool psp_length_query(PspCall *c, unsigned offset, uint32_t need);

/**
 * psp_answer_lengths: answer a command whose psp_length_query() was true
 *
 * Writes the command buffer to memory. Returns INVALID_LEN, which counts as an
 * answer, not as a refusal.
 */
PspStatus psp_answer_lengths(PspCall *c);

/**
 * psp_smt: guests are told that SMT is on
 */
bool psp_smt(AmdPspState *s);

/**
 * psp_alias_check: the check for aliases of memory has completed
 *
 * Model: it always has, if the firmware is of a build that makes it.
 */
bool psp_alias_check(AmdPspState *s);

/**
 * psp_sev_state: state of the SEV platform, SEV_UNINIT and so on
 *
 * SEV API 5.1.2: WORKING is INIT with a guest.
 */
unsigned psp_sev_state(AmdPspState *s);

/* ---- Injected failures: amd-psp-inject.c ---- */

/**
 * psp_inject: count this command down, and tell if it has to fail
 * @status: what it fails with, set if so
 */
bool psp_inject(PspCall *c, unsigned *status);

/* ---- Memory and pages: amd-psp-memory.c ---- */

/* SNP ABI, chapter 5: page states */
typedef enum PspPageState {
    PAGE_HYPERVISOR, PAGE_HV_FIXED, PAGE_FIRMWARE, PAGE_CONTEXT, PAGE_METADATA,
    PAGE_RECLAIM, PAGE_PRE_GUEST, PAGE_PRE_SWAP, PAGE_GUEST_INVALID,
    PAGE_GUEST_VALID,
} PspPageState;

const char *psp_page_state_name(PspPageState state);

/**
 * psp_page_state: the state of a page by its RMP entry
 */
PspPageState psp_page_state(AmdRmpEntry e);

/**
 * psp_rmp_get: the RMP entry that governs the page at @pa
 * @pa: aligned to 4 KB
 * @large: set; true if that is the entry of the page's 2 MB region
 *
 * Returns the entry, with the gpa of the page itself.
 */
AmdRmpEntry psp_rmp_get(AmdSnpHost *h, hwaddr pa, bool *large);

/**
 * psp_rmp_set: set the RMP entry of a page
 * @large: set all 512 entries of the 2 MB region of @pa; @e has the gpa of its
 *         first page
 *
 * The page is covered by the RMP. The caller has TLBs flushed.
 */
void psp_rmp_set(AmdSnpHost *h, hwaddr pa, bool large, AmdRmpEntry e);

/**
 * psp_is_ram: the range is RAM, and no part of it is in the RMP
 *
 * False for a range of no bytes, and for one that wraps around.
 */
bool psp_is_ram(AmdSnpHost *h, uint64_t pa, uint64_t len);

/**
 * psp_check_output: the firmware may write to this memory for the host
 * @what: name of the memory, for the log
 *
 * While SNP is initialised, all pages have to be Firmware pages.
 * Errors: INVALID_ADDRESS, INVALID_PAGE_STATE.
 */
PspStatus psp_check_output(PspCall *c, const char *what, uint64_t pa,
                           uint64_t len);

/**
 * psp_check_output_page: as psp_check_output(), for an aligned 4 KB page
 */
PspStatus psp_check_output_page(PspCall *c, const char *what, uint64_t pa);

/**
 * psp_check_page_size: the page's RMP entry has the size that is wanted
 *
 * Errors: INVALID_PAGE_SIZE.
 */
PspStatus psp_check_page_size(PspCall *c, uint64_t pa, bool large,
                              bool want_large);

/**
 * psp_check_page: @pa is an aligned page of RAM, in this state, of this size
 * @e: set to its RMP entry, if the address is right
 *
 * Errors, checked in this order: INVALID_ADDRESS, INVALID_PAGE_STATE,
 * INVALID_PAGE_SIZE.
 */
PspStatus psp_check_page(PspCall *c, uint64_t pa, PspPageState want,
                         bool want_large, AmdRmpEntry *e);

/**
 * psp_write_status: write to a status page
 * @le: its address, as it is in the buffer (little endian)
 *
 * While SNP is initialised, this is a Firmware page and becomes a Reclaim page.
 * Errors: INVALID_ADDRESS, INVALID_PAGE_STATE, INVALID_PAGE_SIZE.
 */
PspStatus psp_write_status(PspCall *c, uint64_t le, const void *buf,
                           size_t len);

/**
 * psp_read, psp_write: access memory through a key
 * @key: AMD_SNP_KEY_NONE, AMD_SNP_KEY_SME, an ASID, or PSP_KEY_FIRMWARE
 *
 * Neither looks at RMP entries. Returns false if the range is not RAM; then
 * nothing was written.
 */
bool psp_read(PspCall *c, uint64_t pa, unsigned key, void *buf, size_t len);
bool psp_write(PspCall *c, uint64_t pa, unsigned key, const void *buf,
               size_t len);

/**
 * psp_read_at, psp_write_at: the same where a field of a structure says
 * @le: the field (little endian): an address, and the host's key by its C-bit
 */
bool psp_read_at(PspCall *c, uint64_t le, void *buf, size_t len);
bool psp_write_at(PspCall *c, uint64_t le, const void *buf, size_t len);

/**
 * psp_write_buf: write a part of @c->buf back to the command buffer in memory
 */
void psp_write_buf(PspCall *c, unsigned offset, unsigned len);
#define PSP_WRITE_FIELD(c, type, field) \
    psp_write_buf(c, offsetof(type, field), sizeof_field(type, field))

/* ---- Guests and ASIDs: amd-psp-guest.c ---- */

PspGuest *psp_guest_new(AmdPspState *s, bool snp);
void psp_guest_free(PspGuest *g);

/**
 * psp_guests_full: no room for another guest
 */
bool psp_guests_full(AmdPspState *s);

/**
 * psp_guest_by_handle: the SEV guest whose handle begins the command buffer
 *
 * Errors: INVALID_GUEST.
 */
PspStatus psp_guest_by_handle(PspCall *c, PspGuest **g);

/**
 * psp_guest_in_state: as psp_guest_by_handle(), with checks
 * @states: mask of the states that are allowed, BIT(SEV_GUEST_*)
 * @active: the guest must have an ASID
 *
 * Errors, checked in this order: INVALID_GUEST, INVALID_GUEST_STATE, INACTIVE.
 */
PspStatus psp_guest_in_state(PspCall *c, PspGuest **g, unsigned states,
                             bool active);

/**
 * psp_guest_by_gctx: the SNP guest whose Context page is at @pa
 *
 * Errors: INVALID_ADDRESS, INVALID_GUEST.
 */
PspStatus psp_guest_by_gctx(PspCall *c, uint64_t pa, PspGuest **g);

/**
 * psp_snp_in_state: the guest is in @state, SNP_GUEST_*
 *
 * Errors: INVALID_GUEST_STATE.
 */
PspStatus psp_snp_in_state(PspCall *c, PspGuest *g, unsigned state);

/**
 * psp_snp_is_active: the guest has an ASID
 *
 * Errors: INACTIVE.
 */
PspStatus psp_snp_is_active(PspCall *c, PspGuest *g);

/**
 * psp_asid_bind: give the guest an ASID
 * @first, @last: ASIDs that a guest of its kind may have, both inclusive
 *
 * Errors, checked in this order: INVALID_ASID, ASID_OWNED, ACTIVE,
 * DFFLUSH_REQUIRED.
 */
PspStatus psp_asid_bind(PspCall *c, PspGuest *g, uint32_t asid, unsigned first,
                        unsigned last);

/**
 * psp_asid_release: take the guest's ASID, if it has one, and destroy the key
 *
 * The key goes after the command's handler has returned, in pieces.
 * The ASID can be bound again after WBINVD on all CPUs and a DF_FLUSH.
 */
void psp_asid_release(PspCall *c, PspGuest *g);

/**
 * psp_asids_dirty: all free ASIDs need WBINVD on all CPUs and a DF_FLUSH
 */
void psp_asids_dirty(PspCall *c);

/**
 * psp_snp_drop_guests: all SNP guests are gone, as after SNP_DECOMMISSION
 *
 * In amd-psp-snp-guest.c.
 */
void psp_snp_drop_guests(PspCall *c);

/* ---- CPUID page: amd-psp-cpuid.c ---- */

/**
 * psp_cpuid_check: a page of type CPUID promises nothing that does not hold
 * @page: its content, 4 KB; values that may not be in it are corrected
 *
 * Returns false, the reason given to psp_refuse(), if there was one.
 */
bool psp_cpuid_check(PspCall *c, uint8_t *page);

/* ---- Cryptography: amd-psp-crypto.c ---- */

/**
 * psp_crypto_available: QEMU is built with GnuTLS
 *
 * Otherwise no function on a PspKey succeeds, nor does psp_gcm().
 */
bool psp_crypto_available(void);

/* ECDSA P-384 keys. NULL with @errp set on failure */
PspKey *psp_key_new(Error **errp);
void psp_key_free(PspKey *key);

/**
 * psp_key_pem: the public key as PEM, to be freed; NULL on failure
 */
char *psp_key_pem(PspKey *key);

/**
 * psp_key_public: the public key as Qx and Qy; false on failure
 */
bool psp_key_public(PspKey *key, uint8_t q[PSP_ECC_LEN]);

/**
 * psp_sign, psp_verify: ECDSA P-384 over SHA-384
 * @sig: R and S
 * @q: the public key, as psp_key_public() gives it
 */
bool psp_sign(PspKey *key, const void *data, size_t len,
              uint8_t sig[PSP_ECC_LEN]);
bool psp_verify(const uint8_t q[PSP_ECC_LEN], const void *data, size_t len,
                const uint8_t sig[PSP_ECC_LEN]);

/**
 * psp_gcm: AES-256-GCM
 * @aad: authenticated, not encrypted
 * @in, @out: @len bytes each
 * @tag: output of encryption, input of decryption
 *
 * Returns false if the tag is wrong or on failure.
 */
bool psp_gcm(bool encrypt, const uint8_t key[32], const uint8_t iv[12],
             const void *aad, size_t aad_len, const void *in, size_t len,
             void *out, uint8_t tag[16]);
void psp_sha384(const void *data, size_t len, uint8_t digest[48]);
void psp_hmac_sha256(const void *key, size_t key_len, const void *data,
                     size_t len, uint8_t mac[32]);

/**
 * psp_aes128_ctr: encrypt or decrypt @buf in place; @iv: the first counter
 */
void psp_aes128_ctr(const uint8_t key[16], const uint8_t iv[16], uint8_t *buf,
                    size_t len);

#endif
