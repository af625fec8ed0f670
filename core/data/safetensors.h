#ifndef SEQMSE_SAFETENSORS_H
#define SEQMSE_SAFETENSORS_H

/* Files of the safetensors format, for arrays.h: eight bytes with the length of a JSON object, the object, the numbers. The object has a member for
 * every tensor, {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}; "__metadata__" is left aside.
 *
 * Refused, as the format asks: a header that is no such object or longer than SAFETENSORS_MAX_HEADER, tensors whose bytes are not exactly those that dtype and
 * shape need, tensors that overlap, bytes that belong to none. Types of fewer than eight bits, of
 * eight with a point (F8_E4M3, F8_E5M2, F8_E8M0) and complex ones are listed as ARRAY_OTHER, which feeds no model. */

enum { SAFETENSORS_MAX_HEADER = 1 << 20, SAFETENSORS_MAX_TENSORS = 1024 };

#endif
