// SPDX-License-Identifier: GPL-2.0-only
// expect: unknown
/* The function is there, but another file has the encryption. */
static int snp_launch_update_vmsa(struct kvm *kvm, struct kvm_sev_cmd *argp) /* HERE */
{
	return kvm_x86_call(snp_encrypt_vmsas)(kvm, argp);
}
