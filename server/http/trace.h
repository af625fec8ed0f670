#ifndef SEQMSED_TRACE_H
#define SEQMSED_TRACE_H

/* The header traceparent (https://www.w3.org/TR/trace-context/). */

enum { TRACE_TEXT = 55 };

/* Goes on with the client's trace, or begins one where given is NULL or no traceparent of version 00; the span is ours. */
void trace_name(const char *given, char out[TRACE_TEXT + 1]);

#endif
