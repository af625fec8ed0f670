#include "core/workflow/report_html.h"

#include "core/base/html.h"
#include "core/base/sha256.h"
#include "core/workflow/report_charts.h"

#include <math.h>
#include <string.h>

/* clang-format off */
static const char style[] =
	":root{--back:#fbfbfa;--card:#fff;--text:#1d2126;--muted:#59616b;--line:#d9dde2;--left:#1f5fbf;--gone:#ccd8ea;--warn:#8a5300}"
	"@media(prefers-color-scheme:dark){:root{--back:#14171b;--card:#1d2126;--text:#e8eaed;--muted:#a3abb5;--line:#363c44;"
	"--left:#8ab4f8;--gone:#38465c;--warn:#f0b866}}"
	"*{box-sizing:border-box}"
	"body{margin:0 auto;max-width:84rem;padding:1.5rem 1rem 3rem;background:var(--back);color:var(--text);"
	"font:16px/1.5 system-ui,sans-serif}"
	"h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.15rem;margin:0 0 .6rem}p{margin:.3rem 0}"
	"section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem;margin:1rem 0 0}"
	".muted,caption{color:var(--muted)}caption{text-align:left;padding-bottom:.4rem}"
	".mono{font-family:ui-monospace,monospace;font-size:.9em}.warn{color:var(--warn)}.mono,.name,dd{overflow-wrap:anywhere}"
	".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin-top:1rem}"
	".tiles div{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem}"
	".tiles b{display:block;font-size:1.4rem;font-variant-numeric:tabular-nums}.tiles span{color:var(--muted);font-size:.88rem}"
	".two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:0 1rem}"
	".scroll{overflow-x:auto}.scroll:focus-visible{outline:3px solid var(--left);outline-offset:2px}"
	"table{border-collapse:collapse;width:100%;font-size:.86rem}"
	"th,td{text-align:left;padding:.35rem .55rem;border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600}"
	"thead th{vertical-align:bottom}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.name{min-width:9rem}"
	"dl{columns:24rem;column-gap:2rem;margin:0}dl div{display:grid;grid-template-columns:11rem 1fr;gap:0 1rem;break-inside:avoid}"
	"dt{color:var(--muted)}dd{margin:0}.wide{min-width:9rem}"
	"svg{display:block;max-width:100%}.chart{width:100%;height:auto}.word{width:84px;height:18px;margin-top:.15rem}"
	".bar{width:100%;min-width:8rem;height:10px;margin:.45rem 0}"
	"svg text{fill:var(--muted);font:12px system-ui,sans-serif}"
	".left{fill:var(--left)}.gone{fill:var(--gone)}.axis{fill:none;stroke:var(--line)}"
	"@media(max-width:36rem){body{font-size:15px;padding:1rem .7rem 2rem}dl div{grid-template-columns:1fr;margin-top:.3rem}"
	"svg text{font-size:15px}}"
	"@media print{:root{--back:#fff;--card:#fff;--text:#000;--muted:#444;--line:#bbb;--left:#1f5fbf;--gone:#ccd8ea;--warn:#6b4000}"
	"@page{size:A4 landscape;margin:12mm}body{max-width:none;padding:0;font-size:9pt}.scroll{overflow:visible}"
	"section,.tiles div,tr{break-inside:avoid}section.long{break-inside:auto}thead{display:table-header-group}}";
/* clang-format on */

/* ---- the head ---- */

/* The policy lets nothing in but our style: what a hostile name may smuggle in does nothing, also where the page is opened from a disk. */
static int head(struct buf *b, struct err *e)
{
	char hex[SHA256_HEX + 1], base64[SHA256_BASE64 + 1];
	if (sha256_of(style, sizeof style - 1, hex, e))
		return -1;
	sha256_base64(hex, base64);
	buf_str(b, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	           "<meta name=\"color-scheme\" content=\"light dark\">\n<meta http-equiv=\"Content-Security-Policy\" "
	           "content=\"default-src 'none'; base-uri 'none'; form-action 'none'; "
	           "style-src 'sha256-");
	buf_printf(b, "%s'\">\n<title>Quantization report – seqmsed</title>\n<style>%s</style>\n</head>\n<body>\n<main>\n", base64,
	           style);
	return 0;
}

