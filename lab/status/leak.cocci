// SPDX-License-Identifier: GPL-2.0-only
// Marks every return that is reachable with the vCPUs locked, on success and on
// failure. The branch in which the lock failed is left out: it holds nothing.
// "when any", since "if (ret) S" occurs again on the path, and SmPL would end the
// path there.

@lk exists@
identifier virtual.func;
position p;
@@
func(...) { <+... kvm_lock_all_vcpus@p(...) ...+> }

@exists@
position lk.p;
expression ret;
identifier r;
statement S;
@@
(
  ret = kvm_lock_all_vcpus@p(...);
  if (\(ret\|ret != 0\|ret < 0\)) S
|
  int r = kvm_lock_all_vcpus@p(...);
  if (\(r\|r != 0\|r < 0\)) S
|
  if (\(kvm_lock_all_vcpus@p(...)\|ret = kvm_lock_all_vcpus@p(...)\|(ret = kvm_lock_all_vcpus@p(...)) < 0\)) S
)
  ... when any
      when != kvm_unlock_all_vcpus(...)
* return ...;
