#include "api/when.h"

#include <stdio.h>
#include <time.h>

void when_text(int64_t ms, char out[WHEN_TEXT])
{
	time_t s = (time_t)(ms / 1000);
	struct tm t;
	char date[24] = "1970-01-01T00:00:00";
	if (gmtime_r(&s, &t))
		(void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &t);
	(void)snprintf(out, WHEN_TEXT, "%s.%03dZ", date, (int)(ms % 1000));
}

void when_json(struct json_out *w, const char *key, int64_t ms)
{
	char text[WHEN_TEXT];
	if (ms == 0) {
		json_out_null(w, key);
		return;
	}
	when_text(ms, text);
	json_out_string(w, key, text);
}
