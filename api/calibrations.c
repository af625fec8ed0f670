/* What an upload of a calibration set is asked for. */

#include "api/handlers.h"
#include "api/members.h"
#include "api/problems.h"
#include "core/data/preprocess.h"

HANDLER(calibrations_check)
{
	struct api_object m;
	struct err e = ERR_INIT;
	struct api_change first;
	const char *model = http_query(q, "model"), *line = http_query(q, "preprocess");
	struct preprocess unused;
	if (!members_query(&first, q, r))
		return;
	if (line && preprocess_parse(line, &unused, &e)) {
		problem_of(r, q, &e, "?preprocess");
		return;
	}
	if (!model || http_header(q, "Idempotency-Key")) /* the model may be gone since the key's first request */
		return;
	if (a->backend.object_get(a->backend.ctx, &q->who, API_MODEL, model, &m, &e) < 0)
		problem_of(r, q, &e, e.code == ERR_NOT_FOUND ? "?model" : NULL);
	else
		api_object_fini(&m);
}
