// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of KVM_SEV_SNP_LAUNCH_FINISH, included by sev.c.
 *
 * What is tested is which locks are held when, hence the functions that encrypt
 * a vCPU's VMSA are replaced by ones that look at the locks.  Neither SVM nor
 * SNP is used: the VM and its vCPUs are only as real as the code under test
 * needs.
 *
 * Which functions are replaced depends on the tree, e.g. stable trees don't have
 * __snp_launch_update_vmsa().  All of that is in sev_kunit_seam.h.
 */
#include <linux/completion.h>
#include <linux/debug_locks.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/lockdep.h>
#include <linux/mman.h>
#include <linux/panic.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include <kunit/resource.h>
#include <kunit/test-bug.h>
#include <kunit/test.h>

#define SNP_FINISH_MAX_VCPUS	64
#define SNP_FINISH_NO_VCPU	UINT_MAX

/* Of the VM, and of a firmware command that fails. */
#define SNP_FINISH_ASID		7
#define SNP_FINISH_FW_ERROR	0x16

/* Long enough for any machine, as only a broken kernel waits this long. */
#define SNP_FINISH_TIMEOUT	(10 * HZ)

/* Don't have every test case run into the same deadlock. */
static bool snp_finish_stuck;

/* Whether lockdep was on when the first test case began. */
static bool snp_finish_had_lockdep;

/* When the ioctl's thread gets a signal that isn't fatal. */
enum snp_finish_signal {
	SNP_FINISH_NO_SIGNAL,
	SNP_FINISH_PENDING_SIGNAL,
	SNP_FINISH_ARRIVING_SIGNAL,
};

/* A way in which the function under test can fail at a vCPU. */
struct snp_finish_fault {
	const char *name;
	/* The only error that it can return, 0 if that is up to the test case. */
	int error;
	/* What userspace gets to see as the firmware's error. */
	u32 fw_error;
	/* The failing vCPU's step is seen to begin, i.e. is one of nr_steps. */
	bool begins_step;
};

struct snp_finish_test {
	struct kunit *test;
	struct kvm_svm vm;
	struct vcpu_svm *vcpus[SNP_FINISH_MAX_VCPUS];
	unsigned int nr_vcpus;
	struct kvm_sev_cmd cmd;
	bool lockdep;
	bool had_warning;

	/* What the replaced functions do, and what they saw. */
	const struct snp_finish_fault *fault;
	unsigned int fail_at;
	int fail_with;
	unsigned int nr_steps;
	unsigned int nr_done;
	unsigned int nr_wrong_args;
	unsigned int nr_wrong_state;
	unsigned int nr_kvm_unlocked;
	unsigned int nr_vcpus_unlocked;

	/* The thread that plays the ioctl, and what it saw. */
	int (*fn)(struct kvm *kvm, struct kvm_sev_cmd *argp);
	struct task_struct *ioctl;
	struct completion done;
	struct mm_struct *mm;
	bool expect_warn;
	enum snp_finish_signal signal;
	bool signal_seen;
	int ret;
	int nr_warns;
	int depth_delta;
	unsigned int nr_leaked;
	unsigned int first_leaked;
	bool kvm_lock_lost;

	/* The vCPU whose mutex is held by the test case itself. */
	unsigned int busy_vcpu;

	/* Keep the vCPUs as the last call left them. */
	bool keep_vcpus;
};

static struct kvm *snp_finish_kvm(struct snp_finish_test *t)
{
	return &t->vm.kvm;
}

static struct mutex *snp_finish_mutex(struct snp_finish_test *t, unsigned int i)
{
	return &t->vcpus[i]->vcpu.mutex;
}

/*
 * Nobody else takes the locks, i.e. locked is as good as held by the caller.
 * Ask lockdep nonetheless, as KVM's own assertions do.
 */
static bool snp_finish_is_held(struct mutex *lock)
{
	if (!mutex_is_locked(lock))
		return false;

	return !IS_ENABLED(CONFIG_LOCKDEP) || lockdep_is_held(lock);
}

static unsigned int snp_finish_nr_locked(struct snp_finish_test *t)
{
	unsigned int i, nr = 0;

	for (i = 0; i < t->nr_vcpus; i++)
		nr += mutex_is_locked(snp_finish_mutex(t, i));

	return nr;
}

