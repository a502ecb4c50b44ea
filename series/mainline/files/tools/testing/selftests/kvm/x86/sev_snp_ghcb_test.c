// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests KVM's answers to the requests that a SEV-ES or SEV-SNP guest makes with VMGEXIT, by the GHCB MSR
 * and by the GHCB page ("SEV-ES Guest-Hypervisor Communication Block Standardization", 56421).
 *
 * The host writes every request, good or bad, into the shared GHCB page, and the guest does nothing
 * but VMGEXIT. So each case says in one place what the guest asks, what userspace gets to see, and
 * what the guest is told.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "ghcb_guest.h"

/* The harness ends a case that hangs after so many seconds; a case takes less than one on hardware. */
#define CASE_SECONDS	60
#define GHCB_TEST_F(fixture, name)	TEST_F_TIMEOUT(fixture, name, CASE_SECONDS)

#define CPUID_SEV		0x8000001f
#define CPUID_XSTATE		0xd
#define XSTATE_SIZE_SSE		0x240
#define XSTATE_SIZE_AVX		0x340

#define TEST_PORT		0x5a
/* A GPA without memory, and not that of the local APIC. */
#define MMIO_GPA		0xd0000000ull
/* GFNs for page state changes that nobody carries out. */
#define PSC_GFN			0x80000ull

/* Writes a list of page state changes into the shared buffer. */
static void put_psc(struct ghcb_vm *g, unsigned int offset, u16 first, u16 last,
		    int nr, const u64 *entries)
{
	u16 *header = (u16 *)(g->ghcb + offset);
	int i;

	memset(header, 0, 8);
	header[0] = first;
	header[1] = last;
	for (i = 0; i < nr; i++)
		*(u64 *)(g->ghcb + offset + 8 + 8 * i) = entries[i];
}

static u16 psc_current(struct ghcb_vm *g, unsigned int offset)
{
	return READ_ONCE(*(u16 *)(g->ghcb + offset));
}

/* Asks for CPUID of a leaf, subleaf 0. */
static void request_cpuid(struct ghcb_vm *g, u32 leaf)
{
	request(g, EXIT_CPUID, 0, 0);
	ghcb_set(g, GHCB_RAX, leaf);
	ghcb_set(g, GHCB_RCX, 0);
}

FIXTURE(snp_ghcb) {
	struct ghcb_vm g;
};

FIXTURE_SETUP(snp_ghcb)
{
	create(&self->g, KVM_X86_SNP_VM, 1);
}

FIXTURE_TEARDOWN(snp_ghcb)
{
	kvm_vm_free(self->g.vm);
}

/* --- The GHCB MSR protocol (56421, 2.3.1) ------------------------------------------------------ */

GHCB_TEST_F(snp_ghcb, msr_sev_information)
{
	struct ghcb_vm *g = &self->g;
	u64 answer;

	request_msr(g, SNP_MSR_SEV_INFO_REQ);
	ASSERT_EXIT(g, ANSWERED);
	answer = g->box->answer;
	EXPECT_EQ(SNP_MSR_SEV_INFO_RESP, SNP_MSR_INFO(answer));
	/* The protocol's newest and oldest version, and the C-bit. SNP needs version 2. */
	EXPECT_LE(2, answer >> 48);
	EXPECT_GE(2, (answer >> 32) & 0xffff);
	EXPECT_EQ(g->vm->arch.c_bit, BIT_ULL((answer >> 24) & 0xff));
}

GHCB_TEST_F(snp_ghcb, msr_hypervisor_features)
{
	struct ghcb_vm *g = &self->g;

	request_msr(g, SNP_MSR_HV_FT_REQ);
	ASSERT_EXIT(g, ANSWERED);
	EXPECT_EQ(SNP_MSR_HV_FT_RESP, SNP_MSR_INFO(g->box->answer));
	EXPECT_EQ(HV_FT_SNP | HV_FT_AP_CREATION,
		  (g->box->answer >> 12) & (HV_FT_SNP | HV_FT_AP_CREATION));
}

GHCB_TEST_F(snp_ghcb, msr_cpuid)
{
	struct ghcb_vm *g = &self->g;

	/* EBX (register 1), whose lower bits have the C-bit's number. */
	request_msr(g, (u64)CPUID_SEV << 32 | 1ull << 30 | SNP_MSR_CPUID_REQ);
	ASSERT_EXIT(g, ANSWERED);
	EXPECT_EQ(SNP_MSR_CPUID_RESP, SNP_MSR_INFO(g->box->answer));
	EXPECT_EQ(g->vm->arch.c_bit, BIT_ULL((g->box->answer >> 32) & 0x3f));
}

