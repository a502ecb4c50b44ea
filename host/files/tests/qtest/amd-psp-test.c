/*
 * qtest for the AMD Secure Processor: mailbox, SEV and SNP firmware
 *
 * No CPU runs: what RMPUPDATE would do is written to the RMP's memory, and
 * WBINVD is a property of the platform. Memory is read as it is in the
 * machine, without the keys that a CPU would read it through.
 *
 * One file in amd-psp/ for each chapter of the specifications.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp/chapters.h"

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    add_device_tests();
    add_command_tests();
    add_sev_platform_tests();
    add_sev_guest_tests();
    add_snp_platform_tests();
    add_snp_page_tests();
    add_snp_guest_tests();
    add_snp_launch_tests();
#ifdef CONFIG_GNUTLS
    add_sev_certificate_tests();
    add_snp_id_block_tests();
    add_snp_message_tests();
#endif
    return g_test_run();
}
