#include "server/http/keyring.h"

#include "core/base/io.h"
#include "core/base/json.h"
#include "server/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder whose time is younger than this may change again within the same tick of the file system's clock. */
enum { SETTLED_MS = 50, USED_MS = 60000, MAX_FILE = 4096 };

struct keyring {
	int folder; /* -1: there is none */

	pthread_mutex_t lock; /* guards all below: what was last read of the folder */
	struct keyring_entry *keys;
	size_t n;
	struct timespec changed; /* the folder's time then */
	bool settled;
};

struct keyring *keyring_open(const char *state, bool make, struct err *e)
{
	char path[4096];
	struct keyring *k = calloc(1, sizeof *k);
	if (!k) {
		err_nomem(e, "the keys");
		return NULL;
	}
	pthread_mutex_init(&k->lock, NULL);
	(void)snprintf(path, sizeof path, "%s/keys", state);
	if (make && io_make_folder(path, 0700) < 0) {
		err_errno(e, errno, "making the folder %s", path);
		keyring_close(k);
		return NULL;
	}
	k->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->folder < 0 && (make || errno != ENOENT)) {
		err_errno(e, errno, "opening the folder %s", path);
		keyring_close(k);
		return NULL;
	}
	return k;
}

void keyring_close(struct keyring *k)
{
	if (!k)
		return;
	if (k->folder >= 0)
		(void)close(k->folder);
	pthread_mutex_destroy(&k->lock);
	free(k->keys);
	free(k);
}

/* ---- scopes ---- */

static const char *const scope_names[] = {"read", "submit", "admin"};
enum { NSCOPES = sizeof scope_names / sizeof *scope_names };

bool keyring_scopes_parse(const char *text, unsigned *scopes)
{
	*scopes = 0;
	for (const char *at = text;; at++) {
		size_t n = strcspn(at, ",");
		int i = 0;
		while (i < NSCOPES && (strlen(scope_names[i]) != n || memcmp(scope_names[i], at, n) != 0))
			i++;
		if (i == NSCOPES)
			return false;
		*scopes |= 1u << i;
		at += n;
		if (!*at)
			return true;
	}
}

void keyring_scopes_text(unsigned scopes, char out[32])
{
	out[0] = '\0';
	for (int i = 0; i < NSCOPES; i++)
		if (scopes & 1u << i) {
			if (out[0])
				(void)strcat(out, ",");
			(void)strcat(out, scope_names[i]);
		}
}

/* ---- files ---- */

static int64_t used_at(const struct keyring *k, const char *id)
{
	char name[KEY_ID + 8];
	struct stat s;
	(void)snprintf(name, sizeof name, "%s.used", id);
	return fstatat(k->folder, name, &s, AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t)s.st_mtim.tv_sec * 1000 : 0;
}

static int unpack(const char *id, const struct json *v, struct keyring_entry *out, struct err *e)
{
	const char *owner = json_text(json_get(v, "owner")), *scopes = json_text(json_get(v, "scopes")),
		   *sha256 = json_text(json_get(v, "sha256"));
	memset(out, 0, sizeof *out);
	if (!owner || strlen(owner) > KEYRING_OWNER || !scopes || !keyring_scopes_parse(scopes, &out->scopes) || !sha256 ||
	    strlen(sha256) != SHA256_HEX)
		return err_set(e, ERR_IO, "the file of key %s is damaged", id);
	memcpy(out->id, id, KEY_ID + 1);
	memcpy(out->owner, owner, strlen(owner) + 1);
	memcpy(out->sha256, sha256, SHA256_HEX + 1);
	out->created_at = json_int(json_get(v, "created_at"));
	out->expires_at = json_int(json_get(v, "expires_at"));
	out->revoked_at = json_int(json_get(v, "revoked_at"));
	return 0;
}

static int read_key(const struct keyring *k, const char *id, struct keyring_entry *out, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json *v = NULL;
	int fd = openat(k->folder, id, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "key %s", id);
	int rc = io_read_rest(fd, &b) < 0 ? err_errno(e, errno, "key %s", id) : 0;
	(void)close(fd);
	if (rc == 0 && b.len <= MAX_FILE && b.data)
		v = json_parse(b.data, b.len, e);
	rc = v ? unpack(id, v, out, e) : rc < 0 ? -1 : err_set(e, ERR_IO, "the file of key %s is damaged", id);
	if (rc == 0)
		out->used_at = used_at(k, id);
	json_free(v);
	buf_fini(&b);
	return rc;
}

