#include "core/base/blocks.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MAPPING ((size_t)64 << 20) /* least size of a mapping */
enum { SLACK = 8 }; /* what stays resident, used or not, may be more than what was ever used at once by one in so many */
enum { PAGE = 4096, HEAD = BLOCKS_ALIGN };

/* A part of a mapping. Every byte of a mapping is in one; two free neighbours do not exist. */
struct part {
	char *start;
	size_t size;              /* whole pages */
	bool used, first;         /* first: of its mapping */
	size_t touched;           /* of a free part: how many bytes may be resident */
	struct part *prev, *next; /* by address within a mapping; mappings follow each other in any order */
};

struct blocks {
	pthread_mutex_t lock;
	/* under lock */
	size_t keep;
	struct part *parts;
	size_t idle; /* touched bytes of free parts */
	size_t used, peak;
	size_t highest; /* used at once, since the last trim */
};

/* In front of every block; part is NULL where malloc has it. */
struct head {
	struct part *part;
};

struct blocks *blocks_new(size_t keep, struct err *e)
{
	struct blocks *b = calloc(1, sizeof *b);
	if (!b) {
		err_nomem(e, "the memory of tensors");
		return NULL;
	}
	b->keep = keep;
	pthread_mutex_init(&b->lock, NULL);
	return b;
}

void blocks_free(struct blocks *b)
{
	if (!b)
		return;
	struct part *at = b->parts;
	while (at) { /* a mapping at a time */
		char *start = at->start;
		size_t size = 0;
		do {
			struct part *next = at->next;
			size += at->size;
			free(at);
			at = next;
		} while (at && !at->first);
		(void)munmap(start, size);
	}
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* Lets a free part's pages go. */
static void drop(struct blocks *b, struct part *part)
{
	(void)madvise(part->start, part->size, MADV_DONTNEED);
	b->idle -= part->touched;
	part->touched = 0;
}

static void drop_beyond(struct blocks *b, size_t keep)
{
	for (struct part *at = b->parts; at && b->idle > keep; at = at->next)
		if (at->touched)
			drop(b, at);
}

void blocks_keep(struct blocks *b, size_t keep)
{
	pthread_mutex_lock(&b->lock);
	b->keep = keep;
	drop_beyond(b, keep);
	pthread_mutex_unlock(&b->lock);
}

void blocks_trim(struct blocks *b)
{
	pthread_mutex_lock(&b->lock);
	drop_beyond(b, 0);
	b->highest = b->used;
	pthread_mutex_unlock(&b->lock);
}

size_t blocks_used(struct blocks *b)
{
	pthread_mutex_lock(&b->lock);
	size_t used = b->used;
	pthread_mutex_unlock(&b->lock);
	return used;
}

size_t blocks_peak(struct blocks *b)
{
	pthread_mutex_lock(&b->lock);
	size_t peak = b->peak;
	b->peak = b->used;
	pthread_mutex_unlock(&b->lock);
	return peak;
}

static void *map_pages(void *at, size_t size)
{
	return mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);
}

/* Fills a new part with the pages that lie idle in others, scattered: moving costs less than new ones do, and they need not be dropped. Where the system cannot
 * move them they stay; before it says so (Linux 5.7 to 6.16, of a part that was filled like this) it may have unmapped the place they were to go to, which is mapped anew. -1: not even
 * that was possible. */
