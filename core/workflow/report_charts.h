#ifndef SEQMSE_REPORT_CHARTS_H
#define SEQMSE_REPORT_CHARTS_H

/* Charts of a report as inline SVG. Their colors are classes of the page around them (report_html.c); every bar has its figures as a title. */

#include "core/base/buf.h"
#include "core/base/json.h"

/* layers: the report's. For each, how much of the full range's error is left (a bar) and gone (the bar above it). */
void chart_gains(struct buf *b, const struct json *layers);

/* How many grids of all layers took which part of the full range. */
void chart_chosen(struct buf *b, const struct json *layers);

/* The same of one layer, as small as a word; histogram is an array of counts. */
void chart_word(struct buf *b, const struct json *histogram);

/* part of whole as a bar in a table. */
void chart_bar(struct buf *b, double part, double whole);

#endif
