#include "server/store/tar.h"

#include "core/base/io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 512, OCTAL_MOST = 11 }; /* digits of a size */

/* The header of the old UNIX format with POSIX's additions. */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2], rest[247];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is a block");

/* Eleven octal digits, or, beyond 8 GiB, GNU's binary form: big-endian with the first bit set. */
static void put_size(char out[12], int64_t size)
{
	if (size < (int64_t)1 << (3 * OCTAL_MOST)) {
		(void)snprintf(out, 12, "%011llo", (unsigned long long)size);
		return;
	}
	memset(out, 0, 12);
	out[0] = (char)0x80;
	for (int i = 11; i > 3; i--, size >>= 8)
		out[i] = (char)(size & 0xff);
}

/* The sum of all bytes, its own field counted as spaces. */
static void put_checksum(struct header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	unsigned sum = 0;
	memset(h->checksum, ' ', sizeof h->checksum);
	for (size_t i = 0; i < sizeof *h; i++)
		sum += p[i];
	(void)snprintf(h->checksum, sizeof h->checksum, "%06o", sum);
}

int tar_file(int out, const char *name, int64_t size, struct err *e)
{
	struct header h;
	memset(&h, 0, sizeof h);
	if (strlen(name) >= sizeof h.name)
		return err_set(e, ERR_INTERNAL, "%s is too long a name for an archive", name);
	memcpy(h.name, name, strlen(name));
	memcpy(h.mode, "0000600", 8);
	memcpy(h.uid, "0000000", 8);
	memcpy(h.gid, "0000000", 8);
	memcpy(h.mtime, "00000000000", 12);
	memcpy(h.magic, "ustar", 6);
	memcpy(h.version, "00", 2);
	h.type = '0';
	put_size(h.size, size);
	put_checksum(&h);
	return io_write(out, &h, sizeof h) < 0 ? err_errno(e, errno, "writing the archive") : 0;
}

int tar_pad(int out, int64_t size, struct err *e)
{
	static const char zeros[BLOCK];
	size_t over = (size_t)(size % BLOCK);
	return over && io_write(out, zeros, BLOCK - over) < 0 ? err_errno(e, errno, "writing the archive") : 0;
}

int tar_end(int out, struct err *e)
{
	static const char zeros[2 * BLOCK];
	return io_write(out, zeros, sizeof zeros) < 0 ? err_errno(e, errno, "writing the archive") : 0;
}
