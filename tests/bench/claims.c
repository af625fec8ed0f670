/* How long a worker's claim takes in a state folder that no daemon uses, as one JSON object.
 *
 *     claims STATE N     {"claims", "p50_ms", "p99_ms", "sync_p50_ms", "sync_p99_ms"}
 *
 * Claims N of the jobs that wait there, which stay running. A claim is a transaction that waits for the disk; sync is what the disk takes alone, to write
 * four pages to a file in the same folder and to sync it, measured between the claims. */

#include "core/base/now.h"
#include "server/store/store.h"
#include "server/store/store_job.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAGES = 16384 };

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static double percentile(double *seconds, size_t n, double p)
{
	qsort(seconds, n, sizeof *seconds, by_size);
	size_t i = (size_t)((double)n * p);
	return seconds[i < n ? i : n - 1] * 1e3;
}

static double time_of_sync(int file)
{
	static const char pages[PAGES];
	double begin = run_now();
	if (write(file, pages, PAGES) != PAGES || fdatasync(file) < 0)
		perror("sync");
	return run_now() - begin;
}

static int measure(struct store *s, int file, size_t n, struct err *e)
{
	double *claims = calloc(n, sizeof *claims), *syncs = calloc(n, sizeof *syncs);
	int rc = claims && syncs ? 0 : err_nomem(e, "the bench");
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct store_claim c;
		bool found;
		double begin = run_now();
		rc = store_job_claim(s, 3600000, &c, &found, e);
		claims[i] = run_now() - begin;
		if (rc == 0 && !found)
			rc = err_set(e, ERR_NOT_FOUND, "only %zu jobs were waiting", i);
		if (rc == 0)
			store_claim_fini(&c);
		syncs[i] = time_of_sync(file);
	}
	if (rc == 0)
		printf("{\"claims\": %zu, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"sync_p50_ms\": %.2f, \"sync_p99_ms\": %.2f}\n", n,
		       percentile(claims, n, 0.5), percentile(claims, n, 0.99), percentile(syncs, n, 0.5),
		       percentile(syncs, n, 0.99));
	free(claims);
	free(syncs);
	return rc;
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	if (argc != 3 || atol(argv[2]) < 1) {
		(void)fprintf(stderr, "usage: claims STATE N\n");
		return 2;
	}
	struct store *s = store_open(argv[1], &e);
	int file = s ? openat(store_empty_folder(s), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600) : -1;
	if (s && file < 0)
		err_set(&e, ERR_IO, "no file could be made in the state folder");
	int rc = file >= 0 ? measure(s, file, (size_t)atol(argv[2]), &e) : -1;
	if (rc < 0)
		(void)fprintf(stderr, "claims: %s\n", e.msg);
	if (file >= 0)
		(void)close(file);
	store_close(s);
	return rc < 0;
}
