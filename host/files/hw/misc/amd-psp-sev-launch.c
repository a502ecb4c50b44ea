/*
 * AMD Secure Processor: launch of SEV and SEV-ES guests
 *
 * LAUNCH_START, LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA, LAUNCH_MEASURE,
 * LAUNCH_UPDATE_SECRET, LAUNCH_FINISH; and ATTESTATION_REPORT, which reports
 * the digest of the launch.
 *
 * Launching with a session or a shared key is not modelled. Without a session,
 * TEK and TIK are zero here, so that measurement and secret can be computed by
 * an owner who has no session either; hardware draws random ones.
 *
 * Key tags are per page, but SEV encrypts in units of 16 bytes: a page that was
 * encrypted in part counts as encrypted.
 *
 * References: SEV API, chapter 6 "Guest Management API".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "qemu/guest-random.h"
#include "qemu/units.h"

#define SEV_SECRET_MAX          (16 * KiB)

/* LAUNCH_START (SEV API 6.2) */
PspStatus psp_sev_launch_start(PspCall *c)
{
    SevCmdLaunchStart *cmd = PSP_BUF(c, SevCmdLaunchStart);
    AmdPspState *s = c->s;
    uint32_t policy = le32_to_cpu(cmd->policy);
    uint32_t major = SEV_POLICY_API_MAJOR(policy);
    uint32_t minor = SEV_POLICY_API_MINOR(policy);
    PspGuest *g;

    /* Model: no shared keys */
    if (cmd->handle) {
        return psp_refuse(c, PSP_UNSUPPORTED,
                          "handle %u: sharing a key is not modelled",
                          le32_to_cpu(cmd->handle));
    }
    /* Model: no sessions */
    if (cmd->dh_cert_address || cmd->dh_cert_len || cmd->session_address ||
        cmd->session_len) {
        return psp_refuse(c, PSP_UNSUPPORTED, "sessions are not modelled");
    }
    /* SEV API, chapter 3: reserved bits of the policy */
    if (policy & SEV_POLICY_RESERVED) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%x has reserved bits set", policy);
    }
    /* SEV API, chapter 3: the least API version that the policy wants */
    if ((major << 8 | minor) > (PSP_API_MAJOR << 8 | PSP_API_MINOR)) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%x asks for API %u.%u, this is %u.%u",
                          policy, major, minor, PSP_API_MAJOR, PSP_API_MINOR);
    }
    /* SEV API: SEV-ES only if INIT was with it */
    if ((policy & SEV_POLICY_ES) && !s->sev_es) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%x asks for SEV-ES, INIT was without it",
                          policy);
    }
    /* SEV API: resources for one more guest */
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
 * Encrypt in place what is under @key, and add to the digest. A page of which
 * the range has only a part may have been encrypted before, for another part:
 * then its content is to be read with the guest's key.
 */
static void encrypt_range(PspCall *c, PspGuest *g, unsigned key, uint64_t pa,
                          uint64_t len)
{
    uint8_t page[PSP_PAGE];

    while (len) {
        uint64_t base = QEMU_ALIGN_DOWN(pa, PSP_PAGE);
        size_t l = MIN(len, PSP_PAGE - (pa - base));
        bool own = l < PSP_PAGE && amd_snp_key(c->h, base) == g->asid;

        psp_read(c, base, own ? g->asid : key, page, PSP_PAGE);
        g_checksum_update(g->digest, page + (pa - base), l);
        psp_write(c, base, g->asid, page, PSP_PAGE);
        pa += l;
        len -= l;
    }
}

/* What is left of LAUNCH_UPDATE_DATA, or a piece of it that ends with a page */
static PspStatus encrypt_piece(PspCall *c, PspGuest *g, unsigned key,
                               uint64_t pa, uint32_t len)
{
    uint64_t left = len - c->done;
    uint64_t piece = MIN(left, PSP_PIECE - (pa + c->done) % PSP_PAGE);
    /* ABI: pages may have changed state since the last piece */
    PspStatus status = psp_check_output(c, "guest memory", pa + c->done, piece);

    if (status) {
        return status;
    }
    encrypt_range(c, g, key, pa + c->done, piece);
    c->done += piece;
    return piece < left ? PSP_MORE : PSP_SUCCESS;
}

