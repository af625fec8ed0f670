#ifndef SEQMSED_CLI_FILES_H
#define SEQMSED_CLI_FILES_H

/* A command's output folder: all files or none. Files are written under temporary names and get their own at the end; a folder that did
 * not exist is removed again when the command fails. */

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>

struct cli_files {
	const char *dir;
	bool made_dir;
	char *names[8];
	int n;
};

/* Makes the folder (and its parents) where it is missing. */
int cli_files_open(struct cli_files *f, const char *dir, struct err *e);
/* Writes a file under a temporary name. */
int cli_files_add(struct cli_files *f, const char *name, const struct buf *content, struct err *e);
/* Gives all files their names. */
int cli_files_keep(struct cli_files *f, struct err *e);
/* Removes what was not kept. To be called in any case. */
void cli_files_close(struct cli_files *f);

/* Reads a whole file. */
int cli_read_file(const char *path, struct buf *out, struct err *e);

#endif
