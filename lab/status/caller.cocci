// SPDX-License-Identifier: GPL-2.0-only
// Marks the callers of "func": a caller may take the lock around the call.

@exists@
identifier virtual.func;
identifier f;
@@
* f
  (...) { <+... func(...) ...+> }
