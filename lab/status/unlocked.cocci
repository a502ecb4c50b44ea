// SPDX-License-Identifier: GPL-2.0-only
// Marks encryption that is reachable with the vCPUs unlocked: from the function's
// start without passing the lock, or after an unlock. After an unlock it counts
// even if the lock was taken again: a vCPU whose VMSA is encrypted must not run
// while the next one is measured.

@exists@
identifier virtual.func, virtual.helper;
@@
func(...) {
  ... when != kvm_lock_all_vcpus(...)
(
* sev_es_sync_vmsa
  (...)
|
* helper
  (...)
|
* SEV_CMD_SNP_LAUNCH_UPDATE
)
  ... when any
}

@un exists@
identifier virtual.func;
position p;
@@
func(...) { <+... kvm_unlock_all_vcpus@p(...) ...+> }

@exists@
identifier virtual.helper;
position un.p;
@@
  kvm_unlock_all_vcpus@p(...)
  ...
(
* sev_es_sync_vmsa
  (...)
|
* helper
  (...)
|
* SEV_CMD_SNP_LAUNCH_UPDATE
)
