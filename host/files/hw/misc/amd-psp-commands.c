/*
 * AMD Secure Processor: the table of commands
 *
 * Each command's number, name, length of its command buffer, the platform
 * states in which it is allowed, the function that does it, and what must be
 * zero in the buffer.
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
 * allow them: SEND_*, RECEIVE_*, COPY, SNP_ACTIVATE_EX, swapping, moving and
 * metadata of pages, SNP_PAGE_SET_STATE, SNP_HV_REPORT_REQ,
 * SNP_VERIFY_MITIGATION. Of their command buffers, only the length is known.
 *
 * References: SEV API 4.3 (command identifiers) and 5.1.2 (platform states);
 * SNP ABI, the same in its terms.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"

static PspStatus cmd_absent(PspCall *c)
{
    return psp_refuse(c, PSP_UNSUPPORTED, "not modelled");
}

#define SNP_ANY         (IN_UNINIT | IN_INIT)

static const PspCommand commands[] = {
    /* SEV and SEV-ES */
    { 0x001, "INIT", sizeof(SevCmdInit), IN_UNINIT, .handler = psp_sev_init,
      RESERVED(RSVD_BUT(SevCmdInit, flags, SEV_INIT_FLAG_ES),
               RSVD(SevCmdInit, rsvd)) },
    { 0x002, "SHUTDOWN", 0, IN_ANY, .handler = psp_sev_shutdown },
    { 0x003, "FACTORY_RESET", 0, IN_UNINIT, .handler = psp_sev_factory_reset },
    { 0x004, "PLATFORM_STATUS", sizeof(SevCmdPlatformStatus), IN_ANY,
      .writes = true, .handler = psp_sev_platform_status },
    { 0x005, "PEK_GEN", 0, IN_INIT, .handler = psp_sev_pek_gen },
    { 0x006, "PEK_CSR", sizeof(SevCmdPekCsr), IN_READY, .writes = true,
      .handler = psp_sev_pek_csr },
    { 0x007, "PEK_CERT_IMPORT", sizeof(SevCmdPekCertImport), IN_INIT,
      .handler = psp_sev_pek_cert_import,
      RESERVED(RSVD(SevCmdPekCertImport, rsvd)) },
    { 0x008, "PDH_CERT_EXPORT", sizeof(SevCmdPdhCertExport), IN_READY,
      .writes = true, .handler = psp_sev_pdh_cert_export,
      RESERVED(RSVD(SevCmdPdhCertExport, rsvd)) },
    { 0x009, "PDH_GEN", 0, IN_READY, .handler = psp_sev_pdh_gen },
    { 0x00a, "DF_FLUSH", 0, IN_READY, .handler = psp_df_flush },
    { 0x00b, "DOWNLOAD_FIRMWARE", sizeof(SevCmdDownloadFirmware),
      IN_UNINIT | IN_INIT, .handler = psp_sev_download_firmware },
    { 0x00c, "GET_ID", sizeof(SevCmdGetId), IN_ANY, .writes = true,
      .handler = psp_sev_get_id },
    { 0x00d, "INIT_EX", sizeof(SevCmdInitEx), IN_UNINIT,
      .handler = psp_sev_init_ex,
      RESERVED(RSVD_BUT(SevCmdInitEx, flags, SEV_INIT_FLAG_ES),
               RSVD(SevCmdInitEx, rsvd)) },
    { 0x020, "DECOMMISSION", sizeof(SevCmdHandle), IN_READY,
      .handler = psp_sev_decommission },
    { 0x021, "ACTIVATE", sizeof(SevCmdActivate), IN_READY,
      .handler = psp_sev_activate },
    { 0x022, "DEACTIVATE", sizeof(SevCmdHandle), IN_READY,
      .handler = psp_sev_deactivate },
    { 0x023, "GUEST_STATUS", sizeof(SevCmdGuestStatus), IN_READY,
      .writes = true, .handler = psp_sev_guest_status },
    { 0x024, "COPY", 0, IN_READY, .handler = cmd_absent },
    { 0x030, "LAUNCH_START", sizeof(SevCmdLaunchStart), IN_READY,
      .writes = true, .handler = psp_sev_launch_start,
      RESERVED(RSVD(SevCmdLaunchStart, rsvd)) },
    { 0x031, "LAUNCH_UPDATE_DATA", sizeof(SevCmdLaunchUpdateData), IN_READY,
      .handler = psp_sev_launch_update_data,
      RESERVED(RSVD(SevCmdLaunchUpdateData, rsvd)) },
    { 0x032, "LAUNCH_UPDATE_VMSA", sizeof(SevCmdLaunchUpdateVmsa), IN_READY,
      .handler = psp_sev_launch_update_vmsa,
      RESERVED(RSVD(SevCmdLaunchUpdateVmsa, rsvd)) },
    { 0x033, "LAUNCH_MEASURE", sizeof(SevCmdLaunchMeasure), IN_READY,
      .writes = true, .handler = psp_sev_launch_measure,
      RESERVED(RSVD(SevCmdLaunchMeasure, rsvd)) },
    { 0x034, "LAUNCH_UPDATE_SECRET", sizeof(SevCmdLaunchSecret), IN_READY,
      .handler = psp_sev_launch_update_secret,
      RESERVED(RSVD(SevCmdLaunchSecret, rsvd1), RSVD(SevCmdLaunchSecret, rsvd2),
               RSVD(SevCmdLaunchSecret, rsvd3)) },
    { 0x035, "LAUNCH_FINISH", sizeof(SevCmdHandle), IN_READY,
      .handler = psp_sev_launch_finish },
    { 0x036, "ATTESTATION_REPORT", sizeof(SevCmdAttestationReport), IN_READY,
      .writes = true, .handler = psp_sev_attestation_report,
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
      .handler = psp_sev_dbg_decrypt, RESERVED(RSVD(SevCmdDbg, rsvd)) },
    { 0x061, "DBG_ENCRYPT", sizeof(SevCmdDbg), IN_READY,
      .handler = psp_sev_dbg_encrypt, RESERVED(RSVD(SevCmdDbg, rsvd)) },

    /* SNP */
    { 0x081, "SNP_INIT", 0, IN_UNINIT, true, .handler = psp_snp_init },
    { 0x082, "SNP_SHUTDOWN", 0, IN_INIT, true, .handler = psp_snp_shutdown },
    { 0x083, "SNP_PLATFORM_STATUS", sizeof(SnpCmdPlatformStatus), SNP_ANY, true,
      .handler = psp_snp_platform_status },
    { 0x084, "SNP_DF_FLUSH", 0, IN_INIT, true, .handler = psp_df_flush },
    /* RAPL, ciphertext hiding and TIO are no features of this one */
    { 0x085, "SNP_INIT_EX", sizeof(SnpCmdInitEx), IN_UNINIT, true,
      .handler = psp_snp_init_ex,
      RESERVED(RSVD_BUT(SnpCmdInitEx, flags,
                        SNP_INIT_RMP | SNP_INIT_LIST_PADDR_EN),
               RSVD(SnpCmdInitEx, rsvd1),
               RSVD_FROM(SnpCmdInitEx, max_snp_asid)) },
    { 0x086, "SNP_SHUTDOWN_EX", sizeof(SnpCmdShutdownEx), IN_INIT, true,
      .handler = psp_snp_shutdown_ex,
      RESERVED(RSVD_BUT(SnpCmdShutdownEx, flags, SNP_SHUTDOWN_IOMMU)) },
    { 0x090, "SNP_DECOMMISSION", sizeof(SnpCmdGctx), IN_INIT, true,
      .handler = psp_snp_decommission },
    { 0x091, "SNP_ACTIVATE", sizeof(SnpCmdActivate), IN_INIT, true,
      .handler = psp_snp_activate },
    { 0x092, "SNP_GUEST_STATUS", sizeof(SnpCmdGuestStatus), IN_INIT, true,
      .handler = psp_snp_guest_status },
    { 0x093, "SNP_GCTX_CREATE", sizeof(SnpCmdGctx), IN_INIT, true,
      .handler = psp_snp_gctx_create },
    { 0x094, "SNP_GUEST_REQUEST", sizeof(SnpCmdGuestRequest), IN_INIT, true,
      .handler = psp_snp_guest_request },
    /* Not modelled: of the command buffer, only the length is known */
    { 0x095, "SNP_ACTIVATE_EX", 24, IN_INIT, true, .handler = cmd_absent },
    { 0x0a0, "SNP_LAUNCH_START", sizeof(SnpCmdLaunchStart), IN_INIT, true,
      .handler = psp_snp_launch_start,
      RESERVED(RSVD_BUT(SnpCmdLaunchStart, flags,
                        SNP_LAUNCH_START_MA_EN | SNP_LAUNCH_START_IMI_EN)) },
    { 0x0a1, "SNP_LAUNCH_UPDATE", sizeof(SnpCmdLaunchUpdate), IN_INIT, true,
      .handler = psp_snp_launch_update,
      RESERVED(RSVD_BUT(SnpCmdLaunchUpdate, flags, SNP_LAUNCH_UPDATE_FLAGS),
               RSVD(SnpCmdLaunchUpdate, rsvd2),
               RSVD_BUT(SnpCmdLaunchUpdate, vmpl_perms,
                        SNP_LAUNCH_UPDATE_PERMS_KNOWN),
               RSVD(SnpCmdLaunchUpdate, rsvd4)) },
    { 0x0a2, "SNP_LAUNCH_FINISH", sizeof(SnpCmdLaunchFinish), IN_INIT, true,
      .handler = psp_snp_launch_finish,
      RESERVED(RSVD_BUT(SnpCmdLaunchFinish, flags, SNP_LAUNCH_FINISH_FLAGS),
               RSVD(SnpCmdLaunchFinish, rsvd)) },
    { 0x0b0, "SNP_DBG_DECRYPT", sizeof(SnpCmdDbg), IN_INIT, true,
      .handler = psp_snp_dbg_decrypt },
    { 0x0b1, "SNP_DBG_ENCRYPT", sizeof(SnpCmdDbg), IN_INIT, true,
      .handler = psp_snp_dbg_encrypt },
    /* Not modelled: of the command buffer, only the length is known */
    { 0x0b2, "SNP_VERIFY_MITIGATION", 64, SNP_ANY, true,
      .handler = cmd_absent },
    { 0x0c0, "SNP_PAGE_SWAP_OUT", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c1, "SNP_PAGE_SWAP_IN", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c2, "SNP_PAGE_MOVE", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c3, "SNP_PAGE_MD_INIT", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c6, "SNP_PAGE_SET_STATE", 0, IN_INIT, true, .handler = cmd_absent },
    { 0x0c7, "SNP_PAGE_RECLAIM", sizeof(SnpCmdPageReclaim), IN_INIT, true,
      .handler = psp_snp_page_reclaim },
    { 0x0c8, "SNP_PAGE_UNSMASH", sizeof(SnpCmdPageUnsmash), IN_INIT, true,
      .handler = psp_snp_page_unsmash },
    { 0x0c9, "SNP_CONFIG", sizeof(SnpCmdConfig), IN_INIT, true,
      .handler = psp_snp_config,
      RESERVED(RSVD_BUT(SnpCmdConfig, flags,
                        SNP_CONFIG_MASK_CHIP_ID | SNP_CONFIG_MASK_CHIP_KEY),
               RSVD(SnpCmdConfig, rsvd)) },
    { 0x0ca, "SNP_DOWNLOAD_FIRMWARE_EX", sizeof(SnpCmdDownloadFirmwareEx),
      SNP_ANY, true, .handler = psp_snp_download_firmware },
    { 0x0cb, "SNP_COMMIT", sizeof(SnpCmdCommit), SNP_ANY, true,
      .handler = psp_snp_commit },
    { 0x0cd, "SNP_VLEK_LOAD", sizeof(SnpCmdVlekLoad), IN_INIT, true,
      .handler = psp_snp_vlek_load,
      /* The version and what is reserved behind it */
      RESERVED(RSVD_BUT(SnpCmdVlekLoad, vlek_wrapped_version, 0)) },
    { 0x0ce, "SNP_FEATURE_INFO", sizeof(SnpCmdFeatureInfo), SNP_ANY, true,
      .handler = psp_snp_feature_info },
    { 0x0cf, "SNP_HV_REPORT_REQ", 0, IN_INIT, true, .handler = cmd_absent },
};

const PspCommand *psp_command_at(unsigned i)
{
    return i < ARRAY_SIZE(commands) ? &commands[i] : NULL;
}
