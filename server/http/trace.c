#include "server/http/trace.h"

#include "server/base/id.h"

#include <stdio.h>
#include <string.h>

void trace_name(const char *given, char out[TRACE_TEXT + 1])
{
	static const char hex[] = "0123456789abcdef";
	struct err e = ERR_INIT;
	char own[33] = "", trace[33] = "", span[33] = "";
	bool good = given && strlen(given) == TRACE_TEXT && memcmp(given, "00-", 3) == 0 && strspn(given + 3, hex) == 32 &&
	            given[35] == '-' && strspn(given + 36, hex) == 16 && given[52] == '-' && strspn(given + 53, hex) == 2 &&
	            strspn(given + 3, "0") < 32 && strspn(given + 36, "0") < 16;
	(void)id_random(own, &e);
	(void)id_random(span, &e);
	(void)snprintf(trace, sizeof trace, "%.32s", good ? given + 3 : own);
	(void)snprintf(out, TRACE_TEXT + 1, "00-%s-%.16s-%s", trace, span, good ? given + 53 : "00");
}
