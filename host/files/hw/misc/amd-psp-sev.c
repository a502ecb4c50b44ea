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
#define SEV_SECRET_MAX          (16 * KiB)

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
    uint32_t handle = le32_to_cpu(PSP_BUF(c, SevCmdHandle)->handle);

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

static bool cert_make(PspKey *key, uint32_t usage, uint32_t algo, SevCert *cert)
{
    memset(cert, 0, sizeof(*cert));
    if (!psp_key_public(key, cert->pubkey.q)) {
        return false;
    }
    cert->version = cpu_to_le32(SEV_CERT_VERSION);
    cert->api_major = PSP_API_MAJOR;
    cert->api_minor = PSP_API_MINOR;
    cert->pubkey_usage = cpu_to_le32(usage);
    cert->pubkey_algo = cpu_to_le32(algo);
    cert->pubkey.curve = cpu_to_le32(SEV_CERT_CURVE_P384);
    cert->sig1.usage = cpu_to_le32(SEV_CERT_USAGE_INVALID);
    cert->sig2.usage = cpu_to_le32(SEV_CERT_USAGE_INVALID);
    return true;
}

/* @sig: one of the two signatures of @cert; @usage: that of @key */
static bool cert_sign(SevCert *cert, SevCertSig *sig, PspKey *key,
                      uint32_t usage)
{
    sig->usage = cpu_to_le32(usage);
    sig->algo = cpu_to_le32(SEV_CERT_ALGO_ECDSA_SHA384);
    return psp_sign(key, cert, SEV_CERT_SIGNED_LEN, sig->sig);
}

static bool cert_check(const SevCert *cert, uint32_t usage)
{
    return le32_to_cpu(cert->version) == SEV_CERT_VERSION &&
           le32_to_cpu(cert->pubkey_usage) == usage &&
           le32_to_cpu(cert->pubkey_algo) == SEV_CERT_ALGO_ECDSA_SHA384 &&
           le32_to_cpu(cert->pubkey.curve) == SEV_CERT_CURVE_P384 &&
           le32_to_cpu(cert->sig1.usage) == SEV_CERT_USAGE_OCA &&
           le32_to_cpu(cert->sig1.algo) == SEV_CERT_ALGO_ECDSA_SHA384;
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

/*
 * Put the length that is needed into the length field at @offset of the command
 * buffer; true if the host has less room than that.
 */
static bool length_query(PspCall *c, unsigned offset, uint32_t need)
{
    bool too_short = ldl_le_p(c->buf + offset) < need;

    stl_le_p(c->buf + offset, need);
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
    uint64_t addr = psp_addr(PSP_BUF(c, SevCmdPekCsr)->address);
    SevCert cert;
    PspStatus status;

    if (length_query(c, offsetof(SevCmdPekCsr, len), sizeof(cert))) {
        return answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    status = psp_check_output(c, "the CSR", addr, sizeof(cert));
    if (status) {
        return status;
    }
    if (!cert_make(c->s->pek, SEV_CERT_USAGE_PEK, SEV_CERT_ALGO_ECDSA_SHA384,
                   &cert)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "no key to certify");
    }
    psp_write(c, addr, AMD_SNP_KEY_NONE, &cert, sizeof(cert));
    PSP_WRITE_FIELD(c, SevCmdPekCsr, len);
    return PSP_SUCCESS;
}

static PspStatus cmd_pek_cert_import(PspCall *c)
{
    const SevCmdPekCertImport *cmd = PSP_BUF(c, SevCmdPekCertImport);
    AmdPspState *s = c->s;
    g_autofree SevCert *certs = g_new(SevCert, 2);
    SevCert *pek = &certs[0], *oca = &certs[1];
    uint8_t q[PSP_ECC_LEN];

    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    if (s->owner_certs) {
        return psp_refuse(c, PSP_ALREADY_OWNED,
                          "certificates of an owner were imported before");
    }
    if (le32_to_cpu(cmd->pek_cert_len) != sizeof(SevCert) ||
        le32_to_cpu(cmd->oca_cert_len) != sizeof(SevCert)) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "certificates of 0x%x and 0x%x bytes, expected 0x%zx",
                          le32_to_cpu(cmd->pek_cert_len),
                          le32_to_cpu(cmd->oca_cert_len), sizeof(SevCert));
    }
    if (!psp_read(c, psp_addr(cmd->pek_cert_address), AMD_SNP_KEY_NONE, pek,
                  sizeof(*pek)) ||
        !psp_read(c, psp_addr(cmd->oca_cert_address), AMD_SNP_KEY_NONE, oca,
                  sizeof(*oca))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "a certificate is not in memory");
    }
    if (!cert_check(pek, SEV_CERT_USAGE_PEK) ||
        !cert_check(oca, SEV_CERT_USAGE_OCA) ||
        !psp_key_public(s->pek, q) || memcmp(pek->pubkey.q, q, sizeof(q))) {
        return psp_refuse(c, PSP_INVALID_CERTIFICATE,
                          "not a certificate of this platform's PEK by an OCA");
    }
    if (!psp_verify(oca->pubkey.q, oca, SEV_CERT_SIGNED_LEN, oca->sig1.sig) ||
        !psp_verify(oca->pubkey.q, pek, SEV_CERT_SIGNED_LEN, pek->sig1.sig)) {
        return psp_refuse(c, PSP_BAD_SIGNATURE, "not signed by the OCA");
    }
    s->owner_certs = g_steal_pointer(&certs);
    return renew_keys(c, false);
}