GHCB_TEST_F(snp_ghcb, msr_page_state_change)
{
	struct ghcb_vm *g = &self->g;

	request_msr(g, PSC_ENTRY(PSC_GFN, SNP_PSC_SHARED) | SNP_MSR_PSC_REQ);
	ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PSC_SHARED);
	g->vcpu->run->hypercall.ret = 0;
	ASSERT_EXIT(g, ANSWERED);
	EXPECT_EQ(SNP_MSR_PSC_RESP, g->box->answer);

	request_msr(g, PSC_ENTRY(PSC_GFN, SNP_PSC_PRIVATE) | SNP_MSR_PSC_REQ);
	ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PSC_PRIVATE);
	g->vcpu->run->hypercall.ret = 0;
	ASSERT_EXIT(g, ANSWERED);
	EXPECT_EQ(SNP_MSR_PSC_RESP, g->box->answer);

	/* There is no operation 3 in this protocol. */
	request_msr(g, PSC_ENTRY(PSC_GFN, 3ull) | SNP_MSR_PSC_REQ);
	ASSERT_EXIT(g, ANSWERED);
	EXPECT_EQ(SNP_MSR_PSC_ERROR, g->box->answer);
}

/* --- The GHCB page: what every request needs (56421, 4.1) -------------------------------------- */

GHCB_TEST_F(snp_ghcb, cpuid)
{
	struct ghcb_vm *g = &self->g;

	request_cpuid(g, CPUID_SEV);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	ASSERT_TRUE(ghcb_is_valid(g, GHCB_RBX));
	EXPECT_EQ(g->vm->arch.c_bit, BIT_ULL(ghcb_get(g, GHCB_RBX) & 0x3f));
}

GHCB_TEST_F(snp_ghcb, missing_input)
{
	static const unsigned int fields[] = {
		GHCB_SW_EXITCODE, GHCB_SW_EXITINFO1, GHCB_SW_EXITINFO2, GHCB_RAX, GHCB_RCX,
	};
	struct ghcb_vm *g = &self->g;
	int i;

	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		request_cpuid(g, CPUID_SEV);
		g->ghcb[GHCB_VALID_BITMAP + fields[i] / 64] &= ~BIT(fields[i] / 8 % 8);
		ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_MISSING_INPUT);
	}

	/* Leaf 0xd depends on XCR0. */
	request_cpuid(g, CPUID_XSTATE);
	ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_MISSING_INPUT);
}

GHCB_TEST_F(snp_ghcb, unknown_event)
{
	struct ghcb_vm *g = &self->g;

	request(g, EXIT_UNKNOWN, 0, 0);
	ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_EVENT);
}

GHCB_TEST_F(snp_ghcb, unknown_usage)
{
	struct ghcb_vm *g = &self->g;

	request_cpuid(g, CPUID_SEV);
	*(u32 *)(g->ghcb + GHCB_USAGE) = 7;
	ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_USAGE);
}

/* An SNP guest has to register its GHCB. The guest learns that it did not; it isn't ended. */
GHCB_TEST_F(snp_ghcb, unregistered_page)
{
	struct ghcb_vm *g = &self->g;

	page_request(g->other, EXIT_CPUID, 0, 0);
	page_set(g->other, GHCB_RAX, CPUID_SEV);
	page_set(g->other, GHCB_RCX, 0);
	g->box->what = DO_PAGE;
	g->box->msr = g->other_gpa;
	ASSERT_EXIT(g, ANSWERED);
	EXPECT_EQ(RESP_MALFORMED_INPUT, *(u64 *)(g->other + GHCB_SW_EXITINFO1));
	EXPECT_EQ(ERR_NOT_REGISTERED, *(u64 *)(g->other + GHCB_SW_EXITINFO2));
}

/* --- Page state changes (56421, 4.1.6) ---------------------------------------------------------- */

