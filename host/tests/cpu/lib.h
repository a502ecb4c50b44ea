/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef LIB_H
#define LIB_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "asm.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

/* the kernel's names */
#define __aligned(n)	__attribute__((aligned(n)))
#define __packed	__attribute__((packed))
#define __printf(f, a)	__attribute__((format(printf, f, a)))
#define __noreturn	__attribute__((noreturn))

#define PAGE		4096ul
#define MB		0x100000ul
#define GB		0x40000000ul
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define BIT(n)		(1ull << (n))

/* memory: run gives QEMU 1 GB; the RMP lies at 257 MB, as RMP_BASE says */
#define POOL4K		0x04000000ul	/* mapped by 4 KB pages */
#define POOL4K_END	0x0c000000ul
#define POOL2M		0x0c000000ul	/* mapped by 2 MB pages */
#define POOL2M_END	0x10000000ul
#define RAM_END		0x40000000ul
#define MAX_CPUS	4

#define MSR_APIC_BASE	0x1b
#define MSR_PAT		0x277
#define MSR_STAR	0xc0000081
#define MSR_LSTAR	0xc0000082
#define MSR_FS_BASE	0xc0000100
#define MSR_GS_BASE	0xc0000101
#define MSR_KGS_BASE	0xc0000102
#define MSR_SYSCFG	0xc0010010
#define MSR_HWCR	0xc0010015
#define MSR_HSAVE	0xc0010117
#define MSR_GHCB	0xc0010130
#define MSR_SEV_STATUS	0xc0010131
#define MSR_RMP_BASE	0xc0010132
#define MSR_RMP_END	0xc0010133
#define SYSCFG_MFDM	BIT(19)
#define SYSCFG_MEMENC	BIT(23)
#define SYSCFG_SNP_EN	BIT(24)
#define SYSCFG_VMPL_EN	BIT(25)

#define VEC_DB		1
#define VEC_BP		3
#define VEC_OF		4
#define VEC_UD		6
#define VEC_GP		13
#define VEC_PF		14
#define VEC_VC		29

#define PF_P		BIT(0)
#define PF_W		BIT(1)
#define PF_U		BIT(2)
#define PF_RSVD		BIT(3)
#define PF_I		BIT(4)
#define PF_RMP		BIT(31)
#define NPF_FINAL	BIT(32)
#define NPF_TABLE	BIT(33)
#define NPF_ENC		BIT(34)
#define NPF_SIZEM	BIT(35)
#define NPF_VMPL	BIT(36)

/* labels of boot.S and guest.S */
extern u8 exc_stubs[], trampoline[], trampoline_end[];
extern u64 boot_gdt[], boot_cr3, boot_rsp, boot_cpu;
extern u8 guest_image[], guest_image_end[], guest_stubs[];
extern u8 guest_func[], user_pvalidate[], user_rmpadjust[];

/* main.c: CPUs, faults, memory, TAP */
struct cpu {
	struct cpu *self;
	u64 try_sp;
	u64 vec, err, rip, cr2;
	u64 ustack, irqs;
	u32 id, apic;
	void (*volatile fn)(void *);
	void *volatile arg;
	volatile u32 busy, up;
	u8 *hsave;
	u8 tss[104] __aligned(16);
	u64 gdt[8];
};

extern struct cpu cpus[MAX_CPUS];
extern u32 ncpus;

static inline struct cpu *this_cpu(void)
{
	struct cpu *c;

	asm volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}

#define NO_FAULT ((u64)-1)
struct fault {
	u64 vec, err, cr2, rip, ret;
};

u64 try_call(u64 (*fn)(u64, u64, u64), u64 a, u64 b, u64 c);
struct fault try(u64 (*fn)(u64, u64, u64), u64 a, u64 b, u64 c);

/* CPL 3, and 32-bit code */
u64 call_user(u64 fn, u64 a, u64 b);
u64 compat_rmpupdate(u64 pa, u64 st, u64 c);
void compat_vmrun(u64 vmcb);

u32 fw_cfg_find(const char *name, u32 *len);

void on_cpu(u32 id, void (*fn)(void *), void *arg);
void on_cpu_start(u32 id, void (*fn)(void *), void *arg);
void on_cpu_wait(u32 id);
void on_all(void (*fn)(void *), void *arg);
void delay(u64 tsc);
void cpu_restart(u32 id);		/* an idle CPU, by INIT and SIPI */

