/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads the emulated host's counters from a test in L1, and makes the host fail firmware commands, or delay VMRUN.
 * The lab puts a QMP monitor behind L1's third serial port for that (lab/boot/qmp.py).
 */
#ifndef SNP_HOST_H
#define SNP_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include "test_util.h"

/* The most entries that snp_host_commands() writes. */
#define SNP_HOST_COMMANDS	64

/* A kind of firmware command: how often, since the emulated host's start, it was issued, and was made to fail. */
struct snp_host_command {
	char name[32];
	u64 done;
	u64 injected;
};

/* Opens the monitor: call it first. If no emulated host answers, returns false, with the reason in WHY. */
bool snp_host_reach(char *why, size_t size);

/* Reads a number of /machine/amd-snp: "guest-errors", "stat-rmp-assigned", ... */
u64 snp_host_counter(const char *name);

/* Fills C, of SNP_HOST_COMMANDS entries, with each kind that was ever issued. Returns how many there are. */
int snp_host_commands(struct snp_host_command *c);

/* Reads 8 bytes at a physical address of L1: memory, or a device's registers. */
u64 snp_host_read(u64 address);

/*
 * Makes commands fail: SPEC is "NAME:N:STATUS,...", by which the Nth command NAME from now on ends with
 * STATUS. A new SPEC replaces the old one, and "" ends all failures.
 */
void snp_host_fail(const char *spec);

/*
 * From now on, a VMRUN with a VMSA on this CPU of L1 waits for so many microseconds, at most a second, before
 * it looks at the VMSA. 0 ends that.
 */
void snp_host_delay_vmrun(unsigned int cpu, unsigned int us);

#endif /* SNP_HOST_H */
