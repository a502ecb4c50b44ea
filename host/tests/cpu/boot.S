/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry of the test kernel (PVH: 32-bit, paging off), the way into long mode
 * for all CPUs, exception stubs, and code that C cannot express: a call whose
 * faults are caught, VMRUN with all registers set, user and 32-bit code.
 */
#include "asm.h"

	.section .note.pvh, "a", @note
	.long	4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	pvh_entry

	.section .text.boot, "ax"
	.code32
	.globl	pvh_entry
pvh_entry:
	cli
	cld
	/* ignore %ebx, the PVH start info: run always gives 1 GB of memory */
	mov	$boot_stack_top, %esp
	/* the first 4 GB, 2 MB pages; C builds the real tables */
	mov	$boot_pd, %edi
	mov	$0x83, %eax
	mov	$2048, %ecx
1:	mov	%eax, (%edi)
	movl	$0, 4(%edi)
	add	$0x200000, %eax
	add	$8, %edi
	loop	1b
	mov	$boot_pdpt, %edi
	mov	$(boot_pd + 3), %eax
	mov	$4, %ecx
1:	mov	%eax, (%edi)
	add	$0x1000, %eax
	add	$8, %edi
	loop	1b
	movl	$(boot_pdpt + 3), boot_pml4
	movl	$boot_pml4, boot_cr3
	lgdt	boot_gdtr
	ljmp	$0x18, $enter32

	/* for the first CPU and the others: paging on, long mode */
	.globl	enter32
enter32:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%cr4, %eax
	or	$(CR4_PAE | CR4_OSFXSR | CR4_OSXMM), %eax
	mov	%eax, %cr4
	mov	boot_cr3, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	rdmsr
	or	$(EFER_LME | EFER_NXE | EFER_SVME | EFER_SCE), %eax
	wrmsr
	mov	%cr0, %eax
	and	$~0xc, %eax			/* EM, TS */
	or	$(CR0_PG | CR0_WP | CR0_PE | CR0_MP | CR0_NE), %eax
	mov	%eax, %cr0
	ljmp	$0x08, $enter64

	.code64
enter64:
	mov	boot_rsp(%rip), %rsp
	xor	%ebp, %ebp
	mov	boot_cpu(%rip), %edi
	call	c_entry
1:	hlt
	jmp	1b

	/*
	 * Trampoline, copied to TRAMPOLINE: real mode, CS:IP = page:0. Its
	 * GDT register image is reached relative to that page.
	 */
	.code16
	.globl	trampoline, trampoline_end
trampoline:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	tramp_gdtr - trampoline
	mov	$1, %eax
	mov	%eax, %cr0
	ljmpl	$0x18, $enter32
	.balign	4
tramp_gdtr:
	.word	boot_gdt_end - boot_gdt - 1
	.long	boot_gdt
trampoline_end:
	.code64

	.section .data
	.balign	16
	.globl	boot_gdt, boot_cr3, boot_rsp, boot_cpu
boot_gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* 08 code, 64-bit */
	.quad	0x00cf93000000ffff	/* 10 data */
	.quad	0x00cf9b000000ffff	/* 18 code, 32-bit */
	.quad	0x00affb000000ffff	/* 20 user code, 64-bit */
	.quad	0x00cff3000000ffff	/* 28 user data */
boot_gdt_end:
boot_gdtr:
	.word	boot_gdt_end - boot_gdt - 1
	.long	boot_gdt
	.balign	8
boot_cr3:	.quad	0
boot_rsp:	.quad	boot_stack_top
boot_cpu:	.quad	0

	.section .bss
	.balign	4096
boot_pml4:	.skip	4096
boot_pdpt:	.skip	4096
boot_pd:	.skip	4 * 4096
	.skip	16384
boot_stack_top:

	/* the registers that a C function keeps for its caller, but for rsp */
	.macro	push_saved
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	.endm

	.macro	pop_saved
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	.endm

	.section .text
	/*
	 * u64 try_call(u64 (*fn)(u64, u64, u64), u64 a, u64 b, u64 c): an
	 * exception in fn returns here; the vector (or -1) is left in the
	 * CPU's struct.
	 */
	.globl	try_call
try_call:
	push_saved
	pushfq
	pushq	%gs:CPU_TRY
	sub	$8, %rsp
	mov	%rsp, %gs:CPU_TRY
	movq	$-1, %gs:CPU_VEC
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	call	*%rax
try_resume:
	add	$8, %rsp
	popq	%gs:CPU_TRY
	popfq
	pop_saved
	ret

	/* one stub of 16 bytes per vector */
	.balign	16
	.globl	exc_stubs
exc_stubs:
	vec = 0
	.rept	256
	.balign	16
	.if	!(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || \
		  vec == 21 || vec == 29 || vec == 30)
	pushq	$0
	.endif
	pushq	$vec
	jmp	exc_common
	vec = vec + 1
	.endr

