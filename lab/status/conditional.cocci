// SPDX-License-Identifier: GPL-2.0-only
// Marks unlocks in a branch after which the function goes on. Whether the vCPUs
// are locked after it depends on data, which the flow rules cannot follow. They
// can follow a branch that leaves, and one that tests the value returned next.

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
