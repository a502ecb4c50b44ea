// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the locking of KVM_SEV_SNP_LAUNCH_FINISH.
 *
 * Included at the end of sev.c, i.e. what is tested is the unmodified
 * snp_launch_update_vmsa() and sev_es_sync_vmsa().  Only the RMP and the
 * firmware are replaced, through static stubs, so that neither SEV nor SVM is
 * needed.  The vCPUs are real structures that no one will ever run.
 *
 * The function under test always runs in a thread of its own, as a wrong
 * version of it may block forever or return with locks held.  All waits are
 * bounded, and locks that were leaked are released after they were counted: a
 * wrong kernel must fail the test, not hang the machine.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#define SEV_KUNIT_TIMEOUT_MS	10000
/* How long a call that must block is watched for not doing anything. */
#define SEV_KUNIT_WATCH_US	10000

#define SEV_KUNIT_RAX		0x5ec0de00u
#define SEV_KUNIT_ASID		7u
#define SEV_KUNIT_FW_ERROR	0x16u

enum sev_kunit_step {
	SEV_KUNIT_NONE,
	SEV_KUNIT_SYNC,
	SEV_KUNIT_RMP,
	SEV_KUNIT_FW,
};

/* When the calling thread gets a signal that isn't fatal. */
enum sev_kunit_signal {
	SEV_KUNIT_NO_SIGNAL,
	SEV_KUNIT_PENDING_SIGNAL,
	SEV_KUNIT_ARRIVING_SIGNAL,
};

struct sev_kunit {
	struct kunit *test;
	struct kvm_svm *kvm_svm;
	struct kvm *kvm;
	struct vcpu_svm *svm[64];
	unsigned int nr_vcpus;

	/* What is to fail: the step, the vCPU, and the error it returns. */
	enum sev_kunit_step fail_step;
	unsigned int fail_vcpu;
	int fail_ret;

	/* What the stubs saw. */
	unsigned int nr_rmp, nr_fw, nr_reclaim, reclaimed_vcpu;
	unsigned int nr_unlocked, nr_disorder, nr_unsynced, nr_wrong_state;

	/* The calling thread. */
	struct task_struct *task;
	struct completion done;
	enum sev_kunit_signal signal;
	bool signal_seen;
	bool in_call, returned;
	int ret;
	u32 fw_error;
	unsigned int nr_leaked, leaked_vcpu;
	bool kvm_lock_kept;
	int depth_change;

	bool stuck;
	bool had_debug_locks;
	bool had_warning;
};

/* Set by the first call that had to be freed by force: don't wait for long again. */
static bool sev_kunit_had_hang;
/* The state of lockdep when the suite was started. */
static bool sev_kunit_had_lockdep;

static unsigned long sev_kunit_timeout(void)
{
	return msecs_to_jiffies(sev_kunit_had_hang ? 1000 : SEV_KUNIT_TIMEOUT_MS);
}

static bool sev_kunit_owns(struct task_struct *task, struct mutex *lock)
{
#ifdef CONFIG_PREEMPT_RT
	unsigned long owner = (unsigned long)READ_ONCE(lock->rtmutex.owner) & ~1ul;
#else
	unsigned long owner = atomic_long_read(&lock->owner) & ~7ul;
#endif
	return owner == (unsigned long)task;
}

/* Not only is @lock locked, it is current that holds it, and lockdep agrees. */
static bool sev_kunit_holds(struct mutex *lock)
{
#ifdef CONFIG_LOCKDEP
	if (!lockdep_is_held(lock))
		return false;
#endif
	return sev_kunit_owns(current, lock);
}

static bool sev_kunit_failed(struct kunit *test)
{
	return READ_ONCE(test->status) == KUNIT_FAILURE;
}

static bool sev_kunit_synced(struct vcpu_svm *svm)
{
	return svm->sev_es.vmsa->rax == SEV_KUNIT_RAX + svm->vcpu.vcpu_idx;
}

static bool sev_kunit_lbrv(struct vcpu_svm *svm)
{
	return svm->vmcb->control.virt_ext & LBR_CTL_ENABLE_MASK;
}

/*
 * What has to be true whenever a VMSA is being worked on.  Lockdep merges the
 * vCPUs' mutexes into one entry, i.e. gives the same answer for all of them.
 */
