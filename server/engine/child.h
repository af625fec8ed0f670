#ifndef SEQMSED_CHILD_H
#define SEQMSED_CHILD_H

/* An engine child: this very program, started as `seqmsed engine`, with nothing but the descriptors it needs.
 *
 *     fd 0   the request, JSON (server/engine/engine_child.c says what)
 *     fd 1   /dev/null     fd 2   a pipe whose last words the supervisor keeps     fd 3   frames (server/engine/frame.h)
 *     fd 4…  the files of the request, in the order in which they are given
 *
 * It runs in an empty folder, with a handful of environment variables, in a process group of its own, dies with the thread
 * that started it, and closes itself in (server/engine/sandbox.h). A `struct child` belongs to that thread.
 */

#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CHILD_FIRST_FILE = 4, CHILD_MAX_FILES = 1024, CHILD_WORDS = 2048, CHILD_GRACE_MS = 2000 };

struct child {
	pid_t pid;
	int frames;             /* reading end, does not block */
	int words;              /* reading end of its standard error, does not block */
	int64_t started;        /* monotonic */
	char last[CHILD_WORDS]; /* what it said last on standard error */
	size_t nlast;
};

struct child_usage {
	double cpu_seconds, wall_seconds;
	int64_t peak_rss_bytes;
	bool clean;   /* it exited with 0 */
	bool killed;  /* by SIGKILL, which is nothing that it can do to itself */
	char how[64]; /* "exit status 1", "signal 9 (Killed)" */
};

/* empty is the folder to run in; files are borrowed. */
int child_start(struct child *c, int empty, const char *request, size_t len, const int *files, size_t nfiles, struct err *e);
/* Reads what standard error has. */
void child_listen(struct child *c);
/* Waits that long for the child to end by itself, ends it, and forgets it. */
void child_reap(struct child *c, int grace_ms, struct child_usage *u);

#endif
