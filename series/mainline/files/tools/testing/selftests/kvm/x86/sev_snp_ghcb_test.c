// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test KVM's responses to the requests that a SEV-ES or SEV-SNP guest makes by
 * VMGEXIT, in the GHCB MSR and in the GHCB page.
 *
 * The host writes every request, good or bad, into the shared GHCB page, and the
 * guest does nothing but VMGEXIT (sev_guest.h).  So every case says in one place
 * what the guest asks for, what userspace gets to see, and what the guest is told.
 *
 * What to expect is specified by "SEV-ES Guest-Hypervisor Communication Block
 * Standardization" (56421), in short the GHCB specification: the title of the
 * section is above the cases.  What userspace sees is specified by
 * Documentation/virt/kvm/api.rst and x86/amd-memory-encryption.rst.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "sev_guest.h"

/* Ends a case that hangs.  On hardware, a case takes less than a second. */
#define CASE_SECONDS	60
#define GHCB_TEST_F(fixture, name)	TEST_F_TIMEOUT(fixture, name, CASE_SECONDS)

#define CPUID_SEV		0x8000001f
#define CPUID_XSTATE		0xd
#define XSTATE_SIZE_SSE		0x240
#define XSTATE_SIZE_AVX		0x340

#define TEST_PORT		0x5a
/* A GPA without memory, and not the local APIC's. */
#define MMIO_GPA		0xd0000000ull
/* GFNs for page state changes that nobody carries out, and entries of a list. */
#define PSC_GFN			0x80000ull
#define TO_PRIVATE(n)		GHCB_PSC_ENTRY(PSC_GFN + (n), SNP_PAGE_STATE_PRIVATE)
#define TO_SHARED(n)		GHCB_PSC_ENTRY(PSC_GFN + (n), SNP_PAGE_STATE_SHARED)
/* The GHCB specification has no event with this number. */
#define UNKNOWN_EVENT		0x80001234

static u16 psc_current(struct ghcb_vm *g, unsigned int offset)
{
	return READ_ONCE(*(u16 *)(g->ghcb + offset));
}

/* Asks for CPUID of a leaf, subleaf 0. */
static void request_cpuid(struct ghcb_vm *g, u32 leaf)
{
	ghcb_vm_request(g, SVM_EXIT_CPUID, 0, 0);
	ghcb_set(g, GHCB_RAX, leaf);
	ghcb_set(g, GHCB_RCX, 0);
}

FIXTURE(snp_ghcb) {
	struct ghcb_vm g;
};

FIXTURE_SETUP(snp_ghcb)
{
	ghcb_vm_create(&self->g, KVM_X86_SNP_VM, 1);
}

FIXTURE_TEARDOWN(snp_ghcb)
{
	kvm_vm_free(self->g.vm);
}

/* --- GHCB specification, "GHCB MSR Protocol" ------------------------------------- */

/* "SEV Information": versions of the protocol and the C-bit's position. */
GHCB_TEST_F(snp_ghcb, msr_sev_information)
{
	struct ghcb_vm *g = &self->g;
	u64 answer;

	ghcb_vm_request_msr(g, GHCB_MSR_SEV_INFO_REQ);
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	answer = g->box->answer;
	EXPECT_EQ(GHCB_MSR_SEV_INFO_RESP, GHCB_MSR_INFO(answer));
	/* The newest and the oldest version, and the C-bit.  SNP needs version 2. */
	EXPECT_LE(2, answer >> 48);
	EXPECT_GE(2, (answer >> 32) & 0xffff);
	EXPECT_EQ(g->vm->arch.c_bit, BIT_ULL((answer >> 24) & 0xff));
}

/* "Hypervisor Feature Support": SNP, without which there is no SNP guest. */
GHCB_TEST_F(snp_ghcb, msr_hypervisor_features)
{
	struct ghcb_vm *g = &self->g;

	ghcb_vm_request_msr(g, GHCB_MSR_HV_FT_REQ);
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_MSR_HV_FT_RESP, GHCB_MSR_INFO(g->box->answer));
	EXPECT_EQ(GHCB_HV_FT_SNP | GHCB_HV_FT_SNP_AP_CREATION,
		  (g->box->answer >> 12) & (GHCB_HV_FT_SNP | GHCB_HV_FT_SNP_AP_CREATION));
}

/* "CPUID": one register a request. */
GHCB_TEST_F(snp_ghcb, msr_cpuid)
{
	struct ghcb_vm *g = &self->g;

	/* EBX (register 1), whose lower bits have the C-bit's number. */
	ghcb_vm_request_msr(g, (u64)CPUID_SEV << 32 | 1ull << 30 | GHCB_MSR_CPUID_REQ);
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_MSR_CPUID_RESP, GHCB_MSR_INFO(g->box->answer));
	EXPECT_EQ(g->vm->arch.c_bit, BIT_ULL((g->box->answer >> 32) & 0x3f));
}

/* "SNP Page State Change": an error, bits 63:32, isn't zero. */
GHCB_TEST_F(snp_ghcb, msr_page_state_change)
{
	struct ghcb_vm *g = &self->g;

	ghcb_vm_request_msr(g, TO_SHARED(0) | GHCB_MSR_PSC_REQ);
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PAGE_STATE_SHARED);
	g->vcpu->run->hypercall.ret = 0;
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_MSR_PSC_RESP, g->box->answer);

	ghcb_vm_request_msr(g, TO_PRIVATE(0) | GHCB_MSR_PSC_REQ);
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PAGE_STATE_PRIVATE);
	g->vcpu->run->hypercall.ret = 0;
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_MSR_PSC_RESP, g->box->answer);

	/* There is no operation 3 in this protocol. */
	ghcb_vm_request_msr(g, GHCB_PSC_ENTRY(PSC_GFN, 3ull) | GHCB_MSR_PSC_REQ);
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_MSR_PSC_RESP_ERROR, g->box->answer);
}

/* --- GHCB specification, "Invoking VMGEXIT": what every request needs -------------- */

GHCB_TEST_F(snp_ghcb, cpuid)
{
	struct ghcb_vm *g = &self->g;

	request_cpuid(g, CPUID_SEV);
	GHCB_ASSERT_OK(g);
	ASSERT_TRUE(ghcb_is_valid(g, GHCB_RBX));
	EXPECT_EQ(g->vm->arch.c_bit, BIT_ULL(ghcb_get(g, GHCB_RBX) & 0x3f));
}

/* Input is what the guest has marked as valid, in the bitmap. */
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
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_MISSING_INPUT);
	}

	/* Leaf 0xd depends on XCR0. */
	request_cpuid(g, CPUID_XSTATE);
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_MISSING_INPUT);
}

/* Error code 6: there is no such event. */
GHCB_TEST_F(snp_ghcb, unknown_event)
{
	struct ghcb_vm *g = &self->g;

	ghcb_vm_request(g, UNKNOWN_EVENT, 0, 0);
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_EVENT);
}

