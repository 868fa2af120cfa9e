/* SPDX-License-Identifier: MIT */
/* A living runtime with a kernels_dir of its own, user libraries in it, and calls to them. */
#ifndef RK_TESTS_KERNELS_RIG_H
#define RK_TESTS_KERNELS_RIG_H

#include <sys/sendfile.h>
#include <sys/stat.h>

#include "tests/unit/runtime/runtime_rig.h"

static char dir[64]; /* kernels_dir */

static inline int kernels_setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rkfs-kernels-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static inline int kernels_teardown(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static inline const char *path_of(const char *name)
{
	static char path[2][128];
	static unsigned int n;
	char *p = path[n++ % 2];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

/* As a user would: never write into a library that may be in use. */
static inline void install(const char *library, const char *as)
{
	char from[512];
	struct stat st;
	int in, out;

	snprintf(from, sizeof(from), "%s/%s", RK_KERNELS_DIR, library);
	in = open(from, O_RDONLY | O_CLOEXEC);
	out = open(path_of("new"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_true(in >= 0 && out >= 0);
	assert_int_equal(fstat(in, &st), 0);
	assert_int_equal(sendfile(out, in, NULL, (size_t)st.st_size), st.st_size);
	close(in);
	close(out);
	assert_int_equal(rename(path_of("new"), path_of(as)), 0);
}

static inline void describe(const char *file, const char *text)
{
	FILE *f = fopen(path_of(file), "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

#define VERSION(more)                                                                              \
	"[kernel]\nid = user/version\ndescription = test\n" more                                   \
	"[inputs]\nms = u32\n[outputs]\nfirst = u32\nsecond = u32\n"                               \
	"[cpu]\nlibrary = lib.so\nentry = version\nargs = ms, first, second\n"
#define open_rig(r, ...) open_with_dir(r, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static inline void open_with_dir(struct rig *r, const char *const *more)
{
	const char *options[16] = {0};
	char kernels_dir[96];
	unsigned int n = 0;

	snprintf(kernels_dir, sizeof(kernels_dir), "kernels_dir=%s", dir);
	options[n++] = kernels_dir;
	while (*more)
		options[n++] = *more++;
	rig_open_options(r, NULL, NULL, options);
}

static inline void reload(struct rig *r)
{
	struct rk_error err = {0};

	if (rk_runtime_reload(r->rt, NULL, &err))
		fail_msg("%s", err.msg);
}

/* user/@name; a reference. */
static inline struct rk_kernel *user(struct rig *r, const char *name)
{
	return rk_registry_find(rk_runtime_registry(r->rt), "user", name);
}

/* A request to @k, which is not retired or is pinned, not submitted yet; its scalar input is
 * @value. */
static inline void begin(struct rig *r, struct call *c, struct rk_kernel *k, uint32_t value)
{
	struct rk_payload *pool = rk_runtime_payload(r->rt);

	*c = (struct call){.rig = r, .m = make_message(k, pool, 1)};
	c->m->done = call_on_done;
	c->m->ctx = c;
	if (k->manifest.ninputs)
		memcpy(input_of(c->m, 0), &value, sizeof(value));
	rk_payload_unref(pool);
}

static inline void submit_begun(struct call *c)
{
	struct rk_error err = {0};

	if (call_submit(c, true, &err))
		fail_msg("%s", err.msg);
}

static inline void call_user(struct rig *r, struct call *c, const char *name, uint32_t value)
{
	struct rk_kernel *k = user(r, name);

	assert_non_null(k);
	begin(r, c, k, value);
	rk_kernel_unref(k);
	submit_begun(c);
}

static inline uint32_t output_value(const struct call *c, unsigned int index)
{
	uint32_t value;

	memcpy(&value, output_of(c->m, index), sizeof(value));
	return value;
}

/* The call has worked, all of it by version @version of the library. */
static inline void expect_version(struct call *c, uint32_t version)
{
	rig_wait(c->rig, call_is_done, c, "an answer");
	assert_int_equal(output_value(c, 0), version);
	assert_int_equal(output_value(c, 1), version);
	call_expect(c, 0);
}

/* The call has failed with a sentence that has @why. */
static inline void expect_error(struct call *c, int code, const char *why)
{
	rig_wait(c->rig, call_is_done, c, "an answer");
	if (!strstr(c->m->error.msg, why))
		fail_msg("%s", c->m->error.msg);
	call_expect(c, code);
}

static inline bool is_forgotten(struct rig *r, void *arg)
{
	struct rk_kernel *k = rk_registry_any_slot(rk_runtime_registry(r->rt), *(uint32_t *)arg);

	rk_kernel_unref(k);
	return !k;
}

/* No worker has @k any more and nobody can find it; @k is the last reference, and released. */
static inline void wait_forgotten(struct rig *r, struct rk_kernel *k)
{
	struct timespec until = patience(), now;

	do { /* no event where it was not loaded */
		sched_yield();
		clock_gettime(CLOCK_REALTIME, &now);
	} while (!is_forgotten(r, &k->slot) && now.tv_sec < until.tv_sec);
	assert_true(is_forgotten(r, &k->slot));
	assert_int_equal(k->state, RK_KERNEL_OFF);
	assert_int_equal(k->pins, 0);
	rk_kernel_unref(k);
}

static inline void wait_state(struct rk_kernel *k, enum rk_kernel_state state)
{
	struct timespec until = patience(), now;

	do {
		sched_yield();
		clock_gettime(CLOCK_REALTIME, &now);
	} while (atomic_load(&k->state) != state && now.tv_sec < until.tv_sec);
	assert_int_equal(k->state, state);
}

static inline void expect_last_error(struct rig *r, struct rk_kernel *k, const char *part)
{
	char last[RK_ERROR_MAX];

	rk_dispatch_kernel_last_error(rk_runtime_dispatch(r->rt), k, 0, last);
	if (!strstr(last, part))
		fail_msg("%s", last);
}

#define KERNELS_TEST(name) TEST_WITH(name, kernels_setup, kernels_teardown)

#endif
