/*
 * AMD Secure Processor: launch of SNP guests
 *
 * SNP_LAUNCH_START, SNP_LAUNCH_UPDATE, SNP_LAUNCH_FINISH.
 *
 * References: SNP ABI, chapter 8, the sections of these commands; the section
 * "Guest Policy".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "hw/boards.h"
#include "qemu/units.h"
#include "trace.h"

#define VMPL0_PERMISSIONS       AMD_RMP_PERM_ALL

/* Fields of a VMSA that the firmware fills in: measured as zero */
#define VMSA_TSC_OFFSET         0x2f0
#define VMSA_TSC_LEN            16

#define SECRETS_VERSION         3

/* ---- SNP_LAUNCH_START ---- */

/* ABI, "Guest Policy": what the policy asks for can be had */
static PspStatus check_policy(PspCall *c, uint64_t policy)
{
    const char *why = NULL;

    if (policy & ~SNP_POLICY_KNOWN) {
        why = "has reserved bits set";
    } else if (!(policy & SNP_POLICY_RSVD_MBO)) {
        why = "lacks bit 17, which must be one";
    } else if ((policy & SNP_POLICY_ABI) >
               (PSP_API_MAJOR << 8 | PSP_API_MINOR)) {
        why = "asks for a newer ABI than this";
    } else if (!(policy & SNP_POLICY_SMT) && psp_smt(c->s)) {
        why = "forbids SMT, which is on";
    } else if ((policy & SNP_POLICY_SINGLE_SOCKET) &&
               current_machine->smp.sockets > 1) {
        why = "wants a single socket, and the guest could be activated on all";
    }
    if (why) {
        return psp_refuse(c, PSP_POLICY_FAILURE, "policy 0x%" PRIx64 " %s",
                          policy, why);
    }
    return PSP_SUCCESS;
}

/* SNP_LAUNCH_START */
PspStatus psp_snp_launch_start(PspCall *c)
{
    const SnpCmdLaunchStart *cmd = PSP_BUF(c, SnpCmdLaunchStart);
    uint64_t policy = le64_to_cpu(cmd->policy);
    uint32_t flags = le32_to_cpu(cmd->flags);
    PspGuest *g, *ma = NULL;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    /* ABI: guest state */
    if (!status) {
        status = psp_snp_in_state(c, g, SNP_GUEST_INIT);
    }
    /* ABI: the policy */
    if (!status) {
        status = check_policy(c, policy);
    }
    if (!status && (flags & SNP_LAUNCH_START_MA_EN)) {
        /* ABI: the policy allows a migration agent */
        if (!(policy & SNP_POLICY_MIGRATE_MA)) {
            return psp_refuse(c, PSP_POLICY_FAILURE,
                              "policy 0x%" PRIx64 " allows no migration agent",
                              policy);
        }
        /* ABI: the migration agent is another guest, which runs */
        status = psp_guest_by_gctx(c, psp_addr(cmd->ma_gctx_paddr), &ma);
        if (!status && (ma == g || ma->state != SNP_GUEST_RUNNING)) {
            return psp_refuse(c, PSP_INVALID_GUEST,
                              "the migration agent is not a running guest");
        }
    }
    if (status) {
        return status;
    }
    /* Model: no incoming migration images */
    if (flags & SNP_LAUNCH_START_IMI_EN) {
        return psp_refuse(c, PSP_UNSUPPORTED,
                          "incoming migration images are not modelled");
    }
    g->policy = policy;
    g->state = SNP_GUEST_LAUNCH;
    memcpy(g->gosvw, cmd->gosvw, sizeof(g->gosvw));
    if (ma) {
        memcpy(g->report_id_ma, ma->report_id, sizeof(g->report_id_ma));
    }
    return PSP_SUCCESS;
}

/* ---- SNP_LAUNCH_UPDATE ---- */

