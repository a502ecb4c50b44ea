/* SPDX-License-Identifier: GPL-2.0-only */
/* The parts of L1's init that are in files of their own. */
#ifndef L1_H
#define L1_H

#include <stdio.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* locktrace.c: traces this process and its children from now on; reports what the kernel refuses. */
void locktrace_start(FILE *report);

/* Ends that, and writes the trace, each line behind "# trace: ". */
void locktrace_stop(FILE *report);

#endif