void *page_alloc(void);			/* 4 KB, zeroed, from POOL4K */
void page_free(void *p);
u8 *huge_alloc(void);			/* 2 MB in POOL4K */
u64 *host_pte(u64 va);			/* the PTE of an address in POOL4K */
u64 *host_pde(u64 va);			/* the PDE of an address below 4 GB */

/* view.c: the first address that is mapped by a test's own table */
#define VIEW		(POOL2M + 4 * MB)
#define IOAPIC_PAGE	0xfec00000ul
u64 view_put(u64 *pt);			/* what view_restore() takes */
u64 view_straddle(u64 *pt, u64 page);
void view_restore(u64 was);
void use_pages(u64 n);

void say(const char *fmt, ...) __printf(1, 2);
bool ok(bool pass, const char *fmt, ...) __printf(2, 3);
bool is_(u64 found, u64 expected, const char *what, const char *fmt, ...)
	__printf(4, 5);
#define is(found, expected, ...) is_((u64)(found), (u64)(expected), \
				     #found, __VA_ARGS__)
bool is_fault(struct fault f, u64 vec, u64 err, u64 cr2, const char *fmt, ...)
	__printf(5, 6);
void section(const char *name);
__noreturn void bail(const char *fmt, ...)
	__printf(1, 2);
__noreturn void power_off(void);

void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);

static inline void put64(void *b, u32 off, u64 v)
{
	*(volatile u64 *)((u8 *)b + off) = v;
}

static inline u64 get64(const void *b, u32 off)
{
	return *(const volatile u64 *)((const u8 *)b + off);
}

static inline void put32(void *b, u32 off, u32 v)
{
	*(volatile u32 *)((u8 *)b + off) = v;
}

static inline u32 get32(const void *b, u32 off)
{
	return *(const volatile u32 *)((const u8 *)b + off);
}

static inline void put16(void *b, u32 off, u16 v)
{
	*(volatile u16 *)((u8 *)b + off) = v;
}

static inline void put8(void *b, u32 off, u8 v)
{
	*((volatile u8 *)b + off) = v;
}

/* instructions */
static inline void outb(u16 p, u8 v)
{
	asm volatile("outb %0, %1" :: "a"(v), "Nd"(p));
}

static inline u8 inb(u16 p)
{
	u8 v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(p));
	return v;
}

static inline void outw(u16 p, u16 v)
{
	asm volatile("outw %0, %1" :: "a"(v), "Nd"(p));
}

static inline void outl(u16 p, u32 v)
{
	asm volatile("outl %0, %1" :: "a"(v), "Nd"(p));
}

static inline u32 inl(u16 p)
{
	u32 v;

	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(p));
	return v;
}

static inline u64 rdmsr(u32 m)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(m) : "memory");
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 m, u64 v)
{
	asm volatile("wrmsr" :: "c"(m), "a"((u32)v), "d"((u32)(v >> 32))
		     : "memory");
}

struct cpuid {
	u32 a, b, c, d;
};

static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
	struct cpuid r;

	asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d)
		     : "a"(leaf), "c"(sub));
	return r;
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	asm volatile("rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return (u64)hi << 32 | lo;
}

static inline u64 rdcr3(void)
{
	u64 v;

	asm volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}

static inline void invlpg(u64 va)
{
	asm volatile("invlpg (%0)" :: "r"(va) : "memory");
}

/* a register of this CPU's local APIC */
#define APIC(r) (*(volatile u32 *)(0xfee00000ul + (r)))

static inline void pause(void)
{
	asm volatile("pause" ::: "memory");
}

static inline void barrier(void)
{
	asm volatile("mfence" ::: "memory");
}

