#include "server/http/metrics.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROUTES = 128, CLASSES = 6 };

/* Upper ends of the buckets, in milliseconds; the last one has none. */
static const int64_t bounds[] = {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30000};
enum { NBOUNDS = sizeof bounds / sizeof *bounds };

static const char *const outcomes[] = {"succeeded", "failed", "died", "hung", "interrupted"};
enum { NOUTCOMES = sizeof outcomes / sizeof *outcomes };

struct metrics {
	atomic_llong requests[MAX_ROUTES + 1][CLASSES]; /* by route (the last: none) and hundreds of the status */
	atomic_llong buckets[NBOUNDS + 1], ms, received;
	atomic_llong attempts[NOUTCOMES], attempt_ms;
};

struct metrics *metrics_new(void)
{
	return calloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *m)
{
	free(m);
}

void metrics_request(struct metrics *m, const struct route *route, int status, int64_t ms, int64_t received)
{
	size_t i = route && (size_t)(route - routes) < MAX_ROUTES ? (size_t)(route - routes) : MAX_ROUTES, k = 0;
	size_t class = status >= 100 && status < 600 ? (size_t)status / 100 : 0;
	while (k < NBOUNDS && ms > bounds[k])
		k++;
	atomic_fetch_add(&m->requests[i][class], 1);
	atomic_fetch_add(&m->buckets[k], 1);
	atomic_fetch_add(&m->ms, ms);
	atomic_fetch_add(&m->received, received);
}

void metrics_attempt(struct metrics *m, const char *outcome, double seconds)
{
	for (size_t i = 0; i < NOUTCOMES; i++)
		if (strcmp(outcomes[i], outcome) == 0)
			atomic_fetch_add(&m->attempts[i], 1);
	atomic_fetch_add(&m->attempt_ms, (long long)(seconds * 1000));
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP seqmsed_%s %s\n# TYPE seqmsed_%s %s\n", name, help, name, type);
}

void metrics_value(struct buf *out, const char *name, const char *type, const char *help, const char *labels, double value)
{
	if (help)
		head(out, name, type, help);
	buf_printf(out, "seqmsed_%s%s %.17g\n", name, labels, value);
}

static void write_requests(const struct metrics *m, struct buf *out)
{
	head(out, "http_requests_total", "counter",
	     "requests that ended, by route and hundreds of the status (0: cut off before an answer)");
	for (size_t i = 0; i <= MAX_ROUTES; i++)
		for (size_t class = 0; class < CLASSES; class ++) {
			long long n = atomic_load(&m->requests[i][class]);
			if (n > 0)
				buf_printf(out, "seqmsed_http_requests_total{route=\"%s\",status=\"%zu%s\"} %lld\n",
				           i < MAX_ROUTES ? routes[i].pattern : "", class, class ? "xx" : "", n);
		}
}

static void write_duration(const struct metrics *m, struct buf *out)
{
	long long n = 0;
	head(out, "http_request_duration_seconds", "histogram", "from a request's first line to its end, waiting included");
	for (size_t k = 0; k <= NBOUNDS; k++) {
		n += atomic_load(&m->buckets[k]);
		if (k < NBOUNDS)
			buf_printf(out, "seqmsed_http_request_duration_seconds_bucket{le=\"%g\"} %lld\n", (double)bounds[k] / 1000,
			           n);
		else
			buf_printf(out, "seqmsed_http_request_duration_seconds_bucket{le=\"+Inf\"} %lld\n", n);
	}
	buf_printf(out, "seqmsed_http_request_duration_seconds_sum %g\n", (double)atomic_load(&m->ms) / 1000);
	buf_printf(out, "seqmsed_http_request_duration_seconds_count %lld\n", n);
}

void metrics_write(const struct metrics *m, struct buf *out)
{
	write_requests(m, out);
	write_duration(m, out);
	metrics_value(out, "http_received_bytes_total", "counter", "bytes of request bodies", "",
	              (double)atomic_load(&m->received));
	head(out, "job_attempts_total", "counter", "attempts at jobs that ended");
	for (size_t i = 0; i < NOUTCOMES; i++)
		buf_printf(out, "seqmsed_job_attempts_total{outcome=\"%s\"} %lld\n", outcomes[i],
		           (long long)atomic_load(&m->attempts[i]));
	metrics_value(out, "job_attempt_seconds_total", "counter", "that they took", "",
	              (double)atomic_load(&m->attempt_ms) / 1000);
}
