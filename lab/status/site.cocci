// SPDX-License-Identifier: GPL-2.0-only
// Marks the places where "func" encrypts a VMSA: the copy of the registers into
// it, SNP's firmware command, or a call of the helper that does these. If the
// function with the known name has none of them, the verdict is "unknown".

@exists@
identifier virtual.func, virtual.helper;
@@
func(...) { <+...
(
* sev_es_sync_vmsa
  (...)
|
* helper
  (...)
|
* SEV_CMD_SNP_LAUNCH_UPDATE
)
 ...+> }
