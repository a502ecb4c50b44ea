// SPDX-License-Identifier: GPL-2.0-only
/*
 * L1's init: mounts file systems, loads KVM, runs the tests that the kernel's command line names, and
 * powers off. It reports the results as KTAP on the second serial port; the first has the kernel's log.
 *
 * Command line: snplab.tests=NAME,NAME,...   "kunit" means all KUnit suites, which ran when the modules
 *                                            were loaded; another name is a program in /tests, with
 *                                            arguments after colons: NAME:-n:200
 *                                            "@FILE": the names are in /tests/FILE, one a line (the
 *                                            kernel's command line has room for 2,047 characters)
 *               snplab.timeout=SECONDS       for each test (default 120)
 *               MODULE.PARAMETER=VALUE       a parameter for a module
 *               snplab.shell                 a shell on the console instead of the tests
 *               snplab.gdb                   print the modules' addresses, and wait for a debugger
 *               snplab.trace=NAME            trace KVM's locks while the test NAME runs
 *
 * A test program's exit status is its result, as kselftest has it: 0 ok, 4 skipped, others not ok.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "l1.h"

#define KSFT_SKIP	4
#define MAX_TESTS	128
#define MAX_ARGS	64
#define KUNIT_RESULTS	"/sys/kernel/debug/kunit"

static FILE *report;

static void mount_one(const char *type, const char *where, unsigned long flags)
{
	mkdir(where, 0755);
	if (mount(type, where, type, flags, NULL) && errno != EBUSY)
		fprintf(report, "# init: mount %s on %s: %s\n", type, where, strerror(errno));
}

static void power_off(void)
{
	fflush(report);
	/* Otherwise text in the port's FIFO would be lost. */
	fsync(fileno(report));
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* Returns a copy of the kernel's command line that the caller may modify. The next call overwrites it. */
static char *cmdline(void)
{
	static char line[8192], copy[8192];
	FILE *f;

	if (!line[0]) {
		f = fopen("/proc/cmdline", "r");
		if (f && fgets(line, sizeof(line), f))
			line[strcspn(line, "\n")] = 0;
		if (f)
			fclose(f);
	}
	return strcpy(copy, line);
}

/* Returns the value of name= on the kernel's command line, or NULL. */
static char *cmdline_value(const char *name)
{
	size_t len = strlen(name);
	char *word, *save;

	for (word = strtok_r(cmdline(), " ", &save); word; word = strtok_r(NULL, " ", &save))
		if (!strncmp(word, name, len) && (word[len] == '=' || !word[len]))
			return strdup(word[len] ? word + len + 1 : "");
	return NULL;
}

/*
 * Collects a module's parameters, "NAME.PARAMETER=VALUE", from the kernel's command line, as modprobe does. As in
 * modprobe, dashes and underscores in the name are the same.
 */
