/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What depends on the tree in the KUnit tests of KVM_SEV_SNP_LAUNCH_FINISH, see
 * sev_kunit.c, which includes this file and says what has to be here.
 *
 * 6.12's snp_launch_update_vmsa() isn't split, and isn't changed for the tests'
 * sake: the RMP and the firmware are replaced, and everything else is the real
 * thing, including sev_es_sync_vmsa().
 */

/* KVM_CREATE_VCPU drops kvm->lock, i.e. userspace can get there at will. */
#define SNP_FINISH_CREATION_WARNS		false
/* Mainline's fix of that isn't in 6.12. */
#define SNP_FINISH_READS_USER_DATA_FIRST	false

#define SNP_FINISH_RAX				0x5ec0de00u

#ifndef kvzalloc_obj
#define kvzalloc_obj(obj)			kvzalloc(sizeof(obj), GFP_KERNEL)
#endif

enum { SNP_FINISH_SYNC, SNP_FINISH_RMP, SNP_FINISH_COMMAND };

static const struct snp_finish_fault snp_finish_faults[] = {
	[SNP_FINISH_SYNC] = { .name = "synchronization", .error = -EINVAL },
	[SNP_FINISH_RMP] = { .name = "RMP update", .begins_step = true },
	[SNP_FINISH_COMMAND] = { .name = "command", .begins_step = true,
				 .fw_error = SNP_FINISH_FW_ERROR },
};

/* The pages that were reclaimed since snp_finish_prepare(). */
static struct {
	unsigned int nr;
	struct kvm_vcpu *last_vcpu;
} snp_finish_reclaimed;

static bool snp_finish_is_synced(struct kvm_vcpu *vcpu)
{
	return to_svm(vcpu)->sev_es.vmsa->rax == SNP_FINISH_RAX + vcpu->vcpu_idx;
}

/* Marking a vCPU as encrypted and turning on LBR virtualization is one step. */
static bool snp_finish_has_lbrv(struct snp_finish_test *t, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < t->nr_vcpus; i++) {
		bool is_on = t->vcpus[i]->vmcb->control.virt_ext & LBR_CTL_ENABLE_MASK;
		bool expected = i < nr;

		if (is_on != expected)
			return false;
	}

	return true;
}

static struct kvm_vcpu *snp_finish_pfn_to_vcpu(struct snp_finish_test *t, u64 pfn)
{
	unsigned int i;

	for (i = 0; i < t->nr_vcpus; i++) {
		if (__pa(t->vcpus[i]->sev_es.vmsa) >> PAGE_SHIFT == pfn)
			return &t->vcpus[i]->vcpu;
	}

	return NULL;
}

static int snp_finish_rmp_make_private(u64 pfn, u64 gpa, enum pg_level level,
				       u32 asid, bool immutable)
{
	struct snp_finish_test *t = snp_finish_look_at_locks();
	struct kvm_vcpu *vcpu = snp_finish_pfn_to_vcpu(t, pfn);
	unsigned int i = snp_finish_begin_step(t, vcpu);

	if (gpa != INITIAL_VMSA_GPA || level != PG_LEVEL_4K ||
	    asid != SNP_FINISH_ASID || !immutable)
		t->nr_wrong_args++;
	if (!vcpu || !snp_finish_is_synced(vcpu) || !snp_finish_has_lbrv(t, i))
		t->nr_wrong_state++;

	return snp_finish_is_to_fail(t, &snp_finish_faults[SNP_FINISH_RMP], i) ? t->fail_with : 0;
}

static int snp_finish_issue_cmd(int fd, int id, void *data, int *error)
{
	struct snp_finish_test *t = snp_finish_look_at_locks();
	struct sev_data_snp_launch_update *update = data;
	unsigned int i = t->nr_done;

	if (fd != t->cmd.sev_fd || id != SEV_CMD_SNP_LAUNCH_UPDATE || i >= t->nr_vcpus ||
	    update->page_type != SNP_PAGE_TYPE_VMSA ||
	    update->address != __sme_pa(t->vcpus[i]->sev_es.vmsa))
		t->nr_wrong_args++;
	if (t->nr_steps != i + 1 || !snp_finish_is_encrypted(t, i) ||
	    !snp_finish_has_lbrv(t, i))
		t->nr_wrong_state++;

	if (snp_finish_is_to_fail(t, &snp_finish_faults[SNP_FINISH_COMMAND], i)) {
		*error = SNP_FINISH_FW_ERROR;
		return t->fail_with;
	}

	t->nr_done++;
	return 0;
}

static int snp_finish_page_reclaim(struct kvm *kvm, u64 pfn)
{
	struct snp_finish_test *t = snp_finish_look_at_locks();

	snp_finish_reclaimed.nr++;
	snp_finish_reclaimed.last_vcpu = snp_finish_pfn_to_vcpu(t, pfn);
	return 0;
}

