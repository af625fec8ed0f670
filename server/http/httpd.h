#ifndef SEQMSED_HTTPD_H
#define SEQMSED_HTTPD_H

/* HTTP/1.1 over libmicrohttpd: bytes to struct http_request, struct http_response to bytes. httpd.c is the only file that
 * includes microhttpd.h.
 *
 * A few threads serve all connections. They never wait: a request that needs a disk's answer, an inspection or the
 * database's writer is suspended and worked on by the crew; one that waits for a job is suspended until the watch resumes it.
 */

#include "api/routes.h"
#include "server/config.h"

struct auth;
struct blobs;
struct crew;
struct guests;
struct metrics;
struct httpd;
struct watch;

struct httpd_options {
	const struct config *config;
	const struct api *api;
	struct blobs *blobs;
	struct crew *crew;
	struct watch *watch;
	struct auth *auth;
	struct guests *guests;
	struct metrics *metrics;
	int socket; /* listening; the daemon's from here on */
};

struct httpd *httpd_start(const struct httpd_options *o, struct err *e);
/* Accepts no more connections and answers further requests with 503; what is being worked on goes on. */
void httpd_drain(struct httpd *h);
/* Waits a moment for answers to leave, then closes all connections. No request may be with the crew or the watch any more. */
void httpd_stop(struct httpd *h);

const char *httpd_version(void); /* the library's */

#endif
