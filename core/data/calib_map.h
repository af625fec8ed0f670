#ifndef SEQMSE_CALIB_MAP_H
#define SEQMSE_CALIB_MAP_H

/* The setting `inputs`: how arrays feed a model's inputs where names, layouts or ranges differ. A JSON object
 *     {"input": {"array": "images", "transpose": [0, 3, 1, 2], "scale": 0.0039, "offset": [-0.4, -0.5, -0.3]}, …}
 * Every member may be left out: the array is then the one of the input's name, and goes in as it is. Axis i of the input is axis transpose[i] of the
 * array (axis 0 counts samples and stays); what is fed is value * scale + offset, computed in double, for inputs of floats. scale and
 * offset are numbers, or lists with one for every place on the input's axis 1. */

#include "core/base/json.h"
#include "core/data/calib.h"

struct calib_map;

/* For the table of settings: its shape, without model or data. The message begins with the JSON pointer into it. */
int calib_map_check(const struct json *v, struct err *e);

/* From the setting's text; NULL text makes an empty one. */
struct calib_map *calib_map_new(const char *text, struct err *e);
void calib_map_free(struct calib_map *m);

/* Tells the inputs what feeds them; the map must outlive them. A name that is no input's is ERR_BAD_PARAM and names those there are. */
int calib_map_apply(const struct calib_map *m, struct calib_input *inputs, size_t n, struct err *e);

#endif