static PspStatus cmd_pdh_cert_export(PspCall *c)
{
    const SevCmdPdhCertExport *cmd = PSP_BUF(c, SevCmdPdhCertExport);
    AmdPspState *s = c->s;
    uint64_t pdh_addr = psp_addr(cmd->pdh_cert_address);
    uint64_t chain_addr = psp_addr(cmd->cert_chain_address);
    g_autofree SevCert *pdh = g_new(SevCert, 1);
    g_autofree SevCertChain *chain = g_new(SevCertChain, 1);
    bool short1 = length_query(c, offsetof(SevCmdPdhCertExport, pdh_cert_len),
                               sizeof(*pdh));
    bool short2 = length_query(c, offsetof(SevCmdPdhCertExport, cert_chain_len),
                               sizeof(*chain));
    PspStatus status;

    if (short1 || short2) {
        return answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    status = psp_check_output(c, "the PDH certificate", pdh_addr, sizeof(*pdh));
    if (!status) {
        status = psp_check_output(c, "the certificate chain", chain_addr,
                                  sizeof(*chain));
    }
    if (status) {
        return status;
    }
    if (pdh_addr < chain_addr + sizeof(*chain) &&
        chain_addr < pdh_addr + sizeof(*pdh)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "certificate and chain overlap");
    }
    if (!cert_make(s->pdh, SEV_CERT_USAGE_PDH, SEV_CERT_ALGO_ECDH_SHA384,
                   pdh) ||
        !cert_sign(pdh, &pdh->sig1, s->pek, SEV_CERT_USAGE_PEK) ||
        !cert_make(s->cek, SEV_CERT_USAGE_CEK, SEV_CERT_ALGO_ECDSA_SHA384,
                   &chain->cek)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "signing failed");
    }
    if (s->owner_certs) {
        chain->pek = s->owner_certs[0];
        chain->oca = s->owner_certs[1];
    } else if (!cert_make(s->pek, SEV_CERT_USAGE_PEK,
                          SEV_CERT_ALGO_ECDSA_SHA384, &chain->pek) ||
               !cert_make(s->oca, SEV_CERT_USAGE_OCA,
                          SEV_CERT_ALGO_ECDSA_SHA384, &chain->oca) ||
               !cert_sign(&chain->oca, &chain->oca.sig1, s->oca,
                          SEV_CERT_USAGE_OCA) ||
               !cert_sign(&chain->pek, &chain->pek.sig1, s->oca,
                          SEV_CERT_USAGE_OCA)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "signing failed");
    }
    if (!cert_sign(&chain->pek, &chain->pek.sig2, s->cek,
                   SEV_CERT_USAGE_CEK)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "signing failed");
    }
    psp_write(c, pdh_addr, AMD_SNP_KEY_NONE, pdh, sizeof(*pdh));
    psp_write(c, chain_addr, AMD_SNP_KEY_NONE, chain, sizeof(*chain));
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

    if (flags & SEV_INIT_FLAG_ES) {
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
    s->sev_es = flags & SEV_INIT_FLAG_ES;
    psp_asids_dirty(c);
    return PSP_SUCCESS;
}

