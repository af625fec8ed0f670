#ifndef SEQMSED_KEYRING_H
#define SEQMSED_KEYRING_H

/* The keys of a state folder: STATE/keys/ID, a small JSON file each, with the key's SHA-256 instead of the key. Random keys of 256 bits
 * need no slow hash: there is nothing to guess.
 *
 * They are files, not rows, so that `seqmsed key` works beside a running daemon without a second writer on its database, and
 * they are outside of what clients can fill. A change is a synced file and a rename. The daemon sees it at the next request: it reads
 * the folder again when the folder's time has changed. Any thread.
 */

#include "core/base/err.h"
#include "core/base/sha256.h"
#include "server/http/key.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEYRING_READ = 1, KEYRING_SUBMIT = 2, KEYRING_ADMIN = 4, KEYRING_OWNER = 63 };

struct keyring_entry {
	char id[KEY_ID + 1];
	char owner[KEYRING_OWNER + 1]; /* who is meant: keys of one name see the same objects as their own */
	unsigned scopes;
	char sha256[SHA256_HEX + 1];
	int64_t created_at, expires_at, revoked_at; /* milliseconds; 0: never */
	int64_t used_at;                            /* to the minute; 0: never, or nobody knows */
};

struct keyring;

/* state is the state folder's path; the folder of keys is made when make is set. Without it a missing one is an empty ring. */
struct keyring *keyring_open(const char *state, bool make, struct err *e);
void keyring_close(struct keyring *k);

/* Whether there is any key, revoked and expired ones too: where there ever were keys, nobody comes in without one. */
int keyring_any(struct keyring *k, bool *any, struct err *e);

/* Looks a key up. 1: it is good, and *out is what it may; 0: it is not; -1: nobody knows. */
int keyring_check(struct keyring *k, const char *text, int64_t now, struct keyring_entry *out, struct err *e);

/* All keys, oldest first, to be freed. */
int keyring_list(struct keyring *k, struct keyring_entry **out, size_t *n, struct err *e);
/* A new key; text is shown once, and kept nowhere. */
int keyring_add(struct keyring *k, const char *owner, unsigned scopes, int64_t expires_at, char text[KEY_TEXT + 1], struct err *e);
int keyring_revoke(struct keyring *k, const char *id, struct err *e);
/* Another secret for the same name, owner and scopes; the old one is no good any more. */
int keyring_rotate(struct keyring *k, const char *id, char text[KEY_TEXT + 1], struct err *e);

/* "read,submit" */
bool keyring_scopes_parse(const char *text, unsigned *scopes);
void keyring_scopes_text(unsigned scopes, char out[32]);

#endif
