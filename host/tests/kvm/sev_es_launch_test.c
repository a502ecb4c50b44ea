// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_SEV_LAUNCH_UPDATE_VMSA of a SEV-ES VM: it has all vCPUs to itself while it encrypts their
 * state, and gives all of them back. sev_snp_launch_test asks the same of an SNP VM's launch.
 *
 * The firmware measures and encrypts what userspace has set in each vCPU ("Secure Encrypted
 * Virtualization API", 55766, LAUNCH_UPDATE_VMSA). Afterwards KVM refuses to read or write it.
 *
 * A broken kernel may hang the caller. Hence each call that may block has a thread, and each wait
 * an end.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "sev_guest.h"
#include "tasks.h"

#define CASE_SECONDS	60
/* The reason set of a request for termination by a vCPU to which nothing was done. */
#define TERM_PASSED		0xa
#define NR_VCPUS	3

/* How long to wait for what should happen at once, and to watch what should not happen. */
#define WAIT_MS		5000
#define WATCH_MS	100

/* A signal that only ends KVM_RUN. */
#define SIG_KICK	SIGUSR1

/* A call that may block, in a thread. Never freed: a stuck thread may go on at any time. */
struct call {
	struct kvm_vm *vm;
	int fd;
	unsigned long cmd;
	u8 data[PAGE_SIZE];
	pthread_t thread;
	int tid;
	/* What it returned: 0 or the negative error. */
	int ret;
	bool done;
};

FIXTURE(sev_es_launch) {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[NR_VCPUS];
};

/* Each vCPU ends by a request for termination, with the number that userspace has put into RDI. */
static void guest_code(u64 number)
{
	ghcb_terminate(TERM_PASSED, number);
}

static void encrypt_memory(struct kvm_vm *vm)
{
	struct userspace_mem_region *region;
	sparsebit_idx_t first, last;
	int i;

	hash_for_each(vm->regions.slot_hash, i, region, slot_node) {
		if (!sparsebit_any_set(region->protected_phy_pages))
			continue;
		sev_register_encrypted_memory(vm, region);
		sparsebit_for_each_set_range(region->protected_phy_pages, first, last)
			sev_launch_update_data(vm, first << vm->page_shift,
					       (last - first + 1) << vm->page_shift);
	}
	vm->arch.is_pt_protected = true;
}

/* A VM of which all but its vCPUs is encrypted. */
static void create_vm(struct kvm_vm **vm, struct kvm_vcpu **vcpus)
{
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = KVM_X86_SEV_ES_VM };
	struct kvm_sev_launch_start start = { .policy = SEV_POLICY_ES };
	int i;

	*vm = __vm_create_with_vcpus(shape, NR_VCPUS, 0, guest_code, vcpus);
	for (i = 0; i < NR_VCPUS; i++)
		vcpu_args_set(vcpus[i], 1, (u64)i + 1);
	vm_sev_ioctl(*vm, KVM_SEV_LAUNCH_START, &start);
	encrypt_memory(*vm);
}

static int update_vmsa(struct kvm_vm *vm)
{
	return __vm_sev_op(vm, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL) ? -errno : 0;
}

/* --- Calls that may block -------------------------------------------------------------------- */

static void on_kick(int sig)
{
}

