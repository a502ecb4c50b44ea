// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test KVM_SEV_SNP_LAUNCH_FINISH: that it has all vCPUs to itself while it
 * encrypts their state, that it gives all of them back, whether it succeeds or
 * not, and that what it encrypts is what userspace has set.
 *
 * A broken kernel tends to hang whoever uses the VM.  Hence every case is run
 * in a process of its own, everything that may block is done in a thread, every
 * wait has an end, and what is waited for in vain is named.
 */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "kselftest_harness.h"
#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "svm_util.h"
#include "sev.h"

#define MAX_VCPUS	1024

/* How long to wait for what should happen at once.  See -w. */
static unsigned int wait_seconds = 10;

/*
 * Shared by all cases.  Once something got stuck, i.e. the kernel is broken,
 * those that follow don't wait for as long, as most of them will hang, too; and
 * nothing is gained from leaving more and more processes behind.
 */
static struct {
	bool hangs;
	unsigned int nr_left_behind;
} *shared;

#define WAIT_SECONDS_IF_HANGS	2
#define MAX_LEFT_BEHIND		3

/* How long to watch something that should not happen. */
#define WATCH_MS	100

/* The harness's own limit is for nothing but bugs in the test itself. */
#define HARNESS_TIMEOUT	3600
#define SNP_TEST_F(fixture, name)	TEST_F_TIMEOUT(fixture, name, HARNESS_TIMEOUT)

/*
 * Guest code: store all registers as they were when the vCPU was started, for
 * the host to look at, then ask for termination.  Has no stack, and runs from a
 * copy, i.e. must not care about its address.
 */
struct guest_area {
	u64 gpr[16];
	u64 runs;
	u64 unused[15];
};

#define NR_GPRS		16
#define TERM_REQUEST	GHCB_MSR_TERM_REQ

#define GUEST_CODE_SIZE	256

static __naked noinline __used void guest_code(void)
{
	asm volatile("990:\n\t"
		     "mov %rax, %gs:0x00\n\t"
		     "mov %rbx, %gs:0x08\n\t"
		     "mov %rcx, %gs:0x10\n\t"
		     "mov %rdx, %gs:0x18\n\t"
		     "mov %rsi, %gs:0x20\n\t"
		     "mov %rdi, %gs:0x28\n\t"
		     "mov %rsp, %gs:0x30\n\t"
		     "mov %rbp, %gs:0x38\n\t"
		     "mov %r8, %gs:0x40\n\t"
		     "mov %r9, %gs:0x48\n\t"
		     "mov %r10, %gs:0x50\n\t"
		     "mov %r11, %gs:0x58\n\t"
		     "mov %r12, %gs:0x60\n\t"
		     "mov %r13, %gs:0x68\n\t"
		     "mov %r14, %gs:0x70\n\t"
		     "mov %r15, %gs:0x78\n\t"
		     "incq %gs:0x80\n\t"
		     "mov $" __stringify(MSR_AMD64_SEV_ES_GHCB) ", %ecx\n\t"
		     "mov $" __stringify(TERM_REQUEST) ", %eax\n\t"
		     "xor %edx, %edx\n\t"
		     "wrmsr\n\t"
		     "991: rep; vmmcall\n\t"
		     "jmp 991b\n\t"
		     ".org 990b + " __stringify(GUEST_CODE_SIZE));
}

/* In the order in which KVM has them, which happens to be the guest's. */
kvm_static_assert(offsetof(struct kvm_regs, r15) == 15 * sizeof(u64));

static const char * const gpr_names[NR_GPRS] = {
	"RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RSP", "RBP",
	"R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
};

/* A VM of a case, and what its vCPUs tell. */
struct launch_vm {
	struct kvm_vm *vm;
	u32 nr_vcpus;
	gva_t rip;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct guest_area *areas[MAX_VCPUS];
	u64 gpr[MAX_VCPUS];
};

/*
 * Allow SMT whether it's on or not: what a guest may run on is not what's
 * tested, and not every KVM takes a policy that forbids it.
 */
static u64 launch_policy(void)
{
	return snp_default_policy() | SNP_POLICY_SMT;
}

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

static void sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}

/*
 * Calls that may block, each in a thread.  What has been started is never
 * freed, as a thread that's stuck may go on at any time.
 */
struct call {
	const char *what;
	int vcpu;
	int fd;
	unsigned long cmd;
	void *arg;
	int (*fn)(struct call *call);
	struct launch_vm *vm;
	struct kvm_sev_snp_launch_finish params;
	u32 fw_error;
	union {
		struct kvm_regs regs;
		struct kvm_sregs sregs;
		struct kvm_fpu fpu;
		struct kvm_mp_state mp_state;
		struct kvm_xsave xsave;
		struct {
			u64 ns;
			u64 ticks;
		} took;
		u8 page[PAGE_SIZE];
	} data;

	pthread_t thread;
	sem_t ended;
	bool done;
	int tid;
	int ret;
	int err;
	u64 deadline;
	u64 value;
	int other;
};

static int nr_calls_pending;