GHCB_TEST_F(snp_ghcb, psc_of_adjacent_pages)
{
	const u64 entries[] = {
		PSC_ENTRY(PSC_GFN, SNP_PSC_PRIVATE), PSC_ENTRY(PSC_GFN + 1, SNP_PSC_PRIVATE),
		PSC_ENTRY(PSC_GFN + 2, SNP_PSC_PRIVATE), PSC_ENTRY(PSC_GFN + 9, SNP_PSC_SHARED),
	};
	struct ghcb_vm *g = &self->g;

	put_psc(g, GHCB_SHARED_BUFFER, 0, 3, 4, entries);
	request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	ASSERT_PSC_EXIT(g, PSC_GFN, 3, SNP_PSC_PRIVATE);
	g->vcpu->run->hypercall.ret = 0;
	ASSERT_PSC_EXIT(g, PSC_GFN + 9, 1, SNP_PSC_SHARED);
	g->vcpu->run->hypercall.ret = 0;
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	EXPECT_EQ(4, psc_current(g, GHCB_SHARED_BUFFER));
}

/* The header says which entries are meant; the guest may have done some already. */
GHCB_TEST_F(snp_ghcb, psc_continues_at_current_entry)
{
	const u64 entries[] = {
		PSC_ENTRY(PSC_GFN, SNP_PSC_PRIVATE), PSC_ENTRY(PSC_GFN + 5, SNP_PSC_SHARED),
	};
	struct ghcb_vm *g = &self->g;

	put_psc(g, GHCB_SHARED_BUFFER, 1, 1, 2, entries);
	request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	ASSERT_PSC_EXIT(g, PSC_GFN + 5, 1, SNP_PSC_SHARED);
	g->vcpu->run->hypercall.ret = 0;
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);

	put_psc(g, GHCB_SHARED_BUFFER, 2, 1, 2, entries);
	request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
}

GHCB_TEST_F(snp_ghcb, psc_bad_entry)
{
	const u64 entries[] = {
		/* 2 MB, not aligned; and more pages done than the entry has. */
		PSC_ENTRY(PSC_GFN + 1, SNP_PSC_PRIVATE) | PSC_2M,
		PSC_ENTRY(PSC_GFN, SNP_PSC_PRIVATE) | 2,
	};
	struct ghcb_vm *g = &self->g;
	int i;

	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		put_psc(g, GHCB_SHARED_BUFFER, 0, 0, 1, &entries[i]);
		request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
		ASSERT_ANSWER(g, RESP_NO_ACTION, PSC_INVALID_ENTRY);
	}
}

/*
 * A buffer with room for one entry, and a header that says there are two. The second would be behind
 * the shared buffer, and is a good one.
 */
GHCB_TEST_F(snp_ghcb, psc_entries_past_buffer)
{
	const unsigned int offset = GHCB_SHARED_BUFFER_END - 16;
	const u64 entries[] = {
		PSC_ENTRY(PSC_GFN, SNP_PSC_PRIVATE), PSC_ENTRY(PSC_GFN + 7, SNP_PSC_SHARED),
	};
	struct ghcb_vm *g = &self->g;

	request_scratch(g, EXIT_PSC, 0, 0, offset);
	put_psc(g, offset, 0, 1, 2, entries);
	ASSERT_ANSWER(g, RESP_NO_ACTION, PSC_INVALID_HEADER);

	/* Far more than any buffer has. */
	put_psc(g, GHCB_SHARED_BUFFER, 0, 0xffff, 2, entries);
	request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	ASSERT_ANSWER(g, RESP_NO_ACTION, PSC_INVALID_HEADER);
}

/* SW_EXITINFO2 is no length here, and must not be taken for one. */
GHCB_TEST_F(snp_ghcb, psc_has_no_length)
{
	const u64 entry = PSC_ENTRY(PSC_GFN, SNP_PSC_PRIVATE);
	struct ghcb_vm *g = &self->g;

	put_psc(g, GHCB_SHARED_BUFFER, 0, 0, 1, &entry);
	request_scratch(g, EXIT_PSC, 0, 0x1000, GHCB_SHARED_BUFFER);
	ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PSC_PRIVATE);
	g->vcpu->run->hypercall.ret = 0;
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
}

/* Not even the header fits. */
GHCB_TEST_F(snp_ghcb, psc_header_past_buffer)
{
	struct ghcb_vm *g = &self->g;

	request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER_END);
	ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_SCRATCH);
	request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER_END - 4);
	ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_SCRATCH);
}

