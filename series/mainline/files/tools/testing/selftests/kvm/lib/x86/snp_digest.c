// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compute the launch digest as firmware does, and make a signed ID block, with
 * which userspace has firmware compare the digest.  See "SEV Secure Nested Paging
 * Firmware ABI Specification", SNP_LAUNCH_UPDATE and SNP_LAUNCH_FINISH.
 */
#include <endian.h>

#include "sev.h"

/* SHA-384, see FIPS 180-4. */
#define SHA_BLOCK	128

static const u64 sha_k[80] = {
	0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f,
	0xe9b5dba58189dbbc, 0x3956c25bf348b538, 0x59f111f1b605d019,
	0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242,
	0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
	0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235,
	0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3,
	0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65, 0x2de92c6f592b0275,
	0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
	0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f,
	0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
	0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc,
	0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
	0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6,
	0x92722c851482353b, 0xa2bfe8a14cf10364, 0xa81a664bbc423001,
	0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218,
	0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
	0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99,
	0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb,
	0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc,
	0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
	0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915,
	0xc67178f2e372532b, 0xca273eceea26619c, 0xd186b8c721c0c207,
	0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba,
	0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
	0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc,
	0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a,
	0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};

static u64 ror64(u64 x, int n)
{
	return x >> n | x << (64 - n);
}

static void sha_block(u64 *state, const u8 *data)
{
	u64 w[80], s[8], t1, t2;
	int i;

	for (i = 0; i < 16; i++) {
		memcpy(&w[i], data + i * 8, 8);
		w[i] = be64toh(w[i]);
	}
	for (; i < 80; i++) {
		t1 = ror64(w[i - 15], 1) ^ ror64(w[i - 15], 8) ^ w[i - 15] >> 7;
		t2 = ror64(w[i - 2], 19) ^ ror64(w[i - 2], 61) ^ w[i - 2] >> 6;
		w[i] = w[i - 16] + t1 + w[i - 7] + t2;
	}

	memcpy(s, state, sizeof(s));
	for (i = 0; i < 80; i++) {
		t1 = s[7] + (ror64(s[4], 14) ^ ror64(s[4], 18) ^ ror64(s[4], 41)) +
		     ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha_k[i] + w[i];
		t2 = (ror64(s[0], 28) ^ ror64(s[0], 34) ^ ror64(s[0], 39)) +
		     ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		memmove(&s[1], &s[0], 7 * sizeof(s[0]));
		s[4] += t1;
		s[0] = t1 + t2;
	}
	for (i = 0; i < 8; i++)
		state[i] += s[i];
}

static void sha384(const void *data, size_t size, u8 *digest)
{
	u64 state[8] = {
		0xcbbb9d5dc1059ed8, 0x629a292a367cd507, 0x9159015a3070dd17,
		0x152fecd8f70e5939, 0x67332667ffc00b31, 0x8eb44a8768581511,
		0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4,
	};
	u8 last[2 * SHA_BLOCK] = {};
	size_t rest = size % SHA_BLOCK, end, i;
	u64 be;

	for (i = 0; i < size - rest; i += SHA_BLOCK)
		sha_block(state, data + i);

	/* Padding: a 1 bit, zeros, and the length in bits. */
	memcpy(last, data + i, rest);
	last[rest] = 0x80;
	end = rest + 17 <= SHA_BLOCK ? SHA_BLOCK : 2 * SHA_BLOCK;
	be = htobe64(size * 8);
	memcpy(last + end - 8, &be, 8);
	for (i = 0; i < end; i += SHA_BLOCK)
		sha_block(state, last + i);

	for (i = 0; i < SNP_DIGEST_SIZE / 8; i++) {
		be = htobe64(state[i]);
		memcpy(digest + i * 8, &be, 8);
	}
}

/* What is hashed for every page, see "PAGE_INFO" in the specification. */
struct snp_page_info {
	u8 digest_cur[SNP_DIGEST_SIZE];
	u8 contents[SNP_DIGEST_SIZE];
	u16 length;
	u8 page_type;
	u8 imi_page;
	u8 vmpl_perms[4];
	u64 gpa;
} __packed;

kvm_static_assert(sizeof(struct snp_page_info) == 0x70);

static void snp_digest_page(u8 *digest, u8 page_type, gpa_t gpa, const void *page)
{
	struct snp_page_info info = {
		.length = sizeof(info),
		.page_type = page_type,
		.gpa = gpa,
	};

	memcpy(info.digest_cur, digest, SNP_DIGEST_SIZE);
	sha384(page, PAGE_SIZE, info.contents);
	sha384(&info, sizeof(info), digest);
}

/*
 * Extend the digest (initially all zeros) by the memory that
 * snp_vm_launch_update() will measure.  Call before it, so that the memory is
 * the one that is measured.
 */
