// SPDX-License-Identifier: GPL-2.0-only
/*
 * vCPUs that an SNP guest starts and stops itself ("SNP AP Creation", 56421): what KVM takes, what it
 * refuses, and that a refused or useless request changes nothing and blocks nobody.
 *
 * vCPU 0 does what the host wants (ghcb_guest.h). vCPU 1 counts in a shared page, once it is created.
 */
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "kselftest_harness.h"
#include "ghcb_guest.h"
#include "snp_host.h"

#define CASE_SECONDS	60
#define AP_TEST_F(name)	TEST_F_TIMEOUT(snp_ap, name, CASE_SECONDS)

/* How long to wait for what should happen at once, and to watch what should not happen. */
#define WAIT_MS		10000
#define WATCH_MS	200

/* Nobody has memory there. */
#define NO_MEMORY_GPA	0x7654321000ull
#define ALIGN_2M	(2ull << 20)
/* SEV_FEATURES: the debug registers are swapped. */
#define DEBUG_SWAP	BIT_ULL(5)
/* In place of a result while KVM_RUN has not returned. */
#define STILL_RUNNING	(-1000)

/* vCPU 1 counts here. */
struct ap_area {
	u64 beats;
	/* Once set, vCPU 1 exits to userspace after each beat. */
	u64 exits;
};

static void ap_code(struct ap_area *area)
{
	for (;;) {
		WRITE_ONCE(area->beats, area->beats + 1);
		if (READ_ONCE(area->exits)) {
			wrmsr(MSR_AMD64_SEV_ES_GHCB, READY);
			snp_vmgexit();
		}
	}
}

/* vCPU 1, and KVM_RUN of it in a thread. */
struct ap {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	/* What KVM_RUN returned, as run() does; STILL_RUNNING before. */
	int result;
};

FIXTURE(snp_ap) {
	struct ghcb_vm g;
	struct ap_area *area;
	struct ap ap;
	/* Private pages for VMSAs, neither at a multiple of 2 MB. */
	gva_t vmsa[2];
	/* The errors that the lab's host had counted before the case, if that host is there. */
	bool has_host;
	u64 before;
};

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

FIXTURE_SETUP(snp_ap)
{
	struct ghcb_vm *g = &self->g;
	char why[512];
	int i, n = 0;

	create(g, KVM_X86_SNP_VM, 2);
	self->area = (struct ap_area *)g->other;
	self->ap.vcpu = g->vcpus[1];
	self->ap.result = 0;
	/* The last spare page is the stack. */
	for (i = 0; i < NR_SPARE - 1 && n < 2; i++)
		if (private_gpa(g, g->spare + i * PAGE_SIZE) % ALIGN_2M)
			self->vmsa[n++] = g->spare + i * PAGE_SIZE;
	g->box->rip = (u64)ap_code;
	g->box->rsp = g->spare + NR_SPARE * PAGE_SIZE - 8;
	g->box->arg = g->other_gva;
	/* On the lab's host, VMRUNs that the CPU refuses are counted. */
	self->has_host = snp_host_reach(why, sizeof(why));
	if (self->has_host)
		self->before = snp_host_counter("guest-errors");
}

static void handle_signal(int sig)
{
}

static void *run_ap(void *arg)
{
	struct ap *ap = arg;

	WRITE_ONCE(ap->result, run_vcpu(ap->vcpu));
	return NULL;
}

/* Starts KVM_RUN of vCPU 1. */
static void start_ap(struct ap *ap)
{
	WRITE_ONCE(ap->result, STILL_RUNNING);
	TEST_ASSERT(!pthread_create(&ap->thread, NULL, run_ap, ap), "pthread_create() failed");
}

/* Waits until KVM_RUN of vCPU 1 has returned. Returns its result. */
static int wait_ap(struct ap *ap)
{
	u64 end = now_ms() + WAIT_MS;

	while (READ_ONCE(ap->result) == STILL_RUNNING && now_ms() < end)
		usleep(1000);
	if (READ_ONCE(ap->result) == STILL_RUNNING)
		return STILL_RUNNING;
	pthread_join(ap->thread, NULL);
	return ap->result;
}

