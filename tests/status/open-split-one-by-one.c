// SPDX-License-Identifier: GPL-2.0-only
// expect: open
// says: one vCPU
/* The per-vCPU function locks only its own vCPU: the others can still run. */
static int __snp_launch_update_vmsa(struct kvm *kvm, struct kvm_vcpu *vcpu,
				    struct kvm_sev_cmd *argp)
{
	struct sev_data_snp_launch_update data = {};
	struct vcpu_svm *svm = to_svm(vcpu);
	int ret;

	if (mutex_lock_killable(&vcpu->mutex)) /* HERE */
		return -EINTR;

	ret = sev_es_sync_vmsa(svm);
	if (ret)
		goto out;

	data.page_type = SNP_PAGE_TYPE_VMSA;
	data.address = __sme_pa(svm->sev_es.vmsa);
	ret = __sev_issue_cmd(argp->sev_fd, SEV_CMD_SNP_LAUNCH_UPDATE,
			      &data, &argp->error);
	if (ret) {
		snp_page_reclaim(kvm, PFN_DOWN(__pa(svm->sev_es.vmsa)));
		goto out;
	}

	vcpu->arch.guest_state_protected = true;
out:
	mutex_unlock(&vcpu->mutex);
	return ret;
}

static int snp_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;
	int ret;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		ret = __snp_launch_update_vmsa(kvm, vcpu, argp);
		if (ret)
			return ret;
	}

	return 0;
}
