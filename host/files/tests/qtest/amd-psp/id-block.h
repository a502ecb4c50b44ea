/*
 * qtest for the AMD Secure Processor: ID blocks and their authentication
 *
 * SNP ABI, SNP_LAUNCH_FINISH: "ID Block" and "ID Authentication Information".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_AMD_PSP_ID_BLOCK_H
#define TESTS_AMD_PSP_ID_BLOCK_H

#include "amd-psp-lib.h"
#include "amd-psp/crypto.h"

/* Authentication information; each key is a curve and a point */
enum {
    AUTH_ID_ALGO = 0, AUTH_AUTHOR_ALGO = 4, AUTH_BLOCK_SIG = 0x40,
    AUTH_ID_KEY = 0x240, AUTH_ID_KEY_SIG = 0x680, AUTH_AUTHOR_KEY = 0x880,
};
#define ID_KEY_CURVE        0
#define ID_KEY_POINT        4
#define ID_KEY_LEN          0x404
#define ALGO_ECDSA_P384     1
#define CURVE_P384          2

/* What id_new() writes to an ID block */
#define ID_FAMILY_BYTE      0xf1
#define ID_IMAGE_BYTE       0x1d
#define ID_SVN              7

typedef struct Id {
    gnutls_privkey_t id_key;
    gnutls_privkey_t author_key;
    uint8_t block[ID_BLOCK_LEN];
    uint8_t auth[PSP_PAGE];
} Id;

/* An ID block that is right, signed by an ID key, and this by an author key */
Id *id_new(uint64_t policy, const uint8_t *digest);
void id_free(Id *id);
/* Write both to memory, at BLOCK and AUTH */
void id_put(Psp *p, Id *id);

#endif
