#include "mishap.h"
#include "npz_file.h"
#include "scratch.h"
#include "shared.h"

#include "core/data/arrays.h"
#include "core/data/image.h"
#include "core/data/preprocess.h"
#include "core/data/resample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool says(const struct err *e, const char *text)
{
	if (!strstr(e->msg, text))
		print_error("says: %s\n", e->msg);
	return strstr(e->msg, text) != NULL;
}

/* ---- against Pillow ---- */

static float *all_rows(struct arrays *z, const struct array **a, size_t *n)
{
	struct err e = ERR_INIT;
	uint64_t row = 0;
	*a = arrays_find(z, "images");
	assert_non_null(*a);
	assert_true(array_row_bytes(*a, &row));
	*n = (size_t)(row * array_rows(*a)) / sizeof(float);
	float *out = malloc(*n * sizeof *out);
	assert_non_null(out);
	if (arrays_read_rows(z, *a, 0, (*a)->shape[0], out, &e))
		fail_msg("%s", e.msg);
	return out;
}

/* The images and their order, and every number, as data/images/make.py has them: the same bytes of pixels, and the same steps in single precision. */
static void compare(const char *setting, const char *expected, float tolerance)
{
	struct err e = ERR_INIT;
	const struct array *a, *b;
	size_t n, m, differ = 0;
	struct arrays *z = arrays_open("tests/data/images/images.zip", &e), *want = arrays_open(expected, &e);
	if (!z || !want || arrays_preprocess(z, setting, &e))
		fail_msg("%s", e.msg);
	float *x = all_rows(z, &a, &n), *y = all_rows(want, &b, &m);
	assert_int_equal(a->rank, b->rank);
	assert_memory_equal(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape);
	assert_int_equal(n, m);
	for (size_t i = 0; i < n; i++)
		differ += fabsf(x[i] - y[i]) > tolerance;
	if (differ)
		fail_msg("%zu of %zu numbers differ", differ, n);
	free(x);
	free(y);
	arrays_free(z);
	arrays_free(want);
}

static void a_classifiers_preprocessing_is_pillows(void **state)
{
	(void)state;
	compare("\"resize=32,crop=24,mean=0.485:0.456:0.406,std=0.229:0.224:0.225\"", "tests/data/images/classifier.npz", 1e-6f);
}

static void bicubic_pixels_as_they_are(void **state)
{
	(void)state;
	/* Of 0 to 255. Pillow 13 resizes two of the eight by columns first, and so rounds other values in between. */
	compare("\"resize=20x28,filter=bicubic,layout=nhwc,color=bgr,scale=1\"", "tests/data/images/raw.npz", 2);
}

static void gray_and_larger(void **state)
{
	(void)state;
	compare("\"crop=40x50,resize=70,filter=bicubic,mean=0.5,std=0.25,color=gray\"", "tests/data/images/gray.npz", 1e-6f);
}

/* ---- the line ---- */

static void wrong(const char *line, const char *text)
{
	struct preprocess p;
	struct err e = ERR_INIT;
	assert_int_equal(preprocess_parse(line, &p, &e), -1);
	assert_int_equal(e.code, ERR_BAD_PARAM);
	assert_true(says(&e, text));
}

static void a_wrong_word_is_named(void **state)
{
	(void)state;
	wrong("resize=256,size=3", "\"size\" is not known; there are resize, crop, filter, color, scale, mean, std and layout");
	wrong("224", "\"224\" is not known");
	wrong("resize", "resize has no value");
	wrong("resize=", "resize=: expected");
	wrong("resize=0", "resize=0: expected");
	wrong("resize=5000", "resize=5000: expected");
	wrong("resize=99999999999999999999", "expected");
	wrong("crop=224x", "crop=224x: expected");
	wrong("crop=1x2x3", "crop=1x2x3: expected");
	wrong("filter=nearest", "filter=nearest: expected bilinear|bicubic");
	wrong("layout=chw", "layout=chw: expected nchw|nhwc");
	wrong("color=RGB", "color=RGB: expected rgb|bgr|gray");
	wrong("mean=1:2", "mean=1:2: expected one number, or three");
	wrong("mean=1:2:3:4", "mean=1:2:3:4: expected");
	wrong("mean=nan", "mean=nan: expected");
	wrong("std=0.1:0:1", "std=0.1:0:1: expected numbers other than 0");
	wrong("scale=0", "scale=0: expected");
	wrong("scale=1/0", "scale=1/0: expected");
	wrong("crop=3,crop=3", "crop is there twice");
	wrong("crop=3,", "ends in a comma");
	wrong(",crop=3", "\"\" is not known");
	wrong(" crop=3", "\" crop\" is not known");
}

