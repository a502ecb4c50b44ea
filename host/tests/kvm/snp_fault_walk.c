// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every firmware command that the launch of an SNP guest with 4 vCPUs issues, made to fail: each kind, and each
 * time that it is issued, one a launch.
 *
 * Can fail because: an error is swallowed, or is another one; the firmware's status does not reach user space;
 * a vCPU's mutex is not released; a vCPU that was not encrypted takes no register writes, or one that was does;
 * a page that the firmware did not take stays the guest's; what can be tried again cannot; the VM cannot be
 * destroyed; the next one cannot be launched; the host, or its kernel, had something to say about it.
 *
 * A first launch, in which nothing fails, tells how often each kind is issued, and when. Its guest is a few
 * bytes in real mode: a launch then has few commands, and all of them are walked.
 *
 * -w: those failures instead after which the kernel warns and leaks, on purpose: its log has a report then. -d NAME:
 * one of the double failures that it gets wrong: no telling what comes after it in this boot.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sys/syscall.h>
#include <time.h>

#include "snp_guest.h"
#include "snp_host.h"

#define NR_VCPUS	4
#define ANSWER_SECONDS	5
#define CASE_SECONDS	30
/* One that no caller treats in a way of its own. */
#define STATUS		SEV_RET_RESOURCE_LIMIT
#define MAX_ASIDS	1000

/* The guest's memory, from address 0 on, as it is launched: an ioctl each. */
static const struct {
	const char *what;
	u8 type;
	int pages;
} calls[] = {
	{ "normal", KVM_SEV_SNP_PAGE_TYPE_NORMAL, 2 },
	{ "zero", KVM_SEV_SNP_PAGE_TYPE_ZERO, 1 },
	{ "secrets", KVM_SEV_SNP_PAGE_TYPE_SECRETS, 1 },
	{ "cpuid", KVM_SEV_SNP_PAGE_TYPE_CPUID, 1 },
};

#define NR_PAGES	5

/* wrmsr; rep vmmcall; hlt, with everything in registers. */
static const u8 guest_code[] = { 0x0f, 0x30, 0xf3, 0x0f, 0x01, 0xd9, 0xf4 };

enum phase { CREATE, START, PAGES, FINISH, RUN, DESTROY, NR_PHASES };

static const char * const phase_names[NR_PHASES] = {
	"KVM_SEV_INIT2", "LAUNCH_START", "LAUNCH_UPDATE", "LAUNCH_FINISH", "KVM_RUN", "the VM's end",
};

/*
 * What is issued in a launch, as the first one shows; in a kind that is not here, the walk fails. No -EIO, but
 * -ENOTTY, for GCTX_CREATE: snp_launch_start() has it so in every release.
 */
static struct kind {
	const char *name;
	enum phase phase;
	int error;
	/* By phase. */
	u64 count[NR_PHASES];
} kinds[] = {
	{ "SNP_GCTX_CREATE", START, ENOTTY },
	{ "SNP_LAUNCH_START", START, EIO },
	{ "SNP_ACTIVATE", START, EIO },
	{ "SNP_LAUNCH_UPDATE", PAGES, EIO },
	{ "SNP_LAUNCH_FINISH", FINISH, EIO },
	{ "SNP_DECOMMISSION", DESTROY, 0 },
	{ "SNP_PAGE_RECLAIM", DESTROY, 0 },
};

struct launch {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu[NR_VCPUS];
	u8 *source;
	u64 code[NR_VCPUS];
};

/* What a command of KVM_MEMORY_ENCRYPT_OP has returned: errno or 0, and the firmware's status. */
struct result {
	int error;
	u32 status;
};

/* --- What a case has found ---------------------------------------------------------------------- */

static char found[512];
/* A vCPU does not answer any more: nothing can be destroyed, and the walk ends. */
static bool stuck;

/* The first thing that is wrong is what is said. */
static bool __printf(1, 2) wrong(const char *format, ...)
{
	va_list args;

	if (!found[0]) {
		va_start(args, format);
		vsnprintf(found, sizeof(found), format, args);
		va_end(args);
	}
	return false;
}

static const char *error_name(int error)
{
	return error ? strerror(error) : "success";
}

