// SPDX-License-Identifier: GPL-2.0-only
/*
 * SEV VMs that share their encryption context: a VM, its mirror, and the VM to which it is migrated
 * (KVM_CAP_VM_COPY_ENC_CONTEXT_FROM and KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM of
 * Documentation/virt/kvm/api.rst).
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
/* How long to wait for what should happen at once. */
#define WAIT_MS		5000
/* A signal that only ends KVM_RUN. */
#define SIG_KICK	SIGUSR1

/* A VM with a vCPU that is halted, its mirror, and a VM to migrate to. */
struct vms {
	struct kvm_vm *vm, *mirror, *target;
	struct kvm_vcpu *vcpu;
};

FIXTURE(sev_mirror) {
	struct vms vms;
};

/* A task in a thread of its own. */
struct task {
	struct vms *vms;
	int (*fn)(struct vms *vms);
	pthread_t thread;
	int tid;
	/* What it returned: 0 or the negative error. */
	int ret;
	bool done;
};

static int do_run(struct vms *vms)
{
	return ioctl(vms->vcpu->fd, KVM_RUN, NULL) ? -errno : 0;
}

/* The migration is in a process that shares the VMs, but can be killed by itself. */
static int migrate_process(void *arg)
{
	struct vms *vms = arg;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ret = __vm_enable_cap(vms->target, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, vms->vm->fd);
	syscall(SYS_exit_group, ret ? 1 : 0);
	return 0;
}

static int do_close_mirror(struct vms *vms)
{
	kvm_vm_free(vms->mirror);
	return 0;
}

static void *task_thread(void *arg)
{
	struct task *task = arg;

	WRITE_ONCE(task->tid, syscall(SYS_gettid));
	task->ret = task->fn(task->vms);
	__atomic_store_n(&task->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void start(struct task *task)
{
	TEST_ASSERT(!pthread_create(&task->thread, NULL, task_thread, task),
		    "pthread_create() failed");
}

static bool returns(struct task *task)
{
	u64 end = now_ms() + WAIT_MS;

	while (!__atomic_load_n(&task->done, __ATOMIC_ACQUIRE) && now_ms() < end)
		usleep(1000);
	return __atomic_load_n(&task->done, __ATOMIC_ACQUIRE);
}

/* Does a thread sleep in that state? Waits for it. */
static bool sleeps(int *tid, char state)
{
	u64 end = now_ms() + WAIT_MS;

	while (now_ms() < end) {
		usleep(1000);
		if (task_state(READ_ONCE(*tid)) == state)
			return true;
	}
	return false;
}

/* Waits until a process has ended. Returns its status, or -1 if it does not end in time. */
static int wait_for(pid_t pid)
{
	u64 end = now_ms() + WAIT_MS;
	int status;

	while (now_ms() < end) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(1000);
	}
	return -1;
}

static void on_kick(int sig)
{
}

FIXTURE_SETUP(sev_mirror)
{
	struct kvm_mp_state halted = { .mp_state = KVM_MP_STATE_HALTED };
	struct sigaction action = { .sa_handler = on_kick };
	struct vms *vms = &self->vms;

	sigaction(SIG_KICK, &action, NULL);
	vms->vm = vm_create_barebones();
	vm_create_irqchip(vms->vm);
	sev_vm_init(vms->vm);
	vms->vcpu = __vm_vcpu_add(vms->vm, 0);
	vcpu_mp_state_set(vms->vcpu, &halted);
	sev_vm_launch(vms->vm, 0);
	vms->mirror = vm_create_barebones();
	vm_enable_cap(vms->mirror, KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, vms->vm->fd);
	vms->target = vm_create_barebones();
	vm_create_irqchip(vms->target);
	__vm_vcpu_add(vms->target, 0);
}

FIXTURE_TEARDOWN(sev_mirror)
{
	/* A case that failed may have left threads in the VMs: they end with the process. */
	if (_metadata->exit_code != KSFT_PASS)
		return;
	kvm_vm_free(self->vms.vm);
	kvm_vm_free(self->vms.target);
}

/*
 * A mirror goes away while its owner waits for a vCPU in order to be migrated. It need not wait for
 * that, and gives its reference back to the right one of both VMs.
 */
TEST_F_TIMEOUT(sev_mirror, closed_during_migration, CASE_SECONDS)
{
	static char stack[64 * 1024] __aligned(16);
	struct task run = { .vms = &self->vms, .fn = do_run };
	struct task closing = { .vms = &self->vms, .fn = do_close_mirror };
	pid_t migration;
	bool closed;

	start(&run);
	ASSERT_TRUE(sleeps(&run.tid, 'S'));
	/* With the VMs' mm, or else KVM refuses it, and the same files. */
	migration = clone(migrate_process, stack + sizeof(stack),
			  CLONE_VM | CLONE_FILES | SIGCHLD, &self->vms);
	ASSERT_LT(0, migration);
	ASSERT_TRUE(sleeps(&migration, 'D'))
		TH_LOG("the migration did not wait for the vCPU in KVM_RUN");

	start(&closing);
	closed = returns(&closing);
	if (!closed) {
		/* Were it to go on, the mirror would use the lock of a VM that is gone. */
		kill(migration, SIGKILL);
		ASSERT_NE(-1, wait_for(migration));
		ASSERT_TRUE(returns(&closing));
	}
	pthread_kill(run.thread, SIG_KICK);
	ASSERT_TRUE(returns(&run));
	EXPECT_EQ(-EINTR, run.ret);
	ASSERT_TRUE(closed)
		TH_LOG("closing the mirror waits for the migration");
	EXPECT_EQ(0, wait_for(migration));
}

int main(int argc, char **argv)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_VM_COPY_ENC_CONTEXT_FROM));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM));
	return test_harness_run(argc, argv);
}
