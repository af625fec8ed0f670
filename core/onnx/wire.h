#ifndef SEQMSE_WIRE_H
#define SEQMSE_WIRE_H

/* Protobuf's wire format, field by field, over bytes that nobody vouches for. Nothing is copied; a field's bytes lie inside the message. */

#include <stddef.h>
#include <stdint.h>

struct wire {
	const uint8_t *at, *end;
};

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct wire_field {
	uint32_t number;
	enum wire_type type;
	uint64_t value;    /* of the numeric types */
	struct wire bytes; /* of WIRE_BYTES */
};

/* 1: *f is the next field; 0: the message is over; -1: damaged (also groups, which nobody uses any more). */
int wire_next(struct wire *w, struct wire_field *f);

/* A varint. 0, or -1. */
int wire_varint(struct wire *w, uint64_t *v);

static inline size_t wire_left(const struct wire *w)
{
	return (size_t)(w->end - w->at);
}

/* Whether the bytes are this text. */
int wire_is(const struct wire *w, const char *text);

#endif
