#include "shared.h"

#include <stdio.h>
#include <stdlib.h>

const char *shared_path(const char *relative, char *out, unsigned long size)
{
	const char *root = getenv("SEQMSED_SHARED");
	(void)snprintf(out, size, "%s/%s", root && *root ? root : "../shared", relative);
	return out;
}

int whole_file(const char *path, struct buf *out)
{
	char chunk[4096];
	size_t n;
	FILE *f = fopen(path, "rb");
	if (!f)
		return -1;
	while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
		buf_add(out, chunk, n);
	(void)fclose(f);
	return buf_failed(out) ? -1 : 0;
}

int shared_read(const char *relative, struct buf *out)
{
	char path[4096];
	return whole_file(shared_path(relative, path, sizeof path), out);
}
