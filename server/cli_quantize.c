#include "cli.h"
#include "cli_files.h"
#include "cli_progress.h"

#include "core/json.h"
#include "core/npz.h"
#include "core/onnx_model.h"
#include "core/params.h"
#include "core/report.h"
#include "core/seqmse.h"

#include <stdio.h>
#include <string.h>

struct quantize {
	const char *model, *calib, *out;
	enum encodings_version version;
	bool json, quiet;
	struct params params;
};

static void help(void)
{
	(void)puts("usage: seqmsed quantize MODEL.onnx CALIB.npz -o DIR [options]\n"
	           "\n"
	           "Searches the weight ranges of every Conv, Gemm and MatMul and writes into DIR:\n"
	           "  model.encodings               what an inference toolchain reads\n"
	           "  model_weights_quantized.onnx  the float model with its weights on the chosen grids\n"
	           "  report.json                   what was done, layer by layer\n"
	           "\n"
	           "  -o, --output DIR           where to write; made if missing\n"
	           "  --encoding-version V       1.0.0 (default) or 0.6.1\n"
	           "  --json                     one JSON object per event on stdout\n"
	           "  --quiet                    no progress, no summary");
	for (size_t i = 0; i < params_table_len; i++) {
		char flag[64];
		(void)snprintf(flag, sizeof flag, "--%s", params_table[i].name);
		for (char *p = flag; *p; p++)
			*p = *p == '_' ? '-' : *p;
		(void)printf("  %-26s %s", flag, params_table[i].meaning);
		if (params_table[i].kind == PARAMS_INTEGER && params_table[i].dflt)
			(void)printf(" (default %lld)", (long long)params_table[i].dflt);
		(void)putchar('\n');
	}
}

/* One flag with its value; *used says whether the value was taken. */
static int set_flag(struct quantize *q, const char *flag, const char *value, bool *used, struct err *e)
{
	char name[64];
	*used = true;
	if (strcmp(flag, "json") == 0 || strcmp(flag, "quiet") == 0) {
		*used = false;
		*(flag[0] == 'j' ? &q->json : &q->quiet) = true;
		return 0;
	}
	if (snprintf(name, sizeof name, "%s", flag) >= (int)sizeof name)
		return err_set(e, ERR_USAGE, "unknown option --%.60s…", flag);
	for (char *p = name; *p; p++)
		*p = *p == '-' ? '_' : *p;
	if (!value)
		return err_set(e, ERR_USAGE, "--%s needs a value", flag);
	if (strcmp(flag, "output") == 0) {
		q->out = value;
		return 0;
	}
	if (strcmp(flag, "encoding-version") == 0)
		return encodings_version_parse(value, &q->version, e);
	return params_set_text(&q->params, name, value, e) ? err_wrap(e, "--%s", flag) : 0;
}

static int take_word(struct quantize *q, const char *word, struct err *e)
{
	if (!q->model)
		q->model = word;
	else if (!q->calib)
		q->calib = word;
	else
		return err_set(e, ERR_USAGE, "one word too many: %s", word);
	return 0;
}

/* --flag value, --flag=value, -o value, and words. */
static int parse(struct quantize *q, int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		char flag[128];
		const char *equals = strchr(argv[i], '='), *value = i + 1 < argc ? argv[i + 1] : NULL;
		bool used, glued = false;
		if (strcmp(argv[i], "-o") == 0) {
			(void)strcpy(flag, "output");
		} else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2]) {
			glued = equals != NULL;
			int len = glued ? (int)(equals - argv[i]) - 2 : (int)strlen(argv[i]) - 2;
			(void)snprintf(flag, sizeof flag, "%.*s", len, argv[i] + 2);
			value = glued ? equals + 1 : value;
		} else if (argv[i][0] == '-' && argv[i][1]) {
			return err_set(e, ERR_USAGE, "unknown option %s", argv[i]);
		} else {
			if (take_word(q, argv[i], e))
				return -1;
			continue;
		}
		if (set_flag(q, flag, value, &used, e)) {
			e->code = ERR_USAGE;
			return -1;
		}
		i += used && !glued;
	}
	if (!q->model || !q->calib || !q->out)
		return err_set(e, ERR_USAGE, "%s is missing; see seqmsed quantize --help",
		               !q->model ? "the model" : !q->calib ? "the calibration data" : "-o DIR");
	return 0;
}

