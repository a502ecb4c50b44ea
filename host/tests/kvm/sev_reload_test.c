// SPDX-License-Identifier: GPL-2.0-only
/*
 * SNP goes up with kvm_amd and down again, and nothing else turns it on or off: not the ioctl of
 * /dev/sev, not a firmware command that fails on the way.
 *
 * For the lab only: it unloads and loads kvm_amd and ccp, and makes firmware commands fail.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/psp-sev.h>

#include "kselftest_harness.h"
#include "announce.h"
#include "test_util.h"
#include "sev_guest.h"
#include "snp_host.h"

#define CASE_SECONDS	120
#define RELOAD_TEST_F(name)	TEST_F_TIMEOUT(reload, name, CASE_SECONDS)

#define MODULES		"/lib/modules"
#define KVM_AMD		"kvm-amd"
#define KVM		"kvm"
#define CCP		"ccp"
#define DEBUGFS		"/sys/kernel/debug"
#define CCP_DRIVER	"/sys/bus/pci/drivers/ccp"
/* A firmware status that none of the commands has for another reason. */
#define STATUS		"0x3"

/* Two identifiers of 64 bytes; the longest buffer that the driver takes, four pages. */
#define ID_LENGTH	128
#define LONG_LENGTH	0x4000
#define LONG_TIMES	8
/* Bytes of free memory to write to. */
#define TOUCHED		(128 << 20)

#define SEV_TYPES	(BIT(KVM_X86_SEV_VM) | BIT(KVM_X86_SEV_ES_VM) | BIT(KVM_X86_SNP_VM))

/* What later cases, which are other processes, have to know of earlier ones. */
static struct {
	/*
	 * Unloading kvm_amd leaves pages that the host takes for its own, and the RMP for the
	 * firmware's. It must not be done once more.
	 */
	bool lost_pages;
	/* A call is under way in which a wrong kernel dies, with locks that later cases need. */
	bool in_the_kernel;
	/* The firmware takes SNP for initialized, and the driver does not: neither changes that. */
	bool snp_is_out;
} *shared;

/* Unloads a module, whose name has underscores for the kernel. Returns 0 or the negative error. */
static int unload(const char *name)
{
	char kernel_name[64];
	size_t i;
	int ret;

	snprintf(kernel_name, sizeof(kernel_name), "%s", name);
	for (i = 0; kernel_name[i]; i++)
		if (kernel_name[i] == '-')
			kernel_name[i] = '_';
	shared->in_the_kernel = true;
	ret = syscall(SYS_delete_module, kernel_name, O_NONBLOCK) ? -errno : 0;
	shared->in_the_kernel = false;
	return ret;
}

static int load(const char *name, const char *options)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), MODULES "/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	TEST_ASSERT(fd >= 0, "expected the module %s, found: %s", path, strerror(errno));
	shared->in_the_kernel = true;
	ret = syscall(SYS_finit_module, fd, options, 0) ? -errno : 0;
	shared->in_the_kernel = false;
	close(fd);
	return ret;
}

/* Loads what is not loaded. Returns kvm_amd's result. */
static int load_all(void)
{
	int ret;

	load(CCP, "");
	load(KVM, "");
	ret = load(KVM_AMD, "");
	return ret == -EEXIST ? 0 : ret;
}

/* How often a command was issued since the host's start, failures that were injected included. */
static u64 issued(const char *name)
{
	struct snp_host_command commands[SNP_HOST_COMMANDS];
	int i, nr = snp_host_commands(commands);

	for (i = 0; i < nr; i++)
		if (!strcmp(commands[i].name, name))
			return commands[i].done;
	return 0;
}

/* The SEV types among the types of VMs that KVM offers; none without /dev/kvm. */
static u32 sev_types(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int types;

	if (fd < 0)
		return 0;
	types = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES);
	close(fd);
	return types < 0 ? 0 : types & SEV_TYPES;
}

static int open_sev(void)
{
	int fd = open("/dev/sev", O_RDWR | O_CLOEXEC);

	TEST_ASSERT(fd >= 0, "expected /dev/sev, found: %s", strerror(errno));
	return fd;
}

static int issue_by(int fd, u32 cmd, void *data, u32 *error)
{
	struct sev_issue_cmd arg = {
		.cmd = cmd,
		.data = (unsigned long)data,
	};
	int ret = ioctl(fd, SEV_ISSUE_CMD, &arg) ? -errno : 0;

	if (error)
		*error = arg.error;
	return ret;
}

static int issue(u32 cmd, void *data, u32 *error)
{
	int fd = open_sev();
	int ret = issue_by(fd, cmd, data, error);

	close(fd);
	return ret;
}

