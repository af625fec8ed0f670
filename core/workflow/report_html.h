#ifndef SEQMSE_REPORT_HTML_H
#define SEQMSE_REPORT_HTML_H

/* A report as a page for people: one file that needs no other, no script and no network; it can be printed, and is light or dark as the reader's
 * screen is. */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/json.h"

/* report is what report.h's JSON says, of which the lists with an entry for every grid ("chosen", "loss", "minmax_loss") are not needed. What is missing
 * is left out of the page. */
int report_html(const struct json *report, struct buf *out, struct err *e);

#endif
