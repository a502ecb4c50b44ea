// SPDX-License-Identifier: GPL-2.0-only
// Every return that can be reached with the lock held: success and failure
// paths alike, one finding each. The branch taken when the lock itself failed is
// left out: nothing is held there. "when any" because "if (ret) S" turns up again
// on the way, and SmPL would take the path to end there.

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
