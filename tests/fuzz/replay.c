/* SPDX-License-Identifier: MIT */
/* A fuzz target without libFuzzer: run it on every file of its corpus, or on those given. */
#include <dirent.h>
#include <err.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1 << 20)

static void replay(const char *path)
{
	uint8_t *data = malloc(INPUT_MAX);
	FILE *file = fopen(path, "r");
	size_t size;

	if (!file || !data)
		err(1, "%s", path);
	size = fread(data, 1, INPUT_MAX, file);
	if (ferror(file) || !feof(file))
		errx(1, "%s: cannot be read, or is larger than %d bytes", path, INPUT_MAX);
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

/* TAP: a crash leaves the plan unfulfilled. */
static void replay_corpus(const char *name)
{
	char path[1024];
	struct dirent **entries;
	int n, i, done = 0;

	snprintf(path, sizeof(path), RK_SOURCE_DIR "/tests/fuzz/corpus/%s", name);
	n = scandir(path, &entries, NULL, alphasort);
	if (n < 3)
		errx(1, "%s: no corpus", path);
	printf("1..%d\n", n - 2);
	fflush(stdout);
	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), RK_SOURCE_DIR "/tests/fuzz/corpus/%s/%s", name,
			 entries[i]->d_name);
		if (entries[i]->d_name[0] != '.') {
			replay(path);
			printf("ok %d - %s\n", ++done, entries[i]->d_name);
			fflush(stdout);
		}
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	const char *name = strstr(argv[0], "/fuzz_");

	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	if (argc == 1)
		replay_corpus(name ? name + strlen("/fuzz_") : argv[0]);
	return 0;
}
