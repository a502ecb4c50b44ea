/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * spatch must be told that scoped_guard() is followed by a block: without
 * "for_each" in the name it cannot guess, and skips the whole function.
 */
#define scoped_guard(class, args) YACFE_ITERATOR