static void tile(struct buf *b, double v, enum html_unit unit, const char *what)
{
	buf_str(b, "<div><b>");
	html_number(b, v, unit);
	buf_printf(b, "</b><span>%s</span></div>\n", what);
}

static void tiles(struct buf *b, const struct json *r)
{
	const struct json *layers = json_get(r, "layers");
	double grids = 0, gain = 0, gains = 0;
	for (size_t i = 0; i < json_size(layers); i++) {
		const struct json *g = json_get(json_at(layers, i), "gain");
		grids += json_number(json_get(json_at(layers, i), "grids"));
		if (json_is_number(g)) {
			gain += json_number(g);
			gains++;
		}
	}
	buf_str(b, "<div class=\"tiles\">\n");
	tile(b, (double)json_size(layers), HTML_COUNT, "layers");
	tile(b, grids, HTML_COUNT, "grids");
	tile(b, gains > 0 ? gain / gains : (double)NAN, HTML_PERCENT, "of the error saved, on average over the layers");
	tile(b, json_number(json_get(r, "samples_used")), HTML_COUNT, "samples used");
	tile(b, json_number(json_get(json_get(r, "seconds"), "total")), HTML_SECONDS, "in all");
	buf_str(b, "</div>\n");
}

static void title(struct buf *b, const struct json *r)
{
	buf_str(b, "<h1>Quantization report</h1>\n<p class=\"muted\">Sequential MSE by seqmsed ");
	html_text(b, json_text(json_get(r, "version")));
	if (json_is_string(json_get(r, "fingerprint"))) {
		buf_str(b, ". Fingerprint of model, data and settings: <span class=\"mono\" id=\"fingerprint\">");
		html_text(b, json_text(json_get(r, "fingerprint")));
		buf_str(b, "</span>");
	}
	buf_str(b, "</p>\n");
}

/* ---- tables ---- */

static void begin_table(struct buf *b, const char *id, const char *caption, const char *const *heads, size_t n)
{
	buf_printf(b,
	           "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table "
	           "id=\"%s\"><caption>%s</caption>\n<thead><tr>",
	           caption, id, caption);
	for (size_t i = 0; i < n; i++) /* a + in front: a column of numbers */
		buf_printf(b, "<th scope=\"col\"%s>%s</th>", heads[i][0] == '+' ? " class=\"n\"" : "",
		           heads[i] + (heads[i][0] == '+'));
	buf_str(b, "</tr></thead>\n<tbody>\n");
}

static void end_table(struct buf *b)
{
	buf_str(b, "</tbody></table></div>\n");
}

static void text_cell(struct buf *b, const char *class, const struct json *v)
{
	buf_printf(b, class ? "<td class=\"%s\">" : "<td>", class);
	html_text(b, json_text(v));
	buf_str(b, "</td>");
}

static void number_cell(struct buf *b, const struct json *v, enum html_unit unit)
{
	buf_str(b, "<td class=\"n\">");
	html_value(b, v, unit);
	buf_str(b, "</td>");
}

/* ---- accuracy ---- */

static void outputs_cell(struct buf *b, const struct json *outputs)
{
	buf_str(b, "<td>");
	for (size_t i = 0; i < json_size(outputs); i++) {
		const struct json *o = json_at(outputs, i);
		buf_str(b, i ? "<br>" : "");
		html_text(b, json_text(json_get(o, "name")));
		buf_str(b, ": SQNR ");
		html_value(b, json_get(o, "sqnr_db"), HTML_DECIBEL);
		buf_str(b, ", cosine ");
		html_value(b, json_get(o, "cosine"), HTML_SHARE);
	}
	buf_str(b, "</td>");
}

