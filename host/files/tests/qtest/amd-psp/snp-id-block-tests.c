/*
 * qtest for the AMD Secure Processor: ID blocks
 *
 * SNP ABI, SNP_LAUNCH_FINISH: the checks of the ID block and its authentication
 * information. Tested: that a change of any field is refused, with the status
 * of the check that it fails, and that what needs no author key ignores one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp/chapters.h"
#include "amd-psp/id-block.h"

#define WITH_ID         FINISH_ID_BLOCK
#define WITH_AUTHOR     (FINISH_ID_BLOCK | FINISH_AUTHOR_KEY)

/* A byte to flip, and the status that LAUNCH_FINISH must return */
typedef struct Spoil {
    unsigned offset;
    unsigned status;
    unsigned flags;
} Spoil;

static void spoil(Psp *p, Id *id, uint8_t *what, const Spoil *s)
{
    what[s->offset] ^= 1;
    id_put(p, id);
    EXPECT(p, s->status, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH, s->flags);
    what[s->offset] ^= 1;
}

static void check_fields(Psp *p, Id *id)
{
    static const Spoil block[] = {
        { ID_DIGEST + 5, BAD_MEASUREMENT, WITH_ID },
        { ID_POLICY, BAD_POLICY, WITH_ID },
        { ID_VERSION, BAD_PARAM, WITH_ID },
    };
    static const Spoil auth[] = {
        { AUTH_ID_ALGO, BAD_PARAM, WITH_ID },
        { AUTH_AUTHOR_ALGO, BAD_PARAM, WITH_AUTHOR },
        { AUTH_ID_KEY + ID_KEY_CURVE, BAD_PARAM, WITH_ID },
        { AUTH_AUTHOR_KEY + ID_KEY_CURVE, BAD_PARAM, WITH_AUTHOR },
    };

    for (int i = 0; i < ARRAY_SIZE(block); i++) {
        spoil(p, id, id->block, &block[i]);
    }
    for (int i = 0; i < ARRAY_SIZE(auth); i++) {
        spoil(p, id, id->auth, &auth[i]);
    }
}

static void check_signatures(Psp *p, Id *id)
{
    static const Spoil block[] = {
        { ID_FAMILY, BAD_SIGNATURE, WITH_ID },
        { ID_GUEST_SVN, BAD_SIGNATURE, WITH_ID },
    };
    static const Spoil auth[] = {
        { AUTH_BLOCK_SIG, BAD_SIGNATURE, WITH_ID },
        { AUTH_BLOCK_SIG + ECC_HALF, BAD_SIGNATURE, WITH_ID },
        { AUTH_ID_KEY + ID_KEY_POINT, BAD_SIGNATURE, WITH_ID },
        { AUTH_ID_KEY_SIG, BAD_SIGNATURE, WITH_AUTHOR },
        { AUTH_AUTHOR_KEY + ID_KEY_POINT, BAD_SIGNATURE, WITH_AUTHOR },
        /* Top byte of R: R gets more than 384 bits */
        { AUTH_BLOCK_SIG + ECC_HALF - 1, BAD_SIGNATURE, WITH_ID },
        /* Last byte of the ID key: the author signs for the whole key */
        { AUTH_ID_KEY + ID_KEY_LEN - 1, BAD_SIGNATURE, WITH_AUTHOR },
    };

    for (int i = 0; i < ARRAY_SIZE(block); i++) {
        spoil(p, id, id->block, &block[i]);
    }
    for (int i = 0; i < ARRAY_SIZE(auth); i++) {
        spoil(p, id, id->auth, &auth[i]);
    }
}

static void test_snp_id_block(void)
{
    static const uint8_t zero[DIGEST_LEN];
    Psp *p = start_snp(NULL);
    Id *id = id_new(POLICY, zero);

    snp_guest(p, GCTX, POLICY, 1);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH,
           FINISH_AUTHOR_KEY);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_FINISH, GCTX, NO_RAM, AUTH, WITH_ID);
    EXPECT(p, BAD_ADDRESS, SNP_LAUNCH_FINISH, GCTX, BLOCK, NO_RAM, WITH_ID);
    check_fields(p, id);
    check_signatures(p, id);
    id_put(p, id);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH, WITH_AUTHOR);
    EXPECT(p, OK, SNP_DECOMMISSION, GCTX);

    /* Without the AUTHOR_KEY flag the author fields are ignored */
    snp_guest(p, GCTX, POLICY, 2);
    memset(id->auth + AUTH_ID_KEY_SIG, 0xff, PSP_PAGE - AUTH_ID_KEY_SIG);
    id_put(p, id);
    EXPECT(p, OK, SNP_LAUNCH_FINISH, GCTX, BLOCK, AUTH, WITH_ID);
    id_free(id);
    psp_stop(p);
}

void add_snp_id_block_tests(void)
{
    qtest_add_func("amd-psp/snp/id-block", test_snp_id_block);
}
