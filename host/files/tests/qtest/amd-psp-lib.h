/*
 * qtest helpers for the AMD Secure Processor
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_AMD_PSP_LIB_H
#define TESTS_AMD_PSP_LIB_H

#include "libqtest.h"
#include "libqos/pci-pc.h"

#define PSP_PAGE            0x1000
#define PSP_2M              0x200000

#define REG_INTEN           0x10690
#define REG_INTSTS          0x10694
#define REG_CMDRESP         0x10980
#define REG_BUF_LO          0x109e0
#define REG_BUF_HI          0x109e4
#define REG_BOOTLOADER      0x109ec
#define REG_FEATURE         0x109fc
#define CMDRESP_DONE        0x80000000u

/* Low quadword of RMP entries, by page state */
#define RMP_ASSIGNED        1ULL
#define RMP_2M              2ULL
#define RMP_IMMUTABLE       4ULL
#define RMP_ASID(asid)      ((uint64_t)(asid) << 51)
#define RMP_VMSA            (1ULL << 61)
#define RMP_VALIDATED       (1ULL << 62)
#define RMP_HYPERVISOR      0ULL
#define RMP_HV_FIXED        RMP_IMMUTABLE
#define RMP_RECLAIM         RMP_ASSIGNED
#define RMP_FIRMWARE        (RMP_ASSIGNED | RMP_IMMUTABLE)
#define RMP_CONTEXT         (RMP_FIRMWARE | RMP_VMSA)
#define RMP_PRE_GUEST(asid, gpa) (RMP_FIRMWARE | RMP_ASID(asid) | (gpa))
#define RMP_GUEST(asid, gpa) \
    (RMP_ASSIGNED | RMP_VALIDATED | RMP_ASID(asid) | (gpa))

/* Command buffer of psp_cmd() */
#define PSP_CMD_BUF         0x100000

/* SYSCFG as SNP_INIT wants it */
#define SYSCFG_SNP          0x39c0000

typedef struct Psp {
    QTestState *qts;
    QPCIBus *bus;
    QPCIDevice *dev;
    QPCIBar bar;
    uint64_t rmp_base;
    uint64_t rmp_end;
} Psp;

/* Start a machine; @device: more properties for amd-psp, from a comma on */
Psp *psp_start(uint32_t syscfg, const char *device);
void psp_stop(Psp *p);
/* After a reset: BAR and command register are set up anew */
void psp_setup_pci(Psp *p);

void psp_rmp_write(Psp *p, uint64_t pa, uint64_t lo);
uint64_t psp_rmp_read(Psp *p, uint64_t pa);
uint64_t psp_rmp_read_hi(Psp *p, uint64_t pa);

/* Write a command to the mailbox; psp_wait() returns its status */
void psp_issue(Psp *p, unsigned id, uint64_t addr);
unsigned psp_wait(Psp *p);
/* Both, for a command with @len bytes of @buf, at PSP_CMD_BUF */
unsigned psp_cmd(Psp *p, unsigned id, const void *buf, size_t len);

uint64_t psp_host_get(Psp *p, const char *property);
/* As if every CPU had executed WBINVD */
void psp_wbinvd(Psp *p);
char *psp_get_str(Psp *p, const char *property);

#endif
