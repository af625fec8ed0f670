#include "server/http/answer.h"

#include "api/problems.h"

enum { STREAM_BYTES = 4 << 10 /* of a stream at once */ };

static struct MHD_Response *make_body(struct http_response *r, MHD_ContentReaderCallback more, void *x)
{
	if (r->stream)
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, more, x, NULL);
	if (r->fd < 0 || r->length == 0)
		return MHD_create_response_from_buffer(r->body.len, r->body.data, MHD_RESPMEM_PERSISTENT);
	struct MHD_Response *m = MHD_create_response_from_fd_at_offset64((uint64_t)r->length, r->fd, (uint64_t)r->offset);
	if (m)
		r->fd = -1;
	return m;
}

/* The library takes no empty values; a name that could not be drawn is one. */
static bool add(struct MHD_Response *m, const char *name, const char *value)
{
	return !value || !value[0] || MHD_add_response_header(m, name, value) == MHD_YES;
}

static bool add_headers(struct MHD_Response *m, const struct http_response *r, const char *id, const char *trace)
{
	for (size_t i = 0; i < r->nheaders; i++)
		if (!add(m, r->headers[i].name, r->headers[i].value))
			return false;
	return add(m, "X-Request-Id", id) && add(m, "traceparent", trace);
}

static struct MHD_Response *make(struct http_response *r, const char *id, const char *trace, MHD_ContentReaderCallback more,
                                 void *x)
{
	struct MHD_Response *m = make_body(r, more, x);
	if (!m || add_headers(m, r, id, trace))
		return m;
	MHD_destroy_response(m);
	return NULL;
}

struct MHD_Response *answer_make(struct http_response *r, const struct http_request *q, const char *trace,
                                 MHD_ContentReaderCallback more, void *x)
{
	struct MHD_Response *m = make(r, q->id, trace, more, x);
	if (m)
		return m;
	problem_set(r, q, PROBLEM_MEMORY, "there is no memory for the answer");
	http_response_settle(r);
	return make(r, q->id, trace, more, x);
}
