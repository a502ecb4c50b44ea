/*
 * AMD Secure Processor: SEV firmware
 *
 * How a command is taken, checked and answered, for all commands; and those of
 * SEV and SEV-ES. Those of SEV-SNP are in amd-psp-snp.c.
 *
 * What Linux issues (6.12 and 7.x; drivers/crypto/ccp/sev-dev.c is the driver,
 * arch/x86/kvm/svm/sev.c is KVM):
 *
 *   driver: INIT INIT_EX SHUTDOWN FACTORY_RESET PLATFORM_STATUS PEK_GEN PEK_CSR
 *     PEK_CERT_IMPORT PDH_CERT_EXPORT PDH_GEN DF_FLUSH DOWNLOAD_FIRMWARE GET_ID
 *     SNP_INIT SNP_INIT_EX SNP_SHUTDOWN_EX SNP_PLATFORM_STATUS SNP_DF_FLUSH
 *     SNP_PAGE_RECLAIM SNP_CONFIG SNP_COMMIT SNP_VLEK_LOAD SNP_FEATURE_INFO
 *     SNP_VERIFY_MITIGATION (7.x, only if the features say so)
 *   KVM: DECOMMISSION ACTIVATE DEACTIVATE GUEST_STATUS LAUNCH_START
 *     LAUNCH_UPDATE_DATA LAUNCH_UPDATE_VMSA LAUNCH_MEASURE
 *     LAUNCH_UPDATE_SECRET LAUNCH_FINISH ATTESTATION_REPORT SEND_* RECEIVE_*
 *     DBG_DECRYPT DBG_ENCRYPT SNP_GCTX_CREATE SNP_LAUNCH_START
 *     SNP_LAUNCH_UPDATE SNP_LAUNCH_FINISH SNP_ACTIVATE SNP_DECOMMISSION
 *     SNP_DBG_DECRYPT SNP_GUEST_REQUEST SNP_PAGE_RECLAIM SNP_PLATFORM_STATUS
 *     SNP_DF_FLUSH
 *
 * Not modelled, and answered with UNSUPPORTED when the platform's state would
 * allow them: SEND_*, RECEIVE_*, COPY, launching with a session or a shared
 * key. Without a session, TEK and TIK are zero, so that measurement and secret
 * can be computed by who has no session either; hardware draws them.
 *
 * Key tags are per page, SEV encrypts in units of 16 bytes: a page that was
 * encrypted in part counts as encrypted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "hw/boards.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "qemu/lockable.h"
#include "qemu/units.h"
#include "trace.h"

#define SEV_TMR_SIZE            (1 * MiB)
#define SNP_TMR_SIZE            (2 * MiB)
#define SEV_NV_SIZE             (32 * KiB)
#define SEV_ID_LEN              64
#define SEV_MEASURE_LEN         48
#define SEV_SECRET_HDR_LEN      52
#define SEV_SECRET_MAX          (16 * KiB)
#define SEV_REPORT_LEN          208

/* Guest policy (SEV API, "Guest Policy Structure") */
#define SEV_POLICY_NODBG        BIT(0)
#define SEV_POLICY_ES           BIT(2)
#define SEV_POLICY_RESERVED     MAKE_64BIT_MASK(6, 10)

/* Certificates (SEV API, "SEV Certificate Format") */
#define CERT_LEN                0x824
#define CERT_SIGNED_LEN         0x414
#define CERT_VERSION            0x000
#define CERT_USAGE              0x008
#define CERT_ALGO               0x00c
#define CERT_CURVE              0x010
#define CERT_QX                 0x014
#define CERT_SIG1               0x414
#define CERT_SIG2               0x61c
#define CURVE_P384              2
#define USAGE_INVALID           0x1000
#define USAGE_OCA               0x1001
#define USAGE_PEK               0x1002
#define USAGE_PDH               0x1003
#define USAGE_CEK               0x1004
#define ALGO_ECDSA_SHA384       0x102
#define ALGO_ECDH_SHA384        0x103

/* ---- Refusals ---- */

PspStatus psp_refuse(PspCall *c, PspStatus status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_free(c->why);
    c->why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return status;
}

/* ---- Memory and pages ---- */

static const char *const page_state_names[] = {
    [PAGE_HYPERVISOR] = "Hypervisor",
    [PAGE_HV_FIXED] = "HV-Fixed",
    [PAGE_FIRMWARE] = "Firmware",
    [PAGE_CONTEXT] = "Context",
    [PAGE_METADATA] = "Metadata",
    [PAGE_RECLAIM] = "Reclaim",
    [PAGE_PRE_GUEST] = "Pre-Guest",
    [PAGE_PRE_SWAP] = "Pre-Swap",
    [PAGE_GUEST_INVALID] = "Guest-Invalid",
    [PAGE_GUEST_VALID] = "Guest-Valid",
};

const char *psp_page_state_name(PspPageState state)
{
    return page_state_names[state];
}

PspPageState psp_page_state(AmdRmpEntry e)
{
    bool immutable = e.lo & AMD_RMP_IMMUTABLE;
    bool validated = e.lo & AMD_RMP_VALIDATED;

    if (!(e.lo & AMD_RMP_ASSIGNED)) {
        return immutable ? PAGE_HV_FIXED : PAGE_HYPERVISOR;
    }
    if (!amd_rmp_asid(e.lo)) {
        if (!immutable) {
            return PAGE_RECLAIM;
        }
        if (e.lo & AMD_RMP_VMSA) {
            return PAGE_CONTEXT;
        }
        return validated ? PAGE_METADATA : PAGE_FIRMWARE;
    }
    if (immutable) {
        return validated ? PAGE_PRE_SWAP : PAGE_PRE_GUEST;
    }
    return validated ? PAGE_GUEST_VALID : PAGE_GUEST_INVALID;
}

AmdRmpEntry psp_rmp_get(AmdSnpHost *h, hwaddr pa, bool *large)
{
    hwaddr base = QEMU_ALIGN_DOWN(pa, 2 * MiB);
    AmdRmpEntry e;

    *large = amd_rmp_is_2m(h, pa);
    if (!*large) {
        return amd_rmp_get(h, pa);
    }
    e = amd_rmp_get(h, base);
    e.lo += QEMU_ALIGN_DOWN(pa - base, PSP_PAGE);
    return e;
}

void psp_rmp_set(AmdSnpHost *h, hwaddr pa, bool large, AmdRmpEntry e)
{
    if (!large) {
        amd_rmp_set(h, pa, e);
        return;
    }
    pa = QEMU_ALIGN_DOWN(pa, 2 * MiB);
    for (int i = 0; i < 512; i++) {
        amd_rmp_set(h, pa + i * PSP_PAGE, e);
        e.lo += PSP_PAGE;
    }
}