static bool expect_result(const char *what, struct result r, int error, u32 status)
{
	if (r.error == error && r.status == status)
		return true;
	return wrong("%s: expected %s with the firmware's status 0x%x, found %s with 0x%x", what,
		     error_name(error), status, error_name(r.error), r.status);
}

/* --- The kernel's log ---------------------------------------------------------------------------- */

static int kmsg = -1;

static void log_from_here(void)
{
	if (kmsg < 0)
		kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	TEST_ASSERT(kmsg >= 0 && lseek(kmsg, 0, SEEK_END) >= 0, "/dev/kmsg: %s", strerror(errno));
}

/*
 * What the kernel has said since: nothing about leaks, the RMP or itself, but what is expected, of which there
 * may be a few things, in this order, with other lines in between: a report has many.
 */
static void check_log(const char * const *expected)
{
	static const char * const bad[] = {
		"WARNING:", "BUG", "Leaking PFN", "RMPUPDATE failed", "Failed to re", "lock held", "list_add",
	};
	char record[8192], *text;
	ssize_t n;
	int i;

	for (;;) {
		n = read(kmsg, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			break;
		record[n] = 0;
		text = strchr(record, ';');
		if (!text)
			continue;
		text++;
		text[strcspn(text, "\n")] = 0;
		if (expected && *expected && strstr(text, *expected)) {
			expected++;
			continue;
		}
		for (i = 0; !expected && i < ARRAY_SIZE(bad); i++)
			if (strstr(text, bad[i]))
				wrong("the kernel's log: %.200s", text);
	}
	if (expected && *expected)
		wrong("expected \"%s\" in the kernel's log, found no such line", *expected);
}

/* --- A launch, step by step ----------------------------------------------------------------------- */

static struct result sev_command(struct kvm_vm *vm, u32 id, void *data)
{
	struct kvm_sev_cmd cmd = { .id = id, .data = (u64)data, .sev_fd = vm->arch.sev_fd };
	/* The ioctl's number says an unsigned long, which it has never been. */
	int error = ioctl(vm->fd, KVM_MEMORY_ENCRYPT_OP, &cmd) ? errno : 0;

	return (struct result) { error, cmd.error };
}

/* What the vCPU shall end with; the code is only in its registers. */
static void set_code(struct launch *l, int i, u64 code, struct kvm_regs *regs)
{
	vcpu_regs_get(l->vcpu[i], regs);
	l->code[i] = code;
	regs->rip = 0;
	regs->rcx = MSR_AMD64_SEV_ES_GHCB;
	regs->rax = SNP_TERM_REQUEST(SNP_TERM_PASSED, code);
	regs->rdx = 0;
}

static struct kvm_vm *new_vm(void)
{
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = KVM_X86_SNP_VM };
	struct kvm_vm *vm = ____vm_create(shape);

	vm->arch.sev_fd = open_sev_dev_path_or_exit();
	return vm;
}

static void end_vm(struct kvm_vm *vm)
{
	close(vm->arch.sev_fd);
	kvm_vm_free(vm);
}

static bool create(struct launch *l)
{
	struct kvm_sev_init init = { 0 };
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int i;

	memset(l, 0, sizeof(*l));
	l->vm = new_vm();
	if (!expect_result("KVM_SEV_INIT2", sev_command(l->vm, KVM_SEV_INIT2, &init), 0, 0))
		return false;
	vm_enable_cap(l->vm, KVM_CAP_EXIT_HYPERCALL, BIT(KVM_HC_MAP_GPA_RANGE));
	vm_mem_add(l->vm, VM_MEM_SRC_ANONYMOUS, 0, 0, NR_PAGES, KVM_MEM_GUEST_MEMFD, -1, 0);
	vm_mem_set_private(l->vm, 0, NR_PAGES * PAGE_SIZE);
	l->source = addr_gpa2hva(l->vm, 0);
	memcpy(l->source, guest_code, sizeof(guest_code));
	for (i = 0; i < NR_VCPUS; i++) {
		l->vcpu[i] = __vm_vcpu_add(l->vm, i);
		vcpu_init_cpuid(l->vcpu[i], kvm_get_supported_cpuid());
		vcpu_sregs_get(l->vcpu[i], &sregs);
		sregs.cs.base = 0;
		sregs.cs.selector = 0;
		vcpu_sregs_set(l->vcpu[i], &sregs);
		set_code(l, i, i + 1, &regs);
		vcpu_regs_set(l->vcpu[i], &regs);
	}
	return true;
}

