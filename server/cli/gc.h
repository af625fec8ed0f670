#ifndef SEQMSED_GC_H
#define SEQMSED_GC_H

/* `seqmsed gc`: what a daemon does every hour and when it starts, for a state folder without one: forgets what is older than
 * --keep-job-days and --keep-upload-days, removes files that no row uses, and gives the database's free pages back. */

int cmd_gc(int argc, char **argv);

#endif