bool psp_is_ram(AmdSnpHost *h, uint64_t pa, uint64_t len)
{
    uint64_t last = pa + len - 1;

    if (!len || last < pa) {
        return false;
    }
    if (pa <= h->rmp_end && last >= h->rmp_base) {
        return false;
    }
    if (last >= h->below_4g_size &&
        (pa < h->above_4g_start ||
         last >= h->above_4g_start + h->above_4g_size)) {
        return false;
    }
    return amd_snp_host_is_ram(h, pa, len);
}

bool psp_read(PspCall *c, uint64_t pa, unsigned key, void *buf, size_t len)
{
    return psp_is_ram(c->h, pa, len) && amd_snp_read(c->h, pa, key, buf, len);
}

bool psp_write(PspCall *c, uint64_t pa, unsigned key, const void *buf,
               size_t len)
{
    if (!psp_is_ram(c->h, pa, len)) {
        return false;
    }
    /* Pages that get another key are seen differently through TLBs */
    for (uint64_t p = QEMU_ALIGN_DOWN(pa, PSP_PAGE); p < pa + len;
         p += PSP_PAGE) {
        c->flush |= amd_snp_key(c->h, p) != key;
    }
    return amd_snp_write(c->h, pa, key, buf, len);
}

void psp_write_buf(PspCall *c, unsigned offset, unsigned len)
{
    psp_write(c, c->addr + offset, AMD_SNP_KEY_NONE, c->buf + offset, len);
}

PspStatus psp_check_output(PspCall *c, const char *what, uint64_t pa,
                           uint64_t len)
{
    if (!psp_is_ram(c->h, pa, len)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "%s at 0x%" PRIx64 ", 0x%" PRIx64 " bytes, is not "
                          "in memory", what, pa, len);
    }
    for (uint64_t p = QEMU_ALIGN_DOWN(pa, PSP_PAGE);
         c->s->snp_init && p < pa + len; p += PSP_PAGE) {
        bool large;
        PspPageState state = psp_page_state(psp_rmp_get(c->h, p, &large));

        if (state != PAGE_FIRMWARE) {
            return psp_refuse(c, PSP_INVALID_PAGE_STATE,
                              "%s: page 0x%" PRIx64 " is %s, expected Firmware",
                              what, p, psp_page_state_name(state));
        }
    }
    return PSP_SUCCESS;
}

PspStatus psp_check_output_page(PspCall *c, const char *what, uint64_t pa)
{
    if (pa % PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "%s at 0x%" PRIx64 " is not aligned to a page",
                          what, pa);
    }
    return psp_check_output(c, what, pa, PSP_PAGE);
}

/* ---- Guests and ASIDs ---- */

PspGuest *psp_guest_new(AmdPspState *s, bool snp)
{
    PspGuest *g = g_new0(PspGuest, 1);

    g->snp = snp;
    if (!snp) {
        g->digest = g_checksum_new(G_CHECKSUM_SHA256);
    }
    return g;
}

void psp_guest_free(PspGuest *g)
{
    if (g->digest) {
        g_checksum_free(g->digest);
    }
    g_free(g);
}

bool psp_guests_full(AmdPspState *s)
{
    return g_hash_table_size(s->guests) + g_hash_table_size(s->contexts) >=
           PSP_MAX_GUESTS;
}

PspStatus psp_asid_bind(PspCall *c, PspGuest *g, uint32_t asid, unsigned first,
                        unsigned last)
{
    AmdPspState *s = c->s;

    if (asid < first || asid > last) {
        return psp_refuse(c, PSP_INVALID_ASID, "ASID %u, expected %u to %u",
                          asid, first, last);
    }
    if (s->asid_owner[asid]) {
        return psp_refuse(c, PSP_ASID_OWNED, "ASID %u has a guest", asid);
    }
    if (g->asid) {
        return psp_refuse(c, PSP_ACTIVE, "the guest is active with ASID %u",
                          g->asid);
    }
    if (s->asid_dirty[asid]) {
        return psp_refuse(c, PSP_DFFLUSH_REQUIRED,
                          "ASID %u was used before: WBINVD and DF_FLUSH first",
                          asid);
    }
    g->asid = asid;
    s->asid_owner[asid] = g;
    return PSP_SUCCESS;
}

void psp_asid_release(PspCall *c, PspGuest *g)
{
    AmdPspState *s = c->s;

    if (!g->asid) {
        return;
    }
    amd_snp_key_destroy(c->h, g->asid);
    s->asid_owner[g->asid] = NULL;
    s->asid_dirty[g->asid] = true;
    g->asid = 0;
    amd_snp_host_want_wbinvd(c->h);
    c->flush = true;
}

void psp_asids_dirty(PspCall *c)
{
    for (int i = 0; i <= AMD_SNP_MAX_ASID; i++) {
        c->s->asid_dirty[i] = !c->s->asid_owner[i];
    }
    amd_snp_host_want_wbinvd(c->h);
}

PspStatus psp_df_flush(PspCall *c)
{
    if (!amd_snp_host_wbinvd_done(c->h)) {
        return psp_refuse(c, PSP_WBINVD_REQUIRED,
                          "not every CPU has done WBINVD since the platform "
                          "was initialised or an ASID was taken away");
    }
    memset(c->s->asid_dirty, 0, sizeof(c->s->asid_dirty));
    return PSP_SUCCESS;
}

bool psp_smt(AmdPspState *s)
{
    return s->smt == ON_OFF_AUTO_ON ||
           (s->smt == ON_OFF_AUTO_AUTO && current_machine->smp.threads > 1);
}

static PspStatus guest_by_handle(PspCall *c, PspGuest **g)
{
    uint32_t handle = psp_arg32(c, 0);

    *g = g_hash_table_lookup(c->s->guests, GUINT_TO_POINTER(handle));
    if (!*g) {
        return psp_refuse(c, PSP_INVALID_GUEST, "no guest has handle %u",
                          handle);
    }
    return PSP_SUCCESS;
}

static PspStatus guest_in_state(PspCall *c, PspGuest **g, unsigned states,
                                bool active)
{
    PspStatus status = guest_by_handle(c, g);

    if (status) {
        return status;
    }
    if (!(states & BIT((*g)->state))) {
        return psp_refuse(c, PSP_INVALID_GUEST_STATE,
                          "guest %u is in state %u, expected one of mask 0x%x",
                          (*g)->handle, (*g)->state, states);
    }
    if (active && !(*g)->asid) {
        return psp_refuse(c, PSP_INACTIVE, "guest %u has no ASID",
                          (*g)->handle);
    }
    return PSP_SUCCESS;
}

/* ---- Certificates ---- */

