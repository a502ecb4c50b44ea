// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test vCPUs that an SNP guest starts and stops itself: what KVM takes, what it
 * refuses, and that a refused or useless request changes nothing and blocks nobody.
 *
 * vCPU 0 does what the host wants (sev_guest.h).  vCPU 1 counts in a shared page,
 * once it is created.
 *
 * What to expect is specified by "SEV-ES Guest-Hypervisor Communication Block
 * Standardization" (56421), section "SNP AP Creation": requests, their input, and
 * that a vCPU runs the VMSA that the guest named, or none.  Malformed input gets the
 * error codes of section "Invoking VMGEXIT".  KVM_EXIT_FAIL_ENTRY of Documentation/
 * virt/kvm/api.rst is what userspace sees of a vCPU that can't be run.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "kselftest_harness.h"
#include "sev_guest.h"

#define CASE_SECONDS	60
#define AP_TEST_F(name)	TEST_F_TIMEOUT(snp_ap, name, CASE_SECONDS)

/* How long to wait for what should happen, and to watch what should not happen. */
#define WAIT_MS		10000
#define WATCH_MS	200

/* Nobody has memory there. */
#define NO_MEMORY_GPA	0x7654321000ull
#define ALIGN_2M	(2ull << 20)
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
			wrmsr(MSR_AMD64_SEV_ES_GHCB, GHCB_VM_READY);
			vmgexit();
		}
	}
}

/* vCPU 1, and KVM_RUN of it in a thread. */
struct ap {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	/* What ghcb_vcpu_run() returned; STILL_RUNNING before. */
	int result;
};

FIXTURE(snp_ap) {
	struct ghcb_vm g;
	struct ap_area *area;
	struct ap ap;
	/* Private pages for VMSAs, neither at a multiple of 2MiB. */
	gva_t vmsa[2];
};

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/* vCPU 1 isn't run yet, and will start at ap_code(). */
static void prepare_ap(struct ghcb_vm *g, struct ap_area **area, struct ap *ap, gva_t *vmsa)
{
	int i, n = 0;

	*area = (struct ap_area *)g->other;
	ap->vcpu = g->vcpus[1];
	ap->result = 0;
	/* The last spare page is the stack. */
	for (i = 0; i < GHCB_VM_NR_SPARE - 1 && n < 2; i++)
		if (ghcb_vm_spare_gpa(g, g->spare + i * PAGE_SIZE) % ALIGN_2M)
			vmsa[n++] = g->spare + i * PAGE_SIZE;
	g->box->rip = (u64)ap_code;
	g->box->rsp = g->spare + GHCB_VM_NR_SPARE * PAGE_SIZE - 8;
	g->box->arg = g->other_gva;
}

FIXTURE_SETUP(snp_ap)
{
	ghcb_vm_create(&self->g, KVM_X86_SNP_VM, 2);
	prepare_ap(&self->g, &self->area, &self->ap, self->vmsa);
}

static void handle_signal(int sig)
{
}

static void *run_ap(void *arg)
{
	struct ap *ap = arg;

	WRITE_ONCE(ap->result, ghcb_vcpu_run(ap->vcpu));
	return NULL;
}

/* Starts KVM_RUN of vCPU 1, in a thread. */
static void start_ap(struct ap *ap)
{
	WRITE_ONCE(ap->result, STILL_RUNNING);
	TEST_ASSERT(!pthread_create(&ap->thread, NULL, run_ap, ap), "pthread_create() failed");
}

/* Waits until KVM_RUN of vCPU 1 has returned.  Returns its result. */
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

/*
 * Waits until vCPU 1 counts no more: the request that stops it may be answered before
 * it has left the guest.  Says so if it counts on, for WAIT_MS.
 */
static bool stops(struct ap_area *area)
{
	u64 end = now_ms() + WAIT_MS;

	while (now_ms() < end)
		if (!beats(area, WATCH_MS))
			return true;
	ksft_print_msg("expected vCPU 1 to stand still, found it counting\n");
	return false;
}

