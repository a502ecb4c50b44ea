// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes each firmware command fail that the launch of an SNP guest with 4 vCPUs issues: one command in
 * each launch, of each kind, at each time that it is issued.
 *
 * Fails if an error is swallowed or replaced by another; the firmware's status does not reach user
 * space; a vCPU's mutex stays locked; a vCPU that was not encrypted refuses register writes, or an
 * encrypted one takes them; a page that the firmware refused stays the guest's; a command cannot be
 * tried again where it should be; the VM cannot be destroyed, or the next VM not be launched; the
 * emulated host counts an error, or the kernel's log has a report.
 *
 * A first launch without a failure counts how often each kind is issued, and in which phase. Its guest
 * is a few bytes in real mode: such a launch has few commands, so that each of them can fail once.
 *
 * With -w, runs only the failures after which the kernel warns and leaks on purpose: its log has a
 * report then. With -d NAME, runs one of the double failures that the kernel handles wrongly: after
 * it, nothing more can be tested in this boot.
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
/* A status that no caller treats specially. */
#define STATUS		SEV_RET_RESOURCE_LIMIT
#define MAX_ASIDS	1000

/* The guest's memory from address 0 on; each entry is one LAUNCH_UPDATE ioctl. */
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
	"KVM_SEV_INIT2", "LAUNCH_START", "LAUNCH_UPDATE", "LAUNCH_FINISH", "KVM_RUN",
	"the VM's end",
};

/*
 * The kinds of commands that a launch issues, with the phase and the errno of a failure; the first
 * launch fills in the counts, and fails if a kind is not listed here. snp_launch_start() returns
 * -ENOTTY for GCTX_CREATE in every release.
 */
static struct kind {
	const char *name;
	enum phase phase;
	int error;
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

/* The result of a KVM_MEMORY_ENCRYPT_OP command: errno or 0, and the firmware's status. */
struct result {
	int error;
	u32 status;
};

/* --- A case's result ------------------------------------------------------------------------------ */

static char found[512];
/* A vCPU does not answer any more: its VM cannot be destroyed, and the walk ends. */
static bool stuck;

/* Records an error, unless the case has one already. Returns false, for the caller to return. */
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
 * Checks the kernel's messages since log_from_here(). With EXPECTED, each of its texts must appear, in
 * this order; other lines may come in between, as a report has many. Without it, no message may be
 * about leaks, the RMP or a fault of the kernel.
 */
static void check_log(const char * const *expected)
{
	static const char * const bad[] = {
		"WARNING:", "BUG", "Leaking PFN", "RMPUPDATE failed", "Failed to re", "lock held",
		"list_add",
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
	struct result r = { 0 };

	if (__vm_sev_op(vm, id, data, &r.status))
		r.error = errno;
	return r;
}

/* Makes the vCPU end with this code, which it has only in its registers. */
static void set_code(struct launch *l, int i, u64 code, struct kvm_regs *regs)
{
	vcpu_regs_get(l->vcpu[i], regs);
	l->code[i] = code;
	regs->rip = 0;
	regs->rcx = MSR_AMD64_SEV_ES_GHCB;
	regs->rax = GHCB_MSR_TERM(SNP_TERM_PASSED, code);
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

/* Updates the pages of one call from *done on, and adds those that were done to *done. */
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

/* Runs each vCPU until it ends, which must be with the code in its registers. */
static bool run(struct launch *l)
{
	struct kvm_run *r;
	int i, ret;

	for (i = 0; i < NR_VCPUS; i++) {
		r = l->vcpu[i]->run;
		ret = _vcpu_run(l->vcpu[i]);
		if (ret)
			return wrong("vCPU %d: KVM_RUN: %s", i, strerror(errno));
		if (r->exit_reason != KVM_EXIT_SYSTEM_EVENT ||
		    r->system_event.type != KVM_SYSTEM_EVENT_SEV_TERM)
			return wrong("vCPU %d: expected its termination request, found exit %s (%u)",
				     i, exit_reason_str(r->exit_reason), r->exit_reason);
		if (r->system_event.data[0] != GHCB_MSR_TERM(SNP_TERM_PASSED, l->code[i]))
			return wrong("vCPU %d: expected termination request 0x%lx, found 0x%llx", i,
				     GHCB_MSR_TERM(SNP_TERM_PASSED, l->code[i]),
				     r->system_event.data[0]);
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
	/* Ignore the result: a dead VM answers with an error, and that is an answer too. */
	__vcpu_ioctl(asked.vcpu, KVM_GET_MP_STATE, &state);
	return NULL;
}

/*
 * Checks that each vCPU's mutex is free: an ioctl on the vCPU returns. If one does not return, the
 * walk ends, and the ioctl's thread stays.
 */
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
			snprintf(wchan, sizeof(wchan), "?");
		stuck = true;
		wrong("vCPU %d: KVM_GET_MP_STATE has not returned within %d s, waits in %s: is its mutex held?",
		      i, ANSWER_SECONDS, wchan);
		return;
	}
}

/* Checks that the first NR vCPUs are encrypted and refuse register writes, and the others take them. */
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
				return wrong("vCPU %d is encrypted: KVM_SET_REGS: expected %s, found %s",
					     i, strerror(EINVAL), error_name(ret));
			continue;
		}
		if (__vcpu_ioctl(l->vcpu[i], KVM_GET_REGS, &regs))
			return wrong("vCPU %d is not encrypted: KVM_GET_REGS: %s",
				     i, strerror(errno));
		/* If a second attempt launches the VM, the vCPU ends with the new code. */
		set_code(l, i, i + 0x41, &regs);
		if (__vcpu_ioctl(l->vcpu[i], KVM_SET_REGS, &regs) ||
		    __vcpu_ioctl(l->vcpu[i], KVM_GET_REGS, &back))
			return wrong("vCPU %d is not encrypted: KVM_SET_REGS: %s",
				     i, strerror(errno));
		if (memcmp(&regs, &back, sizeof(regs)))
			return wrong("vCPU %d is not encrypted: KVM_GET_REGS differs from KVM_SET_REGS",
				     i);
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

/* Checks how many pages the RMP has assigned to this guest. */
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

/*
 * Checks what must hold at a case's end: so many commands were made to fail, so many pages are left
 * assigned, and so many errors were counted. If a vCPU is stuck, none of that can be checked.
 */
static void check_case(const struct before *b, int injected, int left, int errors,
		       const char * const *expected_log)
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
		wrong("expected %lu pages assigned to guests in the RMP (%lu before the case), found %lu",
		      b->rmp + left, b->rmp, n);
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

/* Adds the commands issued since the last call to the phase's counts. FIRST only takes the start. */
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
			wrong("%s issues %s: expected only commands listed in kinds[]",
			      phase_names[phase], now[i].name);
			continue;
		}
		kinds[k].count[phase] += more;
		ksft_print_msg("%s: %s, %lu times\n", phase_names[phase], now[i].name, more);
	}
	memset(last, 0, sizeof(last));
	memcpy(last, now, n * sizeof(now[0]));
}

