#ifndef SEQMSED_TICKET_OFFICE_H
#define SEQMSED_TICKET_OFFICE_H

/* The tickets that are out (api/tickets.h), in memory: a restart ends them. Of 1,024 that nobody used the oldest goes first. Any thread. */

#include "api/backend.h"

struct ticket_office;

struct ticket_office *ticket_office_new(void); /* NULL without memory */
void ticket_office_free(struct ticket_office *t);

/* Fills in the ticket's text and its end; its target is given. */
int ticket_office_add(struct ticket_office *t, const struct api_caller *who, struct api_ticket *ticket, struct err *e);
/* Whether the text is a ticket for the target, and for whom. With spend it is worth nothing afterwards. */
bool ticket_office_use(struct ticket_office *t, const char *text, const char *target, bool spend, struct api_caller *who);

#endif
