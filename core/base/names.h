#ifndef SEQMSE_NAMES_H
#define SEQMSE_NAMES_H

/* Names to small numbers: each new name gets the next number, 0, 1, 2, … The names are borrowed and must outlive the table. */

#include <stdbool.h>

struct names;

struct names *names_new(void); /* NULL: no memory */
void names_free(struct names *t);
int names_add(struct names *t, const char *name);        /* its number, new or old; -1: no memory */
int names_find(const struct names *t, const char *name); /* its number, or -1 */
bool names_failed(const struct names *t);                /* whether a names_add() ever ran out of memory */
int names_count(const struct names *t);
const char *names_text(const struct names *t, int number); /* the name with that number */

#endif
