// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The test kernel itself: CPUs, memory, expected faults, and TAP on the first
 * serial port.
 */
#include "lib.h"

struct cpu cpus[MAX_CPUS] __aligned(64);
u32 ncpus = 1;

/* ---- output ------------------------------------------------------------ */

static u32 tests, failures;
static const char *cur_section = "";

static void put(char c)
{
	while (!(inb(0x3f8 + 5) & 0x20))
		pause();
	outb(0x3f8, c);
}

static void print_num(u64 v, u32 base, int width, char fill)
{
	char b[24];
	int n = 0;

	do {
		b[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n < width)
		b[n++] = fill;
	while (n--)
		put(b[n]);
}

static void vsay(const char *f, va_list ap)
{
	for (; *f; f++) {
		int width = 0, longs = 0;
		char fill = ' ';
		u64 v;

		if (*f != '%') {
			put(*f);
			continue;
		}
		f++;
		if (*f == '#') {
			put('0');
			put('x');
			f++;
		}
		if (*f == '0')
			fill = *f++;
		for (; *f >= '0' && *f <= '9'; f++)
			width = width * 10 + *f - '0';
		for (; *f == 'l'; f++)
			longs++;
		switch (*f) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
			break;
		case 'd':
		case 'u':
		case 'x':
			v = longs ? va_arg(ap, u64) : va_arg(ap, u32);
			print_num(v, *f == 'x' ? 16 : 10, width, fill);
			break;
		default:
			put(*f);
		}
	}
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay(fmt, ap);
	va_end(ap);
}

static bool vok(bool pass, const char *fmt, va_list ap)
{
	tests++;
	if (!pass)
		failures++;
	say("%s %u %s: ", pass ? "ok" : "not ok", tests, cur_section);
	vsay(fmt, ap);
	say("\n");
	return pass;
}

bool ok(bool pass, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vok(pass, fmt, ap);
	va_end(ap);
	return pass;
}

bool is_(u64 found, u64 expected, const char *what, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vok(found == expected, fmt, ap);
	va_end(ap);
	if (found != expected)
		say("# %s: expected %#lx, found %#lx\n", what, expected, found);
	return found == expected;
}

bool is_fault(struct fault f, u64 vec, u64 err, u64 cr2, const char *fmt, ...)
{
	bool pass = f.vec == vec;
	va_list ap;

	if (pass && vec == VEC_PF)
		pass = f.err == err && f.cr2 == cr2;
	va_start(ap, fmt);
	vok(pass, fmt, ap);
	va_end(ap);
	if (pass)
		return true;
	if (vec == NO_FAULT)
		say("# expected no fault,");
	else if (vec == VEC_PF)
		say("# expected #PF error %#lx cr2 %#lx,", err, cr2);
	else
		say("# expected vector %lu,", vec);
	if (f.vec == NO_FAULT)
		say(" found none (result %#lx)\n", f.ret);
	else
		say(" found vector %lu error %#lx cr2 %#lx\n", f.vec, f.err,
		    f.cr2);
	return false;
}

void section(const char *name)
{
	cur_section = name;
	say("# ---- %s\n", name);
}

void power_off(void)
{
	/* ACPI PM1a control as SeaBIOS places it on q35: S5 */
	for (;;)
		outw(0x604, 0x2000);
}

void bail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("Bail out! %s: ", cur_section);
	vsay(fmt, ap);
	say("\n");
	va_end(ap);
	power_off();
}

/* ---- faults ------------------------------------------------------------ */

/* what exc_stubs in boot.S push */
struct frame {
	u64 vec, err, rip, cs, rflags, rsp, ss;
};

/* called by exc_stubs for a fault outside try() */
void unexpected(struct frame *f, u64 cr2);
void unexpected(struct frame *f, u64 cr2)
{
	bail("cpu %u: unexpected vector %lu error %#lx at %#lx cr2 %#lx",
	     this_cpu()->id, f->vec, f->err, f->rip, cr2);
}

struct fault try(u64 (*fn)(u64, u64, u64), u64 a, u64 b, u64 c)
{
	struct fault f;
	struct cpu *cpu = this_cpu();

	f.ret = try_call(fn, a, b, c);
	f.vec = *(volatile u64 *)&cpu->vec;
	f.err = f.vec == NO_FAULT ? 0 : *(volatile u64 *)&cpu->err;
	f.cr2 = f.vec == VEC_PF ? *(volatile u64 *)&cpu->cr2 : 0;
	f.rip = f.vec == NO_FAULT ? 0 : *(volatile u64 *)&cpu->rip;
	return f;
}

