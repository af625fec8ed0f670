/* The machine's rates: measured, kept in a file, made anew when that is damaged or of something else. And what costs are made of them. */

#include "core/search/cost.h"
#include "core/search/rates.h"
#include "core/workflow/machine.h"
#include "tests/unit/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct rates measured;
static char path[512];

static int measure(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	(void)snprintf(path, sizeof path, "%s/cache/seqmsed/rates.json", scratch_new());
	if (rates_measure(1, &measured, &e))
		print_error("%s\n", e.msg);
	return e.code != 0;
}

static int clean(void **state)
{
	(void)state;
	scratch_remove();
	return 0;
}

static void every_rate_is_a_speed(void **state)
{
	(void)state;
	for (int i = 0; i < RATES; i++) {
		assert_true(measured.of[i] > 1e5 && measured.of[i] < 1e13);
		assert_true(rates_typical.of[i] > 1e5 && rates_typical.of[i] < 1e13);
	}
}

static void between_two_sizes_a_rate_is_between_two_rates(void **state)
{
	(void)state;
	const struct rates *r = &rates_typical;
	double small = rates_at(r, RATES_ASK, 64), large = rates_at(r, RATES_ASK, 192), middle = rates_at(r, RATES_ASK, 110);
	assert_true(small < middle && middle < large);
	assert_true(rates_at(r, RATES_ASK, 1) == rates_at(r, RATES_ASK, 9));
	assert_true(rates_at(r, RATES_ASK, 1e6) == rates_at(r, RATES_ASK, 1152));
	assert_true(rates_at(r, RATES_COPY, 0) == rates_at(r, RATES_COPY, 1e6));
}

static void get(struct rates *r)
{
	struct err e = ERR_INIT;
	if (rates_get(path, 1, r, &e))
		fail_msg("%s", e.msg);
}

static void put(const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

static void file_is_read_again(void **state)
{
	(void)state;
	struct rates a, b;
	get(&a);
	assert_int_equal(scratch_count("cache"), 1);
	get(&b);
	assert_memory_equal(&a, &b, sizeof a);
}

static void damaged_or_foreign_file_is_made_anew(void **state)
{
	(void)state;
	static const char *const texts[] = {"",   "{",   "null",
	                                    "{}", "[1]", "[{\"machine\": \"another\", \"threads\": 1, \"rates\": []}]"};
	struct rates a, b;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		put(texts[i]);
		get(&a);
		get(&b);
		assert_memory_equal(&a, &b, sizeof a);
	}
}

static void other_threads_have_a_set_of_their_own(void **state)
{
	(void)state;
	struct rates one, two, again;
	struct err e = ERR_INIT;
	get(&one);
	assert_int_equal(rates_get(path, 2, &two, &e), 0);
	get(&again);
	assert_memory_equal(&one, &again, sizeof one);
	assert_int_equal(rates_get(path, 2, &again, &e), 0);
	assert_memory_equal(&two, &again, sizeof two);
}

static struct json *set_of(const char *machine, int threads)
{
	struct buf text = BUF_INIT;
	struct json_out w;
	struct err e = ERR_INIT;
	json_out_init(&w, &text, 0);
	rates_to_json(&measured, machine, threads, &w, NULL);
	struct json *v = json_parse(text.data, text.len, &e);
	buf_fini(&text);
	return v;
}

/* What is kept once there is that set, too; kept is freed. */
static struct json *keep(struct json *kept, const char *machine, int threads)
{
	struct buf text = BUF_INIT;
	struct json_out w;
	struct err e = ERR_INIT;
	struct json *set = set_of(machine, threads);
	json_out_init(&w, &text, 0);
	rates_keep(kept, set, &w);
	json_free(kept);
	json_free(set);
	kept = json_parse(text.data, text.len, &e);
	buf_fini(&text);
	return kept;
}

static void only_the_same_machine_and_threads_fit(void **state)
{
	(void)state;
	struct rates r;
	struct json *kept = keep(NULL, "this", 2);
	assert_true(rates_from_json(kept, "this", 2, &r) && memcmp(&r, &measured, sizeof r) == 0);
	assert_false(rates_from_json(kept, "that", 2, &r));
	assert_false(rates_from_json(kept, "this", 1, &r));
	assert_false(rates_from_json(NULL, "this", 2, &r));
	json_free(kept);
}

static void latest_sets_are_kept(void **state)
{
	(void)state;
	struct rates r;
	struct json *kept = NULL;
	for (int threads = 1; threads <= RATES_SETS + 2; threads++)
		kept = keep(kept, "this", threads);
	kept = keep(kept, "this", 5);
	assert_int_equal(json_size(kept), RATES_SETS);
	assert_true(rates_from_json(kept, "this", RATES_SETS + 2, &r));
	assert_true(rates_from_json(kept, "this", 3, &r) && rates_from_json(kept, "this", 5, &r));
	assert_false(rates_from_json(kept, "this", 2, &r));
	json_free(kept);
}