/* The vCPUs before @nr, and no others, are encrypted. */
static bool snp_finish_is_encrypted(struct snp_finish_test *t, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < t->nr_vcpus; i++) {
		bool expected = i < nr;

		if (t->vcpus[i]->vcpu.arch.guest_state_protected != expected)
			return false;
	}

	return true;
}

/*
 * To be called by each function that replaces another.  Lockdep merges the
 * vCPUs' mutexes into one entry, i.e. has the same answer for all of them.
 */
static struct snp_finish_test *snp_finish_look_at_locks(void)
{
	struct snp_finish_test *t = kunit_get_current_test()->priv;

	if (!snp_finish_is_held(&snp_finish_kvm(t)->lock))
		t->nr_kvm_unlocked++;

	t->nr_vcpus_unlocked += t->nr_vcpus - snp_finish_nr_locked(t);
	if (t->nr_vcpus && !snp_finish_is_held(snp_finish_mutex(t, 0)))
		t->nr_vcpus_unlocked++;

	return t;
}

/* To be called when the encryption of @vcpu begins.  Returns its number. */
static unsigned int snp_finish_begin_step(struct snp_finish_test *t,
					  struct kvm_vcpu *vcpu)
{
	unsigned int step = t->nr_steps;

	/* A test case may look at it while this goes on. */
	WRITE_ONCE(t->nr_steps, step + 1);

	if (step >= t->nr_vcpus || vcpu != &t->vcpus[step]->vcpu)
		t->nr_wrong_args++;
	if (t->nr_done != step || !snp_finish_is_encrypted(t, step))
		t->nr_wrong_state++;

	return step;
}

static bool snp_finish_is_to_fail(struct snp_finish_test *t,
				  const struct snp_finish_fault *fault,
				  unsigned int vcpu)
{
	return t->fault == fault && t->fail_at == vcpu;
}

static const unsigned int snp_finish_nr_vcpus[] = { 1, 2, 8, SNP_FINISH_MAX_VCPUS };

static void snp_finish_nr_vcpus_desc(const unsigned int *nr, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "vcpus=%u", *nr);
}

KUNIT_ARRAY_PARAM(snp_finish, snp_finish_nr_vcpus, snp_finish_nr_vcpus_desc);

/* The seam may have test cases, too. */
static int snp_finish_run(struct snp_finish_test *t);
static int snp_finish_run_fail(struct snp_finish_test *t,
			       const struct snp_finish_fault *fault,
			       unsigned int fail_at, int fail_with);
static struct snp_finish_test *snp_finish_create_vcpus(struct kunit *test);
static unsigned int snp_finish_next_vcpu(struct snp_finish_test *t, unsigned int i);
static int snp_finish_init(struct kunit *test);
static void snp_finish_exit(struct kunit *test);

/*
 * What depends on the tree:
 *
 * snp_finish_faults[]
 *	The ways in which the function under test can fail at a vCPU.
 * SNP_FINISH_CREATION_WARNS
 *	Whether a vCPU creation in progress is a reason to warn.
 * SNP_FINISH_READS_USER_DATA_FIRST
 *	Whether snp_launch_finish() reads all user data before the first step.
 * void snp_finish_replace(struct kunit *test)
 *	Replaces the functions that encrypt, for the duration of @test.
 * void snp_finish_prepare(struct snp_finish_test *t)
 *	Undoes what earlier calls did to the vCPUs, and makes @t->fault happen
 *	if that isn't up to one of the replacements.
 * int snp_finish_call(struct snp_finish_test *t)
 *	Calls the function under test.  If @t->expect_warn, keeps warnings out
 *	of the log, and counts them in @t->nr_warns.
 */
#include "sev_kunit_seam.h"

static int snp_finish_lockdep_depth(void)
{
	return IS_ENABLED(CONFIG_LOCKDEP) ? lockdep_depth(current) : 0;
}