/* functions for try(): one access or instruction each */
u64 t_read(u64 a, u64 b, u64 c);
u64 t_write(u64 a, u64 v, u64 c);
u64 t_xadd(u64 a, u64 v, u64 c);
u64 t_cmpxchg(u64 a, u64 old, u64 new);
u64 t_rdmsr(u64 m, u64 b, u64 c);
u64 t_wrmsr(u64 m, u64 v, u64 c);
u64 t_rmpupdate(u64 pa, u64 st, u64 c);
u64 t_psmash(u64 pa, u64 b, u64 c);
u64 t_pvalidate(u64 va, u64 size, u64 val);
u64 t_rmpadjust(u64 va, u64 size, u64 attr);
u64 t_rmpquery(u64 va, u64 b, u64 attr);
u64 t_rmpread(u64 pa, u64 out, u64 c);
u64 t_vmgexit(u64 a, u64 b, u64 c);
u64 t_vmsave(u64 pa, u64 b, u64 c);

/* rmp.c: entries as the RMP's memory holds them, and RMPUPDATE's operand */
#define RMP_ASSIGNED	BIT(0)
#define RMP_2MB		BIT(1)
#define RMP_IMMUTABLE	BIT(2)
#define RMP_GPA		0x0007fffffffff000ull
#define RMP_ASID(n)	((u64)(n) << 51)
#define RMP_VMSA	BIT(61)
#define RMP_VALIDATED	BIT(62)

struct rmp_state {
	u64 gpa;
	u8 assigned, pagesize, immutable, rsvd;
	u32 asid;
} __packed __aligned(16);

extern u64 rmp_base, rmp_end;
u64 rmp(u64 pa);			/* the entry's low word */
u64 rmp_hi(u64 pa);
u64 rmpupdate(u64 pa, struct rmp_state *st);
u64 rmp_assign(u64 pa, u64 gpa, u32 asid, bool large, bool immutable);
u64 rmp_firmware(u64 pa);
u64 rmp_shared(u64 pa, bool large);
u64 psmash(u64 pa);
void rmp_poke(u64 pa, u32 n, u8 value);	/* a byte of the entry, unchecked */

/* psp.c */
#define CMD_INIT		0x001
#define CMD_SHUTDOWN		0x002
#define CMD_PLATFORM_STATUS	0x004
#define CMD_DF_FLUSH		0x00a
#define CMD_DECOMMISSION	0x020
#define CMD_ACTIVATE		0x021
#define CMD_DEACTIVATE		0x022
#define CMD_LAUNCH_START	0x030
#define CMD_LAUNCH_UPDATE_DATA	0x031
#define CMD_LAUNCH_UPDATE_VMSA	0x032
#define CMD_LAUNCH_MEASURE	0x033
#define CMD_LAUNCH_FINISH	0x035
#define CMD_SNP_INIT		0x081
#define CMD_SNP_PLATFORM_STATUS	0x083
#define CMD_SNP_DF_FLUSH	0x084
#define CMD_SNP_INIT_EX		0x085
#define CMD_SNP_SHUTDOWN_EX	0x086
#define CMD_SNP_DECOMMISSION	0x090
#define CMD_SNP_ACTIVATE	0x091
#define CMD_SNP_GUEST_STATUS	0x092
#define CMD_SNP_GCTX_CREATE	0x093
#define CMD_SNP_LAUNCH_START	0x0a0
#define CMD_SNP_LAUNCH_UPDATE	0x0a1
#define CMD_SNP_LAUNCH_FINISH	0x0a2
#define CMD_SNP_DBG_DECRYPT	0x0b0
#define CMD_SNP_PAGE_RECLAIM	0x0c7

enum {
	ST_OK, ST_PLATFORM_STATE, ST_GUEST_STATE, ST_CONFIG, ST_LEN,
	ST_POLICY = 7, ST_INACTIVE, ST_ADDRESS, ST_SIGNATURE, ST_MEASUREMENT,
	ST_ASID_OWNED, ST_ASID, ST_WBINVD, ST_DFFLUSH, ST_GUEST, ST_COMMAND,
	ST_ACTIVE, ST_PARAM = 0x16, ST_PAGE_SIZE = 0x19, ST_PAGE_STATE,
	ST_PAGE_OWNER = 0x1c,
};