static void sev_kunit_check_locks(struct sev_kunit *ctx)
{
	bool all = sev_kunit_holds(&ctx->kvm->lock) &&
		   sev_kunit_holds(&ctx->svm[0]->vcpu.mutex);
	unsigned int i;

	for (i = 0; i < ctx->nr_vcpus; i++)
		all &= sev_kunit_owns(current, &ctx->svm[i]->vcpu.mutex);

	if (!all)
		ctx->nr_unlocked++;
}

/* All vCPUs before @nr, and no others, were encrypted. */
static bool sev_kunit_encrypted(struct sev_kunit *ctx, unsigned int nr)
{
	bool expected;
	unsigned int i;

	for (i = 0; i < ctx->nr_vcpus; i++) {
		expected = i < nr;
		if (ctx->svm[i]->vcpu.arch.guest_state_protected != expected ||
		    sev_kunit_lbrv(ctx->svm[i]) != expected)
			return false;
	}

	return true;
}

static unsigned int sev_kunit_pfn_to_vcpu(struct sev_kunit *ctx, u64 pfn)
{
	unsigned int i;

	for (i = 0; i < ctx->nr_vcpus; i++) {
		if (__pa(ctx->svm[i]->sev_es.vmsa) >> PAGE_SHIFT == pfn)
			break;
	}

	return i;
}

static bool sev_kunit_fails(struct sev_kunit *ctx, enum sev_kunit_step step,
			    unsigned int vcpu)
{
	return ctx->fail_step == step && ctx->fail_vcpu == vcpu;
}

/* Stub for rmp_make_private(). */
static int sev_kunit_rmp_make_private(u64 pfn, u64 gpa, enum pg_level level,
				      u32 asid, bool immutable)
{
	struct sev_kunit *ctx = kunit_get_current_test()->priv;
	unsigned int vcpu = sev_kunit_pfn_to_vcpu(ctx, pfn);

	sev_kunit_check_locks(ctx);

	if (vcpu != ctx->nr_rmp || vcpu != ctx->nr_fw || gpa != INITIAL_VMSA_GPA ||
	    level != PG_LEVEL_4K || asid != SEV_KUNIT_ASID || !immutable)
		ctx->nr_disorder++;
	if (vcpu < ctx->nr_vcpus && !sev_kunit_synced(ctx->svm[vcpu]))
		ctx->nr_unsynced++;
	if (!sev_kunit_encrypted(ctx, vcpu))
		ctx->nr_wrong_state++;

	WRITE_ONCE(ctx->nr_rmp, ctx->nr_rmp + 1);

	return sev_kunit_fails(ctx, SEV_KUNIT_RMP, vcpu) ? ctx->fail_ret : 0;
}

/* Stub for __sev_issue_cmd(). */
static int sev_kunit_issue_cmd(int fd, int id, void *data, int *error)
{
	struct sev_kunit *ctx = kunit_get_current_test()->priv;
	struct sev_data_snp_launch_update *update = data;
	unsigned int vcpu = ctx->nr_fw;

	sev_kunit_check_locks(ctx);

	if (id != SEV_CMD_SNP_LAUNCH_UPDATE || vcpu >= ctx->nr_vcpus ||
	    ctx->nr_rmp != vcpu + 1 || update->page_type != SNP_PAGE_TYPE_VMSA ||
	    update->address != __sme_pa(ctx->svm[vcpu]->sev_es.vmsa))
		ctx->nr_disorder++;
	if (!sev_kunit_encrypted(ctx, vcpu))
		ctx->nr_wrong_state++;

	WRITE_ONCE(ctx->nr_fw, ctx->nr_fw + 1);

	if (!sev_kunit_fails(ctx, SEV_KUNIT_FW, vcpu))
		return 0;

	*error = SEV_KUNIT_FW_ERROR;
	return ctx->fail_ret;
}

/* Stub for snp_page_reclaim(). */
static int sev_kunit_page_reclaim(struct kvm *kvm, u64 pfn)
{
	struct sev_kunit *ctx = kunit_get_current_test()->priv;

	sev_kunit_check_locks(ctx);

	ctx->nr_reclaim++;
	ctx->reclaimed_vcpu = sev_kunit_pfn_to_vcpu(ctx, pfn);

	return 0;
}

