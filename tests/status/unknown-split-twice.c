// SPDX-License-Identifier: GPL-2.0-only
// expect: unknown
// says: yet another function
/* The per-vCPU work is a function of its own, and its firmware command is another one. */
static int snp_issue_vmsa(struct kvm_sev_cmd *argp, struct sev_data_snp_launch_update *data) /* HERE */
{
	return __sev_issue_cmd(argp->sev_fd, SEV_CMD_SNP_LAUNCH_UPDATE, data,
			       &argp->error);
}

static int __snp_launch_update_vmsa(struct kvm *kvm, struct kvm_vcpu *vcpu,
				    struct kvm_sev_cmd *argp)
{
	struct sev_data_snp_launch_update data = {};
	struct vcpu_svm *svm = to_svm(vcpu);
	int ret;

	ret = sev_es_sync_vmsa(svm);
	if (ret)
		return ret;

	data.page_type = SNP_PAGE_TYPE_VMSA;
	data.address = __sme_pa(svm->sev_es.vmsa);
	ret = snp_issue_vmsa(argp, &data);
	if (ret) {
		snp_page_reclaim(kvm, PFN_DOWN(__pa(svm->sev_es.vmsa)));
		return ret;
	}

	vcpu->arch.guest_state_protected = true;
	return 0;
}

static int snp_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;
	int ret;

	lockdep_assert_held(&kvm->lock);

	ret = kvm_lock_all_vcpus(kvm);
	if (ret)
		return ret;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		ret = __snp_launch_update_vmsa(kvm, vcpu, argp);
		if (ret)
			goto out;
	}

out:
	kvm_unlock_all_vcpus(kvm);
	return ret;
}
