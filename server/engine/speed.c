#include "server/engine/speed.h"

#include "core/base/io.h"
#include "core/base/json.h"
#include "core/search/rates.h"
#include "server/base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_BYTES = 64 << 10 };

struct speed {
	char path[4096];

	pthread_mutex_t lock;
	char *text; /* under lock: sets as an array; NULL: nothing is known */
};

/* What is to be kept once there is the set v, too. */
static char *with_set(const char *kept_text, const struct json *v)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	struct err ignored = ERR_INIT;
	struct json *kept = kept_text ? json_parse(kept_text, strlen(kept_text), &ignored) : NULL;
	json_out_init(&w, &b, 0);
	rates_keep(kept, v, &w);
	json_free(kept);
	if (!buf_failed(&b))
		return b.data;
	buf_fini(&b);
	return NULL;
}

/* A whole file that is an array; NULL for anything else. */
static char *read_file(const char *path)
{
	char *text = malloc(MAX_BYTES);
	struct err ignored = ERR_INIT;
	if (!text)
		return NULL;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : io_pread(fd, text, MAX_BYTES, 0);
	struct json *v = n > 0 && n < MAX_BYTES ? json_parse(text, (size_t)n, &ignored) : NULL;
	bool good = json_is_array(v);
	json_free(v);
	if (fd >= 0)
		(void)close(fd);
	if (good)
		text[n] = '\0';
	else
		free(text);
	return good ? text : NULL;
}

struct speed *speed_open(const char *state, struct err *e)
{
	struct speed *s = calloc(1, sizeof *s);
	if (!s) {
		err_nomem(e, "the machine's rates");
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	(void)snprintf(s->path, sizeof s->path, "%s/rates.json", state);
	s->text = read_file(s->path);
	return s;
}

void speed_close(struct speed *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s->text);
	free(s);
}

void speed_text(struct speed *s, struct buf *out)
{
	pthread_mutex_lock(&s->lock);
	buf_str(out, s->text ? s->text : "null");
	pthread_mutex_unlock(&s->lock);
}

/* Whole or not at all. */
static void write_file(const char *path, const char *text)
{
	char part[4200];
	(void)snprintf(part, sizeof part, "%s.part", path);
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool whole = fd >= 0 && io_write(fd, text, strlen(text)) == 0;
	if (fd >= 0)
		whole = close(fd) == 0 && whole;
	if (whole && rename(part, path) == 0)
		return;
	if (fd >= 0)
		(void)unlink(part);
	log_line(LOG_WARN, "the machine's rates were not kept", "file", LOG_STR, path);
}

void speed_learn(struct speed *s, const struct json *v)
{
	if (!json_is_object(v))
		return;
	pthread_mutex_lock(&s->lock);
	char *text = with_set(s->text, v);
	if (text) {
		free(s->text);
		s->text = text;
		write_file(s->path, text); /* a few thousand bytes, rarely */
	}
	pthread_mutex_unlock(&s->lock);
}
