// SPDX-License-Identifier: GPL-2.0-only
// expect: unknown
/* Not C: the tool must not take code that it cannot parse for missing code. */
static int snp_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp)
{
	if (((SEV_CMD_SNP_LAUNCH_UPDATE]; /* HERE */
	return 0;
}
