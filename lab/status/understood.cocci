// SPDX-License-Identifier: GPL-2.0-only
// Marks the calls of kvm_lock_all_vcpus() that the flow rules can follow: for the
// function's own VM, with the result tested at once, and a failure branch that
// leaves the function. leak.cocci takes all code after the test for "locked", so a
// call of any other shape (result ignored, tested later, work inside if (!ret))
// must make the verdict "unknown".

@exists@
identifier virtual.func;
identifier kvm, l, r;
expression ret;
@@
func(..., struct kvm *kvm, ...) { <+...
(
  ret =
* kvm_lock_all_vcpus
  (kvm);
  if (\(ret\|ret != 0\|ret < 0\)) { ... \(return ...;\|goto l;\) }
|
  int r =
* kvm_lock_all_vcpus
  (kvm);
  if (\(r\|r != 0\|r < 0\)) { ... \(return ...;\|goto l;\) }
|
  if (
* kvm_lock_all_vcpus
  (kvm)
  ) { ... \(return ...;\|goto l;\) }
|
  if (\((ret =
* kvm_lock_all_vcpus
  (kvm)) < 0\|ret =
* kvm_lock_all_vcpus
  (kvm)\)) { ... \(return ...;\|goto l;\) }
)
 ...+> }
