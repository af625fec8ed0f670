#include "server/base/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <uv.h>

struct loop {
	uv_loop_t uv;
	uv_signal_t term, interrupt;
	uv_timer_t timer;
	struct loop_options o;
};

static void on_signal(uv_signal_t *s, int number)
{
	(void)number;
	uv_stop(s->loop);
}

static void on_timer(uv_timer_t *t)
{
	struct loop *l = t->data;
	l->o.tick(l->o.ctx);
}

struct loop *loop_new(const struct loop_options *o, struct err *e)
{
	struct loop *l = calloc(1, sizeof *l);
	if (!l) {
		err_nomem(e, "the event loop");
		return NULL;
	}
	l->o = *o;
	int rc = uv_loop_init(&l->uv);
	if (rc < 0) {
		err_set(e, ERR_IO, "the event loop: %s", uv_strerror(rc));
		free(l);
		return NULL;
	}
	l->timer.data = l;
	(void)uv_signal_init(&l->uv, &l->term);
	(void)uv_signal_init(&l->uv, &l->interrupt);
	(void)uv_timer_init(&l->uv, &l->timer);
	rc = uv_signal_start(&l->term, on_signal, SIGTERM);
	rc = rc < 0 ? rc : uv_signal_start(&l->interrupt, on_signal, SIGINT);
	rc = rc < 0 ? rc : uv_timer_start(&l->timer, on_timer, (uint64_t)o->tick_ms, (uint64_t)o->tick_ms);
	if (rc == 0)
		return l;
	err_set(e, ERR_IO, "the event loop: %s", uv_strerror(rc));
	loop_free(l);
	return NULL;
}

void loop_run(struct loop *l)
{
	(void)uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	uv_close((uv_handle_t *)&l->term, NULL);
	uv_close((uv_handle_t *)&l->interrupt, NULL);
	uv_close((uv_handle_t *)&l->timer, NULL);
	(void)uv_run(&l->uv, UV_RUN_DEFAULT);
	(void)uv_loop_close(&l->uv);
	free(l);
}