static void a_line_is_read(void **state)
{
	(void)state;
	struct preprocess p;
	struct err e = ERR_INIT;
	assert_int_equal(preprocess_parse("", &p, &e), 0);
	assert_true(p.shorter == 0 && p.crop_height == 0 && p.scale[1] == 255 && p.std[2] == 1 && p.layout == PREPROCESS_NCHW);
	assert_int_equal(preprocess_parse("std=2,crop=3x4,resize=5x6,mean=1:2:-3e1,layout=nhwc", &p, &e), 0);
	assert_true(p.std[0] == 2 && p.std[2] == 2 && p.crop_height == 3 && p.crop_width == 4 && p.resize_height == 5 &&
	            p.resize_width == 6 && p.mean[2] == -30 && p.layout == PREPROCESS_NHWC);
}

static void sizes_that_grow_beyond_measure_are_refused(void **state)
{
	(void)state;
	struct preprocess p;
	struct preprocess_size s;
	struct err e = ERR_INIT;
	assert_int_equal(preprocess_parse("resize=256", &p, &e), 0);
	assert_int_equal(preprocess_size(&p, 500, 375, &s, &e), 0);
	assert_true(s.height == 341 && s.width == 256);
	assert_int_equal(preprocess_size(&p, 1, 65000, &s, &e), -1);
	assert_true(says(&e, "too large"));
	assert_int_equal(preprocess_parse("crop=30", &p, &e), 0);
	assert_int_equal(preprocess_size(&p, 29, 500, &s, &e), -1);
	assert_true(says(&e, "fewer than the crop"));
}

/* ---- files that are none, or hostile ---- */

static void refused_image(const char *bytes, size_t n, const char *text)
{
	struct image i;
	struct err e = ERR_INIT;
	assert_int_equal(image_decode(bytes, n, &i, &e), -1);
	assert_int_equal(e.code, ERR_CALIBRATION);
	assert_null(i.pixels);
	assert_true(says(&e, text));
}

static void big_endian(char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (char)(v >> (24 - 8 * i));
}

