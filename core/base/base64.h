#ifndef SEQMSE_BASE64_H
#define SEQMSE_BASE64_H

/* Base64 as RFC 4648 has it in section 4: 3 bytes are 4 characters of A-Z a-z 0-9 + /, and "=" fills up the last four. */

#include <stddef.h>
#include <stdint.h>

#define BASE64_TEXT(bytes) (((bytes) + 2) / 3 * 4) /* characters, without the NUL */
#define BASE64_BYTES(text) ((text) / 4 * 3 + 2)    /* the most that so many characters can hold */

/* len bytes, padded, as BASE64_TEXT(len) characters and a NUL. */
void base64_encode(const void *data, size_t len, char *out);

/* len characters into the bytes that they hold, BASE64_BYTES(len) at most. Gives back how many, or -1 where a character is of another
 * alphabet, white space among them, or "=" is not at the end. Where clients differ it is lenient: padding may lack or be too
 * long, and bits at the end that make no byte may be anything. */
int64_t base64_decode(const char *text, size_t len, void *out);

#endif
