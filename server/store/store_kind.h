#ifndef SEQMSED_STORE_KIND_H
#define SEQMSED_STORE_KIND_H

/* What the tables of uploaded objects differ in. Everything here is for use inside a transaction, or with a reader. */

#include "api/backend.h"

struct db;
struct db_rows;

struct store_kind {
	const char *table, *name; /* name: of one of them, in errors */
	/* Statements, and the values that they take. */
	const char *find;   /* owner, sha256: the id of the object that is exactly this file */
	const char *get;    /* id, store_sees_all(), store_owner(): a row for store_kind_read() */
	const char *list;   /* id of the one before or "", the same two, limit: such rows, newest first */
	const char *blobs;  /* id: the digests of all its files */
	const char *drop;   /* id */
	const char *forget; /* after that: what was known of it; or NULL */
	int (*insert)(struct db *d, const struct api_object *x, struct err *e);
	/* The columns of its own, from that one on, and what other tables have. */
	int (*read)(struct db *d, struct db_rows *r, int column, struct api_object *x, struct err *e);
	/* ERR_IN_USE while a job that is not finished needs it. */
	int (*check_unused)(struct db *d, const char *id, struct err *e);
};

/* By enum api_kind. */
extern const struct store_kind store_kinds[];

/* Reads a row of get or list into *x, which is all zeros; to be released in any case. */
int store_kind_read(struct db *d, enum api_kind kind, struct db_rows *r, struct api_object *x, struct err *e);

#endif
