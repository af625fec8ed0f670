#ifndef SEQMSE_TEST_SETS_H
#define SEQMSE_TEST_SETS_H

/* Tar archives of ONNX test sets, as model zoos ship them, for arrays.h: folders test_data_set_N with files input_M.pb, each a TensorProto that
 * feeds the model's input M. Everything else in the archive (the model, output_M.pb) is left aside.
 *
 * The arrays are "input_0", "input_1", …; the sets' tensors follow one another along axis 0, by N. All tensors of an input have one type and equal
 * dimensions but the first. Refused: tars that are damaged or compressed, numbers that are missing, tensors with external data, more than TEST_SETS_MAX_FILES
 * files. Numbers are read where they lie in the file (raw_data, float_data, double_data), or unpacked from int32_data and int64_data. Format facts: POSIX
 * ustar; GNU's and pax's long names are skipped, as no input's file has one. */

enum { TEST_SETS_MAX_FILES = 65536, TEST_SETS_MAX_INPUTS = 256 };

#endif
