// SPDX-License-Identifier: GPL-2.0-only
/*
 * One allocation of the kernel after the other fails while an SNP VM is created, launched and run.
 *
 * Each step of the launch is done in a VM of its own for each allocation in it: the first fails, then
 * the second, until the step has no more. A step with such a failure either succeeds or ends with an error.
 * After an error, the same step, once more, must succeed. In both cases so must the rest of the launch, as
 * if nothing had failed. After an error the VM can be closed at once, too: that is done with another VM.
 * What is wrong in the kernel meanwhile is in its log: KASAN, lockdep, DEBUG_LIST.
 *
 * An xarray asks twice for a node. So its nodes are made to fail by the name of their cache.
 *
 * "fail-nth" and "ignore-gfp-wait" of Documentation/fault-injection/fault-injection.rst. Needs
 * CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC and CONFIG_FAULT_INJECTION_DEBUG_FS: `run --sanitize`.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "alloc_fail.h"
#include "sev_guest.h"

/* The guest: 16-bit code, and the memory around it. */
#define SLOT_BYTES	(64ull << 20)
#define CODE_GPA	0x1000
#define PRIVATE_BYTES	(2ull << 20)
#define STEP_SECONDS	600

/* mov $0xc0010130,%ecx; mov $0x100,%eax; xor %edx,%edx; wrmsr; rep vmmcall; hlt */
static const u8 terminate[] = {
	0x66, 0xb9, 0x30, 0x01, 0x01, 0xc0, 0x66, 0xb8, 0x00, 0x01, 0x00, 0x00,
	0x66, 0x31, 0xd2, 0x0f, 0x30, 0xf3, 0x0f, 0x01, 0xd9, 0xf4,
};

/* --- A launch, step by step ----------------------------------------------------------------------- */

struct launch {
	int kvm, sev, vm, gmem, vcpu;
	struct kvm_run *run;
	size_t run_bytes;
	u8 *memory, *page;
	u32 fw_error;
};

/* Each step returns 0 or a negative error, and can be done once more after an error. */
static int vm_ioctl_of(struct launch *l, unsigned long cmd, void *arg)
{
	return ioctl(l->vm, cmd, arg) < 0 ? -errno : 0;
}

static int sev_op(struct launch *l, u32 id, void *data)
{
	struct kvm_sev_cmd cmd = { .id = id, .data = (unsigned long)data, .sev_fd = l->sev };
	int ret = vm_ioctl_of(l, KVM_MEMORY_ENCRYPT_OP, &cmd);

	l->fw_error = cmd.error;
	return ret;
}

static int create_vm(struct launch *l)
{
	l->vm = ioctl(l->kvm, KVM_CREATE_VM, KVM_X86_SNP_VM);
	return l->vm < 0 ? -errno : 0;
}

static int init2(struct launch *l)
{
	struct kvm_sev_init init = {};

	return sev_op(l, KVM_SEV_INIT2, &init);
}

static int create_gmem(struct launch *l)
{
	struct kvm_create_guest_memfd gmem = { .size = SLOT_BYTES };

	l->gmem = ioctl(l->vm, KVM_CREATE_GUEST_MEMFD, &gmem);
	return l->gmem < 0 ? -errno : 0;
}

static int set_memory(struct launch *l)
{
	struct kvm_userspace_memory_region2 region = {
		.flags = KVM_MEM_GUEST_MEMFD,
		.memory_size = SLOT_BYTES,
		.userspace_addr = (unsigned long)l->memory,
		.guest_memfd = l->gmem,
	};

	return vm_ioctl_of(l, KVM_SET_USER_MEMORY_REGION2, &region);
}

static int split_irqchip(struct launch *l)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = 24 };

	return vm_ioctl_of(l, KVM_ENABLE_CAP, &cap);
}

static int create_vcpu(struct launch *l)
{
	l->vcpu = ioctl(l->vm, KVM_CREATE_VCPU, 0);
	return l->vcpu < 0 ? -errno : 0;
}

