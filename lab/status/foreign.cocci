// SPDX-License-Identifier: GPL-2.0-only
// Locking by anything but kvm_lock_all_vcpus(): a function or guard this tool
// does not know, a vCPU's own mutex, kvm->lock. "Not locked" would be a guess in
// such a function, and so would "locked". Other mutexes (slots_lock), lockdep
// annotations and RCU have no say in the matter.

virtual nolock

@benign exists@
identifier virtual.func;
identifier m =~ "^(mutex_(lock|unlock|trylock)|guard$)";
expression e;
identifier fld != {lock, mutex};
position p;
@@
func(...) { <+... \(m@p(&e->fld, ...)\|m@p(...)(&e->fld)\) ...+> }

@known exists@
identifier virtual.func;
identifier k =~ "^(kvm_(un)?lock_all_vcpus$|lockdep_|might_|s?rcu_|kvm_vcpu_srcu_)";
position p;
@@
func(...) { <+... k@p(...) ...+> }

// Where nothing locks all vCPUs, a vCPU's own mutex_unlock() is but the other end
// of what onevcpu.cocci reports. With all of them locked it would undo that.
@otherend depends on nolock exists@
identifier virtual.func;
position p;
expression e;
@@
func(...) { <+... \(mutex_unlock@p(&e->mutex)\|mutex_unlock@p(&e.mutex)\) ...+> }

@exists@
identifier virtual.func;
identifier n =~ "(^|_)(un|try)?lock(s|ed)?(_|$)|guard$";
position p != {benign.p, known.p, otherend.p};
@@
func(...) { <+...
* n
  @p(...)
 ...+> }

// A scoped guard is a loop to spatch (see macros.h), so it takes a rule of its own.
@benignscope exists@
identifier virtual.func;
iterator name scoped_guard;
identifier fld != {lock, mutex};
expression e;
statement S;
position p;
@@
func(...) { <+... scoped_guard@p(mutex, &e->fld) S ...+> }

@exists@
identifier virtual.func;
iterator name scoped_guard;
statement S;
position p != benignscope.p;
@@
func(...) { <+...
* scoped_guard
  @p(...) S
 ...+> }
