/* SPDX-License-Identifier: MIT */
/*
 * CUDA modules: those that are compiled in, which are loaded when the device is opened, and users'
 * own. For the control thread only; the context is current. Loading and unloading wait for the
 * device, resident kernels included, so these functions pause the rings for it.
 */
#ifndef RK_GPU_CUDA_MODULE_H
#define RK_GPU_CUDA_MODULE_H

#include "gpu/cuda/device.h"
#include "gpu/cuda/rings.h"

struct rk_cuda_modules; /* all of a backend */
struct rk_cuda_module;	/* a user's own; its kernels are counted */

/*
 * Load what is compiled in. @device and @rings are borrowed. Returns 0 or a negative errno with a
 * sentence that names the image which does not load.
 */
int rk_cuda_modules_create(struct rk_cuda_modules **modules, struct rk_cuda_device *device,
			   struct rk_rings *rings, struct rk_error *err);

/* Every module of a user has been put back; NULL is fine. */
void rk_cuda_modules_destroy(struct rk_cuda_modules *modules);

/*
 * Find the compiled-in kernel load->entry. Returns 0; -ENOENT; -EINVAL: it takes other parameters
 * than load has.
 */
int rk_cuda_modules_builtin(struct rk_cuda_modules *modules, const struct rk_wire_load *load,
			    CUfunction *function, struct rk_error *err);

/*
 * Find the entry of the module in the memfd @fd, which this takes: a fatbin, a cubin or PTX. The
 * same memfd is loaded once for all its kernels. *@module belongs to the caller until
 * rk_cuda_modules_put. Returns 0; -ENOEXEC with what the driver's compiler says of it; -ENOENT: it
 * has no such kernel; -EINVAL: the kernel takes other parameters than load has, as far as the
 * driver can tell; -ENOMEM; -EIO.
 */
int rk_cuda_modules_get(struct rk_cuda_modules *modules, const struct rk_wire_load *load, int fd,
			struct rk_cuda_module **module, CUfunction *function, struct rk_error *err);

/* Put it back. No run of the caller's kernel is under way. */
void rk_cuda_modules_put(struct rk_cuda_modules *modules, struct rk_cuda_module *module);

#endif