static int sev_kunit_thread(void *data)
{
	struct sev_kunit *ctx = data;
	struct kvm_sev_cmd cmd = { .id = KVM_SEV_SNP_LAUNCH_FINISH };
	unsigned int i;
	int depth;

	/* Make the stubs work in this thread, and make it killable. */
	current->kunit_test = ctx->test;
	allow_signal(SIGKILL);
	allow_signal(SIGUSR1);

	/* What sev_mem_enc_ioctl() does. */
	mutex_lock(&ctx->kvm->lock);
	if (ctx->signal == SEV_KUNIT_PENDING_SIGNAL)
		send_sig(SIGUSR1, current, 1);

	depth = lockdep_depth(current);
	WRITE_ONCE(ctx->in_call, true);

	ctx->ret = snp_launch_update_vmsa(ctx->kvm, &cmd);
	ctx->fw_error = cmd.error;
	ctx->signal_seen = signal_pending(current);

	if (debug_locks)
		ctx->depth_change = lockdep_depth(current) - depth;

	for (i = 0; i < ctx->nr_vcpus; i++) {
		if (!sev_kunit_owns(current, &ctx->svm[i]->vcpu.mutex))
			continue;

		if (!ctx->nr_leaked++)
			ctx->leaked_vcpu = i;
		mutex_unlock(&ctx->svm[i]->vcpu.mutex);
	}

	ctx->kvm_lock_kept = sev_kunit_holds(&ctx->kvm->lock);
	if (sev_kunit_owns(current, &ctx->kvm->lock))
		mutex_unlock(&ctx->kvm->lock);

	current->kunit_test = NULL;
	kthread_complete_and_exit(&ctx->done, 0);
}

/* Forget earlier calls, and undo what a successful one did. */
static void sev_kunit_reset(struct sev_kunit *ctx)
{
	struct vcpu_svm *svm;
	unsigned int i;

	ctx->fail_step = SEV_KUNIT_NONE;
	ctx->nr_rmp = 0;
	ctx->nr_fw = 0;
	ctx->nr_reclaim = 0;
	ctx->nr_unlocked = 0;
	ctx->nr_disorder = 0;
	ctx->nr_unsynced = 0;
	ctx->nr_wrong_state = 0;

	for (i = 0; i < ctx->nr_vcpus; i++) {
		svm = ctx->svm[i];

		svm->vcpu.guest_debug = 0;
		svm->vcpu.arch.guest_state_protected = false;
		svm->vmcb->control.virt_ext = 0;
		clear_page(svm->sev_es.vmsa);
	}
}

static void sev_kunit_start(struct sev_kunit *ctx)
{
	ctx->in_call = false;
	ctx->returned = false;
	ctx->ret = 1;
	ctx->fw_error = 0;
	ctx->nr_leaked = 0;
	ctx->kvm_lock_kept = false;
	ctx->depth_change = 0;
	init_completion(&ctx->done);

	ctx->task = kthread_create(sev_kunit_thread, ctx, "sev_kunit");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(ctx->test, ctx->task);

	get_task_struct(ctx->task);
	wake_up_process(ctx->task);
}

/* Returns true if the call is blocked, false if it came back (or never blocks). */
static bool sev_kunit_blocks(struct sev_kunit *ctx)
{
	unsigned long end = jiffies + sev_kunit_timeout();

	do {
		if (READ_ONCE(ctx->in_call) &&
		    (READ_ONCE(ctx->task->__state) & TASK_NORMAL)) {
			/* Make sure that it stays where it is. */
			usleep_range(SEV_KUNIT_WATCH_US, SEV_KUNIT_WATCH_US + 1000);
			return !completion_done(&ctx->done);
		}
		if (completion_done(&ctx->done))
			return false;
		usleep_range(100, 500);
	} while (time_before(jiffies, end));

	return false;
}

static bool sev_kunit_returns(struct sev_kunit *ctx, unsigned long timeout)
{
	if (!ctx->returned)
		ctx->returned = wait_for_completion_timeout(&ctx->done, timeout);

	return ctx->returned;
}

/* The call is stuck.  Free it by all means, so that the next test can run. */
static void sev_kunit_rescue(struct sev_kunit *ctx)
{
	unsigned int i;

	sev_kunit_had_hang = true;

	send_sig(SIGKILL, ctx->task, 1);
	if (sev_kunit_returns(ctx, HZ / 2))
		return;

#ifndef CONFIG_PREEMPT_RT
	/* It may wait for itself.  Lockdep has given up at this point, or will. */
	if (sev_kunit_owns(ctx->task, &ctx->kvm->lock)) {
		mutex_unlock(&ctx->kvm->lock);
		if (sev_kunit_returns(ctx, HZ / 2))
			return;
	}

	for (i = 0; i < ctx->nr_vcpus; i++) {
		if (!sev_kunit_owns(ctx->task, &ctx->svm[i]->vcpu.mutex))
			continue;

		mutex_unlock(&ctx->svm[i]->vcpu.mutex);
		if (sev_kunit_returns(ctx, HZ / 10))
			return;
	}
#endif
	/* Nothing helped: the thread keeps its data and this code for good. */
	__module_get(THIS_MODULE);
	ctx->stuck = true;
}