/* LAUNCH_UPDATE_DATA */
PspStatus psp_sev_launch_update_data(PspCall *c)
{
    const SevCmdLaunchUpdateData *cmd = PSP_BUF(c, SevCmdLaunchUpdateData);
    uint64_t pa = psp_addr(cmd->address);
    uint32_t len = le32_to_cpu(cmd->len);
    PspGuest *g;
    PspStatus status = psp_guest_in_state(c, &g, BIT(SEV_GUEST_LUPDATE), true);

    if (status) {
        return status;
    }
    if (c->done) {
        return encrypt_piece(c, g, psp_key(cmd->address), pa, len);
    }
    /* SEV API: length */
    if (!len || len % 16) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "0x%x bytes, expected a multiple of 16", len);
    }
    /* SEV API: alignment */
    if (pa % 16) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no multiple of 16", pa);
    }
    /* SEV API, ABI: the address */
    status = psp_check_output(c, "guest memory", pa, len);
    if (status) {
        return status;
    }
    return encrypt_piece(c, g, psp_key(cmd->address), pa, len);
}

/* LAUNCH_UPDATE_VMSA */
PspStatus psp_sev_launch_update_vmsa(PspCall *c)
{
    const SevCmdLaunchUpdateVmsa *cmd = PSP_BUF(c, SevCmdLaunchUpdateVmsa);
    uint64_t pa = psp_addr(cmd->address);
    PspGuest *g;
    PspStatus status = psp_guest_in_state(c, &g, BIT(SEV_GUEST_LUPDATE), true);

    if (status) {
        return status;
    }
    /* SEV API: only SEV-ES guests have a VMSA */
    if (!(g->policy & SEV_POLICY_ES)) {
        return psp_refuse(c, PSP_POLICY_FAILURE, "guest %u is no SEV-ES guest",
                          g->handle);
    }
    /* SEV API: length */
    if (le32_to_cpu(cmd->len) != PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_LEN, "0x%x bytes, expected 0x%x",
                          le32_to_cpu(cmd->len), PSP_PAGE);
    }
    /* SEV API: alignment */
    if (pa % PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "VMSA at 0x%" PRIx64 " is not aligned to a page", pa);
    }
    /* SEV API, ABI: the address */
    status = psp_check_output(c, "the VMSA", pa, PSP_PAGE);
    if (status) {
        return status;
    }
    encrypt_range(c, g, psp_key(cmd->address), pa, PSP_PAGE);
    return PSP_SUCCESS;
}

/* The digest of what was launched so far; more can be added to it */
static void get_digest(PspGuest *g, uint8_t digest[32])
{
    GChecksum *sum = g_checksum_copy(g->digest);
    gsize n = 32;

    g_checksum_get_digest(sum, digest, &n);
    g_checksum_free(sum);
}

/* LAUNCH_MEASURE (SEV API 6.5) */
PspStatus psp_sev_launch_measure(PspCall *c)
{
    const SevCmdLaunchMeasure *cmd = PSP_BUF(c, SevCmdLaunchMeasure);
    uint64_t addr = psp_addr(cmd->address);
    SevMeasurementInput in;
    SevMeasurement out;
    PspGuest *g;
    PspStatus status = psp_guest_in_state(c, &g, BIT(SEV_GUEST_LUPDATE), false);

    if (status) {
        return status;
    }
    /* SEV API: a length that is too short is answered with the right one */
    if (psp_length_query(c, offsetof(SevCmdLaunchMeasure, len), sizeof(out))) {
        return psp_answer_lengths(c);
    }
    /* SEV API, ABI: the address */
    status = psp_check_output(c, "the measurement", addr, sizeof(out));
    if (status) {
        return status;
    }
    in.context = SEV_MEASUREMENT_CONTEXT;
    in.api_major = PSP_API_MAJOR;
    in.api_minor = PSP_API_MINOR;
    in.build = c->s->build;
    in.policy = cpu_to_le32(g->policy);
    get_digest(g, in.launch_digest);
    qemu_guest_getrandom_nofail(out.mnonce, sizeof(out.mnonce));
    memcpy(in.mnonce, out.mnonce, sizeof(in.mnonce));
    psp_hmac_sha256(g->tik, sizeof(g->tik), &in, sizeof(in), out.measure);
    memcpy(g->measure, out.measure, sizeof(g->measure));
    psp_write_at(c, cmd->address, &out, sizeof(out));
    PSP_WRITE_FIELD(c, SevCmdLaunchMeasure, len);
    g->state = SEV_GUEST_LSECRET;
    return PSP_SUCCESS;
}