/* Error code 2: the page isn't used as the GHCB that the specification describes. */
GHCB_TEST_F(snp_ghcb, unknown_usage)
{
	struct ghcb_vm *g = &self->g;

	request_cpuid(g, CPUID_SEV);
	*(u32 *)(g->ghcb + GHCB_USAGE) = 7;
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_USAGE);
}

/*
 * "GHCB GPA Register": an SNP guest has to register its GHCB.  A guest that didn't
 * learns so, by error code 1; it isn't ended.
 */
GHCB_TEST_F(snp_ghcb, unregistered_page)
{
	struct ghcb_vm *g = &self->g;

	ghcb_page_request(g->other, SVM_EXIT_CPUID, 0, 0);
	ghcb_page_set(g->other, GHCB_RAX, CPUID_SEV);
	ghcb_page_set(g->other, GHCB_RCX, 0);
	g->box->what = GHCB_TASK_PAGE;
	g->box->msr = g->other_gpa;
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_HV_RESP_MALFORMED_INPUT, *(u64 *)(g->other + GHCB_SW_EXITINFO1));
	EXPECT_EQ(GHCB_ERR_NOT_REGISTERED, *(u64 *)(g->other + GHCB_SW_EXITINFO2));
}

/*
 * --- GHCB specification, "SNP Page State Change": a list in the shared buffer --------
 *
 * Its errors: the header is invalid, an entry is invalid.  Documentation of
 * KVM_EXIT_HYPERCALL has what userspace sees.
 */

/* Userspace sees adjacent pages as one range.  The header tells how far KVM got. */
GHCB_TEST_F(snp_ghcb, psc_of_adjacent_pages)
{
	const u64 entries[] = {
		TO_PRIVATE(0), TO_PRIVATE(1),
		TO_PRIVATE(2), TO_SHARED(9),
	};
	struct ghcb_vm *g = &self->g;

	ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, 0, 3, 4, entries);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 3, SNP_PAGE_STATE_PRIVATE);
	g->vcpu->run->hypercall.ret = 0;
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN + 9, 1, SNP_PAGE_STATE_SHARED);
	g->vcpu->run->hypercall.ret = 0;
	GHCB_ASSERT_OK(g);
	EXPECT_EQ(4, psc_current(g, GHCB_SHARED_BUFFER));
}

/* The header says which entries are meant: some may be done already. */
GHCB_TEST_F(snp_ghcb, psc_continues_at_current_entry)
{
	const u64 entries[] = {
		TO_PRIVATE(0), TO_SHARED(5),
	};
	struct ghcb_vm *g = &self->g;

	ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, 1, 1, 2, entries);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN + 5, 1, SNP_PAGE_STATE_SHARED);
	g->vcpu->run->hypercall.ret = 0;
	GHCB_ASSERT_OK(g);

	ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, 2, 1, 2, entries);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_OK(g);
}

/* 2MiB have to be aligned, and can't have more pages done than there are. */
GHCB_TEST_F(snp_ghcb, psc_bad_entry)
{
	const u64 entries[] = {
		/* 2 MB, not aligned; and more pages done than the entry has. */
		TO_PRIVATE(1) | GHCB_PSC_2M,
		TO_PRIVATE(0) | 2,
	};
	struct ghcb_vm *g = &self->g;
	int i;

	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, 0, 0, 1, &entries[i]);
		ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
		GHCB_ASSERT_RESPONSE(g, GHCB_HV_RESP_NO_ACTION, GHCB_PSC_ERROR_INVALID_ENTRY);
	}
}

/*
 * A buffer with room for one entry, and a header that says there are two.  The
 * second one would be behind the shared buffer, and is a good one.
 */
GHCB_TEST_F(snp_ghcb, psc_entries_past_buffer)
{
	const unsigned int offset = GHCB_SHARED_BUFFER_END - 16;
	const u64 entries[] = {
		TO_PRIVATE(0), TO_SHARED(7),
	};
	struct ghcb_vm *g = &self->g;

	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, offset);
	ghcb_vm_put_psc(g, offset, 0, 1, 2, entries);
	GHCB_ASSERT_RESPONSE(g, GHCB_HV_RESP_NO_ACTION, GHCB_PSC_ERROR_INVALID_HDR);

	/* Far more than any buffer has. */
	ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, 0, 0xffff, 2, entries);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_RESPONSE(g, GHCB_HV_RESP_NO_ACTION, GHCB_PSC_ERROR_INVALID_HDR);
}

/* SW_EXITINFO2 isn't a length here, and must not be taken for one. */
GHCB_TEST_F(snp_ghcb, psc_has_no_length)
{
	const u64 entry = TO_PRIVATE(0);
	struct ghcb_vm *g = &self->g;

	ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, 0, 0, 1, &entry);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0x1000, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PAGE_STATE_PRIVATE);
	g->vcpu->run->hypercall.ret = 0;
	GHCB_ASSERT_OK(g);
}

/* Not even the header fits: the scratch area isn't valid. */
GHCB_TEST_F(snp_ghcb, psc_header_past_buffer)
{
	struct ghcb_vm *g = &self->g;

	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER_END);
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_SCRATCH_AREA);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER_END - 4);
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_SCRATCH_AREA);
}

/*
 * The guest changes the header while userspace handles the first entry.  It's too
 * late for this request, of which KVM has checked the header.
 */
GHCB_TEST_F(snp_ghcb, psc_header_is_read_once)
{
	const u64 entries[] = {
		TO_PRIVATE(0), TO_PRIVATE(4),
		TO_PRIVATE(8),
	};
	struct ghcb_vm *g = &self->g;

	ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, 0, 0, 3, entries);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PAGE_STATE_PRIVATE);
	((u16 *)(g->ghcb + GHCB_SHARED_BUFFER))[1] = 2;
	g->vcpu->run->hypercall.ret = 0;
	GHCB_ASSERT_OK(g);
}

/* --- GHCB specification, "GHCB Layout": the scratch area, as of version 2 ------------ */

/* SW_SCRATCH has to be in the shared buffer, else it's error code 3. */
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
		ghcb_vm_request(g, SVM_VMGEXIT_MMIO_READ, MMIO_GPA, 4);
		ghcb_set(g, GHCB_SW_SCRATCH, bad[i]);
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_SCRATCH_AREA);
	}
}

/*
 * --- GHCB specification, "MMIO Access": address, length, data in the scratch area ----
 *
 * KVM_EXIT_MMIO has what userspace sees: up to 8 bytes of data.
 */

