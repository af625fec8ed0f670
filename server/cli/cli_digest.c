#include "server/cli/cli_digest.h"

#include "core/base/io.h"
#include "core/data/image_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_digest_file(const char *path, char out[SHA256_HEX + 1], struct err *e)
{
	enum { PIECE = 1 << 20 };
	struct sha256 *h = sha256_new(e);
	char *piece = malloc(PIECE);
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = h ? piece ? 0 : err_nomem(e, path) : -1;
	off_t at = 0;
	for (ssize_t n = 1; !rc && n > 0; at += n) {
		n = fd < 0 ? -1 : io_pread(fd, piece, PIECE, at);
		rc = n < 0 ? err_errno(e, errno, "%s", path) : sha256_add(h, piece, (size_t)n, e);
		n = rc ? 0 : n;
	}
	if (!rc)
		rc = sha256_end(h, out, e);
	if (fd >= 0)
		(void)close(fd);
	free(piece);
	sha256_free(h);
	return rc;
}

/* The path, its length first, so that no two sets run together; then the bytes. */
static int add_image(void *ctx, const char *path, const void *bytes, size_t n, struct err *e)
{
	struct sha256 *h = ctx;
	uint64_t lengths[2] = {strlen(path), n};
	return sha256_add(h, lengths, sizeof lengths, e) || sha256_add(h, path, strlen(path), e) || sha256_add(h, bytes, n, e) ? -1
	                                                                                                                       : 0;
}

int cli_digest_images(struct arrays *images, char out[SHA256_HEX + 1], struct err *e)
{
	struct sha256 *h = sha256_new(e);
	int rc = h ? image_set_walk(images, add_image, h, e) : -1;
	if (!rc)
		rc = sha256_end(h, out, e);
	sha256_free(h);
	return rc;
}