static int gather_idle(struct blocks *b, struct part *fresh)
{
	size_t at = 0;
	for (struct part *p = b->parts; p && at < fresh->size; p = p->next) {
		size_t n = p->size < fresh->size - at ? p->size : fresh->size - at, moved = p->touched < n ? p->touched : n;
		char *to = fresh->start + at;
		if (p == fresh || p->used || !p->touched)
			continue;
		if (mremap(p->start, n, n, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == MAP_FAILED) {
			if (map_pages(to, n) == MAP_FAILED)
				return -1;
			continue;
		}
		size_t left = p->touched < p->size - n ? p->touched : p->size - n;
		b->idle += left + moved - p->touched;
		p->touched = left;
		fresh->touched += moved;
		at += n;
	}
	return 0;
}

/* Cuts what is too much off the end; without memory for the new part the block is larger than asked for. */
static void split(struct part *part, size_t size)
{
	struct part *rest = part->size > size ? calloc(1, sizeof *rest) : NULL;
	if (!rest)
		return;
	*rest = (struct part){.start = part->start + size, .size = part->size - size, .prev = part, .next = part->next};
	rest->touched = part->touched < rest->size ? part->touched : rest->size;
	if (rest->next)
		rest->next->prev = rest;
	part->next = rest;
	part->size = size;
}

/* A new mapping in front of the others, of which the first part is so large. */
static struct part *map(struct blocks *b, size_t size)
{
	struct part *part = calloc(1, sizeof *part);
	size_t whole = size > MAPPING ? size : MAPPING;
	void *start = part ? map_pages(NULL, whole) : MAP_FAILED;
	if (start == MAP_FAILED) {
		free(part);
		return NULL;
	}
	*part = (struct part){.start = start, .size = whole, .first = true, .next = b->parts};
	if (b->parts)
		b->parts->prev = part;
	b->parts = part;
	split(part, size);
	return part;
}

/* The smallest free part that is large enough; one with pages that are there before one without. */
static struct part *best_fit(const struct blocks *b, size_t size)
{
	struct part *best = NULL;
	for (struct part *at = b->parts; at; at = at->next)
		if (!at->used && at->size >= size &&
		    (!best || (at->touched && !best->touched) || (!at->touched == !best->touched && at->size < best->size)))
			best = at;
	return best;
}

/* Joins a free part with the free part behind it. */
static void join(struct part *part)
{
	struct part *rest = part->next;
	part->size += rest->size;
	part->touched += rest->touched;
	part->next = rest->next;
	if (rest->next)
		rest->next->prev = part;
	free(rest);
}

static void *take_large(struct blocks *b, size_t bytes)
{
	size_t size = (bytes + HEAD + PAGE - 1) / PAGE * PAGE;
	pthread_mutex_lock(&b->lock);
	struct part *part = best_fit(b, size);
	if (!part && (part = map(b, size)) && gather_idle(b, part)) {
		b->idle -= part->touched; /* it has a hole, and stays nobody's */
		part->touched = 0;
		part->used = true;
		part = NULL;
	}
	if (part) {
		b->idle -= part->touched;
		split(part, size);
		if (part->next && !part->next->first && !part->next->used)
			b->idle += part->next->touched;
		part->touched = 0;
		part->used = true;
		b->used += part->size;
		b->peak = b->peak > b->used ? b->peak : b->used;
		b->highest = b->highest > b->used ? b->highest : b->used;
		if (b->used + b->idle > b->highest + b->highest / SLACK)
			drop_beyond(b, b->highest + b->highest / SLACK - b->used);
	}
	pthread_mutex_unlock(&b->lock);
	if (!part)
		return NULL;
	((struct head *)(void *)part->start)->part = part;
	return part->start + HEAD;
}

void *blocks_take(struct blocks *b, size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		return NULL;
	if (bytes >= BLOCKS_LARGE)
		return take_large(b, bytes);
	char *start = aligned_alloc(BLOCKS_ALIGN, (bytes + HEAD + BLOCKS_ALIGN - 1) / BLOCKS_ALIGN * BLOCKS_ALIGN);
	if (!start)
		return NULL;
	((struct head *)(void *)start)->part = NULL;
	return start + HEAD;
}

void blocks_give(struct blocks *b, void *block)
{
	if (!block)
		return;
	char *start = (char *)block - HEAD;
	struct part *part = ((struct head *)(void *)start)->part;
	if (!part) {
		free(start);
		return;
	}
	pthread_mutex_lock(&b->lock);
	part->used = false;
	b->used -= part->size;
	part->touched = part->size;
	b->idle += part->size;
	if (b->idle > b->keep)
		drop(b, part);
	if (part->next && !part->next->first && !part->next->used)
		join(part);
	if (!part->first && !part->prev->used)
		join(part->prev);
	pthread_mutex_unlock(&b->lock);
}