static void summary(const struct quantize *q, const struct seqmse_result *r)
{
	const struct seqmse_stats *s = seqmse_stats(r);
	int64_t channels = 0, shrunk = 0;
	double loss = 0, minmax = 0;
	for (size_t i = 0; i < seqmse_layers(r); i++) {
		const struct seqmse_layer_result *l = seqmse_layer(r, i);
		channels += l->channels;
		for (int c = 0; c < l->channels; c++) {
			shrunk += l->chosen[c] < q->params.num_candidates - 1;
			loss += l->minmax_loss[c] > 0 ? l->loss[c] / l->minmax_loss[c] : 1;
			minmax += 1;
		}
	}
	(void)printf("%zu layers, %lld channels searched on %lld samples in %.1f s; %.0f %% of the channels got a smaller range,\n"
	             "and a channel's squared output error is on average %.0f %% of what the full range gives.\n"
	             "%s/model.encodings\n",
	             seqmse_layers(r), (long long)channels, (long long)s->samples_used, s->seconds_total, 100.0 * (double)shrunk / (double)channels,
	             100 * loss / minmax, q->out);
}

static int write_outputs(const struct quantize *q, const struct seqmse_result *r, struct cli_files *files, struct err *e)
{
	struct buf encodings = BUF_INIT, report = BUF_INIT, model = BUF_INIT;
	int rc = encodings_write(seqmse_encodings(r), q->version, &encodings, e);
	if (!rc)
		rc = report_json(r, &q->params, &report, e);
	if (!rc)
		rc = seqmse_write_model(r, &model, e);
	if (!rc)
		rc = cli_files_add(files, "model.encodings", &encodings, e);
	if (!rc)
		rc = cli_files_add(files, "report.json", &report, e);
	if (!rc)
		rc = cli_files_add(files, "model_weights_quantized.onnx", &model, e);
	if (!rc)
		rc = cli_files_keep(files, e);
	buf_fini(&encodings);
	buf_fini(&report);
	buf_fini(&model);
	return rc;
}

static void json_end(const struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "event", e->code ? "error" : "done");
	if (e->code) {
		json_out_string(&w, "code", err_name(e->code));
		json_out_string(&w, "detail", e->msg);
	}
	json_out_end_object(&w);
	buf_str(&b, "\n");
	if (!buf_failed(&b))
		(void)fwrite(b.data, 1, b.len, stdout);
	buf_fini(&b);
}

static int quantize(struct quantize *q, struct err *e)
{
	struct onnx_model *m = NULL;
	struct npz *data = NULL;
	struct seqmse_result *r = NULL;
	struct cli_files files = {0};
	struct cli_progress progress;
	int rc = -1;
	cli_progress_init(&progress, q->json, q->quiet);
	struct seqmse_hooks hooks = cli_progress_hooks(&progress);
	if (!(m = onnx_model_open(q->model, e)) || !(data = npz_open(q->calib, e)))
		goto out;
	if (cli_files_open(&files, q->out, e))
		goto out;
	r = seqmse_run(m, data, &q->params, &hooks, e);
	cli_progress_end(&progress);
	if (!r)
		goto out;
	rc = write_outputs(q, r, &files, e);
	if (!rc && !q->quiet && !q->json)
		summary(q, r);
out:
	cli_files_close(&files);
	seqmse_result_free(r);
	npz_free(data);
	onnx_model_free(m);
	if (q->json)
		json_end(e);
	return rc;
}

int cli_quantize(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct quantize q = {.version = ENCODINGS_1_0_0};
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			help();
			return 0;
		}
	params_init(&q.params);
	int rc = parse(&q, argc, argv, &e);
	if (!rc)
		rc = quantize(&q, &e);
	params_fini(&q.params);
	return rc ? cli_fail(&e) : 0;
}
