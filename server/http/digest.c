#include "server/http/digest.h"

#include <stdbool.h>
#include <string.h>

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
	if (!at || (at[0] == ':' && strlen(at) >= 46 && at[45] == ':' && base64_to_hex(at + 1, hex)))
		return 0;
	return err_set(e, ERR_BAD_PARAM, "the announced digest is not sha-256=:44 characters of base64:");
}