static u8 snp_state(void)
{
	struct sev_user_data_snp_status status = { .state = 0xff };
	int ret = issue(SNP_PLATFORM_STATUS, &status, NULL);

	TEST_ASSERT(!ret, "expected SNP_PLATFORM_STATUS to succeed, found: %s", strerror(-ret));
	return status.state;
}

/* Writes the secure processor's address to a file of the ccp driver: "bind" or "unbind". */
static int tell_driver(const char *what)
{
	static char address[32];
	struct dirent *entry;
	char path[64];
	int fd, ret;
	DIR *dir;

	if (!address[0]) {
		dir = opendir(CCP_DRIVER);
		TEST_ASSERT(dir, "expected " CCP_DRIVER ", found: %s", strerror(errno));
		while ((entry = readdir(dir)))
			if (!strncmp(entry->d_name, "0000:", 5))
				snprintf(address, sizeof(address), "%.31s", entry->d_name);
		closedir(dir);
		TEST_ASSERT(address[0], "expected a device in " CCP_DRIVER ", found none");
	}
	snprintf(path, sizeof(path), CCP_DRIVER "/%s", what);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	TEST_ASSERT(fd >= 0, "expected %s, found: %s", path, strerror(errno));
	ret = write(fd, address, strlen(address)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* SEV_GET_ID2: the two identifiers of the processor's sockets. The buffer may be longer. */
static int get_id(void *buffer, u32 length)
{
	struct sev_user_data_get_id2 id = {
		.address = (unsigned long)buffer,
		.length = length,
	};

	return issue(SEV_GET_ID2, &id, NULL);
}

static bool is_zero(const u8 *bytes, size_t n)
{
	while (n && !*bytes) {
		bytes++;
		n--;
	}
	return !n;
}

/* Has a process write to memory that was free, first of all what was freed last. Returns its exit status. */
static int touch_free_memory(void)
{
	int status;
	pid_t pid;
	void *p;

	pid = fork();
	if (!pid) {
		p = mmap(NULL, TOUCHED, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_NORESERVE, -1, 0);
		_exit(p == MAP_FAILED);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

/* An SNP VM with a vCPU and memory, whose launch has started. */
static struct kvm_vm *start_snp_launch(void)
{
	struct kvm_vm *vm = vm_sev_create_bare(KVM_X86_SNP_VM, 1, 16);

	vm_sev_vcpu_add_bare(vm, 0, 0, 0);
	snp_vm_launch_start(vm, snp_default_policy());
	vm_mem_set_private(vm, 0, getpagesize());
	return vm;
}

static int update_one_page(struct kvm_vm *vm)
{
	struct kvm_sev_snp_launch_update update = {
		.uaddr = (unsigned long)addr_gpa2hva(vm, 0),
		.len = getpagesize(),
		.type = KVM_SEV_SNP_PAGE_TYPE_NORMAL,
	};

	return __vm_sev_ioctl(vm, KVM_SEV_SNP_LAUNCH_UPDATE, &update) ? -errno : 0;
}

static int kmsg = -1;

static void log_from_here(void)
{
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	TEST_ASSERT(kmsg >= 0 && lseek(kmsg, 0, SEEK_END) >= 0, "/dev/kmsg: %s", strerror(errno));
}

/* Announces what KVM says if a page cannot be reclaimed; the count of leaks begins. */
static void announce_leak(void)
{
	int fd;

	/* KVM says it once, but the kernel can be made to forget. */
	mount("debugfs", DEBUGFS, "debugfs", 0, NULL);
	fd = open(DEBUGFS "/clear_warn_once", O_WRONLY | O_CLOEXEC);
	TEST_ASSERT(fd >= 0 && write(fd, "1", 1) == 1,
		    "expected " DEBUGFS "/clear_warn_once, found: %s", strerror(errno));
	close(fd);
	announce("cut here");
	announce("Failed to reclaim PFN");
	announce("WARNING: ");
	log_from_here();
}

/* How often has the kernel said, since log_from_here(), that it leaks pages, and how many? */
static int leaks_in_log(u64 *pages)
{
	unsigned long long from, to;
	char record[8192], *text;
	int leaks = 0;
	ssize_t n;

	*pages = 0;
	while ((n = read(kmsg, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		record[n > 0 ? n : 0] = 0;
		/* An announcement has no numbers. */
		text = strstr(record, "Leaking PFN range ");
		if (!text || sscanf(text, "Leaking PFN range 0x%llx-0x%llx", &from, &to) != 2)
			continue;
		leaks++;
		*pages += to - from;
	}
	close(kmsg);
	return leaks;
}

/* The types of VMs that KVM offered before the first case. */
static u32 all_types;

/* A case begins without kvm_amd. It may leave kvm_amd loaded or not: the end of the program loads it. */
FIXTURE(reload) {
	/* The initializations and shutdowns of SNP before the case. */
	u64 inits, shutdowns;
};

FIXTURE_SETUP(reload)
{
	char why[512];
	int ret;

	if (shared->in_the_kernel)
		SKIP(return, "an earlier case died in the kernel");
	if (shared->lost_pages)
		SKIP(return, "unloading kvm_amd loses pages");
	if (shared->snp_is_out)
		SKIP(return, "SNP cannot be initialized any more");
	if (!snp_host_reach(why, sizeof(why)))
		SKIP(return, "%s", why);
	snp_host_fail("");
	/* A case that was ended half-way may have left others out. */
	load(CCP, "");
	load(KVM, "");
	ret = unload(KVM_AMD);
	ASSERT_TRUE(!ret || ret == -ENOENT);
	self->inits = issued("SNP_INIT_EX");
	self->shutdowns = issued("SNP_SHUTDOWN_EX");
}

FIXTURE_TEARDOWN(reload)
{
	snp_host_fail("");
}

/* The firmware's memory for SEV-ES guests has 2 MB then (SEV API, INIT). */
#define TMR_PAGES	512u

/*
 * SNP_PAGE_RECLAIM exists only while SNP is initialized: what the firmware was given for that time is
 * reclaimed before SNP_SHUTDOWN_EX (SNP firmware ABI, 56860, "Page States"). The IOMMU's pages
 * come back by the shutdown itself. This is the first case: the others would meet such pages by chance.
 */
RELOAD_TEST_F(shutdown_reclaims_each_page)
{
	u64 reclaimed;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, load(KVM_AMD, ""));
		EXPECT_LE(TMR_PAGES, snp_host_counter("stat-rmp-firmware"));
		reclaimed = issued("SNP_PAGE_RECLAIM");
		ASSERT_EQ(0, unload(KVM_AMD));
		shared->lost_pages = issued("SNP_PAGE_RECLAIM") < reclaimed + TMR_PAGES;
		/* Whoever gets such a page next faults: make the RMP anew. */
		if (shared->lost_pages)
			load(KVM_AMD, "");
		ASSERT_FALSE(shared->lost_pages)
			TH_LOG("expected the %u pages of the TMR to be reclaimed", TMR_PAGES);
		EXPECT_EQ(0, snp_host_counter("stat-rmp-firmware"));
		EXPECT_EQ(0, snp_state());
	}
}

RELOAD_TEST_F(snp_goes_up_and_down)
{
	EXPECT_EQ(0, snp_state());
	ASSERT_EQ(0, load(KVM_AMD, ""));
	EXPECT_EQ(all_types, sev_types());
	EXPECT_EQ(1, snp_state());
	EXPECT_EQ(self->inits + 1, issued("SNP_INIT_EX"));
	ASSERT_EQ(0, unload(KVM_AMD));
	EXPECT_EQ(0, snp_state());
	EXPECT_EQ(self->shutdowns + 1, issued("SNP_SHUTDOWN_EX"));
}

RELOAD_TEST_F(status_leaves_snp_off)
{
	EXPECT_EQ(0, snp_state());
	EXPECT_EQ(self->inits, issued("SNP_INIT_EX"));
	EXPECT_EQ(self->shutdowns, issued("SNP_SHUTDOWN_EX"));
}

RELOAD_TEST_F(commit_leaves_snp_off)
{
	u64 commits = issued("SNP_COMMIT");

	EXPECT_EQ(0, issue(SNP_COMMIT, NULL, NULL));
	EXPECT_EQ(commits + 1, issued("SNP_COMMIT"));
	EXPECT_EQ(self->inits, issued("SNP_INIT_EX"));
	EXPECT_EQ(self->shutdowns, issued("SNP_SHUTDOWN_EX"));
}

RELOAD_TEST_F(config_needs_snp)
{
	struct sev_user_data_snp_config config = { 0 };

	EXPECT_EQ(-ENODEV, issue(SNP_SET_CONFIG, &config, NULL));
	EXPECT_EQ(self->inits, issued("SNP_INIT_EX"));
}

RELOAD_TEST_F(vlek_needs_snp)
{
	struct sev_user_data_snp_wrapped_vlek_hashstick key = { 0 };
	struct sev_user_data_snp_vlek_load vlek = {
		.len = sizeof(vlek),
		.vlek_wrapped_address = (unsigned long)&key,
	};

	EXPECT_EQ(-ENODEV, issue(SNP_VLEK_LOAD, &vlek, NULL));
	EXPECT_EQ(self->inits, issued("SNP_INIT_EX"));
}

/* A command that needs SEV initialized initializes it for as long as it runs, and SNP not at all. */
RELOAD_TEST_F(sev_command_restores_state)
{
	struct sev_user_data_status status = { .state = 0xff };

	EXPECT_EQ(0, issue(SEV_PDH_GEN, NULL, NULL));
	ASSERT_EQ(0, issue(SEV_PLATFORM_STATUS, &status, NULL));
	EXPECT_EQ(0, status.state);
	EXPECT_EQ(self->inits, issued("SNP_INIT_EX"));

	ASSERT_EQ(0, load(KVM_AMD, ""));
	EXPECT_EQ(all_types, sev_types());
}

RELOAD_TEST_F(ccp_alone_leaves_snp_off)
{
	ASSERT_EQ(0, unload(KVM));
	ASSERT_EQ(0, unload(CCP));
	ASSERT_EQ(0, load(CCP, ""));
	EXPECT_EQ(0, snp_state());
	EXPECT_EQ(self->inits, issued("SNP_INIT_EX"));
	ASSERT_EQ(0, load(KVM, ""));
	ASSERT_EQ(0, load(KVM_AMD, ""));
	EXPECT_EQ(all_types, sev_types());
	EXPECT_EQ(self->inits + 1, issued("SNP_INIT_EX"));
}

/* Without SNP, SEV must not be initialized either: the firmware refuses that once SNP_INIT was tried. */
RELOAD_TEST_F(snp_init_fails)
{
	u64 sev_inits = issued("INIT") + issued("INIT_EX");

	snp_host_fail("SNP_INIT_EX:1:" STATUS);
	load(KVM_AMD, "");
	EXPECT_EQ(self->inits + 1, issued("SNP_INIT_EX"));
	EXPECT_EQ(sev_inits, issued("INIT") + issued("INIT_EX"));
	EXPECT_EQ(0, sev_types());

	/* The next time all is well. */
	unload(KVM_AMD);
	ASSERT_EQ(0, load(KVM_AMD, ""));
	EXPECT_EQ(all_types, sev_types());
}

/*
 * Then the firmware refuses to shut SNP down: SEV is still up. kvm_amd can be unloaded all the same, and
 * both go down the next time.
 */
RELOAD_TEST_F(sev_shutdown_fails)
{
	ASSERT_EQ(0, load(KVM_AMD, ""));
	snp_host_fail("SHUTDOWN:1:" STATUS);
	EXPECT_EQ(0, unload(KVM_AMD));
	EXPECT_EQ(self->shutdowns + 1, issued("SNP_SHUTDOWN_EX"));
	EXPECT_EQ(1, snp_state());

	ASSERT_EQ(0, load(KVM_AMD, ""));
	EXPECT_EQ(all_types, sev_types());
	ASSERT_EQ(0, unload(KVM_AMD));
	EXPECT_EQ(0, snp_state());
}

/*
 * With SNP up, the driver has the firmware write into pages of its own, which it makes the firmware's, takes
 * back, copies from and frees: all of them, and no others.
 */
RELOAD_TEST_F(long_buffer_is_returned_whole)
{
	u8 *short_id = calloc(1, ID_LENGTH), *long_id = calloc(1, LONG_LENGTH);
	int i;

	ASSERT_EQ(0, load(KVM_AMD, ""));
	ASSERT_EQ(0, get_id(short_id, ID_LENGTH));
	ASSERT_FALSE(is_zero(short_id, ID_LENGTH));
	for (i = 0; i < LONG_TIMES; i++) {
		/* The shorter one first: if it is not right, it does less harm. */
		memset(long_id, 0, LONG_LENGTH);
		ASSERT_EQ(0, get_id(long_id, i ? LONG_LENGTH : LONG_LENGTH / 2));
		ASSERT_EQ(0, memcmp(short_id, long_id, ID_LENGTH));
	}
	/* Pages that were freed twice, or that are still the firmware's, get an owner now. */
	EXPECT_EQ(0, touch_free_memory());
	free(short_id);
	free(long_id);
}

/*
 * The firmware keeps the page of a command's buffer. The driver must use another one, and must not give the
 * page back when it is unloaded. The page is the firmware's until the next reset.
 */
RELOAD_TEST_F(unreclaimed_command_buffer_is_replaced)
{
	struct sev_user_data_status status = { 0 };
	int i;

	ASSERT_EQ(0, load(KVM_AMD, ""));
	announce("Leaking PFN range");
	announce("failed to reclaim buffer for legacy command");
	snp_host_fail("SNP_PAGE_RECLAIM:1:" STATUS);
	EXPECT_EQ(-EFAULT, issue(SEV_PLATFORM_STATUS, &status, NULL));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, issue(SEV_PLATFORM_STATUS, &status, NULL));

	ASSERT_EQ(0, unload(KVM_AMD));
	ASSERT_EQ(0, unload(KVM));
	ASSERT_EQ(0, unload(CCP));
	EXPECT_EQ(0, touch_free_memory());
}

/* SEV's data cannot be read, which is an error each time: the firmware never gets a buffer for them. */
RELOAD_TEST_F(sev_data_cannot_be_read)
{
	u64 sev_inits;

	ASSERT_EQ(0, unload(KVM));
	ASSERT_EQ(0, unload(CCP));
	/* A path below a file that is no folder. */
	ASSERT_EQ(0, load(CCP, "init_ex_path=/proc/version/x"));
	ASSERT_EQ(0, load(KVM, ""));
	sev_inits = issued("INIT_EX");
	load(KVM_AMD, "");
	EXPECT_EQ(self->inits + 1, issued("SNP_INIT_EX"));
	EXPECT_EQ(-ENOTDIR, issue(SEV_PDH_GEN, NULL, NULL));
	EXPECT_EQ(-ENOTDIR, issue(SEV_PDH_GEN, NULL, NULL));
	EXPECT_EQ(sev_inits, issued("INIT_EX"));

	unload(KVM_AMD);
	ASSERT_EQ(0, unload(KVM));
	ASSERT_EQ(0, unload(CCP));
	ASSERT_EQ(0, load_all());
	EXPECT_EQ(all_types, sev_types());
}

/* --- Pages that the firmware writes to -------------------------------------------------------- */

#define BUFFER_LEN	4096

/* A command of /dev/sev, by the firmware's name. */
struct command {
	u32 cmd;
	const char *name;
	/* Without a failure it succeeds. */
	bool succeeds;
};

/* The pages that the RMP has as a guest's or the firmware's. */
static u64 owned_pages(void)
{
	return snp_host_counter("stat-rmp-assigned") + snp_host_counter("stat-rmp-firmware");
}

static void stay_on_this_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(cpus), &cpus), "sched_setaffinity() failed");
}