static struct result start(struct launch *l)
{
	struct kvm_sev_snp_launch_start s = { .policy = SNP_POLICY_RSVD_MBO | SNP_POLICY_SMT };

	return sev_command(l->vm, KVM_SEV_SNP_LAUNCH_START, &s);
}

/* The pages of one call from *done on; counts those that were done. */
static struct result update(struct launch *l, int call, int *done)
{
	struct kvm_sev_snp_launch_update u = { .type = calls[call].type };
	struct result r;
	int i;

	for (i = 0; i < call; i++)
		u.gfn_start += calls[i].pages;
	u.gfn_start += *done;
	u.uaddr = (u64)l->source + u.gfn_start * PAGE_SIZE;
	u.len = (calls[call].pages - *done) * PAGE_SIZE;
	r = sev_command(l->vm, KVM_SEV_SNP_LAUNCH_UPDATE, &u);
	if (!r.error)
		*done = calls[call].pages - u.len / PAGE_SIZE;
	return r;
}

static struct result finish(struct launch *l)
{
	struct kvm_sev_snp_launch_finish f = { 0 };

	return sev_command(l->vm, KVM_SEV_SNP_LAUNCH_FINISH, &f);
}

/* Runs every vCPU to its end, which must be the one that its registers ask for. */
static bool run(struct launch *l)
{
	struct kvm_run *r;
	int i, ret;

	for (i = 0; i < NR_VCPUS; i++) {
		r = l->vcpu[i]->run;
		ret = _vcpu_run(l->vcpu[i]);
		if (ret)
			return wrong("vCPU %d: KVM_RUN: %s", i, strerror(errno));
		if (r->exit_reason != KVM_EXIT_SYSTEM_EVENT || r->system_event.type != KVM_SYSTEM_EVENT_SEV_TERM)
			return wrong("vCPU %d: expected its termination request, found exit %s (%u)", i,
				     exit_reason_str(r->exit_reason), r->exit_reason);
		if (r->system_event.data[0] != SNP_TERM_REQUEST(SNP_TERM_PASSED, l->code[i]))
			return wrong("vCPU %d: expected termination request 0x%lx, found 0x%llx", i,
				     SNP_TERM_REQUEST(SNP_TERM_PASSED, l->code[i]), r->system_event.data[0]);
	}
	return true;
}

/* --- What must hold after a failure ----------------------------------------------------------------- */

static struct {
	struct kvm_vcpu *vcpu;
	int tid;
} asked;

static void *ask(void *arg)
{
	struct kvm_mp_state state;

	asked.tid = syscall(SYS_gettid);
	/* A VM that the kernel has given up answers as well, with an error. */
	__vcpu_ioctl(asked.vcpu, KVM_GET_MP_STATE, &state);
	return NULL;
}

/* An ioctl on each vCPU returns: its mutex is free. One that does not ends the walk; its thread stays. */
static void expect_answers(struct launch *l)
{
	char path[64], wchan[64] = "?";
	struct timespec end;
	pthread_t thread;
	FILE *f;
	int i;

	for (i = 0; i < NR_VCPUS; i++) {
		asked.vcpu = l->vcpu[i];
		TEST_ASSERT(!pthread_create(&thread, NULL, ask, NULL), "pthread_create() failed");
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_sec += ANSWER_SECONDS;
		if (!pthread_timedjoin_np(thread, NULL, &end))
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", asked.tid);
		f = fopen(path, "r");
		if (f && fscanf(f, "%63s", wchan) != 1)
			strcpy(wchan, "?");
		stuck = true;
		wrong("vCPU %d: KVM_GET_MP_STATE has not returned within %d s, waits in %s: is its mutex held?",
		      i, ANSWER_SECONDS, wchan);
		return;
	}
}

