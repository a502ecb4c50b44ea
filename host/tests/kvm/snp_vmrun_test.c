// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does KVM execute VMRUN for a vCPU that has no VMSA, or soon has none? The CPU refuses that, and userspace
 * sees the same failure of KVM_RUN as when KVM refuses. Only the emulated host can tell the two apart: it
 * counts the VMRUNs that it refuses. And only there VMRUN can be made to last, so that a guest takes the VMSA
 * away meanwhile. sev_snp_ap_test of the selftests checks what any host can show.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>

#include "kselftest_harness.h"
#include "created_vcpu.h"
#include "sev_guest.h"
#include "snp_host.h"

#define CASE_SECONDS	60
#define VMRUN_TEST_F(name)	TEST_F_TIMEOUT(snp_vmrun, name, CASE_SECONDS)
/* A vCPU that is destroyed stays in KVM_RUN: a signal after this time gets it out. */
#define SIGNAL_MS		200
/* How long VMRUN of vCPU 1 lasts: longer than what vCPU 0 does meanwhile. */
#define VMRUN_US		100000
#define ROUNDS			5
#define WAIT_MS			10000
/* The CPUs of vCPU 0 and vCPU 1. */
#define CPU_0			0
#define CPU_1			1

FIXTURE(snp_vmrun) {
	struct ghcb_vm g;
	/* The host's errors before the case. */
	u64 before;
};

static void ap_code(void)
{
	for (;;)
		ghcb_msr_call(GHCB_VM_READY);
}

FIXTURE_SETUP(snp_vmrun)
{
	struct ghcb_vm *g = &self->g;
	char why[512];

	if (!snp_host_reach(why, sizeof(why)))
		SKIP(return, "%s", why);
	snp_host_delay_vmrun(0, 0);
	ghcb_vm_create(g, KVM_X86_SNP_VM, 2);
	g->box->rip = (u64)ap_code;
	g->box->rsp = g->spare + GHCB_VM_NR_SPARE * PAGE_SIZE - 8;
	self->before = snp_host_counter("guest-errors");
}

FIXTURE_TEARDOWN(snp_vmrun)
{
	snp_host_delay_vmrun(0, 0);
	kvm_vm_free(self->g.vm);
}

static void handle_signal(int sig)
{
}

/* Runs vCPU 1 until KVM has halted it, and a signal ends KVM_RUN. Returns its state. */
static u32 run_until_halted(struct ghcb_vm *g)
{
	const struct itimerval timer = { .it_value.tv_usec = SIGNAL_MS * 1000 };
	struct kvm_mp_state state;
	int ret;

	do {
		setitimer(ITIMER_REAL, &timer, NULL);
		ret = __vcpu_run(g->vcpus[1]);
		vcpu_mp_state_get(g->vcpus[1], &state);
	} while (ret < 0 && state.mp_state == KVM_MP_STATE_RUNNABLE);
	return state.mp_state;
}

VMRUN_TEST_F(destroyed_vcpu_is_not_run)
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct sigaction action = { .sa_handler = handle_signal };
	struct ghcb_vm *g = &self->g;
	gva_t vmsa = vmsa_page(g);

	/* One run of vCPU 1, with the guest's VMSA. */
	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, vmsa));
	request_ap(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, ghcb_vm_spare_gpa(g, vmsa));
	GHCB_ASSERT_OK(g);
	ASSERT_EQ(GHCB_VM_ANSWERED, ghcb_vcpu_run(g->vcpus[1]));
	EXPECT_EQ(self->before, snp_host_counter("guest-errors"));

	request_ap(g, SVM_VMGEXIT_AP_DESTROY, 0, 0);
	GHCB_ASSERT_OK(g);
	sigaction(SIGALRM, &action, NULL);
	ASSERT_EQ(KVM_MP_STATE_HALTED, run_until_halted(g));

	/* Userspace makes it runnable: there is nothing to run. */
	vcpu_mp_state_set(g->vcpus[1], &runnable);
	ASSERT_EQ(KVM_EXIT_FAIL_ENTRY, ghcb_vcpu_run(g->vcpus[1]));
	EXPECT_EQ(self->before, snp_host_counter("guest-errors"))
		TH_LOG("expected no VMRUN without a VMSA, found that the host refused one");
}

