#include "cli.h"

#include "core/ort.h"
#include "core/version.h"
#include "server/engine.h"
#include "server/serve.h"

#include <stdio.h>
#include <string.h>

static int version(int argc, char **argv)
{
	struct err e = ERR_INIT;
	(void)argc;
	(void)argv;
	const char *runtime = ort_version(&e);
	(void)printf("seqmsed %s, ONNX Runtime %s\n", SEQMSED_VERSION, runtime ? runtime : "not found");
	return 0;
}

static int help(int argc, char **argv);

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *does;
} commands[] = {
	{"serve", cmd_serve, "run the daemon: models, calibration data and jobs over HTTP"},
	{"quantize", cli_quantize, "search a model's weight ranges and write its encodings"},
	{"inspect", cli_inspect, "show a model's inputs and layers, and what can be searched"},
	{"compare", cli_compare, "compare two encodings files"},
	{"migrate", cmd_migrate, "bring a daemon's database to this version's schema"},
	{"engine", cmd_engine, "what serve starts for every job; not to be run by hand"},
	{"version", version, "print the version"},
	{"help", help, "print this"},
};

static int help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	(void)puts("seqmsed: Sequential MSE quantization of ONNX models\n");
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		(void)printf("  seqmsed %-9s %s\n", commands[i].name, commands[i].does);
	(void)puts("\nseqmsed COMMAND --help tells more.");
	return 0;
}

int cli_fail(const struct err *e)
{
	(void)fprintf(stderr, "seqmsed: %s%s%s%s\n", e->msg, e->code == ERR_USAGE ? "" : " (", e->code == ERR_USAGE ? "" : err_name(e->code),
	              e->code == ERR_USAGE ? "" : ")");
	return e->code == ERR_USAGE ? 2 : 1;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return help(argc, argv), 2;
	const char *name = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ? "help"
	                   : strcmp(argv[1], "--version") == 0                            ? "version"
	                                                                                  : argv[1];
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	struct err e = ERR_INIT;
	(void)err_set(&e, ERR_USAGE, "unknown command %s; seqmsed help lists them", argv[1]);
	return cli_fail(&e);
}
