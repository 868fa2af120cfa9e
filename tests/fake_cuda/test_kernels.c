/* SPDX-License-Identifier: MIT */
#include "tests/fake_cuda/test_kernels.h"

#include <string.h>

#include "tests/fake_cuda/fake.h"

/* As many elements as the launch has threads for: a grid that is too small shows. */
static uint64_t reached(uint64_t n)
{
	const struct fake_dims *d = fake_kernel_dims();
	uint64_t threads = (uint64_t)d->grid[0] * d->block[0] * d->grid[1] * d->block[1] *
			   d->grid[2] * d->block[2];

	return n < threads ? n : threads;
}

void fake_kernel_saxpy_in_place(float a, const float *x, float *y, uint64_t n)
{
	uint64_t end = reached(n);

	for (uint64_t i = 0; i < end; i++)
		y[i] = a * x[i] + y[i];
}

void fake_kernel_saxpy(float a, const float *x, const float *y, float *out, uint64_t n)
{
	uint64_t end = reached(n);

	for (uint64_t i = 0; i < end; i++)
		out[i] = a * x[i] + y[i];
}

void fake_kernel_square(const float *x, float *y, uint64_t n)
{
	uint64_t end = reached(n);

	for (uint64_t i = 0; i < end; i++)
		y[i] = x[i] * x[i];
}

void fake_kernel_overrun(const float *x, float *y, uint64_t n)
{
	fake_kernel_square(x, y, n);
	y[n] = 1;
}

void fake_kernel_grid(uint32_t *out)
{
	const struct fake_dims *d = fake_kernel_dims();

	memcpy(out, d->grid, sizeof(d->grid));
	memcpy(out + 3, d->block, sizeof(d->block));
	out[6] = d->shared;
	out[7] = d->cooperative;
}

void fake_kernel_values(int8_t i8, int16_t i16, int32_t i32, int64_t i64, uint8_t u8, uint16_t u16,
			uint32_t u32, uint64_t u64, float f16, float f32, double f64, uint8_t b,
			uint64_t n, double *out)
{
	const double all[] = {i8,	   i16, i32, (double)i64, u8, u16,	u32,
			      (double)u64, f16, f32, f64,	  b,  (double)n};

	memcpy(out, all, sizeof(all));
}

void fake_kernel_wait_for(const uint32_t *flag, uint32_t *seen)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE) && !fake_spoiled())
		fake_nap();
	*seen = __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

void fake_kernel_forever(const float *x, float *y, uint64_t n)
{
	(void)x;
	(void)y;
	(void)n;
	while (!fake_spoiled())
		fake_nap();
}

void fake_kernel_illegal(const float *x, float *y, uint64_t n)
{
	(void)x;
	(void)y;
	(void)n;
	pthread_mutex_lock(&fake.lock);
	fake_spoil_locked(CUDA_ERROR_ILLEGAL_ADDRESS);
	pthread_mutex_unlock(&fake.lock);
}

void fake_kernel_ring_sum(void *state, const double *x, double *total, uint64_t n)
{
	double sum;

	memcpy(&sum, state, sizeof(sum));
	for (uint64_t i = 0; i < n; i++)
		sum += x[i];
	memcpy(state, &sum, sizeof(sum));
	*total = sum;
}

void fake_kernel_ring_forever(const float *x, float *y, uint64_t n)
{
	fake_kernel_forever(x, y, n);
}

void fake_kernel_ring_illegal(const float *x, float *y, uint64_t n)
{
	fake_kernel_illegal(x, y, n);
}
