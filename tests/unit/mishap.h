#ifndef SEQMSED_TEST_MISHAP_H
#define SEQMSED_TEST_MISHAP_H

/* Calls that fail when a test says so. Every call of our own objects that can fail (allocations, files, descriptors, threads, SQLite's,
 * libmicrohttpd's answers) comes through here; the linker sends it (MISHAPS in the Makefile). They are counted, and the n-th of this thread
 * fails:
 *
 *     for (long n = 1; mishap_begin(n), work(), mishap_end(); n++)
 *         what must hold although the n-th call failed;
 *
 * Allocations fail with ENOMEM, system calls with EIO, SQLite's calls with SQLITE_NOMEM or SQLITE_IOERR. */

#include <stdbool.h>

void mishap_begin(long n);     /* 0: none, only counts */
bool mishap_end(void);         /* whether there was one */
long mishap_calls(void);       /* since the last begin */
const char *mishap_name(void); /* of the call that failed, for messages */

#endif