static int map_vcpu(struct launch *l)
{
	void *run = mmap(NULL, l->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, l->vcpu, 0);

	if (run == MAP_FAILED)
		return -errno;
	l->run = run;
	return 0;
}

static int set_regs(struct launch *l)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2 };

	if (ioctl(l->vcpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(l->vcpu, KVM_SET_SREGS, &sregs) || ioctl(l->vcpu, KVM_SET_REGS, &regs))
		return -errno;
	return 0;
}

static int set_private(struct launch *l)
{
	struct kvm_memory_attributes attributes = {
		.size = PRIVATE_BYTES, .attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};

	return vm_ioctl_of(l, KVM_SET_MEMORY_ATTRIBUTES, &attributes);
}

static int launch_start(struct launch *l)
{
	struct kvm_sev_snp_launch_start start = { .policy = SNP_POLICY_SMT | SNP_POLICY_RSVD_MBO };

	return sev_op(l, KVM_SEV_SNP_LAUNCH_START, &start);
}

static int launch_update(struct launch *l)
{
	struct kvm_sev_snp_launch_update update = {
		.gfn_start = CODE_GPA >> PAGE_SHIFT,
		.uaddr = (unsigned long)l->page,
		.len = PAGE_SIZE,
		.type = KVM_SEV_SNP_PAGE_TYPE_NORMAL,
	};

	return sev_op(l, KVM_SEV_SNP_LAUNCH_UPDATE, &update);
}

static int launch_finish(struct launch *l)
{
	struct kvm_sev_snp_launch_finish finish = {};

	return sev_op(l, KVM_SEV_SNP_LAUNCH_FINISH, &finish);
}

static int run_vcpu(struct launch *l)
{
	if (ioctl(l->vcpu, KVM_RUN, 0))
		return -errno;
	if (l->run->exit_reason != KVM_EXIT_SYSTEM_EVENT ||
	    l->run->system_event.type != KVM_SYSTEM_EVENT_SEV_TERM) {
		ksft_print_msg("expected the guest to terminate, found exit reason %u\n",
			       l->run->exit_reason);
		return -EPROTO;
	}
	return 0;
}

enum step {
	CREATE_VM, INIT2, SPLIT_IRQCHIP, CREATE_GMEM, SET_MEMORY, CREATE_VCPU, MAP_VCPU,
	SET_REGS, SET_PRIVATE, LAUNCH_START, LAUNCH_UPDATE, LAUNCH_FINISH, RUN, NR_STEPS
};

static const struct {
	const char *name;
	int (*go)(struct launch *l);
} steps[] = {
	[CREATE_VM] = { "KVM_CREATE_VM", create_vm },
	[INIT2] = { "KVM_SEV_INIT2", init2 },
	[SPLIT_IRQCHIP] = { "KVM_CAP_SPLIT_IRQCHIP", split_irqchip },
	[CREATE_GMEM] = { "KVM_CREATE_GUEST_MEMFD", create_gmem },
	[SET_MEMORY] = { "KVM_SET_USER_MEMORY_REGION2", set_memory },
	[CREATE_VCPU] = { "KVM_CREATE_VCPU", create_vcpu },
	[MAP_VCPU] = { "mmap() of a vCPU", map_vcpu },
	[SET_REGS] = { "KVM_SET_REGS and SREGS", set_regs },
	[SET_PRIVATE] = { "KVM_SET_MEMORY_ATTRIBUTES", set_private },
	[LAUNCH_START] = { "KVM_SEV_SNP_LAUNCH_START", launch_start },
	[LAUNCH_UPDATE] = { "KVM_SEV_SNP_LAUNCH_UPDATE", launch_update },
	[LAUNCH_FINISH] = { "KVM_SEV_SNP_LAUNCH_FINISH", launch_finish },
	[RUN] = { "KVM_RUN", run_vcpu },
};

static void *map_pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	TEST_ASSERT(p != MAP_FAILED, "mmap: %s", strerror(errno));
	return p;
}

