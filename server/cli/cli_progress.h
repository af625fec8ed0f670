#ifndef SEQMSED_CLI_PROGRESS_H
#define SEQMSED_CLI_PROGRESS_H

/* How a search shows itself on the command line: one line that is drawn over on a terminal, one JSON object per event with
 * --json, nothing in a pipe. */

#include "core/search/seqmse.h"

#include <stdbool.h>

struct cli_progress {
	bool json, quiet;
	bool terminal;  /* stderr is one */
	double started; /* seconds */
	double drawn;   /* when the line was drawn last */
	bool line;      /* there is a line to be wiped */
};

void cli_progress_init(struct cli_progress *p, bool json, bool quiet);
/* Hooks that draw; ctx is p. The first SIGINT or SIGTERM cancels the run, a second one kills it (ONNX Runtime may be in a long call). */
struct seqmse_hooks cli_progress_hooks(struct cli_progress *p);
/* Wipes the line. */
void cli_progress_end(struct cli_progress *p);
/* The last event: "done", or "error" where e holds one. */
void cli_progress_result(const struct cli_progress *p, const struct err *e);

#endif