static bool cert_make(PspKey *key, unsigned usage, unsigned algo, uint8_t *cert)
{
    uint8_t q[PSP_ECC_LEN];

    memset(cert, 0, CERT_LEN);
    if (!psp_key_public(key, q)) {
        return false;
    }
    stl_le_p(cert + CERT_VERSION, 1);
    cert[4] = PSP_API_MAJOR;
    cert[5] = PSP_API_MINOR;
    stl_le_p(cert + CERT_USAGE, usage);
    stl_le_p(cert + CERT_ALGO, algo);
    stl_le_p(cert + CERT_CURVE, CURVE_P384);
    memcpy(cert + CERT_QX, q, sizeof(q));
    stl_le_p(cert + CERT_SIG1, USAGE_INVALID);
    stl_le_p(cert + CERT_SIG2, USAGE_INVALID);
    return true;
}

static bool cert_sign(uint8_t *cert, unsigned slot, PspKey *key, unsigned usage)
{
    stl_le_p(cert + slot, usage);
    stl_le_p(cert + slot + 4, ALGO_ECDSA_SHA384);
    return psp_sign(key, cert, CERT_SIGNED_LEN, cert + slot + 8);
}

static bool cert_check(PspCall *c, const uint8_t *cert, unsigned usage)
{
    return ldl_le_p(cert + CERT_VERSION) == 1 &&
           ldl_le_p(cert + CERT_USAGE) == usage &&
           ldl_le_p(cert + CERT_ALGO) == ALGO_ECDSA_SHA384 &&
           ldl_le_p(cert + CERT_CURVE) == CURVE_P384 &&
           ldl_le_p(cert + CERT_SIG1) == USAGE_OCA &&
           ldl_le_p(cert + CERT_SIG1 + 4) == ALGO_ECDSA_SHA384;
}

static PspStatus no_crypto(PspCall *c)
{
    return psp_refuse(c, PSP_UNSUPPORTED,
                      "QEMU is built without GnuTLS, which it takes for this");
}

/* Replace a key; the old one stays if that fails */
static bool renew(PspKey **key)
{
    PspKey *fresh = psp_key_new(NULL);

    if (!fresh) {
        return false;
    }
    psp_key_free(*key);
    *key = fresh;
    return true;
}

static PspStatus renew_keys(PspCall *c, bool oca_and_pek)
{
    AmdPspState *s = c->s;

    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    if (!renew(&s->pdh) ||
        (oca_and_pek && (!renew(&s->oca) || !renew(&s->pek)))) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "no key could be made");
    }
    if (oca_and_pek) {
        g_clear_pointer(&s->owner_certs, g_free);
    }
    return PSP_SUCCESS;
}

static PspStatus cmd_factory_reset(PspCall *c)
{
    return psp_crypto_available() ? renew_keys(c, true) : PSP_SUCCESS;
}

static PspStatus cmd_pek_gen(PspCall *c)
{
    return renew_keys(c, true);
}

static PspStatus cmd_pdh_gen(PspCall *c)
{
    return renew_keys(c, false);
}

/* Answer with the length that is needed, if @len is too short for it */
static bool length_query(PspCall *c, unsigned len_offset, uint32_t need)
{
    bool too_short = psp_arg32(c, len_offset) < need;

    stl_le_p(c->buf + len_offset, need);
    return too_short;
}

static PspStatus answer_lengths(PspCall *c)
{
    psp_write_buf(c, 0, c->cmd->len);
    c->query = true;
    return psp_refuse(c, PSP_INVALID_LEN, "answered with the length needed");
}

static PspStatus cmd_pek_csr(PspCall *c)
{
    uint8_t cert[CERT_LEN];
    uint64_t addr = psp_arg_addr(c, 0);
    PspStatus status;

    if (length_query(c, 8, CERT_LEN)) {
        return answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    status = psp_check_output(c, "the CSR", addr, CERT_LEN);
    if (status) {
        return status;
    }
    if (!cert_make(c->s->pek, USAGE_PEK, ALGO_ECDSA_SHA384, cert)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "no key to certify");
    }
    psp_write(c, addr, AMD_SNP_KEY_NONE, cert, CERT_LEN);
    psp_write_buf(c, 8, 4);
    return PSP_SUCCESS;
}

static PspStatus cmd_pek_cert_import(PspCall *c)
{
    AmdPspState *s = c->s;
    g_autofree uint8_t *certs = g_malloc(2 * CERT_LEN);
    uint8_t *pek = certs, *oca = certs + CERT_LEN;
    uint8_t q[PSP_ECC_LEN];

    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    if (s->owner_certs) {
        return psp_refuse(c, PSP_ALREADY_OWNED,
                          "certificates of an owner were imported before");
    }
    if (psp_arg32(c, 8) != CERT_LEN || psp_arg32(c, 24) != CERT_LEN) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "certificates of 0x%x and 0x%x bytes, expected 0x%x",
                          psp_arg32(c, 8), psp_arg32(c, 24), CERT_LEN);
    }
    if (!psp_read(c, psp_arg_addr(c, 0), AMD_SNP_KEY_NONE, pek, CERT_LEN) ||
        !psp_read(c, psp_arg_addr(c, 16), AMD_SNP_KEY_NONE, oca, CERT_LEN)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "a certificate is not in memory");
    }
    if (!cert_check(c, pek, USAGE_PEK) || !cert_check(c, oca, USAGE_OCA) ||
        !psp_key_public(s->pek, q) ||
        memcmp(pek + CERT_QX, q, sizeof(q))) {
        return psp_refuse(c, PSP_INVALID_CERTIFICATE,
                          "not a certificate of this platform's PEK by an OCA");
    }
    if (!psp_verify(oca + CERT_QX, oca, CERT_SIGNED_LEN, oca + CERT_SIG1 + 8) ||
        !psp_verify(oca + CERT_QX, pek, CERT_SIGNED_LEN, pek + CERT_SIG1 + 8)) {
        return psp_refuse(c, PSP_BAD_SIGNATURE, "not signed by the OCA");
    }
    s->owner_certs = g_steal_pointer(&certs);
    return renew_keys(c, false);
}