/*
 * Wait for the call's return, and check what has to be true after every call,
 * however it ended.  Must not be called with a mutex of the VM held.
 */
static void sev_kunit_finish(struct sev_kunit *ctx)
{
	struct kunit *test = ctx->test;
	unsigned int i;

	if (!sev_kunit_returns(ctx, sev_kunit_timeout())) {
		KUNIT_FAIL(test, "%u vCPUs: the call did not return, %u vCPUs were encrypted",
			   ctx->nr_vcpus, READ_ONCE(ctx->nr_fw));
		sev_kunit_rescue(ctx);
	}

	if (ctx->stuck)
		kunit_err(test, "the calling thread is stuck for good\n");
	else
		put_task_struct(ctx->task);
	KUNIT_ASSERT_FALSE(test, ctx->stuck);

	KUNIT_EXPECT_EQ_MSG(test, ctx->nr_leaked, 0u,
			    "%u vCPUs: %u mutexes held on return, the first is vCPU %u's",
			    ctx->nr_vcpus, ctx->nr_leaked, ctx->leaked_vcpu);
	KUNIT_EXPECT_TRUE_MSG(test, ctx->kvm_lock_kept, "kvm->lock was lost");
	KUNIT_EXPECT_EQ_MSG(test, ctx->depth_change, 0,
			    "the number of held locks changed");

	KUNIT_EXPECT_FALSE(test, mutex_is_locked(&ctx->kvm->lock));
	for (i = 0; i < ctx->nr_vcpus; i++) {
		if (!mutex_is_locked(&ctx->svm[i]->vcpu.mutex))
			continue;

		KUNIT_FAIL(test, "%u vCPUs: vCPU %u's mutex is locked",
			   ctx->nr_vcpus, i);
		break;
	}

	if (ctx->had_debug_locks)
		KUNIT_EXPECT_TRUE_MSG(test, debug_locks,
				      "lockdep has reported a problem and is off, see the log");
	if (!ctx->had_warning)
		KUNIT_EXPECT_FALSE_MSG(test, test_taint(TAINT_WARN),
				       "a warning was raised, see the log");
}

static void sev_kunit_call(struct sev_kunit *ctx)
{
	sev_kunit_start(ctx);
	sev_kunit_finish(ctx);
}

static struct sev_kunit *sev_kunit_create(struct kunit *test)
{
	struct sev_kunit *ctx = test->priv;
	unsigned int nr = *(const unsigned int *)test->param_value;
	struct kvm_sev_info *sev;
	struct vcpu_svm *svm;
	unsigned int i;
	int r;

	ctx->kvm_svm = kvzalloc(sizeof(*ctx->kvm_svm), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->kvm_svm);

	ctx->kvm = &ctx->kvm_svm->kvm;
	mutex_init(&ctx->kvm->lock);
	xa_init(&ctx->kvm->vcpu_array);

	sev = &ctx->kvm_svm->sev_info;
	sev->active = true;
	sev->es_active = true;
	sev->asid = SEV_KUNIT_ASID;
	sev->snp_context = (void *)get_zeroed_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sev->snp_context);

	for (i = 0; i < nr; i++) {
		svm = kvzalloc(sizeof(*svm), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, svm);
		ctx->svm[i] = svm;
		ctx->nr_vcpus = i + 1;

		mutex_init(&svm->vcpu.mutex);
		svm->vcpu.kvm = ctx->kvm;
		svm->vcpu.vcpu_id = i;
		svm->vcpu.vcpu_idx = i;
		svm->vcpu.arch.regs[VCPU_REGS_RAX] = SEV_KUNIT_RAX + i;

		svm->vmcb = (void *)get_zeroed_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, svm->vmcb);
		svm->sev_es.vmsa = (void *)get_zeroed_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, svm->sev_es.vmsa);

		r = xa_err(xa_store(&ctx->kvm->vcpu_array, i, &svm->vcpu, GFP_KERNEL));
		KUNIT_ASSERT_EQ(test, r, 0);
	}

	ctx->kvm->created_vcpus = nr;
	atomic_set(&ctx->kvm->online_vcpus, nr);

	kunit_activate_static_stub(test, __sev_issue_cmd, sev_kunit_issue_cmd);
	kunit_activate_static_stub(test, snp_page_reclaim, sev_kunit_page_reclaim);
	kunit_activate_static_stub(test, sev_kunit_seam_rmp_make_private,
				   sev_kunit_rmp_make_private);

	return ctx;
}

