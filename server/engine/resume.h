#ifndef SEQMSED_RESUME_H
#define SEQMSED_RESUME_H

/* Inside the engine child: the layers that earlier attempts at the job finished, so that this one does not search them again.
 *
 * The daemon keeps every finished layer's frame as it came (server/engine/layer_frame.h) and hands all of them to the next child as one file, a
 * frame a line. A layer that was found under another machine_id(), and a line that does not parse, are left out: they are searched
 * again. */

#include "core/search/seqmse.h"

struct resume;

/* Reads the file from its beginning; fd stays the caller's. */
struct resume *resume_read(int fd, const char *machine, struct err *e);
void resume_free(struct resume *r);
/* struct seqmse_hooks's known(); resume is a struct resume, or NULL. Lives as long as that. */
const struct seqmse_layer_result *resume_layer(const struct resume *r, int index);

#endif
