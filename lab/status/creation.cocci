// SPDX-License-Identifier: GPL-2.0-only
// Marks the test for a vCPU that is being created, in "func" or in the lock. Such
// a vCPU is not in the list of vCPUs yet, so that kvm_lock_all_vcpus() misses it.

@exists@
identifier virtual.func;
@@
func(...) { <+...
* kvm_is_vcpu_creation_in_progress
  (...)
 ...+> }