static PspStatus cmd_pdh_cert_export(PspCall *c)
{
    AmdPspState *s = c->s;
    uint64_t pdh_addr = psp_arg_addr(c, 0), chain_addr = psp_arg_addr(c, 16);
    g_autofree uint8_t *certs = g_malloc(4 * CERT_LEN);
    uint8_t *pdh = certs, *pek = certs + CERT_LEN;
    uint8_t *oca = certs + 2 * CERT_LEN, *cek = certs + 3 * CERT_LEN;
    bool short1 = length_query(c, 8, CERT_LEN);
    bool short2 = length_query(c, 24, 3 * CERT_LEN);
    PspStatus status;

    if (short1 || short2) {
        return answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    status = psp_check_output(c, "the PDH certificate", pdh_addr, CERT_LEN);
    if (!status) {
        status = psp_check_output(c, "the certificate chain", chain_addr,
                                  3 * CERT_LEN);
    }
    if (status) {
        return status;
    }
    if (pdh_addr < chain_addr + 3 * CERT_LEN &&
        chain_addr < pdh_addr + CERT_LEN) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "certificate and chain overlap");
    }
    if (!cert_make(s->pdh, USAGE_PDH, ALGO_ECDH_SHA384, pdh) ||
        !cert_sign(pdh, CERT_SIG1, s->pek, USAGE_PEK) ||
        !cert_make(s->cek, USAGE_CEK, ALGO_ECDSA_SHA384, cek)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "signing failed");
    }
    if (s->owner_certs) {
        memcpy(pek, s->owner_certs, 2 * CERT_LEN);
    } else if (!cert_make(s->pek, USAGE_PEK, ALGO_ECDSA_SHA384, pek) ||
               !cert_make(s->oca, USAGE_OCA, ALGO_ECDSA_SHA384, oca) ||
               !cert_sign(oca, CERT_SIG1, s->oca, USAGE_OCA) ||
               !cert_sign(pek, CERT_SIG1, s->oca, USAGE_OCA)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "signing failed");
    }
    if (!cert_sign(pek, CERT_SIG2, s->cek, USAGE_CEK)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "signing failed");
    }
    psp_write(c, pdh_addr, AMD_SNP_KEY_NONE, pdh, CERT_LEN);
    psp_write(c, chain_addr, AMD_SNP_KEY_NONE, pek, 3 * CERT_LEN);
    psp_write_buf(c, 0, c->cmd->len);
    return PSP_SUCCESS;
}

/* ---- Platform ---- */

static unsigned sev_state(AmdPspState *s)
{
    if (s->sev_state == SEV_INIT && g_hash_table_size(s->guests)) {
        return SEV_WORKING;
    }
    return s->sev_state;
}

static PspStatus init(PspCall *c, uint32_t flags, uint64_t tmr, uint32_t len)
{
    AmdPspState *s = c->s;
    uint32_t need = s->snp_init ? SNP_TMR_SIZE : SEV_TMR_SIZE;
    PspStatus status;

    if (flags & 1) {
        if (len < need) {
            return psp_refuse(c, PSP_INVALID_LEN,
                              "TMR of 0x%x bytes, expected 0x%x", len, need);
        }
        if (tmr % need) {
            return psp_refuse(c, PSP_INVALID_ADDRESS,
                              "TMR at 0x%" PRIx64 ", expected a multiple of "
                              "0x%x", tmr, need);
        }
        status = psp_check_output(c, "the TMR", tmr, need);
        if (status) {
            return status;
        }
    }
    s->sev_state = SEV_INIT;
    s->sev_es = flags & 1;
    psp_asids_dirty(c);
    return PSP_SUCCESS;
}

static PspStatus cmd_init(PspCall *c)
{
    return init(c, psp_arg32(c, 0), psp_arg_addr(c, 8), psp_arg32(c, 16));
}

static PspStatus cmd_init_ex(PspCall *c)
{
    PspStatus status;

    if (psp_arg32(c, 0) != c->cmd->len) {
        return psp_refuse(c, PSP_INVALID_LEN, "length %u, expected %u",
                          psp_arg32(c, 0), c->cmd->len);
    }
    if (psp_arg32(c, 32) != SEV_NV_SIZE) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "NV storage of 0x%x bytes, expected 0x%x",
                          psp_arg32(c, 32), (int)SEV_NV_SIZE);
    }
    if (psp_arg_addr(c, 24) % PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "NV storage is not aligned to a page");
    }
    /* Nothing is kept there: no state of this firmware outlives the machine */
    status = psp_check_output(c, "NV storage", psp_arg_addr(c, 24),
                              SEV_NV_SIZE);
    if (status) {
        return status;
    }
    return init(c, psp_arg32(c, 4), psp_arg_addr(c, 8), psp_arg32(c, 16));
}

static gboolean drop_guest(gpointer key, gpointer value, gpointer opaque)
{
    psp_asid_release(opaque, value);
    return true;
}

static PspStatus cmd_shutdown(PspCall *c)
{
    g_hash_table_foreach_remove(c->s->guests, drop_guest, c);
    c->s->sev_state = SEV_UNINIT;
    c->s->sev_es = false;
    return PSP_SUCCESS;
}

static PspStatus cmd_platform_status(PspCall *c)
{
    c->buf[0] = PSP_API_MAJOR;
    c->buf[1] = PSP_API_MINOR;
    c->buf[2] = sev_state(c->s);
    /* Bit 0: owned by another than the platform; bit 8: SEV-ES */
    stl_le_p(c->buf + 3, (c->s->owner_certs ? 1 : 0) |
                          c->s->sev_es << 8);
    c->buf[7] = PSP_BUILD;
    stl_le_p(c->buf + 8, g_hash_table_size(c->s->guests));
    psp_write_buf(c, 0, c->cmd->len);
    return PSP_SUCCESS;
}

static PspStatus cmd_get_id(PspCall *c)
{
    uint64_t addr = psp_arg_addr(c, 0);
    PspStatus status;

    if (length_query(c, 8, SEV_ID_LEN)) {
        return answer_lengths(c);
    }
    status = psp_check_output(c, "the ID", addr, SEV_ID_LEN);
    if (status) {
        return status;
    }
    psp_write(c, addr, AMD_SNP_KEY_NONE, c->s->chip_id, SEV_ID_LEN);
    psp_write_buf(c, 8, 4);
    return PSP_SUCCESS;
}

static PspStatus cmd_download_firmware(PspCall *c)
{
    if (c->s->snp_init) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE, "SNP is initialised");
    }
    if (!psp_is_ram(c->h, psp_arg_addr(c, 0), psp_arg32(c, 8))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS, "no image in memory");
    }
    /* Only AMD could sign one, and there is nothing here to run it */
    return psp_refuse(c, PSP_BAD_SIGNATURE, "no image is signed for this part");
}

/* ---- Guests ---- */

static PspStatus cmd_decommission(PspCall *c)
{
    PspGuest *g;
    PspStatus status = guest_by_handle(c, &g);

    if (status) {
        return status;
    }
    if (g->asid) {
        return psp_refuse(c, PSP_ACTIVE, "guest %u has ASID %u: DEACTIVATE "
                          "first", g->handle, g->asid);
    }
    g_hash_table_remove(c->s->guests, GUINT_TO_POINTER(g->handle));
    return PSP_SUCCESS;
}

