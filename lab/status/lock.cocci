// SPDX-License-Identifier: GPL-2.0-only
// Every kvm_lock_all_vcpus() in "func". A call in a comment, in a string or
// under #if 0 is not one.

@exists@
identifier virtual.func;
@@
func(...) { <+...
* kvm_lock_all_vcpus
  (...)
 ...+> }