static void *call_thread(void *arg)
{
	struct call *call = arg;

	WRITE_ONCE(call->tid, syscall(SYS_gettid));
	if (call->fd < 0)
		call->ret = update_vmsa(call->vm);
	else
		/* KVM_RUN must not have an argument. */
		call->ret = ioctl(call->fd, call->cmd, call->cmd == KVM_RUN ? NULL : call->data) ?
			    -errno : 0;
	__atomic_store_n(&call->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static struct call *start_call(struct kvm_vm *vm, int fd, unsigned long cmd)
{
	struct call *call = calloc(1, sizeof(*call));

	TEST_ASSERT(call, "Out of memory");
	call->vm = vm;
	call->fd = fd;
	call->cmd = cmd;
	TEST_ASSERT(!pthread_create(&call->thread, NULL, call_thread, call),
		    "pthread_create() failed");
	return call;
}

static struct call *start_update(struct kvm_vm *vm)
{
	return start_call(vm, -1, 0);
}

static struct call *start_vcpu(struct kvm_vcpu *vcpu, unsigned long cmd)
{
	return start_call(vcpu->vm, vcpu->fd, cmd);
}

/* A vCPU that is halted stays in KVM_RUN, i.e. keeps its mutex, until it is kicked. */
static struct call *start_halted(struct kvm_vcpu *vcpu)
{
	struct kvm_mp_state halted = { .mp_state = KVM_MP_STATE_HALTED };

	vcpu_mp_state_set(vcpu, &halted);
	return start_vcpu(vcpu, KVM_RUN);
}

static void kick(struct call *call)
{
	pthread_kill(call->thread, SIG_KICK);
}

static bool is_done(struct call *call)
{
	return __atomic_load_n(&call->done, __ATOMIC_ACQUIRE);
}

/* Does it sleep in that state, 'D' for a mutex and 'S' for a halted vCPU? Waits until it does. */
static bool sleeps(struct call *call, char state)
{
	u64 end = now_ms() + WAIT_MS;
	int tid;

	do {
		tid = READ_ONCE(call->tid);
		if (tid && task_state(tid) == state)
			return true;
		usleep(1000);
	} while (!is_done(call) && now_ms() < end);
	return false;
}

static bool returns(struct call *call)
{
	u64 end = now_ms() + WAIT_MS;

	while (!is_done(call) && now_ms() < end)
		usleep(1000);
	return is_done(call);
}

#define ASSERT_RETURNS(expected, call_, what)						\
do {											\
	struct call *returns_ = (call_);						\
	const char *what_ = (what);							\
											\
	ASSERT_TRUE(returns(returns_))							\
		TH_LOG("%s: expected it to return, but it is blocked", what_);		\
	ASSERT_EQ(expected, returns_->ret)						\
		TH_LOG("%s: %s", what_, strerror(-returns_->ret));			\
} while (0)

#define ASSERT_BLOCKS(call_, state, what)						\
do {											\
	struct call *blocked_ = (call_);						\
											\
	ASSERT_TRUE(sleeps(blocked_, state))						\
		TH_LOG("%s: expected it to wait, found: %s", what,			\
		       is_done(blocked_) ? strerror(-blocked_->ret) : "it runs");	\
} while (0)

#define HALTED_RUN	"KVM_RUN of a halted vCPU"

/* KVM_GET_REGS takes the vCPU's mutex, and fails with EINVAL if the vCPU is encrypted. */
static int get_regs(struct kvm_vcpu *vcpu)
{
	struct kvm_regs regs;

	return ioctl(vcpu->fd, KVM_GET_REGS, &regs) ? -errno : 0;
}

/* All vCPUs are encrypted and free, and start with the registers that they were given. */
static void launch_and_run(struct __test_metadata *_metadata, struct kvm_vm *vm,
			   struct kvm_vcpu **vcpus)
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	u8 measurement[256];
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		EXPECT_EQ(-EINVAL, get_regs(vcpus[i]));
	sev_vm_launch_measure(vm, measurement);
	sev_vm_launch_finish(vm);
	for (i = 0; i < NR_VCPUS; i++) {
		vcpu_mp_state_set(vcpus[i], &runnable);
		vcpu_run(vcpus[i]);
		ASSERT_EQ(KVM_EXIT_SYSTEM_EVENT, vcpus[i]->run->exit_reason);
		EXPECT_EQ(KVM_SYSTEM_EVENT_SEV_TERM, vcpus[i]->run->system_event.type);
		EXPECT_EQ(GHCB_MSR_TERM(TERM_PASSED, i + 1),
			  vcpus[i]->run->system_event.data[0]);
	}
}

/* --- The cases ------------------------------------------------------------------------------- */

FIXTURE_SETUP(sev_es_launch)
{
	struct sigaction action = { .sa_handler = on_kick };

	sigaction(SIG_KICK, &action, NULL);
	create_vm(&self->vm, self->vcpus);
}

FIXTURE_TEARDOWN(sev_es_launch)
{
	/* A case that failed may have left threads in the VM: it ends with the process. */
	if (_metadata->exit_code == KSFT_PASS)
		kvm_vm_free(self->vm);
}

#define ES_TEST_F(name)	TEST_F_TIMEOUT(sev_es_launch, name, CASE_SECONDS)

ES_TEST_F(update_releases_vcpus)
{
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		ASSERT_EQ(0, get_regs(self->vcpus[i]));
	ASSERT_EQ(0, update_vmsa(self->vm));
	launch_and_run(_metadata, self->vm, self->vcpus);
}

/* What is encrypted cannot be encrypted once more. */
ES_TEST_F(second_update_refused)
{
	ASSERT_EQ(0, update_vmsa(self->vm));
	ASSERT_EQ(-EINVAL, update_vmsa(self->vm));
	launch_and_run(_metadata, self->vm, self->vcpus);
}

/*
 * A vCPU in KVM_RUN has to be waited for. Until then no vCPU is encrypted, or else userspace could
 * run the first ones while it still sets the others; those before the busy one are locked.
 */
static void check_wait(struct __test_metadata *_metadata, struct kvm_vm *vm,
		       struct kvm_vcpu **vcpus, int busy)
{
	struct call *run, *update, *regs[NR_VCPUS];
	int i;

	run = start_halted(vcpus[busy]);
	ASSERT_BLOCKS(run, 'S', HALTED_RUN);
	update = start_update(vm);
	ASSERT_BLOCKS(update, 'D', "LAUNCH_UPDATE_VMSA while a vCPU is in KVM_RUN");
	for (i = 0; i < NR_VCPUS; i++)
		regs[i] = start_vcpu(vcpus[i], KVM_GET_REGS);
	for (i = 0; i <= busy; i++)
		ASSERT_BLOCKS(regs[i], 'D', "KVM_GET_REGS during LAUNCH_UPDATE_VMSA");
	for (i = busy + 1; i < NR_VCPUS; i++)
		ASSERT_RETURNS(0, regs[i], "KVM_GET_REGS during LAUNCH_UPDATE_VMSA");
	usleep(WATCH_MS * 1000);
	ASSERT_BLOCKS(update, 'D', "LAUNCH_UPDATE_VMSA while a vCPU is in KVM_RUN");

	kick(run);
	ASSERT_RETURNS(-EINTR, run, HALTED_RUN);
	ASSERT_RETURNS(0, update, "LAUNCH_UPDATE_VMSA");
	for (i = 0; i < busy; i++)
		ASSERT_RETURNS(-EINVAL, regs[i], "KVM_GET_REGS after LAUNCH_UPDATE_VMSA");
	/* The busy one's may have got the mutex before LAUNCH_UPDATE_VMSA did. */
	ASSERT_TRUE(returns(regs[busy]));
	launch_and_run(_metadata, vm, vcpus);
}

ES_TEST_F(update_waits_for_first_vcpu)
{
	check_wait(_metadata, self->vm, self->vcpus, 0);
}

ES_TEST_F(update_waits_for_last_vcpu)
{
	check_wait(_metadata, self->vm, self->vcpus, NR_VCPUS - 1);
}

/* LAUNCH_UPDATE_VMSA in a process that shares the VM, but can be killed by itself. */
static int update_process(void *vm)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	syscall(SYS_exit_group, update_vmsa(vm) ? 1 : 0);
	return 0;
}

