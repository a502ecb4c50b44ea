// SPDX-License-Identifier: GPL-2.0-only
// Where does "func" encrypt a VMSA: the copy of the registers into it, SNP's
// firmware command, or a call of the helper that does these. A function of the
// right name without one of them is a shape that nothing can be said about.

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
