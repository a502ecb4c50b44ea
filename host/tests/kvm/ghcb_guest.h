/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A SEV-ES or SEV-SNP guest that makes the VMGEXITs which the host wants it to make, one after the other.
 *
 * The GHCB page is shared: the host writes each request into it, good or bad, and reads the answer
 * there ("SEV-ES Guest-Hypervisor Communication Block Standardization", 56421).
 */
#ifndef GHCB_GUEST_H
#define GHCB_GUEST_H

#include <stdint.h>

#include "kselftest.h"
#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"
#include "sev.h"

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
#define SNP_FEATURES		BIT_ULL(0)

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
#define PSC_PRIVATE		1ull
#define PSC_SHARED		2ull
#define PSC_2M			BIT_ULL(56)
#define PSC_ENTRY(gfn, op)	(((op) << 52) | ((u64)(gfn) << 12))

/* The GHCB MSR protocol. */
#define MSR_INFO(v)		((v) & 0xfff)
#define MSR_SEV_INFO_REQ	0x002
#define MSR_SEV_INFO_RESP	0x001
#define MSR_CPUID_REQ		0x004
#define MSR_CPUID_RESP		0x005
#define MSR_REG_GPA_REQ		0x012
#define MSR_REG_GPA_RESP	0x013
#define MSR_PSC_REQ		0x014
#define MSR_PSC_RESP		0x015
#define MSR_PSC_ERROR		(BIT_ULL(63) | MSR_PSC_RESP)
#define MSR_HV_FT_REQ		0x080
#define MSR_HV_FT_RESP		0x081
#define HV_FT_SNP		BIT_ULL(0)
#define HV_FT_AP_CREATION	BIT_ULL(1)

/* By this termination request the guest says that it is ready for the next request. */
#define READY			(GHCB_MSR_TERM_REQ | (0xaull << 12) | (0x5aull << 16))

/* What the guest does next: nothing, a VMGEXIT, or an instruction of its own. */
enum {
	DO_NOTHING,
	/* VMGEXIT with MSR in the GHCB MSR; with DO_MSR the guest reports the MSR's value afterwards. */
	DO_PAGE,
	DO_MSR,
	/* Make the private page at GVA a VMSA that starts at RIP with ARG, or an ordinary page again. */
	DO_MAKE_VMSA,
	DO_END_VMSA,
};

/* What the host wants the guest to do, in a shared page. */
struct mailbox {
	u64 what;
	u64 msr;
	u64 gva;
	u64 rip;
	u64 rsp;
	u64 arg;
	/* The GHCB MSR, or RMPADJUST's result. */
	u64 answer;
};

#define MAX_VCPUS	2
#define NR_SPARE	4

struct ghcb_vm {
	struct kvm_vm *vm;
	/* vCPU 0 waits for requests; others are halted until the guest creates them. */
	struct kvm_vcpu *vcpu, *vcpus[MAX_VCPUS];
	struct mailbox *box;
	/* The GHCB, and a shared page that is not one: their addresses on the host and in the guest. */
	u8 *ghcb, *other;
	gva_t other_gva;
	gpa_t ghcb_gpa, other_gpa;
	/* NR_SPARE private pages that nobody uses. */
	gva_t spare;
	gpa_t spare_gpa;
};

/* run() returns the exit's reason, a negative error of KVM_RUN, or this: the guest has its answer. */
#define ANSWERED	1000

bool has_type(u32 type);
void create(struct ghcb_vm *g, u32 type, int nr_vcpus);
int run(struct ghcb_vm *g);
int run_vcpu(struct kvm_vcpu *vcpu);
const char *exit_name(int reason);
u64 ghcb_get(struct ghcb_vm *g, unsigned int field);
bool ghcb_is_valid(struct ghcb_vm *g, unsigned int field);
void ghcb_set(struct ghcb_vm *g, unsigned int field, u64 value);
void page_set(u8 *page, unsigned int field, u64 value);
void page_set_valid(u8 *page, unsigned int field);
void page_request(u8 *page, u64 code, u64 info1, u64 info2);
void request(struct ghcb_vm *g, u64 code, u64 info1, u64 info2);
void request_scratch(struct ghcb_vm *g, u64 code, u64 info1, u64 info2, unsigned int offset);
void request_msr(struct ghcb_vm *g, u64 value);
gpa_t private_gpa(struct ghcb_vm *g, gva_t gva);
void register_ghcb(struct ghcb_vm *g);
u64 guest_does(struct ghcb_vm *g, u64 what, gva_t gva);
void require_snp(void);

#define ASSERT_EXIT(g, expected)						\
do {										\
	int found__ = run(g);							\
										\
	ASSERT_EQ(expected, found__)						\
		TH_LOG("expected %s, found %s", #expected, exit_name(found__));	\
} while (0)

/* Runs the guest, which must get this answer, without an exit to userspace. */
#define ASSERT_ANSWER(vm_, info1, info2)					\
do {										\
	struct ghcb_vm *answered_ = (vm_);					\
										\
	ASSERT_EXIT(answered_, ANSWERED);					\
	EXPECT_EQ((u64)(info1), ghcb_get(answered_, GHCB_SW_EXITINFO1));	\
	EXPECT_EQ((u64)(info2), ghcb_get(answered_, GHCB_SW_EXITINFO2));	\
	EXPECT_TRUE(ghcb_is_valid(answered_, GHCB_SW_EXITINFO1));		\
	EXPECT_TRUE(ghcb_is_valid(answered_, GHCB_SW_EXITINFO2));		\
} while (0)

/* Runs the guest, whose page state change must come to userspace like this. */
#define ASSERT_PSC_EXIT(vm_, gfn, nr_pages, op)					\
do {										\
	struct ghcb_vm *changed_ = (vm_);					\
	struct kvm_run *run_ = changed_->vcpu->run;				\
										\
	ASSERT_EXIT(changed_, KVM_EXIT_HYPERCALL);				\
	ASSERT_EQ(KVM_HC_MAP_GPA_RANGE, run_->hypercall.nr);			\
	EXPECT_EQ((u64)(gfn) << 12, run_->hypercall.args[0]);			\
	EXPECT_EQ((u64)(nr_pages), run_->hypercall.args[1]);			\
	EXPECT_EQ((op) == PSC_PRIVATE,						\
		  !!(run_->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED));	\
} while (0)

#endif /* GHCB_GUEST_H */
