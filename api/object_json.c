#include "api/object_json.h"

#include "api/replies.h"
#include "api/when.h"

#include <stdio.h>

static void files_json(struct json_out *w, const struct api_object *m)
{
	json_out_array(w, "files");
	for (size_t i = 0; i < m->nfiles; i++) {
		const struct api_file *f = &m->files[i];
		json_out_object(w, NULL);
		json_out_string(w, "name", f->name);
		json_out_bool(w, "present", f->present);
		json_out_string(w, "sha256", f->present ? f->sha256 : NULL);
		if (f->present)
			json_out_integer(w, "size", f->size);
		else
			json_out_null(w, "size");
		json_out_end_object(w);
	}
	json_out_end_array(w);
	json_out_array(w, "missing_files");
	for (size_t i = 0; i < m->nfiles; i++)
		if (!m->files[i].present)
			json_out_string(w, NULL, m->files[i].name);
	json_out_end_array(w);
}

static void model_json(struct json_out *w, const struct api_object *m)
{
	json_out_string(w, "status", m->digest[0] ? "complete" : "incomplete");
	json_out_string(w, "sha256", m->sha256);
	json_out_string(w, "digest", m->digest[0] ? m->digest : NULL);
	json_out_integer(w, "size", m->size);
	json_out_integer(w, "ir_version", m->ir_version);
	json_out_integer(w, "opset", m->opset);
	json_out_integer(w, "nodes", m->nodes);
	reply_stored(w, "inputs", m->inputs);
	reply_stored(w, "outputs", m->outputs);
	json_out_object(w, "layers");
	json_out_integer(w, "total", m->layer_count);
	json_out_integer(w, "searchable", m->searchable_count);
	json_out_end_object(w);
	files_json(w, m);
}

static void calibration_json(struct json_out *w, const struct api_object *c)
{
	json_out_string(w, "sha256", c->sha256);
	json_out_integer(w, "size", c->size);
	if (c->samples < 0)
		json_out_null(w, "samples");
	else
		json_out_integer(w, "samples", c->samples);
	reply_stored(w, "arrays", c->arrays);
}

static void encodings_json(struct json_out *w, const struct api_object *x)
{
	json_out_string(w, "sha256", x->sha256);
	json_out_integer(w, "size", x->size);
	json_out_integer(w, "parameters", x->parameters);
	json_out_integer(w, "activations", x->activations);
}

static const char *const content[] = {"content", NULL}, *const layers_and_content[] = {"layers", "content", NULL};

const struct object_kind object_kinds[] = {
	[API_MODEL] = {"models", "model", "model.onnx", layers_and_content, model_json},
	[API_CALIBRATION] = {"calibrations", "calibration", "calibration.npz", content, calibration_json},
	[API_ENCODINGS] = {"encodings", "encodings file", "model.encodings", content, encodings_json},
};

static void urls_json(struct json_out *w, const struct object_kind *k, const char *id)
{
	char url[100];
	json_out_object(w, "urls");
	(void)snprintf(url, sizeof url, "/v1/%s/%s", k->path, id);
	json_out_string(w, "self", url);
	for (const char *const *part = k->parts; *part; part++) {
		(void)snprintf(url, sizeof url, "/v1/%s/%s/%s", k->path, id, *part);
		json_out_string(w, *part, url);
	}
	json_out_end_object(w);
}

void object_json(struct json_out *w, const struct api_object *x, const bool *deduplicated)
{
	const struct object_kind *k = &object_kinds[x->kind];
	json_out_object(w, NULL);
	json_out_string(w, "id", x->id);
	json_out_string(w, "name", x->name);
	reply_stored(w, "labels", x->labels);
	json_out_string(w, "owner", x->owner);
	json_out_string(w, "visibility", x->visibility);
	k->describe(w, x);
	if (deduplicated)
		json_out_bool(w, "deduplicated", *deduplicated);
	when_json(w, "created_at", x->created_at);
	urls_json(w, k, x->id);
	json_out_end_object(w);
}