static int sev_kunit_init(struct kunit *test)
{
	struct sev_kunit *ctx;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL);
	if (!ctx)
		return -ENOMEM;

	ctx->test = test;
	ctx->had_debug_locks = debug_locks;
	ctx->had_warning = test_taint(TAINT_WARN);
	test->priv = ctx;

	if (IS_ENABLED(CONFIG_LOCKDEP) && !debug_locks)
		kunit_warn(test, "lockdep is off: running without its help\n");

	return 0;
}

static void sev_kunit_exit(struct kunit *test)
{
	struct sev_kunit *ctx = test->priv;
	unsigned int i;

	if (!ctx || ctx->stuck)
		return;

	for (i = 0; i < ctx->nr_vcpus; i++) {
		free_page((unsigned long)ctx->svm[i]->sev_es.vmsa);
		free_page((unsigned long)ctx->svm[i]->vmcb);
		kvfree(ctx->svm[i]);
	}

	if (ctx->kvm_svm) {
		xa_destroy(&ctx->kvm->vcpu_array);
		free_page((unsigned long)ctx->kvm_svm->sev_info.snp_context);
		kvfree(ctx->kvm_svm);
	}

	kfree(ctx);
}

static int sev_kunit_suite_init(struct kunit_suite *suite)
{
	sev_kunit_had_hang = false;
	sev_kunit_had_lockdep = IS_ENABLED(CONFIG_LOCKDEP) && debug_locks;

	return 0;
}

static const unsigned int sev_kunit_vcpus[] = { 1, 2, 8, 64 };

static void sev_kunit_vcpus_desc(const unsigned int *nr, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u_vcpus", *nr);
}

KUNIT_ARRAY_PARAM(sev_kunit, sev_kunit_vcpus, sev_kunit_vcpus_desc);

/* Where there are many vCPUs, a few are enough for cases that have to wait. */
static bool sev_kunit_skip(struct sev_kunit *ctx, unsigned int k)
{
	return ctx->nr_vcpus > 8 && k > 1 && k != ctx->nr_vcpus / 2 &&
	       k < ctx->nr_vcpus - 2;
}

/* Every mutex is held by the caller in everything done to every vCPU. */
static void finish_holds_all_vcpus(struct kunit *test)
{
	struct sev_kunit *ctx = sev_kunit_create(test);

	sev_kunit_call(ctx);

	KUNIT_EXPECT_EQ(test, ctx->ret, 0);
	KUNIT_EXPECT_EQ(test, ctx->nr_rmp, ctx->nr_vcpus);
	KUNIT_EXPECT_EQ(test, ctx->nr_fw, ctx->nr_vcpus);
	KUNIT_EXPECT_EQ_MSG(test, ctx->nr_unlocked, 0u,
			    "%u of %u steps were done without holding all locks",
			    ctx->nr_unlocked, ctx->nr_rmp + ctx->nr_fw);
}

/* No mutex is held after success, which lets the vCPUs run. */
static void finish_releases_vcpus(struct kunit *test)
{
	struct sev_kunit *ctx = sev_kunit_create(test);
	unsigned int i;

	sev_kunit_call(ctx);

	KUNIT_EXPECT_EQ(test, ctx->ret, 0);

	for (i = 0; i < ctx->nr_vcpus; i++) {
		KUNIT_ASSERT_TRUE(test, mutex_trylock(&ctx->svm[i]->vcpu.mutex));
		mutex_unlock(&ctx->svm[i]->vcpu.mutex);
	}
}

