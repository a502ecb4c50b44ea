/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers for SEV-ES and SEV-SNP guests that talk to their host: the GHCB, SNP's
 * instructions, the VMSA of a vCPU that the guest starts itself; and a VM whose
 * guest makes the requests that the host wants it to make.
 *
 * Names and numbers are those of "SEV-ES Guest-Hypervisor Communication Block
 * Standardization" (56421), in short the GHCB specification, and of the AMD64
 * Architecture Programmer's Manual (APM), volume 2, appendix B, and volume 3.
 */
#ifndef SELFTEST_KVM_SEV_GUEST_H
#define SELFTEST_KVM_SEV_GUEST_H

#include "kvm_util.h"
#include "processor.h"
#include "sev.h"
#include "svm_util.h"

/* --- The GHCB MSR protocol (GHCB specification, 2.3.1) ------------------------ */

/* Requests in the GHCB MSR, and the response that each one gets. */
#define GHCB_MSR_INFO(v)		((v) & 0xfff)
#define GHCB_MSR_SEV_INFO_RESP		0x001
#define GHCB_MSR_SEV_INFO_REQ		0x002
#define GHCB_MSR_CPUID_REQ		0x004
#define GHCB_MSR_CPUID_RESP		0x005
#define GHCB_MSR_REG_GPA_REQ		0x012
#define GHCB_MSR_REG_GPA_RESP		0x013
#define GHCB_MSR_PSC_REQ		0x014
#define GHCB_MSR_PSC_RESP		0x015
#define GHCB_MSR_PSC_RESP_ERROR		(BIT_ULL(63) | GHCB_MSR_PSC_RESP)
#define GHCB_MSR_HV_FT_REQ		0x080
#define GHCB_MSR_HV_FT_RESP		0x081

/* A termination request; its reason set and code mean what the test says. */
#define GHCB_MSR_TERM(set, code) \
	(GHCB_MSR_TERM_REQ | (u64)(set) << 12 | (u64)(code) << 16)

/* The hypervisor's features, as of bit 12 of the response. */
#define GHCB_HV_FT_SNP			BIT_ULL(0)
#define GHCB_HV_FT_SNP_AP_CREATION	BIT_ULL(1)

/* Page operations, in bits 55:52 of a request and of an entry in a list. */
#define SNP_PAGE_STATE_PRIVATE		1ull
#define SNP_PAGE_STATE_SHARED		2ull

/* --- The GHCB page (GHCB specification, 2.6 and 4.1) --------------------------- */

/* Offsets.  Each 8 bytes of the save area have a bit in the valid bitmap. */
#define GHCB_CPL			0x0cb
#define GHCB_RAX			0x1f8
#define GHCB_RCX			0x308
#define GHCB_RDX			0x310
#define GHCB_RBX			0x318
#define GHCB_SW_EXITCODE		0x390
#define GHCB_SW_EXITINFO1		0x398
#define GHCB_SW_EXITINFO2		0x3a0
#define GHCB_SW_SCRATCH			0x3a8
#define GHCB_XCR0			0x3e8
#define GHCB_VALID_BITMAP		0x3f0
#define GHCB_SHARED_BUFFER		0x800
#define GHCB_SHARED_BUFFER_END		0xff0
#define GHCB_PROTOCOL_VERSION		0xffa
#define GHCB_USAGE			0xffc

/* SW_EXITINFO1 of an AP creation: the request, and the vCPU's APIC ID. */
#define GHCB_AP_REQUEST(request, apic_id) \
	((request) | (u64)(apic_id) << 32)

/* SW_EXITINFO1 of port I/O, in the format of the intercept's EXITINFO1. */
#define GHCB_IOIO_IN			BIT(0)
#define GHCB_IOIO_STRING		BIT(2)
#define GHCB_IOIO_BYTES(n)		((n) << 4)
#define GHCB_IOIO_PORT(port)		((port) << 16)

/* The response in SW_EXITINFO1; if input is malformed, why, in SW_EXITINFO2. */
#define GHCB_HV_RESP_NO_ACTION		0
#define GHCB_HV_RESP_MALFORMED_INPUT	2

