#ifndef SEQMSED_BEAT_H
#define SEQMSED_BEAT_H

/* Inside the engine child: a thread that once a second tells the supervisor how much processor time the process has used (a FRAME_BEAT),
 * its own not counted. The supervisor takes a child for hung from which it hears nothing, or which does nothing, for BEAT_PATIENCE_MS.
 *
 * Where the sandbox cannot limit memory (sanitizer builds), the thread watches it ten times a second, and ends the process with an error
 * frame when more than rss_bytes are resident. */

#include "core/base/err.h"

#include <stdint.h>

enum { BEAT_MS = 1000, BEAT_PATIENCE_MS = 15000 };

/* rss_bytes 0: unlimited. The thread lives as long as the process. */
int beat_start(int frames, int64_t rss_bytes, struct err *e);

#endif
