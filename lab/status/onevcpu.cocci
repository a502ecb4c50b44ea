// SPDX-License-Identifier: GPL-2.0-only
// Marks vcpu->mutex locked for one vCPU only: outside any loop, or locked and
// unlocked in the same turn of the loop that encrypts. Either way the other vCPUs
// can run. A separate loop that locks all vCPUs is not marked: whether it is right
// cannot be seen from here, so that the verdict becomes "unknown".

@inloop exists@
identifier virtual.func;
identifier m =~ "^mutex_(lock|trylock)";
iterator I;
expression v;
position p;
@@
func(...) { <+...
(
  I(...) { <+... m@p(&v->mutex, ...) ...+> }
|
  I(...) m@p(&v->mutex, ...);
|
  for (...; ...; ...) { <+... m@p(&v->mutex, ...) ...+> }
|
  while (...) { <+... m@p(&v->mutex, ...) ...+> }
)
 ...+> }

@outside exists@
identifier virtual.func;
identifier m =~ "^mutex_(lock|trylock)";
expression v;
position p != inloop.p;
@@
func(...) { <+...
* m
  @p(&v->mutex, ...)
 ...+> }

@turn exists@
identifier virtual.helper;
identifier m =~ "^mutex_(lock|trylock)";
position inloop.p;
iterator I;
expression v;
@@
I(...) {
  ... when any
* m
  @p(&v->mutex, ...)
  ... when any
  \(sev_es_sync_vmsa(...)\|helper(...)\|SEV_CMD_SNP_LAUNCH_UPDATE\)
  ... when any
  mutex_unlock(&v->mutex)
  ... when any
}
