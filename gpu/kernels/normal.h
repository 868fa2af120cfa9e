/* SPDX-License-Identifier: MIT */
/*
 * Normal variates that have the same bits on every backend: by the inverse of the distribution
 * function, from additions, multiplications, divisions and square roots alone, which IEEE 754
 * rounds in one way. A library's log, sin or cos differs from another's in the last bit, and so
 * does a multiplication fused with an addition: compile the includer without that.
 */
#ifndef RK_GPU_KERNELS_NORMAL_H
#define RK_GPU_KERNELS_NORMAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* nvcc compiles it too, for both sides, with -fmad=false */
#ifdef __CUDACC__
#define RK_NORMAL_SIDES __host__ __device__
#else
#define RK_NORMAL_SIDES
#endif

/*
 * The natural logarithm of a normal positive @x to within 1 ulp: the algorithm of log() in Sun's
 * fdlibm, K. C. Ng, 1993. x = 2^k (1 + f), and log(1 + f) is a polynomial in f / (2 + f).
 */
RK_NORMAL_SIDES static inline double rk_log_exact(double x)
{
	static const double ln2_hi = 6.93147180369123816490e-01;
	static const double ln2_lo = 1.90821492927058770002e-10;
	const uint64_t half_sqrt2 = 0x3fe6a09e00000000, one = 0x3ff0000000000000;
	uint64_t bits;
	double k, f, s, z, w, even, odd;

	memcpy(&bits, &x, sizeof(bits));
	bits += one - half_sqrt2;
	k = (double)(int)(bits >> 52) - 1023;
	bits = (bits & 0xfffffffffffff) + half_sqrt2;
	memcpy(&x, &bits, sizeof(x));
	f = x - 1.0;
	s = f / (2.0 + f);
	z = s * s;
	w = z * z;
	even = w * (3.999999999940941908e-01 +
		    w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
	odd = z * (6.666666666666735130e-01 +
		   w * (2.857142874366239149e-01 +
			w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
	z = 0.5 * f * f;
	return k * ln2_hi - ((z - (s * (z + (even + odd)) + k * ln2_lo)) - f);
}

/* (a[0] + a[1] x + ... + a[7] x^7) / (b[0] + ... + b[7] x^7) */
RK_NORMAL_SIDES static inline double rk_normal_ratio(const double a[8], const double b[8], double x)
{
	double above = a[7], below = b[7];

	for (int i = 6; i >= 0; i--) {
		above = above * x + a[i];
		below = below * x + b[i];
	}
	return above / below;
}

/*
 * The x at which the standard normal distribution function is @p, above 0 and below 1, to about 1
 * in 10^16: M. J. Wichura, "Algorithm AS 241", Applied Statistics 37(3), 1988, PPND16.
 */
RK_NORMAL_SIDES static inline double rk_normal_quantile(double p)
{
	static const double a[8] = {3.3871328727963666080e0, 1.3314166789178437745e2,
				    1.9715909503065514427e3, 1.3731693765509461125e4,
				    4.5921953931549871457e4, 6.7265770927008700853e4,
				    3.3430575583588128105e4, 2.5090809287301226727e3};
	static const double b[8] = {1.0,
				    4.2313330701600911252e1,
				    6.8718700749205790830e2,
				    5.3941960214247511077e3,
				    2.1213794301586595867e4,
				    3.9307895800092710610e4,
				    2.8729085735721942674e4,
				    5.2264952788528545610e3};
	static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
				    5.76949722146069140550e0,  3.64784832476320460504e0,
				    1.27045825245236838258e0,  2.41780725177450611770e-1,
				    2.27238449892691845833e-2, 7.74545014278341407640e-4};
	static const double d[8] = {1.0,
				    2.05319162663775882187e0,
				    1.67638483018380384940e0,
				    6.89767334985100004550e-1,
				    1.48103976427480074590e-1,
				    1.51986665636164571966e-2,
				    5.47593808499534494600e-4,
				    1.05075007164441684324e-9};
	static const double e[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
				    1.78482653991729133580e0,  2.96560571828504891230e-1,
				    2.65321895265761230930e-2, 1.24266094738807843860e-3,
				    2.71155556874348757815e-5, 2.01033439929228813265e-7};
	static const double f[8] = {1.0,
				    5.99832206555887937690e-1,
				    1.36929880922735805310e-1,
				    1.48753612908506148525e-2,
				    7.86869131145613259100e-4,
				    1.84631831751005468180e-5,
				    1.42151175831644588870e-7,
				    2.04426310338993978564e-15};
	double q = p - 0.5, r;

	if (q >= -0.425 && q <= 0.425)
		return q * rk_normal_ratio(a, b, 0.180625 - q * q);
	r = sqrt(-rk_log_exact(q < 0 ? p : 1.0 - p));
	r = r <= 5.0 ? rk_normal_ratio(c, d, r - 1.6) : rk_normal_ratio(e, f, r - 5.0);
	return q < 0 ? -r : r;
}

/* A number above 0 and below 1 from the upper 52 of 64 random bits; all have the same weight. */
RK_NORMAL_SIDES static inline double rk_uniform(uint32_t low, uint32_t high)
{
	uint64_t bits = (uint64_t)high << 32 | low;

	return ((double)(bits >> 12) + 0.5) * 0x1p-52;
}

#endif
