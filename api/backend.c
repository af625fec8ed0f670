#include "api/backend.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void model_fini(struct api_object *m)
{
	for (size_t i = 0; i < m->nfiles; i++)
		free(m->files[i].name);
	free(m->files);
	free(m->inputs);
	free(m->outputs);
	free(m->layers);
}

void api_object_fini(struct api_object *x)
{
	free(x->name);
	free(x->labels);
	free(x->owner);
	if (x->kind == API_MODEL)
		model_fini(x);
	else if (x->kind == API_CALIBRATION)
		free(x->arrays);
	memset(x, 0, sizeof *x);
}

void api_upload_fini(struct api_upload *u)
{
	free(u->name);
	free(u->owner);
	free(u->model);
	free(u->preprocess);
	memset(u, 0, sizeof *u);
}

void api_job_fini(struct api_job *j)
{
	for (size_t i = 0; i < j->nwarnings; i++) {
		free(j->warnings[i].code);
		free(j->warnings[i].layer);
		free(j->warnings[i].detail);
	}
	for (size_t i = 0; i < j->nartifacts; i++) {
		free(j->artifacts[i].name);
		free(j->artifacts[i].media_type);
	}
	free(j->warnings);
	free(j->artifacts);
	free(j->name);
	free(j->labels);
	free(j->owner);
	free(j->params);
	free(j->phase);
	free(j->current);
	free(j->error_code);
	free(j->error_detail);
	memset(j, 0, sizeof *j);
}

void api_layer_fini(struct api_layer *l)
{
	free(l->node);
	free(l->op_type);
	free(l->weight);
	free(l->strategy);
	free(l->chosen);
	free(l->settings);
	free(l->curve);
	memset(l, 0, sizeof *l);
}

void api_event_fini(struct api_event *v)
{
	free(v->event);
	free(v->data);
	memset(v, 0, sizeof *v);
}

void api_log_fini(struct api_log *l)
{
	free(l->text);
	memset(l, 0, sizeof *l);
}

void api_blob_fini(struct api_blob *b)
{
	if (b->fd >= 0)
		(void)close(b->fd);
	free(b->name);
	free(b->media_type);
	memset(b, 0, sizeof *b);
	b->fd = -1;
}

void api_queue_fini(struct api_queue *q)
{
	free(q->jobs);
	memset(q, 0, sizeof *q);
}

void api_preview_fini(struct api_preview *p)
{
	free(p->params);
	free(p->layers);
	free(p->estimate);
	memset(p, 0, sizeof *p);
}

#define LIST_FREE(function, type, fini)                                                                 \
	void function(type *list, size_t n) /* NOLINT(bugprone-macro-parentheses): a type takes none */ \
	{                                                                                               \
		for (size_t i = 0; i < n; i++)                                                          \
			fini(&list[i]);                                                                 \
		free(list);                                                                             \
	}

LIST_FREE(api_objects_free, struct api_object, api_object_fini)
LIST_FREE(api_jobs_free, struct api_job, api_job_fini)
LIST_FREE(api_layers_free, struct api_layer, api_layer_fini)
LIST_FREE(api_events_free, struct api_event, api_event_fini)
LIST_FREE(api_logs_free, struct api_log, api_log_fini)

bool api_is_plain_path(const char *name)
{
	if (name[0] == '\0' || strchr(name, '\\'))
		return false;
	for (const char *at = name;;) {
		size_t n = strcspn(at, "/");
		if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		if (at[n] == '\0')
			return true;
		at += n + 1;
	}
}
