#ifndef SEQMSED_CLI_ARGS_H
#define SEQMSED_CLI_ARGS_H

/* The words of a command line, one at a time: --flag value, --flag=value, -o value, and plain words. */

#include "core/base/err.h"
#include "core/workflow/params.h"

#include <stdbool.h>

struct cli_args {
	int argc, at;
	char **argv;
	char flag[128];    /* without the dashes; "" for a plain word */
	const char *word;  /* the plain word, or the flag as it was given */
	const char *value; /* after "=", or NULL */
};

void cli_args_init(struct cli_args *a, int argc, char **argv); /* argv[0] is the command */
bool cli_args_next(struct cli_args *a);                        /* false at the end */

/* The current flag's value; ERR_USAGE where there is none. */
int cli_args_value(struct cli_args *a, const char **value, struct err *e);
/* Sets the parameter of the current flag's name; unknown ones and bad values are ERR_USAGE. */
int cli_args_param(struct cli_args *a, struct params *p, struct err *e);

/* Whether --help or -h stands among the words. */
bool cli_args_want_help(int argc, char **argv);
/* One line for every parameter, for help texts. */
void cli_args_print_params(void);

#endif
