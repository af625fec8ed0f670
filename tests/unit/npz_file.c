#include "npz_file.h"

#include "core/data/arrays.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void put(struct buf *out, uint64_t v, int n)
{
	for (; n > 0; n--, v >>= 8)
		buf_add(out, &(unsigned char){(unsigned char)v}, 1);
}

void npz_file_npy(struct buf *out, const char *dict, const void *data, size_t len)
{
	size_t n = strlen(dict) + 1, padded = (10 + n + 63) / 64 * 64 - 10;
	buf_add(out, "\x93NUMPY\1\0", 8);
	put(out, padded, 2);
	buf_printf(out, "%-*s\n", (int)padded - 1, dict);
	buf_add(out, data, len);
}

uint32_t npz_file_crc(const void *data, size_t len)
{
	uint32_t crc = ~0u;
	for (const unsigned char *p = data; len > 0; len--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static void put_bits(struct buf *out, unsigned *pending, int *have, unsigned v, int n)
{
	*pending |= v << *have;
	for (*have += n; *have >= 8; *have -= 8, *pending >>= 8)
		put(out, *pending & 255, 1);
}

static unsigned reversed(unsigned v, int n)
{
	unsigned r = 0;
	for (; n > 0; n--, v >>= 1)
		r = r << 1 | (v & 1);
	return r;
}

static void deflate_stored(struct buf *out, const unsigned char *p, size_t len)
{
	do {
		size_t n = len < 65535 ? len : 65535;
		put(out, n == len, 1);
		put(out, n, 2);
		put(out, ~n & 0xffff, 2);
		buf_add(out, p, n);
		p += n;
		len -= n;
	} while (len > 0);
}

/* One block of fixed Huffman codes: a zero, and then "258 bytes, from one byte back" as often as it takes. */
static void deflate_zeros(struct buf *out, size_t len)
{
	unsigned pending = 0;
	int have = 0;
	put_bits(out, &pending, &have, 3, 3);                 /* last block, fixed codes */
	put_bits(out, &pending, &have, reversed(0x30, 8), 8); /* literal 0 */
	for (size_t n = len / 258; n > 0; n--) {
		put_bits(out, &pending, &have, reversed(0xc5, 8), 8); /* length 258 */
		put_bits(out, &pending, &have, 0, 5);                 /* distance 1 */
	}
	put_bits(out, &pending, &have, 0, 7); /* end of block */
	put_bits(out, &pending, &have, 0, 7); /* to a whole byte */
}

void npz_file_deflate(struct buf *out, const void *data, size_t len)
{
	if (data)
		deflate_stored(out, data, len);
	else
		deflate_zeros(out, len);
}

static void put_facts(struct buf *out, const struct npz_file_member *m)
{
	put(out, 20, 2); /* version needed */
	put(out, (uint64_t)m->flags, 2);
	put(out, (uint64_t)m->method, 2);
	put(out, 0x00210000, 4); /* 1980-01-01 */
	put(out, m->crc ? m->crc : npz_file_crc(m->bytes, m->len), 4);
	put(out, (uint64_t)((int64_t)m->len + m->packed_lie), 4);
	put(out, m->unpacked ? m->unpacked : m->len, 4);
	put(out, strlen(m->name), 2);
	put(out, 0, 2);
}

void npz_file_zip(struct buf *out, const struct npz_file_member *members, size_t n)
{
	size_t *at = calloc(n + 1, sizeof *at);
	if (!at)
		abort();
	for (size_t i = 0; i < n; i++) {
		at[i] = out->len;
		buf_add(out, "PK\3\4", 4);
		put_facts(out, &members[i]);
		buf_str(out, members[i].name);
		buf_add(out, members[i].bytes, members[i].len);
	}
	size_t directory = out->len;
	for (size_t i = 0; i < n; i++) {
		buf_add(out, "PK\1\2\x14\0", 6);
		put_facts(out, &members[i]);
		put(out, 0, 10); /* no comment, first disk, attributes */
		put(out, at[i] + members[i].offset_lie, 4);
		buf_str(out, members[i].name);
	}
	size_t end = out->len;
	buf_add(out, "PK\5\6\0\0\0\0", 8);
	put(out, n, 2);
	put(out, n, 2);
	put(out, end - directory, 4);
	put(out, directory, 4);
	put(out, 0, 2);
	free(at);
}

int npz_file_fd(struct buf *content)
{
	int fd = memfd_create("array file", MFD_CLOEXEC);
	if (fd < 0 || buf_failed(content) || write(fd, content->data ? content->data : "", content->len) != (ssize_t)content->len)
		abort();
	buf_fini(content);
	return fd;
}

struct arrays *npz_file_open(struct buf *content, struct err *e)
{
	int fd = npz_file_fd(content);
	struct arrays *z = arrays_open_fd(fd, "test.npz", e);
	(void)close(fd);
	return z;
}

struct arrays *npz_file_one(const char *name, const char *dict, const void *data, size_t len, struct err *e)
{
	struct buf npy = BUF_INIT, zip = BUF_INIT;
	npz_file_npy(&npy, dict, data, len);
	npz_file_zip(&zip, &(struct npz_file_member){.name = name, .bytes = npy.data, .len = npy.len}, 1);
	buf_fini(&npy);
	return npz_file_open(&zip, e);
}