static int snp_finish_ioctl(void *data)
{
	struct snp_finish_test *t = data;
	struct kvm *kvm = snp_finish_kvm(t);
	unsigned int i;
	int depth;

	/* Kernel threads ignore all signals unless told otherwise. */
	allow_signal(SIGKILL);
	allow_signal(SIGUSR1);
	current->kunit_test = t->test;
	if (t->mm)
		kthread_use_mm(t->mm);

	mutex_lock(&kvm->lock);
	if (t->signal == SNP_FINISH_PENDING_SIGNAL)
		send_sig(SIGUSR1, current, 1);

	depth = snp_finish_lockdep_depth();
	t->ret = snp_finish_call(t);
	t->depth_delta = snp_finish_lockdep_depth() - depth;
	t->signal_seen = signal_pending(current);

	/* Release what was leaked, so that the next test case can be run. */
	for (i = 0; i < t->nr_vcpus; i++) {
		if (i == READ_ONCE(t->busy_vcpu) ||
		    !mutex_is_locked(snp_finish_mutex(t, i)))
			continue;

		if (!t->nr_leaked++)
			t->first_leaked = i;
		mutex_unlock(snp_finish_mutex(t, i));
	}

	t->kvm_lock_lost = !snp_finish_is_held(&kvm->lock);
	if (mutex_is_locked(&kvm->lock))
		mutex_unlock(&kvm->lock);

	if (t->mm)
		kthread_unuse_mm(t->mm);
	current->kunit_test = NULL;
	flush_signals(current);
	complete(&t->done);

	return 0;
}

/*
 * Start the code under test in a thread of its own, because it may have to be
 * killed, and because a broken one may never return.
 */
static void snp_finish_start(struct snp_finish_test *t)
{
	struct task_struct *p;

	if (!t->keep_vcpus)
		snp_finish_prepare(t);

	t->nr_steps = 0;
	t->nr_done = 0;
	t->nr_wrong_args = 0;
	t->nr_wrong_state = 0;
	t->nr_kvm_unlocked = 0;
	t->nr_vcpus_unlocked = 0;
	t->cmd.error = 0;
	t->ret = 1;
	t->nr_warns = 0;
	t->nr_leaked = 0;
	reinit_completion(&t->done);

	p = kthread_create(snp_finish_ioctl, t, "snp_finish");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(t->test, p);

	t->ioctl = get_task_struct(p);
	wake_up_process(p);
}

/*
 * Wait for the call's return, without asserting it: locks may be held.  A call
 * that raises a warning in every step may take longer than the timeout to
 * print them: wait on while steps begin, of which there is one for each vCPU.
 */
static bool snp_finish_returns(struct snp_finish_test *t)
{
	unsigned int before, now = 0;

	do {
		before = now;
		if (wait_for_completion_timeout(&t->done, SNP_FINISH_TIMEOUT)) {
			complete(&t->done);
			return true;
		}
		now = READ_ONCE(t->nr_steps);
	} while (now > before && now <= t->nr_vcpus);

	return false;
}

static bool snp_finish_is_done(struct snp_finish_test *t)
{
	if (!snp_finish_returns(t))
		return false;

	kthread_stop_put(t->ioctl);
	t->ioctl = NULL;
	return true;
}

/* What holds for every call, whether it succeeds or fails. */
static void snp_finish_end(struct snp_finish_test *t)
{
	if (!snp_finish_is_done(t)) {
		snp_finish_stuck = true;
		KUNIT_FAIL_AND_ABORT(t->test, "launch finish never returned");
	}

	KUNIT_EXPECT_EQ_MSG(t->test, t->nr_leaked, 0,
			    "leaked vcpu->mutex, first that of vCPU %u of %u",
			    t->first_leaked, t->nr_vcpus);
	KUNIT_EXPECT_FALSE_MSG(t->test, t->kvm_lock_lost, "kvm->lock was dropped");
	KUNIT_EXPECT_EQ(t->test, snp_finish_nr_locked(t), 0);
	if (!t->had_warning)
		KUNIT_EXPECT_FALSE_MSG(t->test, test_taint(TAINT_WARN),
				       "a warning was raised, see the log");
	if (t->lockdep) {
		KUNIT_EXPECT_EQ(t->test, t->depth_delta, 0);
		KUNIT_EXPECT_TRUE_MSG(t->test, debug_locks,
				      "lockdep found a bug, see the log");
	}
}

static int snp_finish_run(struct snp_finish_test *t)
{
	snp_finish_start(t);
	snp_finish_end(t);
	return t->ret;
}

static int snp_finish_run_fail(struct snp_finish_test *t,
			       const struct snp_finish_fault *fault,
			       unsigned int fail_at, int fail_with)
{
	t->fault = fault;
	t->fail_at = fail_at;
	t->fail_with = fail_with;
	return snp_finish_run(t);
}