/* vCPU 1 in a thread, again and again. */
struct runner {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	/* What ended it, or GHCB_VM_ANSWERED. */
	int result;
	unsigned int exits;
	bool stop;
};

static void stay_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(set), &set), "expected CPU %d to be there: %s",
		    cpu, strerror(errno));
}

static void *run_again_and_again(void *arg)
{
	struct runner *r = arg;
	int result;

	stay_on_cpu(CPU_1);
	do {
		result = ghcb_vcpu_run(r->vcpu);
		WRITE_ONCE(r->result, result);
		WRITE_ONCE(r->exits, r->exits + 1);
	} while (result == GHCB_VM_ANSWERED && !READ_ONCE(r->stop));
	return NULL;
}

/* Does vCPU 1 leave the guest once more, within WAIT_MS? */
static bool runs(struct runner *r)
{
	unsigned int before = READ_ONCE(r->exits), ms;

	for (ms = 0; ms < WAIT_MS && READ_ONCE(r->exits) == before; ms++)
		usleep(1000);
	return READ_ONCE(r->exits) != before;
}

/*
 * Once AP_DESTROY is answered, the vCPU is out of the guest, and KVM will not enter it with that VMSA: the
 * guest may do with the page what it likes (56421, "SNP AP Creation"). Here vCPU 1 is in the midst of VMRUN.
 */
VMRUN_TEST_F(destroyed_vcpu_is_out_of_the_guest)
{
	struct runner r = { .vcpu = self->g.vcpus[1], .result = GHCB_VM_ANSWERED };
	struct ghcb_vm *g = &self->g;
	gva_t vmsa = vmsa_page(g);
	int i;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "expected two CPUs, found one");
	stay_on_cpu(CPU_0);
	ASSERT_EQ(0, pthread_create(&r.thread, NULL, run_again_and_again, &r));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, vmsa));
		request_ap(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, ghcb_vm_spare_gpa(g, vmsa));
		GHCB_ASSERT_OK(g);
		/*
		 * First: with a slow VMRUN an interrupt is pending at each entry, and the guest
		 * executes nothing.
		 */
		ASSERT_TRUE(runs(&r)) TH_LOG("round %d: vCPU 1 does not run", i);
		snp_host_delay_vmrun(CPU_1, VMRUN_US);
		usleep(VMRUN_US + VMRUN_US / 2);

		request_ap(g, SVM_VMGEXIT_AP_DESTROY, 0, 0);
		GHCB_ASSERT_OK(g);
		EXPECT_EQ(0, ghcb_vm_do(g, GHCB_TASK_END_VMSA, vmsa));
		usleep(2 * VMRUN_US);
		snp_host_delay_vmrun(CPU_1, 0);
		ASSERT_EQ(GHCB_VM_ANSWERED, READ_ONCE(r.result))
			TH_LOG("round %d: KVM_RUN of vCPU 1: expected it to wait, found %s", i,
			       ghcb_exit_str(r.result));
	}
	EXPECT_EQ(self->before, snp_host_counter("guest-errors"));

	/* vCPU 1 is in KVM_RUN, which returns only once there is a VMSA to run. */
	WRITE_ONCE(r.stop, true);
	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, vmsa));
	request_ap(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, ghcb_vm_spare_gpa(g, vmsa));
	GHCB_ASSERT_OK(g);
	pthread_join(r.thread, NULL);
}

int main(int argc, char **argv)
{
	snp_require_vms();
	return test_harness_run(argc, argv);
}
