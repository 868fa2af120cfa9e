/* SPDX-License-Identifier: MIT */
/* Scans kernels_dir, and registers, replaces and retires kernels by what it finds. */
#include "runtime/kernel/kernels_dir.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/files.h"
#include "runtime/kernel/parse.h"
#include "runtime/base/module.h"

/* One scan. */
struct scan {
	struct rk_registry *reg;
	struct rk_files *files;
	const struct rk_kernels_observer *observer;
	unsigned int number; /* kernels that it finds get this mark */
	int refused;
	bool given_up;		     /* told to read no more */
	struct rk_error *err;	     /* the first refusal */
	struct rk_manifest manifest; /* large: here instead of on the stack */
};

int rk_kernels_builtin(struct rk_registry *reg, const struct rk_kernels_observer *observer,
		       struct rk_error *err)
{
	struct rk_manifest *m = malloc(sizeof(*m));
	const struct rk_manifest_builtin *list;
	struct rk_kernel *k;
	size_t count;
	int rc = 0;

	if (!m)
		return rk_error_set(err, ENOMEM, "no memory for kernel descriptions");
	list = rk_manifest_builtins(&count);
	for (size_t i = 0; i < count && !rc; i++) {
		const struct rk_kernel_source source = {.manifest = m};

		rc = rk_manifest_parse(m, list[i].text, list[i].len, list[i].name, err);
		if (!rc)
			rc = rk_registry_add(reg, &source, false, &k, err);
		if (!rc) {
			observer->added(observer->ctx, k);
			rk_kernel_unref(k);
		}
	}
	free(m);
	return rc;
}

static void refuse(struct scan *s, const char *file, const struct rk_error *why)
{
	if (!s->refused++)
		*s->err = *why;
	if (why->code == ECANCELED)
		s->given_up = true;
	else
		s->observer->refused(s->observer->ctx, file, why);
}

/* The kernel that @path described when it was read last; a reference or NULL. */
static struct rk_kernel *described_by(struct scan *s, const char *path)
{
	struct rk_kernel *k = NULL;

	while ((k = rk_registry_after(s->reg, k)))
		if (k->origin && !strcmp(k->origin, path))
			return k;
	return NULL;
}

/* The file is refused; what it described before goes on. */
static void refuse_file(struct scan *s, const char *path, const struct rk_error *why)
{
	struct rk_kernel *k = described_by(s, path);

	if (k)
		k->scan = s->number;
	rk_kernel_unref(k);
	refuse(s, path, why);
}

static void drop_modules(struct rk_kernel_source *source)
{
	for (unsigned int i = 0; i < RK_WIRE_BACKEND_COUNT; i++)
		rk_module_unref(source->modules[i]);
}

/* One for s->manifest's code: @old's where that is still the very file, else read anew. */
static int find_module(struct scan *s, enum rk_wire_backend backend, const struct rk_kernel *old,
		       struct rk_module **module, struct rk_error *err)
{
	const struct rk_code *code = &s->manifest.code[backend];
	struct rk_module *had = old ? old->modules[backend] : NULL;

	if (!code->given || !strcmp(code->library, "builtin"))
		return 0;
	if (had && !strcmp(old->manifest.code[backend].library, code->library) &&
	    rk_files_current(s->files, code->library, had)) {
		*module = rk_module_ref(had);
		return 0;
	}
	return rk_files_module(s->files, code->library, module, err);
}

/* All of them, or none. */
static int find_modules(struct scan *s, const char *path, const struct rk_kernel *old,
			struct rk_kernel_source *source, struct rk_error *err)
{
	for (unsigned int i = 0; i < RK_WIRE_BACKEND_COUNT; i++) {
		int rc = find_module(s, i, old, &source->modules[i], err);

		if (rc) {
			drop_modules(source);
			return rk_error_prefix(err, "%s: %s", path, rk_backends[i].library);
		}
	}
	return 0;
}

static int check_id(struct scan *s, const char *path, const struct rk_kernel *old,
		    struct rk_error *err)
{
	const char *id = s->manifest.id;

