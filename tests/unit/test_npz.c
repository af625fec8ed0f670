#include "npz_file.h"
#include "shared.h"

#include "core/base/err.h"
#include "core/data/arrays.h"
#include "core/data/npz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What tests/data/npz/make.py fills most arrays with: 0 .. 23 in the shape (4, 3, 2). */
enum { ROWS = 4, ROW = 6, COUNT = ROWS * ROW };

static struct arrays *opened(const char *path)
{
	struct err e = ERR_INIT;
	struct arrays *z = arrays_open(path, &e);
	if (!z)
		fail_msg("%s", e.msg);
	return z;
}

static void read_rows(struct arrays *z, const struct array *a, int64_t first, int64_t rows, void *out)
{
	struct err e = ERR_INIT;
	if (arrays_read_rows(z, a, first, rows, out, &e) != 0)
		fail_msg("%s", e.msg);
}

/* Element i as a number; halves are whole numbers below 2048 here. */
static double element(enum array_type t, const unsigned char *data, int i)
{
	const unsigned char *p = data + (size_t)i * array_type_size(t);
	uint64_t bits = 0;
	float f;
	double d;
	memcpy(&bits, p, array_type_size(t));
	memcpy(&f, p, sizeof f);
	switch (t) {
	case ARRAY_F16:
		return bits ? (double)((bits & 1023) | 1024) / (double)(1 << (25 - (bits >> 10))) : 0;
	case ARRAY_F32:
		return (double)f;
	case ARRAY_F64:
		memcpy(&d, p, sizeof d);
		return d;
	default:
		return (double)bits;
	}
}

static void check_counting(struct arrays *z, const struct array *a)
{
	unsigned char data[COUNT * 8];
	assert_int_equal(a->rank, 3);
	assert_int_equal(a->shape[0], ROWS);
	assert_int_equal(a->shape[1], 3);
	assert_int_equal(a->shape[2], 2);
	read_rows(z, a, 0, ROWS, data);
	for (int i = 0; i < COUNT; i++)
		assert_true(element(a->type, data, i) == (a->type == ARRAY_BOOL ? i % 3 == 0 : i));
	for (int first = ROWS - 1; first >= 0; first--) {
		read_rows(z, a, first, 1, data);
		for (int i = 0; i < ROW; i++) {
			int value = first * ROW + i;
			assert_true(element(a->type, data, i) == (a->type == ARRAY_BOOL ? value % 3 == 0 : value));
		}
	}
}

static void check_archive(const char *path)
{
	struct arrays *z = opened(path);
	assert_int_equal(arrays_count(z), 21);
	for (int t = ARRAY_BOOL; t <= ARRAY_F64; t++) {
		const struct array *a = arrays_find(z, array_type_name((enum array_type)t));
		assert_non_null(a);
		assert_int_equal(a->type, t);
		check_counting(z, a);
	}
	check_counting(z, arrays_find(z, "fortran"));
	arrays_free(z);
}

static void every_type_is_read_from_stored_members(void **state)
{
	(void)state;
	check_archive("tests/data/npz/stored.npz");
}

static void every_type_is_read_from_deflated_members(void **state)
{
	(void)state;
	check_archive("tests/data/npz/deflated.npz");
}

static void all_header_versions_are_read(void **state)
{
	(void)state;
	for (int version = 1; version <= 3; version++) {
		char path[64];
		(void)snprintf(path, sizeof path, "tests/data/npz/version%d.npy", version);
		struct arrays *z = opened(path);
		assert_int_equal(arrays_count(z), 1);
		assert_string_equal(arrays_at(z, 0)->name, "");
		assert_string_equal(arrays_at(z, 0)->descr, "<f4");
		check_counting(z, arrays_at(z, 0));
		arrays_free(z);
	}
	struct arrays *z = opened("tests/data/npz/fortran.npy");
	check_counting(z, arrays_at(z, 0));
	arrays_free(z);
}

static void a_scalar_has_one_row(void **state)
{
	(void)state;
	int64_t whole;
	float real;
	struct arrays *z = opened("tests/data/npz/rank0.npy");
	assert_int_equal(arrays_at(z, 0)->rank, 0);
	read_rows(z, arrays_at(z, 0), 0, 1, &whole);
	assert_int_equal(whole, 7);
	arrays_free(z);
	z = opened("tests/data/npz/deflated.npz");
	read_rows(z, arrays_find(z, "rank0"), 0, 1, &real);
	assert_true(real == 2.5f);
	arrays_free(z);
}

