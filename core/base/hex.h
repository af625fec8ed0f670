#ifndef SEQMSE_HEX_H
#define SEQMSE_HEX_H

/* Bytes as hexadecimal digits, two a byte, the high one first. */

#include <stddef.h>

/* n bytes as 2n lower-case digits and a NUL. */
void hex_encode(const void *data, size_t n, char *out);
/* 2n digits of either case into n bytes; -1 where a character is none. */
int hex_decode(const char *text, size_t n, void *out);

#endif
