#ifndef SEQMSED_BACKUP_H
#define SEQMSED_BACKUP_H

/* `seqmsed backup FILE`: a tar archive of a state folder, also while a daemon works in it, as it was at one moment: the database as one
 * transaction left it, and every file that its rows use. `tar xf FILE -C FOLDER` into an empty folder, and serve with it, is how one goes
 * back; jobs that ran then go on, as after a kill.
 *
 * The daemon may go on with everything; only files that it lets go of meanwhile stay until its next start (a shared lock on blobs/). Every
 * file's digest is checked on the way. FILE appears when it is whole; when this succeeds its name is on the disk, too. */

#include "core/base/err.h"

#include <stdint.h>

struct backup_facts {
	int64_t files, bytes;
};

int backup_write(const char *state_dir, const char *file, struct backup_facts *facts, struct err *e);

int cmd_backup(int argc, char **argv);

#endif