static void module_options(const char *module, char *options, size_t size)
{
	char *word, *save;
	size_t i, used = 0;

	options[0] = 0;
	for (word = strtok_r(cmdline(), " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		for (i = 0; module[i]; i++)
			if (word[i] != module[i] &&
			    (!strchr("-_", module[i]) || !word[i] || !strchr("-_", word[i])))
				break;
		if (module[i] || word[i] != '.')
			continue;
		word += i + 1;
		if (used + strlen(word) + 2 > size) {
			fprintf(report, "# init: module %s: no room for %s\n", module, word);
			continue;
		}
		used += sprintf(options + used, "%s%s", used ? " " : "", word);
	}
}

/* Loads the modules that /lib/modules/order lists. If one cannot be loaded, reports that and goes on. */
static void load_modules(void)
{
	char name[128], path[256], options[1024];
	FILE *order = fopen("/lib/modules/order", "r");
	int fd;

	if (!order) {
		fprintf(report, "# init: no /lib/modules/order: %s\n", strerror(errno));
		return;
	}
	while (fscanf(order, "%127s", name) == 1) {
		snprintf(path, sizeof(path), "/lib/modules/%s.ko", name);
		module_options(name, options, sizeof(options));
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, options, 0))
			fprintf(report, "# init: module %s: %s\n", name, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	fclose(order);
}

/* Returns the address of a section of a loaded module, or NULL. */
static const char *section_address(const char *module, const char *section)
{
	static char address[32];
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/%s/sections/%s", module, section);
	f = fopen(path, "r");
	if (!f)
		return NULL;
	if (!fgets(address, sizeof(address), f))
		address[0] = 0;
	fclose(f);
	address[strcspn(address, "\n")] = 0;
	return address[0] ? address : NULL;
}

/* Prints gdb's line for each module, then gives the lab time to stop this machine before a test begins. */
static void tell_debugger(void)
{
	static const char * const more[] = { ".data", ".rodata", ".bss" };
	char name[128], module[128];
	FILE *order = fopen("/lib/modules/order", "r");
	const char *address;
	size_t i;

	while (order && fscanf(order, "%127s", name) == 1) {
		strcpy(module, name);
		for (i = 0; module[i]; i++)
			if (module[i] == '-')
				module[i] = '_';
		address = section_address(module, ".text");
		if (!address)
			continue;
		fprintf(report, "# gdb: add-symbol-file %s.ko %s", name, address);
		for (i = 0; i < ARRAY_SIZE(more); i++) {
			address = section_address(module, more[i]);
			if (address)
				fprintf(report, " -s %s %s", more[i], address);
		}
		fprintf(report, "\n");
	}
	if (order)
		fclose(order);
	fprintf(report, "# gdb: ready\n");
	fflush(report);
	sleep(3);
}

/*
 * Copies one KUnit suite's results, indented as a subtest. Returns 0 if its last result is ok,
 * KSFT_SKIP if all of it was skipped, 1 otherwise (a suite that never ran has no result).
 */
static int copy_suite(const char *suite)
{
	char path[512], line[1024], verdict[1024] = "";
	FILE *f;

	snprintf(path, sizeof(path), KUNIT_RESULTS "/%s/results", suite);
	f = fopen(path, "r");
	if (!f) {
		fprintf(report, "    # %s: %s\n", path, strerror(errno));
		return 1;
	}
	while (fgets(line, sizeof(line), f)) {
		fprintf(report, "    %s", line);
		if (!strncmp(line, "ok ", 3) || !strncmp(line, "not ok ", 7))
			strcpy(verdict, line);
	}
	fclose(f);
	if (strncmp(verdict, "ok ", 3))
		return 1;
	return strstr(verdict, "# SKIP") ? KSFT_SKIP : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char * const *)a, *(char * const *)b);
}

