// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "snp_host.h"

/* lab/boot/qmp.py puts the monitor on the third port, with an interrupt that no other port has. */
#define PORT		"/dev/ttyS2"
#define PORT_IRQ	5
#define ANSWER_MS	5000

#define PLATFORM	"/machine/amd-snp"
#define DEVICES		"/machine/peripheral-anon"

static int port = -1;
static char psp[128];
static char answer[16384];

/* Reads the next line, without its end, into answer. Returns false if none comes in time. */
static bool read_line(void)
{
	static char buffer[512];
	static ssize_t have, used;
	struct pollfd p = { .fd = port, .events = POLLIN };
	size_t n = 0;

	while (n < sizeof(answer) - 1) {
		if (used == have) {
			used = 0;
			have = poll(&p, 1, ANSWER_MS) == 1 ? read(port, buffer, sizeof(buffer)) : 0;
			if (have <= 0) {
				have = 0;
				return false;
			}
		}
		answer[n] = buffer[used++];
		if (answer[n] == '\n')
			break;
		if (answer[n] != '\r')
			n++;
	}
	answer[n] = 0;
	return true;
}

/*
 * Sends a command and waits for the answer with the command's number; skips events and lines that
 * the monitor sent earlier. Returns the text after "return":. If the answer is an error or does not
 * come, returns NULL and leaves the line or the reason in answer.
 */
static char *command(const char *name, const char *arguments)
{
	static unsigned int id;
	char line[1024], mark[32], *found;
	int n;

	/* An earlier program's answers may still be in the port: each program has its own numbers. */
	if (!id)
		id = (unsigned int)getpid() * 10000;
	snprintf(mark, sizeof(mark), "\"id\": %u", ++id);
	/* 0xff makes the monitor drop the unfinished command that it may have read before. */
	n = snprintf(line, sizeof(line), "\xff{\"execute\":\"%s\",\"arguments\":{%s},\"id\":%u}\n",
		     name, arguments, id);
	TEST_ASSERT(n < sizeof(line), "expected a command shorter than %zu characters, found %d",
		    sizeof(line), n);
	if (write(port, line, n) != n) {
		snprintf(answer, sizeof(answer), "%s: %s", PORT, strerror(errno));
		return NULL;
	}
	while (read_line()) {
		found = strstr(answer, mark);
		if (!found || !strchr(",}", found[strlen(mark)]))
			continue;
		found = strstr(answer, "\"return\": ");
		return found ? found + strlen("\"return\": ") : NULL;
	}
	snprintf(answer, sizeof(answer), "no answer within %d ms", ANSWER_MS);
	return NULL;
}

static char *get(const char *path, const char *property)
{
	char arguments[512], *value;

	snprintf(arguments, sizeof(arguments), "\"path\":\"%s\",\"property\":\"%s\"",
		 path, property);
	value = command("qom-get", arguments);
	TEST_ASSERT(value, "expected %s of %s from the emulated host, found %s",
		    property, path, answer);
	return value;
}

static bool set_port(void)
{
	struct serial_struct serial;
	struct termios t;

	port = open(PORT, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (port < 0 || tcgetattr(port, &t))
		return false;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	cfsetspeed(&t, B115200);
	if (tcsetattr(port, TCSAFLUSH, &t) || ioctl(port, TIOCGSERIAL, &serial))
		return false;
	serial.irq = PORT_IRQ;
	return !ioctl(port, TIOCSSERIAL, &serial) && !fcntl(port, F_SETFL, 0);
}

/*
 * The kernel assumes the first port's interrupt for this port: set the right one, then open the port
 * again. Make the port raw first, or the echo of the monitor's output reaches the monitor as commands.
 */
static bool open_port(void)
{
	if (!set_port())
		return false;
	close(port);
	return set_port();
}

bool snp_host_reach(char *why, size_t size)
{
	char *found, *start;

	if (!open_port()) {
		snprintf(why, size, "no monitor of the emulated host behind %s: %s",
			 PORT, strerror(errno));
		return false;
	}
	/* A second qmp_capabilities is an error: an earlier program may have sent the first. */
	if (!command("qmp_capabilities", "") && !strstr(answer, "CommandNotFound")) {
		snprintf(why, size, "no monitor of the emulated host behind %s: %s", PORT, answer);
		return false;
	}
	/* The PSP device has no name of its own, only a number among the devices. */
	found = command("qom-list", "\"path\":\"" DEVICES "\"");
	found = found ? strstr(found, "child<amd-psp>") : NULL;
	if (!found) {
		snprintf(why, size, "expected an amd-psp in " DEVICES ", found %.200s", answer);
		return false;
	}
	while (found > answer && *found != '{')
		found--;
	start = strstr(found, "\"name\": \"");
	TEST_ASSERT(start && strchr(start + 9, '"'), "expected a name in %.200s", found);
	start += strlen("\"name\": \"");
	snprintf(psp, sizeof(psp), DEVICES "/%.*s", (int)strcspn(start, "\""), start);
	return true;
}

u64 snp_host_counter(const char *name)
{
	return strtoull(get(PLATFORM, name), NULL, 10);
}

u64 snp_host_read(u64 address)
{
	char arguments[128], *text;

	snprintf(arguments, sizeof(arguments), "\"command-line\":\"xp /1gx 0x%llx\"",
		 (unsigned long long)address);
	text = command("human-monitor-command", arguments);
	/* The answer is "ADDRESS: 0xVALUE". */
	text = text ? strstr(text, ": 0x") : NULL;
	TEST_ASSERT(text, "expected the value at 0x%llx from the emulated host, found %s",
		    (unsigned long long)address, answer);
	return strtoull(text + 2, NULL, 16);
}

int snp_host_commands(struct snp_host_command *c)
{
	unsigned long long done, refused, injected;
	char *s = get(psp, "commands"), *item, *save;
	int n = 0;

	s[strcspn(s + 1, "\"") + 1] = 0;
	for (item = strtok_r(s + 1, ",", &save); item; item = strtok_r(NULL, ",", &save), n++) {
		TEST_ASSERT(n < SNP_HOST_COMMANDS, "expected at most %d kinds of commands, found more",
			    SNP_HOST_COMMANDS);
		TEST_ASSERT(sscanf(item, "%31[^:]:%llu:%llu:%llu", c[n].name,
				   &done, &refused, &injected) == 4,
			    "expected NAME:N:N:N in the list of commands, found %s", item);
		c[n].done = done;
		c[n].injected = injected;
	}
	return n;
}

/* VALUE is JSON. */
static void set_property(const char *path, const char *property, const char *value)
{
	char arguments[512];

	snprintf(arguments, sizeof(arguments), "\"path\":\"%s\",\"property\":\"%s\",\"value\":%s",
		 path, property, value);
	TEST_ASSERT(command("qom-set", arguments),
		    "expected the emulated host to take %s=%s, found %s", property, value, answer);
}

void snp_host_fail(const char *spec)
{
	char value[400];

	snprintf(value, sizeof(value), "\"%s\"", spec);
	set_property(psp, "fail", value);
}

void snp_host_delay_vmrun(unsigned int cpu, unsigned int us)
{
	char value[16];

	snprintf(value, sizeof(value), "%u", cpu);
	set_property(PLATFORM, "x-vmrun-delay-cpu", value);
	snprintf(value, sizeof(value), "%u", us);
	set_property(PLATFORM, "x-vmrun-delay-us", value);
}