#define GHCB_ERR_NOT_REGISTERED		1
#define GHCB_ERR_INVALID_USAGE		2
#define GHCB_ERR_INVALID_SCRATCH_AREA	3
#define GHCB_ERR_MISSING_INPUT		4
#define GHCB_ERR_INVALID_INPUT		5
#define GHCB_ERR_INVALID_EVENT		6

/* A list of page state changes: a header of 8 bytes, then entries of 8 bytes. */
#define GHCB_PSC_HEADER_SIZE		8
#define GHCB_PSC_2M			BIT_ULL(56)
#define GHCB_PSC_ENTRY(gfn, op)		((op) << 52 | (u64)(gfn) << 12)

/* The response to such a list, in SW_EXITINFO2. */
#define GHCB_PSC_ERROR_INVALID_HDR	(BIT_ULL(32) | 1)
#define GHCB_PSC_ERROR_INVALID_ENTRY	(BIT_ULL(32) | 2)

/* --- The VMSA (APM volume 2, appendix B) ---------------------------------------- */

#define VMSA_SEGMENT(n)			((n) * 16)
#define VMSA_EFER			0x0d0
#define VMSA_CR4			0x148
#define VMSA_CR3			0x150
#define VMSA_CR0			0x158
#define VMSA_DR7			0x160
#define VMSA_DR6			0x168
#define VMSA_RFLAGS			0x170
#define VMSA_RIP			0x178
#define VMSA_RSP			0x1d8
#define VMSA_RAX			0x1f8
#define VMSA_KERNEL_GS_BASE		0x220
#define VMSA_PAT			0x268
#define VMSA_RCX			0x308
#define VMSA_RDX			0x310
#define VMSA_RBX			0x318
#define VMSA_RBP			0x328
#define VMSA_RSI			0x330
#define VMSA_RDI			0x338
#define VMSA_R8				0x340
#define VMSA_SEV_FEATURES		0x3b0
#define VMSA_XCR0			0x3e8
#define VMSA_MXCSR			0x408
#define VMSA_FCW			0x410

enum vmsa_segment {
	VMSA_ES,
	VMSA_CS,
	VMSA_SS,
	VMSA_DS,
	VMSA_FS,
	VMSA_GS,
	VMSA_GDTR,
	VMSA_LDTR,
	VMSA_IDTR,
	VMSA_TR,
};

/* SEV_FEATURES of an SNP guest that has none of the optional features. */
#define SNP_SEV_FEATURES		BIT_ULL(0)
#define SNP_SEV_FEATURE_DEBUG_SWAP	BIT_ULL(5)

/* --- In the guest ---------------------------------------------------------------- */

/* #VC's error code for a page that isn't validated; others are exit codes. */
#define SNP_VC_NOT_VALIDATED		0x404

/* Makes a request by the GHCB MSR, returns the response. */
static inline u64 ghcb_msr_call(u64 request)
{
	wrmsr(MSR_AMD64_SEV_ES_GHCB, request);
	vmgexit();
	return rdmsr(MSR_AMD64_SEV_ES_GHCB);
}

static inline void ghcb_terminate(u64 set, u64 code)
{
	for (;;)
		ghcb_msr_call(GHCB_MSR_TERM(set, code));
}

/*
 * PVALIDATE of a 4KiB page.  Returns the instruction's return code, and
 * SNP_NO_CHANGE if the page was, or wasn't, validated before.
 */
#define SNP_NO_CHANGE			BIT_ULL(32)

static inline u64 snp_pvalidate(gva_t gva, bool validate)
{
	bool no_change;
	u64 rc;

	asm volatile(".byte 0xf2, 0x0f, 0x01, 0xff"
		     : "=a"(rc), "=@ccc"(no_change)
		     : "a"(gva), "c"(0), "d"((u32)validate)
		     : "memory");
	return (u32)rc | (no_change ? SNP_NO_CHANGE : 0);
}