/*
 * Wait until the ioctl's thread waits for the mutex of the vCPU that is kept
 * busy, i.e. until it got all mutexes before it and went to sleep.
 */
static bool snp_finish_waits_for_busy_vcpu(struct snp_finish_test *t)
{
	unsigned long end = jiffies + SNP_FINISH_TIMEOUT;
	unsigned int i;

	do {
		for (i = 0; i < t->busy_vcpu; i++) {
			if (!mutex_is_locked(snp_finish_mutex(t, i)))
				break;
		}

		if (i == t->busy_vcpu && mutex_is_locked(&snp_finish_kvm(t)->lock) &&
		    (READ_ONCE(t->ioctl->__state) & TASK_UNINTERRUPTIBLE))
			return true;

		fsleep(1000);
	} while (!completion_done(&t->done) && time_before(jiffies, end));

	return false;
}

static void snp_finish_lock_busy_vcpu(struct snp_finish_test *t, unsigned int i)
{
	mutex_lock(snp_finish_mutex(t, i));
	WRITE_ONCE(t->busy_vcpu, i);
}

static void snp_finish_unlock_busy_vcpu(struct snp_finish_test *t)
{
	unsigned int i = t->busy_vcpu;

	WRITE_ONCE(t->busy_vcpu, SNP_FINISH_NO_VCPU);

	if (mutex_is_locked(snp_finish_mutex(t, i)))
		mutex_unlock(snp_finish_mutex(t, i));
	else
		KUNIT_FAIL(t->test, "the mutex of a busy vCPU was unlocked");
}

static void snp_finish_exit(struct kunit *test)
{
	struct snp_finish_test *t = test->priv;
	unsigned int i;

	if (!t)
		return;

	/* A test case that failed an assertion didn't get to this. */
	if (t->busy_vcpu != SNP_FINISH_NO_VCPU)
		snp_finish_unlock_busy_vcpu(t);

	if (t->ioctl && !snp_finish_stuck)
		snp_finish_stuck = !snp_finish_is_done(t);

	/*
	 * Better leak the VM, and the module, than have them used after free.
	 * All bets are off should the thread go on after that, as the test and
	 * the replacement of the step are gone.
	 */
	if (snp_finish_stuck) {
		__module_get(THIS_MODULE);
		return;
	}

	xa_destroy(&snp_finish_kvm(t)->vcpu_array);
	for (i = 0; i < t->nr_vcpus; i++) {
		free_page((unsigned long)t->vcpus[i]->sev_es.vmsa);
		free_page((unsigned long)t->vcpus[i]->vmcb);
		kvfree(t->vcpus[i]);
	}
	free_page((unsigned long)t->vm.sev_info.snp_context);
	kvfree(t);
}

/* All locks of a kind are initialized at one place, as lockdep expects. */
static void snp_finish_add_vcpu(struct kunit *test, struct snp_finish_test *t)
{
	struct kvm *kvm = snp_finish_kvm(t);
	struct vcpu_svm *svm;

	svm = kvzalloc_obj(*svm);
	KUNIT_ASSERT_NOT_NULL(test, svm);

	mutex_init(&svm->vcpu.mutex);
	svm->vcpu.kvm = kvm;
	svm->vcpu.vcpu_id = t->nr_vcpus;
	svm->vcpu.vcpu_idx = t->nr_vcpus;
	t->vcpus[t->nr_vcpus++] = svm;

	svm->vmcb = (void *)get_zeroed_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, svm->vmcb);
	svm->sev_es.vmsa = (void *)get_zeroed_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, svm->sev_es.vmsa);

	KUNIT_ASSERT_EQ(test, 0, xa_insert(&kvm->vcpu_array, svm->vcpu.vcpu_idx,
					   &svm->vcpu, GFP_KERNEL));
	kvm->created_vcpus++;
	atomic_inc(&kvm->online_vcpus);
}

