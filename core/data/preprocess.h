#ifndef SEQMSE_PREPROCESS_H
#define SEQMSE_PREPROCESS_H

/* The setting `preprocess`: how an image becomes numbers, in one line of words between commas, in any order:
 *
 *     resize=256          the shorter side has 256 pixels, the longer one as many as keep the proportions (rounded down); or resize=HEIGHTxWIDTH.
 *                         Left out: as large as it is
 *     crop=224            the middle, 224 x 224; or crop=HEIGHTxWIDTH. Left out: all of it. Comes after resize, whatever the order of the words
 *     filter=bilinear     or bicubic: how it is resized (resample.h)
 *     color=rgb           or bgr, or gray, which is one channel: (299 R + 587 G + 114 B) / 1000, rounded, before it is resized
 *     scale=1/255         what a pixel of 0 to 255 is multiplied by
 *     mean=0.485:0.456:0.406     is subtracted then; a number, or one for every channel. Left out: 0
 *     std=0.229:0.224:0.225      divides then. Left out: 1
 *     layout=nchw         or nhwc
 *
 * The whole is what torchvision's Resize, CenterCrop, ToTensor and Normalize do to an image that Pillow has opened. */

#include "core/base/err.h"
#include "core/base/json.h"
#include "core/data/resample.h"

enum preprocess_color { PREPROCESS_RGB, PREPROCESS_BGR, PREPROCESS_GRAY };
enum preprocess_layout { PREPROCESS_NCHW, PREPROCESS_NHWC };
enum { PREPROCESS_MAX_SIDE = 4096 };

struct preprocess {
	int shorter;                     /* the side's length after resizing, or 0 */
	int resize_height, resize_width; /* both, or 0 */
	int crop_height, crop_width;     /* or 0 */
	int filter;                      /* enum resample_filter */
	int color, layout;
	double scale[2]; /* times the first, over the second */
	double mean[3], std[3];
};

/* A line. ERR_BAD_PARAM names the word that is wrong, and those that are known. */
int preprocess_parse(const char *line, struct preprocess *p, struct err *e);

/* The setting, a JSON string, as the table of settings keeps it; and its check. */
int preprocess_read(const char *setting, struct preprocess *p, struct err *e);
int preprocess_check(const struct json *v, struct err *e);

int preprocess_channels(const struct preprocess *p);

/* The size that an image of height x width comes out with; ERR_CALIBRATION where it is smaller than the crop, or would grow beyond measure. Also the size
 * between resizing and cropping. */
struct preprocess_size {
	int resized_height, resized_width, height, width;
};
int preprocess_size(const struct preprocess *p, int height, int width, struct preprocess_size *s, struct err *e);

/* out[C][H][W] or [H][W][C], of the size that preprocess_size() tells; pixels[height][width][3] is RGB. */
int preprocess_apply(const struct preprocess *p, const unsigned char *pixels, int height, int width, float *out, struct err *e);

#endif