exc_common:
	cmpq	$0x20, (%rsp)
	jae	irq
	cmpq	$0, %gs:CPU_TRY
	je	1f
	popq	%gs:CPU_VEC
	popq	%gs:CPU_ERR
	popq	%gs:CPU_RIP
	mov	%cr2, %rax
	mov	%rax, %gs:CPU_CR2
	mov	%gs:CPU_TRY, %rsp
	jmp	try_resume
1:	mov	%rsp, %rdi
	mov	%cr2, %rsi
	and	$-16, %rsp
	call	unexpected
1:	hlt
	jmp	1b

	/* vector 0x80: user code is done; others wake a sleeping CPU */
irq:	cmpq	$0x80, (%rsp)
	jne	1f
	mov	%gs:CPU_TRY, %rsp
	jmp	try_resume
1:	push	%rax
	incq	%gs:CPU_IRQS
	mov	$0xfee000b0, %eax
	movl	$0, (%rax)		/* EOI */
	pop	%rax
	add	$16, %rsp
	iretq

	/* u64 call_user(fn, a, b): at CPL 3, until int 0x80; call it by try() */
	.globl	call_user
call_user:
	mov	%rdi, %rcx
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%gs:CPU_USTACK, %rax
	sub	$8, %rax
	lea	user_done(%rip), %rdx
	mov	%rdx, (%rax)
	pushq	$0x2b
	push	%rax
	pushq	$0x2
	pushq	$0x23
	push	%rcx
	iretq
user_done:
	int	$0x80

	/* RMPUPDATE in 32-bit code; call it by try() */
	.globl	compat_rmpupdate
compat_rmpupdate:
	pushq	$0x18
	lea	1f(%rip), %rax
	push	%rax
	mov	%rdi, %rax
	mov	%rsi, %rcx
	lretq
	.code32
1:	.byte	0xf2, 0x0f, 0x01, 0xfe
	ljmp	$0x08, $2f
	.code64
2:	ret

	/*
	 * void compat_vmrun(u64 vmcb): VMRUN in 32-bit code, which has no r8 to
	 * r15; #VMEXIT of an SEV-ES guest loads all registers but rsp.
	 */
	.globl	compat_vmrun
compat_vmrun:
	push_saved
	clgi
	pushq	$0x18
	lea	1f(%rip), %rax
	push	%rax
	mov	%rdi, %rax
	lretq
	.code32
1:	vmrun
	ljmp	$0x08, $2f
	.code64
2:	stgi
	pop_saved
	ret

	/*
	 * void vmrun_asm(struct vmrun *r): loads the registers from r->in, runs
	 * VMRUN with GIF clear, stores the registers into r->out.
	 */
	.globl	vmrun_asm
vmrun_asm:
	push_saved
	push	%rdi
	clgi
	mov	0(%rdi), %rax
	mov	VR_IN + 0x08(%rdi), %rcx
	mov	VR_IN + 0x10(%rdi), %rdx
	mov	VR_IN + 0x18(%rdi), %rbx
	mov	VR_IN + 0x28(%rdi), %rbp
	mov	VR_IN + 0x30(%rdi), %rsi
	mov	VR_IN + 0x40(%rdi), %r8
	mov	VR_IN + 0x48(%rdi), %r9
	mov	VR_IN + 0x50(%rdi), %r10
	mov	VR_IN + 0x58(%rdi), %r11
	mov	VR_IN + 0x60(%rdi), %r12
	mov	VR_IN + 0x68(%rdi), %r13
	mov	VR_IN + 0x70(%rdi), %r14
	mov	VR_IN + 0x78(%rdi), %r15
	mov	VR_IN + 0x38(%rdi), %rdi
	vmrun
	push	%rdi
	mov	8(%rsp), %rdi
	mov	%rax, VR_OUT + 0x00(%rdi)
	mov	%rcx, VR_OUT + 0x08(%rdi)
	mov	%rdx, VR_OUT + 0x10(%rdi)
	mov	%rbx, VR_OUT + 0x18(%rdi)
	mov	%rsp, VR_OUT + 0x20(%rdi)
	mov	%rbp, VR_OUT + 0x28(%rdi)
	mov	%rsi, VR_OUT + 0x30(%rdi)
	mov	%r8, VR_OUT + 0x40(%rdi)
	mov	%r9, VR_OUT + 0x48(%rdi)
	mov	%r10, VR_OUT + 0x50(%rdi)
	mov	%r11, VR_OUT + 0x58(%rdi)
	mov	%r12, VR_OUT + 0x60(%rdi)
	mov	%r13, VR_OUT + 0x68(%rdi)
	mov	%r14, VR_OUT + 0x70(%rdi)
	mov	%r15, VR_OUT + 0x78(%rdi)
	popq	VR_OUT + 0x38(%rdi)
	movups	%xmm0, VR_XMM0(%rdi)
	stgi
	pop	%rdi
	pop_saved
	ret

	.section .note.GNU-stack, "", @progbits