/* LAUNCH_UPDATE_SECRET */
PspStatus psp_sev_launch_update_secret(PspCall *c)
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
    PspStatus status = psp_guest_in_state(c, &g, BIT(SEV_GUEST_LSECRET), true);

    if (status) {
        return status;
    }
    /* SEV API: lengths. Model: no compression, so both lengths are the same */
    if (hdr_len != sizeof(hdr) || !guest_len || guest_len % 16 ||
        guest_len > SEV_SECRET_MAX || trans_len != guest_len) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "header 0x%x, guest 0x%x, transport 0x%x bytes; "
                          "expected 0x%zx and twice a multiple of 16 up to "
                          "0x%x", hdr_len, guest_len, trans_len, sizeof(hdr),
                          (int)SEV_SECRET_MAX);
    }
    /* SEV API: alignment */
    if (guest % 16) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "0x%" PRIx64 " is no multiple of 16", guest);
    }
    /* SEV API, ABI: the addresses */
    status = psp_check_output(c, "guest memory", guest, guest_len);
    if (status) {
        return status;
    }
    in_len = sizeof(*in) + trans_len + sizeof(g->measure);
    buf = g_malloc(in_len);
    in = (SevSecretInput *)buf;
    data = buf + sizeof(*in);
    if (!psp_read_at(c, cmd->hdr_address, &hdr, sizeof(hdr)) ||
        !psp_read_at(c, cmd->trans_address, data, trans_len)) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "header or secret is not in memory");
    }
    /* Model: no compression */
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
    /* SEV API: the owner sealed it for this guest, as measured */
    if (memcmp(mac, hdr.hmac, sizeof(mac))) {
        return psp_refuse(c, PSP_BAD_MEASUREMENT, "wrong MAC");
    }
    psp_aes128_ctr(g->tek, hdr.iv, data, trans_len);
    psp_write(c, guest, g->asid, data, guest_len);
    return PSP_SUCCESS;
}

/* LAUNCH_FINISH */
PspStatus psp_sev_launch_finish(PspCall *c)
{
    PspGuest *g;
    PspStatus status = psp_guest_in_state(c, &g, BIT(SEV_GUEST_LSECRET), true);

    if (!status) {
        g->state = SEV_GUEST_RUNNING;
    }
    return status;
}

/* ATTESTATION_REPORT */
PspStatus psp_sev_attestation_report(PspCall *c)
{
    const SevCmdAttestationReport *cmd = PSP_BUF(c, SevCmdAttestationReport);
    uint64_t addr = psp_addr(cmd->address);
    SevAttestationReport out = { 0 };
    PspGuest *g;
    PspStatus status = psp_guest_in_state(c, &g, BIT(SEV_GUEST_LSECRET) |
                                                 BIT(SEV_GUEST_RUNNING), false);

    if (status) {
        return status;
    }
    /* SEV API: a length that is too short is answered with the right one */
    if (psp_length_query(c, offsetof(SevCmdAttestationReport, len),
                         sizeof(out))) {
        return psp_answer_lengths(c);
    }
    if (!psp_crypto_available()) {
        return psp_no_crypto(c);
    }
    /* SEV API, ABI: the address */
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
    psp_write_at(c, cmd->address, &out, sizeof(out));
    PSP_WRITE_FIELD(c, SevCmdAttestationReport, len);
    return PSP_SUCCESS;
}
