#ifndef SEQMSE_NPZ_H
#define SEQMSE_NPZ_H

/* Array files of numpy, for arrays.h: .npz (a zip of .npy members, stored or deflated, zip64 as numpy writes it) and a bare .npy, whose
 * array has the name "". Format facts: numpy's documentation of the NPY format, versions 1.0 to 3.0.
 *
 * Refused: damaged archives and headers, members that do not have exactly the size their header declares, two members of one
 * name, encryption, compression other than deflate, more than NPZ_MAX_MEMBERS members. Ignored: members that are not .npy. Arrays
 * of other types (objects, strings, records, big-endian numbers) are listed as ARRAY_OTHER, so that a file may carry them
 * beside the ones that are wanted, but cannot be read; nothing is ever unpickled. Fortran-ordered members are read into memory whole. */

enum { NPZ_MAX_MEMBERS = 1024 };

#endif