static PspStatus cmd_init(PspCall *c)
{
    const SevCmdInit *cmd = PSP_BUF(c, SevCmdInit);

    return init(c, le32_to_cpu(cmd->flags), psp_addr(cmd->tmr_address),
                le32_to_cpu(cmd->tmr_len));
}

static PspStatus cmd_init_ex(PspCall *c)
{
    const SevCmdInitEx *cmd = PSP_BUF(c, SevCmdInitEx);
    uint64_t nv = psp_addr(cmd->nv_address);
    PspStatus status;

    if (le32_to_cpu(cmd->length) != sizeof(*cmd)) {
        return psp_refuse(c, PSP_INVALID_LEN, "length %u, expected %zu",
                          le32_to_cpu(cmd->length), sizeof(*cmd));
    }
    if (le32_to_cpu(cmd->nv_len) != SEV_NV_SIZE) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "NV storage of 0x%x bytes, expected 0x%x",
                          le32_to_cpu(cmd->nv_len), (int)SEV_NV_SIZE);
    }
    if (nv % PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "NV storage is not aligned to a page");
    }
    /* Nothing is kept there: no state of this firmware outlives the machine */
    status = psp_check_output(c, "NV storage", nv, SEV_NV_SIZE);
    if (status) {
        return status;
    }
    return init(c, le32_to_cpu(cmd->flags), psp_addr(cmd->tmr_address),
                le32_to_cpu(cmd->tmr_len));
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
    AmdPspState *s = c->s;

    *PSP_BUF(c, SevCmdPlatformStatus) = (SevCmdPlatformStatus) {
        .api_major = PSP_API_MAJOR,
        .api_minor = PSP_API_MINOR,
        .state = sev_state(s),
        .flags = cpu_to_le32((s->owner_certs ? SEV_STATUS_FLAG_OWNED : 0) |
                             (s->sev_es ? SEV_STATUS_FLAG_ES : 0)),
        .build = PSP_BUILD,
        .guest_count = cpu_to_le32(g_hash_table_size(s->guests)),
    };
    psp_write_buf(c, 0, c->cmd->len);
    return PSP_SUCCESS;
}

static PspStatus cmd_get_id(PspCall *c)
{
    uint64_t addr = psp_addr(PSP_BUF(c, SevCmdGetId)->address);
    PspStatus status;

    if (length_query(c, offsetof(SevCmdGetId, len), SEV_ID_LEN)) {
        return answer_lengths(c);
    }
    status = psp_check_output(c, "the ID", addr, SEV_ID_LEN);
    if (status) {
        return status;
    }
    psp_write(c, addr, AMD_SNP_KEY_NONE, c->s->chip_id, SEV_ID_LEN);
    PSP_WRITE_FIELD(c, SevCmdGetId, len);
    return PSP_SUCCESS;
}

