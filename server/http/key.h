#ifndef SEQMSED_KEY_H
#define SEQMSED_KEY_H

/* A key's text: "sqm_", 8 characters that name it, "_", 43 that hold 256 random bits, "_", and 6 that hold the CRC-32 of what is
 * before them, so that a scanner for secrets (or we) can tell a key from other text without asking anybody. All in base 62. */

#include "core/base/err.h"

#include <stdbool.h>

enum { KEY_ID = 8, KEY_TEXT = 4 + KEY_ID + 1 + 43 + 1 + 6 };

/* A new key with a new name. */
int key_new(char text[KEY_TEXT + 1], struct err *e);
/* A new key with that name. */
int key_renew(const char id[KEY_ID + 1], char text[KEY_TEXT + 1], struct err *e);
/* Whether the text is a key's, with the right sum; id gets its name. */
bool key_parse(const char *text, char id[KEY_ID + 1]);
bool key_is_id(const char *text);

#endif