static void empty_arrays_have_rows_without_bytes(void **state)
{
	(void)state;
	struct arrays *z = opened("tests/data/npz/deflated.npz");
	const struct array *a = arrays_find(z, "empty"), *b = arrays_find(z, "empty_inside");
	assert_int_equal(a->shape[0], 0);
	read_rows(z, a, 0, 0, NULL);
	assert_int_equal(b->shape[0], 3);
	assert_int_equal(b->shape[1], 0);
	read_rows(z, b, 0, 3, NULL);
	arrays_free(z);
	z = opened("tests/data/npz/empty.npy");
	read_rows(z, arrays_at(z, 0), 0, 0, NULL);
	arrays_free(z);
}

static void arrays_of_other_types_are_listed_but_not_read(void **state)
{
	(void)state;
	static const char *const names[] = {"text", "<U3", "record", "[...]", "big_endian", ">f4", "object", "|O"};
	struct arrays *z = opened("tests/data/npz/stored.npz");
	for (size_t i = 0; i < 8; i += 2) {
		char data[256];
		struct err e = ERR_INIT;
		const struct array *a = arrays_find(z, names[i]);
		assert_int_equal(a->type, ARRAY_OTHER);
		assert_string_equal(a->descr, names[i + 1]);
		assert_int_equal(arrays_read_rows(z, a, 0, 1, data, &e), -1);
		assert_int_equal(e.code, ERR_CALIBRATION);
		assert_non_null(strstr(e.msg, names[i]));
	}
	arrays_free(z);
}

static void rows_outside_an_array_are_our_bug(void **state)
{
	(void)state;
	char data[64];
	struct arrays *z = opened("tests/data/npz/version1.npy");
	const int64_t wrong[][2] = {{-1, 1}, {0, -1}, {0, 5}, {4, 1}, {5, 0}, {1, INT64_MAX}};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct err e = ERR_INIT;
		assert_int_equal(arrays_read_rows(z, arrays_at(z, 0), wrong[i][0], wrong[i][1], data, &e), -1);
		assert_int_equal(e.code, ERR_INTERNAL);
	}
	read_rows(z, arrays_at(z, 0), 4, 0, data);
	arrays_free(z);
}

