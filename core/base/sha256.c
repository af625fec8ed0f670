#include "core/base/sha256.h"

#include "core/base/base64.h"
#include "core/base/hex.h"

#include <openssl/evp.h>

/* The library's context is the whole state, so it is ours by another name. */
static EVP_MD_CTX *ctx_of(struct sha256 *s)
{
	return (EVP_MD_CTX *)(void *)s;
}

static struct sha256 *begin(const EVP_MD *kind, struct err *e)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	if (c && EVP_DigestInit_ex(c, kind, NULL) == 1)
		return (struct sha256 *)(void *)c;
	EVP_MD_CTX_free(c);
	err_nomem(e, "a digest");
	return NULL;
}

struct sha256 *sha256_new(struct err *e)
{
	return begin(EVP_sha256(), e);
}

struct sha256 *sha256_new_sha1(struct err *e)
{
	return begin(EVP_sha1(), e);
}

int sha256_add(struct sha256 *s, const void *data, size_t len, struct err *e)
{
	if (EVP_DigestUpdate(ctx_of(s), data, len) != 1)
		return err_set(e, ERR_INTERNAL, "libcrypto refused to hash %zu bytes", len);
	return 0;
}

int sha256_end(struct sha256 *s, char hex[SHA256_HEX + 1], struct err *e)
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	if (EVP_DigestFinal_ex(ctx_of(s), raw, &n) != 1 || n * 2 > SHA256_HEX)
		return err_set(e, ERR_INTERNAL, "libcrypto refused to end a digest");
	hex_encode(raw, n, hex);
	return 0;
}

void sha256_free(struct sha256 *s)
{
	EVP_MD_CTX_free(ctx_of(s));
}

int sha256_of(const void *data, size_t len, char hex[SHA256_HEX + 1], struct err *e)
{
	struct sha256 *s = sha256_new(e);
	int rc = s && sha256_add(s, data, len, e) == 0 && sha256_end(s, hex, e) == 0 ? 0 : -1;
	sha256_free(s);
	return rc;
}

void sha256_base64(const char hex[SHA256_HEX + 1], char out[SHA256_BASE64 + 1])
{
	unsigned char raw[SHA256_HEX / 2] = {0};
	(void)hex_decode(hex, sizeof raw, raw);
	base64_encode(raw, sizeof raw, out);
}
