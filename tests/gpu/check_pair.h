/* SPDX-License-Identifier: MIT */
/* A kernel on both backends, called with the same request. */
#ifndef RK_TESTS_GPU_CHECK_PAIR_H
#define RK_TESTS_GPU_CHECK_PAIR_H

#include "tests/gpu/gpu_test.h"

/* What a kernel makes of the numbers is its own matter. */
struct gpu_case {
	uint64_t a, b, c;
	double f;
	int kind;
	bool large; /* left out where sizes are to be small */
};

struct gpu_pair {
	struct gpu_rig gpu, cpu;
	struct rk_kernel *on_gpu, *on_cpu;
	struct gpu_call got, want; /* of the case at hand */
	char label[96];		   /* "core/matmul 3x4x5" */
	double error, allowed;	   /* of the case at hand: the largest, and its bound */
	double worst;		   /* of all cases: error / allowed */
	double worst_error;
	unsigned int cases;
};

/* Two runtimes that run @id. */
void gpu_pair_open(struct gpu_pair *p, const char *id);
void gpu_pair_close(struct gpu_pair *p);

/* A message for each; the caller fills got's inputs. */
void gpu_pair_make(struct gpu_pair *p, uint64_t (*shapes)[RK_MAX_RANK]);
/* Copy got's inputs to want, submit both. */
void gpu_pair_submit(struct gpu_pair *p);
/* Both must have succeeded. */
void gpu_pair_await(struct gpu_pair *p);
/* Count the case, log its line, forget the messages. */
void gpu_pair_done(struct gpu_pair *p);
/* The row's result. */
void gpu_pair_note(const struct gpu_pair *p);

/* Output @index must have the same bytes, those of NaNs too. */
void gpu_pair_same_bits(struct gpu_pair *p, unsigned int index);
/* Note an error and its bound; fails where it is larger. @what and @i say of which element. */
void gpu_pair_error(struct gpu_pair *p, double error, double allowed, const char *what, uint64_t i);

/* A kernel's cases, and how to tell whether an answer is right. */
struct gpu_spec {
	const char *id;
	const struct gpu_case *cases;
	size_t ncases;
	void (*shapes)(const struct gpu_case *c, uint64_t (*shapes)[RK_MAX_RANK]);
	void (*fill)(const struct gpu_case *c, struct gpu_call *call);
	void (*compare)(struct gpu_pair *p, const struct gpu_case *c);
	const char *label;  /* of a, b, c: a format */
	const char *result; /* what came out, where it is no matter of errors; NULL */
};

/* struct gpu_test.run, whose arg is a struct gpu_spec. */
void gpu_run_spec(const void *spec);

#define GPU_CASES(array) .cases = (array), .ncases = ARRAY_SIZE(array)
/* A row of gpu_test. */
#define GPU_KERNEL(name_, what_, reference_, ...)                                                  \
	{                                                                                          \
		.group = "kernels", .name = (name_), .what = (what_), .reference = (reference_),   \
		.run = gpu_run_spec, .arg = &(const struct gpu_spec)                               \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

/* The same for each case. */
uint64_t gpu_case_seed(const struct gpu_case *c);
/* Output by output, gpu_pair_same_bits. */
void gpu_same_bits(struct gpu_pair *p, const struct gpu_case *c);

#endif
