#ifndef SEQMSED_CLI_MAN_H
#define SEQMSED_CLI_MAN_H

/* `seqmsed man`: the manual page seqmsed(1) in man's macros, made from the tables of cli_options.h and of the errors' codes. */

int cli_man(int argc, char **argv);

#endif
