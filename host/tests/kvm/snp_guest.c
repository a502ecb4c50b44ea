// SPDX-License-Identifier: GPL-2.0-only
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "snp_guest.h"

/* --- In the guest ------------------------------------------------------------------------------ */

/*
 * The library reports an exception by a ucall, which is port I/O. In an SNP guest that raises a #VC,
 * which hides the first exception: use the report instead.
 */
static void unexpected_exception(struct ex_regs *regs)
{
	static const char * const text[32] = {
		[DE_VECTOR] = "#DE, at", [DB_VECTOR] = "#DB, at", [BP_VECTOR] = "#BP, at",
		[UD_VECTOR] = "#UD, at", [NM_VECTOR] = "#NM, at", [DF_VECTOR] = "#DF, at",
		[TS_VECTOR] = "#TS, at", [NP_VECTOR] = "#NP, at", [SS_VECTOR] = "#SS, at",
		[GP_VECTOR] = "#GP, at", [PF_VECTOR] = "#PF, at", [MF_VECTOR] = "#MF, at",
		[XM_VECTOR] = "#XM, at",
	};
	const char *what = regs->vector < 32 ? text[regs->vector] : NULL;

	snp_fail(what ?: "an exception, at", regs->rip, 0);
}

static void unexpected_vc(struct ex_regs *regs)
{
	snp_fail("unexpected #VC, error code", regs->error_code, 0);
}

/* --- On the host ------------------------------------------------------------------------------- */

struct kvm_vm *snp_create_vm(u32 type, u32 nr_vcpus, void *guest_code, struct kvm_vcpu **vcpus,
			     void (*vc_handler)(struct ex_regs *))
{
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = type };
	struct kvm_vm *vm = __vm_create_with_vcpus(shape, nr_vcpus, 0, guest_code, vcpus);
	int i;

	for (i = 0; i < 32; i++)
		if (i != SNP_VC_VECTOR && i != NMI_VECTOR)
			vm_install_exception_handler(vm, i, unexpected_exception);
	if (type == KVM_X86_SNP_VM)
		vm_install_exception_handler(vm, SNP_VC_VECTOR, vc_handler ?: unexpected_vc);
	return vm;
}

struct snp_report *snp_alloc_report(struct kvm_vm *vm, u64 id, gva_t *gva)
{
	struct snp_report *report;

	*gva = vm_alloc_shared(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR, MEM_REGION_TEST_DATA);
	report = addr_gva2hva(vm, *gva);
	report->id = id;
	return report;
}

/*
 * Maps the page at a second address, without the C-bit: the guest can then make the page private or
 * shared without changing its own page tables.
 */
gva_t snp_map_shared_alias(struct kvm_vm *vm, gva_t private)
{
	gva_t alias = vm_unused_gva_gap(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR);

	virt_pg_map(vm, alias, sev_gva2gpa(vm, private));
	*vm_get_pte(vm, alias) &= ~vm->arch.c_bit;
	return alias;
}

static void __printf(2, 3) fail(struct snp_vcpu *v, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(v->why, sizeof(v->why), format, args);
	va_end(args);
	v->failed = true;
}

/* Handles a page state change as a VMM does: sets the page's attribute as the guest asks. */
bool snp_default_exit(struct snp_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;

	if (run->exit_reason != KVM_EXIT_HYPERCALL || run->hypercall.nr != KVM_HC_MAP_GPA_RANGE) {
		switch (run->exit_reason) {
		case KVM_EXIT_FAIL_ENTRY:
			fail(v, "VMRUN failed, hardware reason 0x%llx on CPU %u",
			     run->fail_entry.hardware_entry_failure_reason, run->fail_entry.cpu);
			break;
		case KVM_EXIT_MEMORY_FAULT:
			fail(v, "memory fault at gpa 0x%llx, flags 0x%llx",
			     run->memory_fault.gpa, run->memory_fault.flags);
			break;
		case KVM_EXIT_SYSTEM_EVENT:
			fail(v, "system event type %u, data 0x%llx",
			     run->system_event.type, run->system_event.data[0]);
			break;
		default:
			fail(v, "exit %s (%u)",
			     exit_reason_str(run->exit_reason), run->exit_reason);
		}
		return false;
	}
	vm_set_memory_attributes(v->vcpu->vm, run->hypercall.args[0],
				 run->hypercall.args[1] * PAGE_SIZE,
				 run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED ?
				 KVM_MEMORY_ATTRIBUTE_PRIVATE : 0);
	run->hypercall.ret = 0;
	return true;
}

