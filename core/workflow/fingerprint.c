#include "core/workflow/fingerprint.h"

#include "core/base/buf.h"
#include "core/base/version.h"

int fingerprint_of(const char *runtime, const char *model, const char *data, const struct params *p, char out[SHA256_HEX + 1],
                   struct err *e)
{
	struct params plain;
	struct buf text = BUF_INIT;
	struct json_out w;
	if (params_copy(&plain, p, e) < 0)
		return -1;
	plain.threads = 0; /* these two change the time, never the result */
	plain.max_memory_bytes = 0;
	buf_printf(&text, "%s\n%s\n%s\n%s\n", SEQMSED_VERSION, runtime, model, data);
	json_out_init(&w, &text, 0);
	params_to_json(&plain, &w, NULL);
	int rc = buf_failed(&text) ? err_nomem(e, "a fingerprint") : sha256_of(text.data, text.len, out, e);
	buf_fini(&text);
	params_fini(&plain);
	return rc;
}
