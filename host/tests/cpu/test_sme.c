// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Secure Memory Encryption (APM 2, 7.10): the C-bit in the host's own tables,
 * in nested tables, in the addresses that VMRUN, devices and the firmware get.
 */
#include "lib.h"

#define SECRET	0x5ec2e75ec2e75ec2ull

static void flush_va(void *va)
{
	invlpg((u64)va);
}

/* Maps an address of POOL4K to a page, with the C-bit or without, on all CPUs. */
static void map(void *va, void *page, bool c)
{
	u64 *pte = host_pte((u64)va);

	*pte = (*pte & 0xfff) | (u64)page | (c ? cbit : 0);
	on_all(flush_va, va);
}

static void fill(volatile u64 *page, u64 v)
{
	for (u32 i = 0; i < 512; i++)
		page[i] = v + i;
}

/* How many quadwords are as fill() has left them. */
static u32 same(volatile u64 *page, u64 v)
{
	u32 n = 0;

	for (u32 i = 0; i < 512; i++)
		n += page[i] == v + i;
	return n;
}

static void content(void)
{
	u64 *page = page_alloc(), *alias = page_alloc(), *keep = alias;
	static u64 copy[512];
	struct fault f;

	fill(page, SECRET);
	map(alias, page, true);
	is(same(alias, SECRET), 0, "written with C-bit 0, read with 1: noise");
	is(same(page, SECRET), 512, "which changes nothing");
	memcpy(copy, page, PAGE);
	memcpy(alias, copy, PAGE);
	is(same(alias, SECRET), 512,
	   "encryption in place, by a copy through a buffer: the content stays");
	is(same(page, SECRET), 0, "read with C-bit 0 then: noise");
	f = try(call_user, (u64)t_read, (u64)page, 0);
	ok(f.vec == NO_FAULT && f.ret != SECRET, "read by user code: noise too");
	memcpy(copy, alias, PAGE);
	memcpy(page, copy, PAGE);
	is(same(page, SECRET), 512, "decryption in place: the content stays");
	memcpy(alias, copy, PAGE);
	page[8] = 42;
	is(page[8], 42, "a write through the other key is read as written");
	ok(same(page, SECRET) == 0 && same(alias, SECRET) == 0,
	   "and destroys the rest of the page, whichever key reads it");
	map(alias, keep, false);
	page_free(page);
	page_free(alias);
}

/* Code under the key, 2 MB mappings. */
static void code_and_large(void)
{
	u64 *page = page_alloc(), va = POOL2M + 6 * MB;
	u64 *pde = host_pde(va), keep = *pde;

	map(page, page, true);
	fill(page, 0);
	*(volatile u8 *)page = 0xc3;
	ok(try((void *)page, 0, 0, 0).vec == NO_FAULT,
	   "code written with the C-bit is executed with it");
	map(page, page, false);
	page_free(page);

	fill((u64 *)(va + 5 * PAGE), SECRET);
	*pde = keep | cbit;
	on_all(flush_va, (void *)va);
	is(same((u64 *)(va + 5 * PAGE), SECRET), 0, "2 MB mapping with C-bit: noise");
	fill((u64 *)(va + 5 * PAGE), SECRET);
	is(same((u64 *)(va + 5 * PAGE), SECRET), 512, "written and read with it");
	*pde = keep;
	on_all(flush_va, (void *)va);
	is(same((u64 *)(va + 5 * PAGE), SECRET), 0, "without it again: noise");
	memset((void *)(va + 5 * PAGE), 0, PAGE);
}

/* Another CPU has the page in its TLB while this one changes its key. */
static u64 other_found;

static void read_other(void *page)
{
	other_found = *(volatile u64 *)page;
}

static void other_cpus(void)
{
	u64 *page = page_alloc(), *alias = page_alloc();

	fill(page, SECRET);
	map(alias, page, true);
	on_cpu(1, read_other, page);
	is(other_found, SECRET, "another CPU reads the page without C-bit");
	on_cpu(1, read_other, alias);
	ok(other_found != SECRET, "and noise with it");
	fill(alias, SECRET);
	on_cpu(1, read_other, page);
	ok(other_found != SECRET, "encrypted meanwhile: it reads noise");
	on_cpu(1, read_other, alias);
	is(other_found, SECRET, "and with the C-bit the content");
	map(alias, alias, false);
	page_free(page);
	page_free(alias);
}

