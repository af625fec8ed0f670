#ifndef SEQMSE_MODEL_DATA_H
#define SEQMSE_MODEL_DATA_H

/* Arrays that feed a model: its inputs, what feeds each (the setting `inputs`, calib_map.h), and the batches.
 *
 *     struct model_data d;
 *     if (!model_data_open(&d, m, z, params.inputs, 0, 0, &e)) … calib_read(d.calib, …) …
 *     model_data_close(&d); */

#include "core/data/calib.h"

struct calib_map;
struct onnx_model;

struct model_data {
	struct calib_input *inputs; /* in the model's order */
	struct calib_map *map;
	struct calib *calib;
};

/* feeding: the setting's text, or NULL. The rest and what is refused: calib_new(). To be closed also when it fails. */
int model_data_open(struct model_data *d, const struct onnx_model *m, struct arrays *z, const char *feeding, int64_t batch_size,
                    int64_t num_batches, struct err *e);
void model_data_close(struct model_data *d);

#endif
