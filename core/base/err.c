#define SEQMSE_ERR_C
#include "core/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* File names and other libraries' messages may hold line ends and what moves a terminal's cursor. */
static void one_line(char *s)
{
	size_t len = strlen(s);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			s[i] = ' ';
	while (len && s[len - 1] == ' ')
		s[--len] = '\0';
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	va_list ap;
	e->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	va_end(ap);
	one_line(e->msg);
	return -1;
}

static enum err_code code_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
		return ERR_DISK_FULL;
	case ENOMEM:
		return ERR_MEMORY;
	case ENOENT:
		return ERR_NOT_FOUND;
	default:
		return ERR_IO;
	}
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
	char what[sizeof e->msg], why[128];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	return err_set(e, code_of_errno(errnum), "%.800s: %s", what, strerror_r(errnum, why, sizeof why));
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char before[sizeof e->msg], after[sizeof e->msg];
	va_list ap;
	if (e->code == ERR_CANCELED)
		return -1;
	va_start(ap, fmt);
	(void)vsnprintf(before, sizeof before, fmt, ap);
	va_end(ap);
	memcpy(after, e->msg, sizeof after);
	(void)snprintf(e->msg, sizeof e->msg, "%.400s: %.600s", before, after);
	one_line(e->msg);
	return -1;
}

void err_nomem_fill(struct err *e, const char *what)
{
	(void)err_set(e, ERR_MEMORY, "not enough memory for %s", what);
}

static const struct {
	const char *name;
} codes[] = {
#define X(symbol, name, meaning) {name},
	ERR_CODES(X)
#undef X
};

const char *err_name(enum err_code code)
{
	size_t i = (size_t)code;
	return i < sizeof codes / sizeof *codes ? codes[i].name : "internal";
}

enum err_code err_code_of(const char *name)
{
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(codes[i].name, name) == 0)
			return (enum err_code)i;
	return ERR_INTERNAL;
}
