// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test the ioctl of /dev/sev: every command with lengths that are zero, too short,
 * right and too long.
 *
 * Firmware writes nothing into a buffer that is too short, but says how long it has
 * to be: "Secure Encrypted Virtualization API" (55766), sections GET_ID, PEK_CSR and
 * PDH_CERT_EXPORT.  Userspace gets that length, and not a byte more in its buffer
 * than firmware has written.  What the driver does by itself is specified by
 * include/uapi/linux/psp-sev.h and Documentation/virt/coco/sev-guest.rst.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/psp-sev.h>

#include "kselftest_harness.h"
#include "test_util.h"
#include "kvm_util.h"

#define DEVICE		"/dev/sev"
#define CASE_SECONDS	60
#define SEV_TEST_F(name)	TEST_F_TIMEOUT(sev_dev, name, CASE_SECONDS)

/* Firmware doesn't fill a buffer with this. */
#define PATTERN		0xc5
#define BUFFER_SIZE	(16 * 1024)

/* The device, the firmware's status of the last command, and two buffers. */
struct device {
	int fd;
	u32 error;
	u8 *buffer, *other;
};

FIXTURE(sev_dev) {
	struct device d;
};

FIXTURE_SETUP(sev_dev)
{
	struct device *d = &self->d;

	d->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, d->fd)
		TH_LOG("%s can't be opened: %s", DEVICE, strerror(errno));
	d->buffer = mmap(NULL, 2 * BUFFER_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, d->buffer);
	d->other = d->buffer + BUFFER_SIZE;
	memset(d->buffer, PATTERN, 2 * BUFFER_SIZE);
}

FIXTURE_TEARDOWN(sev_dev)
{
	struct device *d = &self->d;

	if (d->fd >= 0)
		close(d->fd);
}

/* Issues a command. Returns 0 or the negative error. */
static int issue_on(struct device *d, int fd, u32 cmd, void *data)
{
	struct sev_issue_cmd arg = {
		.cmd = cmd,
		.data = (unsigned long)data,
	};
	int ret = ioctl(fd, SEV_ISSUE_CMD, &arg) ? -errno : 0;

	d->error = arg.error;
	return ret;
}

static int issue(struct device *d, u32 cmd, void *data)
{
	return issue_on(d, d->fd, cmd, data);
}

/* Is a buffer as it was, from that offset on? */
static bool is_untouched(const u8 *buffer, size_t from)
{
	size_t i;

	for (i = from; i < BUFFER_SIZE; i++)
		if (buffer[i] != PATTERN)
			return false;
	return true;
}

SEV_TEST_F(unknown_command)
{
	struct device *d = &self->d;

	EXPECT_EQ(-EINVAL, issue(d, SEV_MAX, NULL));
	EXPECT_EQ(-EINVAL, issue(d, SEV_MAX + 1, NULL));
	EXPECT_EQ(-EINVAL, issue(d, ~0u, NULL));
	EXPECT_EQ(-1, ioctl(d->fd, SEV_ISSUE_CMD + 1, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(d->fd, SEV_ISSUE_CMD, NULL));
	EXPECT_EQ(EFAULT, errno);
}

SEV_TEST_F(bad_pointer)
{
	struct device *d = &self->d;
	static const u32 commands[] = {
		SEV_PLATFORM_STATUS, SEV_PEK_CSR, SEV_PDH_CERT_EXPORT, SEV_PEK_CERT_IMPORT,
		SEV_GET_ID2, SNP_PLATFORM_STATUS, SNP_SET_CONFIG, SNP_VLEK_LOAD,
	};
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		ret = issue(d, commands[i], (void *)8);
		EXPECT_TRUE(ret == -EFAULT || ret == -ENODEV)
			TH_LOG("command %u: expected EFAULT, found %s",
			       commands[i], strerror(-ret));
	}
}

/* What changes the platform needs a file that's open for writing. */
SEV_TEST_F(read_only_file)
{
	struct device *d = &self->d;
	static const u32 commands[] = {
		SEV_FACTORY_RESET, SEV_PEK_GEN, SEV_PDH_GEN, SEV_PEK_CSR,
		SEV_PEK_CERT_IMPORT, SNP_SET_CONFIG, SNP_VLEK_LOAD,
	};
	int i, fd = open(DEVICE, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		EXPECT_EQ(-EPERM, issue_on(d, fd, commands[i], d->buffer))
			TH_LOG("command %u", commands[i]);
	}
	close(fd);
}