static PspStatus cmd_activate(PspCall *c)
{
    PspGuest *g;
    PspStatus status = guest_by_handle(c, &g);
    bool es;

    if (status) {
        return status;
    }
    es = g->policy & SEV_POLICY_ES;
    return psp_asid_bind(c, g, psp_arg32(c, 4), es ? 1 : AMD_SNP_MIN_SEV_ASID,
                         es ? AMD_SNP_MIN_SEV_ASID - 1 : AMD_SNP_MAX_ASID);
}

static PspStatus cmd_deactivate(PspCall *c)
{
    PspGuest *g;
    PspStatus status = guest_by_handle(c, &g);

    if (status) {
        return status;
    }
    if (!g->asid) {
        return psp_refuse(c, PSP_INACTIVE, "guest %u has no ASID", g->handle);
    }
    psp_asid_release(c, g);
    return PSP_SUCCESS;
}

static PspStatus cmd_guest_status(PspCall *c)
{
    PspGuest *g;
    PspStatus status = guest_by_handle(c, &g);

    if (status) {
        return status;
    }
    stl_le_p(c->buf + 4, g->policy);
    stl_le_p(c->buf + 8, g->asid);
    c->buf[12] = g->state;
    psp_write_buf(c, 0, c->cmd->len);
    return PSP_SUCCESS;
}

static PspStatus cmd_launch_start(PspCall *c)
{
    AmdPspState *s = c->s;
    uint32_t policy = psp_arg32(c, 4);
    PspGuest *g;

    if (psp_arg32(c, 0)) {
        return psp_refuse(c, PSP_UNSUPPORTED,
                          "handle %u: sharing a key is not modelled",
                          psp_arg32(c, 0));
    }
    if (psp_arg64(c, 8) || psp_arg32(c, 16) || psp_arg64(c, 24) ||
        psp_arg32(c, 32)) {
        return psp_refuse(c, PSP_UNSUPPORTED, "sessions are not modelled");
    }
    if (policy & SEV_POLICY_RESERVED) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%x has reserved bits set", policy);
    }
    if ((extract32(policy, 16, 8) << 8 | extract32(policy, 24, 8)) >
        (PSP_API_MAJOR << 8 | PSP_API_MINOR)) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%x asks for API %u.%u, this is %u.%u",
                          policy, extract32(policy, 16, 8),
                          extract32(policy, 24, 8), PSP_API_MAJOR,
                          PSP_API_MINOR);
    }
    if ((policy & SEV_POLICY_ES) && !s->sev_es) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%x asks for SEV-ES, INIT was without it",
                          policy);
    }
    if (psp_guests_full(s)) {
        return psp_refuse(c, PSP_RESOURCE_LIMIT, "%u guests exist",
                          PSP_MAX_GUESTS);
    }
    g = psp_guest_new(s, false);
    do {
        g->handle = s->next_handle++;
    } while (!g->handle ||
             g_hash_table_contains(s->guests, GUINT_TO_POINTER(g->handle)));
    g->policy = policy;
    g->state = SEV_GUEST_LUPDATE;
    g_hash_table_insert(s->guests, GUINT_TO_POINTER(g->handle), g);
    stl_le_p(c->buf, g->handle);
    psp_write_buf(c, 0, 4);
    return PSP_SUCCESS;
}

/*
 * Encrypt in place, and measure. Of a page that is not covered as a whole and
 * has the guest's key already, that key gives the content.
 */
static void encrypt_range(PspCall *c, PspGuest *g, uint64_t pa, uint64_t len)
{
    uint8_t page[PSP_PAGE];

    while (len) {
        uint64_t base = QEMU_ALIGN_DOWN(pa, PSP_PAGE);
        size_t l = MIN(len, PSP_PAGE - (pa - base));
        bool own = l < PSP_PAGE && amd_snp_key(c->h, base) == g->asid;

        psp_read(c, base, own ? g->asid : AMD_SNP_KEY_NONE, page, PSP_PAGE);
        g_checksum_update(g->digest, page + (pa - base), l);
        psp_write(c, base, g->asid, page, PSP_PAGE);
        pa += l;
        len -= l;
    }
}

static PspStatus cmd_launch_update_data(PspCall *c)
{
    uint64_t pa = psp_arg_addr(c, 8);
    uint32_t len = psp_arg32(c, 16);
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LUPDATE), true);

    if (status) {
        return status;
    }
    if (!len || len % 16) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "0x%x bytes, expected a multiple of 16", len);
    }
    if (pa % 16) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no multiple of 16", pa);
    }
    status = psp_check_output(c, "guest memory", pa, len);
    if (status) {
        return status;
    }
    encrypt_range(c, g, pa, len);
    return PSP_SUCCESS;
}

static PspStatus cmd_launch_update_vmsa(PspCall *c)
{
    uint64_t pa = psp_arg_addr(c, 8);
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LUPDATE), true);

    if (status) {
        return status;
    }
    if (!(g->policy & SEV_POLICY_ES)) {
        return psp_refuse(c, PSP_POLICY_FAILURE, "guest %u is no SEV-ES guest",
                          g->handle);
    }
    if (psp_arg32(c, 16) != PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_LEN, "0x%x bytes, expected 0x%x",
                          psp_arg32(c, 16), PSP_PAGE);
    }
    if (pa % PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "VMSA at 0x%" PRIx64 " is not aligned to a page", pa);
    }
    status = psp_check_output(c, "the VMSA", pa, PSP_PAGE);
    if (status) {
        return status;
    }
    encrypt_range(c, g, pa, PSP_PAGE);
    return PSP_SUCCESS;
}

static void get_digest(PspGuest *g, uint8_t digest[32])
{
    GChecksum *sum = g_checksum_copy(g->digest);
    gsize n = 32;

    g_checksum_get_digest(sum, digest, &n);
    g_checksum_free(sum);
}

static PspStatus cmd_launch_measure(PspCall *c)
{
    uint64_t addr = psp_arg_addr(c, 8);
    uint8_t in[56], out[SEV_MEASURE_LEN];
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LUPDATE), false);

    if (status) {
        return status;
    }
    if (length_query(c, 16, SEV_MEASURE_LEN)) {
        return answer_lengths(c);
    }
    status = psp_check_output(c, "the measurement", addr, SEV_MEASURE_LEN);
    if (status) {
        return status;
    }
    in[0] = 4;
    in[1] = PSP_API_MAJOR;
    in[2] = PSP_API_MINOR;
    in[3] = PSP_BUILD;
    stl_le_p(in + 4, g->policy);
    get_digest(g, in + 8);
    qemu_guest_getrandom_nofail(out + 32, 16);
    memcpy(in + 40, out + 32, 16);
    psp_hmac_sha256(g->tik, sizeof(g->tik), in, sizeof(in), out);
    memcpy(g->measure, out, sizeof(g->measure));
    psp_write(c, addr, AMD_SNP_KEY_NONE, out, sizeof(out));
    psp_write_buf(c, 16, 4);
    g->state = SEV_GUEST_LSECRET;
    return PSP_SUCCESS;
}

