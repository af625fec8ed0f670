#ifndef SEQMSED_SERVE_H
#define SEQMSED_SERVE_H

/* The daemon's commands: exit status 0, 1 (failed) or 2 (usage). */

int cmd_serve(int argc, char **argv);
int cmd_migrate(int argc, char **argv);

#endif
