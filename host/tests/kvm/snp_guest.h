/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the SNP tests: the SNP instructions and GHCB protocols for the guest, the guest's report
 * to the host, and vCPUs that run in threads, with a time limit on every wait.
 */
#ifndef SNP_GUEST_H
#define SNP_GUEST_H

#include <pthread.h>

#include "kselftest.h"
#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"
#include "sev.h"

/* GHCB MSR protocol (GHCB specification, 56421): requests, and the answer that each must get. */
#define SNP_MSR_INFO(v)		((v) & 0xfff)
#define SNP_MSR_SEV_INFO_REQ	0x002
#define SNP_MSR_SEV_INFO_RESP	0x001
#define SNP_MSR_CPUID_REQ	0x004
#define SNP_MSR_CPUID_RESP	0x005
#define SNP_MSR_REG_GPA_REQ	0x012
#define SNP_MSR_REG_GPA_RESP	0x013
#define SNP_MSR_PSC_REQ		0x014
#define SNP_MSR_PSC_RESP	0x015
#define SNP_MSR_PSC_ERROR	(BIT_ULL(63) | SNP_MSR_PSC_RESP)
#define SNP_MSR_HV_FT_REQ	0x080
#define SNP_MSR_HV_FT_RESP	0x081

#define SNP_PSC_PRIVATE		1ull
#define SNP_PSC_SHARED		2ull

#define SNP_VC_VECTOR		29
/* #VC error codes: each is the #VMEXIT code that the guest has to handle. */
#define SNP_EXIT_CPUID		0x72
#define SNP_EXIT_IOIO		0x7b
#define SNP_EXIT_MSR		0x7c
#define SNP_EXIT_NOT_VALIDATED	0x404

/* Reason sets of these tests' termination requests; the reason code is the vCPU's number. */
#define SNP_TERM_PASSED		0xa
#define SNP_TERM_FAILED		0xb
#define SNP_TERM_REQUEST(set, code) \
	(GHCB_MSR_TERM_REQ | ((u64)(set) << 12) | ((u64)(code) << 16))

/*
 * A vCPU's report to the host, in a shared page. Texts are pointers: guest and host run the same
 * program, at the same address.
 */
struct snp_report {
	u64 id;
	u64 round;
	const char *step;
	const char *failed;
	u64 expected;
	u64 found;
	u64 nr_vc_not_validated;
};

/* The calling vCPU's report: snp_guest_init() puts its address into GS.base. */
static inline struct snp_report *snp_this_report(void)
{
	return (struct snp_report *)rdmsr(MSR_GS_BASE);
}

static inline void snp_vmgexit(void)
{
	asm volatile("rep; vmmcall" ::: "memory");
}

static inline u64 snp_msr_request(u64 request)
{
	wrmsr(MSR_AMD64_SEV_ES_GHCB, request);
	snp_vmgexit();
	return rdmsr(MSR_AMD64_SEV_ES_GHCB);
}

static inline void snp_terminate(u64 set, u64 code)
{
	for (;;)
		snp_msr_request(SNP_TERM_REQUEST(set, code));
}

static inline void snp_fail(const char *what, u64 found, u64 expected)
{
	struct snp_report *report = snp_this_report();

	report->failed = what;
	report->found = found;
	report->expected = expected;
	snp_terminate(SNP_TERM_FAILED, report->id);
}

/* In the guest: compares a value with the expected one. If they differ, the vCPU reports both and ends. */
#define snp_expect(what, found, expected)			\
do {								\
	u64 found_ = (found), expected_ = (expected);		\
								\
	if (found_ != expected_)				\
		snp_fail(what, found_, expected_);		\
} while (0)

#define snp_step(text)	(WRITE_ONCE(snp_this_report()->step, text))

/* PVALIDATE of a 4 KB page. Returns its return code, plus SNP_NO_CHANGE if it set the carry flag. */
#define SNP_NO_CHANGE	BIT_ULL(32)
static inline u64 snp_pvalidate(u64 gva, bool validate)
{
	bool no_change;
	u64 rc;

	asm volatile(".byte 0xf2, 0x0f, 0x01, 0xff"
		     : "=a"(rc), "=@ccc"(no_change)
		     : "a"(gva), "c"(0), "d"((u32)validate)
		     : "memory");
	return (u32)rc | (no_change ? SNP_NO_CHANGE : 0);
}

/* RMPADJUST of a 4 KB page; attributes: target VMPL 7:0, permissions 15:8, VMSA 16. */
#define SNP_RMPADJUST_VMSA	BIT_ULL(16)
static inline u64 snp_rmpadjust(u64 gva, u64 attributes)
{
	u64 rc;

	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xfe"
		     : "=a"(rc)
		     : "a"(gva), "c"(0ul), "d"(attributes)
		     : "memory", "cc");
	return rc;
}

/* A page state change by the MSR protocol; the answer's upper half is the error. */
static inline void snp_psc(u64 gpa, u64 operation)
{
	u64 r = snp_msr_request((operation << 52) | (gpa & GENMASK_ULL(51, 12)) | SNP_MSR_PSC_REQ);

	snp_expect("page state change by the GHCB MSR", r, SNP_MSR_PSC_RESP);
}

static inline u64 snp_c_bit(struct kvm_vm *vm)
{
	return vm->arch.c_bit;
}

/* A guest physical address without the C-bit, as GHCB requests want it. */
static inline gpa_t snp_gpa(struct kvm_vm *vm, gva_t gva)
{
	return addr_gva2gpa(vm, gva) & ~snp_c_bit(vm);
}

/* Each vCPU calls this before anything else. */
static inline void snp_guest_init(struct snp_report *report)
{
	wrmsr(MSR_GS_BASE, (u64)report);
}

/* --- The host's side: snp_guest.c ------------------------------------------------------------- */

struct snp_vcpu {
	struct kvm_vcpu *vcpu;
	struct snp_report *report;
	pthread_t thread;
	int tid;
	bool started;
	bool ended;
	bool failed;
	/* The reason of the failure; valid only if failed. */
	char why[256];
	/* Handles an exit to user space. For an unexpected exit, sets why and returns false. */
	bool (*on_exit)(struct snp_vcpu *v);
	void *private;
};

void snp_require_snp(void);
int snp_sev_op(struct kvm_vm *vm, u32 id, void *data, u32 *fw_error);
struct kvm_vm *snp_create_vm(u32 type, u32 nr_vcpus, void *guest_code, struct kvm_vcpu **vcpus,
			     void (*vc_handler)(struct ex_regs *));
struct snp_report *snp_alloc_report(struct kvm_vm *vm, u64 id, gva_t *gva);
gva_t snp_map_shared_alias(struct kvm_vm *vm, gva_t private);
bool snp_default_exit(struct snp_vcpu *v);
void snp_start(struct snp_vcpu *v);
void snp_wait_all(struct snp_vcpu *v, int nr, int seconds);
void snp_limit(int seconds, const char *phase);

#endif /* SNP_GUEST_H */