/* Does vCPU 1 count on? */
static bool beats(struct ap_area *area, unsigned int ms)
{
	u64 before = READ_ONCE(area->beats), end = now_ms() + ms;

	while (READ_ONCE(area->beats) == before && now_ms() < end)
		usleep(1000);
	return READ_ONCE(area->beats) != before;
}

FIXTURE_TEARDOWN(snp_ap)
{
	/* A vCPU that counts ends KVM_RUN by itself then. One that hangs ends with the process. */
	WRITE_ONCE(self->area->exits, 1);
	if (READ_ONCE(self->ap.result) == STILL_RUNNING && wait_ap(&self->ap) == STILL_RUNNING)
		return;
	kvm_vm_free(self->g.vm);
}

/* Makes the guest ask for vCPU 1 with these features. */
static void ap_request(struct ghcb_vm *g, u64 what, u64 features, gpa_t gpa)
{
	request(g, EXIT_AP_CREATION, AP_REQUEST(what, 1), gpa);
	ghcb_set(g, GHCB_RAX, features);
}

/* Says so if vCPU 1 stands still, for WAIT_MS. */
static bool is_alive(struct ap_area *area)
{
	bool alive = beats(area, WAIT_MS);

	if (!alive)
		ksft_print_msg("expected vCPU 1 to count, found it standing still\n");
	return alive;
}

#define ASSERT_ALIVE()		ASSERT_TRUE(is_alive(self->area))

/* The same, some time after a request that might have stopped it. */
#define ASSERT_STILL_ALIVE()								\
do {											\
	usleep(WATCH_MS * 1000);							\
	ASSERT_ALIVE();									\
} while (0)

#define ASSERT_STANDS_STILL()								\
do {											\
	/* The request may be answered before vCPU 1 has left the guest. */		\
	usleep(WATCH_MS * 1000);							\
	ASSERT_FALSE(beats(self->area, WATCH_MS))					\
		TH_LOG("expected vCPU 1 to stand still, found it counting");		\
} while (0)

#define ASSERT_AP_RETURNS(expected)							\
do {											\
	int found__ = wait_ap(&self->ap);						\
											\
	ASSERT_EQ(expected, found__)							\
		TH_LOG("KVM_RUN of vCPU 1: expected %s, found %s", #expected,		\
		       found__ == STILL_RUNNING ? "no return" : exit_name(found__));	\
} while (0)

/* Makes vCPU 1, on the first of the pages, and starts it. */
#define ASSERT_CREATED()								\
do {											\
	ASSERT_EQ(0, guest_does(&self->g, DO_MAKE_VMSA, self->vmsa[0]));		\
	start_ap(&self->ap);								\
	ap_request(&self->g, AP_CREATE, SNP_FEATURES, private_gpa(&self->g, self->vmsa[0]));	\
	ASSERT_ANSWER(&self->g, RESP_NO_ACTION, 0);					\
	ASSERT_ALIVE();									\
} while (0)

/* How many VMRUNs, or other errors, the lab's host has counted in this case; 0 on another host. */
#define HOST_ERRORS()	(self->has_host ? snp_host_counter("guest-errors") - self->before : 0)

AP_TEST_F(created_and_destroyed_and_created)
{
	struct ghcb_vm *g = &self->g;

	ASSERT_CREATED();
	ap_request(g, AP_DESTROY, 0, 0);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	ASSERT_STANDS_STILL();
	ASSERT_EQ(0, guest_does(g, DO_END_VMSA, self->vmsa[0]));
	ASSERT_EQ(0, guest_does(g, DO_MAKE_VMSA, self->vmsa[1]));
	ap_request(g, AP_CREATE, SNP_FEATURES, private_gpa(g, self->vmsa[1]));
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	ASSERT_ALIVE();
	EXPECT_EQ(0, HOST_ERRORS());
}

