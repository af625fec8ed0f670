/* LD_PRELOAD: allocations of this process that fail, as the file $FAIL_ALLOC says. Its numbers are shared memory, so that a test can say
 * so, and take it back, while the process runs. What the allocator below is (the C library's, a sanitizer's) makes no difference. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct orders {
	atomic_long count;  /* allocations so far */
	atomic_long at;     /* this one fails; 0: none */
	atomic_long one_in; /* one in so many fails, drawn by chance; 0: none */
	atomic_long failed;
};

static struct orders none, *orders = &none;

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void (*next_free)(void *);

/* dlsym() itself may allocate before it has found anything. This is never given back. */
static _Alignas(16) char first[1 << 16];
static size_t first_used;

static int is_first(const void *p) { return (const char *)p >= first && (const char *)p < first + sizeof first; }

static void *take_first(size_t size)
{
	size = (size + 15) & ~(size_t)15;
	if (size > sizeof first - first_used)
		return NULL;
	first_used += size;
	return first + first_used - size;
}

static void find(void)
{
	static int looking;
	if (looking)
		return;
	looking = 1;
	next_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	next_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	next_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
	next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	looking = 0;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAIL_ALLOC");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (p != MAP_FAILED)
		orders = p;
}

/* The same allocation in every run. */
static uint64_t dice(uint64_t n)
{
	n *= 0x9e3779b97f4a7c15u;
	n ^= n >> 29;
	n *= 0xbf58476d1ce4e5b9u;
	return n >> 20;
}

static int fails(void)
{
	long n = atomic_fetch_add(&orders->count, 1) + 1, k = atomic_load(&orders->one_in);
	if (n != atomic_load(&orders->at) && !(k && dice((uint64_t)n) % (uint64_t)k == 0))
		return 0;
	atomic_fetch_add(&orders->failed, 1);
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	if (!next_malloc)
		find();
	return !next_malloc ? take_first(size) : fails() ? NULL : next_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	if (!next_malloc)
		find();
	return !next_malloc ? take_first(n * size) : fails() ? NULL : next_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	if (!next_malloc)
		find();
	if (next_malloc && !is_first(p))
		return fails() ? NULL : next_realloc(p, size);
	size_t had = is_first(p) ? (size_t)(first + sizeof first - (char *)p) : 0;
	void *q = next_malloc ? next_malloc(size) : take_first(size);
	if (q && p)
		memmove(q, p, had < size ? had : size);
	return q;
}

void free(void *p)
{
	if (p && !is_first(p) && next_free)
		next_free(p);
}
