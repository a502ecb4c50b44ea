/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the lab's own SNP tests: the guest's report to the host, and vCPUs that run in threads, with
 * a time limit on every wait. SNP's instructions and the GHCB are in the selftests' library (sev_guest.h).
 */
#ifndef SNP_GUEST_H
#define SNP_GUEST_H

#include <pthread.h>

#include "kselftest.h"
#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "sev_guest.h"

#define SNP_VC_VECTOR		29

/* Reason sets of these tests' termination requests; the reason code is the vCPU's number. */
#define SNP_TERM_PASSED		0xa
#define SNP_TERM_FAILED		0xb

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

static inline void snp_fail(const char *what, u64 found, u64 expected)
{
	struct snp_report *report = snp_this_report();

	report->failed = what;
	report->found = found;
	report->expected = expected;
	ghcb_terminate(SNP_TERM_FAILED, report->id);
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

/* A page state change by the MSR protocol; the answer's upper half is the error. */
static inline void snp_psc(u64 gpa, u64 operation)
{
	u64 r = ghcb_msr_call(GHCB_PSC_ENTRY(gpa >> PAGE_SHIFT, operation) | GHCB_MSR_PSC_REQ);

	snp_expect("page state change by the GHCB MSR", r, GHCB_MSR_PSC_RESP);
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

struct kvm_vm *snp_create_vm(u32 type, u32 nr_vcpus, void *guest_code, struct kvm_vcpu **vcpus,
			     void (*vc_handler)(struct ex_regs *));
struct snp_report *snp_alloc_report(struct kvm_vm *vm, u64 id, gva_t *gva);
gva_t snp_map_shared_alias(struct kvm_vm *vm, gva_t private);
bool snp_default_exit(struct snp_vcpu *v);
void snp_start(struct snp_vcpu *v);
void snp_wait_all(struct snp_vcpu *v, int nr, int seconds);
void snp_limit(int seconds, const char *phase);

#endif /* SNP_GUEST_H */