u64 pci_find(u32 id, u32 bar_at);	/* a BAR, or 0; enables the device */
u64 psp_find(void);			/* BAR 2 */
void psp_decode(bool on);
u32 psp(u32 cmd, void *buf);
u32 snp_init(void);
u32 fw_gctx_create(void *page);
u32 fw_addr(u32 cmd, void *page);	/* DECOMMISSION, … */
u32 fw_activate(void *gctx, u32 asid);
u32 fw_launch_start(void *gctx, u64 policy);
u32 fw_launch_update(void *gctx, u64 pa, u32 type, bool large, u32 vmpl_perms);
u32 fw_launch_finish(void *gctx);
u32 fw_reclaim(u64 pa, bool large);
u32 fw_dbg_decrypt(void *gctx, u64 pa, void *to);
u32 fw_legacy(u32 cmd, u64 *words, u32 n, u64 page);
void flush_asids(u32 cmd);		/* DF_FLUSH of either interface */

#define TYPE_NORMAL	1
#define TYPE_VMSA	2
#define TYPE_ZERO	3
#define TYPE_UNMEASURED	4
#define TYPE_SECRETS	5
#define TYPE_CPUID	6

#define POLICY		(BIT(16) | BIT(17))
#define POLICY_DEBUG	(POLICY | BIT(19))

#define PERM_R		1
#define PERM_W		2
#define PERM_XU		4
#define PERM_XS		8
#define PERM_ALL	0xf

/* svm.c */
#define EXIT_INVALID	((u64)-1)
#define EXIT_BUSY	((u64)-2)
#define EXIT_CPUID	0x72
#define EXIT_PAUSE	0x77
#define EXIT_HLT	0x78
#define EXIT_IOIO	0x7b
#define EXIT_MSR	0x7c
#define EXIT_SHUTDOWN	0x7f
#define EXIT_VMSAVE	0x83
#define EXIT_EFER_TRAP	0x8f
#define EXIT_CR0_TRAP	0x90
#define EXIT_NPF	0x400
#define EXIT_VMGEXIT	0x403
#define VC_NOT_VALID	0x404

/* VMCB control area */
#define VMCB_ICPT	0x000
#define VMCB_IOPM	0x040
#define VMCB_MSRPM	0x048
#define VMCB_ASID	0x058
#define VMCB_TLB	0x05c
#define VMCB_INT_CTL	0x060
#define VMCB_INT_STATE	0x068
#define VMCB_EXIT	0x070
#define VMCB_INFO1	0x078
#define VMCB_INFO2	0x080
#define VMCB_INTINFO	0x088
#define VMCB_MISC	0x090
#define VMCB_GHCB	0x0a0
#define VMCB_INJ	0x0a8
#define VMCB_INJ_ERR	0x0ac
#define VMCB_NCR3	0x0b0
#define VMCB_LBR	0x0b8
#define VMCB_NRIP	0x0c8
#define VMCB_VMSA	0x108
#define VMCB_SAVE	0x400

/* save area and VMSA */
#define SA_ES		0x00
#define SA_CS		0x10
#define SA_SS		0x20
#define SA_DS		0x30
#define SA_FS		0x40
#define SA_GS		0x50
#define SA_GDTR		0x60
#define SA_LDTR		0x70
#define SA_IDTR		0x80
#define SA_TR		0x90
#define SA_VMPL		0xca
#define SA_CPL		0xcb
#define SA_EFER		0xd0
#define SA_XSS		0x140
#define SA_CR4		0x148
#define SA_CR3		0x150
#define SA_CR0		0x158
#define SA_DR7		0x160
#define SA_DR6		0x168
#define SA_RFLAGS	0x170
#define SA_RIP		0x178
#define SA_RSP		0x1d8
#define SA_RAX		0x1f8
#define SA_STAR		0x200
#define SA_LSTAR	0x208
#define SA_KGS		0x220
#define SA_SYSENTER_EIP	0x238
#define SA_CR2		0x240
#define SA_PAT		0x268
#define SA_PKRU		0x2e8
#define SA_GPR		0x300		/* + 8 * (1 … 15): rcx … r15 */
#define SA_EXIT_INFO1	0x390
#define SA_EXIT_INFO2	0x398
#define SA_EXIT_INTINFO	0x3a0
#define SA_NRIP		0x3a8
#define SA_FEATURES	0x3b0
#define SA_EXIT_CODE	0x3c0
#define SA_PCPU_ID	0x3d8
#define SA_XCR0		0x3e8
#define SA_MXCSR	0x408
#define SA_FCW		0x410
#define SA_X87		0x420
#define SA_X87_EXP	0x460
#define SA_XMM		0x470
#define SA_YMM_HI	0x570