/* The guest changes the header while userspace handles the first entry: too late for this request. */
GHCB_TEST_F(snp_ghcb, psc_header_is_read_once)
{
	const u64 entries[] = {
		PSC_ENTRY(PSC_GFN, SNP_PSC_PRIVATE), PSC_ENTRY(PSC_GFN + 4, SNP_PSC_PRIVATE),
		PSC_ENTRY(PSC_GFN + 8, SNP_PSC_PRIVATE),
	};
	struct ghcb_vm *g = &self->g;

	put_psc(g, GHCB_SHARED_BUFFER, 0, 0, 3, entries);
	request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PSC_PRIVATE);
	((u16 *)(g->ghcb + GHCB_SHARED_BUFFER))[1] = 2;
	g->vcpu->run->hypercall.ret = 0;
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
}

/* --- The scratch area: in the shared buffer, since version 2 (56421, 2.3) ----------------------- */

GHCB_TEST_F(snp_ghcb, scratch_outside_of_shared_buffer)
{
	struct ghcb_vm *g = &self->g;
	const u64 bad[] = {
		0, g->other_gpa, g->ghcb_gpa, g->ghcb_gpa + GHCB_SHARED_BUFFER - 1,
		g->ghcb_gpa + GHCB_SHARED_BUFFER_END - 1, g->ghcb_gpa + GHCB_SHARED_BUFFER_END,
		g->ghcb_gpa + PAGE_SIZE, ~0ull,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		request(g, EXIT_MMIO_READ, MMIO_GPA, 4);
		ghcb_set(g, GHCB_SW_SCRATCH, bad[i]);
		ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_SCRATCH);
	}
}

/* --- MMIO (56421, 4.1.1) ------------------------------------------------------------------------ */

GHCB_TEST_F(snp_ghcb, mmio_read)
{
	struct ghcb_vm *g = &self->g;
	struct kvm_run *kvm_run = g->vcpu->run;
	u64 value = 0x1122334455667788, found;
	int len;

	for (len = 1; len <= 8; len *= 2) {
		memset(g->ghcb + GHCB_SHARED_BUFFER, 0xee, 16);
		request_scratch(g, EXIT_MMIO_READ, MMIO_GPA, len, GHCB_SHARED_BUFFER);
		ASSERT_EXIT(g, KVM_EXIT_MMIO);
		EXPECT_EQ(MMIO_GPA, kvm_run->mmio.phys_addr);
		EXPECT_EQ(len, kvm_run->mmio.len);
		EXPECT_EQ(0, kvm_run->mmio.is_write);
		memcpy(kvm_run->mmio.data, &value, len);
		ASSERT_ANSWER(g, RESP_NO_ACTION, 0);

		found = 0;
		memcpy(&found, g->ghcb + GHCB_SHARED_BUFFER, len);
		EXPECT_EQ(len == 8 ? value : value & (BIT_ULL(8 * len) - 1), found);
		EXPECT_EQ(0xee, g->ghcb[GHCB_SHARED_BUFFER + len]);
	}
}

GHCB_TEST_F(snp_ghcb, mmio_write)
{
	struct ghcb_vm *g = &self->g;
	struct kvm_run *kvm_run = g->vcpu->run;
	const u64 value = 0x1122334455667788;
	int len;

	for (len = 1; len <= 8; len *= 2) {
		memcpy(g->ghcb + GHCB_SHARED_BUFFER, &value, 8);
		request_scratch(g, EXIT_MMIO_WRITE, MMIO_GPA, len, GHCB_SHARED_BUFFER);
		ASSERT_EXIT(g, KVM_EXIT_MMIO);
		EXPECT_EQ(MMIO_GPA, kvm_run->mmio.phys_addr);
		EXPECT_EQ(len, kvm_run->mmio.len);
		EXPECT_EQ(1, kvm_run->mmio.is_write);
		EXPECT_EQ(0, memcmp(kvm_run->mmio.data, &value, len));
		/* A write returns no data, whatever userspace leaves in the buffer. */
		memset(kvm_run->mmio.data, 0xaa, 8);
		ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
		EXPECT_EQ(value, *(u64 *)(g->ghcb + GHCB_SHARED_BUFFER));
	}
}

GHCB_TEST_F(snp_ghcb, mmio_of_no_bytes)
{
	struct ghcb_vm *g = &self->g;

	request_scratch(g, EXIT_MMIO_READ, MMIO_GPA, 0, GHCB_SHARED_BUFFER);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	request_scratch(g, EXIT_MMIO_WRITE, MMIO_GPA, 0, GHCB_SHARED_BUFFER);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
}

