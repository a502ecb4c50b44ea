// SPDX-License-Identifier: GPL-2.0-only
// Marks locking by anything except kvm_lock_all_vcpus(): an unknown function or
// guard, a vCPU's mutex, kvm->lock. For a function with such locking, "locked"
// and "not locked" would both be guesses. Other mutexes (slots_lock), lockdep
// annotations and RCU do not matter.

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

// If nothing locks all vCPUs, mutex_unlock() of one vCPU belongs to the lock that
// onevcpu.cocci marks. If all are locked, it would unlock one of them.
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

// spatch takes a scoped guard for a loop (see macros.h): it needs a separate rule.
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