/* All vCPUs are synchronized, assigned, encrypted and marked so, one by one. */
static void finish_encrypts_in_order(struct kunit *test)
{
	struct sev_kunit *ctx = sev_kunit_create(test);

	sev_kunit_call(ctx);

	KUNIT_EXPECT_EQ(test, ctx->ret, 0);
	KUNIT_EXPECT_EQ(test, ctx->fw_error, 0u);
	KUNIT_EXPECT_EQ(test, ctx->nr_rmp, ctx->nr_vcpus);
	KUNIT_EXPECT_EQ(test, ctx->nr_fw, ctx->nr_vcpus);
	KUNIT_EXPECT_EQ(test, ctx->nr_reclaim, 0u);
	KUNIT_EXPECT_EQ(test, ctx->nr_disorder, 0u);
	KUNIT_EXPECT_EQ(test, ctx->nr_unsynced, 0u);
	KUNIT_EXPECT_EQ_MSG(test, ctx->nr_wrong_state, 0u,
			    "a vCPU was marked as protected at the wrong time");
	KUNIT_EXPECT_TRUE(test, sev_kunit_encrypted(ctx, ctx->nr_vcpus));
}

/*
 * Fail @step with @ret for each vCPU in turn: the error is returned as it is,
 * the vCPUs before the failing one are encrypted and stay so, those after it
 * are not touched, and nothing is held.
 */
static void sev_kunit_fails_midway(struct kunit *test, enum sev_kunit_step step,
				   int ret)
{
	struct sev_kunit *ctx = sev_kunit_create(test);
	unsigned int i, k;

	for (k = 0; k < ctx->nr_vcpus && !sev_kunit_failed(test); k++) {
		sev_kunit_reset(ctx);
		ctx->fail_step = step;
		ctx->fail_vcpu = k;
		ctx->fail_ret = ret;
		/* That one isn't a stub. */
		if (step == SEV_KUNIT_SYNC)
			ctx->svm[k]->vcpu.guest_debug = KVM_GUESTDBG_ENABLE;

		sev_kunit_call(ctx);

		KUNIT_EXPECT_EQ_MSG(test, ctx->ret, ret,
				    "vCPU %u of %u: wrong return value", k, ctx->nr_vcpus);
		KUNIT_EXPECT_EQ_MSG(test, ctx->fw_error,
				    step == SEV_KUNIT_FW ? SEV_KUNIT_FW_ERROR : 0,
				    "vCPU %u of %u: wrong firmware error", k, ctx->nr_vcpus);
		KUNIT_EXPECT_EQ_MSG(test, ctx->nr_rmp, step > SEV_KUNIT_SYNC ? k + 1 : k,
				    "vCPU %u of %u: not stopped", k, ctx->nr_vcpus);
		KUNIT_EXPECT_EQ_MSG(test, ctx->nr_fw, step > SEV_KUNIT_RMP ? k + 1 : k,
				    "vCPU %u of %u: not stopped", k, ctx->nr_vcpus);
		KUNIT_EXPECT_EQ_MSG(test, ctx->nr_reclaim, step == SEV_KUNIT_FW ? 1 : 0,
				    "vCPU %u of %u: wrong number of pages reclaimed",
				    k, ctx->nr_vcpus);
		if (ctx->nr_reclaim)
			KUNIT_EXPECT_EQ(test, ctx->reclaimed_vcpu, k);

		KUNIT_EXPECT_EQ_MSG(test, ctx->nr_unlocked, 0u,
				    "vCPU %u of %u: not all locks held", k, ctx->nr_vcpus);
		KUNIT_EXPECT_EQ(test, ctx->nr_disorder, 0u);
		KUNIT_EXPECT_EQ(test, ctx->nr_unsynced, 0u);
		KUNIT_EXPECT_EQ(test, ctx->nr_wrong_state, 0u);
		KUNIT_EXPECT_TRUE_MSG(test, sev_kunit_encrypted(ctx, k),
				      "vCPU %u of %u: wrong vCPUs are protected",
				      k, ctx->nr_vcpus);

		for (i = step > SEV_KUNIT_SYNC ? k + 1 : k; i < ctx->nr_vcpus; i++)
			KUNIT_EXPECT_FALSE_MSG(test, sev_kunit_synced(ctx->svm[i]),
					       "vCPU %u of %u: vCPU %u was touched",
					       k, ctx->nr_vcpus, i);
	}
}

static void sync_failure_releases_vcpus(struct kunit *test)
{
	sev_kunit_fails_midway(test, SEV_KUNIT_SYNC, -EINVAL);
}

static void rmp_failure_releases_vcpus(struct kunit *test)
{
	sev_kunit_fails_midway(test, SEV_KUNIT_RMP, -ENXIO);
}

