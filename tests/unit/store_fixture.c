#include "store_fixture.h"

#include "mishap.h"
#include "scratch.h"

#include "server/base/id.h"
#include "server/store/store_object.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct store *s;
const char *folder;
char model[API_ID + 1], calibration[API_ID + 1];
const struct store_usage no_usage = {0, 0, 0};

void must(int rc, const struct err *e)
{
	if (rc < 0)
		fail_msg("%s: %s", err_name(e->code), e->msg);
}

int set_up(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	calibration[0] = '\0';
	folder = scratch_in_memory(); /* thousands of transactions: syncing should take no time */
	s = store_open(folder, &e);
	return s ? 0 : -1;
}

int close_store(void **state)
{
	(void)state;
	store_close(s);
	scratch_remove();
	return 0;
}

void reopen(void)
{
	struct err e = ERR_INIT;
	store_close(s);
	s = store_open(folder, &e);
	must(s ? 0 : -1, &e);
}

struct part *part_of(const char *text)
{
	struct err e = ERR_INIT;
	struct part *p = part_new(store_blobs(s), &e);
	must(p && part_add(p, text, strlen(text), &e) == 0 && part_end(p, &e) == 0 ? part_sync(p, &e) : -1, &e);
	return p;
}

bool add_model(const char *text, const char *file, char id[API_ID + 1])
{
	struct err e = ERR_INIT;
	struct part *p = part_of(text);
	struct api_file files[1] = {{.name = (char *)(uintptr_t)file}};
	struct api_object m = {.kind = API_MODEL,
	                       .name = (char[]){"m"},
	                       .labels = (char[]){"{}"},
	                       .owner = (char[]){""},
	                       .visibility = "team",
	                       .inputs = (char[]){"[]"},
	                       .outputs = (char[]){"[]"},
	                       .layers = (char[]){"[]"},
	                       .files = files,
	                       .nfiles = file != NULL};
	struct api_object out;
	bool existing = false;
	must(id_new("mdl_", m.id, &e), &e);
	memcpy(m.sha256, part_sha256(p), sizeof m.sha256);
	if (!file)
		memcpy(m.digest, m.sha256, sizeof m.digest);
	m.size = part_size(p);
	must(store_object_add(s, p, &m, NULL, &out, &existing, &e), &e);
	memcpy(id, out.id, sizeof out.id);
	api_object_fini(&out);
	part_free(p);
	return existing;
}

void add_calibration(const char *text, char id[API_ID + 1])
{
	struct err e = ERR_INIT;
	struct part *p = part_of(text);
	struct api_object c = {.kind = API_CALIBRATION,
	                       .name = (char[]){"c"},
	                       .labels = (char[]){"{}"},
	                       .owner = (char[]){""},
	                       .visibility = "team",
	                       .arrays = (char[]){"[]"},
	                       .samples = -1};
	struct api_object out;
	bool existing;
	must(id_new("cal_", c.id, &e), &e);
	memcpy(c.sha256, part_sha256(p), sizeof c.sha256);
	must(store_object_add(s, p, &c, NULL, &out, &existing, &e), &e);
	memcpy(id, out.id, sizeof out.id);
	api_object_fini(&out);
	part_free(p);
}

struct store_job_new new_job(const char *id)
{
	return (struct store_job_new){.id = id,
	                              .name = "",
	                              .labels = "{}",
	                              .params = "{}",
	                              .owner = "",
	                              .visibility = "team",
	                              .fingerprint = "f",
	                              .model_id = model,
	                              .model_sha256 = "m",
	                              .calibration_id = calibration,
	                              .calibration_sha256 = "c",
	                              .samples = 1,
	                              .samples_used = 1};
}

void add_job(char id[API_ID + 1])
{
	struct err e = ERR_INIT;
	add_model("a model", NULL, model);
	if (!calibration[0])
		add_calibration("a calibration", calibration);
	must(id_new("job_", id, &e), &e);
	const struct store_job_new j = new_job(id);
	char made[API_ID + 1];
	must(store_job_add(s, &j, &(struct store_limits){100, 100}, NULL, made, &e), &e);
}

void claim(struct store_claim *c, int64_t lease_ms)
{
	struct err e = ERR_INIT;
	bool found;
	must(store_job_claim(s, lease_ms, c, &found, &e), &e);
	assert_true(found);
}

int add_layer(const struct store_claim *c, struct err *e)
{
	double grid[4] = {-1, 1, 0.25, -4};
	const struct store_layer l = {.summary = {.node = (char[]){"/conv"},
	                                          .op_type = (char[]){"Conv"},
	                                          .weight = (char[]){"w"},
	                                          .channels = 1,
	                                          .strategy = (char[]){"gram"},
	                                          .chosen = (char[]){"[19]"}},
	                              .grids = grid,
	                              .grids_len = sizeof grid,
	                              .frame = "{}"};
	return store_job_add_layer(s, c, &l, e);
}

void fail_each_call(void (*before)(void), int (*work)(struct err *e))
{
	bool failed = true;
	int swept;
	for (long n = 1; failed; n++) {
		struct err e = ERR_INIT;
		before();
		mishap_begin(n);
		int rc = work(&e);
		failed = mishap_end();
		if (rc < 0 && (!failed || (e.code != ERR_MEMORY && e.code != ERR_IO)))
			fail_msg("call %ld, %s: %s: %s", n, mishap_name(), err_name(e.code), e.msg);
		if (strcmp(mishap_name(), "unlinkat") == 0)
			must(store_sweep(s, &swept, &e), &e); /* as the next start does */
		if (scratch_count("parts") != 0)
			fail_msg("call %ld, %s: a part is left", n, mishap_name());
	}
}