/* Tables are read through the key that CR3 or the entry above them has. */
static void walks(void)
{
	u64 *pt = page_alloc(), *target = page_alloc(), *top = page_alloc();
	u64 va = POOL2M + 8 * MB, cr3 = rdcr3(), *pde = host_pde(va), keep = *pde;
	struct fault f;

	target[0] = SECRET;
	map(pt, pt, true);
	memset(pt, 0, PAGE);
	pt[0] = (u64)target | 0x67;
	*pde = (u64)pt | 0x67 | cbit;
	invlpg(va);
	f = try(t_read, va, 0, 0);
	ok(f.vec == NO_FAULT && f.ret == SECRET,
	   "walk: a table under the key, C-bit in the entry above");
	pt[0] &= ~0x20ull;
	invlpg(va);
	f = try(t_read, va, 0, 0);
	ok(f.vec == NO_FAULT && pt[0] & 0x20, "walk: sets A in such a table");
	*pde = (u64)pt | 0x67;
	invlpg(va);
	f = try(t_read, va, 0, 0);
	ok(f.vec == VEC_PF, "walk: without the C-bit above, the table is noise");
	*pde = keep;
	invlpg(va);

	memset(pt, 0, PAGE);
	map(top, top, true);
	memcpy(top, (void *)cr3, PAGE);
	asm volatile("mov %0, %%cr3" :: "r"((u64)top | cbit) : "memory");
	f = try(t_read, (u64)target, 0, 0);
	is(rdcr3(), (u64)top | cbit, "CR3 takes the C-bit");
	asm volatile("mov %0, %%cr3" :: "r"(cr3) : "memory");
	is(f.ret, SECRET, "CR3 with C-bit: the top table is under the key");
	map(pt, pt, false);
	map(top, top, false);
	page_free(pt);
	page_free(target);
	page_free(top);
}

static void rmp_checks(void)
{
	u64 *page = page_alloc(), a = (u64)page;

	map(page, page, true);
	fill(page, SECRET);
	rmp_assign(a, 0x1000, 5, false, false);
	is_fault(try(t_write, a, 1, 0), VEC_PF, PF_P | PF_W | PF_RMP, a,
		 "write with C-bit to an assigned page: #PF with RMP (15.36.10)");
	is(same(page, SECRET), 512, "it can be read as before");
	rmp_shared(a, false);
	is_fault(try(t_write, a, SECRET, 0), NO_FAULT, 0, 0,
		 "the hypervisor's again: written");
	is(same(page, SECRET), 512, "and nothing is lost");
	map(page, page, false);
	page_free(page);
}

/* ---- guests -------------------------------------------------------------- */

/* Moves a vCPU's VMCB under the key, or back. */
static void encrypt_vmcb(struct vcpu *v, bool c)
{
	static u8 copy[PAGE];

	memcpy(copy, v->vmcb, PAGE);
	map(v->vmcb, v->vmcb, c);
	memcpy(v->vmcb, copy, PAGE);
	v->c = c ? cbit : 0;
}

static void plain_guest(void)
{
	struct vm *vm = vm_new_plain(300);
	struct vcpu *v;
	u64 *page = page_alloc();
	u64 *npt, *save;

	vm_memory(vm);
	v = vm_vcpu(vm, 0);
	is(vcpu_run(v), EXIT_VMGEXIT, "a plain guest runs");
	encrypt_vmcb(v, true);
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_VMGEXIT,
	   "VMRUN, VMLOAD, VMSAVE take addresses with C-bit");
	/* not the page that vcpu_run() has the host's VMSAVE state in */
	save = page_alloc();
	vm_keep(vm, save);
	wrmsr(MSR_HSAVE, (u64)save | cbit);
	is(rdmsr(MSR_HSAVE), (u64)save | cbit, "so does VM_HSAVE_PA");
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_VMGEXIT, "and VMRUN uses it");
	wrmsr(MSR_HSAVE, (u64)this_cpu()->hsave);

	vm_keep(vm, page);
	fill(page, SECRET);
	npt_map(vm, G_TEST, (u64)page | cbit, NPT_RWX);
	vcpu_do(v, OP_READ, G_TEST, 0, 0);
	ok(get64(v->sh, SH_R0) != SECRET,
	   "C-bit in a nested entry: what has no key is noise");
	map(page, page, true);
	fill(page, SECRET);
	vcpu_do(v, OP_READ, G_TEST, 0, 0);
	is(get64(v->sh, SH_R0), SECRET, "what is under the key is read");
	vcpu_do(v, OP_WRITE, G_TEST, 7, 0);
	ok(page[0] == 7 && page[1] == SECRET + 1, "and written");
	npt_map(vm, G_TEST, (u64)page, NPT_RWX);
	vcpu_do(v, OP_READ, G_TEST + 8, 0, 0);
	ok(get64(v->sh, SH_R0) != SECRET + 1,
	   "a nested entry without it: noise");
	map(page, page, false);

	npt = page_alloc();
	vm_keep(vm, npt);
	map(npt, npt, true);
	memcpy(npt, vm->npt, PAGE);
	put64(v->vmcb, VMCB_NCR3, (u64)npt | cbit);
	put8(v->vmcb, VMCB_TLB, 1);
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_VMGEXIT,
	   "nested CR3 with C-bit: the table is under the key");
	put64(v->vmcb, VMCB_NCR3, (u64)vm->npt);
	map(npt, npt, false);

	put64(v->vmcb, VMCB_MSRPM, (u64)msrpm | cbit);
	put64(v->vmcb, VMCB_IOPM, (u64)iopm | cbit);
	is(vcpu_do(v, OP_NOP, 0, 0, 0), EXIT_VMGEXIT,
	   "the permission maps' addresses may have the C-bit");
	/* not by vcpu_run(), which writes to the VMCB afterwards */
	v->c = 0;
	v->r.vmcb = (u64)v->vmcb;
	vmrun_asm(&v->r);
	map(v->vmcb, v->vmcb, false);
	is(get64(v->vmcb, VMCB_EXIT), EXIT_INVALID,
	   "VMRUN of a VMCB through another key: invalid");
	vm_destroy(vm);
}

