#include "core/workflow/report_charts.h"

#include "core/base/html.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 720, HEIGHT = 200, LEFT = 52, TOP = 10, FOOT = 26, PARTS = 20 };
enum { WORD_WIDTH = 84, WORD_HEIGHT = 18, BAR_WIDTH = 240 };

static const double left = LEFT, top = TOP, inner_width = WIDTH - LEFT, inner_height = HEIGHT - TOP - FOOT;

/* ---- what both large charts have ---- */

static void begin(struct buf *b, const char *label)
{
	buf_printf(b, "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
	html_text(b, label);
	buf_printf(b, "\">\n<path class=\"axis\" d=\"M%d %d H%d M%d %d H%d M%d %d H%d\"/>\n", LEFT, TOP, WIDTH, LEFT,
	           (HEIGHT - FOOT + TOP) / 2, WIDTH, LEFT, HEIGHT - FOOT, WIDTH);
}

static void label(struct buf *b, double x, double y, const char *anchor, const char *text)
{
	buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
	html_text(b, text);
	buf_str(b, "</text>\n");
}

/* The i-th of n bars, which covers the height from one share to another, counted from the foot. */
static void bar(struct buf *b, const char *class, size_t i, size_t n, double from, double to)
{
	double step = inner_width / (double)n, gap = step > 4 ? 0.12 * step : 0;
	buf_printf(b, "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"/>", class,
	           left + (double)i * step + gap, top + inner_height * (1 - to), fmax(step - 2 * gap, 0.4),
	           inner_height * (to - from));
}

/* ---- error saved ---- */

static void gain(struct buf *b, const struct json *layer, size_t i, size_t n)
{
	const struct json *v = json_get(layer, "gain");
	double rest = json_is_number(v) ? fmin(fmax(1 - json_number(v), 0), 1) : 1;
	buf_str(b, "<g>");
	bar(b, "gone", i, n, rest, 1);
	bar(b, "left", i, n, 0, rest);
	buf_str(b, "<title>");
	html_text(b, json_text(json_get(layer, "node")));
	buf_str(b, ": ");
	html_number(b, json_is_number(v) ? json_number(v) : (double)NAN, HTML_PERCENT);
	buf_str(b, " of the error saved</title></g>\n");
}

void chart_gains(struct buf *b, const struct json *layers)
{
	size_t n = json_size(layers);
	begin(b, "Error that is left, against the full range, layer by layer");
	for (size_t i = 0; i < n; i++)
		gain(b, json_at(layers, i), i, n);
	label(b, LEFT - 6, TOP + 4, "end", "100 %");
	label(b, LEFT - 6, HEIGHT - FOOT + 4, "end", "0 %");
	label(b, LEFT, HEIGHT - 8, "start", "first layer");
	label(b, WIDTH, HEIGHT - 8, "end", "last layer");
	buf_str(b, "</svg>\n");
}

/* ---- chosen ranges ---- */

/* Layers may have had other numbers of candidates: what counts is the part of the full range. */
static double count(const struct json *layers, double counts[PARTS])
{
	double total = 0;
	for (size_t l = 0; l < json_size(layers); l++) {
		const struct json *h = json_get(json_at(layers, l), "histogram");
		for (size_t i = 0; i < json_size(h); i++) {
			double n = json_number(json_at(h, i));
			counts[((i + 1) * PARTS + json_size(h) - 1) / json_size(h) - 1] += n;
			total += n;
		}
	}
	return total;
}

void chart_chosen(struct buf *b, const struct json *layers)
{
	static const char *const ticks[] = {"25 %", "50 %", "75 %", "100 %"};
	double counts[PARTS] = {0}, most = 1, total = count(layers, counts);
	char text[40];
	for (int i = 0; i < PARTS; i++)
		most = fmax(most, counts[i]);
	begin(b, "How many grids took which part of their full range");
	for (size_t i = 0; i < PARTS; i++) {
		buf_str(b, "<g>");
		bar(b, "left", i, PARTS, 0, counts[i] / most);
		buf_printf(b, "<title>up to %zu %% of the full range: %.0f of %.0f grids</title></g>\n", 100 * (i + 1) / PARTS,
		           counts[i], total);
	}
	for (int i = 0; i < 4; i++)
		label(b, LEFT + inner_width * (i + 1) / 4, HEIGHT - 8, "end", ticks[i]);
	(void)snprintf(text, sizeof text, "%.0f", most);
	label(b, LEFT - 6, TOP + 4, "end", text);
	label(b, LEFT - 6, HEIGHT - FOOT + 4, "end", "0");
	buf_str(b, "</svg>\n");
}

/* ---- small ones ---- */

void chart_word(struct buf *b, const struct json *histogram)
{
	size_t n = json_size(histogram);
	double most = 1, step = n ? (double)WORD_WIDTH / (double)n : 0;
	for (size_t i = 0; i < n; i++)
		most = fmax(most, json_number(json_at(histogram, i)));
	buf_printf(b, "<svg class=\"word\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"grids by candidate:", WORD_WIDTH,
	           WORD_HEIGHT);
	for (size_t i = 0; i < n; i++)
		buf_printf(b, " %lld", (long long)json_int(json_at(histogram, i)));
	buf_str(b, "\"><path class=\"left\" d=\"");
	for (size_t i = 0; i < n; i++) {
		double share = json_number(json_at(histogram, i)) / most;
		if (share > 0)
			buf_printf(b, "M%.2f %d v%.2f h%.2f V%d z", (double)i * step, WORD_HEIGHT, -fmax(share * WORD_HEIGHT, 1),
			           step * 0.85, WORD_HEIGHT);
	}
	buf_printf(b, "\"/><path class=\"axis\" d=\"M0 %d H%d\"/></svg>", WORD_HEIGHT, WORD_WIDTH);
}

void chart_bar(struct buf *b, double part, double whole)
{
	double share = whole > 0 ? fmin(fmax(part / whole, 0), 1) : 0;
	buf_printf(b,
	           "<svg class=\"bar\" viewBox=\"0 0 %d 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect "
	           "class=\"gone\" width=\"%d\" height=\"10\" "
	           "rx=\"2\"/>",
	           BAR_WIDTH, BAR_WIDTH);
	buf_printf(b, "<rect class=\"left\" width=\"%.1f\" height=\"10\" rx=\"2\"/></svg>", BAR_WIDTH * share);
}