static int snp_finish_init(struct kunit *test)
{
	struct snp_finish_test *t;
	struct kvm_sev_info *sev;
	struct kvm *kvm;

	if (snp_finish_stuck)
		kunit_skip(test, "an earlier call never returned");

	t = kvzalloc_obj(*t);
	if (!t)
		return -ENOMEM;

	t->test = test;
	t->fn = snp_launch_update_vmsa;
	t->fail_at = SNP_FINISH_NO_VCPU;
	t->busy_vcpu = SNP_FINISH_NO_VCPU;
	init_completion(&t->done);

	t->had_warning = test_taint(TAINT_WARN);
	t->lockdep = IS_ENABLED(CONFIG_PROVE_LOCKING) && debug_locks;
	if (!t->lockdep)
		kunit_warn(test, "lockdep is off: less is checked\n");

	kvm = snp_finish_kvm(t);
	mutex_init(&kvm->lock);
	xa_init(&kvm->vcpu_array);

	/* No file is -1, i.e. no command can reach a PSP, whatever happens. */
	sev = &t->vm.sev_info;
	sev->active = true;
	sev->es_active = true;
	sev->vmsa_features = SVM_SEV_FEAT_SNP_ACTIVE;
	sev->asid = SNP_FINISH_ASID;
	sev->fd = -1;
	t->cmd.id = KVM_SEV_SNP_LAUNCH_FINISH;
	t->cmd.sev_fd = -1;

	/* From here on, snp_finish_exit() is in charge of freeing. */
	test->priv = t;

	sev->snp_context = (void *)get_zeroed_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sev->snp_context);

	snp_finish_replace(test);
	return 0;
}

static int snp_finish_suite_init(struct kunit_suite *suite)
{
	snp_finish_had_lockdep = IS_ENABLED(CONFIG_LOCKDEP) && debug_locks;
	return 0;
}

static struct snp_finish_test *snp_finish_create_vcpus(struct kunit *test)
{
	const unsigned int *nr = test->param_value;
	struct snp_finish_test *t = test->priv;

	while (t->nr_vcpus < *nr)
		snp_finish_add_vcpu(test, t);

	return t;
}

/* If there are many vCPUs, visit the first and the last two, and a middle one. */
static unsigned int snp_finish_next_vcpu(struct snp_finish_test *t, unsigned int i)
{
	unsigned int middle = t->nr_vcpus / 2, end = t->nr_vcpus - 2;

	if (t->nr_vcpus <= 8 || i < 1 || i >= end)
		return i + 1;

	return i < middle ? middle : end;
}

static unsigned int snp_finish_nr_steps(const struct snp_finish_fault *fault,
					unsigned int fail_at)
{
	return fail_at + fault->begins_step;
}

static void everything_is_locked_in_every_step(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);

	KUNIT_EXPECT_EQ(test, snp_finish_run(t), 0);
	KUNIT_EXPECT_EQ(test, t->nr_kvm_unlocked, 0);
	KUNIT_EXPECT_EQ(test, t->nr_vcpus_unlocked, 0);
}

static void every_vcpu_is_visited_once_in_order(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);

	KUNIT_EXPECT_EQ(test, snp_finish_run(t), 0);
	KUNIT_EXPECT_EQ(test, t->cmd.error, 0);
	KUNIT_EXPECT_EQ(test, t->nr_steps, t->nr_vcpus);
	KUNIT_EXPECT_EQ(test, t->nr_done, t->nr_vcpus);
	KUNIT_EXPECT_EQ(test, t->nr_wrong_args, 0);
	KUNIT_EXPECT_EQ(test, t->nr_wrong_state, 0);
	KUNIT_EXPECT_TRUE(test, snp_finish_is_encrypted(t, t->nr_vcpus));
}

static void nothing_is_held_after_success(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);
	unsigned int i;

	/* The other part that matters is in snp_finish_end(). */
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), 0);

	for (i = 0; i < t->nr_vcpus; i++) {
		KUNIT_ASSERT_TRUE(test, mutex_trylock(snp_finish_mutex(t, i)));
		mutex_unlock(snp_finish_mutex(t, i));
	}
}

static void nothing_is_held_after_failure(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);
	const struct snp_finish_fault *fault;
	unsigned int f, k;

	for (f = 0; f < ARRAY_SIZE(snp_finish_faults); f++) {
		fault = &snp_finish_faults[f];

		for (k = 0; k < t->nr_vcpus; k = snp_finish_next_vcpu(t, k))
			KUNIT_EXPECT_NE_MSG(test, 0,
					    snp_finish_run_fail(t, fault, k, fault->error ?: -EIO),
					    "failed %s of vCPU %u", fault->name, k);
	}
}

