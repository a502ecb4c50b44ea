/* SPDX-License-Identifier: GPL-2.0-only */
/* For a test that makes the kernel report something. */
#ifndef ANNOUNCE_H
#define ANNOUNCE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test_util.h"

/* Tells the lab that the next message with these words in the kernel's log is provoked. */
static inline void announce(const char *words)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[128];

	/* The kernel takes each write for a message of its own. */
	snprintf(line, sizeof(line), "snplab: on purpose: %s", words);
	TEST_ASSERT(fd >= 0 && write(fd, line, strlen(line)) > 0,
		    "expected to write to /dev/kmsg, found: %s", strerror(errno));
	close(fd);
}

#endif /* ANNOUNCE_H */
