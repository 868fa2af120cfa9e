/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/base/parallel.h"
#include "gpu/kernels/kernels.h"
#include "gpu/kernels/normal.h"
#include "gpu/kernels/philox.h"
#include "tests/unit/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* kat_vectors of Random123 1.14.0: counter, key, result */
TEST(philox_known_answers)
{
	static const struct {
		uint32_t counter[4];
		uint64_t key;
		uint32_t want[4];
	} rows[] = {
		{{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
		 0xffffffffffffffff,
		 {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
		 0x299f31d0a4093822,
		 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		uint32_t x[4];

		memcpy(x, rows[i].counter, sizeof(x));
		rk_philox4x32(x, rows[i].key);
		assert_memory_equal(x, rows[i].want, sizeof(x));
	}
}

TEST(uniform_range)
{
	assert_true(rk_uniform(0, 0) == 0x1p-53);
	assert_true(rk_uniform(UINT32_MAX, UINT32_MAX) == 1 - 0x1p-53);
	assert_true(rk_uniform(0, 0x80000000) == 0.5 + 0x1p-53);
	assert_true(isfinite(rk_normal_quantile(rk_uniform(0, 0))));
	/* what monte_carlo_var.c takes for its bound */
	assert_true(rk_normal_quantile(rk_uniform(UINT32_MAX, UINT32_MAX)) < 9);
}

TEST(log)
{
	for (double x = 0x1p-53; x < 4; x *= 1.00037) {
		double want = log(x), ulp = nextafter(fabs(want), INFINITY) - fabs(want);

		assert_true(fabs(rk_log_exact(x) - want) <= ulp);
	}
	assert_true(rk_log_exact(1) == 0);
}

TEST(normal_quantile)
{
	/* the check values of the algorithm's publication */
	static const double known[][2] = {{0.25, -0.6744897501960817},
					  {0.001, -3.090232306167814},
					  {1e-20, -9.262340089798408}};

	for (size_t i = 0; i < COUNT(known); i++)
		assert_true(fabs(rk_normal_quantile(known[i][0]) / known[i][1] - 1) < 2e-15);
	/* and the distribution function of the result, from the C library */
	for (double p = 0x1p-53; p < 0.5; p *= 1.01) {
		double x = rk_normal_quantile(p);

		assert_true(fabs(erfc(-x * sqrt(0.5)) / 2 / p - 1) < 1e-13);
		if (1 - (1 - p) == p)
			assert_true(rk_normal_quantile(1 - p) == -x);
	}
	assert_true(rk_normal_quantile(0.5) == 0);
}

struct risk {
	double var, shortfall, mean;
};

static struct risk simulate(uint64_t k, const double *weights, const double *mean,
			    const double *covariance, double confidence, uint64_t paths,
			    uint64_t seed)
{
	double *l = calloc(k * k + 1, sizeof(*l)), *exposure = calloc(k + 1, sizeof(*exposure));
	struct risk r;

	assert_non_null(l);
	assert_non_null(exposure);
	rk_kernel_monte_carlo_var(weights, mean, covariance, confidence, paths, seed, &r.var,
				  &r.shortfall, &r.mean, l, exposure, k);
	free(l);
	free(exposure);
	return r;
}

static void assert_nan(struct risk r)
{
	assert_true(isnan(r.var));
	assert_true(isnan(r.shortfall));
	assert_true(isnan(r.mean));
}

static const double weights3[] = {1e6, -4e5, 2.5e5};
static const double mean3[] = {4e-4, 1e-4, 8e-4};
static const double covariance3[] = {4e-4,   1.2e-4,  -5e-5, /**/
				     1.2e-4, 2.25e-4, 3e-5,  /**/
				     -5e-5,  3e-5,    9e-4};

/* Mean and standard deviation of the profit. */
static void moments(uint64_t k, const double *w, const double *mean, const double *covariance,
		    double *mu, double *sigma)
{
	double variance = 0;

	*mu = 0;
	for (uint64_t i = 0; i < k; i++) {
		*mu += w[i] * mean[i];
		for (uint64_t j = 0; j < k; j++)
			variance += w[i] * w[j] * covariance[i * k + j];
	}
	*sigma = sqrt(variance);
}

/* x with P(Z <= x) = p by bisection of the C library's erfc. */
static double quantile(double p)
{
	double low = -10, high = 10;

	while (high - low > 1e-13) {
		double middle = (low + high) / 2;

		*(erfc(-middle * sqrt(0.5)) / 2 < p ? &low : &high) = middle;
	}
	return low;
}

/*
 * A normal loss has VaR = -mu + sigma z and ES = -mu + sigma phi(z) / (1 - c). The estimates'
 * standard errors are those of Glasserman, section 9.2.3: sqrt(c (1 - c) / N) / f(VaR), and
 * sqrt((Var(L | L > VaR) + c (ES - VaR)^2) / (N (1 - c))). Allowed are 4 of them.
 */
static void check_closed_form(double c, uint64_t paths, uint64_t seed)
{
	struct risk got = simulate(3, weights3, mean3, covariance3, c, paths, seed);
	double n = (double)paths, mu, sigma, z = quantile(c), phi, es, tail, var_se, es_se;

	moments(3, weights3, mean3, covariance3, &mu, &sigma);
	phi = exp(-z * z / 2) / sqrt(2 * M_PI);
	es = phi / (1 - c);
	tail = 1 + z * es - es * es; /* variance of a standard normal above z */
	var_se = sigma * sqrt(c * (1 - c) / n) / phi;
	es_se = sigma * sqrt((tail + c * (es - z) * (es - z)) / (n * (1 - c)));
	assert_true(fabs(got.var - (sigma * z - mu)) < 4 * var_se);
	assert_true(fabs(got.shortfall - (sigma * es - mu)) < 4 * es_se);
	assert_true(fabs(got.mean - mu) < 4 * sigma / sqrt(n));
	/* the tolerance is a narrow one */
	assert_true(var_se < 0.03 * sigma && es_se < 0.03 * sigma);
}

TEST(closed_form)
{
	check_closed_form(0.99, 200000, 0);
	check_closed_form(0.95, 100000, 1);
	check_closed_form(0.975, 100000, UINT64_MAX);
	check_closed_form(0.5, 50000, 42);
	check_closed_form(0.05, 50000, 43);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Loss of @path with three independent assets; what the documentation says, done by hand. */
static double loss_of(uint64_t path, uint64_t seed, const double *w, const double *mean,
		      const double *sigma)
{
	uint32_t first[4] = {(uint32_t)path, (uint32_t)(path >> 32), 0, 0};
	uint32_t second[4] = {(uint32_t)path, (uint32_t)(path >> 32), 1, 0};
	double z[3], profit = 0;

	rk_philox4x32(first, seed);
	rk_philox4x32(second, seed);
	z[0] = rk_normal_quantile(rk_uniform(first[0], first[1]));
	z[1] = rk_normal_quantile(rk_uniform(first[2], first[3]));
	z[2] = rk_normal_quantile(rk_uniform(second[0], second[1]));
	for (int j = 0; j < 3; j++)
		profit += w[j] * (mean[j] + sigma[j] * z[j]);
	return -profit;
}

static void check_order(uint64_t paths, double confidence)
{
	const double w[] = {100, 50, -30}, mean[] = {0.01, 0, 0.02}, sigma[] = {0.1, 0.2, 0.3};
	const double covariance[] = {0.01, 0, 0, 0, 0.04, 0, 0, 0, 0.09};
	uint64_t seed = 0x123456789abcdef0;
	struct risk got = simulate(3, w, mean, covariance, confidence, paths, seed);
	double n = (double)paths, left = n * (1 - confidence), sum = 0, total = 0;
	double *losses = calloc(paths, sizeof(*losses));
	uint64_t at = paths;

	assert_non_null(losses);
	for (uint64_t i = 0; i < paths; i++) {
		losses[i] = loss_of(i, seed, w, mean, sigma);
		total -= losses[i];
	}
	qsort(losses, paths, sizeof(*losses), compare);
	for (; at > 0 && left > 0; at--, left -= 1)
		sum += losses[at - 1] * (left < 1 ? left : 1);
	at = 0;
	while ((double)(at + 1) < confidence * n)
		at++;
	assert_true(fabs(got.var - losses[at]) < 1e-11);
	assert_true(fabs(got.shortfall - sum / (n * (1 - confidence))) < 1e-9);
	assert_true(fabs(got.mean - total / n) < 1e-11);
	free(losses);
}

TEST(order_statistics)
{
	check_order(1, 0.5);
	check_order(2, 0.5);
	check_order(3, 0.99);
	check_order(1000, 0.99);
	check_order(1001, 0.95);
	check_order(1024, 0.001);
	check_order(70001, 0.9);
}

TEST(semi_definite)
{
	const double ones[] = {1, 1, 1, 1}, scaled[] = {1e-20, 1e-12, 1e-12, 1e-4};
	const double zeros[9] = {0}, some[] = {4, 0, 2, 0, 0, 0, 2, 0, 1};
	struct risk r, one;

	/* a hedge without any risk */
	r = simulate(2, (double[]){1, -1}, (double[]){0.25, 0.5}, ones, 0.99, 1000, 1);
	assert_true(r.var == 0.25 && r.shortfall == 0.25 && r.mean == -0.25);
	/* two shares of one and the same asset */
	r = simulate(2, (double[]){1, 2}, zeros, ones, 0.99, 1000, 1);
	one = simulate(1, (double[]){3}, zeros, ones, 0.99, 1000, 1);
	assert_true(r.var > 0 && isfinite(r.shortfall) && isfinite(one.var));
	/* the small asset's risk is not rounded away: it hedges the large one */
	r = simulate(2, (double[]){1e8, -1}, zeros, scaled, 0.99, 1000, 1);
	assert_true(fabs(r.var) < 1e-8);
	r = simulate(3, (double[]){1, 5, 1}, zeros, some, 0.99, 1000, 1);
	assert_true(r.var > 0);
	r = simulate(3, (double[]){1, 5, 1}, (double[]){1, 1, 1}, zeros, 0.99, 1000, 1);
	assert_true(r.var == -7 && r.shortfall == -7 && r.mean == 7);
}

#define ASSETS	     60
#define OBSERVATIONS 25

/* An estimate from fewer observations than assets is singular. */
TEST(estimated_covariance)
{
	static double data[OBSERVATIONS][ASSETS], covariance[ASSETS * ASSETS];
	double weights[ASSETS], mean[ASSETS] = {0}, mu, sigma;
	struct risk r;

	for (uint32_t t = 0; t < OBSERVATIONS; t++)
		for (uint32_t i = 0; i < ASSETS; i++) {
			uint32_t x[4] = {t, i, 7, 7};

			rk_philox4x32(x, 99);
			data[t][i] = rk_normal_quantile(rk_uniform(x[0], x[1])) * (i + 1) * 1e-3;
			weights[i] = i % 3;
		}
	for (int i = 0; i < ASSETS; i++)
		for (int j = 0; j < ASSETS; j++)
			for (int t = 0; t < OBSERVATIONS; t++)
				covariance[i * ASSETS + j] +=
					data[t][i] * data[t][j] / OBSERVATIONS;
	moments(ASSETS, weights, mean, covariance, &mu, &sigma);
	r = simulate(ASSETS, weights, mean, covariance, 0.95, 20000, 3);
	assert_true(fabs(r.var / (1.6448536 * sigma) - 1) < 0.05);
}

TEST(refuses)
{
	const double one[] = {1}, zero[] = {0}, pair[] = {1, 1};
	static const double bad[][4] = {
		{1, 2, 2, 1},	     /* a correlation of 2 */
		{-1, 0, 0, 1},	     /* a negative variance */
		{0, 1, 1, 0},	     /* a covariance with something that does not vary */
		{0, 1, 1, 5},	     /**/
		{1, 0.5, 0.4, 1},    /* not symmetric */
		{1, NAN, NAN, 1},    /**/
		{INFINITY, 0, 0, 1}, /**/
		{1, 0, 0, NAN},
	};

	for (size_t i = 0; i < COUNT(bad); i++)
		assert_nan(simulate(2, pair, pair, bad[i], 0.99, 100, 1));
	assert_nan(simulate(1, one, zero, one, 0, 100, 1));
	assert_nan(simulate(1, one, zero, one, 1, 100, 1));
	assert_nan(simulate(1, one, zero, one, 1.5, 100, 1));
	assert_nan(simulate(1, one, zero, one, NAN, 100, 1));
	assert_nan(simulate(1, one, zero, one, 0.99, 0, 1));
	assert_nan(simulate(1, one, zero, one, 0.99, UINT64_MAX, 1));
	assert_nan(simulate(1, (double[]){NAN}, zero, one, 0.99, 100, 1));
	assert_nan(simulate(1, (double[]){INFINITY}, zero, one, 0.99, 100, 1));
	assert_nan(simulate(1, one, (double[]){NAN}, one, 0.99, 100, 1));
	assert_nan(simulate(1, (double[]){1e308}, zero, one, 0.99, 100, 1));
}

TEST(nothing_at_risk)
{
	const double one[] = {1}, zero[] = {0};
	struct risk r;

	r = simulate(0, NULL, NULL, NULL, 0.99, 100, 1);
	assert_true(r.var == 0 && !signbit(r.var) && r.shortfall == 0 && r.mean == 0);
	r = simulate(1, zero, one, one, 0.99, 100, 1);
	assert_true(r.var == 0 && !signbit(r.var) && r.shortfall == 0 && r.mean == 0);
}

TEST(any_threads)
{
	static const unsigned int thread_counts[] = {1, 2, 3, 8};
	struct risk first = simulate(3, weights3, mean3, covariance3, 0.99, 150000, 5), r;

	for (size_t i = 0; i < COUNT(thread_counts); i++) {
		struct rk_error err = {0};

		if (rk_parallel_start(thread_counts[i], &err) != 0)
			fail_msg("%s", err.msg);
		r = simulate(3, weights3, mean3, covariance3, 0.99, 150000, 5);
		rk_parallel_stop();
		assert_memory_equal(&r, &first, sizeof(r));
	}
	r = simulate(3, weights3, mean3, covariance3, 0.99, 150000, 6);
	assert_true(r.var != first.var && r.shortfall != first.shortfall && r.mean != first.mean);
	/* the upper half of the seed counts too */
	r = simulate(3, weights3, mean3, covariance3, 0.99, 150000, 5 + (1ULL << 32));
	assert_true(r.var != first.var);
}
