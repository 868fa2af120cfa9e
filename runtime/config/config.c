/* SPDX-License-Identifier: MIT */
/* Loads, sets, prints and compares the fields of the configuration. */
#include "runtime/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/backends.h"
#include "runtime/base/files.h"
#include "runtime/base/ini_file.h"

#define ENV_PREFIX     "RKFS_"
#define ENV_NAME_MAX   256 /* longer than any name that Kubernetes makes */
#define CONFIG_KEY_MAX 64

static const struct rk_config_field config_fields[] = {
#define RK_FIELD(section_, name_, type_, hot_, min_, max_, choices_, dev_, prod_, high_, test_,    \
		 help_)                                                                            \
	{                                                                                          \
		.section = section_,                                                               \
		.key = #name_,                                                                     \
		.type = RK_CONFIG_##type_,                                                         \
		.hot = hot_,                                                                       \
		.offset = offsetof(struct rk_config, name_),                                       \
		.size = sizeof(((struct rk_config *)NULL)->name_),                                 \
		.min = min_,                                                                       \
		.max = max_,                                                                       \
		.choices = choices_,                                                               \
		.preset = {dev_, prod_, high_, test_},                                             \
		.help = help_,                                                                     \
	},
#include "runtime/config/config.def"
#undef RK_FIELD
};

#define CONFIG_FIELDS (sizeof(config_fields) / sizeof(config_fields[0]))

/* Variables with our prefix that others set: patterns for what follows the prefix. */
static const char *const env_of_others[] = {
	"MOUNT",   /* scripts: where to mount */
	"VERSION", /* images: the version that they hold */
	/* Kubernetes, for Services called rkfs and rkfs-NAME */
	"SERVICE_*",
	"*_SERVICE_*",
	"PORT",
	"*_PORT",
	"PORT_[0-9]*",
	"*_PORT_[0-9]*",
};

static const char *const preset_names[RK_PRESET_COUNT] = {
	[RK_PRESET_DEVELOPMENT] = "development",
	[RK_PRESET_PRODUCTION] = "production",
	[RK_PRESET_HIGH_PERFORMANCE] = "high_performance",
	[RK_PRESET_TESTING] = "testing",
};

/* Values as the sources give them, before the preset fills in the rest. */
struct config_loader {
	struct rk_config config;
	bool set[CONFIG_FIELDS];
};

const struct rk_config_field *rk_config_fields(size_t *count)
{
	*count = CONFIG_FIELDS;
	return config_fields;
}

const struct rk_config_field *rk_config_find(const char *key)
{
	for (size_t i = 0; i < CONFIG_FIELDS; i++)
		if (!strcmp(config_fields[i].key, key))
			return &config_fields[i];
	return NULL;
}

void rk_config_nearest(struct rk_nearest *near)
{
	for (size_t i = 0; i < CONFIG_FIELDS; i++)
		rk_nearest_try(near, config_fields[i].key);
}

int rk_config_set(struct rk_config *config, const struct rk_config_field *field, const char *value,
		  struct rk_error *err)
{
	int rc = rk_config_value_parse(field, value, (char *)config + field->offset, err);

	if (rc)
		rk_error_prefix(err, "%s", field->key);
	return rc;
}

static int loader_set(struct config_loader *loader, const struct rk_config_field *field,
		      const char *value, struct rk_error *err)
{
	int rc = rk_config_value_parse(field, value, (char *)&loader->config + field->offset, err);

	if (!rc)
		loader->set[field - config_fields] = true;
	return rc;
}

static int shown(size_t len)
{
	return (int)(len < CONFIG_KEY_MAX ? len : CONFIG_KEY_MAX);
}

static int no_key(const char *what, const char *key, size_t len, struct rk_error *err)
{
	char hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;

	rk_nearest_init(&near, key, len);
	rk_config_nearest(&near);
	return rk_error_set(err, EINVAL,
			    "%s%.*s: there is no such key%s; rkfs.conf(5) lists them all", what,
			    shown(len), key, rk_nearest_hint(&near, "", hint));
}

static int check_section(const char *section, struct rk_error *err)
{
	char hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;

	rk_nearest_init(&near, section, strlen(section));
	for (size_t i = 0; i < CONFIG_FIELDS; i++) {
		if (!strcmp(config_fields[i].section, section))
			return 0;
		rk_nearest_try(&near, config_fields[i].section);
	}
	return rk_error_set(err, EINVAL,
			    "[%s]: there is no such section%s; there are [runtime], [health] and "
			    "[backend]",
			    section, rk_nearest_hint(&near, "", hint));
}

