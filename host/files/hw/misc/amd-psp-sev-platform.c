/*
 * AMD Secure Processor: platform commands of SEV and SEV-ES
 *
 * INIT, INIT_EX, SHUTDOWN, PLATFORM_STATUS, GET_ID, DOWNLOAD_FIRMWARE. Those
 * that deal with the platform's keys are in amd-psp-sev-cert.c.
 *
 * References: SEV API, chapter 5 "Platform Management API".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "qemu/units.h"

/* Of the TMR, by whether SNP is initialised */
#define SEV_TMR_SIZE            (1 * MiB)
#define SNP_TMR_SIZE            (2 * MiB)
#define SEV_NV_SIZE             (32 * KiB)
#define SEV_ID_LEN              64

unsigned psp_sev_state(AmdPspState *s)
{
    if (s->sev_state == SEV_INIT && g_hash_table_size(s->guests)) {
        return SEV_WORKING;
    }
    return s->sev_state;
}

/*
 * INIT and INIT_EX. @tmr, @len: the memory that the firmware may have for
 * itself (trusted memory region); hardware saves there what it has of SEV-ES
 * guests.
 */
static PspStatus init(PspCall *c, uint32_t flags, uint64_t tmr, uint32_t len)
{
    AmdPspState *s = c->s;
    uint32_t need = s->snp_init ? SNP_TMR_SIZE : SEV_TMR_SIZE;
    PspStatus status;

    if (flags & SEV_INIT_FLAG_ES) {
        /* SEV API: length of the TMR */
        if (len < need) {
            return psp_refuse(c, PSP_INVALID_LEN,
                              "TMR of 0x%x bytes, expected 0x%x", len, need);
        }
        /* SEV API: the TMR is aligned to its size */
        if (tmr % need) {
            return psp_refuse(c, PSP_INVALID_ADDRESS,
                              "TMR at 0x%" PRIx64 ", expected a multiple of "
                              "0x%x", tmr, need);
        }
        /* ABI: the TMR is memory, Firmware pages if SNP is initialised */
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

/* INIT */
PspStatus psp_sev_init(PspCall *c)
{
    const SevCmdInit *cmd = PSP_BUF(c, SevCmdInit);

    return init(c, le32_to_cpu(cmd->flags), psp_addr(cmd->tmr_address),
                le32_to_cpu(cmd->tmr_len));
}

/* INIT_EX */
PspStatus psp_sev_init_ex(PspCall *c)
{
    const SevCmdInitEx *cmd = PSP_BUF(c, SevCmdInitEx);
    uint64_t nv = psp_addr(cmd->nv_address);
    PspStatus status;

    /* SEV API: length of the command buffer */
    if (le32_to_cpu(cmd->length) != sizeof(*cmd)) {
        return psp_refuse(c, PSP_INVALID_LEN, "length %u, expected %zu",
                          le32_to_cpu(cmd->length), sizeof(*cmd));
    }
    /* SEV API: length of the NV storage */
    if (le32_to_cpu(cmd->nv_len) != SEV_NV_SIZE) {
        return psp_refuse(c, PSP_INVALID_LEN,
                          "NV storage of 0x%x bytes, expected 0x%x",
                          le32_to_cpu(cmd->nv_len), (int)SEV_NV_SIZE);
    }
    /* SEV API: alignment of the NV storage */
    if (nv % PSP_PAGE) {
        return psp_refuse(c, PSP_INVALID_ADDRESS,
                          "NV storage is not aligned to a page");
    }
    /*
     * ABI: the NV storage is memory, Firmware pages if SNP is initialised.
     * Model: nothing is stored there, no state outlives the machine.
     */
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

/* SHUTDOWN: guests that are left are gone */
PspStatus psp_sev_shutdown(PspCall *c)
{
    g_hash_table_foreach_remove(c->s->guests, drop_guest, c);
    c->s->sev_state = SEV_UNINIT;
    c->s->sev_es = false;
    return PSP_SUCCESS;
}

/* PLATFORM_STATUS */
PspStatus psp_sev_platform_status(PspCall *c)
{
    AmdPspState *s = c->s;

    *PSP_BUF(c, SevCmdPlatformStatus) = (SevCmdPlatformStatus) {
        .api_major = PSP_API_MAJOR,
        .api_minor = PSP_API_MINOR,
        .state = psp_sev_state(s),
        .flags = cpu_to_le32((s->owner_certs ? SEV_STATUS_FLAG_OWNED : 0) |
                             (s->sev_es ? SEV_STATUS_FLAG_ES : 0)),
        .build = s->build,
        .guest_count = cpu_to_le32(g_hash_table_size(s->guests)),
    };
    psp_write_buf(c, 0, c->cmd->len);
    return PSP_SUCCESS;
}

/* GET_ID */
PspStatus psp_sev_get_id(PspCall *c)
{
    uint64_t addr = psp_addr(PSP_BUF(c, SevCmdGetId)->address);
    PspStatus status;

    /* SEV API: a length that is too short is answered with the right one */
    if (psp_length_query(c, offsetof(SevCmdGetId, len), SEV_ID_LEN)) {
        return psp_answer_lengths(c);
    }
    /* SEV API, ABI: the ID's address */
    status = psp_check_output(c, "the ID", addr, SEV_ID_LEN);
    if (status) {
        return status;
    }
    psp_write_at(c, PSP_BUF(c, SevCmdGetId)->address, c->s->chip_id,
                 SEV_ID_LEN);
    PSP_WRITE_FIELD(c, SevCmdGetId, len);
    return PSP_SUCCESS;
}

/* DOWNLOAD_FIRMWARE */
PspStatus psp_sev_download_firmware(PspCall *c)
{
    const SevCmdDownloadFirmware *cmd = PSP_BUF(c, SevCmdDownloadFirmware);

    /* ABI: not while SNP is initialised */
    if (c->s->snp_init) {
        return psp_refuse(c, PSP_INVALID_PLATFORM_STATE, "SNP is initialised");
    }
    /* SEV API: the image's address */
    if (!psp_is_ram(c->h, psp_addr(cmd->address), le32_to_cpu(cmd->len))) {
        return psp_refuse(c, PSP_INVALID_ADDRESS, "no image in memory");
    }
    /* SEV API: signature. Model: all are wrong, there is nobody to sign one */
    return psp_refuse(c, PSP_BAD_SIGNATURE, "no image is signed for this part");
}