SEV_TEST_F(platform_status)
{
	struct device *d = &self->d;
	struct sev_user_data_status status = { .state = 0xff };

	ASSERT_EQ(0, issue(d, SEV_PLATFORM_STATUS, &status));
	EXPECT_GE(2, status.state);
	EXPECT_LE(1, status.api_major + status.api_minor);
}

SEV_TEST_F(snp_platform_status)
{
	struct device *d = &self->d;
	struct sev_user_data_snp_status status = { .state = 0xff };

	ASSERT_EQ(0, issue(d, SNP_PLATFORM_STATUS, &status));
	EXPECT_GE(1, status.state);
	EXPECT_LE(1, status.api_major);
}

/* Both commands that return one buffer describe it in the same way. */
kvm_static_assert(sizeof(struct sev_user_data_get_id2) == sizeof(struct sev_user_data_pek_csr));

/* Asks for the length of what the command returns, then gives it less, and as much. */
static void check_lengths(struct __test_metadata *_metadata, struct device *d, u32 cmd, u32 less)
{
	struct sev_user_data_pek_csr args = { 0 };
	u32 wanted;

	ASSERT_EQ(-EIO, issue(d, cmd, &args));
	EXPECT_EQ(SEV_RET_INVALID_LEN, d->error);
	wanted = args.length;
	ASSERT_LT(less, wanted);
	ASSERT_GT(BUFFER_SIZE, wanted);

	args.address = (unsigned long)d->buffer;
	args.length = less;
	EXPECT_EQ(-EIO, issue(d, cmd, &args));
	EXPECT_EQ(SEV_RET_INVALID_LEN, d->error);
	EXPECT_EQ(wanted, args.length);
	EXPECT_TRUE(is_untouched(d->buffer, 0));

	args.length = wanted;
	EXPECT_EQ(0, issue(d, cmd, &args));
	EXPECT_EQ(wanted, args.length);
	EXPECT_FALSE(is_untouched(d->buffer, 0));
	EXPECT_TRUE(is_untouched(d->buffer, wanted));
}

/* The identity of the chip, 64 bytes for each socket. */
SEV_TEST_F(get_id_length)
{
	check_lengths(_metadata, &self->d, SEV_GET_ID2, 8);
}

SEV_TEST_F(pek_csr_length)
{
	struct sev_user_data_pek_csr csr = {
		.address = (unsigned long)self->d.buffer,
		/* More than the firmware takes. */
		.length = ~0u,
	};

	check_lengths(_metadata, &self->d, SEV_PEK_CSR, 64);
	EXPECT_EQ(-EFAULT, issue(&self->d, SEV_PEK_CSR, &csr));
}

SEV_TEST_F(pdh_cert_export_length)
{
	struct device *d = &self->d;
	struct sev_user_data_pdh_cert_export pdh = { 0 };
	u32 cert, chain;

	ASSERT_EQ(-EIO, issue(d, SEV_PDH_CERT_EXPORT, &pdh));
	EXPECT_EQ(SEV_RET_INVALID_LEN, d->error);
	cert = pdh.pdh_cert_len;
	chain = pdh.cert_chain_len;
	ASSERT_LT(64, cert);
	ASSERT_LT(64, chain);
	ASSERT_GT(BUFFER_SIZE, cert);
	ASSERT_GT(BUFFER_SIZE, chain);

	pdh.pdh_cert_address = (unsigned long)d->buffer;
	pdh.cert_chain_address = (unsigned long)d->other;
	pdh.pdh_cert_len = 64;
	pdh.cert_chain_len = 64;
	EXPECT_EQ(-EIO, issue(d, SEV_PDH_CERT_EXPORT, &pdh));
	EXPECT_EQ(SEV_RET_INVALID_LEN, d->error);
	EXPECT_EQ(cert, pdh.pdh_cert_len);
	EXPECT_EQ(chain, pdh.cert_chain_len);
	EXPECT_TRUE(is_untouched(d->buffer, 0));
	EXPECT_TRUE(is_untouched(d->other, 0));

	/* A chain of length 0 asks for the lengths, whatever the other length is. */
	pdh.cert_chain_len = 0;
	EXPECT_EQ(-EIO, issue(d, SEV_PDH_CERT_EXPORT, &pdh));
	EXPECT_EQ(SEV_RET_INVALID_LEN, d->error);
	EXPECT_EQ(chain, pdh.cert_chain_len);

	pdh.pdh_cert_len = cert;
	pdh.cert_chain_len = chain;
	EXPECT_EQ(0, issue(d, SEV_PDH_CERT_EXPORT, &pdh));
	EXPECT_FALSE(is_untouched(d->buffer, 0));
	EXPECT_TRUE(is_untouched(d->buffer, cert));
	EXPECT_TRUE(is_untouched(d->other, chain));
}