static void accuracy_row(struct buf *b, const struct json *row)
{
	static const char *const shares[] = {"accuracy", "top_k", "retrieval", "agreement"};
	buf_str(b, "<tr>");
	text_cell(b, NULL, json_get(row, "weights"));
	buf_printf(b, "<td>%s</td>", json_bool(json_get(row, "activations")) ? "quantized" : "float");
	number_cell(b, json_get(row, "samples"), HTML_COUNT);
	for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
		number_cell(b, json_get(row, shares[i]), HTML_SHARE);
	outputs_cell(b, json_get(row, "outputs"));
	buf_str(b, "</tr>\n");
}

static void accuracy(struct buf *b, const struct json *rows)
{
	static const char *const heads[] = {"Weights", "Activations", "+Samples",   "+Accuracy",
	                                    "+Top k",  "+Retrieval",  "+Agreement", "Outputs against the float model"};
	if (!json_size(rows))
		return;
	buf_str(b, "<section><h2>Accuracy</h2>\n");
	begin_table(b, "accuracy", "On the evaluation data", heads, sizeof heads / sizeof *heads);
	for (size_t i = 0; i < json_size(rows); i++)
		accuracy_row(b, json_at(rows, i));
	end_table(b);
	buf_printf(b, "<p class=\"muted\">k is %lld. Agreement: how often the first choice is the float model's.</p></section>\n",
	           (long long)json_int(json_get(json_at(rows, 0), "k")));
}

/* ---- warnings, and what became of the model ---- */

static void warnings(struct buf *b, const struct json *list)
{
	buf_str(b, "<section id=\"warnings\"><h2>Warnings</h2>\n");
	if (!json_size(list))
		buf_str(b, "<p class=\"muted\">None.</p>\n");
	for (size_t i = 0; i < json_size(list); i++) {
		const struct json *w = json_at(list, i);
		const char *layer = json_text(json_get(w, "layer"));
		buf_str(b, "<p><span class=\"warn mono\">");
		html_text(b, json_text(json_get(w, "code")));
		buf_str(b, "</span> ");
		html_text(b, layer);
		buf_str(b, layer && *layer ? ": " : "");
		html_text(b, json_text(json_get(w, "detail")));
		buf_str(b, "</p>\n");
	}
	buf_str(b, "</section>\n");
}

static void exported(struct buf *b, const struct json *list)
{
	static const char *const heads[] = {"File", "+SQNR", "+Largest difference"};
	if (!json_size(list))
		return;
	buf_str(b, "<section><h2>Exported models</h2>\n");
	begin_table(b, "qdq", "Outputs against the simulation, over the first batch", heads, 3);
	for (size_t i = 0; i < json_size(list); i++) {
		const struct json *x = json_at(list, i);
		buf_str(b, "<tr>");
		text_cell(b, NULL, json_get(x, "file"));
		number_cell(b, json_get(x, "sqnr_db"), HTML_DECIBEL);
		number_cell(b, json_get(x, "largest_difference"), HTML_NUMBER);
		buf_str(b, "</tr>\n");
	}
	end_table(b);
	buf_str(b, "</section>\n");
}

static void folded(struct buf *b, const struct json *list)
{
	static const char *const heads[] = {"BatchNormalization", "Folded into", "Weight", "Bias"};
	static const char *const members[] = {"batch_norm", "into", "weight", "bias"};
	if (!json_size(list))
		return;
	buf_str(b, "<section class=\"long\"><h2>Folded layers</h2>\n");
	begin_table(b, "folded", "What became part of the layer beside it", heads, 4);
	for (size_t i = 0; i < json_size(list); i++) {
		buf_str(b, "<tr>");
		for (size_t k = 0; k < 4; k++)
			text_cell(b, "name", json_get(json_at(list, i), members[k]));
		buf_str(b, "</tr>\n");
	}
	end_table(b);
	buf_str(b, "</section>\n");
}

