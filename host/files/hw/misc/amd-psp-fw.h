/*
 * AMD Secure Processor: what the parts of the firmware share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_MISC_AMD_PSP_FW_H
#define HW_MISC_AMD_PSP_FW_H

#include "amd-psp-abi.h"
#include "hw/misc/amd-psp.h"
#include "qemu/bswap.h"

#define PSP_PAGE        4096
#define PSP_BUF_MAX     64

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

/* Platform states in which a command is allowed */
enum {
    IN_UNINIT = 1, IN_INIT = 2, IN_WORKING = 4,
    IN_ANY = IN_UNINIT | IN_INIT | IN_WORKING,
    IN_READY = IN_INIT | IN_WORKING,
};

struct PspCommand {
    uint16_t id;
    const char *name;
    /* Bytes of the command buffer; 0 if there is none */
    uint8_t len;
    uint8_t states;
    /* State of the SNP firmware counts, not that of the legacy one */
    bool snp;
    /* The command buffer is output too */
    bool writes;
    PspStatus (*handler)(PspCall *c);
    const PspReserved *reserved;
};

struct PspCall {
    AmdPspState *s;
    AmdSnpHost *h;
    unsigned id;
    /* NULL if there is no such command */
    const PspCommand *cmd;
    /* Address of the command buffer, and what was there */
    uint64_t addr;
    bool readable;
    uint8_t buf[PSP_BUF_MAX];
    /* What TLBs depend on changed: RMP entries or keys */
    bool flush;
    /* Not a refusal but the answer to a question, as for a length */
    bool query;
    char *why;
};

/* The command buffer, as the structure that its command has */
#define PSP_BUF(c, type) ((type *)(c)->buf)

/* An address field of a structure. The C-bit means nothing to the firmware */
static inline uint64_t psp_addr(uint64_t le)
{
    return le64_to_cpu(le) & ~AMD_SNP_CBIT;
}

/* Refuse the command: returns @status and keeps the reason for the log */
PspStatus G_GNUC_PRINTF(3, 4) psp_refuse(PspCall *c, PspStatus status,
                                         const char *fmt, ...);

/* ---- Pages (SNP ABI, "Page States") ---- */

typedef enum PspPageState {
    PAGE_HYPERVISOR, PAGE_HV_FIXED, PAGE_FIRMWARE, PAGE_CONTEXT, PAGE_METADATA,
    PAGE_RECLAIM, PAGE_PRE_GUEST, PAGE_PRE_SWAP, PAGE_GUEST_INVALID,
    PAGE_GUEST_VALID,
} PspPageState;

const char *psp_page_state_name(PspPageState state);

/*
 * The RMP entry that governs the page at @pa: that of its 2 MB region if it
 * has one, with the gpa of the page. @large tells which.
 */
AmdRmpEntry psp_rmp_get(AmdSnpHost *h, hwaddr pa, bool *large);
/* Set the entry of a page; of all of its 2 MB region if @large */
void psp_rmp_set(AmdSnpHost *h, hwaddr pa, bool large, AmdRmpEntry e);
PspPageState psp_page_state(AmdRmpEntry e);

/* Memory that is RAM and no part of the RMP */
bool psp_is_ram(AmdSnpHost *h, uint64_t pa, uint64_t len);

/*
 * Memory that the firmware may write for the host: RAM, and while SNP is
 * initialised, Firmware pages.
 */
PspStatus psp_check_output(PspCall *c, const char *what, uint64_t pa,
                           uint64_t len);
/* One page of output of an SNP command, aligned; then its state changes */
PspStatus psp_check_output_page(PspCall *c, const char *what, uint64_t pa);

bool psp_read(PspCall *c, uint64_t pa, unsigned key, void *buf, size_t len);
bool psp_write(PspCall *c, uint64_t pa, unsigned key, const void *buf,
               size_t len);
/* Change a part of the command buffer in memory */
void psp_write_buf(PspCall *c, unsigned offset, unsigned len);
#define PSP_WRITE_FIELD(c, type, field) \
    psp_write_buf(c, offsetof(type, field), sizeof_field(type, field))

/* ---- Guests ---- */

PspGuest *psp_guest_new(AmdPspState *s, bool snp);
void psp_guest_free(PspGuest *g);
bool psp_guests_full(AmdPspState *s);
/* The SNP guest whose context is at @pa */
PspStatus psp_guest_by_gctx(PspCall *c, uint64_t pa, PspGuest **g);
/* Bind and release an ASID; releasing destroys the key */
PspStatus psp_asid_bind(PspCall *c, PspGuest *g, uint32_t asid, unsigned first,
                        unsigned last);
void psp_asid_release(PspCall *c, PspGuest *g);
void psp_asids_dirty(PspCall *c);
PspStatus psp_df_flush(PspCall *c);
bool psp_smt(AmdPspState *s);

/* ---- SNP commands: amd-psp-snp.c, amd-psp-msg.c ---- */

extern const PspCommand psp_snp_commands[];
extern const unsigned psp_n_snp_commands;
PspStatus psp_snp_guest_request(PspCall *c);
/* Back to before SNP_INIT: all guests are gone */
void psp_snp_drop_guests(PspCall *c);

/* ---- Cryptography: amd-psp-crypto.c ---- */

/* ECDSA P-384 and AES-256-GCM can be done: QEMU is built with GnuTLS */
bool psp_crypto_available(void);
PspKey *psp_key_new(Error **errp);
void psp_key_free(PspKey *key);
char *psp_key_pem(PspKey *key);
bool psp_key_public(PspKey *key, uint8_t q[PSP_ECC_LEN]);
/* ECDSA P-384 over SHA-384 */
bool psp_sign(PspKey *key, const void *data, size_t len,
              uint8_t sig[PSP_ECC_LEN]);
bool psp_verify(const uint8_t q[PSP_ECC_LEN], const void *data, size_t len,
                const uint8_t sig[PSP_ECC_LEN]);
/* @tag is output for encryption, and checked by decryption */
bool psp_gcm(bool encrypt, const uint8_t key[32], const uint8_t iv[12],
             const void *aad, size_t aad_len, const void *in, size_t len,
             void *out, uint8_t tag[16]);
void psp_sha384(const void *data, size_t len, uint8_t digest[48]);
void psp_hmac_sha256(const void *key, size_t key_len, const void *data,
                     size_t len, uint8_t mac[32]);
void psp_aes128_ctr(const uint8_t key[16], const uint8_t iv[16], uint8_t *buf,
                    size_t len);

#endif