/* The vCPUs before that one are encrypted and take no registers; the others do. */
static bool expect_encrypted(struct launch *l, int nr)
{
	struct kvm_regs regs, back;
	int i, ret;

	for (i = 0; i < NR_VCPUS; i++) {
		memset(&regs, 0, sizeof(regs));
		memset(&back, 0, sizeof(back));
		if (i < nr) {
			ret = __vcpu_ioctl(l->vcpu[i], KVM_SET_REGS, &regs) ? errno : 0;
			if (ret != EINVAL)
				return wrong("vCPU %d is encrypted: KVM_SET_REGS: expected %s, found %s", i,
					     strerror(EINVAL), ret ? strerror(ret) : "success");
			continue;
		}
		if (__vcpu_ioctl(l->vcpu[i], KVM_GET_REGS, &regs))
			return wrong("vCPU %d is not encrypted: KVM_GET_REGS: %s", i, strerror(errno));
		/* If it can be launched yet, it is to end with this. */
		set_code(l, i, i + 0x41, &regs);
		if (__vcpu_ioctl(l->vcpu[i], KVM_SET_REGS, &regs) || __vcpu_ioctl(l->vcpu[i], KVM_GET_REGS, &back))
			return wrong("vCPU %d is not encrypted: KVM_SET_REGS: %s", i, strerror(errno));
		if (memcmp(&regs, &back, sizeof(regs)))
			return wrong("vCPU %d is not encrypted: KVM_GET_REGS gives others than were set", i);
	}
	return true;
}

/* --- The walk ------------------------------------------------------------------------------------- */

struct before {
	u64 rmp;
	u64 errors;
	u64 injected;
};

static u64 injected_so_far(void)
{
	struct snp_host_command c[SNP_HOST_COMMANDS];
	int i, n = snp_host_commands(c);
	u64 sum = 0;

	for (i = 0; i < n; i++)
		sum += c[i].injected;
	return sum;
}

/* That many pages are the guest's by now. */
static void expect_assigned(const struct before *b, u64 wanted)
{
	u64 n = snp_host_counter("stat-rmp-assigned") - b->rmp;

	if (n != wanted)
		wrong("expected %lu pages of this guest in the RMP, found %ld", wanted, (long)n);
}

static void begin_case(struct before *b, const char *fail)
{
	found[0] = 0;
	snp_limit(CASE_SECONDS, fail);
	log_from_here();
	b->rmp = snp_host_counter("stat-rmp-assigned");
	b->errors = snp_host_counter("guest-errors");
	b->injected = injected_so_far();
	snp_host_fail(fail);
}

/* What must hold at the end. Where a vCPU is stuck, nothing can be said any more. */
static void check_case(const struct before *b, int injected, int left, int errors, const char * const *expected_log)
{
	u64 n;

	if (stuck)
		return;
	n = injected_so_far() - b->injected;
	if (n != injected) {
		wrong("expected %d commands to fail, found %lu", injected, n);
		snp_host_fail("");
	}
	n = snp_host_counter("stat-rmp-assigned");
	if (n != b->rmp + left)
		wrong("expected %lu pages that are a guest's in the RMP, before it were %lu, found %lu", b->rmp + left,
		      b->rmp, n);
	n = snp_host_counter("guest-errors") - b->errors;
	if (n != errors)
		wrong("expected %d errors on the host, found %lu", errors, n);
	check_log(expected_log);
	snp_limit(0, "");
}

static void end_case(const char *name)
{
	if (found[0])
		ksft_print_msg("%s: %s\n", name, found);
	ksft_test_result(!found[0], "%s\n", name);
	if (stuck)
		ksft_exit_fail_msg("the walk ends here\n");
}

