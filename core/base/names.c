#include "core/base/names.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Open addressing with linear probing; slots hold number + 1, 0 is free. The table is at most half full. */
struct names {
	const char **by_number;
	int count, cap;
	bool failed;
	int *slots;
	size_t nslots; /* a power of two */
};

static size_t hash(const char *s)
{
	uint64_t h = 1469598103934665603u; /* FNV-1a */
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211u;
	return (size_t)(h ^ (h >> 29));
}

static size_t slot_of(const struct names *t, const char *name)
{
	size_t i = hash(name) & (t->nslots - 1);
	while (t->slots[i] && strcmp(t->by_number[t->slots[i] - 1], name) != 0)
		i = (i + 1) & (t->nslots - 1);
	return i;
}

static int grow(struct names *t)
{
	int cap = t->cap ? t->cap * 2 : 64;
	const char **by_number = realloc(t->by_number, (size_t)cap * sizeof *by_number);
	if (!by_number)
		return -1;
	t->by_number = by_number;
	int *slots = calloc((size_t)cap * 2, sizeof *slots);
	if (!slots)
		return -1;
	free(t->slots);
	t->slots = slots;
	t->nslots = (size_t)cap * 2;
	t->cap = cap;
	for (int i = 0; i < t->count; i++)
		t->slots[slot_of(t, t->by_number[i])] = i + 1;
	return 0;
}

struct names *names_new(void)
{
	struct names *t = calloc(1, sizeof *t);
	if (t && grow(t)) {
		names_free(t);
		return NULL;
	}
	return t;
}

void names_free(struct names *t)
{
	if (!t)
		return;
	free(t->by_number);
	free(t->slots);
	free(t);
}

int names_find(const struct names *t, const char *name)
{
	return t->slots[slot_of(t, name)] - 1;
}

int names_add(struct names *t, const char *name)
{
	int i = names_find(t, name);
	if (i >= 0)
		return i;
	if (t->count == t->cap && grow(t)) {
		t->failed = true;
		return -1;
	}
	t->by_number[t->count] = name;
	t->slots[slot_of(t, name)] = t->count + 1;
	return t->count++;
}

bool names_failed(const struct names *t)
{
	return t->failed;
}

int names_count(const struct names *t)
{
	return t->count;
}

const char *names_text(const struct names *t, int number)
{
	return t->by_number[number];
}