static PspStatus cmd_download_firmware(PspCall *c)
{
    const SevCmdDownloadFirmware *cmd = PSP_BUF(c, SevCmdDownloadFirmware);

    if (c->s->snp_init) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE, "SNP is initialised");
    }
    if (!psp_is_ram(c->h, psp_addr(cmd->address), le32_to_cpu(cmd->len))) {
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
    return psp_asid_bind(c, g, le32_to_cpu(PSP_BUF(c, SevCmdActivate)->asid),
                         es ? 1 : AMD_SNP_MIN_SEV_ASID,
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
    SevCmdGuestStatus *cmd = PSP_BUF(c, SevCmdGuestStatus);
    PspGuest *g;
    PspStatus status = guest_by_handle(c, &g);

    if (status) {
        return status;
    }
    cmd->policy = cpu_to_le32(g->policy);
    cmd->asid = cpu_to_le32(g->asid);
    cmd->state = g->state;
    psp_write_buf(c, 0, c->cmd->len);
    return PSP_SUCCESS;
}

static PspStatus cmd_launch_start(PspCall *c)
{
    SevCmdLaunchStart *cmd = PSP_BUF(c, SevCmdLaunchStart);
    AmdPspState *s = c->s;
    uint32_t policy = le32_to_cpu(cmd->policy);
    uint32_t major = SEV_POLICY_API_MAJOR(policy);
    uint32_t minor = SEV_POLICY_API_MINOR(policy);
    PspGuest *g;

    if (cmd->handle) {
        return psp_refuse(c, PSP_UNSUPPORTED,
                          "handle %u: sharing a key is not modelled",
                          le32_to_cpu(cmd->handle));
    }
    if (cmd->dh_cert_address || cmd->dh_cert_len || cmd->session_address ||
        cmd->session_len) {
        return psp_refuse(c, PSP_UNSUPPORTED, "sessions are not modelled");
    }
    if (policy & SEV_POLICY_RESERVED) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%x has reserved bits set", policy);
    }
    if ((major << 8 | minor) > (PSP_API_MAJOR << 8 | PSP_API_MINOR)) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%x asks for API %u.%u, this is %u.%u",
                          policy, major, minor, PSP_API_MAJOR, PSP_API_MINOR);
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
    cmd->handle = cpu_to_le32(g->handle);
    PSP_WRITE_FIELD(c, SevCmdLaunchStart, handle);
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
    const SevCmdLaunchUpdateData *cmd = PSP_BUF(c, SevCmdLaunchUpdateData);
    uint64_t pa = psp_addr(cmd->address);
    uint32_t len = le32_to_cpu(cmd->len);
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
    const SevCmdLaunchUpdateVmsa *cmd = PSP_BUF(c, SevCmdLaunchUpdateVmsa);
    uint64_t pa = psp_addr(cmd->address);
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LUPDATE), true);

    if (status) {
        return status;
    }
    if (!(g->policy & SEV_POLICY_ES)) {
        return psp_refuse(c, PSP_POLICY_FAILURE, "guest %u is no SEV-ES guest",
                          g->handle);
    }
    if (le32_to_cpu(cmd->len) != PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_LEN, "0x%x bytes, expected 0x%x",
                          le32_to_cpu(cmd->len), PSP_PAGE);
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
    uint64_t addr = psp_addr(PSP_BUF(c, SevCmdLaunchMeasure)->address);
    SevMeasurementInput in;
    SevMeasurement out;
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LUPDATE), false);

    if (status) {
        return status;
    }
    if (length_query(c, offsetof(SevCmdLaunchMeasure, len), sizeof(out))) {
        return answer_lengths(c);
    }
    status = psp_check_output(c, "the measurement", addr, sizeof(out));
    if (status) {
        return status;
    }
    in.context = SEV_MEASUREMENT_CONTEXT;
    in.api_major = PSP_API_MAJOR;
    in.api_minor = PSP_API_MINOR;
    in.build = PSP_BUILD;
    in.policy = cpu_to_le32(g->policy);
    get_digest(g, in.launch_digest);
    qemu_guest_getrandom_nofail(out.mnonce, sizeof(out.mnonce));
    memcpy(in.mnonce, out.mnonce, sizeof(in.mnonce));
    psp_hmac_sha256(g->tik, sizeof(g->tik), &in, sizeof(in), out.measure);
    memcpy(g->measure, out.measure, sizeof(g->measure));
    psp_write(c, addr, AMD_SNP_KEY_NONE, &out, sizeof(out));
    PSP_WRITE_FIELD(c, SevCmdLaunchMeasure, len);
    g->state = SEV_GUEST_LSECRET;
    return PSP_SUCCESS;
}