static int load_pair(void *ctx, const char *section, const char *key, const char *value,
		     struct rk_error *err)
{
	struct config_loader *loader = ctx;
	const struct rk_config_field *field;
	int rc;

	if (!key)
		return check_section(section, err);
	field = rk_config_find(key);
	if (!field)
		return no_key("", key, strlen(key), err);
	if (!*section)
		return rk_error_set(err, EINVAL,
				    "%s: stands before any section; it belongs to [%s]", key,
				    field->section);
	if (strcmp(section, field->section))
		return rk_error_set(err, EINVAL, "%s: is in section [%s]; it belongs to [%s]", key,
				    section, field->section);
	if (loader->set[field - config_fields])
		return rk_error_set(err, EINVAL, "%s: is set a second time; keep one of the lines",
				    key);
	rc = loader_set(loader, field, value, err);
	if (rc)
		rk_error_prefix(err, "%s", key);
	return rc;
}

/* The field that the variable RKFS_@upper of @len bytes sets, or NULL. */
static const struct rk_config_field *env_field(const char *upper, size_t len)
{
	for (size_t i = 0; i < CONFIG_FIELDS; i++) {
		const char *key = config_fields[i].key;
		size_t n = 0;

		while (n < len && key[n] && toupper((unsigned char)key[n]) == upper[n])
			n++;
		if (n == len && !key[n])
			return &config_fields[i];
	}
	return NULL;
}

static bool env_is_of_others(const char *suffix, size_t len)
{
	char name[ENV_NAME_MAX];

	if (len >= sizeof(name))
		return false;
	memcpy(name, suffix, len);
	name[len] = '\0';
	for (size_t i = 0; i < sizeof(env_of_others) / sizeof(env_of_others[0]); i++)
		if (!fnmatch(env_of_others[i], name, 0))
			return true;
	return false;
}

/* Fail because no key has the name of the variable @name of @len bytes. */
static int no_variable(const char *name, size_t len, struct rk_error *err)
{
	char upper[CONFIG_KEY_MAX], hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;

	rk_nearest_init(&near, name + strlen(ENV_PREFIX), len - strlen(ENV_PREFIX));
	for (size_t i = 0; i < CONFIG_FIELDS; i++) {
		size_t n = 0;

		for (const char *c = config_fields[i].key; *c && n < sizeof(upper) - 1; c++)
			upper[n++] = (char)toupper((unsigned char)*c);
		upper[n] = '\0';
		rk_nearest_try(&near, upper);
	}
	return rk_error_set(err, EINVAL,
			    "%.*s: no configuration key has this name%s; unset the variable, or "
			    "see rkfs.conf(5) for the keys",
			    shown(len), name, rk_nearest_hint(&near, ENV_PREFIX, hint));
}

static int load_environ(struct config_loader *loader, const char *const *vars, struct rk_error *err)
{
	const size_t prefix = strlen(ENV_PREFIX);

	for (; *vars; vars++) {
		size_t len = strcspn(*vars, "=");
		const struct rk_config_field *field;
		int rc;

		if (strncmp(*vars, ENV_PREFIX, prefix) || !(*vars)[len])
			continue;
		field = env_field(*vars + prefix, len - prefix);
		if (!field && env_is_of_others(*vars + prefix, len - prefix))
			continue;
		if (!field)
			return no_variable(*vars, len, err);
		rc = loader_set(loader, field, *vars + len + 1, err);
		if (rc) {
			rk_error_prefix(err, "%.*s", (int)len, *vars);
			return rc;
		}
	}
	return 0;
}

static int load_options(struct config_loader *loader, const char *const *options,
			struct rk_error *err)
{
	/* A key may be repeated, and the last one wins, as in mount(8) and fstab. */
	for (; *options; options++) {
		char key[CONFIG_KEY_MAX];
		size_t len = strcspn(*options, "=");
		const struct rk_config_field *field = NULL;
		int rc;

		if (len < sizeof(key)) {
			memcpy(key, *options, len);
			key[len] = '\0';
			field = rk_config_find(key);
		}
		if (!field)
			return no_key("option ", *options, len, err);
		if (!(*options)[len])
			return rk_error_set(err, EINVAL, "option %s: has no value; write %s=VALUE",
					    key, key);
		rc = loader_set(loader, field, *options + len + 1, err);
		if (rc) {
			rk_error_prefix(err, "option %s", key);
			return rc;
		}
	}
	return 0;
}