/*
 * RMPADJUST of a 4KiB page.  Attributes are the VMPL that is meant in bits 7:0,
 * the permissions that it gets, and whether the page is a VMSA.
 */
#define SNP_RMPADJUST_READ		BIT_ULL(8)
#define SNP_RMPADJUST_VMSA		BIT_ULL(16)
#define SNP_RMPADJUST_FAIL_INPUT	1
#define SNP_RMPADJUST_FAIL_PERMISSION	2

static inline u64 snp_rmpadjust(gva_t gva, u64 attributes)
{
	u64 rc;

	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xfe"
		     : "=a"(rc)
		     : "a"(gva), "c"(0ul), "d"(attributes)
		     : "memory", "cc");
	return rc;
}

u64 ghcb_page_call(u8 *page, gpa_t gpa);
void snp_vmsa_set(u8 *vmsa, unsigned int field, u64 value);
void snp_vmsa_set_segment(u8 *vmsa, enum vmsa_segment segment, u16 selector,
			  u16 attributes, u32 limit, u64 base);
void snp_vmsa_init(u8 *vmsa, u64 rip, u64 rsp);

/* --- In the guest or on the host: a GHCB page ----------------------------------- */

u64 ghcb_page_get(const u8 *page, unsigned int field);
bool ghcb_page_is_valid(const u8 *page, unsigned int field);
void ghcb_page_set_valid(u8 *page, unsigned int field);
void ghcb_page_set(u8 *page, unsigned int field, u64 value);
void ghcb_page_request(u8 *page, u64 code, u64 info1, u64 info2);

/* --- On the host ------------------------------------------------------------------ */

static inline bool sev_is_vm_type_supported(u32 type)
{
	return kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(type);
}

/* A page's GPA without the C-bit, i.e. as requests by GHCB, and KVM, have it. */
static inline gpa_t sev_gva2gpa(struct kvm_vm *vm, gva_t gva)
{
	return addr_gva2gpa(vm, gva) & ~vm->arch.c_bit;
}

/* Exits if KVM has no SNP VMs, i.e. skips the test. */
void snp_require_vms(void);

/* --- A VM whose guest makes the host's requests ----------------------------------- */

/* The guest asks for termination with this when it waits for the next task. */
#define GHCB_VM_READY			GHCB_MSR_TERM(0xa, 0x5a)

enum ghcb_task {
	GHCB_TASK_NONE,
	/* Write the GHCB MSR, and exit; with TASK_MSR, read the MSR then. */
	GHCB_TASK_PAGE,
	GHCB_TASK_MSR,
	/* Make a page the VMSA of a vCPU that starts at RIP, or a page again. */
	GHCB_TASK_MAKE_VMSA,
	GHCB_TASK_END_VMSA,
	/* Validate a page. */
	GHCB_TASK_VALIDATE,
};

/* The guest's next task, and its result, in a page that both share. */
struct ghcb_mailbox {
	u64 what;
	u64 msr;
	u64 gva;
	u64 rip;
	u64 rsp;
	u64 arg;
	/* The GHCB MSR, or what RMPADJUST or PVALIDATE returned. */
	u64 answer;
};

#define GHCB_VM_MAX_VCPUS		2
#define GHCB_VM_NR_SPARE		4

struct ghcb_vm {
	struct kvm_vm *vm;
	/* The first vCPU does tasks, others are halted until the guest creates them. */
	struct kvm_vcpu *vcpu, *vcpus[GHCB_VM_MAX_VCPUS];
	struct ghcb_mailbox *box;
	/* The GHCB, and a shared page that isn't one. */
	u8 *ghcb, *other;
	gva_t other_gva;
	gpa_t ghcb_gpa, other_gpa;
	/* Adjacent private pages for the test to use. */
	gva_t spare;
	gpa_t spare_gpa;
};

/* The guest has done its task; distinct from exit reasons. */
#define GHCB_VM_ANSWERED		1000

void ghcb_vm_create(struct ghcb_vm *g, u32 type, int nr_vcpus);
void __ghcb_vm_create(struct ghcb_vm *g, u32 type, int nr_vcpus, const u32 *ids,
		      void (*prepare)(struct kvm_vm *vm));
