#include "server/upload.h"

#include <stdlib.h>
#include <string.h>

struct upload {
	struct part *part;
	int64_t limit, seen;
	char want[SHA256_HEX + 1]; /* "": the client announced nothing */
	struct err why;            /* the first failure */
};

static int base64_value(char c)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(alphabet, c) : NULL;
	return at ? (int)(at - alphabet) : -1;
}

/* 44 characters of base64 (32 bytes) into hexadecimal digits. */
static bool base64_to_hex(const char *text, char hex[SHA256_HEX + 1])
{
	static const char digits[] = "0123456789abcdef";
	unsigned bits = 0, have = 0;
	size_t n = 0;
	for (size_t i = 0; i < 43; i++) {
		int v = base64_value(text[i]);
		if (v < 0)
			return false;
		bits = bits << 6 | (unsigned)v;
		for (have += 6; have >= 4 && n < SHA256_HEX; have -= 4)
			hex[n++] = digits[bits >> (have - 4) & 15];
	}
	hex[n] = '\0';
	return n == SHA256_HEX && text[43] == '=';
}

/* "sha-512=:…:, sha-256=:…:" (RFC 9530). */
static int read_digest(const char *text, char want[SHA256_HEX + 1], struct err *e)
{
	const char *at = text ? strstr(text, "sha-256=") : NULL;
	if (!at)
		return 0;
	at += strlen("sha-256=");
	if (at[0] == ':' && strlen(at) >= 46 && at[45] == ':' && base64_to_hex(at + 1, want))
		return 0;
	return err_set(e, ERR_BAD_PARAM, "the announced digest is not sha-256=:44 characters of base64:");
}

struct upload *upload_new(struct blobs *b, int64_t limit, const char *digest, struct err *e)
{
	struct upload *u = calloc(1, sizeof *u);
	if (!u) {
		err_nomem(e, "an upload");
		return NULL;
	}
	u->limit = limit;
	if (read_digest(digest, u->want, e) == 0 && (u->part = part_new(b, e)))
		return u;
	upload_free(u);
	return NULL;
}

/* Room is made at once: what was written of a body that nobody will keep. */
static void give_up(struct upload *u)
{
	part_free(u->part);
	u->part = NULL;
}

void upload_add(struct upload *u, const void *data, size_t len)
{
	if ((uint64_t)len > (uint64_t)(INT64_MAX - u->seen))
		len = 0;
	u->seen += (int64_t)len;
	if (u->seen > u->limit || (u->part && part_add(u->part, data, len, &u->why) < 0))
		give_up(u);
}

bool upload_too_large(const struct upload *u)
{
	return u->seen > u->limit;
}

int upload_end(struct upload *u, struct err *e)
{
	if (!u->part) {
		*e = u->why;
		return e->code != ERR_NONE ? -1
		                           : err_set(e, ERR_BAD_PARAM, "the body has more than %lld bytes", (long long)u->limit);
	}
	if (part_end(u->part, e) < 0)
		return -1;
	if (u->want[0] && strcmp(u->want, part_sha256(u->part)) != 0)
		return err_set(e, ERR_BAD_PARAM, "the body's SHA-256 is %s, not the announced %s", part_sha256(u->part), u->want);
	return 0;
}

struct part *upload_part(struct upload *u)
{
	return u->part;
}

void upload_free(struct upload *u)
{
	if (!u)
		return;
	part_free(u->part);
	free(u);
}
