#ifndef SEQMSED_LISTEN_H
#define SEQMSED_LISTEN_H

/* The listening socket. Without keys only the loopback and unix sockets are served: everything else is refused
 * here. */

#include "core/base/err.h"

#include <stdbool.h>

enum { LISTEN_TEXT = 160 };

/* spec: "127.0.0.1:8080", "[::1]:0", "localhost:8080", "unix:PATH" (an old socket there is replaced, readable by the owner
 * only). Returns the socket; shown becomes what a client needs to know, "http://127.0.0.1:8080" or "unix:PATH". ERR_USAGE for
 * a spec that is refused. anywhere: addresses beyond the loopback will do, too. */
int listen_open(const char *spec, bool anywhere, char shown[LISTEN_TEXT], struct err *e);
/* Removes a unix socket's file. */
void listen_forget(const char *spec);

#endif