/* How often each kind was issued since the last call, added to what it is in that phase. */
static void count(enum phase phase, bool first)
{
	static struct snp_host_command last[SNP_HOST_COMMANDS];
	struct snp_host_command now[SNP_HOST_COMMANDS];
	int i, j, k, n = snp_host_commands(now);
	u64 more;

	for (i = 0; i < n && !first; i++) {
		more = now[i].done;
		for (j = 0; j < SNP_HOST_COMMANDS; j++)
			if (!strcmp(last[j].name, now[i].name))
				more -= last[j].done;
		if (!more)
			continue;
		for (k = 0; k < ARRAY_SIZE(kinds); k++)
			if (!strcmp(kinds[k].name, now[i].name))
				break;
		if (k == ARRAY_SIZE(kinds)) {
			wrong("%s issues %s, of which this test knows nothing", phase_names[phase], now[i].name);
			continue;
		}
		kinds[k].count[phase] += more;
		ksft_print_msg("%s: %s, %lu times\n", phase_names[phase], now[i].name, more);
	}
	memset(last, 0, sizeof(last));
	memcpy(last, now, n * sizeof(now[0]));
}

/* A launch in which nothing fails. Counts, if asked to. */
static void clean_launch(bool learn)
{
	struct before b;
	struct launch l;
	int i, done;

	begin_case(&b, "");
	if (learn)
		count(CREATE, true);
	if (!create(&l))
		goto out;
	if (learn)
		count(CREATE, false);
	if (!expect_result("LAUNCH_START", start(&l), 0, 0))
		goto out;
	if (learn)
		count(START, false);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		done = 0;
		if (!expect_result(calls[i].what, update(&l, i, &done), 0, 0))
			goto out;
		if (done != calls[i].pages)
			wrong("%s: expected %d pages to be done at once, found %d", calls[i].what,
			      calls[i].pages, done);
	}
	if (learn)
		count(PAGES, false);
	if (!expect_result("LAUNCH_FINISH", finish(&l), 0, 0))
		goto out;
	if (learn)
		count(FINISH, false);
	expect_encrypted(&l, NR_VCPUS);
	run(&l);
	if (learn)
		count(RUN, false);
out:
	end_vm(l.vm);
	if (learn)
		count(DESTROY, false);
	check_case(&b, 0, 0, 0, NULL);
}

/*
 * One launch in which the nth command of that kind fails, with that status, in LAUNCH_START, LAUNCH_UPDATE or
 * LAUNCH_FINISH. Then the VM is destroyed as it is; or what has failed is tried again, and all goes well.
 */
static void walk_one(const struct kind *k, enum phase phase, int nth, u32 status, bool again, const char *name)
{
	int i, done, encrypted = NR_VCPUS, before = 0;
	struct before b;
	struct result r;
	struct launch l;
	char spec[64];
	bool retried;

	snprintf(spec, sizeof(spec), "%s:%d:0x%x", k->name, nth, status);
	begin_case(&b, spec);
	if (!create(&l))
		goto out;

	r = start(&l);
	if (phase == START) {
		if (!expect_result("LAUNCH_START", r, k->error, status))
			goto out;
		expect_answers(&l);
		if (!expect_encrypted(&l, 0) || !again)
			goto out;
		r = start(&l);
	}
	if (!expect_result(phase == START ? "LAUNCH_START, again" : "LAUNCH_START", r, 0, 0))
		goto out;

	for (i = 0; i < ARRAY_SIZE(calls); before += calls[i++].pages) {
		done = 0;
		retried = false;
		r = update(&l, i, &done);
		if (phase == PAGES && nth > before && nth <= before + calls[i].pages) {
			/* The pages before it are done, which is no failure: the next call is to find it out. */
			if (!expect_result(calls[i].what, r, nth == before + 1 ? k->error : 0,
					   nth == before + 1 ? status : 0))
				goto out;
			if (done != nth - before - 1) {
				wrong("%s: expected %d pages to be done, found %d", calls[i].what,
				      nth - before - 1, done);
				goto out;
			}
			expect_answers(&l);
			expect_assigned(&b, nth - 1);
			if (!expect_encrypted(&l, 0) || found[0] || !again)
				goto out;
			retried = true;
			r = update(&l, i, &done);
		}
		if (!expect_result(retried ? "LAUNCH_UPDATE, again" : "LAUNCH_UPDATE", r, 0, 0))
			goto out;
	}

	r = finish(&l);
	if (phase == FINISH) {
		if (!strcmp(k->name, "SNP_LAUNCH_UPDATE"))
			encrypted = nth - NR_PAGES - 1;
		/* First of all: what is stuck is stuck whatever the ioctl has returned. */
		expect_answers(&l);
		if (!expect_result("LAUNCH_FINISH", r, k->error, status) || found[0])
			goto out;
		expect_assigned(&b, NR_PAGES + encrypted);
		if (!expect_encrypted(&l, encrypted) || found[0] || !again)
			goto out;
		r = finish(&l);
		expect_answers(&l);
		/* With a vCPU that is encrypted, there is no second attempt. */
		if (!expect_result("LAUNCH_FINISH, again", r, encrypted ? EINVAL : 0, 0) || encrypted)
			goto out;
	} else if (!expect_result("LAUNCH_FINISH", r, 0, 0)) {
		goto out;
	}
	run(&l);
out:
	if (!stuck)
		end_vm(l.vm);
	check_case(&b, 1, 0, 0, NULL);
	end_case(name);
}

