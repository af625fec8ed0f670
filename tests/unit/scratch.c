#include "scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static char folder[64];
static int files;

const char *scratch_new(void)
{
	(void)snprintf(folder, sizeof folder, "/tmp/seqmsed-test-XXXXXX");
	if (!mkdtemp(folder)) {
		perror(folder);
		exit(1);
	}
	return folder;
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