static void a_missing_file_is_not_found(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	assert_null(arrays_open("tests/data/npz/no such file", &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_null(arrays_open("tests/data/npz", &e));
	assert_int_equal(e.code, ERR_CALIBRATION);
}

static void the_callers_descriptor_keeps_its_position(void **state)
{
	(void)state;
	FILE *f = fopen("tests/data/npz/stored.npz", "rb");
	struct err e = ERR_INIT;
	assert_int_equal(lseek(fileno(f), 17, SEEK_SET), 17);
	struct arrays *z = arrays_open_fd(fileno(f), "x", &e);
	check_counting(z, arrays_find(z, "int32"));
	assert_int_equal(lseek(fileno(f), 0, SEEK_CUR), 17);
	(void)fclose(f);
	check_counting(z, arrays_find(z, "int32")); /* it has a duplicate of its own */
	arrays_free(z);
}

static void members_that_are_no_arrays_are_ignored(void **state)
{
	(void)state;
	struct buf npy = BUF_INIT, zip = BUF_INIT;
	struct err e = ERR_INIT;
	npz_file_npy(&npy, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", "\1\2", 2);
	const struct npz_file_member members[] = {
		{.name = "README.txt", .bytes = "hello", .len = 5},
		{.name = "folder/x.npy", .bytes = npy.data, .len = npy.len},
	};
	npz_file_zip(&zip, members, 2);
	struct arrays *z = npz_file_open(&zip, &e);
	assert_non_null(z);
	assert_int_equal(arrays_count(z), 1);
	assert_string_equal(arrays_at(z, 0)->name, "folder/x");
	arrays_free(z);
	buf_fini(&npy);
}

/* ---- files that lie ---- */

/* The message that a file, which is freed, is refused with. */
static const char *refused(struct buf *content)
{
	static struct err e;
	e = (struct err)ERR_INIT;
	assert_null(npz_file_open(content, &e));
	assert_int_equal(e.code, ERR_CALIBRATION);
	return e.msg;
}

static const char *refused_header(const char *dict, size_t len)
{
	struct buf npy = BUF_INIT;
	static const char zeros[64];
	npz_file_npy(&npy, dict, zeros, len);
	return refused(&npy);
}

static bool says(const char *message, const char *what)
{
	if (!strstr(message, what))
		print_error("the message is: %s\n", message);
	return strstr(message, what) != NULL;
}

static void files_of_other_kinds_are_refused(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	assert_true(says(refused(&b), "neither"));
	buf_str(&b, "PK");
	assert_true(says(refused(&b), "neither"));
	buf_str(&b, "\x93NUMPY");
	assert_true(says(refused(&b), "too short"));
	buf_add(&b, "\x93NUMPY\4\0\0\0", 10);
	assert_true(says(refused(&b), "version 4.0"));
	buf_str(&b, "PK\3\4 and nothing that a zip has");
	(void)refused(&b);
}

static void headers_that_are_not_understood_are_refused(void **state)
{
	(void)state;
	static const char *const headers[] = {
		"",
		"{",
		"{}",
		"{'descr': '<f4', 'fortran_order': False}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (1,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
		"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': 1}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
		"{'descr': [('a', '<f4', 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '', 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '<f\x1b', 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} and more",
	};
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		assert_true(says(refused_header(headers[i], 4), "header"));
}

static void headers_in_other_spellings_are_read(void **state)
{
	(void)state;
	static const char *const headers[] = {
		"{\"shape\":(2L,),\"fortran_order\":False,\"descr\":\"<f4\"}",
		"  { 'descr' : '<f4' , 'fortran_order' : True , 'shape' : ( 2 , 1 ) , }  ",
	};
	const float data[] = {1.5f, -2.5f};
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
		float out[2];
		struct err e = ERR_INIT;
		struct arrays *z = npz_file_one("x.npy", headers[i], data, sizeof data, &e);
		if (!z)
			fail_msg("%s", e.msg);
		read_rows(z, arrays_find(z, "x"), 0, 2, out);
		assert_memory_equal(out, data, sizeof data);
		arrays_free(z);
	}
}

static void a_header_longer_than_the_limit_is_refused(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_add(&b, "\x93NUMPY\2\0\xff\xff\xff\x7f", 12);
	buf_str(&b, "{'descr': '<f4'");
	assert_true(says(refused(&b), "too long"));
	buf_add(&b, "\x93NUMPY\2\0\1\0\1\0", 12);
	buf_printf(&b, "%*s", 65537, "");
	assert_true(says(refused(&b), "too long"));
}

static void sizes_must_be_those_of_the_bytes_that_are_there(void **state)
{
	(void)state;
	assert_true(
		says(refused_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 7), "8 bytes of data and has 7"));
	assert_true(says(refused_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 9), "has 9"));
	assert_true(says(refused_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}", 8),
	                 "has 8")); /* 8 TiB */
	assert_true(says(refused_header("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 8),
	                 "than can be"));
	assert_true(says(refused_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807, 3)}", 8),
	                 "than can be"));
	assert_true(
		says(refused_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775808,)}", 8), "too large"));
	assert_true(
		says(refused_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)}", 1),
	             "16 dimensions"));
}

/* An archive with one good array of bytes, after change has changed its one member. */
static struct buf archive(void (*change)(struct npz_file_member *), const char *name)
{
	struct buf npy = BUF_INIT, zip = BUF_INIT;
	npz_file_npy(&npy, "{'descr': '|u1', 'fortran_order': False, 'shape': (5,), }", "abcde", 5);
	struct npz_file_member m = {.name = name, .bytes = npy.data, .len = npy.len};
	change(&m);
	npz_file_zip(&zip, &m, 1);
	buf_fini(&npy);
	return zip;
}

static void nothing(struct npz_file_member *m)
{
	(void)m;
}

static void method_12(struct npz_file_member *m)
{
	m->method = 12;
}

static void encrypted(struct npz_file_member *m)
{
	m->flags = 1;
}

static void eight_tera(struct npz_file_member *m)
{
	m->unpacked = 0xfffffff0u;
	m->packed_lie = 0xfffffff0 - (int64_t)m->len;
}

static void more_than_deflate_can(struct npz_file_member *m)
{
	m->method = 8;
	m->unpacked = 1u << 30;
}