/* Written beside, synced, renamed, and the folder synced: the old one or the new one is there, whatever happens. */
static int write_file(const struct keyring *k, const char *id, const struct buf *text, struct err *e)
{
	char fresh[KEY_ID + 8];
	(void)snprintf(fresh, sizeof fresh, "%s.new", id);
	int fd = openat(k->folder, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, errno, "key %s", id);
	int rc = io_write(fd, text->data, text->len) < 0 || fsync(fd) < 0 ? err_errno(e, errno, "key %s", id) : 0;
	(void)close(fd);
	if (rc == 0 && (renameat(k->folder, fresh, k->folder, id) < 0 || fsync(k->folder) < 0))
		rc = err_errno(e, errno, "key %s", id);
	if (rc < 0)
		(void)unlinkat(k->folder, fresh, 0);
	return rc;
}

static int write_key(const struct keyring *k, const struct keyring_entry *x, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	char scopes[32];
	keyring_scopes_text(x->scopes, scopes);
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "owner", x->owner);
	json_out_string(&w, "scopes", scopes);
	json_out_string(&w, "sha256", x->sha256);
	json_out_integer(&w, "created_at", x->created_at);
	json_out_integer(&w, "expires_at", x->expires_at);
	json_out_integer(&w, "revoked_at", x->revoked_at);
	json_out_end_object(&w);
	buf_str(&b, "\n");
	int rc = buf_failed(&b) ? err_nomem(e, "a key") : write_file(k, x->id, &b, e);
	buf_fini(&b);
	return rc;
}

/* ---- the folder in memory; under the lock ---- */

static int add_entry(struct keyring *k, const char *id, struct err *e)
{
	struct keyring_entry *more = realloc(k->keys, (k->n + 1) * sizeof *more);
	if (!more)
		return err_nomem(e, "the keys");
	k->keys = more;
	if (read_key(k, id, &more[k->n], e) < 0)
		return -1;
	k->n++;
	return 0;
}

static int by_age(const void *a, const void *b)
{
	const struct keyring_entry *x = a, *y = b;
	return x->created_at != y->created_at ? (x->created_at > y->created_at) - (x->created_at < y->created_at)
	                                      : strcmp(x->id, y->id);
}

static int read_folder(struct keyring *k, struct err *e)
{
	const char *name;
	int fd = openat(k->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0, more = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			(void)close(fd);
		return err_errno(e, errno, "the folder of keys");
	}
	k->n = 0;
	while (rc == 0 && (more = io_next_name(d, &name)) == 1)
		if (key_is_id(name))
			rc = add_entry(k, name, e);
	if (more < 0) /* fewer keys would let in those who have none */
		rc = err_errno(e, errno, "the folder of keys");
	(void)closedir(d);
	if (rc == 0 && k->n > 0)
		qsort(k->keys, k->n, sizeof *k->keys, by_age);
	return rc;
}

static int refresh(struct keyring *k, struct err *e)
{
	struct stat s;
	struct timespec now;
	if (k->folder < 0)
		return 0;
	if (fstat(k->folder, &s) < 0)
		return err_errno(e, errno, "the folder of keys");
	if (k->settled && s.st_mtim.tv_sec == k->changed.tv_sec && s.st_mtim.tv_nsec == k->changed.tv_nsec)
		return 0;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	int64_t age = (now.tv_sec - s.st_mtim.tv_sec) * 1000 + (now.tv_nsec - s.st_mtim.tv_nsec) / 1000000;
	k->settled = false;
	if (read_folder(k, e) < 0)
		return -1;
	k->changed = s.st_mtim;
	k->settled = age > SETTLED_MS;
	return 0;
}

static struct keyring_entry *find(struct keyring *k, const char *id)
{
	for (size_t i = 0; i < k->n; i++)
		if (strcmp(k->keys[i].id, id) == 0)
			return &k->keys[i];
	return NULL;
}

int keyring_any(struct keyring *k, bool *any, struct err *e)
{
	pthread_mutex_lock(&k->lock);
	int rc = refresh(k, e);
	*any = k->n > 0;
	pthread_mutex_unlock(&k->lock);
	return rc;
}

