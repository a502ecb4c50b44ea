// SPDX-License-Identifier: GPL-2.0-only
// expect: open
/* Locks and unlocks all vCPUs in each turn: encrypted vCPUs can run in between. */
static int snp_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	struct sev_data_snp_launch_update data = { .page_type = SNP_PAGE_TYPE_VMSA };
	struct kvm_vcpu *vcpu;
	unsigned long i;
	int ret = 0;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		ret = kvm_lock_all_vcpus(kvm);
		if (ret)
			return ret;
		ret = sev_es_sync_vmsa(to_svm(vcpu)); /* HERE */
		if (!ret)
			ret = __sev_issue_cmd(argp->sev_fd, SEV_CMD_SNP_LAUNCH_UPDATE,
					      &data, &argp->error);
		kvm_unlock_all_vcpus(kvm);
		if (ret)
			break;
	}

	return ret;
}