void snp_vm_digest_memory(struct kvm_vm *vm, u8 *digest)
{
	struct userspace_mem_region *region;
	sparsebit_idx_t i, j;
	int ctr;

	hash_for_each(vm->regions.slot_hash, ctr, region, slot_node) {
		if (!sparsebit_any_set(region->protected_phy_pages))
			continue;

		sparsebit_for_each_set_range(region->protected_phy_pages, i, j) {
			for (; i <= j; i++)
				snp_digest_page(digest, KVM_SEV_SNP_PAGE_TYPE_NORMAL,
						i << vm->page_shift,
						addr_gpa2hva(vm, i << vm->page_shift));
			i = j;
		}
	}
}

/* KVM chooses page type and GPA for VMSAs; userspace cannot. */
#define SNP_PAGE_TYPE_VMSA	2
#define SNP_VMSA_GPA		0xfffffffff000ull

#define SNP_FEATURE_ACTIVE	BIT(0)

static void vmsa_put(u8 *vmsa, unsigned int offset, u64 value, size_t size)
{
	memcpy(vmsa + offset, &value, size);
}

static void vmsa_put_segment(u8 *vmsa, unsigned int offset, const struct kvm_segment *seg)
{
	u16 attributes = 0;

	if (!seg->unusable)
		attributes = seg->type | seg->s << 4 | seg->dpl << 5 | seg->present << 7 |
			     seg->avl << 8 | seg->l << 9 | seg->db << 10 | seg->g << 11;

	vmsa_put(vmsa, offset, seg->selector, 2);
	vmsa_put(vmsa, offset + 2, attributes, 2);
	vmsa_put(vmsa, offset + 4, seg->limit, 4);
	vmsa_put(vmsa, offset + 8, seg->base, 8);
}

/*
 * Extend the digest by a vCPU's VMSA, made of the vCPU's present state.  Only for
 * vCPUs from vm_sev_vcpu_add_bare(): MSRs and vector registers must still have
 * their reset values.
 */
void snp_vcpu_digest_vmsa(struct kvm_vcpu *vcpu, u8 *digest)
{
	struct kvm_debugregs debugregs;
	u8 vmsa[PAGE_SIZE] = {};
	struct kvm_xsave xsave;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_xcrs xcrs;

	vcpu_sregs_get(vcpu, &sregs);
	vmsa_put_segment(vmsa, 0x000, &sregs.es);
	vmsa_put_segment(vmsa, 0x010, &sregs.cs);
	vmsa_put_segment(vmsa, 0x020, &sregs.ss);
	vmsa_put_segment(vmsa, 0x030, &sregs.ds);
	vmsa_put_segment(vmsa, 0x040, &sregs.fs);
	vmsa_put_segment(vmsa, 0x050, &sregs.gs);
	vmsa_put(vmsa, 0x064, sregs.gdt.limit, 4);
	vmsa_put(vmsa, 0x068, sregs.gdt.base, 8);
	vmsa_put_segment(vmsa, 0x070, &sregs.ldt);
	vmsa_put(vmsa, 0x084, sregs.idt.limit, 4);
	vmsa_put(vmsa, 0x088, sregs.idt.base, 8);
	vmsa_put_segment(vmsa, 0x090, &sregs.tr);
	vmsa_put(vmsa, 0x0cb, sregs.ss.dpl, 1);
	/* VMRUN demands EFER.SVME, so KVM sets it. */
	vmsa_put(vmsa, 0x0d0, sregs.efer | EFER_SVME, 8);
	vmsa_put(vmsa, 0x148, sregs.cr4, 8);
	vmsa_put(vmsa, 0x150, sregs.cr3, 8);
	vmsa_put(vmsa, 0x158, sregs.cr0, 8);

	vcpu_ioctl(vcpu, KVM_GET_DEBUGREGS, &debugregs);
	vmsa_put(vmsa, 0x160, debugregs.dr7, 8);
	vmsa_put(vmsa, 0x168, debugregs.dr6, 8);

	vcpu_regs_get(vcpu, &regs);
	vmsa_put(vmsa, 0x170, regs.rflags, 8);
	vmsa_put(vmsa, 0x178, regs.rip, 8);
	vmsa_put(vmsa, 0x1d8, regs.rsp, 8);
	vmsa_put(vmsa, 0x1f8, regs.rax, 8);
	vmsa_put(vmsa, 0x268, vcpu_get_msr(vcpu, MSR_IA32_CR_PAT), 8);
	vmsa_put(vmsa, 0x308, regs.rcx, 8);
	vmsa_put(vmsa, 0x310, regs.rdx, 8);
	vmsa_put(vmsa, 0x318, regs.rbx, 8);
	vmsa_put(vmsa, 0x328, regs.rbp, 8);
	vmsa_put(vmsa, 0x330, regs.rsi, 8);
	vmsa_put(vmsa, 0x338, regs.rdi, 8);
	vmsa_put(vmsa, 0x340, regs.r8, 8);
	vmsa_put(vmsa, 0x348, regs.r9, 8);
	vmsa_put(vmsa, 0x350, regs.r10, 8);
	vmsa_put(vmsa, 0x358, regs.r11, 8);
	vmsa_put(vmsa, 0x360, regs.r12, 8);
	vmsa_put(vmsa, 0x368, regs.r13, 8);
	vmsa_put(vmsa, 0x370, regs.r14, 8);
	vmsa_put(vmsa, 0x378, regs.r15, 8);
	vmsa_put(vmsa, 0x3b0, SNP_FEATURE_ACTIVE, 8);

	vcpu_xcrs_get(vcpu, &xcrs);
	vmsa_put(vmsa, 0x3e8, xcrs.xcrs[0].value, 8);

	/* KVM_GET_FPU lacks MXCSR. */
	vcpu_xsave_get(vcpu, &xsave);
	vmsa_put(vmsa, 0x408, xsave.region[6], 4);
	vmsa_put(vmsa, 0x410, xsave.region[0], 2);

	snp_digest_page(digest, SNP_PAGE_TYPE_VMSA, SNP_VMSA_GPA, vmsa);
}

