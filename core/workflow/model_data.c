#include "core/workflow/model_data.h"

#include "core/data/calib_map.h"
#include "core/workflow/inspect.h"

#include <stdlib.h>

int model_data_open(struct model_data *d, const struct onnx_model *m, struct arrays *z, const char *feeding, int64_t batch_size,
                    int64_t num_batches, struct err *e)
{
	size_t n;
	*d = (struct model_data){0};
	if (inspect_calib_inputs(m, &d->inputs, &n, e))
		return -1;
	d->map = calib_map_new(feeding, e);
	if (!d->map || calib_map_apply(d->map, d->inputs, n, e))
		return -1;
	d->calib = calib_new(z, d->inputs, n, batch_size, num_batches, e);
	return d->calib ? 0 : -1;
}

void model_data_close(struct model_data *d)
{
	calib_free(d->calib);
	calib_map_free(d->map);
	free(d->inputs);
	*d = (struct model_data){0};
}
