#ifndef SEQMSE_IMAGE_SET_H
#define SEQMSE_IMAGE_SET_H

/* Images in a zip archive or in a folder and the folders in it, for arrays.h: one array, "images", with a sample for each file that ends in .jpg, .jpeg or
 * .png, in the order of their paths' bytes. Other files, and those whose name begins with a dot, are left aside.
 *
 * At the opening every image's header is read, so that what is no image is refused at once, with its name; its pixels are unpacked when its row is read.
 * After image_set_preprocess() the array is float32 [N, C, H, W], or [N, H, W, C]. All images must then have one size, which a crop or a
 * resize to HEIGHTxWIDTH gives them. */

#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct arrays;

enum { IMAGE_SET_MAX_FILES = 8192, IMAGE_SET_MAX_BYTES = 1 << 27 /* of a file */ };

bool image_set_is_image(const char *path);
bool image_set_is_image_data(const void *bytes, size_t n);

int image_set_preprocess(struct arrays *z, const char *setting, struct err *e);

/* Calls file() for each image, in order, with its path in it and its bytes; stops at the first that does not give 0. */
int image_set_walk(struct arrays *z, int (*file)(void *ctx, const char *path, const void *bytes, size_t n, struct err *e),
                   void *ctx, struct err *e);

#endif