/* The guest's request for so many bytes in the shared buffer comes to userspace. */
static void run_to_mmio(struct __test_metadata *_metadata, struct ghcb_vm *g, u64 code, int len)
{
	struct kvm_run *kvm_run = g->vcpu->run;

	ghcb_vm_request_scratch(g, code, MMIO_GPA, len, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_EXIT(g, KVM_EXIT_MMIO);
	EXPECT_EQ(MMIO_GPA, kvm_run->mmio.phys_addr);
	EXPECT_EQ(len, kvm_run->mmio.len);
	EXPECT_EQ(code == SVM_VMGEXIT_MMIO_WRITE, kvm_run->mmio.is_write);
}

GHCB_TEST_F(snp_ghcb, mmio_read)
{
	struct ghcb_vm *g = &self->g;
	struct kvm_run *kvm_run = g->vcpu->run;
	u64 value = 0x1122334455667788, found;
	int len;

	for (len = 1; len <= 8; len *= 2) {
		memset(g->ghcb + GHCB_SHARED_BUFFER, 0xee, 16);
		run_to_mmio(_metadata, g, SVM_VMGEXIT_MMIO_READ, len);
		memcpy(kvm_run->mmio.data, &value, len);
		GHCB_ASSERT_OK(g);

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
		run_to_mmio(_metadata, g, SVM_VMGEXIT_MMIO_WRITE, len);
		EXPECT_EQ(0, memcmp(kvm_run->mmio.data, &value, len));
		/* A write returns no data, whatever userspace leaves behind. */
		memset(kvm_run->mmio.data, 0xaa, 8);
		GHCB_ASSERT_OK(g);
		EXPECT_EQ(value, *(u64 *)(g->ghcb + GHCB_SHARED_BUFFER));
	}
}

/* Nothing to do is no error; and there is nothing for userspace to do. */
GHCB_TEST_F(snp_ghcb, mmio_of_no_bytes)
{
	struct ghcb_vm *g = &self->g;

	ghcb_vm_request_scratch(g, SVM_VMGEXIT_MMIO_READ, MMIO_GPA, 0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_OK(g);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_MMIO_WRITE, MMIO_GPA, 0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_OK(g);
}

/* More than an instruction can access at once: error code 5. */
GHCB_TEST_F(snp_ghcb, mmio_of_too_many_bytes)
{
	struct ghcb_vm *g = &self->g;

	ghcb_vm_request_scratch(g, SVM_VMGEXIT_MMIO_READ, MMIO_GPA, 9, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_MMIO_WRITE, MMIO_GPA, 16, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
}

/*
 * --- GHCB specification, IOIO_PROT: as the intercept's EXITINFO1, data in RAX ---------
 *
 * Strings are in the scratch area, SW_EXITINFO2 is how many elements they have.
 * KVM_EXIT_IO has what userspace sees.
 */

GHCB_TEST_F(snp_ghcb, port_io)
{
	struct ghcb_vm *g = &self->g;
	struct kvm_run *kvm_run = g->vcpu->run;
	u8 *data;
	int len;

	for (len = 1; len <= 4; len *= 2) {
		ghcb_vm_request(g, SVM_EXIT_IOIO,
				GHCB_IOIO_PORT(TEST_PORT) | GHCB_IOIO_BYTES(len), 0);
		ghcb_set(g, GHCB_RAX, 0x44332211);
		GHCB_ASSERT_EXIT(g, KVM_EXIT_IO);
		data = (u8 *)kvm_run + kvm_run->io.data_offset;
		EXPECT_EQ(KVM_EXIT_IO_OUT, kvm_run->io.direction);
		EXPECT_EQ(TEST_PORT, kvm_run->io.port);
		EXPECT_EQ(len, kvm_run->io.size);
		EXPECT_EQ(1, kvm_run->io.count);
		EXPECT_EQ(0, memcmp(data, "\x11\x22\x33\x44", len));
		GHCB_ASSERT_OK(g);

		ghcb_vm_request(g, SVM_EXIT_IOIO,
				GHCB_IOIO_PORT(TEST_PORT) | GHCB_IOIO_BYTES(len) | GHCB_IOIO_IN, 0);
		ghcb_set(g, GHCB_RAX, 0);
		GHCB_ASSERT_EXIT(g, KVM_EXIT_IO);
		data = (u8 *)kvm_run + kvm_run->io.data_offset;
		EXPECT_EQ(KVM_EXIT_IO_IN, kvm_run->io.direction);
		EXPECT_EQ(len, kvm_run->io.size);
		memcpy(data, "\x55\x66\x77\x88", len);
		GHCB_ASSERT_OK(g);
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
	ghcb_vm_request_scratch(g, SVM_EXIT_IOIO,
				GHCB_IOIO_PORT(TEST_PORT) | GHCB_IOIO_BYTES(2) | GHCB_IOIO_STRING,
				4, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_EXIT(g, KVM_EXIT_IO);
	data = (u8 *)kvm_run + kvm_run->io.data_offset;
	EXPECT_EQ(KVM_EXIT_IO_OUT, kvm_run->io.direction);
	EXPECT_EQ(2, kvm_run->io.size);
	EXPECT_EQ(4, kvm_run->io.count);
	EXPECT_EQ(0, memcmp(data, "abcdefgh", 8));
	GHCB_ASSERT_OK(g);
}

/* As for MMIO: nothing to do is no error, and no exit to userspace. */
GHCB_TEST_F(snp_ghcb, port_io_of_no_bytes)
{
	struct ghcb_vm *g = &self->g;

	/* A string without elements, then an access without a size. */
	ghcb_vm_request_scratch(g, SVM_EXIT_IOIO,
				GHCB_IOIO_PORT(TEST_PORT) | GHCB_IOIO_BYTES(1) | GHCB_IOIO_STRING,
				0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_OK(g);
	ghcb_vm_request(g, SVM_EXIT_IOIO, GHCB_IOIO_PORT(TEST_PORT), 0);
	ghcb_set(g, GHCB_RAX, 1);
	GHCB_ASSERT_OK(g);
}

/* --- Other requests ------------------------------------------------------------------ */

/*
 * GHCB specification, "SNP Guest Request" and "SNP Extended Guest Request": the
 * request and the response are two different pages, not parts of pages.
 */
GHCB_TEST_F(snp_ghcb, guest_request_with_bad_pages)
{
	static const u64 codes[] = { SVM_VMGEXIT_GUEST_REQUEST, SVM_VMGEXIT_EXT_GUEST_REQUEST };
	struct ghcb_vm *g = &self->g;
	int i;

	for (i = 0; i < ARRAY_SIZE(codes); i++) {
		ghcb_vm_request(g, codes[i], g->other_gpa, g->other_gpa);
		ghcb_set(g, GHCB_RAX, g->other_gpa);
		ghcb_set(g, GHCB_RBX, 0);
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
		ghcb_vm_request(g, codes[i], g->other_gpa + 8, g->ghcb_gpa);
		ghcb_set(g, GHCB_RAX, g->other_gpa);
		ghcb_set(g, GHCB_RBX, 0);
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
		ghcb_vm_request(g, codes[i], g->other_gpa, g->ghcb_gpa + 8);
		ghcb_set(g, GHCB_RAX, g->other_gpa);
		ghcb_set(g, GHCB_RBX, 0);
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);
	}
}

/*
 * GHCB specification, CPUID: leaf 0xd depends on the XCR0 that the guest says it has.
 * XCR0 must have the x87 state, and SSE state with AVX (APM volume 2, "Extended
 * State Management").  A value that no CPU takes isn't the guest's XCR0.
 */
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
		GHCB_ASSERT_OK(g);
		EXPECT_EQ(cases[i].size, ghcb_get(g, GHCB_RBX))
			TH_LOG("XCR0 0x%lx", cases[i].xcr0);
	}
}

/*
 * GHCB specification, VMMCALL: RAX has the call, and then its result.  A call that
 * KVM doesn't know has the result -KVM_ENOSYS (Documentation/virt/kvm/x86/
 * hypercalls.rst).  It must not be taken for userspace's refusal of a page state
 * change, which userspace that never writes run->hypercall.ret doesn't refuse.
 */
GHCB_TEST_F(snp_ghcb, hypercall_then_page_state_change)
{
	const u64 entry = TO_PRIVATE(0);
	struct ghcb_vm *g = &self->g;

	ghcb_vm_request(g, SVM_EXIT_VMMCALL, 0, 0);
	ghcb_set(g, GHCB_RAX, 0xffff);
	g->ghcb[GHCB_CPL] = 0;
	ghcb_page_set_valid(g->ghcb, GHCB_CPL);
	GHCB_ASSERT_OK(g);
	EXPECT_EQ((u64)-KVM_ENOSYS, ghcb_get(g, GHCB_RAX));

	ghcb_vm_request_msr(g, TO_SHARED(0) | GHCB_MSR_PSC_REQ);
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PAGE_STATE_SHARED);
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_MSR_PSC_RESP, g->box->answer);

	ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, 0, 0, 1, &entry);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PAGE_STATE_PRIVATE);
	GHCB_ASSERT_OK(g);
}

