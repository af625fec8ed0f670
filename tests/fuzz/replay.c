/* Stands in for the fuzzer: runs LLVMFuzzerTestOneInput over the files named, or over all files of the folders named, so that
 * the corpora that fuzzing found are part of the ordinary tests. Prints how many inputs were run. */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(1);
}

static void run_file(const char *path)
{
	struct stat st;
	FILE *f = fopen(path, "rb");
	if (!f || fstat(fileno(f), &st) != 0)
		fail(path);
	size_t size = (size_t)st.st_size;
	/* Exactly as large as the input, so that the address sanitizer sees a read past its end. */
	uint8_t *data = malloc(size ? size : 1);
	if (!data || fread(data, 1, size, f) != size)
		fail(path);
	fclose(f);
	fprintf(stderr, "%s\n", path); /* the last one named is the one that crashed */
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static int run_folder(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort), run = 0;
	if (n < 0)
		fail(path);
	for (int i = 0; i < n; i++) {
		char file[4096];
		(void)snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.') {
			run_file(file);
			run++;
		}
		free(names[i]);
	}
	free(names);
	return run;
}

int main(int argc, char **argv)
{
	int run = 0;
	for (int i = 1; i < argc; i++) {
		struct stat st;
		if (stat(argv[i], &st) != 0)
			fail(argv[i]);
		if (S_ISDIR(st.st_mode)) {
			run += run_folder(argv[i]);
		} else {
			run_file(argv[i]);
			run++;
		}
	}
	printf("%d\n", run);
	return 0;
}
