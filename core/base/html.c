#include "core/base/html.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char dash[] = "\xe2\x80\x93", replacement[] = "\xef\xbf\xbd";

/* How many bytes the character at s has that HTML forbids (https://infra.spec.whatwg.org/#noncharacter, and the controls); 0 if it is fine. */
static size_t forbidden(const unsigned char *s)
{
	if ((s[0] < 0x20 && s[0] != '\n' && s[0] != '\t') || s[0] == 0x7f)
		return 1;
	if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0) /* U+0080 … U+009F */
		return 2;
	if (s[0] == 0xef && s[1] == 0xb7 && s[2] >= 0x90 && s[2] < 0xb0) /* U+FDD0 … U+FDEF */
		return 3;
	if (s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe) /* U+FFFE, U+FFFF */
		return 3;
	if (s[0] >= 0xf0 && (s[1] & 0x0f) == 0x0f && s[2] == 0xbf && s[3] >= 0xbe) /* the last two of every other plane */
		return 4;
	return 0;
}

static const char *entity(char c)
{
	return c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : c == '\'' ? "&#39;" : NULL;
}

void html_text(struct buf *b, const char *utf8)
{
	for (const char *s = utf8 ? utf8 : ""; *s;) {
		size_t bad = forbidden((const unsigned char *)s);
		if (bad) {
			buf_str(b, replacement);
			s += bad;
			continue;
		}
		if (entity(*s))
			buf_str(b, entity(*s));
		else
			buf_add(b, s, 1);
		s++;
	}
}

static void plain(struct buf *b, double v)
{
	if (fabs(v) >= 1000 && fabs(v) < 1e7)
		buf_printf(b, "%.0f", v);
	else
		buf_printf(b, "%.3g", v);
}

static void seconds(struct buf *b, double v)
{
	if (v < 1)
		buf_printf(b, v < 0.01 ? "%.2g ms" : "%.0f ms", 1000 * v);
	else if (v < 90)
		buf_printf(b, v < 10 ? "%.1f s" : "%.0f s", v);
	else if (v < 5400)
		buf_printf(b, "%.0f min", v / 60);
	else
		buf_printf(b, "%.1f h", v / 3600);
}

static void bytes(struct buf *b, double v)
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
	size_t i = 0;
	for (; v >= 1000 && i + 1 < sizeof units / sizeof *units; i++)
		v /= 1000;
	buf_printf(b, "%.3g %s", v, units[i]);
}

void html_number(struct buf *b, double v, enum html_unit unit)
{
	if (!isfinite(v))
		buf_str(b, dash);
	else if (unit == HTML_COUNT)
		buf_printf(b, "%.0f", v);
	else if (unit == HTML_NUMBER)
		plain(b, v);
	else if (unit == HTML_PERCENT)
		buf_printf(b, fabs(v) < 0.1 ? "%.1f %%" : "%.0f %%", 100 * v);
	else if (unit == HTML_DECIBEL)
		buf_printf(b, "%.1f dB", v);
	else if (unit == HTML_SECONDS)
		seconds(b, v);
	else if (unit == HTML_BYTES)
		bytes(b, v);
	else
		buf_printf(b, "%.4f", v);
}

void html_value(struct buf *b, const struct json *v, enum html_unit unit)
{
	char exact[32];
	if (!json_is_number(v)) {
		buf_str(b, dash);
		return;
	}
	if (json_is_integer(v))
		(void)snprintf(exact, sizeof exact, "%lld", (long long)json_int(v));
	else
		json_repr_double(json_number(v), exact);
	buf_printf(b, "<data value=\"%s\">", exact);
	html_number(b, json_number(v), unit);
	buf_str(b, "</data>");
}
