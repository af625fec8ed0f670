#include "server/cli/cli_progress.h"

#include "core/base/json.h"
#include "server/base/clock.h"
#include "server/cli/cli_line.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static double now(void)
{
	return (double)clock_steady_ms() / 1000;
}

void cli_progress_init(struct cli_progress *p, bool json, bool quiet)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}; /* the second one kills */
	*p = (struct cli_progress){.json = json, .quiet = quiet, .terminal = isatty(STDERR_FILENO), .started = now()};
	(void)sigaction(SIGINT, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
	sa.sa_handler = SIG_IGN;
	(void)sigaction(SIGPIPE, &sa, NULL); /* whoever reads the events may go away; the results are still wanted */
}

static void event(struct buf *b)
{
	buf_str(b, "\n");
	if (!buf_failed(b))
		(void)fwrite(b->data, 1, b->len, stdout);
	(void)fflush(stdout);
	buf_fini(b);
}

static void json_progress(const char *phase, int done, int total, double fraction, const char *current)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "event", "progress");
	json_out_string(&w, "phase", phase);
	json_out_integer(&w, "layers_done", done);
	json_out_integer(&w, "layers_total", total);
	json_out_real(&w, "fraction", fraction);
	json_out_string(&w, "current", current);
	json_out_end_object(&w);
	event(&b);
}

static void draw(struct cli_progress *p, const char *phase, int done, int total, double fraction, const char *current)
{
	double spent = now() - p->started, left = fraction > 0.02 ? spent / fraction - spent : -1;
	bool searching = strcmp(phase, "search") == 0;
	cli_line_draw(&(struct cli_line){.phase = phase,
	                                 .where = "",
	                                 .fraction = fraction,
	                                 .done = done,
	                                 .total = searching ? total : 0,
	                                 .per_second = searching && spent > 0 ? done / spent : 0,
	                                 .left = left,
	                                 .current = current});
	p->line = true;
	p->drawn = now();
}

static void on_progress(void *ctx, const char *phase, int done, int total, double fraction, const char *current)
{
	struct cli_progress *p = ctx;
	if (now() - p->drawn < 0.1)
		return;
	if (p->json) {
		json_progress(phase, done, total, fraction, current);
		p->drawn = now();
	} else if (p->terminal && !p->quiet) {
		draw(p, phase, done, total, fraction, current);
	}
}

static void on_layer(void *ctx, const struct seqmse_layer_result *l)
{
	const struct cli_progress *p = ctx;
	double loss = 0, minmax = 0;
	if (!p->json)
		return;
	for (int c = 0; c < l->ngrids; c++) {
		loss += loss_amount(l->loss_fn, l->loss[c]);
		minmax += loss_amount(l->loss_fn, l->minmax_loss[c]);
	}
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "event", "layer");
	json_out_integer(&w, "index", l->index);
	json_out_string(&w, "node", l->node);
	json_out_string(&w, "op_type", l->op_type);
	json_out_string(&w, "weight", l->weight);
	json_out_integer(&w, "channels", l->channels);
	json_out_real(&w, "loss", loss);
	json_out_real(&w, "minmax_loss", minmax);
	json_out_string(&w, "strategy", l->strategy);
	json_out_real(&w, "seconds", l->seconds);
	json_out_end_object(&w);
	event(&b);
}

static void json_warning(const char *code, const char *layer, const char *detail)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "event", "warning");
	json_out_string(&w, "code", code);
	json_out_string(&w, "layer", layer);
	json_out_string(&w, "detail", detail);
	json_out_end_object(&w);
	event(&b);
}

static void on_warning(void *ctx, const char *code, const char *layer, const char *detail)
{
	struct cli_progress *p = ctx;
	if (p->json)
		json_warning(code, layer, detail);
	else if (!p->quiet) {
		cli_progress_end(p);
		(void)fprintf(stderr, "seqmsed: warning: %s%s%s (%s)\n", layer, *layer ? ": " : "", detail, code);
	}
}

static bool on_canceled(void *ctx)
{
	(void)ctx;
	return interrupted != 0;
}

struct seqmse_hooks cli_progress_hooks(struct cli_progress *p)
{
	return (struct seqmse_hooks){
		.ctx = p, .progress = on_progress, .layer = on_layer, .warning = on_warning, .canceled = on_canceled};
}

void cli_progress_end(struct cli_progress *p)
{
	if (p->line)
		cli_line_wipe();
	p->line = false;
}

void cli_progress_result(const struct cli_progress *p, const struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	if (!p->json)
		return;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "event", e->code ? "error" : "done");
	if (e->code) {
		json_out_string(&w, "code", err_name(e->code));
		json_out_string(&w, "detail", e->msg);
	}
	json_out_end_object(&w);
	event(&b);
}
