/* Any text: what parses is written, and reads back to the same. */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf written(const struct json *v, int indent, bool ascii_only)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, indent);
	w.ascii_only = ascii_only;
	json_out_value(&w, NULL, v);
	return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct json *v = json_parse((const char *)data, size, &e);
	if (!v)
		return 0;
	struct buf once = written(v, 4, true);
	struct json *again = json_parse(once.data, once.len, &e);
	if (!again)
		abort();
	struct buf plain = written(v, 0, false), twice = written(again, 0, false);
	if (plain.len != twice.len || memcmp(plain.data, twice.data, plain.len) != 0)
		abort();
	json_free(v);
	json_free(again);
	buf_fini(&once);
	buf_fini(&plain);
	buf_fini(&twice);
	return 0;
}
