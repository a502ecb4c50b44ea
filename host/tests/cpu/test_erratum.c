// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The erratum of early SNP hardware: while the first page of 2 MB is in use by
 * a vCPU, a write to any of them through a mapping of 2 MB or more raises #PF
 * with RMP (Linux, 75253db41a46: snp_safe_alloc_page()). A CPU of Zen 3 has it.
 */
#include "lib.h"

/* 2 MB that no other test writes to, and the VMCB's place on a free 4 KB page */
#define HUGE	(POOL2M + 16 * MB)

static void run_until_done(void *p)
{
	struct vcpu *v = p;
	u64 beat = get64(v->sh, SH_BEAT), e;

	do {
		e = vcpu_run(v);
	} while (e == EXIT_VMGEXIT && get64(v->sh, SH_BEAT) == beat &&
		 get64(v->sh, SH_VEC) == NO_FAULT);
}

static bool runs(void)
{
	return __atomic_load_n(&cpus[1].busy, __ATOMIC_ACQUIRE);
}

/* CPU 1 runs the guest with its VMCB at @vmcb, for about a second */
static void start(struct vcpu *v, u64 vmcb)
{
	memcpy((void *)vmcb, v->vmcb, PAGE);
	v->vmcb = (u8 *)vmcb;
	vcpu_order(v, OP_BENCH, 40000000, G_DATA, PAGE);
	on_cpu_start(1, run_until_done, v);
	/* RMPUPDATE of a page in use fails with 3: VMRUN has begun */
	while (runs() && rmp_shared(vmcb, false) != 3)
		pause();
}

/* Without INVLPG: a translation from before VMRUN must not let it pass. */
static void is_rmp_fault(u64 a, const char *name)
{
	is_fault(try(t_write, a, 1, 0), VEC_PF, PF_P | PF_W | PF_RMP, a, "%s",
		 name);
}

static void is_no_fault(u64 a, const char *name)
{
	invlpg(a);
	is_fault(try(t_write, a, 1, 0), NO_FAULT, 0, 0, "%s", name);
}

void t_erratum(void)
{
	u8 *small = huge_alloc(), *vmcb;
	struct vm *vm = vm_new_plain(901);
	struct vcpu *v;
	u64 a = HUGE + 9 * PAGE;

	section("erratum: 2 MB taken for in use");
	vm_memory(vm);
	vm_page(vm, G_DATA, NULL, TYPE_ZERO, PERM_ALL);
	v = vm_vcpu(vm, 0);
	vmcb = v->vmcb;
	vcpu_run(v);

	is_no_fault(a, "a write before VMRUN is allowed");
	start(v, HUGE);
	is_rmp_fault(a, "a write beside a VMCB in use at 2 MB: #PF with RMP");
	is_fault(try(t_read, a, 0, 0), NO_FAULT, 0, 0, "a read is allowed");
	is_fault(try(t_write, a, 1, 0), VEC_PF, PF_P | PF_W | PF_RMP, a,
		 "and the write after it still faults");
	is_no_fault(a + 2 * MB, "a write to the next 2 MB is allowed");
	ok(runs(), "the guest ran all the time");
	on_cpu_wait(1);
	is_no_fault(a, "after #VMEXIT the write is allowed");

	start(v, HUGE + PAGE);
	is_no_fault(a, "a VMCB beside the boundary is safe");
	ok(runs(), "the guest ran all the time");
	on_cpu_wait(1);

	start(v, (u64)small);
	is_no_fault((u64)small + 9 * PAGE, "so are mappings of 4 KB");
	ok(runs(), "the guest ran all the time");
	on_cpu_wait(1);
	v->vmcb = vmcb;
	vm_destroy(vm);
}