/* Initializes SNP once more: all pages are the hypervisor's then. */
static void make_rmp_anew(void)
{
	unload(KVM_AMD);
	load(KVM_AMD, "");
}

/* Fills in the command's buffer, and returns it. */
static void *arguments(u32 cmd, void *args, u8 *buffer)
{
	struct sev_user_data_pdh_cert_export *pdh = args;
	struct sev_user_data_snp_vlek_load *vlek = args;
	struct sev_user_data_pek_csr *csr = args;

	memset(args, 0, BUFFER_LEN);
	switch (cmd) {
	case SNP_COMMIT:
		return NULL;
	case SEV_GET_ID2:
	case SEV_PEK_CSR:
		/* Both describe their buffer in the same way. */
		csr->address = (unsigned long)buffer;
		csr->length = BUFFER_LEN;
		break;
	case SEV_PDH_CERT_EXPORT:
		pdh->pdh_cert_address = (unsigned long)buffer;
		pdh->pdh_cert_len = BUFFER_LEN;
		pdh->cert_chain_address = (unsigned long)buffer + BUFFER_LEN;
		pdh->cert_chain_len = 2 * BUFFER_LEN;
		break;
	case SNP_VLEK_LOAD:
		vlek->len = sizeof(*vlek);
		vlek->vlek_wrapped_address = (unsigned long)buffer;
		break;
	}
	return args;
}

