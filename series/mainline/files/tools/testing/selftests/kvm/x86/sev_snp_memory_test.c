// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test the memory of SEV-SNP VMs, as userspace sets it up: regions, guest_memfd,
 * LAUNCH_UPDATE.  Every bad argument gets its error, and nothing else happens.
 *
 * What to expect is specified by Documentation/virt/kvm/api.rst, and by x86/
 * amd-memory-encryption.rst beside it: the ioctl is above the cases.  The firmware's
 * statuses are specified by "SEV Secure Nested Paging Firmware ABI Specification"
 * (56860), section SNP_LAUNCH_UPDATE.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "sev_guest.h"

#define CASE_SECONDS	60
#define MEMORY_TEST_F(name)	TEST_F_TIMEOUT(snp_memory, name, CASE_SECONDS)

/* Slot and GPA of memory that the library doesn't know. */
#define SLOT		20
#define SLOT_GPA	0x40000000ull

/* The firmware's status of the last command. */
static u32 fw_error;

/* Returns 0 or the negative error. */
static int sev_op(struct kvm_vm *vm, u32 id, void *data)
{
	return __vm_sev_op(vm, id, data, &fw_error) ? -errno : 0;
}

static int register_region(struct kvm_vm *vm, u64 addr, u64 size)
{
	struct kvm_enc_region region = { .addr = addr, .size = size };

	return ioctl(vm->fd, KVM_MEMORY_ENCRYPT_REG_REGION, &region) ? -errno : 0;
}

static int unregister_region(struct kvm_vm *vm, u64 addr, u64 size)
{
	struct kvm_enc_region region = { .addr = addr, .size = size };

	return ioctl(vm->fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &region) ? -errno : 0;
}

static void *map_pages(int nr, int flags, int fd)
{
	void *p = mmap(NULL, nr * PAGE_SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);

	TEST_ASSERT(p != MAP_FAILED, "expected %d pages, found: %s", nr, strerror(errno));
	return p;
}

/* A VM before LAUNCH_START, with pages of its memory. */
FIXTURE(snp_memory) {
	struct kvm_vm *vm;
	gva_t gva;
	gpa_t gpa;
};

FIXTURE_SETUP(snp_memory)
{
	self->vm = vm_sev_create_bare(KVM_X86_SNP_VM, 1, 16);
	self->gva = vm_alloc_pages(self->vm, 4);
	self->gpa = sev_gva2gpa(self->vm, self->gva);
}

FIXTURE_TEARDOWN(snp_memory)
{
	kvm_vm_free(self->vm);
}

/* --- KVM_MEMORY_ENCRYPT_REG_REGION, KVM_MEMORY_ENCRYPT_UNREG_REGION ------------------ */

