/* Encodings files: what an inspection finds. */

#include "server/http/backend_objects.h"

#include "core/base/json.h"
#include "server/engine/call.h"
#include "server/http/upload.h"

/* Has a child read the file. */
static int inspect(struct backend *b, struct incoming *in, struct api_object *out, struct err *e)
{
	struct call call;
	struct buf answer = BUF_INIT;
	struct json *v = NULL;
	call_init(&call, "encodings");
	if (call_loaded(&call, part_open(in->part, e), e) == 0 && call_end(&call, e) == 0 &&
	    probe_ask(&b->probe, &call, ERR_BAD_PARAM, &answer, e) == 0)
		v = json_parse(answer.data, answer.len, e);
	if (v) {
		out->parameters = json_int(json_get(v, "parameters"));
		out->activations = json_int(json_get(v, "activations"));
	}
	json_free(v);
	buf_fini(&answer);
	call_fini(&call);
	return v ? 0 : -1;
}

const struct backend_kind backend_encodings = {.prefix = "enc_", .inspect = inspect};
