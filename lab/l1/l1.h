/* SPDX-License-Identifier: GPL-2.0-only */
/* The parts of L1's init that are in files of their own. */
#ifndef L1_H
#define L1_H

#include <stdio.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* locktrace.c: starts tracing this process and its children; reports each setting that the kernel refuses. */
void locktrace_start(FILE *report);

/* Stops tracing, and prints the trace with "# trace: " before each line. */
void locktrace_stop(FILE *report);

#endif
