#include "api/problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	int status;
	const char *code, *title;
} table[] = {
#define X(symbol, status, code, title) {status, code, title},
	PROBLEMS(X)
#undef X
};

enum { NPROBLEMS = sizeof table / sizeof *table };

static enum problem problem_named(const char *code)
{
	for (int i = 0; i < NPROBLEMS; i++)
		if (strcmp(table[i].code, code) == 0)
			return (enum problem)i;
	return PROBLEM_INTERNAL;
}

static void members(struct json_out *w, enum problem p, const char *detail)
{
	json_out_string(w, "type", "about:blank");
	json_out_string(w, "title", table[p].title);
	json_out_integer(w, "status", table[p].status);
	json_out_string(w, "code", table[p].code);
	json_out_string(w, "detail", detail);
}

/* A name as one step of a JSON pointer (RFC 6901). */
static void pointer_step(struct buf *b, const char *name, size_t len)
{
	buf_str(b, "/");
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '~')
			buf_str(b, "~0");
		else if (name[i] == '/')
			buf_str(b, "~1");
		else
			buf_add(b, &name[i], 1);
	}
}

static void one_input(struct json_out *w, const char *name, size_t name_len, const char *detail, size_t detail_len)
{
	struct buf pointer = BUF_INIT, text = BUF_INIT;
	pointer_step(&pointer, name, name_len);
	buf_add(&text, detail, detail_len);
	json_out_object(w, NULL);
	json_out_string(w, "pointer", pointer.data);
	json_out_string(w, "detail", text.data);
	json_out_end_object(w);
	buf_fini(&pointer);
	buf_fini(&text);
}

#define INPUT "input \""

/* `input "x": why; input "y": why` becomes an entry for each input. */
static void list_inputs(struct json_out *w, const char *message)
{
	for (const char *at = message; at;) {
		const char *next = strstr(at + 1, "; " INPUT);
		size_t len = next ? (size_t)(next - at) : strlen(at), mark = sizeof INPUT - 1;
		const char *name = at + mark, *quote = memchr(name, '"', len - mark);
		if (quote)
			one_input(w, name, (size_t)(quote - name), at, len);
		at = next ? next + 2 : NULL;
	}
}

struct pointed {
	const char *pointer, *detail; /* one entry; pointer NULL: none */
	const char *inputs;           /* what a message says of inputs; NULL: nothing */
};

static void fill(struct http_response *r, const struct http_request *q, enum problem p, const char *detail,
                 const struct pointed *at)
{
	struct json_out w;
	http_response_fini(r);
	json_out_init(&w, &r->body, 0);
	json_out_object(&w, NULL);
	members(&w, p, detail);
	if (q->id)
		json_out_string(&w, "request_id", q->id);
	if (at && (at->pointer || at->inputs)) {
		json_out_array(&w, "errors");
		if (at->inputs)
			list_inputs(&w, at->inputs);
		if (at->pointer) {
			json_out_object(&w, NULL);
			json_out_string(&w, "pointer", at->pointer);
			json_out_string(&w, "detail", at->detail);
			json_out_end_object(&w);
		}
		json_out_end_array(&w);
	}
	json_out_end_object(&w);
	buf_str(&r->body, "\n");
	if (buf_failed(&r->body))
		buf_fini(&r->body);
	r->status = table[p].status;
	http_set(r, "Content-Type", "application/problem+json");
	http_set(r, "Cache-Control", "no-store");
	if (r->status == 503)
		http_set(r, "Retry-After", "5");
}

void problem_set(struct http_response *r, const struct http_request *q, enum problem p, const char *fmt, ...)
{
	char detail[1200];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(detail, sizeof detail, fmt, ap);
	va_end(ap);
	fill(r, q, p, detail, NULL);
}

void problem_at(struct http_response *r, const struct http_request *q, enum problem p, const char *pointer, const char *fmt, ...)
{
	char detail[1200];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(detail, sizeof detail, fmt, ap);
	va_end(ap);
	fill(r, q, p, detail, &(struct pointed){pointer, detail, NULL});
}

void problem_of(struct http_response *r, const struct http_request *q, const struct err *e, const char *prefix)
{
	enum problem p = problem_named(err_name(e->code));
	struct pointed at = {NULL, e->msg, e->code == ERR_CALIBRATION ? strstr(e->msg, INPUT) : NULL};
	char pointer[300];
	const char *colon = e->msg[0] == '/' ? strstr(e->msg, ": ") : NULL;
	if (prefix) {
		(void)snprintf(pointer, sizeof pointer, "%s%.*s", prefix, colon ? (int)(colon - e->msg) : 0, e->msg);
		at.pointer = pointer;
		at.detail = colon ? colon + 2 : e->msg;
	}
	if (p == PROBLEM_INTERNAL)
		fill(r, q, p, "the server's log says more", NULL);
	else
		fill(r, q, p, at.detail, &at);
}

void problem_of_job(struct json_out *w, const char *key, const char *code, const char *detail)
{
	if (!code) {
		json_out_null(w, key);
		return;
	}
	json_out_object(w, key);
	members(w, problem_named(code), detail);
	json_out_end_object(w);
}
