/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest: an agent that reads an order from a page shared with the host,
 * carries it out, stores the result in the page and exits by VMGEXIT. An
 * exception ends the order and is stored there too. The code is position
 * independent and copied to private pages.
 *
 * %r15: the shared page (virtual), %r14: top of stack. Orders preserve both.
 */
#include "asm.h"

#define VMGEXIT		.byte 0xf3, 0x0f, 0x01, 0xd9
#define PVALIDATE	.byte 0xf2, 0x0f, 0x01, 0xff
#define PSMASH		.byte 0xf3, 0x0f, 0x01, 0xff
#define RMPUPDATE	.byte 0xf2, 0x0f, 0x01, 0xfe
#define RMPADJUST	.byte 0xf3, 0x0f, 0x01, 0xfe
#define RMPQUERY	.byte 0xf3, 0x0f, 0x01, 0xfd

	.section .rodata.guest, "a"
	.balign	4096
	.globl	guest_image, guest_image_end, guest_stubs
	.globl	guest_func, user_pvalidate, user_rmpadjust
	.code64
guest_image:
agent:
	mov	%r14, %rsp
agent_exit:
	VMGEXIT
	movq	$-1, SH_VEC(%r15)
	mov	SH_OP(%r15), %rax
	mov	SH_A(%r15), %rdi
	mov	SH_B(%r15), %rsi
	mov	SH_C(%r15), %r8
	lea	ops(%rip), %rbx
	movslq	(%rbx, %rax, 4), %rax
	add	%rbx, %rax
	jmp	*%rax
done:
	mov	%rax, SH_R0(%r15)
	mov	%rbx, SH_R1(%r15)
	mov	%rcx, SH_R2(%r15)
	mov	%rdx, SH_R3(%r15)
	incq	SH_BEAT(%r15)
	jmp	agent_exit

	.balign	4
ops:
	.long	done - ops, op_read - ops, op_write - ops, op_xadd - ops
	.long	op_pvalidate - ops, op_rmpadjust - ops, op_rmpquery - ops
	.long	op_rmpupdate - ops, op_psmash - ops, op_cpuid - ops
	.long	op_rdmsr - ops, op_wrmsr - ops, op_in - ops, op_out - ops
	.long	op_rdtsc - ops, op_wbinvd - ops, op_invlpg - ops
	.long	op_hlt - ops, op_pause - ops, op_wrcr0 - ops, op_wrcr4 - ops
	.long	op_wrcr8 - ops, op_rdcrs - ops, op_call - ops
	.long	op_vmmcall - ops, op_sti_read - ops, op_setxmm - ops
	.long	op_getxmm - ops, op_sti - ops, op_cli - ops, op_regs - ops
	.long	op_spin - ops, op_bench - ops, op_rdtscp - ops, op_invd - ops
	.long	op_rdpmc - ops, op_monitor - ops, op_mwait - ops
	.long	op_xsetbv - ops, op_wrdr7 - ops, op_rddr7 - ops, op_ud2 - ops
	.long	op_invlpga - ops, op_rdgprs - ops, op_user - ops
	.long	op_setfpu - ops, op_getfpu - ops, op_pvloop - ops
	.long	op_clts - ops, op_lmsw - ops, op_ins - ops, op_outs - ops
	.long	op_vmsave - ops

op_read:
	mov	(%rdi), %rax
	jmp	done
op_write:
	mov	%rsi, (%rdi)
	jmp	done
op_xadd:
	mov	%rsi, %rax
	lock xadd %rax, (%rdi)
	jmp	done
op_pvalidate:
	mov	%rdi, %rax
	mov	%rsi, %rcx
	mov	%r8, %rdx
	xor	%ebx, %ebx
	PVALIDATE
	setc	%bl
	mov	%eax, %eax
	jmp	done
op_rmpadjust:
	mov	%rdi, %rax
	mov	%rsi, %rcx
	mov	%r8, %rdx
	RMPADJUST
	mov	%eax, %eax
	jmp	done
op_rmpquery:
	mov	%rdi, %rax
	mov	%r8, %rdx
	xor	%ecx, %ecx
	RMPQUERY
	mov	%eax, %eax
	jmp	done
op_rmpupdate:
	mov	%rdi, %rax
	mov	%rsi, %rcx
	RMPUPDATE
	mov	%eax, %eax
	jmp	done
op_psmash:
	mov	%rdi, %rax
	PSMASH
	mov	%eax, %eax
	jmp	done
op_cpuid:
	mov	%edi, %eax
	mov	%esi, %ecx
	cpuid
	jmp	done
op_rdmsr:
	mov	%edi, %ecx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	jmp	done
op_wrmsr:
	mov	%edi, %ecx
	mov	%esi, %eax
	mov	%rsi, %rdx
	shr	$32, %rdx
	wrmsr
	jmp	done