u64 t_read(u64 a, u64 b, u64 c)
{
	(void)b;
	(void)c;
	return *(volatile u64 *)a;
}

u64 t_write(u64 a, u64 v, u64 c)
{
	(void)c;
	*(volatile u64 *)a = v;
	return 0;
}

u64 t_xadd(u64 a, u64 v, u64 c)
{
	(void)c;
	asm volatile("lock xadd %0, (%1)" : "+r"(v) : "r"(a) : "memory");
	return v;
}

u64 t_cmpxchg(u64 a, u64 old, u64 new)
{
	asm volatile("lock cmpxchg %2, (%1)" : "+a"(old) : "r"(a), "r"(new)
		     : "memory");
	return old;
}

u64 t_rdmsr(u64 m, u64 b, u64 c)
{
	(void)b;
	(void)c;
	return rdmsr(m);
}

u64 t_wrmsr(u64 m, u64 v, u64 c)
{
	(void)c;
	wrmsr(m, v);
	return 0;
}

u64 t_rmpupdate(u64 pa, u64 st, u64 c)
{
	(void)c;
	asm volatile(".byte 0xf2, 0x0f, 0x01, 0xfe" : "+a"(pa) : "c"(st)
		     : "memory", "cc");
	return (u32)pa;
}

u64 t_psmash(u64 pa, u64 b, u64 c)
{
	(void)b;
	(void)c;
	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xff" : "+a"(pa) :: "memory",
		     "cc");
	return (u32)pa;
}

u64 t_pvalidate(u64 va, u64 size, u64 val)
{
	asm volatile(".byte 0xf2, 0x0f, 0x01, 0xff"
		     : "+a"(va) : "c"(size), "d"(val) : "memory", "cc");
	return (u32)va;
}

u64 t_rmpadjust(u64 va, u64 size, u64 attr)
{
	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xfe"
		     : "+a"(va) : "c"(size), "d"(attr) : "memory", "cc");
	return (u32)va;
}

u64 t_rmpquery(u64 va, u64 b, u64 attr)
{
	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xfd"
		     : "+a"(va), "+c"(b), "+d"(attr) :: "memory", "cc");
	return (u32)va;
}

u64 t_rmpread(u64 pa, u64 out, u64 c)
{
	(void)c;
	asm volatile(".byte 0xf2, 0x0f, 0x01, 0xfd"
		     : "+a"(pa) : "c"(out) : "memory", "cc");
	return (u32)pa;
}

u64 t_vmgexit(u64 a, u64 b, u64 c)
{
	(void)a;
	(void)b;
	(void)c;
	asm volatile(".byte 0xf3, 0x0f, 0x01, 0xd9" ::: "memory");
	return 0;
}

u64 t_vmsave(u64 pa, u64 b, u64 c)
{
	(void)b;
	(void)c;
	asm volatile("vmsave" :: "a"(pa) : "memory");
	return 0;
}

/* ---- memory ------------------------------------------------------------ */

void *memset(void *d, int c, size_t n)
{
	void *r = d;

	asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return r;
}

void *memcpy(void *d, const void *s, size_t n)
{
	void *r = d;

	asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) :: "memory");
	return r;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

#define N_PT ((POOL4K_END - POOL4K) / (2 * MB))
static u64 pml4[512] __aligned(4096);
static u64 pdpt[512] __aligned(4096);
static u64 pd[4][512] __aligned(4096);
static u64 pts[N_PT][512] __aligned(4096);
/* 4 KB pages grow up from the pool's start, 2 MB pieces down from its end */
static u64 next_page = POOL4K, next_huge = POOL4K_END;
static void *free_list;
static volatile u32 page_lock;

static void lock(volatile u32 *l)
{
	while (__atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE))
		pause();
}

static void unlock(volatile u32 *l)
{
	__atomic_store_n(l, 0, __ATOMIC_RELEASE);
}

void *page_alloc(void)
{
	void *p;

	lock(&page_lock);
	if (free_list) {
		p = free_list;
		free_list = *(void **)p;
	} else {
		if (next_page == next_huge)
			bail("no page left in the pool");
		p = (void *)next_page;
		next_page += PAGE;
	}
	unlock(&page_lock);
	memset(p, 0, PAGE);
	return p;
}

void page_free(void *p)
{
	lock(&page_lock);
	*(void **)p = free_list;
	free_list = p;
	unlock(&page_lock);
}

u8 *huge_alloc(void)
{
	if (next_huge - 2 * MB < next_page)
		bail("no 2 MB left in the pool");
	next_huge -= 2 * MB;
	memset((void *)next_huge, 0, 2 * MB);
	return (u8 *)next_huge;
}