/* ---- layers ---- */

static void charts(struct buf *b, const struct json *layers)
{
	if (!json_size(layers))
		return;
	buf_str(b, "<div class=\"two\">\n<section><h2>Error left per layer</h2>\n<p class=\"muted\">Of what the full ranges lose; "
	           "the pale part is saved.</p>\n");
	chart_gains(b, layers);
	buf_str(b, "</section>\n<section><h2>Chosen ranges</h2>\n<p class=\"muted\">How many grids took which part of their full "
	           "range.</p>\n");
	chart_chosen(b, layers);
	buf_str(b, "</section>\n</div>\n");
}

/* "4 bits, per_channel", and how many there are */
static void grids_cell(struct buf *b, const struct json *l)
{
	buf_str(b, "<td class=\"wide\">");
	html_value(b, json_get(l, "param_bw"), HTML_COUNT);
	buf_str(b, " bits, ");
	html_text(b, json_text(json_get(l, "granularity")));
	if (json_is_number(json_get(l, "block_size"))) {
		buf_str(b, " of ");
		html_value(b, json_get(l, "block_size"), HTML_COUNT);
	}
	buf_str(b, "<br><span class=\"muted\">");
	html_value(b, json_get(l, "grids"), HTML_COUNT);
	buf_printf(b, " grids, %s</span></td>", json_bool(json_get(l, "symmetric")) ? "symmetric" : "asymmetric");
}

/* "mse, gram", and how much there was to do */
static void search_cell(struct buf *b, const struct json *l)
{
	buf_str(b, "<td class=\"wide\">");
	html_text(b, json_text(json_get(l, "loss_fn")));
	buf_str(b, ", ");
	html_text(b, json_text(json_get(l, "strategy")));
	buf_str(b, "<br><span class=\"muted\">");
	html_value(b, json_get(l, "candidates"), HTML_COUNT);
	buf_str(b, " candidates, ");
	html_value(b, json_get(l, "rechecked"), HTML_COUNT);
	buf_printf(b, " rechecked%s</span></td>", json_bool(json_get(l, "fell_back")) ? ", fell back to the full range" : "");
}

/* "Conv", and 12 × 216: channels, and the weights of each */
static void shape_cell(struct buf *b, const struct json *l)
{
	buf_str(b, "<td>");
	html_text(b, json_text(json_get(l, "op_type")));
	buf_str(b, "<br><span class=\"muted\">");
	html_value(b, json_get(l, "channels"), HTML_COUNT);
	buf_str(b, "&nbsp;×&nbsp;");
	html_value(b, json_get(l, "fan_in"), HTML_COUNT);
	buf_str(b, "</span></td>");
}

static void layer(struct buf *b, const struct json *l)
{
	buf_str(b, "<tr>");
	number_cell(b, json_get(l, "index"), HTML_COUNT);
	buf_str(b, "<td class=\"name\">");
	html_text(b, json_text(json_get(l, "node")));
	buf_str(b, "<br><span class=\"muted mono\">");
	html_text(b, json_text(json_get(l, "weight")));
	buf_str(b, "</span></td>");
	shape_cell(b, l);
	grids_cell(b, l);
	number_cell(b, json_get(l, "minmax_loss_total"), HTML_NUMBER);
	number_cell(b, json_get(l, "loss_total"), HTML_NUMBER);
	number_cell(b, json_get(l, "gain"), HTML_PERCENT);
	number_cell(b, json_get(l, "sqnr_db"), HTML_DECIBEL);
	buf_str(b, "<td>");
	chart_word(b, json_get(l, "histogram"));
	buf_str(b, "</td>");
	search_cell(b, l);
	buf_str(b, "<td class=\"n\">");
	html_value(b, json_get(l, "seconds"), HTML_SECONDS);
	buf_str(b, "<br><span class=\"muted\">");
	html_value(b, json_get(l, "predicted_seconds"), HTML_SECONDS);
	buf_str(b, "</span></td></tr>\n");
}

