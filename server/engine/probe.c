#include "server/engine/probe.h"

#include "core/base/json.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/engine/call.h"
#include "server/engine/child.h"
#include "server/engine/frame.h"

#include <poll.h>

/* The child's typed error; one that does not parse is our bug. */
static int typed_error(const struct frame *f, struct err *e)
{
	struct json *v = json_parse(f->data, f->len, e);
	const char *code = json_text(json_get(v, "code")), *detail = json_text(json_get(v, "detail"));
	if (code && detail)
		err_set(e, err_code_of(code), "%s", detail);
	else
		err_set(e, ERR_INTERNAL, "the engine sent an error without a code");
	json_free(v);
	return -1;
}

enum { LATE = 1, SILENT = 2, LOOK_MS = 200 };

/* Reads frames until the last one. LATE: it took too long; SILENT: the child ended without one. */
static int listen_until(const struct probe *p, struct child *c, struct frame_reader *r, struct buf *answer, struct err *e)
{
	int64_t deadline = clock_steady_ms() + p->timeout_ms;
	for (;;) {
		struct frame f;
		struct pollfd fds[2] = {{.fd = c->frames, .events = POLLIN}, {.fd = c->words, .events = POLLIN}};
		int rc = frame_read(r, &f, e);
		if (rc < 0)
			return e->code == ERR_IO ? SILENT : -1;
		if (rc > 0 && f.type == FRAME_ERROR)
			return typed_error(&f, e);
		if (rc > 0 && f.type != FRAME_ANSWER)
			return err_set(e, ERR_INTERNAL, "the engine sent a frame of type %d", (int)f.type);
		if (rc > 0) {
			buf_add(answer, f.data, f.len);
			return buf_failed(answer) ? err_nomem(e, "an answer of the engine") : 0;
		}
		int64_t left = deadline - clock_steady_ms();
		if (left <= 0)
			return LATE;
		if (p->stop && atomic_load(p->stop))
			return err_set(e, ERR_DRAINING, "the server is ending");
		(void)poll(fds, 2, (int)(left < LOOK_MS ? left : LOOK_MS));
		child_listen(c);
	}
}

/* Says whose fault a missing answer is: the file's, since that is what the child was reading. */
static void blame_file(enum err_code blame, bool late, const struct probe *p, const struct child *c, const struct child_usage *u,
                       struct err *e)
{
	log_line(LOG_WARN, "an inspection failed", "how", LOG_STR, late ? "took too long" : u->how, "said", LOG_STR, c->last);
	if (late)
		err_set(e, blame, "looking into the file took longer than %lld s", (long long)(p->timeout_ms / 1000));
	else
		err_set(e, blame, "looking into the file failed: the engine ended with %s", u->how);
}

/* One child's answer; *u is how it ended. */
static int ask(const struct probe *p, const struct call *call, enum err_code blame, struct buf *answer, struct child_usage *u,
               struct err *e)
{
	struct child c;
	if (child_start(&c, p->empty, call->text.data, call->text.len, call->fds, call->nfds, e) < 0)
		return -1;
	struct frame_reader *r = frame_reader_new(c.frames, e);
	int rc = r ? listen_until(p, &c, r, answer, e) : -1;
	frame_reader_free(r);
	child_reap(&c, rc == 0 ? CHILD_GRACE_MS : 0, u);
	if (rc > 0)
		blame_file(blame, rc == LATE, p, &c, u, e);
	return rc;
}

int probe_ask(const struct probe *p, const struct call *call, enum err_code blame, struct buf *answer, struct err *e)
{
	struct child_usage u;
	int rc = ask(p, call, blame, answer, &u, e);
	if (rc == SILENT && u.killed) {
		*e = (struct err)ERR_INIT;
		rc = ask(p, call, blame, answer, &u, e);
	}
	return rc == 0 ? 0 : -1;
}
