#include "server/base/heap.h"
#include "server/cli/cli.h"
#include "server/cli/cli_args.h"
#include "server/cli/cli_digest.h"
#include "server/cli/cli_files.h"
#include "server/cli/cli_options.h"
#include "server/cli/cli_progress.h"

#include "core/base/io.h"
#include "core/base/json.h"
#include "core/data/arrays.h"
#include "core/onnx/onnx_model.h"
#include "core/run/ort.h"
#include "core/search/layer_settings.h"
#include "core/search/rates.h"
#include "core/workflow/fingerprint.h"
#include "core/workflow/params.h"
#include "core/workflow/quantize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the command line asks for. */
struct command {
	const char *model, *calib, *eval, *out;
	enum encodings_version version;
	bool json, quiet, dry;
	struct params params;
};

static int take_word(struct command *q, const char *word, struct err *e)
{
	if (!q->model)
		q->model = word;
	else if (!q->calib)
		q->calib = word;
	else
		return err_set(e, ERR_USAGE, "one word too many: %s", word);
	return 0;
}

static int take_version(struct command *q, struct cli_args *a, struct err *e)
{
	const char *text;
	if (cli_args_value(a, &text, e))
		return -1;
	if (!encodings_version_parse(text, &q->version, e))
		return 0;
	e->code = ERR_USAGE;
	return err_wrap(e, "--encoding-version");
}

static int take(struct command *q, struct cli_args *a, struct err *e)
{
	if (!a->flag[0])
		return take_word(q, a->word, e);
	bool *flag = strcmp(a->flag, "json") == 0 ? &q->json : strcmp(a->flag, "quiet") == 0 ? &q->quiet : NULL;
	if (strcmp(a->flag, "dry-run") == 0)
		flag = &q->dry;
	if (flag) {
		*flag = true;
		return a->value ? err_set(e, ERR_USAGE, "--%s takes no value", a->flag) : 0;
	}
	if (strcmp(a->flag, "o") == 0 || strcmp(a->flag, "output") == 0)
		return cli_args_value(a, &q->out, e);
	if (strcmp(a->flag, "eval") == 0)
		return cli_args_value(a, &q->eval, e);
	if (strcmp(a->flag, "encoding-version") == 0)
		return take_version(q, a, e);
	return cli_args_param(a, &q->params, e);
}

static int parse(struct command *q, int argc, char **argv, struct err *e)
{
	struct cli_args a;
	cli_args_init(&a, argc, argv);
	while (cli_args_next(&a))
		if (take(q, &a, e))
			return -1;
	if (!q->model || !q->calib || (!q->out && !q->dry))
		return err_set(e, ERR_USAGE, "%s is missing; see seqmsed quantize --help",
		               !q->model   ? "the model"
		               : !q->calib ? "the calibration data"
		                           : "-o DIR");
	if (layer_settings_check(&q->params, e)) {
		e->code = ERR_USAGE;
		return -1;
	}
	return 0;
}

/* The accuracy table, a line a row. */
static void print_accuracy(const struct quantize *run)
{
	size_t n;
	const struct evaluate_row *rows = quantize_accuracy(run, &n);
	for (size_t i = 0; i < n; i++) {
		const struct evaluate_score *s = &rows[i].score;
		(void)printf("%-9s %-17s", rows[i].weights,
		             i == 0                ? ""
		             : rows[i].activations ? "with activations"
		                                   : "weights only");
		if (!isnan(s->accuracy))
			(void)printf("  accuracy %.4f", s->accuracy);
		if (!isnan(s->retrieval))
			(void)printf("  retrieval %.4f", s->retrieval);
		if (i > 0 && s->noutputs)
			(void)printf("  %s: SQNR %.1f dB, cosine %.4f", s->outputs[0].name, s->outputs[0].sqnr,
			             s->outputs[0].cosine);
		(void)putchar('\n');
	}
}

