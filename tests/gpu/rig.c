/* SPDX-License-Identifier: MIT */
#include "tests/gpu/gpu_test.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"

#define OPTIONS_MAX 32
#define LOOK_MS                                                                                    \
	100 /* between two looks at what no observer tells of, a worker's devices for one          \
	     */

/* --- the runtime -------------------------------------------------------------------- */

static void tell(struct gpu_rig *r)
{
	pthread_mutex_lock(&r->lock);
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static void on_news(void *ctx, enum rk_news news)
{
	(void)news;
	tell(ctx);
}

static void on_room(void *ctx, struct rk_kernel *k)
{
	(void)k;
	tell(ctx);
}

/* What was logged since the process began, as far as there is room. */
static struct {
	pthread_mutex_t lock;
	char text[1 << 16];
	size_t len;
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool gpu_has_logged(const char *words)
{
	bool found;

	pthread_mutex_lock(&logged.lock);
	found = strstr(logged.text, words) != NULL;
	pthread_mutex_unlock(&logged.lock);
	return found;
}

static void log_line(void *ctx, enum rk_log_level level, const char *line)
{
	size_t len = strlen(line);

	(void)ctx;
	pthread_mutex_lock(&logged.lock);
	if (len < sizeof(logged.text) - logged.len) {
		memcpy(logged.text + logged.len, line, len);
		logged.len += len;
	}
	pthread_mutex_unlock(&logged.lock);
	gpu_log("%s: %s", rk_log_level_name(level), line);
}

/* What both backends have; the time that a health check may take is that of a slow tool. */
static const char *const common[] = {
	"preset=testing",	   "log_level=info",	    "hot_reload_enabled=yes",
	"worker_threads=4",	   "drain_timeout=1h",	    "max_buffered_bytes=8G",
	"max_message_bytes=2G",	   "memory_limit_bytes=0",  "memory_pooling=yes",
	"async_memory=yes",	   "restart_limit=100",	    "health_check_interval=1h",
	"health_check_timeout=5m", "max_queue_depth=10000", "max_kernel_instances=100"};

void gpu_open_options(struct gpu_rig *r, bool cuda, const char *const *more)
{
	const char *options[OPTIONS_MAX] = {0};
	const struct rk_config_sources sources = {.options = options};
	char kernels_dir[sizeof(r->dir) + 16];
	struct rk_error err = {0};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(common); i++)
		options[n++] = common[i];
	options[n++] = cuda ? "gpu_enabled=yes" : "gpu_enabled=no";
	options[n++] = cuda ? "primary_backend=cuda" : "primary_backend=cpu";
	options[n++] = "fallback_backend=none";
	if (r->dir[0]) {
		snprintf(kernels_dir, sizeof(kernels_dir), "kernels_dir=%s", r->dir);
		options[n++] = kernels_dir;
	}
	while (*more && n < OPTIONS_MAX - 1)
		options[n++] = *more++;
	rk_log_set_sink(log_line, NULL);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	r->worker_fd = open(gpu_options.worker, O_RDONLY | O_CLOEXEC);
	GPU_EXPECT(r->worker_fd >= 0, "%s: %s", gpu_options.worker, strerror(errno));
	r->observer = (struct rk_runtime_observer){.tell = on_news, .ctx = r};
	if (rk_runtime_create(&r->rt, &sources, r->worker_fd, &r->observer, &err))
		gpu_fail("rk_runtime_create: %s", err.msg);
	rk_dispatch_on_room(rk_runtime_dispatch(r->rt), on_room, r);
}

static bool books_balance(struct gpu_rig *r)
{
	struct rk_counts c;

	rk_dispatch_snapshot(rk_runtime_dispatch(r->rt), NULL, &c);
	return rk_counts_balance(&c);
}

void gpu_close(struct gpu_rig *r)
{
	GPU_EXPECT(books_balance(r), "accepted is not processed + failed + cancelled + timed out "
				     "+ in flight");
	rk_runtime_destroy(r->rt);
	GPU_EXPECT(!r->worker_fd || close(r->worker_fd) == 0, "close: %s", strerror(errno));
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
}

void gpu_make_dir(struct gpu_rig *r)
{
	snprintf(r->dir, sizeof(r->dir), "%s", gpu_test_dir);
}

void gpu_describe(struct gpu_rig *r, const char *file, const char *fmt, ...)
{
	char path[sizeof(r->dir) + 64];
	va_list ap;
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "%s/%s", r->dir, file);
	f = fopen(path, "we");
	GPU_EXPECT(f, "%s: %s", path, strerror(errno));
	va_start(ap, fmt);
	n = vfprintf(f, fmt, ap);
	va_end(ap);
	GPU_EXPECT(fclose(f) == 0 && n > 0, "%s: %s", path, strerror(errno));
}

