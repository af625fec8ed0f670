#ifndef SEQMSE_JSON_MEMORY_H
#define SEQMSE_JSON_MEMORY_H

/* Memory for a JSON parser that does not survive being without it.
 *
 * libjansson 2.14 does not look whether a token's buffer could grow (lex_save() in its load.c): the character is missing, and where that
 * was a closing quote, the copy of the text runs over the end of both buffers. So it never hears of an allocation that failed: the parse is
 * left with longjmp(), and everything that it had allocated is freed. Parses of several threads have nothing to do with each other.
 *
 *     struct json_memory m;
 *     if (setjmp(m.out))
 *         no memory: json_memory_drop(&m);
 *     json_memory_begin(&m);
 *     parse;
 *     json_memory_end(&m);
 */

#include <setjmp.h>
#include <stddef.h>

struct json_memory_block {
	struct json_memory_block *next, *previous; /* NULL outside of a parse */
};

struct json_memory {
	jmp_buf out;
	struct json_memory_block blocks; /* those of this parse, in a ring */
};

void json_memory_begin(struct json_memory *m);
void json_memory_end(struct json_memory *m);  /* what is left is the tree's, and may be freed by any thread */
void json_memory_drop(struct json_memory *m); /* frees what is left */

/* malloc() and free() for the parser; outside of a parse the first gives NULL where there is no memory. */
void *json_memory_alloc(size_t size);
void json_memory_free(void *p);

#endif
