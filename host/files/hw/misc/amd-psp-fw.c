/*
 * AMD Secure Processor: the firmware's dispatcher
 *
 * Takes a command out of the mailbox, makes the checks that all commands have
 * in common, calls the command's handler, counts and logs a refusal. It also
 * initialises, resets and frees the firmware's state.
 *
 * References: SEV API, chapter 4 (command identifiers, status codes), and
 * 5.1.2 (platform states); SNP ABI, the sections on the mailbox and on status
 * codes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "hw/boards.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "qemu/lockable.h"
#include "trace.h"

/* ---- Refusals, and other answers ---- */

PspStatus psp_refuse(PspCall *c, PspStatus status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_free(c->why);
    c->why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return status;
}

PspStatus psp_no_crypto(PspCall *c)
{
    return psp_refuse(c, PSP_UNSUPPORTED,
                      "QEMU is built without GnuTLS, which it takes for this");
}

bool psp_length_query(PspCall *c, unsigned offset, uint32_t need)
{
    bool too_short = ldl_le_p(c->buf + offset) < need;

    stl_le_p(c->buf + offset, need);
    return too_short;
}

PspStatus psp_answer_lengths(PspCall *c)
{
    psp_write_buf(c, 0, c->cmd->len);
    c->query = true;
    return psp_refuse(c, PSP_INVALID_LEN, "answered with the length needed");
}

PspStatus psp_check_length(PspCall *c, uint32_t le)
{
    if (le32_to_cpu(le) != c->cmd->len) {
        return psp_refuse(c, PSP_INVALID_LEN, "length %u, expected %u",
                          le32_to_cpu(le), c->cmd->len);
    }
    return PSP_SUCCESS;
}

bool psp_smt(AmdPspState *s)
{
    return s->smt == ON_OFF_AUTO_ON ||
           (s->smt == ON_OFF_AUTO_AUTO && current_machine->smp.threads > 1);
}

bool psp_alias_check(AmdPspState *s)
{
    return s->build >= PSP_BUILD_ALIAS_CHECK;
}

/* ---- A command ---- */

PspCall *psp_fw_fetch(AmdPspState *s, unsigned id, uint64_t addr)
{
    PspCall *c = g_new0(PspCall, 1);
    const PspCommand *cmd;

    c->s = s;
    c->h = s->host;
    c->id = id;
    c->addr = addr & ~AMD_SNP_CBIT;
    c->key = amd_snp_host_key(addr);
    for (unsigned i = 0; (cmd = psp_command_at(i)) && cmd->id != id; i++) {
        /* look on */
    }
    c->cmd = cmd;
    if (cmd && cmd->len) {
        QEMU_LOCK_GUARD(&c->h->lock);
        c->readable = psp_read(c, c->addr, c->key, c->buf, cmd->len);
    }
    return c;
}

void psp_fw_free(PspCall *c)
{
    if (c) {
        g_free(c->why);
        g_free(c->work);
        g_free(c);
    }
}

const char *psp_fw_name(PspCall *c)
{
    return c->cmd ? c->cmd->name : "unknown";
}

/* SEV API, ABI: reserved bits of the command buffer */
static PspStatus check_reserved(PspCall *c)
{
    for (const PspReserved *r = c->cmd->reserved; r && r->len; r++) {
        for (unsigned offset = r->offset; offset < r->offset + r->len;
             offset += 4) {
            uint32_t word = ldl_le_p(c->buf + offset);

            if (word & r->mask) {
                return psp_refuse(c, PSP_INVALID_PARAM,
                                  "0x%x at 0x%x of the command buffer has "
                                  "reserved bits set (0x%x)", word, offset,
                                  r->mask);
            }
        }
    }
    return PSP_SUCCESS;
}

/* SEV API 5.1.2, ABI: platform state */
static PspStatus check_state(PspCall *c)
{
    const PspCommand *cmd = c->cmd;
    unsigned state = cmd->snp ? c->s->snp_init : psp_sev_state(c->s);

    if (!(cmd->states & BIT(state))) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE,
                          "%s is in state %u, expected one of mask 0x%x",
                          cmd->snp ? "SNP" : "the platform", state,
                          cmd->states);
    }
    return PSP_SUCCESS;
}

/*
 * The checks that all commands have in common, then those of the command. Which
 * of reserved bits and state comes first is not known: see state-first.
 */
static PspStatus run(PspCall *c)
{
    const PspCommand *cmd = c->cmd;
    bool state_first = c->s->state_first;
    PspStatus status;

    /* SEV API, ABI: the command buffer's address */
    if (cmd->len && !c->readable) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "the command buffer at 0x%" PRIx64 " is not in "
                          "memory", c->addr);
    }
    status = state_first ? check_state(c) : check_reserved(c);
    if (!status) {
        status = state_first ? check_reserved(c) : check_state(c);
    }
    if (status) {
        return status;
    }
    /*
     * ABI: while SNP is initialised, what SEV commands write is Firmware pages
     */
    if (cmd->writes) {
        status = psp_check_output(c, "the command buffer", c->addr, cmd->len);
        if (status) {
            return status;
        }
    }
    return cmd->handler(c);
}

/* Counts the command; true if it ends here, with @status */
static bool begin(PspCall *c, unsigned *status)
{
    AmdPspState *s = c->s;
    PspCounter *counter;

    amd_snp_host_count(s->host, AMD_SNP_STAT_COMMANDS);
    /* SEV API 4.3, ABI: the command exists */
    if (!c->cmd) {
        amd_snp_host_error(s->host, AMD_SNP_ERR_FIRMWARE,
                           "there is no command 0x%x (status 0x%x)", c->id,
                           PSP_INVALID_COMMAND);
        *status = PSP_INVALID_COMMAND;
        return true;
    }
    counter = &s->counter[c->cmd->id];
    counter->done++;
    if (psp_inject(c, status)) {
        counter->injected++;
        trace_amd_psp_inject(c->cmd->name, *status);
        return true;
    }
    return false;
}

bool psp_fw_run(PspCall *c, unsigned *status, bool *flush)
{
    AmdPspState *s = c->s;
    bool first = !c->begun;

    c->begun = true;
    if (first && begin(c, status)) {
        return true;
    }
    WITH_QEMU_LOCK_GUARD(&s->host->lock) {
        if (first) {
            c->status = run(c);
        } else if (c->status == PSP_MORE) {
            c->status = c->cmd->handler(c);
        }
        if (c->status != PSP_MORE && c->destroy) {
            c->destroy = !amd_snp_key_destroy(c->h, c->asids, &c->page);
        }
    }
    if (c->status == PSP_MORE || c->destroy) {
        return false;
    }
    if (c->status && !c->query) {
        s->counter[c->cmd->id].refused++;
        amd_snp_host_error(s->host, AMD_SNP_ERR_FIRMWARE,
                           "%s: %s (status 0x%x)", c->cmd->name, c->why,
                           c->status);
    }
    *flush = c->flush;
    *status = c->status;
    return true;
}

/* ---- The firmware as a whole ---- */

char *psp_fw_vcek_pem(AmdPspState *s)
{
    return psp_key_pem(s->vcek);
}

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
