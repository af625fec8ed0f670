#include "cli_args.h"

#include <stdio.h>
#include <string.h>

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

int cli_args_param(struct cli_args *a, struct params *p, struct err *e)
{
	char name[sizeof a->flag];
	const char *word = a->word, *value = a->value ? a->value : a->at + 1 < a->argc ? a->argv[a->at + 1] : "";
	bool glued = a->value != NULL;
	(void)snprintf(name, sizeof name, "%s", a->flag);
	for (char *c = name; *c; c++)
		*c = *c == '-' ? '_' : *c;
	if (params_set_text(p, name, value, e)) {
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

void cli_args_print_params(void)
{
	for (size_t i = 0; i < params_table_len; i++) {
		char flag[64];
		(void)snprintf(flag, sizeof flag, "--%s", params_table[i].name);
		for (char *p = flag; *p; p++)
			*p = *p == '_' ? '-' : *p;
		(void)printf("  %-26s %s", flag, params_table[i].meaning);
		if (params_table[i].kind == PARAMS_INTEGER && params_table[i].dflt)
			(void)printf(" (default %lld)", (long long)params_table[i].dflt);
		(void)putchar('\n');
	}
}