/* SNP ABI 8.17.2: one step of the launch digest */
static void measure(PspGuest *g, unsigned type, uint32_t perms, uint64_t gpa,
                    const uint8_t *page)
{
    SnpPageInfo info = { 0 };

    memcpy(info.digest_cur, g->ld, sizeof(info.digest_cur));
    if (type == SNP_PAGE_TYPE_VMSA) {
        uint8_t vmsa[PSP_PAGE];

        memcpy(vmsa, page, PSP_PAGE);
        memset(vmsa + VMSA_TSC_OFFSET, 0, VMSA_TSC_LEN);
        psp_sha384(vmsa, PSP_PAGE, info.contents);
    } else if (type == SNP_PAGE_TYPE_NORMAL) {
        psp_sha384(page, PSP_PAGE, info.contents);
    }
    info.length = cpu_to_le16(sizeof(info));
    info.page_type = type;
    /* VMPL3 comes first here, and VMPL1 in the command */
    info.vmpl3_perms = SNP_LAUNCH_UPDATE_PERMS(perms, 3);
    info.vmpl2_perms = SNP_LAUNCH_UPDATE_PERMS(perms, 2);
    info.vmpl1_perms = SNP_LAUNCH_UPDATE_PERMS(perms, 1);
    info.gpa = cpu_to_le64(gpa);
    psp_sha384(&info, sizeof(info), g->ld);
}

/* SNP ABI 8.17.2.5: the content of a page of type SECRETS */
static void make_secrets(PspCall *c, PspGuest *g, uint8_t *page)
{
    SnpSecretsPage *secrets = (SnpSecretsPage *)page;
    uint32_t regs[4];

    memset(page, 0, PSP_PAGE);
    amd_snp_host_cpuid(c->h, 1, 0, regs);
    secrets->version = cpu_to_le32(SECRETS_VERSION);
    secrets->fms = cpu_to_le32(regs[0]);
    memcpy(secrets->gosvw, g->gosvw, sizeof(secrets->gosvw));
    memcpy(secrets->vmpck, g->vmpck, sizeof(secrets->vmpck));
}

/*
 * SNP_LAUNCH_UPDATE (SNP ABI 8.17). The checks come in the order in which the
 * ABI lists them, after those of reserved bits and of the platform's state.
 */
