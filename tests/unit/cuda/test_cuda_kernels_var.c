/* SPDX-License-Identifier: MIT */
/* monte_carlo_var.cu's code, run as C++ by tests/cuda_emu, against the C function: bit by bit. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/kernels/kernels.h"
#include "gpu/kernels/normal.h"
#include "gpu/kernels/philox.h"
#include "tests/cuda_emu/cuda_emu.h"
#include "tests/unit/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WORK	     21515 /* words of scratch */
#define THREADS	     64
#define FULL	     "monte_carlo_var"
#define SMALL	     "monte_carlo_var_small" /* keeps 64 losses of the 8192, and guesses badly */

struct portfolio {
	uint64_t k;
	const double *weights, *mean, *covariance;
};

struct risk {
	double var, shortfall, mean;
};

static void *allocate(size_t count, size_t size)
{
	void *p = calloc(count > 0 ? count : 1, size);

	assert_non_null(p);
	return p;
}

/* The C function's answer where @entry is NULL. */
static struct risk simulate(const char *entry, uint32_t blocks, const struct portfolio *portfolio,
			    double confidence, uint64_t paths, uint64_t seed)
{
	struct portfolio p = *portfolio;
	double *l = allocate(p.k * p.k, sizeof(*l)), *exposure = allocate(p.k, sizeof(*exposure));
	uint64_t *work = allocate(WORK, sizeof(*work));
	struct risk r = {-1, -1, -1};
	double *var = &r.var, *shortfall = &r.shortfall, *mean = &r.mean;
	void *args[] = {&p.weights, &p.mean, &p.covariance, &confidence, &paths,
			&seed,	    &var,    &shortfall,    &mean,	 &l,
			&exposure,  &p.k,    &work};

	if (entry)
		assert_int_equal(rk_emu_launch(entry, (uint32_t[]){blocks, 1, 1},
					       (uint32_t[]){THREADS, 1, 1}, 1, args),
				 0);
	else
		rk_kernel_monte_carlo_var(p.weights, p.mean, p.covariance, confidence, paths, seed,
					  var, shortfall, mean, l, exposure, p.k);
	free(l);
	free(exposure);
	free(work);
	return r;
}

/* All bits of var and mean; the shortfall to @tolerance of the value at risk, 0 = all bits. */
static void check(const char *entry, uint32_t blocks, const struct portfolio *p, double confidence,
		  uint64_t paths, uint64_t seed, double tolerance)
{
	struct risk want = simulate(NULL, 0, p, confidence, paths, seed);
	struct risk got = simulate(entry, blocks, p, confidence, paths, seed);

	assert_memory_equal(&got.var, &want.var, sizeof(got.var));
	assert_memory_equal(&got.mean, &want.mean, sizeof(got.mean));
	if (tolerance == 0)
		assert_memory_equal(&got.shortfall, &want.shortfall, sizeof(got.shortfall));
	assert_true(fabs(got.shortfall - want.shortfall) <= tolerance * fabs(want.shortfall));
}

static const struct portfolio three = {
	3, (double[]){1e6, -4e5, 2.5e5}, (double[]){4e-4, 1e-4, 8e-4},
	(double[]){4e-4, 1.2e-4, -5e-5, 1.2e-4, 2.25e-4, 3e-5, -5e-5, 3e-5, 9e-4}};
static const struct portfolio one = {1, (double[]){1}, (double[]){0}, (double[]){1}};
static const struct portfolio nothing = {0, (double[]){0}, (double[]){0}, (double[]){0}};

TEST(one_pass)
{
	static const uint64_t paths[] = {1, 2, 3, 100, 1023, 1024, 1025, 5000};
	static const double confidence[] = {0.99, 0.5, 0.001, 0.999999};

	for (size_t i = 0; i < COUNT(paths); i++)
		for (size_t j = 0; j < COUNT(confidence); j++)
			check(FULL, 3, &three, confidence[j], paths[i], i, 0);
	check(FULL, 1, &three, 0.99, 20000, UINT64_MAX, 0);
	check(FULL, 2, &one, 0.95, 20000, 1ULL << 32, 0);
	check(FULL, 5, &three, 0.975, 20001, 7, 0);
}

/* More beyond the value at risk than is kept. */
TEST(open_tail)
{
	check(FULL, 3, &three, 0.5, 20000, 3, 1e-12);
	check(FULL, 3, &three, 0.01, 20000, 3, 1e-12);
}

/* Several passes, several rounds. */
TEST(rare_paths)
{
	static const double confidence[] = {0.99, 0.9, 0.5, 0.1, 0.0001};

	for (size_t j = 0; j < COUNT(confidence); j++)
		for (uint64_t seed = 0; seed < 4; seed++) {
			check(SMALL, 3, &three, confidence[j], 6000 + seed, seed, 1e-12);
			check(SMALL, 1, &one, confidence[j], 3000, seed, 1e-12);
			check(SMALL, 2, &one, confidence[j], 50, seed, 0);
		}
}

/* The answer does not tell how many blocks there were. */
TEST(any_blocks)
{
	struct risk first = simulate(SMALL, 1, &three, 0.8, 9000, 5);

	for (uint32_t blocks = 2; blocks < 7; blocks++) {
		struct risk r = simulate(SMALL, blocks, &three, 0.8, 9000, 5);

		assert_memory_equal(&r, &first, sizeof(r));
	}
}

