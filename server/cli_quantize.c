#include "cli.h"
#include "cli_args.h"
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
	cli_args_print_params();
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

static int take_version(struct quantize *q, struct cli_args *a, struct err *e)
{
	const char *text;
	if (cli_args_value(a, &text, e))
		return -1;
	if (!encodings_version_parse(text, &q->version, e))
		return 0;
	e->code = ERR_USAGE;
	return err_wrap(e, "--encoding-version");
}

static int take(struct quantize *q, struct cli_args *a, struct err *e)
{
	if (!a->flag[0])
		return take_word(q, a->word, e);
	if (strcmp(a->flag, "json") == 0 || strcmp(a->flag, "quiet") == 0) {
		*(a->flag[0] == 'j' ? &q->json : &q->quiet) = true;
		return a->value ? err_set(e, ERR_USAGE, "--%s takes no value", a->flag) : 0;
	}
	if (strcmp(a->flag, "o") == 0 || strcmp(a->flag, "output") == 0)
		return cli_args_value(a, &q->out, e);
	if (strcmp(a->flag, "encoding-version") == 0)
		return take_version(q, a, e);
	return cli_args_param(a, &q->params, e);
}

static int parse(struct quantize *q, int argc, char **argv, struct err *e)
{
	struct cli_args a;
	cli_args_init(&a, argc, argv);
	while (cli_args_next(&a))
		if (take(q, &a, e))
			return -1;
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

/* Says which file an error of the search is about, unless it says so itself. */
static void name_file(const struct quantize *q, struct err *e)
{
	bool model = e->code == ERR_NOT_ONNX || e->code == ERR_UNSUPPORTED_GRAPH || e->code == ERR_ORT;
	const char *file = model ? q->model : e->code == ERR_CALIBRATION ? q->calib : NULL;
	if (file && strncmp(e->msg, file, strlen(file)) != 0)
		err_wrap(e, "%s", file);
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
	if (!r) {
		name_file(q, e);
		goto out;
	}
	rc = write_outputs(q, r, &files, e);
	if (!rc && !q->quiet && !q->json)
		summary(q, r);
out:
	cli_files_close(&files);
	seqmse_result_free(r);
	npz_free(data);
	onnx_model_free(m);
	cli_progress_result(&progress, e);
	return rc;
}

int cli_quantize(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct quantize q = {.version = ENCODINGS_1_0_0};
	if (cli_args_want_help(argc, argv)) {
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
