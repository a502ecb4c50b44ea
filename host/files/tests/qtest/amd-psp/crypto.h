/*
 * qtest for the AMD Secure Processor: the cryptography that a platform
 * owner and a guest do
 *
 * GnuTLS does it, as in QEMU; keys and layouts are the test's own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_AMD_PSP_CRYPTO_H
#define TESTS_AMD_PSP_CRYPTO_H

#include <gnutls/gnutls.h>
#include <gnutls/abstract.h>

/* R and S, or Qx and Qy, 72 bytes each, little endian */
#define ECC_HALF        72
#define ECC_LEN         (2 * ECC_HALF)

#define GCM_KEY_LEN     32
#define GCM_TAG_LEN     16

void gnutls_ok(int rc);
/* ECDSA with P-384 and SHA-384 */
gnutls_privkey_t new_key(void);
void public_key(gnutls_privkey_t key, uint8_t *q);
gnutls_pubkey_t pubkey_of(const uint8_t *q);
void sign(gnutls_privkey_t key, const void *data, size_t len, uint8_t *sig);
bool verify(gnutls_pubkey_t key, const void *data, size_t len,
            const uint8_t *sig);
void sha384(const void *data, size_t len, uint8_t *digest);

#endif
