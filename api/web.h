#ifndef SEQMSED_WEB_H
#define SEQMSED_WEB_H

/* The dashboard: the files of api/web, which the build puts into the program (build/gen/web.c), under /web/, and index.html as /. They are the
 * same for everybody and hold no data; what they show they ask the API for. */

#include "api/http.h"

#include <stddef.h>

struct web_file {
	const char *name; /* "app.js" */
	const char *text;
	size_t len;
};

extern const struct web_file web_files[];
extern const size_t web_files_len;

/* Answers with the file of that name, or with a 404. */
void web_answer(struct http_response *r, const struct http_request *q, const char *name);

#endif
