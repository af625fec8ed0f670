#ifndef SEQMSED_CLI_FOLLOW_H
#define SEQMSED_CLI_FOLLOW_H

/* Waiting for a daemon's job at a terminal. */

#include "core/base/err.h"
#include "server/cli/client.h"

#include <stdbool.h>

/* Waits until the job has ended, with a progress line on stderr where that is a terminal. 0: it succeeded; else the error is the job's own. Being
 * interrupted (Ctrl-C) leaves the job running: ERR_CANCELED. */
int cli_follow(struct client *c, const char *job, bool quiet, struct err *e);

/* Downloads the job's encodings as DIR/model.encodings in that version and, where all is true, every other file as well. */
int cli_fetch(struct client *c, const char *job, const char *dir, const char *version, bool all, struct err *e);

#endif
