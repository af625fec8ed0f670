#include "server/cli/cli_args.h"

#include "core/base/buf.h"
#include "core/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void cli_args_init(struct cli_args *a, int argc, char **argv)
{
	*a = (struct cli_args){.argc = argc, .argv = argv};
}

bool cli_args_next(struct cli_args *a)
{
	if (++a->at >= a->argc)
		return false;
	a->word = a->argv[a->at];
	a->flag[0] = '\0';
	a->value = NULL;
	if (a->word[0] != '-' || !a->word[1])
		return true;
	const char *name = a->word + (a->word[1] == '-' ? 2 : 1), *equals = strchr(name, '=');
	a->value = equals ? equals + 1 : NULL;
	(void)snprintf(a->flag, sizeof a->flag, "%.*s", equals ? (int)(equals - name) : (int)strlen(name), name);
	if (!a->flag[0])
		(void)strcpy(a->flag, "-"); /* a bare "--": no flag has that name */
	return true;
}

int cli_args_value(struct cli_args *a, const char **value, struct err *e)
{
	if (!a->value && a->at + 1 < a->argc)
		a->value = a->argv[++a->at];
	*value = a->value;
	return a->value ? 0 : err_set(e, ERR_USAGE, "%s needs a value", a->word);
}

/* A JSON setting's value may be the name of a file that holds it: then *text gets what it holds. */
static int read_setting(const char *path, struct buf *text, struct err *e)
{
	struct stat st;
	if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return 0;
	if (st.st_size > PARAMS_MAX_JSON)
		return err_set(e, ERR_BAD_PARAM, "%s is longer than %d bytes", path, PARAMS_MAX_JSON);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 || io_read_rest(fd, text) ? err_errno(e, errno, "%s", path) : 0;
	if (fd >= 0)
		(void)close(fd);
	if (!rc && (memchr(text->data ? text->data : "", 0, text->len) || text->len == 0))
		return err_set(e, ERR_BAD_PARAM, "%s holds no JSON", path);
	return rc || !buf_failed(text) ? rc : err_nomem(e, path);
}

int cli_args_param(struct cli_args *a, struct params *p, struct err *e)
{
	char name[sizeof a->flag];
	struct buf file = BUF_INIT;
	const char *word = a->word, *value = a->value ? a->value : a->at + 1 < a->argc ? a->argv[a->at + 1] : "";
	bool glued = a->value != NULL;
	(void)snprintf(name, sizeof name, "%s", a->flag);
	for (char *c = name; *c; c++)
		*c = *c == '-' ? '_' : *c;
	const struct params_entry *t = params_find(name);
	if (t && t->kind == PARAMS_BOOL && !glued) { /* --lpbq alone switches it on */
		value = "true";
		glued = true;
	}
	int rc = t && t->kind == PARAMS_JSON ? read_setting(value, &file, e) : 0;
	if (!rc)
		rc = params_set_text(p, name, file.data ? file.data : value, e);
	buf_fini(&file);
	if (rc) {
		if (e->code == ERR_UNKNOWN_FIELD)
			(void)err_wrap(e, "unknown option %s", word);
		else
			(void)err_wrap(e, "%s", word);
		e->code = ERR_USAGE;
		return -1;
	}
	return glued ? 0 : cli_args_value(a, &value, e);
}

bool cli_args_want_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static void print_default(const struct params_entry *t)
{
	if (t->kind == PARAMS_CHOICE) {
		(void)printf(" (%.*s by default; %s)", (int)strcspn(t->choices, "|"), t->choices, t->choices);
		return;
	}
	if (t->kind != PARAMS_BYTES && t->kind != PARAMS_BOOL && t->dflt)
		(void)printf(" (default %lld)", (long long)t->dflt);
}

void cli_args_print_params(void)
{
	for (size_t i = 0; i < params_table_len; i++) {
		char flag[64];
		(void)snprintf(flag, sizeof flag, "--%s", params_table[i].name);
		for (char *p = flag; *p; p++)
			*p = *p == '_' ? '-' : *p;
		(void)printf("  %-26s %s", flag, params_table[i].meaning);
		print_default(&params_table[i]);
		(void)putchar('\n');
	}
}
