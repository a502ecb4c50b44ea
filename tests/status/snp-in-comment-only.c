// SPDX-License-Identifier: GPL-2.0-only
// expect: not affected
// linux: 6.6.30
// says: no SNP launch code
/* A tree from before SNP: only comments name SNP. */
/*
 * To do: snp_launch_update_vmsa() shall issue SEV_CMD_SNP_LAUNCH_UPDATE with
 * SNP_PAGE_TYPE_VMSA one day.
 */
static int snp_launch_finish(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	return -ENOTTY;
}