static void open_launch(struct launch *l)
{
	*l = (struct launch) { .vm = -1, .gmem = -1, .vcpu = -1 };
	l->kvm = open_path_or_exit("/dev/kvm", O_RDWR);
	l->sev = open_path_or_exit("/dev/sev", O_RDWR);
	l->run_bytes = ioctl(l->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	l->memory = map_pages(SLOT_BYTES);
	l->page = map_pages(PAGE_SIZE);
	memcpy(l->page, terminate, sizeof(terminate));
}

static void close_launch(struct launch *l)
{
	if (l->run)
		munmap(l->run, l->run_bytes);
	if (l->vcpu >= 0)
		close(l->vcpu);
	if (l->gmem >= 0)
		close(l->gmem);
	if (l->vm >= 0)
		close(l->vm);
	munmap(l->memory, SLOT_BYTES);
	munmap(l->page, PAGE_SIZE);
	close(l->sev);
	close(l->kvm);
}

/* Does the steps from FIRST to before END. Returns the first error, and in *failed its step. */
static int go_on(struct launch *l, int first, int end, int *failed)
{
	int i, ret;

	for (i = first; i < end; i++) {
		ret = steps[i].go(l);
		*failed = i;
		if (ret)
			return ret;
	}
	return 0;
}

/* --- The cases ------------------------------------------------------------------------------------ */

/* One step of the launch; each of its allocations fails once. */
FIXTURE(launch_step) {
	struct launch launch;
};

FIXTURE_VARIANT(launch_step) {
	int step;
};

FIXTURE_VARIANT_ADD(launch_step, CREATE_VM) { .step = CREATE_VM };
FIXTURE_VARIANT_ADD(launch_step, INIT2) { .step = INIT2 };
FIXTURE_VARIANT_ADD(launch_step, SPLIT_IRQCHIP) { .step = SPLIT_IRQCHIP };
FIXTURE_VARIANT_ADD(launch_step, CREATE_GMEM) { .step = CREATE_GMEM };
FIXTURE_VARIANT_ADD(launch_step, SET_MEMORY) { .step = SET_MEMORY };
FIXTURE_VARIANT_ADD(launch_step, CREATE_VCPU) { .step = CREATE_VCPU };
FIXTURE_VARIANT_ADD(launch_step, MAP_VCPU) { .step = MAP_VCPU };
FIXTURE_VARIANT_ADD(launch_step, SET_REGS) { .step = SET_REGS };
FIXTURE_VARIANT_ADD(launch_step, SET_PRIVATE) { .step = SET_PRIVATE };
FIXTURE_VARIANT_ADD(launch_step, LAUNCH_START) { .step = LAUNCH_START };
FIXTURE_VARIANT_ADD(launch_step, LAUNCH_UPDATE) { .step = LAUNCH_UPDATE };
FIXTURE_VARIANT_ADD(launch_step, LAUNCH_FINISH) { .step = LAUNCH_FINISH };
FIXTURE_VARIANT_ADD(launch_step, RUN) { .step = RUN };

FIXTURE_SETUP(launch_step)
{
}

FIXTURE_TEARDOWN(launch_step)
{
}

/* The step's nth allocation fails in a VM that is closed then. How the step ends is judged elsewhere. */
static void close_after_failure(int step, int nth)
{
	struct launch l;
	int at;

	open_launch(&l);
	if (!go_on(&l, 0, step, &at)) {
		fail_allocation(nth);
		go_on(&l, step, step + 1, &at);
		fail_allocation(0);
	}
	close_launch(&l);
}

TEST_F_TIMEOUT(launch_step, each_allocation_fails, STEP_SECONDS)
{
	struct launch *l = &self->launch;
	int nth, ret, again, failed, at = 0, unnoticed = 0, told = 0, step = variant->step;
	bool done = false;

	for (nth = 1; !done; nth++) {
		ASSERT_GE(MAX_FAILURES, nth);
		open_launch(l);
		ret = go_on(l, 0, step, &at);
		ASSERT_EQ(0, ret)
			TH_LOG("before the failure: %s: %s", steps[at].name, strerror(-ret));

		fail_allocation(nth);
		ret = go_on(l, step, step + 1, &at);
		failed = allocation_failed();
		done = !failed;
		if (!failed)
			ASSERT_EQ(0, ret)
				TH_LOG("%s, no failure: %s", steps[step].name, strerror(-ret));
		again = 0;
		if (ret) {
			told = ret;
			close_after_failure(step, nth);
			again = go_on(l, step, step + 1, &at);
			EXPECT_EQ(0, again)
				TH_LOG("%s: again after failure %d: %s, firmware error 0x%x",
				       steps[step].name, nth, strerror(-again), l->fw_error);
		} else if (failed) {
			unnoticed++;
		}
		if (!again) {
			ret = go_on(l, step + 1, NR_STEPS, &at);
			EXPECT_EQ(0, ret)
				TH_LOG("after failure %d in %s: %s: %s", nth, steps[step].name,
				       steps[at].name, strerror(-ret));
		}
		close_launch(l);
	}
	TH_LOG("%s: %d allocations, %d of them not needed; last error: %s", steps[step].name,
	       nth - 2, unnoticed, told ? strerror(-told) : "none");
}

/* --- The nodes of xarrays ------------------------------------------------------------------------- */

#define NODE_BYTES	576
#define NODES		"/sys/kernel/slab/radix_tree_node/failslab"

/* After so many further nodes, no xarray gets one in this process. */
static void fail_nodes(int after)
{
	char space[16];

	snprintf(space, sizeof(space), "%d", after * NODE_BYTES);
	TEST_ASSERT(!write_file(NODES, "1") && !write_file(FAULTS "failslab/cache-filter", "Y") &&
		    !write_file(FAULTS "failslab/task-filter", "Y") &&
		    !write_file(FAULTS "failslab/times", "-1") &&
		    !write_file(FAULTS "failslab/space", space) &&
		    !write_file("/proc/self/make-it-fail", "1") &&
		    !write_file(FAULTS "failslab/probability", "100"),
		    "expected failslab with cache-filter and task-filter: %s", strerror(errno));
}

static void nodes_again(void)
{
	write_file(FAULTS "failslab/probability", "0");
	write_file(FAULTS "failslab/cache-filter", "N");
	write_file(FAULTS "failslab/task-filter", "N");
	write_file("/proc/self/make-it-fail", "0");
	write_file(NODES, "0");
}

FIXTURE(no_node) {
};

FIXTURE_SETUP(no_node)
{
	if (access(NODES, W_OK))
		SKIP(return, "no " NODES);
}

FIXTURE_TEARDOWN(no_node)
{
	nodes_again();
}

/*
 * A slot whose pages guest_memfd cannot note is no slot: KVM_SET_USER_MEMORY_REGION2 fails, or the launch
 * succeeds.
 */
TEST_F_TIMEOUT(no_node, slot, STEP_SECONDS)
{
	int after, ret, at, told = 0;
	struct launch l;

	for (after = 0; after < 8; after++) {
		open_launch(&l);
		ASSERT_EQ(0, go_on(&l, 0, SET_MEMORY, &at));
		fail_nodes(after);
		ret = set_memory(&l);
		nodes_again();
		if (ret) {
			told++;
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(0, set_memory(&l));
		}
		/* Once is enough: a kernel with such a slot may not live long. */
		ASSERT_EQ(0, go_on(&l, SET_MEMORY + 1, NR_STEPS, &at))
			TH_LOG("%d nodes, set_memory: %d: %s failed", after, ret, steps[at].name);
		close_launch(&l);
	}
	EXPECT_LT(0, told) TH_LOG("no failure was seen: is NODE_BYTES right?");
}

/*
 * KVM_SET_MEMORY_ATTRIBUTES that fails half-way has changed nothing. So once one page has been private and
 * is shared again, the whole 2 MB can be mapped at once.
 */
TEST_F_TIMEOUT(no_node, attributes, STEP_SECONDS)
{
	/* mov (0),%al; hlt */
	static const u8 touch[] = { 0xa0, 0x00, 0x00, 0xf4 };
	const gpa_t gpa = 2ull << 20;
	struct kvm_memory_attributes all = {
		.address = gpa, .size = 2ull << 20, .attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	struct kvm_memory_attributes one = { .address = gpa + PAGE_SIZE, .size = PAGE_SIZE };
	struct kvm_sregs sregs;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	TEST_REQUIRE(sev_is_vm_type_supported(KVM_X86_SW_PROTECTED_VM));
	vm = vm_create_barebones_type(KVM_X86_SW_PROTECTED_VM);
	vm_mem_add(vm, VM_MEM_SRC_ANONYMOUS_THP, 0, 0, 2 * 512, KVM_MEM_GUEST_MEMFD, -1, 0);
	vcpu = __vm_vcpu_add(vm, 0);
	memcpy(addr_gpa2hva(vm, CODE_GPA), touch, sizeof(touch));
	memset(addr_gpa2hva(vm, gpa), 1, 2ull << 20);

	fail_nodes(5);
	ASSERT_EQ(-1, ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &all));
	EXPECT_EQ(ENOMEM, errno);
	nodes_again();
	one.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE;
	ASSERT_EQ(0, ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &one));
	one.attributes = 0;
	ASSERT_EQ(0, ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &one));

	vcpu_sregs_get(vcpu, &sregs);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ds.base = gpa;
	vcpu_sregs_set(vcpu, &sregs);
	vcpu_regs_set(vcpu, &(struct kvm_regs) { .rip = CODE_GPA, .rflags = 2 });
	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_HLT);
	/* The 2 MB of the code, and these. */
	EXPECT_EQ(2, vm_get_stat(vm, pages_2m));
	kvm_vm_free(vm);
}

