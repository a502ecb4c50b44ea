// SPDX-License-Identifier: GPL-2.0-only
// Marks every unlock that is reachable with the vCPUs not locked: without passing
// the lock, after another unlock, or from the branch in which the lock failed.
// Such an unlock would release a mutex that another task holds.

@exists@
identifier virtual.func;
@@
func(...) {
  ... when != kvm_lock_all_vcpus(...)
* kvm_unlock_all_vcpus
  (...)
  ... when any
}

@un exists@
identifier virtual.func;
position p;
@@
func(...) { <+... kvm_unlock_all_vcpus@p(...) ...+> }

@exists@
position un.p;
@@
  kvm_unlock_all_vcpus@p(...)
  ... when != kvm_lock_all_vcpus(...)
* kvm_unlock_all_vcpus
  (...)

@lk exists@
identifier virtual.func;
position p;
@@
func(...) { <+... kvm_lock_all_vcpus@p(...) ...+> }

@inbranch exists@
position lk.p;
expression ret;
identifier r;
@@
(
  ret = kvm_lock_all_vcpus@p(...);
  if (\(ret\|ret != 0\|ret < 0\)) { ... when any
* kvm_unlock_all_vcpus
  (...)
  ... when any
  }
|
  int r = kvm_lock_all_vcpus@p(...);
  if (\(r\|r != 0\|r < 0\)) { ... when any
* kvm_unlock_all_vcpus
  (...)
  ... when any
  }
|
  if (\(kvm_lock_all_vcpus@p(...)\|ret = kvm_lock_all_vcpus@p(...)\|(ret = kvm_lock_all_vcpus@p(...)) < 0\)) { ... when any
* kvm_unlock_all_vcpus
  (...)
  ... when any
  }
)

@failed exists@
position lk.p;
expression ret;
identifier l, r;
@@
(
  ret = kvm_lock_all_vcpus@p(...);
  if (\(ret\|ret != 0\|ret < 0\)) { ... goto l; }
|
  int r = kvm_lock_all_vcpus@p(...);
  if (\(r\|r != 0\|r < 0\)) { ... goto l; }
|
  if (\(kvm_lock_all_vcpus@p(...)\|ret = kvm_lock_all_vcpus@p(...)\|(ret = kvm_lock_all_vcpus@p(...)) < 0\)) { ... goto l; }
)

@exists@
identifier virtual.func;
identifier failed.l;
@@
func(...) {
  ... when any
l:
  ... when != kvm_lock_all_vcpus(...)
* kvm_unlock_all_vcpus
  (...)
  ... when any
}
