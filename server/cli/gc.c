#include "server/cli/gc.h"

#include "server/cli/cli.h"
#include "server/config.h"
#include "server/store/store.h"
#include "server/store/store_expire.h"

#include <stdio.h>

static int collect(const struct config *c, struct err *e)
{
	struct store_expired gone;
	int removed = 0;
	struct store *s = store_open(c->state_dir, e);
	int rc = s ? 0 : -1;
	if (rc == 0)
		rc = store_expire(s, c->keep_job_days, c->keep_upload_days, &gone, e);
	if (rc == 0)
		rc = store_sweep(s, &removed, e);
	if (rc == 0)
		rc = store_compact(s, e);
	store_close(s);
	if (rc == 0)
		(void)printf("%lld jobs, %lld models, %lld calibrations, %lld encodings, %d files removed\n", (long long)gone.jobs,
		             (long long)gone.models, (long long)gone.calibrations, (long long)gone.encodings, removed);
	return rc;
}

int cmd_gc(int argc, char **argv)
{
	struct config c;
	struct err e = ERR_INIT;
	bool help;
	int rc = config_read(&c, argc, argv, &help, &e);
	if (rc == 0 && help)
		(void)puts("seqmsed gc [--state-dir DIR] [--keep-job-days N] [--keep-upload-days N]: cleans up a state folder that "
		           "no daemon "
		           "uses; one that runs does so by itself");
	else if (rc == 0)
		rc = collect(&c, &e);
	config_fini(&c);
	return rc == 0 ? 0 : cli_fail(&e);
}