static void end_ap(struct ghcb_vm *g, struct ap_area *area, struct ap *ap)
{
	/* A vCPU that counts leaves KVM_RUN then.  One that hangs ends with the process. */
	WRITE_ONCE(area->exits, 1);
	if (READ_ONCE(ap->result) == STILL_RUNNING && wait_ap(ap) == STILL_RUNNING)
		return;
	kvm_vm_free(g->vm);
}

FIXTURE_TEARDOWN(snp_ap)
{
	end_ap(&self->g, self->area, &self->ap);
}

/* Makes the guest ask for a vCPU with these features. */
static void ap_request_id(struct ghcb_vm *g, u64 what, u32 apic_id, u64 features, gpa_t gpa)
{
	ghcb_vm_request(g, SVM_VMGEXIT_AP_CREATION, GHCB_AP_REQUEST(what, apic_id), gpa);
	ghcb_set(g, GHCB_RAX, features);
}

static void ap_request(struct ghcb_vm *g, u64 what, u64 features, gpa_t gpa)
{
	ap_request_id(g, what, 1, features, gpa);
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

#define ASSERT_STANDS_STILL()		ASSERT_TRUE(stops(self->area))

#define ASSERT_AP_RETURNS(expected)							\
do {											\
	int found__ = wait_ap(&self->ap);						\
											\
	ASSERT_EQ(expected, found__)							\
		TH_LOG("KVM_RUN of vCPU 1: expected %s, found %s", #expected,		\
		       found__ == STILL_RUNNING ? "no return" : ghcb_exit_str(found__));	\
} while (0)

/* Makes vCPU 1, on the first of the pages, and starts it. */
#define ASSERT_CREATED()								\
do {											\
	ASSERT_EQ(0, ghcb_vm_do(&self->g, GHCB_TASK_MAKE_VMSA, self->vmsa[0]));		\
	start_ap(&self->ap);								\
	ap_request(&self->g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES,			\
		   ghcb_vm_spare_gpa(&self->g, self->vmsa[0]));				\
	GHCB_ASSERT_OK(&self->g);					\
	ASSERT_ALIVE();									\
} while (0)

/* An operating system does so to take a CPU offline and online. */
AP_TEST_F(created_and_destroyed_and_created)
{
	struct ghcb_vm *g = &self->g;

	ASSERT_CREATED();
	ap_request(g, SVM_VMGEXIT_AP_DESTROY, 0, 0);
	GHCB_ASSERT_OK(g);
	ASSERT_STANDS_STILL();
	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_END_VMSA, self->vmsa[0]));
	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, self->vmsa[1]));
	ap_request(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, ghcb_vm_spare_gpa(g, self->vmsa[1]));
	GHCB_ASSERT_OK(g);
	ASSERT_ALIVE();
}

/* SEV_FEATURES are the VM's (KVM_SEV_INIT2): KVM knows how to run these, and no others. */
AP_TEST_F(other_features_refused)
{
	static const u64 bad[] = {
		SNP_SEV_FEATURES | SNP_SEV_FEATURE_DEBUG_SWAP, 0,
		SNP_SEV_FEATURES | BIT_ULL(3), SNP_SEV_FEATURES | BIT_ULL(63),
	};
	struct ghcb_vm *g = &self->g;
	int i;

	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, self->vmsa[0]));
	start_ap(&self->ap);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ap_request(g, SVM_VMGEXIT_AP_CREATE, bad[i], ghcb_vm_spare_gpa(g, self->vmsa[0]));
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
		ASSERT_STANDS_STILL();
	}
	ap_request(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES,
		   ghcb_vm_spare_gpa(g, self->vmsa[0]));
	GHCB_ASSERT_OK(g);
	ASSERT_ALIVE();
}

/*
 * A request that KVM refuses leaves a vCPU alone that runs.  A VMSA must be aligned
 * to 4KiB, and not to 2MiB: see KVM's snp_safe_alloc_page() for the erratum.
 */
