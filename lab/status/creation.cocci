// SPDX-License-Identifier: GPL-2.0-only
// Is a vCPU whose creation is under way refused, here or in the lock? Such a
// vCPU is in no loop yet, so no lock holds it.

@exists@
identifier virtual.func;
@@
func(...) { <+...
* kvm_is_vcpu_creation_in_progress
  (...)
 ...+> }