/* Each of that kind's commands, in order; returns how many cases that is, and does nothing more with count_only. */
static int walk_kind(const struct kind *k, bool count_only)
{
	char what[64], name[80];
	int nth = 0, i, again, cases = 0;
	enum phase phase;
	u32 status;

	for (phase = START; phase <= FINISH; phase++) {
		for (i = 0; i < k->count[phase]; i++) {
			nth++;
			cases += 2;
			if (count_only)
				continue;
			if (phase == FINISH && !strcmp(k->name, "SNP_LAUNCH_UPDATE"))
				snprintf(what, sizeof(what), "vmsa_%d", i);
			else if (phase == PAGES)
				snprintf(what, sizeof(what), "page_%d", i);
			else
				snprintf(what, sizeof(what), "%s", k->name);
			/* Of a CPUID page, this one says that the firmware has corrected it: it is read back. */
			status = phase == PAGES && i == NR_PAGES - 1 ? SEV_RET_INVALID_PARAM : STATUS;
			for (again = 0; again < 2; again++) {
				snprintf(name, sizeof(name), "%s%s", what, again ? "_again" : "");
				walk_one(k, phase, nth, status, again, name);
			}
		}
	}
	return cases;
}

/*
 * What the kernel issues to use ASIDs again, when it has run out of them: once per so many launches. It fails, no
 * ASID is given, and the next attempt has one.
 */
static void walk_flush(void)
{
	struct kvm_sev_init init = { 0 };
	struct result r = { 0 }, again = { 0 };
	struct kvm_vm *vm;
	struct before b;
	int i;

	begin_case(&b, "SNP_DF_FLUSH:1:0x17");
	for (i = 0; !r.error && i < MAX_ASIDS; i++) {
		vm = new_vm();
		r = sev_command(vm, KVM_SEV_INIT2, &init);
		if (r.error)
			again = sev_command(vm, KVM_SEV_INIT2, &init);
		end_vm(vm);
	}
	if (expect_result("KVM_SEV_INIT2 with no ASID left", r, EBUSY, 0))
		expect_result("KVM_SEV_INIT2, again", again, 0, 0);
	check_case(&b, 1, 0, 0, NULL);
	end_case("SNP_DF_FLUSH");
}

/*
 * Failures after which a page, or an ASID, cannot be used again: the kernel warns, leaks what it is, and goes on.
 * Of a page that the firmware has kept the RMP says so for good.
 */
static const struct loss {
	const char *name;
	enum phase phase;
	const char *fail;
	int injected;
	/* What is left in the RMP, and what else the host has refused on the way. */
	int guest_pages, firmware_pages, errors;
	const char *log[4];
} losses[] = {
	{ "SNP_DECOMMISSION", DESTROY, "SNP_DECOMMISSION:1:0x17", 1, 0, 1, 0,
	  { "Failed to release guest context" } },
	{ "SNP_PAGE_RECLAIM_1", DESTROY, "SNP_PAGE_RECLAIM:1:0x17", 1, 0, 1, 0, { "Leaking PFN range" } },
	{ "SNP_PAGE_RECLAIM_2", DESTROY, "SNP_PAGE_RECLAIM:2:0x17", 1, 0, 1, 0, { "Leaking PFN range" } },
};

/*
 * The firmware refuses a page and does not give it back either. The page is leaked, of which the RMP tells for
 * good, and nobody may use it again.
 */