GHCB_TEST_F(snp_ghcb, mmio_of_too_many_bytes)
{
	struct ghcb_vm *g = &self->g;

	request_scratch(g, EXIT_MMIO_READ, MMIO_GPA, 9, GHCB_SHARED_BUFFER);
	ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_INPUT);
	request_scratch(g, EXIT_MMIO_WRITE, MMIO_GPA, 16, GHCB_SHARED_BUFFER);
	ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_INPUT);
}

/* --- Port I/O ------------------------------------------------------------------------------------ */

GHCB_TEST_F(snp_ghcb, port_io)
{
	struct ghcb_vm *g = &self->g;
	struct kvm_run *kvm_run = g->vcpu->run;
	u8 *data;
	int len;

	for (len = 1; len <= 4; len *= 2) {
		request(g, EXIT_IOIO, IOIO_PORT(TEST_PORT) | IOIO_BYTES(len), 0);
		ghcb_set(g, GHCB_RAX, 0x44332211);
		ASSERT_EXIT(g, KVM_EXIT_IO);
		data = (u8 *)kvm_run + kvm_run->io.data_offset;
		EXPECT_EQ(KVM_EXIT_IO_OUT, kvm_run->io.direction);
		EXPECT_EQ(TEST_PORT, kvm_run->io.port);
		EXPECT_EQ(len, kvm_run->io.size);
		EXPECT_EQ(1, kvm_run->io.count);
		EXPECT_EQ(0, memcmp(data, "\x11\x22\x33\x44", len));
		ASSERT_ANSWER(g, RESP_NO_ACTION, 0);

		request(g, EXIT_IOIO, IOIO_PORT(TEST_PORT) | IOIO_BYTES(len) | IOIO_IN, 0);
		ghcb_set(g, GHCB_RAX, 0);
		ASSERT_EXIT(g, KVM_EXIT_IO);
		data = (u8 *)kvm_run + kvm_run->io.data_offset;
		EXPECT_EQ(KVM_EXIT_IO_IN, kvm_run->io.direction);
		EXPECT_EQ(len, kvm_run->io.size);
		memcpy(data, "\x55\x66\x77\x88", len);
		ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
		ASSERT_TRUE(ghcb_is_valid(g, GHCB_RAX));
		EXPECT_EQ(len == 4 ? 0x88776655 : len == 2 ? 0x6655 : 0x55, ghcb_get(g, GHCB_RAX));
	}
}

GHCB_TEST_F(snp_ghcb, port_io_of_a_string)
{
	struct ghcb_vm *g = &self->g;
	struct kvm_run *kvm_run = g->vcpu->run;
	u8 *data;

	memcpy(g->ghcb + GHCB_SHARED_BUFFER, "abcdefgh", 8);
	request_scratch(g, EXIT_IOIO, IOIO_PORT(TEST_PORT) | IOIO_BYTES(2) | IOIO_STRING, 4,
			GHCB_SHARED_BUFFER);
	ASSERT_EXIT(g, KVM_EXIT_IO);
	data = (u8 *)kvm_run + kvm_run->io.data_offset;
	EXPECT_EQ(KVM_EXIT_IO_OUT, kvm_run->io.direction);
	EXPECT_EQ(2, kvm_run->io.size);
	EXPECT_EQ(4, kvm_run->io.count);
	EXPECT_EQ(0, memcmp(data, "abcdefgh", 8));
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
}

GHCB_TEST_F(snp_ghcb, port_io_of_no_bytes)
{
	struct ghcb_vm *g = &self->g;

	/* A string without elements, then an access without a size. */
	request_scratch(g, EXIT_IOIO, IOIO_PORT(TEST_PORT) | IOIO_BYTES(1) | IOIO_STRING, 0,
			GHCB_SHARED_BUFFER);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	request(g, EXIT_IOIO, IOIO_PORT(TEST_PORT), 0);
	ghcb_set(g, GHCB_RAX, 1);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
}

/* --- Other requests ------------------------------------------------------------------------------ */

