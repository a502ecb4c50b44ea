// SPDX-License-Identifier: GPL-2.0-only
// Which functions of this file are SNP's "encrypt the VMSAs" step?
//
// By name, because that is what it has been called since 6.11; by contents, so
// that a renamed one is noticed instead of being taken for "no SNP here". The
// firmware command alone does not tell: sev_gmem_post_populate() issues it too,
// for guest memory, and has no vCPU to lock.

@byname@
identifier f = snp_launch_update_vmsa;
@@
* f
  (...) { ... }

@bycontents exists@
identifier f;
@@
* f
  (...) { <+... SNP_PAGE_TYPE_VMSA ...+> }

@bysync exists@
identifier f;
@@
f(...) { <+... sev_es_sync_vmsa(...) ...+> }

// A function that copies the registers and issues SNP's command is one even if
// somebody else has filled in the page type.
@exists@
identifier bysync.f;
@@
* f
  (...) { <+... SEV_CMD_SNP_LAUNCH_UPDATE ...+> }
