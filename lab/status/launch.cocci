// SPDX-License-Identifier: GPL-2.0-only
// Marks the functions of this file that encrypt VMSAs for SNP.
//
// By name, which has been the same since 6.11; and by contents, so that a renamed
// function is not missed. The firmware command alone is not enough:
// sev_gmem_post_populate() issues it too, for guest memory, with no vCPU to lock.

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

// A function that copies the registers and issues SNP's command counts even if
// another function sets the page type.
@exists@
identifier bysync.f;
@@
* f
  (...) { <+... SEV_CMD_SNP_LAUNCH_UPDATE ...+> }