static PspStatus cmd_launch_update_secret(PspCall *c)
{
    const SevCmdLaunchSecret *cmd = PSP_BUF(c, SevCmdLaunchSecret);
    uint32_t hdr_len = le32_to_cpu(cmd->hdr_len);
    uint32_t guest_len = le32_to_cpu(cmd->guest_len);
    uint32_t trans_len = le32_to_cpu(cmd->trans_len);
    uint64_t guest = psp_addr(cmd->guest_address);
    g_autofree uint8_t *buf = NULL;
    SevSecretInput *in;
    SevSecretHdr hdr;
    uint8_t mac[sizeof(hdr.hmac)], *data;
    size_t in_len;
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LSECRET), true);

    if (status) {
        return status;
    }
    if (hdr_len != sizeof(hdr) || !guest_len || guest_len % 16 ||
        guest_len > SEV_SECRET_MAX || trans_len != guest_len) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "header 0x%x, guest 0x%x, transport 0x%x bytes; "
                          "expected 0x%zx and twice a multiple of 16 up to "
                          "0x%x", hdr_len, guest_len, trans_len, sizeof(hdr),
                          (int)SEV_SECRET_MAX);
    }
    if (guest % 16) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no multiple of 16", guest);
    }
    status = psp_check_output(c, "guest memory", guest, guest_len);
    if (status) {
        return status;
    }
    in_len = sizeof(*in) + trans_len + sizeof(g->measure);
    buf = g_malloc(in_len);
    in = (SevSecretInput *)buf;
    data = buf + sizeof(*in);
    if (!psp_read(c, psp_addr(cmd->hdr_address), AMD_SNP_KEY_NONE, &hdr,
                  sizeof(hdr)) ||
        !psp_read(c, psp_addr(cmd->trans_address), AMD_SNP_KEY_NONE, data,
                  trans_len)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "header or secret is not in memory");
    }
    if (hdr.flags) {
        return psp_refuse(c, PSP_UNSUPPORTED,
                          "flags 0x%x: compression is not modelled",
                          le32_to_cpu(hdr.flags));
    }
    in->context = SEV_SECRET_CONTEXT;
    in->flags = hdr.flags;
    memcpy(in->iv, hdr.iv, sizeof(in->iv));
    in->guest_len = cpu_to_le32(guest_len);
    in->trans_len = cpu_to_le32(trans_len);
    memcpy(data + trans_len, g->measure, sizeof(g->measure));
    psp_hmac_sha256(g->tik, sizeof(g->tik), buf, in_len, mac);
    if (memcmp(mac, hdr.hmac, sizeof(mac))) {
        return psp_refuse(c, PSP_BAD_MEASUREMENT, "wrong MAC");
    }
    psp_aes128_ctr(g->tek, hdr.iv, data, trans_len);
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
    const SevCmdAttestationReport *cmd = PSP_BUF(c, SevCmdAttestationReport);
    uint64_t addr = psp_addr(cmd->address);
    SevAttestationReport out = { 0 };
    PspGuest *g;
    PspStatus status = guest_in_state(c, &g, BIT(SEV_GUEST_LSECRET) |
                                             BIT(SEV_GUEST_RUNNING), false);

    if (status) {
        return status;
    }
    if (length_query(c, offsetof(SevCmdAttestationReport, len), sizeof(out))) {
        return answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return no_crypto(c);
    }
    status = psp_check_output(c, "the report", addr, sizeof(out));
    if (status) {
        return status;
    }
    memcpy(out.mnonce, cmd->mnonce, sizeof(out.mnonce));
    get_digest(g, out.launch_digest);
    out.policy = cpu_to_le32(g->policy);
    out.sig_usage = cpu_to_le32(SEV_CERT_USAGE_PEK);
    out.sig_algo = cpu_to_le32(SEV_CERT_ALGO_ECDSA_SHA384);
    if (!psp_sign(c->s->pek, &out, SEV_REPORT_SIGNED_LEN, out.sig1)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "signing failed");
    }
    psp_write(c, addr, AMD_SNP_KEY_NONE, &out, sizeof(out));
    PSP_WRITE_FIELD(c, SevCmdAttestationReport, len);
    return PSP_SUCCESS;
}

