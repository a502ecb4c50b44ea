/* SPDX-License-Identifier: GPL-2.0-only */
/* For tests of a vCPU that the guest of sev_guest.h creates: number 1. */
#ifndef CREATED_VCPU_H
#define CREATED_VCPU_H

#include "sev_guest.h"

/* A spare page that is not at a multiple of 2 MB, where KVM takes no VMSA. */
static inline gva_t vmsa_page(struct ghcb_vm *g)
{
	return g->spare + (ghcb_vm_spare_gpa(g, g->spare) % (2ull << 20) ? 0 : PAGE_SIZE);
}

static inline void request_ap(struct ghcb_vm *g, u64 what, u64 features, gpa_t gpa)
{
	ghcb_vm_request(g, SVM_VMGEXIT_AP_CREATION, GHCB_AP_REQUEST(what, 1), gpa);
	ghcb_set(g, GHCB_RAX, features);
}

#endif /* CREATED_VCPU_H */