op_in:
	mov	%edi, %edx
	in	%dx, %al
	jmp	done
op_out:
	mov	%edi, %edx
	mov	%esi, %eax
	out	%al, %dx
	jmp	done
op_ins:				/* the byte is below the stack */
	mov	%edi, %edx
	lea	-128(%rsp), %rdi
	insb
	jmp	done
op_outs:
	mov	%edi, %edx
	lea	-128(%rsp), %rsi
	outsb
	jmp	done
op_rdtsc:
	rdtsc
	jmp	done
op_wbinvd:
	wbinvd
	jmp	done
op_invlpg:
	invlpg	(%rdi)
	jmp	done
op_hlt:
	hlt
	mov	$0x417, %eax
	jmp	done
op_pause:
	pause
	mov	$0x418, %eax
	jmp	done
op_wrcr0:
	mov	%rdi, %cr0
	mov	%cr0, %rax
	jmp	done
op_clts:
	clts
	mov	%cr0, %rax
	jmp	done
op_lmsw:
	lmsw	%di
	mov	%cr0, %rax
	jmp	done
op_wrcr4:
	mov	%rdi, %cr4
	mov	%cr4, %rax
	jmp	done
op_wrcr8:
	mov	%rdi, %cr8
	mov	%cr8, %rax
	jmp	done
op_rdcrs:
	mov	%cr0, %rax
	mov	%cr4, %rbx
	mov	%cr8, %rcx
	mov	%cr3, %rdx
	jmp	done
op_call:
	call	*%rdi
	jmp	done
op_vmmcall:
	vmmcall
	jmp	done
op_vmsave:
	mov	%rdi, %rax
	vmsave
	jmp	done
op_sti_read:			/* the read is in the shadow of STI */
	sti
	mov	(%rdi), %rax
	nop
	cli
	jmp	done
op_setxmm:
	movq	%rdi, %xmm0
	movq	%rsi, %xmm1
	punpcklqdq %xmm1, %xmm0
	jmp	done
op_getxmm:
	movq	%xmm0, %rax
	movhlps	%xmm0, %xmm1
	movq	%xmm1, %rbx
	jmp	done
op_sti:
	sti
	nop
	jmp	done
op_cli:
	cli
	jmp	done
op_spin:
	incq	SH_SPINS(%r15)
	cmpq	$0, SH_GO(%r15)
	je	op_spin
	mov	$0x431, %eax
	jmp	done
	/* SH_A: a page; validate and rescind it until SH_GO is set */
op_pvloop:
	mov	$1, %edx
1:	mov	%rdi, %rax
	xor	%ecx, %ecx
	PVALIDATE
	xor	$1, %edx
	incq	SH_SPINS(%r15)
	cmpq	$0, SH_GO(%r15)
	je	1b
	mov	$0x447, %eax
	jmp	done
op_rdtscp:
	rdtscp
	jmp	done
op_invd:
	invd
	jmp	done
op_rdpmc:
	xor	%ecx, %ecx
	rdpmc
	jmp	done
op_monitor:
	lea	agent(%rip), %rax
	xor	%ecx, %ecx
	xor	%edx, %edx
	monitor
	jmp	done
op_mwait:
	xor	%eax, %eax
	xor	%ecx, %ecx
	mwait
	jmp	done
op_xsetbv:
	xor	%ecx, %ecx
	xor	%edx, %edx
	mov	$7, %eax
	xsetbv
	jmp	done
op_wrdr7:
	mov	%rdi, %dr7
	jmp	done
op_rddr7:
	mov	%dr7, %rax
	jmp	done
op_ud2:
	ud2
op_invlpga:
	mov	%rdi, %rax
	xor	%ecx, %ecx
	invlpga
	jmp	done
op_rdgprs:			/* one exit with all registers set */
	mov	%rdi, %rax
	lea	1(%rdi), %rcx
	lea	2(%rdi), %rdx
	lea	3(%rdi), %rbx
	lea	5(%rdi), %rbp
	lea	6(%rdi), %rsi
	lea	8(%rdi), %r8
	lea	9(%rdi), %r9
	lea	10(%rdi), %r10
	lea	11(%rdi), %r11
	lea	12(%rdi), %r12
	lea	13(%rdi), %r13
	lea	7(%rdi), %rdi
	VMGEXIT
	jmp	done

	/* SH_A: code to run at CPL 3, until it raises an exception */
op_user:
	pushq	$0x1b
	pushq	$G_USTACK
	pushq	$2
	pushq	$0x23
	push	%rdi
	mov	%rsi, %rdi
	iretq

op_setfpu:
	movq	%rdi, %xmm0
	vinsertf128 $1, %xmm0, %ymm0, %ymm0
	fninit
	fldpi
	jmp	done
