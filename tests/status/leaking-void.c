// SPDX-License-Identifier: GPL-2.0-only
// expect: leaking
// says: and never unlocks them
/* A void function that keeps the locks: it leaks where it ends, without a return. */
static void snp_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	struct sev_data_snp_launch_update data = {};
	struct kvm_vcpu *vcpu;
	unsigned long i;

	if (kvm_lock_all_vcpus(kvm))
		return;

	data.page_type = SNP_PAGE_TYPE_VMSA;
	kvm_for_each_vcpu(i, vcpu, kvm) {
		sev_es_sync_vmsa(to_svm(vcpu));
		data.address = __sme_pa(to_svm(vcpu)->sev_es.vmsa);
		__sev_issue_cmd(argp->sev_fd, SEV_CMD_SNP_LAUNCH_UPDATE, &data, &argp->error);
	}
} /* HERE */

static int snp_launch_finish(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	snp_launch_update_vmsa(kvm, argp);
	return sev_issue_cmd(kvm, SEV_CMD_SNP_LAUNCH_FINISH, NULL, &argp->error);
}
