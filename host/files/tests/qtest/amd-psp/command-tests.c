/*
 * qtest for the AMD Secure Processor: what all commands have in common
 *
 * Command buffers, reserved bits and platform states, of the SEV API ("Platform
 * State Machine") and of the SNP ABI ("Command Buffer", "Platform States").
 * Tested: buffers that are not in memory, numbers of no command, bits that must
 * be zero, and each command in each state that does not allow it. A command
 * that is known and not modelled answers UNSUPPORTED.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-lib.h"
#include "amd-psp/chapters.h"

#define APIC_ADDR       0xfee00000

/* Numbers between those of commands */
static bool is_no_command(unsigned id)
{
    return id == 0 || id == 0xe || id == 0x25 || id == 0x62 || id == 0x80 ||
           id == 0xd0 || id >= 0x7f0;
}

/*
 * Each of these buffers has one reserved bit set, which is found before the
 * state of the platform is.
 */
static void check_reserved_bits(Psp *p)
{
    EXPECT(p, BAD_PARAM, INIT, 2);
    EXPECT(p, BAD_PARAM, INIT, DW(0, 1));
    EXPECT(p, BAD_PARAM, INIT_EX, DW(INIT_EX_LEN, 2));
    EXPECT(p, BAD_PARAM, LAUNCH_START, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, LAUNCH_UPDATE_DATA, DW(1, 1));
    EXPECT(p, BAD_PARAM, LAUNCH_UPDATE_VMSA, DW(1, 1));
    EXPECT(p, BAD_PARAM, LAUNCH_MEASURE, DW(1, 1));
    EXPECT(p, BAD_PARAM, LAUNCH_UPDATE_SECRET, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, ATTESTATION_REPORT, DW(1, 1));
    EXPECT(p, BAD_PARAM, DBG_DECRYPT, DW(1, 1));
    EXPECT(p, BAD_PARAM, DBG_ENCRYPT, DW(1, 1));
    EXPECT(p, BAD_PARAM, PEK_CERT_IMPORT, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, PDH_CERT_EXPORT, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 4);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, DW(1, 1));
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, SNP_INIT_RMP, 0, 1);
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, SNP_INIT_RMP, 0, 0, 0, 0, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_SHUTDOWN_EX, DW(SHUTDOWN_LEN, 2));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_START, 0, 0, 0, 4);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, 0x20);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, 0, 0, 1);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, 0, 0, DW(0x10000000, 0));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_UPDATE, 0, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, 0, 0, 0, 8);
    EXPECT(p, BAD_PARAM, SNP_LAUNCH_FINISH, 0, 0, 0, DW(0, 1));
    EXPECT(p, BAD_PARAM, SNP_CONFIG, 0, 4);
    EXPECT(p, BAD_PARAM, SNP_VLEK_LOAD, DW(16, 1));
}

/* Which of reserved bits and state comes first is a property */
static void test_order(void)
{
    Psp *p = psp_start(SYSCFG_SNP, ",state-first=on");

    EXPECT(p, BAD_PLATFORM_STATE, SNP_CONFIG, 0, 4);
    EXPECT(p, BAD_PLATFORM_STATE, DBG_DECRYPT, DW(1, 1));
    EXPECT(p, BAD_PARAM, SNP_INIT_EX, 4);
    snp_init(p);
    EXPECT(p, BAD_PARAM, SNP_CONFIG, 0, 4);
    psp_stop(p);
    p = psp_start(SYSCFG_SNP, NULL);
    EXPECT(p, BAD_PARAM, SNP_CONFIG, 0, 4);
    psp_stop(p);
}

static void test_buffers(void)
{
    Psp *p = psp_start(SYSCFG_SNP, NULL);
    const uint64_t bad[] = {
        NO_RAM,                     /* no memory there */
        RAM_END - 4,                /* leaves it */
        APIC_ADDR,                  /* a device */
        p->rmp_base,                /* the RMP */
        p->rmp_end - 3,
        UINT64_MAX - 3 - C_BIT, UINT64_MAX,
    };

    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t errors = psp_host_get(p, "errors-firmware");

        psp_issue(p, PLATFORM_STATUS, bad[i]);
        g_assert_cmphex(psp_wait(p), ==, BAD_ADDRESS);
        g_assert_cmpuint(psp_host_get(p, "errors-firmware"), ==, errors + 1);
    }
    /* The C-bit does not count */
    psp_issue(p, PLATFORM_STATUS, PSP_CMD_BUF | C_BIT);
    g_assert_cmphex(psp_wait(p), ==, OK);

    for (unsigned id = 0; id < N_COMMANDS; id++) {
        if (is_no_command(id)) {
            EXPECT(p, BAD_COMMAND, id, 0);
        }
    }
    check_reserved_bits(p);
    psp_stop(p);
}

