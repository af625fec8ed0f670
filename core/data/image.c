#include "core/data/image.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

static int bad(struct err *e, const char *why)
{
	return err_set(e, ERR_CALIBRATION, "%s", why);
}

/* Room for the pixels, or a word against the size. */
static int make_room(struct image *out, unsigned long height, unsigned long width, bool pixels, struct err *e)
{
	if (height == 0 || width == 0 || height > IMAGE_MAX_SIDE || width > IMAGE_MAX_SIDE || height * width > IMAGE_MAX_PIXELS)
		return err_set(e, ERR_CALIBRATION, "has %lu x %lu pixels; up to %d million are taken", height, width,
		               IMAGE_MAX_PIXELS >> 20);
	out->height = (int)height;
	out->width = (int)width;
	if (pixels && !(out->pixels = malloc((size_t)height * (size_t)width * 3)))
		return err_nomem(e, "an image");
	return 0;
}

/* ---- JPEG ---- */

struct jpeg {
	struct jpeg_decompress_struct d;
	struct jpeg_error_mgr errors;
	struct jpeg_progress_mgr progress;
	jmp_buf back;
	struct err *e;
};

static void jpeg_failed(j_common_ptr c)
{
	struct jpeg *j = c->client_data;
	char why[JMSG_LENGTH_MAX];
	c->err->format_message(c, why);
	if (c->err->msg_code == JERR_OUT_OF_MEMORY)
		err_nomem(j->e, "an image");
	else
		bad(j->e, why);
	longjmp(j->back, 1);
}

/* libjpeg goes on with gray where data are missing; only bytes too many are harmless. */
static void jpeg_warned(j_common_ptr c, int level)
{
	if (level < 0 && c->err->msg_code != JWRN_EXTRANEOUS_DATA && c->err->msg_code != JWRN_JFIF_MAJOR &&
	    c->err->msg_code != JWRN_ADOBE_XFORM)
		jpeg_failed(c);
}

/* A small file can ask for thousands of passes over a large image. */
static void jpeg_progressed(j_common_ptr c)
{
	struct jpeg *j = c->client_data;
	if (j->d.input_scan_number <= IMAGE_MAX_SCANS)
		return;
	bad(j->e, "has too many scans");
	longjmp(j->back, 1);
}

static int jpeg_pixels(struct jpeg *j, struct image *out)
{
	j->d.out_color_space = JCS_RGB;
	(void)jpeg_start_decompress(&j->d);
	while (j->d.output_scanline < j->d.output_height) {
		JSAMPROW row = out->pixels + (size_t)j->d.output_scanline * (size_t)out->width * 3;
		(void)jpeg_read_scanlines(&j->d, &row, 1);
	}
	(void)jpeg_finish_decompress(&j->d);
	return 0;
}

static int jpeg_work(struct jpeg *j, const void *bytes, size_t n, struct image *out, bool pixels)
{
	jpeg_create_decompress(&j->d);
	j->d.client_data = j;
	j->d.progress = &j->progress;
	jpeg_mem_src(&j->d, bytes, (unsigned long)n);
	(void)jpeg_read_header(&j->d, TRUE);
	if (j->d.jpeg_color_space == JCS_CMYK || j->d.jpeg_color_space == JCS_YCCK)
		return bad(j->e, "is a JPEG for print (CMYK), which is not read: convert it to RGB");
	if (make_room(out, j->d.image_height, j->d.image_width, pixels, j->e))
		return -1;
	return pixels ? jpeg_pixels(j, out) : 0;
}

static int read_jpeg(const void *bytes, size_t n, struct image *out, bool pixels, struct err *e)
{
	struct jpeg *j = calloc(1, sizeof *j);
	if (!j)
		return err_nomem(e, "an image");
	j->e = e;
	j->d.err = jpeg_std_error(&j->errors);
	j->d.client_data = j; /* the library asks for it when it fails to begin */
	j->errors.error_exit = jpeg_failed;
	j->errors.emit_message = jpeg_warned;
	j->progress.progress_monitor = jpeg_progressed;
	int rc = setjmp(j->back) == 0 ? jpeg_work(j, bytes, n, out, pixels) : -1;
	jpeg_destroy_decompress(&j->d);
	free(j);
	return rc;
}

