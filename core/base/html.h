#ifndef SEQMSE_HTML_H
#define SEQMSE_HTML_H

/* Texts and numbers as HTML (also inside of SVG in HTML). Names come from models that anyone may have made: whatever is not markup of ours goes
 * through html_text(). */

#include "core/base/buf.h"
#include "core/base/json.h"

#include <stdbool.h>

/* The text, safe between tags and inside quoted attributes. Control characters and noncharacters, which HTML forbids, become U+FFFD. utf8 must be
 * valid UTF-8, as everything is that comes out of json.h; NULL is nothing. */
void html_text(struct buf *b, const char *utf8);

enum html_unit {
	HTML_COUNT,   /* 12 */
	HTML_NUMBER,  /* three digits that count: 0.0123, 1.23e-9, 45600 */
	HTML_PERCENT, /* of a share, 0.123: 12.3 % */
	HTML_DECIBEL, /* 23.6 dB */
	HTML_SECONDS, /* 12 ms, 3.4 s, 5 min */
	HTML_BYTES,   /* 1.5 MB */
	HTML_SHARE,   /* four decimals: 0.9717 */
};

/* A number as people read it; not finite: a dash. */
void html_number(struct buf *b, double v, enum html_unit unit);

/* The same of a value of JSON, with all its digits for programs: <data value="0.1234567">12.3 %</data>. Anything but a number: a dash. */
void html_value(struct buf *b, const struct json *v, enum html_unit unit);

#endif
