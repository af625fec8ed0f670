#include "server/cli/cli.h"
#include "server/cli/cli_completion.h"
#include "server/cli/cli_man.h"
#include "server/cli/cli_options.h"

#include "core/base/json.h"
#include "core/base/version.h"
#include "core/run/ort.h"
#include "server/cli/backup.h"
#include "server/cli/gc.h"
#include "server/engine/engine.h"
#include "server/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
} commands[] = {
	{"serve", cmd_serve},
	{"quantize", cli_quantize},
	{"inspect", cli_inspect},
	{"compare", cli_compare},
	{"submit", cli_submit},
	{"wait", cli_wait},
	{"get", cli_get},
	{"list", cli_list},
	{"cancel", cli_cancel},
	{"key", cli_key},
	{"migrate", cmd_migrate},
	{"backup", cmd_backup},
	{"gc", cmd_gc},
	{"completion", cli_completion},
	{"man", cli_man},
	{"engine", cmd_engine},
	{"version", version},
	{"help", help},
};

static int help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	(void)puts("seqmsed: Sequential MSE quantization of ONNX models\n");
	for (size_t i = 0; i < cli_commands_len; i++)
		if (cli_commands[i].does)
			(void)printf("  seqmsed %-10s %s\n", cli_commands[i].name, cli_commands[i].does);
	(void)puts("\nseqmsed COMMAND --help tells more.");
	return 0;
}

int cli_fail(const struct err *e)
{
	(void)fprintf(stderr, "seqmsed: %s%s%s%s\n", e->msg, e->code == ERR_USAGE ? "" : " (",
	              e->code == ERR_USAGE ? "" : err_name(e->code), e->code == ERR_USAGE ? "" : ")");
	return e->code == ERR_USAGE ? 2 : 1;
}

/* The first files that are opened must not take the places of streams that the caller closed: what is printed would go into them. /dev/null,
 * open for the wrong direction, keeps the place, and whoever uses it hears of it. */
static int keep_streams(struct err *e)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return err_errno(e, errno, "/dev/null");
	return 0;
}

int main(int argc, char **argv)
{
	json_take_memory();
	struct err e = ERR_INIT;
	if (keep_streams(&e) < 0)
		return cli_fail(&e);
	if (argc < 2)
		return help(argc, argv), 2;
	const char *name = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ? "help"
	                   : strcmp(argv[1], "--version") == 0                          ? "version"
	                                                                                : argv[1];
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	(void)err_set(&e, ERR_USAGE, "unknown command %s; seqmsed help lists them", argv[1]);
	return cli_fail(&e);
}
