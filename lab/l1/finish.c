// SPDX-License-Identifier: GPL-2.0-only
/*
 * Measures the cost of LAUNCH_FINISH by the number of vCPUs. L1's init runs this program. It needs no library, so that
 * only the kernel and this file have to be built.
 *
 * usage: finish TURNS MOST
 *
 * For 1, 2, 4, … MOST vCPUs it launches an SNP VM without memory TURNS times, and once before that to warm up
 * (turn 0). It measures the ioctl LAUNCH_FINISH by the time stamp counter, which under QEMU's -icount shift=0 counts the
 * instructions of all CPUs, and prints "bench: vcpus=N turn=N ticks=N" for each launch, for lab/judge/bench.py.
 *
 * Exit status: 0 success, 1 a launch failed, 4 there is no SNP.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAX_VCPUS	1024
#define SKIP		4
#define AFTER_TICK_NS	500000
/* Guest policy (SNP firmware ABI): bit 17 is always one, 16 allows SMT. */
#define POLICY		(1ull << 17 | 1ull << 16)

static int kvm, sev_fd;

static void die(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t ticks(void)
{
	uint32_t low, high;

	asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static uint64_t nanoseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/*
 * Waits until a tick and the work that it causes are over, so that the next tick is far away. Left-over work disturbs
 * only some of the launches.
 */
static void wait_for_tick(void)
{
	uint64_t t = nanoseconds(CLOCK_MONOTONIC_COARSE);

	while (nanoseconds(CLOCK_MONOTONIC_COARSE) == t)
		;
	t = nanoseconds(CLOCK_MONOTONIC) + AFTER_TICK_NS;
	while (nanoseconds(CLOCK_MONOTONIC) < t)
		;
}

static void sev(int vm, uint32_t id, void *data, const char *name)
{
	struct kvm_sev_cmd cmd = { .id = id, .data = (uintptr_t)data, .sev_fd = sev_fd };

	if (ioctl(vm, KVM_MEMORY_ENCRYPT_OP, &cmd)) {
		printf("# firmware status 0x%x\n", cmd.error);
		die(name);
	}
}

static uint64_t launch(int nr_vcpus)
{
	static int vcpus[MAX_VCPUS];
	struct kvm_sev_snp_launch_start start = { .policy = POLICY };
	struct kvm_sev_snp_launch_finish finish = { 0 };
	struct kvm_sev_init init = { 0 };
	struct kvm_sev_cmd cmd = {
		.id = KVM_SEV_SNP_LAUNCH_FINISH,
		.data = (uintptr_t)&finish,
		.sev_fd = sev_fd,
	};
	int i, vm, ret;
	uint64_t t;

	vm = ioctl(kvm, KVM_CREATE_VM, KVM_X86_SNP_VM);
	if (vm < 0)
		die("KVM_CREATE_VM");
	sev(vm, KVM_SEV_INIT2, &init, "KVM_SEV_INIT2");
	for (i = 0; i < nr_vcpus; i++) {
		vcpus[i] = ioctl(vm, KVM_CREATE_VCPU, i);
		if (vcpus[i] < 0)
			die("KVM_CREATE_VCPU");
	}
	sev(vm, KVM_SEV_SNP_LAUNCH_START, &start, "KVM_SEV_SNP_LAUNCH_START");
	wait_for_tick();
	t = ticks();
	ret = ioctl(vm, KVM_MEMORY_ENCRYPT_OP, &cmd);
	t = ticks() - t;
	if (ret)
		die("KVM_SEV_SNP_LAUNCH_FINISH");
	for (i = 0; i < nr_vcpus; i++)
		close(vcpus[i]);
	close(vm);
	return t;
}

int main(int argc, char *argv[])
{
	struct rlimit files = { MAX_VCPUS + 64, MAX_VCPUS + 64 };
	int n, turn, turns = argc > 1 ? atoi(argv[1]) : 0, most = argc > 2 ? atoi(argv[2]) : 0;
	cpu_set_t cpus;
	uint64_t t;

	if (turns < 1 || most < 1 || most > MAX_VCPUS) {
		printf("usage: %s TURNS MOST: at least 1 turn, 1 to %d vCPUs\n",
		       argv[0], MAX_VCPUS);
		return 2;
	}
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	sev_fd = open("/dev/sev", O_RDWR | O_CLOEXEC);
	if (kvm < 0 || sev_fd < 0 ||
	    !(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES) & (1 << KVM_X86_SNP_VM))) {
		printf("# SKIP no SNP: expected /dev/kvm, /dev/sev and KVM's VM type for SNP\n");
		return SKIP;
	}
	if (setrlimit(RLIMIT_NOFILE, &files))
		die("setrlimit");
	/* Run every turn on the same CPU. */
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		die("sched_setaffinity");

	for (n = 1; n <= most; n *= 2) {
		for (turn = 0; turn <= turns; turn++) {
			t = launch(n);
			printf("bench: vcpus=%d turn=%d ticks=%llu\n",
			       n, turn, (unsigned long long)t);
			fflush(stdout);
		}
	}
	return 0;
}
