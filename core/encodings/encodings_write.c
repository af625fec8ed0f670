#include "core/base/version.h"
#include "core/encodings/encodings_file.h"
#include "core/grid/lpbq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Keys of every object are written in the order of the alphabet, which is not always the order of thought. */

double encodings_steps(struct quant_mode mode)
{
	return ldexp(1, mode.bw) - 1 - (mode.symmetric && mode.strict_symmetric);
}

int encodings_compress(const struct encoding *x, double **channel_scale, int **factor, struct err *e)
{
	double *scale = calloc(x->n + 1, sizeof *scale);
	*channel_scale = calloc(x->channels + 1, sizeof **channel_scale);
	*factor = calloc(x->n + 1, sizeof **factor);
	if (!scale || !*channel_scale || !*factor) {
		free(scale);
		return err_nomem(e, "encodings");
	}
	for (size_t i = 0; i < x->n; i++)
		scale[i] = x->grids[i].delta;
	if (x->channels)
		lpbq_compress(x->channels, x->n / x->channels, scale, x->lpbq_bits ? x->lpbq_bits : x->mode.bw, *channel_scale,
		              *factor);
	free(scale);
	return 0;
}

static void write_producer(struct json_out *w)
{
	json_out_object(w, "producer");
	json_out_string(w, "package", "seqmsed");
	json_out_string(w, "version", SEQMSED_VERSION);
	json_out_end_object(w);
}

static void write_args(struct json_out *w, const struct encodings *x)
{
	json_out_object(w, "quantizer_args");
	json_out_integer(w, "activation_bitwidth", x->activation_bw);
	json_out_string(w, "dtype", "int");
	json_out_bool(w, "is_symmetric", x->symmetric_params);
	json_out_integer(w, "param_bitwidth", x->param_bw);
	json_out_bool(w, "per_channel_quantization", x->per_channel);
	json_out_string(w, "quant_scheme", x->quant_scheme ? x->quant_scheme : "min_max");
	json_out_end_object(w);
}

static int write_sections(struct json_out *w, const struct encodings *x, enum encodings_version v, struct err *e)
{
	if (v >= ENCODINGS_2_0_0)
		return encodings_write_2(w, x, v, e);
	int (*section)(struct json_out *, const char *, const struct encoding *, size_t, struct err *) =
		v == ENCODINGS_0_6_1 ? encodings_write_0 : encodings_write_1;
	int rc = section(w, "activation_encodings", x->activations, x->nactivations, e);
	return rc ? rc : section(w, "param_encodings", x->params, x->nparams, e);
}

int encodings_write(const struct encodings *x, enum encodings_version v, struct buf *out, struct err *e)
{
	struct json_out w;
	size_t before = out->len;
	json_out_init(&w, out, 4);
	w.ascii_only = true;
	json_out_object(&w, NULL);
	if (write_sections(&w, x, v, e) != 0) {
		out->len = before;
		if (out->data)
			out->data[before] = '\0';
		return -1;
	}
	write_producer(&w);
	if (v < ENCODINGS_2_0_0)
		write_args(&w, x);
	json_out_string(&w, "version", encodings_version_name(v));
	json_out_end_object(&w);
	return buf_failed(out) ? err_nomem(e, "an encodings file") : 0;
}
