#include "scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static int files;

static const char *make(const char *below)
{
	(void)snprintf(folder, sizeof folder, "%s/seqmsed-test-XXXXXX", below);
	if (!mkdtemp(folder)) {
		perror(folder);
		exit(1);
	}
	return folder;
}

const char *scratch_new(void)
{
	return make("/tmp");
}

const char *scratch_in_memory(void)
{
	return make(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

static int drop(const char *path, const struct stat *s, int type, struct FTW *at)
{
	(void)s;
	(void)type;
	(void)at;
	return remove(path);
}

void scratch_remove(void)
{
	(void)nftw(folder, drop, 16, FTW_DEPTH | FTW_PHYS);
}

static int count(const char *path, const struct stat *s, int type, struct FTW *at)
{
	(void)path;
	(void)s;
	(void)at;
	files += type == FTW_F;
	return 0;
}

int scratch_count(const char *below)
{
	char path[128];
	(void)snprintf(path, sizeof path, "%s/%s", folder, below);
	files = 0;
	(void)nftw(path, count, 16, FTW_PHYS);
	return files;
}