/*
 * While SNP is initialized, what the firmware writes to is a Firmware page for the time of the command
 * (SNP firmware ABI, 56860, "Page States"). If the command fails, it has to be the hypervisor's again
 * before anybody else gets it: the host would fault on it (APM volume 2, 15.36).
 *
 * A page that is freed too early is the next one that this CPU hands out: a pipe gets it, for which a fault
 * is no more than a failed write, and keeps it until the RMP is made anew.
 */
RELOAD_TEST_F(failed_command_keeps_no_page)
{
	static const struct command commands[] = {
		{ SNP_PLATFORM_STATUS, "SNP_PLATFORM_STATUS", true },
		{ SNP_COMMIT, "SNP_COMMIT", true },
		{ SNP_SET_CONFIG, "SNP_CONFIG", true },
		{ SNP_VLEK_LOAD, "SNP_VLEK_LOAD", false },
		{ SEV_PLATFORM_STATUS, "PLATFORM_STATUS", true },
		{ SEV_GET_ID2, "GET_ID", true },
		{ SEV_PEK_CSR, "PEK_CSR", true },
		{ SEV_PDH_CERT_EXPORT, "PDH_CERT_EXPORT", true },
	};
	static u8 args[BUFFER_LEN] __aligned(8), buffer[4 * BUFFER_LEN];
	u64 owned, n;
	int i, ret, holder[2];
	char spec[64];
	ssize_t held;
	u32 error;

	ASSERT_EQ(0, load(KVM_AMD, ""));
	stay_on_this_cpu();
	owned = owned_pages();
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		snprintf(spec, sizeof(spec), "%s:1:" STATUS, c->name);
		snp_host_fail(spec);
		ASSERT_EQ(0, pipe2(holder, O_CLOEXEC));
		ret = issue(c->cmd, arguments(c->cmd, args, buffer), &error);
		held = write(holder[1], buffer, BUFFER_LEN);
		EXPECT_EQ(-EIO, ret);
		EXPECT_EQ(strtoul(STATUS, NULL, 0), error)
			TH_LOG("%s", c->name);
		n = owned_pages();
		if (n != owned)
			make_rmp_anew();
		ASSERT_EQ(owned, n)
			TH_LOG("%s failed: expected no page to stay the firmware's, found %ld more",
			       c->name, (long)(n - owned));
		EXPECT_EQ(BUFFER_LEN, held);
		close(holder[0]);
		close(holder[1]);

		if (c->succeeds) {
			ret = issue(c->cmd, arguments(c->cmd, args, buffer), &error);
			EXPECT_EQ(0, ret)
				TH_LOG("%s: firmware error 0x%x", c->name, error);
			ASSERT_EQ(owned, owned_pages())
				TH_LOG("%s", c->name);
		}
	}
}