static void layers(struct buf *b, const struct json *list)
{
	static const char *const heads[] = {"+#",     "Layer, weight", "Operator", "Grids",  "+Full range's loss",   "+Loss",
	                                    "+Saved", "+SQNR",         "Chosen",   "Search", "+Time<br>and expected"};
	buf_str(b, "<section class=\"long\"><h2>Layers</h2>\n");
	begin_table(
		b, "layers",
		"In the order of the search; operator: channels × weights of each; chosen: from the smallest range to the full one",
		heads, sizeof heads / sizeof *heads);
	for (size_t i = 0; i < json_size(list); i++)
		layer(b, json_at(list, i));
	end_table(b);
	buf_str(b, "</section>\n");
}

/* ---- time, settings ---- */

static void seconds(struct buf *b, const struct json *r)
{
	static const char *const heads[] = {"Phase", "+Time", "+Expected", "Part of all"};
	const struct json *s = json_get(r, "seconds");
	double total = json_number(json_get(s, "total"));
	buf_str(b, "<section><h2>Time</h2>\n");
	begin_table(b, "seconds", "search_total has graph, gram, search and recheck in it; search_cpu is its processor time", heads,
	            sizeof heads / sizeof *heads);
	for (void *it = json_first(s); it; it = json_next(s, it)) {
		buf_str(b, "<tr><th scope=\"row\">");
		html_text(b, json_key(it));
		buf_str(b, "</th>");
		number_cell(b, json_value(it), HTML_SECONDS);
		number_cell(b, json_get(json_get(r, "predicted_seconds"), json_key(it)), HTML_SECONDS);
		buf_str(b, "<td>");
		chart_bar(b, json_number(json_value(it)), total);
		buf_str(b, "</td></tr>\n");
	}
	end_table(b);
	buf_str(b, "</section>\n");
}

static void definition(struct buf *b, const char *name, const struct json *v)
{
	struct buf text = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &text, 0);
	json_out_value(&w, NULL, v);
	buf_str(b, "<div><dt>");
	html_text(b, name);
	buf_str(b, "</dt><dd class=\"mono\">");
	html_text(b, text.data);
	buf_str(b, "</dd></div>\n");
	b->failed = b->failed || buf_failed(&text);
	buf_fini(&text);
}

static void settings(struct buf *b, const struct json *r)
{
	static const char *const facts[] = {"samples", "samples_used", "batches", "pieces", "spilled_bytes"};
	const struct json *params = json_get(r, "params");
	buf_str(b, "<section class=\"long\"><h2>Data</h2>\n<dl id=\"data\">\n");
	for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
		if (json_get(r, facts[i]))
			definition(b, facts[i], json_get(r, facts[i]));
	buf_str(b, "</dl></section>\n<section class=\"long\"><h2>Settings</h2>\n<dl id=\"params\">\n");
	for (void *it = json_first(params); it; it = json_next(params, it))
		definition(b, json_key(it), json_value(it));
	buf_str(b, "</dl></section>\n");
}

int report_html(const struct json *report, struct buf *out, struct err *e)
{
	if (head(out, e))
		return -1;
	title(out, report);
	tiles(out, report);
	accuracy(out, json_get(report, "accuracy"));
	warnings(out, json_get(report, "warnings"));
	charts(out, json_get(report, "layers"));
	layers(out, json_get(report, "layers"));
	exported(out, json_get(report, "qdq"));
	folded(out, json_get(report, "folded"));
	seconds(out, report);
	settings(out, report);
	buf_str(out, "</main>\n</body>\n</html>\n");
	return buf_failed(out) ? err_nomem(e, "the report") : 0;
}