static void summary(const struct command *q, const struct quantize *run)
{
	const struct seqmse_result *r = quantize_search(run);
	const struct seqmse_stats *s = seqmse_stats(r);
	int64_t channels = 0, shrunk = 0;
	double loss = 0, minmax = 0;
	for (size_t i = 0; i < seqmse_layers(r); i++) {
		const struct seqmse_layer_result *l = seqmse_layer(r, i);
		channels += l->ngrids;
		for (int c = 0; c < l->ngrids; c++) {
			shrunk += l->chosen[c] < l->candidates - 1;
			double full = loss_amount(l->loss_fn, l->minmax_loss[c]);
			loss += full > 0 ? loss_amount(l->loss_fn, l->loss[c]) / full : 1;
			minmax += 1;
		}
	}
	(void)printf("%zu layers, %lld channels searched on %lld samples in %.1f s; %.0f %% of the channels got a smaller range,\n"
	             "and a channel's output error (%s) is on average %.0f %% of what the full range gives.\n"
	             "%s/model.encodings\n",
	             seqmse_layers(r), (long long)channels, (long long)s->samples_used, s->seconds_total,
	             100.0 * (double)shrunk / (double)channels, loss_name((enum loss_fn)q->params.loss_fn), 100 * loss / minmax,
	             q->out);
	print_accuracy(run);
}

/* Where the files go; of the encodings only the wanted version is kept. */
struct outputs {
	const struct command *q;
	struct cli_files files;
	bool encodings;
};

static int on_file(void *ctx, const char *name, const char *media_type, const struct buf *content, struct err *e)
{
	struct outputs *o = ctx;
	const char *end = strrchr(name, '.');
	(void)media_type;
	if (strcmp(end ? end : "", ".encodings") != 0)
		return cli_files_add(&o->files, name, content, e);
	if (strcmp(name, encodings_file_name(o->q->version)) != 0)
		return 0;
	o->encodings = true;
	return cli_files_add(&o->files, "model.encodings", content, e);
}

static int write_outputs(struct outputs *o, struct quantize *run, struct err *e)
{
	struct buf unused = BUF_INIT;
	int rc = quantize_export(run, on_file, o, e);
	if (!rc && !o->encodings) { /* this version cannot say it: hear why */
		rc = encodings_write(quantize_encodings(run), o->q->version, &unused, e);
		buf_fini(&unused);
	}
	return rc ? rc : cli_files_keep(&o->files, e);
}

/* Says which file an error of the search is about, unless it says so itself. */
static void name_file(const struct command *q, struct err *e)
{
	bool model = e->code == ERR_NOT_ONNX || e->code == ERR_UNSUPPORTED_GRAPH || e->code == ERR_ORT;
	const char *file = model ? q->model : e->code == ERR_CALIBRATION ? q->calib : NULL;
	if (file && strncmp(e->msg, file, strlen(file)) != 0)
		err_wrap(e, "%s", file);
}

static int fingerprint(const struct command *q, struct arrays *data, char out[SHA256_HEX + 1], struct err *e)
{
	char model[SHA256_HEX + 1], calib[SHA256_HEX + 1];
	int rc = cli_digest_file(q->model, model, e);
	if (!rc)
		rc = arrays_are_images(data) ? cli_digest_images(data, calib, e) : cli_digest_file(q->calib, calib, e);
	const char *runtime = rc ? NULL : ort_version(e);
	return runtime ? fingerprint_of(runtime, model, calib, &q->params, out, e) : -1;
}

/* The data in *in, images made into numbers as the settings say. Data to evaluate on may be arrays where those to calibrate with are images. */
static int open_data(const struct command *q, struct quantize_inputs *in, struct err *e)
{
	if (!(in->data = arrays_open(q->calib, e)) || arrays_preprocess(in->data, q->params.preprocess, e))
		return -1;
	if (!q->eval)
		return 0;
	in->evaluation = arrays_open(q->eval, e);
	if (in->evaluation && arrays_are_images(in->evaluation))
		return arrays_preprocess(in->evaluation, q->params.preprocess, e);
	return in->evaluation ? 0 : -1;
}

