#include "core/base/blocks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { HOLD = 24, ROUNDS = 4000 };

static struct err e;

static uint64_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

struct held {
	unsigned char *block;
	size_t size;
	unsigned char mark;
};

static void let_go(struct blocks *b, struct held *h)
{
	for (size_t i = 0; h->block && i < h->size; i += h->size / 7 + 1)
		assert_int_equal(h->block[i], h->mark);
	if (h->block)
		assert_int_equal(h->block[h->size - 1], h->mark);
	blocks_give(b, h->block);
	h->block = NULL;
}

static void blocks_never_overlap(void **unused)
{
	(void)unused;
	struct held held[HOLD] = {0};
	uint64_t state = 7;
	struct blocks *b = blocks_new(16 << 20, &e);
	assert_non_null(b);
	for (int i = 0; i < ROUNDS; i++) {
		struct held *h = &held[next(&state) % HOLD];
		let_go(b, h);
		size_t limit = next(&state) % 3 ? 8 << 20 : 2000;
		*h = (struct held){.size = 1 + next(&state) % limit, .mark = (unsigned char)i};
		h->block = blocks_take(b, h->size);
		assert_non_null(h->block);
		assert_int_equal((uintptr_t)h->block % BLOCKS_ALIGN, 0);
		if (h->size < 4096 || i % 16 == 0)
			memset(h->block, h->mark, h->size);
		else /* quicker */
			for (size_t at = 0; at < h->size; at += h->size / 7 + 1)
				h->block[at] = h->mark;
		h->block[h->size - 1] = h->mark;
	}
	for (int i = 0; i < HOLD; i++)
		let_go(b, &held[i]);
	blocks_free(b);
}

static void the_same_memory_comes_back(void **unused)
{
	(void)unused;
	struct blocks *b = blocks_new(64 << 20, &e);
	char *one = blocks_take(b, 4 << 20), *two = blocks_take(b, 4 << 20);
	memset(one, 1, 4 << 20);
	blocks_give(b, one);
	char *parts[2] = {blocks_take(b, 2 << 20), blocks_take(b, 1 << 20)};
	assert_ptr_equal(parts[0], one); /* cut in two, and joined again */
	blocks_give(b, parts[0]);
	blocks_give(b, parts[1]);
	assert_ptr_equal(blocks_take(b, 4 << 20), one);
	blocks_give(b, two);
	blocks_free(b); /* with a block that was never given back */
}

static void what_is_not_kept_goes_back_to_the_system(void **unused)
{
	(void)unused;
	struct blocks *b = blocks_new(1 << 20, &e);
	char *block = blocks_take(b, 8 << 20);
	memset(block, 1, 8 << 20);
	blocks_give(b, block);
	assert_ptr_equal(blocks_take(b, 8 << 20), block);
	assert_int_equal(block[4 << 20], 0); /* a fresh page */
	blocks_keep(b, 16 << 20);
	memset(block, 1, 8 << 20);
	blocks_give(b, block);
	block = blocks_take(b, 8 << 20);
	assert_int_equal(block[4 << 20], 1);
	blocks_give(b, block);
	blocks_trim(b);
	block = blocks_take(b, 8 << 20);
	assert_int_equal(block[4 << 20], 0);
	blocks_free(b);
}

/* Bytes of a block that are in memory. */
static size_t resident(const char *block, size_t size)
{
	enum { PAGE = 4096 };
	static unsigned char in[(128 << 20) / PAGE];
	uintptr_t first = ((uintptr_t)block + PAGE - 1) / PAGE * PAGE;
	size_t pages = (size - PAGE) / PAGE, n = 0;
	assert_int_equal(mincore((void *)first, pages * PAGE, in), 0);
	for (size_t i = 0; i < pages; i++)
		n += in[i] & 1;
	return n * PAGE;
}

/* A block for which nothing is large enough takes what lies idle here and there. */
static void idle_memory_is_gathered(void **unused)
{
	(void)unused;
	enum { MANY = 10, ONE = 6 << 20, LARGE = 80 << 20 };
	struct blocks *b = blocks_new((size_t)1 << 30, &e);
	char *small[MANY];
	for (int i = 0; i < MANY; i++) {
		small[i] = blocks_take(b, ONE);
		memset(small[i], i + 1, ONE);
	}
	for (int i = 0; i < MANY; i += 2)
		blocks_give(b, small[i]);
	char *large = blocks_take(b, LARGE);
	size_t got = resident(large, LARGE);
	assert_true(got == 0 || (got > MANY / 2 * ONE - (1 << 20) && got < MANY / 2 * ONE + (1 << 20))); /* 0: a system that cannot move pages */
	memset(large, 99, LARGE);
	for (int i = 1; i < MANY; i += 2)
		assert_true(small[i][0] == i + 1 && small[i][ONE - 1] == i + 1);
	for (int i = 0; i < MANY; i += 2) {
		small[i] = blocks_take(b, ONE);
		assert_true(got == 0 || small[i][ONE / 2] == 0);
		memset(small[i], i + 1, ONE);
	}
	assert_true(large[0] == 99 && large[LARGE - 1] == 99);
	blocks_give(b, large);
	large = blocks_take(b, LARGE + ONE); /* out of what was gathered itself */
	memset(large, 98, LARGE + ONE);
	for (int i = 0; i < MANY; i++)
		assert_true(small[i][0] == i + 1 && small[i][ONE - 1] == i + 1);
	blocks_free(b);
}

/* Linux 5.7 to 6.16 unmap the place that pages are to be moved to before they refuse to move them. */
static bool refuse_moves;

void *__wrap_mremap(void *from, size_t old, size_t size, int flags, void *to);
void *__real_mremap(void *from, size_t old, size_t size, int flags, void *to);
void *__wrap_mremap(void *from, size_t old, size_t size, int flags, void *to)
{
	if (!refuse_moves)
		return __real_mremap(from, old, size, flags, to);
	(void)munmap(to, size);
	errno = EFAULT;
	return MAP_FAILED;
}

static void moves_that_are_refused_leave_no_holes(void **unused)
{
	enum { ONE = 6 << 20, LARGE = 80 << 20 };
	(void)unused;
	struct blocks *b = blocks_new((size_t)1 << 30, &e);
	char *one = blocks_take(b, ONE), *two = blocks_take(b, ONE);
	memset(one, 1, ONE);
	memset(two, 2, ONE);
	blocks_give(b, one);
	refuse_moves = true;
	char *large = blocks_take(b, LARGE);
	refuse_moves = false;
	memset(large, 99, LARGE);
	assert_true(two[0] == 2 && two[ONE - 1] == 2);
	blocks_free(b);
}

static void too_much_is_refused(void **unused)
{
	(void)unused;
	struct blocks *b = blocks_new(0, &e);
	assert_null(blocks_take(b, SIZE_MAX));
	assert_null(blocks_take(b, SIZE_MAX / 2 - 1));
	blocks_give(b, NULL);
	blocks_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_never_overlap),
		cmocka_unit_test(the_same_memory_comes_back),
		cmocka_unit_test(what_is_not_kept_goes_back_to_the_system),
		cmocka_unit_test(idle_memory_is_gathered),
		cmocka_unit_test(moves_that_are_refused_leave_no_holes),
		cmocka_unit_test(too_much_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
