/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A SEV-ES or SEV-SNP guest that does one VMGEXIT after the other, each as the host asks for it.
 *
 * The GHCB page is shared: the host writes each request into it, good or bad, and reads the answer
 * there ("SEV-ES Guest-Hypervisor Communication Block Standardization", 56421).
 */
#ifndef GHCB_GUEST_H
#define GHCB_GUEST_H

#include "ghcb.h"
#include "snp_vmsa.h"

/* By this termination request the guest says that it is ready for the next request. */
#define READY			SNP_TERM_REQUEST(SNP_TERM_PASSED, 0x5a)

/* The guest's next task: none, a VMGEXIT, or an instruction of its own. */
enum {
	DO_NOTHING,
	/* VMGEXIT with MSR in the GHCB MSR; with DO_MSR the guest reports the MSR's value afterwards. */
	DO_PAGE,
	DO_MSR,
	/* Make the private page at GVA a VMSA that starts at RIP with ARG, or an ordinary page again. */
	DO_MAKE_VMSA,
	DO_END_VMSA,
};

/* The guest's next task and its result, in a shared page. */
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
	EXPECT_EQ((op) == SNP_PSC_PRIVATE,						\
		  !!(run_->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED));	\
} while (0)

#endif /* GHCB_GUEST_H */