static void *run_vcpu(void *arg)
{
	struct snp_vcpu *v = arg;
	struct kvm_run *run = v->vcpu->run;
	u64 event;

	v->tid = syscall(SYS_gettid);
	for (;;) {
		if (_vcpu_run(v->vcpu)) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			fail(v, "KVM_RUN: %s", strerror(errno));
			break;
		}
		if (run->exit_reason == KVM_EXIT_SYSTEM_EVENT &&
		    run->system_event.type == KVM_SYSTEM_EVENT_SEV_TERM) {
			event = run->system_event.data[0];
			if (event == GHCB_MSR_TERM(SNP_TERM_PASSED, v->report->id))
				break;
			if (event == GHCB_MSR_TERM(SNP_TERM_FAILED, v->report->id) &&
			    v->report->failed)
				fail(v, "round %lu, %s: %s: expected 0x%lx, found 0x%lx",
				     v->report->round, v->report->step ?: "start",
				     v->report->failed, v->report->expected, v->report->found);
			else
				fail(v, "expected termination request 0x%lx, found 0x%lx",
				     (u64)GHCB_MSR_TERM(SNP_TERM_PASSED, v->report->id), event);
			break;
		}
		if (!v->on_exit(v))
			break;
	}
	v->ended = true;
	return NULL;
}

void snp_start(struct snp_vcpu *v)
{
	if (!v->on_exit)
		v->on_exit = snp_default_exit;
	v->started = !pthread_create(&v->thread, NULL, run_vcpu, v);
	TEST_ASSERT(v->started, "pthread_create() failed");
}

/* Reads the name of the kernel function that a thread sleeps in; "0" if it runs. */
static void where_it_waits(int tid, char *buf, size_t size)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", tid);
	f = fopen(path, "r");
	if (!f || !fgets(buf, size, f))
		snprintf(buf, size, "?");
	if (f)
		fclose(f);
}

/*
 * Waits until all vCPUs have ended, for that many seconds in all. One that still runs then is marked
 * as failed, with the place where it waits. It can be neither joined nor destroyed: the caller must
 * end the process.
 */
void snp_wait_all(struct snp_vcpu *v, int nr, int seconds)
{
	struct timespec end;
	char wchan[64];
	int i;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += seconds;
	for (i = 0; i < nr; i++) {
		if (!v[i].started || !pthread_timedjoin_np(v[i].thread, NULL, &end))
			continue;
		where_it_waits(v[i].tid, wchan, sizeof(wchan));
		fail(&v[i], "no end within %d s: in KVM_RUN or its exit, round %lu, step \"%s\", waits in %s",
		     seconds, v[i].report->round, v[i].report->step ?: "start", wchan);
	}
}

static const char *limited_phase;

static void out_of_time(int sig)
{
	static const char text[] = "\nBail out! no end in time: ";

	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0 ||
	    write(STDOUT_FILENO, limited_phase, strlen(limited_phase)) < 0 ||
	    write(STDOUT_FILENO, "\n", 1) < 0)
		_exit(KSFT_XFAIL);
	_exit(KSFT_FAIL);
}

/* Ends the process if the main thread's phase takes longer than that many seconds; 0 ends the limit. */
void snp_limit(int seconds, const char *phase)
{
	limited_phase = phase;
	signal(SIGALRM, out_of_time);
	alarm(seconds);
}
