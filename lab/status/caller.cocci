// SPDX-License-Identifier: GPL-2.0-only
// Who calls "func"? The lock may be taken one level up, around the whole call.

@exists@
identifier virtual.func;
identifier f;
@@
* f
  (...) { <+... func(...) ...+> }
