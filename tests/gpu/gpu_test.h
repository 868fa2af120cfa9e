/* SPDX-License-Identifier: MIT */
/*
 * What the parts of `check` share: a living runtime, calls to its kernels, and how a test says what
 * came out. Each test runs in a process of its own; whatever fails ends that process with a
 * sentence, so nothing here returns an error.
 */
#ifndef RK_TESTS_GPU_TEST_H
#define RK_TESTS_GPU_TEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/request/message.h"
#include "runtime/runtime.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define KIB	      1024ULL
#define MIB	      (KIB << 10)

/* How a test ends, as its process's exit status. */
enum gpu_status {
	GPU_PASS = 0,
	GPU_FAIL = 1,
	GPU_UNAVAILABLE = 2,
};

struct gpu_options {
	char worker[1024];  /* rk-worker */
	char modules[1024]; /* directory of gpu.fatbin, gpu.ptx */
	bool small;	    /* leave the large sizes out */
	unsigned int patience_s;
};

extern struct gpu_options gpu_options;
#define GPU_DIR_MAX 256
extern char gpu_test_dir[GPU_DIR_MAX]; /* of the test that runs: empty at first, and removed
					  afterwards */

/* One row of the table. Rows of a group are asked for together. */
struct gpu_test {
	const char *group, *name;
	const char *what;      /* for people */
	const char *reference; /* what the result is measured by */
	void (*run)(const void *arg);
	const void *arg;
};

/* All tests of one file; *@count rows, static storage. */
typedef const struct gpu_test *gpu_tests_fn(size_t *count);
gpu_tests_fn gpu_kernel_tests, gpu_model_tests, gpu_life_tests, gpu_memory_tests, gpu_module_tests,
	gpu_ring_tests;

/* Append to the row's result. */
void gpu_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One line for the log alone. */
void gpu_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Whether the daemon's or the worker's log had these words in this test. */
bool gpu_has_logged(const char *words);
/* End the test. */
_Noreturn void gpu_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void gpu_unavailable(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define GPU_EXPECT(condition, ...)                                                                 \
	do {                                                                                       \
		if (!(condition))                                                                  \
			gpu_fail(__VA_ARGS__);                                                     \
	} while (0)

/* --- a runtime --------------------------------------------------------------------- */

struct gpu_rig {
	struct rk_runtime *rt;
	struct rk_runtime_observer observer;
	int worker_fd;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char dir[GPU_DIR_MAX]; /* kernels_dir; "" = it has none */
};

/* One message and what became of it. */
struct gpu_call {
	struct gpu_rig *rig;
	struct rk_message *m;
	bool done; /* guarded by rig->lock */
};

/* Options that a runtime on the GPU has; those of gpu_open follow and win. */
#define gpu_open(r, ...)                                                                           \
	gpu_open_options(r, true, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define gpu_open_cpu(r) gpu_open_options(r, false, (const char *const[]){NULL})

/* A runtime in Created, whose primary backend is @cuda or the CPU. */
void gpu_open_options(struct gpu_rig *r, bool cuda, const char *const *more);
/* Destroys it; fails where the books do not balance. */
void gpu_close(struct gpu_rig *r);

/* Give it a kernels_dir, gpu_test_dir, before gpu_open; one rig of a test. */
void gpu_make_dir(struct gpu_rig *r);
/* Write a description into it. */
void gpu_describe(struct gpu_rig *r, const char *file, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void gpu_reload(struct gpu_rig *r);

void gpu_command(struct gpu_rig *r, enum rk_trigger trigger, int64_t secs);
void gpu_wait_state(struct gpu_rig *r, enum rk_state state);
/* start, and wait for Running, on @backend. */
void gpu_start(struct gpu_rig *r, const char *backend);

/* Wait until @holds does; it is asked with r->lock held, after whatever the runtime tells. */
void gpu_wait(struct gpu_rig *r, bool (*holds)(struct gpu_rig *r, void *arg), void *arg,
	      const char *what);

/* A number of an event called @name from the first one numbered @from on; *@text (NULL is allowed)
 * is the line, for the caller to free. False where there is none. */
bool gpu_find_event(struct gpu_rig *r, const char *name, uint64_t from, char **text);
/* The same, waiting for it. */
char *gpu_wait_event(struct gpu_rig *r, const char *name, uint64_t from);

uint64_t gpu_count(struct gpu_rig *r, enum rk_counter counter);

/* --- calls ------------------------------------------------------------------------- */

/* The kernel "DOMAIN/NAME", loaded on @backend, with a reference. */
struct rk_kernel *gpu_kernel(struct gpu_rig *r, const char *id, enum rk_wire_backend backend);

/*
 * A message to @k, not submitted. shapes[i] is the shape of input i. Outputs and scratch are
 * cleared.
 */
void gpu_call_make(struct gpu_rig *r, struct gpu_call *c, struct rk_kernel *k,
		   uint64_t (*shapes)[RK_MAX_RANK]);
/* The same where every axis of every input is @n. */
void gpu_call_make_n(struct gpu_rig *r, struct gpu_call *c, struct rk_kernel *k, uint64_t n);
/* Forget it: the caller has seen the answer, or never submitted it. */
void gpu_call_drop(struct gpu_call *c);

void gpu_submit(struct gpu_call *c);
/* Wait for the answer, whatever it is: the errno, 0 = success. */
int gpu_answer(struct gpu_call *c);
/* The answer must be @code; with @words (NULL: any) in the sentence of an error. */
void gpu_expect(struct gpu_call *c, int code, const char *words);

void *gpu_input(struct gpu_call *c, unsigned int index);
void *gpu_output(struct gpu_call *c, unsigned int index);
uint64_t gpu_input_count(struct gpu_call *c, unsigned int index);

/* A whole call of core/delay that must succeed, on the GPU: @ms of the device's time go by. */
void gpu_delay(struct gpu_rig *r, uint32_t ms);
/* The same, submitted and not waited for. */
void gpu_delay_begin(struct gpu_rig *r, struct gpu_call *c, uint32_t ms);
/* A whole core/vector-add of @n elements on the GPU, with the right answer. */
void gpu_vector_add(struct gpu_rig *r, uint64_t n);
/* The same in two halves; @seed tells messages from each other. */
void gpu_vector_add_begin(struct gpu_rig *r, struct gpu_call *c, uint64_t n, unsigned int seed);
void gpu_vector_add_end(struct gpu_call *c, unsigned int seed);

/* Numbers that look random and are the same each time: from 0 (inclusive) to 1. */
double gpu_random(uint64_t *state);

#endif