PspStatus psp_snp_launch_update(PspCall *c)
{
    const SnpCmdLaunchUpdate *cmd = PSP_BUF(c, SnpCmdLaunchUpdate);
    uint32_t flags = le32_to_cpu(cmd->flags);
    uint32_t perms = le32_to_cpu(cmd->vmpl_perms);
    uint64_t pa = psp_addr(cmd->address);
    bool large = flags & SNP_LAUNCH_UPDATE_PAGE_SIZE;
    unsigned type = SNP_LAUNCH_UPDATE_PAGE_TYPE(flags);
    uint64_t size = large ? 2 * MiB : PSP_PAGE;
    uint8_t page[PSP_PAGE];
    PspStatus status;
    AmdRmpEntry e;
    PspGuest *g;

    /* ABI 8.17: guest context */
    status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);
    /* ABI 8.17: address, page state, page size */
    if (!status) {
        status = psp_check_page(c, pa, PAGE_PRE_GUEST, large, &e);
    }
    if (status) {
        return status;
    }
    /* ABI 8.17: page type */
    if (type < SNP_PAGE_TYPE_NORMAL || type > SNP_PAGE_TYPE_CPUID) {
        return psp_refuse(c, PSP_INVALID_PARAM, "page type %u, expected 1 to 6",
                          type);
    }
    /* ABI 8.17: only some types may have 2 MB */
    if (large && (type == SNP_PAGE_TYPE_VMSA ||
                  type >= SNP_PAGE_TYPE_SECRETS)) {
        return psp_refuse(c, PSP_INVALID_PAGE_SIZE,
                          "a page of type %u has 4 KB", type);
    }
    /*
     * ABI 8.17: an IMI page only if LAUNCH_START was with IMI_EN. Model: never
     */
    if (flags & SNP_LAUNCH_UPDATE_IMI_PAGE) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "a page of an incoming migration image, in a launch "
                          "without one");
    }
    /* ABI 8.17: guest state */
    status = psp_snp_in_state(c, g, SNP_GUEST_LAUNCH);
    /* ABI 8.17: the guest is active */
    if (!status) {
        status = psp_snp_is_active(c, g);
    }
    if (status) {
        return status;
    }
    /* ABI 8.17: the page is this guest's */
    if (amd_rmp_asid(e.lo) != g->asid) {
        return psp_refuse(c, PSP_INVALID_PAGE_OWNER,
                          "page 0x%" PRIx64 " has ASID %u, the guest has %u",
                          pa, amd_rmp_asid(e.lo), g->asid);
    }

    for (uint64_t o = 0; o < size; o += PSP_PAGE) {
        if (type == SNP_PAGE_TYPE_SECRETS) {
            make_secrets(c, g, page);
        } else if (type == SNP_PAGE_TYPE_ZERO) {
            memset(page, 0, PSP_PAGE);
        } else {
            psp_read(c, pa + o, psp_key(cmd->address), page, PSP_PAGE);
        }
        if (type == SNP_PAGE_TYPE_CPUID && !psp_cpuid_check(c, page)) {
            /* ABI 8.17.2.6: the host gets the page back, with the correction */
            psp_write_at(c, cmd->address, page, PSP_PAGE);
            return PSP_INVALID_PARAM;
        }
        measure(g, type, perms, (e.lo & AMD_RMP_GPA_MASK) + o, page);
        psp_write(c, pa + o, g->asid, page, PSP_PAGE);
    }
    e.lo &= ~AMD_RMP_IMMUTABLE;
    e.lo |= AMD_RMP_VALIDATED |
            (type == SNP_PAGE_TYPE_VMSA ? AMD_RMP_VMSA : 0);
    /* The RMP entry has the permissions in the same bytes as the command */
    e.hi = deposit64(e.hi, 0, 32, perms | VMPL0_PERMISSIONS);
    psp_rmp_set(c->h, pa, large, e);
    c->flush = true;
    return PSP_SUCCESS;
}

/* ---- SNP_LAUNCH_FINISH ---- */

/*
 * SNP_LAUNCH_FINISH with an ID block: what the owner expects of the guest,
 * signed by the ID key, which the author key may have signed
 */
