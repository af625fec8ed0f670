#ifndef SEQMSE_ENCODINGS_FILE_H
#define SEQMSE_ENCODINGS_FILE_H

/* What the writers and readers of the versions share; encodings_write.c and encodings_read.c choose among them. Nobody else's business. */

#include "core/base/json.h"
#include "core/encodings/encodings.h"

enum { ENCODINGS_MAX_BW = 32, ENCODINGS_MAX_RANK = 8, ENCODINGS_MAX_LPBQ_BITS = 16 }; /* that a file may have */

/* The grid's number of steps: 2^bw levels, or one less. */
double encodings_steps(struct quant_mode mode);

/* ---- writers: one section each, under its key ---- */

int encodings_write_0(struct json_out *w, const char *key, const struct encoding *list, size_t n, struct err *e);
int encodings_write_1(struct json_out *w, const char *key, const struct encoding *list, size_t n, struct err *e);
int encodings_write_2(struct json_out *w, const struct encodings *x, enum encodings_version v, struct err *e);

/* An LPBQ entry's numbers: channel_scale[x->channels], factor[x->n] as [channels][blocks], both malloc'ed; free them, whatever is returned. */
int encodings_compress(const struct encoding *x, double **channel_scale, int **factor, struct err *e);

/* ---- readers: one section each ---- */

int encodings_read_0(struct encodings *x, bool activation, const struct json *object, struct err *e);
int encodings_read_1(struct encodings *x, bool activation, const struct json *list, struct err *e);
int encodings_read_2(struct encodings *x, const struct json *list, struct err *e);

int encodings_bad(struct err *e, const char *what);                       /* ERR_BAD_PARAM; what is wrong with it */
int encodings_read_truth(const struct json *v, bool *out, struct err *e); /* true, false, "True" or "False" */
int encodings_read_bw(const struct json *v, int *out, struct err *e);
int encodings_read_scale(const struct json *v, double *out, struct err *e);          /* positive */
int encodings_read_offset(const struct json *v, int bw, double *out, struct err *e); /* an integer, on the unsigned grid */
/* A block's grid of LPBQ, for entry's widths: a factor from 1 to 2^bits of a channel's scale. */
int encodings_read_factor(const struct json *scale, const struct json *factor, const struct encoding *entry, struct quant_grid *g,
                          struct err *e);
int encodings_read_block_size(const struct json *v, int64_t *out, struct err *e);

/* Appends what was read: entry with these grids, of which scale and offset are known. Their ends, and whether the mode is strict or unsigned, follow. */
int encodings_add_read(struct encodings *x, bool activation, const char *name, struct encoding *entry, struct quant_grid *grids,
                       struct err *e);

#endif
