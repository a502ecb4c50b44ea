/*
 * AMD Secure Processor: the platform's keys and certificates
 *
 * FACTORY_RESET, PEK_GEN, PEK_CSR, PEK_CERT_IMPORT, PDH_GEN, PDH_CERT_EXPORT.
 *
 * References: SEV API, chapter 5 "Platform Management API", and appendix C
 * (certificates).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"

/* ---- Certificates ---- */

/* The unsigned certificate of @key; false on failure */
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

/* A certificate as PEK_CERT_IMPORT wants it: signed by the OCA */
static bool cert_check(const SevCert *cert, uint32_t usage)
{
    return le32_to_cpu(cert->version) == SEV_CERT_VERSION &&
           le32_to_cpu(cert->pubkey_usage) == usage &&
           le32_to_cpu(cert->pubkey_algo) == SEV_CERT_ALGO_ECDSA_SHA384 &&
           le32_to_cpu(cert->pubkey.curve) == SEV_CERT_CURVE_P384 &&
           le32_to_cpu(cert->sig1.usage) == SEV_CERT_USAGE_OCA &&
           le32_to_cpu(cert->sig1.algo) == SEV_CERT_ALGO_ECDSA_SHA384;
}

/* ---- Commands ---- */

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

/*
 * Make a new PDH; with @oca_and_pek also a new OCA and PEK, which ends the
 * ownership of another than the platform.
 */
static PspStatus renew_keys(PspCall *c, bool oca_and_pek)
{
    AmdPspState *s = c->s;

    if (!psp_crypto_available()) {
        return psp_no_crypto(c);
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

/* FACTORY_RESET. Without GnuTLS there are no keys to renew. */
PspStatus psp_sev_factory_reset(PspCall *c)
{
    return psp_crypto_available() ? renew_keys(c, true) : PSP_SUCCESS;
}

/* PEK_GEN */
PspStatus psp_sev_pek_gen(PspCall *c)
{
    return renew_keys(c, true);
}

/* PDH_GEN */
PspStatus psp_sev_pdh_gen(PspCall *c)
{
    return renew_keys(c, false);
}

/* PEK_CSR: the unsigned certificate of the PEK */
PspStatus psp_sev_pek_csr(PspCall *c)
{
    uint64_t addr = psp_addr(PSP_BUF(c, SevCmdPekCsr)->address);
    SevCert cert;
    PspStatus status;

    /* SEV API: a length that is too short is answered with the right one */
    if (psp_length_query(c, offsetof(SevCmdPekCsr, len), sizeof(cert))) {
        return psp_answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return psp_no_crypto(c);
    }
    /* SEV API, ABI: the CSR's address */
    status = psp_check_output(c, "the CSR", addr, sizeof(cert));
    if (status) {
        return status;
    }
    if (!cert_make(c->s->pek, SEV_CERT_USAGE_PEK, SEV_CERT_ALGO_ECDSA_SHA384,
                   &cert)) {
        return psp_refuse(c, PSP_HWERROR_PLATFORM, "no key to certify");
    }
    psp_write_at(c, PSP_BUF(c, SevCmdPekCsr)->address, &cert, sizeof(cert));
    PSP_WRITE_FIELD(c, SevCmdPekCsr, len);
    return PSP_SUCCESS;
}

/* PEK_CERT_IMPORT: an owner signs the PEK with their own OCA */
PspStatus psp_sev_pek_cert_import(PspCall *c)
{
    const SevCmdPekCertImport *cmd = PSP_BUF(c, SevCmdPekCertImport);
    AmdPspState *s = c->s;
    g_autofree SevCert *certs = g_new(SevCert, 2);
    SevCert *pek = &certs[0], *oca = &certs[1];
    uint8_t q[PSP_ECC_LEN];

    if (!psp_crypto_available()) {
        return psp_no_crypto(c);
    }
    /* SEV API: the platform owns itself */
    if (s->owner_certs) {
        return psp_refuse(c, PSP_ALREADY_OWNED,
                          "certificates of an owner were imported before");
    }
    /* SEV API: lengths of the certificates */
    if (le32_to_cpu(cmd->pek_cert_len) != sizeof(SevCert) ||
        le32_to_cpu(cmd->oca_cert_len) != sizeof(SevCert)) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "certificates of 0x%x and 0x%x bytes, expected 0x%zx",
                          le32_to_cpu(cmd->pek_cert_len),
                          le32_to_cpu(cmd->oca_cert_len), sizeof(SevCert));
    }
    /* SEV API: addresses of the certificates */
    if (!psp_read_at(c, cmd->pek_cert_address, pek, sizeof(*pek)) ||
        !psp_read_at(c, cmd->oca_cert_address, oca, sizeof(*oca))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "a certificate is not in memory");
    }
    /* SEV API: form of the certificates, and the key is the platform's PEK */
    if (!cert_check(pek, SEV_CERT_USAGE_PEK) ||
        !cert_check(oca, SEV_CERT_USAGE_OCA) ||
        !psp_key_public(s->pek, q) || memcmp(pek->pubkey.q, q, sizeof(q))) {
        return psp_refuse(c, PSP_INVALID_CERTIFICATE,
                          "not a certificate of this platform's PEK by an OCA");
    }
    /* SEV API: the OCA signed itself and the PEK */
    if (!psp_verify(oca->pubkey.q, oca, SEV_CERT_SIGNED_LEN, oca->sig1.sig) ||
        !psp_verify(oca->pubkey.q, pek, SEV_CERT_SIGNED_LEN, pek->sig1.sig)) {
        return psp_refuse(c, PSP_BAD_SIGNATURE, "not signed by the OCA");
    }
    s->owner_certs = g_steal_pointer(&certs);
    return renew_keys(c, false);
}

/* PDH_CERT_EXPORT: the certificates of PDH, PEK, OCA and CEK */
PspStatus psp_sev_pdh_cert_export(PspCall *c)
{
    const SevCmdPdhCertExport *cmd = PSP_BUF(c, SevCmdPdhCertExport);
    AmdPspState *s = c->s;
    uint64_t pdh_addr = psp_addr(cmd->pdh_cert_address);
    uint64_t chain_addr = psp_addr(cmd->cert_chain_address);
    g_autofree SevCert *pdh = g_new(SevCert, 1);
    g_autofree SevCertChain *chain = g_new(SevCertChain, 1);
    bool short1 = psp_length_query(c, offsetof(SevCmdPdhCertExport,
                                               pdh_cert_len), sizeof(*pdh));
    bool short2 = psp_length_query(c, offsetof(SevCmdPdhCertExport,
                                               cert_chain_len),
                                   sizeof(*chain));
    PspStatus status;

    /* SEV API: lengths that are too short are answered with the right ones */
    if (short1 || short2) {
        return psp_answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return psp_no_crypto(c);
    }
    /* SEV API, ABI: addresses of the certificates */
    status = psp_check_output(c, "the PDH certificate", pdh_addr, sizeof(*pdh));
    if (!status) {
        status = psp_check_output(c, "the certificate chain", chain_addr,
                                  sizeof(*chain));
    }
    if (status) {
        return status;
    }
    /* SEV API: they do not overlap */
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
    /* The owner's certificates as imported; else the platform's own OCA */
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
    psp_write_at(c, cmd->pdh_cert_address, pdh, sizeof(*pdh));
    psp_write_at(c, cmd->cert_chain_address, chain, sizeof(*chain));
    psp_write_buf(c, 0, c->cmd->len);
    return PSP_SUCCESS;
}
