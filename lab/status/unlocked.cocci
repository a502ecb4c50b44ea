// SPDX-License-Identifier: GPL-2.0-only
// Is there a way to the encryption with the vCPUs unlocked? Either from the
// function's start without passing the lock, or from an unlock. The second holds
// even when the lock is taken again in between: a vCPU that is encrypted already
// must not run while the next one is measured.

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
