#include "core/workflow/quantize_result.h"

#include <stdlib.h>
#include <string.h>

void quantize_warn(struct quantize *q, const char *code, const char *place, const char *detail)
{
	struct quantize_warning *longer = realloc(q->warnings, (q->nwarnings + 1) * sizeof *longer);
	if (longer) {
		q->warnings = longer;
		longer[q->nwarnings] = (struct quantize_warning){strdup(code), strdup(place), strdup(detail)};
		q->nwarnings++;
	}
	if (q->hooks.warning)
		q->hooks.warning(q->hooks.ctx, code, place, detail);
}

void quantize_warnings_free(struct quantize *q)
{
	for (size_t i = 0; i < q->nwarnings; i++) {
		free(q->warnings[i].code);
		free(q->warnings[i].place);
		free(q->warnings[i].detail);
	}
	free(q->warnings);
}
