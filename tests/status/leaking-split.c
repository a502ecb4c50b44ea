// SPDX-License-Identifier: GPL-2.0-only
// expect: leaking
/* The per-vCPU work is a function of its own; its failure returns without unlocking. */
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
	ret = __sev_issue_cmd(argp->sev_fd, SEV_CMD_SNP_LAUNCH_UPDATE,
			      &data, &argp->error);
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

	ret = kvm_lock_all_vcpus(kvm);
	if (ret)
		return ret;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		ret = __snp_launch_update_vmsa(kvm, vcpu, argp);
		if (ret)
			return ret; /* HERE */
	}

	kvm_unlock_all_vcpus(kvm);
	return 0;
}
