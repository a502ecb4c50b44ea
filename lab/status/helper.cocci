// SPDX-License-Identifier: GPL-2.0-only
// Which functions that "func" calls do the encrypting for it?
//
// The per-vCPU work may live in a function of its own; a call of that function
// is then the place where the vCPUs have to be locked. sev_es_sync_vmsa() is
// not one of them: the other files know it by name.

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
