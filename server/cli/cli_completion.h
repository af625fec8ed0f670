#ifndef SEQMSED_CLI_COMPLETION_H
#define SEQMSED_CLI_COMPLETION_H

/* `seqmsed completion bash` and `zsh`: scripts that complete commands, options, the words that an option knows, and files. Made from the tables of
 * cli_options.h. */

int cli_completion(int argc, char **argv);

#endif