/* The wait for a vCPU ends with the death of who waits, and nothing has happened then. */
ES_TEST_F(update_killed_while_waiting)
{
	static char stack[64 * 1024] __aligned(16);
	const int busy = NR_VCPUS - 1;
	u64 end = now_ms() + WAIT_MS;
	struct call *run, *regs;
	int i, status = 0;
	pid_t pid;

	run = start_halted(self->vcpus[busy]);
	ASSERT_BLOCKS(run, 'S', HALTED_RUN);
	/* With the VM's mm, or else KVM refuses it, and the same files. */
	pid = clone(update_process, stack + sizeof(stack), CLONE_VM | CLONE_FILES | SIGCHLD,
		    self->vm);
	ASSERT_LT(0, pid);
	while (task_state(pid) != 'D' && now_ms() < end)
		usleep(1000);
	ASSERT_EQ('D', task_state(pid))
		TH_LOG("LAUNCH_UPDATE_VMSA did not wait for vCPU %d, which is in KVM_RUN", busy);

	kill(pid, SIGKILL);
	for (end = now_ms() + WAIT_MS; !waitpid(pid, &status, WNOHANG) && now_ms() < end;)
		usleep(1000);
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		TH_LOG("LAUNCH_UPDATE_VMSA did not die of SIGKILL while it waited");
	for (i = 0; i < busy; i++) {
		regs = start_vcpu(self->vcpus[i], KVM_GET_REGS);
		ASSERT_RETURNS(0, regs, "KVM_GET_REGS after a killed LAUNCH_UPDATE_VMSA");
	}

	kick(run);
	ASSERT_RETURNS(-EINTR, run, HALTED_RUN);
	ASSERT_EQ(0, update_vmsa(self->vm));
	launch_and_run(_metadata, self->vm, self->vcpus);
}

int main(int argc, char **argv)
{
	TEST_REQUIRE(sev_is_vm_type_supported(KVM_X86_SEV_ES_VM));
	return test_harness_run(argc, argv);
}
