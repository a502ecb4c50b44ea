// SPDX-License-Identifier: GPL-2.0-only
// Marks every kvm_unlock_all_vcpus() in "func".

@exists@
identifier virtual.func;
@@
func(...) { <+...
* kvm_unlock_all_vcpus
  (...)
 ...+> }
