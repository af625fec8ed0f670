/* Any text: what is understood as encodings is written in both versions, and reads back to the same. */

#include "core/buf.h"
#include "core/encodings.h"
#include "core/err.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf written(const struct encodings *x, enum encodings_version v)
{
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	if (encodings_write(x, v, &b, &e) != 0)
		abort();
	return b;
}

static void check(const struct encodings *x, enum encodings_version v)
{
	struct encodings again = {0};
	struct err e = ERR_INIT;
	struct buf once = written(x, v);
	if (encodings_read(once.data, once.len, &again, &e) != 0)
		abort();
	struct buf twice = written(&again, v);
	if (once.len != twice.len || memcmp(once.data, twice.data, once.len) != 0)
		abort();
	buf_fini(&once);
	buf_fini(&twice);
	encodings_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct encodings x = {0};
	struct err e = ERR_INIT;
	if (encodings_read((const char *)data, size, &x, &e) != 0)
		return 0;
	check(&x, ENCODINGS_1_0_0);
	check(&x, ENCODINGS_0_6_1);
	encodings_fini(&x);
	return 0;
}
