#include "server/cli/cli_options.h"

#include "core/workflow/params.h"
#include "server/cli/cli_args.h"
#include "server/config.h"

#include <stdio.h>
#include <string.h>

const struct cli_command cli_commands[] = {
	{"serve", "run the daemon: models, calibration data and jobs over HTTP", "[options]", NULL, false, true, ""},
	{"quantize", "search a model's weight ranges and write its encodings", "MODEL.onnx DATA -o DIR [options]",
         "Quantizes the model: searches the weights of every Conv, Gemm and MatMul, finds the ranges of everything else, and "
         "writes into DIR:\n"
         "  model.encodings              what an inference toolchain reads\n"
         "  model_qdq.onnx               the quantized model as plain ONNX, with QuantizeLinear and DequantizeLinear\n"
         "  model_qdq_prequantized.onnx  the same with its weights as integers\n"
         "  model.onnx                   the float model that the encodings belong to\n"
         "  report.json, report.html     what was done, layer by layer, and what accuracy is left: for programs, for people\n"
         "\n"
         "DATA is .npz, .npy or .safetensors with an array for every input of the model, a .tar of ONNX test sets, or a folder or "
         ".zip of\n"
         "images, with --preprocess.",
         true, false, NULL},
	{"inspect", "show a model's inputs and layers, and what can be searched",
         "MODEL.onnx [--json]\nMODEL.onnx --quantizers [options]",
         "Shows inputs, outputs and every Conv, Gemm and MatMul: whether it can be searched and, if not, why. External data need "
         "not be there.\n"
         "With --quantizers: which tensors the simulation quantizes, and how, as JSON; the other options go with it.",
         false, false, NULL},
	{"compare", "compare two encodings files", "A.encodings B.encodings [--model MODEL.onnx --calib DATA [options]]",
         "Says how two encodings files, of whatever version, differ: in names, bit widths, symmetry, counts, offsets, and scales "
         "(by more than\n"
         "1e-06 relative). Exit status 0: equal, 1: they differ or one cannot be read, 2: usage.\n"
         "\n"
         "With a model and the calibration data, each file's weights are also held against a search that follows them: a channel's "
         "scale must be\n"
         "the one the search chooses, or tie with it (losses, in double precision, within 1e-5). Then the exit status says whether "
         "that holds\n"
         "for both files. Settings are those of the search.",
         true, false, NULL},
	{"submit", "give a daemon a model, data and a job", "MODEL.onnx DATA [options]",
         "Uploads both to a daemon (what it has already is not stored twice), submits a job, and prints its id.", true, false,
         NULL},
	{"wait", "wait for a daemon's job", "JOB [options]", "Waits for a job's end; the exit status is 0 if it succeeded.", false,
         false, ""},
	{"get", "download what a job has found", "JOB [-o DIR] [options]",
         "Downloads a finished job's encodings into DIR (default: here).", false, false, ""},
	{"list", "list a daemon's jobs", "[options]",
         "The newest 100 jobs, a line each: id, status, progress, when it was submitted, name.", false, false, ""},
	{"cancel", "cancel a job", "JOB [options]", "Cancels a job; what it had found stays.", false, false, ""},
	{"key", "make, list, revoke and rotate the keys of a daemon",
         "add NAME [options]\nlist [options]\nrevoke ID [options]\nrotate ID [options]",
         "add makes a key and prints it, once; list shows all, without their secrets; a key that was revoked is worth nothing from "
         "the next\n"
         "request on; rotate prints another secret, and the old one is worth nothing.\n"
         "NAME is whose key it is: keys of one name own the same models and jobs. As soon as there is a key, the daemon answers "
         "only to keys.",
         false, false, "add list revoke rotate"},
	{"migrate", "bring a daemon's database to this version's schema", "[options]", NULL, false, false, ""},
	{"backup", "write a daemon's state to an archive, while it works", "FILE [options]", NULL, false, false, NULL},
	{"gc", "clean up the state folder of a daemon that does not run", "[options]", NULL, false, false, ""},
	{"completion", "print a script that completes commands in a shell", "bash|zsh",
         "Prints the script; make install puts both where the shells look. For this shell alone: source <(seqmsed completion bash)",
         false, false, "bash zsh"},
	{"man", "print the manual page, for man -l -", "", "Prints the manual page: seqmsed man | man -l -", false, false, ""},
	{"engine", NULL, "", NULL, false, false, ""},
	{"version", "print the version", "", "Prints the version, and that of ONNX Runtime.", false, false, ""},
	{"help", "print this", "", NULL, false, false, ""},
};
const size_t cli_commands_len = sizeof cli_commands / sizeof *cli_commands;

#define VERSIONS "1.0.0|0.6.1|2.0.0|2.1.0"

