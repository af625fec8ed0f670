#include "server/cli/cli_line.h"

#include "core/base/buf.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static size_t columns(void)
{
	struct winsize w = {0};
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

/* "8 s left", "1:05 left", "2:03:09 left" */
static void put_left(struct buf *b, double seconds)
{
	long long s = seconds < 1e9 ? (long long)(seconds + 0.5) : 1000000000;
	if (s < 60)
		buf_printf(b, "  %lld s left", s);
	else if (s < 3600)
		buf_printf(b, "  %lld:%02lld left", s / 60, s % 60);
	else
		buf_printf(b, "  %lld:%02lld:%02lld left", s / 3600, s / 60 % 60, s % 60);
}

/* Many a second, or seconds for each. */
static void put_rate(struct buf *b, double per_second)
{
	if (per_second >= 1)
		buf_printf(b, "  %.*f layers/s", per_second < 10 ? 1 : 0, per_second);
	else
		buf_printf(b, "  %.*f s/layer", per_second > 0.1 ? 1 : 0, 1 / per_second);
}

/* As many bytes of UTF-8 as have that many characters. */
static size_t cut(const char *text, size_t len, size_t most)
{
	size_t n = 0, at = 0;
	for (; at < len; at++)
		if (((unsigned char)text[at] & 0xc0) != 0x80 && n++ == most)
			break;
	return at;
}

void cli_line_draw(const struct cli_line *l)
{
	struct buf b = BUF_INIT;
	buf_printf(&b, "%s%s %3.0f%%", l->phase, l->where, 100 * l->fraction);
	if (l->total > 0)
		buf_printf(&b, "  layer %lld of %lld", l->done, l->total);
	if (l->per_second > 0)
		put_rate(&b, l->per_second);
	if (l->left >= 0)
		put_left(&b, l->left);
	if (l->current[0])
		buf_printf(&b, "  %s", l->current);
	for (size_t i = 0; b.data && i < b.len; i++) /* names come out of models: no control character reaches the terminal */
		if ((unsigned char)b.data[i] < 0x20 || b.data[i] == 0x7f)
			b.data[i] = '?';
	if (b.data && !buf_failed(&b)) /* the last column stays free: some terminals wrap there */
		(void)fprintf(stderr, "\r\033[K%.*s", (int)cut(b.data, b.len, columns() - 1), b.data);
	(void)fflush(stderr);
	buf_fini(&b);
}

void cli_line_wipe(void)
{
	(void)fputs("\r\033[K", stderr);
	(void)fflush(stderr);
}