	if (old && !old->origin)
		return rk_error_set(err, EEXIST, "%s: id: %s is built in; choose another", path,
				    id);
	if (old && old->scan == s->number)
		return rk_error_set(err, EEXIST, "%s: id: %s is described by %s already", path, id,
				    old->origin);
	return 0;
}

/* Register s->manifest, which @path describes; @old (NULL = none) has its id now. */
static int take(struct scan *s, const char *path, struct rk_kernel *old, struct rk_error *err)
{
	struct rk_kernel_source source = {.manifest = &s->manifest, .origin = path};
	struct rk_kernel *k;
	int rc = check_id(s, path, old, err);

	if (rc)
		return rc;
	rc = find_modules(s, path, old, &source, err);
	if (rc)
		return rc;
	if (old && !memcmp(source.modules, old->modules, sizeof(source.modules)) &&
	    !strcmp(old->origin, path) && rk_manifest_equal(&old->manifest, &s->manifest)) {
		old->scan = s->number;
		drop_modules(&source);
		return 0;
	}
	rc = rk_registry_add(s->reg, &source, true, &k, err);
	drop_modules(&source);
	if (rc)
		return rc;
	k->scan = s->number;
	if (old)
		s->observer->changed(s->observer->ctx, k);
	else
		s->observer->added(s->observer->ctx, k);
	rk_kernel_unref(k);
	return 0;
}

static void scan_file(struct scan *s, const char *path)
{
	struct rk_error err = {0};
	struct rk_kernel *old;
	int rc = rk_manifest_parse_file(&s->manifest, s->files, path, &err);

	if (!rc) {
		old = rk_registry_find(s->reg, s->manifest.domain, s->manifest.name);
		rc = take(s, path, old, &err);
		rk_kernel_unref(old);
	}
	if (rc)
		refuse_file(s, path, &err);
}

/* What the files of @dir described before goes on. */
static void keep_dir(struct scan *s, const char *dir)
{
	size_t len = strlen(dir);
	struct rk_kernel *k = NULL;

	while ((k = rk_registry_after(s->reg, k)))
		if (k->origin && !strncmp(k->origin, dir, len) && k->origin[len] == '/')
			k->scan = s->number;
}

static void scan_dir(struct scan *s, const char *dir)
{
	struct rk_error err, why;
	size_t len;
	char *names;

	if (rk_files_list(s->files, dir, ".ini", &names, &len, &why)) {
		rk_error_set(&err, why.code, "kernels_dir %s", why.msg);
		if (err.code != ENOENT) /* out of descriptors, for example: nothing was removed */
			keep_dir(s, dir);
		refuse(s, dir, &err);
		return;
	}
	for (const char *name = names; name < names + len && !s->given_up;
	     name += strlen(name) + 1) {
		char path[PATH_MAX];

		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) < sizeof(path))
			scan_file(s, path);
	}
	free(names);
}

/* Kernels whose description was not found. */
static void retire_rest(struct scan *s)
{
	struct rk_kernel *k = NULL;

	while ((k = rk_registry_after(s->reg, k)))
		if (k->origin && k->scan != s->number && rk_registry_retire(s->reg, k))
			s->observer->removed(s->observer->ctx, k);
}

int rk_kernels_scan(struct rk_registry *reg, struct rk_files *files, const char *dirs,
		    const struct rk_kernels_observer *observer, struct rk_error *err)
{
	static unsigned int scans; /* the caller serialises */
	struct scan *s = malloc(sizeof(*s));
	char *list = strdup(dirs), *rest = list, *dir;
	struct rk_error first = {0};
	int refused;

	if (!s || !list) {
		free(s);
		free(list);
		rk_error_set(err, ENOMEM, "kernels_dir: no memory");
		return 1;
	}
	s->reg = reg;
	s->files = files;
	s->observer = observer;
	s->number = ++scans;
	s->refused = 0;
	s->given_up = false;
	s->err = &first;
	while ((dir = strsep(&rest, ":")))
		if (*dir && !s->given_up)
			scan_dir(s, dir);
	if (!s->given_up)
		retire_rest(s);
	refused = s->refused;
	if (refused && err)
		*err = first;
	free(s);
	free(list);
	return refused;
}
