/* SPDX-License-Identifier: MIT */
/* Where a device is, which CUDA and NVML agree upon. */
#ifndef RK_GPU_NVML_PCI_H
#define RK_GPU_NVML_PCI_H

/* On the PCI bus; an instance of MIG is where its GPU is. */
struct rk_pci_address {
	int domain;
	int bus;
	int device;
};

#endif
