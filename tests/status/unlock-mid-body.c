// SPDX-License-Identifier: GPL-2.0-only
// expect: open
// says: unlocked
/* Unlocked between the copy of the registers and the firmware command. */
static int snp_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	struct sev_data_snp_launch_update data = {};
	struct kvm_vcpu *vcpu;
	unsigned long i;
	int ret;

	ret = kvm_lock_all_vcpus(kvm);
	if (ret)
		return ret;

	data.page_type = SNP_PAGE_TYPE_VMSA;
	kvm_for_each_vcpu(i, vcpu, kvm) {
		ret = sev_es_sync_vmsa(to_svm(vcpu));
		kvm_unlock_all_vcpus(kvm);
		if (ret)
			return ret;

		ret = __sev_issue_cmd(argp->sev_fd,
				      SEV_CMD_SNP_LAUNCH_UPDATE, /* HERE */
				      &data, &argp->error);
		if (ret)
			return ret;

		ret = kvm_lock_all_vcpus(kvm);
		if (ret)
			return ret;
	}

	kvm_unlock_all_vcpus(kvm);
	return 0;
}
