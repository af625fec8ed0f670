#include "server/engine/evaluation.h"

#include <stdio.h>
#include <string.h>

int evaluation_id(const struct params *p, char id[API_ID + 1], struct err *e)
{
	id[0] = '\0';
	if (!p->evaluate)
		return 0;
	struct json *v = json_parse(p->evaluate, strlen(p->evaluate), e);
	const char *text = json_text(json_get(v, "calibration"));
	int rc = v ? 0 : -1;
	if (text && strlen(text) <= API_ID)
		(void)snprintf(id, API_ID + 1, "%s", text);
	else if (v)
		rc = err_set(e, ERR_BAD_PARAM, "/evaluate/calibration: give the id of the uploaded data to evaluate on");
	json_free(v);
	return rc;
}
