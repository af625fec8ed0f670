#ifndef SEQMSED_API_TICKETS_H
#define SEQMSED_API_TICKETS_H

/* Tickets: a download without a key in its URL. A client that has a key asks for a ticket for one target, and whoever comes with the
 * ticket within a minute gets that target once, as if the key had been sent. */

#include "api/http.h"

enum { TICKET_SECONDS = 60, TICKET_DIGEST = 64 };

/* What the target asks for, apart from ?ticket, as 64 hexadecimal digits: a ticket belongs to one of them. */
int ticket_target(const struct http_request *q, char digest[TICKET_DIGEST + 1], struct err *e);

#endif