static PspStatus check_id_block(PspCall *c, PspGuest *g)
{
    const SnpCmdLaunchFinish *cmd = PSP_BUF(c, SnpCmdLaunchFinish);
    g_autofree SnpIdAuth *auth = g_new(SnpIdAuth, 1);
    SnpIdBlock block;
    bool author = le32_to_cpu(cmd->flags) & SNP_LAUNCH_FINISH_AUTH_KEY_EN;

    /* ABI: addresses */
    if (!psp_read_at(c, cmd->id_block_paddr, &block, sizeof(block)) ||
        !psp_read_at(c, cmd->id_auth_paddr, auth, sizeof(*auth))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "ID block or its authentication is not in memory");
    }
    /* ABI: launch digest */
    if (memcmp(block.ld, g->ld, sizeof(g->ld))) {
        return psp_refuse(c, PSP_BAD_MEASUREMENT,
                          "launch digest and ID block differ");
    }
    /* ABI: policy */
    if (le64_to_cpu(block.policy) != g->policy) {
        return psp_refuse(c, PSP_POLICY_FAILURE,
                          "policy 0x%" PRIx64 ", the ID block has 0x%" PRIx64,
                          g->policy, le64_to_cpu(block.policy));
    }
    /* ABI: version */
    if (le32_to_cpu(block.version) != SNP_ID_BLOCK_VERSION) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "ID block version %u, expected %u",
                          le32_to_cpu(block.version), SNP_ID_BLOCK_VERSION);
    }
    /* ABI: algorithms */
    if (le32_to_cpu(auth->id_key_algo) != SNP_ID_ALGO_ECDSA_P384 ||
        (author &&
         le32_to_cpu(auth->auth_key_algo) != SNP_ID_ALGO_ECDSA_P384) ||
        le32_to_cpu(auth->id_key.curve) != SNP_ID_CURVE_P384 ||
        (author && le32_to_cpu(auth->author_key.curve) != SNP_ID_CURVE_P384)) {
        return psp_refuse(c, PSP_INVALID_PARAM,
                          "algorithm or curve of a key is not ECDSA P-384");
    }
    /* Model: QEMU is built with GnuTLS */
    if (!psp_crypto_available()) {
        return psp_refuse(c, PSP_UNSUPPORTED, "QEMU is built without GnuTLS, "
                          "which it takes to verify an ID block");
    }
    /* ABI: signature of the ID block */
    if (!psp_verify(auth->id_key.q, &block, sizeof(block),
                    auth->id_block_sig)) {
        return psp_refuse(c, PSP_BAD_SIGNATURE,
                          "the ID key has not signed the ID block");
    }
    /* ABI: signature of the ID key */
    if (author && !psp_verify(auth->author_key.q, &auth->id_key,
                              sizeof(auth->id_key), auth->id_key_sig)) {
        return psp_refuse(c, PSP_BAD_SIGNATURE,
                          "the author key has not signed the ID key");
    }
    memcpy(g->family_id, block.family_id, sizeof(g->family_id));
    memcpy(g->image_id, block.image_id, sizeof(g->image_id));
    g->guest_svn = le32_to_cpu(block.guest_svn);
    psp_sha384(&auth->id_key, sizeof(auth->id_key), g->id_key_digest);
    if (author) {
        psp_sha384(&auth->author_key, sizeof(auth->author_key),
                   g->author_key_digest);
        g->author_key_en = true;
    }
    return PSP_SUCCESS;
}

/* SNP_LAUNCH_FINISH */
PspStatus psp_snp_launch_finish(PspCall *c)
{
    const SnpCmdLaunchFinish *cmd = PSP_BUF(c, SnpCmdLaunchFinish);
    uint32_t flags = le32_to_cpu(cmd->flags);
    g_autoptr(GString) hex = NULL;
    PspGuest *g;
    PspStatus status = psp_guest_by_gctx(c, psp_addr(cmd->gctx_paddr), &g);

    /* ABI: guest state */
    if (!status) {
        status = psp_snp_in_state(c, g, SNP_GUEST_LAUNCH);
    }
    /* ABI: the guest is active */
    if (!status) {
        status = psp_snp_is_active(c, g);
    }
    /* ABI: an author key only with an ID block */
    if (!status && (flags & SNP_LAUNCH_FINISH_AUTH_KEY_EN) &&
        !(flags & SNP_LAUNCH_FINISH_ID_BLOCK_EN)) {
        status = psp_refuse(c, PSP_INVALID_PARAM,
                            "an author key without an ID block");
    }
    /* ABI: the ID block */
    if (!status && (flags & SNP_LAUNCH_FINISH_ID_BLOCK_EN)) {
        status = check_id_block(c, g);
    }
    if (status) {
        return status;
    }
    memcpy(g->host_data, cmd->host_data, sizeof(g->host_data));
    g->vcek_disabled = flags & SNP_LAUNCH_FINISH_VCEK_DISABLED;
    g->state = SNP_GUEST_RUNNING;
    hex = g_string_new(NULL);
    for (int i = 0; i < sizeof(g->ld); i++) {
        g_string_append_printf(hex, "%02x", g->ld[i]);
    }
    trace_amd_psp_launch_digest(g->asid, hex->str);
    return PSP_SUCCESS;
}
