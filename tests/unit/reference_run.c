#include "reference_run.h"

#include "core/base/buf.h"
#include "core/encodings/bias_encodings.h"
#include "core/encodings/moved_encodings.h"
#include "shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const char *const tiny_variants[TINY_VARIANTS] = {"default",     "htp_v81_w4a16", "per_tensor",  "bq",         "lpbq",
                                                  "tf_enhanced", "percentile",    "exclude_fc1", "w8a8_noseq", "fp16act"};

static struct err e = ERR_INIT;

static void must(bool ok)
{
	if (!ok)
		fail_msg("%s", e.msg);
}

static struct json *parsed(struct buf *text)
{
	struct json *root = json_parse(text->data ? text->data : "", text->len, &e);
	must(root);
	buf_fini(text);
	return root;
}

static struct quantsim *rules(struct reference_run *r)
{
	const struct json *s = r->settings;
	const char *config = json_text(json_get(s, "config")), *act = json_text(json_get(s, "act_bw"));
	struct quantsim_settings settings = {.config = config && strcmp(config, "default_config.json") == 0 ? "per-tensor" : config,
	                                     .param_bw = atoi(json_text(json_get(s, "param_bw"))),
	                                     .output_float16 = strcmp(act, "float16") == 0};
	settings.output_bw = settings.output_float16 ? 16 : atoi(act);
	return quantsim_new(r->whole.m, r->types, &settings, &e);
}

/* The reference's grids are in the order of the tensor, ours by channels. */
static void read_grids(const struct json *list, struct encoding *x, struct quant_grid *g)
{
	size_t blocks = x->channels ? x->n / x->channels : 1;
	bool by_blocks = x->channels && x->channel_axis > x->block_axis;
	for (size_t i = 0; i < x->n; i++) {
		const struct json *enc = json_at(list, by_blocks ? i % blocks * x->channels + i / blocks : i);
		g[i] = (struct quant_grid){json_number(json_at(enc, 0)), json_number(json_at(enc, 1)), json_number(json_at(enc, 2)),
		                           json_number(json_at(enc, 3))};
	}
}

static void add(struct reference_run *r, const char *name, const struct json *q)
{
	static const char *const types[] = {"PER_TENSOR", "PER_CHANNEL", "PER_BLOCK", "LPBQ"};
	const struct json *list = json_get(q, "encodings"), *block = json_get(q, "block");
	const struct quantsim_quantizer *rule = &r->qs->quantizers[r->qs->of_value[onnx_model_find(r->whole.m, name)]];
	struct encoding x = {
		.mode = {.bw = (int)json_int(json_get(q, "bitwidth")), .symmetric = json_bool(json_get(q, "symmetric"))},
		.channel_axis = (int)json_int(json_get(q, "channel_axis")),
		.n = json_size(list)};
	struct onnx_const info;
	if (!json_bool(json_get(q, "enabled")))
		return;
	while (strcmp(types[x.granularity], json_text(json_get(q, "type"))) != 0)
		x.granularity++;
	x.is_float16 = rule->is_float16;
	if (json_is_array(block)) {
		assert_true(onnx_model_const(r->whole.m, rule->value, &info));
		x.rank = info.rank;
		x.block_axis = (int)json_int(json_at(block, 0));
		x.block_size = json_int(json_at(block, 1));
		x.channels = (size_t)info.shape[x.channel_axis];
	}
	struct quant_grid *g = calloc(x.n + 1, sizeof *g);
	read_grids(list, &x, g);
	x.grids = g;
	must(encodings_add(&r->x, !rule->is_param, name, &x, &e) == 0);
	free(g);
}

/* Model, settings and quantizers are there; all else follows. */
static void finish(struct reference_run *r)
{
	must((r->types = value_types_new(r->whole.m, r->whole.ort, &e)));
	must((r->qs = rules(r)));
	r->x = (struct encodings){.param_bw = r->qs->param_bw,
	                          .activation_bw = r->qs->output_bw,
	                          .per_channel = r->qs->per_channel,
	                          .symmetric_params = r->qs->params_symmetric};
	for (void *it = json_first(r->quantizers); it; it = json_next(r->quantizers, it))
		add(r, json_key(it), json_value(it));
	must(bias_encodings_add(&r->x, r->qs, &e) == 0);
	must(moved_encodings_add(&r->x, r->qs, &e) == 0);
}

void reference_run_tiny(struct reference_run *r, const char *variant)
{
	char path[200];
	struct buf b = BUF_INIT;
	(void)snprintf(path, sizeof path, "tests/data/tiny/%s.json", variant);
	assert_int_equal(whole_file(path, &b), 0);
	*r = (struct reference_run){.tiny = parsed(&b)};
	r->settings = json_get(r->tiny, "settings");
	r->quantizers = json_get(r->tiny, "quantizers");
	whole_open(&r->whole, "tests/data/tiny/model.onnx", "tests/data/tiny/calib.npz", 4, 0, 1);
	finish(r);
}

/* A file of the shared folder, gzipped or not. */
static struct json *unzipped(const char *relative)
{
	char path[512], command[600], chunk[1 << 16];
	struct buf text = BUF_INIT;
	(void)snprintf(command, sizeof command, "gzip -dcf '%s'", shared_path(relative, path, sizeof path));
	FILE *f = popen(command, "r");
	assert_non_null(f);
	for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
		buf_add(&text, chunk, n);
	assert_int_equal(pclose(f), 0);
	return parsed(&text);
}

bool reference_run_golden(struct reference_run *r, const char *name)
{
	char relative[200], path[600];
	const char *second = getenv("SEQMSED_MODELS");
	*r = (struct reference_run){0};
	(void)snprintf(relative, sizeof relative, "reference/golden/%s/meta.json", name);
	if (access(shared_path(relative, path, sizeof path), R_OK) != 0)
		return false;
	r->meta = unzipped(relative);
	r->settings = json_get(r->meta, "args");
	(void)snprintf(relative, sizeof relative, "models/%s", json_text(json_get(r->settings, "model")));
	if (access(shared_path(relative, path, sizeof path), R_OK) != 0)
		(void)snprintf(path, sizeof path, "%s/%s", second ? second : "build/models",
		               json_text(json_get(r->settings, "model")));
	if (access(path, R_OK) != 0) {
		json_free(r->meta);
		return false;
	}
	must((r->whole.m = onnx_model_open(path, &e)));
	must((r->whole.ort = ort_open(1, &e)));
	(void)snprintf(relative, sizeof relative, "reference/golden/%s/quantizers.json.gz", name);
	r->owned = unzipped(relative);
	r->quantizers = r->owned;
	finish(r);
	return true;
}

void reference_run_close(struct reference_run *r)
{
	encodings_fini(&r->x);
	quantsim_free(r->qs);
	value_types_free(r->types);
	whole_close(&r->whole);
	json_free(r->tiny);
	json_free(r->meta);
	json_free(r->owned);
}
