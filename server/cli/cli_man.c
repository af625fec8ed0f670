#include "server/cli/cli_man.h"

#include "core/base/err.h"
#include "core/base/version.h"
#include "server/cli/cli_args.h"
#include "server/cli/cli_options.h"

#include <stdio.h>
#include <string.h>

/* n bytes of text, in which nothing is a request or an escape of roff. */
static void text_n(const char *text, size_t n)
{
	for (size_t i = 0; i < n && text[i]; i++) {
		if ((text[i] == '.' || text[i] == '\'') && (i == 0 || text[i - 1] == '\n'))
			(void)fputs("\\&", stdout);
		if (text[i] == '\\')
			(void)fputs("\\e", stdout);
		else if (text[i] == '-')
			(void)fputs("\\-", stdout);
		else if (strchr(",|", text[i]))
			(void)printf("%c\\:", text[i]); /* long words may break here */
		else
			(void)putchar(text[i]);
	}
}

static void text(const char *t)
{
	text_n(t, strlen(t));
}

static void option(void *ctx, const char *flag, char letter, const char *value, const char *meaning)
{
	(void)ctx;
	(void)puts(".TP");
	(void)printf("\\fB");
	if (letter)
		(void)printf("\\-%c\\fR, \\fB", letter);
	(void)printf("\\-\\-");
	text(flag);
	(void)printf("\\fR");
	if (value) {
		(void)printf(" \\fI");
		text(value);
		(void)printf("\\fR");
	}
	(void)putchar('\n');
	text(meaning);
	(void)putchar('\n');
}

/* What a command is for, as it was laid out: paragraphs, and lists of lines that begin with spaces. */
static void about(const char *t)
{
	bool list = false;
	while (*t) {
		size_t n = strcspn(t, "\n");
		bool item = t[0] == ' ';
		if (item != list)
			(void)puts(item ? ".PP\n.nf" : ".fi");
		list = item;
		if (n == 0)
			(void)puts(".PP");
		text_n(t, n);
		if (n)
			(void)putchar('\n');
		t += n + (t[n] != '\0');
	}
	if (list)
		(void)puts(".fi");
}

static void command(const struct cli_command *c)
{
	(void)printf(".SS seqmsed %s\n", c->name);
	const char *p = c->words;
	do {
		size_t n = strcspn(p, "\n");
		(void)printf("\\fBseqmsed %s\\fR ", c->name);
		text_n(p, n);
		(void)printf("\n.br\n");
		p += n + (p[n] != '\0');
	} while (*p);
	(void)puts(".PP");
	if (c->about) {
		about(c->about);
	} else {
		text(c->does);
		(void)puts(".");
	}
	cli_options_walk(c, option, NULL);
}

static void exit_status(void)
{
	(void)puts(".SH EXIT STATUS\n"
	           ".TP\n0\nIt worked.\n.TP\n1\nIt failed: standard error has one line, which ends with one of the codes below.\n"
	           ".TP\n2\nThe command line is wrong.\n"
	           ".PP\nThe codes stay the same when the wording changes:");
#define X(symbol, name, meaning)                             \
	if ((symbol) != ERR_NONE && (symbol) != ERR_USAGE) { \
		(void)puts(".TP");                           \
		text(name);                                  \
		(void)putchar('\n');                         \
		text(meaning);                               \
		(void)putchar('\n');                         \
	}
	ERR_CODES(X)
#undef X
}

int cli_man(int argc, char **argv)
{
	if (cli_args_want_help(argc, argv)) {
		cli_options_help("man");
		return 0;
	}
	(void)printf(".TH SEQMSED 1 \"\" \"seqmsed %s\" \"User Commands\"\n.ad l\n"
	             ".SH NAME\nseqmsed \\- Sequential MSE quantization of ONNX models\n"
	             ".SH SYNOPSIS\n\\fBseqmsed\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n"
	             ".SH DESCRIPTION\n"
	             "Finds, for every output channel of every convolution and matrix product of a float ONNX model, the scale of "
	             "the integer grid that\n"
	             "hurts the model's outputs least on some calibration data, and a grid for every activation; as a command, or "
	             "as a daemon that is\n"
	             "asked over HTTP.\n"
	             ".PP\nAn option's value comes as the next word or behind an equals sign.\n"
	             ".SH COMMANDS\n",
	             SEQMSED_VERSION);
	for (size_t i = 0; i < cli_commands_len; i++)
		if (cli_commands[i].does && strcmp(cli_commands[i].name, "help") != 0)
			command(&cli_commands[i]);
	exit_status();
	(void)puts(".SH ENVIRONMENT\n"
	           ".TP\nSEQMSED_SERVER, SEQMSED_KEY\nThe daemon that \\fBsubmit\\fR, \\fBwait\\fR, \\fBget\\fR, \\fBlist\\fR and "
	           "\\fBcancel\\fR ask, and the key that they show it.\n"
	           ".TP\nSEQMSED_ONNXRUNTIME\nThe file of ONNX Runtime's library, where it is not found by itself.\n"
	           ".TP\nTMPDIR\nWhere activations go that have no room in memory; else \\fI/var/tmp\\fR.\n"
	           ".PP\nEvery option of \\fBserve\\fR has a variable: \\-\\-max\\-model\\-bytes is SEQMSED_MAX_MODEL_BYTES.\n"
	           ".SH EXAMPLES\n.nf\nseqmsed quantize model.onnx calib.npz \\-o out \\-\\-param\\-bw 4\n"
	           "seqmsed quantize model.onnx photos/ \\-o out \\-\\-preprocess resize=256,crop=224\n"
	           "seqmsed submit model.onnx calib.npz \\-\\-server http://127.0.0.1:8080 \\-o out\n.fi");
	return 0;
}