void gpu_reload(struct gpu_rig *r)
{
	struct rk_error err = {0};

	if (rk_runtime_reload(r->rt, NULL, &err))
		gpu_fail("reload: %s", err.msg);
}

void gpu_command(struct gpu_rig *r, enum rk_trigger trigger, int64_t secs)
{
	struct rk_error err = {0};

	if (rk_runtime_command(r->rt, trigger, secs < 0 ? -1 : secs * 1000, NULL, &err))
		gpu_fail("%s: %s", rk_trigger_name(trigger), err.msg);
}

/* LOOK_MS from now. */
static struct timespec next_look(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += LOOK_MS * (long)RK_NS_PER_MS;
	if (at.tv_nsec >= (long)RK_NS_PER_SEC) {
		at.tv_nsec -= (long)RK_NS_PER_SEC;
		at.tv_sec++;
	}
	return at;
}

void gpu_wait(struct gpu_rig *r, bool (*holds)(struct gpu_rig *r, void *arg), void *arg,
	      const char *what)
{
	uint64_t until = rk_now_ns() + gpu_options.patience_s * RK_NS_PER_SEC;
	bool held;

	pthread_mutex_lock(&r->lock);
	while (!(held = holds(r, arg)) && rk_now_ns() < until) {
		struct timespec at = next_look();

		pthread_cond_clockwait(&r->changed, &r->lock, CLOCK_MONOTONIC, &at);
	}
	pthread_mutex_unlock(&r->lock);
	if (!held)
		gpu_fail("waited %u s in vain for %s; the state is %s", gpu_options.patience_s,
			 what, rk_state_name(rk_runtime_state(r->rt)));
}

static bool state_is(struct gpu_rig *r, void *arg)
{
	return rk_runtime_state(r->rt) == *(enum rk_state *)arg;
}

static bool state_is_or_failed(struct gpu_rig *r, void *arg)
{
	return state_is(r, arg) || rk_runtime_state(r->rt) == RK_FAILED;
}

void gpu_wait_state(struct gpu_rig *r, enum rk_state state)
{
	char why[RK_ERROR_MAX];

	gpu_wait(r, state_is_or_failed, &state, rk_state_name(state));
	if (rk_runtime_state(r->rt) == state)
		return;
	rk_runtime_failure(r->rt, why);
	gpu_fail("Failed instead of %s: %s", rk_state_name(state), why);
}

void gpu_start(struct gpu_rig *r, const char *backend)
{
	char name[RK_WIRE_NAME_MAX];

	gpu_command(r, RK_START, -1);
	gpu_wait_state(r, RK_RUNNING);
	rk_runtime_backend(r->rt, name);
	GPU_EXPECT(strcmp(name, backend) == 0, "the backend is %s instead of %s", name, backend);
}

bool gpu_find_event(struct gpu_rig *r, const char *name, uint64_t from, char **text)
{
	uint64_t seq = from;
	char *line;

	while (rk_events_next(rk_runtime_events(r->rt), &seq, &line) > 0) {
		json_t *event = json_loads(line, 0, NULL);
		const char *is = json_string_value(json_object_get(event, "event"));
		bool found = is && strcmp(is, name) == 0;

		json_decref(event);
		if (found && text) {
			*text = line;
			return true;
		}
		free(line);
		if (found)
			return true;
	}
	return false;
}

struct wanted_event {
	const char *name;
	uint64_t from;
	char *line;
};

