/* A preprocessing line, applied to a small image. */

#include "core/data/preprocess.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEIGHT = 7, WIDTH = 5 };

static void apply(const struct preprocess *p)
{
	struct err e = ERR_INIT;
	unsigned char pixels[HEIGHT * WIDTH * 3];
	struct preprocess_size s;
	for (size_t i = 0; i < sizeof pixels; i++)
		pixels[i] = (unsigned char)(i * 37);
	if (preprocess_size(p, HEIGHT, WIDTH, &s, &e) || (int64_t)s.resized_height * s.resized_width > 1 << 16)
		return;
	float *out = malloc((size_t)s.height * (size_t)s.width * (size_t)preprocess_channels(p) * sizeof *out);
	if (!out)
		abort();
	if (preprocess_apply(p, pixels, HEIGHT, WIDTH, out, &e))
		abort();
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct preprocess p;
	char *line = malloc(size + 1);
	if (!line)
		abort();
	memcpy(line, data, size);
	line[size] = '\0';
	if (preprocess_parse(line, &p, &e) == 0)
		apply(&p);
	free(line);
	return 0;
}