u64 *host_pte(u64 va)
{
	return &pts[(va - POOL4K) / (2 * MB)][(va >> 12) & 511];
}

u64 *host_pde(u64 va)
{
	return &pd[va / GB][va / (2 * MB) % 512];
}

/* Everything is mapped for user code too: SMEP and SMAP stay off. */
static void paging(void)
{
	const u64 f = 0x7 | 0x60;	/* P W U, accessed and dirty */
	u64 i, j, a;

	for (i = 0; i < 4; i++) {
		pdpt[i] = (u64)pd[i] | f;
		for (j = 0; j < 512; j++)
			pd[i][j] = (i * GB + j * 2 * MB) | f | 0x80;
	}
	for (; i < 512; i++)
		pdpt[i] = i * GB | f | 0x80;
	for (i = 0; i < N_PT; i++) {
		a = POOL4K + i * 2 * MB;
		for (j = 0; j < 512; j++)
			pts[i][j] = (a + j * PAGE) | f;
		pd[0][a / (2 * MB)] = (u64)pts[i] | f;
	}
	pml4[0] = (u64)pdpt | f;
}

/* ---- CPUs -------------------------------------------------------------- */

static u64 idt[256][2] __aligned(16);
static u8 stacks[MAX_CPUS][3][16384] __aligned(4096);
static u8 hsaves[MAX_CPUS][PAGE] __aligned(4096);

#define WAKE 0xf0

static void cpu_setup(u32 id)
{
	struct cpu *c = &cpus[id];
	struct {
		u16 limit;
		u64 base;
	} __packed d;
	u64 t = (u64)c->tss, cr4;

	c->self = c;
	c->id = id;
	c->ustack = (u64)stacks[id][1] + sizeof(stacks[id][1]);
	c->hsave = hsaves[id];
	put64(c->tss, 4, (u64)stacks[id][2] + sizeof(stacks[id][2]));
	put16(c->tss, 102, 104);
	memcpy(c->gdt, boot_gdt, 6 * 8);
	c->gdt[6] = 103 | (t & 0xffffff) << 16 | 0x89ull << 40 |
		    (t >> 24 & 0xff) << 56;
	c->gdt[7] = t >> 32;
	d.limit = sizeof(c->gdt) - 1;
	d.base = (u64)c->gdt;
	asm volatile("lgdt %0" :: "m"(d));
	asm volatile("ltr %w0" :: "r"(0x30));
	asm volatile("mov %0, %%fs; mov %0, %%gs" :: "r"(0));
	d.limit = sizeof(idt) - 1;
	d.base = (u64)idt;
	asm volatile("lidt %0" :: "m"(d));
	wrmsr(MSR_GS_BASE, (u64)c);
	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	if (cpuid(1, 0).c & BIT(26)) {
		asm volatile("mov %0, %%cr4" :: "r"(cr4 | CR4_OSXSAVE));
		asm volatile("xsetbv" :: "c"(0), "a"(7), "d"(0));
	}
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BIT(11));
	APIC(0xf0) = 0x1ff;
	c->apic = APIC(0x20) >> 24;
}

static void cpu_idle(struct cpu *c)
{
	for (;;) {
		asm volatile("cli");
		if (c->busy) {
			c->fn(c->arg);
			__atomic_store_n(&c->busy, 0, __ATOMIC_RELEASE);
		} else {
			asm volatile("sti; hlt");
		}
	}
}

void on_cpu_start(u32 id, void (*fn)(void *), void *arg)
{
	struct cpu *c = &cpus[id];

	c->fn = fn;
	c->arg = arg;
	__atomic_store_n(&c->busy, 1, __ATOMIC_RELEASE);
	APIC(0x310) = c->apic << 24;
	APIC(0x300) = WAKE;
}

void on_cpu_wait(u32 id)
{
	while (__atomic_load_n(&cpus[id].busy, __ATOMIC_ACQUIRE))
		pause();
}

void on_cpu(u32 id, void (*fn)(void *), void *arg)
{
	if (id == this_cpu()->id) {
		fn(arg);
		return;
	}
	on_cpu_start(id, fn, arg);
	on_cpu_wait(id);
}

void on_all(void (*fn)(void *), void *arg)
{
	for (u32 i = 0; i < ncpus; i++)
		on_cpu(i, fn, arg);
}

void delay(u64 tsc)
{
	u64 t = rdtsc();

	while (rdtsc() - t < tsc)
		pause();
}

