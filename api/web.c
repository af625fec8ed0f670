#include "api/web.h"

#include "api/download.h"
#include "api/handlers.h"
#include "api/problems.h"

#include <string.h>

static const char *media_type(const char *name)
{
	static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
	                                       {".css", "text/css; charset=utf-8"},
	                                       {".js", "text/javascript; charset=utf-8"},
	                                       {".svg", "image/svg+xml"}};
	const char *end = strrchr(name, '.');
	for (size_t i = 0; end && i < sizeof types / sizeof *types; i++)
		if (strcmp(end, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

/* Nothing but our own files may run, be shown or be asked, and no other page may show ours: names of layers come from models that anyone may have
 * made. */
static void set_policy(struct http_response *r)
{
	http_set(r, "Content-Security-Policy", "%s",
	         "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri "
	         "'none'; form-action 'none'; "
	         "frame-ancestors 'none'; require-trusted-types-for 'script'");
	http_set(r, "X-Content-Type-Options", "nosniff");
	http_set(r, "Referrer-Policy", "no-referrer");
	http_set(r, "Cross-Origin-Opener-Policy", "same-origin");
	http_set(r, "Cross-Origin-Resource-Policy", "same-origin");
}

void web_answer(struct http_response *r, const struct http_request *q, const char *name)
{
	size_t i = 0;
	while (i < web_files_len && strcmp(web_files[i].name, name) != 0)
		i++;
	if (i == web_files_len) {
		problem_set(r, q, PROBLEM_NOT_FOUND, "there is no file /web/%s", name);
		return;
	}
	r->status = 200;
	buf_add(&r->body, web_files[i].text, web_files[i].len);
	download_tag(r, q);
	http_set(r, "Content-Type", "%s", media_type(name));
	set_policy(r);
}

HANDLER(web_index)
{
	(void)a;
	web_answer(r, q, "index.html");
}

HANDLER(web_file)
{
	(void)a;
	web_answer(r, q, q->args[0]);
}