/* --- Memory that is charged ----------------------------------------------------------------------- */

#define CGROUPS		"/tmp/snplab-cgroups"
#define GROUP		CGROUPS "/attributes"
#define LIMIT_MB	16

/* Far apart, so that each page takes two or three nodes of its own: over 30 MB in all. */
static void set_many_attributes(void)
{
	struct kvm_memory_attributes a = {
		.size = PAGE_SIZE, .attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	struct kvm_vm *vm = vm_create_barebones_type(KVM_X86_SW_PROTECTED_VM);
	int i;

	for (i = 1; i <= 20000; i++) {
		a.address = (u64)i << 30;
		if (ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &a))
			_exit(errno == ENOMEM ? 1 : 2);
	}
	_exit(0);
}

/* A process must not take more memory of the kernel than its cgroup may have. */
TEST(attributes_are_charged)
{
	int status;
	pid_t pid;

	if (!sev_is_vm_type_supported(KVM_X86_SW_PROTECTED_VM))
		SKIP(return, "no KVM_X86_SW_PROTECTED_VM");
	mkdir(CGROUPS, 0700);
	if (mount("cgroup2", CGROUPS, "cgroup2", 0, NULL) && errno != EBUSY)
		SKIP(return, "no cgroup2");
	if (write_file(CGROUPS "/cgroup.subtree_control", "+memory"))
		SKIP(return, "no memory cgroup: see CONFIG_MEMCG");
	ASSERT_TRUE(!mkdir(GROUP, 0700) || errno == EEXIST);
	ASSERT_EQ(0, write_file(GROUP "/memory.max", "16M"));
	pid = fork();
	if (!pid) {
		if (write_file(GROUP "/cgroup.procs", "0"))
			_exit(3);
		set_many_attributes();
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	/* ENOMEM, or the cgroup's OOM killer. */
	EXPECT_TRUE((WIFEXITED(status) && WEXITSTATUS(status) == 1) ||
		    (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		TH_LOG("expected ENOMEM or SIGKILL below %d MB, found status 0x%x",
		       LIMIT_MB, status);
	rmdir(GROUP);
	umount(CGROUPS);
	rmdir(CGROUPS);
}

int main(int argc, char **argv)
{
	snp_require_vms();
	require_failures();
	return test_harness_run(argc, argv);
}
