#ifndef SEQMSE_ERR_H
#define SEQMSE_ERR_H

/* Errors as values.
 *
 * A function that can fail returns 0 or a pointer when it worked, -1 or NULL when not, and takes a `struct err *` as its
 * last argument. The error is filled where the fault is first known and given more context on the way up with err_wrap().
 * It is fixed-size, one line, and owned by the caller; there is nothing to free. A NULL `struct err *` is not allowed.
 *
 * Every error has a code out of the list below. The code says whose fault it is: a user's mistake, the machine's state, or
 * our bug; api maps it to an HTTP status, the command line to an exit status.
 */

#include <stddef.h>

/* X(symbol, "name on the wire", what it means) */
#define ERR_CODES(X)                                                                                             \
	X(ERR_NONE, "none", "no error")                                                                          \
	X(ERR_USAGE, "usage", "a wrong command line")                                                            \
	X(ERR_BAD_PARAM, "bad-param", "a parameter's value is out of range or contradicts another")              \
	X(ERR_UNKNOWN_FIELD, "unknown-field", "a parameter nobody knows, or one that is not built yet")          \
	X(ERR_NOT_ONNX, "not-an-onnx", "the file is not an ONNX model, or a damaged one")                        \
	X(ERR_UNSUPPORTED_GRAPH, "unsupported-graph", "a valid model that cannot be searched")                   \
	X(ERR_CALIBRATION, "calibration-mismatch", "calibration data that is damaged or does not fit the model") \
	X(ERR_NON_FINITE, "non-finite-activation", "NaN or infinity where a number is needed")                   \
	X(ERR_NOT_FOUND, "not-found", "no such file or object")                                                  \
	X(ERR_IO, "io", "the operating system failed to read or write")                                          \
	X(ERR_DISK_FULL, "disk-full", "no space left")                                                           \
	X(ERR_MEMORY, "out-of-memory-budget", "not enough memory, or more than the budget allows")               \
	X(ERR_ORT, "ort-error", "ONNX Runtime refused the graph or failed while running it")                     \
	X(ERR_DEADLINE, "deadline-exceeded", "it took longer than it may")                                       \
	X(ERR_CANCELED, "canceled", "the caller asked to stop")                                                  \
	X(ERR_BAD_STATE, "bad-state", "what is asked for does not go with the object's state")                   \
	X(ERR_IN_USE, "in-use", "something else still needs the object")                                         \
	X(ERR_QUEUE_FULL, "queue-full", "no more jobs are taken in for now")                                     \
	X(ERR_REUSE, "idempotency-reuse", "an idempotency key came with another request before")                 \
	X(ERR_CHECKSUM, "checksum-mismatch", "bytes are not those that were announced")                          \
	X(ERR_PRECONDITION, "precondition-failed", "the object is not as the caller wants it to be")             \
	X(ERR_LOCKED, "locked", "somebody else is at work on the object")                                        \
	X(ERR_OFFSET, "offset-mismatch", "the upload goes on elsewhere")                                         \
	X(ERR_TOO_LARGE, "too-large", "more bytes than are taken")                                               \
	X(ERR_GONE, "gone", "the object was there and is not any more")                                          \
	X(ERR_BUSY, "busy", "another program holds what is needed; later it may work")                           \
	X(ERR_DRAINING, "draining", "the program is about to end")                                               \
	X(ERR_INTERNAL, "internal", "a bug of ours")

enum err_code {
#define X(symbol, name, meaning) symbol,
	ERR_CODES(X)
#undef X
};

struct err {
	enum err_code code;
	char msg[1024];
};

/* An error with nothing in it: `struct err e = ERR_INIT;` */
#define ERR_INIT             \
	{                    \
		ERR_NONE, "" \
	}

/* Fills *e with code and a formatted message; returns -1, so that `return err_set(e, …)` reads well. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like err_set(), followed by ": " and the text of the system's error number. ENOSPC and EDQUOT become ERR_DISK_FULL,
 * ENOMEM becomes ERR_MEMORY, ENOENT becomes ERR_NOT_FOUND, everything else is ERR_IO. */
int err_errno(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts a formatted text and ": " before the message that is already there; keeps the code. A cancellation stays as it is: where it was
 * noticed is nobody's concern. Returns -1. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Not enough memory for what is named. Returns -1. */
void err_nomem_fill(struct err *e, const char *what);
static inline int err_nomem(struct err *e, const char *what) /* inline, so that whoever checks the code knows what it returns */
{
	err_nomem_fill(e, what);
	return -1;
}

/* "bad-param" for ERR_BAD_PARAM, and so on; never NULL. */
const char *err_name(enum err_code code);

/* The code with that name on the wire, or ERR_INTERNAL where there is none. */
enum err_code err_code_of(const char *name);

/* clang-tidy looks at one file at a time and would not know what these return. */
#if defined(__clang_analyzer__) && !defined(SEQMSE_ERR_C)
void err_seen(const char *fmt, ...); /* nowhere defined: it only takes the arguments */
static inline int err_known(struct err *e, enum err_code code)
{
	return e->code = code, -1;
}
#define err_set(e, code, ...)     (err_seen(__VA_ARGS__), err_known(e, code))
#define err_errno(e, errnum, ...) (err_seen(__VA_ARGS__), err_known(e, (errnum) ? ERR_IO : ERR_NOT_FOUND))
#define err_wrap(e, ...)          (err_seen(__VA_ARGS__), err_known(e, (e)->code))
#endif

#endif
