/*
 * qtest for the AMD Secure Processor: the owner's and the guest's cryptography
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp/crypto.h"
#include <gnutls/crypto.h>

/* Bytes of a number of P-384 */
#define P384_LEN        48

void gnutls_ok(int rc)
{
    if (rc < 0) {
        g_error("GnuTLS: %s", gnutls_strerror(rc));
    }
}

gnutls_privkey_t new_key(void)
{
    gnutls_privkey_t key;

    gnutls_ok(gnutls_privkey_init(&key));
    gnutls_ok(gnutls_privkey_generate(key, GNUTLS_PK_ECDSA,
                  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), 0));
    return key;
}

/* Big-endian number of any length to little-endian of ECC_HALF bytes */
static void to_le(gnutls_datum_t *be, uint8_t *le)
{
    memset(le, 0, ECC_HALF);
    for (unsigned i = 0; i < be->size && i < ECC_HALF; i++) {
        le[i] = be->data[be->size - 1 - i];
    }
    gnutls_free(be->data);
}

static gnutls_datum_t from_le(const uint8_t *le, uint8_t *be)
{
    gnutls_datum_t d = { be, P384_LEN };

    for (int i = 0; i < P384_LEN; i++) {
        be[P384_LEN - 1 - i] = le[i];
    }
    while (d.size > 1 && !d.data[0]) {
        d.data++;
        d.size--;
    }
    return d;
}

void public_key(gnutls_privkey_t key, uint8_t *q)
{
    gnutls_datum_t x, y, k;
    gnutls_ecc_curve_t curve;

    gnutls_ok(gnutls_privkey_export_ecc_raw(key, &curve, &x, &y, &k));
    to_le(&x, q);
    to_le(&y, q + ECC_HALF);
    gnutls_free(k.data);
}

void sign(gnutls_privkey_t key, const void *data, size_t len, uint8_t *sig)
{
    gnutls_datum_t in = { (void *)data, len }, der, r, s;

    gnutls_ok(gnutls_privkey_sign_data(key, GNUTLS_DIG_SHA384, 0, &in, &der));
    gnutls_ok(gnutls_decode_rs_value(&der, &r, &s));
    gnutls_free(der.data);
    to_le(&r, sig);
    to_le(&s, sig + ECC_HALF);
}

bool verify(gnutls_pubkey_t key, const void *data, size_t len,
            const uint8_t *sig)
{
    gnutls_datum_t in = { (void *)data, len }, der, r, s;
    uint8_t rbuf[P384_LEN], sbuf[P384_LEN];
    int rc;

    r = from_le(sig, rbuf);
    s = from_le(sig + ECC_HALF, sbuf);
    gnutls_ok(gnutls_encode_rs_value(&der, &r, &s));
    rc = gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_ECDSA_SHA384, 0, &in,
                                    &der);
    gnutls_free(der.data);
    return rc >= 0;
}

gnutls_pubkey_t pubkey_of(const uint8_t *q)
{
    uint8_t xbuf[P384_LEN], ybuf[P384_LEN];
    gnutls_datum_t x = from_le(q, xbuf), y = from_le(q + ECC_HALF, ybuf);
    gnutls_pubkey_t key;

    gnutls_ok(gnutls_pubkey_init(&key));
    gnutls_ok(gnutls_pubkey_import_ecc_raw(key, GNUTLS_ECC_CURVE_SECP384R1, &x,
                                           &y));
    return key;
}

void sha384(const void *data, size_t len, uint8_t *digest)
{
    gnutls_ok(gnutls_hash_fast(GNUTLS_DIG_SHA384, data, len, digest));
}