static void first_failure_is_the_last_step(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);
	const struct snp_finish_fault *fault;
	unsigned int f, k;

	for (f = 0; f < ARRAY_SIZE(snp_finish_faults); f++) {
		fault = &snp_finish_faults[f];

		for (k = 0; k < t->nr_vcpus; k = snp_finish_next_vcpu(t, k)) {
			KUNIT_EXPECT_NE(test, 0,
					snp_finish_run_fail(t, fault, k, fault->error ?: -EIO));
			KUNIT_EXPECT_EQ_MSG(test, t->nr_steps, snp_finish_nr_steps(fault, k),
					    "failed %s of vCPU %u", fault->name, k);
			KUNIT_EXPECT_EQ(test, t->nr_done, k);
			KUNIT_EXPECT_EQ(test, t->nr_kvm_unlocked, 0);
			KUNIT_EXPECT_EQ(test, t->nr_vcpus_unlocked, 0);
			KUNIT_EXPECT_EQ(test, t->nr_wrong_args, 0);
			KUNIT_EXPECT_EQ(test, t->nr_wrong_state, 0);
			KUNIT_EXPECT_TRUE_MSG(test, snp_finish_is_encrypted(t, k),
					      "failed %s of vCPU %u", fault->name, k);
		}
	}
}

static void error_is_returned_unchanged(struct kunit *test)
{
	static const int errors[] = { -EINVAL, -EIO, -EFAULT, -ENODEV, -EBADF,
				      -ENXIO, -EREMOTEIO };
	struct snp_finish_test *t = snp_finish_create_vcpus(test);
	const struct snp_finish_fault *fault;
	unsigned int e, f, k;

	for (f = 0; f < ARRAY_SIZE(snp_finish_faults); f++) {
		fault = &snp_finish_faults[f];

		for (e = 0; e < ARRAY_SIZE(errors); e++) {
			if (fault->error && fault->error != errors[e])
				continue;

			for (k = 0; k < t->nr_vcpus; k = snp_finish_next_vcpu(t, k)) {
				KUNIT_EXPECT_EQ_MSG(test, errors[e],
						    snp_finish_run_fail(t, fault, k, errors[e]),
						    "failed %s of vCPU %u", fault->name, k);
				KUNIT_EXPECT_EQ(test, t->cmd.error, fault->fw_error);
			}
		}
	}
}

static void no_vcpu_is_no_error(struct kunit *test)
{
	struct snp_finish_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, snp_finish_run(t), 0);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);
}

/* KVM must neither encrypt nor lock, i.e. not wait for a vCPU. */
static void vcpu_creation_in_progress_is_ebusy(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);
	bool returned;
	int busy;

	snp_finish_kvm(t)->created_vcpus++;
	t->expect_warn = SNP_FINISH_CREATION_WARNS;

	for (busy = 0; busy < 2; busy++) {
		if (busy)
			snp_finish_lock_busy_vcpu(t, 0);
		snp_finish_start(t);
		returned = snp_finish_returns(t);
		if (busy)
			snp_finish_unlock_busy_vcpu(t);
		snp_finish_end(t);

		KUNIT_ASSERT_TRUE_MSG(test, returned, "vCPU 0's mutex was waited for");
		KUNIT_EXPECT_EQ(test, t->ret, -EBUSY);
		KUNIT_EXPECT_EQ(test, t->nr_steps, 0);
		KUNIT_EXPECT_TRUE(test, snp_finish_is_encrypted(t, 0));
		if (SNP_FINISH_CREATION_WARNS && IS_ENABLED(CONFIG_BUG))
			KUNIT_EXPECT_EQ(test, t->nr_warns, 1);
	}
}

