#include "server/cli/cli_completion.h"

#include "server/cli/cli.h"
#include "server/cli/cli_args.h"
#include "server/cli/cli_options.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static bool is_choice(const char *value)
{
	return value && strchr(value, '|');
}

/* "a|b" as "a b" */
static void print_choices(const char *value)
{
	for (const char *p = value; *p; p++)
		(void)putchar(*p == '|' ? ' ' : *p);
}

/* ---- bash ---- */

static void bash_flag(void *ctx, const char *flag, char letter, const char *value, const char *meaning)
{
	(void)ctx;
	(void)value;
	(void)meaning;
	if (letter)
		(void)printf("-%c ", letter);
	(void)printf("--%s ", flag);
}

/* What follows an option, where the words are known, or are folders; else files. */
static void bash_value(void *ctx, const char *flag, char letter, const char *value, const char *meaning)
{
	const char *command = ctx;
	(void)meaning;
	if (!value)
		return;
	(void)printf("\t%s:--%s", command, flag);
	if (letter)
		(void)printf("|%s:-%c", command, letter);
	if (is_choice(value)) {
		(void)printf(") COMPREPLY=($(compgen -W '");
		print_choices(value);
		(void)printf("' -- \"$cur\")); return ;;\n");
	} else {
		(void)printf(") COMPREPLY=($(compgen -%s -- \"$cur\")); return ;;\n", strcmp(value, "DIR") == 0 ? "d" : "f");
	}
}

static void bash(void)
{
	(void)printf("# Completes seqmsed in bash; made by: seqmsed completion bash\n"
	             "_seqmsed()\n{\n"
	             "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} flags= nouns=-\n"
	             "\tif [ \"$COMP_CWORD\" = 1 ]; then\n\t\tCOMPREPLY=($(compgen -W '");
	for (size_t i = 0; i < cli_commands_len; i++)
		if (cli_commands[i].does)
			(void)printf("%s ", cli_commands[i].name);
	(void)printf("' -- \"$cur\"))\n\t\treturn\n\tfi\n\tcase ${COMP_WORDS[1]}:$prev in\n");
	for (size_t i = 0; i < cli_commands_len; i++)
		cli_options_walk(&cli_commands[i], bash_value, (void *)(uintptr_t)cli_commands[i].name);
	(void)printf("\tesac\n\tcase ${COMP_WORDS[1]} in\n");
	for (size_t i = 0; i < cli_commands_len; i++) {
		const struct cli_command *c = &cli_commands[i];
		if (!c->does)
			continue;
		(void)printf("\t%s) flags='", c->name);
		cli_options_walk(c, bash_flag, NULL);
		(void)printf("--help'; nouns='%s' ;;\n", c->nouns ? c->nouns : "-");
	}
	(void)printf("\tesac\n"
	             "\tif [[ $cur == -* ]]; then\n"
	             "\t\tCOMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n"
	             "\telif [ \"$nouns\" = - ]; then\n"
	             "\t\tCOMPREPLY=($(compgen -f -- \"$cur\"))\n"
	             "\telse\n"
	             "\t\tCOMPREPLY=($(compgen -W \"$nouns\" -- \"$cur\"))\n"
	             "\tfi\n}\n"
	             "complete -o filenames -F _seqmsed seqmsed\n");
}

/* ---- zsh ---- */

/* Inside '…' and […], in a specification of _arguments. */
static void zsh_text(const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p == '\'')
			(void)fputs("'\\''", stdout);
		else if (strchr("[]:\\", *p))
			(void)printf("\\%c", *p);
		else
			(void)putchar(*p);
	}
}

static void zsh_option(void *ctx, const char *flag, char letter, const char *value, const char *meaning)
{
	(void)ctx;
	if (letter)
		(void)printf(" '(-%c --%s)'{-%c,--%s}'", letter, flag, letter, flag);
	else
		(void)printf(" '*--%s", flag);
	(void)putchar('[');
	zsh_text(meaning);
	(void)putchar(']');
	if (is_choice(value)) {
		(void)printf(": :(");
		print_choices(value);
		(void)putchar(')');
	} else if (value) {
		(void)printf(": :%s", strcmp(value, "DIR") == 0 ? "_files -/" : "_files");
	}
	(void)fputs("' \\\n\t\t", stdout);
}

static void zsh(void)
{
	(void)printf("#compdef seqmsed\n# Completes seqmsed in zsh; made by: seqmsed completion zsh\n"
	             "_seqmsed()\n{\n"
	             "\tif (( CURRENT == 2 )); then\n\t\tlocal -a commands\n\t\tcommands=(");
	for (size_t i = 0; i < cli_commands_len; i++) {
		if (!cli_commands[i].does)
			continue;
		(void)printf("'%s:", cli_commands[i].name);
		zsh_text(cli_commands[i].does);
		(void)printf("' ");
	}
	(void)printf(")\n\t\t_describe command commands\n\t\treturn\n\tfi\n"
	             "\tlocal command=$words[2]\n\tshift words\n\t(( CURRENT-- ))\n\tcase $command in\n");
	for (size_t i = 0; i < cli_commands_len; i++) {
		const struct cli_command *c = &cli_commands[i];
		if (!c->does)
			continue;
		(void)printf("\t%s) _arguments", c->name);
		cli_options_walk(c, zsh_option, NULL);
		if (!c->nouns)
			(void)printf(" '*: :_files' ;;\n");
		else
			(void)printf(" '*: :(%s)' ;;\n", c->nouns);
	}
	(void)printf("\tesac\n}\n_seqmsed \"$@\"\n");
}

int cli_completion(int argc, char **argv)
{
	struct err e = ERR_INIT;
	if (cli_args_want_help(argc, argv)) {
		cli_options_help("completion");
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "bash") == 0)
		bash();
	else if (argc == 2 && strcmp(argv[1], "zsh") == 0)
		zsh();
	else
		return err_set(&e, ERR_USAGE, "say for which shell: seqmsed completion bash, or zsh"), cli_fail(&e);
	return 0;
}