/*
 * ECDSA with P-384.  With a nonce of 1, which is as good as any other for a key
 * that protects nothing, r is the X of the curve's generator, and
 *
 *	s = digest + r * private key	(modulo the order of the generator)
 *
 * r * private key is therefore a constant.  Numbers are little endian, as in
 * firmware's structures.
 */
#define P384_WORDS	6
#define P384_SIZE	72

static const u64 p384_order[P384_WORDS] = {
	0xecec196accc52973, 0x581a0db248b0a77a, 0xc7634d81f4372ddf,
	0xffffffffffffffff, 0xffffffffffffffff, 0xffffffffffffffff,
};

static const u64 key_x[P384_WORDS] = {
	0x6eb40b8795c47dc6, 0x354728472cbbb149, 0x54a112f1ddca8fc0,
	0xdb903925092ce746, 0x03a3c265a1185dbd, 0x831cc88ed6565ce3,
};

static const u64 key_y[P384_WORDS] = {
	0x4603be174cc2108c, 0x82990c6f568bedea, 0x7f87facebe01a493,
	0x8cdb7178e599246e, 0x72f97f17b4d0c938, 0x66a887290fcd5b30,
};

static const u64 sig_r[P384_WORDS] = {
	0x3a545e3872760ab7, 0x5502f25dbf55296c, 0x59f741e082542a38,
	0x6e1d3b628ba79b98, 0x8eb1c71ef320ad74, 0xaa87ca22be8b0537,
};

static const u64 sig_r_times_key[P384_WORDS] = {
	0xd4aa39ac507bfbed, 0x44501f6593941dca, 0xb9aee345c6be7d7d,
	0xc1574fc2031f2362, 0xc37929766117ca7b, 0xc9301dc5c1806b20,
};

static bool p384_add(u64 *sum, const u64 *a, const u64 *b)
{
	unsigned __int128 carry = 0;
	int i;

	for (i = 0; i < P384_WORDS; i++) {
		carry += (unsigned __int128)a[i] + b[i];
		sum[i] = carry;
		carry >>= 64;
	}

	return carry;
}

/* Reduce N, and the carry of the addition that made it, modulo the order. */
static void p384_reduce(u64 *n, bool carry)
{
	u64 minus_order[P384_WORDS], one[P384_WORDS] = { 1 }, less[P384_WORDS];
	int i;

	for (i = 0; i < P384_WORDS; i++)
		minus_order[i] = ~p384_order[i];
	p384_add(minus_order, minus_order, one);

	while (p384_add(less, n, minus_order) || carry) {
		memcpy(n, less, sizeof(less));
		carry = false;
	}
}

/*
 * Make an ID block, signed with the test's own key, for a VM that has this launch
 * digest and policy.
 */
void snp_make_id_block(struct snp_id_block *block, struct snp_id_auth *auth,
		       const u8 *digest, u64 policy)
{
	u64 hash[P384_WORDS], s[P384_WORDS];
	u8 hash_be[SNP_DIGEST_SIZE];
	int i;

	memset(block, 0, sizeof(*block));
	memcpy(block->digest, digest, SNP_DIGEST_SIZE);
	block->version = 1;
	block->policy = policy;

	sha384(block, sizeof(*block), hash_be);
	for (i = 0; i < P384_WORDS; i++) {
		memcpy(&hash[i], hash_be + SNP_DIGEST_SIZE - 8 - i * 8, 8);
		hash[i] = be64toh(hash[i]);
	}
	p384_reduce(s, p384_add(s, hash, sig_r_times_key));

	memset(auth, 0, sizeof(*auth));
	auth->id_key_algo = 1;
	memcpy(auth->block_sig, sig_r, sizeof(sig_r));
	memcpy(auth->block_sig + P384_SIZE, s, sizeof(s));
	auth->id_key.curve = 2;
	memcpy(auth->id_key.x, key_x, sizeof(key_x));
	memcpy(auth->id_key.y, key_y, sizeof(key_y));
}