static void firmware_failure_releases_vcpus(struct kunit *test)
{
	sev_kunit_fails_midway(test, SEV_KUNIT_FW, -EREMOTEIO);
}

/* An encrypted VMSA must not be written again: the page is the guest's. */
static void second_finish_is_refused(struct kunit *test)
{
	struct sev_kunit *ctx = sev_kunit_create(test);

	sev_kunit_call(ctx);
	KUNIT_ASSERT_EQ(test, ctx->ret, 0);

	sev_kunit_call(ctx);
	KUNIT_EXPECT_EQ(test, ctx->ret, -EINVAL);
	KUNIT_EXPECT_EQ(test, ctx->nr_rmp, ctx->nr_vcpus);
	KUNIT_EXPECT_EQ(test, ctx->nr_fw, ctx->nr_vcpus);
	KUNIT_EXPECT_EQ(test, ctx->nr_reclaim, 0u);
}

/* Refused before any mutex is taken, i.e. without waiting for any. */
static void busy_while_creating_vcpu(struct kunit *test)
{
	struct sev_kunit *ctx = sev_kunit_create(test);
	bool returned;

	ctx->kvm->created_vcpus++;

	sev_kunit_call(ctx);
	KUNIT_EXPECT_EQ(test, ctx->ret, -EBUSY);
	KUNIT_EXPECT_EQ(test, ctx->nr_rmp, 0u);
	KUNIT_EXPECT_TRUE(test, sev_kunit_encrypted(ctx, 0));
	if (sev_kunit_failed(test))
		return;

	mutex_lock(&ctx->svm[0]->vcpu.mutex);
	sev_kunit_start(ctx);
	returned = sev_kunit_returns(ctx, sev_kunit_timeout());
	mutex_unlock(&ctx->svm[0]->vcpu.mutex);
	sev_kunit_finish(ctx);

	KUNIT_EXPECT_TRUE_MSG(test, returned, "vCPU 0's mutex was waited for");
	KUNIT_EXPECT_EQ(test, ctx->ret, -EBUSY);
	KUNIT_EXPECT_EQ(test, ctx->nr_rmp, 0u);
}

/*
 * Hold vCPU @k's mutex, as KVM_RUN does, start the call, and see it block:
 * it has all mutexes up to that one, none after it, and has not done anything.
 * The mutex is held on return.
 */
static bool sev_kunit_block_on(struct sev_kunit *ctx, unsigned int k)
{
	struct kunit *test = ctx->test;
	unsigned int i, nr_owned = 0;
	bool blocked;

	sev_kunit_reset(ctx);

	mutex_lock(&ctx->svm[k]->vcpu.mutex);
	sev_kunit_start(ctx);
	blocked = sev_kunit_blocks(ctx);

	for (i = 0; blocked && i < ctx->nr_vcpus; i++) {
		if (sev_kunit_owns(ctx->task, &ctx->svm[i]->vcpu.mutex))
			nr_owned++;
	}

	KUNIT_EXPECT_TRUE_MSG(test, blocked, "vCPU %u of %u: its mutex was not waited for",
			      k, ctx->nr_vcpus);
	KUNIT_EXPECT_EQ_MSG(test, READ_ONCE(ctx->nr_rmp), 0u,
			    "vCPU %u of %u: did not wait with the first VMSA",
			    k, ctx->nr_vcpus);
	if (blocked)
		KUNIT_EXPECT_EQ_MSG(test, nr_owned, k,
				    "vCPU %u of %u: does not hold those before it",
				    k, ctx->nr_vcpus);

	return blocked;
}

static void sev_kunit_wait_for_vcpus(struct sev_kunit *ctx)
{
	struct kunit *test = ctx->test;
	unsigned int k;

	for (k = 0; k < ctx->nr_vcpus && !sev_kunit_failed(test); k++) {
		if (sev_kunit_skip(ctx, k))
			continue;

		if (sev_kunit_block_on(ctx, k) && ctx->signal == SEV_KUNIT_ARRIVING_SIGNAL) {
			send_sig(SIGUSR1, ctx->task, 1);
			usleep_range(SEV_KUNIT_WATCH_US, SEV_KUNIT_WATCH_US + 1000);
			KUNIT_EXPECT_FALSE_MSG(test, completion_done(&ctx->done),
					       "vCPU %u of %u: a signal ended the wait",
					       k, ctx->nr_vcpus);
		}
		mutex_unlock(&ctx->svm[k]->vcpu.mutex);
		sev_kunit_finish(ctx);

		KUNIT_EXPECT_EQ(test, ctx->signal_seen, ctx->signal != SEV_KUNIT_NO_SIGNAL);
		KUNIT_EXPECT_EQ(test, ctx->ret, 0);
		KUNIT_EXPECT_EQ(test, ctx->nr_fw, ctx->nr_vcpus);
		KUNIT_EXPECT_EQ(test, ctx->nr_unlocked, 0u);
		KUNIT_EXPECT_TRUE(test, sev_kunit_encrypted(ctx, ctx->nr_vcpus));
	}
}