static bool event_is_there(struct gpu_rig *r, void *arg)
{
	struct wanted_event *w = arg;

	return gpu_find_event(r, w->name, w->from, &w->line);
}

char *gpu_wait_event(struct gpu_rig *r, const char *name, uint64_t from)
{
	struct wanted_event w = {.name = name, .from = from};

	gpu_wait(r, event_is_there, &w, name);
	return w.line;
}

uint64_t gpu_count(struct gpu_rig *r, enum rk_counter counter)
{
	struct rk_counts c;

	rk_dispatch_snapshot(rk_runtime_dispatch(r->rt), NULL, &c);
	return c.count[counter];
}

/* --- calls -------------------------------------------------------------------------- */

/* Loaded, or not to be loaded for the reason @why. */
struct wanted_kernel {
	struct rk_kernel *k;
	char why[RK_ERROR_MAX];
};

static bool is_loaded_or_refused(struct gpu_rig *r, void *arg)
{
	struct wanted_kernel *w = arg;

	w->why[0] = '\0';
	if (atomic_load(&w->k->state) == RK_KERNEL_OFF)
		rk_dispatch_kernel_last_error(rk_runtime_dispatch(r->rt), w->k, 0, w->why);
	if (w->why[0] && strcmp(w->why, "none") != 0)
		return true;
	w->why[0] = '\0';
	/* without a backend: no worker, but there will be one again */
	return atomic_load(&w->k->state) == RK_KERNEL_ACTIVE && atomic_load(&w->k->backend) != 0;
}

struct rk_kernel *gpu_kernel(struct gpu_rig *r, const char *id, enum rk_wire_backend backend)
{
	char domain[RK_NAME_MAX];
	const char *slash = strchr(id, '/');
	struct wanted_kernel w = {0};
	struct rk_kernel *k;

	snprintf(domain, sizeof(domain), "%.*s", (int)(slash - id), id);
	k = rk_registry_find(rk_runtime_registry(r->rt), domain, slash + 1);
	GPU_EXPECT(k, "there is no kernel %s", id);
	w.k = k;
	gpu_wait(r, is_loaded_or_refused, &w, id);
	GPU_EXPECT(!w.why[0], "%s is not loaded: %s", id, w.why);
	GPU_EXPECT(atomic_load(&k->backend) == 1 + (unsigned int)backend,
		   "%s runs on %s, not on %s", id, backend == RK_WIRE_CUDA ? "the CPU" : "the GPU",
		   rk_backends[backend].name);
	return k;
}

static void on_done(struct rk_message *m, void *ctx)
{
	struct gpu_call *c = ctx;

	(void)m;
	pthread_mutex_lock(&c->rig->lock);
	c->done = true;
	pthread_cond_broadcast(&c->rig->changed);
	pthread_mutex_unlock(&c->rig->lock);
}

void gpu_call_make(struct gpu_rig *r, struct gpu_call *c, struct rk_kernel *k,
		   uint64_t (*shapes)[RK_MAX_RANK])
{
	struct rk_payload *pool = rk_runtime_payload(r->rt);
	struct rk_message *m = rk_message_new(k, getuid(), getpid());
	struct rk_error err = {0};

	GPU_EXPECT(m, "no memory");
	for (unsigned int i = 0; i < k->manifest.ninputs; i++)
		if (rk_plan_bind(&m->plan, i, k->manifest.inputs[i].rank, shapes[i], &err))
			gpu_fail("%s: %s", k->manifest.id, err.msg);
	if (rk_plan_layout(&m->plan, rk_runtime_max_message_bytes(r->rt), &err) ||
	    rk_payload_alloc(pool, 0, m->plan.block_bytes, &m->block, &err))
		gpu_fail("%s: %s", k->manifest.id, err.msg);
	rk_plan_prepare(&m->plan, m->block.data);
	rk_payload_unref(pool);
	m->done = on_done;
	m->ctx = c;
	*c = (struct gpu_call){.rig = r, .m = m};
}