/* Requests and responses of the firmware are in two different pages, each at a page's start. */
GHCB_TEST_F(snp_ghcb, guest_request_with_bad_pages)
{
	static const u64 codes[] = { EXIT_GUEST_REQUEST, EXIT_EXT_GUEST_REQUEST };
	struct ghcb_vm *g = &self->g;
	int i;

	for (i = 0; i < ARRAY_SIZE(codes); i++) {
		request(g, codes[i], g->other_gpa, g->other_gpa);
		ghcb_set(g, GHCB_RAX, g->other_gpa);
		ghcb_set(g, GHCB_RBX, 0);
		ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_INPUT);
		request(g, codes[i], g->other_gpa + 8, g->ghcb_gpa);
		ghcb_set(g, GHCB_RAX, g->other_gpa);
		ghcb_set(g, GHCB_RBX, 0);
		ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_INPUT);
		request(g, codes[i], g->other_gpa, g->ghcb_gpa + 8);
		ghcb_set(g, GHCB_RAX, g->other_gpa);
		ghcb_set(g, GHCB_RBX, 0);
		ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_INPUT);
	}
}

/* CPUID's size of the XSAVE area depends on XCR0; a value that no CPU takes must not count. */
GHCB_TEST_F(snp_ghcb, xcr0_that_no_cpu_takes)
{
	static const struct { u64 xcr0, size; } cases[] = {
		{ XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM, XSTATE_SIZE_AVX },
		{ XFEATURE_MASK_FP, XSTATE_SIZE_SSE },
		{ XFEATURE_MASK_FP | XFEATURE_MASK_YMM, XSTATE_SIZE_SSE },
		{ 0, XSTATE_SIZE_SSE },
	};
	struct ghcb_vm *g = &self->g;
	int i;

	if (!(kvm_cpu_supported_xcr0() & XFEATURE_MASK_YMM))
		SKIP(return, "KVM has no AVX for guests");

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		request_cpuid(g, CPUID_XSTATE);
		ghcb_set(g, GHCB_XCR0, cases[i].xcr0);
		ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
		EXPECT_EQ(cases[i].size, ghcb_get(g, GHCB_RBX))
			TH_LOG("XCR0 0x%lx", cases[i].xcr0);
	}
}

/*
 * A hypercall that KVM does not know leaves an error in its result. Userspace that has never written
 * run->hypercall.ret must not see that as its own refusal of a page state change.
 */
GHCB_TEST_F(snp_ghcb, hypercall_then_page_state_change)
{
	const u64 entry = PSC_ENTRY(PSC_GFN, SNP_PSC_PRIVATE);
	struct ghcb_vm *g = &self->g;

	request(g, EXIT_VMMCALL, 0, 0);
	ghcb_set(g, GHCB_RAX, 0xffff);
	g->ghcb[GHCB_CPL] = 0;
	page_set_valid(g->ghcb, GHCB_CPL);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
	EXPECT_EQ((u64)-KVM_ENOSYS, ghcb_get(g, GHCB_RAX));

	request_msr(g, PSC_ENTRY(PSC_GFN, SNP_PSC_SHARED) | SNP_MSR_PSC_REQ);
	ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PSC_SHARED);
	ASSERT_EXIT(g, ANSWERED);
	EXPECT_EQ(SNP_MSR_PSC_RESP, g->box->answer);

	put_psc(g, GHCB_SHARED_BUFFER, 0, 0, 1, &entry);
	request_scratch(g, EXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PSC_PRIVATE);
	ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
}

/* KVM_HC_MAP_GPA_RANGE as a hypercall goes to userspace, and its result back to the guest. */
GHCB_TEST_F(snp_ghcb, hypercall_to_userspace)
{
	struct ghcb_vm *g = &self->g;
	int i;

	for (i = 0; i < 2; i++) {
		request(g, EXIT_VMMCALL, 0, 0);
		ghcb_set(g, GHCB_RAX, KVM_HC_MAP_GPA_RANGE);
		ghcb_set(g, GHCB_RBX, PSC_GFN << 12);
		ghcb_set(g, GHCB_RCX, 1);
		ghcb_set(g, GHCB_RDX,
			 i ? KVM_MAP_GPA_RANGE_ENCRYPTED : KVM_MAP_GPA_RANGE_DECRYPTED);
		g->ghcb[GHCB_CPL] = 0;
		page_set_valid(g->ghcb, GHCB_CPL);
		ASSERT_PSC_EXIT(g, PSC_GFN, 1, i ? SNP_PSC_PRIVATE : SNP_PSC_SHARED);
		g->vcpu->run->hypercall.ret = i ? EINVAL : 0;
		ASSERT_ANSWER(g, RESP_NO_ACTION, 0);
		EXPECT_EQ(i ? EINVAL : 0, ghcb_get(g, GHCB_RAX));
	}
}

/* --- SEV-ES --------------------------------------------------------------------------------------- */