/* Copies the results of all KUnit suites. No suite at all is a failure, as "kunit" was among the tests. */
static int run_kunit(char *reason, size_t size)
{
	char *suites[MAX_TESTS];
	int n = 0, i, r, failed = 0, skipped = 0;
	struct dirent *e;
	DIR *d = opendir(KUNIT_RESULTS);

	while (d && (e = readdir(d)) && n < MAX_TESTS)
		if (e->d_name[0] != '.')
			suites[n++] = strdup(e->d_name);
	if (d)
		closedir(d);
	if (!n) {
		snprintf(reason, size, "expected KUnit suites in " KUNIT_RESULTS ", found none");
		return 1;
	}
	qsort(suites, n, sizeof(suites[0]), by_name);
	for (i = 0; i < n; i++) {
		r = copy_suite(suites[i]);
		failed += r && r != KSFT_SKIP;
		skipped += r == KSFT_SKIP;
	}
	snprintf(reason, size, "%d of %d suites failed", failed, n);
	if (failed)
		return 1;
	return skipped == n ? KSFT_SKIP : 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Reports a line that the test prints. Keeps the text after "# SKIP", or else the last line, as the reason. */
static void pass_on(char *line, char *reason, size_t size)
{
	char *skip = strstr(line, "# SKIP");

	fprintf(report, "# %s\n", line);
	fflush(report);
	if (skip) {
		skip += strlen("# SKIP");
		snprintf(reason, size, "%s", skip + strspn(skip, " -"));
	} else if (!reason[0] || reason[0] == '\1') {
		snprintf(reason, size, "\1%s", line);
	}
}

/* Runs /tests/NAME[:ARGUMENT]... for at most timeout seconds. Returns its kselftest status, or 124 for a time-out. */
static int run_program(const char *name, int timeout, char *reason, size_t size)
{
	char path[1024], line[1024], data[512], *argv[MAX_ARGS + 1] = { NULL }, *save, *c;
	double end = now() + timeout;
	int fds[2], status, r, argc = 0;
	bool timed_out = false, ended = false;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	snprintf(path, sizeof(path), "/tests/%s", name);
	for (save = strtok(path, ":"); save && argc < MAX_ARGS; save = strtok(NULL, ":"))
		argv[argc++] = save;
	if (access(path, X_OK)) {
		snprintf(reason, size, "this tree has no such test");
		return KSFT_SKIP;
	}
	reason[0] = 0;
	if (pipe(fds))
		return 1;
	pid = fork();
	if (pid < 0) {
		snprintf(reason, size, "fork: %s", strerror(errno));
		return 1;
	}
	if (!pid) {
		setpgid(0, 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		execv(path, argv);
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		_exit(1);
	}
	close(fds[1]);
	for (;;) {
		struct pollfd p = { .fd = fds[0], .events = POLLIN };
		double left = end - now();

		/* After the program's end, don't wait for more output: a stuck child may keep the pipe open for ever. */
		if (!ended)
			ended = waitpid(pid, &status, WNOHANG) == pid;
		if (ended)
			r = poll(&p, 1, 0);
		else
			r = left > 0 ? poll(&p, 1, left < 0.1 ? left * 1000 + 1 : 100) : 0;
		if (r == 0 && !ended && left > 0)
			continue;
		if (r == 0) {
			timed_out = !ended;
			break;
		}
		n = r < 0 || (ended && left <= 0) ? 0 : read(fds[0], data, sizeof(data));
		if (n <= 0)
			break;
		for (c = data; c < data + n; c++) {
			if (*c == '\n' || len == sizeof(line) - 1) {
				line[len] = 0;
				pass_on(line, reason, size);
				len = 0;
			}
			if (*c != '\n' && *c != '\r')
				line[len++] = *c;
		}
	}
	if (len) {
		line[len] = 0;
		pass_on(line, reason, size);
	}
	close(fds[0]);
	/*
	 * A program may close its output and go on: wait for its end until the time-out. A task that
	 * does not even die of SIGKILL is stuck in the kernel: don't wait for it, so that the hang is
	 * reported.
	 */
	for (r = 0; !ended && waitpid(pid, &status, WNOHANG) == 0; usleep(10000)) {
		if (!timed_out && now() < end)
			continue;
		timed_out = true;
		kill(-pid, SIGKILL);
		if (r++ == 200) {
			snprintf(reason, size, "stuck in the kernel after SIGKILL");
			return 124;
		}
	}
	kill(-pid, SIGKILL);
	if (timed_out) {
		snprintf(reason, size, "no end within %d s", timeout);
		return 124;
	}
	if (reason[0] == '\1')
		memmove(reason, reason + 1, strlen(reason));
	if (WIFSIGNALED(status)) {
		snprintf(reason, size, "killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
		return 1;
	}
	if (WEXITSTATUS(status) && WEXITSTATUS(status) != KSFT_SKIP)
		snprintf(reason, size, "exit status %d", WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

/* Returns the names in /tests/NAME, one a line. If there are none, the plan is empty, and the run fails. */
static char *names_in_file(const char *name)
{
	static char names[MAX_TESTS * 64];
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "/tests/%s", name);
	f = fopen(path, "r");
	if (!f || !fread(names, 1, sizeof(names) - 1, f))
		fprintf(report, "# init: %s: expected names of tests, one a line: %s\n", path,
			f ? "found nothing" : strerror(errno));
	if (f)
		fclose(f);
	return names;
}

static void run_tests(char *names, int timeout)
{
	char *tests[MAX_TESTS], *save, *t, reason[512], *traced = cmdline_value("snplab.trace");
	int n = 0, i, r;
	double start;

	if (names[0] == '@')
		names = names_in_file(names + 1);
	for (t = strtok_r(names, ",\n", &save); t && n < MAX_TESTS;
	     t = strtok_r(NULL, ",\n", &save))
		tests[n++] = t;
	fprintf(report, "1..%d\n", n);
	for (i = 0; i < n; i++) {
		reason[0] = 0;
		start = now();
		fprintf(report, "# Subtest: %s\n", tests[i]);
		fflush(report);
		if (traced && !strcmp(tests[i], traced))
			locktrace_start(report);
		if (!strcmp(tests[i], "kunit"))
			r = run_kunit(reason, sizeof(reason));
		else
			r = run_program(tests[i], timeout, reason, sizeof(reason));
		if (traced && !strcmp(tests[i], traced))
			locktrace_stop(report);
		fprintf(report, "# %s took %.1f s\n", tests[i], now() - start);
		if (r == 0)
			fprintf(report, "ok %d %s\n", i + 1, tests[i]);
		else if (r == KSFT_SKIP)
			fprintf(report, "ok %d %s # SKIP %s\n", i + 1, tests[i], reason);
		else if (r == 124)
			fprintf(report, "not ok %d %s # TIMEOUT %s\n", i + 1, tests[i], reason);
		else
			fprintf(report, "not ok %d %s # %s\n", i + 1, tests[i], reason);
		fflush(report);
	}
}

static void shell(void)
{
	static char * const argv[] = { "sh", NULL };
	static char * const envp[] = {
		"PATH=/bin:/tests", "HOME=/", "TERM=vt100", "PS1=snplab# ", NULL
	};
	pid_t pid;

	/* busybox finds its applets through links. */
	if (!fork()) {
		execl("/bin/busybox", "busybox", "--install", "-s", "/bin", NULL);
		_exit(1);
	}
	wait(NULL);
	printf("\nTests are in /tests; leave with \"exit\".\n");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		int tty;

		setsid();
		tty = open("/dev/ttyS0", O_RDWR);
		if (tty >= 0) {
			dup2(tty, 0);
			dup2(tty, 1);
			dup2(tty, 2);
		}
		execve("/bin/busybox", argv, envp);
		perror("/bin/busybox");
		_exit(1);
	}
	while (wait(NULL) != pid)
		;
}

int main(void)
{
	char *tests, *timeout, *where;
	struct utsname u;

	report = stdout;
	mount_one("devtmpfs", "/dev", 0);
	mount_one("proc", "/proc", 0);
	mount_one("sysfs", "/sys", 0);
	mount_one("debugfs", "/sys/kernel/debug", 0);
	mount_one("tmpfs", "/tmp", 0);
	mount_one("tmpfs", "/dev/shm", 0);

	where = cmdline_value("snplab.report");
	if (where && *where) {
		report = fopen(where, "w");
		if (!report)
			report = stdout;
	}
	setvbuf(report, NULL, _IOLBF, 0);
	uname(&u);
	fprintf(report, "KTAP version 1\n# linux %s, %ld CPUs, init after %.1f s\n", u.release,
		sysconf(_SC_NPROCESSORS_ONLN), now());
	fflush(report);
	load_modules();
	fprintf(report, "# modules after %.1f s\n", now());
	fflush(report);

	if (cmdline_value("snplab.gdb"))
		tell_debugger();
	if (cmdline_value("snplab.shell")) {
		shell();
	} else {
		tests = cmdline_value("snplab.tests");
		timeout = cmdline_value("snplab.timeout");
		run_tests(tests ? tests : "", timeout && atoi(timeout) > 0 ? atoi(timeout) : 120);
		/* Without "# ", which precedes every line that a test prints. */
		fprintf(report, "snplab: end of tests\n");
	}
	power_off();
}