static void snp_finish_replace(struct kunit *test)
{
	kunit_activate_static_stub(test, __sev_issue_cmd, snp_finish_issue_cmd);
	kunit_activate_static_stub(test, snp_page_reclaim, snp_finish_page_reclaim);
	kunit_activate_static_stub(test, sev_kunit_seam_rmp_make_private,
				   snp_finish_rmp_make_private);
}

static void snp_finish_prepare(struct snp_finish_test *t)
{
	unsigned int i;

	for (i = 0; i < t->nr_vcpus; i++) {
		struct vcpu_svm *svm = t->vcpus[i];

		/* sev_es_sync_vmsa() isn't replaced, and refuses such a vCPU. */
		svm->vcpu.guest_debug = 0;
		if (snp_finish_is_to_fail(t, &snp_finish_faults[SNP_FINISH_SYNC], i))
			svm->vcpu.guest_debug = KVM_GUESTDBG_ENABLE;

		svm->vcpu.arch.regs[VCPU_REGS_RAX] = SNP_FINISH_RAX + i;
		svm->vcpu.arch.guest_state_protected = false;
		svm->vmcb->control.virt_ext = 0;
		clear_page(svm->sev_es.vmsa);
	}

	snp_finish_reclaimed.nr = 0;
	snp_finish_reclaimed.last_vcpu = NULL;
}

/* Nothing warns, and 6.12's KUnit couldn't keep a warning out of the log. */
static int snp_finish_call(struct snp_finish_test *t)
{
	return t->fn(snp_finish_kvm(t), &t->cmd);
}

/*
 * What mainline's tests can't see, as the step that does it is replaced there.
 * The launch test checks the same on an SNP host, but can't make the RMP fail.
 */

/* An encrypted VMSA must not be written again: the page is the guest's. */
static void second_finish_is_refused(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);

	KUNIT_ASSERT_EQ(test, snp_finish_run(t), 0);
	KUNIT_EXPECT_EQ(test, snp_finish_reclaimed.nr, 0);

	t->keep_vcpus = true;
	KUNIT_EXPECT_EQ(test, snp_finish_run(t), -EINVAL);
	KUNIT_EXPECT_EQ(test, t->nr_steps, 0);
	KUNIT_EXPECT_EQ(test, t->nr_done, 0);
	KUNIT_EXPECT_EQ(test, snp_finish_reclaimed.nr, 0);
	KUNIT_EXPECT_TRUE(test, snp_finish_has_lbrv(t, t->nr_vcpus));
}

/*
 * A VMSA page is taken back from firmware if the command failed.  The vCPUs
 * before the failing one stay encrypted, those after it aren't touched.
 */
static void only_the_failing_vcpu_is_undone(struct kunit *test)
{
	struct snp_finish_test *t = snp_finish_create_vcpus(test);
	const struct snp_finish_fault *fault;
	unsigned int f, i, k;

	for (f = 0; f < ARRAY_SIZE(snp_finish_faults); f++) {
		fault = &snp_finish_faults[f];

		for (k = 0; k < t->nr_vcpus; k = snp_finish_next_vcpu(t, k)) {
			KUNIT_EXPECT_NE(test, 0,
					snp_finish_run_fail(t, fault, k, fault->error ?: -EIO));
			KUNIT_EXPECT_EQ_MSG(test, snp_finish_reclaimed.nr, f == SNP_FINISH_COMMAND,
					    "failed %s of vCPU %u", fault->name, k);
			if (snp_finish_reclaimed.nr)
				KUNIT_EXPECT_PTR_EQ(test, snp_finish_reclaimed.last_vcpu,
						    &t->vcpus[k]->vcpu);
			KUNIT_EXPECT_TRUE_MSG(test, snp_finish_has_lbrv(t, k),
					      "failed %s of vCPU %u", fault->name, k);

			for (i = k + (f > SNP_FINISH_SYNC); i < t->nr_vcpus; i++)
				KUNIT_EXPECT_FALSE_MSG(test,
						       snp_finish_is_synced(&t->vcpus[i]->vcpu),
						       "failed %s of vCPU %u: vCPU %u was touched",
						       fault->name, k, i);
		}
	}
}

static struct kunit_case snp_finish_step_cases[] = {
	KUNIT_CASE_PARAM(second_finish_is_refused, snp_finish_gen_params),
	KUNIT_CASE_PARAM(only_the_failing_vcpu_is_undone, snp_finish_gen_params),
	{}
};

static struct kunit_suite snp_finish_step_suite = {
	.name = "kvm_sev_snp_launch_finish_step",
	.init = snp_finish_init,
	.exit = snp_finish_exit,
	.test_cases = snp_finish_step_cases,
};

kunit_test_suite(snp_finish_step_suite);