AP_TEST_F(refused_request_changes_nothing)
{
	struct ghcb_vm *g = &self->g;
	const gpa_t vmsa = ghcb_vm_spare_gpa(g, self->vmsa[1]);
	const struct { u64 request, features; gpa_t gpa; } bad[] = {
		{ SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, ALIGN_2M },
		{ SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, vmsa + 1 },
		{ SVM_VMGEXIT_AP_CREATE_ON_INIT, SNP_SEV_FEATURES, ALIGN_2M },
		{ 3, SNP_SEV_FEATURES, vmsa },
	};
	int i;

	ASSERT_CREATED();
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ap_request(g, bad[i].request, bad[i].features, bad[i].gpa);
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
		ASSERT_STILL_ALIVE();
	}
	/* There is no such vCPU. */
	ghcb_vm_request(g, SVM_VMGEXIT_AP_CREATION,
			GHCB_AP_REQUEST(SVM_VMGEXIT_AP_CREATE, 77), vmsa);
	ghcb_set(g, GHCB_RAX, SNP_SEV_FEATURES);
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
	ASSERT_STILL_ALIVE();
}

/* Userspace learns that a vCPU has nothing to run; it must not wait forever. */
AP_TEST_F(useless_vmsa_ends_run)
{
	struct ghcb_vm *g = &self->g;

	ASSERT_CREATED();
	ap_request(g, SVM_VMGEXIT_AP_DESTROY, 0, 0);
	GHCB_ASSERT_OK(g);
	ASSERT_STANDS_STILL();
	ap_request(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, NO_MEMORY_GPA);
	GHCB_ASSERT_OK(g);
	ASSERT_AP_RETURNS(KVM_EXIT_FAIL_ENTRY);
}

/* The VMSA that KVM made for the launch isn't what the guest asked for. */
AP_TEST_F(useless_first_vmsa_starts_nothing)
{
	struct ghcb_vm *g = &self->g;

	start_ap(&self->ap);
	ap_request(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, NO_MEMORY_GPA);
	GHCB_ASSERT_OK(g);
	ASSERT_AP_RETURNS(KVM_EXIT_FAIL_ENTRY);
}

/*
 * A vCPU that the guest has destroyed has no state that could be run, even if
 * userspace makes the vCPU runnable.
 */
AP_TEST_F(destroyed_vcpu_is_not_run)
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct sigaction action = { .sa_handler = handle_signal };
	struct ghcb_vm *g = &self->g;

	ASSERT_CREATED();
	ap_request(g, SVM_VMGEXIT_AP_DESTROY, 0, 0);
	GHCB_ASSERT_OK(g);
	ASSERT_STANDS_STILL();

	/* Get vCPU 1 out of KVM_RUN, and keep it out until it is made runnable. */
	sigaction(SIGUSR1, &action, NULL);
	WRITE_ONCE(self->ap.vcpu->run->immediate_exit, 1);
	pthread_kill(self->ap.thread, SIGUSR1);
	vcpu_mp_state_set(self->ap.vcpu, &runnable);
	WRITE_ONCE(self->ap.vcpu->run->immediate_exit, 0);
	ASSERT_AP_RETURNS(KVM_EXIT_FAIL_ENTRY);
}

/*
 * Takes what the page allocator has just got back, so that the next page is
 * another one.
 */
static void take_free_pages(struct kvm_vm *vm)
{
	const u64 size = 512 * PAGE_SIZE;
	int fd = vm_create_guest_memfd(vm, size, 0);

	TEST_ASSERT(!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size),
		    "fallocate() failed, errno: %d", errno);
}

/*
 * Userspace takes a VMSA's page away while its vCPU is in an exit, and the guest
 * makes another VMSA in the page that comes instead.  The guest names a VMSA by
 * its GPA, so that is the one which the vCPU has to run.
 */