int keyring_list(struct keyring *k, struct keyring_entry **out, size_t *n, struct err *e)
{
	pthread_mutex_lock(&k->lock);
	k->settled = false; /* times of use are not the folder's */
	int rc = refresh(k, e);
	*n = k->n;
	*out = rc == 0 ? malloc((k->n + 1) * sizeof **out) : NULL;
	if (*out && k->n > 0)
		memcpy(*out, k->keys, k->n * sizeof **out);
	pthread_mutex_unlock(&k->lock);
	return rc < 0 || *out ? rc : err_nomem(e, "the keys");
}

/* ---- checking ---- */

/* Takes equally long wherever the texts differ. */
static bool same(const char a[SHA256_HEX], const char b[SHA256_HEX])
{
	unsigned differ = 0;
	for (size_t i = 0; i < SHA256_HEX; i++)
		differ |= (unsigned)(a[i] ^ b[i]);
	return differ == 0;
}

static void note_use(const struct keyring *k, const char *id)
{
	char name[KEY_ID + 8];
	(void)snprintf(name, sizeof name, "%s.used", id);
	int fd = openat(k->folder, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return; /* it is only told to people */
	(void)futimens(fd, NULL);
	(void)close(fd);
}

int keyring_check(struct keyring *k, const char *text, int64_t now, struct keyring_entry *out, struct err *e)
{
	char id[KEY_ID + 1], digest[SHA256_HEX + 1];
	if (!key_parse(text, id))
		return 0;
	if (sha256_of(text, KEY_TEXT, digest, e) < 0)
		return -1;
	pthread_mutex_lock(&k->lock);
	int rc = refresh(k, e);
	struct keyring_entry *x = rc == 0 ? find(k, id) : NULL;
	bool good = x && same(x->sha256, digest) && !x->revoked_at && (!x->expires_at || now < x->expires_at);
	bool note = good && now - x->used_at > USED_MS;
	if (good) {
		if (note)
			x->used_at = now;
		*out = *x;
	}
	pthread_mutex_unlock(&k->lock);
	if (note)
		note_use(k, id);
	return rc < 0 ? -1 : good;
}

/* ---- changing ---- */

int keyring_add(struct keyring *k, const char *owner, unsigned scopes, int64_t expires_at, char text[KEY_TEXT + 1], struct err *e)
{
	struct keyring_entry x = {.scopes = scopes, .created_at = clock_ms(), .expires_at = expires_at};
	if (!owner[0] || strlen(owner) > KEYRING_OWNER || !json_is_utf8(owner) || strpbrk(owner, "\r\n\t"))
		return err_set(e, ERR_USAGE, "a key's NAME has 1 to %d bytes of UTF-8 text", KEYRING_OWNER);
	if (key_new(text, e) < 0 || sha256_of(text, KEY_TEXT, x.sha256, e) < 0)
		return -1;
	(void)snprintf(x.owner, sizeof x.owner, "%s", owner);
	(void)key_parse(text, x.id);
	return write_key(k, &x, e);
}

static int load(struct keyring *k, const char *id, struct keyring_entry *x, struct err *e)
{
	if (k->folder < 0 || !key_is_id(id) || (read_key(k, id, x, e) < 0 && e->code == ERR_NOT_FOUND))
		return err_set(e, ERR_NOT_FOUND, "there is no key %.40s; seqmsed key list shows them", id);
	return e->code == ERR_NONE ? 0 : -1;
}

int keyring_revoke(struct keyring *k, const char *id, struct err *e)
{
	struct keyring_entry x = {.created_at = 0};
	if (load(k, id, &x, e) < 0)
		return -1;
	if (!x.revoked_at)
		x.revoked_at = clock_ms();
	return write_key(k, &x, e);
}

int keyring_rotate(struct keyring *k, const char *id, char text[KEY_TEXT + 1], struct err *e)
{
	struct keyring_entry x = {.created_at = 0};
	if (load(k, id, &x, e) < 0)
		return -1;
	if (x.revoked_at)
		return err_set(e, ERR_BAD_STATE, "key %s is revoked", id);
	return key_renew(id, text, e) == 0 && sha256_of(text, KEY_TEXT, x.sha256, e) == 0 ? write_key(k, &x, e) : -1;
}
