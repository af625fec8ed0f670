#ifndef SEQMSED_REPLIES_H
#define SEQMSED_REPLIES_H

/* What handlers have in common: JSON answers, pages of lists, texts to check. */

#include "api/backend.h"
#include "api/http.h"
#include "core/base/json.h"

#include <stdbool.h>

/* A JSON answer: begin, write with w, end. */
void reply_begin(struct http_response *r, struct json_out *w);
void reply_end(struct http_response *r, const struct http_request *q, int status);
void reply_empty(struct http_response *r, int status);

/* Reads ?limit (1..1000, default 100) and ?after. It asks for one more than the limit, so that has_more is known. False: *r is
 * the problem. */
bool reply_page(const struct http_request *q, struct http_response *r, struct api_page *page);
/* How many of n found objects belong on the page. */
size_t reply_page_count(const struct api_page *page, size_t n);
/* The end of {"data": […]: has_more, next, and the Link header. last is the last object's id. */
void reply_page_end(struct http_response *r, const struct http_request *q, struct json_out *w, const struct api_page *page,
                    size_t n, const char *last);

/* An integer of the query between min and max; absent gives dflt. False: *r is the problem. */
bool reply_integer(const struct http_request *q, struct http_response *r, const char *name, int64_t min, int64_t max, int64_t dflt,
                   int64_t *out);

/* How many characters (code points) UTF-8 text has. */
size_t reply_characters(const char *text);

/* ?name, at most 200 characters; "" when absent. False: *r is the problem. */
bool reply_name(const struct http_request *q, struct http_response *r, const char **name);

/* Writes JSON text that we stored ourselves as a value. */
void reply_stored(struct json_out *w, const char *key, const char *text);

#endif