/* A launch without a failure. With LEARN, counts the commands of each phase. */
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
 * One launch in which the nth command of that kind fails with that status, in LAUNCH_START,
 * LAUNCH_UPDATE or LAUNCH_FINISH. Then destroys the VM; or, with AGAIN, repeats the ioctl that failed,
 * and the launch must succeed.
 */
static void walk_one(const struct kind *k, enum phase at, int nth, u32 status, bool again,
		     const char *name)
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
	if (at == START) {
		if (!expect_result("LAUNCH_START", r, k->error, status))
			goto out;
		expect_answers(&l);
		if (!expect_encrypted(&l, 0) || !again)
			goto out;
		r = start(&l);
	}
	if (!expect_result(at == START ? "LAUNCH_START, again" : "LAUNCH_START", r, 0, 0))
		goto out;

	for (i = 0; i < ARRAY_SIZE(calls); before += calls[i++].pages) {
		done = 0;
		retried = false;
		r = update(&l, i, &done);
		if (at == PAGES && nth > before && nth <= before + calls[i].pages) {
			/*
			 * If pages before the failed one are done, the ioctl succeeds with fewer
			 * pages; only the next call returns the error.
			 */
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
	if (at == FINISH) {
		if (!strcmp(k->name, "SNP_LAUNCH_UPDATE"))
			encrypted = nth - NR_PAGES - 1;
		/* Check this first: a vCPU can be stuck whatever the ioctl has returned. */
		expect_answers(&l);
		if (!expect_result("LAUNCH_FINISH", r, k->error, status) || found[0])
			goto out;
		expect_assigned(&b, NR_PAGES + encrypted);
		if (!expect_encrypted(&l, encrypted) || found[0] || !again)
			goto out;
		r = finish(&l);
		expect_answers(&l);
		/* Once a vCPU is encrypted, KVM refuses a second attempt. */
		if (!expect_result("LAUNCH_FINISH, again", r, encrypted ? EINVAL : 0, 0) ||
		    encrypted)
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

/* Makes each of that kind's commands fail in turn. Returns the number of cases; COUNT_ONLY runs none. */
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
			/*
			 * For the CPUID page, the last one, INVALID_PARAM means that the firmware has
			 * corrected it, and KVM reads it back: fail with that status.
			 */
			status = STATUS;
			if (phase == PAGES && i == NR_PAGES - 1)
				status = SEV_RET_INVALID_PARAM;
			for (again = 0; again < 2; again++) {
				snprintf(name, sizeof(name), "%s%s", what, again ? "_again" : "");
				walk_one(k, phase, nth, status, again, name);
			}
		}
	}
	return cases;
}

