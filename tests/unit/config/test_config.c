/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/config/config.h"
#include "tests/unit/unit.h"

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static char ini_path[64];

static void write_ini(const char *text)
{
	FILE *f = fopen(ini_path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int make_ini(void **state)
{
	int fd;

	(void)state;
	strcpy(ini_path, "/tmp/rk_config_XXXXXX");
	fd = mkstemp(ini_path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_ini(void **state)
{
	(void)state;
	return unlink(ini_path);
}

/* @ini may be NULL: no file. */
static void load(struct rk_config *config, const char *ini, const char *const *env,
		 const char *const *options)
{
	struct rk_config_sources sources = {
		.file = ini ? ini_path : NULL, .environ = env, .options = options};
	struct rk_error err = {0};

	if (ini)
		write_ini(ini);
	if (rk_config_load(config, &sources, &err))
		fail_msg("%s", err.msg);
}

/* The sentence must begin with @begin ("FILE" stands for the file's path) and hold @part. */
static void assert_refused(const char *ini, const char *const *env, const char *const *options,
			   const char *begin, const char *part)
{
	struct rk_config_sources sources = {
		.file = ini ? ini_path : NULL, .environ = env, .options = options};
	struct rk_error err = {0};
	struct rk_config config, before;
	char want[256];

	if (ini)
		write_ini(ini);
	memset(&config, 0x5a, sizeof(config));
	before = config;
	assert_int_equal(rk_config_load(&config, &sources, &err), -EINVAL);
	assert_int_equal(err.code, EINVAL);
	assert_memory_equal(&config, &before, sizeof(config));
	if (!strncmp(begin, "FILE", 4))
		snprintf(want, sizeof(want), "%s%s", ini_path, begin + 4);
	else
		snprintf(want, sizeof(want), "%s", begin);
	if (strncmp(err.msg, want, strlen(want)) || !strstr(err.msg, part))
		fail_msg("\"%s\": expected \"%s ... %s\"", err.msg, want, part);
}

static void assert_value(const struct rk_config *config, const char *key, const char *want)
{
	const struct rk_config_field *field = rk_config_find(key);
	char text[RK_CONFIG_VALUE_MAX];

	assert_non_null(field);
	assert_int_equal(rk_config_print(config, field, text, sizeof(text)), strlen(want));
	assert_string_equal(text, want);
}

/* The defaults of all fields a second time, in the notation that is printed. */
static const struct {
	const char *key, *preset[RK_PRESET_COUNT];
} defaults[] = {
	{"preset", {"development", "production", "high_performance", "testing"}},
	{"gpu_enabled", {"no", "yes", "yes", "no"}},
	{"primary_backend", {"cpu", "cuda", "cuda", "cpu"}},
	{"fallback_backend", {"none", "cpu", "none", "none"}},
	{"max_kernel_instances", {"100", "1000", "10000", "10"}},
	{"max_queue_depth", {"1000", "10000", "100000", "100"}},
	{"drain_timeout", {"5s", "30s", "10s", "100ms"}},
	{"health_check_interval", {"30s", "10s", "5s", "1s"}},
	{"health_check_timeout", {"5s", "5s", "2s", "1s"}},
	{"health_stall_timeout", {"5m", "5m", "5m", "5m"}},
	{"health_failure_threshold", {"3", "3", "3", "3"}},
	{"health_success_threshold", {"1", "1", "1", "1"}},
	{"ring_idle", {"1s", "1s", "10s", "100ms"}},
	{"hot_reload_enabled", {"yes", "no", "no", "no"}},
	{"structured_logging", {"no", "yes", "yes", "no"}},
	{"log_level", {"debug", "info", "warn", "trace"}},
	{"metrics_interval", {"1m", "15s", "5s", "1s"}},
	{"metrics_textfile", {"", "", "", ""}},
	{"workers", {"1", "1", "1", "1"}},
	{"worker_threads", {"0", "0", "0", "1"}},
	{"worker_user", {"", "", "", ""}},
	{"worker_seccomp", {"yes", "yes", "yes", "yes"}},
	{"cuda_cache_dir", {"", "", "", ""}},
	{"cuda_device", {"0", "0", "0", "0"}},
	{"cuda_unified_memory", {"no", "no", "no", "no"}},
	{"memory_limit_bytes", {"0", "0", "0", "16M"}},
	{"memory_pooling", {"yes", "yes", "yes", "no"}},
	{"pool_initial_bytes", {"64M", "256M", "1G", "1M"}},
	{"pool_growth_factor", {"2.0", "1.5", "1.25", "2.0"}},
	{"async_memory", {"yes", "yes", "yes", "no"}},
	{"kernel_fusion", {"no", "yes", "yes", "no"}},
	{"max_batch_size", {"1024", "4096", "16384", "64"}},
	{"kernels_dir", {"", "", "", ""}},
	{"max_message_bytes", {"256M", "256M", "256M", "256M"}},
	{"max_json_bytes", {"16M", "16M", "16M", "16M"}},
	{"max_header_bytes", {"1M", "1M", "1M", "1M"}},
	{"max_buffered_bytes", {"1G", "1G", "1G", "1G"}},
	{"max_user_share", {"25", "25", "25", "25"}},
	{"restart_limit", {"5", "5", "5", "5"}},
	{"message_timeout", {"0", "0", "0", "0"}},
	{"cancel_grace", {"5s", "5s", "5s", "5s"}},
	{"kernel_load_timeout", {"10s", "30s", "30s", "5s"}},
	{"log_file", {"", "", "", ""}},
};

#define DEFAULTS (sizeof(defaults) / sizeof(defaults[0]))

TEST(presets)
{
	struct rk_config config;
	char option[64];
	size_t count;

	rk_config_fields(&count);
	assert_int_equal(count, DEFAULTS);
	for (size_t p = 0; p < RK_PRESET_COUNT; p++) {
		snprintf(option, sizeof(option), "preset=%s", defaults[0].preset[p]);
		load(&config, NULL, NULL, LIST(option));
		for (size_t i = 0; i < DEFAULTS; i++)
			assert_value(&config, defaults[i].key, defaults[i].preset[p]);
	}
	load(&config, NULL, NULL, NULL);
	assert_value(&config, "preset", "production");
	assert_int_equal(config.drain_timeout, 30000);
	assert_int_equal(config.max_json_bytes, 16 << 20);
	assert_true(config.gpu_enabled);
	assert_true(config.pool_growth_factor == 1.5);
}

TEST(table)
{
	static const char hot[] =
		"log_level metrics_interval health_check_interval max_queue_depth";
	struct rk_config config;
	struct rk_error err;
	size_t count, nhot = 0;
	const struct rk_config_field *fields = rk_config_fields(&count);

	load(&config, NULL, NULL, NULL);
	for (size_t i = 0; i < count; i++) {
		const struct rk_config_field *f = &fields[i];

		assert_ptr_equal(rk_config_find(f->key), f);
		assert_true(*f->help && strlen(f->key) < 64);
		assert_int_equal(!!f->choices, f->type == RK_CONFIG_CHOICE);
		/* A bound that could not be read would let everything or nothing through. */
		assert_int_equal(!!f->min, !!f->max);
		assert_true(!f->min || !rk_config_set(&config, f, f->min, &err));
		assert_true(!f->max || !rk_config_set(&config, f, f->max, &err));
		if (f->hot) {
			nhot++;
			assert_non_null(strstr(hot, f->key));
		}
	}
	assert_int_equal(nhot, 4);
	assert_null(rk_config_find("worker_thread"));
	assert_string_equal(rk_config_find("health_check_interval")->section, "health");
	assert_string_equal(rk_config_find("cuda_device")->section, "backend");
	assert_string_equal(rk_config_find("gpu_enabled")->section, "runtime");
}

TEST(precedence)
{
	static const char ini[] = "[runtime]\npreset = testing\nworker_threads = 2\n"
				  "max_queue_depth = 2 ; two\nlog_level = warn\n";
	struct rk_config config;

	load(&config, ini, LIST("PATH=/bin", "RKFS_MAX_QUEUE_DEPTH=3", "RKFS_LOG_LEVEL=error"),
	     LIST("log_level=debug", "log_level=info"));
	assert_value(&config, "max_kernel_instances", "10");
	assert_value(&config, "worker_threads", "2");
	assert_value(&config, "max_queue_depth", "3");
	assert_value(&config, "log_level", "info");

	/* The preset has the same precedence, and never overrides what is set. */
	load(&config, ini, LIST("RKFS_PRESET=development", "RKFS_MOUNT=/mnt/x"), NULL);
	assert_value(&config, "max_kernel_instances", "100");
	assert_value(&config, "worker_threads", "2");
	assert_value(&config, "preset", "development");
	load(&config, ini, LIST("RKFS_PRESET=development"), LIST("preset=high_performance"));
	assert_value(&config, "max_kernel_instances", "10000");
}

/* What Kubernetes puts into every container of a namespace with Services called rkfs and rkfs-NAME,
 * with and without named ports, and what images are labelled with. */
TEST(variables_of_others)
{
	struct rk_config config;

	load(&config, NULL,
	     LIST("RKFS_SERVICE_HOST=10.96.0.12", "RKFS_SERVICE_PORT=9400",
		  "RKFS_SERVICE_PORT_METRICS=9400", "RKFS_PORT=tcp://10.96.0.12:9400",
		  "RKFS_PORT_9400_TCP=tcp://10.96.0.12:9400", "RKFS_PORT_9400_TCP_PROTO=tcp",
		  "RKFS_PORT_9400_TCP_PORT=9400", "RKFS_PORT_9400_TCP_ADDR=10.96.0.12",
		  "RKFS_LOG_LEVEL=error"),
	     NULL);
	assert_value(&config, "log_level", "error");
	load(&config, NULL,
	     LIST("RKFS_GPU_A_SERVICE_HOST=fd00::1", "RKFS_GPU_A_SERVICE_PORT=53",
		  "RKFS_GPU_A_SERVICE_PORT_DNS_UDP=53", "RKFS_GPU_A_PORT=udp://[fd00::1]:53",
		  "RKFS_GPU_A_PORT_53_UDP=udp://[fd00::1]:53", "RKFS_GPU_A_PORT_53_UDP_PROTO=udp",
		  "RKFS_GPU_A_PORT_53_UDP_PORT=53", "RKFS_GPU_A_PORT_53_UDP_ADDR=fd00::1",
		  "RKFS_VERSION=0.1.0"),
	     NULL);
	/* as long as the names of a Service and of its port can be */
	load(&config, NULL,
	     LIST("RKFS_A23456789_B23456789_C23456789_D23456789_E23456789_F234567_SERVICE_PORT_"
		  "A23456789_12345=1"),
	     NULL);
}

TEST(bad_sources)
{
	assert_refused("[runtime]\n\nwhat = 1\n", NULL, NULL, "FILE:3: what: ", "no such key");
	assert_refused("worker_threads = 1\n", NULL, NULL, "FILE:1: worker_threads: ", "[runtime]");
	assert_refused("[backend]\nworker_threads = 1\n", NULL, NULL,
		       "FILE:2: worker_threads: ", "[runtime]");
	assert_refused("[what]\nmax_batch_size = 1\n", NULL, NULL,
		       "FILE:1: [what]: there is no such section; there are ", "[backend]");
	assert_refused("[runtime]\n[helth]\n", NULL, NULL,
		       "FILE:2: [helth]: ", "(did you mean health?)");
	assert_refused("[runtime]\nlog_level = info\nlog_level = warn\n", NULL, NULL,
		       "FILE:3: log_level: ", "second time");
	assert_refused("[runtime]\nlog_level = loud\n", NULL, NULL, "FILE:2: log_level: \"loud\"",
		       "error, warn, info, debug, trace");
	assert_refused("[runtime]\nlog_level = info\n more\n", NULL, NULL, "FILE:3: ", "indented");
	assert_refused("[runtime]\nlog_level =\n", NULL, NULL, "FILE:2: log_level: \"\"", "one of");
	assert_refused("[runtime]\nlog_file = /\xC3\xA4\n", NULL, NULL,
		       "FILE:2: log_file: ", "character 2 ");
	/* Even though the option overrides it. */
	assert_refused("[runtime]\nlog_level = loud\n", NULL, LIST("log_level=info"),
		       "FILE:2: ", "");

	assert_refused("[backend]\ncuda_device = every\n", NULL, NULL,
		       "FILE:2: cuda_device: \"every\"",
		       "it must be an index from 0 to 1023, or a UUID as nvidia-smi -L prints it: "
		       "GPU- or MIG- and 8-4-4-4-12 hexadecimal digits");
	assert_refused("[runtime]\nworkers = 17\n[backend]\ncuda_device = 0,1\n", NULL, NULL,
		       "workers: 17", "for each of 2 devices of cuda_device are more than 32");

	assert_refused(NULL, LIST("RKFS_WHAT=1"), NULL, "RKFS_WHAT: ", "no configuration key");
	assert_refused(NULL, LIST("RKFS_DRAIN_TIMOUT=1"), NULL,
		       "RKFS_DRAIN_TIMOUT: ", "(did you mean RKFS_DRAIN_TIMEOUT?)");
	assert_refused(NULL, NULL, LIST("fallback_bakcend=cpu"),
		       "option fallback_bakcend: ", "(did you mean fallback_backend?)");
	assert_refused(NULL, LIST("RKFS_MOUNTS=1"), NULL, "RKFS_MOUNTS: ", "");
	assert_refused(NULL, LIST("RKFS_log_level=info"), NULL, "RKFS_log_level: ", "");
	assert_refused(NULL, LIST("RKFS_LOG_LEVE=info"), NULL, "RKFS_LOG_LEVE: ", "");
	assert_refused(NULL, LIST("RKFS_=info"), NULL, "RKFS_: ", "");
	/* not quite what Kubernetes or an image sets; a value is no name */
	assert_refused(NULL, LIST("RKFS_VERSIONS=1"), NULL, "RKFS_VERSIONS: ", "");
	assert_refused(NULL, LIST("RKFS_SERVICES_HOST=1"), NULL, "RKFS_SERVICES_HOST: ", "");
	assert_refused(NULL, LIST("RKFS_PORTS=1"), NULL, "RKFS_PORTS: ", "");
	assert_refused(NULL, LIST("RKFS_PORT_TCP=1"), NULL, "RKFS_PORT_TCP: ", "");
	assert_refused(NULL, LIST("RKFS_DRAIN_TIMOUT=_SERVICE_HOST"), NULL,
		       "RKFS_DRAIN_TIMOUT: ", "");
	assert_refused(NULL, LIST("RKFS_WORKER_THREADS="), NULL, "RKFS_WORKER_THREADS: \"\"",
		       "0 to 256");

	assert_refused(NULL, NULL, LIST("what=1"), "option what: ", "no such key");
	assert_refused(NULL, NULL, LIST("=1"), "option : ", "no such key");
	assert_refused(NULL, NULL, LIST("gpu_enabled"),
		       "option gpu_enabled: ", "gpu_enabled=VALUE");
	assert_refused(NULL, NULL, LIST("drain_timeout=5d"), "option drain_timeout: \"5d\"",
		       "from 0 to 24h");
	assert_refused(NULL, NULL, LIST("log_level=info\n"), "option log_level: character 5 ", "");
}

TEST(bad_combinations)
{
	struct rk_config config;

	assert_refused(NULL, NULL, LIST("primary_backend=cpu", "fallback_backend=cpu"),
		       "primary_backend and fallback_backend are both cpu", "none");
	assert_refused(NULL, NULL, LIST("fallback_backend=none", "gpu_enabled=no"), "gpu_enabled",
		       "primary_backend");
	assert_refused(NULL, NULL, LIST("max_message_bytes=2G"), "max_message_bytes (2G)",
		       "max_buffered_bytes (1G)");
	assert_refused(NULL, NULL, LIST("max_message_bytes=8M", "max_buffered_bytes=8M"),
		       "max_json_bytes (16M)", "max_buffered_bytes (8M)");
	assert_refused(NULL, NULL, LIST("log_file=x.log"), "log_file: \"x.log\"", "absolute");
	assert_refused(NULL, NULL, LIST("metrics_textfile=x.prom"), "metrics_textfile: \"x.prom\"",
		       "absolute");
	assert_refused(NULL, NULL, LIST("kernels_dir=/a:b"), "kernels_dir: \"b\"", "absolute");
	assert_refused(NULL, NULL, LIST("kernels_dir=/a:"), "kernels_dir: \"\"", "absolute");

	/* A default fallback gives way; equal bounds are fine. */
	load(&config, NULL, NULL, LIST("primary_backend=cpu"));
	assert_value(&config, "fallback_backend", "none");
	load(&config, NULL, NULL, LIST("gpu_enabled=no"));
	assert_value(&config, "fallback_backend", "cpu");
	load(&config, NULL, NULL,
	     LIST("max_message_bytes=1G", "kernels_dir=/a:/b", "log_file=/var/log/a:b"));
	assert_value(&config, "kernels_dir", "/a:/b");
}

TEST(values)
{
	/* printed NULL: refused */
	static const struct {
		const char *key, *text, *printed;
	} rows[] = {
		{"gpu_enabled", "on", "yes"},
		{"gpu_enabled", "true", "yes"},
		{"gpu_enabled", "1", "yes"},
		{"gpu_enabled", "off", "no"},
		{"gpu_enabled", "false", "no"},
		{"gpu_enabled", "0", "no"},
		{"gpu_enabled", "Yes", NULL},
		{"gpu_enabled", "2", NULL},
		{"gpu_enabled", "", NULL},
		{"worker_threads", "256", "256"},
		{"worker_threads", "007", "7"},
		{"worker_threads", "257", NULL},
		{"worker_threads", "-1", NULL},
		{"worker_threads", "+1", NULL},
		{"worker_threads", " 1", NULL},
		{"worker_threads", "1 ", NULL},
		{"worker_threads", "1K", NULL},
		{"worker_threads", "0x10", NULL},
		{"worker_threads", "18446744073709551617", NULL}, /* 2^64 + 1 */
		{"worker_threads", "18446744073709551620", NULL}, /* wraps to 4 in its last step */
		{"max_kernel_instances", "0", NULL},
		{"memory_limit_bytes", "0", "0"},
		{"memory_limit_bytes", "1023", "1023"},
		{"memory_limit_bytes", "1024", "1K"},
		{"memory_limit_bytes", "1536K", "1536K"},
		{"memory_limit_bytes", "2048M", "2G"},
		{"memory_limit_bytes", "64T", "64T"},
		{"memory_limit_bytes", "65T", NULL},
		{"memory_limit_bytes", "16777216T", NULL}, /* 2^64 */
		{"memory_limit_bytes", "1k", NULL},
		{"memory_limit_bytes", "1KB", NULL},
		{"memory_limit_bytes", "K", NULL},
		{"memory_limit_bytes", "1.5G", NULL},
		{"drain_timeout", "0", "0"},
		{"drain_timeout", "0ms", "0"},
		{"drain_timeout", "1500ms", "1500ms"},
		{"drain_timeout", "60000ms", "1m"},
		{"drain_timeout", "86400s", "24h"},
		{"drain_timeout", "86401s", NULL},
		{"drain_timeout", "90", "90s"},
		{"drain_timeout", "86401", NULL},
		{"drain_timeout", "1d", NULL},
		{"drain_timeout", "1 s", NULL},
		{"metrics_interval", "99ms", NULL},
		{"metrics_interval", "0", NULL},
		{"pool_growth_factor", "1", "1.0"},
		{"pool_growth_factor", "10", "10.0"},
		{"pool_growth_factor", "1.10", "1.1"},
		{"pool_growth_factor", "16.0", "16.0"},
		{"pool_growth_factor", "16.5", NULL},
		{"pool_growth_factor", "0.99", NULL},
		{"pool_growth_factor", "1e1", NULL},
		{"pool_growth_factor", "nan", NULL},
		{"pool_growth_factor", "1.", NULL},
		{"pool_growth_factor", ".5", NULL},
		{"pool_growth_factor", "-1.5", NULL},
		{"pool_growth_factor", "1.5.5", NULL},
		{"log_level", "trace", "trace"},
		{"log_level", "trac", NULL},
		{"log_level", "error, warn", NULL},
		{"log_level", "ERROR", NULL},
		{"cuda_device", "0", "0"},
		{"cuda_device", "1023", "1023"},
		{"cuda_device", "007", "7"},
		{"cuda_device", "GPU-01234567-89ab-cdef-0123-456789abcdef",
		 "GPU-01234567-89ab-cdef-0123-456789abcdef"},
		{"cuda_device", "GPU-01234567-89AB-CDEF-0123-456789ABCDEF",
		 "GPU-01234567-89ab-cdef-0123-456789abcdef"},
		{"cuda_device", "0,1, 2 ,03", "0,1,2,3"},
		{"cuda_device", "7:5", "7,5"},
		{"cuda_device", "GPU-01234567-89AB-CDEF-0123-456789ABCDEF,0",
		 "GPU-01234567-89ab-cdef-0123-456789abcdef,0"},
		{"cuda_device", "all", "all"},
		{"cuda_device", "all,0", NULL},
		{"cuda_device", "0,all", NULL},
		{"cuda_device", "1,0,01", NULL},
		{"cuda_device", "1,", NULL},
		{"cuda_device", ",1", NULL},
		{"cuda_device", "1 2", NULL},
		{"cuda_device", "", NULL},
		{"cuda_device", "1024", NULL},
		{"cuda_device", "-1", NULL},
		{"cuda_device", "1K", NULL},
		{"cuda_device", "18446744073709551616", NULL},
		{"cuda_device", "cuda:0", NULL},
		{"cuda_device", "MIG-01234567-89AB-CDEF-0123-456789ABCDEF",
		 "MIG-01234567-89ab-cdef-0123-456789abcdef"},
		{"cuda_device", "MIG-01234567-89ab-cdef-0123-456789abcde", NULL},
		{"cuda_device", "GPU-", NULL},
		{"cuda_device", "gpu-01234567-89ab-cdef-0123-456789abcdef", NULL},
		{"cuda_device", "01234567-89ab-cdef-0123-456789abcdef", NULL},
		{"cuda_device", "GPU-01234567-89ab-cdef-0123-456789abcde", NULL},
		{"cuda_device", "GPU-01234567-89ab-cdef-0123-456789abcdef0", NULL},
		{"cuda_device", "GPU-0123456789ab-cdef-0123-456789abcdef01", NULL},
		{"cuda_device", "GPU-01234567-89ab-cdef-0123-456789abcdeg", NULL},
		{"ring_idle", "0", "0"},
		{"health_check_timeout", "9ms", NULL},
		{"health_stall_timeout", "99ms", NULL},
		{"kernel_load_timeout", "0", NULL},
		{"health_failure_threshold", "0", NULL},
		{"kernels_dir", "", ""},
		{"kernels_dir", "/a b", "/a b"},
		{"kernels_dir", "/a\tb", NULL},
		{"kernels_dir", "/\x7f", NULL},
	};
	struct rk_config config, before;
	struct rk_error err;

	load(&config, NULL, NULL, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct rk_config_field *field = rk_config_find(rows[i].key);
		int rc;

		before = config;
		err = (struct rk_error){0};
		rc = rk_config_set(&config, field, rows[i].text, &err);
		if (!!rc != !rows[i].printed)
			fail_msg("%s = \"%s\": %d %s", rows[i].key, rows[i].text, rc, err.msg);
		if (rc) {
			assert_int_equal(rc, -EINVAL);
			assert_memory_equal(err.msg, rows[i].key, strlen(rows[i].key));
			assert_memory_equal(&config, &before, sizeof(config));
		} else {
			assert_value(&config, rows[i].key, rows[i].printed);
		}
	}
}

TEST(text_limit)
{
	const struct rk_config_field *field = rk_config_find("kernels_dir");
	char text[RK_CONFIG_TEXT_MAX + 1], small[4];
	struct rk_config config;
	struct rk_error err;

	load(&config, NULL, NULL, NULL);
	memset(text, '/', sizeof(text));
	text[RK_CONFIG_TEXT_MAX] = '\0';
	assert_int_equal(rk_config_set(&config, field, text, &err), -EINVAL);
	text[RK_CONFIG_TEXT_MAX - 1] = '\0';
	assert_int_equal(rk_config_set(&config, field, text, &err), 0);
	assert_value(&config, "kernels_dir", text);
	assert_int_equal(rk_config_print(&config, field, small, sizeof(small)),
			 RK_CONFIG_TEXT_MAX - 1);
	assert_string_equal(small, "///");
}

TEST(equal_and_copy)
{
	size_t count;
	const struct rk_config_field *fields = rk_config_fields(&count);
	struct rk_config a, b;

	load(&a, NULL, NULL, LIST("preset=production"));
	load(&b, NULL, NULL,
	     LIST("preset=testing", "log_file=/x", "kernels_dir=/y", "cuda_device=1",
		  "cuda_unified_memory=yes", "workers=2", "worker_user=x", "worker_seccomp=no",
		  "cuda_cache_dir=/c", "max_message_bytes=1M", "max_json_bytes=1M",
		  "max_header_bytes=2M", "max_buffered_bytes=1M", "max_user_share=1",
		  "restart_limit=1", "message_timeout=1s", "cancel_grace=1s",
		  "kernel_load_timeout=1s", "health_failure_threshold=4",
		  "health_success_threshold=2", "health_stall_timeout=1s", "metrics_textfile=/z"));
	for (size_t i = 0; i < count; i++) {
		char text[RK_CONFIG_VALUE_MAX];

		if (!strcmp(fields[i].key, "hot_reload_enabled"))
			continue; /* no in both */
		assert_false(rk_config_equal(&a, &b, &fields[i]));
		rk_config_copy(&b, &a, &fields[i]);
		assert_true(rk_config_equal(&a, &b, &fields[i]));
		rk_config_print(&a, &fields[i], text, sizeof(text));
		assert_value(&b, fields[i].key, text);
	}
}

/* etc/rkfs.conf names every field, in order, with its production default and its help. */
TEST(shipped_file)
{
	struct rk_config shipped, want;
	struct rk_config_sources sources = {.file = ini_path};
	struct rk_error err = {0};
	char path[512], line[256], key[64], help[64];
	const struct rk_config_field *fields;
	size_t count, next = 0;
	FILE *in, *out;
	bool helped = false;

	fields = rk_config_fields(&count);
	snprintf(path, sizeof(path), "%s/etc/rkfs.conf", RK_SOURCE_DIR);
	load(&want, NULL, NULL, LIST("hot_reload_enabled=yes"));
	sources.file = path;
	if (rk_config_load(&shipped, &sources, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < count; i++)
		assert_true(rk_config_equal(&shipped, &want, &fields[i]));

	in = fopen(path, "r");
	out = fopen(ini_path, "w");
	assert_true(in && out);
	while (fgets(line, sizeof(line), in)) {
		const char *text =
			line[0] == '#' && line[1] != ' ' && line[1] != '\n' ? line + 1 : line;

		if (next < count) {
			snprintf(help, sizeof(help), "# %.40s", fields[next].help);
			helped |= !strncmp(line, help, strlen(help));
		}
		if (sscanf(text, "%63[a-z_] =", key) == 1) {
			assert_true(next < count);
			assert_string_equal(key, fields[next].key);
			assert_true(helped);
			helped = false;
			next++;
		}
		assert_true(fputs(text, out) >= 0);
	}
	assert_int_equal(next, count);
	assert_int_equal(fclose(in), 0);
	assert_int_equal(fclose(out), 0);
	sources.file = ini_path;
	if (rk_config_load(&shipped, &sources, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < count; i++)
		assert_true(rk_config_equal(&shipped, &want, &fields[i]));
}

/* What the machine has bounds defaults, not what somebody sets. */
TEST(machine_bounds_defaults)
{
	struct rk_config_sources sources = {.payload_bytes = 96 << 20};
	struct rk_config config;
	struct rk_error err = {0};

	assert_int_equal(rk_config_load(&config, &sources, &err), 0);
	assert_value(&config, "max_buffered_bytes", "96M");
	assert_value(&config, "max_message_bytes", "96M");
	assert_value(&config, "max_json_bytes", "3M");
	sources.options = LIST("max_buffered_bytes=1G", "max_json_bytes=16M");
	assert_int_equal(rk_config_load(&config, &sources, &err), 0);
	assert_value(&config, "max_buffered_bytes", "1G");
	assert_value(&config, "max_message_bytes", "96M");
	assert_value(&config, "max_json_bytes", "16M");
	sources = (struct rk_config_sources){.payload_bytes = 1ULL << 40};
	assert_int_equal(rk_config_load(&config, &sources, &err), 0);
	assert_value(&config, "max_buffered_bytes", "1G");
	assert_value(&config, "max_json_bytes", "16M");
}

TEST(missing_file)
{
	struct rk_config_sources sources = {.file = "/nonexistent/rkfs.conf"};
	struct rk_config config;
	struct rk_error err = {0};

	assert_int_equal(rk_config_load(&config, &sources, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/rkfs.conf"));
	sources.file = "/";
	assert_int_equal(rk_config_load(&config, &sources, NULL), -EISDIR);
}

int main(void)
{
	return unit_run(make_ini, remove_ini);
}