static int get_rates(const struct command *q, struct rates *r, struct err *e)
{
	char path[4096];
	return rates_get(rates_path(path) ? path : NULL, params_threads(&q->params), r, e);
}

static int quantize(struct command *q, struct err *e)
{
	struct rates rates;
	struct onnx_model *m = NULL;
	char print[SHA256_HEX + 1];
	struct quantize_inputs in = {.fingerprint = print};
	struct quantize *run = NULL;
	struct outputs outputs = {.q = q};
	struct cli_progress progress;
	int rc = -1;
	cli_progress_init(&progress, q->json, q->quiet);
	struct seqmse_hooks hooks = cli_progress_hooks(&progress);
	if (!(in.model = m = onnx_model_open(q->model, e)) || open_data(q, &in, e) || cli_files_open(&outputs.files, q->out, e) ||
	    fingerprint(q, in.data, print, e))
		goto out;
	if (get_rates(q, &rates, e))
		goto out;
	hooks.rates = &rates;
	run = quantize_run(&in, &q->params, &hooks, e);
	if (run)
		rc = write_outputs(&outputs, run, e);
	cli_progress_end(&progress);
	if (rc)
		name_file(q, e);
	else if (!q->quiet && !q->json)
		summary(q, run);
out:
	cli_files_close(&outputs.files);
	quantize_free(run);
	arrays_free(in.evaluation);
	arrays_free(in.data);
	onnx_model_free(m);
	cli_progress_result(&progress, e);
	return rc;
}

/* ---- a dry run ---- */

static void print_estimate(const struct command *q, const struct quantize_estimate *x)
{
	struct buf text = BUF_INIT;
	struct json_out w;
	if (!q->json) {
		(void)printf("about %.1f s: search %.1f (graph %.1f, statistics %.1f, candidates %.1f), activations %.1f, "
		             "evaluation %.1f, files %.1f\nabout %.0f MiB of memory",
		             x->total, x->graph + x->gram + x->search, x->graph, x->gram, x->search, x->calibrate, x->evaluate,
		             x->export, (double)x->peak_bytes / 1048576);
		(void)printf(x->spilled_bytes ? ", and %.0f MiB through a file\n" : "\n", (double)x->spilled_bytes / 1048576);
		return;
	}
	json_out_init(&w, &text, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "event", "estimate");
	quantize_estimate_json(x, &w, "estimate");
	json_out_end_object(&w);
	if (!buf_failed(&text))
		(void)printf("%s\n", text.data);
	buf_fini(&text);
}

static int dry_run(const struct command *q, struct err *e)
{
	struct onnx_model *m = onnx_model_open(q->model, e);
	struct quantize_inputs in = {.model = m};
	struct quantize_estimate estimate;
	struct rates rates;
	int rc = -1;
	if (m && !open_data(q, &in, e) && !get_rates(q, &rates, e))
		rc = quantize_estimate(&in, &q->params, &rates, &estimate, NULL, e);
	if (!rc)
		print_estimate(q, &estimate);
	else
		name_file(q, e);
	arrays_free(in.evaluation);
	arrays_free(in.data);
	onnx_model_free(m);
	return rc;
}

int cli_quantize(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct command q = {.version = ENCODINGS_1_0_0};
	if (cli_args_want_help(argc, argv)) {
		cli_options_help("quantize");
		return 0;
	}
	heap_keeps();
	params_init(&q.params);
	int rc = parse(&q, argc, argv, &e);
	if (!rc)
		rc = q.dry ? dry_run(&q, &e) : quantize(&q, &e);
	params_fini(&q.params);
	return rc ? cli_fail(&e) : 0;
}