/* Start CPUs one at a time: all use the trampoline's stack and CPU number. */
static bool init_sipi(u32 id, u32 apic)
{
	boot_cpu = id;
	boot_rsp = (u64)stacks[id][0] + sizeof(stacks[0][0]);
	__atomic_store_n(&cpus[id].up, 0, __ATOMIC_SEQ_CST);
	APIC(0x310) = apic << 24;
	APIC(0x300) = 0x4500;
	delay(1000000);
	APIC(0x310) = apic << 24;
	APIC(0x300) = 0x4600 | TRAMPOLINE >> 12;
	for (u32 i = 0; i < 2000 && !cpus[id].up; i++)
		delay(1000000);
	return cpus[id].up;
}

static void start_others(u32 wanted)
{
	u32 self = APIC(0x20) >> 24;

	memcpy((void *)TRAMPOLINE, trampoline, trampoline_end - trampoline);
	for (u32 apic = 0; apic < 16 && ncpus < wanted; apic++) {
		if (apic != self && init_sipi(ncpus, apic))
			ncpus++;
	}
}

void cpu_restart(u32 id)
{
	if (!init_sipi(id, cpus[id].apic))
		bail("expected CPU %u to start again by INIT and SIPI, found it down", id);
}

/* ---- start ------------------------------------------------------------- */

void c_entry(u64 id);
bool other_readings;

/* The selector of a fw_cfg file, and its length; 0 if there is no such file. */
u32 fw_cfg_find(const char *name, u32 *len)
{
	u32 n = 0, sel = 0, files, size;
	u8 b[64];

	while (name[n])
		n++;
	outw(0x510, 0x19);
	files = 0;
	for (u32 i = 0; i < 4; i++)
		files = files << 8 | inb(0x511);
	for (; files; files--) {
		for (u32 i = 0; i < 64; i++)
			b[i] = inb(0x511);
		size = b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
		if (!memcmp(b + 8, name, n + 1)) {
			sel = b[4] << 8 | b[5];
			*len = size;
		}
	}
	return sel;
}

/*
 * The program "run" chooses the mode by a fw_cfg file of decimal numbers.
 * Reads them; returns how many there are, 0 if there is no such file.
 */
static u32 asked(const char *name, u64 *num, u32 max)
{
	u32 len = 0, got = 0, sel = fw_cfg_find(name, &len);

	if (!sel)
		return 0;
	outw(0x510, sel);
	for (u32 i = 0; i < max; i++)
		num[i] = 0;
	for (bool in = false; len; len--) {
		u8 c = inb(0x511);

		if (c >= '0' && c <= '9') {
			got += !in;
			in = true;
			if (got <= max)
				num[got - 1] = num[got - 1] * 10 + c - '0';
		} else {
			in = false;
		}
	}
	return got;
}

static __noreturn void end(void)
{
	say("1..%u\n", tests);
	say("# %u of %u failed\n", failures, tests);
	power_off();
}

static void bsp(void)
{
	u64 arg[2];

	for (u32 v = 0; v < 256; v++) {
		u64 a = (u64)exc_stubs + v * 16;

		/* user code may raise 0x80 only */
		idt[v][0] = (a & 0xffff) | 0x08ull << 16 |
			    (v == 0x80 ? 0xee00ull : 0x8e00ull) << 32 |
			    (a >> 16 & 0xffff) << 48;
		idt[v][1] = a >> 32;
	}
	paging();
	boot_cr3 = (u64)pml4;
	asm volatile("mov %0, %%cr3" :: "r"(pml4) : "memory");
	cpu_setup(0);
	cpus[0].up = 1;
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	say("TAP version 13\n");
	start_others(MAX_CPUS);
	if (asked("opt/snp-cpu/bench", arg, 1)) {
		bench();
		power_off();
	}
	if (asked("opt/snp-cpu/off", arg, 1)) {
		t_off();
		end();
	}
	if (asked("opt/snp-cpu/readings", arg, 1)) {
		other_readings = true;
		snp_enable();
		t_vmrun();
		t_busy();
		end();
	}
	if (asked("opt/snp-cpu/stock", arg, 1)) {
		t_svm(arg[0]);
		end();
	}
	if (asked("opt/snp-cpu/fuzz", arg, 2) == 2) {
		fuzz(arg[0], arg[1]);
		end();
	}
	t_platform();
	t_msr();
	t_svm(0);
	t_enable();
	t_msr_snp();
	t_rmp();
	t_host();
	t_dma();
	t_fw();
	t_vmrun();
	t_plain();
	t_guest();
	t_smp();
	t_tlb();
	t_erratum();
	t_sme();
	end();
}

void c_entry(u64 id)
{
	if (id == 0) {
		bsp();
	} else {
		cpu_setup(id);
		cpus[id].up = 1;
		cpu_idle(&cpus[id]);
	}
}
