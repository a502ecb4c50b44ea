// SPDX-License-Identifier: GPL-2.0-only
// expect: open
/* Without argp->flags no vCPU is locked, yet the VMSAs are encrypted. */
static int snp_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	struct sev_data_snp_launch_update data = {};
	struct kvm_vcpu *vcpu;
	unsigned long i;
	int ret;

	if (argp->flags) {
		ret = kvm_lock_all_vcpus(kvm);
		if (ret)
			return ret;
	}

	data.page_type = SNP_PAGE_TYPE_VMSA;
	kvm_for_each_vcpu(i, vcpu, kvm) {
		struct vcpu_svm *svm = to_svm(vcpu);
		u64 pfn = __pa(svm->sev_es.vmsa) >> PAGE_SHIFT;

		ret = sev_es_sync_vmsa(svm); /* HERE */
		if (ret)
			goto out;

		ret = rmp_make_private(pfn, INITIAL_VMSA_GPA, PG_LEVEL_4K, 1, true);
		if (ret)
			goto out;

		data.address = __sme_pa(svm->sev_es.vmsa);
		ret = __sev_issue_cmd(argp->sev_fd, SEV_CMD_SNP_LAUNCH_UPDATE,
				      &data, &argp->error);
		if (ret) {
			snp_page_reclaim(kvm, pfn);
			goto out;
		}

		svm->vcpu.arch.guest_state_protected = true;
	}

out:
	kvm_unlock_all_vcpus(kvm);
	return ret;
}