/* KVM_HC_MAP_GPA_RANGE goes to userspace, and userspace's result to the guest. */
GHCB_TEST_F(snp_ghcb, hypercall_to_userspace)
{
	struct ghcb_vm *g = &self->g;
	int i;

	for (i = 0; i < 2; i++) {
		ghcb_vm_request(g, SVM_EXIT_VMMCALL, 0, 0);
		ghcb_set(g, GHCB_RAX, KVM_HC_MAP_GPA_RANGE);
		ghcb_set(g, GHCB_RBX, PSC_GFN << 12);
		ghcb_set(g, GHCB_RCX, 1);
		ghcb_set(g, GHCB_RDX,
			 i ? KVM_MAP_GPA_RANGE_ENCRYPTED : KVM_MAP_GPA_RANGE_DECRYPTED);
		g->ghcb[GHCB_CPL] = 0;
		ghcb_page_set_valid(g->ghcb, GHCB_CPL);
		GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 1,
				     i ? SNP_PAGE_STATE_PRIVATE : SNP_PAGE_STATE_SHARED);
		g->vcpu->run->hypercall.ret = i ? EINVAL : 0;
		GHCB_ASSERT_OK(g);
		EXPECT_EQ(i ? EINVAL : 0, ghcb_get(g, GHCB_RAX));
	}
}

/* --- SEV-ES ---------------------------------------------------------------------------- */

FIXTURE(no_vm) {
};

FIXTURE_SETUP(no_vm)
{
}

FIXTURE_TEARDOWN(no_vm)
{
}

/*
 * GHCB specification, error code 6: what only an SNP guest may ask for is no valid
 * event of another guest.
 */
TEST_F_TIMEOUT(no_vm, sev_es_guest_asks_for_snp, CASE_SECONDS)
{
	static const u64 codes[] = {
		SVM_VMGEXIT_AP_CREATION, SVM_VMGEXIT_GUEST_REQUEST,
		SVM_VMGEXIT_EXT_GUEST_REQUEST, SVM_VMGEXIT_PSC,
	};
	struct ghcb_vm vm, *g = &vm;
	int i;

	if (!sev_is_vm_type_supported(KVM_X86_SEV_ES_VM))
		SKIP(return, "KVM has no SEV-ES VMs");

	ghcb_vm_create(g, KVM_X86_SEV_ES_VM, 1);
	for (i = 0; i < ARRAY_SIZE(codes); i++) {
		ghcb_vm_request_scratch(g, codes[i], g->other_gpa, g->ghcb_gpa, GHCB_SHARED_BUFFER);
		ghcb_set(g, GHCB_RAX, g->other_gpa);
		ghcb_set(g, GHCB_RBX, 0);
		GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_EVENT);
	}
	kvm_vm_free(g->vm);
}

/* --- VMs ------------------------------------------------------------------------------- */

/* Makes a VM with that version of the GHCB protocol.  Returns 0 or the error. */
static int init2(u32 type, u16 version)
{
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = type };
	struct kvm_sev_init init = { .ghcb_version = version };
	struct kvm_vm *vm = ____vm_create(shape);
	int ret = __vm_sev_op(vm, KVM_SEV_INIT2, &init, NULL) ? errno : 0;

	kvm_vm_free(vm);
	return ret;
}

/*
 * KVM_SEV_INIT2's ghcb_version: 0 is KVM's default.  SNP came with version 2 of the
 * GHCB specification, and plain SEV has no GHCB.
 */
TEST_F_TIMEOUT(no_vm, init_with_ghcb_version, CASE_SECONDS)
{
	EXPECT_EQ(0, init2(KVM_X86_SNP_VM, 0));
	EXPECT_EQ(EINVAL, init2(KVM_X86_SNP_VM, 1));
	EXPECT_EQ(0, init2(KVM_X86_SNP_VM, 2));
	EXPECT_EQ(EINVAL, init2(KVM_X86_SNP_VM, 0xffff));
	if (sev_is_vm_type_supported(KVM_X86_SEV_ES_VM)) {
		EXPECT_EQ(0, init2(KVM_X86_SEV_ES_VM, 1));
		EXPECT_EQ(0, init2(KVM_X86_SEV_ES_VM, 2));
	}
	if (sev_is_vm_type_supported(KVM_X86_SEV_VM))
		EXPECT_EQ(EINVAL, init2(KVM_X86_SEV_VM, 2));
}

/* A GPA without memory, for a slot of the test's own. */
#define OWN_GPA		0x50000000ull
#define OWN_SLOT	30

/*
 * A VM goes away while a vCPU is in an exit to userspace, i.e. with its GHCB mapped.
 * The GHCB is in a file of the test's: while anybody holds a page of a file, it
 * can't be sealed against writing (fcntl(2), F_SEAL_WRITE).
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

	ghcb_vm_create(g, KVM_X86_SNP_VM, 1);
	region.userspace_addr = (unsigned long)page;
	ASSERT_EQ(0, ioctl(g->vm->fd, KVM_SET_USER_MEMORY_REGION2, &region));
	g->ghcb = page;
	g->ghcb_gpa = OWN_GPA;
	ghcb_vm_register(g);

	/* While the vCPU is in its exit, KVM has the page. */
	ghcb_vm_request(g, SVM_EXIT_IOIO, GHCB_IOIO_PORT(TEST_PORT) | GHCB_IOIO_BYTES(1), 0);
	ghcb_set(g, GHCB_RAX, 1);
	GHCB_ASSERT_EXIT(g, KVM_EXIT_IO);
	kvm_vm_free(g->vm);
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	EXPECT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE))
		TH_LOG("expected nobody to hold the GHCB's page, found: %s", strerror(errno));
	close(fd);
}

