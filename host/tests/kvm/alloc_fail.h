/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes one of the calling thread's allocations in the kernel fail: "fail-nth" and "ignore-gfp-wait" of
 * Documentation/fault-injection/fault-injection.rst. Needs CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC and
 * CONFIG_FAULT_INJECTION_DEBUG_FS: `run --sanitize`.
 */
#ifndef ALLOC_FAIL_H
#define ALLOC_FAIL_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"
#include "kvm_util.h"

/* More failures than any step has allocations. */
#define MAX_FAILURES	2000

#define FAULTS		"/sys/kernel/debug/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"

/* Returns 0 or the negative error. */
static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != strlen(text))
		ret = -errno;
	close(fd);
	return ret;
}

/*
 * Allocations that may sleep shall fail, too, and quietly. Exits without fault injection in the kernel, i.e.
 * skips the test.
 */
static inline void require_failures(void)
{
	bool here = !write_file(FAULTS "failslab/ignore-gfp-wait", "N") &&
		    !write_file(FAULTS "failslab/verbose", "0") &&
		    !write_file(FAULTS "fail_page_alloc/ignore-gfp-wait", "N") &&
		    !write_file(FAULTS "fail_page_alloc/ignore-gfp-highmem", "N") &&
		    !write_file(FAULTS "fail_page_alloc/min-order", "0") &&
		    !write_file(FAULTS "fail_page_alloc/verbose", "0");

	if (here)
		return;
	ksft_print_header();
	ksft_exit_skip("no fault injection: see CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC\n");
}

/* The calling thread's fail-nth. Opened once, as open() itself allocates. */
static int nth_fd = -1;

/* The calling thread's nth allocation from here on fails; none with 0. */
static inline void fail_allocation(int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", nth);

	if (nth_fd < 0)
		nth_fd = open_path_or_exit(FAIL_NTH, O_RDWR);
	TEST_ASSERT(pwrite(nth_fd, text, len, 0) == len, "%s: %s", FAIL_NTH, strerror(errno));
}

/* No allocation fails any more. Returns whether one did. */
static inline bool allocation_failed(void)
{
	char text[16] = "";

	TEST_ASSERT(pread(nth_fd, text, sizeof(text) - 1, 0) > 0, "%s: %s", FAIL_NTH,
		    strerror(errno));
	fail_allocation(0);
	return atoi(text) == 0;
}

#endif /* ALLOC_FAIL_H */
