#include "core/run/activations.h"

#include "core/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Where one tensor is: in v, or in the file at `at`. */
struct place {
	struct ort_value *v;
	struct ort_info info;
	off_t at;
};

struct activations {
	struct ort *o;
	int64_t batches, budget, held, taken, spilled;
	bool *cold;              /* [values] */
	int64_t largest;         /* bytes of a tensor so far */
	struct place **by_value; /* [values], each [batches] or NULL */
	int values;
	int fd; /* of the spill file; -1 until it is needed */
	int (*open)(void *ctx, struct err *e);
	void *open_ctx;
	off_t end;
};

struct activations *activations_new(struct ort *o, int values, int64_t batches, int64_t budget_bytes, struct err *e)
{
	struct activations *a = calloc(1, sizeof *a);
	if (a) {
		a->by_value = calloc((size_t)values + 1, sizeof *a->by_value);
		a->cold = calloc((size_t)values + 1, sizeof *a->cold);
	}
	if (!a || !a->by_value || !a->cold) {
		if (a)
			free(a->by_value);
		free(a);
		err_nomem(e, "activations");
		return NULL;
	}
	a->o = o;
	a->values = values;
	a->batches = batches;
	a->budget = budget_bytes;
	a->fd = -1;
	return a;
}

void activations_free(struct activations *a)
{
	if (!a)
		return;
	for (int v = 0; v < a->values; v++)
		activations_drop(a, v);
	free(a->by_value);
	free(a->cold);
	if (a->fd >= 0)
		(void)close(a->fd);
	free(a);
}

/* ---- the file ---- */

int activations_spill_file(struct err *e)
{
	const char *dir = getenv("TMPDIR");
	if (!dir || !*dir)
		dir = "/var/tmp";
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd < 0 ? err_errno(e, errno, "a file for activations in %s", dir) : fd;
}

void activations_spill_to(struct activations *a, int (*open)(void *ctx, struct err *e), void *ctx)
{
	a->open = open;
	a->open_ctx = ctx;
}

static int open_spill(struct activations *a, struct err *e)
{
	a->fd = a->open ? a->open(a->open_ctx, e) : activations_spill_file(e);
	return a->fd < 0 ? -1 : 0;
}

static int spill(struct activations *a, struct place *p, struct err *e)
{
	if (a->fd < 0 && open_spill(a, e))
		return -1;
	if (io_pwrite(a->fd, ort_value_data(a->o, p->v), p->info.bytes, a->end))
		return err_errno(e, errno, "writing activations");
	ort_value_free(a->o, p->v);
	p->v = NULL;
	p->at = a->end;
	a->end += (off_t)p->info.bytes;
	a->spilled += (int64_t)p->info.bytes;
	return 0;
}

/* ---- values ---- */

void activations_cold(struct activations *a, int value)
{
	a->cold[value] = true;
}

/* Whether a tensor fits. While the graph runs there are up to three more of the largest kind: a layer's output, and its input and output in the
 * runtime's own layout; their memory stays for the next batch. */
static bool fits(struct activations *a, int64_t bytes)
{
	if (bytes > a->largest) {
		a->largest = bytes;
		ort_keep(a->o, 3 * bytes < a->budget / 8 ? a->budget / 8 : 3 * bytes < a->budget / 2 ? 3 * bytes : a->budget / 2);
	}
	return a->held + bytes + ACTIVATIONS_SPARE * a->largest <= a->budget;
}

/* The place for a value, or NULL without memory. */
static struct place *place_of(struct activations *a, int value, int64_t batch)
{
	if (!a->by_value[value])
		a->by_value[value] = calloc((size_t)a->batches, sizeof **a->by_value);
	return a->by_value[value] ? &a->by_value[value][batch] : NULL;
}

bool activations_offer(struct activations *a, int value, int64_t batch, struct ort_value *v)
{
	struct err e = ERR_INIT;
	struct ort_info info;
	if (ort_value_info(a->o, v, &info, &e) || !fits(a, (int64_t)info.bytes))
		return false;
	struct place *p = place_of(a, value, batch);
	if (!p)
		return false;
	*p = (struct place){.v = v, .info = info};
	a->held += (int64_t)info.bytes;
	return true;
}

bool activations_has(const struct activations *a, int value, int64_t batch)
{
	const struct place *places = a->by_value[value];
	return places && (places[batch].v || places[batch].info.bytes);
}

int activations_put_take(struct activations *a, int value, int64_t batch, struct ort_value *v, struct err *e)
{
	struct place *p = place_of(a, value, batch);
	if (!p || ort_value_info(a->o, v, &p->info, e)) {
		ort_value_free(a->o, v);
		return p ? -1 : err_nomem(e, "activations");
	}
	p->v = v;
	a->taken += (int64_t)p->info.bytes;
	if (p->info.bytes && (a->cold[value] || !fits(a, (int64_t)p->info.bytes)))
		return spill(a, p, e);
	a->held += (int64_t)p->info.bytes;
	return 0;
}

/* Values are read batch by batch: the system fetches the next one while this one is worked on. */
static void read_ahead(const struct activations *a, int value, int64_t batch)
{
	const struct place *next = batch + 1 < a->batches ? &a->by_value[value][batch + 1] : NULL;
	if (next && !next->v && next->info.bytes)
		(void)posix_fadvise(a->fd, next->at, (off_t)next->info.bytes, POSIX_FADV_WILLNEED);
}

struct ort_value *activations_get(struct activations *a, int value, int64_t batch, struct err *e)
{
	const struct place *p = &a->by_value[value][batch];
	if (p->v)
		return p->v;
	struct ort_value *v = ort_tensor_new(a->o, p->info.elem_type, p->info.rank, p->info.shape, e);
	ssize_t got = v ? io_pread(a->fd, ort_value_data(a->o, v), p->info.bytes, p->at) : 0;
	if (v && got != (ssize_t)p->info.bytes) {
		err_errno(e, got < 0 ? errno : EIO, "reading activations");
		ort_value_free(a->o, v);
		v = NULL;
	}
	if (v)
		read_ahead(a, value, batch);
	return v;
}

void activations_done(struct activations *a, int value, int64_t batch, struct ort_value *v)
{
	if (v && a->by_value[value][batch].v != v)
		ort_value_free(a->o, v);
}

void activations_info(const struct activations *a, int value, int64_t batch, struct ort_info *info)
{
	*info = a->by_value[value][batch].info;
}

void activations_drop_batch(struct activations *a, int value, int64_t batch)
{
	struct place *p = a->by_value[value] ? &a->by_value[value][batch] : NULL;
	if (!p)
		return;
	if (p->v)
		a->held -= (int64_t)p->info.bytes;
	else if (p->info.bytes) /* keeps the file small where the file system can; no harm where not */
		(void)fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, p->at, (off_t)p->info.bytes);
	ort_value_free(a->o, p->v);
	*p = (struct place){0};
}

void activations_drop(struct activations *a, int value)
{
	for (int64_t b = 0; b < a->batches; b++)
		activations_drop_batch(a, value, b);
	free(a->by_value[value]);
	a->by_value[value] = NULL;
}

int64_t activations_largest(const struct activations *a)
{
	return a->largest;
}

int64_t activations_taken(const struct activations *a)
{
	return a->taken;
}

int64_t activations_held(const struct activations *a)
{
	return a->held;
}

int64_t activations_spilled(const struct activations *a)
{
	return a->spilled;
}
