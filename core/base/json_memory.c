#include "core/base/json_memory.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

static_assert(sizeof(struct json_memory_block) % _Alignof(max_align_t) == 0, "what comes behind a block's head is aligned");

static _Thread_local struct json_memory *current;

void json_memory_begin(struct json_memory *m)
{
	m->blocks.next = m->blocks.previous = &m->blocks;
	current = m;
}

static struct json_memory_block *unlink_first(struct json_memory *m)
{
	struct json_memory_block *b = m->blocks.next;
	m->blocks.next = b->next;
	b->next->previous = &m->blocks;
	b->next = b->previous = NULL;
	return b;
}

void json_memory_end(struct json_memory *m)
{
	current = NULL;
	while (m->blocks.next != &m->blocks)
		(void)unlink_first(m);
}

void json_memory_drop(struct json_memory *m)
{
	current = NULL;
	while (m->blocks.next != &m->blocks)
		free(unlink_first(m));
}

void *json_memory_alloc(size_t size)
{
	struct json_memory *m = current;
	struct json_memory_block *b = size > SIZE_MAX - sizeof *b ? NULL : malloc(sizeof *b + size);
	if (!b && m)
		longjmp(m->out, 1);
	if (!b)
		return NULL;
	b->next = b->previous = NULL;
	if (m) {
		b->next = m->blocks.next;
		b->previous = &m->blocks;
		b->next->previous = m->blocks.next = b;
	}
	return b + 1;
}

void json_memory_free(void *p)
{
	struct json_memory_block *b = p ? (struct json_memory_block *)p - 1 : NULL;
	if (b && b->next) {
		b->previous->next = b->next;
		b->next->previous = b->previous;
	}
	free(b);
}