static void *call_thread(void *arg)
{
	struct call *call = arg;

	__atomic_store_n(&call->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	errno = 0;
	call->ret = call->fn ? call->fn(call) : ioctl(call->fd, call->cmd, call->arg);
	call->err = call->ret < 0 ? errno : 0;
	sem_post(&call->ended);
	return NULL;
}

static struct call *call_new(const char *what, int vcpu)
{
	struct call *call = calloc(1, sizeof(*call));

	TEST_ASSERT(call, "Out of memory");
	call->what = what;
	call->vcpu = vcpu;
	return call;
}

static struct call *call_start(struct call *call)
{
	pthread_attr_t attr;

	call->deadline = now_ms() + wait_seconds * 1000;
	sem_init(&call->ended, 0, 0);
	nr_calls_pending++;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	TEST_ASSERT(!pthread_create(&call->thread, &attr, call_thread, call),
		    "pthread_create() failed");
	pthread_attr_destroy(&attr);
	return call;
}

static bool call_ended(struct call *call, u64 deadline)
{
	const struct timespec ts = {
		.tv_sec = deadline / 1000,
		.tv_nsec = deadline % 1000 * 1000000,
	};

	if (call->done)
		return true;

	while (sem_clockwait(&call->ended, CLOCK_MONOTONIC, &ts)) {
		if (errno != EINTR)
			return false;
	}

	pthread_join(call->thread, NULL);
	call->done = true;
	nr_calls_pending--;
	return true;
}

/* A line of a file in /proc/PID/task/TID; empty if it can't be read. */
static void read_task_file(int pid, int tid, const char *name, char *buf, size_t size)
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? 0 : read(fd, buf, size - 1);
	buf[n < 0 ? 0 : n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

/* The state of a thread as in "ps", or 0 if there's no such thread. */
static char task_state(int pid, int tid)
{
	char stat[256], *p;

	read_task_file(pid, tid, "stat", stat, sizeof(stat));
	p = strrchr(stat, ')');
	return p && p[1] == ' ' ? p[2] : 0;
}

/*
 * Where a thread sleeps, and which mutex that means: the first function of the
 * call chain that is neither the scheduler's nor a lock's, hence the one that
 * takes the lock.
 */
static void where_task_waits(int pid, int tid, char *buf, size_t size)
{
	static const struct {
		const char *function;
		const char *means;
	} known[] = {
		{ "kvm_vcpu_ioctl",		"on vcpu->mutex" },
		{ "kvm_lock_all_vcpus",		"on a vcpu->mutex" },
		{ "snp_launch_update_vmsa",	"on a vcpu->mutex or kvm->lock" },
		{ "sev_mem_enc_ioctl",		"on kvm->lock" },
		{ "kvm_vm_ioctl",		"on kvm->lock" },
		{ "kvm_vcpu_block",		"in a halted vCPU" },
		{ "kvm_vcpu_halt",		"in a halted vCPU" },
	};
	char wchan[128], state = task_state(pid, tid);
	const char *means = "on a lock or event unknown to the test";
	unsigned int i;

	if (!state) {
		snprintf(buf, size, "its thread is gone, see the kernel's log for an oops");
		return;
	}

	read_task_file(pid, tid, "wchan", wchan, sizeof(wchan));
	for (i = 0; i < ARRAY_SIZE(known); i++) {
		if (!strncmp(wchan, known[i].function, strlen(known[i].function)))
			means = known[i].means;
	}
	if (state == 'R')
		snprintf(buf, size, "not stuck, but running");
	else
		snprintf(buf, size, "stuck %s (wchan %s, state %c)", means,
			 wchan[0] && strcmp(wchan, "0") ? wchan : "not readable", state);
}

static void who(const struct call *call, char *buf, size_t size)
{
	if (call->vcpu < 0)
		snprintf(buf, size, "%s", call->what);
	else
		snprintf(buf, size, "vCPU %d: %s", call->vcpu, call->what);
}

/* Wait for a call that should return; say so if it doesn't. */
static bool call_returns(struct __test_metadata *_metadata, struct call *call)
{
	char name[64], where[256];

	if (call_ended(call, call->deadline))
		return true;

	/* Slow is not stuck. */
	if (task_state(getpid(), call->tid) == 'R' &&
	    call_ended(call, now_ms() + wait_seconds * 1000))
		return true;

	who(call, name, sizeof(name));
	where_task_waits(getpid(), call->tid, where, sizeof(where));
	TH_LOG("%s did not return within %u s: %s", name, wait_seconds, where);
	WRITE_ONCE(shared->hangs, true);
	_metadata->exit_code = KSFT_FAIL;
	return false;
}

/* Wait for a call that should return with a given errno, or 0. */
static bool call_returns_errno(struct __test_metadata *_metadata, struct call *call, int err)
{
	char name[64];

	if (!call_returns(_metadata, call))
		return false;
	if (call->err == err)
		return true;

	who(call, name, sizeof(name));
	TH_LOG("%s: expected %s (%d), found %s (%d)", name,
	       strerror(err), err, strerror(call->err), call->err);
	if (call->fw_error)
		TH_LOG("the firmware's error is 0x%x", call->fw_error);
	_metadata->exit_code = KSFT_FAIL;
	return false;
}

/* Wait for a call to block, i.e. for its thread to sleep in the given state. */
static bool call_blocks(struct __test_metadata *_metadata, struct call *call, char state)
{
	char name[64], found = 0;
	int tid;

	do {
		if (call_ended(call, now_ms() + 5)) {
			who(call, name, sizeof(name));
			TH_LOG("%s: expected it to block, but it returned: %s (%d)",
			       name, strerror(call->err), call->err);
			_metadata->exit_code = KSFT_FAIL;
			return false;
		}
		tid = __atomic_load_n(&call->tid, __ATOMIC_ACQUIRE);
		if (tid)
			found = task_state(getpid(), tid);
		if (found == state)
			return true;
	} while (now_ms() < call->deadline);

	who(call, name, sizeof(name));
	TH_LOG("%s: expected its thread to block in state %c within %u s, found state %c",
	       name, state, wait_seconds, found ?: '-');
	_metadata->exit_code = KSFT_FAIL;
	return false;
}

/* To be checked at the end of a watch, see watch(). */
static bool call_is_blocked(struct __test_metadata *_metadata, struct call *call, const char *why)
{
	char name[64];

	if (!call_ended(call, 0))
		return true;

	who(call, name, sizeof(name));
	TH_LOG("%s returned, %s (%d), %s", name, strerror(call->err), call->err, why);
	_metadata->exit_code = KSFT_FAIL;
	return false;
}

static void watch(void)
{
	sleep_ms(WATCH_MS);
}

static struct call *vcpu_call(struct launch_vm *vm, u32 i, unsigned long cmd, const char *what)
{
	struct call *call = call_new(what, i);

	call->fd = vm->vcpus[i]->fd;
	call->cmd = cmd;
	call->arg = &call->data;
	return call;
}

#define start_vcpu_ioctl(vm, i, cmd)	call_start(vcpu_call(vm, i, cmd, #cmd))

static int do_finish(struct call *call)
{
	return __snp_vm_launch_finish(call->vm->vm, &call->params, &call->fw_error);
}

static struct call *new_finish(struct launch_vm *vm)
{
	struct call *call = call_new("LAUNCH_FINISH", -1);

	call->vm = vm;
	call->fn = do_finish;
	return call;
}

static struct call *start_finish(struct launch_vm *vm)
{
	return call_start(new_finish(vm));
}

static bool finish_returns(struct __test_metadata *_metadata, struct launch_vm *vm, int err)
{
	return call_returns_errno(_metadata, start_finish(vm), err);
}

/* Call an ioctl on every vCPU at the same time, and expect an errno, or 0. */
static bool __vcpus_return(struct __test_metadata *_metadata, struct launch_vm *vm,
			   u32 first, u32 end, unsigned long cmd, const char *what, int err)
{
	struct call *calls[MAX_VCPUS];
	bool good = true;
	u32 i;

	end = min(end, vm->nr_vcpus);
	for (i = first; i < end; i++)
		calls[i] = call_start(vcpu_call(vm, i, cmd, what));
	for (i = first; i < end; i++)
		good &= call_returns_errno(_metadata, calls[i], err);

	return good;
}

#define some_vcpus_return(vm, first, end, cmd, err)	\
	__vcpus_return(_metadata, vm, first, end, cmd, #cmd, err)
#define vcpus_return(vm, cmd, err)			\
	__vcpus_return(_metadata, vm, 0, UINT_MAX, cmd, #cmd, err)

/*
 * KVM_GET_MP_STATE takes vcpu->mutex, and doesn't care about encryption.
 * KVM_GET_REGS does: it's -EINVAL if and only if the vCPU is encrypted.
 */
#define vcpus_are_free(vm)	vcpus_return(vm, KVM_GET_MP_STATE, 0)
#define vcpus_are_plain(vm)	vcpus_return(vm, KVM_GET_REGS, 0)
#define vcpus_are_encrypted(vm)	vcpus_return(vm, KVM_GET_REGS, EINVAL)

static int do_run(struct call *call)
{
	int ret;

	do {
		ret = ioctl(call->fd, KVM_RUN, NULL);
	} while (ret && (errno == EINTR || errno == EAGAIN));

	return ret;
}

/* Run all vCPUs at once; each has to get to its end with the registers it was given. */
static bool vcpus_run(struct __test_metadata *_metadata, struct launch_vm *vm)
{
	struct call *calls[MAX_VCPUS];
	bool good = true;
	u32 i, j;

	for (i = 0; i < vm->nr_vcpus; i++) {
		calls[i] = vcpu_call(vm, i, KVM_RUN, "KVM_RUN");
		calls[i]->fn = do_run;
		call_start(calls[i]);
	}

	for (i = 0; i < vm->nr_vcpus; i++) {
		struct kvm_run *run = vm->vcpus[i]->run;

		if (!call_returns_errno(_metadata, calls[i], 0)) {
			good = false;
			continue;
		}

		if (run->exit_reason != KVM_EXIT_SYSTEM_EVENT ||
		    run->system_event.type != KVM_SYSTEM_EVENT_SEV_TERM ||
		    run->system_event.data[0] != TERM_REQUEST) {
			TH_LOG("vCPU %u: expected termination, found exit %s (%u), 0x%lx, 0x%lx",
			       i, exit_reason_str(run->exit_reason), run->exit_reason,
			       (u64)run->system_event.type, (u64)run->system_event.data[0]);
			_metadata->exit_code = KSFT_FAIL;
			good = false;
			continue;
		}

		for (j = 0; j < NR_GPRS; j++) {
			if (READ_ONCE(vm->areas[i]->gpr[j]) == vm->gpr[i])
				continue;
			TH_LOG("vCPU %u: expected %s to be 0x%lx, as set last, found 0x%lx",
			       i, gpr_names[j], vm->gpr[i], vm->areas[i]->gpr[j]);
			_metadata->exit_code = KSFT_FAIL;
			good = false;
			break;
		}
	}

	return good;
}

static void fill_gprs(struct launch_vm *vm, struct kvm_regs *regs, u64 value)
{
	u64 *gpr = (u64 *)regs;
	int i;

	for (i = 0; i < NR_GPRS; i++)
		gpr[i] = value;
	regs->rip = vm->rip;
	regs->rflags = X86_EFLAGS_FIXED;
}

static void vm_create_for_launch(struct launch_vm *vm, u32 nr_vcpus)
{
	const size_t areas_size = nr_vcpus * sizeof(struct guest_area);
	struct kvm_regs regs = {};
	gva_t areas;
	u32 i;

	memset(vm, 0, sizeof(*vm));
	vm->nr_vcpus = nr_vcpus;
	vm->vm = vm_sev_create_bare(KVM_X86_SNP_VM, nr_vcpus, 64 + nr_vcpus / 16);
	vm_enable_cap(vm->vm, KVM_CAP_EXIT_HYPERCALL, BIT(KVM_HC_MAP_GPA_RANGE));

	vm->rip = vm_alloc_page(vm->vm);
	memcpy(addr_gva2hva(vm->vm, vm->rip), guest_code, GUEST_CODE_SIZE);
	areas = vm_alloc_shared(vm->vm, areas_size, KVM_UTIL_MIN_VADDR, MEM_REGION_TEST_DATA);

	for (i = 0; i < nr_vcpus; i++) {
		gva_t area = areas + i * sizeof(struct guest_area);

		vm->areas[i] = addr_gva2hva(vm->vm, area);
		vm->vcpus[i] = vm_sev_vcpu_add_bare(vm->vm, i, vm->rip, area);
		vm->gpr[i] = 0x0102030405060700ull + i;
		fill_gprs(vm, &regs, vm->gpr[i]);
		vcpu_regs_set(vm->vcpus[i], &regs);
	}
}

/* Everything of a launch but its end. */
static void vm_launch(struct launch_vm *vm, u32 nr_vcpus)
{
	vm_create_for_launch(vm, nr_vcpus);
	snp_vm_launch_start(vm->vm, launch_policy());
	snp_vm_launch_update(vm->vm);
}

static int do_free(struct call *call)
{
	kvm_vm_free(call->vm->vm);
	return 0;
}

/* A VM that somebody is stuck in isn't touched: that's left to the process's end. */
static bool vm_free(struct __test_metadata *_metadata, struct launch_vm *vm)
{
	struct call *call;
	bool good;

	if (!vm->vm || nr_calls_pending)
		return true;

	call = call_new("destroying the VM", -1);
	call->fn = do_free;
	call->vm = vm;
	good = call_returns(_metadata, call_start(call));
	vm->vm = NULL;
	return good;
}

/* A signal that does nothing but end KVM_RUN. */
#define SIG_KICK	SIGUSR1

/* How many of them were delivered to the thread at hand. */
static __thread u32 nr_kicks;

static void on_kick(int sig)
{
	WRITE_ONCE(nr_kicks, nr_kicks + 1);
}

/* Have a vCPU sit in KVM_RUN, i.e. keep its mutex, until it's kicked. */
static struct call *start_halted_vcpu(struct __test_metadata *_metadata, struct launch_vm *vm,
				      u32 i)
{
	struct kvm_mp_state halted = { .mp_state = KVM_MP_STATE_HALTED };
	struct sigaction sa = { .sa_handler = on_kick };
	struct call *call;

	sigaction(SIG_KICK, &sa, NULL);
	vcpu_mp_state_set(vm->vcpus[i], &halted);
	call = vcpu_call(vm, i, KVM_RUN, "KVM_RUN of a halted vCPU");
	call->arg = NULL;
	call_start(call);
	return call_blocks(_metadata, call, 'S') ? call : NULL;
}

/* For what has been waiting on purpose, the time counts from now on. */
static void call_extend(struct call *call)
{
	call->deadline = now_ms() + wait_seconds * 1000;
}

static bool kick_vcpu(struct __test_metadata *_metadata, struct call *call)
{
	call_extend(call);

	while (!call_ended(call, now_ms() + 50) && now_ms() < call->deadline)
		pthread_kill(call->thread, SIG_KICK);

	return call_returns_errno(_metadata, call, EINTR);
}

static bool vcpu_make_runnable(struct __test_metadata *_metadata, struct launch_vm *vm, u32 i)
{
	struct call *call = vcpu_call(vm, i, KVM_SET_MP_STATE, "KVM_SET_MP_STATE");

	call->data.mp_state.mp_state = KVM_MP_STATE_RUNNABLE;
	return call_returns_errno(_metadata, call_start(call), 0);
}

static bool wait_for_exit(pid_t pid, unsigned int seconds)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	u64 now, end = now_ms() + seconds * 1000ull;
	int ret = 0;

	TEST_ASSERT(fd >= 0, "pidfd_open() failed, errno: %d", errno);
	while ((now = now_ms()) < end) {
		ret = poll(&poll_fd, 1, end - now);
		if (ret >= 0 || errno != EINTR)
			break;
	}
	close(fd);
	return ret > 0;
}

static void log_tasks(struct __test_metadata *_metadata, pid_t pid)
{
	char path[64], where[256];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (!isdigit(entry->d_name[0]))
			continue;
		where_task_waits(pid, atoi(entry->d_name), where, sizeof(where));
		TH_LOG("thread %s: %s", entry->d_name, where);
	}
	if (dir)
		closedir(dir);
}

/*
 * Wait for the end of a test case's process: until the limit, or not for long
 * once it has begun to end, i.e. its main thread has, as others may be stuck.
 */
static bool wait_for_case(pid_t pid, unsigned int limit)
{
	unsigned int seconds, ending = 0;

	for (seconds = 0; seconds < limit && ending <= wait_seconds; seconds++) {
		if (wait_for_exit(pid, 1))
			return true;
		if (task_state(pid, pid) == 'Z')
			ending++;
	}

	return false;
}

/*
 * Go on in a new process, and look after it.  One that doesn't end within the
 * time for so many cases is killed; one that doesn't even die, i.e. is stuck in
 * the kernel, is left behind.
 */
static void run_in_supervised_process(struct __test_metadata *_metadata, unsigned int nr_cases)
{
	struct rlimit no_core = {};
	unsigned int limit;
	int status = 0;
	pid_t pid;

	if (READ_ONCE(shared->nr_left_behind) >= MAX_LEFT_BEHIND)
		SKIP(_exit(KSFT_SKIP), "not run: the processes of %u cases are stuck in the kernel",
		     shared->nr_left_behind);

	if (READ_ONCE(shared->hangs))
		wait_seconds = min_t(unsigned int, wait_seconds, WAIT_SECONDS_IF_HANGS);
	/* A case waits in vain a few times at most, then gives up. */
	limit = nr_cases * ((READ_ONCE(shared->hangs) ? 20 : 60) + 8 * wait_seconds);

	setrlimit(RLIMIT_CORE, &no_core);
	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return;
	}

	if (!wait_for_case(pid, limit)) {
		TH_LOG("the test case's process did not end in time:");
		WRITE_ONCE(shared->hangs, true);
		log_tasks(_metadata, pid);
		_metadata->exit_code = KSFT_FAIL;
		kill(pid, SIGKILL);
		if (!wait_for_exit(pid, wait_seconds)) {
			TH_LOG("process %d cannot be killed, and is left behind:", pid);
			log_tasks(_metadata, pid);
			WRITE_ONCE(shared->nr_left_behind, shared->nr_left_behind + 1);
			_exit(KSFT_FAIL);
		}
	}

	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
		_exit(KSFT_FAIL);
	}
	_exit(WEXITSTATUS(status));
}