static void where_nothing_can_be_written_it_is_measured(void **state)
{
	(void)state;
	struct rates r;
	struct err e = ERR_INIT;
	assert_int_equal(rates_get("/proc/none/rates.json", 1, &r, &e), 0);
	assert_int_equal(rates_get(NULL, 1, &r, &e), 0);
}

/* A convolution of 512 channels over seven by seven pixels. */
static struct cost_layer late_layer(int64_t images)
{
	struct cost_layer l = {.patches = {.groups = 1,
	                                   .fan_in = 4608,
	                                   .positions = 49 * images,
	                                   .in_channels = 512,
	                                   .in = {1, 7, 7},
	                                   .out = {1, 7, 7},
	                                   .kernel = {1, 3, 3},
	                                   .stride = {1, 1, 1},
	                                   .dilation = {1, 1, 1},
	                                   .pad = {0, 1, 1}},
	                       .batches = 1,
	                       .positions = 49 * images,
	                       .vectors = 512,
	                       .candidates = 20,
	                       .threads = 1};
	return l;
}

static void few_positions_are_read_again_and_many_gathered(void **state)
{
	(void)state;
	struct cost_layer few = late_layer(1), many = late_layer(1000);
	assert_int_equal(cost_of(&rates_typical, &few, EVIDENCE_AUTO).strategy, EVIDENCE_DIRECT);
	assert_int_equal(cost_of(&rates_typical, &many, EVIDENCE_AUTO).strategy, EVIDENCE_GRAM);
	struct cost a = cost_of(&rates_typical, &many, EVIDENCE_GRAM), b = cost_of(&rates_typical, &many, EVIDENCE_DIRECT);
	assert_true(a.gather + a.ask < b.ask && b.gather == 0 && a.bytes > b.bytes);
	many.loss = LOSS_L1;
	assert_int_equal(cost_of(&rates_typical, &many, EVIDENCE_AUTO).strategy, EVIDENCE_DIRECT);
}

static void matrix_that_does_not_fit_is_not_made(void **state)
{
	(void)state;
	struct cost_layer l = late_layer(1000);
	struct cost gram = cost_of(&rates_typical, &l, EVIDENCE_AUTO);
	assert_true(gram.bytes > 12 * (int64_t)4608 * 4608);
	l.memory = gram.bytes;
	assert_int_equal(cost_of(&rates_typical, &l, EVIDENCE_AUTO).strategy, EVIDENCE_GRAM);
	l.memory = gram.bytes - 1;
	assert_int_equal(cost_of(&rates_typical, &l, EVIDENCE_AUTO).strategy, EVIDENCE_DIRECT);
	const struct layer layer = {.channels = 512, .fan_in = 4608, .groups = 1, .blocks = 1};
	assert_true(cost_bytes_at_most(&layer, 1) >= gram.bytes);
}

static void costs_grow_with_what_they_are_made_of(void **state)
{
	(void)state;
	struct cost_layer one = late_layer(1000), more = late_layer(2000), wider = late_layer(1000);
	more.batches = 2;
	wider.candidates = 100;
	struct cost a = cost_of(&rates_typical, &one, EVIDENCE_GRAM), b = cost_of(&rates_typical, &more, EVIDENCE_GRAM),
		    c = cost_of(&rates_typical, &wider, EVIDENCE_GRAM);
	assert_true(fabs(b.gather - 2 * a.gather) < 1e-9 * b.gather && b.ask == a.ask);
	assert_true(c.gather == a.gather && c.ask > 4 * a.ask && c.ask < 5 * a.ask); /* the matrix is halved once */
	one.two_inputs = true;                                                       /* and both have to be read again */
	struct cost d = cost_of(&rates_typical, &one, EVIDENCE_GRAM);
	assert_true(d.gather == a.gather && d.ask > a.ask + 3 * 4.0 * 49 * 1000 * 4608 / rates_at(&rates_typical, RATES_COPY, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_rate_is_a_speed),
		cmocka_unit_test(between_two_sizes_a_rate_is_between_two_rates),
		cmocka_unit_test(file_is_read_again),
		cmocka_unit_test(damaged_or_foreign_file_is_made_anew),
		cmocka_unit_test(other_threads_have_a_set_of_their_own),
		cmocka_unit_test(only_the_same_machine_and_threads_fit),
		cmocka_unit_test(latest_sets_are_kept),
		cmocka_unit_test(where_nothing_can_be_written_it_is_measured),
		cmocka_unit_test(few_positions_are_read_again_and_many_gathered),
		cmocka_unit_test(matrix_that_does_not_fit_is_not_made),
		cmocka_unit_test(costs_grow_with_what_they_are_made_of),
	};
	return cmocka_run_group_tests(tests, measure, clean);
}
