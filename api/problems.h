#ifndef SEQMSED_PROBLEMS_H
#define SEQMSED_PROBLEMS_H

/* Errors on the wire: application/problem+json (RFC 9457) with a `code` that programs compare, and `errors`, a list of
 * {"pointer", "detail"}, where parts of a request body are at fault.
 */

#include "api/http.h"
#include "core/base/err.h"
#include "core/base/json.h"

/* X(symbol, status, "code", "title") */
#define PROBLEMS(X)                                                                                  \
	X(PROBLEM_BAD_REQUEST, 400, "bad-request", "The request is not valid HTTP")                  \
	X(PROBLEM_UNAUTHORIZED, 401, "unauthorized", "A key is needed")                              \
	X(PROBLEM_FORBIDDEN, 403, "forbidden", "The request is not allowed")                         \
	X(PROBLEM_NOT_FOUND, 404, "not-found", "There is no such resource")                          \
	X(PROBLEM_METHOD, 405, "method-not-allowed", "The resource does not know the method")        \
	X(PROBLEM_BAD_STATE, 409, "bad-state", "The resource's state does not allow it")             \
	X(PROBLEM_IN_USE, 409, "in-use", "The resource is still needed")                             \
	X(PROBLEM_NOT_FINISHED, 409, "job-not-finished", "The job has no result yet")                \
	X(PROBLEM_OFFSET, 409, "offset-mismatch", "The upload goes on elsewhere")                    \
	X(PROBLEM_GONE, 410, "gone", "The resource was deleted")                                     \
	X(PROBLEM_PRECONDITION, 412, "precondition-failed", "A precondition does not hold")          \
	X(PROBLEM_TOO_LARGE, 413, "too-large", "The request body is too large")                      \
	X(PROBLEM_URI, 414, "uri-too-long", "The request target is too long")                        \
	X(PROBLEM_MEDIA, 415, "unsupported-media", "The request body has the wrong type")            \
	X(PROBLEM_RANGE, 416, "bad-range", "The range lies outside the resource")                    \
	X(PROBLEM_UNKNOWN_FIELD, 422, "unknown-field", "A field is not known")                       \
	X(PROBLEM_BAD_PARAM, 422, "bad-param", "A value is not valid")                               \
	X(PROBLEM_REUSE, 422, "idempotency-reuse", "The idempotency key is in use")                  \
	X(PROBLEM_NOT_ONNX, 422, "not-an-onnx", "The file is not an ONNX model")                     \
	X(PROBLEM_GRAPH, 422, "unsupported-graph", "The model cannot be searched")                   \
	X(PROBLEM_CALIBRATION, 422, "calibration-mismatch", "The calibration does not fit")          \
	X(PROBLEM_NON_FINITE, 422, "non-finite-activation", "NaN or infinity in the data")           \
	X(PROBLEM_CHECKSUM, 460, "checksum-mismatch", "The bytes are not those that were announced") \
	X(PROBLEM_LOCKED, 423, "locked", "The resource is in use")                                   \
	X(PROBLEM_RATE, 429, "rate-limited", "Too many requests")                                    \
	X(PROBLEM_HEADERS, 431, "headers-too-large", "The request headers are too large")            \
	X(PROBLEM_CRASHED, 500, "worker-crashed", "The engine died")                                 \
	X(PROBLEM_MEMORY, 500, "out-of-memory-budget", "There is not enough memory")                 \
	X(PROBLEM_ORT, 500, "ort-error", "ONNX Runtime failed")                                      \
	X(PROBLEM_DEADLINE, 500, "deadline-exceeded", "The job took longer than it may")             \
	X(PROBLEM_INTERNAL, 500, "internal", "The server failed")                                    \
	X(PROBLEM_QUEUE_FULL, 503, "queue-full", "Too many jobs are waiting")                        \
	X(PROBLEM_BUSY, 503, "busy", "The database is in use by another program")                    \
	X(PROBLEM_DRAINING, 503, "draining", "The server is ending")                                 \
	X(PROBLEM_DISK_FULL, 507, "disk-full", "There is no space left")

enum problem {
#define X(symbol, status, code, title) symbol,
	PROBLEMS(X)
#undef X
};

/* Makes the response a problem; what was in it before is gone. */
void problem_set(struct http_response *r, const struct http_request *q, enum problem p, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* The same with one entry in errors[]: the part of the body, or "?name" of the query, that is at fault. */
void problem_at(struct http_response *r, const struct http_request *q, enum problem p, const char *pointer, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* The problem that an error is. Internals of our own failures are not told: the log has them. A calibration mismatch gets an
 * entry for every input that the message names. A message that begins with a JSON pointer ("/param_bw: …") gets an entry under
 * `prefix`; NULL: no pointers. */
void problem_of(struct http_response *r, const struct http_request *q, const struct err *e, const char *prefix);

/* A failed job's error as an object of the same shape; code NULL writes null. */
void problem_of_job(struct json_out *w, const char *key, const char *code, const char *detail);

#endif