/* --- The file of init_ex_path ------------------------------------------------------------------ */

#define NV_FILE		"/sev-nv"
#define NV_SIZE		(32 * 1024)
#define NV_PATTERN	0x3c

/* Loads ccp again, with these options, and what is above it. */
static void load_again(struct __test_metadata *_metadata, const char *options)
{
	int ret = unload(KVM_AMD);

	ASSERT_TRUE(!ret || ret == -ENOENT);
	ASSERT_EQ(0, unload(KVM));
	ASSERT_EQ(0, unload(CCP));
	ASSERT_EQ(0, load(CCP, options));
	ASSERT_EQ(0, load(KVM, ""));
	ASSERT_EQ(0, load(KVM_AMD, ""));
}

/* Reads the file, removes it, and returns its size; -1 if there is none. */
static int take_nv(u8 *nv)
{
	int fd = open(NV_FILE, O_RDONLY | O_CLOEXEC), size;

	if (fd < 0)
		return -1;
	size = read(fd, nv, NV_SIZE + 1);
	close(fd);
	unlink(NV_FILE);
	return size;
}

/*
 * The file holds the storage that the firmware has instead of flash ("Firmware Management" of
 * Documentation/virt/kvm/x86/amd-memory-encryption.rst; SEV API, 55766, INIT_EX): it is read before
 * INIT_EX, and written after each command that changes the storage. The emulated firmware keeps nothing
 * there: so the test takes the file away each time, and looks for a new one.
 */