MEMORY_TEST_F(region_registered_and_unregistered)
{
	u64 addr = (unsigned long)map_pages(4, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	EXPECT_EQ(0, register_region(self->vm, addr, 4 * PAGE_SIZE));
	EXPECT_EQ(-EINVAL, unregister_region(self->vm, addr, 2 * PAGE_SIZE));
	EXPECT_EQ(0, unregister_region(self->vm, addr, 4 * PAGE_SIZE));
	EXPECT_EQ(-EINVAL, unregister_region(self->vm, addr, 4 * PAGE_SIZE));
}

/* Any process with /dev/kvm can ask for this, i.e. it's no reason to WARN. */
MEMORY_TEST_F(region_of_impossible_size)
{
	EXPECT_EQ(-EINVAL, register_region(self->vm, 0, ~0ull));
	EXPECT_EQ(-EINVAL, register_region(self->vm, 0, 0));
	EXPECT_EQ(-EINVAL, register_region(self->vm, ~0ull - PAGE_SIZE, 2 * PAGE_SIZE));
}

/* Memory that userspace can only read, e.g. firmware in flash, is the guest's, too. */
MEMORY_TEST_F(region_read_only)
{
	void *p = map_pages(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memset(p, 1, 2 * PAGE_SIZE);
	ASSERT_EQ(0, mprotect(p, 2 * PAGE_SIZE, PROT_READ));
	EXPECT_EQ(0, register_region(self->vm, (unsigned long)p, 2 * PAGE_SIZE));
}

/* --- KVM_SEV_SNP_LAUNCH_UPDATE -------------------------------------------------------- */

static int update(struct kvm_vm *vm, gpa_t gpa, const void *source, u64 len, u8 type)
{
	struct kvm_sev_snp_launch_update args = {
		.gfn_start = gpa >> PAGE_SHIFT,
		.uaddr = (unsigned long)source,
		.len = len,
		.type = type,
	};

	return sev_op(vm, KVM_SEV_SNP_LAUNCH_UPDATE, &args);
}

MEMORY_TEST_F(update_of_each_type)
{
	static const u8 types[] = {
		KVM_SEV_SNP_PAGE_TYPE_NORMAL, KVM_SEV_SNP_PAGE_TYPE_ZERO,
		KVM_SEV_SNP_PAGE_TYPE_UNMEASURED, KVM_SEV_SNP_PAGE_TYPE_SECRETS,
	};
	void *source = map_pages(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int i;

	snp_vm_launch_start(self->vm, snp_default_policy());
	vm_mem_set_private(self->vm, self->gpa, 4 * PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		EXPECT_EQ(0, update(self->vm, self->gpa + i * PAGE_SIZE,
				    types[i] == KVM_SEV_SNP_PAGE_TYPE_ZERO ? NULL : source,
				    PAGE_SIZE, types[i]))
			TH_LOG("type %u: firmware error 0x%x", types[i], fw_error);
	}
}

MEMORY_TEST_F(update_before_start)
{
	void *source = map_pages(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	vm_mem_set_private(self->vm, self->gpa, PAGE_SIZE);
	EXPECT_EQ(-EINVAL, update(self->vm, self->gpa, source, PAGE_SIZE,
				  KVM_SEV_SNP_PAGE_TYPE_NORMAL));
}

MEMORY_TEST_F(update_with_bad_arguments)
{
	void *source = map_pages(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	const u8 normal = KVM_SEV_SNP_PAGE_TYPE_NORMAL;

	snp_vm_launch_start(self->vm, snp_default_policy());
	/* Not private yet. */
	EXPECT_NE(0, update(self->vm, self->gpa, source, PAGE_SIZE, normal));

	vm_mem_set_private(self->vm, self->gpa, 4 * PAGE_SIZE);
	EXPECT_EQ(-EINVAL, update(self->vm, self->gpa, source, PAGE_SIZE / 2, normal));
	EXPECT_EQ(-EINVAL, update(self->vm, self->gpa, source, PAGE_SIZE, 0x7f));
	/* Outside of any slot. */
	EXPECT_EQ(-EINVAL, update(self->vm, 1ull << 40, source, PAGE_SIZE, normal));
	/* After all that the page is still there to be used. */
	EXPECT_EQ(0, update(self->vm, self->gpa, source, PAGE_SIZE, normal));
}

/* The length must be a page at least. */
MEMORY_TEST_F(update_of_no_page)
{
	void *source = map_pages(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	snp_vm_launch_start(self->vm, snp_default_policy());
	vm_mem_set_private(self->vm, self->gpa, PAGE_SIZE);
	EXPECT_EQ(-EINVAL, update(self->vm, self->gpa, source, 0, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
}

/* The source has to begin at a page, too. */
MEMORY_TEST_F(update_with_unaligned_source)
{
	void *source = map_pages(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	snp_vm_launch_start(self->vm, snp_default_policy());
	vm_mem_set_private(self->vm, self->gpa, PAGE_SIZE);
	EXPECT_EQ(-EINVAL, update(self->vm, self->gpa, source + 1, PAGE_SIZE,
				  KVM_SEV_SNP_PAGE_TYPE_NORMAL));
}

/* Only a page of zeros has no source. */
MEMORY_TEST_F(update_without_source)
{
	snp_vm_launch_start(self->vm, snp_default_policy());
	vm_mem_set_private(self->vm, self->gpa, PAGE_SIZE);
	EXPECT_EQ(-EINVAL, update(self->vm, self->gpa, NULL, PAGE_SIZE,
				  KVM_SEV_SNP_PAGE_TYPE_NORMAL));
}

/*
 * 56860, PAGE_TYPE_CPUID: firmware corrects what the CPU doesn't have, and refuses the
 * page.  KVM hands the corrected page to userspace, to try again.
 */
struct cpuid_page {
	u32 count;
	u32 reserved1;
	u64 reserved2;
	struct {
		u32 eax_in, ecx_in;
		u64 xcr0_in, xss_in;
		u32 eax, ebx, ecx, edx;
		u64 reserved;
	} fn[64];
	u8 rest[PAGE_SIZE - 16 - 64 * 48];
} __packed;

kvm_static_assert(sizeof(struct cpuid_page) == PAGE_SIZE);

static void fill_cpuid(struct cpuid_page *page)
{
	memset(page, 0, PAGE_SIZE);
	page->count = 1;
	page->fn[0].eax_in = 7;
	page->fn[0].ebx = ~0u;
	page->fn[0].edx = ~0u;
}

MEMORY_TEST_F(cpuid_page_is_corrected)
{
	struct cpuid_page *page = map_pages(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	fill_cpuid(page);
	snp_vm_launch_start(self->vm, snp_default_policy());
	vm_mem_set_private(self->vm, self->gpa, PAGE_SIZE);
	EXPECT_EQ(-EIO, update(self->vm, self->gpa, page, PAGE_SIZE, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	EXPECT_EQ(SEV_RET_INVALID_PARAM, fw_error);
	EXPECT_NE(~0u, page->fn[0].edx);

	EXPECT_EQ(0, update(self->vm, self->gpa, page, PAGE_SIZE, KVM_SEV_SNP_PAGE_TYPE_CPUID));
}

/* The correction must not get into memory that userspace may only read. */
MEMORY_TEST_F(cpuid_page_read_only)
{
	int fd = memfd_create("cpuid", MFD_CLOEXEC);
	struct cpuid_page good, found;
	void *page;

	ASSERT_LE(0, fd);
	fill_cpuid(&good);
	ASSERT_EQ(PAGE_SIZE, pwrite(fd, &good, PAGE_SIZE, 0));
	page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, page);

	snp_vm_launch_start(self->vm, snp_default_policy());
	vm_mem_set_private(self->vm, self->gpa, PAGE_SIZE);
	EXPECT_NE(0, update(self->vm, self->gpa, page, PAGE_SIZE, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	ASSERT_EQ(PAGE_SIZE, pread(fd, &found, PAGE_SIZE, 0));
	EXPECT_EQ(0, memcmp(&good, &found, PAGE_SIZE));
}

/* --- KVM_SET_USER_MEMORY_REGION2, with guest_memfd ------------------------------------- */

static int set_slot(struct kvm_vm *vm, u32 flags, u64 size, int fd, u64 offset, void *hva)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = SLOT,
		.flags = flags,
		.guest_phys_addr = SLOT_GPA,
		.memory_size = size,
		.userspace_addr = (unsigned long)hva,
		.guest_memfd = fd,
		.guest_memfd_offset = offset,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region) ? -errno : 0;
}

MEMORY_TEST_F(slot_outside_of_file)
{
	void *hva = map_pages(4, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int fd = vm_create_guest_memfd(self->vm, 2 * PAGE_SIZE, 0);
	static const u64 bad[] = {
		PAGE_SIZE, 2 * PAGE_SIZE, 1,
		0x7ffffffffffff000, 0x8000000000000000, 0xfffffffffffff000,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, set_slot(self->vm, KVM_MEM_GUEST_MEMFD, 2 * PAGE_SIZE, fd,
					    bad[i], hva))
			TH_LOG("offset 0x%lx", bad[i]);
	}
	EXPECT_EQ(0, set_slot(self->vm, KVM_MEM_GUEST_MEMFD, 2 * PAGE_SIZE, fd, 0, hva));
	EXPECT_EQ(0, set_slot(self->vm, 0, 0, 0, 0, NULL));
	EXPECT_EQ(0, set_slot(self->vm, KVM_MEM_GUEST_MEMFD, PAGE_SIZE, fd, PAGE_SIZE, hva));
	close(fd);
}

/* A slot keeps its guest_memfd until it is deleted. */
MEMORY_TEST_F(slot_keeps_its_file)
{
	void *hva = map_pages(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int fd = vm_create_guest_memfd(self->vm, 2 * PAGE_SIZE, 0);

	ASSERT_EQ(0, set_slot(self->vm, KVM_MEM_GUEST_MEMFD, 2 * PAGE_SIZE, fd, 0, hva));
	EXPECT_EQ(-EINVAL, set_slot(self->vm, 0, 2 * PAGE_SIZE, 0, 0, hva));
	EXPECT_EQ(-EINVAL, set_slot(self->vm, KVM_MEM_GUEST_MEMFD | KVM_MEM_LOG_DIRTY_PAGES,
				    2 * PAGE_SIZE, fd, 0, hva));
	EXPECT_EQ(0, set_slot(self->vm, 0, 0, 0, 0, NULL));
	close(fd);
}

/* --- A launched VM ---------------------------------------------------------------------- */

static void guest_code(void)
{
	ghcb_terminate(0, 0);
}

FIXTURE(launched_vm) {
};

FIXTURE_SETUP(launched_vm)
{
}

FIXTURE_TEARDOWN(launched_vm)
{
}

/* KVM_CAP_SYNC_REGS: a launched guest's registers are out of userspace's reach. */
TEST_F_TIMEOUT(launched_vm, sync_regs, CASE_SECONDS)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_sev_create_with_one_vcpu(KVM_X86_SNP_VM, guest_code, &vcpu);

	EXPECT_EQ(0, vm_check_cap(vm, KVM_CAP_SYNC_REGS));
	vm_sev_launch(vm, snp_default_policy(), NULL);
	vcpu->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	EXPECT_EQ(-1, __vcpu_run(vcpu));
	EXPECT_EQ(EINVAL, errno);
	vcpu->run->kvm_valid_regs = 0;
	EXPECT_EQ(0, __vcpu_run(vcpu));
	EXPECT_EQ(KVM_EXIT_SYSTEM_EVENT, vcpu->run->exit_reason);
	kvm_vm_free(vm);
}

/* The launch is over: nothing can be added to what was measured. */
TEST_F_TIMEOUT(launched_vm, update, CASE_SECONDS)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_sev_create_with_one_vcpu(KVM_X86_SNP_VM, guest_code, &vcpu);
	gpa_t gpa = sev_gva2gpa(vm, vm_alloc_page(vm));
	struct kvm_sev_snp_launch_start start = { .policy = snp_default_policy() };
	struct kvm_sev_snp_launch_finish finish = { 0 };
	void *source = map_pages(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	vm_sev_launch(vm, snp_default_policy(), NULL);
	EXPECT_NE(0, update(vm, gpa, source, PAGE_SIZE, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	EXPECT_NE(0, sev_op(vm, KVM_SEV_SNP_LAUNCH_START, &start));
	EXPECT_NE(0, sev_op(vm, KVM_SEV_SNP_LAUNCH_FINISH, &finish));
	vcpu_run(vcpu);
	EXPECT_EQ(KVM_EXIT_SYSTEM_EVENT, vcpu->run->exit_reason);
	kvm_vm_free(vm);
}

/* --- Regions that share a guest_memfd --------------------------------------------------------- */

#define NR_REGIONS	3
#define REGION_PAGES	4
#define REGION_SIZE	(REGION_PAGES * PAGE_SIZE)

/* Region n has the n-th part of the file. */
static int set_region(struct kvm_vm *vm, int n, u64 size, int fd, u64 offset, void *hva)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = SLOT + n,
		.flags = size ? KVM_MEM_GUEST_MEMFD : 0,
		.guest_phys_addr = SLOT_GPA + n * REGION_SIZE,
		.memory_size = size,
		.userspace_addr = (unsigned long)hva,
		.guest_memfd = fd,
		.guest_memfd_offset = offset,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region) ? -errno : 0;
}

static int update_region(struct kvm_vm *vm, int n, int page, void *source)
{
	return update(vm, SLOT_GPA + n * REGION_SIZE + page * PAGE_SIZE, source, PAGE_SIZE,
		      KVM_SEV_SNP_PAGE_TYPE_NORMAL);
}

/*
 * A region is bound to its range of the file until it's deleted, whatever happens to
 * regions of adjacent ranges; a range that is bound can't be bound once more.
 */
MEMORY_TEST_F(regions_of_one_file)
{
	const u64 size = NR_REGIONS * REGION_SIZE;
	void *hva = map_pages(NR_REGIONS * REGION_PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	void *source = map_pages(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct kvm_vm *vm;
	int gone, n, fd;

	for (gone = 0; gone < NR_REGIONS; gone++) {
		vm = vm_sev_create_bare(KVM_X86_SNP_VM, 1, 16);
		fd = vm_create_guest_memfd(vm, size, 0);
		for (n = 0; n < NR_REGIONS; n++)
			ASSERT_EQ(0, set_region(vm, n, REGION_SIZE, fd, n * REGION_SIZE,
						hva + n * REGION_SIZE));
		snp_vm_launch_start(vm, snp_default_policy());
		vm_mem_set_private(vm, SLOT_GPA, size);

		/* Any offset but that of the whole file's end overlaps a region. */
		for (n = 0; n < NR_REGIONS * REGION_PAGES; n++)
			EXPECT_NE(0, set_region(vm, NR_REGIONS, PAGE_SIZE, fd, n * PAGE_SIZE, hva))
				TH_LOG("page %d is bound twice", n);

		ASSERT_EQ(0, set_region(vm, gone, 0, 0, 0, NULL));
		for (n = 0; n < NR_REGIONS; n++) {
			if (n == gone) {
				EXPECT_NE(0, update_region(vm, n, 0, source));
				continue;
			}
			EXPECT_EQ(0, update_region(vm, n, 0, source))
				TH_LOG("first page of region %d, without region %d", n, gone);
			EXPECT_EQ(0, update_region(vm, n, REGION_PAGES - 1, source))
				TH_LOG("last page of region %d, without region %d", n, gone);
		}

		/* Its range, and nothing more, is free. */
		if (gone)
			EXPECT_NE(0, set_region(vm, gone, 2 * PAGE_SIZE, fd,
						gone * REGION_SIZE - PAGE_SIZE, hva));
		if (gone < NR_REGIONS - 1)
			EXPECT_NE(0, set_region(vm, gone, 2 * PAGE_SIZE, fd,
						(gone + 1) * REGION_SIZE - PAGE_SIZE, hva));
		EXPECT_EQ(0, set_region(vm, gone, REGION_SIZE, fd, gone * REGION_SIZE,
					hva + gone * REGION_SIZE));
		EXPECT_EQ(0, update_region(vm, gone, 0, source));
		EXPECT_EQ(0, update_region(vm, gone, REGION_PAGES - 1, source));
		close(fd);
		kvm_vm_free(vm);
	}
}

/* GOSVW, the workarounds that the guest should know of, in its secrets page (56860, 8.17.2.5). */
#define SECRETS_GOSVW	0x10
#define GOSVW_SIZE	16

static void copy_gosvw(u8 *secrets, u8 *shared)
{
	int i;

	for (i = 0; i < GOSVW_SIZE; i++)
		WRITE_ONCE(shared[i], READ_ONCE(secrets[SECRETS_GOSVW + i]));
	ghcb_terminate(0, 0);
}

/* What userspace gives LAUNCH_START gets to the guest, in the secrets page. */
TEST_F_TIMEOUT(launched_vm, gosvw, CASE_SECONDS)
{
	struct kvm_sev_snp_launch_start start = { .policy = snp_default_policy() };
	struct userspace_mem_region *region;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_sev_create_with_one_vcpu(KVM_X86_SNP_VM, copy_gosvw, &vcpu);
	gva_t secrets = vm_alloc_page(vm);
	gva_t shared = vm_alloc_shared(vm, PAGE_SIZE, KVM_UTIL_MIN_VADDR, MEM_REGION_TEST_DATA);
	u8 *found = addr_gva2hva(vm, shared);
	gpa_t gpa = sev_gva2gpa(vm, secrets);
	int i;

	for (i = 0; i < GOSVW_SIZE; i++)
		start.gosvw[i] = i + 1;
	vcpu_args_set(vcpu, 2, secrets, shared);
	vm_enable_cap(vm, KVM_CAP_EXIT_HYPERCALL, BIT(KVM_HC_MAP_GPA_RANGE));
	ASSERT_EQ(0, sev_op(vm, KVM_SEV_SNP_LAUNCH_START, &start));
	/* The library adds all private pages but this one. */
	region = memslot2region(vm, vm->memslots[MEM_REGION_TEST_DATA]);
	sparsebit_clear(region->protected_phy_pages, gpa >> vm->page_shift);
	snp_vm_launch_update(vm);
	vm_mem_set_private(vm, gpa, PAGE_SIZE);
	ASSERT_EQ(0, update(vm, gpa, map_pages(1, MAP_PRIVATE | MAP_ANONYMOUS, -1), PAGE_SIZE,
			    KVM_SEV_SNP_PAGE_TYPE_SECRETS));
	snp_vm_launch_finish(vm);

	vcpu_run(vcpu);
	ASSERT_EQ(KVM_EXIT_SYSTEM_EVENT, vcpu->run->exit_reason);
	for (i = 0; i < GOSVW_SIZE; i++)
		EXPECT_EQ(start.gosvw[i], found[i])
			TH_LOG("byte %d of GOSVW", i);
	kvm_vm_free(vm);
}

/* --- Regions and the zone Movable ------------------------------------------------------------- */

#define PINNED_PAGES	(16 * 1024)

/* The free pages of the zone Movable; negative if there is no such zone. */
static long movable_free(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	bool movable = false;
	char line[256];
	long nr = -1;

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, ", zone "))
			movable = strstr(line, "Movable");
		if (movable && sscanf(line, " pages free %ld", &nr) == 1)
			break;
	}
	if (f)
		fclose(f);
	return nr;
}

/*
 * What is pinned for long must not stay in the zone Movable, where memory has to be movable
 * (Documentation/core-api/pin_user_pages.rst, case 2).
 */
MEMORY_TEST_F(region_leaves_movable_memory)
{
	const u64 size = PINNED_PAGES * PAGE_SIZE;
	u8 *p = map_pages(PINNED_PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	long before, after;

	/* Only with movablecore= on the kernel's command line there is anything to move. */
	if (movable_free() < 2 * PINNED_PAGES)
		return;

	/* In small pages, which are easier to move. */
	madvise(p, size, MADV_NOHUGEPAGE);
	memset(p, 1, size);
	before = movable_free();
	ASSERT_EQ(0, register_region(self->vm, (unsigned long)p, size));
	after = movable_free();
	EXPECT_LT(PINNED_PAGES / 2, after - before)
		TH_LOG("pages free in the zone Movable: %ld before, %ld after", before, after);
}

/* --- KVM_PRE_FAULT_MEMORY ----------------------------------------------------------------- */

static int pre_fault(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	struct kvm_pre_fault_memory range = { .gpa = gpa, .size = PAGE_SIZE };

	return ioctl(vcpu->fd, KVM_PRE_FAULT_MEMORY, &range) ? -errno : 0;
}

/*
 * Memory can be mapped in advance once the guest is finalized, and no earlier: neither
 * at any step before LAUNCH_FINISH, nor when firmware refused to finish.
 */
TEST_F_TIMEOUT(launched_vm, pre_fault, CASE_SECONDS)
{
	static const u8 wrong_digest[SNP_DIGEST_SIZE];
	struct snp_id_block block;
	struct snp_id_auth auth;
	struct kvm_sev_snp_launch_finish finish = {
		.id_block_uaddr = (unsigned long)&block,
		.id_auth_uaddr = (unsigned long)&auth,
		.id_block_en = 1,
	};
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i, refused;
	gpa_t gpa;

	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		SKIP(return, "KVM has no KVM_PRE_FAULT_MEMORY");

	snp_make_id_block(&block, &auth, wrong_digest, snp_default_policy());
	for (refused = 0; refused <= 1; refused++) {
		vm = vm_sev_create_with_one_vcpu(KVM_X86_SNP_VM, guest_code, &vcpu);
		gpa = sev_gva2gpa(vm, vm_alloc_page(vm));
		EXPECT_EQ(-EOPNOTSUPP, pre_fault(vcpu, gpa));
		snp_vm_launch_start(vm, snp_default_policy());
		EXPECT_EQ(-EOPNOTSUPP, pre_fault(vcpu, gpa));
		snp_vm_launch_update(vm);
		EXPECT_EQ(-EOPNOTSUPP, pre_fault(vcpu, gpa));
		if (refused) {
			EXPECT_EQ(-1, __snp_vm_launch_finish(vm, &finish, &fw_error));
			EXPECT_NE(0, fw_error);
			/* It can't be finished any more. */
			for (i = 0; i < 2; i++)
				EXPECT_EQ(-EOPNOTSUPP, pre_fault(vcpu, gpa));
		} else {
			snp_vm_launch_finish(vm);
			EXPECT_EQ(0, pre_fault(vcpu, gpa));
			vcpu_run(vcpu);
			EXPECT_EQ(KVM_EXIT_SYSTEM_EVENT, vcpu->run->exit_reason);
		}
		kvm_vm_free(vm);
	}
}

int main(int argc, char **argv)
{
	snp_require_vms();
	return test_harness_run(argc, argv);
}
