/* What only models have: external files, layers. */

#include "api/handlers.h"
#include "api/objects.h"
#include "api/problems.h"
#include "api/replies.h"

#include <stdlib.h>
#include <string.h>

static const struct api_file *file_named(const struct api_object *m, const char *name)
{
	for (size_t i = 0; i < m->nfiles; i++)
		if (strcmp(m->files[i].name, name) == 0)
			return &m->files[i];
	return NULL;
}

HANDLER(models_file_check)
{
	struct api_object m;
	struct err e = ERR_INIT;
	if (!api_is_plain_path(q->rest)) {
		problem_set(r, q, PROBLEM_BAD_PARAM, "the file's name must be a plain relative one");
		return;
	}
	if (a->backend.object_get(a->backend.ctx, &q->who, API_MODEL, q->args[0], &m, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	if (!file_named(&m, q->rest))
		problem_set(r, q, PROBLEM_BAD_PARAM, "the model names no external file %.200s", q->rest);
	api_object_fini(&m);
}

HANDLER(models_file_add)
{
	struct api_object m;
	struct err e = ERR_INIT;
	bool existing;
	if (a->backend.model_file_add(a->backend.ctx, &q->who, q->args[0], q->rest, q->upload, &m, &existing, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	objects_reply_added(q, r, &m, existing);
	api_object_fini(&m);
}

HANDLER(models_layers)
{
	struct err e = ERR_INIT;
	struct json_out w;
	char *layers;
	if (a->backend.model_layers(a->backend.ctx, &q->who, q->args[0], &layers, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	reply_stored(&w, "data", layers);
	json_out_end_object(&w);
	reply_end(r, q, 200);
	free(layers);
}