AP_TEST_F(vmsa_page_replaced)
{
	struct ghcb_vm *g = &self->g;
	struct ap_area *second = self->area + 1;

	ASSERT_CREATED();
	WRITE_ONCE(self->area->exits, 1);
	ASSERT_AP_RETURNS(GHCB_VM_ANSWERED);

	vm_guest_mem_punch_hole(g->vm, ghcb_vm_spare_gpa(g, self->vmsa[0]), PAGE_SIZE);
	take_free_pages(g->vm);
	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_VALIDATE, self->vmsa[0]));
	g->box->arg = g->other_gva + sizeof(*second);
	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, self->vmsa[0]));

	second->exits = 1;
	start_ap(&self->ap);
	ASSERT_AP_RETURNS(GHCB_VM_ANSWERED);
	EXPECT_EQ(1, second->beats);
}

/*
 * The request names the vCPU by its APIC ID, i.e. by the ID of KVM_CREATE_VCPU: what
 * counts isn't in which order the vCPUs were created.
 */
FIXTURE(snp_ap_ids) {
	struct ghcb_vm g;
	struct ap_area *area;
	struct ap ap;
	gva_t vmsa[2];
};

FIXTURE_VARIANT(snp_ap_ids) {
	/* The vCPU that does tasks, and the one that is created. */
	u32 ids[2];
	/* IDs that no vCPU has, some of them less than the number of vCPUs. */
	u32 others[4];
};

FIXTURE_VARIANT_ADD(snp_ap_ids, with_gap) {
	.ids = { 0, 5 },
	.others = { 1, 2, 4, 6 },
};

FIXTURE_VARIANT_ADD(snp_ap_ids, descending) {
	.ids = { 5, 0 },
	.others = { 1, 4, 6, ~0u },
};

FIXTURE_VARIANT_ADD(snp_ap_ids, exchanged) {
	.ids = { 1, 0 },
	.others = { 2, 3, 255, ~0u },
};

FIXTURE_SETUP(snp_ap_ids)
{
	__ghcb_vm_create(&self->g, KVM_X86_SNP_VM, 2, variant->ids, NULL);
	prepare_ap(&self->g, &self->area, &self->ap, self->vmsa);
}

FIXTURE_TEARDOWN(snp_ap_ids)
{
	end_ap(&self->g, self->area, &self->ap);
}

TEST_F_TIMEOUT(snp_ap_ids, apic_id_is_vcpu_id, CASE_SECONDS)
{
	struct ghcb_vm *g = &self->g;
	gpa_t vmsa = ghcb_vm_spare_gpa(g, self->vmsa[0]);
	int i;

	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, self->vmsa[0]));
	start_ap(&self->ap);
	for (i = 0; i < ARRAY_SIZE(variant->others); i++) {
		ap_request_id(g, SVM_VMGEXIT_AP_CREATE, variant->others[i], SNP_SEV_FEATURES, vmsa);
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
		ap_request_id(g, SVM_VMGEXIT_AP_DESTROY, variant->others[i], 0, 0);
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
	}
	ASSERT_STANDS_STILL();

	ap_request_id(g, SVM_VMGEXIT_AP_CREATE, variant->ids[1], SNP_SEV_FEATURES, vmsa);
	GHCB_ASSERT_OK(g);
	ASSERT_ALIVE();
	ap_request_id(g, SVM_VMGEXIT_AP_DESTROY, variant->ids[1], 0, 0);
	GHCB_ASSERT_OK(g);
	ASSERT_STANDS_STILL();
	ap_request_id(g, SVM_VMGEXIT_AP_CREATE, variant->ids[1], SNP_SEV_FEATURES, vmsa);
	GHCB_ASSERT_OK(g);
	ASSERT_ALIVE();
}

/*
 * The last request counts, whether or not earlier ones have taken effect: one that waits
 * for an INIT, or that the vCPU has not seen yet, is replaced.
 */
FIXTURE(snp_ap_last) {
	struct ghcb_vm g;
	struct ap_area *area;
	struct ap ap;
	gva_t vmsa[2];
};

