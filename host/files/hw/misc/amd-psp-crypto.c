/*
 * AMD Secure Processor: cryptography
 *
 * Hashes come from GLib and AES from QEMU itself, which are always there.
 * ECDSA and AES-GCM need GnuTLS.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "crypto/aes.h"
#include "qapi/error.h"

void psp_sha384(const void *data, size_t len, uint8_t digest[48])
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA384);
    gsize n = 48;

    g_checksum_update(sum, data, len);
    g_checksum_get_digest(sum, digest, &n);
    g_checksum_free(sum);
}

void psp_hmac_sha256(const void *key, size_t key_len, const void *data,
                     size_t len, uint8_t mac[32])
{
    GHmac *hmac = g_hmac_new(G_CHECKSUM_SHA256, key, key_len);
    gsize n = 32;

    g_hmac_update(hmac, data, len);
    g_hmac_get_digest(hmac, mac, &n);
    g_hmac_unref(hmac);
}

void psp_aes128_ctr(const uint8_t key[16], const uint8_t iv[16], uint8_t *buf,
                    size_t len)
{
    uint8_t counter[16], stream[16];
    AES_KEY aes;

    AES_set_encrypt_key(key, 128, &aes);
    memcpy(counter, iv, sizeof(counter));
    for (size_t i = 0; i < len; i++) {
        if (i % 16 == 0) {
            AES_encrypt(counter, stream, &aes);
            for (int j = 15; j >= 0 && !++counter[j]; j--) {
                /* carry */
            }
        }
        buf[i] ^= stream[i % 16];
    }
}

#ifdef CONFIG_GNUTLS

#include <gnutls/gnutls.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>

#define P384_BYTES  48

struct PspKey {
    gnutls_privkey_t key;
};

bool psp_crypto_available(void)
{
    return true;
}

/* A big-endian number of any length as a little-endian one of 72 bytes */
static bool to_le(const gnutls_datum_t *be, uint8_t le[PSP_ECC_HALF])
{
    memset(le, 0, PSP_ECC_HALF);
    for (unsigned i = 0; i < be->size; i++) {
        uint8_t byte = be->data[be->size - 1 - i];

        if (i < P384_BYTES) {
            le[i] = byte;
        } else if (byte) {
            return false;
        }
    }
    return true;
}

/* The reverse; without leading zeroes if @strip */
static bool to_be(const uint8_t le[PSP_ECC_HALF], bool strip,
                  uint8_t be[P384_BYTES], gnutls_datum_t *out)
{
    for (unsigned i = P384_BYTES; i < PSP_ECC_HALF; i++) {
        if (le[i]) {
            return false;
        }
    }
    for (unsigned i = 0; i < P384_BYTES; i++) {
        be[P384_BYTES - 1 - i] = le[i];
    }
    out->data = be;
    out->size = P384_BYTES;
    while (strip && out->size > 1 && !out->data[0]) {
        out->data++;
        out->size--;
    }
    return true;
}

PspKey *psp_key_new(Error **errp)
{
    PspKey *key = g_new0(PspKey, 1);
    int rc = gnutls_privkey_init(&key->key);

    if (rc >= 0) {
        rc = gnutls_privkey_generate(key->key, GNUTLS_PK_ECDSA,
                 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), 0);
    }
    if (rc < 0) {
        error_setg(errp, "no ECDSA P-384 key could be made: %s",
                   gnutls_strerror(rc));
        psp_key_free(key);
        return NULL;
    }
    return key;
}

void psp_key_free(PspKey *key)
{
    if (key) {
        gnutls_privkey_deinit(key->key);
        g_free(key);
    }
}

char *psp_key_pem(PspKey *key)
{
    gnutls_datum_t pem = { NULL, 0 };
    gnutls_pubkey_t pub;
    char *text = NULL;

    if (!key || gnutls_pubkey_init(&pub) < 0) {
        return NULL;
    }
    if (gnutls_pubkey_import_privkey(pub, key->key, 0, 0) >= 0 &&
        gnutls_pubkey_export2(pub, GNUTLS_X509_FMT_PEM, &pem) >= 0) {
        text = g_strndup((char *)pem.data, pem.size);
        gnutls_free(pem.data);
    }
    gnutls_pubkey_deinit(pub);
    return text;
}

bool psp_key_public(PspKey *key, uint8_t q[PSP_ECC_LEN])
{
    gnutls_datum_t x, y, k;
    gnutls_ecc_curve_t curve;
    bool ok;

    if (!key || gnutls_privkey_export_ecc_raw(key->key, &curve, &x, &y,
                                              &k) < 0) {
        return false;
    }
    ok = to_le(&x, q) && to_le(&y, q + PSP_ECC_HALF);
    gnutls_free(x.data);
    gnutls_free(y.data);
    gnutls_free(k.data);
    return ok;
}

