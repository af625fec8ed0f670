/* Any bytes as an image: the size that its header tells is that of what is unpacked. Images beyond a million pixels are left to their headers: they would
 * only make the fuzzer slow. */

#include "core/data/image.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct image header, whole;
	if (image_size(data, size, &header, &e) || header.height * header.width > 1 << 20)
		return 0;
	if (image_decode(data, size, &whole, &e))
		return 0;
	if (whole.height != header.height || whole.width != header.width)
		abort();
	free(whole.pixels);
	return 0;
}