FIXTURE_VARIANT(snp_ap_last) {
	/* Requests one after the other, until the first that is none. */
	u64 requests[4];
	/* Is vCPU 1 in KVM_RUN meanwhile, or only afterwards? */
	bool runs;
	/* Does it count in the end? */
	bool counts;
};

#define NO_REQUEST	(-1ull)

FIXTURE_VARIANT_ADD(snp_ap_last, create_on_init) {
	.requests = { SVM_VMGEXIT_AP_CREATE_ON_INIT, NO_REQUEST },
	.runs = true,
	.counts = false,
};

FIXTURE_VARIANT_ADD(snp_ap_last, create_on_init_destroy) {
	.requests = { SVM_VMGEXIT_AP_CREATE_ON_INIT, SVM_VMGEXIT_AP_DESTROY, NO_REQUEST },
	.runs = true,
	.counts = false,
};

FIXTURE_VARIANT_ADD(snp_ap_last, create_on_init_create) {
	.requests = { SVM_VMGEXIT_AP_CREATE_ON_INIT, SVM_VMGEXIT_AP_CREATE, NO_REQUEST },
	.runs = true,
	.counts = true,
};

FIXTURE_VARIANT_ADD(snp_ap_last, create_destroy_unseen) {
	.requests = { SVM_VMGEXIT_AP_CREATE, SVM_VMGEXIT_AP_DESTROY, NO_REQUEST },
	.runs = false,
	.counts = false,
};

FIXTURE_VARIANT_ADD(snp_ap_last, create_destroy_create_unseen) {
	.requests = { SVM_VMGEXIT_AP_CREATE, SVM_VMGEXIT_AP_DESTROY, SVM_VMGEXIT_AP_CREATE,
		      NO_REQUEST },
	.runs = false,
	.counts = true,
};

FIXTURE_VARIANT_ADD(snp_ap_last, create_create_on_init_destroy) {
	.requests = { SVM_VMGEXIT_AP_CREATE, SVM_VMGEXIT_AP_CREATE_ON_INIT,
		      SVM_VMGEXIT_AP_DESTROY, NO_REQUEST },
	.runs = true,
	.counts = false,
};

FIXTURE_SETUP(snp_ap_last)
{
	ghcb_vm_create(&self->g, KVM_X86_SNP_VM, 2);
	prepare_ap(&self->g, &self->area, &self->ap, self->vmsa);
}

FIXTURE_TEARDOWN(snp_ap_last)
{
	end_ap(&self->g, self->area, &self->ap);
}

TEST_F_TIMEOUT(snp_ap_last, request_counts, CASE_SECONDS)
{
	struct ghcb_vm *g = &self->g;
	gpa_t vmsa = ghcb_vm_spare_gpa(g, self->vmsa[0]);
	int i;

	ASSERT_EQ(0, ghcb_vm_do(g, GHCB_TASK_MAKE_VMSA, self->vmsa[0]));
	if (variant->runs)
		start_ap(&self->ap);
	for (i = 0; variant->requests[i] != NO_REQUEST; i++) {
		ap_request(g, variant->requests[i], SNP_SEV_FEATURES,
			   variant->requests[i] == SVM_VMGEXIT_AP_DESTROY ? 0 : vmsa);
		GHCB_ASSERT_OK(g);
		/* What follows is for a vCPU that runs. */
		if (variant->runs && variant->requests[i] == SVM_VMGEXIT_AP_CREATE)
			ASSERT_ALIVE();
	}
	if (!variant->runs)
		start_ap(&self->ap);
	if (variant->counts) {
		ASSERT_ALIVE();
		return;
	}
	ASSERT_STANDS_STILL();
	/* It's there to be created, all the same. */
	ap_request(g, SVM_VMGEXIT_AP_CREATE, SNP_SEV_FEATURES, vmsa);
	GHCB_ASSERT_OK(g);
	ASSERT_ALIVE();
}

int main(int argc, char **argv)
{
	snp_require_vms();
	return test_harness_run(argc, argv);
}
