// SPDX-License-Identifier: GPL-2.0-only
// Marks the functions that "func" calls to encrypt a VMSA.
//
// If a helper does the work for one vCPU, the vCPUs have to be locked at the calls
// of the helper. sev_es_sync_vmsa() is not marked: the other rules have its name.

@callee exists@
identifier virtual.func;
identifier f != sev_es_sync_vmsa;
@@
func(...) { <+... f(...) ...+> }

@exists@
identifier callee.f;
@@
* f
  (...) { <+... \(SEV_CMD_SNP_LAUNCH_UPDATE\|sev_es_sync_vmsa(...)\) ...+> }
