#ifndef SEQMSED_CLI_FILES_H
#define SEQMSED_CLI_FILES_H

/* A command's output folder: all files or none. Files are written under temporary names and get their own at the end; folders
 * that did not exist are removed again when the command fails. */

#include "core/base/buf.h"
#include "core/base/err.h"

#include <stddef.h>

struct cli_files {
	char *dir;   /* without slashes at its end */
	size_t made; /* length of the first folder on the way to dir that was made; 0: none */
	char *names[32];
	int n;
};

/* Makes the folder (and its parents) where it is missing. After a failure, too, cli_files_close() is to be called. */
int cli_files_open(struct cli_files *f, const char *dir, struct err *e);
/* Writes a file under a temporary name. */
int cli_files_add(struct cli_files *f, const char *name, const struct buf *content, struct err *e);
/* Gives all files their names; a failure leaves none of them. */
int cli_files_keep(struct cli_files *f, struct err *e);
/* Removes what was not kept. To be called in any case. */
void cli_files_close(struct cli_files *f);

/* Reads a whole file. */
int cli_read_file(const char *path, struct buf *out, struct err *e);

#endif
