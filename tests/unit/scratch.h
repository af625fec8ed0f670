#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

/* A folder of its own for a test, removed with everything in it. Failures end the test program. */

const char *scratch_new(void);       /* its path; one at a time */
const char *scratch_in_memory(void); /* the same in /dev/shm, where there is one */
void scratch_remove(void);
int scratch_count(const char *below); /* regular files below a folder of it; "" for all */

#endif
