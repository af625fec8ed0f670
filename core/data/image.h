#ifndef SEQMSE_IMAGE_H
#define SEQMSE_IMAGE_H

/* Images out of JPEG and PNG files that nobody vouches for. image.c is the only file that includes jpeglib.h and png.h.
 *
 * Pixels are RGB in 8 bits, whatever the file has: gray and palettes become RGB, transparency is left out, of 16 bits the upper 8 stay. Neither color profiles
 * nor gamma nor EXIF's orientation are applied: this is what Pillow's Image.open(f).convert("RGB") gives. Refused before anything is unpacked: more than
 * IMAGE_MAX_PIXELS; also JPEGs with more than IMAGE_MAX_SCANS scans, JPEGs in CMYK, images that are cut off or damaged. Errors are
 * ERR_CALIBRATION and ERR_MEMORY. */

#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { IMAGE_MAX_PIXELS = 1 << 25, IMAGE_MAX_SIDE = 65500, IMAGE_MAX_SCANS = 200 };

struct image {
	int height, width;
	unsigned char *pixels; /* [height][width][3]; malloc'ed, the caller's to free */
};

/* Whether it begins as a JPEG or a PNG does. */
bool image_known(const void *bytes, size_t n);

/* The size, from the header: pixels is NULL. */
int image_size(const void *bytes, size_t n, struct image *out, struct err *e);
int image_decode(const void *bytes, size_t n, struct image *out, struct err *e);

#endif
