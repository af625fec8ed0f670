#ifndef SEQMSED_CLIENT_H
#define SEQMSED_CLIENT_H

/* Requests to a daemon, for the commands that are its clients. The one door to libcurl, which is opened when the first request is made: the daemon and
 * its engines never load it.
 *
 * A refusal becomes an error with the code and the detail that the daemon gave. A daemon that cannot be reached is ERR_IO.
 */

#include "core/base/err.h"
#include "core/base/json.h"

#include <stdint.h>

struct client;

/* server is an address like http://127.0.0.1:8080, or unix:PATH; NULL is $SEQMSED_SERVER, or else http://127.0.0.1:8080. The key that the daemon may want
 * is $SEQMSED_KEY, so that it does not stand among the arguments of a process. */
struct client *client_open(const char *server, struct err *e);
void client_close(struct client *c);

/* The answer's JSON, to be freed by the caller; NULL on error. */
struct json *client_get(struct client *c, const char *path, struct err *e);
/* body is JSON text, or NULL. */
struct json *client_post(struct client *c, const char *path, const char *body, struct err *e);

/* Sends a file as it is. progress (may be NULL) is told how many of how many bytes are there. */
typedef void client_progress(void *ctx, int64_t done, int64_t total);
struct json *client_upload(struct client *c, const char *path, const char *file, client_progress *progress, void *ctx,
                           struct err *e);

/* Writes what the daemon sends into fd. */
int client_download(struct client *c, const char *path, int fd, struct err *e);

/* text for use in a query: percent-encoded. */
void client_quote(const char *text, struct buf *out);

#endif