/* --- What is done of a list of page state changes ("Page State Change") ---------- */

#define PSC_LIST	3
#define DONE(pages)	((u64)(pages))
#define TO_PRIVATE_2M(n)	(TO_PRIVATE(n) | GHCB_PSC_2M)

struct psc_list {
	const char *what;
	u16 first, last;
	u64 entries[PSC_LIST];
	/* Exits to userspace, until there are no pages, and whether userspace refuses. */
	struct {
		u64 n;
		u16 nr_pages;
		bool refused;
	} exits[PSC_LIST];
	/* The response; -1 for any error. */
	u64 response;
	/* In the list afterwards: the header's cur_entry, and each entry's cur_page. */
	u16 current, pages[PSC_LIST];
};

/* Makes the guest ask for a list. */
static void check_psc_list(struct __test_metadata *_metadata, struct ghcb_vm *g,
			   const struct psc_list *l)
{
	u64 *list = (u64 *)(g->ghcb + GHCB_SHARED_BUFFER + GHCB_PSC_HEADER_SIZE);
	struct kvm_run *run = g->vcpu->run;
	u64 response;
	int i;

	ghcb_vm_put_psc(g, GHCB_SHARED_BUFFER, l->first, l->last, PSC_LIST, l->entries);
	ghcb_vm_request_scratch(g, SVM_VMGEXIT_PSC, 0, 0, GHCB_SHARED_BUFFER);
	for (i = 0; i < PSC_LIST && l->exits[i].nr_pages; i++) {
		GHCB_ASSERT_EXIT(g, KVM_EXIT_HYPERCALL);
		EXPECT_EQ((PSC_GFN + l->exits[i].n) << 12, run->hypercall.args[0]);
		EXPECT_EQ(l->exits[i].nr_pages, run->hypercall.args[1]);
		run->hypercall.ret = l->exits[i].refused ? EINVAL : 0;
	}
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_HV_RESP_NO_ACTION, ghcb_get(g, GHCB_SW_EXITINFO1));
	response = ghcb_get(g, GHCB_SW_EXITINFO2);
	if (l->response == -1ull) {
		EXPECT_NE(0, response >> 32)
			TH_LOG("%s", l->what);
	} else {
		EXPECT_EQ(l->response, response)
			TH_LOG("%s", l->what);
	}
	EXPECT_EQ(l->current, psc_current(g, GHCB_SHARED_BUFFER))
		TH_LOG("%s: the header's cur_entry", l->what);
	for (i = 0; i < PSC_LIST; i++) {
		EXPECT_EQ(l->entries[i] & ~0xfffull, list[i] & ~0xfffull)
			TH_LOG("%s: entry %d", l->what, i);
		EXPECT_EQ(l->pages[i], list[i] & 0xfff)
			TH_LOG("%s: cur_page of entry %d", l->what, i);
	}
}

/*
 * The hypervisor keeps cur_entry and cur_page up to date: afterwards they say what is
 * done, and where the guest has to go on if not all is.
 */
GHCB_TEST_F(snp_ghcb, psc_list_says_what_is_done)
{
	static const struct psc_list lists[] = {
		{ "all done by this request", 0, 2, { TO_PRIVATE(0), TO_SHARED(4), TO_PRIVATE(8) },
		  { { 0, 1 }, { 4, 1 }, { 8, 1 } }, 0, 3, { 1, 1, 1 } },
		{ "last one done before", 0, 1, { TO_PRIVATE(0), TO_SHARED(4) | DONE(1) },
		  { { 0, 1 } }, 0, 2, { 1, 1 } },
		{ "last one of 2M done before", 0, 1,
		  { TO_PRIVATE(0), TO_PRIVATE_2M(512) | DONE(512) },
		  { { 0, 1 } }, 0, 2, { 1, 512 } },
		{ "all done before", 0, 2,
		  { TO_PRIVATE(0) | DONE(1), TO_SHARED(4) | DONE(1),
		    TO_PRIVATE_2M(512) | DONE(512) },
		  { }, 0, 3, { 1, 1, 512 } },
		{ "only entry done before, not the first", 1, 1,
		  { TO_PRIVATE(0), TO_SHARED(4) | DONE(1) }, { }, 0, 2, { 0, 1 } },
		{ "2M, a part done before", 0, 0, { TO_PRIVATE_2M(512) | DONE(3) },
		  { { 515, 509 } }, 0, 1, { 512 } },
		{ "2M, the adjacent one half done before", 0, 1,
		  { TO_PRIVATE_2M(0), TO_PRIVATE_2M(512) | DONE(256) },
		  { { 0, 512 }, { 768, 256 } }, 0, 2, { 512, 512 } },
		{ "2M, a part done before, and the adjacent one", 0, 1,
		  { TO_PRIVATE_2M(0) | DONE(511), TO_PRIVATE_2M(512) },
		  { { 511, 1 }, { 512, 512 } }, 0, 2, { 512, 512 } },
		{ "adjacent ones, the second done before", 0, 2,
		  { TO_SHARED(0), TO_SHARED(1) | DONE(1), TO_SHARED(2) },
		  { { 0, 1 }, { 2, 1 } }, 0, 3, { 1, 1, 1 } },
		{ "adjacent ones of different size", 0, 1,
		  { TO_PRIVATE_2M(0), TO_PRIVATE(512) },
		  { { 0, 512 }, { 512, 1 } }, 0, 2, { 512, 1 } },
		{ "adjacent ones of different operation", 0, 2,
		  { TO_PRIVATE(0), TO_SHARED(1), TO_SHARED(2) },
		  { { 0, 1 }, { 1, 2 } }, 0, 3, { 1, 1, 1 } },
		{ "bad entry after one done before", 0, 1,
		  { TO_PRIVATE(0) | DONE(1), TO_PRIVATE(4) | DONE(2) },
		  { }, GHCB_PSC_ERROR_INVALID_ENTRY, 1, { 1, 2 } },
		{ "bad entry after one done by this request", 0, 1,
		  { TO_PRIVATE(0), TO_PRIVATE_2M(513) },
		  { { 0, 1 } }, GHCB_PSC_ERROR_INVALID_ENTRY, 1, { 1, 0 } },
		{ "first one refused", 0, 1, { TO_PRIVATE(0), TO_SHARED(4) },
		  { { 0, 1, true } }, -1, 0, { 0, 0 } },
		{ "refused after one done before", 0, 1, { TO_PRIVATE(0) | DONE(1), TO_SHARED(4) },
		  { { 4, 1, true } }, -1, 1, { 1, 0 } },
		{ "refused after both kinds", 0, 2,
		  { TO_PRIVATE(0), TO_SHARED(4) | DONE(1), TO_PRIVATE(8) },
		  { { 0, 1 }, { 8, 1, true } }, -1, 2, { 1, 1, 0 } },
		{ "two at once refused", 0, 2,
		  { TO_SHARED(4) | DONE(1), TO_PRIVATE(0), TO_PRIVATE(1) },
		  { { 0, 2, true } }, -1, 1, { 1, 0, 0 } },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(lists); i++)
		check_psc_list(_metadata, &self->g, &lists[i]);
}

