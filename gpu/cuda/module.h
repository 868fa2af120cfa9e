/* SPDX-License-Identifier: MIT */
/*
 * CUDA modules: those that are compiled in, loaded when the device is opened, and users' own. For
 * the control thread only; the context is current. Loading and unloading wait for the device,
 * resident kernels included, so all happens between rk_rings_pause and rk_rings_resume, which is
 * done here.
 */
#ifndef RK_GPU_CUDA_MODULE_H
#define RK_GPU_CUDA_MODULE_H

#include "gpu/cuda/device.h"
#include "gpu/cuda/rings.h"

struct rk_cuda_modules; /* all of a backend */
struct rk_cuda_module;	/* a user's own, counted */

/*
 * Load what is compiled in. @device and @rings are borrowed. Returns 0 or a negative errno with a
 * sentence that names the image which does not load.
 */
int rk_cuda_modules_create(struct rk_cuda_modules **modules, struct rk_cuda_device *device,
			   struct rk_rings *rings, struct rk_error *err);

/* Every user module is put; NULL is fine. */
void rk_cuda_modules_destroy(struct rk_cuda_modules *modules);

/* The compiled-in kernel load->entry. 0, -ENOENT, or -EINVAL: its parameters are not load's. */
int rk_cuda_modules_builtin(struct rk_cuda_modules *modules, const struct rk_wire_load *load,
			    CUfunction *function, struct rk_error *err);

/*
 * The entry of the module in the memfd @fd, which this takes: fatbin, cubin or PTX. The same
 * memfd is loaded once for all its kernels. *@module is the caller's until rk_cuda_module_put.
 * Returns 0; -ENOEXEC with what the driver's compiler says of it; -ENOENT: it has no such kernel;
 * -EINVAL: that takes other parameters than load has, as far as the driver can tell; -ENOMEM, -EIO.
 */
int rk_cuda_modules_get(struct rk_cuda_modules *modules, const struct rk_wire_load *load, int fd,
			struct rk_cuda_module **module, CUfunction *function, struct rk_error *err);

/* No run of the caller's kernel is under way. */
void rk_cuda_modules_put(struct rk_cuda_modules *modules, struct rk_cuda_module *module);

#endif