/*
 * The kernel issues DF_FLUSH to reuse ASIDs once it has run out of them. When that fails, KVM_SEV_INIT2
 * must fail for want of an ASID, and the next attempt must get one.
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
 * Failures after which a page or an ASID cannot be used again: the kernel warns, leaks it, and goes on.
 * A page that the firmware has kept stays the firmware's in the RMP.
 */
static const struct loss {
	const char *name;
	enum phase phase;
	const char *fail;
	int injected;
	/*
	 * Pages that stay a guest's or the firmware's in the RMP, and errors that the host counts: ANY if
	 * that depends on the kernel.
	 */
#define ANY (-1)
	int guest_pages, firmware_pages, errors;
	const char *log[4];
} losses[] = {
	{ "SNP_DECOMMISSION", DESTROY, "SNP_DECOMMISSION:1:0x17", 1, 0, 1, 0,
	  { "Failed to release guest context" } },
	{ "SNP_PAGE_RECLAIM_1", DESTROY, "SNP_PAGE_RECLAIM:1:0x17", 1, 0, 1, 0,
	  { "Leaking PFN range" } },
	{ "SNP_PAGE_RECLAIM_2", DESTROY, "SNP_PAGE_RECLAIM:2:0x17", 1, 0, 1, 0,
	  { "Leaking PFN range" } },
};

/*
 * The firmware refuses a page and then does not give it back either. The kernel must leak the page: it
 * stays assigned in the RMP, and nobody may use it again.
 */
static const struct loss double_failures[] = {
	{ "page_0", PAGES, "SNP_LAUNCH_UPDATE:1:0x17,SNP_PAGE_RECLAIM:1:0x17", 2, 1, 0, 1,
	  { "Failed to reclaim PFN" } },
	{ "vmsa_0", FINISH, "SNP_LAUNCH_UPDATE:1:0x17,SNP_PAGE_RECLAIM:1:0x17", 2, 1, 0, ANY,
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
		wrong("expected %d pages to stay the firmware's, found %ld",
		      loss->firmware_pages, (long)firmware);
	if (loss->errors == ANY)
		b.errors = snp_host_counter("guest-errors");
	check_case(&b, loss->injected, loss->guest_pages, loss->errors == ANY ? 0 : loss->errors,
		   loss->log);
	end_case(loss->name);
}

static void usage(const char *name)
{
	printf("usage: %s [-w | -d NAME]\n"
	       "-w  only failures after which the kernel warns and leaks on purpose\n"
	       "-d  only this double failure: page_0 or vmsa_0\n", name);
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
			TEST_ASSERT(loss, "-d: expected page_0 or vmsa_0, found %s", optarg);
			losing = 1;
			doubly = true;
			break;
		default:
			usage(argv[0]);
			return opt == 'h' ? 0 : KSFT_FAIL;
		}
	}
	snp_require_vms();
	TEST_REQUIRE(is_smt_on());
	ksft_print_header();
	if (!snp_host_reach(why, sizeof(why)))
		ksft_exit_skip("%s\n", why);

	/* The number of cases depends on the first launch, which is itself the first case. */
	clean_launch(true);
	for (i = 0; i < ARRAY_SIZE(kinds) && !losing; i++)
		plan += walk_kind(&kinds[i], true);
	plan += (losing ?: 1) + !doubly;
	ksft_set_plan(plan);
	end_case("first_launch");
	if (ksft_get_fail_cnt())
		ksft_exit_fail_msg("the launch without a failure failed: the walk ends here\n");
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