bool psp_sign(PspKey *key, const void *data, size_t len,
              uint8_t sig[PSP_ECC_LEN])
{
    gnutls_datum_t in = { (void *)data, len };
    gnutls_datum_t der = { NULL, 0 }, r = { NULL, 0 }, s = { NULL, 0 };
    bool ok = false;

    if (key && gnutls_privkey_sign_data(key->key, GNUTLS_DIG_SHA384, 0, &in,
                                        &der) >= 0) {
        ok = gnutls_decode_rs_value(&der, &r, &s) >= 0 &&
             to_le(&r, sig) && to_le(&s, sig + PSP_ECC_HALF);
    }
    gnutls_free(der.data);
    gnutls_free(r.data);
    gnutls_free(s.data);
    return ok;
}

bool psp_verify(const uint8_t q[PSP_ECC_LEN], const void *data, size_t len,
                const uint8_t sig[PSP_ECC_LEN])
{
    uint8_t b[4][P384_BYTES];
    gnutls_datum_t in = { (void *)data, len };
    gnutls_datum_t x, y, r, s, der = { NULL, 0 };
    gnutls_pubkey_t pub;
    bool ok;

    if (!to_be(q, false, b[0], &x) ||
        !to_be(q + PSP_ECC_HALF, false, b[1], &y) ||
        !to_be(sig, true, b[2], &r) ||
        !to_be(sig + PSP_ECC_HALF, true, b[3], &s) ||
        gnutls_pubkey_init(&pub) < 0) {
        return false;
    }
    ok = gnutls_pubkey_import_ecc_raw(pub, GNUTLS_ECC_CURVE_SECP384R1, &x,
                                      &y) >= 0 &&
         gnutls_encode_rs_value(&der, &r, &s) >= 0 &&
         gnutls_pubkey_verify_data2(pub, GNUTLS_SIGN_ECDSA_SHA384, 0, &in,
                                    &der) >= 0;
    gnutls_free(der.data);
    gnutls_pubkey_deinit(pub);
    return ok;
}

bool psp_gcm(bool encrypt, const uint8_t key[32], const uint8_t iv[12],
             const void *aad, size_t aad_len, const void *in, size_t len,
             void *out, uint8_t tag[16])
{
    gnutls_datum_t k = { (void *)key, 32 };
    gnutls_aead_cipher_hd_t hd;
    g_autofree uint8_t *both = g_malloc(len + 16);
    size_t n = encrypt ? len + 16 : len;
    int rc;

    if (gnutls_aead_cipher_init(&hd, GNUTLS_CIPHER_AES_256_GCM, &k) < 0) {
        return false;
    }
    if (encrypt) {
        rc = gnutls_aead_cipher_encrypt(hd, iv, 12, aad, aad_len, 16, in, len,
                                        both, &n);
        if (rc >= 0) {
            memcpy(out, both, len);
            memcpy(tag, both + len, 16);
        }
    } else {
        memcpy(both, in, len);
        memcpy(both + len, tag, 16);
        rc = gnutls_aead_cipher_decrypt(hd, iv, 12, aad, aad_len, 16, both,
                                        len + 16, out, &n);
    }
    gnutls_aead_cipher_deinit(hd);
    return rc >= 0;
}

#else /* CONFIG_GNUTLS */

bool psp_crypto_available(void)
{
    return false;
}

PspKey *psp_key_new(Error **errp)
{
    error_setg(errp, "ECDSA P-384 needs a QEMU that is built with GnuTLS");
    return NULL;
}

void psp_key_free(PspKey *key)
{
}

char *psp_key_pem(PspKey *key)
{
    return NULL;
}

bool psp_key_public(PspKey *key, uint8_t q[PSP_ECC_LEN])
{
    return false;
}

bool psp_sign(PspKey *key, const void *data, size_t len,
              uint8_t sig[PSP_ECC_LEN])
{
    return false;
}

bool psp_verify(const uint8_t q[PSP_ECC_LEN], const void *data, size_t len,
                const uint8_t sig[PSP_ECC_LEN])
{
    return false;
}

bool psp_gcm(bool encrypt, const uint8_t key[32], const uint8_t iv[12],
             const void *aad, size_t aad_len, const void *in, size_t len,
             void *out, uint8_t tag[16])
{
    return false;
}

#endif /* CONFIG_GNUTLS */
