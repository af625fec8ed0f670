#include "server/http/guard.h"

#include "api/problems.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static size_t count(const struct http_request *q, const char *name)
{
	size_t n = 0;
	for (size_t i = 0; i < q->nheaders; i++)
		n += strcasecmp(q->headers[i].name, name) == 0;
	return n;
}

static bool check_size(const struct config *c, const struct http_request *q, struct http_response *r)
{
	size_t bytes = 0;
	for (size_t i = 0; i < q->nheaders; i++)
		bytes += strlen(q->headers[i].name) + strlen(q->headers[i].value) + 4;
	if (q->nheaders <= (size_t)c->max_header_fields && bytes <= (size_t)c->max_header_bytes)
		return true;
	problem_set(r, q, PROBLEM_HEADERS, "a request may have %lld headers and %lld bytes of them",
	            (long long)c->max_header_fields, (long long)c->max_header_bytes);
	return false;
}

/* One Content-Length of digits, or one "Transfer-Encoding: chunked", never both: on these two proxies and servers disagree. */
static bool check_framing(const struct http_request *q, struct http_response *r)
{
	const char *length = http_header(q, "Content-Length"), *coding = http_header(q, "Transfer-Encoding");
	bool ok = count(q, "Content-Length") <= 1 && count(q, "Transfer-Encoding") <= 1 && !(length && coding) &&
	          (!coding || strcasecmp(coding, "chunked") == 0) &&
	          (!length || (length[0] != '\0' && strspn(length, "0123456789") == strlen(length)));
	if (!ok)
		problem_set(r, q, PROBLEM_BAD_REQUEST, "the body's length is announced in an ambiguous way");
	return ok;
}

/* Whether a list of names with commas between has the host. */
static bool is_listed(const char *list, const char *host)
{
	size_t n = strlen(host);
	for (const char *at = list; *at;) {
		at += strspn(at, " ,");
		size_t len = strcspn(at, " ,");
		if (len == n && strncasecmp(at, host, n) == 0)
			return true;
		at += len;
	}
	return false;
}

/* Whether a Host or Origin authority ("localhost:8080", "[::1]", "127.0.0.1") names the loopback, or what the operator allows. */
static bool is_allowed(const struct config *c, const char *authority)
{
	char host[256];
	struct in_addr v4;
	const char *end = authority[0] == '[' ? strchr(authority, ']') : strchr(authority, ':');
	if (authority[0] == '[' && end)
		end++;
	size_t n = end ? (size_t)(end - authority) : strlen(authority);
	const char *port = authority + n;
	if (n == 0 || n >= sizeof host || (*port && (*port != ':' || strspn(port + 1, "0123456789") != strlen(port + 1))))
		return false;
	memcpy(host, authority, n);
	host[n] = '\0';
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	       (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) ||
	       (c->allowed_hosts && is_listed(c->allowed_hosts, host));
}

/* A page of another site, or a name that was made to point here, must not use the browser's way to the loopback. */
static bool check_origin(const struct config *c, const struct http_request *q, bool http_1_1, struct http_response *r)
{
	const char *host = http_header(q, "Host"), *origin = http_header(q, "Origin");
	if (count(q, "Host") > 1 || (http_1_1 && !host)) {
		problem_set(r, q, PROBLEM_BAD_REQUEST, "a request needs exactly one Host header");
		return false;
	}
	if (host && !is_allowed(c, host)) {
		problem_set(r, q, PROBLEM_FORBIDDEN, "this server does not answer to the name %.100s (--allowed-hosts)", host);
		return false;
	}
	const char *scheme_end = origin ? strstr(origin, "://") : NULL;
	if (origin && !(scheme_end && is_allowed(c, scheme_end + 3))) {
		problem_set(r, q, PROBLEM_FORBIDDEN, "requests of pages from elsewhere are not answered");
		return false;
	}
	return true;
}

bool guard_head(const struct config *c, const struct http_request *q, bool http_1_1, struct http_response *r)
{
	return check_size(c, q, r) && check_framing(q, r) && check_origin(c, q, http_1_1, r);
}

int64_t guard_body_length(const struct http_request *q)
{
	const char *length = http_header(q, "Content-Length");
	if (!length)
		return http_header(q, "Transfer-Encoding") ? -2 : -1;
	errno = 0;
	long long v = strtoll(length, NULL, 10);
	return errno ? INT64_MAX : v;
}
