// SPDX-License-Identifier: GPL-2.0-only
// Marks every kvm_lock_all_vcpus() in "func", except in comments, in strings and
// under #if 0.

@exists@
identifier virtual.func;
@@
func(...) { <+...
* kvm_lock_all_vcpus
  (...)
 ...+> }
