#ifndef SEQMSED_MIGRATE_H
#define SEQMSED_MIGRATE_H

/* Brings a database to the schema of this program: the numbered files of migrations/, each in one transaction together with
 * its row in schema_migrations, so that a kill leaves the old schema or the new one. */

#include "core/base/err.h"

#include <stddef.h>

struct db;

struct migration {
	int number;
	const char *name;
	const char *sql;
};

extern const struct migration migrations[]; /* ascending numbers; made from migrations/ by the build */
extern const size_t migrations_len;

/* Applies what is missing to a writing connection. A database that a newer program has migrated is ERR_BAD_STATE. */
int migrate(struct db *d, struct err *e);

#endif