static PspStatus cmd_launch_update_secret(PspCall *c)
{
    uint32_t guest_len = psp_arg32(c, 32), trans_len = psp_arg32(c, 48);
    uint64_t guest = psp_arg_addr(c, 24);
    uint8_t hdr[SEV_SECRET_HDR_LEN], mac[32];
    g_autofree uint8_t *in = NULL;
    uint8_t *data;
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LSECRET), true);

    if (status) {
        return status;
    }
    if (psp_arg32(c, 16) != SEV_SECRET_HDR_LEN || !guest_len ||
        guest_len % 16 || guest_len > SEV_SECRET_MAX ||
        trans_len != guest_len) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "header 0x%x, guest 0x%x, transport 0x%x bytes; "
                          "expected 0x%x and twice a multiple of 16 up to 0x%x",
                          psp_arg32(c, 16), guest_len, trans_len,
                          SEV_SECRET_HDR_LEN, (int)SEV_SECRET_MAX);
    }
    if (guest % 16) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no multiple of 16", guest);
    }
    status = psp_check_output(c, "guest memory", guest, guest_len);
    if (status) {
        return status;
    }
    /* 1, flags, IV, lengths, data, measurement */
    in = g_malloc(61 + trans_len);
    data = in + 29;
    if (!psp_read(c, psp_arg_addr(c, 8), AMD_SNP_KEY_NONE, hdr, sizeof(hdr)) ||
        !psp_read(c, psp_arg_addr(c, 40), AMD_SNP_KEY_NONE, data, trans_len)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "header or secret is not in memory");
    }
    if (ldl_le_p(hdr)) {
        return psp_refuse(c, PSP_UNSUPPORTED,
                          "flags 0x%x: compression is not modelled",
                          ldl_le_p(hdr));
    }
    in[0] = 1;
    memcpy(in + 1, hdr, 20);
    stl_le_p(in + 21, guest_len);
    stl_le_p(in + 25, trans_len);
    memcpy(data + trans_len, g->measure, sizeof(g->measure));
    psp_hmac_sha256(g->tik, sizeof(g->tik), in, 61 + trans_len, mac);
    if (memcmp(mac, hdr + 20, sizeof(mac))) {
        return psp_refuse(c, PSP_BAD_MEASUREMENT, "wrong MAC");
    }
    psp_aes128_ctr(g->tek, hdr + 4, data, trans_len);
    psp_write(c, guest, g->asid, data, guest_len);
    return PSP_SUCCESS;
}

static PspStatus cmd_launch_finish(PspCall *c)
{
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LSECRET), true);

    if (!status) {
        g->state = SEV_GUEST_RUNNING;
    }
    return status;
}

static PspStatus cmd_attestation_report(PspCall *c)
{
    uint64_t addr = psp_arg_addr(c, 8);
    uint8_t out[SEV_REPORT_LEN] = { 0 };
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LSECRET) |
                                             BIT(SEV_GUEST_RUNNING), false);

    if (status) {
        return status;
    }
    if (length_query(c, 32, SEV_REPORT_LEN)) {
        return answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    status = psp_check_output(c, "the report", addr, SEV_REPORT_LEN);
    if (status) {
        return status;
    }
    memcpy(out, c->buf + 16, 16);
    get_digest(g, out + 16);
    stl_le_p(out + 48, g->policy);
    stl_le_p(out + 52, USAGE_PEK);
    stl_le_p(out + 56, ALGO_ECDSA_SHA384);
    if (!psp_sign(c->s->pek, out, 52, out + 64)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "signing failed");
    }
    psp_write(c, addr, AMD_SNP_KEY_NONE, out, sizeof(out));
    psp_write_buf(c, 32, 4);
    return PSP_SUCCESS;
}

static PspStatus debug(PspCall *c, bool decrypt)
{
    uint64_t src = psp_arg_addr(c, 8), dst = psp_arg_addr(c, 16);
    uint32_t len = psp_arg32(c, 24);
    uint8_t page[PSP_PAGE];
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, ~0u, true);

    if (status) {
        return status;
    }
    if (g->policy & SEV_POLICY_NODBG) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "the policy of guest %u forbids debugging",
                          g->handle);
    }
    if (!len || len % 16) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "0x%x bytes, expected a multiple of 16", len);
    }
    if (src % 16 || dst % 16) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " or 0x%" PRIx64 " is no multiple of 16",
                          src, dst);
    }
    if (!psp_is_ram(c->h, src, len)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "source 0x%" PRIx64 " is not in memory", src);
    }
    status = psp_check_output(c, "the destination", dst, len);
    if (status) {
        return status;
    }
    if (src < dst + len && dst < src + len) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "source and destination overlap");
    }
    while (len) {
        uint32_t l = MIN(len, PSP_PAGE);

        psp_read(c, src, decrypt ? g->asid : AMD_SNP_KEY_NONE, page, l);
        psp_write(c, dst, decrypt ? AMD_SNP_KEY_NONE : g->asid, page, l);
        src += l;
        dst += l;
        len -= l;
    }
    return PSP_SUCCESS;
}

static PspStatus cmd_dbg_decrypt(PspCall *c)
{
    return debug(c, true);
}

static PspStatus cmd_dbg_encrypt(PspCall *c)
{
    return debug(c, false);
}

static PspStatus cmd_absent(PspCall *c)
{
    return psp_refuse(c, PSP_UNSUPPORTED, "not modelled");
}