FIXTURE(snp_launch_smp) {
	struct launch_vm vm;
};

FIXTURE_VARIANT(snp_launch_smp) {
	u32 nr_vcpus;
};

FIXTURE_VARIANT_ADD(snp_launch_smp, 1_vcpu) { .nr_vcpus = 1 };
FIXTURE_VARIANT_ADD(snp_launch_smp, 2_vcpus) { .nr_vcpus = 2 };
FIXTURE_VARIANT_ADD(snp_launch_smp, 8_vcpus) { .nr_vcpus = 8 };
FIXTURE_VARIANT_ADD(snp_launch_smp, 64_vcpus) { .nr_vcpus = 64 };

FIXTURE_SETUP(snp_launch_smp)
{
	run_in_supervised_process(_metadata, 1);
}

FIXTURE_TEARDOWN(snp_launch_smp)
{
	vm_free(_metadata, &self->vm);
}

/* All vCPUs can be run after the launch, start with the registers they were given. */
SNP_TEST_F(snp_launch_smp, finish_then_run)
{
	if (kvm_check_cap(KVM_CAP_MAX_VCPUS) < (int)variant->nr_vcpus)
		SKIP(return, "KVM_CAP_MAX_VCPUS is %d, %u are needed",
		     kvm_check_cap(KVM_CAP_MAX_VCPUS), variant->nr_vcpus);

	vm_launch(&self->vm, variant->nr_vcpus);
	ASSERT_TRUE(finish_returns(_metadata, &self->vm, 0));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

FIXTURE(snp_launch) {
	struct launch_vm vm;
};

FIXTURE_SETUP(snp_launch)
{
	run_in_supervised_process(_metadata, 1);
}

FIXTURE_TEARDOWN(snp_launch)
{
	vm_free(_metadata, &self->vm);
}

/* No mutex is held after a launch, and what is encrypted can't be read or written. */
SNP_TEST_F(snp_launch, finish_releases_vcpus)
{
	vm_launch(&self->vm, 4);
	ASSERT_TRUE(vcpus_are_plain(&self->vm));
	ASSERT_TRUE(finish_returns(_metadata, &self->vm, 0));
	ASSERT_TRUE(vcpus_are_free(&self->vm));
	ASSERT_TRUE(vcpus_are_encrypted(&self->vm));
	EXPECT_TRUE(vcpus_return(&self->vm, KVM_SET_REGS, EINVAL));
	EXPECT_TRUE(vcpus_return(&self->vm, KVM_GET_SREGS, EINVAL));
	EXPECT_TRUE(vcpus_return(&self->vm, KVM_SET_SREGS, EINVAL));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

/*
 * A vCPU in KVM_RUN, be it the first, the last, or one in between, has to be
 * waited for.  Until then no vCPU is encrypted, but those with a lower index
 * are locked already.
 */
SNP_TEST_F(snp_launch, finish_waits_for_running_vcpu)
{
	struct call *run, *finish, *regs[3];
	const u32 nr = ARRAY_SIZE(regs);
	u32 busy, i;

	for (busy = 0; busy < nr; busy++) {
		vm_launch(&self->vm, nr);
		run = start_halted_vcpu(_metadata, &self->vm, busy);
		ASSERT_NE(NULL, run);

		finish = start_finish(&self->vm);
		ASSERT_TRUE(call_blocks(_metadata, finish, 'D')) {
			TH_LOG("LAUNCH_FINISH did not wait for vCPU %u, which is in KVM_RUN", busy);
		}

		for (i = 0; i < nr; i++)
			regs[i] = start_vcpu_ioctl(&self->vm, i, KVM_GET_REGS);
		for (i = busy + 1; i < nr; i++) {
			ASSERT_TRUE(call_returns_errno(_metadata, regs[i], 0)) {
				TH_LOG("LAUNCH_FINISH, waiting for vCPU %u, changed vCPU %u",
				       busy, i);
			}
		}

		watch();
		ASSERT_TRUE(call_is_blocked(_metadata, run, "nobody kicked it"));
		ASSERT_TRUE(call_is_blocked(_metadata, finish, "a vCPU is in KVM_RUN"));
		for (i = 0; i <= busy; i++) {
			ASSERT_TRUE(call_is_blocked(_metadata, regs[i],
						    "LAUNCH_FINISH should have it locked")) {
				TH_LOG("LAUNCH_FINISH waits for vCPU %u", busy);
			}
		}

		ASSERT_TRUE(kick_vcpu(_metadata, run));
		call_extend(finish);
		ASSERT_TRUE(call_returns_errno(_metadata, finish, 0));
		for (i = 0; i <= busy; i++)
			call_extend(regs[i]);
		for (i = 0; i < busy; i++)
			ASSERT_TRUE(call_returns_errno(_metadata, regs[i], EINVAL));
		/* The busy one's may have been first in the queue. */
		ASSERT_TRUE(call_returns(_metadata, regs[busy]));

		ASSERT_TRUE(vcpus_are_encrypted(&self->vm));
		ASSERT_TRUE(vcpu_make_runnable(_metadata, &self->vm, busy));
		ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
		ASSERT_TRUE(vm_free(_metadata, &self->vm));
	}
}

/* LAUNCH_FINISH in a process that shares the VM, but can be killed by itself. */
static int finish_process(void *arg)
{
	struct call *call = arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	call->ret = do_finish(call);
	syscall(SYS_exit_group, call->ret ? 1 : 0);
	return 0;
}

/*
 * Waiting for a vCPU ends with the death of who waits, with all mutexes that
 * were taken given back, and no other, and nothing done that can't be repeated.
 */
SNP_TEST_F(snp_launch, finish_killed_while_waiting)
{
	const u32 nr = 3, busy = 1;
	const size_t stack_size = 64 * 1024;
	char *stack = malloc(stack_size);
	struct call *run, *finish, *state;
	char where[256], found = 0;
	pid_t pid;
	u64 end;
	int status = 0;

	ASSERT_NE(NULL, stack);
	vm_launch(&self->vm, nr);
	run = start_halted_vcpu(_metadata, &self->vm, busy);
	ASSERT_NE(NULL, run);

	/* With the VM's mm, or else KVM would refuse it, and the same files. */
	finish = new_finish(&self->vm);
	pid = clone(finish_process, stack + stack_size, CLONE_VM | CLONE_FILES | SIGCHLD, finish);
	ASSERT_LT(0, pid);

	for (end = now_ms() + wait_seconds * 1000; found != 'D' && now_ms() < end; sleep_ms(5)) {
		found = task_state(pid, pid);
		ASSERT_TRUE(found && found != 'Z') {
			TH_LOG("LAUNCH_FINISH did not wait for vCPU %u, which is in KVM_RUN", busy);
		}
	}
	ASSERT_EQ('D', found);
	state = start_vcpu_ioctl(&self->vm, busy, KVM_GET_MP_STATE);
	watch();
	ASSERT_EQ('D', task_state(pid, pid)) {
		TH_LOG("LAUNCH_FINISH stopped waiting for vCPU %u, which is in KVM_RUN", busy);
	}

	kill(pid, SIGKILL);
	if (!wait_for_exit(pid, wait_seconds)) {
		where_task_waits(pid, pid, where, sizeof(where));
		TH_LOG("LAUNCH_FINISH, waiting for vCPU %u, did not die within %u s of SIGKILL: %s",
		       busy, wait_seconds, where);
		_metadata->exit_code = KSFT_FAIL;
		/* So that there's nothing to wait for any more. */
		kick_vcpu(_metadata, run);
		ASSERT_TRUE(wait_for_exit(pid, wait_seconds));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ASSERT_EQ(KSFT_PASS, _metadata->exit_code);

	/* Nothing is leaked, nothing is encrypted, and the busy vCPU is still locked. */
	ASSERT_TRUE(some_vcpus_return(&self->vm, 0, busy, KVM_GET_REGS, 0));
	ASSERT_TRUE(some_vcpus_return(&self->vm, busy + 1, nr, KVM_GET_REGS, 0));
	watch();
	ASSERT_TRUE(call_is_blocked(_metadata, run, "nobody kicked it"));
	ASSERT_TRUE(call_is_blocked(_metadata, state, "but its vCPU is in KVM_RUN"));

	ASSERT_TRUE(kick_vcpu(_metadata, run));
	call_extend(state);
	ASSERT_TRUE(call_returns_errno(_metadata, state, 0));
	ASSERT_TRUE(vcpus_are_plain(&self->vm));
	ASSERT_TRUE(vcpu_make_runnable(_metadata, &self->vm, busy));
	ASSERT_TRUE(finish_returns(_metadata, &self->vm, 0));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

/* Call LAUNCH_FINISH, and count the signals that are delivered when it returns. */
static int do_finish_with_signal(struct call *call)
{
	u32 before = READ_ONCE(nr_kicks);
	int ret = do_finish(call);

	call->value = READ_ONCE(nr_kicks) - before;
	return ret;
}

static struct call *start_finish_with_signal(struct launch_vm *vm)
{
	struct call *finish = new_finish(vm);

	finish->fn = do_finish_with_signal;
	return call_start(finish);
}

/* The signal has a handler, i.e. isn't fatal, and stays pending until the call returns. */
static void send_signal(struct call *call)
{
	TEST_ASSERT(!pthread_kill(call->thread, SIG_KICK), "pthread_kill() failed");
}

static bool finish_succeeds_with_signal(struct __test_metadata *_metadata, struct call *finish)
{
	call_extend(finish);
	if (!call_returns_errno(_metadata, finish, 0)) {
		TH_LOG("LAUNCH_FINISH had a signal pending that is not fatal");
		return false;
	}
	if (finish->value != 1) {
		TH_LOG("expected 1 signal to be pending until LAUNCH_FINISH returned, found %lu",
		       finish->value);
		_metadata->exit_code = KSFT_FAIL;
		return false;
	}

	return true;
}

/*
 * A signal that isn't fatal doesn't end LAUNCH_FINISH's wait for a vCPU.  It stays
 * pending, and doesn't end the wait for the next vCPU, either.
 */
SNP_TEST_F(snp_launch, arriving_signal_does_not_end_wait)
{
	const u32 nr = 3, busy[] = { 0, 2 };
	struct call *run[ARRAY_SIZE(busy)], *finish;
	u32 i;

	vm_launch(&self->vm, nr);
	for (i = 0; i < ARRAY_SIZE(busy); i++) {
		run[i] = start_halted_vcpu(_metadata, &self->vm, busy[i]);
		ASSERT_NE(NULL, run[i]);
	}

	finish = start_finish_with_signal(&self->vm);
	ASSERT_TRUE(call_blocks(_metadata, finish, 'D')) {
		TH_LOG("LAUNCH_FINISH did not wait for vCPU %u, which is in KVM_RUN", busy[0]);
	}

	send_signal(finish);
	for (i = 0; i < ARRAY_SIZE(busy); i++) {
		watch();
		ASSERT_TRUE(call_is_blocked(_metadata, run[i], "nobody kicked it"));
		ASSERT_TRUE(call_is_blocked(_metadata, finish, "on a signal that is not fatal")) {
			TH_LOG("LAUNCH_FINISH should wait for vCPU %u, which is in KVM_RUN",
			       busy[i]);
		}
		ASSERT_TRUE(kick_vcpu(_metadata, run[i]));
	}

	ASSERT_TRUE(finish_succeeds_with_signal(_metadata, finish));
	ASSERT_TRUE(vcpus_are_encrypted(&self->vm));
	for (i = 0; i < ARRAY_SIZE(busy); i++)
		ASSERT_TRUE(vcpu_make_runnable(_metadata, &self->vm, busy[i]));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

static int do_finish_without_device(struct call *call)
{
	struct kvm_sev_cmd cmd = {
		.id = KVM_SEV_SNP_LAUNCH_FINISH,
		.data = (unsigned long)&call->params,
		/* A file, but not /dev/sev. */
		.sev_fd = call->vm->vm->fd,
	};

	return ioctl(call->vm->vm->fd, KVM_MEMORY_ENCRYPT_OP, &cmd);
}

/*
 * A signal that is pending before LAUNCH_FINISH takes the first vCPU's mutex is
 * no reason to fail, if it isn't fatal.  A thread that gets a signal in userspace
 * runs the handler at once, so send the signal while the thread waits for
 * kvm->lock.  Another LAUNCH_FINISH holds kvm->lock: it waits for a vCPU, and then
 * fails with nothing encrypted.
 */
SNP_TEST_F(snp_launch, pending_signal_does_not_end_wait)
{
	const u32 nr = 3, busy = 1;
	struct call *run, *first, *finish;

	vm_launch(&self->vm, nr);
	run = start_halted_vcpu(_metadata, &self->vm, busy);
	ASSERT_NE(NULL, run);

	first = new_finish(&self->vm);
	first->fn = do_finish_without_device;
	ASSERT_TRUE(call_blocks(_metadata, call_start(first), 'D')) {
		TH_LOG("LAUNCH_FINISH did not wait for vCPU %u, which is in KVM_RUN", busy);
	}
	finish = start_finish_with_signal(&self->vm);
	ASSERT_TRUE(call_blocks(_metadata, finish, 'D')) {
		TH_LOG("LAUNCH_FINISH did not wait for another one");
	}

	send_signal(finish);
	watch();
	ASSERT_TRUE(call_is_blocked(_metadata, run, "nobody kicked it"));
	ASSERT_TRUE(call_is_blocked(_metadata, first, "a vCPU is in KVM_RUN"));
	ASSERT_TRUE(call_is_blocked(_metadata, finish, "another one holds kvm->lock"));

	ASSERT_TRUE(kick_vcpu(_metadata, run));
	call_extend(first);
	ASSERT_TRUE(call_returns_errno(_metadata, first, EBADF));
	ASSERT_TRUE(finish_succeeds_with_signal(_metadata, finish));
	ASSERT_TRUE(vcpus_are_encrypted(&self->vm));
	ASSERT_TRUE(vcpu_make_runnable(_metadata, &self->vm, busy));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

/* Set all registers to the same value, again and again, until KVM refuses to. */
static int do_set_registers(struct call *call)
{
	u64 value = (u64)(call->vcpu + 1) << 32;
	struct kvm_regs regs = {};

	for (;; value++) {
		fill_gprs(call->vm, &regs, value);
		if (ioctl(call->fd, KVM_SET_REGS, &regs))
			return -1;
		WRITE_ONCE(call->value, value);
	}
}

/*
 * What a vCPU starts with are the registers of the last KVM_SET_REGS that
 * succeeded: all of them, and not those of the one before.
 */
SNP_TEST_F(snp_launch, registers_not_torn)
{
	struct call *set[4], *finish;
	const u32 nr = ARRAY_SIZE(set);
	int rounds;
	u64 end;
	u32 i;

	for (rounds = 0; rounds < 3; rounds++) {
		vm_launch(&self->vm, nr);
		for (i = 0; i < nr; i++) {
			set[i] = vcpu_call(&self->vm, i, KVM_SET_REGS, "KVM_SET_REGS in a loop");
			set[i]->fn = do_set_registers;
			set[i]->vm = &self->vm;
			call_start(set[i]);
		}
		end = now_ms() + wait_seconds * 1000;
		for (i = 0; i < nr; i++) {
			while (!READ_ONCE(set[i]->value) && now_ms() < end)
				sleep_ms(1);
			ASSERT_NE(0, READ_ONCE(set[i]->value));
		}

		finish = start_finish(&self->vm);
		ASSERT_TRUE(call_returns_errno(_metadata, finish, 0));
		for (i = 0; i < nr; i++) {
			call_extend(set[i]);
			ASSERT_TRUE(call_returns_errno(_metadata, set[i], EINVAL));
			self->vm.gpr[i] = set[i]->value;
		}
		ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
		ASSERT_TRUE(vm_free(_metadata, &self->vm));
	}
}

/* Wait until one vCPU is found to be encrypted; all others have to be, then. */
static int do_watch_others(struct call *call)
{
	struct kvm_regs regs;
	u32 i;

	do {
		WRITE_ONCE(call->value, call->value + 1);
	} while (!ioctl(call->fd, KVM_GET_REGS, &regs));

	for (i = call->vm->nr_vcpus - 1; i > (u32)call->vcpu; i--) {
		if (!ioctl(call->vm->vcpus[i]->fd, KVM_GET_REGS, &regs)) {
			call->other = i;
			break;
		}
	}

	return 0;
}

/* No vCPU is let go before the last one is encrypted. */
SNP_TEST_F(snp_launch, vcpus_change_together)
{
	struct call *watch[7], *finish;
	const u32 nr = ARRAY_SIZE(watch) + 1;
	int rounds;
	u64 end;
	u32 i;

	for (rounds = 0; rounds < 3; rounds++) {
		vm_launch(&self->vm, nr);
		for (i = 0; i < nr - 1; i++) {
			watch[i] = vcpu_call(&self->vm, i, KVM_GET_REGS, "KVM_GET_REGS in a loop");
			watch[i]->fn = do_watch_others;
			watch[i]->vm = &self->vm;
			call_start(watch[i]);
		}
		end = now_ms() + wait_seconds * 1000;
		for (i = 0; i < nr - 1; i++) {
			while (!READ_ONCE(watch[i]->value) && now_ms() < end)
				sleep_ms(1);
			ASSERT_NE(0, READ_ONCE(watch[i]->value));
		}

		finish = start_finish(&self->vm);
		ASSERT_TRUE(call_returns_errno(_metadata, finish, 0));
		for (i = 0; i < nr - 1; i++) {
			call_extend(watch[i]);
			ASSERT_TRUE(call_returns_errno(_metadata, watch[i], 0));
			ASSERT_EQ(0, watch[i]->other) {
				TH_LOG("vCPU %u was encrypted and free when vCPU %d was not",
				       i, watch[i]->other);
			}
		}
		ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
		ASSERT_TRUE(vm_free(_metadata, &self->vm));
	}
}

static bool set_guest_debug(struct __test_metadata *_metadata, struct launch_vm *vm, u32 i,
			    u32 control)
{
	struct kvm_guest_debug debug = { .control = control };
	struct call *call = vcpu_call(vm, i, KVM_SET_GUEST_DEBUG, "KVM_SET_GUEST_DEBUG");

	memcpy(&call->data, &debug, sizeof(debug));
	return call_returns_errno(_metadata, call_start(call), 0);
}

/*
 * A vCPU that's being debugged can't be encrypted.  Those before it are by then,
 * those after it are left alone, and all of them are given back.  What is
 * encrypted isn't touched by a second try, which would be fatal for the host.
 */
SNP_TEST_F(snp_launch, fails_midway_releases_vcpus)
{
	const u32 nr = 4, at[] = { 0, 1, 3 };
	u32 i, k;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		k = at[i];
		vm_launch(&self->vm, nr);
		ASSERT_TRUE(set_guest_debug(_metadata, &self->vm, k,
					    KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP));

		ASSERT_TRUE(finish_returns(_metadata, &self->vm, EINVAL));
		ASSERT_TRUE(vcpus_are_free(&self->vm)) {
			TH_LOG("LAUNCH_FINISH failed at vCPU %u", k);
		}
		ASSERT_TRUE(some_vcpus_return(&self->vm, 0, k, KVM_GET_REGS, EINVAL));
		ASSERT_TRUE(some_vcpus_return(&self->vm, k, nr, KVM_GET_REGS, 0)) {
			TH_LOG("LAUNCH_FINISH failed at vCPU %u", k);
		}

		ASSERT_TRUE(set_guest_debug(_metadata, &self->vm, k, 0));
		ASSERT_TRUE(finish_returns(_metadata, &self->vm, k ? EINVAL : 0));
		ASSERT_TRUE(vcpus_are_free(&self->vm)) {
			TH_LOG("LAUNCH_FINISH failed at vCPU %u, and was tried again", k);
		}
		if (!k)
			ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
		ASSERT_TRUE(vm_free(_metadata, &self->vm));
	}
}

/*
 * Without /dev/sev, the command for the first vCPU's VMSA fails, after the page
 * was made the guest's.  It has to be taken back, so that the next try works.
 */
SNP_TEST_F(snp_launch, failed_command_is_retryable)
{
	struct call *call;

	vm_launch(&self->vm, 3);
	call = new_finish(&self->vm);
	call->fn = do_finish_without_device;
	ASSERT_TRUE(call_returns_errno(_metadata, call_start(call), EBADF));
	ASSERT_TRUE(vcpus_are_free(&self->vm));
	ASSERT_TRUE(vcpus_are_plain(&self->vm));
	ASSERT_TRUE(vcpus_return(&self->vm, KVM_GET_XSAVE, 0));
	ASSERT_TRUE(finish_returns(_metadata, &self->vm, 0));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

/* Nothing is encrypted before everything that comes from userspace was read. */
SNP_TEST_F(snp_launch, bad_user_pointer_is_retryable)
{
	static u8 page[PAGE_SIZE] __aligned(PAGE_SIZE);
	void *nowhere = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct call *call;
	int i;

	ASSERT_NE(MAP_FAILED, nowhere);
	vm_launch(&self->vm, 3);
	for (i = 0; i < 2; i++) {
		call = new_finish(&self->vm);
		call->params.id_block_en = 1;
		call->params.id_block_uaddr = (unsigned long)(i ? page : nowhere);
		call->params.id_auth_uaddr = (unsigned long)(i ? nowhere : page);
		ASSERT_TRUE(call_returns_errno(_metadata, call_start(call), EFAULT));
		ASSERT_TRUE(vcpus_are_free(&self->vm));
		EXPECT_TRUE(vcpus_are_plain(&self->vm)) {
			TH_LOG("LAUNCH_FINISH failed with EFAULT, after it had encrypted vCPUs");
		}
	}
	ASSERT_TRUE(finish_returns(_metadata, &self->vm, 0));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

/* KVM has no FPU state of an encrypted vCPU, and doesn't pretend to. */
SNP_TEST_F(snp_launch, fpu_state_is_confidential)
{
	vm_launch(&self->vm, 2);
	ASSERT_TRUE(vcpus_return(&self->vm, KVM_GET_XSAVE, 0));
	ASSERT_TRUE(vcpus_return(&self->vm, KVM_GET_FPU, 0));
	ASSERT_TRUE(finish_returns(_metadata, &self->vm, 0));
	ASSERT_TRUE(vcpus_are_free(&self->vm));
	EXPECT_TRUE(vcpus_return(&self->vm, KVM_GET_XSAVE, EINVAL));
	EXPECT_TRUE(vcpus_return(&self->vm, KVM_SET_XSAVE, EINVAL));
	EXPECT_TRUE(vcpus_return(&self->vm, KVM_GET_FPU, EINVAL));
	EXPECT_TRUE(vcpus_return(&self->vm, KVM_SET_FPU, EINVAL));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

static int do_finish_bad_params(struct call *call)
{
	/* Page 0 is never mapped. */
	return __snp_vm_launch_finish(call->vm->vm, (void *)8, NULL);
}

/* What is wrong from the start changes nothing. */
/* Not every type that KVM has can be used, e.g. if SEV-ES has all ASIDs. */
static bool vm_type_is_usable(unsigned long type)
{
	struct kvm_sev_init init = {};
	struct kvm_sev_cmd cmd = { .id = KVM_SEV_INIT2, .data = (u64)&init };
	int kvm_fd = open_kvm_dev_path_or_exit();
	int vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, type);
	int ret = vm_fd < 0;

	if (!ret && type != KVM_X86_DEFAULT_VM) {
		cmd.sev_fd = open_sev_dev_path_or_exit();
		ret = ioctl(vm_fd, KVM_MEMORY_ENCRYPT_OP, &cmd);
		close(cmd.sev_fd);
	}

	if (vm_fd >= 0)
		close(vm_fd);
	close(kvm_fd);
	return !ret;
}

SNP_TEST_F(snp_launch, rejects_bad_args)
{
	const unsigned long types[] = { KVM_X86_DEFAULT_VM, KVM_X86_SEV_VM, KVM_X86_SEV_ES_VM };
	struct call *call;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		if (!vm_type_is_usable(types[i]))
			continue;
		memset(&self->vm, 0, sizeof(self->vm));
		self->vm.vm = vm_sev_create_bare(types[i], 1, 1);
		self->vm.vcpus[0] = __vm_vcpu_add(self->vm.vm, 0);
		self->vm.nr_vcpus = 1;
		EXPECT_TRUE(finish_returns(_metadata, &self->vm, ENOTTY)) {
			TH_LOG("VM of type %lu", types[i]);
		}
		ASSERT_TRUE(vcpus_are_plain(&self->vm));
		ASSERT_TRUE(vm_free(_metadata, &self->vm));
	}

	vm_create_for_launch(&self->vm, 3);
	EXPECT_TRUE(finish_returns(_metadata, &self->vm, EINVAL)) {
		TH_LOG("before LAUNCH_START");
	}
	ASSERT_TRUE(vcpus_are_plain(&self->vm));

	snp_vm_launch_start(self->vm.vm, launch_policy());
	snp_vm_launch_update(self->vm.vm);

	call = new_finish(&self->vm);
	call->params.flags = 1;
	EXPECT_TRUE(call_returns_errno(_metadata, call_start(call), EINVAL));
	ASSERT_TRUE(vcpus_are_plain(&self->vm));

	call = new_finish(&self->vm);
	call->fn = do_finish_bad_params;
	EXPECT_TRUE(call_returns_errno(_metadata, call_start(call), EFAULT));
	ASSERT_TRUE(vcpus_are_plain(&self->vm));

	ASSERT_TRUE(finish_returns(_metadata, &self->vm, 0));
	EXPECT_TRUE(finish_returns(_metadata, &self->vm, EINVAL)) {
		TH_LOG("after LAUNCH_FINISH");
	}
	ASSERT_TRUE(vcpus_are_free(&self->vm));
	ASSERT_TRUE(vcpus_are_encrypted(&self->vm));
	ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
}

#define NR_CREATORS	2
#define NR_CREATED	6

/* Who was created when, in ticks of a clock that everyone advances. */
static u32 creation_clock;
static struct creation {
	int fd;
	u32 begin;
	u32 end;
} created[NR_CREATORS][NR_CREATED];

static u32 tick(void)
{
	return __atomic_add_fetch(&creation_clock, 1, __ATOMIC_SEQ_CST);
}

static int do_create(struct call *call)
{
	struct creation *c = created[call->other];
	u32 i, id = call->vm->nr_vcpus + call->other * NR_CREATED;

	for (i = 0; i < NR_CREATED; i++) {
		c[i].begin = tick();
		c[i].fd = ioctl(call->vm->vm->fd, KVM_CREATE_VCPU, id + i);
		if (c[i].fd < 0)
			return -1;
		__atomic_store_n(&c[i].end, tick(), __ATOMIC_RELEASE);
	}

	return 0;
}

/* LAUNCH_FINISH as soon as a certain vCPU is being created, if one is named. */
static int do_finish_meanwhile(struct call *call)
{
	while (call->other >= 0 && !READ_ONCE(created[0][call->other].begin) &&
	       now_ms() < call->deadline)
		;

	call->value = tick();
	return do_finish(call);
}

/*
 * A vCPU that's created meanwhile is either encrypted, or was late; LAUNCH_FINISH
 * is free to say -EBUSY, and leaves everything as it was then.
 */
SNP_TEST_F(snp_launch, create_vcpu_races_finish)
{
	struct call *create[NR_CREATORS], *finish, *regs;
	int rounds, busy = 0, meanwhile = 0;
	u32 i, j, begin, end;
	u64 limit;

	for (rounds = 0; rounds < NR_CREATED; rounds++) {
		memset(created, 0, sizeof(created));
		vm_launch(&self->vm, 2);

		finish = new_finish(&self->vm);
		finish->fn = do_finish_meanwhile;
		finish->other = rounds;
		call_start(finish);

		for (i = 0; i < NR_CREATORS; i++) {
			create[i] = call_new("KVM_CREATE_VCPU", -1);
			create[i]->vm = &self->vm;
			create[i]->fn = do_create;
			create[i]->other = i;
			call_start(create[i]);
		}

		for (limit = finish->deadline; ; call_start(finish)) {
			ASSERT_TRUE(call_returns(_metadata, finish));
			begin = finish->value;
			end = tick();
			if (finish->err != EBUSY || now_ms() > limit)
				break;
			busy++;
			ASSERT_TRUE(vcpus_are_free(&self->vm));
			ASSERT_TRUE(vcpus_are_plain(&self->vm));

			finish = new_finish(&self->vm);
			finish->fn = do_finish_meanwhile;
			finish->other = -1;
		}
		ASSERT_TRUE(call_returns_errno(_metadata, finish, 0));
		for (i = 0; i < NR_CREATORS; i++)
			ASSERT_TRUE(call_returns_errno(_metadata, create[i], 0));

		for (i = 0; i < NR_CREATORS; i++) {
			for (j = 0; j < NR_CREATED; j++) {
				struct creation *c = &created[i][j];

				regs = call_new("KVM_GET_REGS",
						self->vm.nr_vcpus + i * NR_CREATED + j);
				regs->fd = c->fd;
				regs->cmd = KVM_GET_REGS;
				regs->arg = &regs->data;
				ASSERT_TRUE(call_returns(_metadata, call_start(regs)));
				meanwhile += c->end > begin && c->begin < end;
				if (c->end < begin || regs->err)
					EXPECT_EQ(EINVAL, regs->err);
				if (c->begin > end)
					EXPECT_EQ(0, regs->err);
				close(c->fd);
			}
		}
		ASSERT_TRUE(vcpus_are_encrypted(&self->vm));
		ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
		ASSERT_TRUE(vm_free(_metadata, &self->vm));
	}

	ksft_print_msg("-EBUSY %d times, %d of %d vCPUs were created meanwhile\n",
		       busy, meanwhile, rounds * NR_CREATORS * NR_CREATED);
}

enum id_block_error {
	ID_BLOCK_GOOD,
	ID_BLOCK_FLIPPED_DIGEST,
	ID_BLOCK_FLIPPED_SIGNATURE,
	ID_BLOCK_OTHER_REGISTER,
	NR_ID_BLOCK_ERRORS,
};

/*
 * What is measured is what userspace has set: firmware accepts the digest that
 * the test computes, and no other.
 */
SNP_TEST_F(snp_launch, id_block_digest)
{
	static const u32 fw_errors[] = {
		[ID_BLOCK_GOOD] = SEV_RET_SUCCESS,
		[ID_BLOCK_FLIPPED_DIGEST] = SEV_RET_BAD_MEASUREMENT,
		[ID_BLOCK_FLIPPED_SIGNATURE] = SEV_RET_BAD_SIGNATURE,
		[ID_BLOCK_OTHER_REGISTER] = SEV_RET_BAD_MEASUREMENT,
	};
	static struct snp_id_block block;
	static struct snp_id_auth auth;
	u8 digest[SNP_DIGEST_SIZE];
	struct kvm_regs regs;
	struct call *finish;
	u32 error, i;

	for (error = 0; error < NR_ID_BLOCK_ERRORS; error++) {
		vm_create_for_launch(&self->vm, 2);
		memset(digest, 0, sizeof(digest));
		snp_vm_digest_memory(self->vm.vm, digest);
		for (i = 0; i < self->vm.nr_vcpus; i++)
			snp_vcpu_digest_vmsa(self->vm.vcpus[i], digest);

		if (error == ID_BLOCK_FLIPPED_DIGEST)
			digest[17] ^= 1;
		snp_make_id_block(&block, &auth, digest, launch_policy());
		if (error == ID_BLOCK_FLIPPED_SIGNATURE)
			auth.block_sig[100] ^= 1;

		snp_vm_launch_start(self->vm.vm, launch_policy());
		snp_vm_launch_update(self->vm.vm);
		if (error == ID_BLOCK_OTHER_REGISTER) {
			vcpu_regs_get(self->vm.vcpus[1], &regs);
			regs.r15 ^= 1;
			vcpu_regs_set(self->vm.vcpus[1], &regs);
		}

		finish = new_finish(&self->vm);
		finish->params.id_block_en = 1;
		finish->params.id_block_uaddr = (unsigned long)&block;
		finish->params.id_auth_uaddr = (unsigned long)&auth;
		EXPECT_TRUE(call_returns_errno(_metadata, call_start(finish), error ? EIO : 0));
		EXPECT_EQ(fw_errors[error], finish->fw_error) {
			TH_LOG("attempt %u", error);
		}

		ASSERT_TRUE(vcpus_are_free(&self->vm));
		ASSERT_TRUE(vcpus_are_encrypted(&self->vm));
		if (!error)
			ASSERT_TRUE(vcpus_run(_metadata, &self->vm));
		ASSERT_TRUE(vm_free(_metadata, &self->vm));
	}
}

#define BENCH_ROUNDS	5

static int compare_u64(const void *a, const void *b)
{
	const u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static int do_timed_finish(struct call *call)
{
	struct timespec start, diff;
	u64 tsc;
	int ret;

	clock_gettime(CLOCK_MONOTONIC, &start);
	tsc = rdtsc();
	ret = do_finish(call);
	call->data.took.ticks = rdtsc() - tsc;
	diff = timespec_elapsed(start);
	call->data.took.ns = diff.tv_sec * 1000000000ull + diff.tv_nsec;
	return ret;
}

/* Medians of what LAUNCH_FINISH takes with so many vCPUs, a new VM each time. */
static void bench(struct __test_metadata *_metadata, u32 nr_vcpus)
{
	static struct launch_vm vm;
	u64 ns[BENCH_ROUNDS], ticks[BENCH_ROUNDS];
	struct call *finish;
	u32 i;

	for (i = 0; i < BENCH_ROUNDS; i++) {
		vm_launch(&vm, nr_vcpus);

		finish = new_finish(&vm);
		finish->fn = do_timed_finish;
		if (!call_returns_errno(_metadata, call_start(finish), 0) ||
		    !vm_free(_metadata, &vm))
			ksft_exit_fail_msg("vCPUs %u: round %u of %u failed\n", nr_vcpus, i + 1,
					   BENCH_ROUNDS);

		ns[i] = finish->data.took.ns;
		ticks[i] = finish->data.took.ticks;
	}

	qsort(ns, BENCH_ROUNDS, sizeof(ns[0]), compare_u64);
	qsort(ticks, BENCH_ROUNDS, sizeof(ticks[0]), compare_u64);
	ksft_print_msg("vCPUs %u: %lu ns per LAUNCH_FINISH\n", nr_vcpus, ns[BENCH_ROUNDS / 2]);
	ksft_print_msg("vCPUs %u: %lu TSC ticks per LAUNCH_FINISH\n", nr_vcpus,
		       ticks[BENCH_ROUNDS / 2]);
	ksft_test_result_pass("%u vCPUs\n", nr_vcpus);
}

static void run_benchmark(char *list)
{
	/* Not a case of the harness, but bounded and reported as if it were. */
	static struct __test_metadata metadata = { .name = "benchmark" };
	u32 counts[64], n = 0, i, most;
	char *item;

	most = min_t(u32, kvm_check_cap(KVM_CAP_MAX_VCPUS), MAX_VCPUS);

	if (list) {
		while (n < ARRAY_SIZE(counts) && (item = strtok(list, ",+"))) {
			counts[n++] = atoi_positive("Number of vCPUs", item);
			list = NULL;
		}
	} else {
		for (i = 1; i <= 512; i *= 2)
			counts[n++] = i;
	}

	run_in_supervised_process(&metadata, n * BENCH_ROUNDS);

	ksft_print_header();
	ksft_set_plan(n);
	for (i = 0; i < n; i++) {
		if (counts[i] <= most)
			bench(&metadata, counts[i]);
		else
			ksft_test_result_skip("%u vCPUs: KVM has at most %u\n", counts[i], most);
	}
	ksft_finished();
}

static void help(const char *name)
{
	printf("usage: %s [-w SECONDS] [harness options]\n"
	       "       %s [-w SECONDS] -b [N,N,...]\n"
	       "  -w SECONDS  wait this long before calling something stuck (default %u)\n"
	       "  -b          how long does LAUNCH_FINISH take with N (1, 2, 4 ... 512) vCPUs?\n"
	       "Harness options:\n", name, name, wait_seconds);
}

int main(int argc, char **argv)
{
	char *bench_list = NULL;
	bool is_bench = false;
	int i, n = 1;

	/* The harness's options are left to it. */
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-w") && i + 1 < argc) {
			wait_seconds = atoi_positive("Seconds to wait", argv[++i]);
			continue;
		}
		if (!strcmp(argv[i], "-b")) {
			is_bench = true;
			if (i + 1 < argc && isdigit(argv[i + 1][0]))
				bench_list = argv[++i];
			continue;
		}
		if (!strcmp(argv[i], "-h"))
			help(argv[0]);
		argv[n++] = argv[i];
	}
	argv[n] = NULL;

	if (!kvm_has_cap(KVM_CAP_VM_TYPES) ||
	    !(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SNP_VM))) {
		ksft_print_header();
		ksft_exit_skip("KVM has no SNP VMs: see CPU, firmware setup and kvm_amd.sev_snp\n");
	}

	if (access("/dev/sev", R_OK)) {
		ksft_print_header();
		ksft_exit_skip("/dev/sev can't be opened: %s\n", strerror(errno));
	}

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(shared != MAP_FAILED, "mmap() failed, errno: %d", errno);

	if (is_bench)
		run_benchmark(bench_list);

	return test_harness_run(n, argv);
}