int ghcb_vm_run(struct ghcb_vm *g);
int ghcb_vcpu_run(struct kvm_vcpu *vcpu);
const char *ghcb_exit_str(int reason);
void ghcb_vm_register(struct ghcb_vm *g);
void ghcb_vm_request(struct ghcb_vm *g, u64 code, u64 info1, u64 info2);
void ghcb_vm_request_scratch(struct ghcb_vm *g, u64 code, u64 info1, u64 info2,
			     unsigned int offset);
void ghcb_vm_request_msr(struct ghcb_vm *g, u64 value);
void ghcb_vm_put_psc(struct ghcb_vm *g, unsigned int offset, u16 first, u16 last,
		     int nr, const u64 *entries);
u64 ghcb_vm_do(struct ghcb_vm *g, enum ghcb_task task, gva_t gva);
gpa_t ghcb_vm_spare_gpa(struct ghcb_vm *g, gva_t gva);

static inline u64 ghcb_get(struct ghcb_vm *g, unsigned int field)
{
	return ghcb_page_get(g->ghcb, field);
}

static inline bool ghcb_is_valid(struct ghcb_vm *g, unsigned int field)
{
	return ghcb_page_is_valid(g->ghcb, field);
}

static inline void ghcb_set(struct ghcb_vm *g, unsigned int field, u64 value)
{
	ghcb_page_set(g->ghcb, field, value);
}

/* For tests that use kselftest_harness.h: run the guest, with this exit as a result. */
#define GHCB_ASSERT_EXIT(g, expected)						\
do {										\
	int found__ = ghcb_vm_run(g);						\
										\
	ASSERT_EQ(expected, found__)						\
		TH_LOG("expected %s, found %s", #expected,			\
		       ghcb_exit_str(found__));					\
} while (0)

/* The guest gets this response, without an exit to userspace. */
#define GHCB_ASSERT_RESPONSE(vm_, info1, info2)					\
do {										\
	struct ghcb_vm *answered_ = (vm_);					\
										\
	GHCB_ASSERT_EXIT(answered_, GHCB_VM_ANSWERED);				\
	EXPECT_EQ((u64)(info1), ghcb_get(answered_, GHCB_SW_EXITINFO1));	\
	EXPECT_EQ((u64)(info2), ghcb_get(answered_, GHCB_SW_EXITINFO2));	\
	EXPECT_TRUE(ghcb_is_valid(answered_, GHCB_SW_EXITINFO1));		\
	EXPECT_TRUE(ghcb_is_valid(answered_, GHCB_SW_EXITINFO2));		\
} while (0)

/* All went well, or input was malformed. */
#define GHCB_ASSERT_OK(vm_) \
	GHCB_ASSERT_RESPONSE(vm_, GHCB_HV_RESP_NO_ACTION, 0)
#define GHCB_ASSERT_MALFORMED(vm_, error) \
	GHCB_ASSERT_RESPONSE(vm_, GHCB_HV_RESP_MALFORMED_INPUT, error)

/* A page state change of these pages comes to userspace. */
#define GHCB_ASSERT_PSC_EXIT(vm_, gfn, nr_pages, op)				\
do {										\
	struct ghcb_vm *changed_ = (vm_);					\
	struct kvm_run *run_ = changed_->vcpu->run;				\
										\
	GHCB_ASSERT_EXIT(changed_, KVM_EXIT_HYPERCALL);				\
	ASSERT_EQ(KVM_HC_MAP_GPA_RANGE, run_->hypercall.nr);			\
	EXPECT_EQ((u64)(gfn) << 12, run_->hypercall.args[0]);			\
	EXPECT_EQ((u64)(nr_pages), run_->hypercall.args[1]);			\
	EXPECT_EQ((op) == SNP_PAGE_STATE_PRIVATE,				\
		  !!(run_->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED));	\
} while (0)

#endif /* SELFTEST_KVM_SEV_GUEST_H */