/* SEV_FEATURES are the VM's: KVM knows how to run these, and no others. */
AP_TEST_F(other_features_refused)
{
	static const u64 bad[] = {
		SNP_FEATURES | DEBUG_SWAP, 0, SNP_FEATURES | BIT_ULL(3), SNP_FEATURES | BIT_ULL(63),
	};
	struct ghcb_vm *g = &self->g;
	int i;

	ASSERT_EQ(0, guest_does(g, DO_MAKE_VMSA, self->vmsa[0]));
	start_ap(&self->ap);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ap_request(g, AP_CREATE, bad[i], private_gpa(g, self->vmsa[0]));
		ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_INPUT);
		ASSERT_STANDS_STILL();
	}
	ap_request(g, AP_CREATE, SNP_FEATURES, private_gpa(g, self->vmsa[0]));
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	ASSERT_ALIVE();
}

/* A request that KVM refuses leaves a vCPU alone that runs. */
AP_TEST_F(refused_request_changes_nothing)
{
	struct ghcb_vm *g = &self->g;
	const struct { u64 request, features; gpa_t gpa; } bad[] = {
		{ AP_CREATE, SNP_FEATURES, ALIGN_2M },
		{ AP_CREATE, SNP_FEATURES, private_gpa(g, self->vmsa[1]) + 1 },
		{ AP_CREATE_ON_INIT, SNP_FEATURES, ALIGN_2M },
		{ 3, SNP_FEATURES, private_gpa(g, self->vmsa[1]) },
	};
	int i;

	ASSERT_CREATED();
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ap_request(g, bad[i].request, bad[i].features, bad[i].gpa);
		ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_INPUT);
		ASSERT_STILL_ALIVE();
	}
	/* There is no such vCPU. */
	request(g, EXIT_AP_CREATION, AP_REQUEST(AP_CREATE, 77), private_gpa(g, self->vmsa[1]));
	ghcb_set(g, GHCB_RAX, SNP_FEATURES);
	ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_INPUT);
	ASSERT_STILL_ALIVE();
}

/* Userspace learns that a vCPU has nothing to run; it must not wait for ever. */
AP_TEST_F(useless_vmsa_ends_run)
{
	struct ghcb_vm *g = &self->g;

	ASSERT_CREATED();
	ap_request(g, AP_DESTROY, 0, 0);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	ASSERT_STANDS_STILL();
	ap_request(g, AP_CREATE, SNP_FEATURES, NO_MEMORY_GPA);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	ASSERT_AP_RETURNS(KVM_EXIT_FAIL_ENTRY);
}

/* The VMSA that KVM made for the launch is not what the guest asked for. */
AP_TEST_F(useless_first_vmsa_starts_nothing)
{
	struct ghcb_vm *g = &self->g;

	start_ap(&self->ap);
	ap_request(g, AP_CREATE, SNP_FEATURES, NO_MEMORY_GPA);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	ASSERT_AP_RETURNS(KVM_EXIT_FAIL_ENTRY);
}

/* A vCPU that the guest has destroyed has no state that userspace could run. */
AP_TEST_F(destroyed_vcpu_is_not_run)
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct sigaction action = { .sa_handler = handle_signal };
	struct ghcb_vm *g = &self->g;

	ASSERT_CREATED();
	ap_request(g, AP_DESTROY, 0, 0);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	ASSERT_STANDS_STILL();

	/* Get vCPU 1 out of KVM_RUN, and keep it out until it is made runnable. */
	sigaction(SIGUSR1, &action, NULL);
	WRITE_ONCE(self->ap.vcpu->run->immediate_exit, 1);
	pthread_kill(self->ap.thread, SIGUSR1);
	vcpu_mp_state_set(self->ap.vcpu, &runnable);
	WRITE_ONCE(self->ap.vcpu->run->immediate_exit, 0);
	ASSERT_AP_RETURNS(KVM_EXIT_FAIL_ENTRY);
	EXPECT_EQ(0, HOST_ERRORS())
		TH_LOG("expected no VMRUN without a VMSA, found that the host refused one");
}

int main(int argc, char **argv)
{
	snp_require_snp();
	return test_harness_run(argc, argv);
}
