#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

/* A store in a folder of its own, and rows to fill it with. Whatever fails here fails the test. */

#include "server/store/store.h"
#include "server/store/store_job.h"

extern struct store *s;                                 /* open between set_up() and close_store() */
extern const char *folder;                              /* its path */
extern char model[API_ID + 1], calibration[API_ID + 1]; /* what the last job added is made of */
extern const struct store_usage no_usage;

/* cmocka's setup and teardown of a test. */
int set_up(void **state);
int close_store(void **state);
#define WITH_STORE(f) cmocka_unit_test_setup_teardown(f, set_up, close_store)

void reopen(void);
void must(int rc, const struct err *e);

/* A file with that text, synced. */
struct part *part_of(const char *text);

/* A model whose file is the text, with one external file when its name is not NULL. True: there was one already. */
bool add_model(const char *text, const char *file, char id[API_ID + 1]);
void add_calibration(const char *text, char id[API_ID + 1]);

/* A job of them as it comes in, owned by nobody. */
struct store_job_new new_job(const char *id);
/* A queued job. */
void add_job(char id[API_ID + 1]);

/* Claims the next job, of which there is one. */
void claim(struct store_claim *c, int64_t lease_ms);

/* Commits a finished layer of a claimed job, of one channel. */
int add_layer(const struct store_claim *c, struct err *e);

/* Does the work while its n-th call fails, for every n, until there is none that could; before() is called each time, and nothing fails in it.
 * A failure is told as the server's, and leaves no file that somebody was still writing. */
void fail_each_call(void (*before)(void), int (*work)(struct err *e));

#endif
