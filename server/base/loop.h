#ifndef SEQMSED_LOOP_H
#define SEQMSED_LOOP_H

/* The main thread's event loop: signals, a clock tick, and being stopped. loop.c is the only file that includes uv.h. */

#include "core/base/err.h"

struct loop;

struct loop_options {
	void (*tick)(void *ctx); /* each tick_ms, on the loop's thread */
	int tick_ms;
	void *ctx;
};

/* SIGTERM and SIGINT end loop_run() from here on. */
struct loop *loop_new(const struct loop_options *o, struct err *e);
void loop_run(struct loop *l);
void loop_free(struct loop *l);

#endif
