#include "server/cli/client.h"

#include "core/base/buf.h"
#include "core/base/io.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_ANSWER = 256 << 20 }; /* of JSON */

/* What is used of libcurl. The header makes macros of some names, to check types; here they are only names. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
static struct {
	__typeof__(&curl_easy_init) init;
	__typeof__(&curl_easy_cleanup) cleanup;
	__typeof__(&curl_easy_setopt) set;
	__typeof__(&curl_easy_getinfo) info;
	__typeof__(&curl_easy_perform) perform;
	__typeof__(&curl_easy_reset) reset;
	__typeof__(&curl_slist_append) append;
	__typeof__(&curl_slist_free_all) free_all;
} lib;

struct client {
	CURL *curl;
	char *base, *socket; /* socket: NULL, or a unix socket's path */
	char *key;           /* "Authorization: Bearer …", or NULL */
};

/* One request and what comes back. */
struct exchange {
	struct client *c;
	struct buf body; /* of JSON answers and problems */
	int fd;          /* where a file goes, or -1 */
	bool failed;     /* the file could not be written: errno is in why */
	int why;
	client_progress *progress;
	void *ctx;
};

static int load(struct err *e)
{
	void *so = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	if (!so)
		return err_set(e, ERR_NOT_FOUND, "libcurl cannot be loaded (Debian's package is libcurl4): %s", dlerror());
	*(void **)&lib.init = dlsym(so, "curl_easy_init");
	*(void **)&lib.cleanup = dlsym(so, "curl_easy_cleanup");
	*(void **)&lib.set = dlsym(so, "curl_easy_setopt");
	*(void **)&lib.info = dlsym(so, "curl_easy_getinfo");
	*(void **)&lib.perform = dlsym(so, "curl_easy_perform");
	*(void **)&lib.reset = dlsym(so, "curl_easy_reset");
	*(void **)&lib.append = dlsym(so, "curl_slist_append");
	*(void **)&lib.free_all = dlsym(so, "curl_slist_free_all");
	bool all = lib.init && lib.cleanup && lib.set && lib.info && lib.perform && lib.reset && lib.append && lib.free_all;
	return all ? 0 : err_set(e, ERR_NOT_FOUND, "libcurl lacks a function that is needed");
}

static char *joined(const char *a, const char *b)
{
	struct buf t = BUF_INIT;
	buf_str(&t, a);
	buf_str(&t, b);
	if (!buf_failed(&t))
		return t.data;
	buf_fini(&t);
	return NULL;
}

struct client *client_open(const char *server, struct err *e)
{
	const char *key = getenv("SEQMSED_KEY"), *named = getenv("SEQMSED_SERVER");
	if (!server)
		server = named && *named ? named : "http://127.0.0.1:8080";
	bool local = strncmp(server, "unix:", 5) == 0;
	if (!local && strncmp(server, "http://", 7) != 0 && strncmp(server, "https://", 8) != 0) {
		err_set(e, ERR_USAGE, "%s is no server: give an address like http://127.0.0.1:8080, or unix:PATH", server);
		return NULL;
	}
	if (load(e))
		return NULL;
	struct client *c = calloc(1, sizeof *c);
	if (c) {
		c->curl = lib.init();
		c->base = strdup(local ? "http://localhost" : server);
		c->socket = local ? strdup(server + 5) : NULL;
		c->key = key && *key ? joined("Authorization: Bearer ", key) : NULL;
	}
	if (!c || !c->curl || !c->base || (local && !c->socket) || (key && *key && !c->key)) {
		client_close(c);
		err_nomem(e, "a client");
		return NULL;
	}
	for (size_t n = strlen(c->base); n > 0 && c->base[n - 1] == '/'; n--)
		c->base[n - 1] = '\0';
	return c;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	if (c->curl)
		lib.cleanup(c->curl);
	free(c->base);
	free(c->socket);
	free(c->key);
	free(c);
}

/* ---- one request ---- */