static int load_file(struct config_loader *loader, const struct rk_config_sources *sources,
		     struct rk_error *err)
{
	struct rk_ini_text text;
	int rc = rk_files_read(sources->files, sources->file, false, &text, err);

	if (rc)
		return rc;
	rc = rk_ini_parse(text.data, text.len, sources->file, load_pair, loader, err);
	if (rc)
		rk_ini_hide(&text, sources->file, err);
	free(text.data);
	return rc;
}

static int load_sources(struct config_loader *loader, const struct rk_config_sources *sources,
			struct rk_error *err)
{
	int rc = 0;

	if (sources->file)
		rc = load_file(loader, sources, err);
	if (!rc && sources->environ)
		rc = load_environ(loader, sources->environ, err);
	if (!rc && sources->options)
		rc = load_options(loader, sources->options, err);
	return rc;
}

/* Set every field to its default in the preset @name, which is one of preset_names. */
static int load_defaults(struct rk_config *config, const char *name, struct rk_error *err)
{
	size_t preset = 0;

	while (preset + 1 < RK_PRESET_COUNT && strcmp(preset_names[preset], name))
		preset++;
	for (size_t i = 0; i < CONFIG_FIELDS; i++) {
		int rc = rk_config_set(config, &config_fields[i], config_fields[i].preset[preset],
				       err);

		if (rc)
			return rc;
	}
	return 0;
}

static int check_backends(const struct rk_config *c, struct rk_error *err)
{
	const char *cpu = rk_backends[RK_WIRE_CPU].name;

	if (!strcmp(c->primary_backend, c->fallback_backend))
		return rk_error_set(err, EINVAL,
				    "primary_backend and fallback_backend are both %s; set "
				    "fallback_backend to none or to the other one",
				    c->primary_backend);
	if (!c->gpu_enabled && strcmp(c->primary_backend, cpu) && strcmp(c->fallback_backend, cpu))
		return rk_error_set(err, EINVAL,
				    "gpu_enabled is no and leaves no backend, as primary_backend "
				    "is %s and fallback_backend is %s; set one of them to %s, or "
				    "gpu_enabled to yes",
				    c->primary_backend, c->fallback_backend, cpu);
	return 0;
}

/* @small must not exceed @large: it could never be used in full. */
static int check_order(const struct rk_config *c, const char *small, const char *large,
		       struct rk_error *err)
{
	const struct rk_config_field *s = rk_config_find(small);
	const struct rk_config_field *l = rk_config_find(large);
	char stext[RK_CONFIG_VALUE_MAX], ltext[RK_CONFIG_VALUE_MAX];
	uint64_t sval, lval;

	memcpy(&sval, (const char *)c + s->offset, sizeof(sval));
	memcpy(&lval, (const char *)c + l->offset, sizeof(lval));
	if (sval <= lval)
		return 0;
	rk_config_print(c, s, stext, sizeof(stext));
	rk_config_print(c, l, ltext, sizeof(ltext));
	return rk_error_set(err, EINVAL,
			    "%s (%.32s) is larger than %s (%.32s); raise %s or lower %s", small,
			    stext, large, ltext, large, small);
}

/*
 * Each part of @paths between separators must be absolute: a daemon's working
 * directory is /, not the one of whoever wrote the value.
 */
static int check_paths(const char *key, const char *paths, char separator, struct rk_error *err)
{
	const char *part = paths;

	while (*paths && part) {
		if (*part != '/')
			return rk_error_set(err, EINVAL,
					    "%s: \"%.128s\" is not an absolute path; it must begin "
					    "with '/', without quotes",
					    key, part);
		part = separator ? strchr(part, separator) : NULL;
		part = part ? part + 1 : NULL;
	}
	return 0;
}

static uint32_t count_devices(const struct rk_config *c)
{
	uint32_t n = 1;

	for (const char *at = c->cuda_device; (at = strchr(at, ',')); at++)
		n++;
	return n;
}

static bool is_on_cuda(const struct rk_config *c)
{
	return c->gpu_enabled && rk_backend_named(c->primary_backend) == RK_WIRE_CUDA;
}