op_getfpu:
	vextractf128 $1, %ymm0, %xmm1
	movq	%xmm1, %rax
	sub	$16, %rsp
	fstpt	(%rsp)
	mov	(%rsp), %rbx
	movzwl	8(%rsp), %ecx
	add	$16, %rsp
	jmp	done

	/* SH_A: a pattern, SH_B: number of exits. Result: registers that changed */
op_regs:
	push	%r14
	push	%r15
	pushq	$0
	push	%rsi
	mov	%rdi, %rax
1:	lea	1(%rax), %rcx
	lea	2(%rax), %rdx
	lea	3(%rax), %rbx
	lea	5(%rax), %rbp
	lea	6(%rax), %rsi
	lea	7(%rax), %rdi
	lea	8(%rax), %r8
	lea	9(%rax), %r9
	lea	10(%rax), %r10
	lea	11(%rax), %r11
	lea	12(%rax), %r12
	lea	13(%rax), %r13
	lea	14(%rax), %r14
	movq	%rax, %xmm0
	VMGEXIT
	sub	$1, %rcx
	xor	%rax, %rcx
	sub	$2, %rdx
	xor	%rax, %rdx
	or	%rdx, %rcx
	sub	$3, %rbx
	xor	%rax, %rbx
	or	%rbx, %rcx
	sub	$5, %rbp
	xor	%rax, %rbp
	or	%rbp, %rcx
	sub	$6, %rsi
	xor	%rax, %rsi
	or	%rsi, %rcx
	sub	$7, %rdi
	xor	%rax, %rdi
	or	%rdi, %rcx
	sub	$8, %r8
	xor	%rax, %r8
	or	%r8, %rcx
	sub	$9, %r9
	xor	%rax, %r9
	or	%r9, %rcx
	sub	$10, %r10
	xor	%rax, %r10
	or	%r10, %rcx
	sub	$11, %r11
	xor	%rax, %r11
	or	%r11, %rcx
	sub	$12, %r12
	xor	%rax, %r12
	or	%r12, %rcx
	sub	$13, %r13
	xor	%rax, %r13
	or	%r13, %rcx
	sub	$14, %r14
	xor	%rax, %r14
	or	%r14, %rcx
	movq	%xmm0, %rdx
	xor	%rax, %rdx
	or	%rdx, %rcx
	or	%rcx, 8(%rsp)
	add	$0x10001, %rax
	decq	(%rsp)
	jnz	1b
	pop	%rsi
	pop	%rbx
	pop	%r15
	pop	%r14
	jmp	done

	/*
	 * SH_A: rounds, SH_B: buffer, SH_C: its size, a power of two. Integer
	 * work, branches that depend on its results, and a walk over the buffer.
	 */
op_bench:
	mov	$0x9e3779b97f4a7c15, %r9
	mov	$1, %rax
	dec	%r8
	xor	%ecx, %ecx
1:	imul	%r9, %rax
	add	%rcx, %rax
	mov	%rax, %rdx
	shr	$33, %rdx
	xor	%rdx, %rax
	mov	%rax, %rbx
	and	%r8, %rbx
	and	$-8, %rbx
	test	$1, %al
	jz	2f
	add	(%rsi, %rbx), %rcx
	jmp	3f
2:	mov	%rax, (%rsi, %rbx)
3:	dec	%rdi
	jnz	1b
	jmp	done

	/* a function that OP_CALL can call at any address */
	.balign	64
guest_func:
	mov	$0xc0de, %eax
	ret

	/* user code: ends with #UD if the instruction raises no fault */
user_pvalidate:
	mov	%rdi, %rax
	xor	%ecx, %ecx
	xor	%edx, %edx
	PVALIDATE
	ud2
user_rmpadjust:
	mov	%rdi, %rax
	xor	%ecx, %ecx
	mov	$1, %edx
	RMPADJUST
	ud2

	.balign	16
guest_stubs:
	gvec = 0
	.rept	256
	.balign	16
	.if	!(gvec == 8 || (gvec >= 10 && gvec <= 14) || gvec == 17 || \
		  gvec == 21 || gvec == 29 || gvec == 30)
	pushq	$0
	.endif
	pushq	$gvec
	jmp	guest_exc
	gvec = gvec + 1
	.endr
guest_exc:
	cmpq	$0x20, (%rsp)
	jae	1f
	popq	SH_VEC(%r15)
	popq	SH_ERR(%r15)
	popq	SH_RIP(%r15)
	mov	%cr2, %rax
	mov	%rax, SH_CR2(%r15)
	incq	SH_EXCS(%r15)
	jmp	agent
1:	popq	SH_INTVEC(%r15)
	add	$8, %rsp
	incq	SH_INTS(%r15)
	iretq
guest_image_end:

	.section .note.GNU-stack, "", @progbits