/*
 * SNP_VLEK_LOAD of sev-guest.rst.  A key is wrapped for one chip by AMD's key server:
 * this is none, which only firmware can tell.
 */
SEV_TEST_F(vlek_load)
{
	struct device *d = &self->d;
	struct sev_user_data_snp_vlek_load vlek = {
		.len = sizeof(vlek),
		.vlek_wrapped_address = (unsigned long)d->buffer,
	};
	struct sev_user_data_snp_status status;

	ASSERT_EQ(0, issue(d, SNP_PLATFORM_STATUS, &status));
	if (!status.state)
		SKIP(return, "SNP is not initialized");

	EXPECT_EQ(-EIO, issue(d, SNP_VLEK_LOAD, &vlek));
	EXPECT_NE(0, d->error);

	vlek.len = sizeof(vlek) - 1;
	EXPECT_EQ(-EINVAL, issue(d, SNP_VLEK_LOAD, &vlek));
	vlek.len = 0;
	EXPECT_EQ(-EINVAL, issue(d, SNP_VLEK_LOAD, &vlek));
	vlek.len = sizeof(vlek);
	vlek.vlek_wrapped_version = 1;
	EXPECT_EQ(-EINVAL, issue(d, SNP_VLEK_LOAD, &vlek));
	vlek.vlek_wrapped_version = 0;
	vlek.vlek_wrapped_address = 8;
	EXPECT_EQ(-EFAULT, issue(d, SNP_VLEK_LOAD, &vlek));
}

/* The size of a certificate ("SEV Certificate Format" of the SEV API). */
#define CERT_SIZE	2084

static int import_certs(struct device *d, u32 pek_len, u32 oca_len)
{
	struct sev_user_data_pek_cert_import args = {
		.pek_cert_address = (unsigned long)d->buffer,
		.pek_cert_len = pek_len,
		.oca_cert_address = (unsigned long)d->other,
		.oca_cert_len = oca_len,
	};

	return issue(d, SEV_PEK_CERT_IMPORT, &args);
}

/*
 * Firmware looks at the length of each certificate first, then at what's in them: these
 * are none, so that nothing is imported.
 */
SEV_TEST_F(pek_cert_import_length)
{
	struct device *d = &self->d;
	static const u32 wrong[] = { 1, CERT_SIZE - 1, CERT_SIZE + 1, BUFFER_SIZE };
	static const u32 none[] = { 0, BUFFER_SIZE + 1, ~0u };
	int i;

	EXPECT_EQ(-EIO, import_certs(d, CERT_SIZE, CERT_SIZE));
	if (d->error == SEV_RET_ALREADY_OWNED)
		SKIP(return, "The platform has an owner's certificates");
	EXPECT_NE(SEV_RET_INVALID_LEN, d->error);

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		EXPECT_EQ(-EIO, import_certs(d, CERT_SIZE, wrong[i]));
		EXPECT_EQ(SEV_RET_INVALID_LEN, d->error)
			TH_LOG("an OCA certificate of 0x%x bytes", wrong[i]);
		EXPECT_EQ(-EIO, import_certs(d, wrong[i], CERT_SIZE));
		EXPECT_EQ(SEV_RET_INVALID_LEN, d->error)
			TH_LOG("a PEK certificate of 0x%x bytes", wrong[i]);
	}
	/* The driver has a limit of its own, and wants a certificate. */
	for (i = 0; i < ARRAY_SIZE(none); i++) {
		EXPECT_EQ(-EINVAL, import_certs(d, CERT_SIZE, none[i]));
		EXPECT_EQ(-EINVAL, import_certs(d, none[i], CERT_SIZE));
	}
	EXPECT_TRUE(is_untouched(d->buffer, 0));
	EXPECT_TRUE(is_untouched(d->other, 0));
}

int main(int argc, char **argv)
{
	if (access(DEVICE, R_OK | W_OK)) {
		ksft_print_header();
		ksft_exit_skip("%s can't be opened: %s\n", DEVICE, strerror(errno));
	}

	return test_harness_run(argc, argv);
}