/* --- What else MMIO touches ("MMIO Access") --------------------------------------- */

#define BEHIND_GHCB_BUFFER	(GHCB_PROTOCOL_VERSION - GHCB_SHARED_BUFFER)

/* A read of n bytes writes these into the scratch area, and nothing before and behind. */
GHCB_TEST_F(snp_ghcb, mmio_read_of_each_length)
{
	static const u8 data[8] = { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88 };
	struct ghcb_vm *g = &self->g;
	u8 expected[BEHIND_GHCB_BUFFER], *buffer = g->ghcb + GHCB_SHARED_BUFFER;
	struct kvm_run *run = g->vcpu->run;
	int len, i;

	for (len = 1; len <= 8; len++) {
		const unsigned int offsets[] = {
			0, 0x123, GHCB_SHARED_BUFFER_END - GHCB_SHARED_BUFFER - len,
		};

		for (i = 0; i < ARRAY_SIZE(offsets); i++) {
			memset(buffer, 0xee, BEHIND_GHCB_BUFFER);
			ghcb_vm_request_scratch(g, SVM_VMGEXIT_MMIO_READ, MMIO_GPA, len,
						GHCB_SHARED_BUFFER + offsets[i]);
			GHCB_ASSERT_EXIT(g, KVM_EXIT_MMIO);
			EXPECT_EQ(len, run->mmio.len);
			EXPECT_EQ(0, run->mmio.is_write);
			memcpy(run->mmio.data, data, sizeof(data));
			GHCB_ASSERT_OK(g);

			memset(expected, 0xee, sizeof(expected));
			memcpy(expected + offsets[i], data, len);
			EXPECT_EQ(0, memcmp(expected, buffer, sizeof(expected)))
				TH_LOG("%d bytes at 0x%x", len, offsets[i]);
		}
	}
}

/* A write of n bytes takes these from the scratch area, and writes nothing there. */
GHCB_TEST_F(snp_ghcb, mmio_write_of_each_length)
{
	struct ghcb_vm *g = &self->g;
	u8 before[BEHIND_GHCB_BUFFER], *buffer = g->ghcb + GHCB_SHARED_BUFFER;
	struct kvm_run *run = g->vcpu->run;
	int len, i;

	for (i = 0; i < sizeof(before); i++)
		before[i] = i;
	for (len = 1; len <= 8; len++) {
		const unsigned int offset = GHCB_SHARED_BUFFER_END - GHCB_SHARED_BUFFER - len;

		memcpy(buffer, before, sizeof(before));
		ghcb_vm_request_scratch(g, SVM_VMGEXIT_MMIO_WRITE, MMIO_GPA, len,
					GHCB_SHARED_BUFFER + offset);
		GHCB_ASSERT_EXIT(g, KVM_EXIT_MMIO);
		EXPECT_EQ(len, run->mmio.len);
		EXPECT_EQ(1, run->mmio.is_write);
		EXPECT_EQ(0, memcmp(before + offset, run->mmio.data, len));
		GHCB_ASSERT_OK(g);
		EXPECT_EQ(0, memcmp(before, buffer, sizeof(before)))
			TH_LOG("%d bytes", len);
	}
}

/* --- Strings for a port (#VMEXIT 0x7B, "IOIO_PROT") ----------------------------------- */

/*
 * SW_EXITINFO2 has 64 bits, and is the number of elements, which must be in the shared
 * buffer.  A number that's too large is no smaller one: KVM refuses it.
 */
GHCB_TEST_F(snp_ghcb, port_io_of_too_long_a_string)
{
	static const u64 counts[] = {
		GHCB_SHARED_BUFFER_END - GHCB_SHARED_BUFFER + 1, BIT_ULL(31) - 1, BIT_ULL(31),
		BIT_ULL(32) - 1, BIT_ULL(32), BIT_ULL(32) + 1, BIT_ULL(63) + 1, ~0ull,
	};
	struct ghcb_vm *g = &self->g;
	int i, len, in, ret;

	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		for (len = 1; len <= 4; len *= 2) {
			for (in = 0; in <= 1; in++) {
				ghcb_vm_request_scratch(g, SVM_EXIT_IOIO,
							GHCB_IOIO_PORT(TEST_PORT) |
							GHCB_IOIO_BYTES(len) | GHCB_IOIO_STRING |
							(in ? GHCB_IOIO_IN : 0),
							counts[i], GHCB_SHARED_BUFFER);
				ret = ghcb_vm_run(g);
				if (ret == GHCB_VM_ANSWERED) {
					EXPECT_EQ(GHCB_HV_RESP_MALFORMED_INPUT,
						  ghcb_get(g, GHCB_SW_EXITINFO1))
						TH_LOG("0x%lx elements of %d", counts[i], len);
					continue;
				}
				ASSERT_EQ(-EINVAL, ret)
					TH_LOG("0x%lx elements of %d: found %s", counts[i], len,
					       ghcb_exit_str(ret));
				/* KVM_RUN's error was the response. */
				GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
			}
		}
	}
}

/* --- A hypercall's privilege ("VMMCALL") -------------------------------------------- */

static void request_hypercall(struct ghcb_vm *g, u64 nr, u8 cpl)
{
	ghcb_vm_request(g, SVM_EXIT_VMMCALL, 0, 0);
	ghcb_set(g, GHCB_RAX, nr);
	ghcb_set(g, GHCB_RBX, PSC_GFN << 12);
	ghcb_set(g, GHCB_RCX, 1);
	ghcb_set(g, GHCB_RDX, KVM_MAP_GPA_RANGE_DECRYPTED);
	g->ghcb[GHCB_CPL] = cpl;
	ghcb_page_set_valid(g->ghcb, GHCB_CPL);
}

/* The CPL is in the GHCB, as the hypervisor can't see the guest's: hypercalls need CPL 0. */
GHCB_TEST_F(snp_ghcb, hypercall_of_each_cpl)
{
	struct ghcb_vm *g = &self->g;
	int i;
	u8 cpl;

	for (i = 0; i < 2; i++) {
		for (cpl = 1; cpl <= 3; cpl++) {
			request_hypercall(g, i ? 0xffff : KVM_HC_MAP_GPA_RANGE, cpl);
			GHCB_ASSERT_OK(g);
			EXPECT_EQ((u64)-KVM_EPERM, ghcb_get(g, GHCB_RAX))
				TH_LOG("CPL %d", cpl);
		}
		/* What one request had doesn't count for the next. */
		request_hypercall(g, KVM_HC_MAP_GPA_RANGE, 0);
		GHCB_ASSERT_PSC_EXIT(g, PSC_GFN, 1, SNP_PAGE_STATE_SHARED);
		g->vcpu->run->hypercall.ret = 0;
		GHCB_ASSERT_OK(g);
		EXPECT_EQ(0, ghcb_get(g, GHCB_RAX));
	}
}

/* --- CPUID's subleaves --------------------------------------------------------------- */

#define NR_CPUID_REGS	4