RELOAD_TEST_F(nv_file_follows_the_storage)
{
	static const struct command changing[] = {
		{ SEV_PEK_GEN, "PEK_GEN" }, { SEV_PDH_GEN, "PDH_GEN" },
		{ SEV_FACTORY_RESET, "FACTORY_RESET" },
	};
	static u8 nv[NV_SIZE + 1];
	u64 inits = issued("INIT"), inits_ex = issued("INIT_EX");
	int i, fd;

	unlink(NV_FILE);
	load_again(_metadata, "init_ex_path=" NV_FILE);
	EXPECT_EQ(inits, issued("INIT"));
	EXPECT_EQ(inits_ex + 1, issued("INIT_EX"));
	EXPECT_EQ(all_types, sev_types());
	EXPECT_EQ(NV_SIZE, take_nv(nv))
		TH_LOG("after INIT_EX");

	for (i = 0; i < ARRAY_SIZE(changing); i++) {
		EXPECT_EQ(0, issue(changing[i].cmd, NULL, NULL))
			TH_LOG("%s", changing[i].name);
		EXPECT_EQ(NV_SIZE, take_nv(nv))
			TH_LOG("expected the file to be written after %s, found none",
			       changing[i].name);
	}

	/* What is in the file comes back: the firmware got it by INIT_EX. */
	fd = open(NV_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	memset(nv, NV_PATTERN, NV_SIZE);
	ASSERT_EQ(NV_SIZE, write(fd, nv, NV_SIZE));
	close(fd);
	load_again(_metadata, "init_ex_path=" NV_FILE);
	EXPECT_EQ(NV_SIZE, take_nv(nv));
	EXPECT_EQ(0, issue(SEV_PDH_GEN, NULL, NULL));
	memset(nv, 0, NV_SIZE);
	EXPECT_EQ(NV_SIZE, take_nv(nv));
	for (i = 0; i < NV_SIZE && nv[i] == NV_PATTERN; i++)
		;
	EXPECT_EQ(NV_SIZE, i)
		TH_LOG("expected the file's content to come back, found 0x%x at 0x%x", nv[i], i);

	load_again(_metadata, "");
	EXPECT_EQ(all_types, sev_types());
	EXPECT_EQ(-1, take_nv(nv));
}

#define CHAIN_PAGES	3
/* After the command's own buffer, the certificate's page, and the first page of the chain. */
#define SECOND_OF_CHAIN	"4"

/*
 * If the firmware does not give a page back, neither this page nor the rest of its buffer can be used
 * again, but the pages behind the buffer are somebody else's (SNP_PAGE_RECLAIM).
 */
RELOAD_TEST_F(failed_reclaim_leaks_the_rest)
{
	static u8 buffer[BUFFER_LEN + CHAIN_PAGES * BUFFER_LEN];
	struct sev_user_data_pdh_cert_export pdh = {
		.pdh_cert_address = (unsigned long)buffer,
		.pdh_cert_len = BUFFER_LEN,
		.cert_chain_address = (unsigned long)buffer + BUFFER_LEN,
		.cert_chain_len = CHAIN_PAGES * BUFFER_LEN,
	};
	u64 owned, pages;

	ASSERT_EQ(0, load(KVM_AMD, ""));
	owned = owned_pages();
	announce("Leaking PFN range");
	announce("Failed to reclaim firmware-owned pages");
	log_from_here();
	snp_host_fail("SNP_PAGE_RECLAIM:" SECOND_OF_CHAIN ":" STATUS);
	EXPECT_EQ(-EFAULT, issue(SEV_PDH_CERT_EXPORT, &pdh, NULL));
	EXPECT_EQ(1, leaks_in_log(&pages));
	EXPECT_EQ(CHAIN_PAGES - 1, pages)
		TH_LOG("expected the rest of the buffer to be leaked, found %lu pages", pages);
	EXPECT_EQ(owned + CHAIN_PAGES - 1, owned_pages());

	make_rmp_anew();
	EXPECT_EQ(all_types, sev_types());
	EXPECT_EQ(owned, owned_pages());
	EXPECT_EQ(0, issue(SEV_PDH_CERT_EXPORT, &pdh, NULL));
}

/*
 * The firmware refuses to encrypt a page, and to give it back. The page must not be freed, nor be put on the
 * list of leaked pages once more.
 */
RELOAD_TEST_F(unreclaimed_guest_page_is_not_freed)
{
	struct kvm_vm *vm;
	u64 pages;

	ASSERT_EQ(0, load(KVM_AMD, ""));
	vm = start_snp_launch();
	announce_leak();
	/* The page's last owner reports that it cannot make the page shared, and leaves it alone. */
	announce("cut here");
	announce("WARNING: ");
	snp_host_fail("SNP_LAUNCH_UPDATE:1:" STATUS ",SNP_PAGE_RECLAIM:1:" STATUS);
	EXPECT_EQ(-EIO, update_one_page(vm));
	kvm_vm_free(vm);
	/* The list of leaked pages would use what guest_memfd's page needs for itself. */
	EXPECT_EQ(0, leaks_in_log(&pages));
	EXPECT_EQ(0, touch_free_memory());
}

RELOAD_TEST_F(unreclaimed_vmsa_is_leaked_once)
{
	struct kvm_sev_snp_launch_finish finish = { 0 };
	struct kvm_vm *vm;
	u64 pages;

	ASSERT_EQ(0, load(KVM_AMD, ""));
	vm = start_snp_launch();
	EXPECT_EQ(0, update_one_page(vm));
	announce_leak();
	announce("Leaking PFN range");
	snp_host_fail("SNP_LAUNCH_UPDATE:1:" STATUS ",SNP_PAGE_RECLAIM:1:" STATUS);
	EXPECT_EQ(-EIO, __snp_vm_launch_finish(vm, &finish, NULL) ? -errno : 0);
	kvm_vm_free(vm);
	EXPECT_EQ(1, leaks_in_log(&pages));
	EXPECT_EQ(1, pages);
	EXPECT_EQ(0, touch_free_memory());
}

/* The firmware does not give back the page that it wrote its status to. The page is leaked, but only once. */
RELOAD_TEST_F(unreclaimed_status_page_is_leaked_once)
{
	struct sev_user_data_snp_status status = { .state = 0xff };
	u64 pages;

	ASSERT_EQ(0, load(KVM_AMD, ""));
	ASSERT_EQ(0, issue(SNP_PLATFORM_STATUS, &status, NULL));
	ASSERT_EQ(1, status.state) TH_LOG("expected the firmware to be in the state INIT");
	announce("Leaking PFN range");
	announce("Failed to reclaim firmware-owned pages");
	log_from_here();
	snp_host_fail("SNP_PAGE_RECLAIM:1:" STATUS);
	EXPECT_EQ(-EFAULT, issue(SNP_PLATFORM_STATUS, &status, NULL));
	EXPECT_EQ(1, leaks_in_log(&pages));
	EXPECT_EQ(1, pages);
	EXPECT_EQ(0, touch_free_memory());
	EXPECT_EQ(0, issue(SNP_PLATFORM_STATUS, &status, NULL));
}

/*
 * The driver must not use a device that was taken from it, so KVM has no SEV. Whether KVM has SEV after the
 * device came back is up to the driver; after a reload KVM has it again.
 */
RELOAD_TEST_F(device_is_unbound_and_bound)
{
	struct sev_user_data_status status = { 0 };
	int fd = open_sev();

	/* At once, before somebody else uses the device's memory. */
	ASSERT_EQ(0, tell_driver("unbind"));
	shared->in_the_kernel = true;
	EXPECT_EQ(-ENODEV, issue_by(fd, SEV_PLATFORM_STATUS, &status, NULL));
	close(fd);
	shared->in_the_kernel = false;
	load(KVM_AMD, "");
	EXPECT_EQ(0, sev_types());
	unload(KVM_AMD);

	ASSERT_EQ(0, tell_driver("bind"));
	load(KVM_AMD, "");
	unload(KVM_AMD);

	ASSERT_EQ(0, unload(KVM));
	ASSERT_EQ(0, unload(CCP));
	ASSERT_EQ(0, load_all());
	EXPECT_EQ(all_types, sev_types());
}

/*
 * The firmware has initialized SNP, and then fails the command that must follow (SNP_DF_FLUSH; SNP firmware
 * ABI, 56860, "SNP_INIT_EX"). SNP goes down again, as nobody would do it later: the driver takes SNP for
 * not initialized, and the firmware refuses to initialize it once more. This is the last case: a kernel that
 * fails it has no SNP any more.
 */
RELOAD_TEST_F(df_flush_after_init_fails)
{
	shared->snp_is_out = true;
	snp_host_fail("SNP_DF_FLUSH:1:" STATUS);
	load(KVM_AMD, "");
	EXPECT_EQ(self->inits + 1, issued("SNP_INIT_EX"));
	/* The first one may ask for the SNP_DF_FLUSH that is missing. */
	EXPECT_LT(self->shutdowns, issued("SNP_SHUTDOWN_EX"));
	EXPECT_EQ(0, snp_state());
	EXPECT_EQ(0, sev_types() & BIT(KVM_X86_SNP_VM));

	/* The next time all is well. */
	unload(KVM_AMD);
	ASSERT_EQ(0, load(KVM_AMD, ""));
	shared->snp_is_out = sev_types() != all_types;
	EXPECT_EQ(all_types, sev_types());
}

/* The harness ends the program by itself. Cases are other processes. */
static void put_back(void)
{
	static pid_t first;

	if (!first) {
		first = getpid();
		atexit(put_back);
		return;
	}
	if (getpid() != first || shared->in_the_kernel || shared->lost_pages || shared->snp_is_out)
		return;
	if (!load_all() && sev_types() == all_types)
		return;
	printf("# expected kvm_amd to offer the types of VMs 0x%x again, found 0x%x\n",
	       all_types, sev_types());
	fflush(stdout);
	_exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	all_types = sev_types();
	snp_require_vms();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(shared != MAP_FAILED, "expected a shared page, found: %s", strerror(errno));
	put_back();
	return test_harness_run(argc, argv);
}