static const PspCommand sev_commands[] = {
    { 0x001, "INIT", 20, IN_UNINIT, .handler = cmd_init,
      RESERVED({ 0, ~1u }, { 4, ~0u }) },
    { 0x002, "SHUTDOWN", 0, IN_ANY, .handler = cmd_shutdown },
    { 0x003, "FACTORY_RESET", 0, IN_UNINIT, .handler = cmd_factory_reset },
    { 0x004, "PLATFORM_STATUS", 12, IN_ANY, .writes = true,
      .handler = cmd_platform_status },
    { 0x005, "PEK_GEN", 0, IN_INIT, .handler = cmd_pek_gen },
    { 0x006, "PEK_CSR", 12, IN_READY, .writes = true, .handler = cmd_pek_csr },
    { 0x007, "PEK_CERT_IMPORT", 28, IN_INIT, .handler = cmd_pek_cert_import,
      RESERVED({ 12, ~0u }) },
    { 0x008, "PDH_CERT_EXPORT", 28, IN_READY, .writes = true,
      .handler = cmd_pdh_cert_export, RESERVED({ 12, ~0u }) },
    { 0x009, "PDH_GEN", 0, IN_READY, .handler = cmd_pdh_gen },
    { 0x00a, "DF_FLUSH", 0, IN_READY, .handler = psp_df_flush },
    { 0x00b, "DOWNLOAD_FIRMWARE", 12, IN_UNINIT | IN_INIT,
      .handler = cmd_download_firmware },
    { 0x00c, "GET_ID", 12, IN_ANY, .writes = true, .handler = cmd_get_id },
    { 0x00d, "INIT_EX", 36, IN_UNINIT, .handler = cmd_init_ex,
      RESERVED({ 4, ~1u }, { 20, ~0u }) },
    { 0x020, "DECOMMISSION", 4, IN_READY, .handler = cmd_decommission },
    { 0x021, "ACTIVATE", 8, IN_READY, .handler = cmd_activate },
    { 0x022, "DEACTIVATE", 4, IN_READY, .handler = cmd_deactivate },
    { 0x023, "GUEST_STATUS", 13, IN_READY, .writes = true,
      .handler = cmd_guest_status },
    { 0x024, "COPY", 0, IN_READY, .handler = cmd_absent },
    { 0x030, "LAUNCH_START", 36, IN_READY, .writes = true,
      .handler = cmd_launch_start, RESERVED({ 20, ~0u }) },
    { 0x031, "LAUNCH_UPDATE_DATA", 20, IN_READY,
      .handler = cmd_launch_update_data, RESERVED({ 4, ~0u }) },
    { 0x032, "LAUNCH_UPDATE_VMSA", 20, IN_READY,
      .handler = cmd_launch_update_vmsa, RESERVED({ 4, ~0u }) },
    { 0x033, "LAUNCH_MEASURE", 20, IN_READY, .writes = true,
      .handler = cmd_launch_measure, RESERVED({ 4, ~0u }) },
    { 0x034, "LAUNCH_UPDATE_SECRET", 52, IN_READY,
      .handler = cmd_launch_update_secret,
      RESERVED({ 4, ~0u }, { 20, ~0u }, { 36, ~0u }) },
    { 0x035, "LAUNCH_FINISH", 4, IN_READY, .handler = cmd_launch_finish },
    { 0x036, "ATTESTATION_REPORT", 36, IN_READY, .writes = true,
      .handler = cmd_attestation_report, RESERVED({ 4, ~0u }) },
    { 0x040, "SEND_START", 64, IN_READY, .handler = cmd_absent },
    { 0x041, "SEND_UPDATE_DATA", 52, IN_READY, .handler = cmd_absent },
    { 0x042, "SEND_UPDATE_VMSA", 48, IN_READY, .handler = cmd_absent },
    { 0x043, "SEND_FINISH", 4, IN_READY, .handler = cmd_absent },
    { 0x044, "SEND_CANCEL", 4, IN_READY, .handler = cmd_absent },
    { 0x050, "RECEIVE_START", 36, IN_READY, .handler = cmd_absent },
    { 0x051, "RECEIVE_UPDATE_DATA", 52, IN_READY, .handler = cmd_absent },
    { 0x052, "RECEIVE_UPDATE_VMSA", 52, IN_READY, .handler = cmd_absent },
    { 0x053, "RECEIVE_FINISH", 4, IN_READY, .handler = cmd_absent },
    { 0x060, "DBG_DECRYPT", 28, IN_READY, .handler = cmd_dbg_decrypt,
      RESERVED({ 4, ~0u }) },
    { 0x061, "DBG_ENCRYPT", 28, IN_READY, .handler = cmd_dbg_encrypt,
      RESERVED({ 4, ~0u }) },
};

/* ---- Dispatch ---- */

static const PspCommand *command_at(unsigned i)
{
    if (i < ARRAY_SIZE(sev_commands)) {
        return &sev_commands[i];
    }
    i -= ARRAY_SIZE(sev_commands);
    return i < psp_n_snp_commands ? &psp_snp_commands[i] : NULL;
}

PspCall *psp_fw_fetch(AmdPspState *s, unsigned id, uint64_t addr)
{
    PspCall *c = g_new0(PspCall, 1);
    const PspCommand *cmd;

    c->s = s;
    c->h = s->host;
    c->id = id;
    c->addr = addr & ~AMD_SNP_CBIT;
    for (unsigned i = 0; (cmd = command_at(i)) && cmd->id != id; i++) {
        /* next */
    }
    c->cmd = cmd;
    if (cmd && cmd->len) {
        QEMU_LOCK_GUARD(&c->h->lock);
        c->readable = psp_read(c, c->addr, AMD_SNP_KEY_NONE, c->buf, cmd->len);
    }
    return c;
}

void psp_fw_free(PspCall *c)
{
    if (c) {
        g_free(c->why);
        g_free(c);
    }
}

const char *psp_fw_name(PspCall *c)
{
    return c->cmd ? c->cmd->name : "unknown";
}

static bool inject(PspCall *c, unsigned *status)
{
    GArray *fail = c->s->fail;
    bool hit = false;

    for (guint i = 0; i < fail->len; ) {
        PspFail *f = &g_array_index(fail, PspFail, i);

        if (f->cmd == c->cmd && --f->nth == 0) {
            *status = f->status;
            hit = true;
            g_array_remove_index(fail, i);
        } else {
            i++;
        }
    }
    return hit;
}

static PspStatus run(PspCall *c)
{
    const PspCommand *cmd = c->cmd;
    AmdPspState *s = c->s;
    unsigned state;

    if (cmd->len && !c->readable) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "the command buffer at 0x%" PRIx64 " is not in "
                          "memory", c->addr);
    }
    for (const PspReserved *r = cmd->reserved; r && r->mask; r++) {
        if (psp_arg32(c, r->offset) & r->mask) {
            return psp_refuse(c, PSP_INVALID_PARAM,
                              "0x%x at 0x%x of the command buffer has reserved "
                              "bits set (0x%x)", psp_arg32(c, r->offset),
                              r->offset, r->mask);
        }
    }
    state = cmd->snp ? s->snp_init : sev_state(s);
    if (!(cmd->states & BIT(state))) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE,
                          "%s is in state %u, expected one of mask 0x%x",
                          cmd->snp ? "SNP" : "the platform", state,
                          cmd->states);
    }
    if (cmd->writes) {
        PspStatus status = psp_check_output(c, "the command buffer", c->addr,
                                            cmd->len);

        if (status) {
            return status;
        }
    }
    return cmd->handler(c);
}

