// SPDX-License-Identifier: GPL-2.0-only
// Unlocks under a condition whose branch then goes on: whether the vCPUs are
// still locked behind it depends on data, which the flow rules cannot see. A
// branch that leaves, or one that tests just what is returned, they can.

@leaves exists@
identifier virtual.func;
identifier l;
position p;
@@
func(...) { <+...
  if (...) { ... when any
  kvm_unlock_all_vcpus@p(...);
  ... when any
  \(return ...;\|goto l;\|break;\)
  }
 ...+> }

@result exists@
identifier virtual.func;
expression ret;
position p;
@@
func(...) { <+...
  if (\(ret\|!ret\|ret != 0\|ret == 0\|ret < 0\)) { ... kvm_unlock_all_vcpus@p(...); ... }
  return ret;
 ...+> }

@exists@
identifier virtual.func;
position p != {leaves.p, result.p};
@@
func(...) { <+...
  if (...) { ... when any
* kvm_unlock_all_vcpus
  @p(...);
  ... when any
  }
 ...+> }
