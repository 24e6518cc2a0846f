/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay - a main() for fuzz targets built without libFuzzer: every file named as an argument is
 * given to LLVMFuzzerTestOneInput() once, in memory of exactly its size. So kept crashes and the
 * corpus run as unit tests with any compiler. Build with -DFUZZ_LIBFUZZER for the fuzzer itself.
 * Include it last. */
#ifndef FUZZ_REPLAY_H
#define FUZZ_REPLAY_H

#ifndef FUZZ_LIBFUZZER

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat st;
	uint8_t *data;
	size_t n;

	if (!file || fstat(fileno(file), &st) < 0) {
		perror(path);
		return 1;
	}
	data = malloc((size_t)st.st_size);
	n = data ? fread(data, 1, (size_t)st.st_size, file) : 0;
	fclose(file);
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= replay(argv[i]);
	printf("%d inputs\n", argc - 1);
	return failed;
}

#endif
#endif
