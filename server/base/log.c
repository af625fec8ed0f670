#include "server/base/log.h"

#include "api/when.h"
#include "core/base/io.h"
#include "core/base/json.h"
#include "server/base/clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_int least_level = LOG_INFO;
static const char *const names[] = {"debug", "info", "warn", "error"};

void log_set_level(enum log_level least)
{
	atomic_store(&least_level, (int)least);
}

int log_level_parse(const char *text)
{
	for (int i = 0; i < 4; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	return -1;
}

void log_write(enum log_level level, const char *message, ...)
{
	if ((int)level < atomic_load(&least_level))
		return;
	struct buf b = BUF_INIT;
	struct json_out w;
	char at[WHEN_TEXT];
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	when_text(clock_ms(), at);
	json_out_string(&w, "time", at);
	json_out_string(&w, "level", names[level]);
	json_out_string(&w, "message", message);
	va_list ap;
	va_start(ap, message);
	for (const char *key = va_arg(ap, const char *); key; key = va_arg(ap, const char *)) {
		switch (va_arg(ap, int)) {
		case LOG_STR:
			json_out_string(&w, key, va_arg(ap, const char *));
			break;
		case LOG_INT:
			json_out_integer(&w, key, va_arg(ap, int64_t));
			break;
		default:
			json_out_real(&w, key, va_arg(ap, double));
		}
	}
	va_end(ap);
	json_out_end_object(&w);
	buf_str(&b, "\n");
	if (!buf_failed(&b))
		(void)io_write(STDERR_FILENO, b.data, b.len);
	buf_fini(&b);
}