static void garbage_as_deflate(struct npz_file_member *m)
{
	m->method = 8;
}

static void wrong_place(struct npz_file_member *m)
{
	m->offset_lie = 5;
}

static void archives_that_cannot_be_read_are_refused(void **state)
{
	(void)state;
	struct buf b = archive(method_12, "x.npy");
	assert_true(says(refused(&b), "method 12"));
	b = archive(encrypted, "x.npy");
	assert_true(says(refused(&b), "encrypted"));
	b = archive(eight_tera, "x.npy");
	assert_true(says(refused(&b), "than the file has"));
	b = archive(more_than_deflate_can, "x.npy");
	assert_true(says(refused(&b), "than can be unpacked"));
	b = archive(garbage_as_deflate, "x.npy");
	(void)refused(&b);
	b = archive(wrong_place, "x.npy");
	(void)refused(&b);
	b = archive(nothing, "a\nb.npy");
	assert_true(says(refused(&b), "control characters"));
}

static void an_archive_cut_off_anywhere_is_refused(void **state)
{
	(void)state;
	struct buf whole = archive(nothing, "x.npy");
	for (size_t n = 0; n < whole.len; n++) {
		struct buf part = BUF_INIT;
		buf_add(&part, whole.data, n);
		(void)refused(&part);
	}
	buf_fini(&whole);
}

static void two_arrays_of_one_name_are_refused(void **state)
{
	(void)state;
	struct buf npy = BUF_INIT, zip = BUF_INIT;
	npz_file_npy(&npy, "{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}", "a", 1);
	const struct npz_file_member members[] = {
		{.name = "x.npy", .bytes = npy.data, .len = npy.len},
		{.name = "x.npy", .bytes = npy.data, .len = npy.len},
	};
	npz_file_zip(&zip, members, 2);
	assert_true(says(refused(&zip), "twice"));
	buf_fini(&npy);
}

static void too_many_members_are_refused(void **state)
{
	(void)state;
	static struct npz_file_member members[NPZ_MAX_MEMBERS + 1];
	for (size_t i = 0; i <= NPZ_MAX_MEMBERS; i++)
		members[i] = (struct npz_file_member){.name = "x", .bytes = "", .len = 0};
	struct buf zip = BUF_INIT;
	npz_file_zip(&zip, members, NPZ_MAX_MEMBERS + 1);
	assert_true(says(refused(&zip), "members"));
}

/* A directory of a hundred thousand entries is refused before libzip builds structures several times its size. */
static void a_directory_larger_than_any_honest_one_is_refused(void **state)
{
	(void)state;
	enum { ENTRIES = 100000 };
	struct npz_file_member *members = calloc(ENTRIES, sizeof *members);
	for (size_t i = 0; i < ENTRIES; i++)
		members[i] = (struct npz_file_member){.name = "x", .bytes = "", .len = 0};
	struct buf zip = BUF_INIT;
	npz_file_zip(&zip, members, ENTRIES);
	free(members);
	assert_true(says(refused(&zip), "directory is too large"));
}