void gpu_call_make_n(struct gpu_rig *r, struct gpu_call *c, struct rk_kernel *k, uint64_t n)
{
	uint64_t shapes[RK_MAX_PORTS][RK_MAX_RANK];

	for (unsigned int i = 0; i < RK_MAX_PORTS; i++)
		for (unsigned int axis = 0; axis < RK_MAX_RANK; axis++)
			shapes[i][axis] = n;
	gpu_call_make(r, c, k, shapes);
}

void gpu_call_drop(struct gpu_call *c)
{
	rk_message_unref(c->m);
	c->m = NULL;
}

void gpu_submit(struct gpu_call *c)
{
	struct rk_error err = {0};

	if (rk_dispatch_submit(rk_runtime_dispatch(c->rig->rt), c->m, true, &err))
		gpu_fail("%s: %s", c->m->kernel->manifest.id, err.msg);
}

static bool is_done(struct gpu_rig *r, void *arg)
{
	(void)r;
	return ((struct gpu_call *)arg)->done;
}

int gpu_answer(struct gpu_call *c)
{
	gpu_wait(c->rig, is_done, c, c->m->kernel->manifest.id);
	return c->m->error.code;
}

void gpu_expect(struct gpu_call *c, int code, const char *words)
{
	const char *id = c->m->kernel->manifest.id;
	int got = gpu_answer(c);

	GPU_EXPECT(got == code, "%s: %s instead of %s: %s", id,
		   got ? rk_error_name(got) : "success", code ? rk_error_name(code) : "success",
		   c->m->error.msg);
	GPU_EXPECT(!words || strstr(c->m->error.msg, words),
		   "%s: the sentence does not have %s: %s", id, words, c->m->error.msg);
}

void *gpu_input(struct gpu_call *c, unsigned int index)
{
	return (char *)c->m->block.data + c->m->plan.inputs[index].offset;
}

void *gpu_output(struct gpu_call *c, unsigned int index)
{
	return (char *)c->m->block.data + c->m->plan.outputs[index].offset;
}

uint64_t gpu_input_count(struct gpu_call *c, unsigned int index)
{
	return c->m->plan.inputs[index].count;
}

void gpu_delay_begin(struct gpu_rig *r, struct gpu_call *c, uint32_t ms)
{
	struct rk_kernel *k = gpu_kernel(r, "core/delay", RK_WIRE_CUDA);

	gpu_call_make_n(r, c, k, 1);
	memcpy(gpu_input(c, 0), &ms, sizeof(ms));
	rk_kernel_unref(k);
	gpu_submit(c);
}

void gpu_delay(struct gpu_rig *r, uint32_t ms)
{
	struct gpu_call c;

	gpu_delay_begin(r, &c, ms);
	gpu_expect(&c, 0, NULL);
	gpu_call_drop(&c);
}

void gpu_vector_add_begin(struct gpu_rig *r, struct gpu_call *c, uint64_t n, unsigned int seed)
{
	struct rk_kernel *k = gpu_kernel(r, "core/vector-add", RK_WIRE_CUDA);
	float *a, *b;

	gpu_call_make_n(r, c, k, n);
	a = gpu_input(c, 0);
	b = gpu_input(c, 1);
	for (uint64_t i = 0; i < n; i++) {
		a[i] = (float)((i + seed) % 65536);
		b[i] = (float)seed + 0.5F;
	}
	rk_kernel_unref(k);
	gpu_submit(c);
}

void gpu_vector_add_end(struct gpu_call *c, unsigned int seed)
{
	uint64_t n = gpu_input_count(c, 0);
	const float *sum;

	gpu_expect(c, 0, NULL);
	sum = gpu_output(c, 0);
	for (uint64_t i = 0; i < n; i++) {
		float right = (float)((i + seed) % 65536) + ((float)seed + 0.5F);

		GPU_EXPECT(sum[i] == right, "core/vector-add: element %llu is %g instead of %g",
			   (unsigned long long)i, (double)sum[i], (double)right);
	}
	gpu_call_drop(c);
}

void gpu_vector_add(struct gpu_rig *r, uint64_t n)
{
	struct gpu_call c;

	gpu_vector_add_begin(r, &c, n, 1);
	gpu_vector_add_end(&c, 1);
}

double gpu_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9E3779B97F4A7C15ULL); /* SplitMix64 */

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}