/* KVM computes this register of a leaf from the guest's XCR0. */
static bool cpuid_depends_on_xcr0(const struct kvm_cpuid_entry2 *entry, int reg)
{
	return entry->function == CPUID_XSTATE && entry->index <= 1 && reg == 1;
}

/* By the page, a guest gets every subleaf that userspace has set ("CPUID"). */
GHCB_TEST_F(snp_ghcb, cpuid_of_each_subleaf)
{
	static const unsigned int regs[NR_CPUID_REGS] = {
		GHCB_RAX, GHCB_RBX, GHCB_RCX, GHCB_RDX,
	};
	struct ghcb_vm *g = &self->g;
	int i, reg;

	vcpu_get_cpuid(g->vcpu);
	for (i = 0; i < g->vcpu->cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &g->vcpu->cpuid->entries[i];

		request_cpuid(g, entry->function);
		ghcb_set(g, GHCB_RCX, entry->index);
		ghcb_set(g, GHCB_XCR0, XFEATURE_MASK_FP);
		GHCB_ASSERT_OK(g);
		for (reg = 0; reg < NR_CPUID_REGS; reg++) {
			EXPECT_TRUE(ghcb_is_valid(g, regs[reg]));
			if (cpuid_depends_on_xcr0(entry, reg))
				continue;
			EXPECT_EQ((&entry->eax)[reg], ghcb_get(g, regs[reg]))
				TH_LOG("CPUID 0x%x, subleaf 0x%x, register %d",
				       entry->function, entry->index, reg);
		}
	}
}

/*
 * A request by the MSR has no room for a subleaf and means subleaf 0 ("GHCB MSR
 * Protocol"), whatever RCX the guest had in its GHCB in an earlier request.
 */
GHCB_TEST_F(snp_ghcb, msr_cpuid_is_of_subleaf_0)
{
	static const u64 stale[] = { 1, 2, 0x7fffffff };
	struct ghcb_vm *g = &self->g;
	int i, k, reg, nr_leaves = 0;

	vcpu_get_cpuid(g->vcpu);
	for (i = 0; i < g->vcpu->cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &g->vcpu->cpuid->entries[i];

		if (entry->index || !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX))
			continue;
		nr_leaves++;
		for (reg = 0; reg < NR_CPUID_REGS; reg++) {
			if (cpuid_depends_on_xcr0(entry, reg))
				continue;
			k = (nr_leaves + reg) % ARRAY_SIZE(stale);
			/* An access of no bytes takes RCX, and does nothing. */
			ghcb_vm_request(g, SVM_EXIT_IOIO, GHCB_IOIO_PORT(TEST_PORT), 0);
			ghcb_set(g, GHCB_RAX, 0);
			ghcb_set(g, GHCB_RCX, stale[k]);
			GHCB_ASSERT_OK(g);

			ghcb_vm_request_msr(g, (u64)entry->function << 32 | (u64)reg << 30 |
					    GHCB_MSR_CPUID_REQ);
			GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
			EXPECT_EQ(GHCB_MSR_CPUID_RESP, GHCB_MSR_INFO(g->box->answer));
			EXPECT_EQ((&entry->eax)[reg], g->box->answer >> 32)
				TH_LOG("CPUID 0x%x, register %d, after RCX 0x%lx",
				       entry->function, reg, stale[k]);
		}
	}
	/* 7, 0xd and others have subleaves on every CPU that has SNP. */
	EXPECT_LE(2, nr_leaves);
}

/* --- Certificates for a report ("SNP Extended Guest Request") -------------------------- */

/* Offset and value of the type in a message's header (SNP firmware ABI, 56860). */
#define MSG_TYPE		52
#define MSG_REPORT_REQ		5
/* The size of the entry that ends a table of certificates. */
#define CERT_ENTRY_SIZE		24
#define NO_FW_ERROR		0

/* A shared page that the guest has not mapped. */
static u8 *alloc_page_for_kvm(struct ghcb_vm *g, gpa_t *gpa)
{
	*gpa = __vm_phy_pages_alloc(g->vm, 1, KVM_GUEST_PAGE_TABLE_MIN_PADDR,
				    g->vm->memslots[MEM_REGION_TEST_DATA], false);
	return addr_gpa2hva(g->vm, *gpa);
}

/* Asks for a report, and for certificates in so many pages. */
static void request_report(struct ghcb_vm *g, gpa_t response, u64 data_gpa, u64 nr_pages)
{
	memset(g->other, 0, PAGE_SIZE);
	g->other[MSG_TYPE] = MSG_REPORT_REQ;
	ghcb_vm_request(g, SVM_VMGEXIT_EXT_GUEST_REQUEST, g->other_gpa, response);
	ghcb_set(g, GHCB_RAX, data_gpa);
	ghcb_set(g, GHCB_RBX, nr_pages);
}

/* Without KVM_SEV_SNP_ENABLE_REQ_CERTS, there is an empty table, if there is room. */
GHCB_TEST_F(snp_ghcb, report_without_certificates)
{
	struct ghcb_vm *g = &self->g;
	gpa_t response, data_gpa;
	u8 *data;
	int i, k;

	alloc_page_for_kvm(g, &response);
	data = alloc_page_for_kvm(g, &data_gpa);
	for (i = 0; i <= 1; i++) {
		memset(data, 0xee, PAGE_SIZE);
		request_report(g, response, data_gpa, i);
		GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
		/* Firmware refuses a message that isn't encrypted. */
		EXPECT_EQ(GHCB_HV_RESP_NO_ACTION, ghcb_get(g, GHCB_SW_EXITINFO1));
		EXPECT_EQ(0, ghcb_get(g, GHCB_SW_EXITINFO2) >> 32);
		EXPECT_NE(NO_FW_ERROR, (u32)ghcb_get(g, GHCB_SW_EXITINFO2));
		for (k = 0; k < PAGE_SIZE; k++)
			if (data[k] != (k < i * CERT_ENTRY_SIZE ? 0 : 0xee))
				break;
		EXPECT_EQ(PAGE_SIZE, k)
			TH_LOG("room for %d pages: byte %d is 0x%x", i, k, data[k]);
	}

	/* An address of no pages may be anywhere. */
	request_report(g, response, MMIO_GPA, 0);
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(GHCB_HV_RESP_NO_ACTION, ghcb_get(g, GHCB_SW_EXITINFO1));
	EXPECT_EQ(0, ghcb_get(g, GHCB_SW_EXITINFO2) >> 32);
}

/* /dev/kvm says whether there is KVM_EXIT_SNP_REQ_CERTS. */
static bool has_req_certs(void)
{
	int fd = open_kvm_dev_path_or_exit();
	u64 value = 0;
	bool has;

	has = !__kvm_has_device_attr(fd, KVM_X86_GRP_SEV, KVM_X86_SEV_SNP_REQ_CERTS) &&
	      !__kvm_device_attr_get(fd, KVM_X86_GRP_SEV, KVM_X86_SEV_SNP_REQ_CERTS, &value) &&
	      value == 1;
	close(fd);
	return has;
}