static void finish_waits_for_running_vcpu(struct kunit *test)
{
	sev_kunit_wait_for_vcpus(sev_kunit_create(test));
}

static void finish_killed_while_waiting(struct kunit *test)
{
	struct sev_kunit *ctx = sev_kunit_create(test);
	bool returned;
	unsigned int k;

	for (k = 0; k < ctx->nr_vcpus && !sev_kunit_failed(test); k++) {
		if (sev_kunit_skip(ctx, k))
			continue;

		returned = false;
		if (sev_kunit_block_on(ctx, k)) {
			send_sig(SIGKILL, ctx->task, 1);
			/* Only a wrong kernel takes all of that time. */
			returned = sev_kunit_returns(ctx, sev_kunit_timeout());
			KUNIT_EXPECT_TRUE_MSG(test, returned,
					      "vCPU %u of %u: cannot be killed",
					      k, ctx->nr_vcpus);
		}
		mutex_unlock(&ctx->svm[k]->vcpu.mutex);
		sev_kunit_finish(ctx);

		KUNIT_EXPECT_EQ(test, ctx->ret, -EINTR);
		KUNIT_EXPECT_EQ(test, ctx->nr_rmp, 0u);
		KUNIT_EXPECT_TRUE(test, sev_kunit_encrypted(ctx, 0));
	}
}

/* Only a fatal signal ends the wait. */
static void arriving_signal_does_not_end_wait(struct kunit *test)
{
	struct sev_kunit *ctx = sev_kunit_create(test);

	ctx->signal = SEV_KUNIT_ARRIVING_SIGNAL;
	sev_kunit_wait_for_vcpus(ctx);
}

static void pending_signal_does_not_end_wait(struct kunit *test)
{
	struct sev_kunit *ctx = sev_kunit_create(test);

	/* The signal is no reason to fail if all vCPUs are free, either. */
	ctx->signal = SEV_KUNIT_PENDING_SIGNAL;
	sev_kunit_call(ctx);
	KUNIT_EXPECT_TRUE(test, ctx->signal_seen);
	KUNIT_EXPECT_EQ(test, ctx->ret, 0);
	KUNIT_EXPECT_EQ(test, ctx->nr_fw, ctx->nr_vcpus);

	sev_kunit_wait_for_vcpus(ctx);
}

/* The last case: all of the above was done with lockdep watching. */
static void lockdep_stays_on(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_LOCKDEP))
		kunit_skip(test, "CONFIG_LOCKDEP is off");

	KUNIT_EXPECT_TRUE_MSG(test, sev_kunit_had_lockdep,
			      "lockdep was off before the first case: an earlier report?");
	KUNIT_EXPECT_TRUE_MSG(test, debug_locks, "lockdep is off, see the log");
}

static struct kunit_case sev_kunit_cases[] = {
	KUNIT_CASE_PARAM(finish_holds_all_vcpus, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(finish_releases_vcpus, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(finish_encrypts_in_order, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(sync_failure_releases_vcpus, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(rmp_failure_releases_vcpus, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(firmware_failure_releases_vcpus, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(second_finish_is_refused, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(busy_while_creating_vcpu, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(finish_waits_for_running_vcpu, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(finish_killed_while_waiting, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(arriving_signal_does_not_end_wait, sev_kunit_gen_params),
	KUNIT_CASE_PARAM(pending_signal_does_not_end_wait, sev_kunit_gen_params),
	KUNIT_CASE(lockdep_stays_on),
	{}
};

static struct kunit_suite sev_kunit_suite = {
	.name = "kvm_sev_snp_launch_finish",
	.suite_init = sev_kunit_suite_init,
	.init = sev_kunit_init,
	.exit = sev_kunit_exit,
	.test_cases = sev_kunit_cases,
};

kunit_test_suite(sev_kunit_suite);
