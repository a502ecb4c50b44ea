// SPDX-License-Identifier: GPL-2.0-only
// expect: not affected
// linux: 6.1.99
// says: no SNP launch code
// alone
/* SEV and SEV-ES only, as before 6.11. */
static int sev_es_sync_vmsa(struct vcpu_svm *svm)
{
	return 0;
}

static int sev_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;
	int ret;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		ret = sev_es_sync_vmsa(to_svm(vcpu));
		if (ret)
			return ret;
	}

	return 0;
}
