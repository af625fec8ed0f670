#include "server/http/key.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
enum { BASE = 62, SECRET = 43, SUM = 6, SECRET_BYTES = 32, ID_BYTES = 6 };

/* The number that the bytes are (big-endian), in n digits; the bytes are used up. */
static void write_number(unsigned char *bytes, size_t len, char *out, size_t n)
{
	for (size_t i = n; i-- > 0;) {
		unsigned rest = 0;
		for (size_t k = 0; k < len; k++) {
			unsigned v = rest << 8 | bytes[k];
			bytes[k] = (unsigned char)(v / BASE);
			rest = v % BASE;
		}
		out[i] = digits[rest];
	}
}

/* CRC-32 as zip and Ethernet have it. */
static uint32_t crc32_of(const char *text, size_t len)
{
	uint32_t crc = 0xffffffff;
	for (size_t i = 0; i < len; i++) {
		crc ^= (unsigned char)text[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

static void write_sum(const char *text, size_t len, char out[SUM])
{
	uint32_t crc = crc32_of(text, len);
	unsigned char bytes[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
	                          (unsigned char)crc};
	write_number(bytes, sizeof bytes, out, SUM);
}

int key_renew(const char id[KEY_ID + 1], char text[KEY_TEXT + 1], struct err *e)
{
	unsigned char secret[SECRET_BYTES];
	if (getrandom(secret, sizeof secret, 0) != sizeof secret)
		return err_errno(e, errno, "getrandom");
	int at = snprintf(text, KEY_TEXT + 1, "sqm_%s_", id);
	write_number(secret, sizeof secret, text + at, SECRET);
	at += SECRET;
	text[at++] = '_';
	write_sum(text, (size_t)at - 1, text + at);
	text[KEY_TEXT] = '\0';
	return 0;
}

int key_new(char text[KEY_TEXT + 1], struct err *e)
{
	unsigned char name[ID_BYTES];
	char id[KEY_ID + 1];
	if (getrandom(name, sizeof name, 0) != sizeof name)
		return err_errno(e, errno, "getrandom");
	write_number(name, sizeof name, id, KEY_ID);
	id[KEY_ID] = '\0';
	return key_renew(id, text, e);
}

bool key_is_id(const char *text)
{
	return strlen(text) == KEY_ID && strspn(text, digits) == KEY_ID;
}

bool key_parse(const char *text, char id[KEY_ID + 1])
{
	char sum[SUM];
	if (strlen(text) != KEY_TEXT || memcmp(text, "sqm_", 4) != 0 || text[4 + KEY_ID] != '_' || text[KEY_TEXT - SUM - 1] != '_')
		return false;
	memcpy(id, text + 4, KEY_ID);
	id[KEY_ID] = '\0';
	write_sum(text, KEY_TEXT - SUM - 1, sum);
	return key_is_id(id) && memcmp(sum, text + KEY_TEXT - SUM, SUM) == 0;
}