static PspStatus debug(PspCall *c, bool decrypt)
{
    const SevCmdDbg *cmd = PSP_BUF(c, SevCmdDbg);
    uint64_t src = psp_addr(cmd->src_addr), dst = psp_addr(cmd->dst_addr);
    uint32_t len = le32_to_cpu(cmd->len);
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
    { 0x001, "INIT", sizeof(SevCmdInit), IN_UNINIT, .handler = cmd_init,
      RESERVED(RSVD_BUT(SevCmdInit, flags, SEV_INIT_FLAG_ES),
               RSVD(SevCmdInit, rsvd)) },
    { 0x002, "SHUTDOWN", 0, IN_ANY, .handler = cmd_shutdown },
    { 0x003, "FACTORY_RESET", 0, IN_UNINIT, .handler = cmd_factory_reset },
    { 0x004, "PLATFORM_STATUS", sizeof(SevCmdPlatformStatus), IN_ANY,
      .writes = true, .handler = cmd_platform_status },
    { 0x005, "PEK_GEN", 0, IN_INIT, .handler = cmd_pek_gen },
    { 0x006, "PEK_CSR", sizeof(SevCmdPekCsr), IN_READY, .writes = true,
      .handler = cmd_pek_csr },
    { 0x007, "PEK_CERT_IMPORT", sizeof(SevCmdPekCertImport), IN_INIT,
      .handler = cmd_pek_cert_import,
      RESERVED(RSVD(SevCmdPekCertImport, rsvd)) },
    { 0x008, "PDH_CERT_EXPORT", sizeof(SevCmdPdhCertExport), IN_READY,
      .writes = true, .handler = cmd_pdh_cert_export,
      RESERVED(RSVD(SevCmdPdhCertExport, rsvd)) },
    { 0x009, "PDH_GEN", 0, IN_READY, .handler = cmd_pdh_gen },
    { 0x00a, "DF_FLUSH", 0, IN_READY, .handler = psp_df_flush },
    { 0x00b, "DOWNLOAD_FIRMWARE", sizeof(SevCmdDownloadFirmware),
      IN_UNINIT | IN_INIT, .handler = cmd_download_firmware },
    { 0x00c, "GET_ID", sizeof(SevCmdGetId), IN_ANY, .writes = true,
      .handler = cmd_get_id },
    { 0x00d, "INIT_EX", sizeof(SevCmdInitEx), IN_UNINIT, .handler = cmd_init_ex,
      RESERVED(RSVD_BUT(SevCmdInitEx, flags, SEV_INIT_FLAG_ES),
               RSVD(SevCmdInitEx, rsvd)) },
    { 0x020, "DECOMMISSION", sizeof(SevCmdHandle), IN_READY,
      .handler = cmd_decommission },
    { 0x021, "ACTIVATE", sizeof(SevCmdActivate), IN_READY,
      .handler = cmd_activate },
    { 0x022, "DEACTIVATE", sizeof(SevCmdHandle), IN_READY,
      .handler = cmd_deactivate },
    { 0x023, "GUEST_STATUS", sizeof(SevCmdGuestStatus), IN_READY,
      .writes = true, .handler = cmd_guest_status },
    { 0x024, "COPY", 0, IN_READY, .handler = cmd_absent },
    { 0x030, "LAUNCH_START", sizeof(SevCmdLaunchStart), IN_READY,
      .writes = true, .handler = cmd_launch_start,
      RESERVED(RSVD(SevCmdLaunchStart, rsvd)) },
    { 0x031, "LAUNCH_UPDATE_DATA", sizeof(SevCmdLaunchUpdateData), IN_READY,
      .handler = cmd_launch_update_data,
      RESERVED(RSVD(SevCmdLaunchUpdateData, rsvd)) },
    { 0x032, "LAUNCH_UPDATE_VMSA", sizeof(SevCmdLaunchUpdateVmsa), IN_READY,
      .handler = cmd_launch_update_vmsa,
      RESERVED(RSVD(SevCmdLaunchUpdateVmsa, rsvd)) },
    { 0x033, "LAUNCH_MEASURE", sizeof(SevCmdLaunchMeasure), IN_READY,
      .writes = true, .handler = cmd_launch_measure,
      RESERVED(RSVD(SevCmdLaunchMeasure, rsvd)) },
    { 0x034, "LAUNCH_UPDATE_SECRET", sizeof(SevCmdLaunchSecret), IN_READY,
      .handler = cmd_launch_update_secret,
      RESERVED(RSVD(SevCmdLaunchSecret, rsvd1), RSVD(SevCmdLaunchSecret, rsvd2),
               RSVD(SevCmdLaunchSecret, rsvd3)) },
    { 0x035, "LAUNCH_FINISH", sizeof(SevCmdHandle), IN_READY,
      .handler = cmd_launch_finish },
    { 0x036, "ATTESTATION_REPORT", sizeof(SevCmdAttestationReport), IN_READY,
      .writes = true, .handler = cmd_attestation_report,
      RESERVED(RSVD(SevCmdAttestationReport, rsvd)) },
    /* Not modelled: of the command buffer, only the length is known */
    { 0x040, "SEND_START", 64, IN_READY, .handler = cmd_absent },
    { 0x041, "SEND_UPDATE_DATA", 52, IN_READY, .handler = cmd_absent },
    { 0x042, "SEND_UPDATE_VMSA", 48, IN_READY, .handler = cmd_absent },
    { 0x043, "SEND_FINISH", 4, IN_READY, .handler = cmd_absent },
    { 0x044, "SEND_CANCEL", 4, IN_READY, .handler = cmd_absent },
    { 0x050, "RECEIVE_START", 36, IN_READY, .handler = cmd_absent },
    { 0x051, "RECEIVE_UPDATE_DATA", 52, IN_READY, .handler = cmd_absent },
    { 0x052, "RECEIVE_UPDATE_VMSA", 52, IN_READY, .handler = cmd_absent },
    { 0x053, "RECEIVE_FINISH", 4, IN_READY, .handler = cmd_absent },
    { 0x060, "DBG_DECRYPT", sizeof(SevCmdDbg), IN_READY,
      .handler = cmd_dbg_decrypt, RESERVED(RSVD(SevCmdDbg, rsvd)) },
    { 0x061, "DBG_ENCRYPT", sizeof(SevCmdDbg), IN_READY,
      .handler = cmd_dbg_encrypt, RESERVED(RSVD(SevCmdDbg, rsvd)) },
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

static PspStatus check_reserved(PspCall *c, const PspReserved *r)
{
    for (unsigned offset = r->offset; offset < r->offset + r->len;
         offset += 4) {
        uint32_t word = ldl_le_p(c->buf + offset);

        if (word & r->mask) {
            return psp_refuse(c, PSP_INVALID_PARAM,
                              "0x%x at 0x%x of the command buffer has reserved "
                              "bits set (0x%x)", word, offset, r->mask);
        }
    }
    return PSP_SUCCESS;
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
    for (const PspReserved *r = cmd->reserved; r && r->len; r++) {
        PspStatus status = check_reserved(c, r);

        if (status) {
            return status;
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
