#include "server/http/digest.h"

#include "core/base/base64.h"
#include "core/base/hex.h"

#include <stdbool.h>
#include <string.h>

/* SHA256_BASE64 characters, the last of which is padding, into hexadecimal digits. */
static bool read_sha256(const char *text, char hex[SHA256_HEX + 1])
{
	unsigned char raw[BASE64_BYTES(SHA256_BASE64)];
	if (text[SHA256_BASE64 - 1] != '=' || base64_decode(text, SHA256_BASE64, raw) != SHA256_HEX / 2)
		return false;
	hex_encode(raw, SHA256_HEX / 2, hex);
	return true;
}

/* Behind the member's "="; not of another algorithm whose name ends alike. NULL: there is none. */
static const char *find_member(const char *text)
{
	static const char name[] = "sha-256=";
	const char *at = text ? strstr(text, name) : NULL;
	while (at && at > text && !strchr(" \t,", at[-1]))
		at = strstr(at + 1, name);
	return at ? at + strlen(name) : NULL;
}

int digest_read(const char *text, char hex[SHA256_HEX + 1], struct err *e)
{
	const char *at = find_member(text);
	hex[0] = '\0';
	if (!at || (at[0] == ':' && strlen(at) >= SHA256_BASE64 + 2 && at[SHA256_BASE64 + 1] == ':' && read_sha256(at + 1, hex)))
		return 0;
	return err_set(e, ERR_BAD_PARAM, "the announced digest is not sha-256=:44 characters of base64:");
}