const struct cli_option cli_options[] = {
	{" quantize ", "output", 'o', "DIR", "where to write; made if missing"},
	{" quantize ", "eval", 0, "FILE", "data to evaluate on, with labels or without: how much accuracy is left"},
	{" quantize ", "encoding-version", 0, VERSIONS, "format of the encodings (default 1.0.0)"},
	{" quantize ", "dry-run", 0, NULL, "search and write nothing: how long it would take, and how much memory"},
	{" quantize ", "json", 0, NULL, "one JSON object per event on stdout"},
	{" quantize ", "quiet", 0, NULL, "no progress, no summary"},

	{" inspect ", "json", 0, NULL, "for a program"},
	{" inspect ", "quantizers", 0, NULL, "which tensors are quantized"},
	{" inspect ", "config", 0, "FILE", "a built-in configuration's name, or a file of one's own"},
	{" inspect ", "param-bw", 0, "N", "bits of parameters (default 4)"},
	{" inspect ", "output-bw", 0, "N", "bits of activations (default 8)"},
	{" inspect ", "output-float16", 0, NULL, "float16 activations"},
	{" inspect ", "block-size", 0, "N", "weights in blocks of N input channels"},
	{" inspect ", "block-ops", 0, "TYPES", "of which ops (default Conv,Gemm,MatMul)"},
	{" inspect ", "lpbq", 0, NULL, "with --block-size: low-power blocks"},

	{" compare ", "model", 0, "FILE", "the model that both belong to"},
	{" compare ", "calib", 0, "FILE", "the calibration data"},

	{" submit ", "wait", 0, NULL, "wait for its end; the exit status is 0 if it succeeded"},
	{" submit ", "output", 'o', "DIR", "wait, and download the encodings into DIR"},
	{" get ", "output", 'o', "DIR", "where to write; made if missing"},
	{" submit get ", "all", 0, NULL, "download all files"},
	{" submit get ", "encoding-version", 0, VERSIONS, "format of the encodings (default 1.0.0)"},
	{" submit ", "name", 0, "NAME", "what the job is called"},
	{" list ", "status", 0, "queued|running|paused|canceling|succeeded|failed|canceled", "only those"},
	{" list ", "json", 0, NULL, "as the daemon describes them, a JSON object a line"},
	{" submit wait get list cancel ", "server", 0, "URL",
         "of the daemon, or unix:PATH; $SEQMSED_SERVER, or http://127.0.0.1:8080. $SEQMSED_KEY is the key, where it wants one"},
	{" submit wait get list cancel ", "quiet", 0, NULL, "no progress, no remarks"},

	{" key ", "scope", 0, "SCOPES",
         "read, submit, admin (sees and changes everything), with commas between (default read,submit)"},
	{" key ", "expires", 0, "TIME", "a number and d, h or m: 90d"},
	{" key migrate backup gc ", "state-dir", 0, "DIR", "the daemon's, as for serve"},
	{" gc ", "keep-job-days", 0, "N", "after which ended jobs and their results are forgotten"},
	{" gc ", "keep-upload-days", 0, "N", "after which models, calibrations and encodings that no job uses are forgotten"},
};
const size_t cli_options_len = sizeof cli_options / sizeof *cli_options;

const struct cli_command *cli_command_find(const char *name)
{
	for (size_t i = 0; i < cli_commands_len; i++)
		if (strcmp(cli_commands[i].name, name) == 0)
			return &cli_commands[i];
	return NULL;
}

bool cli_option_of(const struct cli_option *o, const char *command)
{
	char between[40];
	(void)snprintf(between, sizeof between, " %s ", command);
	return strstr(o->commands, between) != NULL;
}

/* ---- help ---- */

static void print_option(const struct cli_option *o)
{
	char left[60];
	(void)snprintf(left, sizeof left, "%s--%s%s%s", o->letter ? "-o, " : "", o->flag, o->value ? " " : "",
	               !o->value               ? ""
	               : strchr(o->value, '|') ? "WORD"
	                                       : o->value);
	(void)printf("  %-26s %s", left, o->meaning);
	if (o->value && strchr(o->value, '|'))
		(void)printf(" (%s)", o->value);
	(void)putchar('\n');
}

void cli_options_help(const char *command)
{
	const struct cli_command *c = cli_command_find(command);
	const char *start = "usage";
	for (const char *p = c->words; p; start = "     ") {
		size_t n = strcspn(p, "\n");
		(void)printf("%s: seqmsed %s %.*s\n", start, c->name, (int)n, p);
		p = p[n] ? p + n + 1 : NULL;
	}
	(void)printf("\n%s\n\n", c->about);
	for (size_t i = 0; i < cli_options_len; i++)
		if (cli_option_of(&cli_options[i], command))
			print_option(&cli_options[i]);
	if (c->params)
		cli_args_print_params();
}

/* ---- all options ---- */

static void flag_of(const char *name, char out[64])
{
	(void)snprintf(out, 64, "%s", name);
	for (char *p = out; *p; p++)
		*p = *p == '_' ? '-' : *p;
}

static void walk_params(cli_options_each *each, void *ctx)
{
	for (size_t i = 0; i < params_table_len; i++) {
		const struct params_entry *t = &params_table[i];
		char flag[64];
		const char *value = t->kind == PARAMS_BOOL     ? NULL
		                    : t->kind == PARAMS_CHOICE ? t->choices
		                    : t->kind == PARAMS_JSON   ? "FILE"
		                    : t->kind == PARAMS_GLOBS  ? "GLOB"
		                    : t->kind == PARAMS_BYTES  ? "SIZE"
		                                               : "N";
		flag_of(t->name, flag);
		each(ctx, flag, 0, value, t->meaning);
	}
}

void cli_options_walk(const struct cli_command *c, cli_options_each *each, void *ctx)
{
	for (size_t i = 0; i < cli_options_len; i++) {
		const struct cli_option *o = &cli_options[i];
		if (cli_option_of(o, c->name))
			each(ctx, o->flag, o->letter, o->value, o->meaning);
	}
	if (c->params)
		walk_params(each, ctx);
	const char *name, *meaning;
	for (size_t i = 0; c->settings && config_setting(i, &name, &meaning); i++) {
		char flag[64];
		flag_of(name, flag);
		each(ctx, flag, 0, strcmp(name, "state_dir") == 0 ? "DIR" : "VALUE", meaning);
	}
}