/* A copy of this CPU's host save area, under the key. */
static u8 *encrypted_hsave(struct vm *vm)
{
	u8 *h = page_alloc();

	vm_keep(vm, h);
	map(h, h, true);
	memcpy(h, this_cpu()->hsave, PAGE);
	return h;
}

static void snp_guest(void)
{
	struct vm *vm = vm_new(7, POLICY_DEBUG);
	u64 *page = page_alloc(), pa = (u64)page;
	static u64 copy[512] __aligned(4096);
	struct vcpu *v;
	u8 *hsave;

	vm_keep(vm, page);
	map(page, page, true);
	fill(page, SECRET);
	rmp_assign(pa, G_TEST, vm->asid, false, true);
	is(fw_launch_update(vm->gctx, pa | cbit, TYPE_NORMAL, false, PERM_ALL),
	   ST_OK, "LAUNCH_UPDATE takes an address with C-bit");
	is(fw_dbg_decrypt(vm->gctx, pa, copy), ST_OK, "the page, decrypted");
	is(same(copy, SECRET), 512, "LAUNCH_UPDATE has read it through SME's key");
	is(same(page, SECRET), 0, "it is under the guest's key now: noise");

	vm_memory(vm);
	v = vm_vcpu(vm, 0);
	vm_finish(vm);
	encrypt_vmcb(v, true);
	npt_map(vm, G_TEST, pa | cbit, NPT_RWX);
	is(vcpu_run(v), EXIT_VMGEXIT, "an SNP guest runs, its VMCB under SME's key");
	is(get64(vmsa_read(v), SA_EXIT_CODE), EXIT_VMGEXIT,
	   "the exit in its VMSA is that of the VMCB (15.36.9)");
	vcpu_do(v, OP_READ, G_TEST + 8, 0, 0);
	is(get64(v->sh, SH_R0), SECRET + 1,
	   "its private memory: the C-bit of the nested tables means nothing");

	hsave = this_cpu()->hsave;
	this_cpu()->hsave = encrypted_hsave(vm);
	wrmsr(MSR_HSAVE, (u64)this_cpu()->hsave | cbit);
	vcpu_do(v, OP_NOP, 0, 0, 0);
	map(this_cpu()->hsave, this_cpu()->hsave, false);
	this_cpu()->hsave = hsave;
	wrmsr(MSR_HSAVE, (u64)hsave);
	is(v->r.out[3], v->r.in[3],
	   "#VMEXIT: RBX is the host save area's, under SME's key (type B)");

	/* shared memory: the key that the nested tables say (15.34.6) */
	map(v->sh, v->sh, true);
	memset(v->sh, 0, PAGE);
	npt_map(vm, G_SHARED, (u64)v->sh | cbit, NPT_RWX);
	vcpu_do(v, OP_READ, G_TEST + 16, 0, 0);
	is(get64(v->sh, SH_R0), SECRET + 2,
	   "shared memory under SME's key: both see what the other writes");
	encrypt_vmcb(v, false);
	map(v->sh, v->sh, false);
	map(page, page, false);
	vm_destroy(vm);
}

/* The firmware reads its command buffer through the key of the address. */
static void firmware(void)
{
	u64 *buf = page_alloc();

	map(buf, buf, true);
	memset(buf, 0, PAGE);
	buf[0] = (u64)buf & ~0xfffull;
	is(psp(CMD_SNP_PAGE_RECLAIM, (void *)((u64)buf | cbit)), ST_OK,
	   "a command buffer at an address with C-bit");
	ok(psp(CMD_SNP_PAGE_RECLAIM, buf) != ST_OK,
	   "at the address without it, the firmware reads noise");
	map(buf, buf, false);
	page_free(buf);
}

void t_sme(void)
{
	section("SME");
	on_all(svm_cpu_init, NULL);
	content();
	code_and_large();
	other_cpus();
	walks();
	rmp_checks();
	plain_guest();
	snp_guest();
	firmware();
}
