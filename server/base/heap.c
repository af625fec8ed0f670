#include "server/base/heap.h"

#include <limits.h>
#include <malloc.h>

/* The largest bound that the C library takes. */
enum { LARGEST = 32 << 20, LARGE = 128 << 10 };

void heap_gives_back(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, LARGE);
}

void heap_keeps(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, LARGEST);
	(void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
}