static void test_states(void)
{
    static const uint8_t need_init[] = {
        PEK_GEN, PEK_CSR, PEK_CERT_IMPORT, PDH_CERT_EXPORT, PDH_GEN, DF_FLUSH,
        DECOMMISSION, ACTIVATE, DEACTIVATE, GUEST_STATUS, COPY, LAUNCH_START,
        LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA, LAUNCH_MEASURE,
        LAUNCH_UPDATE_SECRET, LAUNCH_FINISH, ATTESTATION_REPORT, SEND_START,
        SEND_UPDATE_DATA, SEND_UPDATE_VMSA, SEND_FINISH, SEND_CANCEL,
        RECEIVE_START, RECEIVE_UPDATE_DATA, RECEIVE_UPDATE_VMSA,
        RECEIVE_FINISH, DBG_DECRYPT, DBG_ENCRYPT,
        SNP_SHUTDOWN, SNP_DF_FLUSH, SNP_SHUTDOWN_EX,
        SNP_DECOMMISSION, SNP_ACTIVATE, SNP_GUEST_STATUS, SNP_GCTX_CREATE,
        SNP_GUEST_REQUEST, SNP_ACTIVATE_EX, SNP_LAUNCH_START,
        SNP_LAUNCH_UPDATE, SNP_LAUNCH_FINISH, SNP_DBG_DECRYPT,
        SNP_DBG_ENCRYPT, SNP_PAGE_SWAP_OUT, SNP_PAGE_SWAP_IN, SNP_PAGE_MOVE,
        SNP_PAGE_MD_INIT, SNP_PAGE_SET_STATE, SNP_PAGE_RECLAIM,
        SNP_PAGE_UNSMASH, SNP_CONFIG, SNP_VLEK_LOAD, SNP_HV_REPORT_REQ,
    };
    static const uint8_t absent[] = {
        COPY, SEND_START, SEND_UPDATE_DATA, SEND_UPDATE_VMSA, SEND_FINISH,
        SEND_CANCEL, RECEIVE_START, RECEIVE_UPDATE_DATA, RECEIVE_UPDATE_VMSA,
        RECEIVE_FINISH, SNP_ACTIVATE_EX, SNP_VERIFY_MITIGATION,
        SNP_PAGE_SWAP_OUT, SNP_PAGE_SWAP_IN, SNP_PAGE_MOVE, SNP_PAGE_MD_INIT,
        SNP_PAGE_SET_STATE, SNP_HV_REPORT_REQ,
    };
    Psp *p = psp_start(SYSCFG_SNP, NULL);

    for (int i = 0; i < ARRAY_SIZE(need_init); i++) {
        EXPECT(p, BAD_PLATFORM_STATE, need_init[i], 0);
    }
    snp_init(p);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_INIT, 0);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_INIT_EX, SNP_INIT_RMP);
    EXPECT(p, BAD_PLATFORM_STATE, DOWNLOAD_FIRMWARE, OUT, IMAGE_LEN);
    sev_init(p, false);
    EXPECT(p, BAD_PLATFORM_STATE, INIT, 0);
    EXPECT(p, BAD_PLATFORM_STATE, INIT_EX, INIT_EX_LEN, 0, 0, OUT, NV_LEN);
    EXPECT(p, BAD_PLATFORM_STATE, FACTORY_RESET, 0);
    for (int i = 0; i < ARRAY_SIZE(absent); i++) {
        EXPECT(p, UNSUPPORTED, absent[i], 0);
    }
    /* SNP goes down after SEV, and comes up before it */
    EXPECT(p, BAD_PLATFORM_STATE, SNP_SHUTDOWN, 0);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_SHUTDOWN_EX, SHUTDOWN_LEN);
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, SNP_SHUTDOWN, 0);
    EXPECT(p, OK, INIT, 0);
    EXPECT(p, BAD_PLATFORM_STATE, SNP_INIT, 0);

    /* With a guest the platform is WORKING */
    EXPECT(p, OK, LAUNCH_START, 0);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(STATUS_STATE(result32(p, PLATFORM_STATUS_WORD)), ==,
                    WORKING);
    g_assert_cmphex(result32(p, PLATFORM_STATUS_GUESTS), ==, 1);
    EXPECT(p, BAD_PLATFORM_STATE, PEK_GEN, 0);
    EXPECT(p, BAD_PLATFORM_STATE, PEK_CERT_IMPORT, 0);
    EXPECT(p, OK, SHUTDOWN, 0);
    EXPECT(p, OK, PLATFORM_STATUS, 0);
    g_assert_cmphex(STATUS_STATE(result32(p, PLATFORM_STATUS_WORD)), ==,
                    UNINIT);
    psp_stop(p);
}

void add_command_tests(void)
{
    qtest_add_func("amd-psp/buffers", test_buffers);
    qtest_add_func("amd-psp/states", test_states);
    qtest_add_func("amd-psp/order", test_order);
}
