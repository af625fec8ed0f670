#include "core/search/layer_load.h"

#include "core/base/json.h"

#include <string.h>

static int read_tree(const struct json *v, struct encodings *x, struct err *e)
{
	struct buf text = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &text, 0);
	json_out_value(&w, NULL, v);
	int rc = buf_failed(&text) ? err_nomem(e, "loaded encodings") : encodings_read(text.data, text.len, x, e);
	buf_fini(&text);
	return rc;
}

int layer_load_check(const struct json *v, struct err *e)
{
	struct encodings x = {0};
	const char *id = json_text(v);
	if (id && (strncmp(id, "job_", 4) == 0 || strncmp(id, "enc_", 4) == 0))
		return 0;
	if (!json_is_object(v))
		return err_set(e, ERR_BAD_PARAM,
		               "expected the content of an encodings file, or the daemon's id of one, or of a job that found them");
	int rc = read_tree(v, &x, e);
	encodings_fini(&x);
	return rc;
}

int layer_load_read(const struct params *p, struct encodings *x, struct err *e)
{
	*x = (struct encodings){0};
	if (p->load_encodings && p->load_encodings[0] == '"')
		return err_set(e, ERR_BAD_PARAM, "only the daemon knows %.44s", p->load_encodings);
	return p->load_encodings ? encodings_read(p->load_encodings, strlen(p->load_encodings), x, e) : 0;
}

static struct encoding *find(const struct encodings *x, const char *name)
{
	for (size_t i = 0; i < x->nparams; i++)
		if (strcmp(x->params[i].name, name) == 0)
			return &x->params[i];
	return NULL;
}

static struct encoding *entry_of(const struct onnx_model *m, const struct encodings *x, const struct layer *l)
{
	return l->searchable ? find(x, onnx_model_value(m, l->weight)->name) : NULL;
}

static bool has_blocks(const struct encoding *x)
{
	return x->granularity == QUANT_PER_BLOCK || x->granularity == QUANT_LPBQ;
}

/* Numbers of an input channel in a weight vector. */
static int64_t taps(const struct layer *l)
{
	return l->op == LAYER_CONV ? l->kernel[0] * l->kernel[1] * l->kernel[2] : 1;
}

static int adopt(struct layer *l, struct encoding *x, struct err *e)
{
	int channel_axis = l->weight_by_rows ? 0 : 1;
	if (x->is_float16 || x->mode.bw > QUANT_MAX_BW)
		return err_set(e, ERR_BAD_PARAM, "%s: only integers of %d to %d bits can be searched", x->name, QUANT_MIN_BW,
		               QUANT_MAX_BW);
	if (encodings_place(x, l->shape.rank, channel_axis, 1 - channel_axis, (size_t)l->channels, e))
		return -1;
	l->settings.mode = x->mode;
	l->settings.granularity = x->granularity;
	l->settings.block_size = has_blocks(x) ? x->block_size : 0;
	l->blocks = has_blocks(x) ? (int64_t)x->n / l->channels : 1;
	if (has_blocks(x) && (l->groups > 1 || l->blocks * x->block_size * taps(l) != l->fan_in))
		return err_set(e, ERR_BAD_PARAM, "%s: its blocks are not those of the weight", x->name);
	return 0;
}

int layer_load_adopt(const struct onnx_model *m, struct quantsim *qs, struct encodings *x, struct layer *layers, int n,
                     struct err *e)
{
	for (int i = 0; i < n; i++) {
		struct encoding *entry = entry_of(m, x, &layers[i]);
		if (entry && adopt(&layers[i], entry, e))
			return -1;
	}
	if (qs)
		layer_settings_tell(qs, layers, n);
	return 0;
}

int layer_load_start(const struct onnx_model *m, const struct encodings *x, bool freeze, struct layer *layers, int n, struct err *e)
{
	for (size_t i = 0; i < x->nparams; i++)
		if (onnx_model_find(m, x->params[i].name) < 0)
			return err_set(e, ERR_BAD_PARAM, "the model has no %.200s", x->params[i].name);
	for (int i = 0; i < n; i++) {
		layers[i].loaded = entry_of(m, x, &layers[i]);
		if (layers[i].loaded && freeze)
			layers[i].settings.search = SEARCH_OFF;
	}
	return 0;
}