static void snp_finish_wait_for_vcpus(struct snp_finish_test *t)
{
	struct kunit *test = t->test;
	unsigned int k;

	for (k = 0; k < t->nr_vcpus; k = snp_finish_next_vcpu(t, k)) {
		bool waits;

		snp_finish_lock_busy_vcpu(t, k);
		snp_finish_start(t);

		waits = snp_finish_waits_for_busy_vcpu(t);
		if (t->signal == SNP_FINISH_ARRIVING_SIGNAL)
			send_sig(SIGUSR1, t->ioctl, 1);
		fsleep(10000);
		KUNIT_EXPECT_FALSE(test, completion_done(&t->done));
		KUNIT_EXPECT_EQ(test, READ_ONCE(t->nr_steps), 0);
		/* Those before it, and itself, but none after it. */
		KUNIT_EXPECT_EQ(test, snp_finish_nr_locked(t), k + 1);

		snp_finish_unlock_busy_vcpu(t);
		snp_finish_end(t);

		KUNIT_ASSERT_TRUE_MSG(test, waits, "vCPU %u of %u wasn't waited for",
				      k, t->nr_vcpus);
		KUNIT_EXPECT_EQ(test, t->signal_seen, t->signal != SNP_FINISH_NO_SIGNAL);
		KUNIT_EXPECT_EQ(test, t->ret, 0);
		KUNIT_EXPECT_EQ(test, t->nr_done, t->nr_vcpus);
		KUNIT_EXPECT_EQ(test, t->nr_kvm_unlocked, 0);
		KUNIT_EXPECT_EQ(test, t->nr_vcpus_unlocked, 0);
		KUNIT_EXPECT_TRUE(test, snp_finish_is_encrypted(t, t->nr_vcpus));
	}
}

static void busy_vcpu_is_waited_for(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);

	snp_finish_wait_for_vcpus(t);
}

static void wait_for_busy_vcpu_is_killable(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);
	unsigned int k;

	for (k = 0; k < t->nr_vcpus; k = snp_finish_next_vcpu(t, k)) {
		bool waits, killed;

		snp_finish_lock_busy_vcpu(t, k);
		snp_finish_start(t);

		waits = snp_finish_waits_for_busy_vcpu(t);
		KUNIT_EXPECT_EQ(test, snp_finish_nr_locked(t), k + 1);
		send_sig(SIGKILL, t->ioctl, 1);

		/* Asserting is for later: the mutex has to be released first. */
		killed = snp_finish_returns(t);
		snp_finish_unlock_busy_vcpu(t);
		snp_finish_end(t);

		KUNIT_ASSERT_TRUE_MSG(test, waits, "vCPU %u of %u wasn't waited for",
				      k, t->nr_vcpus);
		KUNIT_ASSERT_TRUE_MSG(test, killed, "SIGKILL didn't end the wait");
		KUNIT_EXPECT_EQ(test, t->ret, -EINTR);
		KUNIT_EXPECT_EQ(test, t->nr_steps, 0);
		KUNIT_EXPECT_TRUE(test, snp_finish_is_encrypted(t, 0));
	}
}

static void arriving_signal_does_not_end_wait(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);

	t->signal = SNP_FINISH_ARRIVING_SIGNAL;
	snp_finish_wait_for_vcpus(t);
}

static void pending_signal_does_not_end_wait(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);

	/* The signal is no reason to fail if all vCPUs are free, either. */
	t->signal = SNP_FINISH_PENDING_SIGNAL;
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), 0);
	KUNIT_EXPECT_TRUE(test, t->signal_seen);
	KUNIT_EXPECT_EQ(test, t->nr_done, t->nr_vcpus);

	snp_finish_wait_for_vcpus(t);
}

/* Have snp_launch_finish() called with @params, which it gets from userspace. */
static struct kvm_sev_snp_launch_finish __user *
snp_finish_map_params(struct kunit *test, struct kvm_sev_snp_launch_finish *params)
{
	struct snp_finish_test *t = test->priv;
	unsigned long uaddr;

	if (!t->mm) {
		snp_finish_add_vcpu(test, t);
		snp_finish_add_vcpu(test, t);

		uaddr = kunit_vm_mmap(test, NULL, 0, SZ_64K, PROT_READ | PROT_WRITE,
				      MAP_ANONYMOUS | MAP_PRIVATE, 0);
		KUNIT_ASSERT_NE(test, uaddr, 0);
		KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(uaddr));

		t->fn = snp_launch_finish;
		t->mm = current->mm;
		t->cmd.data = uaddr;
	}

	KUNIT_ASSERT_EQ(test, 0, copy_to_user(u64_to_user_ptr(t->cmd.data), params,
					      sizeof(*params)));
	return u64_to_user_ptr(t->cmd.data);
}

