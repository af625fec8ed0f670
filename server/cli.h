#ifndef SEQMSED_CLI_H
#define SEQMSED_CLI_H

/* The commands that work without a daemon. Each takes argv with its own name first and returns the exit status: 0, 1 (failed),
 * 2 (usage). */

#include "core/err.h"

int cli_quantize(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_compare(int argc, char **argv);

/* Says the error on stderr, "seqmsed: …", and returns the exit status that goes with its code. */
int cli_fail(const struct err *e);

#endif
