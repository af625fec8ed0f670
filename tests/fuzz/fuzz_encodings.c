/* Any text: what is understood as encodings is written in every version that can say it, and reads back to the same. */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/encodings/encodings.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf written_and_read(const struct encodings *x, enum encodings_version v, struct encodings *again)
{
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	if (encodings_write(x, v, &b, &e) != 0) {
		if (e.code != ERR_BAD_PARAM || b.len != 0)
			abort();
		return b;
	}
	if (encodings_read(b.data, b.len, again, &e) != 0)
		abort();
	return b;
}

/* Versions 2 do not say which entries are parameters, so a first writing may change the order; a second must not. */
static void check(const struct encodings *x, enum encodings_version v)
{
	struct encodings a = {0}, b = {0}, c = {0};
	struct buf once = written_and_read(x, v, &a), twice = BUF_INIT, thrice = BUF_INIT;
	if (once.len) {
		twice = written_and_read(&a, v, &b);
		thrice = written_and_read(&b, v, &c);
		const struct buf *first = v >= ENCODINGS_2_0_0 ? &twice : &once;
		if (first->len != thrice.len || memcmp(first->data, thrice.data, first->len) != 0)
			abort();
	}
	buf_fini(&once);
	buf_fini(&twice);
	buf_fini(&thrice);
	encodings_fini(&a);
	encodings_fini(&b);
	encodings_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct encodings x = {0};
	struct err e = ERR_INIT;
	if (encodings_read((const char *)data, size, &x, &e) != 0)
		return 0;
	for (int v = 0; v < ENCODINGS_VERSIONS; v++)
		check(&x, (enum encodings_version)v);
	encodings_fini(&x);
	return 0;
}