FIXTURE(no_vm) {
};

FIXTURE_SETUP(no_vm)
{
}

FIXTURE_TEARDOWN(no_vm)
{
}

/* Requests that only an SNP guest may make are unknown events to any other. */
TEST_F_TIMEOUT(no_vm, sev_es_guest_asks_for_snp, CASE_SECONDS)
{
	static const u64 codes[] = {
		EXIT_AP_CREATION, EXIT_GUEST_REQUEST, EXIT_EXT_GUEST_REQUEST, EXIT_PSC,
	};
	struct ghcb_vm vm, *g = &vm;
	int i;

	if (!has_type(KVM_X86_SEV_ES_VM))
		SKIP(return, "KVM has no SEV-ES VMs");

	create(g, KVM_X86_SEV_ES_VM, 1);
	for (i = 0; i < ARRAY_SIZE(codes); i++) {
		request_scratch(g, codes[i], g->other_gpa, g->ghcb_gpa, GHCB_SHARED_BUFFER);
		ghcb_set(g, GHCB_RAX, g->other_gpa);
		ghcb_set(g, GHCB_RBX, 0);
		ASSERT_ANSWER(g, RESP_MALFORMED_INPUT, ERR_INVALID_EVENT);
	}
	kvm_vm_free(g->vm);
}

/* --- VMs ------------------------------------------------------------------------------------------ */

/* Makes a VM with that version of the GHCB protocol. Returns 0 or the error. */
static int init2(u32 type, u16 version)
{
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = type };
	struct kvm_sev_init init = { .ghcb_version = version };
	struct kvm_vm *vm = ____vm_create(shape);
	int ret = -snp_sev_op(vm, KVM_SEV_INIT2, &init, NULL);

	kvm_vm_free(vm);
	return ret;
}

/* SNP came with version 2 of the protocol. 0 is KVM's default. */
TEST_F_TIMEOUT(no_vm, init_with_ghcb_version, CASE_SECONDS)
{
	EXPECT_EQ(0, init2(KVM_X86_SNP_VM, 0));
	EXPECT_EQ(EINVAL, init2(KVM_X86_SNP_VM, 1));
	EXPECT_EQ(0, init2(KVM_X86_SNP_VM, 2));
	EXPECT_EQ(EINVAL, init2(KVM_X86_SNP_VM, 0xffff));
	if (has_type(KVM_X86_SEV_ES_VM)) {
		EXPECT_EQ(0, init2(KVM_X86_SEV_ES_VM, 1));
		EXPECT_EQ(0, init2(KVM_X86_SEV_ES_VM, 2));
	}
	if (has_type(KVM_X86_SEV_VM))
		EXPECT_EQ(EINVAL, init2(KVM_X86_SEV_VM, 2));
}

/* A GPA without memory, for a slot of the test's own. */
#define OWN_GPA		0x50000000ull
#define OWN_SLOT	30

/*
 * A VM goes away while a vCPU is in an exit to userspace, i.e. with its GHCB mapped. Its GHCB is in a
 * file of the test's: while anybody holds a page of a file, it cannot be sealed against writing.
 */
TEST_F_TIMEOUT(no_vm, ghcb_is_released_with_the_vm, CASE_SECONDS)
{
	int fd = memfd_create("ghcb", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct kvm_userspace_memory_region2 region = {
		.slot = OWN_SLOT,
		.guest_phys_addr = OWN_GPA,
		.memory_size = PAGE_SIZE,
	};
	struct ghcb_vm vm, *g = &vm;
	void *page;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, PAGE_SIZE));
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, page);

	create(g, KVM_X86_SNP_VM, 1);
	region.userspace_addr = (unsigned long)page;
	ASSERT_EQ(0, ioctl(g->vm->fd, KVM_SET_USER_MEMORY_REGION2, &region));
	g->ghcb = page;
	g->ghcb_gpa = OWN_GPA;
	register_ghcb(g);

	/* While the vCPU is in its exit, KVM has the page. */
	request(g, EXIT_IOIO, IOIO_PORT(TEST_PORT) | IOIO_BYTES(1), 0);
	ghcb_set(g, GHCB_RAX, 1);
	ASSERT_EXIT(g, KVM_EXIT_IO);
	kvm_vm_free(g->vm);
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	EXPECT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE))
		TH_LOG("expected nobody to hold the GHCB's page, found: %s", strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	snp_require_snp();
	return test_harness_run(argc, argv);
}