unsigned psp_fw_run(PspCall *c, bool *flush)
{
    AmdPspState *s = c->s;
    PspCounter *counter;
    unsigned status;

    amd_snp_host_count(s->host, AMD_SNP_STAT_COMMANDS);
    if (!c->cmd) {
        amd_snp_host_error(s->host, AMD_SNP_ERR_FIRMWARE,
                           "there is no command 0x%x (status 0x%x)", c->id,
                           PSP_INVALID_COMMAND);
        return PSP_INVALID_COMMAND;
    }
    counter = &s->counter[c->cmd->id];
    counter->done++;
    if (inject(c, &status)) {
        counter->injected++;
        trace_amd_psp_inject(c->cmd->name, status);
        return status;
    }
    WITH_QEMU_LOCK_GUARD(&s->host->lock) {
        status = run(c);
    }
    if (status && !c->query) {
        counter->refused++;
        amd_snp_host_error(s->host, AMD_SNP_ERR_FIRMWARE,
                           "%s: %s (status 0x%x)", c->cmd->name, c->why,
                           status);
    }
    *flush = c->flush;
    return status;
}

/* ---- Properties ---- */

static bool parse_fail(const char *text, PspFail *f, Error **errp)
{
    g_auto(GStrv) part = g_strsplit(text, ":", -1);
    const PspCommand *cmd = NULL;
    uint64_t nth, status;

    if (g_strv_length(part) != 3) {
        error_setg(errp, "amd-psp: fail has \"%s\", expected COMMAND:N:STATUS "
                   "as in SNP_LAUNCH_UPDATE:3:0x16", text);
        return false;
    }
    for (unsigned i = 0; (cmd = command_at(i)); i++) {
        if (!strcmp(cmd->name, part[0])) {
            break;
        }
    }
    if (!cmd) {
        error_setg(errp, "amd-psp: fail has command \"%s\", expected a name "
                   "such as LAUNCH_FINISH or SNP_PAGE_RECLAIM", part[0]);
        return false;
    }
    if (qemu_strtou64(part[1], NULL, 0, &nth) || nth < 1 ||
        nth > UINT32_MAX) {
        error_setg(errp, "amd-psp: fail has \"%s\" for the N of %s, expected a "
                   "number from 1 on", part[1], part[0]);
        return false;
    }
    if (qemu_strtou64(part[2], NULL, 0, &status) || status < 1 ||
        status > UINT16_MAX) {
        error_setg(errp, "amd-psp: fail has status \"%s\" for %s, expected a "
                   "number from 1 to 0xffff", part[2], part[0]);
        return false;
    }
    f->cmd = cmd;
    f->nth = nth;
    f->status = status;
    return true;
}

bool psp_fw_set_fail(AmdPspState *s, const char *spec, Error **errp)
{
    g_auto(GStrv) item = g_strsplit(spec, ",", -1);
    GArray *fail = g_array_new(false, false, sizeof(PspFail));

    for (int i = 0; item[i]; i++) {
        PspFail f;

        if (!parse_fail(item[i], &f, errp)) {
            g_array_free(fail, true);
            return false;
        }
        g_array_append_val(fail, f);
    }
    g_array_free(s->fail, true);
    s->fail = fail;
    return true;
}

char *psp_fw_get_fail(AmdPspState *s)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < s->fail->len; i++) {
        PspFail *f = &g_array_index(s->fail, PspFail, i);

        g_string_append_printf(text, "%s%s:%u:0x%x", i ? "," : "",
                               f->cmd->name, f->nth, f->status);
    }
    return g_string_free(text, false);
}

char *psp_fw_counters(AmdPspState *s)
{
    GString *text = g_string_new(NULL);
    const PspCommand *cmd;

    for (unsigned i = 0; (cmd = command_at(i)); i++) {
        PspCounter *n = &s->counter[cmd->id];

        if (n->done) {
            g_string_append_printf(text, "%s%s:%" PRIu64 ":%" PRIu64 ":%"
                                   PRIu64, text->len ? "," : "", cmd->name,
                                   n->done, n->refused, n->injected);
        }
    }
    return g_string_free(text, false);
}

char *psp_fw_vcek_pem(AmdPspState *s)
{
    return psp_key_pem(s->vcek);
}

/* ---- Life ---- */

bool psp_fw_init(AmdPspState *s, Error **errp)
{
    g_autofree char *pem = NULL;
    g_autoptr(GError) gerr = NULL;

    qemu_guest_getrandom_nofail(s->chip_secret, sizeof(s->chip_secret));
    psp_hmac_sha256(s->chip_secret, sizeof(s->chip_secret), "id 0", 4,
                    s->chip_id);
    psp_hmac_sha256(s->chip_secret, sizeof(s->chip_secret), "id 1", 4,
                    s->chip_id + 32);
    if (psp_crypto_available()) {
        PspKey **keys[] = { &s->vcek, &s->cek, &s->oca, &s->pek, &s->pdh };

        for (int i = 0; i < ARRAY_SIZE(keys); i++) {
            *keys[i] = psp_key_new(errp);
            if (!*keys[i]) {
                psp_fw_cleanup(s);
                return false;
            }
        }
    } else {
        warn_report("amd-psp: QEMU is built without GnuTLS: SNP_GUEST_REQUEST, "
                    "ID blocks and certificates are refused (status 0x%x)",
                    PSP_UNSUPPORTED);
    }
    if (s->vcek_file) {
        pem = psp_key_pem(s->vcek);
        if (!pem) {
            error_setg(errp, "amd-psp: vcek-file needs a QEMU that is built "
                       "with GnuTLS");
            psp_fw_cleanup(s);
            return false;
        }
        if (!g_file_set_contents(s->vcek_file, pem, -1, &gerr)) {
            error_setg(errp, "amd-psp: vcek-file: %s", gerr->message);
            psp_fw_cleanup(s);
            return false;
        }
    }
    s->guests = g_hash_table_new_full(NULL, NULL, NULL,
                                      (GDestroyNotify)psp_guest_free);
    s->contexts = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                        (GDestroyNotify)psp_guest_free);
    return true;
}

void psp_fw_cleanup(AmdPspState *s)
{
    g_clear_pointer(&s->vcek, psp_key_free);
    g_clear_pointer(&s->cek, psp_key_free);
    g_clear_pointer(&s->oca, psp_key_free);
    g_clear_pointer(&s->pek, psp_key_free);
    g_clear_pointer(&s->pdh, psp_key_free);
    g_clear_pointer(&s->owner_certs, g_free);
    g_clear_pointer(&s->guests, g_hash_table_destroy);
    g_clear_pointer(&s->contexts, g_hash_table_destroy);
}

void psp_fw_reset(AmdPspState *s)
{
    g_hash_table_remove_all(s->guests);
    g_hash_table_remove_all(s->contexts);
    memset(s->asid_owner, 0, sizeof(s->asid_owner));
    memset(s->asid_dirty, 0, sizeof(s->asid_dirty));
    s->sev_state = SEV_UNINIT;
    s->sev_es = false;
    s->snp_init = false;
    s->next_handle = 1;
    s->reported_tcb = PSP_TCB;
    s->mask_chip_id = false;
    s->mask_chip_key = false;
}
