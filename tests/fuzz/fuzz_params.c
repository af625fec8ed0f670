/* Settings as a JSON object, or as a command line's text, "name=value" a line. What they come to is written, and reads back
 * to the same, which is judged like it; so is a copy. */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/json.h"
#include "core/search/layer_settings.h"
#include "core/workflow/params.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_lines(struct params *p, char *text)
{
	struct err e = ERR_INIT;
	char *save;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, '=');
		if (!value)
			continue;
		*value++ = '\0';
		(void)params_set_text(p, line, value, &e);
	}
}

static void set_object(struct params *p, const char *text, size_t len, bool must)
{
	struct err e = ERR_INIT;
	struct json *v = json_parse(text, len, &e);
	if ((!v || params_from_json(p, v, &e) != 0) && must)
		abort();
	json_free(v);
}

static struct buf written(const struct params *p)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	params_to_json(p, &w, NULL);
	return b;
}

/* The contradictions among them, in words; "" for none. */
static struct err judged(const struct params *p)
{
	struct err e = ERR_INIT;
	if (layer_settings_check(p, &e) != 0 && e.msg[0] != '/')
		abort();
	return e;
}

static void check_copy(const struct params *p, const struct buf *text)
{
	struct params copy;
	struct err e = ERR_INIT;
	if (params_copy(&copy, p, &e) != 0)
		abort();
	struct buf b = written(&copy);
	if (strcmp(b.data, text->data) != 0)
		abort();
	params_fini(&copy);
	buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct params p, again;
	char *text = strndup((const char *)data, size);
	if (!text)
		abort();
	params_init(&p);
	if (*text == '{')
		set_object(&p, (const char *)data, size, false);
	else
		set_lines(&p, text);
	struct buf once = written(&p);
	params_init(&again);
	set_object(&again, once.data, once.len, true);
	struct buf twice = written(&again);
	if (strcmp(once.data, twice.data) != 0 || strcmp(judged(&p).msg, judged(&again).msg) != 0)
		abort();
	check_copy(&p, &once);
	params_fini(&p);
	params_fini(&again);
	buf_fini(&once);
	buf_fini(&twice);
	free(text);
	return 0;
}