/* ---- PNG ---- */

struct png {
	png_structp p;
	png_infop info;
	const unsigned char *at, *end;
	png_bytep *rows;
	struct err *e;
};

static void png_failed(png_structp p, png_const_charp why)
{
	struct png *g = png_get_error_ptr(p);
	if (!g->e->code)
		bad(g->e, why);
	png_longjmp(p, 1);
}

static void png_warned(png_structp p, png_const_charp why)
{
	(void)p;
	(void)why;
}

static void png_give(png_structp p, png_bytep out, size_t n)
{
	struct png *g = png_get_io_ptr(p);
	if (n > (size_t)(g->end - g->at))
		png_error(p, "the image is cut off");
	memcpy(out, g->at, n);
	g->at += n;
}

static int png_pixels(struct png *g, struct image *out)
{
	png_set_expand(g->p);
	png_set_strip_16(g->p);
	png_set_gray_to_rgb(g->p);
	png_set_strip_alpha(g->p);
	(void)png_set_interlace_handling(g->p);
	png_read_update_info(g->p, g->info);
	if (png_get_rowbytes(g->p, g->info) != (size_t)out->width * 3)
		return err_set(g->e, ERR_INTERNAL, "an image's rows have %zu bytes", png_get_rowbytes(g->p, g->info));
	g->rows = malloc((size_t)out->height * sizeof *g->rows);
	if (!g->rows)
		return err_nomem(g->e, "an image");
	for (int y = 0; y < out->height; y++)
		g->rows[y] = out->pixels + (size_t)y * (size_t)out->width * 3;
	png_read_image(g->p, g->rows);
	return 0;
}

static int png_work(struct png *g, struct image *out, bool pixels)
{
	enum { CHUNK = 1 << 23, CHUNKS = 100 };
	png_set_user_limits(g->p, IMAGE_MAX_SIDE, IMAGE_MAX_SIDE);
	png_set_chunk_malloc_max(g->p, CHUNK);
	png_set_chunk_cache_max(g->p, CHUNKS);
	png_set_read_fn(g->p, g, png_give);
	png_read_info(g->p, g->info);
	if (make_room(out, png_get_image_height(g->p, g->info), png_get_image_width(g->p, g->info), pixels, g->e))
		return -1;
	return pixels ? png_pixels(g, out) : 0;
}

static int read_png(const void *bytes, size_t n, struct image *out, bool pixels, struct err *e)
{
	struct png *g = calloc(1, sizeof *g);
	if (!g)
		return err_nomem(e, "an image");
	*g = (struct png){.at = bytes, .end = (const unsigned char *)bytes + n, .e = e};
	e->code = ERR_NONE;
	int rc;
	g->p = png_create_read_struct(PNG_LIBPNG_VER_STRING, g, png_failed, png_warned);
	g->info = g->p ? png_create_info_struct(g->p) : NULL;
	if (!g->info)
		rc = err_nomem(e, "an image");
	else
		rc = setjmp(png_jmpbuf(g->p)) == 0 ? png_work(g, out, pixels) : -1;
	png_destroy_read_struct(&g->p, &g->info, NULL);
	free(g->rows);
	free(g);
	return rc;
}

/* ---- either ---- */

static bool is_png(const void *bytes, size_t n)
{
	return n >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

static bool is_jpeg(const void *bytes, size_t n)
{
	return n >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0;
}

bool image_known(const void *bytes, size_t n)
{
	return is_png(bytes, n) || is_jpeg(bytes, n);
}

static int read_any(const void *bytes, size_t n, struct image *out, bool pixels, struct err *e)
{
	*out = (struct image){0};
	int rc = is_png(bytes, n)    ? read_png(bytes, n, out, pixels, e)
	         : is_jpeg(bytes, n) ? read_jpeg(bytes, n, out, pixels, e)
	                             : bad(e, "is neither a JPEG nor a PNG");
	if (rc) {
		free(out->pixels);
		*out = (struct image){0};
	}
	return rc;
}

int image_size(const void *bytes, size_t n, struct image *out, struct err *e)
{
	return read_any(bytes, n, out, false, e);
}

int image_decode(const void *bytes, size_t n, struct image *out, struct err *e)
{
	return read_any(bytes, n, out, true, e);
}