static const struct loss double_failures[] = {
	{ "page_0", PAGES, "SNP_LAUNCH_UPDATE:1:0x17,SNP_PAGE_RECLAIM:1:0x17", 2, 1, 0, 1,
	  { "Failed to reclaim PFN", "Leaking PFN range" } },
	{ "vmsa_0", FINISH, "SNP_LAUNCH_UPDATE:1:0x17,SNP_PAGE_RECLAIM:1:0x17", 2, 1, 0, 1,
	  { "Failed to reclaim PFN", "Leaking PFN range" } },
};

static void walk_loss(const struct loss *loss)
{
	struct before b;
	struct launch l;
	struct result r;
	u64 firmware;
	int i, done;

	begin_case(&b, "");
	firmware = snp_host_counter("stat-rmp-firmware");
	if (!create(&l) || !expect_result("LAUNCH_START", start(&l), 0, 0))
		goto out;
	if (loss->phase == PAGES)
		snp_host_fail(loss->fail);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		done = 0;
		r = update(&l, i, &done);
		if (loss->phase == PAGES) {
			expect_result(calls[i].what, r, EIO, STATUS);
			expect_answers(&l);
			goto out;
		}
		if (!expect_result(calls[i].what, r, 0, 0))
			goto out;
	}
	if (loss->phase == FINISH)
		snp_host_fail(loss->fail);
	r = finish(&l);
	if (loss->phase == FINISH) {
		expect_answers(&l);
		expect_result("LAUNCH_FINISH", r, EIO, STATUS);
		goto out;
	}
	if (expect_result("LAUNCH_FINISH", r, 0, 0) && run(&l))
		snp_host_fail(loss->fail);
out:
	end_vm(l.vm);
	firmware = snp_host_counter("stat-rmp-firmware") - firmware;
	if (firmware != loss->firmware_pages)
		wrong("expected %d pages that stay the firmware's, found %ld", loss->firmware_pages, (long)firmware);
	check_case(&b, loss->injected, loss->guest_pages, loss->errors, loss->log);
	end_case(loss->name);
}

static void usage(const char *name)
{
	printf("usage: %s [-w | -d NAME]\n"
	       "-w  only failures after which the kernel warns and leaks on purpose\n"
	       "-d  only that one, where it cannot: page_0 or vmsa_0\n", name);
}

int main(int argc, char *argv[])
{
	const struct loss *loss = NULL;
	bool doubly = false;
	int opt, i, losing = 0, plan = 1;
	char why[512];

	while ((opt = getopt(argc, argv, "wd:h")) != -1) {
		switch (opt) {
		case 'w':
			loss = losses;
			losing = ARRAY_SIZE(losses);
			break;
		case 'd':
			for (i = 0; i < ARRAY_SIZE(double_failures); i++)
				if (!strcmp(double_failures[i].name, optarg))
					loss = &double_failures[i];
			TEST_ASSERT(loss, "-d wants page_0 or vmsa_0, found %s", optarg);
			losing = 1;
			doubly = true;
			break;
		default:
			usage(argv[0]);
			return opt == 'h' ? 0 : KSFT_FAIL;
		}
	}
	snp_require_snp();
	TEST_REQUIRE(is_smt_on());
	ksft_print_header();
	if (!snp_host_reach(why, sizeof(why)))
		ksft_exit_skip("%s\n", why);

	/* The plan is known after the first launch, whose result is the first. */
	clean_launch(true);
	for (i = 0; i < ARRAY_SIZE(kinds) && !losing; i++)
		plan += walk_kind(&kinds[i], true);
	plan += (losing ?: 1) + !doubly;
	ksft_set_plan(plan);
	end_case("first_launch");
	if (ksft_get_fail_cnt())
		ksft_exit_fail_msg("nothing can be said of failures: a launch without one does not go well\n");
	for (i = 0; i < ARRAY_SIZE(kinds) && !losing; i++)
		walk_kind(&kinds[i], false);
	for (i = 0; i < losing; i++)
		walk_loss(&loss[i]);
	if (!losing)
		walk_flush();
	if (!doubly) {
		clean_launch(false);
		end_case("last_launch");
	}
	ksft_finished();
}