TEST(no_risk)
{
	static const double ones[] = {1, 1, 1, 1}, zeros[9] = {0};
	const struct portfolio hedge = {2, (double[]){1, -1}, (double[]){0.25, 0.5}, ones};
	const struct portfolio fixed = {3, (double[]){1, 5, 1}, (double[]){1, 1, 0.1}, zeros};
	/* so little that losses take few values */
	const struct portfolio coarse = {1, (double[]){1}, (double[]){1e15}, (double[]){0.04}};

	check(FULL, 2, &nothing, 0.99, 100, 1, 0);
	check(FULL, 2, &hedge, 0.99, 1000, 1, 0);
	check(FULL, 2, &fixed, 0.99, 1000, 1, 0);
	/* more than are kept */
	check(FULL, 2, &fixed, 0.7, 9000, 1, 1e-12);
	check(SMALL, 2, &fixed, 0.7, 3000, 1, 1e-12);
	check(SMALL, 2, &coarse, 0.7, 3000, 1, 1e-12);
	check(SMALL, 2, &nothing, 0.7, 3000, 1, 0);
}

TEST(semi_definite)
{
	const struct portfolio same = {2, (double[]){1, 2}, (double[]){0, 0},
				       (double[]){1, 1, 1, 1}};
	const struct portfolio scaled = {2, (double[]){1e8, -1}, (double[]){0, 0},
					 (double[]){1e-20, 1e-12, 1e-12, 1e-4}};
	const struct portfolio some = {3, (double[]){1, 5, 1}, (double[]){0, 0, 0},
				       (double[]){4, 0, 2, 0, 0, 0, 2, 0, 1}};

	check(FULL, 3, &same, 0.99, 1000, 1, 0);
	check(FULL, 3, &scaled, 0.99, 1000, 1, 0);
	check(FULL, 3, &some, 0.99, 1000, 1, 0);
}

/* A covariance estimated from @observations. */
static void check_estimate(uint64_t k, uint32_t observations)
{
	double *data = allocate(k * observations, sizeof(*data));
	double *covariance = allocate(k * k, sizeof(*covariance));
	double *weights = allocate(k, sizeof(*weights)), *mean = allocate(k, sizeof(*mean));
	const struct portfolio p = {k, weights, mean, covariance};

	for (uint32_t t = 0; t < observations; t++)
		for (uint32_t i = 0; i < k; i++) {
			uint32_t x[4] = {t, i, 7, 7};

			rk_philox4x32(x, 99);
			data[t * k + i] =
				rk_normal_quantile(rk_uniform(x[0], x[1])) * (i + 1) * 1e-3;
			weights[i] = i % 3 + 0.1;
			mean[i] = i * 1e-5;
		}
	for (uint64_t i = 0; i < k; i++)
		for (uint64_t j = 0; j < k; j++)
			for (uint32_t t = 0; t < observations; t++)
				covariance[i * k + j] +=
					data[t * k + i] * data[t * k + j] / observations;
	check(FULL, 3, &p, 0.95, 1500, 3, 0);
	check(FULL, 1, &p, 0.95, 1500, 3, 0);
	free(data);
	free(covariance);
	free(weights);
	free(mean);
}

/* Up to 128 assets are for one block, more for all. */
TEST(estimated_covariance)
{
	check_estimate(40, 25);
	check_estimate(40, 90);
	check_estimate(131, 50);
	check_estimate(131, 200);
}

static void refuse(const struct portfolio *p, double confidence, uint64_t paths)
{
	struct risk r = simulate(FULL, 2, p, confidence, paths, 1);

	assert_true(isnan(r.var));
	assert_true(isnan(r.shortfall));
	assert_true(isnan(r.mean));
}

TEST(refuses)
{
	static const double bad[][4] = {
		{1, 2, 2, 1},	  {-1, 0, 0, 1},    {0, 1, 1, 0},	 {0, 1, 1, 5},
		{1, 0.5, 0.4, 1}, {1, NAN, NAN, 1}, {INFINITY, 0, 0, 1}, {1, 0, 0, NAN},
	};
	struct portfolio p = {2, (double[]){1, 1}, (double[]){1, 1}, NULL};

	for (size_t i = 0; i < COUNT(bad); i++) {
		p.covariance = bad[i];
		refuse(&p, 0.99, 100);
	}
	refuse(&one, 0, 100);
	refuse(&one, 1, 100);
	refuse(&one, 1.5, 100);
	refuse(&one, NAN, 100);
	refuse(&one, 0.99, 0);
	refuse(&one, 0.99, UINT64_MAX);
	p = one;
	p.weights = (double[]){NAN};
	refuse(&p, 0.99, 100);
	p.weights = (double[]){INFINITY};
	refuse(&p, 0.99, 100);
	p.weights = (double[]){1e308};
	refuse(&p, 0.99, 100);
	p = one;
	p.mean = (double[]){NAN};
	refuse(&p, 0.99, 100);
}

/* Losses whose squares overflow: there is no guess. */
TEST(huge)
{
	const struct portfolio p = {1, (double[]){1e200}, (double[]){1}, (double[]){1}};

	check(FULL, 2, &p, 0.99, 3000, 1, 0);
	check(SMALL, 2, &p, 0.99, 3000, 1, 0);
	check(SMALL, 2, &p, 0.3, 3000, 1, 1e-12);
}