static void a_file_of_end_records_is_refused(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_str(&b, "PK\3\4");
	for (int i = 0; i < 1000; i++)
		buf_add(&b, "PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
	assert_true(says(refused(&b), "directory is too large"));
}

/* What the directory promises of entries in zip64 must be in the file. */
static void a_zip64_directory_that_lies_is_refused(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_str(&b, "PK\3\4");
	buf_add(&b, "PK\6\6\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0", 24);
	buf_add(&b, "\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0", 16); /* 2^32 entries on this disk, and in all */
	buf_add(&b, "\0\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0", 16); /* of 0 bytes, at 4 */
	buf_add(&b, "PK\6\7\0\0\0\0\4\0\0\0\0\0\0\0\1\0\0\0", 20);
	buf_add(&b, "PK\5\6\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0", 22);
	(void)refused(&b);
}

/* An honest bomb: 64 MiB of zeros in 64 KiB, which its header declares. Only what is asked for is unpacked. */
static void a_bomb_costs_only_the_rows_that_are_read(void **state)
{
	(void)state;
	enum { ZEROS = 258 * 260111 + 1 };
	struct buf npy = BUF_INIT, packed = BUF_INIT, zip = BUF_INIT;
	unsigned char row[100];
	struct err e = ERR_INIT;
	char dict[128];
	(void)snprintf(dict, sizeof dict, "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", ZEROS);
	npz_file_npy(&npy, dict, "", 0);
	/* The header as a stored block that is not the last, the zeros as a packed one. */
	npz_file_deflate(&packed, npy.data, npy.len);
	packed.data[0] = 0;
	npz_file_deflate(&packed, NULL, ZEROS);
	assert_true(packed.len < 1 << 20);
	const struct npz_file_member m = {.name = "x.npy",
	                                  .bytes = packed.data,
	                                  .len = packed.len,
	                                  .method = 8,
	                                  .unpacked = (uint32_t)(npy.len + ZEROS),
	                                  .crc = 1};
	npz_file_zip(&zip, &m, 1);
	struct arrays *z = npz_file_open(&zip, &e);
	if (!z)
		fail_msg("%s", e.msg);
	memset(row, 1, sizeof row);
	read_rows(z, arrays_find(z, "x"), 1000, sizeof row, row);
	assert_int_equal(row[0] | row[99], 0);
	/* Its checksum is wrong, which shows when the last row is read. */
	assert_int_equal(arrays_read_rows(z, arrays_find(z, "x"), ZEROS - 1, 1, row, &e), -1);
	assert_true(says(e.msg, "CRC"));
	arrays_free(z);
	buf_fini(&npy);
	buf_fini(&packed);
}

/* The archive's directory and the array's header may agree on a size that the packed bytes do not have. */
static void a_deflated_member_that_ends_early_is_refused_when_it_is_read(void **state)
{
	(void)state;
	struct buf npy = BUF_INIT, packed = BUF_INIT, zip = BUF_INIT;
	unsigned char data[1000];
	struct err e = ERR_INIT;
	npz_file_npy(&npy, "{'descr': '|u1', 'fortran_order': False, 'shape': (1000,), }", "abc", 3);
	npz_file_deflate(&packed, npy.data, npy.len);
	const struct npz_file_member m = {.name = "x.npy",
	                                  .bytes = packed.data,
	                                  .len = packed.len,
	                                  .method = 8,
	                                  .unpacked = (uint32_t)npy.len + 997,
	                                  .crc = 1};
	npz_file_zip(&zip, &m, 1);
	struct arrays *z = npz_file_open(&zip, &e);
	assert_non_null(z);
	read_rows(z, arrays_find(z, "x"), 0, 3, data);
	assert_memory_equal(data, "abc", 3);
	assert_int_equal(arrays_read_rows(z, arrays_find(z, "x"), 0, 1000, data, &e), -1);
	assert_int_equal(e.code, ERR_CALIBRATION);
	read_rows(z, arrays_find(z, "x"), 0, 3, data); /* an error is not for ever */
	arrays_free(z);
	buf_fini(&npy);
	buf_fini(&packed);
}

static void a_wrong_checksum_is_found_at_the_end(void **state)
{
	(void)state;
	char data[5];
	struct err e = ERR_INIT;
	struct buf b = archive(nothing, "x.npy");
	b.data[30 + 5 + 128 + 2] ^= 1; /* local header, name, header of the .npy, third byte */
	struct arrays *z = npz_file_open(&b, &e);
	assert_non_null(z);
	assert_int_equal(arrays_read_rows(z, arrays_find(z, "x"), 0, 5, data, &e), -1);
	assert_true(says(e.msg, "CRC"));
	arrays_free(z);
}

/* More members than are kept open at a time, read in turns. */
static void many_members_are_read_in_turns(void **state)
{
	(void)state;
	enum { N = 100 };
	struct buf npy[N], packed[N], zip = BUF_INIT;
	struct npz_file_member m[N];
	char names[N][16];
	struct err e = ERR_INIT;
	for (int i = 0; i < N; i++) {
		unsigned char data[3] = {(unsigned char)i, (unsigned char)(i + 1), (unsigned char)(i + 2)};
		npy[i] = packed[i] = (struct buf)BUF_INIT;
		npz_file_npy(&npy[i], "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", data, 3);
		npz_file_deflate(&packed[i], npy[i].data, npy[i].len);
		(void)snprintf(names[i], sizeof names[i], "%d.npy", i);
		m[i] = (struct npz_file_member){.name = names[i],
		                                .bytes = packed[i].data,
		                                .len = packed[i].len,
		                                .method = 8,
		                                .unpacked = (uint32_t)npy[i].len,
		                                .crc = npz_file_crc(npy[i].data, npy[i].len)};
	}
	npz_file_zip(&zip, m, N);
	struct arrays *z = npz_file_open(&zip, &e);
	assert_non_null(z);
	for (int row = 0; row < 3; row++) {
		for (int i = 0; i < N; i++) {
			unsigned char got;
			read_rows(z, arrays_at(z, (size_t)i), row, 1, &got);
			assert_int_equal(got, i + row);
		}
	}
	arrays_free(z);
	for (int i = 0; i < N; i++) {
		buf_fini(&npy[i]);
		buf_fini(&packed[i]);
	}
}

/* ---- real files ---- */

static void check_same(const char *a_name, const char *b_name)
{
	char path[4096];
	struct arrays *a = opened(shared_path(a_name, path, sizeof path)), *b = opened(shared_path(b_name, path, sizeof path));
	const struct array *x = arrays_at(a, 0), *y = arrays_at(b, 0);
	int n = 1;
	assert_int_equal(x->rank, y->rank);
	assert_memory_equal(x->shape, y->shape, sizeof x->shape);
	for (int d = 1; d < x->rank; d++)
		n *= (int)x->shape[d];
	unsigned char *p = malloc((size_t)n * 5 * 8), *q = malloc((size_t)n * 5 * 8);
	for (int64_t r = 0; r + 5 <= x->shape[0]; r += 5) {
		read_rows(a, x, r, 5, p);
		read_rows(b, y, r, 5, q);
		for (int i = 0; i < 5 * n; i++)
			assert_true(element(x->type, p, i) == element(y->type, q, i));
	}
	free(p);
	free(q);
	arrays_free(a);
	arrays_free(b);
}

static void the_flavours_of_a_real_set_are_equal(void **state)
{
	(void)state;
	char path[4096];
	if (access(shared_path("models/digits_cnn/calib.npz", path, sizeof path), R_OK) != 0)
		skip();
	check_same("models/digits_cnn/calib.npz", "models/digits_cnn/calib.npy");
	check_same("models/digits_cnn/calib.npz", "models/digits_cnn/calib_deflate.npz");
	check_same("models/digits_cnn/calib.npz", "models/digits_cnn/calib_fortran_f64.npz");
	check_same("models/digits_cnn/calib.npz", "models/digits_cnn/calib_labeled.npz");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_is_read_from_stored_members),
		cmocka_unit_test(every_type_is_read_from_deflated_members),
		cmocka_unit_test(all_header_versions_are_read),
		cmocka_unit_test(a_scalar_has_one_row),
		cmocka_unit_test(empty_arrays_have_rows_without_bytes),
		cmocka_unit_test(arrays_of_other_types_are_listed_but_not_read),
		cmocka_unit_test(rows_outside_an_array_are_our_bug),
		cmocka_unit_test(a_missing_file_is_not_found),
		cmocka_unit_test(the_callers_descriptor_keeps_its_position),
		cmocka_unit_test(members_that_are_no_arrays_are_ignored),
		cmocka_unit_test(files_of_other_kinds_are_refused),
		cmocka_unit_test(headers_that_are_not_understood_are_refused),
		cmocka_unit_test(headers_in_other_spellings_are_read),
		cmocka_unit_test(a_header_longer_than_the_limit_is_refused),
		cmocka_unit_test(sizes_must_be_those_of_the_bytes_that_are_there),
		cmocka_unit_test(archives_that_cannot_be_read_are_refused),
		cmocka_unit_test(an_archive_cut_off_anywhere_is_refused),
		cmocka_unit_test(two_arrays_of_one_name_are_refused),
		cmocka_unit_test(too_many_members_are_refused),
		cmocka_unit_test(a_directory_larger_than_any_honest_one_is_refused),
		cmocka_unit_test(a_file_of_end_records_is_refused),
		cmocka_unit_test(a_zip64_directory_that_lies_is_refused),
		cmocka_unit_test(a_bomb_costs_only_the_rows_that_are_read),
		cmocka_unit_test(a_deflated_member_that_ends_early_is_refused_when_it_is_read),
		cmocka_unit_test(a_wrong_checksum_is_found_at_the_end),
		cmocka_unit_test(many_members_are_read_in_turns),
		cmocka_unit_test(the_flavours_of_a_real_set_are_equal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