static bool succeeded(const struct exchange *x)
{
	long status = 0;
	(void)lib.info(x->c->curl, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status < 300;
}

static size_t on_bytes(char *data, size_t size, size_t n, void *ctx)
{
	struct exchange *x = ctx;
	if (x->fd >= 0 && succeeded(x)) {
		if (io_write(x->fd, data, size * n) == 0)
			return n;
		x->failed = true;
		x->why = errno;
		return 0;
	}
	if (x->body.len + size * n > MAX_ANSWER)
		return 0;
	buf_add(&x->body, data, size * n);
	return n;
}

static int on_progress(void *ctx, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
	const struct exchange *x = ctx;
	(void)dltotal;
	(void)dlnow;
	if (ultotal > 0)
		x->progress(x->ctx, ulnow, ultotal);
	return 0;
}

/* The daemon's own words: the detail, and of every error in a body where it is. */
static int refused(const struct exchange *x, const char *url, struct err *e)
{
	long status = 0;
	struct err ignored = ERR_INIT;
	struct json *p = x->body.len ? json_parse(x->body.data, x->body.len, &ignored) : NULL;
	const char *detail = json_text(json_get(p, "detail")), *code = json_text(json_get(p, "code"));
	const struct json *first = json_at(json_get(p, "errors"), 0);
	const char *pointer = json_text(json_get(first, "pointer"));
	(void)lib.info(x->c->curl, CURLINFO_RESPONSE_CODE, &status);
	if (detail)
		(void)err_set(e, err_code_of(code ? code : ""), "%s%s%s%s", detail, pointer ? " (" : "", pointer ? pointer : "",
		              pointer ? ")" : "");
	else
		(void)err_set(e, ERR_IO, "%s answered %ld", url, status);
	json_free(p);
	return -1;
}

static int perform(struct exchange *x, const char *path, struct curl_slist *headers, struct err *e)
{
	CURL *curl = x->c->curl;
	char *url = joined(x->c->base, path), text[CURL_ERROR_SIZE] = "";
	if (!url)
		return err_nomem(e, "a request");
	(void)lib.set(curl, CURLOPT_URL, url);
	(void)lib.set(curl, CURLOPT_HTTPHEADER, headers);
	(void)lib.set(curl, CURLOPT_ERRORBUFFER, text);
	(void)lib.set(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	(void)lib.set(curl, CURLOPT_WRITEDATA, x);
	(void)lib.set(curl, CURLOPT_NOSIGNAL, 1L);
	(void)lib.set(curl, CURLOPT_CONNECTTIMEOUT, 10L);
	(void)lib.set(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)lib.set(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
	if (x->c->socket)
		(void)lib.set(curl, CURLOPT_UNIX_SOCKET_PATH, x->c->socket);
	if (x->progress) {
		(void)lib.set(curl, CURLOPT_NOPROGRESS, 0L);
		(void)lib.set(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
		(void)lib.set(curl, CURLOPT_XFERINFODATA, x);
	}
	CURLcode rc = lib.perform(curl);
	int out = 0;
	if (x->failed)
		out = err_errno(e, x->why, "writing what %s sent", url);
	else if (rc)
		out = err_set(e, ERR_IO, "the daemon at %s cannot be reached: %s (is it running? seqmsed serve starts one)",
		              x->c->socket ? x->c->socket : x->c->base, text[0] ? text : "no answer");
	else if (!succeeded(x))
		out = refused(x, url, e);
	lib.reset(curl);
	free(url);
	return out;
}

/* With the headers that every request has. */
static int request(struct exchange *x, const char *path, const char *type, struct err *e)
{
	struct curl_slist *headers = lib.append(NULL, "Expect:"), *more = headers;
	if (more && x->c->key)
		more = lib.append(headers, x->c->key);
	if (more && type)
		more = lib.append(headers, type);
	int rc = more ? perform(x, path, headers, e) : err_nomem(e, "a request");
	lib.free_all(headers);
	return rc;
}

static struct json *answer(struct exchange *x, int rc, struct err *e)
{
	struct json *v = NULL;
	if (!rc && buf_failed(&x->body))
		(void)err_nomem(e, "an answer");
	else if (!rc)
		v = json_parse(x->body.data ? x->body.data : "", x->body.len, e);
	buf_fini(&x->body);
	return v;
}

struct json *client_get(struct client *c, const char *path, struct err *e)
{
	struct exchange x = {.c = c, .fd = -1};
	return answer(&x, request(&x, path, NULL, e), e);
}

struct json *client_post(struct client *c, const char *path, const char *body, struct err *e)
{
	struct exchange x = {.c = c, .fd = -1};
	(void)lib.set(c->curl, CURLOPT_POST, 1L);
	(void)lib.set(c->curl, CURLOPT_POSTFIELDS, body ? body : "");
	return answer(&x, request(&x, path, body ? "Content-Type: application/json" : "Content-Type:", e), e);
}

struct json *client_upload(struct client *c, const char *path, const char *file, client_progress *progress, void *ctx,
                           struct err *e)
{
	struct exchange x = {.c = c, .fd = -1, .progress = progress, .ctx = ctx};
	struct stat st;
	FILE *f = fopen(file, "rbe");
	if (!f || fstat(fileno(f), &st) != 0) {
		err_errno(e, errno, "%s", file);
		if (f)
			(void)fclose(f);
		return NULL;
	}
	(void)lib.set(c->curl, CURLOPT_UPLOAD, 1L);
	(void)lib.set(c->curl, CURLOPT_READDATA, f);
	(void)lib.set(c->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)st.st_size);
	struct json *v = answer(&x, request(&x, path, "Content-Type: application/octet-stream", e), e);
	(void)fclose(f);
	return v;
}

int client_download(struct client *c, const char *path, int fd, struct err *e)
{
	struct exchange x = {.c = c, .fd = fd};
	int rc = request(&x, path, NULL, e);
	buf_fini(&x.body);
	return rc;
}

void client_quote(const char *text, struct buf *out)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		buf_printf(out, strchr(plain, *p) ? "%c" : "%%%02X", *p);
}
