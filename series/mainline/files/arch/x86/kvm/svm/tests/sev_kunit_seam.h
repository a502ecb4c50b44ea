/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What depends on the tree in the KUnit tests of KVM_SEV_SNP_LAUNCH_FINISH, see
 * sev_kunit.c, which includes this file and says what has to be here.
 *
 * __snp_launch_update_vmsa() is replaced as a whole.  What it does to a vCPU is
 * up to tests on an SNP host, real or emulated.
 */

/* KVM_CREATE_VCPU holds kvm->lock throughout, i.e. it can only be a KVM bug. */
#define SNP_FINISH_CREATION_WARNS		true
#define SNP_FINISH_READS_USER_DATA_FIRST	true

static const struct snp_finish_fault snp_finish_faults[] = {
	{ .name = "step", .fw_error = SNP_FINISH_FW_ERROR, .begins_step = true },
};

static int snp_finish_step(struct kvm *kvm, struct kvm_vcpu *vcpu,
			   struct kvm_sev_cmd *argp)
{
	struct snp_finish_test *t = snp_finish_look_at_locks();
	unsigned int i = snp_finish_begin_step(t, vcpu);

	if (kvm != snp_finish_kvm(t) || argp != &t->cmd)
		t->nr_wrong_args++;

	if (snp_finish_is_to_fail(t, &snp_finish_faults[0], i)) {
		argp->error = SNP_FINISH_FW_ERROR;
		return t->fail_with;
	}

	vcpu->arch.guest_state_protected = true;
	t->nr_done++;
	return 0;
}

static void snp_finish_replace(struct kunit *test)
{
	kunit_activate_static_stub(test, __snp_launch_update_vmsa, snp_finish_step);
}

static void snp_finish_prepare(struct snp_finish_test *t)
{
	unsigned int i;

	for (i = 0; i < t->nr_vcpus; i++)
		t->vcpus[i]->vcpu.arch.guest_state_protected = false;
}

static int snp_finish_call(struct snp_finish_test *t)
{
	struct kunit_suppressed_warning *w = NULL;
	int ret;

	if (t->expect_warn)
		w = kunit_start_suppress_warning(t->test);

	ret = t->fn(snp_finish_kvm(t), &t->cmd);

	if (w) {
		t->nr_warns = kunit_suppressed_warning_count(w);
		kunit_end_suppress_warning(t->test, w);
	}

	return ret;
}
