#include "server/cli/cli.h"
#include "server/cli/cli_args.h"
#include "server/cli/cli_files.h"

#include "core/quantsim/quantsim_json.h"
#include "core/run/ort.h"
#include "core/run/value_types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
	const char *path;
	struct quantsim_settings settings;
	int64_t block_size; /* 0: as the configuration says */
	bool lpbq;
	const char *block_ops; /* op types, separated by commas */
	struct buf config;     /* the configuration's file */
};

static int bits(struct cli_args *a, int *to, struct err *e)
{
	const char *text;
	char *end;
	if (cli_args_value(a, &text, e))
		return -1;
	long v = strtol(text, &end, 10);
	*to = end == text || *end || v < 0 || v > QUANT_MAX_BW ? 0 : (int)v;
	return *to < QUANT_MIN_BW ? err_set(e, ERR_USAGE, "%s: %d to %d bits", a->word, QUANT_MIN_BW, QUANT_MAX_BW) : 0;
}

/* A file's content where there is such a file, else a built-in configuration's name. */
static int config(struct cli_args *a, struct request *r, struct err *e)
{
	const char *text;
	struct err missing = ERR_INIT;
	if (cli_args_value(a, &text, e))
		return -1;
	r->settings.config = text;
	if (cli_read_file(text, &r->config, &missing)) {
		if (missing.code == ERR_NOT_FOUND)
			return 0;
		*e = missing;
		return -1;
	}
	r->settings.config = r->config.data ? r->config.data : "";
	if (r->settings.config[strspn(r->settings.config, " \t\r\n")] != '{')
		return err_set(e, ERR_BAD_PARAM, "%s: a configuration is a JSON object", text);
	return 0;
}

static int block_size(struct cli_args *a, struct request *r, struct err *e)
{
	const char *text;
	char *end;
	if (cli_args_value(a, &text, e))
		return -1;
	r->block_size = strtoll(text, &end, 10);
	return end == text || *end || r->block_size < 1 ? err_set(e, ERR_USAGE, "%s: a positive number is expected", a->word) : 0;
}

static int read_flag(struct cli_args *a, struct request *r, struct err *e)
{
	if (strcmp(a->flag, "quantizers") == 0 || strcmp(a->flag, "json") == 0)
		return 0;
	if (strcmp(a->flag, "config") == 0)
		return config(a, r, e);
	if (strcmp(a->flag, "param-bw") == 0)
		return bits(a, &r->settings.param_bw, e);
	if (strcmp(a->flag, "output-bw") == 0)
		return bits(a, &r->settings.output_bw, e);
	if (strcmp(a->flag, "output-float16") == 0)
		r->settings.output_float16 = true;
	else if (strcmp(a->flag, "block-size") == 0)
		return block_size(a, r, e);
	else if (strcmp(a->flag, "block-ops") == 0)
		return cli_args_value(a, &r->block_ops, e);
	else if (strcmp(a->flag, "lpbq") == 0)
		r->lpbq = true;
	else
		return err_set(e, ERR_USAGE, "unknown word %s; see seqmsed inspect --help", a->word);
	return 0;
}

static int read_words(int argc, char **argv, struct request *r, struct err *e)
{
	struct cli_args a;
	cli_args_init(&a, argc, argv);
	while (cli_args_next(&a)) {
		if (!*a.flag && r->path)
			return err_set(e, ERR_USAGE, "unknown word %s; see seqmsed inspect --help", a.word);
		if (!*a.flag)
			r->path = a.word;
		else if (read_flag(&a, r, e))
			return -1;
	}
	return r->path ? 0 : err_set(e, ERR_USAGE, "the model is missing; see seqmsed inspect --help");
}

static bool in_list(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *at = strstr(list, word); at; at = strstr(at + 1, word))
		if ((at == list || at[-1] == ',') && (at[len] == ',' || !at[len]))
			return true;
	return false;
}

/* Weights that cannot be cut into such blocks stay as they are. */
static void cut_into_blocks(struct quantsim *qs, const struct request *r)
{
	for (int i = 0; i < qs->nops && r->block_size; i++)
		if (in_list(r->block_ops, qs->ops[i].type))
			(void)quantsim_set_weight(qs, i, 0, r->lpbq ? QUANT_LPBQ : QUANT_PER_BLOCK, r->block_size);
}

static int print(const struct quantsim *qs, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 1);
	int rc = quantsim_to_json(qs, &w, NULL, e);
	buf_str(&b, "\n");
	if (!rc && buf_failed(&b))
		rc = err_nomem(e, "the output");
	if (!rc && fwrite(b.data, 1, b.len, stdout) != b.len)
		rc = err_errno(e, errno, "standard output");
	buf_fini(&b);
	return rc;
}

static int list(const struct request *r, struct err *e)
{
	struct onnx_model *m = onnx_model_open(r->path, e);
	struct ort *o = m ? ort_open(1, e) : NULL;
	struct value_types *types = o ? value_types_new(m, o, e) : NULL;
	struct quantsim *qs = types ? quantsim_new(m, types, &r->settings, e) : NULL;
	if (qs)
		cut_into_blocks(qs, r);
	int rc = qs ? print(qs, e) : -1;
	quantsim_free(qs);
	value_types_free(types);
	ort_close(o);
	onnx_model_free(m);
	return rc;
}

int cli_quantizers(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct request r = {.settings = {.param_bw = 4, .output_bw = 8}, .block_ops = "Conv,Gemm,MatMul", .config = BUF_INIT};
	int rc = read_words(argc, argv, &r, &e);
	if (!rc)
		rc = list(&r, &e);
	buf_fini(&r.config);
	return rc ? cli_fail(&e) : 0;
}