/* A PNG's signature and the header of an image of that size, true to its checksum. */
static size_t png_header(char out[64], uint32_t width, uint32_t height)
{
	memcpy(out, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
	big_endian(out + 16, width);
	big_endian(out + 20, height);
	memcpy(out + 24, "\x08\x02\0\0\0", 5);
	big_endian(out + 29, npz_file_crc(out + 12, 17));
	memcpy(out + 33, "\0\0\0\0IDAT", 8);
	return 41;
}

static void bombs_are_refused_by_their_headers(void **state)
{
	(void)state;
	char png[64];
	size_t n = png_header(png, 60000, 60000);
	refused_image(png, n, "60000 x 60000 pixels; up to 32 million");
	n = png_header(png, 0x7fffffff, 1);
	refused_image(png, n, "IHDR");
	/* A JPEG that says 65000 x 65000. */
	const char jpeg[] = "\xff\xd8\xff\xc0\0\x11\x08\xfd\xe8\xfd\xe8\x03\x01\x11\0\x02\x11\0\x03\x11\0\xff\xda\0\x0c\x03\x01\0"
			    "\x02\0\x03\0\0\x3f\0";
	refused_image(jpeg, sizeof jpeg - 1, "65000 x 65000 pixels");
}

static void images_cut_off_anywhere_are_refused(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	const char *const paths[] = {"tests/data/images/cut.jpg", "tests/data/images/cut.png"};
	for (size_t k = 0; k < 2; k++) {
		FILE *f = fopen(paths[k], "rb");
		char bytes[16384];
		struct image whole;
		assert_non_null(f);
		size_t n = fread(bytes, 1, sizeof bytes, f), refusals = 0;
		(void)fclose(f);
		assert_true(n > 100 && n < sizeof bytes);
		if (image_decode(bytes, n, &whole, &e))
			fail_msg("%s", e.msg);
		for (size_t cut = 0; cut < n; cut += 7) {
			struct image i;
			struct err why = ERR_INIT;
			char *copy = malloc(cut + 1); /* its end is where a sanitizer sees it */
			assert_non_null(copy);
			memcpy(copy, bytes, cut);
			refusals += image_decode(copy, cut, &i, &why) != 0;
			free(i.pixels);
			free(copy);
		}
		assert_true(refusals + 4 >= n / 7); /* all but those that lack only what ends the file */
		free(whole.pixels);
	}
}

static void other_files_are_refused(void **state)
{
	(void)state;
	refused_image("", 0, "neither a JPEG nor a PNG");
	refused_image("GIF89a", 6, "neither a JPEG nor a PNG");
	refused_image("\xff\xd8\xff", 3, "");
	struct buf zip = BUF_INIT;
	const struct npz_file_member members[] = {{.name = "x/y.png", .bytes = "GIF89a", .len = 6}};
	struct err e = ERR_INIT;
	npz_file_zip(&zip, members, 1);
	assert_null(npz_file_open(&zip, &e));
	assert_int_equal(e.code, ERR_CALIBRATION);
	assert_true(says(&e, "image x/y.png: is neither a JPEG nor a PNG"));
}

static void images_of_other_sizes_are_named(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct arrays *z = arrays_open("tests/data/images/images.zip", &e);
	assert_non_null(z);
	const struct array *a = arrays_find(z, "images");
	float out[4];
	assert_true(a->type == ARRAY_IMAGE && a->rank == 1 && a->shape[0] == 8);
	assert_int_equal(arrays_read_rows(z, a, 0, 1, out, &e), -1);
	assert_int_equal(arrays_preprocess(z, "\"resize=32\"", &e), -1);
	assert_int_equal(e.code, ERR_CALIBRATION);
	assert_true(says(&e, "give them one size, with crop="));
	arrays_free(z);
}

static void arrays_are_not_preprocessed(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct arrays *z = arrays_open("tests/data/digits/calib.npz", &e);
	assert_non_null(z);
	assert_int_equal(arrays_preprocess(z, NULL, &e), 0);
	assert_int_equal(arrays_preprocess(z, "\"resize=32\"", &e), -1);
	assert_int_equal(e.code, ERR_BAD_PARAM);
	assert_true(says(&e, "preprocess is for images"));
	arrays_free(z);
}

static void a_folder_is_read_whole_or_not_at_all(void **state)
{
	enum { IMAGES = 3 };
	bool failed = true;
	char path[200];
	struct buf image = BUF_INIT;
	(void)state;
	assert_int_equal(whole_file("tests/data/images/cut.png", &image), 0);
	const char *folder = scratch_new();
	for (int i = 0; i < IMAGES; i++) {
		(void)snprintf(path, sizeof path, "%s/%d.png", folder, i);
		FILE *f = fopen(path, "w");
		assert_non_null(f);
		assert_int_equal(fwrite(image.data, 1, image.len, f), image.len);
		assert_int_equal(fclose(f), 0);
	}
	for (long n = 1; failed; n++) {
		struct err e = ERR_INIT;
		mishap_begin(n);
		struct arrays *z = arrays_open(folder, &e);
		failed = mishap_end();
		if (!z && !failed)
			fail_msg("%s", e.msg);
		if (z && arrays_find(z, "images")->shape[0] != IMAGES)
			fail_msg("call %ld, %s: not all of the images", n, mishap_name());
		arrays_free(z);
	}
	buf_fini(&image);
	scratch_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_classifiers_preprocessing_is_pillows),
		cmocka_unit_test(bicubic_pixels_as_they_are),
		cmocka_unit_test(gray_and_larger),
		cmocka_unit_test(a_wrong_word_is_named),
		cmocka_unit_test(a_line_is_read),
		cmocka_unit_test(sizes_that_grow_beyond_measure_are_refused),
		cmocka_unit_test(bombs_are_refused_by_their_headers),
		cmocka_unit_test(images_cut_off_anywhere_are_refused),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test(images_of_other_sizes_are_named),
		cmocka_unit_test(arrays_are_not_preprocessed),
		cmocka_unit_test(a_folder_is_read_whole_or_not_at_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
