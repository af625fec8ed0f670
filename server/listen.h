#ifndef SEQMSED_LISTEN_H
#define SEQMSED_LISTEN_H

/* The listening socket. There are no keys yet, so only the loopback and unix sockets are served: everything else is refused
 * here. */

#include "core/err.h"

enum { LISTEN_TEXT = 160 };

/* spec: "127.0.0.1:8080", "[::1]:0", "localhost:8080", "unix:PATH" (an old socket there is replaced, readable by the owner
 * only). Returns the socket; shown becomes what a client needs to know, "http://127.0.0.1:8080" or "unix:PATH". ERR_USAGE for
 * a spec that is refused. */
int listen_open(const char *spec, char shown[LISTEN_TEXT], struct err *e);
/* Removes a unix socket's file. */
void listen_forget(const char *spec);

#endif