uint32_t rk_config_workers(const struct rk_config *config)
{
	return (uint32_t)config->workers * (is_on_cuda(config) ? count_devices(config) : 1);
}

bool rk_config_all_devices(const struct rk_config *config)
{
	return is_on_cuda(config) && !strcmp(config->cuda_device, RK_CONFIG_ALL_DEVICES);
}

bool rk_config_several_devices(const struct rk_config *config)
{
	return rk_config_all_devices(config) || (is_on_cuda(config) && count_devices(config) > 1);
}

void rk_config_device(const struct rk_config *config, uint32_t index, char *name, size_t size)
{
	const char *at = config->cuda_device;

	if (!strcmp(at, RK_CONFIG_ALL_DEVICES))
		at = "0";
	for (uint32_t skip = index / (uint32_t)config->workers; skip && strchr(at, ','); skip--)
		at = strchr(at, ',') + 1;
	snprintf(name, size, "%.*s", (int)strcspn(at, ","), at);
}

static int check_workers(const struct rk_config *c, struct rk_error *err)
{
	if (rk_config_workers(c) <= RK_CONFIG_WORKERS_MAX)
		return 0;
	return rk_error_set(
		err, EINVAL, "workers: %llu for each of %u devices of cuda_device are more than %d",
		(unsigned long long)c->workers, count_devices(c), RK_CONFIG_WORKERS_MAX);
}

static int check_all(const struct rk_config *c, struct rk_error *err)
{
	int rc = check_backends(c, err);

	if (!rc)
		rc = check_workers(c, err);
	if (!rc)
		rc = check_order(c, "max_message_bytes", "max_buffered_bytes", err);
	if (!rc)
		rc = check_order(c, "max_json_bytes", "max_buffered_bytes", err);
	if (!rc)
		rc = check_paths("log_file", c->log_file, '\0', err);
	if (!rc)
		rc = check_paths("metrics_textfile", c->metrics_textfile, '\0', err);
	if (!rc)
		rc = check_paths("cuda_cache_dir", c->cuda_cache_dir, '\0', err);
	if (!rc)
		rc = check_paths("kernels_dir", c->kernels_dir, ':', err);
	return rc;
}

/*
 * The fallback of a preset belongs to the primary backend of that preset: `primary_backend = cpu`
 * alone must not collide with the default fallback cpu. A fallback that was set is checked instead.
 */
static void settle_fallback(struct rk_config *c, const struct config_loader *loader)
{
	const struct rk_config_field *field = rk_config_find("fallback_backend");

	if (!loader->set[field - config_fields] && !strcmp(c->primary_backend, c->fallback_backend))
		strcpy(c->fallback_backend, "none");
}

/*
 * With a default beyond what the machine has, the kernel would kill a process. A JSON request needs
 * more than twenty times its size while it is read.
 */
static void settle_sizes(struct rk_config *c, const struct config_loader *loader, uint64_t bytes)
{
	static const struct {
		const char *key;
		uint64_t share;
	} rows[] = {{"max_buffered_bytes", 1}, {"max_message_bytes", 1}, {"max_json_bytes", 32}};

	for (size_t i = 0; bytes && i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct rk_config_field *field = rk_config_find(rows[i].key);
		uint64_t bound = bytes / rows[i].share, value;

		memcpy(&value, (char *)c + field->offset, sizeof(value));
		if (!loader->set[field - config_fields] && value > bound)
			memcpy((char *)c + field->offset, &bound, sizeof(bound));
	}
}

int rk_config_load(struct rk_config *config, const struct rk_config_sources *sources,
		   struct rk_error *err)
{
	struct config_loader loader;
	struct rk_config result;
	int rc;

	if (sources->loaded) {
		*config = *sources->loaded;
		return 0;
	}
	memset(&loader, 0, sizeof(loader));
	memset(&result, 0, sizeof(result));
	strcpy(loader.config.preset, preset_names[RK_PRESET_PRODUCTION]);
	rc = load_sources(&loader, sources, err);
	if (!rc)
		rc = load_defaults(&result, loader.config.preset, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < CONFIG_FIELDS; i++)
		if (loader.set[i])
			rk_config_copy(&result, &loader.config, &config_fields[i]);
	settle_fallback(&result, &loader);
	settle_sizes(&result, &loader, sources->payload_bytes);
	rc = check_all(&result, err);
	if (!rc)
		*config = result;
	return rc;
}