static void enable_req_certs(struct kvm_vm *vm)
{
	vm_sev_ioctl(vm, KVM_SEV_SNP_ENABLE_REQ_CERTS, NULL);
}

/* What userspace answers to the exit, and what the guest gets to know (api.rst). */
TEST_F_TIMEOUT(no_vm, certificates_from_userspace, CASE_SECONDS)
{
	static const struct {
		u64 ret, nr_pages, info2, rbx;
	} cases[] = {
		{ ENOSPC, 7, 1ull << 32, 7 },
		{ EAGAIN, 8, 2ull << 32, 3 },
		{ EIO, 9, 0xffffffffull << 32, 3 },
		/* Once more, after each of the others. */
		{ ENOSPC, 6, 1ull << 32, 6 },
	};
	struct ghcb_vm vm, *g = &vm;
	const u64 data_gpa = 0xabcd000;
	struct kvm_run *run;
	gpa_t response;
	int i;

	if (!has_req_certs())
		SKIP(return, "KVM has no KVM_EXIT_SNP_REQ_CERTS");

	__ghcb_vm_create(g, KVM_X86_SNP_VM, 1, NULL, enable_req_certs);
	alloc_page_for_kvm(g, &response);
	run = g->vcpu->run;
	for (i = 0; i <= ARRAY_SIZE(cases); i++) {
		request_report(g, response, data_gpa + i * PAGE_SIZE, 3);
		/* "ret" is 0, whatever the exit before left there. */
		memset(&run->snp_req_certs, 0xa5, sizeof(run->snp_req_certs));
		GHCB_ASSERT_EXIT(g, KVM_EXIT_SNP_REQ_CERTS);
		EXPECT_EQ(data_gpa + i * PAGE_SIZE, run->snp_req_certs.gpa);
		EXPECT_EQ(3, run->snp_req_certs.npages);
		EXPECT_EQ(0, run->snp_req_certs.ret);
		if (i == ARRAY_SIZE(cases))
			break;
		run->snp_req_certs.ret = cases[i].ret;
		run->snp_req_certs.npages = cases[i].nr_pages;
		GHCB_ASSERT_RESPONSE(g, GHCB_HV_RESP_NO_ACTION, cases[i].info2);
		EXPECT_EQ(cases[i].rbx, ghcb_get(g, GHCB_RBX));
	}

	/* With 0, firmware gets the request, and refuses a message that isn't encrypted. */
	run->snp_req_certs.ret = 0;
	GHCB_ASSERT_EXIT(g, GHCB_VM_ANSWERED);
	EXPECT_EQ(0, ghcb_get(g, GHCB_SW_EXITINFO2) >> 32);
	EXPECT_NE(NO_FW_ERROR, (u32)ghcb_get(g, GHCB_SW_EXITINFO2));

	request_report(g, response, data_gpa + 8, 3);
	GHCB_ASSERT_MALFORMED(g, GHCB_ERR_INVALID_INPUT);

	/* Any other answer is an error of userspace's. */
	request_report(g, response, data_gpa, 3);
	GHCB_ASSERT_EXIT(g, KVM_EXIT_SNP_REQ_CERTS);
	run->snp_req_certs.ret = EPERM;
	GHCB_ASSERT_EXIT(g, -EINVAL);
	kvm_vm_free(g->vm);
}

/* The exits are for SNP VMs, and are asked for before there are vCPUs. */
TEST_F_TIMEOUT(no_vm, certificates_refused, CASE_SECONDS)
{
	struct ghcb_vm vm, *g = &vm;

	if (!has_req_certs())
		SKIP(return, "KVM has no KVM_EXIT_SNP_REQ_CERTS");

	ghcb_vm_create(g, KVM_X86_SNP_VM, 1);
	EXPECT_EQ(-1, __vm_sev_op(g->vm, KVM_SEV_SNP_ENABLE_REQ_CERTS, NULL, NULL));
	EXPECT_EQ(EINVAL, errno);
	kvm_vm_free(g->vm);
}

/* --- KVM's dump of a request that it can't handle ------------------------------------- */

#define DUMP_PARAMETER	"/sys/module/kvm_amd/parameters/dump_invalid_vmcb"

/* Sets the parameter.  Returns what it was before, or 0 if it can't be set. */
static char set_dump_parameter(char value)
{
	int fd = open(DUMP_PARAMETER, O_RDWR | O_CLOEXEC);
	char before = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &before, 1, 0) != 1 || pwrite(fd, &value, 1, 0) != 1)
		before = 0;
	close(fd);
	return before;
}

/* Reads on in the kernel's log, until a record with that text.  Is there one? */
static bool find_in_log(int fd, const char *text, char *record, size_t size)
{
	ssize_t n;

	for (;;) {
		n = read(fd, record, size - 1);
		/* Records were overwritten before they were read. */
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			break;
		record[n] = '\0';
		record[strcspn(record, "\n")] = '\0';
		if (strstr(record, text))
			return true;
	}
	record[0] = '\0';
	return false;
}

/*
 * With dump_invalid_vmcb, the log has a bad request as KVM has read it: which fields
 * were valid, and which weren't.
 */
GHCB_TEST_F(snp_ghcb, dump_of_missing_input)
{
	static const struct {
		const char *field, *shows;
	} lines[] = {
		{ "sw_exit_code", "0000000000000072 is_valid: 1" },
		{ "sw_exit_info_1", "0000000000000003 is_valid: 1" },
		{ "sw_exit_info_2", "0000000000000005 is_valid: 1" },
		{ "sw_scratch", "is_valid: 0" },
	};
	struct ghcb_vm *g = &self->g;
	char record[1024], before;
	int fd, ret, i;

	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "/dev/kmsg can't be read: %s", strerror(errno));
	before = set_dump_parameter('Y');
	if (!before)
		SKIP(return, DUMP_PARAMETER " can't be set: %s", strerror(errno));

	lseek(fd, 0, SEEK_END);
	/* CPUID, without RAX. */
	ghcb_vm_request(g, SVM_EXIT_CPUID, 3, 5);
	ghcb_set(g, GHCB_RCX, 0);
	ret = ghcb_vm_run(g);
	set_dump_parameter(before);

	ASSERT_EQ(GHCB_VM_ANSWERED, ret)
		TH_LOG("expected GHCB_VM_ANSWERED, found %s", ghcb_exit_str(ret));
	EXPECT_EQ(GHCB_HV_RESP_MALFORMED_INPUT, ghcb_get(g, GHCB_SW_EXITINFO1));
	EXPECT_EQ(GHCB_ERR_MISSING_INPUT, ghcb_get(g, GHCB_SW_EXITINFO2));
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		ASSERT_TRUE(find_in_log(fd, lines[i].field, record, sizeof(record)))
			TH_LOG("expected a line with %s in the kernel's log, found none",
			       lines[i].field);
		EXPECT_NE(NULL, strstr(record, lines[i].shows))
			TH_LOG("expected %s with %s, found: %s", lines[i].field,
			       lines[i].shows, record);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	snp_require_vms();
	return test_harness_run(argc, argv);
}
