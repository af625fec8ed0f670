#ifndef SEQMSED_CLI_H
#define SEQMSED_CLI_H

/* The commands but the daemon's own. Each takes argv with its own name first and returns the exit status: 0, 1 (failed),
 * 2 (usage). */

#include "core/base/err.h"

int cli_quantize(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_quantizers(int argc, char **argv); /* inspect --quantizers */
int cli_key(int argc, char **argv);
int cli_compare(int argc, char **argv);

/* Those that are clients of one: cli_jobs.c. */
int cli_submit(int argc, char **argv);
int cli_wait(int argc, char **argv);
int cli_get(int argc, char **argv);
int cli_list(int argc, char **argv);
int cli_cancel(int argc, char **argv);

/* Says the error on stderr, "seqmsed: …", and returns the exit status that goes with its code. */
int cli_fail(const struct err *e);

#endif
