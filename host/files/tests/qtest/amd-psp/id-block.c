/*
 * qtest for the AMD Secure Processor: ID blocks and their authentication
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp/id-block.h"
#include "qemu/bswap.h"

static void put_key(gnutls_privkey_t key, uint8_t *where)
{
    stl_le_p(where + ID_KEY_CURVE, CURVE_P384);
    public_key(key, where + ID_KEY_POINT);
}

static void id_sign(Id *id)
{
    memset(id->auth, 0, sizeof(id->auth));
    stl_le_p(id->auth + AUTH_ID_ALGO, ALGO_ECDSA_P384);
    stl_le_p(id->auth + AUTH_AUTHOR_ALGO, ALGO_ECDSA_P384);
    put_key(id->id_key, id->auth + AUTH_ID_KEY);
    put_key(id->author_key, id->auth + AUTH_AUTHOR_KEY);
    sign(id->id_key, id->block, sizeof(id->block), id->auth + AUTH_BLOCK_SIG);
    sign(id->author_key, id->auth + AUTH_ID_KEY, ID_KEY_LEN,
         id->auth + AUTH_ID_KEY_SIG);
}

void id_put(Psp *p, Id *id)
{
    qtest_memwrite(p->qts, BLOCK, id->block, sizeof(id->block));
    qtest_memwrite(p->qts, AUTH, id->auth, sizeof(id->auth));
}

Id *id_new(uint64_t policy, const uint8_t *digest)
{
    Id *id = g_new0(Id, 1);

    id->id_key = new_key();
    id->author_key = new_key();
    memcpy(id->block + ID_DIGEST, digest, DIGEST_LEN);
    memset(id->block + ID_FAMILY, ID_FAMILY_BYTE, ID_IMAGE - ID_FAMILY);
    memset(id->block + ID_IMAGE, ID_IMAGE_BYTE, ID_VERSION - ID_IMAGE);
    stl_le_p(id->block + ID_VERSION, 1);
    stl_le_p(id->block + ID_GUEST_SVN, ID_SVN);
    stq_le_p(id->block + ID_POLICY, policy);
    id_sign(id);
    return id;
}

void id_free(Id *id)
{
    gnutls_privkey_deinit(id->id_key);
    gnutls_privkey_deinit(id->author_key);
    g_free(id);
}
