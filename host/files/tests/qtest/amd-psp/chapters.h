/*
 * qtest for the AMD Secure Processor: the parts of amd-psp-test
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_AMD_PSP_CHAPTERS_H
#define TESTS_AMD_PSP_CHAPTERS_H

void add_device_tests(void);
void add_command_tests(void);
void add_sev_platform_tests(void);
void add_sev_guest_tests(void);
void add_snp_platform_tests(void);
void add_snp_page_tests(void);
void add_snp_guest_tests(void);
void add_snp_launch_tests(void);
/* With GnuTLS only */
void add_sev_certificate_tests(void);
void add_snp_id_block_tests(void);
void add_snp_message_tests(void);

#endif
