/* SPDX-License-Identifier: MIT */
/* Any text as a configuration; one that is taken reads back from what it prints. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/config/config.h"
#include "tests/fuzz/fuzz.h"

static void read_back(const struct rk_config *config)
{
	const struct rk_config_field *fields;
	char text[RK_CONFIG_VALUE_MAX];
	struct rk_config again;
	size_t count;

	fields = rk_config_fields(&count);
	for (size_t i = 0; i < count; i++) {
		size_t len = rk_config_print(config, &fields[i], text, sizeof(text));

		FUZZ_CHECK(len == strlen(text));
		again = *config;
		if (rk_config_set(&again, &fields[i], text, NULL) == 0)
			FUZZ_CHECK(rk_config_equal(config, &again, &fields[i]));
		else
			FUZZ_CHECK(text[0] == '\0');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rk_config_sources sources = {0};
	struct rk_error err = {0};
	struct rk_config config;
	char path[32];
	int fd, rc;

	fd = memfd_create("config", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	sources.file = path;
	rc = rk_config_load(&config, &sources, &err);
	close(fd);
	FUZZ_CHECK((rc == 0) == (err.code == 0) && rc == -err.code);
	if (rc == 0)
		read_back(&config);
	return 0;
}
