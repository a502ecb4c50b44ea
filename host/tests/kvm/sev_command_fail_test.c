// SPDX-License-Identifier: GPL-2.0-only
/*
 * One allocation of the kernel after the other fails while a firmware command is sent by /dev/sev. The command
 * may fail then. Sent once more, with memory, it must succeed: -ENOMEM is an error of one call (errno(3)).
 *
 * A program of its own: a kernel that fails a case has lost its firmware.
 */
#include <sys/ioctl.h>

#include <linux/psp-sev.h>

#include "kselftest_harness.h"
#include "alloc_fail.h"
#include "sev_guest.h"

#define STEP_SECONDS	600

/* Two identifiers of 64 bytes; two certificates. */
#define ID_BYTES	128
#define CERT_BYTES	4096

static u8 id[ID_BYTES], pdh[CERT_BYTES], chain[3 * CERT_BYTES];

static struct sev_user_data_get_id2 get_id = { .length = ID_BYTES };

static struct sev_user_data_pdh_cert_export pdh_export = {
	.pdh_cert_len = sizeof(pdh), .cert_chain_len = sizeof(chain),
};

static struct sev_user_data_snp_status snp_status;

/* SNP is initialized: what firmware shall write needs pages of the driver's own. */
FIXTURE(command) {
	int sev;
};

FIXTURE_VARIANT(command) {
	const char *name;
	u32 id;
	void *data;
};

FIXTURE_VARIANT_ADD(command, GET_ID2) { "SEV_GET_ID2", SEV_GET_ID2, &get_id };

FIXTURE_VARIANT_ADD(command, PDH_CERT_EXPORT) {
	"SEV_PDH_CERT_EXPORT", SEV_PDH_CERT_EXPORT, &pdh_export
};

FIXTURE_VARIANT_ADD(command, SNP_PLATFORM_STATUS) {
	"SNP_PLATFORM_STATUS", SNP_PLATFORM_STATUS, &snp_status
};

FIXTURE_SETUP(command)
{
	get_id.address = (unsigned long)id;
	pdh_export.pdh_cert_address = (unsigned long)pdh;
	pdh_export.cert_chain_address = (unsigned long)chain;
	self->sev = open_path_or_exit("/dev/sev", O_RDWR);
}

FIXTURE_TEARDOWN(command)
{
	close(self->sev);
}

/* A command that ran out of memory costs the next ones nothing: the driver has two buffers for commands. */
TEST_F_TIMEOUT(command, gives_its_buffer_back, STEP_SECONDS)
{
	struct sev_issue_cmd arg = { .cmd = variant->id, .data = (unsigned long)variant->data };
	int nth, ret, refused = 0;
	bool failed = true;

	for (nth = 1; failed; nth++) {
		ASSERT_GE(MAX_FAILURES, nth);
		fail_allocation(nth);
		ret = ioctl(self->sev, SEV_ISSUE_CMD, &arg) ? -errno : 0;
		failed = allocation_failed();
		if (!failed)
			ASSERT_EQ(0, ret)
				TH_LOG("%s, no failure: %s", variant->name, strerror(-ret));
		refused += !!ret;
		/* A kernel that has lost a buffer does not get far: once is enough. */
		ret = ioctl(self->sev, SEV_ISSUE_CMD, &arg) ? -errno : 0;
		ASSERT_EQ(0, ret)
			TH_LOG("%s: again after failure %d: %s, firmware error 0x%x",
			       variant->name, nth, strerror(-ret), arg.error);
	}
	EXPECT_LT(0, refused) TH_LOG("expected %s to need memory", variant->name);
}

int main(int argc, char **argv)
{
	snp_require_vms();
	require_failures();
	return test_harness_run(argc, argv);
}
