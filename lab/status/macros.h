/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What spatch cannot guess: scoped_guard() is followed by a block and has no
 * "for_each" in its name, so a function with it would not be read at all.
 */
#define scoped_guard(class, args) YACFE_ITERATOR