static void user_data_is_read_before_the_first_step(struct kunit *test)
{
	struct kvm_sev_snp_launch_finish params = { .id_block_en = 1 };
	struct snp_finish_test *t = test->priv;
	u64 good, bad = TASK_SIZE_MAX;

	if (!SNP_FINISH_READS_USER_DATA_FIRST)
		kunit_skip(test, "this tree reads the ID block after it has encrypted");

	good = (u64)(unsigned long)snp_finish_map_params(test, &params) + SZ_4K;

	params.id_block_uaddr = bad;
	params.id_auth_uaddr = good;
	snp_finish_map_params(test, &params);
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -EFAULT);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);

	params.id_block_uaddr = good;
	params.id_auth_uaddr = bad;
	snp_finish_map_params(test, &params);
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -EFAULT);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);

	params.id_auth_uaddr = 0;
	snp_finish_map_params(test, &params);
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -EINVAL);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);

	/* Nothing is wrong any more, up to where the PSP's file is missing. */
	params.id_auth_uaddr = good;
	snp_finish_map_params(test, &params);
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -EBADF);
	KUNIT_EXPECT_EQ(test, t->nr_steps, t->nr_vcpus);
	KUNIT_EXPECT_EQ(test, t->nr_vcpus_unlocked, 0);

	/* A failed step is final: no command is issued after it. */
	KUNIT_EXPECT_EQ(test, snp_finish_run_fail(t, &snp_finish_faults[0], 0, -EIO), -EIO);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 1);
	KUNIT_EXPECT_FALSE(test, snp_finish_kvm(t)->arch.pre_fault_allowed);
}

static void bad_arguments_are_rejected_before_the_first_step(struct kunit *test)
{
	struct kvm_sev_snp_launch_finish params = { .flags = 1 };
	struct snp_finish_test *t = test->priv;
	struct kvm_sev_info *sev = &t->vm.sev_info;
	void *snp_context = sev->snp_context;

	snp_finish_map_params(test, &params);
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -EINVAL);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);

	params.flags = 0;
	snp_finish_map_params(test, &params);
	sev->snp_context = NULL;
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -EINVAL);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);
	sev->snp_context = snp_context;

	sev->vmsa_features = 0;
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -ENOTTY);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);
	sev->vmsa_features = SVM_SEV_FEAT_SNP_ACTIVE;

	t->cmd.data = TASK_SIZE_MAX;
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -EFAULT);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);
}

/* The last case: all of the above was done with lockdep watching. */
static void lockdep_stays_on(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_LOCKDEP))
		kunit_skip(test, "CONFIG_LOCKDEP is off");

	KUNIT_EXPECT_TRUE_MSG(test, snp_finish_had_lockdep,
			      "lockdep was off before the first case, see the log");
	KUNIT_EXPECT_TRUE_MSG(test, debug_locks, "lockdep found a bug, see the log");
}

static struct kunit_case snp_finish_cases[] = {
	KUNIT_CASE_PARAM(everything_is_locked_in_every_step, snp_finish_gen_params),
	KUNIT_CASE_PARAM(every_vcpu_is_visited_once_in_order, snp_finish_gen_params),
	KUNIT_CASE_PARAM(nothing_is_held_after_success, snp_finish_gen_params),
	KUNIT_CASE_PARAM(nothing_is_held_after_failure, snp_finish_gen_params),
	KUNIT_CASE_PARAM(first_failure_is_the_last_step, snp_finish_gen_params),
	KUNIT_CASE_PARAM(error_is_returned_unchanged, snp_finish_gen_params),
	KUNIT_CASE_PARAM(vcpu_creation_in_progress_is_ebusy, snp_finish_gen_params),
	KUNIT_CASE_PARAM(busy_vcpu_is_waited_for, snp_finish_gen_params),
	KUNIT_CASE_PARAM(wait_for_busy_vcpu_is_killable, snp_finish_gen_params),
	KUNIT_CASE_PARAM(arriving_signal_does_not_end_wait, snp_finish_gen_params),
	KUNIT_CASE_PARAM(pending_signal_does_not_end_wait, snp_finish_gen_params),
	KUNIT_CASE(no_vcpu_is_no_error),
	KUNIT_CASE(user_data_is_read_before_the_first_step),
	KUNIT_CASE(bad_arguments_are_rejected_before_the_first_step),
	KUNIT_CASE(lockdep_stays_on),
	{}
};

static struct kunit_suite snp_finish_suite = {
	.name = "kvm_sev_snp_launch_finish",
	.suite_init = snp_finish_suite_init,
	.init = snp_finish_init,
	.exit = snp_finish_exit,
	.test_cases = snp_finish_cases,
};

kunit_test_suite(snp_finish_suite);
