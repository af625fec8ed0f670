#ifndef SEQMSED_CLI_OPTIONS_H
#define SEQMSED_CLI_OPTIONS_H

/* The commands and their options as tables, from which --help, the shells' completion (cli_completion.h) and the manual page (cli_man.h) are made. A
 * command's settings stand in the table of core/workflow/params.h, those of serve in server/config.h. */

#include <stdbool.h>
#include <stddef.h>

struct cli_command {
	const char *name, *does; /* does: NULL where nobody is meant to call it */
	const char *words;       /* what comes behind the name, "MODEL.onnx DATA -o DIR [options]"; lines between newlines */
	const char *about;       /* NULL: the command prints its own help */
	bool params;             /* takes the settings of a search */
	bool settings;           /* takes those of serve */
	const char *nouns;       /* words that it is followed by, between spaces; NULL: files */
};

struct cli_option {
	const char *commands; /* " quantize submit " */
	const char *flag;     /* without dashes */
	char letter;          /* 'o' for -o; 0 for none */
	const char *value;    /* "DIR", "FILE", "a|b|c" for a choice, or any other word; NULL: it takes none */
	const char *meaning;
};

extern const struct cli_command cli_commands[];
extern const size_t cli_commands_len;
extern const struct cli_option cli_options[];
extern const size_t cli_options_len;

const struct cli_command *cli_command_find(const char *name);
bool cli_option_of(const struct cli_option *o, const char *command);

/* Usage, what it does, every option. */
void cli_options_help(const char *command);

/* Calls each() for every option that the command takes, those of the tables of settings too. value: as above. */
typedef void cli_options_each(void *ctx, const char *flag, char letter, const char *value, const char *meaning);
void cli_options_walk(const struct cli_command *c, cli_options_each *each, void *ctx);

#endif
