/* SPDX-License-Identifier: MIT */
/* kernels/DOMAIN/NAME/: what a kernel is, what it has done, and its call file. */
#include <errno.h>
#include <stddef.h>

#include "fs/call/call.h"
#include "fs/files/files.h"
#include "runtime/request/codec.h"

RKFS_SHOW(mode_show)
{
	rkfs_textbuf_line(out, rk_mode_name(subject->kernel->manifest.mode));
	return 0;
}

/* A text member of the description; arg is its offset. */
RKFS_SHOW(text_show)
{
	rkfs_textbuf_line(out, (const char *)&subject->kernel->manifest + attr->arg);
	return 0;
}

RKFS_SHOW(backend_show)
{
	unsigned int backend = atomic_load(&subject->kernel->backend);

	rkfs_textbuf_line(out, backend ? rk_backends[backend - 1].name : "none");
	return 0;
}

RKFS_SHOW(enable_show)
{
	struct rk_kernel *k =
		rk_registry_current(rk_runtime_registry(subject->fs->rt), subject->kernel);

	if (!k)
		return -ENODEV;
	rkfs_textbuf_u64_line(out, atomic_load(&k->wanted));
	rk_kernel_unref(k);
	return 0;
}

static int enable_store(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
			const struct rk_caller *caller, const char *text, size_t len)
{
	const char *id = subject->kernel->manifest.id;
	struct rk_kernel *k = NULL;
	struct rk_error err;
	bool on;
	int rc = rkfs_switch_read(attr->name, id, text, len, &on, &err);

	if (!rc) {
		k = rk_registry_current(rk_runtime_registry(subject->fs->rt), subject->kernel);
		if (!k)
			rc = rk_error_set(&err, ENODEV, "%s of %s: the kernel was removed",
					  attr->name, id);
	}
	if (rc)
		return rk_runtime_refuse(subject->fs->rt, "a write", caller, &err);
	rk_runtime_enable(subject->fs->rt, k, on, caller);
	rk_kernel_unref(k);
	return 0;
}

RKFS_SHOW(queue_depth_show)
{
	rkfs_textbuf_u64_line(out, atomic_load(&subject->kernel->queued));
	return 0;
}

/* One port per line; arg is true for inputs. */
RKFS_SHOW(ports_show)
{
	const struct rk_manifest *m = &subject->kernel->manifest;
	const struct rk_port *ports = attr->arg ? m->inputs : m->outputs;
	unsigned int count = attr->arg ? m->ninputs : m->noutputs;
	/* "NAME = DTYPE[AXIS,...]": every axis is a name or a number */
	char line[RK_NAME_MAX * (RK_MAX_RANK + 2)];

	for (unsigned int i = 0; i < count; i++) {
		rk_port_print(m, &ports[i], line, sizeof(line));
		rkfs_textbuf_line(out, line);
	}
	return 0;
}

RKFS_SHOW(count_show)
{
	rkfs_textbuf_u64_line(out, atomic_load(&subject->kernel->stats->books.count[attr->arg]));
	return 0;
}

RKFS_SHOW(in_flight_show)
{
	struct rk_counts counts;

	rk_dispatch_snapshot(rk_runtime_dispatch(subject->fs->rt), subject->kernel, &counts);
	rkfs_textbuf_u64_line(out, counts.in_flight);
	return 0;
}

RKFS_SHOW(last_error_show)
{
	char sentence[RK_ERROR_MAX];

	rk_dispatch_kernel_last_error(rk_runtime_dispatch(subject->fs->rt), subject->kernel,
				      subject->reader, sentence);
	rkfs_textbuf_line(out, sentence);
	return 0;
}

/* arg is the permille. */
RKFS_SHOW(latency_show)
{
	int64_t usecs =
		rk_histogram_percentile(&subject->kernel->stats->latency, (unsigned int)attr->arg);

	if (usecs < 0)
		return -ENODATA;
	rkfs_textbuf_u64_line(out, (unsigned long long)usecs);
	return 0;
}

static bool example_present(const struct rkfs_attr *attr, const struct rk_kernel *kernel)
{
	(void)attr;
	return kernel->manifest.example[0] != '\0';
}

static bool call_present(const struct rkfs_attr *attr, const struct rk_kernel *kernel)
{
	return ((const struct rk_codec *)attr->arg)->applies(&kernel->manifest);
}

#define CALL(file, codec)                                                                          \
	{                                                                                          \
		.name = file, .mode = 0600, .flags = RKFS_STREAM, .stream = &rkfs_call_ops,        \
		.present = call_present, .arg = (uintptr_t)&codec                                  \
	}

#define TEXT(member)                                                                               \
	{                                                                                          \
		.name = #member, .mode = 0444, .show = text_show,                                  \
		.arg = offsetof(struct rk_manifest, member)                                        \
	}

static const struct rkfs_attr rows[] = {
	{.name = "mode", .mode = 0444, .show = mode_show},
	TEXT(description),
	TEXT(version),
	{.name = "backend", .mode = 0444, .show = backend_show},
	{.name = "enable", .mode = 0644, .show = enable_show, .store = enable_store},
	{.name = "queue_depth", .mode = 0444, .show = queue_depth_show},
	{.name = "inputs", .mode = 0444, .show = ports_show, .arg = true},
	{.name = "outputs", .mode = 0444, .show = ports_show, .arg = false},
	{.name = "example",
	 .mode = 0444,
	 .show = text_show,
	 .present = example_present,
	 .arg = offsetof(struct rk_manifest, example)},
#define X(counter, file) {.name = file, .mode = 0444, .show = count_show, .arg = counter},
	RK_COUNTERS(X)
#undef X
		{.name = "messages_in_flight", .mode = 0444, .show = in_flight_show},
	{.name = "last_error", .mode = 0444, .show = last_error_show},
	{.name = "latency_p50_usecs", .mode = 0444, .show = latency_show, .arg = 500},
	{.name = "latency_p99_usecs", .mode = 0444, .show = latency_show, .arg = 990},
	CALL("call.json", rk_codec_json),
	CALL("call.safetensors", rk_codec_safetensors),
	CALL("call.raw", rk_codec_raw),
};

const struct rkfs_attrs rkfs_kernel_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