struct vmrun {
	u64 vmcb;
	u64 in[16], out[16];
	u64 xmm0[2];
};

void vmrun_asm(struct vmrun *r);

/* the guest's physical memory; it is mapped twice, private and shared */
#define G_PML4		0x1000
#define G_PDPT		0x2000
#define G_PD		0x3000
#define G_PDS		0x4000
#define G_TABLES	0x5000		/* GDT, IDT */
#define G_CODE		0x8000
#define G_SHARED	0x100000	/* + PAGE * vCPU */
#define G_VMSA		0x180000	/* + PAGE * vCPU */
#define G_TEST		0x200000	/* pages of a test */
#define G_DATA		0x400000
#define SHARED_VIEW	0x40000000ul	/* + gpa, C-bit clear */

struct vm;
struct vcpu {
	struct vm *vm;
	u32 n;
	u8 *vmcb;
	u8 *vmsa;			/* or NULL: a plain VM */
	u8 *sh;				/* the shared page */
	u64 c;				/* C-bit in the VMCB's address */
	struct vmrun r;
	u64 exits, lost;		/* lost: exits that changed the host's GS */
};

#define VM_PAGES 2048
struct vm {
	u32 asid, nvcpu, handle;
	bool sev, es, snp;		/* each builds on those before it */
	u8 *gctx;
	u64 *npt;
	struct vcpu vcpu[4];
	u64 pages[VM_PAGES];		/* vm_destroy() frees them; bit 0: 2 MB */
	u32 npages;
};

extern u64 cbit;
/* the host's properties are not the default ones, but the others */
extern bool other_readings;
extern u8 msrpm[], iopm[], msrpm_all[], iopm_all[];
void svm_cpu_init(void *unused);
struct vm *vm_new(u32 asid, u64 policy);
struct vm *vm_new_plain(u32 asid);
struct vm *vm_new_sev(u32 asid, bool es);	/* by the older commands */
u32 vm_sev_encrypt(struct vm *vm, u32 cmd, void *page);
void *vm_page(struct vm *vm, u64 gpa, const void *from, u32 type, u32 perms);
void vm_memory(struct vm *vm);		/* tables and agent, launched */
void vm_vmsa_image(struct vcpu *v, u8 *page);
struct vcpu *vm_vcpu(struct vm *vm, u32 vmpl);
struct vcpu *vm_vcpu_bare(struct vm *vm);	/* no VMSA yet */
void vm_finish(struct vm *vm);
struct vm *vm_ready(u32 asid, u32 nvcpu);	/* all steps; each vCPU has run */
void vm_destroy(struct vm *vm);
void vm_keep(struct vm *vm, void *p);	/* vm_destroy() frees the page */
void npt_map(struct vm *vm, u64 gpa, u64 spa, u64 flags);
void npt_map_large(struct vm *vm, u64 gpa, u64 spa, u64 flags);
#define NPT_RWX 7ull
u64 vcpu_run(struct vcpu *v);		/* one VMRUN; the exit code */
void vcpu_refused(struct vcpu *v);	/* VMRUN of a VMCB whose EFER it refuses */
void vcpu_order(struct vcpu *v, u32 op, u64 a, u64 b, u64 c);
u64 vcpu_do(struct vcpu *v, u32 op, u64 a, u64 b, u64 c);
void vcpu_abort(struct vcpu *v);	/* #GP ends the guest's order */
void intercept(struct vcpu *v, u32 code, bool on);
u8 *vmsa_read(struct vcpu *v);		/* decrypted copy, debug policy */

void t_platform(void);
void t_off(void);
void t_msr(void);			/* before t_enable() */
void t_msr_snp(void);
void t_enable(void);
void snp_enable(void);			/* SNP on, firmware in INIT; checks nothing */
void t_rmp(void);
void t_rmp_by_hand(void);		/* SNP on, before SNP_INIT */
void t_host(void);
void t_dma(void);
void t_fw(void);
void t_vmrun(void);
void t_plain(void);
void t_svm(u64 first);		/* from this group on */
void t_guest(void);
void t_smp(void);
void t_busy(void);
void t_tlb(void);
void t_erratum(void);
void t_sme(void);
void bench(void);
void fuzz(u64 seed, u64 seconds);
u64 tsc_khz(void);

#endif
