/* SPDX-License-Identifier: GPL-2.0-only */
/* For tests of what waits for what: the time, and the state of a thread. */
#ifndef TASKS_H
#define TASKS_H

#include <fcntl.h>
#include <time.h>

#include "test_util.h"

static inline u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/* A thread's state as in "ps", 'D' for a mutex and 'S' for a halted vCPU; 0 if there is no such thread. */
static inline char task_state(int tid)
{
	char path[64], stat[256], *p;
	int fd, n;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	stat[n < 0 ? 0 : n] = '\0';
	p = strrchr(stat, ')');
	return p && p[1] == ' ' ? p[2] : 0;
}

#endif /* TASKS_H */
