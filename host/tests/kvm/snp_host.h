/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads the emulated host's counters from a test in L1, and makes the host fail firmware commands.
 * The lab puts a QMP monitor behind L1's third serial port for that (lab/boot/qmp.py).
 */
#ifndef SNP_HOST_H
#define SNP_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include "test_util.h"

#define SNP_HOST_COMMANDS	64

/* One kind of firmware command: how often it was issued since the host's start, and made to fail. */
struct snp_host_command {
	char name[32];
	u64 done;
	u64 injected;
};

bool snp_host_reach(char *why, size_t size);
u64 snp_host_counter(const char *name);
int snp_host_commands(struct snp_host_command *c);
void snp_host_fail(const char *spec);

#endif /* SNP_HOST_H */
