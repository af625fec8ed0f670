#include "core/onnx/wire.h"

#include <string.h>

int wire_varint(struct wire *w, uint64_t *v)
{
	*v = 0;
	for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
		uint8_t byte = *w->at++;
		*v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return 0;
	}
	return -1;
}

static int fixed(struct wire *w, size_t n, uint64_t *v)
{
	if (wire_left(w) < n)
		return -1;
	*v = 0;
	for (size_t i = 0; i < n; i++)
		*v |= (uint64_t)w->at[i] << (8 * i);
	w->at += n;
	return 0;
}

int wire_next(struct wire *w, struct wire_field *f)
{
	uint64_t tag;
	if (w->at == w->end)
		return 0;
	if (wire_varint(w, &tag) < 0 || tag >> 3 == 0 || tag >> 3 >= (uint64_t)1 << 29)
		return -1;
	f->number = (uint32_t)(tag >> 3);
	f->type = (enum wire_type)(tag & 7);
	f->value = 0;
	f->bytes = (struct wire){w->at, w->at};
	switch (f->type) {
	case WIRE_VARINT:
		return wire_varint(w, &f->value) < 0 ? -1 : 1;
	case WIRE_64:
		return fixed(w, 8, &f->value) < 0 ? -1 : 1;
	case WIRE_32:
		return fixed(w, 4, &f->value) < 0 ? -1 : 1;
	case WIRE_BYTES:
		if (wire_varint(w, &f->value) < 0 || f->value > wire_left(w))
			return -1;
		f->bytes = (struct wire){w->at, w->at + f->value};
		w->at += f->value;
		return 1;
	default:
		return -1;
	}
}

int wire_is(const struct wire *w, const char *text)
{
	size_t n = strlen(text);
	return wire_left(w) == n && (n == 0 || memcmp(w->at, text, n) == 0);
}
