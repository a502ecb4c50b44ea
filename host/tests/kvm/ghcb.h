/* SPDX-License-Identifier: GPL-2.0-only */
/* The GHCB page: its layout, its requests and their answers (GHCB specification, 56421). */
#ifndef GHCB_H
#define GHCB_H

/* Offsets in the GHCB page. Each 8 bytes of its save area have a bit in the valid bitmap. */
#define GHCB_CPL		0x0cb
#define GHCB_RAX		0x1f8
#define GHCB_RCX		0x308
#define GHCB_RDX		0x310
#define GHCB_RBX		0x318
#define GHCB_SW_EXITCODE	0x390
#define GHCB_SW_EXITINFO1	0x398
#define GHCB_SW_EXITINFO2	0x3a0
#define GHCB_SW_SCRATCH		0x3a8
#define GHCB_XCR0		0x3e8
#define GHCB_VALID_BITMAP	0x3f0
#define GHCB_SHARED_BUFFER	0x800
#define GHCB_SHARED_BUFFER_END	0xff0
#define GHCB_PROTOCOL_VERSION	0xffa
#define GHCB_USAGE		0xffc

/* SW_EXITCODE: intercepts, and events of the protocol's own. */
#define EXIT_CPUID		0x072
#define EXIT_IOIO		0x07b
#define EXIT_VMMCALL		0x081
#define EXIT_MMIO_READ		0x80000001
#define EXIT_MMIO_WRITE		0x80000002
#define EXIT_PSC		0x80000010
#define EXIT_GUEST_REQUEST	0x80000011
#define EXIT_EXT_GUEST_REQUEST	0x80000012
#define EXIT_AP_CREATION	0x80000013
#define EXIT_UNKNOWN		0x80001234

/* SW_EXITINFO1 of AP_CREATION: the request, and the vCPU's APIC ID; RAX has the VMSA's SEV_FEATURES. */
#define AP_CREATE_ON_INIT	0
#define AP_CREATE		1
#define AP_DESTROY		2
#define AP_REQUEST(request, apic_id)	((request) | (u64)(apic_id) << 32)

/* SW_EXITINFO1 of IOIO, as the intercept has it. */
#define IOIO_IN			BIT(0)
#define IOIO_STRING		BIT(2)
#define IOIO_BYTES(n)		((n) << 4)
#define IOIO_PORT(port)		((port) << 16)

/* The answer in SW_EXITINFO1, and with MALFORMED_INPUT the one in SW_EXITINFO2. */
#define RESP_NO_ACTION		0
#define RESP_MALFORMED_INPUT	2
#define ERR_NOT_REGISTERED	1
#define ERR_INVALID_USAGE	2
#define ERR_INVALID_SCRATCH	3
#define ERR_MISSING_INPUT	4
#define ERR_INVALID_INPUT	5
#define ERR_INVALID_EVENT	6

/* The answer to a page state change, in SW_EXITINFO2. */
#define PSC_INVALID_HEADER	(BIT_ULL(32) | 1)
#define PSC_INVALID_ENTRY	(BIT_ULL(32) | 2)
#define PSC_2M			BIT_ULL(56)
#define PSC_ENTRY(gfn, op)	(((op) << 52) | ((u64)(gfn) << 12))

/* The hypervisor's features, as the GHCB MSR protocol reports them. */
#define HV_FT_SNP		BIT_ULL(0)
#define HV_FT_AP_CREATION	BIT_ULL(1)

#endif /* GHCB_H */
